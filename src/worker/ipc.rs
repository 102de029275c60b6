//! Frames on the worker's socketpair: a little-endian `u32` length, then that many bytes of postcard.
//!
//! The two ends are the same binary, so there is no negotiation beyond the version in
//! [`FromLane::Hello`](crate::lane::FromLane::Hello). Neither end trusts the other's lengths: a frame over its bound
//! or with bytes left over is an error, and nothing is allocated before the length was checked.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::Serialize;

/// The largest frame to a worker. A request's body is bounded by `server.max_body`; this leaves room above it.
pub const MAX_TO_WORKER: u32 = 64 << 20;

/// The largest frame from a worker. A step's text is a few bytes for each slot; a load error may quote some lines.
pub const MAX_FROM_WORKER: u32 = 1 << 20;

/// Writes one frame with a single `write_all`.
///
/// # Errors
/// The stream's; `InvalidInput` where the message is larger than `max`.
pub fn write<T: Serialize>(stream: &mut impl Write, msg: &T, max: u32, scratch: &mut Vec<u8>) -> io::Result<()> {
    scratch.clear();
    scratch.extend_from_slice(&[0; 4]);
    let mut frame = postcard::to_extend(msg, std::mem::take(scratch)).map_err(io::Error::other)?;
    let len = u32::try_from(frame.len() - 4).ok().filter(|n| *n <= max);
    let len = len.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "message larger than a frame may be"))?;
    frame[..4].copy_from_slice(&len.to_le_bytes());
    let result = stream.write_all(&frame);
    *scratch = frame;
    result
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
    use crate::lane::{Finish, FromLane, Job, Message, Prompt, RequestId, Sampling, Tenant, ToLane, Usage};
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut scratch = Vec::new();
            let _ = read::<FromLane>(&mut bytes.as_slice(), MAX_FROM_WORKER, &mut scratch);
            let _ = decode::<ToLane>(&bytes);
        }
    }
}
