//! `serve`: the model of Mender's server behind a real listener, so that a real client can be tried without one.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use thimble_hal_linux::decompress::Decompressor;
use thimble_hal_sim::given;
use thimble_hal_sim::listen::{Entry, Listener, Security, Wire};
use thimble_hal_sim::server::{Artifact, Deployment, Endpoint, Fault, Server};

use crate::failure::{Failure, no_option};

pub(crate) const HELP: &str = "\
Is a Mender server for a real client on this machine: deploys the artifacts and prints every request.

The artifacts go, one after the other, to whichever device asks. Listens on 127.0.0.1 only. What a good client would
not have sent is printed as a violation.

Usage: thimble-sim serve [OPTION]... ARTIFACT...

  --port N              listen there [a free port]
  --http                without TLS
  --certificate FILE    write the certificate to trust into FILE [server.pem]
  --v2                  know the second version of 'next', as hosted Mender does
  --pending             accept no device
  --control-map FILE    send this update control map with the deployments
  --fault WHERE:WHAT[@SKIP[xTIMES]]
                        disturb requests, after SKIP good ones [0], TIMES of them [1]; repeatable
                        WHERE: auth, next-v2, next-v1, status, log, inventory, control-map, artifact
                        WHAT: status=N, retry-after=TEXT, body=TEXT, refuse, silent, drip, answer-lost, cut=BYTES
                        (of the body), close=BYTES, reset=BYTES, hang=BYTES (of the answer), slow=BYTES,MILLISECONDS,
                        raw=TEXT, surplus=TEXT, no-length, chunked=BYTES, header=LINE, interim
  --until-over          end when all deployments are over; exit status 1 unless each was a success and nothing was
                        a violation

Examples:
  thimble-sim serve release-2.mender
  thimble-sim serve --fault artifact:close=5000 --fault status:status=500@1 release-2.mender
";

/// The longest wait before it is looked whether anything happened.
const TURN: Duration = Duration::from_secs(3600);

#[derive(Default)]
struct Options {
    port: u16,
    http: bool,
    certificate: Option<String>,
    v2: bool,
    pending: bool,
    control_map: Option<String>,
    faults: Vec<Disturbance>,
    until_over: bool,
    artifacts: Vec<Artifact>,
}

#[derive(Debug, PartialEq, Eq)]
struct Disturbance {
    endpoint: Endpoint,
    skip: u32,
    times: u32,
    what: What,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    Fault(Fault),
    Wire(Wire),
}

/// Serves until everything is over, or for ever. `Ok(false)`: something went wrong with a deployment.
pub(crate) fn run(out: &mut dyn Write, words: &[&str]) -> Result<bool, Failure> {
    let options = read(words)?;
    let mut server = Server::new("");
    server.v2 = options.v2;
    server.accepts_all = !options.pending;
    for (number, artifact) in options.artifacts.into_iter().enumerate() {
        let deployment = Deployment { control_map: options.control_map.clone(), ..Deployment::new(artifact) };
        server.deployments.insert(format!("00000000-0000-4000-8000-{:012}", number + 1), deployment);
    }
    let security = if options.http { Security::Plain } else { Security::Tls };
    let listener = Listener::start(options.port, security, server)
        .map_err(|error| format!("port {}: {error}", options.port))?;
    for Disturbance { endpoint, skip, times, what } in options.faults {
        match what {
            What::Fault(fault) => listener.with(|server| server.disturb(endpoint, skip, times, fault)),
            What::Wire(wire) => listener.disturb(endpoint, skip, times, wire),
        }
    }
    let mut conf = format!("{{\"ServerURL\": \"{}\"", listener.url());
    if !options.http {
        let path = options.certificate.unwrap_or_else(|| "server.pem".into());
        fs::write(&path, listener.certificate()).map_err(|error| format!("{path}: {error}"))?;
        let path = fs::canonicalize(&path).map_err(|error| format!("{path}: {error}"))?;
        conf.push_str(&format!(", \"ServerCertificate\": \"{}\"", path.display()));
    }
    writeln!(out, "mender.conf: {conf}}}")?;
    out.flush()?;
    Ok(follow(out, &listener, options.until_over)?)
}

