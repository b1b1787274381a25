//! `status --watch`.

use std::fs::{self, File};
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use thimble_hal_sim::listen::Security;
use thimble_tests::lab::{Lab, Package, has, left_out, thimble};
use thimble_tests::managed::{LIMIT, Managed};

use super::schema::conforms;
use super::{is_over, text};

/// A `status --watch` that writes to a file of the lab.
struct Watching<'l> {
    child: Child,
    lab: &'l Lab,
}

impl<'l> Watching<'l> {
    fn start(lab: &'l Lab, options: &[&str]) -> Self {
        let file = File::create(lab.path("watched")).expect("a file");
        let mut command = Command::new(thimble());
        let child = command
            .args(["status", "--watch"])
            .args(options)
            .env("MENDER_CONF_DIR", lab.path("conf"))
            .env("MENDER_DATA_DIR", lab.path("data"))
            .env("MENDER_DATASTORE_DIR", lab.path("store"))
            .stdin(Stdio::null())
            .stdout(file)
            .spawn()
            .expect("it starts");
        Self { child, lab }
    }

    fn said(&self) -> String {
        fs::read_to_string(self.lab.path("watched")).expect("what it said")
    }

    /// Waits until this is in what it said behind the first `from` bytes; all that it said by then.
    #[track_caller]
    fn until(&mut self, from: usize, text: &str) -> String {
        let end = Instant::now() + LIMIT;
        loop {
            let said = self.said();
            if said.get(from..).is_some_and(|said| said.contains(text)) {
                return said;
            }
            assert!(self.child.try_wait().expect("a child").is_none(), "it has ended: {said}");
            assert!(Instant::now() < end, "\"{text}\" does not come: {said}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// Ends it with this signal; its exit status.
    fn end(mut self, signal: &str) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().expect("kill runs").success());
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn each_change_is_a_line_and_a_daemon_may_come_and_go() {
    let managed = Managed::with(Security::Plain);
    managed.configure(r#","UpdatePollIntervalSeconds":3600"#);
    managed.lab.on("ArtifactInstall", "exit 1");
    let mut watching = Watching::start(&managed.lab, &[]);
    watching.until(
        0,
        "the daemon is not running; to mend: no daemon is running in this datastore; start it with ",
    );
    managed.deploy(&Package::new("release-2"));
    let mut daemon = managed.start();
    managed.wait(&mut daemon, |server, _| is_over(server));
    let said = watching.until(0, "waiting for the next poll; the last update: failure");
    daemon.stop();
    let said = watching.until(said.len(), "the daemon is not running");
    let daemon = managed.start();
    let said = watching.until(said.len(), "waiting for the next poll; the last update: failure");
    // A line is said once, though every second begins with a question.
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines.windows(2).all(|pair| pair[0] != pair[1]), "{said}");
    daemon.stop();
    assert_eq!(watching.end("TERM"), Some(0));
}

#[test]
fn programs_get_an_answer_for_each_change() {
    let managed = Managed::with(Security::Plain);
    managed.configure(r#","UpdatePollIntervalSeconds":3600"#);
    let mut watching = Watching::start(&managed.lab, &["--json"]);
    let said = watching.until(0, "\"running\":false");
    let daemon = managed.start();
    let said = watching.until(said.len(), "\"doing\":\"waiting for the next poll\"");
    let said = {
        managed.lab.run(["control", "pause", "--for", "1h"]).status(0);
        watching.until(said.len(), "\"install\":\"pause\"")
    };
    let answers: Vec<String> = said.split_inclusive('\n').map(str::to_owned).collect();
    answers.iter().for_each(|answer| conforms(answer));
    assert_eq!(text(&answers[0], "state"), None);
    daemon.stop();
    assert_eq!(watching.end("INT"), Some(0));
}

#[test]
fn whoever_has_read_enough_ends_it() {
    let lab = Lab::new();
    let mut command = lab.command(["status", "--watch"]);
    let mut child = command.spawn().expect("it starts");
    let mut first = [0; 8];
    child.stdout.take().expect("its output").read_exact(&mut first).expect("a line");
    // The next change finds no reader any more.
    lab.configure(r#"{"ServerURL":"https://updates.example.com"}"#);
    lab.install(&Package::new("release-1")).status(0);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    assert_eq!(&first, b"the daem");
}

#[test]
fn on_a_terminal_the_page_is_drawn_in_its_place() {
    if !has("script") {
        return left_out("script");
    }
    let managed = Managed::with(Security::Plain);
    let lab = &managed.lab;
    let mut command = Command::new("script");
    let watch = format!("exec {} status --watch", thimble().display());
    let mut script = command
        .args(["-q", "-f", "-c", &watch])
        .arg(lab.path("typescript"))
        .env("MENDER_CONF_DIR", lab.path("conf"))
        .env("MENDER_DATA_DIR", lab.path("data"))
        .env("MENDER_DATASTORE_DIR", lab.path("store"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("script runs");
    let drawn = |text: &str| {
        let end = Instant::now() + LIMIT;
        loop {
            let said = fs::read(lab.path("typescript")).unwrap_or_default();
            let said = String::from_utf8_lossy(&said).into_owned();
            if said.contains(text) {
                return said;
            }
            assert!(Instant::now() < end, "\"{text}\" is not drawn: {said:?}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    };
    drawn("Daemon:          not running\u{1b}[K");
    let daemon = managed.start();
    let said = drawn("State:           Idle, waiting for the next poll\u{1b}[K");
    assert_eq!(said.matches("\u{1b}[2J").count(), 1, "{said:?}");
    assert!(said.matches("\u{1b}[H").count() > 1, "{said:?}");
    daemon.stop();
    let _ = script.kill();
    let _ = script.wait();
}
