//! Cases of `conditional`: the rules of RFC 9110 that a server can get wrong.

use proptest::prelude::*;

use super::*;

const ETAG: &str = "\"abc\"";

fn headers(fields: &[(HeaderName, &str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (name.clone(), value.parse().expect("a field value"))).collect()
}

#[test]
fn if_none_match_compares_weakly_and_knows_lists() {
    let check = |field: &str, expected| {
        assert_eq!(condition(&Method::GET, &headers(&[(IF_NONE_MATCH, field)]), Some(ETAG)), expected, "{field}");
    };
    for hit in [
        "\"abc\"",
        "W/\"abc\"",
        "*",
        " * ",
        "\"x\", \"abc\"",
        "\"x\",W/\"abc\" , \"y\"",
        "\"a,b\", \"abc\"",
        ",, \"abc\"",
    ] {
        check(hit, Condition::NotModified);
    }
    for miss in ["\"abcd\"", "abc", "\"ab", "", "\"x\" \"", "w/\"abc\"", "x, \"abc\""] {
        check(miss, Condition::Proceed);
    }
}

#[test]
fn conditions_of_other_methods_fail() {
    let check = |method: Method, name, field: &str, etag, expected| {
        assert_eq!(condition(&method, &headers(&[(name, field)]), etag), expected, "{method} {field}");
    };
    check(Method::HEAD, IF_NONE_MATCH, ETAG, Some(ETAG), Condition::NotModified);
    check(Method::PUT, IF_NONE_MATCH, "*", Some(ETAG), Condition::Failed);
    check(Method::PUT, IF_NONE_MATCH, "*", None, Condition::Proceed);
    check(Method::DELETE, IF_MATCH, ETAG, Some(ETAG), Condition::Proceed);
    check(Method::DELETE, IF_MATCH, "*", None, Condition::Failed);
    check(Method::DELETE, IF_MATCH, "*", Some(ETAG), Condition::Proceed);
    check(Method::GET, IF_MATCH, "W/\"abc\"", Some(ETAG), Condition::Failed);
    check(Method::GET, IF_MATCH, "\"x\"", Some(ETAG), Condition::Failed);
}

#[test]
fn several_fields_are_one_list() {
    let fields = headers(&[(IF_NONE_MATCH, "\"x\""), (IF_NONE_MATCH, ETAG)]);
    assert_eq!(condition(&Method::GET, &fields, Some(ETAG)), Condition::NotModified);
}

#[test]
fn if_match_is_asked_first() {
    let fields = headers(&[(IF_MATCH, "\"x\""), (IF_NONE_MATCH, ETAG)]);
    assert_eq!(condition(&Method::GET, &fields, Some(ETAG)), Condition::Failed);
}

fn range(field: &str, length: u64) -> Ranges {
    ranges(&Method::GET, &headers(&[(RANGE, field)]), ETAG, length)
}

#[test]
fn single_ranges() {
    let check = |field: &str, expected| assert_eq!(range(field, 10), expected, "{field}");
    check("bytes=0-0", Ranges::One(0..1));
    check("bytes=2-5", Ranges::One(2..6));
    check("bytes=2-", Ranges::One(2..10));
    check("bytes=-3", Ranges::One(7..10));
    check("bytes=-30", Ranges::One(0..10));
    check("bytes=5-99999999999999999999999", Ranges::One(5..10));
    check("bytes=0-9", Ranges::One(0..10));
    check("Bytes= 1-2 ", Ranges::One(1..3));
    for outside in ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99999999999999999999999-"] {
        check(outside, Ranges::Unsatisfiable);
    }
    for ignored in [
        "bytes=",
        "bytes",
        "bytes=5-2",
        "bytes=a-b",
        "bytes=-",
        "bytes=1",
        "lines=1-2",
        "bytes=+1-2",
        "bytes=1-2-3",
        "",
    ] {
        check(ignored, Ranges::Whole);
    }
    assert_eq!(range("bytes=0-", 0), Ranges::Unsatisfiable);
}

#[test]
fn several_ranges() {
    let check = |field: &str, expected| assert_eq!(range(field, 10), expected, "{field}");
    check("bytes=0-1,4-5", Ranges::Many(vec![0..2, 4..6]));
    check("bytes=0-1, 20-", Ranges::One(0..2));
    check("bytes=20-,30-", Ranges::Unsatisfiable);
    check("bytes=0-8,0-8", Ranges::Whole);
    check("bytes=0-0,1-1,2-2,3-3,4-4,5-5,6-6,7-7", Ranges::Many((0..8).map(|at| at..at + 1).collect()));
    check("bytes=0-0,1-1,2-2,3-3,4-4,5-5,6-6,7-7,8-8", Ranges::Whole);
    check("bytes=0-1,x", Ranges::Whole);
}

#[test]
fn ranges_are_for_get_and_the_same_strong_tag() {
    let check = |method: Method, tag: &str, expected| {
        let fields = headers(&[(RANGE, "bytes=0-0"), (IF_RANGE, tag)]);
        assert_eq!(ranges(&method, &fields, ETAG, 10), expected, "{method} {tag}");
    };
    check(Method::GET, ETAG, Ranges::One(0..1));
    check(Method::HEAD, ETAG, Ranges::Whole);
    check(Method::GET, "W/\"abc\"", Ranges::Whole);
    check(Method::GET, "\"x\"", Ranges::Whole);
    check(Method::GET, "Sat, 29 Oct 1994 19:43:31 GMT", Ranges::Whole);
}

proptest! {
    #[test]
    fn ranges_lie_inside_and_never_amplify(field in "bytes=[0-9,-]{0,40}|\\PC{0,20}", length in 0u64..100) {
        let Ok(value) = field.parse::<hyper::header::HeaderValue>() else { return Ok(()) };
        let mut fields = HeaderMap::new();
        fields.insert(RANGE, value);
        let found = match ranges(&Method::GET, &fields, ETAG, length) {
            Ranges::One(range) => vec![range],
            Ranges::Many(ranges) => ranges,
            Ranges::Whole | Ranges::Unsatisfiable => vec![],
        };
        prop_assert!(found.iter().all(|range| range.start < range.end && range.end <= length));
        prop_assert!(found.iter().map(|range| range.end - range.start).sum::<u64>() <= length);
    }

    #[test]
    fn no_list_of_tags_panics(list in "[W/\", a-c*]{0,30}") {
        let fields = headers(&[(IF_NONE_MATCH, &list)]);
        condition(&Method::GET, &fields, Some(ETAG));
    }
}

#[test]
fn entity_tags_are_quoted_hex() {
    let digest = Digest::of(b"");
    assert_eq!(ETag::of_original(&digest).as_str(), format!("\"{digest}\""));
    assert_eq!(ETag::of_key(&digest).as_str(), format!("\"{}\"", &digest.to_string()[..32]));
    assert_eq!(ETag::of_key(&digest).value(), ETag::of_key(&digest).as_str());
}
