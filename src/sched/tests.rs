//! Tests of the scheduler as a whole: every sequence of events keeps the promises, and each rule on its own.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::error::Code;
use crate::lane::LaneId;
use Class::{Background, Interactive, Standard};

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_events_breaks_a_promise(bytes in prop::collection::vec(any::<u8>(), 0..1_500)) {
        let once = model::drive(&bytes);
        prop_assert_eq!(once, model::drive(&bytes));
    }
}

/// The same for more, others each time: `cargo test --release --lib --no-default-features --features daemon,capi --
/// --ignored --nocapture many_sequences`; `WATTLM_SEQUENCES` asks for another number of them.
#[test]
#[ignore = "takes minutes"]
fn many_sequences_of_events_break_no_promise() {
    let wanted: u64 = std::env::var("WATTLM_SEQUENCES").map_or(1_000_000, |n| n.parse().expect("a number"));
    let (events, sequences) = (AtomicU64::new(0), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut bytes = [0; 1_500];
                let mut random = std::fs::File::open("/dev/urandom").expect("random numbers");
                while sequences.load(Relaxed) < wanted {
                    random.read_exact(&mut bytes).expect("random numbers");
                    // Short ones end in what long ones pass by.
                    let most = [60, 300, bytes.len()][usize::from(bytes[2]) % 3];
                    let length = usize::from(u16::from_le_bytes([bytes[0], bytes[1]])) % most;
                    let bytes = &bytes[..length];
                    let driven = std::panic::catch_unwind(|| {
                        let once = model::drive(bytes);
                        assert!(once == model::drive(bytes), "equal events, other actions");
                        once.1
                    });
                    let told = driven.unwrap_or_else(|_| panic!("these bytes break a promise: {bytes:?}"));
                    events.fetch_add(told, Relaxed);
                    sequences.fetch_add(1, Relaxed);
                }
            });
        }
    });
    println!("{} events in {} sequences, each twice", events.into_inner(), sequences.into_inner());
}

const A: Site = Site { variant: VariantId(0), device: DeviceId::CPU };
const B: Site = Site { variant: VariantId(1), device: DeviceId::CPU };
const C: Site = Site { variant: VariantId(2), device: DeviceId::CPU };

/// A scheduler with its clock, and what it said last.
struct Rig {
    sched: Sched,
    now: Time,
    next_id: u64,
    lane: LaneId,
    said: Vec<Action>,
}

impl Rig {
    fn new(limits: Limits) -> Rig {
        Rig { sched: Sched::new(limits), now: Time::ZERO, next_id: 0, lane: LaneId(0), said: Vec::new() }
    }

    fn tell(&mut self, event: Event) -> &[Action] {
        self.said = self.sched.handle(event, self.now);
        self.said.retain(|action| !matches!(action, Action::Planned { .. }));
        for action in &self.said {
            if let Action::Load { lane, .. } = action {
                self.lane = *lane;
            }
        }
        &self.said
    }

    fn wait(&mut self, ms: u64) -> &[Action] {
        self.now = self.now + Duration::from_millis(ms);
        self.tell(Event::Tick)
    }

    fn arrive(&mut self, site: Site, tenant: u32, class: Class) -> RequestId {
        self.arrive_with(site, tenant, class, 100, None)
    }

    fn arrive_with(&mut self, site: Site, tenant: u32, class: Class, tokens: u32, ms: Option<u64>) -> RequestId {
        let id = RequestId(self.next_id);
        self.next_id += 1;
        let deadline = ms.map(|ms| self.now + Duration::from_millis(ms));
        let arrival = Arrival { class, tokens, deadline, ..Arrival::new(id, Tenant(tenant), site.variant) };
        self.tell(Event::Arrived(arrival));
        id
    }

    fn arrive_many(&mut self, n: usize, site: Site, tenant: u32, class: Class) {
        for _ in 0..n {
            self.arrive(site, tenant, class);
        }
    }

    fn ready(&mut self, slots: u32) -> LaneId {
        let lane = self.lane;
        self.tell(Event::LaneReady { lane, slots });
        lane
    }

    /// A ready lane for this site that runs nothing.
    fn up(&mut self, site: Site, slots: u32) -> LaneId {
        self.tell(Event::Load(site));
        self.ready(slots)
    }

