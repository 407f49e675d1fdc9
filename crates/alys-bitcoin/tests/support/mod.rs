//! What the tests of this crate share: chains with coins, and transactions that spend them.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use alys_bitcoin::template::{BlockTemplate, grind};
use alys_bitcoin::{Regtest, RegtestLimits, Submitted};
use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash as _;
use bitcoin::key::TapTweak as _;
use bitcoin::opcodes::all::OP_PUSHNUM_1;
use bitcoin::script::Builder;
use bitcoin::secp256k1::{All, Keypair, Message, Secp256k1, SecretKey};
use bitcoin::sighash::{EcdsaSighashType, Prevouts, SighashCache, TapSighashType};
use bitcoin::{
    Amount, Block, CompressedPublicKey, OutPoint, PublicKey, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness,
    ecdsa, taproot, transaction,
};

/// Noon of some day, later than regtest's genesis.
pub const NOW: u32 = 1_700_000_000;

pub fn secp() -> Secp256k1<All> {
    Secp256k1::new()
}

pub fn keypair(seed: u8) -> Keypair {
    Keypair::from_secret_key(&secp(), &SecretKey::from_slice(&[seed; 32]).unwrap())
}

pub fn public_key(seed: u8) -> PublicKey {
    PublicKey::new(keypair(seed).public_key())
}

/// Anyone can spend it, with nothing.
pub fn op_true() -> ScriptBuf {
    Builder::new().push_opcode(OP_PUSHNUM_1).into_script()
}

pub fn p2wpkh(seed: u8) -> ScriptBuf {
    ScriptBuf::new_p2wpkh(&CompressedPublicKey(keypair(seed).public_key()).wpubkey_hash())
}

pub fn p2tr(seed: u8) -> ScriptBuf {
    ScriptBuf::new_p2tr(&secp(), keypair(seed).x_only_public_key().0, None)
}

pub fn sats(sats: u64) -> Amount {
    Amount::from_sat(sats)
}

/// A chain on which the coinbases of the first `count` blocks pay to `script` and can be spent.
pub fn funded(script: &ScriptBuf, count: u32) -> (Regtest, Vec<OutPoint>) {
    funded_within(RegtestLimits::default(), script, count)
}

pub fn funded_within(limits: RegtestLimits, script: &ScriptBuf, count: u32) -> (Regtest, Vec<OutPoint>) {
    let mut regtest = Regtest::new(limits);
    let points = (0..count).map(|_| {
        let block = regtest.generate(script, NOW).unwrap();
        OutPoint { txid: block.txdata[0].compute_txid(), vout: 0 }
    });
    let points: Vec<OutPoint> = points.collect();
    regtest.generate_to(&p2wpkh(99), 100, NOW).unwrap();
    (regtest, points)
}

/// A transaction without signatures.
pub fn pay(points: &[OutPoint], outputs: &[(u64, ScriptBuf)]) -> Transaction {
    Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: points
            .iter()
            .map(|point| TxIn {
                previous_output: *point,
                script_sig: ScriptBuf::new(),
                sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
                witness: Witness::new(),
            })
            .collect(),
        output: outputs
            .iter()
            .map(|(value, script)| TxOut { value: sats(*value), script_pubkey: script.clone() })
            .collect(),
    }
}

pub fn point(transaction: &Transaction, vout: u32) -> OutPoint {
    OutPoint { txid: transaction.compute_txid(), vout }
}

pub fn ecdsa_bytes(digest: [u8; 32], seed: u8, hash_type: EcdsaSighashType) -> Vec<u8> {
    let signature = secp().sign_ecdsa(&Message::from_digest(digest), &keypair(seed).secret_key());
    ecdsa::Signature { signature, sighash_type: hash_type }.to_vec()
}

/// Signs an input that spends [`p2wpkh`].
pub fn sign_p2wpkh(transaction: &mut Transaction, input: usize, value: u64, seed: u8) {
    let hash_type = EcdsaSighashType::All;
    let hash =
        SighashCache::new(&*transaction).p2wpkh_signature_hash(input, &p2wpkh(seed), sats(value), hash_type).unwrap();
    let signature = ecdsa_bytes(hash.to_byte_array(), seed, hash_type);
    let key = keypair(seed).public_key().serialize();
    transaction.input[input].witness = Witness::from_slice(&[signature, key.to_vec()]);
}

/// Signs an input that spends [`p2tr`] by its key.
pub fn sign_p2tr(transaction: &mut Transaction, input: usize, spent: &[TxOut], seed: u8, hash_type: TapSighashType) {
    let hash = SighashCache::new(&*transaction)
        .taproot_key_spend_signature_hash(input, &Prevouts::All(spent), hash_type)
        .unwrap();
    let tweaked = keypair(seed).tap_tweak(&secp(), None).to_keypair();
    let signature = secp().sign_schnorr_no_aux_rand(&Message::from_digest(hash.to_byte_array()), &tweaked);
    let signature = taproot::Signature { signature, sighash_type: hash_type };
    transaction.input[input].witness = Witness::p2tr_key_spend(&signature);
}

/// Solves a template whose transactions are replaced by the given ones.
pub fn solve(template: &BlockTemplate, transactions: Vec<Transaction>, payout: &ScriptBuf) -> Block {
    let mut template = template.clone();
    template.transactions = transactions
        .into_iter()
        .map(|transaction| alys_bitcoin::TemplateTransaction {
            txid: transaction.compute_txid(),
            transaction,
            fee: Amount::ZERO,
        })
        .collect();
    let coinbase = template.coinbase(payout, &[]).unwrap();
    let header = template.header(&coinbase);
    resolve(template.block(header, coinbase))
}

/// Sets the Merkle root anew and finds a nonce again, after a block was changed.
pub fn resolve(mut block: Block) -> Block {
    block.header.merkle_root = block.compute_merkle_root().unwrap();
    block.header.nonce = 0;
    while grind(&mut block.header, 1_000).unwrap().is_none() {}
    block
}

/// Builds a branch of empty blocks on any kept block and offers them in order.
pub fn fork(regtest: &mut Regtest, from: bitcoin::BlockHash, length: usize, tag: u8) -> (Vec<Block>, Vec<Submitted>) {
    let mut parent = from;
    let (mut blocks, mut results) = (Vec::new(), Vec::new());
    for _ in 0..length {
        let template = regtest.template_on(&parent, NOW + u32::from(tag)).unwrap();
        let block = solve(&template, Vec::new(), &p2wpkh(tag));
        parent = block.block_hash();
        results.push(regtest.submit(block.clone(), NOW + u32::from(tag)).unwrap());
        blocks.push(block);
    }
    (blocks, results)
}
