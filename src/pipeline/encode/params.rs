//! [`ENCODE`]: the arguments of the last step. What a format makes of them is in `normal` and in its row.

use crate::pipeline::param::{Kind, Param, Value};

/// What every output format is given; a format takes what it can.
pub static ENCODE: &[Param] = &[
    Param {
        name: "quality",
        keys: &["quality", "q"],
        kind: Kind::Integer { min: 1, max: 100, step: 1, unit: "" },
        default: None,
        doc: "Quality of a lossy format, on its own scale; its own default when it is not given; formats without one ignore it.",
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
];
