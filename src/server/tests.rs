//! The server on real sockets, with a service that each test plays itself.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{mpsc, Arc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{json, Value};
use tokio::sync::{oneshot, watch};

use super::*;
use crate::client::{Client, Delta, LoadProgress};
use crate::energy::{Quality, Scope};
use crate::error::Code;
use crate::lane::{Finish, Prompt, Usage};
use crate::service::{EnergyReceipt, EnergyStatus, Outcome, Receipt, SinkClosed, Totals, Update, VariantInfo, Whose};
use crate::units::{Microjoules, Microwatts};

/// What the server asked its service.
enum Asked {
    Generate { peer: Peer, request: Generate, id: RequestId, sink: Box<dyn Sink> },
    Abandon(RequestId),
    Cancel(RequestId, Reply<Result<(), Error>>),
    Load(String, Box<dyn Sink>),
    Unload(String, Reply<Result<(), Error>>),
    Account(Peer, AccountQuery, Reply<Result<Report, Error>>),
    Explain(Peer, RequestId, Reply<Result<RequestReport, Error>>),
    Estimate(Generate, Reply<Result<EstimateReport, Error>>),
}

#[derive(Clone)]
struct Fake {
    asked: mpsc::Sender<Asked>,
    next: Arc<AtomicU64>,
}

impl Fake {
    fn tell(&self, what: Asked) {
        // The test may be over.
        let _ = self.asked.send(what);
    }
}

impl Backend for Fake {
    fn generate(&self, peer: Peer, request: Generate, sink: Box<dyn Sink>) -> RequestId {
        let id = RequestId(self.next.fetch_add(1, Ordering::SeqCst));
        self.tell(Asked::Generate { peer, request, id, sink });
        id
    }
    fn cancel(&self, _: Peer, id: RequestId, reply: Reply<Result<(), Error>>) {
        self.tell(Asked::Cancel(id, reply));
    }
    fn abandon(&self, id: RequestId) {
        self.tell(Asked::Abandon(id));
    }
    fn models(&self, reply: Reply<Vec<ModelInfo>>) {
        let variant = VariantInfo {
            name: "demo:q4".into(),
            architecture: "llama".into(),
            quantization: "Q4_0".into(),
            bytes: 1,
            parameters: 2,
            context_train: 3,
            context: 4,
            chat: true,
            synthetic: false,
            memory: 5,
            sha256: None,
            verified: false,
            state: "unloaded".into(),
            created: 6,
            path: PathBuf::from("/m.gguf"),
        };
        reply(vec![ModelInfo { name: "demo".into(), variants: vec![variant], default: true }]);
    }
    fn budget(&self, _: Peer, uid: Option<u32>, reply: Reply<Result<Budget, Error>>) {
        reply(Err(Error::new(Code::Forbidden, format!("{uid:?}"))));
    }
    fn load(&self, _: Peer, model: String, sink: Box<dyn Sink>) {
        self.tell(Asked::Load(model, sink));
    }
    fn unload(&self, _: Peer, model: String, reply: Reply<Result<(), Error>>) {
        self.tell(Asked::Unload(model, reply));
    }
    fn status(&self, reply: Reply<Status>) {
        reply(Status {
            version: "1".into(),
            uptime_s: 1.5,
            pid: 1,
            lanes: vec![],
            queued: 2,
            running: 3,
            totals: Totals { requests: 7, step_us: 1_500_000, ..Totals::default() },
            last_fault: None,
            memory_available: 9,
            gpus: Vec::new(),
            no_gpu: None,
            distrusted: Vec::new(),
            energy: EnergyStatus {
                source: "rapl:package-0".into(),
                scope: Scope::Package,
                quality: Quality::Measured,
                charged: Microjoules(12_345_678),
                decode: Microjoules(10_200_000),
                watts: Some(Microwatts(7_300_000)),
                ..EnergyStatus::default()
            },
            profiles: vec![],
        });
    }
    fn account(&self, peer: Peer, query: AccountQuery, reply: Reply<Result<Report, Error>>) {
        self.tell(Asked::Account(peer, query, reply));
    }
    fn explain(&self, peer: Peer, id: RequestId, reply: Reply<Result<RequestReport, Error>>) {
        self.tell(Asked::Explain(peer, id, reply));
    }
    fn estimate(&self, _: Peer, request: Generate, reply: Reply<Result<EstimateReport, Error>>) {
        self.tell(Asked::Estimate(request, reply));
    }
    fn profiles(&self, reply: Reply<Vec<ProfileReport>>) {
        reply(Vec::new());
    }
}

struct Server {
    asked: mpsc::Receiver<Asked>,
    path: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    tid: libc::pid_t,
    _config: watch::Sender<ServerConfig>,
    _dir: tempfile::TempDir,
}

fn quick() -> ServerConfig {
    ServerConfig { head_hold: Duration::from_millis(50), keepalive: Duration::from_millis(50), ..Default::default() }
}

