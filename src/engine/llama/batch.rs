//! The tokens of one decode call.

use super::{SeqId, Token};

/// Tokens with their positions and sequences, and whether logits are wanted after each.
#[derive(Default)]
pub struct Batch {
    pub(super) tokens: Vec<Token>,
    pub(super) positions: Vec<i32>,
    pub(super) sequences: Vec<SeqId>,
    pub(super) outputs: Vec<i8>,
}

impl Batch {
    /// Adds a token; with `output`, its logits are computed. Returns its index for `Context::logits`.
    pub fn push(&mut self, token: Token, position: u32, sequence: SeqId, output: bool) -> usize {
        self.tokens.push(token);
        self.positions.push(i32::try_from(position).unwrap_or(i32::MAX));
        self.sequences.push(sequence);
        self.outputs.push(i8::from(output));
        self.tokens.len() - 1
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.sequences.clear();
        self.outputs.clear();
    }
}
