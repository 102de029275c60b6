//! How many threads a lane works with: measured, each number for about a second, and chosen by the policy.
//!
//! It begins with all and goes on to the next number as long as that is better; what lost is tried again ever more
//! rarely. A number is judged by what the lane's usual mix of prompts and answers would take with it.

use std::collections::BTreeMap;

use super::draw::Key;
use super::{Lane, Pacer, Phase, Policy, Progress, SETTLE};
use crate::clock::Time;
use crate::lane::LaneId;

/// How long another number of threads is tried, in seconds.
const TRIAL: f64 = 1.0;
/// Another number of threads must be this much better to be taken.
const BETTER: f64 = 1.02;

/// Another number of threads that is tried.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) lane: LaneId,
    key: Key,
    /// What it is measured against.
    home: Key,
    /// With its work in them, and in all.
    seconds: f64,
    wall: f64,
    steps: u32,
}

impl Pacer {
    pub(super) fn judge(&mut self, work: &BTreeMap<LaneId, Progress>, span: f64, now: Time) {
        let choice = self.threads > 1 && (self.policy != Policy::MaxThroughput || self.cap.is_some());
        if let Some(mut trial) = self.trial.take() {
            let suits = |lane: &&Lane| lane.main == trial.key.phase && lane.prompt_threads.is_none();
            let lane = self.lanes.get(&trial.lane).filter(suits);
            if let Some(lane) = lane.filter(|_| choice) {
                let steps = work.get(&trial.lane).map_or(0, |work| work.of(trial.key.phase).steps);
                if steps > 0 {
                    trial.seconds += span;
                    trial.steps = trial.steps.saturating_add(steps);
                }
                trial.wall += span;
                let over = trial.wall >= 5.0 * TRIAL && trial.steps == 0
                    || trial.steps >= 4
                        && (trial.seconds >= TRIAL
                            || (trial.seconds >= 0.3 * TRIAL
                                && self.score(lane, trial.key.threads) < 0.6 * self.score(lane, trial.home.threads)));
                if !over {
                    self.trial = Some(trial);
                    return;
                }
                self.speeds.tried(trial.key, now);
            } else {
                // It became another work, or nobody wants to know any more.
                self.set_threads(trial.lane, trial.home.threads);
                return;
            }
        }
        for id in work.keys() {
            if self.lanes.get(id).is_some_and(|lane| lane.prompt_threads.is_some()) {
                continue;
            }
            if !choice {
                self.set_threads(*id, self.most());
            } else if self.choose(*id, now) {
                return;
            }
        }
    }

    /// The number of threads without a reason for fewer.
    pub(super) fn most(&self) -> u32 {
        if self.threads == 0 {
            u32::MAX
        } else {
            self.threads
        }
    }

    fn set_threads(&mut self, id: LaneId, threads: u32) {
        let free = |lane: &&mut Lane| lane.threads != threads && lane.prompt_threads.is_none();
        if let Some(lane) = self.lanes.get_mut(&id).filter(free) {
            lane.threads = threads;
            self.block.restart(SETTLE);
        }
    }

    /// Takes the best number of threads, or tries another. Says whether it changed something.
    fn choose(&mut self, id: LaneId, now: Time) -> bool {
        let Some(lane) = self.lanes.get(&id) else { return false };
        let current = lane.key(lane.main);
        let key = |threads: u32| Key { threads, ..current };
        let known: Vec<u32> = self.speeds.known(current.site, current.phase).map(|(threads, _)| threads).collect();
        let full = key(self.most());
        let bound = match (self.leaves(current), self.draw.watts(full)) {
            (Some(leaves), Some(watts)) => leaves < watts * f64::from(self.duty) / 1000.0,
            _ => true,
        };
        if self.policy == Policy::MaxThroughput && !bound {
            self.set_threads(id, full.threads);
            return false;
        }
        let best = known.into_iter().map(|n| (self.score(lane, n), n)).max_by(|a, b| a.0.total_cmp(&b.0));
        let Some((best_score, best)) = best else { return false };
        if best != current.threads && best_score > BETTER * self.score(lane, current.threads) {
            self.set_threads(id, best);
            return true;
        }
        if self.speeds.get(current).is_none_or(|speed| speed.seconds < 0.25 * TRIAL) {
            return false;
        }
        let (below, above) = neighbours(current.threads, self.threads);
        let due = |n: u32| self.speeds.get(key(n)).is_none_or(|speed| speed.not_before <= now);
        let Some(threads) = [below, above].into_iter().flatten().find(|n| due(*n)) else { return false };
        self.speeds.retry(key(threads));
        self.trial = Some(Trial { lane: id, key: key(threads), home: current, seconds: 0.0, wall: 0.0, steps: 0 });
        self.set_threads(id, threads);
        true
    }

