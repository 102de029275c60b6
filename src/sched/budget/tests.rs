//! Tests of the budgets through the scheduler, each rule on its own. That no order of events overdraws a purse is
//! tested by `sched::model`.

use super::*;
use crate::error::{Code, Error};
use crate::lane::{LaneId, Tenant};
use crate::sched::{Action, DeviceId, Event, Limits, Power, Sched, Site, VariantId};
use Class::{Background, Interactive, Standard};

const A: Site = Site { variant: VariantId(0), device: DeviceId::CPU };
const B: Site = Site { variant: VariantId(1), device: DeviceId::CPU };
/// A joule.
const J: u64 = 1_000_000;

struct Rig {
    sched: Sched,
    now: Time,
    next: u64,
    said: Vec<Action>,
}

impl Rig {
    /// With a lane of 8 slots for A, and this much an hour for the device.
    fn new(joules_per_hour: Option<u64>) -> Rig {
        let limits = Limits { idle_unload: None, ..Limits::default() };
        let mut rig = Rig { sched: Sched::new(limits), now: Time::ZERO, next: 0, said: Vec::new() };
        rig.tell(Event::Load(A));
        let Some(Action::Load { lane, .. }) = rig.said.first().cloned() else { panic!("no load") };
        rig.tell(Event::LaneReady { lane, slots: 8 });
        let power = Power { joules_per_hour: joules_per_hour.map(|j| Microjoules(j * J)), ..Power::default() };
        rig.tell(Event::Budgets(Budgets { mains: power, battery: power, low_battery: power, low_percent: 0 }));
        rig
    }

    fn tell(&mut self, event: Event) -> &[Action] {
        self.said = self.sched.handle(event, self.now);
        self.said.retain(|action| !matches!(action, Action::Planned { .. }));
        &self.said
    }

    fn ask_with(&mut self, client: u32, class: Class, joules: u64, change: impl FnOnce(&mut Arrival)) -> RequestId {
        let id = RequestId(self.next);
        self.next += 1;
        let mut arrival =
            Arrival { class, predicted: Microjoules(joules * J), ..Arrival::new(id, Tenant(client), A.variant) };
        change(&mut arrival);
        self.tell(Event::Arrived(arrival));
        id
    }

    fn ask(&mut self, client: u32, class: Class, joules: u64) -> RequestId {
        self.ask_with(client, class, joules, |_| ())
    }

    fn spend(&mut self, id: RequestId, joules: u64) -> &[Action] {
        self.tell(Event::Spent { id, more: Microjoules(joules * J), less: Microjoules::ZERO })
    }

    fn starts(&self, id: RequestId) -> bool {
        self.said.iter().any(|action| matches!(action, Action::Start { id: started, .. } if *started == id))
    }

    /// The last refusal.
    fn refusal(&self) -> Option<&Error> {
        self.said.iter().rev().find_map(|action| match action {
            Action::Refuse { error, .. } => Some(error),
            _ => None,
        })
    }

    /// What the last answer allows, in joules.
    fn allowed(&self) -> Vec<(RequestId, u64)> {
        let allow = |action: &Action| match action {
            Action::Allow { id, energy } => Some((*id, energy.0 / J)),
            _ => None,
        };
        self.said.iter().filter_map(allow).collect()
    }

    fn due(&self) -> Option<u64> {
        self.sched.next_timeout().map(|due| due.since(self.now).as_secs())
    }

    fn pass(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
        self.tell(Event::Tick);
    }

    fn level(&self) -> i64 {
        self.sched.purses().next().unwrap().level / J as i64
    }
}

#[test]
fn out_of_budget_standard_is_refused_with_figures_and_background_waits_for_the_refill() {
    let mut rig = Rig::new(Some(360));
    let first = rig.ask(1, Standard, 100);
    assert!(rig.starts(first));
    assert_eq!(rig.allowed(), [(first, 360)], "alone it may use all there is");
    rig.spend(first, 320);
    rig.tell(Event::Finished(first));
    let waits = rig.ask(1, Background, 50);
    assert_eq!((rig.said.len(), rig.due()), (0, Some(100)), "10 J more at 0.1 J a second");
    rig.ask(1, Interactive, 50);
    let error = rig.refusal().unwrap();
    assert_eq!((error.code, error.retry_after), (Code::BudgetExhausted, Some(Duration::from_secs(100))));
    let (left, need) = ("40.0 J left of 360.0 J", "about 50.0 J");
    assert!(error.message.contains(left) && error.message.contains(need), "{error}");
    // What needs less is not refused, and does not wait behind the other.
    let small = rig.ask(2, Standard, 5);
    assert!(rig.starts(small));
    rig.tell(Event::Finished(small));
    rig.pass(99);
    assert!(!rig.starts(waits));
    rig.pass(1);
    assert!(rig.starts(waits));
}

