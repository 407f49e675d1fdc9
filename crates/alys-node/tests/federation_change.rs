//! Members change who they are and who holds the coins, with the commands that operators use: what is done, and what is
//! refused by which rule.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test fails where it can't go on")]

use alys_chain::{Chain, ChainConfig, Verifier};
use alys_crypto::keystore::{KdfCost, Password};
use alys_crypto::{AggregateSignature, SecretKey, Signature};
use alys_node::bridge::custody_key;
use alys_node::chain_files::{ChainFiles, member};
use alys_node::clock::wall_now;
use alys_node::config::Config;
use alys_node::key_files::{generate_key, write_keystore};
use alys_node::rpc_client::{RpcClient, RpcClientError};
use alys_node::{DevBitcoin, Node, NodeBuilder, Validator};
use alys_primitives::ssz::{Decode as _, Encode as _};
use alys_primitives::{Address, BitVector, Epoch, FederationChange, Members, OfferedCustody, Optional, VariableList};
use alys_store::signing::{RecordIdentity, SigningRecord, Watermarks};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The longest that a running chain may take for something it must do.
const PATIENCE: Duration = Duration::from_secs(90);

const CHEAP: KdfCost = KdfCost::Scrypt { n: 1024, r: 8, p: 1 };

/// A chain's files and keystores, and a node that is its first member, or nobody.
struct World {
    folder: tempfile::TempDir,
    keys: Vec<SecretKey>,
    node: Node,
    client: RpcClient,
    rpc: String,
    verifier: Verifier,
}

