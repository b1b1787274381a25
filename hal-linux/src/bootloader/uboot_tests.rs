use std::cell::RefCell;
use std::process::Command;
use std::rc::Rc;

use super::super::media::{Bytes, Flash, InBlocks, InPlace};
use super::super::tests::look;
use super::*;

const SIZE: usize = 0x400;

/// Storage that loses power: it takes so many bytes more, then every call fails.
struct Device {
    content: Vec<u8>,
    fuel: Option<usize>,
    /// A write is taken up to a multiple of this.
    unit: usize,
    erase: usize,
    nor: bool,
    bad: Vec<u64>,
    /// Flash: a byte may be written once after it was erased (NOR: bits may be cleared).
    strict: bool,
}

impl Device {
    fn new(length: usize, unit: usize) -> Rc<RefCell<Self>> {
        let content = vec![0xff; length];
        Rc::new(RefCell::new(Self {
            content,
            fuel: None,
            unit,
            erase: 0x200,
            nor: false,
            bad: vec![],
            strict: false,
        }))
    }

    fn spend(&mut self, wanted: usize) -> (usize, io::Result<()>) {
        let Some(fuel) = self.fuel else { return (wanted, Ok(())) };
        if fuel >= wanted {
            self.fuel = Some(fuel - wanted);
            return (wanted, Ok(()));
        }
        self.fuel = Some(0);
        (fuel / self.unit * self.unit, Err(io::Error::other("power lost")))
    }
}

#[derive(Clone)]
struct Sim(Rc<RefCell<Device>>);

impl Sim {
    fn read(&self, offset: u64, to: &mut [u8]) {
        let offset = usize::try_from(offset).unwrap();
        to.copy_from_slice(&self.0.borrow().content[offset..offset + to.len()]);
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        let mut device = self.0.borrow_mut();
        let (length, result) = device.spend(bytes.len());
        for (at, byte) in bytes[..length].iter().enumerate() {
            let old = device.content[offset + at];
            assert!(!device.strict || old & byte == *byte, "written without erase");
            device.content[offset + at] = *byte;
        }
        result
    }
}

impl Bytes for Sim {
    fn read_at(&mut self, offset: u64, to: &mut [u8]) -> io::Result<()> {
        self.read(offset, to);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write(offset, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.borrow_mut().spend(1).1
    }
}

impl Flash for Sim {
    fn erase_size(&self) -> u64 {
        self.0.borrow().erase as u64
    }

    fn is_nor(&self) -> bool {
        self.0.borrow().nor
    }

    fn is_bad(&mut self, offset: u64) -> io::Result<bool> {
        Ok(self.0.borrow().bad.contains(&offset))
    }

    fn read_at(&mut self, offset: u64, to: &mut [u8]) -> io::Result<()> {
        self.read(offset, to);
        Ok(())
    }

