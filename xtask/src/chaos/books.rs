//! Every satoshi, counted from outside: what the accounts hold must be what the books say was minted and is not burned, less the
//! fees that wait to be minted again.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::failure::Failure;
use crate::federation::{Federation, Node, PAYOUT, call};

/// How long a question may take.
const ANSWER: Duration = Duration::from_secs(3);

/// How long until a node has answered everything from one block.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who receives the transfers of `alys-node load`.
const RECIPIENT: &str = "0x00000000000000000000000000000000000012ab";

/// Wei of a satoshi.
const WEI_PER_SAT: u128 = 10_000_000_000;

/// What was counted.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// Satoshis that the accounts of the chain hold.
    pub(super) sats: u128,
    pub(super) violations: Vec<String>,
}

/// Adds up every account that can hold anything on this chain, on each node, and compares the sum with the node's books.
pub(super) fn audit(federation: &Federation) -> Result<Counted, Failure> {
    let accounts = accounts(federation)?;
    let mut counted = Counted::default();
    let mut first: Option<Books> = None;
    for node in &federation.nodes {
        let Some((books, held)) = count(node, &accounts) else {
            counted.violations.push(format!("node {} does not answer what its accounts hold", node.index));
            continue;
        };
        if books.owed() != Some(held) {
            counted.violations.push(format!("node {}: its accounts hold {held} wei, {books:?}", node.index));
        }
        if books.imbalance != "0" {
            counted
                .violations
                .push(format!("node {}: its peg's books are off by {} sats", node.index, books.imbalance));
        }
        counted.sats = held / WEI_PER_SAT;
        // What was minted and burned never changes while nobody deposits or burns.
        let known = first.get_or_insert_with(|| books.clone());
        if (known.supply, &known.imbalance) != (books.supply, &books.imbalance) {
            counted.violations.push(format!("node {} has {books:?}, another one {known:?}", node.index));
        }
    }
    Ok(counted)
}

/// A node's books, in wei, and their imbalance in satoshis.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Books {
    supply: u128,
    pending: u128,
    carried: u128,
    imbalance: String,
}

impl Books {
    fn of(answer: &Value) -> Option<Self> {
        Some(Self {
            supply: wei(&answer["supplyWei"])?,
            pending: wei(&answer["feesPendingWei"])?,
            carried: wei(&answer["feesCarriedWei"])?,
            imbalance: answer["imbalanceSats"].as_str()?.to_owned(),
        })
    }

    /// What accounts must hold, the one that collects fees left out.
    fn owed(&self) -> Option<u128> {
        self.supply.checked_sub(self.pending)?.checked_sub(self.carried)
    }
}

/// A node's books and the sum of its accounts, of one and the same block.
fn count(node: &Node, accounts: &BTreeSet<String>) -> Option<(Books, u128)> {
    let deadline = Instant::now() + PATIENCE;
    let head = || call(node.rpc, "alys_status", &json!([]), ANSWER).map(|status| status["head"]["root"].clone());
    while Instant::now() < deadline {
        let before = head();
        let books = call(node.rpc, "alys_supply", &json!([]), ANSWER).as_ref().and_then(Books::of);
        let balances = accounts.iter().map(|account| {
            call(node.rpc, "eth_getBalance", &json!([account, "latest"]), ANSWER).as_ref().and_then(wei)
        });
        let held = balances.sum::<Option<u128>>();
        if let (Some(books), Some(held)) = (books, held)
            && before.is_some()
            && before == head()
        {
            return Some((books, held));
        }
        thread::sleep(Duration::from_millis(200));
    }
    None
}

/// Who can hold anything: genesis, the load's recipient, the miner and the members. Fees are paid to an address that nobody
/// has, and minted again to miner and members: it is left out.
fn accounts(federation: &Federation) -> Result<BTreeSet<String>, Failure> {
    let read = |name: &str| {
        let path = federation.folder.join("chain").join(name);
        let text = fs::read_to_string(&path).map_err(|error| Failure::file("read", &path, &error))?;
        serde_json::from_str::<Value>(&text).map_err(|error| Failure::work(format!("{name} is no JSON")).because(error))
    };
    let (spec, genesis) = (read("chain.json")?, read("genesis.json")?);
    let mut found: BTreeSet<String> = [RECIPIENT, PAYOUT].map(str::to_lowercase).into();
    let allocated = genesis["alloc"].as_object().into_iter().flat_map(|alloc| alloc.keys());
    found.extend(allocated.map(|address| format!("0x{}", address.trim_start_matches("0x").to_lowercase())));
    let members = spec["members"].as_array().into_iter().flatten();
    found.extend(members.filter_map(|member| member["fee_address"].as_str()).map(str::to_lowercase));
    if let Some(sink) = spec["evm"]["fee_recipient"].as_str() {
        found.remove(&sink.to_lowercase());
    }
    Ok(found)
}

fn wei(value: &Value) -> Option<u128> {
    u128::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_owed_is_the_supply_without_fees_on_their_way() {
        let answer = json!({
            "supplyWei": "0x64", "feesPendingWei": "0xa", "feesCarriedWei": "0x1", "imbalanceSats": "0",
        });
        let books = Books::of(&answer);
        assert_eq!(books.as_ref().and_then(Books::owed), Some(89));
        assert_eq!(books.and_then(|books| Books { pending: 200, ..books }.owed()), None);
        assert_eq!(Books::of(&json!({ "supplyWei": "0x64" })), None);
        assert_eq!(wei(&json!("0x")), None);
    }
}
