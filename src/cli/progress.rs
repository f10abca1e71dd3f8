//! [`Progress`]: a bar on standard error, where that is a terminal; elsewhere nothing at all. Holds no data.

use std::fmt;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// How often a bar is drawn although nothing moved, so that its rate and time left stay true.
const TICK: Duration = Duration::from_millis(250);

/// A bar; clones are the same one. Cleared when the last is dropped.
#[derive(Clone)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Counts bytes.
    pub fn bytes() -> Progress {
        Progress::new(
            "{bar:16} {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left  {wide_msg}",
            0,
        )
    }

    /// Counts items.
    pub fn items() -> Progress {
        Progress::new("{bar:16} {pos} of {len}, {rate}, {eta} left  {wide_msg}", 0)
    }

    /// How far a walk over `len` equal parts of a whole is.
    pub fn parts(len: u64) -> Progress {
        Progress::new("{bar:16} {percent} %, {eta} left  {wide_msg}", len)
    }

    fn new(template: &str, len: u64) -> Progress {
        // indicatif draws on standard error, and not at all where that is no terminal.
        let bar = ProgressBar::with_draw_target(Some(len), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template(template).expect("these templates are tested");
        let rate = |state: &ProgressState, out: &mut dyn fmt::Write| _ = write!(out, "{:.1}/s", state.per_sec());
        let style = style.with_key("rate", rate);
        bar.set_style(style.progress_chars("=> "));
        if !bar.is_hidden() {
            bar.enable_steady_tick(TICK);
        }
        Progress(bar)
    }

    /// Whether anybody sees it.
    pub fn is_seen(&self) -> bool {
        !self.0.is_hidden()
    }

    /// More is to be done.
    pub fn expect(&self, more: u64) {
        self.0.inc_length(more);
    }

    /// So much is to be done in all.
    pub fn set_total(&self, total: u64) {
        self.0.set_length(total);
    }

    /// More is done.
    pub fn advance(&self, more: u64) {
        self.0.inc(more);
    }

    /// So much is done.
    pub fn set(&self, position: u64) {
        self.0.set_position(position);
    }

    /// Says `text` beside the bar.
    pub fn say(&self, text: impl FnOnce() -> String) {
        if self.is_seen() {
            self.0.set_message(text());
        }
    }

    /// Runs `write`, which may write to the same terminal, with the bar out of the way.
    pub fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        self.0.suspend(write)
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bar_has_a_template_that_parses() {
        for progress in [Progress::bytes(), Progress::items(), Progress::parts(4096)] {
            progress.expect(1);
            progress.advance(1);
            assert_eq!(progress.aside(|| 3), 3);
            progress.clear();
        }
    }
}
