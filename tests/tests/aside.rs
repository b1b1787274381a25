//! `install`, `commit`, `rollback` and `resume` beside the daemon, which stands aside for them between deployments (C-8).

use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use thimble_hal_sim::listen::{Entry, Security, Wire};
use thimble_hal_sim::server::{Endpoint, Fault, Server};
use thimble_tests::bus::{AUTHENTICATION, Bus, Policy, UPDATE};
use thimble_tests::lab::{Package, Ran, has, is_root};
use thimble_tests::managed::{Daemon, ID, LIMIT, Managed};

/// A device whose daemon has polled and waits for an hour.
fn resting() -> (Managed, Daemon) {
    let managed = Managed::with(Security::Plain);
    managed.configure(r#","UpdatePollIntervalSeconds":3600,"InventoryPollIntervalSeconds":3600"#);
    let mut daemon = managed.start();
    managed.wait(&mut daemon, |server, _| polls(server) == 1);
    (managed, daemon)
}

fn polls(server: &Server) -> u32 {
    server.count(Endpoint::NextV1)
}

/// The name that the device said in its last poll.
fn polled_with(journal: &[Entry]) -> &str {
    let poll = journal.iter().rev().find(|entry| entry.endpoint == Some(Endpoint::NextV1));
    poll.map_or("", |entry| entry.target.split("artifact_name=").nth(1).unwrap_or_default())
        .split('&')
        .next()
        .unwrap_or_default()
}

/// Waits until `status` says this.
#[track_caller]
fn status_says(managed: &Managed, text: &str) {
    let end = Instant::now() + LIMIT;
    loop {
        let ran = managed.lab.run(["status"]);
        if ran.stdout.contains(text) {
            return;
        }
        assert!(Instant::now() < end, "{}{}\n{}", ran.stdout, ran.stderr, managed.story());
    }
}

/// Waits until the journal has this line.
#[track_caller]
fn journal_has(managed: &Managed, line: &str) {
    let end = Instant::now() + LIMIT;
    while !managed.lab.journal().iter().any(|found| found == line) {
        assert!(Instant::now() < end, "no {line}\n{}", managed.story());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An install that does not end before [`let_go`]; it has come as far as its module.
fn install_that_waits(managed: &Managed) -> Child {
    managed.lab.on("ArtifactInstall", "while [ ! -f \"$lab/go\" ]; do sleep 0.01; done");
    let package = Package::new("release-2").build(&managed.lab);
    let child = managed.lab.start([std::ffi::OsStr::new("install"), package.as_os_str()]);
    journal_has(managed, "ArtifactInstall");
    child
}

fn let_go(managed: &Managed) {
    managed.lab.write("go", "");
}

/// The process of the client that `timeout` has started.
fn client_of(child: &Child) -> String {
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    fs::read_to_string(children).expect("the children of timeout").trim().to_owned()
}

fn kill(pid: &str) {
    assert!(Command::new("kill").args(["-KILL", pid]).status().expect("kill runs").success());
}

#[test]
fn c_8_an_update_by_hand_beside_the_daemon_changes_what_it_polls_with() {
    let (managed, mut daemon) = resting();
    managed.lab.install(&Package::new("release-2")).status(0);
    // The daemon is back, with what is on record now. It does not poll sooner: a deployment would take the place of this.
    status_says(&managed, "By hand:         an update installed by hand waits for 'commit' or 'rollback'");
    status_says(&managed, "Next poll:       in 59 min");
    assert_eq!(managed.server.with(|server| polls(server)), 1);
    managed.lab.run(["commit"]).status(0);
    managed.wait(&mut daemon, |server, journal| polls(server) == 2 && polled_with(journal) == "release-2");
    status_says(&managed, "waiting for the next poll");
    assert!(!managed.lab.run(["status"]).stdout.contains("By hand"));
    managed.lab.run(["commit"]).status(2);
    // And the next one the other way round.
    managed.lab.install(&Package::new("release-3")).status(0);
    managed.lab.run(["rollback"]).status(0);
    assert_eq!(managed.lab.name(), "release-2");
    managed.wait(&mut daemon, |server, journal| polls(server) == 2 && polled_with(journal) == "release-2");
    status_says(&managed, "Next poll:       in 59 min");
    // A deployment afterwards.
    managed.deploy(&Package::new("release-4"));
    managed.lab.run(["check-update"]).status(0);
    managed.wait(&mut daemon, |server, _| server.deployments[ID].is_over());
    assert_eq!(managed.status(), "success");
    managed.no_violations();
    daemon.stop();
}

#[test]
fn c_8_while_a_verb_works_the_daemon_says_so_and_forgets_nothing() {
    let managed = Managed::with(Security::Plain);
    managed.configure(r#","UpdatePollIntervalSeconds":3600,"InventoryPollIntervalSeconds":3600"#);
    let Some(bus) = Bus::start(&managed.lab, Policy::Shipped) else { return };
    let mut daemon = managed.start();
    managed.wait(&mut daemon, |server, _| polls(server) == 1);
    bus.wait_for(UPDATE.0);
    status_says(&managed, "waiting for the next poll");
    let told = |bus: &Bus| {
        let sent = bus.send(AUTHENTICATION, "GetJwtToken", &[]);
        String::from_utf8(sent.stdout).unwrap().lines().skip(1).map(str::trim).collect::<Vec<_>>().join(" ")
    };
    let token = told(&bus);
    assert!(token.contains("string \"ey") && token.contains("http://127.0.0.1:"), "{token}");
    let child = install_that_waits(&managed);
    status_says(&managed, "standing aside for 'install'");
    // Its token stays known, a new one is promised; nothing is changed by others.
    assert_eq!(told(&bus), token);
    let asked = managed.server.with(|server| server.count(Endpoint::Auth));
    let fetched = bus.send(AUTHENTICATION, "FetchJwtToken", &[]);
    assert!(String::from_utf8_lossy(&fetched.stdout).contains("boolean true"));
    let map = r#"{"id":"01234567-89ab-cdef-0123-456789abcdef","priority":1,"states":{"ArtifactInstall_Enter":{"action":"pause"}}}"#;
    let refused = bus.send(UPDATE, "SetUpdateControlMap", &[map]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("'install' is under way"), "{refused:?}");
    managed.lab.run(["control", "pause"]).failed("'install' is under way");
    for verb in ["commit", "rollback", "resume"] {
        managed.lab.run([verb]).failed("another client is at work in this datastore: `install`");
    }
    // Signals wait. The daemon does not spin meanwhile: each of these is one turn of its loop, and it answers.
    daemon.signal("USR1");
    daemon.signal("USR2");
    status_says(&managed, "standing aside for 'install'");
    let before = managed.server.with(|server| (polls(server), server.count(Endpoint::Inventory)));
    let_go(&managed);
    Ran::of(child).status(0);
    managed.wait(&mut daemon, |server, _| {
        polls(server) > before.0
            && server.count(Endpoint::Inventory) > before.1
            && server.count(Endpoint::Auth) > asked
    });
    daemon.stop();
}

/// The daemon has work of its own: the verb is told what, since when, and what can be done.
#[test]
fn c_8_during_a_deployment_a_verb_is_refused_and_told_why() {
    let (managed, daemon) = resting();
    let x = Package::new("x").build(&managed.lab);
    let install = || managed.lab.run([std::ffi::OsStr::new("install"), x.as_os_str()]);
    managed.lab.on("ArtifactInstall", "while [ ! -f \"$lab/go\" ]; do sleep 0.01; done");
    managed.lab.run(["control", "pause", "--at", "install"]).status(0);
    managed.deploy(&Package::new("release-2"));
    // The fifth report is the last one.
    managed.server.with(|server| server.disturb(Endpoint::Status, 4, 1000, Fault::Unreachable));
    managed.lab.run(["check-update"]).status(0);
    status_says(&managed, "Waiting:         before install");
    let refused = install();
    refused.failed("it waits before install");
    for part in [ID, "release-2", ", for ", "'control continue' lets it go on"] {
        assert!(refused.reason().contains(part), "{}", refused.reason());
    }
    managed.lab.run(["control", "continue"]).status(0);
    journal_has(&managed, "ArtifactInstall");
    let refused = install();
    refused.failed("the daemon is installing (deployment ");
    assert!(refused.reason().contains("try again when 'status' shows no deployment"), "{}", refused.reason());
    // The server does not hear how it ended: that report comes first, after a restart too.
    let_go(&managed);
    journal_has(&managed, "Cleanup");
    status_says(&managed, "telling the server how the deployment ended");
    install().failed("the daemon is telling the server how the deployment ended (deployment ");
    daemon.stop();
    let mut daemon = managed.start();
    status_says(&managed, "waiting for the next poll");
    install().failed("the server has not heard yet how deployment 0e5c3f3b");
    managed.server.calm();
    managed.lab.run(["check-update"]).status(0);
    managed.wait(&mut daemon, |server, _| server.deployments[ID].is_over());
    status_says(&managed, "waiting for the next poll");
    install().status(0);
    assert_eq!(managed.status(), "success");
    daemon.stop();
}

#[test]
fn c_8_a_verb_that_is_killed_keeps_the_daemon_from_nothing() {
    let (managed, mut daemon) = resting();
    let child = install_that_waits(&managed);
    status_says(&managed, "standing aside for 'install'");
    kill(&client_of(&child));
    Ran::of(child).status(137);
    status_says(&managed, "By hand:");
    managed.lab.run(["check-update"]).status(0);
    managed.wait(&mut daemon, |server, _| polls(server) == 2);
    // What it left running is ended, and what it left on record is finished by hand.
    let log = fs::read_to_string(managed.lab.path("daemon.log")).unwrap();
    assert!(log.contains("was ended"), "{log}");
    status_says(
        &managed,
        "By hand:         an update installed by hand waits for 'resume' or 'rollback' (the install",
    );
    managed.lab.run(["commit"]).failed("the install has begun");
    let_go(&managed);
    managed.lab.run(["resume"]).status(1);
    status_says(&managed, "waiting for the next poll");
    managed.lab.run(["check-update"]).status(0);
    managed.wait(&mut daemon, |server, _| polls(server) == 3);
    daemon.stop();
}

#[test]
fn c_8_a_daemon_that_is_killed_keeps_a_verb_from_nothing() {
    let (managed, daemon) = resting();
    let child = install_that_waits(&managed);
    status_says(&managed, "standing aside for 'install'");
    daemon.signal("KILL");
    let _ = daemon.ended();
    managed.lab.run(["daemon"]).failed("another client is at work in this datastore: `install`");
    let_go(&managed);
    Ran::of(child).status(0);
    let mut daemon = managed.start();
    managed.wait(&mut daemon, |server, _| polls(server) == 2);
    managed.lab.run(["commit"]).status(0);
    assert_eq!(managed.lab.name(), "release-2");
    daemon.stop();
}

/// SIGTERM while it stands aside: it ends at once, and the verb goes on.
#[test]
fn c_8_a_daemon_that_is_told_to_end_does_not_wait_for_the_verb() {
    let (managed, daemon) = resting();
    let child = install_that_waits(&managed);
    status_says(&managed, "standing aside for 'install'");
    daemon.stop();
    let_go(&managed);
    Ran::of(child).status(0);
    managed.lab.run(["commit"]).status(0);
}

/// A program that asks and does nothing has no use of it: nobody waits for it.
#[test]
fn c_8_who_asks_and_goes_is_not_waited_for() {
    use std::io::{Read, Write};
    let (managed, mut daemon) = resting();
    status_says(&managed, "waiting for the next poll");
    let ask = |text: &str| {
        let mut stream = UnixStream::connect(managed.lab.path("store/mender-update.control")).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        let mut piece = [0; 512];
        let read = stream.read(&mut piece).unwrap();
        (stream, String::from_utf8_lossy(&piece[..read]).into_owned())
    };
    let (stream, answer) = ask("{\"stand_aside\":\"install\"}\n");
    assert_eq!(answer, "{\"ok\":true}\n");
    let (_other, answer) = ask("{\"stand_aside\":\"commit\"}\n");
    assert!(answer.contains("\"busy\":true") && answer.contains("'install' is under way"), "{answer}");
    drop(stream);
    status_says(&managed, "waiting for the next poll");
    managed.lab.run(["check-update"]).status(0);
    managed.wait(&mut daemon, |server, _| polls(server) == 2);
    let (_stream, answer) = ask("{\"stand_aside\":\"daemon\"}\n");
    assert!(answer.contains("\"ok\":false"), "{answer}");
    daemon.stop();
}

/// While a request is under way that the server does not answer, a verb waits; not for ever.
#[test]
fn c_8_a_verb_waits_for_the_end_of_a_poll() {
    let managed = Managed::with(Security::Plain);
    managed.configure(r#","UpdatePollIntervalSeconds":3600,"InventoryPollIntervalSeconds":3600"#);
    managed.server.disturb(Endpoint::NextV1, 0, 1, Wire::Slow(1, 5));
    let mut daemon = managed.start();
    managed.wait(&mut daemon, |server, _| server.count(Endpoint::Auth) == 1);
    managed.lab.install(&Package::new("release-2")).status(0);
    managed.lab.run(["commit"]).status(0);
    managed.wait(&mut daemon, |_, journal| polled_with(journal) == "release-2");
    managed.no_violations();
    daemon.stop();
}

/// Whoever waits hears at once what for.
#[test]
fn c_8_a_verb_that_waits_says_so() {
    use std::io::{BufRead, BufReader};
    let managed = Managed::with(Security::Plain);
    managed.configure(r#","UpdatePollIntervalSeconds":3600,"InventoryPollIntervalSeconds":3600"#);
    managed.server.disturb(Endpoint::Auth, 0, 1, Wire::Hang(0));
    let mut daemon = managed.start();
    managed.wait(&mut daemon, |server, _| server.count(Endpoint::Auth) == 1);
    let package = Package::new("release-2").build(&managed.lab);
    let mut child = managed.lab.start([std::ffi::OsStr::new("install"), package.as_os_str()]);
    let mut said = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let line = said.find(|line| line.as_ref().is_ok_and(|line| line.contains("waits for the daemon")));
    assert_eq!(
        line.expect("a line").expect("UTF-8"),
        "waits for the daemon, which is asking the server for a token, at most 70 s"
    );
    assert!(Command::new("kill").args(["-TERM", &client_of(&child)]).status().expect("kill runs").success());
    let last = said.last().expect("a reason").expect("UTF-8");
    assert!(last.ends_with("ended by a signal, before anything was done"), "{last}");
    Ran::of(child).status(1);
    daemon.stop();
}

/// A daemon that knows no such request, of an older version: its lock and its answer.
#[test]
fn c_8_a_daemon_that_cannot_stand_aside_is_said() {
    use std::io::{Read, Write};
    use thimble_hal_linux::lock::Lock;
    use thimble_hal_linux::storage::DataDirectory;
    let managed = Managed::with(Security::Plain);
    let store = managed.lab.path("store");
    let _lock = Lock::acquire(&DataDirectory::open(&store).unwrap(), "daemon").unwrap();
    let package = Package::new("release-2").build(&managed.lab);
    let install = || managed.lab.run([std::ffi::OsStr::new("install"), package.as_os_str()]);
    // Nobody listens.
    install().failed("wait until 'status' shows no deployment, then stop the daemon");
    let listener = UnixListener::bind(store.join("mender-update.control")).unwrap();
    let old = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let read = stream.read(&mut [0; 512]).unwrap();
        stream
            .write_all(
                br#"{"ok":false,"reason":"there is no member \"stand_aside\": do, at, for, id, priority"}"#,
            )
            .unwrap();
        stream.write_all(b"\n").unwrap();
        read
    });
    install().failed("it is of a version that does not stand aside");
    assert!(old.join().unwrap() > 0);
    assert_eq!(managed.lab.name(), "unknown");
}

/// The datastore may be open to others: still nobody but root and the daemon's user is let in.
#[test]
fn c_8_another_user_cannot_ask() {
    use std::os::unix::fs::PermissionsExt;
    if !(is_root() && has("setpriv") && std::path::Path::new("/usr/bin/python3").exists()) {
        thimble_tests::lab::left_out("root, setpriv and python3");
        return;
    }
    let (managed, daemon) = resting();
    status_says(&managed, "waiting for the next poll");
    let socket = managed.lab.path("store/mender-update.control");
    for (path, mode) in [("", 0o755), ("store", 0o755), ("store/mender-update.control", 0o777)] {
        fs::set_permissions(managed.lab.path(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    let script = "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n\
        s.sendall(b'{\"stand_aside\":\"install\"}\\n')\nprint(s.recv(1000).decode())";
    let asked = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-c", script])
        .arg(&socket)
        .output()
        .unwrap();
    let answer = String::from_utf8_lossy(&asked.stdout).into_owned();
    assert!(answer.contains("\"ok\":false") && answer.contains("only root"), "{asked:?}");
    status_says(&managed, "waiting for the next poll");
    daemon.stop();
}
