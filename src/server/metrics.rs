//! `GET /metrics`: Prometheus' text format, from what the service counts anyway.
//!
//! What always holds: reading it wakes no model; no label's value comes from a client; energy is told in whole joules,
//! and power is not told at all unless the caller has left it in the status, because fine figures of either tell what
//! other users do.

use std::fmt::{Display, Write};

use super::Counts;
use crate::service::{EnergyStatus, Status};
use crate::units::Microjoules;

pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes everything.
pub(super) fn text(status: &Status, counts: &Counts) -> String {
    let mut out = Page(String::with_capacity(4096));
    let t = &status.totals;
    out.metric("wattlm_build_info", "gauge", "The running version.", [(vec![("version", status.version.as_str())], 1)]);
    out.single("wattlm_uptime_seconds", "gauge", "Time since the daemon started.", status.uptime_s);
    out.single("wattlm_requests_queued", "gauge", "Requests that wait.", status.queued);
    out.single("wattlm_requests_running", "gauge", "Requests that run.", status.running);
    out.single("wattlm_memory_available_bytes", "gauge", "Memory available to models.", status.memory_available);
    out.single("wattlm_requests_total", "counter", "Requests taken.", t.requests);
    out.metric(
        "wattlm_requests_ended_total",
        "counter",
        "Requests by how they ended.",
        [("completed", t.completed), ("cancelled", t.cancelled), ("failed", t.failed), ("refused", t.refused)]
            .map(|(how, n)| (vec![("outcome", how)], n)),
    );
    out.single("wattlm_requests_retried_total", "counter", "Requests started again after a worker fault.", t.retried);
    out.single("wattlm_worker_faults_total", "counter", "Workers that died or hung.", t.worker_faults);
    out.single("wattlm_model_loads_total", "counter", "Models loaded.", t.loads);
    out.single(
        "wattlm_prompt_tokens_total",
        "counter",
        "Prompt tokens processed, cached ones not counted.",
        t.prompt_tokens,
    );
    out.single("wattlm_cached_tokens_total", "counter", "Prompt tokens found in the cache.", t.cached_tokens);
    out.single("wattlm_completion_tokens_total", "counter", "Tokens generated.", t.completion_tokens);
    out.single("wattlm_engine_steps_total", "counter", "Engine steps.", t.steps);
    out.single("wattlm_engine_step_seconds_total", "counter", "Time in engine steps.", t.step_us as f64 / 1e6);
    out.single("wattlm_connections", "gauge", "Open connections.", counts.all);
    out.single("wattlm_connections_total", "counter", "Connections accepted.", counts.accepted_total);
    out.single("wattlm_connections_refused_total", "counter", "Connections turned away.", counts.refused_total);

    energy(&mut out, &status.energy);

    let lanes = |value: fn(&crate::service::LaneStatus) -> f64| {
        let one = move |l| {
            let l: &crate::service::LaneStatus = l;
            (vec![("model", l.model.as_str()), ("device", l.device.as_str()), ("state", l.state.as_str())], value(l))
        };
        status.lanes.iter().map(one).collect::<Vec<_>>()
    };
    out.metric("wattlm_lane_running", "gauge", "Requests that run on a lane.", lanes(|l| f64::from(l.running)));
    out.metric("wattlm_lane_slots", "gauge", "Requests a lane can run at once.", lanes(|l| f64::from(l.slots)));
    out.metric("wattlm_lane_threads", "gauge", "Threads a lane uses.", lanes(|l| f64::from(l.threads)));
    out.metric(
        "wattlm_lane_context_tokens",
        "gauge",
        "Context shared by a lane's slots.",
        lanes(|l| f64::from(l.context)),
    );
    out.0
}

fn energy(out: &mut Page, e: &EnergyStatus) {
    let name = |value: serde_json::Result<serde_json::Value>| {
        value.ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
    };
    let (scope, quality) = (name(serde_json::to_value(e.scope)), name(serde_json::to_value(e.quality)));
    // As receipts call it.
    let source = if e.source.is_empty() { "model" } else { e.source.as_str() };
    let labels = vec![("source", source), ("scope", scope.as_str()), ("quality", quality.as_str())];
    out.metric("wattlm_meter_info", "gauge", "The meter in use; the source model is none.", [(labels, 1)]);
    let whole = |j: Microjoules| j.0 / 1_000_000;
    out.metric(
        "wattlm_energy_joules_total",
        "counter",
        "Energy while something ran: charged to requests, the device's idle draw, other programs', shared (which later \
         charges may take back).",
        [("charged", e.charged), ("idle", e.idle), ("others", e.others), ("shared", Microjoules::from_f64(e.shared))]
            .map(|(part, j)| (vec![("part", part)], whole(j))),
    );
    out.metric(
        "wattlm_energy_charged_joules_total",
        "counter",
        "Energy charged to requests, by phase.",
        [("wake", e.wake), ("prefill", e.prefill), ("decode", e.decode)]
            .map(|(phase, j)| (vec![("phase", phase)], whole(j))),
    );
    out.single(
        "wattlm_energy_metered_joules_total",
        "counter",
        "Energy that the meter counted while something ran, or that was estimated.",
        whole(e.metered),
    );
    out.single(
        "wattlm_energy_estimated_joules_total",
        "counter",
        "Of what was metered: estimated, because no sensor worked.",
        whole(e.estimated),
    );
    if let Some(watts) = e.watts {
        out.single(
            "wattlm_power_watts",
            "gauge",
            "Power over the last interval between two samples; absent while nothing runs, and for all but administrators.",
            watts.as_f64(),
        );
    }
}

type Labels<'a> = Vec<(&'static str, &'a str)>;

struct Page(String);

impl Page {
    fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.metric(name, kind, help, [(vec![], value)]);
    }

    /// Writing to a string cannot fail.
    fn metric<'a, V: Display>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'a>, V)>,
    ) {
        let out = &mut self.0;
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            out.push_str(name);
            for (i, (key, text)) in labels.iter().enumerate() {
                let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                let _ = write!(out, "{}{key}=\"{text}\"", if i == 0 { '{' } else { ',' });
            }
            let _ = writeln!(out, "{} {value}", if labels.is_empty() { "" } else { "}" });
        }
    }
}
