//! The simulator: the scheduler on virtual time, against a described device and a trace of requests.
//!
//! `device` and `trace` read what is simulated; `world` and `lane` play service, lanes and device; `driver` lets the
//! scheduler decide and `script` plans that are made before; `oracle` looks for the best of these and `bound` says below
//! what nothing can be; `contest` compares, `report` sums up; `random` draws devices and traces. Everything is a function
//! of the files and a seed.
//!
//! What it does not do: it measures nothing (a device description is somebody's figures), and it computes no text.

mod bound;
mod contest;
mod device;
mod driver;
mod follow;
mod lane;
mod oracle;
mod outcome;
pub mod random;
mod report;
mod rng;
mod script;
mod segment;
#[cfg(test)]
mod tests;
mod trace;
mod world;

pub use bound::bound;
pub use contest::{chances, contest, day_before, pair, Chances, Contest, Regrets};
pub use device::Device;
pub use driver::{play, Options, Planned, Played};
pub use oracle::{clairvoyant, hindsight, Clairvoyant, Found, Hindsight, May, Score};
pub use outcome::{Fate, Joules, Outcome};
pub use report::{regret, Percentiles, Summary};
pub use rng::Rng;
pub use script::{Keep, Plans, Way};
pub use trace::{Line, Trace};
pub use world::World;
