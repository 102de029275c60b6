//! Joules of the service: tells the ledger what runs, and requests, scheduler and account what the ledger found.
//!
//! A request that has run does not end before its energy is known: its slot is free at once, its client is told when
//! the meter has been read, some tenths of a millisecond later. A meter that does not answer in time costs the
//! precision of the receipt, not the answer.
//!
//! What always holds: each request that the scheduler knew is settled with it once; no receipt waits longer than
//! [`PATIENCE`].

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use super::api::{request_name, EnergyReceipt, Outcome};
use super::core::Core;
use super::cpu::usable_cores;
use super::lanes::LaneSlot;
use super::learned::Learned;
use super::requests::Request;
use super::sampler::{cpu_of, Sample, Sampler, Sensors};
use crate::clock::Time;
use crate::config::Config;
use crate::energy::ledger::{Charge, Ledger};
use crate::energy::meter::MeterInfo;
use crate::energy::model::{PowerModel, Prior};
use crate::energy::{coarse, coarse_each, Quality, Scope};
use crate::lane::{CpuClock, Finish, LaneId, RequestId, Step, ToLane, Usage};
use crate::sched::{Event, Progress, FLOOR};
use crate::units::{Microjoules, Microwatts};

/// Longest wait for the meter. A bus at 100 kHz takes milliseconds for a sensor.
const PATIENCE: Duration = Duration::from_millis(100);

/// What was learned is written no more often: flash wears.
const SELDOM: Duration = Duration::from_secs(600);

/// What an allowance has to change by, as a part of it, to be told again.
const ALLOWANCE_NEWS: u64 = 100;

/// A request that has run and whose energy is being asked for.
struct Finishing {
    id: RequestId,
    ticket: u64,
    due: Time,
    /// Whom to tell, and what.
    answer: Option<(Request, Box<Outcome>)>,
    /// Its answer came to its own end.
    ended: bool,
}

/// What the service keeps for it.
pub(super) struct Metering {
    pub ledger: Ledger,
    sampler: Option<Sampler>,
    finishing: VecDeque<Finishing>,
    /// What lanes did since the meter was last read.
    progress: BTreeMap<LaneId, Progress>,
    /// What requests may use in all, where that is bounded, and the CPU time that their lanes were told it is.
    allowed: BTreeMap<RequestId, (Microjoules, Option<u64>)>,
    pub info: MeterInfo,
    /// Something worked since it was last read.
    pub worked: bool,
    /// It was said that the power cap cannot be kept.
    cap_lost: bool,
    /// What a next run will begin with.
    learned: Option<Learned>,
    /// When that was last written.
    written: Option<Time>,
    state: PathBuf,
}

impl Metering {
    pub fn new(config: &Config, cores: u32, sampler: Option<Sampler>) -> Metering {
        let learned = Learned::read(&config.paths.state);
        Metering {
            ledger: Ledger::new(PowerModel::new(prior(config, cores, learned.as_ref()))),
            learned,
            written: None,
            cap_lost: false,
            worked: true,
            state: config.paths.state.clone(),
            sampler,
            finishing: VecDeque::new(),
            progress: BTreeMap::new(),
            allowed: BTreeMap::new(),
            info: MeterInfo { source: String::new(), scope: Scope::Board, refresh: Duration::ZERO, cards: false },
        }
    }

    /// Keeps what was learned for the next run, where that is news.
    fn remember(&mut self, now: Time) {
        if self.info.source.is_empty() || self.written.is_some_and(|at| now.since(at) < SELDOM) {
            return;
        }
        let Some(prior) = self.ledger.model().learned() else { return };
        let learned = Learned::new(&self.info.source, prior);
        if learned.is_news(self.learned.as_ref()) {
            (self.learned, self.written) = (Some(learned.clone()), Some(now));
            learned.write(&self.state);
        }
    }

    /// Nobody waits for a receipt.
    pub fn idle(&self) -> bool {
        self.finishing.is_empty()
    }

    pub fn next_due(&self) -> Option<Time> {
        self.finishing.front().map(|f| f.due)
    }

