//! `docs/advisories.md` names every package with parts in C, in the version that is built in.

use std::collections::BTreeSet;
use std::fs;

use super::root;

/// Packages that others use when they are built, to compile C or to find a C library.
const BUILDS_C: [&str; 7] = ["autotools", "bindgen", "cc", "cmake", "meson-next", "nasm-rs", "pkg-config"];

/// Their names say that they bind C, and they do not.
const PURE: [&str; 2] = ["linux-raw-sys", "windows-sys"];

/// `name version` of each package of a lock file that has parts in C.
fn with_c(lock: &str) -> BTreeSet<String> {
    let value = |package: &str, key: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
        line.map(|text| text.trim_matches('"').to_owned())
    };
    let packages = lock.split("[[package]]").skip(1);
    packages
        .filter_map(|package| {
            let (name, version) = (value(package, "name")?, value(package, "version")?);
            let uses =
                package.lines().filter_map(|line| line.trim().strip_prefix('"')?.split(['"', ' ']).next());
            let builds_c = uses.into_iter().any(|used| BUILDS_C.contains(&used));
            let binds_c = name.ends_with("-sys") && !PURE.contains(&name.as_str());
            (builds_c || binds_c).then(|| format!("{name} {version}"))
        })
        .collect()
}

#[test]
fn the_list_of_parts_in_c_is_complete_and_has_their_versions() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("the lock file");
    let page = fs::read_to_string(root().join("docs/advisories.md")).expect("the page");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('|'));
    let listed: BTreeSet<String> = rows.map(|(first, _)| first.trim().replace('`', "")).collect();
    assert_eq!(
        listed,
        with_c(&lock),
        "docs/advisories.md (left) and Cargo.lock differ: look for advisories of what is new, and change the table"
    );
}

#[test]
fn parts_in_c_are_found_by_what_builds_them_and_by_their_names() {
    let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\ndependencies = [\n \"cc\",\n]\n\n\
                [[package]]\nname = \"b-sys\"\nversion = \"2.0.0\"\n\n\
                [[package]]\nname = \"c\"\nversion = \"3.0.0\"\ndependencies = [\n \"a\",\n \"pkg-config 0.3.1\",\n]\n\n\
                [[package]]\nname = \"d\"\nversion = \"4.0.0\"\ndependencies = [\n \"b-sys\",\n \"ccc\",\n]\n\n\
                [[package]]\nname = \"windows-sys\"\nversion = \"0.61.2\"\n";
    assert_eq!(with_c(lock), ["a 1.0.0", "b-sys 2.0.0", "c 3.0.0"].map(str::to_owned).into());
}
