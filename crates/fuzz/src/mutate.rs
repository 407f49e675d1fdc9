//! Mutations from a seed, the same on every machine.

/// The most bytes that a mutated input may grow to.
const MAX_BYTES: usize = 1 << 16;

/// Numbers that length fields and counters trip over.
const NUMBERS: [u64; 12] =
    [0, 1, 4, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX >> 1, u64::MAX];

/// A stream of pseudo-random numbers (SplitMix64). Not for secrets.
#[derive(Clone, Debug)]
pub struct Stream(u64);

impl Stream {
    /// The stream of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`; zero if that is zero.
    pub fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        self.draw().checked_rem(limit).and_then(|place| usize::try_from(place).ok()).unwrap_or(0)
    }
}

/// Changes `bytes` in one to four places; `donor` lends pieces.
pub fn mutate(bytes: &mut Vec<u8>, donor: &[u8], stream: &mut Stream) {
    for _ in 0..=stream.below(4) {
        once(bytes, donor, stream);
    }
    bytes.truncate(MAX_BYTES);
}

fn once(bytes: &mut Vec<u8>, donor: &[u8], stream: &mut Stream) {
    let place = stream.below(bytes.len());
    match stream.below(8) {
        0 => {
            let bit = stream.below(8);
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= 1 << bit;
            }
        }
        1 => {
            let value = stream.draw().to_le_bytes();
            overwrite(bytes, place, value.get(..1).unwrap_or_default());
        }
        2 => {
            let number = NUMBERS.get(stream.below(NUMBERS.len())).copied().unwrap_or(0).to_le_bytes();
            let width = [1, 2, 4, 8].get(stream.below(4)).copied().unwrap_or(1);
            overwrite(bytes, place, number.get(..width).unwrap_or_default());
        }
        3 => {
            let end = place.saturating_add(stream.below(64)).min(bytes.len());
            bytes.drain(place..end);
        }
        4 => {
            let end = place.saturating_add(stream.below(64)).min(bytes.len());
            let piece = bytes.get(place..end).unwrap_or_default().to_vec();
            bytes.splice(place..place, piece);
        }
        5 => {
            let start = stream.below(donor.len());
            let end = start.saturating_add(stream.below(128)).min(donor.len());
            bytes.splice(place..place, donor.get(start..end).unwrap_or_default().iter().copied());
        }
        6 => bytes.truncate(place),
        _ => {
            let extra = stream.draw().to_le_bytes();
            let count = stream.below(extra.len()).saturating_add(1);
            bytes.extend(extra.iter().take(count));
        }
    }
}

fn overwrite(bytes: &mut [u8], place: usize, with: &[u8]) {
    for (to, from) in bytes.iter_mut().skip(place).zip(with) {
        *to = *from;
    }
}
