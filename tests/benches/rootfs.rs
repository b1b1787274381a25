//! What writing a root file system costs, against a floor and against Debian's `mender` 3.4 in the same run.
//!
//! ```text
//! cargo build --release -p thimble && cargo bench -p thimble-tests --bench rootfs [-- MIB [RUNS]]
//! ```
//!
//! The floor: `openssl dgst -sha256` of the image, and `dd bs=1M oflag=direct` of it to the same loop device; for a
//! compressed artifact the stand-alone decompressor piped into `dd`. CPU is compared with the sum, wall time with the
//! slower of the two. All commands of a comparison are run in turn, so that a busy machine is busy for all of them.
//!
//! The file of the loop device is in memory (`/dev/shm`) where that is possible: on a disk, `dd` would end with
//! everything in the page cache, and only the client, which flushes, would wait for the disk.
//!
//! Needs root, loop devices, `mkenvimage`, `fw_printenv`, `openssl`, `xz`, `zstd`, `strace`.
//! `mender` is measured when it is installed.

#[path = "measure.rs"]
mod measure;
#[path = "packed.rs"]
mod packed;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use measure::{Usage, in_turn, run};
use packed::{command, shell, text, write_payload, writer};

/// The boot loader's own tools, over an environment of the bench.
const TOOL: &str = "#!/bin/sh\nexec /usr/bin/NAME -c 'CONFIG' \"$@\"\n";
const RUNS: usize = 5;

fn main() {
    if packed::is_writer() {
        return;
    }
    let mut numbers = std::env::args().skip(1).filter_map(|arg| arg.parse().ok());
    let (mib, runs) = (numbers.next().unwrap_or(256), numbers.next().unwrap_or(RUNS));
    Bench::new(mib, runs).measure();
}

struct Bench {
    dir: PathBuf,
    disk: PathBuf,
    thimble: PathBuf,
    slot: String,
    image: PathBuf,
    mib: usize,
    runs: usize,
    mender: bool,
    /// Made for mender 3.4, which needs an artifact's name.
    made: Option<&'static str>,
}

impl Bench {
    fn new(mib: usize, runs: usize) -> Self {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        let thimble = workspace.join("target/release/thimble");
        assert!(thimble.exists(), "build it first: cargo build --release -p thimble");
        let dir = std::env::temp_dir().join(format!("thimble-bench-{}", std::process::id()));
        for sub in ["conf", "data/modules/v3", "store", "mender-3.4", "tools"] {
            fs::create_dir_all(dir.join(sub)).expect("a temporary directory");
        }
        for store in ["store", "mender-3.4"] {
            fs::write(dir.join(store).join("device_type"), "device_type=bench\n").expect("device_type");
        }
        let config = dir.join("fw_env.config");
        let copies = [dir.join("env0"), dir.join("env1")];
        fs::write(&config, copies.each_ref().map(|copy| format!("{} 0x0 0x4000\n", text(copy))).concat())
            .expect("fw_env.config");
        for name in ["fw_printenv", "fw_setenv"] {
            let path = dir.join("tools").join(name);
            fs::write(&path, TOOL.replace("NAME", name).replace("CONFIG", text(&config))).expect("a tool");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
        }
        let source = dir.join("env.txt");
        fs::write(&source, "mender_boot_part=2\nupgrade_available=0\nbootcount=0\n").expect("variables");
        run(&mut command("mkenvimage", &["-r", "-s", "0x4000", "-o", text(&dir.join("env")), text(&source)]));
        let memory = Path::new("/dev/shm");
        let name = format!("thimble-bench-{}.disk", std::process::id());
        let disk = if memory.is_dir() { memory } else { dir.as_path() }.join(name);
        fs::File::create(&disk).and_then(|file| file.set_len((mib as u64 + 8) << 20)).expect("a disk");
        // Allocated before anything is measured.
        run(&mut command(
            "dd",
            &[
                "if=/dev/urandom",
                &format!("of={}", text(&disk)),
                "bs=1M",
                &format!("count={}", mib + 8),
                "conv=notrunc",
            ],
        ));
        let output = Command::new("losetup").args(["-f", "--show"]).arg(&disk).output().expect("losetup");
        assert!(output.status.success(), "no loop device can be set up; this bench needs root");
        let slot = String::from_utf8(output.stdout).expect("a name").trim().to_owned();
        let root = fs::metadata("/").expect("the root").dev();
        let (root_node, slot_node) = (dir.join("part2"), dir.join("part3"));
        let numbers = [libc::major(root).to_string(), libc::minor(root).to_string()];
        run(&mut command("mknod", &[text(&root_node), "b", &numbers[0], &numbers[1]]));
        std::os::unix::fs::symlink(&slot, &slot_node).expect("a link");
        let image = dir.join("image");
        write_payload(&image, mib);
        let mender = Path::new("/usr/bin/mender").exists();
        let info = "/etc/mender/artifact_info";
        let made = (mender && !Path::new(info).exists()).then(|| {
            fs::create_dir_all("/etc/mender").expect("/etc/mender");
            fs::write(info, "artifact_name=old\n").expect(info);
            info
        });
        // Mender compares its RootfsPartA with what is mounted by name.
        let conf =
            format!("{{\"RootfsPartA\":\"{}\",\"RootfsPartB\":\"{}\"}}", mounted_root(), text(&slot_node));
        fs::write(dir.join("mender-3.4.conf"), conf).expect("mender.conf");
        let bench = Self { dir, disk, thimble, slot, image, mib, runs, mender, made };
        bench.configure(true);
        bench
    }

