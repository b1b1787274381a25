//! A device in a directory: the real binary, real script and module processes, and a journal of what ran.
//!
//! A test is a [`Lab`] and commands. Every script and every module call appends one line to the journal, then does
//! what [`Lab::on`] said it should. [`Lab::cut_at`] takes the power away at a line of the journal: the client and
//! the child are killed with SIGKILL while the child runs.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;
use thimble_hal_sim::artifact_writer::ArtifactWriter;

/// A verb that takes longer hangs: it is killed, which its exit status then shows.
const PATIENCE_SECONDS: &str = "60";

/// The device type of every lab.
pub const DEVICE_TYPE: &str = "lab";

/// The module of every lab, unless a test writes others.
pub const MODULE: &str = "recorder";

/// Every transition of the command line that has scripts.
pub const TRANSITIONS: [&str; 14] = [
    "Download_Enter",
    "Download_Leave",
    "Download_Error",
    "ArtifactInstall_Enter",
    "ArtifactInstall_Leave",
    "ArtifactInstall_Error",
    "ArtifactCommit_Enter",
    "ArtifactCommit_Leave",
    "ArtifactCommit_Error",
    "ArtifactRollback_Enter",
    "ArtifactRollback_Leave",
    "ArtifactFailure_Enter",
    "ArtifactFailure_Leave",
    "ArtifactReboot_Enter",
];

/// The client under test: `THIMBLE` if it is set, else built once for this process.
pub fn thimble() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("THIMBLE") {
            return path.into();
        }
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        let mut cargo = Command::new(env!("CARGO"));
        // What cargo says of this test would make build scripts run anew, and everything behind them.
        for (name, _) in std::env::vars_os() {
            let of_test = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
            if name.to_str().is_some_and(|name| of_test.iter().any(|prefix| name.starts_with(prefix))) {
                cargo.env_remove(name);
            }
        }
        let built = cargo
            .args(["build", "--quiet", "--locked", "--package", "thimble"])
            .current_dir(workspace)
            .status()
            .expect("cargo runs");
        assert!(built.success(), "thimble does not build");
        // This test is <target>/<profile>/deps/<name>; tests run in the profile that `cargo build` uses.
        let test = std::env::current_exe().expect("the path of this test");
        test.ancestors().nth(2).expect("the target directory").join("thimble")
    })
}

/// Whether a program is installed.
#[must_use]
pub fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Says that the running test passes over something here, and what it needs. `./test` ends with all of these: it names the file that
/// they are written to as `THIMBLE_LEFT_OUT`.
pub fn left_out(needs: &str) {
    println!("left out: needs {needs}");
    if let Some(file) = std::env::var_os("THIMBLE_LEFT_OUT") {
        let test = std::thread::current();
        let line = format!("{}: needs {needs}\n", test.name().unwrap_or("a test"));
        let file = fs::OpenOptions::new().append(true).create(true).open(file);
        file.and_then(|mut file| file.write_all(line.as_bytes())).expect("it is noted");
    }
}

/// Whether the tests may do what only root may.
#[must_use]
pub fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.split_whitespace().take(3).eq(["Uid:", "0", "0"]))
}

/// A device in a directory of its own.
#[derive(Debug)]
pub struct Lab {
    dir: TempDir,
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Lab {
    /// A device that was never updated, with a recording module that can roll back, and without scripts.
    #[must_use]
    pub fn new() -> Self {
        let lab = Self { dir: tempfile::tempdir().expect("a temporary directory") };
        for dir in ["conf/scripts", "data/modules/v3", "store", "behave", "made"] {
            fs::create_dir_all(lab.path(dir)).expect("a directory of the lab");
        }
        // What the datastore of a device looks like, whatever the umask of the tests.
        fs::set_permissions(lab.path("store"), fs::Permissions::from_mode(0o700))
            .expect("mode of the datastore");
        lab.write("store/device_type", &format!("device_type={DEVICE_TYPE}\n"));
        lab.module(MODULE);
        lab.on("SupportsRollback", "echo Yes");
        lab
    }

    /// A path in the lab.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Where the lab's system bus is, if there is one: never the machine's own.
    #[must_use]
    pub fn bus(&self) -> PathBuf {
        self.path("bus/socket")
    }

    /// Writes a file of the lab.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file of the lab");
    }

    /// Writes `mender.conf`.
    pub fn configure(&self, json: &str) {
        self.write("conf/mender.conf", json);
    }

    /// What a recording script or module does, as shell, after its line is in the journal: `exit 1`, `echo Yes`.
    /// `name` is the whole name of the script, or the module's call.
    pub fn on(&self, name: &str, shell: &str) {
        self.write(&format!("behave/{name}"), shell);
    }

