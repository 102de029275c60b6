//! The client against daemons that are none, that break off, or that say anything at all.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use serde_json::json;

use super::*;

/// Answers one connection for each of `answers` with these bytes after a request's head has come, then closes.
fn scripted(answers: Vec<Vec<u8>>) -> (tempfile::TempDir, Client) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        // The first connection is the client finding out whether somebody listens.
        drop(listener.accept());
        for answer in answers {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let mut seen = Vec::new();
            let mut buf = [0; 1024];
            while !seen.windows(4).any(|w| w == b"\r\n\r\n") {
                match stream.read(&mut buf) {
                    Ok(n) if n > 0 => seen.extend_from_slice(&buf[..n]),
                    _ => break,
                }
            }
            let _ = stream.write_all(&answer);
        }
    });
    let client = Client::connect(&path).unwrap();
    (dir, client)
}

fn one(answer: &[u8]) -> Result<Value> {
    let (_dir, client) = scripted(vec![answer.to_vec()]);
    client.json("GET", "/x", None)
}

#[test]
fn no_daemon_is_said_in_a_friendly_way() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let e = Client::connect(&path).unwrap_err();
    assert_eq!(e.code, Code::NoDaemon);
    assert!(e.message.contains(path.to_str().unwrap()) && e.message.contains("start"), "{e}");
    drop(UnixListener::bind(&path).unwrap());
    assert_eq!(Client::connect(&path).unwrap_err().code, Code::NoDaemon);
}

#[test]
fn bodies_are_framed_in_each_way() {
    for body in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n{\"a\":1}trailing"[..],
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n{\"a\":1}",
    ] {
        assert_eq!(one(body).unwrap(), json!({"a": 1}), "{}", String::from_utf8_lossy(body));
    }
}

#[test]
fn what_breaks_off_is_an_error() {
    for body in [
        &b""[..],
        b"HTTP/1.1 20",
        b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n{\"a\":1}",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7\r\n{\"a\":1}\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7\r\n{\"a\":",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    ] {
        assert_eq!(one(body).unwrap_err().code, Code::ConnectionLost, "{}", String::from_utf8_lossy(body));
    }
}

#[test]
fn what_is_no_daemon_is_said_so() {
    let endless_head = [b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'y'; 1 << 20]].concat();
    let many_headers = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(100)).into_bytes();
    let endless_chunk_line = [&b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;"[..], &[b'y'; 4096]].concat();
    for body in [
        &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc",
        b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 3\r\n\r\nabc",
        &endless_head,
        &many_headers,
        &endless_chunk_line,
    ] {
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        assert_eq!(one(body).unwrap_err().code, Code::Protocol, "{shown}");
    }
}

#[test]
fn the_wires_errors_keep_their_code() {
    let body =
        json!({"error": {"message": "m", "type": "t", "param": "messages[0]", "code": "queue_full"}}).to_string();
    let head = format!("HTTP/1.1 503 x\r\nretry-after: 3\r\ncontent-length: {}\r\n\r\n", body.len());
    let e = one((head + &body).as_bytes()).unwrap_err();
    assert_eq!((e.code, e.message.as_str(), e.param.as_deref()), (Code::QueueFull, "m", Some("messages[0]")));
    assert_eq!(e.retry_after, Some(Duration::from_secs(3)));
}

#[test]
fn a_streams_errors_and_ends_are_told_apart() {
    let stream = |events: &str| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
        let (dir, client) = scripted(vec![format!("{head}{events}").into_bytes()]);
        let mut stream = client.chat_stream(json!({})).unwrap();
        let mut text = String::new();
        let end = loop {
            match stream.next(None) {
                Ok(Delta::Text(t)) => text += &t,
                Ok(Delta::Done(last)) => break Ok((text, last.finish_reason)),
                Ok(_) => {}
                Err(e) => break Err(e.code),
            }
        };
        drop(dir);
        end
    };
    let word = "data: {\"choices\":[{\"delta\":{\"content\":\"hé\"}}]}\n\n";
    let last = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\r\n\r\n";
    assert_eq!(stream(&format!(": queued\n\n{word}{word}{last}data: [DONE]\n\n")), Ok(("héhé".into(), "stop".into())));
    let error = "data: {\"error\":{\"code\":\"worker_lost\",\"message\":\"m\"}}\n\n";
    assert_eq!(stream(&format!("{word}{error}")), Err(Code::WorkerLost));
    assert_eq!(stream(word), Err(Code::ConnectionLost), "an end without [DONE]");
    assert_eq!(stream("data: {\"choi"), Err(Code::ConnectionLost));
    assert_eq!(stream("data: {\"choi\n\n"), Err(Code::Protocol));
    assert_eq!(stream("data: \u{1}\n\n"), Err(Code::Protocol));
    assert_eq!(stream(&format!("data: {}", "x".repeat(3 << 20))), Err(Code::Protocol), "an endless event");
}

#[test]
fn silence_is_bounded_and_waiting_can_be_cut_short() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let mut client = Client::connect(&path).unwrap();
    client.set_silence(Some(Duration::from_millis(100)));
    let start = Instant::now();
    assert_eq!(client.json("GET", "/x", None).unwrap_err().code, Code::RequestTimeout);
    assert!((Duration::from_millis(100)..Duration::from_secs(1)).contains(&start.elapsed()));

    // A stream that stands still yields when asked to, and its canceller ends it from another thread.
    client.set_silence(None);
    drop((listener.accept(), listener.accept()));
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    });
    let mut stream = client.chat_stream(json!({})).unwrap();
    assert_eq!(stream.next(Some(Instant::now())).unwrap(), Delta::Nothing);
    assert_eq!(stream.next(Some(Instant::now() + Duration::from_millis(20))).unwrap(), Delta::Nothing);
    let canceller = stream.canceller();
    let other = std::thread::spawn(move || canceller.cancel());
    assert_eq!(stream.next(None).unwrap_err().code, Code::ConnectionLost);
    other.join().unwrap();
    server.join().unwrap();
}

