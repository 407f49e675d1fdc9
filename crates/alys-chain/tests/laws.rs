//! Laws of pure functions: payments, deposits, payload hashes, states.

#![allow(clippy::unwrap_used, reason = "tests may stop")]

use alys_chain::peg::{
    Coin, Custody, Payee, PaymentError, derive_payment, dust_limit, parse_deposit, parse_recipient, select_coins,
};
use alys_chain::testing::{Cluster, Fixture};
use alys_chain::{ChainState, PayloadShape, payload_hash};
use alys_primitives::{
    Address, B256, ExecutionPayload, ExecutionRequests, Gwei, Height, Root, Sats, TreeHash as _, U256, VariableList,
    Withdrawal,
    ssz::{Decode as _, Encode as _},
};
use bitcoin::{
    Amount, ScriptBuf, Transaction, TxOut, WPubkeyHash, XOnlyPublicKey,
    absolute::LockTime,
    hashes::Hash as _,
    key::{Keypair, Secp256k1},
    transaction::Version,
};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::LazyLock;

static CUSTODY: LazyLock<Custody> = LazyLock::new(|| {
    let secp = Secp256k1::new();
    let key =
        |seed: u8| -> XOnlyPublicKey { Keypair::from_seckey_slice(&secp, &[seed; 32]).unwrap().x_only_public_key().0 };
    Custody::new((1..=4).map(key).collect(), 3).unwrap()
});

fn coin(seed: (u8, u64)) -> Coin {
    Coin { txid: B256::repeat_byte(seed.0), vout: u32::from(seed.0) % 3, value: Sats(seed.1), batch: 0, custody: 0 }
}

fn coins() -> impl Strategy<Value = Vec<Coin>> {
    proptest::collection::btree_map(any::<u8>(), 1_000u64..5_000_000, 0..40)
        .prop_map(|coins| coins.into_iter().map(coin).collect())
}

fn payees() -> impl Strategy<Value = Vec<Payee>> {
    let payee = (any::<u8>(), 20_000u64..2_000_000).prop_map(|(seed, amount)| {
        let script = ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([seed; 20]));
        Payee { script, amount: Sats(amount) }
    });
    proptest::collection::vec(payee, 1..9)
}

fn total(coins: &[Coin]) -> u64 {
    coins.iter().map(|coin| coin.value.0).sum()
}