    /// The power is lost at this line (from 1) of the journal.
    pub fn cut_at(&self, line: usize) {
        self.write("cut", &line.to_string());
    }

    /// Installs a recording module of this payload type. It reads no streams, so payloads are stored as files.
    pub fn module(&self, payload_type: &str) {
        self.program(&format!("data/modules/v3/{payload_type}"), &self.recorder("\"$1\"", "$1"));
    }

    /// Installs a recording script of the root file system.
    pub fn rootfs_script(&self, name: &str) {
        self.program(&format!("conf/scripts/{name}"), &self.script(name));
    }

    /// The text of a recording script.
    #[must_use]
    pub fn script(&self, name: &str) -> String {
        self.recorder(&format!("'[{name}]'"), name)
    }

    fn recorder(&self, line: &str, behaviour: &str) -> String {
        let lab = self.dir.path().display();
        format!(
            "#!/bin/sh\nlab='{lab}'\necho {line} >> \"$lab/journal\"\n\
             if [ -f \"$lab/cut\" ] && [ \"$(wc -l < \"$lab/journal\")\" -eq \"$(cat \"$lab/cut\")\" ]; then\n\
             \trm \"$lab/cut\"; kill -KILL $PPID $$\nfi\n\
             if [ -f \"$lab/behave/{behaviour}\" ]; then . \"$lab/behave/{behaviour}\"; fi\nexit 0\n"
        )
    }

    /// Writes a program. Another process does: were the descriptor ours, a child that another test starts at this
    /// moment would hold it, and the program could not be run ("text file busy").
    pub fn program(&self, name: &str, text: &str) {
        let path = self.path(name);
        let mut tee = Command::new("tee")
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("tee runs");
        tee.stdin.take().expect("its input").write_all(text.as_bytes()).expect("its input takes the text");
        assert!(tee.wait().expect("tee ends").success());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    }

    /// Recording scripts for every transition: two for each, in the artifact or in the root file system.
    #[must_use]
    pub fn with_all_scripts(&self, mut package: Package) -> Package {
        for transition in TRANSITIONS {
            for number in ["00", "01_b"] {
                let name = format!("{transition}_{number}");
                if transition.starts_with("Artifact") {
                    package = package.script(&name);
                } else {
                    self.rootfs_script(&name);
                }
            }
        }
        package
    }

    /// The lines of the journal.
    #[must_use]
    pub fn journal(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("journal")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The journal as one line, emptied for what comes next.
    #[must_use]
    pub fn take_journal(&self) -> String {
        let journal = self.journal().join(" ");
        drop(fs::remove_file(self.path("journal")));
        journal
    }

    /// The client with these arguments, ready to be started.
    pub fn command(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        self.command_of(thimble().as_os_str(), args)
    }

    /// As [`Self::command`], for another program.
    pub fn command_of(
        &self,
        program: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Command {
        let mut command = Command::new("timeout");
        command
            .args(["--signal=KILL", "--foreground", PATIENCE_SECONDS])
            .arg(program)
            .args(args)
            .current_dir(self.dir.path())
            .env("MENDER_CONF_DIR", self.path("conf"))
            .env("MENDER_DATA_DIR", self.path("data"))
            .env("MENDER_DATASTORE_DIR", self.path("store"))
            .env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}", self.bus().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for proxy in ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"] {
            command.env_remove(proxy);
        }
        command
    }

