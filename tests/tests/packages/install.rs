//! `support/install`: one program for packages, images and a device itself.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::{run, support};

/// Installs a program that only exists, and says what there is then.
fn install(destdir: &Path, options: &[&str]) -> String {
    let (good, text) = run(Command::new(support().join("install"))
        .args(["--program", "/bin/true", "--destdir"])
        .arg(destdir)
        .args(options));
    assert!(good, "{text}");
    text
}

/// The paths of all files and links in a folder, as they are on a device.
fn files(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else {
                found.insert(format!("/{}", path.strip_prefix(root).expect("in it").display()));
            }
        }
    }
    found
}

#[test]
fn what_is_installed_is_what_the_list_says() {
    let device = tempfile::tempdir().expect("a directory");
    for (name, options) in [
        ("systemd", &[][..]),
        ("no init", &["--without-systemd"]),
        ("busybox", &["--sysv", "/etc/init.d/S60thimble"]),
        ("openrc", &["--openrc", "/etc/init.d/mender-updated"]),
        ("systemd elsewhere", &["--any-module", "--prefix", "/opt/update"]),
    ] {
        let root = device.path().join(name);
        install(&root, options);
        let listed = install(&root, &[options, &["--list"]].concat());
        let listed: BTreeSet<String> = listed.lines().map(str::to_owned).collect();
        assert_eq!(files(&root), listed, "{options:?}");
        let has = |part: &str| listed.iter().any(|path| path.contains(part));
        assert_eq!(has("systemd") || has("system-services"), name.starts_with("systemd"), "{listed:?}");
        let init_script = ["busybox", "openrc"].contains(&name);
        assert_eq!(has("/etc/init.d/"), init_script, "{listed:?}");
        assert_eq!(has("/keep-running"), init_script, "{listed:?}");
        assert_eq!(has("any-module.conf"), options.contains(&"--any-module"), "{listed:?}");
        assert!(has("system.d/io.mender.UpdateManager.conf"), "{listed:?}");
    }
}

#[test]
fn units_and_links_lead_to_what_is_installed() {
    let device = tempfile::tempdir().expect("a directory");
    let root = device.path();
    install(root, &["--prefix", "/opt/update", "--units", "/usr/lib/systemd/system"]);
    let units = root.join("usr/lib/systemd/system");
    let unit = fs::read_to_string(units.join("mender-updated.service")).expect("the unit");
    let mut programs = 0;
    for line in unit.lines() {
        let Some((_, program)) = line.split_once('=').filter(|(key, _)| key.starts_with("Exec")) else {
            continue;
        };
        let program = program.trim_start_matches(['+', '-']).split(' ').next().expect("a word");
        let path = root.join(program.trim_start_matches('/'));
        let mode =
            fs::metadata(&path).unwrap_or_else(|error| panic!("{program}: {error}")).permissions().mode();
        assert_eq!(mode & 0o7777, 0o755, "{program}");
        programs += 1;
    }
    assert_eq!(programs, 2, "{unit}");
    assert!(!unit.contains("/usr/bin") && !unit.contains("/usr/lib"), "{unit}");
    for name in ["mender-client.service", "mender-authd.service"] {
        assert_eq!(fs::read_link(units.join(name)).expect("a link"), Path::new("mender-updated.service"));
    }
    for name in ["mender", "mender-update", "mender-auth", "mender-setup", "mender-snapshot"] {
        assert_eq!(
            fs::read_link(root.join("opt/update/bin").join(name)).expect("a link"),
            Path::new("thimble")
        );
    }
}

#[test]
fn files_of_the_device_s_owner_are_kept() {
    let source = tempfile::tempdir().expect("a directory");
    let copied = run(Command::new("cp").arg("-r").arg(support()).arg(source.path().join("support")));
    assert!(copied.0, "{}", copied.1);
    let ours = source.path().join("support/mender/identity");
    fs::create_dir_all(&ours).expect("it is made");
    fs::write(ours.join("mender-device-identity"), "ours").expect("it is written");
    fs::create_dir(source.path().join("docs")).expect("it is made");
    for name in
        ["README.md", "CHANGELOG.md", "COMPATIBILITY.md", "LICENSE-APACHE", "LICENSE-MIT", "docs/install.md"]
    {
        fs::write(source.path().join(name), "text").expect("it is written");
    }
    let device = tempfile::tempdir().expect("a directory");
    let path = device.path().join("usr/share/mender/identity/mender-device-identity");
    let install = |options: &[&str]| {
        run(Command::new(source.path().join("support/install"))
            .args(["--program", "/bin/true", "--destdir"])
            .arg(device.path())
            .args(options))
    };
    fs::create_dir_all(path.parent().expect("a folder")).expect("it is made");
    fs::write(&path, "the owner's").expect("it is written");
    let (good, text) = install(&[]);
    assert!(good && text.contains("kept as it is") && text.contains("mender-device-identity"), "{text}");
    assert_eq!(fs::read_to_string(&path).expect("a file"), "the owner's");
    // The list is also what is deleted to take the client away.
    let (_, listed) = install(&["--list"]);
    assert!(listed.contains("/usr/bin/thimble\n") && !listed.contains("identity"), "{listed}");
    let (_, listed) = install(&["--list", "--overwrite"]);
    assert!(listed.contains("/identity/mender-device-identity\n"), "{listed}");
    assert_eq!(install(&["--overwrite"]), (true, String::new()));
    assert_eq!(fs::read_to_string(&path).expect("a file"), "ours");
}

/// Where the file system fills up, what was installed before is whole.
#[test]
fn an_installation_that_fails_changes_nothing() {
    let device = tempfile::tempdir().expect("a directory");
    install(device.path(), &[]);
    let before = files(device.path());
    let page = device.path().join("usr/share/man/man1");
    fs::remove_dir_all(&page).expect("it is gone");
    fs::write(&page, "a file in the place of a folder").expect("it is written");
    fs::write(device.path().join("usr/bin/thimble"), "old").expect("it is written");
    let (good, text) = run(Command::new(support().join("install"))
        .args(["--program", "/bin/true", "--destdir"])
        .arg(device.path()));
    assert!(!good, "{text}");
    assert_eq!(fs::read_to_string(device.path().join("usr/bin/thimble")).expect("it"), "old");
    let left: Vec<_> =
        files(device.path()).difference(&before).filter(|path| path.ends_with(".new")).cloned().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_option_that_does_not_exist_is_an_error_in_words() {
    for (options, said) in [
        (&["--prefx", "/usr"][..], "there is no option --prefx"),
        (&["--prefix"], "--prefix needs a value"),
        (&["--sysv", "S60thimble"], "S60thimble does not begin with /"),
        (&["--prefix", "usr"], "usr does not begin with /"),
        (&["--program", "/no/program"], "/no/program is not there"),
    ] {
        let (good, text) =
            run(Command::new(support().join("install")).args(["--destdir", "/nowhere"]).args(options));
        assert!(!good && text.contains(said), "{options:?}: {text}");
    }
}
