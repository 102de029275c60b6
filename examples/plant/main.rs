//! A device to measure against: the ground truth of wattlm's energy tests.
//!
//! The plant watches what CPU time programs really use, turns it into power as a small board would, and writes what
//! that board's kernel would show: RAPL counters, an INA3221's rails, a battery and its charger, a thermal zone,
//! frequency limits. Beside that it logs the energy as it truly was, and who caused it. It knows nothing of wattlm but
//! which processes are workers, and shares no code with it.
//!
//! The truth is a definition: with `c` the cores that were busy in a tick (CPU time over the tick's length),
//! `P = idle + first * min(c, 1) + more * max(c - 1, 0)`, times a noise that changes slowly. What is above idle belongs
//! to the programs that ran, in proportion to their CPU time. Workers with a GPU driver mapped are apart: on Mesa's lavapipe
//! their CPU time is the GPU's work, and each second of it takes what `--gpu-w` says. With `--trees` that have a `card`, it
//! is the card that takes it, as its own sensor shows; the processor's package does not.
//!
//! With `--others daemon` nothing draws but workers and the daemon. One who splits what the package shows by the machine's
//! CPU time then has to look away from other programs, too.
//!
//! How fine that is: CPU time comes from each process's CPU clock, which the kernel brings up to date at its own tick
//! (1 to 10 ms) and at every switch of tasks. New processes are looked for every third tick and are then counted from
//! their birth; a process that lives for less than that is missed, and the last tick of one that ends. The plant's own
//! CPU time does not count.
//!
//! A reader sees whole values: each file keeps its inode and is rewritten by one write of a few bytes at offset 0,
//! padded with line ends where the new text is shorter.

mod cpu;
mod options;
mod power;
mod rails;
mod supply;
mod thermal;
mod tree;
mod truth;

use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::sync::mpsc::{channel, Receiver};
use std::time::Duration;

use nix::time::{clock_nanosleep, ClockId, ClockNanosleepFlags};

use cpu::Cpu;
use options::Options;
use power::Power;
use rails::{Card, Ina, Rapl};
use supply::Supply;
use thermal::{Cpufreq, Thermal};
use tree::Fault;
use truth::Truth;

/// Told while it runs, one a line, on standard input or a FIFO.
enum Command {
    Daemon(i32),
    Outage(Duration, Fault),
    Charger(bool),
    Battery(f64),
    Ambient(f64),
    Frequency(f64),
    Watts(f64, f64, f64),
    Sync,
    Workers,
    Quit,
}

impl Command {
    fn parse(line: &str) -> Result<Command, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let bad = |_| format!("'{line}': not a number");
        let number = |s: &str| s.parse::<f64>().map_err(|e| bad(e.to_string()));
        Ok(match words[..] {
            ["daemon", pid] => Command::Daemon(pid.parse().map_err(|_| bad(String::new()))?),
            ["outage", seconds, kind] => Command::Outage(options::seconds(seconds)?, kind.parse()?),
            ["charger", on] => Command::Charger(on != "0"),
            ["battery", percent] => Command::Battery(number(percent)?.clamp(0.0, 100.0)),
            ["ambient", degrees] => Command::Ambient(number(degrees)?),
            ["freq", share] => Command::Frequency(number(share)?.clamp(0.05, 1.0)),
            ["watts", first, more, gpu] => Command::Watts(number(first)?, number(more)?, number(gpu)?),
            ["sync"] => Command::Sync,
            ["workers"] => Command::Workers,
            ["quit"] => Command::Quit,
            _ => {
                return Err(format!(
                    "'{line}' is no command: daemon PID, outage SECONDS KIND, charger 0|1, battery PERCENT, \
                     ambient DEGREES, freq SHARE, watts FIRST MORE GPU, sync, workers, quit"
                ))
            }
        })
    }
}

/// Reads commands in a thread of its own. The end of standard input is `quit`, so that the plant goes with the test
/// that started it.
fn commands(from: &Path) -> io::Result<Receiver<Command>> {
    let (send, receive) = channel();
    let stdin = from.as_os_str() == "stdin";
    let lines: Box<dyn BufRead + Send> = if stdin {
        Box::new(BufReader::new(io::stdin()))
    } else {
        // Open for writing as well: it then never ends.
        Box::new(BufReader::new(OpenOptions::new().read(true).write(true).open(from)?))
    };
    std::thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok).filter(|l| !l.trim().is_empty()) {
            match Command::parse(line.trim()) {
                Ok(command) => {
                    if send.send(command).is_err() {
                        return;
                    }
                }
                Err(e) => eprintln!("plant: {e}"),
            }
        }
        let _ = send.send(Command::Quit);
    });
    Ok(receive)
}

/// Goes before programs that have not asked for more.
#[allow(unsafe_code)]
fn priority() -> bool {
    // SAFETY: a system call that takes integers.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -15) == 0 }
}

/// Time since boot that does not jump, in nanoseconds.
fn now() -> u64 {
    ClockId::CLOCK_MONOTONIC.now().map_or(0, |t| Duration::from(t).as_nanos() as u64)
}

/// The sensors that this plant has.
struct Sensors {
    rapl: Option<Rapl>,
    card: Option<Card>,
    ina: Option<Ina>,
    supply: Option<Supply>,
    thermal: Option<Thermal>,
    cpufreq: Option<Cpufreq>,
}

