//! What has been measured of this device and its clients: profiles, lengths of answers, traffic, hand-overs, and what
//! exploring has cost.
//!
//! It keeps books and answers questions, those about traffic in `traffic`; `cost` reckons with them and `choose` decides.
//! What always holds: what is remembered of requests and clients is bounded, and every figure is finite.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::hold::Savings;
use super::length::{Length, Lengths};
use super::profile::{within, Cost, Measured, News, PhaseMeasured, Profile};
use super::reuse::Reuse;
use super::traffic::Traffic;
use super::{Arrival, ClientId, DeviceId, Endpoint, Site, VariantId};
use crate::lane::RequestId;
use crate::units::Microjoules;

/// Requests that have ended and whose measurements may still come.
const REMEMBERED: usize = 1_024;
/// Exploring may cost as much as so many requests before anything was spent.
const GRANT: f64 = 20.0;

/// A GPU that was never measured, against the CPU: seconds and joules of prompts and answers, and of coming up.
const GPU_PREFILL: Cost = Cost { seconds: 0.25, joules: 0.5 };
const GPU_DECODE: Cost = Cost { seconds: 0.8, joules: 0.9 };
const GPU_LOAD: Cost = Cost { seconds: 1.5, joules: 1.5 };
/// What a GPU lane draws when it is idle, as a share of what it draws in a step.
const GPU_HOLD: f64 = 0.2;
/// And the least that counts, whatever was measured.
const GPU_LEAST: f64 = 0.02;
/// What a lane on the CPU draws when it is idle counts from this share on.
const CPU_HOLD: f64 = 0.05;
/// Where nothing was measured at all: a model of about a billion parameters on a small board.
const PROMPT_TOKEN: Cost = Cost { seconds: 0.01, joules: 0.03 };
const ANSWER_TOKEN: Cost = Cost { seconds: 0.08, joules: 0.3 };
const LOAD: Cost = Cost { seconds: 2.0, joules: 6.0 };
/// Taking a sequence's state out of a lane, or into one, until that was measured: about 50 kB for a cell.
const MOVE: f64 = 60e-6;
const MOVE_BASE: f64 = 0.01;
/// And at most.
pub(super) const MOVE_MOST: f64 = 60.0;
/// What takes longer while another lane computes, as a part, until that was measured, how far a measurement moves it, and
/// what is needed to measure it: company in so much of the time, and a profile of so many measurements.
const CONTENTION: f64 = 0.2;
const CONTENTION_STEP: f64 = 0.15;
pub(super) const CONTENTION_MOST: f64 = 2.0;
const COMPANY: f64 = 0.3;
const SURE: u32 = 4;
/// A lane that nothing speaks for is measured again where that takes no more than this share of what all requests took
/// since it last was; and if it is not what it was, so many more times, until that is no outlier any more.
const AGAIN: f64 = 0.005;
const OUTLIERS: u32 = 6;
/// How far a measured hand-over moves that.
const APPROACH: f64 = 0.3;

/// What is known of a place for a lane.
#[derive(Debug, Default)]
pub(super) struct Spot {
    /// Whether a lane can be there; nobody said anything yet.
    usable: Option<bool>,
    /// Bytes that a lane there takes; 0: nobody knows.
    memory: u64,
    profile: Profile,
    /// Something changed elsewhere since it was measured.
    stale: bool,
    pub(super) savings: Savings,
    /// Joules that all requests had taken when it was last measured as it was expected to be, and how often it was measured
    /// otherwise since.
    seen: (f64, u32),
}

