//! What a Bitcoin transaction deposits, and for whom (protocol section 7).

use alys_primitives::{Address, Sats};
use bitcoin::{Script, Transaction, opcodes::all::OP_RETURN, script::Instruction};

/// Why a deposit mints nothing. Its coins are recorded all the same, so that nothing is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unclaimed {
    /// Less than the chain's minimum.
    TooSmall,
    /// No OP_RETURN output.
    NoRecipient,
    /// OP_RETURN outputs, none of which holds 20 raw bytes or their hex text.
    MalformedRecipient,
    /// Several OP_RETURN outputs that name different addresses.
    AmbiguousRecipient,
    /// Paid to the address of an earlier federation after its time. Its coins are no part of the books.
    LateAddress,
}

impl Unclaimed {
    /// The reason's number in records; zero is "credited".
    pub fn number(self) -> u64 {
        match self {
            Self::TooSmall => 1,
            Self::NoRecipient => 2,
            Self::MalformedRecipient => 3,
            Self::AmbiguousRecipient => 4,
            Self::LateAddress => 5,
        }
    }

    /// The reason with this number.
    pub fn from_number(number: u64) -> Option<Self> {
        let all =
            [Self::TooSmall, Self::NoRecipient, Self::MalformedRecipient, Self::AmbiguousRecipient, Self::LateAddress];
        all.into_iter().find(|reason| reason.number() == number)
    }

    /// A short name, for status answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::TooSmall => "too-small",
            Self::NoRecipient => "no-recipient",
            Self::MalformedRecipient => "malformed-recipient",
            Self::AmbiguousRecipient => "ambiguous-recipient",
            Self::LateAddress => "late-address",
        }
    }
}

/// An output that pays to the federation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DepositOutput {
    /// Its index.
    pub vout: u32,
    /// Its value.
    pub value: Sats,
    /// Number of the custody that it pays to.
    pub custody: u64,
}

/// What a transaction pays to the federation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deposit {
    /// The outputs that pay to the federation.
    pub outputs: Vec<DepositOutput>,
    /// Their sum: all of them count.
    pub amount: Sats,
    /// Who is credited, or why nobody is.
    pub recipient: Result<Address, Unclaimed>,
}

/// Reads a transaction; `None` if it pays nothing to the federation. `custody` gives the number of the custody that a script
/// belongs to.
pub fn parse_deposit(
    transaction: &Transaction,
    custody: impl Fn(&Script) -> Option<u64>,
    minimum: Sats,
) -> Option<Deposit> {
    let mut outputs = Vec::new();
    let mut amount = 0u64;
    for (index, output) in transaction.output.iter().enumerate() {
        if let Some(custody) = custody(&output.script_pubkey) {
            amount = amount.checked_add(output.value.to_sat())?;
            outputs.push(DepositOutput {
                vout: u32::try_from(index).ok()?,
                value: Sats(output.value.to_sat()),
                custody,
            });
        }
    }
    if outputs.is_empty() {
        return None;
    }
    let amount = Sats(amount);
    let recipient = recipient(transaction)
        .and_then(|address| if amount < minimum { Err(Unclaimed::TooSmall) } else { Ok(address) });
    Some(Deposit { outputs, amount, recipient })
}

/// The address that the OP_RETURN outputs name. Outputs that name none do not disturb one that does.
fn recipient(transaction: &Transaction) -> Result<Address, Unclaimed> {
    let mut any = false;
    let mut found: Option<Address> = None;
    for output in &transaction.output {
        if !output.script_pubkey.is_op_return() {
            continue;
        }
        any = true;
        let Some(address) = pushed(&output.script_pubkey).and_then(parse_recipient) else { continue };
        if found.is_some_and(|other| other != address) {
            return Err(Unclaimed::AmbiguousRecipient);
        }
        found = Some(address);
    }
    found.ok_or(if any { Unclaimed::MalformedRecipient } else { Unclaimed::NoRecipient })
}

/// The bytes of `OP_RETURN <push>` with nothing behind the push.
fn pushed(script: &Script) -> Option<&[u8]> {
    let mut instructions = script.instructions();
    let first = instructions.next()?.ok()?;
    let second = instructions.next()?.ok()?;
    match (first, second, instructions.next()) {
        (Instruction::Op(OP_RETURN), Instruction::PushBytes(bytes), None) => Some(bytes.as_bytes()),
        _ => None,
    }
}

/// An address as 20 raw bytes, or as 40 hex digits with or without `0x` in front. Length alone tells the two apart: 20
/// bytes are an address even when they happen to be text.
pub fn parse_recipient(bytes: &[u8]) -> Option<Address> {
    if let Ok(raw) = <[u8; 20]>::try_from(bytes) {
        return Some(Address::from(raw));
    }
    let digits = match bytes {
        [b'0', b'x' | b'X', digits @ ..] => digits,
        digits => digits,
    };
    let digits = <&[u8; 40]>::try_from(digits).ok()?;
    let mut raw = [0u8; 20];
    for (byte, pair) in raw.iter_mut().zip(digits.chunks(2)) {
        let [high, low] = pair else { return None };
        *byte = (nibble(*high)? << 4) | nibble(*low)?;
    }
    Some(Address::from(raw))
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}
