//! `alys-node init`.

use super::failure::{Failure, Outcome};
use super::run::SIGNING_RECORD;
use crate::chain_files::{ChainFiles, ChainFilesError, member};
use crate::dev_accounts::dev_accounts;
use crate::key_files::{generate_key, write_keystore, write_private};
use alys_crypto::SecretKey;
use alys_crypto::keystore::{KdfCost, Password};
use alys_primitives::{Address, Members, Root};
use alys_store::signing::{RecordIdentity, SigningRecord, Watermarks};
use clap::{Args, ValueEnum};
use rand::TryRngCore as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The most members that `init` makes keys for.
const MAX_MEMBERS: u16 = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Preset {
    /// Funded accounts, easy work, quick finality.
    Dev,
    /// Nobody is funded, blocks cost work.
    Testnet,
}

#[derive(Args)]
pub(super) struct InitArguments {
    /// What kind of chain.
    #[arg(long, value_enum)]
    preset: Preset,
    /// Folder to write to; must not hold a chain yet.
    #[arg(long)]
    data_dir: PathBuf,
    /// Members of the federation; each gets a folder `member-I` with keystore and configuration.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    members: u16,
    /// Length of a slot in whole seconds.
    #[arg(long, default_value_t = 2)]
    slot_seconds: u64,
    /// Start of slot 0 in seconds since the Unix epoch; now by default.
    #[arg(long)]
    genesis_time: Option<u64>,
}

pub(super) fn init(arguments: &InitArguments) -> Outcome {
    let plan = Plan {
        preset: arguments.preset,
        members: arguments.members.min(MAX_MEMBERS),
        slot_seconds: arguments.slot_seconds,
        genesis_time: arguments.genesis_time.unwrap_or_else(|| crate::clock::wall_now().0 / 1000),
        // A federation's keystores are worth the strongest stretching; a dev chain's only guard play money.
        cost: match arguments.preset {
            Preset::Dev => KdfCost::PBKDF2,
            Preset::Testnet => KdfCost::SCRYPT,
        },
    };
    let folders = write_chain(&arguments.data_dir, &plan)?;
    println!("chain spec and EVM genesis in {}", arguments.data_dir.display());
    for folder in folders {
        println!("member: alys-node run --config {}", folder.join("alys.toml").display());
    }
    Ok(())
}

/// What `init` and `dev` write.
pub(super) struct Plan {
    pub(super) preset: Preset,
    pub(super) members: u16,
    pub(super) slot_seconds: u64,
    pub(super) genesis_time: u64,
    pub(super) cost: KdfCost,
}

/// Writes a new chain and its members' folders, whose paths it gives. The chain spec is written last: a folder with one is
/// complete.
pub(super) fn write_chain(folder: &Path, plan: &Plan) -> Result<Vec<PathBuf>, Failure> {
    let spec_path = folder.join("chain.json");
    if spec_path.exists() {
        return Err(Failure::work(format!("{} holds a chain already", folder.display()))
            .help("`alys-node run` continues it; name another folder for a new one"));
    }
    let cannot =
        |path: &Path, error: std::io::Error| Failure::work(error).help(format!("while writing {}", path.display()));
    std::fs::create_dir_all(folder).map_err(|error| cannot(folder, error))?;

    let keys: Vec<SecretKey> =
        (0..plan.members).map(|_| generate_key()).collect::<Result<_, _>>().map_err(Failure::work)?;
    let payouts: Vec<Address> = dev_accounts().map_err(Failure::work)?.into_iter().map(|a| a.address).collect();
    // Dev members are paid on the last funded accounts; a real federation edits the spec before it starts.
    let fee_address = |index: usize| payouts.iter().rev().cycle().nth(index).copied().unwrap_or_default();
    let members = keys.iter().enumerate().map(|(index, key)| member(key, fee_address(index))).collect();
    let members = Members::new(members).map_err(|_| Failure::usage("too many members"))?;
    let files = match plan.preset {
        Preset::Dev => ChainFiles::dev(members, plan.genesis_time, plan.slot_seconds),
        Preset::Testnet => ChainFiles::testnet(members, plan.genesis_time, plan.slot_seconds),
    }
    .map_err(|error| match &error {
        ChainFilesError::Constants(_) => Failure::usage(error),
        ChainFilesError::File(_)
        | ChainFilesError::Spec { .. }
        | ChainFilesError::Genesis { .. }
        | ChainFilesError::Preset(_)
        | ChainFilesError::Mismatch { .. }
        | ChainFilesError::Accounts(_) => Failure::work(error),
    })?;

    let genesis_root = files.spec.genesis_root();
    let mut folders = Vec::new();
    for (index, key) in keys.iter().enumerate() {
        let member_folder = folder.join(format!("member-{index}"));
        write_member(&member_folder, index, key, genesis_root, plan)?;
        folders.push(member_folder);
    }
    let genesis_path = folder.join("genesis.json");
    let genesis = files.genesis_json().map_err(Failure::work)?;
    std::fs::write(&genesis_path, genesis).map_err(|error| cannot(&genesis_path, error))?;
    let spec = files.spec_json().map_err(Failure::work)?;
    std::fs::write(&spec_path, spec).map_err(|error| cannot(&spec_path, error))?;
    Ok(folders)
}

fn write_member(folder: &Path, index: usize, key: &SecretKey, genesis_root: Root, plan: &Plan) -> Outcome {
    let data = folder.join("data");
    std::fs::create_dir_all(&data)
        .map_err(|error| Failure::work(error).help(format!("while making {}", data.display())))?;
    let mut bytes = Zeroizing::new([0; 16]);
    rand::rngs::OsRng.try_fill_bytes(&mut *bytes).map_err(|error| Failure::work(error.to_string()))?;
    let text = Zeroizing::new(hex::encode(*bytes));
    let password = Password::new(&text).map_err(Failure::work)?;
    write_private(&folder.join("password"), text.as_bytes()).map_err(Failure::work)?;
    write_keystore(&folder.join("keystore.json"), key, &password, plan.cost).map_err(Failure::work)?;
    // A new key has signed nothing: its record begins empty, and only here.
    let identity = RecordIdentity { genesis_root, public_key: key.public_key().to_bytes().into() };
    SigningRecord::create(&data.join(SIGNING_RECORD), &identity, &Watermarks::default()).map_err(Failure::work)?;
    write_private(&folder.join("alys.toml"), configuration(index, plan).as_bytes()).map_err(Failure::work)
}

/// Ports are spread so that all members can run on one machine.
fn configuration(index: usize, plan: &Plan) -> String {
    let rpc = 8545_usize.saturating_add(index.saturating_mul(10));
    let metrics = 9100_usize.saturating_add(index);
    let mining = plan.preset == Preset::Dev;
    format!(
        "# `alys-node config print --config alys.toml` lists every key.\n\
         [node]\n\
         data_dir = \"data\"\n\
         chain_spec = \"../chain.json\"\n\
         genesis = \"../genesis.json\"\n\
         \n\
         [validator]\n\
         keystore = \"keystore.json\"\n\
         password_file = \"password\"\n\
         \n\
         [rpc]\n\
         listen = \"127.0.0.1:{rpc}\"\n\
         mining = {mining}\n\
         \n\
         [metrics]\n\
         listen = \"127.0.0.1:{metrics}\"\n"
    )
}
