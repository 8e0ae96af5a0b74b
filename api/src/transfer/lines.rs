//! Lines with checks between them.

use std::io::{self, BufRead, Read as _, Write};

use serde::{Deserialize, Serialize};

use super::TransferError;

/// No export writes a longer line: a payload has at most 1 MiB.
const LONGEST_LINE: u64 = 64 << 20;

const CHECK: &[u8] = b"{\"check\":\"";
const END: &[u8] = b"{\"end\":";

/// The last line.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct End {
    /// How many lines stand before it.
    end: u64,
    /// A hash of those of them that are no checks.
    hash: String,
}

/// Writes lines.
pub(super) struct LineWriter<W> {
    out: W,
    hash: blake3::Hasher,
    lines: u64,
}

impl<W: Write> LineWriter<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, hash: blake3::Hasher::new(), lines: 0 }
    }

    /// Writes a line, given without its end.
    pub(super) fn line(&mut self, line: &[u8]) -> io::Result<()> {
        self.hash.update(line).update(b"\n");
        self.raw(line)
    }

    /// Writes a hash of everything until here.
    pub(super) fn check(&mut self) -> io::Result<()> {
        let line = [CHECK, hash_of(&self.hash).as_bytes(), b"\"}"].concat();
        self.raw(&line)
    }

    /// Writes the last line.
    pub(super) fn end(mut self) -> io::Result<W> {
        let end = End { end: self.lines, hash: hash_of(&self.hash) };
        self.raw(&serde_json::to_vec(&end)?)?;
        Ok(self.out)
    }

    fn raw(&mut self, line: &[u8]) -> io::Result<()> {
        self.lines += 1;
        self.out.write_all(line)?;
        self.out.write_all(b"\n")
    }
}

/// Reads lines, and compares checks on the way.
pub(super) struct LineReader<R> {
    input: R,
    hash: blake3::Hasher,
    number: u64,
    /// The first line after the last check.
    unchecked_from: u64,
    line: Vec<u8>,
}

/// What was read.
pub(super) enum Line<'r> {
    /// A line, without its end.
    Record(&'r [u8]),
    /// Everything before is as it was written.
    Checked,
    /// The last line, and everything before is as it was written.
    End,
}

impl<R: BufRead> LineReader<R> {
    pub(super) fn new(input: R) -> Self {
        let hash = blake3::Hasher::new();
        Self { input, hash, number: 0, unchecked_from: 1, line: Vec::new() }
    }

    /// An error about the line read last.
    pub(super) fn wrong(&self, field: Option<&str>, what: impl Into<String>) -> TransferError {
        let field = field.map(str::to_owned);
        TransferError::Line { line: self.number, field, what: what.into() }
    }

    pub(super) fn next(&mut self) -> Result<Line<'_>, TransferError> {
        if !self.read()? {
            return Err(TransferError::CutOff { line: self.number });
        }
        if let Some(check) = self.line.strip_prefix(CHECK) {
            if check.strip_suffix(b"\"}") != Some(hash_of(&self.hash).as_bytes()) {
                return Err(TransferError::Changed { from: self.unchecked_from, to: self.number });
            }
            self.unchecked_from = self.number + 1;
            return Ok(Line::Checked);
        }
        if self.line.starts_with(END) {
            let end = serde_json::from_slice(&self.line);
            let End { end, hash } = end.map_err(|error| self.wrong(None, error.to_string()))?;
            if end != self.number - 1 || hash != hash_of(&self.hash) {
                return Err(TransferError::Changed { from: 1, to: self.number });
            }
            if self.read()? {
                return Err(TransferError::AfterTheEnd { line: self.number });
            }
            return Ok(Line::End);
        }
        self.hash.update(&self.line).update(b"\n");
        Ok(Line::Record(&self.line))
    }

    /// Reads a line; false if there is none or not all of it.
    fn read(&mut self) -> Result<bool, TransferError> {
        self.line.clear();
        let mut limited = (&mut self.input).take(LONGEST_LINE);
        match limited.read_until(b'\n', &mut self.line) {
            Ok(_) => {}
            // Packed files end so when they are cut off.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(TransferError::Unreadable(error)),
        }
        if self.line.pop_if(|last| *last == b'\n').is_some() {
            self.number += 1;
            return Ok(true);
        }
        if self.line.len() as u64 == LONGEST_LINE {
            self.number += 1;
            return Err(self.wrong(None, "is longer than any that an export writes"));
        }
        Ok(false)
    }
}

/// 128 bits tell damage from what was written.
pub(super) fn hash_of(hash: &blake3::Hasher) -> String {
    hash.finalize().to_hex()[..32].to_owned()
}
