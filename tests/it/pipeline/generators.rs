//! Generators of queries and of canonical text, from the tables of operations and arguments.

use proptest::prelude::*;

use super::images;
use progimage::pipeline::operation::OPERATIONS;
use progimage::pipeline::param::{Kind, Param, Value};
use progimage::pipeline::{ENCODE, codec};

/// A value of this kind, in its canonical text.
pub fn value(kind: &'static Kind) -> BoxedStrategy<String> {
    let word = |words: &'static [&'static str]| prop::sample::select(words).prop_map(Value::Word);
    match kind {
        Kind::Integer { min, max, step, .. } => {
            (min / step..=max / step).prop_map(move |n| n * step).prop_map(Value::Number).boxed()
        }
        Kind::IntegerOr { min, max, word, .. } => {
            prop_oneof![(*min..=*max).prop_map(Value::Number), Just(Value::Word(word))].boxed()
        }
        Kind::Decimal { min, max, .. } | Kind::Bytes { min, max } => (*min..=*max).prop_map(Value::Number).boxed(),
        Kind::Length { px_max } => {
            let px = (0..=i64::from(*px_max)).prop_map(Value::Number);
            prop_oneof![px, (0..=10_000u32).prop_map(Value::Share)].boxed()
        }
        Kind::Edge { px_max } => (0..=i64::from(*px_max)).prop_map(Value::Number).boxed(),
        Kind::Choice(words) => word(words).boxed(),
        Kind::Flag => any::<bool>().prop_map(Value::Flag).boxed(),
        Kind::Color => any::<[u8; 4]>().prop_map(Value::Color).boxed(),
        Kind::Gravity(words) => {
            let point = (0..=10_000u32, 0..=10_000u32).prop_map(|(x, y)| Value::Point(x, y));
            prop_oneof![word(words), point].boxed()
        }
        Kind::Ratio => (1..=99u32).prop_map(|w| Value::Ratio(w, 1)).boxed(),
        Kind::Numbers { counts, max, .. } => {
            let numbers = |count| prop::collection::vec(-*max..=*max, count).prop_map(Value::Numbers);
            prop::sample::select(*counts).prop_flat_map(numbers).boxed()
        }
        Kind::Image => prop::sample::select(images::ids()).prop_map(Value::Image).boxed(),
    }
    .prop_map(move |value| kind.print(&value))
    .boxed()
}

/// The parameters that a flat query names, each with those whose values follow its own.
pub fn heads(params: &'static [Param]) -> Vec<&'static [Param]> {
    params.chunk_by(|_, next| next.keys.is_empty()).collect()
}

/// Pairs of a query: a key and a value for some of the heads.
pub fn pairs(heads: Vec<&'static [Param]>) -> impl Strategy<Value = Vec<(String, String)>> {
    let count = heads.len();
    prop::sample::subsequence(heads, 0..=count).prop_shuffle().prop_flat_map(|heads| {
        let pair = |head: &'static [Param]| {
            let values: Vec<_> = head.iter().map(|param| value(&param.kind)).collect();
            let values = (values, 1..=head.len()).prop_map(|(values, count)| values[..count].join(","));
            (prop::sample::select(head[0].keys).prop_map(str::to_owned), values)
        };
        heads.into_iter().map(pair).collect::<Vec<_>>()
    })
}

/// Every parameter of a flat query, once.
pub fn flat() -> Vec<&'static [Param]> {
    let own = |head: &&[Param]| ENCODE.iter().all(|encode| encode.keys != head[0].keys);
    OPERATIONS.iter().flat_map(|operation| heads(operation.params)).filter(own).chain(heads(ENCODE)).collect()
}

/// Canonical text of any chain for a format: operations in any order, some more than once.
pub fn chain() -> impl Strategy<Value = (usize, String)> {
    let step = prop::sample::select(OPERATIONS).prop_flat_map(|operation| {
        named(operation.params.iter().collect()).prop_map(|args| format!("{}({args})", operation.name))
    });
    let steps = prop::collection::vec(step, 0..4).prop_map(|steps| steps.join("/"));
    (0..codec::CODECS.len(), named(ENCODE.iter().collect()), steps)
        .prop_map(|(place, encode, steps)| (place, format!("{};{encode};{steps}", codec::CODECS[place].name)))
}

/// Some of `params` by name, in the order of canonical text.
fn named(params: Vec<&'static Param>) -> impl Strategy<Value = String> {
    let count = params.len();
    prop::sample::subsequence(params, 0..=count).prop_flat_map(|params| {
        let pair = |param: &'static Param| value(&param.kind).prop_map(|value| format!("{}={value}", param.name));
        params.into_iter().map(pair).collect::<Vec<_>>().prop_map(|pairs| pairs.join("&"))
    })
}
