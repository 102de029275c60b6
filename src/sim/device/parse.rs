//! Reads device descriptions: TOML.
//!
//! What always holds: what was read is complete and in range; unknown keys are errors that name the line.

use serde::Deserialize;
use toml::Spanned;

use super::{Device, Drift, Handover, Heat, LaneSpec, Point, Sensor, Variant};
use crate::error::{Code, Error, Result};
use crate::units::Bytes;

/// The largest number of seconds, watts or the like that is no slip of the pen.
const LARGE: f64 = 1e6;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    idle_watts: f64,
    memory: Bytes,
    #[serde(default = "chunk")]
    prefill_chunk: u32,
    #[serde(default = "chunk_shared")]
    prefill_chunk_shared: u32,
    #[serde(default)]
    contention: f64,
    cap_watts: Option<f64>,
    idle_unload: Option<f64>,
    variant: Vec<Spanned<Variant>>,
    lane: Vec<Spanned<LaneFile>>,
    handover: Option<Spanned<Handover>>,
    sensor: Option<Spanned<Sensor>>,
    drift: Option<Spanned<Drift>>,
    heat: Option<Spanned<Heat>>,
}

// As `cpu.prefill_chunk` and `cpu.prefill_chunk_shared` of the configuration.
fn chunk() -> u32 {
    512
}

fn chunk_shared() -> u32 {
    64
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LaneFile {
    variant: String,
    device: String,
    #[serde(default = "one")]
    threads: Vec<u32>,
    prefill_rate: Vec<f64>,
    prefill_watts: Vec<f64>,
    decode_rate: Vec<f64>,
    decode_watts: Vec<f64>,
    #[serde(default)]
    prefill_fixed: f64,
    #[serde(default)]
    prefill_depth: f64,
    #[serde(default)]
    decode_depth: f64,
    #[serde(default)]
    decode_batch: f64,
    #[serde(default)]
    decode_batch_watts: f64,
    load_seconds: f64,
    load_watts: f64,
    #[serde(default)]
    hold_watts: f64,
    #[serde(default = "four")]
    slots: u32,
    memory: Bytes,
}

fn one() -> Vec<u32> {
    vec![1]
}

fn four() -> u32 {
    4
}

/// Says where in the file something is wrong.
struct Lines<'a> {
    file: &'a str,
    text: &'a str,
}

impl Lines<'_> {
    fn error(&self, at: usize, what: impl std::fmt::Display) -> Error {
        let line = self.text.get(..at).map_or(1, |before| before.matches('\n').count() + 1);
        Error::new(Code::InvalidRequest, format!("{}:{line}: {what}", self.file))
    }

    fn range(&self, at: usize, key: &str, value: f64, low: f64, high: f64) -> Result<()> {
        if (low..=high).contains(&value) {
            return Ok(());
        }
        Err(self.error(at, format!("{key} is {value}; write a number from {low} to {high}")))
    }
}

