//! The keys of people, wrapped as they are stored, in a file of their own.

use std::io::{BufRead, Write};
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use freehold_domain::SubjectId;
use freehold_ports::{EventCodec, GlobalPosition, LogName, WrappedKey};
use serde::{Deserialize, Serialize};

use super::lines::{Line, LineReader, LineWriter};
use super::{Ports, TransferError, master_key_check};
use crate::sealed::{shredded, shreddings};

/// The format's version.
const FORMAT: u32 = 1;

/// Keys between two checks.
const BATCH: NonZeroU32 = NonZeroU32::new(1_000).expect("it is not zero");

/// How many keys were moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeysMoved {
    /// Keys in the file.
    pub keys: u64,
    /// Of these, those that were destroyed.
    pub destroyed: u64,
    /// Those that were not as they are before; none for an export.
    pub changed: u64,
}

/// The first line.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Header {
    freehold_keys: u32,
    master_key_check: String,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct KeyLine {
    subject: SubjectId,
    /// Base64; null if the key was destroyed.
    wrapped: Option<String>,
}

/// Writes every key there is.
pub async fn export_keys<W: Write>(ports: &Ports, out: W) -> Result<(KeysMoved, W), TransferError> {
    let vault = ports.keys.as_ref().ok_or(TransferError::InMemory)?;
    let unwritable = TransferError::Unwritable;
    let mut lines = LineWriter::new(out);
    let header = Header { freehold_keys: FORMAT, master_key_check: master_key_check(ports) };
    lines.line(&json(&header)).map_err(unwritable)?;
    lines.check().map_err(unwritable)?;
    let (mut moved, mut after) = (KeysMoved::default(), None);
    loop {
        let keys = vault.wrapped_keys(after, BATCH).await?;
        let Some(last) = keys.last() else { break };
        after = Some(last.subject);
        for WrappedKey { subject, wrapped } in keys {
            moved.keys += 1;
            moved.destroyed += u64::from(wrapped.is_none());
            let wrapped = wrapped.map(|wrapped| STANDARD.encode(wrapped));
            lines.line(&json(&KeyLine { subject, wrapped })).map_err(unwritable)?;
        }
        lines.check().map_err(unwritable)?;
    }
    let mut out = lines.end().map_err(unwritable)?;
    out.flush().map_err(unwritable)?;
    Ok((moved, out))
}

/// Puts the keys of a file into the vault; what either has destroyed stays destroyed, and so does
/// the key of everybody whose erasure the log tells of.
pub async fn import_keys(ports: &Ports, input: impl BufRead) -> Result<KeysMoved, TransferError> {
    let vault = ports.keys.as_ref().ok_or(TransferError::InMemory)?;
    let mut lines = LineReader::new(input);
    let no_export = |what: String| TransferError::NotAnExport { command: "keys", what };
    let header: Header = match lines.next()? {
        Line::Record(line) if line.starts_with(b"{\"freehold_logs\"") => {
            return Err(no_export("is of `freehold events export`".into()));
        }
        Line::Record(line) => {
            serde_json::from_slice(line).map_err(|error| no_export(error.to_string()))?
        }
        Line::Checked | Line::End => return Err(no_export("is another line".into())),
    };
    if header.freehold_keys != FORMAT {
        let format = header.freehold_keys;
        return Err(no_export(format!("says format {format}, this program reads {FORMAT}")));
    }
    if header.master_key_check != master_key_check(ports) {
        return Err(TransferError::OtherMasterKey);
    }
    vault.keep_master_key().await?;
    let (mut moved, mut batch) = (KeysMoved::default(), Vec::new());
    loop {
        match lines.next()? {
            Line::Checked => {
                moved.changed += vault.restore_keys(std::mem::take(&mut batch)).await?
            }
            Line::End => break,
            Line::Record(line) => {
                let key = read_key(line).map_err(|(field, what)| lines.wrong(field, what))?;
                if batch.len() >= 2 * BATCH.get() as usize {
                    return Err(lines.wrong(None, "is too far from the last check"));
                }
                moved.keys += 1;
                moved.destroyed += u64::from(key.wrapped.is_none());
                batch.push(key);
            }
        }
    }
    destroy_shredded(ports).await?;
    Ok(moved)
}

fn read_key(line: &[u8]) -> Result<WrappedKey, super::record::Wrong> {
    let key: KeyLine = serde_json::from_slice(line).map_err(|error| (None, error.to_string()))?;
    let wrapped = key.wrapped.map(|text| STANDARD.decode(text).map(Bytes::from)).transpose();
    let wrapped = wrapped.map_err(|error| (Some("wrapped"), error.to_string()))?;
    Ok(WrappedKey { subject: key.subject, wrapped })
}

/// Destroys the keys of people whose erasure the log tells of: the keys may have been taken before
/// the log was.
pub(super) async fn destroy_shredded(ports: &Ports) -> Result<(), TransferError> {
    const PAGE: NonZeroU32 = NonZeroU32::new(1_000).expect("it is not zero");
    let codec = EventCodec::new(ports.vault.clone());
    let mut after = GlobalPosition(0);
    loop {
        let page = ports.events.read_all(&LogName::DOMAIN, &shreddings(), after, PAGE).await?;
        let subjects = shredded(&codec, &page.events)?;
        for subject in ports.vault.keys_for_reading(&subjects).await?.into_keys() {
            ports.vault.destroy(subject).await?;
        }
        if page.through <= after {
            return Ok(());
        }
        after = page.through;
    }
}

fn json(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(record).expect("a record has a JSON form")
}
