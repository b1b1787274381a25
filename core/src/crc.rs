//! CRC-32 (IEEE): of saved records and of gzip streams.
//!
//! Feature `fast-crc` takes the library that is fast, with a table of 16 KiB or the processor's instructions. Without the
//! feature it is a table of 64 bytes, for boards: the value is the same.

#[cfg(feature = "fast-crc")]
pub(crate) use crc32fast::{Hasher, hash};
#[cfg(not(feature = "fast-crc"))]
pub(crate) use small::{Hasher, hash};

#[cfg(any(test, not(feature = "fast-crc")))]
mod small {
    /// What half a byte does to the value.
    const TABLE: [u32; 16] = table();

    const fn table() -> [u32; 16] {
        let mut table = [0; 16];
        let mut rest: &mut [u32] = &mut table;
        let mut half: u32 = 0;
        while let Some((first, behind)) = rest.split_first_mut() {
            let mut value = half;
            let mut bit: u32 = 0;
            while bit < 4 {
                value = if value & 1 == 1 { (value >> 1) ^ 0xedb8_8320 } else { value >> 1 };
                bit = bit.wrapping_add(1);
            }
            *first = value;
            half = half.wrapping_add(1);
            rest = behind;
        }
        table
    }

    /// A CRC-32 on its way.
    #[derive(Clone, Debug)]
    pub(crate) struct Hasher(u32);

    impl Hasher {
        pub(crate) const fn new() -> Self {
            Self(u32::MAX)
        }

        pub(crate) fn update(&mut self, bytes: &[u8]) {
            for byte in bytes {
                for half in [*byte, byte >> 4] {
                    let at = (self.0 ^ u32::from(half)) & 15;
                    self.0 = (self.0 >> 4) ^ TABLE.get(at as usize).copied().unwrap_or_default();
                }
            }
        }

        pub(crate) const fn finalize(self) -> u32 {
            !self.0
        }
    }

    /// The CRC-32 of all of it.
    pub(crate) fn hash(bytes: &[u8]) -> u32 {
        let mut hasher = Hasher::new();
        hasher.update(bytes);
        hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn both_ways_give_the_value_of_the_standard() {
        for hash in [super::hash, super::small::hash] {
            assert_eq!(hash(b"123456789"), 0xcbf4_3926);
            assert_eq!(hash(b""), 0);
        }
        let all: [u8; 256] = core::array::from_fn(|byte| byte as u8);
        let mut in_parts = super::Hasher::new();
        all.chunks(7).for_each(|part| in_parts.update(part));
        assert_eq!(in_parts.finalize(), super::small::hash(&all));
    }
}
