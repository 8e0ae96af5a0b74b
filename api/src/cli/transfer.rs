//! Files that are moved between stores: `freehold events export`, `events import` and `keys`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use freehold_ports::{LogName, RestoreError, RestoreKeysError, VaultError};
use indicatif::{HumanBytes, HumanCount};
use serde_json::{Value, json};

use super::output::counted;
use super::{CliError, Exit, Global, Row};
use crate::import::{Bars, Progress, Silent};
use crate::stores::Stores;
use crate::transfer::{self, LogFile, LogMoved, TransferError};

const BUFFER: usize = 1 << 20;

impl Row for LogMoved {
    const COLUMNS: &'static [&'static str] = &["log", "events", "answers", "hash"];

    fn cells(&self) -> Vec<Value> {
        vec![json!(self.log.as_str()), json!(self.events), json!(self.answers), json!(self.hash)]
    }
}

pub(super) fn export_logs(
    global: &Global,
    file: &Path,
    log: Option<&LogName>,
) -> Result<(), CliError> {
    super::block_on(async {
        let stores = global.stores_read_only().await?;
        let logs = match log {
            Some(log) if log.as_str() != "all" => vec![log.clone()],
            _ => stores.logs.clone(),
        };
        for log in &logs {
            stores.events.head(log).await?;
        }
        let out = NewFile::create(file)?;
        let (moved, out) =
            transfer::export_logs(&(&stores).into(), &logs, out, &*bars(global)).await?;
        let bytes = out.finish()?;
        global.output().note(&format!(
            "{} in {} ({}); the keys of people are not in it, `freehold keys export` takes them",
            counted(moved.iter().map(|log| log.events).sum(), "event", "events"),
            file.display(),
            HumanBytes(bytes),
        ));
        print(global, &moved)
    })
}

pub(super) fn import_logs(global: &Global, file: &Path) -> Result<(), CliError> {
    // Before any store is made.
    let logs = LogFile::open(open(file)?)?;
    let named: Vec<LogName> = logs.logs().iter().map(|(log, _)| log.clone()).collect();
    let config = global.load([])?.config;
    super::block_on(async {
        let stores = Stores::open_to_restore(&config, &named).await?;
        let mut before = 0;
        for log in &named {
            before += stores.events.head(log).await?.0;
        }
        let moved = match stores.keys {
            Some(_) => transfer::import_logs(&(&stores).into(), logs, &*bars(global)).await,
            None => Err(TransferError::InMemory),
        };
        stores.close().await;
        let moved = moved?;
        let events: u64 = moved.iter().map(|log| log.events).sum();
        let all = counted(events, "event", "events");
        let file = file.display();
        global.output().note(&match events.saturating_sub(before) {
            0 => format!("{all} of {file} compared, which were there already; nothing was stored"),
            new => format!(
                "{} of {all} of {file} stored, and all compared; read models are made by `freehold \
                 serve`; next is `freehold keys import`, without which nobody's personal values \
                 can be read",
                HumanCount(new),
            ),
        });
        print(global, &moved)
    })
}

fn bars(global: &Global) -> Box<dyn Progress> {
    let torn = !global.output().is_table() && io::stdout().is_terminal();
    if global.quiet || torn { Box::new(Silent) } else { Box::new(Bars::default()) }
}

fn print(global: &Global, moved: &[LogMoved]) -> Result<(), CliError> {
    let mut rows = global.output().rows();
    moved.iter().try_for_each(|log| rows.write(log))?;
    Ok(rows.finish()?)
}

/// A file that gets its name when all of it is written.
pub(super) struct NewFile {
    path: PathBuf,
    part: PathBuf,
    out: Out,
}

enum Out {
    Plain(BufWriter<File>),
    Packed(GzEncoder<BufWriter<File>>),
}

impl NewFile {
    pub(super) fn create(path: &Path) -> Result<Self, CliError> {
        if path.exists() {
            let message = format!("{} exists; name another file, or delete it", path.display());
            return Err(CliError::new(Exit::Refused, message));
        }
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let make = || {
            // What was there would keep its mode, and be open to whoever opened it.
            match std::fs::remove_file(&part) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut options = File::options();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            options.open(&part)
        };
        let file = make().map_err(|error| {
            CliError::new(Exit::Failure, format!("{} cannot be made: {error}", part.display()))
        })?;
        let file = BufWriter::with_capacity(BUFFER, file);
        let out = match path.extension() {
            Some(end) if end == "gz" => Out::Packed(GzEncoder::new(file, Compression::fast())),
            _ => Out::Plain(file),
        };
        Ok(Self { path: path.to_owned(), part, out })
    }

