//! `status` as people and programs see it: beside a daemon and without one, again and again, and on devices that are broken.

mod broken;
mod schema;
mod watch;

use std::time::{Instant, SystemTime};

use thimble_core::json::Value;
use thimble_hal_sim::listen::{Security, Wire};
use thimble_hal_sim::server::{Endpoint, Fault, Server};
use thimble_tests::lab::{Lab, Package, Ran};
use thimble_tests::managed::{Daemon, ID, LIMIT, Managed};

use schema::conforms;

/// The answer for programs, which is as the schema says.
#[track_caller]
fn json(lab: &Lab) -> String {
    let ran = lab.run(["status", "--json"]);
    conforms(&ran.stdout);
    ran.stdout
}

fn text(json: &str, name: &str) -> Option<String> {
    let value = Value::parse(json.as_bytes()).expect("JSON");
    Some(value.member(name).expect("once")?.as_str()?.to_string())
}

fn number(json: &str, name: &str) -> Option<i64> {
    Value::parse(json.as_bytes()).expect("JSON").member(name).expect("once")?.as_integer()
}

/// Waits until the answer for programs is such.
#[track_caller]
fn until(managed: &Managed, what: &str, is_so: impl Fn(&str) -> bool) -> String {
    let end = Instant::now() + LIMIT;
    loop {
        let json = json(&managed.lab);
        if is_so(&json) {
            return json;
        }
        assert!(Instant::now() < end, "{what}: {json}\n{}", managed.story());
    }
}

fn page(lab: &Lab) -> Ran {
    lab.run(["status"])
}

fn is_over(server: &Server) -> bool {
    server.deployments[ID].is_over()
}

/// A daemon that has told the server how its deployment ended, and rests.
#[track_caller]
fn rested(managed: &Managed) -> Daemon {
    let mut daemon = managed.start();
    managed.wait(&mut daemon, |server, _| is_over(server));
    until(managed, "it becomes idle", |json| {
        text(json, "state").as_deref() == Some("Idle") && text(json, "last_deployment").is_some()
    });
    daemon
}

#[test]
fn an_update_that_waits_for_its_commit_is_answered_without_a_daemon() {
    // With a server that a daemon would ask, and without one.
    for managed in [true, false] {
        let device = Managed::with(Security::Plain);
        let lab = &device.lab;
        if !managed {
            lab.configure("{}");
        }
        lab.install(&Package::new("release-1")).status(0);
        lab.run(["commit"]).status(0);
        lab.install(&Package::new("release-2")).status(0);
        let ran = page(lab);
        assert_eq!(
            (ran.status(0).stderr.as_str(), ran.stdout.lines().next()),
            ("", Some("Daemon:          not running"))
        );
        for line in [
            "Artifact:        release-1\n",
            "Device type:     lab\n",
            "By hand:         an update installed by hand waits for 'commit' or 'rollback': release-2;",
            "Last update:     success\n",
        ] {
            assert!(ran.stdout.contains(line), "{line}: {}", ran.stdout);
        }
        let json = json(lab);
        assert!(json.starts_with("{\"running\":false,") && json.contains("\"state\":null"), "{json}");
        assert_eq!(text(&json, "deployment_artifact").as_deref(), Some("release-2"));
        assert_eq!(text(&json, "server").is_some(), managed);
        assert_eq!(text(&json, "to_mend"), None);
        lab.run(["rollback"]).status(0);
        assert!(
            page(lab).stdout.contains("Last update:     rolled back: the device is what it was before\n")
        );
    }
}

