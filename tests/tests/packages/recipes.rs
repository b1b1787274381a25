//! The recipes for Yocto and Buildroot: what in them must be what the repository says.

use std::fmt::Write;
use std::fs;

use super::{run, support};

fn read(name: &str) -> String {
    fs::read_to_string(support().join(name)).unwrap_or_default()
}

/// As Yocto's `bitbake -c update_crates` writes it.
#[test]
fn yocto_s_list_of_crates_is_that_of_the_lock_file() {
    let lock = read("../Cargo.lock");
    let (mut addresses, mut sums) = (String::new(), String::new());
    for package in lock.split("[[package]]").skip(1) {
        let field = |name: &str| {
            let start = format!("{name} = \"");
            package.lines().find_map(|line| line.strip_prefix(&start)?.strip_suffix('"'))
        };
        let (Some(name), Some(version), Some(sum)) = (field("name"), field("version"), field("checksum"))
        else {
            continue;
        };
        let _ = writeln!(addresses, "    crate://crates.io/{name}/{version} \\");
        let _ = writeln!(sums, "SRC_URI[{name}-{version}.sha256sum] = \"{sum}\"");
    }
    let new = format!("# from Cargo.lock\nSRC_URI += \" \\\n{addresses}\"\n\n{sums}");
    let path = "yocto/recipes-core/thimble/thimble-crates.inc";
    if std::env::var_os("THIMBLE_GOLDEN").is_some() {
        fs::write(support().join(path), &new).expect("it is written");
    }
    assert!(read(path) == new, "{path} is not what the lock file says; THIMBLE_GOLDEN=1 writes it");
}

#[test]
fn recipes_have_the_checksums_of_the_licences_and_the_version() {
    let recipe = read("yocto/recipes-core/thimble/thimble_git.bb");
    let hashes = read("buildroot/package/thimble/thimble.hash");
    for name in ["LICENSE-MIT", "LICENSE-APACHE"] {
        let sum = |program: &str| {
            let (_, text) = run(std::process::Command::new(program).arg(support().join("..").join(name)));
            text.split(' ').next().expect("a sum").to_owned()
        };
        assert!(recipe.contains(&format!("file://{name};md5={}", sum("md5sum"))), "{recipe}");
        assert!(hashes.contains(&format!("sha256  {}  {name}\n", sum("sha256sum"))), "{hashes}");
    }
    assert!(recipe.contains(&format!("PV = \"{}+git\"", env!("CARGO_PKG_VERSION"))), "{recipe}");
}

#[test]
fn recipes_use_options_that_the_install_program_has() {
    let help = run(std::process::Command::new(support().join("install")).arg("--help")).1;
    for name in ["yocto/recipes-core/thimble/thimble_git.bb", "buildroot/package/thimble/thimble.mk"] {
        let text = read(name);
        // These are cargo's and git's.
        let others = ["--no-default-features", "--package", "--verify"];
        let options: Vec<_> = text
            .split(|c: char| c.is_whitespace() || "\"',()".contains(c))
            .filter(|word| word.starts_with("--") && !others.contains(word))
            .collect();
        assert!(options.len() >= 5, "{options:?}");
        for option in options {
            assert!(help.contains(&format!("  {option} ")), "{name}: {option}: {help}");
        }
    }
}

/// Whoever has a name of Mender's in /usr/bin takes the place of the package that has it, and no upgrade brings that one back.
#[test]
fn every_package_takes_the_place_of_those_whose_programs_it_has() {
    let listed = run(std::process::Command::new(support().join("install")).arg("--list")).1;
    let names: Vec<_> = listed
        .lines()
        .filter_map(|path| path.strip_prefix("/usr/bin/"))
        .filter(|name| name.contains("mender-"))
        .collect();
    assert!(names.len() >= 4, "{listed}");
    let [deb, yocto, page] =
        ["deb/control", "yocto/recipes-core/thimble/thimble_git.bb", "../docs/install.md"].map(read);
    let field = |text: &str, start: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(start)).expect(start);
        line.split([' ', ',', '"']).map(str::to_owned).collect::<Vec<_>>()
    };
    for name in names.into_iter().chain(["mender-client"]) {
        for start in ["Conflicts:", "Replaces:", "Provides:"] {
            assert!(field(&deb, start).iter().any(|found| found == name), "{start} {name}");
        }
        for start in ["RPROVIDES:${PN} =", "RCONFLICTS:${PN} =", "RREPLACES:${PN} ="] {
            assert!(field(&yocto, start).iter().any(|found| found == name), "{start} {name}");
        }
        let line = format!("PREFERRED_RPROVIDER_{name} = \"thimble\"\n");
        assert!(page.contains(&line), "{line}");
    }
}
