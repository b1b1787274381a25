//! `serve`: the model of Mender's server behind a real listener, so that a real client can be tried without one.

mod board;
mod devices;
mod fault;
mod folder;
mod page;

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use thimble_hal_sim::listen::{Listener, Security, When};
use thimble_hal_sim::server::{Artifact, Deployment, Server};
use thimble_hal_sim::sim::DEVICE_TYPE;

use crate::failure::{Failure, no_option};
use crate::values::{self, Once};
use board::{Board, plain};
use fault::{Disturbance, What, disturbance};
use folder::Folder;

pub(crate) const HELP: &str = "\
Is a Mender server for a real client on this machine: deploys artifacts and prints every request.

The artifacts go, one after the other, to whichever device asks; those that are put into its folder later, too. Listens
on 127.0.0.1 only, and shows requests on a page of its own as they come. What a good client would not have sent is
printed as a violation. It writes into its folder and nowhere else, and ends with Ctrl-C.

With --devices it is the other side: so many devices that ask a real server, each the real client with a key of its own;
what updates do to the devices is simulated.

Usage: thimble-sim serve [OPTION]... [ARTIFACT]...
       thimble-sim serve --devices N (--server URL | --config FILE) [OPTION]...

  --folder DIR          its folder: the certificate to trust, and artifacts that are put there (*.mender) [a temporary
                        one that is removed at the end]
  --port N              listen there [a free port]
  --page N              the page is on this port; none: there is no page [a free port]
  --http                without TLS
  --certificate FILE    write the certificate to trust into FILE [server.pem in the folder]
  --v2                  know the second version of 'next', as hosted Mender does
  --pending             accept no device
  --each                deploy the artifacts to each device that asks [to the first]
  --control-map FILE    send this update control map with the deployments
  --fault WHERE:WHAT[@SKIP[xTIMES]]
                        disturb requests, after SKIP good ones [0], TIMES of them [1]; repeatable
                        WHERE: auth, next-v2, next-v1, status, log, inventory, control-map, artifact
                        WHAT: status=N, retry-after=TEXT, body=TEXT, refuse, silent, drip, answer-lost, cut=BYTES
                        (of the body), close=BYTES, reset=BYTES, hang=BYTES (of the answer), slow=BYTES,MILLISECONDS,
                        raw=TEXT, surplus=TEXT, no-length, chunked=BYTES, header=LINE, interim
  --until-over          end when all deployments are over, or each device has had an update; exit status 1 unless each
                        was a success and nothing was a violation
Devices:
  --devices N           so many, at most 500; twenty of them begin in a second
  --server URL          they ask this server [those of --config]
  --config FILE         their mender.conf: servers, certificate, tenant token, intervals
  --device-type TYPE    [board]
  --folder DIR          their keys are made there when they are first needed; with the same folder they are the same
                        devices

Examples:
  thimble-sim serve
  thimble-sim serve release-2.mender
  thimble-sim serve --devices 50 --config mender.conf --device-type raspberrypi4
  thimble-sim serve --fault artifact:close=5000 --fault status:status=500@1 release-2.mender
";

/// How often it is looked whether it shall end.
const LOOK: Duration = Duration::from_millis(200);

/// So many looks pass between two looks into the folder.
const LOOKS: u32 = 5;

struct Options {
    port: u16,
    /// `None`: no page.
    page: Option<u16>,
    folder: Option<String>,
    http: bool,
    certificate: Option<String>,
    v2: bool,
    pending: bool,
    each: bool,
    control_map: Option<String>,
    faults: Vec<Disturbance>,
    until_over: bool,
    artifacts: Vec<PathBuf>,
    /// Devices in place of a server.
    devices: Option<u32>,
    server: Option<String>,
    config: Option<String>,
    device_type: Option<String>,
    /// The first option that only a server has.
    of_server: Option<String>,
}

