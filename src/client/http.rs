//! One HTTP/1.1 exchange over one connection.
//!
//! It speaks as much HTTP as the daemon does: an answer's body has a length, is chunked, or ends with the connection.
//!
//! What always holds: heads, chunk lines and whole bodies are bounded; a body that ends early is an error and never a
//! short answer.
//!
//! Here a request is sent and a body read; `head` reads what comes before it, `bytes` what both are made of.

mod bytes;
mod head;

use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::error::{Code, Error, Result};

/// A chunk's length in hex, extensions and line end.
const MAX_CHUNK_LINE: usize = 256;
/// An answer read as a whole: the daemon's own bound on text, escaped, with room to spare.
const MAX_WHOLE: usize = 32 << 20;

/// Ends a request from another thread, at any time, any number of times.
#[derive(Debug, Clone)]
pub struct Canceller(Arc<UnixStream>);

impl Canceller {
    /// Closes the connection: the daemon stops working on the request within one step, and whoever reads the answer
    /// gets `cancelled` or `connection_lost`.
    pub fn cancel(&self) {
        // Fails only if it is closed already.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// How the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// So many bytes are left.
    Length(u64),
    /// In a chunk, or between two with 0 left.
    Chunked {
        left: u64,
        first: bool,
    },
    /// With the connection.
    Close,
    Done,
}

/// An answer whose body is still to be read.
#[derive(Debug)]
pub struct Response {
    /// The HTTP status; 0 as long as the head has not come.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    stream: Arc<UnixStream>,
    silence: Option<Duration>,
    /// When the other side last gave a sign of life.
    heard: Instant,
    /// Why not all of the request could be sent, where it could not.
    unsent: Option<Error>,
    /// An answer to `HEAD`: its body's length is that of another one.
    head_only: bool,
    /// What is read of a body that is wanted as a whole.
    whole: Vec<u8>,
    /// What was read and not used yet is from `at` to `end`; the rest is room.
    buffer: Vec<u8>,
    at: usize,
    end: usize,
    /// The last read took all there was.
    drained: bool,
    framing: Framing,
}

/// Whether these can be sent without becoming something else on the way.
pub(super) fn check(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<()> {
    let plain = |s: &str| s.bytes().all(|b| (0x20..0x7f).contains(&b));
    if !plain(method) || !plain(target) || target.contains(' ') || !headers.iter().all(|(k, v)| plain(k) && plain(v)) {
        return Err(Error::new(Code::InvalidRequest, "a header or path holds a space, a line break or non-ASCII text"));
    }
    Ok(())
}

/// Sends a request and does not wait for its answer.
pub(super) fn start(
    stream: UnixStream,
    silence: Option<Duration>,
    method: &str,
    target: &str,
    body: Option<&str>,
    headers: &[(&str, &str)],
) -> Response {
    let mut out = format!("{method} {target} HTTP/1.1\r\nhost: wattlm\r\nconnection: close\r\n");
    for (name, value) in headers {
        out += &format!("{name}: {value}\r\n");
    }
    let body = body.unwrap_or_default();
    if !body.is_empty() || method == "POST" {
        out += &format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    }
    out += "\r\n";
    out += body;

    let mut response = Response {
        status: 0,
        headers: Vec::new(),
        stream: Arc::new(stream),
        silence,
        heard: Instant::now(),
        unsent: None,
        head_only: method == "HEAD",
        whole: Vec::new(),
        buffer: Vec::new(),
        at: 0,
        end: 0,
        // There is no answer before the request is there.
        drained: true,
        framing: Framing::Done,
    };
    // A daemon that refuses early closes before it has read everything; its answer says why.
    response.unsent = response.write(out.as_bytes()).err();
    response
}

impl Response {
    /// The first header of this name, given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }

    /// The daemon's name for the request, for `DELETE /wattlm/v1/requests/{id}`.
    pub fn request_id(&self) -> Option<&str> {
        self.header("x-request-id")
    }

    /// A way to end this request from elsewhere.
    pub fn canceller(&self) -> Canceller {
        Canceller(Arc::clone(&self.stream))
    }

    /// Readable when there may be more to read. What is buffered does not show here: read until nothing comes.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Waits for the head of a success, until `until` at most where that is given; `false` where it was not there by
    /// then. To be called again until it is `true`; the body is read after that.
    ///
    /// # Errors
    /// The daemon's error; `connection_lost`, `protocol`, `request_timeout`.
    pub fn ready(&mut self, until: Option<Instant>) -> Result<bool> {
        let result = self.read_head(until).and_then(|()| match self.status {
            200..=299 => Ok(()),
            _ => Err(self.read_error(until)?),
        });
        match result {
            Ok(()) => Ok(true),
            Err(e) if out_of_time(&e, until) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Turns an error status into the error it carries.
    ///
    /// # Errors
    /// The daemon's error.
    pub fn ok(mut self) -> Result<Response> {
        self.ready(None)?;
        Ok(self)
    }

    /// The error in the body. What is read when the time is over is kept.
    fn read_error(&mut self, until: Option<Instant>) -> Result<Error> {
        self.read_on(until)?;
        let said = serde_json::from_slice::<Value>(&self.whole).ok().and_then(|v| wire_error(&v));
        let mut error = said.unwrap_or_else(|| {
            let status = self.status;
            Error::new(Code::Protocol, format!("the other side answers {status} without saying why; is it wattlmd?"))
        });
        error.retry_after = self.header("retry-after").and_then(|v| v.parse().ok()).map(Duration::from_secs);
        Ok(error)
    }

    /// Reads the body as JSON.
    ///
    /// # Errors
    /// The daemon's error; `protocol` where it is no JSON.
    pub fn json(self) -> Result<Value> {
        let mut ok = self.ok()?;
        let whole = ok.read_whole()?;
        serde_json::from_slice(&whole).map_err(|e| protocol(&format!("its answer is no JSON ({e})")))
    }

    /// Reads the body as text.
    ///
    /// # Errors
    /// The daemon's error; `protocol` where it is no UTF-8.
    pub fn text(self) -> Result<String> {
        let mut ok = self.ok()?;
        String::from_utf8(ok.read_whole()?).map_err(|_| protocol("its answer is not UTF-8"))
    }

    /// Reads the body of a success as text, until `until` at most; `None` where it was not complete by then. What was
    /// read is kept.
    ///
    /// # Errors
    /// As [`Response::text`].
    pub fn text_until(&mut self, until: Option<Instant>) -> Result<Option<String>> {
        match self.read_on(until) {
            Ok(()) => {
                let whole = std::mem::take(&mut self.whole);
                String::from_utf8(whole).map(Some).map_err(|_| protocol("its answer is not UTF-8"))
            }
            Err(e) if out_of_time(&e, until) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Reads the rest of the body to what has been read of it.
    fn read_on(&mut self, until: Option<Instant>) -> Result<()> {
        while let Some(part) = self.next(until)? {
            if self.whole.len() + part.len() > MAX_WHOLE {
                return Err(protocol("its answer is too long"));
            }
            self.whole.extend_from_slice(&part);
        }
        Ok(())
    }

    fn read_whole(&mut self) -> Result<Vec<u8>> {
        self.read_on(None)?;
        Ok(std::mem::take(&mut self.whole))
    }

    /// The next bytes of the body; `None` at its end. Waits until `until` at most, where that is given, and fails
    /// with `request_timeout` then, after which reading may go on.
    ///
    /// # Errors
    /// `connection_lost`, `protocol`, `request_timeout`.
    pub fn next(&mut self, until: Option<Instant>) -> Result<Option<Vec<u8>>> {
        loop {
            match self.framing {
                Framing::Done => return Ok(None),
                Framing::Length(0) => self.framing = Framing::Done,
                Framing::Length(left) => {
                    let part = self.take(left, until)?;
                    self.framing = Framing::Length(left - part.len() as u64);
                    return Ok(Some(part));
                }
                Framing::Close => {
                    if self.buffered().is_empty() && !self.fill(until)? {
                        self.framing = Framing::Done;
                        continue;
                    }
                    return self.take(u64::MAX, until).map(Some);
                }
                Framing::Chunked { left: 0, first } => self.next_chunk(first, until)?,
                Framing::Chunked { left, .. } => {
                    let part = self.take(left, until)?;
                    self.framing = Framing::Chunked { left: left - part.len() as u64, first: false };
                    return Ok(Some(part));
                }
            }
        }
    }

    /// Reads the line end of the chunk before, and the next one's length. Nothing is consumed before all is there.
    fn next_chunk(&mut self, first: bool, until: Option<Instant>) -> Result<()> {
        let skip = if first { 0 } else { 2 };
        let (consumed, size) = loop {
            let buffered = self.buffered();
            let window = &buffered[..buffered.len().min(MAX_CHUNK_LINE)];
            if window.len() >= skip {
                if !first && &window[..2] != b"\r\n" {
                    return Err(protocol("a chunk is longer than it says"));
                }
                match httparse::parse_chunk_size(&window[skip..]) {
                    Ok(httparse::Status::Complete((n, size))) => break (skip + n, size),
                    Ok(httparse::Status::Partial) if window.len() < MAX_CHUNK_LINE => {}
                    _ => return Err(protocol("a chunk's length is malformed")),
                }
            }
            if !self.fill(until)? {
                return Err(lost());
            }
        };
        self.at += consumed;
        // The daemon sends no trailers; the connection is not used again, so that what follows does not matter.
        self.framing = if size == 0 { Framing::Done } else { Framing::Chunked { left: size, first: false } };
        Ok(())
    }
}

/// Whether this error says no more than that the time given is over: what it was given for may go on.
pub(super) fn out_of_time(e: &Error, until: Option<Instant>) -> bool {
    e.code == Code::RequestTimeout && until.is_some_and(|t| Instant::now() >= t)
}

pub(super) fn protocol(what: &str) -> Error {
    Error::new(Code::Protocol, format!("the other side is not a wattlm daemon of this version: {what}"))
}

pub(super) fn lost() -> Error {
    Error::new(
        Code::ConnectionLost,
        "the connection ended before the answer was complete; the daemon may have restarted",
    )
}

/// The error in an OpenAI error object.
pub(super) fn wire_error(value: &Value) -> Option<Error> {
    let e = value.get("error")?;
    let text = |key: &str| e.get(key).and_then(Value::as_str);
    let code = text("code").and_then(Code::from_name).unwrap_or(Code::Protocol);
    let mut error = Error::new(code, text("message").unwrap_or("the daemon gave no reason"));
    error.param = text("param").map(str::to_owned);
    Some(error)
}
