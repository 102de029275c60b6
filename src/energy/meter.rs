//! The device's meter: one cumulative count of energy, whatever the sensors behind it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Scope;
use crate::clock::Time;
use crate::units::Microjoules;

/// One reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// When it was taken.
    pub at: Time,
    /// Energy since the meter was opened. Never less than at an earlier reading. `None` while no sensor works.
    pub total: Option<Microjoules>,
    /// When the sensor itself last refreshed what it shows: the energy is that up to then. At most `at`.
    pub fresh: Time,
    /// This is the first reading after an outage and `total` holds what was used meanwhile (the sensor counted on).
    /// Where it is the first and this is `false`, that is not known and not in it.
    pub bridged: bool,
}

/// What a meter is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeterInfo {
    /// Its name, such as `rapl:package-0`; several are joined by `+`. Empty: there is none.
    pub source: String,
    /// What it sees.
    pub scope: Scope,
    /// Time between two refreshes of the sensor, as measured.
    pub refresh: Duration,
}
