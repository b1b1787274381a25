//! What is shipped for a device beside the client: identity and inventory scripts, update modules, and makers of
//! artifacts for them; beside those of Debian's `mender-client` where that is installed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use thimble_tests::lab::{DEVICE_TYPE, Lab, has};

const MENDER_EXAMPLES: &str = "/usr/share/doc/mender-client/examples";
const MENDER_MODULES: &str = "/usr/share/mender/modules/v3";

fn support(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../support").join(path)
}

fn run(program: &Path) -> Output {
    Command::new(program).stdin(Stdio::null()).output().expect("the program runs")
}

fn sorted(output: &Output) -> Vec<String> {
    assert!(output.status.success(), "{output:?}");
    let mut lines: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// The same attributes with the same values as Mender's own scripts give on this machine.
#[test]
fn identity_and_inventory_are_those_of_menders_scripts() {
    let scripts = [
        "identity/mender-device-identity",
        "inventory/mender-inventory-bootloader-integration",
        "inventory/mender-inventory-hostinfo",
        "inventory/mender-inventory-network",
        "inventory/mender-inventory-os",
        "inventory/mender-inventory-rootfs-type",
        "inventory/mender-inventory-update-modules",
    ];
    for script in scripts {
        let ours = run(&support("mender").join(script));
        let name = script.split_once('/').expect("a directory").1;
        let theirs = Path::new(MENDER_EXAMPLES).join(name);
        if !theirs.exists() {
            println!("left out: {} is not there to compare with", theirs.display());
            continue;
        }
        // One reads the file that names the machine at its start, the other the name it has now.
        let plain = |mut lines: Vec<String>| {
            lines.retain(|line| !line.starts_with("hostname="));
            lines
        };
        assert_eq!(plain(sorted(&ours)), plain(sorted(&run(&theirs))), "{script}");
    }
}

#[test]
fn every_line_of_an_inventory_script_is_an_attribute() {
    for entry in fs::read_dir(support("mender/inventory")).expect("the scripts").flatten() {
        let lines = sorted(&run(&entry.path()));
        assert!(!lines.is_empty(), "{}", entry.path().display());
        for line in lines {
            let (key, _) = line.split_once('=').expect("key=value");
            assert!(!key.is_empty() && !key.contains(' '), "{}: {line}", entry.path().display());
        }
    }
}

/// A module, from a directory of modules, put where the client looks for it.
fn use_module(lab: &Lab, directory: &Path, name: &str) {
    let target = lab.path("data/modules/v3").join(name);
    drop(fs::remove_file(&target));
    lab.program(
        target.to_str().expect("text"),
        &fs::read_to_string(directory.join(name)).expect("the module"),
    );
}

fn make(lab: &Lab, maker: &Path, args: &[&str]) -> PathBuf {
    let artifact = lab.path("made.mender");
    drop(fs::remove_file(&artifact));
    let made = Command::new(maker)
        .args(["-n", "release-2", "-t", DEVICE_TYPE, "-o", artifact.to_str().expect("text")])
        .args(args)
        .current_dir(lab.path("made"))
        .output()
        .expect("the maker runs");
    assert!(made.status.success(), "{made:?}");
    artifact
}

/// Ours, and Mender's where it is there: the same file in two places.
fn both(ours: PathBuf, theirs: PathBuf) -> Vec<PathBuf> {
    [ours, theirs].into_iter().filter(|path| path.exists()).collect()
}

/// What stands in a directory: names, contents and modes.
fn picture(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let kind = fs::symlink_metadata(&path).expect("a file");
        let name = path.display();
        if kind.is_dir() {
            found.push(format!("{name}/"));
            found.extend(picture(&path));
        } else if kind.is_symlink() {
            found.push(format!("{name} -> {}", fs::read_link(&path).expect("a link").display()));
        } else {
            let mode = kind.permissions().mode() & 0o7777;
            found.push(format!("{name} {mode:o} {}", fs::read_to_string(&path).expect("text")));
        }
    }
    found.sort();
    found
}

