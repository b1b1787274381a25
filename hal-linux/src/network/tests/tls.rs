//! TLS: whom the client believes, and who it says it is.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use ::ring::aead;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ConnectionTrafficSecrets, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion,
};

use super::*;
use crate::network::{Activity, SetupError, TlsFault};
use crate::testing::{TestLog, openssl};
use std::cell::RefCell;
use std::rc::Rc;
use thimble_core::http::Authorization;
use thimble_core::http::fault::{Fault, RedirectFault};

const REPLY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret";

/// A certificate and its key.
pub(crate) struct Identity {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
}

/// An authority of its own for every test.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    lab: tempfile::TempDir,
}

pub(crate) fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    CertificateParams::new(names).unwrap()
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut ca = params(&[]);
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        Self { issuer, lab: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn issue(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity::new(certificate.der().clone(), certificate.pem(), &key)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.lab.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Trusts this authority, and nobody else but the roots of the system.
    pub(crate) fn config(&self) -> NetworkConfig {
        let server_certificate = Some(self.write("ca.pem", self.issuer.pem()));
        NetworkConfig { server_certificate, ..NetworkConfig::default() }
    }
}

impl Identity {
    fn new(certificate: CertificateDer<'static>, certificate_pem: String, key: &KeyPair) -> Self {
        Self { certificate, certificate_pem, key: key.serialize_der(), key_pem: key.serialize_pem() }
    }

    pub(crate) fn self_signed(params: &CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self::new(certificate.der().clone(), certificate.pem(), &key)
    }

    pub(crate) fn server(&self) -> ServerConfig {
        self.server_with(rustls::DEFAULT_VERSIONS, None)
    }

    pub(crate) fn server_with(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        clients: Option<&Authority>,
    ) -> ServerConfig {
        let provider = Arc::new(ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions).unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.issuer.der().clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let key = PrivateKeyDer::try_from(self.key.clone()).unwrap();
        builder.with_single_cert(vec![self.certificate.clone()], key).unwrap()
    }
}

pub(crate) fn accept(
    config: &Arc<ServerConfig>,
    stream: TcpStream,
) -> StreamOwned<ServerConnection, TcpStream> {
    StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), stream)
}

/// Answers over TLS, each connection with the next reply; ends properly when `notify`.
fn serve(config: ServerConfig, replies: Vec<Vec<u8>>, notify: bool) -> Server {
    let config = Arc::new(config);
    Server::start(replies.len(), move |number, stream| {
        let mut tls = accept(&config, stream);
        if tls.conn.complete_io(&mut tls.sock).is_err() {
            return "no handshake".to_owned();
        }
        let request = read_request(&mut tls);
        let _ = tls.write_all(&replies[number]);
        if notify {
            tls.conn.send_close_notify();
        }
        let _ = tls.flush();
        request
    })
}

fn https(server: &Server) -> String {
    format!("https://{}/p?q", server.address)
}

fn fault(network: &mut HttpNetwork, url: &str) -> TlsFault {
    match head(network, &get(url)) {
        Err(NetworkError::Tls(_, fault)) => fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn requests_over_tls_1_2_and_1_3() {
    let authority = Authority::new();
    for version in rustls::ALL_VERSIONS {
        let identity = authority.issue(&params(&["127.0.0.1"]));
        let large = vec![b'x'; 300_000];
        let reply = [b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n", &large[..]].concat();
        let server = serve(identity.server_with(&[version], None), vec![reply], true);
        let url = https(&server);
        let call = Request {
            method: Method::Put,
            authorization: Some(Authorization::Bearer("t")),
            body: Some(large.len()),
            ..get(&url)
        };
        let (_, body) = fetch_after(&mut network_with(authority.config()), &call, &large).unwrap();
        assert!(body == large && server.request().len() > large.len());
    }
}

#[test]
fn a_name_is_sent_and_checked() {
    let authority = Authority::new();
    let identity = authority.issue(&params(&["device.example"]));
    let server = serve(identity.server(), vec![REPLY.to_vec(); 3], true);
    let mut network = network_with(authority.config());
    network.setup().resolver = |_, port| Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))]);
    let port = server.address.port();
    fetch(&mut network, &get(&format!("https://device.example:{port}/"))).unwrap();
    for other in ["other.example", "127.0.0.1"] {
        assert_eq!(fault(&mut network, &format!("https://{other}:{port}/")), TlsFault::Name);
    }
}

