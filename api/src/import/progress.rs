//! How far an import is.

use std::fmt;
use std::sync::Mutex;
use std::sync::PoisonError;

use indicatif::{HumanCount, ProgressBar, ProgressFinish, ProgressState, ProgressStyle};

/// What a part of an import is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Rows of a table.
    Rows,
    /// Bytes of a file.
    Bytes,
}

/// Is told how far an import is.
pub trait Progress: Send + Sync {
    /// So much of a part follows, or roughly so much; the part before it is finished.
    fn begin(&self, part: &str, total: u64, counted: Counted);
    /// So much more of the part is done.
    fn advance(&self, more: u64);
    /// No more parts follow.
    fn finish(&self);
}

/// Tells nobody.
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _part: &str, _total: u64, _counted: Counted) {}
    fn advance(&self, _more: u64) {}
    fn finish(&self) {}
}

/// A bar on stderr for each part, with rate and time left; nothing when that is no terminal. The
/// bar of a part that is not finished stays where it was.
#[derive(Default)]
pub struct Bars {
    current: Mutex<Option<(ProgressBar, Counted)>>,
}

impl Bars {
    fn replace(&self, next: Option<(ProgressBar, Counted)>) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((finished, counted)) = std::mem::replace(&mut *current, next) {
            finished.set_style(style(counted, "in {elapsed}"));
            finished.set_length(finished.position());
            finished.finish();
        }
    }
}

impl Progress for Bars {
    fn begin(&self, part: &str, total: u64, counted: Counted) {
        let bar = ProgressBar::new(total).with_style(style(counted, "{eta} left"));
        let bar = bar.with_message(part.to_owned()).with_finish(ProgressFinish::Abandon);
        self.replace(Some((bar, counted)));
    }

    fn advance(&self, more: u64) {
        if let Some((bar, _)) = &*self.current.lock().unwrap_or_else(PoisonError::into_inner) {
            bar.inc(more);
            bar.set_length(bar.position().max(bar.length().unwrap_or_default()));
        }
    }

    fn finish(&self) {
        self.replace(None);
    }
}

fn style(counted: Counted, time: &str) -> ProgressStyle {
    let numbers = match counted {
        Counted::Rows => "{human_pos}/{human_len} {rate}",
        Counted::Bytes => "{bytes}/{total_bytes} {bytes_per_sec}",
    };
    let template = format!("{{msg:24}} {{bar:32}} {numbers} {time}");
    let style = ProgressStyle::with_template(&template).expect("the template is well-formed");
    style.with_key("rate", rate)
}

/// Writes how many are done a second, as a whole number; for the key of a bar.
pub fn rate(state: &ProgressState, out: &mut dyn fmt::Write) {
    // A bar has nobody to tell that it could not be drawn.
    let _ = write!(out, "{}/s", HumanCount(state.per_sec().round() as u64));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_that_was_too_low_grows() {
        let bars = Bars::default();
        bars.begin("events", 5, Counted::Rows);
        bars.advance(7);
        let current = bars.current.lock().unwrap();
        let (bar, _) = current.as_ref().unwrap();
        assert_eq!((bar.position(), bar.length()), (7, Some(7)));
    }
}
