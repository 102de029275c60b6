//! The head of an answer: its status, its headers, and how its body will end.
//!
//! It reads no body. What always holds: a head is bounded, and it is read once.

use std::time::Instant;

use super::{lost, out_of_time, protocol, Framing, Response};
use crate::error::Result;

/// The daemon's heads have a few hundred bytes.
const MAX_HEAD: usize = 16 << 10;
const MAX_HEADERS: usize = 32;

impl Response {
    /// Reads the head, unless it is read already.
    pub(in crate::client) fn read_head(&mut self, until: Option<Instant>) -> Result<()> {
        if self.status != 0 {
            return Ok(());
        }
        match self.parse_head(until) {
            // Where the request did not even get there, that is the reason.
            Err(e) if !out_of_time(&e, until) => Err(self.unsent.take().unwrap_or(e)),
            other => other,
        }
    }

    fn parse_head(&mut self, until: Option<Instant>) -> Result<()> {
        loop {
            let mut slots = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut parsed = httparse::Response::new(&mut slots);
            let buffered = &self.buffer[self.at..self.end];
            match parsed.parse(buffered) {
                Ok(httparse::Status::Complete(n)) => {
                    let status = parsed.code.unwrap_or(0);
                    // An interim answer (100 Continue) comes before the real one.
                    if (100..200).contains(&status) {
                        self.at += n;
                        continue;
                    }
                    let headers = parsed
                        .headers
                        .iter()
                        .map(|h| (h.name.to_ascii_lowercase(), String::from_utf8_lossy(h.value).into_owned()));
                    self.headers = headers.collect();
                    self.status = status;
                    self.at += n;
                    self.framing = if self.head_only || status == 204 { Framing::Done } else { self.framing()? };
                    return Ok(());
                }
                Ok(httparse::Status::Partial) if buffered.len() < MAX_HEAD => {}
                Ok(httparse::Status::Partial) => return Err(protocol("its answer's head is too long")),
                Err(e) => return Err(protocol(&format!("its answer is no HTTP ({e})"))),
            }
            if !self.fill(until)? {
                return Err(lost());
            }
        }
    }

    fn framing(&self) -> Result<Framing> {
        if let Some(coding) = self.header("transfer-encoding") {
            return match coding {
                "chunked" => Ok(Framing::Chunked { left: 0, first: true }),
                _ => Err(protocol("its answer has an unknown transfer coding")),
            };
        }
        match self.header("content-length") {
            None => Ok(Framing::Close),
            Some(n) => n.parse().map(Framing::Length).map_err(|_| protocol("its answer's length is malformed")),
        }
    }
}
