//! The configuration: a typed tree of plain values, read from `/etc/wattlm/wattlm.toml` and its drop-ins.
//!
//! [`Config::load`] gives a whole, checked configuration or every problem at once, each with file, line and what to
//! write instead; so a bad file can never replace a good configuration. With no file at all the defaults hold. This
//! module resolves no user, group or model and opens nothing but the configuration files.
//!
//! `schema` is the one table of all keys; the reader, the reference and the shipped default file follow from it.

pub mod paths;

#[cfg(feature = "daemon")]
mod check;
#[cfg(feature = "daemon")]
mod load;
#[cfg(feature = "daemon")]
mod problem;
#[cfg(feature = "daemon")]
mod reference;
#[cfg(feature = "daemon")]
mod schema;
#[cfg(feature = "daemon")]
mod tree;
#[cfg(feature = "daemon")]
mod value;

pub use paths::{default_socket, Env};

#[cfg(feature = "daemon")]
pub use self::{
    load::{Loaded, Sources},
    problem::Problem,
    reference::{default_file, reference_markdown},
    schema::{
        Client, Cpu, Effect, Energy, Gpu, Key, Log, Model, Models, Paths, Power, PowerBattery, PowerLowBattery, Queue,
        Section, Server, Worker,
    },
    tree::{Change, Config, ModelSettings},
    value::{Mode, Value},
};