    /// What the cap leaves for the lane that works like this (W); `None` without a cap or as long as nothing is known.
    fn leaves(&self, key: Key) -> Option<f64> {
        let rest = self.target()? - self.draw.base()?;
        let all: f64 = self.lanes.values().filter(|lane| lane.busy).filter_map(|lane| self.watts(lane)).sum();
        let own = self.lanes.values().find(|lane| lane.busy && lane.site == key.site);
        let share = own.and_then(|lane| self.watts(lane)).map_or(1.0, |own| own / all.max(own).max(1e-9));
        Some(rest.max(0.0) * share)
    }

    /// What this lane adds at full work, prompts and answers as of late (W).
    pub(super) fn watts(&self, lane: &Lane) -> Option<f64> {
        let prefill = self.draw.watts(lane.key(Phase::Prefill))?;
        let decode = self.draw.watts(lane.key(Phase::Decode))?;
        Some(lane.prompts * prefill + (1.0 - lane.prompts) * decode)
    }

    /// How good so many threads are for this lane's usual mix of prompts and answers; 0 where its main work was not
    /// measured with them.
    fn score(&self, lane: &Lane, threads: u32) -> f64 {
        let key = |phase| Key { site: lane.site, threads, phase };
        if !self.draw.is_known(key(lane.main)) {
            return 0.0;
        }
        // What takes the lane a second as it works now takes `time` with so many threads, and `joules`.
        let (mut time, mut joules) = (0.0, 0.0);
        for (phase, part) in [(Phase::Prefill, lane.usual_prompts), (Phase::Decode, 1.0 - lane.usual_prompts)] {
            let now = self.speeds.get(lane.key(phase));
            let slower = match (now, self.speeds.get(key(phase))) {
                (Some(now), Some(then)) => now.rate / then.rate,
                (_, None) if phase == lane.main => return 0.0,
                // Prompts are bound by computing, answers by memory.
                _ if phase == Phase::Prefill => f64::from(lane.threads) / f64::from(threads),
                _ => 1.0,
            };
            time += part * slower;
            joules += part * slower * self.draw.watts(key(phase)).unwrap_or(0.0);
        }
        if !(time > 0.0 && joules > 0.0) {
            return 0.0;
        }
        let most = f64::from(self.duty) / 1000.0;
        // With nothing left, what is left of it still has to be used best.
        let duty = self.leaves(lane.key(lane.main)).map_or(most, |leaves| (leaves * time / joules).clamp(1e-3, most));
        match self.policy {
            Policy::MaxThroughput => duty / time,
            Policy::MinEnergy => 1.0 / joules,
            Policy::Balanced => duty / time / joules,
        }
    }
}

/// The numbers of threads next to `n` that are worth a trial, of 1 to `most`: all up to 4, then about each fourth part.
pub(super) fn neighbours(n: u32, most: u32) -> (Option<u32>, Option<u32>) {
    let few = [1, 2, most / 4, most / 2, most - most / 4, most];
    let worth = |k: &u32| (1..=most).contains(k) && (most <= 4 || few.contains(k));
    ((1..n.min(most + 1)).rev().find(worth), (n.saturating_add(1)..=most).find(worth))
}
