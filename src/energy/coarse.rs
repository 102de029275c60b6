//! Energy as clients see it: rounded, because fine energy tells secrets.
//!
//! What a processor draws depends on the data it works on; from fine readings, keys and other users' work have been
//! recovered (CVE-2020-8694, "PLATYPUS"), and Linux therefore shows RAPL's counters to root alone. So what leaves the
//! daemon for others than administrators is a sum over a whole request (or a day of them), with three significant
//! digits and steps of a millijoule at least: enough to compare models and prompts, a thousand times coarser than what
//! such attacks average over.
//!
//! Pure. What always holds: at most three significant digits, never below a step of [`STEP`], monotonic, and rounding
//! again changes nothing.

use crate::units::Microjoules;

/// The smallest step: a millijoule.
pub const STEP: Microjoules = Microjoules(1000);

/// Significant digits that are left, as the power of ten above them.
const DIGITS: u64 = 1000;

/// Joules, rounded to three significant digits and to whole millijoules, whichever is coarser; halves go up.
pub fn coarse(energy: Microjoules) -> f64 {
    let mut step = STEP.0;
    // Above 18 EJ (u64's end) the step itself would not fit; long before that nobody counts.
    while energy.0 / step >= DIGITS && step <= u64::MAX / 10 {
        step *= 10;
    }
    let rounded = energy.0.saturating_add(step / 2) / step * step;
    // A division of whole numbers: the nearest float to the decimal, so that it is printed with as few digits.
    rounded as f64 / 1e6
}

/// Joules for each of so many, with three significant digits, from what [`coarse`] leaves: it tells no more than that.
/// 0 where there are none.
pub fn coarse_each(energy: Microjoules, of: u32) -> f64 {
    let each = coarse(energy) / f64::from(of);
    if of == 0 || each == 0.0 {
        return 0.0;
    }
    let scale = 10f64.powi(2 - each.log10().floor() as i32);
    (each * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn three_digits_and_whole_millijoules() {
        for (uj, joules) in [
            (0, "0.0"),
            (499, "0.0"),
            (500, "0.001"),
            (81_449, "0.081"),
            (999_499, "0.999"),
            (999_500, "1.0"),
            (1_234_567, "1.23"),
            (12_345_678, "12.3"),
            (12_350_000, "12.4"),
            (999_600_000, "1000.0"),
            (3_600_000_000_000, "3600000.0"),
        ] {
            assert_eq!(format!("{:?}", coarse(Microjoules(uj))), joules, "{uj} µJ");
        }
        assert!(coarse(Microjoules(u64::MAX)).is_finite());
    }

    #[test]
    fn shares_have_three_digits_however_small() {
        for (uj, of, joules) in
            [(12_345_678, 152, 0.0809), (1_000_000, 81_234, 0.0000123), (5, 3, 0.0), (5_000_000, 0, 0.0)]
        {
            assert_eq!(coarse_each(Microjoules(uj), of), joules, "{uj} µJ / {of}");
        }
    }

    proptest! {
        #[test]
        fn it_is_close_monotonic_and_stays_as_it_is(a in 0..1u64 << 50, b in 0..1u64 << 50) {
            let (low, high) = (a.min(b), a.max(b));
            let joules = coarse(Microjoules(low));
            prop_assert!(joules <= coarse(Microjoules(high)));
            prop_assert_eq!(coarse(Microjoules::from_f64(joules)), joules);
            let error = (joules - Microjoules(low).as_f64()).abs();
            prop_assert!(error <= 0.0005_f64.max(Microjoules(low).as_f64() * 0.0051), "{low} {joules}");
        }
    }
}
