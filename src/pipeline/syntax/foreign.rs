//! Spellings of other services. A spelling with an exact equal here is accepted; for the others there is a hint. Used only
//! for what our own tables do not know, so that no row changes the meaning of a query of ours.
//!
//! ```
//! use progimage::pipeline;
//! // A path of Cloudinary, as a query of ours and an extension.
//! let (query, extension) = pipeline::of_path("w_300,c_fill,f_webp").unwrap();
//! assert_eq!((query.as_str(), extension.as_str()), ("w=300&fit=cover", "webp"));
//! ```

use std::borrow::Cow;

use super::invalid::{Help, is_short};
use crate::pipeline::codec::by_extension;

/// One spelling, or several with one meaning.
#[derive(Debug)]
pub struct Row {
    /// Names at other services. A name of ours has rows for values that we do not know.
    pub names: &'static [&'static str],
    /// Values at other services: `{}` is a number, `*` at the end is anything. Their case does not matter, that of names
    /// does.
    pub values: &'static [&'static str],
    /// Services with this spelling.
    pub of: &'static str,
    /// The meaning here.
    pub means: Means,
    /// A pair that this row matches, for tests and documentation.
    pub example: &'static str,
}

/// The meaning of a spelling. `{}` stands for the numbers of the value in turn, or for the text at `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// Exactly this pair.
    Same(&'static str),
    /// No operation.
    Nothing,
    /// A hint at this query, which is not always or not exactly the same.
    Query(&'static str),
    /// A hint at a query, with a reason.
    Because(&'static str, &'static str),
    /// The format, which here is the extension of the path.
    Extension,
    /// A hint in words, since there is no equal.
    Words(&'static str),
}

use Means::{Because, Extension, Nothing, Query, Same, Words};

const FLAG: &[&str] = &["", "true", "false"];
const ON: &[&str] = &["", "true", "1"];
const ANY: &[&str] = &["*"];
const SIDES: &[&str] = &["resize", "size", "s", "rs", "dim", "dimensions"];
const MODES: &[&str] = &["mode", "resizing_type", "rt", "rmode", "c"];

/// Every known spelling. The first row that matches is used.
#[rustfmt::skip]
pub static FOREIGN: &[Row] = &[
    // Names that mean the same.
    row(&["greyscale", "gray", "grey", "monochrome"], FLAG, "sharp, thumbor, ImageKit", Same("grayscale={}"), "gray=true"),
    row(&["normalise"], FLAG, "sharp", Same("normalize={}"), "normalise"),
    row(&["upscale"], FLAG, "thumbor, Fastly", Same("enlarge={}"), "upscale=true"),
    row(&["withoutEnlargement"], &["", "true"], "sharp", Same("enlarge=false"), "withoutEnlargement"),
    row(&["withoutEnlargement"], &["false"], "sharp", Same("enlarge=true"), "withoutEnlargement=false"),
    row(&["position", "pos"], ANY, "sharp, ipx", Same("gravity={}"), "position=top"),
    row(&["angle"], ANY, "ImageKit", Same("rotate={}"), "angle=90"),
    row(&["tolerant"], &["1"], "", Same("tolerant=true"), "tolerant=1"),
    row(&["tolerant"], &["0"], "", Same("tolerant=false"), "tolerant=0"),
    row(&["flop"], &["", "true"], "sharp, ipx", Same("flip=h"), "flop"),
    row(&["rect", "extract"], &["{},{},{},{}"], "imgix, sharp", Same("crop={},{},{},{}"), "rect=1,2,30,40"),
    // Values that mean the same.
    row(&["fit"], &["crop", "min"], "imgix, Cloudflare", Same("fit=cover"), "fit=crop"),
    row(&["fit"], &["max", "scale-down"], "imgix, Cloudflare", Same("fit=inside"), "fit=scale-down"),
    row(&["gravity"], &["centre", "middle", "ce"], "sharp, imgproxy", Same("gravity=center"), "gravity=ce"),
    row(&["gravity"], &["top", "no", "n"], "Cloudflare, imgproxy", Same("gravity=north"), "gravity=top"),
    row(&["gravity"], &["bottom", "so", "s"], "Cloudflare, imgproxy", Same("gravity=south"), "gravity=so"),
    row(&["gravity"], &["left", "we", "w"], "Cloudflare, imgproxy", Same("gravity=west"), "gravity=left"),
    row(&["gravity"], &["right", "ea", "e"], "Cloudflare, imgproxy", Same("gravity=east"), "gravity=right"),
    row(&["gravity"], &["noea", "ne", "north_east", "right top", "top,right", "top-right"], "imgproxy, Cloudinary, sharp, imgix", Same("gravity=northeast"), "gravity=NE"),
    row(&["gravity"], &["nowe", "nw", "north_west", "left top", "top,left", "top-left"], "imgproxy, Cloudinary, sharp, imgix", Same("gravity=northwest"), "gravity=nowe"),
    row(&["gravity"], &["soea", "se", "south_east", "right bottom", "bottom,right", "bottom-right"], "imgproxy, Cloudinary, sharp, imgix", Same("gravity=southeast"), "gravity=south_east"),
    row(&["gravity"], &["sowe", "sw", "south_west", "left bottom", "bottom,left", "bottom-left"], "imgproxy, Cloudinary, sharp, imgix", Same("gravity=southwest"), "gravity=left bottom"),
    row(&["gravity"], &["smart", "sm", "auto"], "thumbor, imgproxy, Cloudflare", Same("gravity=attention"), "gravity=smart"),
    row(&["flip"], &["horizontal"], "Fastly", Same("flip=h"), "flip=horizontal"),
    row(&["flip"], &["vertical"], "Fastly", Same("flip=v"), "flip=vertical"),
    row(&["flip"], &["both"], "ImageKit", Same("flip=hv"), "flip=both"),
    // Values at which nothing is done.
    row(&["blur"], &["0"], "all", Nothing, "blur=0"),
    row(&["sharpen"], &["0"], "all", Nothing, "sharpen=0"),
    row(&["radius"], &["0"], "all", Nothing, "radius=0"),
    row(&["pixelate"], &["1"], "all", Nothing, "pixelate=1"),
    row(&["median"], &["1"], "all", Nothing, "median=1"),
    // The format.
    row(&["format", "f", "fm", "ext", "output", "extension", "auto"], ANY, "imgix, Cloudinary, Cloudflare, imgproxy", Extension, "fm=webp"),
    row(&["strip", "strip_metadata", "sm"], ANY, "imgproxy, thumbor", Because("metadata=none", "metadata is left out by default"), "strip=all"),
    row(&["page", "pg"], &["{}"], "sharp, Cloudinary", Because("frame={}", "frames of an animation are counted from 0"), "page=0"),
    row(&["interlace"], ANY, "ImageMagick", Query("progressive=true"), "interlace=plane"),
    row(&["dl", "fn", "filename"], ANY, "imgix, imgproxy", Query("download={}"), "dl=street.jpg"),
    row(&["quality"], &["auto:*"], "Cloudinary", Query("quality=auto"), "q=auto:good"),
    // Size.
    row(&["aspect_ratio", "aspectratio"], ANY, "bunny.net", Because("aspect={}&fit=cover", "aspect alone crops nothing from a side"), "aspect_ratio=16:9"),
    row(&["smart"], ON, "thumbor", Query("fit=cover&gravity=attention"), "smart=true"),
    row(SIDES, &["fill:{}:{}*", "auto:{}:{}*"], "imgproxy", Query("w={}&h={}&fit=cover"), "resize=fill:300:200"),
    row(SIDES, &["force:{}:{}*"], "imgproxy", Query("w={}&h={}&fit=fill"), "rs=force:300:200"),
    row(SIDES, &["fit:{}:{}*"], "imgproxy", Query("w={}&h={}"), "rs=fit:300:200:0"),
    row(SIDES, &["{}x{}", "{},{}", "{}:{}"], "ipx, Photon, imgproxy", Query("w={}&h={}"), "s=300x200"),
    row(SIDES, &["{}", "{}x"], "ipx", Query("w={}"), "size=300"),
    row(SIDES, &["x{}"], "thumbor", Query("h={}"), "size=x200"),
    row(SIDES, ANY, "ipx", Query("w=300&h=200"), "resize=large"),
    row(&["c"], &["{},{},{},{}"], "", Query("crop={},{},{},{}"), "c=1,2,30,40"),
    row(&["c"], &["thumb"], "Cloudinary", Query("fit=cover&gravity=attention"), "c=thumb"),
    row(MODES, &["crop", "fill", "lfill", "cover", "auto", "fill-down"], "Cloudinary, imageflow, imgproxy", Query("fit=cover"), "c=fill"),
    row(MODES, &["max", "fit", "limit", "inside", "clip"], "Cloudinary, imageflow, imgproxy", Query("fit=inside"), "rt=fit"),
    row(MODES, &["pad", "lpad", "contain", "boxpad"], "Cloudinary, imageflow", Query("fit=contain"), "mode=pad"),
    row(MODES, &["stretch", "force", "scale"], "Cloudinary, imageflow, imgproxy", Query("fit=fill"), "rt=force"),
    row(MODES, ANY, "", Query("fit=cover"), "mode=smart"),
    row(&["fit"], &["clip", "bounds"], "imgix, Fastly", Because("fit=inside", "fit=inside never enlarges unless enlarge=true"), "fit=clip"),
    row(&["fit"], &["pad"], "Cloudflare", Because("fit=contain&enlarge=true", "fit=contain never enlarges unless enlarge=true"), "fit=pad"),
    row(&["fit"], &["scale", "stretch", "squeeze", "force"], "imgix, Cloudflare", Query("fit=fill"), "fit=scale"),
    row(&["fit"], &["fillmax", "fill-max"], "imgix", Query("fit=contain"), "fit=fillmax"),
    row(&["fit"], &["face", "facearea", "thumb"], "imgix", Because("fit=cover&gravity=attention", "faces are not looked for, but the likely subject is"), "fit=facearea"),
    row(&["gravity"], &["face*", "faces*", "obj*"], "Cloudinary, Cloudflare, imgproxy", Because("gravity=attention", "faces are not looked for, but the likely subject is"), "gravity=face"),
    row(&["gravity"], &["fp:{}:{}"], "imgproxy", Query("gravity={},{}"), "gravity=fp:0.5:0.3"),
    row(&["fp-x", "fp-y"], ANY, "imgix", Query("gravity=0.5,0.3"), "fp-x=0.5"),
    row(&["crop"], &["smart", "auto", "attention", "face*", "focalpoint"], "thumbor, imgix", Query("fit=cover&gravity=attention"), "crop=smart"),
    row(&["crop"], &["entropy", "edges"], "imgix", Query("fit=cover&gravity=entropy"), "crop=entropy"),
    row(&["filter"], ANY, "ImageMagick", Query("kernel=cubic"), "filter=catrom"),
    row(&["kernel"], &["lanczos*"], "", Query("kernel=lanczos3"), "kernel=lanczos"),
    row(&["kernel"], &["bicubic", "catmullrom", "catrom"], "Fastly", Query("kernel=cubic"), "kernel=bicubic"),
    row(&["kernel"], &["bilinear", "triangle"], "Fastly", Query("kernel=linear"), "kernel=bilinear"),
    row(&["width", "height"], &["auto"], "Cloudflare, Cloudinary", Words("a side that is left out follows from the other; client hints are not read"), "w=auto"),
    row(&["width", "height"], &["{}%", "{}vw"], "Fastly", Words("sides are in pixels, without a unit"), "w=50%"),
    row(&["dpr"], &["auto"], "Cloudinary", Words("client hints are not read"), "dpr=auto"),
    row(&["dpr"], &["{}x"], "", Query("dpr={}"), "dpr=2x"),
    row(&["el", "extend"], ANY, "imgproxy", Query("enlarge=true"), "el=1"),
    // Turns.
    row(&["or", "rot", "a"], &["{}"], "imgix, imgproxy, Cloudinary", Because("rotate={}", "orient=auto is the default, rotate is in degrees"), "or=90"),
    row(&["flip"], ON, "sharp", Because("flip=v", "flip=h exchanges left and right, flip=v top and bottom"), "flip=true"),
    // Effects.
    row(&["blur"], &["", "true"], "", Query("blur=4"), "blur"),
    row(&["sharpen"], &["", "true"], "ImageKit", Query("sharpen=1"), "sharpen"),
    row(&["trim"], &["", "true", "auto"], "imgix", Query("trim=10"), "trim"),
    row(&["bl"], &["{}"], "imgproxy", Query("blur={}"), "bl=5"),
    row(&["sh", "sharp"], &["{}"], "imgproxy, imgix", Query("sharpen={}"), "sh=1"),
    row(&["hue-rotate", "hue_rotate"], &["{}", "{}deg"], "CSS", Query("hue={}"), "hue-rotate=90deg"),
    row(&["pix", "px"], &["{}"], "imgproxy, imgix", Query("pixelate={}"), "px=8"),
    row(&["monochrome"], ANY, "imgix", Query("tint={}"), "monochrome=ff8800"),
    row(&["negate"], ANY, "sharp", Query("invert=true"), "negate=true"),
    row(&["e"], &["grayscale", "blackwhite"], "Cloudinary", Query("grayscale=true"), "e=grayscale"),
    row(&["e"], &["sepia*"], "Cloudinary", Query("sepia=80"), "e=sepia"),
    row(&["e"], &["blur:{}"], "Cloudinary", Query("blur=4"), "e=blur:300"),
    row(&["o"], &["{}"], "Cloudinary", Query("opacity={}"), "o=50"),
    row(&["r", "round", "corner_radius"], &["max", "50%"], "Cloudinary", Query("radius=max"), "r=max"),
    row(&["r", "round", "corner_radius"], &["{}"], "Cloudinary", Query("radius={}"), "r=20"),
    row(&["radius"], &["{}%"], "", Because("radius=max", "a radius is in pixels, or half the shorter side"), "radius=50%"),
    row(&["border", "bo"], &["{}"], "Cloudflare", Query("pad={}"), "border=3"),
    row(&["border", "bo"], &["{},*"], "imgix", Query("pad={}&background={}"), "border=10,ff0000"),
    row(&["padding", "pd"], &["{}"], "imgproxy", Query("pad={}"), "padding=10"),
    row(&["padding", "pd"], &["{}:{}"], "imgproxy", Query("pad={},{}"), "pd=10:20"),
    row(&["b"], &["rgb:*", "*"], "Cloudinary", Query("background={}"), "b=rgb:ff8800"),
    row(&["mark", "watermark", "wm", "draw"], ANY, "imgix, imgproxy", Because("overlay={id}", "lay a stored image on it by its id"), "watermark=logo"),
    row(&["txt", "text"], ANY, "imgix", Words("text is not drawn; store it as an image and name that as overlay"), "txt=hello"),
];

const fn row(
    names: &'static [&'static str],
    values: &'static [&'static str],
    of: &'static str,
    means: Means,
    example: &'static str,
) -> Row {
    Row { names, values, of, means, example }
}

