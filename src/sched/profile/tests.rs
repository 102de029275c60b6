//! Tests of profiles.

use proptest::prelude::*;

use super::*;

/// A lane as it truly is.
struct Lane {
    prompt: f64,
    base: f64,
    each: f64,
    watts: f64,
}

const LANE: Lane = Lane { prompt: 0.004, base: 0.08, each: 0.02, watts: 5.0 };

impl Lane {
    fn step(&self, batch: f64, context: f64) -> f64 {
        self.base + batch * (self.each + 1e-5 * context)
    }

    fn prompt(&self, n: f64) -> f64 {
        0.02 + self.prompt * n + 1e-7 * n * n
    }

    /// What a request took there, `wrong` times as much as it should.
    fn run(&self, prompt: u32, answer: u32, batch: f32, wrong: f64) -> Measured {
        let context = prompt + answer / 2;
        let prefill = self.prompt(f64::from(prompt)) * wrong;
        let decode = f64::from(answer) * self.step(f64::from(batch), f64::from(context)) * wrong;
        let phase = |tokens, context, batch: f32, seconds: f64| PhaseMeasured {
            tokens,
            context,
            batch,
            time: Duration::from_secs_f64(seconds),
            energy: Microjoules::from_f64(seconds * self.watts / f64::from(batch)),
        };
        Measured {
            threads: 4,
            prompt_threads: 0,
            prefill: phase(prompt, prompt / 2, 1.0, prefill),
            decode: phase(answer, context, batch, decode),
            metered: true,
            ended: true,
        }
    }
}

fn wobble(i: u32) -> f64 {
    1.0 + 0.04 * f64::from(i.wrapping_mul(2_654_435_761) >> 16 & 0xff) / 255.0 - 0.02
}

fn learnt(lane: &Lane) -> Profile {
    let mut profile = Profile::default();
    for i in 0..40 {
        let run = lane.run(20 + i * 37 % 900, 10 + i * 13 % 200, 1.0 + (i % 3) as f32, wobble(i));
        assert!(profile.learn(&run) < News::Change, "{i}");
    }
    profile
}

#[track_caller]
fn near(found: f64, truth: f64, share: f64) {
    assert!((found / truth - 1.0).abs() < share, "{found} is not {truth}");
}

#[test]
fn nothing_is_known_before_something_was_measured() {
    let mut profile = Profile::default();
    assert_eq!(
        (profile.prefill(4, 10, 0), profile.step(4, 1.0, 0.0), profile.load(), profile.hold()),
        Default::default()
    );
    assert_eq!((profile.is_measured(), profile.confidence()), (false, (0, 0)));
    assert_eq!(profile.learn(&Measured::default()), News::Nothing);
    assert_eq!(profile.learn(&LANE.run(100, 50, 1.0, 1.0)), News::First);
    assert_eq!((profile.is_measured(), profile.confidence()), (true, (1, 1)));
    near(profile.prefill(4, 100, 0).unwrap().seconds, LANE.prompt(100.0), 0.02);
    near(profile.step(4, 1.0, 125.0).unwrap().times(50.0).joules, 50.0 * LANE.step(1.0, 125.0) * LANE.watts, 0.02);
    assert_eq!(profile.prefill(4, 0, 100), Some(Cost::default()), "all of it was cached");
}

#[test]
fn curves_are_found_from_what_requests_took() {
    let profile = learnt(&LANE);
    for n in [30, 300, 900] {
        let cost = profile.prefill(4, n, 0).unwrap();
        near(cost.seconds, LANE.prompt(f64::from(n)), 0.06);
        near(cost.joules, LANE.prompt(f64::from(n)) * LANE.watts, 0.06);
    }
    for batch in [1.0, 2.0, 3.0] {
        let cost = profile.step(4, batch, 300.0).unwrap();
        near(cost.seconds, LANE.step(batch, 300.0), 0.06);
        near(cost.joules, LANE.step(batch, 300.0) * LANE.watts, 0.06);
    }
    // A cached prefix costs only by its cells.
    let behind = profile.prefill(4, 50, 800).unwrap().joules;
    assert!(behind > profile.prefill(4, 50, 0).unwrap().joules && behind < profile.prefill(4, 300, 0).unwrap().joules);
}