/// Prints what happens.
fn follow(out: &mut dyn Write, listener: &Listener, until_over: bool) -> io::Result<bool> {
    let (mut requests, mut violations) = (0, 0);
    loop {
        listener.wait_until(TURN, |server, journal| {
            journal.len() > requests || server.violations().len() > violations
        });
        for entry in listener.journal().iter().skip(requests) {
            requests += 1;
            writeln!(out, "{}", line(entry))?;
        }
        let (found, over, good) = listener.with(|server| {
            let statuses: Vec<String> = server.deployments.values().map(|d| d.status().to_owned()).collect();
            let over = server.deployments.values().all(Deployment::is_over);
            (server.violations().to_vec(), over, statuses.iter().all(|status| status == "success"))
        });
        for violation in found.iter().skip(violations) {
            violations += 1;
            writeln!(out, "violation: {violation}")?;
        }
        out.flush()?;
        if until_over && over {
            return Ok(good && violations == 0);
        }
    }
}

/// A request in one line, without control characters.
fn line(entry: &Entry) -> String {
    let what = match entry.endpoint {
        None => entry.target.clone(),
        Some(endpoint) => name(endpoint).to_owned(),
    };
    let said = match entry.endpoint {
        Some(Endpoint::Status | Endpoint::Inventory | Endpoint::NextV2) => {
            format!(" {}", String::from_utf8_lossy(&entry.body))
        }
        _ => String::new(),
    };
    let range = entry.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("range"));
    let range = range.map_or_else(String::new, |(_, range)| format!(" {range}"));
    let wire = entry.wire.as_ref().map_or_else(String::new, |wire| format!(" ({wire})"));
    let text = format!("{} {what}{range}{said} -> {}{wire}", entry.method, entry.status);
    text.escape_debug().to_string().replace("\\\"", "\"")
}

const ENDPOINTS: [(&str, Endpoint); 8] = [
    ("auth", Endpoint::Auth),
    ("next-v2", Endpoint::NextV2),
    ("next-v1", Endpoint::NextV1),
    ("status", Endpoint::Status),
    ("log", Endpoint::Log),
    ("inventory", Endpoint::Inventory),
    ("control-map", Endpoint::ControlMap),
    ("artifact", Endpoint::Artifact),
];

fn name(endpoint: Endpoint) -> &'static str {
    ENDPOINTS.iter().find(|(_, of)| *of == endpoint).map_or("", |(name, _)| name)
}

fn read(words: &[&str]) -> Result<Options, String> {
    let mut options = Options::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().copied().ok_or_else(|| format!("{word} needs a value"));
        match *word {
            "--port" => {
                let text = value()?;
                options.port = text.parse().map_err(|_| format!("{text:?} is no port"))?;
            }
            "--http" => options.http = true,
            "--certificate" => options.certificate = Some(value()?.to_owned()),
            "--v2" => options.v2 = true,
            "--pending" => options.pending = true,
            "--control-map" => {
                let path = value()?;
                let text = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
                options.control_map = Some(text);
            }
            "--fault" => options.faults.push(disturbance(value()?)?),
            "--until-over" => options.until_over = true,
            option if option.starts_with('-') => return Err(no_option("serve", option, HELP)),
            path => options.artifacts.push(artifact(path.as_ref())?),
        }
    }
    Ok(options)
}

