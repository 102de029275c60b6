//! `wattlm explain` and `wattlm estimate`: how a request ran, or would run, and why there; as a page for people or the
//! wire's object for programs.

use super::args::Estimate;
use super::ask::{body, message, Prompt};
use super::generate::prompt;
use super::print::{seconds, table, Out};
use super::read;
use crate::client::Client;
use crate::error::Result;
use crate::service::{EstimateReport, Outcome, PlanReport, RequestReport, RequestState};
use crate::units::{Bytes, Microjoules};

pub(super) fn explain(client: &Client, request: &str, out: Out) -> Result<()> {
    let report = client.explain(request)?;
    if out.json {
        return out.object(&report);
    }
    out.line(request_page(&read(report)?))
}

pub(super) fn estimate(args: &Estimate, connect: impl FnOnce() -> Result<Client>, out: Out) -> Result<()> {
    let text = prompt(args.prompt.as_deref())?;
    let prompt = match args.raw {
        true => Prompt::Text(text),
        false => {
            let system = args.ask.system.iter().map(|s| message("system", s));
            Prompt::Chat(system.chain([message("user", &text)]).collect())
        }
    };
    let report = connect()?.estimate(&body(&args.ask, &prompt, args.ask.class))?;
    if out.json {
        return out.object(&report);
    }
    out.line(estimate_page(&read(report)?))
}

fn joules(j: f64) -> String {
    Microjoules::from_f64(j).to_string()
}

/// Where a plan runs.
fn place(plan: &PlanReport) -> String {
    match plan.prefill == plan.decode {
        true => plan.decode.clone(),
        false => format!("{} > {}", plan.prefill, plan.decode),
    }
}

