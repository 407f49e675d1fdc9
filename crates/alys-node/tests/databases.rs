//! The operator's commands on a stopped node's databases.

#![allow(clippy::unwrap_used, reason = "a test fails where it can't go on")]

mod common;

use alys_crypto::SecretKey;
use alys_evm::NoTransactions;
use alys_node::chain_files::{ChainFiles, member};
use alys_node::clock::wall_now;
use alys_primitives::{Address, Members};
use common::{DevNode, alys_node, number, past};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

const BLOCKS: u64 = 150;

struct Chain {
    folder: tempfile::TempDir,
}

impl Chain {
    async fn make() -> Self {
        let key = SecretKey::generate(&[7; 32]).unwrap();
        let members = Members::new(vec![member(&key, Address::repeat_byte(1))]).unwrap();
        let files = ChainFiles::dev(members, wall_now().0 / 1000 - BLOCKS - 60, 1).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("chain.json"), files.spec_json().unwrap()).unwrap();
        std::fs::write(folder.path().join("genesis.json"), files.genesis_json().unwrap()).unwrap();
        past::make(&files, &key, &folder.path().join("data"), BLOCKS, Box::new(NoTransactions)).await;
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command on the node in `data`: exit code, stdout, stderr.
    fn run(&self, arguments: &[&str], data: &Path) -> (i32, String, String) {
        let mut command = alys_node();
        command
            .args(arguments)
            .arg(format!("--node-chain-spec={}", self.path("chain.json").display()))
            .arg(format!("--node-genesis={}", self.path("genesis.json").display()))
            .arg(format!("--node-data-dir={}", data.display()));
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn done(&self, arguments: &[&str], data: &Path) -> String {
        let (code, output, error) = self.run(arguments, data);
        assert_eq!(code, 0, "{arguments:?}: {error}");
        output
    }

    fn info(&self, data: &Path) -> Value {
        serde_json::from_str(&self.done(&["db", "info", "--json"], data)).unwrap()
    }
}

#[tokio::test]
async fn databases_are_described_checked_rewound_exported_and_imported() {
    let chain = Chain::make().await;
    let data = chain.path("data");
    let info = chain.info(&data);
    assert_eq!(info["chain"]["head"]["height"], BLOCKS);
    assert_eq!(info["evm"]["head"]["number"], BLOCKS);
    assert_eq!(info["chain"]["oldestHeight"], 1);
    let finalized = info["chain"]["finalized"]["height"].as_u64().unwrap();
    assert!(finalized > 0 && finalized < BLOCKS - 2);
    assert!(chain.done(&["db", "verify"], &data).contains(&format!("evm        {} blocks", BLOCKS + 1)));
    assert!(chain.done(&["db", "compact"], &data).contains("bytes before"));

    // The whole chain as a file, into an empty node.
    let file = chain.path("chain.alys").display().to_string();
    assert_eq!(chain.done(&["export", &file], &data), format!("{BLOCKS} blocks\n"));
    let (code, _, error) = chain.run(&["export", &file], &data);
    assert!(code == 1 && error.contains("exists"), "{error}");
    let copy = chain.path("copy");
    chain.done(&["import", &file], &copy);
    assert_eq!(chain.info(&copy)["chain"]["head"], info["chain"]["head"], "the head with its certificate");
    assert_eq!(chain.info(&copy)["evm"]["head"], info["evm"]["head"]);

    // Back to the finalized block and on again.
    let (code, _, error) = chain.run(&["db", "rewind", "--to", &(finalized - 1).to_string()], &copy);
    assert!(code == 2 && error.contains("never goes back"), "{error}");
    let to = BLOCKS - 2;
    assert!(chain.done(&["db", "rewind", "--to", &to.to_string()], &copy).starts_with("2 blocks dropped"));
    let rewound = chain.info(&copy);
    assert_eq!((&rewound["chain"]["head"]["height"], &rewound["evm"]["head"]["number"]), (&to.into(), &to.into()));
    chain.done(&["db", "verify"], &copy);
    chain.done(&["db", "rewind", "--to", &finalized.to_string()], &copy);
    assert_eq!(chain.info(&copy)["chain"]["head"], info["chain"]["finalized"]);
    chain.done(&["import", &file], &copy);
    assert_eq!(chain.info(&copy)["chain"]["head"], info["chain"]["head"]);

    // Files that are not what they should be.
    let bytes = std::fs::read(&file).unwrap();
    for (name, content) in [("cut", &bytes[..bytes.len() / 2]), ("other", &b"something else"[..])] {
        let path = chain.path(name).display().to_string();
        std::fs::write(&path, content).unwrap();
        let (code, _, error) = chain.run(&["import", &path], &chain.path("none"));
        assert!(code == 1 && error.starts_with("error: ") && error.contains(name), "{error}");
    }
    let mut forged = bytes.clone();
    let at = forged.len() / 2;
    forged[at] ^= 1;
    let path = chain.path("forged").display().to_string();
    std::fs::write(&path, forged).unwrap();
    let (code, _, error) = chain.run(&["import", &path], &chain.path("forged-data"));
    assert!(code == 1 && error.starts_with("error: "), "{error}");
    let (code, _, error) = chain.run(&["db", "info"], &chain.path("nothing"));
    assert!(code == 1 && error.contains("holds no chain"), "{error}");
}

/// The files of a database that hold records.
fn tables(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut tables: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|kind| kind == "sst")).collect();
    tables.sort();
    tables
}

/// Starts a development node: its exit code and last words, or none if it comes up.
fn start(data: &Path) -> Option<(Option<i32>, String)> {
    let mut node = alys_node();
    node.args(["dev", "--rpc-port", "0", "--metrics-port", "0", "--data-dir"]).arg(data);
    let mut process = node.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It says where it listens once every part has started.
    let came_up =
        BufReader::new(process.stdout.take().unwrap()).lines().any(|line| line.unwrap().starts_with("metrics"));
    if came_up {
        process.kill().unwrap();
    }
    let ended = process.wait_with_output().unwrap();
    (!came_up).then(|| (ended.status.code(), String::from_utf8(ended.stderr).unwrap()))
}

#[test]
fn damaged_tables_are_reported_as_damage_whichever_part_reads_them_first() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let node = DevNode::start(&data, &["--slot-duration", "1s"], &folder.path().join("log"));
    node.until("blocks", |status| number(&status["head"]["height"]) >= 3);
    assert!(node.terminate().success());
    // Another start brings what the log held into tables.
    assert_eq!(start(&data), None);
    let mut reported = 0;
    for database in ["member-0/data/evm", "member-0/data/chain/rocksdb"] {
        let tables = tables(&data.join(database));
        assert!(!tables.is_empty(), "{database}");
        for table in tables {
            let case = folder.path().join("case");
            common::copy_folder(&data, &case);
            let path = case.join(table.strip_prefix(&data).unwrap());
            let mut bytes = std::fs::read(&path).unwrap();
            // Records, filters and properties; the footer at the end is looked at when the file is opened.
            for place in (0..bytes.len() - 64).step_by(100) {
                bytes[place] ^= 0xff;
            }
            std::fs::write(&path, bytes).unwrap();
            if let Some((code, words)) = start(&case) {
                assert_eq!(code, Some(65), "{}: {words}", path.display());
                assert!(words.contains("from its peers"), "what to do: {words}");
                reported += 1;
            }
            std::fs::remove_dir_all(&case).unwrap();
        }
    }
    assert!(reported > 0);
}
