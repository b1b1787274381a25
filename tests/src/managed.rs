//! A [`Lab`] with a server: the real daemon against the model of Mender's server behind a real listener.
//!
//! The `reboot` command of this device kills the daemon with SIGKILL, as a power loss would; [`Managed::finish`] then
//! starts it again, as the device's init would, until the deployment is over.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use thimble_hal_sim::listen::{Entry, Listener, Security};
use thimble_hal_sim::server::{Artifact, Deployment, Endpoint, Server};

use crate::lab::{DEVICE_TYPE, Lab, Package, thimble};

/// A test that waits this long for something hangs.
pub const LIMIT: Duration = Duration::from_secs(60);

/// The deployment of a test that has one.
pub const ID: &str = "0e5c3f3b-5f7e-4f6c-9d0a-2a5b6c7d8e9f";

/// How often a daemon that was killed is started again before a test gives up.
const STARTS: usize = 40;

/// A managed device.
pub struct Managed {
    /// The device.
    pub lab: Lab,
    /// The server.
    pub server: Listener,
}

/// A running daemon; killed when it is dropped.
pub struct Daemon {
    child: Child,
}

impl Default for Managed {
    fn default() -> Self {
        Self::new()
    }
}

/// What [`Daemon::terminate`] sends.
const SIGTERM: i32 = 15;

impl Managed {
    /// A device with an identity and a server that accepts it, over TLS.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Security::Tls)
    }

    /// The same with or without TLS.
    #[must_use]
    pub fn with(security: Security) -> Self {
        let lab = Lab::new();
        for dir in ["data/identity", "data/inventory", "bin"] {
            fs::create_dir_all(lab.path(dir)).expect("a directory of the lab");
        }
        lab.program("data/identity/mender-device-identity", "#!/bin/sh\necho mac=00:01\n");
        lab.program(
            "data/inventory/mender-inventory-lab",
            "#!/bin/sh\necho kernel=6.1\necho ip=1\necho ip=2\n",
        );
        lab.program(
            "bin/reboot",
            &format!("#!/bin/sh\necho reboot >> '{}'\nkill -KILL $PPID\n", lab.path("journal").display()),
        );
        let server = Listener::start(0, security, Server::new("")).expect("a free port");
        lab.write("server.pem", server.certificate());
        let managed = Self { lab, server };
        managed.configure("");
        managed
    }

    /// Writes `mender.conf`: the server, intervals of a second, and these members (each with a comma in front).
    pub fn configure(&self, more: &str) {
        let certificate = match self.server.certificate() {
            "" => String::new(),
            _ => format!(r#","ServerCertificate":"{}""#, self.lab.path("server.pem").display()),
        };
        self.lab.configure(&format!(
            r#"{{"ServerURL":"{}","UpdatePollIntervalSeconds":1,"RetryPollIntervalSeconds":1,
                "StateScriptRetryIntervalSeconds":1{certificate}{more}}}"#,
            self.server.url()
        ));
    }

    /// The server deploys `package` to this device.
    pub fn deploy(&self, package: &Package) {
        let bytes = fs::read(package.build(&self.lab)).expect("the artifact");
        self.deploy_bytes(package.name(), bytes.into());
    }

    /// The server deploys these bytes as the artifact of this name.
    pub fn deploy_bytes(&self, name: &str, bytes: Arc<[u8]>) {
        let artifact = Artifact { name: name.into(), device_types: vec![DEVICE_TYPE.into()], bytes };
        self.server.with(|server| server.deployments.insert(ID.into(), Deployment::new(artifact)));
    }

    /// Starts the daemon.
    #[must_use]
    pub fn start(&self) -> Daemon {
        Daemon { child: self.command(thimble()).spawn().expect("the daemon starts") }
    }

    /// Starts the daemon under `strace` with these arguments, which writes to `output`. The daemon is the child that is
    /// waited for; its own children are not traced. Says little in its log, so that system calls are the client's work.
    #[must_use]
    pub fn start_traced(&self, output: &Path, args: &[&str]) -> Daemon {
        self.start_traced_of(thimble(), output, args)
    }

    /// As [`Self::start_traced`], for the daemon of this program.
    #[must_use]
    pub fn start_traced_of(&self, program: &Path, output: &Path, args: &[&str]) -> Daemon {
        let mut command = self.program(Path::new("strace"));
        command.args(["-D", "-y", "-o"]).arg(output).args(args).arg(program);
        command.args(["--log-level", "warning", "daemon"]);
        Daemon { child: command.spawn().expect("strace starts") }
    }

    /// The daemon of this program, ready to be started.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = self.program(program);
        command.args(["--log-level", "debug", "daemon"]);
        command
    }

    /// A program on the device, without arguments.
    fn program(&self, program: &Path) -> Command {
        let log = File::options().create(true).append(true).open(self.lab.path("daemon.log"));
        let log = log.expect("the log of the daemon");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(program);
        command
            .current_dir(self.lab.path(""))
            .env("PATH", format!("{}:{path}", self.lab.path("bin").display()))
            .env("MENDER_CONF_DIR", self.lab.path("conf"))
            .env("MENDER_DATA_DIR", self.lab.path("data"))
            .env("MENDER_DATASTORE_DIR", self.lab.path("store"))
            .env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}", self.lab.bus().display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log twice"))
            .stderr(log);
        for proxy in ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"] {
            command.env_remove(proxy);
        }
        command
    }

    /// Runs the daemon, again after each loss of power, until the deployment is over and its record is gone; its last
    /// status.
    #[track_caller]
    pub fn finish(&self) -> String {
        self.finish_telling(&mut |_| {})
    }

    /// As [`Self::finish`]; `tell` gets the process id of each daemon.
    #[track_caller]
    pub fn finish_telling(&self, tell: &mut dyn FnMut(u32)) -> String {
        let daemon = self.start();
        tell(daemon.pid());
        self.finish_from(daemon, &mut |_| {
            let daemon = self.start();
            tell(daemon.pid());
            daemon
        })
    }

    /// As [`Self::finish`], on with a daemon that runs.
    #[track_caller]
    pub fn finish_with(&self, daemon: Daemon) -> String {
        self.finish_from(daemon, &mut |_| self.start())
    }

    /// As [`Self::finish`]; `start` starts each daemon, and gets how many there were before.
    #[track_caller]
    pub fn finish_starting(&self, start: &mut dyn FnMut(usize) -> Daemon) -> String {
        let daemon = start(0);
        self.finish_from(daemon, start)
    }

    #[track_caller]
    fn finish_from(&self, mut daemon: Daemon, start: &mut dyn FnMut(usize) -> Daemon) -> String {
        for number in 1..=STARTS {
            if self.wait_while(&mut daemon, is_finished) {
                // An observer may kill it just now; one that has only just started does not know the signal yet.
                let ended = daemon.terminate();
                if ended.code() == Some(0) || ended.signal() == Some(SIGTERM) {
                    return self.status();
                }
            }
            daemon = start(number);
        }
        panic!("the daemon died {STARTS} times\n{}", self.story());
    }

    /// Waits until `condition` holds; false when the daemon was killed before. Fails the test when neither happens.
    #[track_caller]
    pub fn wait_while(
        &self,
        daemon: &mut Daemon,
        mut condition: impl FnMut(&Server, &[Entry]) -> bool,
    ) -> bool {
        let end = Instant::now() + LIMIT;
        loop {
            if self.server.wait_until(Duration::from_millis(20), &mut condition) {
                return true;
            }
            if let Some(status) = daemon.child.try_wait().expect("the daemon can be waited for") {
                assert_eq!(status.signal(), Some(9), "the daemon ended by itself\n{}", self.story());
                return false;
            }
            assert!(Instant::now() < end, "nothing happens\n{}", self.story());
        }
    }

    /// Waits until `condition` holds while the daemon lives on.
    #[track_caller]
    pub fn wait(&self, daemon: &mut Daemon, condition: impl FnMut(&Server, &[Entry]) -> bool) {
        assert!(self.wait_while(daemon, condition), "the daemon was killed\n{}", self.story());
    }

    /// The status of the deployment.
    #[must_use]
    pub fn status(&self) -> String {
        self.server.with(|server| server.deployments[ID].status().to_owned())
    }

    /// All statuses that were reported.
    #[must_use]
    pub fn statuses(&self) -> Vec<String> {
        self.server
            .with(|server| server.deployments[ID].statuses.iter().map(|(status, _)| status.clone()).collect())
    }

    /// Fails the test when the server saw something that a good client does not do.
    #[track_caller]
    pub fn no_violations(&self) {
        let violations = self.server.with(|server| server.violations().to_vec());
        assert!(violations.is_empty(), "{violations:#?}\n{}", self.story());
    }

    /// What happened, for a test that fails.
    #[must_use]
    pub fn story(&self) -> String {
        let requests: Vec<String> = self.server.journal().iter().map(line).collect();
        let log = fs::read_to_string(self.lab.path("daemon.log")).unwrap_or_default();
        format!("requests:\n{}\njournal: {:?}\nlog:\n{log}", requests.join("\n"), self.lab.journal())
    }
}

