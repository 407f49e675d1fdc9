//! How commands fail: one `error:` line that names the value, then `caused by:` and `help:` lines; exit code 1 when the
//! work failed or the thing checked is invalid, 2 for wrong usage or configuration; a daemon that can't go on has the
//! codes of [`Trouble`].

use crate::trouble::Trouble;
use std::error::Error;
use std::fmt;
use std::process::ExitCode;

/// A failed command.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    error: Box<dyn Error + Send + Sync>,
    help: Option<String>,
}

impl Failure {
    /// The work failed, or the thing checked is invalid.
    pub(crate) fn work(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { code: 1, error: error.into(), help: None }
    }

    /// Wrong usage or configuration.
    pub(crate) fn usage(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { code: 2, error: error.into(), help: None }
    }

    /// A node can't go on, or can't even start.
    pub(crate) fn trouble(trouble: Trouble, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let failure = Self { code: trouble.exit_code(), error: error.into(), help: None };
        match trouble {
            Trouble::Disk => failure.help("start it again when the disk has room and works"),
            Trouble::Damage | Trouble::Parts => failure,
        }
    }

    /// Adds what the user can do about it.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Prints the failure and gives its exit code.
    pub(crate) fn report(&self) -> ExitCode {
        eprint!("{self}");
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", one_line(&self.error.to_string()))?;
        let mut cause = self.error.source();
        while let Some(error) = cause {
            writeln!(f, "caused by: {}", one_line(&error.to_string()))?;
            cause = error.source();
        }
        match &self.help {
            Some(help) => writeln!(f, "help: {help}"),
            None => Ok(()),
        }
    }
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

/// What a command's function returns.
pub(crate) type Outcome = Result<(), Failure>;
