//! The C ABI: what `include/wattlm.h` declares.
//!
//! An adapter and nothing more: it turns C's arguments into a request of [`crate::client`], and what comes back into
//! pieces, receipts and status codes. The daemon decides what is asked; the header, generated from these files, is the
//! documentation, so that what stands above an entry is written for somebody who programs in C.
//!
//! What always holds: no panic leaves an entry; a NULL where none is allowed is a status; nothing of the program is
//! changed (signals, environment, working directory, standard streams), and nothing is written anywhere but to the
//! program's own log function.

// The boundary to C: every entry takes pointers on the caller's word. What they are is checked in `ffi` as far as it
// can be; the rest is the header's contract.
#![allow(unsafe_code, non_camel_case_types)]
// What a caller has to keep to is said once, at the head of the header, in C's words.
#![allow(clippy::missing_safety_doc)]

#[cfg(panic = "abort")]
compile_error!("a C program must survive a panic in this library: build with panic = \"unwind\"");

#[cfg(all(feature = "engine", feature = "daemon"))]
mod direct;
mod door;
mod ffi;
mod handle;
mod last;
mod log;
#[cfg(any(test, all(feature = "engine", feature = "daemon")))]
mod owner;
mod receipt;
mod request;
mod status;
mod stream;
mod version;

#[cfg(test)]
mod tests;

pub use door::*;
pub use handle::*;
pub use last::*;
pub use log::*;
pub use receipt::*;
pub use request::*;
pub use status::*;
pub use stream::*;
pub use version::*;
