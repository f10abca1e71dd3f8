//! Query, JSON and canonical text are three spellings of one pipeline.

use proptest::prelude::*;

use super::generators::{chain, flat, heads, pairs};
use super::pipeline;
use progimage::digest::Digest;
use progimage::pipeline::operation::OPERATIONS;
use progimage::pipeline::param::{Kind, Param, Value};
use progimage::pipeline::{ENCODE, Error, Pipeline, codec, docs};

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
    check("fit=cover", "png;metadata=none;");
    check("w=300&fit=cover&bg=ff0000", "png;;resize(width=300)");
    check("rotate=360", "png;metadata=none;");
    check("frame=3&orient=none", "png;orient=none&frame=3;");
    check(
        "flip=h&kernel=cubic&enlarge&h=2&w=1&rotate=-90",
        "png;;rotate(angle=-90)/resize(width=1&height=2&enlarge=true&kernel=cubic)/flip(direction=h)",
    );
    check("q=40&lossless", "png;lossless=true;");
    check("q=40&effort=9&progressive&chroma=444", "png;quality=40;");
    check("quality=80", "png;metadata=none;");
    check("bg=ff0000", "png;metadata=none;");
    check("bg=F00f00&w=9&h=9&fit=contain", "png;;resize(width=9&height=9&fit=contain&background=f00f00ff)");
}

