//! The package for Debian, on this machine's root file system with a layer above it that vanishes: over Debian's mender-client, which owns
//! the link at the datastore, and through all that dpkg does with a package.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use thimble_tests::lab::{has, is_root, thimble};

use super::{run, support};

/// The package with the client that the tests use, built once.
pub(super) fn package() -> Option<&'static Path> {
    static PACKAGE: OnceLock<Option<PathBuf>> = OnceLock::new();
    PACKAGE.get_or_init(|| build("package")).as_deref()
}

/// Builds it into a directory of its own below the one that cargo lends to tests.
fn build(name: &str) -> Option<PathBuf> {
    if !(has("dpkg-deb") && has("dpkg-shlibdeps") && cfg!(target_arch = "x86_64")) {
        thimble_tests::lab::left_out("dpkg-dev");
        return None;
    }
    let into = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&into);
    let (good, text) = run(Command::new(support().join("deb/build"))
        .arg("--program")
        .arg(thimble())
        .env("CARGO_TARGET_DIR", &into)
        .env("SOURCE_DATE_EPOCH", "1700000000"));
    assert!(good, "{text}");
    Some(text.lines().last().expect("a path").into())
}

/// A device with Debian's mender-client (`device.sh`), on this machine's root file system with a layer above it.
pub(super) struct Device(tempfile::TempDir);

impl Device {
    /// `None` where there can be none.
    pub(super) fn new() -> Option<Self> {
        if !(is_root() && has("unshare") && Path::new("/var/lib/dpkg/info/mender-client.list").exists()) {
            thimble_tests::lab::left_out("root, unshare and Debian's mender-client");
            return None;
        }
        let device = Self(tempfile::tempdir().expect("a directory"));
        fs::create_dir(device.out()).expect("it is made");
        let store = support().join("../hal-linux/src/storage/fixtures/mender-3.4-small");
        fs::copy(store, device.out().join("mender-store")).expect("it is copied");
        Some(device)
    }

    /// What is `/out` on the device.
    pub(super) fn out(&self) -> PathBuf {
        self.0.path().join("out")
    }

    /// Runs a script in bash.
    pub(super) fn run(&self, script: &str) {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/packages");
        let begin = fs::read_to_string(here.join("device.sh")).expect("the beginning");
        fs::write(self.out().join("script"), format!("{begin}\n{script}\necho all good\n"))
            .expect("it is written");
        let (good, text) = run(Command::new("timeout")
            .args(["--signal=KILL", "300", "unshare", "--mount", "--pid", "--fork", "--kill-child", "sh"])
            .args([&here.join("overlay.sh"), self.0.path()]));
        assert!(good && text.ends_with("all good\n"), "{text}");
    }
}

/// Runs a script on a device, on which the package is `/out/thimble.deb`.
fn on_a_device(script: &str) {
    let (Some(package), Some(device)) = (package(), Device::new()) else { return };
    fs::copy(package, device.out().join("thimble.deb")).expect("it is copied");
    device.run(script);
}

#[test]
fn lintian_has_nothing_to_say() {
    let Some(package) = package() else { return };
    if !has("lintian") {
        thimble_tests::lab::left_out("lintian");
        return;
    }
    let (good, text) = run(Command::new("lintian")
        .args(["--allow-root", "--display-info", "--pedantic", "--fail-on", "error,warning,info,pedantic"])
        .arg(package));
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("N:")).collect();
    assert!(good && lines.is_empty(), "{text}");
}

#[test]
fn the_same_program_makes_the_same_package() {
    let (Some(one), Some(other)) = (package(), build("again")) else { return };
    assert!(fs::read(one).expect("a package") == fs::read(&other).expect("a package"), "{}", other.display());
    let control = run(Command::new("dpkg-deb").arg("--field").arg(one));
    assert!(control.1.contains("Depends: libc6 (>= "), "{}", control.1);
}

