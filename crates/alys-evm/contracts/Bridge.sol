// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity =0.8.37;

/// @title The peg-out door of an Alys chain.
/// @notice Turns the chain's coin back into a claim on bitcoin. The value of an accepted call stays in this contract
/// for ever: no code path sends it anywhere, so it has left the supply. The chain reads the log and derives the payment.
/// @dev Stands in genesis at 0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB without a constructor, so it must not depend on
/// storage or immutables. It has no owner, no upgrade path and no way to pause: pausing is the federation's record in the
/// chain, which holds payments back and never touches this contract.
/// What was burned is the sum of the logged amounts, not this contract's balance: value can be forced on any address (by
/// a withdrawal or a self-destructing contract) without a call, and such value asks for no payment.
contract Bridge {
    /// @notice One satoshi in wei: the coin has 18 decimals, bitcoin has 8.
    uint256 public constant WEI_PER_SATOSHI = 1e10;

    /// @notice Smallest request: 10,000 satoshis, well above the dust limit and the share of a batch's fee.
    uint256 public constant MIN_AMOUNT = 0.0001 ether;

    /// @notice Largest request: 100 bitcoins. Larger sums go out in several requests.
    uint256 public constant MAX_AMOUNT = 100 ether;

    /// @notice Fewest bytes of an address text: BIP-173 allows no segwit address shorter than 14.
    uint256 public constant MIN_ADDRESS_BYTES = 14;

    /// @notice Most bytes of an address text: the length limit of a bech32 string.
    uint256 public constant MAX_ADDRESS_BYTES = 90;

    /// @notice A peg-out was asked for and its value burned.
    /// @param sender The caller, to whom the chain refunds what it cannot pay.
    /// @param bitcoinAddress The Bitcoin address as text, exactly as given; the chain decides whether it can be paid.
    /// @param amount The burned value in wei, a multiple of `WEI_PER_SATOSHI`.
    event RequestPegOut(address indexed sender, bytes bitcoinAddress, uint256 amount);

    /// @notice The value (wei) is not a whole number of satoshis.
    error NotWholeSatoshis(uint256 amount);

    /// @notice The value (wei) is below the minimum (wei).
    error AmountTooSmall(uint256 amount, uint256 minimum);

    /// @notice The value (wei) is above the maximum (wei).
    error AmountTooLarge(uint256 amount, uint256 maximum);

    /// @notice The address text has this many bytes, outside the limits.
    error AddressLengthOutOfRange(uint256 length, uint256 minimum, uint256 maximum);

    /// @notice Burns the attached value and asks for as many satoshis, less the Bitcoin fee, at a Bitcoin address.
    /// @param bitcoinAddress The address as text (ASCII), 14 to 90 bytes.
    function requestPegOut(bytes calldata bitcoinAddress) external payable {
        if (msg.value < MIN_AMOUNT) revert AmountTooSmall(msg.value, MIN_AMOUNT);
        if (msg.value > MAX_AMOUNT) revert AmountTooLarge(msg.value, MAX_AMOUNT);
        if (msg.value % WEI_PER_SATOSHI != 0) revert NotWholeSatoshis(msg.value);
        uint256 length = bitcoinAddress.length;
        if (length < MIN_ADDRESS_BYTES || length > MAX_ADDRESS_BYTES) {
            revert AddressLengthOutOfRange(length, MIN_ADDRESS_BYTES, MAX_ADDRESS_BYTES);
        }
        emit RequestPegOut(msg.sender, bitcoinAddress, msg.value);
    }
}
