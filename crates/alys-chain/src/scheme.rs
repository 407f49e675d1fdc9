//! The signature scheme of a chain.

use alys_crypto::{AggregateSignature, PublicKey, Signature, SigningRoot};
use alys_primitives::SignatureBytes;

/// How signatures are checked and summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// BLS12-381, the only one outside simulations.
    Bls,
    /// A hash in place of a signature, so that a simulation can run thousands of slots a second.
    #[cfg(feature = "testing")]
    Unproven(Option<crate::testing::Plant>),
}

/// The signature is not what it claims to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadSignature;

impl Scheme {
    /// Whether a mistake was made on purpose, so that the simulator can prove that it notices.
    #[cfg(feature = "testing")]
    pub(crate) fn planted(self, plant: crate::testing::Plant) -> bool {
        self == Self::Unproven(Some(plant))
    }

    /// Checks one signature.
    pub(crate) fn verify(
        self,
        key: &PublicKey,
        root: SigningRoot,
        signature: &SignatureBytes,
    ) -> Result<(), BadSignature> {
        match self {
            Self::Bls => {
                let signature = Signature::from_bytes(signature.as_slice()).map_err(|_| BadSignature)?;
                signature.verify(key, root).map_err(|_| BadSignature)
            }
            #[cfg(feature = "testing")]
            Self::Unproven(_) => {
                if *signature == crate::testing::sign(key, root) {
                    Ok(())
                } else {
                    Err(BadSignature)
                }
            }
        }
    }

    /// Checks that all of `keys` signed `root`.
    pub(crate) fn verify_aggregate(
        self,
        keys: &[&PublicKey],
        root: SigningRoot,
        aggregate: &SignatureBytes,
    ) -> Result<(), BadSignature> {
        match self {
            Self::Bls => {
                let aggregate = AggregateSignature::from_bytes(aggregate.as_slice()).map_err(|_| BadSignature)?;
                aggregate.verify(keys.iter().copied(), root).map_err(|_| BadSignature)
            }
            #[cfg(feature = "testing")]
            Self::Unproven(_) => {
                let signatures: Vec<_> = keys.iter().map(|key| crate::testing::sign(key, root)).collect();
                if self.aggregate(&signatures)? == *aggregate { Ok(()) } else { Err(BadSignature) }
            }
        }
    }

    /// Sums signatures that were verified.
    pub(crate) fn aggregate(self, signatures: &[SignatureBytes]) -> Result<SignatureBytes, BadSignature> {
        match self {
            Self::Bls => {
                let parsed = signatures
                    .iter()
                    .map(|signature| Signature::from_bytes(signature.as_slice()))
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|_| BadSignature)?;
                let sum = AggregateSignature::aggregate(&parsed).map_err(|_| BadSignature)?;
                Ok(SignatureBytes::from(sum.to_bytes()))
            }
            #[cfg(feature = "testing")]
            Self::Unproven(_) => Ok(signatures.iter().fold(SignatureBytes::ZERO, |sum, signature| sum ^ *signature)),
        }
    }
}