/// Names of operations at other services, each with ours, for chains in JSON.
const OPERATIONS: &[(&str, &str)] =
    &[("scale", "resize"), ("thumbnail", "resize"), ("extract", "crop"), ("watermark", "overlay")];

/// Our name for an operation of another service.
pub(super) fn operation(name: &str) -> Option<String> {
    let listed = OPERATIONS.iter().find(|(theirs, _)| *theirs == name).map(|(_, ours)| (*ours).to_owned());
    listed.or_else(|| alias(name, "").map(|(ours, _)| ours))
}

/// The pair in our words for a name that has an exact equal here.
pub(super) fn alias(name: &str, value: &str) -> Option<(String, String)> {
    let (row, found) = find(name, value)?;
    let Same(same) = row.means else { return None };
    let (name, value) = same.split_once('=')?;
    Some((name.to_owned(), filled(value, &found)))
}

/// The value in our words for a parameter of ours, by its canonical key.
pub(in crate::pipeline) fn value(key: &str, value: &str) -> Option<String> {
    alias(row_name(key), value).map(|(_, value)| value)
}

/// Whether this value of a parameter of ours means no operation.
pub(super) fn is_nothing(key: &str, value: &str) -> bool {
    find(key, value).is_some_and(|(row, _)| row.means == Nothing)
}

