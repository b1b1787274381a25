//! A private D-Bus daemon, and programs that talk to the client over it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::lab::{Lab, has};
use crate::managed::LIMIT;

/// A name on the bus, its object and its interface.
pub type Place = (&'static str, &'static str, &'static str);

/// Mender's interface for tokens.
pub const AUTHENTICATION: Place =
    ("io.mender.AuthenticationManager", "/io/mender/AuthenticationManager", "io.mender.Authentication1");
/// Mender's interface for control maps.
pub const UPDATE: Place = ("io.mender.UpdateManager", "/io/mender/UpdateManager", "io.mender.Update1");
/// thimble's interface for user interfaces.
pub const CLIENT: Place = ("io.thimble.Client", "/io/thimble/Client", "io.thimble.Client1");

/// A user that is not root: `nobody`.
pub const NOBODY: u32 = 65534;

/// What a bus allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Everything to everybody.
    Open,
    /// What system buses allow, and the policy files that are shipped.
    Shipped,
    /// What system buses allow, and the policy files in `bus/policies` of the lab.
    Files,
    /// What system buses allow: no name of ours.
    Bare,
}

/// A private bus with its socket in a lab, where the clients of that lab look for it.
#[derive(Debug)]
pub struct Bus {
    address: String,
    config: PathBuf,
    daemon: Option<Child>,
}

/// What the system bus of every distribution says.
const SYSTEM: &str = r#"
    <policy context="default">
      <allow user="*"/>
      <deny own="*"/>
      <deny send_type="method_call"/>
      <allow send_type="signal"/>
      <allow send_requested_reply="true" send_type="method_return"/>
      <allow send_requested_reply="true" send_type="error"/>
      <allow receive_type="method_call"/>
      <allow receive_type="method_return"/>
      <allow receive_type="error"/>
      <allow receive_type="signal"/>
      <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
      <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Introspectable"/>
    </policy>"#;

const OPEN: &str = r#"
    <policy context="default">
      <allow user="*"/>
      <allow own="*"/>
      <allow send_destination="*" eavesdrop="true"/>
      <allow eavesdrop="true"/>
    </policy>"#;

impl Bus {
    /// Started; `None` where there is no bus daemon to be started.
    #[must_use]
    pub fn start(lab: &Lab, policy: Policy) -> Option<Self> {
        let mut bus = Self::stopped(lab, policy)?;
        bus.go();
        Some(bus)
    }

    /// The same, not started yet.
    #[must_use]
    pub fn stopped(lab: &Lab, policy: Policy) -> Option<Self> {
        if !(has("dbus-daemon") && has("dbus-send")) {
            crate::lab::left_out("dbus-daemon and dbus-send");
            return None;
        }
        fs::create_dir_all(lab.path("bus")).expect("the bus's directory");
        // Others come to the bus too.
        fs::set_permissions(lab.path(""), fs::Permissions::from_mode(0o755)).expect("a mode");
        let files = |dir: &Path| format!("{SYSTEM}<includedir>{}</includedir>", dir.display());
        let policy = match policy {
            Policy::Open => OPEN.to_owned(),
            Policy::Bare => SYSTEM.to_owned(),
            Policy::Shipped => files(&shipped()),
            Policy::Files => files(&lab.path("bus/policies")),
        };
        let address = format!("unix:path={}", lab.bus().display());
        let text = format!(
            "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" \
             \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n<busconfig><type>system</type>\
             <listen>{address}</listen><auth>EXTERNAL</auth>{policy}</busconfig>\n"
        );
        lab.write("bus/bus.conf", &text);
        Some(Self { address, config: lab.path("bus/bus.conf"), daemon: None })
    }