#[test]
fn nobody_else_is_believed() {
    let (authority, other) = (Authority::new(), Authority::new());
    let identity = other.issue(&params(&["127.0.0.1"]));
    let own = Identity::self_signed(&params(&["127.0.0.1"]));
    for identity in [identity, own] {
        let server = serve(identity.server(), vec![REPLY.to_vec()], true);
        assert_eq!(fault(&mut network_with(authority.config()), &https(&server)), TlsFault::UnknownIssuer);
    }
}

#[test]
fn a_certificate_that_is_no_authoritys_signs_nothing() {
    let authority = Authority::new();
    let key = KeyPair::generate().unwrap();
    let mut no_authority = params(&["middle.example"]);
    no_authority.is_ca = IsCa::ExplicitNoCa;
    no_authority.distinguished_name.push(DnType::CommonName, "middle");
    let middle = CertifiedIssuer::signed_by(no_authority, key, &authority.issuer).unwrap();
    let own_key = KeyPair::generate().unwrap();
    let leaf = params(&["127.0.0.1"]).signed_by(&own_key, &middle).unwrap();
    let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone(), middle.der().clone()],
            PrivateKeyDer::try_from(own_key.serialize_der()).unwrap(),
        )
        .unwrap();
    let server = serve(server, vec![REPLY.to_vec()], true);
    let fault = fault(&mut network_with(authority.config()), &https(&server));
    assert_eq!(fault, TlsFault::IssuerNoAuthority);
    assert!(fault.to_string().contains("CA:TRUE"));
}

#[test]
fn the_roots_of_the_system_are_read_when_they_are_needed() {
    let authority = Authority::new();
    let identity = authority.issue(&params(&["127.0.0.1"]));
    let server = serve(identity.server(), vec![REPLY.to_vec(); 2], true);
    let mut network = network();
    network.setup().tls.bundle = Some(authority.lab.path().join("roots.pem"));
    assert_eq!(fault(&mut network, &https(&server)), TlsFault::NoRoots);
    // Installed meanwhile, with one among them that is no good.
    let other = pem::encode(&pem::Pem::new("CERTIFICATE", [0x30, 3, 2, 1, 0]));
    authority.write("roots.pem", other + &authority.issuer.pem());
    fetch(&mut network, &get(&https(&server))).unwrap();
}

#[test]
fn the_configured_certificate_may_be_the_servers_own() {
    // `openssl req -x509` marks it as that of an authority.
    for is_ca in [false, true] {
        let own = |year| {
            let mut params = params(&["127.0.0.1"]);
            params.is_ca = if is_ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::NoCa };
            params.not_after = date_time_ymd(year, 1, 1);
            Identity::self_signed(&params)
        };
        let authority = Authority::new();
        let config = |own: &Identity| NetworkConfig {
            server_certificate: Some(authority.write("own.pem", &own.certificate_pem)),
            ..NetworkConfig::default()
        };
        let identity = own(2090);
        let server = serve(identity.server(), vec![REPLY.to_vec(); 2], true);
        let mut network = network_with(config(&identity));
        fetch(&mut network, &get(&https(&server))).unwrap();
        network.setup().resolver = |_, port| Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))]);
        let elsewhere = format!("https://device.example:{}/", server.address.port());
        assert_eq!(fault(&mut network, &elsewhere), TlsFault::Name, "is_ca {is_ca}");
        // Its dates count, and another certificate of the same form is another.
        let expired = own(2001);
        let server = serve(expired.server(), vec![REPLY.to_vec()], true);
        let found = fault(&mut network_with(config(&expired)), &https(&server));
        assert!(matches!(found, TlsFault::Expired { .. }), "is_ca {is_ca}: {found:?}");
        let server = serve(own(2090).server(), vec![REPLY.to_vec()], true);
        let found = fault(&mut network_with(config(&identity)), &https(&server));
        assert_eq!(found, TlsFault::UnknownIssuer, "is_ca {is_ca}");
    }
}

#[test]
fn the_configured_certificate_may_be_one_that_somebody_else_signed() {
    let authority = Authority::new();
    let with_dates = |year| {
        let mut params = params(&["127.0.0.1"]);
        params.not_after = date_time_ymd(year, 1, 1);
        authority.issue(&params)
    };
    let config = |own: &Identity| NetworkConfig {
        server_certificate: Some(authority.write("own.pem", &own.certificate_pem)),
        ..NetworkConfig::default()
    };
    let identity = with_dates(2090);
    let server = serve(identity.server(), vec![REPLY.to_vec(); 2], true);
    let mut network = network_with(config(&identity));
    fetch(&mut network, &get(&https(&server))).unwrap();
    network.setup().resolver = |_, port| Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))]);
    let elsewhere = format!("https://device.example:{}/", server.address.port());
    assert_eq!(fault(&mut network, &elsewhere), TlsFault::Name);
    let server = serve(with_dates(2090).server(), vec![REPLY.to_vec()], true);
    assert_eq!(fault(&mut network_with(config(&identity)), &https(&server)), TlsFault::UnknownIssuer);
    let expired = with_dates(2001);
    let server = serve(expired.server(), vec![REPLY.to_vec()], true);
    let found = fault(&mut network_with(config(&expired)), &https(&server));
    assert!(matches!(found, TlsFault::Expired { .. }), "{found:?}");
}

