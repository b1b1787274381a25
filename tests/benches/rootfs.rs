//! What writing a root file system costs, against a floor and against Debian's `mender` 3.4 in the same run.
//!
//! ```text
//! cargo build --release -p thimble && cargo bench -p thimble-tests --bench rootfs [-- MIB]
//! ```
//!
//! The floor: `openssl dgst -sha256` of the image, and `dd bs=1M oflag=direct` of it to the same loop device; for a
//! compressed artifact the stand-alone decompressor piped into `dd`. CPU is compared with the sum, wall time with the
//! slower of the two. Needs root, loop devices, `mender-artifact`, `openssl`, `xz`, `zstd`, `strace`. `mender` is
//! measured when it is installed; it wants its boot loader's tools in `PATH`, which are scripts over a file here.

#[path = "measure.rs"]
mod measure;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use measure::{Usage, median, run};

const PRINT: &str = "#!/bin/sh\n[ $# = 0 ] && exec cat 'ENV'\nfor n; do grep \"^$n=\" 'ENV'; done\n";
const SET: &str = "#!/bin/sh\ncp 'ENV' 'ENV.new'\n[ \"$1\" = -s ] || { echo \"$1=$2\" | exec \"$0\" -s -; exit; }\n\
                   while IFS='= ' read -r n v; do grep -v \"^$n=\" 'ENV.new' > 'ENV.newer'\n\
                   echo \"$n=$v\" >> 'ENV.newer'; mv 'ENV.newer' 'ENV.new'; done\nmv 'ENV.new' 'ENV'\n";
const RUNS: usize = 5;

fn main() {
    let mib = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(256);
    Bench::new(mib).measure();
}

struct Bench {
    dir: PathBuf,
    thimble: PathBuf,
    slot: String,
    image: PathBuf,
    mib: usize,
    mender: bool,
    /// Made for mender 3.4, which needs an artifact's name.
    made: Option<&'static str>,
}

impl Bench {
    fn new(mib: usize) -> Self {
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
        let env = dir.join("env");
        for (name, script) in [("fw_printenv", PRINT), ("fw_setenv", SET)] {
            let path = dir.join("tools").join(name);
            fs::write(&path, script.replace("ENV", text(&env))).expect("a tool");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
        }
        let disk = dir.join("disk");
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
        write_image(&image, mib);
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
        let bench = Self { dir, thimble, slot, image, mib, mender, made };
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
        let image = text(&self.image);
        let slot = &self.slot;
        println!("{} MiB into a loop device (medians of {RUNS})", self.mib);
        println!("{:<40}{:>8}{:>8}{:>8}{:>8}{:>9}", "", "CPU s", "ratio", "wall s", "ratio", "peak MiB");
        let digest = median(RUNS, || command("openssl", &["dgst", "-sha256", image]));
        let dd = median(RUNS, || {
            self.other_bytes();
            command(
                "dd",
                &[&format!("if={image}"), &format!("of={slot}"), "bs=1M", "oflag=direct", "conv=notrunc"],
            )
        });
        let plain = Usage { cpu: digest.cpu + dd.cpu, wall: digest.wall.max(dd.wall), peak: 0.0 };
        row("floor: openssl dgst, dd", plain, plain);
        for (name, option, tool) in [
            ("uncompressed", "none", None),
            ("gzip", "gzip", Some("gzip")),
            ("xz", "lzma", Some("xz")),
            ("zstd", "zstd_better", Some("zstd")),
        ] {
            let artifact = self.dir.join(format!("{name}.mender"));
            if !self.write_artifact(&artifact, option) {
                println!("{name}: this mender-artifact cannot write it");
                continue;
            }
            let floor = match tool {
                None => plain,
                Some(tool) => {
                    let packed = self.dir.join("packed");
                    let quick = if tool == "xz" { " -T2" } else { "" };
                    run(&mut shell(&format!("{tool} -6{quick} -c {image} > {}", text(&packed))));
                    let floor = median(RUNS, || {
                        self.other_bytes();
                        shell(&format!(
                            "{tool} -dc {} | dd of={slot} bs=1M iflag=fullblock oflag=direct conv=notrunc",
                            text(&packed)
                        ))
                    });
                    let floor = Usage { cpu: floor.cpu + digest.cpu, ..floor };
                    row(&format!("{name}, floor: {tool} -dc | dd"), floor, floor);
                    floor
                }
            };
            for verify in [false, true] {
                self.configure(verify);
                let used = median(RUNS, || {
                    self.other_bytes();
                    self.install(&artifact)
                });
                let read_back = if verify { ", read back" } else { "" };
                row(&format!("{name}, thimble{read_back}"), used, floor);
                self.assert_written();
            }
            if tool.is_none() {
                self.configure(false);
                let used = median(RUNS, || self.install(&artifact));
                row("the same image again", used, floor);
            }
            if self.mender {
                let used = median(RUNS, || {
                    self.other_bytes();
                    self.mender_install(&artifact)
                });
                row(&format!("{name}, mender 3.4"), used, floor);
                self.assert_written();
            }
            if tool.is_none() {
                self.calls(&artifact);
            }
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
            strace.args([
                "-f",
                "-y",
                "-o",
                text(&trace),
                "-e",
                "trace=fsync,fdatasync,syncfs,write,pwrite64",
            ]);
            strace.arg(inner.get_program()).args(inner.get_args());
            strace.envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))));
            run(&mut strace);
            let trace = fs::read_to_string(&trace).expect("strace's output");
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
        fs::write(self.dir.join("env"), "mender_boot_part=2\nupgrade_available=0\nbootcount=0\n")
            .expect("env");
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

    fn write_artifact(&self, artifact: &Path, compression: &str) -> bool {
        let mut command = command(
            "mender-artifact",
            &[
                "write",
                "rootfs-image",
                "-n",
                "bench",
                "-t",
                "bench",
                "-f",
                text(&self.image),
                "-o",
                text(artifact),
            ],
        );
        command.args(["--compression", compression]).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
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
        drop(fs::remove_dir_all(&self.dir));
    }
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

fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    command
}

fn shell(line: &str) -> Command {
    command("sh", &["-c", line])
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Half of its bits are random (xorshift of a fixed seed): it compresses about two to one, and holds no zeros.
fn write_image(path: &Path, mib: usize) {
    let mut file = std::io::BufWriter::new(fs::File::create(path).expect("the image"));
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..mib * 1024 * 1024 / 8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        file.write_all(&(state & 0x0f0f_0f0f_0f0f_0f0f).to_le_bytes()).expect("the image");
    }
}
