//! The types a key may have: how each is read from TOML, named in a complaint, and written back.
//!
//! Reading never panics and never rounds (but joules and watts to whole millionths): a value that cannot be kept exactly
//! is a fault. What [`Value::write`]
//! writes, [`Value::read`] reads as the same value.
//!
//! Here stand TOML's own types, paths, and lists of anything; `units` has what is written with a unit, `words` what is one of
//! several words.

mod units;
mod words;

use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;

use toml::de::DeValue;
use toml::Spanned;

pub use units::Mode;

use super::problem::quote;

/// What is wrong with a value, and where in the file's text.
#[derive(Debug)]
pub struct Fault {
    pub(super) span: Range<usize>,
    pub(super) message: String,
    pub(super) hint: String,
}

impl Fault {
    fn new(value: &Spanned<DeValue<'_>>, message: impl Into<String>) -> Fault {
        Fault { span: value.span(), message: message.into(), hint: String::new() }
    }

    fn wrong_type<T: Value>(value: &Spanned<DeValue<'_>>) -> Fault {
        let such_as = if T::EXAMPLE.is_empty() { String::new() } else { format!(" such as {}", T::EXAMPLE) };
        Fault::new(value, format!("expected {}{such_as}, found {}", T::KIND, found(value.get_ref())))
    }

    pub(super) fn out_of_range<T: Value>(value: &Spanned<DeValue<'_>>, range: &RangeInclusive<T>) -> Fault {
        Fault::new(value, format!("must be {}, found {}", range_text(range), found(value.get_ref())))
    }

    fn hint(mut self, hint: impl Into<String>) -> Fault {
        self.hint = hint.into();
        self
    }
}

/// A type that a key may have.
pub trait Value: Sized {
    /// What complaints and the reference call it.
    const KIND: &'static str;
    /// What a list of it is called.
    const LIST: &'static str = "a list";
    /// One as TOML; empty where [`Value::KIND`] already says what to write.
    const EXAMPLE: &'static str;
    /// A list of them as TOML.
    const LIST_EXAMPLE: &'static str = "[]";

