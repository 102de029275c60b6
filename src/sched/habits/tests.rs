//! Tests of what is kept of the traffic.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::lane::{RequestId, Tenant};
use crate::sched::hold::Saving;
use crate::sched::{Arrival, Cost, DeviceId, Event, Limits, Measured, PhaseMeasured, Plan, Profile};
use crate::units::Microjoules;

const A: VariantId = VariantId(0);
const B: VariantId = VariantId(1);
const CPU: Site = Site { variant: A, device: DeviceId::CPU };
const GPU: Site = Site { variant: A, device: DeviceId(1) };
const ONE: ClientId = ClientId(1);

fn ask(id: u64, prompt: u32, found: u32) -> Arrival {
    let cached = if found > 0 { vec![(CPU, found)] } else { Vec::new() };
    Arrival { client: ONE, prompt, cached, max_answer: 500, ..Arrival::new(RequestId(id), Tenant(1), A) }
}

/// A conversation of one client, minutes apart, with a crowd behind each turn.
fn lived() -> Known {
    let mut known = Known::default();
    let at = |seconds: u64| Time::ZERO + Duration::from_secs(seconds);
    let mut prompt = 50;
    for turn in 0..12u64 {
        let now = 100 * turn;
        let asks: Vec<Arrival> = (0..3).map(|n| ask(10 * turn + n, prompt, prompt.saturating_sub(30))).collect();
        for arrival in &asks {
            let gap = known.came(arrival, at(now));
            known.saves(GPU, Saving { now: 5.0, cells: 2.0, crowd: 5.0 }, gap, turn % 2 == 1);
        }
        known.reuse.came(&asks[0], Plan::on(CPU), prompt + 40, |_| true, |_| false, at(now));
        known.reuse.answered(ONE, Endpoint::Chat, asks[0].id, 40);
        known.lengths.learn(ONE, Endpoint::Chat, 40, 500);
        asks.iter().for_each(|arrival| known.went(arrival, at(now + 10)));
        prompt += 70;
    }
    known.lengths.learn(ClientId(7), Endpoint::Completion, 9, 64);
    known.moved(A, 1_000, Duration::from_millis(510));
    known.contention = Some(0.4);
    known
}

#[test]
fn what_was_learnt_is_told_and_taken_again_whole() {
    let known = lived();
    let habits = known.habits();
    assert_eq!(habits.clients.iter().map(|one| one.client).collect::<Vec<_>>(), [ONE, ClientId(7)]);
    assert_eq!(habits.variants[0].gaps.iter().filter(|gap| **gap > 0.0).count(), 11);
    assert_eq!((habits.sites[0].site, habits.sites[0].savings[0]), (GPU, (5.0, 2.0)));
    let text = serde_json::to_string(&habits).unwrap();
    let read: Habits = serde_json::from_str(&text).unwrap();
    assert_eq!(read, habits);
    let mut next = Known::default();
    next.accustom(read, Time::ZERO);
    assert_eq!(next.habits(), habits);
    let arrival = ask(1_000, 80, 0);
    assert_eq!(next.length(&arrival), known.length(&arrival));
    assert!(next.length(&arrival).mean < 60.0 && Known::default().length(&arrival).mean > 100.0);
    assert_eq!(next.keep(GPU, 300.0), known.keep(GPU, 300.0));
    assert_eq!(
        (next.others(A, false), next.comes_within(A, 50.0)),
        (known.others(A, false), known.comes_within(A, 50.0))
    );
    assert_eq!((next.handover(A, 100), next.contention()), (known.handover(A, 100), 0.4));
    let (now, before) = (next.reuse.goes_on(&arrival), known.reuse.goes_on(&arrival));
    assert_eq!((now.again, now.grows), (before.again, before.grows));
    assert!(now.again > 0.9 && now.grows > 50, "{now:?}");
}

#[test]
fn what_was_true_only_then_stays_behind() {
    let mut known = lived();
    known.saves(GPU, Saving { now: 4.0, cells: 0.0, crowd: 4.0 }, 0.0, false);
    known.came(&ask(500, 50, 0), Time::ZERO);
    assert!(known.rental(GPU) < known.load(GPU).joules && known.reuse.remains(&ask(1_000, 5_000, 0)).next().is_some());
    let mut next = Known::default();
    next.accustom(known.habits(), Time::ZERO);
    assert_eq!(next.rental(GPU), next.load(GPU).joules, "nothing was forgone yet");
    assert_eq!(next.reuse.remains(&ask(1_000, 5_000, 0)).next(), None, "lanes are cold");
    assert!(next.is_quiet(A), "nobody is there");
    // Nor is the time between two runs a gap.
    let gaps = next.habits().variants[0].gaps.clone();
    next.came(&ask(1, 50, 0), Time::ZERO + Duration::from_secs(9_000));
    assert_eq!(next.habits().variants[0].gaps, gaps);
}

