//! A signer with a signing record (protocol section 2).

use super::{SchemeKind, sign};
use crate::{SignRefusal, SignRequest};
use alys_crypto::{PublicKey, SecretKey, SigningRoot};
use alys_primitives::{Height, Root, SignatureBytes, Slot};

/// The signer of one member. Cloning it is what an operator must never do.
#[derive(Clone, Debug)]
pub struct FakeSigner {
    key: SecretKey,
    public_key: PublicKey,
    scheme: SchemeKind,
    proposal: Option<(Slot, Root)>,
    approval: Option<(Slot, Root)>,
    parent_height: Height,
    /// While set, nothing is signed.
    pub suspended: bool,
    /// While set, the record is not consulted. For members that break their promises.
    pub unchecked: bool,
    /// While set, approvals on lower parents than before are signed: a planted mistake.
    pub any_parent: bool,
    /// Every signature that was made, for audits.
    pub signed: Vec<SignRequest>,
}

impl FakeSigner {
    /// A signer with an empty record.
    pub fn new(key: SecretKey, scheme: SchemeKind) -> Self {
        Self {
            public_key: key.public_key(),
            key,
            scheme,
            proposal: None,
            approval: None,
            parent_height: Height(0),
            suspended: false,
            unchecked: false,
            any_parent: false,
            signed: Vec::new(),
        }
    }

    /// Signs if the record allows it.
    ///
    /// # Errors
    /// [`SignRefusal`].
    pub fn answer(&mut self, request: &SignRequest) -> Result<SignatureBytes, SignRefusal> {
        if self.suspended {
            return Err(SignRefusal::Suspended);
        }
        let root = match request {
            SignRequest::Proposal { slot, root, signing_root } => {
                let allowed = self.proposal.is_none_or(|(last, same)| *slot > last || (*slot == last && *root == same));
                if !allowed && !self.unchecked {
                    return Err(SignRefusal::Recorded);
                }
                self.proposal = Some((*slot, *root));
                *signing_root
            }
            SignRequest::Approval { data, parent_height, signing_root } => {
                let same = self.approval == Some((data.slot, data.block_root));
                let rises = self.approval.is_none_or(|(last, _)| data.slot > last);
                let allowed = same || (rises && (self.any_parent || *parent_height >= self.parent_height));
                if !allowed && !self.unchecked {
                    return Err(SignRefusal::Recorded);
                }
                self.approval = Some((data.slot, data.block_root));
                self.parent_height = self.parent_height.max(*parent_height);
                *signing_root
            }
        };
        self.signed.push(*request);
        Ok(self.raw(root))
    }

    /// Signs whatever it is given.
    pub fn raw(&self, root: SigningRoot) -> SignatureBytes {
        match self.scheme {
            SchemeKind::Bls => SignatureBytes::from(self.key.sign(root).to_bytes()),
            SchemeKind::Unproven => sign(&self.public_key, root),
        }
    }
}
