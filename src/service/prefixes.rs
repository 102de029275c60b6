//! What of a prompt a lane has probably computed already: fingerprints of the beginnings of prompts, by tenant and site.
//! Pure.
//!
//! A conversation is sent again with each turn, and a lane keeps what it has computed of it. Whether it still has it only
//! the lane knows; that the next turn is cheap where its past lies is worth knowing before a lane is chosen. So this is
//! an estimate, and what a request is charged for is what its lane says.
//!
//! What always holds: at most [`MOST`] fingerprints are kept; no tenant learns anything of another's prompts.

use std::collections::HashMap;

use crate::lane::{Message, Prompt, Tenant};
use crate::sched::Site;

/// Fingerprints kept, of all tenants and sites: some hundred conversations.
const MOST: usize = 4096;
/// A text has a fingerprint after so many bytes, and again after as many...
const STRIDE: usize = 256;
/// ...up to here; from here on more rarely.
const DENSE: usize = 16 << 10;
const WIDE: usize = 4096;

/// The beginning of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    hash: u64,
    /// Its length.
    bytes: usize,
}

/// FNV-1a: what is fed later does not change what a shorter beginning was.
#[derive(Debug, Clone, Copy)]
struct Hash(u64);

impl Hash {
    const NEW: Hash = Hash(0xcbf2_9ce4_8422_2325);

    fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// The beginning of a message, up to its text.
    fn begin(&mut self, role: &str, name: Option<&str>) {
        self.feed(&[0xff]);
        self.feed(role.as_bytes());
        self.feed(&[0xfe]);
        self.feed(name.unwrap_or_default().as_bytes());
        self.feed(&[0xfd]);
    }
}

/// The beginnings of one prompt, and, as it grows, of its answer. Bytes above 0xf4 do not occur in UTF-8 and part what
/// is no text.
#[derive(Debug, Clone)]
pub(super) struct Outline {
    marks: Vec<Mark>,
    bytes: usize,
    answer: Hash,
    answered: usize,
}

impl Outline {
    pub fn of(prompt: &Prompt) -> Outline {
        let mut hash = Hash::NEW;
        let (mut marks, mut bytes) = (Vec::new(), 0);
        match prompt {
            Prompt::Chat(messages) => {
                for Message { role, content, name } in messages {
                    hash.begin(role, name.as_deref());
                    hash.feed(content.as_bytes());
                    bytes += content.len();
                    marks.push(Mark { hash: hash.0, bytes });
                }
                hash.begin("assistant", None);
            }
            Prompt::Text(text) => {
                hash.feed(&[0xfc]);
                let all = text.as_bytes();
                while bytes < all.len() {
                    let stride = if bytes < DENSE { STRIDE } else { WIDE };
                    let end = all.len().min(bytes + stride);
                    hash.feed(&all[bytes..end]);
                    bytes = end;
                    marks.push(Mark { hash: hash.0, bytes });
                }
            }
        }
        Outline { marks, bytes, answer: hash, answered: 0 }
    }

    /// Bytes of the prompt's text.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The answer goes on.
    pub fn answers(&mut self, text: &str) {
        self.answer.feed(text.as_bytes());
        self.answered += text.len();
    }
}

#[derive(Debug, Clone, Copy)]
struct Known {
    tokens: u32,
    /// When it was last of use.
    used: u64,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    known: HashMap<(Tenant, Site, u64), Known>,
    clock: u64,
}

impl Prefixes {
    /// Tokens of this prompt that the lane there has probably in its cache.
    pub fn cached(&mut self, tenant: Tenant, site: Site, outline: &Outline) -> u32 {
        self.clock += 1;
        for mark in outline.marks.iter().rev() {
            if let Some(known) = self.known.get_mut(&(tenant, site, mark.hash)) {
                known.used = self.clock;
                return known.tokens;
            }
        }
        0
    }

    /// A request runs there, or has run: its prompt of so many tokens, and its answer, are in the lane's cache.
    pub fn learn(&mut self, tenant: Tenant, site: Site, outline: &Outline, prompt: u32, answer: u32) {
        self.clock += 1;
        let used = self.clock;
        for mark in &outline.marks {
            let share = mark.bytes as f64 / outline.bytes.max(1) as f64;
            let known = Known { tokens: (f64::from(prompt) * share) as u32, used };
            self.known.insert((tenant, site, mark.hash), known);
        }
        if outline.answered > 0 {
            let tokens = prompt.saturating_add(answer);
            self.known.insert((tenant, site, outline.answer.0), Known { tokens, used });
        }
        if self.known.len() > MOST {
            let mut ages: Vec<u64> = self.known.values().map(|known| known.used).collect();
            ages.sort_unstable();
            let middle = ages.get(ages.len() / 2).copied().unwrap_or(0);
            self.known.retain(|_, known| known.used > middle);
        }
    }

