use std::os::unix::fs::symlink;

use super::fake::Fake;
use super::*;

const A: &str = "/dev/vda2";
const B: &str = "/dev/vda3";

fn running(fake: &Fake) -> Result<Slot, String> {
    fake.roots(A, B).map(|roots| roots.running).map_err(|error| error.to_string())
}

#[test]
fn the_running_slot_is_found_by_the_number_of_the_mounted_device() {
    let Some(fake) = Fake::new() else { return };
    fake.mount("254:2");
    assert_eq!(running(&fake), Ok(Slot::A));
    fake.mount("254:3");
    assert_eq!(running(&fake), Ok(Slot::B));
    let roots = fake.roots(A, B).unwrap();
    assert_eq!((roots.a.number, roots.b.number, roots.root_device), (2, 3, Some(makedev(254, 3))));
    // Minors beyond two hexadecimal digits, which Mender's module cannot compare.
    fake.block("vda600", 259, 600);
    fake.mount("259:600");
    assert_eq!(fake.roots("/dev/vda600", B).unwrap().running, Slot::A);
}

#[test]
fn b3_numbers_are_compared_as_numbers() {
    let Some(fake) = Fake::new() else { return };
    fake.mount("254:12");
    let roots = fake.roots("/dev/vda12", "/dev/vda2").unwrap();
    assert_eq!(roots.running, Slot::A);
    for (text, slot) in [
        ("12", Some(Slot::A)),
        ("2", Some(Slot::B)),
        ("02", Some(Slot::B)),
        ("", None),
        ("1", None),
        ("22", None),
        ("p2", None),
        ("+2", None),
        ("2 ", None),
        ("99999999999", None),
    ] {
        assert_eq!(roots.slot(text), slot, "{text:?}");
    }
}

#[test]
fn the_last_mount_at_the_root_counts() {
    let Some(fake) = Fake::new() else { return };
    fake.mounts(
        "1 1 0:2 / / rw - rootfs rootfs rw\n21 1 0:20 / /proc rw - proc proc rw\n\
         22 1 254:3 / / rw master:1 shared:2 - ext4 /dev/vda3 rw\n23 22 254:2 / /mnt\\040a rw - ext4 /dev/vda2 rw\n",
    );
    assert_eq!(running(&fake), Ok(Slot::B));
}

#[test]
fn the_command_line_counts_where_the_mount_does_not_say() {
    let Some(fake) = Fake::new() else { return };
    for dir in ["by-partuuid", "by-partlabel", "by-label", "by-uuid"] {
        fs::create_dir_all(fake.path("dev/disk").join(dir)).unwrap();
    }
    for (link, to) in [
        ("by-partuuid/0a1b2c3d-02", "vda2"),
        ("by-partuuid/aabbccdd-0000-4000-8000-000000000003", "vda3"),
        ("by-partlabel/root\\x20b", "vda3"),
        ("by-label/rootB", "vda3"),
        ("by-uuid/1234-ABCD", "vda2"),
    ] {
        symlink(fake.path("dev").join(to), fake.path("dev/disk").join(link)).unwrap();
    }
    let overlay = "30 1 0:25 / / rw - overlay overlay rw,lowerdir=/ro\n";
    let bind = "30 1 254:2 /srv/chroot / rw - ext4 /dev/vda2 rw\n";
    let btrfs = "30 1 0:25 /@ / rw - btrfs /dev/vda2 rw\n";
    for mounts in [overlay, bind, btrfs, "", "garbage\n1 2\n"] {
        fake.mounts(mounts);
        for (line, slot) in [
            ("root=/dev/vda2", Some(Slot::A)),
            ("root=/dev/vda2 root=/dev/vda3 quiet", Some(Slot::B)),
            ("root=PARTUUID=0A1B2C3D-02", Some(Slot::A)),
            ("root=PARTUUID=AABBCCDD-0000-4000-8000-000000000003", Some(Slot::B)),
            ("root=PARTUUID=0a1b2c3d-02/PARTNROFF=1", None),
            ("root=\"PARTLABEL=root b\"", Some(Slot::B)),
            ("root=PARTLABEL=\"root b\"", Some(Slot::B)),
            ("root=LABEL=rootB", Some(Slot::B)),
            ("root=LABEL=rootb", None),
            ("root=UUID=1234-abcd", Some(Slot::A)),
            ("root=UUID=../vda2", None),
            ("root=254:3", Some(Slot::B)),
            ("root=/dev/nfs nfsroot=/x", None),
            ("root=/dev/vda1", None),
            ("noroot=/dev/vda2", None),
            ("", None),
        ] {
            fake.write("proc/cmdline", &format!("quiet {line}\n"));
            assert_eq!(running(&fake).ok(), slot, "{line:?} {mounts:?}");
        }
    }
    // Slots by the same names.
    fake.mount("254:2");
    let roots = fake.roots("UUID=1234-abcd", "PARTLABEL=root b").unwrap();
    assert_eq!((roots.a.number, roots.b.number), (2, 3));
}

