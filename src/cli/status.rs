//! `wattlm status`: what the service is doing, as a page for people or the wire's object for programs.

use crate::client::Client;
use crate::energy::account::Day;
use crate::energy::{Quality, Scope};
use crate::error::Result;
use crate::service::{EnergyStatus, LaneStatus, ProfileStatus, Status};
use crate::units::{Bytes, Microjoules};

use super::print::{count, seconds, table, Out};
use super::read;

pub(super) fn run(client: &Client, out: Out) -> Result<()> {
    let status = client.status()?;
    if out.json {
        return out.object(&status);
    }
    out.line(page(&read(status)?))
}

fn page(s: &Status) -> String {
    let t = &s.totals;
    let mut rows = vec![
        ("wattlmd", format!("{}, process {}, up {}", s.version, s.pid, seconds(s.uptime_s))),
        ("requests", format!("{} running, {} waiting", s.running, s.queued)),
        ("since start", ended(s)),
        (
            "tokens",
            format!(
                "{} of prompts, {} more from the cache, {} generated",
                count(t.prompt_tokens),
                count(t.cached_tokens),
                count(t.completion_tokens)
            ),
        ),
        ("memory", format!("{} available", Bytes(s.memory_available))),
        ("meter", meter(&s.energy)),
        ("energy", energy(&s.energy)),
    ];
    if let Some(watts) = s.energy.watts {
        let idle = s.energy.idle_watts.map_or_else(String::new, |w| format!("; idle {w}"));
        rows.push(("power", format!("{watts} at the last sample{idle}")));
    }
    for gpu in &s.gpus {
        let memory = if gpu.unified { "of the machine's memory" } else { "of its own" };
        let total = Bytes(gpu.memory_total);
        rows.push((&gpu.id.name, format!("{} by {}, {total} {memory}", gpu.description, gpu.id.module)));
    }
    if let Some(why) = &s.no_gpu {
        rows.push(("gpu", format!("none: {why}")));
    }
    for why in &s.distrusted {
        rows.push(("distrusted", why.clone()));
    }
    if t.worker_faults > 0 {
        rows.push(("faults", format!("workers: {}; requests started again: {}", t.worker_faults, t.retried)));
    }
    if let Some(fault) = &s.last_fault {
        rows.push(("last fault", fault.clone()));
    }
    if !s.profiles.is_empty() {
        rows.push(("measured", measured(s)));
    }
    let mut page: String = rows.iter().map(|(name, value)| format!("{name:<13}{value}\n")).collect();
    if s.lanes.is_empty() {
        page.push_str("\nNo model is loaded; the first request loads one.");
        return page;
    }
    let head = ["MODEL", "STATE", "DEVICE", ">THREADS", ">RUNNING", ">CONTEXT", "KV", ">LOADED IN", ">PID"];
    page.push('\n');
    page.push_str(&table(&head, &s.lanes.iter().map(row).collect::<Vec<_>>()));
    for lane in s.lanes.iter().filter(|l| l.state != "loading") {
        page.push_str(&format!("\n\n{}\n  kernels  {}\n  sandbox  {}", lane.model, lane.kernels, lane.sandbox));
        if lane.synthetic {
            page.push_str("\n  weights  random: it measures speed and says nothing");
        }
        if !lane.excluded_kernels.is_empty() {
            page.push_str(&format!("\n  excluded {} (they failed here)", lane.excluded_kernels.join(", ")));
        }
    }
    page
}

fn meter(e: &EnergyStatus) -> String {
    if e.source.is_empty() {
        return "none: energy is estimated".to_owned();
    }
    let scope = match e.scope {
        Scope::Rail => "one rail",
        Scope::Package => "the processor package",
        Scope::Board => "the whole board",
    };
    let refresh = if e.refresh_ms > 0.0 { format!(", every {:.0} ms", e.refresh_ms) } else { String::new() };
    let quality = match e.quality {
        Quality::Measured => "",
        Quality::Estimated => "; it does not work, energy is estimated",
    };
    format!("{}: {scope}{refresh}{quality}", e.source)
}

