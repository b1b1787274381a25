use std::cell::RefCell;
use std::os::unix::fs::chown;
use std::rc::Rc;

use std::fs;

use thimble_core::hal::{Error as _, Identity, Inventory};

use super::*;
use crate::testing::{self, TestLog, Waits, executable, is_alive, now, run, script};

impl Waits for DeviceIdentity {
    fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        DeviceIdentity::wants(self, set);
    }

    fn deadline(&self) -> Option<Instant> {
        Identity::deadline(self)
    }
}

impl Waits for DeviceInventory {
    fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        DeviceInventory::wants(self, set);
    }

    fn deadline(&self) -> Option<Instant> {
        Inventory::deadline(self)
    }
}

struct Lab {
    dir: tempfile::TempDir,
    lines: Rc<RefCell<TestLog>>,
    identity: DeviceIdentity,
    inventory: DeviceInventory,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("identity")).unwrap();
        fs::create_dir(dir.path().join("inventory")).unwrap();
        let (lines, log) = testing::log();
        Self {
            identity: DeviceIdentity::new(dir.path(), log.clone()),
            inventory: DeviceInventory::new(dir.path(), log),
            dir,
            lines,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn identity_script(&self, body: &str) {
        script(&self.path("identity/mender-device-identity"), body);
    }

    fn inventory_script(&self, name: &str, body: &str) {
        script(&self.path("inventory").join(name), body);
    }

    fn identity(&mut self, start: Instant) -> Result<String, AgentError> {
        self.identity.start(start)?;
        let mut out = [0; 8192];
        let length = run(&mut self.identity, |identity, now| identity.poll(now, &mut out))?;
        Ok(String::from_utf8(out[..length].to_vec()).unwrap())
    }

    fn inventory(&mut self, start: Instant) -> Vec<String> {
        self.inventory.start(start).unwrap();
        run(&mut self.inventory, |inventory, now| inventory.poll(now));
        let outputs = (0..).map_while(|index| self.inventory.output(index));
        outputs.map(|(_, output)| String::from_utf8(output.to_vec()).unwrap()).collect()
    }

    fn log(&self) -> String {
        self.lines.borrow().0.join("\n")
    }
}

#[test]
fn the_identity_is_what_the_script_prints() {
    let mut lab = Lab::new();
    lab.identity_script("echo mac=00:01; echo of the script >&2; printf sn=7");
    assert_eq!(lab.identity(now()).unwrap(), "mac=00:01\nsn=7");
    assert!(lab.log().contains("info: mender-device-identity: of the script"), "{}", lab.log());
}

#[test]
fn an_identity_script_that_fails_is_no_identity() {
    let mut lab = Lab::new();
    assert_eq!(lab.identity(now()).unwrap_err().kind(), Kind::NotFound);
    lab.identity_script("echo mac=1; exit 3");
    let text = lab.identity(now()).unwrap_err().to_string();
    assert_eq!(text, "mender-device-identity ended with exit status 3");
    executable(&lab.path("identity/mender-device-identity"), 0o777, "#!/bin/sh\necho mac=1\n");
    assert_eq!(lab.identity(now()).unwrap_err().kind(), Kind::Refused);
}

#[test]
fn what_cannot_be_read_is_neither_identity_nor_inventory() {
    let mut lab = Lab::new();
    lab.identity_script("echo mac=1");
    lab.identity.start(now()).unwrap();
    lab.identity.program.running.as_mut().unwrap().process.break_output();
    let mut out = [0; 64];
    let ended = run(&mut lab.identity, |identity, now| identity.poll(now, &mut out));
    assert!(matches!(ended, Err(AgentError::Output(..))), "{ended:?}");
    let go = lab.path("go");
    lab.inventory_script(
        "mender-inventory-a",
        &format!("while [ ! -e {} ]; do sleep 0.01; done", go.display()),
    );
    lab.inventory.start(now()).unwrap();
    assert!(lab.inventory.poll(now()).is_pending());
    lab.inventory.program.running.as_mut().unwrap().process.break_output();
    fs::write(go, "").unwrap();
    run(&mut lab.inventory, |inventory, now| inventory.poll(now));
    assert_eq!(lab.inventory.output(0), None);
    assert!(lab.log().contains("what mender-inventory-a printed cannot be read"), "{}", lab.log());
}

#[test]
fn an_identity_of_more_than_4_kib_is_refused() {
    let mut lab = Lab::new();
    lab.identity_script("printf k=; head -c 4094 /dev/zero | tr '\\0' x");
    assert_eq!(lab.identity(now()).unwrap().len(), 4096);
    lab.identity_script("printf k=; head -c 4095 /dev/zero | tr '\\0' x");
    assert_eq!(lab.identity(now()).unwrap_err().kind(), Kind::TooLarge);
}

