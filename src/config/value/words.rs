//! Values that are one of several words: classes, policies, types of the cache, levels of the log.
//!
//! What always holds: what is none of them is a fault that names them all.

use log::LevelFilter;
use toml::de::DeValue;
use toml::Spanned;

use super::{Fault, Value};
use crate::lane::KvType;
use crate::sched::{Class, Policy};

impl Value for KvType {
    const KIND: &'static str = "\"f16\", \"q8_0\" or \"q4_0\"";
    const EXAMPLE: &'static str = "";

    fn read(value: &Spanned<DeValue<'_>>, faults: &mut Vec<Fault>) -> Option<Self> {
        match value.get_ref().as_str() {
            Some("f16") => Some(KvType::F16),
            Some("q8_0") => Some(KvType::Q8_0),
            Some("q4_0") => Some(KvType::Q4_0),
            _ => {
                faults.push(Fault::wrong_type::<Self>(value));
                None
            }
        }
    }

    fn write(&self) -> Option<String> {
        let name = match self {
            KvType::F16 => "f16",
            KvType::Q8_0 => "q8_0",
            KvType::Q4_0 => "q4_0",
        };
        Some(format!("\"{name}\""))
    }
}

/// A type whose values are words.
macro_rules! words {
    ($type:ty, $kind:literal, [$(($value:path, $word:literal)),+]) => {
        impl Value for $type {
            const KIND: &'static str = $kind;
            const EXAMPLE: &'static str = "";

            fn read(value: &Spanned<DeValue<'_>>, faults: &mut Vec<Fault>) -> Option<Self> {
                match value.get_ref().as_str() {
                    $(Some($word) => Some($value),)+
                    _ => {
                        faults.push(Fault::wrong_type::<Self>(value));
                        None
                    }
                }
            }

            fn write(&self) -> Option<String> {
                let word = match self {
                    $($value => $word,)+
                };
                Some(format!("\"{word}\""))
            }
        }
    };
}
words!(
    Class,
    "\"interactive\", \"standard\" or \"background\"",
    [(Class::Interactive, "interactive"), (Class::Standard, "standard"), (Class::Background, "background")]
);
words!(
    Policy,
    "\"max-throughput\", \"balanced\" or \"min-energy\"",
    [(Policy::MaxThroughput, "max-throughput"), (Policy::Balanced, "balanced"), (Policy::MinEnergy, "min-energy")]
);

impl Value for LevelFilter {
    const KIND: &'static str = "\"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\"";
    const EXAMPLE: &'static str = "";

    fn read(value: &Spanned<DeValue<'_>>, faults: &mut Vec<Fault>) -> Option<Self> {
        let read = value.get_ref().as_str().and_then(|s| s.parse().ok());
        if read.is_none() {
            faults.push(Fault::wrong_type::<Self>(value));
        }
        read
    }

    fn write(&self) -> Option<String> {
        Some(format!("\"{}\"", self.as_str().to_ascii_lowercase()))
    }
}