/// Artifacts of our makers and of Mender's, installed by our modules and by Mender's, and rolled back by the other one's.
#[test]
fn makers_and_modules_are_those_of_mender() {
    if !has("mender-artifact") {
        thimble_tests::lab::left_out("mender-artifact");
        return;
    }
    let modules = both(support("mender/modules/v3"), MENDER_MODULES.into());
    for (module, maker) in
        [("single-file", "single-file-artifact-gen"), ("directory", "directory-artifact-gen")]
    {
        for maker in both(support("makers").join(maker), Path::new(MENDER_EXAMPLES).join(maker)) {
            for installer in &modules {
                for back in &modules {
                    let lab = Lab::new();
                    let target = lab.path("srv/app");
                    fs::create_dir_all(target.join("sub")).expect("a directory");
                    fs::write(target.join("conf"), "old").expect("a file");
                    fs::write(target.join("sub/.hidden"), "kept").expect("a file");
                    fs::set_permissions(target.join("conf"), fs::Permissions::from_mode(0o644))
                        .expect("a mode");
                    let before = picture(&target);
                    fs::create_dir(lab.path("made/new")).expect("a directory");
                    fs::write(lab.path("made/new/conf"), "new").expect("a file");
                    fs::set_permissions(lab.path("made/new/conf"), fs::Permissions::from_mode(0o640))
                        .expect("a mode");
                    let what = if module == "directory" { "new" } else { "new/conf" };
                    let artifact = make(&lab, &maker, &["-d", target.to_str().expect("text"), what]);

                    use_module(&lab, installer, module);
                    lab.run(["install", artifact.to_str().expect("text")]).status(0);
                    let after = picture(&target);
                    let conf = format!("{} 640 new", target.join("conf").display());
                    assert!(after.contains(&conf), "{after:?}");
                    assert_eq!(after.len(), if module == "directory" { 1 } else { 3 }, "{after:?}");
                    use_module(&lab, back, module);
                    lab.run(["rollback"]).status(0);
                    assert_eq!(picture(&target), before, "{} by {}", maker.display(), back.display());

                    use_module(&lab, installer, module);
                    lab.run(["install", artifact.to_str().expect("text")]).status(0);
                    use_module(&lab, back, module);
                    lab.run(["commit"]).status(0);
                    assert_eq!(picture(&target), after);
                    assert_eq!(lab.name(), "release-2");
                }
            }
        }
    }
}

/// The tree of a module as the client lays it out, with these files in it.
fn tree(lab: &Lab, files: &[(&str, &str)]) -> PathBuf {
    let tree = lab.path("tree");
    drop(fs::remove_dir_all(&tree));
    for sub in ["files", "tmp", "header"] {
        fs::create_dir_all(tree.join(sub)).expect("a directory");
    }
    for (name, text) in files {
        fs::write(tree.join("files").join(name), text).expect("a file");
    }
    tree
}

fn call(lab: &Lab, module: &str, state: &str, path: &str) -> Output {
    Command::new("/bin/sh")
        .args(["-c", "echo $$ > pid; exec \"$0\" \"$@\""])
        .arg(support("mender/modules/v3").join(module))
        .args([state, lab.path("tree").to_str().expect("text")])
        .current_dir(lab.path(""))
        .env("PATH", path)
        .stdin(Stdio::null())
        .output()
        .expect("the module runs")
}

/// Stand-ins for the programs a module starts, which count, and at the number in `cut` kill the module: before they do
/// their work, or after it.
fn programs_that_cut(lab: &Lab, before: bool) -> String {
    let path = std::env::var("PATH").expect("a path");
    let directory = lab.path("cutters");
    drop(fs::remove_dir_all(&directory));
    fs::create_dir(&directory).expect("a directory");
    for name in ["cat", "chmod", "cp", "find", "mkdir", "mv", "rm", "rmdir", "sed", "sync", "tar", "tr"] {
        let lab = lab.path("");
        let cut = "[ \"$n\" -ne \"$at\" ] || { read -r pid < \"$lab/pid\"; kill -KILL \"$pid\"; exit 1; }";
        let work = format!("PATH='{path}' {name} \"$@\"; status=$?");
        let (first, second) = if before { (cut, work.as_str()) } else { (work.as_str(), cut) };
        // The shell alone counts: other programs would be cut too.
        let text = format!(
            "#!/bin/sh\nlab='{}'\nread -r n < \"$lab/count\"; read -r at < \"$lab/cut\"; n=$((n + 1)); echo $n > \"$lab/count\"\n\
             status=0\n{first}\n{second}\nexit $status\n",
            lab.display()
        );
        let program = directory.join(name);
        lab_program(&program, &text);
    }
    directory.display().to_string()
}

fn lab_program(path: &Path, text: &str) {
    fs::write(path, text).expect("a program");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
}

