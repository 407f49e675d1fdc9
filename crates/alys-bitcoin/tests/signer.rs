//! The signer's own judgement, its memory, and the socket in front of it.
#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

use alys_bitcoin::signer::{
    JobCoin, JobRequest, JournalError, OwnSigner, Policy, PolicyRefusal, SignedPayments, SignerServer, SocketSigner,
};
use alys_bitcoin::{CustodyKey, PaymentJob, Signer as _, SignerError, SigningSession};
use alys_chain::peg::{Coin, Custody, Payee, Payment, derive_payment};
use alys_primitives::{B256, BitcoinCheckpoint, BitcoinHeaderBytes, CustodyKeys, PegSpec, Sats, VariableList};
use bitcoin::{Network, ScriptBuf};
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const NOW: u64 = 1_700_000_000;
const DAY: u64 = 24 * 60 * 60;

fn keys() -> Vec<CustodyKey> {
    (1..=3).map(|seed| CustodyKey::from_bytes(&[seed; 32]).unwrap()).collect()
}

fn custody() -> Custody {
    Custody::new(keys().iter().map(CustodyKey::public_key).collect(), 2).unwrap()
}

fn spec() -> PegSpec {
    PegSpec {
        network_magic: Network::Regtest.magic().to_bytes().into(),
        checkpoint: BitcoinCheckpoint {
            header: BitcoinHeaderBytes::default(),
            height: 0,
            period_time: 0,
            period_bits: 0,
            earlier_times: VariableList::empty(),
        },
        header_window: 288,
        confirmations: 6,
        min_pegin: Sats(10_000),
        max_pegins: 4,
        max_batch_requests: 8,
        min_fee_rate: 2_000,
        initial_fee_rate: 2_000,
        max_fee_rate: 50_000,
        bump_interval: 12,
        old_address_grace: 20,
        custody_keys: CustodyKeys::new(keys().iter().map(|key| key.public_key().serialize().into()).collect()).unwrap(),
        custody_threshold: 2,
        recovery: VariableList::empty(),
    }
}

fn policy(limit: Option<u64>) -> Policy {
    Policy::new(&spec(), vec![custody()], limit.map(Sats))
}

fn signer(limit: Option<u64>, signed: SignedPayments, now: u64) -> OwnSigner<impl Fn() -> u64 + Send> {
    OwnSigner::new(vec![keys().remove(0)], policy(limit), signed, move || now)
}

fn coin(byte: u8) -> JobCoin {
    JobCoin { txid: B256::repeat_byte(byte), vout: 1, value: 200_000 }
}

fn request(number: u64) -> JobRequest {
    let script = ScriptBuf::new_p2tr(&bitcoin::secp256k1::Secp256k1::new(), keys()[1].public_key(), None);
    JobRequest { block_root: B256::repeat_byte(0xb1), log_index: number, script, amount: 50_000 }
}

/// A job that names what follows from it.
fn job(coins: &[JobCoin], requests: &[JobRequest], fee_rate: u64) -> PaymentJob {
    let txid = payment(coins, requests, fee_rate).map_or(B256::ZERO, |payment| payment.txid());
    let (from, to) = (custody().script_pubkey().clone(), custody().script_pubkey().clone());
    PaymentJob { batch: 1, attempt: 0, fee_rate, from, to, coins: coins.to_vec(), requests: requests.to_vec(), txid }
}

fn payment(coins: &[JobCoin], requests: &[JobRequest], fee_rate: u64) -> Option<Payment> {
    let coins: Vec<Coin> = coins
        .iter()
        .map(|coin| Coin { txid: coin.txid, vout: coin.vout, value: Sats(coin.value), batch: 1, custody: 0 })
        .collect();
    let payees: Vec<Payee> =
        requests.iter().map(|request| Payee { script: request.script.clone(), amount: Sats(request.amount) }).collect();
    derive_payment(&custody(), &coins, &payees, fee_rate).ok()
}

