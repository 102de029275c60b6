//! Answers that come piece by piece.

use std::ffi::{c_char, c_void, CString};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::ffi::{bad, c_string, guard, guard_or, out};
use super::handle::Inner;
use super::last::NO_HANDLE;
use super::receipt::wattlm_receipt;
use super::status::wattlm_status;
use crate::client::{Canceller, Delta, Events, Final, Item, Stream};
use crate::error::{Code, Error, Result};

/// Text of the answer: whole UTF-8 characters, of one or more tokens.
pub const WATTLM_PIECE_TEXT: i32 = 1;
/// The model is being loaded; progress says how far.
pub const WATTLM_PIECE_LOADING: i32 = 2;
/// Nothing came within the time given. The answer goes on: call again.
pub const WATTLM_PIECE_NOTHING: i32 = 3;
/// The answer is complete, and its receipt is there. Every further call says so again.
pub const WATTLM_PIECE_END: i32 = 4;
/// An event's JSON, on streams of wattlm_request_stream.
pub const WATTLM_PIECE_EVENT: i32 = 5;

/// What wattlm_stream_next yields. Filled in by the library in whole; nothing has to be set before.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wattlm_piece {
    /// WATTLM_PIECE_….
    pub kind: i32,
    /// How far the model is loaded, from 0 to 1.
    pub progress: f32,
    /// The text, ended by a NUL; empty where the kind has none. Never NULL. It is the stream's, and lives until the next
    /// call with this stream.
    pub text: *const c_char,
    /// Bytes of text, the NUL not counted.
    pub length: usize,
    /// Zero. Room for later versions.
    pub reserved: [u64; 4],
}

impl wattlm_piece {
    fn empty(kind: i32) -> Self {
        wattlm_piece { kind, progress: 0.0, text: c"".as_ptr(), length: 0, reserved: [0; 4] }
    }
}

/// Takes a piece: returns 0 to go on, anything else to cancel the answer. It must not throw, longjmp, or free the
/// stream.
pub type wattlm_piece_fn = Option<unsafe extern "C" fn(user: *mut c_void, piece: *const wattlm_piece) -> i32>;

/// A running request and its answer. One thread reads it; any thread may cancel it.
pub struct wattlm_stream {
    owner: Arc<Inner>,
    fd: RawFd,
    canceller: Canceller,
    cancelled: AtomicBool,
    /// As the daemon names it, once that is known.
    name: OnceLock<CString>,
    reader: Mutex<Reader>,
}

enum Source {
    /// An answer's text.
    Answer(Box<Stream>),
    /// Events as they come.
    Events(Box<Events>),
}

struct Reader {
    source: Source,
    /// What the last piece points to.
    text: Vec<u8>,
    end: Option<Result<Final>>,
}

/// When a wait of so many milliseconds is over; `None`: never.
pub(super) fn until(timeout_ms: i32) -> Result<Option<Instant>> {
    match timeout_ms {
        -1 => Ok(None),
        ms => match u64::try_from(ms) {
            Ok(ms) => Ok(Some(Instant::now() + Duration::from_millis(ms))),
            Err(_) => Err(bad("timeout_ms", "must be -1, 0 or positive")),
        },
    }
}

/// What a call that was given too little time says.
pub(super) fn over_time(timeout_ms: i32) -> Error {
    Error::new(
        Code::RequestTimeout,
        format!("the answer was not complete within {timeout_ms} ms; the request is cancelled"),
    )
}

impl wattlm_stream {
    pub(super) fn answer(owner: &Arc<Inner>, stream: Stream) -> Box<Self> {
        let (fd, canceller) = (stream.as_fd().as_raw_fd(), stream.canceller());
        Self::new(owner, fd, canceller, Source::Answer(Box::new(stream)))
    }

    pub(super) fn events(owner: &Arc<Inner>, events: Events) -> Box<Self> {
        let (fd, canceller) = (events.response().as_fd().as_raw_fd(), events.response().canceller());
        Self::new(owner, fd, canceller, Source::Events(Box::new(events)))
    }

