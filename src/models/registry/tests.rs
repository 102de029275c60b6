//! Tests of names, variants and what a scan leaves out.

use std::os::unix::fs::symlink;

use super::*;
use crate::error::Code;
use crate::models::ggml_type::GgmlType;
use crate::models::gguf::write::{TensorSpec, Writer};

/// A whole, tiny GGUF file.
fn gguf(file_type: u32) -> Vec<u8> {
    gguf_from(Writer::default(), file_type)
}

fn gguf_from(mut w: Writer, file_type: u32) -> Vec<u8> {
    w.string("general.architecture", "llama")
        .u32("general.file_type", file_type)
        .u32("llama.block_count", 1)
        .u32("llama.context_length", 64)
        .u32("llama.embedding_length", 32)
        .u32("llama.attention.head_count", 1)
        .string("tokenizer.chat_template", "{{ x }}");
    let t = [TensorSpec { name: "token_embd.weight".into(), shape: vec![32, 4], kind: GgmlType::F16 }];
    let mut out = w.finish(&t);
    out.resize(out.len() + 256, 0);
    out
}

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn put(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, gguf(2)).unwrap();
        path
    }

    fn folders(&self, names: &[&str]) -> Sources {
        Sources { folders: names.iter().map(|n| self.path(n)).collect(), ..Sources::default() }
    }
}

fn scan(sources: &Sources) -> Registry {
    let mut r = Registry::new();
    r.rescan(sources);
    r
}

fn names(r: &Registry) -> Vec<String> {
    r.models().iter().flat_map(|m| &m.variants).map(|id| r.variant(*id).unwrap().full_name()).collect()
}

#[test]
fn random_weights_are_the_default_only_where_there_is_nothing_else() {
    let p = Place::new();
    let mut w = Writer::default();
    w.bool("wattlm.synthetic", true);
    fs::write(p.put("a/aaa.gguf"), gguf_from(w, 2)).unwrap();
    let mut r = scan(&p.folders(&["a"]));
    assert_eq!(r.default_variant(), r.resolve("aaa").ok());
    p.put("a/bbb.gguf");
    r.rescan(&p.folders(&["a"]));
    assert_eq!(r.default_variant(), r.resolve("bbb").ok());
}

#[test]
fn a_lone_file_that_cannot_be_used_is_told_with_its_reason() {
    let p = Place::new();
    let mut r = scan(&p.folders(&["a"]));
    let told = |r: &Registry| {
        let e = r.resolve("").unwrap_err();
        (e.code, e.message)
    };
    assert_eq!(told(&r).0, Code::ModelNotFound);
    fs::write(p.put("a/odd-q4_0.gguf"), "no model").unwrap();
    r.rescan(&p.folders(&["a"]));
    let (code, text) = told(&r);
    assert_eq!(code, Code::ModelLoadFailed, "{text}");
    assert!(text.contains("odd-q4_0.gguf: ") && !text.contains("models list"), "{text}");
    fs::write(p.put("a/other-q4_0.gguf"), "").unwrap();
    r.rescan(&p.folders(&["a"]));
    assert!(told(&r).1.contains("1 more"), "{}", told(&r).1);
    let gone = "/nonexistent/model.gguf";
    let spec = ModelSpec { name: "model".into(), files: vec![gone.into()], ..ModelSpec::default() };
    r.rescan(&Sources { models: vec![spec], ..Sources::default() });
    let (code, text) = told(&r);
    assert_eq!(code, Code::ModelNotFound, "{text}");
    assert!(text.contains(gone), "{text}");
}

#[test]
fn folders_give_models_and_variants() {
    let p = Place::new();
    for f in ["wattlm-demo-f16.gguf", "wattlm-demo-q4_k_m.gguf", "wattlm-demo-q8_0.gguf", "Other.Q4_0.GGUF"] {
        p.put(&format!("a/{f}"));
    }
    p.put("a/.hidden-q4_0.gguf");
    p.put("a/readme.txt");
    fs::create_dir(p.path("a/folder.gguf")).unwrap();
    let r = scan(&p.folders(&["a", "missing"]));
    assert_eq!(
        names(&r),
        ["Other:q4_0", "folder:unknown", "wattlm-demo:q4_k_m", "wattlm-demo:q8_0", "wattlm-demo:f16"]
    );
    let demo = r.variant(r.resolve("wattlm-demo").unwrap()).unwrap();
    assert_eq!(demo.name, "q4_k_m");
    let facts = demo.facts.as_ref().unwrap();
    assert!(facts.chat && facts.context_train == 64 && facts.architecture == "llama");
    assert_eq!(r.default_variant(), Some(r.resolve("Other").unwrap()));
    assert!(r.notes().is_empty(), "{:?}", r.notes());
}