/// The final report was accepted, and the daemon is past it: its record is gone.
fn is_finished(server: &Server, journal: &[Entry]) -> bool {
    let polls = |entry: &Entry| {
        matches!(entry.endpoint, Some(Endpoint::NextV1 | Endpoint::NextV2 | Endpoint::Inventory))
    };
    let last = journal.iter().rposition(|entry| {
        matches!(entry.endpoint, Some(Endpoint::Status | Endpoint::Log | Endpoint::Artifact))
    });
    server.deployments.get(ID).is_some_and(Deployment::is_over)
        && last.is_some_and(|last| journal[last..].iter().any(polls))
}

fn line(entry: &Entry) -> String {
    let body = String::from_utf8_lossy(&entry.body);
    let body: String = body.chars().take(300).collect();
    format!("{} {} -> {} {:?} {body}", entry.method, entry.target, entry.status, entry.wire)
}

impl Daemon {
    /// A daemon that was started in its own way.
    #[must_use]
    pub const fn of(child: Child) -> Self {
        Self { child }
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().expect("the daemon can be waited for").is_some()
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Ends it politely.
    #[track_caller]
    pub fn stop(self) {
        assert_eq!(self.terminate().code(), Some(0));
    }

    /// Ends it politely; how it ended.
    pub fn terminate(self) -> ExitStatus {
        self.signal("TERM");
        self.ended()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn ended(mut self) -> ExitStatus {
        let end = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().expect("the daemon can be waited for") {
                return status;
            }
            assert!(Instant::now() < end, "the daemon does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Only fails when it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
