use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use thimble_core::hal::{BootCall, BootStatus, Bootloader, Slot};

use super::grub::{GrubFile, GrubPair};
use super::*;
use crate::rootfs::slot::fake::Fake;

/// Time enough for everything that ends.
pub(crate) fn look() -> Look {
    Look::new(Duration::from_secs(60))
}

/// Variables in memory.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Stored>>);

#[derive(Default)]
struct Stored {
    vars: Vars,
    writes: u32,
    /// How many of its changes each coming store leaves out, from the first on. It is noticed.
    torn: VecDeque<usize>,
    /// A torn store is the last thing that works.
    dies: bool,
    broken: bool,
}

impl Memory {
    fn value(&self, name: &str) -> Option<String> {
        self.0.lock().unwrap().vars.get(name).map(str::to_owned)
    }
}

impl Environment for Memory {
    fn load(&mut self, _look: &mut Look) -> Result<Vars, BootError> {
        let memory = self.0.lock().unwrap();
        if memory.broken { Err(BootError::NoEnvironment) } else { Ok(memory.vars.clone()) }
    }

    fn store(&mut self, _look: &mut Look, changes: &[Change<'_>]) -> Result<(), BootError> {
        let mut memory = self.0.lock().unwrap();
        if memory.broken {
            return Err(BootError::NoEnvironment);
        }
        let torn = memory.torn.pop_front();
        memory.broken = torn.is_some() && memory.dies;
        if memory.vars.apply(&changes[torn.unwrap_or(0)..]).map_err(BootError::Vars)? {
            memory.writes += 1;
        }
        if torn.is_some() { Err(BootError::ReadBack) } else { Ok(()) }
    }

    fn check(&mut self, look: &mut Look, _changes: &[Change<'_>]) -> Result<Vars, BootError> {
        self.load(look)
    }

    fn uses_hex(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        "memory".into()
    }

    fn places(&self) -> Result<Vec<PathBuf>, BootError> {
        Ok(Vec::new())
    }
}

fn lab(vars: &[(&str, &str)]) -> Option<(Fake, Memory, LinuxBootloader)> {
    let fake = Fake::new()?;
    fake.mount("254:2");
    let memory = Memory::default();
    for (name, value) in vars {
        memory.0.lock().unwrap().vars.push(name.as_bytes(), value.as_bytes());
    }
    let parts = Parts { a: Some("/dev/vda2".into()), b: Some("/dev/vda12".into()) };
    let loader = LinuxBootloader::over(Box::new(memory.clone()), parts, fake.machine());
    Some((fake, memory, loader))
}

fn standing(loader: &mut LinuxBootloader) -> (Slot, Slot, bool) {
    let BootStatus { running, selected, trial } =
        loader.wait(BootCall::Status).unwrap_or_else(|error| panic!("{error}"));
    (running, selected, trial)
}

#[test]
fn a_selection_is_one_write_of_all_variables() {
    let Some((_fake, memory, mut loader)) = lab(&[("mender_boot_part", "2"), ("upgrade_available", "0")])
    else {
        return;
    };
    assert_eq!(standing(&mut loader), (Slot::A, Slot::A, false));
    loader.wait(BootCall::Trial(Slot::B)).unwrap();
    loader.wait(BootCall::Trial(Slot::B)).unwrap();
    assert_eq!(standing(&mut loader), (Slot::A, Slot::B, true));
    let now = ["mender_boot_part", "mender_boot_part_hex", "upgrade_available", "bootcount"]
        .map(|name| memory.value(name).unwrap());
    assert_eq!(now, ["12", "c", "1", "0"]);
    loader.wait(BootCall::Permanent(Slot::A)).unwrap();
    assert_eq!(standing(&mut loader), (Slot::A, Slot::A, false));
    assert_eq!(memory.0.lock().unwrap().writes, 2, "nothing is written when nothing changes");
    assert_eq!(loader.describe().unwrap(), "memory");
}

#[test]
fn a_store_that_is_found_wrong_is_undone_or_said_to_stay() {
    let vars = [("mender_boot_part", "2"), ("upgrade_available", "0"), ("bootcount", "0")];
    let Some((_fake, memory, mut loader)) = lab(&vars) else { return };
    memory.0.lock().unwrap().torn = [1].into();
    assert!(matches!(loader.wait(BootCall::Trial(Slot::B)), Err(BootError::ReadBack)));
    assert_eq!(memory.value("upgrade_available").as_deref(), Some("0"));
    assert_eq!(standing(&mut loader), (Slot::A, Slot::A, false));
    // In a trial the number of starts is what it was, too: else the boot loader would try once more.
    let trial = [("mender_boot_part", "12"), ("upgrade_available", "1"), ("bootcount", "1")];
    let Some((fake, memory, mut loader)) = lab(&trial) else { return };
    fake.mount("254:12");
    memory.0.lock().unwrap().torn = [1].into();
    assert!(loader.wait(BootCall::Permanent(Slot::A)).is_err());
    assert_eq!(trial.map(|(name, _)| memory.value(name).unwrap()), trial.map(|(_, value)| value.to_owned()));

    // What cannot be undone is said.
    for (dies, end) in
        [(false, "slot A starts next, on trial"), (true, "and the slot that starts next is not known")]
    {
        let Some((_fake, memory, mut loader)) = lab(&vars) else { return };
        memory.0.lock().unwrap().torn = [1, 4].into();
        memory.0.lock().unwrap().dies = dies;
        let error = loader.wait(BootCall::Trial(Slot::B)).unwrap_err().to_string();
        assert!(error.contains("could not be taken back") && error.ends_with(end), "{error}");
    }
}

#[test]
fn a_boot_loader_that_does_not_answer_is_given_up_and_asked_by_one_thread_at_a_time() {
    struct Stuck(std::sync::mpsc::Receiver<()>);
    impl Environment for Stuck {
        fn load(&mut self, _look: &mut Look) -> Result<Vars, BootError> {
            let _ = self.0.recv();
            Err(BootError::NoEnvironment)
        }
        fn store(&mut self, _look: &mut Look, _changes: &[Change<'_>]) -> Result<(), BootError> {
            Ok(())
        }
        fn check(&mut self, look: &mut Look, _changes: &[Change<'_>]) -> Result<Vars, BootError> {
            self.load(look)
        }
        fn uses_hex(&self) -> bool {
            false
        }
        fn describe(&self) -> String {
            "stuck".into()
        }

        fn places(&self) -> Result<Vec<PathBuf>, BootError> {
            Ok(Vec::new())
        }
    }
    let Some(fake) = Fake::new() else { return };
    fake.mount("254:2");
    let parts = Parts { a: Some("/dev/vda2".into()), b: Some("/dev/vda12".into()) };
    let (hold, held) = std::sync::mpsc::channel();
    let mut loader = LinuxBootloader::over(Box::new(Stuck(held)), parts, fake.machine());
    loader.start(Instant::ZERO, BootCall::Status).unwrap();
    assert!(loader.poll(Instant::ZERO).is_pending());
    assert!(matches!(loader.start(Instant::ZERO, BootCall::Status), Err(BootError::Order)));
    let until = loader.deadline().unwrap();
    assert!(matches!(loader.poll(until), Poll::Ready(Err(BootError::Stuck))));
    assert!(matches!(loader.start(until, BootCall::Status), Err(BootError::Stuck)));
    assert_eq!(loader.running().unwrap(), Slot::A, "that needs no record");
    drop(hold);
    while matches!(loader.start(until, BootCall::Status), Err(BootError::Stuck)) {
        std::thread::yield_now();
    }
    let answer = loop {
        if let Poll::Ready(answer) = loader.poll(until) {
            break answer;
        }
    };
    assert!(matches!(answer, Err(BootError::NoEnvironment)));
}

/// What every boot loader must do, whatever keeps its variables.
fn contract(name: &str, fake: &Fake, environment: Box<dyn Environment>) {
    let parts = Parts { a: Some("/dev/vda2".into()), b: Some("/dev/vda3".into()) };
    let mut loader = LinuxBootloader::over(environment, parts, fake.machine());
    fake.mount("254:2");
    assert_eq!(standing(&mut loader), (Slot::A, Slot::A, false), "{name}");
    loader.wait(BootCall::Check).unwrap();
    assert_eq!(standing(&mut loader), (Slot::A, Slot::A, false), "{name}: a check changes nothing");
    for _ in 0..2 {
        loader.wait(BootCall::Trial(Slot::B)).unwrap();
        assert_eq!(standing(&mut loader), (Slot::A, Slot::B, true), "{name}");
    }
    fake.mount("254:3");
    assert_eq!(standing(&mut loader), (Slot::B, Slot::B, true), "{name}: after the reboot");
    loader.wait(BootCall::Check).unwrap();
    for _ in 0..2 {
        loader.wait(BootCall::Permanent(Slot::B)).unwrap();
        assert_eq!(standing(&mut loader), (Slot::B, Slot::B, false), "{name}");
    }
    loader.wait(BootCall::Trial(Slot::A)).unwrap();
    loader.wait(BootCall::Permanent(Slot::B)).unwrap();
    assert_eq!(standing(&mut loader), (Slot::B, Slot::B, false), "{name}: taken back");
    assert!(!loader.describe().unwrap().is_empty());
}

#[test]
fn every_environment_keeps_the_contract() {
    let Some(fake) = Fake::new() else { return };
    let memory = Memory::default();
    memory.0.lock().unwrap().vars.push(b"mender_boot_part", b"2");
    contract("memory", &fake, Box::new(memory));
    let (_dir, tools) = command::tests::uboot_tools();
    contract("tools", &fake, Box::new(tools));
    if let Some((dir, uboot)) = uboot::tests::files() {
        contract("U-Boot", &fake, Box::new(uboot));
        drop(dir);
    }
    if let Some(dir) = grub::tests::lab() {
        contract("GRUB", &fake, Box::new(GrubPair::at(dir.path())));
        contract("one GRUB file", &fake, {
            let path = dir.path().join("single");
            std::fs::copy(dir.path().join("mender_grubenv1/env"), &path).unwrap();
            let mut file = GrubFile::new(&path, true);
            file.store(&mut look(), &[("mender_boot_part", Some("2")), ("upgrade_available", Some("0"))])
                .unwrap();
            Box::new(file)
        });
    }
}

#[test]
fn b3_values_that_cannot_be_are_errors_and_never_the_other_slot() {
    for vars in [
        &[][..],
        &[("mender_boot_part", "1")],
        &[("mender_boot_part", "garbage")],
        &[("mender_boot_part", "")],
        &[("mender_boot_part", "p2")],
        &[("mender_boot_part", "2"), ("upgrade_available", "2")],
        &[("mender_boot_part", "2"), ("upgrade_available", "yes")],
    ] {
        let Some((_fake, _memory, mut loader)) = lab(vars) else { return };
        let error = loader.wait(BootCall::Status).unwrap_err();
        assert!(matches!(error, BootError::Variable(..)), "{vars:?}: {error}");
    }
    // What was never set is 0.
    let Some((_fake, _memory, mut loader)) = lab(&[("mender_boot_part", "12")]) else { return };
    let status = loader.wait(BootCall::Status).unwrap();
    assert_eq!((status.selected, status.trial), (Slot::B, false));
}

#[test]
fn b11_an_expected_canary_must_sing() {
    let base = ("mender_boot_part", "2");
    for (vars, good) in [
        (&[base][..], true),
        (&[base, ("mender_check_saveenv_canary", "1")], false),
        (&[base, ("mender_check_saveenv_canary", "1"), ("mender_saveenv_canary", "0")], false),
        (&[base, ("mender_check_saveenv_canary", "1"), ("mender_saveenv_canary", "1")], true),
        (&[base, ("mender_check_saveenv_canary", "0")], true),
    ] {
        let Some((_fake, _memory, mut loader)) = lab(vars) else { return };
        assert_eq!(loader.wait(BootCall::Check).is_ok(), good, "{vars:?}");
    }
}

#[test]
fn the_words_of_the_key_are_known() {
    for (word, choice) in Choice::WORDS {
        assert_eq!(Choice::parse(word), Some(choice));
    }
    assert_eq!(Choice::parse("lilo"), None);
}
