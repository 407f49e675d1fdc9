//! Somebody with one Bitcoin key, who deposits.

use super::{Result, WALLET_FEE, World};
use alys_bitcoin::BitcoinPort as _;
use alys_primitives::Address;
use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash as _;
use bitcoin::key::Keypair;
use bitcoin::secp256k1::{Message, Secp256k1, SecretKey};
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::{
    Address as BitcoinAddress, Amount, CompressedPublicKey, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn,
    TxOut, Witness, ecdsa, transaction,
};

/// Somebody with one Bitcoin key.
pub struct BitcoinWallet {
    keypair: Keypair,
    coins: Vec<(OutPoint, u64)>,
}

impl BitcoinWallet {
    /// A wallet without coins.
    pub fn new(seed: u8) -> Result<Self> {
        let secret = SecretKey::from_slice(&[seed; 32])?;
        Ok(Self { keypair: Keypair::from_secret_key(&Secp256k1::new(), &secret), coins: Vec::new() })
    }

    fn key(&self) -> CompressedPublicKey {
        CompressedPublicKey(self.keypair.public_key())
    }

    /// What its coins pay to.
    pub fn script(&self) -> ScriptBuf {
        ScriptBuf::new_p2wpkh(&self.key().wpubkey_hash())
    }

    /// The same as an address.
    pub fn address(&self) -> BitcoinAddress {
        BitcoinAddress::p2wpkh(&self.key(), Network::Regtest)
    }

    /// Earns a block reward and splits it into `count` equal coins, all confirmed.
    pub async fn earn(&mut self, world: &World, count: u64) -> Result<()> {
        let coinbase = *world.mine(&self.script(), 1).await?.first().ok_or("no block")?;
        world.confirm(100).await?;
        let reward = 50 * 100_000_000;
        let each = (reward - 100 * WALLET_FEE) / count;
        let outputs = (0..count).map(|_| (each, self.script())).collect();
        let split = self.spend((OutPoint { txid: coinbase, vout: 0 }, reward), outputs)?;
        let txid = world.bitcoin.broadcast(split).await?;
        world.waits_for_a_block(txid).await?;
        world.confirm(1).await?;
        self.coins.extend((0u32..).zip(0..count).map(|(vout, _)| (OutPoint { txid, vout }, each)));
        Ok(())
    }

    /// A deposit of `sats` for `recipient` from one of the coins; what is over comes back, unnoticed by this wallet.
    pub fn deposit(&mut self, address: &str, sats: u64, recipient: Address) -> Result<Transaction> {
        let coin = self.coins.pop().ok_or("no coins left")?;
        let federation = address.parse::<BitcoinAddress<_>>()?.require_network(Network::Regtest)?;
        let rest = coin.1.checked_sub(sats + WALLET_FEE).ok_or("the coin is too small")?;
        let note = ScriptBuf::new_op_return(recipient.into_array());
        self.spend(coin, vec![(sats, federation.script_pubkey()), (0, note), (rest, self.script())])
    }

    fn spend(&self, coin: (OutPoint, u64), outputs: Vec<(u64, ScriptBuf)>) -> Result<Transaction> {
        let output = |(sats, script_pubkey)| TxOut { value: Amount::from_sat(sats), script_pubkey };
        let mut transaction = Transaction {
            version: transaction::Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn {
                previous_output: coin.0,
                script_sig: ScriptBuf::new(),
                sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
                witness: Witness::new(),
            }],
            output: outputs.into_iter().map(output).collect(),
        };
        let hash_type = EcdsaSighashType::All;
        let value = Amount::from_sat(coin.1);
        let hash = SighashCache::new(&transaction).p2wpkh_signature_hash(0, &self.script(), value, hash_type)?;
        let message = Message::from_digest(hash.to_byte_array());
        let signature = Secp256k1::new().sign_ecdsa(&message, &self.keypair.secret_key());
        let signature = ecdsa::Signature { signature, sighash_type: hash_type };
        if let Some(input) = transaction.input.first_mut() {
            input.witness = Witness::p2wpkh(&signature, &self.keypair.public_key());
        }
        Ok(transaction)
    }
}
