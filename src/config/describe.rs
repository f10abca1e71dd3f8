//! [`describe`]: every setting as Markdown, in groups. Reads and checks no settings.

use super::{Config, GROUPS, Group, Setting};

/// A heading and a table for each group; each setting is an anchor of its own.
pub fn describe() -> String {
    let defaults = Config::default();
    let table = |Group { title, settings }: &Group| {
        let rows = settings.iter().map(|setting| row(setting, &defaults)).collect::<String>();
        format!("## {title}\n\n| Setting | Default | Meaning |\n|---|---|---|\n{rows}")
    };
    GROUPS.iter().map(table).collect::<Vec<_>>().join("\n")
}

fn row(setting: &Setting, defaults: &Config) -> String {
    let Setting { key, doc, .. } = setting;
    let default = match setting.default(defaults) {
        empty if empty.is_empty() => "none".to_owned(),
        text => format!("`{text}`"),
    };
    format!("| <a id=\"{key}\"></a>`{key}` | {default} | {doc} |\n")
}
