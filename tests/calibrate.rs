//! Profiles end to end: a real daemon learns from what it runs, keeps it, and says why and what a request would take.
#![cfg(all(feature = "daemon", feature = "engine"))]

mod common;

use std::fs;
use std::process::{Command, Output};

use common::bed::{ask, become_user, many_users, Bed, Words, DEMO};
use common::Daemon;
use serde_json::{json, Value};
use wattlm::client::Client;
use wattlm::error::Code;

/// Without a sensor energy is estimated by CPU time: no plant is needed. What a machine has of GPUs is left alone.
const ESTIMATED: &str = "[energy]\nsource = 'none'\ncore = '2W'\nidle = '1W'\n[gpu]\nenabled = false\n";

const VARIANT: &str = "wattlm-demo:q4_0";

fn cli(daemon: &Daemon, args: &[&str]) -> Output {
    let mut all = vec!["--socket", daemon.socket.to_str().expect("UTF-8")];
    all.extend(args);
    Command::new(env!("CARGO_BIN_EXE_wattlm")).args(all).output().expect("runs wattlm")
}

fn json_of(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(text.trim()).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn profile(client: &Client) -> Value {
    client.profiles().expect("profiles")["profiles"][0].clone()
}

/// With figures of six digits: the last ones may differ by the way through a text.
fn rounded(value: &Value) -> Value {
    match value {
        Value::Array(list) => list.iter().map(rounded).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), rounded(value))).collect(),
        Value::Number(n) => json!(format!("{:.5e}", n.as_f64().unwrap_or(0.0))),
        other => other.clone(),
    }
}

/// The files of profiles in a daemon's state.
fn files(daemon: &Daemon) -> Vec<std::path::PathBuf> {
    let dir = fs::read_dir(daemon.dir.path().join("state/profiles"));
    dir.map_or_else(|_| Vec::new(), |dir| dir.flatten().map(|e| e.path()).collect())
}

#[test]
fn a_calibration_measures_tells_and_is_kept() {
    let daemon = Daemon::with(ESTIMATED, &[&common::demo_models()]);
    let said = json_of(&cli(&daemon, &["--json", "calibrate", VARIANT, "--quick", "--time", "20s"]));
    let p = &said["profiles"][0];
    assert_eq!((p["model"].as_str(), said["profiles"].as_array().map(Vec::len)), (Some(VARIANT), Some(1)), "{said}");
    assert_eq!((&p["device"], &p["metered"]), (&json!("cpu"), &json!(false)), "{said}");
    assert!(p["calibrated"].is_u64() && p["prompts"].as_u64() > Some(3) && p["answers"].as_u64() > Some(3), "{said}");
    assert!(p["load"]["seconds"].as_f64() > Some(0.0) && p["load"]["joules"].as_f64() > Some(0.0), "{said}");
    let threads = p["threads"].as_array().expect("curves");
    for curve in threads {
        for point in curve["prefill"].as_array().unwrap().iter().chain(curve["decode"].as_array().unwrap()) {
            assert!(point["tokens_per_s"].as_f64() > Some(0.0), "{point}");
            assert!(point["joules_per_token"].as_f64() > Some(0.0), "{point}");
        }
    }
    // In company a token takes less than alone. With one thread: more share a busy machine's cores with others.
    let each = |batch: u64| {
        let points = threads[0]["decode"].as_array().unwrap();
        points.iter().find(|point| point["batch"] == batch).unwrap()["joules_per_token"].as_f64().unwrap()
    };
    assert!(each(4) < each(1), "{said}");
    assert!(said["findings"][0].as_str().is_some_and(|f| f.contains("cheapest for answers")), "{said}");

    // For people the same, and the status knows of it.
    let shown = cli(&daemon, &["calibrate", "--show"]);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(text.contains("energy estimated") && text.contains("THREADS  AT ONCE  CONTEXT"), "{text}");
    let status = String::from_utf8_lossy(&cli(&daemon, &["status"]).stdout).into_owned();
    assert!(status.contains("measured ") && status.contains("calibrated on 20"), "{status}");

    // A next daemon begins with it, before it has loaded anything.
    let client = Client::connect(&daemon.socket).unwrap();
    common::eventually("it is written", || !files(&daemon).is_empty());
    let before = profile(&client);
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    let mut daemon = daemon;
    daemon.wait();
    let next = Daemon::within(daemon.into_dir(), ESTIMATED, &[&common::demo_models()]);
    let after = profile(&Client::connect(&next.socket).unwrap());
    assert_eq!(rounded(&after["threads"]), rounded(&before["threads"]));
    assert_eq!(after["calibrated"], before["calibrated"]);

    // Rubbish in its place is left aside.
    let path = files(&next)[0].clone();
    let dir = next.into_dir();
    fs::write(&path, "{\"format\": 1, \"profile\": {\"load\"").unwrap();
    let last = Daemon::within(dir, ESTIMATED, &[&common::demo_models()]);
    assert_eq!(profile(&Client::connect(&last.socket).unwrap()), Value::Null);
    assert!(last.log().contains("it is left aside"), "{}", last.log());
}

