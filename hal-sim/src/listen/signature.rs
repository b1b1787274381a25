//! Signatures of requests for a token, checked as the real server does: RSA (PKCS#1 v1.5) and ECDSA P-256 (DER) over
//! SHA-256, Ed25519.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const CURVE25519: &[u8] = &[0x2b, 0x65, 0x70];

/// Whether `signature` (base64, one line) is one of `body` by the public key in `pem`.
#[must_use]
pub fn verify(pem: &str, body: &[u8], signature: &str) -> bool {
    let Ok(signature) = STANDARD.decode(signature) else { return false };
    let Ok(key) = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()) else { return false };
    let Some((algorithm, key)) = key_of(&key) else { return false };
    UnparsedPublicKey::new(algorithm, key).verify(body, &signature).is_ok()
}

/// Algorithm and bare key of a SubjectPublicKeyInfo.
fn key_of(der: &[u8]) -> Option<(&'static dyn VerificationAlgorithm, &[u8])> {
    let (info, []) = element(der, 0x30)? else { return None };
    let (algorithm, rest) = element(info, 0x30)?;
    let (bits, []) = element(rest, 0x03)? else { return None };
    let key = bits.strip_prefix(&[0])?;
    let (oid, _) = element(algorithm, 0x06)?;
    let algorithm: &'static dyn VerificationAlgorithm = match oid {
        RSA => &RSA_PKCS1_2048_8192_SHA256,
        EC => &ECDSA_P256_SHA256_ASN1,
        CURVE25519 => &ED25519,
        _ => return None,
    };
    Some((algorithm, key))
}

/// Content of the first DER element, which has this tag, and what stands behind it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.split_first()?;
    let (length, rest) = rest.split_first()?;
    if *first != tag {
        return None;
    }
    let (length, rest) = match *length {
        short @ ..0x80 => (usize::from(short), rest),
        long => {
            let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            let add = |length: usize, byte: &u8| length.checked_mul(256)?.checked_add(usize::from(*byte));
            (bytes.iter().try_fold(0, add)?, rest)
        }
    };
    rest.split_at_checked(length)
}
