//! The committed corpora: small inputs that get past a decoder, and some that just fail to.

use crate::execution::EVM_CHAIN_ID;
use crate::merged_mining::{CHAIN_ID, HASH};
use alloy_consensus::{
    EthereumTxEnvelope, SignableTransaction, Signed, TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxLegacy,
};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{Signature, TxKind};
use alys_auxpow::{
    AuxPow, Commitment, NULL_OUTPUT_INDEX, ParentHeader, Transaction, TxInput, TxOutput, expected_index, merkle_fold,
};
use alys_crypto::SecretKey;
use alys_crypto::keystore::{KdfCost, Keystore, KeystoreEntropy, Password};
use alys_p2p::{
    BlockRange, Blocks, BundleProof, LightRecords, OlderBlock, OlderBlocks, Refusal, Request, Response, SnapshotPart,
};
use alys_primitives::ssz::Encode;
use alys_primitives::{
    Address, Approval, ApprovalData, AuxBundle, AuxPowRecord, AuxPowSpec, B256, BitVector, BlockBody, BlockHeader,
    ChainSpec, CustodyOffer, Epoch, Evidence, EvmSpec, ExecutionPayload, FederationChange, FixedBytes, Fork, Gwei,
    Height, LightRecord, MaxMembers, Member, Notarization, OfferedCustody, ProposalEquivocation, PublicKeyBytes,
    SignatureBytes, SignedBlock, SignedHeader, Slot, U256, VariableList, VoteEquivocation, Withdrawal, typenum,
};