    /// What a client is told of what it used.
    fn receipt(&self, charge: &Charge, usage: Usage, limit: Option<String>) -> EnergyReceipt {
        EnergyReceipt {
            joules: coarse(charge.total()),
            error: coarse(charge.error),
            wake: coarse(charge.wake),
            prefill: coarse(charge.prefill),
            decode: coarse(charge.decode),
            idle: coarse(charge.idle),
            joules_per_token: coarse_each(charge.prefill + charge.decode, usage.completion_tokens),
            quality: if self.info.source.is_empty() { Quality::Estimated } else { charge.quality() },
            scope: self.info.scope,
            source: if self.info.source.is_empty() { "model".to_owned() } else { self.info.source.clone() },
            limit,
        }
    }
}

/// What the device draws as the configuration says, else as an earlier run found, else as a small board does.
fn prior(config: &Config, cores: u32, learned: Option<&Learned>) -> Prior {
    let or = |configured: Microwatts, built_in: f64| match configured {
        Microwatts(0) => built_in,
        watts => watts.as_f64(),
    };
    let (idle, core) = learned.map_or((Prior::default().idle, Prior::default().core), |l| (l.idle, l.core));
    let known = learned.is_some() || config.energy.idle > Microwatts::ZERO;
    let gpu = or(config.energy.gpu, Prior::default().gpu);
    Prior { idle: or(config.energy.idle, idle), core: or(config.energy.core, core), gpu, cores, known }
}

/// Where the sensors are, as configured.
pub(super) fn sensors(config: &Config) -> Sensors {
    let (sysfs, procfs) = (config.paths.sysfs.clone(), config.paths.procfs.clone());
    Sensors { energy: config.energy.clone(), sysfs, procfs }
}

impl Core {
    /// Tells the sampler what there is to look at. Cheap where nothing changed.
    pub(super) fn look(&mut self) {
        let Some(sampler) = &self.metering.sampler else { return };
        let lanes = self.lanes.by_id.iter().filter_map(|(id, slot)| Some((*id, slot.cpu()?)));
        let busy = !self.metering.idle() || self.lanes.by_id.values().any(|slot| slot.works());
        sampler.set(lanes.collect(), busy, self.sched.wants_signals());
    }

    /// A lane takes requests from now on: what its worker used until now was for that.
    pub(super) fn lane_woke(&mut self, id: LaneId) {
        // Where that cannot be told, nobody is charged for it: who woke it must not wait for it for ever.
        let cpu = self.worker_cpu(id).unwrap_or_default();
        let cell = self.lanes.by_id.get(&id).and_then(|slot| slot.info.as_ref()).map_or(0.0, |info| info.cell_cost);
        let now = self.clock.now();
        if let Some(slot) = self.lanes.by_id.get_mut(&id) {
            // What was told of it while it came up was this clock: it must not go back.
            slot.load = cpu;
            slot.clock = Some((cpu, now));
        }
        self.metering.ledger.ready(id, cpu, cell);
    }

    /// CPU time that a lane's worker has used.
    pub(super) fn worker_cpu(&self, id: LaneId) -> Option<Duration> {
        cpu_of(self.lanes.by_id.get(&id)?.cpu()?)
    }

    /// A lane made a step.
    pub(super) fn charge(&mut self, id: LaneId, step: &Step) {
        // What was said without computing.
        if step.parts.is_empty() {
            return;
        }
        self.metering.progress.entry(id).or_default().add(step);
        // A lane that does not count its own CPU time is looked at from outside, which blurs the steps' edges.
        let cpu = match step.cpu_end_us {
            0 => self.worker_cpu(id),
            us => {
                let since = Duration::from_micros(us);
                // In the app's own process the clock began before the lane did; on a GPU, when the lane came up.
                let slot = self.lanes.by_id.get(&id);
                Some(match (slot, slot.and_then(LaneSlot::cpu)) {
                    (Some(slot), _) if !slot.site.device.is_cpu() => slot.load + since,
                    (_, Some(CpuClock::Inside(before))) => since.saturating_sub(before),
                    _ => since,
                })
            }
        };
        let now = self.clock.now();
        if let (Some(slot), Some(cpu)) = (self.lanes.by_id.get_mut(&id), cpu) {
            slot.clock = Some((cpu, now));
        }
        if let Some(cpu) = cpu {
            self.metering.ledger.step(id, cpu, &step.parts);
            self.tell_spent();
        }
    }

