//! TLS as it is configured: which certificates are trusted, and the client's own certificate.
//!
//! Trusted roots and the client's certificate are read anew for every connection: a renewed one is used without a
//! restart, and between connections they take no memory.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};

use super::NetworkConfig;
use super::authority::{Authorities, Own};
use super::error::{Activity, NetworkError, SetupError, TlsFault};
use crate::fsat::open_regular;
use crate::trust::{Untrusted, check_file};

/// Where distributions keep the trusted roots as one PEM file, the likeliest first.
const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/usr/local/share/certs/ca-root-nss.crt",
];

/// Largest PEM file that is read: bundles have about 250 KiB.
const LARGEST_PEM: u64 = 4 * 1024 * 1024;

/// Most bytes that TLS buffers before sending: one record.
const SEND_BUFFER: usize = 16 * 1024;

/// Seconds since 1970; a function so that tests can have another time.
pub(super) type WallClock = fn() -> u64;

/// The system's time. A clock before 1970 counts as 1970.
pub(super) fn wall_clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The kind of peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// The server, which may ask for the client's certificate.
    Server,
    /// A proxy. The client's certificate is not shown to it.
    Proxy,
}

#[derive(Debug)]
pub(super) struct TlsSetup {
    /// The certificates in `ServerCertificate`.
    own: Vec<Own>,
    skip_verify: bool,
    client: Option<(PathBuf, PathBuf)>,
    /// `None`: those of the system.
    pub(super) bundle: Option<PathBuf>,
    pub(super) clock: WallClock,
}

impl TlsSetup {
    /// Reads every configured file once: what is missing, empty or garbage is known at start (N22).
    pub(super) fn new(config: &NetworkConfig) -> Result<Self, SetupError> {
        let own = match &config.server_certificate {
            Some(path) => read_own(path)?,
            None => Vec::new(),
        };
        let client = match (&config.client_certificate, &config.client_key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
            (Some(_), None) | (None, Some(_)) => return Err(SetupError::HalfClientCertificate),
        };
        let setup = Self { own, skip_verify: config.skip_verify, client, bundle: None, clock: wall_clock };
        if setup.client.is_some() {
            // Also reports now if certificate and key do not belong together.
            setup.client_config(Peer::Server).map_err(|fault| match fault {
                TlsFault::Setup(error) => error,
                TlsFault::NotYetValid { .. }
                | TlsFault::Expired { .. }
                | TlsFault::Name
                | TlsFault::UnknownIssuer
                | TlsFault::IssuerNoAuthority
                | TlsFault::AuthorityNotYetValid { .. }
                | TlsFault::AuthorityExpired { .. }
                | TlsFault::AuthorityUsage
                | TlsFault::PathLength
                | TlsFault::Purpose
                | TlsFault::NoRoots
                | TlsFault::Other(_) => {
                    SetupError::KeyMismatch(config.client_key.clone().unwrap_or_default())
                }
            })?;
        }
        Ok(setup)
    }

    /// Whether the certificates of servers are not verified (`SkipVerify`).
    pub(super) const fn skips_verification(&self) -> bool {
        self.skip_verify
    }

    /// A new TLS client for `host`.
    pub(super) fn connect(&self, host: &str, peer: Peer) -> Result<ClientConnection, TlsFault> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| TlsFault::Name)?;
        let config = self.client_config(peer)?;
        let mut connection = ClientConnection::new(Arc::new(config), name).map_err(TlsFault::Other)?;
        connection.set_buffer_limit(Some(SEND_BUFFER));
        Ok(connection)
    }

    fn client_config(&self, peer: Peer) -> Result<ClientConfig, TlsFault> {
        let provider = Arc::new(ring::default_provider());
        let verifier = self.verifier(&provider)?;
        let keys = provider.key_provider;
        let builder = ClientConfig::builder_with_details(provider, Arc::new(Time(self.clock)))
            .with_safe_default_protocol_versions()
            .map_err(TlsFault::Other)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &self.client {
            Some((certificate, key)) if peer == Peer::Server => {
                let chain =
                    certificates_in("HttpsClient.Certificate", certificate).map_err(TlsFault::Setup)?;
                let private = private_key_in(key).map_err(TlsFault::Setup)?;
                let mismatch = || TlsFault::Setup(SetupError::KeyMismatch(key.clone()));
                let private = keys.load_private_key(private).map_err(|_| mismatch())?;
                if !belongs_to(&*private, &chain) {
                    return Err(mismatch());
                }
                let ours = SingleCertAndKey::from(CertifiedKey::new(chain, private));
                builder.with_client_cert_resolver(Arc::new(ours))
            }
            Some(_) | None => builder.with_no_client_auth(),
        };
        // Requests are minutes apart, so that resuming TLS sessions would gain little for the memory.
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    fn verifier(&self, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, TlsFault> {
        if self.skip_verify {
            return Ok(Arc::new(Anybody { provider: Arc::clone(provider) }));
        }
        let mut system = RootCertStore::empty();
        // Bundles contain a few certificates that webpki rejects. Those are not trusted; the others are.
        system.add_parsable_certificates(self.system_roots());
        let authorities =
            Authorities::new(system, self.own.clone(), provider.signature_verification_algorithms);
        Ok(Arc::new(authorities.ok_or(TlsFault::NoRoots)?))
    }

    /// The system's certificates; empty when there is no bundle, since `ServerCertificate` alone may be enough.
    fn system_roots(&self) -> Vec<CertificateDer<'static>> {
        let configured = self.bundle.clone().or_else(|| std::env::var_os("SSL_CERT_FILE").map(PathBuf::from));
        let pem = match configured {
            Some(path) => read_limited(&path).ok(),
            None => BUNDLES.iter().find_map(|path| read_limited(Path::new(path)).ok()),
        };
        let pem = pem.unwrap_or_default();
        CertificateDer::pem_slice_iter(&pem).flatten().map(CertificateDer::into_owned).collect()
    }
}

