//! Query strings: decoded to pairs of name and value, for any use; and the canonical query of a [`Pipeline`], the one way
//! in which a URL writes it. All other spellings are in `parse`.

use serde_json::{Map, Number, Value as Json};

use super::invalid::{invalid, repeated};
use super::parse::{OPS, RENDER};
use crate::digest::Digest;
use crate::pipeline::codec::Codec;
use crate::pipeline::param::{Args, Param, Value};
use crate::pipeline::{Error, Pipeline, Step};

/// Decoded names and values.
pub type Pairs = Vec<(String, String)>;

/// Decodes a query as forms are encoded: `&` between pairs, `+` for a blank, `%` and two hex digits for a byte, UTF-8
/// inside. Any other `%` is itself (WHATWG URL, 1.3), so that `w=50%` is 50 percent.
///
/// Errors: [`Error::Invalid`].
///
/// ```
/// use progimage::pipeline::query;
/// let mut pairs = query::pairs(Some("w=50%&download=my+cat.png"))?;
/// assert_eq!(query::once(&mut pairs, "download")?.as_deref(), Some("my cat.png"));
/// assert_eq!(pairs, [("w".to_owned(), "50%".to_owned())]);
/// # Ok::<(), progimage::pipeline::Error>(())
/// ```
pub fn pairs(query: Option<&str>) -> Result<Pairs, Error> {
    query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let refused = || invalid(name, value, "UTF-8, percent-encoded");
            Ok((decode(name).ok_or_else(refused)?, decode(value).ok_or_else(refused)?))
        })
        .collect()
}

/// Removes the pair of this name and returns its value.
///
/// Errors: [`Error::Invalid`] if the name is given twice.
pub fn once(pairs: &mut Pairs, name: &str) -> Result<Option<String>, Error> {
    let mut values = pairs.extract_if(.., |(key, _)| key == name).map(|(_, value)| value);
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(repeated(name)),
    }
}

fn decode(text: &str) -> Option<String> {
    String::from_utf8(decoded(text, true)).ok()
}

/// Decodes percent-encoded bytes; `form`: and `+` to a blank, as in the pairs of a query. Any other `%` is itself.
pub fn decoded(text: &str, form: bool) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        let encoded = match (byte, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        rest = if encoded.is_some() { &tail[2..] } else { tail };
        bytes.push(encoded.unwrap_or(if form && *byte == b'+' { b' ' } else { *byte }));
    }
    bytes
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// The path and query of the rendition of `source`.
pub fn url(source: &Digest, codec: &Codec, query: &str) -> String {
    let mut url = String::new();
    push_url(&mut url, source, codec, query);
    url
}

/// Appends the [`url`](fn@url) of a rendition to `text`.
pub fn push_url(text: &mut String, source: &Digest, codec: &Codec, query: &str) {
    let (id, mark) = (source.hex(), if query.is_empty() { "" } else { "?" });
    let parts = ["/images/", id.as_str(), ".", codec.extensions[0], mark, query];
    text.reserve(parts.iter().map(|part| part.len()).sum());
    text.extend(parts);
}

/// The canonical query; [`Pipeline::query`] returns it.
pub(in crate::pipeline) fn query(pipeline: &Pipeline) -> String {
    if pipeline.is_conversion() {
        return String::new();
    }
    let pairs = flat(pipeline).unwrap_or_else(|| chain(pipeline));
    let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={}", encoded(value))).collect();
    pairs.join("&")
}

/// The pairs of a flat query. `None` if a flat query cannot say the chain (another order, an operation twice or without
/// arguments, two colours of `background`), which reading it back shows.
fn flat(pipeline: &Pipeline) -> Option<Pairs> {
    let mut pairs = Pairs::new();
    let args = pipeline.steps.iter().map(|(_, args)| args).chain([&pipeline.encode]);
    for pair in args.flat_map(Args::to_flat) {
        // `background` is one key with several owners. An encoder keeps less of it than an operation, which comes first.
        if !pairs.iter().any(|(key, _)| *key == pair.0) {
            pairs.push(pair);
        }
    }
    if pairs.is_empty() && pipeline.render {
        let (key, value) = RENDER;
        pairs.push((key.to_owned(), value.to_owned()));
    }
    let read = Pipeline::from_query(pipeline.codec, &pairs);
    (read.as_ref() == Ok(pipeline)).then_some(pairs)
}

/// The pairs of a query with a JSON chain, followed by the encode arguments.
fn chain(pipeline: &Pipeline) -> Pairs {
    let step = |(operation, args): &Step| {
        let mut object = Map::from_iter([("op".to_owned(), operation.name.into())]);
        object.extend(args.written().map(|(param, value)| (param.name.to_owned(), json(param, value))));
        Json::Object(object)
    };
    let steps = Json::Array(pipeline.steps.iter().map(step).collect());
    std::iter::once((OPS.to_owned(), steps.to_string())).chain(pipeline.encode.to_flat()).collect()
}

fn json(param: &Param, value: &Value) -> Json {
    let text = param.kind.print(value);
    match value {
        Value::Flag(on) => (*on).into(),
        Value::Number(_) => text.parse::<Number>().map_or(Json::String(text), Json::Number),
        _ => text.into(),
    }
}

/// Percent-encodes a value: RFC 3986, 3.4, without the characters that forms give another meaning (`&`, `=`, `+`).
pub fn encoded(text: impl AsRef<[u8]>) -> String {
    let text = text.as_ref();
    let mut encoded = String::with_capacity(text.len());
    for &byte in text {
        if byte.is_ascii_alphanumeric() || b"-._~,:".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded_in_order() {
        let check = |query: &str, expected: &[(&str, &str)]| {
            let expected = expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!(pairs(Some(query)), Ok(expected), "{query}");
        };
        check("", &[]);
        check("w=1&h=2", &[("w", "1"), ("h", "2")]);
        check("&lossless&&q=", &[("lossless", ""), ("q", "")]);
        check("a=b=c&crop=10%25%2c+1", &[("a", "b=c"), ("crop", "10%, 1")]);
        check("%C3%A9=%c3%a9", &[("é", "é")]);
        assert_eq!(pairs(None), Ok(vec![]));
        check("a=%&b=1%,2%25,%zz%4", &[("a", "%"), ("b", "1%,2%,%zz%4")]);
        for bad in ["a=%ff", "%c3=1"] {
            assert!(matches!(pairs(Some(bad)), Err(Error::Invalid { .. })), "{bad}");
        }
    }
}
