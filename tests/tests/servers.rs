//! Several servers: the real daemon asks one after the other for a token, and each is left alone as long as it asked for.

use thimble_hal_sim::listen::{Listener, Security, Wire};
use thimble_hal_sim::server::{Acceptance, Endpoint, Fault, Server};
use thimble_tests::lab::Package;
use thimble_tests::managed::{LIMIT, Managed};

/// A device whose second server accepts it; `first` is the URL of the first one.
fn device(first: impl FnOnce(&Managed) -> String) -> (Managed, Listener) {
    let managed = Managed::with(Security::Plain);
    let second = Listener::start(0, Security::Plain, Server::new("")).expect("a free port");
    managed.lab.configure(&format!(
        r#"{{"Servers":[{{"ServerURL":"{}"}},{{"ServerURL":"{}"}}],
            "UpdatePollIntervalSeconds":1,"RetryPollIntervalSeconds":1}}"#,
        first(&managed),
        second.url()
    ));
    (managed, second)
}

#[track_caller]
fn second_is_asked(managed: &Managed, second: &Listener) {
    let daemon = managed.start();
    let polled = second.wait_until(LIMIT, |server, _| server.count(Endpoint::NextV1) >= 1);
    assert!(polled, "{}", managed.story());
    let violations = second.with(|server| server.violations().to_vec());
    assert!(violations.is_empty(), "{violations:#?}");
    daemon.stop();
}

#[test]
fn a_login_page_in_place_of_the_first_server_leads_to_the_second() {
    for page in [vec![b'<'; 100_000], b"<html></html>".to_vec(), Vec::new()] {
        let (managed, second) = device(|managed| managed.server.url());
        managed.server.with(|server| server.disturb(Endpoint::Auth, 0, 1000, Fault::Body(page)));
        second_is_asked(&managed, &second);
    }
}

#[test]
fn a_first_server_whose_answer_breaks_off_leads_to_the_second() {
    for wire in [Wire::Close(0), Wire::Reset(20), Wire::Close(100)] {
        let (managed, second) = device(|managed| managed.server.url());
        managed.server.disturb(Endpoint::Auth, 0, 1000, wire);
        second_is_asked(&managed, &second);
    }
}

#[test]
fn a_server_that_asked_to_wait_is_left_alone_and_the_other_is_asked() {
    let (managed, second) = device(|managed| managed.server.url());
    managed.server.with(|server| server.disturb(Endpoint::Auth, 0, 1000, Fault::RetryAfter("1000".into())));
    second.with(|server| server.accepts_all = false);
    let daemon = managed.start();
    assert!(
        second.wait_until(LIMIT, |server, _| server.count(Endpoint::Auth) >= 3),
        "the second server is not asked again\n{}",
        managed.story()
    );
    second.with(|server| server.set_acceptance(Acceptance::Accepted));
    assert!(
        second.wait_until(LIMIT, |server, _| server.count(Endpoint::NextV1) >= 1),
        "the device is not let in\n{}",
        managed.story()
    );
    assert_eq!(managed.server.with(|server| server.count(Endpoint::Auth)), 1);
    daemon.stop();
}

#[test]
fn r23_another_server_than_the_one_that_made_the_offer_does_not_end_it_after_a_reboot_either() {
    let (managed, second) = device(|managed| managed.server.url());
    managed.lab.on("NeedsArtifactReboot", "echo Automatic");
    managed.deploy(&Package::new("release-2"));
    let mut daemon = managed.start();
    assert!(!managed.wait_while(&mut daemon, |_, _| false), "{}", managed.story());
    // Only the second one, which does not know the deployment, lets the device in.
    managed.server.with(|server| server.disturb(Endpoint::Auth, 0, 1000, Fault::Unreachable));
    let daemon = managed.start();
    // Before the commit, and how it ended.
    assert!(second.wait_until(LIMIT, |server, _| server.count(Endpoint::Status) >= 2), "{}", managed.story());
    managed.server.with(Server::calm);
    // At once, before the next poll.
    drop(daemon);
    assert_eq!(managed.finish(), "success", "{}", managed.story());
    assert_eq!(managed.lab.name(), "release-2");
}

#[test]
fn l16_more_servers_than_the_client_can_keep_apart_are_refused_where_one_would_be_asked() {
    let managed = Managed::with(Security::Plain);
    let list = |count: usize| {
        let servers: Vec<String> = (0..count)
            .map(|number| format!(r#"{{"ServerURL":"http://127.0.0.1:{}"}}"#, 10_000 + number))
            .collect();
        format!(r#"{{"Servers":[{}]}}"#, servers.join(","))
    };
    managed.lab.configure(&list(9));
    for verb in ["daemon", "bootstrap"] {
        managed.lab.run([verb]).failed("mender.conf: Servers has more than 8 servers");
    }
    managed.lab.run(["show-artifact"]).status(0);
}

#[test]
fn l16_a_server_url_too_long_for_requests_is_refused_where_the_server_would_be_asked() {
    let managed = Managed::with(Security::Plain);
    let url = |length: usize| format!("http://127.0.0.1:1/{}", "a".repeat(length - 19));
    managed.lab.configure(&format!(r#"{{"ServerURL":"{}"}}"#, url(1025)));
    for verb in ["daemon", "bootstrap"] {
        managed.lab.run([verb]).failed("ServerURL cannot be used: it is longer than 1024 bytes");
    }
}
