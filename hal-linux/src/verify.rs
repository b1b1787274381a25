//! Verification of artifact signatures (ARTIFACT-14, ARTIFACT-15).

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ring::agreement::{self, EphemeralPrivateKey};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use thimble_core::hal::{self, Kind, Verifier};

use crate::der::{self, INTEGER, OID, Reader, SEQUENCE};
use crate::fsat::{kind_of, open_regular};
use crate::trust::{Untrusted, check_file};

/// Longest manifest that is verified, in bytes (ARTIFACT-51). Ed25519 signs the bytes themselves, so they are
/// kept.
pub const MANIFEST: usize = 256 * 1024;

/// Largest key file, in bytes.
const KEY_FILE: u64 = 64 * 1024;

/// The length of a raw ECDSA signature, which is two numbers; a signature of any other length is read as DER.
const RAW_ECDSA: usize = 64;

/// The keys of `ArtifactVerifyKeys`.
#[derive(Debug)]
pub struct KeyVerifier {
    keys: Vec<PublicKey>,
    manifest: Vec<u8>,
    overflow: bool,
}

#[derive(Debug)]
enum PublicKey {
    /// `RSAPublicKey` (PKCS#1).
    Rsa(Vec<u8>),
    /// The public key as an uncompressed point.
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// Why a verify key cannot be used, with the path of its file.
#[derive(Debug)]
#[expect(missing_docs, reason = "`Display` says it")]
pub enum VerifyKeyError {
    Io(PathBuf, io::Error),
    /// Others than root and the client's user may change it or put another file in its place.
    Untrusted(Untrusted),
    NoKey(PathBuf),
    SeveralKeys(PathBuf),
    Damaged(PathBuf),
    PrivateKey(PathBuf),
    Curve(PathBuf),
    RsaSize(PathBuf, usize),
    Algorithm(PathBuf),
}

impl KeyVerifier {
    /// Loads all keys. A missing or unusable key is an error, even if other keys are good.
    pub fn load(paths: &[PathBuf]) -> Result<Self, VerifyKeyError> {
        let keys = paths.iter().map(|path| PublicKey::load(path)).collect::<Result<_, _>>()?;
        Ok(Self { keys, manifest: Vec::new(), overflow: false })
    }

    /// A verifier without keys, for verbs that verify nothing.
    #[must_use]
    pub const fn without_keys() -> Self {
        Self { keys: Vec::new(), manifest: Vec::new(), overflow: false }
    }
}

impl Verifier for KeyVerifier {
    fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    fn reset(&mut self) {
        self.manifest = Vec::new();
        self.overflow = false;
    }

    fn update(&mut self, manifest: &[u8]) -> bool {
        // Without keys nothing is ever verified.
        if self.keys.is_empty() {
            return true;
        }
        self.overflow |= self.manifest.len().saturating_add(manifest.len()) > MANIFEST;
        if !self.overflow {
            self.manifest.extend_from_slice(manifest);
        }
        !self.overflow
    }

    fn verify(&mut self, signature: &[u8]) -> bool {
        !self.overflow && self.keys.iter().any(|key| key.verifies(&self.manifest, signature))
    }
}

impl PublicKey {
    fn load(path: &Path) -> Result<Self, VerifyKeyError> {
        let failed = |error| VerifyKeyError::Io(path.to_owned(), error);
        check_file(path).map_err(|untrusted| match untrusted {
            Untrusted::Io(_, error) => failed(error),
            Untrusted::NotRegular(_)
            | Untrusted::NotExecutable(_)
            | Untrusted::Owner(..)
            | Untrusted::Writable(..) => VerifyKeyError::Untrusted(untrusted),
        })?;
        let file = open_regular(path).map_err(failed)?;
        let mut text = Vec::new();
        file.take(KEY_FILE).read_to_end(&mut text).map_err(failed)?;
        let sections = pem::parse_many(&text).map_err(|_| VerifyKeyError::Damaged(path.to_owned()))?;
        if sections.iter().any(|section| section.tag().ends_with("PRIVATE KEY")) {
            return Err(VerifyKeyError::PrivateKey(path.to_owned()));
        }
        let mut keys = sections.iter().filter(|section| section.tag().ends_with("PUBLIC KEY"));
        let key = keys.next().ok_or_else(|| VerifyKeyError::NoKey(path.to_owned()))?;
        if keys.next().is_some() {
            return Err(VerifyKeyError::SeveralKeys(path.to_owned()));
        }
        match key.tag() {
            "PUBLIC KEY" => Self::from_info(path, key.contents()),
            "RSA PUBLIC KEY" => Self::from_rsa(path, key.contents()),
            _ => Err(VerifyKeyError::Algorithm(path.to_owned())),
        }
    }

