//! Settings: jobs and webhooks.

use super::{BYTES_MAX, MS_MAX};
use crate::config::setting::{Setting, bounded, in_words, joined, listed, number};

pub const ROWS: &[Setting] = &[
    number!(
        "job_items_at_once",
        "Items of jobs that run at once.",
        1..=10_000,
        layers.jobs.items_at_once,
        "two per processor"
    ),
    number!(
        "job_attempts_max",
        "Attempts per job item when the failure is temporary.",
        1..=100,
        layers.jobs.attempts_max
    ),
    number!(
        "job_retry_ms",
        "Wait before the second attempt of a job item. It is doubled before each further one.",
        0..=MS_MAX,
        layers.jobs.retry_ms
    ),
    number!("job_items_max", "Lines of one job.", 1..=1_000_000_000, layers.jobs.items_max),
    number!(
        "jobs_unfinished_max",
        "Unfinished jobs. Jobs of `prerender` are counted apart, up to as many again.",
        1..=10_000,
        layers.jobs.unfinished_max
    ),
    number!(
        "jobs_receiving_max",
        "Jobs being received at once. Jobs of `prerender` are counted apart, up to as many again.",
        1..=1_000,
        layers.jobs.receiving_max
    ),
    number!(
        "jobs_ended_max",
        "Ended jobs that are remembered. Jobs of `prerender`, and jobs whose webhook is still to be called, are \
         counted apart, up to as many again of each.",
        0..=100_000,
        layers.jobs.ended_max
    ),
    number!("jobs_keep_s", "Time for which an ended job is remembered.", 0..=10 * 365 * 86_400, layers.jobs.keep_s),
    number!(
        "jobs_bytes_max",
        "Bytes of the jobs database at which no line is accepted. Results of accepted jobs are still written. From \
         three quarters on, ended jobs are forgotten.",
        1..=BYTES_MAX,
        layers.jobs.bytes_max
    ),
    Setting {
        key: "webhook_allow",
        doc: "Hosts that webhooks may call, separated by commas; none: off. Patterns are those of `remote_allow`; \
              ports and networks are those of `remote_ports` and `remote_private_allow`.",
        get: |config| joined(&config.layers.jobs.webhook_allow),
        set: |config, text| listed(text).map(|value| config.layers.jobs.webhook_allow = value),
        default_text: None,
    },
    Setting {
        key: "webhook_secret",
        doc: "Secret that signs webhooks, at least 16 characters.",
        get: |_| String::new(),
        set: |config, text| text.parse().map(|secret| config.layers.jobs.webhook_secret = Some(secret)),
        default_text: None,
    },
];
