//! `.auto`: the format of a result, by the `Accept` field, the source and the query. No format is chosen that cannot hold
//! what the result has; see [`Fit`].
//!
//! Modern formats must be named, since a client that sends `*/*` only may be old. JPEG, PNG and GIF count as one format of
//! the highest weight among them: old browsers name PNG alone with full weight, and still want photographs as JPEG. The
//! highest weight comes first; at equal weights AVIF comes before WebP, except for small results, and both before the rest.

use hyper::header::{ACCEPT, HeaderMap};

use crate::http::error::Error;
pub(in crate::http) use crate::pipeline::codec::is_auto;
use crate::pipeline::codec::{Codec, by_name};
use crate::pipeline::{Fit, Pipeline};
use crate::renditions::Found;

/// The modern formats and their media types, best first. At equal scores AVIF takes fewer bytes: of photographs a sixth less,
/// of graphics and animations a half to nine tenths.
const MODERN: [(&str, &str); 2] = [("avif", "image/avif"), ("webp", "image/webp")];

/// The formats that every client reads, and their media types. GIF comes before PNG, since old clients show only the first
/// frame of an animated PNG.
const LEGACY: [(&str, &str); 3] = [("jpeg", "image/jpeg"), ("gif", "image/gif"), ("png", "image/png")];

/// Most pixels, of all frames, of a result for which WebP comes before AVIF, whose container has 300 bytes. Mean bytes of
/// photographs at equal scores: 64 x 43 px 902 and 806, 96 x 64 px 1,402 and 1,433.
const SMALL_PIXELS_MAX: u64 = 4_000;

/// Formats that a client wants equally.
type Group = Vec<&'static Codec>;

/// The formats that a client accepts, best first; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::http) struct Accepted(Vec<Group>);

impl Accepted {
    /// Reads the `Accept` fields; without one, every client's formats are accepted.
    pub(in crate::http) fn of(headers: &HeaderMap) -> Result<Accepted, Error> {
        let fields: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
        let accept = fields.join(",");
        let accept = if accept.trim().is_empty() { "*/*" } else { &accept };
        let ranges: Vec<(&str, u16)> = accept.split(',').filter_map(range).collect();
        let mut groups: Vec<(u16, Group)> = Vec::new();
        for (name, media_type) in MODERN {
            let Some((weight, codec)) = weighted(name, weight(&ranges, &[media_type])) else { continue };
            match groups.last_mut().filter(|(other, _)| *other == weight) {
                Some((_, group)) => group.push(codec),
                None => groups.push((weight, vec![codec])),
            }
        }
        let legacy = LEGACY.iter().filter_map(|(name, of)| weighted(name, weight(&ranges, &[of, "image/*", "*/*"])));
        let (weights, legacy): (Vec<u16>, Group) = legacy.unzip();
        groups.extend(weights.into_iter().max().map(|weight| (weight, legacy)));
        groups.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        if groups.is_empty() {
            return Err(Error::NotAcceptable);
        }
        Ok(Accepted(groups.into_iter().map(|(_, group)| group).collect()))
    }

    /// Every format, best first.
    pub(in crate::http) fn codecs(&self) -> impl Iterator<Item = &'static Codec> {
        self.0.iter().flatten().copied()
    }

    /// The one of `pipelines` to run on a source: the first whose format holds the result, the source's own format first
    /// among the legacy ones; `one_frame`: a frame of an animation was asked for. One that would reduce size or alpha is taken where no
    /// other is left.
    ///
    /// Errors: [`Error::NotAcceptable`] if every format would lose something.
    pub(in crate::http) fn choose(
        &self,
        mut pipelines: Vec<Pipeline>,
        (codec, header): &Found,
        one_frame: bool,
    ) -> Result<Pipeline, Error> {
        let small = pipelines.first().is_some_and(|any| any.result_pixels(header, one_frame) <= SMALL_PIXELS_MAX);
        let mut best: Option<(Fit, usize)> = None;
        for wanted in self.0.iter().flat_map(|group| ordered(group, codec, small)) {
            let Some(place) = pipelines.iter().position(|pipeline| pipeline.codec() == wanted) else { continue };
            let fit = pipelines[place].fit((codec, header), one_frame);
            if fit != Fit::Loses && best.is_none_or(|(better, _)| fit > better) {
                best = Some((fit, place));
            }
        }
        best.map(|(_, place)| pipelines.swap_remove(place)).ok_or(Error::NotAcceptable)
    }
}

