//! Writes a GGUF file of a published shape with random weights and a made-up vocabulary.
//!
//! Such a file loads and runs as the real model does: the same tensors, types and sizes, so the same speed, memory
//! and energy. It answers nonsense, and says so: `wattlm.synthetic` is true, and its name and description tell.
//!
//! What always holds: equal arguments give equal files; memory stays within a few megabytes beyond the vocabulary; the
//! file appears whole, with its digest beside it, or not at all.

mod blocks;
mod layout;
mod shapes;
mod vocab;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

pub use self::layout::Quant;
pub use self::shapes::{ModelShape, SHAPES};

use self::blocks::{Blocks, Fill};
use self::shapes::{shape, Family};
use self::vocab::{Vocab, SPECIALS, TEMPLATE};
use super::atomic::Draft;
use super::digest::{hex, write_sidecar, Added, Progress};
use super::gguf::write::{TensorSpec, Writer, ALIGNMENT};
use crate::error::{Code, Error, Result};

/// Bytes produced between two looks at the progress callback.
const PIECE: u64 = 1 << 20;
/// Where the random numbers begin: any number would do, as long as it stays.
const SEED: u64 = 0x7761_7474_6c6d;

/// Writes the shape `name` in the quantization `quant` to `out` and its sha256 beside it.
///
/// Where `out` is a folder, the file is called `<shape>-synthetic-<quant>.gguf`. Fails with `invalid_request` for an
/// unknown shape or quantization and where the file exists, with `cancelled` where `progress` said so, with
/// `internal` where it cannot be written; then nothing is left behind.
pub fn synth(name: &str, quant: &str, out: &Path, progress: &mut Progress) -> Result<Added> {
    let bad = |text: String| Error::new(Code::InvalidRequest, text);
    let list = |all: &mut dyn Iterator<Item = &str>| all.collect::<Vec<_>>().join(", ");
    let shape = shape(name).ok_or_else(|| {
        bad(format!("there is no shape '{name}': choose one of {}", list(&mut SHAPES.iter().map(|s| s.name))))
    })?;
    let quant = Quant::from_name(quant).ok_or_else(|| {
        let all = list(&mut Quant::ALL.into_iter().map(Quant::name));
        bad(format!("'{quant}' cannot be written: choose one of {all}"))
    })?;
    let path = destination(shape, quant, out);
    if path.exists() {
        return Err(bad(format!("{} exists: remove it first, or choose another name", path.display())));
    }
    let fail = |e: io::Error| {
        let hint = if e.kind() == io::ErrorKind::StorageFull { ": make room; nothing was left behind" } else { "" };
        Error::new(Code::Internal, format!("cannot write {}: {e}{hint}", path.display()))
    };
    let tensors = layout::tensors(shape, quant);
    let header = metadata(shape, quant).finish(&tensors);
    let total = header.len() as u64 + tensors.iter().map(|t| t.bytes().next_multiple_of(ALIGNMENT)).sum::<u64>();

    let mut sink = Sink { draft: Draft::create(&path).map_err(fail)?, hasher: Sha256::new(), done: 0 };
    sink.put(&header).map_err(fail)?;
    let mut buf = Vec::new();
    for t in &tensors {
        let mut blocks = Blocks::new(t.kind, fill_of(t), seed_of(&t.name));
        let mut left = t.bytes();
        let piece = PIECE / t.kind.block_bytes() * t.kind.block_bytes();
        while left > 0 {
            if !progress((sink.done as f64 / total as f64) as f32) {
                return Err(Error::new(Code::Cancelled, "it was cancelled"));
            }
            buf.resize(left.min(piece) as usize, 0);
            blocks.write(&mut buf);
            sink.put(&buf).map_err(fail)?;
            left -= buf.len() as u64;
        }
        let padding = sink.done.next_multiple_of(ALIGNMENT) - sink.done;
        sink.put(&[0; ALIGNMENT as usize][..padding as usize]).map_err(fail)?;
    }
    let sha256 = hex(&sink.hasher.finalize());
    write_sidecar(&path, &sha256).map_err(fail)?;
    if let Err(e) = sink.draft.commit() {
        let _ = std::fs::remove_file(super::digest::sidecar_of(&path));
        return Err(fail(e));
    }
    progress(1.0);
    Ok(Added { path, bytes: total, sha256 })
}

