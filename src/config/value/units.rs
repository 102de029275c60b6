//! Values that are written with a unit or in a base of their own: sizes, durations, powers, energies, file modes.
//!
//! What always holds: a number whose unit could be meant otherwise is a fault, with a hint at what to write.

use std::fmt;

use toml::de::DeValue;
use toml::Spanned;

use super::{Fault, Value};
use crate::units::{Bytes, Microjoules, Microwatts, Span};

impl Value for Bytes {
    const KIND: &'static str = "a size";
    const EXAMPLE: &'static str = "\"512M\"";

    fn read(value: &Spanned<DeValue<'_>>, faults: &mut Vec<Fault>) -> Option<Self> {
        let read = match value.get_ref() {
            DeValue::String(s) => s.parse().ok(),
            DeValue::Integer(i) => u64::from_str_radix(i.as_str(), i.radix()).ok().map(Bytes),
            _ => None,
        };
        if read.is_none() {
            faults.push(Fault::wrong_type::<Self>(value));
        }
        read
    }

    fn write(&self) -> Option<String> {
        let Bytes(n) = *self;
        let unit =
            [("G", 1u64 << 30), ("M", 1 << 20), ("K", 1 << 10)].into_iter().find(|(_, size)| n > 0 && n % size == 0);
        Some(unit.map_or(n.to_string(), |(name, size)| format!("\"{}{name}\"", n / size)))
    }
}

impl Value for Span {
    const KIND: &'static str = "a duration";
    const EXAMPLE: &'static str = "\"30s\"";

    fn read(value: &Spanned<DeValue<'_>>, faults: &mut Vec<Fault>) -> Option<Self> {
        let (read, hint) = match value.get_ref() {
            DeValue::String(s) => (s.parse::<Span>().ok(), ""),
            DeValue::Integer(i) if i.as_str() == "0" => (Some(Span::default()), ""),
            DeValue::Integer(_) => (None, "add the unit, ms, s, m or h, and quotes"),
            _ => (None, ""),
        };
        let fault = match read {
            None => Fault::wrong_type::<Self>(value).hint(hint),
            // Milliseconds are what is written back and what timers keep.
            Some(span) if span.0.subsec_nanos() % 1_000_000 != 0 => Fault::new(value, "is finer than a millisecond"),
            Some(span) => return Some(span),
        };
        faults.push(fault);
        None
    }

    fn write(&self) -> Option<String> {
        Some(format!("\"{self}\""))
    }
}

macro_rules! millionths {
    ($type:ident, $kind:literal, $example:literal, $unit:literal) => {
        impl Value for $type {
            const KIND: &'static str = $kind;
            const EXAMPLE: &'static str = $example;

            fn read(value: &Spanned<DeValue<'_>>, faults: &mut Vec<Fault>) -> Option<Self> {
                let (read, hint) = match value.get_ref() {
                    DeValue::String(s) => (s.parse::<$type>().ok(), ""),
                    DeValue::Integer(i) if i.as_str() == "0" => (Some($type::ZERO), ""),
                    DeValue::Integer(_) | DeValue::Float(_) => {
                        (None, concat!("add the unit, such as ", $unit, ", and quotes"))
                    }
                    _ => (None, ""),
                };
                if read.is_none() {
                    faults.push(Fault::wrong_type::<Self>(value).hint(hint));
                }
                read
            }

            fn write(&self) -> Option<String> {
                let (whole, part) = (self.0 / 1_000_000, self.0 % 1_000_000);
                let part = if part == 0 { String::new() } else { format!(".{part:06}") };
                Some(format!(concat!("\"{}{}", $unit, "\""), whole, part.trim_end_matches('0')))
            }
        }
    };
}
millionths!(Microwatts, "a power", "\"3.5W\"", "W");
millionths!(Microjoules, "an amount of energy", "\"500J\"", "J");

/// Permission bits of a file, 0 to 0777.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode(pub u32);

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl Value for Mode {
    const KIND: &'static str = "a file mode";
    const EXAMPLE: &'static str = "\"0660\"";

    fn read(value: &Spanned<DeValue<'_>>, faults: &mut Vec<Fault>) -> Option<Self> {
        let digits = |s: &str| (3..=4).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_digit());
        let (read, hint) = match value.get_ref() {
            DeValue::String(s) if digits(s) => (u32::from_str_radix(s, 8).ok(), ""),
            DeValue::Integer(i) if i.radix() == 8 => (u32::from_str_radix(i.as_str(), 8).ok(), ""),
            // 660 without quotes would be 01224: surely not what was meant.
            DeValue::Integer(_) => (None, "put it in quotes, or begin it with 0o"),
            _ => (None, ""),
        };
        let read = read.filter(|mode| *mode <= 0o777).map(Mode);
        if read.is_none() {
            faults.push(Fault::wrong_type::<Self>(value).hint(hint));
        }
        read
    }

    fn write(&self) -> Option<String> {
        Some(format!("\"{self}\""))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;

    #[test]
    fn joules_and_watts_need_a_unit() {
        assert_eq!(read::<Microwatts>("0"), Ok(Microwatts::ZERO));
        assert_eq!(read::<Microwatts>("\"800mW\""), Ok(Microwatts(800_000)));
        assert_eq!(read::<Microjoules>("\"1.5Wh\""), Ok(Microjoules(5_400_000_000)));
        assert_eq!(
            read::<Microwatts>("15").unwrap_err(),
            "expected a power such as \"3.5W\", found the integer 15 (add the unit, such as W, and quotes)"
        );
        for bad in ["3.5", "\"3.5J\"", "\"-1W\"", "\"NaNW\"", "\"infW\"", "nan", "\"99999999999W\""] {
            assert!(read::<Microwatts>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(read::<Span>("0"), Ok(Span::default()));
        assert_eq!(
            read::<Span>("300").unwrap_err(),
            "expected a duration such as \"30s\", found the integer 300 (add the unit, ms, s, m or h, and quotes)"
        );
        assert!(read::<Span>("\"1.5ms\"").unwrap_err().contains("finer than a millisecond"));
        assert!(read::<Span>("\"soon\"").unwrap_err().contains("such as \"30s\", found the string \"soon\""));
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!(read::<Mode>("\"660\""), Ok(Mode(0o660)));
        assert_eq!(read::<Mode>("0o600"), Ok(Mode(0o600)));
        for bad in ["660", "\"0888\"", "\"rw\"", "0o1777", "\"1777\"", "\"+660\""] {
            assert!(read::<Mode>(bad).is_err(), "{bad}");
        }
    }
}
