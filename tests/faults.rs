//! What goes wrong on a device, done on purpose: workers that die, hang and abort, under load and at any moment.
//!
//! `WATTLM_KILLS=1000` makes the kill test as long as a release check; by default it is short.

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{eventually, Daemon};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use serde_json::{json, Value};
use wattlm::client::{Client, Delta};
use wattlm::error::Code;

fn client(daemon: &Daemon) -> Client {
    Client::connect(&daemon.socket).expect("the daemon listens")
}

fn long(n: u32) -> Value {
    json!({"prompt": "turn", "max_tokens": n, "ignore_eos": true, "temperature": 0})
}

/// Starts an answer, sends the worker a signal after its first token, and returns the error and when it came.
fn hurt_in_mid_answer(daemon: &Daemon, signal: Signal) -> (wattlm::error::Error, Duration) {
    let client = client(daemon);
    // A small model on a busy machine: the answer may be complete before this thread gets to run. Then once more.
    for _ in 0..50 {
        let mut stream = client.completion_stream(long(490)).unwrap();
        while !matches!(stream.next(None).unwrap(), Delta::Text(_)) {}
        daemon.signal_workers(Signal::SIGSTOP);
        let begun = Instant::now();
        if signal != Signal::SIGSTOP {
            daemon.signal_workers(signal);
            daemon.signal_workers(Signal::SIGCONT);
        }
        loop {
            match stream.next(None) {
                Ok(Delta::Done(_)) => break,
                Ok(_) => {}
                Err(e) => return (e, begun.elapsed()),
            }
        }
        daemon.signal_workers(Signal::SIGCONT);
    }
    panic!("the answer always ended before the worker was hurt: make it longer");
}

#[test]
fn a_worker_that_dies_is_a_typed_error_and_the_next_request_is_served() {
    let daemon = Daemon::demo();
    for signal in [Signal::SIGKILL, Signal::SIGABRT, Signal::SIGBUS] {
        let (error, after) = hurt_in_mid_answer(&daemon, signal);
        assert_eq!(error.code, Code::WorkerLost, "{signal}: {error}");
        assert!(error.message.contains(signal.as_str()), "{error}");
        eprintln!("{signal}: told after {} ms", after.as_millis());
        client(&daemon).json("POST", "/v1/completions", Some(&long(3))).expect("the next one is served");
    }
    assert!(client(&daemon).status().unwrap()["totals"]["worker_faults"].as_u64().unwrap() >= 3);
}

#[test]
fn a_worker_that_hangs_is_killed_within_its_heartbeat_and_a_second() {
    let daemon = Daemon::with("[worker]\nheartbeat = '200ms'\n", &[&common::demo_models()]);
    let (error, after) = hurt_in_mid_answer(&daemon, Signal::SIGSTOP);
    assert_eq!(error.code, Code::WorkerHung, "{error}");
    eprintln!("SIGSTOP: told after {} ms", after.as_millis());
    client(&daemon).json("POST", "/v1/completions", Some(&long(3))).expect("the next one is served");
}

#[test]
fn a_daemon_that_was_stopped_blames_no_worker() {
    let daemon = Daemon::with("[worker]\nheartbeat = '100ms'\n", &[&common::demo_models()]);
    let client = client(&daemon);
    client.json("POST", "/v1/completions", Some(&long(1))).unwrap();
    // Something runs all the time.
    let stop = Arc::new(AtomicBool::new(false));
    let asker = {
        let (client, stop) = (client.clone(), Arc::clone(&stop));
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                client.json("POST", "/v1/completions", Some(&long(400))).expect("an answer");
            }
        })
    };
    for _ in 0..3 {
        eventually("it is busy", || client.status().unwrap()["running"].as_u64() > Some(0));
        daemon.signal(Signal::SIGSTOP);
        std::thread::sleep(Duration::from_millis(1500));
        daemon.signal(Signal::SIGCONT);
    }
    stop.store(true, Ordering::Relaxed);
    asker.join().expect("every request is answered");
    assert_eq!(client.status().unwrap()["totals"]["worker_faults"], 0);
}