    /// Starts it, again after [`Self::stop`] at the same address.
    pub fn go(&mut self) {
        let log = File::options().create(true).append(true).open(self.config.with_extension("log"));
        let mut daemon = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", self.config.display()))
            .args(["--nofork", "--nopidfile", "--nosyslog", "--print-address=1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.expect("the log of the bus"))
            .spawn()
            .expect("dbus-daemon starts");
        let mut line = String::new();
        // It says where it listens when it does.
        BufReader::new(daemon.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
        assert!(line.starts_with("unix:"), "dbus-daemon did not start: {line:?}");
        self.daemon = Some(daemon);
    }

    /// Ends it without warning.
    pub fn stop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Waits until somebody owns a name.
    #[track_caller]
    pub fn wait_for(&self, name: &str) {
        let end = Instant::now() + LIMIT;
        while !self.has_owner(name) {
            assert!(Instant::now() < end, "nobody owns {name}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether somebody owns a name.
    #[must_use]
    pub fn has_owner(&self, name: &str) -> bool {
        let bus = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus");
        let output = self.send(bus, "NameHasOwner", &[name]);
        String::from_utf8_lossy(&output.stdout).contains("boolean true")
    }

    /// `dbus-send`, with text arguments.
    #[must_use]
    pub fn send(&self, place: Place, method: &str, texts: &[&str]) -> Output {
        self.send_as(0, place, method, texts)
    }

    /// The same as another user.
    #[must_use]
    pub fn send_as(&self, uid: u32, (name, path, interface): Place, method: &str, texts: &[&str]) -> Output {
        let mut command = Command::new("dbus-send");
        command
            .arg(format!("--bus={}", self.address))
            .args(["--print-reply", "--reply-timeout=60000"])
            .arg(format!("--dest={name}"))
            .arg(path)
            .arg(format!("{interface}.{method}"))
            .args(texts.iter().map(|text| format!("string:{text}")));
        if uid != 0 {
            command.uid(uid).gid(uid);
        }
        command.output().expect("dbus-send runs")
    }

    /// The client in Python, as this user; `None` where its library is missing.
    #[must_use]
    pub fn client(&self, uid: u32) -> Option<Client> {
        Client::start(self, uid)
    }
}

/// The directory of the policy files.
#[must_use]
pub fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../support/dbus")
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The program in `tests/clients/bus_client.py`.
#[derive(Debug)]
pub struct Client {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    /// Signals that came and were not asked for yet.
    signals: Vec<String>,
}

impl Client {
    fn start(bus: &Bus, uid: u32) -> Option<Self> {
        let python = "/usr/bin/python3";
        let script = include_str!("../clients/bus_client.py");
        let has_library = Command::new(python).args(["-c", "import gi"]).stderr(Stdio::null()).status();
        if !has_library.is_ok_and(|status| status.success()) {
            crate::lab::left_out("/usr/bin/python3 with python3-gi");
            return None;
        }
        let mut command = Command::new(python);
        command.args(["-c", script, &bus.address]).stdin(Stdio::piped()).stdout(Stdio::piped());
        if uid != 0 {
            command.uid(uid).gid(uid);
        }
        let mut child = command.spawn().expect("python3 starts");
        let (input, output) =
            (child.stdin.take().expect("its input"), child.stdout.take().expect("its output"));
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut client = Self { child, input, lines, signals: Vec::new() };
        let ready = client.line();
        assert!(ready.starts_with("ready"), "{ready}");
        Some(client)
    }

    /// Begins a call with text arguments; [`Self::answer`] has what came of it.
    pub fn ask(&mut self, (name, path, interface): Place, method: &str, texts: &[&str]) {
        let mut words = vec![name, path, interface, method];
        words.extend(texts);
        writeln!(self.input, "{}", words.join("\t")).expect("the client takes a line");
    }

    /// The answer to the oldest call that has none: the values as GLib prints them, or the name of the error and its
    /// text.
    ///
    /// # Errors
    /// The call's.
    #[track_caller]
    pub fn answer(&mut self) -> Result<String, String> {
        loop {
            let line = self.line();
            match line.split_once('\t') {
                Some(("reply", values)) => return Ok(values.to_owned()),
                Some(("error", text)) => return Err(text.replace('\t', ": ")),
                _ => self.signals.push(line),
            }
        }
    }

    /// A call with text arguments.
    ///
    /// # Errors
    /// The call's.
    #[track_caller]
    pub fn call(&mut self, place: Place, method: &str, texts: &[&str]) -> Result<String, String> {
        self.ask(place, method, texts);
        self.answer()
    }

    /// The next signal of this name for which `wanted` holds; those before it are dropped.
    #[track_caller]
    pub fn signal(&mut self, name: &str, wanted: impl Fn(&str) -> bool) -> String {
        let prefix = format!("signal\t{name}\t");
        loop {
            let line = if self.signals.is_empty() { self.line() } else { self.signals.remove(0) };
            if let Some(values) = line.strip_prefix(&prefix)
                && wanted(values)
            {
                return values.to_owned();
            }
        }
    }

    /// The signals of this name that have come and were not taken, as of an answer of the bus's.
    pub fn pending(&mut self, name: &str) -> Vec<String> {
        let bus = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus");
        let _ = self.call(bus, "GetId", &[]);
        let prefix = format!("signal\t{name}\t");
        self.signals.iter().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect()
    }

    #[track_caller]
    fn line(&mut self) -> String {
        self.lines.recv_timeout(LIMIT).expect("a line of the client's")
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
