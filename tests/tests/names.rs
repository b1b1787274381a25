//! The longest name an artifact may have, with what the client appends to it: everyone who reads it gets all of it.

use std::fs;

use thimble_core::hal::Key;
use thimble_core::limits;
use thimble_core::machine::{Run, StopSet};
use thimble_hal_sim::artifact_writer::ArtifactWriter;
use thimble_hal_sim::runner::{self, End, Then};
use thimble_hal_sim::sample;
use thimble_hal_sim::sim::{Handle, Smooth};
use thimble_hal_sim::world::{Profile, SUFFIX, provides};
use thimble_tests::lab::{DEVICE_TYPE, Lab, MODULE, Package};

/// A name as long as the server takes it.
fn longest() -> String {
    format!("{}ü", "n".repeat(limits::NAME - 2))
}

#[test]
fn the_server_hears_the_longest_inconsistent_name() {
    let name = longest() + SUFFIX;
    for v2 in [false, true] {
        let artifact = sample::fitting(true);
        let mut durable = runner::durable(Profile::FILES, &artifact);
        durable.server.v2 = v2;
        durable.records.insert(Key::Provides, provides(&name));
        let bench = Handle::new(durable, artifact, Box::new(Smooth));
        let end = runner::process(&bench, Run::Daemon, StopSet::default(), &mut |_, _| Then::GoOn);
        assert!(matches!(end, End::Idle), "{end:?}");
        let bench = bench.0.borrow();
        let (_, asked_with) = bench.durable.server.deployments[runner::DEPLOYMENT].taken.clone().unwrap();
        assert_eq!(asked_with.0, name, "v2: {v2}");
    }
}

#[test]
fn modules_and_people_see_the_longest_inconsistent_name() {
    let name = longest();
    let lab = Lab::new();
    let long = ArtifactWriter::new(&name, MODULE, &[DEVICE_TYPE]).file("payload", b"payload").build();
    fs::write(lab.path("long.mender"), long).unwrap();
    lab.on("SupportsRollback", "echo No");
    lab.on("ArtifactInstall", "exit 1");
    lab.run(["install", "long.mender"]).status(1);
    let inconsistent = name + SUFFIX;
    assert_eq!(lab.name(), inconsistent);
    let seen = lab.path("seen");
    lab.on("ArtifactInstall", &format!("cp current_artifact_name {}", seen.display()));
    lab.install(&Package::new("next")).status(0);
    assert_eq!(fs::read_to_string(seen).unwrap(), format!("{inconsistent}\n"));
}
