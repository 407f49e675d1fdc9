//! A certificate stands for a quorum of members who really signed.

use super::{Check, Invariant, Truth};
use alys_chain::{Chain, ChainWrite};

#[derive(Debug, Default)]
pub(crate) struct Certificates;

impl Invariant for Certificates {
    fn name(&self) -> &'static str {
        "certificates are quorums"
    }

    fn written(&mut self, truth: &Truth, _: usize, _: &Chain, write: &ChainWrite) -> Check {
        let ChainWrite::Certificate(certificate) = write else { return Ok(()) };
        let epoch = certificate.epoch.0;
        let members = truth.members.get(&epoch).map_or(0, Vec::len);
        let signers: Vec<usize> =
            certificate.bitfield.iter().enumerate().filter(|(_, set)| *set).map(|(bit, _)| bit).collect();
        if members == 0 || signers.len() < (2 * members).div_ceil(3) {
            return Err(format!("{} of {members} members of epoch {epoch} are no quorum", signers.len()));
        }
        for bit in signers {
            let signer = truth.node_of(epoch, bit).ok_or_else(|| format!("bit {bit} names no member"))?;
            if !truth.approvals.contains(&(signer, certificate.block_root)) {
                return Err(format!("member {bit} never approved {}", certificate.block_root));
            }
        }
        Ok(())
    }
}