#[test]
fn names_resolve_exactly_or_by_the_only_other_spelling() {
    let p = Place::new();
    p.put("a/Foo-q4_0.gguf");
    p.put("a/foo-q8_0.gguf");
    p.put("a/Bar-q8_0.gguf");
    let r = scan(&p.folders(&["a"]));
    let name = |n: &str| r.resolve(n).map(|id| r.variant(id).unwrap().full_name()).map_err(|e| e.code);
    assert_eq!(name("Foo"), Ok("Foo:q4_0".into()));
    assert_eq!(name("foo"), Ok("foo:q8_0".into()));
    assert_eq!(name("FOO"), Err(Code::ModelNotFound), "two models could be meant");
    assert_eq!(name("bar:Q8_0"), Ok("Bar:q8_0".into()));
    assert_eq!(name("bar:"), Err(Code::ModelNotFound));
    assert_eq!(name("bar:q4_0"), Err(Code::ModelNotFound));
    assert_eq!(name(""), Ok("Bar:q8_0".into()));
}

#[test]
fn an_unknown_name_is_answered_with_near_ones() {
    let p = Place::new();
    let empty = scan(&p.folders(&["a"]));
    for name in ["", "x"] {
        let e = empty.resolve(name).unwrap_err();
        assert_eq!(e.code, Code::ModelNotFound);
        assert!(e.message.contains("wattlm models add"), "{e:?}");
    }
    p.put("a/wattlm-demo-q4_0.gguf");
    p.put("a/qwen2-0.5b-q4_0.gguf");
    let r = scan(&p.folders(&["a"]));
    let e = r.resolve("wattlm-dmeo").unwrap_err();
    assert!(e.message.contains("'wattlm-demo'") && !e.message.contains("qwen"), "{}", e.message);
    let e = r.resolve("qwen2-0.5b:q4").unwrap_err();
    assert!(e.message.contains("'qwen2-0.5b:q4_0'"), "{}", e.message);
    let e = r.resolve("\u{1b}[31mzzz").unwrap_err();
    assert!(!e.message.contains('\u{1b}') && e.message.contains("models list"), "{}", e.message);
    assert!(r.resolve(&"x".repeat(1 << 20)).unwrap_err().message.len() < 1000);
}

#[test]
fn the_configuration_names_orders_and_owns() {
    let p = Place::new();
    let (a, b) = (p.put("x/one.gguf"), p.put("x/two-q8_0.gguf"));
    p.put("f/assistant-f16.gguf");
    p.put("f/aaa-f16.gguf");
    let mut s = p.folders(&["f"]);
    s.models = vec![ModelSpec { name: "assistant".into(), files: vec![b.clone(), a.clone()], order: vec![] }];
    let r = scan(&s);
    assert_eq!(names(&r), ["assistant:q8_0", "assistant:q4_0", "aaa:f16"], "the order of its files");
    assert_eq!(r.notes().len(), 1);
    assert!(r.notes()[0].contains("assistant-f16.gguf: left out"), "{:?}", r.notes());
    assert_eq!(r.default_variant(), r.resolve("assistant").ok());

    s.models[0].order = vec!["Q4_0".into(), "q6_k".into()];
    s.default = Some("aaa".into());
    let r = scan(&s);
    assert_eq!(names(&r)[0], "assistant:q4_0");
    assert!(r.notes().iter().any(|n| n.contains("no variant 'q6_k'")), "{:?}", r.notes());
    assert_eq!(r.resolve("").unwrap(), r.resolve("aaa").unwrap());

    s.default = Some("nothing".into());
    let r = scan(&s);
    assert!(r.notes().iter().any(|n| n.contains("default model")), "{:?}", r.notes());
    assert_eq!(r.resolve("").unwrap_err().code, Code::ModelNotFound);

    s.models.push(ModelSpec { name: "again".into(), files: vec![a, p.path("x/absent.gguf")], order: vec![] });
    s.models.push(ModelSpec { name: "no:good".into(), ..ModelSpec::default() });
    let r = scan(&s);
    assert!(r.notes().iter().any(|n| n.contains("same file")), "{:?}", r.notes());
    assert!(r.notes().iter().any(|n| n.contains("cannot be a name")), "{:?}", r.notes());
    let e = r.resolve("again").unwrap_err();
    assert!(e.code == Code::ModelLoadFailed && e.message.contains("absent.gguf"), "{e:?}");
}

