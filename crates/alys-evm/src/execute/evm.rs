//! An EVM in which a contract can't be created where storage is (EIP-7610).
//!
//! revm looks at the nonce and the code of the address and does not ask for its storage. [`Frames`] does, before a creation
//! begins, where the account exists and has neither.

use alloy_evm::eth::{EthEvmBuilder, EthEvmContext};
use alloy_evm::precompiles::PrecompilesMap;
use alloy_evm::{Database, Evm, EvmEnv};
use alloy_primitives::{Address, Bytes};
use revm::context::result::{EVMError, HaltReason, ResultAndState};
use revm::context::{BlockEnv, CfgEnv, Context, ContextSetters as _, ContextTr as _, FrameStack, TxEnv};
use revm::context_interface::JournalTr as _;
use revm::context_interface::journaled_state::account::JournaledAccountTr as _;
use revm::database::{CacheDB, State, WrapDatabaseRef};
use revm::database_interface::bal::EvmDatabaseError;
use revm::handler::evm::{ContextDbError, FrameInitResult};
use revm::handler::instructions::EthInstructions;
use revm::handler::{
    EthFrame, EvmTr, FrameInitOrResult, FrameResult, Handler as _, ItemOrResult, MainnetHandler, SystemCallEvm as _,
};
use revm::inspector::{InspectorEvmTr, InspectorHandler as _, NoOpInspector};
use revm::interpreter::interpreter::EthInterpreter;
use revm::interpreter::interpreter_action::FrameInit;
use revm::interpreter::{CreateOutcome, FrameInput, Gas, InstructionResult, InterpreterResult};
use revm::primitives::constants::CALL_STACK_LIMIT;
use revm::primitives::hardfork::SpecId;
use revm::{DatabaseRef, ExecuteEvm as _, Inspector};
use std::fmt::Debug;

/// A state that knows which accounts have storage.
pub(crate) trait StoredStorage: DatabaseRef {
    /// Whether the account has storage.
    fn has_storage(&self, address: Address) -> Result<bool, Self::Error>;
}

/// An EVM's database over such a state. Only asked for accounts without code, whose storage nothing changes but their end.
pub(crate) trait StorageLookup: Database {
    /// Whether the account had storage before the block.
    fn had_storage(&mut self, address: Address) -> Result<bool, <Self as revm::Database>::Error>;
}

impl<D: StorageLookup> StorageLookup for &mut D {
    fn had_storage(&mut self, address: Address) -> Result<bool, <Self as revm::Database>::Error> {
        (**self).had_storage(address)
    }
}

impl<D: StoredStorage<Error: std::error::Error + Send + Sync + 'static> + Debug> StorageLookup
    for State<WrapDatabaseRef<D>>
{
    fn had_storage(&mut self, address: Address) -> Result<bool, <Self as revm::Database>::Error> {
        self.database.0.has_storage(address).map_err(EvmDatabaseError::Database)
    }
}

impl<D: StoredStorage<Error: std::error::Error + Send + Sync + 'static> + Debug> StorageLookup for CacheDB<D> {
    fn had_storage(&mut self, address: Address) -> Result<bool, <Self as revm::Database>::Error> {
        self.db.has_storage(address)
    }
}

/// An EVM for the transactions of a block.
pub(crate) fn create_evm<DB: StorageLookup>(db: DB, env: EvmEnv) -> EthereumEvm<DB, NoOpInspector> {
    EthereumEvm { frames: Frames(EthEvmBuilder::new(db, env).build().into_inner()), inspect: false }
}

/// An EVM that shows `inspector` what it does.
pub(crate) fn create_evm_with_inspector<DB: StorageLookup, I: Inspector<EthEvmContext<DB>>>(
    db: DB,
    env: EvmEnv,
    inspector: I,
) -> EthereumEvm<DB, I> {
    EthereumEvm { frames: Frames(EthEvmBuilder::new(db, env).inspector(inspector).build().into_inner()), inspect: true }
}

type Instructions<DB> = EthInstructions<EthInterpreter, EthEvmContext<DB>>;
type Inner<DB, I> = revm::context::Evm<EthEvmContext<DB>, I, Instructions<DB>, PrecompilesMap, EthFrame>;
type MainnetRules<DB, I> = MainnetHandler<Frames<DB, I>, EVMError<<DB as revm::Database>::Error>, EthFrame>;

/// Ethereum's EVM.
pub(crate) struct EthereumEvm<DB: StorageLookup, I> {
    frames: Frames<DB, I>,
    inspect: bool,
}

/// revm's EVM with the rule of EIP-7610.
struct Frames<DB: StorageLookup, I>(Inner<DB, I>);