/// Serves until everything is over, or until it is told to end. `Ok(false)`: something went wrong with a deployment.
pub(crate) fn run(out: &mut dyn Write, words: &[&str]) -> Result<bool, Failure> {
    let options = read(words)?;
    // First of all: the folder goes when the process is told to end.
    let ends = listen_to_signals()?;
    let mut folder = Folder::open(options.folder.as_deref())?;
    if let Some(count) = options.devices {
        let Options { config, server, device_type, until_over, .. } = options;
        let device_type = device_type.unwrap_or_else(|| DEVICE_TYPE.to_owned());
        let fleet = devices::Fleet { count, config, server, device_type, until_over };
        return devices::run(out, fleet, folder.path(), &ends);
    }
    let mut artifacts: Vec<Artifact> =
        options.artifacts.iter().map(|path| folder.take(path)).collect::<Result<_, _>>()?;
    let mut told = Vec::new();
    for found in folder.look(true) {
        match found {
            Ok(artifact) => artifacts.push(artifact),
            Err(why) => told.push(why),
        }
    }
    let mut server = Server::new("");
    server.v2 = options.v2;
    server.accepts_all = !options.pending;
    let security = if options.http { Security::Plain } else { Security::Tls };
    let listener = Listener::start(options.port, security, server)
        .map_err(|error| format!("port {}: {error}", options.port))?;
    let (listener, board) = (Arc::new(listener), Arc::new(Board::new()));
    listener.forget_journal();
    let seen = board.clone();
    listener.observe(Some(Box::new(move |when, entry| {
        if when == When::After {
            seen.push(entry);
        }
    })));
    for Disturbance { endpoint, skip, times, what } in options.faults {
        match what {
            What::Fault(fault) => listener.with(|server| server.disturb(endpoint, skip, times, fault)),
            What::Wire(wire) => listener.disturb(endpoint, skip, times, wire),
        }
    }
    let mut serving = Serving {
        out,
        listener: listener.clone(),
        board: board.clone(),
        control_map: options.control_map,
        each: options.each,
        until_over: options.until_over,
        requests: 0,
        violations: 0,
    };
    let is_waiting = artifacts.is_empty();
    for artifact in artifacts {
        serving.deploy(artifact);
    }
    let mut conf = format!("{{\"ServerURL\": \"{}\"", listener.url());
    if !options.http {
        let path = options.certificate.map_or_else(|| folder.path().join("server.pem"), PathBuf::from);
        let wrong = |error: io::Error| format!("{}: {error}", path.display());
        fs::write(&path, listener.certificate()).map_err(wrong)?;
        conf.push_str(&format!(
            ", \"ServerCertificate\": \"{}\"",
            fs::canonicalize(&path).map_err(wrong)?.display()
        ));
    }
    writeln!(serving.out, "mender.conf: {conf}}}")?;
    if let Some(port) = options.page {
        let address =
            page::start(port, board, listener).map_err(|error| format!("--page {port}: {error}"))?;
        writeln!(serving.out, "page: http://{address}/")?;
    }
    let ending = if folder.is_temporary() { ", and goes at the end" } else { "" };
    writeln!(serving.out, "folder: {} (takes artifacts, *.mender{ending})", folder.path().display())?;
    for why in told {
        serving.tell(&why)?;
    }
    if is_waiting {
        writeln!(
            serving.out,
            "waiting: there is no artifact yet; devices are told that there is no update. Put one into"
        )?;
        writeln!(serving.out, "         the folder, or begin again with `thimble-sim serve ARTIFACT`.")?;
    }
    Ok(serving.follow(&mut folder, &ends)?)
}

/// Set when the process is told to end.
fn listen_to_signals() -> Result<Arc<AtomicBool>, String> {
    let ends = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, ends.clone()).map_err(|error| format!("signals: {error}"))?;
    }
    Ok(ends)
}

struct Serving<'o> {
    out: &'o mut dyn Write,
    listener: Arc<Listener>,
    board: Arc<Board>,
    control_map: Option<String>,
    each: bool,
    until_over: bool,
    /// Of the requests, and of the violations, so many are printed.
    requests: u64,
    violations: usize,
}

impl Serving<'_> {
    /// One more deployment, behind those that there are.
    fn deploy(&self, artifact: Artifact) {
        let deployment = Deployment { control_map: self.control_map.clone(), ..Deployment::new(artifact) };
        self.listener.with(|server| {
            if !self.each {
                return server.deploy(deployment);
            }
            for device in server.devices.keys().cloned().collect::<Vec<_>>() {
                server.deploy(Deployment { only: Some(device), ..deployment.clone() });
            }
            server.for_each.push(deployment);
        });
    }

    fn tell(&mut self, why: &str) -> io::Result<()> {
        writeln!(self.out, "not served: {}", plain(why))
    }

    /// Prints what happens.
    fn follow(&mut self, folder: &mut Folder, ends: &AtomicBool) -> io::Result<bool> {
        self.out.flush()?;
        for turn in 1_u32.. {
            self.print()?;
            if turn.is_multiple_of(LOOKS) {
                for found in folder.look(false) {
                    match found {
                        Ok(artifact) => {
                            writeln!(self.out, "deployed: {}", plain(&artifact.name))?;
                            self.deploy(artifact);
                        }
                        Err(why) => self.tell(&why)?,
                    }
                }
                self.out.flush()?;
            }
            let (over, good) = self.listener.with(|server| {
                let all = || server.deployments.values();
                let over = all().len() > 0 && all().all(Deployment::is_over);
                (over, all().all(|deployment| deployment.status() == "success"))
            });
            if self.until_over && over && self.listener.has_answered() {
                self.print()?;
                return Ok(good && self.violations == 0);
            }
            if ends.load(Ordering::Relaxed) {
                return Ok(!self.until_over);
            }
            let _ = self.board.wait(self.requests, LOOK);
        }
        Ok(true)
    }

    fn print(&mut self) -> io::Result<()> {
        for seen in self.board.since(self.requests) {
            let missed = seen.number - self.requests - 1;
            if missed > 0 {
                writeln!(self.out, "({missed} requests more than can be shown)")?;
            }
            self.requests = seen.number;
            writeln!(self.out, "{}", seen.line())?;
        }
        let violations = self.listener.with(|server| server.violations().to_vec());
        for violation in violations.iter().skip(self.violations) {
            writeln!(self.out, "violation: {}", plain(violation))?;
        }
        self.violations = violations.len();
        self.out.flush()
    }
}

