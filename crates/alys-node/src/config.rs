//! The operator's configuration: one table of keys, each settable in the TOML file, by an `ALYS_…` environment variable
//! and by a flag; later sources win in that order. Every effective value remembers where it came from.

use crate::actors::chain::PerformanceTargets;
use crate::bounded::{ReadError, read_bounded};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// The largest configuration file in bytes.
const MAX_FILE: u64 = 256 * 1024;

/// How a key's text (from the environment or a flag) becomes a TOML value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A whole number.
    Number,
    /// `true` or `false`.
    Switch,
    /// Texts separated by commas.
    List,
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// `section.name`, as in the file.
    pub name: &'static str,
    /// How its text is read.
    pub kind: Kind,
    /// What it sets.
    pub help: &'static str,
}

/// Every key there is.
pub const KEYS: &[Key] = &[
    Key { name: "node.data_dir", kind: Kind::Text, help: "Folder of the databases and the signing record" },
    Key { name: "node.chain_spec", kind: Kind::Text, help: "Chain spec (JSON)" },
    Key { name: "node.genesis", kind: Kind::Text, help: "EVM genesis in geth's format (JSON)" },
    Key { name: "node.log", kind: Kind::Text, help: "Log filter, e.g. info,alys_node=debug" },
    Key { name: "node.log_format", kind: Kind::Text, help: "Log lines as text or json" },
    Key { name: "validator.keystore", kind: Kind::Text, help: "EIP-2335 keystore of this member; none: an observer" },
    Key { name: "validator.password_file", kind: Kind::Text, help: "File whose first line is the keystore's password" },
    Key {
        name: "validator.doppelganger_slots",
        kind: Kind::Number,
        help: "Slots that a member listens for its own key before it signs; 0: not at all",
    },
    Key {
        name: "validator.custody_socket",
        kind: Kind::Text,
        help: "Socket of the custody signer; none: signs by itself",
    },
    Key {
        name: "execution.endpoints",
        kind: Kind::List,
        help: "Engine APIs of external execution clients, in order of use; none: the embedded EVM",
    },
    Key {
        name: "execution.rpc_endpoints",
        kind: Kind::List,
        help: "Their addresses for eth_*, where the Engine API's port does not serve it",
    },
    Key { name: "execution.jwt_secret", kind: Kind::Text, help: "File with the secret that the clients share" },
    Key {
        name: "execution.build_millis",
        kind: Kind::Number,
        help: "How long an external client may fill a payload before it is taken",
    },
    Key { name: "execution.archive", kind: Kind::Switch, help: "Keep the embedded EVM's state of every block" },
    Key {
        name: "execution.history_blocks",
        kind: Kind::Number,
        help: "Newest blocks whose state the embedded EVM keeps, unless it is an archive",
    },
    Key { name: "rpc.listen", kind: Kind::Text, help: "Address and port of JSON-RPC" },
    Key { name: "rpc.hosts", kind: Kind::List, help: "Accepted Host headers, each host or host:port or host:*" },
    Key { name: "rpc.origins", kind: Kind::List, help: "Accepted Origin headers; a trailing * matches any ending" },
    Key { name: "rpc.max_body_bytes", kind: Kind::Number, help: "Largest request body" },
    Key { name: "rpc.max_response_bytes", kind: Kind::Number, help: "Largest response" },
    Key { name: "rpc.max_batch", kind: Kind::Number, help: "Most calls in one batch" },
    Key { name: "rpc.max_connections", kind: Kind::Number, help: "Most connections at once" },
    Key { name: "rpc.max_subscriptions", kind: Kind::Number, help: "Most subscriptions of one connection" },
    Key { name: "rpc.mining", kind: Kind::Switch, help: "Serve the merged-mining calls" },
    Key { name: "metrics.listen", kind: Kind::Text, help: "Address and port of /metrics, /healthz and /readyz" },
    Key { name: "bitcoin.url", kind: Kind::Text, help: "JSON-RPC of a Bitcoin Core, such as http://127.0.0.1:8332" },
    Key { name: "bitcoin.cookie_file", kind: Kind::Text, help: "Bitcoin Core's cookie file" },
    Key { name: "bitcoin.user", kind: Kind::Text, help: "User name for Bitcoin Core, where there is no cookie" },
    Key { name: "bitcoin.password_file", kind: Kind::Text, help: "File whose first line is that user's password" },
    Key { name: "bitcoin.embedded", kind: Kind::Switch, help: "Keep a regtest Bitcoin of the node's own instead" },
    Key { name: "mining.payout", kind: Kind::Text, help: "EVM address that getauxblock mines for" },
    Key { name: "network.listen", kind: Kind::List, help: "Multiaddresses to listen on for peers" },
    Key { name: "network.peers", kind: Kind::List, help: "Peers to stay connected with, each ending with /p2p/ID" },
    Key { name: "network.key_file", kind: Kind::Text, help: "Network key; data_dir/network-key by default" },
    Key { name: "network.max_strangers", kind: Kind::Number, help: "Most connections of peers that are not listed" },
    Key {
        name: "sync.checkpoint",
        kind: Kind::Text,
        help: "Trusted block root: an empty node begins with its peers' snapshot below this block",
    },
    Key {
        name: "sync.snapshot_blocks",
        kind: Kind::Number,
        help: "A snapshot for other nodes is made whenever so many more blocks are final; 0: never",
    },
    Key { name: "performance.max_import_time_ms", kind: Kind::Number, help: "Alert threshold: import of a block" },
    Key { name: "performance.max_production_time_ms", kind: Kind::Number, help: "Alert threshold: a block of ours" },
    Key { name: "performance.max_validation_time_ms", kind: Kind::Number, help: "Alert threshold: checks of a block" },
    Key { name: "performance.max_finalization_time_ms", kind: Kind::Number, help: "Alert threshold: a final bundle" },
];

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Built in.
    Default,
    /// The file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A flag.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("the configuration file can't be used")]
    File(#[from] ReadError),
    /// The file is not text.
    #[error("configuration file {path} is not UTF-8")]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// The file is not TOML.
    #[error("configuration file {path} is not valid TOML")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A key that does not exist.
    #[error("unknown key `{key}` in {source_of}{hint}")]
    UnknownKey {
        /// The key.
        key: String,
        /// Where it stands.
        source_of: Source,
        /// The nearest existing key, in words.
        hint: String,
    },
    /// A value of the wrong form.
    #[error("`{key}` from {source_of}: {reason}")]
    BadValue {
        /// The key.
        key: String,
        /// Where it stands.
        source_of: Source,
        /// What is wrong with it.
        reason: String,
    },
}

