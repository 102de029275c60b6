//! The device's meter: one cumulative count of energy, whatever the sensors behind it.
//!
//! It reads the chosen sensors, adds what they saw since the last reading, applies `scale` and `offset`, and keeps count
//! of outages: a sensor that fails lowers the meter to "no reading", is logged once, and is tried again after 1 s, then
//! after twice as long, up to 60 s. Where something else can stand in meanwhile, it does. What is used while nothing is
//! read is nobody's guess here: the reading after says whether it is in the count.
//!
//! It never waits for anything but the kernel, but when it is opened (up to 25 ms, to see how often a fast counter is
//! refreshed). What always holds: the count never falls, and it never holds what the device used while it slept.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::choose::{choose, Choice, Found};
use super::counter::Moment;
use super::sources::{discover, Source};
use super::Scope;
use crate::clock::{self, Time};
use crate::units::Microjoules;

mod member;

use self::member::{tell_denied, Member, Part};

/// The first wait before a failed sensor is tried again, and before others are looked for.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// After this long without a reading another sensor may stand in.
const STAND_IN: Duration = Duration::from_secs(5);
/// How long the refresh of fast counters is watched when the meter is opened,
const PROBE: Duration = Duration::from_millis(25);
/// and which those are.
const FAST: Duration = Duration::from_millis(10);
/// Supplies and modules: better than any graphics card's driver can add, which then is not even loaded.
const BOARD_RANKS: usize = 2;

/// One reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// When it was taken.
    pub at: Time,
    /// Energy since the meter was opened. Never less than at an earlier reading. `None` while no sensor works.
    pub total: Option<Microjoules>,
    /// Of that, what graphics cards' own sensors counted, where they stand beside others. It grows as `total` does.
    pub cards: Option<Microjoules>,
    /// When the sensor itself last refreshed what it shows: the energy is that up to then. At most `at`.
    pub fresh: Time,
    /// This is the first reading after an outage and `total` holds what was used meanwhile (the sensor counted on).
    /// Where it is the first and this is `false`, that is not known and not in it.
    pub bridged: bool,
}

/// What a meter is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeterInfo {
    /// Its name, such as `rapl:package-0`; several are joined by `+`. Empty: there is none.
    pub source: String,
    /// What it sees.
    pub scope: Scope,
    /// Time between two refreshes of the sensor, as measured.
    pub refresh: Duration,
    /// All its sensors are graphics cards': it sees nothing of the processor.
    pub cards: bool,
}

/// What the configuration says of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// `auto`, `none`, or names joined by '+'.
    pub source: String,
    /// Multiplies what the sensors show.
    pub scale: f64,
    /// Watts added to that.
    pub offset: f64,
}

impl Default for Setting {
    fn default() -> Setting {
        Setting { source: "auto".into(), scale: 1.0, offset: 0.0 }
    }
}

#[cfg(feature = "daemon")]
impl From<&crate::config::Energy> for Setting {
    fn from(config: &crate::config::Energy) -> Setting {
        Setting { source: config.source.clone(), scale: config.scale, offset: config.offset }
    }
}

/// What is asked beside the sensors; other functions stand in for it in tests.
#[derive(Debug, Clone, Copy)]
struct Ambient {
    asleep: fn() -> Duration,
    busy: fn() -> Duration,
}

/// The device's meter.
pub struct Meter {
    sysfs: PathBuf,
    setting: Setting,
    members: Vec<Member>,
    scope: Scope,
    rank: usize,
    best_rank: usize,
    complaint: Option<String>,
    total: u64,
    /// Of that, cards' own.
    of_cards: u64,
    /// Of a scaled sum what is less than a microjoule, or what a negative offset took before it was there.
    owed: f64,
    /// Seen since the last good reading.
    pending: u64,
    pending_cards: u64,
    /// When there last was a good reading.
    counted: Option<Time>,
    /// Since when there is none, and whether what is used meanwhile may be told later.
    gap: Option<(Time, bool)>,
    fresh: Time,
    look: Time,
    look_wait: Duration,
    epoch: u32,
    ambient: Ambient,
}