fn read(words: &[&str]) -> Result<Options, String> {
    let mut options = Options {
        port: 0,
        page: Some(0),
        folder: None,
        http: false,
        certificate: None,
        v2: false,
        pending: false,
        each: false,
        control_map: None,
        faults: Vec::new(),
        until_over: false,
        artifacts: Vec::new(),
        devices: None,
        server: None,
        config: None,
        device_type: None,
        of_server: None,
    };
    let (mut words, mut once) = (words.iter(), Once::but(&["--fault"]));
    while let Some(word) = words.next() {
        once.read(word)?;
        let mut value = || words.next().copied().ok_or_else(|| format!("{word} needs a value"));
        let port = |text: &str| text.parse().map_err(|_| format!("{text:?} is no port"));
        if !DEVICES_HAVE.contains(word) {
            options.of_server.get_or_insert_with(|| (*word).to_owned());
        }
        match *word {
            "--devices" => {
                let text = value()?;
                let count = text.parse().ok().filter(|count| (1..=devices::MOST).contains(count));
                let most = devices::MOST;
                let wrong = || format!("--devices {text:?}: a number from 1 to {most} is wanted");
                options.devices = Some(count.ok_or_else(wrong)?);
            }
            "--server" => options.server = Some(value()?.to_owned()),
            "--config" => options.config = Some(value()?.to_owned()),
            "--device-type" => options.device_type = Some(value()?.to_owned()),
            "--port" => options.port = port(value()?)?,
            "--page" => {
                options.page = match value()? {
                    "none" => None,
                    text => Some(port(text)?),
                };
            }
            "--folder" => options.folder = Some(value()?.to_owned()),
            "--http" => options.http = true,
            "--certificate" => options.certificate = Some(value()?.to_owned()),
            "--v2" => options.v2 = true,
            "--pending" => options.pending = true,
            "--each" => options.each = true,
            "--control-map" => options.control_map = Some(values::text(value()?)?),
            "--fault" => options.faults.push(disturbance(value()?)?),
            "--until-over" => options.until_over = true,
            option if option.starts_with('-') => return Err(no_option("serve", option, HELP)),
            path => options.artifacts.push(path.into()),
        }
    }
    let Options { devices, server, config, device_type, of_server, .. } = &options;
    match (devices, of_server) {
        (Some(_), Some(word)) => {
            return Err(format!("{word} is of a server, and --devices is of the other side"));
        }
        (None, _) if server.is_some() || config.is_some() || device_type.is_some() => {
            return Err("--server, --config and --device-type want --devices".into());
        }
        (Some(_), None) if server.is_none() && config.is_none() => {
            return Err("--devices wants --server URL, or --config FILE".into());
        }
        (Some(_), None) | (None, _) => {}
    }
    Ok(options)
}

/// The options of devices.
const DEVICES_HAVE: [&str; 6] =
    ["--devices", "--server", "--config", "--device-type", "--folder", "--until-over"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        assert!(read(&["--pending", "--v2"]).is_ok_and(|options| options.pending && options.v2));
        assert!(read(&["--page", "none"]).is_ok_and(|options| options.page.is_none()));
        for words in [&["--port", "x"][..], &["--port"], &["--fault", "x"], &["--what"], &["--page", "70000"]]
        {
            assert!(read(words).is_err(), "{words:?}");
        }
        for (words, why) in [
            (&["--devices", "501"][..], "--devices \"501\": a number from 1 to 500 is wanted"),
            (&["--devices", "2"], "--devices wants --server URL, or --config FILE"),
            (&["--devices", "2", "--server", "http://x", "--v2"], "--v2 is of a server"),
            (&["--devices", "2", "--server", "http://x", "a.mender"], "a.mender is of a server"),
            (&["--server", "http://x"], "--server, --config and --device-type want --devices"),
        ] {
            let told = read(words).err().unwrap();
            assert!(told.starts_with(why), "{words:?}: {told}");
        }
        let ended = run(&mut Vec::new(), &["/no/such/file"]);
        assert!(
            matches!(&ended, Err(Failure::Usage(why)) if why.starts_with("/no/such/file: ")),
            "{ended:?}"
        );
    }
}
