#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Boots unmodified firmware, boot loaders and operating systems and watches them work.

usage: boot_tests.py [--binary FILE] [--accel NAME] [--patience FACTOR] NAME...|all
       boot_tests.py --list

Each test is a function below; its needs are guests of docs/guests.md. Without a guest the test is
skipped (exit status 77) with the command that fetches it. --patience multiplies all time limits.
The binary may as well be qemu-system-i386: the expectations have been proved there.
"""

import argparse
import contextlib
import hashlib
import http.server
import json
import os
import re
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from guest import Failure, Guest, Unavailable

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "bench"))

from measure.runs import memory_beyond  # noqa: E402 (the path is set just above)

CACHE = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
GUESTS = os.environ.get("ANELLO_GUESTS") or os.path.join(
    os.environ.get("ANELLO_CACHE") or os.path.join(CACHE, "anello"), "guests")

SKIPPED = 77
MIB_BEYOND = 256  # beside guest memory
SAMPLE_STEP = 53  # of pixels, where a share of colours is estimated
TESTS = {}


class Skip(Exception):
    pass


def boot_test(*needs):
    """Registers a test that needs these guests."""
    def register(function):
        TESTS[function.__name__] = (function, needs)
        return function
    return register


class Context:
    """What a test may ask of the run: machines, and files of guests."""

    def __init__(self, options):
        self.options = options

    def boot(self, *arguments, accel=None):
        return Guest(self.options.binary, arguments, accel or self.options.accel,
                     self.options.patience)

    def file(self, guest, name):
        return os.path.join(GUESTS, guest, name)

    def initrd(self, busybox="busybox-i386", added=()):
        """The initramfs of the bench guest: a shell on ttyS0 and on tty1. ADDED are pairs of a
        host file and where it goes."""
        bench = os.path.join(self.options.build, "bench", "bench")
        output = os.path.join(self.options.build, "bench", f"initrd.{os.getpid()}")
        if not os.path.exists(bench):
            raise Skip(f"{bench} has not been built: scripts/build")
        subprocess.run([sys.executable, os.path.join(ROOT, "bench", "initramfs.py"),
                        "--busybox", self.file(busybox, "busybox"),
                        "--bench", bench, "-o", output,
                        *(f"--add={host}={guest}" for host, guest in added)], check=True)
        self.temporary = output
        return output

    temporary = None


# ---- firmware and boot loaders

@boot_test()
def seabios_shows_its_banner_and_looks_for_a_disk(context):
    with context.boot("-m", "32M") as guest:
        guest.wait_screen(r"SeaBIOS \(version", 30)
        guest.wait_screen(r"No bootable device", 60)


@boot_test("grub-rescue")
def seabios_boot_menu_lists_the_cd(context):
    cd = context.file("grub-rescue", "grub-rescue-cdrom.iso")
    with context.boot("-m", "64M", "-cdrom", cd, "-boot", "menu=on") as guest:
        guest.wait_screen(r"Press ESC for boot menu", 30)
        guest.keys("esc")
        guest.wait_screen(r"Select boot device", 30)
        guest.wait_screen(r"\d\. DVD/CD", 30)


@boot_test("grub-rescue")
def grub_cd_gives_a_prompt_that_lists_devices(context):
    cd = context.file("grub-rescue", "grub-rescue-cdrom.iso")
    with context.boot("-m", "64M", "-cdrom", cd, "-boot", "d") as guest:
        grub_prompt_lists_devices(guest, r"\(cd0?\)|\(cd\)")


@boot_test("grub-rescue")
def grub_floppy_gives_a_prompt_that_lists_devices(context):
    floppy = context.file("grub-rescue", "grub-rescue-floppy.img")
    with context.boot("-m", "64M", "-fda", floppy, "-boot", "a") as guest:
        grub_prompt_lists_devices(guest, r"\(fd0\)")


@boot_test("grub-rescue")
def disks_of_every_format_boot_grub(context):
    """The rescue CD is a disk as well. qemu-img makes the images, for either monitor."""
    source = context.file("grub-rescue", "grub-rescue-cdrom.iso")
    if not shutil.which("qemu-img"):
        raise Skip("qemu-img is not installed: scripts/setup")
    for form, option in (("qcow2", "cluster_size=4k"), ("vdi", "static=off"),
                         ("vmdk", "subformat=monolithicSparse"),
                         ("vmdk", "subformat=twoGbMaxExtentFlat"),
                         ("vmdk", "subformat=streamOptimized")):
        with tempfile.TemporaryDirectory() as folder:
            disk = os.path.join(folder, "disk")
            subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", form, "-o", option, source,
                            disk], check=True)
            # streamOptimized cannot be written to
            with context.boot("-m", "64M", "-hda", disk, "-boot", "c", "-snapshot") as guest:
                grub_prompt_lists_devices(guest, r"\(hd0\)")


def grub_prompt_lists_devices(guest, device):
    guest.wait_screen(r"GNU GRUB +version 2\.06", 60)
    guest.wait_screen(r"Press enter to boot|grub>", 30)
    guest.keys("c")
    guest.wait_screen(r"grub> *", 30)
    time.sleep(0.5)
    guest.type_keys("ls\n")
    guest.wait_screen(device, 30)


@boot_test("memtest")
def memtest_starts_testing_from_its_cd(context):
    memtest_from_its_cd(context, "memtest86+ia32.iso")


@boot_test("memtest")
def memtest_starts_testing_as_a_kernel(context):
    memtest_as_a_kernel(context, "memtest86+ia32.bin")


@boot_test("memtest")
def memtest_x64_starts_testing_from_its_cd(context):
    memtest_from_its_cd(context, "memtest86+x64.iso")


@boot_test("memtest")
def memtest_x64_starts_testing_as_a_kernel(context):
    memtest_as_a_kernel(context, "memtest86+x64.bin")


def memtest_from_its_cd(context, name):
    with context.boot("-m", "64M", "-cdrom", context.file("memtest", name), "-boot", "d") as guest:
        memtest_tests(guest)


def memtest_as_a_kernel(context, name):
    with context.boot("-m", "64M", "-kernel", context.file("memtest", name)) as guest:
        memtest_tests(guest)


def memtest_tests(guest):
    guest.wait_screen(r"Memtest86\+ v6\.10", 60)
    guest.wait_screen(r"Testing: .*\n?.*[1-9]\d*K? ?-|Pass.*[1-9]%|Test +[1-9]\d?%", 120)


@boot_test("ipxe")
def ipxe_cd_starts(context):
    with context.boot("-m", "64M", "-cdrom", context.file("ipxe", "ipxe.iso"),
                      "-boot", "d") as guest:
        guest.wait_screen(r"iPXE 1\.\d+", 60)


# ---- FreeDOS

FREEDOS_SIZES = ["160K", "180K", "320K", "360K", "720K", "1200K", "1.4MB"]


def freedos_floppy(context, size):
    path = context.file("freedos", f"freedos.boot.disk.{size}.img")
    if not os.path.exists(path):
        raise Skip(f"{path} is not there: docs/guests.md")
    return path


@boot_test()
def freedos_boots_from_floppies_of_every_size(context):
    for size in FREEDOS_SIZES:
        floppy = freedos_floppy(context, size)
        with context.boot("-m", "16M", "-drive", f"file={floppy},if=floppy,format=raw,snapshot=on",
                          "-boot", "a") as guest:
            guest.wait_screen(r"A:\\>", 60)
            guest.type_keys("echo six times seven >x.txt\n")
            time.sleep(0.5)
            guest.type_keys("type x.txt\n")
            guest.wait_screen(r"\n *six times seven", 30)


@boot_test()
def freedos_boots_from_a_cd(context):
    """By floppy emulation (El Torito): drive A: is the picture of a floppy on the CD."""
    if not shutil.which("xorrisofs"):
        raise Skip("xorriso is not installed: scripts/setup")
    floppy = freedos_floppy(context, "1.4MB")
    with tempfile.TemporaryDirectory() as folder:
        cd = os.path.join(folder, "cd.iso")
        subprocess.run(["xorrisofs", "-quiet", "-b", os.path.basename(floppy), "-c", "boot.cat",
                        "-o", cd, floppy], check=True, stderr=subprocess.DEVNULL)
        with context.boot("-m", "16M", "-cdrom", cd, "-boot", "d") as guest:
            guest.wait_screen(r"A:\\>", 60)
            guest.type_keys("type readme.txt\n")
            guest.wait_screen(r"FreeDOS", 30)
            guest.type_keys("echo $(no) >x.txt\n")
            guest.wait_screen(r"[Ww]rite.protect|Access denied", 30)


# ---- Linux

def linux(context, kernel, *more, append="", busybox="busybox-i386", added=(), accel=None):
    return context.boot("-m", "256M", "-kernel", context.file(kernel, "vmlinuz"),
                        "-initrd", context.initrd(busybox, added), "-append", append, *more,
                        accel=accel)


def check_serial_shell(guest, patience=240):
    """A shell answers on the serial line; the answer is not in what was typed."""
    at = guest.wait_serial(r"shell on /dev/ttyS0", patience)
    at = guest.wait_serial(r"guest# ", 20, at)
    guest.type_serial("echo $((6 * 7))-$(cat /proc/sys/kernel/ostype)\n")
    guest.wait_serial(r"42-Linux", 20, at)


def linux_serial_shell_and_poweroff(context, kernel, busybox="busybox-i386"):
    with linux(context, kernel, append="console=ttyS0", busybox=busybox) as guest:
        check_serial_shell(guest)
        guest.type_serial("poweroff\n")
        guest.wait_exit(0, 60)


@boot_test("kernel-686", "busybox-i386")
def linux_686_serves_a_serial_shell_and_powers_off(context):
    linux_serial_shell_and_poweroff(context, "kernel-686")


@boot_test("kernel-686-pae", "busybox-i386")
def linux_686_pae_serves_a_serial_shell_and_powers_off(context):
    linux_serial_shell_and_poweroff(context, "kernel-686-pae")


@boot_test("kernel-amd64", "busybox-amd64")
def linux_amd64_serves_a_serial_shell_and_powers_off(context):
    linux_serial_shell_and_poweroff(context, "kernel-amd64", "busybox-amd64")


@boot_test("kernel-amd64", "busybox-i386")
def linux_amd64_runs_32_bit_programs(context):
    linux_serial_shell_and_poweroff(context, "kernel-amd64", "busybox-i386")


@boot_test("kernel-686", "busybox-i386")
def linux_686_boots_under_check(context):
    """Each block by interpreter and translator: about half a milliard, in four to ten minutes."""
    if "qemu" in os.path.basename(context.options.binary):
        raise Skip("QEMU has no -accel check")
    with linux(context, "kernel-686", append="console=ttyS0 nowatchdog", accel="check") as guest:
        check_serial_shell(guest, 900)
        guest.type_serial("poweroff\n")
        guest.wait_exit(0, 240)
        summary = re.search(r"check: (\d+) blocks compared.*", guest.complaints())
        guest.check(summary and int(summary.group(1)) > 100e6, "too little was compared")
        print(summary.group())


@boot_test("kernel-686", "busybox-i386")
def linux_686_serves_a_shell_on_the_screen(context):
    with linux(context, "kernel-686", append="vga=normal quiet") as guest:
        guest.wait_screen(r"shell on /dev/tty1", 240)
        guest.wait_screen(r"guest#", 20)
        guest.type_keys("uname -s; expr 6 + 7\n")
        guest.wait_screen(r"\nLinux\n13\n", 20)
        guest.type_keys("poweroff\n")
        guest.wait_exit(0, 60)


@boot_test("kernel-686", "busybox-i386")
def linux_686_reboots(context):
    with linux(context, "kernel-686", append="console=ttyS0") as guest:
        at = guest.wait_serial(r"shell on /dev/ttyS0", 240)
        at = guest.wait_serial(r"guest# ", 20, at)
        guest.type_serial("reboot\n")
        at = guest.wait_serial(r"reboot: Restarting system", 60, at)
        guest.wait_serial(r"Linux version 6\.1", 120, at)


@boot_test("kernel-686", "busybox-i386")
def no_reboot_ends_where_linux_reboots(context):
    with linux(context, "kernel-686", "-no-reboot", append="console=ttyS0 panic=-1") as guest:
        at = guest.wait_serial(r"shell on /dev/ttyS0", 240)
        at = guest.wait_serial(r"guest# ", 20, at)
        guest.type_serial("reboot -f\n")
        guest.wait_exit(0, 60)


@boot_test("kernel-686", "busybox-i386")
def linux_686_heeds_ctrl_alt_del(context):
    with linux(context, "kernel-686", append="console=ttyS0") as guest:
        at = guest.wait_serial(r"guest# ", 240)
        guest.keys("ctrl-alt-delete")
        guest.wait_serial(r"reboot: Restarting system", 60, at)


# ---- the network

PAYLOAD_BYTES = 1 << 20
DATAGRAM_BYTES = 4000  # three frames
IPXE_FOLDERS = ["/usr/lib/ipxe/qemu", "/usr/share/qemu"]


VIRTIO_PCI = ["drivers/virtio/virtio", "drivers/virtio/virtio_ring",
              "drivers/virtio/virtio_pci_legacy_dev", "drivers/virtio/virtio_pci_modern_dev",
              "drivers/virtio/virtio_pci"]


def module_files(context, kernel, modules):
    """Pairs of a module's file and its place in the guest."""
    return [(context.file(kernel, f"modules/{m}.ko"), f"bin/{m.split('/')[-1]}.ko")
            for m in modules]