    /// Reads it, or adds what is wrong to `faults`.
    fn read(value: &Spanned<DeValue<'_>>, faults: &mut Vec<Fault>) -> Option<Self>;

    /// Itself as TOML; `None` where it is not set.
    fn write(&self) -> Option<String>;
}

/// `1 to 64`.
pub(super) fn range_text<T: Value>(range: &RangeInclusive<T>) -> String {
    let end = |v: &T| v.write().unwrap_or_default();
    format!("{} to {}", end(range.start()), end(range.end()))
}

/// A value as a complaint shows it, shortened and without control characters.
pub(super) fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(s) => format!("the string \"{}\"", quote(s)),
        DeValue::Integer(i) => format!("the integer {}", quote(&i.to_string())),
        DeValue::Float(f) => format!("the number {}", quote(f.as_str())),
        DeValue::Boolean(b) => b.to_string(),
        DeValue::Datetime(_) => "a date".into(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

fn toml_string(s: &str) -> String {
    let mut out = String::from("\"");
    for c in s.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

impl Value for bool {
    const KIND: &'static str = "true or false";
    const EXAMPLE: &'static str = "";

    fn read(value: &Spanned<DeValue<'_>>, faults: &mut Vec<Fault>) -> Option<Self> {
        value.get_ref().as_bool().or_else(|| {
            let fault = Fault::wrong_type::<Self>(value);
            let quoted = matches!(value.get_ref().as_str(), Some("true" | "false"));
            faults.push(if quoted { fault.hint("remove the quotes") } else { fault });
            None
        })
    }

    fn write(&self) -> Option<String> {
        Some(self.to_string())
    }
}

macro_rules! integer {
    ($type:ty) => {
        impl Value for $type {
            const KIND: &'static str = "an integer";
            const LIST: &'static str = "a list of integers";
            const EXAMPLE: &'static str = "4";
            const LIST_EXAMPLE: &'static str = "[0, 1]";

            fn read(value: &Spanned<DeValue<'_>>, faults: &mut Vec<Fault>) -> Option<Self> {
                let Some(integer) = value.get_ref().as_integer() else {
                    let fault = Fault::wrong_type::<Self>(value);
                    let quoted = value.get_ref().as_str().is_some_and(|s| s.parse::<$type>().is_ok());
                    faults.push(if quoted { fault.hint("remove the quotes") } else { fault });
                    return None;
                };
                // Fails only where the number does not fit, for TOML's grammar has been checked.
                let parsed = <$type>::from_str_radix(integer.as_str(), integer.radix()).ok();
                if parsed.is_none() {
                    faults.push(Fault::out_of_range(value, &(<$type>::MIN..=<$type>::MAX)));
                }
                parsed
            }

            fn write(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    };
}
integer!(u32);
integer!(i32);

impl Value for f64 {
    const KIND: &'static str = "a number";
    const LIST: &'static str = "a list of numbers";
    const EXAMPLE: &'static str = "1.5";
    const LIST_EXAMPLE: &'static str = "[0.5, 1.0]";

    fn read(value: &Spanned<DeValue<'_>>, faults: &mut Vec<Fault>) -> Option<Self> {
        let (read, hint) = match value.get_ref() {
            DeValue::Float(f) => (f.as_str().parse::<f64>().ok(), ""),
            DeValue::Integer(i) if i.radix() == 10 => (i.as_str().parse::<f64>().ok(), ""),
            DeValue::String(s) if s.parse::<f64>().is_ok_and(f64::is_finite) => (None, "remove the quotes"),
            _ => (None, ""),
        };
        // TOML knows nan and inf; a range would let the first through in some comparisons and say nothing of either.
        let read = read.filter(|f| f.is_finite());
        if read.is_none() {
            faults.push(Fault::wrong_type::<Self>(value).hint(hint));
        }
        read
    }

    fn write(&self) -> Option<String> {
        // The shortest text that is read as the same number; always with a point or an exponent.
        Some(format!("{self:?}"))
    }
}

impl Value for String {
    const KIND: &'static str = "a string";
    const LIST: &'static str = "a list of strings";
    const EXAMPLE: &'static str = "\"assistant\"";
    const LIST_EXAMPLE: &'static str = "[\"assistant\"]";

    fn read(value: &Spanned<DeValue<'_>>, faults: &mut Vec<Fault>) -> Option<Self> {
        match value.get_ref().as_str() {
            Some(s) if s.contains(char::is_control) => {
                faults.push(Fault::new(value, format!("holds a control character: \"{}\"", quote(s))));
                None
            }
            Some(s) => Some(s.to_owned()),
            None => {
                faults.push(Fault::wrong_type::<Self>(value));
                None
            }
        }
    }

    fn write(&self) -> Option<String> {
        Some(toml_string(self))
    }
}

impl Value for PathBuf {
    const KIND: &'static str = "an absolute path";
    const LIST: &'static str = "a list of absolute paths";
    const EXAMPLE: &'static str = "\"/var/lib/wattlm\"";
    const LIST_EXAMPLE: &'static str = "[\"/var/lib/wattlm/models\"]";

    fn read(value: &Spanned<DeValue<'_>>, faults: &mut Vec<Fault>) -> Option<Self> {
        let fault = match value.get_ref().as_str() {
            None => Fault::wrong_type::<Self>(value),
            Some(s) if s.contains(char::is_control) => {
                Fault::new(value, format!("holds a control character: \"{}\"", quote(s)))
            }
            Some(s) if s.starts_with('/') => return Some(s.into()),
            // What the daemon finds must not depend on where it was started.
            Some(s) if s.starts_with(['~', '$']) => {
                Fault::wrong_type::<Self>(value).hint(format!("'{}' is not expanded: write it out", quote(s)))
            }
            Some(_) => Fault::wrong_type::<Self>(value).hint("begin it with '/'"),
        };
        faults.push(fault);
        None
    }

    fn write(&self) -> Option<String> {
        Some(toml_string(&self.to_string_lossy()))
    }
}

impl<T: Value> Value for Vec<T> {
    const KIND: &'static str = T::LIST;
    const EXAMPLE: &'static str = T::LIST_EXAMPLE;

    fn read(value: &Spanned<DeValue<'_>>, faults: &mut Vec<Fault>) -> Option<Self> {
        let Some(list) = value.get_ref().as_array() else {
            let fault = Fault::wrong_type::<Self>(value);
            let single = T::read(value, &mut Vec::new()).is_some();
            faults.push(if single { fault.hint("put it in [ ]") } else { fault });
            return None;
        };
        let items: Vec<T> = list.iter().filter_map(|item| T::read(item, faults)).collect();
        (items.len() == list.len()).then_some(items)
    }

    fn write(&self) -> Option<String> {
        let items: Vec<String> = self.iter().filter_map(T::write).collect();
        Some(format!("[{}]", items.join(", ")))
    }
}

impl<T: Value> Value for Option<T> {
    const KIND: &'static str = T::KIND;
    const EXAMPLE: &'static str = T::EXAMPLE;

    fn read(value: &Spanned<DeValue<'_>>, faults: &mut Vec<Fault>) -> Option<Self> {
        T::read(value, faults).map(Some)
    }

    fn write(&self) -> Option<String> {
        self.as_ref().and_then(T::write)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use log::LevelFilter;

    use super::*;
    use crate::lane::KvType;
    use crate::sched::{Class, Policy};
    use crate::units::{Bytes, Microjoules, Microwatts, Span};

    pub(super) fn read<T: Value>(toml: &str) -> Result<T, String> {
        let value = DeValue::parse(toml).map_err(|e| e.message().to_owned())?;
        let mut faults = Vec::new();
        T::read(&value, &mut faults).ok_or_else(|| {
            assert!(!faults.is_empty());
            faults.iter().map(|f| format!("{} ({})", f.message, f.hint)).collect()
        })
    }

    fn stays<T: Value + PartialEq + fmt::Debug>(value: T) {
        assert_eq!(read::<T>(&value.write().unwrap()), Ok(value));
    }

    #[test]
    fn what_is_written_is_read_back() {
        for n in [0, 1, 1023, 1024, 3 << 19, 5 << 30, (1 << 53) - 1] {
            stays(Bytes(n));
        }
        for s in ["0", "1ms", "1500ms", "90s", "2h"] {
            stays(s.parse::<Span>().unwrap());
        }
        for mode in [0, 0o660, 0o777] {
            stays(Mode(mode));
        }
        for s in ["", "a\"b\\c", "späť"] {
            stays(s.to_owned());
        }
        for kv_type in [KvType::F16, KvType::Q8_0, KvType::Q4_0] {
            stays(kv_type);
        }
        for class in [Class::Interactive, Class::Standard, Class::Background] {
            stays(class);
        }
        for policy in [Policy::MaxThroughput, Policy::Balanced, Policy::MinEnergy] {
            stays(policy);
        }
        for level in [LevelFilter::Off, LevelFilter::Trace] {
            stays(level);
        }
        for n in [0.0, 1.0, -0.1, 1.1451, 1e-7, 1e21, 0.1 + 0.2] {
            stays(n);
        }
        for n in [0, 1, 20_000, 3_500_000, 12_000_000, 1_234_567_890_123] {
            stays(Microwatts(n));
            stays(Microjoules(n));
        }
        stays(PathBuf::from("/a b/\"c\""));
        stays(vec![1u32, 2]);
        stays(-1000i32);
    }

    #[test]
    fn integers() {
        assert_eq!(read::<u32>("0x1F"), Ok(31));
        assert_eq!(read::<u32>("+1_000"), Ok(1000));
        assert!(read::<u32>("-1").unwrap_err().contains("must be 0 to 4294967295, found the integer -1"));
        assert!(read::<u32>("99999999999999999999999").unwrap_err().contains("must be 0 to"));
        assert_eq!(
            read::<u32>("\"4\"").unwrap_err(),
            "expected an integer such as 4, found the string \"4\" (remove the quotes)"
        );
        assert_eq!(read::<u32>("4.0").unwrap_err(), "expected an integer such as 4, found the number 4.0 ()");
    }

    #[test]
    fn numbers_are_numbers() {
        assert_eq!(read::<f64>("3"), Ok(3.0));
        assert_eq!(read::<f64>("-1_0.5e-1"), Ok(-1.05));
        for bad in ["nan", "-nan", "inf", "-inf", "\"nan\"", "0x10", "true", "1e999"] {
            assert!(read::<f64>(bad).is_err(), "{bad}");
        }
        assert_eq!(
            read::<f64>("\"1.2\"").unwrap_err(),
            "expected a number such as 1.5, found the string \"1.2\" (remove the quotes)"
        );
    }

    #[test]
    fn paths_are_absolute() {
        assert!(read::<PathBuf>("\"models\"").unwrap_err().contains("begin it with '/'"));
        assert!(read::<PathBuf>("\"~/models\"").unwrap_err().contains("not expanded"));
        assert!(read::<PathBuf>("\"/a\\u0000b\"").unwrap_err().contains("control character"));
        assert!(read::<PathBuf>("\"\"").is_err());
    }

    #[test]
    fn lists_name_each_bad_element() {
        assert_eq!(read::<Vec<u32>>("[1, \"x\", true]").unwrap_err().matches("expected an integer").count(), 2);
        assert!(read::<Vec<u32>>("3").unwrap_err().contains("such as [0, 1], found the integer 3 (put it in [ ])"));
    }

    #[test]
    fn what_was_found_is_short_and_printable() {
        let long = format!("\"{}\\u001b[31m\"", "x".repeat(10_000));
        let complaint = read::<bool>(&long).unwrap_err();
        assert!(complaint.len() < 200 && !complaint.contains('\u{1b}'), "{complaint}");
    }
}