/// A chain of certificates for 127.0.0.1 below `authority`, with so many authorities between.
fn chain(authority: &CertifiedIssuer<'static, KeyPair>, between: &[CertificateParams]) -> ServerConfig {
    let mut chain: Vec<CertifiedIssuer<'static, KeyPair>> = Vec::new();
    for params in between {
        let key = KeyPair::generate().unwrap();
        let issuer = chain.last().unwrap_or(authority);
        chain.push(CertifiedIssuer::signed_by(params.clone(), key, issuer).unwrap());
    }
    let key = KeyPair::generate().unwrap();
    let leaf = params(&["127.0.0.1"]).signed_by(&key, chain.last().unwrap_or(authority)).unwrap();
    let mut certificates = vec![leaf.der().clone()];
    certificates.extend(chain.iter().rev().map(|issuer| issuer.der().clone()));
    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap()
}

fn ca_params(name: &str, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut ca = params(&[]);
    ca.distinguished_name.push(DnType::CommonName, name);
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut ca);
    ca
}

fn ca(change: impl FnOnce(&mut CertificateParams)) -> CertifiedIssuer<'static, KeyPair> {
    CertifiedIssuer::self_signed(ca_params("root", change), KeyPair::generate().unwrap()).unwrap()
}

/// What a client that has `pem` as `ServerCertificate`, at a time, says of a server.
fn judged(pem: &str, server: ServerConfig, clock: fn() -> u64) -> Result<(), TlsFault> {
    let lab = tempfile::tempdir().unwrap();
    let path = lab.path().join("trusted.pem");
    fs::write(&path, pem).unwrap();
    let config = NetworkConfig { server_certificate: Some(path), ..NetworkConfig::default() };
    let mut network = network_with(config);
    network.setup().tls.clock = clock;
    let server = serve(server, vec![REPLY.to_vec()], true);
    match head(&mut network, &get(&https(&server))) {
        Ok(_) => Ok(()),
        Err(NetworkError::Tls(_, fault)) => Err(fault),
        Err(other) => panic!("{other:?}"),
    }
}

/// A time at which certificates of the tests are good unless they say otherwise: 2025-06-15.
const TODAY: fn() -> u64 = || 1_750_000_000;

#[test]
fn r47_a_certificate_that_is_no_authoritys_vouches_for_no_other() {
    for is_ca in [IsCa::NoCa, IsCa::ExplicitNoCa] {
        let own = ca(|own| {
            own.is_ca = is_ca;
            own.subject_alt_names = params(&["127.0.0.1"]).subject_alt_names;
        });
        let found = judged(&own.pem(), chain(&own, &[]), TODAY);
        assert_eq!(found, Err(TlsFault::UnknownIssuer), "{is_ca:?}");
    }
}

#[test]
fn r47_an_authority_vouches_for_others_within_its_dates_alone() {
    let root =
        ca(|ca| (ca.not_before, ca.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2022, 1, 1)));
    // Between the dates of the server's own certificate, 1975 to 4096.
    for (clock, text) in [
        ((|| 1_600_000_000) as fn() -> u64, ""),
        (TODAY, "expired 2022-01-01 00:00 UTC, and the device clock says 2025-06-15"),
        (|| 300_000_000, "valid from 2020-01-01 00:00 UTC, but the device clock says 1979-07-05"),
    ] {
        match judged(&root.pem(), chain(&root, &[]), clock) {
            Ok(()) => assert_eq!(text, ""),
            Err(fault) => {
                let said = fault.to_string();
                assert!(
                    !text.is_empty() && said.contains(text) && said.contains("ServerCertificate"),
                    "{said}"
                );
            }
        }
    }
    // The same key in a renewed certificate beside the old one.
    let key = KeyPair::from_pem(&root.key().serialize_pem()).unwrap();
    let renewed = CertifiedIssuer::self_signed(ca_params("root", |_| ()), key).unwrap();
    for both in [root.pem() + &renewed.pem(), renewed.pem() + &root.pem()] {
        judged(&both, chain(&root, &[]), TODAY).unwrap();
    }
}

