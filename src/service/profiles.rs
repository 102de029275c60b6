//! Profiles on the disk: `profiles/` in the state folder, one file for each model on each device.
//!
//! A file belongs to what it was measured with: the model's content, the device, its driver, wattlm's version and
//! llama.cpp's. Where one of these is another, so is the file's name, and the old one is as good as none. Files are read
//! when a site is first known and written seldom: when nothing runs, and only where much was learnt since. What a site's
//! profile belongs to is what its lane has loaded, and without a lane what would be loaded now.
//!
//! What always holds: what cannot be read, or makes no sense, is left aside with a line in the log; a disk that cannot be
//! written costs what was learnt since, and nothing else; at most [`FILES`] files are kept.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::catalog::Content;
use super::core::Core;
use super::{cpu, keep};
use crate::clock::{unix_seconds, Time};
use crate::lane::KvType;
use crate::models::digest::hex;
use crate::models::registry::Stamp;
use crate::sched::{DeviceId, Event, Profile, Site};

/// Changes when the meaning of a file does; others are left aside.
const FORMAT: u32 = 1;
/// Bytes of a file: far more than a profile has.
const LONGEST: u64 = 256 << 10;
/// Between two writes of a file while the service runs.
const BETWEEN: Duration = Duration::from_secs(10);
/// Files kept. Beyond, those go that were written longest ago.
const FILES: usize = 128;

/// What a profile was measured with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// The model's content, by its digest; where none was ever computed, by its file's size and time.
    model: String,
    /// `cpu`, `gpu0`, …
    device: String,
    /// The device itself and its driver.
    hardware: String,
    /// Of the key-value cache: it is read in every step.
    kv_type: KvType,
    /// wattlm's version and llama.cpp's.
    wattlm: String,
    llama: String,
}

impl Identity {
    fn new(model: String, device: String, hardware: String, kv_type: KvType) -> Identity {
        Identity { model, device, hardware, kv_type, wattlm: crate::VERSION.into(), llama: crate::LLAMA.into() }
    }

    /// The same but for the model.
    fn setting_is(&self, other: &Identity) -> bool {
        Identity { model: other.model.clone(), ..self.clone() } == *other
    }