/// The rows of a plan: what, seconds or joules of a plan, and what an answer took of it.
type Row = (&'static str, fn(&PlanReport) -> String, Option<fn(&Outcome) -> String>);

const ROWS: [Row; 12] = [
    ("first token", |p| seconds(p.ttft_s), Some(|o| seconds(o.receipt.queue_s + o.receipt.prefill_s))),
    ("all", |p| seconds(p.seconds), Some(|o| seconds(o.receipt.queue_s + o.receipt.prefill_s + o.receipt.decode_s))),
    ("  waiting", |p| seconds(p.time.around), Some(|o| seconds(o.receipt.queue_s))),
    ("  loading", |p| seconds(p.time.wake), None),
    ("  prompt", |p| seconds(p.time.prefill + p.time.handover), Some(|o| seconds(o.receipt.prefill_s))),
    ("  answer", |p| seconds(p.time.decode), Some(|o| seconds(o.receipt.decode_s))),
    ("energy", |p| joules(p.joules), Some(|o| joules(o.receipt.energy.joules))),
    ("  loading", |p| joules(p.energy.wake), Some(|o| joules(o.receipt.energy.wake))),
    ("  prompt", |p| joules(p.energy.prefill + p.energy.handover), Some(|o| joules(o.receipt.energy.prefill))),
    ("  answer", |p| joules(p.energy.decode), Some(|o| joules(o.receipt.energy.decode))),
    ("  keeping", |p| joules(p.energy.around), None),
    ("memory", |p| Bytes(p.memory).to_string(), None),
];

/// Plans side by side, and what it really took behind the first.
fn plans(head: &[(&str, &PlanReport)], took: Option<&Outcome>) -> String {
    let mut titles = vec![String::new()];
    for (n, (title, plan)) in head.iter().enumerate() {
        titles.push(format!(">{title} {}", place(plan)));
        if let Some(o) = took.filter(|_| n == 0) {
            titles.push(format!(">TOOK {}", o.receipt.device));
        }
    }
    let row = |(name, of, real): &Row| {
        let mut cells = vec![(*name).to_owned()];
        for (n, (_, plan)) in head.iter().enumerate() {
            cells.push(of(plan));
            if let Some(o) = took.filter(|_| n == 0) {
                cells.push(real.map_or_else(String::new, |real| real(o)));
            }
        }
        cells
    };
    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
    table(&titles, &ROWS.iter().map(row).collect::<Vec<_>>())
}

fn request_page(r: &RequestReport) -> String {
    let state = match r.state {
        RequestState::Waiting => "waits",
        RequestState::Running => "runs",
        RequestState::Completed => "completed",
        RequestState::Refused => "refused",
        RequestState::Cancelled => "cancelled",
        RequestState::Failed => "failed",
    };
    let error = r.error.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
    let mut rows =
        vec![("request", format!("{} of user {}, {state}{error}", r.request, r.uid)), ("model", r.model.clone())];
    if !r.reason.is_empty() {
        rows.push(("why", r.reason.clone()));
    }
    if r.degraded {
        rows.push(("less", "the variant is a lesser one, or the answer shorter, than was asked for".to_owned()));
    }
    if r.changes > 0 {
        rows.push(("changed", format!("it was planned anew {} times", r.changes)));
    }
    if let Some(o) = &r.outcome {
        rows.push((
            "tokens",
            format!(
                "{} of the prompt, {} of them cached; {} of the answer, {} reckoned with",
                o.usage.prompt_tokens, o.usage.cached_tokens, o.usage.completion_tokens, r.answer
            ),
        ));
    }
    let mut page: String = rows.iter().map(|(name, value)| format!("{name:<9}{value}\n")).collect();
    match &r.plan {
        None => page.push_str("\nThere was nothing to choose from: it was not planned."),
        Some(plan) => {
            let mut head = vec![("FORECAST", plan)];
            head.extend(r.runner_up.as_ref().map(|plan| ("RUNNER-UP", plan)));
            page.push('\n');
            page.push_str(&plans(&head, r.outcome.as_ref()));
            if !plan.measured {
                page.push_str("\n\nThe forecast does not rest on measurements; `wattlm calibrate` makes them.");
            }
        }
    }
    page
}

fn estimate_page(e: &EstimateReport) -> String {
    let t = &e.tokens;
    let mut rows = vec![
        ("model", e.model.clone()),
        (
            "tokens",
            format!("about {} of the prompt, {} of them cached; {} of the answer", t.prompt, t.cached, t.answer),
        ),
        ("policy", e.policy.name().to_owned()),
        ("why", e.reason.clone()),
    ];
    if e.degraded {
        rows.push(("less", "the variant would be a lesser one, or the answer shorter, than was asked for".to_owned()));
    }
    let mut page: String = rows.iter().map(|(name, value)| format!("{name:<9}{value}\n")).collect();
    let mut head = vec![("PLAN", &e.plan)];
    // More do not fit a line; programs get all of them.
    head.extend(e.alternatives.iter().take(3).map(|plan| ("OR", plan)));
    page.push('\n');
    page.push_str(&plans(&head, None));
    if !e.measured {
        page.push_str("\n\nThis does not rest on measurements; `wattlm calibrate` makes them.");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::{Finish, Usage};
    use crate::sched::Policy;
    use crate::service::{EnergyReceipt, Parts, Receipt, Tokens};

    fn plan(device: &str, s: f64, j: f64) -> PlanReport {
        PlanReport {
            model: "m:q4".into(),
            prefill: device.into(),
            decode: device.into(),
            ttft_s: s / 4.0,
            seconds: s,
            joules: j,
            memory: 0,
            measured: true,
            time: Parts { prefill: s / 4.0, decode: s * 0.75, ..Parts::default() },
            energy: Parts { prefill: j / 4.0, decode: j * 0.75, ..Parts::default() },
        }
    }

    fn report() -> RequestReport {
        RequestReport {
            request: "req-00000001".into(),
            uid: 1000,
            created: 1,
            model: "m:q4".into(),
            state: RequestState::Completed,
            error: None,
            policy: Some(Policy::MinEnergy),
            reason: "min-energy: cpu takes 25 % less energy than gpu0".into(),
            degraded: false,
            answer: 40,
            plan: Some(plan("cpu", 4.0, 3.0)),
            runner_up: Some(plan("gpu0", 2.0, 4.0)),
            changes: 0,
            outcome: Some(Outcome {
                finish: Finish::Stop,
                usage: Usage { prompt_tokens: 20, completion_tokens: 38, ..Usage::default() },
                receipt: Receipt {
                    request: "req-00000001".into(),
                    model: "m:q4".into(),
                    device: "cpu".into(),
                    kernels: "zen4".into(),
                    threads: 2,
                    reason: String::new(),
                    plan: None,
                    queue_s: 0.5,
                    prefill_s: 1.0,
                    decode_s: 2.8,
                    prefill_tokens_per_s: 20.0,
                    decode_tokens_per_s: 13.0,
                    retries: 0,
                    energy: EnergyReceipt { joules: 2.9, prefill: 0.8, decode: 2.1, ..EnergyReceipt::nothing() },
                },
            }),
        }
    }

    #[test]
    fn a_forecast_stands_beside_what_it_really_took_and_the_runner_up() {
        let page = request_page(&report());
        for part in [
            "request  req-00000001 of user 1000, completed\n",
            "why      min-energy: cpu takes 25 % less energy than gpu0\n",
            "tokens   20 of the prompt, 0 of them cached; 38 of the answer, 40 reckoned with\n",
            "             FORECAST cpu  TOOK cpu  RUNNER-UP gpu0\n",
            "all                 4.0 s     4.3 s           2.0 s\n",
            "energy             3.00 J    2.90 J          4.00 J\n",
        ] {
            assert!(page.contains(part), "{part:?} in\n{page}");
        }
        assert!(!page.contains("calibrate"), "{page}");
    }

    #[test]
    fn what_is_not_known_is_not_made_up() {
        let refused = RequestReport {
            state: RequestState::Refused,
            error: Some("queue_full".into()),
            reason: String::new(),
            plan: None,
            runner_up: None,
            outcome: None,
            ..report()
        };
        let page = request_page(&refused);
        assert!(page.contains("refused (queue_full)") && page.ends_with("it was not planned."), "{page}");
        assert!(!page.contains("why"), "{page}");
    }

    #[test]
    fn an_estimate_shows_the_plan_and_what_else_there_is() {
        let split = PlanReport { prefill: "gpu0".into(), measured: false, ..plan("cpu", 3.0, 3.5) };
        let estimate = EstimateReport {
            model: "m:q4".into(),
            tokens: Tokens { prompt: 120, cached: 30, answer: 40, max_answer: 200 },
            ttft_s: 1.0,
            seconds: 4.0,
            joules: 3.0,
            memory: 0,
            policy: Policy::MinEnergy,
            reason: "the only lane of this model".into(),
            degraded: false,
            measured: false,
            plan: plan("cpu", 4.0, 3.0),
            alternatives: vec![split],
        };
        let page = estimate_page(&estimate);
        for part in [
            "tokens   about 120 of the prompt, 30 of them cached; 40 of the answer\n",
            "policy   min-energy\n",
            "PLAN cpu  OR gpu0 > cpu\n",
            "does not rest on measurements",
        ] {
            assert!(page.contains(part), "{part:?} in\n{page}");
        }
    }
}
