#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A Linux guest that works for a long time: scripts, sort, gzip, storms of processes, a disk.

usage: soak_test.py [--minutes N] [--binary FILE] [--build FOLDER] [--accel NAME] [--beyond MIB]

The guest repeats the work of work.sh and tells a checksum of all that came out. Every minute

  - each checksum must be the one that the same busybox makes of the same script on the host;
  - timer and disk interrupts must have come;
  - the process' memory (PSS) is noted. The translator's memory fills until it is used again, so it
    grows for a long time; beyond the guest's RAM it may have --beyond MiB (default 256).

What may fill is reserved once: after the first third of the run (a minute at least) neither the heap
nor the address space of the process, its threads' stacks aside, may grow by more than two MiB.

The last line is the verdict; exit status 0 when all was well. Needs the guests kernel-686 and
busybox-i386 (scripts/guests).
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
sys.path.insert(0, os.path.dirname(HERE))

import guest_disks  # noqa: E402 (the path is set just above)
from serial_guest import SerialGuest  # noqa: E402

SKIPPED = 77
MEMORY = 128  # MiB
DISK_BYTES = 16 << 20
BUSYBOX = os.path.join(guest_disks.GUESTS, "busybox-i386", "busybox")
KERNEL = os.path.join(guest_disks.KERNEL, "vmlinuz")
STACK = 8  # MiB of address space for a thread; the disks start theirs when they need them
PLATEAU = 2  # MiB that heap and address space may gain after their warm-up
FIRST_ROUND = 600  # seconds; a busy host may stop for long, hence nowatchdog
ROUND = re.compile(r"^SOAK round=(\d+) sum=(\w+) timer=(\d+) disk=(\d+)$", re.M)


class Wrong(Exception):
    """Something that must hold does not."""


def host_sum(folder):
    """What the work comes to natively."""
    disk = os.path.join(folder, "host-disk")
    with open(disk, "wb") as file:
        file.truncate(DISK_BYTES)
    programs = os.path.join(folder, "bin")
    os.mkdir(programs)
    subprocess.run([BUSYBOX, "--install", "-s", programs], check=True)
    script = f'. {HERE}/work.sh; work "$1" "$2"; echo "$sum"'
    result = subprocess.run([BUSYBOX, "sh", "-c", script, "work", folder, disk], check=True,
                            env={"PATH": programs}, stdout=subprocess.PIPE, text=True)
    return result.stdout.strip()


def build_initrd(path):
    modules = guest_disks.DISKS["ide"][1]
    cpio = guest_disks.Cpio()
    for name in ("bin", "dev", "modules"):
        cpio.add(name, 0o040755)
    cpio.add("dev/console", 0o020600, device=guest_disks.CONSOLE)
    for name, file, mode in (("init", os.path.join(HERE, "init.sh"), 0o100755),
                             ("work.sh", os.path.join(HERE, "work.sh"), 0o100644),
                             ("bin/busybox", BUSYBOX, 0o100755)):
        cpio.add(name, mode, guest_disks.contents(file))
    cpio.add("modules/order", 0o100644,
             "\n".join(os.path.basename(name) for name in modules).encode())
    for name in modules:
        file = os.path.join(guest_disks.KERNEL, "modules", name + ".ko")
        cpio.add(f"modules/{os.path.basename(name)}.ko", 0o100644, guest_disks.contents(file))
    with open(path, "wb") as file:
        file.write(cpio.finish())


