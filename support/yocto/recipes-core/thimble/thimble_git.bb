SUMMARY = "Over-the-air update client that speaks Mender's language"
LICENSE = "MIT | Apache-2.0"
LIC_FILES_CHKSUM = "\
    file://LICENSE-MIT;md5=96949c17a9a55b6127379f50350bc611 \
    file://LICENSE-APACHE;md5=3b83ef96387f14655fc854ddc3c6bd57 \
"

# Where your copy of the repository is, and what to build of it.
THIMBLE_GIT ?= "git://thimble.invalid/thimble.git;protocol=https;branch=main"
THIMBLE_REVISION ?= "${AUTOREV}"
SRC_URI = "${THIMBLE_GIT}"
PV = "0.1.0+git"
SRCREV = "${THIMBLE_REVISION}"

inherit cargo cargo-update-recipe-crates systemd
require thimble-crates.inc

CARGO_BUILD_FLAGS += "--package thimble"

do_install() {
    ${S}/support/install ${@bb.utils.contains('DISTRO_FEATURES', 'systemd', '', '--without-systemd', d)} \
        --program ${B}/target/${CARGO_TARGET_SUBDIR}/thimble --destdir ${D} \
        --prefix ${prefix} --units ${systemd_system_unitdir}
}

# mender-artifact is for a host; these are for whoever has it on the device.
PACKAGES =+ "${PN}-makers"
FILES:${PN}-makers = "${bindir}/*-artifact-gen ${prefix}/lib/thimble/artifact-gen"
FILES:${PN} += "\
    ${prefix}/lib/thimble/check-datastore \
    ${datadir}/mender \
    ${datadir}/dbus-1 \
    ${datadir}/fish \
    ${datadir}/zsh \
    ${systemd_system_unitdir} \
"
SYSTEMD_SERVICE:${PN} = "mender-updated.service"

RDEPENDS:${PN} = "ca-certificates"
# Mender's own recipes for the same device.
RPROVIDES:${PN} = "mender-client mender-update mender-auth mender-setup mender-snapshot"
RCONFLICTS:${PN} = "mender-client mender-update mender-auth mender-setup mender-snapshot"
RREPLACES:${PN} = "mender-client mender-update mender-auth mender-setup mender-snapshot"
