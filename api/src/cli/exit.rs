//! How a command ends.

use std::fmt;
use std::process::ExitCode;

use crate::config::ConfigErrors;

/// The exit codes, the same for every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It worked.
    Ok = 0,
    /// It failed for a reason that no other code names.
    Failure = 1,
    /// What was typed or configured is wrong.
    Usage = 2,
    /// There is no such thing.
    NotFound = 3,
    /// Somebody else changed it meanwhile.
    Conflict = 4,
    /// The answer is no.
    Refused = 5,
    /// Something that is needed cannot be reached; trying again later may help.
    Unavailable = 6,
}

/// Why a command failed: what happened, with which input, and what to do next.
#[derive(Debug)]
pub struct CliError {
    /// The exit code.
    pub exit: Exit,
    message: String,
}

impl CliError {
    /// A failure in words for the person at the terminal.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<ConfigErrors> for CliError {
    fn from(errors: ConfigErrors) -> Self {
        Self::new(Exit::Usage, format!("the configuration is not right\n{errors}"))
    }
}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        // Whoever read the output has seen enough.
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::new(Exit::Ok, "");
        }
        Self::new(Exit::Failure, format!("the output could not be written: {error}"))
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
