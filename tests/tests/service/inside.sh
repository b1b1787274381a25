#!/bin/sh
# Runs in namespaces of its own: makes a device out of this machine's root file system, without changing that, and
# becomes its systemd. $1: a directory with `device`, which is put over the root file system, `top` and `out`.
set -e
lab=$1
mount --make-rprivate /
mount -t tmpfs none "$lab/top"
mkdir "$lab/top/upper" "$lab/top/work" "$lab/top/root"
mount -t overlay -o "lowerdir=/,upperdir=$lab/top/upper,workdir=$lab/top/work" overlay "$lab/top/root"
cd "$lab/top/root"
mount -t proc proc proc
mount -t sysfs sysfs sys
if [ -d /sys/fs/cgroup/systemd ]; then
    mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
    mkdir sys/fs/cgroup/systemd
    mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
else
    mount -t cgroup2 cgroup2 sys/fs/cgroup
fi
mount -t tmpfs -o mode=755 none dev
for node in null zero full random urandom; do
    touch "dev/$node"
    mount --bind "/dev/$node" "dev/$node"
done
mount -t tmpfs -o mode=755 none run
mount -t tmpfs none tmp
rm -rf etc/systemd/system etc/mender usr/share/mender var/lib/mender data
mkdir -p run/lock data out
mount --bind "$lab/out" out
cp -a "$lab/device/." .
exec chroot . /usr/bin/env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=probe.target --log-target=console --show-status=0
