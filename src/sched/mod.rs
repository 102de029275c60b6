//! Which request starts where and when; which lane is loaded or let go. PURE: no I/O, no clock, no randomness.
//!
//! [`Sched::handle`] takes one [`Event`] and the time and answers with [`Action`]s, which `service` performs.
//! The same code runs in the daemon, in direct mode, in the simulator and under the fuzzer.
//!
//! What always holds: every request that arrived is ended exactly once, by [`Action::Refuse`], or by
//! [`Event::Finished`], [`Event::Cancelled`] or an [`Event::LaneGone`] that does not offer it for another try, after
//! which it is never mentioned again; a site never has two lanes; a lane never holds more requests than its
//! slots; while a request waits, a lane is at work, a timeout is set, or the device's signals are
//! [wanted](Sched::wants_signals); equal events at equal times give equal actions. Those about energy stand in `budget`.
//!
//! `queue` knows the order of requests, `lanes` the state of lanes, `budget` who may use how much energy, `pace` keeps the
//! power cap; `coordinator` books events, `settle` decides.

mod budget;
mod choose;
mod coordinator;
mod cost;
mod credit;
mod crowd;
mod habits;
mod hold;
mod known;
mod lanes;
mod length;
#[cfg(any(test, fuzzing))]
pub mod model;
mod pace;
mod place;
mod plan;
mod planning;
mod power;
mod profile;
mod purse;
mod queue;
mod requests;
mod reuse;
mod settle;
mod site;
#[cfg(test)]
mod tests;
mod traffic;
mod worth;

pub use budget::{ClientId, ClientLimits, PurseId, PurseState};
pub use coordinator::{LaneState, Sched};
pub use habits::{ClientHabits, Habits, SiteHabits, VariantHabits};
pub use pace::{PowerState, Progress, Work, FLOOR};
pub use plan::{Choice, Forecast, Plan, Reason};
pub use power::{Budgets, Policy, Power, Supply};
pub use profile::{thread_ladder, Cost, Measured, News, PhaseMeasured, Profile};
pub use reuse::Share;
pub use site::{Backend, DeviceId, Site, VariantId};

use std::time::Duration;

use crate::clock::Time;
use crate::error::Error;
use crate::lane::{LaneId, Pace, RequestId, Tenant};
use crate::signals::Signals;
use crate::units::{Microjoules, Microwatts};

/// How urgent a request is. Orders the queue; ageing lifts what has waited long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// A person waits for it.
    Interactive,
    /// The default.
    #[default]
    Standard,
    /// May wait.
    Background,
}

/// What kind of answer is asked for: lengths are learnt apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Endpoint {
    /// A turn of a conversation.
    #[default]
    Chat,
    /// Text that goes on.
    Completion,
}

/// A variant that may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub variant: VariantId,
    /// Its answer is of less worth than that of the one asked for.
    pub lesser: bool,
}

/// A request as the scheduler sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Its name.
    pub id: RequestId,
    /// Who asks: fairness is between tenants.
    pub tenant: Tenant,
    /// How urgent.
    pub class: Class,
    /// What may run it; what was asked for first. Never empty.
    pub variants: Vec<Candidate>,
    /// What kind of answer.
    pub endpoint: Endpoint,
    /// Estimated cost in tokens (prompt and answer), for fairness.
    pub tokens: u32,
    /// Tokens of the prompt, estimated.
    pub prompt: u32,
    /// Of these, in the cache of the lane there, estimated.
    pub cached: Vec<(Site, u32)>,
    /// Tokens of the answer, at most.
    pub max_answer: u32,
    /// It must have ended by then.
    pub deadline: Option<Time>,
    /// Its first token should be there by then.
    pub first_token: Option<Time>,
    /// What to save, where it does not leave that to the device.
    pub policy: Option<Policy>,
    /// Where it may run, where it does not leave that to the device.
    pub backend: Option<Backend>,
    /// A lesser variant or a shorter answer will do where nothing else keeps what it asks for.
    pub degrade: bool,
    /// Its lane works with so many threads as long as it runs, whatever is best: it measures.
    pub threads: Option<u32>,
    /// Whose purse it draws from, beside the device's.
    pub client: ClientId,
    /// Energy that it will take, where no profile says.
    pub predicted: Microjoules,
    /// It may use this much.
    pub max_joules: Option<Microjoules>,
}

