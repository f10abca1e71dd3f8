//! Settings: the address, the data and the log.

use super::BYTES_MAX;
use crate::config::LogFormat;
use crate::config::setting::{Setting, bounded, in_words, number, read};

pub const SERVER: &[Setting] = &[
    Setting {
        key: "listen",
        doc: "Address and port to listen on; port 0 takes any free one.",
        get: |config| config.listen.to_string(),
        set: |config, text| {
            read(text, "an address and a port, such as 127.0.0.1:8080").map(|value| config.listen = value)
        },
        default_text: None,
    },
    Setting {
        key: "data",
        doc: "Folder of the stored images, or `memory:`.",
        get: |config| config.data.clone(),
        set: |config, text| match text {
            "" => Err("empty; allowed: a folder, or memory:".to_owned()),
            text => {
                config.data = text.to_owned();
                Ok(())
            }
        },
        default_text: None,
    },
    number!(
        "cache_bytes_max",
        "Bytes of renditions cached in memory; 0: no cache.",
        0..=BYTES_MAX,
        layers.renditions.cache_bytes_max
    ),
];

pub const LOGS: &[Setting] = &[
    Setting {
        key: "log_format",
        doc: "Format of the log: `text` or `json`.",
        get: |config| match config.log_format {
            LogFormat::Text => "text".to_owned(),
            LogFormat::Json => "json".to_owned(),
        },
        set: |config, text| {
            config.log_format = match text {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                _ => return Err(format!("{text:?}; allowed: text, json")),
            };
            Ok(())
        },
        default_text: None,
    },
    Setting {
        key: "log",
        doc: "Level of the log: `error`, `warn`, `info` or `debug`. Or a filter such as `progimage=debug`.",
        get: |config| config.log.clone(),
        set: |config, text| {
            config.log = text.to_owned();
            Ok(())
        },
        default_text: None,
    },
];
