//! The client's flight record: what it tells of updates that fail, lose power or go well; that it can be read at any moment;
//! and what it costs. That it is never written alone, and never tells what did not happen, over all losses of power:
//! `power_loss.rs`. `THIMBLE_GOLDEN=1` writes the timelines anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use thimble_core::deployment::Call;
use thimble_core::flight::{MAX_LEN, Record};
use thimble_core::hal::{Key, Storage as _};
use thimble_core::texts;
use thimble_hal_linux::storage::{Access, DataDirectory, RECORD_MAX, Store};
use thimble_hal_sim::runner::{self, Then};
use thimble_hal_sim::sim::{Effect, Fate, Handle, Plan, Smooth};
use thimble_hal_sim::world::Profile;
use thimble_hal_sim::{flight, sample};
use thimble_tests::lab::{Lab, Package};

/// The records of a lab.
fn records(lab: &Lab) -> BTreeMap<Key, Vec<u8>> {
    let directory = DataDirectory::open(&lab.path("store")).expect("a datastore");
    let (mut store, _) = Store::open(directory, Access::ReadOnly).expect("the store");
    let mut buf = vec![0; RECORD_MAX];
    let mut read = |key| Some((key, store.read(key, &mut buf).expect("a record")?.to_vec()));
    Key::ALL.into_iter().filter_map(&mut read).collect()
}

/// The update of a lab with all scripts, of which one fails.
fn failing() -> (Lab, Package) {
    let lab = Lab::new();
    let package = lab.with_all_scripts(Package::new("new"));
    lab.on("ArtifactInstall_Enter_01_b", "exit 3");
    (lab, package)
}

#[test]
fn it_tells_of_a_failing_script_and_of_what_followed() {
    let (lab, package) = failing();
    lab.install(&package).status(1);
    let ran = lab.run(["show-flight-record"]);
    ran.status(0);
    let wanted = [
        "-- the verb install starts (version ",
        "ArtifactInstall_Enter_00: ok",
        "! 0:00:00  ArtifactInstall_Enter_01: exit status 3",
        "the reason of the failure: state script ArtifactInstall_Enter_01_b ended with exit status 3",
        "ArtifactInstall_Error_00: ok",
        "ArtifactRollback: ok",
        "ArtifactFailure: ok",
    ];
    let mut rest = ran.stdout.as_str();
    for line in wanted {
        let at = rest
            .find(line)
            .unwrap_or_else(|| panic!("{line} is missing, or not in its place:\n{}", ran.stdout));
        rest = &rest[at + line.len()..];
    }
    assert!(!ran.stdout.contains("ArtifactInstall: "), "the module was not called:\n{}", ran.stdout);
    // And to programs the same.
    let json = lab.run(["show-flight-record", "--json"]);
    json.status(0);
    let script = "\"kind\":\"script\",\"fault\":true,\"text\":\"ArtifactInstall_Enter_01: exit status 3\"";
    assert!(json.stdout.contains(script), "{}", json.stdout);
    // The bytes themselves.
    let raw = lab.run(["show-flight-record", "--raw"]);
    let digits: String = raw.stdout.lines().skip(1).collect();
    let bytes: String = records(&lab)[&Key::Flight].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digits, bytes);
}

#[test]
fn a_device_without_one_says_so() {
    Lab::new().run(["show-flight-record"]).failed("no flight record yet");
}

/// The client is killed at each line of the journal, and goes on.
#[test]
fn whenever_the_client_is_killed_the_record_tells_what_happened_and_no_more() {
    let (lab, package) = failing();
    lab.install(&package).status(1);
    let lines = lab.journal().len();
    assert!(lines > 10, "{lines}");
    for line in 1..=lines {
        let (lab, package) = failing();
        lab.cut_at(line);
        lab.install(&package).status(128 + 9);
        flight::check(&records(&lab)).unwrap_or_else(|wrong| panic!("cut at {line}: {wrong}"));
        let is_open = records(&lab).contains_key(&Key::Checkpoint);
        let _ = lab.run(["resume"]);
        let records = records(&lab);
        flight::check(&records).unwrap_or_else(|wrong| panic!("cut at {line}, resumed: {wrong}"));
        if is_open {
            let text = lab.run(["show-flight-record"]).stdout;
            assert!(
                text.contains("the verb resume starts") && text.contains("finds an update in progress"),
                "{text}"
            );
        }
    }
}

