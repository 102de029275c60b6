//! What an app sees: a real daemon with the demo model, asked over its socket.

mod common;

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::{eventually, Daemon};
use nix::sys::signal::Signal;
use serde_json::{json, Value};
use wattlm::client::{Client, Delta, Final, LoadProgress};
use wattlm::error::{Code, Error};

fn client(daemon: &Daemon) -> Client {
    Client::connect(&daemon.socket).expect("the daemon listens")
}

fn chat(client: &Client, text: &str) -> Value {
    let body = json!({"messages": [{"role": "user", "content": text}], "temperature": 0});
    client.json("POST", "/v1/chat/completions", Some(&body)).expect("an answer")
}

fn content(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().expect("text")
}

/// A body for an answer of exactly `n` tokens.
fn long(n: u32) -> Value {
    json!({"prompt": "turn", "max_tokens": n, "ignore_eos": true, "temperature": 0})
}

fn read_all(mut stream: wattlm::client::Stream) -> Result<(String, Final), Error> {
    let mut text = String::new();
    loop {
        match stream.next(None)? {
            Delta::Text(t) => text += &t,
            Delta::Done(last) => return Ok((text, last)),
            _ => {}
        }
    }
}

/// With this a worker may stand still for a while without being taken for hung.
const PATIENT: &str = "[worker]\nheartbeat = '50s'\n";

/// A request that occupies its slot: its worker is stopped after the first token. `SIGCONT` lets it go on.
fn held(daemon: &Daemon, client: &Client) -> wattlm::client::Stream {
    let mut running = client.completion_stream(long(480)).unwrap();
    while !matches!(running.next(None).unwrap(), Delta::Text(_)) {}
    daemon.signal_workers(Signal::SIGSTOP);
    running
}

#[test]
fn a_chat_is_answered_whole_and_streamed_alike() {
    let daemon = Daemon::demo();
    let client = client(&daemon);
    let whole = chat(&client, "turn off the lights in the kitchen");
    let command: Value = serde_json::from_str(content(&whole)).expect("the demo model writes JSON");
    assert_eq!(command["room"], "kitchen", "{command}");
    assert_eq!(whole["choices"][0]["finish_reason"], "stop");
    let usage = &whole["usage"];
    assert_eq!(
        usage["total_tokens"].as_u64(),
        Some(usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap())
    );
    let receipt = &whole["wattlm"];
    assert!(receipt["model"].as_str().unwrap().starts_with("wattlm-demo:"), "{receipt}");
    assert_eq!(receipt["device"], "cpu");
    assert!(receipt["decode_s"].as_f64().unwrap() > 0.0);

    let body = json!({"messages": [{"role": "user", "content": "turn off the lights in the kitchen"}], "temperature": 0,
                      "stream_options": {"include_usage": true}});
    let (text, last) = read_all(client.chat_stream(body).unwrap()).unwrap();
    assert_eq!(text, content(&whole));
    assert_eq!(last.finish_reason, "stop");
    assert_eq!(last.usage["completion_tokens"], usage["completion_tokens"]);
    assert!(daemon.stop().success());
}

#[test]
fn the_daemon_loads_on_demand_and_lets_go() {
    let daemon = Daemon::demo();
    let client = client(&daemon);
    let state = || client.status().unwrap()["lanes"].as_array().map_or(0, Vec::len);
    assert_eq!((state(), daemon.workers().len()), (0, 0));
    let mut loading = client.load("wattlm-demo").unwrap();
    while loading.next().unwrap() != LoadProgress::Loaded {}
    assert_eq!((state(), daemon.workers().len()), (1, 1));
    let lane = &client.status().unwrap()["lanes"][0];
    assert!(!lane["kernels"].as_str().unwrap().is_empty());
    // Ctrl-C in the daemon's terminal must not reach it.
    let worker = nix::unistd::Pid::from_raw(daemon.workers()[0]);
    assert_eq!(nix::unistd::getpgid(Some(worker)), Ok(worker));
    client.unload("wattlm-demo").unwrap();
    assert_eq!((state(), daemon.workers().len()), (0, 0));
    // Health and metrics wake nothing.
    client.json("GET", "/health", None).unwrap();
    client.request("GET", "/metrics", None).unwrap().ok().unwrap();
    client.models().unwrap();
    assert_eq!((state(), daemon.workers().len()), (0, 0));
}

