//! How much flash, memory and stack core takes on a Cortex-M3: two images are built and run in QEMU, and must stay below
//! their ceilings (see `bin/firmware`).
//!
//! ```text
//! cargo test --test firmware -- --nocapture                       the table, and the twenty largest symbols
//! THIMBLE_WRITE_SIZES=1 cargo test --test firmware                writes the table into core/README.md
//! ```

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const TARGET: &str = "thumbv7m-none-eabi";

/// Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sizes {
    /// Code and constants.
    flash: usize,
    /// `Client`, without the state of the decompressor and lent memory.
    client: usize,
    /// Stack of one call of `poll`, at most.
    poll: usize,
    /// Stack of `start`.
    start: usize,
}

struct Image {
    name: &'static str,
    /// What it has, for the table.
    what: &'static str,
    features: &'static [&'static str],
    /// The same with a verifier that accepts whatever it gets. What flash that saves is the signature's own size: the
    /// arithmetic of the curve, and all else that is there for it alone. It counts neither for the goal nor the ceiling.
    without_signature: Option<&'static [&'static str]>,
    /// What it should take.
    goal: Sizes,
    /// What it must not exceed: the goal, or what was reached so far. Lowered with each step, never raised in silence.
    ceiling: Sizes,
}

const IMAGES: [Image; 2] = [
    Image {
        name: "full",
        what: "everything: scripts, signatures, gzip, control maps, resumed downloads, inventory, log, verbs",
        features: &[],
        without_signature: Some(&["--no-default-features", "--features", "full"]),
        goal: Sizes { flash: 72 * 1024, client: 6 * 1024, poll: 6 * 1024, start: 6 * 1024 },
        ceiling: Sizes { flash: 137_400, client: 6 * 1024, poll: 6600, start: 6 * 1024 },
    },
    Image {
        name: "small",
        what: "without scripts, signatures, gzip, control maps, resumed downloads, inventory, log and verbs",
        features: &["--no-default-features"],
        without_signature: None,
        goal: Sizes { flash: 33 * 1024, client: 4 * 1024, poll: 4 * 1024, start: 4 * 1024 },
        ceiling: Sizes { flash: 109_400, client: 4300, poll: 4 * 1024, start: 4 * 1024 },
    },
];

#[test]
fn core_stays_below_its_ceilings_on_a_microcontroller() {
    let Some(sysroot) = sysroot() else { return };
    let mut table = String::from(
        "| image | flash | `Client` | stack of `poll` | stack of `start` |\n|---|---:|---:|---:|---:|\n",
    );
    let mut wrong = String::new();
    for image in &IMAGES {
        let elf = build(image.name, image.features, sysroot.as_deref());
        let mut sizes = sizes(&elf);
        println!("{}: {sizes:?}, the largest symbols:", image.name);
        for (size, name) in symbols(&elf).into_iter().take(20) {
            println!("{size:8} {name}");
        }
        let Image { what, goal, ceiling, .. } = image;
        let mut signature = String::new();
        if let Some(features) = image.without_signature {
            let other = build(&format!("{}-without-signature", image.name), features, sysroot.as_deref());
            let without = self::sizes(&other);
            let own = sizes.flash - without.flash;
            println!("without the check of signatures: {without:?}; its own size is {own}");
            signature = format!(" + {own} of the signature");
            sizes.flash = without.flash;
        }
        for (what, is, ceiling, goal) in [
            ("flash", sizes.flash, ceiling.flash, goal.flash),
            ("client", sizes.client, ceiling.client, goal.client),
            ("stack of poll", sizes.poll, ceiling.poll, goal.poll),
            ("stack of start", sizes.start, ceiling.start, goal.start),
        ] {
            assert!(ceiling >= goal, "{what}: the goal is reached, let it be the ceiling");
            if is > ceiling {
                wrong += &format!("{}: {what} has grown to {is} bytes (at most {ceiling})\n", image.name);
            }
        }
        table += &format!(
            "| {what} | {}{signature} (goal {}) | {} (goal {}) | {} (goal {}) | {} (goal {}) |\n",
            sizes.flash,
            goal.flash,
            sizes.client,
            goal.client,
            sizes.poll,
            goal.poll,
            sizes.start,
            goal.start
        );
    }
    print!("{table}");
    assert!(wrong.is_empty(), "{wrong}");
    compare_with_readme(&table);
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a folder of the project")
}

/// Where the library of the target is: `Some(None)` when the compiler has it, `None` when something is missing.
#[expect(clippy::option_option, reason = "missing, the compiler's own, or ours")]
fn sysroot() -> Option<Option<PathBuf>> {
    let missing = |what: &str| println!("left out: {what}");
    if Command::new("qemu-system-arm").arg("--version").output().is_err() {
        missing("needs qemu-system-arm (Debian package qemu-system-arm)");
        return None;
    }
    let libdir =
        Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output().ok()?;
    let libdir = PathBuf::from(String::from_utf8_lossy(&libdir.stdout).trim());
    let has_core = fs::read_dir(&libdir).is_ok_and(|files| {
        files.flatten().any(|file| file.file_name().to_string_lossy().starts_with("libcore-"))
    });
    if has_core {
        return Some(None);
    }
    let ours = target_dir().join("firmware/sysroot");
    if !ours.join("lib/rustlib").join(TARGET).exists() {
        missing("needs the library of the target: bin/firmware/prepare target/firmware");
        return None;
    }
    Some(Some(ours))
}

fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

fn build(name: &str, features: &[&str], sysroot: Option<&Path>) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--locked"]).current_dir(root().join("bin/firmware"));
    let out = target_dir().join("firmware").join(name);
    cargo.arg("--target-dir").arg(&out).args(features);
    if let Some(sysroot) = sysroot {
        let flags = format!("target.{TARGET}.rustflags=['--sysroot={}']", sysroot.display());
        cargo.args(["--config", &flags]);
    }
    // Nothing of the run around it may change what is measured.
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_TARGET_DIR", "CARGO_BUILD_TARGET"] {
        cargo.env_remove(name);
    }
    let output = cargo.output().expect("cargo can be run");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    out.join(TARGET).join("release/thimble-firmware")
}

/// The flash by the image's sections, the others by its own report.
fn sizes(elf: &Path) -> Sizes {
    let flash = flash(&fs::read(elf).expect("the image can be read"));
    // `-semihosting` lets the image end QEMU; a minute is a thousand times what it takes.
    let output = Command::new("timeout")
        .args(["60", "qemu-system-arm", "-M", "mps2-an385", "-nographic", "-semihosting", "-kernel"])
        .arg(elf)
        .output()
        .expect("QEMU can be run");
    // QEMU writes what the image says to its standard error.
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the image ended with {}: {said}", output.status);
    let number = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|number| number.trim().parse().ok()).unwrap_or_else(|| panic!("no {name} in {said}"))
    };
    Sizes { flash, client: number("client "), poll: number("poll "), start: number("start ") }
}

/// Bytes of the sections `.text` and `.rodata` of a 32-bit ELF file: not the vector table, which is the chip's, and not
/// `.peer` and `.peer.text`, which are the server's.
fn flash(elf: &[u8]) -> usize {
    assert_eq!(&elf[..5], b"\x7fELF\x01", "a 32-bit ELF file");
    let u16_at = |at: usize| usize::from(u16::from_le_bytes([elf[at], elf[at + 1]]));
    let u32_at = |at: usize| u32::from_le_bytes(elf[at..at + 4].try_into().expect("four bytes")) as usize;
    let (table, entry, count, names) = (u32_at(0x20), u16_at(0x2e), u16_at(0x30), u16_at(0x32));
    let names = u32_at(table + names * entry + 0x10);
    (0..count)
        .map(|number| table + number * entry)
        .filter(|&section| {
            let name = &elf[names + u32_at(section)..];
            name.starts_with(b".text\0") || name.starts_with(b".rodata\0")
        })
        .map(|section| u32_at(section + 0x14))
        .sum()
}

/// Bytes and name of everything in the flash, the largest first.
fn symbols(elf: &Path) -> Vec<(usize, String)> {
    let Ok(output) = Command::new("nm").args(["--print-size", "--demangle"]).arg(elf).output() else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let symbol = |line: &str| {
        let mut parts = line.splitn(4, ' ');
        let (_, size, kind, name) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let size = usize::from_str_radix(size, 16).ok()?;
        "tTrR".contains(kind).then(|| (size, name.to_owned()))
    };
    let mut symbols: Vec<_> = text.lines().filter_map(symbol).collect();
    symbols.sort_by(|a, b| b.cmp(a));
    symbols
}

/// The table in core's README says what was measured; another compiler may make a little more or less of the same code.
fn compare_with_readme(table: &str) {
    const MARKS: (&str, &str) =
        ("<!-- sizes: THIMBLE_WRITE_SIZES=1 cargo test --test firmware -->\n", "<!-- end -->");
    let path = root().join("core/README.md");
    let readme = fs::read_to_string(&path).expect("core's README can be read");
    let (before, rest) = readme.split_once(MARKS.0).expect("a place for the table");
    let (there, after) = rest.split_once(MARKS.1).expect("the end of the table");
    if env::var_os("THIMBLE_WRITE_SIZES").is_some() {
        fs::write(&path, format!("{before}{}{table}{}{after}", MARKS.0, MARKS.1))
            .expect("core's README can be written");
        return;
    }
    let numbers = |table: &str| -> Vec<f64> {
        table.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
    };
    let (there, here) = (numbers(there), numbers(table));
    let same = there.len() == here.len()
        && there.iter().zip(&here).all(|(a, b)| (a - b).abs() <= 0.02 * b.max(2000.0));
    assert!(
        same,
        "the table in core/README.md is not that of today: THIMBLE_WRITE_SIZES=1 cargo test --test firmware\n{table}"
    );
}
