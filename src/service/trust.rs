//! Which GPUs may be used for which models.
//!
//! A model that comes up on a GPU is asked the probe of [`lane::trust`](crate::lane::trust) before it gets a request; its
//! answer is compared with the CPU's, for which a lane on the CPU is brought up where there is none and no earlier answer
//! is known. Verdicts and the CPU's answers are kept in the state folder: `trust.json`. A verdict holds for one file, one
//! device, one state of the drivers and one version of wattlm; of a device that failed, until one of them changes or the
//! device has slept.
//!
//! What always holds: no request runs on a GPU whose answer to the probe was not compared.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::core::Core;
use super::lanes::Phase;
use crate::error::{Code, Error};
use crate::lane::trust::{compare, Probed};
use crate::lane::{GpuInfo, LaneId, ToLane};
use crate::sched::{DeviceId, Event, LaneState, Site, VariantId};

/// Verdicts that are kept; the oldest are forgotten first.
const VERDICTS: usize = 64;
/// The CPU's answers: each is a megabyte at most.
const ANSWERS: usize = 8;
/// Nobody writes more; a longer file is something else.
const MAX: u64 = 16 << 20;

/// What was found of a model on a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// It computes what the CPU computes.
    Trusted {
        /// Normalised root-mean-square error of the logits.
        error: f32,
        /// Greedy tokens that are equal.
        equal: usize,
    },
    /// It does not, or it failed in the attempt.
    Failed(String),
}

/// What a verdict is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Subject {
    /// The model's file, as the catalog identifies it.
    model: String,
    /// The GPU: its backend's name for it, and its driver's. Empty: the CPU.
    device: String,
    /// Stands for the drivers' files.
    drivers: u64,
    version: String,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct File {
    verdicts: Vec<(Subject, Verdict)>,
    answers: Vec<(Subject, Probed)>,
}

/// What is known of all.
#[derive(Debug)]
pub(super) struct Trust {
    file: File,
    state: PathBuf,
    /// Answers of devices that wait for the CPU's.
    waiting: BTreeMap<LaneId, Probed>,
}

impl Subject {
    fn cpu(model: String) -> Subject {
        Subject { model, device: String::new(), drivers: 0, version: crate::VERSION.to_owned() }
    }

    fn gpu(model: String, gpu: &GpuInfo, drivers: u64) -> Subject {
        let device = format!("{} ({})", gpu.id.ggml, gpu.description);
        Subject { model, device, drivers, version: crate::VERSION.to_owned() }
    }
}

/// Replaces what is known of `subject`.
fn keep<T>(all: &mut Vec<(Subject, T)>, most: usize, subject: Subject, value: T) {
    all.retain(|(other, _)| *other != subject);
    all.push((subject, value));
    let excess = all.len().saturating_sub(most);
    all.drain(..excess);
}

fn find<'a, T>(all: &'a [(Subject, T)], subject: &Subject) -> Option<&'a T> {
    all.iter().find(|(other, _)| other == subject).map(|(_, value)| value)
}

impl Trust {
    /// What an earlier run left; nothing where that cannot be read.
    pub fn open(state: &Path) -> Trust {
        let path = state.join("trust.json");
        let small = std::fs::metadata(&path).is_ok_and(|file| file.len() <= MAX);
        let file = small.then(|| std::fs::read(&path).ok()).flatten();
        let file = file.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Trust { file, state: state.to_owned(), waiting: BTreeMap::new() }
    }

    /// Writes it. What cannot be written is found out again.
    fn write(&self) {
        super::keep::later(self.state.join("trust.json"), "which GPUs are trusted", self.file.clone());
    }

    /// What waits for the CPU's answer is of no use any more.
    pub fn lane_gone(&mut self, lane: LaneId) {
        self.waiting.remove(&lane);
    }

    /// Failures are forgotten: drivers that recovered get another chance.
    pub fn pardon(&mut self) {
        self.file.verdicts.retain(|(_, verdict)| matches!(verdict, Verdict::Trusted { .. }));
    }
}

impl Core {
    fn subject(&self, site: Site) -> Option<Subject> {
        let model = self.catalog.identity(site.variant)?;
        match site.device.is_cpu() {
            true => Some(Subject::cpu(model)),
            false => Some(Subject::gpu(model, self.gpus.get(site.device)?, self.gpus.drivers())),
        }
    }

