//! Which plan a request runs by: every plan that is possible is reckoned, those that break a constraint are left out, and
//! the best by the policy is taken.
//!
//! Plans are the variants that the request allows, on each device that can have them, and, where a variant can be on
//! several, with the prompt on one and the answer on another. Constraints are the backend, the deadline, the first
//! token, and the joules. Lesser variants, and then a shorter answer, come in only where nothing else keeps them and the
//! request allows it; where nothing at all does, the plan that comes nearest runs.
//!
//! *Exploring.* A plan that is worse by what is known, but might be better by what is not, is tried now and then: what
//! that takes beyond the best plan stays within a share of all joules (see `known`). What is known to be worse is measured
//! again as well, seldom: it may have changed. Nothing is explored with a request that has no time to lose.
//!
//! What always holds: equal states give equal choices; a plan's sites are usable, and none is chosen that takes no
//! requests while another does.

use super::cost::{outlook, Between, Outlook};
use super::hold::Saving;
use super::lanes::Entry;
use super::place::{Ask, Closed, Place};
use super::planning::Lost;
use super::{Arrival, Backend, Candidate, Choice, Forecast, Plan, Policy, Reason, Sched, Site, VariantId};
use crate::error::{Code, Error};

/// Plans as good as this are equal: the second criterion decides.
const EQUAL: f64 = 1.005;
/// A request that waits stays where it is unless another plan is this much better.
const MOVE: f64 = 1.05;
/// Of the time that is left a plan may fill this share: forecasts are not that good.
const SLACK: f64 = 0.9;
const SLACK_UNMEASURED: f64 = 0.7;
/// Where no plan keeps what was asked for, plans that come this near to the nearest are as good.
const NEAR: f64 = 1.05;
const NEAR_TTFT: f64 = 2.5;
/// A lane is explored with a request that leaves it this many times the time it is thought to need.
const LEISURE: f64 = 3.0;
/// A lane of which something elsewhere says that it may have changed is doubted by this share.
const STALE: f64 = 0.35;
/// What is known better than this needs no exploring.
const DOUBT: f64 = 0.15;
/// Shares below which exploring is not worth a try: its outcome would hardly matter.
const WORTH: f64 = 0.98;
/// An answer of fewer tokens says nothing of what answers take: the first one comes with the prompt.
const LESSON: u32 = 2;
/// An answer that is cut shorter than this is none.
const SHORTEST: f64 = 8.0;

/// A choice and what follows from having looked.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) choice: Choice,
    /// It is to explore; the best plan would take so many joules.
    pub(super) instead: Option<f64>,
    /// Its score, and all that was looked at.
    score: f64,
    all: Vec<Outlook>,
    /// Threads of its prompt and of its answer.
    pub(super) threads: (u32, u32),
    /// What each site would save.
    pub(super) savings: Vec<(Site, Saving)>,
}

/// How a plan breaks what a request asks for: by which factor at most.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Broken {
    deadline: f64,
    ttft: f64,
    joules: f64,
}

impl Broken {
    pub(super) fn reason(&self) -> Option<Reason> {
        match () {
            () if self.deadline > 1.0 => Some(Reason::Deadline),
            () if self.ttft > 1.0 => Some(Reason::Ttft),
            () if self.joules > 1.0 => Some(Reason::Joules),
            () => None,
        }
    }

    fn worst(&self) -> f64 {
        self.deadline.max(self.ttft).max(self.joules)
    }
}

impl Sched {
    /// How a request would run if it came now, or why it would not. Nothing changes by asking.
    ///
    /// # Errors
    /// No device may run it.
    pub fn estimate(&self, arrival: &Arrival) -> Result<Choice, Error> {
        self.choose(arrival, Lost::Nothing).map(|chosen| chosen.choice)
    }