impl Sensors {
    fn create(o: &Options) -> io::Result<Sensors> {
        let root = o.root.as_path();
        let has = |name: &str| o.has(name);
        // The folders that every kernel has.
        for dir in ["class/powercap", "class/hwmon", "class/power_supply", "class/thermal", "devices/system/cpu"] {
            std::fs::create_dir_all(root.join(dir))?;
        }
        Ok(Sensors {
            rapl: has("rapl").then(|| Rapl::create(root, o.wrap_j, o.start_j, o.rapl)).transpose()?,
            card: has("card").then(|| Card::create(root, o.rapl)).transpose()?,
            ina: has("ina").then(|| Ina::create(root, o.ina)).transpose()?,
            supply: has("battery")
                .then(|| Supply::create(root, o.battery_wh, o.battery_percent, o.charger))
                .transpose()?,
            thermal: has("thermal").then(|| Thermal::create(root, o.ambient)).transpose()?,
            cpufreq: has("cpufreq").then(|| Cpufreq::create(root)).transpose()?,
        })
    }

    fn update(&mut self, at: u64, power: &Power, fault: Option<Fault>) -> io::Result<()> {
        let (idle, active) = if self.card.is_some() { power.card() } else { (0.0, 0.0) };
        if let Some(s) = &mut self.card {
            s.update(at, idle + active, fault)?;
        }
        if let Some(s) = &mut self.rapl {
            s.update(at, power.idle() - idle, power.active() - active, fault)?;
        }
        if let Some(s) = &mut self.ina {
            s.update(at, power.idle(), power.active(), fault)?;
        }
        if let Some(s) = &mut self.supply {
            s.update(at, power.total())?;
        }
        if let Some(s) = &mut self.thermal {
            s.update(at, power.total())?;
        }
        Ok(())
    }
}

fn run(o: &Options) -> Result<(), String> {
    let say = |e: io::Error| e.to_string();
    let at = |what: &Path, e: io::Error| format!("{}: {e}", what.display());
    let mut sensors = Sensors::create(o).map_err(|e| at(&o.root, e))?;
    let mut truth = Truth::create(&o.truth).map_err(|e| at(&o.truth, e))?;
    let commands = o.control.as_ref().map(|c| commands(c).map_err(|e| at(c, e))).transpose()?;
    let mut cpu = Cpu::new(o.others, o.daemon);
    let mut power = Power::new(o);
    let mut outages: Vec<(u64, u64, Fault)> = Vec::new();
    let start = now();
    for (from, length, fault) in &o.outages {
        let from = start + from.as_nanos() as u64;
        outages.push((from, from + length.as_nanos() as u64, *fault));
    }
    let tick = o.tick.as_nanos() as u64;
    // A device's sensors do not wait for a core. Where this may not be asked for, they do.
    let _ = priority();
    let mut last = start;
    sensors.update(start, &power, None).map_err(say)?;
    truth.row(start, &power, &cpu, None).map_err(say)?;
    println!("ready {start}");
    io::stdout().flush().map_err(say)?;
    for n in 1u64.. {
        // Late ticks are made up for by a longer one: no time is lost and none is counted twice.
        let next = (last / tick + 1) * tick;
        // Woken early by a signal, it only makes a shorter tick.
        let _ = clock_nanosleep(
            ClockId::CLOCK_MONOTONIC,
            ClockNanosleepFlags::TIMER_ABSTIME,
            &Duration::from_nanos(next).into(),
        );
        let t = now();
        if n.is_multiple_of(3) {
            cpu.scan();
        }
        let dt = Duration::from_nanos(t - last);
        let used = cpu.sample(dt);
        power.advance(dt, &used);
        last = t;
        outages.retain(|(_, end, _)| *end > t);
        let fault = outages.iter().find(|(from, _, _)| *from <= t).map(|(_, _, f)| *f);
        sensors.update(t, &power, fault).map_err(say)?;
        truth.row(t, &power, &cpu, fault).map_err(say)?;
        while let Some(command) = commands.as_ref().and_then(|c| c.try_recv().ok()) {
            match command {
                Command::Daemon(pid) => cpu.watch(pid),
                Command::Outage(length, fault) => outages.push((t, t + length.as_nanos() as u64, fault)),
                Command::Charger(on) => sensors.supply.iter_mut().for_each(|s| s.charger(on)),
                Command::Battery(percent) => sensors.supply.iter_mut().for_each(|s| s.level(percent)),
                Command::Ambient(degrees) => sensors.thermal.iter_mut().for_each(|s| s.ambient(degrees)),
                Command::Frequency(share) => {
                    sensors.cpufreq.iter_mut().try_for_each(|s| s.limit(share)).map_err(say)?
                }
                Command::Watts(first, more, gpu) => power.change(first, more, gpu),
                Command::Sync => {
                    truth.flush().map_err(say)?;
                    println!("synced {t}");
                    io::stdout().flush().map_err(say)?;
                }
                Command::Workers => {
                    let joules: f64 = power.workers().values().sum();
                    println!("workers {}", (joules * 1e6).round() as u64);
                    io::stdout().flush().map_err(say)?;
                }
                Command::Quit => return truth.flush().map_err(say),
            }
        }
        if o.duration.is_some_and(|d| t - start >= d.as_nanos() as u64) {
            break;
        }
    }
    truth.flush().map_err(say)
}

fn main() -> std::process::ExitCode {
    match Options::parse(std::env::args().skip(1)) {
        Ok(None) => {
            print!("{}", options::HELP);
            std::process::ExitCode::SUCCESS
        }
        Ok(Some(options)) => match run(&options) {
            Ok(()) => std::process::ExitCode::SUCCESS,
            Err(e) => {
                eprintln!("plant: {e}");
                std::process::ExitCode::FAILURE
            }
        },
        Err(e) => {
            eprintln!("plant: {e}\n\n{}", options::HELP);
            std::process::ExitCode::from(2)
        }
    }
}