fn disturbance(text: &str) -> Result<Disturbance, String> {
    let wrong = || format!("{text:?} is no fault: WHERE:WHAT[@SKIP[xTIMES]]");
    let (place, rest) = text.split_once(':').ok_or_else(wrong)?;
    let endpoint = ENDPOINTS.iter().find(|(name, _)| *name == place).ok_or_else(wrong)?.1;
    let (what, when) = rest.rsplit_once('@').unwrap_or((rest, "0"));
    let (skip, times) = when.split_once('x').unwrap_or((when, "1"));
    let number = |text: &str| text.parse::<u32>().map_err(|_| wrong());
    let (skip, times) = (number(skip)?, number(times)?);
    let (kind, value) = what.split_once('=').unwrap_or((what, ""));
    let size = || value.parse::<usize>().map_err(|_| wrong());
    let what = match kind {
        "status" => What::Fault(Fault::Status(value.parse().map_err(|_| wrong())?)),
        "retry-after" => What::Fault(Fault::RetryAfter(value.into())),
        "body" => What::Fault(Fault::Body(value.into())),
        "refuse" => What::Fault(Fault::Unreachable),
        "silent" => What::Fault(Fault::Silent),
        "drip" => What::Fault(Fault::Drip),
        "answer-lost" => What::Fault(Fault::AnswerLost),
        "cut" => What::Fault(Fault::Cut(size()?)),
        "close" => What::Wire(Wire::Close(size()?)),
        "reset" => What::Wire(Wire::Reset(size()?)),
        "hang" => What::Wire(Wire::Hang(size()?)),
        "slow" => {
            let (bytes, pause) = value.split_once(',').ok_or_else(wrong)?;
            What::Wire(Wire::Slow(bytes.parse().map_err(|_| wrong())?, pause.parse().map_err(|_| wrong())?))
        }
        "raw" => What::Wire(Wire::Raw(value.into())),
        "surplus" => What::Wire(Wire::Surplus(value.into())),
        "no-length" => What::Wire(Wire::NoLength),
        "chunked" => What::Wire(Wire::Chunked(size()?)),
        "header" => What::Wire(Wire::Header(value.into())),
        "interim" => What::Wire(Wire::Interim),
        _ => return Err(wrong()),
    };
    Ok(Disturbance { endpoint, skip, times, what })
}

/// Reads name and device types out of an artifact's header. Its payload may be damaged: the client must find out.
fn artifact(path: &Path) -> Result<Artifact, String> {
    let wrong = |error: &dyn fmt::Display| format!("{}: {error}", path.display());
    let bytes = fs::read(path).map_err(|error| wrong(&error))?;
    let header = given::artifact::read_header(bytes.as_slice(), &mut Decompressor::default());
    let given::Artifact { name, device_types, .. } = header.map_err(|error| wrong(&error))?;
    Ok(Artifact { name, device_types, bytes: Arc::from(bytes) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read() {
        let fault = |endpoint, skip, times, what| Ok(Disturbance { endpoint, skip, times, what });
        for (text, expected) in [
            ("status:status=500", fault(Endpoint::Status, 0, 1, What::Fault(Fault::Status(500)))),
            ("artifact:close=5000@1x2", fault(Endpoint::Artifact, 1, 2, What::Wire(Wire::Close(5000)))),
            ("auth:slow=1,20@3", fault(Endpoint::Auth, 3, 1, What::Wire(Wire::Slow(1, 20)))),
            (
                "log:body={\"a\":1}",
                fault(Endpoint::Log, 0, 1, What::Fault(Fault::Body(b"{\"a\":1}".to_vec()))),
            ),
            ("next-v1:refuse@0x9", fault(Endpoint::NextV1, 0, 9, What::Fault(Fault::Unreachable))),
        ] {
            assert_eq!(disturbance(text), expected, "{text}");
        }
        for text in [
            "",
            "status",
            "nowhere:refuse",
            "status:explode",
            "status:status=x",
            "auth:refuse@x",
            "auth:cut=",
        ] {
            assert!(disturbance(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_artifact_says_what_it_is() {
        let bytes = thimble_hal_sim::artifact_writer::ArtifactWriter::new("new \"1\"", "module", &["a", "b"])
            .file("data", b"x")
            .build();
        let dir = std::env::temp_dir().join(format!("thimble-serve-{}", std::process::id()));
        fs::write(&dir, bytes).unwrap();
        let artifact = artifact(&dir).unwrap();
        fs::remove_file(&dir).unwrap();
        assert_eq!(
            (artifact.name.as_str(), artifact.device_types),
            ("new \"1\"", vec!["a".to_owned(), "b".into()])
        );
    }

    #[test]
    fn options_are_read() {
        assert!(read(&["--pending", "--v2"]).is_ok_and(|options| options.pending && options.v2));
        for words in [&["--port", "x"][..], &["--port"], &["--fault", "x"], &["--what"], &["/no/such/file"]] {
            assert!(read(words).is_err(), "{words:?}");
        }
    }
}
