//! Spellings of other services: one that means the same has the text of ours, and no row accepts what our own tables
//! accept.

use super::pipeline;
use progimage::pipeline::foreign::{FOREIGN, Means, Row};
use progimage::pipeline::invalid::Help;
use progimage::pipeline::{Error, is_known};

/// Queries that a pair may be added to.
const BESIDE: [&str; 4] = ["", "w=300&h=200&", "w=300&", "enlarge=false&w=300&h=200&fit=cover&"];

fn example(row: &Row) -> (&'static str, &'static str) {
    row.example.split_once('=').unwrap_or((row.example, ""))
}

/// Our spelling of the example of a row.
fn target(same: &str, value: &str) -> String {
    let all = same.replace("{},{},{},{}", "{}");
    all.replace("{}", value)
}

#[test]
fn what_means_the_same_has_the_same_text() {
    for row in FOREIGN {
        let (_, value) = example(row);
        let Means::Same(same) = row.means else { continue };
        let equal = |beside: &&str| {
            let (foreign, own) =
                (pipeline(&format!("{beside}{}", row.example)), pipeline(&(beside.to_string() + &target(same, value))));
            if let Ok(own) = &own {
                assert_eq!(
                    foreign.as_ref().map(ToString::to_string),
                    Ok(own.to_string()),
                    "{} beside {beside:?}",
                    row.example
                );
            }
            own.is_ok()
        };
        assert!(BESIDE.iter().filter(|beside| equal(beside)).count() > 0, "{}: {same} is never good", row.example);
    }
}

#[test]
fn what_does_nothing_leaves_no_trace() {
    for row in FOREIGN.iter().filter(|row| row.means == Means::Nothing) {
        assert_eq!(pipeline(row.example), pipeline("metadata=none"), "{}", row.example);
        assert_eq!(pipeline(&format!("w=30&{}", row.example)), pipeline("w=30"), "{}", row.example);
    }
    for (operation, argument, value) in [
        ("blur", "sigma", 0),
        ("sharpen", "sigma", 0),
        ("radius", "radius", 0),
        ("pixelate", "size", 1),
        ("median", "size", 1),
    ] {
        let json = format!(r#"ops=[{{"op":"{operation}","{argument}":{value}}},{{"op":"invert"}}]"#);
        assert_eq!(pipeline(&json), pipeline("invert"), "{json}");
    }
}

#[test]
fn the_words_of_a_value_are_good_in_json_too() {
    let flat = pipeline("w=30&h=20&fit=cover&g=west&bg=ffffff").expect("good");
    let json = r#"ops=[{"op":"resize","width":30,"height":20,"fit":"crop","gravity":"left","background":"white"}]"#;
    assert_eq!(pipeline(json), Ok(flat));
}

/// The other rows are refused with their hint. That the hint is a valid request is tested over HTTP.
#[test]
fn every_other_row_is_refused_with_its_hint() {
    for row in FOREIGN {
        let beginning = match row.means {
            Means::Same(_) | Means::Nothing => continue,
            Means::Query(query) | Means::Because(query, _) => query.split("{}").next().unwrap_or_default(),
            Means::Extension | Means::Words(_) => "",
        };
        let Err(Error::Invalid { parameter, kind }) = pipeline(row.example) else {
            panic!("{} is accepted", row.example)
        };
        assert_eq!(parameter, example(row).0, "{kind:?}");
        let kinds = if is_known(&parameter, example(row).1) { "value" } else { "unknown" };
        assert_eq!(kind.name(), kinds, "{}", row.example);
        match kind.help() {
            Help::Write(hint, _) => {
                assert!(hint.starts_with(beginning) && !hint.contains("{}"), "{}: {hint}", row.example)
            }
            Help::Extension(_) => assert_eq!(row.means, Means::Extension, "{}", row.example),
            Help::Words(told) => {
                assert!(matches!(row.means, Means::Words(words) if words == told), "{}", row.example);
            }
            other => panic!("{}: {other:?}", row.example),
        }
    }
}

#[test]
fn colours_and_ratios_are_read_as_css_writes_them() {
    for (foreign, own) in [
        ("w=9&h=9&fit=contain&bg=fa0", "w=9&h=9&fit=contain&bg=ffaa00"),
        ("w=9&h=9&fit=contain&bg=#000", "w=9&h=9&fit=contain&bg=000000"),
        ("w=9&h=9&fit=contain&bg=transparent", "w=9&h=9&fit=contain&bg=00000000"),
        ("duotone=black,white", "duotone=000000,ffffff"),
        ("ar=32/18", "ar=16:9"),
    ] {
        assert_eq!(pipeline(foreign), pipeline(own), "{foreign}");
    }
}

/// What was probably meant, as it is written in a query.
#[test]
fn what_was_meant_is_found_by_the_kind_of_the_parameter() {
    let help = |query: &str| match pipeline(query) {
        Err(Error::Invalid { kind, .. }) => kind.help().clone(),
        other => panic!("{query}: {other:?}"),
    };
    for (written, meant) in [
        ("grayscale=1", "grayscale=true"),
        ("lossless=0", "lossless=false"),
        ("ar=1.5", "ar=3:2"),
        ("max_bytes=10kb", "max_bytes=10k"),
        ("blur=2px", "blur=2"),
        ("rotate=90deg", "rotate=90"),
        ("w=300px", "w=300"),
        ("crop=1px,2px,30,40px", "crop=1,2,30,40"),
        ("hue-rotate=90", "hue=90"),
        ("border=3", "pad=3"),
        ("sharp=2", "sharpen=2"),
        ("smart", "fit=cover&gravity=attention"),
        ("fit=pad&w=3", "fit=contain&enlarge=true"),
        ("w=300&aspect_ratio=16:9", "aspect=16:9&fit=cover"),
    ] {
        assert!(matches!(help(written), Help::Write(hint, _) if hint == meant), "{written}: {:?}", help(written));
    }
}

/// Names are read exactly, those of others as our own; another case is a slip.
#[test]
fn names_in_capitals_are_alike_for_our_values_and_those_of_others() {
    for query in ["Gravity=top", "Gravity=north", "FIT=crop", "FIT=cover"] {
        let Err(Error::Invalid { kind, .. }) = pipeline(query) else { panic!("{query} is accepted") };
        assert_eq!(kind.name(), "unknown", "{query}");
        assert!(matches!(kind.help(), Help::Nearest(_)), "{query}: {:?}", kind.help());
    }
}

#[test]
fn an_overlay_is_never_told_of_the_gravity_of_the_image() {
    for query in ["overlay_gravity=smart", "overlay_gravity=face", "overlay_gravity=fp:0.5:0.3"] {
        let Err(Error::Invalid { kind, .. }) = pipeline(query) else { panic!("{query} is accepted") };
        assert!(matches!(kind.help(), Help::Words(_)), "{query}: {:?}", kind.help());
    }
}

#[test]
fn only_a_true_repeat_is_given_twice() {
    for (query, name) in [
        ("w=3&w=3", "repeated"),
        ("w=3&width=4", "repeated"),
        ("greyscale&grayscale", "repeated"),
        ("flop&flip=h", "repeated"),
        ("flop&flip=v", "conflict"),
        ("enlarge=true&withoutEnlargement=true", "conflict"),
        ("withoutEnlargement&enlarge", "conflict"),
    ] {
        let Err(Error::Invalid { kind, .. }) = pipeline(query) else { panic!("{query} is accepted") };
        assert_eq!(kind.name(), name, "{query}");
    }
}
