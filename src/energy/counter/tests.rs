//! One sensor, value by value, on virtual time.

use proptest::prelude::*;

use super::*;
use crate::energy::sources::Role;
use crate::energy::Scope;
use crate::units::Microwatts;

const MS: u64 = 1_000_000;
const RANGE: u64 = 262_143_328_850;

fn spec(kind: Kind, limit_w: u64) -> Spec {
    Spec {
        name: "t".into(),
        what: "test",
        scope: Scope::Package,
        role: Role::Processor,
        kind,
        contains: Vec::new(),
        refresh: Duration::from_millis(1),
        limit: Microwatts(limit_w * 1_000_000),
        averages: false,
        restless: matches!(kind, Kind::Counter { .. }),
        path: "/t".into(),
    }
}

fn counter() -> Tracker {
    Tracker::new(&spec(Kind::Counter { range: Some(RANGE) }, 200))
}

fn power() -> Tracker {
    Tracker::new(&spec(Kind::Power, 200))
}

fn at(ms: u64) -> Moment {
    Moment { at: Time(ms * MS), asleep: Duration::ZERO }
}

fn idle() -> Duration {
    Duration::ZERO
}

#[test]
fn a_counter_is_told_by_differences() {
    let mut t = counter();
    assert_eq!(t.next(5_000, at(0), idle), Ok(None));
    assert_eq!(t.next(1_005_000, at(100), idle), Ok(Some(Microjoules(1_000_000))));
    assert_eq!(t.next(1_005_000, at(100), idle), Ok(Some(Microjoules(0))));
}

#[test]
fn a_wrap_loses_nothing() {
    let mut t = counter();
    t.next(RANGE - 400_000, at(0), idle).unwrap();
    assert_eq!(t.next(599_999, at(100), idle), Ok(Some(Microjoules(1_000_000))));
}

#[test]
fn a_step_back_that_would_be_too_much_power_is_a_reset() {
    let mut t = counter();
    t.next(RANGE / 2, at(0), idle).unwrap();
    assert_eq!(t.next(10, at(100), idle), Err(Fault::WentBack));
    assert_eq!(t.bridge(20, at(200)), None);
    assert_eq!(t.next(1_000_020, at(300), idle), Ok(Some(Microjoules(1_000_000))));
    let mut wide = Tracker::new(&spec(Kind::Counter { range: None }, 200));
    wide.next(100, at(0), idle).unwrap();
    assert_eq!(wide.next(99, at(100), idle), Err(Fault::WentBack));
}

#[test]
fn jumps_and_powers_that_cannot_be_are_garbage() {
    let mut t = counter();
    t.next(0, at(0), idle).unwrap();
    // 200 W for 100 ms, a refresh and the slack are 30.2 J.
    assert_eq!(t.next(30_000_000, at(100), idle), Ok(Some(Microjoules(30_000_000))));
    let fault = t.next(90_000_000, at(200), idle).unwrap_err();
    assert_eq!(fault.to_string(), "shows a jump of 60 J, 600 W");
    assert!(matches!(t.next(RANGE + 1, at(300), idle), Err(Fault::Garbage(_))));
    let fault = power().next(201_000_000, at(0), idle).unwrap_err();
    assert_eq!(fault.to_string(), "shows 201 W, more than it can carry");
}

#[test]
fn what_a_slow_sensor_held_back_is_no_jump() {
    let mut t = Tracker::new(&Spec { refresh: Duration::from_secs(1), ..spec(Kind::Counter { range: None }, 20) });
    t.next(0, at(0), idle).unwrap();
    for ms in 1..100 {
        t.next(0, at(ms * 10), idle).unwrap();
    }
    assert_eq!(t.next(19_000_000, at(1000), idle), Ok(Some(Microjoules(19_000_000))));
}

#[test]
fn power_is_integrated_by_trapezoids_to_the_last_microjoule() {
    let mut t = power();
    t.next(1_000_000, at(0), idle).unwrap();
    // Up to the middle of the refresh in which it changed.
    assert_eq!(t.next(3_000_000, at(500), idle), Ok(Some(Microjoules(999_000))));
    assert_eq!(t.fresh(), Time(499_500_000));
    let mut t = power();
    t.next(1, at(0), idle).unwrap();
    let sum: u64 = (1..=10_001).map(|n| t.next(1, at(n), idle).unwrap().unwrap().0).sum();
    assert_eq!(sum, 10);
}

#[test]
fn a_counter_that_never_rests_is_frozen_after_three_seconds() {
    let mut t = counter();
    t.next(7, at(0), idle).unwrap();
    for n in 1..=30 {
        assert_eq!(t.next(7, at(n * 100), idle), Ok(Some(Microjoules(0))));
    }
    assert!(matches!(t.next(7, at(3100), idle), Err(Fault::Frozen(_))));
    // It had counted on behind its frozen face.
    assert_eq!(t.bridge(20_000_007, at(5000)), Some(Microjoules(20_000_000)));
}

#[test]
fn steady_power_is_frozen_only_while_the_device_works() {
    let mut t = power();
    t.next(5_000_000, at(0), idle).unwrap();
    for n in 1..1200 {
        t.next(5_000_000, at(n * 100), idle).unwrap();
    }
    let mut t = power();
    t.next(5_000_000, at(0), idle).unwrap();
    let faults = (1..400).find_map(|n| t.next(5_000_000, at(n * 100), || Duration::from_millis(n * 50)).err());
    assert_eq!(faults, Some(Fault::Frozen(Duration::from_millis(30_100))));
}

#[test]
fn sleep_is_told_and_not_counted() {
    let mut t = counter();
    t.next(0, at(0), idle).unwrap();
    let awake = Moment { at: Time(100 * MS), asleep: Duration::from_secs(3600) };
    assert_eq!(t.next(1_000_000, awake, idle), Err(Fault::Slept));
}