def load_modules(guest, at, modules):
    for module in modules:
        at = command(guest, at, f"insmod /bin/{module.split('/')[-1]}.ko; echo is=$?", r"is=0")
    return at


def shell(guest):
    """Waits for the shell on the serial line; returns where its output begins."""
    at = guest.wait_serial(r"shell on /dev/ttyS0", 240)
    return guest.wait_serial(r"guest# ", 20, at)


def command(guest, at, line, answer, timeout=60):
    """Types LINE and waits for ANSWER, which must not be in LINE, and the next prompt."""
    guest.type_serial(line + "\n")
    at = guest.wait_serial(answer, timeout, at)
    return guest.wait_serial(r"guest# ", 20, at)


def check_interrupts(guest, at, pattern):
    """The guest's kernel names the interrupts that its drivers use."""
    return command(guest, at, "cat /proc/interrupts", pattern, 30) if pattern else at


def guest_fetches_a_file(context, kernel, card, *modules, interrupts=None):
    """The guest's own driver, DHCP client and HTTP client against a server on our loopback. And
    datagrams that are longer than a frame, there and back."""
    lease = os.path.join(HERE, "lease.sh")
    added = [(lease, "bin/lease.sh")]
    added += module_files(context, kernel, modules)
    payload = os.urandom(PAYLOAD_BYTES)
    forwarded = free_port()
    card = [card[0], f"{card[1]},hostfwd=tcp:127.0.0.1:{forwarded}-:80"]
    with served(payload) as port, served(payload, socket.AF_INET6) as port6, \
            TftpStore() as stored, linux(context, kernel, *card, append="console=ttyS0", added=added) as guest:
        at = shell(guest)
        at = load_modules(guest, at, modules)
        at = command(guest, at, "ip link set eth0 up; udhcpc -n -q -i eth0 -s /bin/lease.sh",
                     r"address 10\.0\.2\.15 router 10\.0\.2\.2 dns 10\.0\.2\.3", 120)
        at = command(guest, at, f"wget -O /tmp/f http://10.0.2.2:{port}/f; md5sum /tmp/f",
                     hashlib.md5(payload).hexdigest(), 240)
        at = command(guest, at, f"ping -c 3 -s {DATAGRAM_BYTES} 10.0.2.2", "3 packets received")
        at = command(guest, at, f"tftp -p -b {DATAGRAM_BYTES} -l /tmp/f 10.0.2.2 {stored.port}; "
                     "echo is=$?", "is=0")
        guest.check(stored.bytes == payload, "TFTP brought something else")
        if port6:
            at = fetch_by_ipv6(guest, at, port6, payload)
        at = command(guest, at, "httpd -p 80 -h /tmp; echo is=$?", "is=0")
        with urllib.request.urlopen(f"http://127.0.0.1:{forwarded}/f", timeout=60) as answer:
            guest.check(answer.read() == payload, "the forwarded port brought something else")
        check_interrupts(guest, at, interrupts)
        guest.type_serial("poweroff\n")
        guest.wait_exit(0, 60)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def fetch_by_ipv6(guest, at, port, payload):
    """The address comes by the router's advertisement. libslirp knows no fragments of IPv6."""
    at = command(guest, at, "until ip -6 addr show eth0 | grep fec0 | grep -v tentative; do sleep 1; done",
                 r"inet6 fec0::\S+/64")
    at = command(guest, at, "ping6 -c 3 fec0::2", "3 packets received")
    return command(guest, at, f"wget -O /tmp/f6 'http://[fec0::2]:{port}/f'; md5sum /tmp/f6",
                   hashlib.md5(payload).hexdigest(), 240)


