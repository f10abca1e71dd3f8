//! [`Invalid`]: what is wrong with a parameter, in one sentence that is the same in queries, JSON, forms and on the command
//! line. `http::protocol::problem` writes the members of a problem from it.
//!
//! ```
//! use progimage::pipeline::{Error, Pipeline, codec, query};
//! let png = codec::by_name("png").unwrap();
//! let error = Pipeline::from_query(png, &query::pairs(Some("wdth=3"))?).unwrap_err();
//! assert_eq!(error.to_string(), "unknown parameter wdth; did you mean width?");
//! let Error::Invalid { parameter, kind } = error else { unreachable!() };
//! assert_eq!((parameter.as_str(), kind.name(), kind.value()), ("wdth", "unknown", Some("3")));
//! # Ok::<(), Error>(())
//! ```

use std::borrow::Cow;
use std::fmt;

use crate::pipeline::Error;

/// Similarity of two names, from 0 (nothing alike) to 1 (equal), from which one counts as a slip of the other. It is 0.8 for
/// `wdth` and `width`, 0 for `q` and `g`.
const ALIKE_MIN: f64 = 0.6;
/// Most characters of a client's text that are shown.
const SHOWN_MAX: usize = 64;
/// Ends what is cut.
const CUT: &str = "...";

/// What is wrong with a parameter.
///
/// A name that stands for something which is not there (a preset, a part of a form) is a [`Invalid::Value`] that is not
/// accepted: `allowed` lists the names, or is `none`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// No parameter has this name.
    Unknown {
        /// Its value, shortened; `None`: it was not read.
        value: Option<String>,
        /// All known names, if they are few.
        known: Vec<&'static str>,
        /// A hint.
        help: Help,
    },
    /// The parameter is given twice.
    Repeated {
        /// The other name it was given by, if that differs.
        other: Option<String>,
    },
    /// The parameter, or another one that it needs, is not given.
    Missing {
        /// The parameters that a given one needs; empty: the parameter itself is missing.
        needs: Vec<String>,
        /// Accepted values, in short.
        allowed: String,
        /// Accepted values, in words that follow "must be"; empty: `allowed` serves.
        must: String,
        /// A hint.
        help: Help,
    },
    /// The parameter does not accept this value.
    Value {
        /// The refused value, shortened; `None`: it is not shown.
        value: Option<String>,
        /// Name and text of the refused part of a list.
        part: Option<(&'static str, String)>,
        /// Accepted values, in short.
        allowed: String,
        /// Accepted values, in words that follow "must be"; empty: `allowed` serves.
        must: String,
        /// The reason for the refusal, if there is more to say.
        reason: Option<String>,
        /// A hint.
        help: Help,
    },
    /// The parameter cannot be used together with another one, or with the format.
    Conflict {
        /// Its value, shortened.
        value: String,
        /// What it cannot be used with.
        with: String,
        /// A clearer sentence than the general one.
        reason: Option<String>,
    },
}

