//! What a run is summed up to: joules by cause, times, plans; and how far it is from what could have been.

use std::collections::BTreeMap;

use serde::Serialize;

use super::device::Device;
use super::oracle::Score;
use super::outcome::{Fate, Joules, Outcome};
use super::trace::Trace;

/// Half of all values are at most the first, 95 and 99 of a hundred at most the others (nearest rank). `None` without
/// values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Percentiles {
    /// The middle.
    pub p50: f64,
    /// Of 95 in a hundred.
    pub p95: f64,
    /// Of 99 in a hundred.
    pub p99: f64,
}

impl Percentiles {
    /// Of these values.
    pub fn of(mut values: Vec<f64>) -> Option<Percentiles> {
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let rank = |percent: usize| values[((last + 1) * percent).div_ceil(100).saturating_sub(1).min(last)];
        Some(Percentiles { p50: rank(50), p95: rank(95), p99: rank(99) })
    }
}

/// A run in short.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Who decided.
    pub name: String,
    /// Joules above idle.
    pub active_joules: f64,
    /// By cause.
    pub joules: Joules,
    /// Seconds to the end of the last request.
    pub seconds: f64,
    /// Requests in all.
    pub requests: u32,
    /// Requests answered in full, in time or not.
    pub answered: u32,
    /// Requests that missed their deadline or were not answered in full.
    pub missed: u32,
    /// First tokens that came too late.
    pub late: u32,
    /// Requests that were never run.
    pub refused: u32,
    /// Tokens of answers.
    pub tokens: u64,
    /// The same, in a second of the time in which anybody waited.
    pub tokens_per_second: f64,
    /// Joules above idle for each.
    pub joules_per_token: f64,
    /// Seconds from arrival to the first token.
    pub ttft: Option<Percentiles>,
    /// Seconds from arrival to the end, of answered requests.
    pub latency: Option<Percentiles>,
    /// How many requests ran where.
    pub plans: BTreeMap<String, u32>,
    /// How often a lane was brought up.
    pub wakes: u32,
    /// Nothing went on although requests were open.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stuck: bool,
}

impl Summary {
    /// Of a run.
    pub fn new(name: &str, outcome: &Outcome, device: &Device, trace: &Trace) -> Summary {
        let score = Score::of(outcome, trace);
        let all = || outcome.requests.iter().zip(&trace.asks);
        let fate = |fate: Fate| u32::try_from(all().filter(|(r, _)| r.fate == fate).count()).unwrap_or(u32::MAX);
        let tokens: u64 = all().map(|(request, _)| u64::from(request.tokens)).sum();
        let mut plans = BTreeMap::new();
        for (request, _) in all() {
            if let (Some(prefill), decode) = request.lanes {
                *plans.entry(plan_name(device, prefill, decode.unwrap_or(prefill))).or_default() += 1;
            }
        }
        let (mut waited, mut until) = (0.0, 0.0f64);
        let mut times: Vec<(f64, f64)> =
            all().filter_map(|(r, _)| Some((r.came?, r.end.unwrap_or(outcome.end)))).collect();
        times.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (came, end) in times {
            waited += (end - came.max(until)).max(0.0);
            until = until.max(end);
        }
        let answered = || all().filter(|(request, _)| request.fate == Fate::Answered);
        let active = outcome.joules.active();
        Summary {
            name: name.to_owned(),
            active_joules: active,
            joules: outcome.joules,
            seconds: outcome.end,
            requests: u32::try_from(trace.asks.len()).unwrap_or(u32::MAX),
            answered: fate(Fate::Answered),
            missed: score.missed,
            late: score.late,
            refused: fate(Fate::Refused),
            tokens,
            tokens_per_second: tokens as f64 / waited.max(1e-9),
            joules_per_token: active / (tokens as f64).max(1.0),
            ttft: Percentiles::of(all().filter_map(|(r, _)| Some(r.first? - r.came?)).collect()),
            latency: Percentiles::of(answered().filter_map(|(r, _)| Some(r.end? - r.came?)).collect()),
            plans,
            wakes: outcome.wakes,
            stuck: outcome.stuck,
        }
    }
}

/// A plan for people: `cpu`, `gpu→cpu`; with several variants their names as well.
fn plan_name(device: &Device, prefill: usize, decode: usize) -> String {
    let place = |lane: usize| match device.lanes[lane].device {
        0 => "cpu".to_owned(),
        1 => "gpu".to_owned(),
        n => format!("gpu{}", n - 1),
    };
    let places = if prefill == decode { place(prefill) } else { format!("{}→{}", place(prefill), place(decode)) };
    match device.variants.len() {
        1 => places,
        _ => format!("{} {places}", device.variants[device.lanes[prefill].variant].name),
    }
}

/// How much more joules a run took than another, as a part of the other's; `None` where the other took none.
pub fn regret(run: &Summary, other: &Summary) -> Option<f64> {
    (other.active_joules > 0.0).then(|| run.active_joules / other.active_joules - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        assert_eq!(Percentiles::of(vec![]), None);
        assert_eq!(Percentiles::of(vec![3.0]), Some(Percentiles { p50: 3.0, p95: 3.0, p99: 3.0 }));
        let all = (1..=100).map(f64::from).rev().collect();
        assert_eq!(Percentiles::of(all), Some(Percentiles { p50: 50.0, p95: 95.0, p99: 99.0 }));
    }
}