    fn blocked(&mut self) -> &[Action] {
        let lane = self.lane;
        self.tell(Event::LoadBlocked { lane, error: Error::new(Code::InsufficientMemory, "no room") })
    }

    fn failed(&mut self) -> &[Action] {
        let lane = self.lane;
        self.tell(Event::LoadFailed { lane, error: Error::new(Code::ModelLoadFailed, "bad file") })
    }

    fn gone(&mut self, lane: LaneId) -> &[Action] {
        self.tell(Event::LaneGone { lane, retry: vec![], expected: true, error: lost() })
    }

    fn dies(&mut self, lane: LaneId, retry: &[RequestId]) -> &[Action] {
        self.tell(Event::LaneGone { lane, retry: retry.to_vec(), expected: false, error: lost() })
    }

    fn finish(&mut self, id: RequestId) -> Vec<RequestId> {
        self.tell(Event::Finished(id));
        self.started()
    }

    /// The requests that the last answer starts.
    fn started(&self) -> Vec<RequestId> {
        let start = |action: &Action| match action {
            Action::Start { id, .. } => Some(*id),
            _ => None,
        };
        self.said.iter().filter_map(start).collect()
    }

    /// The requests that the last answer refuses, and why.
    fn refused(&self) -> Vec<(RequestId, Code)> {
        let refusal = |action: &Action| match action {
            Action::Refuse { id, error } => Some((*id, error.code)),
            _ => None,
        };
        self.said.iter().filter_map(refusal).collect()
    }

    fn error(&self) -> &Error {
        match self.said.iter().find(|action| matches!(action, Action::Refuse { .. })) {
            Some(Action::Refuse { error, .. }) => error,
            _ => panic!("no refusal in {:?}", self.said),
        }
    }

    fn loads(&self) -> Vec<Site> {
        let load = |action: &Action| match action {
            Action::Load { site, .. } => Some(*site),
            _ => None,
        };
        self.said.iter().filter_map(load).collect()
    }

    fn due_in(&self) -> Option<Duration> {
        self.sched.next_timeout().map(|due| due.since(self.now))
    }
}

fn lost() -> Error {
    Error::new(Code::WorkerLost, "killed by signal 11")
}

fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

#[test]
fn the_first_request_loads_and_the_rest_wait_for_it() {
    let mut rig = Rig::new(Limits::default());
    let first = rig.arrive(A, 1, Standard);
    assert_eq!(rig.said, [Action::Load { lane: rig.lane, site: A }]);
    assert_eq!(rig.sched.next_timeout(), None, "nothing to do until the lane is up");
    let second = rig.arrive(A, 1, Standard);
    assert_eq!(rig.said, []);
    assert_eq!((rig.sched.position(first), rig.sched.position(second)), (Some(0), Some(1)));
    let lane = rig.ready(1);
    assert_eq!(rig.said, [Action::Start { id: first, lane, export: false }]);
    assert_eq!((rig.sched.queued(), rig.sched.running()), (1, 1));
    assert_eq!((rig.sched.position(first), rig.sched.position(second)), (None, Some(0)));
    assert_eq!(rig.finish(first), [second]);
}

#[test]
fn urgent_requests_go_first_and_waiting_lifts_by_a_class() {
    let mut rig = Rig::new(Limits { ageing: seconds(20), ..Limits::default() });
    rig.up(A, 1);
    let running = rig.arrive(A, 1, Standard);
    let background = rig.arrive(A, 2, Background);
    let standard = rig.arrive(A, 3, Standard);
    let interactive = rig.arrive(A, 4, Interactive);
    assert_eq!(rig.finish(running), [interactive]);
    assert_eq!(rig.finish(interactive), [standard]);
    rig.wait(20_000);
    let late_standard = rig.arrive(A, 5, Standard);
    let late_interactive = rig.arrive(A, 6, Interactive);
    assert_eq!(rig.finish(standard), [late_interactive]);
    assert_eq!(rig.finish(late_interactive), [background], "as urgent by now, and its tenant had less");
    assert_eq!(rig.finish(background), [late_standard]);
}

