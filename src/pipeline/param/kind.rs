//! [`Kind`]: the values that a parameter accepts, and [`Value`]: one of them. Each value is printed in one way only. Numbers
//! are whole or scaled: no float enters a cache key.
//!
//! ```
//! use progimage::pipeline::param::{Kind, Value};
//! const SIGMA: Kind = Kind::Decimal { min: 30, max: 10_000, places: 2, unit: "px" };
//! assert_eq!(SIGMA.parse("1.50"), Some(Value::Number(150)));
//! assert_eq!(SIGMA.print(&Value::Number(150)), "1.5");
//! assert_eq!(SIGMA.allowed(), "0.3..100 px, at most 2 decimals");
//! assert!(SIGMA.parse("0.2").is_none());
//! ```

use crate::digest::Digest;
use crate::pipeline::invalid::listed;

/// The values that a [`super::Param`] accepts. Ranges are inclusive.
#[derive(Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A whole number: a multiple of `step`.
    Integer {
        /// The smallest number.
        min: i64,
        /// The largest number.
        max: i64,
        /// Distance between allowed values.
        step: i64,
        /// Unit: "px", "%", "\u{b0}"; empty for plain numbers.
        unit: &'static str,
    },
    /// A whole number, or one word.
    IntegerOr {
        /// The smallest number.
        min: i64,
        /// The largest number.
        max: i64,
        /// Unit; empty for plain numbers.
        unit: &'static str,
        /// The word.
        word: &'static str,
    },
    /// A number with at most `places` decimals, held as an integer of the smallest one.
    Decimal {
        /// The smallest number, scaled.
        min: i64,
        /// The largest number, scaled.
        max: i64,
        /// Number of decimals.
        places: u32,
        /// Unit; empty for plain numbers.
        unit: &'static str,
    },
    /// Whole pixels, or with `%` a share of a side (two decimals).
    Length {
        /// The most pixels.
        px_max: u32,
    },
    /// Pixels on one of the four edges of a box, in the order top, right, bottom, left. In a flat query, edges that are left
    /// out follow from the others as in CSS.
    Edge {
        /// The most pixels.
        px_max: u32,
    },
    /// A number of bytes; `k` and `m` stand for a thousand and a million.
    Bytes {
        /// The smallest number.
        min: i64,
        /// The largest number.
        max: i64,
    },
    /// One of several words.
    Choice(&'static [&'static str]),
    /// On or off; the name alone means on.
    Flag,
    /// `rrggbb`, `rrggbbaa` or `rgb`, with or without `#`; `white`, `black`, `transparent`.
    Color,
    /// One of several words, or a point `x,y` in shares of width and height.
    Gravity(&'static [&'static str]),
    /// `w:h`, or `w/h`.
    Ratio,
    /// Several decimal numbers, separated by commas, each within `max` of zero; scaled by `places`.
    Numbers {
        /// Allowed counts of numbers.
        counts: &'static [usize],
        /// The largest magnitude, scaled.
        max: i64,
        /// Number of decimals.
        places: u32,
    },
    /// The id of another image.
    Image,
}

/// A value that fits its [`Kind`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// A number: of [`Kind::Integer`], [`Kind::IntegerOr`], [`Kind::Edge`] and [`Kind::Bytes`]; of [`Kind::Length`] in
    /// pixels; of [`Kind::Decimal`] in its smallest decimal.
    Number(i64),
    /// A share of a side in ten-thousandths: of [`Kind::Length`] with `%`.
    Share(u32),
    /// A word: of [`Kind::Choice`], [`Kind::IntegerOr`] and [`Kind::Gravity`].
    Word(&'static str),
    /// On or off: of [`Kind::Flag`].
    Flag(bool),
    /// Red, green, blue, alpha: of [`Kind::Color`].
    Color([u8; 4]),
    /// A point in ten-thousandths of width and height: of [`Kind::Gravity`].
    Point(u32, u32),
    /// A ratio in lowest terms: of [`Kind::Ratio`].
    Ratio(u32, u32),
    /// Scaled numbers: of [`Kind::Numbers`].
    Numbers(Vec<i64>),
    /// The id of an image: of [`Kind::Image`].
    Image(Digest),
}

/// Decimals of [`Value::Share`] in percent, and of a coordinate of [`Value::Point`].
const SHARE_PLACES: u32 = 2;
const POINT_PLACES: u32 = 4;
/// The whole, in units of both.
const WHOLE: i64 = 10_000;
/// The largest number on either side of a ratio.
const RATIO_MAX: u32 = 10_000;

