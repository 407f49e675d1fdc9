//! `alys-node peg recover`: the last resort. One holder of a recovery key prepares a PSBT, as many as must sign it (one after
//! another, or copies of it), anybody finishes it.

mod coins;
mod keys;

use super::arguments::ChainArguments;
use super::bitcoin::Choice;
use super::failure::{Failure, Outcome};
use super::federation::custodies;
use crate::bounded::read_bounded;
use crate::config::BitcoinSection;
use crate::key_files::write_private;
use alys_bitcoin::signing::{MAX_PSBT_BYTES, decode_psbt};
use alys_bitcoin::{BitcoinPort as _, CoreRpc, RecoveryError, RecoverySpend};
use alys_chain::peg::{Custody, PegRules};
use bitcoin::address::NetworkUnchecked;
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::psbt::Psbt;
use bitcoin::{Address, ScriptBuf};
use clap::{Args, Subcommand};
use coins::NamedCoin;
use keys::KeySource;
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub(super) enum RecoverCommand {
    /// Prints the public half of a recovery key, as `init --recovery-key` takes it.
    Key {
        #[command(flatten)]
        key: KeySource,
    },
    /// Writes a PSBT that spends coins by the recovery leaf, for the holders of recovery keys to sign.
    Prepare(PrepareArguments),
    /// Adds signatures of recovery keys to a PSBT.
    Sign(SignArguments),
    /// Puts the signatures together, prints the transaction, and sends it if asked to.
    Finish(FinishArguments),
}

// The chain whose coins are spent.
#[derive(Args)]
struct Source {
    #[command(flatten)]
    chain: ChainArguments,
    /// A change of the federation (SSZ in hex) as it was submitted; all since genesis, in their order. Coins of whoever they
    /// made custodians can be spent too.
    #[arg(long)]
    change: Vec<PathBuf>,
}