/// What is remembered of a request that runs or ran.
#[derive(Debug, Clone, Copy)]
struct Past {
    client: ClientId,
    endpoint: Endpoint,
    bound: u32,
    /// It ran where it did to learn what that takes; without, it would have taken so many joules.
    instead: Option<f64>,
    /// Share of its time on the last lane in which another lane computed.
    company: f64,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) spots: BTreeMap<Site, Spot>,
    pub(super) lengths: Lengths,
    pub(super) traffic: BTreeMap<VariantId, Traffic>,
    /// Seconds for each cell that is moved.
    pub(super) moves: BTreeMap<VariantId, f64>,
    /// What takes longer while another lane computes, as a part.
    pub(super) contention: Option<f64>,
    /// What one request leaves in a lane that the next one of the same client finds again.
    pub(super) reuse: Reuse,
    past: BTreeMap<RequestId, Past>,
    order: VecDeque<RequestId>,
    /// Joules of all requests and loads that were measured.
    spent: f64,
    /// Of these, what exploring took beyond what the best plan would have.
    explored: f64,
    /// Lanes that are there to be explored: what they take to come up is exploring.
    exploring: BTreeSet<Site>,
}

/// Sites.
impl Known {
    /// Whether a lane may be there.
    pub(super) fn is_usable(&self, site: Site) -> bool {
        self.spots.get(&site).and_then(|spot| spot.usable).unwrap_or(site.device.is_cpu())
    }

    pub(super) fn set_usable(&mut self, site: Site, usable: bool) {
        self.spots.entry(site).or_default().usable = Some(usable);
    }

    /// Bytes that a lane there takes.
    pub(super) fn memory(&self, site: Site) -> u64 {
        self.spots.get(&site).map_or(0, |spot| spot.memory)
    }

    pub(super) fn set_memory(&mut self, site: Site, bytes: u64) {
        self.spots.entry(site).or_default().memory = bytes;
    }

    /// The places where this variant may have a lane, the CPU first.
    pub(super) fn places(&self, variant: VariantId) -> impl Iterator<Item = Site> + '_ {
        let said = Site { variant, device: DeviceId(0) }..=Site { variant, device: DeviceId(u8::MAX) };
        let cpu = Site::cpu(variant);
        let unsaid = (!self.spots.contains_key(&cpu)).then_some(cpu);
        let said = self.spots.range(said).filter(|(site, spot)| spot.usable.unwrap_or(site.device.is_cpu()));
        unsaid.into_iter().chain(said.map(|(site, _)| *site))
    }

    /// What was measured there.
    pub(super) fn measured(&self, site: Site) -> Option<&Profile> {
        self.spots.get(&site).map(|spot| &spot.profile)
    }

    pub(super) fn is_stale(&self, site: Site) -> bool {
        self.spots.get(&site).is_some_and(|spot| spot.stale)
    }

    /// A lane there takes this. What it was found to save before was reckoned with another profile, or none.
    pub(super) fn set_profile(&mut self, site: Site, profile: Profile) {
        if profile.is_sane() {
            let spot = self.spots.entry(site).or_default();
            (spot.profile, spot.savings) = (profile, Savings::default());
        }
    }

    /// What a lane there is thought to take though it was never measured: like another one.
    pub(super) fn prior(&self, site: Site) -> Profile {
        let measured = |site: &Site| self.measured(*site).filter(|profile| profile.is_measured());
        let (same, cpu) = (Cost { seconds: 1.0, joules: 1.0 }, Site::cpu(site.variant));
        let inverse = |cost: Cost| Cost { seconds: 1.0 / cost.seconds, joules: 1.0 / cost.joules };
        let likes = |other: &&Site| other.device == site.device && **other != site;
        let (from, prefill, decode) = if let Some(profile) = measured(&cpu).filter(|_| !site.device.is_cpu()) {
            (profile.clone(), GPU_PREFILL, GPU_DECODE)
        } else if let Some(profile) = self.spots.keys().filter(likes).find_map(measured) {
            (profile.clone(), same, same)
        } else if let Some(profile) = self.spots.keys().find_map(measured) {
            (profile.clone(), inverse(GPU_PREFILL), inverse(GPU_DECODE))
        } else if site.device.is_cpu() {
            (guess(), same, same)
        } else {
            (guess(), GPU_PREFILL, GPU_DECODE)
        };
        from.prior(prefill, decode)
    }

    /// Bringing a lane up there.
    pub(super) fn load(&self, site: Site) -> Cost {
        let own = self.measured(site).and_then(Profile::load);
        let cpu = || self.measured(Site::cpu(site.variant)).and_then(Profile::load);
        own.unwrap_or_else(|| {
            let base = cpu().unwrap_or(LOAD);
            let by = if site.device.is_cpu() { Cost { seconds: 1.0, joules: 1.0 } } else { GPU_LOAD };
            Cost { seconds: base.seconds * by.seconds, joules: base.joules * by.joules }
        })
    }

    /// Watts that a lane there adds while it is idle.
    pub(super) fn hold(&self, site: Site) -> f64 {
        let profile = self.measured(site);
        let step = profile.and_then(|profile| profile.step(0, 1.0, 0.0));
        let works = step.map(|step| step.joules / step.seconds.max(1e-9));
        match profile.and_then(Profile::hold) {
            // A lane on the CPU is a process that sleeps: so little is what the meter could not tell from nothing.
            Some(watts) if site.device.is_cpu() && works.is_none_or(|works| watts < CPU_HOLD * works) => 0.0,
            Some(watts) if site.device.is_cpu() => watts,
            // A GPU that holds a model never rests for nothing, be that less than the meter can tell.
            Some(watts) => watts.max(works.map_or(0.0, |works| GPU_LEAST * works)),
            None if site.device.is_cpu() => 0.0,
            None => works.map_or(1.0, |works| GPU_HOLD * works),
        }
    }

    /// What one request moves: how long taking it out and into another lane takes.
    pub(super) fn handover(&self, variant: VariantId, cells: u32) -> f64 {
        2.0 * (MOVE_BASE + f64::from(cells) * self.moves.get(&variant).copied().unwrap_or(MOVE))
    }

    pub(super) fn moved(&mut self, variant: VariantId, cells: u32, time: Duration) {
        let seconds = (time.as_secs_f64() - MOVE_BASE).clamp(0.0, MOVE_MOST) / f64::from(cells.max(1));
        let each = self.moves.entry(variant).or_insert(seconds);
        *each += APPROACH * (seconds - *each);
    }
}