#[test]
fn a_background_request_runs_under_a_constant_interactive_load() {
    let mut rig = Rig::new(Limits { ageing: seconds(20), ..Limits::default() });
    rig.up(A, 2);
    let mut running: Vec<_> = (0..2).map(|tenant| rig.arrive(A, tenant, Interactive)).collect();
    (0..4).for_each(|tenant| rig.arrive_many(2, A, tenant, Interactive));
    let background = rig.arrive(A, 9, Background);
    let begin = rig.now;
    while !running.contains(&background) {
        rig.wait(1_000);
        let done = running.remove(0);
        running.extend(rig.finish(done));
        rig.arrive(A, done.0 as u32 % 4, Interactive);
        assert!(rig.now.since(begin) <= seconds(41), "two times ageing, and one slot that becomes free");
    }
    assert!(rig.now.since(begin) >= seconds(40));
}

/// Runs a lane for some virtual hours under tenants that keep `backlog` requests of `tokens` in line each. Tokens take
/// a millisecond each. Gives the tokens that each tenant was served.
fn serve(slots: u32, tenants: &[(usize, u32)]) -> Vec<u64> {
    let mut rig = Rig::new(Limits { ageing: seconds(1_000_000), ..Limits::default() });
    rig.up(A, slots);
    let mut served = vec![0; tenants.len()];
    let mut ends: BTreeMap<(Time, RequestId), usize> = BTreeMap::new();
    let mut owner = BTreeMap::new();
    let begin = |rig: &Rig, owner: &BTreeMap<RequestId, usize>, ends: &mut BTreeMap<_, usize>| {
        for id in rig.started() {
            let tenant = owner[&id];
            ends.insert((rig.now + Duration::from_millis(tenants[tenant].1.into()), id), tenant);
        }
    };
    for (tenant, (backlog, tokens)) in tenants.iter().enumerate() {
        for _ in 0..*backlog {
            owner.insert(RequestId(rig.next_id), tenant);
            rig.arrive_with(A, tenant as u32, Standard, *tokens, None);
            begin(&rig, &owner, &mut ends);
        }
    }
    for _ in 0..20_000 {
        let ((now, id), tenant) = ends.pop_first().expect("a running request");
        rig.now = now;
        served[tenant] += u64::from(tenants[tenant].1);
        rig.finish(id);
        begin(&rig, &owner, &mut ends);
        owner.insert(RequestId(rig.next_id), tenant);
        rig.arrive_with(A, tenant as u32, Standard, tenants[tenant].1, None);
        begin(&rig, &owner, &mut ends);
    }
    served
}

fn jain(served: &[u64]) -> f64 {
    let sum: f64 = served.iter().map(|x| *x as f64).sum();
    let squares: f64 = served.iter().map(|x| (*x as f64).powi(2)).sum();
    sum * sum / (served.len() as f64 * squares)
}

#[test]
fn a_saturated_lane_is_shared_equally_in_tokens() {
    for slots in [1, 2, 4, 8] {
        // Ten times as many requests in line; much larger ones; many tenants of all kinds.
        for tenants in
            [&[(60, 100), (6, 100)][..], &[(20, 1_000), (20, 100)], &[(50, 10), (9, 500), (9, 100), (20, 900)]]
        {
            let served = serve(slots, tenants);
            assert!(jain(&served) >= 0.95, "{slots} slots, {tenants:?}: {served:?}");
        }
    }
}

#[test]
fn idleness_earns_no_credit() {
    let mut rig = Rig::new(Limits::default());
    rig.up(A, 1);
    // Tenant 1 has been served for long when 2 comes: from then on they take turns.
    let mut running = rig.arrive(A, 1, Standard);
    for _ in 0..10 {
        rig.arrive(A, 1, Standard);
    }
    for _ in 0..5 {
        running = rig.finish(running)[0];
    }
    let of_two: Vec<_> = (0..5).map(|_| rig.arrive(A, 2, Standard)).collect();
    let mut order = Vec::new();
    for _ in 0..6 {
        running = rig.finish(running)[0];
        order.push(of_two.contains(&running));
    }
    assert_eq!(order.iter().filter(|two| **two).count(), 3, "{order:?}");
}

