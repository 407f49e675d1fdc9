//! The coins that are spent: named and looked up, named with their amounts, or looked for in blocks.

use super::refused;
use crate::cli::failure::Failure;
use alys_bitcoin::{BitcoinPort, RecoveryError, RecoverySpend};
use alys_chain::peg::{Custody, MAX_INPUTS};
use bitcoin::{Amount, OutPoint, Script, TxOut};
use std::collections::BTreeMap;
use std::str::FromStr;

/// A coin as it is named on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NamedCoin {
    coin: OutPoint,
    sats: Option<u64>,
}

/// What is no coin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is no coin: TXID:VOUT or TXID:VOUT=SATS")]
pub(super) struct NoCoin {
    text: String,
}

impl FromStr for NamedCoin {
    type Err = NoCoin;

    fn from_str(text: &str) -> Result<Self, NoCoin> {
        let bad = || NoCoin { text: text.to_owned() };
        let (coin, sats) = match text.split_once('=') {
            Some((coin, sats)) => {
                let is_money = |sats: &u64| (1..=Amount::MAX_MONEY.to_sat()).contains(sats);
                (coin, Some(sats.parse().ok().filter(is_money).ok_or_else(bad)?))
            }
            None => (text, None),
        };
        Ok(Self { coin: coin.parse().map_err(|_| bad())?, sats })
    }
}

/// A coin and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FoundCoin {
    pub(super) coin: OutPoint,
    pub(super) output: TxOut,
}

/// Coins with the amounts that their owner gives, of one custody.
pub(super) fn believe(
    named: &[NamedCoin],
    custodies: &[Custody],
    number: Option<usize>,
) -> Result<Vec<FoundCoin>, Failure> {
    let newest = custodies.len().saturating_sub(1);
    let number = number.unwrap_or(newest);
    let custody = custodies.get(number).ok_or_else(|| {
        Failure::usage(format!("there is no custody {number}, the newest is {newest}"))
            .help("`--change` names the records of all changes since genesis")
    })?;
    let coin = |named: &NamedCoin| {
        let sats = named.sats.ok_or_else(|| {
            Failure::usage(format!("nobody says what coin {} holds", named.coin))
                .help("TXID:VOUT=SATS, or `--bitcoin-url` to ask a Bitcoin")
        })?;
        Ok(FoundCoin { coin: named.coin, output: custody.output(Amount::from_sat(sats)) })
    };
    named.iter().map(coin).collect()
}

/// Coins as Bitcoin has them.
pub(super) async fn look_up<B: BitcoinPort>(bitcoin: &B, named: &[NamedCoin]) -> Result<Vec<FoundCoin>, Failure> {
    let mut coins = Vec::new();
    for NamedCoin { coin, sats } in named {
        let (_, output) = confirmed(bitcoin, coin).await?;
        let found = output.value.to_sat();
        if let Some(given) = sats.filter(|given| *given != found) {
            return Err(Failure::work(format!("coin {coin} holds {found} satoshis, not {given}"))
                .help("leave the amount out, or is it another coin?"));
        }
        coins.push(FoundCoin { coin: *coin, output });
    }
    Ok(coins)
}

/// The coins of these custodies in the blocks from a height on which nobody has spent there: the greatest that are old
/// enough, as many as one transaction may spend.
pub(super) async fn scan<B: BitcoinPort>(
    bitcoin: &B,
    custodies: &[Custody],
    from: u32,
) -> Result<Vec<FoundCoin>, Failure> {
    let is_ours = |script: &Script| custodies.iter().any(|custody| custody.script_pubkey() == script);
    let mut coins: BTreeMap<OutPoint, (u32, TxOut)> = BTreeMap::new();
    let tip = bitcoin.best_block().await.map_err(Failure::work)?.height;
    for height in from..=tip {
        let gone = || Failure::work(format!("block {height} is not kept by this Bitcoin, or has just been replaced"));
        let placed = bitcoin.header_at(height).await.map_err(Failure::work)?.ok_or_else(gone)?;
        let block = bitcoin.block(placed.hash).await.map_err(Failure::work)?.ok_or_else(gone)?;
        for transaction in &block.txdata {
            for input in &transaction.input {
                coins.remove(&input.previous_output);
            }
            let txid = transaction.compute_txid();
            let outputs = (0u32..).zip(&transaction.output).filter(|(_, output)| is_ours(&output.script_pubkey));
            coins.extend(outputs.map(|(vout, output)| (OutPoint { txid, vout }, (height, output.clone()))));
        }
    }
    if coins.is_empty() {
        return Err(Failure::work(format!("the blocks from {from} to {tip} hold no coins of this chain"))
            .help("begin at the height of the chain's first deposit; later custodians need `--change`"));
    }
    let blocks = custodies.first().and_then(Custody::recovery).map_or(0, |leaf| u32::from(leaf.blocks()));
    let next = tip.saturating_add(1);
    let first_of = |height: u32| height.saturating_add(blocks);
    let oldest = coins.iter().min_by_key(|(_, (height, _))| *height).map(|(coin, (height, _))| (*coin, *height));
    let mut ready: Vec<FoundCoin> = coins
        .into_iter()
        .filter(|(_, (height, _))| first_of(*height) <= next)
        .map(|(coin, (_, output))| FoundCoin { coin, output })
        .collect();
    if let (true, Some((coin, height))) = (ready.is_empty(), oldest) {
        let first = first_of(height);
        return Err(refused(RecoveryError::TooEarly { coin, first, missing: first.saturating_sub(next) }));
    }
    ready.sort_by_key(|found| (std::cmp::Reverse(found.output.value), found.coin));
    ready.truncate(MAX_INPUTS);
    Ok(ready)
}

