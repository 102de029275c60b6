//! The power cap: how hard each lane works, so that the device's average draw stays at or under the cap in any 10 s.
//!
//! Fed with the measured draw ([`Event::Power`]) and with what lanes did ([`Event::Progress`]), it answers with a
//! [`Pace`] for each lane that has work. PURE, like all of the scheduler.
//!
//! - `draw` follows what the device draws without us and what each lane adds. What the cap leaves, divided by what the
//!   lanes would add at full work, is the share of time in which they compute: no integrator that winds up, and others'
//!   load takes effect within two samples.
//! - `account` keeps the books of the cap: what was used beyond it is saved again at once.
//! - `speeds` knows tokens per second by number of threads. Under a cap fewer threads without pauses may bring more
//!   tokens than many with them, and the other way round: that is measured, each number for about a second, beginning
//!   with all threads and going on as long as it gets better; what lost is tried again ever more rarely.
//!
//! Lanes that work at once pause alike: each gets the same share of its full speed.
//!
//! What joules mean here: those above what the device draws without the lanes. It draws the rest anyway, so it does not
//! tell one number of threads from another; `min-energy` therefore tends to few threads, and `balanced` weighs the
//! time as well.
//!
//! What always holds: a lane that has work is never told to stop altogether ([`FLOOR`]), so that every request ends;
//! without a cap, and without a policy that asks for it, lanes work as they are configured and nothing is tried.

mod account;
mod draw;
mod progress;
mod speeds;
#[cfg(test)]
mod tests;
mod threads;

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Action, Policy, Site};
use crate::clock::Time;
use crate::lane::{LaneId, Pace};
use crate::units::Microwatts;
use account::Account;
use draw::{Draw, Key, Sample};
use progress::Phase;
pub use progress::{Progress, Work};
use speeds::Speeds;
use threads::Trial;

/// What holds for all lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Average draw that the device keeps to.
    pub(super) cap: Option<Microwatts>,
    /// What is best where the cap, or nothing, leaves a choice.
    pub(super) policy: Policy,
    /// Threads of a lane. 0: as many as it has, and no other number is tried.
    pub(super) threads: u32,
    /// Share of the time in which a lane may compute, in thousandths. 1 to 1000.
    pub(super) duty: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { cap: None, policy: Policy::MaxThroughput, threads: 0, duty: 1000 }
    }
}

/// What is known of the device's draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PowerState {
    /// The cap in force.
    pub cap: Option<Microwatts>,
    /// Mean draw over the last 10 s in which something ran.
    pub mean: Option<Microwatts>,
    /// Draw without the lanes' work: idle power and other programs.
    pub base: Option<Microwatts>,
    /// The device draws the cap, or nearly, without the lanes' work: they run at the smallest duty, and the cap does
    /// not hold.
    pub unreachable: bool,
}

/// Smallest duty, in thousandths: below it a request would take more than 50 times as long as without a cap.
pub const FLOOR: u32 = 20;

/// A chunk of any size.
const ANY_CHUNK: u32 = u32::MAX;
/// How long a chunk of a prompt may take under a cap: what it draws beyond the cap meanwhile must be little against
/// what the average over 10 s forgives.
const CHUNK_TIME: f64 = 0.15;
/// Chunks below this read the weights for few tokens.
const CHUNK_MIN: u32 = 8;
/// While it is not known how long a chunk takes.
const CHUNK_FIRST: u32 = 16;
/// Duty while it is not known what a lane draws.
const DUTY_FIRST: u32 = 500;
/// What is left below the cap, as a share: for the sensor's noise and for steps that do not fit the 10 s evenly.
const MARGIN: f64 = 0.01;
/// What was drawn beyond the cap is saved again in about this time, in seconds.
const REPAY: f64 = 1.5;
/// Samples that say nothing of a lane, because it began, ended or changed while they were taken.
const SETTLE: u32 = 2;
/// Shortest time from which something is learnt, in seconds. It must also hold several steps, see `Pacer::close`.
const BLOCK: f64 = 0.08;
/// Computing time that decides which work is a lane's main one, in seconds.
const USUAL: f64 = 3.0;
/// A cap that cannot be kept is said to be so after this.
const UNREACHABLE: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Lane {
    site: Site,
    busy: bool,
    threads: u32,
    /// Threads for prompts, where they are known to be others, and that nothing is to be tried.
    prompt_threads: Option<u32>,
    sent: Pace,
    /// Told since the last sample of power.
    told: Progress,
    /// Share of its computing that goes into prompts now.
    prompts: f64,
    /// The same over some seconds, and which kind of work that makes its main one: threads are chosen for that.
    usual_prompts: f64,
    main: Phase,
    /// Seconds that a step takes on average, and the longest of late.
    step: f64,
    longest: f64,
}