impl<DB: StorageLookup, I> Frames<DB, I> {
    /// What becomes of a creation at an address with storage: the nonce is used and all gas is spent, as it is where the
    /// address has code. `None` for every other frame.
    fn collision(&mut self, init: &FrameInit) -> Result<Option<FrameResult>, DB::Error> {
        let FrameInput::Create(inputs) = &init.frame_input else { return Ok(None) };
        let too_deep = u64::try_from(init.depth).map_or(true, |depth| depth > CALL_STACK_LIMIT);
        let journal = self.0.ctx.journal_mut();
        let caller = &journal.load_account(inputs.caller())?.data.info;
        let (nonce, balance) = (caller.nonce, caller.balance);
        // What fails for these reasons leaves the address alone.
        if too_deep || balance < inputs.value() || nonce == u64::MAX {
            return Ok(None);
        }
        let address = inputs.created_address(nonce);
        let target = journal.load_account(address)?.data;
        let is_bare = target.info.nonce == 0 && target.info.is_empty_code_hash();
        if !is_bare || target.is_loaded_as_not_existing() || !journal.db_mut().had_storage(address)? {
            return Ok(None);
        }
        journal.load_account_mut(inputs.caller())?.bump_nonce();
        let result = InterpreterResult {
            result: InstructionResult::CreateCollision,
            gas: Gas::new_with_regular_gas_and_reservoir(inputs.gas_limit(), inputs.reservoir()),
            output: Bytes::new(),
        };
        let charged_create_state_gas = inputs.charged_create_state_gas();
        Ok(Some(FrameResult::Create(CreateOutcome { result, address: None, charged_create_state_gas })))
    }
}

impl<DB: StorageLookup, I> EvmTr for Frames<DB, I> {
    type Context = EthEvmContext<DB>;
    type Instructions = Instructions<DB>;
    type Precompiles = PrecompilesMap;
    type Frame = EthFrame;

    fn all(&self) -> (&Self::Context, &Self::Instructions, &Self::Precompiles, &FrameStack<Self::Frame>) {
        self.0.all()
    }

    fn all_mut(
        &mut self,
    ) -> (&mut Self::Context, &mut Self::Instructions, &mut Self::Precompiles, &mut FrameStack<Self::Frame>) {
        self.0.all_mut()
    }

    fn frame_init(
        &mut self,
        frame_input: FrameInit,
    ) -> Result<FrameInitResult<'_, Self::Frame>, ContextDbError<Self::Context>> {
        match self.collision(&frame_input)? {
            Some(failed) => Ok(ItemOrResult::Result(failed)),
            None => self.0.frame_init(frame_input),
        }
    }

    fn frame_run(&mut self) -> Result<FrameInitOrResult<Self::Frame>, ContextDbError<Self::Context>> {
        self.0.frame_run()
    }

    fn frame_return_result(
        &mut self,
        result: FrameResult,
    ) -> Result<Option<FrameResult>, ContextDbError<Self::Context>> {
        self.0.frame_return_result(result)
    }
}

impl<DB: StorageLookup, I: Inspector<EthEvmContext<DB>>> InspectorEvmTr for Frames<DB, I> {
    type Inspector = I;

    fn all_inspector(
        &self,
    ) -> (&Self::Context, &Self::Instructions, &Self::Precompiles, &FrameStack<Self::Frame>, &Self::Inspector) {
        self.0.all_inspector()
    }

    fn all_mut_inspector(
        &mut self,
    ) -> (
        &mut Self::Context,
        &mut Self::Instructions,
        &mut Self::Precompiles,
        &mut FrameStack<Self::Frame>,
        &mut Self::Inspector,
    ) {
        self.0.all_mut_inspector()
    }
}

impl<DB: StorageLookup, I: Inspector<EthEvmContext<DB>>> Evm for EthereumEvm<DB, I> {
    type DB = DB;
    type Tx = TxEnv;
    type Error = EVMError<DB::Error>;
    type HaltReason = HaltReason;
    type Spec = SpecId;
    type BlockEnv = BlockEnv;
    type Precompiles = PrecompilesMap;
    type Inspector = I;

    fn block(&self) -> &BlockEnv {
        &self.frames.0.ctx.block
    }

    fn cfg_env(&self) -> &CfgEnv<SpecId> {
        &self.frames.0.ctx.cfg
    }

    fn chain_id(&self) -> u64 {
        self.frames.0.ctx.cfg.chain_id
    }

    fn transact_raw(&mut self, tx: TxEnv) -> Result<ResultAndState<HaltReason>, Self::Error> {
        self.frames.0.ctx.set_tx(tx);
        let mut rules = MainnetRules::<DB, I>::default();
        let result = if self.inspect { rules.inspect_run(&mut self.frames) } else { rules.run(&mut self.frames) };
        // Also after an error: the journal must be empty for the next transaction.
        let state = self.frames.0.finalize();
        Ok(ResultAndState::new(result?, state))
    }

    fn transact_system_call(
        &mut self,
        caller: Address,
        contract: Address,
        data: Bytes,
    ) -> Result<ResultAndState<HaltReason>, Self::Error> {
        self.frames.0.system_call_with_caller(caller, contract, data)
    }

    fn finish(self) -> (DB, EvmEnv) {
        let Context { block, cfg, journaled_state, .. } = self.frames.0.ctx;
        (journaled_state.database, EvmEnv::new(cfg, block))
    }

    fn set_inspector_enabled(&mut self, enabled: bool) {
        self.inspect = enabled;
    }

    fn components(&self) -> (&DB, &I, &PrecompilesMap) {
        let inner = &self.frames.0;
        (&inner.ctx.journaled_state.database, &inner.inspector, &inner.precompiles)
    }

    fn components_mut(&mut self) -> (&mut DB, &mut I, &mut PrecompilesMap) {
        let inner = &mut self.frames.0;
        (&mut inner.ctx.journaled_state.database, &mut inner.inspector, &mut inner.precompiles)
    }
}