#[test]
fn a_tenant_that_runs_yields_to_one_that_does_not() {
    let mut rig = Rig::new(Limits::default());
    rig.up(A, 2);
    let cheap = rig.arrive_with(A, 1, Standard, 1, None);
    rig.arrive_with(A, 1, Standard, 1, None);
    let of_one = rig.arrive_with(A, 1, Standard, 1, None);
    let of_two = rig.arrive_with(A, 2, Standard, 1_000, None);
    assert_eq!(rig.finish(cheap), [of_two]);
    assert_eq!(rig.finish(of_two), [of_one]);
}

#[test]
fn a_full_line_refuses_with_figures() {
    let mut rig = Rig::new(Limits { queue: 3, queue_per_tenant: 2, ..Limits::default() });
    rig.up(B, 1);
    rig.arrive_many(3, A, 1, Standard);
    assert_eq!(rig.error().code, Code::QueueFull);
    assert!(rig.error().message.contains("Your share") && rig.error().message.contains("2 requests wait"));
    rig.arrive(A, 2, Standard);
    rig.arrive(A, 3, Standard);
    assert_eq!(rig.error().code, Code::QueueFull);
    assert!(rig.error().message.contains("3 requests wait"), "{}", rig.error());
    assert_eq!(rig.error().retry_after, Some(seconds(2)), "half of three, at a second each until measured");
    let at_once = rig.arrive(B, 1, Standard);
    assert_eq!(rig.started(), [at_once], "what starts at once does not wait");
}

#[test]
fn the_wait_that_is_advised_follows_the_pace() {
    let mut rig = Rig::new(Limits { queue: 4, ..Limits::default() });
    rig.up(A, 1);
    let mut running = rig.arrive(A, 1, Standard);
    for _ in 0..40 {
        rig.arrive(A, 1, Standard);
        rig.wait(4_000);
        running = rig.finish(running)[0];
    }
    rig.arrive_many(5, A, 1, Standard);
    let advised = rig.error().retry_after.expect("a time");
    assert!((seconds(7)..=seconds(8)).contains(&advised), "two of four, at four seconds each: {advised:?}");
}

#[test]
fn deadlines_end_what_waits_and_expire_once_what_runs() {
    let mut rig = Rig::new(Limits::default());
    rig.up(A, 1);
    let running = rig.arrive_with(A, 1, Standard, 1, Some(2_000));
    let waiting = rig.arrive_with(A, 1, Standard, 1, Some(1_000));
    assert_eq!(rig.due_in(), Some(seconds(1)));
    rig.wait(1_000);
    assert_eq!(rig.refused(), [(waiting, Code::DeadlineExceeded)]);
    assert_eq!(rig.wait(1_000), [Action::Expire(running)]);
    assert_eq!(rig.wait(1), []);
    assert_eq!(rig.sched.next_timeout(), None);
    rig.finish(running);
    let late = rig.arrive_with(A, 1, Standard, 1, Some(0));
    assert_eq!(rig.refused(), [(late, Code::DeadlineExceeded)], "and it never started");
}

#[test]
fn what_is_cancelled_is_not_mentioned_again() {
    let mut rig = Rig::new(Limits::default());
    let lane = rig.up(A, 1);
    let running = rig.arrive_with(A, 1, Standard, 1, Some(2_000));
    let waiting = rig.arrive_with(A, 1, Standard, 1, Some(1_000));
    assert_eq!(rig.tell(Event::Cancelled(waiting)), []);
    assert_eq!(rig.tell(Event::Cancelled(running)), []);
    assert_eq!(rig.sched.running(), 1, "the slot is taken until it has ended");
    assert_eq!(rig.wait(3_000), []);
    assert_eq!(rig.dies(lane, &[running]), [], "nobody waits for a second try");
    assert_eq!((rig.sched.queued(), rig.sched.running()), (0, 0));
}