/// Why the connection to this peer broke, from the error of its stream.
pub(super) fn lost(peer: String, activity: Activity, error: io::Error) -> NetworkError {
    match fault_of(&error) {
        Some(fault) => NetworkError::Tls(peer, fault),
        None if error.kind() == io::ErrorKind::UnexpectedEof => NetworkError::Closed(peer, activity),
        None => NetworkError::Lost(peer, activity, error),
    }
}

/// The TLS fault inside an error that a stream returned, if it is one.
fn fault_of(error: &io::Error) -> Option<TlsFault> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    let Error::InvalidCertificate(fault) = error else { return Some(TlsFault::Other(error.clone())) };
    #[expect(clippy::wildcard_enum_match_arm, reason = "rustls' own, and open: the rest speaks for itself")]
    Some(match fault {
        CertificateError::NotValidYetContext { time, not_before } => {
            TlsFault::NotYetValid { not_before: not_before.as_secs(), clock: time.as_secs() }
        }
        CertificateError::ExpiredContext { time, not_after } => {
            TlsFault::Expired { not_after: not_after.as_secs(), clock: time.as_secs() }
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => TlsFault::Name,
        CertificateError::UnknownIssuer => TlsFault::UnknownIssuer,
        CertificateError::Other(other) => match other.0.downcast_ref() {
            Some(fault) => TlsFault::clone(fault),
            None => TlsFault::Other(error.clone()),
        },
        _ => TlsFault::Other(error.clone()),
    })
}

/// Whether the first certificate is that of the key. rustls' own check reads certificates of version 3 only, and
/// `openssl x509 -req` without extensions makes version 1: what a server accepts is the server's affair.
fn belongs_to(key: &dyn SigningKey, chain: &[CertificateDer<'_>]) -> bool {
    let (Some(public), Some(own)) = (key.public_key(), chain.first()) else { return false };
    own.windows(public.len()).any(|part| part == public.as_ref())
}

fn read_own(path: &Path) -> Result<Vec<Own>, SetupError> {
    const KEY: &str = "ServerCertificate";
    let bad = || SetupError::BadCertificate(KEY, path.to_owned());
    certificates_in(KEY, path)?.into_iter().map(|certificate| Own::new(certificate).ok_or_else(bad)).collect()
}

/// Reads a PEM file. `key` is the key of `mender.conf` that names the file.
pub(super) fn certificates_in(
    key: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    let pem = read_trusted(key, path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.map_err(|_| SetupError::BadCertificate(key, path.to_owned()))?;
    if certificates.is_empty() {
        return Err(SetupError::NoCertificate(key, path.to_owned()));
    }
    Ok(certificates)
}

fn private_key_in(path: &Path) -> Result<PrivateKeyDer<'static>, SetupError> {
    if path.as_os_str().as_encoded_bytes().starts_with(b"pkcs11:") {
        return Err(SetupError::Pkcs11);
    }
    let pem = read_trusted("HttpsClient.Key", path)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| SetupError::NoKey(path.to_owned()))
}

/// Reads a file that is configured by `key`, which nobody but root and the client's user may change.
fn read_trusted(key: &'static str, path: &Path) -> Result<zeroize::Zeroizing<Vec<u8>>, SetupError> {
    let unreadable = |error: &io::Error| SetupError::Unreadable(key, path.to_owned(), error.to_string());
    check_file(path).map_err(|untrusted| match &untrusted {
        Untrusted::Io(_, error) => unreadable(error),
        Untrusted::NotRegular(_)
        | Untrusted::NotExecutable(_)
        | Untrusted::Owner(..)
        | Untrusted::Writable(..) => SetupError::Untrusted(key, untrusted.to_string()),
    })?;
    read_limited(path).map_err(|error| unreadable(&error))
}

fn read_limited(path: &Path) -> io::Result<zeroize::Zeroizing<Vec<u8>>> {
    let mut text = zeroize::Zeroizing::new(Vec::new());
    open_regular(path)?.take(LARGEST_PEM).read_to_end(&mut text)?;
    Ok(text)
}

#[derive(Debug)]
struct Time(WallClock);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs((self.0)())))
    }
}

/// For `SkipVerify`: accepts every certificate. It is still checked that the peer has the key of the certificate that
/// it shows.
#[derive(Debug)]
struct Anybody {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
