//! Open files of the server: raises their limit, and lowers `connections_max` where that is too much for it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for all but connections: files of group commits, the queue of jobs, remote sources, the log.
const KEPT: u64 = 512;

/// The descriptors of a connection: its socket, and the file that it reads or writes.
const PER_CONNECTION: u64 = 2;

/// Raises the limit of open files to the system's maximum: the usual 1,024 are fewer than `connections_max`. Returns as many
/// connections, up to `wanted`, as leave descriptors for everything else.
pub fn raise(wanted: usize) -> usize {
    let Some(limit) = raised() else { return wanted };
    let connections_max = wanted.min(connections(limit));
    if connections_max < wanted {
        tracing::warn!(
            limit,
            wanted,
            connections_max,
            "the limit of open files is too low for connections_max, which is lowered; set LimitNOFILE={needed} (systemd) or \
             `ulimit -n {needed}` to have them all",
            needed = needed(wanted)
        );
    }
    connections_max
}

/// The limit after it was raised; `None`: there is none.
fn raised() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of open files");
            current
        }
    }
}

/// The limit that has room for so many connections.
fn needed(connections: usize) -> u64 {
    (connections as u64).saturating_mul(PER_CONNECTION).saturating_add(KEPT)
}

/// The connections that a limit has room for; at least one. Where it is very low, half of it is kept for the rest.
fn connections(limit: u64) -> usize {
    let left = limit - KEPT.min(limit / 2);
    usize::try_from(left / PER_CONNECTION).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_everything_else() {
        for (limit, expected) in [
            (0, 1),
            (1, 1),
            (128, 32),
            (1_024, 256),
            (4_096, 1_792),
            (20_512, 10_000),
            (u64::MAX, usize::MAX / 2 - 256),
        ] {
            assert_eq!(connections(limit), expected, "{limit}");
        }
        for wanted in [512, 10_000] {
            assert_eq!(connections(needed(wanted)), wanted);
            assert_eq!(connections(needed(wanted) - 1), wanted - 1, "the least limit");
        }
    }
}