/// The power is lost before or after each program that `ArtifactInstall` starts; then, as the client does,
/// `ArtifactRollback` runs, is cut in the same way at each of its programs, and runs once more.
#[test]
fn a_module_that_is_cut_anywhere_is_rolled_back() {
    type Prepare = fn(&Path);
    let path = std::env::var("PATH").expect("a path");
    let a_file: Prepare = |target| {
        fs::create_dir_all(target).expect("a directory");
        fs::write(target.join("conf"), "old").expect("a file");
        fs::write(target.join("other"), "kept").expect("a file");
    };
    let a_link: Prepare = |target| {
        fs::create_dir_all(target).expect("a directory");
        std::os::unix::fs::symlink("nowhere", target.join("conf")).expect("a link");
    };
    let nothing: Prepare = |_| {};
    for (module, prepare) in [
        ("single-file", a_file),
        ("single-file", a_link),
        ("single-file", nothing),
        ("directory", a_file),
        ("directory", nothing),
    ] {
        for before in [true, false] {
            let lab = Lab::new();
            let cutters = programs_that_cut(&lab, before);
            let root = lab.path("root");
            let target = root.join("srv/app");
            let dest = target.to_str().expect("text").to_owned();
            let mut at = 1;
            loop {
                // What is in the datastore is on the disk, and so is the tree.
                drop(fs::remove_dir_all(&root));
                fs::create_dir(&root).expect("a directory");
                prepare(&target);
                let old = picture(&root);
                let files = [("dest_dir", dest.as_str()), ("filename", "conf"), ("conf", "new")];
                let tree = tree(&lab, &files);
                let tar = Command::new("tar")
                    .args(["-cf", "update.tar", "conf"])
                    .current_dir(tree.join("files"))
                    .status();
                assert!(tar.expect("tar runs").success());
                fs::write(lab.path("count"), "0\n").expect("a file");
                fs::write(lab.path("cut"), format!("{at}\n")).expect("a file");
                let ran = call(&lab, module, "ArtifactInstall", &cutters);
                if ran.status.success() {
                    assert_eq!(fs::read_to_string(target.join("conf")).expect("the file"), "new");
                    assert!(at > 5, "{module}: only {at} programs were started");
                    break;
                }
                assert_eq!(ran.status.code(), None, "{module}, cut at {at}: {ran:?}");
                let mut again = 1;
                loop {
                    fs::write(lab.path("count"), "0\n").expect("a file");
                    fs::write(lab.path("cut"), format!("{again}\n")).expect("a file");
                    if call(&lab, module, "ArtifactRollback", &cutters).status.success() {
                        break;
                    }
                    again += 1;
                    assert!(again < 100, "{module}: the rollback never ends well");
                }
                let ran = call(&lab, module, "ArtifactRollback", &path);
                assert!(ran.status.success(), "{ran:?}");
                assert_eq!(
                    picture(&root),
                    old,
                    "{module}, cut {at} before={before}, rollback cut up to {again}"
                );
                at += 1;
            }
        }
    }
}

/// A module, the files of an artifact, and what it says of them.
type Refusal<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

#[test]
fn modules_refuse_what_they_cannot_do_and_change_nothing() {
    let path = std::env::var("PATH").expect("a path");
    let lab = Lab::new();
    fs::create_dir_all(lab.path("there/conf")).expect("a directory");
    let there = lab.path("there").to_str().expect("text").to_owned();
    let cases: [Refusal; 9] = [
        ("single-file", &[("conf", "new")], "has no file \"dest_dir\""),
        ("single-file", &[("dest_dir", "etc"), ("filename", "conf")], "no absolute path"),
        ("single-file", &[("dest_dir", &there), ("filename", "../conf")], "no name of a file"),
        ("single-file", &[("dest_dir", &there), ("filename", "conf")], "has no file \"conf\""),
        ("single-file", &[("dest_dir", &there), ("filename", "conf"), ("conf", "x")], "is a directory"),
        (
            "single-file",
            &[("dest_dir", &there), ("filename", "f"), ("f", "x"), ("permissions", "rw")],
            "no mode in octal",
        ),
        ("directory", &[("dest_dir", "//"), ("update.tar", "")], "dest_dir is /"),
        ("directory", &[("dest_dir", "/srv/../etc")], ". and .. are not taken"),
        ("directory", &[("dest_dir", &there), ("update.tar", "no tar at all")], "cannot be read"),
    ];
    for (module, files, reason) in cases {
        let old = picture(&lab.path("there"));
        tree(&lab, files);
        let ran = call(&lab, module, "ArtifactInstall", &path);
        let text = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert_eq!(ran.status.code(), Some(1), "{files:?}");
        assert!(text.contains(reason), "{files:?}: {text}");
        assert_eq!(picture(&lab.path("there")), old, "{files:?}");
    }
}