impl Lane {
    fn key(&self, phase: Phase) -> Key {
        let threads = match phase {
            Phase::Prefill => self.prompt_threads.unwrap_or(self.threads),
            Phase::Decode => self.threads,
        };
        Key { site: self.site, threads, phase }
    }

    /// Seconds from a step to the next, a pause between them.
    fn cycle(&self) -> f64 {
        // Below a tenth the pauses are so long that a few steps have to do.
        self.step / (f64::from(self.sent.duty) / 1000.0).clamp(0.1, 1.0)
    }

    fn note(&mut self, done: &Progress) {
        let seconds = done.seconds();
        if done.steps() == 0 || seconds <= 0.0 {
            return;
        }
        let step = seconds / f64::from(done.steps());
        self.step = if self.step > 0.0 { self.step + 0.3 * (step - self.step) } else { step };
        let longest = done.phases().map(|(_, work)| work.time.as_secs_f64() / f64::from(work.steps.max(1)));
        self.longest = longest.into_iter().fold(0.95 * self.longest, f64::max);
        let prompts = done.prefill.time.as_secs_f64() / seconds;
        // Prompts draw more: believed at once.
        self.prompts += if prompts > self.prompts { 1.0 } else { 0.5 } * (prompts - self.prompts);
        self.usual_prompts += (seconds / USUAL).min(1.0) * (prompts - self.usual_prompts);
        self.main = match self.main {
            Phase::Decode if self.usual_prompts > 0.6 => Phase::Prefill,
            Phase::Prefill if self.usual_prompts < 0.4 => Phase::Decode,
            same => same,
        };
    }
}

/// Samples of power that are judged as one.
#[derive(Debug, Default)]
struct Block {
    /// Samples to leave out first.
    skip: u32,
    /// Seconds and joules.
    span: f64,
    joules: f64,
    work: BTreeMap<LaneId, Progress>,
    /// The shares of the block before, where it joins on: a sensor shows them a little late.
    before: Option<Vec<(Key, f64)>>,
}