#[test]
fn a_damaged_record_is_said_once_and_begins_anew() {
    let (lab, package) = failing();
    lab.install(&package).status(1);
    let good = records(&lab)[&Key::Flight].clone();
    let damaged = &good[..good.len() - 1];
    for stored in [damaged, &[], &[9; 5000]] {
        let directory = DataDirectory::open(&lab.path("store")).expect("a datastore");
        let (mut store, _) = Store::open(directory, Access::ReadWrite).expect("the store");
        store.commit(&[thimble_core::hal::Change::Put(Key::Flight, stored)]).expect("a write");
        drop(store);
        lab.run(["show-flight-record"]).failed("the flight record is damaged, or of another version");
        let ran = lab.install(&package);
        let said =
            ran.stderr.matches("the flight record is damaged, or of another version: it begins anew").count();
        assert_eq!(said, 1, "{}", ran.stderr);
        let text = lab.run(["show-flight-record"]).stdout;
        assert_eq!(text.matches("starts").count(), 1, "{text}");
    }
}

/// One call of the module fails, or power is lost in it.
struct In(Call, Fate);

impl Plan for In {
    fn fate(&mut self, effect: &Effect) -> Fate {
        if *effect == Effect::Module(self.0) && self.1 != Fate::Works {
            return std::mem::replace(&mut self.1, Fate::Works);
        }
        Fate::Works
    }
}

/// What the daemon has on record of a deployment, and how it came there: so many batches of so many bytes.
fn recorded(profile: Profile, plan: Box<dyn Plan>) -> String {
    let artifact = sample::fitting(true);
    let bench = Handle::new(runner::durable(profile, &artifact), artifact, plan);
    runner::daemon(&bench, &mut |_, _| Then::GoOn);
    let bench = bench.0.borrow();
    let bytes = &bench.durable.records[&Key::Flight];
    let record = Record::decode(bytes).expect("a record");
    let mut lines = String::new();
    for entry in record.entries() {
        let mut text = String::new();
        texts::decode(&entry.event.expect("known").to_string(), &mut text).expect("a text takes everything");
        writeln!(lines, "{:>4} {text}", format!("+{}", entry.after)).expect("likewise");
    }
    let events = record.entries().count();
    assert!(bytes.len() < MAX_LEN && record.dropped() == 0, "room for more: {} bytes", bytes.len());
    format!("{lines}{events} events, {} bytes\n", bytes.len())
}

#[test]
fn timelines_of_deployments() {
    let mut found = String::new();
    let plans: [(&str, Profile, Box<dyn Plan>); 3] = [
        ("two slots, nothing goes wrong", Profile::SLOTS, Box::new(Smooth)),
        (
            "two slots, ArtifactVerifyReboot fails",
            Profile::SLOTS,
            Box::new(In(Call::ArtifactVerifyReboot, Fate::Fails)),
        ),
        (
            "one place, power is lost in ArtifactInstall",
            Profile::FILES,
            Box::new(In(Call::ArtifactInstall, Fate::LostInside)),
        ),
    ];
    for (title, profile, plan) in plans {
        let _ = writeln!(found, "# {title}\n{}", recorded(profile, plan));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/flight_record.txt");
    if std::env::var_os("THIMBLE_GOLDEN").is_some() {
        fs::write(&path, &found).expect("the golden file");
    }
    assert_eq!(found, fs::read_to_string(&path).unwrap_or_default());
}
