//! What is on the disk: root file systems, the boot loader and its environment, the datastore.
//!
//! ```text
//! the first MiB  partition table; GRUB, or the two copies of U-Boot's environment
//! 1              FAT: GRUB's script and the two copies of its environment, or U-Boot's script
//! 2  A, 3  B     ext4, never written while it runs: kernel, initramfs, busybox, thimble
//! 4  Data        ext4, at /var/lib/mender
//! ```

use std::fs;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::OnceLock;

use thimble_hal_sim::artifact_writer::{ArtifactWriter, hex};
use thimble_hal_sim::listen::Listener;

use crate::disk::{Disk, SECTOR};
use crate::packages::{Packages, output_of, run};
use crate::power::Area;
use crate::slot::{Init, Kind, Slots, ext4};

/// The type of the device.
pub(crate) const DEVICE_TYPE: &str = "vm";

/// What runs before the update, and what the update brings.
pub(crate) const OLD: &str = "release-1";
pub(crate) const NEW: &str = "release-2";

const MIB: usize = 1 << 20;
const BOOT_SIZE: usize = 4 * MIB;
const DATA_SIZE: usize = 16 * MIB;
/// Where the first partition begins.
const FRONT: usize = MIB;

/// The boot loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Loader {
    /// From the disk, started by QEMU's BIOS.
    Grub,
    /// In place of the BIOS.
    Uboot,
}

/// What a boot loader has on the disk.
struct Parts {
    /// The first MiB, without the partition table.
    front: Vec<u8>,
    /// The first partition.
    boot: Vec<u8>,
}

/// Everything that is made once for all machines.
pub(crate) struct Images {
    pub(crate) packages: Packages,
    grub: Parts,
    uboot: Parts,
    script: Slots,
    /// Made when they are first needed: most tests do not need them.
    systemd: OnceLock<Slots>,
}

impl Images {
    /// `None`, said aloud, where something is missing.
    pub(crate) fn make() -> Option<Self> {
        let packages = Packages::find()?;
        let dir = tempfile::tempdir().expect("a temporary directory");
        let grub = grub(&packages, dir.path());
        let uboot = uboot(&packages, dir.path());
        let script = Slots::make(&packages, Init::Script, &Kind::ALL);
        Some(Self { packages, grub, uboot, script, systemd: OnceLock::new() })
    }

    /// The root file systems of a device with this init.
    pub(crate) fn slots(&self, init: Init) -> &Slots {
        match init {
            Init::Script => &self.script,
            Init::Systemd => {
                self.systemd.get_or_init(|| Slots::make(&self.packages, Init::Systemd, &[Kind::Good]))
            }
        }
    }

    /// The disk of a device that was never updated, of this server. Slot B holds what was never an image.
    pub(crate) fn disk(&self, loader: Loader, init: Init, server: &Listener, work: &Path) -> Disk {
        let data = data(&self.packages, server, work);
        let parts = match loader {
            Loader::Grub => &self.grub,
            Loader::Uboot => &self.uboot,
        };
        let mut bytes = parts.front.clone();
        let mut areas = vec![];
        let mut entries = Vec::new();
        let slots = self.slots(init);
        let nothing = vec![0xa5; slots.size];
        for (area, kind, part) in [
            (Area::Boot, 0x0c, &parts.boot),
            (Area::A, 0x83, &slots.old),
            (Area::B, 0x83, &nothing),
            (Area::Data, 0x83, &data),
        ] {
            let range = bytes.len()..bytes.len() + part.len();
            entries.push((kind, range.clone()));
            areas.push((area, range));
            bytes.extend_from_slice(part);
        }
        if loader == Loader::Uboot {
            areas[0].1 = 0..FRONT;
        }
        write_table(&mut bytes, &entries);
        Disk::new(bytes, areas)
    }

    /// The variables of the boot environment's copy that counts, from what stands in [`Area::Boot`].
    pub(crate) fn environment(&self, loader: Loader, boot: &[u8], work: &Path) -> Vec<String> {
        match loader {
            Loader::Grub => self.grub_environment(boot, work),
            Loader::Uboot => uboot_environment(boot),
        }
    }