    /// From `SubjectPublicKeyInfo`.
    fn from_info(path: &Path, info: &[u8]) -> Result<Self, VerifyKeyError> {
        let damaged = || VerifyKeyError::Damaged(path.to_owned());
        let mut outer = Reader(info);
        let mut inner = outer.enter(SEQUENCE).ok_or_else(damaged)?;
        let mut algorithm = inner.enter(SEQUENCE).ok_or_else(damaged)?;
        let (name, key) = (algorithm.take(OID).ok_or_else(damaged)?, inner.bits().ok_or_else(damaged)?);
        if !outer.is_empty() || !inner.is_empty() {
            return Err(damaged());
        }
        match name {
            der::RSA_ENCRYPTION => Self::from_rsa(path, key),
            der::EC_PUBLIC_KEY if algorithm.take(OID) == Some(der::P256) => {
                if is_point(key) {
                    Ok(Self::P256(key.to_vec()))
                } else {
                    Err(damaged())
                }
            }
            der::EC_PUBLIC_KEY => Err(VerifyKeyError::Curve(path.to_owned())),
            der::ED25519 if key.len() == 32 => Ok(Self::Ed25519(key.to_vec())),
            der::ED25519 => Err(damaged()),
            _ => Err(VerifyKeyError::Algorithm(path.to_owned())),
        }
    }

    fn from_rsa(path: &Path, key: &[u8]) -> Result<Self, VerifyKeyError> {
        let damaged = || VerifyKeyError::Damaged(path.to_owned());
        let mut outer = Reader(key);
        let mut inner = outer.enter(SEQUENCE).ok_or_else(damaged)?;
        let modulus = inner.take(INTEGER).ok_or_else(damaged)?;
        let exponent = inner.take(INTEGER).ok_or_else(damaged)?;
        let modulus = modulus.strip_prefix(&[0]).unwrap_or(modulus);
        let is_whole = outer.is_empty() && inner.is_empty();
        let (Some(first), true, Some(1)) = (modulus.first(), is_whole, exponent.last().map(|last| last & 1))
        else {
            return Err(damaged());
        };
        let bits = modulus.len() * 8 - usize::try_from(first.leading_zeros()).unwrap_or(0);
        if !(2048..=8192).contains(&bits) {
            return Err(VerifyKeyError::RsaSize(path.to_owned(), bits));
        }
        Ok(Self::Rsa(key.to_vec()))
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let (algorithm, key): (&'static dyn VerificationAlgorithm, _) = match self {
            Self::Rsa(key) => (&RSA_PKCS1_2048_8192_SHA256, key),
            Self::P256(key) if signature.len() == RAW_ECDSA => (&ECDSA_P256_SHA256_FIXED, key),
            Self::P256(key) => (&ECDSA_P256_SHA256_ASN1, key),
            Self::Ed25519(key) => (&ED25519, key),
        };
        UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
    }
}

/// Whether `key` is an uncompressed point of the curve P-256. The library checks that only in a key agreement, so one
/// is made.
fn is_point(key: &[u8]) -> bool {
    let Ok(own) = EphemeralPrivateKey::generate(&agreement::ECDH_P256, &SystemRandom::new()) else {
        return false;
    };
    agreement::agree_ephemeral(own, &agreement::UnparsedPublicKey::new(&agreement::ECDH_P256, key), |_| ())
        .is_ok()
}

impl fmt::Display for VerifyKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "verify key {}: {error}", path.display()),
            Self::Untrusted(untrusted) => write!(f, "verify key refused: {untrusted}"),
            Self::NoKey(path) => {
                write!(f, "verify key {}: no public key in PEM form (`PUBLIC KEY`)", path.display())
            }
            Self::SeveralKeys(path) => {
                write!(
                    f,
                    "verify key {}: more than one key; list each file in ArtifactVerifyKeys",
                    path.display()
                )
            }
            Self::Damaged(path) => write!(f, "verify key {}: damaged", path.display()),
            Self::PrivateKey(path) => {
                write!(
                    f,
                    "verify key {}: a private key; put only the public one on the device",
                    path.display()
                )
            }
            Self::Curve(path) => {
                write!(
                    f,
                    "verify key {}: an EC key of another curve than P-256, which artifacts do not use",
                    path.display()
                )
            }
            Self::RsaSize(path, bits) => {
                write!(f, "verify key {}: RSA of {bits} bits; only 2048 to 8192 are used", path.display())
            }
            Self::Algorithm(path) => {
                write!(f, "verify key {}: neither RSA, EC P-256 nor Ed25519", path.display())
            }
        }
    }
}

