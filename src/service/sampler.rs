//! The thread that reads the meter, and what CPU time went where, while something runs.
//!
//! A thread of its own, because a sensor behind a slow bus, or one that hangs, must not hold up an answer. It reads
//! every `[energy] interval` while the service is busy and a little longer, to see what the device draws when idle, also
//! just after the work ends and just before it begins, so that a short rest between two requests shows; once a minute while a model is only resident, so that no wrap of a counter goes unseen; and not at all, without a
//! timer, while no model is loaded. The service may ask for a reading at once ([`Sampler::now`]).
//!
//! What always holds: it decides nothing; every ticket is answered by a sample that was taken after it was drawn.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::time::{clock_getcpuclockid, clock_gettime, ClockId};
use nix::unistd::Pid;
use parking_lot::{Condvar, Mutex};

use super::{helpers, Msg};
use crate::clock::Monotonic;
use crate::config;
use crate::energy::ledger::CpuUse;
use crate::energy::meter::{Meter, MeterInfo, Reading};
use crate::lane::{CpuClock, LaneId};
use crate::signals::{self, Signals};

/// How long it goes on after the service has become idle, and after it started.
const TAIL: Duration = Duration::from_millis(1200);
/// A graphics card takes a second to come to rest.
const TAIL_CARDS: Duration = Duration::from_millis(2500);
/// Between readings while models are only resident; less for a counter that goes round sooner.
const RESIDENT: Duration = Duration::from_secs(60);
/// Between readings while nothing runs and somebody waits for the charger or for a cooler device.
const WATCHED: Duration = Duration::from_secs(5);
/// The first reading of a rest comes a refresh after its begin, and this, which is for a sensor that is late.
const AFTER_REFRESH: Duration = Duration::from_millis(2);
/// Whatever a sensor would need: nobody is woken more often.
const SHORTEST: Duration = Duration::from_millis(10);
/// Battery, heat and pressure change slowly.
const SIGNALS: Duration = Duration::from_secs(1);
/// The thread may load a driver's library, which runs its constructors here.
const STACK: usize = 1 << 20;

/// One look at everything.
#[derive(Debug)]
pub(super) struct Sample {
    pub reading: Reading,
    pub cpu: CpuUse,
    pub signals: Option<Signals>,
    /// What the meter is, where that is news, and whether other sensors are in use than before.
    pub info: Option<(MeterInfo, bool)>,
    /// Tickets up to this are answered.
    pub ticket: u64,
    /// There will be none for a while: what is used until the next is not metered.
    pub last: bool,
}

/// What it is told.
#[derive(Debug, Default, PartialEq)]
struct Wish {
    /// The workers, by lane.
    lanes: Vec<(LaneId, CpuClock)>,
    busy: bool,
    /// Somebody waits for the battery or the temperature to change.
    watch: bool,
    ticket: u64,
    interval: Duration,
    /// Sensors are to be looked for again, as configured here.
    reopen: Option<Sensors>,
    quit: bool,
}

/// Where its sensors are.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sensors {
    pub energy: config::Energy,
    pub sysfs: PathBuf,
    pub procfs: PathBuf,
}

pub(super) struct Sampler {
    shared: Arc<(Mutex<Wish>, Condvar)>,
}

impl Sampler {
    /// # Errors
    /// Where the system gives no thread.
    pub fn start(sensors: Sensors, clock: Monotonic, tx: Sender<Msg>) -> std::io::Result<Sampler> {
        let interval = sensors.energy.interval.0;
        let shared =
            Arc::new((Mutex::new(Wish { interval, reopen: Some(sensors), ..Wish::default() }), Condvar::new()));
        let theirs = Arc::clone(&shared);
        let body = move || run(&theirs, clock, &tx);
        helpers::spawn(thread::Builder::new().name("meter".into()).stack_size(STACK), body)?;
        Ok(Sampler { shared })
    }

    /// Which workers there are, whether any has something to do, and whether signals are waited for.
    pub fn set(&self, lanes: Vec<(LaneId, CpuClock)>, busy: bool, watch: bool) {
        let mut wish = self.shared.0.lock();
        if wish.lanes != lanes || wish.busy != busy || wish.watch != watch {
            (wish.lanes, wish.busy, wish.watch) = (lanes, busy, watch);
            self.shared.1.notify_one();
        }
    }

    /// Asks for a sample as soon as may be; its ticket.
    pub fn now(&self) -> u64 {
        let mut wish = self.shared.0.lock();
        wish.ticket += 1;
        self.shared.1.notify_one();
        wish.ticket
    }

