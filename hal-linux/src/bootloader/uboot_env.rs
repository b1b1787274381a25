//! U-Boot's environment as bytes (BOOT-40, BOOT-41).
//!
//! ```text
//! single:     CRC32 (4)              name=value NUL ... NUL NUL filler
//! redundant:  CRC32 (4) flags (1)    name=value NUL ... NUL NUL filler
//!                                    `---------- covered by the CRC -------
//! ```

use super::vars::{Vars, VarsError};

/// One stored environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Copy {
    pub(crate) flags: u8,
    pub(crate) vars: Vars,
    /// The CRC is stored with its most significant byte first: a big-endian target, or an image made for one.
    pub(crate) big_endian: bool,
}

/// How redundant copies are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Each write counts one up: all storage but NOR flash.
    Counter,
    /// NOR flash: 1 is in force, 0 is obsolete.
    Boolean,
}

const CRC: usize = 4;

/// Length of what stands before the data.
const fn head(redundant: bool) -> usize {
    if redundant { CRC + 1 } else { CRC }
}

/// Reads one copy; `None` when its CRC is wrong or its content cannot be variables.
pub(crate) fn decode(bytes: &[u8], redundant: bool) -> Option<Copy> {
    let stored = *bytes.first_chunk::<CRC>()?;
    let data = bytes.get(head(redundant)..)?;
    let crc = crc32fast::hash(data);
    let big_endian = match (u32::from_le_bytes(stored) == crc, u32::from_be_bytes(stored) == crc) {
        (true, _) => false,
        (false, true) => true,
        (false, false) => return None,
    };
    let flags = if redundant { *bytes.get(CRC)? } else { 0 };
    Some(Copy { flags, vars: variables(data)?, big_endian })
}

fn variables(mut data: &[u8]) -> Option<Vars> {
    let mut vars = Vars::default();
    loop {
        let Some(end) = data.iter().position(|&byte| byte == 0) else {
            // No end at all: a cut-off last entry, or 0xff filler without an end mark.
            return data.iter().all(|&byte| byte == 0xff).then_some(vars);
        };
        let (entry, rest) = data.split_at(end);
        if entry.is_empty() {
            return Some(vars);
        }
        // An entry without '=' is no variable; U-Boot passes over it as well.
        if let Some(equals) = entry.iter().position(|&byte| byte == b'=')
            && equals > 0
        {
            vars.push(&entry[..equals], &entry[equals + 1..]);
        }
        data = rest.get(1..)?;
    }
}

/// Writes one copy of `size` bytes.
pub(crate) fn encode(copy: &Copy, redundant: bool, size: usize) -> Result<Vec<u8>, VarsError> {
    let mut bytes = vec![0; head(redundant)];
    for (name, value) in copy.vars.iter() {
        bytes.extend_from_slice(name);
        bytes.push(b'=');
        bytes.extend_from_slice(value);
        bytes.push(0);
    }
    bytes.push(0);
    if bytes.len() > size {
        return Err(VarsError::TooLarge { needed: bytes.len(), size });
    }
    bytes.resize(size, 0);
    let crc = crc32fast::hash(bytes.get(head(redundant)..).unwrap_or_default());
    bytes[..CRC].copy_from_slice(&if copy.big_endian { crc.to_be_bytes() } else { crc.to_le_bytes() });
    if redundant {
        bytes[CRC] = copy.flags;
    }
    Ok(bytes)
}

/// Which of two copies is in force, 0 or 1; `None` when neither is whole.
pub(crate) fn choose(scheme: Scheme, flags: [Option<u8>; 2]) -> Option<usize> {
    let (first, second) = match flags {
        [None, None] => return None,
        [Some(_), None] => return Some(0),
        [None, Some(_)] => return Some(1),
        [Some(first), Some(second)] => (first, second),
    };
    let second_wins = match scheme {
        Scheme::Counter => match (first, second) {
            // The counter went round.
            (255, 0) => true,
            (0, 255) => false,
            _ => second > first,
        },
        Scheme::Boolean => second == ACTIVE && first != ACTIVE,
    };
    Some(usize::from(second_wins))
}

/// Flags of the boolean scheme.
pub(crate) const ACTIVE: u8 = 1;
pub(crate) const OBSOLETE: u8 = 0;