#[test]
fn another_draw_is_noticed_within_three_requests_and_a_single_wild_one_is_not_believed() {
    let mut profile = learnt(&LANE);
    let before = profile.step(4, 1.0, 200.0).unwrap().joules;
    profile.learn(&LANE.run(100, 100, 1.0, 8.0));
    near(profile.step(4, 1.0, 200.0).unwrap().joules, before, 0.1);
    for i in 0..5 {
        profile.learn(&LANE.run(100, 100, 1.0, wobble(i)));
    }
    let dear = Lane { watts: 12.0, ..LANE };
    let news: Vec<News> = (0..3).map(|i| profile.learn(&dear.run(100, 100, 1.0, wobble(i)))).collect();
    assert!(news.contains(&News::Change), "{news:?}");
    near(profile.step(4, 1.0, 200.0).unwrap().joules, dear.step(1.0, 200.0) * 12.0, 0.1);
    near(profile.step(4, 1.0, 200.0).unwrap().seconds, dear.step(1.0, 200.0), 0.06);
}

/// A driver compiles what it needs at the first prompt of a kind, for seconds; the prompts themselves take a millisecond.
#[test]
fn what_a_driver_compiled_at_first_is_soon_forgotten() {
    let gpu = |n: f64| 1e-3 + 1e-5 * n;
    // Of what takes milliseconds the sensor's refreshes tell anything.
    let run = |tokens: u32, batch: f32, more: f64, blurred: f64| {
        let phase = |tokens: u32, batch: f32, seconds: f64| PhaseMeasured {
            tokens,
            context: tokens / 2,
            batch,
            time: Duration::from_secs_f64(seconds),
            energy: Microjoules::from_f64(20.0 * seconds * blurred / f64::from(batch)),
        };
        Measured {
            threads: 1,
            prefill: phase(tokens, 1.0, gpu(f64::from(tokens)) * wobble(tokens) + more),
            decode: phase(20, batch, 20.0 * 3e-4 + more),
            metered: true,
            ended: true,
            ..Measured::default()
        }
    };
    let mut profile = Profile::default();
    for (tokens, compiles) in [(16, 4.4), (64, 1.8), (256, 0.9)] {
        profile.learn(&run(tokens, 1.0, compiles, 1.0));
    }
    for i in 0..24 {
        profile.learn(&run([16, 64, 128, 256][i % 4], 1.0, 0.0, 1.0));
    }
    for (i, blurred) in [0.1, 0.2, 5.0, 8.0, 0.3, 3.0].into_iter().cycle().enumerate().take(48) {
        profile.learn(&run(16, [2.0, 4.0][i % 2], if i < 2 { 0.6 } else { 0.0 }, blurred));
    }
    for tokens in [16, 256] {
        let (found, truth) = (profile.prefill(1, tokens, 0).unwrap(), gpu(f64::from(tokens)));
        assert!((0.5..2.0).contains(&(found.seconds / truth)), "{tokens}: {found:?}, truly {truth} s");
        assert!((0.4..2.5).contains(&(found.joules / (20.0 * truth))), "{tokens}: {found:?}, truly {} J", 20.0 * truth);
    }
    let found = profile.step(1, 1.0, 20.0).unwrap();
    assert!((0.5..2.0).contains(&(found.seconds / 3e-4)), "{found:?}");
}

#[test]
fn numbers_of_threads_are_kept_apart_and_bounded() {
    let mut profile = Profile::default();
    for threads in 1..100 {
        let lane = Lane { watts: f64::from(threads), ..LANE };
        profile.learn(&Measured { threads, ..lane.run(100, 50, 1.0, 1.0) });
    }
    assert_eq!(profile.curves.len(), THREADS);
    assert_eq!(profile.usual_threads(), Some(99));
    near(profile.step(97, 1.0, 125.0).unwrap().joules, 97.0 * LANE.step(1.0, 125.0), 0.02);
    near(profile.step(1, 1.0, 125.0).unwrap().joules, 92.0 * LANE.step(1.0, 125.0), 0.02);
}

