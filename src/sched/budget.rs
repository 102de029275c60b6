//! Energy budgets: who may start, who waits, who is refused, and how much each running request may use.
//!
//! Every request draws from the *purses* of the device (hour, day) and of its client (hour), as far as the
//! configuration in force has them. They are charged with what was measured, also for requests that have ended since,
//! until their energy is said to be final. What runs has a part of each purse *reserved*: what is left of its
//! prediction. A request starts when its prediction is in each of its purses beside what is reserved; where that is
//! more than half of what a purse can hold, when half is there, so that no wish is too large to be ever begun. All that
//! is in a purse is divided over those that run on it: each is *allowed* what is reserved for it and an equal part of
//! the rest, and is ended by its lane before the step that would take it further. So no wish overdraws, either.
//!
//! What always holds: what running requests are allowed and have not used is never more than there is in any of their
//! purses, so that a purse is overdrawn at most by what steps take beyond what was allowed when they began, and by
//! what is charged to requests that do not run (loading their model); a request that only waits for a purse has a time
//! at which it is looked at again.
//!
//! `gate` says who may start, `divide` what those that run may use, and `questions` answers others; `purse` is the bucket,
//! `power` says which configuration is in force; the coordinator tells when requests come and go.

mod divide;
mod gate;
mod questions;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

pub(super) use gate::Gate;

use super::power::Supplies;
use super::purse::Purse;
use super::{Arrival, Budgets, Class};
use crate::clock::Time;
use crate::lane::RequestId;
use crate::signals::Signals;
use crate::units::Microjoules;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// Requests that have ended and whose energy is not final. Far more than can end before it is: the oldest is forgotten
/// only where nobody says so.
const REMEMBERED: usize = 4_096;
/// The same for those that never started: these can be made quickly, and must not push the others out.
const REMEMBERED_UNSTARTED: usize = 256;

/// A client as budgets see it: an index that the service gives out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, serde::Serialize, serde::Deserialize)]
pub struct ClientId(pub u32);

/// What bounds one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClientLimits {
    /// Energy of its requests in an hour. `None`: only the device's purses bound it.
    pub joules_per_hour: Option<Microjoules>,
    /// Requests of it that run at once. `None`: as many as there are slots.
    pub requests: Option<u32>,
}

/// Names a purse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PurseId {
    /// The device's joules of the hour.
    Hour,
    /// The device's joules of the day.
    Day,
    /// A client's joules of the hour.
    Client(ClientId),
}

/// A purse as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PurseState {
    /// Which.
    pub id: PurseId,
    /// The configuration in force bounds it.
    pub on: bool,
    /// What it holds at most, and gets back evenly in each `period`.
    pub size: Microjoules,
    /// In this time.
    pub period: Duration,
    /// What is in it, in microjoules; negative where the last step took more than there was.
    pub level: i64,
    /// Of this, kept for requests that run.
    pub reserved: Microjoules,
    /// When it will be full if nothing is used.
    pub full: Time,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Running,
    Ended,
}

/// Why a request may use no more than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    Request,
    Purse(PurseId),
}

#[derive(Debug)]
struct Entry {
    client: ClientId,
    class: Class,
    predicted: u64,
    most: Option<u64>,
    stage: Stage,
    started: bool,
    /// Used in earlier runs of it.
    before: u64,
    /// Used since it was started.
    spent: u64,
    /// What it was told that it may use in all; `None`: it was told of no bound.
    allowed: Option<u64>,
    bound: Option<Bound>,
    /// How often it was stopped and waited again.
    returned: u8,
}

impl Entry {
    /// What its own bound leaves it.
    fn left(&self) -> Option<u64> {
        self.most.map(|most| most.saturating_sub(self.before).saturating_sub(self.spent))
    }

    /// What a purse must hold for it to start. At least 1, so that nothing starts on an empty purse.
    fn need(&self, purse: &Purse) -> u64 {
        let bound = self.most.map_or(u64::MAX, |most| most.saturating_sub(self.before));
        let cap = if self.returned > 0 { purse.size() } else { purse.size() / 2 };
        self.predicted.min(bound).min(cap).max(1)
    }