fn destination(shape: &ModelShape, quant: Quant, out: &Path) -> PathBuf {
    if out.is_dir() {
        return out.join(format!("{}-synthetic-{}.gguf", shape.name, quant.name()));
    }
    out.to_owned()
}

/// The draft, and the digest of what went into it.
struct Sink {
    draft: Draft,
    hasher: Sha256,
    done: u64,
}

impl Sink {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.done += bytes.len() as u64;
        self.draft.write_all(bytes)
    }
}

fn fill_of(t: &TensorSpec) -> Fill {
    match t.shape.as_slice() {
        [_] if t.name.ends_with(".bias") => Fill::Small,
        [_] => Fill::Ones,
        many => Fill::Row(many[0]),
    }
}

/// FNV-1a of the tensor's name: a tensor's content does not depend on what was written before it.
fn seed_of(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325 ^ SEED, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

fn metadata(s: &ModelShape, quant: Quant) -> Writer {
    let arch = s.architecture();
    let key = |name: &str| format!("{arch}.{name}");
    let mut w = Writer::default();
    w.string("general.architecture", arch)
        .string("general.type", "model")
        .string("general.name", &format!("{} (synthetic)", s.name))
        .string("general.description", "Random weights of a published shape: for measuring, not for answers")
        .bool("wattlm.synthetic", true)
        .u32("general.file_type", quant.file_type())
        .u32("general.quantization_version", 2)
        .u32(&key("block_count"), s.layers)
        .u32(&key("context_length"), s.context)
        .u32(&key("embedding_length"), s.embd)
        .u32(&key("feed_forward_length"), s.ff)
        .u32(&key("attention.head_count"), s.heads)
        .u32(&key("attention.head_count_kv"), s.kv_heads)
        .u32(&key("attention.key_length"), s.head_width)
        .u32(&key("attention.value_length"), s.head_width)
        .f32(&key("attention.layer_norm_rms_epsilon"), s.eps)
        .f32(&key("rope.freq_base"), s.rope_base)
        .u32(&key("rope.dimension_count"), s.head_width)
        .u32(&key("vocab_size"), s.vocab);
    if s.family == Family::Gemma2 {
        w.f32(&key("attn_logit_softcapping"), 50.0)
            .f32(&key("final_logit_softcapping"), 30.0)
            .u32(&key("attention.sliding_window"), 4096);
    }
    let vocab = Vocab::new(s.vocab);
    let special = |i: u32| s.vocab - SPECIALS.len() as u32 + i;
    w.string("tokenizer.ggml.model", "gpt2")
        .string("tokenizer.ggml.pre", "gpt-2")
        .strings("tokenizer.ggml.tokens", vocab.tokens.iter())
        .i32s("tokenizer.ggml.token_type", vocab.types())
        .strings("tokenizer.ggml.merges", vocab.merges.iter())
        .u32("tokenizer.ggml.bos_token_id", special(0))
        .u32("tokenizer.ggml.eos_token_id", special(2))
        .u32("tokenizer.ggml.padding_token_id", special(0))
        .bool("tokenizer.ggml.add_bos_token", false)
        .string("tokenizer.chat_template", TEMPLATE);
    w
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::digest::{Digests, Verified};
    use crate::models::gguf::Header;

    #[test]
    fn every_shape_gives_a_header_that_says_what_it_is() {
        for s in &SHAPES {
            for q in Quant::ALL {
                let tensors = layout::tensors(s, q);
                let mut file = metadata(s, q).finish(&tensors);
                let data: u64 = tensors.iter().map(|t| t.bytes().next_multiple_of(ALIGNMENT)).sum();
                let header_len = file.len() as u64;
                // The reader looks at lengths only: the data need not be there.
                let h =
                    Header::read(Sparse { head: std::mem::take(&mut file), len: header_len + data, pos: 0 }).unwrap();
                assert_eq!(h.quantization.to_lowercase(), q.name());
                assert_eq!((h.architecture.as_str(), h.vocab_size), (s.architecture(), s.vocab));
                assert_eq!((h.block_count, h.context_length), (s.layers, s.context));
                assert!(h.synthetic && h.chat_template.is_some() && h.name.unwrap().contains("synthetic"));
                assert_eq!(h.eos, Some(s.vocab - 1));
            }
        }
    }

    /// A header followed by nothing, up to a length.
    struct Sparse {
        head: Vec<u8>,
        len: u64,
        pos: u64,
    }
    impl io::Read for Sparse {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let from = self.head.get(self.pos as usize..).unwrap_or(&[]);
            let n = from.len().min(buf.len());
            buf[..n].copy_from_slice(&from[..n]);
            self.pos += n as u64;
            Ok(n)
        }
    }
    impl io::Seek for Sparse {
        fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
            self.pos = match to {
                io::SeekFrom::Start(p) => p,
                io::SeekFrom::End(d) => self.len.saturating_add_signed(d),
                io::SeekFrom::Current(d) => self.pos.saturating_add_signed(d),
            };
            Ok(self.pos)
        }
    }

    #[test]
    fn sizes_are_those_of_published_files() {
        // Bytes of files on the models' download pages, and parameters of their model cards.
        for (name, quant, bytes, parameters) in [
            ("qwen2-0.5b", Quant::Q4KM, 398e6, 494e6),
            ("qwen2-0.5b", Quant::Q4_0, 352e6, 494e6),
            ("qwen2-0.5b", Quant::F16, 994e6, 494e6),
            ("qwen2-1.5b", Quant::Q4KM, 986e6, 1.54e9),
            ("llama-3.2-1b", Quant::Q4KM, 808e6, 1.24e9),
            ("llama-3.2-3b", Quant::Q4KM, 2.02e9, 3.21e9),
            ("gemma-2-2b", Quant::Q4KM, 1.71e9, 2.61e9),
            ("tinyllama-1.1b", Quant::Q4KM, 669e6, 1.10e9),
            ("phi-3-mini", Quant::Q4KM, 2.39e9, 3.82e9),
            ("smollm2-135m", Quant::Q4KM, 105e6, 134.5e6),
            ("smollm2-360m", Quant::Q4KM, 271e6, 362e6),
        ] {
            let s = shape(name).unwrap();
            let tensors = layout::tensors(s, quant);
            let size = metadata(s, quant).finish(&tensors).len() as f64
                + tensors.iter().map(|t| t.bytes() as f64).sum::<f64>();
            let elements = tensors.iter().map(|t| t.shape.iter().product::<u64>() as f64).sum::<f64>();
            assert!((size / bytes - 1.0).abs() < 0.02, "{name} {}: {size}", quant.name());
            assert!((elements / parameters - 1.0).abs() < 0.01, "{name}: {elements}");
        }
    }

    #[test]
    fn a_file_is_written_whole_with_its_digest() {
        let dir = tempfile::tempdir().unwrap();
        let mut last = 0.0;
        let made = synth("smollm2-135m", "Q4_K_M", dir.path(), &mut |x| {
            assert!(x >= last);
            last = x;
            true
        });
        let made = made.unwrap();
        assert_eq!(last, 1.0);
        assert_eq!(made.path, dir.path().join("smollm2-135m-synthetic-q4_k_m.gguf"));
        let h = Header::open(&made.path).unwrap();
        assert_eq!(h.file_len, made.bytes);
        let found = Digests::new(None).verify(&made.path, true, &mut |_| true);
        assert_eq!(found, Ok(Verified::Match { sha256: made.sha256.clone(), remembered: false }));

        let e = synth("smollm2-135m", "q4_k_m", &made.path, &mut |_| true).unwrap_err();
        assert!(e.message.contains("exists"), "{e:?}");
        let again = synth("smollm2-135m", "q4_k_m", &dir.path().join("x.gguf"), &mut |_| true).unwrap();
        assert_eq!(again.sha256, made.sha256, "equal arguments, equal files");
    }

    #[test]
    fn refusals_say_what_can_be_had_and_leave_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let e = synth("gpt-5", "q4_0", dir.path(), &mut |_| true).unwrap_err();
        assert!(e.message.contains("qwen2-0.5b") && e.code == Code::InvalidRequest);
        let e = synth("qwen2-0.5b", "q3_k", dir.path(), &mut |_| true).unwrap_err();
        assert!(e.message.contains("q4_k_m"));
        assert_eq!(synth("qwen2-0.5b", "q4_0", dir.path(), &mut |x| x < 0.1).unwrap_err().code, Code::Cancelled);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let e = synth("qwen2-0.5b", "q4_0", &dir.path().join("no/x.gguf"), &mut |_| true).unwrap_err();
        assert_eq!(e.code, Code::Internal);
    }
}