#[test]
fn ordinary_requests_teach_what_an_estimate_then_says() {
    let daemon = Daemon::with(&format!("{ESTIMATED}[cpu]\nthreads = 1\n"), &[&common::demo_models()]);
    let client = Client::connect(&daemon.socket).unwrap();
    let body =
        |tokens: u32| json!({"prompt": Words::new(tokens.into()).text(20), "max_tokens": tokens, "ignore_eos": true});
    let before = client.estimate(&body(50)).unwrap();
    assert_eq!((&before["measured"], &before["object"]), (&json!(false), &json!("wattlm.estimate")), "{before}");
    assert!(before["memory"].as_u64().is_some_and(|bytes| bytes > 1 << 20), "{before}");
    assert_eq!(client.status().unwrap()["lanes"], json!([]), "nothing is loaded for an estimate");
    let mut words = Words::new(1);
    // Of some tenths of a second each: what others do on a busy machine is not all of it.
    for tokens in [400, 300, 400, 350, 400, 300, 400, 350] {
        ask(&client, DEMO, &words.text(20), tokens);
    }
    let said = client.estimate(&body(350)).unwrap();
    assert_eq!((&said["measured"], &said["memory"]), (&json!(true), &json!(0)), "{said}");
    let took = ask(&client, DEMO, &words.text(20), 350);
    let (foretold, real) = (said["joules"].as_f64().unwrap(), took.energy("joules"));
    assert!((foretold / real).ln().abs() < 0.7, "{foretold} J foretold, {real} J taken: {said}");
    // The quickest of some tells the lane's speed.
    let seconds = |answer: common::bed::Answer| answer.receipt["decode_s"].as_f64().expect("seconds");
    let real = (0..4).map(|_| seconds(ask(&client, DEMO, &words.text(20), 350))).fold(f64::INFINITY, f64::min);
    let foretold = said["plan"]["time"]["decode"].as_f64().unwrap();
    assert!((foretold / real).ln().abs() < 1.1, "{foretold} s foretold, {real} s taken: {said}");
    // What would be refused is refused.
    for (wrong, code) in [
        (json!({"prompt": "x", "model": "no-such-model"}), Code::ModelNotFound),
        (json!({"prompt": "x", "wattlm": {"policy": "fastest"}}), Code::InvalidRequest),
    ] {
        assert_eq!(client.estimate(&wrong).unwrap_err().code, code, "{wrong}");
    }
    let page = cli(&daemon, &["estimate", "wake me at seven", "-n", "20"]);
    let text = String::from_utf8_lossy(&page.stdout).into_owned();
    assert!(page.status.success() && text.contains("first token") && text.contains("PLAN cpu"), "{text}");
}

#[test]
fn a_request_is_explained_to_its_owner_and_to_administrators() {
    let bed = Bed::new(&["--trees", "none"], "");
    let answer = ask(&bed.client, DEMO, "count with me", 20);
    let name = answer.receipt["request"].as_str().expect("a name").to_owned();
    let report = bed.client.explain(&name).unwrap();
    assert_eq!((&report["state"], &report["request"]), (&json!("completed"), &json!(name)), "{report}");
    assert_eq!(report["outcome"]["usage"]["completion_tokens"], 20, "{report}");
    assert_eq!(report["outcome"]["receipt"]["energy"], answer.receipt["energy"], "{report}");
    let page = cli(&bed.daemon, &["explain", &name]);
    let text = String::from_utf8_lossy(&page.stdout).into_owned();
    assert!(text.contains("completed") && text.contains("20 of the answer"), "{text}");
    for unknown in ["req-00000000", "rubbish", "req-ffffffffffffffff"] {
        assert_eq!(bed.client.explain(unknown).unwrap_err().code, Code::NotFound, "{unknown}");
    }
    if !many_users() {
        return;
    }
    let socket = bed.daemon.socket.clone();
    let mine = name.clone();
    let other = std::thread::spawn(move || {
        become_user(common::measure::USERS[0]);
        let client = Client::connect(&socket).expect("anybody may ask");
        let own = ask(&client, DEMO, "turn", 8).receipt["request"].as_str().unwrap().to_owned();
        let threads = json!({"prompt": "x", "max_tokens": 1, "wattlm": {"threads": 1}});
        (
            client.explain(&mine).err().map(|e| e.code),
            client.explain(&own).map(|r| r["state"].clone()).ok(),
            client.json("POST", "/v1/completions", Some(&threads)).err().map(|e| (e.code, e.param)),
            own,
        )
    });
    let (others, own, threads, theirs) = other.join().expect("answers");
    assert_eq!((others, own), (Some(Code::NotFound), Some(json!("completed"))));
    assert_eq!(threads, Some((Code::Forbidden, Some("wattlm.threads".into()))));
    assert_eq!(bed.client.explain(&theirs).unwrap()["uid"], common::measure::USERS[0]);
}

#[test]
fn a_device_without_a_gpu_says_so() {
    let daemon = Daemon::with(ESTIMATED, &[&common::demo_models()]);
    let client = Client::connect(&daemon.socket).unwrap();
    let body = json!({"prompt": "x", "max_tokens": 1, "wattlm": {"backend": "gpu"}});
    let e = client.json("POST", "/v1/completions", Some(&body)).unwrap_err();
    assert!(e.code == Code::InvalidRequest && e.message.contains("No GPU"), "{e}");
    let refused = cli(&daemon, &["calibrate", "--backend", "gpu"]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && text.contains("has no GPU"), "{text}");
    let refused = cli(&daemon, &["calibrate", "no-such-model"]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && text.contains("no-such-model"), "{text}");
}