impl std::error::Error for VerifyKeyError {}

impl hal::Error for VerifyKeyError {
    fn kind(&self) -> Kind {
        match self {
            Self::Io(_, error) => kind_of(error),
            Self::Untrusted(untrusted) => untrusted.kind(),
            Self::NoKey(_) | Self::Damaged(_) => Kind::Corrupt,
            Self::SeveralKeys(_)
            | Self::PrivateKey(_)
            | Self::Curve(_)
            | Self::RsaSize(..)
            | Self::Algorithm(_) => Kind::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::openssl;
    use std::fs;

    const MESSAGE: &[u8] = b"0123  data/0000/file\n";

    struct Lab(tempfile::TempDir);

    impl Lab {
        /// Makes a key pair by `openssl genpkey`; `name` is its private, `name.pub` its public half.
        fn key(&self, name: &str, options: &str) -> PathBuf {
            let private = self.path(name);
            openssl(&format!("genpkey {options} -out {}", private.display()));
            let public = self.path(&format!("{name}.pub"));
            openssl(&format!("pkey -in {} -pubout -out {}", private.display(), public.display()));
            public
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn sign(&self, name: &str, options: &str) -> Vec<u8> {
            fs::write(self.path("message"), MESSAGE).unwrap();
            let (key, from, to) = (self.path(name), self.path("message"), self.path("signature"));
            let (key, from, to) = (key.display(), from.display(), to.display());
            openssl(&format!("pkeyutl -sign -inkey {key} {options} -rawin -in {from} -out {to}"));
            fs::read(self.path("signature")).unwrap()
        }
    }

    fn lab() -> Lab {
        Lab(tempfile::tempdir().unwrap())
    }

    fn verifies(verifier: &mut KeyVerifier, message: &[u8], signature: &[u8]) -> bool {
        verifier.reset();
        assert!(verifier.has_keys());
        for piece in message.chunks(5) {
            assert!(verifier.update(piece));
        }
        verifier.verify(signature)
    }

    fn refusal(lab: &Lab, name: &str) -> VerifyKeyError {
        let error = KeyVerifier::load(&[lab.path(name)]).unwrap_err();
        assert!(error.to_string().contains(lab.path(name).to_str().unwrap()), "{error}");
        error
    }

    const EC: &str = "-algorithm EC -pkeyopt ec_paramgen_curve:P-256";
    const RSA: &str = "-algorithm RSA -pkeyopt rsa_keygen_bits:2048";

    #[test]
    fn signatures_of_openssl_are_good_and_changed_ones_are_not() {
        let lab = lab();
        for (name, options, signing) in [
            ("rsa", RSA, "-digest sha256"),
            ("ec", EC, "-digest sha256"),
            ("ed25519", "-algorithm ED25519", ""),
        ] {
            let mut verifier = KeyVerifier::load(&[lab.key(name, options)]).unwrap();
            let signature = lab.sign(name, signing);
            assert!(verifies(&mut verifier, MESSAGE, &signature), "{name}");
            assert!(!verifies(&mut verifier, &MESSAGE[1..], &signature), "{name}");
            assert!(!verifies(&mut verifier, MESSAGE, &[]), "{name}");
            for at in [0, 5, signature.len() / 2, signature.len() - 1] {
                let mut changed = signature.clone();
                changed[at] ^= 1;
                assert!(!verifies(&mut verifier, MESSAGE, &changed), "{name} {at}");
            }
            let mut longer = signature.clone();
            longer.push(0);
            assert!(!verifies(&mut verifier, MESSAGE, &longer), "{name}");
        }
    }

    /// The two numbers of a DER signature.
    fn raw(der: &[u8]) -> Vec<u8> {
        let mut inner = Reader(der).enter(SEQUENCE).unwrap();
        let mut raw = Vec::new();
        for _ in 0..2 {
            let number = inner.take(INTEGER).unwrap();
            let number = number.strip_prefix(&[0]).unwrap_or(number);
            raw.resize(raw.len() + 32 - number.len(), 0);
            raw.extend_from_slice(number);
        }
        raw
    }

    #[test]
    fn a5_an_ecdsa_signature_has_64_bytes_or_is_strict_der() {
        let lab = lab();
        let mut verifier = KeyVerifier::load(&[lab.key("ec", EC)]).unwrap();
        // 64 bytes of DER (once in some thousands) would be taken as raw, as artifacts have it.
        let der =
            std::iter::repeat_with(|| lab.sign("ec", "-digest sha256")).find(|der| der.len() > 64).unwrap();
        let raw = raw(&der);
        assert!(verifies(&mut verifier, MESSAGE, &der) && verifies(&mut verifier, MESSAGE, &raw));
        for len in 0..=100 {
            for good in [&raw, &der] {
                let mut other = good.clone();
                other.resize(len, 0);
                assert_eq!(verifies(&mut verifier, MESSAGE, &other), len == good.len(), "{len}");
            }
            assert!(!verifies(&mut verifier, MESSAGE, &vec![0; len]), "{len}");
            assert!(!verifies(&mut verifier, MESSAGE, &vec![0x30; len]), "{len}");
        }
        // The same numbers in DER that is not strict: a long length, a needless zero, a negative number.
        let (r, s) = raw.split_at(32);
        let integer = |n: &[u8]| der::element(INTEGER, &[n]);
        let positive = |n: &[u8]| {
            let n = &n[n.iter().position(|&b| b != 0).unwrap()..];
            if n[0] > 0x7f { integer(&[&[0], n].concat()) } else { integer(n) }
        };
        let strict = der::element(SEQUENCE, &[&positive(r), &positive(s)]);
        assert!(verifies(&mut verifier, MESSAGE, &strict));
        let padded = integer(&[&[0, 0], s].concat());
        for bad in [
            [&[0x30, 0x81, strict[1]], &strict[2..]].concat(),
            der::element(SEQUENCE, &[&positive(r), &padded]),
            der::element(SEQUENCE, &[&positive(r), &integer(&[&[0x80][..], s].concat())]),
            der::element(SEQUENCE, &[&positive(r), &positive(s), &[5, 0]]),
            der::element(0x31, &[&positive(r), &positive(s)]),
        ] {
            assert!(!verifies(&mut verifier, MESSAGE, &bad), "{bad:02x?}");
        }
    }

    #[test]
    fn the_first_key_that_fits_is_enough() {
        let lab = lab();
        let keys = [lab.key("a", EC), lab.key("b", "-algorithm ED25519"), lab.key("c", RSA)];
        let signature = lab.sign("c", "-digest sha256");
        assert!(verifies(&mut KeyVerifier::load(&keys).unwrap(), MESSAGE, &signature));
        assert!(!verifies(&mut KeyVerifier::load(&keys[..2]).unwrap(), MESSAGE, &signature));
    }

    #[test]
    fn rsa_public_key_and_large_rsa_are_taken() {
        let lab = lab();
        let public = lab.key("rsa", "-algorithm RSA -pkeyopt rsa_keygen_bits:4096");
        let pkcs1 = lab.path("pkcs1");
        openssl(&format!("rsa -pubin -in {} -RSAPublicKey_out -out {}", public.display(), pkcs1.display()));
        assert!(fs::read_to_string(&pkcs1).unwrap().contains("BEGIN RSA PUBLIC KEY"));
        let signature = lab.sign("rsa", "-digest sha256");
        for path in [public, pkcs1] {
            assert!(verifies(&mut KeyVerifier::load(&[path]).unwrap(), MESSAGE, &signature));
        }
    }

    #[test]
    fn r4_every_key_has_to_be_good() {
        let lab = lab();
        let good = lab.key("good", EC);
        assert!(matches!(refusal(&lab, "missing"), VerifyKeyError::Io(..)));
        let text = fs::read_to_string(&good).unwrap();
        let write = |name: &str, text: &str| fs::write(lab.path(name), text).unwrap();
        write("empty", "");
        write("garbage", "garbage\n");
        write("cut", &text[..text.len() / 2]);
        write("twice", &text.repeat(2));
        write("base64", &text.replace('A', "*"));
        let der = pem::parse(&text).unwrap().into_contents();
        for cut in 0..der.len() {
            write("short", &pem::encode(&pem::Pem::new("PUBLIC KEY", &der[..cut])));
            assert!(matches!(refusal(&lab, "short"), VerifyKeyError::Damaged(_)), "{cut}");
        }
        // Not a point of the curve.
        let mut off = der.clone();
        *off.last_mut().unwrap() ^= 1;
        write("off", &pem::encode(&pem::Pem::new("PUBLIC KEY", off)));
        assert!(matches!(refusal(&lab, "off"), VerifyKeyError::Damaged(_)));
        assert!(matches!(refusal(&lab, "empty"), VerifyKeyError::NoKey(_)));
        assert!(matches!(refusal(&lab, "garbage"), VerifyKeyError::NoKey(_)));
        assert!(matches!(refusal(&lab, "twice"), VerifyKeyError::SeveralKeys(_)));
        assert!(matches!(refusal(&lab, "good"), VerifyKeyError::PrivateKey(_)));
        for name in ["cut", "base64"] {
            refusal(&lab, name);
        }
        assert!(KeyVerifier::load(&[good.clone(), lab.path("empty")]).is_err(), "beside a good one");
        KeyVerifier::load(&[good]).unwrap();
    }

    #[test]
    fn a_key_that_others_may_change_is_refused_with_the_command_that_mends_it() {
        use std::os::unix::fs::{PermissionsExt, chown};
        let lab = lab();
        let key = lab.key("good", EC);
        for (mode, group, good) in
            [(0o644, 0, true), (0o664, 0, true), (0o664, 1234, false), (0o646, 0, false), (0o666, 0, false)]
        {
            chown(&key, None, Some(group)).unwrap();
            fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
            if good {
                KeyVerifier::load(std::slice::from_ref(&key)).unwrap();
            } else {
                let text = refusal(&lab, "good.pub").to_string();
                assert!(text.contains(&format!("run `chmod go-w {}`", key.display())), "{text}");
            }
        }
    }

    #[test]
    fn keys_that_artifacts_do_not_use_are_refused_with_the_reason() {
        let lab = lab();
        lab.key("p384", "-algorithm EC -pkeyopt ec_paramgen_curve:P-384");
        lab.key("small", "-algorithm RSA -pkeyopt rsa_keygen_bits:1024");
        lab.key("x25519", "-algorithm X25519");
        assert!(refusal(&lab, "p384.pub").to_string().contains("another curve than P-256"));
        assert!(refusal(&lab, "small.pub").to_string().contains("RSA of 1024 bits"));
        assert!(matches!(refusal(&lab, "x25519.pub"), VerifyKeyError::Algorithm(_)));
    }

    #[test]
    fn a_manifest_past_the_limit_is_never_verified() {
        let lab = lab();
        let mut verifier = KeyVerifier::load(&[lab.key("ed", "-algorithm ED25519")]).unwrap();
        verifier.reset();
        assert!(verifier.update(&vec![0; MANIFEST]));
        assert!(!verifier.update(b"x") && !verifier.update(b""));
        assert!(!verifier.verify(&[0; 64]));
        verifier.reset();
        assert!(verifier.update(b"x"));
    }

    #[test]
    fn without_keys_nothing_is_good() {
        let mut verifier = KeyVerifier::without_keys();
        assert!(!verifier.has_keys());
        assert!(verifier.update(&vec![0; MANIFEST + 1]));
        assert!(!verifier.verify(&[0; 64]));
    }
}
