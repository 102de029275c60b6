//! The lanes the service holds: their state, who waits for them, and the watch over those that are busy.
//!
//! A lane that is asked to work must be heard from within the heartbeat plus [`SILENCE`], and its progress counter
//! must move within the stall limit. The watch costs one wake-up in that time, and none while no lane is busy.
//!
//! A lane is a process that a hostile model may have taken over: what it says must fit its state and be about its own
//! requests ([`LaneSlot::fits`]), or it is ended.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Time;
use crate::error::{Code, Error};
use crate::lane::{CpuClock, FromLane, Gone, Lane, LaneId, LaneInfo, Pace, RequestId};
use crate::models::fit::Need;
use crate::sched::{Site, VariantId};
use crate::service::api::Sink;
use crate::service::backlog::Listening;
use crate::service::catalog::Held;
use crate::service::trust::Loaded;

/// A heartbeat may be this late before its worker counts as hung: a loaded two-core machine delays a thread by tens
/// of milliseconds, and together with the heartbeat this stays under the promised heartbeat plus one second.
const SILENCE: Duration = Duration::from_millis(800);

/// From a worker's start to its first word: the program is read from a disk that may be slow and busy.
const START: Duration = Duration::from_secs(30);

/// A killed process is gone in milliseconds, or seconds where it held gigabytes; one that a driver or a disk keeps in
/// the kernel may never be.
const REAP: Duration = Duration::from_secs(10);

/// Lines of a lane that are logged within [`LOG_TIME`].
const LOG_LINES: u32 = 100;
const LOG_TIME: Duration = Duration::from_secs(60);

/// Once the watch runs again after it was held up, the threads that read from the workers get this long to catch up.
const LISTEN: Duration = Duration::from_millis(300);

/// A lane that was told to quit and has nothing to do is gone in milliseconds; freeing gigabytes takes longer.
const QUIT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The model's digest and its memory are being checked; there is no process yet.
    Preparing,
    Loading,
    /// It is compared with the CPU before it is used.
    Proving,
    Ready,
    Stopping,
}

pub(super) struct LaneSlot {
    pub site: Site,
    /// `model:variant`.
    pub model: String,
    pub phase: Phase,
    /// The scheduler was told that the load failed; the end that follows is no news.
    pub load_failed: bool,
    pub lane: Option<Box<dyn Lane>>,
    pub info: Option<LaneInfo>,
    /// What it has loaded, or will have: known from before its process is started.
    pub loaded: Option<Loaded>,
    /// The CPU variant it chose, known before its first computation.
    pub cpu_variant: Option<String>,
    pub progress: f32,
    pub running: Vec<RequestId>,
    /// Of these, those whose state shall be handed over.
    pub exporting: Vec<RequestId>,
    /// Its clock (see [`Step::cpu_end_us`](crate::lane::Step)) at the end of its last step, and when that was.
    pub clock: Option<(Duration, Time)>,
    /// CPU time that its worker had used when it began to take requests: the probe, where it had to answer one, is part of
    /// bringing it up.
    pub load: Duration,
    /// It was asked the probe.
    pub probing: bool,
    /// The CPU's lane died while this one waited for its answer, and another one was asked for.
    pub asked_again: bool,
    pub slots: u32,
    pub context: u32,
    pub kv_type: crate::lane::KvType,
    /// How long bringing it up took, once it is up.
    pub woke: Option<Duration>,
    /// How it was told to work; `None`: as it was started.
    pub pace: Option<Pace>,
    /// Memory it was predicted to need.
    pub need: Need,
    /// Those who asked for the load itself.
    pub watchers: Vec<Box<dyn Sink>>,
    pub asked: Time,
    pub backlog: Listening,
    /// It said its first word.
    greeted: bool,
    heard: Time,
    counter: u64,
    moved: Time,
    quit: Option<Time>,
    killed: Option<Time>,
    /// When it was last given work after it had none.
    begun: Time,
    /// Since when its lines are counted, and how many there were.
    logged: (Time, u32),
}

