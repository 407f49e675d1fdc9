//! JSON-RPC as Ethereum nodes speak it: `eth_*`, `net_*`, `web3_*`, `txpool_*` and `debug_*` over the reader and the pool
//! ([`eth_module`]), and the Engine API over the executor ([`engine_module`], [`EngineServer`]).
//!
//! - Method names, shapes and error codes follow ethereum/execution-apis, and the words that wallets look for in errors
//!   are the usual ones. A refused argument is named with its value.
//! - Nothing runs long on the runtime's threads: reads and executions go to threads that may block, a bounded number at
//!   once, each bounded in gas, blocks and results.
//! - Filters are kept by one task, bounded in number and time; subscriptions end when a client falls too far behind.
//! - `pending` means the head's state, for the nonce with the pool's transactions on top: blocks are built only when
//!   their slot comes, so there is no pending block to show.
//!
//! Absent on purpose: accounts and signing (the node keeps no keys), uncles (there are none), and who may call what
//! (the gateway decides that).

mod args;
mod blocks;
mod call;
mod capabilities;
mod config;
mod context;
mod debug;
mod engine;
mod error;
mod fees;
mod fill;
mod filters;
pub mod ids;
pub mod listener;
mod logs;
mod node;
mod simulate;
mod state;
mod subscribe;
mod transactions;

pub use context::{EthRpc, NetStatus, RpcConfig, Syncing};
pub(crate) use engine::{CheckedPayload, parse_new_payload};
pub use engine::{EngineApi, EngineServer, EngineServerConfig, EngineServerError, engine_module, testing_module};
pub use filters::FilterTask;
pub use subscribe::HexIds;

use args::Args;
use jsonrpsee::RpcModule;
use jsonrpsee::core::RegisterMethodError;

macro_rules! methods {
    ($module:ident: $($name:literal => $method:path,)*) => {
        $($module.register_async_method($name, |params, rpc, _| async move {
            match Args::parse(&params) {
                Ok(args) => $method(rpc, args).await,
                Err(error) => Err(error),
            }
        })?;)*
    };
}

/// Every method of [`eth_module`] but the subscriptions.
pub const METHODS: &[&str] = &[
    "eth_chainId",
    "eth_accounts",
    "eth_syncing",
    "net_version",
    "net_listening",
    "net_peerCount",
    "web3_clientVersion",
    "web3_sha3",
    "txpool_status",
    "txpool_content",
    "txpool_contentFrom",
    "txpool_inspect",
    "eth_getBalance",
    "eth_getTransactionCount",
    "eth_getCode",
    "eth_getStorageAt",
    "eth_getStorageValues",
    "eth_getProof",
    "eth_call",
    "eth_estimateGas",
    "eth_createAccessList",
    "eth_simulateV1",
    "eth_config",
    "eth_capabilities",
    "eth_baseFee",
    "eth_gasPrice",
    "eth_maxPriorityFeePerGas",
    "eth_blobBaseFee",
    "eth_feeHistory",
    "eth_blockNumber",
    "eth_getBlockByNumber",
    "eth_getBlockByHash",
    "eth_getHeaderByNumber",
    "eth_getHeaderByHash",
    "eth_getBlockTransactionCountByNumber",
    "eth_getBlockTransactionCountByHash",
    "eth_getUncleCountByBlockNumber",
    "eth_getUncleCountByBlockHash",
    "eth_getUncleByBlockNumberAndIndex",
    "eth_getUncleByBlockHashAndIndex",
    "eth_fillTransaction",
    "eth_sendRawTransaction",
    "eth_sendTransaction",
    "eth_signTransaction",
    "eth_sign",
    "eth_getTransactionByHash",
    "eth_getRawTransactionByHash",
    "eth_getTransactionByBlockNumberAndIndex",
    "eth_getTransactionByBlockHashAndIndex",
    "eth_getTransactionReceipt",
    "eth_getBlockReceipts",
    "eth_getLogs",
    "eth_newFilter",
    "eth_newBlockFilter",
    "eth_newPendingTransactionFilter",
    "eth_getFilterChanges",
    "eth_getFilterLogs",
    "eth_uninstallFilter",
    "debug_traceTransaction",
    "debug_traceCall",
    "debug_traceBlockByNumber",
    "debug_traceBlockByHash",
    "debug_getBadBlocks",
    "debug_getRawBlock",
    "debug_getRawHeader",
    "debug_getRawReceipts",
    "debug_getRawTransaction",
];