    /// What stays reserved while it runs: never nothing, for it may go on beyond its prediction.
    fn hold(&self, purse: &Purse) -> u64 {
        let need = self.need(purse);
        need.saturating_sub(self.spent).max(need / 8)
    }

    /// What it may still use of what it was told.
    fn open(&self) -> Option<u64> {
        self.allowed.map(|allowed| allowed.saturating_sub(self.before).saturating_sub(self.spent))
    }
}

#[derive(Debug, Default)]
struct Client {
    limits: ClientLimits,
    running: u32,
}

/// The books of all budgets.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) supplies: Supplies,
    now: Time,
    purses: BTreeMap<PurseId, Purse>,
    /// Levels of purses that are not there yet, and when they were told.
    restored: BTreeMap<PurseId, (i64, Time)>,
    clients: BTreeMap<ClientId, Client>,
    entries: BTreeMap<RequestId, Entry>,
    /// Of `entries`, those that run.
    run: BTreeSet<RequestId>,
    ended: VecDeque<RequestId>,
    ended_unstarted: VecDeque<RequestId>,
}

/// What the coordinator tells.
impl Book {
    pub(super) fn advance(&mut self, now: Time) {
        self.now = now;
        self.purses.values_mut().for_each(|purse| purse.advance(now));
    }

    pub(super) fn budgets(&mut self, budgets: Budgets) {
        self.supplies.set(budgets, self.now);
        self.apply();
    }

    pub(super) fn heard(&mut self, signals: Signals) {
        self.supplies.heard(signals, self.now);
        self.apply();
    }

    /// The device's purses as the table in force has them.
    fn apply(&mut self) {
        let power = *self.supplies.power();
        self.bound(PurseId::Hour, power.joules_per_hour, HOUR);
        self.bound(PurseId::Day, power.joules_per_day, DAY);
    }

    fn bound(&mut self, id: PurseId, size: Option<Microjoules>, period: Duration) {
        let Some(size) = size else {
            self.purses.entry(id).and_modify(|purse| purse.on = false);
            return;
        };
        if let Some(purse) = self.purses.get_mut(&id) {
            purse.on = true;
            return purse.resize(size);
        }
        let mut purse = Purse::new(size, period, self.now);
        if let Some((level, at)) = self.restored.remove(&id) {
            purse = Purse::new(size, period, at);
            purse.set(level);
            purse.advance(self.now);
        }
        self.purses.insert(id, purse);
    }

    pub(super) fn client(&mut self, id: ClientId, limits: ClientLimits) {
        self.clients.entry(id).or_default().limits = limits;
        self.bound(PurseId::Client(id), limits.joules_per_hour, HOUR);
    }

    /// Never makes a purse fuller than it is.
    pub(super) fn restore(&mut self, id: PurseId, level: i64) {
        match self.purses.get_mut(&id) {
            Some(purse) => purse.set(level.min(purse.level())),
            None => drop(self.restored.insert(id, (level, self.now))),
        }
    }

    pub(super) fn arrived(&mut self, arrival: &Arrival) {
        let entry = Entry {
            client: arrival.client,
            class: arrival.class,
            predicted: arrival.predicted.0,
            most: arrival.max_joules.map(|j| j.0),
            stage: Stage::Waiting,
            started: false,
            before: 0,
            spent: 0,
            allowed: None,
            bound: None,
            returned: 0,
        };
        self.entries.insert(arrival.id, entry);
    }

