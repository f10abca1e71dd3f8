//! [`Progress`]: a bar on standard error if that is a terminal; otherwise nothing at all. Holds no data.

use std::fmt;
use std::time::Duration;

use indicatif::{DecimalBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// Time between redraws, so that the rate and the time left stay true while nothing moves.
const TICK: Duration = Duration::from_millis(250);

/// A bar. Clones are handles on the same one; it is removed when the last is dropped.
#[derive(Clone)]
pub struct Progress {
    bar: ProgressBar,
    /// A bar that is never drawn. It measures the rate of bytes that are moved, without those that are skipped.
    moved: ProgressBar,
}

impl Progress {
    /// A bar that counts bytes.
    pub fn bytes() -> Progress {
        let shown = |bytes| DecimalBytes(bytes).to_string();
        Progress::new("{bar:16} {count}{bytes_rate}{left}  {wide_msg}", None, shown)
    }

    /// A bar that counts items.
    pub fn items() -> Progress {
        Progress::new("{bar:16} {count} items, {rate}{left}  {wide_msg}", None, |items| items.to_string())
    }

    /// A bar that counts items, without a rate: the server reports that.
    pub fn reported() -> Progress {
        Progress::new("{bar:16} {count} items  {wide_msg}", None, |items| items.to_string())
    }

    /// A bar of `len` equal parts, in percent.
    pub fn parts(len: u64) -> Progress {
        Progress::new("{bar:16} {percent} %{left}  {wide_msg}", Some(len), |parts| parts.to_string())
    }

    fn new(template: &str, len: Option<u64>, shown: fn(u64) -> String) -> Progress {
        // indicatif does not draw at all if standard error is not a terminal.
        let bar = ProgressBar::with_draw_target(len, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template(template).expect("these templates are tested");
        let rate = |state: &ProgressState, out: &mut dyn fmt::Write| _ = write!(out, "{:.1}/s", state.per_sec());
        let count = move |state: &ProgressState, out: &mut dyn fmt::Write| _ = out.write_str(&count(state, shown));
        let left = |state: &ProgressState, out: &mut dyn fmt::Write| _ = out.write_str(&left(state));
        let moved = ProgressBar::hidden();
        let bytes = moved.clone();
        let bytes_rate = move |_: &ProgressState, out: &mut dyn fmt::Write| _ = out.write_str(&bytes_rate(&bytes));
        let style = style
            .with_key("bytes_rate", bytes_rate)
            .with_key("rate", rate)
            .with_key("count", count)
            .with_key("left", left);
        bar.set_style(style.progress_chars("=> "));
        if !bar.is_hidden() {
            bar.enable_steady_tick(TICK);
        }
        Progress { bar, moved }
    }

    /// Whether the bar is drawn.
    pub fn is_seen(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// Adds `more` to the total.
    pub fn expect(&self, more: u64) {
        if more > 0 {
            self.bar.update(|state| state.set_len(state.len().unwrap_or(0).saturating_add(more)));
        }
    }

    /// Sets the total.
    pub fn set_total(&self, total: u64) {
        self.bar.set_length(total);
    }

    /// Counts `more` as done.
    pub fn advance(&self, more: u64) {
        self.bar.inc(more);
        self.moved.inc(more);
    }

    /// Counts `more` as done, without effort: it does not count for the rate.
    pub fn pass_over(&self, more: u64) {
        self.bar.inc(more);
    }

    /// Sets what is done.
    pub fn set(&self, position: u64) {
        self.bar.set_position(position);
    }

    /// Shows `text` next to the bar.
    pub fn message(&self, text: impl FnOnce() -> String) {
        if self.is_seen() {
            self.bar.set_message(text());
        }
    }

    /// Runs `write`, which may write to the same terminal, while the bar is hidden.
    pub fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }

    /// Removes the bar.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// The total; `None`: not measured yet, or more was done than was measured.
fn total(state: &ProgressState) -> Option<u64> {
    state.len().filter(|len| *len > 0 && *len >= state.pos())
}

/// The text `3.1 MB of 5.0 MB`.
fn count(state: &ProgressState, shown: fn(u64) -> String) -> String {
    let done = shown(state.pos());
    total(state).map_or(done.clone(), |total| format!("{done} of {}", shown(total)))
}

/// The text `, 3.1 MB/s`; empty while no byte was moved.
fn bytes_rate(moved: &ProgressBar) -> String {
    if moved.position() == 0 { String::new() } else { format!(", {}/s", DecimalBytes(moved.per_sec() as u64)) }
}

/// The text `, 3 minutes left`; empty while the total is unknown.
fn left(state: &ProgressState) -> String {
    total(state).map_or(String::new(), |_| format!(", {:#} left", HumanDuration(state.eta())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_is_told_once_it_is_known() {
        let progress = Progress::bytes();
        let said = || {
            let mut said = (String::new(), false);
            progress.bar.update(|state| said = (count(state, |n| n.to_string()), left(state).ends_with(" left")));
            said
        };
        let check = |text: &str, left: bool| assert_eq!(said(), (text.to_owned(), left));
        check("0", false);
        progress.expect(0);
        check("0", false);
        progress.expect(3);
        progress.expect(4);
        check("0 of 7", true);
        progress.set(7);
        check("7 of 7", true);
        progress.advance(1);
        check("8", false);
        progress.set_total(9);
        check("8 of 9", true);
    }

    #[test]
    fn what_is_passed_over_is_not_fast() {
        let progress = Progress::bytes();
        progress.pass_over(1 << 40);
        assert_eq!((progress.bar.position(), bytes_rate(&progress.moved)), (1 << 40, String::new()));
        progress.advance(1);
        assert_eq!((progress.bar.position(), progress.moved.position()), ((1 << 40) + 1, 1));
        let rate = bytes_rate(&progress.moved);
        assert!(rate.starts_with(", ") && rate.ends_with("B/s"), "{rate}");
    }

    #[test]
    fn every_bar_has_a_template_that_parses() {
        for progress in [Progress::bytes(), Progress::items(), Progress::reported(), Progress::parts(4096)] {
            progress.expect(1);
            progress.advance(1);
            assert_eq!(progress.suspend(|| 3), 3);
            progress.clear();
        }
    }
}