class TftpStore(socketserver.UDPServer):
    """A TFTP server on the loopback that takes one file, in blocks as large as the client likes."""
    WRITE, DATA, ACK, OPTIONS = (bytes((0, code)) for code in (2, 3, 4, 6))

    def __init__(self):
        super().__init__(("127.0.0.1", 0), None)
        self.port = self.server_address[1]
        self.bytes = b""

    def finish_request(self, request, client_address):
        data, endpoint = request
        if data[:2] == self.WRITE:
            endpoint.sendto(self.OPTIONS + b"blksize\0%d\0" % DATAGRAM_BYTES, client_address)
        elif data[:2] == self.DATA:
            if int.from_bytes(data[2:4], "big") * DATAGRAM_BYTES == len(self.bytes) + DATAGRAM_BYTES:
                self.bytes += data[4:]  # and not one that comes again
            endpoint.sendto(self.ACK + data[2:4], client_address)

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


@contextlib.contextmanager
def served(payload, family=socket.AF_INET):
    """An HTTP server on the loopback that gives this file; yields its port, None where the host has
    no such loopback."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_):
            pass

    class Server(http.server.ThreadingHTTPServer):
        address_family = family

    try:
        server = Server(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0), Handler)
    except OSError:
        if family == socket.AF_INET:
            raise
        yield None
        return
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@boot_test("kernel-686", "busybox-i386")
def linux_686_fetches_a_file_over_its_e1000(context):
    guest_fetches_a_file(context, "kernel-686", ["-nic", "user,model=e1000"],
                         "drivers/net/ethernet/intel/e1000/e1000")


@boot_test("kernel-686", "busybox-i386")
def linux_686_fetches_a_file_over_its_virtio_card(context):
    guest_fetches_a_file(context, "kernel-686", ["-nic", "user,model=virtio-net-pci"], *VIRTIO_PCI,
                         "net/core/failover", "drivers/net/net_failover", "drivers/net/virtio_net",
                         interrupts=r"[1-9]\d* +PCI-MSI.* virtio0-input\.0")


@boot_test("kernel-686", "busybox-i386")
def linux_686_reads_and_writes_its_virtio_disk(context):
    guest_reads_and_writes(context, "if=virtio", "vda", 8 << 20, 24, *VIRTIO_PCI,
                           "drivers/block/virtio_blk",
                           interrupts=r"[1-9]\d* +PCI-MSI.* virtio0-req\.0")


@boot_test("kernel-686", "busybox-i386")
def halted_cpu_looks_for_its_disk_but_not_for_its_timer(context):
    """While each of 2,000 reads is waited for, the CPU is to look for the answer (on a busy host it soon
    gives up); in three seconds in which there is nothing to do, 250 times a second, it is to sleep."""
    if len(os.sched_getaffinity(0)) < 2:
        raise Skip("on one CPU nobody looks")
    modules = [*VIRTIO_PCI, "drivers/block/virtio_blk"]
    with tempfile.NamedTemporaryFile(prefix="anello-disk-") as disk, \
            tempfile.NamedTemporaryFile(prefix="anello-stats-") as stats:
        disk.truncate(8 << 20)
        with linux(context, "kernel-686", "-drive", f"file={disk.name},format=raw,if=virtio",
                   "--stats", stats.name, append="console=ttyS0",
                   added=module_files(context, "kernel-686", modules)) as guest:
            at = load_modules(guest, shell(guest), modules)
            at = command(guest, at, "echo 0 >/sys/block/vda/queue/read_ahead_kb; "
                         "dd if=/dev/vda of=/dev/null bs=4k count=2000; echo is=$?", r"is=0", 120)
            command(guest, at, "sleep 3; echo slept=$?", r"slept=0", 60)
            guest.type_serial("poweroff\n")
            guest.wait_exit(0, 60)
        counters = json.load(stats)
    looked = counters["halt.looked"]
    guest.check(counters["disk.reads"] >= 2000, "the reads were not made one by one")
    guest.check(looked > 0, "no answer of the disk came while the CPU looked")
    guest.check(counters["halt.waits"] - looked >= 400, "it looked for its timer")


SCSI_DISK = ["crypto/crct10dif_common", "lib/crc-t10dif", "lib/crc64", "lib/crc64-rocksoft",
             "drivers/scsi/scsi_common", "drivers/scsi/scsi_mod", "block/t10-pi",
             "drivers/scsi/sd_mod"]
AHCI = [*SCSI_DISK, "drivers/ata/libata", "drivers/ata/libahci", "drivers/ata/ahci"]


@boot_test("kernel-686", "busybox-i386")
def linux_686_reads_and_writes_its_sata_disk(context):
    guest_reads_and_writes(context, "if=none,id=disk", "sda", 8 << 20, 24, *AHCI,
                           card=["-device", "ahci,id=sata",
                                 "-device", "ide-hd,drive=disk,bus=sata.3"])


@boot_test("kernel-686", "busybox-i386")
def linux_686_reads_a_cd_in_its_sata_drive(context):
    content = os.urandom(3 << 20)
    modules = [*AHCI, "drivers/cdrom/cdrom", "drivers/scsi/sr_mod"]
    with tempfile.NamedTemporaryFile(prefix="anello-cd-") as cd:
        cd.write(content)
        cd.flush()
        with linux(context, "kernel-686", "-drive",
                   f"file={cd.name},format=raw,if=none,id=cd,media=cdrom,readonly=on",
                   "-device", "ahci,id=sata", "-device", "ide-cd,drive=cd,bus=sata.0",
                   append="console=ttyS0",
                   added=module_files(context, "kernel-686", modules)) as guest:
            at = load_modules(guest, shell(guest), modules)
            command(guest, at, "md5sum /dev/sr0", hashlib.md5(content).hexdigest(), 120)


@boot_test("grub-rescue")
def grub_boots_from_a_sata_disk(context):
    disk = context.file("grub-rescue", "grub-rescue-cdrom.iso")
    with context.boot("-m", "64M", "-device", "ahci,id=sata", "-drive",
                      f"file={disk},format=raw,if=none,id=disk,snapshot=on",
                      "-device", "ide-hd,drive=disk,bus=sata.0") as guest:
        grub_prompt_lists_devices(guest, r"\(hd0\)")


@boot_test("grub-rescue")
def grub_boots_from_a_cd_in_a_sata_drive(context):
    cd = context.file("grub-rescue", "grub-rescue-cdrom.iso")
    with context.boot("-m", "64M", "-device", "ahci,id=sata", "-drive",
                      f"file={cd},format=raw,if=none,id=cd,media=cdrom,readonly=on",
                      "-device", "ide-cd,drive=cd,bus=sata.1", "-boot", "d") as guest:
        grub_prompt_lists_devices(guest, r"\(cd0?\)|\(cd\)")


@boot_test("kernel-686", "busybox-i386")
def linux_686_hears_of_its_floppy_controller(context):
    """The ACPI object by which a distribution knows that it wants the driver."""
    with tempfile.NamedTemporaryFile(prefix="anello-floppy-") as disk:
        disk.truncate(1440 << 10)
        with linux(context, "kernel-686", "-drive", f"file={disk.name},format=raw,if=floppy",
                   append="console=ttyS0") as guest:
            command(guest, shell(guest), "cd /sys/bus/pnp/devices; grep -l PNP07 */id; "
                    "cat $(dirname $(grep -l PNP07 */id))/resources; cd /",
                    r"state = active\n(.*\n)*irq 6\n(.*\n)*dma 2", 30)


@boot_test("kernel-686", "busybox-i386")
def linux_686_reads_and_writes_its_floppy(context):
    guest_reads_and_writes(context, "if=floppy", "fd0", 1440 << 10, 2, "drivers/block/floppy")


@boot_test("kernel-686", "busybox-i386")
def linux_686_notices_another_floppy(context):
    contents = [os.urandom(1440 << 10) for _ in range(2)]
    modules = ["drivers/block/floppy"]
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, f"floppy{n}") for n in range(2)]
        for path, content in zip(paths, contents):
            with open(path, "wb") as file:
                file.write(content)
        with linux(context, "kernel-686", "-drive", f"file={paths[0]},format=raw,if=floppy",
                   append="console=ttyS0",
                   added=module_files(context, "kernel-686", modules)) as guest:
            at = load_modules(guest, shell(guest), modules)
            at = command(guest, at, "md5sum /dev/fd0", hashlib.md5(contents[0]).hexdigest(), 120)
            guest.command_monitor(f"change floppy0 {paths[1]}")
            # Linux does not look again within three seconds.
            at = command(guest, at, "sleep 5; md5sum /dev/fd0",
                         hashlib.md5(contents[1]).hexdigest(), 120)
            guest.command_monitor("eject floppy0")
            command(guest, at, "sleep 5; dd if=/dev/fd0 of=/tmp/x count=1; echo is=$?",
                    r"is=[1-9]", 120)


def guest_reads_and_writes(context, drive, device, size, count, *modules, card=(),
                           interrupts=None):
    """Compares all of a disk, then writes COUNT blocks of 64 KiB of it; nothing else may change."""
    content = os.urandom(size)
    with tempfile.NamedTemporaryFile(prefix="anello-disk-") as disk:
        disk.write(content)
        disk.flush()
        with linux(context, "kernel-686", "-drive", f"file={disk.name},format=raw,{drive}",
                   *card, append="console=ttyS0",
                   added=module_files(context, "kernel-686", modules)) as guest:
            at = load_modules(guest, shell(guest), modules)
            at = command(guest, at, f"md5sum /dev/{device}", hashlib.md5(content).hexdigest(), 120)
            at = command(guest, at, f"dd if=/dev/urandom of=/tmp/w bs=64k count={count}; "
                         f"dd if=/tmp/w of=/dev/{device} bs=64k seek=3 conv=fsync; echo is=$?",
                         r"is=0", 120)
            at = check_interrupts(guest, at, interrupts)
            guest.type_serial("md5sum /tmp/w\n")
            guest.wait_serial(r"[0-9a-f]{32}  /tmp/w", 60, at)
            written = re.search(r"([0-9a-f]{32})  /tmp/w", guest.serial[at:])[1]
            guest.type_serial("poweroff\n")
            guest.wait_exit(0, 60)
        with open(disk.name, "rb") as file:
            after = file.read()
    first, last = 3 << 16, (3 + count) << 16
    guest.check(hashlib.md5(after[first:last]).hexdigest() == written, "the disk holds other data")
    guest.check(after[:first] + after[last:] == content[:first] + content[last:],
                "other blocks were changed")


@boot_test("memtest")
def ipxe_rom_boots_a_script_and_a_kernel_over_the_network(context):
    boot_memtest_over_the_network(context, "e1000")


@boot_test("memtest")
def ipxe_rom_of_the_virtio_card_boots_too(context):
    boot_memtest_over_the_network(context, "virtio-net-pci")


def boot_memtest_over_the_network(context, model):
    """The card's option ROM asks DHCP for the boot file, and TFTP for it and what it names."""
    if not any(os.path.exists(f"{folder}/pxe-e1000.rom") for folder in IPXE_FOLDERS):
        raise Skip("no option ROMs here: scripts/setup")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(context.file("memtest", "memtest86+ia32.bin"), os.path.join(folder, "memtest"))
        with open(os.path.join(folder, "boot.ipxe"), "w", encoding="ascii") as script:
            script.write("#!ipxe\nkernel memtest\nboot\n")
        with context.boot("-m", "64M", "-boot", "n", "-nic",
                          f"user,model={model},tftp={folder},bootfile=boot.ipxe") as guest:
            guest.wait_screen(r"iPXE \d\.\d+", 60)
            memtest_tests(guest)


