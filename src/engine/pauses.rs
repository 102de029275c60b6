//! When the lane pauses between steps, and for how long, to compute in only a part of the time.
//!
//! Computing runs up a debt of time; it is paid with one pause once that is worth it, so that a small model does not
//! sleep a thousand times a second. A pause that a message cuts short goes on after it, and what a sleep took too long
//! is credited. Pure: time comes from outside.

use std::time::Duration;

/// Shorter pauses are put off: going to sleep and waking cost some tens of microseconds, and the CPU's sleep states
/// are only worth it after a millisecond or so.
const LEAST: f64 = 0.005;
/// Computing that may be credited for pauses that took too long, in seconds: a process that was stopped for a minute
/// must not compute at full power for the next.
const CREDIT: f64 = 0.02;

/// See the module.
pub struct Pauses {
    /// In thousandths.
    duty: u32,
    /// Seconds of computing that no pause was made for.
    unpaid: f64,
    pausing: bool,
}

impl Pauses {
    /// None at all.
    pub fn new() -> Pauses {
        Pauses { duty: 1000, unpaid: 0.0, pausing: false }
    }

    /// Computes in so many thousandths of the time from now on, 1 to 1000. What is left of a pause becomes longer or
    /// shorter with it.
    pub fn set(&mut self, duty: u32) {
        self.duty = duty.clamp(1, 1000);
    }

    /// Whether there are any.
    pub fn any(&self) -> bool {
        self.duty < 1000
    }

    /// It computed for so long.
    pub fn worked(&mut self, time: Duration) {
        if self.any() {
            self.unpaid += time.as_secs_f64();
        } else {
            self.unpaid = 0.0;
        }
    }

    /// It did not compute for so long.
    pub fn rested(&mut self, time: Duration) {
        if self.any() {
            self.unpaid = (self.unpaid - time.as_secs_f64() / self.price()).max(-CREDIT);
        }
    }

    /// Seconds of pause for a second of computing.
    fn price(&self) -> f64 {
        f64::from(1000 - self.duty) / f64::from(self.duty)
    }

    /// How long it has to pause before the next step; `None`: not now.
    pub fn due(&mut self) -> Option<Duration> {
        let pause = self.unpaid * self.price();
        self.pausing = pause >= if self.pausing { 1e-4 } else { LEAST };
        // A day at most: `Duration` cannot hold everything a float can.
        self.pausing.then(|| Duration::from_secs_f64(pause.min(86_400.0)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(n: f64) -> Duration {
        Duration::from_secs_f64(n / 1000.0)
    }

    #[test]
    fn without_a_pace_it_never_pauses() {
        let mut pauses = Pauses::new();
        pauses.worked(ms(1e6));
        assert_eq!(pauses.due(), None);
        // Nor for what it did before.
        pauses.set(500);
        assert_eq!(pauses.due(), None);
    }

    #[test]
    fn short_steps_pause_together_and_long_ones_each_time() {
        let mut pauses = Pauses::new();
        pauses.set(500);
        for _ in 0..4 {
            pauses.worked(ms(1.0));
            assert_eq!(pauses.due(), None);
        }
        pauses.worked(ms(2.0));
        assert_eq!(pauses.due(), Some(ms(6.0)));
        pauses.rested(ms(6.0));
        assert_eq!(pauses.due(), None);
        pauses.set(200);
        pauses.worked(ms(250.0));
        assert_eq!(pauses.due(), Some(ms(1000.0)));
    }

    #[test]
    fn a_pause_goes_on_after_a_message_and_follows_a_new_pace() {
        let mut pauses = Pauses::new();
        pauses.set(100);
        pauses.worked(ms(10.0));
        assert_eq!(pauses.due(), Some(ms(90.0)));
        pauses.rested(ms(45.0));
        assert_eq!(pauses.due(), Some(ms(45.0)));
        pauses.set(500);
        // Half of the computing is unpaid: less than would begin a pause, and yet it goes on.
        pauses.rested(ms(2.0));
        assert_eq!(pauses.due(), Some(ms(3.0)));
        pauses.set(1000);
        assert_eq!(pauses.due(), None);
    }

    #[test]
    fn a_stopped_process_does_not_make_up_for_it() {
        let mut pauses = Pauses::new();
        pauses.set(500);
        pauses.rested(ms(60_000.0));
        pauses.worked(ms(26.0));
        assert_eq!(pauses.due(), Some(ms(6.0)));
    }

    proptest! {
        #[test]
        fn the_share_of_computing_is_the_duty(
            duty in 1u32..1000, steps in prop::collection::vec((0.1f64..50.0, 0.0f64..1.0), 100..300),
        ) {
            let mut pauses = Pauses::new();
            pauses.set(duty);
            let (mut worked, mut rested) = (0.0, 0.0);
            for (step, late) in steps {
                pauses.worked(ms(step));
                worked += step;
                while let Some(pause) = pauses.due() {
                    let slept = pause.as_secs_f64().min(0.25) * 1000.0 + late;
                    pauses.rested(ms(slept));
                    rested += slept;
                }
            }
            let share = worked / (worked + rested) * 1000.0;
            // The last steps' debt, and credits, are open.
            prop_assert!((share / f64::from(duty) - 1.0).abs() < 0.15, "{share} for {duty}");
        }
    }
}
