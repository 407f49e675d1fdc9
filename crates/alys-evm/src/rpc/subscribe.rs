//! `eth_subscribe`.

use super::args::Args;
use super::error::RpcError;
use super::filters::{describe_pending, random_id};
use super::{EthRpc, logs};
use crate::ChainEvent;
use alloy_rpc_types_eth::{Filter, Header};
use jsonrpsee::core::server::{PendingSubscriptionSink, SubscriptionMessage, SubscriptionSink};
use jsonrpsee::core::traits::IdProvider;
use jsonrpsee::core::{SubscriptionError, to_json_raw_value};
use jsonrpsee::types::{Params, SubscriptionId};
use serde::Serialize;
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;

/// Names subscriptions as other nodes do: hexadecimal numbers as text.
#[derive(Clone, Copy, Debug, Default)]
pub struct HexIds;

impl IdProvider for HexIds {
    fn next_id(&self) -> SubscriptionId<'static> {
        SubscriptionId::from(random_id())
    }
}

#[expect(clippy::large_enum_variant, reason = "one value per subscription, never in a list")]
enum Topic {
    Heads,
    Logs(Filter),
    Pending { full: bool },
}

impl Topic {
    fn parse(params: &Params<'_>) -> Result<Self, RpcError> {
        let args = Args::parse(params)?.at_most(2)?;
        let name: String = args.required(0, "subscription")?;
        match name.as_str() {
            "newHeads" => Ok(Self::Heads),
            "logs" => Ok(Self::Logs(logs::filter(&args, 1)?)),
            "newPendingTransactions" => Ok(Self::Pending { full: args.optional(1, "full")?.unwrap_or(false) }),
            _ => Err(RpcError::Params(format!(
                "no \"{name}\" subscription in eth namespace: there are newHeads, logs, newPendingTransactions"
            ))),
        }
    }
}

/// Serves one subscription until the client leaves, or falls so far behind that it would miss something.
pub(super) async fn subscribe(
    params: Params<'static>,
    pending: PendingSubscriptionSink,
    rpc: Arc<EthRpc>,
) -> Result<(), SubscriptionError> {
    match Topic::parse(&params) {
        Ok(Topic::Heads) => chain(&rpc, pending, None).await,
        Ok(Topic::Logs(filter)) => chain(&rpc, pending, Some(Arc::new(filter))).await,
        Ok(Topic::Pending { full }) => transactions(&rpc, pending, full).await,
        Err(error) => {
            pending.reject(error).await;
            Ok(())
        }
    }
}

async fn chain(
    rpc: &EthRpc,
    pending: PendingSubscriptionSink,
    filter: Option<Arc<Filter>>,
) -> Result<(), SubscriptionError> {
    // Subscribed before the client knows, so that nothing is missed in between.
    let mut events = rpc.reader.events();
    let sink = pending.accept().await?;
    loop {
        let event = tokio::select! {
            () = sink.closed() => return Ok(()),
            event = events.recv() => match event {
                Ok(event) => event,
                Err(RecvError::Closed) => return Ok(()),
                Err(RecvError::Lagged(missed)) => return Err(behind(missed)),
            },
        };
        let open = match &filter {
            None => send_all(&sink, heads(rpc, event).await?).await?,
            Some(filter) => {
                let filter = filter.clone();
                let found = rpc.compute(move |rpc| logs::of_changes(rpc, &filter, &[event])).await;
                send_all(&sink, found.map_err(broken)?).await?
            }
        };
        if !open {
            return Ok(());
        }
    }
}

async fn heads(rpc: &EthRpc, event: ChainEvent) -> Result<Vec<Header>, SubscriptionError> {
    rpc.read(move |rpc| {
        let mut headers = Vec::with_capacity(event.added().len());
        for block in event.added() {
            headers.extend(rpc.reader.header_by_hash(block.hash)?.map(Header::from_sealed));
        }
        Ok(headers)
    })
    .await
    .map_err(broken)
}

async fn transactions(rpc: &EthRpc, pending: PendingSubscriptionSink, full: bool) -> Result<(), SubscriptionError> {
    let mut announced = match rpc.pool.subscribe() {
        Ok(announced) => announced,
        Err(error) => {
            pending.reject(RpcError::from(error)).await;
            return Ok(());
        }
    };
    let sink = pending.accept().await?;
    loop {
        let transaction = tokio::select! {
            () = sink.closed() => return Ok(()),
            transaction = announced.recv() => match transaction {
                Ok(transaction) => transaction,
                Err(RecvError::Closed) => return Ok(()),
                // Announcements are a courtesy; the newest ones are still there.
                Err(RecvError::Lagged(_)) => continue,
            },
        };
        let open = if full {
            send_all(&sink, [describe_pending(&transaction)]).await?
        } else {
            send_all(&sink, [transaction.hash()]).await?
        };
        if !open {
            return Ok(());
        }
    }
}

/// Sends in order; tells whether the client is still there.
async fn send_all<T: Serialize>(
    sink: &SubscriptionSink,
    items: impl IntoIterator<Item = T>,
) -> Result<bool, SubscriptionError> {
    for item in items {
        let message = SubscriptionMessage::from(to_json_raw_value(&item)?);
        if sink.send(message).await.is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn behind(missed: u64) -> SubscriptionError {
    SubscriptionError::from(format!("the client is {missed} changes behind; subscribe again"))
}

fn broken(error: RpcError) -> SubscriptionError {
    SubscriptionError::from(error.to_string())
}