/// The hint for a pair that is not accepted.
pub(in crate::pipeline) fn help(name: &str, value: &str) -> Help {
    let Some((row, found)) = find(row_name(name), value) else { return Help::None };
    match row.means {
        Query(_) | Same(_) | Because(..) if row_name(name) != name => OVERLAY,
        // Half of a value would be another one.
        Query(query) | Same(query) | Because(query, _) if query.contains("{}") && !is_short(value) => Help::None,
        Query(query) | Same(query) => Help::Write(filled(query, &found), None),
        Because(query, why) => Help::Write(filled(query, &found), Some(why)),
        Extension => Help::Extension(extension(value)),
        Words(words) => Help::Words(words.into()),
        Nothing => Help::None,
    }
}

/// `overlay_gravity` takes the places of `gravity`, and not its words.
const OVERLAY: Help = Help::Words(Cow::Borrowed("an overlay lies at a side, at a corner or at a point x,y"));

/// The extension that a pair asks for, where its name is one by which others ask for a format.
pub fn format(name: &str, value: &str) -> Option<String> {
    find(name, value).filter(|(row, _)| row.means == Extension).map(|_| extension(value))
}

/// Bytes and words of a path in which operations are looked for: more than any path has that a service of ours would read.
const PATH_BYTES_MAX: usize = 256;
const PATH_WORDS_MAX: usize = 16;

