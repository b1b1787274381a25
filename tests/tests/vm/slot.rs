//! The root file systems of a device: what runs before an update, and what updates bring.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use thimble_hal_sim::artifact_writer::{ArtifactWriter, hex};
use thimble_tests::lab::thimble;

use crate::image::{DEVICE_TYPE, NEW, OLD, uboot_copies};
use crate::packages::{Packages, copy, output_of, run};
use crate::random::Random;

const MIB: usize = 1 << 20;

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

/// What starts the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Init {
    /// A script, which is all of the init.
    Script,
    /// systemd, as the service of `support`.
    Systemd,
}

/// An image, its digest, and its artifact.
pub(crate) struct Update {
    kind: Kind,
    /// In hexadecimal digits.
    pub(crate) digest: String,
    pub(crate) artifact: Arc<[u8]>,
}

/// The root file systems of one kind of device.
pub(crate) struct Slots {
    /// Bytes of a slot.
    pub(crate) size: usize,
    /// What runs before the update.
    pub(crate) old: Vec<u8>,
    updates: Vec<Update>,
}

impl Slots {
    /// With updates of these kinds.
    pub(crate) fn make(packages: &Packages, init: Init, kinds: &[Kind]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let tree = dir.path().join("slot");
        populate(packages, &tree);
        let size = match init {
            Init::Script => {
                program(&tree.join("sbin/init"), include_str!("guest/init"));
                program(&tree.join("sbin/reboot"), include_str!("guest/reboot"));
                32 * MIB
            }
            Init::Systemd => {
                systemd(&tree);
                64 * MIB
            }
        };
        let slot = |release| slot(packages, &tree, release, size);
        let (old, good) = (slot(OLD), slot(NEW));
        let update = |&kind| {
            let bad = |file: &str, bytes: &[u8]| with(&tree.join(file), bytes, || slot(NEW));
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
            Update { kind, digest: hex(&image), artifact: artifact.build().into() }
        };
        Self { size, updates: kinds.iter().map(update).collect(), old }
    }

    /// One of the updates.
    pub(crate) fn update(&self, kind: Kind) -> &Update {
        self.updates.iter().find(|update| update.kind == kind).expect("the kind was made")
    }
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
    program(
        &tree.join("usr/share/mender/identity/mender-device-identity"),
        "#!/bin/sh\necho mac=$(cat /sys/class/net/eth0/address)\n",
    );
    fs::write(tree.join("etc/mender/mender.conf"), include_str!("guest/mender.conf")).expect("a file");
    // The address under which QEMU's user network has the host's loopback.
    fs::write(tree.join("etc/hosts"), "127.0.0.1 localhost\n10.0.2.2 server\n").expect("a file");
    fs::write(tree.join("etc/nsswitch.conf"), "hosts: files\n").expect("a file");
    fs::write(tree.join("etc/fw_env.config"), uboot_copies()).expect("a file");
    run(Command::new("strip").arg("-o").arg(tree.join("usr/bin/thimble")).arg(thimble()));
    copy_libraries(thimble(), tree);
}

/// systemd and the service, with nothing beside what that needs.
fn systemd(tree: &Path) {
    let support = Path::new(env!("CARGO_MANIFEST_DIR")).join("../support");
    let units = tree.join("etc/systemd/system");
    let of_systemd = Path::new("/lib/systemd");
    for dir in
        ["etc/systemd/system/mender-updated.service.d", "lib/systemd/system", "var/tmp", "root", "home"]
    {
        fs::create_dir_all(tree.join(dir)).expect("a directory");
    }
    for name in ["systemd", "systemd-shutdown", "systemd-executor"] {
        // Later versions have one program more.
        let program = of_systemd.join(name);
        if program.exists() {
            copy(&program, tree.join("lib/systemd").join(name));
            copy_libraries(&program, tree);
        }
    }
    copy(Path::new("/bin/systemctl"), tree.join("bin/systemctl"));
    copy_libraries(Path::new("/bin/systemctl"), tree);
    for name in
        ["reboot.target", "systemd-reboot.service", "shutdown.target", "umount.target", "final.target"]
    {
        copy(&of_systemd.join("system").join(name), tree.join("lib/systemd/system").join(name));
    }
    symlink("/lib/systemd/systemd", tree.join("sbin/init")).expect("a link");
    symlink("/bin/systemctl", tree.join("sbin/reboot")).expect("a link");
    fs::write(tree.join("etc/machine-id"), "00000000000000000000000000000001\n").expect("a file");
    program(&tree.join("sbin/set-up"), include_str!("guest/systemd/set-up"));
    copy(&support.join("mender-updated.service"), units.join("mender-updated.service"));
    // It runs before each start of the service.
    let checks = tree.join("usr/lib/thimble");
    fs::create_dir_all(&checks).expect("a directory");
    copy(&support.join("check-datastore"), checks.join("check-datastore"));
    let files = [
        ("mender-updated.service.d/test.conf", include_str!("guest/systemd/test.conf")),
        ("set-up.service", include_str!("guest/systemd/set-up.service")),
        ("show.service", include_str!("guest/systemd/show.service")),
        ("default.target", include_str!("guest/systemd/default.target")),
    ];
    // What a distribution does at its start is none of the client's affair.
    let nothing = ["sysinit.target", "basic.target", "network-online.target"];
    for (name, text) in
        files.into_iter().chain(nothing.map(|name| (name, "[Unit]\nDefaultDependencies=no\n")))
    {
        fs::write(units.join(name), text).expect("a unit");
    }
}

fn copy_libraries(program: &Path, tree: &Path) {
    for library in libraries(program) {
        let to = tree.join(library.strip_prefix("/").expect("an absolute path"));
        fs::create_dir_all(to.parent().expect("a directory")).expect("a directory");
        copy(&library, to);
    }
}

/// The libraries of a program, by the paths under which it looks for them.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let output = output_of(Command::new("ldd").arg(program));
    let text = String::from_utf8(output).expect("text");
    text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

fn busybox(packages: &Packages, bin: &Path) {
    copy(&packages.busybox(), bin.join("busybox"));
    let list = output_of(Command::new(packages.busybox()).arg("--list"));
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
    let mut cpio = Command::new("sh");
    cpio.arg("-c").arg("find . | \"$0\" cpio -o -H newc -R 0:0").arg(packages.busybox()).current_dir(tree);
    fs::write(boot.join("initramfs"), output_of(&mut cpio)).expect("a file");
}

/// A slot with this release. What is in it beside does not repeat from one release to the next.
fn slot(packages: &Packages, tree: &Path, release: &str, size: usize) -> Vec<u8> {
    fs::write(tree.join("etc/release"), format!("{release}\n")).expect("a file");
    let mut ballast = vec![0; 2 * MIB];
    Random::new(release.bytes().map(u64::from).sum()).fill(&mut ballast);
    fs::write(tree.join("usr/share/ballast"), ballast).expect("a file");
    ext4(packages, tree, size, &["-O", "^has_journal"])
}

pub(crate) fn ext4(packages: &Packages, tree: &Path, size: usize, options: &[&str]) -> Vec<u8> {
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