proptest! {
    #[test]
    fn coin_selection_depends_on_the_set_alone_and_takes_what_is_needed(
        coins in coins(), needed in 1u64..20_000_000, turn in any::<prop::sample::Index>(),
    ) {
        let chosen = select_coins(&coins, Sats(needed), &CUSTODY);
        let mut turned = coins.clone();
        if !turned.is_empty() {
            let by = turn.index(turned.len());
            turned.rotate_left(by);
        }
        prop_assert_eq!(&select_coins(&turned, Sats(needed), &CUSTODY), &chosen);
        match chosen {
            Ok(chosen) => {
                prop_assert!(total(&chosen) >= needed);
                let distinct: BTreeSet<_> = chosen.iter().map(|coin| (coin.txid, coin.vout)).collect();
                prop_assert_eq!(distinct.len(), chosen.len());
                prop_assert!(chosen.iter().all(|coin| coins.contains(coin)), "no coin is made up");
                prop_assert!(chosen.is_sorted_by_key(|coin| (coin.txid, coin.vout)));
                // Without its smallest coin it would not do, or would leave change too small to send.
                let smallest = chosen.iter().map(|coin| coin.value.0).min().unwrap();
                let rest = total(&chosen) - smallest;
                let dust = dust_limit(CUSTODY.script_pubkey()).0;
                prop_assert!(rest < needed || (rest > needed && rest - needed < dust));
                // No coin left out is greater than one taken.
                let left = coins.iter().filter(|coin| !chosen.contains(coin)).map(|coin| coin.value.0).max();
                prop_assert!(left.is_none_or(|left| left <= smallest));
            }
            Err(PaymentError::InsufficientCoins { available, .. }) => {
                prop_assert_eq!(available.0, total(&coins));
                prop_assert!(available.0 < needed);
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }

    #[test]
    fn payments_conserve_every_satoshi_and_fees_come_out_of_requests(
        coins in coins(), payees in payees(), fee_rate in 1_000u64..40_000,
    ) {
        let needed: u64 = payees.iter().map(|payee| payee.amount.0).sum();
        let Ok(chosen) = select_coins(&coins, Sats(needed), &CUSTODY) else { return Ok(()) };
        let payment = match derive_payment(&CUSTODY, &chosen, &payees, fee_rate) {
            Ok(payment) => payment,
            Err(PaymentError::Dust { position, amount, share }) => {
                let left = amount.0.saturating_sub(share.0);
                prop_assert!(left < dust_limit(&payees[position].script).0);
                return Ok(());
            }
            Err(other) => return Err(TestCaseError::fail(other.to_string())),
        };
        let outputs = &payment.transaction.output;
        let sent: u64 = outputs.iter().map(|output| output.value.to_sat()).sum();
        prop_assert_eq!(total(&chosen), sent + payment.fee.0);
        // Nobody bears more than one satoshi more than another, and the change bears nothing.
        let shares: Vec<u64> =
            payees.iter().zip(outputs).map(|(payee, output)| payee.amount.0 - output.value.to_sat()).collect();
        prop_assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
        prop_assert!(shares.is_sorted_by(|a, b| a >= b), "the first ones bear the odd satoshis");
        prop_assert_eq!(shares.iter().sum::<u64>() + payment.absorbed.0, payment.fee.0);
        let change: u64 = outputs[payees.len()..].iter().map(|output| output.value.to_sat()).sum();
        prop_assert_eq!(change, payment.change.0);
        prop_assert_eq!(payment.change.0 + payment.absorbed.0, total(&chosen) - needed);
        prop_assert!(payment.absorbed.0 < dust_limit(CUSTODY.script_pubkey()).0);
        // The rate is kept, rounded up.
        let asked = (payment.virtual_bytes * fee_rate).div_ceil(1_000);
        prop_assert_eq!(payment.fee.0, asked + payment.absorbed.0);
        // Derived again it is the same, and an attempt at a higher rate spends the same coins.
        prop_assert_eq!(derive_payment(&CUSTODY, &chosen, &payees, fee_rate), Ok(payment.clone()));
        if let Ok(bumped) = derive_payment(&CUSTODY, &chosen, &payees, fee_rate + fee_rate / 2) {
            prop_assert_eq!(&bumped.transaction.input, &payment.transaction.input);
            prop_assert!(bumped.fee > payment.fee && bumped.change == payment.change);
        }
    }

    #[test]
    fn an_address_reads_the_same_raw_and_as_text(raw: [u8; 20], prefix in 0usize..3, upper: bool) {
        let expected = Some(Address::from(raw));
        prop_assert_eq!(parse_recipient(&raw), expected);
        let digits: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
        let digits = if upper { digits.to_uppercase() } else { digits };
        let text = format!("{}{digits}", ["", "0x", "0X"][prefix]);
        prop_assert_eq!(parse_recipient(text.as_bytes()), expected);
        prop_assert_eq!(parse_recipient(&text.as_bytes()[1..]).is_some(), false);
    }

    #[test]
    fn a_deposit_is_the_sum_of_all_outputs_to_the_federation(
        values in proptest::collection::vec((any::<bool>(), 0u64..10_000_000), 0..8), recipient: [u8; 20],
    ) {
        let stranger = ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([7; 20]));
        let mut output: Vec<TxOut> = values
            .iter()
            .map(|(ours, sats)| TxOut {
                value: Amount::from_sat(*sats),
                script_pubkey: if *ours { CUSTODY.script_pubkey().clone() } else { stranger.clone() },
            })
            .collect();
        output.push(TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::new_op_return(recipient) });
        let transaction = Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input: vec![], output };
        let ours: Vec<u64> = values.iter().filter(|(ours, _)| *ours).map(|(_, sats)| *sats).collect();
        let deposit = parse_deposit(&transaction, |script| (script == CUSTODY.script_pubkey()).then_some(0), Sats(10_000));
        prop_assert_eq!(deposit.is_some(), !ours.is_empty());
        if let Some(deposit) = deposit {
            let sum: u64 = ours.iter().sum();
            prop_assert_eq!(deposit.amount, Sats(sum));
            prop_assert_eq!(deposit.outputs.iter().map(|output| output.value.0).sum::<u64>(), sum);
            prop_assert_eq!(deposit.recipient.is_ok(), sum >= 10_000);
            prop_assert!(deposit.recipient.is_err() || deposit.recipient == Ok(Address::from(recipient)));
        }
    }

    #[test]
    fn each_field_of_a_payload_has_its_part_in_the_hash(word in 1u64.., field in 0usize..13) {
        let payload = ExecutionPayload::default();
        let beacon = Root::repeat_byte(3);
        let none = VariableList::empty();
        let hash = |payload: &ExecutionPayload| payload_hash(payload, beacon, &none, PayloadShape::Prague);
        let mut other = payload.clone();
        let digest = B256::from(U256::from(word));
        match field {
            0 => other.parent_hash = digest,
            1 => other.fee_recipient = Address::from_word(digest),
            2 => other.state_root = digest,
            3 => other.receipts_root = digest,
            4 => other.logs_bloom.0[200..208].copy_from_slice(&word.to_le_bytes()),
            5 => other.prev_randao = digest,
            6 => other.block_number = word,
            7 => other.gas_limit = word,
            8 => other.gas_used = word,
            9 => other.timestamp = word,
            10 => other.extra_data = VariableList::new(word.to_le_bytes().to_vec()).unwrap(),
            11 => other.base_fee_per_gas = U256::from(word),
            _ => {
                let withdrawal =
                    Withdrawal { index: 0, validator_index: 3, address: Address::ZERO, amount: Gwei(word) };
                other.withdrawals = VariableList::new(vec![withdrawal]).unwrap();
            }
        }
        prop_assert_ne!(hash(&other), hash(&payload));
        prop_assert_ne!(payload_hash(&payload, digest, &none, PayloadShape::Prague), hash(&payload));
    }
}

