//! [`Watch`]: a thread that looks at the device from time to time, so that calls on the runtime need not.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::core::{Core, list};
use super::fs::Fs;

/// The time between two looks at the free space. Writes look for themselves.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// Looks between two attempts at the folders that could not be read.
const FOLDERS_AFTER: u64 = 30;

/// The thread. It ends after its look when this is dropped.
pub struct Watch {
    _stop: mpsc::Sender<()>,
}

impl Watch {
    /// Starts the thread.
    pub fn start<F: Fs>(core: Arc<Core<F>>) -> std::io::Result<Watch> {
        let (stop, stopped) = mpsc::channel();
        thread::Builder::new().name("store-watch".into()).spawn(move || run(&core, &stopped))?;
        Ok(Watch { _stop: stop })
    }
}

fn run<F: Fs>(core: &Core<F>, stopped: &mpsc::Receiver<()>) {
    for look in 1_u64.. {
        core.space.is_short(&core.fs);
        if look.is_multiple_of(FOLDERS_AFTER) {
            list::look_again(core);
        }
        if stopped.recv_timeout(LOOK_AFTER) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}
