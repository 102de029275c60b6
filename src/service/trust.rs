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

use super::catalog::Content;
use super::core::Core;
use super::lanes::{LaneSlot, Phase};
use super::profiles::Identity;
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
pub(super) struct Subject {
    /// What the model's file holds, as the catalog calls it.
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
    /// Where the model's present file was found to fail, and why, as of when that was last looked at.
    failed: BTreeMap<Site, String>,
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

/// What a lane has loaded. It is found out before its process is started: what is learnt of the lane is learnt of this, also
/// where the model's file is replaced meanwhile.
#[derive(Debug, Clone)]
pub(super) struct Loaded {
    pub content: Content,
    pub subject: Subject,
    /// What its profile belongs to.
    pub identity: Identity,
}

impl Loaded {
    /// Whether both are on the same device with the same driver.
    fn device_is(&self, other: &Loaded) -> bool {
        (&self.subject.device, self.subject.drivers) == (&other.subject.device, other.subject.drivers)
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
        Trust { file, state: state.to_owned(), waiting: BTreeMap::new(), failed: BTreeMap::new() }
    }

    /// Writes it. What cannot be written is found out again.
    fn write(&self) {
        super::keep::later(
            self.state.join("trust.json"),
            super::keep::OPEN,
            "which GPUs are trusted",
            self.file.clone(),
        );
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
    /// What a lane that is about to be started there is loaded with. It reads the disk.
    pub(super) fn to_load(&self, site: Site) -> Option<Loaded> {
        let content = self.catalog.content(site.variant)?;
        let (subject, identity) = (self.subject(site, &content)?, self.identity(site, &content)?);
        Some(Loaded { content, subject, identity })
    }

    fn subject(&self, site: Site, content: &Content) -> Option<Subject> {
        let model = content.name.clone();
        match site.device.is_cpu() {
            true => Some(Subject::cpu(model)),
            false => Some(Subject::gpu(model, self.gpus.get(site.device)?, self.gpus.drivers())),
        }
    }

    /// A lane has come up. Whether it may be used at once; else it, and the CPU's, have been asked the probe.
    pub(super) fn trusted(&mut self, lane: LaneId, site: Site) -> bool {
        let loaded = self.lanes.by_id.get(&lane).and_then(|slot| slot.loaded.as_ref());
        if site.device.is_cpu() {
            let answered = loaded.is_some_and(|loaded| self.answer(&loaded.content).is_some());
            // One may wait for it though there is no GPU any more, or not just now.
            let waits = self.lanes.of(site.variant).any(|slot| slot.phase == Phase::Proving);
            if (waits || self.gpus.any()) && !answered {
                self.ask(lane);
            }
            return true;
        }
        let verdict = loaded.and_then(|loaded| find(&self.trust.file.verdicts, &loaded.subject));
        if matches!(verdict, Some(Verdict::Trusted { .. })) {
            return true;
        }
        if let Some(slot) = self.lanes.by_id.get_mut(&lane) {
            slot.phase = Phase::Proving;
        }
        self.ask(lane);
        self.ask_cpu(lane);
        false
    }

    /// What the CPU answers with this content, where that is known.
    fn answer(&self, content: &Content) -> Option<&Probed> {
        find(&self.trust.file.answers, &Subject::cpu(content.name.clone()))
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

    /// Sees to it that the CPU's answer comes, with which this lane is compared.
    fn ask_cpu(&mut self, lane: LaneId) {
        let Some(slot) = self.lanes.by_id.get(&lane) else { return };
        if slot.loaded.as_ref().is_some_and(|loaded| self.answer(&loaded.content).is_some()) {
            return;
        }
        let site = Site::cpu(slot.site.variant);
        let up = self.lanes.by_id.iter().find(|(_, slot)| slot.site == site && slot.phase != Phase::Stopping);
        match up.map(|(id, slot)| (*id, slot.phase)) {
            Some((id, Phase::Ready)) => self.ask(id),
            // It is asked when it is ready.
            Some(_) => {}
            None => self.later.push(Event::Load(site)),
        }
    }

    /// The lane on the CPU has died. What waits for its answer waits for that of one more: kernels that the processor does
    /// not run are left out in that.
    pub(super) fn ask_cpu_again(&mut self, variant: VariantId) {
        let waits = |slot: &LaneSlot| slot.site.variant == variant && !slot.asked_again && self.waits_for_cpu(slot);
        let waiting: Vec<LaneId> = self.lanes.by_id.iter().filter(|(_, slot)| waits(slot)).map(|(id, _)| *id).collect();
        for lane in waiting {
            if let Some(slot) = self.lanes.by_id.get_mut(&lane) {
                slot.asked_again = true;
            }
            self.ask_cpu(lane);
        }
    }

    /// A lane has answered the probe.
    pub(super) fn probed(&mut self, lane: LaneId, answer: Result<Probed, Error>) {
        let Some(slot) = self.lanes.by_id.get_mut(&lane) else { return };
        slot.probing = false;
        let (site, proving) = (slot.site, slot.phase == Phase::Proving);
        match answer {
            Ok(answer) if site.device.is_cpu() => {
                self.answered(lane, &answer);
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
        self.settle_proofs();
    }

    /// The CPU's lane has answered. That is kept for what it has loaded, whatever the model's file holds by now; also
    /// under the name by which a GPU that waits for it knows the same content.
    fn answered(&mut self, lane: LaneId, answer: &Probed) {
        let Some(slot) = self.lanes.by_id.get(&lane) else { return };
        let Some(own) = slot.loaded.as_ref().map(|loaded| &loaded.content) else { return };
        let proving = self.lanes.of(slot.site.variant).filter(|slot| slot.phase == Phase::Proving);
        let theirs = proving.filter_map(|slot| slot.loaded.as_ref()).map(|loaded| &loaded.content);
        let mut names: Vec<String> = theirs.filter(|content| content.is(own)).map(|c| c.name.clone()).collect();
        names.push(own.name.clone());
        names.sort();
        names.dedup();
        for name in names {
            keep(&mut self.trust.file.answers, ANSWERS, Subject::cpu(name), answer.clone());
        }
        self.trust.write();
    }

    /// Compares what can be compared.
    fn judge_all(&mut self, variant: VariantId) {
        let of = |(id, answer): (&LaneId, &Probed)| {
            let slot = self.lanes.by_id.get(id).filter(|slot| slot.site.variant == variant)?;
            let cpu = self.answer(&slot.loaded.as_ref()?.content)?;
            (slot.phase == Phase::Proving).then(|| (*id, compare(cpu, answer)))
        };
        for (lane, verdict) in self.trust.waiting.iter().filter_map(of).collect::<Vec<_>>() {
            self.trust.waiting.remove(&lane);
            let verdict = verdict.map(|agreement| (agreement.error, agreement.equal));
            self.sentence(lane, verdict);
        }
    }

    fn sentence(&mut self, lane: LaneId, verdict: Result<(f32, usize), String>) {
        let Some(slot) = self.lanes.by_id.get(&lane) else { return };
        let (site, model, loaded) = (slot.site, slot.model.clone(), slot.loaded.clone());
        let device = self.gpus.name(site.device);
        let known = match &verdict {
            Ok((error, equal)) => Verdict::Trusted { error: *error, equal: *equal },
            Err(why) => Verdict::Failed(why.clone()),
        };
        // Of what it has loaded: its file may have been replaced since, and the driver, too.
        if let Some(Loaded { subject, .. }) = &loaded {
            keep(&mut self.trust.file.verdicts, VERDICTS, subject.clone(), known);
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
                let same = |loaded: &Loaded, now: Loaded| loaded.content.is(&now.content) && loaded.device_is(&now);
                if loaded.zip(self.to_load(site)).is_none_or(|(loaded, now)| same(&loaded, now)) {
                    self.trust.failed.insert(site, why);
                    self.gpus.told.remove(&site);
                    self.later.push(Event::Site { site, usable: false });
                }
            }
        }
    }

    /// The CPU's answer cannot be had: what waits for it cannot be used now. That says nothing about the GPU.
    pub(super) fn cannot_prove(&mut self, variant: VariantId, why: &Error) {
        let waits = |slot: &LaneSlot| slot.site.variant == variant && self.waits_for_cpu(slot);
        let lanes = self.lanes.by_id.iter().filter(|(_, slot)| waits(slot)).map(|(id, _)| *id).collect();
        self.unproven(lanes, &why.message);
    }

    fn waits_for_cpu(&self, slot: &LaneSlot) -> bool {
        let answer = || slot.loaded.as_ref().and_then(|loaded| self.answer(&loaded.content));
        slot.phase == Phase::Proving && answer().is_none()
    }

    fn unproven(&mut self, lanes: Vec<LaneId>, why: &str) {
        for lane in lanes {
            let Some(slot) = self.lanes.by_id.get(&lane) else { continue };
            let device = self.gpus.name(slot.site.device);
            let message = format!("{}: {device} cannot be compared with the CPU: {why}", slot.model);
            let error = Error::new(Code::ModelLoadFailed, message);
            self.load_failed(lane, &error);
            self.later.push(Event::LoadFailed { lane, error });
        }
    }

    /// Ends the wait of GPUs whose comparison does not come any more. It looks at the state only, so that no order of events
    /// leaves one waiting for ever.
    pub(super) fn settle_proofs(&mut self) {
        let stuck = |slot: &LaneSlot| self.waits_for_cpu(slot) && !self.cpu_will_answer(slot);
        let lanes: Vec<LaneId> = self.lanes.by_id.iter().filter(|(_, slot)| stuck(slot)).map(|(id, _)| *id).collect();
        self.unproven(lanes, "no lane of this model's file comes up there");
    }

    /// Whether a lane on the CPU is there, or comes, whose answer this one can be compared with.
    fn cpu_will_answer(&self, slot: &LaneSlot) -> bool {
        let site = Site::cpu(slot.site.variant);
        let cpu = self.lanes.of(site.variant).find(|cpu| cpu.site == site && cpu.phase != Phase::Stopping);
        match cpu.map(|cpu| (cpu.phase, cpu.probing, &cpu.loaded)) {
            None => self.sched.is_coming(site),
            // Which file it will have is not known yet.
            Some((Phase::Preparing, ..)) => true,
            Some((phase, probing, loaded)) => {
                let same = loaded.as_ref().zip(slot.loaded.as_ref()).is_some_and(|(a, b)| a.content.is(&b.content));
                same && (phase == Phase::Loading || probing)
            }
        }
    }

    /// Tells the scheduler where lanes can be.
    pub(super) fn announce_sites(&mut self) {
        let again = std::mem::take(&mut self.gpus.again);
        let devices: Vec<DeviceId> = self.gpus.devices().collect();
        // Each is looked at on the disk, which is not worth it where there never was a GPU.
        let variants = if devices.is_empty() { Vec::new() } else { self.catalog.variants() };
        let mut failed = BTreeMap::new();
        let mut news = Vec::new();
        for variant in variants {
            let content = self.catalog.content(variant);
            for device in devices.iter().copied() {
                let site = Site { variant, device };
                let subject = content.as_ref().and_then(|content| self.subject(site, content));
                if let Some(Verdict::Failed(why)) = subject.and_then(|s| find(&self.trust.file.verdicts, &s)) {
                    failed.insert(site, why.clone());
                }
                let usable = self.gpus.usable(device) && !failed.contains_key(&site);
                if usable != self.gpus.told.contains(&site) || (usable && again) {
                    news.push((site, usable));
                }
            }
        }
        self.trust.failed = failed;
        for (site, usable) in news {
            match usable {
                true => drop(self.gpus.told.insert(site)),
                false => drop(self.gpus.told.remove(&site)),
            }
            self.event(Event::Site { site, usable });
        }
    }

    /// What is wrong with GPUs, for people. From memory: whoever asks for the status makes nobody read a disk.
    pub(super) fn distrusted(&self) -> Vec<String> {
        let failed = |device: DeviceId, variant: VariantId| {
            let site = Site { variant, device };
            let why = match (self.trust.failed.get(&site), self.sched.lane_state(site)) {
                (Some(why), _) => why.clone(),
                (_, LaneState::Quarantined { until }) if until > self.clock.now() => {
                    let seconds = until.since(self.clock.now()).as_secs_f64().ceil();
                    format!("it failed too often and is left alone for another {seconds} s")
                }
                _ => return None,
            };
            Some(format!("{} is not used for {}: {why}", self.gpus.name(device), self.catalog.name(variant)))
        };
        let variants = self.catalog.variants();
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
