//! Burns: what the bridge contract logs (protocol section 7).
//!
//! Only logs of the bridge contract itself count, whoever called it, and only those of successful transactions: a
//! reverted one leaves no logs in its receipt. Any other contract can log the same event; such logs mean nothing.

use alloy_primitives::{Address, B256, U256, address, b256};
use alys_primitives::{AddressText, Burn, Burns};

/// Where the bridge contract stands on every chain.
pub const BRIDGE_ADDRESS: Address = address!("bBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB");

/// Topic of `RequestPegOut(address,bytes,uint256)`: the hash of that text.
pub const REQUEST_PEG_OUT: B256 = b256!("aa1c6070bc915de33c0fbc36ecf77b1e4fc1ebce832b2da62b6fe25f5a7dd5b0");

/// A log of a successful transaction, by its place in the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log<'a> {
    /// Index within the block, counted over all of its logs.
    pub index: u64,
    /// The contract that logged.
    pub address: Address,
    /// Topics.
    pub topics: &'a [B256],
    /// Data.
    pub data: &'a [u8],
}

/// The bridge contract's log is not what its code writes: whoever brought it can't be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("log {index} of the bridge contract is malformed: {what}")]
pub struct BurnError {
    /// The log's index in the block.
    pub index: u64,
    /// What is wrong.
    pub what: &'static str,
}

/// The burns among a block's logs, in their order.
///
/// # Errors
/// [`BurnError`] if the bridge contract's own log is malformed.
pub fn burns<'a>(logs: impl IntoIterator<Item = Log<'a>>) -> Result<Burns, BurnError> {
    let mut found = Vec::new();
    for log in logs.into_iter().filter(|log| log.address == BRIDGE_ADDRESS) {
        if log.topics.first() == Some(&REQUEST_PEG_OUT) {
            found.push(decode(&log).map_err(|what| BurnError { index: log.index, what })?);
        }
    }
    let index = found.last().map(|burn| burn.log_index).unwrap_or_default();
    Burns::new(found).map_err(|_| BurnError { index, what: "more burns than a block can hold" })
}

/// Decodes `(address indexed sender, bytes bitcoinAddress, uint256 amount)`.
fn decode(log: &Log<'_>) -> Result<Burn, &'static str> {
    let [_, sender] = log.topics else { return Err("not two topics") };
    if sender.get(..12) != Some(&[0; 12]) {
        return Err("the sender is no address");
    }
    let word = |index: usize| {
        let start = index.checked_mul(32).ok_or("too long")?;
        let bytes = log.data.get(start..).and_then(<[u8]>::first_chunk::<32>).ok_or("too short")?;
        Ok::<U256, &'static str>(U256::from_be_bytes(*bytes))
    };
    if word(0)? != U256::from(64u64) {
        return Err("the address text is elsewhere");
    }
    let amount = word(1)?;
    let length = usize::try_from(word(2)?).map_err(|_| "the address text is too long")?;
    let text = log.data.get(96..).and_then(|rest| rest.get(..length)).ok_or("the address text is cut short")?;
    let bitcoin_address = AddressText::new(text.to_vec()).map_err(|_| "the address text is too long")?;
    Ok(Burn { log_index: log.index, sender: Address::from_word(*sender), bitcoin_address, amount })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::keccak256;

    fn data(text: &[u8], amount: u64) -> Vec<u8> {
        let mut data = Vec::new();
        for word in [64, amount, text.len() as u64] {
            data.extend_from_slice(&U256::from(word).to_be_bytes::<32>());
        }
        data.extend_from_slice(text);
        data.resize(96 + text.len().div_ceil(32) * 32, 0);
        data
    }

    fn topics(sender: Address) -> [B256; 2] {
        [REQUEST_PEG_OUT, sender.into_word()]
    }

    #[test]
    fn the_topic_is_the_hash_of_the_signature() {
        assert_eq!(REQUEST_PEG_OUT, keccak256("RequestPegOut(address,bytes,uint256)"));
    }

    #[test]
    fn burns_come_in_order_and_from_the_bridge_only() {
        let sender = Address::repeat_byte(3);
        let (topics, other_event) = (topics(sender), [B256::repeat_byte(1), sender.into_word()]);
        let (first, second) = (data(b"bcrt1first-address", 20_000), data(&[b'x'; 90], 70));
        let log = |index, address, topics, data| Log { index, address, topics, data };
        let logs = [
            log(0, Address::repeat_byte(9), &topics[..], &first[..]),
            log(1, BRIDGE_ADDRESS, &topics, &first),
            log(2, BRIDGE_ADDRESS, &other_event, &first),
            log(3, BRIDGE_ADDRESS, &topics, &second),
        ];
        let found = burns(logs).unwrap();
        let seen: Vec<(u64, Address, &[u8], U256)> =
            found.iter().map(|burn| (burn.log_index, burn.sender, &burn.bitcoin_address[..], burn.amount)).collect();
        assert_eq!(
            seen,
            [(1, sender, &b"bcrt1first-address"[..], U256::from(20_000)), (3, sender, &[b'x'; 90][..], U256::from(70))]
        );
    }

    #[test]
    fn malformed_logs_of_the_bridge_are_errors_whatever_the_bytes() {
        let good = data(b"bcrt1first-address", 20_000);
        let topics = topics(Address::repeat_byte(3));
        let decode = |topics: &[B256], data: &[u8]| {
            burns([Log { index: 7, address: BRIDGE_ADDRESS, topics, data }]).map(|found| found.len())
        };
        assert_eq!(decode(&topics, &good), Ok(1));
        for cut in 0..96 + 18 {
            assert!(decode(&topics, &good[..cut]).is_err(), "{cut} bytes");
        }
        assert!(decode(&topics[..1], &good).is_err(), "no sender");
        assert!(decode(&[topics[0], B256::repeat_byte(1)], &good).is_err(), "a sender of 32 bytes");
        for (word, value) in [(0, 32u64), (2, u64::MAX), (2, 200)] {
            let mut bad = good.clone();
            bad[word * 32..word * 32 + 32].copy_from_slice(&U256::from(value).to_be_bytes::<32>());
            assert!(decode(&topics, &bad).is_err(), "word {word}");
        }
        let mut bad = good;
        bad[64] = 0xff;
        assert!(decode(&topics, &bad).is_err(), "a length beyond 64 bits");
    }
}
