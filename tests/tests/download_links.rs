//! A link to an artifact expires while a download waits for its connection: the daemon asks for a fresh one and goes
//! on, as long as it is the same deployment and each link brings something. And a server that gives no parts. On the
//! simulated platform, whose minutes take no time.

use thimble_hal_sim::check::Trouble;
use thimble_hal_sim::runner::{self, End};
use thimble_hal_sim::sample;
use thimble_hal_sim::server::{Endpoint, Fault, Server};
use thimble_hal_sim::sim::{Effect, Fate, Handle, Plan, Smooth};
use thimble_hal_sim::world::Profile;

/// The artifact has 10 KiB; its payload begins behind the first half.
const HALF: usize = 5000;

/// Runs a deployment whose server is disturbed like this: the status, and the lines of the log.
fn run(disturb: impl FnOnce(&mut Server)) -> (String, String, Server) {
    let artifact = sample::fitting(true);
    let bench = Handle::new(runner::durable(Profile::FILES, &artifact), artifact, Box::new(Smooth));
    disturb(&mut bench.0.borrow_mut().durable.server);
    let end = runner::daemon(&bench, &mut |_, _| runner::Then::GoOn);
    assert!(matches!(end, End::Idle), "{end:?}");
    runner::check(&bench.0.borrow().durable, Trouble::default()).unwrap();
    let bench = bench.0.borrow();
    let server = bench.durable.server.clone();
    let log = bench.log.iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>().join("\n");
    (server.deployments[runner::DEPLOYMENT].status().to_owned(), log, server)
}

#[test]
fn an_expired_link_is_replaced() {
    let (status, log, server) = run(|server| {
        server.disturb(Endpoint::Artifact, 0, 1, Fault::Cut(HALF));
        server.disturb(Endpoint::Artifact, 0, 1, Fault::Status(403));
    });
    assert_eq!(status, "success", "{log}");
    assert_eq!(server.count(Endpoint::Artifact), 3, "{log}");
    assert!(log.contains("going on with the download at byte 5000"), "{log}");
}

#[test]
fn one_that_expires_again_is_replaced_again_when_it_brought_something() {
    let (status, log, server) = run(|server| {
        for bytes in [HALF, 100, 100] {
            server.disturb(Endpoint::Artifact, 0, 1, Fault::Cut(bytes));
            server.disturb(Endpoint::Artifact, 0, 1, Fault::Status(403));
        }
    });
    assert_eq!(status, "success", "{log}");
    assert_eq!(server.count(Endpoint::Artifact), 7, "{log}");
}

#[test]
fn a_fresh_link_that_brings_nothing_ends_the_download() {
    let (status, log, server) = run(|server| {
        server.disturb(Endpoint::Artifact, 0, 1, Fault::Cut(HALF));
        server.disturb(Endpoint::Artifact, 0, 100, Fault::Status(403));
    });
    assert_eq!(status, "failure", "{log}");
    assert_eq!(server.count(Endpoint::Artifact), 3, "{log}");
}

#[test]
fn links_use_up_the_attempts() {
    let (status, log, server) = run(|server| {
        for _ in 0..100 {
            server.disturb(Endpoint::Artifact, 0, 1, Fault::Cut(10));
            server.disturb(Endpoint::Artifact, 0, 1, Fault::Status(403));
        }
    });
    assert_eq!(status, "failure", "{log}");
    // Each break and each link is one of ten.
    assert_eq!(server.count(Endpoint::Artifact), 11, "{log}");
}

#[test]
fn a_server_that_cannot_be_asked_just_now_is_asked_again() {
    for fault in
        [Fault::Status(500), Fault::Unreachable, Fault::RetryAfter("5".into()), Fault::Body(b"{".to_vec())]
    {
        let (status, log, _) = run(|server| {
            server.disturb(Endpoint::Artifact, 0, 1, Fault::Cut(HALF));
            server.disturb(Endpoint::Artifact, 0, 1, Fault::Status(403));
            // Not the poll that brings the deployment.
            server.disturb(Endpoint::NextV1, 1, 1, fault.clone());
        });
        assert_eq!(status, "success", "{fault:?}: {log}");
    }
}

#[test]
fn another_deployment_or_none_ends_the_download() {
    let other = r#"{"id":"d-2","artifact":{"artifact_name":"new","device_types_compatible":["board"],"source":{"uri":"https://server/x"}}}"#;
    for fault in [Fault::Body(other.into()), Fault::Status(204)] {
        let (status, log, server) = run(|server| {
            server.disturb(Endpoint::Artifact, 0, 1, Fault::Cut(HALF));
            server.disturb(Endpoint::Artifact, 0, 1, Fault::Status(403));
            server.disturb(Endpoint::NextV1, 1, 1, fault.clone());
        });
        assert_eq!(status, "failure", "{fault:?}: {log}");
        assert_eq!(server.count(Endpoint::Artifact), 2, "{log}");
        assert!(log.contains("not offered any more"), "{log}");
    }
}

#[test]
fn r22_a_first_answer_that_asks_for_patience_gets_it_and_every_other_is_final() {
    for (fault, wanted, asked) in [
        (Fault::Status(403), "failure", 1),
        (Fault::Status(404), "failure", 1),
        (Fault::Status(501), "failure", 1),
        (Fault::Status(503), "success", 2),
        (Fault::Status(408), "success", 2),
        (Fault::RetryAfter("300".into()), "success", 2),
    ] {
        let (status, log, server) = run(|server| server.disturb(Endpoint::Artifact, 0, 1, fault.clone()));
        assert_eq!(status, wanted, "{fault:?}: {log}");
        assert_eq!(server.count(Endpoint::Artifact), asked, "{fault:?}: {log}");
        if wanted == "success" {
            assert!(log.contains("to the request for the artifact; next attempt in"), "{log}");
        }
    }
    let (status, log, server) = run(|server| server.disturb(Endpoint::Artifact, 0, 100, Fault::Status(503)));
    assert_eq!((&*status, server.count(Endpoint::Artifact)), ("failure", 11), "{log}");
    assert!(log.contains("answered 503") && log.contains("no attempts are left"), "{log}");
}

