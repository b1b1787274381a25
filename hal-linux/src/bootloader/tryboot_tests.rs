use super::*;
use crate::rootfs::slot::SlotDevice;

fn roots(running: Slot) -> Roots {
    let device =
        |number: u32| SlotDevice { path: "/dev/x".into(), device: number.into(), number, is_ubi: false };
    Roots { a: device(2), b: device(3), running, root_device: None }
}

const TEXT: &str = "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n";

fn lab() -> (tempfile::TempDir, Tryboot) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("autoboot.txt"), TEXT).unwrap();
    fs::write(dir.path().join("tryboot"), [0, 0, 0, 0]).unwrap();
    let tryboot = Tryboot::at(dir.path());
    (dir, tryboot)
}

fn standing(tryboot: &mut Tryboot, running: Slot) -> (Slot, bool) {
    let status = tryboot.status(&roots(running)).unwrap();
    (status.selected, status.trial)
}

#[test]
fn a_trial_is_asked_for_once_and_committed_by_swapping_the_partitions() {
    let (dir, mut tryboot) = lab();
    assert_eq!(tryboot.places(), [dir.path().join("autoboot.txt")]);
    assert_eq!(standing(&mut tryboot, Slot::A), (Slot::A, false));
    tryboot.check(&roots(Slot::A)).unwrap();
    tryboot.set_trial(&roots(Slot::A), Slot::B).unwrap();
    assert_eq!(standing(&mut tryboot, Slot::A), (Slot::B, true));
    assert_eq!(fs::read_to_string(dir.path().join("reboot-param")).unwrap(), "0 tryboot\n");
    assert_eq!(fs::read_to_string(dir.path().join("autoboot.txt")).unwrap(), TEXT);
    // The reboot: /run is gone, the flag is set.
    fs::remove_file(dir.path().join("reboot-param")).unwrap();
    fs::write(dir.path().join("tryboot"), [0, 0, 0, 1]).unwrap();
    assert_eq!(standing(&mut tryboot, Slot::B), (Slot::B, true));
    tryboot.set_permanent(&roots(Slot::B), Slot::B).unwrap();
    assert_eq!(standing(&mut tryboot, Slot::B), (Slot::B, false));
    let text = fs::read_to_string(dir.path().join("autoboot.txt")).unwrap();
    assert_eq!(text, TEXT.replace('3', "x").replace('2', "3").replace('x', "2"));
}

#[test]
fn a_trial_that_does_not_boot_or_is_taken_back_leaves_the_old_slot() {
    let (dir, mut tryboot) = lab();
    tryboot.set_trial(&roots(Slot::A), Slot::B).unwrap();
    fs::remove_file(dir.path().join("reboot-param")).unwrap();
    // Any reset clears the flag.
    assert_eq!(standing(&mut tryboot, Slot::A), (Slot::A, false));
    tryboot.set_trial(&roots(Slot::A), Slot::B).unwrap();
    tryboot.set_permanent(&roots(Slot::A), Slot::A).unwrap();
    assert_eq!(standing(&mut tryboot, Slot::A), (Slot::A, false));
}

#[test]
fn a_rollback_in_the_trial_is_told_from_the_trial() {
    let (dir, mut tryboot) = lab();
    fs::write(dir.path().join("tryboot"), [0, 0, 0, 1]).unwrap();
    assert_eq!(standing(&mut tryboot, Slot::B), (Slot::B, true));
    for _ in 0..2 {
        tryboot.set_permanent(&roots(Slot::B), Slot::A).unwrap();
        assert_eq!(standing(&mut tryboot, Slot::B), (Slot::A, false));
    }
    assert_eq!(fs::read_to_string(dir.path().join("autoboot.txt")).unwrap(), TEXT);
    assert_eq!(fs::read_to_string(dir.path().join("reboot-param")).unwrap(), "0\n");
}

#[test]
fn a_file_that_is_not_understood_is_not_written() {
    for bad in [
        "",
        "[all]\nboot_partition=2\n",
        "[all]\nboot_partition=2\n[tryboot]\nboot_partition=2\n",
        "[all]\nboot_partition=1\n[tryboot]\nboot_partition=3\n",
    ] {
        let (dir, mut tryboot) = lab();
        fs::write(dir.path().join("autoboot.txt"), bad).unwrap();
        assert!(tryboot.status(&roots(Slot::A)).is_err(), "{bad:?}");
        assert!(tryboot.check(&roots(Slot::A)).is_err());
    }
    let (dir, mut tryboot) = lab();
    fs::write(dir.path().join("autoboot.txt"), format!("{TEXT}{}", "#".repeat(600))).unwrap();
    assert!(tryboot.check(&roots(Slot::A)).is_err());
}
