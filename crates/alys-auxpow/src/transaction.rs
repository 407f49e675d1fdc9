//! The parent's coinbase transaction.

use crate::{
    DecodeError,
    hash::sha256d,
    reader::{Reader, put_bytes, put_count},
};
use alloy_primitives::B256;

/// The output index of an input that spends nothing.
pub const NULL_OUTPUT_INDEX: u32 = u32::MAX;

/// The fewest bytes of an input: outpoint, empty script, sequence.
const MIN_INPUT_BYTES: usize = 41;

/// The fewest bytes of an output: value and empty script.
const MIN_OUTPUT_BYTES: usize = 9;

/// A Bitcoin transaction without witness.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Transaction {
    /// Version.
    pub version: u32,
    /// What it spends; a coinbase has one input that spends nothing.
    pub inputs: Vec<TxInput>,
    /// What it pays.
    pub outputs: Vec<TxOutput>,
    /// Lock time.
    pub lock_time: u32,
}

/// An input.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TxInput {
    /// The transaction that is spent.
    pub previous_txid: B256,
    /// Which of its outputs.
    pub previous_index: u32,
    /// The scriptSig.
    pub script: Vec<u8>,
    /// Sequence number.
    pub sequence: u32,
}

impl TxInput {
    /// Whether this is the input of a coinbase.
    pub fn is_null(&self) -> bool {
        self.previous_txid.is_zero() && self.previous_index == NULL_OUTPUT_INDEX
    }
}

/// An output.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TxOutput {
    /// Satoshis.
    pub value: u64,
    /// The script that may spend them.
    pub script: Vec<u8>,
}

impl Transaction {
    /// Decodes a whole transaction, with or without witness; the witness is checked for form and dropped.
    ///
    /// # Errors
    /// [`DecodeError`] for anything that Bitcoin Core would not decode, and for trailing bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes)?;
        let transaction = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(transaction)
    }

    /// Reads as Bitcoin Core does: no inputs mean either a witness (BIP-144's marker) or, if the flag behind it is
    /// zero, a transaction with neither inputs nor outputs.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let version = reader.u32("coinbase version")?;
        let mut inputs = read_inputs(reader)?;
        let mut outputs = Vec::new();
        let mut flag = 0;
        if inputs.is_empty() {
            [flag] = reader.array("coinbase witness flag")?;
            if flag != 0 {
                inputs = read_inputs(reader)?;
                outputs = read_outputs(reader)?;
            }
        } else {
            outputs = read_outputs(reader)?;
        }
        if flag & 1 != 0 {
            skip_witness(reader, inputs.len())?;
        }
        if flag & !1 != 0 {
            return Err(DecodeError::UnknownFlag { flag });
        }
        Ok(Self { version, inputs, outputs, lock_time: reader.u32("coinbase lock time")? })
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.version.to_le_bytes());
        put_count(out, self.inputs.len());
        for input in &self.inputs {
            out.extend(input.previous_txid);
            out.extend(input.previous_index.to_le_bytes());
            put_bytes(out, &input.script);
            out.extend(input.sequence.to_le_bytes());
        }
        put_count(out, self.outputs.len());
        for output in &self.outputs {
            out.extend(output.value.to_le_bytes());
            put_bytes(out, &output.script);
        }
        out.extend(self.lock_time.to_le_bytes());
    }

    /// The encoding without witness.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// Hash of the encoding without witness, internal byte order.
    pub fn txid(&self) -> B256 {
        sha256d(&self.encode())
    }

    /// Whether it has a coinbase's one null input.
    pub fn is_coinbase(&self) -> bool {
        matches!(self.inputs.as_slice(), [input] if input.is_null())
    }
}

fn read_inputs(reader: &mut Reader<'_>) -> Result<Vec<TxInput>, DecodeError> {
    let count = reader.count(MIN_INPUT_BYTES, "coinbase inputs")?;
    (0..count)
        .map(|_| {
            Ok(TxInput {
                previous_txid: reader.hash("coinbase input")?,
                previous_index: reader.u32("coinbase input")?,
                script: reader.bytes("coinbase scriptSig")?.to_vec(),
                sequence: reader.u32("coinbase input")?,
            })
        })
        .collect()
}

fn read_outputs(reader: &mut Reader<'_>) -> Result<Vec<TxOutput>, DecodeError> {
    let count = reader.count(MIN_OUTPUT_BYTES, "coinbase outputs")?;
    (0..count)
        .map(|_| {
            Ok(TxOutput {
                value: reader.u64("coinbase output")?,
                script: reader.bytes("coinbase output script")?.to_vec(),
            })
        })
        .collect()
}

fn skip_witness(reader: &mut Reader<'_>, inputs: usize) -> Result<(), DecodeError> {
    let mut empty = true;
    for _ in 0..inputs {
        for _ in 0..reader.count(1, "coinbase witness")? {
            reader.bytes("coinbase witness")?;
            empty = false;
        }
    }
    if empty { Err(DecodeError::EmptyWitness) } else { Ok(()) }
}