impl Meter {
    /// Finds the sensors below `sysfs` and begins to count. Without a sensor it is a meter that has no readings.
    #[cfg(feature = "daemon")]
    pub fn open(config: &crate::config::Energy, sysfs: &Path) -> Meter {
        Meter::with(config.into(), sysfs)
    }

    /// The same, by a setting.
    pub fn with(setting: Setting, sysfs: &Path) -> Meter {
        Meter::start(setting, sysfs, Ambient { asleep: clock::asleep, busy: busy_time })
    }

    fn start(setting: Setting, sysfs: &Path, ambient: Ambient) -> Meter {
        let mut meter = Meter {
            sysfs: sysfs.to_owned(),
            setting,
            members: Vec::new(),
            scope: Scope::Rail,
            rank: usize::MAX,
            best_rank: usize::MAX,
            complaint: None,
            total: 0,
            of_cards: 0,
            owed: 0.0,
            pending: 0,
            pending_cards: 0,
            counted: None,
            gap: None,
            fresh: Time::ZERO,
            look: Time::ZERO,
            look_wait: FIRST_WAIT,
            epoch: 0,
            ambient,
        };
        meter.rediscover();
        meter
    }

    /// Takes a reading.
    pub fn read(&mut self, now: Time) -> Reading {
        let moment = Moment { at: now, asleep: (self.ambient.asleep)() };
        let busy = self.ambient.busy;
        let parts: Vec<Part> = self.members.iter_mut().map(|m| m.next(moment, busy)).collect();
        let reading = self.conclude(now, &parts, false);
        self.look_around(now);
        reading
    }

    /// Takes the first reading after a time in which nobody looked. It never starts an outage: `bridged` says whether
    /// what was used meanwhile is in the count, as it is where the sensors count by themselves.
    pub fn resume(&mut self, now: Time) -> Reading {
        let moment = Moment { at: now, asleep: (self.ambient.asleep)() };
        let parts: Vec<Part> = self.members.iter_mut().map(|m| m.again(moment)).collect();
        let reading = self.conclude(now, &parts, true);
        self.look_around(now);
        reading
    }

    /// Some of its sensors are graphics cards'.
    pub fn has_cards(&self) -> bool {
        self.members.iter().any(Member::is_card)
    }

    /// What it is now. It may change when a sensor fails for long or comes back, see [`Meter::epoch`].
    pub fn info(&self) -> MeterInfo {
        let names: Vec<&str> = self.members.iter().map(|m| m.source.spec().name.as_str()).collect();
        let cards = !self.members.is_empty() && self.members.iter().all(Member::is_card);
        MeterInfo { source: names.join("+"), scope: self.scope, refresh: self.refresh(), cards }
    }

    /// The longest time between two refreshes of its sensors, as measured.
    pub fn refresh(&self) -> Duration {
        self.members.iter().map(|m| m.tracker.refresh().get()).max().unwrap_or_default()
    }

    /// Changes whenever other sensors are used: what was learned of the idle draw then holds no longer.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// How long it may be left without a reading before energy is lost to the count, half of it kept as a margin;
    /// `None`: for ever. A sensor that shows power needs somebody to look, whatever this says: see [`Meter::resume`].
    pub fn patience(&self) -> Option<Duration> {
        self.members.iter().filter_map(|m| m.tracker.patience()).min().map(|p| p / 2)
    }

    /// Takes over a changed configuration. The count goes on.
    pub fn set(&mut self, setting: Setting) {
        let source = self.setting.source != setting.source;
        self.setting = setting;
        self.owed = 0.0;
        if source {
            self.members.clear();
            (self.rank, self.best_rank, self.complaint) = (usize::MAX, usize::MAX, None);
            self.rediscover();
        }
    }

