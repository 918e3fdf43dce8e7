#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Installs Debian 12 by its own installer, unattended, and works in what was installed.

usage: install_test.py [--binary FILE] [--accel NAME] [--disk ide|sata|virtio] [--nic MODEL]
                       [--folder FOLDER] [--from STEP] [--to STEP] [--other FILE|none]
                       [--method installer|debootstrap] [--patience FACTOR]

The steps, each of which can be begun with when the folder of an earlier run is given (with another
network card too, and behind another controller if --method debootstrap made the disk: the
installer's own way leaves other drivers out of the initial RAM disk, which saves minutes):

  install   Debian's unmodified installer (kernel and initrd) on an empty qcow2 disk. Its answers
            come by HTTP from a server on the host's loopback, its packages from Debian's mirror
            through the NAT and a caching proxy of this program.
            Not every mirror has all of the installer's components (udebs): those that it lacks are
            made and served from here (udebs.py), in a second repository with a key of its own.
            Where that is impossible too, or with --method debootstrap, the installer sets up
            devices and network only, and a script of its shell does the rest: partitions, file
            systems, debootstrap, GRUB
  boot      the disk, through GRUB into systemd; login on the serial line and with the keyboard; a
            package is installed; poweroff
  other     the disk in the other machine: qemu-system-i386, or anello if --binary is QEMU
  formats   copies of the disk as raw, VMDK and VDI, each booted to a login and shut down; VMDK as the
            parent of another image, which is then committed, and the parent booted again

After each step both "anello image check" and "qemu-img check" must find the disk clean. The folder
keeps the serial lines and screenshots. Each phase's time is printed. The last line is the verdict;
exit status 0 when everything was seen, 77 when something needed is not here.
"""

import argparse
import base64
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
sys.path[:0] = [os.path.join(ROOT, "tests", "boot"), os.path.dirname(HERE)]

import guest_disks  # noqa: E402 (the path is set just above)
from guest import Failure, Guest  # noqa: E402
import live  # noqa: E402
import udebs  # noqa: E402
from mirror import Mirror  # noqa: E402

CACHE = os.environ.get("ANELLO_CACHE") or os.path.join(guest_disks.CACHE, "anello")
INSTALLER = os.path.join(guest_disks.GUESTS, "installer-i386")
KERNEL = guest_disks.KERNEL
UPSTREAM = "deb.debian.org"
SKIPPED = 77
STEPS = ["install", "boot", "other", "formats"]
FORMATS = ["raw", "vmdk", "vdi"]  # beside qcow2
HOST = "10.0.2.2"  # the host's loopback, as the NAT shows it
PASSWORD = "anello"
PACKAGE = "hello"
# A guest that is not run for a while says so, under either machine; that is the host's doing.
STARVED = re.compile(r"soft lockup.{,40}|rcu.{,40}stall|MP-BIOS bug.{,60}")
# Lines of the installer's log that begin a phase.
MENU_ITEM = re.compile(r"main-menu\[\d+\]: INFO: Menu item '([\w-]+)' selected\n|"
                       r"PHASE: (.*)\n|"
                       r"I: (Extracting dpkg|Installing core packages|Unpacking the base system|"
                       r"Configuring the base system)\.\.\.\n")
TROUBLE = re.compile(r"Kernel panic|BUG: (?!soft lockup)|WARNING: CPU|Oops|segfault|"
                     r"I/O error|EXT4-fs error|invalid opcode|irq \d+: nobody cared|"
                     r"NETDEV WATCHDOG|general protection|lost interrupt|failed command")


class Phases:
    """The time of each phase; the end of one is the beginning of the next."""

    def __init__(self, machine):
        self.machine = machine
        self.rows = []
        self.name = None
        self.since = time.monotonic()

    def begin(self, name):
        now = time.monotonic()
        if self.name:
            self.rows.append((self.name, now - self.since))
            print(f"  {self.machine}: {self.name}: {now - self.since:.1f} s", flush=True)
        self.name, self.since = name, now

    def end(self):
        self.begin(None)


class Machine(Guest):
    """A guest whose serial line is kept in a file, and whose installer's phases are timed."""

    def __init__(self, binary, arguments, accel, patience, log, phases):
        self.log = open(log, "w", encoding="utf-8")
        self.phases = phases
        self.searched = 0
        super().__init__(binary, arguments, accel, patience)

    def _read_serial(self):
        while data := os.read(self.process.stdout.fileno(), 65536):
            text = data.decode("latin-1").replace("\r", "")
            self.serial += text
            self.log.write(text)
            self.log.flush()
            for match in MENU_ITEM.finditer(self.serial, self.searched):
                self.phases.begin("install: " + next(filter(None, match.groups())))
                self.searched = match.end()

    def __exit__(self, *error):
        super().__exit__(*error)
        self.log.close()

    def screenshot(self, path):
        width, height, pixels = self.screendump()
        with open(path, "wb") as file:
            file.write(png(width, height, pixels))


def png(width, height, pixels):
    """A picture of RGB bytes as PNG: each row behind a filter byte, all of it deflated."""
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    rows = b"".join(b"\0" + pixels[at:at + width * 3]
                    for at in range(0, width * height * 3, width * 3))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # RGB, 8 bits each
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows))
            + chunk(b"IEND", b""))


