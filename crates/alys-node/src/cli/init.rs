//! `alys-node init`.

use super::failure::{Failure, Outcome};
use super::run::SIGNING_RECORD;
use crate::bridge::custody_key;
use crate::chain_files::{ChainFiles, ChainFilesError, member};
use crate::dev_accounts::dev_accounts;
use crate::key_files::{generate_key, write_keystore, write_private};
use crate::network::NETWORK_KEY;
use crate::threads::beside;
use alys_chain::peg::PegRules;
use alys_crypto::SecretKey;
use alys_crypto::keystore::{KdfCost, Password};
use alys_p2p::{Identity, PeerId};
use alys_primitives::{Address, B256, CustodyKeys, CustodyRecovery, Members, Root, VariableList};
use alys_store::signing::{RecordIdentity, SigningRecord, Watermarks};
use clap::{Args, ValueEnum};
use rand::TryRngCore as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// How the keystores of a dev chain are stretched: hardly. Their passwords are 128 random bits, which nobody guesses, and
/// lie beside them; a chain for development should start at once.
pub(super) const DEV_COST: KdfCost = KdfCost::Pbkdf2 { iterations: 1 << 10 };

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
    /// JSON-RPC port of the first member; each further member's is 10 higher.
    #[arg(long, default_value_t = 8545)]
    rpc_port: u16,
    /// Metrics port of the first member; each further member's is 1 higher.
    #[arg(long, default_value_t = 9100)]
    metrics_port: u16,
    /// Port for peers of the first member, TCP and QUIC; each further member's is 1 higher.
    #[arg(long, default_value_t = 30_303)]
    p2p_port: u16,
    /// Start of slot 0 in seconds since the Unix epoch; now by default.
    #[arg(long)]
    genesis_time: Option<u64>,
    /// Blocks from a change of the federation to the epoch that it begins; the preset's without.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    epoch_delay: Option<u64>,
    /// A key (x-only, in hex) of those that can spend deposits which nobody has moved for long, if too many custody keys are
    /// lost; nobody can without.
    #[arg(long, requires = "recovery_threshold")]
    recovery_key: Vec<B256>,
    /// How many of the recovery keys must sign.
    #[arg(long, requires = "recovery_key")]
    recovery_threshold: Option<u64>,
    /// Bitcoin blocks for which a coin must have lain before the recovery keys can spend it; a year by default.
    #[arg(long, default_value_t = 52_560)]
    recovery_blocks: u64,
}

pub(super) fn init(arguments: &InitArguments) -> Outcome {
    let plan = Plan {
        preset: arguments.preset,
        members: arguments.members.min(MAX_MEMBERS),
        slot_seconds: arguments.slot_seconds,
        genesis_time: arguments.genesis_time.unwrap_or_else(|| crate::clock::wall_now().0 / 1000),
        epoch_delay: arguments.epoch_delay,
        recovery: recovery(arguments)?,
        // A federation's keystores are worth the strongest stretching, since their owners may choose other passwords.
        cost: match arguments.preset {
            Preset::Dev => DEV_COST,
            Preset::Testnet => KdfCost::SCRYPT,
        },
        ports: Ports { rpc: arguments.rpc_port, metrics: arguments.metrics_port, p2p: arguments.p2p_port },
    };
    let folders = write_chain(&arguments.data_dir, &plan)?;
    println!("chain spec and EVM genesis in {}", arguments.data_dir.display());
    for folder in folders {
        println!("member: alys-node run --config {}", folder.join("alys.toml").display());
    }
    Ok(())
}

/// The recovery leaf of the custody, if one is asked for.
fn recovery(arguments: &InitArguments) -> Result<Option<CustodyRecovery>, Failure> {
    let Some(threshold) = arguments.recovery_threshold else { return Ok(None) };
    let keys =
        CustodyKeys::new(arguments.recovery_key.clone()).map_err(|_| Failure::usage("too many recovery keys"))?;
    Ok(Some(CustodyRecovery { keys, threshold, blocks: arguments.recovery_blocks }))
}

/// What `init` and `dev` write.
pub(super) struct Plan {
    pub(super) preset: Preset,
    pub(super) members: u16,
    pub(super) slot_seconds: u64,
    pub(super) genesis_time: u64,
    pub(super) epoch_delay: Option<u64>,
    pub(super) recovery: Option<CustodyRecovery>,
    pub(super) cost: KdfCost,
    pub(super) ports: Ports,
}

