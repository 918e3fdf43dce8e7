# SPDX-License-Identifier: MIT
"""Test guests that do nothing but use a disk: a Linux kernel, one static program as init, and the
modules that each kind of disk needs. They are started often, so whatever a boot can do without is
left out of it."""

import os
import subprocess
import sys

import unpacked_kernel

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "bench"))

from initramfs import Cpio, CONSOLE, contents  # noqa: E402 (the path is set just above)

CACHE = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
GUESTS = os.environ.get("ANELLO_GUESTS") or os.path.join(
    os.environ.get("ANELLO_CACHE") or os.path.join(CACHE, "anello"), "guests")
KERNEL = os.path.join(GUESTS, "kernel-686")
SCSI = ["crypto/crct10dif_common", "lib/crc-t10dif", "lib/crc64", "lib/crc64-rocksoft",
        "drivers/scsi/scsi_common", "drivers/scsi/scsi_mod", "block/t10-pi",
        "drivers/scsi/sd_mod", "drivers/ata/libata"]
# The kernel's self-tests and searches for hardware that the machine has not.
LEFT_OUT = ("noisapnp edd=off cryptomgr.notests initcall_blacklist=load_system_certificate_list,"
            "init_kprobe_trace,netns_bpf_init")
# What each kind of disk needs, in the order of loading, and what the guest calls it.
DISKS = {
    "ide": ("/dev/sda", [*SCSI, "drivers/ata/ata_piix"]),
    "sata": ("/dev/sda", [*SCSI, "drivers/ata/libahci", "drivers/ata/ahci"]),
    "virtio": ("/dev/vda", [
        "drivers/virtio/virtio", "drivers/virtio/virtio_ring",
        "drivers/virtio/virtio_pci_modern_dev", "drivers/virtio/virtio_pci_legacy_dev",
        "drivers/virtio/virtio_pci", "drivers/block/virtio_blk"]),
}
MODULES = list(dict.fromkeys(name for _, modules in DISKS.values() for name in modules))


def missing():
    """What is not here, or None."""
    if not os.path.exists(os.path.join(KERNEL, "vmlinuz")):
        return "the guest kernel-686 is not there: scripts/guests kernel-686"
    for name in MODULES:
        if not os.path.exists(os.path.join(KERNEL, "modules", name + ".ko")):
            return f"the guest kernel-686 lacks {name}.ko: scripts/guests --update kernel-686"
    return None


def drive(kind, options):
    """The machine's options for a disk: OPTIONS are those of -drive."""
    if kind == "sata":
        return ["-device", "ahci,id=sata", "-drive", f"{options},if=none,id=disk",
                "-device", "ide-hd,drive=disk,bus=sata.0"]
    return ["-drive", f"{options},if={kind}"]


def parameters(kind, prefix, nth=0):
    """The kernel's parameters by which guest_init.h finds a disk, the NTH of those with such names."""
    first, modules = DISKS[kind]
    device = first[:-1] + chr(ord(first[-1]) + nth)
    names = ",".join(os.path.basename(name) for name in modules)
    return f"{prefix}.disk={device} {prefix}.modules={names}"


def boot(folder, *more):
    """The machine's options that boot what build() has made; MORE are parameters of the kernel."""
    append = " ".join(("console=ttyS0 quiet panic=-1 no_timer_check", LEFT_OUT, *more))
    return ["-nographic", "-monitor", "none", "-no-reboot",
            "-kernel", os.path.join(folder, "kernel"), "-initrd", os.path.join(folder, "initrd"),
            "-append", append]


def build(folder, source):
    """Kernel, and initrd with the program SOURCE as init."""
    unpacked_kernel.make(os.path.join(KERNEL, "vmlinuz"), os.path.join(folder, "kernel"))
    compile_init(source, os.path.join(folder, "init"))
    build_initramfs(os.path.join(folder, "init"), os.path.join(folder, "initrd"))


def compile_init(source, output):
    subprocess.run(["gcc", "-m32", "-static", "-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror",
                    "-D_FILE_OFFSET_BITS=64", source, "-o", output], check=True)


def build_initramfs(program, output):
    cpio = Cpio()
    for name in ("dev", "modules"):
        cpio.add(name, 0o040755)
    cpio.add("dev/console", 0o020600, device=CONSOLE)
    cpio.add("init", 0o100755, contents(program))
    for name in MODULES:
        cpio.add(f"modules/{os.path.basename(name)}.ko", 0o100644,
                 contents(os.path.join(KERNEL, "modules", name + ".ko")))
    with open(output, "wb") as file:
        file.write(cpio.finish())