#[test]
fn an_idle_lane_goes_and_an_idle_service_sleeps() {
    let mut rig = Rig::new(Limits { idle_unload: Some(seconds(300)), ..Limits::default() });
    let lane = rig.up(A, 1);
    assert_eq!(rig.due_in(), Some(seconds(300)));
    rig.wait(200_000);
    let id = rig.arrive(A, 1, Standard);
    assert_eq!(rig.due_in(), None, "it works");
    rig.wait(400_000);
    rig.finish(id);
    assert_eq!(rig.due_in(), Some(seconds(300)));
    rig.wait(299_000);
    rig.tell(Event::Load(A));
    assert_eq!(rig.due_in(), Some(seconds(300)), "asked for again");
    assert_eq!(rig.wait(300_000), [Action::Unload(lane)]);
    assert_eq!(rig.sched.lane_state(A), LaneState::Stopping);
    rig.gone(lane);
    assert_eq!((rig.sched.lane_state(A), rig.sched.next_timeout()), (LaneState::Unloaded, None));

    rig.tell(Event::Limits(Limits { idle_unload: None, ..Limits::default() }));
    let lane = rig.up(A, 1);
    assert_eq!(rig.sched.next_timeout(), None);
    rig.wait(10_000);
    let limits = Limits { idle_unload: Some(seconds(5)), ..Limits::default() };
    assert_eq!(rig.tell(Event::Limits(limits)), [Action::Unload(lane)], "new limits apply at once");
}

#[test]
fn a_variant_may_have_its_own_idle_time() {
    let mut rig = Rig::new(Limits { idle_unload: Some(seconds(300)), ..Limits::default() });
    rig.tell(Event::IdleUnload { site: A, after: Some(seconds(5)) });
    rig.tell(Event::IdleUnload { site: B, after: None });
    let lane = rig.up(A, 1);
    rig.up(B, 1);
    assert_eq!(rig.due_in(), Some(seconds(5)));
    assert_eq!(rig.wait(5_000), [Action::Unload(lane)]);
    rig.gone(lane);
    assert_eq!(rig.sched.next_timeout(), None, "the other stays");
}

#[test]
fn unload_serves_who_was_there_and_ends_under_constant_load() {
    let mut rig = Rig::new(Limits::default());
    let lane = rig.up(A, 1);
    let running = rig.arrive(A, 1, Standard);
    let waiting = rig.arrive(A, 1, Standard);
    assert_eq!(rig.tell(Event::Unload(A)), []);
    let later = rig.arrive(A, 2, Interactive);
    rig.tell(Event::Unload(A));
    assert_eq!(rig.finish(running), [waiting]);
    assert_eq!(rig.tell(Event::Finished(waiting)), [Action::Unload(lane)]);
    assert_eq!(rig.gone(lane).len(), 1);
    assert_eq!(rig.loads(), [A], "for who came later");
    rig.ready(1);
    assert_eq!(rig.started(), [later]);

    rig.tell(Event::Unload(A));
    rig.tell(Event::Load(A));
    assert_eq!(rig.tell(Event::Finished(later)), [], "a load revokes it");

    let lane = rig.lane;
    assert_eq!(rig.tell(Event::Unload(A)), [Action::Unload(lane)]);
    rig.tell(Event::Load(A));
    rig.gone(lane);
    assert_eq!(rig.loads(), [A], "and so it does while the lane stops");
    let lane = rig.lane;
    assert_eq!(rig.tell(Event::Unload(A)), [Action::Unload(lane)], "nobody waits for a lane that loads");
}

#[test]
fn variants_do_not_wait_for_each_other() {
    let mut rig = Rig::new(Limits::default());
    rig.up(A, 1);
    rig.arrive_many(3, A, 1, Interactive);
    rig.up(B, 1);
    let id = rig.arrive(B, 1, Background);
    assert_eq!(rig.started(), [id]);
}

#[test]
fn memory_comes_from_the_lane_idle_for_longest() {
    let mut rig = Rig::new(Limits::default());
    let a = rig.up(A, 1);
    rig.wait(10);
    let b = rig.up(B, 1);
    rig.wait(10);
    let used = rig.arrive(A, 1, Standard);
    rig.finish(used);
    let id = rig.arrive(C, 1, Standard);
    assert_eq!(rig.blocked(), [Action::Unload(b)]);
    assert_eq!(rig.wait(10), [], "one at a time");
    rig.gone(b);
    assert_eq!(rig.loads(), [C]);
    assert_eq!(rig.blocked(), [Action::Unload(a)], "not enough");
    rig.gone(a);
    rig.blocked();
    assert_eq!(rig.refused(), [(id, Code::InsufficientMemory)], "nothing left to let go");
    assert_eq!((rig.sched.queued(), rig.sched.next_timeout()), (0, None));
}

