//! Newtypes for everything that is counted.

use alloy_primitives::U256;
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! counted {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The value plus `n`, or `None` past `u64::MAX`.
            pub fn checked_add(self, n: u64) -> Option<Self> {
                self.0.checked_add(n).map(Self)
            }

            /// The value minus `n`, or `None` below zero.
            pub fn checked_sub(self, n: u64) -> Option<Self> {
                self.0.checked_sub(n).map(Self)
            }

            /// The value plus `n`, held at `u64::MAX`.
            pub fn saturating_add(self, n: u64) -> Self {
                Self(self.0.saturating_add(n))
            }

            /// The value minus `n`, held at zero.
            pub fn saturating_sub(self, n: u64) -> Self {
                Self(self.0.saturating_sub(n))
            }

            /// How far this is past `earlier`; zero if it is not past it.
            pub fn since(self, earlier: Self) -> u64 {
                self.0.saturating_sub(earlier.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl ssz::Encode for $name {
            fn is_ssz_fixed_len() -> bool {
                true
            }
            fn ssz_fixed_len() -> usize {
                <u64 as ssz::Encode>::ssz_fixed_len()
            }
            fn ssz_bytes_len(&self) -> usize {
                self.0.ssz_bytes_len()
            }
            fn ssz_append(&self, buf: &mut Vec<u8>) {
                self.0.ssz_append(buf);
            }
        }

        impl ssz::Decode for $name {
            fn is_ssz_fixed_len() -> bool {
                true
            }
            fn ssz_fixed_len() -> usize {
                <u64 as ssz::Decode>::ssz_fixed_len()
            }
            fn from_ssz_bytes(bytes: &[u8]) -> Result<Self, ssz::DecodeError> {
                u64::from_ssz_bytes(bytes).map(Self)
            }
        }

        impl tree_hash::TreeHash for $name {
            fn tree_hash_type() -> tree_hash::TreeHashType {
                u64::tree_hash_type()
            }
            fn tree_hash_packed_encoding(&self) -> tree_hash::PackedEncoding {
                self.0.tree_hash_packed_encoding()
            }
            fn tree_hash_packing_factor() -> usize {
                u64::tree_hash_packing_factor()
            }
            fn tree_hash_root(&self) -> tree_hash::Hash256 {
                self.0.tree_hash_root()
            }
        }
    };
}

counted! {
    /// A slot number. Slot `s` starts at `genesis_time + s * slot_duration`.
    Slot
}
counted! {
    /// A block's distance from genesis along its own chain.
    Height
}
counted! {
    /// A run of heights with one federation.
    Epoch
}
counted! {
    /// An amount of bitcoin in satoshis.
    Sats
}
counted! {
    /// An amount of the native coin in gwei (10^9 wei); one satoshi is ten gwei.
    Gwei
}
counted! {
    /// Wall-clock time in milliseconds since the Unix epoch.
    UnixMillis
}

/// An amount of the native coin in wei; one satoshi is 10^10 wei.
pub type Wei = U256;

impl Slot {
    /// The slot after this one, held at the last representable one.
    pub fn next(self) -> Self {
        self.saturating_add(1)
    }
}

impl Height {
    /// The height of a child block, held at the last representable one.
    pub fn next(self) -> Self {
        self.saturating_add(1)
    }
}

impl Sats {
    /// The same amount in gwei, or `None` if it does not fit (more than 1.8 billion bitcoin).
    pub fn to_gwei(self) -> Option<Gwei> {
        self.0.checked_mul(10).map(Gwei)
    }
}

impl Gwei {
    /// The same amount in wei.
    pub fn to_wei(self) -> Wei {
        // u64::MAX * 10^9 is far below 2^256.
        U256::from(self.0).wrapping_mul(U256::from(1_000_000_000u64))
    }

    /// The whole gwei in `wei` and the remainder in wei, or `None` if the gwei do not fit 64 bits.
    pub fn from_wei(wei: Wei) -> Option<(Self, Wei)> {
        let (whole, rest) = wei.div_rem(U256::from(1_000_000_000u64));
        u64::try_from(whole).ok().map(|gwei| (Self(gwei), rest))
    }
}