# ---- the q35 board

Q35 = ["-machine", "q35"]


@boot_test("grub-rescue")
def grub_boots_from_the_cd_of_a_q35(context):
    cd = context.file("grub-rescue", "grub-rescue-cdrom.iso")
    with context.boot(*Q35, "-m", "64M", "-cdrom", cd, "-boot", "d") as guest:
        grub_prompt_lists_devices(guest, r"\(cd0?\)|\(cd\)")


@boot_test("grub-rescue")
def grub_boots_from_the_disk_of_a_q35(context):
    disk = context.file("grub-rescue", "grub-rescue-cdrom.iso")
    with context.boot(*Q35, "-m", "64M", "-hda", disk, "-boot", "c", "-snapshot") as guest:
        grub_prompt_lists_devices(guest, r"\(hd0\)")


@boot_test("kernel-686", "busybox-i386")
def linux_686_reads_and_writes_the_disk_of_a_q35(context):
    guest_reads_and_writes(context, "index=0", "sda", 8 << 20, 24, *AHCI, card=Q35,
                           interrupts=r"[1-9]\d* +PCI-MSI.* ahci\[0000:00:1f\.2\]")


@boot_test("kernel-686", "busybox-i386")
def linux_686_finds_the_configuration_space_and_interrupts_of_a_q35(context):
    """Configuration space in memory, and a card by the line of its slot."""
    modules = ["drivers/net/ethernet/intel/e1000/e1000"]
    with linux(context, "kernel-686", *Q35, "-nic", "user,model=e1000", append="console=ttyS0",
               added=module_files(context, "kernel-686", modules)) as guest:
        guest.wait_serial(r"PCI: Using MMCONFIG for extended config space", 240)
        at = load_modules(guest, shell(guest), modules)
        at = command(guest, at, "ip link set eth0 up; udhcpc -n -q -i eth0 >/dev/null; "
                     "cat /proc/interrupts", r"(1[6-9]|2[0-3]): +[1-9]\d* +IO-APIC.* eth0", 120)
        guest.type_serial("poweroff\n")
        guest.wait_exit(0, 60)


