//! Whole deployments of the real daemon against the model of Mender's server, over real connections.

use std::fs;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::thread;

use thimble_hal_sim::listen::Security;
use thimble_hal_sim::server::{Endpoint, Fault};
use thimble_tests::lab::{Lab, Package, thimble};
use thimble_tests::managed::{Daemon, ID, Managed};

const SUCCESS: [&str; 4] = ["downloading", "installing", "installing", "success"];

fn seen(statuses: &[String]) -> Vec<&str> {
    statuses.iter().map(String::as_str).collect()
}

#[test]
fn a_deployment_without_reboot_succeeds() {
    let managed = Managed::new();
    managed.deploy(&Package::new("release-2"));
    assert_eq!(managed.finish(), "success", "{}", managed.story());
    managed.no_violations();
    // A status that repeats the one before it is not stored twice.
    assert_eq!(seen(&managed.statuses()), ["downloading", "installing", "success"]);
    assert_eq!(managed.lab.name(), "release-2");
    assert_eq!(
        managed.lab.take_journal(),
        "ProvidePayloadFileSizes Download ArtifactInstall NeedsArtifactReboot ArtifactCommit Cleanup"
    );
    assert_eq!(
        managed.lab.leftovers(),
        ["deployments.0000.0e5c3f3b-5f7e-4f6c-9d0a-2a5b6c7d8e9f.log", "mender-agent.pem"]
    );
    let reported: Vec<String> = managed
        .server
        .journal()
        .iter()
        .filter(|entry| entry.endpoint == Some(Endpoint::Status))
        .map(|entry| String::from_utf8_lossy(&entry.body).into_owned())
        .collect();
    for (body, status) in reported.iter().zip(SUCCESS) {
        assert!(body.contains(&format!("\"status\":\"{status}\"")), "{reported:?}");
    }
}

#[test]
fn plain_http_works_too() {
    let managed = Managed::with(Security::Plain);
    managed.deploy(&Package::new("release-2"));
    assert_eq!(managed.finish(), "success", "{}", managed.story());
    managed.no_violations();
}

#[test]
fn an_automatic_reboot_comes_back_and_commits() {
    let managed = Managed::new();
    managed.lab.on("NeedsArtifactReboot", "echo Automatic");
    managed.deploy(
        &Package::new("release-2").script("ArtifactReboot_Enter_00").script("ArtifactReboot_Leave_00"),
    );
    assert_eq!(managed.finish(), "success", "{}", managed.story());
    managed.no_violations();
    assert_eq!(
        seen(&managed.statuses()),
        ["downloading", "installing", "rebooting", "installing", "success"]
    );
    assert_eq!(
        managed.lab.take_journal(),
        "ProvidePayloadFileSizes Download ArtifactInstall NeedsArtifactReboot [ArtifactReboot_Enter_00] reboot \
         ArtifactVerifyReboot [ArtifactReboot_Leave_00] ArtifactCommit Cleanup"
    );
}

#[test]
fn a_reboot_by_the_module_succeeds() {
    let managed = Managed::new();
    managed.lab.on("NeedsArtifactReboot", "echo Yes");
    managed.lab.on("ArtifactReboot", "kill -KILL $PPID");
    managed.deploy(&Package::new("release-2"));
    assert_eq!(managed.finish(), "success", "{}", managed.story());
    managed.no_violations();
    assert!(managed.lab.take_journal().contains("ArtifactReboot ArtifactVerifyReboot ArtifactCommit"));
}

#[test]
fn a_failed_install_is_rolled_back_and_its_log_is_sent() {
    let managed = Managed::new();
    managed.lab.on("ArtifactInstall", "echo the disk is made of cheese >&2; exit 1");
    managed.deploy(&Package::new("release-2"));
    assert_eq!(managed.finish(), "failure", "{}", managed.story());
    managed.no_violations();
    assert_eq!(managed.lab.name(), "unknown");
    let (log, substate) = managed.server.with(|server| {
        let deployment = &server.deployments[ID];
        (deployment.log.join("\n"), deployment.statuses.last().and_then(|(_, substate)| substate.clone()))
    });
    assert!(log.contains("made of cheese"), "{log}");
    assert!(substate.is_some_and(|text| text.contains("ArtifactInstall")), "{}", managed.story());
    assert_eq!(
        managed.lab.take_journal(),
        "ProvidePayloadFileSizes Download ArtifactInstall SupportsRollback ArtifactRollback NeedsArtifactReboot \
         ArtifactFailure Cleanup"
    );
}