    /// A request may use this much energy in all. A lane counts CPU time: it is told how much that is, and again when
    /// it turns out to be worth more or less.
    pub(super) fn allow(&mut self, id: RequestId, energy: Microjoules) {
        let told = self.metering.allowed.get(&id).and_then(|(_, told)| *told);
        self.metering.allowed.insert(id, (energy, told));
        self.tell_allowances(Some(id));
    }

    /// The CPU time that a request which is about to start may use.
    pub(super) fn allowance(&mut self, id: RequestId, lane: LaneId) -> Option<u64> {
        let (energy, told) = self.metering.allowed.get_mut(&id)?;
        let micros = u64::try_from(self.metering.ledger.cpu_left(id, lane, *energy).as_micros()).unwrap_or(u64::MAX);
        *told = Some(micros);
        *told
    }

    /// Tells lanes what their requests may still use, where that is news.
    fn tell_allowances(&mut self, only: Option<RequestId>) {
        let Metering { ledger, allowed, .. } = &mut self.metering;
        for (id, (energy, told)) in allowed.iter_mut().filter(|(id, _)| only.is_none_or(|o| o == **id)) {
            // One that does not run yet is told when it starts.
            let (Some(before), Some(request)) = (*told, self.requests.get(id)) else { continue };
            let Some(lane) = request.lane else { continue };
            let cpu = ledger.cpu_used(*id) + ledger.cpu_left(*id, lane, *energy);
            let micros = u64::try_from(cpu.as_micros()).unwrap_or(u64::MAX);
            if micros.abs_diff(before) > before / ALLOWANCE_NEWS {
                *told = Some(micros);
                if let Some(l) = self.lanes.by_id.get(&lane).and_then(|slot| slot.lane.as_ref()) {
                    l.send(ToLane::Allow { id: *id, cpu_us: micros });
                }
            }
        }
    }

    /// Passes on what requests were found to use.
    pub(super) fn tell_spent(&mut self) {
        for spent in self.metering.ledger.take_spent() {
            self.event(Event::Spent { id: spent.id, more: spent.more, less: spent.less });
        }
    }

    /// A request has left its lane. Its client, where there still is one, is told when the meter has been read.
    pub(super) fn ran(&mut self, id: RequestId, answer: Option<(Request, Box<Outcome>)>) {
        let now = self.clock.now();
        self.metering.ledger.stopped(id, now);
        let ticket = self.metering.sampler.as_ref().map_or(0, Sampler::now);
        let ended = answer.as_ref().is_some_and(|(_, o)| matches!(o.finish, Finish::Stop | Finish::Length));
        self.metering.finishing.push_back(Finishing { id, ticket, due: now + PATIENCE, answer, ended });
        if ticket == 0 {
            self.settle_receipts(0);
        }
    }

    /// The meter was read.
    pub(super) fn sampled(&mut self, mut sample: Sample) {
        let at = sample.reading.at;
        let gpus = self.lanes.by_id.iter().filter(|(_, slot)| !slot.site.device.is_cpu());
        sample.cpu.gpus =
            gpus.filter_map(|(id, slot)| Some((*id, slot.gpu_clock(at, sample.cpu.lanes.get(id))?))).collect();
        if let Some((info, others)) = sample.info {
            if others {
                if info.source.is_empty() {
                    log::info!("energy: no sensor; what requests use is estimated");
                }
                let learned =
                    self.metering.learned.as_ref().filter(|l| !info.source.is_empty() && l.source != info.source);
                if !self.metering.info.source.is_empty() || learned.is_some() {
                    // What one sensor sees of an idle device says nothing of what another does.
                    let cores = usable_cores(&self.catalog.config().paths.sysfs);
                    let prior = prior(self.catalog.config(), cores, None);
                    self.metering.ledger.relearn(PowerModel::new(prior));
                    self.rests.forget();
                }
            }
            self.metering.ledger.sees_cards_alone(info.cards);
            self.metering.info = info;
        }
        let (at, totals) = (sample.reading.at, self.metering.ledger.totals());
        let since = self.metering.ledger.booked_to();
        self.metering.ledger.sampled(sample.reading, sample.cpu);
        self.tell_spent();
        self.tell_woken();
        let (now, until) = (self.metering.ledger.totals(), self.metering.ledger.booked_to());
        let (used, others) = (now.metered - totals.metered, now.others - totals.others);
        if let (Some(since), Some(until)) = (since, until) {
            if until > since {
                for (lane, done) in std::mem::take(&mut self.metering.progress) {
                    self.event(Event::Progress { lane, done });
                }
                let span = until.since(since);
                self.rested(used, others, span);
                self.event(Event::Power { draw: used.over(span), span });
                self.tell_of_cap();
            }
        }
        if let Some(signals) = sample.signals {
            self.event(Event::Signals(signals));
        }
        self.tell_allowances(None);
        self.settle_receipts(sample.ticket);
        if !self.works() {
            self.keep_profiles();
            self.keep_habits();
        }
        if sample.last {
            log::debug!("energy: nothing runs, the meter rests at {} s", at.0 / 1_000_000_000);
            self.metering.ledger.pause();
            self.metering.remember(at);
            self.accounting.device(&self.metering.ledger.totals());
        }
    }

