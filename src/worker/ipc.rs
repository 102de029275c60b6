//! Frames on the worker's socketpair: a little-endian `u32` length, then that many bytes of postcard.
//!
//! A message may carry a descriptor ([`Parcel`](crate::lane::Parcel)): it is sent with the frame's first byte, and the receiver takes them
//! in the order in which they came. The two ends are the same binary, so there is no negotiation beyond the version in
//! [`FromLane::Hello`](crate::lane::FromLane::Hello). Neither end trusts the other's lengths: a frame over its bound
//! or with bytes left over is an error, and nothing is allocated before the length was checked.

use std::collections::VecDeque;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use serde::de::DeserializeOwned;
use serde::Serialize;

use super::sys;
use crate::lane::{Carries, Parcel};

/// The largest frame to a worker. A request's body is bounded by `server.max_body`; this leaves room above it.
pub const MAX_TO_WORKER: u32 = 64 << 20;

/// The largest frame from a worker. A step's text is a few bytes for each slot; a load error may quote some lines.
pub const MAX_FROM_WORKER: u32 = 1 << 20;

/// Descriptors that may wait for their messages: the other end sends one with its message, and reads ahead of us a little.
const MOST_WAITING: usize = 4;

/// Writes one frame with a single `write_all`.
///
/// # Errors
/// The stream's; `InvalidInput` where the message is larger than `max`.
pub fn write<T: Serialize>(stream: &mut impl Write, msg: &T, max: u32, scratch: &mut Vec<u8>) -> io::Result<()> {
    encode(msg, max, scratch)?;
    stream.write_all(scratch)
}

/// Writes one frame to a socket, with the descriptor that the message carries.
///
/// # Errors
/// As [`write`]; `InvalidInput` where a message lacks the descriptor that it should carry.
pub fn send<S, T>(mut stream: S, msg: &T, max: u32, scratch: &mut Vec<u8>) -> io::Result<()>
where
    S: Write + AsFd,
    T: Serialize + Carries,
{
    encode(msg, max, scratch)?;
    let sent = match msg.parcel() {
        None => 0,
        Some(parcel) => {
            let fd = parcel.fd().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "an empty parcel"))?;
            sys::send_with(stream.as_fd(), scratch, fd)?
        }
    };
    stream.write_all(&scratch[sent..])
}

/// The receiving end of a socket: frames, and what they carry.
pub struct Inbox<S> {
    reader: BufReader<WithFds<S>>,
    scratch: Vec<u8>,
    max: u32,
}

/// A socket whose descriptors are kept for those who read its bytes.
struct WithFds<S> {
    stream: S,
    waiting: VecDeque<OwnedFd>,
}

impl<S: AsFd> Read for WithFds<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = sys::receive(self.stream.as_fd(), buf, &mut self.waiting)?;
        match self.waiting.len() > MOST_WAITING {
            true => Err(io::Error::new(io::ErrorKind::InvalidData, "descriptors that belong to no message")),
            false => Ok(n),
        }
    }
}

impl<S: AsFd> Inbox<S> {
    /// Frames of at most `max` bytes from this socket.
    pub fn new(stream: S, max: u32) -> Inbox<S> {
        let reader = BufReader::with_capacity(16 << 10, WithFds { stream, waiting: VecDeque::new() });
        Inbox { reader, scratch: Vec::new(), max }
    }

    /// Reads one message. `None` at a clean end of the stream.
    ///
    /// # Errors
    /// As [`read`]; `InvalidData` where a message lacks the descriptor that it should carry.
    pub fn receive<T: DeserializeOwned + Carries>(&mut self) -> io::Result<Option<T>> {
        let mut msg: Option<T> = read(&mut self.reader, self.max, &mut self.scratch)?;
        // Messages can be large and a lane lives for days.
        self.scratch.shrink_to(64 << 10);
        if let Some(parcel) = msg.as_mut().and_then(T::parcel_mut) {
            let fd = self.reader.get_mut().waiting.pop_front();
            let fd =
                fd.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a message without its descriptor"))?;
            *parcel = Parcel::new(fd);
        }
        Ok(msg)
    }
}