/// The effective configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Files and logs.
    pub node: NodeSection,
    /// The member's key.
    pub validator: ValidatorSection,
    /// The EVM.
    pub execution: ExecutionSection,
    /// JSON-RPC.
    pub rpc: RpcSection,
    /// The operator's listener.
    pub metrics: MetricsSection,
    /// The node's Bitcoin.
    pub bitcoin: BitcoinSection,
    /// Merged mining.
    pub mining: MiningSection,
    /// Peers.
    pub network: NetworkSection,
    /// Beginning from a snapshot, and making some.
    pub sync: SyncSection,
    /// How fast the chain actor should be.
    pub performance: PerformanceTargets,
}

/// `[node]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSection {
    /// Folder of the databases and the signing record.
    pub data_dir: PathBuf,
    /// The chain spec.
    pub chain_spec: PathBuf,
    /// The EVM genesis.
    pub genesis: PathBuf,
    /// Log filter in `tracing`'s syntax.
    pub log: String,
    /// Form of the log lines.
    pub log_format: LogFormat,
}

/// Form of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For collectors.
    Json,
}

/// `[validator]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidatorSection {
    /// The keystore; without one the node observes.
    pub keystore: Option<PathBuf>,
    /// Holds the keystore's password.
    pub password_file: Option<PathBuf>,
    /// Slots that a member with peers listens for its own key before it signs.
    pub doppelganger_slots: u32,
    /// Where `alys-node custody-signer` listens, which signs the peg's payments instead of this process.
    pub custody_socket: Option<PathBuf>,
}

/// `[execution]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecutionSection {
    /// Engine APIs of external clients; the embedded EVM runs if there are none.
    pub endpoints: Vec<String>,
    /// Addresses of the clients' `eth_*`, one for each endpoint or none.
    pub rpc_endpoints: Vec<String>,
    /// The secret that the clients share.
    pub jwt_secret: Option<PathBuf>,
    /// Milliseconds between asking an external client for a payload and taking it.
    pub build_millis: u64,
    /// Whether the embedded EVM keeps the state of every block.
    pub archive: bool,
    /// The newest blocks whose state the embedded EVM keeps.
    pub history_blocks: u64,
}

impl Default for ExecutionSection {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            rpc_endpoints: Vec::new(),
            jwt_secret: None,
            build_millis: 250,
            archive: false,
            history_blocks: 8192,
        }
    }
}

/// `[rpc]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpcSection {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Accepted `Host` headers.
    pub hosts: Vec<String>,
    /// Accepted `Origin` headers.
    pub origins: Vec<String>,
    /// Largest request body.
    pub max_body_bytes: u32,
    /// Largest response.
    pub max_response_bytes: u32,
    /// Most calls in one batch.
    pub max_batch: u32,
    /// Most connections at once.
    pub max_connections: u32,
    /// Most subscriptions of one connection.
    pub max_subscriptions: u32,
    /// Whether the merged-mining calls are served.
    pub mining: bool,
}

