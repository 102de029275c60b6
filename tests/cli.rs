//! Drives the real `wattlm`: without a service what needs none, and with a real `wattlmd` and the demo model the rest.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use common::{demo_models, eventually, Daemon};
use nix::sys::signal::{kill, signal, SigHandler, Signal};
use nix::unistd::Pid;
use serde_json::Value;

/// An utterance that the demo model answers with a command.
const UTTERANCE: &str = "turn on the light in the kitchen";

/// `wattlm` with nothing of this user's in its environment.
fn wattlm(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wattlm"));
    for variable in ["XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "WATTLM_CONFIG", "WATTLM_SOCKET"] {
        command.env_remove(variable);
    }
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The same, asking this daemon.
fn ask(daemon: &Daemon, args: &[&str]) -> Command {
    let mut command = wattlm(args);
    command.env("WATTLM_SOCKET", &daemon.socket);
    command
}

fn run(mut command: Command) -> Output {
    command.output().expect("runs wattlm")
}

/// Runs it with this on standard input.
fn feed(mut command: Command, input: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).spawn().expect("runs wattlm");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("writes");
    child.wait_with_output().expect("ends")
}

/// A tree in place of /sys.
fn tree(name: &str) -> String {
    format!("{}/tests/fixtures/sysfs/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_sensors_of_a_tree_are_listed_watched_and_compared() {
    let jetson = tree("jetson-orin-nano");
    let listed = good(&run(wattlm(&["meter", "--time", "100ms", "--sysfs", &jetson])));
    assert!(listed.contains("The meter is ina3221:VDD_IN (board): 4.92 W."), "{listed}");
    let json = good(&run(wattlm(&["meter", "--json", "--time", "100ms", "--sysfs", &tree("rapl-laptop")])));
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&json["source"], &json["scope"]), (&"rapl:package-0".into(), &"package".into()));
    assert_eq!(json["sensors"].as_array().map(Vec::len), Some(7));

    let none = run(wattlm(&["meter", "--sysfs", &tree("raspberry-pi-5"), "--time", "1ms"]));
    assert_eq!((none.status.code(), out(&none).contains("has no energy sensor")), (Some(1), true));
    let none = run(wattlm(&["meter", "--watch", "--sysfs", &tree("raspberry-pi-5")]));
    assert_eq!((none.status.code(), err(&none).contains("no meter: ")), (Some(1), true), "{}", err(&none));

    let calibrate = ["meter", "calibrate", "--sysfs", &jetson, "--time", "500ms", "--fit", "offset", "--wall", "6"];
    let lines = good(&run(wattlm(&calibrate)));
    let (_, file) = lines.split_once("[energy]").expect("a section");
    assert_eq!(file, "\nsource = \"ina3221:VDD_IN\"\nscale = 1.0\noffset = 1.0797\n");
    let alone = run(wattlm(&["meter", "calibrate", "--sysfs", &jetson, "--wall", "6"]));
    assert!(err(&alone).contains("add --fit scale or --fit offset"), "{}", err(&alone));
    // Asked for, and nobody answers.
    let silent = run(wattlm(&["meter", "calibrate", "--sysfs", &jetson, "--time", "1ms"]));
    assert!(err(&silent).contains("type it, or give --wall IDLE,LOAD"), "{}", err(&silent));
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// Standard output of a run that went well.
#[track_caller]
fn good(output: &Output) -> String {
    assert!(output.status.success(), "{:?}: {}{}", output.status, out(output), err(output));
    out(output)
}

#[track_caller]
fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(json).collect()
}

fn path(p: &Path) -> &str {
    p.to_str().expect("UTF-8")
}

#[test]
fn without_a_service_every_request_says_how_to_start_one() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    for args in [&["status"][..], &["generate", "hi"], &["chat"], &["models", "load", "x"], &["models", "unload", "x"]]
    {
        let output = run(wattlm(&[&["--socket", path(&socket)], args].concat()));
        assert_eq!((output.status.code(), out(&output).as_str()), (Some(69), ""), "{args:?}");
        let message = err(&output);
        assert!(message.contains(path(&socket)) && message.contains("wattlmd --socket"), "{message}");

        let output = run(wattlm(&[&["--json", "--socket", path(&socket)], args].concat()));
        assert_eq!((output.status.code(), err(&output).as_str()), (Some(69), ""), "{args:?}");
        assert_eq!(json(&out(&output))["error"]["code"], "no_daemon");
    }
    // Left over by a service that died.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let output = run(wattlm(&["--socket", path(&socket), "status"]));
    assert!(output.status.code() == Some(69) && err(&output).contains("nobody answers"), "{}", err(&output));
}

