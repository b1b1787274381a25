//! What a newer version of the client left on the device (R-49): this version starts all the same, says that it runs
//! without updates, and changes nothing, so that the newer version finds everything as it left it.

use std::fs;
use std::time::Instant;

use thimble_core::hal::{Change, Key, Storage};
use thimble_hal_linux::storage::{Access, DataDirectory, Store};
use thimble_hal_sim::listen::Security;
use thimble_hal_sim::server::Endpoint;
use thimble_tests::bus::{Bus, CLIENT, Policy, UPDATE};
use thimble_tests::lab::{Lab, Package};
use thimble_tests::managed::{Daemon, LIMIT, Managed};

const STORE: &str = "store/mender-store-thimble";

/// The datastore of a device whose newer version has installed `release-2` and is about to commit it.
fn records(lab: &Lab) {
    let mut record = vec![2, 0, 99, 7, 7, 7];
    record.extend(crc32(&record).to_le_bytes());
    let directory = DataDirectory::open(&lab.path("store")).expect("the datastore");
    let (mut store, _) = Store::open(directory, Access::ReadWrite).expect("the store");
    let batch = [
        Change::Put(Key::Checkpoint, &record),
        Change::Put(Key::Provides, br#"{"artifact_name":"release-1"}"#),
        Change::Put(Key::ControlMaps, br#"{"active":[{"id":"of a new kind"}],"expired":null}"#),
        Change::Put(Key::Reason, b"some reason"),
    ];
    store.commit(&batch).expect("the records can be written");
}

/// The record of the update has a newer format.
fn newer_record(lab: &Lab) {
    records(lab);
}

/// The file of all records has one.
fn newer_file(lab: &Lab) {
    records(lab);
    let mut bytes = stored(lab);
    bytes[8] = 2;
    let crc = crc32(&bytes[..20]);
    bytes[20..24].copy_from_slice(&crc.to_le_bytes());
    fs::write(lab.path(STORE), bytes).expect("the store can be written");
}

fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    }) ^ !0
}

fn stored(lab: &Lab) -> Vec<u8> {
    fs::read(lab.path(STORE)).expect("the store can be read")
}

fn log(managed: &Managed) -> String {
    fs::read_to_string(managed.lab.path("daemon.log")).unwrap_or_default()
}

#[track_caller]
fn logged(managed: &Managed, text: &str) {
    let end = Instant::now() + LIMIT;
    while !log(managed).contains(text) {
        assert!(Instant::now() < end, "\"{text}\" is not logged\n{}", managed.story());
        std::thread::yield_now();
    }
}

/// A server with a deployment for the device, whose name it would take for the end of that.
fn device() -> Managed {
    let managed = Managed::with(Security::Plain);
    managed.deploy(&Package::new("release-2"));
    managed.lab.write("store/bootstrap.mender", "not to be looked at now");
    managed
}

/// The daemon after its first inventory.
fn started(managed: &Managed) -> Daemon {
    let mut daemon = managed.start();
    managed.wait(&mut daemon, |server, _| server.count(Endpoint::Inventory) >= 1);
    daemon
}

