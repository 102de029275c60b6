//! The account on real files: killed writers, files that are cut and damaged, disks that are full, folders that are
//! missing or taken.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use proptest::prelude::*;
use tempfile::TempDir;

use super::book::tests::{entry, total};
use super::*;

/// Longest wait for anything: it bounds a failure, it times nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// Writes at once and rewrites its file all the time.
const HASTY: Pace = Pace { gather: Duration::ZERO, sync: SYNC, growth: 2000, retry: Duration::from_millis(20) };

fn day(n: u64) -> Day {
    Day::of_unix((20_000 + n) * 86_400)
}

fn requests(report: &Report) -> u64 {
    report.total.requests
}

fn on_disk(dir: &Path) -> u64 {
    requests(&read(dir, &Query::default()).unwrap())
}

#[track_caller]
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Opens it again. For a moment somebody else may seem to have it: a process that another test is just starting holds
/// copies of all descriptors.
fn open(dir: &Path) -> Account {
    loop {
        let account = Account::with_pace(dir, HASTY);
        match account.report(&Query::default(), true).problem {
            None => return account,
            Some(p) => assert!(p.contains("another wattlmd"), "{p}"),
        }
    }
}

fn folder() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state/account");
    (dir, path)
}

#[test]
fn what_is_charged_is_there_again_and_nobody_else_may_look() {
    use std::os::unix::fs::PermissionsExt;
    let (_dir, path) = folder();
    let mut account = Account::open(&path);
    account.charge(day(0), 1000, "demo:q4_0", &entry(5));
    account.charge(day(0), 1000, "demo:q4_0", &entry(6));
    account.charge(day(1), 7, "name with\nbreak", &entry(7));
    account.device(day(1), DeviceLine { idle: crate::units::Microjoules(3), ..DeviceLine::default() });
    let said = account.report(&Query::default(), true);
    assert!(account.flush());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    drop(account);
    assert_eq!(read(&path, &Query::default()).unwrap(), said);
    let mut account = open(&path);
    assert_eq!(account.report(&Query::default(), true), said);
    assert_eq!((said.lines.len(), said.lines[0].sums.requests), (2, 2));

    // A clock set back is another day, no other sum.
    account.charge(day(0), 7, "demo:q4_0", &entry(1));
    drop(account);
    assert_eq!(on_disk(&path), 4);
}

#[test]
fn it_is_written_without_being_told_to() {
    let (_dir, path) = folder();
    let mut account = Account::open(&path);
    account.charge(day(0), 1, "m", &entry(1));
    eventually("it is on the disk", || on_disk(&path) == 1);
}

#[test]
fn a_folder_that_is_missing_or_taken_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let blocked = dir.path().join("state");
    fs::write(&blocked, "a file where the folder should be").unwrap();
    let path = blocked.join("account");
    let mut account = Account::with_pace(&path, HASTY);
    account.charge(day(0), 1, "m", &entry(1));
    assert!(!account.flush());
    assert_eq!(requests(&account.report(&Query::default(), false)), 1);
    assert!(account.report(&Query::default(), true).problem.unwrap().contains("state"));
    assert_eq!(account.report(&Query::default(), false).problem, None, "paths are no client's business");
    fs::remove_file(&blocked).unwrap();
    eventually("it is on the disk", || path.exists() && on_disk(&path) == 1);

    // A second one on the same folder sees what is there and keeps its own until the first is gone.
    let mut second = Account::with_pace(&path, HASTY);
    second.charge(day(0), 1, "m", &entry(1));
    assert!(!second.flush());
    account.charge(day(0), 1, "m", &entry(1));
    assert!(account.flush());
    assert_eq!((on_disk(&path), requests(&second.report(&Query::default(), true))), (2, 2));
    drop(account);
    eventually("both are on the disk", || on_disk(&path) == 3);
    assert_eq!(requests(&second.report(&Query::default(), true)), 3);
    assert!(second.flush());
}

