//! The call that burns coins for bitcoin.

use crate::evm_account::Call;
use alloy_primitives::{Bytes, U256, keccak256};
use alys_engine::BRIDGE_ADDRESS;
use alys_primitives::Sats;

/// The call of `requestPegOut(bytes)` that burns `amount` for a Bitcoin address.
pub fn withdrawal(bitcoin_address: &str, amount: Sats) -> Call {
    let text = bitcoin_address.as_bytes();
    let word = |value: usize| U256::from(value).to_be_bytes::<32>();
    let mut input = keccak256("requestPegOut(bytes)")[..4].to_vec();
    input.extend_from_slice(&word(32));
    input.extend_from_slice(&word(text.len()));
    input.extend_from_slice(text);
    input.resize(4 + 64 + text.len().div_ceil(32) * 32, 0);
    let value = U256::from(amount.0).saturating_mul(U256::from(10_000_000_000u64));
    Call { to: BRIDGE_ADDRESS, value, input: Bytes::from(input) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_call_is_laid_out_as_the_abi_wants() {
        let call = withdrawal("bcrt1qexample", Sats(20_000));
        assert_eq!(call.value, U256::from(200_000_000_000_000u64));
        assert_eq!(call.input.len(), 4 + 96);
        assert_eq!(&call.input[4 + 64..4 + 64 + 13], b"bcrt1qexample");
        assert_eq!(call.input[4 + 31], 32);
        assert_eq!(call.input[4 + 63], 13);
    }
}