#[test]
fn nothing_is_to_be_mended_where_no_server_is_configured_and_else_the_missing_daemon() {
    let lab = Lab::new();
    let ran = page(&lab);
    assert_eq!(
        ran.status(0).stdout,
        "Daemon:          not running\nArtifact:        unknown\nDevice type:     lab\n"
    );
    assert_eq!(ran.stderr, "");
    lab.configure(r#"{"ServerURL":"https://updates.example.com"}"#);
    let ran = page(&lab);
    ran.failed("no daemon is running in this datastore");
    assert!(ran.stdout.contains("\nServer:          https://updates.example.com\n"), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("\nTo mend:         no daemon is running in this datastore; start it with 'systemctl start mender-updated' or 'thimble daemon'\n"),
        "{}",
        ran.stdout
    );
    json(&lab);
}

#[test]
fn how_the_last_deployment_ended_outlives_the_daemon() {
    let managed = Managed::with(Security::Plain);
    managed.configure(r#","UpdatePollIntervalSeconds":3600"#);
    managed.lab.on("ArtifactInstall", "exit 1");
    managed.deploy(&Package::new("release-2"));
    let began = SystemTime::now();
    let facts = |json: &str| {
        let names = ["last_deployment", "last_artifact", "last_outcome", "last_reason"];
        let ago = number(json, "last_ended_seconds").expect("it is known when");
        let longest = began.elapsed().expect("the clock goes on").as_secs() + 1;
        assert!(u64::try_from(ago).expect("past") <= longest, "{json}");
        names.map(|name| text(json, name).unwrap_or_default())
    };
    let expected = [
        ID,
        "release-2",
        "failure: the device is what it was before",
        "the update module ended ArtifactInstall with exit status 1",
    ];
    let daemon = rested(&managed);
    // As it was seen, as it is on record, and as the next daemon knows it.
    assert_eq!(facts(&json(&managed.lab)), expected);
    daemon.stop();
    assert_eq!(facts(&json(&managed.lab)), expected);
    let shown = page(&managed.lab).stdout;
    assert!(shown.contains(&format!("Last deployment: release-2 ({ID}): failure: the device is")), "{shown}");
    assert!(shown.contains("\nFailed because:  the update module ended ArtifactInstall"), "{shown}");
    assert!(shown.contains("\nEnded:           2"), "{shown}");
    let daemon = managed.start();
    until(&managed, "the daemon answers", |json| text(json, "state").is_some());
    assert_eq!(facts(&json(&managed.lab)), expected);
    daemon.stop();
    // An update by hand comes after it; its log is none of a deployment.
    managed.lab.on("ArtifactInstall", "");
    managed.lab.install(&Package::new("release-3")).status(0);
    managed.lab.run(["commit"]).status(0);
    let json = json(&managed.lab);
    let outcome = ["last_deployment", "last_outcome", "last_ended"].map(|name| text(&json, name));
    assert_eq!(outcome, [None, Some("success".to_owned()), None]);
}

#[test]
fn a_download_is_shown_with_percents_speed_and_time_left() {
    let managed = Managed::with(Security::Plain);
    // What no compression makes shorter.
    let mut seed = 1_u32;
    let mut next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    };
    let large: Vec<u8> = (0..400_000).map(|_| next()).collect();
    managed.deploy(&Package::new("release-2").files(&[("large", &large)]));
    managed.server.disturb(Endpoint::Artifact, 0, 1, Wire::Slow(4000, 50));
    let daemon = managed.start();
    let json = until(&managed, "a download with a speed", |json| number(json, "seconds_left").is_some());
    let of = |name: &str| number(&json, name).unwrap_or_else(|| panic!("{name}: {json}"));
    assert_eq!(text(&json, "state").as_deref(), Some("Download"));
    assert_eq!(text(&json, "deployment_artifact").as_deref(), Some("release-2"));
    assert!(of("received_bytes") <= of("total_bytes") && of("total_bytes") > 400_000, "{json}");
    assert_eq!(of("percent"), of("received_bytes") * 100 / of("total_bytes"));
    let left = of("total_bytes") - of("received_bytes");
    assert!(of("seconds_left") >= left / of("bytes_per_second"), "{json}");
    assert!(of("bytes_per_second") <= 81_000, "faster than it came: {json}");
    assert_eq!(text(&json, "server"), Some(managed.server.url().to_owned()));
    assert!(of("last_contact_seconds") <= 60, "{json}");
    assert_eq!(managed.finish_with(daemon), "success", "{}", managed.story());
}

#[test]
fn a_wait_says_until_when_it_lasts() {
    // Three days from now, whatever the time: closed.
    let today = SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("past").as_secs() / 86_400;
    let day =
        ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][usize::try_from((today + 3) % 7).expect("a day")];
    let managed = Managed::with(Security::Plain);
    managed.configure(&format!(
        r#","UpdateControl":{{"Windows":[{{"At":["install"],"From":"02:00","To":"04:00","Days":["{day}"]}}]}}"#
    ));
    managed.deploy(&Package::new("release-2"));
    let daemon = managed.start();
    let json_of = until(&managed, "it waits", |json| text(json, "waiting_before").is_some());
    assert_eq!(text(&json_of, "waiting_then").as_deref(), Some("window opens"));
    assert_eq!(text(&json_of, "waiting_until"), Some(format!("{day} 02:00")));
    let seconds = number(&json_of, "waiting_seconds").expect("it is known");
    assert!((86_400..4 * 86_400).contains(&seconds), "{json_of}");
    let shown = page(&managed.lab).status(0).stdout.clone();
    for line in [
        "\nWaiting:         before install: outside the update window 02:00-04:00",
        &format!("\nWaiting until:   {day} 02:00, in "),
        "\nPolicy:          install: only 02:00-04:00",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    // A person pauses it for longer than the window is closed; then it waits for that.
    let said = managed.lab.run(["control", "pause", "--for", "1h30m"]).status(0).stdout.clone();
    assert_eq!(said, "updates wait before install, reboot and commit, for 1 h 30 min\n");
    let json_of = until(&managed, "the person's word counts", |json| {
        text(json, "waiting_then").as_deref() == Some("continues")
    });
    let seconds = number(&json_of, "waiting_seconds").expect("it is known");
    assert!((5340..=5400).contains(&seconds), "{json_of}");
    let shown = page(&managed.lab).status(0).stdout.clone();
    assert!(
        shown.contains(
            "\nHold:            by an operator: an update waits before install, reboot and commit, for 1 h "
        ),
        "{shown}"
    );
    managed.lab.run(["control", "continue"]).status(0);
    assert_eq!(managed.finish_with(daemon), "success", "{}", managed.story());
}

#[test]
fn a_deployment_that_a_stopped_daemon_has_left_is_named() {
    let managed = Managed::with(Security::Plain);
    managed.lab.on("NeedsArtifactReboot", "echo Automatic");
    managed.deploy(&Package::new("release-2"));
    let mut daemon = managed.start();
    // The device reboots, and that kills it.
    assert!(!managed.wait_while(&mut daemon, |server, _| is_over(server)));
    let ran = page(&managed.lab);
    ran.failed("no daemon is running");
    for line in [
        &format!("\nDeployment:      release-2 ({ID})\n")[..],
        "\nUpdate:          the reboot has begun; the daemon goes on from there when it is started\n",
    ] {
        assert!(ran.stdout.contains(line), "{line}: {}", ran.stdout);
    }
    json(&managed.lab);
    assert_eq!(managed.finish(), "success", "{}", managed.story());

    // The server does not hear how it ends: its fourth status and those after it.
    let managed = Managed::with(Security::Plain);
    managed.deploy(&Package::new("release-3"));
    managed.server.with(|server| server.disturb(Endpoint::Status, 3, 1000, Fault::Status(500)));
    let mut daemon = managed.start();
    managed.wait(&mut daemon, |server, _| server.count(Endpoint::Status) > 3);
    daemon.stop();
    let ran = page(&managed.lab);
    ran.failed("no daemon is running");
    let line = "\nUpdate:          over, but the server has not heard how it ended;";
    assert!(ran.stdout.contains(line), "{}", ran.stdout);
    assert!(ran.stdout.contains(&format!("\nDeployment:      {ID}\n")), "{}", ran.stdout);
}
