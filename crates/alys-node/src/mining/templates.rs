//! The templates that miners work on: cached per payout address, bounded, submittable until superseded.

use alys_chain::AuxTemplate;
use alys_primitives::{Address, Root, TreeHash as _};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// Templates kept at once, over all payout addresses; the oldest go first.
pub const MAX_TEMPLATES: usize = 4096;

/// A payout's template is kept this long although its bundle could grow, so that miners are not restarted every slot.
pub const MIN_AGE: Duration = Duration::from_secs(5);

/// A template older than this is made anew although its bundle has not grown, so that its target eases.
pub const MAX_AGE: Duration = Duration::from_secs(30);

/// Where the chain stands, as far as templates are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frontier {
    /// Root of the last committed AuxPoW record; what the next bundle must name.
    pub previous_auxpow_root: Root,
    /// The newest block that a bundle could end with.
    pub end_root: Root,
    /// Whether a proof for the next bundle waits to be included: then new work would be lost.
    pub awaits_inclusion: bool,
}

/// A template that was handed out.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The mined hash: root of the bundle.
    pub hash: Root,
    /// What it commits to.
    pub template: AuxTemplate,
    issued_at: Instant,
}

/// All templates that can still be submitted.
#[derive(Debug, Default)]
pub struct TemplateBook {
    by_hash: BTreeMap<Root, Issued>,
    by_age: VecDeque<Root>,
    current: BTreeMap<Address, Root>,
}

impl TemplateBook {
    /// The template that `payout` should go on with, unless a fresh one is due.
    pub fn current(&self, payout: Address, frontier: &Frontier, now: Instant) -> Option<&Issued> {
        let issued = self.by_hash.get(self.current.get(&payout)?)?;
        let bundle = &issued.template.bundle;
        if bundle.previous_auxpow_root != frontier.previous_auxpow_root {
            return None;
        }
        let age = now.saturating_duration_since(issued.issued_at);
        let grown = bundle.end_root != frontier.end_root;
        let keep = frontier.awaits_inclusion || age < MIN_AGE || (!grown && age < MAX_AGE);
        keep.then_some(issued)
    }

    /// Records a template for its miner's payout address.
    pub fn issue(&mut self, template: AuxTemplate, now: Instant) -> Issued {
        let hash = template.bundle.tree_hash_root();
        let payout = template.bundle.miner_address;
        let issued = Issued { hash, template, issued_at: now };
        if self.by_hash.insert(hash, issued.clone()).is_none() {
            self.by_age.push_back(hash);
        }
        self.current.insert(payout, hash);
        while self.by_hash.len() > MAX_TEMPLATES {
            let Some(oldest) = self.by_age.pop_front() else { break };
            self.forget(oldest);
        }
        issued
    }

    /// A template by the hash that was mined on. Submitting does not consume it.
    pub fn find(&self, hash: Root) -> Option<&Issued> {
        self.by_hash.get(&hash)
    }

    /// Forgets the templates that do not extend `previous_auxpow_root`: their bundles are superseded.
    pub fn supersede(&mut self, previous_auxpow_root: Root) {
        let stale: Vec<Root> = self
            .by_hash
            .values()
            .filter(|issued| issued.template.bundle.previous_auxpow_root != previous_auxpow_root)
            .map(|issued| issued.hash)
            .collect();
        if !stale.is_empty() {
            stale.into_iter().for_each(|hash| self.forget(hash));
            self.by_age.retain(|hash| self.by_hash.contains_key(hash));
        }
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.by_hash.len()
    }

    /// True if none is kept.
    pub fn is_empty(&self) -> bool {
        self.by_hash.is_empty()
    }

    fn forget(&mut self, hash: Root) {
        if let Some(issued) = self.by_hash.remove(&hash) {
            let payout = issued.template.bundle.miner_address;
            if self.current.get(&payout) == Some(&hash) {
                self.current.remove(&payout);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alys_primitives::{AuxBundle, Gwei, Height, Slot};

    fn template(payout: u8, previous: u8, end: u8) -> AuxTemplate {
        AuxTemplate {
            bundle: AuxBundle {
                genesis_root: Root::ZERO,
                auxpow_chain_id: 1,
                bits: 0x207f_ffff,
                miner_address: Address::repeat_byte(payout),
                template_slot: Slot(9),
                previous_auxpow_root: Root::repeat_byte(previous),
                start_root: Root::repeat_byte(1),
                end_root: Root::repeat_byte(end),
                count: 1,
                blocks_root: Root::repeat_byte(3),
            },
            height: Height(9),
            reward: Gwei(0),
        }
    }

    fn frontier(previous: u8, end: u8) -> Frontier {
        Frontier {
            previous_auxpow_root: Root::repeat_byte(previous),
            end_root: Root::repeat_byte(end),
            awaits_inclusion: false,
        }
    }

    #[test]
    fn a_template_is_kept_until_its_bundle_has_grown_for_a_while() {
        let mut book = TemplateBook::default();
        let start = Instant::now();
        let payout = Address::repeat_byte(7);
        let hash = book.issue(template(7, 0, 5), start).hash;
        let current = |book: &TemplateBook, frontier: Frontier, after: Duration| {
            book.current(payout, &frontier, start + after).map(|issued| issued.hash)
        };
        assert_eq!(current(&book, frontier(0, 5), Duration::ZERO), Some(hash));
        assert_eq!(current(&book, frontier(0, 6), MIN_AGE / 2), Some(hash));
        assert_eq!(current(&book, frontier(0, 6), MIN_AGE), None);
        assert_eq!(current(&book, frontier(0, 5), MIN_AGE), Some(hash));
        assert_eq!(current(&book, frontier(0, 5), MAX_AGE), None);
        let waiting = Frontier { awaits_inclusion: true, ..frontier(0, 6) };
        assert_eq!(current(&book, waiting, MAX_AGE), Some(hash), "new work would be lost");
        assert_eq!(current(&book, frontier(1, 6), Duration::ZERO), None);
    }

    #[test]
    fn two_payouts_never_share_a_template() {
        let mut book = TemplateBook::default();
        let now = Instant::now();
        let first = book.issue(template(1, 0, 5), now).hash;
        let second = book.issue(template(2, 0, 5), now).hash;
        assert_ne!(first, second);
        let payout_of = |hash| book.find(hash).map(|issued| issued.template.bundle.miner_address);
        assert_eq!(payout_of(first), Some(Address::repeat_byte(1)));
        assert_eq!(payout_of(second), Some(Address::repeat_byte(2)));
    }

    #[test]
    fn older_templates_stay_until_superseded() {
        let mut book = TemplateBook::default();
        let now = Instant::now();
        let old = book.issue(template(1, 0, 5), now).hash;
        let grown = book.issue(template(1, 0, 6), now).hash;
        assert!(book.find(old).is_some() && book.find(grown).is_some());
        book.supersede(Root::repeat_byte(9));
        assert!(book.is_empty());
        assert!(book.find(old).is_none());
    }

    #[test]
    fn the_book_is_bounded() {
        let mut book = TemplateBook::default();
        let now = Instant::now();
        for count in 0..u64::try_from(MAX_TEMPLATES).unwrap() + 10 {
            let mut next = template(1, 0, 5);
            next.bundle.count = count;
            book.issue(next, now);
        }
        assert_eq!(book.len(), MAX_TEMPLATES);
        assert_eq!(book.by_age.len(), MAX_TEMPLATES);
        assert_eq!(book.current.len(), 1);
    }
}