    fn new(owner: &Arc<Inner>, fd: RawFd, canceller: Canceller, source: Source) -> Box<Self> {
        Box::new(wattlm_stream {
            owner: Arc::clone(owner),
            fd,
            canceller,
            cancelled: AtomicBool::new(false),
            name: OnceLock::new(),
            reader: Mutex::new(Reader { source, text: Vec::new(), end: None }),
        })
    }

    fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        self.canceller.cancel();
    }

    fn next(&self, until: Option<Instant>) -> Result<wattlm_piece> {
        let mut reader = self.reader.try_lock().ok_or_else(|| bad("stream", "is being read by another thread"))?;
        let reader = &mut *reader;
        match &reader.end {
            Some(Ok(_)) => return Ok(wattlm_piece::empty(WATTLM_PIECE_END)),
            Some(Err(e)) => return Err(e.clone()),
            None => {}
        }
        let piece = match self.read(reader, until) {
            // What comes after a cancellation, if anything, is the sound of the connection breaking.
            _ if self.cancelled.load(Ordering::Acquire) => {
                Err(Error::new(Code::Cancelled, "the request was cancelled by this program"))
            }
            other => other,
        };
        if let Err(e) = &piece {
            reader.end = Some(Err(e.clone()));
            // The daemon need not work on for nobody.
            self.canceller.cancel();
        }
        piece
    }

    fn read(&self, reader: &mut Reader, until: Option<Instant>) -> Result<wattlm_piece> {
        let delta = loop {
            let delta = match &mut reader.source {
                Source::Answer(stream) => {
                    let delta = stream.next(until)?;
                    self.learn_name(stream.request_id());
                    delta
                }
                Source::Events(events) => match events.next(until)? {
                    Item::Data(data) if data != "[DONE]" => {
                        self.learn_name(events.response().request_id());
                        return Ok(reader.show(WATTLM_PIECE_EVENT, &data));
                    }
                    Item::Data(_) | Item::End => Delta::Done(Final::default()),
                    Item::Nothing => Delta::Nothing,
                    Item::Comment(_) => Delta::Alive,
                },
            };
            // Signs of life are no news.
            if delta != Delta::Alive {
                break delta;
            }
        };
        Ok(match delta {
            Delta::Text(text) => reader.show(WATTLM_PIECE_TEXT, &text),
            Delta::Loading(progress) => wattlm_piece { progress, ..wattlm_piece::empty(WATTLM_PIECE_LOADING) },
            Delta::Nothing | Delta::Alive => wattlm_piece::empty(WATTLM_PIECE_NOTHING),
            Delta::Done(end) => {
                reader.end = Some(Ok(end));
                wattlm_piece::empty(WATTLM_PIECE_END)
            }
        })
    }

    fn learn_name(&self, name: Option<&str>) {
        if let (Some(name), None) = (name, self.name.get()) {
            let _ = self.name.set(c_string(name));
        }
    }

    /// The rest of the text.
    pub(super) fn whole(&self, timeout_ms: i32) -> Result<CString> {
        let until = until(timeout_ms)?;
        let mut all = Vec::new();
        loop {
            let piece = self.next(until)?;
            match piece.kind {
                WATTLM_PIECE_END => return Ok(c_string(String::from_utf8_lossy(&all))),
                WATTLM_PIECE_NOTHING => {
                    self.cancel();
                    return Err(over_time(timeout_ms));
                }
                WATTLM_PIECE_EVENT => {
                    self.cancel();
                    return Err(bad("stream", "yields events and no text: read it with wattlm_stream_next"));
                }
                // SAFETY: the piece points into the reader's text, which nobody else may read or change meanwhile.
                _ => all.extend_from_slice(unsafe { std::slice::from_raw_parts(piece.text.cast(), piece.length) }),
            }
        }
    }

    /// What it cost.
    pub(super) fn receipt(&self) -> Result<Box<wattlm_receipt>> {
        let reader = self.reader.try_lock().ok_or_else(|| bad("stream", "is being read by another thread"))?;
        match (&reader.end, &reader.source) {
            (Some(Ok(end)), Source::Answer(_)) => Ok(wattlm_receipt::new(end)),
            (Some(Err(e)), _) => Err(e.clone()),
            (_, Source::Events(_)) => Err(bad("stream", "yields events: its receipt, if any, is in one of them")),
            _ => Err(bad("stream", "is not at its end: there is no receipt yet")),
        }
    }
}

