//! Stateless validation: what is wrong with a block whatever its ancestors are (protocol sections 2, 3 and 8).

use crate::{
    constants::Constants,
    error::{AuxPowError, BlockError, PayloadError, VerifyError},
    payload_hash::{PayloadShape, payload_hash},
};
use alys_primitives::{BlockBody, SignedBlock, TreeHash as _};

/// Checks everything that needs neither ancestors nor keys.
pub(crate) fn validate(constants: &Constants, block: &SignedBlock) -> Result<(), VerifyError> {
    let header = &block.header;
    parent_certificate(constants, block)?;
    // Hashing a body takes longer than everything else here together, and most bodies are empty.
    let empty = block.body == BlockBody::default();
    let body_root = if empty { constants.empty_body_root } else { block.body.tree_hash_root() };
    if body_root != header.body_root {
        return Err(VerifyError::BodyRoot { found: body_root, expected: header.body_root });
    }
    body(constants, block)?;
    payload(constants, block)?;
    Ok(())
}

fn parent_certificate(constants: &Constants, block: &SignedBlock) -> Result<(), VerifyError> {
    let header = &block.header;
    let of_genesis = header.parent_root == constants.genesis_block_root;
    let fits = match block.parent_notarization.first() {
        None => of_genesis && header.height.0 == 1,
        Some(parent) => {
            !of_genesis
                && header.height.0 > 1
                && parent.block_root == header.parent_root
                && parent.slot < header.slot
                && parent.epoch <= header.epoch
        }
    };
    if fits && header.slot.0 > 0 { Ok(()) } else { Err(VerifyError::ParentCertificate) }
}

fn body(constants: &Constants, block: &SignedBlock) -> Result<(), BlockError> {
    if let Some(field) = unknown_records(&block.body, constants.peg.is_some()) {
        return Err(BlockError::UnknownRecords { field });
    }
    if let Some(record) = block.body.auxpow.first() {
        let bundle = &record.bundle;
        if bundle.template_slot > block.header.slot {
            return Err(BlockError::AuxPow(AuxPowError::TemplateSlot {
                found: bundle.template_slot,
                from: bundle.template_slot.min(block.header.slot),
                to: block.header.slot,
            }));
        }
        if bundle.genesis_root != constants.genesis_root {
            return Err(BlockError::AuxPow(AuxPowError::OtherChain));
        }
    }
    Ok(())
}

/// Records that the rules do not know: those of the peg where there is none.
fn unknown_records(body: &BlockBody, has_peg: bool) -> Option<&'static str> {
    let peg = [
        (body.bitcoin_headers.is_empty(), "bitcoin_headers"),
        (body.pegins.is_empty(), "pegins"),
        (body.pegout_batches.is_empty(), "pegout_batches"),
        (body.fee_bumps.is_empty(), "fee_bumps"),
        (body.settlements.is_empty(), "settlements"),
        (body.refunds.is_empty(), "refunds"),
        (body.pause.is_empty(), "pause"),
    ];
    peg.into_iter().filter(|_| !has_peg).find_map(|(empty, field)| (!empty).then_some(field))
}

fn payload(constants: &Constants, block: &SignedBlock) -> Result<(), BlockError> {
    let (header, payload) = (&block.header, &block.payload);
    let spec = &constants.spec;
    if payload.block_number != header.height.0 {
        return Err(PayloadError::Number { found: payload.block_number, height: header.height }.into());
    }
    let timestamp = spec.slot_start(header.slot);
    if payload.timestamp != timestamp {
        return Err(PayloadError::Timestamp { found: payload.timestamp, expected: timestamp }.into());
    }
    if payload.fee_recipient != spec.evm.fee_recipient {
        let (found, expected) = (payload.fee_recipient, spec.evm.fee_recipient);
        return Err(PayloadError::FeeRecipient { found, expected }.into());
    }
    if payload.blob_gas_used != 0 || payload.excess_blob_gas != 0 {
        return Err(PayloadError::BlobGas.into());
    }
    // The header's hash must be the payload's own, so that nobody can pass a block on with another payload and have
    // the block blamed for it. Which of the shapes the height's rules want is the engine's to say.
    let claimed = payload.block_hash == header.execution_block_hash;
    let shaped = PayloadShape::ALL.into_iter().any(|shape| {
        payload_hash(payload, header.parent_root, &block.body.execution_requests, shape) == payload.block_hash
    });
    if !claimed || !shaped {
        let (found, expected) = (
            payload_hash(payload, header.parent_root, &block.body.execution_requests, PayloadShape::Prague),
            header.execution_block_hash,
        );
        return Err(PayloadError::BlockHash { found, expected }.into());
    }
    Ok(())
}
