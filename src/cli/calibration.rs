//! `wattlm calibrate`: asks the service for what shows what its models take, and tells what was found.
//!
//! It measures nothing itself. It sends ordinary requests over the socket, with a number of threads and a device that they
//! run on, and the service learns from them as from any other, so that what it knows is what requests get. Interrupted,
//! nothing of it is lost.
//!
//! What always holds: it ends in the time it was given, give or take one request.
//!
//! `ask` makes the requests, `page` the text of a profile.

mod ask;
mod page;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{json, Value};

use self::page::page;
use super::args::{Backend, Calibration};
use super::findings::findings;
use super::print::{note, Out};
use super::read;
use crate::client::Client;
use crate::error::{Code, Error, Result};
use crate::sched::thread_ladder;
use crate::service::{ModelInfo, ProfileReport, Status, VariantInfo};

/// Time for a variant on a device.
const TIME: Duration = Duration::from_secs(180);
const QUICK: Duration = Duration::from_secs(20);
/// Lengths of prompts, in tokens, as far as the context goes.
const PROMPTS: [u32; 5] = [32, 128, 512, 1024, 2048];
/// How long one thing is measured, in seconds: a sensor's refresh and a step's edge are little against it. Where one
/// request is shorter, several follow one another.
const LONG: f64 = 1.5;
const LONG_QUICK: f64 = 0.6;
/// Requests for one thing, at most.
const MOST: u32 = 8;
/// Tokens of one answer, at most.
const LONGEST: u32 = 256;
/// A prompt that would take more than this share of the time is left out.
const SHARE: f64 = 0.15;
/// Share of the context that prompt and answer may fill: tokens are reckoned.
const ROOM: f64 = 0.8;
/// The service looks at the meter for a little longer than something runs: that shows what a resident model draws.
const REST: Duration = Duration::from_millis(2800);
/// A service that was just started has looked for GPUs by then.
const SEARCH: Duration = Duration::from_secs(60);