impl Arrival {
    /// A request that asks for nothing special.
    pub fn new(id: RequestId, tenant: Tenant, variant: VariantId) -> Arrival {
        Arrival {
            id,
            tenant,
            class: Class::Standard,
            variants: vec![Candidate { variant, lesser: false }],
            endpoint: Endpoint::Chat,
            tokens: 1,
            prompt: 1,
            cached: Vec::new(),
            max_answer: 1,
            deadline: None,
            first_token: None,
            policy: None,
            backend: None,
            degrade: false,
            threads: None,
            client: ClientId(tenant.0),
            predicted: Microjoules::ZERO,
            max_joules: None,
        }
    }

    /// What was asked for.
    pub fn variant(&self) -> VariantId {
        self.variants.first().map_or(VariantId(0), |candidate| candidate.variant)
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A request wants to run.
    Arrived(Arrival),
    /// A queued or running request was withdrawn. If it ran, its slot is freed by the `Finished` that follows.
    Cancelled(RequestId),
    /// A running request ended and its slot is free: its lane works. Not for requests that ended with their lane:
    /// `LaneGone` says that.
    Finished(RequestId),
    /// A lane asked for by [`Action::Load`] takes requests.
    LaneReady {
        /// Which.
        lane: LaneId,
        /// How many at once.
        slots: u32,
    },
    /// A lane asked for by [`Action::Load`] cannot come up now because other lanes hold the memory.
    /// Idle ones are let go and it is tried again; with none idle it waits for one; with none at all it fails.
    /// The lane never was: nothing more is said of it, and the next try has another name.
    LoadBlocked {
        /// Which.
        lane: LaneId,
        /// What the clients are told if it stays so.
        error: Error,
    },
    /// A lane asked for by [`Action::Load`] cannot come up, and trying again would not help. Who waits for it is
    /// refused; for who comes later it is tried again after the backoff. Nothing more is said of this lane.
    LoadFailed {
        /// Which.
        lane: LaneId,
        /// What the clients are told.
        error: Error,
    },
    /// A lane is gone. After [`Action::Unload`] this is expected; else it is a fault.
    LaneGone {
        /// Which.
        lane: LaneId,
        /// Its requests that have sent no token and may be tried once more; they stand first in their class. The
        /// rest were ended by the service.
        retry: Vec<RequestId>,
        /// It ended because it was told to.
        expected: bool,
        /// What clients are told if no second try is left.
        error: Error,
    },
    /// Somebody wants a lane here, now, whatever backoff or quarantine says. Its idle time starts anew.
    Load(Site),
    /// Somebody wants the lane here gone as soon as its requests have ended: those that run and those that
    /// wait. What arrives later loads it again, so that the lane goes even under constant load. A `Load` revokes it.
    Unload(Site),
    /// A lane can be here, or no longer. Without a word, on the CPU only.
    Site {
        /// Where.
        site: Site,
        /// It can.
        usable: bool,
    },
    /// A lane here is thought to take so many bytes of memory. Without a word, nobody knows.
    Memory {
        /// Where.
        site: Site,
        /// So many.
        bytes: u64,
    },
    /// What an earlier run learnt of the traffic. What this one has learnt goes before it. What it says of lanes follows
    /// their `Profile`, which makes forgotten what they saved.
    Habits(Box<Habits>),
    /// What a lane here takes: what an earlier run measured.
    Profile {
        /// Where.
        site: Site,
        /// What is known.
        profile: Box<Profile>,
    },
    /// What a request took on a lane, once it has ended or was handed over. It may have ended before.
    Measured {
        /// Which.
        id: RequestId,
        /// Where.
        site: Site,
        /// What.
        measured: Measured,
    },
    /// What bringing up a lane took.
    Woke {
        /// Where.
        site: Site,
        /// So much.
        cost: Cost,
    },
    /// Keeping the lane here resident and idle was seen to add so many watts to what the device draws.
    Held {
        /// Where.
        site: Site,
        /// So many.
        watts: f64,
    },
    /// A request that was started with `export` has its prompt computed, and its state is out of the lane: its slot is
    /// free.
    Exported {
        /// Which.
        id: RequestId,
        /// How long taking it out took.
        time: Duration,
    },
    /// A running request was ended by what it may use, before its first token, and
    /// [may wait again](Sched::may_wait_again): its slot is free.
    Stopped(RequestId),
    /// A request that waits, runs or has ended used this much energy, or, corrected by measurement, less than was said
    /// before.
    Spent {
        /// Which.
        id: RequestId,
        /// More.
        more: Microjoules,
        /// Less.
        less: Microjoules,
    },
    /// Nothing more is said of the energy of a request that has ended.
    Settled(RequestId),
    /// What a lane did since this was last told of it. Told for each lane with steps just before [`Event::Power`].
    Progress {
        /// Which.
        lane: LaneId,
        /// What.
        done: Progress,
    },
    /// The device drew this much on average over the time that ended now. Told about every 100 ms while something
    /// runs, for times that join on to one another and end where the sensor was refreshed; the first one, for the idle
    /// time before, when something begins to run.
    Power {
        /// So much.
        draw: Microwatts,
        /// For so long.
        span: Duration,
    },
    /// What the device says of its supply and its heat.
    Signals(Signals),
    /// The time of [`Sched::next_timeout`] has come.
    Tick,
    /// From now on the idle lane here is let go after `after` (`None`: never) and not after
    /// [`Limits::idle_unload`].
    IdleUnload {
        /// Where.
        site: Site,
        /// After this.
        after: Option<Duration>,
    },
    /// The limits changed.
    Limits(Limits),
    /// The device's energy budgets changed.
    Budgets(Budgets),
    /// What bounds a client. Without a word a client is bounded by nothing of its own.
    Client {
        /// Which.
        client: ClientId,
        /// By what.
        limits: ClientLimits,
    },
    /// A purse holds at most this much, in microjoules: what it held when the service was last stopped, and what time
    /// has brought since.
    Restored {
        /// Which.
        purse: PurseId,
        /// So much.
        level: i64,
    },
    /// No more requests; queued ones are refused, running ones may end.
    ShutDown,
}

/// What the service shall do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Bring up a lane. `LaneReady`, `LoadBlocked`, `LoadFailed` or `LaneGone` follows.
    Load {
        /// Its name.
        lane: LaneId,
        /// What it shall serve, and where.
        site: Site,
    },
    /// Let a lane go that runs nothing. It may still be loading. `LaneGone` follows, or the
    /// `LoadFailed` or `LoadBlocked` that crossed this.
    Unload(LaneId),
    /// This is how a request will run, or will run now. Comes before its `Start`.
    Planned {
        /// Which.
        id: RequestId,
        /// How.
        choice: Box<Choice>,
    },
    /// Run this request on this lane. One that was `Exported` goes on there from its state.
    Start {
        /// Which request.
        id: RequestId,
        /// Where.
        lane: LaneId,
        /// Take its state out once its prompt is computed; `Exported` follows, or `Finished` where it ends before.
        export: bool,
    },
    /// End this request with an error; it never started or may not be tried again.
    Refuse {
        /// Which.
        id: RequestId,
        /// Why.
        error: Error,
    },
    /// Stop a running request: its deadline has passed. `Finished` follows.
    Expire(RequestId),
    /// A running request may use so much energy in all, what it was charged with before it started included. Beyond it
    /// is ended, and its answer ends there. Comes before the `Start` of the request, and again when it changes.
    Allow {
        /// Which.
        id: RequestId,
        /// So much.
        energy: Microjoules,
    },
    /// A lane shall work like this.
    Pace {
        /// Which.
        lane: LaneId,
        /// How.
        pace: Pace,
    },
}