#[test]
fn a_file_that_is_removed_is_written_again() {
    let (_dir, path) = folder();
    let mut account = Account::with_pace(&path, HASTY);
    account.charge(day(0), 1, "m", &entry(1));
    assert!(account.flush());
    fs::remove_dir_all(&path).unwrap();
    account.charge(day(0), 1, "m", &entry(1));
    assert!(account.flush());
    assert_eq!(on_disk(&path), 2);
}

#[test]
fn damage_is_left_out_and_kept_aside() {
    let (_dir, path) = folder();
    let mut account = Account::open(&path);
    for n in 0..4 {
        account.charge(day(n), 1, "m", &entry(n));
        assert!(account.flush());
    }
    drop(account);
    let file = path.join("journal");
    let mut bytes = fs::read(&file).unwrap();
    let second = bytes.windows(10).position(|w| w == b"2024-10-05").unwrap();
    bytes[second] = b'3';
    bytes.extend_from_slice(b"\xff\xfe garbage\n");
    fs::write(&file, &bytes).unwrap();
    let mut account = open(&path);
    assert_eq!(requests(&account.report(&Query::default(), true)), 3);
    assert_eq!(fs::read(path.join("journal.bad")).unwrap(), bytes);
    assert!(account.flush());
    assert_eq!(store::read(&path).unwrap().bad, 0, "it is written anew");
    drop(account);

    // Not a file at all.
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let mut account = open(&path);
    account.charge(day(0), 1, "m", &entry(1));
    assert!(account.flush());
    assert!(path.join("journal.bad").is_dir());
    assert_eq!(on_disk(&path), 1);
}

#[test]
fn old_days_are_merged_on_the_disk_too() {
    let (_dir, path) = folder();
    let mut account = Account::with_pace(&path, HASTY);
    for n in 0..300 {
        account.charge(day(n), (n % 3) as u32, "m", &entry(n));
        if n % 7 == 0 {
            assert!(account.flush());
        }
    }
    assert!(account.flush());
    let said = account.report(&Query::default(), true);
    let read = store::read(&path).unwrap().book;
    assert!(Report::new([read.pages()], &Query::default(), true) == said);
    assert_eq!((requests(&said), said.lines[0].period.as_deref()), (300, Some("2024-10")));
    assert!(read.pages().len() < 120, "{}", read.pages().len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_file_cut_anywhere_loses_the_cut_record_alone(charges in proptest::collection::vec((0..3u64, 0..3u32, 0..9u64), 1..8)) {
        let (_dir, path) = folder();
        let (mut store, _) = Store::open(&path).unwrap();
        let mut book = Book::default();
        // What is true once the file is so long.
        let mut truth = BTreeMap::from([(store.len(), book.clone())]);
        for (d, uid, n) in charges {
            book.charge(day(d), uid, "m", &entry(n));
            let places = book.take_changed();
            let mut lines = String::new();
            book.records(&places).for_each(|r| record::write(&r, &mut lines));
            store.add(&lines).unwrap();
            truth.insert(store.len(), book.clone());
        }
        drop(store);
        let whole = fs::read(path.join("journal")).unwrap();
        for cut in 0..=whole.len() {
            fs::write(path.join("journal"), &whole[..cut]).unwrap();
            // A record that lacks its line's end alone is whole.
            let want = truth.range(..=cut as u64 + 1).next_back().map_or_else(Book::default, |(_, b)| b.clone());
            let said = Report::new([want.pages()], &Query::default(), true);
            prop_assert_eq!(&read(&path, &Query::default()).unwrap(), &said, "cut at {}", cut);
            // And it goes on from there.
            if cut % 11 == 0 {
                let mut account = open(&path);
                prop_assert_eq!(account.report(&Query::default(), true), said);
                account.charge(day(1), 1, "m", &entry(3));
                let said = account.report(&Query::default(), true);
                prop_assert!(account.flush());
                drop(account);
                let loaded = store::read(&path).unwrap();
                prop_assert_eq!((loaded.bad, loaded.torn), (0, 0));
                prop_assert_eq!(Report::new([loaded.book.pages()], &Query::default(), true), said);
            }
        }
    }

    #[test]
    fn no_file_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let (_dir, path) = folder();
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("journal"), &bytes).unwrap();
        let mut account = open(&path);
        prop_assert_eq!(requests(&account.report(&Query::default(), true)), 0);
        account.charge(day(1), 1, "m", &entry(3));
        prop_assert!(account.flush());
        drop(account);
        prop_assert_eq!(on_disk(&path), 1);
    }
}

