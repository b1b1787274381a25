//! TLS: whom the client believes, and who it says it is.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};

use super::*;
use crate::network::{RedirectFault, SetupError, TlsFault};
use crate::testing::TestLog;
use std::cell::RefCell;
use std::rc::Rc;

const REPLY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret";

/// A certificate and its key.
struct Identity {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
    certificate_pem: String,
    key_pem: String,
}

/// An authority of its own for every test.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    lab: tempfile::TempDir,
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    CertificateParams::new(names).unwrap()
}

impl Authority {
    fn new() -> Self {
        let mut ca = params(&[]);
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        Self { issuer, lab: tempfile::tempdir().unwrap() }
    }

    fn issue(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity::new(certificate.der().clone(), certificate.pem(), &key)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.lab.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Trusts this authority, and nobody else but the roots of the system.
    fn config(&self) -> NetworkConfig {
        let server_certificate = Some(self.write("ca.pem", self.issuer.pem()));
        NetworkConfig { server_certificate, ..NetworkConfig::default() }
    }
}

impl Identity {
    fn new(certificate: CertificateDer<'static>, certificate_pem: String, key: &KeyPair) -> Self {
        Self { certificate, certificate_pem, key: key.serialize_der(), key_pem: key.serialize_pem() }
    }

    fn self_signed(params: &CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self::new(certificate.der().clone(), certificate.pem(), &key)
    }

    fn server(&self) -> ServerConfig {
        self.server_with(rustls::DEFAULT_VERSIONS, None)
    }

    fn server_with(
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

fn accept(config: &Arc<ServerConfig>, stream: TcpStream) -> StreamOwned<ServerConnection, TcpStream> {
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
        let call = Request { method: Method::Put, token: Some("t"), body: Some(&large), ..get(&url) };
        let (_, body) = fetch(&mut network_with(authority.config()), &call).unwrap();
        assert!(body == large && server.request().len() > large.len());
    }
}

#[test]
fn a_name_is_sent_and_checked() {
    let authority = Authority::new();
    let identity = authority.issue(&params(&["device.example"]));
    let server = serve(identity.server(), vec![REPLY.to_vec(); 3], true);
    let mut network = network_with(authority.config());
    network.setup.resolver = |_, port| Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))]);
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
    network.setup.tls.bundle = Some(authority.lab.path().join("roots.pem"));
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
        network.setup.resolver = |_, port| Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))]);
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
    network.setup.resolver = |_, port| Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))]);
    let elsewhere = format!("https://device.example:{}/", server.address.port());
    assert_eq!(fault(&mut network, &elsewhere), TlsFault::Name);
    let server = serve(with_dates(2090).server(), vec![REPLY.to_vec()], true);
    assert_eq!(fault(&mut network_with(config(&identity)), &https(&server)), TlsFault::UnknownIssuer);
    let expired = with_dates(2001);
    let server = serve(expired.server(), vec![REPLY.to_vec()], true);
    let found = fault(&mut network_with(config(&expired)), &https(&server));
    assert!(matches!(found, TlsFault::Expired { .. }), "{found:?}");
}

#[test]
fn n24_a_clock_that_was_never_set_is_told_apart() {
    let authority = Authority::new();
    let mut dated = params(&["127.0.0.1"]);
    (dated.not_before, dated.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2090, 1, 1));
    let server = serve(authority.issue(&dated).server(), vec![REPLY.to_vec(); 2], true);
    let mut network = network_with(authority.config());
    network.setup.tls.clock = || 0;
    let error = head(&mut network, &get(&https(&server))).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, NetworkError::Tls(_, TlsFault::NotYetValid { clock: 0, .. })), "{text}");
    assert!(text.contains("from 2020-01-01") && text.contains("clock says 1970-01-01"), "{text}");
    network.setup.tls.clock = || 4_102_444_800;
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
        assert!(matches!(error, SetupError::Unreadable("ServerCertificate", ..)), "{error}");
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
fn a_connection_cut_inside_tls_is_no_end_of_a_body() {
    let authority = Authority::new();
    let identity = authority.issue(&params(&["127.0.0.1"]));
    for (notify, complete) in [(true, true), (false, false)] {
        let server = serve(identity.server(), vec![b"HTTP/1.1 200 OK\r\n\r\nall".to_vec()], notify);
        let result = fetch(&mut network_with(authority.config()), &get(&https(&server)));
        assert_eq!(result.is_ok(), complete, "{result:?}");
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
    assert!(matches!(error, NetworkError::Redirect(_, RedirectFault::Downgrade)), "{error}");
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