fn the_daemon_runs_without_updates(leave: fn(&Lab), why: &str) {
    let managed = device();
    leave(&managed.lab);
    let before = stored(&managed.lab);
    let daemon = started(&managed);

    // Nothing makes it ask for a deployment, and it says so.
    managed.lab.run(["check-update"]).status(0);
    logged(&managed, "not asked for a deployment");
    let status = managed.lab.run(["status"]).status(0).stdout.clone();
    assert!(status.contains("running without updates") && status.contains("No updates:"), "{status}");
    assert!(status.contains(why) && status.contains("start the image with"), "{status}");
    assert!(!status.contains("Next poll"), "{status}");
    let json = managed.lab.run(["status", "--json"]).status(0).stdout.clone();
    assert!(json.contains(r#""no_updates_because":"#) && json.contains(why), "{json}");
    assert!(json.contains(r#""next_poll_seconds":null"#), "{json}");

    // Who holds updates back would be forgotten by the newer version, which has maps of its own.
    managed.lab.run(["control", "pause"]).failed(why);
    managed.lab.run(["control", "show"]).status(0);

    // It still speaks to the server.
    managed.lab.program("data/inventory/mender-inventory-new", "#!/bin/sh\necho new=1\n");
    managed.lab.run(["send-inventory"]).status(0);
    let mut daemon = daemon;
    managed.wait(&mut daemon, |server, _| {
        server.devices.values().any(|device| device.inventory.contains_key("new"))
    });
    daemon.stop();
    let log = log(&managed);
    assert_eq!(log.matches("no updates: ").count(), 1, "{log}");
    assert!(managed.statuses().is_empty(), "{}", managed.story());
    let polls = managed.server.with(|server| server.count(Endpoint::NextV1) + server.count(Endpoint::NextV2));
    assert_eq!(polls, 0, "{}", managed.story());
    managed.no_violations();

    // The command line neither.
    let package = Package::new("release-3").build(&managed.lab);
    managed.lab.run(["install".as_ref(), package.as_os_str()]).failed(why);
    for verb in ["commit", "rollback", "resume"] {
        managed.lab.run([verb]).failed(why);
    }
    assert_eq!(managed.lab.journal(), [""; 0]);
    assert!(managed.lab.path("store/bootstrap.mender").exists(), "it may belong to the newer version");
    assert_eq!(stored(&managed.lab), before, "the newer version finds everything as it left it");
}

#[test]
fn r49_the_daemon_runs_without_updates_beside_a_newer_record_of_an_update() {
    the_daemon_runs_without_updates(newer_record, "its record has format 2, this version reads up to 1");
}

#[test]
fn r49_the_daemon_runs_without_updates_beside_a_newer_store() {
    the_daemon_runs_without_updates(newer_file, "written by a newer version of the client");
}

#[test]
fn r49_what_is_installed_is_shown_beside_a_newer_record_of_an_update() {
    let lab = Lab::new();
    newer_record(&lab);
    let before = stored(&lab);
    assert_eq!(lab.name(), "release-1");
    assert_eq!(lab.run(["show-provides"]).status(0).stdout, "artifact_name=release-1\n");
    newer_file(&lab);
    // Nobody can say what is in there, so nothing is said of it.
    lab.run(["show-artifact"]).failed("was written by a newer client");
    lab.run(["show-provides"]).failed("was written by a newer client");
    assert_ne!(stored(&lab), before);
}

#[test]
fn r49_the_inventory_beside_a_newer_store_says_nothing_of_what_is_installed() {
    for (leave, name) in [(newer_record as fn(&Lab), Some("release-1")), (newer_file, None)] {
        let managed = device();
        leave(&managed.lab);
        started(&managed).stop();
        managed.server.with(|server| {
            let inventory = &server.devices.values().next().expect("the device").inventory;
            let text = format!("{inventory:?}");
            assert!(inventory.contains_key("mender_client_version"), "{text}");
            assert_eq!(inventory.contains_key("artifact_name"), name.is_some(), "{text}");
            assert!(text.contains(name.unwrap_or_default()), "{text}");
        });
    }
}

#[test]
fn r49_programs_on_the_bus_hear_that_there_are_no_updates() {
    let managed = device();
    newer_record(&managed.lab);
    let Some(bus) = Bus::start(&managed.lab, Policy::Shipped) else { return };
    let Some(mut program) = bus.client(0) else { return };
    let daemon = started(&managed);
    let place = (CLIENT.0, CLIENT.1, "org.freedesktop.DBus.Properties");
    let why = program.call(place, "Get", &[CLIENT.2, "NoUpdatesBecause"]).unwrap();
    assert!(why.contains("begun by a newer version"), "{why}");
    assert_eq!(program.call(place, "Get", &[CLIENT.2, "NextPollSeconds"]).unwrap(), "(<int64 -1>,)");
    let map = r#"{"id":"01234567-89ab-cdef-0123-456789abcdef","states":{"ArtifactCommit_Enter":{"action":"pause"}}}"#;
    let refused = program.call(UPDATE, "SetUpdateControlMap", &[map]).unwrap_err();
    assert!(format!("{refused:?}").contains("begun by a newer version"), "{refused:?}");
    daemon.stop();
}

/// Not a record of the update: it may hold back the next one (R-18), but not the daemon.
#[test]
fn r49_control_maps_of_a_newer_kind_do_not_stop_the_daemon() {
    let managed = Managed::with(Security::Plain);
    records(&managed.lab);
    let directory = DataDirectory::open(&managed.lab.path("store")).expect("the datastore");
    let (mut store, _) = Store::open(directory, Access::ReadWrite).expect("the store");
    store.commit(&[Change::Delete(Key::Checkpoint)]).expect("the record goes");
    let mut daemon = managed.start();
    managed.wait(&mut daemon, |server, _| server.count(Endpoint::NextV1) >= 1);
    daemon.stop();
    managed.no_violations();
}
