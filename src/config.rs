//! Configuration: composes each layer's `Options` from flags, environment and a TOML file. The layers keep their own
//! defaults.
//!
//! Every setting is one row of [`GROUPS`]. Its key is the TOML key; in the environment it is `PROGIMAGE_<KEY>`, and
//! as a flag `--<key>` with hyphens. A flag wins over the environment, which wins over the file. All mistakes are
//! reported together.

mod describe;
mod setting;
mod settings;

use std::fmt;
use std::net::SocketAddr;

use crate::http;
use crate::store::Folder;
pub use describe::describe;
pub use setting::Setting;
pub use settings::{GROUPS, Group, settings};

/// All settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The store: a folder, or `memory:`.
    pub data: String,
    /// The settings of the layers.
    pub layers: http::Settings,
    /// Whether renders run in worker processes.
    pub isolate: bool,
    /// The format of the log.
    pub log_format: LogFormat,
    /// The level of the log, such as `info`, or a filter such as `progimage=debug`.
    pub log: String,
}

/// The format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            data: "./progimage-data".to_owned(),
            layers: http::Settings::default(),
            isolate: true,
            log_format: LogFormat::Text,
            log: "info".to_owned(),
        }
    }
}

/// All mistakes in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(pub Vec<String>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Mistakes {}

/// The sources of settings. Each returns the text of a setting, if it has one.
pub struct SettingSources<'a> {
    /// Flags, by key.
    pub flag: &'a dyn Fn(&str) -> Option<String>,
    /// Environment variables, by name.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// The text of the TOML file.
    pub file: Option<&'a str>,
}

impl Config {
    /// Composes a configuration.
    pub fn load(sources: &SettingSources) -> Result<Config, Mistakes> {
        let mut config = Config::default();
        let mut mistakes = Vec::new();
        let file = sources.file.map_or_else(toml::Table::new, |text| {
            text.parse().unwrap_or_else(|error| {
                mistakes.push(format!("configuration file: {error}"));
                toml::Table::new()
            })
        });
        mistakes.extend(
            file.keys().filter(|key| !is_known(key)).map(|key| format!("configuration file: unknown key {key:?}")),
        );
        for setting in settings() {
            let flag = || (sources.flag)(setting.key).map(|text| (setting.flag(), text));
            let environment = || (sources.environment)(&setting.variable()).map(|text| (setting.variable(), text));
            let file = || {
                file.get(setting.key).map(|value| (format!("key {}", setting.key), text_of_setting(setting.key, value)))
            };
            if let Some((place, text)) = flag().or_else(environment).or_else(file)
                && let Err(mistake) = (setting.set)(&mut config, &text)
            {
                mistakes.push(format!("{place}: {mistake}"));
            }
        }
        config.layers.renditions.tier_folder = Folder::of(&config.data).map(|folder| folder.renditions());
        mistakes.extend(config.contradictions());
        if mistakes.is_empty() { Ok(config) } else { Err(Mistakes(mistakes)) }
    }

    /// Mistakes between settings.
    fn contradictions(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let access = &self.layers.access;
        if !self.listen.ip().is_loopback() && !access.has_keys() && !access.public_without_keys {
            mistakes.push(format!(
                "listen: {} can be reached from other machines, and there are no keys: set keys, listen on a \
                 loopback address, or set allow_public_without_keys",
                self.listen
            ));
        }
        if access.originals_need_key && !access.has_keys() {
            mistakes.push("originals_need_key: there are no keys".to_owned());
        }
        if access.renditions_need_signature && access.signing_keys.is_empty() {
            mistakes.push("renditions_need_signature: there are no signing_keys".to_owned());
        }
        if !self.layers.jobs.webhook_allow.is_empty() && self.layers.jobs.webhook_secret.is_none() {
            mistakes.push("webhook_allow: there is no webhook_secret to sign with".to_owned());
        }
        if self.layers.http.presets.only && self.layers.http.presets.is_empty() {
            mistakes.push("presets_only: there are no presets, so nothing could be rendered".to_owned());
        }
        let renditions = &self.layers.renditions;
        if self.layers.limits.memory_bytes_max > renditions.render_memory_bytes_max {
            mistakes.push(
                "render_memory_bytes_max: less than memory_bytes_max, so some renders could never run".to_owned(),
            );
        }
        if self.layers.store.uploads_bytes_max < self.layers.store.blob_bytes_max {
            mistakes.push("uploads_bytes_max: less than bytes_max, so some uploads could never arrive".to_owned());
        }
        mistakes
    }
}

fn is_known(key: &str) -> bool {
    settings().any(|setting| setting.key == key)
}

