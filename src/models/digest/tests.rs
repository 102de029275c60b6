//! Tests of digests: mismatches, the remembered state, adding a model.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::models::gguf::write::Writer;

const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

struct Place {
    dir: tempfile::TempDir,
    digests: Digests,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let digests = Digests::new(Some(dir.path()));
        Place { dir, digests }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn put(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Remembers as if the file had been settled.
    fn remember(&self, file: &Path) {
        let sha256 = self.digests.digest(file, &mut |_| true).unwrap().0;
        self.digests.remember(file, Stamp::of(&fs::metadata(file).unwrap()), &sha256);
    }

    fn verify(&self, file: &Path) -> Result<Verified> {
        self.digests.verify(file, false, &mut |_| true)
    }
}

fn sha(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

#[test]
fn sidecars_in_all_usual_forms() {
    let p = Place::new();
    let f = p.put("m.gguf", b"");
    let other = "f".repeat(64);
    for text in [
        EMPTY.to_owned(),
        EMPTY.to_uppercase(),
        format!("{EMPTY}\n"),
        format!("{EMPTY}  m.gguf\n"),
        format!("{EMPTY} *m.gguf\r\n"),
        format!("# made by hand\n\n{EMPTY}  ./name-before-renaming.gguf\n"),
        format!("{other}  x.gguf\n{EMPTY}  m.gguf\n"),
    ] {
        p.put("m.gguf.sha256", text.as_bytes());
        assert!(matches!(p.verify(&f), Ok(Verified::Match { .. })), "{text:?}");
    }
    for text in ["", "what", &EMPTY[1..], &format!("{other}  x\n{other}  y\n"), "\u{e9}".repeat(40).as_str()] {
        p.put("m.gguf.sha256", text.as_bytes());
        let e = p.verify(&f).unwrap_err();
        assert_eq!(e.code, Code::ModelUnverified);
        assert!(e.message.contains("sha256sum"), "{text:?}: {e:?}");
    }
    p.put("m.gguf.sha256", b"\xff\xfe");
    assert_eq!(p.verify(&f).unwrap_err().code, Code::ModelUnverified);
    fs::remove_file(p.path("m.gguf.sha256")).unwrap();
    fs::create_dir(p.path("m.gguf.sha256")).unwrap();
    assert_eq!(p.verify(&f).unwrap_err().code, Code::ModelUnverified);
}

#[test]
fn without_a_sidecar_it_depends_on_the_configuration() {
    let p = Place::new();
    let f = p.put("m.gguf", b"x");
    assert_eq!(p.verify(&f), Ok(Verified::NoSidecar));
    let e = p.digests.verify(&f, true, &mut |_| true).unwrap_err();
    assert!(e.code == Code::ModelUnverified && e.message.contains("sha256sum"), "{e:?}");
    assert_eq!(p.digests.digest(&p.path("none"), &mut |_| true).unwrap_err().code, Code::ModelLoadFailed);
}

#[test]
fn a_mismatch_names_both_digests_and_what_to_do() {
    let p = Place::new();
    let f = p.put("m.gguf", b"changed");
    p.put("m.gguf.sha256", EMPTY.as_bytes());
    let e = p.verify(&f).unwrap_err();
    assert_eq!(e.code, Code::ModelUnverified);
    for part in [EMPTY, &sha(b"changed"), "Copy the model again"] {
        assert!(e.message.contains(part), "{}", e.message);
    }
}

#[test]
fn it_is_computed_once_and_remembered_until_the_file_changes() {
    let p = Place::new();
    let f = p.put("m.gguf", b"one");
    write_sidecar(&f, &sha(b"one")).unwrap();
    let remembered = |p: &Place| matches!(p.verify(&f), Ok(Verified::Match { remembered: true, .. }));
    assert!(!remembered(&p), "nothing is known yet, and a fresh file is not trusted to be settled");
    p.remember(&f);
    assert!(remembered(&p));
    assert_eq!(p.digests.remembered(&f), Some(sha(b"one")));

    // A new process reads the same state.
    let again = Place { dir: p.dir, digests: Digests::new(Some(f.parent().unwrap())) };
    assert!(remembered(&again));
    let p = again;

    // Same size, and the modification time set back: the change time tells.
    let times = fs::FileTimes::new().set_modified(fs::metadata(&f).unwrap().modified().unwrap());
    let tick = || {
        // File times advance with the kernel's tick: wait until a new file gets another one.
        let before = fs::metadata(&f).unwrap();
        loop {
            fs::write(p.path("probe"), b"").unwrap();
            if Stamp::of(&fs::metadata(p.path("probe")).unwrap()).ctime_ns > Stamp::of(&before).ctime_ns {
                break;
            }
        }
    };
    tick();
    fs::write(&f, b"two").unwrap();
    File::options().write(true).open(&f).unwrap().set_times(times).unwrap();
    assert!(p.verify(&f).unwrap_err().message.contains(&sha(b"two")));

    // Replaced by another file of the same size.
    fs::write(&f, b"one").unwrap();
    p.remember(&f);
    assert!(remembered(&p));
    p.put("other", b"two");
    fs::rename(p.path("other"), &f).unwrap();
    assert!(p.verify(&f).is_err());
    assert_eq!(p.digests.remembered(&f), None);

    // Truncated.
    fs::write(&f, b"one").unwrap();
    p.remember(&f);
    File::options().write(true).open(&f).unwrap().set_len(2).unwrap();
    assert!(p.verify(&f).is_err());
}

#[test]
fn a_new_sidecar_counts_at_once() {
    let p = Place::new();
    let f = p.put("m.gguf", b"one");
    write_sidecar(&f, &sha(b"one")).unwrap();
    p.remember(&f);
    assert!(p.verify(&f).is_ok());
    write_sidecar(&f, EMPTY).unwrap();
    assert!(p.verify(&f).is_err());
}

#[test]
fn corrupt_state_is_ignored_and_replaced() {
    let p = Place::new();
    let f = p.put("m.gguf", b"one");
    write_sidecar(&f, &sha(b"one")).unwrap();
    for garbage in [&b""[..], b"{", b"\xff", b"{\"version\":99,\"files\":{}}", b"[1,2]"] {
        p.put("digests.json", garbage);
        assert!(matches!(p.verify(&f), Ok(Verified::Match { remembered: false, .. })));
        p.remember(&f);
        assert!(matches!(p.verify(&f), Ok(Verified::Match { remembered: true, .. })));
    }
    // Entries of files that are gone do not pile up.
    let gone = p.put("gone.gguf", b"x");
    p.remember(&gone);
    fs::remove_file(&gone).unwrap();
    p.remember(&f);
    assert_eq!(p.digests.load().files.len(), 1);
}

#[test]
fn without_a_place_to_remember_it_still_verifies() {
    let p = Place::new();
    let f = p.put("m.gguf", b"one");
    write_sidecar(&f, &sha(b"one")).unwrap();
    // A file stands where the folder should be.
    for digests in [Digests::new(None), Digests::new(Some(&f.join("state")))] {
        for _ in 0..2 {
            let stamp = Stamp::of(&fs::metadata(&f).unwrap());
            digests.remember(&f, stamp, &sha(b"one"));
            let found = digests.verify(&f, true, &mut |_| true);
            assert_eq!(found, Ok(Verified::Match { sha256: sha(b"one"), remembered: false }));
        }
    }
}

#[test]
fn the_state_folder_is_made_when_there_is_something_to_remember() {
    use std::os::unix::fs::PermissionsExt;

    let p = Place::new();
    let f = p.put("m.gguf", b"one");
    let state = p.path("not/yet");
    let digests = Digests::new(Some(&state));
    assert_eq!(digests.remembered(&f), None);
    assert!(!state.exists());
    digests.remember(&f, Stamp::of(&fs::metadata(&f).unwrap()), &sha(b"one"));
    assert_eq!(digests.remembered(&f), Some(sha(b"one")));
    assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn hashing_reports_progress_and_can_be_cancelled() {
    let p = Place::new();
    let f = p.put("m.gguf", &vec![7; 3 * CHUNK + 5]);
    let mut seen = Vec::new();
    let digest = p.digests.digest(&f, &mut |x| {
        seen.push(x);
        true
    });
    assert_eq!(digest.unwrap().0, sha(&vec![7; 3 * CHUNK + 5]));
    assert!(seen.windows(2).all(|w| w[0] <= w[1]) && seen[0] == 0.0 && *seen.last().unwrap() == 1.0, "{seen:?}");
    assert_eq!(p.digests.digest(&f, &mut |x| x < 0.5).unwrap_err().code, Code::Cancelled);
}

fn model() -> Vec<u8> {
    let mut w = Writer::default();
    w.string("general.architecture", "llama")
        .u32("llama.block_count", 1)
        .u32("llama.context_length", 64)
        .u32("llama.embedding_length", 32);
    w.finish(&[])
}

#[test]
fn adding_copies_verifies_and_records() {
    let p = Place::new();
    let models = p.path("models");
    fs::create_dir(&models).unwrap();
    let source = p.put("m-q4_0.gguf", &model());
    let added = p.digests.add(&source, &models, None, None, &mut |_| true).unwrap();
    assert_eq!(added.path, models.join("m-q4_0.gguf"));
    assert_eq!((added.bytes, added.sha256.as_str()), (model().len() as u64, sha(&model()).as_str()));
    assert_eq!(fs::read(&added.path).unwrap(), model());
    assert_eq!(fs::metadata(&added.path).unwrap().permissions().mode() & 0o777, 0o644);
    let found = p.digests.verify(&added.path, true, &mut |_| true);
    assert_eq!(found, Ok(Verified::Match { sha256: added.sha256.clone(), remembered: true }));

    // Once more is fine, another content under the name is not.
    assert!(p.digests.add(&source, &models, None, Some(&added.sha256), &mut |_| true).is_ok());
    fs::write(&source, [model(), vec![0; 32]].concat()).unwrap();
    let e = p.digests.add(&source, &models, None, None, &mut |_| true).unwrap_err();
    assert!(e.message.contains("another content"), "{e:?}");
    assert_eq!(fs::read(&added.path).unwrap(), model());
    assert!(p.digests.add(&added.path, &models, None, None, &mut |_| true).is_err());
    let names = fs::read_dir(&models).unwrap().count();
    assert_eq!(names, 2, "the model and its digest, nothing hidden");
}

#[test]
fn a_failed_add_leaves_nothing_behind() {
    let p = Place::new();
    let models = p.path("models");
    fs::create_dir(&models).unwrap();
    let source = p.put("m-q4_0.gguf", &model());
    let add = |from: &Path, expected: Option<&str>, go: bool| {
        p.digests.add(from, &models, None, expected, &mut |_| go).map_err(|e| e.code)
    };
    assert_eq!(add(&source, None, false), Err(Code::Cancelled));
    assert_eq!(add(&source, Some(EMPTY), true), Err(Code::ModelUnverified));
    assert_eq!(add(&source, Some("zz"), true), Err(Code::InvalidRequest));
    write_sidecar(&source, EMPTY).unwrap();
    assert_eq!(add(&source, None, true), Err(Code::ModelUnverified), "the source's own sidecar counts");
    assert_eq!(add(&p.put("broken.gguf", b"GGUF"), None, true), Err(Code::InvalidRequest));
    assert_eq!(add(&p.put("m.bin", &model()), None, true), Err(Code::InvalidRequest));
    assert_eq!(fs::read_dir(&models).unwrap().count(), 0);
    assert_eq!(
        p.digests.add(&p.put("n.gguf", &model()), &p.path("no"), None, None, &mut |_| true).unwrap_err().code,
        Code::Internal
    );
}