    /// Looks at what sensors there are, and uses the best.
    pub fn rediscover(&mut self) {
        let (sources, found) = self.look();
        let choice = choose(&self.setting.source, &found);
        if self.complaint != choice.complaint {
            if let Some(complaint) = &choice.complaint {
                log::warn!("energy.source: {complaint}");
            }
            self.complaint.clone_from(&choice.complaint);
        }
        let names: Vec<&str> = choice.used.iter().map(|i| found[*i].spec.name.as_str()).collect();
        let same = self.members.len() == names.len()
            && self.members.iter().zip(&names).all(|(m, n)| m.source.spec().name == *n);
        // Others only where they work better than what there is.
        if same || (!self.members.is_empty() && (names.is_empty() || (choice.rank >= self.rank && self.gap.is_none())))
        {
            return;
        }
        self.adopt(sources, &found, &choice);
    }

    /// What there is, and what it shows. Cards and firmware are only asked where they could be of use.
    fn look(&self) -> (Vec<Box<dyn Source>>, Vec<Found>) {
        let source = self.setting.source.trim();
        let try_all = |mut sources: Vec<Box<dyn Source>>| {
            let found = sources.iter_mut().map(|s| Found { value: s.read(), spec: s.spec().clone() }).collect();
            (sources, found)
        };
        if source == "none" {
            return (Vec::new(), Vec::new());
        }
        let tree: (_, Vec<Found>) = try_all(discover(&self.sysfs, false));
        let named = source != "auto";
        let wanted = if named {
            source.contains("nvml:") || source.contains("pmic:")
        } else {
            // Another tree than the machine's own says nothing of this machine's cards.
            self.sysfs == Path::new("/sys") && choose(source, &tree.1).rank > BOARD_RANKS
        };
        if wanted {
            try_all(discover(&self.sysfs, true))
        } else {
            tree
        }
    }

    fn adopt(&mut self, sources: Vec<Box<dyn Source>>, found: &[Found], choice: &Choice) {
        let first = self.epoch == 0;
        let mut sources: Vec<Option<Box<dyn Source>>> = sources.into_iter().map(Some).collect();
        self.members = choice.used.iter().filter_map(|i| sources[*i].take()).map(Member::new).collect();
        self.scope = choice.scope(found);
        self.rank = choice.rank;
        self.best_rank = self.best_rank.min(choice.rank);
        (self.pending, self.pending_cards) = (0, 0);
        self.epoch += 1;
        self.probe();
        let info = self.info();
        if !info.source.is_empty() {
            log::info!("energy is measured by {} ({:?})", info.source, info.scope);
        } else if first && self.setting.source == "auto" {
            log::info!("no energy sensor works: energy is estimated; `wattlm meter` says more");
        }
        if first {
            tell_denied(&self.setting.source, found, choice);
        }
    }