impl Server {
    fn start(config: ServerConfig) -> Server {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let (listener, unlink) = bind(&path, 0o600, None).unwrap();
        let (asked_in, asked) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let (config, seen) = watch::channel(config);
        let (tid_in, tid) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            tid_in.send(nix::unistd::gettid().as_raw()).unwrap();
            let fake = Fake { asked: asked_in, next: Arc::new(AtomicU64::new(1)) };
            run(listener, fake, seen, async { drop(stopped.await) }).unwrap();
            drop(unlink);
        });
        let tid = tid.recv().unwrap();
        Server { asked, path, stop: Some(stop), thread: Some(thread), tid, _config: config, _dir: dir }
    }

    fn client(&self) -> Client {
        Client::connect(&self.path).unwrap()
    }

    fn dial(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream
    }

    /// What the service is asked next.
    fn next(&self) -> Asked {
        self.asked.recv_timeout(Duration::from_secs(5)).expect("the service is asked something")
    }

    fn generate(&self) -> (Generate, RequestId, Box<dyn Sink>) {
        match self.next() {
            Asked::Generate { request, id, sink, peer } => {
                assert_eq!(peer.pid, std::process::id() as i32);
                (request, id, sink)
            }
            _ => panic!("a request is expected"),
        }
    }

    fn abandoned(&self, id: RequestId) {
        let before = Instant::now();
        match self.next() {
            Asked::Abandon(gone) => assert_eq!(gone, id),
            _ => panic!("the request should be abandoned"),
        }
        assert!(before.elapsed() < Duration::from_millis(500), "took {:?}", before.elapsed());
    }

    fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(t) = self.thread.take() {
            t.join().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
    }
}

fn outcome(finish: Finish) -> Box<Outcome> {
    Box::new(Outcome {
        finish,
        usage: Usage {
            prompt_tokens: 7,
            cached_tokens: 3,
            completion_tokens: 2,
            prefill_us: 1,
            decode_us: 1,
            ..Usage::default()
        },
        receipt: Receipt {
            request: "req-00000001".into(),
            model: "demo:q4".into(),
            device: "cpu".into(),
            kernels: "zen4".into(),
            threads: 2,
            reason: "the only lane".into(),
            plan: None,
            queue_s: 0.0,
            prefill_s: 0.0,
            decode_s: 0.0,
            prefill_tokens_per_s: 0.0,
            decode_tokens_per_s: 0.0,
            retries: 0,
            energy: EnergyReceipt::nothing(),
        },
    })
}

fn started() -> Update {
    Update::Started { model: "demo".into(), prompt_tokens: 7, cached_tokens: 3 }
}

fn chat(stream: bool) -> Value {
    json!({"model": "d", "messages": [{"role": "user", "content": "hi"}], "stream": stream})
}

fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn chat_request(stream: bool) -> String {
    post("/v1/chat/completions", &chat(stream).to_string())
}

/// Sends bytes as they are and reads to the end.
fn raw(server: &Server, bytes: &[u8]) -> String {
    let mut stream = server.dial();
    // The server may close before it has read everything.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn read_until(stream: &mut UnixStream, what: &str) -> String {
    let mut got = String::new();
    let mut buf = [0; 4096];
    while !got.contains(what) {
        match stream.read(&mut buf).unwrap() {
            0 => panic!("ended after: {got}"),
            n => got.push_str(std::str::from_utf8(&buf[..n]).unwrap()),
        }
    }
    got
}

/// Answers every request with a few words, until the server is gone.
fn answering(server: &mut Server) -> JoinHandle<u32> {
    let (_, empty) = mpsc::channel();
    let asked = std::mem::replace(&mut server.asked, empty);
    std::thread::spawn(move || {
        let mut answered = 0;
        while let Ok(what) = asked.recv() {
            if let Asked::Generate { mut sink, .. } = what {
                let done = [
                    started(),
                    Update::Text("Hel".into()),
                    Update::Text("lo".into()),
                    Update::Done(outcome(Finish::Stop)),
                ];
                answered += u32::from(done.into_iter().all(|u| sink.push(u).is_ok()));
            }
        }
        answered
    })
}

#[test]
fn a_whole_answer_is_openais_object() {
    let server = Server::start(quick());
    let client = server.client();
    let asker = std::thread::spawn(move || {
        let response = client
            .request_with(
                "POST",
                "/v1/chat/completions",
                Some(&chat(false)),
                &[("X-Request-Id", "mine"), ("Authorization", "Bearer x")],
            )
            .unwrap();
        assert_eq!(response.header("x-request-id"), Some("req-00000001"));
        assert_eq!(response.header("x-client-request-id"), Some("mine"));
        response.json().unwrap()
    });
    let (request, _, mut sink) = server.generate();
    assert_eq!(request.model, "d");
    assert!(matches!(request.prompt, Prompt::Chat(_)));
    for u in [Update::Loading(0.5), started(), Update::Text("Hel".into()), Update::Text("lo".into())] {
        sink.push(u).unwrap();
    }
    sink.push(Update::Done(outcome(Finish::Length))).unwrap();
    let mut got = asker.join().unwrap();
    assert!(got["created"].take().as_u64().unwrap() > 1_600_000_000);
    assert_eq!(got["wattlm"]["device"], "cpu");
    got["wattlm"].take();
    assert_eq!(
        got,
        json!({
            "id": "chatcmpl-req-00000001", "object": "chat.completion", "created": null, "model": "demo",
            "system_fingerprint": concat!("wattlm-", env!("CARGO_PKG_VERSION")),
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello", "refusal": null},
                         "logprobs": null, "finish_reason": "length"}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9,
                      "prompt_tokens_details": {"cached_tokens": 3}},
            "wattlm": null,
        })
    );
}

