//! The lanes' lives: which site has a lane, in what state, how often it failed and when it may be tried again.
//!
//! It decides nothing about requests: the coordinator tells it what happened and asks which lane could go.
//!
//! Of a site that was ever asked for, something is remembered as long as the daemon runs: the registry bounds it.
//!
//! What always holds: a site has at most one lane, from the `Load` that asked for it until it is known to be
//! gone or not to come; a lane's name is never used twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::queue::Waiting;
use super::{Limits, Site, GPU_FAULTS};
use crate::clock::Time;
use crate::error::{Code, Error};
use crate::lane::{LaneId, RequestId};

/// A quarantine doubles with each fault that follows it, up to this many times (16 times as long): a device that is
/// broken for good costs one worker start in a quarter of an hour, and recovers by itself where it was not.
const QUARANTINE_DOUBLINGS: u32 = 4;

/// How far a lane is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Loading,
    Ready { slots: u32 },
    Stopping,
}

/// A lane that shall go: it starts only what arrived before `before`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drain {
    pub(super) before: u64,
    /// Somebody asked for it; else a site that is short of memory needs it.
    pub(super) asked: bool,
    /// It goes for another lane of its own variant: the more have had their turn before, the fewer times lanes change.
    pub(super) together: bool,
}

/// One lane.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) id: LaneId,
    pub(super) stage: Stage,
    pub(super) running: BTreeSet<RequestId>,
    /// When it last became ready, ran something or was asked for: its idle time begins here.
    pub(super) used: Time,
    pub(super) drain: Option<Drain>,
    /// For so long something ran here while something ran in another lane as well.
    pub(super) company: Duration,
}

impl Lane {
    /// Ready, and fewer requests run than it has slots.
    pub(super) fn has_room(&self) -> bool {
        matches!(self.stage, Stage::Ready { slots } if self.running.len() < slots as usize)
    }

    /// Ready, and nothing runs.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Ready { .. }) && self.running.is_empty()
    }
}

/// How long an idle lane is worth its watts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patience {
    /// Once it was used and nobody is there any more who might use it.
    pub(super) alone: Duration,
    /// After its last use, while those who might use it run elsewhere: nobody comes after them yet.
    pub(super) beside: Duration,
}

/// A site that does not come up because other lanes hold the memory.
#[derive(Debug)]
pub(super) struct Blocked {
    pub(super) since: Time,
    pub(super) error: Error,
    /// A lane went since: it is worth another try.
    pub(super) again: bool,
}

/// What is remembered of a site.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) lane: Option<Lane>,
    /// Somebody wants it loaded, request or not: since when, and in which order.
    pub(super) wanted: Option<(Time, u64)>,
    pub(super) blocked: Option<Blocked>,
    /// The last lane did not come up because others held the memory, and none has gone since.
    pub(super) tight: bool,
    /// Faults in a row, with no finished request between.
    faults: u32,
    last_fault: Option<String>,
    /// The backoff ends here.
    pub(super) not_before: Time,
    pub(super) quarantined: Option<Time>,
    /// Instead of the general limit.
    pub(super) idle_unload: Option<Option<Duration>>,
    /// It is worth its watts for so long; `None`: as long as it may.
    pub(super) keep: Option<Patience>,
    /// Somebody wanted it loaded, and it was not used since: it is kept as long as it may.
    pub(super) asked: bool,
    /// Slots of the last lane.
    pub(super) slots: Option<u32>,
    /// Requests whose answer is computed here, or will be.
    pub(super) bound: u32,
    /// Requests that run elsewhere and will go on here.
    pub(super) inbound: BTreeMap<RequestId, Waiting>,
}

impl Entry {
    /// How long its lane may be idle by the configuration.
    pub(super) fn configured(&self, limits: &Limits) -> Option<Duration> {
        self.idle_unload.unwrap_or(limits.idle_unload)
    }

    /// The end of the quarantine it is in.
    pub(super) fn quarantine(&self, now: Time) -> Option<Time> {
        self.quarantined.filter(|until| *until > now)
    }

    /// It has a lane that takes requests, or will.
    pub(super) fn is_up(&self) -> bool {
        self.lane.as_ref().is_some_and(|lane| lane.stage != Stage::Stopping)
    }

    /// It waits for memory that other lanes hold.
    pub(super) fn starved(&self) -> bool {
        self.lane.is_none() && self.blocked.is_some()
    }

    /// Its lane failed: wait before the next, longer each time, and after too many leave it alone.
    pub(super) fn fault(&mut self, site: Site, error: &Error, now: Time, limits: &Limits) {
        let doubled = |first: Duration, times: u32| first.saturating_mul(1u32.checked_shl(times).unwrap_or(u32::MAX));
        let allowed = if site.device.is_cpu() { limits.faults_to_quarantine.max(1) } else { GPU_FAULTS };
        self.not_before = now + doubled(limits.backoff_first, self.faults).min(limits.backoff_max);
        self.faults = self.faults.saturating_add(1);
        self.last_fault = Some(error.message.clone());
        self.wanted = None;
        self.blocked = None;
        if let Some(beyond) = self.faults.checked_sub(allowed) {
            self.quarantined = Some(now + doubled(limits.quarantine, beyond.min(QUARANTINE_DOUBLINGS)));
        }
    }