@boot_test("kernel-686", "busybox-i386")
def linux_686_on_a_q35_does_without_an_io_apic(context):
    """The links of the eight lines are routed to the 8259s."""
    modules = ["drivers/net/ethernet/intel/e1000/e1000"]
    with linux(context, "kernel-686", *Q35, "-nic", "user,model=e1000",
               append="console=ttyS0 noapic", added=module_files(context, "kernel-686", modules)
               ) as guest:
        at = load_modules(guest, shell(guest), modules)
        command(guest, at, "ip link set eth0 up; udhcpc -n -q -i eth0 >/dev/null; "
                "cat /proc/interrupts", r"[1-9]\d* +XT-PIC.* eth0", 120)


# ---- the Debian installer

@boot_test("installer-i386")
def installer_reaches_its_language_menu(context):
    installer_on_a_text_screen(context, "installer-i386", "512M")


def installer_on_a_text_screen(context, name, memory):
    with context.boot("-m", memory, "-kernel", context.file(name, "linux"),
                      "-initrd", context.file(name, "initrd.gz"),
                      "-append", "vga=normal fb=false nomodeset") as guest:
        guest.wait_screen(r"Select a language", 400)
        guest.wait_screen(r"English +- +English", 20)


@boot_test("installer-amd64")
def installer_amd64_reaches_its_language_menu(context):
    installer_on_a_text_screen(context, "installer-amd64", "1G")


