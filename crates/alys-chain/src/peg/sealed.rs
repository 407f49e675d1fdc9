//! A shared value with its hash, computed once.

use alys_primitives::Root;
use sha2::{Digest as _, Sha256};
use ssz::Encode;
use std::{ops::Deref, sync::Arc};

/// An unchanging value, cheap to clone, with the hash of its encoding.
#[derive(Clone, Debug)]
pub(crate) struct Sealed<T>(Arc<(T, Root)>);

impl<T: Encode> Sealed<T> {
    pub(crate) fn new(value: T) -> Self {
        let digest: [u8; 32] = Sha256::digest(value.as_ssz_bytes()).into();
        Self(Arc::new((value, Root::from(digest))))
    }
}

impl<T> Sealed<T> {
    pub(crate) fn root(&self) -> Root {
        self.0.1
    }
}

impl<T> Deref for Sealed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.0
    }
}
