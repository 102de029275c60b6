//! Habits on the disk: `habits.json` in the state folder, what the scheduler learnt of the traffic.
//!
//! The file calls clients by their names in the state, variants by their models' content, and lanes by the files of their
//! profiles, so that what a lane would have saved is as good as none with another model, device or driver. It is read once.
//! The scheduler is told of something when that appears: of a client when it asks, of a variant when its content is known,
//! of a lane when its profile is read. What has not appeared stays in the file, as far as there is room.
//!
//! It says who asked how much, so that only the service's user may read it. What always holds: what cannot be read, or
//! makes no sense, is left aside with a line in the log; a disk that cannot be written costs what was learnt since, and
//! nothing else.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::core::Core;
use super::keep;
use super::profiles::Identity;
use crate::clock::{unix_seconds, Time};
use crate::sched::{self, ClientId, Event, Site, VariantId};

/// Changes when the meaning of the file does; others are left aside.
const FORMAT: u32 = 1;
/// Bytes of the file: more than a full one has.
const LONGEST: u64 = 1 << 20;
/// What so many requests have taught is worth a write...
const ENOUGH: u32 = 8;
/// ...so long after the last one, while the service runs.
const BETWEEN: Duration = Duration::from_secs(900);

/// By names that last.
type Named = sched::Habits<String, String, String>;

#[derive(Debug, Serialize, Deserialize)]
struct File {
    format: u32,
    /// Seconds since 1970.
    saved: u64,
    /// What lanes take from one another belongs to this machine.
    hardware: String,
    habits: Named,
}

/// What every format begins with.
#[derive(Debug, Deserialize)]
struct Head {
    format: u32,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Habits {
    path: PathBuf,
    /// What the file says, or was last meant to say.
    kept: Named,
    /// Clients and variants of which the scheduler was told what there is.
    clients: BTreeSet<ClientId>,
    variants: BTreeSet<VariantId>,
    /// Requests that taught something since the file was written, and when that was in this run.
    learnt: u32,
    at: Option<Time>,
}

impl Habits {
    /// Reads the file in this folder, for this machine.
    pub fn open(state: &Path, hardware: &str) -> Habits {
        let path = state.join("habits.json");
        let kept = read(&path, hardware).unwrap_or_else(|e| {
            log::warn!("{}: {e}; it is left aside, and what is usual is learnt anew", path.display());
            Named::default()
        });
        Habits { path, kept, clients: BTreeSet::new(), variants: BTreeSet::new(), learnt: 0, at: None }
    }

    /// What is said of no client, variant or lane.
    fn of_device(&self) -> sched::Habits {
        self.kept.clone().named(|_| None, |_| None, |_| None)
    }

    /// What is said of this client; once.
    fn of_client(&mut self, client: ClientId, key: &str) -> Option<sched::Habits> {
        if !self.clients.insert(client) {
            return None;
        }
        let its = self.kept.clients.iter().filter(|one| one.client == key).cloned();
        let its = Named { clients: its.collect(), ..Named::default() };
        Some(its.named(|_| Some(client), |_| None, |_| None)).filter(|habits| !habits.clients.is_empty())
    }

    /// What is said of a variant with this content, once, and of its lane here, where its profile (kept in this file) was
    /// just read.
    fn of_site(&mut self, site: Site, model: &str, profile: Option<&str>) -> Option<sched::Habits> {
        let new = self.variants.insert(site.variant);
        let variants = self.kept.variants.iter().filter(|one| new && one.variant == model).cloned().collect();
        let sites = self.kept.sites.iter().filter(|one| profile == Some(one.site.as_str())).cloned().collect();
        let its = Named { variants, sites, ..Named::default() };
        let its = its.named(|_| None, |_| Some(site.variant), |_| Some(site));
        Some(its).filter(|habits| !habits.variants.is_empty() || !habits.sites.is_empty())
    }

    /// A request taught something.
    pub fn learnt(&mut self) {
        self.learnt = self.learnt.saturating_add(1);
    }

    /// A write is worth it; with `all`, if there is anything new.
    fn is_due(&self, all: bool, now: Time) -> bool {
        let rested = self.at.is_none_or(|at| now.since(at) >= BETWEEN);
        (all && self.learnt > 0) || (rested && self.learnt >= ENOUGH)
    }

    /// The file to write; counts as written. What this run does not know stays in it.
    fn save(&mut self, new: Named, hardware: String, now: Time) -> File {
        self.kept = new.over(std::mem::take(&mut self.kept));
        (self.learnt, self.at) = (0, Some(now));
        File { format: FORMAT, saved: unix_seconds(), hardware, habits: self.kept.clone() }
    }
}

fn read(path: &Path, hardware: &str) -> Result<Named, String> {
    let Some(bytes) = keep::read(path, LONGEST)? else { return Ok(Named::default()) };
    let unreadable = |e: serde_json::Error| format!("it cannot be read ({e})");
    let Head { format } = serde_json::from_slice(&bytes).map_err(unreadable)?;
    if format != FORMAT {
        return Err(format!("it has format {format}, and this is {FORMAT}"));
    }
    let file: File = serde_json::from_slice(&bytes).map_err(unreadable)?;
    let mut habits = file.habits.checked();
    if file.hardware != hardware {
        habits.contention = None;
        habits.variants.iter_mut().for_each(|one| one.moves = None);
    }
    Ok(habits)
}

impl Core {
    /// Tells the scheduler what an earlier run learnt of the device.
    pub(super) fn read_habits(&mut self) {
        let habits = self.habits.of_device();
        self.event(Event::Habits(Box::new(habits)));
    }

