//! wattlm: the language-model service of an embedded-Linux device.
//!
//! One daemon owns the quantized model for every app on the device. See `docs/architecture.md` for the floors of
//! the house; a module uses only the modules of the floors below it. From top to bottom: [`cli`] · [`server`] ·
//! `capi`, [`client`] · [`service`] · [`worker`] · `engine` · [`sched`] · [`energy`],
//! [`signals`], [`models`] · [`config`] · [`lane`] ·
//! [`units`], [`clock`], [`error`].

/// This crate's version, as in `Cargo.toml`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// llama.cpp's version, as its bindings count it: what it takes may change with it.
pub const LLAMA: &str = "0.1.161";

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
pub mod sim;
#[cfg(feature = "daemon")]
pub mod worker;

#[cfg(test)]
mod tests {
    #[test]
    fn llama_cpps_version_is_that_of_the_dependency() {
        let manifest = include_str!("../Cargo.toml");
        assert!(manifest.contains(&format!("llama-cpp-sys-2 = {{ version = \"={}\"", super::LLAMA)));
    }
}