/// Ports of the first member; the others' are spread so that all can run on one machine.
#[derive(Clone, Copy)]
pub(super) struct Ports {
    pub(super) rpc: u16,
    pub(super) metrics: u16,
    pub(super) p2p: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { rpc: 8545, metrics: 9100, p2p: 30_303 }
    }
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
    let mut files = match plan.preset {
        Preset::Dev => {
            let custody = keys
                .iter()
                .filter_map(|key| custody_key(key, 0))
                .map(|key| key.public_key().serialize().into())
                .collect();
            ChainFiles::dev(members, plan.genesis_time, plan.slot_seconds)
                .and_then(|files| files.with_regtest_peg(custody))
        }
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

    files.spec.epoch_delay = plan.epoch_delay.unwrap_or(files.spec.epoch_delay);
    if let Some(recovery) = &plan.recovery {
        let peg = files.spec.peg.iter_mut().next();
        let peg = peg.ok_or_else(|| Failure::usage("recovery keys, and the preset's chain has no peg"))?;
        peg.recovery =
            VariableList::new(vec![recovery.clone()]).map_err(|_| Failure::work("more than one recovery"))?;
        files.spec.validate().map_err(Failure::usage)?;
        files.spec.peg.iter().try_for_each(|peg| PegRules::new(peg).map(drop)).map_err(Failure::usage)?;
    }
    let genesis_root = files.spec.genesis_root();
    let folders: Vec<PathBuf> = (0..keys.len()).map(|index| folder.join(format!("member-{index}"))).collect();
    let peers = folders.iter().map(|folder| network_key(folder)).collect::<Result<Vec<_>, _>>()?;
    for (index, (key, member_folder)) in keys.iter().zip(&folders).enumerate() {
        write_member(member_folder, &configuration(index, &peers, plan), key, genesis_root, plan)?;
    }
    let genesis_path = folder.join("genesis.json");
    let genesis = files.genesis_json().map_err(Failure::work)?;
    std::fs::write(&genesis_path, genesis).map_err(|error| cannot(&genesis_path, error))?;
    let spec = files.spec_json().map_err(Failure::work)?;
    std::fs::write(&spec_path, spec).map_err(|error| cannot(&spec_path, error))?;
    Ok(folders)
}

/// Makes a member's data folder and its network key, whose public name it gives.
fn network_key(folder: &Path) -> Result<PeerId, Failure> {
    let data = folder.join("data");
    std::fs::create_dir_all(&data)
        .map_err(|error| Failure::work(error).help(format!("while making {}", data.display())))?;
    let mut secret = Zeroizing::new([0; 32]);
    rand::rngs::OsRng.try_fill_bytes(&mut *secret).map_err(|error| Failure::work(error.to_string()))?;
    let peer = Identity::create(&data.join(NETWORK_KEY), &secret).map_err(Failure::work)?.peer_id();
    let path = folder.join("peer-id");
    std::fs::write(&path, format!("{peer}\n"))
        .map_err(|error| Failure::work(error).help(format!("while writing {}", path.display())))?;
    Ok(peer)
}

fn write_member(folder: &Path, configuration: &str, key: &SecretKey, genesis_root: Root, plan: &Plan) -> Outcome {
    let data = folder.join("data");
    let mut bytes = Zeroizing::new([0; 16]);
    rand::rngs::OsRng.try_fill_bytes(&mut *bytes).map_err(|error| Failure::work(error.to_string()))?;
    let text = Zeroizing::new(hex::encode(*bytes));
    let password = Password::new(&text).map_err(Failure::work)?;
    // A new key has signed nothing: its record begins empty, and only here.
    let identity = RecordIdentity { genesis_root, public_key: key.public_key().to_bytes().into() };
    // Each waits for the disk.
    let (secrets, record) = beside(
        || {
            write_private(&folder.join("password"), text.as_bytes())?;
            write_keystore(&folder.join("keystore.json"), key, &password, plan.cost)?;
            write_private(&folder.join("alys.toml"), configuration.as_bytes())
        },
        || SigningRecord::create(&data.join(SIGNING_RECORD), &identity, &Watermarks::default()).map(drop),
    );
    record.map_err(Failure::work)?;
    secrets.map_err(Failure::work)
}

/// Ports are spread so that all members can run on one machine; a federation on several machines edits the addresses.
fn configuration(index: usize, peers: &[PeerId], plan: &Plan) -> String {
    let spread = |first: u16, step: usize, index: usize| usize::from(first).saturating_add(index.saturating_mul(step));
    let rpc = spread(plan.ports.rpc, 10, index);
    let metrics = spread(plan.ports.metrics, 1, index);
    let mining = plan.preset == Preset::Dev;
    let mut text = format!(
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
    );
    if plan.preset == Preset::Dev {
        text.push_str(
            "\n\
             # A node without a Bitcoin signs payments and proposes nothing about Bitcoin.\n\
             # [bitcoin]\n\
             # url = \"http://127.0.0.1:18443\"\n\
             # cookie_file = \"../bitcoin/.cookie\"\n",
        );
    }
    // A federation of one has nobody to talk to.
    if peers.len() > 1 {
        let p2p = spread(plan.ports.p2p, 1, index);
        text.push_str(&format!(
            "\n\
             [network]\n\
             listen = [\"/ip4/127.0.0.1/tcp/{p2p}\", \"/ip4/127.0.0.1/udp/{p2p}/quic-v1\"]\n\
             peers = [\n"
        ));
        for (other, peer) in peers.iter().enumerate().filter(|(other, _)| *other != index) {
            let port = spread(plan.ports.p2p, 1, other);
            text.push_str(&format!("  \"/ip4/127.0.0.1/tcp/{port}/p2p/{peer}\",\n"));
        }
        text.push_str("]\n");
    }
    text
}
