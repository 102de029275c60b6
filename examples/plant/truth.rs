//! The log of what truly was: a CSV line for each tick, all sums since the start.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::cpu::Cpu;
use crate::power::Power;
use crate::tree::Fault;

pub struct Truth {
    file: BufWriter<File>,
    flushed: u64,
}

const HEAD: &str =
    "t_ns,total_uj,idle_uj,workers_uj,daemon_uj,others_uj,workers_ns,daemon_ns,others_ns,fault,by_worker";

impl Truth {
    pub fn create(path: &Path) -> io::Result<Truth> {
        let mut file = BufWriter::with_capacity(1 << 16, File::create(path)?);
        writeln!(file, "{HEAD}")?;
        Ok(Truth { file, flushed: 0 })
    }

    /// `t_ns` is CLOCK_MONOTONIC; the total is the sum of the parts to the last microjoule; `by_worker` is
    /// `PID=MICROJOULES` of each, separated by spaces.
    pub fn row(&mut self, at: u64, power: &Power, cpu: &Cpu, fault: Option<Fault>) -> io::Result<()> {
        let uj = |j: f64| (j * 1e6).round() as u64;
        let (idle, daemon, others) = (uj(power.idle()), uj(power.daemon()), uj(power.others()));
        let workers: u64 = power.workers().values().map(|j| uj(*j)).sum();
        let total = idle + daemon + others + workers;
        let (w, d, o) = (cpu.total.workers.values().sum::<u64>(), cpu.total.daemon, cpu.total.others);
        let fault = fault.map_or("", Fault::name);
        write!(self.file, "{at},{total},{idle},{workers},{daemon},{others},{w},{d},{o},{fault},")?;
        for (n, (pid, joules)) in power.workers().iter().enumerate() {
            write!(self.file, "{}{pid}={}", if n > 0 { " " } else { "" }, uj(*joules))?;
        }
        writeln!(self.file)?;
        if at > self.flushed + 1_000_000_000 {
            self.flushed = at;
            self.file.flush()?;
        }
        Ok(())
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