    /// Tells the scheduler what earlier runs learnt of a client that asks.
    pub(super) fn recall(&mut self, client: ClientId) {
        let habits = self.rules.key(client).and_then(|key| self.habits.of_client(client, key));
        if let Some(habits) = habits {
            self.event(Event::Habits(Box::new(habits)));
        }
    }

    /// What earlier runs learnt of a lane's traffic, to be told to the scheduler, once it is known what the lane loads.
    /// `fresh`: its profile was just read, and follows no other.
    pub(super) fn remembered(&mut self, site: Site, identity: &Identity, fresh: bool) -> Option<Event> {
        let file = fresh.then(|| identity.file());
        let habits = self.habits.of_site(site, identity.model(), file.as_deref())?;
        Some(Event::Habits(Box::new(habits)))
    }

    /// Writes what was learnt where it is worth that.
    pub(super) fn keep_habits(&mut self) {
        if let Some(file) = self.habits_due(false) {
            keep::later(self.habits.path.clone(), keep::PRIVATE, WHAT, file);
        }
    }

    /// The service ends.
    pub(super) fn keep_habits_now(&mut self) {
        if let Some(file) = self.habits_due(true) {
            keep::now(&self.habits.path, keep::PRIVATE, keep::next(), WHAT, &file);
        }
    }

    fn habits_due(&mut self, all: bool) -> Option<File> {
        let now = self.clock.now();
        if !self.habits.is_due(all, now) {
            return None;
        }
        let model = |variant: &VariantId| Some(self.belongs(Site::cpu(*variant))?.0.model().to_owned());
        // What a lane saves that nobody measured is reckoned with guesses.
        let profile =
            |site: &Site| Some(self.profiles.identity(*site).filter(|_| self.sched.profile(*site).is_some())?.file());
        let client = |client: &ClientId| self.rules.key(*client).map(str::to_owned);
        let new = self.sched.habits().named(client, model, profile);
        Some(self.habits.save(new, self.hardware.clone(), now))
    }
}

/// What the log calls it.
const WHAT: &str = "what is usual of requests";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::sched::{ClientHabits, DeviceId, Endpoint, SiteHabits, VariantHabits};

    const BOARD: &str = "a board";
    const GPU: Site = Site { variant: VariantId(3), device: DeviceId(1) };

    fn client(name: &str, tokens: u32) -> ClientHabits<String> {
        ClientHabits { client: name.into(), endpoint: Endpoint::Chat, answers: vec![(tokens, 500)], share: None }
    }

    fn named() -> Named {
        Named {
            clients: vec![client("user:7", 30), client("client:camera", 9)],
            variants: vec![VariantHabits { variant: "abc".into(), gaps: vec![3.0], crowd: None, moves: Some(1e-5) }],
            sites: vec![SiteHabits { site: "gpu0-1.json".into(), savings: vec![(2.0, 1.0)], crowd: Some(1.5) }],
            off: 0.25,
            contention: Some(0.5),
        }
    }

    fn write(state: &Path, named: Named) -> Habits {
        let mut habits = Habits::open(state, BOARD);
        let file = habits.save(named, BOARD.into(), Time::ZERO);
        keep::now(&habits.path, keep::PRIVATE, keep::next(), WHAT, &file);
        habits
    }