impl Reader {
    fn show(&mut self, kind: i32, text: &str) -> wattlm_piece {
        self.text.clear();
        self.text.extend_from_slice(text.as_bytes());
        self.text.push(0);
        wattlm_piece { text: self.text.as_ptr().cast(), length: text.len(), ..wattlm_piece::empty(kind) }
    }
}

/// Runs an entry on a stream.
fn on(stream: *const wattlm_stream, body: impl FnOnce(&wattlm_stream) -> Result<()>) -> wattlm_status {
    // SAFETY: NULL or alive, by the header's contract.
    let stream = unsafe { stream.as_ref() };
    guard(stream.map_or(NO_HANDLE, |s| s.owner.id), || {
        let stream = stream.ok_or_else(|| bad("stream", "is NULL"))?;
        stream.owner.check()?;
        body(stream)
    })
}

/// Waits for the next piece of an answer.
///
/// timeout_ms: longest wait; 0 does not wait; -1 waits as long as the daemon gives signs of life.
/// piece: gets the piece; what it points to lives until the next call with this stream.
///
/// WATTLM_OK with WATTLM_PIECE_NOTHING means that the time is over and the answer goes on. Any other status is the end
/// of the answer; further calls return it again. A daemon that dies or stands still ends the answer, too: at once, or
/// after the handle's silence_ms.
///
/// Read what comes: where more than the daemon's write buffer (64 KiB) of text waits, it ends the answer with
/// WATTLM_E_SLOW_CLIENT.
///
/// Errors: what the daemon refuses (1xx, 2xx, 3xx); WATTLM_E_CANCELLED, WATTLM_E_SLOW_CLIENT,
/// WATTLM_E_CONNECTION_LOST, WATTLM_E_REQUEST_TIMEOUT, WATTLM_E_PROTOCOL, WATTLM_E_FORKED.
/// Threads: one at a time for each stream; a second one gets WATTLM_E_INVALID_REQUEST. Blocks: as timeout_ms says.
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_stream_next(
    stream: *mut wattlm_stream,
    timeout_ms: i32,
    piece: *mut wattlm_piece,
) -> wattlm_status {
    on(stream, |stream| {
        // SAFETY: the header's contract.
        let piece = unsafe { out(piece, "piece", wattlm_piece::empty(WATTLM_PIECE_NOTHING)) }?;
        piece.set(stream.next(until(timeout_ms)?)?);
        Ok(())
    })
}

/// A descriptor for poll, epoll and the loops of GLib, Qt and libuv, for waiting on several things at once. Whenever it
/// is readable (POLLIN, level-triggered), call wattlm_stream_next with a timeout of 0 until it yields
/// WATTLM_PIECE_NOTHING, WATTLM_PIECE_END or an error; do so once before the first wait, too. Do nothing else with it.
///
/// Returns -1 where the stream is NULL. The descriptor is the stream's and is closed with it.
///
/// Threads: any. Blocks: never. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_stream_fd(stream: *const wattlm_stream) -> i32 {
    // SAFETY: NULL or alive, by the header's contract.
    guard_or(-1, || unsafe { stream.as_ref() }.map_or(-1, |s| s.fd))
}

/// Reads the rest of an answer as one string.
///
/// timeout_ms: longest wait, after which the request is cancelled; -1 for as long as the daemon gives signs of life.
/// text: gets the text; NULL after a failure.
///
/// Owner: the caller, who frees it with wattlm_string_free.
/// Errors: those of wattlm_stream_next; WATTLM_E_REQUEST_TIMEOUT after timeout_ms.
/// Threads: as wattlm_stream_next. Blocks: until the answer is complete. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_stream_text(
    stream: *mut wattlm_stream,
    timeout_ms: i32,
    text: *mut *mut c_char,
) -> wattlm_status {
    on(stream, |stream| {
        // SAFETY: the header's contract.
        let text = unsafe { out(text, "text", std::ptr::null_mut()) }?;
        text.set(stream.whole(timeout_ms)?.into_raw());
        Ok(())
    })
}

