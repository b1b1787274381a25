//! The device's key: who this device is to the server (SERVER-18). Losing it is losing the device's
//! identity, so one is made only where there certainly is none (D2 to D4).

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pem::{EncodeConfig, LineEnding, Pem};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, fchmod, fsync, open, renameat, renameat_with, unlinkat,
};
use rustix::process::geteuid;
use thimble_core::hal::{self, Kind, Level};
use zeroize::Zeroizing;

use crate::SharedLog;
use crate::der::{self, INTEGER, OCTET_STRING, OID, Reader, SEQUENCE};
use crate::fsat::{create_new, kind_of, open_base};
use crate::paths::Word;

/// Largest key file, in bytes.
const KEY_FILE: u64 = 64 * 1024;

/// The private key that authenticates this device.
pub struct DeviceKey {
    pair: Pair,
    public_pem: String,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// Why there is no key. The path is that of the key; nothing of the key itself is ever shown.
#[derive(Debug)]
#[expect(missing_docs, reason = "`Display` says it")]
pub enum KeyError {
    Io(PathBuf, io::Error),
    Pkcs11,
    NotRegular(PathBuf),
    Owner(PathBuf, u32),
    Empty(PathBuf),
    NoKey(PathBuf),
    Encrypted(PathBuf),
    Algorithm(PathBuf),
    Damaged(PathBuf),
    Random,
}

impl DeviceKey {
    /// The key in `path`, which has to be there (`Security.AuthPrivateKey`).
    pub fn load(path: &Path, log: &SharedLog) -> Result<Self, KeyError> {
        let (key, file, mode) = Self::read(path)?;
        // The mode is changed only now, when it is certain that the file is a private key.
        if mode & 0o077 != 0 {
            protect(&file, path, mode, log);
        }
        Ok(key)
    }

    /// The key, its file, and the mode of that.
    fn read(path: &Path) -> Result<(Self, File, u32), KeyError> {
        if path.as_os_str().as_encoded_bytes().starts_with(b"pkcs11:") {
            return Err(KeyError::Pkcs11);
        }
        let failed = |error| KeyError::Io(path.to_owned(), error);
        // Non-blocking: a FIFO at this path must not make the client wait for a writer.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file: File = open(path, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?.into();
        let found = file.metadata().map_err(failed)?;
        if !found.is_file() {
            return Err(KeyError::NotRegular(path.to_owned()));
        }
        if found.uid() != geteuid().as_raw() {
            return Err(KeyError::Owner(path.to_owned(), found.uid()));
        }
        // Enough room from the beginning: a growing buffer would leave copies of the key in freed memory.
        let len = usize::try_from(found.len().min(KEY_FILE)).unwrap_or(0);
        let mut text = Zeroizing::new(Vec::with_capacity(len + 1));
        (&file).take(KEY_FILE).read_to_end(&mut text).map_err(failed)?;
        if text.is_empty() {
            return Err(KeyError::Empty(path.to_owned()));
        }
        Ok((Self::parse(path, &text)?, file, found.mode()))
    }

    /// Whether the key in `path` can be used. Nothing is changed.
    ///
    /// # Errors
    /// Those of [`Self::load`].
    pub fn look(path: &Path) -> Result<(), KeyError> {
        Self::read(path).map(drop)
    }

