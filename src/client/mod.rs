//! The socket's client: blocking, without a runtime, without the engine. The command line, tests and the C ABI share
//! it.
//!
//! A [`Client`] names a daemon; every request opens a connection of its own, which costs microseconds on a Unix
//! socket, so that requests run side by side, each is cancelled by closing its connection, and none can be answered
//! with the rest of another's answer.
//!
//! What always holds: whatever the other side sends, memory is bounded by the constants of `http` and `sse`; every
//! wait ends after the silence that was set; every failure is an [`Error`] with one of our codes.

mod call;
mod dial;
mod http;
mod sse;

#[cfg(test)]
mod tests;

pub use call::{Delta, Final, LoadProgress, Loading, Stream};
pub use http::{Canceller, Response};
pub use sse::{Events, Item};

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::error::{Code, Error, Result};

/// The daemon writes something at least every few seconds while a stream is alive (its `keepalive`), but an answer
/// that is not streamed is silent until it is complete.
const SILENCE: Duration = Duration::from_secs(600);

/// Makes a connection to a service that is reached in some other way than by a socket's path.
pub type DialFn = Arc<dyn Fn() -> Result<UnixStream> + Send + Sync>;

#[derive(Clone)]
enum To {
    Path(PathBuf),
    Other(DialFn),
}

/// A daemon.
#[derive(Clone)]
pub struct Client {
    to: To,
    silence: Option<Duration>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("path", &self.path()).field("silence", &self.silence).finish_non_exhaustive()
    }
}

impl Client {
    /// Finds out whether a daemon listens at `path`.
    ///
    /// # Errors
    /// `no_daemon` with a message that says how to start one; `forbidden` if the socket may not be opened.
    pub fn connect(path: impl AsRef<Path>) -> Result<Client> {
        let client = Client::at(path);
        client.reach()?;
        Ok(client)
    }

    /// Finds out whether it can be reached.
    ///
    /// # Errors
    /// `no_daemon`, `forbidden`, `too_many_connections`.
    pub fn reach(&self) -> Result<()> {
        self.dial().map(drop)
    }

    /// The daemon at `path`, whether or not it is there yet.
    pub fn at(path: impl AsRef<Path>) -> Client {
        Client { to: To::Path(path.as_ref().to_owned()), silence: Some(SILENCE) }
    }

    /// A service that this reaches.
    pub fn through(dial: DialFn) -> Client {
        Client { to: To::Other(dial), silence: Some(SILENCE) }
    }

    /// The socket's path, where it is reached by one.
    pub fn path(&self) -> Option<&Path> {
        match &self.to {
            To::Path(path) => Some(path),
            To::Other(_) => None,
        }
    }

    /// The longest time without a byte from the daemon, 10 minutes unless set; `None` waits for ever.
    pub fn set_silence(&mut self, limit: Option<Duration>) {
        self.silence = limit;
    }

    /// Sends a request with a JSON body or none and reads the answer's head, whatever its status.
    ///
    /// # Errors
    /// `no_daemon`, `connection_lost`, `protocol`, `request_timeout`.
    pub fn request(&self, method: &str, target: &str, body: Option<&Value>) -> Result<Response> {
        self.request_with(method, target, body, &[])
    }

    /// The same with further headers.
    ///
    /// # Errors
    /// As [`Client::request`]; `invalid_request` for a header or target that would break the request.
    pub fn request_with(
        &self,
        method: &str,
        target: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Result<Response> {
        let body = body.map(Value::to_string);
        let mut response = self.start(method, target, body.as_deref(), headers)?;
        response.read_head(None)?;
        Ok(response)
    }

    /// Sends a request and does not wait for its answer: [`Response::ready`] does. `body` is JSON.
    ///
    /// # Errors
    /// `no_daemon`; `invalid_request` for a header or target that would break the request.
    pub fn start(&self, method: &str, target: &str, body: Option<&str>, headers: &[(&str, &str)]) -> Result<Response> {
        http::check(method, target, headers)?;
        Ok(http::start(self.dial()?, self.silence, method, target, body, headers))
    }

    /// `GET` or `POST` that answers with a JSON object.
    ///
    /// # Errors
    /// As [`Client::request`], and what the daemon answers.
    pub fn json(&self, method: &str, target: &str, body: Option<&Value>) -> Result<Value> {
        self.request(method, target, body)?.json()
    }

    fn dial(&self) -> Result<UnixStream> {
        let stream = match &self.to {
            To::Path(path) => dial::connect(path)?,
            To::Other(dial) => dial()?,
        };
        // Waiting is done by poll with a limit; nothing ever blocks in a read or write.
        stream.set_nonblocking(true).map_err(|e| Error::new(Code::Internal, e.to_string()))?;
        Ok(stream)
    }
}
