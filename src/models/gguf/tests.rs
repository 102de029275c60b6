//! Tests of the header reader with headers that lie about everything.

use std::io::Cursor;

use proptest::prelude::*;

use super::write::{TensorSpec, Writer};
use super::*;

/// Metadata of a small model.
fn meta() -> Writer {
    let mut w = Writer::default();
    w.string("general.architecture", "llama")
        .string("general.name", "Tiny")
        .u32("general.file_type", 15)
        .u32("llama.block_count", 2)
        .u32("llama.context_length", 128)
        .u32("llama.embedding_length", 256)
        .u32("llama.feed_forward_length", 512)
        .u32("llama.attention.head_count", 4)
        .u32("llama.attention.head_count_kv", 2)
        .strings("tokenizer.ggml.tokens", ["a", "b", "<end>"].iter())
        .u32("tokenizer.ggml.eos_token_id", 2)
        .string("tokenizer.chat_template", "{{ messages }}");
    w
}

fn tensors() -> Vec<TensorSpec> {
    let t = |name: &str, shape: &[u64], kind| TensorSpec { name: name.into(), shape: shape.into(), kind };
    vec![
        t("token_embd.weight", &[256, 3], GgmlType::Q6_K),
        t("blk.0.attn_q.weight", &[256, 256], GgmlType::Q4_K),
        t("output_norm.weight", &[256], GgmlType::F32),
    ]
}

fn file(w: &Writer, tensors: &[TensorSpec]) -> Vec<u8> {
    let mut out = w.finish(tensors);
    for t in tensors {
        out.resize((out.len() as u64 + t.bytes()).next_multiple_of(write::ALIGNMENT) as usize, 7);
    }
    out
}

fn valid() -> Vec<u8> {
    file(&meta(), &tensors())
}

fn read(bytes: &[u8]) -> Result<Header> {
    Header::read(Cursor::new(bytes))
}

/// Expects a refusal of this kind whose text holds all of `words`.
#[track_caller]
fn refused(bytes: &[u8], kind: Kind, words: &[&str]) {
    let e = read(bytes).unwrap_err();
    assert_eq!(e.kind, kind, "{e}");
    for w in words {
        assert!(e.to_string().contains(w), "'{e}' does not say '{w}'");
    }
}

#[test]
fn a_valid_header_is_understood() {
    let h = read(&valid()).unwrap();
    assert_eq!((h.version, h.architecture.as_str(), h.name.as_deref()), (3, "llama", Some("Tiny")));
    assert_eq!(h.quantization, "Q4_K_M");
    assert_eq!((h.block_count, h.context_length, h.embedding_length), (2, 128, 256));
    assert_eq!((h.head_count.at(0), h.head_count_kv.at(1)), (4, 2));
    assert_eq!((h.key_length, h.value_length), (64, 64));
    assert_eq!(h.feed_forward_length, PerLayer::Same(512));
    assert_eq!((h.vocab_size, h.bos, h.eos), (3, None, Some(2)));
    assert_eq!(h.chat_template.as_deref(), Some("{{ messages }}"));
    assert!(!h.synthetic && !h.recurrent);
    assert_eq!(h.parameters, 256 * 3 + 256 * 256 + 256);
    assert_eq!(h.tensors[1].bytes, 256 * 144);
    assert_eq!(h.tensors[1].offset, h.data_offset + (3 * 210u64).next_multiple_of(32));
    assert_eq!(h.weight_bytes(), 3 * 210 + 256 * 144 + 1024);
    assert_eq!(h.bytes_by_type()[&GgmlType::Q6_K], 630);
}

#[test]
fn numbers_per_layer_and_key_widths() {
    let mut w = Writer::default();
    w.string("general.architecture", "x")
        .u32("x.block_count", 3)
        .u32("x.context_length", 8)
        .u32("x.embedding_length", 64)
        .u32("x.attention.head_count", 8)
        .i32s("x.attention.head_count_kv", [0, 4, 8].into_iter())
        .u32("x.attention.key_length", 32)
        .u32("x.vocab_size", 77)
        .bool("wattlm.synthetic", true);
    let h = read(&file(&w, &tensors())).unwrap();
    assert_eq!(h.head_count_kv, PerLayer::Each(vec![0, 4, 8]));
    assert_eq!((h.head_count_kv.at(2), h.head_count_kv.at(3), h.head_count_kv.max()), (8, 0, 8));
    assert_eq!((h.key_length, h.value_length, h.vocab_size), (32, 8, 77));
    assert_eq!(h.quantization, "Q4_K", "no file type: the type with the most bytes");
    assert!(h.synthetic);

    w.i32s("x.feed_forward_length", [1, 2].into_iter());
    refused(&file(&w, &[]), Kind::Malformed, &["x.feed_forward_length", "2 numbers for 3 layers"]);
}

