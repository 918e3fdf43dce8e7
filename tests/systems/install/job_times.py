#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How long the jobs of an installation take in an installed disk, beside another machine.

usage: job_times.py --folder FOLDER [--rounds N] [--binary FILE] [--other FILE] [--accel NAME]
                    [--disk ide|sata|virtio] [--memory SIZE] [--patience FACTOR] [--json FILE]

FOLDER is that of an install_test.py run; its disk is only read. A copy is prepared once, under the
first machine: the package lists are brought up to date, and the packages fetched once, so that the
proxy on the host's loopback has them all. Then the machines take turns, each with a new copy:

  boot      power-on to the login prompt, through GRUB (its menu is answered at once) and systemd
  packages  apt-get install of these and what they depend on, by way of the NAT
  files     mkfs.ext4 on the swap partition, the packages unpacked there by dpkg-deb, /usr/bin
            copied there, unmounted

For each the seconds of the host's clock, and those of the CPUs that the machine's process used,
which a busy host disturbs less. The last lines are the medians of all rounds and their quotients.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time

import install_test
from install_test import command
from guest import Failure
from mirror import Mirror

PACKAGES = "python3-minimal less file"
LIMIT = 1800  # seconds for a job
INSTALL = "apt-get -q -y --no-install-recommends install"
JOBS = {
    "packages": f"{INSTALL} {PACKAGES} >/dev/null",
    "files": "swapoff -a && mkfs.ext4 -q -F @SWAP@ && mount @SWAP@ /mnt && "
             "for p in /var/cache/apt/archives/*.deb; do dpkg-deb -x $p /mnt; done && "
             "cp -a /usr/bin /mnt/copy && umount /mnt",
}


class Stopwatch:
    """Since the last lap: seconds of the clock and of the process's CPUs."""

    def __init__(self, process):
        self.process = process
        self.before = (0.0, 0.0)
        self.started = time.monotonic()

    def lap(self):
        now = (time.monotonic() - self.started, cpu_seconds(self.process))
        last, self.before = self.before, now
        return tuple(new - old for new, old in zip(now, last))


def cpu_seconds(process):
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Times(install_test.Test):
    def __init__(self, options, work):
        super().__init__(options)
        self.installed = self.disk
        self.work = work
        self.prepared = os.path.join(work, "prepared.qcow2")
        self.disk = os.path.join(work, "disk.qcow2")
        self.swap = install_test.guest_disks.DISKS[options.disk][0] + "2"

    def path(self, name):
        return os.path.join(self.work, name)

    def shell(self, guest, at, line):
        return command(guest, at, f"{line}; echo is=$?", "is=0", LIMIT)

    def prepare(self):
        shutil.copyfile(self.installed, self.disk)
        proxy = f"http://{install_test.HOST}:{self.mirror.server_port}"
        with self.machine(self.options.binary, "prepare") as guest:
            at = install_test.log_in(guest, self.boot_to_login(guest, "prepare"))
            for line in (f"echo 'Acquire::http::Proxy \"{proxy}\";' >/etc/apt/apt.conf",
                         "apt-get -q update", f"{INSTALL} -d {PACKAGES}", "apt-get clean"):
                at = self.shell(guest, at, line)
            self.power_off(guest, "prepare")
        os.replace(self.disk, self.prepared)

    def measure(self, binary):
        """One round of one machine: job -> seconds of the clock, of the CPUs."""
        shutil.copyfile(self.prepared, self.disk)
        times = {}
        with self.machine(binary, "round") as guest:
            watch = Stopwatch(guest.process)
            at = self.boot_to_login(guest, "round")
            times["boot"] = watch.lap()
            at = install_test.log_in(guest, at)
            for name, line in JOBS.items():
                watch.lap()
                at = self.shell(guest, at, line.replace("@SWAP@", self.swap))
                times[name] = watch.lap()
            self.power_off(guest, "round")
        self.check_disk()
        return times


def print_medians(machines, rounds):
    names = [os.path.basename(binary) for binary in machines]
    print(f"{'job':16}" + "".join(f"{name:>20}" for name in names) + f"{'quotient':>10}")
    for job in ("boot", *JOBS):
        for which, unit in enumerate(("clock", "CPUs")):
            first, other = (statistics.median(times[job][which] for times in rounds[binary])
                            for binary in machines)
            print(f"{job + ', ' + unit:16}{first:20.1f}{other:20.1f}{other / first:10.2f}")


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.path.join(install_test.ROOT, "build"))
    parser.add_argument("--binary", help="default: anello of the build folder")
    parser.add_argument("--other", default=shutil.which("qemu-system-i386"))
    parser.add_argument("--accel", help="of the first machine")
    parser.add_argument("--folder", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--disk", choices=list(install_test.guest_disks.DISKS), default="ide")
    parser.add_argument("--memory", default="768M")
    parser.add_argument("--patience", type=float, default=1.0, help="factor of all time limits")
    parser.add_argument("--json", help="write every round's times to this file too")
    options = parser.parse_args()
    options.anello = os.path.join(os.path.abspath(options.build), "anello")
    options.binary = options.binary or options.anello
    return options


def main():
    options = parse_options()
    if not options.other or not shutil.which("qemu-img"):
        install_test.skip("QEMU is not installed: scripts/setup")
    if not os.path.exists(os.path.join(options.folder, "disk.qcow2")):
        install_test.skip(f"no installed disk in {options.folder}: install_test.py makes one")
    machines = [options.binary, options.other]
    rounds = {binary: [] for binary in machines}
    with tempfile.TemporaryDirectory(prefix="anello-times-") as work:
        test = Times(options, work)
        test.mirror = Mirror(install_test.UPSTREAM, os.path.join(install_test.CACHE, "mirror"))
        try:
            test.prepare()
            for number in range(options.rounds):
                for binary in machines:
                    times = test.measure(binary)
                    rounds[binary].append(times)
                    print(f"-- round {number + 1}: {os.path.basename(binary)}: " + ", ".join(
                        f"{job} {clock:.1f} ({cpus:.1f})"
                        for job, (clock, cpus) in times.items()), flush=True)
        except Failure as failure:
            print(f"FAIL: {failure}")
            return 1
        if options.json:
            with open(options.json, "w", encoding="utf-8") as file:
                json.dump(rounds, file, indent=2)
    print_medians(machines, rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
