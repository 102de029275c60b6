//! Quantities that people write in configuration files and read in tables: bytes, durations, joules and watts.
//!
//! Parsing is strict (a number and a unit), printing is for people. Joules and watts are whole microjoules and
//! microwatts: they cannot be NaN, sums of them are exact, and what would overflow stays at the largest value.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};
use std::str::FromStr;
use std::time::Duration;

use serde::{de, Deserialize, Deserializer, Serialize, Serializer};

/// A number of bytes, written `512M`, `1.5G`, `4096` or `2GiB`; K, M and G are powers of 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        for (name, size) in UNITS {
            if self.0 >= size {
                return write!(f, "{:.1} {name}", self.0 as f64 / size as f64);
            }
        }
        write!(f, "{} B", self.0)
    }
}

impl FromStr for Bytes {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let bad = || format!("'{s}' is not a size: write a number and K, M or G, such as \"512M\"");
        let t = s.trim();
        let digits = t.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(t.len());
        let value: f64 = t[..digits].parse().map_err(|_| bad())?;
        let factor = match t[digits..].trim() {
            "" | "B" => 1u64,
            "K" | "KiB" | "k" => 1 << 10,
            "M" | "MiB" => 1 << 20,
            "G" | "GiB" => 1 << 30,
            _ => return Err(bad()),
        };
        let bytes = value * factor as f64;
        // 2^53: beyond it a float no longer counts single bytes.
        if !(0.0..=9.0e15).contains(&bytes) {
            return Err(bad());
        }
        Ok(Bytes(bytes as u64))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl de::Visitor<'_> for V {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"512M\" or a number of bytes")
            }
            fn visit_i64<E: de::Error>(self, v: i64) -> Result<Bytes, E> {
                u64::try_from(v).map(Bytes).map_err(|_| E::custom("a size cannot be negative"))
            }
            fn visit_u64<E: de::Error>(self, v: u64) -> Result<Bytes, E> {
                Ok(Bytes(v))
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<Bytes, E> {
                v.parse().map_err(E::custom)
            }
        }
        d.deserialize_any(V)
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(self.0)
    }
}

/// A duration written `250ms`, `30s`, `5m`, `2h`, or `0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        match ms {
            0 => f.write_str("0"),
            _ if ms.is_multiple_of(3_600_000) => write!(f, "{}h", ms / 3_600_000),
            _ if ms.is_multiple_of(60_000) => write!(f, "{}m", ms / 60_000),
            _ if ms.is_multiple_of(1000) => write!(f, "{}s", ms / 1000),
            _ => write!(f, "{ms}ms"),
        }
    }
}

