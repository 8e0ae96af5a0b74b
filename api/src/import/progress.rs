//! How far an import is.

use std::sync::Mutex;
use std::sync::PoisonError;

use indicatif::{ProgressBar, ProgressStyle};

/// Is told how far an import is.
pub trait Progress: Send + Sync {
    /// Rows of a part follow; the part before it is finished.
    fn begin(&self, part: &str, rows: u64);
    /// So many more rows of the part are done.
    fn advance(&self, rows: u64);
    /// No more parts follow.
    fn finish(&self);
}

/// Tells nobody.
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _part: &str, _rows: u64) {}
    fn advance(&self, _rows: u64) {}
    fn finish(&self) {}
}

/// A bar on stderr for each part, with rate and time left; nothing when that is no terminal.
#[derive(Default)]
pub struct Bars {
    current: Mutex<Option<ProgressBar>>,
}

impl Bars {
    fn replace(&self, next: Option<ProgressBar>) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(finished) = std::mem::replace(&mut *current, next) {
            finished.finish();
        }
    }
}

impl Progress for Bars {
    fn begin(&self, part: &str, rows: u64) {
        let style = "{msg:24} {bar:32} {pos}/{len} {per_sec} {eta}";
        let style = ProgressStyle::with_template(style).expect("the template is well-formed");
        let bar = ProgressBar::new(rows).with_style(style).with_message(part.to_owned());
        self.replace(Some(bar));
    }

    fn advance(&self, rows: u64) {
        if let Some(bar) = &*self.current.lock().unwrap_or_else(PoisonError::into_inner) {
            bar.inc(rows);
        }
    }

    fn finish(&self) {
        self.replace(None);
    }
}