#[test]
fn l13_a_script_that_hangs_is_ended_with_its_group() {
    let mut lab = Lab::new();
    let pids = lab.path("pids");
    // A start long ago: its ten seconds are over, however fast this machine is.
    lab.identity_script(&format!("sleep 1000 & echo $! $$ > {}; wait", pids.display()));
    lab.identity.start(now()).unwrap();
    while fs::read_to_string(&pids).map_or(true, |text| !text.ends_with('\n')) {
        std::thread::yield_now();
    }
    lab.identity.program.running.as_mut().unwrap().until = Instant::ZERO;
    let mut out = [0; 64];
    let result = run(&mut lab.identity, |identity, now| identity.poll(now, &mut out));
    assert_eq!(result.unwrap_err().to_string(), "mender-device-identity took longer than 10 s");
    for pid in fs::read_to_string(&pids).unwrap().split_whitespace() {
        assert!(!is_alive(pid), "{pid}");
    }
}

#[test]
fn l13_a_hanging_inventory_script_does_not_keep_the_others_away() {
    let mut lab = Lab::new();
    lab.inventory_script("mender-inventory-a", "sleep 1000");
    lab.inventory_script("mender-inventory-b", "echo b=1");
    lab.inventory.start(now()).unwrap();
    assert!(lab.inventory.poll(now()).is_pending());
    assert!(Inventory::deadline(&lab.inventory).is_some_and(|at| at <= now() + TIME));
    lab.inventory.program.running.as_mut().unwrap().until = Instant::ZERO;
    run(&mut lab.inventory, |inventory, now| inventory.poll(now));
    assert_eq!(lab.inventory.output(0), Some(("mender-inventory-b", &b"b=1\n"[..])));
    assert_eq!(lab.inventory.output(1), None);
    assert!(lab.log().contains("mender-inventory-a took longer than 10 s"), "{}", lab.log());
}

#[test]
fn l18_inventory_scripts_run_by_name_and_only_they() {
    let mut lab = Lab::new();
    for name in
        ["mender-inventory-b", "mender-inventory-B", "mender-inventory-a", "inventory", "x-mender-inventory-"]
    {
        lab.inventory_script(name, &format!("echo {name}"));
    }
    fs::create_dir(lab.path("inventory/mender-inventory-dir")).unwrap();
    executable(&lab.path("inventory/mender-inventory-off"), 0o644, "#!/bin/sh\necho off\n");
    assert_eq!(
        lab.inventory(now()),
        ["mender-inventory-B\n", "mender-inventory-a\n", "mender-inventory-b\n"]
    );
    assert_eq!(lab.log(), "");
}

#[test]
fn failed_inventory_scripts_are_logged_and_left_out() {
    let mut lab = Lab::new();
    lab.inventory_script("mender-inventory-1", "echo bad=1; exit 1");
    lab.inventory_script("mender-inventory-2", "head -c 40000 /dev/zero | tr '\\0' x");
    lab.inventory_script("mender-inventory-3", "echo foreign=1");
    chown(lab.path("inventory/mender-inventory-3"), Some(1234), None).unwrap();
    lab.inventory_script("mender-inventory-4", "echo good=1");
    assert_eq!(lab.inventory(now()), ["good=1\n"]);
    for part in ["mender-inventory-1 ended with exit status 1", "printed more than 32768", "user 1234"] {
        assert!(lab.log().contains(part), "{part} not in {}", lab.log());
    }
}

#[test]
fn the_whole_inventory_has_a_limit() {
    let mut lab = Lab::new();
    for number in 0..9 {
        lab.inventory_script(&format!("mender-inventory-{number}"), "head -c 32000 /dev/zero | tr '\\0' x");
    }
    assert_eq!(lab.inventory(now()).len(), 8);
    assert!(lab.log().contains("more than 262144 bytes"), "{}", lab.log());
}

#[test]
fn no_inventory_is_no_error() {
    let mut lab = Lab::new();
    assert_eq!(lab.inventory(now()), [""; 0]);
    fs::remove_dir(lab.path("inventory")).unwrap();
    assert_eq!(lab.inventory(now()), [""; 0]);
    assert_eq!(lab.log(), "");
}

#[test]
fn cancel_ends_what_runs() {
    let mut lab = Lab::new();
    let pid = lab.path("pid");
    lab.identity_script(&format!("echo $$ > {}; exec sleep 1000", pid.display()));
    lab.identity.start(now()).unwrap();
    while fs::read_to_string(&pid).map_or(true, |text| !text.ends_with('\n')) {
        std::thread::yield_now();
    }
    lab.identity.cancel();
    assert!(!is_alive(&fs::read_to_string(&pid).unwrap()));
    assert!(matches!(lab.identity.poll(now(), &mut []), Poll::Ready(Err(AgentError::NothingRuns))));
}

#[test]
fn there_is_always_a_body_for_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut logs = DeploymentLogs::new(dir.path().into());
    let length = logs.open("d-1").unwrap();
    let body = logs.read(0).unwrap();
    assert_eq!(body.len(), length);
    assert!(body.starts_with(b"{\"messages\":[{") && body.ends_with(b"}]}"));
}