/// What the watch finds.
enum Due {
    Kill(Gone),
    /// Killed, and still not gone.
    Unreaped,
}

impl LaneSlot {
    pub fn new(site: Site, model: String, now: Time) -> Self {
        LaneSlot {
            site,
            model,
            phase: Phase::Preparing,
            load_failed: false,
            lane: None,
            info: None,
            loaded: None,
            cpu_variant: None,
            progress: 0.0,
            running: Vec::new(),
            exporting: Vec::new(),
            clock: None,
            load: Duration::ZERO,
            probing: false,
            asked_again: false,
            slots: 0,
            context: 0,
            kv_type: crate::lane::KvType::F16,
            woke: None,
            pace: None,
            need: Need::default(),
            watchers: Vec::new(),
            asked: now,
            backlog: Listening::default(),
            greeted: false,
            heard: now,
            counter: 0,
            moved: now,
            quit: None,
            killed: None,
            begun: now,
            logged: (now, 0),
        }
    }

    /// Whether an honest lane in this state can say this.
    pub fn fits(&self, said: &FromLane) -> bool {
        let own = |id: &RequestId| self.running.contains(id);
        match said {
            FromLane::Hello { .. } => !self.greeted,
            FromLane::Loading(_) | FromLane::Kernels(_) | FromLane::Ready(_) | FromLane::LoadFailed(_) => {
                // What was said before it heard that it shall stop may still come.
                self.info.is_none() && !self.load_failed && matches!(self.phase, Phase::Loading | Phase::Stopping)
            }
            FromLane::Started { id, .. } | FromLane::Done { id, .. } => own(id),
            FromLane::Step(step) => step.parts.iter().map(|p| &p.id).chain(step.text.iter().map(|(id, _)| id)).all(own),
            FromLane::Exported { id, .. } => own(id) && self.exporting.contains(id),
            FromLane::Probed(_) => self.probing,
            FromLane::Beat { .. } | FromLane::Log { .. } | FromLane::Fatal(_) => true,
        }
    }

    /// Whether a line of it may be logged. A worker must not be able to fill a disk.
    pub fn may_log(&mut self, now: Time) -> bool {
        if now.since(self.logged.0) >= LOG_TIME {
            self.logged = (now, 0);
        }
        self.logged.1 = self.logged.1.saturating_add(1);
        if self.logged.1 == LOG_LINES {
            log::warn!("{} says too much: the rest of this minute is left out", self.model);
        }
        self.logged.1 < LOG_LINES
    }

    pub fn greeted(&mut self) {
        self.greeted = true;
    }

    /// Ends it. From then on nothing it says counts; its end follows.
    pub fn kill(&mut self, why: Gone, now: Time) {
        if let Some(lane) = &self.lane {
            lane.kill(why);
        }
        self.killed.get_or_insert(now);
        // What is still on its way must not hold up the news of its end.
        self.backlog.end();
    }

    /// Where its CPU time can be read.
    pub fn cpu(&self) -> Option<CpuClock> {
        self.lane.as_ref()?.cpu()
    }

    /// The clock of a lane on a GPU at this time, `cpu` being its worker's CPU time: while it loads and proves itself, that;
    /// then it goes on as long as something runs. A step that has not ended counts.
    pub fn gpu_clock(&self, at: Time, cpu: Option<&Duration>) -> Option<Duration> {
        let Some((clock, since)) = self.clock else { return cpu.copied() };
        let more = if self.running.is_empty() { Duration::ZERO } else { at.since(since.max(self.begun)) };
        Some(clock + more)
    }

    /// Threads that such a step takes: with prompts in it, or not.
    pub fn threads(&self, prompts: bool) -> u32 {
        let has = self.info.as_ref().map_or(0, |info| info.threads);
        let asked = |pace: Pace| if prompts { pace.prompt_threads } else { pace.threads };
        self.pace.map_or(has, |pace| asked(pace).min(has))
    }