/// Names the part a child process plays, and its folder.
const PART: &str = "WATTLM_TEST_ACCOUNT";

/// This test, as a process of its own that plays a part.
fn child(part: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "energy::account::tests::a_killed_writer_loses_nothing_that_was_written", "--nocapture"])
        .env(PART, format!("{part} {}", dir.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Charges one request after another for ever and says how many it began with, charged and wrote.
fn charge_for_ever(dir: &Path) {
    let mut account = Account::with_pace(dir, HASTY);
    let mut out = std::io::stdout();
    let mut n = requests(&account.report(&Query::default(), true));
    writeln!(out, "\nwritten {n}").unwrap();
    loop {
        // Said first, so that what is on the disk is never more than what was said.
        n += 1;
        writeln!(out, "charged {n}").unwrap();
        account.charge(day(n / 40 % 200), (n % 5) as u32, "m", &entry(1));
        if n.is_multiple_of(3) {
            assert!(account.flush());
            writeln!(out, "written {n}").unwrap();
        }
    }
}

/// Goes on in memory while the file may not grow, and writes when it may again.
fn fill_the_disk(dir: &Path) {
    use nix::sys::resource::{getrlimit, setrlimit, Resource};
    use std::sync::atomic::AtomicBool;
    // With a handler the signal becomes an error of the write.
    signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::new(AtomicBool::new(false))).unwrap();
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    let mut account = Account::with_pace(dir, Pace { retry: Duration::from_millis(5), ..PACE });
    setrlimit(Resource::RLIMIT_FSIZE, 3000, hard).unwrap();
    let mut n = 0;
    while account.flush() {
        n += 1;
        account.charge(day(0), 1, "m", &entry(n));
    }
    let kept = on_disk(dir);
    assert_eq!(kept, n - 1, "what does not fit leaves no trace");
    let loaded = store::read(dir).unwrap();
    assert_eq!((loaded.bad, loaded.torn), (0, 0));
    for _ in 0..100 {
        n += 1;
        account.charge(day(0), 1, "m", &entry(n));
    }
    assert!(!account.flush());
    assert_eq!((requests(&account.report(&Query::default(), true)), on_disk(dir)), (n, kept));
    setrlimit(Resource::RLIMIT_FSIZE, hard, hard).unwrap();
    eventually("it is written when there is room", || on_disk(dir) == n);
    assert!(account.flush());
    println!("\nfull and well");
}

#[test]
fn a_killed_writer_loses_nothing_that_was_written() {
    if let Ok(part) = std::env::var(PART) {
        let (part, dir) = part.split_once(' ').unwrap();
        match part {
            "charge" => charge_for_ever(Path::new(dir)),
            _ => fill_the_disk(Path::new(dir)),
        }
        return;
    }
    let (_dir, path) = folder();
    let mut before = 0;
    for round in 0..12 {
        let mut child = child("charge", &path);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(std::result::Result::ok);
        let (mut charged, mut written) = (0, None);
        let mut hear = |line: String| match line.split_once(' ') {
            Some(("charged", n)) => charged = n.parse().unwrap(),
            Some(("written", n)) => {
                let n: u64 = n.parse().unwrap();
                written = Some(n);
            }
            _ => {}
        };
        // In the middle of its work, each time at another place.
        lines.by_ref().take(60 + 37 * round).for_each(&mut hear);
        child.kill().unwrap();
        child.wait().unwrap();
        lines.for_each(&mut hear);
        let written = written.expect("it began");
        let found = total(&store::read(&path).unwrap().book).0.requests;
        assert!(written >= before && (written..=charged.max(written)).contains(&found), "{written} {found} {charged}");
        before = found;
    }
    assert!(before > 500, "{before}");
}

#[test]
fn a_full_disk_is_lived_with() {
    let (_dir, path) = folder();
    let output = child("full", &path).wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("full and well"), "{said}");
}
