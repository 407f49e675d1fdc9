//! An execution client in this process: executor, pool and all methods, with or without listeners.

use alloy_genesis::Genesis;
use alloy_primitives::B256;
use alys_engine::{EndpointConfig, JwtSecret};
use alys_evm::pool::{JournalEntry, JournalError, PoolConfig, PoolHandle, PoolTask, TransactionJournal};
use alys_evm::rpc::{
    EngineApi, EngineServer, EngineServerConfig, EthRpc, NetStatus, RpcConfig, engine_module, eth_module,
    testing_module,
};
use alys_evm::{EvmReader, Executor, ExecutorConfig, ExecutorThread, NoTransactions, spawn};
use jsonrpsee::server::Methods;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;

pub const SECRET: JwtSecret = JwtSecret::new([9; 32]);

/// Keeps nothing: what these tests lose in a crash they send again.
struct NoJournal;

impl TransactionJournal for NoJournal {
    fn append(&mut self, _: &[JournalEntry]) -> Result<(), JournalError> {
        Ok(())
    }

    fn remove(&mut self, _: &[B256]) -> Result<(), JournalError> {
        Ok(())
    }

    fn load(&mut self) -> Result<Vec<JournalEntry>, JournalError> {
        Ok(Vec::new())
    }
}

pub struct Node {
    pub methods: Methods,
    pub reader: EvmReader,
    pub pool: PoolHandle,
    pub net: watch::Sender<NetStatus>,
    server: Option<EngineServer>,
    thread: ExecutorThread,
    tasks: tokio::task::JoinSet<()>,
}

impl Node {
    /// All methods over an executor, without a listener.
    pub fn over(executor: Executor, config: RpcConfig) -> Self {
        let mut executor = executor;
        let reader = executor.reader();
        let pool_config = PoolConfig::new(reader.chain_id());
        let (pool, pool_task) = PoolTask::open(pool_config, Arc::new(reader.clone()), NoJournal).unwrap();
        executor.set_source(Box::new(pool.clone()));
        let (engine, thread) = spawn(executor).unwrap();
        let (net, status) = watch::channel(NetStatus::default());
        let (eth, filters) = EthRpc::new(reader.clone(), pool.clone(), config, status);
        let mut tasks = tokio::task::JoinSet::new();
        let follow = reader.subscribe();
        tasks.spawn(async move { pool_task.run(follow, std::future::pending()).await.unwrap() });
        tasks.spawn(filters.run(std::future::pending()));
        let mut methods = Methods::new();
        let api = EngineApi::new(engine, reader.clone());
        methods.merge(engine_module(api.clone()).unwrap()).unwrap();
        methods.merge(testing_module(api).unwrap()).unwrap();
        methods.merge(eth_module(eth).unwrap()).unwrap();
        Self { methods, reader, pool, net, server: None, thread, tasks }
    }

    /// [`Self::over`] a database in `folder`.
    pub fn open(folder: &Path, genesis: Genesis) -> Self {
        let source = Box::new(NoTransactions);
        let config = ExecutorConfig { gas_limit: genesis.gas_limit, ..ExecutorConfig::default() };
        let executor = Executor::open(folder, genesis, config, source).unwrap();
        Self::over(executor, RpcConfig::new("test/1".to_owned()))
    }

    /// Serves the Engine API on a port; 0 takes a free one.
    pub async fn listen(mut self, port: u16) -> Self {
        let listen = ([127, 0, 0, 1], port).into();
        let config = EngineServerConfig::new(listen, SECRET);
        self.server = Some(EngineServer::start(config, self.methods.clone()).await.unwrap());
        self
    }

    pub fn port(&self) -> u16 {
        self.server.as_ref().unwrap().address().port()
    }

    pub fn endpoint(&self) -> EndpointConfig {
        EndpointConfig { url: format!("http://127.0.0.1:{}", self.port()), secret: SECRET, rpc_url: None }
    }

    /// The answer to a request, as a server would send it.
    pub async fn ask(&self, request: &Value) -> Value {
        let (answer, _) = self.methods.raw_json_request(&request.to_string(), 16).await.unwrap();
        serde_json::from_str(answer.get()).unwrap()
    }

    /// The result of a call.
    pub async fn call(&self, method: &str, params: Value) -> Value {
        let answer = self.ask(&json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })).await;
        assert!(answer.get("error").is_none(), "{method}{params}: {answer}");
        answer["result"].clone()
    }

    /// Code and message of a call's error.
    pub async fn refusal(&self, method: &str, params: Value) -> (i64, String) {
        let answer = self.ask(&json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })).await;
        let error = &answer["error"];
        let code = error["code"].as_i64().unwrap_or_else(|| panic!("{method}{params}: {answer}"));
        (code, error["message"].as_str().unwrap().to_owned())
    }

    /// Everything stops at once; only the disk stays.
    pub async fn kill(self) {
        let Self { methods, server, thread, mut tasks, .. } = self;
        tasks.shutdown().await;
        if let Some(server) = server {
            server.stop().await;
        }
        drop(methods);
        tokio::task::spawn_blocking(move || thread.join()).await.unwrap().unwrap();
    }
}

impl Node {
    /// Builds a block from the pool with the Engine API, executes it and makes it the head. Gives its hash.
    pub async fn mine(&self) -> B256 {
        let head = self.reader.heads().latest;
        let forkchoice = |hash: B256| json!({ "headBlockHash": hash, "safeBlockHash": B256::ZERO, "finalizedBlockHash": B256::ZERO });
        let root = B256::repeat_byte(8);
        let attributes = json!({
            "timestamp": format!("{:#x}", head.timestamp + 2), "prevRandao": B256::repeat_byte(7),
            "suggestedFeeRecipient": super::BURN, "withdrawals": [], "parentBeaconBlockRoot": root,
        });
        let begun = self.call("engine_forkchoiceUpdatedV3", json!([forkchoice(head.hash), attributes])).await;
        let built = self.call("engine_getPayloadV4", json!([begun["payloadId"]])).await;
        let payload = &built["executionPayload"];
        let status = self.call("engine_newPayloadV4", json!([payload, [], root, built["executionRequests"]])).await;
        assert_eq!(status["status"], "VALID", "{status}");
        let hash: B256 = serde_json::from_value(payload["blockHash"].clone()).unwrap();
        let moved = self.call("engine_forkchoiceUpdatedV3", json!([forkchoice(hash), null])).await;
        assert_eq!(moved["payloadStatus"]["status"], "VALID", "{moved}");
        hash
    }
}
