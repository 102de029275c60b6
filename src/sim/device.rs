//! Device descriptions: what a board's lanes really take. `parse` reads them.
//!
//! A lane is one variant on the CPU or on a GPU. Its true curves are few numbers and what is between them (see
//! `docs/simulator.md` for the formulas): with n threads a token of a prompt takes `1 / prefill_rate(n)` seconds, a step
//! of an answer `1 / decode_rate(n)`, both more with the context; watts are those above what the device draws with the
//! lane resident and nothing running.

mod parse;

use serde::Deserialize;

/// A lane that the device can have.
#[derive(Debug, Clone, PartialEq)]
pub struct LaneSpec {
    /// What is loaded: an index into [`Device::variants`].
    pub variant: usize,
    /// Where: 0 is the CPU, the others are GPUs.
    pub device: u8,
    /// By number of threads, beginning with 1; a GPU has one entry.
    pub points: Vec<Point>,
    /// Seconds that a step with nothing but pieces of prompts takes beside its tokens.
    pub prefill_fixed: f64,
    /// What each cell of context before a prompt's token adds to its time, as a part of it.
    pub prefill_depth: f64,
    /// What each cell of context adds to a step's time, as a part of it.
    pub decode_depth: f64,
    /// What each further request in a step adds to its time, as a part of it.
    pub decode_batch: f64,
    /// The same to its watts.
    pub decode_batch_watts: f64,
    /// Seconds to come up.
    pub load_seconds: f64,
    /// Watts meanwhile, above idle.
    pub load_watts: f64,
    /// Watts above idle while it is resident, whether it computes or not.
    pub hold_watts: f64,
    /// Requests at once.
    pub slots: u32,
    /// Bytes while it is resident.
    pub memory: u64,
}

/// What a lane does with one number of threads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Seconds for a token of a prompt without context.
    pub token: f64,
    /// Watts while prompts are computed.
    pub prefill_watts: f64,
    /// Seconds for a step of one answer without context.
    pub step: f64,
    /// Watts in such a step.
    pub decode_watts: f64,
}

impl LaneSpec {
    /// With so many threads; more than there are means all.
    pub fn point(&self, threads: u32) -> &Point {
        let last = self.points.len() - 1;
        &self.points[(threads.max(1) as usize - 1).min(last)]
    }

    /// Threads at most.
    pub fn threads(&self) -> u32 {
        self.points.len() as u32
    }

    /// Joules to come up.
    pub fn load_joules(&self) -> f64 {
        self.load_seconds * self.load_watts
    }

    /// Seconds of a step of `batch` answers with `cells` of context in all.
    pub fn step_seconds(&self, point: &Point, batch: u32, cells: f64) -> f64 {
        point.step * (1.0 + self.decode_batch * (f64::from(batch) - 1.0) + self.decode_depth * cells)
    }

    /// Watts of a step of `batch` answers.
    pub fn step_watts(&self, point: &Point, batch: u32) -> f64 {
        point.decode_watts * (1.0 + self.decode_batch_watts * (f64::from(batch) - 1.0))
    }

    /// Seconds of `tokens` tokens of a prompt behind `depth` cells of context, in whatever pieces.
    pub fn prefill_seconds(&self, point: &Point, tokens: u32, depth: u32) -> f64 {
        let n = f64::from(tokens);
        point.token * n * (1.0 + self.prefill_depth * (f64::from(depth) + (n - 1.0).max(0.0) / 2.0))
    }
}

/// A variant of a model.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// What requests ask for.
    pub name: String,
    /// Bytes of a sequence's state for each cell of context.
    pub cell_bytes: f64,
}

/// Moving a sequence's state between lanes: half of the time on each.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handover {
    /// Seconds, whatever the size.
    pub seconds: f64,
    /// Bytes in a second.
    pub bytes_per_second: f64,
    /// Watts meanwhile, above idle.
    pub watts: f64,
}

impl Default for Handover {
    fn default() -> Self {
        Handover { seconds: 0.005, bytes_per_second: 1e9, watts: 1.0 }
    }
}

/// How well the device's draw is seen.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sensor {
    /// Standard deviation of one reading, as a part of it.
    pub noise: f64,
    /// Seconds between readings.
    pub refresh: f64,
    /// What readings are off by at most, as a part of them, slowly changing.
    pub drift: f64,
    /// Seconds in which that goes up, down and back.
    pub drift_period: f64,
}

impl Default for Sensor {
    fn default() -> Self {
        Sensor { noise: 0.01, refresh: 0.1, drift: 0.0, drift_period: 600.0 }
    }
}

/// The device itself is not the same at all times: lanes take this much more and less, slowly changing.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drift {
    /// Of time, as a part of it, at most.
    pub time: f64,
    /// Of watts, as a part of them, at most.
    pub watts: f64,
    /// Seconds in which that goes up, down and back.
    pub period: f64,
}

/// Heat: the temperature follows the draw with a time constant.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heat {
    /// Degrees Celsius without any draw.
    pub ambient: f64,
    /// Degrees for each watt, in the end.
    pub degrees_per_watt: f64,
    /// Seconds in which two thirds of a change have come.
    pub seconds: f64,
    /// From here on it throttles.
    pub limit: f64,
    /// Down to here it goes on throttling.
    pub resume: f64,
    /// Throttled, everything takes this many times as long.
    pub slower: f64,
    /// Throttled, lanes draw this many times as much.
    pub watts: f64,
}

/// A device.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// What it is called.
    pub name: String,
    /// Watts without lanes.
    pub idle_watts: f64,
    /// Bytes for lanes.
    pub memory: u64,
    /// Tokens of prompts in a step in which nobody generates.
    pub chunk: u32,
    /// Tokens of prompts in a step in which somebody does.
    pub chunk_shared: u32,
    /// What a lane's steps take longer while another lane computes, as a part.
    pub contention: f64,
    /// Watts that the device keeps to on average, idle included.
    pub cap: Option<f64>,
    /// Seconds after which an idle lane is let go whatever it costs, as `models.idle_unload` of the configuration; `None`:
    /// lanes go for their joules and for memory only.
    pub idle_unload: Option<f64>,
    /// What can be asked for; the first where a request names none.
    pub variants: Vec<Variant>,
    /// At most one for each variant and device.
    pub lanes: Vec<LaneSpec>,
    /// Moving sequences.
    pub handover: Handover,
    /// Its meter.
    pub sensor: Sensor,
    /// Where it is not the same at all times.
    pub drift: Option<Drift>,
    /// Where it throttles.
    pub heat: Option<Heat>,
}

impl Device {
    /// The lanes of a variant.
    pub fn lanes_of(&self, variant: usize) -> impl Iterator<Item = usize> + '_ {
        self.lanes.iter().enumerate().filter(move |(_, lane)| lane.variant == variant).map(|(index, _)| index)
    }

    /// The state of so many cells of a variant, in bytes, and the seconds that moving it takes in all.
    pub fn handover_of(&self, variant: usize, cells: u32) -> (f64, f64) {
        let bytes = self.variants[variant].cell_bytes * f64::from(cells);
        (bytes, self.handover.seconds + bytes / self.handover.bytes_per_second)
    }
}