#[test]
fn it_takes_the_place_of_debian_s_client_and_comes_and_goes_without_touching_the_datastore() {
    on_a_device(
        r"
        quiet dpkg -i /out/thimble.deb
        said the link /var/lib/mender to /data/mender was gone
        said the update module docker belonged to
        is $(state mender-client) config-files
        all_there
        for name in mender mender-update mender-auth thimble; do is $($name --version) $(thimble --version); done
        is $(thimble show-artifact) release-1
        [ -x /usr/share/mender/modules/v3/single-file ] && [ -x /usr/share/mender/inventory/mender-inventory-os ]
        # Two names and one service: what requires Mender's finds it.
        is $(readlink -f /lib/systemd/system/mender-client.service) $(readlink -f /lib/systemd/system/mender-updated.service)
        is $(systemctl is-enabled mender-updated) enabled
        is $(systemctl is-enabled mender-client) alias

        again /out/thimble.deb 9-1 /tmp/new.deb
        echo own > /usr/share/mender/modules/v3/own
        rm /usr/share/mender/modules/v3/script && echo changed > /usr/share/mender/modules/v3/script
        quiet dpkg -i /tmp/new.deb; is $(state thimble) installed; all_there
        is $(cat /usr/share/mender/modules/v3/script) changed
        quiet dpkg -i /out/thimble.deb; all_there

        quiet dpkg -r thimble; all_there
        [ ! -e /usr/bin/mender ] && [ ! -h /usr/share/mender/modules/v3/deb ] && [ -e /usr/share/mender/modules/v3/own ]
        quiet dpkg -i /out/thimble.deb; all_there
        quiet dpkg -P thimble; said the datastore /var/lib/mender stays; all_there
        [ ! -e /var/lib/thimble ] && [ -e /etc/mender/mender.conf ]
        ",
    );
}

#[test]
fn apt_which_removes_debian_s_client_first_loses_nothing() {
    on_a_device(
        r"
        quiet apt-get install -y --no-install-recommends /out/thimble.deb
        said 'Removing mender-client'
        is $(state thimble) installed; all_there
        # Nothing of Mender's comes back by itself.
        apt-get install -s mender-client 2> /dev/null | grep -q 'Remv thimble'
        ! apt-get -s upgrade 2> /dev/null | grep -qE '(Inst|Remv) (thimble|mender-client)'
        quiet dpkg -P mender-client; all_there
        ",
    );
}

#[test]
fn a_package_that_was_only_unpacked_starts_no_client_without_the_key() {
    on_a_device(
        r"
        quiet dpkg --unpack /out/thimble.deb
        is $(state thimble) unpacked
        [ ! -e /var/lib/mender ] && [ ! -h /var/lib/mender ]
        # Power is lost here: Mender's unit is still to be started, and its name leads to ours.
        quiet $(sed -n 's/^ExecStartPre=+//p' /lib/systemd/system/mender-client.service)
        all_there
        quiet dpkg --configure -a; all_there
        ",
    );
}

#[test]
fn who_the_device_is_survives_an_installation_that_ends_anywhere() {
    on_a_device(
        r#"
        identity=/usr/share/mender/identity/mender-device-identity
        mkdir /tmp/bin
        again /out/thimble.deb 9-1 /tmp/new.deb
        for program in cp mv sync rm; do
            quiet dpkg --unpack /out/thimble.deb
            # As when a package of Mender's goes that has the file.
            rm -f $identity
            # Does its work, but for cp, which only begins it; then all is over.
            printf '#!/bin/sh\nfor to; do :; done\ncase $0 in */cp) head -c 5 "$2" > "$to";; *) /bin/${0##*/} "$@";; esac
                kill -KILL $PPID\n' > /tmp/bin/$program
            chmod 755 /tmp/bin/$program
            if PATH=/tmp/bin:$PATH dpkg --configure thimble > /tmp/said 2>&1; then echo "not ended at $program"; exit 1; fi
            is $(state thimble) half-configured
            rm /tmp/bin/$program
            [ $program != sync ] || quiet dpkg --unpack /tmp/new.deb
            quiet dpkg --configure -a; all_there
            [ ! -e /var/lib/thimble/mender-device-identity ] && [ ! -e $identity.new ]
        done

        # What an older version's copy left; the next package is unpacked over it.
        quiet dpkg --unpack /out/thimble.deb
        : > $identity
        quiet dpkg --unpack /tmp/new.deb
        quiet dpkg --configure -a; said it is again as it was; all_there

        # Its owner writes another one meanwhile.
        quiet dpkg --unpack /out/thimble.deb
        printf '#!/bin/sh\necho owner=new\n' > $identity
        quiet dpkg --configure -a
        said is another one than before
        is $($identity) owner=new
        is $(sh /var/lib/thimble/mender-device-identity) own=identity
        "#,
    );
}

