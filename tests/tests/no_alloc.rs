//! Core needs no heap: the proof is a link (see `tests/no_alloc/src/main.rs`).

use std::path::{Path, PathBuf};
use std::process::Command;

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
    let status = Command::new(&binary).status().expect("the proof can be run");
    assert_eq!(status.code(), Some(0), "the client did not come to its end on the made-up board");

    let size = text_size(&std::fs::read(&binary).expect("the proof can be read"));
    println!("core's code and constants: {size} bytes (limit {TEXT_LIMIT})");
    assert!(size <= TEXT_LIMIT, "core has grown to {size} bytes");
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
