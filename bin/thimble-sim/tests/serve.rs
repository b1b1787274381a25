//! `serve`, as people start it: what it says, what it takes, and what is left when it has ended.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use thimble_hal_sim::artifact_writer::ArtifactWriter;

/// A running server, and what it says.
struct Serve {
    child: Child,
    lines: BufReader<ChildStdout>,
    said: String,
}

impl Serve {
    fn start(temporary: &Path, words: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_thimble-sim"))
            .arg("serve")
            .args(words)
            .env("TMPDIR", temporary)
            .current_dir(temporary)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it can be run");
        let lines = BufReader::new(child.stdout.take().expect("its output"));
        Self { child, lines, said: String::new() }
    }

    /// The rest of the next line that begins so.
    fn line(&mut self, beginning: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.lines.read_line(&mut line).expect("its output is UTF-8");
            assert!(read > 0, "no line begins with {beginning:?}:\n{}", self.said);
            self.said += &line;
            if let Some(rest) = line.strip_prefix(beginning) {
                return rest.trim_end().to_owned();
            }
        }
    }

    /// It is told to end; its exit status.
    fn end(mut self, signal: Signal) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks a server on this machine.
fn get(url: &str, target: &str) -> String {
    let host = url.strip_prefix("http://").expect("a URL").trim_end_matches('/');
    let mut stream = TcpStream::connect(host).expect("it listens");
    let request =
        format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it takes a request");
    stream.shutdown(std::net::Shutdown::Write).expect("it is open");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

fn names(folder: &Path) -> Vec<String> {
    fs::read_dir(folder)
        .expect("a folder")
        .flatten()
        .map(|entry| entry.file_name().into_string().expect("UTF-8"))
        .collect()
}

#[test]
fn without_an_artifact_it_says_what_it_waits_for_and_takes_one_later() {
    let home = tempfile::tempdir().expect("a folder");
    let mut serve = Serve::start(home.path(), &["--http"]);
    let conf = serve.line("mender.conf: ");
    let page = serve.line("page: ");
    let folder = serve.line("folder: ");
    let folder = PathBuf::from(folder.split(" (").next().expect("its path"));
    assert!(folder.starts_with(home.path()), "{}", folder.display());
    assert!(serve.line("waiting: ").contains("no artifact yet"));
    let artifact = ArtifactWriter::new("new", "module", &["board"]).file("data", b"x").build();
    fs::write(folder.join("not.mender"), b"nothing").expect("a file");
    fs::write(folder.join("new.mender"), artifact).expect("a file");
    assert_eq!(serve.line("deployed: "), "new");
    serve.line("not served: ");
    // Requests are shown there and here.
    let url = conf.split('"').nth(3).expect("its URL").to_owned();
    assert!(get(&url, "/no/<b>such").starts_with("HTTP/1.1 404"));
    assert_eq!(serve.line("GET /no"), "/<b>such -> 404");
    let shown = get(&page, "/seen?since=0");
    assert!(shown.contains("\"what\":\"/no/<b>such\"") && shown.contains("\"artifact\":\"new\""), "{shown}");
    assert!(get(&page, "/").contains("<title>thimble-sim serve</title>"));
    assert_eq!(serve.end(Signal::TERM), Some(0));
    assert_eq!(names(home.path()), [] as [String; 0], "something is left");
}

#[test]
fn it_writes_into_its_own_folder_and_nowhere_else() {
    let home = tempfile::tempdir().expect("a folder");
    let mut serve = Serve::start(home.path(), &["--folder", "own", "--page", "none"]);
    let conf = serve.line("mender.conf: ");
    serve.line("waiting: ");
    assert!(!serve.said.contains("page: "), "{}", serve.said);
    assert_eq!(names(home.path()), ["own"]);
    assert_eq!(names(&home.path().join("own")), ["server.pem"]);
    assert!(conf.contains("/own/server.pem"), "{conf}");
    assert_eq!(serve.end(Signal::INT), Some(0));
    assert_eq!(names(&home.path().join("own")), ["server.pem"]);
}

#[test]
fn devices_are_real_clients_of_a_real_server() {
    let home = tempfile::tempdir().expect("a folder");
    let artifact = ArtifactWriter::new("new", "module", &["board"]).file("data", b"x").build();
    fs::write(home.path().join("new.mender"), artifact).expect("a file");
    let mut serve = Serve::start(home.path(), &["--each", "--v2", "new.mender"]);
    let conf = serve.line("mender.conf: ");
    let page = serve.line("page: ");
    fs::write(home.path().join("mender.conf"), conf).expect("a file");
    let words = ["--devices", "3", "--config", "mender.conf", "--folder", "devices", "--until-over"];
    let mut devices = Serve::start(home.path(), &words);
    devices.line("3 of 3 devices have the update");
    assert_eq!(devices.child.wait().expect("it ends").code(), Some(0), "{}", devices.said);
    // The server has heard of each, and nothing was a violation.
    let shown = get(&page, "/seen?since=0");
    assert_eq!(shown.matches("\"status\":\"success\"").count(), 3, "{shown}");
    assert!(shown.contains("\"devices\":3") && shown.contains("\"violations\":[]"), "{shown}");
    let mut keys = names(&home.path().join("devices/keys"));
    keys.sort();
    assert_eq!(keys, ["001.pem", "002.pem", "003.pem"]);
}
