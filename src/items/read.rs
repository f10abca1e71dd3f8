//! Reads one line of JSON as an [`Item`]. An error names the path of its member, and what is allowed there.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde_json::value::RawValue;

use super::members::{Members, Outputs};
use super::{Error, Item, KEY_BYTES_MAX, OUTPUTS_MAX, Options, Output, Source, To, Unread};
use crate::digest::Digest;
use crate::pipeline::codec::{CODECS, Codec, by_extension};
use crate::pipeline::invalid::{Help, one_of, unknown_of};
use crate::pipeline::json::plain;
use crate::pipeline::query::{Pairs, url};
use crate::pipeline::{self, ENCODE, Pipeline, within};

/// Most bytes of the JSON of one chain, equal to the bound of the part `ops` of a form.
pub(super) const OPS_BYTES_MAX: usize = 64 << 10;

/// Base64 with + and /; padding may be left out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads one item.
pub(super) fn item(line: &[u8], options: &Options, places: &[To]) -> Result<Item, Unread> {
    let unread = |key: &Option<String>, error| Unread { key: key.clone(), error };
    let members = Members::of_line(line).map_err(|error| unread(&None, error))?;
    let key = key(&members).map_err(|error| unread(&None, error))?;
    let rest = || {
        members.are_among(&["key", "source", "outputs"])?;
        Ok((source(&members, options, places)?, outputs(&members, options, places)?))
    };
    let (source, outputs) = rest().map_err(|error| unread(&key, error))?;
    Ok(Item { key, source, outputs })
}

fn key(item: &Members) -> Result<Option<String>, Error> {
    let Some(key) = item.text("key")? else { return Ok(None) };
    if key.len() > KEY_BYTES_MAX {
        return Err(item.refused("key", &key, &format!("at most {KEY_BYTES_MAX} bytes")));
    }
    Ok(Some(key))
}

/// Members of a source, of which it has one.
const SOURCES: &[&str] = &["id", "url", "data", "part"];
/// Members of the source of a job, which has no parts but may be a selection.
const JOB_SOURCES: &[&str] = &["id", "url", "data", "all", "after", "limit"];
/// Members of a selection, which only jobs take.
const SELECTION: [&str; 3] = ["all", "after", "limit"];

/// Whether items with these places are those of a job: no client waits for its bytes.
fn is_job(places: &[To]) -> bool {
    !places.contains(&To::Response)
}

fn source(item: &Members, options: &Options, places: &[To]) -> Result<Source, Error> {
    let allowed = format!("an object with one of {}", if is_job(places) { JOB_SOURCES } else { SOURCES }.join(", "));
    let json = item.get("source").ok_or_else(|| item.missing("source", &allowed))?;
    let source = Members::of("source", json, &allowed)?;
    if let Some((name, value)) = source.members.iter().find(|(name, _)| SELECTION.contains(&name.as_str()))
        && !is_job(places)
    {
        let error =
            unknown_of(name, &plain(value.get()), SOURCES).helped(Help::Words("selections are for /jobs".into()));
        return Err(source.within(error));
    }
    source.are_among(SOURCES)?;
    let [(name, _)] = source.members.as_slice() else {
        return Err(item.refused("source", json.get(), &allowed));
    };
    let name = name.as_str();
    if name == "data" {
        return data(&source, options).map(|bytes| Source::Bytes(bytes.into()));
    }
    let text = source.text(name)?.unwrap_or_default();
    Ok(match name {
        "id" => {
            Source::Stored(text.parse().map_err(|_| source.refused("id", &text, "64 lower-case hexadecimal digits"))?)
        }
        "url" => Source::Remote(text),
        _ => Source::Part(text),
    })
}

/// The bytes of base64. The text is not copied first, since it may be most of a long line.
fn data(source: &Members, options: &Options) -> Result<Bytes, Error> {
    let refused = |text: &str| source.refused("data", text, "the bytes of an image in base64");
    let json = source.get("data").map_or("", RawValue::get);
    let text = match json.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(plain) if !plain.contains('\\') => std::borrow::Cow::Borrowed(plain),
        // JSON may write / as \/.
        _ => source.text("data")?.unwrap_or_default().into(),
    };
    let bytes = text.trim_end_matches('=').len() as u64 * 3 / 4;
    within("bytes_max", bytes, options.bytes_max)?;
    BASE64.decode(text.as_bytes()).map(Bytes::from).map_err(|_| refused(&text))
}