    /// Makes the file durable and names it; returns its size.
    pub(super) fn finish(self) -> Result<u64, CliError> {
        let Self { path, part, out } = self;
        let finish = || {
            let file = match out {
                Out::Plain(file) => file,
                Out::Packed(file) => file.finish()?,
            };
            let file = file.into_inner()?;
            file.sync_all()?;
            std::fs::rename(&part, &path)?;
            // The name too; elsewhere a folder cannot be opened.
            #[cfg(unix)]
            match path.parent() {
                Some(folder) if folder != Path::new("") => File::open(folder)?.sync_all()?,
                _ => File::open(".")?.sync_all()?,
            }
            Ok(file.metadata()?.len())
        };
        finish().map_err(|error: io::Error| TransferError::Unwritable(error).into())
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.out {
            Out::Plain(file) => file.write(bytes),
            Out::Packed(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.out {
            Out::Plain(file) => file.flush(),
            Out::Packed(file) => file.flush(),
        }
    }
}

/// Opens a file, packed or not: its first bytes say so.
pub(super) fn open(path: &Path) -> Result<Box<dyn BufRead + Send>, CliError> {
    let unreadable = |error: io::Error| {
        CliError::new(Exit::NotFound, format!("{} cannot be read: {error}", path.display()))
    };
    let mut file = BufReader::with_capacity(BUFFER, File::open(path).map_err(unreadable)?);
    match file.fill_buf().map_err(unreadable)?.starts_with(&[0x1f, 0x8b]) {
        true => Ok(Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(file)))),
        false => Ok(Box::new(file)),
    }
}

impl From<TransferError> for CliError {
    fn from(error: TransferError) -> Self {
        let error = match error {
            TransferError::Read(error) => return error.into(),
            error => error,
        };
        let of_vault = |error: &VaultError| match error {
            VaultError::Unavailable { .. } => Exit::Unavailable,
            VaultError::WrongMasterKey | VaultError::Destroyed { .. } => Exit::Refused,
        };
        let exit = match &error {
            TransferError::Unreadable(_)
            | TransferError::Unwritable(_)
            | TransferError::NotEqual { .. }
            | TransferError::Codec(_)
            | TransferError::Ended => Exit::Failure,
            TransferError::NotAnExport { .. }
            | TransferError::Line { .. }
            | TransferError::Changed { .. }
            | TransferError::CutOff { .. }
            | TransferError::AfterTheEnd { .. }
            | TransferError::OtherMasterKey
            | TransferError::OtherReadModel { .. }
            | TransferError::Restore(RestoreError::Invalid { .. }) => Exit::Refused,
            TransferError::InMemory => Exit::Usage,
            TransferError::NotAPrefix { .. }
            | TransferError::Restore(
                RestoreError::NotNext { .. } | RestoreError::OtherAnswer { .. },
            )
            | TransferError::RestoreKeys(RestoreKeysError::OtherKey { .. }) => Exit::Conflict,
            TransferError::Restore(RestoreError::UnknownLog(_)) => Exit::NotFound,
            TransferError::Restore(RestoreError::Unavailable { .. }) => Exit::Unavailable,
            TransferError::Vault(error)
            | TransferError::RestoreKeys(RestoreKeysError::Vault(error)) => of_vault(error),
            TransferError::Read(_) | TransferError::ReadModels(_) => Exit::Unavailable,
        };
        let message = match &error {
            TransferError::Restore(RestoreError::Unavailable { source }) => {
                format!("{error}. The store said: {source}")
            }
            error => error.to_string(),
        };
        Self::new(exit, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_batch_was_not_restored_is_said() {
        let source = "no partition holds 2021-03-04".into();
        let error = CliError::from(TransferError::Restore(RestoreError::Unavailable { source }));
        assert_eq!(error.exit, Exit::Unavailable);
        assert!(error.to_string().contains("no partition holds 2021-03-04"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn what_an_interrupted_export_left_does_not_say_who_may_read_the_next() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (path, part) = (folder.path().join("keys"), folder.path().join("keys.part"));
        std::fs::write(&part, "a longer rest of an export").unwrap();
        std::fs::set_permissions(&part, PermissionsExt::from_mode(0o644)).unwrap();

        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"all").unwrap();
        assert_eq!(file.finish().unwrap(), 3);

        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read(&path).unwrap(), b"all");
        assert!(!part.exists());
    }
}