#[test]
fn collisions_are_numbered_in_a_fixed_order_and_reported() {
    let p = Place::new();
    p.put("a/m.Q4_0.gguf");
    p.put("a/m-q4_0.gguf");
    p.put("b/m-q4_0.gguf");
    let r = scan(&p.folders(&["a", "b"]));
    let path = |n: &str| r.variant(r.resolve(n).unwrap()).unwrap().path.clone();
    assert_eq!(path("m:q4_0"), p.path("a/m-q4_0.gguf"));
    assert_eq!(path("m:q4_0-2"), p.path("a/m.Q4_0.gguf"));
    assert_eq!(path("m:q4_0-3"), p.path("b/m-q4_0.gguf"));
    assert_eq!(path("m"), path("m:q4_0"));
    assert_eq!(r.notes().len(), 2);
    assert!(r.notes()[1].contains("is called m:q4_0-3"), "{:?}", r.notes());
}

#[test]
fn links_are_followed_and_counted_once() {
    let p = Place::new();
    let real = p.put("store/blob");
    fs::create_dir(p.path("a")).unwrap();
    symlink(&real, p.path("a/m-q4_0.gguf")).unwrap();
    symlink(&real, p.path("a/n-q4_0.gguf")).unwrap();
    symlink(p.path("nowhere"), p.path("a/gone-q4_0.gguf")).unwrap();
    let r = scan(&p.folders(&["a", "a"]));
    assert_eq!(names(&r), ["gone:q4_0", "m:q4_0"]);
    assert!(r.notes().iter().any(|n| n.contains("n-q4_0.gguf is left out: it is the same file")), "{:?}", r.notes());
    assert!(r.resolve("gone").unwrap_err().message.contains("cannot look at it"));
}

#[test]
fn broken_and_split_files_are_listed_and_never_preferred() {
    let p = Place::new();
    let good = p.put("a/m-f16.gguf");
    fs::write(p.path("a/m-q4_k_m.gguf"), &gguf(2)[..200]).unwrap();
    for n in 1..=3 {
        p.put(&format!("a/big-q4_0-0000{n}-of-00003.gguf"));
    }
    fs::write(p.path("a/zero.gguf"), b"").unwrap();
    let r = scan(&p.folders(&["a"]));
    assert_eq!(names(&r), ["big:q4_0", "m:f16", "m:q4_k_m", "zero:unknown"]);
    assert_eq!(r.variant(r.resolve("m").unwrap()).unwrap().path, good);
    assert_eq!(r.default_variant(), r.resolve("m").ok());
    let e = r.resolve("m:q4_k_m").unwrap_err();
    assert!(e.code == Code::ModelLoadFailed && e.message.contains("m-q4_k_m.gguf"), "{e:?}");
    assert!(r.resolve("big").unwrap_err().message.contains("split in 3 parts"));
    assert!(r.resolve("zero").unwrap_err().message.contains("not a GGUF file"));
}

#[test]
fn a_path_keeps_its_number_and_changes_are_seen() {
    let p = Place::new();
    let m = p.put("a/m-q4_0.gguf");
    let s = p.folders(&["a"]);
    let mut r = scan(&s);
    let id = r.resolve("m").unwrap();
    p.put("a/aaa-q4_0.gguf");
    r.rescan(&s);
    assert_eq!(r.resolve("m").unwrap(), id);
    let other = r.resolve("aaa").unwrap();
    assert_ne!(other, id);

    fs::remove_file(&m).unwrap();
    r.rescan(&s);
    assert_eq!(r.resolve("m").unwrap_err().code, Code::ModelNotFound);
    assert!(r.variant(id).is_none());

    fs::write(&m, b"GGUFwhat").unwrap();
    r.rescan(&s);
    assert_eq!(r.resolve("m").unwrap_err().code, Code::ModelLoadFailed);
    p.put("a/m-q4_0.gguf");
    r.rescan(&s);
    assert_eq!(r.resolve("m").unwrap(), id);
    assert_eq!(r.resolve("aaa").unwrap(), other);
}

#[test]
fn an_unchanged_file_is_not_read_again() {
    let p = Place::new();
    let m = p.put("a/m-q4_0.gguf");
    let s = p.folders(&["a"]);
    let mut r = scan(&s);
    let before = r.variant(r.resolve("m").unwrap()).unwrap().clone();
    // A marker that only reading the file again would remove.
    let id = before.id;
    r.variants.get_mut(&id).unwrap().facts.as_mut().unwrap().parameters = 7;
    r.rescan(&s);
    assert_eq!(r.variant(id).unwrap().facts.as_ref().unwrap().parameters, 7);
    fs::write(&m, gguf(15)).unwrap();
    r.rescan(&s);
    assert_eq!(r.variant(id).unwrap().facts.as_ref().unwrap().quantization, "Q4_K_M");
}