#[test]
fn a_failed_verification_after_the_reboot_is_rolled_back_with_another_reboot() {
    let managed = Managed::new();
    managed.lab.on("NeedsArtifactReboot", "echo Automatic");
    managed.lab.on("ArtifactVerifyReboot", "exit 1");
    managed.deploy(&Package::new("release-2"));
    assert_eq!(managed.finish(), "failure", "{}", managed.story());
    managed.no_violations();
    let journal = managed.lab.take_journal();
    assert!(journal.contains("ArtifactVerifyReboot SupportsRollback ArtifactRollback NeedsArtifactReboot reboot ArtifactVerifyRollbackReboot ArtifactFailure Cleanup"), "{journal}");
    // Another process tells why, two reboots later.
    let substate = managed.server.with(|server| server.deployments[ID].statuses.last().unwrap().1.clone());
    let substate = substate.unwrap_or_default();
    assert!(
        substate.contains("the update module ended ArtifactVerifyReboot with exit status 1"),
        "{substate}"
    );
    assert_eq!(managed.lab.name(), "unknown");
}

#[test]
fn a_module_without_rollback_leaves_an_inconsistent_device() {
    let managed = Managed::new();
    managed.lab.on("SupportsRollback", "echo No");
    managed.lab.on("ArtifactInstall", "exit 1");
    managed.deploy(&Package::new("release-2"));
    assert_eq!(managed.finish(), "failure", "{}", managed.story());
    assert_eq!(managed.lab.name(), "release-2_INCONSISTENT");
}

/// The operator aborts at each report; what must not happen after it does not.
#[test]
fn i1_an_abort_at_each_status_undoes_what_was_done_and_no_more() {
    for (number, (expected, absent)) in [
        ("", "Download"),
        ("Download Cleanup", "ArtifactInstall"),
        ("NeedsArtifactReboot SupportsRollback ArtifactRollback", "ArtifactReboot"),
        ("ArtifactVerifyReboot SupportsRollback ArtifactRollback", "ArtifactCommit"),
    ]
    .into_iter()
    .enumerate()
    {
        let managed = Managed::new();
        managed.lab.on("NeedsArtifactReboot", "echo Automatic");
        managed.deploy(&Package::new("release-2"));
        let mut reports = 0;
        let server = std::sync::Arc::new(managed);
        // The abort is there before the report is looked at.
        let weak = std::sync::Arc::downgrade(&server);
        server.server.observe(Some(Box::new(move |when, entry| {
            if entry.endpoint == Some(Endpoint::Status) && when == thimble_hal_sim::listen::When::Before {
                if reports == number
                    && let Some(managed) = weak.upgrade()
                {
                    managed.server.with(|server| server.abort(ID));
                }
                reports += 1;
            }
        })));
        assert_eq!(server.finish(), "aborted", "report {number}: {}", server.story());
        server.no_violations();
        let journal = server.lab.take_journal();
        assert!(journal.contains(expected), "report {number}: {journal}");
        let calls: Vec<&str> = journal.split(' ').collect();
        assert!(!calls.contains(&absent), "report {number}: {journal}");
        assert_eq!(server.lab.name(), "unknown", "report {number}");
        server.server.observe(None);
    }
}

#[test]
fn the_inventory_says_what_is_installed_and_what_the_scripts_say() {
    let managed = Managed::new();
    managed.deploy(&Package::new("release-2").provides("rootfs-image.version", "v\"2\""));
    assert_eq!(managed.finish(), "success", "{}", managed.story());
    let mut daemon = managed.start();
    managed.wait(&mut daemon, |server, _| {
        server
            .devices
            .values()
            .any(|device| device.inventory.get("artifact_name").is_some_and(|name| name == "\"release-2\""))
    });
    let device = managed.server.with(|server| server.devices.values().next().cloned()).expect("a device");
    let inventory: Vec<(String, String)> =
        device.inventory.into_iter().filter(|(name, _)| name != "mender_client_version").collect();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        inventory,
        [
            pair("artifact_name", "\"release-2\""),
            pair("device_type", "\"lab\""),
            pair("ip", "[\"1\",\"2\"]"),
            pair("kernel", "\"6.1\""),
            pair("rootfs-image.version", "\"v\\\"2\\\"\""),
        ]
    );
    managed.no_violations();
}