#[test]
fn what_is_not_gguf_or_not_ours() {
    refused(b"", Kind::NotGguf, &["not a GGUF file"]);
    refused(b"GGU", Kind::NotGguf, &[]);
    refused(b"PK\x03\x04 and more", Kind::NotGguf, &[]);
    refused(b"GGUF\x01\0\0\0", Kind::Unsupported, &["version 1"]);
    refused(b"GGUF\0\0\0\x03", Kind::Unsupported, &["big-endian"]);
    refused(b"GGUF\x09\0\0\0", Kind::Unsupported, &["version 9"]);
    refused(b"GGUF\x03\0\0\0", Kind::Truncated, &["incomplete"]);
}

#[test]
fn every_truncation_is_refused() {
    let whole = valid();
    for n in 0..whole.len() - 32 {
        let e = read(&whole[..n]).unwrap_err();
        assert!(matches!(e.kind, Kind::Truncated | Kind::NotGguf), "{n}: {e}");
    }
}

#[test]
fn counts_are_bounded() {
    let with = |tensors: u64, entries: u64| {
        [b"GGUF\x03\0\0\0".as_slice(), &tensors.to_le_bytes(), &entries.to_le_bytes()].concat()
    };
    refused(&with(u64::MAX, 0), Kind::TooLarge, &["tensors"]);
    refused(&with(0, u64::MAX), Kind::TooLarge, &["metadata entries"]);
    refused(&with(0, 4096), Kind::Truncated, &["metadata entry 0"]);
}

fn bare(entries: u64, rest: &[u8]) -> Vec<u8> {
    [b"GGUF\x03\0\0\0".as_slice(), &0u64.to_le_bytes(), &entries.to_le_bytes(), rest].concat()
}

#[test]
fn lengths_are_never_trusted() {
    for n in [u64::MAX, u64::MAX - 24, 1 << 62, 1 << 32] {
        refused(&bare(1, &n.to_le_bytes()), Kind::Truncated, &["metadata entry 0", "at byte 32"]);
    }
    let entry = |kind: u32, rest: &[u8]| {
        let mut w = Writer::default();
        w.raw("k", kind, rest);
        file(&w, &[])
    };
    refused(&entry(8, &u64::MAX.to_le_bytes()), Kind::Truncated, &["key 'k'"]);
    refused(&entry(77, b""), Kind::Malformed, &["unknown value type 77"]);
    let array = |kind: u32, n: u64| entry(9, &[kind.to_le_bytes().as_slice(), &n.to_le_bytes()].concat());
    refused(&array(4, u64::MAX), Kind::Malformed, &["key 'k'"]);
    refused(&array(4, 1 << 40), Kind::Truncated, &["key 'k'"]);
    refused(&array(8, u64::MAX), Kind::Malformed, &["key 'k'"]);
    refused(&array(8, 1 << 30), Kind::Truncated, &["key 'k'"]);
    refused(&array(9, 1), Kind::Unsupported, &["array of arrays"]);
    refused(&array(99, 1), Kind::Malformed, &["element type 99"]);
}

#[test]
fn long_texts_are_refused_and_long_vocabularies_are_not_kept() {
    let mut w = meta();
    w.string(&"k".repeat(513), "");
    refused(&file(&w, &[]), Kind::TooLarge, &["513 bytes where 512"]);

    let mut w = Writer::default();
    w.string("tokenizer.chat_template", &"x".repeat((256 << 10) + 1));
    refused(&file(&w, &[]), Kind::TooLarge, &["tokenizer.chat_template"]);

    // A text that is not needed may be long.
    let mut w = meta();
    w.string("general.license.text", &"x".repeat(3 << 20));
    assert!(read(&file(&w, &[])).is_ok());

    let mut w = Writer::default();
    for i in 0..4000 {
        w.u32(&format!("{i:0500}"), 1);
    }
    refused(&file(&w, &[]), Kind::TooLarge, &["keys and values"]);
}