/// Writes the TOML value of a setting as it would be in the environment.
fn text_of_setting(key: &str, value: &toml::Value) -> String {
    match value {
        toml::Value::Table(keys) if key == "keys" => {
            keys.iter().map(|(name, key)| text_of_key(name, key)).collect::<Vec<_>>().join(" ")
        }
        value => text_of(value),
    }
}

/// `[keys.name]`: scopes, a secret, and limits.
fn text_of_key(name: &str, key: &toml::Value) -> String {
    let toml::Value::Table(key) = key else { return format!("{name}:{}", text_of(key)) };
    let text = |part| key.get(part).map(text_of).unwrap_or_default();
    let limits = key.iter().filter(|(part, _)| !matches!(part.as_str(), "scopes" | "secret"));
    let limits: String = limits.map(|(limit, number)| format!(";{limit}={}", text_of(number))).collect();
    format!("{name}:{}{limits}:{}", text("scopes").replace(',', "+"), text("secret"))
}

/// Writes a TOML value as it would be in the environment. Lists are joined by commas.
fn text_of(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(values) => values.iter().map(text_of).collect::<Vec<_>>().join(","),
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Float(number) => number.to_string(),
        toml::Value::Boolean(switch) => switch.to_string(),
        toml::Value::Datetime(time) => time.to_string(),
        // `[presets]`: queries by name.
        toml::Value::Table(table) => {
            table.iter().map(|(name, value)| format!("{name}:{}", text_of(value))).collect::<Vec<_>>().join(" ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(flags: &[(&str, &str)], environment: &[(&str, &str)], file: Option<&str>) -> Result<Config, Mistakes> {
        let find = |pairs: &[(&str, &str)], name: &str| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        Config::load(&SettingSources {
            flag: &|key| find(flags, key),
            environment: &|name| find(environment, name),
            file,
        })
    }

    #[test]
    fn flags_win_over_the_environment_which_wins_over_the_file() {
        let file =
            Some("cache_bytes_max = 1\ndata = \"file\"\nlisten = \"127.0.0.1:1\"\nallow_public_without_keys = true");
        let environment = [("PROGIMAGE_CACHE_BYTES_MAX", "2"), ("PROGIMAGE_DATA", "environment")];
        let config = load(&[("cache_bytes_max", "3")], &environment, file).expect("good settings");
        assert_eq!(config.layers.renditions.cache_bytes_max, 3);
        assert_eq!(config.data, "environment");
        assert_eq!(config.listen.port(), 1);
        assert!(config.layers.access.public_without_keys);
    }

    #[test]
    fn mistakes_are_reported_together() {
        let file = Some("nonsense = 1\nrender_threads = 0\n");
        let mistakes =
            load(&[("listen", "nowhere")], &[("PROGIMAGE_BYTES_MAX", "-1")], file).expect_err("four mistakes");
        let text = mistakes.to_string();
        for part in ["nonsense", "render_threads", "--listen", "PROGIMAGE_BYTES_MAX"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert_eq!(mistakes.0.len(), 4, "{text}");
    }

    #[test]
    fn a_server_without_keys_stays_on_this_machine() {
        let key = ("PROGIMAGE_KEYS", "a:read:0123456789abcdef");
        assert!(load(&[("listen", "0.0.0.0:80")], &[], None).is_err());
        assert!(load(&[("listen", "[::1]:80")], &[], None).is_ok());
        assert!(load(&[("listen", "0.0.0.0:80")], &[key], None).is_ok());
        assert!(load(&[("listen", "0.0.0.0:80"), ("allow_public_without_keys", "true")], &[], None).is_ok());
    }

    #[test]
    fn a_key_may_be_a_table_with_limits() {
        let file = "[keys.cdn]\nscopes = [\"read\", \"write\"]\nsecret = \"0123456789abcdef\"\nrenders_max = 4\n[keys.b]\nscopes = \"admin\"\nsecret = \"fedcba9876543210\"";
        let keys = load(&[], &[], Some(file)).expect("good keys").layers.access.keys;
        let text = "b:admin:fedcba9876543210 cdn:read+write;renders_max=4:0123456789abcdef";
        assert_eq!(keys, load(&[("keys", text)], &[], None).expect("good keys").layers.access.keys);
        assert_eq!(keys[1].limits.to_string(), "renders_max=4");
        for (bad, part) in
            [("nonsense = 1", "nonsense"), ("renders_max = 0", "renders_max"), ("scopes = \"fly\"", "fly")]
        {
            let rest = if bad.starts_with("scopes") { "" } else { "scopes = \"read\"\n" };
            let file = format!("[keys.a]\n{rest}secret = \"0123456789abcdef\"\n{bad}");
            let mistakes = load(&[], &[], Some(&file)).expect_err(bad).to_string();
            assert!(mistakes.contains(part) && !mistakes.contains("0123456789"), "{mistakes}");
        }
    }

    #[test]
    fn all_mistakes_in_tables_of_keys_are_reported_together() {
        let file = "anonymous_limits = \"requests_per_s=0;foo=2\"\n[keys.app]\nscopes = [\"red\", \"fly\"]\nsecret = \"short\"\n\
            request_per_s = 3\nrenders_max = 0\n[keys.other]\nscopes = \"run\"\nsecret = \"0123456789abcdef\"";
        let mistakes = load(&[], &[], Some(file)).expect_err("many").to_string();
        for part in ["\"app\"", "\"red\", \"fly\"", "request_per_s", "renders_max", "16", "\"other\"", "\"run\"", "foo"]
        {
            assert!(mistakes.contains(part), "{part} in {mistakes}");
        }
        assert!(!mistakes.contains("\"short\"") && !mistakes.contains("0123456789"), "{mistakes}");
        let twice = "keys = \"a:read:0123456789abcdef,a:read:0123456789abcdef,b:read:0123456789abcdef\"";
        assert!(load(&[("keys_file", "/nowhere")], &[], Some(twice)).expect_err("two").0.len() >= 2);
    }

    #[test]
    fn a_server_of_presets_only_has_some() {
        assert!(load(&[("presets_only", "true")], &[], None).is_err());
        assert!(load(&[("presets_only", "true"), ("presets", "thumb:w=300")], &[], None).is_ok());
    }

    #[test]
    fn one_bound_on_bytes_holds_in_every_layer() {
        let layers = load(&[("bytes_max", "1000")], &[], None).expect("good settings").layers;
        assert_eq!((layers.limits.bytes_max, layers.store.blob_bytes_max), (1000, 1000));
    }

    #[test]
    fn the_rendition_tier_lies_beside_a_store_on_disk_and_memory_has_none() {
        let folder = |data| load(&[("data", data)], &[], None).expect("good settings").layers.renditions.tier_folder;
        assert_eq!(folder("a/b"), Some("a/b/renditions".into()));
        assert_eq!(folder("c:d"), Some("c:d/renditions".into()));
        assert_eq!((folder("memory:"), folder("s3://bucket")), (None, None));
    }

    #[test]
    fn the_store_takes_its_level_and_bounds() {
        let file = "store_level = \"relaxed\"\nverify_after_s = 60\nbatch_max = 1\nfull_retry_ms = 0";
        let store = load(&[], &[], Some(file)).expect("good settings").layers.store;
        assert_eq!((store.level, store.verify_after_s), (crate::store::Level::Relaxed, 60));
        assert_eq!((store.batch_max, store.full_retry_ms), (1, 0));
        for (key, bad) in [("store_level", "Strict"), ("batch_max", "0"), ("read_back_max", "0"), ("sync_threads", "0")]
        {
            let mistakes = load(&[(key, bad)], &[], None).expect_err(key);
            assert!(mistakes.0[0].contains("allowed"), "{mistakes}");
        }
    }

    #[test]
    fn remote_sources_are_off_until_hosts_are_named() {
        assert!(Config::default().layers.fetch.allow.is_empty());
        let file = Some("remote_allow = [\"*.Example.com\", \"a.b\"]\nremote_private_allow = \"10.1.0.0/16\"");
        let fetch = load(&[("remote_ports", "443, 8443")], &[], file).expect("good settings").layers.fetch;
        assert_eq!(fetch.allow.iter().map(ToString::to_string).collect::<Vec<_>>(), ["*.example.com", "a.b"]);
        assert_eq!((fetch.ports.as_slice(), fetch.private_allow.len()), ([443, 8443].as_slice(), 1));
        for (key, bad) in [
            ("remote_allow", "http://a"),
            ("remote_ports", "65536"),
            ("remote_private_allow", "10.0.0.0/33"),
            ("remote_timeout_ms", "0"),
        ] {
            assert!(load(&[(key, bad)], &[], None).is_err(), "{key}");
        }
    }

    #[test]
    fn every_setting_takes_its_own_default_and_is_described() {
        let table = describe();
        for setting in settings() {
            let mut config = Config::default();
            let text = (setting.get)(&config);
            if !text.is_empty() {
                assert_eq!((setting.set)(&mut config, &text), Ok(()), "{}", setting.key);
                assert_eq!((setting.get)(&config), text, "{}", setting.key);
            }
            assert!(table.contains(&format!("`{}`", setting.key)) && !setting.doc.is_empty(), "{}", setting.key);
        }
    }

    #[test]
    fn no_two_settings_share_a_key() {
        for (index, setting) in settings().enumerate() {
            assert!(settings().skip(index + 1).all(|other| other.key != setting.key), "{}", setting.key);
        }
    }
}
