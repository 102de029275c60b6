//! A made-up byte-level BPE vocabulary of any size.
//!
//! The 256 bytes, then letter pairs and pairs of pairs in the order of English letter frequency, each with the merge
//! that makes it, then three special tokens. Any text tokenizes; English text takes about twice the tokens of a
//! trained vocabulary. The tables are as large as a trained model's, so that loading takes the same memory.

/// Letters by their frequency in English.
const LETTERS: &[u8; 26] = b"etaoinshrdlcumwfgypbvkjxqz";
/// What GPT-2's byte alphabet writes for a space.
const SPACE: char = '\u{120}';
/// The tokens that end the vocabulary, in order.
pub const SPECIALS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
/// The smallest vocabulary.
pub const LEAST: u32 = 256 + SPECIALS.len() as u32;

/// A conversation as most small models write it.
pub const TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + \
    message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}\
    {{ '<|im_start|>assistant\n' }}{% endif %}";

/// Tokens and merges.
#[derive(Debug)]
pub struct Vocab {
    /// In the order of their ids; specials last.
    pub tokens: Vec<String>,
    /// In the order of their ranks.
    pub merges: Vec<String>,
}

/// GPT-2's printable character for each byte.
fn byte_alphabet() -> impl Iterator<Item = char> {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut moved = 0x100;
    (0..=255u8).map(move |b| {
        if printable(b) {
            return char::from(b);
        }
        moved += 1;
        char::from_u32(moved - 1).unwrap_or(' ')
    })
}

impl Vocab {
    /// A vocabulary of exactly `size` tokens; of [`LEAST`] where `size` is less.
    pub fn new(size: u32) -> Vocab {
        let size = size.max(LEAST) as usize;
        let room = size - SPECIALS.len();
        let mut tokens: Vec<String> = byte_alphabet().map(String::from).collect();
        let mut merges = Vec::with_capacity(size - LEAST as usize);
        let pairs = by_rank(LETTERS.len()).map(|(a, b)| (char::from(LETTERS[a]), char::from(LETTERS[b])));
        let pairs: Vec<String> = pairs.map(|(a, b)| String::from_iter([a, b])).collect();

        let letters = by_rank(LETTERS.len())
            .map(|(a, b)| (char::from(LETTERS[a]).to_string(), char::from(LETTERS[b]).to_string()));
        let words = pairs.iter().map(|p| (SPACE.to_string(), p.clone()));
        let fours = by_rank(pairs.len()).map(|(a, b)| (pairs[a].clone(), pairs[b].clone()));
        for (left, right) in letters.chain(words).chain(fours).take(room - tokens.len()) {
            merges.push(format!("{left} {right}"));
            tokens.push(left + &right);
        }
        // 457,628 combinations and the bytes: more than any shape asks for.
        tokens.extend((tokens.len()..room).map(|i| format!("[UNUSED_{i}]")));
        tokens.extend(SPECIALS.iter().map(|s| (*s).to_owned()));
        Vocab { tokens, merges }
    }

    /// llama.cpp's token types: 1 normal, 3 control.
    pub fn types(&self) -> impl ExactSizeIterator<Item = i32> + '_ {
        let first_special = self.tokens.len() - SPECIALS.len();
        (0..self.tokens.len()).map(move |i| if i < first_special { 1 } else { 3 })
    }
}

/// Pairs of numbers below `n`, those with the least sum first.
fn by_rank(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..2 * n - 1).flat_map(move |sum| {
        let first = sum.saturating_sub(n - 1);
        (first..=sum.min(n - 1)).map(move |a| (a, sum - a))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_size_is_exact_and_unique() {
        for size in [0, LEAST, LEAST + 1, 32_000, 151_936, 256_000, 500_000] {
            let v = Vocab::new(size);
            assert_eq!(v.tokens.len() as u32, size.max(LEAST));
            assert_eq!(v.tokens.iter().collect::<HashSet<_>>().len(), v.tokens.len(), "{size}");
            assert_eq!(v.types().len(), v.tokens.len());
            assert_eq!(v.types().last(), Some(3));
        }
    }

    #[test]
    fn a_merge_makes_each_token_from_earlier_ones() {
        let v = Vocab::new(40_000);
        let mut known: HashSet<&str> = v.tokens[..256].iter().map(String::as_str).collect();
        for (merge, token) in v.merges.iter().zip(&v.tokens[256..]) {
            let (a, b) = merge.split_once(' ').unwrap();
            assert!(known.contains(a) && known.contains(b), "{merge}");
            assert_eq!(&format!("{a}{b}"), token);
            known.insert(token);
        }
    }

    #[test]
    fn the_byte_alphabet_is_gpt2s() {
        let all: Vec<char> = byte_alphabet().collect();
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 256);
        assert_eq!((all[b' ' as usize], all[b'\n' as usize], all[b'a' as usize]), (SPACE, '\u{10a}', 'a'));
        assert_eq!(all[0xad], '\u{143}');
    }
}
