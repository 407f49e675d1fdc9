//! The operator's configuration: one table of keys, each settable in the TOML file, by an `ALYS_…` environment variable
//! and by a flag; later sources win in that order. Every effective value remembers where it came from.

mod error;
mod keys;
mod sections;
#[cfg(test)]
mod tests;

use crate::bounded::read_bounded;
use error::unknown_key;
use std::collections::BTreeMap;
use std::path::Path;
use toml::{Table, Value};

pub use error::{ConfigError, Source};
pub use keys::{KEYS, Key, Kind, flag_name, variable_name};
pub use sections::{
    BitcoinSection, Config, ExecutionSection, LogFormat, MetricsSection, MiningSection, NetworkSection, NodeSection,
    RpcSection, SyncSection, ValidatorSection,
};

/// The largest configuration file in bytes.
const MAX_FILE: u64 = 256 * 1024;

/// A configuration with the source of each value.
#[derive(Clone, Debug)]
pub struct Effective {
    /// The values.
    pub config: Config,
    /// Where each key's value came from; keys without a value are absent.
    pub sources: BTreeMap<String, Source>,
}

impl Effective {
    /// Merges defaults, the file, the environment and flags, later ones winning.
    ///
    /// Relative paths in the file mean paths beside the file. `environment` yields variables as the process has them;
    /// `flags` yields pairs of a key's name and its text.
    ///
    /// # Errors
    /// An unreadable or malformed file, an unknown key, a value of the wrong form.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut layers = Layers::with_defaults();
        if let Some(path) = file {
            layers.add_file(path)?;
        }
        let environment: BTreeMap<String, String> = environment.into_iter().collect();
        for key in KEYS {
            let variable = variable_name(key.name);
            if let Some(text) = environment.get(&variable) {
                layers.add_text(key, text, Source::Environment(variable))?;
            }
        }
        for (name, text) in flags {
            let source = Source::Flag(flag_name(&name));
            match KEYS.iter().find(|key| key.name == name) {
                Some(key) => layers.add_text(key, &text, source)?,
                None => return Err(unknown_key(&name, source)),
            }
        }
        layers.finish()
    }

    /// `key = value  # source`, a line per key, in the table's order.
    pub fn describe(&self) -> String {
        let table = Table::try_from(&self.config).unwrap_or_default();
        let mut text = String::new();
        for key in KEYS {
            let value = lookup(&table, key.name).map_or_else(|| "(unset)".to_owned(), Value::to_string);
            let source = self.sources.get(key.name).unwrap_or(&Source::Default);
            text.push_str(&format!("{} = {value}  # {source}\n", key.name));
        }
        text
    }
}

struct Layers {
    values: BTreeMap<String, Value>,
    sources: BTreeMap<String, Source>,
}

impl Layers {
    fn with_defaults() -> Self {
        let table = Table::try_from(Config::default()).unwrap_or_default();
        let values: BTreeMap<String, Value> = KEYS
            .iter()
            .filter_map(|key| lookup(&table, key.name).map(|value| (key.name.to_owned(), value.clone())))
            .collect();
        let sources = values.keys().map(|key| (key.clone(), Source::Default)).collect();
        Self { values, sources }
    }

    fn add_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = String::from_utf8(read_bounded(path, MAX_FILE)?)
            .map_err(|_| ConfigError::NotText { path: path.to_owned() })?;
        let table: Table =
            text.parse().map_err(|source| ConfigError::Syntax { path: path.to_owned(), source: Box::new(source) })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let source = Source::File(path.to_owned());
        for (section, entries) in table {
            let Value::Table(entries) = entries else {
                return Err(unknown_key(&section, source));
            };
            for (name, value) in entries {
                let name = format!("{section}.{name}");
                let Some(key) = KEYS.iter().find(|key| key.name == name) else {
                    return Err(unknown_key(&name, source));
                };
                let value = match (key.kind, value.as_str()) {
                    (Kind::Path, Some(path)) => Value::String(folder.join(path).display().to_string()),
                    (Kind::Path | Kind::Text | Kind::Number | Kind::Switch | Kind::List, _) => value,
                };
                self.set(&name, value, source.clone());
            }
        }
        Ok(())
    }

    fn add_text(&mut self, key: &Key, text: &str, source: Source) -> Result<(), ConfigError> {
        let bad =
            |reason: String| ConfigError::BadValue { key: key.name.to_owned(), source_of: source.clone(), reason };
        let value = match key.kind {
            Kind::Text | Kind::Path => Value::String(text.to_owned()),
            Kind::Number => Value::Integer(text.parse().map_err(|_| bad(format!("`{text}` is not a whole number")))?),
            Kind::Switch => {
                Value::Boolean(text.parse().map_err(|_| bad(format!("`{text}` is neither true nor false")))?)
            }
            Kind::List => Value::Array(
                text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(|item| item.into()).collect(),
            ),
        };
        self.set(key.name, value, source);
        Ok(())
    }

    fn set(&mut self, name: &str, value: Value, source: Source) {
        self.values.insert(name.to_owned(), value);
        self.sources.insert(name.to_owned(), source);
    }

    fn finish(self) -> Result<Effective, ConfigError> {
        // Key by key first, so that an error names the key and its source.
        let mut table = Table::try_from(Config::default()).unwrap_or_default();
        for (name, value) in self.values {
            if let Some((section, key)) = name.split_once('.')
                && let Some(Value::Table(entries)) = table.get_mut(section)
            {
                entries.insert(key.to_owned(), value);
            }
            if let Err(error) = table.clone().try_into::<Config>() {
                let source_of = self.sources.get(&name).cloned().unwrap_or(Source::Default);
                let reason = error.message().to_owned();
                return Err(ConfigError::BadValue { key: name, source_of, reason });
            }
        }
        let config = table.try_into::<Config>().map_err(|error| ConfigError::BadValue {
            key: "configuration".to_owned(),
            source_of: Source::Default,
            reason: error.message().to_owned(),
        })?;
        config.performance.validate().map_err(|error| ConfigError::BadValue {
            key: error.key.to_owned(),
            source_of: self.sources.get(error.key).cloned().unwrap_or(Source::Default),
            reason: error.to_string(),
        })?;
        Ok(Effective { config, sources: self.sources })
    }
}

fn lookup<'a>(table: &'a Table, name: &str) -> Option<&'a Value> {
    let (section, key) = name.split_once('.')?;
    table.get(section)?.get(key)
}
