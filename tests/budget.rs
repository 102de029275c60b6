//! Energy budgets against clients that cheat: a real daemon, the demo model, and every way around a purse that we know.
//! Without a sensor the daemon charges the worker's CPU time, so that these tests need no plant.
#![cfg(all(feature = "daemon", feature = "engine"))]

mod common;

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::Daemon;
use nix::sys::signal::Signal;
use serde_json::{json, Value};
use wattlm::client::{Client, Delta};
use wattlm::error::{Code, Error};

/// What a user may use in an hour.
const PURSE: f64 = 3.0;
/// Of one that a single answer can empty.
const SMALL: f64 = 0.12;
/// What one decode step, or a prefill chunk of 64 tokens, of the demo model takes at most, in joules.
const STEP: f64 = 0.1;
/// As many tokens as the model's context leaves to an answer.
const HUGE: u32 = 480;

fn config(purse: f64) -> String {
    format!(
        "[energy]\nsource = 'none'\ncore = '2W'\nidle = '1W'\n[cpu]\nthreads = 1\nprefill_chunk = 64\n\
         [[client]]\nname = 'default'\njoules_per_hour = '{purse}J'\n"
    )
}

/// They measure, so they do not run beside each other.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A daemon with the model loaded, at nobody's cost.
fn start(purse: f64) -> (Daemon, Client) {
    let daemon = Daemon::with(&config(purse), &[&common::demo_models()]);
    let client = ready(&daemon);
    (daemon, client)
}

fn ready(daemon: &Daemon) -> Client {
    let client = Client::connect(&daemon.socket).unwrap();
    let mut loading = client.load("wattlm-demo").unwrap();
    while loading.next().unwrap() != wattlm::client::LoadProgress::Loaded {}
    client
}

/// A request for this many tokens, whose prompt no cache knows.
fn body(words: usize, tokens: u32) -> Value {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let prompt: String = (0..words).map(|word| format!("{n}-{word} ")).collect();
    json!({"prompt": prompt, "max_tokens": tokens, "ignore_eos": true, "temperature": 0})
}

fn ask(client: &Client, body: &Value) -> Result<Value, Error> {
    client.json("POST", "/v1/completions", Some(body))
}

fn left(client: &Client) -> f64 {
    client.budget(None).unwrap()["purses"][0]["left"].as_f64().unwrap()
}

/// What was charged to everybody, once nothing runs.
fn charged(client: &Client) -> f64 {
    common::eventually("nothing runs", || client.status().unwrap()["running"] == 0);
    client.account("").unwrap()["total"]["joules"].as_f64().unwrap()
}

/// The cheat ends with a refusal that says what to do, and got no more than one step beyond the purse.
fn caught(client: &Client, refusal: &Error, purse: f64, begun: Instant) {
    assert_eq!(refusal.code, Code::BudgetExhausted, "{refusal}");
    assert!(refusal.retry_after.is_some_and(|wait| wait > Duration::ZERO), "{refusal:?}");
    assert!(refusal.message.contains("energy budget of the hour has"), "{refusal}");
    let (charged, refilled) = (charged(client), begun.elapsed().as_secs_f64() * purse / 3_600.0);
    assert!(charged <= purse + refilled + STEP, "{charged} J of {purse} J");
    assert!(charged > purse / 4.0, "{charged} J: it was refused too early to prove anything");
}

/// Repeats a cheat until it is refused.
fn until_refused(mut cheat: impl FnMut() -> Result<(), Error>) -> Error {
    let end = Instant::now() + common::PATIENCE * 2;
    loop {
        if let Err(error) = cheat() {
            return error;
        }
        assert!(Instant::now() < end, "the cheat goes on for ever");
    }
}

#[test]
fn a_huge_max_tokens_ends_where_the_purse_does() {
    let _alone = alone();
    let begun = Instant::now();
    let (_daemon, client) = start(SMALL);
    let answer = ask(&client, &body(4, HUGE)).unwrap();
    assert_eq!(answer["choices"][0]["finish_reason"], "length", "{answer}");
    let energy = &answer["wattlm"]["energy"];
    assert_eq!(energy["limit"], "your energy budget of the hour is used up", "{answer}");
    assert!(answer["usage"]["completion_tokens"].as_u64().unwrap() < HUGE.into(), "{answer}");
    caught(&client, &ask(&client, &body(4, HUGE)).unwrap_err(), SMALL, begun);
}

#[test]
fn max_joules_ends_an_answer_and_says_so() {
    let _alone = alone();
    let (_daemon, client) = start(PURSE);
    let mut body = body(4, HUGE);
    body["wattlm"] = json!({"max_joules": 0.1});
    let answer = ask(&client, &body).unwrap();
    assert_eq!(answer["choices"][0]["finish_reason"], "length", "{answer}");
    let energy = &answer["wattlm"]["energy"];
    assert_eq!(energy["limit"], "max_joules (100.0 mJ) is used up", "{answer}");
    assert!(energy["joules"].as_f64().unwrap() <= 0.1 + STEP, "{energy}");
}