/// A hint at what was probably meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Help {
    /// No hint.
    #[default]
    None,
    /// A known name or word that differs little.
    Nearest(String),
    /// What to write instead, as a query, a path or members of JSON, with an optional reason.
    Write(String, Option<&'static str>),
    /// The format is the extension of the path, which would be this one.
    Extension(String),
    /// Advice in words.
    Words(Cow<'static, str>),
}

impl Invalid {
    /// The name of the kind, which clients may match on.
    pub fn name(&self) -> &'static str {
        match self {
            Invalid::Unknown { .. } => "unknown",
            Invalid::Repeated { .. } => "repeated",
            Invalid::Missing { .. } => "missing",
            Invalid::Value { .. } => "value",
            Invalid::Conflict { .. } => "conflict",
        }
    }

    /// The value that the client gave, if it may be shown.
    pub fn value(&self) -> Option<&str> {
        match self {
            Invalid::Conflict { value, .. } => Some(value),
            Invalid::Unknown { value, .. } | Invalid::Value { value, .. } => value.as_deref(),
            Invalid::Repeated { .. } | Invalid::Missing { .. } => None,
        }
    }

    /// Accepted values, for the kinds that are about values.
    pub fn allowed(&self) -> Option<&str> {
        let allowed = match self {
            Invalid::Missing { allowed, .. } | Invalid::Value { allowed, .. } => allowed.as_str(),
            Invalid::Unknown { .. } | Invalid::Repeated { .. } | Invalid::Conflict { .. } => "",
        };
        Some(allowed).filter(|allowed| !allowed.is_empty())
    }

    /// The hint.
    pub fn help(&self) -> &Help {
        match self {
            Invalid::Unknown { help, .. } | Invalid::Value { help, .. } | Invalid::Missing { help, .. } => help,
            Invalid::Repeated { .. } | Invalid::Conflict { .. } => &Help::None,
        }
    }

    /// The sentence about `parameter`, without its full stop.
    pub(in crate::pipeline) fn sentence(&self, parameter: &str) -> String {
        match self {
            Invalid::Unknown { known, help, .. } => unknown(parameter, known, help),
            Invalid::Repeated { other: None } => format!("{parameter} is given twice"),
            Invalid::Repeated { other: Some(other) } => {
                format!("{parameter} is given twice: {other} is another name of it")
            }
            Invalid::Missing { needs, allowed, must, .. } if needs.is_empty() => {
                format!("{parameter} is missing; it must be {}", worded(must, allowed))
            }
            Invalid::Missing { needs, .. } if needs.iter().any(|need| own_name(parameter) == need) => {
                format!("{parameter} is missing: {} belong together", listed(needs, "and"))
            }
            Invalid::Missing { needs, must, help, .. } => {
                format!("{parameter} needs {}{help}", worded(must, &listed(needs, "and")))
            }
            Invalid::Value { value, part, allowed, must, reason, help } => {
                let must = worded(must, allowed);
                let refused = match part {
                    None => refused(parameter, must, value.as_deref()),
                    Some((name, text)) => refused(&format!("{parameter}: {name}"), must, Some(text)),
                };
                let reason = reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
                format!("{refused}{reason}{help}")
            }
            Invalid::Conflict { with, reason: None, .. } => format!("{parameter} cannot be used with {with}"),
            Invalid::Conflict { reason: Some(reason), .. } if reason.contains(parameter) => reason.clone(),
            Invalid::Conflict { reason: Some(reason), .. } => format!("{parameter}: {reason}"),
        }
    }
}

fn worded<'a>(must: &'a str, allowed: &'a str) -> &'a str {
    if must.is_empty() { allowed } else { must }
}

/// The last part of a path.
fn own_name(parameter: &str) -> &str {
    parameter.rsplit('.').next().unwrap_or(parameter)
}

fn unknown(parameter: &str, known: &[&str], help: &Help) -> String {
    match (help, known) {
        (Help::None, []) => format!("unknown parameter {parameter}"),
        (Help::None, known) => format!("unknown parameter {parameter}; known: {}", known.join(", ")),
        (help, _) => format!("unknown parameter {parameter}{help}"),
    }
}

fn refused(subject: &str, must: &str, value: Option<&str>) -> String {
    match value {
        None => format!("{subject} must be {must}"),
        Some("") => format!("{subject} is empty; it must be {must}"),
        Some(value) => format!("{subject} must be {must}, not {value:?}"),
    }
}

impl fmt::Display for Help {
    /// Writes the hint as the end of a sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Help::None => Ok(()),
            Help::Nearest(name) => write!(f, "; did you mean {name}?"),
            Help::Write(what, None) => write!(f, "; write {what}"),
            Help::Write(what, Some(why)) => write!(f, "; write {what} ({why})"),
            Help::Extension(extension) => {
                write!(f, "; the format is the extension, of the path or of the file: .{extension}")
            }
            Help::Words(words) => write!(f, "; {words}"),
        }
    }
}

