//! The same control maps in the same calls, given to thimble and to Debian's `mender` 3.4 while each carries out the
//! same deployment: the same order of the module's calls, the scripts and the statuses, and the same answers on the
//! bus. Needs root, as that client's directories cannot be moved.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use thimble_tests::bus::{AUTHENTICATION, Bus, Policy, UPDATE};
use thimble_tests::foreign::Fixed;
use thimble_tests::lab::{Package, has, is_root};
use thimble_tests::managed::{ID, LIMIT, Managed};

/// A daemon of either kind; killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What one client did.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    answers: Vec<String>,
    statuses: Vec<String>,
    journal: Vec<String>,
}

/// A deployment during which maps are set: each when the status of before it has come.
fn run(is_mender: bool, maps: &[(&str, String)]) -> Option<Seen> {
    if !(has("mender") && is_root()) {
        thimble_tests::lab::left_out("root and mender");
        return None;
    }
    let managed = Managed::new();
    managed.configure(&format!(
        r#","UpdateControlMapExpirationTimeSeconds":3600,"InventoryPollIntervalSeconds":3600,"DeviceTypeFile":"{}""#,
        managed.lab.path("store/device_type").display()
    ));
    // That client asks by the first version in a way that our server refuses.
    managed.server.with(|server| server.v2 = true);
    let bus = Bus::start(&managed.lab, Policy::Shipped)?;
    let _fixed = is_mender.then(|| Fixed::new(&managed.lab));
    let mut command =
        if is_mender { mender(&managed, &bus) } else { managed.command(thimble_tests::lab::thimble()) };
    let mut daemon = Running(command.spawn().expect("the daemon starts"));
    bus.wait_for(UPDATE.0);
    let mut answers = Vec::new();
    let mut deployed = false;
    for (after, map) in maps {
        if !after.is_empty() {
            wait(&managed, &mut daemon, |managed| managed.statuses().iter().any(|status| status == after));
        }
        let sent = bus.send(UPDATE, "SetUpdateControlMap", &[map]);
        let text = String::from_utf8_lossy(&sent.stdout).into_owned();
        // The first line names the sender.
        answers.push(text.lines().nth(1).map_or_else(|| "error".to_owned(), |line| line.trim().to_owned()));
        if !deployed {
            let package = [
                "ArtifactInstall_Enter_00",
                "ArtifactInstall_Leave_00",
                "ArtifactCommit_Enter_00",
                "ArtifactCommit_Leave_00",
                "ArtifactRollback_Enter_00",
                "ArtifactRollback_Leave_00",
                "ArtifactFailure_Enter_00",
                "ArtifactFailure_Leave_00",
            ];
            let package =
                package.iter().fold(Package::new("release-2"), |package, name| package.script(name));
            managed.deploy(&package);
            deployed = true;
        }
    }
    wait(&managed, &mut daemon, |managed| managed.server.with(|server| server.deployments[ID].is_over()));
    wait(&managed, &mut daemon, |managed| managed.lab.journal().iter().any(|line| line == "Cleanup"));
    // The token works the same way: there is one, and the server that goes with it.
    let token = bus.send(AUTHENTICATION, "GetJwtToken", &[]);
    let token = String::from_utf8_lossy(&token.stdout).into_owned();
    answers.push(token.lines().skip(1).map(kind_of).collect::<Vec<_>>().join(" "));
    let fetched = bus.send(AUTHENTICATION, "FetchJwtToken", &[]);
    answers.push(String::from_utf8_lossy(&fetched.stdout).lines().skip(1).map(str::trim).collect());
    let queries = ["ProvidePayloadFileSizes", "SupportsRollback", "NeedsArtifactReboot"];
    let journal =
        managed.lab.journal().into_iter().filter(|line| !queries.contains(&line.as_str())).collect();
    let mut statuses = managed.statuses();
    // That client says so also where nothing reboots, as here.
    statuses.retain(|status| status != "rebooting");
    statuses.dedup();
    Some(Seen { answers, statuses, journal })
}

/// That client on the lab's directories.
fn mender(managed: &Managed, bus: &Bus) -> Command {
    let log = fs::File::create(managed.lab.path("daemon.log")).expect("a log");
    let mut command = Command::new("mender");
    command
        .arg("--no-syslog")
        .arg("--config")
        .arg(managed.lab.path("conf/mender.conf"))
        .arg("--data")
        .arg(managed.lab.path("store"))
        .arg("daemon")
        .current_dir(managed.lab.path(""))
        .env("DBUS_SYSTEM_BUS_ADDRESS", bus.address())
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("the log twice"))
        .stderr(log);
    for proxy in ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"] {
        command.env_remove(proxy);
    }
    command
}

/// The type of a value, and for an address its scheme stands for all of it: that client hands out a proxy's.
fn kind_of(line: &str) -> &'static str {
    let line = line.trim();
    if line.starts_with("string \"http") {
        "server"
    } else if line.starts_with("string \"ey") {
        "token"
    } else {
        "other"
    }
}

#[track_caller]
fn wait(managed: &Managed, daemon: &mut Running, mut condition: impl FnMut(&Managed) -> bool) {
    let end = Instant::now() + LIMIT;
    while !condition(managed) {
        assert!(Instant::now() < end, "nothing happens\n{}", managed.story());
        let ended = daemon.0.try_wait().expect("the daemon can be waited for");
        assert!(ended.is_none(), "the daemon ended: {ended:?}\n{}", managed.story());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn map(state: &str, action: &str) -> String {
    format!(
        r#"{{"id":"01234567-89ab-cdef-0123-456789abcdef","priority":1,"states":{{"{state}":{{"action":"{action}"}}}}}}"#
    )
}

#[test]
fn both_clients_do_the_same_with_the_same_maps() {
    let pause = "pause_before_installing";
    for maps in [
        vec![("", map("ArtifactInstall_Enter", "continue"))],
        vec![
            ("", map("ArtifactInstall_Enter", "pause")),
            (pause, map("ArtifactInstall_Enter", "force_continue")),
        ],
        vec![("", map("ArtifactInstall_Enter", "pause")), (pause, map("ArtifactInstall_Enter", "fail"))],
        vec![
            ("", map("ArtifactCommit_Enter", "pause")),
            ("pause_before_committing", map("ArtifactCommit_Enter", "fail")),
        ],
        vec![("", r#"{"id":"no"}"#.to_owned())],
        vec![("", map("ArtifactCommit_Enter", "fail"))],
    ] {
        let (Some(mut theirs), Some(ours)) = (run(true, &maps), run(false, &maps)) else { return };
        if maps.iter().any(|(_, map)| map.contains(r#"ArtifactInstall_Enter":{"action":"fail"#)) {
            // That client rolls back what it has not installed; thimble cleans up (R-24).
            let of_a_rollback = |line: &String| line.contains("Rollback") || line.contains("ArtifactFailure");
            assert!(theirs.journal.iter().any(of_a_rollback), "{theirs:?}");
            theirs.journal.retain(|line| !of_a_rollback(line));
        }
        assert_eq!(theirs, ours, "{maps:?}");
    }
}
