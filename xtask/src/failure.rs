//! The one error type of the commands: what the person at the terminal is told, and the exit code.

use std::fmt;
use std::io;
use std::path::Path;

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
    cause: Option<String>,
    help: Option<String>,
}

impl Failure {
    /// The work failed, or what was checked is not in order.
    pub(crate) fn work(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into(), cause: None, help: None }
    }

    /// Another program has said what is wrong and left with this exit code.
    pub(crate) fn exit(code: u8, message: impl Into<String>) -> Self {
        Self { code, ..Self::work(message) }
    }

    /// The command line is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, message: message.into(), cause: None, help: Some("cargo xtask help".to_owned()) }
    }

    /// Something that only the person at the terminal can provide is missing.
    pub(crate) fn missing(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code: 2, message: message.into(), cause: None, help: Some(help.into()) }
    }

    /// A file could not be read, written or moved.
    pub(crate) fn file(action: &str, path: &Path, error: &io::Error) -> Self {
        Self { cause: Some(error.to_string()), ..Self::work(format!("cannot {action} {}", path.display())) }
    }

    pub(crate) fn because(self, cause: impl fmt::Display) -> Self {
        Self { cause: Some(cause.to_string()), ..self }
    }

    /// For commands whose exit code says more.
    pub(crate) fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    /// What went wrong, in one line.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "error: {}", self.message)?;
        if let Some(cause) = &self.cause {
            write!(formatter, "\ncaused by: {cause}")?;
        }
        if let Some(help) = &self.help {
            write!(formatter, "\nhelp: {help}")?;
        }
        Ok(())
    }
}
