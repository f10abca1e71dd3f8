//! [`describe`]: every setting as Markdown, in groups. Reads and checks no settings.

use super::{Config, SETTINGS, Setting};

/// The groups of [`SETTINGS`], each with the key of its first setting.
const GROUPS: &[(&str, &str)] = &[
    ("listen", "The server"),
    ("keys", "Access and presets"),
    ("bytes_max", "Limits of one image"),
    ("uploads_bytes_max", "Uploads and the store"),
    ("rendition_tier_bytes_max", "Renders"),
    ("bulk_threads", "Bulk renders"),
    ("remote_allow", "Remote images"),
    ("connections_max", "Connections, requests and slow senders"),
    ("ids_max", "Lists of ids"),
    ("job_items_at_once", "Jobs and webhooks"),
    ("bulk_requests_max", "Bulk requests"),
    ("write_stall_ms", "Slow readers, and shutdown"),
    ("log_format", "Logs"),
];

/// A heading and a table for each group; each setting is an anchor of its own.
pub fn describe() -> String {
    let defaults = Config::default();
    let rows = SETTINGS.iter().map(|setting| heading(setting.key) + &row(setting, &defaults));
    rows.collect::<String>().trim_start().to_owned()
}

/// The heading of the group that begins with this setting; empty where none does.
fn heading(key: &str) -> String {
    let group = GROUPS.iter().find(|(first, _)| *first == key);
    group.map_or_else(String::new, |(_, title)| {
        format!("\n## {title}\n\n| Setting | Default | Meaning |\n|---|---|---|\n")
    })
}

fn row(setting: &Setting, defaults: &Config) -> String {
    let Setting { key, doc, .. } = setting;
    let default = match setting.default_text.map_or_else(|| (setting.get)(defaults), str::to_owned) {
        empty if empty.is_empty() => "none".to_owned(),
        text => format!("`{text}`"),
    };
    format!("| <a id=\"{key}\"></a>`{key}` | {default} | {doc} |\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_begins_at_a_setting_and_every_setting_is_in_a_group() {
        let starts: Vec<_> = GROUPS.iter().map(|(key, _)| SETTINGS.iter().position(|s| s.key == *key)).collect();
        assert!(starts.iter().all(Option::is_some) && starts.is_sorted(), "{starts:?}");
        assert_eq!(starts[0], Some(0));
    }
}