/// Faults in a row after which a GPU is left alone: there is the CPU to go on with.
pub const GPU_FAULTS: u32 = 3;

/// What bounds the queue and the lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests waiting, in all. More are refused with `queue_full`.
    pub queue: u32,
    /// Requests waiting, of one tenant.
    pub queue_per_tenant: u32,
    /// An idle lane is let go after this, where [`Event::IdleUnload`] says nothing else of its variant; `None`: never.
    pub idle_unload: Option<Duration>,
    /// A request that has waited this long counts as one class higher, twice as long as two.
    pub ageing: Duration,
    /// Wait before a lane is loaded again after its first fault; doubles with each fault in a row.
    pub backoff_first: Duration,
    /// The longest such wait.
    pub backoff_max: Duration,
    /// After this many faults in a row with no finished request between, the CPU takes no request of the variant for
    /// `quarantine`; a GPU after [`GPU_FAULTS`]. Who has nowhere else to go is refused (`quarantined`).
    pub faults_to_quarantine: u32,
    /// How long a quarantine lasts.
    pub quarantine: Duration,
    /// Threads of a lane. 0: as many as it has, and no other number is tried.
    pub threads: u32,
    /// Share of the time in which a lane may compute, in thousandths. 1 to 1000.
    pub duty: u32,
    /// Share of all joules that trying lanes may take beyond what the best plans would, in thousandths. 0: no lane is
    /// tried that is not thought to be the best.
    pub explore: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            queue: 256,
            queue_per_tenant: 64,
            idle_unload: Some(Duration::from_secs(300)),
            ageing: Duration::from_secs(20),
            backoff_first: Duration::from_millis(50),
            backoff_max: Duration::from_secs(10),
            faults_to_quarantine: 5,
            quarantine: Duration::from_secs(60),
            threads: 0,
            duty: 1000,
            explore: 50,
        }
    }
}