fn outputs(item: &Members, options: &Options, places: &[To]) -> Result<Vec<Output>, Error> {
    let allowed = format!("an array of 1 to {OUTPUTS_MAX} objects, each with \"format\"");
    let refused = |text: &str| item.refused("outputs", text, &allowed);
    let json = item.get("outputs").ok_or_else(|| item.missing("outputs", &allowed))?;
    let Outputs { first, count } = serde_json::from_str(json.get()).map_err(|_| refused(json.get()))?;
    within("outputs_max", count as u64, OUTPUTS_MAX as u64)?;
    if count == 0 {
        return Err(refused("[]"));
    }
    first.into_iter().enumerate().map(|(index, json)| output(index, json, options, places)).collect()
}

fn output(index: usize, json: &RawValue, options: &Options, places: &[To]) -> Result<Output, Error> {
    let path = format!("outputs[{index}]");
    let output = Members::of(&path, json, "an object with \"format\"")?;
    output.are_once()?;
    let codec = format(&output)?;
    let to = to(&output, places)?;
    let preset = output.text("preset")?;
    let known = |name: &str| ["format", "to", "preset"].contains(&name);
    let free: Vec<_> = output.members.iter().filter(|(name, _)| !known(name)).collect();
    if options.presets.only
        && let Some((name, value)) = free.first()
    {
        return Err(output.within(options.presets.alone(name, &plain(value.get()))));
    }
    let preset_pairs = match &preset {
        None => [].as_slice(),
        Some(name) => preset_of(&output, options, name)?,
    };
    let mut encode = Vec::new();
    for (name, value) in free.iter().filter(|(name, _)| name != "ops") {
        if !ENCODE.iter().any(|param| param.name == name) {
            let value = plain(value.get());
            return Err(output.within(pipeline::unknown_member(name, &value, &["format", "to", "preset", "ops"])));
        }
        encode.push((name.clone(), output.json(name)?));
    }
    let pipeline = Pipeline::from_json(codec, preset_pairs, &encode, ops(&output)?);
    let pipeline = pipeline.map_err(|error| output.within(error))?;
    let pipeline = pipeline.unless_converts(options.convert_renders).tolerant_unless_said(options.tolerant);
    // A rendition is what its URL says, which of an original in its own format is the original.
    let pipeline = if to == To::Rendition { pipeline } else { pipeline.without_metadata() };
    let query = match preset {
        Some(name) if options.presets.only => format!("preset={name}"),
        _ => pipeline.query().to_owned(),
    };
    if to == To::Rendition {
        // A rendition that no URL can name would be kept in vain. All ids are equally long.
        let bytes = url(&Digest::from_bytes([0; 32]), codec, &query).len();
        within("url_bytes_max", bytes as u64, options.url_bytes_max as u64)?;
    }
    Ok(Output { pipeline, query, to })
}

/// What the preset of an output stands for, if the other members may be used with it.
fn preset_of<'a>(output: &Members, options: &'a Options, name: &str) -> Result<&'a Pairs, Error> {
    let refused = |error| output.within(error);
    let stands_for = options.presets.get(name).ok_or_else(|| refused(options.presets.refused("preset", name)))?;
    let others: Vec<_> = output.members.iter().map(|(name, value)| (name.as_str(), plain(value.get()))).collect();
    let others = others.iter().map(|(name, value)| (*name, value.as_ref()));
    pipeline::check_with_preset(
        name,
        stands_for,
        others.filter(|(name, _)| !["format", "to", "preset"].contains(name)),
    )
    .map_err(refused)?;
    Ok(stands_for)
}

fn format(output: &Members) -> Result<&'static Codec, Error> {
    let allowed = || {
        let written = CODECS.iter().filter(|codec| codec.encoder.is_some());
        written.flat_map(|codec| codec.extensions).copied().collect::<Vec<_>>().join(", ")
    };
    let name = output.text("format")?.ok_or_else(|| output.missing("format", &allowed()))?;
    let codec = by_extension(&name).filter(|codec| codec.encoder.is_some());
    codec.ok_or_else(|| output.within(pipeline::codec::unwritten("format", &name, allowed())))
}