    fn grub_environment(&self, boot: &[u8], work: &Path) -> Vec<String> {
        let image = work.join("boot.img");
        fs::write(&image, boot).expect("the boot partition");
        let block = |name: &str| {
            let path = format!("::/grub-mender-grubenv/mender_grubenv{name}");
            let mut mcopy = self.packages.command("mcopy");
            let block = output_of(mcopy.arg("-n").arg("-i").arg(&image).arg(path).arg("-"));
            let text = String::from_utf8(block).expect("a block of text");
            text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
        };
        let first_counts = block("1/lock") == ["editing=0"] || block("2/lock") != ["editing=0"];
        block(if first_counts { "1/env" } else { "2/env" })
    }
}

/// GRUB and its environment: slot A is selected, no update is under way.
fn grub(packages: &Packages, dir: &Path) -> Parts {
    let early = dir.join("early.cfg");
    let text = "serial --unit=0\nterminal_output serial\nset root=(hd0,1)\nconfigfile /grub.cfg\n";
    fs::write(&early, text).expect("GRUB's first script");
    let core = dir.join("core.img");
    let mut mkimage = packages.command("grub-mkimage");
    mkimage.arg("-d").arg(packages.grub()).args(["-O", "i386-pc", "-p", "(hd0,1)", "-c"]).arg(&early);
    mkimage.arg("-o").arg(&core).args([
        "biosdisk",
        "part_msdos",
        "fat",
        "ext2",
        "linux",
        "normal",
        "configfile",
        "loadenv",
        "test",
        "echo",
        "serial",
        "terminal",
        "reboot",
    ]);
    run(&mut mkimage);
    let mut front = vec![0; FRONT];
    let first = fs::read(packages.grub().join("boot.img")).expect("GRUB's first sector");
    let core = fs::read(&core).expect("GRUB");
    // The first sector starts what stands in the second, as it comes from the package.
    front[..440].copy_from_slice(&first[..440]);
    front[SECTOR..SECTOR + core.len()].copy_from_slice(&core);

    let tree = dir.join("grub-mender-grubenv");
    let lock = block("editing=0\n");
    for copy in ["mender_grubenv1", "mender_grubenv2"] {
        let copy = tree.join(copy);
        fs::create_dir_all(&copy).expect("a directory");
        let env = block("mender_boot_part=2\nupgrade_available=0\nbootcount=0\n");
        fs::write(copy.join("env"), env).expect("a file");
        fs::write(copy.join("lock"), &lock).expect("a file");
        fs::write(copy.join("lock.sha256sum"), format!("{}  lock\n", hex(&lock))).expect("a file");
    }
    let script = dir.join("grub.cfg");
    fs::write(&script, include_str!("guest/grub.cfg")).expect("a file");
    Parts { front, boot: fat(packages, dir, &[&tree, &script]) }
}

/// A block of GRUB's environment.
fn block(text: &str) -> Vec<u8> {
    let mut block = format!("# GRUB Environment Block\n{text}").into_bytes();
    block.resize(1024, b'#');
    block
}

/// A FAT file system with these files and directories.
fn fat(packages: &Packages, dir: &Path, from: &[&Path]) -> Vec<u8> {
    let image = dir.join("boot.img");
    fs::write(&image, vec![0; BOOT_SIZE]).expect("the boot partition");
    run(packages.command("mkfs.vfat").arg(&image));
    run(packages.command("mcopy").arg("-s").arg("-i").arg(&image).args(from).arg("::/"));
    fs::read(&image).expect("the boot partition")
}

/// Where the copies of U-Boot's environment stand, and how long each is.
const COPIES: [usize; 2] = [0x80000, 0x90000];
const COPY_SIZE: usize = 0x1000;

/// `fw_env.config`.
pub(crate) fn uboot_copies() -> String {
    COPIES.map(|at| format!("/dev/vda {at:#x} {COPY_SIZE:#x}\n")).concat()
}

