# SPDX-License-Identifier: MIT
# Installs Debian on an empty disk with debootstrap, from a shell of Debian's installer. Tools come
# as one archive from the host (live.py), packages from the mirror. @NAME@ is filled in by
# install_test.py.
disk=@DISK@
proxy=@PROXY@

phase() {
    echo "PHASE: $*"
}

phase tools
mkdir /live
wget -q -O - @SERVER@/live.tar.gz | tar xz -C /live
for module in $(cat /live/modules/order); do
    insmod "/live/modules/$module.ko" 2>/dev/null || true # some are there already
done
mkdir -p /live/proc /live/sys /live/dev /live/target
mount --bind /dev /live/dev
mount --bind /proc /live/proc
mount --bind /sys /live/sys
n=0
while [ ! -b "$disk" ] && [ $n -lt 30 ]; do
    sleep 1
    n=$((n + 1))
done

cat >/live/install <<'END'
set -e
phase() {
    echo "PHASE: $*"
}
export PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C

phase partition and file systems
printf 'label: dos\n2048,7000000,L,*\n,,S\n' | sfdisk -q "$disk"
mkfs.ext4 -q "${disk}1"
mkswap "${disk}2"
mount "${disk}1" /target

# As Debian's installer does it: no fsync for each file while everything can be lost anyway, and a
# small initial RAM disk (with the drivers of the disks that the tests have).
mkdir -p /target/etc/dpkg/dpkg.cfg.d /target/etc/initramfs-tools/conf.d \
    /target/usr/share/initramfs-tools/modules.d
echo force-unsafe-io >/target/etc/dpkg/dpkg.cfg.d/installer
echo MODULES=list >/target/etc/initramfs-tools/conf.d/driver-policy
printf '%s\n' ata_piix ahci sd_mod virtio_pci virtio_blk ext4 \
    >/target/usr/share/initramfs-tools/modules.d/disks

phase debootstrap
http_proxy=$proxy debootstrap --variant=minbase \
    --include=linux-image-686,grub-pc,systemd-sysv,udev,kmod,netbase bookworm /target \
    http://deb.debian.org/debian

phase configuration
mount --bind /dev /target/dev
mount -t proc proc /target/proc
mount -t sysfs sysfs /target/sys
echo "UUID=$(blkid -s UUID -o value "${disk}1") / ext4 errors=remount-ro 0 1
UUID=$(blkid -s UUID -o value "${disk}2") none swap sw 0 0" >/target/etc/fstab
echo anello >/target/etc/hostname
echo "127.0.0.1 localhost anello" >/target/etc/hosts
echo "root:@PASSWORD@" | chroot /target chpasswd
printf '[Match]\nName=e*\n[Network]\nDHCP=yes\n' >/target/etc/systemd/network/lan.network
chroot /target systemctl enable systemd-networkd
echo "nameserver 10.0.2.3" >/target/etc/resolv.conf

phase GRUB
printf '%s\n' 'GRUB_CMDLINE_LINUX="console=tty0 console=ttyS0"' 'GRUB_TERMINAL="console serial"' \
    'GRUB_SERIAL_COMMAND="serial --speed=115200"' \
    >>/target/etc/default/grub
chroot /target grub-install "$disk"
chroot /target update-grub

phase unmount
rm /target/etc/dpkg/dpkg.cfg.d/installer
umount /target/sys /target/proc /target/dev /target
sync
phase installed
END
# The installer's environment and descriptors lead packages to its own debconf: they must not see it.
env -i PATH="$PATH" disk="$disk" proxy="$proxy" TERM=linux HOME=/root \
    chroot /live /bin/sh /install </dev/null 3>&- 4>&- 5>&- 6>&-
