//! The file that travels from member to member.

use crate::bounded::read_bounded;
use crate::cli::failure::Failure;
use crate::key_files::write_private;
use alys_chain::peg::PegRules;
use alys_chain::{Chain, FederationError, Verifier, change_root};
use alys_crypto::{AggregateSignature, PublicKey, Signature, SigningRoot};
use alys_primitives::{
    BitVector, ChainSpec, Custodians, CustodyOffer, Epoch, FederationChange, Member, Members, OfferedCustody, Optional,
    PublicKeyBytes, Root, SignatureBytes,
};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The longest file with a proposal in bytes: 128 members, 128 custodians and 128 signatures take 140 thousand.
const MAX_PROPOSAL_BYTES: u64 = 256 * 1024;

/// A change of the federation, and who has signed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Proposal {
    pub(super) genesis_root: Root,
    /// The epoch whose members sign; the new ones begin the next.
    pub(super) epoch: Epoch,
    /// All members of the next epoch, in their order.
    pub(super) members: Members,
    /// Who holds the deposits from then on; empty if that does not change.
    pub(super) custody: Optional<OfferedCustody>,
    pub(super) signatures: Vec<MemberSignature>,
}

/// One member's signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MemberSignature {
    pub(super) public_key: PublicKeyBytes,
    pub(super) signature: SignatureBytes,
}

