//! Who vouches for a server: the authorities of the system, and the certificates in `ServerCertificate`.
//!
//! | certificate in `ServerCertificate` | trusted |
//! |---|---|
//! | of an authority | as a root, while its dates are good, and as far as its path length and key usage allow |
//! | of an authority, and the server shows the very same | as that of the server; `openssl req -x509` makes such ones |
//! | any other | as that of a server that shows the very same |
//!
//! Name and dates of the server's own certificate always count.

use std::cell::Cell;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath, anchor_from_trusted_cert};

use super::error::TlsFault;
use crate::x509::Certificate;

/// A certificate in `ServerCertificate`.
#[derive(Clone, Debug)]
pub(super) struct Own {
    der: CertificateDer<'static>,
    says: Certificate,
    /// What makes it a root.
    anchor: TrustAnchor<'static>,
}

impl Own {
    /// `None` when the certificate is damaged.
    pub(super) fn new(der: CertificateDer<'static>) -> Option<Self> {
        let says = Certificate::parse(&der)?;
        let anchor = anchor_from_trusted_cert(&der).ok()?.to_owned();
        Some(Self { der, says, anchor })
    }
}

/// Verifies the certificates of servers.
#[derive(Debug)]
pub(super) struct Authorities {
    system: RootCertStore,
    own: Vec<Own>,
    own_anchors: Vec<TrustAnchor<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Authorities {
    /// `None` when nobody is trusted.
    pub(super) fn new(
        system: RootCertStore,
        own: Vec<Own>,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Option<Self> {
        if system.is_empty() && own.is_empty() {
            return None;
        }
        let authorities = own.iter().filter(|own| own.says.is_authority);
        let own_anchors = authorities.map(|own| own.anchor.clone()).collect();
        Some(Self { system, own, own_anchors, algorithms })
    }

    /// Looks for a chain from the server's certificate to an authority.
    fn check_chain(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let certificate = EndEntityCert::try_from(end_entity).map_err(explained)?;
        // Why a chain that is complete does not count, which says more than that no other was found.
        let refusal = Cell::new(None);
        let refused = |fault| {
            refusal.set(Some(fault));
            webpki::Error::UnknownIssuer
        };
        let search = |anchors: &[TrustAnchor<'_>], check: &dyn Fn(&VerifiedPath<'_>) -> _| {
            let usage = KeyUsage::server_auth();
            let algorithms = self.algorithms.all;
            certificate
                .verify_for_usage(algorithms, anchors, intermediates, now, usage, None, Some(check))
                .map(drop)
        };
        let by_system = search(&self.system.roots, &|path| check_between(path).map_err(&refused));
        let Err(error) = by_system else { return Ok(()) };
        let by_own = search(&self.own_anchors, &|path| {
            check_between(path).and_then(|()| self.check_own(path, now)).map_err(&refused)
        });
        match (by_own, refusal.take()) {
            (Ok(()), _) => Ok(()),
            (Err(_), Some(fault)) => Err(other(fault)),
            (Err(webpki::Error::UnknownIssuer), None) => Err(explained(error)),
            (Err(error), None) => Err(explained(error)),
        }
    }

    /// Checks what the root of this chain says of itself. Where there are several of the same name and key, such as
    /// a renewed one beside the old one, one that fits is enough.
    fn check_own(&self, path: &VerifiedPath<'_>, now: UnixTime) -> Result<(), TlsFault> {
        let (anchor, clock) = (path.anchor(), now.as_secs());
        // One that is issued to itself, as when its key changes, does not count.
        let between = path.intermediate_certificates().filter(|cert| cert.subject() != cert.issuer()).count();
        let between = u64::try_from(between).unwrap_or(u64::MAX);
        let mut judged = Err(TlsFault::UnknownIssuer);
        for Own { says, .. } in self.own.iter().filter(|own| own.says.is_authority && own.anchor == *anchor) {
            let &Certificate { not_before, not_after, is_authority: _, path_length, signs_servers } = says;
            judged = if clock < not_before {
                Err(TlsFault::AuthorityNotYetValid { not_before, clock })
            } else if clock > not_after {
                Err(TlsFault::AuthorityExpired { not_after, clock })
            } else if !signs_servers {
                Err(TlsFault::AuthorityUsage)
            } else if path_length.is_some_and(|most| between > most) {
                Err(TlsFault::PathLength)
            } else {
                return Ok(());
            };
        }
        judged
    }

    /// Checks a server's certificate that is itself in `ServerCertificate`.
    fn check_same(own: &Own, now: UnixTime) -> Result<(), Error> {
        let date = |seconds| UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let Certificate { not_before, not_after, .. } = own.says;
        if now.as_secs() < not_before {
            let fault = CertificateError::NotValidYetContext { time: now, not_before: date(not_before) };
            return Err(fault.into());
        }
        if now.as_secs() > not_after {
            return Err(CertificateError::ExpiredContext { time: now, not_after: date(not_after) }.into());
        }
        Ok(())
    }
}

impl ServerCertVerifier for Authorities {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.own.iter().find(|own| own.der == *end_entity) {
            Some(own) => Self::check_same(own, now)?,
            None => self.check_chain(end_entity, intermediates, now)?,
        }
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Checks the key usage of the authorities between server and root; all else of them was checked before.
fn check_between(path: &VerifiedPath<'_>) -> Result<(), TlsFault> {
    let signs = |der: &[u8]| Certificate::parse(der).is_some_and(|certificate| certificate.signs_servers);
    if path.intermediate_certificates().all(|certificate| signs(&certificate.der())) {
        Ok(())
    } else {
        Err(TlsFault::AuthorityUsage)
    }
}

/// The error as rustls has it, so that the server hears the right alert; what rustls has no word for as our own.
fn explained(error: webpki::Error) -> Error {
    use webpki::Error as E;
    #[expect(clippy::wildcard_enum_match_arm, reason = "webpki's own, and open: the rest speaks for itself")]
    match error {
        E::CertNotValidYet { time, not_before } => {
            CertificateError::NotValidYetContext { time, not_before }.into()
        }
        E::CertExpired { time, not_after } => CertificateError::ExpiredContext { time, not_after }.into(),
        // A bad signature usually means an authority that has the same name but another key. A certificate of an
        // authority in the place of a server's has signed itself, and is not the configured one.
        E::UnknownIssuer | E::InvalidSignatureForPublicKey | E::CaUsedAsEndEntity => {
            CertificateError::UnknownIssuer.into()
        }
        E::EndEntityUsedAsCa => other(TlsFault::IssuerNoAuthority),
        E::PathLenConstraintViolated => other(TlsFault::PathLength),
        E::RequiredEkuNotFoundContext(_) => other(TlsFault::Purpose),
        error => CertificateError::Other(OtherError(Arc::new(error))).into(),
    }
}

fn other(fault: TlsFault) -> Error {
    CertificateError::Other(OtherError(Arc::new(fault))).into()
}
