//! The GPUs of this machine, as the service knows them.
//!
//! They are looked for on a thread of its own, by whoever starts the lanes; the answer is kept until the configuration is
//! read again, a driver has changed, which the files of drivers show, or the device has slept. No GPU is touched to see
//! that. Then GPUs that failed get another chance as well.
//!
//! The first search takes a second or two, and longer where a driver has to be loaded. Requests that ask for a GPU wait for
//! it, and for nothing else.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::api::{Generate, Peer, Sink, Update};
use super::core::{stopping, Core};
use super::plans::EstimateReport;
use super::{Msg, Reply};
use crate::clock::{self, Time};
use crate::error::Error;
use crate::lane::{GpuInfo, Gpus, RequestId};
use crate::sched::{Backend, DeviceId, Site};

/// Where Vulkan's loader looks for drivers, as a rule; the kernel's device nodes of GPUs.
const DRIVER_DIRS: &[&str] = &[
    "/usr/share/vulkan/icd.d",
    "/usr/local/share/vulkan/icd.d",
    "/etc/vulkan/icd.d",
    "/etc/OpenCL/vendors",
    "/dev/dri",
];

/// Files whose text changes with the loaded driver.
const DRIVER_FILES: &[&str] = &[
    "/proc/driver/nvidia/version",
    "/sys/module/nvidia/version",
    "/proc/sys/kernel/osrelease",
    "/proc/sys/kernel/version",
];

/// How variables begin that change which GPUs there are or how they compute.
const VARIABLES: &[&str] = &["GGML_VK_", "CUDA_VISIBLE_DEVICES", "VK_", "GALLIVM_", "LP_"];

/// Whoever asks for something has it looked whether a driver has changed, at most so often.
const LOOK: Duration = Duration::from_secs(60);

/// Shorter sleep is none: the two clocks are not read at once.
const NAP: Duration = Duration::from_millis(500);

/// So many requests wait for the first search; others are told that there is no GPU yet.
const EARLY: usize = 64;

/// A request that asks for a GPU before anybody knows whether there is one.
pub(super) struct Early {
    pub peer: Peer,
    pub id: RequestId,
    pub request: Generate,
    pub sink: Box<dyn Sink>,
    came: Time,
}

/// What is known of GPUs.
#[derive(Default)]
pub(super) struct GpuWatch {
    /// The last answer. `None`: there is none yet.
    pub gpus: Option<Gpus>,
    /// Of the drivers, when they were last asked.
    asked: Option<u64>,
    /// A search runs.
    looking: bool,
    /// When drivers were last looked at, and how long the device had slept by then.
    looked: (Time, Duration),
    /// Once the search is over, what failed gets another chance.
    pardon: bool,
    /// All that were ever found, by their [`DeviceId`] less one: a name means the same GPU as long as the daemon runs.
    known: Vec<GpuInfo>,
    /// Sites on GPUs that the scheduler was told are usable.
    pub told: BTreeSet<Site>,
    /// It is told so again, which ends what quarantine it has put them in.
    pub again: bool,
    /// The configuration lets them be used.
    on: bool,
    /// Who waits for the first search, in order.
    early: Vec<Early>,
    /// Who only wants to know what a request would take.
    questions: Vec<Question>,
}

/// A question for an estimate that waits for the first search.
pub(super) type Question = (Peer, Box<Generate>, Reply<Result<EstimateReport, Error>>);

impl GpuWatch {
    /// One is there and may be used.
    pub fn any(&self) -> bool {
        self.devices().any(|device| self.usable(device))
    }

    /// All that were ever found.
    pub fn devices(&self) -> impl Iterator<Item = DeviceId> {
        (1..=u8::try_from(self.known.len()).unwrap_or(u8::MAX)).map(DeviceId)
    }

    /// It is there and may be used.
    pub fn usable(&self, device: DeviceId) -> bool {
        let found = |gpu: &GpuInfo| self.gpus.as_ref().is_some_and(|gpus| gpus.found.iter().any(|g| g.id == gpu.id));
        self.on && self.get(device).is_some_and(found)
    }

    /// One of them.
    pub fn get(&self, device: DeviceId) -> Option<&GpuInfo> {
        self.known.get(usize::from(device.0).checked_sub(1)?)
    }

    /// `cpu`, `gpu0`, …
    pub fn name(&self, device: DeviceId) -> String {
        self.get(device).map_or_else(|| "cpu".to_owned(), |gpu| gpu.id.name.clone())
    }

    /// Stands for the drivers as they were when GPUs were last looked for.
    pub fn drivers(&self) -> u64 {
        self.asked.unwrap_or(0)
    }

    /// Nobody knows yet whether there is one, and it will be known soon.
    pub fn may_come(&self) -> bool {
        self.gpus.is_none() && self.looking && self.early.len() + self.questions.len() < EARLY
    }

    /// It does not wait for the first search any more, if it did.
    pub fn forget_early(&mut self, id: RequestId, may: impl Fn(&Peer) -> bool) -> Option<Box<dyn Sink>> {
        let at = self.early.iter().position(|early| early.id == id && may(&early.peer))?;
        Some(self.early.remove(at).sink)
    }

    /// Nobody waits for the first search any more: the service stops.
    pub fn end_early(&mut self) {
        for mut early in std::mem::take(&mut self.early) {
            let _ = early.sink.push(Update::Failed(stopping()));
        }
        std::mem::take(&mut self.questions).into_iter().for_each(|(.., reply)| reply(Err(stopping())));
    }

    fn learn(&mut self, gpus: Gpus) {
        for gpu in &gpus.found {
            let room = self.known.len() < usize::from(u8::MAX);
            match self.known.iter_mut().find(|known| known.id == gpu.id) {
                Some(known) => *known = gpu.clone(),
                None if room => self.known.push(gpu.clone()),
                None => {}
            }
        }
        self.gpus = Some(gpus);
    }
}