/// The flags of the copy that comes after one with `flags`.
pub(crate) const fn next_flags(scheme: Scheme, flags: u8) -> u8 {
    match scheme {
        Scheme::Counter => flags.wrapping_add(1),
        Scheme::Boolean => ACTIVE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(text: &[(&str, &str)], flags: u8) -> Copy {
        let mut vars = Vars::default();
        for (name, value) in text {
            vars.push(name.as_bytes(), value.as_bytes());
        }
        Copy { flags, vars, big_endian: false }
    }

    #[test]
    fn copies_come_back_as_they_were_written() {
        for redundant in [false, true] {
            for big_endian in [false, true] {
                let flags = if redundant { 7 } else { 0 };
                let copy = Copy { big_endian, ..copy(&[("a", "1=2\n3"), ("b", ""), ("c", "ü")], flags) };
                let bytes = encode(&copy, redundant, 64).unwrap();
                assert_eq!(bytes.len(), 64);
                assert_eq!(decode(&bytes, redundant), Some(copy.clone()));
                assert_ne!(
                    decode(&bytes, !redundant),
                    Some(copy),
                    "the layouts are not taken for each other"
                );
            }
        }
    }

    #[test]
    fn any_flipped_bit_of_the_data_is_noticed() {
        let bytes = encode(&copy(&[("a", "1")], 3), true, 32).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let flags = bit / 8 == CRC;
            assert_eq!(decode(&bad, true).is_some(), flags, "bit {bit}");
        }
    }

    #[test]
    fn both_fillers_and_odd_contents_are_read() {
        let with_crc = |data: &[u8]| {
            let mut bytes = crc32fast::hash(data).to_le_bytes().to_vec();
            bytes.extend_from_slice(data);
            decode(&bytes, false).map(|copy| copy.vars)
        };
        let one = copy(&[("a", "1")], 0).vars;
        assert_eq!(with_crc(b"a=1\0\0\xff\xff\xff"), Some(one.clone()));
        assert_eq!(with_crc(b"a=1\0\0\0\0\0"), Some(one.clone()));
        assert_eq!(with_crc(b"a=1\0\0"), Some(one.clone()), "full to the last byte");
        assert_eq!(with_crc(b"a=1\0"), Some(one.clone()), "the last NUL is missing");
        assert_eq!(with_crc(b"a=1\0\xff\xff"), Some(one.clone()));
        assert_eq!(with_crc(b"a=1"), None, "cut off");
        assert_eq!(with_crc(b"\0\0\0"), Some(Vars::default()));
        assert_eq!(with_crc(b"\xff\xff"), Some(Vars::default()));
        assert_eq!(with_crc(b""), Some(Vars::default()));
        assert_eq!(with_crc(b"junk\0=x\0a=1\0\0"), Some(one));
        for bytes in [&b""[..], b"123", b"1234", b"12345"] {
            assert_eq!(decode(bytes, true).map(|copy| copy.vars), None, "{bytes:?}");
        }
    }

    #[test]
    fn any_bytes_are_read_and_what_was_read_comes_back() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let alphabet = b"a=\0\n\xff";
        for length in (0..2000).map(|round| round % 40) {
            let mut data = Vec::new();
            while data.len() < length {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                data.push(alphabet[usize::try_from(state >> 33).unwrap() % alphabet.len()]);
            }
            let mut bytes = crc32fast::hash(&data).to_le_bytes().to_vec();
            bytes.extend_from_slice(&data);
            if let Some(copy) = decode(&bytes, false) {
                assert_eq!(decode(&encode(&copy, false, 128).unwrap(), false), Some(copy));
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        // CRC, "a=12", its NUL and the last one.
        assert!(encode(&copy(&[("a", "12")], 0), false, 10).is_ok());
        let error = encode(&copy(&[("a", "12")], 0), false, 9).unwrap_err();
        assert_eq!(error, VarsError::TooLarge { needed: 10, size: 9 });
    }

    #[test]
    fn the_copy_in_force_is_chosen_by_its_flags() {
        use Scheme::{Boolean, Counter};
        for (scheme, flags, chosen) in [
            (Counter, [None, None], None),
            (Counter, [Some(0), None], Some(0)),
            (Counter, [None, Some(0)], Some(1)),
            (Counter, [Some(1), Some(2)], Some(1)),
            (Counter, [Some(2), Some(1)], Some(0)),
            (Counter, [Some(5), Some(5)], Some(0)),
            (Counter, [Some(255), Some(0)], Some(1)),
            (Counter, [Some(0), Some(255)], Some(0)),
            (Counter, [Some(254), Some(255)], Some(1)),
            (Boolean, [Some(1), Some(0)], Some(0)),
            (Boolean, [Some(0), Some(1)], Some(1)),
            (Boolean, [Some(1), Some(1)], Some(0)),
            (Boolean, [Some(0), Some(0)], Some(0)),
        ] {
            assert_eq!(choose(scheme, flags), chosen, "{scheme:?} {flags:?}");
        }
    }
}