#[test]
fn what_this_run_has_learnt_goes_before() {
    let mut next = Known::default();
    for _ in 0..10 {
        next.lengths.learn(ONE, Endpoint::Chat, 300, 500);
    }
    next.traffic.entry(A).or_default().gaps.learn(7.0);
    next.saves(GPU, Saving { now: 1.0, cells: 0.0, crowd: 1.0 }, 1.0, true);
    next.contention = Some(0.1);
    next.accustom(lived().habits(), Time::ZERO);
    let habits = next.habits();
    assert!(next.length(&ask(1, 50, 0)).mean > 250.0);
    assert_eq!((&habits.variants[0].gaps, &habits.sites[0].savings), (&vec![7.0], &vec![(1.0, 0.0)]));
    assert_eq!(next.contention(), 0.1);
    // Of others it knew nothing.
    assert_eq!(next.lengths.answers((ClientId(7), Endpoint::Completion)).collect::<Vec<_>>(), [(9, 64)]);
}

#[test]
fn with_another_profile_a_lanes_savings_are_forgotten() {
    let mut known = lived();
    known.set_profile(CPU, Profile::default());
    assert_eq!(known.habits().sites.len(), 1);
    known.set_profile(GPU, Profile::default());
    assert_eq!(known.habits().sites, []);
}

#[test]
fn names_that_last_lead_there_and_back_and_what_has_none_is_left_out() {
    let habits = lived().habits();
    let called = habits.clone().named(
        |client| Some(format!("user:{}", client.0)),
        |variant| Some(format!("model {}", variant.0)),
        |_| Some("gpu".to_owned()),
    );
    let back = called.clone().named(
        |name| name.strip_prefix("user:")?.parse().ok().map(ClientId),
        |name| name.strip_prefix("model ")?.parse().ok().map(VariantId),
        |name| (name == "gpu").then_some(GPU),
    );
    assert_eq!(back, habits);
    let none = called.named(|_| None::<u8>, |_| None::<u8>, |_| None::<u8>);
    assert_eq!((none.clients.len(), none.variants.len(), none.sites.len()), (0, 0, 0));
    assert_eq!((none.off, none.contention), (habits.off, habits.contention));
}

#[test]
fn newer_ones_go_before_older_ones_of_the_same_name() {
    let one = |variant, gap| VariantHabits { variant, gaps: vec![gap], crowd: None, moves: None };
    let of = |variants: Vec<VariantHabits<VariantId>>| Habits { variants, ..Habits::<ClientId>::default() };
    let older = Habits { contention: Some(0.3), ..of(vec![one(A, 1.0), one(B, 2.0)]) };
    let both = of(vec![one(A, 3.0), one(A, 4.0)]).over(older);
    assert_eq!((both.variants, both.contention), (vec![one(A, 3.0), one(B, 2.0)], Some(0.3)));
}

#[test]
fn what_is_kept_is_bounded() {
    let mut known = Known::default();
    for n in 0..3_000u32 {
        let (client, at) = (ClientId(n), Time(n.into()));
        known.lengths.learn(client, Endpoint::Chat, 5, 1_000);
        let arrival = Arrival { client, ..ask(n.into(), 100, 0) };
        known.reuse.came(&arrival, Plan::on(CPU), 120, |_| true, |_| false, at);
        let variant = VariantId(n % 1_000);
        known.traffic.entry(variant).or_default().gaps.learn(1.0);
        known.saves(Site::cpu(variant), Saving { now: 1.0, cells: 0.0, crowd: 1.0 }, 1.0, true);
    }
    let habits = known.habits();
    assert_eq!((habits.clients.len(), habits.variants.len(), habits.sites.len()), (CLIENTS, VARIANTS, SITES));
    assert_eq!(habits.clients[0].client, ClientId(2_999), "who asked last is the first");
    let all = Habits::default().over(habits.clone()).over(habits.clone());
    assert_eq!(all, habits);
}

fn figure() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), 0.0f64..2.0, -1e9f64..1e9, Just(f64::NAN), Just(f64::INFINITY), Just(0.0)]
}

