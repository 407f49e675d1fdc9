//! S7: a chain that starts again from what it wrote is the chain that ran.

use super::{Check, Invariant, Truth};
use alys_chain::{Chain, testing::StoreModel};

#[derive(Debug, Default)]
pub(crate) struct Replay;

fn compare(node: usize, chain: &Chain, store: &StoreModel) -> Check {
    let stored = store.restored().state_root;
    if stored.is_some_and(|stored| stored != chain.state_root()) {
        return Err(format!("node {node}: the stored state root is not the chain's"));
    }
    Ok(())
}

impl Invariant for Replay {
    fn name(&self) -> &'static str {
        "S7 replay equals the run"
    }

    fn restarted(&mut self, _: &Truth, node: usize, chain: &Chain, store: &StoreModel) -> Check {
        compare(node, chain, store)
    }

    fn ended(&mut self, _: &Truth, node: usize, chain: &Chain, store: &StoreModel) -> Check {
        compare(node, chain, store)
    }
}
