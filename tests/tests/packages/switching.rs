//! The guide for those who change from Mender's client and back, `docs/switching.md`: its own commands, in their order, on a
//! device whose update Debian's mender-client left waiting for its commit.

use std::fs;

use thimble_tests::lab::{has, thimble};

use super::debian::{Device, package};
use super::{run, support};

/// The commands of the guide: the blocks behind `<!-- run -->`.
fn blocks() -> Vec<String> {
    let text = fs::read_to_string(support().join("../docs/switching.md")).expect("the guide");
    let blocks = text.split("<!-- run -->\n```sh\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap_or_default().to_owned()).collect()
}

/// An artifact that puts the text `release` into `/srv/app/conf`, made by what is shipped for that.
fn artifact(device: &Device, release: &str) {
    let file = device.out().join("conf");
    fs::write(&file, format!("{release}\n")).expect("a file");
    let mut command = std::process::Command::new(support().join("makers/single-file-artifact-gen"));
    command.args(["-n", release, "-t", "gateway", "-d", "/srv/app", "-o"]);
    let (good, text) = run(command.arg(device.out().join(format!("{release}.mender"))).arg(&file));
    assert!(good, "{text}");
}

#[test]
fn the_guide_leads_to_this_client_and_back() {
    let blocks = blocks();
    let [before, switch, commit, ask, back] = &blocks[..] else {
        panic!("there are {} blocks of commands in the guide", blocks.len())
    };
    if !has("mender-artifact") {
        thimble_tests::lab::left_out("mender-artifact");
        return;
    }
    let (Some(package), Some(device)) = (package(), Device::new()) else { return };
    fs::copy(package, device.out().join("thimble_0_amd64.deb")).expect("it is copied");
    let server = thimble().with_file_name("thimble-sim");
    fs::copy(&server, device.out().join("thimble-sim")).expect("thimble-sim is built beside the client");
    for release in ["release-2", "release-3", "release-4", "release-5"] {
        artifact(&device, release);
    }
    device.run(&format!(
        r#"
        exec 2>&1
        # What an owner's shell has and this one has not: someone to say yes, and a service manager that is running.
        apt-get() {{
            quiet command apt-get -y --no-install-recommends "$@"
            case "$*" in *thimble*) systemctl restart mender-updated ;; esac
        }}
        systemctl() {{
            case "$*" in
            'restart mender-updated')
                [ ! -e /tmp/pid ] || systemctl stop mender-updated
                /usr/bin/thimble daemon > /tmp/daemon 2>&1 & echo $! > /tmp/pid
                until /usr/bin/thimble status > /dev/null 2>&1; do kill -0 $(cat /tmp/pid); done ;;
            'unmask --runtime mender-updated') ;;
            'mask --runtime --now mender-updated' | 'stop mender-updated') kill $(cat /tmp/pid); wait $(cat /tmp/pid); rm /tmp/pid ;;
            *) command systemctl "$@" ;;
            esac
        }}
        openssl genpkey -quiet -algorithm RSA -out /data/mender/mender-agent.pem 2> /dev/null \
            || openssl genrsa -out /data/mender/mender-agent.pem 3072 2> /dev/null
        chmod 600 /data/mender/mender-agent.pem; sha256sum /data/mender/mender-agent.pem > /tmp/key
        mkdir /srv/app; echo release-1 > /srv/app/conf
        echo artifact_name=image-1 > /etc/mender/artifact_info
        cd /out

        # Mender's client installs, and waits for its commit.
        mender() {{ command mender --no-syslog "$@"; }}
        quiet mender install release-2.mender
        is "$(cat /srv/app/conf)" release-2
        {before}
        is "$(mender show-artifact 2> /dev/null)" release-1
        unset -f mender; hash -r

        {switch}
        is "$(thimble show-artifact)" release-1
        thimble status > /tmp/said; said "an update installed by hand waits for 'commit' or 'rollback'"
        sha256sum --quiet -c /tmp/key
        {commit}
        is "$(thimble show-artifact)" release-2; is "$(cat /srv/app/conf)" release-2

        # A deployment.
        ./thimble-sim serve --http --port 4443 --page none --until-over release-3.mender > /tmp/server 2>&1 & server=$!
        echo '{{"ServerURL":"http://127.0.0.1:4443"}}' > /etc/mender/mender.conf
        until grep -q 4443 /tmp/server; do kill -0 $server; done
        {ask}
        wait $server || {{ cat /tmp/server /tmp/daemon; false; }}
        is "$(thimble show-artifact)" release-3; is "$(cat /srv/app/conf)" release-3

        # Back, with an update that thimble installed, and one that Mender's client then installs.
        {back}
        is "$(state thimble)" config-files; is "$(readlink /var/lib/mender)" /data/mender
        sha256sum --quiet -c /tmp/key
        mender() {{ command mender --no-syslog "$@"; }}
        is "$(mender show-artifact 2> /dev/null)" release-3
        mender show-provides > /tmp/said 2> /dev/null; said rootfs-image.single-file.version=release-3
        ! mender commit 2> /dev/null
        quiet mender install release-4.mender; quiet mender commit
        is "$(mender show-artifact 2> /dev/null)" release-4
        quiet mender install release-5.mender
        unset -f mender; hash -r

        # And once more: what is installed is what Mender's client left, and the update that it left waiting goes back.
        {switch}
        is "$(thimble show-artifact)" release-4
        quiet thimble rollback; systemctl stop mender-updated
        is "$(thimble show-artifact)" release-4; is "$(cat /srv/app/conf)" release-4
        "#
    ));
}
