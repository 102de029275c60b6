//! A prompt's text to tokens, with bounded stack and bounded work.
//!
//! llama.cpp cuts a text into words by regular expressions before it merges bytes to tokens (BPE). For many models
//! that is the C++ library's matcher, which recurses once for each character of a match: a "word" of 30 kB is the end
//! of the process. Such vocabularies therefore get long texts in pieces, cut where a word begins, which changes no
//! token; only a word longer than a piece is cut inside. Others (SentencePiece) do not recurse and must not be cut.
//!
//! What always holds: the tokens' text is the prompt; a text of which the beginning is already too long for the
//! context is not read to its end, because the engine's thread has other requests to serve.

use super::llama::{Model, Token};

/// Bytes of a piece. The matcher takes some 500 bytes of stack for a character; a thread has 2 MiB at least.
const PIECE: usize = 4096;

/// Bytes for each token of the context, beyond which a text that cannot be cut is probed first: tokens have 4 on
/// average, so that only a text of long repetitions is tokenized twice.
const PROBE: usize = 32;

/// What became of a text.
#[derive(Debug, PartialEq, Eq)]
pub enum Tokens {
    /// All of it.
    All(Vec<Token>),
    /// It has at least this many, which is too many.
    TooMany(usize),
}

/// Tokenizes `text`; gives up once it is certain that there are `most` tokens or more. For the flags and the errors
/// see [`Model::tokenize`].
pub fn tokenize(
    model: &Model,
    text: &str,
    add_special: bool,
    parse_special: bool,
    most: usize,
) -> Result<Tokens, String> {
    if model.cuts_words() && !model.adds_eos() {
        let mut tokens = Vec::new();
        let mut rest = text;
        loop {
            let (piece, more) = rest.split_at(cut(rest));
            let first = rest.len() == text.len();
            tokens.append(&mut model.tokenize(piece, add_special && first, parse_special)?);
            if more.is_empty() {
                return Ok(Tokens::All(tokens));
            }
            if tokens.len() >= most {
                return Ok(Tokens::TooMany(tokens.len()));
            }
            rest = more;
        }
    }
    let probe = most.saturating_mul(PROBE);
    if text.len() > probe {
        // How it goes on can change the tokens near the end of what is seen, and never half of them.
        let seen = model.tokenize(&text[..boundary(text, probe)], add_special, parse_special)?.len();
        if seen / 2 >= most {
            return Ok(Tokens::TooMany(seen / 2));
        }
    }
    model.tokenize(text, add_special, parse_special).map(Tokens::All)
}

/// Where the next piece ends: before the last space of the first [`PIECE`] bytes that begins a word.
fn cut(text: &str) -> usize {
    if text.len() <= PIECE {
        return text.len();
    }
    let end = boundary(text, PIECE);
    let begins_word = |w: &[u8]| w[1] == b' ' && !w[0].is_ascii_whitespace() && !w[2].is_ascii_whitespace();
    text.as_bytes()[..end].windows(3).rposition(begins_word).map_or(end, |at| at + 1)
}

/// The last boundary of a character at or before byte `at`.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(mut text: &str) -> Vec<&str> {
        let mut out = Vec::new();
        while !text.is_empty() {
            let (piece, more) = text.split_at(cut(text));
            out.push(piece);
            text = more;
        }
        out
    }

    #[test]
    fn cut_where_words_begin() {
        let text = "some words  and\n more ".repeat(2000);
        let pieces = pieces(&text);
        assert_eq!(pieces.concat(), text);
        assert!(pieces.iter().all(|p| p.len() <= PIECE));
        assert!(pieces[..pieces.len() - 1].iter().all(|p| p.len() > PIECE - 32));
        for piece in &pieces[1..] {
            assert!(piece.starts_with(' ') && !piece.starts_with("  "), "{:?}", &piece[..8]);
        }
        assert!(pieces[..pieces.len() - 1].iter().all(|p| !p.ends_with(char::is_whitespace)));
    }

    #[test]
    fn what_has_no_words_is_cut_between_characters() {
        for text in ["x".repeat(10_000), " ".repeat(10_000), "€".repeat(10_000), "\n ".repeat(5_000)] {
            let pieces = pieces(&text);
            assert_eq!(pieces.concat(), text);
            assert!(pieces.iter().all(|p| p.len() <= PIECE && !p.is_empty()));
            assert!(pieces.len() <= text.len() / (PIECE - 3) + 1);
        }
        assert_eq!(cut(&"x".repeat(PIECE)), PIECE);
    }
}