    /// Loads the key in `path`. Makes a new one only if nothing exists at that path; the new key is durable before it
    /// is used.
    pub fn load_or_create(path: &Path, log: &SharedLog) -> Result<Self, KeyError> {
        // A dangling link does not count as a missing key: its target may only be unmounted.
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                log.borrow_mut()
                    .log(Level::Info, format_args!("making a new device key in {}", path.display()));
                create(path)?;
            }
            Err(error) => return Err(KeyError::Io(path.to_owned(), error)),
            Ok(_) => {}
        }
        Self::load(path, log)
    }

    /// The public half as the server wants it: `SubjectPublicKeyInfo` in PEM form, lines ended by LF.
    #[must_use]
    pub fn public_pem(&self) -> &str {
        &self.public_pem
    }

    /// The value of `X-MEN-Signature` for `body`: base64 in one line (SERVER-13).
    pub fn sign(&self, body: &[u8]) -> Result<String, KeyError> {
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, body, &mut signature).map_err(|_| KeyError::Random)?;
                signature
            }
            Pair::P256(pair) => pair.sign(&random, body).map_err(|_| KeyError::Random)?.as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(body).as_ref().to_vec(),
        };
        Ok(STANDARD.encode(signature))
    }

    fn parse(path: &Path, text: &[u8]) -> Result<Self, KeyError> {
        let sections = pem::parse_many(text).map_err(|_| KeyError::Damaged(path.to_owned()))?;
        // `openssl ecparam` writes a section with the parameters before the key.
        let key = sections.iter().find(|section| section.tag().ends_with("PRIVATE KEY"));
        let key = key.ok_or_else(|| KeyError::NoKey(path.to_owned()))?;
        if key.tag() == "ENCRYPTED PRIVATE KEY" || key.headers().get("DEK-Info").is_some() {
            return Err(KeyError::Encrypted(path.to_owned()));
        }
        let pair = match key.tag() {
            "RSA PRIVATE KEY" => rsa(key.contents()),
            "EC PRIVATE KEY" => sec1(key.contents(), false),
            "PRIVATE KEY" => pkcs8(key.contents()),
            _ => Err(KeyFault::Algorithm),
        };
        let pair = pair.map_err(|fault| match fault {
            KeyFault::Algorithm => KeyError::Algorithm(path.to_owned()),
            KeyFault::Damaged => KeyError::Damaged(path.to_owned()),
        })?;
        let public_pem = public_pem(&pair);
        Ok(Self { pair, public_pem })
    }
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceKey(***)")
    }
}

enum KeyFault {
    Algorithm,
    Damaged,
}

fn rsa(der: &[u8]) -> Result<Pair, KeyFault> {
    RsaKeyPair::from_der(der).map(|pair| Pair::Rsa(Box::new(pair))).map_err(|_| KeyFault::Damaged)
}

/// Reads an `ECPrivateKey`. Inside PKCS#8 the curve is named outside of it.
fn sec1(der: &[u8], is_p256: bool) -> Result<Pair, KeyFault> {
    const PARAMETERS: u8 = 0xa0;
    const PUBLIC_KEY: u8 = 0xa1;

    let mut key = Reader(der).enter(SEQUENCE).ok_or(KeyFault::Damaged)?;
    key.take(INTEGER).filter(|version| *version == [1]).ok_or(KeyFault::Damaged)?;
    let private = key.take(OCTET_STRING).ok_or(KeyFault::Damaged)?;
    let mut parameters = key;
    if let Some(mut parameters) = parameters.enter(PARAMETERS) {
        if parameters.take(OID) != Some(der::P256) {
            return Err(KeyFault::Algorithm);
        }
        key.take(PARAMETERS);
    } else if !is_p256 {
        return Err(KeyFault::Algorithm);
    }
    let public = key.enter(PUBLIC_KEY).and_then(|mut inner| inner.bits()).ok_or(KeyFault::Damaged)?;
    // Some writers leave leading zeros out.
    let mut scalar = Zeroizing::new([0; 32]);
    let start = scalar.len().checked_sub(private.len()).ok_or(KeyFault::Damaged)?;
    scalar[start..].copy_from_slice(private);
    let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
    EcdsaKeyPair::from_private_key_and_public_key(algorithm, &*scalar, public, &SystemRandom::new())
        .map(Pair::P256)
        .map_err(|_| KeyFault::Damaged)
}

fn pkcs8(der: &[u8]) -> Result<Pair, KeyFault> {
    let mut info = Reader(der).enter(SEQUENCE).ok_or(KeyFault::Damaged)?;
    info.take(INTEGER).ok_or(KeyFault::Damaged)?;
    let mut algorithm = info.enter(SEQUENCE).ok_or(KeyFault::Damaged)?;
    let name = algorithm.take(OID).ok_or(KeyFault::Damaged)?;
    let key = info.take(OCTET_STRING).ok_or(KeyFault::Damaged)?;
    match name {
        der::RSA_ENCRYPTION => rsa(key),
        der::EC_PUBLIC_KEY if algorithm.take(OID) == Some(der::P256) => sec1(key, true),
        der::ED25519 => {
            Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Pair::Ed25519).map_err(|_| KeyFault::Damaged)
        }
        _ => Err(KeyFault::Algorithm),
    }
}