    /// It comes up, or answers somebody.
    pub fn works(&self) -> bool {
        let comes = matches!(self.phase, Phase::Preparing | Phase::Loading | Phase::Proving);
        comes || self.probing || !self.running.is_empty()
    }

    pub fn killed(&self) -> bool {
        self.killed.is_some()
    }

    /// It was given work, or a process of its own: the watch starts now.
    pub fn armed(&mut self, now: Time) {
        self.begun = now;
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
        self.lane.is_some() && (self.phase == Phase::Loading || self.probing || !self.running.is_empty())
    }

    /// When it must be looked at, and what is then to be done.
    fn due(&self, heartbeat: Duration, stall: Duration) -> Option<(Time, Due)> {
        self.lane.as_ref()?;
        if let Some(killed) = self.killed {
            return Some((killed + REAP, Due::Unreaped));
        }
        let silence = if self.greeted { heartbeat + SILENCE } else { START };
        let quit = self.quit.map(|t| (t + QUIT, Gone::Clean));
        let silent = self.busy().then(|| (self.heard + silence, Gone::Hung));
        let stalled = self.busy().then(|| (self.moved + stall.max(silence), Gone::Hung));
        let first = [quit, silent, stalled].into_iter().flatten().min_by_key(|(t, _)| *t);
        first.map(|(t, why)| (t, Due::Kill(why)))
    }
}

#[derive(Default)]
pub(super) struct Lanes {
    pub by_id: BTreeMap<LaneId, LaneSlot>,
    /// Nobody is blamed before this: the watch was held up, and what was said meanwhile is only now being read.
    listening: Time,
}

impl Lanes {
    pub fn next_watch(&self, heartbeat: Duration, stall: Duration) -> Option<Time> {
        self.by_id.values().filter_map(|l| l.due(heartbeat, stall)).map(|(t, _)| t.max(self.listening)).min()
    }

    /// Kills what is overdue; its [`Gone`] follows. Returns the lanes that were killed long ago and whose end the
    /// kernel does not tell: their owner must go on without it.
    pub fn watch(&mut self, heartbeat: Duration, stall: Duration, now: Time) -> Vec<LaneId> {
        let mut unreaped = Vec::new();
        if now < self.listening {
            return unreaped;
        }
        for (id, slot) in &mut self.by_id {
            match slot.due(heartbeat, stall).filter(|(t, _)| *t <= now) {
                None => {}
                Some((_, Due::Unreaped)) => unreaped.push(*id),
                Some((_, Due::Kill(why))) => {
                    log::warn!("lane {} ({}): no sign of life, killing its worker", id.0, slot.model);
                    slot.kill(why, now);
                }
            }
        }
        unreaped
    }

    /// The watch itself was held up for so long, and could not hear: that is nobody else's fault.
    pub fn excuse(&mut self, late: Duration, now: Time) {
        self.listening = now + LISTEN;
        for slot in self.by_id.values_mut() {
            slot.heard = slot.heard + late;
            slot.moved = slot.moved + late;
        }
    }

    /// What the lanes hold, as predicted.
    pub fn held(&self) -> Held {
        let mut held = Held::default();
        for lane in self.by_id.values() {
            let Need { mapped, .. } = lane.need;
            let (taken, freeable) = match lane.phase {
                Phase::Preparing => (0, 0),
                Phase::Loading => (lane.need.total(), 0),
                Phase::Proving | Phase::Ready | Phase::Stopping => (mapped, lane.need.total() - mapped),
            };
            held.taken = held.taken.saturating_add(taken);
            held.freeable = held.freeable.saturating_add(freeable);
        }
        held
    }

    /// The lanes of this variant, on whatever device.
    pub fn of(&self, variant: VariantId) -> impl Iterator<Item = &LaneSlot> {
        self.by_id.values().filter(move |l| l.site.variant == variant)
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