    /// What is known of a model on a GPU.
    pub(super) fn verdict(&self, site: Site) -> Option<&Verdict> {
        find(&self.trust.file.verdicts, &self.subject(site)?)
    }

    /// A lane has come up. Whether it may be used at once; else it, and the CPU's, have been asked the probe.
    pub(super) fn trusted(&mut self, lane: LaneId, site: Site) -> bool {
        if site.device.is_cpu() {
            if self.gpus.any() && self.cpu_answer(site.variant).is_none() {
                self.ask(lane);
            }
            return true;
        }
        if matches!(self.verdict(site), Some(Verdict::Trusted { .. })) {
            return true;
        }
        if let Some(slot) = self.lanes.by_id.get_mut(&lane) {
            slot.phase = Phase::Proving;
        }
        self.ask(lane);
        self.ask_cpu(site.variant);
        false
    }

    fn cpu_answer(&self, variant: VariantId) -> Option<&Probed> {
        find(&self.trust.file.answers, &self.subject(Site::cpu(variant))?)
    }

    /// Whether a GPU waits for this lane's answer to the probe.
    pub(super) fn proves(&self, site: Site) -> bool {
        site.device.is_cpu() && self.cpu_answer(site.variant).is_none()
    }

    fn ask(&mut self, lane: LaneId) {
        let now = self.clock.now();
        let Some(slot) = self.lanes.by_id.get_mut(&lane) else { return };
        if let Some(l) = slot.lane.as_ref().filter(|_| !slot.probing) {
            l.send(ToLane::Probe);
            slot.probing = true;
            if slot.running.is_empty() {
                slot.armed(now);
            }
        }
    }

    /// Sees to it that the CPU's answer comes.
    fn ask_cpu(&mut self, variant: VariantId) {
        if self.cpu_answer(variant).is_some() {
            return;
        }
        let site = Site::cpu(variant);
        let up = self.lanes.by_id.iter().find(|(_, slot)| slot.site == site && slot.phase != Phase::Stopping);
        match up.map(|(id, slot)| (*id, slot.phase)) {
            Some((id, Phase::Ready)) => self.ask(id),
            // It is asked when it is ready.
            Some(_) => {}
            None => self.later.push(Event::Load(site)),
        }
    }

    /// A lane has answered the probe.
    pub(super) fn probed(&mut self, lane: LaneId, answer: Result<Probed, Error>) {
        let Some(slot) = self.lanes.by_id.get_mut(&lane) else { return };
        slot.probing = false;
        let (site, proving) = (slot.site, slot.phase == Phase::Proving);
        match answer {
            Ok(answer) if site.device.is_cpu() => {
                if let Some(subject) = self.subject(site) {
                    keep(&mut self.trust.file.answers, ANSWERS, subject, answer);
                    self.trust.write();
                }
                self.judge_all(site.variant);
            }
            Ok(answer) if proving => {
                self.trust.waiting.insert(lane, answer);
                self.judge_all(site.variant);
            }
            Ok(_) => {}
            Err(error) if site.device.is_cpu() => self.cannot_prove(site.variant, &error),
            Err(error) => self.sentence(lane, Err(error.message)),
        }
    }

    /// Compares what can be compared.
    fn judge_all(&mut self, variant: VariantId) {
        let Some(cpu) = self.cpu_answer(variant).cloned() else { return };
        let of = |(id, answer): (&LaneId, &Probed)| {
            let slot = self.lanes.by_id.get(id).filter(|slot| slot.site.variant == variant)?;
            (slot.phase == Phase::Proving).then(|| (*id, compare(&cpu, answer)))
        };
        for (lane, verdict) in self.trust.waiting.iter().filter_map(of).collect::<Vec<_>>() {
            self.trust.waiting.remove(&lane);
            let verdict = verdict.map(|agreement| (agreement.error, agreement.equal));
            self.sentence(lane, verdict);
        }
    }

