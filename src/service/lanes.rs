//! The lanes the service holds: their state, who waits for them, and the watch over those that are busy.
//!
//! A lane that is asked to work must be heard from within the heartbeat plus [`SILENCE`], and its progress counter
//! must move within the stall limit. The watch costs one wake-up in that time, and none while no lane is busy.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Time;
use crate::error::{Code, Error};
use crate::lane::{Gone, Lane, LaneId, LaneInfo, RequestId};
use crate::models::fit::Need;
use crate::sched::VariantId;
use crate::service::api::Sink;
use crate::service::catalog::Held;

/// A heartbeat may be this late before its worker counts as hung: a loaded two-core machine delays a thread by tens
/// of milliseconds, and together with the heartbeat this stays under the promised heartbeat plus one second.
const SILENCE: Duration = Duration::from_millis(800);

/// A lane that was told to quit and has nothing to do is gone in milliseconds; freeing gigabytes takes longer.
const QUIT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The model's digest and its memory are being checked; there is no process yet.
    Preparing,
    Loading,
    Ready,
    Stopping,
}

pub(super) struct LaneSlot {
    pub variant: VariantId,
    /// `model:variant`.
    pub model: String,
    pub phase: Phase,
    /// The scheduler was told that the load failed; the end that follows is no news.
    pub load_failed: bool,
    pub lane: Option<Box<dyn Lane>>,
    pub info: Option<LaneInfo>,
    /// The CPU variant it chose, known before its first computation.
    pub cpu_variant: Option<String>,
    pub progress: f32,
    pub running: Vec<RequestId>,
    pub slots: u32,
    pub context: u32,
    pub kv_type: crate::lane::KvType,
    /// Memory it was predicted to need.
    pub need: Need,
    /// Those who asked for the load itself.
    pub watchers: Vec<Box<dyn Sink>>,
    pub asked: Time,
    heard: Time,
    counter: u64,
    moved: Time,
    quit: Option<Time>,
}

impl LaneSlot {
    pub fn new(variant: VariantId, model: String, now: Time) -> Self {
        LaneSlot {
            variant,
            model,
            phase: Phase::Preparing,
            load_failed: false,
            lane: None,
            info: None,
            cpu_variant: None,
            progress: 0.0,
            running: Vec::new(),
            slots: 0,
            context: 0,
            kv_type: crate::lane::KvType::F16,
            need: Need::default(),
            watchers: Vec::new(),
            asked: now,
            heard: now,
            counter: 0,
            moved: now,
            quit: None,
        }
    }

    /// It was given work, or a process of its own: the watch starts now.
    pub fn armed(&mut self, now: Time) {
        self.heard = now;
        self.moved = now;
    }

    /// It said something.
    pub fn heard(&mut self, now: Time) {
        self.heard = now;
    }

    /// It told its progress counter, or made a step.
    pub fn moved(&mut self, counter: Option<u64>, now: Time) {
        match counter {
            Some(c) if c == self.counter => {}
            Some(c) => {
                self.counter = c;
                self.moved = now;
            }
            None => self.moved = now,
        }
    }

    pub fn stopping(&mut self, now: Time) {
        self.phase = Phase::Stopping;
        self.quit.get_or_insert(now);
    }

    fn busy(&self) -> bool {
        self.lane.is_some() && (self.phase == Phase::Loading || !self.running.is_empty())
    }

    /// When it must be looked at, and what it is then guilty of.
    fn due(&self, heartbeat: Duration, stall: Duration) -> Option<(Time, Gone)> {
        let quit = self.quit.filter(|_| self.lane.is_some()).map(|t| (t + QUIT, Gone::Clean));
        let silent = self.busy().then(|| (self.heard + heartbeat + SILENCE, Gone::Hung));
        let stalled = self.busy().then(|| (self.moved + stall, Gone::Hung));
        [quit, silent, stalled].into_iter().flatten().min_by_key(|(t, _)| *t)
    }
}

#[derive(Default)]
pub(super) struct Lanes {
    pub by_id: BTreeMap<LaneId, LaneSlot>,
}

impl Lanes {
    pub fn next_watch(&self, heartbeat: Duration, stall: Duration) -> Option<Time> {
        self.by_id.values().filter_map(|l| l.due(heartbeat, stall)).map(|(t, _)| t).min()
    }

    /// Kills what is overdue. Their [`Gone`] follows.
    pub fn watch(&mut self, heartbeat: Duration, stall: Duration, now: Time) {
        for (id, slot) in &mut self.by_id {
            let Some((_, why)) = slot.due(heartbeat, stall).filter(|(t, _)| *t <= now) else { continue };
            if let Some(lane) = &slot.lane {
                log::warn!("lane {} ({}): no sign of life, killing its worker", id.0, slot.model);
                lane.kill(why);
            }
            // Once is enough; the kernel does the rest.
            slot.armed(now);
            slot.quit = slot.quit.map(|_| now);
        }
    }

    /// What the lanes hold, as predicted.
    pub fn held(&self) -> Held {
        let needs = self.by_id.values().map(|l| l.need);
        needs.fold(Held::default(), |held, need| Held {
            mapped: held.mapped.saturating_add(need.mapped),
            anonymous: held.anonymous.saturating_add(need.total() - need.mapped),
        })
    }

    pub fn of(&self, variant: VariantId) -> Option<&LaneSlot> {
        self.by_id.values().find(|l| l.variant == variant)
    }
}

/// What clients are told when their worker died, and what the log says.
pub(super) fn fault(model: &str, why: &Gone, last_words: Option<&str>) -> Error {
    let words = last_words.map(|w| format!("; its last words: {}", w.trim())).unwrap_or_default();
    match why {
        Gone::Hung => Error::new(
            Code::WorkerHung,
            format!("the worker of {model} stopped answering and was ended{words}; it is started again: try again"),
        ),
        Gone::Spawn(e) => Error::new(Code::ModelLoadFailed, format!("no worker for {model}: {e}")),
        other => Error::new(
            Code::WorkerLost,
            format!("the worker of {model} died ({}){words}; it is started again: try again", describe(other)),
        ),
    }
    .retry_after(Duration::from_secs(1))
}

fn describe(why: &Gone) -> String {
    match why {
        Gone::Signal(n) => match nix::sys::signal::Signal::try_from(*n) {
            Ok(s) => s.to_string(),
            Err(_) => format!("signal {n}"),
        },
        Gone::Exit(n) => format!("exit status {n}"),
        Gone::Protocol(e) => format!("it broke the protocol: {e}"),
        Gone::Spawn(e) => e.clone(),
        Gone::Clean => "it had been told to stop".to_owned(),
        Gone::Hung => "it stopped answering".to_owned(),
    }
}