impl Proposal {
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = read_bounded(path, MAX_PROPOSAL_BYTES).map_err(Failure::usage)?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Failure::usage(format!("{} is no proposal to change the federation: {error}", path.display()))
                .help("`alys-node federation propose` writes one")
        })
    }

    /// Writes a new file.
    pub(super) fn create(&self, path: &Path) -> Result<(), Failure> {
        let text = serde_json::to_vec_pretty(self).map_err(Failure::work)?;
        write_private(path, &text)
            .map_err(|error| Failure::work(error).help("files are never overwritten: name another one"))
    }

    /// Puts this in the place of the file, all of it or nothing.
    pub(super) fn replace(&self, path: &Path) -> Result<(), Failure> {
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let beside = Path::new(&name);
        self.create(beside)?;
        std::fs::rename(beside, path).map_err(|error| {
            drop(std::fs::remove_file(beside));
            Failure::work(error).help(format!("while writing {}", path.display()))
        })
    }

    /// Checks everything but signatures that a node would: chain, members, custodians.
    pub(super) fn check(&self, chain: &Chain) -> Result<(), Failure> {
        self.broken_rule(chain).map_err(|error| {
            let about =
                if error == FederationError::OtherChain { self.genesis_root.to_string() } else { String::new() };
            let help = format!("rule `{}` {about}", error.rule());
            Failure::work(error).help(help.trim_end())
        })
    }

    fn broken_rule(&self, chain: &Chain) -> Result<(), FederationError> {
        if self.genesis_root != chain.genesis_root() {
            return Err(FederationError::OtherChain);
        }
        let verifier = chain.verifier();
        verifier.members(&self.members)?;
        self.custody.iter().try_for_each(|offered| verifier.custodians(self.epoch, offered))
    }

    /// What members sign.
    pub(super) fn signing_root(&self, verifier: &Verifier) -> SigningRoot {
        verifier.federation_signing_root(self.epoch, &self.members, &self.custody)
    }

    /// Checks each signature, so that a bad one is found with its owner's name.
    pub(super) fn check_signatures(&self, verifier: &Verifier) -> Result<(), Failure> {
        let root = self.signing_root(verifier);
        for signed in &self.signatures {
            let bad = |error: Box<dyn std::error::Error + Send + Sync>| {
                Failure::work(format!("the signature of {}: {error}", signed.public_key))
                    .help("that member signs again, on a copy without the bad signature")
            };
            let key = PublicKey::from_bytes(signed.public_key.as_slice()).map_err(|error| bad(error.into()))?;
            let signature = Signature::from_bytes(signed.signature.as_slice()).map_err(|error| bad(error.into()))?;
            signature.verify(&key, root).map_err(|error| bad(error.into()))?;
        }
        Ok(())
    }

    /// Takes in the signatures of a copy.
    pub(super) fn merge(&mut self, copy: Self) {
        for signed in copy.signatures {
            if self.signatures.iter().all(|known| known.public_key != signed.public_key) {
                self.signatures.push(signed);
            }
        }
    }

    /// What it decides, whoever has signed: copies of one proposal have one root.
    pub(super) fn root(&self) -> Root {
        change_root(&self.unsigned())
    }

    fn unsigned(&self) -> FederationChange {
        FederationChange {
            genesis_root: self.genesis_root,
            epoch: self.epoch,
            members: self.members.clone(),
            custody: self.custody.clone(),
            bitfield: BitVector::new(),
            aggregate_signature: SignatureBytes::ZERO,
        }
    }

    /// The record that block bodies carry, with the signatures of these current members.
    pub(super) fn record(&self, members: &[Member]) -> Result<FederationChange, Failure> {
        let mut record = self.unsigned();
        let mut signatures = Vec::new();
        for signed in &self.signatures {
            let index = members.iter().position(|member| member.public_key == signed.public_key).ok_or_else(|| {
                Failure::usage(format!("{} is no member's key", signed.public_key))
                    .help("members of the current epoch decide; take that signature out of the file")
            })?;
            record.bitfield.set(index, true).map_err(|_| Failure::work("too many members"))?;
            signatures.push(Signature::from_bytes(signed.signature.as_slice()).map_err(Failure::usage)?);
        }
        if signatures.is_empty() {
            return Err(
                Failure::usage("nobody has signed").help("`alys-node federation sign` adds a member's signature")
            );
        }
        record.aggregate_signature =
            AggregateSignature::aggregate(&signatures).map_err(Failure::usage)?.to_bytes().into();
        Ok(record)
    }

    /// For people: what changes and who signed, against the members of now where they are known.
    pub(super) fn describe(&self, spec: &ChainSpec, now: Option<&[Member]>) -> String {
        let mut text = format!(
            "change    {}\nchain     {}\nepoch     {} decides, {} is changed\n",
            self.root(),
            self.genesis_root,
            self.epoch,
            self.epoch.saturating_add(1),
        );
        text.push_str(&format!("members   {}\n", self.members.len()));
        for member in &self.members {
            let mark = match now {
                Some(now) if now.contains(member) => "=",
                Some(_) => "+",
                None => " ",
            };
            text.push_str(&format!("  {mark} {}  fees to {}\n", member.public_key, member.fee_address));
        }
        for gone in now.unwrap_or_default().iter().filter(|member| !self.members.contains(member)) {
            text.push_str(&format!("  - {}  fees to {}\n", gone.public_key, gone.fee_address));
        }
        match self.custody.first() {
            None => text.push_str("custody   stays\n"),
            Some(offered) => {
                text.push_str(&format!("custody   {} of {}", offered.threshold, offered.offers.len()));
                if let Some(address) = custody_address(spec, &offered.custodians()) {
                    text.push_str(&format!(" at {address}"));
                }
                text.push('\n');
                for CustodyOffer { key, holder, .. } in &offered.offers {
                    text.push_str(&format!("    {}  held by {holder}\n", hex::encode(key)));
                }
            }
        }
        text.push_str(&format!("signed    {}\n", self.signatures.len()));
        self.signatures.iter().for_each(|signed| text.push_str(&format!("    {}\n", signed.public_key)));
        text
    }
}

/// Where deposits to these custodians go.
pub(super) fn custody_address(spec: &ChainSpec, custodians: &Custodians) -> Option<String> {
    let rules = PegRules::new(spec.peg.first()?).ok()?;
    let custody = rules.custody_by(custodians).ok()?;
    bitcoin::Address::from_script(custody.script_pubkey(), rules.network()).ok().map(|address| address.to_string())
}