impl Device {
    /// Reads a description; `file` is what errors call it.
    ///
    /// # Errors
    /// `invalid_request`, with file, line and what to write instead.
    pub fn parse(text: &str, file: &str) -> Result<Device> {
        let lines = Lines { file, text };
        let parsed: File =
            toml::from_str(text).map_err(|e| lines.error(e.span().map_or(0, |span| span.start), e.message()))?;
        let top = |key: &str, value: f64, low: f64, high: f64| lines.range(0, key, value, low, high);
        top("idle_watts", parsed.idle_watts, 0.0, LARGE)?;
        top("contention", parsed.contention, 0.0, 100.0)?;
        top("prefill_chunk", f64::from(parsed.prefill_chunk), 1.0, LARGE)?;
        top("prefill_chunk_shared", f64::from(parsed.prefill_chunk_shared), 1.0, LARGE)?;
        if let Some(cap) = parsed.cap_watts {
            top("cap_watts", cap, 0.001, LARGE)?;
        }
        if let Some(seconds) = parsed.idle_unload {
            top("idle_unload", seconds, 1.0, 1e8)?;
        }
        for variant in &parsed.variant {
            lines.range(variant.span().start, "cell_bytes", variant.get_ref().cell_bytes, 0.0, 1e9)?;
        }
        let variants: Vec<Variant> = parsed.variant.into_iter().map(Spanned::into_inner).collect();
        let mut lanes: Vec<LaneSpec> = Vec::new();
        for lane in &parsed.lane {
            let (at, spec) = (lane.span().start, lane_of(lane, &variants, &lines)?);
            if lanes.iter().any(|other| (other.variant, other.device) == (spec.variant, spec.device)) {
                return Err(lines.error(at, "there is a [[lane]] of this variant and device already: leave one out"));
            }
            if spec.memory > parsed.memory.0 {
                let message = format!("the lane needs {} and the device has {}", Bytes(spec.memory), parsed.memory);
                return Err(lines.error(at, message));
            }
            lanes.push(spec);
        }
        for (index, variant) in variants.iter().enumerate() {
            if !lanes.iter().any(|lane| lane.variant == index) {
                return Err(lines.error(0, format!("variant '{}' has no [[lane]]: add one", variant.name)));
            }
        }
        if lanes.is_empty() {
            return Err(lines.error(0, "there is no [[variant]] and no [[lane]]: add at least one of each"));
        }
        Ok(Device {
            name: parsed.name,
            idle_watts: parsed.idle_watts,
            memory: parsed.memory.0,
            chunk: parsed.prefill_chunk,
            chunk_shared: parsed.prefill_chunk_shared.min(parsed.prefill_chunk),
            contention: parsed.contention,
            cap: parsed.cap_watts,
            idle_unload: parsed.idle_unload,
            variants,
            lanes,
            handover: checked(parsed.handover, &lines, |h| {
                [
                    ("seconds", h.seconds, 0.0, LARGE),
                    ("bytes_per_second", h.bytes_per_second, 1.0, 1e15),
                    ("watts", h.watts, 0.0, LARGE),
                ]
            })?
            .unwrap_or_default(),
            sensor: checked(parsed.sensor, &lines, |s| {
                [
                    ("noise", s.noise, 0.0, 1.0),
                    ("refresh", s.refresh, 0.001, 60.0),
                    ("drift", s.drift, 0.0, 0.5),
                    ("drift_period", s.drift_period, 1.0, LARGE),
                ]
            })?
            .unwrap_or_default(),
            drift: checked(parsed.drift, &lines, |d| {
                [("time", d.time, 0.0, 0.9), ("watts", d.watts, 0.0, 0.9), ("period", d.period, 1.0, LARGE)]
            })?,
            heat: checked(parsed.heat, &lines, |h| {
                [
                    ("ambient", h.ambient, -100.0, 200.0),
                    ("degrees_per_watt", h.degrees_per_watt, 0.0, LARGE),
                    ("seconds", h.seconds, 0.1, LARGE),
                    ("limit", h.limit, h.resume, 1000.0),
                    ("resume", h.resume, h.ambient, 1000.0),
                    ("slower", h.slower, 1.0, 100.0),
                    ("watts", h.watts, 0.01, 100.0),
                ]
            })?,
        })
    }
}

