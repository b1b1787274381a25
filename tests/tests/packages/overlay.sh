#!/bin/sh
# Runs in namespaces of its own: this machine's root file system with a layer above it, in which packages come and go without
# any change here. $1: a directory with `out`, which is /out there, and in it `script`, which is run.
set -e
lab=$1
mount --make-rprivate /
mkdir "$lab/top"
mount -t tmpfs none "$lab/top"
mkdir "$lab/top/upper" "$lab/top/work" "$lab/top/root"
mount -t overlay -o "lowerdir=/,upperdir=$lab/top/upper,workdir=$lab/top/work" overlay "$lab/top/root"
cd "$lab/top/root"
mount -t proc proc proc
mount --rbind /dev dev
mount -t tmpfs -o mode=755 none run
mount -t tmpfs none tmp
mkdir -p out
mount --bind "$lab/out" out
exec chroot . /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
    bash /out/script