/// What our own tables take: looked up where they are.
pub(super) struct Own {
    /// Whether a flat query takes this pair.
    pub takes: fn(&str, &str) -> bool,
    /// The canonical form of a key.
    pub canonical: fn(&str) -> Option<&'static str>,
    /// Whether these pairs are a good query.
    pub is_good: fn(&str) -> bool,
}

/// The query, and the extension of its path, for operations that stand in a path or in one word, as `w_300,c_fill`,
/// `rs:fill:300:200/q:80` or `width=300,fit=crop`. `None`: it is not wholly understood, or too long to be meant so.
pub(super) fn of_path(path: &str, own: &Own) -> Option<(String, String)> {
    if path.len() > PATH_BYTES_MAX || path.split(['/', ',']).count() > PATH_WORDS_MAX {
        return None;
    }
    let (mut extension, mut pairs) = ("auto".to_owned(), Vec::<(String, String)>::new());
    for word in path.split(['/', ',']).filter(|word| !word.is_empty()) {
        match of_word(word, own)? {
            Word::Extension(written) => extension = written,
            Word::Pairs(more) => pairs.extend(more),
        }
    }
    let mut query = Vec::new();
    for (place, (name, value)) in pairs.iter().enumerate() {
        if !pairs[..place].iter().any(|(earlier, _)| earlier == name) {
            query.push(format!("{name}={value}"));
        }
    }
    let fits = !query.is_empty() && (own.is_good)(&query.join("&"));
    fits.then(|| (query.join("&"), extension))
}

