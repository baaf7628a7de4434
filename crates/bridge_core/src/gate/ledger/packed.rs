//! Fingerprints that do not change any more, packed: six bytes and a half each, five and a half where each key has two.
//!
//! They are sorted and cut to their leading bits. The first of these say in which bucket one is, so that only the
//! others are written, about eight to a bucket. An id that is not there is taken for one that is with a probability of
//! `len / 2^bits`: for a user with a thousand remembered ids once in 7·10^13 copies, or in 3·10^11 where keys have two.

/// Leading bits that are kept of fingerprints of keys with one id. At most 57, which one unaligned read of eight bytes
/// yields.
pub(super) const BITS: u32 = 56;
/// The same where keys have two ids (Chat3 of 2025-11-05): both together fit into twelve bytes.
pub(super) const BITS_OF_TWO: u32 = 49;
/// Most fingerprints in one: places are 16 bits wide.
pub(super) const MOST: usize = 4_096;

#[derive(Clone, Debug)]
pub(super) struct Packed {
    bits: u32,
    /// Bits of each that are written.
    width: u32,
    /// Where each bucket begins, and where the last one ends, 16 bits each; then what is written. In one piece: to look
    /// one up touches little memory.
    bytes: Box<[u8]>,
}

impl Packed {
    /// At most [`MOST`] of them.
    pub(super) fn of(mut fingerprints: Vec<u64>, bits: u32) -> Self {
        fingerprints.iter_mut().for_each(|fingerprint| *fingerprint >>= u64::BITS - bits);
        fingerprints.sort_unstable();
        fingerprints.dedup();
        let len = fingerprints.len().min(MOST);
        let index = (len / 8).max(1).ilog2();
        let width = bits - index;
        let mut bytes = Vec::new();
        for bucket in 0..=(1_u64 << index) {
            let start = fingerprints[..len].partition_point(|fingerprint| fingerprint >> width < bucket);
            bytes.extend_from_slice(&u16::try_from(start).unwrap_or(u16::MAX).to_le_bytes());
        }
        let written = bytes.len();
        bytes.resize(written + (len * width as usize).div_ceil(8) + 8, 0);
        for (place, fingerprint) in fingerprints[..len].iter().enumerate() {
            let (byte, shift) = position(place, width);
            let eight = &mut bytes[written + byte..written + byte + 8];
            let before = u64::from_le_bytes(eight.try_into().unwrap_or_default());
            eight.copy_from_slice(&(before | ((fingerprint & mask(width)) << shift)).to_le_bytes());
        }
        Self { bits, width, bytes: bytes.into() }
    }

    pub(super) fn contains(&self, fingerprint: u64) -> bool {
        let kept = fingerprint >> (u64::BITS - self.bits);
        let bucket = usize::try_from(kept >> self.width).unwrap_or(usize::MAX);
        self.bucket(bucket).any(|place| self.written(place) == kept & mask(self.width))
    }

    /// All of them, cut; ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        let whole = |bucket: usize, place| ((bucket as u64) << self.width) | self.written(place);
        let all =
            (0..self.buckets()).flat_map(move |bucket| self.bucket(bucket).map(move |place| whole(bucket, place)));
        all.map(|kept| kept << (u64::BITS - self.bits))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.start(self.buckets())
    }

    pub(super) const fn bits(&self) -> u32 {
        self.bits
    }

    /// Memory beside the value itself.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    const fn buckets(&self) -> usize {
        1 << (self.bits - self.width)
    }

    fn bucket(&self, bucket: usize) -> std::ops::Range<usize> {
        self.start(bucket)..self.start(bucket + 1)
    }

    fn start(&self, bucket: usize) -> usize {
        u16::from_le_bytes([self.bytes[2 * bucket], self.bytes[2 * bucket + 1]]).into()
    }

    fn written(&self, place: usize) -> u64 {
        let (byte, shift) = position(place, self.width);
        let begin = 2 * (self.buckets() + 1) + byte;
        let eight = self.bytes[begin..begin + 8].try_into().unwrap_or_default();
        (u64::from_le_bytes(eight) >> shift) & mask(self.width)
    }
}

/// The byte in which the value at `place` begins, and the bit.
const fn position(place: usize, width: u32) -> (usize, usize) {
    let bit = place * width as usize;
    (bit / 8, bit % 8)
}

const fn mask(width: u32) -> u64 {
    (1 << width) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that look random.
    fn numbers(count: u64) -> Vec<u64> {
        (1..=count).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect()
    }

    #[test]
    fn what_was_packed_is_found_and_comes_out_again() {
        for (count, bits) in [(1, BITS), (7, BITS), (16, BITS_OF_TWO), (255, BITS), (4_096, BITS_OF_TWO)] {
            let all = numbers(count);
            let packed = Packed::of(all.clone(), bits);
            assert_eq!(packed.len(), all.len());
            assert!(all.iter().all(|fingerprint| packed.contains(*fingerprint)), "{count}");
            let mut cut: Vec<u64> =
                all.iter().map(|fingerprint| fingerprint >> (64 - bits) << (64 - bits)).collect();
            cut.sort_unstable();
            assert_eq!(packed.iter().collect::<Vec<_>>(), cut);
            let others = numbers(100_000).into_iter().skip(all.len());
            assert_eq!(others.filter(|other| packed.contains(*other)).count(), 0, "{count}");
            assert!(packed.contains(all[0] ^ 1), "only the leading bits count");
        }
    }

    #[test]
    fn it_is_small() {
        for (bits, most) in [(BITS, 6.7), (BITS_OF_TWO, 5.8)] {
            let packed = Packed::of(numbers(1_000), bits);
            #[expect(clippy::cast_precision_loss, reason = "a thousand")]
            let each = packed.bytes() as f64 / packed.len() as f64;
            assert!(each < most, "{each}");
        }
    }
}
