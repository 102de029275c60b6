//! Why a request runs where it runs, in a sentence, and plans as their readers see them. Pure.

use super::plans::{Parts, PlanReport};
use crate::energy::coarse;
use crate::sched::{Choice, DeviceId, Forecast, Plan, Policy, Reason, VariantId};
use crate::units::Microjoules;

/// How things are called.
pub(super) struct Names<'a> {
    pub device: &'a dyn Fn(DeviceId) -> String,
    /// `model:variant`.
    pub variant: &'a dyn Fn(VariantId) -> String,
    /// What was asked for: not mentioned where it is what runs.
    pub asked: VariantId,
}

impl Names<'_> {
    /// Where a plan runs: `cpu`, or `prompt on gpu0 and answer on cpu`, with the variant where another was asked for.
    pub fn place(&self, plan: &Plan) -> String {
        let device = |id| (self.device)(id);
        let place = match plan.is_split() {
            false => device(plan.decode.device),
            true => format!("prompt on {} and answer on {}", device(plan.prefill.device), device(plan.decode.device)),
        };
        match plan.variant() == self.asked {
            true => place,
            false => format!("{} on {place}", (self.variant)(plan.variant())),
        }
    }

    /// A plan with its forecast.
    pub fn report(&self, plan: &Plan, f: &Forecast) -> PlanReport {
        PlanReport {
            model: (self.variant)(plan.variant()),
            prefill: (self.device)(plan.prefill.device),
            decode: (self.device)(plan.decode.device),
            ttft_s: millis(f.ttft().as_secs_f64()),
            seconds: millis(f.total().as_secs_f64()),
            joules: coarse(f.energy()),
            memory: f.memory,
            measured: f.measured,
            time: Parts {
                around: millis(f.wait.as_secs_f64()),
                wake: millis(f.wake.as_secs_f64()),
                prefill: millis(f.prefill.as_secs_f64()),
                handover: millis(f.handover.as_secs_f64()),
                decode: millis(f.decode.as_secs_f64()),
            },
            energy: Parts {
                around: coarse(f.hold_energy),
                wake: coarse(f.wake_energy),
                prefill: coarse(f.prefill_energy),
                handover: coarse(f.handover_energy),
                decode: coarse(f.decode_energy),
            },
        }
    }

    /// Why this was chosen.
    pub fn reason(&self, choice: &Choice) -> String {
        let policy = choice.policy.name();
        let place = self.place(&choice.plan);
        let reason = match choice.reason {
            Reason::Only => "the only lane of this model".to_owned(),
            Reason::Best => match choice.runner_up.as_ref().and_then(|other| self.saving(choice, other)) {
                Some(saving) => format!("{policy}: {place} takes {saving}"),
                None => format!("{policy}: {place} is the best of what is possible"),
            },
            Reason::Asked => format!("the request asks for {place}"),
            Reason::Deadline => format!("{place}: what {policy} prefers would miss the deadline"),
            Reason::Ttft => format!("{place}: what {policy} prefers would send the first token too late"),
            Reason::Joules => format!("{place}: what {policy} prefers would use more than max_joules"),
            Reason::Unavailable => {
                format!("{place}: what {policy} prefers has no memory now, is too hot, or failed too often")
            }
            Reason::Nearest => format!("{place}: nothing keeps all that the request asks for, and this comes nearest"),
            Reason::Explored => format!("{place}, to learn what it takes there"),
            Reason::Fault => format!("{place}: where it was to run first, the worker died"),
        };
        match choice.limit {
            Some(tokens) => format!("{reason}; the answer is cut at {tokens} tokens, as the request allows"),
            None if choice.degraded => format!("{reason}; a lesser variant than was asked for, as the request allows"),
            None => reason,
        }
    }

    /// How much less a choice takes than the next best, by its policy; `None` where it is not less.
    fn saving(&self, choice: &Choice, (plan, forecast): &(Plan, Forecast)) -> Option<String> {
        let energy = |f: &Forecast| f.energy().as_f64();
        let time = |f: &Forecast| f.total().as_secs_f64();
        let (ours, theirs, what) = match choice.policy {
            Policy::MinEnergy => (energy(&choice.forecast), energy(forecast), "less energy"),
            Policy::MaxThroughput => (time(&choice.forecast), time(forecast), "less time"),
            Policy::Balanced => (
                energy(&choice.forecast) * time(&choice.forecast),
                energy(forecast) * time(forecast),
                "less energy times time",
            ),
        };
        let percent = (1.0 - ours / theirs) * 100.0;
        let than = self.place(plan);
        match percent.is_finite() && theirs > 0.0 {
            true if percent >= 0.5 => Some(format!("{percent:.0} % {what} than {than}")),
            true if percent > -0.5 => Some(format!("as much as {than}, nearly")),
            _ => None,
        }
    }
}

/// To milliseconds: nothing finer can be foretold.
fn millis(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}

