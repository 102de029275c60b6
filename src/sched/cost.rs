//! What a plan would take for one request, as things stand: waiting, waking, prompt, hand-over, answer, keeping.
//!
//! A plan is two places (`place`), which may be the same one; here they are put together. It decides nothing and changes
//! nothing. What always holds: every figure is finite and not negative.

use std::time::Duration;

use super::place::{Ask, Closed, Place, LONGEST};
use super::profile::{within, Cost};
use super::{Forecast, Plan, Policy, Site};
use crate::units::Microjoules;

/// What moves a sequence's state draws, until a profile says what the lane does (W).
const MOVE_WATTS: f64 = 3.0;

/// What a plan would take. Seconds and joules.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outlook {
    pub(super) plan: Plan,
    pub(super) closed: Option<Closed>,
    pub(super) wait: f64,
    pub(super) wake: f64,
    pub(super) prefill: Cost,
    pub(super) handover: Cost,
    pub(super) decode: Cost,
    /// The same for nearly the longest answer.
    pub(super) most: Cost,
    /// One more token.
    pub(super) token: Cost,
    /// For the lane of the prompt, and for that of the answer where it is another one.
    pub(super) wake_part: [f64; 2],
    pub(super) hold: [f64; 2],
    /// Joules for lanes being there while they compute this, which their own joules do not contain.
    pub(super) there: f64,
    pub(super) wake_full: f64,
    /// Bytes of lanes that are not up.
    pub(super) memory: u64,
    /// How wrong the joules may be, as a standard deviation.
    pub(super) doubt: f64,
    pub(super) measured: bool,
    /// Joules of the request itself, were everybody there who may come along, and all by the same plan.
    pub(super) crowd: f64,
    /// Joules that later requests are thought to take more than by the plan that leaves them most of its cells.
    pub(super) lacks: f64,
    /// Of the prompt and of the answer.
    pub(super) threads: (u32, u32),
}

impl Outlook {
    /// It needs a lane there.
    pub(super) fn touches(&self, site: Site) -> bool {
        self.plan.prefill == site || self.plan.decode == site
    }

    pub(super) fn ttft(&self) -> f64 {
        self.wait + self.wake + self.prefill.seconds + self.handover.seconds
    }

    pub(super) fn seconds(&self) -> f64 {
        self.ttft() + self.decode.seconds
    }

    /// What the request itself takes, lanes being up.
    pub(super) fn served(&self) -> f64 {
        self.prefill.joules + self.handover.joules + self.decode.joules
    }

    pub(super) fn joules(&self) -> f64 {
        self.served() + self.there + self.kept(|_| true)
    }

    /// Its parts of waking and keeping the lanes that `of` says.
    pub(super) fn kept(&self, of: impl Fn(Site) -> bool) -> f64 {
        let sites = [self.plan.prefill, self.plan.decode];
        (0..2).filter(|i| of(sites[*i])).map(|i| self.wake_part[i] + self.hold[i]).sum()
    }

    /// Less is better; of equals, the second decides.
    pub(super) fn score(&self, policy: Policy) -> (f64, f64) {
        let seconds = self.seconds();
        let joules = self.joules() + self.lacks;
        match policy {
            Policy::MinEnergy => (joules, seconds),
            Policy::Balanced => (joules * seconds, seconds),
            Policy::MaxThroughput => (seconds, joules),
        }
    }

    pub(super) fn forecast(&self) -> Forecast {
        let time = |seconds: f64| Duration::from_secs_f64(within(seconds, 0.0, LONGEST));
        let energy = Microjoules::from_f64;
        Forecast {
            wait: time(self.wait),
            wake: time(self.wake),
            prefill: time(self.prefill.seconds),
            handover: time(self.handover.seconds),
            decode: time(self.decode.seconds),
            wake_energy: energy(self.wake_part.iter().sum()),
            prefill_energy: energy(self.prefill.joules),
            handover_energy: energy(self.handover.joules),
            decode_energy: energy(self.decode.joules),
            hold_energy: energy(self.hold.iter().sum::<f64>() + self.there),
            memory: self.memory,
            measured: self.measured,
        }
    }
}

/// What lanes do to one another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Between {
    /// Seconds for moving this sequence's state.
    pub(super) handover: f64,
    /// What takes longer while another lane computes, as a part.
    pub(super) contention: f64,
    /// There is memory for one of the two at a time.
    pub(super) apart: bool,
}

/// What this plan would take.
pub(super) fn outlook(ask: &Ask, from: &Place, to: &Place, between: &Between) -> Outlook {
    let Between { handover, contention, apart } = *between;
    let plan = Plan { prefill: from.site, decode: to.site };
    let context = f64::from(ask.arrival.prompt);
    let prefill = from.beside(from.prompt(), from.company, contention, 1.0);
    let later = (to.company - prefill.seconds).max(0.0);
    let (decode, token) = to.answer(ask.mean, context);
    let decode = to.beside(decode, later, contention, to.together());
    let (most, _) = to.answer(ask.most.max(ask.mean), context);
    let most = to.beside(most, later, contention, to.together());
    let (in_prompt, in_answer) = (from.doubt(context), to.doubt(context));
    let doubt = (in_prompt.0 * prefill.joules).hypot(in_answer.1 * decode.joules);
    let mut outlook = Outlook {
        plan,
        closed: from.closed,
        wait: from.wait,
        wake: from.wake,
        prefill,
        handover: Cost::default(),
        decode,
        most,
        token,
        wake_part: [from.wake_part, 0.0],
        hold: [from.hold, 0.0],
        there: from.there(prefill.seconds) + to.there(decode.seconds),
        wake_full: from.wake_full,
        memory: from.memory,
        doubt,
        measured: from.is_measured() && to.is_measured(),
        crowd: from.prompt().joules + to.in_crowd(ask.mean, context),
        lacks: 0.0,
        threads: (from.threads.0, to.threads.1),
    };
    if plan.is_split() {
        let watts = prefill.joules / prefill.seconds.max(1e-9);
        let watts = if watts > 0.0 { watts } else { MOVE_WATTS };
        outlook.handover = Cost { seconds: handover, joules: handover * watts };
        outlook.crowd += outlook.handover.joules;
        if !apart && to.crowd > 1.0 {
            let clash = contention * to.clash(outlook.prefill, outlook.decode);
            outlook.crowd += clash;
            if to.excess > 0.0 && from.company.max(to.company) <= 0.0 {
                outlook.decode.joules += clash;
            }
        }
        outlook.closed = from.closed.or(to.closed);
        // The lane of the answer comes up, or has its slots taken, while the prompt is computed.
        let busy = outlook.wait + outlook.wake + prefill.seconds;
        outlook.wait += (to.wake + to.wait - busy).max(0.0);
        outlook.wake_part[1] = to.wake_part;
        outlook.hold[1] = to.hold;
        outlook.wake_full += to.wake_full;
        outlook.memory = outlook.memory.saturating_add(to.memory);
        outlook.doubt = outlook.doubt.hypot(0.5 * outlook.handover.joules);
        if apart {
            // The next request finds the one that it begins with gone, unless they begin together.
            outlook.wake_part = [from, to].map(|place| place.wake_cost / (place.excess + 1.0));
            outlook.wake_full = from.wake_full + to.wake_cost;
        }
    }
    outlook
}
