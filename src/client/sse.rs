//! Server-sent events out of a response's body.
//!
//! What always holds: an unfinished event at the end of the body is an error; one event's size is bounded.

use std::time::Instant;

use super::http::{lost, out_of_time, protocol, Response};
use crate::error::Result;

/// One event's lines. The daemon's largest carries a whole write buffer of text, escaped.
const MAX_EVENT: usize = 1 << 20;

/// What a stream yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// An event's data.
    Data(String),
    /// A comment, such as `loading 0.42`: the stream is alive.
    Comment(String),
    /// Nothing came in the time given.
    Nothing,
    /// The body has ended.
    End,
}

/// Reads events.
#[derive(Debug)]
pub struct Events {
    response: Response,
    pending: Vec<u8>,
    data: Option<String>,
}

impl Events {
    /// Takes a response whose body is an event stream.
    pub fn new(response: Response) -> Events {
        Events { response, pending: Vec::new(), data: None }
    }

    /// The response the events come from.
    pub fn response(&self) -> &Response {
        &self.response
    }

    /// The next event or comment. Waits until `until`, or as long as the client's silence allows.
    ///
    /// # Errors
    /// What the daemon answers instead of events; `connection_lost`, `protocol`, `request_timeout` (the silence, not
    /// `until`).
    pub fn next(&mut self, until: Option<Instant>) -> Result<Item> {
        if !self.response.ready(until)? {
            return Ok(Item::Nothing);
        }
        loop {
            if let Some(item) = self.buffered_item()? {
                return Ok(item);
            }
            match self.response.next(until) {
                Ok(Some(part)) => self.pending.extend_from_slice(&part),
                Ok(None) if self.pending.is_empty() && self.data.is_none() => return Ok(Item::End),
                Ok(None) => return Err(lost()),
                Err(e) if out_of_time(&e, until) => return Ok(Item::Nothing),
                Err(e) => return Err(e),
            }
        }
    }

    fn buffered_item(&mut self) -> Result<Option<Item>> {
        let mut start = 0;
        let mut found = None;
        while found.is_none() {
            let Some(len) = self.pending[start..].iter().position(|b| *b == b'\n') else { break };
            let line = &self.pending[start..start + len];
            start += len + 1;
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let line = std::str::from_utf8(line).map_err(|_| protocol("an event is not UTF-8"))?;
            found = take_line(&mut self.data, line);
        }
        self.pending.drain(..start);
        if self.pending.len() + self.data.as_ref().map_or(0, String::len) > MAX_EVENT {
            return Err(protocol("an event is too long"));
        }
        Ok(found)
    }
}

/// What a line completes.
fn take_line(data: &mut Option<String>, line: &str) -> Option<Item> {
    if line.is_empty() {
        return data.take().map(Item::Data);
    }
    if let Some(comment) = line.strip_prefix(':') {
        return Some(Item::Comment(comment.trim_start().to_owned()));
    }
    if let Some(value) = line.strip_prefix("data:") {
        let value = value.strip_prefix(' ').unwrap_or(value);
        match data {
            None => *data = Some(value.to_owned()),
            Some(all) => {
                all.push('\n');
                all.push_str(value);
            }
        }
    }
    // `event`, `id` and `retry` mean nothing here.
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_items() {
        let mut data = None;
        let mut got = Vec::new();
        for line in [": queued", "", "event: x", "data: a", "data:b", "data", "", "", "data: {}", ""] {
            got.extend(take_line(&mut data, line));
        }
        assert_eq!(got, [Item::Comment("queued".into()), Item::Data("a\nb".into()), Item::Data("{}".into())]);
    }
}
