//! [`GROUPS`]: one row for each setting, in one file for each subject. Rules between settings are in
//! [`super::Config`].

mod access;
mod bulk;
mod connections;
mod images;
mod jobs;
mod remote;
mod renders;
mod server;
mod store;

use super::setting::Setting;

/// The longest time. More would be a mistake of units.
const MS_MAX: u64 = 24 * 3_600_000;
const BYTES_MAX: u64 = 1 << 50;

/// Settings of one subject.
pub struct Group {
    /// The heading in the reference.
    pub title: &'static str,
    /// One row for each setting.
    pub settings: &'static [Setting],
}

/// All settings, in the order of the reference.
pub const GROUPS: &[Group] = &[
    Group { title: "The server", settings: server::SERVER },
    Group { title: "Access and presets", settings: access::ROWS },
    Group { title: "Limits of one image", settings: images::ROWS },
    Group { title: "Uploads and the store", settings: store::ROWS },
    Group { title: "Renders", settings: renders::SINGLE },
    Group { title: "Bulk renders", settings: renders::BULK },
    Group { title: "Remote images", settings: remote::ROWS },
    Group { title: "Connections, requests and slow senders", settings: connections::SENDERS },
    Group { title: "Lists of ids", settings: connections::LISTS },
    Group { title: "Jobs and webhooks", settings: jobs::ROWS },
    Group { title: "Bulk requests", settings: bulk::ROWS },
    Group { title: "Slow readers, and shutdown", settings: connections::READERS },
    Group { title: "Logs", settings: server::LOGS },
];

/// All settings.
pub fn settings() -> impl Iterator<Item = &'static Setting> {
    GROUPS.iter().flat_map(|group| group.settings)
}