#[test]
fn a_wrong_command_line_is_exit_status_2() {
    for args in [&[][..], &["nonsense"], &["generate", "--temperature", "hot"], &["models", "load"]] {
        let output = run(wattlm(args));
        assert_eq!((output.status.code(), out(&output).as_str()), (Some(2), ""), "{args:?}");
        assert!(err(&output).contains("--help"), "{}", err(&output));
    }
    assert!(good(&run(wattlm(&["--version"]))).starts_with("wattlm "));
    assert!(good(&run(wattlm(&["--help"]))).contains("Exit status"));
}

#[test]
fn configurations_are_checked_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("wattlm.toml");
    fs::write(&file, "[queue]\nmax = 9\n[cpu]\nthraeds = 2\n").unwrap();
    let output = run(wattlm(&["config", "check", path(&file)]));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        out(&output),
        format!("{}:4:1: unknown key 'thraeds' in [cpu]; did you mean 'threads'?\n", file.display())
    );
    let output = run(wattlm(&["--json", "config", "check", path(&file)]));
    let object = json(&out(&output));
    assert_eq!(
        (output.status.code(), &object["ok"], &object["problems"][0]["line"]),
        (Some(1), &false.into(), &4.into())
    );
    assert_eq!(run(wattlm(&["config", "show", path(&file)])).status.code(), Some(1));

    fs::write(&file, "[queue]\nmax = 9\n[models]\ndefault = \"a\"\n").unwrap();
    let text = good(&run(wattlm(&["config", "check", path(&file)])));
    assert!(text.starts_with(&format!("ok: {}\n", file.display())) && text.contains("default model   a\n"), "{text}");
    let text = good(&run(wattlm(&["config", "show", path(&file)])));
    assert!(text.contains("\nmax = 9\n") && text.contains("  # default\n"), "{text}");
    // What it shows is a configuration again.
    let shown = dir.path().join("shown.toml");
    fs::write(&shown, &text).unwrap();
    good(&run(wattlm(&["config", "check", path(&shown)])));
    let object = json(&good(&run(wattlm(&["config", "show", "--json", path(&file)]))));
    assert_eq!(object["config"]["queue"]["max"], 9);

    let output = run(wattlm(&["config", "check", path(&dir.path().join("none"))]));
    assert!(output.status.code() == Some(1) && out(&output).contains("cannot be read"), "{}", out(&output));
    assert!(good(&run(wattlm(&["config", "reference"]))).contains("## `[queue]`"));
}

#[test]
fn completions_and_manual_pages_are_generated() {
    for (shell, sign) in [("bash", "complete -F"), ("zsh", "#compdef wattlm"), ("fish", "complete -c wattlm")] {
        let script = good(&run(wattlm(&["completions", shell])));
        assert!(script.contains(sign) && script.contains("generate"), "{shell}");
    }
    let dir = tempfile::tempdir().unwrap();
    let man = dir.path().join("man");
    let names = good(&run(wattlm(&["man", path(&man)])));
    assert_eq!(names.lines().count(), fs::read_dir(&man).unwrap().count());
    for page in ["wattlm.1", "wattlm-models-add.1", "wattlmd.8"] {
        assert!(names.lines().any(|n| n == page), "{page} in {names}");
    }
}

/// A small real model file with its digest, under this name.
fn model_file(dir: &Path, name: &str) -> std::path::PathBuf {
    let to = dir.join(name);
    fs::copy(demo_models().join("wattlm-demo-q4_0.gguf"), &to).expect("copies the demo model");
    to
}

