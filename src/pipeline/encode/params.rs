//! [`ENCODE`]: the arguments of the last step. `canonicalize` and the format's row decide which of them apply.

use crate::pipeline::metadata::Density;
use crate::pipeline::param::{Kind, Param, Value};

/// Value of `metadata` for the source's own data without metadata, where nothing else changes.
pub const STRIP: &str = "strip";

/// Encode arguments of every output format; each format uses those that it supports.
pub static ENCODE: &[Param] = &[
    Param {
        name: "quality",
        keys: &["quality", "q"],
        kind: Kind::IntegerOr { min: 1, max: 100, unit: "", word: "auto" },
        default: None,
        doc: "Quality of lossy formats, each with its own scale and default; other formats ignore it. auto: \
              the lowest of 30..95 that looks as good as the default does on average (SSIMULACRA2: jpeg 78, webp 71, avif 72).",
    },
    Param {
        name: "lossless",
        keys: &["lossless"],
        kind: Kind::Flag,
        default: Some(Value::Flag(false)),
        doc: "Preserves every sample, in formats that can.",
    },
    Param {
        name: "effort",
        keys: &["effort"],
        kind: Kind::Integer { min: 0, max: 9, step: 1, unit: "" },
        default: None,
        doc: "Time spent on smaller files, in jpeg, png, webp and avif; each has its own default. A large result \
              gets the highest one that ends in time.",
    },
    Param {
        name: "max_bytes",
        keys: &["max_bytes"],
        kind: Kind::Bytes { min: 100, max: 1_000_000_000 },
        default: None,
        doc: "Largest result in bytes: lowers the quality of a lossy format until it fits; 422 `max_bytes` if quality 1 does not.",
    },
    Param {
        name: "progressive",
        keys: &["progressive"],
        kind: Kind::Flag,
        default: Some(Value::Flag(false)),
        doc: "Writes a jpeg coarse to fine; other formats ignore it.",
    },
    Param {
        name: "chroma",
        keys: &["chroma"],
        kind: Kind::Choice(&["auto", "420", "422", "444"]),
        default: Some(Value::Word("auto")),
        doc: "Chroma subsampling of jpeg and avif. auto: 444 where 420 would smear coloured edges, as of red text on \
              white, else 420. Lossy webp is always 420; where 444 would be taken, libwebp's `sharp YUV` makes up for it. A webp of \
              a graphic of up to 1,000,000 pixels is lossless where that is not larger.",
    },
    Param {
        name: "colors",
        keys: &["colors"],
        kind: Kind::Integer { min: 2, max: 256, step: 1, unit: "" },
        default: None,
        doc: "Largest number of palette colours, including a transparent one; 256 by default in gif, no palette by default in png.",
    },
    Param {
        name: "dither",
        keys: &["dither"],
        kind: Kind::Decimal { min: 0, max: 100, places: 2, unit: "" },
        default: Some(Value::Number(100)),
        doc: "Share of the palette's error that is diffused (Floyd and Steinberg); 0 gives bands and smaller files.",
    },
    Param {
        name: "background",
        keys: &["background", "bg"],
        kind: Kind::Color,
        default: Some(Value::Color([255; 4])),
        doc: "Colour behind transparent images in formats without alpha.",
    },
    Param {
        name: "metadata",
        keys: &["metadata"],
        kind: Kind::Choice(&["none", STRIP, "copyright", "all"]),
        default: Some(Value::Word("none")),
        doc: "Metadata kept in JPEG, PNG, WebP, AVIF and TIFF. `strip`: none; as the only parameter it returns the source's own data \
              without metadata where format, orientation and colours stay. `copyright`: the EXIF fields artist and copyright. `all`: EXIF (upright, \
              without thumbnails and maker notes), XMP and ICC. With `all`, pixels stay in the colour space of the profile, gray \
              stays gray, colour stays colour, and operations use the values as they are; CMYK becomes sRGB.",
    },
    Param {
        name: "hdr",
        keys: &["hdr"],
        kind: Kind::Choice(&["sdr", "keep"]),
        default: Some(Value::Word("sdr")),
        doc: "What becomes of HDR (PQ or HLG). sdr: tone-mapped to sRGB, with reference white (203 cd/m2) at 245 of 255. keep: \
              stays HDR in avif (10 bits, with its primaries and curve), operations use the values as they are; refused for \
              other formats.",
    },
    Param {
        name: "dpi",
        keys: &["dpi"],
        kind: Kind::Decimal { min: 100, max: Density::MAX as i64, places: 2, unit: "dpi" },
        default: None,
        doc: "Resolution that jpeg, png and tiff state. Without it, that of the source where metadata is kept; no pixel changes.",
    },
    Param {
        name: "orient",
        keys: &["orient"],
        kind: Kind::Choice(&["auto", "none"]),
        default: Some(Value::Word("auto")),
        doc: "auto: applies the source's orientation; none: uses the pixels as stored.",
    },
    Param {
        name: "frame",
        keys: &["frame"],
        kind: Kind::IntegerOr { min: 0, max: 65_535, unit: "", word: "all" },
        default: Some(Value::Word("all")),
        doc: "One frame of an animation, or one page of a TIFF, from 0. all: every frame if the output format has animation, \
              else the first; of pages the first.",
    },
    Param {
        name: "frames",
        keys: &["frames"],
        kind: Kind::Integer { min: 1, max: 65_535, step: 1, unit: "" },
        default: None,
        doc: "Largest number of frames: a longer animation keeps this many, at even distances, and its duration. For \
              animations above the limits frames_max and frames_pixels_max, which the setting `frames_sampled` applies by itself.",
    },
    Param {
        name: "tolerant",
        keys: &["tolerant"],
        kind: Kind::Flag,
        default: None,
        doc: "Shows what there is of a cut or damaged picture (JPEG, PNG, GIF, WebP), the rest gray or transparent, instead of \
              refusing it. The field `progimage-incomplete` says so. The default is the setting `tolerant`.",
    },
    Param {
        name: "never_larger",
        keys: &["never_larger"],
        kind: Kind::Flag,
        default: Some(Value::Flag(false)),
        doc: "Returns the source's own data without metadata if the result is not smaller; for renders without operations from \
              jpeg, png, webp, avif and gif to the same format.",
    },
];