    /// The configuration changed.
    pub fn reopen(&self, sensors: Sensors) {
        let mut wish = self.shared.0.lock();
        wish.interval = sensors.energy.interval.0;
        wish.reopen = Some(sensors);
        self.shared.1.notify_one();
    }
}

impl Drop for Sampler {
    // Not waited for: a sensor may hang.
    fn drop(&mut self) {
        self.shared.0.lock().quit = true;
        self.shared.1.notify_one();
    }
}

/// What the thread holds.
struct Senses {
    meter: Meter,
    /// The sensors that were told of.
    epoch: Option<u32>,
    signals: signals::Reader,
    machine: Machine,
    told: Option<MeterInfo>,
    looked: Option<Instant>,
    /// Lanes run in this process, or have done so.
    inside: bool,
}

fn tail_of(senses: &Option<Senses>) -> Duration {
    match senses {
        Some(senses) if senses.meter.has_cards() => TAIL_CARDS,
        _ => TAIL,
    }
}

fn run(shared: &(Mutex<Wish>, Condvar), clock: Monotonic, tx: &Sender<Msg>) {
    let mut senses: Option<Senses> = None;
    let mut answered = 0;
    let mut due = Instant::now();
    // It goes on at least until then.
    let mut tail = due + TAIL;
    // Nothing is loaded, and that was told.
    let mut paused = false;
    let mut worked = false;
    loop {
        let resumed = paused;
        let (lanes, last) = {
            let mut wish = shared.0.lock();
            loop {
                if wish.quit {
                    return;
                }
                let now = Instant::now();
                if let Some(sensors) = wish.reopen.take() {
                    match &mut senses {
                        Some(senses) => senses.meter.set((&sensors.energy).into()),
                        None => senses = Some(Senses::new(&sensors)),
                    }
                    (due, tail, paused) = (now, now + tail_of(&senses), false);
                }
                if wish.busy != worked {
                    worked = wish.busy;
                    let refresh = senses.as_ref().map_or(SHORTEST, |s| s.meter.refresh());
                    let first = now + (refresh + AFTER_REFRESH).max(SHORTEST).min(wish.interval);
                    due = if worked { now } else { due.min(first) };
                }
                if wish.busy {
                    (tail, paused) = (now + tail_of(&senses), false);
                }
                let pausing = now >= tail && wish.lanes.is_empty() && !paused;
                let timed = !paused || wish.watch;
                if wish.ticket > answered || pausing || (timed && due <= now) {
                    break;
                }
                match timed {
                    true => drop(shared.1.wait_until(&mut wish, due)),
                    false => shared.1.wait(&mut wish),
                }
            }
            answered = wish.ticket;
            let now = Instant::now();
            let idle = !wish.busy && now >= tail;
            paused = idle && wish.lanes.is_empty();
            let patience = senses.as_ref().and_then(|s| s.meter.patience()).unwrap_or(RESIDENT);
            due = now
                + match (idle, wish.watch) {
                    (false, _) => wish.interval,
                    (true, true) => WATCHED.min(patience),
                    (true, false) => RESIDENT.min(patience),
                }
                .max(SHORTEST);
            (wish.lanes.clone(), paused)
        };
        let Some(senses) = &mut senses else { continue };
        let sample = senses.look(&lanes, answered, resumed, last, clock);
        if tx.send(Msg::Sampled(Box::new(sample))).is_err() {
            return;
        }
    }
}

impl Senses {
    fn new(sensors: &Sensors) -> Senses {
        Senses {
            meter: Meter::open(&sensors.energy, &sensors.sysfs),
            epoch: None,
            signals: signals::Reader::new(&sensors.sysfs, &sensors.procfs),
            machine: Machine::new(&sensors.procfs),
            told: None,
            looked: None,
            inside: false,
        }
    }

    fn look(
        &mut self,
        lanes: &[(LaneId, CpuClock)],
        ticket: u64,
        resumed: bool,
        last: bool,
        clock: Monotonic,
    ) -> Sample {
        let reading = match resumed {
            true => self.meter.resume(clock.now()),
            false => self.meter.read(clock.now()),
        };
        self.inside |= lanes.iter().any(|(_, clock)| matches!(clock, CpuClock::Inside(_)));
        let own = match self.inside {
            // It is counted with the lanes'.
            true => None,
            false => cpu_clock(ClockId::CLOCK_PROCESS_CPUTIME_ID),
        };
        let cpu = CpuUse {
            busy: self.machine.busy(),
            own: own.unwrap_or_default(),
            lanes: lanes.iter().filter_map(|(id, clock)| Some((*id, cpu_of(*clock)?))).collect(),
            gpus: std::collections::BTreeMap::new(),
        };
        let info = self.meter.info();
        let epoch = self.epoch.replace(self.meter.epoch());
        let others = epoch != self.epoch;
        let info = (self.told.as_ref() != Some(&info)).then(|| {
            self.told = Some(info.clone());
            (info, others)
        });
        let stale = self.looked.is_none_or(|at| at.elapsed() >= SIGNALS);
        let signals = stale.then(|| {
            self.looked = Some(Instant::now());
            self.signals.read()
        });
        Sample { reading, cpu, signals, info, ticket, last }
    }
}

