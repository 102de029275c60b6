//! A bound below what any plans could use.
//!
//! Each request is taken at the least joules that its tokens can take on any of its lanes, with any threads, everything
//! that could be in the cache cached, and each step shared by as many as could be there; the cheapest lane is loaded
//! once; nothing is held for longer than it computes. No decider that starts who can start and answers everybody can use
//! less. It cannot be reached where loading and holding cost anything.
//!
//! How many can share a step: requests can only meet where one arrives before the other can have ended. With everything
//! done one after another, each request on its slowest lane with two loads, a *busy time* begins with an arrival and ends
//! when everything that arrived meanwhile is done. Work never rests while somebody waits, so requests of two busy times
//! never meet. Who comes some time after another one has ended comes within that time of the end of all work before, and
//! belongs to the same busy time.

use super::device::{Device, LaneSpec};
use super::oracle::ways;
use super::trace::{Ask, Trace};

/// Seconds for a worker to go, see `world`.
const GOING: f64 = 0.05;

/// Joules above idle that every decider needs. `answered`: those that it must answer, by request.
pub fn bound(device: &Device, trace: &Trace, answered: &[bool]) -> f64 {
    let (time, watts) = device.drift.map_or((1.0, 1.0), |drift| (1.0 - drift.time, 1.0 - drift.watts));
    let heat = device.heat.map_or(1.0, |heat| (heat.slower * heat.watts).min(1.0));
    let least = time * watts * heat;
    let sizes = busy_times(device, trace);
    let mut seen = vec![false; trace.sessions];
    let mut sum = 0.0;
    let mut loads: Option<f64> = None;
    for ((ask, size), answered) in trace.asks.iter().zip(sizes).zip(answered) {
        // What earlier requests of its session may have left in a cache.
        let mut cached = 0;
        if let Some((session, shared)) = ask.session {
            cached = if seen[session] { shared.min(ask.prompt - 1) } else { 0 };
            seen[session] = true;
        }
        if *answered {
            sum += least * request(device, ask, cached, size);
            let cheapest = device.lanes_of(ask.variant).map(|lane| device.lanes[lane].load_joules());
            let cheapest = cheapest.fold(f64::INFINITY, f64::min);
            loads = Some(loads.map_or(cheapest, |loads| loads.min(cheapest)));
        }
    }
    sum + loads.unwrap_or(0.0)
}

/// The least joules of one request in steps of at most `size` requests.
fn request(device: &Device, ask: &Ask, cached: u32, size: u32) -> f64 {
    let all = ways(device, ask);
    let least = |lanes: Vec<usize>, cost: &dyn Fn(&LaneSpec) -> f64| {
        lanes.into_iter().map(|lane| cost(&device.lanes[lane])).fold(f64::INFINITY, f64::min)
    };
    let prompt = |lane: &LaneSpec| {
        let each = (1..=lane.threads()).map(|n| {
            let point = lane.point(n);
            lane.prefill_seconds(point, ask.prompt - cached, cached) * (point.prefill_watts + lane.hold_watts)
        });
        each.fold(f64::INFINITY, f64::min)
    };
    let answer = |lane: &LaneSpec| {
        // The prompt brings the first token on the same lane.
        let cells = (1..ask.answer).map(|token| f64::from(ask.prompt + token - 1));
        cells.map(|cells| token(lane, cells, size.min(lane.slots))).sum()
    };
    let (prefill, decode) = (all.iter().map(|way| way.prefill), all.iter().map(|way| way.decode));
    least(prefill.collect(), &prompt) + least(decode.collect(), &answer)
}

/// The least joules of a token of an answer behind so many cells: of a step's time its share, and its own context.
fn token(lane: &LaneSpec, cells: f64, most: u32) -> f64 {
    let mut least = f64::INFINITY;
    for threads in 1..=lane.threads() {
        let point = lane.point(threads);
        for batch in 1..=most.max(1) {
            let watts = lane.step_watts(point, batch) + lane.hold_watts;
            let share =
                lane.step_seconds(point, batch, 0.0) / f64::from(batch) + point.step * lane.decode_depth * cells;
            least = least.min(watts * share);
        }
    }
    least
}

/// By request: how many share its busy time.
fn busy_times(device: &Device, trace: &Trace) -> Vec<u32> {
    let stretch = (1.0 + device.contention)
        * device.heat.map_or(1.0, |heat| heat.slower)
        * device.drift.map_or(1.0, |drift| 1.0 + drift.time);
    let longest = |ask: &Ask| {
        let lanes = device.lanes_of(ask.variant).map(|lane| {
            let spec = &device.lanes[lane];
            let each = (1..=spec.threads()).map(|n| {
                let point = spec.point(n);
                let pieces = f64::from(ask.prompt.div_ceil(device.chunk_shared.max(1)));
                let cells = f64::from(ask.prompt + ask.answer);
                spec.prefill_seconds(point, ask.prompt, 0)
                    + pieces * spec.prefill_fixed
                    + f64::from(ask.answer) * spec.step_seconds(point, 1, cells)
            });
            each.fold(0.0, f64::max) * stretch + 2.0 * (spec.load_seconds + GOING)
        });
        lanes.fold(0.0, f64::max) + device.handover_of(ask.variant, ask.prompt).1
    };
    let (mut sizes, mut begin, mut end) = (vec![0; trace.asks.len()], 0, f64::NEG_INFINITY);
    for (index, ask) in trace.asks.iter().enumerate() {
        let pause = ask.after.map(|(_, pause)| pause);
        if ask.at > end && pause.is_none() {
            begin = index;
        }
        end = ask.at.max(end + pause.unwrap_or(0.0)) + longest(ask);
        let size = u32::try_from(index + 1 - begin).unwrap_or(u32::MAX);
        sizes[begin..=index].fill(size);
    }
    sizes
}