fn public_pem(pair: &Pair) -> String {
    const NULL: &[u8] = &[5, 0];
    let info = match pair {
        Pair::Rsa(pair) => der::public_key_info(der::RSA_ENCRYPTION, NULL, pair.public().as_ref()),
        Pair::P256(pair) => {
            let curve = der::element(OID, &[der::P256]);
            der::public_key_info(der::EC_PUBLIC_KEY, &curve, pair.public_key().as_ref())
        }
        Pair::Ed25519(pair) => der::public_key_info(der::ED25519, &[], pair.public_key().as_ref()),
    };
    to_pem("PUBLIC KEY", info)
}

fn to_pem(tag: &str, der: Vec<u8>) -> String {
    pem::encode_config(&Pem::new(tag, der), EncodeConfig::new().set_line_ending(LineEnding::LF))
}

/// Removes the access of group and others to the key file.
fn protect(file: &File, path: &Path, mode: u32, log: &SharedLog) {
    let (path, word) = (path.display(), Word(path));
    let mode = mode & 0o7777;
    let mut log = log.borrow_mut();
    match fchmod(file, Mode::RUSR | Mode::WUSR) {
        Ok(()) => log.log(
            Level::Warning,
            format_args!("the device key {path} could be read by others (mode {mode:04o}); it is 0600 now"),
        ),
        Err(errno) => log.log(
            Level::Warning,
            format_args!("the device key {path} can be read by others (mode {mode:04o}): {errno}; run `chmod 600 {word}`"),
        ),
    }
}

/// Writes a new Ed25519 key, as Mender's client 5 does. Power loss leaves no key, or all of it.
fn create(path: &Path) -> Result<(), KeyError> {
    // PKCS#8 version 1: what OpenSSL writes, and the only one it reads.
    const HEAD: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let failed = |error| KeyError::Io(path.to_owned(), error);
    let mut seed = Zeroizing::new([0; 32]);
    SystemRandom::new().fill(&mut *seed).map_err(|_| KeyError::Random)?;
    let text = Zeroizing::new(to_pem("PRIVATE KEY", [&HEAD[..], &*seed].concat()));
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| failed(io::Error::new(io::ErrorKind::InvalidInput, "not a file name")))?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    write_new(dir, name, text.as_bytes()).map_err(failed)
}

fn write_new(dir: &Path, name: &str, text: &[u8]) -> io::Result<()> {
    let dir = open_base(dir)?;
    let staging = format!(".{name}.new");
    // A power loss while a key was made may have left this file. The key in it was never used.
    match unlinkat(&dir, &staging, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let mut file = create_new(&dir, &staging, Mode::RUSR | Mode::WUSR)?;
    let written = file.write_all(text).and_then(|()| file.sync_all());
    let renamed = written.and_then(|()| rename_new(&dir, &staging, name));
    if let Err(error) = renamed {
        let _ = unlinkat(&dir, &staging, AtFlags::empty());
        return Err(error);
    }
    Ok(fsync(&dir)?)
}

/// Renames without replacing an existing file. Some file systems do not support that: there, the caller's check before
/// and its lock on the directory are the only protection.
fn rename_new(dir: &impl std::os::fd::AsFd, from: &str, to: &str) -> io::Result<()> {
    match renameat_with(dir, from, dir, to, RenameFlags::NOREPLACE) {
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => Ok(renameat(dir, from, dir, to)?),
        done => Ok(done?),
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "device key {}: {error}", path.display()),
            Self::Pkcs11 => {
                f.write_str("Security.AuthPrivateKey is a pkcs11: URI, which is not supported; give a file")
            }
            Self::NotRegular(path) => write!(f, "device key {}: not a regular file", path.display()),
            Self::Owner(path, uid) => {
                write!(f, "device key {0}: belongs to user {uid}; run `chown $(id -u) {0}`", path.display())
            }
            Self::Empty(path) => write!(
                f,
                "device key {}: empty, perhaps after a power loss; put the key back, or delete the file to get a new one that the server must accept",
                path.display()
            ),
            Self::NoKey(path) => write!(
                f,
                "device key {}: no private key in PEM form; put the key back, or delete the file to get a new one that the server must accept",
                path.display()
            ),
            // OpenSSL empties the output before it reads the input: they must not be the same file.
            Self::Encrypted(path) => write!(
                f,
                "device key {1}: protected by a passphrase, which is not supported; remove it: `openssl pkey -in {0} -out {0}.new && mv {0}.new {0}`",
                Word(path),
                path.display()
            ),
            Self::Algorithm(path) => {
                write!(
                    f,
                    "device key {}: neither RSA, EC P-256 nor Ed25519, and no other is supported",
                    path.display()
                )
            }
            Self::Damaged(path) => write!(
                f,
                "device key {}: damaged, or RSA of less than 2048 or more than 4096 bits",
                path.display()
            ),
            Self::Random => f.write_str("device key: the system gives no random numbers"),
        }
    }
}