impl FromStr for Span {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let bad = || format!("'{s}' is not a duration: write a number and ms, s, m or h, such as \"30s\"");
        let t = s.trim();
        let digits = t.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(t.len());
        let value: f64 = t[..digits].parse().map_err(|_| bad())?;
        let unit = match t[digits..].trim() {
            "ms" => 0.001,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "" if value == 0.0 => 1.0,
            _ => return Err(bad()),
        };
        // A hundred years: everything longer is a typing error.
        let seconds = value * unit;
        if !(0.0..=3.2e9).contains(&seconds) {
            return Err(bad());
        }
        Ok(Span(Duration::from_secs_f64(seconds)))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// An amount of energy, in microjoules. Written `500J`, `2.5kJ`, `20mJ` or `1.5Wh`; 0 needs no unit. On the wire, a
/// number of joules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(into = "f64", from = "f64")]
pub struct Microjoules(pub u64);

/// An amount of power, in microwatts. Written `3.5W`, `800mW` or `1.2kW`; 0 needs no unit. On the wire, a number of
/// watts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(into = "f64", from = "f64")]
pub struct Microwatts(pub u64);

/// Millionths, from a number of whole units; what cannot be is 0 (NaN, negative) or the largest value.
fn millionths(value: f64) -> u64 {
    // `as` saturates, and makes 0 of NaN.
    (value * 1e6).round() as u64
}

macro_rules! millionths {
    ($type:ident, $unit:literal, $kind:literal, $example:literal, [$(($suffix:literal, $factor:literal)),+]) => {
        impl $type {
            /// None.
            pub const ZERO: $type = $type(0);

            /// From whole units; what is negative or no number is 0.
            pub fn from_f64(units: f64) -> $type {
                $type(millionths(units))
            }

            /// In whole units.
            pub fn as_f64(self) -> f64 {
                self.0 as f64 / 1e6
            }

            /// The difference; 0 where `other` is larger.
            pub fn saturating_sub(self, other: $type) -> $type {
                $type(self.0.saturating_sub(other.0))
            }

            /// This share of it; `share` is clamped to 0..=1.
            pub fn share(self, share: f64) -> $type {
                // NaN becomes 0 in the cast, and no share is more than the whole.
                $type(((self.0 as f64 * share.clamp(0.0, 1.0)).round() as u64).min(self.0))
            }
        }

        impl From<$type> for f64 {
            fn from(v: $type) -> f64 {
                v.as_f64()
            }
        }

        impl From<f64> for $type {
            fn from(v: f64) -> $type {
                $type::from_f64(v)
            }
        }

        impl Add for $type {
            type Output = $type;
            fn add(self, other: $type) -> $type {
                $type(self.0.saturating_add(other.0))
            }
        }

        impl AddAssign for $type {
            fn add_assign(&mut self, other: $type) {
                *self = *self + other;
            }
        }

        impl Sum for $type {
            fn sum<I: Iterator<Item = $type>>(all: I) -> $type {
                all.fold($type::ZERO, Add::add)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let v = self.as_f64();
                match v {
                    _ if self.0 == 0 => write!(f, concat!("0 ", $unit)),
                    _ if v < 1.0 => write!(f, concat!("{:.1} m", $unit), v * 1e3),
                    _ if v < 10.0 => write!(f, concat!("{:.2} ", $unit), v),
                    _ if v < 1e4 => write!(f, concat!("{:.1} ", $unit), v),
                    _ => write!(f, concat!("{:.1} k", $unit), v / 1e3),
                }
            }
        }

        impl FromStr for $type {
            type Err = String;
            fn from_str(s: &str) -> Result<Self, String> {
                let bad = || format!(concat!("'{}' is not ", $kind, ": write a number and a unit, such as \"", $example, "\""), s);
                let t = s.trim();
                let digits = t.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(t.len());
                let value: f64 = t[..digits].parse().map_err(|_| bad())?;
                let factor = match t[digits..].trim() {
                    $($suffix => $factor,)+
                    "" if value == 0.0 => 1.0,
                    _ => return Err(bad()),
                };
                let units = value * factor;
                // 2^53 millionths: beyond it a float no longer counts single ones.
                if !(0.0..=9.0e9).contains(&units) {
                    return Err(bad());
                }
                Ok($type::from_f64(units))
            }
        }
    };
}

millionths!(
    Microjoules,
    "J",
    "an amount of energy",
    "500J",
    [("J", 1.0), ("mJ", 1e-3), ("kJ", 1e3), ("Wh", 3600.0), ("kWh", 3.6e6)]
);
millionths!(Microwatts, "W", "an amount of power", "3.5W", [("W", 1.0), ("mW", 1e-3), ("kW", 1e3)]);

impl Microwatts {
    /// The energy in this time.
    pub fn during(self, time: Duration) -> Microjoules {
        let product = u128::from(self.0) * time.as_nanos() / 1_000_000_000;
        Microjoules(u64::try_from(product).unwrap_or(u64::MAX))
    }
}

impl Microjoules {
    /// The mean power over this time; 0 where it is no time.
    pub fn over(self, time: Duration) -> Microwatts {
        let power = (u128::from(self.0) * 1_000_000_000).checked_div(time.as_nanos()).unwrap_or(0);
        Microwatts(u64::try_from(power).unwrap_or(u64::MAX))
    }
}

impl Sub<Microjoules> for Microjoules {
    type Output = Microjoules;
    /// As [`Microjoules::saturating_sub`].
    fn sub(self, other: Microjoules) -> Microjoules {
        self.saturating_sub(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_parse_and_print() {
        assert_eq!("512M".parse(), Ok(Bytes(512 << 20)));
        assert_eq!("1.5G".parse(), Ok(Bytes(3 << 29)));
        assert_eq!("4096".parse(), Ok(Bytes(4096)));
        assert_eq!(Bytes(3 << 29).to_string(), "1.5 GiB");
        for bad in ["", "M", "-1", "1X", "1e99G", "NaN", "99999999999999999999"] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad}");
        }
    }

    #[test]
    fn spans_parse_and_print() {
        for s in ["250ms", "30s", "5m", "2h", "0"] {
            assert_eq!(s.parse::<Span>().map(|v| v.to_string()), Ok(s.to_string()));
        }
        for bad in ["", "s", "5", "-1s", "inf s", "1e300h", "5 parsecs"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }

    #[test]
    fn joules_and_watts_parse_print_and_never_overflow() {
        assert_eq!("500J".parse(), Ok(Microjoules(500_000_000)));
        assert_eq!("1.5 Wh".parse(), Ok(Microjoules(5_400_000_000)));
        assert_eq!("20mJ".parse(), Ok(Microjoules(20_000)));
        assert_eq!("3.5W".parse(), Ok(Microwatts(3_500_000)));
        assert_eq!("0".parse(), Ok(Microwatts(0)));
        for bad in ["", "5", "J", "-1J", "NaNJ", "1e99kJ", "3 V"] {
            assert!(bad.parse::<Microjoules>().is_err(), "{bad}");
        }
        assert_eq!(Microjoules::from_f64(f64::NAN), Microjoules::ZERO);
        assert_eq!(Microjoules::from_f64(-1.0), Microjoules::ZERO);
        assert_eq!(Microjoules(u64::MAX) + Microjoules(1), Microjoules(u64::MAX));
        assert_eq!(Microjoules(7).share(f64::NAN), Microjoules(0));
        assert_eq!(Microjoules(u64::MAX).share(1.0), Microjoules(u64::MAX));
        assert_eq!(Microwatts(2_000_000).during(Duration::from_millis(1500)), Microjoules(3_000_000));
        assert_eq!(Microjoules(3_000_000).over(Duration::from_millis(1500)), Microwatts(2_000_000));
        assert_eq!(Microjoules(3).over(Duration::ZERO), Microwatts(0));
        assert_eq!(
            [0, 1_500, 2_500_000, 12_345_678, 56_700_000_000].map(|n| Microjoules(n).to_string()),
            ["0 J", "1.5 mJ", "2.50 J", "12.3 J", "56.7 kJ"]
        );
        assert_eq!(serde_json::to_string(&Microjoules(1_500_000)).unwrap(), "1.5");
    }
}