/// A seed's name and its bytes.
pub type Seed = (&'static str, Vec<u8>);

/// The seeds of a target; none for an unknown one. Each target has one called `valid`.
pub fn of(target: &str) -> Vec<Seed> {
    let valid = |bytes: Vec<u8>| {
        let cut = bytes.get(..bytes.len() / 2).unwrap_or_default().to_vec();
        vec![("valid", bytes), ("cut", cut), ("empty", Vec::new())]
    };
    match target {
        "approval" => valid(approval(1).as_ssz_bytes()),
        "auxpow" => auxpows(),
        "auxpow_record" => valid(record().as_ssz_bytes()),
        "bitcoin_block" => bitcoin_blocks(),
        "chain_script" => scripts(),
        "chain_spec" => valid(spec().as_ssz_bytes()),
        "coinbase" => coinbases(),
        "compact_bits" => compact_bits(),
        "evidence" => valid(evidence().as_ssz_bytes()),
        "federation_change" => {
            [valid(change().as_ssz_bytes()), vec![("custody", custody_change().as_ssz_bytes())]].concat()
        }
        "gossip" => gossip(),
        "keystore" => keystores(),
        "notarization" => valid(notarization().as_ssz_bytes()),
        "payload" => valid(payload()),
        "public_key" => points(48, public_key(1).to_vec()),
        "request_frame" => request_frames(),
        "response_frame" => response_frames(),
        "signature" => points(96, signature(1).to_vec()),
        "signed_block" => valid(block().as_ssz_bytes()),
        "transaction" => transactions(),
        _ => Vec::new(),
    }
}

fn compressed(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap_or_default()
}

/// Frames with lengths that lie.
fn lying_frames(kind: u8) -> [Seed; 2] {
    let head = |uncompressed: u32, compressed: u32| {
        [&[kind][..], &uncompressed.to_le_bytes(), &compressed.to_le_bytes()].concat()
    };
    [("bomb", head(u32::MAX, 16)), ("padded", head(16, u32::MAX))]
}

fn request_frames() -> Vec<Seed> {
    let range = Request::BlocksByRange(BlockRange { start: Height(5), count: 7 });
    let part = Request::SnapshotPart(SnapshotPart { snapshot: B256::repeat_byte(5), index: 3 });
    let frame = |request: &Request| request.to_frame().unwrap_or_default();
    let older = Request::OlderBlocks(BlockRange { start: Height(2), count: 64 });
    let light = Request::LightRecords(BlockRange { start: Height(1), count: 256 });
    let mut seeds = vec![
        ("valid", frame(&range)),
        ("part", frame(&part)),
        ("snapshots", frame(&Request::Snapshots)),
        ("older", frame(&older)),
        ("light", frame(&light)),
        ("proof", frame(&Request::BundleProof(Height(3)))),
    ];
    seeds.extend(lying_frames(2));
    seeds
}

fn response_frames() -> Vec<Seed> {
    let blocks = Blocks { blocks: list(vec![block()]), certificate: list(vec![notarization()]) };
    let blocks = Response::Blocks(Box::new(blocks));
    let older = OlderBlocks { blocks: list(vec![OlderBlock { block: block(), receipts: list(vec![0xc0]) }]) };
    let record =
        LightRecord { record: record(), start: block().header, end: block().header, changes: list(vec![change()]) };
    let light = LightRecords { work: U256::from(7), records: list(vec![record]) };
    let proof = BundleProof { root: B256::repeat_byte(6), branch: list(vec![B256::repeat_byte(7); 16]) };
    let frame = |response: &Response| response.to_frame().unwrap_or_default();
    let mut seeds = vec![
        ("valid", frame(&blocks)),
        ("part", frame(&Response::SnapshotPart(vec![7; 40]))),
        ("refused", frame(&Response::Refused(Refusal::Busy))),
        ("older", frame(&Response::OlderBlocks(Box::new(older)))),
        ("light", frame(&Response::LightRecords(Box::new(light)))),
        ("proof", frame(&Response::BundleProof(proof))),
    ];
    seeds.extend(lying_frames(7));
    seeds
}

fn gossip() -> Vec<Seed> {
    let topic = |topic: u8, bytes: &[u8]| [&[topic][..], &compressed(bytes)].concat();
    vec![
        ("valid", topic(1, &approval(1).as_ssz_bytes())),
        ("block", topic(0, &block().as_ssz_bytes())),
        ("bomb", topic(1, &[0; 100_000])),
        ("not_snappy", vec![1, 0xff, 0xff, 0xff]),
    ]
}

/// Plain growth with work and certificates; forks that are heard late; restarts in between.
fn scripts() -> Vec<Seed> {
    let round = [1, 200, 4, 0, 5, 0, 5, 0];
    let mut growth = Vec::new();
    for turn in 0..14u8 {
        growth.extend_from_slice(&round);
        if turn % 3 == 2 {
            growth.extend_from_slice(&[3, 200, 4, 1, 5, 0, 5, 0]);
        }
    }
    let forks: Vec<u8> = (0..12u8).flat_map(|turn| [1, turn, 2, 100, 4, turn * 9, 6, 77, 7, turn]).collect();
    let restarts: Vec<u8> = (0..20u8).flat_map(|turn| [1, 99, 4, turn, 6, turn, 7, 4 * turn]).collect();
    vec![("valid", growth), ("forks", forks), ("restarts", restarts), ("empty", Vec::new())]
}

fn list<T, N: typenum::Unsigned>(items: Vec<T>) -> VariableList<T, N> {
    VariableList::new(items).unwrap_or_else(|_| VariableList::empty())
}

/// One of a few keys; `None` never happens for 32 bytes of material.
fn secret(seed: u8) -> Option<SecretKey> {
    SecretKey::generate(&[seed; 32]).ok()
}

fn public_key(seed: u8) -> [u8; 48] {
    secret(seed).map_or([0; 48], |key| key.public_key().to_bytes())
}

fn signature(seed: u8) -> [u8; 96] {
    secret(seed).map_or([0; 96], |key| key.prove_possession().to_bytes())
}

fn points(length: usize, valid: Vec<u8>) -> Vec<Seed> {
    let start = |first: u8| {
        let mut bytes = vec![0; length];
        if let Some(byte) = bytes.first_mut() {
            *byte = first;
        }
        bytes
    };
    let mut other_sign = valid.clone();
    if let Some(byte) = other_sign.first_mut() {
        *byte ^= 0x20;
    }
    vec![
        ("valid", valid),
        ("other_sign", other_sign),
        ("infinity", start(0xc0)),
        ("infinity_with_sign", start(0xe0)),
        ("uncompressed_flag", start(0x40)),
        ("zero_coordinate", start(0x80)),
        ("empty", Vec::new()),
    ]
}

/// A proof for the hash and chain id of the target; `output` says where the commitment stands.
fn proof(height: usize, output: bool) -> AuxPow {
    let nonce = 7;
    let index = expected_index(nonce, CHAIN_ID, height);
    let chain_branch = vec![B256::repeat_byte(0x33); height];
    let root = merkle_fold(HASH, &chain_branch, index);
    let size = u32::try_from(height).ok().and_then(|height| 1u32.checked_shl(height)).unwrap_or(0);
    let commitment = Commitment { root, size, nonce };
    let mut script = vec![2, 1, 2];
    let mut outputs = vec![TxOutput { value: 5_000_000_000, script: vec![0x51] }];
    if output {
        outputs.push(TxOutput { value: 0, script: commitment.to_output_script() });
    } else {
        script.extend(commitment.to_bytes());
    }
    let input = TxInput { previous_txid: B256::ZERO, previous_index: NULL_OUTPUT_INDEX, script, sequence: u32::MAX };
    let coinbase = Transaction { version: 2, inputs: vec![input], outputs, lock_time: 0 };
    let coinbase_branch = vec![B256::repeat_byte(0x44)];
    let mut header = [0; 80];
    let root = merkle_fold(coinbase.txid(), &coinbase_branch, 0);
    for (to, from) in header.iter_mut().skip(36).zip(root) {
        *to = from;
    }
    let chain_index = i32::try_from(index).unwrap_or(0);
    AuxPow { coinbase, coinbase_branch, chain_branch, chain_index, parent: ParentHeader(header) }
}

fn auxpows() -> Vec<Seed> {
    let mut bare = proof(0, false);
    if let Some(input) = bare.coinbase.inputs.first_mut() {
        // Without the magic, which is the four bytes behind the three of the height.
        input.script.drain(3..7);
    }
    vec![
        ("valid", proof(0, false).encode()),
        ("valid_in_tree", proof(4, false).encode()),
        ("valid_in_output", proof(2, true).encode()),
        ("bare_root", bare.encode()),
        ("cut", proof(0, false).encode().into_iter().take(100).collect()),
    ]
}

fn with_witness(transaction: &Transaction) -> Vec<u8> {
    let plain = transaction.encode();
    let (head, lock_time) = plain.split_at(plain.len().saturating_sub(4));
    let (version, body) = head.split_at(4);
    [version, &[0, 1], body, &[1, 32], &[0; 32], lock_time].concat()
}

fn coinbases() -> Vec<Seed> {
    let coinbase = proof(0, true).coinbase;
    vec![
        ("valid", coinbase.encode()),
        ("witness", with_witness(&coinbase)),
        ("nothing", Transaction::default().encode()),
        ("long_count", [&[2, 0, 0, 0][..], &[0xfd, 1, 0], &[0; 48]].concat()),
    ]
}

fn bitcoin_blocks() -> Vec<Seed> {
    let proof = proof(0, false);
    let block = |coinbase: Vec<u8>| [&proof.parent.0[..], &[1], &coinbase].concat();
    vec![
        ("valid", block(proof.coinbase.encode())),
        ("witness", block(with_witness(&proof.coinbase))),
        ("no_transactions", [&proof.parent.0[..], &[0]].concat()),
        ("many_transactions", [&proof.parent.0[..], &[0xfe, 0xff, 0xff, 0xff, 0x7f]].concat()),
    ]
}

fn compact_bits() -> Vec<Seed> {
    let little = |bits: u32| bits.to_le_bytes().to_vec();
    vec![
        ("valid", little(0x1d00_ffff)),
        ("regtest", little(0x207f_ffff)),
        ("one", little(0x0101_0000)),
        ("negative", little(0x0492_3456)),
        ("overflow", little(0xff12_3456)),
        ("top_byte", little(0x2200_00ff)),
    ]
}

fn keystores() -> Vec<Seed> {
    let entropy = KeystoreEntropy { salt: [1; 32], iv: [2; 16], uuid: [3; 16] };
    let file = |cost: KdfCost| {
        let password = Password::new("a seed for fuzzing").ok();
        let file = secret(1)
            .zip(password)
            .and_then(|(key, password)| Keystore::encrypt(&key, &password, "m/12381/3600/0/0/0", cost, entropy).ok());
        file.map_or_else(Vec::new, |file| file.to_json().into_bytes())
    };
    vec![
        ("valid", file(KdfCost::Scrypt { n: 2, r: 8, p: 1 })),
        ("pbkdf2", file(KdfCost::Pbkdf2 { iterations: 1 })),
        ("nested", vec![b'['; 200]),
        ("empty", Vec::new()),
    ]
}

fn header(slot: u64) -> BlockHeader {
    BlockHeader {
        slot: Slot(slot),
        height: Height(slot),
        parent_root: B256::repeat_byte(1),
        epoch: Epoch(0),
        author_index: slot,
        execution_block_hash: B256::repeat_byte(2),
        state_root: B256::repeat_byte(3),
        body_root: B256::repeat_byte(4),
    }
}

fn approval(seed: u8) -> Approval {
    Approval {
        data: ApprovalData { block_root: B256::repeat_byte(seed), slot: Slot(9), epoch: Epoch(0) },
        member_index: 1,
        signature: SignatureBytes::from(signature(seed)),
    }
}

fn bits() -> BitVector<MaxMembers> {
    let mut bits = BitVector::new();
    for member in 0..3 {
        // Within the vector's length.
        let _ = bits.set(member, true);
    }
    bits
}

fn notarization() -> Notarization {
    Notarization {
        block_root: B256::repeat_byte(5),
        slot: Slot(8),
        epoch: Epoch(0),
        bitfield: bits(),
        aggregate_signature: SignatureBytes::from(signature(1)),
    }
}

fn evidence() -> Evidence {
    let signed = |slot| SignedHeader { header: header(slot), author_signature: SignatureBytes::from(signature(2)) };
    Evidence {
        proposals: list(vec![ProposalEquivocation { first: signed(1), second: signed(2) }]),
        votes: list(vec![VoteEquivocation { first: approval(1), second: approval(2) }]),
    }
}

fn record() -> AuxPowRecord {
    AuxPowRecord {
        bundle: AuxBundle {
            genesis_root: B256::repeat_byte(6),
            auxpow_chain_id: CHAIN_ID,
            bits: 0x207f_ffff,
            miner_address: Address::repeat_byte(7),
            template_slot: Slot(7),
            previous_auxpow_root: B256::ZERO,
            start_root: B256::repeat_byte(8),
            end_root: B256::repeat_byte(9),
            count: 3,
            blocks_root: B256::repeat_byte(10),
        },
        proof: list(proof(1, false).encode()),
    }
}

fn members() -> Vec<Member> {
    let member = |seed| Member {
        public_key: PublicKeyBytes::from(public_key(seed)),
        proof_of_possession: SignatureBytes::from(signature(seed)),
        fee_address: Address::repeat_byte(seed),
    };
    (1..=3).map(member).collect()
}

fn change() -> FederationChange {
    FederationChange {
        genesis_root: B256::repeat_byte(6),
        epoch: Epoch(1),
        members: list(members()),
        custody: alys_primitives::Optional::default(),
        bitfield: bits(),
        aggregate_signature: SignatureBytes::from(signature(3)),
    }
}

/// A change that names custodians, in form; nothing proves that anybody holds the key.
fn custody_change() -> FederationChange {
    let holder = PublicKeyBytes::repeat_byte(7);
    let offer = CustodyOffer { key: B256::repeat_byte(9), holder, proof: FixedBytes::repeat_byte(8) };
    let custody = OfferedCustody { offers: list(vec![offer]), threshold: 1 };
    FederationChange { custody: list(vec![custody]), ..change() }
}

fn spec() -> ChainSpec {
    ChainSpec {
        genesis_time: 1_700_000_000,
        slot_duration: 2,
        max_clock_drift: 500,
        forks: list(vec![Fork { activation_height: Height(0), fork_version: [0, 0, 0, 1].into() }]),
        members: list(members()),
        epoch_delay: 100,
        max_blocks_without_pow: 100,
        max_bundle_blocks: 200,
        min_finalization_depth: 2,
        miner_share: 8000,
        max_withdrawals: 256,
        auxpow: AuxPowSpec {
            chain_id: CHAIN_ID,
            spacing: 60,
            half_life: 3600,
            initial_bits: 0x207f_ffff,
            min_auxpow_work: U256::from(2u64),
            allow_output_commitment: true,
        },
        evm: EvmSpec {
            chain_id: 1,
            genesis_hash: B256::repeat_byte(11),
            genesis_prev_randao: B256::ZERO,
            genesis_file_hash: B256::repeat_byte(12),
            fee_recipient: Address::ZERO,
            genesis_allocation: U256::ZERO,
        },
        peg: VariableList::empty(),
    }
}

fn block() -> SignedBlock {
    let body = BlockBody {
        execution_requests: list(vec![list(vec![0, 1, 2])]),
        auxpow: list(vec![record()]),
        evidence: evidence(),
        federation_change: list(vec![change()]),
        ..BlockBody::default()
    };
    let withdrawal = Withdrawal { index: 1, validator_index: 0, address: Address::repeat_byte(1), amount: Gwei(10) };
    let payload = ExecutionPayload {
        block_number: 5,
        extra_data: list(b"alys".to_vec()),
        transactions: list(vec![list(vec![2, 0xc0])]),
        withdrawals: list(vec![withdrawal]),
        ..ExecutionPayload::default()
    };
    SignedBlock {
        header: header(5),
        body,
        payload,
        author_signature: SignatureBytes::from(signature(1)),
        parent_notarization: list(vec![notarization()]),
    }
}

/// An execution payload in the Engine API's JSON.
fn payload() -> Vec<u8> {
    let payload = alys_engine::wire::Payload::from_port(&block().payload, alys_engine::wire::PayloadVersion::V3);
    serde_json::to_vec(&payload).unwrap_or_default()
}

/// Signed with a fixed key.
fn sign<T: SignableTransaction<Signature>>(transaction: T) -> Option<Signed<T>> {
    let key = k256::ecdsa::SigningKey::from_slice(&[1; 32]).ok()?;
    let (signature, recovery) = key.sign_prehash_recoverable(transaction.signature_hash().as_slice()).ok()?;
    Some(transaction.into_signed(Signature::from((signature, recovery))))
}

/// A transaction of every type, one for another chain, and one without a signature.
fn transactions() -> Vec<Seed> {
    type Tx = EthereumTxEnvelope<TxEip4844>;
    let to = Address::repeat_byte(0xaa);
    let fee_market = |chain_id: u64| TxEip1559 {
        chain_id,
        gas_limit: 21_000,
        max_fee_per_gas: 2_000_000_000,
        to: TxKind::Call(to),
        value: U256::from(1),
        ..TxEip1559::default()
    };
    let legacy =
        TxLegacy { chain_id: Some(EVM_CHAIN_ID), gas_limit: 21_000, to: TxKind::Call(to), ..TxLegacy::default() };
    let listed = TxEip2930 { chain_id: EVM_CHAIN_ID, gas_limit: 30_000, to: TxKind::Create, ..TxEip2930::default() };
    let set_code = TxEip7702 { chain_id: EVM_CHAIN_ID, gas_limit: 60_000, to, ..TxEip7702::default() };
    let blob = TxEip4844 { chain_id: EVM_CHAIN_ID, gas_limit: 21_000, to, ..TxEip4844::default() };
    let unsigned = Signature::new(U256::ZERO, U256::ZERO, false);
    let made: [(&'static str, Option<Tx>); 7] = [
        ("valid", sign(fee_market(EVM_CHAIN_ID)).map(Tx::Eip1559)),
        ("legacy", sign(legacy).map(Tx::Legacy)),
        ("access_list", sign(listed).map(Tx::Eip2930)),
        ("set_code", sign(set_code).map(Tx::Eip7702)),
        ("blob", sign(blob).map(Tx::Eip4844)),
        ("other_chain", sign(fee_market(1)).map(Tx::Eip1559)),
        ("unsigned", Some(Tx::Eip1559(fee_market(EVM_CHAIN_ID).into_signed(unsigned)))),
    ];
    made.into_iter().map(|(name, tx)| (name, tx.map(|tx| tx.encoded_2718()).unwrap_or_default())).collect()
}