    /// Watches for a moment how often fast counters are refreshed: readings are too far apart to tell.
    fn probe(&mut self) {
        let mut fast: Vec<&mut Member> = self.members.iter_mut().filter(|m| m.source.spec().refresh <= FAST).collect();
        // Nothing to watch in what cannot be read.
        fast.retain_mut(|m| m.source.read().is_ok());
        if fast.is_empty() {
            return;
        }
        let start = Instant::now();
        let mut seen: Vec<(u64, Time)> = vec![(0, Time::ZERO); fast.len()];
        while start.elapsed() < PROBE {
            for (member, seen) in fast.iter_mut().zip(&mut seen) {
                let Ok(raw) = member.source.read() else { continue };
                if raw != seen.0 {
                    let first = seen.0 == 0;
                    *seen = (raw, Time::ZERO + start.elapsed());
                    // Its first value did not appear just now.
                    if !first {
                        member.tracker.refresh_mut().changed(seen.1);
                    }
                }
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        for (member, seen) in fast.into_iter().zip(seen) {
            member.tracker.refresh_mut().conclude_at(seen.1);
        }
    }

    fn conclude(&mut self, now: Time, parts: &[Part], resumed: bool) -> Reading {
        let mut known = true;
        let mut all = !parts.is_empty();
        for (member, part) in self.members.iter().zip(parts) {
            match part {
                Part::Energy(uj) => {
                    self.pending = self.pending.saturating_add(uj.0);
                    if member.is_card() {
                        self.pending_cards = self.pending_cards.saturating_add(uj.0);
                    }
                }
                Part::Start => known = false,
                Part::Nothing(told_later) => {
                    all = false;
                    known &= told_later;
                }
            }
        }
        if !all {
            let (since, before) = self.gap.unwrap_or((now, true));
            self.gap = Some((since, before && known));
            return Reading { at: now, total: None, cards: None, fresh: self.fresh, bridged: false };
        }
        let gap = self.gap.take();
        let known = known && gap.is_none_or(|(_, known)| known);
        let (pending, cards) = (std::mem::take(&mut self.pending), std::mem::take(&mut self.pending_cards));
        if let Some(before) = self.counted.filter(|_| known) {
            let total = self.total;
            self.add(pending, now.since(before));
            // The offset is nobody's in particular: it stays with the rest.
            let cards = (cards as f64 * self.setting.scale).round() as u64;
            self.of_cards = self.of_cards.saturating_add(cards.min(self.total - total));
        }
        self.counted = Some(now);
        let fresh = self.members.iter().map(|m| m.tracker.fresh()).min().unwrap_or(now);
        self.fresh = self.fresh.max(fresh).min(now);
        let bridged = known && (gap.is_some() || resumed);
        let beside = self.members.iter().any(Member::is_card) && !self.members.iter().all(Member::is_card);
        let cards = beside.then_some(Microjoules(self.of_cards));
        Reading { at: now, total: Some(Microjoules(self.total)), cards, fresh: self.fresh, bridged }
    }

    fn add(&mut self, uj: u64, time: Duration) {
        let Setting { scale, offset, .. } = self.setting;
        if scale == 1.0 && offset == 0.0 {
            self.total = self.total.saturating_add(uj);
            return;
        }
        let owed = self.owed + uj as f64 * scale + offset * time.as_secs_f64() * 1e6;
        let whole = owed.max(0.0).floor();
        self.total = self.total.saturating_add(whole as u64);
        // An offset below what is drawn cannot run up debts without end: a second's worth bridges two refreshes.
        self.owed = (owed - whole).max(-offset.abs() * 1e6);
    }

    /// Looks for other sensors, where those in use do not work or are not the best.
    fn look_around(&mut self, now: Time) {
        let failing = self.gap.is_some_and(|(since, _)| now.since(since) >= STAND_IN);
        let wanting = self.members.is_empty() || self.rank > self.best_rank;
        if self.setting.source == "none" || !(failing || wanting) {
            self.look_wait = FIRST_WAIT;
            return;
        }
        if now < self.look {
            return;
        }
        self.rediscover();
        self.look = now + self.look_wait;
        self.look_wait = (self.look_wait * 2).min(LONGEST_WAIT);
    }
}

/// CPU time that all cores have spent since the device was started, but idle.
fn busy_time() -> Duration {
    let ticks = |text: String| {
        let first = text.lines().next()?.strip_prefix("cpu")?.to_owned();
        let fields: Vec<u64> = first.split_whitespace().filter_map(|f| f.parse().ok()).collect();
        // user, nice, system, idle, iowait, irq, softirq
        Some([0, 1, 2, 5, 6].iter().filter_map(|i| fields.get(*i)).sum::<u64>())
    };
    // USER_HZ is 100 on every architecture that this runs on.
    std::fs::read_to_string("/proc/stat").ok().and_then(ticks).map_or(Duration::ZERO, |t| Duration::from_millis(t * 10))
}

#[cfg(test)]
mod tests;