    /// The plans that a request could run by if it came now and that take requests, but for this one: best first by the
    /// policy.
    pub fn alternatives(&self, arrival: &Arrival, but: Plan) -> Vec<(Plan, Forecast)> {
        let length = self.known.length(arrival);
        let policy = arrival.policy.unwrap_or(self.policy());
        let ask = Ask { arrival, mean: length.mean, most: length.most, policy, bound: None, first: None };
        let candidates: Vec<Candidate> =
            arrival.variants.iter().filter(|c| !c.lesser || arrival.degrade).copied().collect();
        let mut all = self.outlooks(&ask, &candidates, &[]);
        all.retain(|o| o.closed.is_none() && o.plan != but);
        all.sort_by(|a, b| a.score(policy).0.total_cmp(&b.score(policy).0));
        let mut plans: Vec<(Plan, Forecast)> = Vec::new();
        for o in all {
            // The same with other threads is not another plan to its reader.
            if plans.iter().all(|(plan, _)| *plan != o.plan) {
                plans.push((o.plan, o.forecast()));
            }
        }
        plans
    }

    /// How this request runs. What it `lost` is taken only where there is nothing else.
    pub(super) fn choose(&self, arrival: &Arrival, lost: Lost) -> Result<Chosen, Error> {
        let bound = self.requests.get(&arrival.id).filter(|r| r.planned).map(|request| request.plan.decode);
        let ask = self.ask(arrival, bound);
        let (full, lesser): (Vec<Candidate>, Vec<Candidate>) = arrival.variants.iter().partition(|c| !c.lesser);
        let mut all = self.outlooks(&ask, &full, lost.sites());
        let breaks = |o: &Outlook| self.broken(&ask, o).reason().is_some();
        let hopeless = |all: &[Outlook]| all.iter().all(|o| o.closed.is_some() || breaks(o));
        let mut degraded = false;
        if !lesser.is_empty() && (full.is_empty() || (arrival.degrade && hopeless(&all))) {
            let more = self.outlooks(&ask, &lesser, lost.sites());
            if all.is_empty() || !hopeless(&more) {
                degraded = true;
                all.extend(more);
            }
        }
        if all.is_empty() {
            return Err(self.nowhere(arrival));
        }
        if arrival.degrade && hopeless(&all) {
            if let Some(chosen) = self.shortened(&ask, &all) {
                return Ok(chosen);
            }
        }
        let mut chosen = self.pick(&ask, &all, lost);
        let lesser = |plan: Plan| lesser.iter().any(|c| c.variant == plan.variant());
        chosen.choice.degraded = degraded && lesser(chosen.choice.plan);
        Ok(chosen)
    }

    /// All plans for these variants.
    fn outlooks(&self, ask: &Ask, candidates: &[Candidate], lost: &[Site]) -> Vec<Outlook> {
        let mut all = Vec::new();
        for candidate in candidates {
            let allowed = |site: &Site| ask.arrival.backend.is_none_or(|backend| backend.allows(site.device));
            let sites = self.known.places(candidate.variant).filter(allowed);
            let mut places: Vec<Place> = sites.map(|site| self.place(ask, site, false)).collect();
            if ask.arrival.deadline.is_some() || ask.arrival.first_token.is_some() {
                // More threads than are good for the policy may be what keeps to the time.
                let fast: Vec<Place> = places.iter().map(|place| self.place(ask, place.site, true)).collect();
                let differs = |(fast, slow): &(Place, (u32, u32))| fast.threads != *slow;
                let slow: Vec<(u32, u32)> = places.iter().map(|place| place.threads).collect();
                places.extend(fast.into_iter().zip(slow).filter(differs).map(|(fast, _)| fast));
            }
            let between = self.between(candidate.variant, ask.arrival);
            let before = all.len();
            for from in &places {
                for to in &places {
                    let trusted = |place: &Place| self.known.measured(place.site).is_some_and(|p| p.is_measured());
                    // A split is worth a thought only where both halves are known.
                    let same = std::ptr::eq(from, to);
                    if same || (from.site != to.site && trusted(from) && trusted(to)) {
                        let apart = self.lanes.are_apart(from.site, to.site);
                        all.push(outlook(ask, from, to, &Between { apart, ..between }));
                    }
                }
            }
            self.credit(ask, &places, &mut all[before..]);
        }
        let touches = |o: &Outlook| lost.iter().any(|site| o.touches(*site));
        if !lost.is_empty() && all.iter().any(|o| !touches(o) && o.closed != Some(Closed::Resting)) {
            all.retain(|o| !touches(o));
        }
        all
    }

