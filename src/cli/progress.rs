//! [`Progress`]: a bar on standard error, where that is a terminal; elsewhere nothing at all. Holds no data.

use std::fmt;
use std::time::Duration;

use indicatif::{DecimalBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// How often a bar is drawn although nothing moved, so that its rate and time left stay true.
const TICK: Duration = Duration::from_millis(250);

/// A bar; clones are the same one. Cleared when the last is dropped.
#[derive(Clone)]
pub struct Progress {
    bar: ProgressBar,
    /// Never drawn: reckons the rate at which bytes are moved, whatever is passed over.
    moved: ProgressBar,
}

impl Progress {
    /// Counts bytes.
    pub fn bytes() -> Progress {
        let shown = |bytes| DecimalBytes(bytes).to_string();
        Progress::new("{bar:16} {count}{bytes_rate}{left}  {wide_msg}", None, shown)
    }

    /// Counts items.
    pub fn items() -> Progress {
        Progress::new("{bar:16} {count} items, {rate}{left}  {wide_msg}", None, |items| items.to_string())
    }

    /// Counts items whose pace somebody else knows better, and tells.
    pub fn told() -> Progress {
        Progress::new("{bar:16} {count} items  {wide_msg}", None, |items| items.to_string())
    }

    /// How far a walk over `len` equal parts of a whole is.
    pub fn parts(len: u64) -> Progress {
        Progress::new("{bar:16} {percent} %{left}  {wide_msg}", Some(len), |parts| parts.to_string())
    }

    fn new(template: &str, len: Option<u64>, shown: fn(u64) -> String) -> Progress {
        // indicatif draws on standard error, and not at all where that is no terminal.
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

    /// Whether anybody sees it.
    pub fn is_seen(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// More is to be done.
    pub fn expect(&self, more: u64) {
        if more > 0 {
            self.bar.update(|state| state.set_len(state.len().unwrap_or(0).saturating_add(more)));
        }
    }

    /// So much is to be done in all.
    pub fn set_total(&self, total: u64) {
        self.bar.set_length(total);
    }

    /// More is done.
    pub fn advance(&self, more: u64) {
        self.bar.inc(more);
        self.moved.inc(more);
    }

    /// More is done, and nothing had to be done for it.
    pub fn pass_over(&self, more: u64) {
        self.bar.inc(more);
    }

    /// So much is done.
    pub fn set(&self, position: u64) {
        self.bar.set_position(position);
    }

    /// Says `text` beside the bar.
    pub fn say(&self, text: impl FnOnce() -> String) {
        if self.is_seen() {
            self.bar.set_message(text());
        }
    }

    /// Runs `write`, which may write to the same terminal, with the bar out of the way.
    pub fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// All that is to be done. Unknown until it is measured, and while more was done than was measured.
fn total(state: &ProgressState) -> Option<u64> {
    state.len().filter(|len| *len > 0 && *len >= state.pos())
}

/// `3.1 MB of 5.0 MB`.
fn count(state: &ProgressState, shown: fn(u64) -> String) -> String {
    let done = shown(state.pos());
    total(state).map_or(done.clone(), |total| format!("{done} of {}", shown(total)))
}

/// `, 3.1 MB/s`; nothing while no byte is moved.
fn bytes_rate(moved: &ProgressBar) -> String {
    if moved.position() == 0 { String::new() } else { format!(", {}/s", DecimalBytes(moved.per_sec() as u64)) }
}

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
        for progress in [Progress::bytes(), Progress::items(), Progress::told(), Progress::parts(4096)] {
            progress.expect(1);
            progress.advance(1);
            assert_eq!(progress.aside(|| 3), 3);
            progress.clear();
        }
    }
}
