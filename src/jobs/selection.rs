//! [`Selection`]: a source that names a part of the store, `{"all": true}`, `{"prefix": "0ab"}` or `{"after": "<id>", "limit":
//! n}`. Such a line stands for one item for each of these images.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Place;
use super::chunk::{CHUNK_BYTES, CHUNK_ITEMS_MAX, Item};
use crate::digest::Digest;

/// The longest line that may be a selection: each of its images repeats the line.
const LINE_BYTES_MAX: usize = 64 << 10;

/// The part of the store that a line names, in digest order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Only images after this one.
    pub after: Option<Digest>,
    /// The most images.
    pub limit: Option<u64>,
    /// Whether all images must be listed before any of them runs: the outputs are stored, and would be listed, too.
    pub whole: bool,
}

#[derive(Deserialize)]
struct Line {
    source: SourceMembers,
    #[serde(default)]
    outputs: Vec<OutputMembers>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceMembers {
    all: Option<bool>,
    after: Option<String>,
    prefix: Option<Prefix>,
    limit: Option<u64>,
}

/// The first digits of ids, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Prefix(String);

impl TryFrom<String> for Prefix {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Prefix, &'static str> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let is_prefix = (1..=64).contains(&text.len()) && text.bytes().all(is_digit);
        if is_prefix { Ok(Prefix(text)) } else { Err(PREFIX) }
    }
}

const PREFIX: &str = "1 to 64 lower-case hexadecimal digits";

impl Prefix {
    /// Whether an id begins so.
    pub fn is_of(&self, id: &Digest) -> bool {
        id.hex().as_str().starts_with(&self.0)
    }

    /// Whether some id begins with both.
    pub fn overlaps(&self, other: &Prefix) -> bool {
        self.0.starts_with(&other.0) || other.0.starts_with(&self.0)
    }

    /// The last id before all that begin so; `None`: there is none.
    pub fn before(&self) -> Option<Digest> {
        let first = format!("{:0<64}", self.0).parse::<Digest>().ok()?;
        let mut bytes = *first.as_bytes();
        for byte in bytes.iter_mut().rev() {
            let (less, borrows) = byte.overflowing_sub(1);
            *byte = less;
            if !borrows {
                return Some(Digest::from_bytes(bytes));
            }
        }
        None
    }
}

#[derive(Deserialize)]
struct OutputMembers {
    to: Option<Value>,
}

impl Selection {
    /// Reads the selection of a line; `None`: the source is something else, or malformed.
    pub fn of(line: &[u8]) -> Option<Selection> {
        if line.len() > LINE_BYTES_MAX {
            return None;
        }
        // Most lines name an image. These are not parsed here.
        let may_be = [&b"\"all\""[..], b"\"after\"", b"\"limit\"", b"\"prefix\""]
            .iter()
            .any(|name| memchr::memmem::find(line, name).is_some());
        if !may_be {
            return None;
        }
        // Unknown members are copied into each item, so the whole line must be valid, not only what is read below.
        serde_json::from_slice::<Map<String, Value>>(line).ok()?;
        let Line { source: SourceMembers { all, after, prefix, limit }, outputs } =
            serde_json::from_slice(line).ok()?;
        let names_any =
            all == Some(true) || (all.is_none() && (after.is_some() || prefix.is_some() || limit.is_some()));
        let names_any = names_any && limit != Some(0);
        let after = after.map(|after| after.parse()).transpose().ok()?;
        let whole = outputs.iter().any(|output| output.to.as_ref().is_some_and(|to| to == "blob"));
        names_any.then_some(Selection { after, limit, whole })
    }

    /// The first digits of all ids of a selection's line, if it names them.
    pub fn prefix(line: &[u8]) -> Option<Prefix> {
        serde_json::from_slice::<Line>(line).ok()?.source.prefix
    }
}

/// The mistake in the source of a line that is no selection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The member of the source.
    pub member: String,
    /// The value of the member, as JSON.
    pub value: String,
    /// What is wrong with it.
    pub wrong: Wrong,
}

/// What is wrong with a member of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Its value; what would be good there.
    Value(&'static str),
    /// Its name; what members may be called there.
    Name(&'static [&'static str]),
}

impl Mistake {
    /// Finds the first mistake in the source of a line; `None`: the mistake is elsewhere, and another reader reports
    /// it.
    pub fn of(line: &[u8]) -> Option<Mistake> {
        let line = Some(line).filter(|line| line.len() <= LINE_BYTES_MAX)?;
        let Value::Object(source) = serde_json::from_slice::<Map<String, Value>>(line).ok()?.remove("source")? else {
            return None;
        };
        let selects = ["all", "after", "prefix", "limit"].iter().any(|name| source.contains_key(*name));
        source.into_iter().find_map(|(member, value)| {
            let wrong = wrong(&member, &value, selects)?;
            Some(Mistake { member, value: value.to_string(), wrong })
        })
    }
}