#[test]
fn a_request_without_a_token_is_tried_once_more() {
    let daemon = Daemon::with("[worker]\nheartbeat = '200ms'\n", &[&common::demo_models()]);
    let client = client(&daemon);
    client.json("POST", "/v1/completions", Some(&long(1))).unwrap();
    daemon.signal_workers(Signal::SIGSTOP);
    // It reaches the stopped worker, which says nothing: no token can have been sent.
    let answer = client.json("POST", "/v1/completions", Some(&long(3))).expect("it is run again");
    assert_eq!(answer["wattlm"]["retries"], 1);
    assert_eq!(answer["usage"]["completion_tokens"], 3);
}

/// The demo model with some bytes replaced by as many others, in a folder of its own.
fn changed_model(from: &[u8], to: &[u8]) -> tempfile::TempDir {
    let models = tempfile::tempdir().unwrap();
    let mut bytes = std::fs::read(common::demo_models().join("wattlm-demo-q4_0.gguf")).unwrap();
    let at = bytes.windows(from.len()).position(|w| w == from).expect("the bytes are in the file");
    bytes[at..at + from.len()].copy_from_slice(to);
    std::fs::write(models.path().join("odd-q4_0.gguf"), bytes).unwrap();
    models
}

#[test]
fn a_failed_assertion_is_told_with_its_words() {
    // Two tokens of the vocabulary, '!' and '"', made equal: llama.cpp asserts that there are none such.
    let token = |c: u8| [&1u64.to_le_bytes()[..], &[c]].concat();
    let models = changed_model(&[token(b'!'), token(b'"')].concat(), &[token(b'!'), token(b'!')].concat());
    let daemon = Daemon::with("[worker]\nbackoff_first = '1ms'\n", &[models.path()]);
    let client = client(&daemon);
    // It fails each time it is loaded, so that the end is a quarantine.
    let error = client.json("POST", "/v1/completions", Some(&long(1))).unwrap_err();
    assert_eq!(error.code, Code::Quarantined, "{error}");
    assert!(error.message.contains("GGML_ASSERT"), "{error}");
    assert!(error.retry_after.is_some(), "{error}");
    let last = client.status().unwrap()["last_fault"].as_str().unwrap().to_owned();
    assert!(last.contains("GGML_ASSERT") && last.contains("SIGABRT"), "{last}");
    eventually("no worker is left", || daemon.workers().is_empty());
}

#[test]
fn a_file_that_llama_cpp_refuses_is_told_with_its_reason() {
    let models = changed_model(b"blk.0.attn_q.we", b"blk.0.attn_z.we");
    let daemon = Daemon::with("", &[models.path()]);
    let error = client(&daemon).json("POST", "/v1/completions", Some(&long(1))).unwrap_err();
    assert_eq!(error.code, Code::ModelLoadFailed, "{error}");
    assert!(error.message.contains("blk.0.attn_q"), "{error}");
    eventually("no worker is left", || daemon.workers().is_empty());
}

#[test]
fn workers_die_with_the_daemon() {
    let daemon = Daemon::demo();
    client(&daemon).json("POST", "/v1/completions", Some(&long(1))).unwrap();
    let workers = daemon.workers();
    assert_eq!(workers.len(), 1);
    daemon.signal(Signal::SIGKILL);
    eventually("the worker is gone", || kill(Pid::from_raw(workers[0]), None).is_err());
}

#[test]
fn a_model_that_keeps_dying_is_quarantined_and_comes_back() {
    let config = "[worker]\nfaults_to_quarantine = 2\nquarantine = '1s'\nbackoff_first = '1ms'\n";
    let daemon = Daemon::with(config, &[&common::demo_models()]);
    let client = client(&daemon);
    client.json("POST", "/v1/completions", Some(&long(1))).unwrap();
    let mut faults = 0;
    eventually("it is quarantined", || {
        daemon.signal_workers(Signal::SIGKILL);
        let e = client.completion_stream(long(490)).and_then(|mut s| loop {
            daemon.signal_workers(Signal::SIGKILL);
            if let Delta::Done(_) = s.next(None)? {
                return Ok(());
            }
        });
        faults += 1;
        e.is_err_and(|e| e.code == Code::Quarantined)
    });
    eventually("it is served again", || client.json("POST", "/v1/completions", Some(&long(1))).is_ok());
    assert!(faults < 50);
}

