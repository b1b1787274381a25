# Which slot is started, by the rules that the client relies on. Debian's U-Boot keeps its own environment nowhere, so this
# script reads and writes the one on the disk: two copies of 0x1000 bytes in the sectors 0x400 and 0x480, each its CRC32,
# a byte that counts the writes, and the variables. It is written where the older copy stands.
virtio dev 0
virtio read 1000000 400 8
virtio read 1010000 480 8

# A checksum has its lowest byte first; crc32 stores the highest first.
setenv swap 'cp.b 1020000 1020007 1; cp.b 1020001 1020006 1; cp.b 1020002 1020005 1; cp.b 1020003 1020004 1'
setenv one_is_whole 'crc32 1000005 ffb 1020000; run swap; cmp.l 1020004 1000000 1'
setenv two_is_whole 'crc32 1010005 ffb 1020000; run swap; cmp.l 1020004 1010000 1'

setenv copy 0
if run one_is_whole; then
  setenv copy 1
  cp.b 1000004 1020010 1
fi
if run two_is_whole; then
  if test ${copy} = 0; then
    setenv copy 2
  elif itest.b *1010004 -gt *1000004; then
    setenv copy 2
  fi
fi
if test ${copy} = 2; then
  cp.b 1010004 1020010 1
  env import -b 1010005 ffb
elif test ${copy} = 1; then
  env import -b 1000005 ffb
else
  echo vm: no copy of the environment is whole
fi

# The count of the copy that was read, and one: U-Boot of this build cannot add.
setenv count 'setenv before ff; for h in 0 1 2 3 4 5 6 7 8 9 a b c d e f; do for l in 0 1 2 3 4 5 6 7 8 9 a b c d e f; do if itest.b *1020010 == 0x${before}; then mw.b 1030004 ${h}${l}; fi; setenv before ${h}${l}; done; done'
setenv names 'mender_boot_part mender_boot_part_hex upgrade_available bootcount bootlimit'
setenv fill 'env export -b -s ffb 1030005 ${names}; crc32 1030005 ffb 1020000; run swap; cp.b 1020004 1030000 4; run count'
setenv save 'run fill; if test ${copy} = 1; then virtio write 1030000 480 8; else virtio write 1030000 400 8; fi'

if test ${upgrade_available} = 1; then
  # More starts than bootlimit, which is 1, there are not.
  if test ${bootcount} = 0; then
    setenv bootcount 1
    run save
    echo vm: U-Boot tries slot ${mender_boot_part}
  else
    if test ${mender_boot_part} = 2; then
      setenv mender_boot_part 3
    else
      setenv mender_boot_part 2
    fi
    setenv mender_boot_part_hex ${mender_boot_part}
    setenv upgrade_available 0
    run save
    echo vm: U-Boot goes back to slot ${mender_boot_part}
  fi
else
  echo vm: U-Boot starts slot ${mender_boot_part}
fi

setenv bootargs root=/dev/vda${mender_boot_part} console=ttyS0 quiet panic=-1 random.trust_cpu=on nokaslr cryptomgr.notests mitigations=off audit=0 no_timer_check
if ext4load virtio 0:${mender_boot_part_hex} 4000000 /boot/vmlinuz; then
  setenv size ${filesize}
  if ext4load virtio 0:${mender_boot_part_hex} 6000000 /boot/initramfs; then
    zboot 4000000 ${size} 6000000 ${filesize}
  fi
fi
echo vm: slot ${mender_boot_part} does not start
reset