    fn configure(&self, verify: bool) {
        let dir = text(&self.dir);
        fs::write(
            self.dir.join("conf/mender.conf"),
            format!(
                "{{\"RootfsPartA\":\"{dir}/part2\",\"RootfsPartB\":\"{dir}/part3\",\
                 \"Bootloader\":\"uboot-tools\",\"RootfsVerify\":{verify}}}"
            ),
        )
        .expect("mender.conf");
    }

    fn measure(&self) {
        println!("{} MiB into a loop device (medians of {} runs in turn)", self.mib, self.runs);
        println!("{:<40}{:>8}{:>8}{:>8}{:>8}{:>9}", "", "CPU s", "ratio", "wall s", "ratio", "peak MiB");
        for (name, tool) in
            [("uncompressed", None), ("gzip", Some("gzip")), ("xz", Some("xz")), ("zstd", Some("zstd"))]
        {
            let artifact = self.dir.join(format!("{name}.mender"));
            let compress = tool.map_or(String::new(), compressor);
            run(&mut writer(&artifact, "rootfs-image", &self.image, name, &compress));
            self.compare(name, &artifact, tool);
            if tool.is_none() {
                self.calls(&artifact);
            }
        }
    }

    /// The floor, the client without and with reading back, and Mender's client.
    fn compare(&self, name: &str, artifact: &Path, tool: Option<&str>) {
        let (image, slot, packed) = (text(&self.image), &self.slot, self.dir.join("packed"));
        if let Some(tool) = tool {
            run(&mut shell(&format!("{} < {image} > {}", compressor(tool), text(&packed))));
        }
        let mut digest = || command("openssl", &["dgst", "-sha256", image]);
        let mut write = || {
            self.other_bytes();
            let to = format!("of={slot} bs=1M oflag=direct conv=notrunc");
            match tool {
                None => shell(&format!("exec dd if={image} {to}")),
                Some(tool) => shell(&format!("{tool} -dc {} | dd iflag=fullblock {to}", text(&packed))),
            }
        };
        let ours = |verify| {
            move || {
                self.assert_written();
                self.other_bytes();
                self.configure(verify);
                self.install(artifact)
            }
        };
        let mut again = || {
            self.assert_written();
            self.configure(false);
            self.install(artifact)
        };
        let mut mender = || {
            self.assert_written();
            self.other_bytes();
            self.mender_install(artifact)
        };
        let (mut plain, mut read_back) = (ours(false), ours(true));
        let mut all: Vec<&mut dyn FnMut() -> Command> =
            vec![&mut digest, &mut write, &mut plain, &mut read_back, &mut again];
        // Mender 3.4 knows no zstd.
        if self.mender && tool != Some("zstd") {
            all.push(&mut mender);
        }
        let used = in_turn(self.runs, &mut all);
        self.assert_written();
        let floor = Usage { cpu: used[0].cpu + used[1].cpu, wall: used[0].wall.max(used[1].wall), peak: 0.0 };
        row(&format!("{name}, openssl dgst"), used[0], floor);
        row(
            &format!("{name}, {}", tool.map_or("dd".into(), |tool| format!("{tool} -dc | dd"))),
            used[1],
            floor,
        );
        row(&format!("{name}, thimble"), used[2], floor);
        row(&format!("{name}, thimble, read back"), used[3], floor);
        row(&format!("{name}, thimble, the same image again"), used[4], floor);
        if let Some(mender) = used.get(5) {
            row(&format!("{name}, mender 3.4"), *mender, floor);
            println!("{:<40}{:>32.2} of mender's wall time", "", used[2].wall / mender.wall);
        }
    }