#[test]
fn the_second_version_of_the_api_is_used_where_there_is_one() {
    let managed = Managed::new();
    managed.server.with(|server| server.v2 = true);
    managed.deploy(&Package::new("release-2"));
    assert_eq!(managed.finish(), "success", "{}", managed.story());
    managed.no_violations();
    assert_eq!(managed.server.with(|server| server.count(Endpoint::NextV1)), 0);
}

#[test]
fn r14_a_server_without_the_second_version_is_asked_for_it_once() {
    let managed = Managed::new();
    let mut daemon = managed.start();
    managed.wait(&mut daemon, |server, _| server.count(Endpoint::NextV1) >= 2);
    assert_eq!(managed.server.with(|server| server.count(Endpoint::NextV2)), 1);
    managed.no_violations();
}

#[test]
fn expired_tokens_are_renewed_in_the_middle_of_a_deployment() {
    let managed = std::sync::Arc::new(Managed::new());
    managed.deploy(&Package::new("release-2"));
    let weak = std::sync::Arc::downgrade(&managed);
    managed.server.observe(Some(Box::new(move |when, entry| {
        // Every token is good for one request.
        if when == thimble_hal_sim::listen::When::After
            && entry.endpoint != Some(Endpoint::Auth)
            && let Some(managed) = weak.upgrade()
        {
            managed.server.with(thimble_hal_sim::server::Server::expire_tokens);
        }
    })));
    assert_eq!(managed.finish(), "success", "{}", managed.story());
    managed.no_violations();
    managed.server.observe(None);
}

#[test]
fn a_new_token_that_is_refused_before_the_commit_is_replaced_at_once() {
    let managed = Managed::new();
    managed.deploy(&Package::new("release-2"));
    // The third status is the second "installing", with a token that was asked for just before.
    managed.server.with(|server| server.disturb(Endpoint::Status, 2, 1, Fault::Status(401)));
    assert_eq!(managed.finish(), "success", "{}", managed.story());
    managed.no_violations();
    let journal = managed.server.journal();
    let refused = journal
        .iter()
        .position(|entry| entry.endpoint == Some(Endpoint::Status) && entry.status == 401)
        .expect("it was refused");
    let next: Vec<Option<Endpoint>> =
        journal[refused + 1..].iter().take(2).map(|entry| entry.endpoint).collect();
    assert_eq!(next, [Some(Endpoint::Auth), Some(Endpoint::Status)], "{}", managed.story());
}

#[test]
fn a_device_waits_until_it_is_accepted() {
    let managed = Managed::new();
    managed.server.with(|server| server.accepts_all = false);
    managed.deploy(&Package::new("release-2"));
    let mut daemon = managed.start();
    managed.wait(&mut daemon, |server, _| server.count(Endpoint::Auth) >= 3);
    assert_eq!(managed.server.with(|server| server.count(Endpoint::NextV2)), 0, "nothing without a token");
    managed.server.with(|server| server.set_acceptance(thimble_hal_sim::server::Acceptance::Accepted));
    managed.wait(&mut daemon, |server, _| server.deployments[ID].is_over());
    managed.no_violations();
}

#[test]
fn n6_polls_that_fail_are_repeated() {
    let managed = Managed::new();
    managed.deploy(&Package::new("release-2"));
    managed.server.with(|server| {
        server.disturb(Endpoint::NextV2, 0, 1, Fault::RetryAfter("1".into()));
        server.disturb(Endpoint::NextV2, 0, 1, Fault::Status(500));
        server.disturb(Endpoint::NextV2, 0, 1, Fault::Body(b"{\"id\":".to_vec()));
        server.disturb(Endpoint::NextV2, 0, 1, Fault::Unreachable);
    });
    assert_eq!(managed.finish(), "success", "{}", managed.story());
    managed.no_violations();
}

#[test]
fn n13_an_inventory_put_off_by_the_server_is_not_repeated_after_the_next_poll() {
    let managed = Managed::new();
    managed.server.with(|server| {
        server.disturb(Endpoint::Inventory, 0, 1, Fault::RetryAfter("1000".into()));
    });
    let mut daemon = managed.start();
    managed.wait(&mut daemon, |server, _| server.count(Endpoint::NextV1) >= 3);
    assert_eq!(managed.server.with(|server| server.count(Endpoint::Inventory)), 1);
    managed.no_violations();
}