    /// The model's content.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The name of its profile's file.
    pub fn file(&self) -> String {
        let text = serde_json::to_vec(self).unwrap_or_default();
        let hash = hex(&Sha256::digest(text));
        format!("{}-{}.json", self.device, hash.get(..24).unwrap_or(&hash))
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct File {
    format: u32,
    /// For people: `model:variant`.
    name: String,
    #[serde(flatten)]
    identity: Identity,
    /// Seconds since 1970.
    saved: u64,
    calibrated: Option<u64>,
    profile: Profile,
}

/// What is known of a site's file.
#[derive(Debug, Default)]
struct Known {
    /// What is known belongs to this: it was asked for last.
    identity: Option<Identity>,
    /// The model's file, as it was then.
    stamp: Option<Stamp>,
    /// It is the same under another name: the digest was computed since. The file is to be written under the new one.
    renamed: bool,
    saved: Option<u64>,
    calibrated: Option<u64>,
    /// Requests measured, in all and when it was saved.
    measured: u32,
    kept: u32,
    /// It was measured for calibration since it was saved.
    fresh: bool,
    /// When it was saved by this run.
    at: Option<Time>,
}

/// When a profile was saved and calibrated last, in seconds since 1970.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Stamps {
    pub saved: Option<u64>,
    pub calibrated: Option<u64>,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Profiles {
    dir: PathBuf,
    known: BTreeMap<Site, Known>,
}

impl Profiles {
    pub fn new(state: &Path) -> Profiles {
        Profiles { dir: state.join("profiles"), known: BTreeMap::new() }
    }

    /// From now on a site's profile belongs to this, the model's file being as `stamp` says. What it is from now on, where it
    /// is not what it was: what an earlier run measured with the same things, or nothing.
    fn read(&mut self, site: Site, identity: &Identity, stamp: Stamp) -> Option<Profile> {
        let known = self.known.entry(site).or_default();
        let before = known.stamp.replace(stamp);
        if known.identity.as_ref() == Some(identity) {
            return None;
        }
        let anything = known.measured > 0 || known.saved.is_some();
        let same = known.identity.as_ref().is_none_or(|old| old.setting_is(identity) && before == Some(stamp));
        if anything && same {
            known.renamed = known.identity.replace(identity.clone()).is_some();
            return None;
        }
        // Another model, device or driver under the same name: what was known is of no use.
        *known = Known { identity: Some(identity.clone()), stamp: Some(stamp), ..Known::default() };
        let nothing = (anything || before.is_some()).then(Profile::default);
        let path = self.dir.join(identity.file());
        match read(&path, identity) {
            Ok(Some(file)) => {
                (known.saved, known.calibrated) = (Some(file.saved), file.calibrated);
                Some(file.profile)
            }
            Ok(None) => nothing,
            Err(e) => {
                log::warn!("{}: {e}; it is left aside, and what the model takes is measured anew", path.display());
                nothing
            }
        }
    }

    /// A request was measured here, for calibration or by the way.
    pub fn measured(&mut self, site: Site, calibration: bool) {
        let known = self.known.entry(site).or_default();
        known.measured = known.measured.saturating_add(1);
        if calibration {
            known.calibrated = Some(unix_seconds());
            known.fresh = true;
        }
    }

    /// What is worth a write: sites of which a third more is known than on the disk, or that were just calibrated, a little
    /// after the last write; with `all`, everything that is not there yet.
    fn due(&self, all: bool, now: Time) -> Vec<Site> {
        let due = |known: &Known| {
            let new = known.measured - known.kept.min(known.measured);
            let rested = known.at.is_none_or(|at| now.since(at) >= BETWEEN);
            let much = (known.fresh && new > 0) || new > known.kept / 3;
            known.renamed || (new > 0 && all) || (rested && much)
        };
        self.known.iter().filter(|(_, known)| due(known)).map(|(site, _)| *site).collect()
    }

    /// What is known of a site belongs to this.
    pub fn identity(&self, site: Site) -> Option<Identity> {
        self.known.get(&site)?.identity.clone()
    }

    pub fn stamps(&self, site: Site) -> Stamps {
        self.known.get(&site).map_or(Stamps::default(), |k| Stamps { saved: k.saved, calibrated: k.calibrated })
    }

    /// The file to write; told as written.
    fn save(&mut self, site: Site, name: String, identity: Identity, profile: Profile, now: Time) -> Writing {
        let known = self.known.entry(site).or_default();
        (known.kept, known.fresh, known.saved, known.at) = (known.measured, false, Some(unix_seconds()), Some(now));
        known.renamed = false;
        known.identity = Some(identity.clone());
        let path = self.dir.join(identity.file());
        let file =
            File { format: FORMAT, name, identity, saved: unix_seconds(), calibrated: known.calibrated, profile };
        Writing { path, file, order: keep::next() }
    }
}

fn read(path: &Path, identity: &Identity) -> Result<Option<File>, String> {
    let Some(bytes) = keep::read(path, LONGEST)? else { return Ok(None) };
    let file: File = serde_json::from_slice(&bytes).map_err(|e| format!("it cannot be read ({e})"))?;
    match file {
        File { format, .. } if format != FORMAT => Err(format!("it has format {format}, and this is {FORMAT}")),
        file if file.identity != *identity => Err("it is of something else".to_owned()),
        file if !file.profile.is_sane() => Err("its figures make no sense".to_owned()),
        file => Ok(Some(file)),
    }
}

/// A failure to write was told.
static TOLD: AtomicBool = AtomicBool::new(false);

/// A file to be written.
#[derive(Debug)]
struct Writing {
    path: PathBuf,
    file: File,
    /// One that was asked for later is newer.
    order: u64,
}

impl Writing {
    fn write(self) {
        match keep::write(&self.path, keep::OPEN, self.order, &self.file) {
            Ok(false) => {}
            Ok(true) => {
                TOLD.store(false, Ordering::Relaxed);
                prune(self.path.parent().unwrap_or(Path::new(".")));
            }
            // Once is enough: a full disk stays full for a while.
            Err(e) if !TOLD.swap(true, Ordering::Relaxed) => {
                log::warn!("what {} takes is not remembered: {}: {e}", self.file.name, self.path.display());
            }
            Err(_) => {}
        }
    }
}

/// Of too many files those go that were written longest ago.
fn prune(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let profile = |entry: &fs::DirEntry| entry.path().extension().is_some_and(|e| e == "json");
    let age = |entry: fs::DirEntry| {
        let time = entry.metadata().and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        (time, entry.path())
    };
    let mut files: Vec<(SystemTime, PathBuf)> = entries.flatten().filter(profile).map(age).collect();
    files.sort();
    for (_, path) in files.iter().rev().skip(FILES) {
        let _ = fs::remove_file(path);
    }
}

impl Core {
    /// What a profile of this site belongs to with this content. `None` where there is no such device.
    pub(super) fn identity(&self, site: Site, content: &Content) -> Option<Identity> {
        let (device, hardware) = self.device(site.device)?;
        Some(Identity::new(content.name.clone(), device, hardware, self.catalog.kv_type(site.variant)))
    }

    /// What a profile of this site belongs to now. `None` while that is not known.
    pub(super) fn belongs(&self, site: Site) -> Option<(Identity, Stamp)> {
        let slot = self.lanes.of(site.variant).find(|slot| slot.site == site);
        if let Some(loaded) = slot.and_then(|slot| slot.loaded.as_ref()) {
            return Some((loaded.identity.clone(), loaded.content.stamp));
        }
        // A digest that is yet to be computed would be another name for the same.
        let content = self.catalog.content(site.variant).filter(|content| content.settled)?;
        Some((self.identity(site, &content)?, content.stamp))
    }

    /// A device's name, and what it is: for a GPU with its driver.
    pub(super) fn device(&self, device: DeviceId) -> Option<(String, String)> {
        if device.is_cpu() {
            return Some(("cpu".to_owned(), self.hardware.clone()));
        }
        let gpu = self.gpus.get(device)?;
        let bus = gpu.bus.as_deref().unwrap_or("no bus");
        let what = format!("{}, {} by {}, {}", gpu.description, bus, gpu.id.module, driver());
        Some((gpu.id.name.clone(), what))
    }

    /// What is known of all that can be loaded here: its memory, and what earlier runs measured.
    pub(super) fn read_profiles(&mut self) {
        for variant in self.catalog.variants() {
            for site in self.sched.places(variant) {
                self.event(self.memory(site));
                for event in self.stored(site) {
                    self.event(event);
                }
            }
        }
    }

    /// What a lane here takes of memory, to be told to the scheduler.
    pub(super) fn memory(&self, site: Site) -> Event {
        let gpu = Some(site.device).filter(|device| !device.is_cpu()).and_then(|device| self.gpus.get(device));
        Event::Memory { site, bytes: self.catalog.memory(site.variant, gpu) }
    }

    /// What is known here, to be told to the scheduler in this order, where that is not what it was: because an earlier run
    /// measured it, or because the model's file, or the device, is another one since.
    pub(super) fn stored(&mut self, site: Site) -> Vec<Event> {
        let Some((identity, stamp)) = self.belongs(site) else { return Vec::new() };
        let profile = self.profiles.read(site, &identity, stamp).map(Box::new);
        if let Some(profile) = &profile {
            // What has ended and is not charged yet was measured before.
            self.tallies.forget(site);
            let what = if **profile == Profile::default() { "nothing was" } else { "it was" };
            log::debug!("{} on {}: {what} measured before", self.catalog.name(site.variant), identity.device);
        }
        let habits = self.remembered(site, &identity, profile.is_some());
        // A profile makes forgotten what was known of its lane.
        profile.map(|profile| Event::Profile { site, profile }).into_iter().chain(habits).collect()
    }

    /// Writes what was learnt where it is worth that.
    pub(super) fn keep_profiles(&mut self) {
        for writing in self.pending(false) {
            // Waiting for a disk is not the service's business.
            let thread = std::thread::Builder::new().name("profiles".into());
            let _ = super::helpers::spawn(thread, move || writing.write());
        }
    }

    /// The service ends.
    pub(super) fn keep_profiles_now(&mut self) {
        for writing in self.pending(true) {
            writing.write();
        }
    }

    fn pending(&mut self, all: bool) -> Vec<Writing> {
        let mut writings = Vec::new();
        let now = self.clock.now();
        for site in self.profiles.due(all, now) {
            // Not what it would belong to by now: the model's file may have been replaced since.
            let identity = self.profiles.identity(site).or_else(|| Some(self.belongs(site)?.0));
            let (Some(identity), Some(profile)) = (identity, self.sched.profile(site)) else { continue };
            let (name, profile) = (self.catalog.name(site.variant), profile.clone());
            writings.push(self.profiles.save(site, name, identity, profile, now));
        }
        writings
    }
}

/// Stands for the drivers of GPUs: another version may be another speed. Unlike the device nodes, what is looked at does
/// not change with every start of the machine.
fn driver() -> String {
    let mut hash = Sha256::new();
    for version in ["/proc/driver/nvidia/version", "/sys/module/nvidia/version"] {
        hash.update(fs::read(version).unwrap_or_default());
    }
    let dirs = ["/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/etc/OpenCL/vendors"];
    let entries = dirs.into_iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten().flatten();
    let stamp = |entry: fs::DirEntry| {
        let meta = entry.metadata().ok();
        let time = meta.as_ref().and_then(|m| m.modified().ok()?.duration_since(SystemTime::UNIX_EPOCH).ok());
        format!("{} {} {time:?}", entry.path().display(), meta.map_or(0, |m| m.len()))
    };
    let mut stamps: Vec<String> = entries.map(stamp).collect();
    stamps.sort();
    hash.update(stamps.join("\n"));
    format!("driver {}", hex(&hash.finalize()).get(..12).unwrap_or_default())
}

/// What this machine is, as far as its speed goes.
pub(super) fn hardware(config: &crate::config::Config) -> String {
    cpu::hardware(Path::new("/proc/cpuinfo"), &config.paths.sysfs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sched::VariantId;

    fn identity(model: &str) -> Identity {
        Identity::new(model.to_owned(), "cpu".into(), "a board".into(), KvType::F16)
    }

    /// A model's file after so many changes.
    fn stamp(n: i64) -> Stamp {
        Stamp { size: 1, mtime_ns: n, ctime_ns: n, ino: 1, dev: 1 }
    }

    fn site(n: u32) -> Site {
        Site::cpu(VariantId(n))
    }

    fn save(state: &Path, identity: &Identity) -> PathBuf {
        let mut profiles = Profiles::new(state);
        profiles.measured(site(0), true);
        let writing = profiles.save(site(0), "m:q4".into(), identity.clone(), Profile::default(), Time::ZERO);
        let path = writing.path.clone();
        writing.write();
        path
    }

    #[test]
    fn what_was_measured_is_read_again_with_the_same_things_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = save(dir.path(), &identity("abc"));
        let mut next = Profiles::new(dir.path());
        assert_eq!(next.read(site(0), &identity("abc"), stamp(0)), Some(Profile::default()));
        assert!(next.stamps(site(0)).calibrated.is_some_and(|at| at > 0));
        assert_eq!(next.read(site(0), &identity("abc"), stamp(0)), None, "once");
        for other in [
            identity("abd"),
            Identity { device: "gpu0".into(), ..identity("abc") },
            Identity { hardware: "another board".into(), ..identity("abc") },
            Identity { llama: "next".into(), ..identity("abc") },
            Identity { wattlm: "next".into(), ..identity("abc") },
            Identity { kv_type: KvType::Q8_0, ..identity("abc") },
        ] {
            assert_eq!(Profiles::new(dir.path()).read(site(0), &other, stamp(0)), None, "{other:?}");
        }
        // Even where it lies under the other's name.
        fs::rename(&path, path.with_file_name(identity("abd").file())).unwrap();
        assert_eq!(Profiles::new(dir.path()).read(site(0), &identity("abd"), stamp(0)), None);
    }

    #[test]
    fn what_this_run_measured_is_not_replaced_by_what_an_earlier_one_did() {
        let dir = tempfile::tempdir().unwrap();
        save(dir.path(), &identity("abc"));
        let mut next = Profiles::new(dir.path());
        next.measured(site(0), false);
        assert_eq!(next.read(site(0), &identity("abc"), stamp(0)), None);
    }

    #[test]
    fn what_was_measured_of_a_file_that_was_replaced_is_neither_told_nor_saved_for_the_new_one() {
        let dir = tempfile::tempdir().unwrap();
        save(dir.path(), &identity("abc"));
        let mut profiles = Profiles::new(dir.path());
        assert!(profiles.read(site(0), &identity("abc"), stamp(0)).is_some());
        profiles.measured(site(0), true);
        // Of the new file nothing is known: that is told.
        assert_eq!(profiles.read(site(0), &identity("new"), stamp(1)), Some(Profile::default()));
        assert_eq!((profiles.due(true, Time::ZERO), profiles.identity(site(0))), (vec![], Some(identity("new"))));
        assert_eq!(profiles.stamps(site(0)).calibrated, None);
        profiles.measured(site(0), false);
        assert_eq!(profiles.read(site(0), &identity("new"), stamp(1)), None);
        // And of one that was there before, what is on the disk, whatever was measured meanwhile.
        assert!(profiles.read(site(0), &identity("abc"), stamp(2)).is_some());
        assert!(profiles.stamps(site(0)).calibrated.is_some());
        // Another driver is as another file.
        profiles.measured(site(0), false);
        let other = Identity { hardware: "another driver".into(), ..identity("abc") };
        assert_eq!(profiles.read(site(0), &other, stamp(2)), Some(Profile::default()));
    }

    #[test]
    fn a_digest_that_becomes_known_is_another_name_for_the_same_model() {
        let dir = tempfile::tempdir().unwrap();
        let mut profiles = Profiles::new(dir.path());
        assert_eq!(profiles.read(site(0), &identity("1 bytes of 7"), stamp(7)), None);
        profiles.measured(site(0), false);
        profiles.save(site(0), "m".into(), identity("1 bytes of 7"), Profile::default(), Time::ZERO).write();
        assert_eq!(profiles.due(true, Time::ZERO), []);
        assert_eq!(profiles.read(site(0), &identity("abc"), stamp(7)), None);
        // The next run looks for it under the digest.
        assert_eq!(
            (profiles.due(false, Time::ZERO), profiles.identity(site(0))),
            (vec![site(0)], Some(identity("abc")))
        );
        profiles.save(site(0), "m".into(), identity("abc"), Profile::default(), Time::ZERO).write();
        assert_eq!(profiles.due(true, Time::ZERO), []);
        assert_eq!(Profiles::new(dir.path()).read(site(0), &identity("abc"), stamp(7)), Some(Profile::default()));
    }

    #[test]
    fn rubbish_is_left_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = save(dir.path(), &identity("abc"));
        let good = fs::read_to_string(&path).unwrap();
        for bad in [
            String::new(),
            "{}".into(),
            "null".into(),
            good[..good.len() / 2].to_owned(),
            good.replace("\"format\":1", "\"format\":2"),
            good.replace("abc", "abd"),
            "x".repeat(300 << 10),
        ] {
            fs::write(&path, &bad).unwrap();
            let mut profiles = Profiles::new(dir.path());
            assert_eq!(profiles.read(site(0), &identity("abc"), stamp(0)), None, "{}", &bad[..bad.len().min(80)]);
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(Profiles::new(dir.path()).read(site(0), &identity("abc"), stamp(0)), None);
        // And nothing hinders from writing, where something can be written.
        save(&dir.path().join("other"), &identity("abc"));
        save(Path::new("/proc/nowhere"), &identity("abc"));
    }

    #[test]
    fn it_is_written_seldom_and_after_a_calibration() {
        let dir = tempfile::tempdir().unwrap();
        let mut profiles = Profiles::new(dir.path());
        let at = |s: u64| Time::ZERO + Duration::from_secs(s);
        let save = |profiles: &mut Profiles, s| {
            let due = profiles.due(false, at(s));
            for site in &due {
                profiles.save(*site, "m".into(), identity("abc"), Profile::default(), at(s));
            }
            due.len()
        };
        let mut writes = 0;
        for n in 0..1000 {
            profiles.measured(site(0), false);
            writes += save(&mut profiles, 20 * n);
        }
        assert!((5..40).contains(&writes), "{writes} writes for a thousand requests");
        assert_eq!(save(&mut profiles, 30_000), 0);
        profiles.measured(site(0), false);
        assert_eq!((profiles.due(false, at(30_000)), profiles.due(true, at(30_000))), (vec![], vec![site(0)]));
        profiles.measured(site(0), true);
        assert_eq!(save(&mut profiles, 30_000), 1);
        profiles.measured(site(0), true);
        assert_eq!((save(&mut profiles, 30_009), save(&mut profiles, 30_010)), (0, 1), "not in one go");
        assert_eq!(profiles.due(true, at(40_000)), []);
    }

    #[test]
    fn a_write_that_comes_late_does_not_replace_a_newer_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut profiles = Profiles::new(dir.path());
        let mut save =
            |name: &str| profiles.save(site(0), name.into(), identity("abc"), Profile::default(), Time::ZERO);
        let (old, new) = (save("old"), save("new"));
        let path = new.path.clone();
        new.write();
        old.write();
        assert!(fs::read_to_string(path).unwrap().contains("\"new\""));
    }

    #[test]
    fn the_oldest_of_too_many_files_go() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..FILES + 5 {
            fs::write(dir.path().join(format!("cpu-{n:03}.json")), "{}").unwrap();
        }
        fs::write(dir.path().join("README"), "mine").unwrap();
        prune(dir.path());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), FILES + 1);
        assert!(dir.path().join("README").exists());
    }
}
