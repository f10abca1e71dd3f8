//! Query, JSON and canonical text are three spellings of one pipeline.

use proptest::prelude::*;

use super::pipeline;
use progimage::digest::Digest;
use progimage::pipeline::operation::OPERATIONS;
use progimage::pipeline::param::{Kind, Param, Value};
use progimage::pipeline::{ENCODE, Error, Pipeline, codec, reference};

fn check(query: &str, expected: &str) {
    assert_eq!(pipeline(query).expect(query).to_string(), expected, "{query}");
}

#[test]
fn equal_meaning_has_one_text() {
    check("", "png;;");
    check("metadata=none", "png;metadata=none;");
    check("fit=inside&enlarge=false&rotate=0", "png;metadata=none;");
    check("w=300", "png;;resize(width=300)");
    check("width=0300&fit=inside&metadata=none", "png;;resize(width=300)");
    check(
        "flip=h&kernel=cubic&enlarge&h=2&w=1&rotate=-90",
        "png;;rotate(angle=-90)/resize(width=1&height=2&enlarge=true&kernel=cubic)/flip(direction=h)",
    );
    check("q=40&lossless", "png;quality=40&lossless=true;");
    check("quality=80", "png;metadata=none;");
    check("bg=ff0000", "png;metadata=none;");
    check("bg=F00f00&w=9&h=9&fit=contain", "png;;resize(width=9&height=9&fit=contain&background=f00f00ff)");
}

