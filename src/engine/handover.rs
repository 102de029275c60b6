//! A prompt computed by one lane and answered by another: the sequence's state goes out, or comes in.
//!
//! The state is llama.cpp's own, bytes of host memory whatever the device. llama.cpp checks the cache's layout and not the
//! model, so that is done here; logits are no part of it, so the prompt's last token is held back and computed by the
//! receiver. What always holds: a state that does not fit costs time and nothing else: the receiver computes the prompt.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use super::admit::Waiting;
use super::llama::{memory, SeqId, Token};
use super::serve::Server;
use crate::error::{Code, Error, Result};
use crate::lane::{Finish, FromLane, Job, KvType, Parcel, SequenceState, Usage};

/// FNV-1a. Not against an adversary: both lanes are the daemon's own.
struct Fnv(u64);

impl Fnv {
    fn new() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }

    fn add(mut self, bytes: &[u8]) -> Fnv {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self
    }
}

/// Stands for this file, as it is now, and this type of cache. Call it before the file is loaded.
pub fn fingerprint(path: &Path, kv_type: KvType) -> std::io::Result<u64> {
    let file = std::fs::metadata(path)?;
    let numbers = [file.dev(), file.ino(), file.size(), file.mtime() as u64, file.mtime_nsec() as u64];
    let fnv = numbers.iter().fold(Fnv::new().add(crate::VERSION.as_bytes()), |fnv, n| fnv.add(&n.to_le_bytes()));
    Ok(fnv.add(&kv_type.block_bytes().to_le_bytes()).0)
}

/// Stands for these tokens.
fn hash(tokens: &[Token]) -> u64 {
    tokens.iter().fold(Fnv::new(), |fnv, t| fnv.add(&t.to_le_bytes())).0
}

/// The tokens of a prompt that are handed over.
fn handed(prompt: &[Token]) -> &[Token] {
    &prompt[..prompt.len().saturating_sub(1)]
}

impl Server {
    /// For [`ToLane::Prefill`](crate::lane::ToLane::Prefill): room for the prompt alone.
    pub(super) fn prepare_prefill(&self, job: Box<Job>) -> Result<Waiting> {
        let waiting = self.prepare(job)?;
        let len = waiting.prompt.len() as u32;
        Ok(Waiting { limit: len, need: len, export: true, ..waiting })
    }

    /// For [`ToLane::Resume`](crate::lane::ToLane::Resume).
    pub(super) fn prepare_resume(&self, job: Box<Job>, state: SequenceState) -> Result<Waiting> {
        let waiting = self.prepare(job)?;
        Ok(Waiting { import: Some(state), ..waiting })
    }

    /// Takes a state into this sequence, which holds nothing worth keeping. Gives the tokens that are there now.
    pub(super) fn import(&mut self, sequence: SeqId, prompt: &[Token], state: &SequenceState) -> u32 {
        match self.try_import(sequence, prompt, state) {
            Ok(()) => state.tokens,
            Err(why) => {
                self.context.drop_sequence(sequence);
                let text = format!("a prompt is computed again: the state from another lane cannot be used: {why}");
                (self.out)(FromLane::Log { level: 2, text });
                0
            }
        }
    }

    fn try_import(
        &mut self,
        sequence: SeqId,
        prompt: &[Token],
        state: &SequenceState,
    ) -> std::result::Result<(), String> {
        let handed = handed(prompt);
        if state.model != self.model_id {
            return Err("it is another model's, or of another type of cache".into());
        }
        if state.tokens as usize != handed.len() || state.tokens_hash != hash(handed) {
            return Err("it is another prompt's".into());
        }
        let fd = state.memory.fd().ok_or("its memory is missing")?;
        let context = &mut self.context;
        match memory::read(fd, state.bytes, |bytes| context.restore(sequence, bytes, state.tokens))? {
            true => Ok(()),
            false => Err("llama.cpp does not take it".into()),
        }
    }

    /// Hands over every prompt that was computed for that.
    pub(super) fn hand_over(&mut self) {
        for i in 0..self.slots.len() {
            let slot = &self.slots[i];
            if !slot.export || slot.outcome.is_some() || slot.pending() > 0 {
                continue;
            }
            let (id, begun, sequence) = (slot.id, Instant::now(), slot.sequence);
            let usage = slot.usage(begun);
            let outcome = match self.export(i, sequence) {
                Ok(state) => {
                    let usage = Usage { handover_us: begun.elapsed().as_micros() as u64, ..usage };
                    (self.out)(FromLane::Exported { id, state, usage });
                    self.slots[i].handed_over = true;
                    // Not told to anybody.
                    Ok(Finish::Length)
                }
                Err(why) => {
                    Err(Error::new(Code::EngineFailed, format!("the prompt's state cannot be handed over: {why}")))
                }
            };
            self.slots[i].end(outcome);
        }
    }

    fn export(&mut self, i: usize, sequence: SeqId) -> std::result::Result<SequenceState, String> {
        let slot = &self.slots[i];
        let (tokens, tokens_hash) = (slot.computed, hash(handed(&slot.tokens)));
        let bytes = self.context.state_size(sequence);
        let context = &mut self.context;
        let memory = memory::write(bytes, |to| context.save(sequence, to) == bytes)?;
        Ok(SequenceState {
            model: self.model_id,
            tokens,
            tokens_hash,
            bytes: bytes as u64,
            memory: Parcel::new(memory),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_and_a_cache_have_one_fingerprint() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        std::fs::write(&path, "GGUF one").unwrap();
        let one = fingerprint(&path, KvType::F16).unwrap();
        assert_eq!(fingerprint(&path, KvType::F16).unwrap(), one);
        assert_ne!(fingerprint(&path, KvType::Q8_0).unwrap(), one);
        let copy = dir.path().join("copy.gguf");
        std::fs::copy(&path, &copy).unwrap();
        assert_ne!(fingerprint(&copy, KvType::F16).unwrap(), one);
        std::fs::write(&path, "GGUF another").unwrap();
        assert_ne!(fingerprint(&path, KvType::F16).unwrap(), one);
        assert!(fingerprint(&dir.path().join("none"), KvType::F16).is_err());
    }

    #[test]
    fn the_last_token_is_held_back_and_order_counts() {
        assert_eq!(handed(&[1, 2, 3]), [1, 2]);
        assert!(handed(&[]).is_empty());
        assert_ne!(hash(&[1, 2]), hash(&[2, 1]));
        assert_ne!(hash(&[]), hash(&[0]));
    }
}