    fn erase(&mut self, offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        let mut device = self.0.borrow_mut();
        assert!(!device.bad.contains(&(offset as u64)), "a bad block is erased");
        let (length, result) = {
            let erase = device.erase;
            device.spend(erase)
        };
        device.content[offset..offset + length].fill(0xff);
        result
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write(offset, bytes)
    }
}

fn in_place(device: &Rc<RefCell<Device>>) -> Vec<InPlace<Sim>> {
    [0, 0x800].map(|offset| InPlace { bytes: Sim(device.clone()), offset, size: SIZE }).into()
}

fn in_blocks(device: &Rc<RefCell<Device>>) -> Vec<InBlocks<Sim>> {
    [0, 0x800].map(|offset| InBlocks { flash: Sim(device.clone()), offset, size: SIZE, blocks: 4 }).into()
}

const OLD: [Change<'_>; 3] = [("part", Some("2")), ("up", Some("0")), ("other", Some("kept"))];
const NEW: [Change<'_>; 2] = [("part", Some("3")), ("up", Some("1"))];

/// Two copies that hold `OLD`, the second one in force or the first.
fn fill<S: Store>(stores: &mut [S], flags: [u8; 2]) {
    let mut copy = Copy { flags: 0, vars: Vars::default(), big_endian: false };
    copy.vars.apply(&OLD).unwrap();
    for (store, flags) in stores.iter_mut().zip(flags) {
        copy.flags = flags;
        store.replace(&uboot_env::encode(&copy, true, SIZE).unwrap()).unwrap();
    }
}

fn part<S: Store>(stores: &mut [S]) -> (String, String) {
    let vars = load(stores).expect("a copy is whole").in_force.vars;
    assert_eq!(vars.get("other"), Some("kept"));
    (vars.get("part").unwrap().to_owned(), vars.get("up").unwrap().to_owned())
}

/// Cuts a write at every step of `fuel`: the old set or the new one is in force, never a mix, and what is written
/// next is in force then.
fn cut_everywhere<S: Store>(device: &Rc<RefCell<Device>>, open: impl Fn() -> Vec<S>, flags: [u8; 2]) {
    let mut seen = [0, 0];
    for fuel in 0.. {
        device.borrow_mut().fuel = None;
        fill(&mut open(), flags);
        device.borrow_mut().fuel = Some(fuel);
        let result = store(&mut open(), &NEW);
        device.borrow_mut().fuel = None;
        let now = part(&mut open());
        let is_new = now == ("3".into(), "1".into());
        assert!(is_new || now == ("2".into(), "0".into()), "{fuel}: {now:?}");
        assert!(result.is_err() || is_new);
        seen[usize::from(is_new)] += 1;
        store(&mut open(), &[("part", Some("7"))]).unwrap();
        assert_eq!(part(&mut open()).0, "7", "{fuel}");
        if result.is_ok() {
            break;
        }
    }
    assert!(seen[0] > 1 && seen[1] > 0, "{seen:?}");
}

#[test]
fn b1_power_lost_at_every_byte_and_sector_of_a_write_leaves_the_old_or_the_new_environment() {
    for unit in [1, 0x200] {
        for flags in [[1, 2], [2, 1], [255, 0], [0, 255], [7, 7]] {
            let device = Device::new(0x1000, unit);
            cut_everywhere(&device, || in_place(&device), flags);
        }
    }
}

#[test]
fn b1_power_lost_at_every_byte_of_a_write_to_flash_leaves_the_old_or_the_new_environment() {
    for (nor, flags) in [(false, [3, 4]), (false, [4, 3]), (true, [1, 0]), (true, [0, 1])] {
        let device = Device::new(0x1000, 1);
        device.borrow_mut().strict = true;
        device.borrow_mut().nor = nor;
        device.borrow_mut().bad = if nor { vec![] } else { vec![0, 0xa00] };
        cut_everywhere(&device, || in_blocks(&device), flags);
    }
}

#[test]
fn a_copy_on_flash_keeps_its_neighbours_and_skips_bad_blocks() {
    let device = Device::new(0x1000, 1);
    device.borrow_mut().content[0x900..].fill(0x55);
    let mut copy = InBlocks { flash: Sim(device.clone()), offset: 0, size: 0x300, blocks: 3 };
    copy.replace(&[7; 0x300]).unwrap();
    assert_eq!(copy.read().unwrap(), [7; 0x300]);
    device.borrow_mut().bad = vec![0x200];
    copy.replace(&[8; 0x300]).unwrap();
    assert_eq!(copy.read().unwrap(), [8; 0x300]);
    assert_eq!(device.borrow().content[0x200..0x300], [7; 0x100], "the bad block is not touched");
    assert_eq!(device.borrow().content[0x900..], [0x55; 0x700]);
    device.borrow_mut().bad = vec![0, 0x200];
    assert!(copy.replace(&[9; 0x300]).is_err(), "too many bad blocks");
    copy.offset = 0x100;
    assert!(copy.read().is_err(), "not at the beginning of a block");
}

#[test]
fn nothing_is_written_when_nothing_changes_or_nothing_fits() {
    let device = Device::new(0x1000, 1);
    fill(&mut in_place(&device), [1, 2]);
    let before = device.borrow().content.clone();
    store(&mut in_place(&device), &OLD).unwrap();
    let long = "x".repeat(SIZE);
    let error = store(&mut in_place(&device), &[("long", Some(&long))]).unwrap_err();
    assert!(matches!(error, BootError::Vars(_)), "{error}");
    assert_eq!(device.borrow().content, before);
}

#[test]
fn without_a_whole_copy_nothing_is_made_up() {
    let device = Device::new(0x1000, 1);
    assert!(matches!(store(&mut in_place(&device), &NEW), Err(BootError::NoEnvironment)));
    assert!(device.borrow().content.iter().all(|&byte| byte == 0xff));
}

#[test]
fn b11_copies_that_cannot_be_read_are_no_damaged_environment() {
    struct Broken;
    impl Bytes for Broken {
        fn read_at(&mut self, _: u64, _: &mut [u8]) -> io::Result<()> {
            Err(io::Error::from_raw_os_error(libc::EIO))
        }
        fn write_at(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
            panic!("nothing is written")
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut stores = [0, 1].map(|_| InPlace { bytes: Broken, offset: 0, size: SIZE });
    let error = store(&mut stores, &NEW).unwrap_err();
    assert!(matches!(&error, BootError::Storage(error) if is_damage(error)), "{error}");
}

struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    /// Files as `mkenvimage` makes them.
    fn new(copies: usize, text: &str) -> Option<Self> {
        let lab = Self { dir: tempfile::tempdir().unwrap() };
        let source = lab.path("source");
        fs::write(&source, text).unwrap();
        let mut config = String::new();
        for copy in 0..copies {
            let path = lab.path(&format!("env{copy}"));
            let mut command = Command::new("mkenvimage");
            if copies == 2 {
                command.arg("-r");
            }
            let status = command.args(["-s", "0x2000", "-o"]).arg(&path).arg(&source).status();
            let Ok(status) = status else {
                eprintln!("left out: mkenvimage is not installed");
                return None;
            };
            assert!(status.success());
            config.push_str(&format!("{} 0x0 0x2000\n", path.display()));
        }
        fs::write(lab.path("fw_env.config"), config).unwrap();
        Some(lab)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn tool(&self, tool: &str, arguments: &[&str]) -> Option<String> {
        let config = self.path("fw_env.config");
        let output = Command::new(tool).arg("-c").arg(config).args(arguments).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn native(&self) -> Uboot {
        Uboot::at(self.dir.path(), false)
    }
}

/// Two copies as `mkenvimage` makes them, for the contract.
pub(crate) fn files() -> Option<(tempfile::TempDir, Uboot)> {
    let lab = Lab::new(2, SOURCE)?;
    let native = lab.native();
    Some((lab.dir, native))
}

const SOURCE: &str = "bootcmd=run mender; a=b\nmender_boot_part=2\nupgrade_available=0\n";

#[test]
fn an_image_of_mkenvimage_is_read_and_fw_printenv_reads_what_is_written() {
    let Some(lab) = Lab::new(2, SOURCE) else { return };
    let vars = lab.native().load(&mut look()).unwrap();
    assert_eq!((vars.get("bootcmd"), vars.get("mender_boot_part")), (Some("run mender; a=b"), Some("2")));
    for part in ["3", "2", "3"] {
        lab.native()
            .store(&mut look(), &[("mender_boot_part", Some(part)), ("bootcount", Some("0"))])
            .unwrap();
        let Some(printed) = lab.tool("fw_printenv", &["mender_boot_part", "bootcmd", "bootcount"]) else {
            return eprintln!("left out: fw_printenv is not installed");
        };
        let expected = format!("mender_boot_part={part}\nbootcmd=run mender; a=b\nbootcount=0\n");
        assert_eq!(printed, expected);
    }
}

#[test]
fn what_fw_setenv_writes_is_read_whichever_copy_it_is_in() {
    let Some(lab) = Lab::new(2, SOURCE) else { return };
    for round in 0..300 {
        // More rounds than the counter has values, in turn with our own.
        let value = round.to_string();
        if round % 3 == 0 {
            lab.native().store(&mut look(), &[("round", Some(&value))]).unwrap();
        } else if lab.tool("fw_setenv", &["round", &value]).is_none() {
            return eprintln!("left out: fw_setenv is not installed");
        }
        assert_eq!(lab.native().load(&mut look()).unwrap().get("round"), Some(value.as_str()));
    }
    let printed = lab.tool("fw_printenv", &["round"]).unwrap();
    assert_eq!(printed, "round=299\n");
}

#[test]
fn b11_two_names_of_one_place_are_no_two_copies() {
    let Some(lab) = Lab::new(2, SOURCE) else { return };
    let (one, link) = (lab.path("env0"), lab.path("link"));
    std::os::unix::fs::symlink(&one, &link).unwrap();
    let tries = |a: (&PathBuf, &str), b: (&PathBuf, &str)| {
        let config = [a, b].map(|(path, offset)| format!("{} {offset} 0x1000\n", path.display())).concat();
        fs::write(lab.path("fw_env.config"), config).unwrap();
        lab.native().load(&mut look()).unwrap_err().to_string()
    };
    for (a, b) in [
        ((&one, "0x0"), (&link, "0x0")),
        ((&one, "0x0"), (&link, "0x800")),
        // The file has 0x2000 bytes.
        ((&one, "0x1000"), (&one, "-0x1000")),
        ((&one, "0x800"), (&link, "-0x1000")),
    ] {
        let error = tries(a, b);
        assert!(error.contains("fw_env.config: the two copies overlap"), "{error}");
    }
    let error = tries((&one, "0x0"), (&link, "-0x1000"));
    assert!(error.contains("every copy of the boot environment is damaged"), "{error}");
}

#[test]
fn b11_a_name_that_stands_twice_is_not_written() {
    let Some(lab) = Lab::new(2, &format!("{SOURCE}other=1\nother=2\n")) else { return };
    assert_eq!(lab.native().load(&mut look()).unwrap().get("mender_boot_part"), Some("2"));
    for result in [lab.native().store(&mut look(), &NEW), lab.native().check(&mut look(), &NEW).map(drop)] {
        let error = result.unwrap_err().to_string();
        assert!(error.contains("other"), "{error}");
    }
}

#[test]
fn b11_a_single_copy_is_not_written_unless_that_is_allowed() {
    let Some(lab) = Lab::new(1, SOURCE) else { return };
    assert_eq!(lab.native().load(&mut look()).unwrap().get("upgrade_available"), Some("0"));
    for result in [lab.native().store(&mut look(), &NEW), lab.native().check(&mut look(), &NEW).map(drop)] {
        assert!(result.unwrap_err().to_string().contains("BootloaderAllowSingle"));
    }
    assert!(lab.native().places().unwrap_err().to_string().contains("BootloaderAllowSingle"));
    let mut allowed = Uboot::at(lab.dir.path(), true);
    assert_eq!(allowed.places().unwrap().len(), 1);
    allowed.check(&mut look(), &NEW).unwrap();
    allowed.store(&mut look(), &NEW).unwrap();
    assert_eq!(allowed.load(&mut look()).unwrap().get("part"), Some("3"));
    let printed = lab.tool("fw_printenv", &["part"]);
    assert!(printed.is_none_or(|text| text == "part=3\n"));
}

#[test]
fn its_places_are_those_of_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let native = Uboot::at(dir.path(), false);
    assert!(native.places().is_err(), "there is no fw_env.config");
    fs::write(dir.path().join("fw_env.config"), "# two copies\n/dev/a 0x0 0x2000\n/dev/b 0x0 0x2000\n")
        .unwrap();
    assert_eq!(native.places().unwrap(), [PathBuf::from("/dev/a"), PathBuf::from("/dev/b")]);
}

#[test]
fn b11_an_environment_that_cannot_be_written_is_noticed_before() {
    let Some(lab) = Lab::new(2, SOURCE) else { return };
    lab.native().check(&mut look(), &NEW).unwrap();
    let long = "x".repeat(0x2000 - 100);
    lab.native().store(&mut look(), &[("filler", Some(&long))]).unwrap();
    let long = "y".repeat(40);
    let error = lab.native().check(&mut look(), &[("n", Some(&long))]).unwrap_err();
    assert!(error.to_string().contains("full"), "{error}");
    fs::remove_file(lab.path("env1")).unwrap();
    assert!(lab.native().check(&mut look(), &NEW).is_err());
    assert!(!lab.path("env1").exists(), "nothing is created");
    fs::write(lab.path("env1"), "short").unwrap();
    assert!(lab.native().check(&mut look(), &NEW).unwrap_err().to_string().contains("too short"));
}

#[test]
fn copies_on_flash_are_those_of_the_tools() {
    let Some(lab) = Lab::new(2, SOURCE) else { return };
    let image = lab.path("image");
    let mut make = Command::new("mkenvimage");
    make.args(["-r", "-s", "0x400", "-o"]).arg(&image).arg(lab.path("source"));
    assert!(make.status().unwrap().success());
    // NAND with a bad block in each copy's place.
    let device = Device::new(0x1000, 1);
    device.borrow_mut().strict = true;
    device.borrow_mut().bad = vec![0, 0xa00];
    let mut stores = in_blocks(&device);
    for store in &mut stores {
        store.replace(&fs::read(&image).unwrap()).unwrap();
    }
    assert_eq!(load(&mut stores).unwrap().in_force.vars.get("bootcmd"), Some("run mender; a=b"));
    let files = [lab.path("env0"), lab.path("env1")];
    let config = files.each_ref().map(|file| format!("{} 0x0 0x400\n", file.display())).concat();
    fs::write(lab.path("fw_env.config"), config).unwrap();
    for round in 0..6 {
        let value = round.to_string();
        store(&mut stores, &[("ours", Some(&value))]).unwrap();
        for (store, file) in stores.iter_mut().zip(&files) {
            fs::write(file, store.read().unwrap()).unwrap();
        }
        let Some(printed) = lab.tool("fw_printenv", &["ours", "mender_boot_part"]) else {
            return eprintln!("left out: fw_printenv is not installed");
        };
        assert_eq!(printed, format!("ours={value}\nmender_boot_part=2\n"));
        lab.tool("fw_setenv", &["theirs", &value]).unwrap();
        for (store, file) in stores.iter_mut().zip(&files) {
            store.replace(&fs::read(file).unwrap()).unwrap();
        }
        assert_eq!(load(&mut stores).unwrap().in_force.vars.get("theirs"), Some(value.as_str()));
    }
}

#[test]
fn an_environment_on_block_devices_is_written_too() {
    use crate::testing::Loop;
    let Some(lab) = Lab::new(2, SOURCE) else { return };
    let image = lab.path("disk");
    let mut disk = vec![0; 0x10000];
    let copy = fs::read(lab.path("env0")).unwrap();
    disk[0x1000..0x3000].copy_from_slice(&copy);
    disk[0x8000..0xa000].copy_from_slice(&copy);
    fs::write(&image, disk).unwrap();
    let Some(device) = Loop::attach(&image) else { return };
    let name = device.path().display();
    fs::write(lab.path("fw_env.config"), format!("{name} 0x1000 0x2000\n{name} -0x8000 0x2000\n")).unwrap();
    lab.native().store(&mut look(), &NEW).unwrap();
    assert_eq!(lab.native().load(&mut look()).unwrap().get("part"), Some("3"));
    let printed = lab.tool("fw_printenv", &["part", "bootcmd"]);
    assert!(printed.is_none_or(|text| text == "part=3\nbootcmd=run mender; a=b\n"));
}