#[test]
fn what_nobody_waits_for_any_more_is_tried_afresh() {
    let mut rig = Rig::new(Limits::default());
    rig.up(A, 1);
    rig.arrive(A, 1, Standard);
    let blocked = rig.arrive(B, 1, Standard);
    rig.blocked();
    rig.tell(Event::Cancelled(blocked));
    rig.arrive(B, 1, Standard);
    assert_eq!(rig.loads(), [B], "what held the memory may be gone");
}

#[test]
fn a_lane_that_fails_while_it_stops_is_gone_and_no_fault() {
    for crossing in [
        |lane| Event::LaneGone { lane, retry: vec![], expected: false, error: lost() },
        |lane| Event::LoadFailed { lane, error: lost() },
        |lane| Event::LoadBlocked { lane, error: lost() },
    ] {
        let mut rig = Rig::new(Limits::default());
        rig.tell(Event::Load(A));
        let lane = rig.lane;
        assert_eq!(rig.tell(Event::Unload(A)), [Action::Unload(lane)]);
        rig.arrive(A, 1, Standard);
        rig.tell(crossing(lane));
        assert_eq!((rig.loads(), rig.refused()), (vec![A], vec![]), "no backoff, and who waits is served");
    }
}

#[test]
fn a_busy_lane_serves_its_line_before_it_makes_room() {
    let mut rig = Rig::new(Limits { ageing: seconds(20), ..Limits::default() });
    let a = rig.up(A, 1);
    let running = rig.arrive(A, 1, Standard);
    let waiting = rig.arrive(A, 1, Standard);
    let less_urgent = rig.arrive(A, 1, Background);
    let blocked = rig.arrive(B, 2, Standard);
    assert_eq!(rig.blocked(), []);
    let later = rig.arrive(A, 1, Standard);
    let urgent = rig.arrive(A, 3, Interactive);
    assert_eq!(rig.finish(running), [urgent], "what is more urgent is served all the same");
    assert_eq!(rig.finish(urgent), [waiting]);
    assert_eq!(rig.tell(Event::Finished(waiting)), [Action::Unload(a)]);
    rig.gone(a);
    assert_eq!(rig.loads(), [B, A], "in the order of their urgency");
    let [Action::Load { lane: b, .. }, Action::Load { lane: again, .. }] = rig.said[..] else { panic!() };
    rig.tell(Event::LaneReady { lane: b, slots: 1 });
    assert_eq!(rig.started(), [blocked]);
    rig.tell(Event::LoadBlocked { lane: again, error: lost() });
    assert_eq!(rig.tell(Event::Finished(blocked)), [Action::Unload(b)]);
    rig.gone(b);
    rig.ready(1);
    assert_eq!(rig.started(), [later]);
    assert_eq!(rig.finish(later), [less_urgent]);
}

#[test]
fn a_background_model_gets_its_turn_beside_a_constant_interactive_one() {
    let mut rig = Rig::new(Limits { ageing: seconds(20), ..Limits::default() });
    let a = rig.up(A, 1);
    let mut running = rig.arrive(A, 1, Interactive);
    let background = rig.arrive(B, 2, Background);
    rig.blocked();
    let begin = rig.now;
    loop {
        rig.arrive(A, 1, Interactive);
        rig.wait(1_000);
        match rig.finish(running)[..] {
            [next] => running = next,
            _ => break,
        }
        assert!(rig.now.since(begin) < seconds(60));
    }
    assert_eq!(rig.said, [Action::Unload(a)]);
    assert!(rig.now.since(begin) >= seconds(40), "not before it is as urgent");
    rig.gone(a);
    assert_eq!(rig.loads()[0], B);
    let Action::Load { lane, .. } = rig.said[0] else { panic!() };
    rig.tell(Event::LaneReady { lane, slots: 1 });
    assert_eq!(rig.started(), [background]);
}

