//! Reads and writes the few DER elements that keys consist of, and reads those of certificates.

/// `SEQUENCE`.
pub(crate) const SEQUENCE: u8 = 0x30;
/// `INTEGER`.
pub(crate) const INTEGER: u8 = 0x02;
/// `BIT STRING`.
pub(crate) const BIT_STRING: u8 = 0x03;
/// `OCTET STRING`.
pub(crate) const OCTET_STRING: u8 = 0x04;
/// `OBJECT IDENTIFIER`.
pub(crate) const OID: u8 = 0x06;

/// Object identifier 1.2.840.113549.1.1.1.
pub(crate) const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
/// Object identifier 1.2.840.10045.2.1.
pub(crate) const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
/// Object identifier 1.2.840.10045.3.1.7.
pub(crate) const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
/// Object identifier 1.3.101.112.
pub(crate) const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// Reads one element after the other. A method returns `None` when the next element has another tag or is damaged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    /// The content of the next element, which must have this tag.
    pub(crate) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (&found, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (len, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81 => {
                let (&len, rest) = rest.split_first()?;
                (Some(usize::from(len)).filter(|&len| len > 0x7f)?, rest)
            }
            0x82 => {
                let (len, rest) = rest.split_first_chunk::<2>()?;
                (Some(usize::from(u16::from_be_bytes(*len))).filter(|&len| len > 0xff)?, rest)
            }
            // Longer than any key that is read here, or of indefinite length.
            0x80 | 0x83.. => return None,
        };
        let (content, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        (found == tag).then_some(content)
    }

    /// As [`Reader::take`], with a reader over the content.
    pub(crate) fn enter(&mut self, tag: u8) -> Option<Self> {
        self.take(tag).map(Self)
    }

    /// Content of a bit string of whole bytes.
    pub(crate) fn bits(&mut self) -> Option<&'a [u8]> {
        self.take(BIT_STRING)?.strip_prefix(&[0])
    }

    /// Whether the next element has this tag.
    pub(crate) fn is_next(&self, tag: u8) -> bool {
        self.0.first() == Some(&tag)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Writes an element with this tag whose content is `parts`.
pub(crate) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let len = parts.iter().map(|part| part.len()).sum::<usize>();
    let bytes = len.to_be_bytes();
    let digits = &bytes[bytes.iter().position(|&b| b != 0).unwrap_or(bytes.len() - 1)..];
    let mut der = Vec::with_capacity(len + 6);
    der.push(tag);
    if len > 0x7f {
        der.push(0x80 | u8::try_from(digits.len()).unwrap_or(0x7f));
    }
    der.extend_from_slice(digits);
    for part in parts {
        der.extend_from_slice(part);
    }
    der
}

/// `SubjectPublicKeyInfo` of `key`; `parameters` is a whole encoded element, or empty.
pub(crate) fn public_key_info(algorithm: &[u8], parameters: &[u8], key: &[u8]) -> Vec<u8> {
    let algorithm = element(SEQUENCE, &[&element(OID, &[algorithm]), parameters]);
    element(SEQUENCE, &[&algorithm, &element(BIT_STRING, &[&[0], key])])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for len in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff] {
            let content = vec![7; len];
            let der = element(OCTET_STRING, &[&content, &[]]);
            let mut reader = Reader(&der);
            assert_eq!(reader.take(OCTET_STRING), Some(&content[..]), "{len}");
            assert!(reader.is_empty());
            for cut in 0..der.len() {
                assert_eq!(Reader(&der[..cut]).take(OCTET_STRING), None, "{len} {cut}");
            }
        }
    }

    #[test]
    fn lengths_have_one_form() {
        for bad in
            [&[4, 0x80, 0][..], &[4, 0x81, 1, 0], &[4, 0x82, 0, 1, 0], &[4, 0x84, 0, 0, 0, 1, 0], &[4], &[]]
        {
            assert_eq!(Reader(bad).take(OCTET_STRING), None, "{bad:?}");
        }
        assert_eq!(Reader(&[5, 0]).take(OCTET_STRING), None);
        assert_eq!(Reader(&[3, 2, 1, 0]).bits(), None);
    }
}
