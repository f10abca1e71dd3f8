//! `progimage serve`: starts the server and its log, and stops it at a signal.

mod descriptors;
pub mod modes;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::ArgMatches;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::load;
use crate::config::{Config, LogFormat};
use crate::http::{App, server};
use crate::jobs::{self, Database};
use crate::renditions::isolate::WorkerCommand;
use crate::store::{self, Folder};

/// The argument that starts this program as a render worker.
pub const RENDER_WORKER: &str = "render-worker";

/// The environment of a render worker: its allocators. Its address space is bounded, so Rust's takes 64 MiB of it at a time
/// and not a gigabyte. Neither gives freed memory back, since the next render takes as much again, and new pages cost. A worker
/// that keeps too much is replaced. The second threshold is the largest there is: above, each allocation has new pages.
const WORKER_ENVIRONMENT: &[(&str, &str)] = &[
    ("MIMALLOC_ARENA_RESERVE", "65536"),
    ("MIMALLOC_PURGE_DELAY", "-1"),
    ("MALLOC_TRIM_THRESHOLD_", "67108864"),
    ("MALLOC_MMAP_THRESHOLD_", "33554432"),
];

/// The exit status for wrong settings, as for a wrong argument.
const EXIT_SETTINGS: u8 = 2;

pub fn run(matches: &[&ArgMatches]) -> ExitCode {
    let config = match load(matches) {
        Ok(config) => config,
        Err(mistakes) => {
            for mistake in mistakes.0 {
                eprintln!("progimage: {mistake}");
            }
            return ExitCode::from(EXIT_SETTINGS);
        }
    };
    serve(config).unwrap_or_else(|error| {
        eprintln!("progimage: {error}");
        ExitCode::FAILURE
    })
}

fn serve(mut config: Config) -> Result<ExitCode, Box<dyn std::error::Error>> {
    log(&config)?;
    let connections_max = &mut config.layers.http.connections_max;
    *connections_max = descriptors::raise(*connections_max);
    modes::keep_private(&config.data);
    config.layers.renditions.worker = workers(&config)?;
    run_to_its_end(async {
        let listener = TcpListener::bind(config.listen)
            .await
            .map_err(|error| format!("cannot listen on {}: {error}", config.listen))?;
        let store = store::open(&config.data, &config.layers.store)
            .await
            .map_err(|error| format!("cannot open the store {}: {error}", config.data))?;
        // The store has locked the folder, so no other server has this file open.
        let database = database(&config.data).map_err(|error| format!("cannot open the jobs database: {error}"))?;
        let stop = stop()?;
        tracing::info!(address = %listener.local_addr()?, data = config.data, level = ?config.layers.store.level, "ready");
        let stopped = server::serve(listener, App::with_database(store, database, config.layers), stop).await;
        tracing::info!(?stopped, "stopped");
        Ok(match stopped {
            server::Stopped::Drained => ExitCode::SUCCESS,
            server::Stopped::CutOff => ExitCode::FAILURE,
        })
    })
}

/// How to start render workers, once one has started. `None`: they are switched off.
fn workers(config: &Config) -> Result<Option<WorkerCommand>, String> {
    if !config.isolate {
        return Ok(None);
    }
    let environment = WORKER_ENVIRONMENT.iter().map(|(name, value)| (name.into(), value.into())).collect();
    let command = WorkerCommand { args: vec![RENDER_WORKER.into()], environment };
    match command.check() {
        Ok(()) => Ok(Some(command)),
        Err(error) => Err(format!("no render worker can run here: {error}; isolate=false renders without workers")),
    }
}

/// Runs the server on a runtime, and leaves at its end whatever blocks a thread. A look-up of a name may take as long
/// as name servers are silent, and cannot be stopped. All that must reach the disk is there by then: the store and the
/// queue acknowledge nothing before.
fn run_to_its_end<T, E: From<io::Error>>(server: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let runtime = Runtime::new()?;
    let ended = runtime.block_on(server);
    runtime.shutdown_background();
    ended
}

/// Opens the jobs database: in the data folder, or in memory if there is none.
fn database(data: &str) -> Result<Database, jobs::Error> {
    Folder::of(data).map_or_else(Database::in_memory, |folder| Database::open(&folder.jobs()))
}

/// Waits for the first SIGTERM or SIGINT.
fn stop() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping; waiting for requests under way");
    })
}

fn log(config: &Config) -> Result<(), Box<dyn std::error::Error>> {
    let filter = EnvFilter::try_new(&config.log).map_err(|error| format!("log: {error}"))?;
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    match config.log_format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().init(),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_thread_that_blocks_does_not_keep_a_server_from_its_end() {
        // This stands for a name server that is silent.
        let (answer, silence) = mpsc::channel::<()>();
        let (ended, end) = mpsc::channel();
        std::thread::spawn(move || {
            let result = run_to_its_end(async {
                let (begun, began) = tokio::sync::oneshot::channel();
                tokio::task::spawn_blocking(move || {
                    _ = begun.send(());
                    silence.recv().is_ok()
                });
                began.await.map_err(io::Error::other)
            });
            _ = ended.send(result.is_ok());
        });
        assert_eq!(end.recv_timeout(std::time::Duration::from_secs(60)), Ok(true));
        _ = answer.send(());
    }
}