fn guess() -> Profile {
    let phase = |tokens: u32, context: u32, each: Cost| PhaseMeasured {
        tokens,
        context,
        batch: 1.0,
        time: Duration::from_secs_f64(each.seconds * f64::from(tokens)),
        energy: Microjoules::from_f64(each.joules * f64::from(tokens)),
    };
    let mut profile = Profile::default();
    profile.learn(&Measured {
        prefill: phase(100, 50, PROMPT_TOKEN),
        decode: phase(100, 150, ANSWER_TOKEN),
        ..Measured::default()
    });
    profile
}

/// Requests.
impl Known {
    pub(super) fn length(&self, arrival: &Arrival) -> Length {
        self.lengths.predict(arrival.client, arrival.endpoint, arrival.max_answer)
    }

    /// It starts. `instead`: it is to explore, and would take so many joules by the best plan.
    pub(super) fn starts(&mut self, arrival: &Arrival, instead: Option<f64>) {
        let Arrival { id, client, endpoint, max_answer: bound, .. } = *arrival;
        if self.past.insert(id, Past { client, endpoint, bound, instead, company: 0.0 }).is_none() {
            self.order.push_back(id);
        }
        if self.order.len() > REMEMBERED {
            if let Some(oldest) = self.order.pop_front() {
                self.past.remove(&oldest);
            }
        }
    }

