//! [`Param`] and [`Kind`]: what an operation or an encoder accepts; [`Args`]: what it was given. Ranges, units, defaults and words
//! live here and nowhere else, so that parsing, printing, errors and documentation cannot disagree. Knows no pixels.

use std::fmt;

use super::Error;

/// One argument that is accepted.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Param {
    /// Its name in JSON and in the canonical text, unique in its table.
    pub name: &'static str,
    /// Its keys in a flat query; the first is the canonical one, the others are short forms.
    pub keys: &'static [&'static str],
    /// What values it takes.
    pub kind: Kind,
    /// What it is when it is not written; `None`: `doc` says what its absence means.
    pub default: Option<Value>,
    /// One sentence for the README.
    pub doc: &'static str,
}

/// The values that a [`Param`] takes. Ranges are inclusive.
#[derive(Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A whole number: a multiple of `step`.
    Integer {
        /// The smallest.
        min: i64,
        /// The largest.
        max: i64,
        /// Distance of allowed values.
        step: i64,
        /// "px", "%", "\u{b0}"; empty for plain numbers.
        unit: &'static str,
    },
    /// A number with at most `places` decimals, held as an integer of the smallest one: no float enters a cache key.
    Decimal {
        /// The smallest, scaled.
        min: i64,
        /// The largest, scaled.
        max: i64,
        /// Decimals.
        places: u32,
        /// As above.
        unit: &'static str,
    },
    /// One of some words.
    Choice(&'static [&'static str]),
    /// On or off; the bare name means on.
    Flag,
    /// `rrggbb` or `rrggbbaa`.
    Color,
}

/// A value that fits its [`Kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// Of [`Kind::Integer`]; of [`Kind::Decimal`] in its smallest decimal.
    Number(i64),
    /// Of [`Kind::Choice`].
    Word(&'static str),
    /// Of [`Kind::Flag`].
    Flag(bool),
    /// Of [`Kind::Color`]: red, green, blue, alpha.
    Color([u8; 4]),
}

impl Kind {
    /// Reads a value; `None` when it is malformed or out of range.
    pub fn parse(&self, text: &str) -> Option<Value> {
        match *self {
            Kind::Integer { min, max, step, .. } => {
                decimal(text, 0).filter(|n| (min..=max).contains(n) && n % step == 0).map(Value::Number)
            }
            Kind::Decimal { min, max, places, .. } => {
                decimal(text, places).filter(|n| (min..=max).contains(n)).map(Value::Number)
            }
            Kind::Choice(words) => words.iter().find(|word| **word == text).map(|word| Value::Word(word)),
            Kind::Flag => match text {
                "" | "true" => Some(Value::Flag(true)),
                "false" => Some(Value::Flag(false)),
                _ => None,
            },
            Kind::Color => color(text).map(Value::Color),
        }
    }

    /// Writes a value of this kind in the one way that the canonical text has for it; [`Kind::parse`] reads it back.
    pub fn print(&self, value: Value) -> String {
        match (value, self) {
            (Value::Number(n), Kind::Decimal { places, .. }) => print_decimal(n, *places),
            (Value::Number(n), _) => n.to_string(),
            (Value::Word(word), _) => word.to_owned(),
            (Value::Flag(on), _) => on.to_string(),
            (Value::Color([r, g, b, a]), _) => format!("{r:02x}{g:02x}{b:02x}{a:02x}"),
        }
    }

    /// What is accepted, for people: in errors and in the README.
    pub fn allowed(&self) -> String {
        match *self {
            Kind::Integer { min, max, step: 1, unit } => format!("{min}..{max}{}", spaced(unit)),
            Kind::Integer { min, max, step, unit } => format!("{min}..{max}{} in steps of {step}", spaced(unit)),
            Kind::Decimal { min, max, places, unit } => {
                let (min, max) = (print_decimal(min, places), print_decimal(max, places));
                format!("{min}..{max}{}, at most {places} decimals", spaced(unit))
            }
            Kind::Choice(words) => words.join(", "),
            Kind::Flag => "true, false".to_owned(),
            Kind::Color => "rrggbb or rrggbbaa, hexadecimal".to_owned(),
        }
    }
}

fn spaced(unit: &str) -> String {
    if unit.is_empty() { String::new() } else { format!(" {unit}") }
}