class Machine(SerialGuest):
    def __init__(self, options, folder):
        initrd, disk = os.path.join(folder, "initrd"), os.path.join(folder, "disk")
        build_initrd(initrd)
        with open(disk, "wb") as file:
            file.truncate(DISK_BYTES)
        command = [options.binary, "-m", f"{MEMORY}M", "-nographic", "-monitor", "none", "-no-reboot",
                   "-kernel", KERNEL, "-initrd", initrd,
                   "-append", "console=ttyS0 quiet panic=-1 no_timer_check nowatchdog",
                   *guest_disks.drive("ide", f"file={disk},format=raw")]
        super().__init__(command, options.accel)

    def rounds(self):
        """(number, checksum, timer interrupts, disk interrupts) of each."""
        return [(int(n), checksum, int(timer), int(disk))
                for n, checksum, timer, disk in ROUND.findall(self.text)]

    def check_alive(self):
        if self.process.poll() is not None:
            raise Wrong(f"the machine ended with status {self.process.returncode}:\n"
                        f"{self.text[-3000:]}")
        if trouble := re.search(r"Kernel panic|BUG:|Oops|segfault|Call Trace", self.text):
            raise Wrong(f"the guest said {trouble.group()!r}:\n{self.text[-3000:]}")

    def memory(self):
        """In MiB. Guest memory is mapped several times: PSS counts it once."""
        sizes = {"all": 0, "guest": 0, "heap": 0}
        kind = None
        with open(f"/proc/{self.process.pid}/smaps", encoding="ascii") as file:
            for line in file:
                if region := re.match(r"[0-9a-f]+-[0-9a-f]+ .{4} \w+ \S+ \d+ *(.*)", line):
                    name = region.group(1)
                    kind = "guest" if "anello-guest" in name else name.strip("[]")
                elif pss := re.match(r"Pss: +(\d+) kB", line):
                    for column in ("all", kind):
                        if column in sizes:
                            sizes[column] += int(pss.group(1)) / 1024
        # Not from smaps: what is mapped elsewhere while that is read would count twice.
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            status = file.read()
        size, threads = (int(re.search(what + r":\s+(\d+)", status).group(1))
                         for what in ("VmSize", "Threads"))
        sizes["space"] = size / 1024 - threads * STACK
        return sizes

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.reader.join()
        self.process.stdout.close()


def wait_for_first_round(machine):
    deadline = time.monotonic() + FIRST_ROUND
    while not machine.rounds():
        machine.check_alive()
        if time.monotonic() > deadline:
            raise Wrong(f"no round in {FIRST_ROUND} s:\n{machine.text[-3000:]}")
        time.sleep(0.2)


def check_rounds(rounds, seen, expected):
    """Those from number `seen` on."""
    for number, checksum, _, _ in rounds[seen:]:
        if checksum != expected:
            raise Wrong(f"round {number} came to {checksum}, not to {expected}")
    if seen and len(rounds) > seen:
        for what, column in (("timer", 2), ("disk", 3)):
            if rounds[-1][column] <= rounds[seen - 1][column]:
                raise Wrong(f"no {what} interrupts since round {seen}")


def check_plateau(sizes):
    """What grows without end, be it slowly."""
    for what in ("heap", "space"):
        first = sizes[max(0, len(sizes) // 3 - 1)][what]
        if sizes[-1][what] > first + PLATEAU:
            raise Wrong(f"the {what} has grown from {first:.1f} to {sizes[-1][what]:.1f} MiB")


def soak(machine, minutes, beyond, expected):
    wait_for_first_round(machine)
    start, seen, sizes = time.monotonic(), 0, []
    for minute in range(1, minutes + 1):
        time.sleep(max(0, start + minute * 60 - time.monotonic()))
        machine.check_alive()
        rounds = machine.rounds()
        check_rounds(rounds, seen, expected)
        seen = len(rounds)
        now = machine.memory()
        sizes.append(now)
        print(f"minute {minute}: {seen} rounds, {rounds[-1][2]} timer and {rounds[-1][3]} disk "
              f"interrupts, {now['all']:.1f} MiB (guest {now['guest']:.1f}, heap {now['heap']:.1f}; "
              f"space {now['space']:.1f})", flush=True)
        if now["all"] > MEMORY + beyond:
            raise Wrong(f"the process has {now['all'] - MEMORY:.1f} MiB beyond the guest's")
    check_plateau(sizes)
    return seen, sizes


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--binary", help="default: anello of the build folder")
    parser.add_argument("--accel")
    parser.add_argument("--beyond", type=float, default=256, metavar="MIB")
    options = parser.parse_args()
    options.binary = os.path.abspath(options.binary or os.path.join(options.build, "anello"))
    why = guest_disks.missing() or (None if os.path.exists(BUSYBOX) else
                                    "the guest busybox-i386 is not there: scripts/guests")
    if why:
        print(f"skipped: {why}")
        sys.exit(SKIPPED)
    with tempfile.TemporaryDirectory(prefix="anello-soak-") as folder:
        expected = host_sum(folder)
        machine = Machine(options, folder)
        try:
            seen, sizes = soak(machine, options.minutes, options.beyond, expected)
        except Wrong as error:
            print(f"FAILED: {error}")
            sys.exit(1)
        finally:
            machine.stop()
    print(f"{options.minutes} minutes, {seen} rounds, all checksums as on the host, "
          f"{sizes[0]['all']:.1f} MiB after the first minute, {sizes[-1]['all']:.1f} MiB after the "
          f"last, heap and address space did not grow")


main()
