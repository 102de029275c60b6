//! A lane as it is for one request: what its prompt and its answer would take there, what bringing it up and keeping it
//! costs, who else computes there, and how long it has to wait.
//!
//! All from the profiles, linear pieces only. Joules are those that the device would not draw without the request:
//! - Joining a running batch costs the margin of each step and not a step, as long as the others are thought to run.
//! - A lane that has to be brought up costs the part of that which is this request's (see `hold`), and one that is up
//!   costs nothing for that: it was paid for.
//! - A cap makes a lane pause, so that it takes longer and not more.
//!
//! It decides nothing and changes nothing; `cost` puts plans together from it. What always holds: every figure is finite
//! and not negative.

use super::lanes::{Lane, Stage};
use super::pace::PowerState;
use super::profile::{within, Cost, Profile};
use super::{Arrival, Class, Policy, Sched, Site};
use crate::clock::Time;
use crate::units::Microwatts;

/// Slots of a lane that is not up yet.
const SLOTS: f64 = 4.0;
/// A lane that is not there can be idle for so long, where nothing limits it.
const FOR_EVER: f64 = 1e9;
/// A step's margin is at least this share of an equal part of it.
const MARGIN: f64 = 0.1;
/// A lane that costs nothing to keep comes up once for all that follow: what one request bears of that.
const FREE: f64 = 0.2;
/// Whether a lane that has to go is needed again, nobody knows.
const AS_LIKELY: f64 = 0.5;
/// No wait is thought to be longer, in seconds: what cannot be known is no reason to reckon with centuries.
pub(super) const LONGEST: f64 = 1e7;

/// What a request asks of a lane.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) arrival: &'a Arrival,
    /// Tokens of the answer: on average, and of nearly every one.
    pub(super) mean: f64,
    pub(super) most: f64,
    pub(super) policy: Policy,
    /// It is there already: its answer is thought to be computed here.
    pub(super) bound: Option<Site>,
    /// It stands first in the line here.
    pub(super) first: Option<Site>,
}

/// Why a site takes no request now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    /// It failed too often.
    Resting,
}

/// A site as it is for one request.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) site: Site,
    pub(super) closed: Option<Closed>,
    pub(super) own: Option<&'a Profile>,
    pub(super) prior: Option<Profile>,
    /// Threads of the prompt, and of the answer.
    pub(super) threads: (u32, u32),
    /// Tokens of the prompt that are to be computed, and those that the cache has.
    pub(super) prompt: u32,
    pub(super) cached: u32,
    /// Seconds until a slot is free once it is up, and until it is up.
    pub(super) wait: f64,
    pub(super) wake: f64,
    /// Joules: this request's part, all of it, and for keeping it.
    pub(super) wake_part: f64,
    pub(super) wake_full: f64,
    pub(super) hold: f64,
    /// Joules of keeping it for a later request, whether it is up or not.
    pub(super) kept: f64,
    /// Joules to bring it up, were it not, and watts to keep it.
    pub(super) wake_cost: f64,
    pub(super) hold_watts: f64,
    /// Answers that would be computed beside it, and for how long.
    pub(super) beside: f64,
    pub(super) for_seconds: f64,
    /// So many may come along with it, and so many would compute together were all of them here.
    pub(super) excess: f64,
    pub(super) crowd: f64,
    pub(super) slots: f64,
    /// Other lanes compute for so long, and draw so many watts.
    pub(super) company: f64,
    pub(super) company_watts: f64,
    /// How likely the lane is still up when the next request comes.
    pub(super) stays: f64,
    /// How likely it is that the next one comes before this one is gone.
    pub(super) overlaps: f64,
    pub(super) up: bool,
    /// Bytes that it takes if it has to be brought up.
    pub(super) memory: u64,
    /// What is left to draw (W), and the share of time.
    pub(super) leaves: f64,
    pub(super) duty: f64,
}