#[test]
fn a_huge_wish_neither_waits_for_ever_nor_overdraws() {
    let mut rig = Rig::new(Some(100));
    let huge = rig.ask(1, Standard, 1_000_000);
    assert!(rig.starts(huge));
    assert_eq!(rig.allowed(), [(huge, 100)]);
    rig.spend(huge, 100);
    assert_eq!(rig.sched.allowance(huge), Some(Microjoules(100 * J)));
    assert_eq!(
        rig.sched.limit_reason(huge).as_deref(),
        Some("the device's energy budget of the hour is used up"),
        "its lane ends it now"
    );
    rig.tell(Event::Finished(huge));
    let again = rig.ask(1, Background, 1_000_000);
    assert_eq!(rig.due(), Some(1_800), "half a purse is enough to begin");
    rig.pass(1_800);
    assert!(rig.starts(again));
}

#[test]
fn those_that_run_share_what_there_is_and_a_newcomer_takes_from_the_others() {
    let mut rig = Rig::new(Some(100));
    let first = rig.ask(1, Standard, 20);
    assert_eq!(rig.allowed(), [(first, 100)]);
    let second = rig.ask(2, Standard, 20);
    assert_eq!(rig.allowed(), [(first, 50), (second, 50)], "who loses hears of it first");
    // Nothing is said while nothing needs to be.
    assert_eq!(rig.spend(first, 10), []);
    assert_eq!(rig.spend(second, 10), []);
    // 45 of the 50 are used: the 45 that are left of the purse are divided anew.
    rig.spend(first, 35);
    let open = |rig: &Rig, id, spent: u64| rig.sched.allowance(id).unwrap().0 / J - spent;
    assert_eq!(open(&rig, first, 45) + open(&rig, second, 10), 44, "rounded down");
    assert!(open(&rig, first, 45) > 15);
    // What is reserved for others cannot be had: 2 for the first, who is beyond its prediction, 10 for the second.
    let third = rig.ask(3, Standard, 40);
    assert!(!rig.starts(third) && rig.refusal().is_none(), "it may be there when one of them ends");
    rig.tell(Event::Finished(second));
    assert!(rig.starts(third));
}

#[test]
fn max_joules_bounds_a_request_and_says_so() {
    let mut rig = Rig::new(None);
    let id = rig.ask_with(1, Background, 100, |arrival| arrival.max_joules = Some(Microjoules(3 * J)));
    assert_eq!(rig.allowed(), [(id, 3)]);
    rig.spend(id, 3);
    assert_eq!(rig.sched.limit_reason(id).as_deref(), Some("max_joules (3.00 J) is used up"));
    assert!(!rig.sched.may_wait_again(id), "waiting gives it no more");
    let free = rig.ask(1, Standard, 100);
    assert_eq!((rig.allowed(), rig.sched.limit_reason(free)), (vec![], None));
}

#[test]
fn what_is_charged_late_is_charged() {
    let mut rig = Rig::new(Some(100));
    rig.tell(Event::Client {
        client: ClientId(1),
        limits: ClientLimits { joules_per_hour: Some(Microjoules(50 * J)), requests: None },
    });
    let id = rig.ask(1, Standard, 10);
    // Cancelled just before the charge; the lane lets go at once.
    rig.tell(Event::Cancelled(id));
    rig.tell(Event::Finished(id));
    rig.spend(id, 8);
    // The wake of a model that nobody waits for any more.
    let woke = rig.ask_with(1, Standard, 10, |arrival| arrival.variants[0].variant = B.variant);
    rig.tell(Event::Cancelled(woke));
    rig.spend(woke, 30);
    assert_eq!(rig.level(), 62);
    assert_eq!(rig.sched.purses_of(ClientId(1))[1].level / J as i64, 12);
    rig.ask(1, Standard, 20);
    assert_eq!(rig.refusal().unwrap().code, Code::BudgetExhausted);
    assert!(rig.refusal().unwrap().message.starts_with("Your energy budget"), "{:?}", rig.said);
    rig.ask(2, Standard, 20);
    assert!(rig.refusal().is_none(), "another client has its own");
    rig.tell(Event::Settled(id));
    rig.spend(id, 8);
    assert_eq!(rig.level(), 62, "what is final stays so");
}

#[test]
fn a_background_request_that_was_stopped_before_its_first_token_waits_for_more() {
    let mut rig = Rig::new(Some(3_600));
    rig.tell(Event::Restored { purse: PurseId::Hour, level: 12 * J as i64 });
    let id = rig.ask(1, Background, 10);
    assert!(rig.starts(id));
    rig.spend(id, 12);
    assert!(rig.sched.may_wait_again(id));
    rig.tell(Event::Stopped(id));
    assert_eq!((rig.said.len(), rig.sched.queued()), (0, 1), "neither refused nor started again");
    assert_eq!(rig.due(), Some(24), "twice of what was not enough");
    // It keeps its place, and what it has used stays used.
    rig.pass(24);
    assert!(rig.starts(id));
    assert_eq!(rig.allowed(), [(id, 12 + 24)], "what it has used before counts");
    let mut used = 12;
    for _ in 0..2 {
        let all = rig.sched.allowance(id).unwrap().0 / J;
        rig.spend(id, all - used);
        used = all;
        rig.tell(Event::Stopped(id));
        let due = rig.due().unwrap();
        rig.pass(due);
        assert!(rig.starts(id));
    }
    assert!(!rig.sched.may_wait_again(id), "not for ever");
    rig.tell(Event::Finished(id));
    assert_eq!((rig.sched.queued(), rig.sched.running()), (0, 0));
}

