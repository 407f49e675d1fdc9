//! `alys-node config check|print`.

use super::failure::{Failure, Outcome};
use crate::config::{ConfigError, Effective, KEYS, flag_name};
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, Subcommand};
use std::path::PathBuf;

#[derive(Subcommand)]
pub(super) enum ConfigCommand {
    /// Validates the configuration.
    Check(ConfigArguments),
    /// Prints the effective configuration with the source of each value.
    Print(ConfigArguments),
}

/// `--config` and a flag for every key.
#[derive(Clone)]
pub(super) struct ConfigArguments {
    file: Option<PathBuf>,
    flags: Vec<(String, String)>,
}

impl ConfigArguments {
    /// Merges the sources.
    pub(super) fn load(self) -> Result<Effective, Failure> {
        let environment =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Effective::load(self.file.as_deref(), environment, self.flags).map_err(explain)
    }
}

impl FromArgMatches for ConfigArguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let flags = KEYS
            .iter()
            .filter_map(|key| matches.get_one::<String>(key.name).map(|text| (key.name.to_owned(), text.clone())))
            .collect();
        Ok(Self { file: matches.get_one::<PathBuf>("config").cloned(), flags })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for ConfigArguments {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("Configuration file (TOML)");
        KEYS.iter().fold(command.arg(file), |command, key| {
            command.arg(
                Arg::new(key.name)
                    .long(flag_name(key.name).trim_start_matches('-').to_owned())
                    .value_name("VALUE")
                    .help(key.help),
            )
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

pub(super) fn config(command: ConfigCommand) -> Outcome {
    match command {
        ConfigCommand::Check(arguments) => {
            arguments.load()?;
            println!("configuration is valid");
        }
        ConfigCommand::Print(arguments) => print!("{}", arguments.load()?.describe()),
    }
    Ok(())
}

fn explain(error: ConfigError) -> Failure {
    let help = match &error {
        ConfigError::File(_) | ConfigError::NotText { .. } => "`alys-node init` writes a configuration",
        ConfigError::Syntax { .. } => "strings need quotes, sections stand in [brackets]",
        ConfigError::UnknownKey { .. } | ConfigError::BadValue { .. } => "`alys-node config print` lists every key",
    };
    Failure::usage(error).help(help)
}
