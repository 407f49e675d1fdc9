//! The signer that holds the key, and the process around it.

use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use bitcoin::psbt::Psbt;
use tokio::net::{UnixListener, UnixStream};

use super::journal::SignedPayments;
use super::policy::Policy;
use super::socket::{Answer, read_frame, write_frame};
use super::{PaymentJob, Signer, SignerError};
use crate::signing::CustodyKey;

/// How long a question may take to arrive.
const READ_DEADLINE: Duration = Duration::from_secs(5);

/// How long to wait after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Signs in this process. `clock` tells Unix seconds.
pub struct OwnSigner<C> {
    keys: Vec<CustodyKey>,
    policy: Policy,
    signed: SignedPayments,
    clock: C,
}

impl<C: Fn() -> u64 + Send + 'static> OwnSigner<C> {
    /// A signer with these keys, one for each custody that the member is part of, which judges by `policy` and remembers in `signed`.
    pub fn new(keys: Vec<CustodyKey>, policy: Policy, signed: SignedPayments, clock: C) -> Self {
        Self { keys, policy, signed, clock }
    }

    /// Judges by other rules from now on: the federation has changed. What was signed stays remembered.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// Judges, remembers, signs: in this order.
    ///
    /// # Errors
    /// [`SignerError`].
    pub fn sign_now(&mut self, job: &PaymentJob) -> Result<Psbt, SignerError> {
        let now = (self.clock)();
        let custody = self.policy.custody(job)?;
        let key = self.keys.iter().find(|key| custody.keys().contains(&key.public_key()));
        let key = key.ok_or(SignerError::NoKey)?;
        let payment = self.policy.judge(job, &self.signed, now)?;
        self.signed.record(job, now)?;
        Ok(key.sign(custody, &payment)?)
    }
}

impl<C: Fn() -> u64 + Send + 'static> Signer for OwnSigner<C> {
    async fn sign(&mut self, job: &PaymentJob) -> Result<Psbt, SignerError> {
        self.sign_now(job)
    }
}

/// A signer behind a Unix socket that only its owner may open.
#[derive(Debug)]
pub struct SignerServer {
    listener: UnixListener,
}

impl SignerServer {
    /// Listens at `path`; a socket that a killed process left is replaced.
    ///
    /// # Errors
    /// What the system says; [`std::io::ErrorKind::AddrInUse`] if a signer answers there.
    pub async fn bind(path: &Path) -> std::io::Result<Self> {
        if UnixStream::connect(path).await.is_ok() {
            return Err(std::io::ErrorKind::AddrInUse.into());
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener })
    }

    /// Answers for ever, one question after the other.
    ///
    /// # Cancel safety
    /// Dropping the future may leave a question without an answer; what it recorded stays.
    pub async fn run<C: Fn() -> u64 + Send + 'static>(self, mut signer: OwnSigner<C>) -> Infallible {
        loop {
            match self.listener.accept().await {
                Ok((mut stream, _)) => {
                    // Whoever breaks off gets no answer, and nobody else is troubled.
                    drop(tokio::time::timeout(READ_DEADLINE, answer(&mut stream, &mut signer)).await);
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }
}

async fn answer<C: Fn() -> u64 + Send + 'static>(
    stream: &mut UnixStream,
    signer: &mut OwnSigner<C>,
) -> std::io::Result<()> {
    let bytes = read_frame(stream).await?;
    let answer = match serde_json::from_slice::<PaymentJob>(&bytes) {
        Ok(job) => match signer.sign_now(&job) {
            Ok(psbt) => Answer::Signed(psbt.serialize_hex()),
            Err(SignerError::NoKey) => Answer::NoKey,
            Err(error) => Answer::Refused(error.to_string()),
        },
        Err(error) => Answer::Refused(format!("no payment: {error}")),
    };
    write_frame(stream, &serde_json::to_vec(&answer)?).await
}
