//! Runs the parser over whole artifacts and notes what came out.

use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair,
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use thimble_core::artifact::{Error, Gzip, ManifestEntry, Parsed, Parser, Trust, Workspace};
use thimble_core::hal::{Decompress, Verifier};

/// What an artifact held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Script(String, Vec<u8>),
    Header { info: Vec<u8>, type_info: Vec<u8>, meta_data: Vec<u8> },
    File { name: String, size: u64, bytes: Vec<u8>, ended: bool },
}

/// A verifier with the keys of a test.
#[derive(Default)]
pub(crate) struct Keys {
    pub(crate) keys: Vec<(&'static dyn VerificationAlgorithm, Vec<u8>)>,
    manifest: Vec<u8>,
    /// How often a signature was looked at, and the last one.
    pub(crate) asked: Vec<Vec<u8>>,
}

impl Keys {
    pub(crate) fn ec(public: &[u8]) -> Self {
        let keys: Vec<(&'static dyn VerificationAlgorithm, _)> =
            vec![(&ECDSA_P256_SHA256_FIXED, public.to_vec()), (&ECDSA_P256_SHA256_ASN1, public.to_vec())];
        Self { keys, ..Self::default() }
    }

    pub(crate) fn rsa(public: &[u8]) -> Self {
        Self { keys: vec![(&RSA_PKCS1_2048_8192_SHA256, public.to_vec())], ..Self::default() }
    }
}

impl Verifier for Keys {
    fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    fn reset(&mut self) {
        self.manifest.clear();
    }

    fn update(&mut self, manifest: &[u8]) -> bool {
        self.manifest.extend(manifest);
        true
    }

    fn verify(&mut self, signature: &[u8]) -> bool {
        self.asked.push(signature.to_vec());
        self.keys.iter().any(|(algorithm, key)| {
            UnparsedPublicKey::new(*algorithm, key).verify(&self.manifest, signature).is_ok()
        })
    }
}

/// A fresh P-256 key.
pub(crate) struct Signer {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl Signer {
    pub(crate) fn new() -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
        Self { pair, random }
    }

    pub(crate) fn keys(&self) -> Keys {
        Keys::ec(self.pair.public_key().as_ref())
    }

    pub(crate) fn raw(&self, manifest: &[u8]) -> Vec<u8> {
        self.pair.sign(&self.random, manifest).unwrap().as_ref().to_vec()
    }

    pub(crate) fn sign(&self, manifest: &[u8]) -> Vec<u8> {
        STANDARD.encode(self.raw(manifest)).into_bytes()
    }
}

/// Memory for a parser, of the sizes of the Linux client.
pub(crate) struct Memory {
    name: Vec<u8>,
    header_info: Vec<u8>,
    type_info: Vec<u8>,
    meta_data: Vec<u8>,
    files: Vec<ManifestEntry>,
    window: Vec<u8>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self {
            name: vec![0; 4096],
            header_info: vec![0; 64 << 10],
            type_info: vec![0; 64 << 10],
            meta_data: vec![0; 1 << 20],
            files: vec![ManifestEntry::default(); 1024],
            window: vec![0; 32 << 10],
        }
    }

    pub(crate) fn parser(&mut self) -> Parser<'_> {
        Parser::new(Workspace {
            name: &mut self.name,
            header_info: &mut self.header_info,
            type_info: &mut self.type_info,
            meta_data: &mut self.meta_data,
            files: &mut self.files,
            window: &mut self.window,
        })
    }
}

/// Parses all of `artifact`, `chunk` giving the sizes of the pieces.
pub(crate) fn run(
    parser: &mut Parser<'_>,
    artifact: &[u8],
    trust: Trust,
    keys: &mut Keys,
    chunk: impl FnMut() -> usize,
) -> (Vec<Seen>, Result<(), Error>) {
    run_with(parser, artifact, trust, keys, &mut Gzip::default(), chunk)
}

/// The same with another decompressor.
pub(crate) fn run_with(
    parser: &mut Parser<'_>,
    artifact: &[u8],
    trust: Trust,
    keys: &mut Keys,
    gzip: &mut impl Decompress,
    mut chunk: impl FnMut() -> usize,
) -> (Vec<Seen>, Result<(), Error>) {
    let mut seen = Vec::new();
    parser.reset(trust, true);
    let mut at = 0;
    while at < artifact.len() {
        let end = (at + chunk().max(1)).min(artifact.len());
        if let Err(error) = piece(parser, &artifact[at..end], keys, gzip, &mut seen) {
            // A24: there is no way on from an error.
            assert_eq!(parser.push(b"more", keys, gzip).unwrap_err(), error);
            assert_eq!(parser.finish().unwrap_err(), error);
            return (seen, Err(error));
        }
        at = end;
    }
    let end = parser.finish();
    (seen, end)
}

fn piece(
    parser: &mut Parser<'_>,
    mut input: &[u8],
    keys: &mut Keys,
    gzip: &mut impl Decompress,
    seen: &mut Vec<Seen>,
) -> Result<(), Error> {
    loop {
        let (taken, event) = parser.push(input, keys, gzip)?;
        let mut done = false;
        let mut header = false;
        match event {
            Parsed::NeedInput => done = true,
            Parsed::Script { name, .. } => seen.push(Seen::Script(name.into(), Vec::new())),
            Parsed::ScriptData(data) => match seen.last_mut() {
                Some(Seen::Script(_, bytes)) => bytes.extend(data),
                other => panic!("script data behind {other:?}"),
            },
            Parsed::Header => header = true,
            Parsed::FileBegin { name, size } => {
                seen.push(Seen::File { name: name.into(), size, bytes: Vec::new(), ended: false });
            }
            Parsed::FileData(data) => match seen.last_mut() {
                Some(Seen::File { bytes, ended: false, .. }) => bytes.extend(data),
                other => panic!("file data behind {other:?}"),
            },
            Parsed::FileEnd => match seen.last_mut() {
                Some(Seen::File { ended, bytes, size, .. }) => {
                    assert_eq!(bytes.len() as u64, *size);
                    *ended = true;
                }
                other => panic!("the end of a file behind {other:?}"),
            },
        }
        if header {
            let header = parser.header().unwrap();
            seen.push(Seen::Header {
                info: header.header_info().into(),
                type_info: header.type_info().into(),
                meta_data: header.meta_data().into(),
            });
        }
        if done {
            assert_eq!(taken, input.len(), "NeedInput means that all was taken");
            return Ok(());
        }
        input = &input[taken..];
    }
}

/// Parses an artifact as a client without keys does.
pub(crate) fn parse(artifact: &[u8]) -> Result<Vec<Seen>, Error> {
    parse_as(artifact, Trust::Unsigned, &mut Keys::default())
}

pub(crate) fn parse_as(artifact: &[u8], trust: Trust, keys: &mut Keys) -> Result<Vec<Seen>, Error> {
    let (seen, result) = run(&mut Memory::new().parser(), artifact, trust, keys, || 4096);
    result.map(|()| seen)
}

/// Runs `program` with `input` on stdin; its stdout.
pub(crate) fn pipe(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}");
    output.stdout
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    pipe("gzip", &["-n", "-c"], bytes)
}

/// A small deterministic generator (xorshift).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % limit
    }
}