#[test]
fn a_client_runs_as_many_at_once_as_it_may_and_holds_up_nobody() {
    let mut rig = Rig::new(None);
    rig.tell(Event::Client { client: ClientId(1), limits: ClientLimits { joules_per_hour: None, requests: Some(1) } });
    let [first, second, third] = [0; 3].map(|_| rig.ask(1, Interactive, 1));
    assert_eq!((rig.sched.running_of(ClientId(1)), rig.sched.queued()), (1, 2));
    let other = rig.ask(2, Background, 1);
    assert!(rig.starts(other));
    rig.tell(Event::Finished(first));
    assert!(rig.starts(second) && !rig.starts(third));
    rig.tell(Event::Cancelled(second));
    assert!(!rig.starts(third), "its slot is not free yet");
    rig.tell(Event::Finished(second));
    assert!(rig.starts(third));
}

#[test]
fn below_the_battery_floor_background_waits_for_the_charger() {
    let mut rig = Rig::new(None);
    let power = Power { battery_floor: Some(20), ..Power::default() };
    rig.tell(Event::Budgets(Budgets { mains: power, battery: power, low_battery: power, low_percent: 0 }));
    let low = Signals { on_battery: true, battery_percent: Some(10.0), ..Signals::default() };
    rig.tell(Event::Signals(low));
    rig.ask(1, Standard, 1);
    let error = rig.refusal().unwrap();
    assert_eq!((error.code, error.retry_after), (Code::BudgetExhausted, None));
    assert!(error.message.contains("10 %, below its floor of 20 %"), "{error}");
    let waits = rig.ask(1, Background, 1);
    assert_eq!((rig.said.len(), rig.sched.next_timeout(), rig.sched.wants_signals()), (0, None, true));
    let interactive = rig.ask(1, Interactive, 1);
    assert!(rig.starts(interactive));
    rig.tell(Event::Signals(Signals::default()));
    assert!(rig.starts(waits) && !rig.sched.wants_signals());
}

#[test]
fn a_model_is_not_loaded_for_what_may_not_run() {
    let mut rig = Rig::new(Some(3_600));
    rig.tell(Event::Restored { purse: PurseId::Hour, level: 0 });
    rig.ask_with(1, Background, 10, |arrival| arrival.variants[0].variant = B.variant);
    assert_eq!(rig.said, []);
    rig.pass(10);
    assert!(matches!(rig.said[..], [Action::Load { site: B, lane: LaneId(2) }]));
}

#[test]
fn what_waits_for_a_budget_leaves_half_of_the_line_to_others() {
    let mut rig = Rig::new(Some(3_600));
    rig.tell(Event::Limits(Limits { queue: 4, queue_per_tenant: 4, idle_unload: None, ..Limits::default() }));
    rig.tell(Event::Restored { purse: PurseId::Hour, level: 5 * J as i64 });
    for _ in 0..2 {
        rig.ask(1, Background, 10);
        assert_eq!(rig.said, []);
    }
    rig.ask(1, Background, 10);
    assert_eq!(rig.refusal().unwrap().code, Code::QueueFull);
    rig.ask_with(1, Interactive, 1, |arrival| arrival.variants[0].variant = B.variant);
    assert!(matches!(rig.said[..], [Action::Load { site: B, .. }]));
}

#[test]
fn the_charger_coming_and_going_fills_nothing() {
    let mut rig = Rig::new(None);
    let battery = Power { joules_per_hour: Some(Microjoules(100 * J)), ..Power::default() };
    rig.tell(Event::Budgets(Budgets { battery, low_percent: 0, ..Budgets::default() }));
    let on_battery = Signals { on_battery: true, ..Signals::default() };
    rig.tell(Event::Signals(on_battery));
    let id = rig.ask(1, Standard, 10);
    assert_eq!(rig.allowed(), [(id, 100)]);
    rig.spend(id, 90);
    rig.tell(Event::Signals(Signals::default()));
    assert_eq!(rig.said, [Action::Allow { id, energy: Microjoules(u64::MAX) }], "on mains nothing bounds it");
    rig.spend(id, 500);
    rig.tell(Event::Signals(on_battery));
    assert_eq!((rig.level(), rig.sched.allowance(id)), (10, Some(Microjoules(600 * J))));
}