/// Reads `-12.5` as an integer of the `places`th decimal.
fn decimal(text: &str, places: u32) -> Option<i64> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let (whole, fraction) = match digits.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (digits, ""),
    };
    let all_digits = whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits || fraction.len() > places as usize {
        return None;
    }
    let missing = places - fraction.len() as u32;
    let magnitude = format!("{whole}{fraction}").parse::<i64>().ok()?.checked_mul(10i64.checked_pow(missing)?)?;
    Some(if negative { -magnitude } else { magnitude })
}

fn print_decimal(scaled: i64, places: u32) -> String {
    let one = 10u64.pow(places);
    let sign = if scaled < 0 { "-" } else { "" };
    let (whole, fraction) = (scaled.unsigned_abs() / one, scaled.unsigned_abs() % one);
    if fraction == 0 {
        return format!("{sign}{whole}");
    }
    let fraction = format!("{fraction:0width$}", width = places as usize);
    format!("{sign}{whole}.{}", fraction.trim_end_matches('0'))
}

fn color(text: &str) -> Option<[u8; 4]> {
    if !matches!(text.len(), 6 | 8) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let number = u32::from_str_radix(text, 16).ok()?;
    Some(if text.len() == 6 { (number << 8 | 0xff).to_be_bytes() } else { number.to_be_bytes() })
}

impl Param {
    /// Reads a value, or says what would be accepted. `written` is the name as the client wrote it.
    pub fn parse(&self, written: &str, text: &str) -> Result<Value, Error> {
        self.kind.parse(text).ok_or_else(|| invalid(written, text, self.kind.allowed()))
    }
}

/// An [`Error::Invalid`]; what the client wrote is shortened, it may be of any length.
pub fn invalid(parameter: &str, value: &str, allowed: impl Into<String>) -> Error {
    let short = |text: &str| text.chars().take(64).collect();
    Error::Invalid { parameter: short(parameter), value: short(value), allowed: allowed.into() }
}

/// The arguments of one table of [`Param`]s. Arguments at their default are not held, so equal meaning is equal value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Args {
    params: &'static [Param],
    values: Vec<Option<Value>>,
}

impl Args {
    /// Every argument at its default.
    pub fn defaults(params: &'static [Param]) -> Args {
        Args { params, values: vec![None; params.len()] }
    }

    /// The table that these are arguments of.
    pub fn params(&self) -> &'static [Param] {
        self.params
    }

    /// The same with the argument `name` set.
    ///
    /// # Panics
    /// When the table has no such name: a bug of the caller, never of the input.
    pub fn with(mut self, name: &str, value: Value) -> Args {
        let index = self.index(name);
        self.set(index, value);
        self
    }

    /// Sets the argument in this place of the table.
    pub fn set(&mut self, index: usize, value: Value) {
        self.values[index] = Some(value).filter(|_| self.params[index].default != Some(value));
    }

    /// Takes the argument `name` back to its default.
    pub fn reset(&mut self, name: &str) {
        let index = self.index(name);
        self.values[index] = None;
    }

    /// Whether every argument is at its default.
    pub fn are_defaults(&self) -> bool {
        self.values.iter().all(Option::is_none)
    }

    /// The arguments that are not at their default, in the order of the table.
    pub fn written(&self) -> impl Iterator<Item = (&'static Param, Value)> {
        self.params.iter().zip(&self.values).filter_map(|(param, value)| value.map(|value| (param, value)))
    }

    /// A number; `None` when it is not given and has no default.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.get(name).map(|value| match value {
            Value::Number(number) => number,
            other => unreachable!("{name} holds {other:?}"),
        })
    }

    /// A word; `None` when it is not given and has no default.
    pub fn word(&self, name: &str) -> Option<&'static str> {
        self.get(name).map(|value| match value {
            Value::Word(word) => word,
            other => unreachable!("{name} holds {other:?}"),
        })
    }

    /// Whether a flag is on.
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some(Value::Flag(true)))
    }

    /// A colour; `None` when it is not given and has no default.
    pub fn color(&self, name: &str) -> Option<[u8; 4]> {
        self.get(name).map(|value| match value {
            Value::Color(color) => color,
            other => unreachable!("{name} holds {other:?}"),
        })
    }

    /// Reads `name=value&name=value`, as [`fmt::Display`] writes it.
    pub fn parse(params: &'static [Param], text: &str) -> Result<Args, Error> {
        let mut args = Args::defaults(params);
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            args.set_named(name, name, value)?;
        }
        Ok(args)
    }

    /// Sets the argument `name` from text; `written` is what errors call it.
    pub fn set_named(&mut self, written: &str, name: &str, text: &str) -> Result<(), Error> {
        let index = self.params.iter().position(|param| param.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.params.iter().map(|param| param.name).collect();
            invalid(written, text, names.join(", "))
        })?;
        self.set(index, self.params[index].parse(written, text)?);
        Ok(())
    }

    fn get(&self, name: &str) -> Option<Value> {
        let index = self.index(name);
        self.values[index].or(self.params[index].default)
    }

    fn index(&self, name: &str) -> usize {
        self.params.iter().position(|param| param.name == name).expect("operations ask for names of their own table")
    }
}

