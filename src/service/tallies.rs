//! What requests take on their lanes, from the steps that these tell: tokens, context, company and time, by phase.
//!
//! With what the ledger charges them in the end it becomes a [`Measured`], from which the scheduler learns. It reads no
//! clock and decides nothing.
//!
//! What always holds: figures from a lane, which may be hostile, are summed without overflow; a request that ended is
//! told of once.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::lane::{RequestId, Step, StepPart};
use crate::sched::{Measured, PhaseMeasured, Site};
use crate::units::Microjoules;

/// A phase that ran in more than one way (another lane, another number of threads) counts for the one in which it ran
/// for at least this share of its time.
const MAINLY: f64 = 0.9;
/// Ways in which one request is followed.
const WAYS: usize = 16;
/// Seconds of a step beyond which it says nothing: no watch lets a lane be silent for so long.
const LONGEST: f64 = 86_400.0;

/// A phase in one way.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    tokens: u64,
    /// Of each token: cells before it.
    cells: f64,
    /// Of each step: who took part.
    company: f64,
    steps: f64,
    seconds: f64,
}

impl Sum {
    fn add(&mut self, tokens: u32, context: u32, company: usize, seconds: f64) {
        self.tokens = self.tokens.saturating_add(u64::from(tokens));
        // Tokens stand one after another: the last of them has all cells but its own before it.
        let before = (f64::from(context) - (f64::from(tokens) + 1.0) / 2.0).max(0.0);
        self.cells += f64::from(tokens) * before;
        self.company += company as f64;
        self.steps += 1.0;
        self.seconds += seconds;
    }

    fn measured(&self, energy: Microjoules) -> PhaseMeasured {
        if self.tokens == 0 {
            return PhaseMeasured::default();
        }
        PhaseMeasured {
            tokens: u32::try_from(self.tokens).unwrap_or(u32::MAX),
            // `as` saturates.
            context: (self.cells / self.tokens as f64) as u32,
            batch: ((self.company / self.steps.max(1.0)) as f32).max(1.0),
            time: Duration::from_secs_f64(self.seconds.clamp(0.0, 1e9)),
            energy,
        }
    }
}

/// How a part of a request ran.
#[derive(Debug, Clone, Copy)]
struct Way {
    site: Site,
    threads: u32,
    prefill: Sum,
    decode: Sum,
}

/// What a request was charged with.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Charged {
    pub prefill: Microjoules,
    pub decode: Microjoules,
    /// Measured and not estimated.
    pub metered: bool,
}

/// Requests that run, or have ended and are not told of yet.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    by_id: BTreeMap<RequestId, Vec<Way>>,
}

