use std::cell::RefCell;
use std::rc::Rc;

use super::*;
use crate::rootfs::slot::fake::Fake;

/// Variables in memory.
#[derive(Clone, Default)]
struct Memory(Rc<RefCell<(Vars, u32)>>);

impl Environment for Memory {
    fn load(&mut self) -> Result<Vars, BootError> {
        Ok(self.0.borrow().0.clone())
    }

    fn store(&mut self, changes: &[Change<'_>]) -> Result<(), BootError> {
        let mut memory = self.0.borrow_mut();
        if memory.0.apply(changes).map_err(BootError::Vars)? {
            memory.1 += 1;
        }
        Ok(())
    }

    fn check(&mut self, _changes: &[Change<'_>]) -> Result<Vars, BootError> {
        self.load()
    }

    fn uses_hex(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        "memory".into()
    }
}

fn lab(vars: &[(&str, &str)]) -> Option<(Fake, Memory, LinuxBootloader)> {
    let fake = Fake::new()?;
    fake.mount("254:2");
    let memory = Memory::default();
    for (name, value) in vars {
        memory.0.borrow_mut().0.push(name.as_bytes(), value.as_bytes());
    }
    let parts = Parts { a: Some("/dev/vda2".into()), b: Some("/dev/vda12".into()) };
    let loader = LinuxBootloader::over(Box::new(memory.clone()), parts, fake.machine());
    Some((fake, memory, loader))
}

#[test]
fn a_selection_is_one_write_of_all_variables() {
    let Some((_fake, memory, mut loader)) = lab(&[("mender_boot_part", "2"), ("upgrade_available", "0")])
    else {
        return;
    };
    let standing = |loader: &mut LinuxBootloader| {
        let BootStatus { running, selected, trial } = loader.status().unwrap();
        (running, selected, trial)
    };
    assert_eq!(standing(&mut loader), (Slot::A, Slot::A, false));
    loader.set_trial(Slot::B).unwrap();
    loader.set_trial(Slot::B).unwrap();
    assert_eq!(standing(&mut loader), (Slot::A, Slot::B, true));
    let value = |name: &str| memory.0.borrow().0.get(name).map(str::to_owned);
    let now = ["mender_boot_part", "mender_boot_part_hex", "upgrade_available", "bootcount"].map(value);
    assert_eq!(now.each_ref().map(|v| v.as_deref().unwrap()), ["12", "c", "1", "0"]);
    loader.set_permanent(Slot::A).unwrap();
    assert_eq!(standing(&mut loader), (Slot::A, Slot::A, false));
    assert_eq!(memory.0.borrow().1, 2, "nothing is written when nothing changes");
    assert_eq!(loader.describe().unwrap(), "memory");
}

/// What every boot loader must do, whatever keeps its variables.
fn contract(name: &str, fake: &Fake, environment: Box<dyn Environment>) {
    let parts = Parts { a: Some("/dev/vda2".into()), b: Some("/dev/vda3".into()) };
    let mut loader = LinuxBootloader::over(environment, parts, fake.machine());
    let look = |loader: &mut LinuxBootloader| {
        let BootStatus { running, selected, trial } =
            loader.status().unwrap_or_else(|error| panic!("{name}: {error}"));
        (running, selected, trial)
    };
    fake.mount("254:2");
    assert_eq!(look(&mut loader), (Slot::A, Slot::A, false), "{name}");
    loader.self_check().unwrap();
    assert_eq!(look(&mut loader), (Slot::A, Slot::A, false), "{name}: a check changes nothing");
    for _ in 0..2 {
        loader.set_trial(Slot::B).unwrap();
        assert_eq!(look(&mut loader), (Slot::A, Slot::B, true), "{name}");
    }
    fake.mount("254:3");
    assert_eq!(look(&mut loader), (Slot::B, Slot::B, true), "{name}: after the reboot");
    loader.self_check().unwrap();
    for _ in 0..2 {
        loader.set_permanent(Slot::B).unwrap();
        assert_eq!(look(&mut loader), (Slot::B, Slot::B, false), "{name}");
    }
    loader.set_trial(Slot::A).unwrap();
    loader.set_permanent(Slot::B).unwrap();
    assert_eq!(look(&mut loader), (Slot::B, Slot::B, false), "{name}: taken back");
    assert!(!loader.describe().unwrap().is_empty());
}

#[test]
fn every_environment_keeps_the_contract() {
    let Some(fake) = Fake::new() else { return };
    let memory = Memory::default();
    memory.0.borrow_mut().0.push(b"mender_boot_part", b"2");
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
            file.store(&[("mender_boot_part", Some("2")), ("upgrade_available", Some("0"))]).unwrap();
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
        let error = loader.status().unwrap_err();
        assert!(matches!(error, BootError::Variable(..)), "{vars:?}: {error}");
    }
    // What was never set is 0.
    let Some((_fake, _memory, mut loader)) = lab(&[("mender_boot_part", "12")]) else { return };
    let status = loader.status().unwrap();
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
        assert_eq!(loader.self_check().is_ok(), good, "{vars:?}");
    }
}

#[test]
fn the_words_of_the_key_are_known() {
    for (word, choice) in Choice::WORDS {
        assert_eq!(Choice::parse(word), Some(choice));
    }
    assert_eq!(Choice::parse("lilo"), None);
}