// The Bitcoin that is asked; none without an address.
#[derive(Args)]
struct BitcoinArguments {
    /// JSON-RPC address of a Bitcoin Core with -txindex=1, such as http://127.0.0.1:8332.
    #[arg(long)]
    bitcoin_url: Option<String>,
    /// The cookie that it writes at each start.
    #[arg(long)]
    bitcoin_cookie_file: Option<PathBuf>,
    /// A user of `rpcauth`.
    #[arg(long)]
    bitcoin_user: Option<String>,
    /// File whose first line is that user's password.
    #[arg(long)]
    bitcoin_password_file: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct PrepareArguments {
    #[command(flatten)]
    source: Source,
    /// A coin as TXID:VOUT, or TXID:VOUT=SATS where no Bitcoin is asked what it holds.
    #[arg(long, required_unless_present = "scan_from", conflicts_with = "scan_from")]
    coin: Vec<NamedCoin>,
    /// Looks for the coins instead, in all Bitcoin blocks from this height on; the greatest that are old enough are taken, as
    /// many as one transaction may spend.
    #[arg(long, requires = "bitcoin_url")]
    scan_from: Option<u32>,
    /// Whose coins they are where no Bitcoin is asked: 0 are the chain spec's custodians, 1 those of the first change that
    /// named any, and so on; the newest by default.
    #[arg(long, conflicts_with = "bitcoin_url")]
    custody: Option<usize>,
    /// The Bitcoin address that everything goes to.
    #[arg(long)]
    to: Address<NetworkUnchecked>,
    /// Satoshis per 1000 virtual bytes for the miners.
    #[arg(long)]
    fee_rate: u64,
    /// The PSBT to write; an existing file is never overwritten.
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    bitcoin: BitcoinArguments,
}

#[derive(Args)]
pub(super) struct SignArguments {
    /// The PSBT; the signatures are added to it.
    psbt: PathBuf,
    #[command(flatten)]
    source: Source,
    /// The Bitcoin address that everything is meant to go to; a PSBT that pays another one is not signed.
    #[arg(long)]
    to: Address<NetworkUnchecked>,
    #[command(flatten)]
    key: KeySource,
}

#[derive(Args)]
pub(super) struct FinishArguments {
    /// The signed PSBT, or copies that different holders have signed.
    #[arg(required = true)]
    psbt: Vec<PathBuf>,
    #[command(flatten)]
    source: Source,
    /// Sends the transaction.
    #[arg(long, requires = "bitcoin_url")]
    broadcast: bool,
    #[command(flatten)]
    bitcoin: BitcoinArguments,
}

pub(super) async fn recover(command: &RecoverCommand) -> Outcome {
    match command {
        RecoverCommand::Key { key } => {
            for key in key.read()? {
                println!("{}", key.public_key());
            }
            Ok(())
        }
        RecoverCommand::Prepare(arguments) => prepare(arguments).await,
        RecoverCommand::Sign(arguments) => sign(arguments),
        RecoverCommand::Finish(arguments) => finish(arguments).await,
    }
}

async fn prepare(arguments: &PrepareArguments) -> Outcome {
    let holders = arguments.source.read()?;
    let destination = holders.destination(&arguments.to)?;
    let bitcoin = arguments.bitcoin.port(&holders.rules).await?;
    let found = match (&bitcoin, arguments.scan_from) {
        (Some(bitcoin), Some(from)) => coins::scan(bitcoin, &holders.custodies, from).await?,
        (Some(bitcoin), None) => coins::look_up(bitcoin, &arguments.coin).await?,
        (None, _) => coins::believe(&arguments.coin, &holders.custodies, arguments.custody)?,
    };
    let pairs: Vec<_> = found.iter().map(|coin| (coin.coin, coin.output.clone())).collect();
    let spend = RecoverySpend::plan(&holders.custodies, &pairs, destination, arguments.fee_rate).map_err(refused)?;
    let psbt = spend.psbt().map_err(refused)?;
    write_private(&arguments.out, &psbt.serialize())
        .map_err(|error| Failure::work(error).help("files are never overwritten: name another one"))?;
    print!("{}", describe(&spend, &psbt, &holders.rules)?);
    if let Some(bitcoin) = &bitcoin {
        match coins::check_age(bitcoin, &spend).await {
            Ok(()) => println!("old enough: it can be sent as soon as it is signed"),
            Err(coins::AgeError::Recovery(error @ RecoveryError::TooEarly { .. })) => println!("not yet: {error}"),
            Err(other) => return Err(other.into()),
        }
    }
    println!("written to {}", arguments.out.display());
    Ok(())
}

fn sign(arguments: &SignArguments) -> Outcome {
    let holders = arguments.source.read()?;
    let destination = holders.destination(&arguments.to)?;
    let mut psbt = read_psbt(&arguments.psbt)?;
    let spend = RecoverySpend::of_psbt(&holders.custodies, &psbt).map_err(refused)?;
    if spend.output().is_none_or(|output| output.script_pubkey != destination) {
        return Err(Failure::work(format!("{} pays another address than --to", arguments.psbt.display()))
            .help("nothing was signed: ask whoever prepared it"));
    }
    // What others have added is checked before anything is added to it.
    spend.signers(&psbt).map_err(refused)?;
    for key in arguments.key.read()? {
        spend.sign(&mut psbt, &key).map_err(refused)?;
    }
    replace(&arguments.psbt, &psbt.serialize())?;
    print!("{}", describe(&spend, &psbt, &holders.rules)?);
    Ok(())
}

async fn finish(arguments: &FinishArguments) -> Outcome {
    let holders = arguments.source.read()?;
    let mut psbts = arguments.psbt.iter().map(|path| read_psbt(path)).collect::<Result<Vec<_>, _>>()?.into_iter();
    let mut psbt = psbts.next().ok_or_else(|| Failure::usage("no PSBT"))?;
    let spend = RecoverySpend::of_psbt(&holders.custodies, &psbt).map_err(refused)?;
    for other in psbts {
        spend.combine(&mut psbt, &other).map_err(refused)?;
    }
    let transaction = spend.assemble(&psbt).map_err(refused)?;
    print!("{}", describe(&spend, &psbt, &holders.rules)?);
    if let Some(bitcoin) = arguments.bitcoin.port(&holders.rules).await? {
        coins::check_age(&bitcoin, &spend).await?;
        if arguments.broadcast {
            let sent = bitcoin.broadcast(transaction).await;
            let txid = sent.map_err(|error| Failure::work(error).help("is one of the coins spent already?"))?;
            println!("sent {txid}");
            return Ok(());
        }
    }
    println!("{}", serialize_hex(&transaction));
    Ok(())
}

/// Who holds or held coins of the chain, and its rules.
struct Holders {
    rules: PegRules,
    /// Oldest first.
    custodies: Vec<Custody>,
}

impl Source {
    fn read(&self) -> Result<Holders, Failure> {
        let files = self.chain.read()?;
        let path = self.chain.chain_spec.display();
        let spec = files.spec.peg.first().ok_or_else(|| Failure::usage(format!("the chain in {path} has no peg")))?;
        let rules = PegRules::new(spec).map_err(Failure::usage)?;
        let custodies = custodies(&files.spec, &rules, &self.change)?;
        if rules.custody().recovery().is_none() {
            return Err(refused(RecoveryError::NoLeaf));
        }
        Ok(Holders { rules, custodies })
    }
}

impl Holders {
    /// The script of an address, which must be one of the chain's Bitcoin network.
    fn destination(&self, address: &Address<NetworkUnchecked>) -> Result<ScriptBuf, Failure> {
        let network = self.rules.network();
        let address = address.clone().require_network(network);
        let address =
            address.map_err(|error| Failure::usage(error).help(format!("the chain's Bitcoin is {network}")))?;
        Ok(address.script_pubkey())
    }
}

impl BitcoinArguments {
    /// The Bitcoin that the operator named, if it is the chain's.
    async fn port(&self, rules: &PegRules) -> Result<Option<CoreRpc>, Failure> {
        let section = BitcoinSection {
            url: self.bitcoin_url.clone(),
            cookie_file: self.bitcoin_cookie_file.clone(),
            user: self.bitcoin_user.clone(),
            password_file: self.bitcoin_password_file.clone(),
            embedded: false,
        };
        let core = match Choice::of(&section)? {
            Choice::Core(core) => *core,
            Choice::Absent | Choice::Embedded => return Ok(None),
        };
        let checkpoint = &rules.spec().checkpoint;
        let height = u32::try_from(checkpoint.height).map_err(Failure::usage)?;
        let placed = core.header_at(height).await.map_err(Failure::work)?;
        let header = placed.map(|placed| bitcoin::consensus::serialize(&placed.header));
        if header.is_none_or(|header| header != checkpoint.header.as_slice()) {
            return Err(Failure::usage(format!("this Bitcoin has another block {height} than the chain's checkpoint"))
                .help(format!(
                    "the chain's Bitcoin is {}; is this one behind, or of another network?",
                    rules.network()
                )));
        }
        Ok(Some(core))
    }
}

fn read_psbt(path: &Path) -> Result<Psbt, Failure> {
    let limit = u64::try_from(MAX_PSBT_BYTES).unwrap_or(u64::MAX);
    let bytes = read_bounded(path, limit).map_err(Failure::usage)?;
    decode_psbt(&bytes).map_err(|error| {
        Failure::usage(format!("{}: {error}", path.display())).help("`alys-node peg recover prepare` writes one")
    })
}

/// Puts this in the place of the file, all of it or nothing.
fn replace(path: &Path, bytes: &[u8]) -> Outcome {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let beside = Path::new(&name);
    write_private(beside, bytes).map_err(Failure::work)?;
    std::fs::rename(beside, path).map_err(|error| {
        drop(std::fs::remove_file(beside));
        Failure::work(error).help(format!("while writing {}", path.display()))
    })
}

/// What a spend does, and who has signed it.
fn describe(spend: &RecoverySpend, psbt: &Psbt, rules: &PegRules) -> Result<String, Failure> {
    let mut text = format!("transaction    {}\n", spend.transaction().compute_txid());
    for (coin, output) in spend.coins() {
        text.push_str(&format!("spends         {coin}, {} satoshis\n", output.value.to_sat()));
    }
    for output in &spend.transaction().output {
        let address = Address::from_script(&output.script_pubkey, rules.network());
        let to = address.map_or_else(|_| output.script_pubkey.to_hex_string(), |address| address.to_string());
        text.push_str(&format!("pays           {} satoshis to {to}\n", output.value.to_sat()));
    }
    text.push_str(&format!("for miners     {} satoshis\n", spend.fee().map_err(refused)?));
    let (leaf, signers) = (spend.leaf().map_err(refused)?, spend.signers(psbt).map_err(refused)?);
    let (needed, blocks) = (leaf.threshold(), leaf.blocks());
    text.push_str(&format!("signed by      {} of the {needed} recovery keys that must\n", signers.len()));
    for key in signers {
        text.push_str(&format!("               {key}\n"));
    }
    text.push_str(&format!("lock           {blocks} Bitcoin blocks\n"));
    Ok(text)
}

/// A refusal with what can be done about it.
fn refused(error: RecoveryError) -> Failure {
    let help = match &error {
        RecoveryError::NoLeaf => {
            "`alys-node init --recovery-key` writes them; nobody can add them to a chain that runs"
        }
        RecoveryError::NotOurs { .. } => {
            "coins of later custodians need the records of all changes (`--change`), which `alys-node federation records` \
             takes from a node's blocks"
        }
        RecoveryError::TooManyCoins { .. } | RecoveryError::TooHeavy { .. } => "the others go into another transaction",
        RecoveryError::Fee { .. } | RecoveryError::Dust { .. } => "a lower `--fee-rate`, or greater coins",
        RecoveryError::FeeRate { .. } => "`--fee-rate` counts satoshis per 1000 virtual bytes: 2000 are two for each",
        RecoveryError::ToCustody => "name an address that the holders of the recovery keys control",
        RecoveryError::NotARecoveryKey { .. } | RecoveryError::NoRecoveryKey { .. } => {
            "`peg.recovery` of the chain spec lists them; `alys-node peg recover key` prints that of a keystore or file"
        }
        RecoveryError::TooFew { .. } => "`alys-node peg recover sign` adds signatures; copies can be finished together",
        RecoveryError::TooEarly { .. } => "every coin must have lain for as many blocks as `peg.recovery.blocks` says",
        RecoveryError::OtherShape { .. }
        | RecoveryError::OtherTransaction { .. }
        | RecoveryError::Overspends { .. } => {
            "`alys-node peg recover prepare` writes one; all copies must come from it"
        }
        RecoveryError::Signature { .. } | RecoveryError::Incomplete { .. } => "prepare it anew, and sign again",
        RecoveryError::NoCoins
        | RecoveryError::Duplicate { .. }
        | RecoveryError::Overflow
        | RecoveryError::Hash
        | RecoveryError::Invalid(_) => "nothing was written or sent",
    };
    Failure::work(error).help(help)
}
