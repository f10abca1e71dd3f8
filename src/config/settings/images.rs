//! Settings: limits of one image.

use super::BYTES_MAX;
use crate::config::setting::{Setting, bounded, in_words, number, read, switch};

pub const ROWS: &[Setting] = &[
    Setting {
        key: "bytes_max",
        doc: "Bytes of one image.",
        get: |config| config.layers.limits.bytes_max.to_string(),
        set: |config, text| {
            let bytes = bounded(text, 1..=1 << 40)?;
            config.layers.limits.bytes_max = bytes;
            config.layers.store.blob_bytes_max = bytes;
            Ok(())
        },
        default_text: None,
    },
    number!(
        "pixels_max",
        "Width x height of one frame, of sources and results.",
        1..=1 << 40,
        layers.limits.pixels_max
    ),
    number!(
        "side_px_max",
        "Width or height of results. Sources may be longer, within `pixels_max`.",
        1..=u32::MAX,
        layers.limits.side_px_max
    ),
    number!(
        "frames_max",
        "Frames of an animation. With `frames=` a longer one is read, and fewer are kept.",
        1..=u32::MAX,
        layers.limits.frames_max
    ),
    number!(
        "frames_pixels_max",
        "Frames x width x height of an animation.",
        1..=1 << 40,
        layers.limits.frames_pixels_max
    ),
    switch!(
        "frames_sampled",
        "Show longer animations with fewer frames. As many as `frames_max` and `frames_pixels_max` allow are kept, at even \
         distances. If off, refuse them, unless `frames=` asks for few enough.",
        layers.limits.frames_sampled
    ),
    number!("memory_bytes_max", "Planned memory of one render.", 1..=BYTES_MAX, layers.limits.memory_bytes_max),
    number!("operations_max", "Operations of one request.", 1..=1_000, layers.limits.operations_max),
];
