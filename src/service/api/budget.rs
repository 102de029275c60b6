//! What a client may use and has used: its budgets, and what it asks of the account. Plain data.
//!
//! It decides nothing: the scheduler keeps the purses, `energy::account` the lines.

use serde::{Deserialize, Serialize};

use crate::energy::account::{By, Day};
use crate::sched::{Class, Policy, Supply};
use crate::units::Microwatts;

/// What a client may use and has used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Whose it is: `client:NAME` of a `[[client]]`, or `user:UID`.
    pub client: String,
    /// The `[[client]]` in force; none: nothing of its own bounds it.
    pub rule: Option<String>,
    /// The most urgent class it may ask for.
    pub class: Class,
    /// Models it may ask for; empty: all.
    pub models: Vec<String>,
    /// Its requests that run.
    pub running: u32,
    /// How many may at once; none: as many as there are slots.
    pub requests: Option<u32>,
    /// What its requests draw from.
    pub purses: Vec<PurseStanding>,
    /// The table of `[power]` in force.
    pub supply: Supply,
    /// A battery supplies the device.
    pub on_battery: bool,
    /// Its charge, in percent.
    pub battery_percent: Option<f32>,
    /// Why only interactive requests start now, where it is so.
    pub restriction: Option<String>,
    /// The power cap in force, in watts.
    pub cap: Option<Microwatts>,
    /// What the device saves.
    pub policy: Policy,
}

/// A purse as a client sees it; energy in joules. What is the device's is rounded to hundredths of its size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PurseStanding {
    /// `device_hour`, `device_day` or `client_hour`.
    pub name: String,
    /// What it holds when full.
    pub joules: f64,
    /// What is in it.
    pub left: f64,
    /// Of this, kept for requests that run.
    pub reserved: f64,
    /// What comes back in an hour.
    pub refill_per_hour: f64,
    /// Seconds until it is full if nothing is used.
    pub full_in_s: f64,
}

/// Whose lines of the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Whose {
    /// The asker's.
    #[default]
    Own,
    /// This user's.
    Uid(u32),
    /// Everybody's.
    All,
}

/// A question to the account. Other users' lines are for administrators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AccountQuery {
    /// Whose lines.
    pub whose: Whose,
    /// Not what is older.
    pub from: Option<Day>,
    /// Not what is newer.
    pub to: Option<Day>,
    /// One line for each of these.
    pub by: Option<By>,
}
