//! Lanes as processes: a worker is this binary executed again, holding one model behind a socketpair.
//!
//! llama.cpp ends its process on a failed assertion, a lost GPU or exhausted memory, and only a process's end gives
//! all of a GPU's memory back. So the daemon never loads a model: [`process`] starts and reaps workers, [`child`] is
//! what runs in one, [`ipc`] frames what they say, `vet` cuts it to size, [`sandbox`] is what a worker may do;
//! [`devices`] asks which GPUs there are.
//!
//! What always holds: a worker dies with the daemon; whatever a worker does, its owner sees at most one
//! [`Gone`](crate::lane::Gone), after which no process, thread or descriptor of it is left.

#[cfg(feature = "engine")]
pub mod child;
pub mod devices;
pub mod ipc;
pub mod process;
pub mod sandbox;
mod sys;
mod vet;