#[test]
fn masks_and_overlays_have_one_text() {
    let id = Digest::of(b"a");
    let check = |query: &str, expected: &str| {
        check(&query.replace("ID", &id.to_string()), &expected.replace("ID", &id.to_string()))
    };
    check("mask=ID&mask_mode=alpha", "png;;mask(source=ID)");
    check("mask_invert&mask=ID", "png;;mask(source=ID&invert=true)");
    check(r#"ops=[{"op":"mask","source":{"id":"ID"},"mode":"luma"}]"#, "png;;mask(source=ID&mode=luma)");
    check("circle=true", "png;;circle(on=true)");
    check("circle=false&ellipse=false", "png;metadata=none;");
    check(r#"ops=[{"op":"ellipse"},{"op":"circle","on":true}]"#, "png;;ellipse(on=true)/circle(on=true)");
    check("radius=max", "png;;radius(radius=max)");
    check("transparent=FFFFFF80,0", "png;;transparent(color=ffffffff)");
    check("transparent=ffffff,255", "png;;transparent(color=ffffffff&tolerance=255)");
    check("overlay=ID&overlay_gravity=1,0", "png;;overlay(source=ID&gravity=northeast)");
    check("overlay=ID&overlay_gravity=0.5,0.5&overlay_x=-0", "png;;overlay(source=ID)");
    check("overlay=ID&overlay_opacity=0", "png;metadata=none;");
    check(
        "overlay=ID&overlay_tile&overlay_blend=soft-light&overlay_width=12.50%&overlay_y=-9&overlay_opacity=7",
        "png;;overlay(source=ID&y=-9&width=12.5%&opacity=7&blend=soft-light&tile=true)",
    );
    check(
        "overlay=ID&radius=3&transparent=000000&circle&mask=ID&ellipse",
        "png;;mask(source=ID)/circle(on=true)/ellipse(on=true)/radius(radius=3)/transparent(color=000000ff)/overlay(source=ID)",
    );
}

#[test]
fn what_comes_with_a_missing_image_is_refused_by_name() {
    refused("overlay_x=3", "overlay_x");
    refused("overlay_tile", "overlay_tile");
    refused("mask_mode=luma", "mask_mode");
    refused("mask_invert", "mask_invert");
    refused(r#"ops=[{"op":"mask"}]"#, "ops[0].source");
    refused(r#"ops=[{"op":"overlay","opacity":5}]"#, "ops[0].opacity");
    refused(r#"ops=[{"op":"transparent","tolerance":5}]"#, "ops[0].tolerance");
}

#[test]
fn arguments_of_masks_and_overlays_hold_at_their_bounds_and_not_one_past() {
    let overlay = format!("overlay={}&", Digest::of(b"a"));
    for (query, parameter) in [
        ("radius=16385", "radius"),
        ("transparent=ffffff,256", "transparent"),
        ("transparent=ffffff,-1", "transparent"),
        ("transparent=ffffff,1,1", "transparent"),
        ("transparent=red", "transparent"),
        ("mask=1234", "mask"),
    ] {
        refused(query, parameter);
    }
    for (query, parameter) in [
        ("overlay_x=65536", "overlay_x"),
        ("overlay_y=-65536", "overlay_y"),
        ("overlay_width=0", "overlay_width"),
        ("overlay_width=0%", "overlay_width"),
        ("overlay_width=16385", "overlay_width"),
        ("overlay_width=100.01%", "overlay_width"),
        ("overlay_opacity=101", "overlay_opacity"),
        ("overlay_blend=normal", "overlay_blend"),
        ("overlay_gravity=entropy", "overlay_gravity"),
    ] {
        refused(&(overlay.clone() + query), parameter);
    }
    for query in ["radius=1", "radius=16384", "transparent=ffffff,255"] {
        assert!(pipeline(query).is_ok(), "{query}");
    }
    for query in
        ["overlay_x=65535", "overlay_y=-65535", "overlay_width=1", "overlay_width=16384", "overlay_width=0.01%"]
    {
        assert!(pipeline(&(overlay.clone() + query)).is_ok(), "{query}");
    }
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
        Err(Error::Invalid { parameter: named, .. }) => assert_eq!(named, parameter, "{query}"),
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
    refused("rotate=360.01", "rotate");
    refused("fit=Cover", "fit");
    refused("fit=crop&fit=cover", "fit");
    refused("gray&grayscale", "grayscale");
    refused("gray=7", "gray");
    refused("blur=0&blur=0", "blur");
    refused("enlarge=yes", "enlarge");
    refused("flip=vh", "flip");
    refused("metadata=some", "metadata");
    refused("bg=red", "bg");
    refused("ops={}", "ops");
    refused("ops=[1]", "ops");
    refused("ops=[]&ops=[]", "ops");
    refused("ops=[]&w=3", "w");
    refused(r#"ops=[{"op":"flip","direction":"h","direction":"v"}]"#, "ops[0].direction");
    refused(r#"ops=[{"width":3}]"#, "ops[0].op");
    refused(r#"ops=[{"op":"solarize"}]"#, "ops[0].op");
    refused(r#"ops=[{"op":"flip"},{"op":"resize","w":3}]"#, "ops[1].w");
    refused(r#"ops=[{"op":"resize","width":-3}]"#, "ops[0].width");
    refused(r#"ops=[{"op":"resize","width":[3]}]"#, "ops[0].width");
}

/// Operations that are on or off are asked for by their name; all others without a default need an argument.
#[test]
fn an_operation_without_what_it_needs_is_refused_and_never_dropped() {
    for operation in OPERATIONS {
        let first = &operation.params[0];
        let json = format!(r#"ops=[{{"op":"invert"}},{{"op":"{}"}}]"#, operation.name);
        match (&first.default, &first.kind) {
            (Some(_), _) => assert_eq!(pipeline(&json).expect(&json).steps().len(), 1, "{json}"),
            (None, Kind::Flag) => assert_eq!(pipeline(&json).expect(&json).steps().len(), 2, "{json}"),
            (None, _) => refused(&json, &format!("ops[1].{}", first.name)),
        }
    }
    refused(r#"ops=[{"op":"sharpen","amount":0}]"#, "ops[0].amount");
    refused(r#"ops=[{"op":"duotone","dark":"000000"}]"#, "ops[0].light");
}

/// An argument that is refused only because of other arguments is also named as the client wrote it.
#[test]
fn arguments_that_do_not_go_together_are_named_as_they_are_written() {
    refused("duotone=000000", "duotone");
    refused("overlay_width=5", "overlay_width");
    refused("w=9&h=9&ar=1:2", "aspect");
    refused("w=65535&dpr=2", "dpr");
    refused(r#"ops=[{"op":"invert"},{"op":"resize","width":9,"height":9,"aspect":"1:2"}]"#, "ops[1].aspect");
    refused(r#"ops=[{"op":"crop","x":0,"y":0,"width":0,"height":1}]"#, "ops[0].width");
    let zero = format!(r#"ops=[{{"op":"overlay","source":"{}","width":0}}]"#, Digest::of(b"a"));
    refused(&zero, "ops[0].width");
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

/// The content of the key is a promise to every cache in front: it changes only with a revision.
#[test]
fn the_key_is_what_it_always_was() {
    let key = pipeline("w=300&h=200&fit=cover").expect("valid").key(&Digest::of(b""));
    assert_eq!(key.to_string(), "7029857d03871b29c913fae67548e7bb5c01009e9e70826b7554fe255d2cba3a");
}

#[test]
fn every_row_is_documented_and_every_example_is_a_render() {
    let rows = docs::rows();
    assert_eq!(rows.len(), ENCODE.len() + OPERATIONS.iter().map(|operation| operation.params.len()).sum::<usize>());
    for row in rows {
        assert!(row.doc.ends_with('.') && row.operation_doc.ends_with('.') && !row.allowed.is_empty(), "{row:?}");
        let pairs = crate::example(row.example, &Digest::of(b""));
        let example = Pipeline::from_query(&super::OUTPUT, &pairs).expect(row.example);
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

/// Reads a query as a server does.
fn read(codec: &'static codec::Codec, query: &str) -> Result<Pipeline, Error> {
    assert!(query.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~,:%&=".contains(&byte)), "{query}");
    let decode = |text: &str| {
        let mut parts = text.split('%');
        let mut decoded = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            decoded.push(char::from(u8::from_str_radix(&part[..2], 16).expect("two digits")));
            decoded.push_str(&part[2..]);
        }
        decoded
    };
    let pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').expect("a pair"))
        .map(|(key, value)| (key.to_owned(), decode(value)))
        .collect();
    Pipeline::from_query(codec, &pairs)
}

#[test]
fn the_canonical_query_is_flat_where_that_says_the_chain() {
    let check = |query: &str, expected: &str| assert_eq!(pipeline(query).expect(query).query(), expected, "{query}");
    check("", "");
    check("fit=inside", "metadata=none");
    check("flip=h&q=040&h=2&rotate=-90&w=1", "rotate=-90&width=1&height=2&flip=h&quality=40");
    check("bg=F00f00&w=9&h=9&fit=contain", "width=9&height=9&fit=contain&background=f00f00ff");
    check(r#"ops=[{"op":"resize","height":5,"enlarge":true}]"#, "height=5&enlarge=true");
    check(
        r#"ops=[{"op":"flip","direction":"h"},{"op":"rotate","angle":90}]&q=7"#,
        "ops=%5B%7B%22direction%22:%22h%22,%22op%22:%22flip%22%7D,%7B%22angle%22:90,%22op%22:%22rotate%22%7D%5D&quality=7",
    );
}

proptest! {
    #[test]
    fn text_reads_back(place in 0..codec::CODECS.len(), pairs in pairs(flat())) {
        match Pipeline::from_query(codec::CODECS[place], &pairs) {
            Ok(pipeline) => {
                prop_assert_eq!(pipeline.to_string().parse(), Ok(pipeline.clone()));
                prop_assert_eq!(pipeline.is_conversion(), pairs.is_empty());
                // A worker is told the text, and a client the query, of what a server makes of a request.
                for made in [pipeline.clone().without_metadata(), pipeline.unless_converts(true)] {
                    let made = made.tolerant_unless_said(true);
                    prop_assert_eq!(made.to_string().parse(), Ok(made.clone()));
                    prop_assert_eq!(read(made.codec(), &made.query()), Ok(made));
                }
            }
            Err(error) => prop_assert!(matches!(error, Error::Invalid { .. }), "{error}"),
        }
    }

    #[test]
    fn a_flat_query_has_a_flat_canonical_query(place in 0..codec::CODECS.len(), pairs in pairs(flat())) {
        if let Ok(pipeline) = Pipeline::from_query(codec::CODECS[place], &pairs) {
            let query = pipeline.query();
            prop_assert!(!query.contains("ops="), "{query}");
            prop_assert_eq!(read(pipeline.codec(), &query), Ok(pipeline));
        }
    }

    #[test]
    fn the_canonical_query_reads_back((place, text) in chain()) {
        if let Ok(pipeline) = text.parse::<Pipeline>() {
            // What the setting `tolerant` brought to a conversion is not the client's to write.
            let set = pipeline.is_conversion() && !pipeline.encode_args().are_defaults();
            let read = read(codec::CODECS[place], &pipeline.query()).map(|pipeline| pipeline.tolerant_unless_said(set));
            prop_assert_eq!(read, Ok(pipeline.clone()), "{}", pipeline.query());
        }
    }

    #[test]
    fn json_and_query_agree(pairs in pairs(OPERATIONS.iter().flat_map(|operation| heads(operation.params)).collect())) {
        let Ok(flat) = Pipeline::from_query(&super::OUTPUT, &pairs) else { return Ok(()) };
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

fn json(param: &Param, value: &Value) -> serde_json::Value {
    let printed = param.kind.print(value);
    match value {
        Value::Flag(on) => (*on).into(),
        Value::Number(_) => serde_json::from_str(&printed).expect("a number"),
        Value::Numbers(_) => serde_json::from_str(&format!("[{printed}]")).expect("numbers"),
        Value::Image(_) => serde_json::json!({ "id": printed }),
        _ => printed.into(),
    }
}