impl fmt::Display for Args {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (param, value)) in self.written().enumerate() {
            let separator = if place == 0 { "" } else { "&" };
            write!(f, "{separator}{}={}", param.name, param.kind.print(value))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANGLE: Kind = Kind::Decimal { min: -36_000, max: 36_000, places: 2, unit: "\u{b0}" };
    const QUALITY: Kind = Kind::Integer { min: 1, max: 100, step: 1, unit: "" };
    const TURN: Kind = Kind::Integer { min: -360, max: 360, step: 90, unit: "\u{b0}" };

    fn check(kind: Kind, text: &str, expected: Option<&str>) {
        let printed = kind.parse(text).map(|value| kind.print(value));
        assert_eq!(printed.as_deref(), expected, "{kind:?} {text:?}");
    }

    #[test]
    fn values_are_held_against_their_kind_and_print_one_way() {
        check(QUALITY, "1", Some("1"));
        check(QUALITY, "0100", Some("100"));
        for bad in ["0", "101", "", "-", "+5", "5.0", "5e1", "\u{661}", " 5", "99999999999999999999"] {
            check(QUALITY, bad, None);
        }
        check(TURN, "-270", Some("-270"));
        check(TURN, "45", None);
        check(TURN, "450", None);
        check(ANGLE, "12.50", Some("12.5"));
        check(ANGLE, "-0.05", Some("-0.05"));
        check(ANGLE, "-0", Some("0"));
        check(ANGLE, "360.00", Some("360"));
        for bad in ["360.01", "1.234", ".5", "5.", "--5", "1.-5", "9223372036854775807"] {
            check(ANGLE, bad, None);
        }
        check(Kind::Choice(&["h", "v"]), "v", Some("v"));
        check(Kind::Choice(&["h", "v"]), "V", None);
        check(Kind::Flag, "", Some("true"));
        check(Kind::Flag, "false", Some("false"));
        check(Kind::Flag, "1", None);
        check(Kind::Color, "FF8000", Some("ff8000ff"));
        check(Kind::Color, "ff800010", Some("ff800010"));
        for bad in ["fff", "#ff8000", "ff80000", "+f8000", "\u{e9}\u{e9}\u{e9}"] {
            check(Kind::Color, bad, None);
        }
    }

    #[test]
    fn ranges_read_well() {
        assert_eq!(QUALITY.allowed(), "1..100");
        assert_eq!(TURN.allowed(), "-360..360 \u{b0} in steps of 90");
        assert_eq!(ANGLE.allowed(), "-360..360 \u{b0}, at most 2 decimals");
    }

    #[test]
    fn an_argument_at_its_default_is_not_held() {
        static PARAMS: [Param; 1] =
            [Param { name: "on", keys: &["on"], kind: Kind::Flag, default: Some(Value::Flag(false)), doc: "" }];
        let args = Args::defaults(&PARAMS);
        assert_eq!(args.clone().with("on", Value::Flag(false)), args);
        assert!(args.clone().with("on", Value::Flag(true)).flag("on"));
        assert_eq!(args.clone().with("on", Value::Flag(true)).to_string(), "on=true");
        assert_eq!(Args::parse(&PARAMS, "on=false"), Ok(args));
    }

    #[test]
    fn what_a_client_wrote_is_shortened_in_errors() {
        let Error::Invalid { value, .. } = invalid("w", &"\u{e9}".repeat(1000), "") else { unreachable!() };
        assert_eq!(value.chars().count(), 64);
    }
}