class Test:
    def __init__(self, options):
        self.options = options
        self.disk = os.path.join(options.folder, "disk.qcow2")
        self.mirror = None
        self.phases = []

    def path(self, name):
        return os.path.join(self.options.folder, name)

    def machine(self, binary, step, *arguments, disk=None, form="qcow2"):
        name = "QEMU" if is_qemu(binary) else "anello"
        phases = Phases(name)
        self.phases.append(phases)
        phases.begin(f"{step}: firmware to kernel")
        accel = None if binary != self.options.binary else self.options.accel
        command = ["-m", self.options.memory, "-no-reboot",
                   "-nic", f"user,model={self.options.nic}",
                   *guest_disks.drive(self.options.disk, f"file={disk or self.disk},format={form}"),
                   *arguments]
        return Machine(binary, command, accel, self.options.patience, self.path(f"{step}.log"),
                       phases)

    # ---- steps

    def install(self):
        run(self.options.anello, "image", "create", "-f", "qcow2", self.disk, self.options.size)
        server = f"http://{HOST}:{self.mirror.server_port}"
        names = {"MIRROR": UPSTREAM, "PROXY": server, "SERVER": server, "PASSWORD": PASSWORD,
                 "DISK": guest_disks.DISKS[self.options.disk][0]}
        if self.options.method == "debootstrap":
            self.mirror.files["/preseed.cfg"] = fill_in("preseed-debootstrap.cfg", names)
            self.mirror.files["/debootstrap.sh"] = fill_in("debootstrap.sh", names)
            self.mirror.files["/live.tar.gz"] = self.tools()
        else:
            names |= self.components(server)
            self.mirror.files["/preseed.cfg"] = fill_in("preseed.cfg", names)
        # The installer names the machine before it has the network and the answers.
        append = ("auto=true priority=critical hostname=anello domain=test "
                  "vga=normal fb=false nomodeset "
                  f"earlyprintk=ttyS0,115200 console=tty0 url={server}/preseed.cfg")
        with self.machine(self.options.binary, "install",
                          "-kernel", os.path.join(INSTALLER, "linux"),
                          "-initrd", os.path.join(INSTALLER, "initrd.gz"),
                          "-append", append) as guest:
            guest.wait_serial(r"Linux version 6\.1", 60)
            guest.phases.begin("install: kernel and start of the installer")
            self.watch_installer(guest)
            guest.phases.end()
        self.check_disk()

    def components(self, server):
        """Answers that name the repository of components which the mirror lacks; serves it."""
        if not self.options.udebs:
            return {"COMPONENTS": "", "EARLY": ""}
        content = udebs.files(self.options.udebs)
        self.mirror.files |= {f"/udebs/{path}": data for path, data in content.items()}
        key = base64.b64encode(content["key.gpg"]).decode()
        return {"COMPONENTS":
                f"d-i apt-setup/_DEVEL_/repository string deb {server}/udebs bookworm main\n"
                f"d-i apt-setup/_DEVEL_/key string base64://{key}\n",
                # as if partman had loaded LVM and encryption already
                "EARLY": "mkdir -p /var/lib/partman; : >/var/lib/partman/loaded-extra; \\\n    "}

    def tools(self):
        path = self.path("live.tar.gz")
        if not os.path.exists(path):
            live.make(path, f"http://{UPSTREAM}/debian",
                      f"http://127.0.0.1:{self.mirror.server_port}", KERNEL)
        with open(path, "rb") as file:
            return file.read()

    def watch_installer(self, guest):
        """Until the machine ends; a picture of each phase is kept."""
        deadline = time.monotonic() + self.options.limit * self.options.patience
        pictured = None
        while guest.process.poll() is None:
            if time.monotonic() > deadline:
                guest._fail("the installer did not end")
            time.sleep(5)
            name = guest.phases.name
            if name != pictured and guest.process.poll() is None:
                pictured = name
                time.sleep(2)
                try:
                    guest.screenshot(self.path(re.sub(r"\W+", "-", name) + ".png"))
                except OSError:
                    pass  # it has just ended
        guest.wait_exit(0, 10)
        if not re.search(r"PHASE: installed|Menu item 'finish-install' selected", guest.serial):
            guest._fail("the installer ended before its end")

    def boot(self):
        with self.machine(self.options.binary, "boot") as guest:
            at = self.boot_to_login(guest, "boot")
            at = log_in(guest, at)
            guest.phases.begin("boot: login with the keyboard")
            at = self.log_in_with_the_keyboard(guest, at)
            guest.phases.begin(f"boot: package {PACKAGE}")
            at = command(guest, at, "echo 'Acquire::http::Proxy \"http://"
                         f"{HOST}:{self.mirror.server_port}\";' >/etc/apt/apt.conf; echo is=$?",
                         "is=0")
            at = command(guest, at, "apt-get -q update; echo is=$?", "is=0", 600)
            at = command(guest, at, "apt-get -q -y --no-install-recommends install "
                         f"{PACKAGE}; echo is=$?", "is=0", 600)
            at = command(guest, at, PACKAGE, "Hello, world!")
            self.look_around(guest, at)
            self.power_off(guest, "boot")
        self.check_disk()

    def other(self):
        if self.options.other == "none":
            return
        with self.machine(self.options.other, "other") as guest:
            at = log_in(guest, self.boot_to_login(guest, "other"))
            at = command(guest, at, PACKAGE, "Hello, world!")
            self.look_around(guest, at)
            self.power_off(guest, "other")
        self.check_disk()

    def formats(self):
        for form in FORMATS:
            disk = self.path(f"disk.{form}")
            run(self.options.anello, "image", "convert", "-f", "qcow2", "-O", form, self.disk, disk)
            used = self.path("over.vmdk") if form == "vmdk" else disk
            if used != disk:
                run(self.options.anello, "image", "create", "-f", form, "-b", disk, used)
            with self.machine(self.options.binary, form, disk=used, form=form) as guest:
                log_in(guest, self.boot_to_login(guest, form))
                self.power_off(guest, form)
            if used != disk:
                self.commit(used, disk, form)
            if form != "raw":
                self.check_disk(disk, form)
            os.remove(disk)

    def commit(self, over, disk, form):
        """What the guest wrote goes down to the disk; both show the same, and both can go on."""
        run(self.options.anello, "image", "commit", over)
        run("qemu-img", "compare", "-f", form, "-F", form, over, disk)
        self.check_disk(over, form)
        with self.machine(self.options.binary, "committed", disk=disk, form=form) as guest:
            log_in(guest, self.boot_to_login(guest, "committed"))
            self.power_off(guest, "committed")
        os.remove(over)

    def boot_to_login(self, guest, step):
        guest.wait_serial(r"GNU GRUB +version 2\.06", 120)
        guest.wait_screen(r"GNU GRUB +version 2\.06", 30)
        guest.screenshot(self.path(f"{step}-grub.png"))
        guest.keys("ret")
        guest.phases.begin(f"{step}: GRUB to kernel")
        guest.wait_serial(r"Loading initial ramdisk", 120)  # the kernel itself is quiet
        guest.phases.begin(f"{step}: kernel to login")
        at = guest.wait_serial(r"anello login: ", 900)
        guest.phases.begin(f"{step}: login on the serial line")
        return at

    def log_in_with_the_keyboard(self, guest, at):
        """The screen may be a picture by now: what was typed shows in its effect, and in pictures
        for people."""
        before = guest.screendump()
        guest.type_keys("root\n")
        time.sleep(5 * guest.patience)
        guest.type_keys(f"{PASSWORD}\n")
        time.sleep(5 * guest.patience)
        # the answer is not what was typed
        guest.type_keys("echo tty $(tty) $((6 * 7))\n")
        time.sleep(2)
        guest.check(guest.screendump() != before, "the screen did not change")
        guest.screenshot(self.path("boot-login.png"))
        guest.type_serial("cat /dev/vcs1\n")
        at = guest.wait_serial(r"tty /dev/tty1 42", 60, at)
        return guest.wait_serial(r"root@anello:~# ", 60, at)

    def look_around(self, guest, at):
        """No unit may have failed, nothing may be left undone in the packages, and the kernel must
        have nothing to complain about."""
        at = command(guest, at, "systemctl is-system-running --wait; echo state=$?", r"state=\d",
                     300)
        at = command(guest, at, "systemctl --failed --no-legend --plain --no-pager; echo units=$?",
                     "units=0")
        at = command(guest, at, "dpkg --audit && echo audit=$?", "audit=0", 120)
        command(guest, at, "dmesg --level=emerg,alert,crit,err; cat /proc/interrupts; echo log=$?",
                "log=0")
        for line in sorted(set(STARVED.findall(guest.serial))):
            print(f"  note: the guest says: {line}", flush=True)
        found = sorted(set(TROUBLE.findall(guest.serial)))
        guest.check(not found, f"the guest complains: {', '.join(found)}")
        guest.check("running\nstate=0" in guest.serial, "systemd reports a degraded system")

    def power_off(self, guest, step):
        guest.phases.begin(f"{step}: poweroff")
        guest.type_serial("poweroff\n")
        guest.wait_exit(0, 240)
        guest.phases.end()

    def check_disk(self, disk=None, form="qcow2"):
        disk = disk or self.disk
        run(self.options.anello, "image", "check", "-f", form, disk)
        run("qemu-img", "check", "-f", form, disk)
        print(f"  both checks find the disk clean ({form})", flush=True)