    /// The lane there is gone, and its cache with it.
    pub fn forget(&mut self, site: Site) {
        self.known.retain(|(_, at, _), _| *at != site);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sched::VariantId;

    const ANN: Tenant = Tenant(1);
    const BOB: Tenant = Tenant(2);

    fn site(n: u32) -> Site {
        Site::cpu(VariantId(n))
    }

    fn chat(turns: &[(&str, &str)]) -> Outline {
        let message =
            |(role, text): &(&str, &str)| Message { role: (*role).to_owned(), content: (*text).to_owned(), name: None };
        Outline::of(&Prompt::Chat(turns.iter().map(message).collect()))
    }

    #[test]
    fn the_next_turn_is_known_where_its_past_lies() {
        let mut prefixes = Prefixes::default();
        let mut first = chat(&[("system", "be brief"), ("user", "hello")]);
        assert_eq!(prefixes.cached(ANN, site(0), &first), 0);
        first.answers("good ");
        first.answers("day");
        prefixes.learn(ANN, site(0), &first, 26, 4);
        let next = [("system", "be brief"), ("user", "hello"), ("assistant", "good day"), ("user", "and?")];
        assert_eq!(prefixes.cached(ANN, site(0), &chat(&next)), 30);
        // With another answer in between what stands before it is still there.
        let other = [("system", "be brief"), ("user", "hello"), ("assistant", "good"), ("user", "and?")];
        assert_eq!(prefixes.cached(ANN, site(0), &chat(&other)), 26);
        // A new conversation shares the beginning.
        assert_eq!(prefixes.cached(ANN, site(0), &chat(&[("system", "be brief"), ("user", "bye")])), 16);
        assert_eq!(prefixes.cached(ANN, site(0), &chat(&[("user", "hello")])), 0);
        assert_eq!(prefixes.cached(ANN, site(1), &chat(&next)), 0, "another lane");
        assert_eq!(prefixes.cached(BOB, site(0), &chat(&next)), 0, "somebody else");
        prefixes.forget(site(0));
        assert_eq!(prefixes.cached(ANN, site(0), &chat(&next)), 0);
    }

    #[test]
    fn where_a_message_ends_is_no_part_of_its_text() {
        let mut prefixes = Prefixes::default();
        prefixes.learn(ANN, site(0), &chat(&[("user", "ab"), ("user", "c")]), 10, 0);
        assert_eq!(prefixes.cached(ANN, site(0), &chat(&[("user", "abc")])), 0);
        assert_eq!(prefixes.cached(ANN, site(0), &chat(&[("userab", "c")])), 0);
        let text = Outline::of(&Prompt::Text("ab".into()));
        assert_eq!(prefixes.cached(ANN, site(0), &text), 0);
    }

    #[test]
    fn a_text_that_goes_on_is_known_as_far_as_it_is_the_same() {
        let mut prefixes = Prefixes::default();
        let text = "x".repeat(1000);
        prefixes.learn(ANN, site(0), &Outline::of(&Prompt::Text(text.clone())), 250, 0);
        let longer = Outline::of(&Prompt::Text(format!("{text}{}", "y".repeat(500))));
        assert_eq!(prefixes.cached(ANN, site(0), &longer), 192, "768 of the 1000 bytes end with a mark");
        let other = Outline::of(&Prompt::Text("y".repeat(1000)));
        assert_eq!(prefixes.cached(ANN, site(0), &other), 0);
        let huge = Outline::of(&Prompt::Text("z".repeat(1 << 20)));
        assert!(huge.marks.len() < 400, "{}", huge.marks.len());
        assert_eq!((huge.bytes(), Outline::of(&Prompt::Text(String::new())).bytes()), (1 << 20, 0));
    }

    #[test]
    fn what_was_of_no_use_lately_is_forgotten_first() {
        let mut prefixes = Prefixes::default();
        let turn = |n: usize| chat(&[("user", &format!("question {n}"))]);
        prefixes.learn(ANN, site(0), &turn(0), 7, 0);
        for n in 1..3 * MOST {
            prefixes.learn(BOB, site(0), &turn(n), 7, 0);
            assert!(prefixes.known.len() <= MOST);
            assert_eq!(prefixes.cached(ANN, site(0), &turn(0)), 7, "after {n}");
        }
    }
}