#[test]
fn the_header_as_a_whole_is_bounded() {
    /// A file that is a valid beginning followed by endless zeros, without holding them.
    struct Endless(Cursor<Vec<u8>>);
    impl Read for Endless {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            match self.0.read(buf)? {
                0 => {
                    buf.fill(0);
                    Ok(buf.len())
                }
                n => Ok(n),
            }
        }
    }
    impl Seek for Endless {
        fn seek(&mut self, pos: std::io::SeekFrom) -> std::io::Result<u64> {
            match pos {
                std::io::SeekFrom::End(_) => Ok(1 << 50),
                other => self.0.seek(other),
            }
        }
    }
    let head = |kind: u32, n: u64| {
        let mut rest = 1u64.to_le_bytes().to_vec();
        rest.extend(b"k");
        rest.extend(9u32.to_le_bytes());
        rest.extend(kind.to_le_bytes());
        rest.extend(n.to_le_bytes());
        Header::read(Endless(Cursor::new(bare(1, &rest)))).unwrap_err()
    };
    assert_eq!(head(4, 1 << 40).kind, Kind::TooLarge);
    assert_eq!(head(8, 1 << 40).kind, Kind::TooLarge);
    // Fewer texts than the budget holds: what follows is refused for another reason.
    assert_eq!(head(8, 1000).kind, Kind::Malformed);
}

#[test]
fn keys_must_be_unique_valid_and_present() {
    let mut w = meta();
    w.u32("llama.block_count", 2);
    refused(&file(&w, &[]), Kind::Malformed, &["llama.block_count", "twice"]);
    let mut w = meta();
    w.u32("", 2);
    refused(&file(&w, &[]), Kind::Malformed, &["empty"]);
    refused(&bare(1, &[1, 0, 0, 0, 0, 0, 0, 0, 0xff]), Kind::Malformed, &["UTF-8"]);
    let mut w = Writer::default();
    w.u32("llama.block_count", 2);
    refused(&file(&w, &[]), Kind::Malformed, &["general.architecture", "missing"]);
    let mut w = Writer::default();
    w.string("general.architecture", "clip").u32("clip.embedding_length", 4);
    refused(&file(&w, &[]), Kind::Malformed, &["clip.block_count", "missing"]);
    let mut w = Writer::default();
    w.u32("general.architecture", 4);
    refused(&file(&w, &[]), Kind::Malformed, &["general.architecture", "text was expected"]);
    let mut w = meta();
    w.string("general.type", "adapter");
    refused(&file(&w, &[]), Kind::Unsupported, &["adapter"]);
    let mut w = meta();
    w.raw("split.count", 2, &3u16.to_le_bytes());
    refused(&file(&w, &[]), Kind::Unsupported, &["3 parts", "--merge"]);
}

#[test]
fn absurd_numbers_are_refused() {
    for layers in [0, 513, u32::MAX] {
        let mut w = Writer::default();
        w.string("general.architecture", "x").u32("x.block_count", layers).u32("x.embedding_length", 1);
        assert!(read(&file(&w, &[])).is_err(), "{layers}");
    }
    let mut w = meta();
    w.raw("llama.vocab_size", 11, &(-5i64).to_le_bytes());
    refused(&file(&w, &[]), Kind::Malformed, &["-5 is out of range"]);
    let mut w = meta();
    w.u32("llama.vocab_size", u32::MAX);
    assert!(read(&file(&w, &[])).is_err());
}

#[test]
fn alignment_must_be_a_power_of_two() {
    for bad in [0, 3, 33, u32::MAX, 1 << 30] {
        let mut w = meta();
        w.u32("general.alignment", bad);
        refused(&file(&w, &tensors()), Kind::Malformed, &["general.alignment", "power of two"]);
    }
    let mut w = meta();
    w.u32("general.alignment", 256);
    // The offsets were made for 32.
    refused(&file(&w, &tensors()), Kind::Malformed, &["begins at"]);
    assert!(read(&file(&w, &[])).is_ok());
}