/// What is known of which model where.
fn measured(s: &Status) -> String {
    let one = |p: &ProfileStatus| {
        let when = match p.calibrated {
            Some(at) => format!("calibrated on {}", Day::of_unix(at)),
            None => format!("{} prompts and {} answers by the way", p.prompts, p.answers),
        };
        format!("{} on {}: {when}", p.model, p.device)
    };
    // Under one another, behind the column of names.
    s.profiles.iter().map(one).collect::<Vec<_>>().join(&format!("\n{:<13}", ""))
}

fn energy(e: &EnergyStatus) -> String {
    let mut parts = vec![format!("{} charged to requests, {} idle", e.charged, e.idle)];
    let shared = Microjoules::from_f64(e.shared);
    for (j, what) in [(e.others, "other programs'"), (shared, "shared"), (e.estimated, "of it estimated")] {
        if j.0 > 0 {
            parts.push(format!("{j} {what}"));
        }
    }
    parts.join(", ")
}

fn ended(s: &Status) -> String {
    let t = &s.totals;
    let mut parts = vec![format!("{} taken", t.requests), format!("{} completed", t.completed)];
    for (n, what) in [(t.cancelled, "cancelled"), (t.failed, "failed"), (t.refused, "refused")] {
        if n > 0 {
            parts.push(format!("{n} {what}"));
        }
    }
    format!("{}; models loaded: {}", parts.join(", "), t.loads)
}