/// Makes a frame in `frame`, which is emptied first.
fn encode<T: Serialize>(msg: &T, max: u32, scratch: &mut Vec<u8>) -> io::Result<()> {
    scratch.clear();
    scratch.extend_from_slice(&[0; 4]);
    let mut frame = postcard::to_extend(msg, std::mem::take(scratch)).map_err(io::Error::other)?;
    let len = u32::try_from(frame.len() - 4).ok().filter(|n| *n <= max);
    let len = len.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "message larger than a frame may be"))?;
    frame[..4].copy_from_slice(&len.to_le_bytes());
    *scratch = frame;
    Ok(())
}

/// Reads one frame. `None` at a clean end of the stream.
///
/// # Errors
/// The stream's; `UnexpectedEof` inside a frame; `InvalidData` for a frame over `max` or one that does not decode.
pub fn read<T: DeserializeOwned>(stream: &mut impl Read, max: u32, scratch: &mut Vec<u8>) -> io::Result<Option<T>> {
    let mut head = [0; 4];
    let mut have = 0;
    while have < 4 {
        match stream.read(&mut head[have..]) {
            Ok(0) if have == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => have += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    let len = u32::from_le_bytes(head);
    if len > max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("frame of {len} bytes, at most {max} allowed")));
    }
    // Read through `take`, so that memory grows with what arrives and not with what was announced.
    scratch.clear();
    stream.take(u64::from(len)).read_to_end(scratch)?;
    if scratch.len() < len as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    decode(scratch).map(Some)
}

