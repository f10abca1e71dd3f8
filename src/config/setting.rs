//! [`Setting`]: a row of the table of settings, macros for rows of the usual kinds, and parsers of single values.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::Config;

/// One setting.
pub struct Setting {
    /// The key in TOML, such as "cache_bytes_max".
    pub key: &'static str,
    /// A phrase that says what the setting bounds or chooses, then further sentences if it needs them.
    pub doc: &'static str,
    /// Writes the present value; empty: it is not shown, or there is none.
    pub get: fn(&Config) -> String,
    /// Parses and stores a value.
    pub set: fn(&mut Config, &str) -> Result<(), String>,
    /// The default in words, if it depends on the machine.
    pub default_text: Option<&'static str>,
}

impl Setting {
    /// The first phrase of `doc`, for a list of flags.
    pub fn summary(&self) -> &'static str {
        self.doc.split(". ").next().unwrap_or_default().trim_end_matches('.')
    }

    /// The default value, or words for it; empty: there is none.
    pub fn default(&self, defaults: &Config) -> String {
        self.default_text.map_or_else(|| (self.get)(defaults), str::to_owned)
    }

    /// The flag, such as "--cache-bytes-max".
    pub fn flag(&self) -> String {
        format!("--{}", self.key.replace('_', "-"))
    }

    /// The environment variable, such as "PROGIMAGE_CACHE_BYTES_MAX".
    pub fn variable(&self) -> String {
        format!("PROGIMAGE_{}", self.key.to_uppercase())
    }

    /// Whether the setting is on or off, as it is in every configuration, such as `any`.
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

/// Makes a row whose value is a number within bounds.
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

/// Makes a row whose value is true or false.
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

/// Parses values separated by commas. An empty text is an empty list.
pub fn listed<T: FromStr<Err: Display>>(text: &str) -> Result<Vec<T>, String> {
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    words.map(|word| word.parse().map_err(|error| format!("{word:?}: {error}"))).collect()
}

/// Joins values with commas, as [`listed`] parses them.
pub fn joined<T: Display>(values: &[T]) -> String {
    values.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}

/// Parses a value; an error names what is `allowed`.
pub fn read<T: FromStr>(text: &str, allowed: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?}; allowed: {allowed}"))
}

/// Parses a number within bounds; digits may be grouped by `_`.
pub fn bounded<T: FromStr + PartialOrd + Display>(text: &str, bounds: RangeInclusive<T>) -> Result<T, String> {
    let digits = text.replace('_', "");
    let value = digits.parse().ok().filter(|value| bounds.contains(value));
    value.ok_or_else(|| format!("{text:?}; allowed: {} to {}", bounds.start(), bounds.end()))
}