#[test]
fn r47_the_path_length_of_an_authority_counts() {
    let between =
        |count: usize| -> Vec<_> { (0..count).map(|n| ca_params(&format!("{n}"), |_| ())).collect() };
    for (limit, count, good) in
        [(Some(0), 0, true), (Some(0), 1, false), (Some(1), 1, true), (Some(1), 2, false), (None, 2, true)]
    {
        let constraints = limit.map_or(BasicConstraints::Unconstrained, BasicConstraints::Constrained);
        let root = ca(|ca| ca.is_ca = IsCa::Ca(constraints));
        let found = judged(&root.pem(), chain(&root, &between(count)), TODAY);
        assert_eq!(found.is_ok(), good, "{limit:?} {count}: {found:?}");
        if let Err(fault) = found {
            assert!(fault.to_string().contains("pathlen"), "{fault}");
        }
        // The authority above counts as well when it is in the middle of the chain.
        let top = ca(|_| ());
        let mut chained = vec![ca_params("limited", |ca| ca.is_ca = IsCa::Ca(constraints))];
        chained.extend(between(count));
        assert_eq!(judged(&top.pem(), chain(&top, &chained), TODAY).is_ok(), good, "{limit:?} {count}");
    }
}

#[test]
fn r47_the_key_usage_of_an_authority_counts() {
    use ExtendedKeyUsagePurpose::{Any, ClientAuth, ServerAuth};
    use KeyUsagePurpose::{CrlSign, DigitalSignature, KeyCertSign};
    for (usages, extended, good) in [
        (vec![KeyCertSign], vec![], true),
        (vec![KeyCertSign, CrlSign, DigitalSignature], vec![ServerAuth, ClientAuth], true),
        (vec![], vec![Any], true),
        (vec![CrlSign, DigitalSignature], vec![], false),
        (vec![], vec![ClientAuth], false),
    ] {
        let change = |ca: &mut CertificateParams| {
            ca.key_usages = usages.clone();
            ca.extended_key_usages = extended.clone();
        };
        let root = ca(change);
        let found = judged(&root.pem(), chain(&root, &[]), TODAY);
        assert_eq!(found.is_ok(), good, "{usages:?} {extended:?}: {found:?}");
        let top = ca(|_| ());
        let found = judged(&top.pem(), chain(&top, &[ca_params("between", change)]), TODAY);
        // Between root and server, any use is not enough.
        assert_eq!(found.is_ok(), good && extended != [Any], "between: {usages:?} {extended:?}: {found:?}");
    }
}

#[test]
fn r47_an_authority_of_version_1_is_one_if_it_signed_itself() {
    // Made without extensions, as older guides to private authorities do.
    let lab = tempfile::tempdir().unwrap();
    let at = |name: &str| lab.path().join(name).display().to_string();
    fs::write(at("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    for (name, subject) in [("root", "/CN=old"), ("leaf", "/CN=leaf"), ("other", "/CN=other")] {
        openssl(&format!(
            "req {key} -subj {subject} -keyout {} -out {}",
            at(&format!("{name}.key")),
            at("csr")
        ));
        fs::rename(at("csr"), at(&format!("{name}.csr"))).unwrap();
    }
    let (root, root_key) = (at("root"), at("root.key"));
    openssl(&format!("x509 -req -in {} -signkey {root_key} -days 9999 -out {root}", at("root.csr")));
    let signed = format!("-CA {root} -CAkey {root_key} -set_serial 1 -days 9999");
    openssl(&format!("x509 -req -in {} {signed} -out {}", at("other.csr"), at("other")));
    let server = |issuer: &str| {
        openssl(&format!(
            "x509 -req -in {} -CA {} -CAkey {} -set_serial 2 -days 9999 -extfile {} -out {}",
            at("leaf.csr"),
            at(issuer),
            at(&format!("{issuer}.key")),
            at("names"),
            at("leaf")
        ));
        let pem = |name: &str| pem::parse(fs::read(at(name)).unwrap()).unwrap();
        let (certificate, key) = (pem("leaf"), pem("leaf.key"));
        Identity {
            certificate: certificate.contents().to_vec().into(),
            certificate_pem: String::new(),
            key: key.contents().to_vec(),
            key_pem: String::new(),
        }
        .server()
    };
    let now: fn() -> u64 = super::super::tls::wall_clock;
    judged(&fs::read_to_string(&root).unwrap(), server("root"), now).unwrap();
    let found = judged(&fs::read_to_string(at("other")).unwrap(), server("other"), now);
    assert_eq!(found, Err(TlsFault::UnknownIssuer), "one that somebody else signed");
}

#[test]
fn n24_a_clock_that_was_never_set_is_told_apart() {
    let authority = Authority::new();
    let mut dated = params(&["127.0.0.1"]);
    (dated.not_before, dated.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2090, 1, 1));
    let server = serve(authority.issue(&dated).server(), vec![REPLY.to_vec(); 2], true);
    let mut network = network_with(authority.config());
    network.setup().tls.clock = || 0;
    let error = head(&mut network, &get(&https(&server))).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, NetworkError::Tls(_, TlsFault::NotYetValid { clock: 0, .. })), "{text}");
    assert!(text.contains("from 2020-01-01") && text.contains("clock says 1970-01-01"), "{text}");
    network.setup().tls.clock = || 4_102_444_800;
    let text = head(&mut network, &get(&https(&server))).unwrap_err().to_string();
    assert!(text.contains("expired 2090-01-01") && text.contains("clock says 2100-01-01"), "{text}");
}

