//! [`Options`]: the settings of the rendition layer.

use std::path::PathBuf;

use super::isolate::WorkerCommand;

/// Settings of the rendition layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of cached renditions, keys and bookkeeping included; 0: no cache.
    pub cache_bytes_max: u64,
    /// Threads that render.
    pub render_threads: usize,
    /// Memory that all renders together may be planned to hold, and that their results hold until the last response is sent;
    /// in addition to `cache_bytes_max`.
    pub render_memory_bytes_max: u64,
    /// Renders that may wait for admission.
    pub queue_max: usize,
    /// How long one render may wait for admission.
    pub queue_timeout_ms: u64,
    /// How long one render may run. In the bulk lane: processor time of its thread that the decode, and each output, may
    /// use.
    pub render_timeout_ms: u64,
    /// Threads that render for the bulk lane.
    pub bulk_threads: usize,
    /// Whether bulk threads give way to every other thread of the system. Otherwise they rank with those of single renders,
    /// so that a system that is never idle cannot hold bulk work up for good.
    pub bulk_idle: bool,
    /// Memory that all renders of the bulk lane together may be planned to hold, with their results, in addition to the
    /// memory of single renders. A render whose source and results exceed it runs alone.
    pub bulk_memory_bytes_max: u64,
    /// How to start the processes that render; `None`: the threads render themselves.
    pub worker: Option<WorkerCommand>,
    /// Folder of the rendition tier; `None`: there is none.
    pub tier_folder: Option<PathBuf>,
    /// Bytes that the tier may take of its device; 0: there is none.
    pub tier_bytes_max: u64,
    /// The reserve of the device, at most a twentieth of it. The tier leaves twice as much free: it gives way before
    /// uploads end.
    pub space_reserve_bytes: u64,
}

impl Default for Options {
    fn default() -> Options {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Options {
            cache_bytes_max: 256 << 20,
            render_threads: processors,
            render_memory_bytes_max: 4 << 30,
            queue_max: 256,
            queue_timeout_ms: 5_000,
            render_timeout_ms: 10_000,
            bulk_threads: processors,
            bulk_idle: true,
            bulk_memory_bytes_max: 1 << 30,
            worker: None,
            tier_folder: None,
            tier_bytes_max: 1 << 30,
            space_reserve_bytes: 1 << 30,
        }
    }
}