/// Why a spend can't be sent now.
#[derive(Debug)]
pub(super) enum AgeError {
    /// The leaf's lock.
    Recovery(RecoveryError),
    /// Bitcoin knows something else, or does not answer.
    Bitcoin(Failure),
}

impl From<AgeError> for Failure {
    fn from(error: AgeError) -> Self {
        match error {
            AgeError::Recovery(error) => refused(error),
            AgeError::Bitcoin(failure) => failure,
        }
    }
}

/// Whether all coins of a spend are what it says, and have lain for long enough.
pub(super) async fn check_age<B: BitcoinPort>(bitcoin: &B, spend: &RecoverySpend) -> Result<(), AgeError> {
    let mut heights = Vec::new();
    for (coin, claimed) in spend.coins() {
        let (height, output) = confirmed(bitcoin, &coin).await.map_err(AgeError::Bitcoin)?;
        if output != *claimed {
            let (found, given) = (output.value.to_sat(), claimed.value.to_sat());
            let what = format!("coin {coin} holds {found} satoshis, the PSBT says {given}, or is another custody's");
            return Err(AgeError::Bitcoin(Failure::work(what).help("prepare it anew")));
        }
        heights.push(height);
    }
    let tip = bitcoin.best_block().await.map_err(|error| AgeError::Bitcoin(Failure::work(error)))?.height;
    spend.check_age(&heights, tip).map_err(AgeError::Recovery)
}

/// Where a coin is confirmed, and what it is.
async fn confirmed<B: BitcoinPort>(bitcoin: &B, coin: &OutPoint) -> Result<(u32, TxOut), Failure> {
    let found = bitcoin.find_transaction(coin.txid).await.map_err(Failure::work)?;
    let found = found.ok_or_else(|| {
        Failure::work(format!("no block of this Bitcoin's best chain holds transaction {}", coin.txid))
            .help("a Bitcoin Core needs -txindex=1 to find it")
    })?;
    let output = usize::try_from(coin.vout).ok().and_then(|vout| found.transaction.output.get(vout).cloned());
    let output =
        output.ok_or_else(|| Failure::work(format!("transaction {} has no output {}", coin.txid, coin.vout)))?;
    Ok((found.block.height, output))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coin_is_named_by_its_outpoint_with_or_without_an_amount() {
        let txid = "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b";
        let coin: NamedCoin = format!("{txid}:7").parse().unwrap();
        assert_eq!((coin.coin.vout, coin.sats), (7, None));
        let coin: NamedCoin = format!("{txid}:0=5000").parse().unwrap();
        assert_eq!((coin.coin.txid.to_string(), coin.sats), (txid.to_owned(), Some(5_000)));
        for bad in ["", ":", "1:1", txid, &format!("{txid}:-1"), &format!("{txid}:1=")] {
            assert!(bad.parse::<NamedCoin>().is_err(), "{bad}");
        }
        for bad in ["0", "-5", "2100000000000001", "1.5", "5 sats", "18446744073709551616"] {
            let text = format!("{txid}:1={bad}");
            assert_eq!(text.parse::<NamedCoin>(), Err(NoCoin { text: text.clone() }));
        }
    }
}