#[test]
fn the_digits_of_a_label_are_no_number_of_a_partition() {
    let Some(fake) = Fake::new() else { return };
    for (label, to) in [("root7", "vda2"), ("root8", "vda3")] {
        fs::create_dir_all(fake.path("dev/disk/by-label")).unwrap();
        symlink(fake.path("dev").join(to), fake.path("dev/disk/by-label").join(label)).unwrap();
    }
    // The kernel does not say which partitions they are.
    for number in [2, 3] {
        fs::remove_file(fake.path(&format!("sys/dev/block/254:{number}/partition"))).unwrap();
    }
    fake.mount("254:2");
    for (a, b) in [("LABEL=root7", "LABEL=root8"), ("/dev/disk/by-label/root7", "/dev/disk/by-label/root8")] {
        let roots = fake.roots(a, b).unwrap();
        assert_eq!((roots.a.number, roots.b.number), (2, 3), "{a}");
    }
}

#[test]
fn a_rescue_system_is_neither_slot() {
    let Some(fake) = Fake::new() else { return };
    fake.write("proc/cmdline", "root=/dev/vda2\n");
    fake.mount("254:1");
    assert!(running(&fake).unwrap_err().contains("254:1"));
}

#[test]
fn a_stacked_root_leads_to_its_slot() {
    let Some(fake) = Fake::new() else { return };
    fake.mount("253:0");
    assert!(running(&fake).is_err());
    fake.write("sys/dev/block/253:0/slaves/vda3/dev", "254:3\n");
    assert_eq!(running(&fake), Ok(Slot::B));
    // Over both slots it is neither.
    fake.write("sys/dev/block/253:0/slaves/vda2/dev", "254:2\n");
    assert!(running(&fake).is_err());
    fs::remove_dir_all(fake.path("sys/dev/block/253:0/slaves")).unwrap();
    // Two levels; a loop of devices ends.
    fake.write("sys/dev/block/253:0/slaves/dm-1/dev", "253:1\n");
    fake.write("sys/dev/block/253:1/slaves/dm-0/dev", "253:0\n");
    assert!(running(&fake).is_err());
    fake.write("sys/dev/block/253:1/slaves/vda2/dev", "254:2\n");
    assert_eq!(running(&fake), Ok(Slot::A));
}

#[test]
fn ubi_volumes_are_known_by_number_and_name() {
    let Some(fake) = Fake::new() else { return };
    fake.ubi(1, "rootfsa");
    fake.ubi(2, "rootfsb");
    for source in ["ubi0_2", "ubi0:rootfsb", "/dev/ubi0_2"] {
        fake.mounts(&format!("22 1 0:15 / / rw - ubifs {source} rw\n"));
        for (a, b) in [("ubi0_1", "ubi0_2"), ("/dev/ubi0_1", "ubi0:rootfsb")] {
            let roots = fake.roots(a, b).unwrap();
            assert_eq!((roots.running, roots.a.number, roots.b.number), (Slot::B, 1, 2), "{source} {a} {b}");
            assert!(roots.a.is_ubi);
        }
    }
    let machine = fake.machine();
    let device = fake.roots("ubi0_1", "ubi0_2").unwrap().a.device;
    assert_eq!(machine.ubi_capacity(device).unwrap(), 4000);
    assert!(!machine.ubi_update_is_incomplete(device).unwrap());
    fake.write("sys/dev/char/240:2/upd_marker", "1\n");
    assert!(machine.ubi_update_is_incomplete(device).unwrap());
}