fn refusal(result: Result<bitcoin::psbt::Psbt, SignerError>) -> PolicyRefusal {
    match result {
        Err(SignerError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_signature_counts_and_the_same_job_gives_it_again() {
    let mut signer = signer(None, SignedPayments::in_memory(), NOW);
    let first = job(&[coin(1)], &[request(1), request(2)], 2_000);
    let psbt = signer.sign_now(&first).unwrap();
    let derived = payment(&first.coins, &first.requests, 2_000).unwrap();
    let mut session = SigningSession::new(custody(), derived).unwrap();
    assert_eq!(session.add(&psbt), Ok(1));
    assert_eq!(signer.sign_now(&first).unwrap(), psbt);
    // The next attempt: the same coins and requests at a higher rate.
    signer.sign_now(&job(&first.coins, &first.requests, 3_000)).unwrap();
}

#[test]
fn what_was_not_derived_by_the_rules_is_refused() {
    let mut signer = signer(None, SignedPayments::in_memory(), NOW);
    let good = job(&[coin(1)], &[request(1)], 2_000);
    let mut other = good.clone();
    other.txid = B256::repeat_byte(9);
    let (derived, named) = (good.txid, other.txid);
    assert_eq!(refusal(signer.sign_now(&other)), PolicyRefusal::Differs { derived, named });
    for fee_rate in [1_999, 50_001, u64::MAX] {
        let (min, max) = (2_000, 50_000);
        let wrong = PaymentJob { fee_rate, ..good.clone() };
        assert_eq!(refusal(signer.sign_now(&wrong)), PolicyRefusal::FeeRate { found: fee_rate, min, max });
    }
    let mut to_us = good.clone();
    to_us.requests[0].script = custody().script_pubkey().clone();
    assert_eq!(refusal(signer.sign_now(&to_us)), PolicyRefusal::PaysFederation { position: 0 });
    let twice = PaymentJob { coins: vec![coin(1), coin(1)], ..good.clone() };
    assert_eq!(refusal(signer.sign_now(&twice)), PolicyRefusal::Malformed { what: "coins" });
    let twice = PaymentJob { requests: vec![request(1), request(1)], ..good.clone() };
    assert_eq!(refusal(signer.sign_now(&twice)), PolicyRefusal::Malformed { what: "requests" });
    let poor = PaymentJob { coins: Vec::new(), ..good.clone() };
    assert!(matches!(refusal(signer.sign_now(&poor)), PolicyRefusal::Derive(_)));
    // None of it was remembered.
    signer.sign_now(&good).unwrap();
}

#[test]
fn a_request_is_never_paid_from_other_coins_and_a_coin_never_pays_others() {
    let mut signer = signer(None, SignedPayments::in_memory(), NOW);
    signer.sign_now(&job(&[coin(1)], &[request(1)], 2_000)).unwrap();
    let again = job(&[coin(2)], &[request(1)], 2_000);
    let (block_root, log_index) = (B256::repeat_byte(0xb1), 1);
    assert_eq!(refusal(signer.sign_now(&again)), PolicyRefusal::OtherCoins { block_root, log_index });
    // With its old coin and another one both payments conflict, but nothing of the kind is ever derived.
    let more = job(&[coin(1), coin(2)], &[request(1)], 2_000);
    assert_eq!(refusal(signer.sign_now(&more)), PolicyRefusal::OtherCoins { block_root, log_index });
    let reused = job(&[coin(1)], &[request(2)], 2_000);
    assert_eq!(refusal(signer.sign_now(&reused)), PolicyRefusal::OtherRequests { txid: coin(1).txid, vout: 1 });
    signer.sign_now(&job(&[coin(2)], &[request(2)], 2_000)).unwrap();
}

#[test]
fn the_daily_limit_counts_first_signatures_of_a_day() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("signed");
    let open = || SignedPayments::open(&path).unwrap();
    signer(Some(100_000), open(), NOW).sign_now(&job(&[coin(1)], &[request(1), request(2)], 2_000)).unwrap();
    let next = job(&[coin(2)], &[request(3)], 2_000);
    let limit = PolicyRefusal::Limit { asked: 50_000, signed: 100_000, limit: 100_000 };
    assert_eq!(refusal(signer(Some(100_000), open(), NOW + DAY).sign_now(&next)), limit);
    // A further attempt at what was signed is no new money.
    let mut later = signer(Some(100_000), open(), NOW + 10);
    later.sign_now(&job(&[coin(1)], &[request(1), request(2)], 3_000)).unwrap();
    drop(later);
    signer(Some(100_000), open(), NOW + DAY + 1).sign_now(&next).unwrap();
}

#[test]
fn change_of_one_attempt_may_take_the_place_of_that_of_another_if_both_were_signed_here() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("signed");
    // What a payment's attempt at this fee rate brings back, and a request that is paid from it.
    let attempt = |fee_rate| job(&[coin(1)], &[request(1)], fee_rate);
    let change = |fee_rate| JobCoin { txid: attempt(fee_rate).txid, vout: 1, value: 150_000 };
    let other_coin = |error| matches!(error, PolicyRefusal::OtherCoins { .. });
    let open = || signer(None, SignedPayments::open(&path).unwrap(), NOW);
    let mut running = open();
    for fee_rate in [2_000, 3_000] {
        running.sign_now(&attempt(fee_rate)).unwrap();
    }
    let next = |coins: &[JobCoin]| job(coins, &[request(2)], 2_000);
    running.sign_now(&next(&[change(3_000), coin(2)])).unwrap();
    // One in the place of the other, before and after a restart; nothing else.
    running.sign_now(&next(&[change(2_000), coin(2)])).unwrap();
    drop(running);
    let mut running = open();
    running.sign_now(&next(&[change(2_000), coin(2)])).unwrap();
    for wrong in [vec![change(2_000)], vec![coin(2)], vec![change(2_000), coin(3)], vec![change(4_500), coin(2)]] {
        assert!(other_coin(refusal(running.sign_now(&next(&wrong)))), "{wrong:?}");
    }
    let otherwise = JobCoin { vout: 0, ..change(2_000) };
    assert!(other_coin(refusal(running.sign_now(&next(&[otherwise, coin(2)])))));
    // Nor does the coin pay somebody else because it has another name.
    for fee_rate in [2_000, 3_000] {
        let stolen = refusal(running.sign_now(&job(&[change(fee_rate)], &[request(3)], 2_000)));
        assert!(matches!(stolen, PolicyRefusal::OtherRequests { .. }), "{stolen}");
    }
    // Who has signed one of the attempts only can't know that they are attempts at one payment.
    let mut half = signer(None, SignedPayments::in_memory(), NOW);
    half.sign_now(&attempt(3_000)).unwrap();
    half.sign_now(&next(&[change(3_000), coin(2)])).unwrap();
    assert!(other_coin(refusal(half.sign_now(&next(&[change(2_000), coin(2)])))));
}

#[test]
fn the_record_survives_a_crash_and_a_damaged_one_signs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("signed");
    let first = job(&[coin(1)], &[request(1)], 2_000);
    let mut running = signer(None, SignedPayments::open(&path).unwrap(), NOW);
    running.sign_now(&first).unwrap();
    assert!(matches!(SignedPayments::open(&path), Err(JournalError::InUse { .. })));
    drop(running);
    // A line that was being written when the power went.
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"time\":17").unwrap();
    let mut running = signer(None, SignedPayments::open(&path).unwrap(), NOW);
    let again = job(&[coin(2)], &[request(1)], 2_000);
    assert!(matches!(refusal(running.sign_now(&again)), PolicyRefusal::OtherCoins { .. }));
    running.sign_now(&job(&[coin(2)], &[request(2)], 2_000)).unwrap();
    drop(running);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
    std::fs::write(&path, text.replacen("time", "tame", 1)).unwrap();
    assert!(matches!(SignedPayments::open(&path), Err(JournalError::Damaged { line: 1, .. })));
}

