//! The table of keys.

/// How a key's text (from the environment or a flag) becomes a TOML value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A file or folder; in the configuration file, a relative one is beside that file.
    Path,
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
    Key { name: "node.data_dir", kind: Kind::Path, help: "Folder of the databases and the signing record" },
    Key { name: "node.chain_spec", kind: Kind::Path, help: "Chain spec (JSON)" },
    Key { name: "node.genesis", kind: Kind::Path, help: "EVM genesis in geth's format (JSON)" },
    Key { name: "node.log", kind: Kind::Text, help: "Log filter, e.g. info,alys_node=debug" },
    Key { name: "node.log_format", kind: Kind::Text, help: "Log lines as text or json" },
    Key { name: "validator.keystore", kind: Kind::Path, help: "EIP-2335 keystore of this member; none: an observer" },
    Key { name: "validator.password_file", kind: Kind::Path, help: "File whose first line is the keystore's password" },
    Key {
        name: "validator.doppelganger_slots",
        kind: Kind::Number,
        help: "Slots that a member listens for its own key before it signs; 0: not at all",
    },
    Key {
        name: "validator.custody_socket",
        kind: Kind::Path,
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
    Key { name: "execution.jwt_secret", kind: Kind::Path, help: "File with the secret that the clients share" },
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
    Key { name: "bitcoin.cookie_file", kind: Kind::Path, help: "Bitcoin Core's cookie file" },
    Key { name: "bitcoin.user", kind: Kind::Text, help: "User name for Bitcoin Core, where there is no cookie" },
    Key { name: "bitcoin.password_file", kind: Kind::Path, help: "File whose first line is that user's password" },
    Key { name: "bitcoin.embedded", kind: Kind::Switch, help: "Keep a regtest Bitcoin of the node's own instead" },
    Key { name: "mining.payout", kind: Kind::Text, help: "EVM address that getauxblock mines for" },
    Key { name: "network.listen", kind: Kind::List, help: "Multiaddresses to listen on for peers" },
    Key { name: "network.peers", kind: Kind::List, help: "Peers to stay connected with, each ending with /p2p/ID" },
    Key {
        name: "network.bootnodes",
        kind: Kind::List,
        help: "Peers to find others by, each ending with /p2p/ID; dialled while fewer than eight are connected",
    },
    Key { name: "network.kademlia", kind: Kind::Switch, help: "Ask peers for peers of this chain, and be told of" },
    Key { name: "network.mdns", kind: Kind::Switch, help: "Look for peers in the local network, by multicast" },
    Key { name: "network.key_file", kind: Kind::Path, help: "Network key; data_dir/network-key by default" },
    Key { name: "network.max_strangers", kind: Kind::Number, help: "Most connections of peers that are not listed" },
    Key {
        name: "sync.checkpoint",
        kind: Kind::Text,
        help: "Trusted block root: an empty node begins with its peers' snapshot below this block",
    },
    Key {
        name: "sync.by_work",
        kind: Kind::Switch,
        help: "An empty node without a checkpoint follows the most work to its peers' newest snapshot",
    },
    Key {
        name: "sync.backfill",
        kind: Kind::Switch,
        help: "A node that began from a snapshot fetches the blocks before it, when nothing else is to do",
    },
    Key {
        name: "sync.max_records_bytes",
        kind: Kind::Number,
        help: "Most bytes on disk for the records of merged mining of one chain, while it is followed",
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

/// The environment variable of a key: `ALYS_RPC_LISTEN` for `rpc.listen`.
pub fn variable_name(key: &str) -> String {
    format!("ALYS_{}", key.replace('.', "_").to_uppercase())
}

/// The flag of a key: `--rpc-listen` for `rpc.listen`.
pub fn flag_name(key: &str) -> String {
    format!("--{}", key.replace(['.', '_'], "-"))
}