#[test]
fn r34_an_http_link_of_an_https_server_is_used_where_artifacts_are_verified() {
    for (link, wanted, reason) in [
        ("https://server", "success", ""),
        (
            "http://server",
            "failure",
            "it is http://, the server https://: configure a verify key or use https",
        ),
    ] {
        let (status, log, server) = run(|server| server.links = link.to_owned());
        assert_eq!(status, wanted, "{log}");
        assert!(log.contains(reason), "{log}");
        assert_eq!(server.count(Endpoint::Artifact), u32::from(wanted == "success"), "{log}");
    }
}

/// What ends without a length may be all of it or not: the artifact itself says so.
#[test]
fn r35_an_artifact_without_a_length_that_ends_too_early_goes_on() {
    let (status, log, server) =
        run(|server| server.disturb(Endpoint::Artifact, 0, 1, Fault::Ends(usize::MAX)));
    assert_eq!((&*status, server.count(Endpoint::Artifact)), ("success", 1), "{log}");
    for bytes in [0, 1, HALF, 9000] {
        let (status, log, server) =
            run(|server| server.disturb(Endpoint::Artifact, 0, 1, Fault::Ends(bytes)));
        assert_eq!((&*status, server.count(Endpoint::Artifact)), ("success", 2), "{bytes}: {log}");
        let why = if bytes == 0 { "it is an empty file and no Mender artifact" } else { "it ends too early" };
        let said = format!("the download broke off at byte {bytes}: {why}; next attempt in 60 s");
        assert!(log.contains(&said), "{log}");
    }
    // Again and again: as any broken connection.
    let (status, log, server) = run(|server| server.disturb(Endpoint::Artifact, 0, 99, Fault::Ends(10)));
    assert_eq!((&*status, server.count(Endpoint::Artifact)), ("failure", 11), "{log}");
    assert!(log.contains("it ends too early; no attempts are left"), "{log}");
    // A server that gives no parts cannot mend it.
    let (status, log, server) = run(|server| {
        server.ranges = false;
        server.disturb(Endpoint::Artifact, 0, 1, Fault::Ends(HALF));
    });
    assert_eq!((&*status, server.count(Endpoint::Artifact)), ("failure", 2), "{log}");
    assert!(log.contains("or the server cannot resume"), "{log}");
}

/// Power is lost once, when a part of the payload is stored.
struct LostAtTheFirstMark(bool);

impl Plan for LostAtTheFirstMark {
    fn fate(&mut self, effect: &Effect) -> Fate {
        if *effect == Effect::Mark && !std::mem::replace(&mut self.0, true) {
            return Fate::LostAfter;
        }
        Fate::Works
    }
}

#[test]
fn what_was_stored_of_an_artifact_without_a_length_is_not_downloaded_twice() {
    let artifact = sample::fitting(true);
    let durable = runner::durable(Profile::FILES, &artifact);
    let bench = Handle::new(durable, artifact, Box::new(LostAtTheFirstMark(false)));
    {
        let mut bench = bench.0.borrow_mut();
        bench.config.resume_downloads = true;
        bench.durable.server.disturb(Endpoint::Artifact, 0, 99, Fault::Ends(usize::MAX));
    }
    let end = runner::daemon(&bench, &mut |_, _| runner::Then::GoOn);
    assert!(matches!(end, End::Idle), "{end:?}");
    let bench = bench.0.borrow();
    runner::check(&bench.durable, Trouble::default()).unwrap();
    let log = bench.log.iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>().join("\n");
    assert_eq!(bench.durable.server.deployments[runner::DEPLOYMENT].status(), "success", "{log}");
    assert!(log.contains("were stored before the restart"), "{log}");
    assert_eq!(bench.durable.server.count(Endpoint::Artifact), 3);
}

#[test]
fn a_server_that_gives_no_parts_may_give_all_behind_what_was_stored_but_not_behind_what_came() {
    for (breaks, wanted) in [(false, "success"), (true, "failure")] {
        let artifact = sample::fitting(true);
        let durable = runner::durable(Profile::FILES, &artifact);
        let all_but_one = artifact.len() - 1;
        let bench = Handle::new(durable, artifact, Box::new(LostAtTheFirstMark(false)));
        bench.0.borrow_mut().config.resume_downloads = true;
        {
            let server = &mut bench.0.borrow_mut().durable.server;
            server.ranges = false;
            if breaks {
                // The first was before the restart, and the second brings what is verified anew.
                server.disturb(Endpoint::Artifact, 2, 1, Fault::Cut(all_but_one));
            }
        }
        let end = runner::daemon(&bench, &mut |_, _| runner::Then::GoOn);
        assert!(matches!(end, End::Idle), "{end:?}");
        let durable = &bench.0.borrow().durable;
        runner::check(durable, Trouble::default()).unwrap();
        assert_eq!(durable.server.deployments[runner::DEPLOYMENT].status(), wanted);
        assert_eq!(durable.server.count(Endpoint::Artifact), if breaks { 4 } else { 3 });
    }
}
