//! The real daemon on a private bus, driven by `dbus-send`, `busctl` and a program in Python on GLib's D-Bus.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use thimble_hal_sim::server::{Acceptance, Endpoint};
use thimble_tests::bus::{AUTHENTICATION, Bus, CLIENT, Client, NOBODY, Policy, UPDATE, shipped};
use thimble_tests::lab::{Package, has, is_root};
use thimble_tests::managed::{Daemon, ID, LIMIT, Managed};

const NOTHING: &str = "('', '')";
const CHANGE: &str = "JwtTokenStateChange";

/// A device that polls once and then waits for an hour, and whose control maps live as long.
fn calm() -> Managed {
    let managed = Managed::new();
    managed.configure(
        r#","UpdatePollIntervalSeconds":3600,"InventoryPollIntervalSeconds":3600,"UpdateControlMapExpirationTimeSeconds":3600"#,
    );
    managed
}

/// A device that polls every second, with control maps that live for an hour.
fn busy() -> Managed {
    let managed = Managed::new();
    managed.configure(r#","UpdateControlMapExpirationTimeSeconds":3600"#);
    managed
}

fn map(state: &str, action: &str) -> String {
    format!(
        r#"{{"id":"01234567-89ab-cdef-0123-456789abcdef","priority":1,"states":{{"{state}":{{"action":"{action}"}}}}}}"#
    )
}

fn first_polls(managed: &Managed, daemon: &mut Daemon) {
    managed.wait(daemon, |server, _| {
        server.count(Endpoint::NextV1) >= 1 && server.count(Endpoint::Inventory) >= 1
    });
}

/// Waits until the daemon is past its first polls.
#[track_caller]
fn rests(managed: &Managed, program: &mut Client) {
    let end = Instant::now() + LIMIT;
    let place = (CLIENT.0, CLIENT.1, PROPERTIES);
    while program.call(place, "Get", &[CLIENT.2, "State"]).unwrap() != "(<'Idle'>,)" {
        assert!(Instant::now() < end, "{}", managed.story());
    }
}

fn log(managed: &Managed) -> String {
    fs::read_to_string(managed.lab.path("daemon.log")).unwrap_or_default()
}

/// Waits until the daemon's log holds `text` so many times.
#[track_caller]
fn logged(managed: &Managed, text: &str, times: usize) {
    let end = Instant::now() + LIMIT;
    while log(managed).matches(text).count() < times {
        assert!(Instant::now() < end, "\"{text}\" is not logged\n{}", managed.story());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_token_is_handed_out_with_the_server_it_works_at() {
    let managed = calm();
    managed.configure(
        r#","UpdatePollIntervalSeconds":3600,"InventoryPollIntervalSeconds":3600,"DBus":{"Proxy":false}"#,
    );
    let url = managed.server.url();
    handed_out(&managed, &|server| server == url);
}

/// The same with the proxy, which needs no certificate (R-43).
#[test]
fn r43_a_token_is_handed_out_with_a_proxy_that_leads_to_its_server() {
    let managed = calm();
    handed_out(&managed, &|server| server.starts_with("http://127.0.0.1:"));
    assert!(log(&managed).contains("reach the server through http://127.0.0.1:"), "{}", managed.story());
}

fn handed_out(managed: &Managed, is_right: &dyn Fn(&str) -> bool) {
    managed.server.with(|server| server.accepts_all = false);
    let Some(bus) = Bus::start(&managed.lab, Policy::Shipped) else { return };
    let Some(mut program) = bus.client(0) else { return };
    let daemon = managed.start();
    // The daemon's own attempt.
    assert_eq!(program.signal(CHANGE, |_| true), NOTHING);
    assert_eq!(program.call(AUTHENTICATION, "GetJwtToken", &[]).unwrap(), NOTHING);
    managed.server.with(|server| server.set_acceptance(Acceptance::Accepted));
    assert_eq!(program.call(AUTHENTICATION, "FetchJwtToken", &[]).unwrap(), "(true,)");
    let told = program.signal(CHANGE, |values| values != NOTHING);
    let asked = managed.server.with(|server| server.count(Endpoint::Auth));
    assert_eq!(program.call(AUTHENTICATION, "GetJwtToken", &[]).unwrap(), told);
    let (token, server) = told.trim_matches(['(', ')']).split_once(", ").unwrap();
    assert!(is_right(server.trim_matches('\'')), "{server}");
    // Another program asks the server with it, as it stands.
    let script = "import ssl, sys, urllib.request as r\n\
        q = r.Request(sys.argv[2] + '/api/devices/v1/deployments/device/deployments/next?artifact_name=old&device_type=lab', \
        headers={'Authorization': 'Bearer ' + sys.argv[1]})\n\
        print(r.urlopen(q, context=ssl.create_default_context(cafile=sys.argv[3])).status)";
    let answer = Command::new("/usr/bin/python3")
        .args(["-c", script, token.trim_matches('\''), server.trim_matches('\'')])
        .arg(managed.lab.path("server.pem"))
        .env("no_proxy", "*")
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&answer.stdout),
        "204\n",
        "{}",
        String::from_utf8_lossy(&answer.stderr)
    );
    // By other programs, the same; and nobody was asked for any of it.
    let sent = bus.send(AUTHENTICATION, "GetJwtToken", &[]);
    assert!(String::from_utf8_lossy(&sent.stdout).contains(token.trim_matches('\'')), "{sent:?}");
    if has("busctl") {
        let call = Command::new("busctl")
            .args([
                "--address",
                bus.address(),
                "call",
                AUTHENTICATION.0,
                AUTHENTICATION.1,
                AUTHENTICATION.2,
                "GetJwtToken",
            ])
            .output()
            .unwrap();
        let expected = format!("ss \"{}\" \"{}\"\n", token.trim_matches('\''), server.trim_matches('\''));
        assert_eq!(String::from_utf8_lossy(&call.stdout), expected, "{call:?}");
    } else {
        thimble_tests::lab::left_out("busctl");
    }
    assert_eq!(managed.server.with(|server| server.count(Endpoint::Auth)), asked);
    daemon.signal("TERM");
    managed.no_violations();
    let _ = daemon.ended();
}

#[test]
fn a_refused_device_is_told_each_time_and_the_token_is_gone() {
    let managed = calm();
    let Some(bus) = Bus::start(&managed.lab, Policy::Shipped) else { return };
    let Some(mut program) = bus.client(0) else { return };
    let mut daemon = managed.start();
    first_polls(&managed, &mut daemon);
    assert_ne!(program.signal(CHANGE, |_| true), NOTHING);
    managed.server.with(|server| server.set_acceptance(Acceptance::Rejected));
    for _ in 0..2 {
        assert_eq!(program.call(AUTHENTICATION, "FetchJwtToken", &[]).unwrap(), "(true,)");
        assert_eq!(program.signal(CHANGE, |_| true), NOTHING);
        assert_eq!(program.call(AUTHENTICATION, "GetJwtToken", &[]).unwrap(), NOTHING);
    }
    managed.server.with(|server| server.set_acceptance(Acceptance::Accepted));
    assert_eq!(program.call(AUTHENTICATION, "FetchJwtToken", &[]).unwrap(), "(true,)");
    assert_ne!(program.signal(CHANGE, |_| true), NOTHING);
    assert!(program.pending(CHANGE).is_empty());
    managed.no_violations();
}

#[test]
fn concurrent_fetches_are_one_authentication() {
    let managed = calm();
    let Some(bus) = Bus::start(&managed.lab, Policy::Shipped) else { return };
    let (Some(mut one), Some(mut other)) = (bus.client(0), bus.client(0)) else { return };
    let mut daemon = managed.start();
    first_polls(&managed, &mut daemon);
    one.signal(CHANGE, |_| true);
    other.signal(CHANGE, |_| true);
    // While the identity script holds it up, all who ask are told that it runs.
    let gate = managed.lab.path("gate");
    managed.lab.program(
        "data/identity/mender-device-identity",
        &format!("#!/bin/sh\nuntil [ -e '{}' ]; do sleep 0.05; done\necho mac=00:01\n", gate.display()),
    );
    let before = managed.server.with(|server| server.count(Endpoint::Auth));
    for _ in 0..3 {
        one.ask(AUTHENTICATION, "FetchJwtToken", &[]);
        other.ask(AUTHENTICATION, "FetchJwtToken", &[]);
    }
    for _ in 0..3 {
        assert_eq!(one.answer().unwrap(), "(true,)");
        assert_eq!(other.answer().unwrap(), "(true,)");
    }
    fs::write(gate, "").unwrap();
    let told = one.signal(CHANGE, |_| true);
    assert_ne!(told, NOTHING);
    assert_eq!(other.signal(CHANGE, |_| true), told);
    assert!(one.pending(CHANGE).is_empty() && other.pending(CHANGE).is_empty());
    assert_eq!(managed.server.with(|server| server.count(Endpoint::Auth)), before + 1);
    managed.no_violations();
}

#[test]
fn a_fetch_that_cannot_begin_is_false_and_not_told() {
    let managed = calm();
    let Some(bus) = Bus::start(&managed.lab, Policy::Shipped) else { return };
    let Some(mut program) = bus.client(0) else { return };
    let mut daemon = managed.start();
    first_polls(&managed, &mut daemon);
    program.signal(CHANGE, |_| true);
    bus.wait_for(CLIENT.0);
    rests(&managed, &mut program);
    // Within a second of the daemon's own token a fetch waits (N14), and nobody knows yet that it cannot begin.
    std::thread::sleep(Duration::from_millis(1100));
    fs::remove_file(managed.lab.path("data/identity/mender-device-identity")).unwrap();
    assert_eq!(program.call(AUTHENTICATION, "FetchJwtToken", &[]).unwrap(), "(false,)");
    assert!(program.pending(CHANGE).is_empty());
    let trouble =
        program.call(("io.thimble.Client", CLIENT.1, PROPERTIES), "Get", &[CLIENT.2, "Trouble"]).unwrap();
    assert!(trouble.contains("mender-device-identity"), "{trouble}");
}

/// A fetch asked for while the artifact comes waits for it, and one asked for while a module works does not.
#[test]
fn a_fetch_in_the_middle_of_a_deployment_harms_nothing() {
    let managed = busy();
    let Some(bus) = Bus::start(&managed.lab, Policy::Shipped) else { return };
    let Some(mut program) = bus.client(0) else { return };
    let gate =
        |name: &str| format!("until [ -e '{0}' ]; do sleep 0.05; done", managed.lab.path(name).display());
    for call in ["ProvidePayloadFileSizes", "Download", "ArtifactInstall", "ArtifactCommit"] {
        managed.lab.on(call, &gate(&format!("let-{call}")));
    }
    managed.deploy(&Package::new("release-2"));
    let mut daemon = managed.start();
    bus.wait_for(AUTHENTICATION.0);
    let mut asked = 0;
    for (call, is_free) in [
        ("ProvidePayloadFileSizes", false),
        ("Download", false),
        ("ArtifactInstall", true),
        ("ArtifactCommit", true),
    ] {
        managed.wait(&mut daemon, |_, _| managed.lab.journal().iter().any(|line| line == call));
        let before = managed.server.with(|server| server.count(Endpoint::Auth));
        assert!(is_free || asked == 0 || before == asked, "{call}: the download goes first");
        assert_eq!(program.call(AUTHENTICATION, "FetchJwtToken", &[]).unwrap(), "(true,)", "{call}");
        // An answer of true may have meant a fetch of before that was not over yet: asked until there is another.
        let end = Instant::now() + LIMIT;
        while is_free && managed.server.with(|server| server.count(Endpoint::Auth)) == before {
            assert!(Instant::now() < end, "{call}: no fetch\n{}", managed.story());
            program.call(AUTHENTICATION, "FetchJwtToken", &[]).unwrap();
        }
        asked = before;
        fs::write(managed.lab.path(format!("let-{call}")), "").unwrap();
        if call == "Download" {
            managed.wait(&mut daemon, |server, _| server.count(Endpoint::Auth) > before);
        }
    }
    managed.wait(&mut daemon, |server, _| server.deployments[ID].is_over());
    assert_eq!(managed.status(), "success", "{}", managed.story());
    managed.no_violations();
}

/// The machine goes on in the middle of a fetch: a report takes it over, a step that needs its memory puts it off.
#[test]
fn a_fetch_and_the_steps_of_a_deployment_do_not_disturb_each_other() {
    for call in ["ArtifactInstall", "ArtifactCommit"] {
        let managed = busy();
        let Some(bus) = Bus::start(&managed.lab, Policy::Shipped) else { return };
        let Some(mut program) = bus.client(0) else { return };
        let path = |name: &str| managed.lab.path(name).display().to_string();
        managed.lab.on(call, &format!("until [ -e '{}' ]; do sleep 0.05; done", path("go")));
        managed.deploy(&Package::new("release-2"));
        let mut daemon = managed.start();
        managed.wait(&mut daemon, |_, _| managed.lab.journal().iter().any(|line| line == call));
        managed.lab.program(
            "data/identity/mender-device-identity",
            &format!(
                "#!/bin/sh\n: > '{}'\nuntil [ -e '{}' ]; do sleep 0.05; done\necho mac=00:01\n",
                path("identity"),
                path("known")
            ),
        );
        let before = managed.server.with(|server| server.count(Endpoint::Auth));
        assert_eq!(program.call(AUTHENTICATION, "FetchJwtToken", &[]).unwrap(), "(true,)");
        managed.wait(&mut daemon, |_, _| managed.lab.path("identity").exists());
        managed.lab.write("go", "");
        if call == "ArtifactCommit" {
            // The name and provides are stored, and the module is called once more.
            managed.wait(&mut daemon, |_, _| managed.lab.journal().iter().any(|line| line == "Cleanup"));
        } else {
            // The third: the others were `downloading` and `installing`.
            logged(&managed, "reporting the status", 3);
        }
        managed.lab.write("known", "");
        managed.wait(&mut daemon, |server, _| server.deployments[ID].is_over());
        managed.wait(&mut daemon, |server, _| server.count(Endpoint::Auth) > before);
        assert_eq!(managed.status(), "success", "{call}: {}", managed.story());
        assert_eq!(managed.lab.name(), "release-2");
        managed.no_violations();
        daemon.stop();
    }
}

/// A map that comes while the request for a token waits for its answer leaves that request what it is: the next server
/// gets it as it was signed.
#[test]
fn a_map_in_the_middle_of_an_authentication_leaves_it_alone() {
    use thimble_hal_sim::listen::{Listener, Security, Wire};
    use thimble_hal_sim::server::Server;
    let managed = calm();
    let Some(bus) = Bus::start(&managed.lab, Policy::Shipped) else { return };
    let Some(mut program) = bus.client(0) else { return };
    let second = Listener::start(0, Security::Plain, Server::new("")).unwrap();
    managed.lab.configure(&format!(
        r#"{{"Servers":[{{"ServerURL":"{}"}},{{"ServerURL":"{}"}}],"ServerCertificate":"{}","UpdateControlMapExpirationTimeSeconds":3600,"DBus":{{"Proxy":false}}}}"#,
        managed.server.url(),
        second.url(),
        managed.lab.path("server.pem").display()
    ));
    managed.server.with(|server| server.accepts_all = false);
    // A piece of the refusal at a time: long enough for a call, whatever the machine does.
    managed.server.disturb(Endpoint::Auth, 0, 1, Wire::Slow(1, 20));
    let mut daemon = managed.start();
    bus.wait_for(UPDATE.0);
    managed.wait(&mut daemon, |server, _| server.count(Endpoint::Auth) >= 1);
    assert!(program.call(UPDATE, "SetUpdateControlMap", &[&map("ArtifactInstall_Enter", "pause")]).is_ok());
    assert!(second.wait_until(LIMIT, |server, _| server.count(Endpoint::NextV1) >= 1), "{}", managed.story());
    assert!(second.with(|server| server.violations().is_empty()), "{}", managed.story());
    // The pair is of the server that gave the token.
    let told = program.call(AUTHENTICATION, "GetJwtToken", &[]).unwrap();
    assert!(told.contains(&format!("'{}'", second.url())), "{told}");
}

#[test]
fn a_map_pauses_a_deployment_until_another_lets_it_go() {
    let managed = busy();
    let Some(bus) = Bus::start(&managed.lab, Policy::Shipped) else { return };
    let Some(mut program) = bus.client(0) else { return };
    let mut daemon = managed.start();
    bus.wait_for(UPDATE.0);
    let set = |action| map("ArtifactInstall_Enter", action);
    let answer = program.call(UPDATE, "SetUpdateControlMap", &[&set("pause")]);
    assert_eq!(answer.unwrap(), "(1800,)", "half of the time a map lives");
    managed.deploy(&Package::new("release-2"));
    managed.wait(&mut daemon, |server, _| {
        server.deployments[ID].statuses.iter().any(|(status, _)| status == "pause_before_installing")
    });
    assert!(!managed.lab.journal().contains(&"ArtifactInstall".to_owned()));
    // A map that is not valid changes nothing: it goes on to hold the update up, and is told what is wrong.
    for (bad, reason) in [
        ("", "JSON"),
        ("{", "JSON"),
        ("null", "null"),
        ("[]", "wrong type"),
        (r#"{"id":"x"}"#, "id"),
        (r#"{"id":"01234567-89ab-cdef-0123-456789abcdef","priority":11}"#, "priority"),
        (&map("ArtifactInstall_Enter", "go"), "action"),
        (&"x".repeat(5000), "4096"),
    ] {
        let error = program.call(UPDATE, "SetUpdateControlMap", &[bad]).unwrap_err();
        assert!(error.starts_with("org.freedesktop.DBus.Error.Failed: "), "{bad}: {error}");
        assert!(error.contains(reason), "{bad}: {error}");
    }
    let long = program.call(UPDATE, "SetUpdateControlMap", &[&"x".repeat(100_000)]).unwrap_err();
    assert!(long.starts_with("org.freedesktop.DBus.Error.LimitsExceeded"), "{long}");
    assert!(!managed.lab.journal().contains(&"ArtifactInstall".to_owned()));
    let sent = bus.send(UPDATE, "SetUpdateControlMap", &[&set("force_continue")]);
    assert!(String::from_utf8_lossy(&sent.stdout).contains("int32 1800"), "{sent:?}");
    managed.wait(&mut daemon, |server, _| server.deployments[ID].is_over());
    assert_eq!(managed.statuses(), ["downloading", "pause_before_installing", "installing", "success"]);
    managed.no_violations();
}

#[test]
fn a_map_that_says_fail_ends_a_paused_deployment() {
    let managed = busy();
    let Some(bus) = Bus::start(&managed.lab, Policy::Shipped) else { return };
    if !has("busctl") {
        thimble_tests::lab::left_out("busctl");
        return;
    }
    let set = |map: &str| {
        Command::new("busctl")
            .args([
                "--address",
                bus.address(),
                "call",
                UPDATE.0,
                UPDATE.1,
                UPDATE.2,
                "SetUpdateControlMap",
                "s",
                map,
            ])
            .output()
            .unwrap()
    };
    let mut daemon = managed.start();
    bus.wait_for(UPDATE.0);
    let answer = set(&map("ArtifactCommit_Enter", "pause"));
    assert_eq!(String::from_utf8_lossy(&answer.stdout), "i 1800\n", "{answer:?}");
    managed.deploy(&Package::new("release-2"));
    managed.wait(&mut daemon, |server, _| {
        server.deployments[ID].statuses.iter().any(|(status, _)| status == "pause_before_committing")
    });
    assert!(managed.lab.journal().contains(&"ArtifactInstall".to_owned()));
    assert!(set(&map("ArtifactCommit_Enter", "fail")).status.success());
    managed.wait(&mut daemon, |server, _| server.deployments[ID].is_over());
    assert_eq!(managed.status(), "failure");
    assert!(managed.lab.journal().contains(&"ArtifactRollback".to_owned()), "{}", managed.story());
    managed.no_violations();
}

#[test]
fn l1_a_bus_that_comes_late_is_found() {
    let managed = calm();
    let Some(mut bus) = Bus::stopped(&managed.lab, Policy::Shipped) else { return };
    let mut daemon = managed.start();
    first_polls(&managed, &mut daemon);
    logged(&managed, "no D-Bus", 1);
    bus.go();
    bus.wait_for(AUTHENTICATION.0);
    bus.wait_for(UPDATE.0);
    bus.wait_for(CLIENT.0);
    assert!(bus.send(AUTHENTICATION, "GetJwtToken", &[]).status.success());
    daemon.stop();
    let warnings =
        log(&managed).lines().filter(|line| line.contains("level=warning") && line.contains("D-Bus")).count();
    assert_eq!(warnings, 1, "{}", managed.story());
}

#[test]
fn l1_a_bus_that_ends_and_returns_in_the_middle_of_a_deployment() {
    let managed = busy();
    let Some(mut bus) = Bus::start(&managed.lab, Policy::Shipped) else { return };
    let mut daemon = managed.start();
    bus.wait_for(UPDATE.0);
    assert!(
        bus.send(UPDATE, "SetUpdateControlMap", &[&map("ArtifactInstall_Enter", "pause")]).status.success()
    );
    managed.deploy(&Package::new("release-2"));
    for round in 1..=3 {
        managed.wait(&mut daemon, |server, _| {
            server.deployments[ID].statuses.iter().any(|(status, _)| status.starts_with("pause_before_"))
        });
        bus.stop();
        logged(&managed, "no D-Bus", round);
        bus.go();
        bus.wait_for(UPDATE.0);
        bus.wait_for(AUTHENTICATION.0);
        bus.wait_for(CLIENT.0);
    }
    let answer = bus.send(UPDATE, "SetUpdateControlMap", &[&map("ArtifactInstall_Enter", "continue")]);
    assert!(answer.status.success(), "{answer:?}");
    managed.wait(&mut daemon, |server, _| server.deployments[ID].is_over());
    assert_eq!(managed.status(), "success", "{}", managed.story());
    managed.no_violations();
}

/// The bus dies at each line of the journal of a deployment: it takes nothing with it.
#[test]
fn l1_a_bus_that_ends_at_each_call_of_a_deployment() {
    for call in ["Download", "ArtifactInstall", "ArtifactCommit", "Cleanup"] {
        let managed = Managed::new();
        let Some(mut bus) = Bus::start(&managed.lab, Policy::Shipped) else { return };
        managed
            .lab
            .on(call, &format!("until [ -e '{}' ]; do sleep 0.05; done", managed.lab.path("gone").display()));
        managed.deploy(&Package::new("release-2"));
        let mut daemon = managed.start();
        managed.wait(&mut daemon, |_, _| managed.lab.journal().iter().any(|line| line == call));
        bus.stop();
        managed.lab.write("gone", "");
        managed.wait(&mut daemon, |server, _| server.deployments[ID].is_over());
        assert_eq!(managed.status(), "success", "{call}: {}", managed.story());
        managed.no_violations();
        daemon.stop();
    }
}

#[test]
fn l2_only_root_is_served_whatever_the_bus_allows() {
    if !is_root() {
        thimble_tests::lab::left_out("root");
        return;
    }
    let managed = busy();
    let Some(bus) = Bus::start(&managed.lab, Policy::Open) else { return };
    let mut daemon = managed.start();
    bus.wait_for(UPDATE.0);
    bus.wait_for(CLIENT.0);
    first_polls(&managed, &mut daemon);
    let before = managed.server.with(|server| server.count(Endpoint::Auth));
    for (place, method, texts) in [
        (AUTHENTICATION, "GetJwtToken", &[][..]),
        (AUTHENTICATION, "FetchJwtToken", &[]),
        (UPDATE, "SetUpdateControlMap", &[map("ArtifactInstall_Enter", "pause").as_str()]),
        // By another name of the same process, and without the interface.
        ((CLIENT.0, AUTHENTICATION.1, AUTHENTICATION.2), "GetJwtToken", &[]),
    ] {
        let refused = bus.send_as(NOBODY, place, method, texts);
        let text = String::from_utf8_lossy(&refused.stderr);
        assert!(
            text.contains("org.freedesktop.DBus.Error.AccessDenied: only root may do that"),
            "{method}: {text}"
        );
        assert!(refused.stdout.is_empty(), "{method}: {refused:?}");
    }
    // How the client stands is no secret where the bus lets others ask.
    let place = (CLIENT.0, CLIENT.1, PROPERTIES);
    let answer = bus.send_as(NOBODY, place, "Get", &[CLIENT.2, "Version"]);
    assert!(answer.status.success(), "{answer:?}");
    assert_eq!(managed.server.with(|server| server.count(Endpoint::Auth)), before, "nothing was begun");
    managed.deploy(&Package::new("release-2"));
    managed.wait(&mut daemon, |server, _| server.deployments[ID].is_over());
    assert!(!managed.statuses().iter().any(|status| status.starts_with("pause")), "no map was set");
    // Root is served beside all that.
    assert!(bus.send(AUTHENTICATION, "GetJwtToken", &[]).status.success());
}

#[test]
fn l2_the_policy_files_let_nobody_else_call_own_or_listen() {
    if !is_root() {
        thimble_tests::lab::left_out("root");
        return;
    }
    let managed = calm();
    let Some(bus) = Bus::start(&managed.lab, Policy::Shipped) else { return };
    let (Some(mut listener), Some(mut root)) = (bus.client(NOBODY), bus.client(0)) else { return };
    for (name, ..) in [AUTHENTICATION, UPDATE, CLIENT] {
        let owned = Command::new("/usr/bin/python3")
            .args(["-c", "import sys; from gi.repository import Gio, GLib\n\
            F = Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION\n\
                b = Gio.DBusConnection.new_for_address_sync(sys.argv[1], F, None, None)\n\
                try: print(b.call_sync('org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus', 'RequestName', GLib.Variant('(su)', (sys.argv[2], 4)), None, 0, -1, None))\n\
                except GLib.Error as e: print(Gio.DBusError.get_remote_error(e))", bus.address(), name])
            .uid_nobody()
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&owned.stdout).trim(),
            "org.freedesktop.DBus.Error.AccessDenied",
            "{owned:?}"
        );
    }
    let mut daemon = managed.start();
    root.signal(CHANGE, |values| values != NOTHING);
    first_polls(&managed, &mut daemon);
    for (place, method, texts) in [
        (AUTHENTICATION, "GetJwtToken", &[][..]),
        (UPDATE, "SetUpdateControlMap", &["{}"]),
        ((CLIENT.0, CLIENT.1, PROPERTIES), "GetAll", &[CLIENT.2]),
    ] {
        let error = listener.call(place, method, texts).unwrap_err();
        assert!(error.contains("AccessDenied") && !error.contains("only root may"), "{method}: {error}");
    }
    assert!(listener.pending(CHANGE).is_empty(), "the token is not told to others");
    assert!(listener.pending("PropertiesChanged").is_empty());
}

/// The part that the policy file of our own interface keeps in a comment, for a group that may look.
#[test]
fn l2_a_group_that_may_look_sees_how_it_stands_and_nothing_else() {
    if !is_root() {
        thimble_tests::lab::left_out("root");
        return;
    }
    let managed = calm();
    fs::create_dir_all(managed.lab.path("bus/policies")).unwrap();
    // Beside the policies there is the folder of activation files.
    let policies = fs::read_dir(shipped()).unwrap().flatten().filter(|file| file.path().is_file());
    for file in policies {
        let text = fs::read_to_string(file.path()).unwrap();
        let text = match text.split_once("  <policy group=\"display\">") {
            Some((before, rest)) => {
                let before = before.rsplit_once("<!--").unwrap().0;
                format!("{before}<policy group=\"nogroup\">{}", rest.replace("  -->", ""))
            }
            None => text,
        };
        let name = file.file_name().into_string().unwrap();
        managed.lab.write(&format!("bus/policies/{name}"), &text);
    }
    let Some(bus) = Bus::start(&managed.lab, Policy::Files) else { return };
    let (Some(mut display), Some(mut root)) = (bus.client(NOBODY), bus.client(0)) else { return };
    let mut daemon = managed.start();
    root.signal(CHANGE, |values| values != NOTHING);
    first_polls(&managed, &mut daemon);
    display.signal("PropertiesChanged", |values| values.contains("'State': <'"));
    let place = (CLIENT.0, CLIENT.1, PROPERTIES);
    assert!(display.call(place, "GetAll", &[CLIENT.2]).unwrap().contains("'Version'"));
    for (place, method, texts) in [
        (AUTHENTICATION, "GetJwtToken", &[][..]),
        ((CLIENT.0, AUTHENTICATION.1, AUTHENTICATION.2), "GetJwtToken", &[]),
        ((CLIENT.0, UPDATE.1, UPDATE.2), "SetUpdateControlMap", &["{}"]),
    ] {
        let error = display.call(place, method, texts).unwrap_err();
        assert!(error.contains("AccessDenied"), "{method}: {error}");
    }
    assert!(display.pending(CHANGE).is_empty(), "the token is not told to others");
}

trait AsNobody {
    fn uid_nobody(&mut self) -> &mut Self;
}

impl AsNobody for Command {
    fn uid_nobody(&mut self) -> &mut Self {
        use std::os::unix::process::CommandExt;
        self.uid(NOBODY).gid(NOBODY)
    }
}

#[test]
fn l3_a_name_that_belongs_to_another_process_is_asked_for_now_and_then() {
    let managed = calm();
    let Some(bus) = Bus::start(&managed.lab, Policy::Open) else { return };
    let Some(_) = bus.client(0) else { return };
    let mut squatter = Command::new("/usr/bin/python3")
        .args(["-c", "import sys; from gi.repository import Gio, GLib\n\
            F = Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION\n\
            b = Gio.DBusConnection.new_for_address_sync(sys.argv[1], F, None, None)\n\
            b.call_sync('org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus', 'RequestName', GLib.Variant('(su)', (sys.argv[2], 3)), None, 0, -1, None)\n\
            GLib.MainLoop().run()", bus.address(), UPDATE.0])
        .spawn()
        .unwrap();
    bus.wait_for(UPDATE.0);
    let mut daemon = managed.start();
    bus.wait_for(AUTHENTICATION.0);
    first_polls(&managed, &mut daemon);
    logged(&managed, "another process owns io.mender.UpdateManager", 3);
    let warnings = log(&managed)
        .lines()
        .filter(|line| line.contains("level=warning") && line.contains("another process"))
        .count();
    assert_eq!(warnings, 1, "one warning, however often it is tried: {}", managed.story());
    // The others are served meanwhile, and the name is taken when it is free.
    assert!(bus.send(AUTHENTICATION, "GetJwtToken", &[]).status.success());
    squatter.kill().unwrap();
    squatter.wait().unwrap();
    let end = Instant::now() + LIMIT;
    while !bus.send(UPDATE, "SetUpdateControlMap", &[&map("ArtifactReboot_Enter", "pause")]).status.success()
    {
        assert!(Instant::now() < end, "{}", managed.story());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn l3_a_bus_without_policy_files_is_said() {
    let managed = calm();
    let Some(_bus) = Bus::start(&managed.lab, Policy::Bare) else { return };
    let mut daemon = managed.start();
    first_polls(&managed, &mut daemon);
    logged(&managed, "its policy file has to be in /usr/share/dbus-1/system.d", 3);
}

#[test]
fn switched_off_nothing_is_connected() {
    let managed = Managed::new();
    managed.configure(r#","DBus":{"Enabled":false}"#);
    let Some(bus) = Bus::start(&managed.lab, Policy::Shipped) else { return };
    managed.deploy(&Package::new("release-2"));
    let mut daemon = managed.start();
    managed.wait(&mut daemon, |server, _| server.deployments[ID].is_over());
    let bus_itself = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus");
    let names = bus.send(bus_itself, "ListNames", &[]);
    let names = String::from_utf8_lossy(&names.stdout);
    assert_eq!(names.matches("\":1.").count(), 1, "dbus-send alone: {names}");
    assert!(!log(&managed).contains("D-Bus"));
}

#[test]
fn an_address_that_makes_no_sense_is_said_and_harmless() {
    let managed = Managed::new();
    managed.deploy(&Package::new("release-2"));
    let mut command = managed.command(thimble_tests::lab::thimble());
    let mut child = command.env("DBUS_SYSTEM_BUS_ADDRESS", "tcp:host=localhost").spawn().unwrap();
    let over = managed.server.wait_until(LIMIT, |server, _| server.deployments[ID].is_over());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(over, "{}", managed.story());
    assert!(log(&managed).contains("DBUS_SYSTEM_BUS_ADDRESS must be like unix:path="), "{}", log(&managed));
}

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const INTROSPECTABLE: &str = "org.freedesktop.DBus.Introspectable";

#[test]
fn introspection_is_xml_and_names_every_member() {
    let managed = calm();
    let Some(bus) = Bus::start(&managed.lab, Policy::Shipped) else { return };
    let Some(_) = bus.client(0) else { return };
    let _daemon = managed.start();
    bus.wait_for(CLIENT.0);
    // Python parses it, walks down from the root, and prints what it finds; properties are compared with GetAll.
    let script = r#"
import sys, xml.etree.ElementTree as tree
from gi.repository import Gio, GLib
F = Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION
bus = Gio.DBusConnection.new_for_address_sync(sys.argv[1], F, None, None)
def call(path, interface, member, *texts):
    arguments = GLib.Variant.new_tuple(*[GLib.Variant("s", t) for t in texts])
    return bus.call_sync("io.thimble.Client", path, interface, member, arguments, None, 0, -1, None).unpack()
def walk(path):
    text = call(path, "org.freedesktop.DBus.Introspectable", "Introspect")[0]
    Gio.DBusNodeInfo.new_for_xml(text)
    node = tree.fromstring(text)
    for interface in node.findall("interface"):
        name = interface.get("name")
        if name.startswith("org.freedesktop"): continue
        doc = interface.find("annotation[@name='org.gtk.GDBus.DocString']").get("value")
        assert len(doc) > 20, name
        properties = call(path, "org.freedesktop.DBus.Properties", "GetAll", name)[0]
        for member in interface:
            if member.tag == "annotation": continue
            doc = member.find("annotation[@name='org.gtk.GDBus.DocString']").get("value")
            assert len(doc) > 10, member.get("name")
            if member.tag == "property": properties.pop(member.get("name"))
            args = "".join(a.get("direction", "out")[0] + a.get("type") for a in member.findall("arg"))
            print(path, name, member.tag, member.get("name"), member.get("type", args))
        assert not properties, properties
    for child in node.findall("node"):
        walk(path.rstrip("/") + "/" + child.get("name"))
walk("/")
"#;
    let walked = Command::new("/usr/bin/python3").args(["-c", script, bus.address()]).output().unwrap();
    assert!(walked.status.success(), "{}", String::from_utf8_lossy(&walked.stderr));
    let expected = include_str!("dbus_interfaces.txt");
    assert_eq!(String::from_utf8_lossy(&walked.stdout), expected);
    if has("busctl") {
        let shown = Command::new("busctl")
            .args(["--address", bus.address(), "introspect", CLIENT.0, CLIENT.1, CLIENT.2])
            .output()
            .unwrap();
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.contains(".LastOutcome") && shown.contains("emits-change"), "{shown}");
    }
}

#[test]
fn calls_that_do_not_exist_have_the_usual_errors() {
    let managed = calm();
    let Some(bus) = Bus::start(&managed.lab, Policy::Open) else { return };
    let Some(mut program) = bus.client(0) else { return };
    let _daemon = managed.start();
    bus.wait_for(CLIENT.0);
    let (name, path, interface) = CLIENT;
    for (place, method, texts, error) in [
        ((name, "/nowhere", interface), "Get", &[][..], "UnknownObject"),
        ((name, path, "io.thimble.Client2"), "Get", &[], "UnknownInterface"),
        ((name, path, interface), "Get", &[], "UnknownMethod"),
        ((name, path, PROPERTIES), "Get", &["one"], "InvalidArgs"),
        ((name, path, PROPERTIES), "Get", &[interface, "Nothing"], "UnknownProperty"),
        ((name, path, PROPERTIES), "Get", &["io.none", "State"], "UnknownInterface"),
        ((name, path, PROPERTIES), "GetAll", &["io.none"], "UnknownInterface"),
        (UPDATE, "SetUpdateControlMap", &[], "InvalidArgs"),
        ((UPDATE.0, UPDATE.1, AUTHENTICATION.2), "GetJwtToken", &[], "UnknownInterface"),
    ] {
        let answer = program.call(place, method, texts).unwrap_err();
        assert!(
            answer.starts_with(&format!("org.freedesktop.DBus.Error.{error}: ")),
            "{place:?} {method}: {answer}"
        );
    }
    for path in ["/", "/io", "/io/mender", UPDATE.1] {
        assert!(program.call((name, path, INTROSPECTABLE), "Introspect", &[]).is_ok(), "{path}");
        assert_eq!(program.call((name, path, "org.freedesktop.DBus.Peer"), "Ping", &[]).unwrap(), "()");
    }
    if Path::new("/etc/machine-id").exists() {
        let id = fs::read_to_string("/etc/machine-id").unwrap();
        if id.trim().len() == 32 {
            let answer = program.call((name, "/", "org.freedesktop.DBus.Peer"), "GetMachineId", &[]).unwrap();
            assert_eq!(answer, format!("('{}',)", id.trim()));
        }
    }
    assert_eq!(program.call((name, UPDATE.1, PROPERTIES), "GetAll", &[UPDATE.2]).unwrap(), "({},)");
}

#[test]
fn a_user_interface_follows_a_deployment_without_asking() {
    let managed = busy();
    let Some(bus) = Bus::start(&managed.lab, Policy::Shipped) else { return };
    let Some(mut program) = bus.client(0) else { return };
    // States that pass in no time need not be told: these wait until they were.
    let states = ["ArtifactInstall", "ArtifactRollback", "ArtifactFailure"];
    for (state, end) in states.into_iter().zip(["exit 1", "", ""]) {
        let seen = managed.lab.path(format!("seen-{state}"));
        managed.lab.on(state, &format!("until [ -e '{}' ]; do sleep 0.05; done; {end}", seen.display()));
    }
    managed.deploy(&Package::new("release-2").files(&[("big", &vec![7; 4_000_000])]));
    let mut daemon = managed.start();
    let mut seen = Vec::new();
    let mut progress = 0;
    loop {
        let values = program.signal("PropertiesChanged", |_| true);
        assert!(values.starts_with("('io.thimble.Client1', {"), "{values}");
        progress += usize::from(values.contains("ReceivedBytes"));
        if let Some((_, rest)) = values.split_once("'State': <'") {
            let state = rest.split('\'').next().unwrap_or_default();
            managed.lab.write(&format!("seen-{state}"), "");
            seen.push(state.to_owned());
        }
        if values.contains("'LastOutcome': <'failure") {
            assert!(values.contains("'LastReason': <'the update module ended ArtifactInstall"), "{values}");
            assert!(values.contains(&format!("'LastDeployment': <'{ID}'>")), "{values}");
            break;
        }
    }
    for state in states {
        assert!(seen.iter().any(|name| name == state), "{state}: {seen:?}");
    }
    assert!((1..100).contains(&progress), "{progress} signals of progress");
    let place = (CLIENT.0, CLIENT.1, PROPERTIES);
    let all = program.call(place, "GetAll", &[CLIENT.2]).unwrap();
    for part in ["'Version': <'", "'Deployment': <''>", "'ArtifactName': <''>", "'TotalBytes': <uint64 0>"] {
        assert!(all.contains(part), "{part}: {all}");
    }
    assert!(bus.send(place, "Set", &[]).stdout.is_empty());
    managed.wait(&mut daemon, |server, _| server.deployments[ID].is_over());
}

/// A bus of an attacker's: whatever it sends and however much, deployments go on, and the daemon stays small.
#[test]
fn l1_a_hostile_bus_cannot_hurt_the_daemon() {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const OK: &[u8] = b"OK 0123456789abcdef0123456789abcdef\r\n";
    let huge = b"l\x01\0\x01\xff\xff\xff\x07\x01\0\0\0\0\0\0\0";
    let headers = b"l\x01\0\x01\0\0\0\0\x01\0\0\0\xff\xff\xff\x07";
    let signal = b"l\x04\x01\x01\0\0\0\0\x01\0\0\0\x3d\0\0\0\x01\x01o\0\x01\0\0\0/\0\0\0\0\0\0\0\x02\x01s\0\x03\0\0\0a.b\0\
        \0\0\0\0\x03\x01s\0\x01\0\0\0C\0\0\0\0\0\0\0\x07\x01s\0\x04\0\0\0:1.9\0\0\0\0";
    let attacks: [(&[u8], &[u8]); 7] = [
        (b"", b"x"),
        (b"", b"REJECTED EXTERNAL\r\n"),
        (OK, b"\xff"),
        (OK, huge),
        (OK, headers),
        (OK, signal),
        // Nothing at all.
        (b"", b""),
    ];
    let managed = Managed::new();
    fs::create_dir_all(managed.lab.path("bus")).unwrap();
    let listener = UnixListener::bind(managed.lab.bus()).unwrap();
    let sent = std::sync::Arc::new(AtomicUsize::new(0));
    let counter = std::sync::Arc::clone(&sent);
    std::thread::spawn(move || {
        for (stream, (greeting, flood)) in listener.incoming().zip(attacks) {
            let Ok(mut stream) = stream else { return };
            let mut line = [0; 64];
            let _ = stream.read(&mut line);
            let _ = stream.write_all(greeting);
            let many = flood.repeat(64 * 1024 / flood.len().max(1));
            // Until it hangs up, or for sixteen MiB; one sends nothing.
            for _ in 0..256 {
                if many.is_empty() || stream.write_all(&many).is_err() {
                    break;
                }
            }
            counter.fetch_add(1, Ordering::SeqCst);
            if many.is_empty() {
                let _ = stream.read(&mut line);
            }
        }
    });
    managed.deploy(&Package::new("release-2"));
    let mut daemon = managed.start();
    managed.wait(&mut daemon, |server, _| server.deployments[ID].is_over());
    assert_eq!(managed.status(), "success", "{}", managed.story());
    // The attempts go on in the meantime, each later than the one before.
    let polls = managed.server.with(|server| server.count(Endpoint::NextV1));
    managed.wait(&mut daemon, |server, _| {
        server.count(Endpoint::NextV1) >= polls + 5 && sent.load(Ordering::SeqCst) >= 4
    });
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 40_000, "{peak} KiB");
    managed.no_violations();
    daemon.stop();
}