/// CPU time of a lane; `None` where its process is gone.
pub(super) fn cpu_of(clock: CpuClock) -> Option<Duration> {
    match clock {
        CpuClock::Process(pid) => cpu_clock(clock_getcpuclockid(Pid::from_raw(pid)).ok()?),
        CpuClock::Inside(before) => Some(cpu_clock(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.saturating_sub(before)),
    }
}

fn cpu_clock(clock: ClockId) -> Option<Duration> {
    clock_gettime(clock).ok().map(Duration::from)
}

/// The CPU time of the whole machine, as `/proc/stat` tells it: all CPUs' time less what they were idle or waited, and
/// less what a hypervisor took. The kernel counts idle time exactly and busy time by sampling, so that this is the
/// better sum.
struct Machine {
    file: Option<File>,
    /// Of the last look: when, and the CPUs' time without work.
    last: Option<(Instant, Duration)>,
    busy: Duration,
}

impl Machine {
    fn new(procfs: &Path) -> Machine {
        Machine { file: File::open(procfs.join("stat")).ok(), last: None, busy: Duration::ZERO }
    }

    fn busy(&mut self) -> Duration {
        let now = Instant::now();
        let mut text = [0; 8192];
        let read = self.file.as_ref().and_then(|f| f.read_at(&mut text, 0).ok()).unwrap_or(0);
        let Some((cpus, without)) = std::str::from_utf8(&text[..read]).ok().and_then(parse_stat) else {
            return self.busy;
        };
        if let Some((at, before)) = self.last {
            // Signed: ticks come late in one look and early in the next.
            let all = now.duration_since(at).saturating_mul(cpus);
            let idle = without.saturating_sub(before);
            self.busy = (self.busy + all).saturating_sub(idle).max(if all > idle { self.busy } else { Duration::ZERO });
        }
        self.last = Some((now, without));
        self.busy
    }
}

/// The number of CPUs and their time without work, together.
fn parse_stat(text: &str) -> Option<(u32, Duration)> {
    let mut lines = text.lines();
    let mut fields = lines.next()?.strip_prefix("cpu ")?.split_ascii_whitespace().map(|f| f.parse::<u64>().ok());
    let [_, _, _, idle, wait, _, _, steal] = std::array::from_fn(|_| fields.next().flatten());
    let ticks = idle? + wait.unwrap_or(0) + steal.unwrap_or(0);
    let cpus = lines.take_while(|l| l.starts_with("cpu")).count();
    // USER_HZ is 100 on every architecture that this runs on.
    Some((u32::try_from(cpus.max(1)).ok()?, Duration::from_millis(ticks.saturating_mul(10))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_idle_time_is_read() {
        let text = "cpu  100 0 50 1000 20 0 5 30 0 0\ncpu0 50 0 25 500 10 0 2 15 0 0\ncpu1 50 0 25 500 10 0 3 15 0 0\nintr 1 2\n";
        assert_eq!(parse_stat(text), Some((2, Duration::from_millis(10_500))));
        assert_eq!(parse_stat("cpu  x"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn where_no_cpu_time_is_shown_others_use_none() {
        let mut machine = Machine::new("/nowhere".as_ref());
        assert_eq!((machine.busy(), machine.busy()), (Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn work_shows_in_this_process_and_the_machine() {
        let mut machine = Machine::new("/proc".as_ref());
        let (before, own) = (machine.busy(), cpu_of(CpuClock::Process(std::process::id() as i32)).unwrap());
        let end = Instant::now() + Duration::from_millis(200);
        while Instant::now() < end {
            std::hint::spin_loop();
        }
        let own = cpu_of(CpuClock::Process(std::process::id() as i32)).unwrap() - own;
        assert!(own >= Duration::from_millis(20), "{own:?}");
        assert!(machine.busy() >= before);
        // More than any kernel gives out.
        assert_eq!(cpu_of(CpuClock::Process(1 << 23)), None);
    }
}