impl std::error::Error for KeyError {}

impl hal::Error for KeyError {
    fn kind(&self) -> Kind {
        match self {
            Self::Io(_, error) => kind_of(error),
            Self::Pkcs11
            | Self::NotRegular(_)
            | Self::Owner(..)
            | Self::Encrypted(_)
            | Self::Algorithm(_) => Kind::Refused,
            Self::Empty(_) | Self::NoKey(_) | Self::Damaged(_) => Kind::Corrupt,
            Self::Random => Kind::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{log, openssl};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    struct Lab {
        dir: tempfile::TempDir,
        log: SharedLog,
        lines: std::rc::Rc<std::cell::RefCell<crate::testing::TestLog>>,
    }

    fn lab() -> Lab {
        let (lines, log) = log();
        Lab { dir: tempfile::tempdir().unwrap(), log, lines }
    }

    impl Lab {
        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn openssl(&self, arguments: &str) {
            openssl(&arguments.replace("@", &format!("{}/", self.dir.path().display())));
        }

        fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
            fs::write(self.path(name), text).unwrap();
            fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
            self.path(name)
        }

        fn load(&self, name: &str) -> Result<DeviceKey, KeyError> {
            DeviceKey::load(&self.path(name), &self.log)
        }

        fn load_or_create(&self, name: &str) -> Result<DeviceKey, KeyError> {
            DeviceKey::load_or_create(&self.path(name), &self.log)
        }

        /// OpenSSL finds the signature good, with the public key as the server gets it.
        fn check(&self, key: &DeviceKey, digest: &str) {
            let body = b"{\"id_data\":\"{}\"}";
            let signature = key.sign(body).unwrap();
            assert!(!signature.contains(['\n', '\r', ' ']));
            self.write("body", body);
            self.write("signature", STANDARD.decode(signature).unwrap());
            self.write("public", key.public_pem());
            self.openssl(&format!(
                "pkeyutl -verify -pubin -inkey @public -rawin {digest} -in @body -sigfile @signature"
            ));
        }

        fn mode(&self, name: &str) -> u32 {
            fs::metadata(self.path(name)).unwrap().mode() & 0o7777
        }
    }

    #[test]
    fn keys_of_every_kind_and_form_sign() {
        for (make, digest) in [
            ("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out @key", "-digest sha256"),
            ("genrsa -traditional -out @key 2048", "-digest sha256"),
            ("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out @key", "-digest sha256"),
            ("ecparam -name prime256v1 -genkey -out @key", "-digest sha256"),
            ("ecparam -name prime256v1 -genkey -noout -out @key", "-digest sha256"),
            ("genpkey -algorithm ED25519 -out @key", ""),
        ] {
            let lab = lab();
            lab.openssl(make);
            let key = lab.load("key").unwrap_or_else(|error| panic!("{make}: {error}"));
            lab.check(&key, digest);
            lab.openssl("pkey -in @key -pubout -out @expected");
            assert_eq!(key.public_pem(), fs::read_to_string(lab.path("expected")).unwrap(), "{make}");
        }
    }

    #[test]
    fn a_new_key_is_one_that_openssl_reads() {
        let lab = lab();
        let key = lab.load_or_create("key").unwrap();
        lab.check(&key, "");
        lab.openssl("pkey -in @key -pubout -out @expected");
        assert_eq!(key.public_pem(), fs::read_to_string(lab.path("expected")).unwrap());
        assert!(key.public_pem().ends_with("-----END PUBLIC KEY-----\n") && !key.public_pem().contains('\r'));
        let again = lab.load_or_create("key").unwrap();
        assert_eq!(again.public_pem(), key.public_pem());
        assert_eq!(fs::read_dir(lab.dir.path()).unwrap().count(), 5, "no staging file is left");
        let other = self::lab().load_or_create("key").unwrap();
        assert_ne!(other.public_pem(), key.public_pem());
    }

    #[test]
    fn d2_a_new_key_is_private_whatever_the_mask() {
        // The mask is the whole process's, so this runs in one of its own.
        if std::env::var_os("KEY_TEST_WITHOUT_MASK").is_none() {
            let status = std::process::Command::new("sh")
                .args(["-c", "umask 0; exec \"$0\" --exact \"$1\""])
                .arg(std::env::current_exe().unwrap())
                .arg("keys::tests::d2_a_new_key_is_private_whatever_the_mask")
                .env("KEY_TEST_WITHOUT_MASK", "1")
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&status.stdout);
            assert!(status.status.success() && text.contains("1 passed"), "{text}");
            return;
        }
        let lab = lab();
        lab.load_or_create("key").unwrap();
        assert_eq!(lab.mode("key"), 0o600);
        assert!(lab.lines.borrow().0.iter().all(|line| !line.starts_with("warning")));
    }

