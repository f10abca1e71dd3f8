//! [`Error`] and [`Invalid`] as a worker sends them: the same variants, checked by the compiler. Names that are fixed in
//! this program come back as what they were.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashSet;
use std::sync::LazyLock;

use parking_lot::Mutex;
use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::Serializer;

use crate::digest::Digest;
use crate::pipeline::Error;
use crate::pipeline::invalid::{Help, Invalid};

/// A name that is fixed in the program. (serde takes fields of type `&str` for borrowed.)
type Name = &'static str;

/// Names that are remembered, for good. Those of errors are some hundreds; a worker that sends others is not itself.
const NAMES_MAX: usize = 16_384;
const NAME_BYTES_MAX: usize = 512;
/// New names of one worker: of many, one after the other, some may be bad, and the table must last.
const OF_WORKER_MAX: usize = 128;
/// What a name is called for which no room is left.
const UNNAMED: Name = "(unnamed)";

/// Names that were received.
#[derive(Default)]
struct Names(Mutex<HashSet<Name>>);

static NAMES: LazyLock<Names> = LazyLock::new(Names::default);

thread_local! {
    /// New names that the message may bring that this thread reads.
    static LEFT: Cell<usize> = const { Cell::new(OF_WORKER_MAX) };
}

/// How many new names a worker may still bring.
#[derive(Clone, Copy, Debug)]
pub struct NamesLeft(usize);

impl Default for NamesLeft {
    fn default() -> NamesLeft {
        NamesLeft(OF_WORKER_MAX)
    }
}

impl NamesLeft {
    /// Reads a message of the worker.
    pub fn within<T>(&mut self, read: impl FnOnce() -> T) -> T {
        LEFT.set(self.0);
        let message = read();
        self.0 = LEFT.get();
        message
    }
}

impl Names {
    /// A name that is kept for good. When it comes again it takes no more memory. `None`: its worker brings too many.
    fn keep(&self, text: Cow<str>) -> Option<Name> {
        let mut names = self.0.lock();
        if let Some(known) = names.get(&*text) {
            return Some(known);
        }
        if text.len() > NAME_BYTES_MAX {
            return None;
        }
        LEFT.set(LEFT.get().checked_sub(1)?);
        if names.len() >= NAMES_MAX {
            return Some(UNNAMED);
        }
        let kept: Name = String::leak(text.into_owned());
        names.insert(kept);
        Some(kept)
    }
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
    NAMES.keep(Cow::deserialize(deserializer)?).ok_or_else(|| D::Error::custom("not a name of this program"))
}

