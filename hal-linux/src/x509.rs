//! What a certificate says of itself: its dates, and whether and how far it may vouch for others. TLS libraries
//! leave this out for the certificates that are trusted by configuration.

use crate::der::{BIT_STRING, INTEGER, OCTET_STRING, OID, Reader, SEQUENCE};

const BOOLEAN: u8 = 0x01;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0]`, around the version.
const VERSION: u8 = 0xa0;
/// `[1]` and `[2]`, two identifiers that nobody uses.
const UNIQUE_IDS: [u8; 2] = [0x81, 0x82];
/// `[3]`, around the extensions.
const EXTENSIONS: u8 = 0xa3;

/// Object identifier 2.5.29.19.
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
/// Object identifier 2.5.29.15.
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 15];
/// Object identifier 2.5.29.37.
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 37];
/// Object identifier 2.5.29.37.0.
const ANY_USAGE: &[u8] = &[0x55, 0x1d, 37, 0];
/// Object identifier 1.3.6.1.5.5.7.3.1.
const SERVER_AUTHENTICATION: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];

/// The bit `keyCertSign` in the first byte of a key usage.
const CERTIFICATE_SIGNING: u8 = 0x04;

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// First second in which it is good, since 1970; 0 for any time before.
    pub(crate) not_before: u64,
    /// Last second in which it is good, since 1970.
    pub(crate) not_after: u64,
    /// It is that of an authority: it says so, or has version 1, which cannot say so, and signed itself.
    pub(crate) is_authority: bool,
    /// Most authorities that may stand between this one and the certificate of a server.
    pub(crate) path_length: Option<u64>,
    /// Where it limits the usage of its key, signing certificates of servers is among what it allows.
    pub(crate) signs_servers: bool,
}

impl Certificate {
    /// Reads a certificate; `None` when it is damaged.
    pub(crate) fn parse(der: &[u8]) -> Option<Self> {
        let mut body = Reader(der).enter(SEQUENCE)?.enter(SEQUENCE)?;
        let is_version_1 = !body.is_next(VERSION);
        if !is_version_1 {
            body.take(VERSION)?;
        }
        body.take(INTEGER)?;
        body.take(SEQUENCE)?;
        let issuer = body.take(SEQUENCE)?;
        let mut dates = body.enter(SEQUENCE)?;
        let (not_before, not_after) = (time(&mut dates)?, time(&mut dates)?);
        let subject = body.take(SEQUENCE)?;
        body.take(SEQUENCE)?;
        for tag in UNIQUE_IDS {
            if body.is_next(tag) {
                body.take(tag)?;
            }
        }
        let mut certificate = Self {
            not_before,
            not_after,
            is_authority: is_version_1 && issuer == subject,
            path_length: None,
            signs_servers: true,
        };
        if body.is_next(EXTENSIONS) {
            certificate.read_extensions(body.enter(EXTENSIONS)?.enter(SEQUENCE)?)?;
        }
        body.is_empty().then_some(certificate)
    }

    fn read_extensions(&mut self, mut extensions: Reader<'_>) -> Option<()> {
        while !extensions.is_empty() {
            let mut extension = extensions.enter(SEQUENCE)?;
            let name = extension.take(OID)?;
            if extension.is_next(BOOLEAN) {
                extension.take(BOOLEAN)?;
            }
            let mut value = extension.enter(OCTET_STRING)?;
            match name {
                BASIC_CONSTRAINTS => {
                    let mut constraints = value.enter(SEQUENCE)?;
                    self.is_authority = constraints.is_next(BOOLEAN) && constraints.take(BOOLEAN)? != [0];
                    if constraints.is_next(INTEGER) {
                        self.path_length = Some(number(constraints.take(INTEGER)?));
                    }
                }
                KEY_USAGE => {
                    let bits = value.take(BIT_STRING)?;
                    self.signs_servers &= bits.get(1).is_some_and(|byte| byte & CERTIFICATE_SIGNING != 0);
                }
                EXTENDED_KEY_USAGE => {
                    let mut usages = value.enter(SEQUENCE)?;
                    let mut is_for_servers = false;
                    while !usages.is_empty() {
                        is_for_servers |= matches!(usages.take(OID)?, ANY_USAGE | SERVER_AUTHENTICATION);
                    }
                    self.signs_servers &= is_for_servers;
                }
                _ => {}
            }
        }
        Some(())
    }
}

/// A path length. One that is too large for 64 bits limits nothing, and a negative one allows nothing.
fn number(bytes: &[u8]) -> u64 {
    match bytes.first() {
        None | Some(0x80..) => 0,
        Some(_) => bytes
            .iter()
            .try_fold(0u64, |n, &byte| n.checked_mul(256)?.checked_add(byte.into()))
            .unwrap_or(u64::MAX),
    }
}

/// A date in seconds since 1970: `YYMMDDhhmmssZ` for the years 1950 to 2049, else `YYYYMMDDhhmmssZ`.
fn time(dates: &mut Reader<'_>) -> Option<u64> {
    let (year_digits, text) =
        if dates.is_next(UTC_TIME) { (2, dates.take(UTC_TIME)?) } else { (4, dates.take(GENERALIZED_TIME)?) };
    let digits = text.strip_suffix(b"Z")?;
    if digits.len() != year_digits + 10 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let (year, rest) = digits.split_at(year_digits);
    let value = |digits: &[u8]| digits.iter().fold(0, |n, digit| n * 10 + u64::from(digit - b'0'));
    let year = match (year_digits, value(year)) {
        (2, year @ 0..50) => 2000 + year,
        (2, year) => 1900 + year,
        (_, year) => year,
    };
    let [month, day, hour, minute, second] = std::array::from_fn(|at| value(&rest[2 * at..2 * at + 2]));
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // The year begins in March, so that the leap day is its last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    // 1970-01-01 is day 719,468 of this calendar.
    let since = days.checked_sub(719_468).map(|days| days * 86_400 + hour * 3600 + minute * 60 + second);
    Some(since.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::der::element;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd};

    fn made(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["h".to_owned()]).unwrap();
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn dates_and_constraints_are_read() {
        let der = made(|params| {
            (params.not_before, params.not_after) = (date_time_ymd(1999, 12, 31), date_time_ymd(2050, 3, 1));
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(3));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        });
        let expected = Certificate {
            not_before: 946_598_400,
            not_after: 2_529_705_600,
            is_authority: true,
            path_length: Some(3),
            signs_servers: true,
        };
        assert_eq!(Certificate::parse(&der), Some(expected));
        let leaf = Certificate::parse(&made(|_| ())).unwrap();
        assert!(!leaf.is_authority && leaf.signs_servers);
        for cut in 0..der.len() {
            assert_eq!(Certificate::parse(&der[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn every_form_of_a_date() {
        for (tag, text, seconds) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (UTC_TIME, "500101000000Z", Some(0)),
            (UTC_TIME, "000229000000Z", Some(951_782_400)),
            (GENERALIZED_TIME, "19500101000000Z", Some(0)),
            (GENERALIZED_TIME, "00000101000000Z", None),
            (GENERALIZED_TIME, "00010101000000Z", Some(0)),
            (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000)),
            (GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799)),
            (UTC_TIME, "7001010000Z", None),
            (UTC_TIME, "700101000000", None),
            (UTC_TIME, "701301000000Z", None),
            (UTC_TIME, "700100000000Z", None),
            (UTC_TIME, "700101240000Z", None),
            (UTC_TIME, "70010100000-Z", None),
            (UTC_TIME, "20500101000000Z", None),
            (0x16, "700101000000Z", None),
        ] {
            assert_eq!(time(&mut Reader(&element(tag, &[text.as_bytes()]))), seconds, "{text}");
        }
    }

    #[test]
    fn a_path_length_of_any_size() {
        for (bytes, expected) in
            [(&[0][..], 0), (&[0x7f], 127), (&[0, 0x80], 128), (&[0x80], 0), (&[1; 9], u64::MAX), (&[], 0)]
        {
            assert_eq!(number(bytes), expected, "{bytes:?}");
        }
    }
}