#[test]
fn completions_answer_with_text() {
    let mut server = Server::start(quick());
    let worker = answering(&mut server);
    let got = server.client().json("POST", "/v1/completions", Some(&json!({"prompt": "x"}))).unwrap();
    assert_eq!((&got["object"], &got["choices"][0]["text"]), (&json!("text_completion"), &json!("Hello")));
    assert_eq!(got["id"], "cmpl-req-00000001");
    server.stop();
    assert_eq!(worker.join().unwrap(), 1);
}

#[test]
fn a_stream_is_openais_events() {
    for (include_usage, endpoint) in [(false, Endpoint::Chat), (true, Endpoint::Chat), (true, Endpoint::Completions)] {
        let mut server = Server::start(quick());
        let worker = answering(&mut server);
        let mut body = chat(true);
        body["stream_options"] = json!({"include_usage": include_usage});
        let target = match endpoint {
            Endpoint::Chat => "/v1/chat/completions",
            Endpoint::Completions => {
                body.as_object_mut().unwrap().remove("messages");
                body["prompt"] = json!("x");
                "/v1/completions"
            }
        };
        let response = server.client().request("POST", target, Some(&body)).unwrap();
        assert_eq!(response.header("content-type"), Some("text/event-stream"));
        let text = response.text().unwrap();
        let mut events: Vec<&str> = text.split("\n\n").filter(|e| !e.is_empty() && !e.starts_with(':')).collect();
        assert_eq!(events.pop(), Some("data: [DONE]"));
        let events: Vec<Value> =
            events.iter().map(|e| serde_json::from_str(e.strip_prefix("data: ").unwrap()).unwrap()).collect();
        let said = |e: &Value| {
            let c = &e["choices"][0];
            c["delta"]["content"].as_str().or(c["text"].as_str()).unwrap_or("").to_owned()
        };
        assert_eq!(events.iter().map(said).collect::<String>(), "Hello");
        if endpoint == Endpoint::Chat {
            assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
        }
        let (last, rest) = events.split_last().unwrap();
        assert_eq!(last["wattlm"]["reason"], "the only lane");
        assert!(rest.iter().all(|e| e.get("wattlm").is_none()));
        let finish = if include_usage {
            assert_eq!((&last["choices"], &last["usage"]["total_tokens"]), (&json!([]), &json!(9)));
            assert!(rest.iter().all(|e| e["usage"].is_null() && e.get("usage").is_some()));
            rest.last().unwrap()
        } else {
            assert!(events.iter().all(|e| e.get("usage").is_none()));
            last
        };
        assert_eq!(finish["choices"][0]["finish_reason"], "stop");
        assert!(events.iter().all(|e| e["id"] == events[0]["id"] && e["model"] == "demo"));
        server.stop();
        worker.join().unwrap();
    }
}

#[test]
fn early_failures_are_http_errors() {
    let server = Server::start(quick());
    for stream in [false, true] {
        let client = server.client();
        let asker =
            std::thread::spawn(move || client.request("POST", "/v1/chat/completions", Some(&chat(stream))).unwrap());
        let (_, _, mut sink) = server.generate();
        let full = Error::new(Code::QueueFull, "the line is full").retry_after(Duration::from_millis(1500));
        sink.push(Update::Failed(full)).unwrap();
        let response = asker.join().unwrap();
        assert_eq!((response.status, response.header("retry-after")), (503, Some("2")));
        let error = response.ok().unwrap_err();
        assert_eq!((error.code, error.retry_after), (Code::QueueFull, Some(Duration::from_secs(2))));
    }
}

#[test]
fn a_waiting_stream_is_kept_alive_and_a_late_failure_is_an_event() {
    let server = Server::start(quick());
    let mut stream = server.dial();
    stream.write_all(chat_request(true).as_bytes()).unwrap();
    let (_, _, mut sink) = server.generate();
    let got = read_until(&mut stream, ": queued\n\n");
    assert!(got.starts_with("HTTP/1.1 200"), "{got}");
    sink.push(Update::Loading(0.42)).unwrap();
    read_until(&mut stream, ": loading 0.42\n\n");
    sink.push(started()).unwrap();
    read_until(&mut stream, ": running\n\n");
    sink.push(Update::Failed(Error::new(Code::WorkerLost, "the worker died"))).unwrap();
    let rest = read_until(&mut stream, "\r\n0\r\n\r\n");
    let event = rest.lines().find_map(|l| l.strip_prefix("data: {\"error\"")).expect("an error event");
    assert!(event.contains("worker_lost"), "{event}");
    assert!(!rest.contains("[DONE]"));
}