/// All methods over `rpc`.
///
/// # Errors
/// A method is registered twice, which is a bug.
pub fn eth_module(rpc: EthRpc) -> Result<RpcModule<EthRpc>, RegisterMethodError> {
    let mut module = RpcModule::new(rpc);
    methods! { module:
        "eth_chainId" => node::chain_id,
        "eth_accounts" => node::accounts,
        "eth_syncing" => node::syncing,
        "net_version" => node::net_version,
        "net_listening" => node::net_listening,
        "net_peerCount" => node::net_peer_count,
        "web3_clientVersion" => node::client_version,
        "web3_sha3" => node::sha3,
        "txpool_status" => node::pool_status,
        "txpool_content" => node::pool_content,
        "txpool_contentFrom" => node::pool_content_from,
        "txpool_inspect" => node::pool_inspect,
    }
    methods! { module:
        "eth_getBalance" => state::balance,
        "eth_getTransactionCount" => state::transaction_count,
        "eth_getCode" => state::code,
        "eth_getStorageAt" => state::storage_at,
        "eth_getStorageValues" => state::storage_values,
        "eth_getProof" => state::proof,
        "eth_call" => call::call,
        "eth_estimateGas" => call::estimate_gas,
        "eth_createAccessList" => call::create_access_list,
        "eth_simulateV1" => simulate::simulate,
        "eth_config" => config::config,
        "eth_capabilities" => capabilities::capabilities,
        "eth_baseFee" => fees::base_fee,
        "eth_gasPrice" => fees::gas_price,
        "eth_maxPriorityFeePerGas" => fees::max_priority_fee,
        "eth_blobBaseFee" => fees::blob_base_fee,
        "eth_feeHistory" => fees::fee_history,
    }
    methods! { module:
        "eth_blockNumber" => blocks::number,
        "eth_getBlockByNumber" => blocks::block_by_number,
        "eth_getBlockByHash" => blocks::block_by_hash,
        "eth_getHeaderByNumber" => blocks::header_by_number,
        "eth_getHeaderByHash" => blocks::header_by_hash,
        "eth_getBlockTransactionCountByNumber" => blocks::transaction_count_by_number,
        "eth_getBlockTransactionCountByHash" => blocks::transaction_count_by_hash,
        "eth_getUncleCountByBlockNumber" => blocks::uncle_count_by_number,
        "eth_getUncleCountByBlockHash" => blocks::uncle_count_by_hash,
        "eth_getUncleByBlockNumberAndIndex" => blocks::uncle_by_number,
        "eth_getUncleByBlockHashAndIndex" => blocks::uncle_by_hash,
    }
    methods! { module:
        "eth_fillTransaction" => fill::fill,
        "eth_sendRawTransaction" => transactions::send_raw,
        "eth_sendTransaction" => transactions::no_keys,
        "eth_signTransaction" => transactions::no_keys,
        "eth_sign" => transactions::no_keys,
        "eth_getTransactionByHash" => transactions::by_hash,
        "eth_getRawTransactionByHash" => transactions::raw_by_hash,
        "eth_getTransactionByBlockNumberAndIndex" => transactions::by_number_and_index,
        "eth_getTransactionByBlockHashAndIndex" => transactions::by_hash_and_index,
        "eth_getTransactionReceipt" => transactions::receipt,
        "eth_getBlockReceipts" => transactions::block_receipts,
        "eth_getLogs" => logs::logs,
        "eth_newFilter" => filters::new_filter,
        "eth_newBlockFilter" => filters::new_block_filter,
        "eth_newPendingTransactionFilter" => filters::new_pending_filter,
        "eth_getFilterChanges" => filters::changes,
        "eth_getFilterLogs" => filters::filter_logs,
        "eth_uninstallFilter" => filters::uninstall,
    }
    methods! { module:
        "debug_traceTransaction" => debug::trace_transaction,
        "debug_traceCall" => debug::trace_call,
        "debug_traceBlockByNumber" => debug::trace_block_by_number,
        "debug_traceBlockByHash" => debug::trace_block_by_hash,
        "debug_getBadBlocks" => debug::bad_blocks,
        "debug_getRawBlock" => debug::raw_block,
        "debug_getRawHeader" => debug::raw_header,
        "debug_getRawReceipts" => debug::raw_receipts,
        "debug_getRawTransaction" => debug::raw_transaction,
    }
    module.register_subscription(
        "eth_subscribe",
        "eth_subscription",
        "eth_unsubscribe",
        |params, pending, rpc, _| subscribe::subscribe(params, pending, rpc),
    )?;
    Ok(module)
}