#[test]
fn n22_a_server_certificate_that_is_no_good_is_an_error_at_once() {
    let authority = Authority::new();
    let good = authority.issuer.pem();
    let damaged = good.replacen('M', "*", 1);
    let not_a_certificate = good.replace("CERTIFICATE", "PUBLIC KEY");
    let half = good[..good.len() / 2].to_owned();
    let other_der = pem::encode(&pem::Pem::new("CERTIFICATE", [0x30, 3, 2, 1, 0]));
    for text in
        [String::new(), "garbage".into(), damaged, not_a_certificate, half, format!("{good}{other_der}")]
    {
        let server_certificate = Some(authority.write("bad.pem", &text));
        let config = NetworkConfig { server_certificate, ..NetworkConfig::default() };
        let error = HttpNetwork::new(config, log().1).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("ServerCertificate ") && text.contains("bad.pem"), "{text}");
    }
    for path in [PathBuf::from("/nowhere/ca.pem"), authority.lab.path().to_owned()] {
        let config = NetworkConfig { server_certificate: Some(path), ..NetworkConfig::default() };
        let error = HttpNetwork::new(config, log().1).unwrap_err();
        use SetupError::{Unreadable, Untrusted};
        assert!(
            matches!(error, Unreadable("ServerCertificate", ..) | Untrusted("ServerCertificate", _)),
            "{error}"
        );
    }
}

#[test]
fn n23_skip_verify_warns_at_each_connection() {
    let identity = Authority::new().issue(&params(&["other.example"]));
    let server = serve(identity.server(), vec![REPLY.to_vec(); 2], true);
    let lines = Rc::new(RefCell::new(TestLog::default()));
    let config = NetworkConfig { skip_verify: true, ..NetworkConfig::default() };
    let mut network = HttpNetwork::new(config, lines.clone()).unwrap();
    for connection in 1..=2 {
        assert_eq!(fetch(&mut network, &get(&https(&server))).unwrap().1, b"secret");
        let warnings = lines.borrow().0.iter().filter(|line| line.starts_with("warning: SkipVerify")).count();
        assert_eq!(warnings, connection);
    }
}

#[test]
fn a_client_certificate_is_shown_and_read_anew_each_time() {
    let authority = Authority::new();
    let server_identity = authority.issue(&params(&["127.0.0.1"]));
    let config = server_identity.server_with(rustls::DEFAULT_VERSIONS, Some(&authority));
    let server = serve(config, vec![REPLY.to_vec(); 3], true);
    let url = https(&server);
    assert!(fetch(&mut network_with(authority.config()), &get(&url)).is_err(), "without one");

    let (first, renewed) = (authority.issue(&params(&["d"])), authority.issue(&params(&["d"])));
    let certificate = authority.write("client.pem", &first.certificate_pem);
    let key = authority.write("client.key", &first.key_pem);
    let config = NetworkConfig {
        client_certificate: Some(certificate),
        client_key: Some(key.clone()),
        ..authority.config()
    };
    let mut network = network_with(config.clone());
    fetch(&mut network, &get(&url)).unwrap();
    authority.write("client.pem", &renewed.certificate_pem);
    authority.write("client.key", &renewed.key_pem);
    fetch(&mut network, &get(&url)).unwrap();

    authority.write("client.key", &first.key_pem);
    let Err(error) = HttpNetwork::new(config.clone(), log().1) else {
        panic!("a key of another certificate")
    };
    assert_eq!(error, SetupError::KeyMismatch(key.clone()));
    authority.write("client.key", "");
    assert_eq!(HttpNetwork::new(config.clone(), log().1).unwrap_err(), SetupError::NoKey(key));
    for half in [
        NetworkConfig { client_key: None, ..config.clone() },
        NetworkConfig { client_certificate: None, ..config.clone() },
    ] {
        assert_eq!(HttpNetwork::new(half, log().1).unwrap_err(), SetupError::HalfClientCertificate);
    }
    let client_key = Some(PathBuf::from("pkcs11:object=k?pin-value=1234"));
    let error = HttpNetwork::new(NetworkConfig { client_key, ..config.clone() }, log().1).unwrap_err();
    assert_eq!(error, SetupError::Pkcs11);
    for (missing, name) in [("client.key", "HttpsClient.Key"), ("client.pem", "HttpsClient.Certificate")] {
        fs::remove_file(authority.lab.path().join(missing)).unwrap();
        let text = HttpNetwork::new(config.clone(), log().1).unwrap_err().to_string();
        assert!(text.starts_with(&format!("{name} /")) && text.contains("cannot be read"), "{text}");
    }
}

