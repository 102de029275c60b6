//! Energy: what the device used, and who used it.
//!
//! `meter` reads the sensors the device has (`sources`, one file for each kind; `choose`, the order of trust; `counter`,
//! from values to energy; `survey`, the list for people); `model` knows what the device draws when idle and what a busy core adds,
//! and stands in where no sensor works; `ledger` splits what was used over the requests that ran; `account` keeps the
//! sums by client and day on disk. docs/energy.md has the formulas and their sources.
//!
//! Nothing here decides anything: budgets and caps are the scheduler's. Time comes from outside, so that all of it but
//! the reading of files runs on virtual time in tests.
//!
//! What always holds: energy is whole microjoules; the ledger's parts sum exactly to what the meter said; what was not
//! measured is marked [`Quality::Estimated`].

#[cfg(feature = "daemon")]
pub mod account;
pub mod choose;
mod coarse;
pub mod counter;
pub mod ledger;
pub mod meter;
pub mod model;
pub mod sources;
pub mod survey;

pub use coarse::{coarse, coarse_each, STEP};

use serde::{Deserialize, Serialize};

/// How much of the device a meter sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One supply rail.
    Rail,
    /// A processor package, with its cores and what else sits on it.
    Package,
    /// The whole board.
    Board,
}

/// How an amount of energy is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quality {
    /// A sensor said so.
    Measured,
    /// At least a part of it was modelled.
    Estimated,
}