    pub(super) fn started(&mut self, id: RequestId) {
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.stage != Stage::Running) else { return };
        entry.stage = Stage::Running;
        entry.started = true;
        self.run.insert(id);
        self.clients.entry(entry.client).or_default().running += 1;
    }

    /// It runs no more, or will not.
    pub(super) fn ended(&mut self, id: RequestId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if std::mem::replace(&mut entry.stage, Stage::Ended) == Stage::Running {
            self.run.remove(&id);
            let client = self.clients.entry(entry.client).or_default();
            client.running = client.running.saturating_sub(1);
        }
        let (ended, most) = match entry.started {
            true => (&mut self.ended, REMEMBERED),
            false => (&mut self.ended_unstarted, REMEMBERED_UNSTARTED),
        };
        ended.push_back(id);
        while ended.len() > most {
            let Some(oldest) = ended.pop_front() else { break };
            forget(&mut self.entries, oldest);
        }
    }

    /// It ended, and stands in the line again.
    pub(super) fn waits(&mut self, id: RequestId, stopped: bool) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.stage = Stage::Waiting;
        entry.before = entry.before.saturating_add(std::mem::take(&mut entry.spent));
        entry.allowed = None;
        if stopped {
            entry.returned += 1;
            // It took more than was thought: the next time it needs more to begin.
            entry.predicted = entry.predicted.max(entry.before.saturating_mul(2));
        }
        for line in [&mut self.ended, &mut self.ended_unstarted] {
            line.retain(|other| *other != id);
        }
    }

    pub(super) fn spent(&mut self, id: RequestId, more: Microjoules, less: Microjoules) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let used = if entry.stage == Stage::Waiting { &mut entry.before } else { &mut entry.spent };
        *used = used.saturating_add(more.0);
        let earlier = less.0.saturating_sub(entry.spent).min(entry.before);
        entry.spent = entry.spent.saturating_sub(less.0);
        // What it was told counts from its arrival, and stays what it is.
        entry.before -= earlier;
        entry.allowed = entry.allowed.map(|allowed| allowed.saturating_add(earlier));
        for id in drawn(entry.client) {
            if let Some(purse) = self.purses.get_mut(&id).filter(|purse| purse.on) {
                purse.charge(more, less);
            }
        }
    }

    /// Its energy is final.
    pub(super) fn settled(&mut self, id: RequestId) {
        if forget(&mut self.entries, id) {
            for line in [&mut self.ended, &mut self.ended_unstarted] {
                line.retain(|other| *other != id);
            }
        }
    }
}

/// Forgets a request that has ended.
fn forget(entries: &mut BTreeMap<RequestId, Entry>, id: RequestId) -> bool {
    let ended = entries.get(&id).is_some_and(|entry| entry.stage == Stage::Ended);
    ended && entries.remove(&id).is_some()
}

fn drawn(client: ClientId) -> [PurseId; 3] {
    [PurseId::Hour, PurseId::Day, PurseId::Client(client)]
}

/// What follows.
impl Book {
    /// The purses that bound this client's requests.
    fn bounding(&self, client: ClientId) -> impl Iterator<Item = (PurseId, &Purse)> {
        drawn(client).into_iter().filter_map(|id| Some((id, self.purses.get(&id).filter(|purse| purse.on)?)))
    }

    fn running(&self) -> impl Iterator<Item = (RequestId, &Entry)> {
        self.run.iter().filter_map(|id| Some((*id, self.entries.get(id)?)))
    }

    /// Those that run on this purse.
    fn on(&self, id: PurseId) -> impl Iterator<Item = &Entry> {
        self.running().map(|(_, entry)| entry).filter(move |entry| drawn(entry.client).contains(&id))
    }

    fn reserved(&self, id: PurseId, purse: &Purse) -> u64 {
        self.on(id).fold(0, |sum: u64, entry| sum.saturating_add(entry.hold(purse)))
    }

    fn state(&self, id: PurseId, purse: &Purse) -> PurseState {
        PurseState {
            id,
            on: purse.on,
            size: Microjoules(purse.size()),
            period: purse.period(),
            level: purse.level(),
            reserved: Microjoules(self.reserved(id, purse)),
            full: purse.reaches(u64::MAX),
        }
    }
}

fn signed(energy: u64) -> i64 {
    i64::try_from(energy).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
