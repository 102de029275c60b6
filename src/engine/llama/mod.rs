//! The one door to llama.cpp: every call over `llama-cpp-sys-2`, and with it all of the engine's `unsafe`.
//!
//! Duty: own what llama.cpp hands out (model, context, thread pool, backend modules) and give it back in the right
//! order; turn its return codes into types; never hand it what makes it abort (a batch over its limit, a sequence
//! out of range). It decides nothing: what to decode, when to cancel and how many threads run is said by the caller.
//!
//! What always holds: a [`Context`] keeps its [`Model`] alive; one thread uses a context at a time; no panic of ours
//! crosses into C++. What llama.cpp itself does on a failed assertion is the end of the process: [`process`] passes
//! its last words on.

#![allow(unsafe_code)]

mod batch;
mod context;
pub mod memory;
mod model;
pub mod modules;
mod pool;
pub mod process;

pub use batch::Batch;
pub use context::{Context, ContextParams, Decoded, MAX_SEQUENCES};
pub use model::{Model, ModelParams};
pub use pool::ThreadPool;

/// A token's id in the vocabulary.
pub type Token = i32;

/// A sequence's id in the key-value cache.
pub type SeqId = i32;