    #[test]
    fn each_is_told_what_was_kept_of_it_once() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), named());
        let mut next = Habits::open(dir.path(), BOARD);
        assert_eq!((next.of_device().off, next.of_device().contention), (0.25, Some(0.5)));
        let seven = next.of_client(ClientId(0), "user:7").unwrap();
        assert_eq!((seven.clients[0].client, &seven.clients[0].answers), (ClientId(0), &vec![(30, 500)]));
        assert_eq!(next.of_client(ClientId(0), "user:7"), None, "once");
        assert_eq!(next.of_client(ClientId(1), "user:8"), None, "nobody knows it");
        // Of a lane nothing is told before its profile is read, nor with another one.
        let variant = next.of_site(GPU, "abc", None).unwrap();
        assert_eq!((variant.variants[0].variant, variant.sites), (GPU.variant, vec![]));
        assert_eq!(next.of_site(GPU, "abc", Some("gpu0-2.json")), None);
        let lane = next.of_site(GPU, "abc", Some("gpu0-1.json")).unwrap();
        assert_eq!((lane.sites[0].site, lane.variants), (GPU, vec![]));
    }

    #[test]
    fn what_did_not_appear_stays_and_what_did_goes_before_it() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), named());
        write(
            dir.path(),
            Named { clients: vec![client("client:camera", 11), client("user:9", 1)], ..Named::default() },
        );
        let kept = Habits::open(dir.path(), BOARD).kept;
        let names: Vec<_> = kept.clients.iter().map(|one| (one.client.as_str(), one.answers[0].0)).collect();
        assert_eq!(names, [("client:camera", 11), ("user:9", 1), ("user:7", 30)]);
        assert_eq!((kept.variants, kept.sites), (named().variants, named().sites));
    }

    #[test]
    fn on_another_machine_its_own_figures_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), named());
        let kept = Habits::open(dir.path(), "another board").kept;
        assert_eq!((kept.contention, kept.variants[0].moves), (None, None));
        assert_eq!((kept.clients, &kept.variants[0].gaps), (named().clients, &vec![3.0]));
    }

    #[test]
    fn only_its_user_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("habits.json");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        write(dir.path(), named());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn rubbish_is_left_aside_and_nonsense_left_out() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), named());
        let path = dir.path().join("habits.json");
        let good = fs::read_to_string(&path).unwrap();
        for bad in [
            String::new(),
            "{}".into(),
            "null".into(),
            good[..good.len() / 2].to_owned(),
            good.replace("\"format\":1", "\"format\":2"),
            // Another format need not look like this one.
            "{\"format\":2,\"clients\":7}".into(),
            good.replace("3.0", "1e999"),
            good.replace("\"chat\"", "\"talk\""),
            "x".repeat(2 << 20),
        ] {
            fs::write(&path, &bad).unwrap();
            assert_eq!(Habits::open(dir.path(), BOARD).kept, Named::default(), "{}", &bad[..bad.len().min(80)]);
        }
        fs::write(&path, good.replace("3.0", "-3.0").replace("0.25", "7.5")).unwrap();
        let kept = Habits::open(dir.path(), BOARD).kept;
        assert_eq!((kept.variants[0].gaps.len(), kept.off, kept.clients), (0, 0.0, named().clients));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(Habits::open(dir.path(), BOARD).kept, Named::default());
        // And nothing hinders from going on, and from writing where something can be written.
        write(dir.path(), named());
        write(&dir.path().join("habits.json/other"), named());
        assert_eq!(Habits::open(&dir.path().join("habits.json/other"), BOARD).kept, named());
        write(Path::new("/proc/nowhere"), named());
    }

    #[test]
    fn a_full_file_is_not_too_long() {
        let dir = tempfile::tempdir().unwrap();
        let long = |n: usize| format!("{n:0>64}");
        let share = sched::Share { share: 1.0 / 3.0, part: 1.0 / 7.0, sure: 1.0 / 9.0, grows: 1e9 / 7.0 };
        let full = Named {
            clients: (0..999)
                .map(|n| ClientHabits {
                    client: long(n),
                    endpoint: Endpoint::Completion,
                    answers: vec![(u32::MAX, u32::MAX); 99],
                    share: Some(share),
                })
                .collect(),
            variants: (0..999)
                .map(|n| VariantHabits {
                    variant: long(n),
                    gaps: vec![1e9 / 7.0; 99],
                    crowd: Some((1e9 / 7.0, 1e5 / 7.0)),
                    moves: Some(1.0 / 7.0),
                })
                .collect(),
            sites: (0..999)
                .map(|n| SiteHabits {
                    site: long(n),
                    savings: vec![(-1e8 / 7.0, 1e8 / 7.0); 99],
                    crowd: Some(1e8 / 7.0),
                })
                .collect(),
            off: 1.0 / 7.0,
            contention: Some(1.0 / 7.0),
        };
        let kept = write(dir.path(), full).kept;
        assert_eq!((kept.clients.len(), kept.variants.len(), kept.sites.len()), (256, 128, 256));
        assert_eq!(Habits::open(dir.path(), BOARD).kept.clients, kept.clients);
    }

    #[test]
    fn it_is_written_seldom() {
        let mut habits = Habits::open(Path::new("/proc/nowhere"), BOARD);
        let at = |s: u64| Time::ZERO + Duration::from_secs(s);
        let mut writes = 0;
        for n in 0..1_000 {
            habits.learnt();
            if habits.is_due(false, at(20 * n)) {
                habits.save(Named::default(), BOARD.into(), at(20 * n));
                writes += 1;
            }
        }
        assert!((20..25).contains(&writes), "{writes} writes for a thousand requests in six hours");
        habits.save(Named::default(), BOARD.into(), at(20_000));
        assert!(!habits.is_due(true, at(90_000)), "nothing is new");
        habits.learnt();
        assert_eq!((habits.is_due(false, at(90_000)), habits.is_due(true, at(20_001))), (false, true));
    }
}