/// What is wrong with a member of a source, if something is.
fn wrong(member: &str, value: &Value, selects: bool) -> Option<Wrong> {
    let is_id = |value: &Value| value.as_str().is_some_and(|text| text.parse::<Digest>().is_ok());
    match member {
        "all" => (value != true).then_some(Wrong::Value("true")),
        "after" => (!is_id(value)).then_some(Wrong::Value("an id of 64 lower-case hexadecimal digits")),
        "prefix" => {
            let is_prefix = value.as_str().is_some_and(|text| Prefix::try_from(text.to_owned()).is_ok());
            (!is_prefix).then_some(Wrong::Value(PREFIX))
        }
        "limit" => (value.as_u64().is_none_or(|limit| limit == 0)).then_some(Wrong::Value("1 or more")),
        _ if selects => Some(Wrong::Name(&["all", "after", "prefix", "limit"])),
        "id" | "url" | "data" | "part" => None,
        _ => Some(Wrong::Name(&["id", "url", "data", "all", "after", "prefix", "limit"])),
    }
}

/// A selection in progress.
pub struct Selecting {
    pub item: u64,
    /// The last image so far.
    pub after: Option<Digest>,
    /// Images that are left of the limit.
    pub left: Option<u64>,
    /// Images so far.
    pub parts: u64,
    pub line: Bytes,
}

impl Selecting {
    /// The number of images that the next chunk may take.
    pub fn page(&self) -> usize {
        let fit = (CHUNK_BYTES / (self.line.len() + 64)).clamp(1, CHUNK_ITEMS_MAX) as u64;
        self.left.map_or(fit, |left| left.min(fit)) as usize
    }

    /// The line of the images with this prefix that are left, for another run of them. `None`: the selection has a limit, which
    /// they might exceed.
    pub fn left_of(&self, prefix: &str) -> Option<Bytes> {
        let mut line = serde_json::from_slice::<Map<String, Value>>(&self.line).ok().filter(|_| self.left.is_none())?;
        let prefix = Prefix::try_from(prefix.to_owned()).ok()?;
        let mut source = json!({ "prefix": prefix.0 });
        if let Some(after) = self.after.filter(|after| prefix.is_of(after)) {
            source["after"] = after.hex().as_str().into();
        }
        line.insert("source".to_owned(), source);
        Some(json!(line).to_string().into())
    }