/// A group in the order for a result. WebP comes before AVIF for a small one. Among legacy formats the source's own is
/// first: it keeps what is in the source, and a conversion returns its bytes.
fn ordered(group: &Group, own: &'static Codec, small: bool) -> Group {
    let mut group = group.clone();
    match group.iter().all(|codec| MODERN.iter().any(|(name, _)| *name == codec.name)) {
        true if small => group.reverse(),
        true => {}
        false => group.sort_by_key(|codec| *codec != own),
    }
    group
}

/// A format that the client accepts, with its weight.
fn weighted(name: &str, weight: Option<u16>) -> Option<(u16, &'static Codec)> {
    weight.filter(|weight| *weight > 0).zip(by_name(name))
}

/// The weight of the first of `names` that is present; the most specific name comes first.
fn weight(ranges: &[(&str, u16)], names: &[&str]) -> Option<u16> {
    names.iter().find_map(|name| {
        ranges.iter().filter(|(range, _)| range.eq_ignore_ascii_case(name)).map(|(_, weight)| *weight).max()
    })
}

/// A media range and its weight in thousandths; a malformed one is ignored.
fn range(text: &str) -> Option<(&str, u16)> {
    let mut parts = text.split(';').map(str::trim);
    let range = parts.next().filter(|range| range.contains('/'))?;
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    let weight = match weight {
        None => 1000,
        Some(text) => {
            text.parse::<f32>().ok().filter(|weight| (0.0..=1.0).contains(weight)).map(|q| (q * 1000.0) as u16)?
        }
    };
    Some((range, weight))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::codec::Header;
    use crate::pipeline::{Channels, Orientation, Size, query};

    fn accepted(accept: &str) -> Result<Accepted, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().expect("a field value"));
        Accepted::of(&headers)
    }

    #[test]
    fn clients_are_offered_what_they_accept_in_their_order() {
        let check = |accept: &str, expected: Option<&str>| {
            let names = accepted(accept).map(|accepted| {
                let names = accepted.0.iter().map(|group| group.iter().map(|codec| codec.name).collect::<Vec<_>>());
                names.map(|names| names.join(" ")).collect::<Vec<_>>().join(", ")
            });
            assert_eq!(names, expected.map(str::to_owned).ok_or(Error::NotAcceptable), "{accept}");
        };
        check("", Some("jpeg gif png"));
        check("*/*", Some("jpeg gif png"));
        check("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", Some("avif webp, jpeg gif png"));
        check("image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5", Some("avif webp, jpeg gif png"));
        check("image/png,image/svg+xml,image/*;q=0.8,video/*;q=0.8,*/*;q=0.5", Some("jpeg gif png"));
        check("image/webp,*/*;q=0.8", Some("webp, jpeg gif png"));
        check("image/webp, image/avif;q=0.5", Some("webp, avif"));
        check("image/avif;q=0.5, image/jpeg", Some("jpeg, avif"));
        check("image/avif;q=0, */*", Some("jpeg gif png"));
        check("image/avif;q=0, */*;q=0", None);
        check("image/*;q=0, */*", None);
        check("image/jpeg;q=0, image/png;q=0.1, */*;q=0", Some("png"));
        check("image/png", Some("png"));
        check("image/gif", Some("gif"));
        check("text/html", None);
        check("IMAGE/AVIF", Some("avif"));
        check("image/avif;q=x, image/webp;q=2, image/*", Some("jpeg gif png"));
    }

    /// The format for a source: its format, channels, bits and frames, and a query.
    fn check(source: (&str, Channels, u8, u32), text: &str, accept: &str, expected: Option<&str>) {
        let (name, channels, bits, frames) = source;
        let header = Header {
            size: Size::new(640, 480),
            orientation: Orientation::NoTransforms,
            frames,
            pages: Vec::new(),
            density: None,
            channels,
            bits,
            icc: false,
            working_bytes: 0,
        };
        let accepted = accepted(accept).expect("a format");
        let pairs = query::pairs(Some(text)).expect("a query");
        let pipelines = accepted.codecs().filter_map(|codec| Pipeline::from_query(codec, &pairs).ok()).collect();
        let one_frame = text.contains("frame=");
        let found = accepted.choose(pipelines, &(by_name(name).expect("known"), header), one_frame);
        let found = found.map(|pipeline| pipeline.codec().name);
        assert_eq!(found, expected.ok_or(Error::NotAcceptable), "{source:?} {text} {accept}");
    }

    const BROWSER: &str = "image/avif,image/webp,image/apng,image/*,*/*;q=0.8";

    #[test]
    fn no_format_is_chosen_that_loses_something() {
        use Channels::{Cmyk, Gray, GrayAlpha, Rgb, Rgba};
        // A still picture goes to every format.
        check(("jpeg", Rgb, 8, 1), "", BROWSER, Some("avif"));
        check(("jpeg", Rgb, 8, 1), "", "image/webp,*/*", Some("webp"));
        check(("jpeg", Cmyk, 8, 1), "", "*/*", Some("jpeg"));
        check(("jpeg", Rgb, 8, 1), "", "image/png", Some("png"));
        check(("jpeg", Rgb, 8, 1), "", "image/png;q=0.5,image/webp;q=0.4", Some("png"));
        check(("png", Gray, 16, 1), "", "*/*", Some("png"));
        check(("bmp", Rgb, 8, 1), "", "*/*", Some("jpeg"));
        check(("gif", Rgb, 8, 1), "", "*/*", Some("gif"));
        // Alpha, of the source or made by the query.
        check(("tiff", GrayAlpha, 8, 1), "", "*/*", Some("png"));
        check(("webp", Rgba, 8, 1), "", "image/jpeg, image/avif;q=0.5", Some("avif"));
        check(("webp", Rgba, 8, 1), "", "image/jpeg", None);
        check(("webp", Rgba, 8, 1), "", "image/gif", Some("gif"));
        check(("webp", Rgba, 8, 1), "", "image/gif,image/png;q=0.1", Some("png"));
        check(("gif", Rgba, 8, 1), "w=20", "image/gif", Some("gif"));
        check(("jpeg", Rgb, 8, 1), "radius=max", "*/*", Some("png"));
        check(("jpeg", Rgb, 8, 1), "radius=max", "image/jpeg", None);
        // Every sample, where that is asked for.
        check(("png", Rgb, 16, 1), "", BROWSER, Some("avif"));
        check(("png", Rgb, 16, 1), "lossless", BROWSER, Some("png"));
        check(("png", Rgb, 8, 1), "lossless", BROWSER, Some("avif"));
        check(("png", Rgb, 16, 1), "lossless", "image/webp", None);
        // A palette.
        check(("png", Rgb, 8, 1), "colors=16", BROWSER, Some("png"));
        check(("jpeg", Rgb, 8, 1), "colors=16", "image/webp,image/png", Some("png"));
    }

    #[test]
    fn an_animation_stays_one_unless_a_frame_is_asked_for() {
        use Channels::{Rgb, Rgba};
        for source in ["gif", "png", "webp"] {
            for channels in [Rgb, Rgba] {
                let source = (source, channels, 8, 3);
                check(source, "", "image/webp,*/*", Some("webp"));
                check(source, "w=20", "image/webp,*/*", Some("webp"));
                check(source, "", "image/jpeg", None);
                check(source, "frame=1", "image/png", Some("png"));
                check(source, "", "image/png", Some("png"));
            }
            check((source, Rgb, 8, 3), "frame=1", BROWSER, Some("avif"));
            check((source, Rgba, 8, 3), "", BROWSER, Some("avif"));
            check((source, Rgb, 8, 3), "frame=0", "image/jpeg", Some("jpeg"));
        }
        check(("gif", Rgba, 8, 3), "", "*/*", Some("gif"));
        check(("png", Rgb, 8, 3), "", "*/*", Some("png"));
        check(("webp", Rgb, 8, 3), "", "*/*", Some("gif"));
        check(("webp", Rgba, 8, 3), "", "*/*", Some("png"));
    }

    #[test]
    fn a_small_result_is_webp_where_both_are_wanted_equally() {
        use Channels::Rgb;
        check(("jpeg", Rgb, 8, 1), "w=64", BROWSER, Some("webp"));
        check(("jpeg", Rgb, 8, 1), "w=96", BROWSER, Some("avif"));
        check(("jpeg", Rgb, 8, 1), "w=64", "image/avif, image/webp;q=0.9", Some("avif"));
        check(("gif", Rgb, 8, 9), "w=64", BROWSER, Some("avif"));
        check(("gif", Rgb, 8, 9), "w=64&frame=3", BROWSER, Some("webp"));
    }
}
