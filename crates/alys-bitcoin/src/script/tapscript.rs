//! The tapscript leaves that are known: keys that sign, and a relative lock.
//!
//! `<key> CHECKSIG`, or `<key> CHECKSIG (<key> CHECKSIGADD)* <k> NUMEQUAL` (miniscript's `multi_a`, the federation's
//! custody); either may end in `…VERIFY <n> CHECKSEQUENCEVERIFY` instead (`and_v(v:…,older(n))`, the recovery leaf).

use bitcoin::opcodes::all as op;
use bitcoin::script::Instruction;
use bitcoin::secp256k1::XOnlyPublicKey;
use bitcoin::{Script, Sequence, transaction};

/// The most keys of a leaf: more would not leave room on the stack (BIP-342).
pub const MAX_KEYS: usize = 999;
/// The bit of a sequence that says: no relative lock (BIP-68).
pub(crate) const SEQUENCE_DISABLE: u32 = 1 << 31;
/// The bit of a sequence that says: in units of 512 seconds, not in blocks (BIP-68).
pub(crate) const SEQUENCE_TIME: u32 = 1 << 22;
/// The bits of a sequence that hold the lock (BIP-68).
pub(crate) const SEQUENCE_VALUE: u32 = 0xffff;

/// Who must sign a leaf, and how long its coin must have lain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The keys, in order of the script.
    pub keys: Vec<XOnlyPublicKey>,
    /// Exactly how many must sign.
    pub required: usize,
    /// The operand of `CHECKSEQUENCEVERIFY`, if there is one.
    pub relative_lock: Option<u32>,
}

impl Policy {
    /// Reads a leaf; `None` when it is of another kind, or a key is malformed.
    pub fn parse(script: &Script) -> Option<Self> {
        // Two instructions a key, and at most four behind the keys.
        let limit = MAX_KEYS.checked_mul(2)?.checked_add(4)?;
        let instructions: Vec<Instruction<'_>> =
            script.instructions_minimal().take(limit.checked_add(1)?).collect::<Result<_, _>>().ok()?;
        if instructions.len() > limit {
            return None;
        }
        let (rest, relative_lock) = match instructions.as_slice() {
            [rest @ .., lock, Instruction::Op(op::OP_CSV)] => (rest, Some(relative_lock(lock)?)),
            rest => (rest, None),
        };
        let (single, threshold) = match relative_lock {
            None => (op::OP_CHECKSIG, op::OP_NUMEQUAL),
            Some(_) => (op::OP_CHECKSIGVERIFY, op::OP_NUMEQUALVERIFY),
        };
        if let [Instruction::PushBytes(key), Instruction::Op(code)] = rest {
            let key = XOnlyPublicKey::from_slice(key.as_bytes()).ok().filter(|_| *code == single)?;
            return Some(Self { keys: vec![key], required: 1, relative_lock });
        }
        let [pairs @ .., required, Instruction::Op(code)] = rest else { return None };
        let required = usize::try_from(required.script_num()?).ok().filter(|_| *code == threshold)?;
        let (pairs, odd) = pairs.as_chunks::<2>();
        if pairs.is_empty() || !odd.is_empty() {
            return None;
        }
        let keys = pairs.iter().enumerate().map(|(index, [key, code])| {
            let expected = if index == 0 { op::OP_CHECKSIG } else { op::OP_CHECKSIGADD };
            let bytes = key.push_bytes().filter(|_| code.opcode() == Some(expected))?;
            XOnlyPublicKey::from_slice(bytes.as_bytes()).ok()
        });
        let keys: Vec<XOnlyPublicKey> = keys.collect::<Option<_>>()?;
        (keys.len() <= MAX_KEYS && (1..=keys.len()).contains(&required)).then_some(Self {
            keys,
            required,
            relative_lock,
        })
    }
}

/// A lock that means something: not zero, which would leave "false" behind, and with only the bits of BIP-68.
fn relative_lock(instruction: &Instruction<'_>) -> Option<u32> {
    let lock = u32::try_from(instruction.script_num()?).ok()?;
    (lock != 0 && lock & !(SEQUENCE_TIME | SEQUENCE_VALUE) == 0).then_some(lock)
}

/// `CHECKSEQUENCEVERIFY` (BIP-112): whether an input's sequence locks it at least as long as the script asks.
pub fn honours(version: transaction::Version, sequence: Sequence, lock: u32) -> bool {
    let sequence = sequence.to_consensus_u32();
    relative_locks_apply(version)
        && sequence & SEQUENCE_DISABLE == 0
        && sequence & SEQUENCE_TIME == lock & SEQUENCE_TIME
        && lock & SEQUENCE_VALUE <= sequence & SEQUENCE_VALUE
}

/// Whether a transaction's version lets its sequences lock (BIP-68); versions count as unsigned there.
pub(crate) fn relative_locks_apply(version: transaction::Version) -> bool {
    !(0..2).contains(&version.0)
}
