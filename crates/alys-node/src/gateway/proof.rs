//! `alys_blockProof`: what lets someone without a node check that a block is final.

use super::alys::{AlysRpc, INTERNAL, NOT_FOUND, refusal, stored};
use alys_chain::proof::{MAX_PROOF_HEADERS, ProofError, ProofParts, prove};
use alys_primitives::{BlockHeader, Height, Notarization, Root, ssz::Encode as _};
use jsonrpsee::types::ErrorObjectOwned;
use serde_json::{Value, json};

/// Descendants that are read at first; seldom are more needed.
const FIRST_LOOK: usize = 16;

impl AlysRpc {
    /// The proof of a final block of the head's chain, as SSZ in hex, with what a checker wants to know beside it.
    pub(super) fn block_proof(&self, height: Height) -> Result<Value, ErrorObjectOwned> {
        let not_final = || refusal(NOT_FOUND, format!("no final block at height {height}"));
        let bundle = self.store.bundle_at(height).map_err(|error| stored(&error))?.ok_or_else(not_final)?;
        let block = self.store.block_at(height).map_err(|error| stored(&error))?.ok_or_else(not_final)?.block;
        let carrier = self.store.block(bundle.carrier).map_err(|error| stored(&error))?.ok_or_else(not_final)?.block;
        let length = usize::try_from(bundle.to.since(bundle.from)).unwrap_or(usize::MAX).saturating_add(1);
        let roots = self.store.canonical_roots(bundle.from, length).map_err(|error| stored(&error))?;
        let above = carrier.header.height;
        let mut parts = ProofParts {
            bundle: roots.into_iter().map(|(_, root)| root).collect(),
            header: block.header,
            parent: self.header_of(above.saturating_sub(1), carrier.header.parent_root)?,
            carrier,
            descendants: Vec::new(),
        };
        let mut look = FIRST_LOOK;
        loop {
            let whole = self.descend(above, look, &mut parts.descendants)?;
            match prove(&parts, self.spec.min_finalization_depth) {
                Ok(proof) => {
                    return Ok(json!({
                        "root": parts.header.root(),
                        "height": height.0,
                        "epoch": parts.header.epoch.0,
                        "certifiedEpoch": proof.certificate.epoch.0,
                        "bundle": bundle.bundle,
                        "carrier": bundle.carrier,
                        "proof": format!("0x{}", hex::encode(proof.as_ssz_bytes())),
                    }));
                }
                Err(ProofError::NotFinal) if whole && look < MAX_PROOF_HEADERS => look = look.saturating_mul(4),
                Err(error) => return Err(refusal(INTERNAL, error.to_string())),
            }
        }
    }

    fn header_of(&self, height: Height, root: Root) -> Result<BlockHeader, ErrorObjectOwned> {
        if height == Height(0) {
            return Ok(self.spec.genesis_header());
        }
        let block = self.store.block(root).map_err(|error| stored(&error))?;
        block.map(|block| block.block.header).ok_or_else(|| refusal(NOT_FOUND, format!("no block {root}")))
    }

    /// Reads descendants of a height until there are `count`. `false` if the chain ends before.
    fn descend(
        &self,
        above: Height,
        count: usize,
        found: &mut Vec<(BlockHeader, Option<Notarization>)>,
    ) -> Result<bool, ErrorObjectOwned> {
        while found.len() < count {
            let next = u64::try_from(found.len()).ok().and_then(|read| above.next().checked_add(read));
            let block = match next {
                Some(next) => self.store.block_at(next).map_err(|error| stored(&error))?,
                None => None,
            };
            let Some(block) = block else { return Ok(false) };
            let certificate = self.store.certificate(block.block.root()).map_err(|error| stored(&error))?;
            found.push((block.block.header, certificate));
        }
        Ok(true)
    }
}
