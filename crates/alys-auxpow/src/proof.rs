//! The proof in Namecoin's layout (`CAuxPow`).

use crate::{
    DecodeError, Transaction,
    hash::sha256d,
    reader::{Reader, put_count},
};
use alloy_primitives::{B256, hex};
use std::fmt;

/// Length of a Bitcoin block header in bytes.
pub const PARENT_HEADER_BYTES: usize = 80;

/// Work that a parent chain's block did, with the way from its header to the hash that it committed to.
///
/// Normalised by construction: the layout's `hashBlock` and `nIndex`, which Namecoin ignores, and the coinbase's witness
/// are read, checked for form and dropped, so that a relayer can't make two proofs of one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AuxPow {
    /// The parent block's first transaction.
    pub coinbase: Transaction,
    /// From the coinbase, at index 0, to the parent header's Merkle root.
    pub coinbase_branch: Vec<B256>,
    /// From the committed hash to the root in the coinbase.
    pub chain_branch: Vec<B256>,
    /// Where in that tree the hash stands.
    pub chain_index: i32,
    /// The header that did the work.
    pub parent: ParentHeader,
}

impl AuxPow {
    /// Decodes Namecoin's layout: coinbase, `hashBlock`, coinbase branch, `nIndex`, chain branch, chain index, header.
    ///
    /// # Errors
    /// [`DecodeError`] says which field is wrong; bytes behind the header are an error.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes)?;
        let coinbase = Transaction::read(&mut reader)?;
        reader.hash("hashBlock field")?;
        let coinbase_branch = read_branch(&mut reader, "coinbase branch")?;
        reader.u32("nIndex field")?;
        let chain_branch = read_branch(&mut reader, "chain branch")?;
        let chain_index = reader.array("chain index").map(i32::from_le_bytes)?;
        let parent = ParentHeader(reader.array("parent header")?);
        reader.finish()?;
        Ok(Self { coinbase, coinbase_branch, chain_branch, chain_index, parent })
    }

    /// Decodes a proof that must already be in normalised form, as block bodies carry it.
    ///
    /// # Errors
    /// As [`AuxPow::decode`], and [`DecodeError::NotNormalised`].
    pub fn decode_normalised(bytes: &[u8]) -> Result<Self, DecodeError> {
        let proof = Self::decode(bytes)?;
        if proof.encode() == bytes { Ok(proof) } else { Err(DecodeError::NotNormalised) }
    }

    /// The normalised encoding: `hashBlock` and `nIndex` zero, the coinbase without witness.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.coinbase.write(&mut out);
        out.extend([0; 32]);
        write_branch(&mut out, &self.coinbase_branch);
        out.extend([0; 4]);
        write_branch(&mut out, &self.chain_branch);
        out.extend(self.chain_index.to_le_bytes());
        out.extend(self.parent.0);
        out
    }
}

fn read_branch(reader: &mut Reader<'_>, field: &'static str) -> Result<Vec<B256>, DecodeError> {
    let count = reader.count(32, field)?;
    (0..count).map(|_| reader.hash(field)).collect()
}

fn write_branch(out: &mut Vec<u8>, branch: &[B256]) {
    put_count(out, branch.len());
    for item in branch {
        out.extend(item);
    }
}

/// A Bitcoin block header, kept as the bytes that are hashed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParentHeader(pub [u8; PARENT_HEADER_BYTES]);

impl ParentHeader {
    /// The header's version as the bits it is read for.
    pub fn version(&self) -> u32 {
        u32::from_le_bytes(self.field::<0, 4>())
    }

    /// The parent's own merged-mining chain id: the version's upper 16 bits.
    pub fn chain_id(&self) -> u32 {
        self.version() >> 16
    }

    /// Whether the version says that this block was itself merged-mined.
    pub fn has_auxpow_bit(&self) -> bool {
        self.version() & AUXPOW_VERSION_BIT != 0
    }

    /// The block before, internal byte order.
    pub fn previous(&self) -> B256 {
        B256::from(self.field::<4, 32>())
    }

    /// Root of the block's transactions, internal byte order.
    pub fn merkle_root(&self) -> B256 {
        B256::from(self.field::<36, 32>())
    }

    /// The miner's time in seconds since the Unix epoch.
    pub fn time(&self) -> u32 {
        u32::from_le_bytes(self.field::<68, 4>())
    }

    /// The parent chain's own target in compact form; says nothing about ours.
    pub fn bits(&self) -> u32 {
        u32::from_le_bytes(self.field::<72, 4>())
    }

    /// The nonce.
    pub fn nonce(&self) -> u32 {
        u32::from_le_bytes(self.field::<76, 4>())
    }

    /// The header with another nonce.
    pub fn with_nonce(mut self, nonce: u32) -> Self {
        if let Some(place) = self.0.last_chunk_mut::<4>() {
            *place = nonce.to_le_bytes();
        }
        self
    }

    /// The block's hash, internal byte order.
    pub fn hash(&self) -> B256 {
        sha256d(&self.0)
    }

    fn field<const START: usize, const LENGTH: usize>(&self) -> [u8; LENGTH] {
        let mut field = [0; LENGTH];
        for (to, from) in field.iter_mut().zip(self.0.iter().skip(START)) {
            *to = *from;
        }
        field
    }
}

impl fmt::Debug for ParentHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ParentHeader({})", hex::encode(self.0))
    }
}

/// Set in the version of a merged-mined block.
const AUXPOW_VERSION_BIT: u32 = 0x100;