#[test]
fn a_cancelled_request_is_an_error() {
    let server = Server::start(quick());
    for stream in [false, true] {
        let client = server.client();
        let asker = std::thread::spawn(move || {
            if stream {
                let mut s = client.chat_stream(chat(true)).unwrap();
                let id = s.request_id().unwrap().to_owned();
                client.cancel(&id).unwrap();
                loop {
                    match s.next(None) {
                        Err(e) => break e,
                        Ok(Delta::Done(_)) => panic!("ended well"),
                        Ok(_) => {}
                    }
                }
            } else {
                client.json("POST", "/v1/chat/completions", Some(&chat(false))).unwrap_err()
            }
        });
        let (_, id, mut sink) = server.generate();
        sink.push(started()).unwrap();
        if stream {
            let Asked::Cancel(which, reply) = server.next() else { panic!("a cancel is expected") };
            assert_eq!(which, id);
            reply(Ok(()));
        }
        sink.push(Update::Done(outcome(Finish::Cancelled))).unwrap();
        assert_eq!(asker.join().unwrap().code, Code::Cancelled);
    }
}

#[test]
fn what_is_wrong_is_refused_with_a_reason() {
    let config = ServerConfig { body_bytes: 1000, body_time: Duration::from_millis(100), ..quick() };
    let server = Server::start(config);
    let chat_ok = chat(false).to_string();
    let long = format!("{{\"x\":\"{}\"}}", "y".repeat(1000));
    let target = "/v1/chat/completions";
    let post_with = |header: &str| post(target, &chat_ok).replace("host: x", header);
    for (bytes, status, code) in [
        ("GET /nothing HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(), 404, "not_found"),
        ("GET /v1/models/none HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(), 404, "model_not_found"),
        (
            "GET /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(),
            405,
            "method_not_allowed",
        ),
        ("DELETE /wattlm/v1/requests/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(), 404, "not_found"),
        (post_with("origin: http://evil.example"), 403, "forbidden"),
        (post_with("origin: null"), 403, "forbidden"),
        (post(target, &long), 413, "payload_too_large"),
        (
            format!("POST {target} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n400\r\n{long}"),
            413,
            "payload_too_large",
        ),
        (post(target, &"[".repeat(500)), 413, "payload_too_large"),
        (post(target, ""), 400, "invalid_request"),
        (post(target, "{\"messages\":"), 400, "invalid_request"),
        (post(target, "{\"messages\":[],\"messages\":[]}"), 400, "invalid_request"),
        (post(target, "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"n\":2}"), 400, "unsupported_field"),
        (format!("POST {target} HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{{"), 408, "request_timeout"),
    ] {
        let got = raw(&server, bytes.as_bytes());
        let (head, body) = got.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{bytes:.80}: {got}"));
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{bytes:.80}: {got}");
        let error: Value = serde_json::from_str(body).unwrap();
        assert_eq!(error["error"]["code"], code, "{bytes:.80}");
        assert!(error["error"]["message"].as_str().unwrap().len() > 10);
        if status == 405 {
            assert!(head.contains("allow: POST, OPTIONS"), "{head}");
        }
    }
    let bad_utf8 = [post(target, "xx").as_bytes().strip_suffix(b"xx").unwrap(), b"\xff\xfe"].concat();
    assert!(raw(&server, &bad_utf8).contains("not UTF-8"));
    assert!(server.asked.try_recv().is_err(), "nothing reached the service");
}

#[test]
fn broken_http_ends_its_connection_only() {
    let server = Server::start(ServerConfig { header_time: Duration::from_millis(100), ..quick() });
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200));
    let big = format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "x".repeat(100_000));
    for (bytes, status) in [
        (&b"\0\0\0\0\r\n\r\n"[..], Some("400")),
        (b"GET\r\n\r\n", Some("400")),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some("")),
        (b"GET / HTTP/1.1\r\ncontent-length: x\r\n\r\n", Some("400")),
        (b"POST /v1/completions HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx", Some("400")),
        (b"POST /v1/completions HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", Some("400")),
        (many.as_bytes(), Some("431")),
        (big.as_bytes(), Some("431")),
        (b"\x16\x03\x01\x02\x00\x01\x00", Some("400")),
        (b"", None),
        (b"GET / HT", None),
    ] {
        let got = raw(&server, bytes);
        if let Some(s) = status {
            assert!(got.starts_with(&format!("HTTP/1.1 {s}")) || s.is_empty(), "{bytes:.40?}: {got}");
        }
    }
    assert!(server.client().json("GET", "/health", None).is_ok());
}