#[test]
fn models_are_added_with_their_digest_and_verified() {
    let dir = tempfile::tempdir().unwrap();
    let models = dir.path().join("models");
    let config = dir.path().join("wattlm.toml");
    fs::write(&config, format!("[models]\ndirs = [\"{}\"]\n", models.display())).unwrap();
    let here = |args: &[&str]| {
        let mut command = wattlm(args);
        command.env("WATTLM_CONFIG", &config).env("WATTLM_SOCKET", dir.path().join("none"));
        run(command)
    };
    assert!(good(&here(&["models", "list"])).contains("models add"));

    let file = model_file(dir.path(), "tiny-q4_0.gguf");
    let wrong = "0".repeat(64);
    let output = here(&["models", "add", path(&file), "--sha256", &wrong]);
    assert!(output.status.code() == Some(1) && err(&output).contains("model_unverified"), "{}", err(&output));
    assert_eq!(fs::read_dir(&models).unwrap().count(), 0, "nothing is left behind");

    let added = json(&good(&here(&["models", "add", path(&file), "--json"])));
    let copy = models.join("tiny-q4_0.gguf");
    assert_eq!(added["path"], path(&copy));
    let sha256 = added["sha256"].as_str().expect("a digest").to_owned();
    let sidecar = fs::read_to_string(models.join("tiny-q4_0.gguf.sha256")).unwrap();
    assert!(sidecar.starts_with(&sha256), "{sidecar}");
    good(&here(&["models", "add", path(&file), "--sha256", &sha256.to_uppercase()]));

    let list = json(&good(&here(&["models", "list", "--json"])));
    assert_eq!((&list["source"], &list["models"][0]["variants"][0]["name"]), (&"folders".into(), &"tiny:q4_0".into()));
    let text = good(&here(&["models", "list"]));
    assert!(text.contains("tiny:q4_0") && text.contains("does not run"), "{text}");

    assert!(good(&here(&["models", "verify"])).starts_with("ok        tiny:q4_0  "));
    good(&here(&["models", "verify", "tiny"]));
    assert!(err(&here(&["models", "verify", "tony"])).contains("there is no model 'tony'"));

    // One bit of the weights.
    let mut bytes = fs::read(&copy).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&copy, bytes).unwrap();
    let output = here(&["models", "verify"]);
    assert!(output.status.code() == Some(1) && out(&output).starts_with("FAILED    tiny:q4_0"), "{}", out(&output));
    let object = json(&out(&here(&["models", "verify", "--json"])));
    assert_eq!((&object["ok"], &object["models"][0]["result"]), (&false.into(), &"failed".into()));

    // Under another name, as which it need not be called .gguf.
    let blob = model_file(dir.path(), "blob");
    assert!(err(&here(&["models", "add", path(&blob)])).contains("--name"));
    for bad in ["a/b", "a:b", ".a", ""] {
        let output = here(&["models", "add", path(&blob), "--name", bad]);
        assert!(output.status.code() == Some(2) && err(&output).contains("at most 128 letters"), "{}", err(&output));
    }
    good(&here(&["models", "add", path(&blob), "--name", "helper-q4_0"]));
    assert!(fs::read_to_string(models.join("helper-q4_0.gguf.sha256")).unwrap().contains(&sha256));
    good(&here(&["models", "add", path(&blob), "--name", "helper-q4_0.gguf"]));
    assert!(good(&here(&["models", "verify", "helper"])).starts_with("ok        helper:q4_0  "));
    let alias =
        format!("[models]\ndirs = [\"{}\"]\n[[model]]\nname = \"helper\"\naliases = [\"h\"]\n", models.display());
    fs::write(&config, alias).unwrap();
    for name in ["h", "h:q4_0"] {
        assert!(good(&here(&["models", "verify", name])).starts_with("ok        helper:q4_0  "), "{name}");
    }

    let output = here(&["models", "add", path(&config)]);
    assert!(output.status.code() == Some(1) && err(&output).contains("no model"), "{}", err(&output));
}