#[test]
fn json_runs_in_its_own_order() {
    let json = r#"ops=[{"op":"flip","direction":"v"},{"op":"resize","width":300,"enlarge":true},{"op":"flip","direction":"h"}]&q=7"#;
    check(json, "png;quality=7;flip(direction=v)/resize(width=300&enlarge=true)/flip(direction=h)");
    assert_eq!(pipeline(r#"ops=[{"op":"resize","height":5}]"#), pipeline("h=5"));
    check("ops=[]", "png;metadata=none;");
}

fn refused(query: &str, parameter: &str) {
    match pipeline(query) {
        Err(Error::Invalid { parameter: named, allowed, .. }) => {
            assert_eq!(named, parameter, "{query}");
            assert!(!allowed.is_empty());
        }
        other => panic!("{query}: {other:?}"),
    }
}

#[test]
fn what_is_not_in_the_tables_is_refused_by_name() {
    refused("widht=300", "widht");
    refused("w=", "w");
    refused("w=0", "w");
    refused("w=65536", "w");
    refused("width=1e3", "width");
    refused("w=3&w=3", "w");
    refused("w=3&width=4", "width");
    refused("q=0", "q");
    refused("rotate=45", "rotate");
    refused("fit=Cover", "fit");
    refused("enlarge=yes", "enlarge");
    refused("flip=vh", "flip");
    refused("metadata=all", "metadata");
    refused("bg=red", "bg");
    refused("ops={}", "ops");
    refused("ops=[1]", "ops");
    refused("ops=[]&ops=[]", "ops");
    refused("ops=[]&w=3", "w");
    refused(r#"ops=[{"width":3}]"#, "ops[0].op");
    refused(r#"ops=[{"op":"sepia"}]"#, "ops[0].op");
    refused(r#"ops=[{"op":"flip"},{"op":"resize","w":3}]"#, "ops[1].w");
    refused(r#"ops=[{"op":"resize","width":-3}]"#, "ops[0].width");
    refused(r#"ops=[{"op":"resize","width":[3]}]"#, "ops[0].width");
}

#[test]
fn malformed_canonical_text_is_refused() {
    for text in [
        "",
        "png",
        "png;",
        "nope;;",
        "png;;;",
        "png;;resize",
        "png;;resize(w=3)",
        "png;;(width=3)",
        "png;x=1;",
        "png;;resize(width=3",
    ] {
        assert!(matches!(text.parse::<Pipeline>(), Err(Error::Invalid { .. })), "{text:?}");
    }
}

#[test]
fn a_key_tells_apart_what_may_differ_and_nothing_else() {
    let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
    let key = |query: &str, source: &Digest| pipeline(query).expect(query).key(source);
    assert_eq!(key("w=3&h=4", &a), key("height=4&width=3&fit=inside", &a));
    let different =
        [key("", &a), key("", &b), key("metadata=none", &a), key("w=3", &a), key("w=4", &a), key("h=3", &a)];
    for (place, one) in different.iter().enumerate() {
        assert!(!different[..place].contains(one), "{place}");
    }
    let conversion = pipeline("").expect("empty");
    assert!(conversion.is_conversion());
    assert_eq!(conversion.into_render(), pipeline("metadata=none").expect("default"));
}

/// What the key is made of is a promise to every cache in front: it may change with a revision only.
#[test]
fn the_key_is_what_it_always_was() {
    let key = pipeline("w=300&h=200&fit=cover").expect("valid").key(&Digest::of(b""));
    assert_eq!(key.to_string(), "fcfc8c40598552fabbde1511ecb0642668f6e4ccc406ef15b8ab93d29705bf7e");
}

#[test]
fn every_row_is_documented_and_every_example_is_a_render() {
    let rows = reference::rows();
    assert_eq!(rows.len(), ENCODE.len() + OPERATIONS.iter().map(|operation| operation.params.len()).sum::<usize>());
    for row in rows {
        assert!(row.doc.ends_with('.') && row.operation_doc.ends_with('.') && !row.allowed.is_empty(), "{row:?}");
        let example = pipeline(row.example).expect(row.example);
        let shown = example.steps().iter().any(|(operation, _)| operation.name == row.operation);
        assert!(shown || row.operation == "encode" && !example.is_conversion(), "{row:?}");
    }
}

#[test]
fn no_two_parameters_share_a_key_but_background() {
    let tables = OPERATIONS.iter().map(|operation| operation.params).chain([ENCODE]);
    let mut keys: Vec<&str> = tables.flatten().flat_map(|param| param.keys).copied().collect();
    keys.retain(|key| !["background", "bg"].contains(key));
    keys.sort_unstable();
    let count = keys.len();
    keys.dedup();
    assert_eq!(keys.len(), count);
}

/// A value of this kind, in its canonical text.
pub fn value(kind: &'static Kind) -> BoxedStrategy<String> {
    match kind {
        Kind::Integer { min, max, step, .. } => {
            (min / step..=max / step).prop_map(move |n| n * step).prop_map(Value::Number).boxed()
        }
        Kind::Decimal { min, max, .. } => (*min..=*max).prop_map(Value::Number).boxed(),
        Kind::Choice(words) => prop::sample::select(*words).prop_map(Value::Word).boxed(),
        Kind::Flag => any::<bool>().prop_map(Value::Flag).boxed(),
        Kind::Color => any::<[u8; 4]>().prop_map(Value::Color).boxed(),
    }
    .prop_map(move |value| kind.print(value))
    .boxed()
}

/// Pairs of a query: for some of `params`, a key and a value.
pub fn pairs(params: Vec<&'static Param>) -> impl Strategy<Value = Vec<(String, String)>> {
    let count = params.len();
    prop::sample::subsequence(params, 0..=count).prop_shuffle().prop_flat_map(|params| {
        let pair =
            |param: &'static Param| (prop::sample::select(param.keys).prop_map(str::to_owned), value(&param.kind));
        params.into_iter().map(pair).collect::<Vec<_>>()
    })
}

/// Every parameter of a flat query, once.
fn flat() -> Vec<&'static Param> {
    let own = |param: &&Param| ENCODE.iter().all(|encode| encode.keys != param.keys);
    OPERATIONS.iter().flat_map(|operation| operation.params).filter(own).chain(ENCODE).collect()
}

proptest! {
    #[test]
    fn text_reads_back(place in 0..codec::CODECS.len(), pairs in pairs(flat())) {
        match Pipeline::from_query(codec::CODECS[place], &pairs) {
            Ok(pipeline) => {
                prop_assert_eq!(pipeline.to_string().parse(), Ok(pipeline.clone()));
                prop_assert_eq!(pipeline.is_conversion(), pairs.is_empty());
            }
            Err(error) => {
                let lossless = matches!(&error, Error::Invalid { parameter, .. } if parameter == "lossless");
                prop_assert!(lossless, "{error}");
            }
        }
    }

    #[test]
    fn json_and_query_agree(pairs in pairs(OPERATIONS.iter().flat_map(|operation| operation.params).collect())) {
        let flat = Pipeline::from_query(&super::OUTPUT, &pairs).expect("generated");
        let steps = flat.steps().iter().map(|(operation, args)| {
            let mut object = serde_json::Map::from_iter([("op".to_owned(), operation.name.into())]);
            object.extend(args.written().map(|(param, value)| (param.name.to_owned(), json(param, value))));
            serde_json::Value::from(object)
        });
        let ops = serde_json::Value::from_iter(steps).to_string();
        let chain = Pipeline::from_query(&super::OUTPUT, &[("ops".to_owned(), ops)]).expect("generated");
        prop_assert_eq!(chain.steps(), flat.steps());
    }

    #[test]
    fn no_text_panics(text in "[a-z;/()&=0-9\\[\\]{}\":,.\u{e9}-]{0,40}") {
        let _ = text.parse::<Pipeline>();
        let _ = pipeline(&text);
        let _ = pipeline(&format!("ops={text}"));
    }
}

fn json(param: &Param, value: Value) -> serde_json::Value {
    match value {
        Value::Flag(on) => on.into(),
        Value::Number(_) => serde_json::from_str(&param.kind.print(value)).expect("a number"),
        _ => param.kind.print(value).into(),
    }
}
