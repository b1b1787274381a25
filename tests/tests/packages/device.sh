# What each script about the package begins with: a device with Debian's mender-client, an own identity script, and data in its datastore.
set -euo pipefail
trap 'echo "line $LINENO: $BASH_COMMAND"' ERR
quiet() { "$@" > /tmp/said 2>&1 || { cat /tmp/said; return 1; }; }
said() { grep -qF -e "$*" /tmp/said || { echo "not said: $*"; cat /tmp/said; return 1; }; }
is() { [ "$1" = "$2" ] || { echo "is \"$1\", should be \"$2\""; return 1; }; }
state() { dpkg-query --show --showformat '${db:Status-Status}' "$1" 2> /dev/null || true; }
# The package $1 anew, with version $2, as $3.
again() {
    dpkg-deb -R "$1" /tmp/again
    sed -i "s/^Version: .*/Version: $2/" /tmp/again/DEBIAN/control
    dpkg-deb -b /tmp/again "$3" > /dev/null
    rm -r /tmp/again
}
# The datastore, its link and who the device is, as they were.
all_there() {
    is "$(readlink /var/lib/mender)" /data/mender
    (cd /data/mender && sha256sum --quiet -c /root/sums)
    is "$(/usr/share/mender/identity/mender-device-identity)" own=identity
}

is "$(state mender-client)" installed
rm -rf /data /etc/mender /var/lib/mender
mkdir -p /data/mender /etc/mender /usr/share/mender/identity
ln -s /data/mender /var/lib/mender
echo key > /data/mender/mender-agent.pem
cp /out/mender-store /data/mender/
echo device_type=gateway > /data/mender/device_type
(cd /data/mender && sha256sum * > /root/sums)
printf '#!/bin/sh\necho own=identity\n' > /usr/share/mender/identity/mender-device-identity
chmod 755 /usr/share/mender/identity/mender-device-identity
echo '{"ServerURL":"https://localhost:1"}' > /etc/mender/mender.conf