#[test]
fn synthetic_models_have_the_published_shape() {
    let dir = tempfile::tempdir().unwrap();
    let shapes = json(&good(&run(wattlm(&["models", "shapes", "--json"]))));
    let all = shapes["shapes"].as_array().expect("a list");
    assert!(["qwen2-0.5b", "llama-3.2-1b"].iter().all(|name| all.iter().any(|s| s["name"] == *name)), "{shapes}");

    let args = ["models", "synth", "smollm2-135m", path(dir.path()), "--quant", "q4_0", "--json"];
    let made = json(&good(&run(wattlm(&args))));
    let file = made["path"].as_str().expect("a path");
    assert_eq!(made["bytes"], fs::metadata(file).unwrap().len());
    let header = wattlm::models::gguf::Header::open(Path::new(file)).unwrap();
    assert!(header.synthetic && header.quantization == "Q4_0" && header.block_count == 30);

    let output = run(wattlm(&["models", "synth", "smollm3", path(dir.path())]));
    assert!(output.status.code() == Some(1) && err(&output).contains("smollm2-135m"), "{}", err(&output));
}

#[test]
fn an_interrupted_job_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    // Seconds of work, so that it is met at it.
    let child = wattlm(&["models", "synth", "llama-3.2-3b", path(dir.path())]).spawn().unwrap();
    eventually("it writes", || fs::read_dir(dir.path()).unwrap().count() > 0);
    interrupt(&child);
    let status = child.wait_with_output().unwrap().status;
    assert_eq!(status.signal(), Some(Signal::SIGINT as i32));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = wattlm(&["completions", "bash"]);
    command.stdout(writer);
    let output = run(command);
    assert_eq!((output.status.signal(), err(&output).as_str()), (Some(Signal::SIGPIPE as i32), ""));
}

/// Programs that are started from here heed Ctrl-C, which a shell has jobs in the background ignore, and all that those start.
#[allow(unsafe_code)]
fn heeds_interrupts() {
    // SAFETY: no handler is set, and nothing else here does anything with the signal.
    unsafe { signal(Signal::SIGINT, SigHandler::SigDfl) }.expect("the usual disposition");
}

fn interrupt(child: &Child) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).expect("signals");
}

#[test]
fn generate_answers_from_argument_and_stdin_and_explains_itself() {
    let daemon = Daemon::demo();
    let output = run(ask(&daemon, &["generate", UTTERANCE, "--temperature", "0", "--receipt"]));
    let text = good(&output);
    assert!(text.ends_with('\n') && text.trim().starts_with('{') && json(text.trim()).is_object(), "{text}");
    let told = err(&output);
    assert!(told.contains("tokens/s") && told.contains("J/token") && told.contains("decode"), "{told}");

    let by_stdin = feed(ask(&daemon, &["generate", "-t", "0"]), &format!("{UTTERANCE}\n"));
    assert_eq!(good(&by_stdin), text);
    assert_eq!(good(&run(ask(&daemon, &["generate", UTTERANCE, "-t", "0", "--no-stream"]))), text);

    let objects = lines(&good(&run(ask(&daemon, &["generate", UTTERANCE, "-t", "0", "--json"]))));
    let (last, pieces) = objects.split_last().expect("lines");
    let joined: String = pieces.iter().map(|p| p["text"].as_str().expect("text")).collect();
    assert_eq!(joined, text.strip_suffix('\n').unwrap());
    assert_eq!(last["finish_reason"], "stop");
    assert!(last["wattlm"]["decode_tokens_per_s"].as_f64() > Some(0.0), "{last}");
    let energy = &last["wattlm"]["energy"];
    assert!(energy["joules"].is_number() && energy["quality"].is_string(), "{last}");
    let whole = json(&good(&run(ask(&daemon, &["generate", UTTERANCE, "-t", "0", "--json", "--no-stream"]))));
    assert_eq!(whole["text"], joined);

    good(&run(ask(&daemon, &["generate", "--raw", "turn", "-n", "3"])));
    let output = run(ask(&daemon, &["generate", "hi", "--model", "nothing"]));
    assert!(output.status.code() == Some(1) && err(&output).contains("model_not_found"), "{}", err(&output));
    let output = run(ask(&daemon, &["generate", "hi", "--model", "nothing", "--json"]));
    assert_eq!((json(&out(&output))["error"]["code"].as_str(), err(&output).as_str()), (Some("model_not_found"), ""));
}