#[test]
fn a_thousand_kills_lose_nothing() {
    let kills: u64 = std::env::var("WATTLM_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(40);
    let config =
        "[models]\nslots = 4\n[worker]\nbackoff_first = '1ms'\nbackoff_max = '20ms'\nfaults_to_quarantine = 1000\n";
    let mut daemon = Daemon::with(config, &[&common::demo_models()]);
    let client = client(&daemon);
    client.json("POST", "/v1/completions", Some(&long(1))).unwrap();
    let (fds, threads) = (daemon.descriptors(), daemon.threads());

    let stop = Arc::new(AtomicBool::new(false));
    let counts = Arc::new([const { AtomicU64::new(0) }; 3]);
    let askers: Vec<_> = (0..6u32)
        .map(|n| {
            let (client, stop, counts) = (client.clone(), Arc::clone(&stop), Arc::clone(&counts));
            std::thread::spawn(move || {
                let mut i = 0;
                while !stop.load(Ordering::Relaxed) {
                    i += 1;
                    counts[0].fetch_add(1, Ordering::Relaxed);
                    let mut body = long(1 + (n * 37 + i * 13) % 200);
                    body["prompt"] = json!(format!("request {n} {i}"));
                    let mut ends = 0;
                    let mut stream = match client.completion_stream(body) {
                        Ok(stream) => stream,
                        Err(e) => {
                            assert!(matches!(e.code, Code::WorkerLost), "{e}");
                            counts[2].fetch_add(1, Ordering::Relaxed);
                            continue;
                        }
                    };
                    loop {
                        match stream.next(None) {
                            Ok(Delta::Done(_)) => {
                                ends += 1;
                                counts[1].fetch_add(1, Ordering::Relaxed);
                                break;
                            }
                            Ok(_) => {}
                            Err(e) => {
                                assert!(matches!(e.code, Code::WorkerLost), "{e}");
                                ends += 1;
                                counts[2].fetch_add(1, Ordering::Relaxed);
                                break;
                            }
                        }
                    }
                    assert_eq!(ends, 1);
                }
            })
        })
        .collect();

    let mut random = 0x2545_f491_4f6c_dd1du64;
    for n in 0..kills {
        // Every fourth may die while it starts or loads; the others have work.
        eventually("there is a worker to kill", || match n % 4 {
            0 => !daemon.workers().is_empty(),
            _ => client.status().unwrap()["lanes"][0]["running"].as_u64() > Some(0),
        });
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        std::thread::sleep(Duration::from_micros(random % 60_000));
        daemon.signal_workers(Signal::SIGKILL);
    }
    stop.store(true, Ordering::Relaxed);
    for asker in askers {
        asker.join().expect("every request of this client ended exactly once");
    }
    assert!(daemon.alive());
    let [asked, done, failed] = [0, 1, 2].map(|i| counts[i].load(Ordering::Relaxed));
    eprintln!("{kills} kills: {asked} requests, {done} answered, {failed} told that their worker was lost");
    assert_eq!(asked, done + failed);
    client.json("POST", "/v1/completions", Some(&long(1))).unwrap();
    let totals = client.status().unwrap()["totals"].clone();
    let n = |key: &str| totals[key].as_u64().unwrap();
    assert_eq!(n("requests"), n("completed") + n("cancelled") + n("failed") + n("refused"), "{totals}");
    assert_eq!(n("requests"), asked + 2);
    eventually("descriptors, threads and processes are as before", || {
        daemon.descriptors() <= fds && daemon.threads() <= threads && daemon.workers().len() <= 1
    });
}

#[test]
fn an_idle_daemon_is_small_and_sleeps() {
    let daemon = Daemon::demo();
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let rss: u64 = status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .and_then(|v| v.trim().trim_end_matches(" kB").parse().ok())
        .unwrap();
    eprintln!("idle: {rss} KiB resident");
    assert!(rss <= 16 * 1024, "{rss} KiB");
    let switches = || -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
        tasks
            .flatten()
            .filter_map(|t| std::fs::read_to_string(t.path().join("status")).ok())
            .flat_map(|s| {
                let n = |l: &str| l.split_whitespace().nth(1).and_then(|v| v.parse::<u64>().ok());
                s.lines().filter(|l| l.contains("ctxt_switches")).filter_map(n).collect::<Vec<_>>()
            })
            .sum()
    };
    // After the start it looks for a second at what the device draws.
    eventually("the meter rests", || daemon.log().contains("the meter rests"));
    let before = switches();
    let begun = Instant::now();
    std::thread::sleep(Duration::from_secs(4));
    let woken = switches() - before;
    eprintln!("idle: woken {woken} times in {:.1} s", begun.elapsed().as_secs_f64());
    assert!(woken <= 4, "{woken} wake-ups in 4 s");
}