/// `[metrics]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsSection {
    /// Where to listen.
    pub listen: SocketAddr,
}

/// `[bitcoin]`; a node with neither address nor regtest signs payments and leaves the rest to others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BitcoinSection {
    /// Where Bitcoin Core's JSON-RPC is.
    pub url: Option<String>,
    /// The cookie that it writes at each start.
    pub cookie_file: Option<PathBuf>,
    /// A user of `rpcauth`.
    pub user: Option<String>,
    /// Holds that user's password.
    pub password_file: Option<PathBuf>,
    /// Whether the node keeps a regtest of its own.
    pub embedded: bool,
}

/// `[mining]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MiningSection {
    /// Who is paid by `getauxblock`.
    pub payout: Option<alys_primitives::Address>,
}

/// `[network]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSection {
    /// Where to listen for peers.
    pub listen: Vec<String>,
    /// Peers to keep connected.
    pub peers: Vec<String>,
    /// The node's network key.
    pub key_file: Option<PathBuf>,
    /// Most connections of peers that are not listed.
    pub max_strangers: u32,
}

/// `[sync]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncSection {
    /// Root of a block that the operator trusts; its parent's snapshot is where an empty node begins.
    pub checkpoint: Option<alys_primitives::Root>,
    /// Blocks between two snapshots; none are made with 0.
    pub snapshot_blocks: u64,
}

impl NetworkSection {
    /// Whether the node takes part in a network.
    pub fn is_on(&self) -> bool {
        !self.listen.is_empty() || !self.peers.is_empty()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node: NodeSection {
                data_dir: PathBuf::from("data"),
                chain_spec: PathBuf::from("chain.json"),
                genesis: PathBuf::from("genesis.json"),
                log: "info".to_owned(),
                log_format: LogFormat::Text,
            },
            validator: ValidatorSection {
                keystore: None,
                password_file: None,
                doppelganger_slots: 2,
                custody_socket: None,
            },
            execution: ExecutionSection::default(),
            rpc: RpcSection {
                listen: SocketAddr::from(([127, 0, 0, 1], 8545)),
                hosts: ["127.0.0.1:*", "localhost:*", "[::1]:*"].map(str::to_owned).to_vec(),
                origins: Vec::new(),
                max_body_bytes: 2 * 1024 * 1024,
                max_response_bytes: 25 * 1024 * 1024,
                max_batch: 1000,
                max_connections: 200,
                max_subscriptions: 64,
                mining: false,
            },
            metrics: MetricsSection { listen: SocketAddr::from(([127, 0, 0, 1], 9100)) },
            bitcoin: BitcoinSection::default(),
            mining: MiningSection::default(),
            sync: SyncSection { checkpoint: None, snapshot_blocks: 7200 },
            network: NetworkSection { listen: Vec::new(), peers: Vec::new(), key_file: None, max_strangers: 64 },
            performance: PerformanceTargets::default(),
        }
    }
}

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

/// The environment variable of a key: `ALYS_RPC_LISTEN` for `rpc.listen`.
pub fn variable_name(key: &str) -> String {
    format!("ALYS_{}", key.replace('.', "_").to_uppercase())
}