#[test]
fn chat_keeps_the_conversation_until_it_is_reset() {
    let daemon = Daemon::demo();
    let input = format!("{UTTERANCE}\n\n/receipt\n{UTTERANCE}\n/reset\n{UTTERANCE}\n");
    let output = feed(ask(&daemon, &["chat", "-t", "0", "-n", "64", "--json"]), &input);
    let ends: Vec<Value> = lines(&good(&output)).into_iter().filter(|o| !o["usage"].is_null()).collect();
    let tokens: Vec<u64> = ends.iter().map(|e| e["usage"]["prompt_tokens"].as_u64().expect("a count")).collect();
    assert_eq!(tokens.len(), 3);
    assert!(tokens[1] > tokens[0] && tokens[2] == tokens[0], "{tokens:?}");
    assert_eq!(err(&output).matches("waited").count(), 2, "{}", err(&output));

    let output = feed(ask(&daemon, &["chat"]), "/rest\n");
    assert!(output.status.code() == Some(1) && err(&output).contains("no command '/rest'"), "{}", err(&output));
}

#[test]
fn status_and_models_follow_load_and_unload() {
    let daemon = Daemon::demo();
    let status = || json(&good(&run(ask(&daemon, &["status", "--json"]))));
    assert_eq!(status()["lanes"], Value::Array(Vec::new()));
    assert!(good(&run(ask(&daemon, &["status"]))).contains("No model is loaded"));

    let models = json(&good(&run(ask(&daemon, &["models", "list", "--json"]))));
    assert_eq!(models["source"], "service");
    let name = models["models"][0]["name"].as_str().expect("a name").to_owned();
    assert_eq!(good(&run(ask(&daemon, &["models", "load", &name]))), format!("loaded {name}\n"));
    assert_eq!(status()["lanes"][0]["state"], "ready");
    let page = good(&run(ask(&daemon, &["status"])));
    assert!(page.contains(&name) && page.contains("kernels") && page.contains("\nenergy "), "{page}");
    assert!(good(&run(ask(&daemon, &["models", "list"]))).contains("loaded"));
    good(&run(ask(&daemon, &["models", "verify"])));

    assert_eq!(good(&run(ask(&daemon, &["models", "unload", &name]))), format!("unloaded {name}\n"));
    assert_eq!(status()["lanes"], Value::Array(Vec::new()));
    let output = run(ask(&daemon, &["models", "load", "nothing"]));
    assert!(output.status.code() == Some(1) && err(&output).contains("model_not_found"), "{}", err(&output));
}

#[test]
fn the_account_outlives_a_killed_daemon() {
    let mut daemon = Daemon::demo();
    let asked = json(&good(&run(ask(&daemon, &["generate", UTTERANCE, "-t", "0", "--json", "--no-stream"]))));
    let account = |args: &[&str]| good(&run(ask(&daemon, &[&["account", "--json"], args].concat())));
    let report = json(&account(&["--by", "model"]));
    assert_eq!(report["lines"][0]["model"], asked["wattlm"]["model"], "{report}");
    for tokens in ["prompt_tokens", "completion_tokens"] {
        assert_eq!(report["total"][tokens], asked["usage"][tokens], "{report}");
    }
    assert!(account(&["--from", "2999-01-01"]).contains("\"lines\":[]"));
    let exact = report["total"]["joules"].as_f64().unwrap();
    let receipt = asked["wattlm"]["energy"]["joules"].as_f64().unwrap();
    assert!((exact - receipt).abs() <= 0.01 * exact + 0.001 || exact > receipt, "{exact} {receipt}");

    // Its files say the same when it is gone without a word.
    let config = daemon.dir.path().join("files.toml");
    fs::write(&config, format!("[paths]\nstate = \"{}\"\n", daemon.dir.path().join("state").display())).unwrap();
    let none = daemon.dir.path().join("none");
    let files = || {
        let mut command = wattlm(&["account", "--json"]);
        command.env("WATTLM_CONFIG", &config).env("WATTLM_SOCKET", &none);
        run(command)
    };
    eventually("it is on the disk", || json(&good(&files()))["total"] == report["total"]);
    daemon.signal(Signal::SIGKILL);
    let told = err(&files());
    assert!(told.contains("does not run"), "{told}");
    assert_eq!(json(&good(&files()))["total"], report["total"]);
    daemon.wait();
    fs::remove_dir_all(daemon.dir.path().join("state/account")).unwrap();
    let output = files();
    assert_eq!((output.status.code(), json(&out(&output))["error"]["code"].as_str()), (Some(69), Some("no_daemon")));
}