#[test]
fn a_directory_may_have_more_files_than_a_command_takes_names() {
    let lab = Lab::new();
    let target = lab.path("many");
    fs::create_dir(&target).expect("a directory");
    // Together longer than the kernel takes for the words of one command.
    for n in 0..12_000 {
        fs::write(target.join(format!("{n:0>200}")), "").expect("a file");
    }
    let dest = target.to_str().expect("text");
    let tree = tree(&lab, &[("dest_dir", dest), ("conf", "new")]);
    let tar =
        Command::new("tar").args(["-cf", "update.tar", "conf"]).current_dir(tree.join("files")).status();
    assert!(tar.expect("tar runs").success());
    let path = std::env::var("PATH").expect("a path");
    let ran = call(&lab, "directory", "ArtifactInstall", &path);
    assert!(ran.status.success(), "{ran:?}");
    assert_eq!(fs::read_dir(&target).expect("it").count(), 1);
    let ran = call(&lab, "directory", "ArtifactRollback", &path);
    assert!(ran.status.success(), "{ran:?}");
    assert_eq!(fs::read_dir(&target).expect("it").count(), 12_000);
}

#[test]
fn scripts_run_in_order_and_packages_are_installed_at_once() {
    if !has("mender-artifact") {
        thimble_tests::lab::left_out("mender-artifact");
        return;
    }
    let lab = Lab::new();
    let log = lab.path("log");
    for name in ["b.sh", "a.sh"] {
        lab.program(&format!("made/{name}"), &format!("#!/bin/sh\necho {name} >> '{}'\n", log.display()));
    }
    let artifact = make(&lab, &support("makers/script-artifact-gen"), &["b.sh", "a.sh"]);
    use_module(&lab, &support("mender/modules/v3"), "script");
    lab.run(["install", artifact.to_str().expect("text")]).status(0);
    assert_eq!(fs::read_to_string(&log).expect("the log"), "a.sh\nb.sh\n");
    assert_eq!(lab.name(), "release-2");

    fs::write(lab.path("made/one_1.0+b~1_all.deb"), "1").expect("a file");
    fs::write(lab.path("made/two_2_all.deb"), "2").expect("a file");
    let artifact = make(&lab, &support("makers/deb-artifact-gen"), &["one_1.0+b~1_all.deb", "two_2_all.deb"]);
    use_module(&lab, &support("mender/modules/v3"), "deb");
    fs::create_dir(lab.path("bin")).expect("a directory");
    lab.program("bin/dpkg", &format!("#!/bin/sh\necho \"$@\" > '{}'; exit 7\n", log.display()));
    let path = format!("{}:{}", lab.path("bin").display(), std::env::var("PATH").expect("a path"));
    let mut command = lab.command(["install", artifact.to_str().expect("text")]);
    let ran = command.env("PATH", path).output().expect("the client runs");
    assert_eq!(ran.status.code(), Some(1));
    let told = String::from_utf8_lossy(&ran.stderr);
    assert!(told.contains("dpkg ended with status 7; 'dpkg --audit' says what is half installed"), "{told}");
    let asked = fs::read_to_string(&log).expect("the log");
    assert!(asked.starts_with("--install --force-confdef --force-confold "), "{asked}");
    assert!(asked.contains("one_1.0_b_1_all.deb ") && asked.contains("two_2_all.deb\n"), "{asked}");
}

#[test]
fn makers_say_what_is_missing() {
    let lab = Lab::new();
    fs::write(lab.path("made/my file"), "").expect("a file");
    let cases: [(&str, &[&str], &str); 9] = [
        ("single-file", &["-t", "x", "-d", "/srv", "f"], "needs a name: --artifact-name"),
        ("single-file", &["-n", "x", "-d", "/srv", "f"], "--device-type"),
        ("single-file", &["-n", "x", "-t", "x", "f"], "--dest-dir"),
        ("single-file", &["-n", "x", "-t", "x", "-d", "srv", "f"], "no absolute path"),
        ("single-file", &["-n", "x", "-t", "x", "-d", "/srv"], "missing at the end"),
        ("single-file", &["-n", "x", "-t", "x", "-d", "/srv", "my file"], "cannot be called \"my file\""),
        ("directory", &["-n", "x", "-t", "x", "-d", "///", "."], "would replace all"),
        ("script", &["--dest-dir=/srv", "x"], "takes no --dest-dir"),
        ("deb", &["--frob"], "there is no option --frob"),
    ];
    for (module, args, reason) in cases {
        let ran = Command::new(support("makers").join(format!("{module}-artifact-gen")))
            .args(args)
            .current_dir(lab.path("made"))
            .output()
            .expect("the maker runs");
        let text = String::from_utf8_lossy(&ran.stderr).into_owned();
        let needs = text.contains("mender-artifact is not installed");
        assert_eq!(ran.status.code(), Some(1), "{args:?}");
        assert!(text.contains(reason) || needs && !has("mender-artifact"), "{args:?}: {text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
    let help = Command::new(support("makers/directory-artifact-gen")).arg("--help").output().expect("help");
    assert!(help.status.success() && help.stderr.is_empty());
}