    /// Its lane answered a request: it works.
    pub(super) fn works(&mut self) {
        self.faults = 0;
        self.last_fault = None;
        self.not_before = Time::ZERO;
        self.quarantined = None;
    }

    /// Somebody insists: try at once. The faults are kept, so that one more is enough for the next quarantine.
    pub(super) fn pardon(&mut self) {
        self.not_before = Time::ZERO;
        self.quarantined = None;
    }

    /// What a request is told that comes during a quarantine.
    pub(super) fn refusal(&self, site: Site, until: Time, now: Time) -> Error {
        let (wait, faults) = (until.since(now), self.faults);
        let last = self.last_fault.as_deref().unwrap_or("unknown");
        let seconds = wait.as_secs_f64().ceil();
        let message = match site.device.is_cpu() {
            true => format!(
                "This model failed {faults} times in a row and is left alone for another {seconds} s; use another \
                 model, or ask the administrator to load it by hand. The last failure: {last}"
            ),
            false => format!(
                "This model failed {faults} times in a row on the GPU, which is left alone for another {seconds} s; \
                 leave 'backend' out, or ask for \"cpu\". The last failure: {last}"
            ),
        };
        Error::new(Code::Quarantined, message).retry_after(wait)
    }
}

/// All lanes.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    pub(super) entries: BTreeMap<Site, Entry>,
    owners: BTreeMap<LaneId, Site>,
    last_id: u64,
    /// Sites, the lesser first, whose lanes were last seen not to fit into memory together.
    apart: BTreeSet<(Site, Site)>,
}

impl Lanes {
    pub(super) fn get(&self, site: Site) -> Option<&Entry> {
        self.entries.get(&site)
    }

    pub(super) fn entry(&mut self, site: Site) -> &mut Entry {
        self.entries.entry(site).or_default()
    }

    /// The site that this lane serves, and what is remembered of it; `None` for a lane that is not ours.
    pub(super) fn owner(&mut self, lane: LaneId) -> Option<(Site, &mut Entry)> {
        let site = *self.owners.get(&lane)?;
        Some((site, self.entries.get_mut(&site)?))
    }

    /// All lanes with their sites.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Site, &Lane)> {
        self.entries.iter().filter_map(|(site, entry)| Some((*site, entry.lane.as_ref()?)))
    }

    /// So much time has passed.
    pub(super) fn pass(&mut self, time: Duration) {
        let runs = |lane: &&mut Lane| !lane.running.is_empty();
        let lanes = || self.entries.values().filter_map(|entry| entry.lane.as_ref());
        if time.is_zero() || lanes().filter(|lane| !lane.running.is_empty()).count() < 2 {
            return;
        }
        for lane in self.entries.values_mut().filter_map(|entry| entry.lane.as_mut()).filter(runs) {
            lane.company += time;
        }
    }

    /// Whether one of two lanes has to go before the other can come up, as far as is known.
    pub(super) fn are_apart(&self, one: Site, other: Site) -> bool {
        self.apart.contains(&(one.min(other), one.max(other)))
    }

    /// A lane takes requests: it fits together with the others that do.
    pub(super) fn fits(&mut self, site: Site) {
        let ready = |other: &Site| self.entries.get(other).and_then(|entry| entry.lane.as_ref());
        let ready = |other: &Site| ready(other).is_some_and(|lane| matches!(lane.stage, Stage::Ready { .. }));
        self.apart.retain(|(a, b)| !((*a == site && ready(b)) || (*b == site && ready(a))));
    }

    /// A new lane for a site that has none.
    pub(super) fn load(&mut self, site: Site, now: Time) -> LaneId {
        self.last_id += 1;
        let id = LaneId(self.last_id);
        let lane = Lane {
            id,
            stage: Stage::Loading,
            running: BTreeSet::new(),
            used: now,
            drain: None,
            company: Duration::ZERO,
        };
        self.owners.insert(id, site);
        let entry = self.entry(site);
        entry.lane = Some(lane);
        if let Some(blocked) = &mut entry.blocked {
            blocked.again = false;
        }
        id
    }

    /// The lane is gone, or will not come: what it held is free.
    pub(super) fn remove(&mut self, lane: LaneId) -> Option<(Site, Lane)> {
        let site = self.owners.remove(&lane)?;
        for entry in self.entries.values_mut() {
            entry.tight = false;
            entry.blocked.iter_mut().for_each(|blocked| blocked.again = true);
        }
        Some((site, self.entries.get_mut(&site)?.lane.take()?))
    }

    /// The lane will not come now; nothing became free by that.
    pub(super) fn block(&mut self, lane: LaneId, error: Error, now: Time) {
        let Some(site) = self.owners.remove(&lane) else { return };
        let others: Vec<Site> = self.iter().map(|(other, _)| other).filter(|other| *other != site).collect();
        if let [other] = others[..] {
            self.apart.insert((site.min(other), site.max(other)));
        }
        let entry = self.entry(site);
        entry.lane = None;
        let since = entry.blocked.as_ref().map_or(now, |blocked| blocked.since);
        entry.blocked = Some(Blocked { since, error, again: false });
        entry.tight = true;
    }
}
