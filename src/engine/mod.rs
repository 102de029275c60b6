//! (placeholder until the engine is merged)
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc::Receiver;
use std::sync::Arc;
use crate::lane::{FromLane, LaneConfig, ToLane};
/// What the engine tells and asks of the process it runs in.
pub struct Hooks {
    /// Called once.
    pub on_mapped: Box<dyn FnOnce() -> String + Send>,
    /// Grows.
    pub progress: Arc<AtomicU64>,
    /// Busy.
    pub busy: Arc<AtomicBool>,
}
/// Runs.
pub fn run(_: LaneConfig, _: Receiver<ToLane>, _: Arc<dyn Fn(FromLane) + Send + Sync>, _: Hooks) {}