SELECTED = "\x1b\\[41m"  # on red ground, as the installer's dialogs say it to a terminal
UP = "\x1b[A"


@boot_test("installer-amd64")
def installer_amd64_asks_for_a_language_on_the_serial_line_and_heeds_keys(context):
    """64-bit code all the way. With 512 MiB, which is enough for i386, it does not ask."""
    name = "installer-amd64"
    with context.boot("-m", "1G", "-kernel", context.file(name, "linux"),
                      "-initrd", context.file(name, "initrd.gz"),
                      "-append", "console=ttyS0") as guest:
        at = guest.wait_serial(r"Select a language", 600)
        at = guest.wait_serial(SELECTED + "English", 60, at)
        guest.type_serial(UP)
        guest.wait_serial(SELECTED + "C", 60, at)


@boot_test("installer-i386")
def installer_cd_reaches_its_language_menu_and_heeds_keys(context):
    cd = context.file("installer-i386", "mini.iso")
    with context.boot("-m", "512M", "-cdrom", cd, "-boot", "d") as guest:
        vesa_menu_is_up(guest)
        guest.keys("ret")
        language_menu = installer_picture_settles(guest)
        guest.keys("down")
        deadline = time.monotonic() + 30 * guest.patience
        while guest.screendump() == language_menu:
            guest.check(time.monotonic() < deadline, "the selection did not move")
            time.sleep(0.5)


