//! What is learnt of lanes, told to the scheduler and to those who ask: what requests took, what bringing a lane up and
//! keeping it takes, and the curves of what is known.

use std::collections::BTreeSet;
use std::time::Duration;

use super::core::Core;
use super::lanes::Phase;
use super::plans::{AnswerPoint, CostReport, ProfileReport, ProfileStatus, PromptPoint, ThreadsReport};
use super::tallies::Charged;
use crate::energy::ledger::Charge;
use crate::energy::Quality;
use crate::lane::RequestId;
use crate::sched::{Cost, Event, Profile, Site};
use crate::units::Microjoules;

/// Lengths of prompts that a profile is told for, as far as the context goes.
const PROMPTS: [u32; 7] = [16, 64, 128, 256, 512, 1024, 2048];
/// Contexts of answers.
const CONTEXTS: [u32; 5] = [0, 256, 1024, 4096, 16_384];
/// What others used of a rest's energy, at most, for it to say something of lanes.
const QUIET: f64 = 0.05;

impl Core {
    /// Whether joules come from a sensor.
    fn metered(&self) -> bool {
        !self.metering.info.source.is_empty()
    }

    /// A request that ran was charged: the scheduler learns what it took.
    pub(super) fn measured(&mut self, id: RequestId, charge: &Charge, ended: bool, calibrates: bool) {
        let metered = self.metered() && charge.quality() == Quality::Measured;
        let charged = Charged { prefill: charge.prefill, decode: charge.decode, metered };
        self.habits.learnt();
        for (site, measured) in self.tallies.ended(id, charged, ended) {
            self.profiles.measured(site, calibrates);
            self.later.push(Event::Measured { id, site, measured });
        }
    }

    /// What bringing lanes up took, where the meter has told it since this was last asked.
    pub(super) fn tell_woken(&mut self) {
        for (lane, energy) in self.metering.ledger.take_woken() {
            let Some(slot) = self.lanes.by_id.get(&lane) else { continue };
            let Some(load) = slot.woke else { continue };
            let cost = Cost { seconds: load.as_secs_f64(), joules: energy.as_f64() };
            self.event(Event::Woke { site: slot.site, cost });
        }
    }

    /// The meter was read: over `span` the device used `used`, of which other programs `others`. Where nothing worked
    /// meanwhile, it says what holding lanes costs.
    pub(super) fn rested(&mut self, used: Microjoules, others: Microjoules, span: Duration) {
        let works = self.works();
        let worked = std::mem::replace(&mut self.metering.worked, works);
        let settled = self.metering.ledger.gpus_rest();
        if worked || works || !settled || !self.metered() || others.as_f64() > QUIET * used.as_f64() {
            return;
        }
        let up = self.lanes.by_id.values().filter(|slot| slot.phase == Phase::Ready).map(|slot| slot.site);
        let resident: BTreeSet<Site> = up.filter(|site| !site.device.is_cpu()).collect();
        for (site, watts) in self.rests.rested(&resident, used.over(span).as_f64(), span.as_secs_f64()) {
            self.event(Event::Held { site, watts });
        }
    }

    pub(super) fn works(&self) -> bool {
        self.lanes.by_id.values().any(|slot| slot.works())
    }

    /// All sites of which something is known.
    fn known(&self) -> impl Iterator<Item = (Site, &Profile)> {
        let sites = self.catalog.variants().into_iter().flat_map(|variant| self.sched.places(variant));
        sites.filter_map(|site| Some((site, self.sched.profile(site)?)))
    }

    pub(super) fn profile_states(&self) -> Vec<ProfileStatus> {
        let state = |(site, profile): (Site, &Profile)| {
            let (prompts, answers) = profile.confidence();
            ProfileStatus {
                model: self.catalog.name(site.variant),
                device: self.gpus.name(site.device),
                prompts,
                answers,
                calibrated: self.profiles.stamps(site).calibrated,
            }
        };
        self.known().map(state).collect()
    }

    pub(super) fn profile_reports(&self) -> Vec<ProfileReport> {
        self.known().map(|(site, profile)| self.profile_report(site, profile)).collect()
    }

