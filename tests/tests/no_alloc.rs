//! Core needs no heap: the proof is a link (see `tests/no_alloc/src/main.rs`).

use std::path::{Path, PathBuf};
use std::process::Command;

use thimble_core::texts::decode;

/// Code and constants of core with everything a board needs (client, parser, gzip, device API, HTTP), built for size on the
/// host, in bytes. Instruction sets differ; what it guards is growth by accident.
const TEXT_LIMIT: u64 = 288 * 1024;

fn build() -> PathBuf {
    let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("no_alloc");
    let output = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked"])
        .current_dir(&manifest_dir)
        // Nothing of the run around it (coverage, flags, another target folder) may change what is proved.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR")
        .output()
        .expect("cargo can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    manifest_dir.join("target/release/thimble-no-alloc")
}

#[test]
fn core_links_without_an_allocator_and_runs() {
    let binary = build();
    let output = Command::new(&binary).output().expect("the proof can be run");
    assert_eq!(output.status.code(), Some(0), "the client did not come to its end on the made-up board");
    let code = String::from_utf8(output.stdout).expect("a code is ASCII");
    let mut reason = String::new();
    decode(&code, &mut reason).expect("a String takes everything");
    assert!(
        code.starts_with("~D") && reason == REASON,
        "{code} is not the code of {REASON:?}, but {reason:?}"
    );

    let binary = std::fs::read(&binary).expect("the proof can be read");
    has_no_sentence(&binary);
    let size = text_size(&binary);
    println!("core's code and constants: {size} bytes (limit {TEXT_LIMIT})");
    assert!(size <= TEXT_LIMIT, "core has grown to {size} bytes");
}

/// Why the empty artifact is refused.
const REASON: &str = "the artifact is not acceptable: it is an empty file and no Mender artifact";

/// No part of a text that core has for people is linked: only their codes are.
fn has_no_sentence(binary: &[u8]) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/src/texts/golden.txt");
    let golden = std::fs::read_to_string(golden).expect("the list of texts can be read");
    let mut parts = 0;
    for (_, text) in golden.lines().filter_map(|line| line.split_once(' ')) {
        for part in text.split(['{', '}']).step_by(2).filter(|part| part.len() >= 12 && part.contains(' ')) {
            let is_linked = binary.windows(part.len()).any(|at| at == part.as_bytes());
            assert!(!is_linked, "{part:?} is in a build without texts");
            parts += 1;
        }
    }
    assert!(parts > 300, "{parts}");
}

/// What a board without anything of its own beside flash, a byte stream, clock, key and reset has to bring, in methods.
const METHODS: usize = 15;

#[test]
fn a_board_has_few_methods_to_write() {
    let board = Path::new(env!("CARGO_MANIFEST_DIR")).join("no_alloc/src/board.rs");
    let board = std::fs::read_to_string(board).expect("the board can be read");
    let methods: Vec<&str> = board.lines().filter(|line| line.starts_with("    fn ")).collect();
    println!("a board's methods:\n{}", methods.join("\n"));
    assert!((1..=METHODS).contains(&methods.len()), "{} methods", methods.len());
}

/// Bytes of an ELF file's loaded segments that are not writable.
fn text_size(elf: &[u8]) -> u64 {
    let u16_at = |at: usize| u64::from(u16::from_le_bytes([elf[at], elf[at + 1]]));
    let u64_at = |at: usize| u64::from_le_bytes(elf[at..at + 8].try_into().expect("eight bytes"));
    assert_eq!(&elf[..5], b"\x7fELF\x02", "a 64-bit ELF file");
    let (table, entry, count) = (u64_at(0x20), u16_at(0x36), u16_at(0x38));
    (0..count)
        .map(|n| usize::try_from(table + n * entry).expect("an offset in the file"))
        .filter(|&at| {
            let kind = u32::from_le_bytes(elf[at..at + 4].try_into().expect("four bytes"));
            let flags = u32::from_le_bytes(elf[at + 4..at + 8].try_into().expect("four bytes"));
            kind == 1 && flags & 2 == 0
        })
        .map(|at| u64_at(at + 0x20))
        .sum()
}
