SUMMARY = "Over-the-air update client that speaks Mender's language"
LICENSE = "MIT | Apache-2.0"
LIC_FILES_CHKSUM = "\
    file://LICENSE-MIT;md5=96949c17a9a55b6127379f50350bc611 \
    file://LICENSE-APACHE;md5=3b83ef96387f14655fc854ddc3c6bd57 \
"

# Where the repository is, and what to build of it: by default the commit that this layer is of.
THIMBLE_GIT ?= "git://${THIMBLE_CHECKOUT};protocol=file;usehead=1"
THIMBLE_REVISION ?= "${AUTOREV}"
# Where the device's key and the record of an update are kept, on a file system that no update replaces: /var/lib/mender becomes a
# link to it, as with meta-mender. Empty: /var/lib/mender is left to the image.
THIMBLE_DATASTORE ?= "/data/mender"

SRC_URI = "${THIMBLE_GIT}"
PV = "0.2.0+git"
SRCREV = "${THIMBLE_REVISION}"

inherit cargo cargo-update-recipe-crates systemd update-rc.d
require thimble-crates.inc

# any-module: the service may do what update modules need that install packages or write anywhere.
PACKAGECONFIG ??= "gpio"
PACKAGECONFIG[gpio] = ",--no-default-features"
PACKAGECONFIG[any-module] = ""

CARGO_BUILD_FLAGS += "--package thimble"

THIMBLE_INIT = "${@bb.utils.contains('DISTRO_FEATURES', 'systemd', \
    '--units ${systemd_system_unitdir}', '--sysv ${sysconfdir}/init.d/mender-updated', d)}"

do_install() {
    ${S}/support/install --destdir ${D} --prefix ${prefix} ${THIMBLE_INIT} \
        --program ${B}/target/${CARGO_TARGET_SUBDIR}/thimble \
        ${@bb.utils.contains('PACKAGECONFIG', 'any-module', '--any-module', '', d)}
    if [ -n "${THIMBLE_DATASTORE}" ]; then
        install -d ${D}${localstatedir}/lib ${D}${THIMBLE_DATASTORE}
        ln -s ${THIMBLE_DATASTORE} ${D}${localstatedir}/lib/mender
    fi
}

# Makers of artifacts are for a host; these are for whoever wants them on the device.
PACKAGES =+ "${PN}-makers"
FILES:${PN}-makers = "${bindir}/*-artifact-gen ${prefix}/lib/thimble/artifact-gen"
FILES:${PN} += "\
    ${prefix}/lib/thimble \
    ${datadir}/mender \
    ${datadir}/dbus-1 \
    ${datadir}/fish \
    ${datadir}/zsh \
    ${systemd_system_unitdir} \
    ${localstatedir}/lib/mender \
    ${THIMBLE_DATASTORE} \
"
SYSTEMD_SERVICE:${PN} = "mender-updated.service"
INITSCRIPT_NAME = "mender-updated"

RDEPENDS:${PN} = "ca-certificates"
# Mender's own recipes for the same device.
RPROVIDES:${PN} = "mender-client mender-update mender-auth mender-setup mender-snapshot"
RCONFLICTS:${PN} = "mender-client mender-update mender-auth mender-setup mender-snapshot"
RREPLACES:${PN} = "mender-client mender-update mender-auth mender-setup mender-snapshot"
