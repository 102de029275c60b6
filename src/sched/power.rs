//! Which budgets hold: on mains, on battery, on a low battery; and what heat and an empty battery forbid.
//!
//! Rules, all of them on what [`Signals`] say:
//! - The table of the mains holds unless a battery supplies the device; that of the low battery from `low_percent`
//!   down, until the charge is [`PERCENT_BACK`] above it.
//! - Below the battery floor only interactive requests start, until the charge is [`PERCENT_BACK`] above it or the
//!   charger is back.
//! - From the thermal limit on only interactive requests start, until it is [`DEGREES_BACK`] cooler. At the limit and
//!   above the power cap (or, without one, what the device drew when it became hot) is lowered by a tenth every
//!   [`ADJUST`], to [`LEAST`] at least; [`DEGREES_BACK`] below it is raised in the same steps.
//!
//! A signal that is not there forbids nothing.

use std::time::Duration;

use super::Class;
use crate::clock::Time;
use crate::signals::Signals;
use crate::units::{Microjoules, Microwatts};

/// Points of charge that end a state which a lower charge began, so that a reading that flickers does not.
const PERCENT_BACK: f32 = 2.0;
/// The same for heat. A board cools by this in some seconds once it has less to do.
const DEGREES_BACK: f32 = 3.0;
/// Between two steps of the cap: a heat sink follows in tens of seconds, and a faster step would overshoot.
const ADJUST: Duration = Duration::from_secs(10);
/// The least that heat leaves of the cap, in thousandths: the device still answers, and the kernel's own limits are
/// there for worse.
const LEAST: u32 = 300;

/// What the device is asked to save.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Answers come as fast as the power cap lets them.
    #[default]
    MaxThroughput,
    /// The least energy times time.
    Balanced,
    /// The least energy for a token.
    MinEnergy,
}

impl Policy {
    /// As it is called on the wire and in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Policy::MaxThroughput => "max-throughput",
            Policy::Balanced => "balanced",
            Policy::MinEnergy => "min-energy",
        }
    }
}

/// The budgets of one kind of supply. `None`: no such limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Power {
    /// Average power over any 10 s.
    pub cap: Option<Microwatts>,
    /// Energy of all requests in an hour.
    pub joules_per_hour: Option<Microjoules>,
    /// Energy of all requests in a day.
    pub joules_per_day: Option<Microjoules>,
    /// Below this charge, in percent, only interactive requests start.
    pub battery_floor: Option<u32>,
    /// From this temperature on, in degrees Celsius, only interactive requests start and the cap is lowered.
    pub thermal_limit: Option<u32>,
    /// What to save.
    pub policy: Policy,
}

/// The budgets of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Budgets {
    /// Without a battery, or with a charger.
    pub mains: Power,
    /// While a battery supplies the device.
    pub battery: Power,
    /// The same from `low_percent` down.
    pub low_battery: Power,
    /// From this charge on, in percent, the battery is low; 0: never.
    pub low_percent: u32,
}

/// What supplies the device, as far as budgets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Supply {
    /// The mains, or what is not known.
    #[default]
    Mains,
    /// A battery.
    Battery,
    /// A battery that is low.
    LowBattery,
}

/// What keeps a class from starting until the signals change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    /// The battery is below its floor.
    Battery,
    /// The device is too hot.
    Heat,
}

/// The state of supply and heat.
#[derive(Debug, Default)]
pub(super) struct Supplies {
    budgets: Budgets,
    pub(super) signals: Signals,
    pub(super) supply: Supply,
    below_floor: bool,
    hot: bool,
    /// What heat leaves of the cap, in thousandths less than 1000.
    lowered: u32,
    adjusted: Time,
    draw: Option<Microwatts>,
    /// The draw when it became hot: what is lowered where there is no cap.
    hot_draw: Option<Microwatts>,
}

impl Supplies {
    pub(super) fn set(&mut self, budgets: Budgets, now: Time) {
        self.budgets = budgets;
        self.heard(self.signals, now);
    }

    /// The table that holds.
    pub(super) fn power(&self) -> &Power {
        match self.supply {
            Supply::Mains => &self.budgets.mains,
            Supply::Battery => &self.budgets.battery,
            Supply::LowBattery => &self.budgets.low_battery,
        }
    }

    pub(super) fn drew(&mut self, draw: Microwatts) {
        self.draw = Some(draw);
    }

    pub(super) fn heard(&mut self, signals: Signals, now: Time) {
        self.signals = signals;
        let charge = signals.battery_percent.filter(|_| signals.on_battery);
        // With hysteresis: a limit that holds is left later than it was reached.
        let below = |limit: u32, held: bool| {
            charge.is_some_and(|c| limit > 0 && c < limit as f32 + if held { PERCENT_BACK } else { 0.0 })
        };
        let was_low = self.supply == Supply::LowBattery;
        let low = self.budgets.low_percent;
        let at_low = charge.is_some_and(|c| low > 0 && c <= low as f32);
        self.supply = match signals.on_battery {
            false => Supply::Mains,
            true if at_low || (was_low && below(low, true)) => Supply::LowBattery,
            true => Supply::Battery,
        };
        let floor = self.power().battery_floor.unwrap_or(0);
        self.below_floor = below(floor, self.below_floor);
        self.heat(now);
    }