impl Block {
    fn restart(&mut self, skip: u32) {
        *self = Block { skip, ..Block::default() };
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Pacer {
    cap: Option<f64>,
    policy: Policy,
    /// Of a lane, at most; 0: not known, and nothing is tried.
    threads: u32,
    /// In thousandths, at most.
    duty: u32,
    draw: Draw,
    account: Account,
    speeds: Speeds,
    lanes: BTreeMap<LaneId, Lane>,
    block: Block,
    trial: Option<Trial>,
    /// Most that was drawn above the base in a sample since lanes began to work (W).
    peak: Option<f64>,
    /// The account's level, without the ups and downs of single steps.
    debt: f64,
    /// Up to when the draw is in the account.
    counted: Time,
    unreachable: bool,
    /// Since when that is no longer so.
    otherwise: Option<Time>,
}

impl Pacer {
    pub(super) fn new(bounds: &Bounds) -> Pacer {
        let mut pacer = Pacer {
            cap: None,
            policy: Policy::default(),
            threads: 0,
            duty: 1000,
            draw: Draw::new(),
            account: Account::default(),
            speeds: Speeds::default(),
            lanes: BTreeMap::new(),
            block: Block::default(),
            trial: None,
            peak: None,
            debt: 0.0,
            counted: Time::ZERO,
            unreachable: false,
            otherwise: None,
        };
        pacer.bound(bounds);
        pacer
    }

    pub(super) fn bound(&mut self, bounds: &Bounds) {
        self.cap = bounds.cap.map(Microwatts::as_f64);
        self.policy = bounds.policy;
        self.threads = bounds.threads;
        self.duty = bounds.duty.clamp(1, 1000);
    }

    pub(super) fn state(&self) -> PowerState {
        PowerState {
            cap: self.cap.map(Microwatts::from_f64),
            mean: self.account.mean().map(Microwatts::from_f64),
            base: self.draw.base().map(Microwatts::from_f64),
            unreachable: self.unreachable,
        }
    }

    /// The threads that this lane works with; `None` where that is as many as it has, or nothing is known of it.
    pub(super) fn threads(&self, lane: LaneId) -> Option<u32> {
        self.lanes.get(&lane).map(|lane| lane.threads).filter(|threads| *threads < u32::MAX)
    }

    pub(super) fn progress(&mut self, lane: LaneId, done: &Progress) {
        if let Some(lane) = self.lanes.get_mut(&lane) {
            lane.told.join(done);
        }
    }

    /// So much was drawn on average, for so long, until now.
    pub(super) fn power(&mut self, draw: Microwatts, span: Duration, now: Time) {
        let (draw, span) = (draw.as_f64(), span.as_secs_f64());
        if span <= 0.0 {
            return;
        }
        self.account.add(draw, span, self.target(), now);
        self.debt += (span / self.cycle().max(0.1)).min(1.0) * (self.account.level() - self.debt);
        self.counted = now;
        let skipped = self.block.skip > 0;
        if self.block.skip < SETTLE && self.lanes.values().any(|lane| lane.busy) {
            let above = self.draw.base().map(|base| draw - base);
            self.peak = above.map(|above| above.max(self.peak.unwrap_or(above)));
        }
        let mut work = BTreeMap::new();
        for (id, lane) in &mut self.lanes {
            let done = std::mem::take(&mut lane.told);
            lane.note(&done);
            if done.steps() > 0 {
                work.insert(*id, done);
            }
        }
        if skipped {
            self.block.skip -= 1;
            self.block.before = Some(self.shares(&work, span));
            return;
        }
        for (id, done) in work {
            self.block.work.entry(id).or_default().join(&done);
        }
        self.block.span += span;
        self.block.joules += draw * span;
        self.close(now);
    }

    /// In which share of the time which work was computed.
    fn shares(&self, work: &BTreeMap<LaneId, Progress>, span: f64) -> Vec<(Key, f64)> {
        let mut shares = Vec::new();
        for (lane, work) in work.iter().filter_map(|(id, work)| Some((self.lanes.get(id)?, work))) {
            // A step that began before the block is counted whole.
            let span = span.max(work.seconds());
            for (phase, work) in work.phases().into_iter().filter(|(_, work)| work.steps > 0) {
                shares.push((lane.key(phase), work.time.as_secs_f64() / span));
            }
        }
        shares
    }

    /// What the draw is kept at.
    fn target(&self) -> Option<f64> {
        self.cap.map(|cap| cap * (1.0 - MARGIN))
    }

    /// Seconds from a step to the next of the slowest lane.
    fn cycle(&self) -> f64 {
        self.lanes.values().filter(|lane| lane.busy).map(Lane::cycle).fold(0.0, f64::max)
    }

    /// Learns from the block, once it is long enough: a step is told when it ends, so that a short block would take the
    /// draw of a step for another's.
    fn close(&mut self, now: Time) {
        let cycle = self.cycle();
        let told = |id: &LaneId| self.block.work.get(id).is_some_and(|work| work.steps() >= 2);
        let complete = self.lanes.iter().filter(|(_, lane)| lane.busy).all(|(id, _)| told(id));
        let span = self.block.span;
        if span < BLOCK.max(3.0 * cycle) {
            return;
        }
        if !complete {
            if span < (12.0 * cycle).max(2.0) {
                return;
            }
            // Between long pauses there may be no step at all. Else a long one goes on, and nobody knows since when.
            if self.lanes.values().any(|lane| lane.busy && (lane.sent.duty > 100 || lane.step == 0.0)) {
                self.block.restart(0);
                return;
            }
        }
        let block = std::mem::take(&mut self.block);
        let shares = self.shares(&block.work, span);
        let full = |key: &Key| self.draw.watts(*key).unwrap_or(0.0);
        // A step is told when it ends: one at either end of the block is counted whole or not at all.
        let longest = |key: &Key| {
            let lane = self.lanes.values().find(|lane| lane.site == key.site);
            lane.map_or(0.0, |lane| lane.longest)
        };
        let mut blur: f64 =
            shares.iter().map(|(key, share)| 0.5 * (longest(key) / span).min(1.0) * full(key) * share.max(0.2)).sum();
        let mut seen = shares.clone();
        if let Some(before) = block.before.filter(|_| span < 0.3) {
            for (key, share) in &mut seen {
                let late = before.iter().find(|(k, _)| k == key).map_or(0.0, |(_, share)| *share);
                blur += 0.5 * (*share - late).abs() * full(key);
                *share = (*share + late) / 2.0;
            }
        }
        self.draw.learn(&Sample { shares: &seen, draw: block.joules / span, span, blur });
        for (id, work) in &block.work {
            let Some(lane) = self.lanes.get(id) else { continue };
            let usual = self.trial.as_ref().is_none_or(|trial| trial.lane != *id);
            for (phase, work) in work.phases() {
                self.speeds.learn(lane.key(phase), work.tokens, work.time.as_secs_f64(), usual);
            }
        }
        self.block.before = Some(shares);
        self.judge(&block.work, span, now);
    }
}

/// What lanes are told.
impl Pacer {
    /// Says to each lane with work how to work, where that changed. `lanes`: those that take requests, whether they have
    /// one, and the threads for prompts and for answers where those are known that are best.
    pub(super) fn settle(
        &mut self,
        lanes: impl Iterator<Item = (LaneId, Site, bool, Option<(u32, u32)>)>,
        now: Time,
        out: &mut Vec<Action>,
    ) {
        self.meet(lanes, now);
        let duty = self.share(now);
        for id in self.lanes.iter().filter(|(_, lane)| lane.busy).map(|(id, _)| *id).collect::<Vec<_>>() {
            let chunk = self.chunk(id);
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            let prompt_threads = lane.prompt_threads.unwrap_or(lane.threads);
            let pace = Pace { threads: lane.threads, prompt_threads, duty, chunk };
            // Small changes of the duty are not worth a message; their sum is.
            let near = pace.duty.abs_diff(lane.sent.duty) <= (lane.sent.duty / 64).max(2) && pace.duty < self.duty;
            if pace != lane.sent && !(near && Pace { duty: lane.sent.duty, ..pace } == lane.sent) {
                lane.sent = pace;
                out.push(Action::Pace { lane: id, pace });
            }
        }
    }

    /// Notes who comes, goes, begins and ends.
    fn meet(&mut self, lanes: impl Iterator<Item = (LaneId, Site, bool, Option<(u32, u32)>)>, now: Time) {
        let lanes: BTreeMap<_, _> = lanes.map(|(id, site, busy, best)| (id, (site, busy, best))).collect();
        let idle = self.lanes.values().all(|lane| !lane.busy);
        let mut changed = self.lanes.iter().any(|(id, lane)| lane.busy && !lanes.contains_key(id));
        self.lanes.retain(|id, _| lanes.contains_key(id));
        let most = self.most();
        for (id, (site, busy, best)) in lanes {
            let lane = self.lanes.entry(id).or_insert_with(|| Lane {
                site,
                busy: false,
                threads: most,
                prompt_threads: None,
                sent: Pace { threads: most, prompt_threads: most, duty: 1000, chunk: ANY_CHUNK },
                told: Progress::default(),
                prompts: 1.0,
                usual_prompts: 0.0,
                main: Phase::Decode,
                step: 0.0,
                longest: 0.0,
            });
            let best = best.map(|(prompts, answers)| (prompts.min(most), answers.min(most)));
            let threads = match best {
                Some((_, answers)) => answers,
                // It is free again: what is best is found from the most down.
                None if lane.prompt_threads.is_some() => most,
                None => lane.threads,
            };
            if busy && (threads, best.map(|(prompts, _)| prompts)) != (lane.threads, lane.prompt_threads) {
                lane.threads = threads;
                lane.prompt_threads = best.map(|(prompts, _)| prompts);
                changed = true;
            }
            if lane.busy != busy {
                lane.busy = busy;
                changed = true;
                // What was told before says nothing of what comes, and that begins with a prompt.
                lane.told = Progress::default();
                lane.prompts = 1.0;
            }
        }
        if changed {
            if idle {
                // Nothing is measured while nothing runs.
                let draw = self.draw.base().unwrap_or(0.0);
                self.account.flow(draw, now.since(self.counted).as_secs_f64(), self.target());
                self.debt = self.account.level();
                self.peak = None;
                self.counted = now;
            }
            self.block.restart(SETTLE);
        }
    }

    /// The share of the time in which lanes compute, in thousandths.
    fn share(&mut self, now: Time) -> u32 {
        let Some(target) = self.target() else {
            self.note_reach(true, now);
            return self.duty;
        };
        let busy = || self.lanes.values().filter(|lane| lane.busy);
        let step = busy().map(|lane| lane.step).fold(0.0, f64::max);
        let watts: Option<f64> = busy().map(|lane| self.watts(lane)).sum();
        // Long before its first block is complete, a slow lane shows what it draws.
        let watts = watts.or(self.peak.filter(|peak| *peak > 0.0));
        let (Some(base), Some(watts)) = (self.draw.base(), watts) else { return self.duty.min(DUTY_FIRST) };
        if busy().next().is_none() {
            return self.duty;
        }
        let floor = f64::from(FLOOR) / 1000.0;
        self.note_reach(target - base >= floor * watts, now);
        let repay = self.debt / REPAY.max(6.0 * step);
        let rest = target - base - repay.clamp(-0.05 * target, 0.5 * target);
        let share = rest / watts.max(1e-9);
        // `as` saturates.
        ((share * 1000.0) as u32).clamp(FLOOR, 1000).min(self.duty)
    }

    fn note_reach(&mut self, reachable: bool, now: Time) {
        if reachable != self.unreachable {
            self.otherwise = None;
        } else if now.since(*self.otherwise.get_or_insert(now)) >= UNREACHABLE {
            self.unreachable = !reachable;
            self.otherwise = None;
        }
    }

    /// The largest piece of a prompt that this lane may compute in one go.
    fn chunk(&self, id: LaneId) -> u32 {
        let (Some(target), Some(lane)) = (self.target(), self.lanes.get(&id)) else { return ANY_CHUNK };
        let key = lane.key(Phase::Prefill);
        let busy = self.lanes.values().filter(|lane| lane.busy);
        let full: Option<f64> = busy.map(|lane| self.draw.watts(lane.key(Phase::Prefill))).sum();
        if self.draw.base().zip(full).is_some_and(|(base, full)| base + full < 0.97 * target) {
            return ANY_CHUNK;
        }
        // Prompts are bound by computing: their speed grows with the threads.
        let scaled = |(n, speed): (u32, &speeds::Speed)| speed.rate * f64::from(key.threads) / f64::from(n.max(1));
        let guess = || self.speeds.known(key.site, Phase::Prefill).next().map(scaled);
        let wanted = match self.speeds.get(key).map(|speed| speed.rate).or_else(guess) {
            Some(rate) => ((rate * CHUNK_TIME) as u32).max(CHUNK_MIN),
            None => CHUNK_FIRST,
        };
        // A little more or less is not worth a message.
        let near = lane.sent.chunk != ANY_CHUNK && wanted.abs_diff(lane.sent.chunk) <= lane.sent.chunk / 3;
        if near {
            lane.sent.chunk
        } else {
            wanted
        }
    }
}