    /// Starts the client.
    pub fn start(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Child {
        self.command(args).spawn().expect("the client starts")
    }

    /// Runs the client to its end.
    pub fn run(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ran {
        Ran::of(self.start(args))
    }

    /// Installs a package that [`Package::build`] made of it.
    pub fn install(&self, package: &Package) -> Ran {
        self.run([OsStr::new("install"), package.build(self).as_os_str()])
    }

    /// The name on record, by `show-artifact`.
    #[must_use]
    pub fn name(&self) -> String {
        let ran = self.run(["show-artifact"]);
        ran.status(0);
        ran.stdout.trim_end_matches('\n').to_owned()
    }

    /// What is left in the datastore beside the store itself: staging and work files.
    #[must_use]
    pub fn leftovers(&self) -> Vec<String> {
        let mut found = Vec::new();
        walk(&self.path("store"), &mut found);
        let root = self.path("store");
        let mut names: Vec<String> = found
            .iter()
            .filter_map(|path| Some(path.strip_prefix(&root).ok()?.to_str()?.to_owned()))
            .filter(|name| !["device_type", "mender-update.lock"].contains(&name.as_str()))
            .filter(|name| !name.starts_with("scripts/") && !name.contains("-store"))
            .collect();
        names.sort();
        names
    }
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// A run of the client that has ended.
#[derive(Debug)]
pub struct Ran {
    /// Exit status; 128 and its number for a signal, as shells say it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// Waits for the end.
    #[must_use]
    pub fn of(child: Child) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let output = child.wait_with_output().expect("the client ends");
        let code = output.status.code().or(output.status.signal().map(|signal| 128 + signal)).unwrap_or(-1);
        let text = |bytes| String::from_utf8(bytes).expect("output is text");
        Self { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Fails the test unless the exit status is this one.
    #[track_caller]
    pub fn status(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "stdout:\n{}stderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Fails the test unless the status is 1 and the last line on standard error, the reason, has `part` in it.
    #[track_caller]
    pub fn failed(&self, part: &str) -> &Self {
        self.status(1);
        assert!(self.reason().contains(part), "\"{part}\" is not in the reason: {}", self.reason());
        self
    }

    /// The last line on standard error.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.stderr.lines().last().unwrap_or_default()
    }
}

/// An artifact to be made.
#[derive(Clone, Debug)]
pub struct Package {
    name: String,
    payload_type: Option<String>,
    files: Vec<(String, Vec<u8>)>,
    scripts: Vec<String>,
    provides: Vec<(String, String)>,
}

impl Package {
    /// An artifact for the recording module, with one small file.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            payload_type: Some(MODULE.into()),
            files: vec![("payload".into(), b"payload\n".to_vec())],
            scripts: Vec::new(),
            provides: Vec::new(),
        }
    }

    /// The artifact's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// An artifact without payload.
    #[must_use]
    pub fn empty(name: &str) -> Self {
        Self { payload_type: None, files: Vec::new(), ..Self::new(name) }
    }

    /// Another payload type.
    #[must_use]
    pub fn payload_type(mut self, payload_type: &str) -> Self {
        self.payload_type = Some(payload_type.into());
        self
    }

    /// With these payload files.
    #[must_use]
    pub fn files(mut self, files: &[(&str, &[u8])]) -> Self {
        self.files = files.iter().map(|(name, bytes)| ((*name).into(), bytes.to_vec())).collect();
        self
    }

    /// With a recording script.
    #[must_use]
    pub fn script(mut self, name: &str) -> Self {
        self.scripts.push(name.into());
        self
    }

    /// With one of the artifact's provides.
    #[must_use]
    pub fn provides(mut self, key: &str, value: &str) -> Self {
        self.provides.push((key.into(), value.into()));
        self
    }

    /// Writes the artifact into the lab: with the real `mender-artifact` where it is installed, else with ours.
    #[must_use]
    pub fn build(&self, lab: &Lab) -> PathBuf {
        let artifact = lab.path("made").join(format!("{}.mender", self.name));
        if has("mender-artifact") {
            self.build_with_mender(lab, &artifact);
        } else {
            fs::write(&artifact, self.bytes(lab)).expect("the artifact");
        }
        artifact
    }

    /// The artifact's bytes, by the writer of the simulator.
    #[must_use]
    pub fn bytes(&self, lab: &Lab) -> Vec<u8> {
        let mut writer = match &self.payload_type {
            Some(payload_type) => ArtifactWriter::new(&self.name, payload_type, &[DEVICE_TYPE]),
            None => ArtifactWriter::empty(&self.name, &[DEVICE_TYPE]),
        };
        for (name, bytes) in &self.files {
            writer = writer.file(name, bytes);
        }
        for name in &self.scripts {
            writer = writer.script(name, lab.script(name).as_bytes());
        }
        for (key, value) in &self.provides {
            writer = writer.provides(key, value);
        }
        writer.build()
    }

    fn build_with_mender(&self, lab: &Lab, artifact: &Path) {
        let made = lab.path("made");
        let mut command = Command::new("mender-artifact");
        command.arg("write").arg(if self.payload_type.is_some() {
            "module-image"
        } else {
            "bootstrap-artifact"
        });
        command.args(["-n", &self.name, "-t", DEVICE_TYPE, "-o"]).arg(artifact);
        if let Some(payload_type) = &self.payload_type {
            command.args([
                "-T",
                payload_type,
                "--no-default-software-version",
                "--no-default-clears-provides",
            ]);
        }
        for (name, bytes) in &self.files {
            let path = made.join(name);
            fs::write(&path, bytes).expect("a payload file");
            command.arg("-f").arg(path);
        }
        for name in &self.scripts {
            let path = made.join(name);
            fs::write(&path, lab.script(name)).expect("a script");
            command.arg("-s").arg(path);
        }
        for (key, value) in &self.provides {
            command.arg("-p").arg(format!("{key}:{value}"));
        }
        let output = command.output().expect("mender-artifact runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