/// What a plan of this forecast is thought to take, for a receipt: joules and seconds.
pub(super) fn totals(f: &Forecast) -> (f64, f64) {
    let energy: Microjoules = f.energy();
    (coarse(energy), millis(f.total().as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sched::Site;

    fn site(variant: u32, device: u8) -> Site {
        Site { variant: VariantId(variant), device: DeviceId(device) }
    }

    fn forecast(joules: f64, seconds: f64) -> Forecast {
        Forecast {
            decode_energy: Microjoules::from_f64(joules),
            decode: Duration::from_secs_f64(seconds),
            measured: true,
            ..Forecast::default()
        }
    }

    fn choice(reason: Reason, policy: Policy) -> Choice {
        Choice {
            plan: Plan::on(site(0, 0)),
            forecast: forecast(3.0, 2.0),
            reason,
            policy,
            answer: 40,
            limit: None,
            degraded: false,
            runner_up: Some((Plan::on(site(0, 1)), forecast(4.0, 1.0))),
        }
    }

    fn say(choice: &Choice) -> String {
        let device = |id: DeviceId| if id.is_cpu() { "cpu".to_owned() } else { format!("gpu{}", id.0 - 1) };
        let variant = |id: VariantId| format!("m:v{}", id.0);
        Names { device: &device, variant: &variant, asked: VariantId(0) }.reason(choice)
    }

    #[test]
    fn a_choice_says_what_it_saves_by_its_policy() {
        assert_eq!(say(&choice(Reason::Best, Policy::MinEnergy)), "min-energy: cpu takes 25 % less energy than gpu0");
        let faster = Choice {
            plan: Plan::on(site(0, 1)),
            forecast: forecast(4.0, 1.0),
            runner_up: Some((Plan::on(site(0, 0)), forecast(3.0, 2.0))),
            ..choice(Reason::Best, Policy::MaxThroughput)
        };
        assert_eq!(say(&faster), "max-throughput: gpu0 takes 50 % less time than cpu");
        let product = Choice { policy: Policy::Balanced, ..faster.clone() };
        assert_eq!(say(&product), "balanced: gpu0 takes 33 % less energy times time than cpu");
        let split = Choice {
            plan: Plan { prefill: site(0, 1), decode: site(0, 0) },
            runner_up: Some((Plan::on(site(1, 1)), forecast(3.0, 2.0))),
            ..choice(Reason::Best, Policy::MinEnergy)
        };
        assert_eq!(say(&split), "min-energy: prompt on gpu0 and answer on cpu takes as much as m:v1 on gpu0, nearly");
        let alone = Choice { runner_up: None, ..choice(Reason::Best, Policy::MinEnergy) };
        assert_eq!(say(&alone), "min-energy: cpu is the best of what is possible");
        let worse = Choice {
            runner_up: Some((Plan::on(site(0, 1)), forecast(1.0, 1.0))),
            ..choice(Reason::Best, Policy::MinEnergy)
        };
        assert_eq!(say(&worse), "min-energy: cpu is the best of what is possible", "nothing is made up");
    }

    #[test]
    fn what_forces_a_choice_is_said() {
        let mut seen = std::collections::BTreeSet::new();
        for reason in [
            Reason::Only,
            Reason::Best,
            Reason::Asked,
            Reason::Deadline,
            Reason::Ttft,
            Reason::Joules,
            Reason::Unavailable,
            Reason::Nearest,
            Reason::Explored,
            Reason::Fault,
        ] {
            assert!(seen.insert(say(&choice(reason, Policy::MinEnergy))), "{reason:?} says what another says");
        }
        let lesser =
            Choice { plan: Plan::on(site(3, 0)), degraded: true, ..choice(Reason::Deadline, Policy::Balanced) };
        assert_eq!(
            say(&lesser),
            "m:v3 on cpu: what balanced prefers would miss the deadline; a lesser variant than was asked for, as the \
             request allows"
        );
        let short = Choice { limit: Some(30), degraded: true, ..choice(Reason::Joules, Policy::Balanced) };
        assert!(say(&short).ends_with("; the answer is cut at 30 tokens, as the request allows"), "{}", say(&short));
    }

    #[test]
    fn forecasts_are_told_in_whole_milliseconds_and_coarse_joules() {
        let device = |_: DeviceId| "cpu".to_owned();
        let variant = |_: VariantId| "m:q4".to_owned();
        let names = Names { device: &device, variant: &variant, asked: VariantId(0) };
        let f = Forecast {
            wait: Duration::from_micros(1_234_567),
            prefill_energy: Microjoules(1_234_567),
            hold_energy: Microjoules(500_000),
            ..forecast(2.0, 0.5)
        };
        let report = names.report(&Plan::on(site(0, 0)), &f);
        assert_eq!((report.ttft_s, report.seconds, report.joules), (1.235, 1.735, 3.73));
        assert_eq!((report.energy.prefill, report.energy.around, report.time.around), (1.23, 0.5, 1.235));
        assert_eq!(totals(&f), (3.73, 1.735));
    }
}