#[test]
fn a_lane_never_measured_is_thought_like_another_and_not_trusted() {
    let profile = learnt(&LANE);
    let prior = profile.prior(Cost { seconds: 0.25, joules: 0.5 }, Cost { seconds: 1.0, joules: 2.0 });
    near(prior.prefill(4, 300, 0).unwrap().seconds * 4.0, profile.prefill(4, 300, 0).unwrap().seconds, 1e-6);
    near(prior.step(4, 1.0, 100.0).unwrap().joules, 2.0 * profile.step(4, 1.0, 100.0).unwrap().joules, 1e-6);
    assert_eq!(prior.confidence(), (0, 0));
    let (prefill, decode) = prior.doubt((4, 4), 300, 0, 300.0);
    assert!(prefill > 0.25 && decode > 0.25);
    let (prefill, decode) = profile.doubt((4, 4), 300, 0, 300.0);
    assert!(prefill < 0.05 && decode < 0.05, "{prefill} {decode}");
    assert_eq!(Profile::default().doubt((4, 4), 1, 0, 1.0), (1.0, 1.0));
}

#[test]
fn loading_and_holding_approach_what_is_measured() {
    let mut profile = Profile::default();
    profile.woke(Cost { seconds: 2.0, joules: 10.0 });
    profile.woke(Cost { seconds: f64::NAN, joules: 10.0 });
    profile.woke(Cost { seconds: 4.0, joules: 20.0 });
    assert_eq!(profile.load().map(|c| (c.seconds > 2.0 && c.seconds < 3.0, c.joules > 10.0)), Some((true, true)));
    profile.held(f64::INFINITY);
    profile.held(-1.0);
    assert_eq!(profile.hold(), None);
    profile.held(1.5);
    assert_eq!(profile.hold(), Some(1.5));
}

#[test]
fn it_is_written_and_read_and_rubbish_is_known() {
    let profile = learnt(&LANE);
    let text = serde_json::to_string(&profile).unwrap();
    assert!(text.len() < 8_000, "{}", text.len());
    let back: Profile = serde_json::from_str(&text).unwrap();
    assert!(back.is_sane());
    near(back.step(4, 2.0, 300.0).unwrap().joules, profile.step(4, 2.0, 300.0).unwrap().joules, 1e-9);
    let mut bad = profile.clone();
    bad.hold = Some(f64::NAN);
    assert!(!bad.is_sane());
    bad = profile;
    bad.load = Some(Cost { seconds: -1.0, joules: 0.0 });
    assert!(!bad.is_sane());
}

/// The numbers in a JSON value, in their order.
fn numbers(value: &mut serde_json::Value) -> Vec<&mut serde_json::Value> {
    match value {
        serde_json::Value::Array(all) => all.iter_mut().flat_map(numbers).collect(),
        serde_json::Value::Object(all) => all.values_mut().flat_map(numbers).collect(),
        number if number.is_number() => vec![number],
        _ => Vec::new(),
    }
}

/// Numbers that a file may hold.
const EXTREME: [&str; 14] = [
    "0",
    "1",
    "-1",
    "2",
    "255",
    "4294967295",
    "4294967294",
    "18446744073709551615",
    "1e-300",
    "1e12",
    "1e19",
    "1e39",
    "1e300",
    "-1e300",
];