async fn serve(path: &Path) -> tokio::task::JoinHandle<std::convert::Infallible> {
    let server = SignerServer::bind(path).await.unwrap();
    tokio::spawn(server.run(signer(None, SignedPayments::in_memory(), NOW)))
}

#[tokio::test]
async fn a_signer_behind_a_socket_answers_jobs_and_survives_nonsense() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let mut client = SocketSigner::new(path.clone(), Duration::from_secs(5));
    let good = job(&[coin(1)], &[request(1)], 2_000);
    assert!(matches!(client.sign(&good).await, Err(SignerError::Unavailable { .. })), "nobody is there yet");
    let server = serve(&path).await;
    let taken = SignerServer::bind(&path).await.unwrap_err();
    assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);

    // A hash is no job; neither is a length without end, nor nothing.
    for bytes in [
        [&26u32.to_be_bytes()[..], b"{\"hash\":\"0101010101010101\"}"].concat(),
        u32::MAX.to_be_bytes().to_vec(),
        Vec::new(),
        vec![0, 0],
    ] {
        let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
        // It may hang up before everything is read.
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!String::from_utf8_lossy(&answer).contains("signed"), "{answer:?}");
    }
    let psbt = client.sign(&good).await.unwrap();
    assert_eq!(psbt, signer(None, SignedPayments::in_memory(), NOW).sign_now(&good).unwrap());
    let refused = client.sign(&job(&[coin(2)], &[request(1)], 2_000)).await.unwrap_err();
    assert!(matches!(&refused, SignerError::RefusedThere { reason } if reason.contains("other coins")), "{refused}");
    server.abort();
    drop(server.await);
    // What a killed process leaves is replaced.
    let server = serve(&path).await;
    client.sign(&good).await.unwrap();
    server.abort();
}