#[test]
fn certificates_and_keys_that_others_may_change_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let authority = Authority::new();
    let client = authority.issue(&params(&["d"]));
    let config = NetworkConfig {
        client_certificate: Some(authority.write("client.pem", &client.certificate_pem)),
        client_key: Some(authority.write("client.key", &client.key_pem)),
        ..authority.config()
    };
    HttpNetwork::new(config.clone(), log().1).unwrap();
    for (name, key) in [
        ("ca.pem", "ServerCertificate"),
        ("client.pem", "HttpsClient.Certificate"),
        ("client.key", "HttpsClient.Key"),
    ] {
        let path = authority.lab.path().join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        let text = HttpNetwork::new(config.clone(), log().1).unwrap_err().to_string();
        let expected = format!("{key} refused: {0} (mode 0666) can be changed", path.display());
        assert!(text.starts_with(&expected) && text.contains("run `chmod go-w /"), "{text}");
        // A readable key is no reason to refuse.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }
    HttpNetwork::new(config, log().1).unwrap();
}

#[test]
fn a_client_certificate_of_version_1_is_taken() {
    // `openssl x509 -req` without extensions makes these.
    let authority = Authority::new();
    let authority_certificate = authority.write("ca.pem", authority.issuer.pem());
    let authority_key = authority.write("ca.key", authority.issuer.key().serialize_pem());
    let at = |name: &str| authority.lab.path().join(name);
    let openssl = |args: &[&std::ffi::OsStr]| {
        let done = std::process::Command::new("openssl").args(args).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    let (request, certificate, key) = (at("client.csr"), at("client.pem"), at("client.key"));
    let words = ["req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=device", "-keyout"];
    let mut args: Vec<&std::ffi::OsStr> = words.iter().map(std::ffi::OsStr::new).collect();
    args.extend([key.as_os_str(), "-out".as_ref(), request.as_os_str()]);
    openssl(&args);
    let mut args: Vec<&std::ffi::OsStr> = ["x509", "-req", "-in"].iter().map(std::ffi::OsStr::new).collect();
    args.extend([request.as_os_str(), "-CA".as_ref(), authority_certificate.as_os_str()]);
    args.extend(["-CAkey".as_ref(), authority_key.as_os_str(), "-set_serial".as_ref(), "1".as_ref()]);
    args.extend(["-out".as_ref(), certificate.as_os_str()]);
    openssl(&args);
    let config =
        NetworkConfig { client_certificate: Some(certificate), client_key: Some(key), ..authority.config() };
    HttpNetwork::new(config.clone(), log().1).unwrap();
    let other = authority.write("other.key", &authority.issue(&params(&["d"])).key_pem);
    let error = HttpNetwork::new(NetworkConfig { client_key: Some(other.clone()), ..config }, log().1);
    assert_eq!(error.unwrap_err(), SetupError::KeyMismatch(other));
}

#[test]
fn r35_a_connection_cut_inside_tls_ends_an_artifact_and_no_other_answer() {
    let authority = Authority::new();
    let identity = authority.issue(&params(&["127.0.0.1"]));
    for (notify, token, framing, complete) in [
        (true, None, "", true),
        (true, Some("t"), "", true),
        // The artifact itself says whether it is complete.
        (false, None, "", true),
        (false, Some("t"), "", false),
        (false, None, "Content-Length: 4\r\n", false),
        (false, None, "Transfer-Encoding: chunked\r\n", false),
    ] {
        let reply = format!("HTTP/1.1 200 OK\r\n{framing}\r\n3\r\n");
        let server = serve(identity.server(), vec![reply.into_bytes()], notify);
        let url = https(&server);
        let result = fetch(
            &mut network_with(authority.config()),
            &Request { authorization: token.map(Authorization::Bearer), ..get(&url) },
        );
        assert_eq!(result.is_ok(), complete, "{notify} {token:?} {framing}: {result:?}");
    }
}

#[test]
fn n19_no_redirect_leads_out_of_tls() {
    let authority = Authority::new();
    let identity = authority.issue(&params(&["127.0.0.1"]));
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    plain.set_nonblocking(true).unwrap();
    let to = |location: String| format!("HTTP/1.1 302 X\r\nLocation: {location}\r\n\r\n").into_bytes();
    let target = serve(identity.server(), vec![REPLY.to_vec()], true);
    let down = to(format!("http://{}/", plain.local_addr().unwrap()));
    let server = serve(identity.server(), vec![down, to(https(&target))], true);
    let mut network = network_with(authority.config());
    let error = head(&mut network, &get(&https(&server))).unwrap_err();
    assert!(matches!(error, NetworkError::Http(_, Fault::Redirect(RedirectFault::Downgrade))), "{error}");
    assert!(plain.accept().is_err());
    assert_eq!(fetch(&mut network, &get(&https(&server))).unwrap().1, b"secret");
}

/// Answers `CONNECT` and passes bytes on to `target`.
fn tunnel(proxy: &mut (impl Read + Write), reply: &[u8]) -> String {
    let request = read_request(proxy);
    let _ = proxy.write_all(reply);
    let _ = proxy.flush();
    request
}

fn through(proxy: &Server, scheme: &str, authority: &Authority) -> HttpNetwork {
    let proxies = proxies("https_proxy", format!("{scheme}://us:pw@{}", proxy.address));
    network_with(NetworkConfig { proxies, ..authority.config() })
}

#[test]
fn n25_https_goes_through_a_tunnel() {
    let authority = Authority::new();
    let inside = Arc::new(authority.issue(&params(&["device.example"])).server());
    let outside = Arc::new(authority.issue(&params(&["127.0.0.1"])).server());
    for scheme in ["http", "https"] {
        let (inside, outside) = (Arc::clone(&inside), Arc::clone(&outside));
        // Proxy and server in one: behind its answer, the server's TLS begins on the same connection.
        let proxy = Server::start(1, move |_, mut stream| {
            let ok = b"HTTP/1.1 200 Connection established\r\n\r\n";
            let answer = |tls: &mut StreamOwned<ServerConnection, &mut dyn ReadWrite>| {
                let request = read_request(tls);
                tls.write_all(REPLY).unwrap();
                tls.conn.send_close_notify();
                tls.flush().unwrap();
                request
            };
            let (connect, get) = if scheme == "http" {
                let connect = tunnel(&mut stream, ok);
                let below: &mut dyn ReadWrite = &mut stream;
                (
                    connect,
                    answer(&mut StreamOwned::new(ServerConnection::new(inside.clone()).unwrap(), below)),
                )
            } else {
                let mut outer = accept(&outside, stream);
                let connect = tunnel(&mut outer, ok);
                let below: &mut dyn ReadWrite = &mut outer;
                (
                    connect,
                    answer(&mut StreamOwned::new(ServerConnection::new(inside.clone()).unwrap(), below)),
                )
            };
            format!("{connect}|{get}")
        });
        let mut network = through(&proxy, scheme, &authority);
        let (_, body) = fetch(&mut network, &get("https://device.example/p?q")).unwrap();
        assert_eq!(body, b"secret", "{scheme}");
        let requests = proxy.request();
        let (connect, get) = requests.split_once('|').unwrap();
        let expected = "CONNECT device.example:443 HTTP/1.1\r\nHost: device.example:443\r\n";
        assert!(connect.starts_with(expected), "{connect}");
        assert!(connect.contains("\r\nProxy-Authorization: Basic dXM6cHc=\r\n"), "{connect}");
        assert!(
            get.starts_with("GET /p?q HTTP/1.1\r\nHost: device.example\r\n") && !get.contains("Proxy"),
            "{get}"
        );
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

#[test]
fn a_proxy_that_refuses_or_says_too_much() {
    let authority = Authority::new();
    for (reply, word) in [
        ("HTTP/1.1 407 Auth\r\nContent-Length: 0\r\n\r\n", "https_proxy"),
        ("HTTP/1.1 502 Bad\r\n\r\n", "502"),
        ("HTTP/1.1 204 X\r\n\r\n", "204"),
        ("HTTP/1.1 302 X\r\nLocation: http://127.0.0.1/\r\n\r\n", "302"),
        ("HTTP/1.1 200 X\r\n\r\nHTTP/1.1 200 X\r\n\r\n", "more than its answer"),
        ("", "closed"),
    ] {
        let proxy = Server::start(1, move |_, mut stream| tunnel(&mut stream, reply.as_bytes()));
        let mut network = through(&proxy, "http", &authority);
        let error = head(&mut network, &get("https://device.example/")).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(word) && text.contains(&proxy.address.to_string()), "{text}");
        assert!(!text.contains("pw"), "{text}");
    }
}

/// A record of TLS 1.3 with a ticket for the resumption of sessions, and nothing else.
fn ticket(sequence: u64, secrets: &ConnectionTrafficSecrets) -> Vec<u8> {
    let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else { panic!("another cipher") };
    const LENGTH: u16 = 1000;
    // Type and length of the message; lifetime, what is added to the age, nonce, ticket, no extensions; type of the
    // record.
    let mut record = vec![4, 0];
    record.extend((LENGTH + 13).to_be_bytes());
    record.extend([0, 0, 0, 9, 0, 0, 0, 9, 0]);
    record.extend(LENGTH.to_be_bytes());
    record.extend([7; LENGTH as usize]);
    record.extend([0, 0, 22]);
    let mut nonce: [u8; 12] = iv.as_ref().try_into().unwrap();
    nonce[4..].iter_mut().zip(sequence.to_be_bytes()).for_each(|(byte, other)| *byte ^= other);
    let length = u16::try_from(record.len() + 16).unwrap().to_be_bytes();
    let head = [23, 3, 3, length[0], length[1]];
    let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_256_GCM, key.as_ref()).unwrap());
    let nonce = aead::Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(nonce, aead::Aad::from(head), &mut record).unwrap();
    [&head[..], &record].concat()
}