/// Asks it everything and teaches it for a while.
fn exercise(mut profile: Profile) {
    let usable = |profile: &Profile| {
        for (n, c) in [(1, 0), (1000, 1000), (u32::MAX, u32::MAX)] {
            let costs = [profile.prefill(4, n, c), profile.step(4, 2.0, f64::from(c)), profile.load()];
            for cost in costs.into_iter().flatten() {
                assert!(cost.seconds.is_finite() && cost.joules.is_finite(), "{cost:?} {profile:?}");
                assert!(cost.seconds >= 0.0 && cost.joules >= 0.0, "{cost:?} {profile:?}");
            }
            let (a, b) = profile.doubt((1, 4), n, c, f64::from(c));
            assert!((0.0..=1.0).contains(&a) && (0.0..=1.0).contains(&b), "{a} {b}");
        }
        for policy in [Policy::MinEnergy, Policy::Balanced, Policy::MaxThroughput] {
            profile.prompt_threads(policy);
            profile.answer_threads(policy, 2.0);
        }
        profile.confidence();
    };
    usable(&profile);
    usable(&profile.prior(Cost { seconds: 0.25, joules: 0.5 }, Cost { seconds: 1e300, joules: 1e-300 }));
    for i in 0..12 {
        profile.learn(&LANE.run(100 + i, 50, 1.0 + (i % 3) as f32, if i % 4 == 3 { 50.0 } else { wobble(i) }));
        usable(&profile);
    }
    profile.suspect();
    profile.woke(Cost { seconds: 1.0, joules: 2.0 });
    profile.held(1.0);
    usable(&profile);
}

#[test]
fn a_profile_whose_counts_are_at_their_end_is_refused_or_goes_on() {
    let whole = serde_json::to_value(learnt(&LANE)).unwrap();
    for key in ["count", "streak", "gross", "off", "seen", "used"] {
        for extreme in EXTREME {
            let (text, name) = (whole.to_string(), format!("\"{key}\":"));
            let mut parts = text.split(&name);
            let mut changed = parts.next().unwrap().to_owned();
            for part in parts {
                let rest = &part[part.find([',', '}']).unwrap()..];
                changed += &format!("{name}{extreme}{rest}");
            }
            if let Ok(profile) = serde_json::from_str::<Profile>(&changed) {
                if profile.is_sane() {
                    exercise(profile);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_file_says_it_is_refused_or_usable(
        wrong in prop::collection::vec((any::<prop::sample::Index>(), 0..EXTREME.len()), 1..6),
    ) {
        let mut whole = serde_json::to_value(learnt(&LANE)).unwrap();
        for (at, extreme) in wrong {
            let mut all = numbers(&mut whole);
            let at = at.index(all.len());
            *all[at] = serde_json::from_str(EXTREME[extreme]).unwrap();
        }
        if let Ok(profile) = serde_json::from_value::<Profile>(whole) {
            if profile.is_sane() {
                exercise(profile);
            }
        }
    }

    #[test]
    fn whatever_is_measured_every_answer_is_finite(all in prop::collection::vec(
        (any::<u32>(), any::<u32>(), any::<f32>(), any::<u64>(), any::<u64>(), 0u32..3), 0..60,
    )) {
        let mut profile = Profile::default();
        for (tokens, context, batch, time, energy, threads) in all {
            let phase = PhaseMeasured { tokens, context, batch, time: Duration::from_nanos(time), energy: Microjoules(energy) };
            profile.learn(&Measured { threads, prefill: phase, decode: phase, metered: tokens % 2 == 0, ..Measured::default() });
            prop_assert!(profile.is_sane());
            for (n, c) in [(1, 0), (1000, 1000), (u32::MAX, u32::MAX)] {
                for cost in [profile.prefill(1, n, c), profile.step(1, f64::from(n), f64::from(c))].into_iter().flatten() {
                    prop_assert!(cost.seconds.is_finite() && cost.joules.is_finite() && cost.seconds >= 0.0 && cost.joules >= 0.0);
                }
            }
        }
    }
}

#[test]
fn threads_are_tried_from_the_most_down_and_not_all_of_many() {
    assert_eq!((thread_ladder(1), thread_ladder(6)), (vec![1], vec![6, 5, 4, 3, 2, 1]));
    assert_eq!(thread_ladder(16), [16, 12, 8, 4, 2, 1]);
    // All of them are kept apart.
    assert!((1..200).all(|most| thread_ladder(most).len() <= THREADS));
}