/// A daemon whose answers do not end by themselves for a while: random weights, and room for many tokens.
fn endless() -> Daemon {
    heeds_interrupts();
    let dir = tempfile::tempdir().unwrap();
    let models = dir.path().join("models");
    fs::create_dir(&models).unwrap();
    good(&run(wattlm(&["models", "synth", "smollm2-135m", path(&models), "--quant", "q4_0"])));
    Daemon::within(dir, "[models]\nmax_tokens = 4096\n", &[&models])
}

fn cancelled(daemon: &Daemon, n: u64) {
    eventually("it is cancelled", || {
        let status = json(&good(&run(ask(daemon, &["status", "--json"]))));
        status["running"] == 0 && status["totals"]["cancelled"] == n
    });
}

/// Ctrl-C ends `generate` by the signal, which closes the connection, which cancels the request.
#[test]
fn an_interrupted_answer_is_cancelled() {
    let daemon = endless();
    let mut child = ask(&daemon, &["generate", "--raw", "a"]).spawn().unwrap();
    let mut first = [0; 1];
    child.stdout.as_mut().unwrap().read_exact(&mut first).expect("an answer begins");
    interrupt(&child);
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::SIGINT as i32));
    cancelled(&daemon, 1);
}

/// Ctrl-C ends an answer of `chat`, and the conversation goes on.
#[test]
fn an_interrupted_chat_goes_on() {
    let daemon = endless();
    let mut child = ask(&daemon, &["chat", "--json"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for _ in 0..2 {
        stdin.write_all(b"hello\n").unwrap();
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert!(json(&line)["text"].is_string(), "{line}");
        interrupt(&child);
    }
    stdin.write_all(b"/exit\n").unwrap();
    drop(stdin);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success(), "{rest}");
    cancelled(&daemon, 2);
}

/// What is shipped for the simulator.
fn shipped(kind: &str) -> Vec<String> {
    let folder = format!("{}/dist/sim/{kind}", env!("CARGO_MANIFEST_DIR"));
    let all = fs::read_dir(folder).expect("is there").map(|f| f.expect("a file").path());
    let mut files: Vec<_> = all.filter(|path| path.is_file()).collect();
    files.sort();
    files.into_iter().map(|path| path.into_os_string().into_string().expect("UTF-8")).collect()
}

#[test]
fn the_scheduler_is_simulated_on_everything_that_is_shipped() {
    let (devices, traces) = (shipped("devices"), shipped("traces"));
    assert!(devices.len() >= 4 && traces.len() == 4, "{devices:?} {traces:?}");
    for (device, trace) in devices.iter().flat_map(|device| traces.iter().map(move |trace| (device, trace))) {
        let args = ["simulate", "--json", "--device", device, "--trace", trace];
        let text = good(&run(wattlm(&args)));
        assert_eq!(text, good(&run(wattlm(&args))), "the same again");
        let contest = json(&text);
        let scheduler = &contest["scheduler"];
        let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{value} in {contest}"));
        let causes = ["wake", "prefill", "handover", "decode", "hold"];
        let sum: f64 = causes.iter().map(|cause| number(&scheduler["joules"][*cause])).sum();
        let active = number(&scheduler["active_joules"]);
        assert!((sum - active).abs() < 1e-6 * active && active > 0.0, "{contest}");
        let asked = fs::read_to_string(trace).expect("a trace").lines().count() as u64;
        assert_eq!(scheduler["answered"].as_u64(), Some(asked), "{contest}");
        assert_eq!(scheduler["missed"], 0, "{contest}");
        assert!(contest["clairvoyant"].is_null() && contest["lower_bound"].is_null());
    }
}

#[test]
fn a_simulation_is_measured_by_what_could_have_been_and_bad_files_are_explained() {
    let device = format!("{}/dist/sim/devices/phone-soc.toml", env!("CARGO_MANIFEST_DIR"));
    let dir = tempfile::tempdir().expect("a folder");
    let trace = dir.path().join("t.jsonl");
    let trace_name = trace.to_str().expect("UTF-8");
    fs::write(&trace, "{\"at\": 0, \"prompt\": 300, \"answer\": 40}\n{\"at\": 20, \"prompt\": 9, \"answer\": 5}\n")
        .expect("writes");
    let args = ["simulate", "--oracle", "--device", &device, "--trace", trace_name];
    let contest = json(&good(&run(wattlm(&[&args[..], &["--json"]].concat()))));
    let active = |name: &str| contest[name]["active_joules"].as_f64().expect("joules");
    assert!(contest["exhaustive"] == true && active("clairvoyant") <= active("best_fixed"), "{contest}");
    assert!(contest["lower_bound"].as_f64().expect("joules") <= active("clairvoyant"), "{contest}");
    assert!(active("best_fixed") <= active("always_cpu").min(active("always_gpu")), "{contest}");
    let page = good(&run(wattlm(&args)));
    for part in ["scheduler", "always GPU", "clairvoyant", "lower bound", "every combination tried"] {
        assert!(page.contains(part), "{part:?} in {page}");
    }

    fs::write(&trace, "{\"at\": 0, \"prompt\": 300}\n").expect("writes");
    let bad = run(wattlm(&args));
    assert_eq!(bad.status.code(), Some(1));
    assert!(err(&bad).contains("t.jsonl:1: missing field `answer`"), "{}", err(&bad));
    let swapped = run(wattlm(&["simulate", "--device", trace_name, "--trace", &device]));
    assert!(err(&swapped).contains("t.jsonl:1: "), "{}", err(&swapped));
    let lost = run(wattlm(&["simulate", "--device", "/none.toml", "--trace", trace_name]));
    assert!(err(&lost).contains("/none.toml: No such file"), "{}", err(&lost));
    assert_eq!(run(wattlm(&["simulate", "--device", &device])).status.code(), Some(2));
    assert!(err(&run(wattlm(&["simulate"]))).contains("--random N"));

    let lines = good(&run(wattlm(&["simulate", "--random", "2", "--seed", "9", "--json"])));
    let lines: Vec<Value> = lines.lines().map(json).collect();
    assert_eq!((lines.len(), &lines[0]["pair"], &lines[2]["chances"]["pairs"]), (3, &0.into(), &2.into()));
}

#[test]
fn a_scheduler_may_have_lived_before_it_is_simulated() {
    let file = |path: &str| format!("{}/dist/sim/{path}", env!("CARGO_MANIFEST_DIR"));
    let (device, chat) = (file("devices/raspberry-pi-5.toml"), file("traces/chat.jsonl"));
    let args = ["simulate", "--json", "--device", &device, "--trace", &chat];
    let new = json(&good(&run(wattlm(&args))));
    let histories = shipped("traces/history");
    assert_eq!(histories.len(), 4);
    for history in &histories {
        let lived = json(&good(&run(wattlm(&[&args[..], &["--history", history]].concat()))));
        let asked = fs::read_to_string(history).expect("a trace").lines().count() as u64;
        assert_eq!((new["lived"].as_u64(), lived["lived"].as_u64()), (Some(0), Some(asked)), "{lived}");
        // Those that it is compared with have no history.
        assert_eq!(lived["always_cpu"], new["always_cpu"]);
        assert_eq!(lived["scheduler"]["requests"], new["scheduler"]["requests"]);
    }
    let bad = run(wattlm(&["simulate", "--device", &device, "--trace", &chat, "--history", &device]));
    assert!(err(&bad).contains("raspberry-pi-5.toml:1: "), "{}", err(&bad));
    for args in [&["--history", &chat][..], &["--lived"], &["--random", "1", "--history", &chat]] {
        assert_eq!(run(wattlm(&[&["simulate"], args].concat())).status.code(), Some(2), "{args:?}");
    }
    assert_eq!(run(wattlm(&[&args[..], &["--lived"]].concat())).status.code(), Some(2));
    let random = |more: &[&str]| {
        let text = good(&run(wattlm(&[&["simulate", "--random", "1", "--seed", "9", "--json"], more].concat())));
        json(text.lines().next().expect("a pair"))["contest"].clone()
    };
    let (new, lived) = (random(&[]), random(&["--lived"]));
    assert_eq!((new["lived"].as_u64(), lived["lived"].as_u64()), (Some(0), lived["scheduler"]["requests"].as_u64()));
    assert_eq!(new["always_cpu"], lived["always_cpu"]);
}