#[test]
fn n14_a_vain_authentication_is_not_repeated_at_once() {
    let managed = Managed::new();
    managed.server.with(|server| server.accepts_all = false);
    let times = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = std::sync::Arc::clone(&times);
    managed.server.observe(Some(Box::new(move |when, entry| {
        if when == thimble_hal_sim::listen::When::Before && entry.endpoint == Some(Endpoint::Auth) {
            seen.lock().expect("no panic while it is held").push(std::time::Instant::now());
        }
    })));
    let mut daemon = managed.start();
    // The inventory, then the poll: both need a token.
    managed.wait(&mut daemon, |server, _| server.count(Endpoint::Auth) >= 3);
    managed.server.observe(None);
    // A slow machine only makes the gaps longer: the wait begins after the answer to the first of each pair.
    for pair in times.lock().expect("no panic while it was held").windows(2) {
        assert!(pair[1] - pair[0] >= std::time::Duration::from_secs(1), "{}", managed.story());
    }
}

#[test]
fn check_update_and_send_inventory_wake_an_idle_daemon() {
    let managed = Managed::new();
    managed.configure(r#","UpdatePollIntervalSeconds":3600"#);
    let mut daemon = managed.start();
    managed.wait(&mut daemon, |server, _| {
        server.count(Endpoint::NextV1) >= 1 && server.count(Endpoint::Inventory) >= 1
    });
    let polls = managed.server.with(|server| server.count(Endpoint::NextV1));
    managed.lab.run(["check-update"]).status(0);
    managed.wait(&mut daemon, |server, _| server.count(Endpoint::NextV1) > polls);
    managed.lab.program("data/inventory/mender-inventory-new", "#!/bin/sh\necho new=1\n");
    managed.lab.run(["send-inventory"]).status(0);
    managed.wait(&mut daemon, |server, _| {
        server.devices.values().any(|device| device.inventory.contains_key("new"))
    });
    managed.no_violations();
}

#[test]
fn r26_a_hundred_attributes_are_sent_and_one_warning_says_how_many_are_not() {
    let managed = Managed::new();
    managed.lab.program(
        "data/inventory/mender-inventory-many",
        "#!/bin/sh\nfor i in $(seq 300); do echo many-$i=1; echo kernel=2; done\n",
    );
    managed.lab.program("data/inventory/mender-inventory-zz", "#!/bin/sh\necho zz=1\necho ip=3\n");
    let mut daemon = managed.start();
    managed.wait(&mut daemon, |server, _| server.devices.values().any(|device| device.inventories > 0));
    managed.no_violations();
    let inventory =
        managed.server.with(|server| server.devices.values().next().expect("one device").inventory.clone());
    assert_eq!(inventory.len(), 100);
    for name in ["artifact_name", "device_type", "mender_client_version", "kernel", "many-1"] {
        assert!(inventory.contains_key(name), "{name}: {inventory:?}");
    }
    assert_eq!(inventory["ip"], r#"["1","2","3"]"#);
    assert!(!inventory.contains_key("zz"), "{inventory:?}");
    let log = fs::read_to_string(managed.lab.path("daemon.log")).expect("the log");
    assert_eq!(log.matches("attributes are left out of the inventory").count(), 1, "{log}");
}

#[test]
fn a_daemon_that_does_not_answer_is_not_called_absent() {
    let lab = Lab::new();
    for name in ["mender-update.sock", "mender-update.control"] {
        let listener = UnixListener::bind(lab.path("store").join(name)).expect("a socket");
        thread::spawn(move || listener.incoming().for_each(drop));
    }
    for args in [["control", "show"], ["control", "pause"]] {
        assert_eq!(lab.run(args).failed("the daemon does not answer").stdout, "");
    }
    // What is on record is told all the same.
    let ran = lab.run(["status"]);
    ran.failed("the daemon does not answer");
    let front = "Daemon:          does not answer\nTo mend:         the daemon does not answer: ";
    assert!(ran.stdout.starts_with(front) && ran.stdout.contains("Device type:     lab\n"), "{}", ran.stdout);
    let json = lab.run(["status", "--json"]);
    json.failed("the daemon does not answer");
    assert!(json.stdout.starts_with("{\"running\":true,"), "{}", json.stdout);
}

#[test]
fn status_says_what_goes_on() {
    let managed = Managed::new();
    managed.lab.run(["status"]).failed("no daemon is running");
    let ran = managed.lab.run(["status", "--json"]);
    let stdout = &ran.failed("no daemon is running").stdout;
    assert!(
        stdout.starts_with("{\"running\":false,") && stdout.ends_with("\"boot_loader\":null}\n"),
        "{stdout}"
    );
    managed.configure(r#","UpdatePollIntervalSeconds":3600"#);
    managed.lab.on("ArtifactInstall", "exit 1");
    managed.deploy(&Package::new("release-2"));
    let mut daemon = managed.start();
    managed.wait(&mut daemon, |server, _| {
        server.deployments[ID].is_over() && server.deployments[ID].log.len() > 1
    });
    // The daemon may still be at the end of the deployment.
    let text = (0..1000)
        .map(|_| managed.lab.run(["status"]).status(0).stdout.clone())
        .find(|text| text.contains("Idle"));
    let text = text.expect("it becomes idle");
    assert!(
        text.contains(&format!(
            "Last deployment: release-2 ({ID}): failure: the device is what it was before\n"
        )),
        "{text}"
    );
    assert!(
        text.contains("Failed because:  the update module ended ArtifactInstall with exit status 1"),
        "{text}"
    );
    let json = managed.lab.run(["status", "--json"]).status(0).stdout.clone();
    assert!(
        json.starts_with("{\"running\":true,\"version\":\"") && json.contains("\"state\":\"Idle\""),
        "{json}"
    );
    daemon.stop();
    managed.lab.run(["status"]).failed("no daemon is running");
}

#[test]
fn sigterm_ends_the_daemon_and_its_children_and_the_update_goes_on_later() {
    let managed = Managed::new();
    managed.lab.on("ArtifactCommit", "if [ ! -e once ]; then : > once; echo $$ > pid; sleep 1000; fi");
    managed.deploy(&Package::new("release-2"));
    let daemon = managed.start();
    let pid = managed.lab.path("store/modules/v3/payloads/0000/tree/pid");
    let end = std::time::Instant::now() + thimble_tests::managed::LIMIT;
    while fs::read_to_string(&pid).map_or(true, |text| !text.ends_with('\n')) {
        assert!(std::time::Instant::now() < end, "{}", managed.story());
        thread::yield_now();
    }
    let module = fs::read_to_string(&pid).unwrap();
    // What a person is told at each step leads on: nothing that is refused is advised.
    let running = managed.lab.install(&Package::new("by-hand"));
    running.failed("try again when 'status' shows no deployment");
    daemon.stop();
    let stopped = managed.lab.install(&Package::new("by-hand"));
    stopped.failed("start the daemon, wait until 'status' shows no deployment");
    assert!(!stopped.reason().contains("commit"), "{stopped:?}");
    managed.lab.run(["commit"]).failed("only the daemon goes on with it: start the daemon");
    assert!(!fs::exists(format!("/proc/{}", module.trim())).unwrap());
    // An interrupted commit is rolled back.
    assert_eq!(managed.finish(), "failure", "{}", managed.story());
    managed.no_violations();
    assert_eq!(managed.lab.name(), "unknown");
}

#[test]
fn a_daemon_without_server_says_what_to_do() {
    let managed = Managed::new();
    managed.lab.configure("{}");
    managed.lab.run(["daemon"]).failed("set ServerURL in");
}

#[test]
fn l16_a_server_that_cannot_be_asked_is_refused_where_one_would_be() {
    let managed = Managed::new();
    managed.lab.configure(r#"{"ServerURL":"127.0.0.1:8080"}"#);
    for verb in ["daemon", "bootstrap"] {
        managed.lab.run([verb]).failed("mender.conf: ServerURL cannot be used: it does not begin with http");
    }
    assert!(!managed.lab.path("store/mender-agent.pem").exists());
    managed.lab.install(&Package::new("release-2")).status(0);
    managed.lab.run(["commit"]).status(0);
    assert_eq!(managed.lab.name(), "release-2");
}

#[test]
fn i15_a_second_daemon_is_refused() {
    let managed = Managed::new();
    let mut daemon = managed.start();
    managed.wait(&mut daemon, |server, _| server.count(Endpoint::Auth) >= 1);
    managed.lab.run(["daemon"]).failed("another client is at work");
    // Verbs are let in between deployments (C-8).
    managed.lab.run(["install", "x.mender"]).failed("x.mender");
    managed.wait(&mut daemon, |server, _| server.count(Endpoint::NextV1) >= 1);
}

#[test]
fn d2_the_key_is_private_and_stays_the_same() {
    use std::os::unix::fs::MetadataExt;
    let managed = Managed::new();
    let mut daemon = managed.start();
    managed.wait(&mut daemon, |server, _| server.count(Endpoint::Auth) >= 1);
    daemon.stop();
    let path = managed.lab.path("store/mender-agent.pem");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    let key = fs::read(&path).unwrap();
    let mut daemon = managed.start();
    managed.wait(&mut daemon, |server, _| server.count(Endpoint::Auth) >= 2);
    assert_eq!(fs::read(&path).unwrap(), key);
}

#[test]
fn d3_a_key_that_cannot_be_read_is_never_replaced() {
    for text in ["", "garbage"] {
        let managed = Managed::new();
        managed.lab.write("store/mender-agent.pem", text);
        let ran = managed.lab.run(["bootstrap"]);
        ran.failed("mender-agent.pem");
        assert_eq!(fs::read_to_string(managed.lab.path("store/mender-agent.pem")).unwrap(), text);
    }
}

#[test]
fn bootstrap_makes_a_key_and_asks_for_a_token() {
    let managed = Managed::new();
    managed.server.with(|server| server.accepts_all = false);
    managed.lab.run(["bootstrap"]).failed("does not accept this device");
    managed.server.with(|server| server.set_acceptance(thimble_hal_sim::server::Acceptance::Accepted));
    managed.lab.run(["bootstrap"]).status(0);
    let key = fs::read(managed.lab.path("store/mender-agent.pem")).unwrap();
    managed.lab.run(["bootstrap", "-F"]).status(0);
    assert_ne!(fs::read(managed.lab.path("store/mender-agent.pem")).unwrap(), key);
    managed.no_violations();
}

#[test]
fn mender_auth_s_daemon_is_no_second_client() {
    let managed = Managed::new();
    let program = managed.lab.path("mender-auth");
    std::os::unix::fs::symlink(thimble(), &program).unwrap();
    let mut child = managed.command(&program).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut said).unwrap();
    assert!(said.contains("thimble's own daemon does this work too"), "{said}");
    let status = Daemon::of(child).terminate();
    assert!(status.success(), "{status}");
    assert!(!managed.lab.path("store/mender-agent.pem").exists());
    managed.server.with(|server| assert_eq!(server.count(Endpoint::Auth), 0));
}

#[test]
fn l15_a_storm_of_signals_harms_nothing() {
    let managed = Managed::new();
    managed.deploy(&Package::new("release-2"));
    let mut daemon = managed.start();
    managed.wait(&mut daemon, |server, _| server.count(Endpoint::Auth) >= 1);
    let pid = daemon.pid();
    let storm = Command::new("sh")
        .args([
            "-c",
            &format!("i=0; while [ $i -lt 500 ]; do kill -USR1 {pid}; kill -USR2 {pid}; i=$((i+1)); done"),
        ])
        .status()
        .unwrap();
    assert!(storm.success());
    managed.wait(&mut daemon, |server, _| server.deployments[ID].is_over());
    assert_eq!(managed.status(), "success");
    managed.no_violations();
}

#[test]
fn a_log_that_nobody_reads_does_not_hold_the_daemon_up() {
    let managed = Managed::new();
    managed.lab.on("ArtifactInstall", "seq 1 30000");
    managed.deploy(&Package::new("release-2"));
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = managed.command(thimble());
    command.stdout(writer.try_clone().unwrap()).stderr(writer);
    let daemon = Daemon::of(command.spawn().unwrap());
    drop(command);
    // Ends with SIGTERM, which is seen as well.
    assert_eq!(managed.finish_with(daemon), "success");
    managed.no_violations();
    let log = std::io::read_to_string(reader).unwrap();
    assert!(log.len() < 200_000 && log.contains("ArtifactInstall (stdout): 1\""), "{log}");
}

#[test]
fn a10_nothing_stays_of_an_artifact_whose_header_is_refused() {
    let managed = Managed::new();
    let package = Package::new("release-2").script("ArtifactInstall_Enter_00");
    let mut bytes = package.bytes(&managed.lab);
    // The last digit of the digest, in the manifest.
    let name = bytes.windows(12).position(|part| part == b"  header.tar").unwrap();
    bytes[name - 1] = if bytes[name - 1] == b'0' { b'1' } else { b'0' };
    managed.deploy_bytes("release-2", bytes.into());
    let mut daemon = managed.start();
    managed.wait(&mut daemon, |server, _| server.deployments[ID].is_over());
    assert_eq!(managed.status(), "failure");
    let leftovers = managed.lab.leftovers();
    assert!(!leftovers.iter().any(|name| name.contains("scripts.staging")), "{leftovers:?}");
    daemon.stop();
}
