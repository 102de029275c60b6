//! A disk that is full: the daemon goes on answering, what was written stays as it was, it says once what it cannot keep,
//! and writes again when there is room.
//!
//! The disk is a small file system in memory, in a mount namespace of this test's own: as root, or where users may have
//! namespaces. Elsewhere the test says that it is skipped.
#![cfg(all(feature = "daemon", feature = "engine"))]

mod common;

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use common::{eventually, Daemon};
use nix::sys::signal::Signal;
use serde_json::{json, Value};
use wattlm::client::Client;

/// Set where the test runs within the namespace.
const WITHIN: &str = "WATTLM_TEST_FULL_DISK";
/// What the inner test says when it could not even begin, and when all of it held.
const NO_MOUNT: &str = "no file system can be mounted";
const WELL: &str = "full and well";

/// More than is ever used: it is all about what the file says.
const CONFIG: &str = "[energy]\nsource = 'none'\n[[client]]\nname = 'default'\njoules_per_hour = '1000J'\n";
/// A file of a file system in memory grows by pages.
const PAGE: u64 = 4096;

#[test]
fn a_full_disk_neither_ends_the_daemon_nor_harms_what_was_there() {
    if std::env::var_os(WITHIN).is_some() {
        return within();
    }
    let mut unshare = Command::new("unshare");
    unshare.arg("--mount");
    if !nix::unistd::geteuid().is_root() {
        unshare.arg("--map-root-user");
    }
    let output = unshare
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "a_full_disk_neither_ends_the_daemon_nor_harms_what_was_there", "--nocapture"])
        .env(WITHIN, "1")
        .output();
    let said = output.as_ref().map_or_else(
        |e| format!("unshare: {e}"),
        |o| String::from_utf8_lossy(&[&o.stdout[..], &o.stderr[..]].concat()).into_owned(),
    );
    if said.contains(NO_MOUNT) || said.contains("unshare: ") {
        // Not through the harness, which would keep it to itself.
        let _ = writeln!(std::io::stderr(), "SKIPPED, for it wants root or namespaces of users: a full disk ({said})");
        return;
    }
    assert!(output.is_ok_and(|o| o.status.success()) && said.contains(WELL), "{said}");
}

/// A mounted file system; unmounted when it goes.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path, kib: u32) -> Option<Disk> {
        fs::create_dir(at).unwrap();
        let options = format!("size={kib}k,mode=0700");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).status();
        status.is_ok_and(|s| s.success()).then(|| Disk(at.to_owned()))
    }

    /// Leaves no byte.
    fn fill(&self) {
        let mut ballast = File::create(self.0.join("ballast")).unwrap();
        for size in [4096, 1] {
            let full = loop {
                if let Err(e) = ballast.write_all(&vec![0; size]) {
                    break e;
                }
            };
            assert_eq!(full.kind(), ErrorKind::StorageFull, "{full}");
        }
    }

    fn free(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn ask(client: &Client) {
    let body = json!({"prompt": "turn", "max_tokens": 20, "ignore_eos": true, "temperature": 0});
    let answer = client.json("POST", "/v1/completions", Some(&body)).expect("it is answered on a full disk as well");
    assert_eq!(answer["usage"]["completion_tokens"], 20);
}

fn requests(client: &Client) -> u64 {
    client.account("").unwrap()["total"]["requests"].as_u64().unwrap()
}

fn left(client: &Client) -> f64 {
    client.budget(None).unwrap()["purses"][0]["left"].as_f64().unwrap()
}

/// Lines of the log that say this.
fn said(daemon: &Daemon, what: &str) -> usize {
    daemon.log().lines().filter(|line| line.contains(what)).count()
}

fn within() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let Some(disk) = Disk::mount(&state, 64) else {
        println!("{NO_MOUNT}");
        return;
    };
    let (journal, purses) = (state.join("account/journal"), state.join("purses"));
    // So long that little more fits on its page.
    fs::create_dir(state.join("account")).unwrap();
    fs::write(&journal, format!("# {}\n", "-".repeat(PAGE as usize - 700))).unwrap();

    let daemon = Daemon::within(dir, CONFIG, &[&common::demo_models()]);
    let client = Client::connect(&daemon.socket).unwrap();
    let length = || fs::metadata(&journal).unwrap().len();
    let mut asked = 0;
    let mut before = length();
    let mut room = PAGE - before % PAGE;
    while room > 200 {
        ask(&client);
        asked += 1;
        eventually("the account is written", || length() > before);
        before = length();
        room = PAGE - before % PAGE;
    }
    assert!(asked > 0 && purses.exists(), "{asked} asked");
    let kept = requests(&client);
    assert_eq!(kept, asked);
    let purses_before = fs::read(&purses).unwrap();

    disk.fill();
    let (full_of, full_at) = (left(&client), Instant::now());
    while said(&daemon, "account: ") == 0 || said(&daemon, "energy budgets hold, but are forgotten") == 0 {
        ask(&client);
        asked += 1;
        assert!(asked < 3_000, "it does not say that the disk is full");
    }
    for _ in 0..20 {
        ask(&client);
        asked += 1;
    }
    assert_eq!(requests(&client), asked, "it is kept in memory");
    assert!(left(&client) < full_of, "budgets hold");
    assert_eq!(said(&daemon, "cannot be written"), 1, "{}", daemon.log());
    assert_eq!(said(&daemon, "energy budgets hold, but are forgotten"), 1, "{}", daemon.log());
    let json: Value = serde_json::from_slice(&purses_before).unwrap();
    assert!(json.is_object());
    assert_eq!(fs::read(&purses).unwrap(), purses_before, "the file is as it was");
    let short = length();
    assert!(short >= before && short.div_ceil(PAGE) == before.div_ceil(PAGE), "{short} after {before}");

    // Killed, and started on the full disk: what was written is all there.
    daemon.signal(Signal::SIGKILL);
    let daemon = Daemon::within(daemon.into_dir(), CONFIG, &[&common::demo_models()]);
    let client = Client::connect(&daemon.socket).unwrap();
    let found = requests(&client);
    assert!((kept..=asked).contains(&found), "{found} of {kept} to {asked}");
    let back = full_at.elapsed().as_secs_f64() * 1000.0 / 3600.0;
    assert!(left(&client) <= full_of + back + 0.01, "no fuller than the file said, but for the time since");
    ask(&client);

    // With room again, all of it is written without being asked for.
    disk.free();
    eventually("all is written again", || {
        ask(&client);
        said(&daemon, "account: ") == 0 || said(&daemon, "is written again") == 1
    });
    let total = requests(&client);
    let dir = daemon.into_dir_after_stop();
    let daemon = Daemon::within(dir, CONFIG, &[&common::demo_models()]);
    let client = Client::connect(&daemon.socket).unwrap();
    assert_eq!(requests(&client), total);
    for bad in ["purses.bad", "account/journal.bad"] {
        assert!(!state.join(bad).exists(), "{bad}");
    }
    assert_eq!(said(&daemon, "cannot be written") + said(&daemon, "are forgotten"), 0, "{}", daemon.log());
    drop(daemon);
    drop(disk);
    println!("{WELL}");
}