impl Core {
    /// Looks for GPUs: always with `anew`, else where a driver has changed since.
    pub(super) fn look_for_gpus(&mut self, anew: bool) {
        self.gpus.on = self.catalog.config().gpu.enabled;
        if !self.gpus.on {
            self.gpus.gpus = Some(Gpus::none("gpu.enabled is false"));
            return self.announce_sites();
        }
        let modules = self.catalog.config().paths.modules.clone();
        let (drivers, asleep) = (drivers(&modules), clock::asleep());
        let slept = asleep.saturating_sub(self.gpus.looked.1) >= NAP && self.gpus.asked.is_some();
        self.gpus.looked = (self.clock.now(), asleep);
        let changed = self.gpus.asked.is_some_and(|asked| asked != drivers);
        self.gpus.pardon |= changed || slept || (anew && self.gpus.asked.is_some());
        if self.gpus.looking || !(anew || changed || slept || self.gpus.asked.is_none()) {
            return;
        }
        let (tx, find) = (self.tx.clone(), self.factory.gpus());
        let look = move || {
            // Fails only after the service has ended.
            let _ = tx.send(Msg::Gpus(find(&modules)));
        };
        match super::helpers::spawn(std::thread::Builder::new().name("gpus".into()), look) {
            Ok(_) => {
                (self.gpus.looking, self.gpus.asked) = (true, Some(drivers));
                self.metering.ledger.gpus_searched(true, self.clock.now());
            }
            Err(e) => self.gpus.gpus = Some(Gpus::none(format!("no thread to look for one: {e}"))),
        }
    }

    /// A request came, or somebody wants to know: a good time to see whether a driver has changed or the device has slept.
    pub(super) fn look_for_gpus_again(&mut self) {
        let (looked, asleep) = self.gpus.looked;
        if self.clock.now().since(looked) >= LOOK || clock::asleep().saturating_sub(asleep) >= NAP {
            self.look_for_gpus(false);
        }
    }

    /// This request waits for the first search.
    pub(super) fn come_early(&mut self, peer: Peer, id: RequestId, request: Generate, sink: Box<dyn Sink>) {
        let came = self.clock.now();
        self.gpus.early.push(Early { peer, id, request, sink, came });
    }

    /// What this request would take is told: at once, or after the first search if it wants a GPU.
    pub(super) fn asked(&mut self, peer: Peer, request: Box<Generate>, reply: Reply<Result<EstimateReport, Error>>) {
        if request.backend == Some(Backend::Gpu) && self.gpus.may_come() {
            return self.gpus.questions.push((peer, request, reply));
        }
        reply(self.estimate(peer, &request));
    }

    /// Those who waited for the first search are served, as if they came now.
    pub(super) fn serve_early(&mut self) {
        for (peer, request, reply) in std::mem::take(&mut self.gpus.questions) {
            reply(self.estimate(peer, &request));
        }
        for Early { peer, id, mut request, sink, came } in std::mem::take(&mut self.gpus.early) {
            let waited = self.clock.now().since(came);
            for limit in [&mut request.deadline, &mut request.max_ttft].into_iter().flatten() {
                *limit = limit.saturating_sub(waited);
            }
            self.arrived(peer, id, request, sink);
        }
    }

    pub(super) fn gpus_found(&mut self, gpus: Gpus) {
        self.gpus.looking = false;
        self.metering.ledger.gpus_searched(false, self.clock.now());
        if std::mem::take(&mut self.gpus.pardon) {
            self.trust.pardon();
            self.gpus.again = true;
        }
        if self.gpus.gpus.as_ref() != Some(&gpus) {
            match gpus.why_none() {
                Some(why) => log::info!("no GPU: {why}"),
                None => gpus.notes.iter().for_each(|note| log::info!("GPUs: {note}")),
            }
            for gpu in &gpus.found {
                log::info!("{}: {} ({})", gpu.id.name, gpu.description, gpu.id.ggml);
            }
        }
        self.gpus.learn(gpus);
        self.announce_sites();
        self.serve_early();
    }
}

/// A number that changes when drivers or backend modules come, go or are replaced.
fn drivers(modules: &Path) -> u64 {
    let mut hash = DefaultHasher::new();
    for (name, value) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| VARIABLES.iter().any(|v| name.starts_with(v))) {
            (name, value).hash(&mut hash);
        }
    }
    let named = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"].iter().filter_map(std::env::var_os);
    let named: Vec<PathBuf> = named.flat_map(|list| std::env::split_paths(&list).collect::<Vec<_>>()).collect();
    let dirs = DRIVER_DIRS.iter().map(Path::new).chain([modules]);
    let mut files: Vec<PathBuf> =
        dirs.filter_map(|dir| std::fs::read_dir(dir).ok()).flat_map(|dir| dir.flatten().map(|e| e.path())).collect();
    files.sort();
    for path in named.iter().chain(&files) {
        path.hash(&mut hash);
        if let Ok(file) = std::fs::metadata(path) {
            file.len().hash(&mut hash);
            file.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).hash(&mut hash);
        }
    }
    for file in DRIVER_FILES {
        std::fs::read(file).ok().hash(&mut hash);
    }
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_that_comes_or_changes_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let none = drivers(dir.path());
        assert_eq!(drivers(dir.path()), none);
        let module = dir.path().join("libggml-vulkan.so");
        std::fs::write(&module, "one").unwrap();
        let one = drivers(dir.path());
        assert_ne!(one, none);
        std::fs::write(&module, "other").unwrap();
        assert_ne!(drivers(dir.path()), one);
    }
}
