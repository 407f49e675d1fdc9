//! What a new member or custodian offers, and a proposal made of it.

use super::current::NodeChain;
use super::proposal::Proposal;
use crate::bounded::read_bounded;
use crate::bridge::{CUSTODY_GENERATIONS, custody_key};
use crate::chain_files::member;
use crate::cli::arguments::{ChainArguments, KeyArguments};
use crate::cli::failure::{Failure, Outcome};
use alys_primitives::{
    Address, B256, CustodyOffer, Epoch, FixedBytes, Member, Members, OfferedCustody, Optional, PublicKeyBytes, Root,
    SignatureBytes, VariableList,
};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The longest file with an offer in bytes.
const MAX_OFFER_BYTES: u64 = 4096;

#[derive(Args)]
pub(in crate::cli) struct OfferArguments {
    #[command(flatten)]
    chain: ChainArguments,
    #[command(flatten)]
    key: KeyArguments,
    /// The current epoch, as `alys-node status` shows it: offers hold for one epoch.
    #[arg(long)]
    epoch: u64,
    /// Receives the member's share of the fees.
    #[arg(long)]
    fee_address: Address,
    /// Which of the keystore's custody keys is offered: 0 for a keystore that was never a custodian, one more at each change
    /// of the custody that its member stays through.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(..i64::from(CUSTODY_GENERATIONS)))]
    custody_generation: u8,
}

#[derive(Args)]
pub(in crate::cli) struct ProposeArguments {
    /// A new member: a file that `offer` wrote.
    #[arg(long)]
    add: Vec<PathBuf>,
    /// A member that leaves, by its public key.
    #[arg(long)]
    remove: Vec<PublicKeyBytes>,
    /// One of the new custodians, all of which must be named: a file that `offer` wrote in this epoch.
    #[arg(long, requires = "custody_threshold")]
    custodian: Vec<PathBuf>,
    /// How many of the new custodians must sign.
    #[arg(long, requires = "custodian")]
    custody_threshold: Option<u64>,
    /// JSON-RPC address of a node that you trust.
    #[arg(long, default_value = "http://127.0.0.1:8545")]
    rpc: String,
    /// The file to write; an existing one is never overwritten.
    #[arg(long)]
    out: PathBuf,
}

/// What a proposal needs of a new member or custodian.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Offer {
    public_key: PublicKeyBytes,
    proof_of_possession: SignatureBytes,
    fee_address: Address,
    /// The chain and the epoch that the custody key is offered for.
    genesis_root: Root,
    epoch: Epoch,
    /// X-only public key for the custody, and proof that it is held.
    custody_key: B256,
    custody_proof: FixedBytes<64>,
}

pub(super) fn offer(arguments: &OfferArguments) -> Outcome {
    let secret = arguments.key.unlock()?;
    let custody = custody_key(&secret, arguments.custody_generation)
        .ok_or_else(|| Failure::work("the keystore has no such key"))?;
    let Member { public_key, proof_of_possession, fee_address } = member(&secret, arguments.fee_address);
    let (genesis_root, epoch) = (arguments.chain.read()?.spec.genesis_root(), Epoch(arguments.epoch));
    let CustodyOffer { key, proof, .. } = custody.offer(public_key, &genesis_root, epoch);
    let offer = Offer {
        public_key,
        proof_of_possession,
        fee_address,
        genesis_root,
        epoch,
        custody_key: key,
        custody_proof: proof,
    };
    println!("{}", serde_json::to_string_pretty(&offer).map_err(Failure::work)?);
    Ok(())
}

pub(super) async fn propose(arguments: &ProposeArguments) -> Outcome {
    if arguments.add.is_empty() && arguments.remove.is_empty() && arguments.custodian.is_empty() {
        return Err(Failure::usage("a change that changes nothing").help("--add, --remove or --custodian"));
    }
    let node = NodeChain::ask(&arguments.rpc).await?;
    if let Some(change) = &node.current.change {
        return Err(Failure::work(format!("a change is in flight since height {}", change["height"]))
            .help(format!("it takes effect or lapses at height {}; rule `in-flight`", change["effectiveHeight"])));
    }
    let mut members = node.current.members.clone();
    for key in &arguments.remove {
        let before = members.len();
        members.retain(|member| member.public_key != *key);
        if members.len() == before {
            return Err(Failure::usage(format!("{key} is no member's key")).help("`alys_federation` lists the members"));
        }
    }
    for path in &arguments.add {
        let Offer { public_key, proof_of_possession, fee_address, .. } = read_offer(path)?;
        members.push(Member { public_key, proof_of_possession, fee_address });
    }
    let proposal = Proposal {
        genesis_root: node.chain.genesis_root(),
        epoch: node.current.epoch,
        members: Members::new(members).map_err(|_| Failure::usage("too many members"))?,
        custody: custody(arguments, node.current.epoch)?,
        signatures: Vec::new(),
    };
    proposal.check(&node.chain)?;
    proposal.create(&arguments.out)?;
    print!("{}", proposal.describe(&node.spec, Some(&node.current.members)));
    println!("{} members must sign {}", node.current.quorum, arguments.out.display());
    Ok(())
}

/// The new custodians, if any are named.
fn custody(arguments: &ProposeArguments, current: Epoch) -> Result<Optional<OfferedCustody>, Failure> {
    let Some(threshold) = arguments.custody_threshold else { return Ok(Optional::default()) };
    let offers = arguments.custodian.iter().map(|path| custodian(path, current)).collect::<Result<Vec<_>, _>>()?;
    let offers = VariableList::new(offers).map_err(|_| Failure::usage("too many custodians"))?;
    VariableList::new(vec![OfferedCustody { offers, threshold }]).map_err(|_| Failure::work("more than one custody"))
}

/// A custodian by its offer, which must be of the present epoch. Whether it proves anything is checked with the proposal.
fn custodian(path: &Path, current: Epoch) -> Result<CustodyOffer, Failure> {
    let Offer { public_key, epoch, custody_key, custody_proof, .. } = read_offer(path)?;
    if epoch != current {
        return Err(Failure::work(format!("{} holds for epoch {epoch}, the current one is {current}", path.display()))
            .help("its custodian offers again, with `--epoch`"));
    }
    Ok(CustodyOffer { key: custody_key, holder: public_key, proof: custody_proof })
}

fn read_offer(path: &Path) -> Result<Offer, Failure> {
    let bytes = read_bounded(path, MAX_OFFER_BYTES).map_err(Failure::usage)?;
    serde_json::from_slice(&bytes).map_err(|error| {
        Failure::usage(format!("{} is no offer of a member: {error}", path.display()))
            .help("`alys-node federation offer` prints one")
    })
}