fn habits() -> impl Strategy<Value = Habits> {
    let share = (figure(), figure(), figure(), figure()).prop_map(|(share, part, sure, grows)| Share {
        share,
        part,
        sure,
        grows,
    });
    let answers = prop::collection::vec((any::<u32>(), any::<u32>()), 0..40);
    let client = (any::<bool>(), answers, prop::option::of(share)).prop_map(|(chat, answers, share)| {
        let endpoint = if chat { Endpoint::Chat } else { Endpoint::Completion };
        ClientHabits { client: ONE, endpoint, answers, share }
    });
    let gaps = prop::collection::vec(figure(), 0..60);
    let pair = || (figure(), figure());
    let variant = (gaps, prop::option::of(pair()), prop::option::of(figure()))
        .prop_map(|(gaps, crowd, moves)| VariantHabits { variant: A, gaps, crowd, moves });
    let site = (any::<bool>(), prop::collection::vec(pair(), 0..30), prop::option::of(figure()))
        .prop_map(|(gpu, savings, crowd)| SiteHabits { site: if gpu { GPU } else { CPU }, savings, crowd });
    let many = |n| 0..n;
    (
        prop::collection::vec(client, many(4)),
        prop::collection::vec(variant, many(3)),
        prop::collection::vec(site, many(4)),
        figure(),
        prop::option::of(figure()),
    )
        .prop_map(|(clients, variants, sites, off, contention)| Habits {
            clients,
            variants,
            sites,
            off,
            contention,
        })
}

/// Prompts are cheap on the GPU, answers on the CPU; it takes joules to bring the GPU's lane up, and watts to keep it.
fn measured(device: DeviceId) -> Profile {
    let (prompt, answer) = if device.is_cpu() { (20, 100) } else { (1, 80) };
    let phase = |tokens: u32, ms: u64| PhaseMeasured {
        tokens,
        context: 100,
        batch: 1.0,
        time: Duration::from_millis(u64::from(tokens) * ms),
        energy: Microjoules(u64::from(tokens) * ms * 5_000),
    };
    let mut profile = Profile::default();
    for tokens in [50, 400, 100] {
        let (prefill, decode) = (phase(tokens, prompt), phase(tokens, answer));
        profile.learn(&Measured { threads: 4, prefill, decode, metered: true, ..Measured::default() });
    }
    profile.woke(Cost { seconds: 1.0, joules: 20.0 });
    profile.held(if device.is_cpu() { 0.0 } else { 1.0 });
    profile
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_file_says_every_answer_is_in_range(
        habits in habits(), prompt in any::<u32>(), bound in any::<u32>(), chat in any::<bool>(), limit in 0.0f64..1e6,
    ) {
        let mut known = Known::default();
        for site in [CPU, GPU] {
            known.set_profile(site, measured(site.device));
        }
        known.accustom(habits.clone(), Time::ZERO);
        let endpoint = if chat { Endpoint::Chat } else { Endpoint::Completion };
        let arrival = Arrival { endpoint, max_answer: bound, ..ask(1, prompt, 0) };
        let length = known.length(&arrival);
        prop_assert!((1.0..=f64::from(bound.max(1))).contains(&length.mean) && length.most >= length.mean, "{:?}", length);
        prop_assert!((0.0..=1.0).contains(&known.reuse.goes_on(&arrival).again));
        prop_assert_eq!(known.reuse.remains(&arrival).count(), 0);
        for site in [CPU, GPU] {
            let keep = known.keep(site, limit);
            let wake = known.load(site).joules;
            prop_assert!((0.0..=limit).contains(&keep.idle) && (0.0..=wake * 1.000_001).contains(&keep.wake), "{:?}", keep);
            prop_assert!(keep.hold >= 0.0 && keep.hold.is_finite() && (0.0..=1.0).contains(&keep.stays), "{:?}", keep);
            prop_assert!((0.0..=wake).contains(&known.rental(site)));
        }
        prop_assert!((0.0..=MOST_THERE).contains(&known.others(A, false)));
        prop_assert!((0.0..=1.0).contains(&known.overlaps(A)) && (0.0..=1.0).contains(&known.comes_within(A, limit)));
        prop_assert!((0.0..=2.0).contains(&known.contention()) && known.handover(A, prompt).is_finite());
        // What is checked can be written and read, and is checked then: the last digit may be another.
        let checked = habits.checked();
        prop_assert_eq!(&checked.clone().checked(), &checked);
        let read: Habits = serde_json::from_str(&serde_json::to_string(&checked).unwrap()).unwrap();
        prop_assert_eq!(&read.clone().checked(), &read);
        // And a request is planned by it.
        let mut sched = Sched::new(Limits { threads: 4, ..Limits::default() });
        for site in [CPU, GPU] {
            sched.handle(Event::Site { site, usable: true }, Time::ZERO);
            sched.handle(Event::Profile { site, profile: Box::new(measured(site.device)) }, Time::ZERO);
        }
        sched.handle(Event::Habits(Box::new(read)), Time::ZERO);
        let arrival = Arrival { prompt: prompt % 5_000, max_answer: bound % 5_000, ..arrival };
        let choice = sched.estimate(&arrival).unwrap();
        let (energy, time) = (choice.forecast.energy().as_f64(), choice.forecast.total());
        prop_assert!(energy > 0.0 && energy < 1e5 && time < Duration::from_secs(100_000), "{:?}", choice);
    }
}