fn row(l: &LaneStatus) -> Vec<String> {
    let loading = l.state == "loading";
    let state = if loading { format!("loading {:.0} %", l.progress * 100.0) } else { l.state.clone() };
    let kv = serde_json::to_value(l.kv_type).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
    vec![
        l.model.clone(),
        state,
        l.device.clone(),
        l.threads.to_string(),
        format!("{}/{}", l.running, l.slots),
        l.context.to_string(),
        kv,
        if loading { String::new() } else { seconds(f64::from(l.load_ms) / 1000.0) },
        l.pid.map(|p| p.to_string()).unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::{GpuId, GpuInfo, KvType};
    use crate::service::Totals;
    use crate::units::Microwatts;

    fn status() -> Status {
        Status {
            version: "0.1.0".into(),
            uptime_s: 75.0,
            pid: 42,
            lanes: Vec::new(),
            queued: 1,
            running: 2,
            totals: Totals { requests: 9, completed: 5, failed: 1, prompt_tokens: 1_500_000, ..Totals::default() },
            last_fault: None,
            memory_available: 3 << 29,
            gpus: Vec::new(),
            no_gpu: None,
            distrusted: Vec::new(),
            energy: EnergyStatus::default(),
            profiles: Vec::new(),
        }
    }

    #[test]
    fn meter_and_energy_are_told_as_far_as_they_may_be_known() {
        let joules = |n: u64| Microjoules(n * 1_000_000);
        let energy = EnergyStatus {
            source: "rapl:package-0".into(),
            scope: Scope::Package,
            quality: Quality::Measured,
            refresh_ms: 1.0,
            charged: joules(12),
            idle: joules(40),
            others: joules(3),
            ..EnergyStatus::default()
        };
        let s = Status { energy, ..status() };
        let told = page(&s);
        assert!(told.contains("\nmeter        rapl:package-0: the processor package, every 1 ms\n"), "{told}");
        assert!(
            told.contains("\nenergy       12.0 J charged to requests, 40.0 J idle, 3.00 J other programs'\n"),
            "{told}"
        );
        assert!(!told.contains("\npower "), "{told}");
        let (watts, idle_watts) = (Some(Microwatts(7_300_000)), Some(Microwatts(3_100_000)));
        let s = Status { energy: EnergyStatus { watts, idle_watts, ..s.energy }, ..status() };
        assert!(page(&s).contains("\npower        7.30 W at the last sample; idle 3.10 W\n"), "{}", page(&s));
        // One that does not know of energy yet.
        let mut old = serde_json::to_value(status()).unwrap();
        old.as_object_mut().unwrap().remove("energy");
        assert_eq!(serde_json::from_value::<Status>(old).unwrap(), status());
    }

    #[test]
    fn what_was_measured_is_told_by_device() {
        let profile = |device: &str, calibrated| ProfileStatus {
            model: "m:q4_0".into(),
            device: device.into(),
            prompts: 9,
            answers: 7,
            calibrated,
        };
        let profiles = vec![profile("cpu", Some(1_795_651_200)), profile("gpu0", None)];
        let page = page(&Status { profiles, ..status() });
        assert!(
            page.contains(
                "\nmeasured     m:q4_0 on cpu: calibrated on 2026-11-26\n             \
                 m:q4_0 on gpu0: 9 prompts and 7 answers by the way\n"
            ),
            "{page}"
        );
    }

    #[test]
    fn an_idle_service_says_so() {
        let page = page(&status());
        assert_eq!(
            page,
            "wattlmd      0.1.0, process 42, up 1 min 15 s\n\
             requests     2 running, 1 waiting\n\
             since start  9 taken, 5 completed, 1 failed; models loaded: 0\n\
             tokens       1.5 M of prompts, 0 more from the cache, 0 generated\n\
             memory       1.5 GiB available\n\
             meter        none: energy is estimated\n\
             energy       0 J charged to requests, 0 J idle\n\n\
             No model is loaded; the first request loads one."
        );
    }

    #[test]
    fn gpus_are_named_and_their_absence_explained() {
        let gpu = GpuInfo {
            id: GpuId { name: "gpu0".into(), module: "vulkan".into(), ggml: "Vulkan0".into() },
            description: "Some chip".into(),
            bus: None,
            unified: true,
            memory_total: 3 << 29,
            memory_free: 0,
        };
        let with = page(&Status { gpus: vec![gpu], ..status() });
        assert!(with.contains("\ngpu0         Some chip by vulkan, 1.5 GiB of the machine's memory\n"), "{with}");
        let without = page(&Status { no_gpu: Some("vulkan: no loader".into()), ..status() });
        assert!(without.contains("\ngpu          none: vulkan: no loader\n"), "{without}");
    }

    #[test]
    fn lanes_faults_and_kernels_are_told() {
        let lane = LaneStatus {
            model: "m:q4_0".into(),
            state: "ready".into(),
            device: "cpu".into(),
            kernels: "zen4 (AVX512)".into(),
            excluded_kernels: vec!["sapphirerapids".into()],
            threads: 4,
            threads_max: 4,
            pid: Some(7),
            running: 1,
            slots: 4,
            context: 4096,
            kv_type: KvType::Q8_0,
            sandbox: "landlock v4, seccomp".into(),
            synthetic: true,
            load_ms: 1234,
            progress: 1.0,
        };
        let loading = LaneStatus { state: "loading".into(), progress: 0.256, pid: None, ..lane.clone() };
        let mut s = Status { lanes: vec![lane, loading], last_fault: Some("SIGILL".into()), ..status() };
        s.totals.worker_faults = 1;
        let page = page(&s);
        for part in [
            "last fault   SIGILL",
            "m:q4_0  ready         cpu           4      1/4     4096  q8_0      1.2 s    7",
            "m:q4_0  loading 26 %  cpu           4      1/4     4096  q8_0\n",
            "  kernels  zen4 (AVX512)\n  sandbox  landlock v4, seccomp\n  weights  random: it measures speed and says nothing\n  excluded sapphirerapids",
        ] {
            assert!(page.contains(part), "{part:?} in\n{page}");
        }
    }
}