def log_in(guest, at):
    guest.type_serial("root\n")
    at = guest.wait_serial(r"Password: ", 60, at)
    guest.type_serial(f"{PASSWORD}\n")
    return guest.wait_serial(r"root@anello:~# ", 120, at)


def command(guest, at, line, answer, timeout=60):
    """Types LINE; waits for a line that begins with ANSWER, and for the prompt behind it. Where bash
    is a terminal's, it brackets what is typed."""
    guest.type_serial(line + "\n")
    at = guest.wait_serial(rf"(\n|\x1b\[\?2004l){answer}", timeout, at)
    return guest.wait_serial(r"root@anello:~# ", 60, at)


def fill_in(name, values):
    """A file of this folder, with each @NAME@ replaced."""
    with open(os.path.join(HERE, name), encoding="ascii") as file:
        text = file.read()
    return re.sub(r"@([A-Z]+)@", lambda match: values.get(match[1], match[0]), text).encode()


def is_qemu(binary):
    return os.path.basename(binary).startswith("qemu")


def run(*words):
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    if result.returncode:
        raise Failure(f"{' '.join(words)}: exit {result.returncode}\n"
                      f"{result.stdout}{result.stderr}")


def skip(why):
    print(f"skipped: {why}")
    sys.exit(SKIPPED)


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--binary", help="default: anello of the build folder")
    parser.add_argument("--other", help="the machine of the last step, or none")
    parser.add_argument("--accel", help="handed on to --binary as -accel")
    parser.add_argument("--disk", choices=list(guest_disks.DISKS), default="ide")
    parser.add_argument("--size", default="4G", help="of the disk")
    parser.add_argument("--memory", default="768M")
    parser.add_argument("--folder", help="default: a new one under /tmp")
    parser.add_argument("--from", dest="first", choices=STEPS, default="install")
    parser.add_argument("--to", dest="last", choices=STEPS, default=STEPS[-1])
    parser.add_argument("--nic", default="e1000", metavar="MODEL", help="the network card")
    parser.add_argument("--method", choices=["installer", "debootstrap"])
    parser.add_argument("--limit", type=float, default=3 * 3600, help="seconds for the installer")
    parser.add_argument("--patience", type=float, default=1.0, help="factor of all time limits")
    options = parser.parse_args()
    options.anello = os.path.join(os.path.abspath(options.build), "anello")
    options.binary = options.binary or options.anello
    if not options.other:
        options.other = options.anello if is_qemu(options.binary) else \
            shutil.which("qemu-system-i386") or "none"
    return options


