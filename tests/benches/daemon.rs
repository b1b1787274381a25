//! What the idle daemon costs, and how soon it asks, against Debian's `mender` 3.4 in the same run.
//!
//! ```text
//! cargo build --release -p thimble && cargo bench -p thimble-tests --bench daemon [-- SECONDS]
//! ```
//!
//! Both talk TLS to the model of the server on this machine, with a key that is there already. `mender` is measured
//! when it is installed and the bench runs as root (its identity script has a fixed place, which is left as it was).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use thimble_hal_sim::listen::{Listener, Security};
use thimble_hal_sim::server::{Endpoint, Server};
use thimble_tests::lab::is_root;

const STARTS: usize = 11;
const LIMIT: Duration = Duration::from_secs(60);

fn main() {
    let seconds = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(60);
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let thimble = workspace.join("target/release/thimble");
    let size = fs::metadata(&thimble).expect("build it first: cargo build --release -p thimble").len();
    println!("thimble, stripped          {:8.2} MiB", mib(size));
    let mut ours = measure(&Client { program: thimble, is_mender: false }, seconds);
    ours.print("thimble");
    let mender = PathBuf::from("/usr/bin/mender");
    if mender.exists() && is_root() {
        let _fixed = Fixed::prepare();
        let mut theirs = measure(&Client { program: mender, is_mender: true }, seconds);
        theirs.print("mender 3.4");
        println!("start, thimble / mender    {:8.2}", ours.start() / theirs.start());
    } else {
        println!("mender 3.4 is not installed, or this is not root: nothing to compare with");
    }
}

struct Client {
    program: PathBuf,
    is_mender: bool,
}

struct Measured {
    starts: Vec<f64>,
    resident: u64,
    cpu: f64,
    seconds: u64,
}

impl Measured {
    /// Median, in milliseconds.
    fn start(&mut self) -> f64 {
        self.starts.sort_by(f64::total_cmp);
        self.starts[self.starts.len() / 2]
    }

    fn print(&mut self, name: &str) {
        println!("{name:10} start to request {:8.2} ms", self.start());
        println!("{name:10} idle, resident   {:8.2} MiB", mib(self.resident));
        println!("{name:10} CPU of {:3} s     {:8.2} ms", self.seconds, self.cpu * 1000.0);
    }
}

fn measure(client: &Client, seconds: u64) -> Measured {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let listener = Listener::start(0, Security::Tls, Server::new("")).expect("a free port");
    prepare(dir.path(), &listener);
    // The first start makes the key.
    let starts = (0..=STARTS).map(|_| start(client, dir.path(), &listener)).skip(1).collect();

    let polls = listener.with(|server| server.count(Endpoint::NextV1));
    let daemon = Running(spawn(client, dir.path()));
    let polled = listener.wait_until(LIMIT, |server, _| server.count(Endpoint::NextV1) > polls);
    assert!(polled, "{} does not poll", client.program.display());
    thread::sleep(Duration::from_secs(2));
    let before = cpu(daemon.0.id());
    thread::sleep(Duration::from_secs(seconds));
    let cpu = cpu(daemon.0.id()) - before;
    Measured { starts, resident: resident(daemon.0.id()), cpu, seconds }
}

fn prepare(dir: &Path, listener: &Listener) {
    for sub in ["conf", "data/identity", "store"] {
        fs::create_dir_all(dir.join(sub)).expect("a directory");
    }
    fs::write(dir.join("store/device_type"), "device_type=bench\n").expect("device_type");
    fs::write(dir.join("server.pem"), listener.certificate()).expect("the certificate");
    let conf = format!(
        r#"{{"ServerURL":"{}","ServerCertificate":"{}","UpdatePollIntervalSeconds":1800,
            "InventoryPollIntervalSeconds":28800,"DBus":{{"Enabled":false}}}}"#,
        listener.url(),
        dir.join("server.pem").display()
    );
    fs::write(dir.join("conf/mender.conf"), conf).expect("mender.conf");
    program(&dir.join("data/identity/mender-device-identity"));
}

/// An identity script; another process writes it, so that no child can hold it open while it is to be run.
fn program(path: &Path) {
    let made = Command::new("sh")
        .args(["-c", "printf '#!/bin/sh\\necho mac=00:01\\n' > \"$0\" && chmod 755 \"$0\""])
        .arg(path)
        .status();
    assert!(made.expect("sh runs").success());
}

/// Files that mender 3.4 looks for in places of its own; gone at the end if they were not there before.
struct Fixed(Vec<PathBuf>);

impl Fixed {
    fn prepare() -> Self {
        let mut ours = Vec::new();
        let identity = PathBuf::from("/usr/share/mender/identity/mender-device-identity");
        if !identity.exists() {
            program(&identity);
            ours.push(identity);
        }
        let info = PathBuf::from("/etc/mender/artifact_info");
        if !info.exists() {
            fs::write(&info, "artifact_name=bench-old\n").expect("artifact_info");
            ours.push(info);
        }
        Self(ours)
    }
}

impl Drop for Fixed {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

/// Milliseconds from the start of the process to its first request.
fn start(client: &Client, dir: &Path, listener: &Listener) -> f64 {
    let before = listener.journal().len();
    let begin = Instant::now();
    let daemon = Running(spawn(client, dir));
    let asked = listener.wait_until(LIMIT, |_, journal| journal.len() > before);
    let taken = begin.elapsed().as_secs_f64() * 1000.0;
    assert!(asked, "{} asks for nothing", client.program.display());
    drop(daemon);
    taken
}

fn spawn(client: &Client, dir: &Path) -> Child {
    let mut command = Command::new(&client.program);
    if client.is_mender {
        command.arg("--config").arg(dir.join("conf/mender.conf")).arg("--data").arg(dir.join("store"));
    }
    command
        .arg("daemon")
        .env("MENDER_CONF_DIR", dir.join("conf"))
        .env("MENDER_DATA_DIR", dir.join("data"))
        .env("MENDER_DATASTORE_DIR", dir.join("store"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the client starts")
}

/// A process that is killed at the end.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Seconds of user and system time so far, of the process itself, to the microsecond.
fn cpu(pid: u32) -> f64 {
    let mut nanos = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives").flatten() {
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        nanos += text.split(' ').next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0);
    }
    Duration::from_nanos(nanos).as_secs_f64()
}

/// Resident memory, in bytes.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}
