//! The way to a signer in a process of its own: one question and one answer for each connection, as JSON behind a length.

use std::io::{Error, ErrorKind};
use std::path::PathBuf;
use std::time::Duration;

use bitcoin::hex::FromHex as _;
use bitcoin::psbt::Psbt;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::{PaymentJob, Signer, SignerError};
use crate::core_rpc::cut;
use crate::signing::{MAX_PSBT_BYTES, decode_psbt};

/// The longest frame: the longest PSBT in hex, and some.
const MAX_FRAME: usize = 2 * MAX_PSBT_BYTES + 1_024;

/// What a signer answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Answer {
    /// A PSBT in hex.
    Signed(String),
    /// Why not.
    Refused(String),
    /// No key of the coins' custody.
    NoKey,
}

/// A signer at the other end of a Unix socket.
#[derive(Clone, Debug)]
pub struct SocketSigner {
    path: PathBuf,
    within: Duration,
}

impl SocketSigner {
    /// The signer at `path`, which must answer `within` this time.
    pub fn new(path: PathBuf, within: Duration) -> Self {
        Self { path, within }
    }

    async fn exchange(&self, job: &PaymentJob) -> std::io::Result<Answer> {
        let mut stream = UnixStream::connect(&self.path).await?;
        write_frame(&mut stream, &serde_json::to_vec(job)?).await?;
        Ok(serde_json::from_slice(&read_frame(&mut stream).await?)?)
    }
}

impl Signer for SocketSigner {
    async fn sign(&mut self, job: &PaymentJob) -> Result<Psbt, SignerError> {
        let gone = |reason: String| SignerError::Unavailable { path: self.path.display().to_string(), reason };
        let answer = match tokio::time::timeout(self.within, self.exchange(job)).await {
            Ok(answer) => answer.map_err(|error| gone(error.to_string()))?,
            Err(_) => return Err(gone(format!("not within {} ms", self.within.as_millis()))),
        };
        match answer {
            Answer::NoKey => Err(SignerError::NoKey),
            Answer::Refused(reason) => Err(SignerError::RefusedThere { reason: cut(&reason) }),
            Answer::Signed(hex) => {
                let bytes = Vec::from_hex(&hex).map_err(|error| gone(error.to_string()))?;
                Ok(decode_psbt(&bytes)?)
            }
        }
    }
}

pub(super) async fn read_frame(stream: &mut UnixStream) -> std::io::Result<Vec<u8>> {
    let length = usize::try_from(stream.read_u32().await?).unwrap_or(usize::MAX);
    if length > MAX_FRAME {
        return Err(Error::new(ErrorKind::InvalidData, format!("{length} bytes are more than {MAX_FRAME}")));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

pub(super) async fn write_frame(stream: &mut UnixStream, bytes: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| Error::from(ErrorKind::InvalidData))?;
    stream.write_u32(length).await?;
    stream.write_all(bytes).await?;
    stream.flush().await
}