def check_needs(options, mirror):
    if not os.path.exists(os.path.join(INSTALLER, "VERSION")):
        skip("the installer is not there: scripts/guests installer-i386")
    if not shutil.which("qemu-img"):
        skip("qemu-img is not installed: scripts/setup")
    trouble = mirror.can_reach("/debian/dists/bookworm/InRelease")
    if trouble:
        skip(f"Debian's mirror cannot be reached: {trouble}")
    if options.first == "install":
        if not os.path.exists(os.path.join(KERNEL, "VERSION")):
            skip("the guest kernel-686 is not there: scripts/guests kernel-686")
        choose_method(options, mirror)


def choose_method(options, mirror):
    """The installer's own, where its components can be had."""
    options.udebs = None
    if options.method == "debootstrap":
        return
    wanted, options.method = options.method, "installer"
    folder = os.path.join(CACHE, "udebs")
    print("components of the installer:", flush=True)
    try:
        archive = udebs.Archive(UPSTREAM, f"http://127.0.0.1:{mirror.server_port}")
        if udebs.make(archive, INSTALLER, KERNEL, folder,
                      lambda line: print(f"  {line}", flush=True)):
            options.udebs = folder
    except udebs.Missing as why:
        if wanted:
            skip(f"a component of the installer cannot be had: {why}")
        print(f"  {why}: debootstrap instead", flush=True)
        options.method = "debootstrap"


def main():
    options = parse_options()
    options.folder = options.folder or tempfile.mkdtemp(prefix="anello-install-")
    os.makedirs(options.folder, exist_ok=True)
    test = Test(options)
    test.mirror = Mirror(UPSTREAM, os.path.join(CACHE, "mirror"), HOST)
    check_needs(options, test.mirror)
    print(f"logs, pictures and the disk: {options.folder}", flush=True)
    start = time.monotonic()
    try:
        for step in STEPS[STEPS.index(options.first):STEPS.index(options.last) + 1]:
            print(f"-- {step}", flush=True)
            getattr(test, step)()
    except Failure as failure:
        print(f"FAIL after {time.monotonic() - start:.0f} s: {failure}")
        return 1
    counters = test.mirror.counters
    print(f"proxy: {counters.requests} requests, {counters.hits} from the cache, "
          f"{counters.sent >> 20} MiB")
    print(f"PASS ({time.monotonic() - start:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