impl Tallies {
    /// A lane made a step, with so many threads if it had a piece of a prompt in it, and with so many if not.
    pub fn step(&mut self, site: Site, (prompts, answers): (u32, u32), step: &Step) {
        let seconds = (step.us as f64 / 1e6).min(LONGEST);
        let threads = if step.parts.iter().any(|part| part.prefill > 0) { prompts } else { answers };
        for StepPart { id, prefill, decode, context } in &step.parts {
            let ways = self.by_id.entry(*id).or_default();
            let at = ways.iter().position(|way| way.site == site && way.threads == threads).or_else(|| {
                let new = Way { site, threads, prefill: Sum::default(), decode: Sum::default() };
                (ways.len() < WAYS).then(|| ways.push(new))?;
                Some(ways.len() - 1)
            });
            let Some(way) = at.and_then(|at| ways.get_mut(at)) else { continue };
            let company = step.parts.len();
            match (*prefill, *decode) {
                (0, 0) => {}
                (0, n) => way.decode.add(n, *context, company, seconds),
                (n, _) => way.prefill.add(n, *context, company, seconds),
            }
        }
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// What ran there so far says nothing of what will run there.
    pub fn forget(&mut self, site: Site) {
        self.by_id.values_mut().for_each(|ways| ways.retain(|way| way.site != site));
    }

    /// A request has ended and was charged: what it took, by site. `ended`: its answer came to its own end.
    pub fn ended(&mut self, id: RequestId, charged: Charged, ended: bool) -> Vec<(Site, Measured)> {
        let ways = self.by_id.remove(&id).unwrap_or_default();
        let prefill = mainly(&ways, |way| way.prefill);
        let decode = mainly(&ways, |way| way.decode);
        let mut all: BTreeMap<Site, Measured> = BTreeMap::new();
        if let Some((way, share)) = prefill {
            let measured = all.entry(way.site).or_default();
            (measured.threads, measured.prompt_threads) = (way.threads, way.threads);
            measured.prefill = way.prefill.measured(charged.prefill.share(share));
        }
        if let Some((way, share)) = decode {
            let measured = all.entry(way.site).or_default();
            measured.threads = way.threads;
            measured.decode = way.decode.measured(charged.decode.share(share));
            measured.ended = ended;
        }
        all.into_iter().map(|(site, measured)| (site, Measured { metered: charged.metered, ..measured })).collect()
    }
}

/// The way in which a phase ran, where it is one, and its share of the time.
fn mainly(ways: &[Way], phase: impl Fn(&Way) -> Sum) -> Option<(&Way, f64)> {
    let all: f64 = ways.iter().map(|way| phase(way).seconds).sum();
    let way = ways.iter().max_by(|a, b| phase(a).seconds.total_cmp(&phase(b).seconds))?;
    let share = if all > 0.0 { phase(way).seconds / all } else { 0.0 };
    (share >= MAINLY).then_some((way, share))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sched::VariantId;

    const A: Site = Site { variant: VariantId(0), device: crate::sched::DeviceId::CPU };
    const B: Site = Site { variant: VariantId(0), device: crate::sched::DeviceId(1) };

    fn part(id: u64, prefill: u32, decode: u32, context: u32) -> StepPart {
        StepPart { id: RequestId(id), prefill, decode, context }
    }

    fn step(ms: u64, parts: &[StepPart]) -> Step {
        Step { us: ms * 1000, parts: parts.to_vec(), ..Step::default() }
    }

    fn joules(prefill: f64, decode: f64) -> Charged {
        Charged { prefill: Microjoules::from_f64(prefill), decode: Microjoules::from_f64(decode), metered: true }
    }

    #[test]
    fn phases_are_told_with_their_context_and_company() {
        let mut tallies = Tallies::default();
        tallies.step(A, (2, 2), &step(100, &[part(1, 64, 0, 64)]));
        tallies.step(A, (2, 2), &step(110, &[part(1, 36, 0, 100), part(2, 0, 1, 9)]));
        for context in [101, 102, 103] {
            tallies.step(A, (2, 2), &step(20, &[part(1, 0, 1, context), part(2, 0, 1, 9)]));
        }
        tallies.step(A, (2, 2), &step(10, &[part(1, 0, 1, 104)]));
        let told = tallies.ended(RequestId(1), joules(3.0, 1.5), true);
        let [(site, measured)] = told[..] else { panic!("{told:?}") };
        assert_eq!((site, measured.threads, measured.metered, measured.ended), (A, 2, true, true));
        let p = measured.prefill;
        assert_eq!((p.tokens, p.context, p.time), (100, 49, Duration::from_millis(210)));
        assert_eq!((p.batch, p.energy.as_f64()), (1.5, 3.0));
        let d = measured.decode;
        assert_eq!((d.tokens, d.context, d.time, d.energy.as_f64()), (4, 101, Duration::from_millis(70), 1.5));
        assert_eq!(d.batch, 1.75);
        // Once.
        assert_eq!(tallies.ended(RequestId(1), joules(3.0, 1.5), true), []);
        assert_eq!(tallies.ended(RequestId(2), joules(0.0, 1.0), false)[0].1.decode.tokens, 4);
        assert!(tallies.by_id.is_empty());
    }

    #[test]
    fn a_request_that_was_handed_over_tells_of_both_lanes() {
        let mut tallies = Tallies::default();
        tallies.step(A, (2, 2), &step(400, &[part(1, 99, 0, 99)]));
        // The last token of the prompt, whose logits are needed.
        tallies.step(B, (1, 1), &step(4, &[part(1, 1, 0, 100)]));
        tallies.step(B, (1, 1), &step(10, &[part(1, 0, 1, 101)]));
        let told = tallies.ended(RequestId(1), joules(4.0, 1.0), true);
        assert_eq!((told[0].0, told[0].1.prefill.tokens, told[0].1.decode.tokens, told[0].1.ended), (A, 99, 0, false));
        assert_eq!((told[1].0, told[1].1.prefill.tokens, told[1].1.decode.tokens, told[1].1.ended), (B, 0, 1, true));
        assert!((told[0].1.prefill.energy.as_f64() - 4.0 * 400.0 / 404.0).abs() < 1e-5);
    }

    #[test]
    fn prompts_and_answers_may_have_threads_of_their_own() {
        let mut tallies = Tallies::default();
        tallies.step(A, (4, 1), &step(50, &[part(1, 10, 0, 10)]));
        tallies.step(A, (4, 1), &step(10, &[part(1, 0, 1, 11)]));
        let told = tallies.ended(RequestId(1), joules(1.0, 1.0), true);
        assert_eq!((told.len(), told[0].1.prompt_threads, told[0].1.threads), (1, 4, 1));
    }

    #[test]
    fn what_ran_in_two_ways_alike_tells_nothing() {
        let mut tallies = Tallies::default();
        tallies.step(A, (2, 2), &step(50, &[part(1, 10, 0, 10)]));
        for context in 0..10 {
            let threads = 2 - context % 2;
            tallies.step(A, (threads, threads), &step(10, &[part(1, 0, 1, 11 + context)]));
        }
        let told = tallies.ended(RequestId(1), joules(1.0, 1.0), true);
        assert_eq!((told.len(), told[0].1.prefill.tokens, told[0].1.decode.tokens), (1, 10, 0));
    }

    #[test]
    fn hostile_figures_stay_figures() {
        let mut tallies = Tallies::default();
        let most = part(1, u32::MAX, u32::MAX, u32::MAX);
        for threads in 0..100 {
            tallies.step(A, (threads, threads), &Step { us: u64::MAX, parts: vec![most], ..Step::default() });
        }
        for _ in 0..2000 {
            tallies.step(A, (1, 1), &Step { us: u64::MAX, parts: vec![most, part(2, 0, 0, 0)], ..Step::default() });
        }
        let told = tallies.ended(RequestId(1), joules(1.0, 1.0), true);
        assert!(told.iter().all(|(_, m)| m.prefill.batch >= 1.0), "{told:?}");
        assert_eq!(tallies.ended(RequestId(2), joules(1.0, 1.0), true), []);
    }
}