impl Place<'_> {
    pub(super) fn profile<T>(&self, of: impl Fn(&Profile) -> Option<T>) -> Option<T> {
        self.own.and_then(&of).or_else(|| self.prior.as_ref().and_then(&of))
    }

    pub(super) fn is_measured(&self) -> bool {
        self.own.is_some_and(Profile::is_measured)
    }

    /// How much longer something takes that draws this.
    pub(super) fn slower(&self, cost: Cost) -> f64 {
        let watts = cost.joules / cost.seconds.max(1e-9);
        within(watts / self.leaves, 1.0, 50.0).max(1.0 / self.duty)
    }

    pub(super) fn prompt(&self) -> Cost {
        let cost =
            self.profile(|profile| profile.prefill(self.threads.0, self.prompt, self.cached)).unwrap_or_default();
        Cost { seconds: cost.seconds * self.slower(cost), ..cost }
    }

    /// An answer of so many tokens behind so many cells.
    pub(super) fn answer(&self, tokens: f64, context: f64) -> (Cost, Cost) {
        let context = context + tokens / 2.0;
        let step =
            |batch: f64| self.profile(|profile| profile.step(self.threads.1, batch, context)).unwrap_or_default();
        let alone = step(1.0);
        let slower = self.slower(alone);
        let alone = Cost { seconds: alone.seconds * slower, ..alone };
        if self.beside + 1.0 > self.slots || self.beside + self.excess >= self.slots {
            // Its slot would not stay empty without it: each pays its part of full steps.
            let full = step(self.slots);
            let part = Cost { seconds: full.seconds * slower, joules: full.joules / self.slots };
            return (part.times(tokens), part);
        }
        if self.excess > 0.0 {
            let all = (self.beside + self.excess + 1.0).min(self.slots);
            let (with, without) = (step(all), if self.beside > 0.0 { step(self.beside).joules } else { 0.0 });
            let joules = (with.joules - without).max(0.0) / (all - self.beside);
            let part = Cost { seconds: with.seconds * slower, joules };
            return (part.times(tokens), part);
        }
        if self.beside <= 0.0 {
            return (alone.times(tokens), alone);
        }
        let (with, without) = (step(self.beside + 1.0), step(self.beside));
        let seconds = with.seconds * slower;
        let margin = (with.joules - without.joules).max(MARGIN * with.joules / (self.beside + 1.0));
        let beside = (self.for_seconds / seconds.max(1e-9)).min(tokens);
        let rest = tokens - beside;
        let cost =
            Cost { seconds: beside * seconds + rest * alone.seconds, joules: beside * margin + rest * alone.joules };
        (cost, alone)
    }

    /// Joules of an answer among all who may come along.
    pub(super) fn in_crowd(&self, tokens: f64, context: f64) -> f64 {
        let step = self.profile(|profile| profile.step(self.threads.1, self.crowd, context + tokens / 2.0));
        step.unwrap_or_default().joules / self.crowd * tokens
    }

    /// Of a crowd's prompts elsewhere and answers here, joules of each for the time in which both are computed.
    pub(super) fn clash(&self, prefill: Cost, decode: Cost) -> f64 {
        let step = decode.seconds / self.crowd;
        let watts = |joules: f64, seconds: f64| joules / seconds.max(1e-9);
        let together = prefill.seconds.min(step);
        together * (watts(prefill.joules, prefill.seconds) + watts(decode.joules, step)) * (1.0 - 1.0 / self.crowd)
    }

    /// What costs this, while other lanes compute for so long: it takes longer, and so does what they do, for which `among` many
    /// are to blame that are computed here together.
    pub(super) fn beside(&self, cost: Cost, company: f64, contention: f64, among: f64) -> Cost {
        let together = company.min(cost.seconds);
        if together <= 0.0 || contention <= 0.0 {
            return cost;
        }
        let more = contention * together;
        let joules = cost.joules * (1.0 + more / cost.seconds) + more * self.company_watts / among;
        Cost { seconds: cost.seconds + more, joules }
    }

    /// What it takes to compute the answer here of a request whose prompt was computed elsewhere: whether it would be too
    /// late, and its score by the policy.
    pub(super) fn goes_on(&self, ask: &Ask, now: Time) -> (bool, f64) {
        let (answer, _) = self.answer(ask.mean, f64::from(ask.arrival.prompt));
        let joules = answer.joules + self.there(answer.seconds) + self.wake_part + self.hold;
        let seconds = self.wait + self.wake + answer.seconds;
        let late = ask.arrival.deadline.is_some_and(|deadline| deadline.since(now).as_secs_f64() < seconds);
        let score = match ask.policy {
            Policy::MinEnergy => joules,
            Policy::Balanced => joules * seconds,
            Policy::MaxThroughput => seconds,
        };
        (late, score)
    }

    /// Answers that are thought to be computed together, with this one.
    pub(super) fn together(&self) -> f64 {
        (self.beside + self.excess + 1.0).min(self.slots.max(1.0))
    }

    /// Joules for the lane being there so long longer, which it would be in any case where it is kept until the next
    /// request comes; who runs beside it bears a part.
    pub(super) fn there(&self, seconds: f64) -> f64 {
        let waits = (self.stays - self.overlaps).max(0.0);
        (1.0 - waits) * self.hold_watts * seconds / self.together()
    }

    /// Joules for a later request to have the lane there, which may have to be brought up for it.
    pub(super) fn comes(&self) -> f64 {
        (1.0 - self.stays) * self.wake_cost + self.kept
    }

    /// Joules of the prompt were so many cells of it held, or as many as are.
    pub(super) fn behind(&self, held: u32) -> f64 {
        let more = held.saturating_sub(self.cached).min(self.prompt - 1);
        let cost = self.profile(|profile| profile.prefill(self.threads.0, self.prompt - more, self.cached + more));
        cost.unwrap_or_default().joules
    }

    /// Joules of computing anew what the lane holds of the prompt.
    pub(super) fn holds(&self) -> f64 {
        if self.cached == 0 {
            return 0.0;
        }
        self.cells(self.cached)
    }

    /// Joules of computing so many cells, and no more.
    pub(super) fn cells(&self, cells: u32) -> f64 {
        self.profile(|profile| profile.prefill(self.threads.0, cells, 0)).unwrap_or_default().joules
    }

    /// Cells of the request's prompt that the lane holds.
    pub(super) fn held(&self) -> u32 {
        self.cached
    }

    pub(super) fn doubt(&self, context: f64) -> (f64, f64) {
        let of = |profile: &Profile| profile.doubt(self.threads, self.prompt, self.cached, context);
        match (self.own, &self.prior) {
            (Some(profile), None) => of(profile),
            (_, Some(prior)) => of(prior),
            _ => (1.0, 1.0),
        }
    }
}