#[test]
fn requests_cannot_be_split() {
    let (_dir, client) = scripted(vec![]);
    for (target, header) in [("/x y", ""), ("/x\r\nevil: 1", ""), ("/x", "a\r\nb: c"), ("/é", "")] {
        let e = client.request_with("GET", target, None, &[("x-h", header)]).unwrap_err();
        assert_eq!(e.code, Code::InvalidRequest, "{target:?}");
    }
}

#[test]
fn a_head_that_is_late_is_waited_for_in_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("s")).unwrap();
    let client = Client::at(dir.path().join("s"));
    let mut stream = client.start_stream("/v1/x", "{}").unwrap();
    assert_eq!(stream.next(Some(Instant::now())).unwrap(), Delta::Nothing);
    let (mut daemon, _) = listener.accept().unwrap();
    let says = |daemon: &mut std::os::unix::net::UnixStream, text: &str| daemon.write_all(text.as_bytes()).unwrap();
    says(&mut daemon, "HTTP/1.1 503 Service Unavailable\r\nretry-after: 3\r\ncontent-le");
    assert_eq!(stream.next(Some(Instant::now())).unwrap(), Delta::Nothing);
    says(&mut daemon, "ngth: 53\r\n\r\n{\"error\":{\"code\":\"queue_full\"");
    assert_eq!(stream.next(Some(Instant::now())).unwrap(), Delta::Nothing);
    says(&mut daemon, ",\"message\":\"many wait\"}}");
    let e = stream.next(Some(Instant::now() + Duration::from_secs(60))).unwrap_err();
    assert_eq!(
        (e.code, e.message.as_str(), e.retry_after),
        (Code::QueueFull, "many wait", Some(Duration::from_secs(3)))
    );
}

#[test]
fn silence_is_counted_over_many_short_waits() {
    let dir = tempfile::tempdir().unwrap();
    let _listener = UnixListener::bind(dir.path().join("s")).unwrap();
    let mut client = Client::at(dir.path().join("s"));
    client.set_silence(Some(Duration::from_millis(50)));
    let mut stream = client.start_stream("/v1/x", "{}").unwrap();
    let begun = Instant::now();
    let e = loop {
        match stream.next(Some(Instant::now() + Duration::from_millis(5))) {
            Ok(delta) => assert_eq!(delta, Delta::Nothing),
            Err(e) => break e,
        }
        assert!(begun.elapsed() < Duration::from_secs(60));
    };
    assert_eq!(e.code, Code::RequestTimeout);
}

#[test]
fn a_daemon_that_takes_no_connections_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let client = Client::at(&path);
    // The one place there is.
    let _first = client.dial().unwrap();
    let e = client.reach().unwrap_err();
    assert_eq!(e.code, Code::TooManyConnections, "{e}");
    assert!(e.retry_after.is_some());
}