#[test]
fn a_link_that_leads_elsewhere_and_a_folder_stay_what_they_are() {
    on_a_device(
        r"
        mkdir /mnt/persist; mv /data/mender /mnt/persist/; ln -sfn /mnt/persist/mender /var/lib/mender
        quiet dpkg -i /out/thimble.deb
        is $(readlink /var/lib/mender) /mnt/persist/mender; is $(cat /var/lib/mender/mender-agent.pem) key
        quiet dpkg -r thimble; is $(cat /var/lib/mender/mender-agent.pem) key
        rm /var/lib/mender; mv /mnt/persist/mender /var/lib/mender
        quiet dpkg -i /out/thimble.deb; quiet dpkg -P thimble
        [ ! -h /var/lib/mender ] && is $(cat /var/lib/mender/mender-agent.pem) key
        ",
    );
}

#[test]
fn a_client_that_was_not_to_start_does_not_start_after_the_change() {
    on_a_device(
        r"
        DPKG_MAINTSCRIPT_PACKAGE=mender-client quiet deb-systemd-helper enable mender-client.service
        quiet systemctl disable mender-client.service
        quiet dpkg -i /out/thimble.deb
        is $(systemctl is-enabled mender-updated || true) disabled
        again /out/thimble.deb 9-1 /tmp/new.deb
        quiet dpkg -i /tmp/new.deb
        is $(systemctl is-enabled mender-updated || true) disabled
        systemctl enable mender-updated 2> /dev/null
        quiet dpkg -i /out/thimble.deb
        is $(systemctl is-enabled mender-updated) enabled
        ",
    );
}

#[test]
fn what_a_person_or_mender_s_package_left_at_the_units_is_said_or_mended() {
    on_a_device(
        r"
        # As the removal of older packages masks their unit; and a person's own.
        DPKG_MAINTSCRIPT_PACKAGE=mender-client deb-systemd-helper mask mender-client.service
        printf '[Service]\nExecStart=/usr/bin/mender daemon\n' > /etc/systemd/system/mender-authd.service
        quiet dpkg -i /out/thimble.deb
        is $(systemctl is-enabled mender-client) alias
        said /etc/systemd/system/mender-authd.service takes the place

        # A package with the unit of the same name in the other of two folders that are one.
        quiet dpkg -P thimble
        mkdir -p /tmp/five/DEBIAN /tmp/five/usr/lib/systemd/system
        printf 'Package: mender-update\nVersion: 5\nArchitecture: all\nMaintainer: m <m@m>\nDescription: x\n' > /tmp/five/DEBIAN/control
        echo '[Service]' > /tmp/five/usr/lib/systemd/system/mender-updated.service
        quiet dpkg-deb -b /tmp/five /tmp/five.deb
        quiet dpkg -i /tmp/five.deb
        quiet dpkg -i /out/thimble.deb
        is $(state mender-update) not-installed
        grep -q check-datastore /lib/systemd/system/mender-updated.service
        quiet dpkg -r thimble
        [ ! -e /lib/systemd/system/mender-updated.service ]
        ",
    );
}

#[test]
fn the_datastore_goes_with_a_purge_that_was_asked_for() {
    on_a_device(
        r"
        quiet dpkg -i /out/thimble.deb
        touch /var/lib/thimble/purge-datastore
        quiet dpkg -P thimble
        said the datastore /data/mender is deleted
        [ ! -e /data/mender ] && [ ! -h /var/lib/mender ] && [ ! -e /var/lib/thimble ]
        ",
    );
}
