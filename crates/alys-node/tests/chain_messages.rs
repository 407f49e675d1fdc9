//! Every message of the chain actor, end to end in an embedded node.

#![allow(clippy::unwrap_used, reason = "a test fails where it can't go on")]

mod common;

use alys_chain::{Chain, ChainConfig, FederationError, ImportOutcome, Message as Gossip, PeerTag};
use alys_crypto::{Domain, DomainType, SecretKey, Signature};
use alys_node::actors::chain::{BroadcastError, ChainMessage, NotFinal, ProduceError, ReorgError};
use alys_node::chain_files::{ChainFiles, member};
use alys_node::clock::wall_now;
use alys_node::config::Config;
use alys_node::key_files::generate_key;
use alys_node::{DevBitcoin, Node, NodeBuilder, Validator};
use alys_p2p::Verdict;
use alys_primitives::{
    Address, Approval, ApprovalData, AuxPowRecord, BitVector, Epoch, FederationChange, Height, Members, Root,
    SignatureBytes, Slot, TreeHash as _,
};
use alys_store::signing::{RecordIdentity, SigningRecord, Watermarks};
use std::path::Path;
use std::time::Duration;

/// The longest that a running chain may take for something it must do.
const PATIENCE: Duration = Duration::from_secs(60);

async fn start(folder: &Path, key: &SecretKey, observer: bool) -> Node {
    let members = Members::new(vec![member(key, Address::repeat_byte(1))]).unwrap();
    let files = ChainFiles::dev(members, wall_now().0 / 1000, 1).unwrap();
    let record = folder.join("signing-record");
    let identity =
        RecordIdentity { genesis_root: files.spec.genesis_root(), public_key: key.public_key().to_bytes().into() };
    drop(SigningRecord::create(&record, &identity, &Watermarks::default()).unwrap());
    let mut config = Config::default();
    config.node.data_dir = folder.join("data");
    config.rpc.listen.set_port(0);
    config.rpc.mining = true;
    config.metrics.listen.set_port(0);
    let mut builder = NodeBuilder::new(config, files)
        .dev_bitcoin(DevBitcoin { miner_payout: Some(Address::repeat_byte(2)) })
        .chain_config(ChainConfig { production_lead: 0, ..ChainConfig::default() });
    if !observer {
        let key = SecretKey::from_bytes(&*key.to_bytes()).unwrap();
        builder = builder.validator(Validator { key, record });
    }
    builder.start().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_of_the_chain_actor_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let key = generate_key().unwrap();
    let node = start(folder.path(), &key, false).await;
    let chain = &node.chain;

    let produced = chain.ask_within(PATIENCE, |reply| ChainMessage::ProduceBlock { reply }).await.unwrap().unwrap();
    // It is the head once it is notarized.
    let mut view = node.view.clone();
    let notarized = view.wait_for(|view| view.head.height >= produced.height);
    tokio::time::timeout(PATIENCE, notarized).await.expect("its own approval is a quorum").unwrap();
    let status = chain.ask(|reply| ChainMessage::GetChainStatus { reply }).await.unwrap();
    assert!(status.head.height >= produced.height);
    let block = node.store.block(produced.root).unwrap().expect("what was produced is stored").block;

    let copy = Box::new(block.clone());
    let imported = chain.ask(|reply| ChainMessage::ImportBlock { block: copy, reply }).await.unwrap();
    assert_eq!(imported, Ok(ImportOutcome::AlreadyKnown));
    let copy = Box::new(block.clone());
    assert_eq!(chain.ask(|reply| ChainMessage::ValidateBlock { block: copy, reply }).await.unwrap(), Ok(()));
    let mut forged = Box::new(block.clone());
    forged.author_signature = SignatureBytes::repeat_byte(7);
    let refused = chain.ask(|reply| ChainMessage::ValidateBlock { block: forged, reply }).await.unwrap();
    assert!(refused.is_err(), "a forged signature");

    let mut gossip = node.gossip.subscribe();
    let root = produced.root;
    chain.ask(|reply| ChainMessage::BroadcastBlock { root, reply }).await.unwrap().unwrap();
    let told = async {
        loop {
            if let Gossip::Block(told) = gossip.recv().await.unwrap()
                && told.root() == root
            {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("the block is told again");
    let root = Root::repeat_byte(9);
    let unknown = chain.ask(|reply| ChainMessage::BroadcastBlock { root, reply }).await.unwrap();
    assert!(matches!(unknown, Err(BroadcastError::Unknown(of)) if of == root));

    let to = Height(1_000_000);
    let finality = chain.ask(|reply| ChainMessage::FinalizeBlocks { to, reply }).await.unwrap();
    assert!(matches!(finality, Err(NotFinal::AboveHead { .. })), "{finality:?}");
    let finality = chain.ask(|reply| ChainMessage::FinalizeBlocks { to: Height(0), reply }).await.unwrap();
    assert!(finality.is_ok());
    let to = produced.root;
    let head = chain.ask(|reply| ChainMessage::ReorgChain { to, reply }).await.unwrap();
    // It may have become final meanwhile; otherwise it is on the head's chain.
    assert!(matches!(head, Ok(_) | Err(ReorgError::Unknown { .. })), "{head:?}");
    let to = Root::repeat_byte(9);
    let unknown = chain.ask(|reply| ChainMessage::ReorgChain { to, reply }).await.unwrap();
    assert!(matches!(unknown, Err(ReorgError::Unknown { .. })));

    let bundle = chain.ask(|reply| ChainMessage::AuxPowTemplate { payout: Address::repeat_byte(2), reply });
    if let Ok(template) = bundle.await.unwrap() {
        let record = Box::new(AuxPowRecord { bundle: template.bundle, proof: vec![0; 80].try_into().unwrap() });
        let refused = chain.ask(|reply| ChainMessage::ProcessAuxPow { record, reply }).await.unwrap();
        assert!(refused.is_err(), "eighty zeros are no work");
    }
    assert_eq!(node.shutdown().await.killed.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_federation_changes_when_its_quorum_has_signed_and_the_change_is_final() {
    let folder = tempfile::tempdir().unwrap();
    let key = generate_key().unwrap();
    let node = start(folder.path(), &key, false).await;
    let members = Members::new(vec![member(&key, Address::repeat_byte(3))]).unwrap();
    let verifier = Chain::genesis((*node.spec).clone(), ChainConfig::default()).unwrap().verifier();
    let change = |epoch: Epoch, signer: &SecretKey| {
        let signature: Signature =
            signer.sign(verifier.federation_signing_root(epoch, &members, &alys_primitives::Optional::default()));
        let mut bitfield = BitVector::new();
        bitfield.set(0, true).unwrap();
        Box::new(FederationChange {
            genesis_root: node.spec.genesis_root(),
            epoch,
            members: members.clone(),
            custody: alys_primitives::Optional::default(),
            bitfield,
            aggregate_signature: signature.to_bytes().into(),
        })
    };
    let update = |change| node.chain.ask_within(PATIENCE, |reply| ChainMessage::UpdateFederation { change, reply });

    let stranger = generate_key().unwrap();
    let refused = update(change(Epoch(0), &stranger)).await.unwrap();
    assert!(matches!(refused, Err(FederationError::Certificate(_))), "{refused:?}");
    let refused = update(change(Epoch(5), &key)).await.unwrap();
    assert!(matches!(refused, Err(FederationError::Epoch { .. })), "{refused:?}");
    update(change(Epoch(0), &key)).await.unwrap().unwrap();

    let mut view = node.view.clone();
    let changed = tokio::time::timeout(PATIENCE, view.wait_for(|view| view.epoch == Epoch(1))).await;
    let view = changed.expect("the change takes effect").unwrap().clone();
    assert_eq!(view.members[0].fee_address, Address::repeat_byte(3));
    let height = view.head.height;
    let mut view = node.view.clone();
    let goes_on = tokio::time::timeout(PATIENCE, view.wait_for(|view| view.head.height.0 > height.0 + 1)).await;
    goes_on.expect("the new epoch makes blocks").unwrap();
    assert_eq!(node.shutdown().await.killed.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proof_of_equivocation_and_a_waiting_change_survive_kill_minus_nine() {
    let folder = tempfile::tempdir().unwrap();
    let key = generate_key().unwrap();
    // An observer: nobody puts either into a block.
    let members = Members::new(vec![member(&key, Address::repeat_byte(1))]).unwrap();
    let genesis_time = wall_now().0 / 1000 - 5;
    let files = || ChainFiles::dev(members.clone(), genesis_time, 1).unwrap();
    let start = async |data: &Path| {
        let mut config = Config::default();
        config.node.data_dir = data.to_owned();
        config.rpc.listen.set_port(0);
        config.metrics.listen.set_port(0);
        NodeBuilder::new(config, files()).start().await.unwrap()
    };
    let verifier = Chain::genesis(files().spec, ChainConfig::default()).unwrap().verifier();
    let change = |fees: u8| {
        let members = Members::new(vec![member(&key, Address::repeat_byte(fees))]).unwrap();
        let signature: Signature =
            key.sign(verifier.federation_signing_root(Epoch(0), &members, &alys_primitives::Optional::default()));
        let mut bitfield = BitVector::new();
        bitfield.set(0, true).unwrap();
        Box::new(FederationChange {
            genesis_root: files().spec.genesis_root(),
            epoch: Epoch(0),
            members,
            custody: alys_primitives::Optional::default(),
            bitfield,
            aggregate_signature: signature.to_bytes().into(),
        })
    };
    let approval = |root: u8| {
        let data = ApprovalData { block_root: Root::repeat_byte(root), slot: Slot(1), epoch: Epoch(0) };
        let version = files().spec.fork_version(Height(1));
        let domain = Domain::new(DomainType::Approval, version.0, files().spec.genesis_root());
        let signature: Signature = key.sign(domain.signing_root(data.tree_hash_root()));
        Approval { data, member_index: 0, signature: signature.to_bytes().into() }
    };
    let vote = async |node: &Node| {
        for root in [1, 2] {
            let message = Box::new(Gossip::Approval(approval(root)));
            let heard = node.chain.ask(|reply| ChainMessage::Gossip { message, peer: PeerTag(1), reply });
            assert_eq!(heard.await.unwrap(), Verdict::Accept);
        }
    };
    let first = start(&folder.path().join("first")).await;
    vote(&first).await;
    let mut view = first.view.clone();
    let found = tokio::time::timeout(PATIENCE, view.wait_for(|view| view.counters.equivocations == 1));
    found.await.expect("two approvals for one slot are noticed").unwrap();
    let update = async |node: &Node, fees| {
        let change = change(fees);
        node.chain.ask_within(PATIENCE, |reply| ChainMessage::UpdateFederation { change, reply }).await.unwrap()
    };
    // The answer comes after the write, and writes are in order: the proof is on the disk, too.
    assert_eq!(update(&first, 3).await, Ok(()));
    common::copy_folder(&folder.path().join("first"), &folder.path().join("second"));
    assert_eq!(first.shutdown().await.killed.len(), 0);

    let second = start(&folder.path().join("second")).await;
    assert_eq!(update(&second, 4).await, Err(FederationError::InFlight), "the one before waits");
    assert_eq!(update(&second, 3).await, Ok(()), "it is known");
    vote(&second).await;
    // Status is asked after the votes were taken in.
    let status = second.chain.ask(|reply| ChainMessage::GetChainStatus { reply }).await.unwrap();
    assert_eq!(status.counters.equivocations, 0, "nothing new: the proof was there");
    assert_eq!(second.shutdown().await.killed.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observer_produces_nothing_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let node = start(folder.path(), &generate_key().unwrap(), true).await;
    let refused = node.chain.ask(|reply| ChainMessage::ProduceBlock { reply }).await.unwrap();
    assert_eq!(refused, Err(ProduceError::Observer));
    assert_eq!(node.shutdown().await.killed.len(), 0);
}