def vesa_menu_is_up(guest):
    """The boot menu of the CD is a 640x480 picture with many colours."""
    deadline = time.monotonic() + 120 * guest.patience
    while True:
        width, height, pixels = guest.screendump()
        if (width, height) == (640, 480) and number_of_colours(pixels) > 100:
            return
        guest.check(time.monotonic() < deadline, "the CD's boot menu did not appear")
        time.sleep(0.5)


def installer_picture_settles(guest):
    """The installer draws on a frame buffer: a blue ground with a grey dialog that, unlike the
    progress before it, stays as it is."""
    deadline = time.monotonic() + 500 * guest.patience
    last = None
    since = time.monotonic()
    while True:
        picture = guest.screendump()
        if picture != last:
            last = picture
            since = time.monotonic()
        if is_dialog(picture) and time.monotonic() - since > 5:
            return picture
        guest.check(time.monotonic() < deadline, "the language menu did not appear")
        time.sleep(2)


def is_dialog(picture):
    width, height, pixels = picture
    if width < 800 or height < 600:
        return False
    sample = [pixels[at:at + 3] for at in range(0, len(pixels), 3 * SAMPLE_STEP)]
    blue = sum(p[2] > 120 and p[0] < 80 and p[1] < 80 for p in sample)
    grey = sum(min(p) > 150 and max(p) - min(p) < 20 for p in sample)
    return blue > len(sample) // 50 and grey > len(sample) // 2