    /// The items of some images: copies of the line, each with one image as its source.
    pub fn items(&self, images: &[Digest]) -> Vec<Item> {
        let Ok(mut line) = serde_json::from_slice::<Map<String, Value>>(&self.line) else { return Vec::new() };
        let mut item = |(part, image): (u64, &Digest)| {
            line.insert("source".to_owned(), json!({ "id": image.hex().as_str() }));
            Item { place: Place { item: self.item, part }, line: Bytes::from(json!(line).to_string()) }
        };
        (self.parts + 1..).zip(images).map(&mut item).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sources_that_name_a_part_of_the_store_are_selections() {
        let id = Digest::of(b"");
        let (all, none) = (Selection { after: None, limit: None, whole: false }, None);
        let check = |source: &str, outputs: &str, expected: Option<Selection>| {
            let line = format!("{{\"key\": \"all\", \"source\": {source}, \"outputs\": {outputs}}}");
            assert_eq!(Selection::of(line.as_bytes()), expected, "{line}");
        };
        check(r#"{"all": true}"#, "[]", Some(all));
        check(r#"{"all": true, "limit": 3}"#, "[]", Some(Selection { limit: Some(3), ..all }));
        check(r#"{"limit": 1}"#, "[]", Some(Selection { limit: Some(1), ..all }));
        check(r#"{"prefix": "0ab"}"#, "[]", Some(all));
        let after = format!("{{\"after\": \"{id}\"}}");
        check(&after, r#"[{"format": "png"}]"#, Some(Selection { after: Some(id), ..all }));
        check(r#"{"all": true}"#, r#"[{"to": "rendition"}, {"to": "blob"}]"#, Some(Selection { whole: true, ..all }));
        for other in [
            r#"{"all": false}"#,
            r#"{"all": 1}"#,
            r#"{"after": "x"}"#,
            r#"{"limit": -1}"#,
            r#"{"prefix": "0AB"}"#,
            r#"{"prefix": ""}"#,
            r#"{"limit": 0}"#,
            r#"{"all": true, "limit": 0}"#,
            r#"{"all": true, "id": "x"}"#,
        ] {
            check(other, "[]", none);
        }
        check(r#"{"id": "x"}"#, "[]", none);
        // What could not be copied into an item.
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for key in [r#""\ud800""#, "1e999", &deep] {
            let line = format!("{{\"key\": {key}, \"source\": {{\"all\": true}}}}");
            assert_eq!(Selection::of(line.as_bytes()), None, "{line}");
        }
        assert_eq!(Selection::of(br#"[{"all": true}, []]"#), None);
        let long = format!("{{\"source\": {{\"all\": true}}, \"key\": \"{}\"}}", "x".repeat(LINE_BYTES_MAX));
        assert_eq!(Selection::of(long.as_bytes()), None);
    }

    #[test]
    fn the_member_that_is_wrong_is_named() {
        let check = |source: &str, expected: Option<(&str, &str, Wrong)>| {
            let line = format!("{{\"source\": {source}, \"outputs\": []}}");
            let mistake = Mistake::of(line.as_bytes());
            let found = mistake.as_ref().map(|m| (m.member.as_str(), m.value.as_str(), m.wrong));
            assert_eq!(found, expected, "{source}");
        };
        let sources = Wrong::Name(&["id", "url", "data", "all", "after", "prefix", "limit"]);
        let id = Wrong::Value("an id of 64 lower-case hexadecimal digits");
        check(r#"{"after": "zz"}"#, Some(("after", "\"zz\"", id)));
        check(r#"{"all": "yes"}"#, Some(("all", "\"yes\"", Wrong::Value("true"))));
        check(r#"{"all": false}"#, Some(("all", "false", Wrong::Value("true"))));
        check(r#"{"limit": 0}"#, Some(("limit", "0", Wrong::Value("1 or more"))));
        check(r#"{"all": true, "limit": -1}"#, Some(("limit", "-1", Wrong::Value("1 or more"))));
        check(r#"{"all": true, "id": "x"}"#, Some(("id", "\"x\"", Wrong::Name(&["all", "after", "prefix", "limit"]))));
        check(r#"{"ids": []}"#, Some(("ids", "[]", sources)));
        for other in [r#"{"all": true}"#, r#"{"id": "x"}"#, r#"{"part": 1}"#, "{}", "1"] {
            check(other, None);
        }
    }

    #[test]
    fn each_image_takes_the_place_of_the_source() {
        let line = Bytes::from_static(br#"{"source":{"all":true},"outputs":[{"format":"png"}],"key":"k"}"#);
        let selecting = Selecting { item: 4, after: None, left: Some(2), parts: 10, line };
        assert_eq!(selecting.page(), 2);
        let images = [Digest::of(b"a"), Digest::of(b"b")];
        let items = selecting.items(&images);
        assert_eq!(items.iter().map(|item| item.place.part).collect::<Vec<_>>(), [11, 12]);
        let line: Value = serde_json::from_slice(&items[1].line).expect("JSON");
        assert_eq!(line, json!({"source": {"id": images[1]}, "outputs": [{"format": "png"}], "key": "k"}));
    }

    #[test]
    fn a_prefix_names_all_ids_that_begin_so() {
        let prefix = |text: &str| Prefix::try_from(text.to_owned()).expect("a prefix");
        let before = |text: &str| prefix(text).before().map(|id| id.to_string());
        assert_eq!((before("0"), before("000")), (None, None));
        assert_eq!(before("0ab"), Some(format!("0aa{}", "f".repeat(61))));
        assert_eq!(before("1"), Some(format!("0{}", "f".repeat(63))));
        let id: Digest = format!("0ab{}", "0".repeat(61)).parse().expect("an id");
        assert!(prefix("0").is_of(&id) && prefix("0ab").is_of(&id) && !prefix("0ac").is_of(&id));
        let line = br#"{"source": {"all": true}, "outputs": [], "key": "k"}"#;
        let mut selecting = Selecting { item: 1, after: None, left: None, parts: 0, line: Bytes::from_static(line) };
        let left = |selecting: &Selecting| -> Value {
            serde_json::from_slice(&selecting.left_of("0ab").expect("a line")).expect("JSON")
        };
        assert_eq!(left(&selecting), json!({"source": {"prefix": "0ab"}, "outputs": [], "key": "k"}));
        selecting.after = Some(id);
        assert_eq!(left(&selecting)["source"], json!({"prefix": "0ab", "after": id.to_string()}));
        selecting.left = Some(3);
        assert_eq!(selecting.left_of("0ab"), None);
    }
}