#[test]
fn an_idle_model_is_unloaded() {
    let daemon = Daemon::with("[models]\nidle_unload = '200ms'\n", &[&common::demo_models()]);
    chat(&client(&daemon), "what time is it");
    eventually("the worker goes", || daemon.workers().is_empty());
}

#[test]
fn the_same_seed_gives_the_same_text() {
    let daemon = Daemon::demo();
    let client = client(&daemon);
    let ask = |seed: u32| {
        let body = json!({"prompt": "set the", "max_tokens": 40, "temperature": 1.5, "seed": seed, "ignore_eos": true});
        client.json("POST", "/v1/completions", Some(&body)).unwrap()["choices"][0]["text"].as_str().unwrap().to_owned()
    };
    let first = ask(7);
    assert_eq!(first, ask(7));
    assert_ne!(first, ask(8));
}

#[test]
fn bad_requests_are_told_what_is_wrong() {
    let daemon = Daemon::demo();
    let client = client(&daemon);
    let message = |m: &str| json!([{"role": "user", "content": m}]);
    let too_long = "kitchen ".repeat(2000);
    for (path, body, code) in [
        ("/v1/chat/completions", json!({"messages": message(&too_long)}), Code::ContextLengthExceeded),
        (
            "/v1/chat/completions",
            json!({"messages": message("hi"), "max_tokens": 100_000}),
            Code::ContextLengthExceeded,
        ),
        ("/v1/chat/completions", json!({"messages": message("hi"), "model": "wattlm-dmo"}), Code::ModelNotFound),
        (
            "/v1/chat/completions",
            json!({"messages": message("hi"), "tools": [{"type": "function"}]}),
            Code::UnsupportedField,
        ),
        ("/v1/chat/completions", json!({"messages": message("hi"), "n": 2}), Code::UnsupportedField),
        ("/v1/completions", json!({"prompt": "x", "temperature": 9}), Code::InvalidRequest),
        ("/v1/completions", json!({"prompt": "x", "logit_bias": {"999999": 1}}), Code::InvalidRequest),
    ] {
        let error = client.json("POST", path, Some(&body)).expect_err(&body.to_string());
        assert_eq!(error.code, code, "{error} for {}", &body.to_string()[..60.min(body.to_string().len())]);
    }
    // Nothing of it harmed anybody.
    chat(&client, "good night");
    assert_eq!(client.status().unwrap()["totals"]["worker_faults"], 0);
}

#[test]
fn a_cancelled_request_ends_at_once() {
    let daemon = Daemon::demo();
    let client = client(&daemon);
    // By DELETE.
    let mut stream = client.completion_stream(long(480)).unwrap();
    let id = stream.request_id().expect("a request id").to_owned();
    while !matches!(stream.next(None).unwrap(), Delta::Text(_)) {}
    client.cancel(&id).unwrap();
    let error = loop {
        match stream.next(None) {
            Ok(Delta::Done(_)) => panic!("it was cancelled"),
            Ok(_) => {}
            Err(e) => break e,
        }
    };
    assert_eq!(error.code, Code::Cancelled);
    assert_eq!(client.cancel(&id).unwrap_err().code, Code::NotFound);
    // By hanging up.
    let mut stream = client.completion_stream(long(480)).unwrap();
    while !matches!(stream.next(None).unwrap(), Delta::Text(_)) {}
    drop(stream);
    eventually("both are counted", || client.status().unwrap()["totals"]["cancelled"] == 2);
    // The client is told at once; the slot is free when the worker has ended its step.
    eventually("the slots are free", || client.status().unwrap()["running"] == 0);
}

#[test]
fn a_prompt_is_reused_by_its_own_user() {
    let daemon = Daemon::demo();
    let client = client(&daemon);
    let text = "please make it a little bit warmer in the bedroom and in the kitchen";
    let cached = |answer: &Value| answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    assert_eq!(cached(&chat(&client, text)), 0);
    let again = chat(&client, text);
    assert_eq!(cached(&again), again["usage"]["prompt_tokens"].as_u64().unwrap() - 1);
}