    fn sentence(&mut self, lane: LaneId, verdict: Result<(f32, usize), String>) {
        let Some(slot) = self.lanes.by_id.get(&lane) else { return };
        let (site, model) = (slot.site, slot.model.clone());
        let device = self.gpus.name(site.device);
        let subject = self.subject(site);
        let known = match &verdict {
            Ok((error, equal)) => Verdict::Trusted { error: *error, equal: *equal },
            Err(why) => Verdict::Failed(why.clone()),
        };
        if let Some(subject) = subject {
            keep(&mut self.trust.file.verdicts, VERDICTS, subject, known);
            self.trust.write();
        }
        match verdict {
            Ok((error, equal)) => {
                log::info!(
                    "{model}: {device} agrees with the CPU: logits {:.2} % apart, {equal} tokens equal",
                    error * 100.0
                );
                self.serve(lane);
            }
            Err(why) => {
                let message = format!("{model}: {device} is not used for it: {why}");
                let error = Error::new(Code::ModelLoadFailed, message);
                self.load_failed(lane, &error);
                self.later.push(Event::LoadFailed { lane, error });
                self.later.push(Event::Site { site, usable: false });
            }
        }
    }

    /// The CPU's answer cannot be had: what waits for it cannot be used now. That says nothing about the GPU.
    pub(super) fn cannot_prove(&mut self, variant: VariantId, why: &Error) {
        let proving = self.lanes.by_id.iter().filter(|(_, slot)| slot.phase == Phase::Proving);
        let lanes: Vec<(LaneId, Site, String)> = proving
            .filter(|(_, slot)| slot.site.variant == variant)
            .map(|(id, slot)| (*id, slot.site, slot.model.clone()))
            .collect();
        for (lane, site, model) in lanes {
            let device = self.gpus.name(site.device);
            let message = format!("{model}: {device} cannot be compared with the CPU: {}", why.message);
            let error = Error::new(Code::ModelLoadFailed, message);
            self.load_failed(lane, &error);
            self.later.push(Event::LoadFailed { lane, error });
        }
    }

    /// Tells the scheduler where lanes can be.
    pub(super) fn announce_sites(&mut self) {
        let again = std::mem::take(&mut self.gpus.again);
        let mut news = Vec::new();
        for variant in self.catalog.ids() {
            for device in self.gpus.devices() {
                let site = Site { variant, device };
                let usable = self.gpus.usable(device) && !matches!(self.verdict(site), Some(Verdict::Failed(_)));
                if usable != self.gpus.told.contains(&site) || (usable && again) {
                    news.push((site, usable));
                }
            }
        }
        for (site, usable) in news {
            match usable {
                true => drop(self.gpus.told.insert(site)),
                false => drop(self.gpus.told.remove(&site)),
            }
            self.event(Event::Site { site, usable });
        }
    }

    /// What is wrong with GPUs, for people.
    pub(super) fn distrusted(&self) -> Vec<String> {
        let failed = |device: DeviceId, variant: VariantId| {
            let site = Site { variant, device };
            let why = match (self.verdict(site), self.sched.lane_state(site)) {
                (Some(Verdict::Failed(why)), _) => why.clone(),
                (_, LaneState::Quarantined { until }) if until > self.clock.now() => {
                    let seconds = until.since(self.clock.now()).as_secs_f64().ceil();
                    format!("it failed too often and is left alone for another {seconds} s")
                }
                _ => return None,
            };
            Some(format!("{} is not used for {}: {why}", self.gpus.name(device), self.catalog.name(variant)))
        };
        let variants = self.catalog.ids();
        self.gpus.devices().flat_map(|device| variants.iter().filter_map(move |v| failed(device, *v))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_kept_for_their_subject_and_the_oldest_go() {
        let mut all = Vec::new();
        for i in 0..VERDICTS + 5 {
            keep(&mut all, VERDICTS, Subject::cpu(i.to_string()), i);
        }
        keep(&mut all, VERDICTS, Subject::cpu("10".into()), 1_000);
        assert_eq!(all.len(), VERDICTS);
        assert_eq!(find(&all, &Subject::cpu("10".into())), Some(&1_000));
        assert_eq!(find(&all, &Subject::cpu("3".into())), None);
        let newer = Subject { version: "other".into(), ..Subject::cpu("10".into()) };
        assert_eq!(find(&all, &newer), None, "another version computes otherwise");
    }

    #[test]
    fn what_cannot_be_read_is_as_good_as_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("trust.json"), "[]").unwrap();
        assert!(Trust::open(dir.path()).file.verdicts.is_empty());
    }
}