    /// Bytes written to the slot, and its flushes, counted by strace.
    fn calls(&self, artifact: &Path) {
        for (who, mender, fresh) in
            [("thimble", false, true), ("thimble, same image", false, false), ("mender 3.4", true, true)]
        {
            if mender && !self.mender {
                continue;
            }
            if fresh {
                self.other_bytes();
            }
            let inner = if mender { self.mender_install(artifact) } else { self.install(artifact) };
            let trace = self.dir.join("trace");
            let mut strace = Command::new("strace");
            // One file for each thread: no call is split.
            strace.args([
                "-ff",
                "-y",
                "-o",
                text(&trace),
                "-e",
                "trace=fsync,fdatasync,syncfs,write,pwrite64",
            ]);
            strace.arg(inner.get_program()).args(inner.get_args());
            strace.envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))));
            run(&mut strace);
            let threads = fs::read_dir(&self.dir).expect("the directory").flatten().map(|found| found.path());
            let threads = threads.filter(|path| path.file_stem().is_some_and(|name| name == "trace"));
            let trace: String = threads
                .map(|path| {
                    let text = fs::read_to_string(&path).expect("strace's output");
                    fs::remove_file(&path).expect("strace's output");
                    text
                })
                .collect();
            let on_slot = || trace.lines().filter(|line| line.contains(&format!("<{}", self.slot)));
            let flushes = on_slot().filter(|line| line.contains("sync(")).count();
            let written: u64 = on_slot()
                .filter(|line| line.contains("write"))
                .filter_map(|line| line.rsplit_once("= ")?.1.trim().parse::<u64>().ok())
                .sum();
            println!(
                "{:<40}{:>8.1} MiB written, {flushes} flushes of the slot",
                who,
                written as f64 / 1048576.0
            );
        }
    }

    /// The slot holds something else, and the boot loader nothing of an update.
    fn other_bytes(&self) {
        self.settle();
        run(&mut command(
            "dd",
            &[
                "if=/dev/zero",
                &format!("of={}", self.slot),
                "bs=1M",
                "oflag=direct",
                &format!("count={}", self.mib),
            ],
        ));
    }

    fn settle(&self) {
        for copy in ["env0", "env1"] {
            fs::copy(self.dir.join("env"), self.dir.join(copy)).expect("the environment");
        }
        for store in ["store", "mender-3.4"] {
            for entry in fs::read_dir(self.dir.join(store)).expect("a store").flatten() {
                if entry.file_name() != "device_type" {
                    drop(fs::remove_file(entry.path()).or_else(|_| fs::remove_dir_all(entry.path())));
                }
            }
        }
    }

    fn assert_written(&self) {
        let bytes = (self.mib << 20).to_string();
        run(&mut command("cmp", &["-n", &bytes, text(&self.image), &self.slot]));
    }

    fn with_tools(&self, mut command: Command) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", text(&self.dir.join("tools"))));
        command
    }

    fn install(&self, artifact: &Path) -> Command {
        self.settle();
        let mut command = command(text(&self.thimble), &["install", text(artifact)]);
        for (variable, sub) in
            [("MENDER_CONF_DIR", "conf"), ("MENDER_DATA_DIR", "data"), ("MENDER_DATASTORE_DIR", "store")]
        {
            command.env(variable, self.dir.join(sub));
        }
        self.with_tools(command)
    }

    fn mender_install(&self, artifact: &Path) -> Command {
        self.settle();
        let (data, conf) = (self.dir.join("mender-3.4"), self.dir.join("mender-3.4.conf"));
        let mut command = command("mender", &["--data", text(&data), "--config", text(&conf), "--no-syslog"]);
        command.args(["install", text(artifact)]);
        self.with_tools(command)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(made) = self.made {
            drop(fs::remove_file(made));
        }
        drop(Command::new("losetup").args(["-d", &self.slot]).status());
        drop(fs::remove_file(&self.disk));
        drop(fs::remove_dir_all(&self.dir));
    }
}

/// Reads stdin and writes stdout.
fn compressor(tool: &str) -> String {
    let quick = if tool == "xz" { " -T2" } else { "" };
    format!("{tool} -6{quick} -c")
}

/// The device mounted at `/`, as the mount table names it.
fn mounted_root() -> String {
    let mounts = fs::read_to_string("/proc/mounts").expect("the mount table");
    let root = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .rfind(|line| line.get(1) == Some(&"/"));
    root.and_then(|line| line.first().map(|source| (*source).to_owned())).unwrap_or_default()
}

fn row(what: &str, used: Usage, floor: Usage) {
    println!(
        "{what:<40}{:>8.3}{:>8.2}{:>8.3}{:>8.2}{:>9.1}",
        used.cpu,
        used.cpu / floor.cpu,
        used.wall,
        used.wall / floor.wall,
        used.peak
    );
}
