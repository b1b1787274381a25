//! `support/thimble.cdx.json`: what is inside the program, as CycloneDX. Made from the lock file and from what cargo says is built in, with the
//! features that it is built with. `THIMBLE_GOLDEN=1` writes it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use thimble_tests::lab::thimble;

use super::support;

/// The machines that packages are made for.
const TARGETS: [&str; 3] =
    ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "armv7-unknown-linux-gnueabihf"];

/// A crate that is built in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Part {
    licence: String,
    features: String,
    needs: BTreeSet<String>,
}

fn root() -> PathBuf {
    support().join("..")
}

/// By name and version, as `name@version`: all crates in the program, the program itself first in the tree.
fn parts(target: &str) -> BTreeMap<String, Part> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--package", "thimble", "--edges", "normal,no-proc-macro"])
        .args(["--no-dedupe", "--prefix", "depth", "--format", "|{p}|{l}|{f}", "--target", target])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let mut parts: BTreeMap<String, Part> = BTreeMap::new();
    let mut above: Vec<String> = Vec::new();
    for line in text.lines() {
        // A mark behind what needs itself in the end.
        let line = line.trim_end_matches(" (*)");
        let mut fields = line.split('|');
        let mut next = || fields.next().expect("a field");
        let depth: usize = next().parse().expect("a depth");
        let mut words = next().split(' ');
        let (name, version) = (words.next().expect("a name"), words.next().expect("a version"));
        let key = format!("{name}@{}", version.trim_start_matches('v'));
        let (licence, features) = (next().to_owned(), next().to_owned());
        above.truncate(depth);
        if let Some(parent) = above.last() {
            parts.get_mut(parent).expect("the one above").needs.insert(key.clone());
        }
        let part = parts.entry(key.clone()).or_default();
        (part.licence, part.features) = (licence, features);
        above.push(key);
    }
    parts
}

/// The checksums in the lock file.
fn checksums() -> BTreeMap<String, String> {
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("the lock file");
    let mut found = BTreeMap::new();
    for package in lock.split("[[package]]").skip(1) {
        let field = |name: &str| {
            let start = format!("{name} = \"");
            package.lines().find_map(|line| line.strip_prefix(&start)?.strip_suffix('"').map(str::to_owned))
        };
        if let Some(sum) = field("checksum") {
            found.insert(
                format!("{}@{}", field("name").expect("a name"), field("version").expect("a version")),
                sum,
            );
        }
    }
    found
}

/// What is in a crate that is not Rust, and is built in with it.
fn bundled(key: &str) -> Option<(&'static str, String)> {
    let version = |mark: &str| key.split_once(mark).map(|(_, version)| version.to_owned());
    match key.split('@').next()? {
        "zstd-sys" => Some(("zstd", version("+zstd.")?)),
        _ => None,
    }
}