impl Sched {
    /// The site as it is for this request. `haste`: with the fastest numbers of threads, and not with the best ones by the
    /// policy.
    pub(super) fn place<'a>(&'a self, ask: &Ask, site: Site, haste: bool) -> Place<'a> {
        let arrival = ask.arrival;
        let own = self.known.measured(site);
        let prior = if own.is_some_and(Profile::is_measured) { None } else { Some(self.known.prior(site)) };
        let entry = self.lanes.get(site);
        let lane = entry.and_then(|entry| entry.lane.as_ref());
        let load = self.known.load(site);
        let since = |time: Time| self.now.since(time).as_secs_f64();
        let after = entry.map_or(0.0, |entry| entry.not_before.since(self.now).as_secs_f64());
        let pushed = self.pushes_out(site);
        let draining = lane.is_some_and(|lane| lane.drain.is_some_and(|drain| drain.asked));
        let (wake, up) = match lane.map(|lane| lane.stage) {
            Some(Stage::Ready { .. }) if !draining => (0.0, true),
            Some(Stage::Loading) => ((load.seconds - lane.map_or(0.0, |lane| since(lane.used))).max(0.0), true),
            _ => (load.seconds + after, false),
        };
        let hold = self.known.hold(site);
        let keep = (!up || hold > 0.0).then(|| self.known.keep(site, self.longest_idle(site)));
        let limit = self.longest_idle(site);
        let stays = match keep {
            Some(keep) if hold > 0.0 => keep.stays,
            _ if limit < FOR_EVER => self.known.comes_within(site.variant, limit),
            _ => 1.0,
        };
        let kept = keep.map_or(0.0, |keep| keep.hold);
        let keep = keep.filter(|_| !up);
        let slots = entry.and_then(|entry| entry.slots).map_or(SLOTS, f64::from);
        let running = lane.map_or(0, |lane| lane.running.len()) as f64;
        let left = |id: &crate::lane::RequestId| {
            self.requests.get(id).map_or(0.0, |request| request.until.since(self.now).as_secs_f64())
        };
        let ends = lane.into_iter().flat_map(|lane| lane.running.iter().map(left));
        let (first, sum) = ends.fold((LONGEST, 0.0), |(first, sum), left| (left.min(first), sum + left));
        let line = match ask.first == Some(site) {
            true => 0.0,
            false => self.queue.work(site, arrival.class).as_secs_f64(),
        };
        let free = if running >= slots { first } else { 0.0 };
        // Others hold the memory, and are not thought to go before they have done their work.
        let memory = entry.is_some_and(|entry| entry.tight && entry.lane.is_none()) && !self.room_comes();
        let wait = if line > 0.0 || running >= slots { (free + line / slots).min(LONGEST) } else { 0.0 };
        let wait = if memory { wait + self.company(site, |_| true).0 } else { wait };
        // Whose answer is computed here, or will be, whatever is decided now; and who may still come along.
        let beside = self.settled_at(site);
        let elsewhere: f64 =
            self.known.places(site.variant).filter(|other| *other != site).map(|other| self.settled_at(other)).sum();
        let others = self.known.others(site.variant, ask.bound.is_some());
        let excess = (others - beside - elsewhere).max(0.0);
        let together = (beside + excess + 1.0).min(slots.max(1.0));
        // Who is on the way here stays about as long.
        let for_seconds = if beside > running || line > 0.0 { LONGEST } else { sum / running.max(1.0) };
        // Lanes that cannot be there together do not disturb one another.
        let (company, company_watts) = self.company(site, |other| !self.lanes.are_apart(site, other));
        let closed = entry.filter(|entry| entry.quarantine(self.now).is_some()).map(|_| Closed::Resting);
        let cached = arrival.cached.iter().find(|(other, _)| *other == site).map_or(0, |(_, cells)| *cells);
        let cached = cached.min(arrival.prompt.saturating_sub(1));
        let prompt = arrival.prompt.saturating_sub(cached).max(1);
        let PowerState { cap, base, .. } = self.pacer.state();
        let leaves = cap.map_or(f64::INFINITY, |cap| (cap.as_f64() - base.map_or(0.0, Microwatts::as_f64)).max(0.05));
        Place {
            site,
            closed,
            own,
            prior,
            threads: self.threads(ask, site, haste, together),
            prompt,
            cached,
            wait,
            wake,
            wake_part: match keep {
                // Whoever needs that one next pays for it again.
                Some(_) if pushed > 0.0 => (self.known.rental(site) + AS_LIKELY * pushed) / (excess + 1.0),
                // Others bring it up as well, as far as it is worth it to them.
                Some(keep) if hold > 0.0 => {
                    let left = load.joules - excess * self.known.saves_others(site).unwrap_or(1e9);
                    keep.wake.min(left.max(load.joules / (excess + 1.0)))
                }
                Some(keep) => FREE * keep.wake,
                None => 0.0,
            },
            wake_full: if up { 0.0 } else { load.joules },
            hold: keep.map_or(0.0, |keep| keep.hold) / (excess + 1.0),
            kept,
            wake_cost: load.joules,
            hold_watts: hold,
            beside,
            for_seconds,
            excess,
            crowd: (others + 1.0).min(slots.max(1.0)),
            slots,
            company,
            company_watts,
            stays,
            overlaps: self.known.overlaps(site.variant),
            up,
            memory: if up { 0 } else { self.known.memory(site) },
            leaves,
            duty: f64::from(self.limits.duty.clamp(1, 1000)) / 1000.0,
        }
    }

    /// Requests whose answer is computed here, or will be though their prompt is elsewhere.
    fn settled_at(&self, site: Site) -> f64 {
        let Some(entry) = self.lanes.get(site) else { return 0.0 };
        let stays =
            |id: &&crate::lane::RequestId| self.requests.get(id).is_some_and(|request| request.plan.decode == site);
        let running = entry.lane.iter().flat_map(|lane| &lane.running).filter(stays).count();
        (running + entry.inbound.len()) as f64
    }

    /// Joules that it takes to bring those lanes up again that have to go for one here.
    fn pushes_out(&self, site: Site) -> f64 {
        let goes = |(other, lane): &(Site, &Lane)| lane.stage != Stage::Stopping && self.lanes.are_apart(site, *other);
        self.lanes.iter().filter(goes).map(|(other, _)| self.known.load(other).joules.max(1e-9)).sum()
    }

    /// Threads of prompt and answer of a request there. Without a cap and by a profile they are the best by the policy;
    /// else those that the pacer finds.
    fn threads(&self, ask: &Ask, site: Site, haste: bool, batch: f64) -> (u32, u32) {
        let own = self.known.measured(site);
        let policy = if haste { Policy::MaxThroughput } else { ask.policy };
        if let Some(profile) =
            own.filter(|_| site.device.is_cpu() && self.effective_cap().is_none() && !self.is_full(policy))
        {
            let found = profile.prompt_threads(policy);
            let (answers, most) = (profile.answer_threads(policy, batch), self.limits.threads);
            if let (Some(prompts), Some(answers)) = (found, answers) {
                let within = |n: u32| if most > 0 { n.min(most) } else { n };
                return (within(prompts), within(answers));
            }
        }
        let lane = self.lanes.get(site).and_then(|entry| entry.lane.as_ref());
        let paced = lane.and_then(|lane| self.pacer.threads(lane.id));
        let threads = paced.or(own.and_then(Profile::usual_threads)).unwrap_or(self.limits.threads);
        (threads, threads)
    }

    /// Whether lanes work as they are configured, whatever is known of other numbers of threads.
    fn is_full(&self, policy: Policy) -> bool {
        policy == Policy::MaxThroughput && self.policy() == Policy::MaxThroughput
    }

    /// How long those of the other lanes are thought to compute, and what they draw meanwhile.
    fn company(&self, site: Site, those: impl Fn(Site) -> bool) -> (f64, f64) {
        let others = self.lanes.iter().filter(|(other, lane)| *other != site && !lane.running.is_empty());
        let others = others.filter(|(other, _)| those(*other));
        let of = |(other, lane): (Site, &Lane)| {
            let left = lane.running.iter().filter_map(|id| self.requests.get(id));
            let left = left.map(|request| request.until.since(self.now).as_secs_f64()).fold(0.0, f64::max);
            let line = self.queue.work(other, Class::Background).as_secs_f64() / SLOTS;
            let step = self.known.measured(other).and_then(|profile| profile.step(0, 1.0, 0.0));
            (left + line, step.map_or(0.0, |step| step.joules / step.seconds.max(1e-9)))
        };
        others.map(of).fold((0.0, 0.0), |sum, other| (other.0.max(sum.0), other.1 + sum.1))
    }

    /// Seconds that an idle lane there may be kept at most, by the configuration.
    pub(super) fn longest_idle(&self, site: Site) -> f64 {
        let configured = self.lanes.get(site).map_or(self.limits.idle_unload, |entry| entry.configured(&self.limits));
        configured.map_or(FOR_EVER, |limit| limit.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::{RequestId, Tenant};
    use crate::sched::{Limits, VariantId};

    fn with(test: impl Fn(Place)) {
        let (sched, arrival) = (Sched::new(Limits::default()), Arrival::new(RequestId(1), Tenant(1), VariantId(0)));
        let ask =
            Ask { arrival: &arrival, mean: 10.0, most: 20.0, policy: Policy::MinEnergy, bound: None, first: None };
        test(sched.place(&ask, Site::cpu(VariantId(0)), false));
    }

    #[test]
    fn a_slot_that_others_would_fill_costs_a_part_of_a_full_step() {
        let joules = |beside: f64, excess: f64| {
            let found = std::cell::Cell::new(0.0);
            with(|place| {
                let place = Place { beside, excess, for_seconds: LONGEST, ..place };
                found.set(place.answer(10.0, 100.0).0.joules);
            });
            found.get()
        };
        let (full, margin) = (joules(SLOTS, 0.0), joules(1.0, 0.0));
        assert!(margin < 0.9 * full, "{margin} {full}");
        assert_eq!(joules(1.0, 5.0), full, "the others are there");
        assert_eq!(joules(0.0, 5.0), full, "and so they are on a lane that is empty");
    }

    #[test]
    fn who_computes_together_bears_together_what_that_costs_other_lanes() {
        with(|place| {
            let place = Place { company_watts: 10.0, ..place };
            let joules = |among| place.beside(Cost { seconds: 10.0, joules: 20.0 }, 10.0, 0.2, among).joules;
            assert!((joules(1.0) - 44.0).abs() < 1e-9 && (joules(4.0) - 29.0).abs() < 1e-9);
        });
    }
}
