//! Why a request failed. Texts name hosts, never paths, queries, tokens or passwords (D10).

use std::fmt;
use std::io;
use std::path::PathBuf;

use thimble_core::hal::{self, Kind};
use thimble_core::http::fault::{self, Fault};

use super::proxy::ProxyFault;
use crate::file_source::FileError;
use crate::paths::Word;

/// Why a request failed. A `String` holds the peer as `host:port`.
#[derive(Debug)]
#[expect(missing_docs, reason = "`Display` says it")]
pub enum NetworkError {
    /// The request or its answer is at fault; with the peer, if the answer is.
    Http(Option<String>, Fault),
    /// An environment variable that configures the proxy of this request cannot be used.
    Proxy(ProxyFault),
    File(FileError),
    /// A request other than a download was made to a local file.
    FileMethod,
    Lookup(String, String),
    LookupsStuck,
    Connect(String, io::Error),
    Lost(String, Activity, io::Error),
    TimedOut(String, Activity),
    Closed(String, Activity),
    Tls(String, TlsFault),
    ProxyStatus(String, u16),
    /// The proxy asks for a user name; with the environment variable that configures the proxy.
    ProxyUser(String, &'static str),
}

/// What the client was doing when the request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "`Display` says it")]
pub enum Activity {
    Lookup,
    Connect,
    Handshake,
    Proxy,
    Send,
    Head,
    Body,
}

impl From<fault::Activity> for Activity {
    fn from(activity: fault::Activity) -> Self {
        match activity {
            fault::Activity::Open => Self::Connect,
            fault::Activity::Send => Self::Send,
            fault::Activity::Head => Self::Head,
            fault::Activity::Body => Self::Body,
        }
    }
}

/// Why there is no TLS connection.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "`Display` says it")]
pub enum TlsFault {
    /// Both times are in seconds since 1970: the certificate's and that of the device's clock.
    NotYetValid {
        not_before: u64,
        clock: u64,
    },
    Expired {
        not_after: u64,
        clock: u64,
    },
    Name,
    UnknownIssuer,
    /// The certificate was signed with one that is known, but is not allowed to sign others.
    IssuerNoAuthority,
    /// An authority in `ServerCertificate` signed it, whose own dates are not good; times as above.
    AuthorityNotYetValid {
        not_before: u64,
        clock: u64,
    },
    AuthorityExpired {
        not_after: u64,
        clock: u64,
    },
    /// An authority above it may not sign certificates of servers.
    AuthorityUsage,
    /// More authorities stand above it than one of them allows.
    PathLength,
    /// It is for something else than servers.
    Purpose,
    NoRoots,
    Setup(SetupError),
    Other(rustls::Error),
}

/// Why the network cannot be set up as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "`Display` says it")]
pub enum SetupError {
    /// A file cannot be read: the key of `mender.conf`, the path, and the reason.
    Unreadable(&'static str, PathBuf, String),
    /// Others than root and the client's user may change a file: the key of `mender.conf`, and what to do.
    Untrusted(&'static str, String),
    NoCertificate(&'static str, PathBuf),
    BadCertificate(&'static str, PathBuf),
    NoKey(PathBuf),
    KeyMismatch(PathBuf),
    HalfClientCertificate,
    Pkcs11,
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(Some(peer), fault) => write!(f, "{peer}: {fault}"),
            Self::Http(None, fault) => fault.fmt(f),
            Self::Proxy(fault) => fault.fmt(f),
            Self::File(error) => error.fmt(f),
            Self::FileMethod => f.write_str("a file can only be read"),
            Self::Lookup(peer, text) => write!(f, "{peer}: the name cannot be looked up: {text}"),
            Self::LookupsStuck => f.write_str("earlier name lookups still hang; check the name servers"),
            Self::Connect(peer, error) => write!(f, "{peer}: cannot connect: {error}"),
            Self::Lost(peer, activity, error) => write!(f, "{peer}: connection lost {activity}: {error}"),
            Self::TimedOut(peer, activity) => write!(f, "{peer}: timed out {activity}"),
            Self::Closed(peer, activity) => write!(f, "{peer}: closed the connection {activity}"),
            Self::Tls(peer, fault) => write!(f, "{peer}: no secure connection: {fault}"),
            Self::ProxyUser(peer, variable) => {
                write!(
                    f,
                    "the proxy {peer} wants a user name and a password; set them in {variable} (http://user:password@host:port)"
                )
            }
            Self::ProxyStatus(peer, status) => {
                write!(f, "the proxy {peer} refuses to connect: HTTP status {status}")
            }
        }
    }
}

impl hal::Error for NetworkError {
    fn kind(&self) -> Kind {
        match self {
            Self::Http(_, fault) => hal::Error::kind(fault),
            Self::Proxy(_) | Self::FileMethod => Kind::Refused,
            Self::File(error) => error.kind(),
            Self::Lookup(..) | Self::LookupsStuck | Self::Connect(..) | Self::Lost(..) | Self::Closed(..) => {
                Kind::Connection
            }
            Self::TimedOut(..) => Kind::TimedOut,
            Self::Tls(..) | Self::ProxyStatus(..) | Self::ProxyUser(..) => Kind::Connection,
        }
    }
}

impl std::error::Error for NetworkError {}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lookup => "while looking up the name",
            Self::Connect => "while connecting",
            Self::Handshake => "in the TLS handshake",
            Self::Proxy => "before the proxy answered",
            Self::Send => return fault::Activity::Send.fmt(f),
            Self::Head => return fault::Activity::Head.fmt(f),
            Self::Body => return fault::Activity::Body.fmt(f),
        })
    }
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotYetValid { not_before, clock } => write!(
                f,
                "its certificate is valid from {}, but the device clock says {}; set the clock",
                Utc(*not_before),
                Utc(*clock)
            ),
            Self::Expired { not_after, clock } => {
                write!(f, "its certificate expired {}, and the device clock says {}", Utc(*not_after), Utc(*clock))
            }
            Self::Name => f.write_str("its certificate is for another name (see subjectAltName)"),
            Self::UnknownIssuer => {
                f.write_str("no authority that this device trusts has signed its certificate; set ServerCertificate")
            }
            Self::IssuerNoAuthority => f.write_str(
                "its certificate is signed with one that is not an authority's (basicConstraints without CA:TRUE); give the server another certificate",
            ),
            Self::AuthorityNotYetValid { not_before, clock } => write!(
                f,
                "the certificate of its authority, in ServerCertificate, is valid from {}, but the device clock says {}; set the clock",
                Utc(*not_before),
                Utc(*clock)
            ),
            Self::AuthorityExpired { not_after, clock } => write!(
                f,
                "the certificate of its authority, in ServerCertificate, expired {}, and the device clock says {}; replace it",
                Utc(*not_after),
                Utc(*clock)
            ),
            Self::AuthorityUsage => f.write_str(
                "an authority that signed it may not sign certificates of servers (keyUsage without keyCertSign, or extendedKeyUsage without serverAuth)",
            ),
            Self::PathLength => f.write_str(
                "more authorities stand above it than one of them allows (pathlen in basicConstraints)",
            ),
            Self::Purpose => {
                f.write_str("its certificate is not for servers (extendedKeyUsage without serverAuth)")
            }
            Self::NoRoots => f.write_str(
                "no trusted certificates found on this device; install ca-certificates or set ServerCertificate",
            ),
            Self::Setup(error) => error.fmt(f),
            Self::Other(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TlsFault {}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(key, path, error) => {
                write!(f, "{key} {} cannot be read: {error}", path.display())
            }
            Self::Untrusted(key, untrusted) => write!(f, "{key} refused: {untrusted}"),
            Self::NoCertificate(key, path) => {
                write!(f, "{key} {} holds no certificate in PEM form", path.display())
            }
            Self::BadCertificate(key, path) => {
                write!(f, "{key} {} holds a damaged or unsuitable certificate", path.display())
            }
            Self::NoKey(path) => write!(
                f,
                "HttpsClient.Key {1} holds no private key in PEM form that can be used; if it has a passphrase, remove it: `openssl pkey -in {0} -out {0}.new && mv {0}.new {0}`",
                Word(path),
                path.display()
            ),
            Self::KeyMismatch(path) => write!(
                f,
                "HttpsClient.Key {} is not supported, or not that of HttpsClient.Certificate",
                path.display()
            ),
            Self::HalfClientCertificate => {
                f.write_str("only one of HttpsClient.Certificate and HttpsClient.Key is set; set both")
            }
            Self::Pkcs11 => {
                f.write_str("HttpsClient.Key is a pkcs11: URI, which is not supported; give a file")
            }
        }
    }
}