/// Reads the rest of an answer and gives each piece (WATTLM_PIECE_TEXT, WATTLM_PIECE_LOADING, WATTLM_PIECE_EVENT) to a
/// function, on the calling thread.
///
/// each: is called for each piece; returning anything but 0 cancels the answer, which then ends with
/// WATTLM_E_CANCELLED.
/// user: is passed on to it.
///
/// Errors: those of wattlm_stream_next.
/// Threads: as wattlm_stream_next. Blocks: until the answer is complete. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_stream_each(
    stream: *mut wattlm_stream,
    each: wattlm_piece_fn,
    user: *mut c_void,
) -> wattlm_status {
    on(stream, |stream| {
        let each = each.ok_or_else(|| bad("each", "is NULL"))?;
        loop {
            let piece = stream.next(None)?;
            match piece.kind {
                WATTLM_PIECE_END => return Ok(()),
                WATTLM_PIECE_NOTHING => {}
                _ => {
                    // SAFETY: a function of the caller's with the header's signature.
                    if unsafe { each(user, &piece) } != 0 {
                        stream.cancel();
                    }
                }
            }
        }
    })
}

/// Ends a request: the daemon stops working on it within one step of the engine. Whoever reads the stream gets
/// WATTLM_E_CANCELLED, at once where it waits. Nothing happens to an answer that is complete, or to NULL. Safe to call
/// from a signal's handler.
///
/// Threads: any, as long as nobody frees the stream. Blocks: never. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_stream_cancel(stream: *const wattlm_stream) {
    guard_or((), || {
        // SAFETY: NULL or alive, by the header's contract.
        if let Some(stream) = unsafe { stream.as_ref() } {
            // In a child after a fork it is the parent's request.
            if stream.owner.ours() {
                stream.cancel();
            }
        }
    });
}

/// The daemon's name for the request, as in its log and in the receipt; NULL as long as the daemon has not answered.
///
/// Owner: the stream. Threads: any. Blocks: never. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_stream_request_id(stream: *const wattlm_stream) -> *const c_char {
    let none = std::ptr::null();
    // SAFETY: NULL or alive, by the header's contract.
    guard_or(none, || unsafe { stream.as_ref() }.and_then(|s| s.name.get()).map_or(none, |n| n.as_ptr()))
}

/// What a complete answer cost, once wattlm_stream_next has yielded WATTLM_PIECE_END.
///
/// receipt: gets the receipt; NULL after a failure.
///
/// Owner: the caller, who frees it with wattlm_receipt_free.
/// Errors: WATTLM_E_INVALID_REQUEST before the end; the answer's own error where it ended with one.
/// Threads: as wattlm_stream_next. Blocks: never. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_stream_receipt(
    stream: *const wattlm_stream,
    receipt: *mut *mut wattlm_receipt,
) -> wattlm_status {
    on(stream, |stream| {
        // SAFETY: the header's contract.
        let receipt = unsafe { out(receipt, "receipt", std::ptr::null_mut()) }?;
        receipt.set(Box::into_raw(stream.receipt()?));
        Ok(())
    })
}

/// Frees a stream and what it has yielded; cancels the request where it still runs. NULL is a no-op, and so is a call in
/// a process that has forked since.
///
/// Threads: any, once nobody uses the stream any more. Blocks: as wattlm_close. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn wattlm_stream_free(stream: *mut wattlm_stream) {
    guard_or((), || {
        // SAFETY: NULL or alive, by the header's contract.
        if let Some(alive) = unsafe { stream.as_ref() }.filter(|s| s.owner.ours()) {
            // A child of the program's may still hold the descriptor: closing alone would not tell the daemon.
            alive.canceller.cancel();
            // SAFETY: it came from this library and is freed once, by the header's contract.
            drop(unsafe { Box::from_raw(stream) });
        }
    });
}