    /// Says, once each time, that the device draws its cap without any model's work.
    fn tell_of_cap(&mut self) {
        let power = self.sched.power();
        let (Some(cap), Some(base)) = (power.cap, power.base) else { return };
        if power.unreachable && !self.metering.cap_lost {
            log::warn!(
                "the power cap of {cap} cannot be kept: the device draws {base} without any model's work; models run at \
                 {:.0} % of their time so that requests end. Raise power.cap",
                f64::from(FLOOR) / 10.0
            );
        }
        self.metering.cap_lost = power.unreachable;
    }

    /// Tells those whose ticket was answered, or who waited long enough, what they used.
    pub(super) fn settle_receipts(&mut self, ticket: u64) {
        let now = self.clock.now();
        while self.metering.finishing.front().is_some_and(|f| f.ticket <= ticket || f.due <= now) {
            let Some(Finishing { id, answer, ended, .. }) = self.metering.finishing.pop_front() else { break };
            let charge = self.metering.ledger.finish(id, self.metering.info.refresh, now);
            self.measured(id, &charge, ended, answer.as_ref().is_some_and(|(request, _)| request.calibrates()));
            if let Some((request, mut outcome)) = answer {
                let usage = outcome.usage;
                let prompt = (usage.prompt_tokens.saturating_sub(usage.cached_tokens), charge.prefill);
                self.predictor.learn(request.variant, prompt, (usage.completion_tokens, charge.decode));
                outcome.receipt.energy = self.metering.receipt(&charge, usage, outcome.receipt.energy.limit);
                self.choices.completed(id, &outcome);
                request.finish(outcome);
            }
            self.metering.remember(now);
        }
        self.tell_spent();
        self.settled();
        if let Some(event) = self.later.pop() {
            self.event(event);
        }
    }

    /// A request ended that does not run: nothing but what was already told is to come.
    pub(super) fn ended_waiting(&mut self, id: RequestId) {
        let now = self.clock.now();
        let charge = self.metering.ledger.finish(id, self.metering.info.refresh, now);
        // It may have run before: until its budget was used up, its prompt was computed, or its lane was lost.
        self.measured(id, &charge, false, false);
        self.settled();
    }

    /// Nothing more is to come of these.
    fn settled(&mut self) {
        for (id, charge) in self.metering.ledger.take_settled() {
            self.metering.allowed.remove(&id);
            self.later.push(Event::Settled(id));
            self.accounting.settled(id, &charge);
            self.accounting.device(&self.metering.ledger.totals());
            log::trace!("{} used {}", request_name(id), charge.total());
        }
    }

    /// The service ends: whoever waits is told what is known.
    pub(super) fn settle_all(&mut self) {
        self.settle_receipts(u64::MAX);
    }

    /// The configuration changed.
    pub(super) fn meter_anew(&mut self) {
        if let Some(sampler) = &self.metering.sampler {
            sampler.reopen(sensors(self.catalog.config()));
        }
    }
}