/// What curl, run by this user, is answered: status and body.
fn curl_as(uid: u32, daemon: &Daemon, method: &str, path: &str) -> (String, Value) {
    let out = Command::new("curl")
        .uid(uid)
        .args(["-sS", "--max-time", "60", "-X", method, "-w", "\n%{http_code}", "--unix-socket"])
        .arg(&daemon.socket)
        .arg(format!("http://localhost{path}"))
        .output()
        .expect("curl runs");
    let text = String::from_utf8(out.stdout).expect("UTF-8");
    let (body, status) = text.rsplit_once('\n').expect("a status");
    (status.to_owned(), serde_json::from_str(body).unwrap_or_default())
}

#[test]
fn nobody_cancels_another_users_request() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can be somebody else");
        return;
    }
    let config = format!("[server]\nmode = '0666'\n{PATIENT}");
    let daemon = Daemon::with(&config, &[&common::demo_models()]);
    std::fs::set_permissions(daemon.dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let client = client(&daemon);
    let running = held(&daemon, &client);
    let id = running.request_id().expect("a request id").to_owned();
    let path = format!("/wattlm/v1/requests/{id}");
    let (status, body) = curl_as(65_534, &daemon, "DELETE", &path);
    assert_eq!((status.as_str(), &body["error"]["code"]), ("404", &json!("not_found")), "{body}");
    // The same answer as for one that never was.
    let (status, other) = curl_as(65_534, &daemon, "DELETE", "/wattlm/v1/requests/req-0000000000000001");
    assert_eq!((status, other), ("404".to_owned(), body));
    // It still runs, and its owner's word counts.
    daemon.signal_workers(Signal::SIGCONT);
    client.cancel(&id).expect("it is there to be cancelled");
}

#[test]
fn requests_run_side_by_side_and_classes_are_ordered() {
    let daemon = Daemon::with(&format!("[models]\nslots = 1\n{PATIENT}"), &[&common::demo_models()]);
    let client = client(&daemon);
    let running = held(&daemon, &client);
    let (done, order) = std::sync::mpsc::channel();
    let mut askers = Vec::new();
    for (n, class) in ["background", "standard", "interactive"].into_iter().enumerate() {
        let (asker, done) = (client.clone(), done.clone());
        askers.push(std::thread::spawn(move || {
            // Long enough that the order in which threads wake cannot be mistaken for the order of the ends.
            let mut body = long(400);
            body["wattlm"] = json!({"class": class});
            asker.json("POST", "/v1/completions", Some(&body)).unwrap();
            done.send(class).unwrap();
        }));
        eventually("it is queued", || client.status().unwrap()["queued"] == n + 1);
    }
    daemon.signal_workers(Signal::SIGCONT);
    drop(running);
    let order: Vec<&str> = order.iter().take(3).collect();
    assert_eq!(order, ["interactive", "standard", "background"]);
    for asker in askers {
        asker.join().unwrap();
    }
}

#[test]
fn a_full_queue_says_when_to_come_back() {
    let daemon = Daemon::with(&format!("[models]\nslots = 1\n[queue]\nmax = 1\n{PATIENT}"), &[&common::demo_models()]);
    let client = client(&daemon);
    let running = held(&daemon, &client);
    let waiting = {
        let client = client.clone();
        std::thread::spawn(move || client.json("POST", "/v1/completions", Some(&long(4))))
    };
    eventually("it waits", || client.status().unwrap()["queued"] == 1);
    let error = client.json("POST", "/v1/completions", Some(&long(4))).unwrap_err();
    assert_eq!(error.code, Code::QueueFull);
    assert!(error.retry_after.is_some_and(|d| d >= Duration::from_secs(1)), "{error:?}");
    daemon.signal_workers(Signal::SIGCONT);
    drop(running);
    waiting.join().unwrap().expect("who waited is served");
}

#[test]
fn a_deadline_is_kept() {
    let daemon = Daemon::demo();
    let client = client(&daemon);
    chat(&client, "hello");
    let mut body = long(490);
    body["wattlm"] = json!({"deadline_ms": 1});
    assert_eq!(client.json("POST", "/v1/completions", Some(&body)).unwrap_err().code, Code::DeadlineExceeded);
}