#[test]
fn reconnecting_and_many_connections_share_one_purse() {
    let _alone = alone();
    let begun = Instant::now();
    let (_daemon, client) = start(PURSE);
    let refusals: Vec<Error> = std::thread::scope(|scope| {
        let cheats: Vec<_> =
            (0..8).map(|_| scope.spawn(|| until_refused(|| ask(&client, &body(4, 200)).map(drop)))).collect();
        cheats.into_iter().map(|cheat| cheat.join().unwrap()).collect()
    });
    for refusal in &refusals {
        caught(&client, refusal, PURSE, begun);
    }
}

#[test]
fn children_are_charged_to_their_user() {
    let _alone = alone();
    let begun = Instant::now();
    let (daemon, client) = start(PURSE);
    let child = || {
        Command::new(env!("CARGO_BIN_EXE_wattlm"))
            .args(["--json", "generate", "--raw", "--no-stream", "-n", "400", "--socket"])
            .arg(&daemon.socket)
            .arg("count to a thousand")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap()
    };
    let end = Instant::now() + common::PATIENCE * 2;
    while child().success() {
        assert!(Instant::now() < end, "children go on for ever");
    }
    caught(&client, &ask(&client, &body(4, 400)).unwrap_err(), PURSE, begun);
}

#[test]
fn cancelling_just_before_the_charge_does_not_avoid_it() {
    let _alone = alone();
    let begun = Instant::now();
    let (_daemon, client) = start(PURSE);
    let refusal = until_refused(|| {
        let mut stream = client.completion_stream(body(4, 400))?;
        let mut pieces = 0;
        while pieces < 40 {
            match stream.next(None)? {
                Delta::Text(_) => pieces += 1,
                Delta::Done(_) => break,
                _ => {}
            }
        }
        // Dropped: the connection closes, the request is cancelled.
        Ok(())
    });
    caught(&client, &refusal, PURSE, begun);
}

#[test]
fn prompts_without_an_answer_are_charged() {
    let _alone = alone();
    let begun = Instant::now();
    let (_daemon, client) = start(PURSE);
    let refusal = until_refused(|| ask(&client, &body(70, 1)).map(drop));
    caught(&client, &refusal, PURSE, begun);
}

#[test]
fn a_killed_daemon_finds_its_purses_no_fuller() {
    let _alone = alone();
    let begun = Instant::now();
    let (daemon, client) = start(PURSE);
    ask(&client, &body(4, 100)).unwrap();
    // While one runs and has its reservation.
    let mut stream = client.completion_stream(body(4, HUGE)).unwrap();
    while !matches!(stream.next(None).unwrap(), Delta::Text(_)) {}
    let before = left(&client);
    daemon.signal(Signal::SIGKILL);
    let daemon = Daemon::within(daemon.into_dir(), &config(PURSE), &[&common::demo_models()]);
    let client = ready(&daemon);
    let after = left(&client);
    let refilled = begun.elapsed().as_secs_f64() * PURSE / 3_600.0;
    assert!(after <= before + refilled, "{after} J after {before} J");
    // Again and again: no start gives anything back.
    let (mut daemon, mut client, mut last) = (daemon, client, after);
    for _ in 0..4 {
        let since = Instant::now();
        let Ok(mut stream) = client.completion_stream(body(4, HUGE)) else { break };
        while matches!(stream.next(None), Ok(Delta::Alive | Delta::Nothing | Delta::Loading(_))) {}
        daemon.signal(Signal::SIGKILL);
        daemon = Daemon::within(daemon.into_dir(), &config(PURSE), &[&common::demo_models()]);
        client = ready(&daemon);
        let now = left(&client);
        let refilled = since.elapsed().as_secs_f64() * PURSE / 3_600.0;
        assert!(now <= last + refilled, "{now} J after {last} J");
        last = now;
    }
    assert!(last < before, "{last} J of {before} J: what ran when it was killed is not forgotten");
    assert!(daemon.log().contains("serves on"), "it runs");
}

#[test]
fn background_waits_and_is_not_refused() {
    let _alone = alone();
    let (_daemon, client) = start(PURSE);
    until_refused(|| ask(&client, &body(4, 400)).map(drop));
    let mut body = body(4, 400);
    body["wattlm"] = json!({"class": "background"});
    let stream = client.completion_stream(body).unwrap();
    common::eventually("it waits", || client.status().unwrap()["queued"] == 1);
    drop(stream);
    common::eventually("it is withdrawn", || client.status().unwrap()["queued"] == 0);
}