impl Kind {
    /// Reads a value; `None` if it is malformed or out of range.
    pub fn parse(&self, text: &str) -> Option<Value> {
        match *self {
            Kind::Integer { min, max, step, .. } => number(text, min, max).filter(|n| n % step == 0).map(Value::Number),
            Kind::IntegerOr { word, .. } if text == word => Some(Value::Word(word)),
            Kind::IntegerOr { min, max, .. } => number(text, min, max).map(Value::Number),
            Kind::Decimal { min, max, places, .. } => {
                decimal(text, places).filter(|n| (min..=max).contains(n)).map(Value::Number)
            }
            Kind::Length { px_max } => length(text, px_max),
            Kind::Edge { px_max } => number(text, 0, i64::from(px_max)).map(Value::Number),
            Kind::Bytes { min, max } => bytes(text).filter(|n| (min..=max).contains(n)).map(Value::Number),
            Kind::Choice(words) => word(text, words),
            Kind::Flag => match text {
                "" | "true" => Some(Value::Flag(true)),
                "false" => Some(Value::Flag(false)),
                _ => None,
            },
            Kind::Color => color(text).map(Value::Color),
            Kind::Gravity(words) => word(text, words).or_else(|| point(text)),
            Kind::Ratio => ratio(text),
            Kind::Numbers { counts, max, places } => numbers(text, counts, max, places),
            Kind::Image => text.parse().ok().map(Value::Image),
        }
    }

    /// Writes a value of this kind in its canonical form; [`Kind::parse`] reads it back.
    pub fn print(&self, value: &Value) -> String {
        match (value, self) {
            (Value::Number(n), Kind::Decimal { places, .. }) => print_decimal(*n, *places),
            (Value::Number(n), _) => n.to_string(),
            (Value::Share(n), _) => format!("{}%", print_decimal(i64::from(*n), SHARE_PLACES)),
            (Value::Word(word), _) => (*word).to_owned(),
            (Value::Flag(on), _) => on.to_string(),
            (Value::Color([r, g, b, a]), _) => format!("{r:02x}{g:02x}{b:02x}{a:02x}"),
            (Value::Point(x, y), _) => {
                let [x, y] = [x, y].map(|n| print_decimal(i64::from(*n), POINT_PLACES));
                format!("{x},{y}")
            }
            (Value::Ratio(w, h), _) => format!("{w}:{h}"),
            (Value::Numbers(numbers), kind) => {
                let places = if let Kind::Numbers { places, .. } = kind { *places } else { 0 };
                let printed: Vec<String> = numbers.iter().map(|n| print_decimal(*n, places)).collect();
                printed.join(",")
            }
            (Value::Image(id), _) => id.to_string(),
        }
    }

    /// Accepted values in short, for errors and documentation.
    pub fn allowed(&self) -> String {
        match *self {
            Kind::Integer { min, max, step: 1, unit } => format!("{min}..{max}{}", spaced(unit)),
            Kind::Integer { min, max, step, unit } => format!("{min}..{max}{} in steps of {step}", spaced(unit)),
            Kind::IntegerOr { min, max, unit, word } => format!("{min}..{max}{}, or {word}", spaced(unit)),
            Kind::Decimal { min, max, places, unit } => {
                let (min, max) = (print_decimal(min, places), print_decimal(max, places));
                format!("{min}..{max}{}, at most {places} decimals", spaced(unit))
            }
            Kind::Length { px_max } => format!("0..{px_max} px or 0%..100%"),
            Kind::Edge { px_max } => format!("0..{px_max} px"),
            Kind::Bytes { min, max } => format!("{min}..{max} bytes; k for thousands, m for millions"),
            Kind::Choice(words) => words.join(", "),
            Kind::Flag => "true, false".to_owned(),
            Kind::Color => "rrggbb, rrggbbaa or rgb, hexadecimal; white, black, transparent".to_owned(),
            Kind::Gravity(words) => format!("{}, or x,y of 0..1", words.join(", ")),
            Kind::Ratio => format!("w:h, each 1..{RATIO_MAX}"),
            Kind::Numbers { counts, max, places } => {
                let counts: Vec<String> = counts.iter().map(usize::to_string).collect();
                let max = print_decimal(max, places);
                format!("{} numbers of -{max}..{max}, comma-separated", counts.join(" or "))
            }
            Kind::Image => "the id of a stored image".to_owned(),
        }
    }
}

impl Kind {
    /// Accepted values, as the end of a sentence that begins "must be".
    pub fn in_words(&self) -> String {
        match *self {
            Kind::Integer { min, max, step: 1, .. } => whole(min, max),
            Kind::Integer { min, max, step, .. } => format!("a multiple of {step} from {min} to {max}"),
            Kind::IntegerOr { min, max, word, .. } => format!("{} or {word}", whole(min, max)),
            Kind::Decimal { min, max, places, .. } => {
                let (min, max) = (print_decimal(min, places), print_decimal(max, places));
                format!("a number from {min} to {max} with at most {places} decimals")
            }
            Kind::Length { px_max } => format!("{} (pixels), or 0% to 100%", whole(0, px_max.into())),
            Kind::Edge { px_max } => whole(0, px_max.into()),
            Kind::Bytes { min, max } => format!("{}, or thousands as 100k, millions as 2m", whole(min, max)),
            Kind::Choice(words) => listed(words, "or"),
            Kind::Flag => "true or false".to_owned(),
            Kind::Color => "a colour as rrggbb, rrggbbaa or rgb in hexadecimal".to_owned(),
            Kind::Gravity(words) => format!("{}, or a point x,y of 0 to 1", words.join(", ")),
            Kind::Ratio => format!("a ratio w:h of whole numbers from 1 to {RATIO_MAX}"),
            Kind::Numbers { .. } => self.allowed(),
            Kind::Image => "the id of a stored image, 64 hexadecimal digits".to_owned(),
        }
    }

