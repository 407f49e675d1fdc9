//! Miners, honest and not.

use crate::dice::Dice;
use alys_chain::testing::mine;
use alys_primitives::{Address, AuxBundle, AuxPowRecord, Root, VariableList};

/// A record whose proof is wrong in a way of the dice's. Never one that a right proof could look like.
pub(crate) fn wrong(bundle: AuxBundle, dice: &mut Dice, salt: u32) -> AuxPowRecord {
    match dice.below(6) {
        // Someone else's work, paid to us.
        0 => {
            let mut record = mine(bundle, salt);
            record.bundle.miner_address = Address::repeat_byte(0xee);
            record
        }
        // Work for another range.
        1 => {
            let mut record = mine(bundle, salt);
            record.bundle.count += 1;
            record
        }
        // Less work than asked for.
        2 => {
            let mut record = mine(bundle, salt);
            record.bundle.bits = 0x207f_ffff;
            record.bundle.miner_address = Address::repeat_byte(0xef);
            record
        }
        // Bytes that are no proof.
        3 => {
            let mut record = mine(bundle, salt);
            let mut bytes = record.proof.to_vec();
            bytes.truncate(bytes.len() / 2);
            record.proof = VariableList::new(bytes).unwrap_or_else(|_| VariableList::empty());
            record
        }
        // A predecessor that never was.
        4 => mine(AuxBundle { previous_auxpow_root: Root::repeat_byte(0x55), ..bundle }, salt),
        // A range that ends with nobody's block.
        _ => mine(AuxBundle { end_root: Root::repeat_byte(0x44), ..bundle }, salt),
    }
}