/// Looks at each number of a table.
fn checked<T, const N: usize>(
    table: Option<Spanned<T>>,
    lines: &Lines<'_>,
    numbers: impl Fn(&T) -> [(&'static str, f64, f64, f64); N],
) -> Result<Option<T>> {
    let Some(table) = table else { return Ok(None) };
    for (key, value, low, high) in numbers(table.get_ref()) {
        lines.range(table.span().start, key, value, low, high)?;
    }
    Ok(Some(table.into_inner()))
}

fn lane_of(lane: &Spanned<LaneFile>, variants: &[Variant], lines: &Lines<'_>) -> Result<LaneSpec> {
    let (at, file) = (lane.span().start, lane.get_ref());
    let known = || variants.iter().map(|variant| format!("'{}'", variant.name)).collect::<Vec<_>>().join(", ");
    let variant = variants.iter().position(|variant| variant.name == file.variant).ok_or_else(|| {
        lines.error(at, format!("there is no [[variant]] '{}' for this lane; there is {}", file.variant, known()))
    })?;
    let device = match file.device.strip_prefix("gpu") {
        _ if file.device == "cpu" => 0,
        Some("") => 1,
        Some(number) if number.parse::<u8>().is_ok_and(|n| n < 8) => number.parse::<u8>().unwrap_or(0) + 1,
        _ => {
            return Err(lines.error(at, format!("device is '{}'; write \"cpu\", \"gpu\" or \"gpu1\"", file.device)));
        }
    };
    if file.threads.is_empty() || file.threads[0] != 1 || !file.threads.windows(2).all(|pair| pair[0] < pair[1]) {
        return Err(lines.error(at, "threads must begin with 1 and rise, such as [1, 2, 4]"));
    }
    lines.range(at, "threads", f64::from(file.threads.last().copied().unwrap_or(1)), 1.0, 256.0)?;
    for (key, row, low) in [
        ("prefill_rate", &file.prefill_rate, 1e-6),
        ("prefill_watts", &file.prefill_watts, 0.0),
        ("decode_rate", &file.decode_rate, 1e-6),
        ("decode_watts", &file.decode_watts, 0.0),
    ] {
        if row.len() != file.threads.len() {
            let message = format!("{key} has {} numbers; write one for each of {:?}", row.len(), file.threads);
            return Err(lines.error(at, message));
        }
        row.iter().try_for_each(|value| lines.range(at, key, *value, low, LARGE))?;
    }
    for (key, value, low, high) in [
        ("prefill_fixed", file.prefill_fixed, 0.0, LARGE),
        ("prefill_depth", file.prefill_depth, 0.0, 1.0),
        ("decode_depth", file.decode_depth, 0.0, 1.0),
        ("decode_batch", file.decode_batch, 0.0, 100.0),
        ("decode_batch_watts", file.decode_batch_watts, 0.0, 100.0),
        ("load_seconds", file.load_seconds, 0.0, LARGE),
        ("load_watts", file.load_watts, 0.0, LARGE),
        ("hold_watts", file.hold_watts, 0.0, LARGE),
        ("slots", f64::from(file.slots), 1.0, 64.0),
    ] {
        lines.range(at, key, value, low, high)?;
    }
    // Between two numbers of threads rates and watts are on the line between them.
    let most = file.threads.last().copied().unwrap_or(1);
    let between = |row: &[f64], n: u32| {
        let i = file.threads.partition_point(|t| *t < n).min(row.len() - 1);
        let (from, to) = (i.saturating_sub(1), i);
        let (low, high) = (f64::from(file.threads[from]), f64::from(file.threads[to]));
        if high <= low {
            return row[to];
        }
        row[from] + (row[to] - row[from]) * (f64::from(n) - low) / (high - low)
    };
    let points = (1..=most).map(|n| Point {
        token: 1.0 / between(&file.prefill_rate, n),
        prefill_watts: between(&file.prefill_watts, n),
        step: 1.0 / between(&file.decode_rate, n),
        decode_watts: between(&file.decode_watts, n),
    });
    Ok(LaneSpec {
        variant,
        device,
        points: points.collect(),
        prefill_fixed: file.prefill_fixed,
        prefill_depth: file.prefill_depth,
        decode_depth: file.decode_depth,
        decode_batch: file.decode_batch,
        decode_batch_watts: file.decode_batch_watts,
        load_seconds: file.load_seconds,
        load_watts: file.load_watts,
        hold_watts: file.hold_watts,
        slots: file.slots,
        memory: file.memory.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "name = \"b\"\nidle_watts = 2\nmemory = \"2G\"\n[[variant]]\nname = \"m\"\ncell_bytes = 1000\n\
                         [[lane]]\nvariant = \"m\"\ndevice = \"cpu\"\nthreads = [1, 4]\nprefill_rate = [10, 40]\n\
                         prefill_watts = [1, 4]\ndecode_rate = [4, 10]\ndecode_watts = [1, 4]\nload_seconds = 1\n\
                         load_watts = 2\nmemory = \"1G\"\n";

    #[test]
    fn what_is_between_two_numbers_of_threads_lies_between_their_figures() {
        let device = Device::parse(SMALL, "f").unwrap();
        let lane = &device.lanes[0];
        assert_eq!((lane.threads(), lane.slots, device.chunk, device.cap), (4, 4, 512, None));
        let rates: Vec<f64> = (1..=4).map(|n| 1.0 / lane.point(n).step).collect();
        assert!(rates.iter().zip([4.0, 6.0, 8.0, 10.0]).all(|(a, b)| (a - b).abs() < 1e-9), "{rates:?}");
        assert_eq!(lane.point(3).prefill_watts, 3.0);
        assert_eq!(lane.point(9), lane.point(4));
        assert_eq!(lane.point(0), lane.point(1));
        assert_eq!(device.handover_of(0, 1000), (1e6, 0.006));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (from, to, message) in [
            ("idle_watts = 2", "idle_wats = 2", "f:2: unknown field `idle_wats`"),
            ("idle_watts = 2", "idle_watts = -2", "f:1: idle_watts is -2; write a number from 0 to 1000000"),
            ("memory = \"2G\"", "memory = \"2X\"", "f:3: '2X' is not a size"),
            ("memory = \"2G\"", "memory = \"512M\"", "f:7: the lane needs 1.0 GiB and the device has 512.0 MiB"),
            ("device = \"cpu\"", "device = \"npu\"", "f:7: device is 'npu'; write \"cpu\", \"gpu\" or \"gpu1\""),
            ("threads = [1, 4]", "threads = [2, 4]", "f:7: threads must begin with 1"),
            ("decode_watts = [1, 4]", "decode_watts = [1]", "f:7: decode_watts has 1 numbers; write one for each"),
            ("variant = \"m\"", "variant = \"n\"", "f:7: there is no [[variant]] 'n' for this lane; there is 'm'"),
            ("load_seconds = 1\n", "", "f:7: missing field `load_seconds`"),
            ("[[lane]]", "[[lane", "f:7: "),
        ] {
            let error = Device::parse(&SMALL.replace(from, to), "f").unwrap_err();
            assert!(error.message.starts_with(message), "{}", error.message);
        }
        let twice = format!("{SMALL}{}", &SMALL[SMALL.find("[[lane]]").unwrap()..]);
        assert!(Device::parse(&twice, "f").unwrap_err().message.starts_with("f:18: there is a [[lane]]"));
    }
}
