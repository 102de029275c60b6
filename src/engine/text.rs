//! Tokens' bytes to text that may be sent: whole characters, and nothing of a stop string.
//!
//! A token may end inside a UTF-8 character, and a stop string may straddle tokens; both are held back until it is
//! clear what they are. What always holds: the pieces sent, put together, are the decoded bytes up to the first stop
//! string to be complete (of several that end there, the longest), however the bytes were split into tokens.

/// Text of one answer.
#[derive(Debug, Default)]
pub struct TextStream {
    /// The bytes of a character that is not complete. At most 3.
    bytes: Vec<u8>,
    /// Text that may be the beginning of a stop string.
    held: String,
    stops: Vec<String>,
    stopped: bool,
}

impl TextStream {
    /// Ends at any of `stops`; empty ones are ignored.
    pub fn new(stops: &[String]) -> Self {
        TextStream { stops: stops.iter().filter(|s| !s.is_empty()).cloned().collect(), ..TextStream::default() }
    }

    /// Whether a stop string was complete. Nothing comes out after it.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// Takes the bytes of a token and gives what may be sent.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        if self.stopped {
            return String::new();
        }
        self.bytes.extend_from_slice(bytes);
        self.decode(false);
        self.release()
    }

    /// No more will come: gives what was held back.
    pub fn finish(&mut self) -> String {
        if self.stopped {
            return String::new();
        }
        self.decode(true);
        let sent = self.release();
        sent + &std::mem::take(&mut self.held)
    }

    /// Moves whole characters from `bytes` to `held`. Bytes that cannot become a character become U+FFFD.
    fn decode(&mut self, end: bool) {
        let mut rest = self.bytes.as_slice();
        for chunk in self.bytes.utf8_chunks() {
            self.held.push_str(chunk.valid());
            rest = &rest[chunk.valid().len()..];
            let invalid = chunk.invalid();
            if invalid.is_empty() {
                continue;
            }
            // Only at the very end may more bytes make a character of them.
            let may_grow = rest.len() == invalid.len()
                && std::str::from_utf8(invalid).is_err_and(|e| e.valid_up_to() == 0 && e.error_len().is_none());
            if may_grow && !end {
                break;
            }
            self.held.push(char::REPLACEMENT_CHARACTER);
            rest = &rest[invalid.len()..];
        }
        self.bytes = rest.to_vec();
    }

    /// Takes from `held` what cannot be part of a stop string any more.
    fn release(&mut self) -> String {
        let complete = self.stops.iter().filter_map(|s| self.held.find(s.as_str()).map(|at| (at + s.len(), at))).min();
        if let Some((_, start)) = complete {
            self.stopped = true;
            self.held.truncate(start);
            return std::mem::take(&mut self.held);
        }
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let from = self.held.len().saturating_sub(longest.saturating_sub(1));
        let hold = (from..self.held.len())
            .find(|&i| self.held.get(i..).is_some_and(|tail| self.stops.iter().any(|s| s.starts_with(tail))))
            .unwrap_or(self.held.len());
        let kept = self.held.split_off(hold);
        std::mem::replace(&mut self.held, kept)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(pieces: &[&[u8]], stops: &[&str]) -> (Vec<String>, bool) {
        let stops: Vec<String> = stops.iter().map(|s| s.to_string()).collect();
        let mut stream = TextStream::new(&stops);
        let mut out: Vec<String> = pieces.iter().map(|p| stream.push(p)).collect();
        out.push(stream.finish());
        (out, stream.stopped())
    }

    /// The definition, without streaming: the first end of any stop, the longest of those that end there.
    fn reference(text: &str, stops: &[String]) -> (String, bool) {
        let ends = (0..=text.len()).find_map(|end| {
            let start = stops
                .iter()
                .filter(|s| !s.is_empty())
                .filter_map(|s| text.get(..end).filter(|t| t.ends_with(s.as_str())).map(|_| end - s.len()));
            start.min()
        });
        ends.map_or((text.to_string(), false), |start| (text[..start].to_string(), true))
    }

    #[test]
    fn a_character_waits_for_its_bytes() {
        let euro = "€".as_bytes();
        assert_eq!(run(&[b"a", &euro[..1], &euro[1..2], &euro[2..], b"b"], &[]).0, ["a", "", "", "€", "b", ""]);
    }

    #[test]
    fn bytes_that_can_never_be_a_character() {
        assert_eq!(run(&[b"a\xff", b"b"], &[]).0, ["a\u{fffd}", "b", ""]);
        // The first two bytes of the euro sign, and then something else.
        assert_eq!(run(&[b"\xe2\x82", b"x"], &[]).0, ["", "\u{fffd}x", ""]);
        assert_eq!(run(&[b"\xe2\x82"], &[]).0, ["", "\u{fffd}"]);
    }

    #[test]
    fn a_stop_string_across_tokens_is_never_sent() {
        assert_eq!(
            run(&[b"one\n", b"\nUs", b"er: two"], &["\n\nUser:"]),
            (vec!["one".into(), String::new(), String::new(), String::new()], true)
        );
    }

    #[test]
    fn what_only_looked_like_a_stop_is_sent() {
        assert_eq!(run(&[b"one\n", b"two"], &["\n\n"]), (vec!["one".into(), "\ntwo".into(), String::new()], false));
        assert_eq!(run(&[b"one\n"], &["\n\n"]).0, ["one", "\n"]);
    }

    #[test]
    fn the_first_to_be_complete_wins_and_of_those_the_longest() {
        assert_eq!(run(&[b"xab"], &["abc", "b"]).0.concat(), "xa");
        assert_eq!(run(&[b"xab"], &["b", "ab"]).0.concat(), "x");
    }

    proptest! {
        #[test]
        fn the_split_into_tokens_never_matters(
            text in prop_oneof!["[ab€\n]{0,40}", ".{0,40}"],
            stops in prop::collection::vec("[ab€\n]{0,4}", 0..4),
            cuts in prop::collection::vec(0usize..160, 0..20),
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
            cuts.push(0);
            cuts.push(bytes.len());
            cuts.sort_unstable();
            let mut stream = TextStream::new(&stops);
            let mut got: String = cuts.windows(2).map(|w| stream.push(&bytes[w[0]..w[1]])).collect();
            got += &stream.finish();
            prop_assert_eq!((got, stream.stopped()), reference(&text, &stops));
        }

        #[test]
        fn any_bytes_come_out_as_their_lossy_text(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6), 0..12)) {
            let mut stream = TextStream::new(&[]);
            let mut got: String = pieces.iter().map(|p| stream.push(p)).collect();
            got += &stream.finish();
            let all = pieces.concat();
            prop_assert_eq!(got, String::from_utf8_lossy(&all));
        }
    }
}