/// Decodes the payload of one frame; every byte must be used.
///
/// # Errors
/// `InvalidData`.
pub fn decode<T: DeserializeOwned>(payload: &[u8]) -> io::Result<T> {
    let bad = |e: postcard::Error| io::Error::new(io::ErrorKind::InvalidData, format!("frame does not decode: {e}"));
    match postcard::take_from_bytes(payload).map_err(bad)? {
        (msg, []) => Ok(msg),
        (_, rest) => Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} bytes left in a frame", rest.len()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Code, Error};
    use crate::lane::{
        Finish, FromLane, Job, Message, Prompt, RequestId, Sampling, SequenceState, Tenant, ToLane, Usage,
    };
    use proptest::prelude::*;
    use std::os::unix::net::UnixStream;

    fn job() -> ToLane {
        ToLane::Start(Box::new(Job {
            id: RequestId(7),
            tenant: Tenant(1000),
            prompt: Prompt::Chat(vec![Message { role: "user".into(), content: "grüß dich".into(), name: None }]),
            sampling: Sampling { seed: Some(1), logit_bias: vec![(3, -100.0)], ..Sampling::default() },
            stop: vec!["\n".into()],
            max_tokens: Some(5),
            strict: true,
            allowance_us: None,
        }))
    }

    #[test]
    fn frames_come_back_and_the_end_is_clean() {
        let (mut wire, mut scratch) = (Vec::new(), Vec::new());
        write(&mut wire, &job(), MAX_TO_WORKER, &mut scratch).unwrap();
        write(&mut wire, &ToLane::Quit, MAX_TO_WORKER, &mut scratch).unwrap();
        let mut r = wire.as_slice();
        assert_eq!(read::<ToLane>(&mut r, MAX_TO_WORKER, &mut scratch).unwrap(), Some(job()));
        assert_eq!(read::<ToLane>(&mut r, MAX_TO_WORKER, &mut scratch).unwrap(), Some(ToLane::Quit));
        assert_eq!(read::<ToLane>(&mut r, MAX_TO_WORKER, &mut scratch).unwrap(), None);
    }

    #[test]
    fn errors_with_durations_survive() {
        let done = FromLane::Done {
            id: RequestId(1),
            result: Err(Error::new(Code::EngineFailed, "x").retry_after(std::time::Duration::from_millis(1500))),
            usage: Usage::default(),
        };
        let (mut wire, mut scratch) = (Vec::new(), Vec::new());
        write(&mut wire, &done, MAX_FROM_WORKER, &mut scratch).unwrap();
        assert_eq!(read(&mut wire.as_slice(), MAX_FROM_WORKER, &mut scratch).unwrap(), Some(done));
        assert_ne!(Finish::Stop, Finish::Length);
    }

    #[test]
    fn a_frame_over_the_bound_is_refused_before_it_is_read() {
        let wire = [0xff, 0xff, 0xff, 0xff, 0];
        let mut scratch = Vec::new();
        let err = read::<FromLane>(&mut wire.as_slice(), MAX_FROM_WORKER, &mut scratch).unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::InvalidData);
        assert_eq!(scratch.capacity(), 0);
        let big = FromLane::Fatal("x".repeat(MAX_FROM_WORKER as usize + 1));
        let err = write(&mut Vec::new(), &big, MAX_FROM_WORKER, &mut scratch).unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_cut_frame_is_an_unexpected_end() {
        let (mut wire, mut scratch) = (Vec::new(), Vec::new());
        write(&mut wire, &job(), MAX_TO_WORKER, &mut scratch).unwrap();
        for cut in 1..wire.len() {
            let err = read::<ToLane>(&mut &wire[..cut], MAX_TO_WORKER, &mut scratch).unwrap_err();
            assert_eq!(err.kind(), io::ErrorKind::UnexpectedEof, "cut at {cut}");
        }
    }

    fn exported(text: &str) -> FromLane {
        use std::io::Seek;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.rewind().unwrap();
        let memory = Parcel::new(file.into());
        let state = SequenceState { model: 1, tokens: 2, tokens_hash: 3, bytes: text.len() as u64, memory };
        FromLane::Exported { id: RequestId(1), state, usage: Usage::default() }
    }

    #[test]
    fn what_a_message_carries_arrives_with_it() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut scratch = Vec::new();
        for text in ["one", "two", "three"] {
            send(&ours, &exported(text), MAX_FROM_WORKER, &mut scratch).unwrap();
            send(&ours, &FromLane::Loading(0.5), MAX_FROM_WORKER, &mut scratch).unwrap();
        }
        drop(ours);
        let mut inbox = Inbox::new(theirs, MAX_FROM_WORKER);
        for text in ["one", "two", "three"] {
            let Some(FromLane::Exported { state, .. }) = inbox.receive().unwrap() else { panic!("another message") };
            let file = std::fs::File::from(state.memory.fd().unwrap().try_clone_to_owned().unwrap());
            assert_eq!(io::read_to_string(file).unwrap(), text);
            assert_eq!(inbox.receive::<FromLane>().unwrap(), Some(FromLane::Loading(0.5)));
        }
        assert_eq!(inbox.receive::<FromLane>().unwrap(), None);
    }

    #[test]
    fn a_message_without_its_descriptor_and_descriptors_without_messages_are_refused() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let mut scratch = Vec::new();
        let mut lost = exported("x");
        *lost.parcel_mut().unwrap() = Parcel::default();
        let e = send(&ours, &lost, MAX_FROM_WORKER, &mut scratch).unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::InvalidInput);
        write(&mut ours, &lost, MAX_FROM_WORKER, &mut scratch).unwrap();
        let e = Inbox::new(&theirs, MAX_FROM_WORKER).receive::<FromLane>().unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::InvalidData);

        encode(&FromLane::Loading(0.5), MAX_FROM_WORKER, &mut scratch).unwrap();
        for _ in 0..=MOST_WAITING {
            sys::send_with(ours.as_fd(), &scratch, ours.as_fd()).unwrap();
        }
        let mut inbox = Inbox::new(&theirs, MAX_FROM_WORKER);
        let e = std::iter::repeat_with(|| inbox.receive::<FromLane>()).find_map(Result::err).unwrap();
        assert_eq!(e.kind(), io::ErrorKind::InvalidData);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut scratch = Vec::new();
            let _ = read::<FromLane>(&mut bytes.as_slice(), MAX_FROM_WORKER, &mut scratch);
            let _ = decode::<ToLane>(&bytes);
        }
    }
}
