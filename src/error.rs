//! One table of error codes, shared by the wire, the command line and the C ABI.
//!
//! Every failure a client can see is an [`Error`]: a stable [`Code`] (number, name, HTTP status), a message that
//! tells the reader what to do next, and, where waiting helps, how long. Numbers and names are never reused or
//! renumbered; new codes are added at the end of their hundred. Nothing here formats HTTP or C: that is the
//! business of `server` and `capi`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $num:literal, $name:literal, $http:literal, $kind:literal;)*) => {
        /// A stable error code. See [`Code::number`], [`Code::name`] and [`Code::http_status`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum Code { $($(#[$doc])* $variant,)* }

        impl Code {
            /// Every code, in the order of their numbers.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The stable number (what the C ABI returns). Never 0, which means success there.
            pub const fn number(self) -> u16 { match self { $(Code::$variant => $num,)* } }

            /// The stable name (what the wire carries as `error.code`).
            pub const fn name(self) -> &'static str { match self { $(Code::$variant => $name,)* } }

            /// The HTTP status that the server answers with.
            pub const fn http_status(self) -> u16 { match self { $(Code::$variant => $http,)* } }

            /// OpenAI's coarse `error.type`.
            pub const fn kind(self) -> &'static str { match self { $(Code::$variant => $kind,)* } }
        }
    };
}

codes! {
    // 1xx: the request is wrong; sending it again unchanged will not help.
    /// The request is malformed or a value is out of range.
    InvalidRequest = 100, "invalid_request", 400, "invalid_request_error";
    /// A field that would change the meaning of the answer is not supported.
    UnsupportedField = 101, "unsupported_field", 400, "invalid_request_error";
    /// No model of this name is registered.
    ModelNotFound = 102, "model_not_found", 404, "invalid_request_error";
    /// The prompt, or prompt plus `max_tokens`, does not fit the model's context.
    ContextLengthExceeded = 103, "context_length_exceeded", 400, "invalid_request_error";
    /// The model carries no chat template, or its template failed: use completions.
    NoChatTemplate = 104, "no_chat_template", 400, "invalid_request_error";
    /// Headers, body or JSON depth over the limit.
    PayloadTooLarge = 105, "payload_too_large", 413, "invalid_request_error";
    /// No such endpoint or object.
    NotFound = 106, "not_found", 404, "invalid_request_error";
    /// The endpoint exists, the method does not.
    MethodNotAllowed = 107, "method_not_allowed", 405, "invalid_request_error";
    /// The peer may not do this (another user's request, an administrator's call, a browser's Origin).
    Forbidden = 108, "forbidden", 403, "permission_error";
    /// The client sent its request too slowly.
    RequestTimeout = 109, "request_timeout", 408, "invalid_request_error";

    // 2xx: the request is fine, the device cannot take it now.
    /// The waiting line is full.
    QueueFull = 200, "queue_full", 503, "overloaded_error";
    /// Too many connections, in all or of this user.
    TooManyConnections = 201, "too_many_connections", 503, "overloaded_error";
    /// The model would not fit in memory; the message says what would.
    InsufficientMemory = 202, "insufficient_memory", 503, "overloaded_error";
    /// The device keeps failing on this model and is left alone for a while.
    Quarantined = 203, "quarantined", 503, "overloaded_error";
    /// The deadline passed before the answer was complete.
    DeadlineExceeded = 204, "deadline_exceeded", 504, "timeout_error";
    /// The daemon is stopping.
    ShuttingDown = 205, "shutting_down", 503, "overloaded_error";
    /// An energy budget is used up; the message says which, what is left of it and when there is more.
    BudgetExhausted = 206, "budget_exhausted", 429, "rate_limit_error";

    // 3xx: something broke on our side.
    /// The model could not be loaded.
    ModelLoadFailed = 300, "model_load_failed", 500, "server_error";
    /// The model file does not match its recorded digest.
    ModelUnverified = 301, "model_unverified", 500, "server_error";
    /// The worker process died while it ran this request.
    WorkerLost = 302, "worker_lost", 500, "server_error";
    /// The worker process stopped answering and was killed.
    WorkerHung = 303, "worker_hung", 500, "server_error";
    /// The engine reported an error that does not end the worker.
    EngineFailed = 304, "engine_failed", 500, "server_error";
    /// A defect of wattlm.
    Internal = 305, "internal", 500, "server_error";

    // 4xx: the client ended it.
    /// The request was cancelled.
    Cancelled = 400, "cancelled", 499, "cancelled_error";
    /// The client did not read its answer and the buffer was full.
    SlowClient = 401, "slow_client", 499, "cancelled_error";

    // 5xx: seen only by the client side.
    /// No daemon listens on the socket.
    NoDaemon = 500, "no_daemon", 503, "connection_error";
    /// The connection ended before the answer was complete.
    ConnectionLost = 501, "connection_lost", 503, "connection_error";
    /// The other side does not speak this protocol.
    Protocol = 502, "protocol", 502, "connection_error";
    /// The process has forked since the handle was opened: a child opens its own.
    Forked = 503, "forked", 500, "connection_error";
}

impl Code {
    /// The code with this wire name.
    pub fn from_name(name: &str) -> Option<Code> {
        Code::ALL.iter().copied().find(|c| c.name() == name)
    }

    /// Whether the same request may succeed later without being changed.
    pub const fn retryable(self) -> bool {
        matches!(self.number() / 100, 2) || matches!(self, Code::WorkerLost | Code::WorkerHung)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A failure as a client sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Error {
    /// Which failure.
    pub code: Code,
    /// One sentence for a person: what happened and what to do next.
    pub message: String,
    /// The request field at fault, as a JSON path (`messages[2].content`), where there is one.
    pub param: Option<String>,
    /// Wait at least this long before trying again.
    pub retry_after: Option<Duration>,
}

impl Error {
    /// An error with a message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Error { code, message: message.into(), param: None, retry_after: None }
    }

    /// Names the request field at fault.
    #[must_use]
    pub fn at(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for Error {}

/// Shorthand for a result with our [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_ordered() {
        for pair in Code::ALL.windows(2) {
            assert!(pair[0].number() < pair[1].number(), "{} before {}", pair[0], pair[1]);
        }
        for code in Code::ALL {
            assert_eq!(Code::from_name(code.name()), Some(*code));
            assert_ne!(code.number(), 0);
        }
    }
}
