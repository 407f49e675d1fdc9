//! The commands that a member and an operator use besides `run`.

#![allow(clippy::unwrap_used, reason = "a test fails where it can't go on")]

mod common;

use common::{DevNode, alys_node, number};
use serde_json::Value;
use std::path::Path;

/// Runs a command that must succeed, and gives its stdout.
fn output(arguments: &[&str]) -> String {
    let output = alys_node().args(arguments).env("ALYS_KEYSTORE_PASSWORD", "correct horse").output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

fn exit_code(arguments: &[&str]) -> (i32, String) {
    let output = alys_node().args(arguments).env("ALYS_KEYSTORE_PASSWORD", "wrong").output().unwrap();
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn keys_are_made_imported_listed_and_proven() {
    let folder = tempfile::tempdir().unwrap();
    let (made, imported) = (text(&folder.path().join("made.json")), text(&folder.path().join("imported.json")));
    let new: Value = serde_json::from_str(&output(&["keys", "new", "--kdf", "pbkdf2", "--out", &made])).unwrap();
    let pop: Value = serde_json::from_str(&output(&["keys", "pop", &made])).unwrap();
    assert_eq!(new, pop, "what `new` prints is what a chain spec needs");

    let secret = text(&folder.path().join("secret"));
    // Private key of the first test case of Ethereum's BLS suite.
    std::fs::write(&secret, "263dbd792f5b1be47ed85f8938c0f29586af0d3ac7b977f21c278fe1462040e3\n").unwrap();
    let import = ["keys", "import", "--kdf", "pbkdf2", "--secret", &secret, "--out", &imported];
    let known: Value = serde_json::from_str(&output(&import)).unwrap();
    assert_eq!(
        known["public_key"],
        "0xa491d1b0ecd9bb917989f0e74f0dea0422eac4a873e5e2644f368dffb9a6e20fd6e10c1b77654d067c0618f6e5a7f79a"
    );
    let (code, error) = exit_code(&import);
    assert!(code == 1 && error.contains("never overwritten"), "{error}");

    let listed: Value = serde_json::from_str(&output(&["keys", "list", "--json", &text(folder.path())])).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let (code, error) = exit_code(&["keys", "pop", &made]);
    assert!(code == 1 && error.contains("made.json"), "wrong password: {error}");
    let (code, _) = exit_code(&["keys", "new"]);
    assert_eq!(code, 2, "wrong usage");
}

#[test]
fn a_chain_is_made_with_recovery_keys_or_it_is_said_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let chain = text(&folder.path().join("chain"));
    // The x coordinates of the first multiples of the curve's generator.
    let keys = [
        "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
        "c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5",
        "f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9",
    ];
    let init = |preset: &'static str, flags: &[&'static str]| {
        let mut arguments = vec!["init", "--preset", preset, "--data-dir", &chain];
        arguments.extend(flags);
        arguments.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let refused = |preset, flags: &[&'static str], words: &str| {
        let arguments = init(preset, flags);
        let (code, error) = exit_code(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(code == 2 && error.contains(words), "{flags:?}: {error}");
    };
    refused("dev", &["--recovery-key", keys[0]], "--recovery-threshold");
    refused("dev", &["--recovery-threshold", "1"], "--recovery-key");
    refused("dev", &["--recovery-key", "1234", "--recovery-threshold", "1"], "1234");
    refused("dev", &["--recovery-key", keys[0], "--recovery-threshold", "2"], "peg.recovery.threshold");
    refused("testnet", &["--recovery-key", keys[0], "--recovery-threshold", "1"], "no peg");
    let hasty = ["--recovery-key", keys[0], "--recovery-threshold", "1", "--recovery-blocks", "143"];
    refused("dev", &hasty, "peg.recovery.blocks");
    let no_point = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";
    refused("dev", &["--recovery-key", no_point, "--recovery-threshold", "1"], "x-only");

    let two_of_three = [keys[0], keys[1], keys[2]].map(|key| ["--recovery-key", key]).concat();
    let arguments = init("dev", &[&two_of_three[..], &["--recovery-threshold", "2"]].concat());
    output(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let spec: Value = serde_json::from_slice(&std::fs::read(Path::new(&chain).join("chain.json")).unwrap()).unwrap();
    let recovery = &spec["peg"][0]["recovery"][0];
    assert_eq!((&recovery["threshold"], &recovery["blocks"]), (&Value::from(2), &Value::from(52_560)), "{spec}");
    assert_eq!(recovery["keys"][2], format!("0x{}", keys[2]));
}

#[test]
fn a_signing_history_moves_with_its_key_and_never_goes_back() {
    let folder = tempfile::tempdir().unwrap();
    let chain = text(&folder.path().join("chain"));
    output(&["init", "--preset", "dev", "--data-dir", &chain]);
    let config = text(&folder.path().join("chain/member-0/alys.toml"));
    let record = folder.path().join("chain/member-0/data/signing-record");
    let document = folder.path().join("history.json");
    let export = ["keys", "history", "export", "--config", &config];
    let import = ["keys", "history", "import", &text(&document), "--config", &config].map(str::to_owned);
    let import: Vec<&str> = import.iter().map(String::as_str).collect();

    let mut history: Value = serde_json::from_str(&output(&export)).unwrap();
    assert_eq!(history["data"][0]["signed_proposals"], serde_json::json!([]));
    let write = |history: &mut Value, slot: u64| {
        history["data"][0]["signed_proposals"] = serde_json::json!([{ "slot": slot.to_string() }]);
        std::fs::write(&document, history.to_string()).unwrap();
    };
    write(&mut history, 700);
    assert!(output(&import).contains("slot 700"));
    write(&mut history, 300);
    assert!(output(&import).contains("slot 700"), "an older history lowers nothing");

    // A record that is gone comes back from the document.
    std::fs::remove_file(&record).unwrap();
    let (code, error) = exit_code(&export);
    assert!(code == 1 && error.contains("without history"), "{error}");
    write(&mut history, 800);
    assert!(output(&import).contains("slot 800"));

    for broken in
        ["", "{}", &history.to_string().replace("\"1\"", "\"2\""), &history.to_string().replace("\"800\"", "800")]
    {
        std::fs::write(&document, broken).unwrap();
        let (code, error) = exit_code(&import);
        assert!(code == 1 && error.contains("was not imported"), "{broken:.60}: {error}");
    }
}

#[test]
fn status_shows_heights_federation_and_actors() {
    let folder = tempfile::tempdir().unwrap();
    let node = DevNode::start(&folder.path().join("chain"), &["--slot-duration", "1s"], &folder.path().join("log"));
    node.until("a block", |status| number(&status["head"]["height"]) > 0);
    let shown: Value = serde_json::from_str(&output(&["status", "--json", "--rpc", &node.rpc])).unwrap();
    assert!(number(&shown["status"]["head"]["height"]) > 0);
    assert!(shown["actors"]["children"].as_array().unwrap().len() > 5, "{shown}");
    let shown = output(&["status", "--watch", "--rpc", &node.rpc]);
    for word in ["head", "safe", "finalized", "federation", "root/chain", "root/storage"] {
        assert!(shown.contains(word), "{word} is not in:\n{shown}");
    }
    let (_, metrics) = node.get("/metrics");
    for operation in ["produce", "broadcast"] {
        let series = format!("alys_chain_operation_seconds_count{{operation=\"{operation}\"");
        assert!(metrics.contains(&series), "{series} is not in:\n{metrics}");
    }
    for target in ["import\"} 0.1", "produce\"} 0.5", "validate\"} 0.2", "finalize\"} 1"] {
        let gauge = format!("alys_chain_target_seconds{{operation=\"{target}");
        assert!(metrics.contains(&gauge), "{gauge} is not in:\n{metrics}");
    }
    let rpc = node.rpc.clone();
    assert!(node.terminate().success(), "SIGTERM ends in order");
    let (code, error) = exit_code(&["status", "--rpc", &rpc]);
    assert!(code == 1 && error.contains("is the node running?"), "{error}");
    assert_eq!(exit_code(&["status", "--rpc", "ftp://x"]).0, 2);
}

#[test]
fn a_member_daemon_reloads_its_log_filter_on_sighup_and_stops_on_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let chain = text(&folder.path().join("chain"));
    output(&["init", "--preset", "dev", "--data-dir", &chain]);
    let config = folder.path().join("chain/member-0/alys.toml");
    let log = folder.path().join("log");
    let mut daemon = alys_node()
        .args(["run", "--rpc-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--config"])
        .arg(&config)
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let logged = |what: &str| {
        let deadline = std::time::Instant::now() + common::PATIENCE;
        while !std::fs::read_to_string(&log).unwrap().contains(what) {
            assert!(std::time::Instant::now() < deadline, "{what} was not logged");
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
    };
    let send = |signal: &str| {
        let sent = std::process::Command::new("kill").args([signal, &daemon.id().to_string()]).status().unwrap();
        assert!(sent.success());
    };
    logged("running");
    let mut lines = std::fs::read_to_string(&config).unwrap();
    lines = lines.replacen("[node]\n", "[node]\nlog = \"info,alys_chain=debug\"\n", 1);
    std::fs::write(&config, &lines).unwrap();
    send("-HUP");
    logged("log=info,alys_chain=debug");
    // A file that is wrong changes nothing.
    std::fs::write(&config, "[node]\nlogg = 1\n").unwrap();
    send("-HUP");
    logged("configuration not reloaded");
    send("-TERM");
    assert!(daemon.wait().unwrap().success());
}