pub(super) fn run(args: &Calibration, client: &Client, out: Out) -> Result<ExitCode> {
    let variants = variants(client, args.model.as_deref())?;
    if !args.show {
        measure_all(args, client, &variants)?;
    }
    let known: Value = client.profiles()?;
    let known: Vec<ProfileReport> = read(known["profiles"].clone())?;
    let wanted = |p: &ProfileReport| {
        variants.iter().any(|v| v.name == p.model)
            && args.backend.is_none_or(|b| (b == Backend::Cpu) == (p.device == "cpu"))
    };
    let profiles: Vec<ProfileReport> = known.into_iter().filter(wanted).collect();
    let mut found = findings(&profiles);
    let status: Status = read(client.status()?)?;
    let idle = status.energy.idle_watts.filter(|_| !status.energy.source.is_empty());
    found.extend(idle.map(|watts| format!("At rest the device draws {watts}.")));
    if out.json {
        out.object(&json!({
            "object": "wattlm.calibration", "profiles": profiles, "findings": found, "idle_watts": idle,
        }))?;
    } else if profiles.is_empty() {
        out.line("Nothing is known yet; `wattlm calibrate` measures.")?;
    } else {
        let pages: Vec<String> = profiles.iter().map(page).collect();
        out.line(format!("{}\n\n{}", pages.join("\n\n"), found.join("\n")))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The variants that a name means; all without one.
fn variants(client: &Client, name: Option<&str>) -> Result<Vec<VariantInfo>> {
    let list = client.models()?;
    let mut found = Vec::new();
    for model in list["data"].as_array().map_or(&[][..], Vec::as_slice) {
        let variants: Vec<VariantInfo> = read(model["wattlm"]["variants"].clone())?;
        let info = ModelInfo {
            name: model["id"].as_str().unwrap_or_default().to_owned(),
            default: model["wattlm"]["default"] == true,
            variants,
        };
        let wanted = |v: &VariantInfo| name.is_none_or(|name| name == info.name || name == v.name);
        found.extend(info.variants.iter().filter(|v| wanted(v) && v.state != "broken").cloned());
    }
    match (found.is_empty(), name) {
        (false, _) => Ok(found),
        (true, Some(name)) => {
            let message =
                format!("there is no model {name:?} that can be loaded; `wattlm models list` shows what there is");
            Err(Error::new(Code::ModelNotFound, message).at("model"))
        }
        (true, None) => Err(Error::new(Code::ModelNotFound, "there is no model; `wattlm models add` brings one")),
    }
}

/// The status, once the service has looked for GPUs: it may just have been started.
fn searched(client: &Client) -> Result<Value> {
    let until = Instant::now() + SEARCH;
    loop {
        let status = client.status()?;
        let known = !status["no_gpu"].is_null() || status["gpus"].as_array().is_some_and(|gpus| !gpus.is_empty());
        if known || Instant::now() >= until {
            return Ok(status);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn measure_all(args: &Calibration, client: &Client, variants: &[VariantInfo]) -> Result<()> {
    let status = searched(client)?;
    let gpus = status["gpus"].as_array().is_some_and(|gpus| !gpus.is_empty());
    let status: Status = read(status)?;
    let mut backends = vec![Backend::Cpu];
    if gpus {
        backends.push(Backend::Gpu);
    }
    backends.retain(|backend| args.backend.is_none_or(|wanted| wanted == *backend));
    if backends.is_empty() {
        return Err(Error::new(Code::InvalidRequest, "the service has no GPU; `wattlm status` says why"));
    }
    if status.energy.source.is_empty() {
        note("there is no energy sensor: joules are estimated by the processor's time (`wattlm meter` says more)");
    }
    if status.running + status.queued > 0 {
        note("others ask the service now: what is measured is mixed with what they take");
    }
    let (mut done, mut failed) = (0, None);
    for variant in variants {
        for backend in &backends {
            let mut lane = Lane::new(client, variant, *backend, args);
            match lane.measure() {
                Ok(()) => done += 1,
                // Nothing that follows would fare better.
                Err(e) if matches!(e.code, Code::Forbidden | Code::NoDaemon | Code::BudgetExhausted) => return Err(e),
                Err(e) => {
                    lane.progress.clear();
                    note(format_args!("{} on {}: {e}", variant.name, word(*backend)));
                    failed = Some(e);
                }
            }
        }
    }
    match failed {
        Some(e) if done == 0 => Err(e),
        _ => Ok(()),
    }
}

fn word(backend: Backend) -> &'static str {
    match backend {
        Backend::Cpu => "cpu",
        Backend::Gpu => "gpu",
    }
}

/// Where the measurements of a lane are, on one line of a terminal.
struct Progress {
    what: String,
    shown: usize,
    tty: bool,
}

impl Progress {
    fn show(&mut self, share: f64, step: &str) {
        if !self.tty {
            return;
        }
        let line = format!("{} {:3.0} %  {step}", self.what, share.clamp(0.0, 1.0) * 100.0);
        let blank = " ".repeat(self.shown.saturating_sub(line.chars().count()));
        self.shown = line.chars().count();
        let _ = std::io::stderr().write_all(format!("\r{line}{blank}").as_bytes());
    }

    fn clear(&mut self) {
        if self.tty && self.shown > 0 {
            let _ = std::io::stderr().write_all(format!("\r{}\r", " ".repeat(self.shown)).as_bytes());
            self.shown = 0;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// One thing to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// A prompt of so many tokens.
    Prompt(u32, u32),
    /// Answers of so many requests at once behind so many tokens.
    Answer { threads: u32, batch: u32, context: u32 },
}

impl Step {
    fn describe(self) -> String {
        match self {
            Step::Prompt(tokens, threads) => format!("a prompt of {tokens} tokens, {threads} threads"),
            Step::Answer { threads, batch: 1, context } => {
                format!("an answer behind {context} tokens, {threads} threads")
            }
            Step::Answer { threads, batch, context } => {
                format!("{batch} answers at once behind {context} tokens each, {threads} threads")
            }
        }
    }
}

/// What is measured of a lane, what matters most first: it may be cut short.
fn steps(threads: &[u32], context: u32, slots: u32, quick: bool) -> Vec<Step> {
    let room = (f64::from(context) * ROOM) as u32;
    let lengths: Vec<u32> = PROMPTS.into_iter().filter(|n| n + 8 <= room).collect();
    let middle = lengths.iter().copied().filter(|n| *n <= 128).max().unwrap_or(room / 2);
    let short = 16.min(room / 4);
    let deep = (room / 2).min(2048);
    let batches: Vec<u32> = (1..7).map(|n| 1 << n).filter(|n| *n <= slots).collect();
    let mut steps = Vec::new();
    for n in threads {
        steps.push(Step::Prompt(middle, *n));
        steps.push(Step::Answer { threads: *n, batch: 1, context: short });
    }
    for (i, n) in threads.iter().enumerate() {
        if quick && i > 0 {
            break;
        }
        steps.extend(lengths.iter().filter(|l| **l != middle).map(|l| Step::Prompt(*l, *n)));
        if deep > 2 * short {
            steps.push(Step::Answer { threads: *n, batch: 1, context: deep });
        }
        steps.extend(batches.iter().map(|batch| Step::Answer { threads: *n, batch: *batch, context: short }));
    }
    if !quick {
        // Once more: one measurement may have been disturbed.
        let again = steps.clone();
        steps.extend(again);
    }
    steps
}

/// A variant on a device.
struct Lane<'a> {
    client: &'a Client,
    variant: &'a VariantInfo,
    backend: Backend,
    quick: bool,
    until: Instant,
    time: Duration,
    /// State of the generator of words.
    seed: u64,
    /// Tokens that a word has.
    per_word: f64,
    /// Tokens per second of prompts and answers, as seen.
    prefill: f64,
    decode: f64,
    progress: Progress,
}

impl<'a> Lane<'a> {
    fn new(client: &'a Client, variant: &'a VariantInfo, backend: Backend, args: &Calibration) -> Lane<'a> {
        let time = args.time.map_or(if args.quick { QUICK } else { TIME }, |span| span.0);
        let what = format!("{} on {}", variant.name, word(backend));
        Lane {
            client,
            variant,
            backend,
            quick: args.quick,
            until: Instant::now() + time,
            time,
            // No two runs send the same prompts: a cache would answer for the model.
            seed: ((crate::clock::unix_seconds() << 16) ^ u64::from(std::process::id())) | 1,
            per_word: 2.0,
            prefill: 50.0,
            decode: 10.0,
            progress: Progress { what, shown: 0, tty: std::io::stderr().is_terminal() },
        }
    }

    fn measure(&mut self) -> Result<()> {
        let model = self.variant.name.clone();
        if !self.progress.tty {
            note(format_args!("measuring {}", self.progress.what));
        }
        self.progress.show(0.0, "loading");
        self.client.unload(&model)?;
        self.learn_speed()?;
        let most = self.threads()?;
        let threads = match self.backend {
            Backend::Cpu => thread_ladder(most),
            Backend::Gpu => vec![most],
        };
        let steps = steps(&threads, self.variant.context, self.slots()?, self.quick);
        for (n, step) in steps.iter().enumerate() {
            if Instant::now() >= self.until {
                break;
            }
            self.progress.show(n as f64 / steps.len() as f64, &step.describe());
            self.step(*step)?;
        }
        if self.backend == Backend::Gpu {
            self.rest(&model)?;
        }
        Ok(())
    }

    /// The first request brings the lane up; a second shows how fast it is.
    fn learn_speed(&mut self) -> Result<()> {
        self.ask(8, 2, None)?;
        let reply = self.ask(24, 8, None)?;
        self.prefill = reply.prompt / reply.prefill_s.max(1e-3);
        self.decode = reply.answer / reply.decode_s.max(1e-3);
        Ok(())
    }

    /// What holding the model draws: the device with it and without it, at rest.
    fn rest(&mut self, model: &str) -> Result<()> {
        for _ in 0..2 {
            self.progress.show(1.0, "at rest, with the model and without");
            self.ask(8, 2, None)?;
            std::thread::sleep(REST);
            self.ask(8, 2, None)?;
            self.client.unload(model)?;
            std::thread::sleep(REST);
        }
        Ok(())
    }

    fn step(&mut self, step: Step) -> Result<()> {
        let (tokens, batch) = match step {
            Step::Prompt(tokens, _) => (tokens, 1),
            Step::Answer { batch, context, .. } => (context, batch),
        };
        if f64::from(tokens * batch) / self.prefill > SHARE * self.time.as_secs_f64() {
            return Ok(());
        }
        let long = if self.quick { LONG_QUICK } else { LONG };
        match step {
            Step::Prompt(tokens, threads) => {
                let begun = Instant::now();
                for _ in 0..MOST {
                    let reply = self.ask(tokens, 1, Some(threads))?;
                    self.prefill = reply.prompt / reply.prefill_s.max(1e-3);
                    if self.is_over(begun, long) {
                        break;
                    }
                }
            }
            Step::Answer { threads, batch, context } => {
                let room = (f64::from(self.variant.context) * ROOM) as u32 / batch;
                let wanted = (self.decode * long) as u32;
                let answer = wanted.clamp(4, LONGEST).min(room.saturating_sub(context)).max(2);
                let begun = Instant::now();
                for _ in 0..MOST {
                    match batch {
                        1 => {
                            let reply = self.ask(context, answer, Some(threads))?;
                            self.decode = reply.answer / reply.decode_s.max(1e-3);
                        }
                        _ => self.ask_at_once(batch, context, answer, threads)?,
                    }
                    if self.is_over(begun, long) {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn is_over(&self, begun: Instant, long: f64) -> bool {
        begun.elapsed().as_secs_f64() >= long || Instant::now() >= self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_most_is_measured_first_and_everything_fits_the_context() {
        for (context, slots, most) in [(64, 1, 1), (512, 4, 2), (4096, 8, 16), (64, 64, 4)] {
            let threads = thread_ladder(most);
            for quick in [false, true] {
                let all = steps(&threads, context, slots, quick);
                let first = &all[..2 * threads.len()];
                for n in &threads {
                    assert!(first.iter().any(|s| matches!(s, Step::Prompt(_, t) if t == n)), "{first:?}");
                    assert!(first.iter().any(|s| matches!(s, Step::Answer { threads, .. } if threads == n)));
                }
                for step in &all {
                    let fits = match *step {
                        Step::Prompt(tokens, _) => tokens < context,
                        Step::Answer { batch, context: cells, .. } => cells < context && batch <= slots,
                    };
                    assert!(fits, "{step:?} of {context}");
                }
                assert_eq!(all.iter().any(|s| matches!(s, Step::Answer { batch, .. } if *batch > 1)), slots > 1);
            }
        }
    }
}