    fn between(&self, variant: VariantId, arrival: &Arrival) -> Between {
        let handover = self.known.handover(variant, arrival.prompt);
        Between { handover, contention: self.known.contention(), apart: false }
    }

    pub(super) fn broken(&self, ask: &Ask, o: &Outlook) -> Broken {
        let slack = if o.measured { SLACK } else { SLACK_UNMEASURED };
        let left = |time: crate::clock::Time| (time.since(self.now).as_secs_f64() * slack).max(1e-9);
        let Arrival { deadline, first_token, max_joules, .. } = ask.arrival;
        let joules = o.served() + o.wake_full;
        Broken {
            deadline: deadline.map_or(0.0, |deadline| (o.ttft() + o.most.seconds) / left(deadline)),
            ttft: first_token.map_or(0.0, |first| o.ttft() / left(first)),
            joules: max_joules.map_or(0.0, |most| joules / most.as_f64().max(1e-9)),
        }
    }

    /// The best of these plans; there is one.
    fn pick(&self, ask: &Ask, all: &[Outlook], lost: Lost) -> Chosen {
        let policy = ask.policy;
        let broken: Vec<Broken> = all.iter().map(|o| self.broken(ask, o)).collect();
        let open: Vec<usize> = (0..all.len()).filter(|i| all[*i].closed.is_none()).collect();
        // Where no site takes requests, it is refused by the best.
        let open = if open.is_empty() { (0..all.len()).collect() } else { open };
        let kept: Vec<usize> = open.iter().copied().filter(|i| broken[*i].reason().is_none()).collect();
        let nearest = kept.is_empty();
        // What was never measured is tried, but not believed.
        let known: Vec<usize> = kept.iter().copied().filter(|i| all[*i].measured).collect();
        let cpu = |i: &usize| all[*i].plan.prefill.device.is_cpu() && all[*i].plan.decode.device.is_cpu();
        // Nor is a GPU, where nothing at all was measured.
        let plain: Vec<usize> = kept.iter().copied().filter(cpu).collect();
        let believed = [&known, &plain, &kept].into_iter().find(|those| !those.is_empty()).unwrap_or(&kept);
        let best = if nearest {
            // Too late in any case: of those that are about as late, the best by the policy.
            let worst = |i: &usize| broken[*i].worst();
            let least = open.iter().map(worst).fold(f64::INFINITY, f64::min);
            let near = |i: &usize| {
                // A first token that is late in any case need not make the next ones late as well.
                let only_first = broken[*i].deadline.max(broken[*i].joules) <= 1.0;
                worst(i) <= if only_first { NEAR_TTFT } else { NEAR } * least
            };
            let near: Vec<usize> = open.iter().copied().filter(near).collect();
            best_of(all, &near, policy)
        } else {
            best_of(all, believed, policy)
        };
        let runners = if nearest { &open } else { &kept };
        let rest: Vec<usize> = runners.iter().copied().filter(|i| *i != best).collect();
        let runner_up = (!rest.is_empty()).then(|| best_of(all, &rest, policy));
        let (taken, instead) = match self.explored(ask, all, &kept, best) {
            Some(other) => (other, Some(all[best].joules())),
            None => (best, None),
        };
        let everything: Vec<usize> = (0..all.len()).filter(|i| all[*i].measured == all[best].measured).collect();
        let ideal = best_of(all, &everything, policy);
        let reason = match lost.reason() {
            _ if instead.is_some() => Reason::Explored,
            Some(reason) => reason,
            None if nearest => Reason::Nearest,
            None if ideal != best && all[ideal].closed.is_some() => Reason::Unavailable,
            None if ideal != best => broken[ideal].reason().unwrap_or(Reason::Best),
            None if ask.arrival.backend.is_some() => Reason::Asked,
            None if all.len() == 1 => Reason::Only,
            None => Reason::Best,
        };
        let runner_up = if instead.is_some() { Some(best) } else { runner_up };
        let choice = Choice {
            plan: all[taken].plan,
            forecast: all[taken].forecast(),
            reason,
            policy,
            answer: ask.mean.round().clamp(1.0, f64::from(u32::MAX)) as u32,
            limit: None,
            degraded: false,
            runner_up: runner_up.map(|i| (all[i].plan, all[i].forecast())),
        };
        let (score, threads) = (all[taken].score(policy).0, all[taken].threads);
        Chosen { choice, instead, score, threads, savings: self.savings(ask, all), all: all.to_vec() }
    }

