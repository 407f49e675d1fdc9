//! `engine_getPayloadBodies`.

use super::EngineApi;
use super::error::ApiError;
use crate::FullBlock;
use crate::rpc::args::Args;
use alloy_eips::Encodable2718 as _;
use alloy_primitives::{B256, U64};
use alys_engine::wire::{Body, Withdrawal};

/// The most bodies of one answer.
const MAX_BODIES: u64 = 1024;

/// The most bytes of transactions in one answer; what comes after is left to the next request.
const MAX_BYTES: usize = 32 << 20;

fn body(block: FullBlock) -> Body {
    let transactions = block.body.transactions.iter().map(|transaction| transaction.encoded_2718().into()).collect();
    let withdrawals = block.body.withdrawals.map(|withdrawals| {
        withdrawals
            .iter()
            .map(|withdrawal| Withdrawal {
                index: U64::from(withdrawal.index),
                validator_index: U64::from(withdrawal.validator_index),
                address: withdrawal.address,
                amount: U64::from(withdrawal.amount),
            })
            .collect()
    });
    Body { transactions, withdrawals }
}

/// Reads on a thread that may block.
async fn read<R: Send + 'static>(
    api: &EngineApi,
    work: impl FnOnce(&crate::EvmReader) -> Result<R, ApiError> + Send + 'static,
) -> Result<R, ApiError> {
    let reader = api.reader.clone();
    let done = tokio::task::spawn_blocking(move || work(&reader));
    done.await.map_err(|error| ApiError::Server(format!("the call did not end: {error}")))?
}

fn refuse_more_than_max(count: u64) -> Result<(), ApiError> {
    if count > MAX_BODIES {
        return Err(ApiError::TooLarge(format!("{count} bodies, at most {MAX_BODIES}")));
    }
    Ok(())
}

/// Adds a body if there is room.
fn push(bodies: &mut Vec<Option<Body>>, bytes: &mut usize, found: Option<Body>) -> Result<(), ApiError> {
    let size = |body: &Body| body.transactions.iter().map(|transaction| transaction.len()).sum::<usize>();
    *bytes = bytes.saturating_add(found.as_ref().map_or(0, size));
    if *bytes > MAX_BYTES {
        return Err(ApiError::TooLarge(format!("more than {MAX_BYTES} bytes of transactions; ask for fewer blocks")));
    }
    bodies.push(found);
    Ok(())
}

pub(super) async fn by_hash(api: &EngineApi, args: Args) -> Result<Vec<Option<Body>>, ApiError> {
    let hashes: Vec<B256> = args.at_most(1)?.required(0, "blockHashes")?;
    refuse_more_than_max(u64::try_from(hashes.len()).unwrap_or(u64::MAX))?;
    read(api, move |reader| {
        let (mut bodies, mut bytes) = (Vec::with_capacity(hashes.len()), 0);
        for hash in hashes {
            let found = reader.block_by_hash(hash)?.map(|block| body(block.into_inner()));
            push(&mut bodies, &mut bytes, found)?;
        }
        Ok(bodies)
    })
    .await
}

pub(super) async fn by_range(api: &EngineApi, args: Args) -> Result<Vec<Option<Body>>, ApiError> {
    let args = args.at_most(2)?;
    let (start, count) = (args.number(0, "start")?, args.number(1, "count")?);
    if start == 0 || count == 0 {
        return Err(ApiError::Params(format!("start {start} and count {count} must be above zero")));
    }
    refuse_more_than_max(count)?;
    read(api, move |reader| {
        let (mut bodies, mut bytes) = (Vec::new(), 0);
        let end = start.saturating_add(count).min(reader.heads().latest.number.saturating_add(1));
        for number in start..end {
            let found = reader.block_by_number(number)?.map(|block| body(block.into_inner()));
            push(&mut bodies, &mut bytes, found)?;
        }
        Ok(bodies)
    })
    .await
}
