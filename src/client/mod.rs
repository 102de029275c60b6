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
mod http;
mod sse;

#[cfg(test)]
mod tests;

pub use call::{Delta, Final, LoadProgress, Loading, Stream};
pub use http::{Canceller, Response};
pub use sse::{Events, Item};

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::error::{Code, Error, Result};

/// The daemon writes something at least every few seconds while a stream is alive (its `keepalive`), but an answer
/// that is not streamed is silent until it is complete.
const SILENCE: Duration = Duration::from_secs(600);

/// A daemon.
#[derive(Debug, Clone)]
pub struct Client {
    path: PathBuf,
    silence: Option<Duration>,
}

impl Client {
    /// Finds out whether a daemon listens at `path`.
    ///
    /// # Errors
    /// `no_daemon` with a message that says how to start one; `forbidden` if the socket may not be opened.
    pub fn connect(path: impl AsRef<Path>) -> Result<Client> {
        let client = Client { path: path.as_ref().to_owned(), silence: Some(SILENCE) };
        client.dial()?;
        Ok(client)
    }

    /// The socket's path.
    pub fn path(&self) -> &Path {
        &self.path
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
        http::send(self.dial()?, self.silence, method, target, body, headers)
    }

    /// `GET` or `POST` that answers with a JSON object.
    ///
    /// # Errors
    /// As [`Client::request`], and what the daemon answers.
    pub fn json(&self, method: &str, target: &str, body: Option<&Value>) -> Result<Value> {
        self.request(method, target, body)?.json()
    }

    fn dial(&self) -> Result<UnixStream> {
        let path = self.path.display();
        let stream = UnixStream::connect(&self.path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Error::new(
                Code::NoDaemon,
                format!("no daemon listens on {path}; start one with 'systemctl start wattlm' or 'wattlmd', or name its socket"),
            ),
            io::ErrorKind::PermissionDenied => Error::new(
                Code::Forbidden,
                format!("you may not open {path}; join its group ('ls -l {path}' names it) and log in again"),
            ),
            _ => Error::new(Code::NoDaemon, format!("cannot connect to {path}: {e}")),
        })?;
        // Waiting is done by poll with a limit; nothing ever blocks in a read or write.
        stream.set_nonblocking(true).map_err(|e| Error::new(Code::Internal, e.to_string()))?;
        Ok(stream)
    }
}
