//! Model files: what they hold, what they are called, whether they are intact, whether they fit in memory.
//!
//! - [`gguf`] reads a file's header, trusting nothing in it; [`ggml_type`] is its table of element types.
//! - `registry` turns folders and configuration into names and variants; `naming` holds the rules for names.
//! - `digest` compares a file's content with its recorded sha256, and remembers.
//! - `fit` predicts the memory a variant needs and compares it with what `memory` says can be had.
//! - `synth` writes files of published shapes with random weights.
//!
//! Nothing here loads a model or talks to a device: that is the worker's part.

#[cfg(feature = "daemon")]
pub(crate) mod atomic;
#[cfg(feature = "daemon")]
pub mod digest;
#[cfg(feature = "daemon")]
pub mod fit;
pub mod ggml_type;
pub mod gguf;
#[cfg(feature = "daemon")]
pub mod memory;
#[cfg(feature = "daemon")]
pub mod naming;
#[cfg(feature = "daemon")]
pub mod registry;
#[cfg(feature = "daemon")]
pub mod synth;