fn to(output: &Members, places: &[To]) -> Result<To, Error> {
    let Some(name) = output.text("to")? else { return Ok(places[0]) };
    places.iter().find(|to| to.name() == name).copied().ok_or_else(|| {
        let names: Vec<&str> = places.iter().map(|to| to.name()).collect();
        let refused = one_of("to", &name, &names);
        let refused = if name == To::Response.name() { refused.because("a job returns no bytes") } else { refused };
        output.within(refused)
    })
}

fn ops<'a>(output: &Members<'a>) -> Result<Option<&'a str>, Error> {
    let Some(json) = output.get("ops") else { return Ok(None) };
    within("ops_bytes_max", json.get().len() as u64, OPS_BYTES_MAX as u64)?;
    Ok(Some(json.get()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Presets;

    const PLACES: &[To] = &[To::Response, To::Blob, To::Rendition];

    fn options() -> Options {
        let mut presets = Presets::default();
        presets.set(Presets::named("thumb:w=300&q=60").expect("good"));
        Options { presets, bytes_max: 6, url_bytes_max: 100, ..Options::default() }
    }

    fn read(line: &str) -> Result<Item, Unread> {
        item(line.as_bytes(), &options(), PLACES)
    }

    /// An item around one output.
    fn with(output: &str) -> String {
        format!("{{\"source\": {{\"part\": \"p\"}}, \"outputs\": [{output}]}}")
    }

    #[test]
    fn an_item_says_what_a_url_says() {
        let check = |output: &str, pipeline: &str, to: To| {
            let item = read(&with(output)).unwrap_or_else(|unread| panic!("{output}: {}", unread.error));
            assert_eq!((item.outputs[0].pipeline.to_string().as_str(), item.outputs[0].to), (pipeline, to), "{output}");
        };
        check(r#"{"format": "jpg"}"#, "jpeg;metadata=strip;", To::Response);
        check(r#"{"format": "jpg", "to": "rendition"}"#, "jpeg;;", To::Rendition);
        check(r#"{"format": "webp", "quality": 80, "to": "blob"}"#, "webp;quality=80;", To::Blob);
        check(r#"{"format": "webp", "lossless": true, "ops": []}"#, "webp;lossless=true;", To::Response);
        let chain = r#"{"format": "png", "ops": [{"op": "rotate", "angle": 90}, {"op": "resize", "width": 300}]}"#;
        check(chain, "png;;rotate(angle=90)/resize(width=300)", To::Response);
        check(r#"{"format": "webp", "preset": "thumb"}"#, "webp;quality=60;resize(width=300)", To::Response);
        check(r#"{"format": "png", "to": "rendition"}"#, "png;;", To::Rendition);
    }

    #[test]
    fn every_kind_of_source_is_read() {
        let check = |source: &str, expected: Source| {
            let line = format!("{{\"key\": \"k\", \"outputs\": [{{\"format\": \"png\"}}], \"source\": {source}}}");
            let item = read(&line).unwrap_or_else(|unread| panic!("{source}: {}", unread.error));
            assert_eq!((item.source, item.key.as_deref()), (expected, Some("k")), "{source}");
        };
        let id = Digest::of(b"x");
        check(&format!("{{\"id\": \"{id}\"}}"), Source::Stored(id));
        check(r#"{"url": "http://a/"}"#, Source::Remote("http://a/".to_owned()));
        check(r#"{"part": "p"}"#, Source::Part("p".to_owned()));
        for text in ["/+7w", r"\/+7w", "/+4=", "/+4", "AAAAAAAA"] {
            let plain = text.replace('\\', "");
            let bytes = BASE64.decode(plain).expect("base64");
            check(&format!("{{\"data\": \"{text}\"}}"), Source::Bytes(Bytes::from(bytes).into()));
        }
    }

    /// The parameter that is named, and the kind of the mistake.
    fn mistake(line: &str) -> (String, &'static str) {
        match read(line).map_err(|unread| unread.error) {
            Err(Error::Renditions(crate::renditions::Error::Pipeline(pipeline::Error::Invalid {
                parameter,
                kind,
            }))) => (parameter, kind.name()),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn of_a_line_that_cannot_be_read_only_the_place_is_shown() {
        let check = |line: &str, why: &str| {
            let error = read(line).expect_err(line).error.to_string();
            let must = "one JSON object a line: {\"source\": {...}, \"outputs\": [...]}";
            assert_eq!(error, format!("item must be {must} ({why})"), "{line}");
        };
        check("https://user:secret@host/", "not valid JSON: error at column 1");
        check(
            "\"https://user:secret@host/\"",
            "valid JSON, but not an object with source and outputs: error at column 27",
        );
        check("null", "valid JSON, but not an object with source and outputs: error at column 4");
        check("{\"source\":\n\"https://user:secret@host/\"", "not valid JSON: error at line 2, column 27");
    }

    #[test]
    fn mistakes_are_reported_by_their_member_and_kind() {
        let check = |line: &str, parameter: &str, kind: &str| {
            assert_eq!(mistake(line), (parameter.to_owned(), kind), "{line}");
        };
        for bad in ["", "x", "[]", "{", "{} x", "\u{ff}", "1"] {
            check(bad, "item", "value");
        }
        check("{}", "source", "missing");
        check(r#"{"key": 1}"#, "key", "value");
        check(r#"{"key": "a", "key": "a"}"#, "key", "repeated");
        check(r#"{"more": 1}"#, "more", "unknown");
        for bad in ["{}", "1", r#"{"id": "x", "url": "y"}"#] {
            check(&format!("{{\"source\": {bad}}}"), "source", "value");
        }
        check(r#"{"source": {"id": "x"}}"#, "source.id", "value");
        check(r#"{"source": {"url": 1}}"#, "source.url", "value");
        check(r#"{"source": {"path": "x"}}"#, "source.path", "unknown");
        for bad in ["\"*\"", "1", "\"A\""] {
            check(&format!("{{\"source\": {{\"data\": {bad}}}}}"), "source.data", "value");
        }
        check(r#"{"source": {"part": "p"}}"#, "outputs", "missing");
        for bad in [r#"{"source": {"part": "p"}, "outputs": {}}"#, &with("")] {
            check(bad, "outputs", "value");
        }
        let outputs = [
            ("1", "outputs[0]", "value"),
            ("{}", "outputs[0].format", "missing"),
            (r#"{"format": "auto"}"#, "outputs[0].format", "value"),
            (r#"{"format": "heic"}"#, "outputs[0].format", "value"),
            (r#"{"format": ""}"#, "outputs[0].format", "value"),
            (r#"{"format": "png", "to": "disk"}"#, "outputs[0].to", "value"),
            (r#"{"format": "png", "width": 3}"#, "outputs[0].width", "unknown"),
            (r#"{"format": "png", "q": 3}"#, "outputs[0].q", "unknown"),
            (r#"{"format": "png", "quality": 0}"#, "outputs[0].quality", "value"),
            (r#"{"format": "png", "quality": 3, "quality": 3}"#, "outputs[0].quality", "repeated"),
            (r#"{"format": "jpg", "lossless": true}"#, "outputs[0].lossless", "conflict"),
            (r#"{"format": "png", "preset": "big"}"#, "outputs[0].preset", "value"),
            (r#"{"format": "png", "ops": {}}"#, "outputs[0].ops", "value"),
            (r#"{"format": "png", "ops": [1]}"#, "outputs[0].ops", "value"),
            (r#"{"format": "png", "ops": [{}]}"#, "outputs[0].ops[0].op", "missing"),
            (r#"{"format": "png", "ops": [{"op": 5}]}"#, "outputs[0].ops[0].op", "value"),
            (r#"{"format": "png", "ops": [{"op": "x"}]}"#, "outputs[0].ops[0].op", "value"),
            (r#"{"format": "png", "ops": [{"op": "resize"}]}"#, "outputs[0].ops[0].width", "missing"),
            (r#"{"format": "png", "ops": [{"op": "resize", "width": 0}]}"#, "outputs[0].ops[0].width", "value"),
            (r#"{"format": "png", "preset": "thumb", "ops": []}"#, "outputs[0].ops", "conflict"),
            (r#"{"format": "png", "preset": "thumb", "quality": 3}"#, "outputs[0].quality", "conflict"),
        ];
        for (output, parameter, kind) in outputs {
            check(&with(output), parameter, kind);
        }
        check(&with(r#"{"format": "png"}, {"format": "png", "effort": 10}"#), "outputs[1].effort", "value");
    }

    #[test]
    fn what_only_jobs_or_only_bulk_take_is_said() {
        let said =
            |line: &str, places: &[To]| item(line.as_bytes(), &options(), places).expect_err(line).error.to_string();
        let job = [To::Rendition, To::Blob];
        let to = said(&with(r#"{"format": "png", "to": "response"}"#), &job);
        assert_eq!(to, r#"outputs[0].to must be rendition or blob, not "response" (a job returns no bytes)"#);
        let to = said(&with(r#"{"format": "png", "to": "disk"}"#), PLACES);
        assert_eq!(to, r#"outputs[0].to must be response, blob or rendition, not "disk""#);
        let selects = said(r#"{"source": {"all": true}}"#, PLACES);
        assert_eq!(selects, "unknown parameter source.all; selections are for /jobs");
        for (places, last) in [(PLACES, "part"), (&job, "limit")] {
            assert!(said(r#"{"source": {}}"#, places).contains(&format!("{last}, not")), "{places:?}");
        }
    }

    #[test]
    fn an_item_that_cannot_be_read_keeps_its_key() {
        for (line, key) in [
            (r#"{"key": "k", "source": 1}"#, Some("k")),
            (r#"{"source": 1, "key": "k"}"#, Some("k")),
            (r#"{"key": "k", "#, None),
            (r#"{"key": 1}"#, None),
        ] {
            assert_eq!(read(line).expect_err(line).key.as_deref(), key, "{line}");
        }
    }

    #[test]
    fn presets_alone_leave_nothing_free() {
        let mut options = options();
        options.presets.only = true;
        let read = |output: &str| item(with(output).as_bytes(), &options, PLACES);
        let query = |output| read(output).expect(output).outputs.remove(0).query;
        assert_eq!(query(r#"{"format": "webp", "preset": "thumb", "to": "blob"}"#), "preset=thumb");
        assert_eq!(query(r#"{"format": "webp", "to": "rendition"}"#), "");
        for bad in [r#"{"format": "webp", "quality": 3}"#, r#"{"format": "webp", "preset": "thumb", "ops": []}"#] {
            assert!(read(bad).expect_err(bad).error.to_string().contains("presets only: thumb"), "{bad}");
        }
    }

    #[test]
    fn conversions_become_renders_where_originals_are_not_public() {
        let options = Options { convert_renders: true, ..options() };
        let item = item(with(r#"{"format": "png"}"#).as_bytes(), &options, PLACES).expect("good");
        assert!(!item.outputs[0].pipeline.is_conversion());
    }

    /// The bound that is exceeded, if the line is not good.
    fn bound(line: &str) -> Option<&'static str> {
        match read(line).map_err(|unread| unread.error) {
            Ok(_) => None,
            Err(Error::Renditions(crate::renditions::Error::Pipeline(pipeline::Error::Limit { name, .. }))) => {
                Some(name)
            }
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn every_bound_is_reached_and_not_passed() {
        let outputs = |count: usize| with(&vec![r#"{"format": "png"}"#; count].join(","));
        assert_eq!((bound(&outputs(16)), bound(&outputs(17))), (None, Some("outputs_max")));
        let data = |bytes: usize| {
            let text = BASE64.encode(vec![0; bytes]);
            format!("{{\"source\": {{\"data\": \"{text}\"}}, \"outputs\": [{{\"format\": \"png\"}}]}}")
        };
        assert_eq!((bound(&data(6)), bound(&data(7))), (None, Some("bytes_max")));
        let ops = |bytes: usize| {
            let blanks = " ".repeat(bytes - 2);
            with(&format!("{{\"format\": \"png\", \"ops\": [{blanks}]}}"))
        };
        assert_eq!((bound(&ops(OPS_BYTES_MAX)), bound(&ops(OPS_BYTES_MAX + 1))), (None, Some("ops_bytes_max")));
        let kept = with(r#"{"format": "png", "to": "rendition", "ops": [{"op": "resize", "width": 30}]}"#);
        let url_bytes = format!("/images/{}.png?width=30", Digest::of(b"")).len();
        for (url_bytes_max, fits) in [(url_bytes, true), (url_bytes - 1, false)] {
            let options = Options { url_bytes_max, ..options() };
            assert_eq!(item(kept.as_bytes(), &options, PLACES).is_ok(), fits, "{url_bytes_max}");
        }
        let keyed = |bytes: usize| {
            let key = "k".repeat(bytes);
            format!("{{\"key\": \"{key}\", {}", &with(r#"{"format": "png"}"#)[1..])
        };
        assert!(read(&keyed(KEY_BYTES_MAX)).is_ok());
        assert_eq!(mistake(&keyed(KEY_BYTES_MAX + 1)).0, "key");
    }
}