#[test]
fn power_that_nobody_watched_is_not_guessed() {
    let mut t = power();
    t.next(5_000_000, at(0), idle).unwrap();
    assert_eq!(t.next(5_000_000, at(60_001), idle).unwrap(), Some(Microjoules(300_000_000)));
    assert_eq!(t.next(5_000_000, at(151_000), idle), Err(Fault::Unwatched));
    assert_eq!(t.bridge(5_000_000, at(151_100)), None);
}

#[test]
fn means_are_integrated_as_what_they_are() {
    // 2 W until 1030 ms, then 10 W; shown as means of 100 ms, read every 7 ms.
    let mut t = Tracker::new(&Spec { averages: true, refresh: Duration::from_millis(100), ..spec(Kind::Power, 200) });
    let truth = |ms: u64| ms * 2_000 + ms.saturating_sub(1030) * 8_000;
    let mut told = 0;
    for n in 0..500 {
        let now = n * 7;
        let shown = now / 100 * 100;
        // Noise, so that each refresh shows.
        let mean = if shown == 0 { 2_000_000 } else { (truth(shown) - truth(shown - 100)) * 10 + shown % 700 };
        told += t.next(mean, at(now), idle).unwrap().map_or(0, |uj| uj.0);
        let want = truth(t.fresh().0 / MS);
        assert!(told.abs_diff(want) <= 100_000, "{now}: {told} {want}");
    }
    assert!(told.abs_diff(truth(3400)) < 80_000, "{told}");
}

#[test]
fn a_counter_left_alone_is_read_up_to_where_it_may_have_gone_round() {
    let patience = counter().patience().unwrap();
    assert_eq!(patience.as_secs(), 1310);
    let mut t = counter();
    t.next(0, at(0), idle).unwrap();
    assert_eq!(t.next(5_000_000_000, at(1_300_000), idle), Ok(Some(Microjoules(5_000_000_000))));
    assert_eq!(t.next(6_000_000_000, at(2_700_000), idle), Err(Fault::Unwatched));
    assert_eq!(t.bridge(6_000_000_000, at(2_700_100)), None);
}

#[test]
fn an_outage_is_bridged_where_the_counter_went_on() {
    let mut t = counter();
    t.next(RANGE - 10, at(0), idle).unwrap();
    // Through a wrap, too.
    assert_eq!(t.bridge(49_999_989, at(10_000)), Some(Microjoules(50_000_000)));
    // Too much for that time, or less than before: another counter.
    assert_eq!(t.bridge(50_000_000_000, at(11_000)), None);
    assert_eq!(t.bridge(10, at(12_000)), None);
}

#[test]
fn the_refresh_interval_is_measured_as_the_value_changes() {
    let mut t = Tracker::new(&Spec { refresh: Duration::from_secs(1), ..spec(Kind::Counter { range: None }, 200) });
    for ms in 0..1000 {
        t.next(ms / 20 * 100_000, at(ms), idle).unwrap();
    }
    assert_eq!(t.refresh().measured(), Some(Duration::from_millis(20)));
    // Looking seldom makes it no longer.
    for n in 10..20 {
        t.next(n * 1_000_000_000, at(n * 10_000), idle).unwrap();
    }
    assert_eq!(t.refresh().get(), Duration::from_millis(20));
}

#[test]
fn freshness_is_between_the_refresh_and_the_reading() {
    let mut t = Tracker::new(&Spec { refresh: Duration::from_millis(40), ..spec(Kind::Counter { range: None }, 200) });
    t.next(0, at(0), idle).unwrap();
    t.next(10, at(100), idle).unwrap();
    assert_eq!(t.fresh(), Time(80 * MS));
    // Nothing new: as old as it was.
    t.next(10, at(110), idle).unwrap();
    assert_eq!(t.fresh(), Time(80 * MS));
    t.next(20, at(120), idle).unwrap();
    assert_eq!(t.fresh(), Time(115 * MS));
}

proptest! {
    /// Any counter that wraps, read at any times: what is told is what was counted.
    #[test]
    fn sums_are_exact(steps in prop::collection::vec((1u64..400, 0u64..20_000_000), 1..200), first in 0..RANGE) {
        let mut t = counter();
        let (mut now, mut count) = (0, u128::from(first));
        t.next(first, at(0), idle).unwrap();
        let mut told = 0u128;
        for (ms, uw) in steps {
            now += ms;
            count += u128::from(uw.max(1000) * ms / 1000);
            let raw = (count % (u128::from(RANGE) + 1)) as u64;
            told += u128::from(t.next(raw, at(now), idle).unwrap().unwrap().0);
        }
        prop_assert_eq!(told, count - u128::from(first));
    }

    /// Whatever a broken sensor shows, in whatever order: no panic, and no more than its limit.
    #[test]
    fn nothing_more_than_the_limit_is_ever_told(
        values in prop::collection::vec((any::<u64>(), 0u64..5000, 0u64..100), 1..100),
        integrate in any::<bool>(),
    ) {
        let mut t = if integrate { power() } else { counter() };
        let (mut now, mut slept, mut out) = (0, 0, false);
        for (raw, ms, sleep) in values {
            (now, slept) = (now + ms, slept + sleep);
            let moment = Moment { at: Time(now * MS), asleep: Duration::from_millis(slept) };
            if out {
                t.bridge(raw, moment);
                out = false;
            } else {
                match t.next(raw, moment, idle) {
                    Ok(Some(uj)) => prop_assert!(uj.0 <= 200 * (now * 1000 + 120_000)),
                    Ok(None) => {}
                    Err(_) => out = true,
                }
            }
            prop_assert!(t.fresh() <= moment.at);
        }
    }
}
