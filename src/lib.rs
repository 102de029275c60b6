//! wattlm: the language-model service of an embedded-Linux device.
//!
//! One daemon owns the quantized model for every app on the device. See `docs/architecture.md` for the floors of
//! the house; a module uses only the modules of the floors below it. From top to bottom: [`cli`] · [`server`] ·
//! `capi`, [`client`] · [`service`] · [`worker`] · `engine` · [`sched`] · [`energy`],
//! [`signals`], [`models`] · [`config`] · [`lane`] ·
//! [`units`], [`clock`], [`error`].

/// This crate's version, as in `Cargo.toml`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

#[cfg(feature = "capi")]
pub mod capi;
pub mod clock;
#[cfg(all(feature = "daemon", feature = "engine"))]
pub mod daemon;
pub mod energy;
pub mod error;
pub mod lane;
pub mod models;
pub mod sched;
pub mod signals;
pub mod units;

#[cfg(feature = "daemon")]
pub mod cli;
pub mod client;
pub mod config;
#[cfg(feature = "engine")]
pub mod engine;
#[cfg(feature = "daemon")]
pub mod server;
#[cfg(feature = "daemon")]
pub mod service;
#[cfg(feature = "daemon")]
pub mod worker;
