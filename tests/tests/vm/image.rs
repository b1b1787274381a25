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
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thimble_hal_sim::artifact_writer::{ArtifactWriter, hex};
use thimble_hal_sim::listen::Listener;
use thimble_tests::lab::thimble;

use crate::disk::{Disk, SECTOR};
use crate::packages::{Packages, copy, output_of, run};
use crate::power::Area;
use crate::random::Random;

/// The type of the device.
pub(crate) const DEVICE_TYPE: &str = "vm";

/// What runs before the update, and what the update brings.
pub(crate) const OLD: &str = "release-1";
pub(crate) const NEW: &str = "release-2";

const MIB: usize = 1 << 20;
const BOOT_SIZE: usize = 4 * MIB;
const SLOT_SIZE: usize = 32 * MIB;
const DATA_SIZE: usize = 16 * MIB;
/// Where the first partition begins.
const FRONT: usize = MIB;

/// Drivers in the order in which they must be loaded.
const MODULES: [&str; 14] = [
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci",
    "drivers/block/virtio_blk",
    "net/core/failover",
    "drivers/net/net_failover",
    "drivers/net/virtio_net",
    "fs/nls/nls_cp437",
    "fs/nls/nls_ascii",
    "fs/nls/nls_utf8",
    "fs/fat/fat",
    "fs/fat/vfat",
];

/// The boot loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Loader {
    /// From the disk, started by QEMU's BIOS.
    Grub,
    /// In place of the BIOS.
    Uboot,
}

/// An update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The image is good.
    Good,
    /// What should be its kernel is none.
    NoKernel,
    /// Its init ends at once, which is a kernel panic.
    DyingInit,
    /// It starts, but a state script before the commit finds fault with it.
    SickHealth,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Good, Self::NoKernel, Self::DyingInit, Self::SickHealth];
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
    old: Vec<u8>,
    new: Vec<(Kind, String, Arc<[u8]>)>,
}

impl Images {
    /// `None`, said aloud, where something is missing.
    pub(crate) fn make() -> Option<Self> {
        let packages = Packages::find()?;
        let dir = tempfile::tempdir().expect("a temporary directory");
        let grub = grub(&packages, dir.path());
        let uboot = uboot(&packages, dir.path());
        let tree = dir.path().join("slot");
        populate(&packages, &tree);
        let old = slot(&packages, &tree, OLD);
        let good = slot(&packages, &tree, NEW);
        let new = Kind::ALL.map(|kind| {
            let bad =
                |file: &str, bytes: &[u8]| with(&tree.join(file), bytes, || slot(&packages, &tree, NEW));
            let image = match kind {
                Kind::Good | Kind::SickHealth => good.clone(),
                Kind::NoKernel => bad("boot/vmlinuz", &[0x5a; 4096]),
                Kind::DyingInit => bad("sbin/init", b"#!/bin/sh\nexit 1\n"),
            };
            let mut artifact = ArtifactWriter::new(NEW, "rootfs-image", &[DEVICE_TYPE])
                .provides("rootfs-image.version", NEW)
                .clears(&["rootfs-image.*"])
                .file("rootfs.ext4", &image);
            if kind == Kind::SickHealth {
                let script = b"#!/bin/sh\necho the health check says no >&2\nexit 1\n";
                artifact = artifact.script("ArtifactCommit_Enter_00_health", script);
            }
            (kind, hex(&image), artifact.build().into())
        });
        Some(Self { packages, grub, uboot, old, new: new.into() })
    }

    fn of(&self, kind: Kind) -> &(Kind, String, Arc<[u8]>) {
        self.new.iter().find(|(known, ..)| *known == kind).expect("all kinds are made")
    }

    /// The artifact of an update.
    pub(crate) fn artifact(&self, kind: Kind) -> Arc<[u8]> {
        self.of(kind).2.clone()
    }

    /// The digest of a slot that holds the release before the update.
    pub(crate) fn old_digest(&self) -> String {
        hex(&self.old)
    }

    /// The digest of a slot that holds an update.
    pub(crate) fn new_digest(&self, kind: Kind) -> &str {
        &self.of(kind).1
    }