    /// It took this. Says whether plans should be looked at again.
    pub(super) fn measure(&mut self, id: RequestId, site: Site, measured: &Measured) -> bool {
        let joules = measured.prefill.energy.as_f64() + measured.decode.energy.as_f64();
        self.spent += joules;
        if let Some(past) = self.past.get_mut(&id) {
            if let Some(instead) = &mut past.instead {
                // What it took on another lane before counts as well.
                self.explored += joules;
                let covered = joules.min(*instead);
                self.explored -= covered;
                *instead -= covered;
            }
            if measured.decode.tokens > 0 {
                self.reuse.answered(past.client, past.endpoint, id, measured.decode.tokens);
            }
            if measured.ended && measured.decode.tokens > 0 {
                self.lengths.learn(past.client, past.endpoint, measured.decode.tokens, past.bound);
            }
        }
        let company = self.past.get(&id).map_or(0.0, |past| past.company);
        self.contend(site, measured, company);
        let alone = 1.0 / (1.0 + self.contention() * company);
        let spot = self.spots.entry(site).or_default();
        let news = spot.profile.learn(&measured.scaled(alone));
        if measured.decode.tokens > 0 {
            spot.stale = false;
        }
        let again = if news == News::Surprise { spot.seen.1 + 1 } else { 0 };
        if again == 0 || again > OUTLIERS {
            spot.seen = (self.spent, 0);
        } else {
            spot.seen.1 = again;
        }
        if news == News::Change {
            for (_, other) in self.spots.iter_mut().filter(|(other, _)| **other != site) {
                other.stale |= other.profile.is_measured();
                other.profile.suspect();
            }
        }
        news >= News::First
    }

    /// A request leaves its lane, where another one computed beside it in this share of its time.
    pub(super) fn left(&mut self, id: RequestId, company: f64) {
        if let Some(past) = self.past.get_mut(&id) {
            past.company = within(company, 0.0, 1.0);
        }
    }

    /// What takes longer while another lane computes, as a part.
    pub(super) fn contention(&self) -> f64 {
        self.contention.unwrap_or(CONTENTION)
    }

    /// Learns that from a request that had company.
    fn contend(&mut self, site: Site, measured: &Measured, company: f64) {
        let Measured { threads, decode, .. } = measured;
        if company < COMPANY || decode.tokens == 0 {
            return;
        }
        let profile = self.measured(site).filter(|profile| profile.confidence().1 >= SURE);
        let step = profile.and_then(|p| p.step(*threads, f64::from(decode.batch), f64::from(decode.context)));
        let Some(step) = step.filter(|step| step.seconds > 0.0) else { return };
        // Joules are told apart in a batch, and time is not.
        let each = 1.0 / f64::from(decode.tokens);
        let joules = decode.energy.as_f64() * each * f64::from(decode.batch);
        let ratio = match step.joules > 0.0 && joules > 0.0 {
            true => joules / step.joules,
            false => decode.time.as_secs_f64() * each / step.seconds,
        };
        let seen = within((ratio - 1.0) / company, 0.0, CONTENTION_MOST);
        let old = self.contention();
        self.contention = Some(old + CONTENTION_STEP * (seen - old));
    }

    /// A lane came up there.
    pub(super) fn woke(&mut self, site: Site, cost: Cost) {
        if !(0.0..1e9).contains(&cost.joules) {
            return;
        }
        self.spent += cost.joules;
        if self.exploring.contains(&site) {
            self.explored += cost.joules;
        }
        self.spots.entry(site).or_default().profile.woke(cost);
    }

    /// Keeping a lane there was seen to add so many watts.
    pub(super) fn held(&mut self, site: Site, watts: f64) {
        self.spots.entry(site).or_default().profile.held(watts);
    }

    /// A lane there is to be explored.
    pub(super) fn explores(&mut self, site: Site) {
        self.exploring.insert(site);
    }

    pub(super) fn is_explored(&self, site: Site) -> bool {
        self.exploring.contains(&site)
    }

    /// No lane there is to be explored any more.
    pub(super) fn in_use(&mut self, site: Site) {
        self.exploring.remove(&site);
    }

    /// Whether so much has been spent since a lane here was last measured that measuring it again for `excess` joules is due:
    /// a driver, a fan or a power mode may have made it the better one, and nobody would know.
    pub(super) fn is_due(&self, site: Site, excess: f64) -> bool {
        self.spots.get(&site).is_some_and(|spot| excess <= AGAIN * (self.spent - spot.seen.0))
    }

    /// Whether exploring may take `excess` joules more than a plan of `usual` joules, in a `share` of all that is spent.
    pub(super) fn may_explore(&self, excess: f64, usual: f64, share: f64) -> bool {
        share > 0.0 && self.explored + excess <= share * (self.spent + GRANT * usual)
    }
}