/// A file with one tensor described by hand, and 4096 bytes of data.
fn one_tensor(dims: u32, shape: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    // `finish` pads; the tensor's description comes right behind the metadata.
    let w = meta();
    let mut out = w.finish(&[]);
    out.truncate(24 + w.meta.len());
    out[8] = 1;
    out.extend(1u64.to_le_bytes());
    out.push(b't');
    out.extend(dims.to_le_bytes());
    for d in shape {
        out.extend(d.to_le_bytes());
    }
    out.extend(kind.to_le_bytes());
    out.extend(offset.to_le_bytes());
    out.resize(out.len().next_multiple_of(32) + 4096, 0);
    out
}

#[test]
fn tensors_must_lie_in_the_file() {
    assert!(read(&one_tensor(1, &[1024], 0, 0)).is_ok());
    refused(&one_tensor(1, &[1025], 0, 0), Kind::Truncated, &["tensor 't'", "incomplete"]);
    refused(&one_tensor(1, &[8], 0, 32), Kind::Malformed, &["begins at 32"]);
    refused(&one_tensor(1, &[8], 0, u64::MAX), Kind::Malformed, &["begins at"]);
    refused(&one_tensor(0, &[], 0, 0), Kind::Malformed, &["0 dimensions"]);
    refused(&one_tensor(5, &[1; 5], 0, 0), Kind::Malformed, &["5 dimensions"]);
    refused(&one_tensor(1, &[0], 0, 0), Kind::Malformed, &["dimension of 0"]);
    refused(&one_tensor(1, &[1 << 63], 24, 0), Kind::Malformed, &["dimension"]);
    refused(&one_tensor(2, &[1 << 33, 1 << 33], 0, 0), Kind::Malformed, &["dimension"]);
    refused(&one_tensor(1, &[i64::MAX as u64], 28, 0), Kind::Malformed, &["beyond any file"]);
    refused(&one_tensor(1, &[i64::MAX as u64], 24, 0), Kind::Truncated, &["ends beyond"]);
    refused(&one_tensor(1, &[1 << 40], 24, 0), Kind::Truncated, &["ends beyond"]);
    refused(&one_tensor(1, &[100], 12, 0), Kind::Malformed, &["blocks of 256"]);
    refused(&one_tensor(1, &[32], 4, 0), Kind::Unsupported, &["element type 4"]);
    refused(&one_tensor(1, &[32], 4000, 0), Kind::Unsupported, &["element type 4000"]);
}

#[test]
fn tensor_names_are_bounded_and_unique() {
    let t = |name: &str| TensorSpec { name: name.into(), shape: vec![8], kind: GgmlType::F32 };
    assert!(read(&file(&meta(), &[t(&"n".repeat(63))])).is_ok());
    refused(&file(&meta(), &[t(&"n".repeat(64))]), Kind::TooLarge, &["tensor 0"]);
    refused(&file(&meta(), &[t("a"), t("a")]), Kind::Malformed, &["tensor 'a'", "second tensor"]);
}

#[test]
fn only_regular_files_are_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    std::fs::write(&path, valid()).unwrap();
    assert!(Header::open(&path).is_ok());
    assert_eq!(Header::open(dir.path()).unwrap_err().kind, Kind::Io);
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(Header::open(&fifo).unwrap_err().what.contains("regular file"));
    assert!(Header::open(&dir.path().join("none")).unwrap_err().what.contains("cannot open"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn mutated_headers_never_panic(
        edits in prop::collection::vec((0usize..1400, prop_oneof![Just(0u8), Just(0xff), Just(0x7f), any::<u8>()]), 1..6),
        cut in prop::option::of(0usize..1400),
    ) {
        let mut bytes = valid();
        for (at, value) in edits {
            if let Some(b) = bytes.get_mut(at) {
                *b = value;
            }
        }
        if let Some(cut) = cut {
            bytes.truncate(cut);
        }
        if let Ok(h) = read(&bytes) {
            for t in &h.tensors {
                prop_assert!(t.offset + t.bytes <= bytes.len() as u64);
                prop_assert!(t.elements() > 0);
            }
            prop_assert!(h.weight_bytes() <= h.file_len);
        }
    }

    #[test]
    fn noise_behind_the_magic_never_panics(noise in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = read(&[b"GGUF\x03\0\0\0".as_slice(), &noise].concat());
    }
}