    fn profile_report(&self, site: Site, profile: &Profile) -> ProfileReport {
        let (prompts, answers) = profile.confidence();
        let (context, slots) = self.catalog.size(site.variant);
        let stamps = self.profiles.stamps(site);
        let mut threads: Vec<u32> = profile.threads().collect();
        threads.sort_unstable();
        ProfileReport {
            model: self.catalog.name(site.variant),
            device: self.gpus.name(site.device),
            hardware: self.device(site.device).map_or_else(String::new, |(_, hardware)| hardware),
            metered: self.metered(),
            prompts,
            answers,
            calibrated: stamps.calibrated,
            saved: stamps.saved,
            load: profile.load().map(|cost| CostReport { seconds: cost.seconds, joules: cost.joules }),
            hold_watts: profile.hold(),
            context,
            slots,
            threads: threads.into_iter().map(|n| curves(profile, n, context, slots)).collect(),
        }
    }
}

/// A profile with so many threads, as far as a lane with this context and these slots goes.
fn curves(profile: &Profile, threads: u32, context: u32, slots: u32) -> ThreadsReport {
    let each = |cost: Cost, tokens: f64| (tokens / cost.seconds.max(1e-9), cost.joules / tokens);
    let prompt = |tokens: &u32| {
        let (tokens_per_s, joules_per_token) = each(profile.prefill(threads, *tokens, 0)?, f64::from(*tokens));
        Some(PromptPoint { tokens: *tokens, tokens_per_s, joules_per_token })
    };
    let batches: Vec<u32> = (0..7).map(|n| 1 << n).filter(|n| *n <= slots).collect();
    let answer = |batch: u32, cells: u32| {
        let step = profile.step(threads, f64::from(batch), f64::from(cells))?;
        let (tokens_per_s, joules_per_token) = each(step, f64::from(batch));
        Some(AnswerPoint { batch, context: cells, tokens_per_s, joules_per_token })
    };
    let fits = |cells: &&u32| **cells == 0 || **cells < context;
    let contexts: Vec<u32> = CONTEXTS.iter().filter(fits).copied().collect();
    ThreadsReport {
        threads,
        prefill: PROMPTS.iter().filter(|n| **n < context).filter_map(prompt).collect(),
        decode: batches.iter().flat_map(|b| contexts.iter().filter_map(|c| answer(*b, *c))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sched::{Measured, PhaseMeasured};

    #[test]
    fn curves_are_told_as_far_as_a_lane_goes() {
        let mut profile = Profile::default();
        assert_eq!(curves(&profile, 2, 1000, 4).prefill, []);
        for (tokens, ms) in [(10, 100), (400, 4000)] {
            let phase = |tokens, ms, joules| PhaseMeasured {
                tokens,
                context: tokens / 2,
                batch: 1.0,
                time: Duration::from_millis(ms),
                energy: Microjoules::from_f64(joules),
            };
            let measured = Measured {
                threads: 2,
                prompt_threads: 2,
                prefill: phase(tokens, ms, ms as f64 / 1000.0),
                decode: phase(20, 1000, 2.0),
                metered: true,
                ended: true,
            };
            profile.learn(&measured);
        }
        let told = curves(&profile, 2, 1000, 4);
        assert_eq!(told.prefill.iter().map(|p| p.tokens).collect::<Vec<_>>(), [16, 64, 128, 256, 512]);
        assert_eq!(told.decode.iter().map(|p| p.batch).max(), Some(4));
        assert_eq!(told.decode.iter().map(|p| p.context).max(), Some(256));
        let lone = told.decode.iter().find(|p| (p.batch, p.context) == (1, 0)).unwrap();
        assert!((lone.tokens_per_s - 20.0).abs() < 5.0 && (lone.joules_per_token - 0.1).abs() < 0.03, "{lone:?}");
        let prompt = told.prefill.iter().find(|p| p.tokens == 256).unwrap();
        assert!((prompt.tokens_per_s - 100.0).abs() < 30.0, "{prompt:?}");
    }
}