    #[test]
    fn d2_a_key_that_others_could_read_is_taken_from_them_with_a_warning() {
        for mode in [0o644, 0o640, 0o604, 0o666, 0o601] {
            let lab = lab();
            lab.load_or_create("key").unwrap();
            fs::set_permissions(lab.path("key"), fs::Permissions::from_mode(mode)).unwrap();
            lab.load("key").unwrap();
            assert_eq!(lab.mode("key"), 0o600);
            let lines = lab.lines.borrow();
            let warning = lines.0.last().unwrap();
            assert!(
                warning.starts_with("warning: ") && warning.contains(&format!("{mode:04o}")),
                "{warning}"
            );
        }
        let lab = lab();
        lab.load_or_create("key").unwrap();
        fs::set_permissions(lab.path("key"), fs::Permissions::from_mode(0o400)).unwrap();
        lab.load("key").unwrap();
        assert_eq!(lab.mode("key"), 0o400, "stricter is fine");
    }

    #[test]
    fn d2_what_is_no_key_keeps_its_mode() {
        let lab = lab();
        lab.write("file", "no key\n");
        fs::set_permissions(lab.path("file"), fs::Permissions::from_mode(0o644)).unwrap();
        symlink("file", lab.path("key")).unwrap();
        assert!(matches!(lab.load_or_create("key"), Err(KeyError::NoKey(_))));
        assert_eq!(lab.mode("file"), 0o644);
    }

    #[test]
    fn d2_a_key_of_somebody_else_is_refused() {
        let lab = lab();
        lab.load_or_create("key").unwrap();
        chown(lab.path("key"), Some(1234), None).unwrap();
        let error = lab.load_or_create("key").unwrap_err();
        assert!(matches!(error, KeyError::Owner(_, 1234)) && error.to_string().contains("chown"), "{error}");
    }