impl World {
    /// A chain of `members` members. One member makes blocks of its own; of several nobody does.
    async fn start(members: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys: Vec<SecretKey> = (0..members).map(|_| generate_key().unwrap()).collect();
        let list = keys.iter().map(|key| member(key, Address::repeat_byte(1))).collect();
        let custody = keys.iter().map(|key| custody_key(key, 0).unwrap().public_key().serialize().into()).collect();
        let files = ChainFiles::dev(Members::new(list).unwrap(), wall_now().0 / 1000, 1).unwrap();
        let mut files = files.with_regtest_peg(custody).unwrap();
        files.spec.epoch_delay = 16;
        std::fs::write(folder.path().join("chain.json"), files.spec_json().unwrap()).unwrap();
        std::fs::write(folder.path().join("genesis.json"), files.genesis_json().unwrap()).unwrap();
        let verifier = Chain::genesis(files.spec.clone(), ChainConfig::default()).unwrap().verifier();
        for (index, key) in keys.iter().enumerate() {
            keystore(folder.path(), &format!("member-{index}"), key);
        }
        let mut config = Config::default();
        config.node.data_dir = folder.path().join("data");
        config.rpc.listen.set_port(0);
        config.rpc.mining = true;
        config.metrics.listen.set_port(0);
        let genesis_root = files.spec.genesis_root();
        let mut builder = NodeBuilder::new(config, files);
        if let [key] = &keys[..] {
            let record = folder.path().join("signing-record");
            let identity = RecordIdentity { genesis_root, public_key: key.public_key().to_bytes().into() };
            drop(SigningRecord::create(&record, &identity, &Watermarks::default()).unwrap());
            let key = SecretKey::from_bytes(&*key.to_bytes()).unwrap();
            builder = builder
                .validator(Validator { key, record })
                .dev_bitcoin(DevBitcoin { miner_payout: Some(Address::repeat_byte(2)) })
                .chain_config(ChainConfig { production_lead: 0, ..ChainConfig::default() });
        }
        let node = builder.start().await.unwrap();
        let mut listening = node.listening.clone();
        let address = listening.wait_for(Option::is_some).await.unwrap().unwrap().rpc;
        let rpc = format!("http://{address}");
        let client = RpcClient::new(&rpc, Duration::from_secs(30)).unwrap();
        Self { folder, keys, node, client, rpc, verifier }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Runs `alys-node federation`; gives its exit code and what it said on stdout and on stderr.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_alys-node")).arg("federation").args(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }

    /// Runs a command that must succeed.
    fn done(&self, arguments: &[&str]) -> String {
        let (code, said, error) = self.run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {error}");
        said
    }

    /// Runs a command that must fail with this exit code, and whose words must hold this.
    fn refused(&self, arguments: &[&str], code: i32, words: &[&str]) {
        let (found, _, error) = self.run(arguments);
        assert_eq!(found, code, "{arguments:?}: {error}");
        for word in words {
            assert!(error.contains(word), "{arguments:?}: `{word}` is not in: {error}");
        }
    }

    fn propose(&self, name: &str, flags: &[&str]) -> String {
        let out = self.path(name);
        self.done(&[&["propose", "--rpc", &self.rpc, "--out", &out], flags].concat());
        out
    }

    /// The arguments of `sign` for a keystore.
    fn sign(&self, proposal: &str, who: &str) -> Vec<String> {
        let chain =
            ["--chain-spec", &self.path("chain.json"), "--genesis", &self.path("genesis.json")].map(str::to_owned);
        let key = ["--keystore", &self.path(&format!("{who}.json")), "--password-file", &self.path("password")];
        let mut arguments = vec!["sign".to_owned(), proposal.to_owned()];
        arguments.extend(chain);
        arguments.extend(key.map(str::to_owned));
        arguments
    }

    fn signed(&self, proposal: &str, members: usize) {
        for index in 0..members {
            self.done(&strings(&self.sign(proposal, &format!("member-{index}"))));
        }
    }

    /// What a new member offers in an epoch, as a file.
    fn offer(&self, who: &str, generation: &str, epoch: &str) -> String {
        let chain =
            ["--chain-spec", &self.path("chain.json"), "--genesis", &self.path("genesis.json"), "--epoch", epoch];
        let keys = ["--keystore", &self.path(&format!("{who}.json")), "--password-file", &self.path("password")];
        let fees = ["--fee-address", "0x0505050505050505050505050505050505050505", "--custody-generation", generation];
        let said = self.done(&[&["offer"][..], &chain, &keys, &fees].concat());
        let path = self.path(&format!("{who}-offer-{generation}-{epoch}"));
        std::fs::write(&path, said).unwrap();
        path
    }

    /// The rule by which the node refuses a record.
    async fn rule(&self, record: &FederationChange) -> String {
        self.rule_of(json!([format!("0x{}", hex::encode(record.as_ssz_bytes()))])).await.0.unwrap()
    }

    async fn rule_of(&self, params: Value) -> (Option<String>, String) {
        match self.client.call("alys_submitFederationChange", params).await.unwrap_err() {
            RpcClientError::Refused { rule, message, code: -32602, .. } => (rule, message),
            other => panic!("{other}"),
        }
    }

    /// A record that these members signed.
    fn record(
        &self,
        epoch: u64,
        members: &Members,
        custody: &Optional<OfferedCustody>,
        signers: usize,
    ) -> FederationChange {
        let root = self.verifier.federation_signing_root(Epoch(epoch), members, custody);
        let signatures: Vec<Signature> = self.keys.iter().take(signers).map(|key| key.sign(root)).collect();
        let mut bitfield = BitVector::new();
        (0..signers).for_each(|index| bitfield.set(index, true).unwrap());
        FederationChange {
            genesis_root: self.node.spec.genesis_root(),
            epoch: Epoch(epoch),
            members: members.clone(),
            custody: custody.clone(),
            bitfield,
            aggregate_signature: AggregateSignature::aggregate(&signatures).unwrap().to_bytes().into(),
        }
    }

    async fn call(&self, method: &str) -> Value {
        self.client.call(method, json!([])).await.unwrap()
    }
}

fn strings(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

fn keystore(folder: &Path, name: &str, key: &SecretKey) {
    let password = "correct horse";
    std::fs::write(folder.join("password"), password).unwrap();
    write_keystore(&folder.join(format!("{name}.json")), key, &Password::new(password).unwrap(), CHEAP).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_name_new_custodians_and_then_a_new_member() {
    let world = World::start(1).await;
    let key = world.offer("member-0", "1", "0");
    let proposal = world.propose("custody-change", &["--custodian", &key, "--custody-threshold", "1"]);
    world.done(&strings(&world.sign(&proposal, "member-0")));
    // Signing again adds nothing.
    world.done(&strings(&world.sign(&proposal, "member-0")));
    let shown = world.done(&["show", &proposal, "--rpc", &world.rpc, "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        (shown["signers"].as_array().unwrap().len(), &shown["added"], &shown["removed"]),
        (1, &json!([]), &json!([]))
    );
    let record = world.path("record");
    let submit = ["submit", &proposal, "--rpc", &world.rpc, "--record", &record];
    world.done(&submit);
    world.done(&submit);

    let mut view = world.node.view.clone();
    let carried = tokio::time::timeout(PATIENCE, view.wait_for(|view| view.change.is_some())).await;
    let height = carried.expect("the next author includes it").unwrap().change.unwrap().height;
    let told = world.call("alys_federation").await;
    assert_eq!(told["change"]["effectiveHeight"], json!(height.0 + 16), "{told}");
    assert_eq!(told["change"]["custody"]["threshold"], json!(1), "{told}");
    let (again, flags) = (world.path("again"), ["--custodian", &key, "--custody-threshold", "1"]);
    world.refused(&[&["propose", "--rpc", &world.rpc, "--out", &again][..], &flags].concat(), 1, &["in flight"]);

    let turned = tokio::time::timeout(PATIENCE, view.wait_for(|view| view.peg.ledger().current_custody() == 1)).await;
    turned.expect("the new custodians take over").unwrap();
    let custody = world.call("alys_custody").await;
    assert_eq!(custody["custodies"][1]["address"], shown["custodyAddress"], "{custody}");
    let epoch = "epoch 0, the current one is 1";
    // What is no record is neither read whole nor overwritten.
    let (large, other) = (world.path("large"), world.path("other"));
    std::fs::write(&large, vec![b'0'; 128 * 1024 + 1]).unwrap();
    std::fs::write(&other, "0x00").unwrap();
    for (path, words) in [(&large, "more than 131072 bytes"), (&other, "never overwritten")] {
        std::fs::create_dir(format!("{path}-folder")).unwrap();
        std::fs::copy(path, format!("{path}-folder/change-0")).unwrap();
        let code = if path == &large { 2 } else { 1 };
        world.refused(&["records", "--rpc", &world.rpc, "--out", &format!("{path}-folder")], code, &[words]);
    }
    world.refused(&submit, 1, &[epoch, "propose anew", "`epoch`"]);
    // The record is what a signer apart follows the chain by.
    let signer =
        ["custody-signer", "--chain-spec", &world.path("chain.json"), "--genesis", &world.path("genesis.json")]
            .map(str::to_owned);
    let signer = Command::new(env!("CARGO_BIN_EXE_alys-node"))
        .args(signer)
        .args(["--change", &record, "--change", &record, "--keystore", &world.path("member-0.json")])
        .args(["--password-file", &world.path("password"), "--socket", &world.path("s"), "--record", &world.path("r")])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&signer.stderr);
    assert!(error.contains("change 1: signed in epoch 0"), "the first was taken: {error}");

    // A second member, which is not there: the federation has it, and waits for it.
    keystore(world.folder.path(), "newcomer", &generate_key().unwrap());
    let offer = world.offer("newcomer", "0", "1");
    // An offer of the epoch before is worth nothing for the custody any more.
    let (late, threshold) = (world.path("late"), ["--custodian", &key, "--custody-threshold", "1"]);
    let late = ["propose", "--rpc", &world.rpc, "--out", &late];
    world.refused(&[&late[..], &threshold].concat(), 1, &["holds for epoch 0, the current one is 1", "offers again"]);
    let proposal = world.propose("member-change", &["--add", &offer]);
    world.done(&strings(&world.sign(&proposal, "member-0")));
    world.done(&["submit", &proposal, "--rpc", &world.rpc]);
    let grown = tokio::time::timeout(PATIENCE, view.wait_for(|view| view.epoch == Epoch(2))).await;
    assert_eq!(grown.expect("the change takes effect").unwrap().members.len(), 2);
    let told = world.call("alys_federation").await;
    assert_eq!(told["members"][1]["feeAddress"], json!(Address::repeat_byte(5)), "{told}");

    // Whoever lost the records takes them from the blocks.
    let out = world.path("records");
    let said = world.done(&["records", "--rpc", &world.rpc, "--out", &out]);
    assert!(said.contains("1 members, new custodians") && said.contains("2 members, the custody stays"), "{said}");
    let read = |path: &str| std::fs::read_to_string(path).unwrap();
    assert_eq!(read(&format!("{out}/change-0")), read(&record));
    let changes: Vec<FederationChange> = ["change-0", "change-1"]
        .map(|name| hex::decode(read(&format!("{out}/{name}")).trim_start_matches("0x")).unwrap())
        .map(|bytes| FederationChange::from_ssz_bytes(&bytes).unwrap())
        .to_vec();
    let custody = alys_chain::follow_custody((*world.node.spec).clone(), &changes).unwrap();
    assert_eq!(custody.len(), 1, "the second names nobody");
    assert_eq!(world.node.shutdown().await.killed.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_refusal_names_its_rule() {
    let world = World::start(4).await;
    let members = world.node.view.borrow().members.as_ref().clone();
    let none = Optional::default();
    let genesis_root = world.node.spec.genesis_root();
    let offers = |epoch| {
        let offer = |key: &SecretKey| {
            custody_key(key, 1).unwrap().offer(key.public_key().to_bytes().into(), &genesis_root, Epoch(epoch))
        };
        VariableList::new(world.keys.iter().map(offer).collect()).unwrap()
    };
    let custody = |threshold| -> Optional<OfferedCustody> {
        VariableList::new(vec![OfferedCustody { offers: offers(0), threshold }]).unwrap()
    };

    // What the node says of records that a quorum could have signed.
    assert_eq!(world.rule(&world.record(7, &members, &none, 4)).await, "epoch");
    assert_eq!(world.rule(&world.record(0, &members, &none, 2)).await, "no-quorum");
    let mut other = world.record(0, &members, &none, 3);
    other.genesis_root.0[0] ^= 1;
    assert_eq!(world.rule(&other).await, "other-chain");
    let mut forged = world.record(0, &members, &none, 3);
    forged.custody = custody(2);
    assert_eq!(world.rule(&forged).await, "signature", "custodians are part of what is signed");
    let mut stranger = world.record(0, &members, &none, 3);
    stranger.bitfield.set(9, true).unwrap();
    assert_eq!(world.rule(&stranger).await, "no-member");
    for threshold in [0, 1, 4] {
        assert_eq!(world.rule(&world.record(0, &members, &custody(threshold), 3)).await, "custodians", "{threshold}");
    }
    let mut unproven = custody(2);
    unproven[0].offers[3].holder = members[0].public_key;
    assert_eq!(world.rule(&world.record(0, &members, &unproven, 3)).await, "custody-possession");
    let stale = VariableList::new(vec![OfferedCustody { offers: offers(1), threshold: 2 }]).unwrap();
    assert_eq!(world.rule(&world.record(0, &members, &stale, 3)).await, "custody-possession");
    let mut list = members.to_vec();
    list[3].proof_of_possession = list[2].proof_of_possession;
    let unproven = Members::new(list.clone()).unwrap();
    assert_eq!(world.rule(&world.record(0, &unproven, &none, 3)).await, "possession");
    list[3] = list[2].clone();
    assert_eq!(world.rule(&world.record(0, &Members::new(list).unwrap(), &none, 3)).await, "duplicate");
    assert_eq!(world.rule(&world.record(0, &Members::default(), &none, 3)).await, "size");
    for (params, words) in [
        (json!(["0x1234"]), "no change of the federation"),
        (json!(["zz"]), "no change of the federation"),
        (json!([]), "one argument"),
        (json!(["0".repeat(128 * 1024 + 1)]), "at most 131072"),
    ] {
        let (rule, message) = world.rule_of(params).await;
        assert!(rule.is_none() && message.contains(words), "{message}");
    }

    // The same by commands.
    let (spare, out) = (generate_key().unwrap(), world.path("refused"));
    keystore(world.folder.path(), "spare", &spare);
    let offer = world.offer("spare", "0", "0");
    let propose = ["propose", "--rpc", &world.rpc, "--out", &out];
    world.refused(&propose, 2, &["changes nothing"]);
    world.refused(&[&propose[..], &["--custodian", &offer]].concat(), 2, &["--custody-threshold"]);
    let too_many = ["--custodian", &offer, "--custody-threshold", "2"];
    world.refused(&[&propose[..], &too_many].concat(), 1, &["custody_threshold", "`custodians`"]);
    let custodian = |name: &str, field: &str, value: Value| {
        let mut offered: Value = serde_json::from_str(&std::fs::read_to_string(&offer).unwrap()).unwrap();
        offered[field] = value;
        let path = world.path(name);
        std::fs::write(&path, offered.to_string()).unwrap();
        path
    };
    let no_point = custodian("no-point", "custody_key", json!(format!("0x{}", "ff".repeat(32))));
    let no_point = ["--custodian", &no_point, "--custody-threshold", "1"];
    world.refused(&[&propose[..], &no_point].concat(), 1, &["x-only", "`custody-key`"]);
    let forged = custodian("forged", "custody_proof", json!(format!("0x{}", "01".repeat(64))));
    let forged = ["--custodian", &forged, "--custody-threshold", "1"];
    world.refused(&[&propose[..], &forged].concat(), 1, &["nothing proves", "`custody-possession`"]);
    let key = format!("0x{}", hex::encode(spare.public_key().to_bytes()));
    world.refused(&[&propose[..], &["--remove", &key]].concat(), 2, &["no member's key"]);
    world.refused(&[&propose[..], &["--add", &offer, "--add", &offer]].concat(), 1, &["`duplicate`"]);
    let bad =
        std::fs::read_to_string(&offer).unwrap().replace("proof_of_possession\": \"0x", "proof_of_possession\": \"0x0");
    let bad_offer = world.path("bad-offer");
    std::fs::write(&bad_offer, bad).unwrap();
    world.refused(&[&propose[..], &["--add", &bad_offer]].concat(), 2, &["no offer"]);
    let mut offered: Value = serde_json::from_str(&std::fs::read_to_string(&offer).unwrap()).unwrap();
    offered["proof_of_possession"] = json!(members[0].proof_of_possession);
    std::fs::write(&bad_offer, offered.to_string()).unwrap();
    world.refused(&[&propose[..], &["--add", &bad_offer]].concat(), 1, &["possession", "`possession`"]);
    std::fs::write(&bad_offer, " ".repeat(5000)).unwrap();
    world.refused(&[&propose[..], &["--add", &bad_offer]].concat(), 2, &["4096 bytes"]);
    assert!(!Path::new(&out).exists(), "nothing was written");

    let proposal = world.propose("proposal", &["--add", &offer]);
    world.refused(&["submit", &proposal, "--rpc", &world.rpc], 2, &["nobody has signed"]);
    world.signed(&proposal, 2);
    world.refused(&["submit", &proposal, "--rpc", &world.rpc], 1, &["2 members have signed, 3 must", "`no-quorum`"]);
    let stranger = world.path("stranger");
    std::fs::copy(&proposal, &stranger).unwrap();
    world.done(&strings(&world.sign(&stranger, "spare")));
    world.refused(&["submit", &stranger, "--rpc", &world.rpc], 2, &["no member's key"]);

    let text = std::fs::read_to_string(&proposal).unwrap();
    let edited = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut value: Value = serde_json::from_str(&text).unwrap();
        change(&mut value);
        let path = world.path(name);
        std::fs::write(&path, value.to_string()).unwrap();
        path
    };
    let stale = edited("stale", &|value| value["epoch"] = json!(3));
    world.refused(&["submit", &stale, "--rpc", &world.rpc], 1, &["signed in epoch 3", "`epoch`"]);
    let sign = world.sign(&stale, "member-2");
    world.refused(&strings(&sign), 1, &["the signature of"]);
    let foreign = edited("foreign", &|value| value["genesis_root"] = json!(alys_primitives::Root::repeat_byte(9)));
    world.refused(&strings(&world.sign(&foreign, "member-2")), 1, &["another chain"]);
    world.refused(&["submit", &foreign, "--rpc", &world.rpc], 1, &["another chain"]);
    let renamed =
        edited("renamed", &|value| value["signatures"][0]["public_key"] = value["signatures"][1]["public_key"].clone());
    world.refused(&["submit", &renamed, "--rpc", &world.rpc], 1, &["the signature of"]);
    world.refused(&["submit", &proposal, &foreign, "--rpc", &world.rpc], 2, &["another change"]);
    for text in ["", "{}", "[1]", "0x00"] {
        std::fs::write(&stale, text).unwrap();
        world.refused(&["show", &stale, "--rpc", &world.rpc], 2, &["no proposal"]);
        world.refused(&strings(&sign), 2, &["no proposal"]);
    }
    std::fs::write(&stale, " ".repeat(256 * 1024 + 1)).unwrap();
    world.refused(&strings(&sign), 2, &["262144 bytes"]);
    world.refused(&["submit", &stale, "--rpc", &world.rpc], 2, &["262144 bytes"]);

    // Copies that members signed apart count together.
    let copy = world.path("copy");
    std::fs::copy(&proposal, &copy).unwrap();
    world.done(&strings(&world.sign(&copy, "member-3")));
    world.done(&["submit", &proposal, &copy, "--rpc", &world.rpc]);
    // It waits for an author. Another one can't, until its epoch ends.
    let second = world.propose("second", &["--add", &offer, "--custodian", &offer, "--custody-threshold", "1"]);
    world.signed(&second, 3);
    world.refused(&["submit", &second, "--rpc", &world.rpc], 1, &["in flight", "`in-flight`"]);
    assert_eq!(world.node.shutdown().await.killed.len(), 0);
}