/// Names in a list or an option.
#[derive(serde::Deserialize)]
struct Kept(#[serde(deserialize_with = "name")] Name);

fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Name>, D::Error> {
    Ok(Vec::<Kept>::deserialize(deserializer)?.into_iter().map(|kept| kept.0).collect())
}

fn part<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<(Name, String)>, D::Error> {
    Ok(Option::<(Kept, String)>::deserialize(deserializer)?.map(|(kept, text)| (kept.0, text)))
}

fn optional_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Name>, D::Error> {
    Ok(Option::<Kept>::deserialize(deserializer)?.map(|kept| kept.0))
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(remote = "Error")]
enum ErrorDef {
    Invalid {
        parameter: String,
        #[serde(with = "boxed")]
        kind: Box<Invalid>,
    },
    UnknownFormat,
    UnreadFormat {
        #[serde(deserialize_with = "name")]
        name: Name,
    },
    Unsupported {
        #[serde(deserialize_with = "name")]
        format: Name,
        #[serde(deserialize_with = "name")]
        feature: Name,
    },
    Limit {
        #[serde(deserialize_with = "name")]
        name: Name,
        value: u64,
        max: u64,
    },
    Corrupt {
        #[serde(deserialize_with = "name")]
        format: Name,
        reason: String,
    },
    CropOutside,
    MissingImage {
        id: Digest,
    },
    Cancelled,
    Timeout,
    Encode {
        #[serde(deserialize_with = "name")]
        format: Name,
        reason: String,
    },
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(remote = "Invalid")]
enum InvalidDef {
    Unknown {
        value: Option<String>,
        #[serde(deserialize_with = "names")]
        known: Vec<Name>,
        #[serde(with = "HelpDef")]
        help: Help,
    },
    Repeated {
        other: Option<String>,
    },
    Missing {
        needs: Vec<String>,
        allowed: String,
        must: String,
        #[serde(with = "HelpDef")]
        help: Help,
    },
    Value {
        value: Option<String>,
        #[serde(deserialize_with = "part")]
        part: Option<(Name, String)>,
        allowed: String,
        must: String,
        reason: Option<String>,
        #[serde(with = "HelpDef")]
        help: Help,
    },
    Conflict {
        value: String,
        with: String,
        reason: Option<String>,
    },
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(remote = "Help")]
enum HelpDef {
    None,
    Nearest(String),
    Write(String, #[serde(deserialize_with = "optional_name")] Option<Name>),
    Extension(String),
    Words(Cow<'static, str>),
}

mod boxed {
    use super::*;

    pub fn serialize<S: Serializer>(kind: &Invalid, serializer: S) -> Result<S::Ok, S::Error> {
        InvalidDef::serialize(kind, serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<Invalid>, D::Error> {
        InvalidDef::deserialize(deserializer).map(Box::new)
    }
}

pub fn serialize<S: Serializer>(error: &Error, serializer: S) -> Result<S::Ok, S::Error> {
    ErrorDef::serialize(error, serializer)
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Error, D::Error> {
    ErrorDef::deserialize(deserializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Serialize, serde::Deserialize)]
    struct Sent(#[serde(with = "super")] Error);

    fn check(error: Error) {
        let text = serde_json::to_string(&Sent(error.clone())).expect("written");
        let Sent(read) = serde_json::from_str(&text).expect(&text);
        assert_eq!(read, error, "{text}");
    }

    #[test]
    fn every_error_comes_back_as_it_was() {
        let help = || Help::Write("w=1".to_owned(), Some("it is shorter"));
        let invalid = |kind| Error::Invalid { parameter: "mask".to_owned(), kind: Box::new(kind) };
        check(invalid(Invalid::Unknown { value: None, known: vec!["a", "b\"c"], help: help() }));
        check(invalid(Invalid::Repeated { other: Some("w".to_owned()) }));
        let (needs, allowed, must) = (vec!["x".to_owned()], "1".to_owned(), String::new());
        check(invalid(Invalid::Missing { needs, allowed, must, help: Help::Words("so".into()) }));
        let (value, part) = (Some("9".to_owned()), Some(("side", "8".to_owned())));
        let (allowed, must) = ("1..=3".to_owned(), "small".to_owned());
        check(invalid(Invalid::Value { value, part, allowed, must, reason: None, help: Help::None }));
        let (value, with) = ("true".to_owned(), "jpeg".to_owned());
        check(invalid(Invalid::Conflict { value, with, reason: Some("no".to_owned()) }));
        check(Error::UnknownFormat);
        check(Error::UnreadFormat { name: "HEIC" });
        check(Error::Unsupported { format: "tiff", feature: "writing" });
        check(Error::Limit { name: "pixels_max", value: u64::MAX, max: 0 });
        check(Error::corrupt("png", "a \u{1} byte"));
        check(Error::CropOutside);
        check(Error::MissingImage { id: Digest::of(b"1") });
        check(Error::Cancelled);
        check(Error::Timeout);
        check(Error::Encode { format: "avif", reason: String::new() });
    }

    #[test]
    fn names_that_no_error_has_do_not_fill_the_memory() {
        let names = Names::default();
        assert_eq!(names.keep("x".repeat(NAME_BYTES_MAX + 1).into()), None);
        for worker in 0..=NAMES_MAX / OF_WORKER_MAX {
            let mut left = NamesLeft::default();
            let keep = |number: usize| names.keep(format!("{worker}-{number}").into());
            let kept = (0..2 * OF_WORKER_MAX).filter(|number| left.within(|| keep(*number)).is_some()).count();
            assert_eq!(kept, OF_WORKER_MAX, "{worker}");
        }
        assert_eq!(names.0.lock().len(), NAMES_MAX);
        // Errors of other workers still come, with the names that are known.
        let mut left = NamesLeft::default();
        let mut kept = |name: &'static str| left.within(|| names.keep(name.into()));
        assert_eq!((kept("7-7"), kept("new")), (Some("7-7"), Some(UNNAMED)));
    }
}