enum Word {
    Extension(String),
    Pairs(Vec<(String, String)>),
}

fn of_word(word: &str, own: &Own) -> Option<Word> {
    let (name, value) = match word.find(['_', ':', '=']) {
        Some(place) => (&word[..place], &word[place + 1..]),
        None => ("size", Some(word).filter(|word| word.starts_with(|c: char| c == 'x' || c.is_ascii_digit()))?),
    };
    if (own.takes)(name, value) {
        return Some(Word::Pairs(vec![(name.to_owned(), value.to_owned())]));
    }
    let name = (own.canonical)(name).unwrap_or(name);
    let (row, _) = find(name, value)?;
    match row.means {
        // The query is only an example of what could be meant.
        Query(query) if row.values == ANY && !query.contains("{}") => None,
        Extension => Some(Word::Extension(extension(value))),
        Nothing => Some(Word::Pairs(Vec::new())),
        Words(_) => None,
        Same(_) | Query(_) | Because(..) => {
            let Help::Write(query, _) = help(name, value) else { return None };
            let pair = |pair: &str| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
            Some(Word::Pairs(query.split('&').filter_map(pair).collect()))
        }
    }
}

/// The name by which a key has rows: `overlay_gravity` shares those of `gravity`.
fn row_name(key: &str) -> &str {
    key.strip_prefix("overlay_").filter(|name| *name == "gravity").unwrap_or(key)
}

fn extension(value: &str) -> String {
    let lower = value.to_ascii_lowercase();
    if by_extension(&lower).is_some_and(|codec| codec.encoder.is_some()) { lower } else { "auto".to_owned() }
}

/// The row that matches, and the texts at its wildcards.
fn find<'v>(name: &str, value: &'v str) -> Option<(&'static Row, Vec<&'v str>)> {
    let of_name = |row: &&Row| row.names.contains(&name);
    FOREIGN.iter().filter(of_name).find_map(|row| {
        let found = row.values.iter().find_map(|pattern| matched(pattern, value))?;
        // A row without wildcards may still repeat the value.
        Some((row, if found.is_empty() { vec![value] } else { found }))
    })
}

/// The texts at the wildcards of a pattern, if it matches.
fn matched<'v>(pattern: &str, value: &'v str) -> Option<Vec<&'v str>> {
    let (mut pattern, mut value, mut found) = (pattern, value, Vec::new());
    while !pattern.is_empty() {
        if pattern == "*" {
            found.push(value);
            return Some(found);
        }
        if let Some(rest) = pattern.strip_prefix("{}") {
            let end = value.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(value.len());
            let (number, tail) = value.split_at(end);
            if number.is_empty() {
                return None;
            }
            found.push(number);
            (pattern, value) = (rest, tail);
        } else {
            let mut chars = (pattern.chars(), value.chars());
            let (wanted, given) = (chars.0.next()?, chars.1.next()?);
            if !wanted.eq_ignore_ascii_case(&given) {
                return None;
            }
            (pattern, value) = (chars.0.as_str(), chars.1.as_str());
        }
    }
    value.is_empty().then_some(found)
}

/// A template with its wildcards filled in turn.
fn filled(template: &str, found: &[&str]) -> String {
    found.iter().fold(template.to_owned(), |text, found| text.replacen("{}", found, 1))
}