impl std::error::Error for SetupError {}

impl hal::Error for SetupError {
    fn kind(&self) -> Kind {
        match self {
            Self::Unreadable(..) => Kind::NotFound,
            Self::NoCertificate(..) | Self::BadCertificate(..) | Self::NoKey(_) => Kind::Corrupt,
            Self::Untrusted(..) | Self::KeyMismatch(_) | Self::HalfClientCertificate | Self::Pkcs11 => {
                Kind::Refused
            }
        }
    }
}

/// Shows seconds since 1970 as date and time in UTC.
pub(super) struct Utc(pub(super) u64);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, seconds) = (self.0 / 86_400, self.0 % 86_400);
        // Eras of 400 years from 1 March of the year 0, each of 146,097 days; the leap day is a year's last.
        let days = days.saturating_add(719_468);
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
        let year = year.saturating_add(era.saturating_mul(400));
        write!(f, "{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", seconds / 3600, seconds / 60 % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_for_people() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_399, "2000-02-28 23:59 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (951_868_800, "2000-03-01 00:00 UTC"),
            (1_767_225_599, "2025-12-31 23:59 UTC"),
            (4_133_980_799, "2100-12-31 23:59 UTC"),
        ] {
            assert_eq!(Utc(seconds).to_string(), text);
        }
        let _ = Utc(u64::MAX).to_string();
    }
}