#[test]
fn slow_heads_and_idle_connections_are_dropped() {
    let config =
        ServerConfig { header_time: Duration::from_millis(200), idle_time: Duration::from_millis(600), ..quick() };
    let server = Server::start(config);
    let start = Instant::now();
    let mut slow = server.dial();
    let mut idle = server.dial();
    let dripping = std::thread::spawn(move || {
        for b in b"GET /health HTTP/1.1\r\n".iter().cycle() {
            if slow.write_all(&[*b]).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        start.elapsed()
    });
    let after = dripping.join().unwrap();
    assert!((Duration::from_millis(190)..Duration::from_millis(500)).contains(&after), "{after:?}");
    assert_eq!(idle.read(&mut [0; 1]).unwrap(), 0);
    assert!(start.elapsed() >= Duration::from_millis(590), "{:?}", start.elapsed());
    // A used connection becomes idle again.
    let mut used = server.dial();
    used.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    read_until(&mut used, "\"ok\"}");
    std::thread::sleep(Duration::from_millis(300));
    used.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    read_until(&mut used, "\"ok\"}");
    assert_eq!(used.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn a_client_that_never_reads_is_bounded_and_dropped() {
    let config = ServerConfig { write_buffer: 4096, write_time: Duration::from_millis(200), ..quick() };
    let server = Server::start(config);
    let mut stream = server.dial();
    stream.write_all(chat_request(true).as_bytes()).unwrap();
    let (_, _, mut sink) = server.generate();
    sink.push(started()).unwrap();
    let text = "x".repeat(512);
    let mut pushed = 0;
    let result = loop {
        let before = Instant::now();
        let result = sink.push(Update::Text(text.clone()));
        assert!(before.elapsed() < Duration::from_millis(50), "a push never blocks");
        if result.is_err() {
            break result;
        }
        pushed += text.len();
        assert!(pushed < 1 << 20, "the buffers are bounded");
        std::thread::sleep(Duration::from_micros(200));
    };
    assert_eq!(result, Err(SinkClosed::Full));
    drop(sink);
    // The connection ends by itself although the client neither reads nor closes: its place is free again.
    let deadline = Instant::now() + Duration::from_secs(3);
    while metric(&server, "wattlm_connections ") > 1.0 {
        assert!(Instant::now() < deadline, "the connection stays");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(server.asked.try_recv().is_err(), "the service knows already");
    drop(stream);
}

fn metric(server: &Server, name: &str) -> f64 {
    let text = server.client().request("GET", "/metrics", None).unwrap().text().unwrap();
    text.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_else(|| panic!("{name} in {text}")).parse().unwrap()
}

#[test]
fn a_slow_reader_gets_all_it_can_and_then_the_reason() {
    let server = Server::start(ServerConfig { write_buffer: 4096, ..quick() });
    let mut stream = server.dial();
    stream.write_all(chat_request(true).as_bytes()).unwrap();
    let (_, _, mut sink) = server.generate();
    sink.push(started()).unwrap();
    while sink.push(Update::Text("x".repeat(512))).is_ok() {
        std::thread::sleep(Duration::from_micros(200));
    }
    let rest = read_until(&mut stream, "\r\n0\r\n\r\n");
    assert!(rest.contains("\"slow_client\""), "{}", &rest[rest.len() - 400..]);
}

#[test]
fn a_half_closed_client_still_gets_its_answer() {
    for stream_it in [false, true] {
        let server = Server::start(quick());
        let mut stream = server.dial();
        stream.write_all(chat_request(stream_it).as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let (_, _, mut sink) = server.generate();
        // Long enough for a wrong conclusion.
        std::thread::sleep(Duration::from_millis(150));
        for u in [started(), Update::Text("Hello".into()), Update::Done(outcome(Finish::Stop))] {
            sink.push(u).unwrap();
        }
        let mut got = String::new();
        stream.read_to_string(&mut got).unwrap();
        assert!(got.contains("Hello"), "{got}");
    }
}

#[test]
fn a_client_that_goes_takes_its_request_with_it() {
    let server = Server::start(ServerConfig { keepalive: Duration::from_secs(60), ..quick() });
    for stream_it in [true, false] {
        for update in [None, Some(Update::Loading(0.1)), Some(started()), Some(Update::Text("x".into()))] {
            for half_closed in [false, true] {
                let mut stream = server.dial();
                stream.write_all(chat_request(stream_it).as_bytes()).unwrap();
                if half_closed {
                    stream.shutdown(Shutdown::Write).unwrap();
                }
                let (_, id, mut sink) = server.generate();
                if let Some(u) = update.clone() {
                    sink.push(u).unwrap();
                }
                // Nothing is written and nothing pushed from here on; in half of the runs the head is out already.
                std::thread::sleep(Duration::from_millis(if half_closed { 80 } else { 5 }));
                drop(stream);
                server.abandoned(id);
                assert_eq!(sink.push(Update::Text("y".into())), Err(SinkClosed::Gone));
            }
        }
    }
}

#[test]
fn too_many_connections_are_told_so() {
    let server = Server::start(ServerConfig { connections_per_uid: 3, ..quick() });
    let mut held: Vec<UnixStream> = (0..3).map(|_| server.dial()).collect();
    for s in &mut held {
        s.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        read_until(s, "\"ok\"}");
    }
    let got = raw(&server, chat_request(false).as_bytes());
    assert!(got.starts_with("HTTP/1.1 503") && got.contains("\"too_many_connections\""), "{got}");
    assert!(got.contains("retry-after: 1\r\n"), "{got}");
    held.pop();
    let deadline = Instant::now() + Duration::from_secs(2);
    while server.client().json("GET", "/health", None).is_err() {
        assert!(Instant::now() < deadline, "a place is free again");
    }
}

#[test]
fn an_administrator_still_gets_in() {
    let server = Server::start(ServerConfig { connections: 2, ..quick() });
    let _held: Vec<UnixStream> = (0..2).map(|_| server.dial()).collect();
    // This process is the daemon's own user.
    assert!(server.client().status().is_ok());
    let _more: Vec<UnixStream> = (0..conn::ADMIN_SEATS).map(|_| server.dial()).collect();
    let got = raw(&server, b"GET /health HTTP/1.1\r\n\r\n");
    assert!(got.contains("\"too_many_connections\""), "{got}");
}

#[test]
fn many_clients_at_once_get_one_answer_each() {
    let mut server = Server::start(ServerConfig { connections_per_uid: 256, ..quick() });
    let worker = answering(&mut server);
    let path = server.path.clone();
    std::thread::scope(|scope| {
        for _ in 0..128 {
            scope.spawn(|| {
                let client = Client::connect(&path).unwrap();
                for _ in 0..4 {
                    let mut stream = client.chat_stream(chat(true)).unwrap();
                    let mut text = String::new();
                    let last = loop {
                        match stream.next(None).unwrap() {
                            Delta::Text(t) => text += &t,
                            Delta::Done(last) => break last,
                            _ => {}
                        }
                    };
                    assert_eq!((text.as_str(), last.finish_reason.as_str()), ("Hello", "stop"));
                    assert_eq!((&last.usage["total_tokens"], &last.wattlm["device"]), (&json!(9), &json!("cpu")));
                }
            });
        }
    });
    server.stop();
    assert_eq!(worker.join().unwrap(), 512);
}

#[test]
fn the_other_endpoints_answer() {
    let server = Server::start(quick());
    let client = server.client();
    assert_eq!(client.json("GET", "/health", None).unwrap()["status"], "ok");
    assert_eq!(client.status().unwrap()["totals"]["requests"], 7);
    let models = client.models().unwrap();
    assert_eq!((&models["object"], &models["data"][0]["id"]), (&json!("list"), &json!("demo")));
    for name in ["demo", "demo:q4", "demo%3Aq4"] {
        let m = client.json("GET", &format!("/v1/models/{name}"), None).unwrap();
        assert_eq!((&m["object"], &m["owned_by"]), (&json!("model"), &json!("wattlm")));
    }
    let metrics = client.request("GET", "/metrics", None).unwrap();
    assert_eq!(metrics.header("content-type"), Some(metrics::CONTENT_TYPE));
    let text = metrics.text().unwrap();
    assert!(text.contains("# TYPE wattlm_requests_total counter\nwattlm_requests_total 7\n"), "{text}");
    assert!(text.contains("\nwattlm_engine_step_seconds_total 1.5\n"), "{text}");
    assert!(text.contains("\nwattlm_requests_ended_total{outcome=\"failed\"} 0\n"), "{text}");
    let head = client.request("HEAD", "/health", None).unwrap();
    assert_eq!((head.status, head.header("content-length")), (200, Some("15")));
    let options = client.request("OPTIONS", "/v1/models", None).unwrap();
    assert_eq!((options.status, options.header("allow")), (204, Some("GET, HEAD, OPTIONS")));
}

#[test]
fn models_are_loaded_with_progress_and_unloaded() {
    let server = Server::start(quick());
    let client = server.client();
    let loader = std::thread::spawn(move || {
        let mut loading = client.load("a/b").unwrap();
        let mut seen = Vec::new();
        while seen.last() != Some(&LoadProgress::Loaded) {
            match loading.next().unwrap() {
                LoadProgress::Alive => {}
                p => seen.push(p),
            }
        }
        client.json("POST", "/wattlm/v1/models/x/load", None).unwrap_err();
        client.unload("a/b").unwrap();
        seen
    });
    let Asked::Load(name, mut sink) = server.next() else { panic!("a load is expected") };
    assert_eq!(name, "a/b");
    // The first is seen on its own once the head is out.
    std::thread::sleep(Duration::from_millis(100));
    sink.push(Update::Loading(0.5)).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    sink.push(Update::Done(outcome(Finish::Stop))).unwrap();
    let Asked::Load(_, mut sink) = server.next() else { panic!("a load is expected") };
    sink.push(Update::Failed(Error::new(Code::InsufficientMemory, "too big"))).unwrap();
    let Asked::Unload(name, reply) = server.next() else { panic!("an unload is expected") };
    assert_eq!(name, "a/b");
    reply(Ok(()));
    assert_eq!(loader.join().unwrap(), [LoadProgress::Loading(0.5), LoadProgress::Loading(1.0), LoadProgress::Loaded]);
}

#[test]
fn stopping_lets_requests_end_and_then_ends_them() {
    let mut server = Server::start(ServerConfig { shutdown_time: Duration::from_millis(300), ..quick() });
    let mut idle = server.dial();
    let mut quick_one = server.dial();
    quick_one.write_all(chat_request(false).as_bytes()).unwrap();
    let (_, _, mut quick_sink) = server.generate();
    let mut streams = Vec::new();
    for stream_it in [true, false] {
        let mut s = server.dial();
        s.write_all(chat_request(stream_it).as_bytes()).unwrap();
        let (_, id, mut sink) = server.generate();
        sink.push(started()).unwrap();
        streams.push((s, id, sink));
    }
    let path = server.path.clone();
    let start = Instant::now();
    drop(server.stop.take());
    assert_eq!(idle.read(&mut [0; 1]).unwrap(), 0, "an idle connection closes at once");
    assert!(start.elapsed() < Duration::from_millis(200));
    assert!(UnixStream::connect(&path).is_err(), "nothing is accepted any more");
    quick_sink.push(Update::Done(outcome(Finish::Stop))).unwrap();
    let mut got = String::new();
    quick_one.read_to_string(&mut got).unwrap();
    assert!(got.starts_with("HTTP/1.1 200"), "{got}");
    let mut left: Vec<RequestId> = Vec::new();
    for (mut s, id, _sink) in streams {
        let mut got = String::new();
        s.read_to_string(&mut got).unwrap();
        assert!(got.contains("\"shutting_down\""), "{got}");
        left.push(id);
    }
    server.stop();
    let mut gone: Vec<RequestId> = Vec::new();
    while let Ok(Asked::Abandon(id)) = server.asked.try_recv() {
        gone.push(id);
    }
    gone.sort();
    assert_eq!(gone, left, "the service learns of those that were ended");
    assert!(!Path::new(&path).exists());
}

#[test]
fn an_idle_server_sleeps() {
    let server = Server::start(ServerConfig::default());
    let switches = || {
        let status = std::fs::read_to_string(format!("/proc/self/task/{}/status", server.tid)).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        line.trim().parse::<u64>().unwrap()
    };
    let _idle = server.dial();
    server.client().json("GET", "/health", None).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let before = switches();
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(switches(), before, "an idle server was woken");
}

/// Not a test of its own: the server of `descriptors_may_run_out`, in a process with few descriptors.
#[test]
#[ignore = "run by descriptors_may_run_out"]
fn starved_server() {
    let Some(path) = std::env::var_os("WATTLM_TEST_SOCKET") else { return };
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, 64, 64).unwrap();
    let (listener, _unlink) = bind(Path::new(&path), 0o600, None).unwrap();
    let (asked_in, asked) = mpsc::channel::<Asked>();
    std::thread::spawn(move || {
        // Streams a word every 20 ms for as long as anybody listens.
        while let Ok(what) = asked.recv() {
            if let Asked::Generate { mut sink, .. } = what {
                std::thread::spawn(move || {
                    let _ = sink.push(started());
                    while sink.push(Update::Text("word ".into())).is_ok() {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                });
            }
        }
    });
    let (_config, seen) = watch::channel(quick());
    let fake = Fake { asked: asked_in, next: Arc::new(AtomicU64::new(1)) };
    // The parent ends this process.
    run(listener, fake, seen, std::future::pending()).unwrap();
}

#[test]
fn descriptors_may_run_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "server::tests::starved_server", "--ignored", "--nocapture"])
        .env("WATTLM_TEST_SOCKET", &path)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    let client = loop {
        match Client::connect(&path) {
            Ok(c) => break c,
            Err(e) => assert!(Instant::now() < deadline, "{e}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let mut stream = client.chat_stream(chat(true)).unwrap();
    let mut words = |n: usize| {
        let start = Instant::now();
        let mut seen = 0;
        while seen < n {
            match stream.next(Some(Instant::now() + Duration::from_secs(2))).unwrap() {
                Delta::Text(t) => seen += t.split_whitespace().count(),
                Delta::Nothing => panic!("the stream stands still"),
                _ => {}
            }
        }
        start.elapsed()
    };
    words(3);
    let crowd: Vec<UnixStream> = (0..100).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let cpu = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let before = cpu(child.id());
    let took = words(50);
    let ticks = cpu(child.id()) - before;
    assert!(took < Duration::from_secs(3), "the live stream suffers: {took:?}");
    // A tick is 10 ms: about a second passed, of which streaming 50 words takes almost nothing.
    assert!(ticks <= 5, "{ticks} ticks of CPU time while out of descriptors");
    drop(crowd);
    let start = Instant::now();
    while client.json("GET", "/health", None).is_err() {
        assert!(start.elapsed() < Duration::from_secs(2), "accepting goes on");
    }
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    words(3);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The protocol's description says what the code does.
#[test]
fn the_description_is_complete() {
    let doc = include_str!("../../docs/protocol.md");
    let rows: Vec<&str> = doc.lines().filter(|l| l.starts_with("| `")).collect();
    for code in Code::ALL {
        let row = format!("| `{}` | {} |", code.name(), code.http_status());
        assert_eq!(rows.iter().filter(|r| r.starts_with(&row)).count(), 1, "{row}");
    }
    let listed = doc.split("fields.rs -->").nth(1).and_then(|rest| rest.split("<!-- end").next()).unwrap();
    let listed: Vec<&str> = listed.split('`').skip(1).step_by(2).collect();
    assert_eq!(listed, fields::refused().collect::<Vec<_>>());
}

/// Inputs that fuzzing found interesting; they lie beside the fuzz target.
#[test]
fn the_fuzz_corpus_is_survived() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/http_body");
    for entry in std::fs::read_dir(dir).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for endpoint in [Endpoint::Chat, Endpoint::Completions] {
            let _ = parse(endpoint, &bytes, 32);
        }
    }
}

/// Connects as a user without rights, which only root can. The kernel fixes a peer's identity when it connects.
#[allow(unsafe_code)]
fn as_nobody(server: &Server) -> UnixStream {
    use std::os::unix::fs::PermissionsExt;
    let open = |path: &Path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    open(&server.path);
    open(server.path.parent().unwrap());
    let path = server.path.clone();
    let connect = move || {
        // SAFETY: takes three numbers and no pointer. The system call, unlike the C library's function, changes the
        // calling thread alone, which ends after this.
        let rc = unsafe { libc::syscall(libc::SYS_setresuid, -1, 65_534, -1) };
        assert_eq!(rc, 0);
        let stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream
    };
    std::thread::spawn(connect).join().unwrap()
}

fn get(mut stream: UnixStream, path: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn fine_energy_is_for_administrators() {
    let server = Server::start(quick());
    let metrics = get(server.dial(), "/metrics");
    for line in [
        "wattlm_meter_info{source=\"rapl:package-0\",scope=\"package\",quality=\"measured\"} 1",
        "wattlm_energy_joules_total{part=\"charged\"} 12",
        "wattlm_energy_charged_joules_total{phase=\"decode\"} 10",
        "wattlm_energy_metered_joules_total 0",
        "wattlm_energy_estimated_joules_total 0",
        "wattlm_power_watts 7.3",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line} in {metrics}");
    }
    let client = server.client();
    let energy = client.json("GET", "/wattlm/v1/energy", None).unwrap();
    assert_eq!((&energy["charged_j"], &energy["watts"]), (&json!(12.345678), &json!(7.3)));
    for key in
        ["metered_j", "idle_j", "others_j", "shared_j", "estimated_j", "correction_j", "source", "scope", "idle_watts"]
    {
        assert!(energy.get(key).is_some(), "{key} in {energy}");
    }
    assert_eq!(client.status().unwrap()["energy"]["charged_j"], 12.345678);

    if !nix::unistd::geteuid().is_root() {
        eprintln!("not root: what others see is not tested");
        return;
    }
    let metrics = get(as_nobody(&server), "/metrics");
    assert!(metrics.contains("{part=\"charged\"} 12\n") && !metrics.contains("wattlm_power_watts"), "{metrics}");
    let status = get(as_nobody(&server), "/wattlm/v1/status");
    assert!(status.contains("\"charged_j\":12.0") && status.contains("\"watts\":null"), "{status}");
    let energy = get(as_nobody(&server), "/wattlm/v1/energy");
    assert!(energy.starts_with("HTTP/1.1 403") && energy.contains("server.admin_group"), "{energy}");
}

#[test]
fn the_account_is_asked_as_the_query_says() {
    let server = Server::start(quick());
    let client = server.client();
    let asker = std::thread::spawn(move || {
        let report = client.account("uid=all&by=model&from=2026-11-01").unwrap();
        let refused = client.account("uid=7").unwrap_err();
        let bad = client.account("since=2026").unwrap_err();
        (report, refused.code, bad)
    });
    let next = || match server.next() {
        Asked::Account(peer, query, reply) => (peer, query, reply),
        _ => panic!("the account is expected"),
    };
    let (peer, query, reply) = next();
    assert_eq!((peer.pid, query.whose), (std::process::id() as i32, Whose::All));
    assert_eq!(query.from.map(|d| d.to_string()).as_deref(), Some("2026-11-01"));
    let empty = json!({"object": "wattlm.account", "days": "UTC", "lines": [], "total": crate::energy::account::Sums::default()});
    reply(Ok(serde_json::from_value(empty.clone()).unwrap()));
    let (_, query, reply) = next();
    assert_eq!(query.whose, Whose::Uid(7));
    reply(Err(Error::new(Code::Forbidden, "no")));
    let (report, refused, bad) = asker.join().unwrap();
    assert_eq!((report, refused), (empty, Code::Forbidden));
    assert_eq!((bad.code, bad.param.as_deref()), (Code::InvalidRequest, Some("since")));
}

#[test]
fn an_estimate_asks_for_what_the_body_says_and_a_request_is_asked_for_by_its_name() {
    let server = Server::start(quick());
    let client = server.client();
    let estimate = std::thread::spawn(move || {
        let body = json!({"prompt": "hi", "max_tokens": 7, "wattlm": {"policy": "min-energy", "degrade": true}});
        (client.estimate(&body), client.explain("chatcmpl-req-0000002a"), client.profiles())
    });
    match server.next() {
        Asked::Estimate(request, reply) => {
            assert_eq!(request.prompt, Prompt::Text("hi".into()));
            assert_eq!((request.max_tokens, request.degrade), (Some(7), true));
            assert_eq!(request.policy, Some(crate::sched::Policy::MinEnergy));
            reply(Err(Error::new(Code::ModelNotFound, "none").at("model")));
        }
        _ => panic!("another question"),
    }
    match server.next() {
        Asked::Explain(peer, id, reply) => {
            assert_eq!((peer.uid, id), (nix::unistd::geteuid().as_raw(), RequestId(0x2a)));
            reply(Err(Error::new(Code::NotFound, "none")));
        }
        _ => panic!("another question"),
    }
    let (estimate, explained, profiles) = estimate.join().unwrap();
    assert_eq!(estimate.unwrap_err().param.as_deref(), Some("model"));
    assert_eq!(explained.unwrap_err().code, Code::NotFound);
    assert_eq!(profiles.unwrap()["profiles"], json!([]));
}
