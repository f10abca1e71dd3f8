//! [`ENCODE`]: the arguments of the last step. What a format makes of them is in `canonicalize` and in its row.

use crate::pipeline::param::{Kind, Param, Value};

/// What every output format is given; a format takes what it can.
pub static ENCODE: &[Param] = &[
    Param {
        name: "quality",
        keys: &["quality", "q"],
        kind: Kind::IntegerOr { min: 1, max: 100, unit: "", word: "auto" },
        default: None,
        doc: "Quality of a lossy format, on its own scale; its own default when it is not given; formats without one ignore it. auto: \
              the lowest of 30..95 that looks as good as the default does on average (SSIMULACRA2: jpeg 78, webp 71, avif 76).",
    },
    Param {
        name: "lossless",
        keys: &["lossless"],
        kind: Kind::Flag,
        default: Some(Value::Flag(false)),
        doc: "Keeps every sample, in formats that can.",
    },
    Param {
        name: "effort",
        keys: &["effort"],
        kind: Kind::Integer { min: 0, max: 9, step: 1, unit: "" },
        default: None,
        doc: "How long to look for fewer bytes, in jpeg, png, webp and avif; each has its own default.",
    },
    Param {
        name: "max_bytes",
        keys: &["max_bytes"],
        kind: Kind::Bytes { min: 100, max: 1_000_000_000 },
        default: None,
        doc: "Lowers the quality of a lossy format until the result has at most so many bytes; 422 `max_bytes` where 1 is too much.",
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
        kind: Kind::Choice(&["420", "422", "444"]),
        default: Some(Value::Word("420")),
        doc: "Chroma subsampling of jpeg and avif: 444 keeps the edges of colours; lossy webp is always 420.",
    },
    Param {
        name: "colors",
        keys: &["colors"],
        kind: Kind::Integer { min: 2, max: 256, step: 1, unit: "" },
        default: None,
        doc: "Colours of the palette at most, a transparent one included: of gif (256), or of a png, which has none without it.",
    },
    Param {
        name: "dither",
        keys: &["dither"],
        kind: Kind::Decimal { min: 0, max: 100, places: 2, unit: "" },
        default: Some(Value::Number(100)),
        doc: "How much of the error of a palette is diffused (Floyd and Steinberg, in Oklab); 0 gives bands and fewer bytes.",
    },
    Param {
        name: "background",
        keys: &["background", "bg"],
        kind: Kind::Color,
        default: Some(Value::Color([255; 4])),
        doc: "What transparent images are laid on in formats without alpha.",
    },
    Param {
        name: "metadata",
        keys: &["metadata"],
        kind: Kind::Choice(&["none", "copyright", "all"]),
        default: Some(Value::Word("none")),
        doc: "What is kept in JPEG, PNG, WebP, AVIF and TIFF: `copyright` is EXIF's artist and copyright; `all` is EXIF (its orientation set upright, without thumbnails and maker notes), XMP and ICC: the pixels stay in the colour space of the profile, where gray stays gray and colour colour, and operations take them as they are; CMYK becomes sRGB.",
    },
    Param {
        name: "orient",
        keys: &["orient"],
        kind: Kind::Choice(&["auto", "none"]),
        default: Some(Value::Word("auto")),
        doc: "Whether the source's orientation is applied, or its pixels are taken as they are stored.",
    },
    Param {
        name: "frame",
        keys: &["frame"],
        kind: Kind::IntegerOr { min: 0, max: 65_535, unit: "", word: "all" },
        default: Some(Value::Word("all")),
        doc: "One frame of an animation, from 0; all of them where the output can be an animation, else the first.",
    },
    Param {
        name: "never_larger",
        keys: &["never_larger"],
        kind: Kind::Flag,
        default: Some(Value::Flag(false)),
        doc: "Where only compression is asked for, jpeg to jpeg, png to png or webp to webp: the source's own data, metadata left out, \
              if that is smaller.",
    },
];