    /// The disk of a device that was never updated, of this server. Slot B holds what was never an image.
    pub(crate) fn disk(&self, loader: Loader, server: &Listener, work: &Path) -> Disk {
        let data = data(&self.packages, server, work);
        let parts = match loader {
            Loader::Grub => &self.grub,
            Loader::Uboot => &self.uboot,
        };
        let mut bytes = parts.front.clone();
        let mut areas = vec![];
        let mut entries = Vec::new();
        let nothing = vec![0xa5; SLOT_SIZE];
        for (area, kind, part) in [
            (Area::Boot, 0x0c, &parts.boot),
            (Area::A, 0x83, &self.old),
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

/// Everything in a slot but what tells its release.
fn populate(packages: &Packages, tree: &Path) {
    for dir in [
        "bin",
        "sbin",
        "dev",
        "proc",
        "sys",
        "run",
        "tmp",
        "boot/efi",
        "etc/mender/scripts",
        "lib64",
        "usr/bin",
        "usr/share/mender/identity",
        "var/lib/mender",
    ] {
        fs::create_dir_all(tree.join(dir)).expect("a directory");
    }
    for dir in ["lib", "usr/lib"] {
        fs::create_dir_all(tree.join(dir).join("x86_64-linux-gnu")).expect("a directory");
    }
    symlink("/run/lock", tree.join("var/lock")).expect("a link");
    busybox(packages, &tree.join("bin"));
    let (kernel, modules) = packages.kernel();
    copy(&kernel, tree.join("boot/vmlinuz"));
    initramfs(packages, &modules, &tree.join("boot"));
    program(&tree.join("sbin/init"), include_str!("guest/init"));
    program(&tree.join("sbin/reboot"), include_str!("guest/reboot"));
    program(
        &tree.join("usr/share/mender/identity/mender-device-identity"),
        "#!/bin/sh\necho mac=$(cat /sys/class/net/eth0/address)\n",
    );
    fs::write(tree.join("etc/mender/mender.conf"), include_str!("guest/mender.conf")).expect("a file");
    // The address under which QEMU's user network has the host's loopback.
    fs::write(tree.join("etc/hosts"), "127.0.0.1 localhost\n10.0.2.2 server\n").expect("a file");
    fs::write(tree.join("etc/nsswitch.conf"), "hosts: files\n").expect("a file");
    let copies = COPIES.map(|at| format!("/dev/vda {at:#x} {COPY_SIZE:#x}\n")).concat();
    fs::write(tree.join("etc/fw_env.config"), copies).expect("a file");
    run(std::process::Command::new("strip").arg("-o").arg(tree.join("usr/bin/thimble")).arg(thimble()));
    for library in libraries(thimble()) {
        copy(&library, tree.join(library.strip_prefix("/").expect("an absolute path")));
    }
}

/// The libraries of a program, by the paths under which it looks for them.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let output = output_of(std::process::Command::new("ldd").arg(program));
    let text = String::from_utf8(output).expect("text");
    text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

fn busybox(packages: &Packages, bin: &Path) {
    copy(&packages.busybox(), bin.join("busybox"));
    let list = output_of(std::process::Command::new(packages.busybox()).arg("--list"));
    // `reboot` is ours.
    let list = String::from_utf8(list).expect("names");
    for applet in list.lines().filter(|applet| !["busybox", "reboot"].contains(applet)) {
        symlink("busybox", bin.join(applet)).expect("a link");
    }
}

/// busybox and the drivers, as an archive that is not compressed: unpacking would take the machine longer.
fn initramfs(packages: &Packages, modules: &Path, boot: &Path) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let tree = dir.path();
    for dir in ["bin", "dev", "proc", "sys", "root", "modules"] {
        fs::create_dir_all(tree.join(dir)).expect("a directory");
    }
    busybox(packages, &tree.join("bin"));
    program(&tree.join("init"), include_str!("guest/initramfs-init"));
    let mut order = String::new();
    for module in MODULES {
        let path = modules.join(format!("{module}.ko"));
        let name = Path::new(module).file_name().and_then(|name| name.to_str()).expect("a name");
        copy(&path, tree.join(format!("modules/{name}.ko")));
        order.push_str(&format!("{name}\n"));
    }
    fs::write(tree.join("modules/order"), order).expect("a file");
    let mut cpio = std::process::Command::new("sh");
    cpio.arg("-c").arg("find . | \"$0\" cpio -o -H newc -R 0:0").arg(packages.busybox()).current_dir(tree);
    fs::write(boot.join("initramfs"), output_of(&mut cpio)).expect("a file");
}

/// A slot with this release. What is in it beside does not repeat from one release to the next.
fn slot(packages: &Packages, tree: &Path, release: &str) -> Vec<u8> {
    fs::write(tree.join("etc/release"), format!("{release}\n")).expect("a file");
    let mut ballast = vec![0; 2 * MIB];
    Random::new(release.bytes().map(u64::from).sum()).fill(&mut ballast);
    fs::write(tree.join("usr/share/ballast"), ballast).expect("a file");
    ext4(packages, tree, SLOT_SIZE, &["-O", "^has_journal"])
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

fn ext4(packages: &Packages, tree: &Path, size: usize, options: &[&str]) -> Vec<u8> {
    let image = tree.with_extension("ext4");
    let file = fs::File::create(&image).expect("an image");
    file.set_len(size as u64).expect("room for an image");
    let mut mkfs = packages.command("mkfs.ext4");
    run(mkfs.args(["-q", "-F", "-b", "4096", "-m", "0"]).args(options).arg("-d").arg(tree).arg(&image));
    let bytes = fs::read(&image).expect("the image");
    fs::remove_file(&image).expect("the image is not needed any more");
    bytes
}

fn program(path: &Path, text: &str) {
    fs::write(path, text).expect("a program");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
}

/// With another content of a file for the time being.
fn with<T>(path: &Path, bytes: &[u8], f: impl FnOnce() -> T) -> T {
    let before = fs::read(path).expect("a file");
    fs::write(path, bytes).expect("a file");
    let result = f();
    fs::write(path, before).expect("a file");
    result
}