/// Memory for one lane, both models under constant load: they take turns, and each turn serves a whole line.
#[test]
fn two_models_that_do_not_fit_share_by_time() {
    let mut rig = Rig::new(Limits { ageing: seconds(20), ..Limits::default() });
    let (mut lane, mut loads, mut served) = (None, 0, [0, 0]);
    let mut pending: Vec<(LaneId, Site)> = Vec::new();
    let mut running: Vec<(RequestId, Site)> = Vec::new();
    let mut owner = BTreeMap::new();
    for round in 0..4_000 {
        if rig.sched.queued() < 16 {
            let site = Site::cpu(VariantId(rig.next_id as u32 % 2));
            let id = rig.arrive(site, round % 4, Standard);
            owner.insert(id, site);
        } else if let Some((id, site)) = running.pop() {
            served[site.variant.0 as usize] += 1;
            rig.finish(id);
        } else if let Some((loading, _)) = pending.pop() {
            if lane.is_none() {
                lane = Some(loading);
                loads += 1;
                rig.tell(Event::LaneReady { lane: loading, slots: 2 });
            } else {
                rig.tell(Event::LoadBlocked { lane: loading, error: lost() });
            }
        } else {
            rig.wait(100);
        }
        for _ in 0..2 {
            for action in rig.said.clone() {
                match action {
                    Action::Load { lane, site } => pending.push((lane, site)),
                    Action::Start { id, .. } => running.push((id, owner[&id])),
                    _ => {}
                }
            }
            match rig.said.iter().find(|action| matches!(action, Action::Unload(_))) {
                Some(Action::Unload(id)) => {
                    assert_eq!(lane.take(), Some(*id));
                    rig.gone(LaneId(id.0));
                }
                _ => break,
            }
        }
    }
    assert!(served[0] > 500 && served[1] > 500, "{served:?}");
    assert!(served[0] + served[1] >= 6 * loads, "{loads} loads for {served:?}");
}

#[test]
fn small_models_do_not_keep_a_large_one_out() {
    let mut rig = Rig::new(Limits { ageing: seconds(20), ..Limits::default() });
    let a = rig.up(A, 1);
    let running = rig.arrive(A, 1, Standard);
    let large = rig.arrive(B, 1, Standard);
    rig.blocked();
    rig.wait(1_000);
    rig.arrive(C, 1, Standard);
    assert_eq!(rig.loads(), [C], "it may fit beside");
    rig.failed();
    assert_eq!(rig.loads(), [B], "it may fit now");
    rig.blocked();
    rig.wait(20_000);
    rig.arrive(C, 1, Standard);
    assert_eq!(rig.loads(), [], "what comes free is kept");
    assert_eq!(rig.tell(Event::Finished(running)), [Action::Unload(a)]);
    rig.gone(a);
    assert_eq!(rig.loads(), [B]);
    rig.ready(1);
    assert_eq!((rig.started(), rig.loads()), (vec![large], vec![C]));
}

#[test]
fn a_model_that_cannot_be_loaded_is_not_hammered() {
    let mut rig = Rig::new(Limits { faults_to_quarantine: 3, ..Limits::default() });
    let first = rig.arrive(A, 1, Standard);
    rig.failed();
    assert_eq!(rig.refused(), [(first, Code::ModelLoadFailed)]);
    assert_eq!(rig.sched.next_timeout(), None, "nobody waits");
    rig.arrive(A, 1, Standard);
    assert_eq!((rig.loads(), rig.due_in()), (vec![], Some(Duration::from_millis(50))));
    rig.wait(50);
    assert_eq!(rig.loads(), [A]);
    rig.failed();
    rig.tell(Event::Load(A));
    assert_eq!(rig.loads(), [A], "who insists is heard");
    rig.failed();
    let until = rig.now + seconds(60);
    assert_eq!(rig.sched.lane_state(A), LaneState::Quarantined { until });
    let id = rig.arrive(A, 1, Standard);
    assert_eq!(rig.refused(), [(id, Code::Quarantined)]);
    assert_eq!(rig.error().retry_after, Some(seconds(60)));
    assert!(rig.error().message.contains("3 times") && rig.error().message.contains("bad file"), "{}", rig.error());
    rig.tell(Event::Load(A));
    assert_eq!(rig.loads(), [A], "even then");
    rig.ready(1);
    let id = rig.arrive(A, 1, Standard);
    assert_eq!(rig.started(), [id]);
}

