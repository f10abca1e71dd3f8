//! Settings: who may do what, and presets.

use crate::config::Config;
use crate::config::setting::{Setting, joined, read, switch};
use crate::http::sign::signing_keys;
use crate::http::{Presets, auth};

pub const ROWS: &[Setting] = &[
    Setting {
        key: "keys",
        doc: "API keys `name:scope+scope:secret`, separated by commas. Scopes are `read`, `write`, `process` and `admin`. \
              [Limits](../http/README.md#limits-of-a-key) may follow the scopes.",
        get: |_| String::new(),
        set: |config, text| add_keys(config, text),
        default_text: None,
    },
    Setting {
        key: "keys_file",
        doc: "File of further keys, one per line; `#` begins a comment.",
        get: |_| String::new(),
        set: |config, path| {
            let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))?;
            add_keys(config, &text)
        },
        default_text: None,
    },
    Setting {
        key: "anonymous",
        doc: "Scopes that need no key: `read`, several joined by `+`, or `none`. Applies once there are keys.",
        get: |config| config.layers.access.anonymous.to_string(),
        set: |config, text| text.parse().map(|value| config.layers.access.anonymous = value),
        default_text: None,
    },
    Setting {
        key: "anonymous_limits",
        doc: "Limits of all clients without a key together. For example `requests_per_s=50;renders_max=4;uploads_max=2`.",
        get: |config| config.layers.access.anonymous_limits.to_string(),
        set: |config, text| text.parse().map(|value| config.layers.access.anonymous_limits = value),
        default_text: None,
    },
    Setting {
        key: "signing_keys",
        doc: "Keys for signed URLs, `id:secret`, separated by commas. All of them verify; the first one signs.",
        get: |_| String::new(),
        set: |config, text| signing_keys(text).map(|keys| config.layers.access.signing_keys = keys),
        default_text: None,
    },
    switch!(
        "renditions_need_signature",
        "Require a signed URL, or a key with the route's scope, for renditions.",
        layers.access.renditions_need_signature
    ),
    Setting {
        key: "presets",
        doc: "Named queries `name:query`, separated by blanks. `preset=name` in a URL stands for the query.",
        get: |config| config.layers.http.presets.to_string(),
        set: |config, text| Presets::named(text).map(|named| config.layers.http.presets.set(named)),
        default_text: None,
    },
    switch!("presets_only", "Allow nothing but presets, in queries, forms and items.", layers.http.presets.only),
    switch!(
        "originals_need_key",
        "Require a key with `read` for originals. Also for renditions with `metadata=all` and for the position in `/info`; \
         other renditions need none.",
        layers.access.originals_need_key
    ),
    switch!(
        "convert_renders",
        "Render every conversion, never pass an original through. Metadata is dropped unless `metadata` asks for it.",
        layers.http.convert_renders
    ),
    switch!(
        "allow_public_without_keys",
        "Listen on any address without keys, and answer to any host. Anyone who reaches the server may then do everything, \
         but not by the browser of another: what changes something stays refused to web pages of other origins, unless \
         `cors_origins` has them.",
        layers.access.public_without_keys
    ),
    Setting {
        key: "hosts",
        doc: "Further hosts that a server without keys answers to, separated by commas. Each is a whole name or address, \
              such as `images.example` or `[2001:db8::1]`, for any port. It always answers to `localhost` and to loopback \
              addresses. With keys it answers to any.",
        get: |config| joined(&config.layers.access.hosts),
        set: |config, text| auth::hosts(text).map(|value| config.layers.access.hosts = value),
        default_text: None,
    },
    Setting {
        key: "cors_origins",
        doc: "Origins of web pages that may use every route, separated by commas; `*`: all. Pages of other origins may \
              only read images; without a key, they are refused all that changes something. A server behind a proxy \
              with TLS needs its own `https` origin here.",
        get: |config| config.layers.access.cors_origins.to_string(),
        set: |config, text| text.parse().map(|value| config.layers.access.cors_origins = value),
        default_text: None,
    },
];

fn add_keys(config: &mut Config, text: &str) -> Result<(), String> {
    let keys = auth::keys(text).map_err(|mistakes| mistakes.join("; "))?;
    let known = &mut config.layers.access.keys;
    let twice = keys.iter().filter(|key| known.iter().any(|other| other.name == key.name));
    let mistakes: Vec<_> = twice.map(|key| format!("key {:?} is given twice", key.name)).collect();
    known.extend(keys);
    if mistakes.is_empty() { Ok(()) } else { Err(mistakes.join("; ")) }
}