    /// The value that was probably meant by a refused text: a number without its unit, `true` for `1`, a ratio for a
    /// number.
    pub fn meant(&self, text: &str) -> Option<String> {
        let meant = match self {
            Kind::Flag => flag(text)?.to_owned(),
            Kind::Ratio => ratio_of(text)?,
            Kind::Bytes { .. } => {
                let lower = text.to_ascii_lowercase();
                lower.strip_suffix('b').unwrap_or(&lower).to_owned()
            }
            _ => UNITS.iter().find_map(|unit| text.strip_suffix(unit))?.to_owned(),
        };
        self.parse(&meant).map(|_| meant)
    }

    /// The words among the accepted values.
    pub fn words(&self) -> &'static [&'static str] {
        match self {
            Kind::Choice(words) | Kind::Gravity(words) => words,
            _ => &[],
        }
    }
}

/// Units that others write and values here go without.
const UNITS: &[&str] = &["px", "deg", "\u{b0}", "%"];

/// How others write the two values of a flag.
fn flag(text: &str) -> Option<&'static str> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "on" | "true" => Some("true"),
        "0" | "no" | "off" | "false" => Some("false"),
        _ => None,
    }
}

/// A number as the ratio that it is: `1.5` is `3:2`.
fn ratio_of(text: &str) -> Option<String> {
    let scaled =
        decimal(text, SHARE_PLACES).and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0)?;
    let one = 10u32.pow(SHARE_PLACES);
    let divisor = greatest_common_divisor(scaled, one);
    Some(format!("{}:{}", scaled / divisor, one / divisor))
}

fn whole(min: i64, max: i64) -> String {
    format!("a whole number from {min} to {max}")
}

fn spaced(unit: &str) -> String {
    if unit.is_empty() { String::new() } else { format!(" {unit}") }
}

fn word(text: &str, words: &[&'static str]) -> Option<Value> {
    words.iter().find(|word| **word == text).map(|word| Value::Word(word))
}

fn number(text: &str, min: i64, max: i64) -> Option<i64> {
    decimal(text, 0).filter(|n| (min..=max).contains(n))
}

/// Reads a number such as `-12.5`, scaled to an integer of the last of its `places` decimals.
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

/// A share of the whole, with at most `places` decimals.
fn share(text: &str, places: u32) -> Option<u32> {
    decimal(text, places).filter(|n| (0..=WHOLE).contains(n)).map(|n| n as u32)
}

fn length(text: &str, px_max: u32) -> Option<Value> {
    match text.strip_suffix('%') {
        Some(percent) => share(percent, SHARE_PLACES).map(Value::Share),
        None => number(text, 0, i64::from(px_max)).map(Value::Number),
    }
}

fn bytes(text: &str) -> Option<i64> {
    let unit = |text: &str| match text.as_bytes().last() {
        Some(b'k') => 1_000,
        Some(b'm') => 1_000_000,
        _ => 1,
    };
    let unit = unit(text);
    let digits = if unit == 1 { text } else { &text[..text.len() - 1] };
    decimal(digits, 0)?.checked_mul(unit)
}

/// Hexadecimal digits as in CSS, with or without `#`, and the three commonest names.
fn color(text: &str) -> Option<[u8; 4]> {
    let digits = match text {
        "white" => "ffffff",
        "black" => "000000",
        "transparent" => "00000000",
        _ => text.strip_prefix('#').unwrap_or(text),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let number = u32::from_str_radix(digits, 16).ok()?;
    match digits.len() {
        // Each digit stands for two.
        3 => Some([number >> 8, number >> 4, number, 0xf].map(|digit| (digit & 0xf) as u8 * 0x11)),
        6 => Some((number << 8 | 0xff).to_be_bytes()),
        8 => Some(number.to_be_bytes()),
        _ => None,
    }
}

fn point(text: &str) -> Option<Value> {
    let (x, y) = text.split_once(',')?;
    Some(Value::Point(share(x, POINT_PLACES)?, share(y, POINT_PLACES)?))
}

fn ratio(text: &str) -> Option<Value> {
    let (w, h) = text.split_once([':', '/'])?;
    let side = |text| number(text, 1, i64::from(RATIO_MAX)).map(|side| side as u32);
    let (w, h) = (side(w)?, side(h)?);
    let divisor = greatest_common_divisor(w, h);
    Some(Value::Ratio(w / divisor, h / divisor))
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

fn numbers(text: &str, counts: &[usize], max: i64, places: u32) -> Option<Value> {
    let most = counts.iter().max().copied().unwrap_or_default();
    let one = |text: &str| decimal(text, places).filter(|n| n.abs() <= max);
    // One number too many is enough to refuse the value.
    let numbers: Vec<i64> = text.split(',').take(most + 1).map(one).collect::<Option<_>>()?;
    Some(Value::Numbers(numbers)).filter(|_| counts.contains(&text.split(',').take(most + 1).count()))
}

#[cfg(test)]
mod tests;