/// Takes a request, and answers with so many tickets before it closes the connection.
fn answer_with_tickets(config: &Arc<ServerConfig>, stream: &mut dyn ReadWrite, count: u64) -> String {
    let mut tls = StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), stream);
    let request = read_request(&mut tls);
    let StreamOwned { conn, sock } = tls;
    let (sequence, secrets) = conn.dangerous_extract_secrets().unwrap().tx;
    // The client may have seen enough.
    let _ = (sequence..sequence + count).try_for_each(|number| sock.write_all(&ticket(number, &secrets)));
    let _ = sock.flush();
    request
}

#[test]
fn messages_of_tls_without_end_leave_time_for_other_work() {
    const TICKETS: u64 = 8000;
    const LEAST_TURNS: u64 = TICKETS * 1000 / (256 * 1024);
    let authority = Authority::new();
    let identity = authority.issue(&params(&["127.0.0.1", "device.example"]));
    let mut config = identity.server_with(&[&rustls::version::TLS13], None);
    config.enable_secret_extraction = true;
    let config = Arc::new(config);
    let (outside, inside) = (Arc::new(identity.server()), Arc::clone(&config));
    let server = Server::start(1, move |_, mut stream| answer_with_tickets(&config, &mut stream, TICKETS));
    // TLS inside TLS: what has been decrypted once is waiting, and no descriptor tells of it.
    let proxy = Server::start(1, move |_, stream| {
        let mut outer = accept(&outside, stream);
        tunnel(&mut outer, b"HTTP/1.1 200 Connection established\r\n\r\n");
        answer_with_tickets(&inside, &mut outer, TICKETS)
    });
    for (mut network, url) in [
        (network_with(authority.config()), https(&server)),
        (through(&proxy, "https", &authority), "https://device.example/".to_owned()),
    ] {
        network.start(crate::testing::now(), &get(&url)).unwrap();
        let mut turns = 0;
        let answer = run(&mut network, |network, now| {
            turns += 1;
            network.poll_head(now)
        });
        assert!(matches!(answer, Err(NetworkError::Closed(_, Activity::Head))), "{answer:?}");
        assert!(turns > LEAST_TURNS, "{turns} turns");
    }
}

#[test]
fn what_speaks_no_tls_is_an_error() {
    let server = Server::start(2, |number, mut stream| {
        let reply: [&[u8]; 2] = [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""];
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(reply[number]);
        String::new()
    });
    let mut network = network_with(Authority::new().config());
    for _ in 0..2 {
        let error = head(&mut network, &get(&https(&server))).unwrap_err();
        assert!(matches!(error, NetworkError::Tls(..) | NetworkError::Closed(..)), "{error:?}");
    }
}
