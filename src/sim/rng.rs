//! Random numbers that are the same everywhere: splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
//! generators", 2014). Not for secrets.

/// A stream of numbers.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The stream of this seed.
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// A stream of its own for what this name stands for, so that one more draw there moves nothing elsewhere.
    pub fn apart(&self, name: u64) -> Rng {
        let mut rng = Rng(self.0 ^ name.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        rng.next();
        rng
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 up to, not including, 1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Evenly from `low` to `high`.
    pub fn even(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// From `low` to `high`, both above 0, each doubling as likely as any other.
    pub fn log(&mut self, low: f64, high: f64) -> f64 {
        self.even(low.ln(), high.ln()).exp()
    }

    /// True in this share of draws.
    pub fn chance(&mut self, share: f64) -> bool {
        self.unit() < share
    }

    /// Around 0, with a standard deviation of 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.unit(), self.unit());
        (-2.0 * u.ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos()
    }

    /// Times between events of a Poisson process with this mean.
    pub fn gap(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// A length around this median, longer ones rarer: the logarithm is normal with this deviation.
    pub fn length(&mut self, median: f64, spread: f64) -> u32 {
        // `as` saturates.
        ((median * (spread * self.normal()).exp()).round() as u32).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_repeatable_and_as_wide_as_said() {
        let draw = |seed| {
            let mut rng = Rng::new(seed).apart(7);
            (0..1000).map(|_| rng.normal()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let all = draw(3);
        let mean = all.iter().sum::<f64>() / 1000.0;
        let variance = all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 1000.0;
        assert!(mean.abs() < 0.1 && (variance - 1.0).abs() < 0.15, "{mean} {variance}");
        let mut rng = Rng::new(4);
        assert!((0..1000).all(|_| (2.0..8.0).contains(&rng.log(2.0, 8.0))));
        let gaps = (0..4000).map(|_| rng.gap(3.0)).sum::<f64>() / 4000.0;
        assert!((gaps - 3.0).abs() < 0.2, "{gaps}");
    }
}
