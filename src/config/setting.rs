//! [`Setting`]: what a row of the table of settings says, how rows of the usual kinds are written, and the parsing of single values.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::Config;

/// One setting.
pub struct Setting {
    /// "cache_bytes_max".
    pub key: &'static str,
    /// One sentence for people.
    pub doc: &'static str,
    /// Its present value as it would be written; empty where it is not to be shown.
    pub get: fn(&Config) -> String,
    /// Reads a value.
    pub set: fn(&mut Config, &str) -> Result<(), String>,
    /// The default in words, where it depends on the machine.
    pub default_text: Option<&'static str>,
}

impl Setting {
    /// "--cache-bytes-max".
    pub fn flag(&self) -> String {
        format!("--{}", self.key.replace('_', "-"))
    }

    /// "PROGIMAGE_CACHE_BYTES_MAX".
    pub fn variable(&self) -> String {
        format!("PROGIMAGE_{}", self.key.to_uppercase())
    }

    /// Whether it is on or off, as it is in `any` configuration.
    pub fn is_switch(&self, any: &Config) -> bool {
        matches!((self.get)(any).as_str(), "true" | "false")
    }
}

macro_rules! in_words {
    () => {
        None
    };
    ($text:literal) => {
        Some($text)
    };
}

/// A row whose value is a number within bounds, or a switch.
macro_rules! number {
    ($key:literal, $doc:literal, $bounds:expr, $($field:ident).+ $(, $default:literal)?) => {
        Setting {
            key: $key,
            doc: $doc,
            get: |config| config.$($field).+.to_string(),
            set: |config, text| bounded(text, $bounds).map(|value| config.$($field).+ = value),
            default_text: in_words!($($default)?),
        }
    };
}

macro_rules! switch {
    ($key:literal, $doc:literal, $($field:ident).+) => {
        Setting {
            key: $key,
            doc: $doc,
            get: |config| config.$($field).+.to_string(),
            set: |config, text| read(text, "true or false").map(|value| config.$($field).+ = value),
            default_text: None,
        }
    };
}

pub(super) use {in_words, number, switch};

/// Values separated by commas; none is none.
pub fn listed<T: FromStr<Err: Display>>(text: &str) -> Result<Vec<T>, String> {
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    words.map(|word| word.parse().map_err(|error| format!("{word:?}: {error}"))).collect()
}

pub fn joined<T: Display>(values: &[T]) -> String {
    values.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}

pub fn read<T: FromStr>(text: &str, allowed: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?}; allowed: {allowed}"))
}

pub fn bounded<T: FromStr + PartialOrd + Display>(text: &str, bounds: RangeInclusive<T>) -> Result<T, String> {
    let digits = text.replace('_', "");
    let value = digits.parse().ok().filter(|value| bounds.contains(value));
    value.ok_or_else(|| format!("{text:?}; allowed: {} to {}", bounds.start(), bounds.end()))
}