    fn heat(&mut self, now: Time) {
        let was_hot = self.hot;
        let reached = self.power().thermal_limit.zip(self.signals.temperature);
        self.hot = reached.is_some_and(|(limit, t)| t >= limit as f32 - if was_hot { DEGREES_BACK } else { 0.0 });
        if reached.is_none() {
            self.lowered = 0;
        }
        if self.hot && !was_hot {
            self.hot_draw = self.draw;
        }
        // Between the limit and where it counts as cool again the cap is left alone.
        let over = reached.is_some_and(|(limit, t)| t >= limit as f32);
        if over != self.hot || (!over && self.lowered == 0) {
            return;
        }
        let first = over && self.lowered == 0;
        if !first && self.adjusted + ADJUST > now {
            return;
        }
        self.adjusted = now;
        let left = 1000 - self.lowered;
        let left = if self.hot { (left * 9 / 10).max(LEAST) } else { (left * 10).div_ceil(9).min(1000) };
        self.lowered = 1000 - left;
    }

    pub(super) fn cap(&self) -> Option<Microwatts> {
        let cap = self.power().cap;
        if self.lowered == 0 {
            return cap;
        }
        cap.or(self.hot_draw).map(|cap| cap.share(f64::from(1000 - self.lowered) / 1000.0))
    }

    /// What keeps requests of this class from starting.
    pub(super) fn closed(&self, class: Class) -> Option<Closed> {
        match class {
            Class::Interactive => None,
            _ if self.below_floor => Some(Closed::Battery),
            _ if self.hot => Some(Closed::Heat),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    fn battery(percent: f32) -> Signals {
        Signals { on_battery: true, battery_percent: Some(percent), ..Signals::default() }
    }

    fn degrees(temperature: f32) -> Signals {
        Signals { temperature: Some(temperature), ..Signals::default() }
    }

    #[test]
    fn the_table_follows_the_supply_and_does_not_flicker() {
        let mut s = Supplies::default();
        s.set(Budgets { low_percent: 20, ..Budgets::default() }, at(0));
        let mut supply = |signals| {
            s.heard(signals, at(0));
            s.supply
        };
        assert_eq!(supply(battery(21.0)), Supply::Battery);
        assert_eq!(supply(battery(20.0)), Supply::LowBattery);
        assert_eq!(supply(battery(21.9)), Supply::LowBattery);
        assert_eq!(supply(battery(22.0)), Supply::Battery);
        assert_eq!(supply(battery(f32::NAN)), Supply::Battery);
        assert_eq!(supply(Signals { on_battery: false, ..battery(5.0) }), Supply::Mains);
        assert_eq!(supply(Signals { battery_percent: None, ..battery(0.0) }), Supply::Battery);
    }

    #[test]
    fn below_the_floor_only_interactive_requests_start_until_the_charger_is_back() {
        let mut s = Supplies::default();
        let power = Power { battery_floor: Some(15), ..Power::default() };
        s.set(Budgets { mains: power, battery: power, low_battery: power, low_percent: 0 }, at(0));
        let mut closed = |signals| {
            s.heard(signals, at(0));
            assert_eq!(s.closed(Class::Interactive), None);
            assert_eq!(s.closed(Class::Standard), s.closed(Class::Background));
            s.closed(Class::Background)
        };
        assert_eq!(closed(battery(15.0)), None);
        assert_eq!(closed(battery(14.9)), Some(Closed::Battery));
        assert_eq!(closed(battery(16.9)), Some(Closed::Battery));
        assert_eq!(closed(battery(17.0)), None);
        assert_eq!(closed(battery(3.0)), Some(Closed::Battery));
        assert_eq!(closed(Signals { on_battery: false, ..battery(3.0) }), None);
    }

    #[test]
    fn heat_lowers_the_cap_step_by_step_and_gives_it_back() {
        let mut s = Supplies::default();
        let power = Power { cap: Some(Microwatts(10_000_000)), thermal_limit: Some(80), ..Power::default() };
        s.set(Budgets { mains: power, ..Budgets::default() }, at(100));
        let mut cap = |temperature, t| {
            s.heard(degrees(temperature), at(t));
            (s.cap().unwrap().0, s.closed(Class::Standard))
        };
        assert_eq!(cap(79.9, 100), (10_000_000, None));
        assert_eq!(cap(80.0, 101), (9_000_000, Some(Closed::Heat)));
        assert_eq!(cap(81.0, 105), (9_000_000, Some(Closed::Heat)), "not before the next step is due");
        assert_eq!(cap(81.0, 111), (8_100_000, Some(Closed::Heat)));
        for t in 12..40 {
            cap(81.0, t * 10 + 1);
        }
        assert_eq!(cap(77.0, 401).0, 3_000_000, "it stays hot until it is three degrees cooler");
        let mut last = 3_000_000;
        for t in 0..12 {
            let (now, closed) = cap(76.9, 411 + t * 10);
            assert!(now > last || now == 10_000_000, "{now}");
            assert_eq!(closed, None);
            last = now;
        }
        assert_eq!(last, 10_000_000);
    }

    #[test]
    fn without_a_cap_heat_lowers_what_was_drawn() {
        let mut s = Supplies::default();
        let power = Power { thermal_limit: Some(80), ..Power::default() };
        s.set(Budgets { mains: power, ..Budgets::default() }, at(0));
        assert_eq!(s.cap(), None);
        s.drew(Microwatts(5_000_000));
        s.heard(degrees(90.0), at(0));
        assert_eq!(s.cap(), Some(Microwatts(4_500_000)));
        s.drew(Microwatts(4_500_000));
        s.heard(degrees(90.0), at(10));
        assert_eq!(s.cap(), Some(Microwatts(4_050_000)));
        s.heard(Signals::default(), at(20));
        assert_eq!(s.cap(), None, "a sensor that is gone forbids nothing");
    }
}