/// Words as a list: `a, b or c`.
pub fn listed(words: &[impl AsRef<str>], last: &str) -> String {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    match words.as_slice() {
        [] => String::new(),
        [word] => (*word).to_owned(),
        [first @ .., word] => format!("{} {last} {word}", first.join(", ")),
    }
}

/// The most similar of `names` to `written`, if any is similar.
pub fn nearest<'a>(written: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // No name of ours is longer, and the time grows with the square of the length.
    let written = Some(written).filter(|written| written.len() <= SHOWN_MAX)?.to_ascii_lowercase();
    let alike = |name: &'a str| (strsim::normalized_damerau_levenshtein(&written, name), name);
    let best = names.into_iter().map(alike).reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.filter(|(alike, _)| *alike >= ALIKE_MIN).map(|(_, name)| name)
}

/// A client's text, cut to a readable length. A cut text ends with dots.
pub fn short(text: &str) -> String {
    if is_short(text) {
        return text.to_owned();
    }
    text.chars().take(SHOWN_MAX - CUT.len()).chain(CUT.chars()).collect()
}

/// Whether [`short`] leaves a text as it is.
pub fn is_short(text: &str) -> bool {
    text.chars().nth(SHOWN_MAX).is_none()
}

/// The error for a parameter that is not among the `known` ones; empty: none is accepted.
pub fn unknown_of(parameter: &str, value: &str, known: &[&'static str]) -> Error {
    let help = match nearest(parameter, known.iter().copied()) {
        Some(name) => Help::Nearest(name.to_owned()),
        None if known.is_empty() => Help::Words("no parameter is accepted here".into()),
        None => Help::None,
    };
    unknown_but(parameter, value, help).among(known)
}

/// The error for an unknown parameter, if the known ones are too many to list.
pub fn unknown_but(parameter: &str, value: &str, help: Help) -> Error {
    error(parameter, Invalid::Unknown { value: Some(short(value)), known: Vec::new(), help })
}

/// A part of a form or a member that is not known, and of which nothing is to be shown.
pub fn unknown_part(name: &str, known: &[&'static str], help: Help) -> Error {
    let near = || nearest(name, known.iter().copied()).map(|name| Help::Nearest(name.to_owned())).unwrap_or_default();
    let help = if help == Help::None { near() } else { help };
    error(name, Invalid::Unknown { value: None, known: known.to_vec(), help })
}

/// The error for a value that is not accepted.
pub fn invalid(parameter: &str, value: &str, allowed: impl Into<String>) -> Error {
    unfit(parameter, Some(value), allowed)
}

/// The error for a value that is none of some names.
pub fn one_of(parameter: &str, value: &str, names: &[&str]) -> Error {
    invalid(parameter, value, names.join(", ")).must_be(listed(names, "or"))
}

/// The error for a value that is not a number from `least` to `most`.
pub fn not_within(parameter: &str, value: &str, least: u64, most: u64) -> Error {
    invalid(parameter, value, format!("{least}..{most}")).must_be(format!("a whole number from {least} to {most}"))
}

/// The error for a value that is not accepted; `None`: it is not shown.
pub fn unfit(parameter: &str, value: Option<&str>, allowed: impl Into<String>) -> Error {
    let (value, allowed) = (value.map(short), allowed.into());
    let kind = Invalid::Value { value, part: None, allowed, must: String::new(), reason: None, help: Help::default() };
    error(parameter, kind)
}

/// The error for a parameter that is required but not given.
pub fn missing(parameter: &str, allowed: impl Into<String>) -> Error {
    error(
        parameter,
        Invalid::Missing { needs: Vec::new(), allowed: allowed.into(), must: String::new(), help: Help::None },
    )
}

/// The error for a parameter that is given without those it needs.
pub fn incomplete(parameter: &str, needs: &[&str]) -> Error {
    let needs = needs.iter().map(|name| (*name).to_owned()).collect();
    error(parameter, Invalid::Missing { needs, allowed: String::new(), must: String::new(), help: Help::None })
}

/// The error for a parameter that is given twice.
pub fn repeated(parameter: &str) -> Error {
    error(parameter, Invalid::Repeated { other: None })
}

/// The error for a parameter that cannot be used together with something else.
pub fn conflict(parameter: &str, value: &str, with: impl Into<String>) -> Error {
    error(parameter, Invalid::Conflict { value: short(value), with: with.into(), reason: None })
}

fn error(parameter: &str, kind: Invalid) -> Error {
    Error::Invalid { parameter: short(parameter), kind: Box::new(kind) }
}

impl Error {
    /// Adds the reason to a value that is not accepted, or to a conflict.
    pub fn because(mut self, why: impl ToString) -> Error {
        if let Error::Invalid { kind, .. } = &mut self
            && let Invalid::Value { reason, .. } | Invalid::Conflict { reason, .. } = &mut **kind
        {
            *reason = Some(why.to_string());
        }
        self
    }

    /// Sets the accepted values in words.
    pub fn must_be(mut self, words: impl Into<String>) -> Error {
        if let Error::Invalid { kind, .. } = &mut self
            && let Invalid::Value { must, .. } | Invalid::Missing { must, .. } = &mut **kind
        {
            *must = words.into();
        }
        self
    }

    /// Adds a hint.
    pub fn helped(mut self, meant: Help) -> Error {
        if let Error::Invalid { kind, .. } = &mut self
            && let Invalid::Unknown { help, .. } | Invalid::Value { help, .. } | Invalid::Missing { help, .. } =
                &mut **kind
        {
            *help = meant;
        }
        self
    }

    /// Adds the name by which the parameter was given earlier, if it was another one.
    pub(super) fn also_as(mut self, earlier: &str) -> Error {
        if let Error::Invalid { parameter, kind } = &mut self
            && let Invalid::Repeated { other } = &mut **kind
        {
            *other = Some(earlier.to_owned()).filter(|earlier| earlier != parameter);
        }
        self
    }

    /// Replaces the hint at an extension by what `say` makes of it.
    pub fn by_extension(mut self, say: impl Fn(&str) -> Help) -> Error {
        if let Error::Invalid { kind, .. } = &mut self
            && let Invalid::Unknown { help, .. } = &mut **kind
            && let Help::Extension(extension) = help
        {
            *help = say(extension);
        }
        self
    }

    /// Turns the hint into JSON: `members` turns a query into members of an object, where it can.
    pub(super) fn in_json(mut self, members: impl Fn(&str) -> Option<String>) -> Error {
        if let Error::Invalid { kind, .. } = &mut self
            && let Invalid::Unknown { help, .. } | Invalid::Value { help, .. } | Invalid::Missing { help, .. } =
                &mut **kind
            && let Help::Write(query, why) = help
        {
            let why = *why;
            *help = match members(query) {
                Some(members) => Help::Write(members, why),
                None => why.map_or(Help::None, |why| Help::Words(why.into())),
            };
        }
        self
    }

    /// Adds the known names.
    fn among(mut self, names: &[&'static str]) -> Error {
        if let Error::Invalid { kind, .. } = &mut self
            && let Invalid::Unknown { known, .. } = &mut **kind
        {
            known.extend(names);
        }
        self
    }

    /// Renames every parameter in the error to the client's name for it.
    pub fn renamed(mut self, name: impl Fn(&str) -> String) -> Error {
        let Error::Invalid { parameter, kind } = &mut self else { return self };
        *parameter = name(parameter);
        if let Invalid::Missing { needs, .. } = &mut **kind {
            for need in needs {
                // Values after the commas of one parameter keep their own names.
                *need = Some(name(need)).filter(|name| name != parameter).unwrap_or_else(|| need.clone());
            }
        }
        self
    }

    /// Replaces the parameter by its path.
    pub fn within(mut self, path: impl Fn(&str) -> String) -> Error {
        if let Error::Invalid { parameter, .. } = &mut self {
            *parameter = path(parameter);
        }
        self
    }
}
