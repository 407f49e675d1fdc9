//! Arguments that several commands of members take.

use super::failure::Failure;
use crate::chain_files::ChainFiles;
use crate::key_files::unlock;
use alys_crypto::SecretKey;
use clap::Args;
use std::path::PathBuf;

// Names a chain by its files. (A doc comment would become the command's own text.)
#[derive(Args)]
pub(super) struct ChainArguments {
    /// Chain spec (JSON).
    #[arg(long)]
    pub(super) chain_spec: PathBuf,
    /// EVM genesis in geth's format (JSON).
    #[arg(long)]
    genesis: PathBuf,
}

impl ChainArguments {
    /// The chain.
    pub(super) fn read(&self) -> Result<ChainFiles, Failure> {
        ChainFiles::read(&self.chain_spec, &self.genesis).map_err(Failure::usage)
    }
}

// Names a member's keystore, and the password that opens it.
#[derive(Args)]
pub(super) struct KeyArguments {
    /// EIP-2335 keystore of the member.
    #[arg(long)]
    keystore: PathBuf,
    /// File whose first line is the keystore's password.
    #[arg(long)]
    password_file: PathBuf,
}

impl KeyArguments {
    /// The secret key. Takes up to a second and 256 MiB.
    pub(super) fn unlock(&self) -> Result<SecretKey, Failure> {
        unlock(&self.keystore, &self.password_file).map_err(Failure::work)
    }
}