def number_of_colours(pixels):
    return len({pixels[at:at + 3] for at in range(0, len(pixels), 3)})


# ---- our own guests

@boot_test()
def nanobenchmark_counts_and_exits_through_the_debug_port(context):
    kernel = os.path.join(context.options.build, "bench", "nano.elf")
    if not os.path.exists(kernel):
        raise Skip(f"{kernel} has not been built: scripts/build")
    with context.boot("-m", "32M", "-kernel", kernel,
                      "-device", "isa-debug-exit,iobase=0xf4,iosize=1") as guest:
        guest.wait_exit(1, 240)  # (0 << 1) | 1
        guest.wait_serial(r"NANO switch-16 \d+\nNANO-DONE", 5)
        guest.check("NANO-FAILED" not in guest.serial, "a nanobenchmark failed its own check")


@boot_test("kernel-686", "busybox-i386")
def bench_guest_runs_its_workloads(context):
    """And then the process has no more memory beside the guest's than the project allows."""
    with linux(context, "kernel-686", "-no-shutdown",
               append="console=ttyS0 quiet bench=all bench_scale=1") as guest:
        guest.wait_serial(r"BENCH-DONE", 900)
        guest.check("FAILED" not in guest.serial, "a workload failed")
        beyond = memory_beyond(guest.process.pid)  # None: it is not anello
        guest.check(beyond is None or beyond <= MIB_BEYOND,
                    f"{beyond} MiB beside the guest's memory")
        guest.command_monitor("quit")
        guest.wait_exit(0, 60)


# ---- the runner

def run(name, options):
    function, needs = TESTS[name]
    missing = [n for n in needs if not os.path.exists(os.path.join(GUESTS, n, "VERSION"))]
    if missing:
        print(f"SKIP {name}: guests are not there: scripts/guests {' '.join(missing)}")
        return SKIPPED
    context = Context(options)
    start = time.monotonic()
    try:
        function(context)
    except (Skip, Unavailable) as reason:
        print(f"SKIP {name}: {reason}")
        return SKIPPED
    except Failure as failure:
        print(f"FAIL {name}: {failure}")
        return 1
    finally:
        if context.temporary and os.path.exists(context.temporary):
            os.remove(context.temporary)
    print(f"PASS {name} ({time.monotonic() - start:.1f} s)", flush=True)
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.path.join(ROOT, "build"), help="build folder")
    parser.add_argument("--binary", help="the machine to test (default: anello of the build)")
    parser.add_argument("--accel", help="handed on as -accel")
    parser.add_argument("--patience", type=float, default=1.0, help="factor on all time limits")
    parser.add_argument("--list", action="store_true", help="print the names of the tests")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    options.binary = options.binary or os.path.join(options.build, "anello")
    if options.list:
        print("\n".join(TESTS))
        return 0
    names = list(TESTS) if options.names == ["all"] else options.names
    unknown = [name for name in names if name not in TESTS]
    if unknown or not names:
        parser.error(f"unknown test {unknown[0]}" if unknown else "no test named; try --list")
    # Stopped from outside, the machine under test must not outlive the test.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    results = [run(name, options) for name in names]
    if len(results) > 1:
        print(f"{results.count(0)} passed, {results.count(1)} failed, "
              f"{results.count(SKIPPED)} skipped")
        return 1 if 1 in results else 0
    return results[0]


if __name__ == "__main__":
    sys.exit(main())