    /// A plan to learn from, instead of the best.
    fn explored(&self, ask: &Ask, all: &[Outlook], kept: &[usize], best: usize) -> Option<usize> {
        let usual = all[best].joules();
        // What is not known cannot be compared with anything, and what teaches nothing need not be dear.
        if !all[best].measured || ask.arrival.max_answer < LESSON {
            return None;
        }
        let leisure = |o: &Outlook| {
            let left = |time: crate::clock::Time| time.since(self.now).as_secs_f64();
            let Arrival { deadline, first_token, .. } = ask.arrival;
            deadline.is_none_or(|d| LEISURE * (o.ttft() + o.most.seconds) <= left(d))
                && first_token.is_none_or(|f| LEISURE * o.ttft() <= left(f))
        };
        let others = self.crowd_lacks(ask, all, &all[best]);
        let led = |o: &Outlook| self.crowd_lacks(ask, all, o) - others;
        let hopeful = |o: &Outlook| {
            let stale = self.known.is_stale(o.plan.prefill) || self.known.is_stale(o.plan.decode);
            let doubt = if stale { o.doubt.max(STALE * o.served()) } else { o.doubt };
            let more = o.served() + o.wake_full + o.lacks - all[best].lacks + led(o) - usual;
            if !o.plan.is_split() && self.known.is_due(o.plan.decode, more.max(usual)) {
                return Some(WORTH);
            }
            if doubt < DOUBT * o.served() {
                return None;
            }
            // Bringing it up is paid once, whatever it is worth then.
            let hope = o.served() - doubt;
            (hope < WORTH * all[best].served()).then_some(hope / all[best].served())
        };
        let affordable = |o: &Outlook| {
            // In company nobody can tell what one request takes, and it would be alone elsewhere.
            if o.measured && !self.known.is_quiet(o.plan.variant()) {
                return false;
            }
            // One request at a time finds out.
            if self.known.is_explored(o.plan.prefill) || self.known.is_explored(o.plan.decode) {
                return false;
            }
            let excess = (o.served() + o.wake_full + led(o) - usual).max(0.0);
            self.known.may_explore(excess, usual, f64::from(self.limits.explore) / 1000.0)
        };
        let may = kept.iter().copied().filter(|i| *i != best && leisure(&all[*i]) && affordable(&all[*i]));
        let hopes = may.filter_map(|i| Some((hopeful(&all[i])?, i)));
        hopes.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, i)| i)
    }

    /// The plan that gives the longest answer within what was asked for.
    fn shortened(&self, ask: &Ask, all: &[Outlook]) -> Option<Chosen> {
        let arrival = ask.arrival;
        let fits = |o: &Outlook| -> Option<f64> {
            let slack = if o.measured { SLACK } else { SLACK_UNMEASURED };
            let left = |time: crate::clock::Time| time.since(self.now).as_secs_f64() * slack;
            if o.closed.is_some() || arrival.first_token.is_some_and(|first| o.ttft() > left(first)) {
                return None;
            }
            let by_time = arrival.deadline.map(|d| (left(d) - o.ttft()) / o.token.seconds.max(1e-9));
            let fixed = o.served() - o.decode.joules + o.wake_full;
            let by_joules = arrival.max_joules.map(|most| (most.as_f64() - fixed) / o.token.joules.max(1e-9));
            let tokens = by_time.into_iter().chain(by_joules).fold(f64::from(arrival.max_answer), f64::min).floor();
            (tokens >= SHORTEST).then_some(tokens)
        };
        let (tokens, o) = all.iter().filter_map(|o| Some((fits(o)?, o))).max_by(|a, b| a.0.total_cmp(&b.0))?;
        let short = Ask { mean: ask.mean.min(tokens), most: ask.most.min(tokens), ..*ask };
        let variant = o.plan.variant();
        let candidate = [Candidate { variant, lesser: false }];
        let again = self.outlooks(&short, &candidate, &[]);
        let o = again.iter().find(|other| other.plan == o.plan && other.threads == o.threads)?;
        let mut chosen = self.pick(&short, std::slice::from_ref(o), Lost::Nothing);
        chosen.choice.degraded = true;
        chosen.choice.limit = Some(tokens as u32);
        chosen.choice.reason = self.broken(ask, o).reason().unwrap_or(Reason::Nearest);
        Some(chosen)
    }

    /// Whether a request that waits should move.
    pub(super) fn is_better(&self, new: &Chosen, arrival: &Arrival, old: Plan) -> bool {
        if new.choice.plan == old {
            return false;
        }
        let ask = self.ask(arrival, Some(old.decode));
        let usable = |site: Site| self.known.is_usable(site);
        if !(usable(old.prefill) && usable(old.decode)) {
            return true;
        }
        let score = |o: &&Outlook| o.score(ask.policy).0;
        let same = new.all.iter().filter(|o| o.plan == old);
        let Some(o) = same.min_by(|a, b| score(a).total_cmp(&score(b))) else { return true };
        o.closed.is_some()
            || self.broken(&ask, o).reason().is_some() && new.choice.reason != Reason::Nearest
            || new.score * MOVE < o.score(ask.policy).0
    }

    /// Where a sequence goes on whose state was taken out: where it was to, or, where that is no longer possible or much
    /// dearer, to another lane of its variant, but not here.
    pub(super) fn landing(&self, arrival: &Arrival, plan: Plan, except: Option<Site>) -> Option<Site> {
        let ask = self.ask(arrival, Some(plan.decode));
        let fits = |site: &Site| {
            let entry = self.lanes.get(*site);
            let resting = entry.is_some_and(|entry| entry.quarantine(self.now).is_some());
            // A service that stops loads nothing any more.
            let comes = !self.closing || entry.is_some_and(Entry::is_up);
            arrival.backend.is_none_or(|backend| backend.allows(site.device))
                && !resting
                && comes
                && Some(*site) != except
        };
        // The lane that it comes from may be the one that goes.
        let tight = self.lanes.get(plan.decode).is_some_and(|entry| entry.tight && entry.lane.is_none());
        let tight = tight && !self.room_comes();
        if self.known.is_usable(plan.decode) && fits(&plan.decode) && !tight {
            return Some(plan.decode);
        }
        let score = |site: Site| {
            let (late, score) = self.place(&ask, site, false).goes_on(&ask, self.now);
            (late, if site == plan.decode { score } else { score * MOVE })
        };
        let all = self.known.places(plan.variant()).filter(fits).map(|site| (score(site), site));
        all.min_by(|((a, x), _), ((b, y), _)| a.cmp(b).then(x.total_cmp(y))).map(|(_, site)| site)
    }

    fn ask<'a>(&self, arrival: &'a Arrival, bound: Option<Site>) -> Ask<'a> {
        let length = self.known.length(arrival);
        let policy = arrival.policy.unwrap_or(self.policy());
        let waits = self.requests.get(&arrival.id).filter(|request| request.planned && request.lane.is_none());
        let first = waits.map(|request| request.site);
        Ask { arrival, mean: length.mean, most: length.most, policy, bound, first }
    }

    /// Why a request cannot run anywhere.
    fn nowhere(&self, arrival: &Arrival) -> Error {
        match arrival.backend {
            Some(Backend::Gpu) => Error::new(
                Code::InvalidRequest,
                "No GPU can run this model here: leave 'backend' out, or ask for \"cpu\"; `wattlm status` says which \
                 devices there are",
            ),
            _ => Error::new(
                Code::ModelLoadFailed,
                "No device can run this model here; `wattlm status` says which devices there are and what is wrong",
            ),
        }
    }
}

fn best_of(all: &[Outlook], among: &[usize], policy: Policy) -> usize {
    let score = |i: &usize| all[*i].score(policy);
    let least = among.iter().map(|i| score(i).0).fold(f64::INFINITY, f64::min);
    let equal = among.iter().copied().filter(|i| score(i).0 <= least * EQUAL);
    equal.min_by(|a, b| score(a).1.total_cmp(&score(b).1)).or(among.first().copied()).unwrap_or(0)
}