/// The flag of a key: `--rpc-listen` for `rpc.listen`.
pub fn flag_name(key: &str) -> String {
    format!("--{}", key.replace(['.', '_'], "-"))
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
                if !KEYS.iter().any(|key| key.name == name) {
                    return Err(unknown_key(&name, source));
                }
                self.set(&name, beside(folder, &name, value), source.clone());
            }
        }
        Ok(())
    }

    fn add_text(&mut self, key: &Key, text: &str, source: Source) -> Result<(), ConfigError> {
        let bad =
            |reason: String| ConfigError::BadValue { key: key.name.to_owned(), source_of: source.clone(), reason };
        let value = match key.kind {
            Kind::Text => Value::String(text.to_owned()),
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

/// A relative path of the file means a path beside the file.
fn beside(folder: &Path, name: &str, value: Value) -> Value {
    let is_path = matches!(
        name,
        "node.data_dir"
            | "node.chain_spec"
            | "node.genesis"
            | "validator.keystore"
            | "validator.password_file"
            | "validator.custody_socket"
            | "bitcoin.cookie_file"
            | "bitcoin.password_file"
            | "network.key_file"
            | "execution.jwt_secret"
    );
    match value {
        Value::String(text) if is_path => Value::String(folder.join(text).display().to_string()),
        other @ (Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Array(_)
        | Value::Table(_)) => other,
    }
}

fn unknown_key(key: &str, source_of: Source) -> ConfigError {
    let nearest = KEYS.iter().map(|known| known.name).min_by_key(|known| distance(key, known));
    let hint = match nearest {
        Some(known) if distance(key, known) <= 4 => format!(" (did you mean `{known}`?)"),
        Some(_) | None => String::new(),
    };
    ConfigError::UnknownKey { key: key.to_owned(), source_of, hint }
}

/// Levenshtein distance over bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> [(String, String); 0] {
        []
    }

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alys.toml");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn every_key_of_the_table_is_a_field_and_the_reverse() {
        let mut config = Config::default();
        config.validator.keystore = Some("k".into());
        config.validator.password_file = Some("p".into());
        config.validator.custody_socket = Some("s".into());
        config.mining.payout = Some(Default::default());
        config.network.key_file = Some("n".into());
        config.sync.checkpoint = Some(Default::default());
        config.execution.jwt_secret = Some("j".into());
        config.bitcoin = BitcoinSection {
            url: Some("u".to_owned()),
            cookie_file: Some("c".into()),
            user: Some("n".to_owned()),
            password_file: Some("p".into()),
            embedded: true,
        };
        let table = Table::try_from(&config).unwrap();
        let fields: Vec<String> = table
            .iter()
            .flat_map(|(section, entries)| {
                entries.as_table().unwrap().keys().map(move |key| format!("{section}.{key}"))
            })
            .collect();
        for key in KEYS {
            assert!(fields.contains(&key.name.to_owned()), "{} is no field", key.name);
        }
        assert_eq!(fields.len(), KEYS.len());
    }

    #[test]
    fn later_sources_win_and_are_named() {
        let (_folder, path) = file("[rpc]\nlisten = \"127.0.0.1:1\"\nmax_batch = 7\nmining = true\n");
        let environment = [("ALYS_RPC_LISTEN".to_owned(), "127.0.0.1:2".to_owned())];
        let flags = [("rpc.max_batch".to_owned(), "9".to_owned())];
        let effective = Effective::load(Some(&path), environment, flags).unwrap();
        assert_eq!(effective.config.rpc.listen.port(), 2);
        assert_eq!(effective.config.rpc.max_batch, 9);
        assert!(effective.config.rpc.mining);
        let text = effective.describe();
        assert!(text.contains("rpc.listen = \"127.0.0.1:2\"  # environment ALYS_RPC_LISTEN"), "{text}");
        assert!(text.contains("rpc.max_batch = 9  # flag --rpc-max-batch"), "{text}");
        assert!(text.contains("rpc.max_connections = 200  # default"), "{text}");
    }

    #[test]
    fn an_unknown_key_is_named_with_the_nearest_one() {
        let (_folder, path) = file("[rpc]\nlissten = \"127.0.0.1:1\"\n");
        let error = Effective::load(Some(&path), none(), none()).unwrap_err().to_string();
        assert!(error.contains("`rpc.lissten`") && error.contains("did you mean `rpc.listen`"), "{error}");
    }

    #[test]
    fn a_wrong_type_names_key_and_source() {
        let (_folder, path) = file("[rpc]\nlisten = 5\n");
        let error = Effective::load(Some(&path), none(), none()).unwrap_err().to_string();
        assert!(error.contains("`rpc.listen` from file"), "{error}");
        let flags = [("rpc.max_batch".to_owned(), "many".to_owned())];
        let error = Effective::load(None, none(), flags).unwrap_err().to_string();
        assert!(error.contains("--rpc-max-batch") && error.contains("`many`"), "{error}");
    }

    #[test]
    fn targets_are_read_and_a_senseless_one_is_refused_by_key_and_source() {
        let (_folder, path) = file("[performance]\nmax_import_time_ms = 40\n");
        let effective = Effective::load(Some(&path), none(), none()).unwrap();
        let targets = PerformanceTargets { max_import_time_ms: 40, ..PerformanceTargets::default() };
        assert_eq!(effective.config.performance, targets);
        let flags = [("performance.max_validation_time_ms".to_owned(), "0".to_owned())];
        let error = Effective::load(Some(&path), none(), flags).unwrap_err().to_string();
        let expected = "`performance.max_validation_time_ms` from flag --performance-max-validation-time-ms: is 0";
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn paths_of_the_file_are_beside_the_file() {
        let (folder, path) = file("[node]\ndata_dir = \"d\"\n");
        let effective = Effective::load(Some(&path), none(), none()).unwrap();
        assert_eq!(effective.config.node.data_dir, folder.path().join("d"));
    }
}