fn document() -> String {
    let parts = parts(TARGETS[0]);
    let sums = checksums();
    let version = env!("CARGO_PKG_VERSION");
    let own = |key: &str| !sums.contains_key(key);
    let reference = |key: &str| format!("pkg:cargo/{key}");
    let mut out = format!(
        "{{\n  \"bomFormat\": \"CycloneDX\",\n  \"specVersion\": \"1.5\",\n  \"version\": 1,\n  \"metadata\": {{\"component\": \
         {{\"type\": \"application\", \"bom-ref\": \"pkg:cargo/thimble@{version}\", \"name\": \"thimble\", \"version\": \"{version}\", \
         \"licenses\": [{{\"expression\": \"MIT OR Apache-2.0\"}}]}}}},\n  \"components\": [\n"
    );
    for (key, part) in parts.iter().filter(|(key, _)| !key.starts_with("thimble@")) {
        let (name, version) = key.split_once('@').expect("two parts");
        // An older way to write OR.
        let licence = part.licence.replace('/', " OR ");
        let _ = write!(
            out,
            "    {{\"type\": \"library\", \"bom-ref\": \"{0}\", \"name\": \"{name}\", \"version\": \"{version}\", \"licenses\": \
             [{{\"expression\": \"{licence}\"}}]",
            reference(key)
        );
        if let Some(sum) = sums.get(key) {
            let _ = write!(
                out,
                ", \"purl\": \"{}\", \"hashes\": [{{\"alg\": \"SHA-256\", \"content\": \"{sum}\"}}]",
                reference(key).replace('+', "%2B")
            );
        }
        if !part.features.is_empty() {
            let _ = write!(
                out,
                ", \"properties\": [{{\"name\": \"cargo:features\", \"value\": \"{}\"}}]",
                part.features
            );
        }
        if let Some((name, version)) = bundled(key) {
            let _ = write!(
                out,
                ", \"components\": [{{\"type\": \"library\", \"name\": \"{name}\", \"version\": \"{version}\"}}]"
            );
        }
        out.push_str("},\n");
    }
    // Its version is that of the compiler that the program is built with.
    out.push_str(
        "    {\"type\": \"library\", \"bom-ref\": \"rust-std\", \"name\": \"std\", \"description\": \"Rust's standard library, of the \
         compiler that built the program\", \"licenses\": [{\"expression\": \"MIT OR Apache-2.0\"}]}\n  ],\n  \"dependencies\": [\n",
    );
    let lines: Vec<_> = parts
        .iter()
        .map(|(key, part)| {
            let mut needs: Vec<_> = part.needs.iter().map(|key| format!("\"{}\"", reference(key))).collect();
            if key.starts_with("thimble@") {
                needs.push("\"rust-std\"".into());
            }
            format!("    {{\"ref\": \"{}\", \"dependsOn\": [{}]}}", reference(key), needs.join(", "))
        })
        .collect();
    out.push_str(&lines.join(",\n"));
    out.push_str("\n  ]\n}\n");
    assert!(parts.keys().filter(|key| own(key)).all(|key| key.starts_with("thimble")), "{parts:?}");
    out
}

#[test]
fn the_list_of_parts_is_what_cargo_builds_in() {
    let path = support().join("thimble.cdx.json");
    let new = document();
    if std::env::var_os("THIMBLE_GOLDEN").is_some() {
        fs::write(&path, &new).expect("it is written");
    }
    let old = fs::read_to_string(&path).unwrap_or_default();
    assert!(old == new, "{} is not what is built in; THIMBLE_GOLDEN=1 writes it", path.display());
    thimble_core::json::Value::parse(old.as_bytes()).expect("JSON");
}

/// The list is made for the first; on some machines a part has nothing to do and is left out.
#[test]
fn no_machine_gets_a_part_that_is_not_in_the_list() {
    let listed = parts(TARGETS[0]);
    for target in &TARGETS[1..] {
        let parts = parts(target);
        assert!(parts.len() > 50, "{target}");
        assert!(parts.keys().all(|key| listed.contains_key(key)), "{target}: {parts:?}");
    }
}

/// The program names the files of crates in it: nothing is in it that the list does not have.
#[test]
fn every_crate_that_the_program_itself_names_is_in_the_list() {
    let program = fs::read(thimble()).expect("the program");
    let list = fs::read_to_string(support().join("thimble.cdx.json")).expect("the list");
    let mark = b"/registry/src/";
    let mut named = BTreeSet::new();
    for (index, _) in program.windows(mark.len()).enumerate().filter(|(_, window)| window == mark) {
        let rest = &program[index + mark.len()..];
        let rest = &rest[..rest.len().min(300)];
        if let Some(name) = String::from_utf8_lossy(rest).split('/').nth(1) {
            named.insert(name.split('\0').next().unwrap_or_default().to_owned());
        }
    }
    assert!(named.len() > 10, "{named:?}");
    for name in named {
        let (name, version) = split(&name);
        assert!(
            list.contains(&format!("\"name\": \"{name}\", \"version\": \"{version}\"")),
            "{name} {version} is in {}",
            Path::new(thimble()).display()
        );
    }
}

/// `rustls-pki-types-1.16.0` as name and version.
fn split(folder: &str) -> (&str, &str) {
    let at =
        folder.match_indices('-').find(|(at, _)| folder[at + 1..].starts_with(|c: char| c.is_ascii_digit()));
    let (at, _) = at.unwrap_or_else(|| panic!("no version in {folder}"));
    (&folder[..at], &folder[at + 1..])
}