#[test]
fn what_was_lost_is_tried_once_more_and_first() {
    let mut rig = Rig::new(Limits::default());
    let lane = rig.up(A, 2);
    let silent = rig.arrive(A, 1, Standard);
    let spoken = rig.arrive(A, 2, Standard);
    let other = rig.arrive(A, 3, Standard);
    assert_eq!(rig.dies(lane, &[silent]), [], "the service ended the one that had sent tokens");
    assert_eq!((rig.sched.queued(), rig.sched.running()), (2, 0));
    assert_eq!(rig.due_in(), Some(Duration::from_millis(50)));
    rig.finish(spoken);
    rig.wait(50);
    let lane = rig.ready(1);
    assert_eq!(rig.started(), [silent]);
    rig.dies(lane, &[silent]);
    assert_eq!(rig.refused(), [(silent, Code::WorkerLost)]);
    assert_eq!(rig.due_in(), Some(Duration::from_millis(100)), "longer each time");
    rig.wait(100);
    let lane = rig.ready(1);
    rig.finish(other);
    let id = rig.arrive(A, 1, Standard);
    rig.dies(lane, &[id]);
    assert_eq!(rig.due_in(), Some(Duration::from_millis(50)), "a request that ended makes it good");
}

#[test]
fn a_lane_that_keeps_dying_is_quarantined_longer_each_time() {
    let mut rig = Rig::new(Limits { faults_to_quarantine: 2, ..Limits::default() });
    let id = rig.arrive(A, 1, Standard);
    let lane = rig.lane;
    rig.dies(lane, &[]);
    rig.wait(50);
    let lane = rig.ready(1);
    assert_eq!(rig.started(), [id]);
    rig.dies(lane, &[id]);
    assert_eq!(rig.refused(), [(id, Code::Quarantined)]);
    assert_eq!(rig.sched.next_timeout(), None, "nobody waits for its end");
    for minutes in [1, 2, 4, 8, 16, 16] {
        let until = rig.now + seconds(60 * minutes);
        assert_eq!(rig.sched.lane_state(A), LaneState::Quarantined { until });
        rig.wait(60_000 * minutes);
        rig.arrive(A, 1, Standard);
        assert_eq!(rig.loads(), [A]);
        let lane = rig.lane;
        rig.dies(lane, &[]);
        assert_eq!(rig.refused().len(), 1, "one fault is enough now");
    }
}

#[test]
fn shutting_down_lets_what_runs_end() {
    let mut rig = Rig::new(Limits::default());
    let b = rig.up(B, 1);
    let lane = rig.up(A, 1);
    let running = rig.arrive(A, 1, Standard);
    let waiting = rig.arrive(A, 1, Standard);
    rig.tell(Event::ShutDown);
    assert_eq!(rig.refused(), [(waiting, Code::ShuttingDown)]);
    assert_eq!(rig.said.last(), Some(&Action::Unload(b)));
    let late = rig.arrive(A, 1, Standard);
    assert_eq!(rig.refused(), [(late, Code::ShuttingDown)]);
    assert_eq!(rig.tell(Event::Load(C)), []);
    assert_eq!(rig.tell(Event::Finished(running)), [Action::Unload(lane)]);
    rig.gone(b);
    rig.gone(lane);
    assert_eq!((rig.sched.running(), rig.sched.next_timeout()), (0, None));
}

#[test]
fn time_never_goes_back() {
    let mut rig = Rig::new(Limits::default());
    rig.wait(100_000);
    rig.up(A, 1);
    let due = rig.sched.next_timeout();
    rig.now = Time::ZERO;
    let id = rig.arrive(A, 1, Standard);
    rig.finish(id);
    assert_eq!(rig.sched.next_timeout(), due);
}

/// Prints what an event costs in a long line.
#[test]
#[ignore = "measures time: run alone, with --nocapture"]
fn an_event_is_cheap_in_a_long_line() {
    for tenants in [1, 10, 1_000] {
        let mut rig = Rig::new(Limits { queue: 2_000, queue_per_tenant: 2_000, ..Limits::default() });
        rig.up(A, 1);
        let mut running = rig.arrive(A, 0, Standard);
        for n in 0..1_000 {
            rig.arrive(A, n % tenants, [Interactive, Standard, Background][n as usize % 3]);
        }
        let begin = std::time::Instant::now();
        for n in 0..10_000 {
            rig.now = rig.now + Duration::from_millis(1);
            running = rig.finish(running)[0];
            rig.arrive(A, n % tenants, Standard);
        }
        let each = begin.elapsed() / 20_000;
        println!("{tenants} tenants, 1000 waiting: {each:?} an event");
        assert!(each < Duration::from_micros(20), "{each:?}");
    }
}