#[test]
fn b9_a_volume_whose_update_was_interrupted_is_not_selected() {
    use super::super::{LinuxSlots, Options};
    use thimble_core::hal::Slots;
    let Some(fake) = Fake::new() else { return };
    fake.ubi(1, "rootfsa");
    fake.ubi(2, "rootfsb");
    fake.mounts("22 1 0:15 / / rw - ubifs ubi0_1 rw\n");
    let parts = Parts { a: Some("ubi0_1".into()), b: Some("ubi0_2".into()) };
    let (_, log) = crate::testing::log();
    let mut slots =
        LinuxSlots::new(&fake.path("store"), parts, fake.machine(), Options::default(), log).unwrap();
    slots.check(Slot::B).unwrap();
    fake.write("sys/dev/char/240:3/upd_marker", "1\n");
    assert!(slots.check(Slot::B).unwrap_err().to_string().contains("interrupted"));
    slots.check(Slot::A).unwrap();
}

#[test]
fn no_image_is_begun_while_an_earlier_write_hangs_in_the_medium() {
    use super::super::{LinuxSlots, Options, RootfsIo};
    use std::sync::mpsc::channel;
    use std::task::Poll;
    use thimble_core::hal::{PayloadSink, Slots};
    use thimble_core::time::Instant;
    let Some(fake) = Fake::new() else { return };
    fake.mount("254:2");
    let parts = Parts { a: Some(A.into()), b: Some(B.into()) };
    let (_, log) = crate::testing::log();
    let mut slots =
        LinuxSlots::new(&fake.path("store"), parts, fake.machine(), Options::default(), log).unwrap();
    let begin = |slots: &mut LinuxSlots| {
        slots.aim(Slot::B).unwrap();
        match slots.poll_begin(Instant::ZERO, "image", 512) {
            Poll::Ready(result) => result.unwrap_err(),
            Poll::Pending => panic!("beginning does not wait"),
        }
    };
    let (let_go, hangs) = channel::<()>();
    slots.hanging = Some(std::thread::spawn(move || assert!(hangs.recv().is_err())));
    assert!(matches!(begin(&mut slots), RootfsIo::Hangs));

    drop(let_go);
    while !slots.hanging.as_ref().unwrap().is_finished() {
        std::thread::yield_now();
    }
    let error = begin(&mut slots);
    assert!(matches!(error, RootfsIo::Io { .. }), "the made-up device is no device to write to: {error}");
}

#[test]
fn b8_two_names_of_one_device_are_not_two_slots() {
    let Some(fake) = Fake::new() else { return };
    fake.mount("254:2");
    symlink(fake.path("dev/vda2"), fake.path("dev/other3")).unwrap();
    assert!(fake.roots(A, A).unwrap_err().to_string().contains("one device"));
    assert!(fake.roots(A, "/dev/other3").unwrap_err().to_string().contains("one device"));
    fake.block("sdb2", 8, 18);
    fake.write("sys/dev/block/8:18/partition", "2\n");
    assert!(fake.roots(A, "/dev/sdb2").unwrap_err().to_string().contains("number 2"));
}

#[test]
fn b4_what_is_no_device_is_no_slot() {
    let Some(fake) = Fake::new() else { return };
    fake.mount("254:2");
    fake.write("dev/file3", "");
    for bad in
        ["/dev/vda33", "/dev/file3", "/dev", "vda3", "", "PARTUUID=", "LABEL=none", "ubi0_9", "/dev/root"]
    {
        assert!(fake.roots(A, bad).is_err(), "{bad}");
        assert!(!fake.path("dev/vda33").exists());
    }
    assert!(fake.machine().roots(&Parts::default()).unwrap_err().to_string().contains("RootfsPartA"));
    fake.block("disk", 8, 0);
    assert!(fake.roots(A, "/dev/disk").unwrap_err().to_string().contains("partition number"));
    // `/dev/root` is the device that is mounted at /.
    let roots = fake.roots("/dev/root", B).unwrap();
    assert_eq!((roots.running, roots.a.number), (Slot::A, 2));
}