#[test]
fn states_decode_to_what_was_encoded_and_their_roots_tell_them_apart() {
    let mut cluster = Cluster::new(Fixture::new(4));
    let mut roots = BTreeSet::new();
    for round in 0..5u64 {
        for node in &mut cluster.nodes {
            node.executor.next_fees = U256::from(round * 999_999_999_999u64);
        }
        cluster.run_slots(4);
        cluster.mine(0);
        let node = &cluster.nodes[0];
        for height in 1..=node.store.top().0 {
            let Some(state) = node.store.canonical(Height(height)).and_then(|root| node.chain.state(&root)) else {
                continue;
            };
            let again = ChainState::from_ssz_bytes(&state.as_ssz_bytes()).unwrap();
            assert_eq!(&again, state);
            assert_eq!((again.root(), again.tree_hash_root()), (state.root(), state.root()));
            roots.insert((state.root(), height));
        }
    }
    let distinct: BTreeSet<Root> = roots.iter().map(|(root, _)| *root).collect();
    assert_eq!((distinct.len(), roots.len() > 15), (roots.len(), true));
}

#[test]
fn requests_count_for_the_hash_if_they_say_anything_and_since_prague_only() {
    let (payload, digest) = (ExecutionPayload::default(), Root::repeat_byte(3));
    let requests = |requests: &[&[u8]]| {
        let requests = requests.iter().map(|bytes| VariableList::new(bytes.to_vec()).unwrap()).collect();
        ExecutionRequests::new(requests).unwrap()
    };
    let hash = |requests: &ExecutionRequests, shape| payload_hash(&payload, digest, requests, shape);
    let prague = |bytes: &[&[u8]]| hash(&requests(bytes), PayloadShape::Prague);
    // EIP-7685: a request of nothing but its type is left out.
    assert_eq!(prague(&[&[0], &[1]]), prague(&[]));
    assert_ne!(prague(&[&[0, 7]]), prague(&[]));
    assert_ne!(prague(&[&[0, 7], &[1, 8]]), prague(&[&[1, 8], &[0, 7]]));
    assert_eq!(prague(&[&[0], &[1, 8]]), prague(&[&[1, 8]]));
    for shape in [PayloadShape::Cancun, PayloadShape::Shanghai] {
        assert_eq!(hash(&requests(&[&[0, 7]]), shape), B256::ZERO, "no such block");
    }
}
