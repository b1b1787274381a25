//! One suite per trait, run on every implementation: what a port to a new board has to keep.

use std::cell::RefCell;
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use thimble_core::hal::{
    BootCall, BootStatus, Bootloader, Change, Error, ErrorType, Key, Kind, Slot, Storage,
};
use thimble_core::time::Instant;
use thimble_hal_linux::bootloader::{LinuxBootloader, Settings};
use thimble_hal_linux::rootfs::slot::{Machine, Parts};
use thimble_hal_linux::storage::{Access, DataDirectory, Store};
use thimble_hal_sim::bootloader::SimBootloader;
use thimble_hal_sim::runner;
use thimble_hal_sim::sim::{Handle, Smooth};
use thimble_hal_sim::world::{Device, Profile};

/// `Storage`: `open` gives the records again as a restart would find them.
fn storage<S: Storage<Error: std::fmt::Debug>>(mut open: impl FnMut() -> S) {
    let read = |storage: &mut S, key| {
        let mut buf = [0; 256];
        storage.read(key, &mut buf).expect("a record can be read").map(<[u8]>::to_vec)
    };
    let commit =
        |storage: &mut S, batch: &[Change<'_>]| storage.commit(batch).expect("a batch can be written");

    // Nothing there is not an error, and deleting it neither.
    let mut first = open();
    commit(&mut first, &Key::ALL.map(Change::Delete));
    assert!(Key::ALL.iter().all(|&key| read(&mut first, key).is_none()));

    // A batch is seen whole, here and after a restart; the last change of a key wins.
    let batch = [
        Change::Put(Key::Checkpoint, b"old"),
        Change::Put(Key::Provides, b"{}"),
        Change::Put(Key::Checkpoint, b"new"),
        Change::Put(Key::Offer, b"gone"),
        Change::Delete(Key::Offer),
        Change::Put(Key::TypeInfo, b""),
    ];
    commit(&mut first, &batch);
    for mut storage in [first, open()] {
        assert_eq!(read(&mut storage, Key::Checkpoint).as_deref(), Some(&b"new"[..]));
        assert_eq!(read(&mut storage, Key::Provides).as_deref(), Some(&b"{}"[..]));
        assert_eq!(read(&mut storage, Key::Offer), None);
        assert_eq!(read(&mut storage, Key::TypeInfo).as_deref(), Some(&b""[..]), "empty is not absent");
        assert_eq!(read(&mut storage, Key::HeaderInfo), None);
    }

    // A buffer that is too small is told apart, and nothing is cut.
    let mut second = open();
    let error = second.read(Key::Checkpoint, &mut [0; 2]).expect_err("three bytes do not fit in two");
    assert_eq!(error.kind(), Kind::TooLarge);

    // Records of one key do not touch those of another.
    commit(&mut second, &[Change::Put(Key::ControlMaps, &[0xff; 200]), Change::Delete(Key::Provides)]);
    let mut third = open();
    assert_eq!(read(&mut third, Key::Provides), None);
    assert_eq!(read(&mut third, Key::ControlMaps).map(|record| record.len()), Some(200));
    assert_eq!(read(&mut third, Key::Checkpoint).as_deref(), Some(&b"new"[..]));
}

#[test]
fn the_store_of_linux_keeps_the_contract() {
    let lab = tempfile::tempdir().expect("a temporary directory");
    storage(|| {
        let directory = DataDirectory::open_or_create(lab.path()).expect("a datastore");
        let (store, notices) = Store::open(directory, Access::ReadWrite).expect("a store");
        assert_eq!(notices, []);
        store
    });
}

#[test]
fn the_simulated_storage_keeps_the_contract() {
    let artifact: Arc<[u8]> = Arc::from([]);
    let bench = Handle::new(runner::durable(Profile::SLOTS, &artifact), artifact, Box::new(Smooth));
    storage(|| bench.clone());
}

/// A boot loader and the machine it starts, as a port supplies them for the suite.
trait Board {
    type Loader: Bootloader<Error: std::fmt::Debug>;

    /// The loader, as a process that starts now finds it.
    fn loader(&self) -> Self::Loader;

    /// A reset, until a system lives. Done by other code than that under test.
    fn reset(&mut self);

    /// Systems in `slot` hang until the watchdog resets, or live.
    fn hangs(&mut self, slot: Slot, hangs: bool);

    /// What is stored and when it was written, to see that nothing is.
    fn stored(&self) -> Vec<u8>;
}

/// `Bootloader`: `board` runs slot A, and nothing is on trial.
fn bootloader<T: Board>(name: &str, board: &mut T) {
    const A: Slot = Slot::A;
    const B: Slot = Slot::B;
    let look = |board: &T| {
        let status = call(board, BootCall::Status).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let before = board.stored();
        let checked = call(board, BootCall::Check).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(checked, status, "{name}: a check says the same");
        assert_eq!(board.stored(), before, "{name}: a check writes nothing");
        (status.running, status.selected, status.trial)
    };
    // Each write may be repeated; then it writes nothing.
    let write = |board: &T, what: fn(Slot) -> BootCall, slot| {
        let told = call(board, what(slot)).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(call(board, BootCall::Status).ok(), Some(told), "{name}: a write says how it stands then");
        let before = board.stored();
        call(board, what(slot)).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(board.stored(), before, "{name}: a repeated write writes nothing");
    };
    let (trial, permanent) = (BootCall::Trial, BootCall::Permanent);

    assert_eq!(look(board), (A, A, false), "{name}");
    write(board, permanent, A);
    assert_eq!(look(board), (A, A, false), "{name}: what was so");

    // Armed, and taken back before the reboot.
    write(board, trial, B);
    assert_eq!(look(board), (A, B, true), "{name}: armed");
    write(board, permanent, A);
    assert_eq!(look(board), (A, A, false), "{name}: taken back");
    board.reset();
    assert_eq!(look(board), (A, A, false), "{name}: taken back, and a reset");

    // A trial boot is one boot: a reset during it goes back (B10).
    write(board, trial, B);
    board.reset();
    assert_eq!(look(board), (B, B, true), "{name}: in the trial");
    board.reset();
    assert_eq!(look(board), (A, A, false), "{name}: reset during the trial");

    // A slot that hangs.
    board.hangs(B, true);
    write(board, trial, B);
    board.reset();
    assert_eq!(look(board), (A, A, false), "{name}: the trial hangs");
    board.hangs(B, false);

    // Taken back in the trial.
    write(board, trial, B);
    board.reset();
    write(board, permanent, A);
    assert_eq!(look(board), (B, A, false), "{name}: taken back in the trial");
    board.reset();
    assert_eq!(look(board), (A, A, false), "{name}: and it is back");

    // There and back, each committed.
    for slot in [B, A, B] {
        write(board, trial, slot);
        board.reset();
        assert_eq!(look(board), (slot, slot, true), "{name}: trial of {slot}");
        write(board, permanent, slot);
        assert_eq!(look(board), (slot, slot, false), "{name}: {slot} is committed");
        board.hangs(slot.other(), true);
        for _ in 0..2 {
            board.reset();
            assert_eq!(look(board), (slot, slot, false), "{name}: {slot} stays");
        }
        board.hangs(slot.other(), false);
    }

    // Taken back after the commit (I6).
    write(board, permanent, A);
    assert_eq!(look(board), (B, A, false), "{name}: taken back after the commit");
    board.reset();
    assert_eq!(look(board), (A, A, false), "{name}");
}

type ErrorOf<T> = <<T as Board>::Loader as ErrorType>::Error;

/// A call to its end, of a process that has just started.
fn call<T: Board>(board: &T, call: BootCall) -> Result<BootStatus, ErrorOf<T>> {
    let mut loader = board.loader();
    loader.start(Instant::ZERO, call)?;
    loop {
        if let Poll::Ready(answer) = loader.poll(Instant::ZERO) {
            return answer;
        }
        std::thread::yield_now();
    }
}

#[test]
fn the_simulated_boot_loader_keeps_the_contract() {
    struct Simulated(Rc<RefCell<Device>>, [bool; 2]);
    impl Board for Simulated {
        type Loader = SimBootloader;
        fn loader(&self) -> SimBootloader {
            SimBootloader::new(self.0.clone())
        }
        fn reset(&mut self) {
            let mut device = self.0.borrow_mut();
            device.boot();
            while self.1[device.running] {
                device.boot();
            }
        }
        fn hangs(&mut self, slot: Slot, hangs: bool) {
            self.1[usize::from(slot == Slot::B)] = hangs;
        }
        fn stored(&self) -> Vec<u8> {
            format!("{:?}", self.0).into_bytes()
        }
    }
    let device = Rc::new(RefCell::new(Device::new(Profile::SLOTS)));
    bootloader("simulated", &mut Simulated(device, [false; 2]));
}

/// A machine in a directory: two slots, and the files that a boot loader and the kernel have.
struct Lab {
    dir: tempfile::TempDir,
    hangs: [bool; 2],
    boot: fn(&Lab) -> Slot,
}

impl Lab {
    /// `None`, said aloud, without the right to make device nodes.
    fn new(boot: fn(&Lab) -> Slot) -> Option<Self> {
        let lab = Self { dir: tempfile::tempdir().expect("a directory"), hangs: [false; 2], boot };
        lab.write("proc/cmdline", "quiet\n");
        for (node, number) in [("dev/vda2", "2"), ("dev/vda3", "3")] {
            lab.write(&format!("sys/dev/block/254:{number}/partition"), number);
            std::fs::create_dir_all(lab.path("dev")).expect("a directory");
            let made = Command::new("mknod").arg(lab.path(node)).args(["b", "254", number]).status();
            if !made.is_ok_and(|status| status.success()) {
                thimble_tests::lab::left_out("root to make device nodes");
                return None;
            }
        }
        for dir in ["var/lock", "run/systemd"] {
            std::fs::create_dir_all(lab.path(dir)).expect("a directory");
        }
        lab.runs(Slot::A);
        Some(lab)
    }

    /// What is found.
    fn describe(&self) -> String {
        let mut loader = self.loader();
        loader.wait(BootCall::Status).expect("it is found");
        loader.describe().expect("it is found")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn runs(&self, slot: Slot) {
        let number = if slot == Slot::A { 2 } else { 3 };
        self.write("proc/self/mountinfo", format!("22 1 254:{number} / / rw - ext4 /dev/root rw\n"));
    }

    /// Runs a tool of the boot loader; its output.
    fn tool(&self, program: &str, args: &[&str]) -> String {
        let mut command = Command::new(program);
        if program.starts_with("fw_") {
            command.arg("-c").arg(self.path("etc/fw_env.config"));
        }
        let output = command.args(args).output().expect("the tool runs");
        assert!(output.status.success(), "{program} {args:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    fn has(&self, program: &str) -> bool {
        let found = Command::new(program).arg("--help").output().is_ok();
        if !found {
            eprintln!("left out: {program} is not installed");
        }
        found
    }
}

impl Board for Lab {
    type Loader = LinuxBootloader;

    /// Found out, not told.
    fn loader(&self) -> LinuxBootloader {
        let parts = Parts { a: Some("/dev/vda2".into()), b: Some("/dev/vda3".into()) };
        let settings = Settings { parts, ..Settings::default() };
        LinuxBootloader::new(settings, Machine::in_directory(self.dir.path().to_owned()))
    }

    fn reset(&mut self) {
        for _ in 0..5 {
            let slot = (self.boot)(self);
            self.runs(slot);
            if !self.hangs[usize::from(slot == Slot::B)] {
                return;
            }
        }
        panic!("no system lives");
    }

    fn hangs(&mut self, slot: Slot, hangs: bool) {
        self.hangs[usize::from(slot == Slot::B)] = hangs;
    }

    fn stored(&self) -> Vec<u8> {
        let mut all = Vec::new();
        let mut dirs = vec![self.dir.path().to_owned()];
        while let Some(dir) = dirs.pop() {
            for found in std::fs::read_dir(dir).expect("a directory").flatten() {
                let about = found.metadata().expect("about it");
                if about.is_dir() {
                    dirs.push(found.path());
                } else if about.is_file() {
                    let written = about.modified().expect("a time");
                    all.push((found.path(), written, std::fs::read(found.path()).expect("its content")));
                }
            }
        }
        all.sort();
        format!("{all:?}").into_bytes()
    }
}

fn slot_of(number: &str) -> Slot {
    match number {
        "2" => Slot::A,
        "3" => Slot::B,
        other => panic!("partition {other:?} is started"),
    }
}

const VARIABLES: &str = "bootcmd=run mender\nmender_boot_part=2\nupgrade_available=0\nbootcount=0\n";

/// Mender's boot script for U-Boot, by U-Boot's own tools.
fn uboot_script(lab: &Lab) -> Slot {
    let get = |name: &str| {
        let text = lab.tool("fw_printenv", &[name]);
        text.trim().split_once('=').map(|(_, value)| value.to_owned()).unwrap_or_default()
    };
    if get("upgrade_available") == "1" {
        let count: u32 = get("bootcount").parse().expect("a number");
        lab.tool("fw_setenv", &["bootcount", &(count + 1).to_string()]);
        if count + 1 > 1 {
            let other = if get("mender_boot_part") == "2" { "3" } else { "2" };
            lab.tool("fw_setenv", &["mender_boot_part", other]);
            lab.tool("fw_setenv", &["mender_boot_part_hex", other]);
            lab.tool("fw_setenv", &["upgrade_available", "0"]);
        }
    }
    slot_of(&get("mender_boot_part"))
}

#[test]
fn u_boot_keeps_the_contract() {
    let Some(mut lab) = Lab::new(uboot_script) else { return };
    if !lab.has("mkenvimage") || !lab.has("fw_setenv") {
        return;
    }
    lab.write("source", VARIABLES);
    let mut config = String::new();
    for copy in ["env0", "env1"] {
        let (source, path) = (lab.path("source"), lab.path(copy));
        let (source, path) = (source.to_str().expect("a path"), path.to_str().expect("a path"));
        lab.tool("mkenvimage", &["-r", "-s", "0x2000", "-o", path, source]);
        config.push_str(&format!("{path} 0x0 0x2000\n"));
    }
    lab.write("etc/fw_env.config", config);
    assert!(lab.describe().starts_with("U-Boot environment of "));
    bootloader("U-Boot", &mut lab);
    assert!(lab.tool("fw_printenv", &["bootcmd"]).contains("run mender"), "what is not ours is kept");
}

const GRUB_COPIES: [&str; 2] = ["boot/grub/mender_grubenv1", "boot/grub/mender_grubenv2"];

/// Mender's boot script for GRUB, by GRUB's own tool.
fn grub_script(lab: &Lab) -> Slot {
    let file = |copy: &str, name: &str| lab.path(copy).join(name).to_str().expect("a path").to_owned();
    let env = lab.tool("grub-editenv", &[&file(GRUB_COPIES[0], "env"), "list"]);
    for copy in GRUB_COPIES {
        assert!(lab.tool("grub-editenv", &[&file(copy, "lock"), "list"]).contains("editing=0"), "{copy}");
    }
    let get = |name: &str| {
        env.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default().to_owned()
    };
    let save = |set: &[&str]| {
        for copy in GRUB_COPIES {
            lab.tool("grub-editenv", &[&[file(copy, "env").as_str(), "set"], set].concat());
        }
    };
    let part = get("mender_boot_part");
    match (get("upgrade_available").as_str(), get("bootcount").as_str()) {
        ("1", "0") => save(&["bootcount=1"]),
        ("1", _) => {
            let other = if part == "2" { "3" } else { "2" };
            save(&[&format!("mender_boot_part={other}"), "upgrade_available=0", "bootcount=0"]);
            return slot_of(other);
        }
        _ => {}
    }
    slot_of(&part)
}

#[test]
fn grub_keeps_the_contract() {
    let Some(mut lab) = Lab::new(grub_script) else { return };
    if !lab.has("grub-editenv") {
        return;
    }
    for copy in GRUB_COPIES {
        std::fs::create_dir_all(lab.path(copy)).expect("a directory");
        for (name, set) in [
            ("env", &["machine_id=m", "mender_boot_part=2", "upgrade_available=0", "bootcount=0"][..]),
            ("lock", &["editing=0"]),
        ] {
            let path = lab.path(copy).join(name);
            let path = path.to_str().expect("a path");
            lab.tool("grub-editenv", &[path, "create"]);
            lab.tool("grub-editenv", &[&[path, "set"], set].concat());
        }
        let sum = lab.tool("sha256sum", &[lab.path(copy).join("lock").to_str().expect("a path")]);
        lab.write(&format!("{copy}/lock.sha256sum"), format!("{}  lock\n", &sum[..64]));
    }
    assert!(lab.describe().starts_with("GRUB environment in "));
    bootloader("GRUB", &mut lab);
    assert!(
        lab.read(&format!("{}/env", GRUB_COPIES[0])).contains("machine_id=m"),
        "what is not ours is kept"
    );
}

/// Raspberry Pi firmware: the flag of the reboot lives until the next reset.
fn firmware(lab: &Lab) -> Slot {
    let trial = lab.read("run/systemd/reboot-param").trim() == "0 tryboot";
    drop(std::fs::remove_file(lab.path("run/systemd/reboot-param")));
    lab.write("proc/device-tree/chosen/bootloader/tryboot", u32::from(trial).to_be_bytes());
    let text = lab.read("boot/firmware/autoboot.txt");
    let section = text.split(if trial { "[tryboot]" } else { "[all]" }).nth(1).expect("the section");
    let number = section.split("boot_partition=").nth(1).expect("a partition");
    slot_of(number.lines().next().unwrap_or_default())
}

#[test]
fn raspberry_pi_firmware_keeps_the_contract() {
    let Some(mut lab) = Lab::new(firmware) else { return };
    lab.write(
        "boot/firmware/autoboot.txt",
        "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n",
    );
    lab.write("proc/device-tree/chosen/bootloader/tryboot", [0; 4]);
    assert!(lab.describe().starts_with("Raspberry Pi firmware"));
    bootloader("Raspberry Pi", &mut lab);
}

const ENTRIES: &str = "boot/loader/entries";

fn efi(lab: &Lab, name: &str) -> PathBuf {
    lab.path("sys/firmware/efi/efivars").join(format!("{name}-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"))
}

/// systemd-boot: one-shot, else the default; boots are counted in the name of the file.
fn systemd_boot(lab: &Lab) -> Slot {
    let get = |name: &str| {
        let bytes = std::fs::read(efi(lab, name)).ok()?;
        let text = bytes[4..].chunks(2).map(|unit| char::from(unit[0])).filter(|&c| c != '\0');
        Some(text.collect::<String>())
    };
    let one_shot = get("LoaderEntryOneShot");
    for name in ["LoaderEntryOneShot", "LoaderBootCountPath"] {
        drop(std::fs::remove_file(efi(lab, name)));
    }
    // The patterns here are a beginning, perhaps with a set and a star.
    let id = one_shot.or_else(|| get("LoaderEntryDefault")).unwrap_or_else(|| "slot-a".into());
    let id = id.split(['[', '*', '.']).next().unwrap_or_default();
    let found = std::fs::read_dir(lab.path(ENTRIES)).expect("entries").flatten();
    let mut files = found.filter_map(|found| found.file_name().into_string().ok());
    let file = files.find(|file| file.starts_with(id) && file.ends_with(".conf")).expect("the entry");
    let stem = file.trim_end_matches(".conf");
    if let Some((id, counter)) = stem.split_once('+') {
        let (left, done) = counter.split_once('-').unwrap_or((counter, "0"));
        let number = |text: &str| text.parse::<u32>().expect("a number");
        let new = format!("{id}+{}-{}.conf", number(left).saturating_sub(1), number(done) + 1);
        let dir = lab.path(ENTRIES);
        std::fs::rename(dir.join(&file), dir.join(&new)).expect("renamed");
        let path = format!("\\loader\\entries\\{new}\0").encode_utf16().flat_map(u16::to_le_bytes).collect();
        std::fs::write(efi(lab, "LoaderBootCountPath"), [vec![6, 0, 0, 0], path].concat()).expect("set");
    }
    if id == "slot-a" { Slot::A } else { Slot::B }
}

#[test]
fn systemd_boot_keeps_the_contract() {
    let Some(mut lab) = Lab::new(systemd_boot) else { return };
    for (file, device) in [("slot-a.conf", "vda2"), ("slot-b.conf", "vda3")] {
        lab.write(&format!("{ENTRIES}/{file}"), format!("linux /{device}\noptions root=/dev/{device}\n"));
    }
    lab.write("boot/loader/loader.conf", "default slot-a*\n");
    std::fs::create_dir_all(lab.path("sys/firmware/efi/efivars")).expect("a directory");
    let info = "systemd-boot 257\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(efi(&lab, "LoaderInfo"), [vec![6, 0, 0, 0], info].concat()).expect("set");
    assert!(lab.describe().starts_with("systemd-boot "));
    bootloader("systemd-boot", &mut lab);
}
