//! The signature scheme of a chain.

use alys_crypto::{AggregateSignature, PublicKey, Signature, SignatureSet, SigningRoot, verify_batch};
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

/// That these keys together signed a root.
#[derive(Clone, Debug)]
pub(crate) struct Claim<'a> {
    pub(crate) keys: Vec<&'a PublicKey>,
    pub(crate) root: SigningRoot,
    pub(crate) signature: &'a SignatureBytes,
}

/// A claim that could be parsed, with its position.
struct Parsed {
    at: usize,
    key: PublicKey,
    root: SigningRoot,
    signature: Signature,
}

fn bls_batch(claims: &[Claim<'_>], entropy: &[u8; 32]) -> Vec<usize> {
    let mut bad = Vec::new();
    let mut parsed = Vec::with_capacity(claims.len());
    for (at, claim) in claims.iter().enumerate() {
        let key = match claim.keys.as_slice() {
            [key] => Some(**key),
            keys => PublicKey::sum(keys.iter().copied()),
        };
        match key.zip(Signature::from_bytes(claim.signature.as_slice()).ok()) {
            Some((key, signature)) => parsed.push(Parsed { at, key, root: claim.root, signature }),
            None => bad.push(at),
        }
    }
    let mut open: Vec<&[Parsed]> = vec![&parsed];
    while let Some(part) = open.pop() {
        let sets: Vec<SignatureSet<'_>> = part
            .iter()
            .map(|claim| SignatureSet { key: &claim.key, root: claim.root, signature: &claim.signature })
            .collect();
        if part.is_empty() || verify_batch(&sets, entropy).is_ok() {
            continue;
        }
        match part {
            [single] => bad.push(single.at),
            more => {
                let (left, right) = more.split_at(more.len() / 2);
                open.extend([left, right]);
            }
        }
    }
    bad.sort_unstable();
    bad
}

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

    /// Checks many claims at once and gives the positions of those that do not hold. With BLS it is one random linear
    /// combination as long as all hold; a bad one is found by halving, so that it costs the good ones a logarithm more.
    pub(crate) fn verify_all(self, claims: &[Claim<'_>], entropy: &[u8; 32]) -> Vec<usize> {
        match self {
            Self::Bls => bls_batch(claims, entropy),
            #[cfg(feature = "testing")]
            Self::Unproven(_) => {
                let holds = |claim: &Claim<'_>| self.verify_aggregate(&claim.keys, claim.root, claim.signature).is_ok();
                claims.iter().enumerate().filter(|(_, claim)| !holds(claim)).map(|(at, _)| at).collect()
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
