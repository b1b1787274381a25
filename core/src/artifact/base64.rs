//! Base64 as signatures have it (RFC 4648, section 4): the standard letters, padded, and no bits left over.

/// The bytes that `text` stands for, in the front of `out`; `None`: it is no base64, or they do not fit.
pub(super) fn decode<'o>(text: &[u8], out: &'o mut [u8]) -> Option<&'o [u8]> {
    let (groups, []) = text.as_chunks::<4>() else { return None };
    let mut len: usize = 0;
    let mut groups = groups.iter();
    while let Some(group) = groups.next() {
        let is_last = groups.as_slice().is_empty();
        let (digits, bytes) = match group {
            [.., b'=', b'='] if is_last => (2, 1),
            [.., b'='] if is_last => (3, 2),
            _ => (4, 3),
        };
        let mut bits: u32 = 0;
        for (place, &digit) in group.iter().enumerate() {
            bits = bits << 6 | if place < digits { u32::from(value(digit)?) } else { 0 };
        }
        let [_, decoded @ ..] = bits.to_be_bytes();
        let (decoded, left_over) = decoded.split_at_checked(bytes)?;
        if left_over.iter().any(|&byte| byte != 0) {
            return None;
        }
        let end = len.checked_add(bytes)?;
        out.get_mut(len..end)?.copy_from_slice(decoded);
        len = end;
    }
    out.get(..len)
}

const fn value(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit.wrapping_sub(b'A')),
        b'a'..=b'z' => Some(digit.wrapping_sub(b'a').wrapping_add(26)),
        b'0'..=b'9' => Some(digit.wrapping_sub(b'0').wrapping_add(52)),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn decoded(text: &str) -> Option<Vec<u8>> {
        decode(text.as_bytes(), &mut [0; 16]).map(<[u8]>::to_vec)
    }

    #[test]
    fn the_examples_of_rfc_4648() {
        for (text, bytes) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(decoded(text).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        assert_eq!(decoded("+/+/"), Some([0xfb, 0xff, 0xbf].to_vec()));
    }

    #[test]
    fn one_text_for_each_signature() {
        for bad in [
            "Zg", "Zg=", "Zm9v\n", "Zm9 ", "Zh==", "Zm9=", "Zg==Zm9v", "Z===", "====", "Zm=v", "-_-_",
            "Zm8==",
        ] {
            assert_eq!(decoded(bad), None, "{bad}");
        }
        assert_eq!(decode(b"Zm9v", &mut [0; 2]), None, "it does not fit");
    }
}