    #[test]
    fn d3_no_error_ever_replaces_a_key() {
        let lab = lab();
        lab.load_or_create("good").unwrap();
        let good = fs::read_to_string(lab.path("good")).unwrap();
        lab.openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out @p384");
        lab.openssl("genrsa -traditional -out @small 1024");
        lab.openssl("genrsa -aes128 -passout pass:secret -out @encrypted 2048");
        lab.openssl("genrsa -traditional -aes128 -passout pass:secret -out @encrypted-old 2048");
        lab.write("garbage", [0xff; 100]);
        lab.write("cut", &good[..good.len() / 2]);
        lab.write("public", lab.load("good").unwrap().public_pem());
        lab.write("truncated", pem::encode(&Pem::new("PRIVATE KEY", [0x30, 0x2e, 2, 1, 0])));
        for name in ["p384", "small", "encrypted", "encrypted-old", "garbage", "cut", "public", "truncated"] {
            let before = fs::read(lab.path(name)).unwrap();
            let error = lab.load_or_create(name).unwrap_err();
            assert!(error.to_string().contains(lab.path(name).to_str().unwrap()), "{error}");
            assert_eq!(fs::read(lab.path(name)).unwrap(), before, "{name}");
        }
        assert!(matches!(lab.load("p384"), Err(KeyError::Algorithm(_))));
        assert!(matches!(lab.load("encrypted"), Err(KeyError::Encrypted(_))));
        assert!(matches!(lab.load("encrypted-old"), Err(KeyError::Encrypted(_))));
        // The advice works, and the device stays the same one.
        for name in ["encrypted", "encrypted-old"] {
            lab.openssl(&format!("pkey -in @{name} -passin pass:secret -pubout -out @expected"));
            let text = lab.load(name).unwrap_err().to_string();
            let advice = text.split('`').nth(1).unwrap().replace("pkey", "pkey -passin pass:secret");
            assert!(std::process::Command::new("sh").args(["-c", &advice]).status().unwrap().success());
            let key = lab.load(name).unwrap();
            assert_eq!(key.public_pem(), fs::read_to_string(lab.path("expected")).unwrap(), "{name}");
        }

        // Things at the place of a key that are none, and ones that cannot be read.
        fs::create_dir(lab.path("dir")).unwrap();
        assert!(matches!(lab.load_or_create("dir"), Err(KeyError::NotRegular(_))));
        rustix::fs::mkfifoat(rustix::fs::CWD, lab.path("fifo"), Mode::RUSR).unwrap();
        assert!(matches!(lab.load_or_create("fifo"), Err(KeyError::NotRegular(_))));
        symlink("loop", lab.path("loop")).unwrap();
        assert!(matches!(lab.load_or_create("loop"), Err(KeyError::Io(..))));
        symlink("elsewhere", lab.path("dangling")).unwrap();
        assert!(matches!(lab.load_or_create("dangling"), Err(KeyError::Io(..))));
        assert!(fs::symlink_metadata(lab.path("dangling")).unwrap().is_symlink());
        assert!(matches!(lab.load_or_create("good/key"), Err(KeyError::Io(..))), "ENOTDIR");
        assert!(matches!(lab.load_or_create("no-dir/key"), Err(KeyError::Io(..))));
    }

    #[test]
    fn d3_power_loss_while_a_key_is_made_leaves_none() {
        let lab = lab();
        lab.write(".key.new", "half of a k");
        let key = lab.load_or_create("key").unwrap();
        assert!(!lab.path(".key.new").exists());
        assert_eq!(lab.load("key").unwrap().public_pem(), key.public_pem());
    }

    #[test]
    fn d3_a_key_that_appears_meanwhile_is_kept() {
        let lab = lab();
        lab.write("key", "mine");
        assert!(write_new(lab.dir.path(), "key", b"other").is_err());
        assert_eq!(fs::read(lab.path("key")).unwrap(), b"mine");
        assert!(!lab.path(".key.new").exists());
    }

    #[test]
    fn d4_an_empty_key_is_an_error_with_advice() {
        let lab = lab();
        lab.write("key", "");
        let error = lab.load_or_create("key").unwrap_err();
        assert!(
            matches!(error, KeyError::Empty(_)) && error.to_string().contains("delete the file"),
            "{error}"
        );
        assert_eq!(fs::read(lab.path("key")).unwrap(), b"");
    }

    #[test]
    fn a_configured_key_is_never_made() {
        let lab = lab();
        assert!(matches!(lab.load("key"), Err(KeyError::Io(..))));
        assert!(!lab.path("key").exists());
        let error =
            DeviceKey::load(Path::new("pkcs11:token=t;object=k?pin-value=1234"), &lab.log).unwrap_err();
        assert!(matches!(error, KeyError::Pkcs11) && !error.to_string().contains("1234"), "D10");
    }

    #[test]
    fn d10_debug_shows_nothing_of_the_key() {
        let lab = lab();
        let key = lab.load_or_create("key").unwrap();
        assert_eq!(format!("{key:?}"), "DeviceKey(***)");
    }
}