/// U-Boot's script and its environment: slot A is selected, no update is under way.
fn uboot(packages: &Packages, dir: &Path) -> Parts {
    let variables =
        "mender_boot_part=2\0mender_boot_part_hex=2\0upgrade_available=0\0bootcount=0\0bootlimit=1\0\0";
    let mut data = variables.as_bytes().to_vec();
    data.resize(COPY_SIZE - 5, 0);
    let mut front = vec![0; FRONT];
    for (count, at) in COPIES.into_iter().enumerate() {
        let count = u8::try_from(count).expect("two copies");
        let copy = [&crc32(&data).to_le_bytes()[..], &[count], &data].concat();
        front[at..at + COPY_SIZE].copy_from_slice(&copy);
    }
    let script = dir.join("boot.scr");
    fs::write(&script, uboot_script(include_str!("guest/uboot.cmd").as_bytes())).expect("a file");
    Parts { front, boot: fat(packages, dir, &[&script]) }
}

/// A script as U-Boot takes it: with a header that has a checksum of both.
fn uboot_script(text: &[u8]) -> Vec<u8> {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("a short script").to_be_bytes();
    let data = [&length(text)[..], &[0; 4], text].concat();
    let header = |checksum: u32| {
        // Time, load address and entry point are of no use; then the data's checksum, Linux, x86, script, plain, no name.
        let words = [0x2705_1956_u32.to_be_bytes(), checksum.to_be_bytes(), [0; 4], length(&data)].concat();
        [&words[..], &[0; 8], &crc32(&data).to_be_bytes(), &[5, 3, 6, 0], &[0; 32]].concat()
    };
    [header(crc32(&header(0))), data].concat()
}

/// As zlib has it.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
    })
}

/// The variables of the newer of the copies that are whole.
fn uboot_environment(front: &[u8]) -> Vec<String> {
    let copies = COPIES.map(|at| &front[at..at + COPY_SIZE]);
    let whole = copies.into_iter().filter(|copy| copy[..4] == crc32(&copy[5..]).to_le_bytes());
    // A test never comes to 255 writes, behind which they are counted from 0 again.
    let newest = whole.max_by_key(|copy| copy[4]).unwrap_or_default();
    let variables = newest.get(5..).unwrap_or_default().split(|&byte| byte == 0);
    variables.filter(|text| !text.is_empty()).map(|text| String::from_utf8_lossy(text).into_owned()).collect()
}

/// A partition table of the old kind, whose entries have no addresses by cylinder.
fn write_table(bytes: &mut [u8], entries: &[(u8, Range<usize>)]) {
    let sector = |at: usize| u32::try_from(at / SECTOR).expect("a small disk").to_le_bytes();
    for (number, (kind, range)) in entries.iter().enumerate() {
        let nowhere = [0xfe, 0xff, 0xff];
        let entry =
            [&[0][..], &nowhere, &[*kind], &nowhere, &sector(range.start), &sector(range.len())].concat();
        bytes[446 + 16 * number..][..16].copy_from_slice(&entry);
    }
    bytes[510..SECTOR].copy_from_slice(&[0x55, 0xaa]);
}

/// The datastore of a device that has heard of its server and of nothing else.
fn data(packages: &Packages, server: &Listener, work: &Path) -> Vec<u8> {
    let tree = work.join("data");
    fs::create_dir_all(&tree).expect("a directory");
    fs::set_permissions(&tree, fs::Permissions::from_mode(0o700)).expect("a mode");
    let certificate = match server.certificate() {
        "" => "",
        _ => r#","ServerCertificate":"/var/lib/mender/server.pem""#,
    };
    let conf = format!(r#"{{"ServerURL":"{}"{certificate}}}"#, server.url());
    fs::write(tree.join("mender.conf"), conf).expect("a file");
    fs::write(tree.join("server.pem"), server.certificate()).expect("a file");
    fs::write(tree.join("device_type"), format!("device_type={DEVICE_TYPE}\n")).expect("a file");
    let bootstrap = ArtifactWriter::empty(OLD, &[DEVICE_TYPE]).provides("rootfs-image.version", OLD).build();
    fs::write(tree.join("bootstrap.mender"), bootstrap).expect("a file");
    ext4(packages, &tree, DATA_SIZE, &[])
}
