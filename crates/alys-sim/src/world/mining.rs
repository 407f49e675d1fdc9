//! Merged miners.

use super::{Event, World};
use crate::{
    Fault,
    machine::{Fact, Told},
    miner,
};
use alys_chain::{Message, testing::mine};
use alys_primitives::{Address, AuxPowRecord, TreeHash as _};

impl World {
    pub(super) fn mine(&mut self) {
        // Often while little time has passed; later as often as the difficulty aims at.
        let young = self.now - self.start < 600_000;
        let pause = if self.calm || young { (6_000, 22_000) } else { (40_000, 80_000) };
        let next = self.now + self.dice.between(pause.0, pause.1);
        self.at(next, Event::Mine);
        let up = self.up();
        let Some(node) = self.pick(&up) else { return };
        if self.no_miner {
            return;
        }
        let payout = Address::repeat_byte(u8::try_from(self.dice.between(1, 200)).unwrap_or(1));
        let Some(chain) = self.nodes[node].chain() else { return };
        let Ok(template) = chain.auxpow_template(payout, self.nodes[node].clock(self.now).wall()) else { return };
        self.salt += 1;
        if self.faults.has(Fault::LyingMiner) && self.dice.once_in(2) {
            let record = miner::wrong(template.bundle.clone(), &mut self.dice, self.salt);
            self.fire(Fault::LyingMiner);
            self.truth.forged_work.insert(record.tree_hash_root());
            self.submit(node, record);
            self.salt += 1;
        }
        if self.dice.once_in(4)
            && let Some(old) = self.records.last().cloned()
        {
            self.submit(node, old);
        }
        let record = mine(template.bundle, self.salt);
        self.records.push(record.clone());
        self.submit(node, record);
    }

    fn submit(&mut self, node: usize, record: AuxPowRecord) {
        let told = self.tell(node, Fact::Message { message: Message::AuxPow(record), peer: None });
        if told == Told::Refused {
            self.path("records refused");
        }
    }
}