#[test]
fn a_bad_configuration_never_replaces_a_good_one() {
    let daemon = Daemon::with("[models]\nslots = 2\n", &[&common::demo_models()]);
    let client = client(&daemon);
    std::fs::write(daemon.dir.path().join("wattlm.toml"), "[models]\nslotz = 3\n").unwrap();
    daemon.signal(Signal::SIGHUP);
    eventually("the mistake is named", || daemon.log().contains("wattlm.toml:2:") && daemon.log().contains("slots"));
    chat(&client, "hello");
    assert_eq!(client.status().unwrap()["lanes"][0]["slots"], 2);
    std::fs::write(daemon.dir.path().join("wattlm.toml"), "[models]\nslots = 3\n").unwrap();
    daemon.signal(Signal::SIGHUP);
    eventually("it is reloaded", || daemon.log().contains("configuration reloaded"));
    client.unload("wattlm-demo").unwrap();
    chat(&client, "hello");
    assert_eq!(client.status().unwrap()["lanes"][0]["slots"], 3);
}

#[test]
fn a_wrong_digest_or_a_broken_file_is_refused() {
    let models = tempfile::tempdir().unwrap();
    let source = common::demo_models().join("wattlm-demo-q4_0.gguf");
    std::fs::copy(&source, models.path().join("changed-q4_0.gguf")).unwrap();
    std::fs::write(models.path().join("changed-q4_0.gguf.sha256"), format!("{}  changed-q4_0.gguf\n", "0".repeat(64)))
        .unwrap();
    let whole = std::fs::read(&source).unwrap();
    std::fs::write(models.path().join("cut-q4_0.gguf"), &whole[..whole.len() / 2]).unwrap();
    std::fs::write(models.path().join("good-q4_0.gguf"), &whole).unwrap();
    let daemon = Daemon::with("", &[models.path()]);
    let client = client(&daemon);
    let ask = |model: &str| {
        client.json("POST", "/v1/completions", Some(&json!({"prompt": "x", "model": model, "max_tokens": 1})))
    };
    assert_eq!(ask("changed").unwrap_err().code, Code::ModelUnverified);
    assert_eq!(ask("cut").unwrap_err().code, Code::ModelLoadFailed);
    ask("good").unwrap();
}

#[test]
fn a_model_that_does_not_fit_is_refused_with_figures() {
    let daemon = Daemon::with("[models]\nmemory_reserve = '900G'\n", &[&common::demo_models()]);
    let error = client(&daemon).json("POST", "/v1/completions", Some(&long(1))).unwrap_err();
    assert_eq!(error.code, Code::InsufficientMemory, "{error}");
    assert!(error.message.contains("MiB") || error.message.contains("GiB"), "{error}");
}

#[test]
fn a_second_daemon_does_not_take_the_socket() {
    let daemon = Daemon::demo();
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_wattlmd"))
        .arg("--socket")
        .arg(&daemon.socket)
        .args(["--config", "/dev/null"])
        .arg("--state")
        .arg(daemon.dir.path().join("state2"))
        .output()
        .unwrap();
    assert!(!second.status.success());
    chat(&client(&daemon), "hello");
    let socket = daemon.socket.clone();
    assert!(daemon.stop().success());
    assert!(!Path::new(&socket).exists());
}

#[test]
fn systemd_activation_needs_no_path() {
    if std::process::Command::new("systemd-socket-activate").arg("--version").output().is_err() {
        eprintln!("systemd-socket-activate is not installed: not tested here");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("activated");
    let mut activator = std::process::Command::new("systemd-socket-activate")
        .arg("-l")
        .arg(&socket)
        .arg(env!("CARGO_BIN_EXE_wattlmd"))
        .args(["--config", "/dev/null", "--models"])
        .arg(common::demo_models())
        .arg("--state")
        .arg(dir.path().join("state"))
        .spawn()
        .unwrap();
    eventually("the activator listens", || UnixStream::connect(&socket).is_ok());
    chat(&Client::connect(&socket).unwrap(), "hello");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(activator.id()).unwrap());
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    assert!(activator.wait().unwrap().success());
    assert!(socket.exists(), "a socket that systemd made is systemd's to remove");
}

#[test]
fn a_half_closed_client_still_gets_its_answer() {
    let daemon = Daemon::demo();
    let mut socket = UnixStream::connect(&daemon.socket).unwrap();
    let body = long(5).to_string();
    write!(
        socket,
        "POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
