//! The canonical query of a [`Pipeline`]: the one way in which a URL says it. All other spellings are in [`super::text`].

use serde_json::{Map, Number, Value as Json};

use super::param::{Args, Param, Value};
use super::text::{OPS, RENDER};
use super::{Pipeline, Step};

type Pairs = Vec<(String, String)>;

/// See [`Pipeline::query`].
pub(super) fn query(pipeline: &Pipeline) -> String {
    let pairs = flat(pipeline).unwrap_or_else(|| chain(pipeline));
    let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={}", encoded(value))).collect();
    pairs.join("&")
}

/// As a flat query. `None` where the chain cannot be said so (another order, an operation twice or without arguments, two
/// colours of `background`), which is found out by reading it back.
fn flat(pipeline: &Pipeline) -> Option<Pairs> {
    let mut pairs = Pairs::new();
    let args = pipeline.steps.iter().map(|(_, args)| args).chain([&pipeline.encode]);
    for pair in args.flat_map(Args::to_flat) {
        // `background` is one key of several owners; an encoder keeps less of it than an operation, which comes first.
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

/// As a JSON chain, beside which the encode arguments stand.
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

/// RFC 3986, 3.4, less what forms give another meaning: `&`, `=`, `+`.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~,:".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
