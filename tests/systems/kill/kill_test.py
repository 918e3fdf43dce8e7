#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Kills the monitor again and again while a guest writes, and looks whether anything was lost.

usage: kill_test.py [--kills N] [--jobs N] [--binary FILE] [--build FOLDER] [--accel NAME]
                    [--keep] [--seed N] [--patience FACTOR] [--disk ide|sata|virtio|all]

A Linux guest writes sectors that carry a sequence number and a checksum to qcow2 disks, one behind
each kind of controller, flushes from time to time and says over the serial line what it has flushed.
The process is killed (SIGKILL) at a random moment after that. Then, for each disk,

  - no write that was flushed may be missing, nor anything that was there before;
  - "anello image check" and "qemu-img check" find no errors (leaks are counted and told).

The same images are used for some kills; then each controller gets the next kind of image: with and
without backing file, with clusters of different sizes. With --jobs, several machines with disks of
their own share the kills: one boots while the disks of another are looked at. The last line is the
verdict; exit status 0 when nothing was lost. Needs the guest kernel-686 (scripts/guests), gcc -m32
and qemu-img.
"""

import argparse
import concurrent.futures
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
sys.path.insert(0, os.path.dirname(HERE))

import guest_disks  # noqa: E402 (the path is set just above)
from serial_guest import SerialGuest  # noqa: E402

SKIPPED = 77
DISK_BYTES = 48 << 20
BASE_BYTES = 40 << 20
KILLS_AN_IMAGE = 5
LONGEST_LIFE = 2.5  # seconds from the first flush to the kill
START_LIMIT = 180  # seconds until the writer runs
KINDS = [("plain", "cluster_size=64k", False), ("backed", "cluster_size=64k", True),
         ("small clusters", "cluster_size=4k", False),
         ("backed, tiny clusters", "cluster_size=512,lazy_refcounts=on", True)]


def skip(why):
    print(f"skipped: {why}")
    sys.exit(SKIPPED)


def check_needs():
    if guest_disks.missing():
        skip(guest_disks.missing())
    if not shutil.which("qemu-img"):
        skip("qemu-img is not installed: scripts/setup")


def run(*command, allowed=(0,)):
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode not in allowed:
        raise RuntimeError(f"{' '.join(command)}: exit {result.returncode}\n"
                           f"{result.stdout}{result.stderr}")
    return result


def build_programs(folder):
    guest_disks.build(folder, os.path.join(HERE, "writer.c"))
    run("gcc", "-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror", os.path.join(HERE, "verifier.c"),
        "-o", os.path.join(folder, "verifier"))


class Disk:
    """One of the guest's disks: its image, and the host's files for looking at it."""

    def __init__(self, folder, number, controller, namesakes):
        self.number = number
        self.controller = controller
        self.parameters = guest_disks.parameters(controller, f"kill{number}", namesakes)
        self.image, self.base, self.before, self.after = (
            os.path.join(folder, f"{controller}.{name}")
            for name in ("qcow2", "base.raw", "before.raw", "after.raw"))

    def make(self, options, kind, rng):
        name, option, backed = kind
        extra = []
        if backed:
            with open(self.base, "wb") as file:
                file.write(rng.randbytes(BASE_BYTES))
            extra = ["-b", self.base, "-F", "raw"]
        run(options.binary, "image", "create", "-f", "qcow2", "-o", option, *extra, self.image,
            str(DISK_BYTES))
        to_raw(self.image, self.before)
        return f"{self.controller}: {name}, {option}"

    def check(self, options, folder, seed, flushed):
        """After a kill; what is to be told, and whether there were leaks."""
        ours = run(options.binary, "image", "check", "-f", "qcow2", self.image, allowed=(0, 3))
        theirs = run("qemu-img", "check", "-f", "qcow2", self.image, allowed=(0, 3))
        to_raw(self.image, self.after)
        verdict = run(os.path.join(folder, "verifier"), self.before, self.after,
                      str(seed + self.number), str(flushed))
        os.replace(self.after, self.before)
        leaks = 3 in (ours.returncode, theirs.returncode)
        return (f"{self.controller}: flushed {flushed} writes: {verdict.stdout.strip()}"
                f"{'; leaks' if leaks else ''}"), leaks


class Writer(SerialGuest):
    """The machine with the writing guest."""

    def __init__(self, options, folder, disks, seed):
        command = [options.binary, "-m", "96M",
                   *guest_disks.boot(folder, f"kill.seed={seed} kill.disks={len(disks)}",
                                     *(disk.parameters for disk in disks))]
        for disk in disks:
            command += guest_disks.drive(disk.controller, f"file={disk.image},format=qcow2")
        super().__init__(command, options.accel)

    def wait_for(self, pattern, seconds):
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.text):
            if self.process.poll() is not None or "Kernel panic" in self.text \
                    or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"the guest did not say {pattern!r}; it said:\n"
                                   f"{self.text[-2000:]}")
            time.sleep(0.01)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stdout.close()

    def flushed(self, disk):
        """The last complete line counts: the guest printed it after fdatasync had returned."""
        numbers = re.findall(rf"FLUSHED {disk.number} (\d+)\n", self.text)
        return int(numbers[-1]) if numbers else 0


def to_raw(disk, raw):
    run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", disk, raw)


def start_writer(options, folder, disks, seed):
    """A boot that fails before anything is written is another test's matter: once more, then."""
    for attempts_left in (2, 1, 0):
        writer = Writer(options, folder, disks, seed)
        try:
            writer.wait_for("WRITER STARTS|FAILED", START_LIMIT * options.patience)
            return writer
        except RuntimeError as error:
            print(f"the guest did not start: {error}", flush=True)
            if not attempts_left:
                raise
    return None


class Lane:
    """One of the machines that share the kills, with its disks."""

    def __init__(self, options, programs, number, stop):
        self.options, self.programs, self.number, self.stop = options, programs, number, stop
        self.folder = os.path.join(programs, f"lane{number}")
        os.mkdir(self.folder)
        self.rng = random.Random(f"{options.seed}/{number}")
        controllers = list(guest_disks.DISKS) if options.disk == "all" else [options.disk]
        names = [guest_disks.DISKS[controller][0] for controller in controllers]
        self.disks = [Disk(self.folder, number, controller, names[:number].count(names[number]))
                      for number, controller in enumerate(controllers)]
        self.flushed = self.leaking = self.looked_at = 0

    def tell(self, kill, text):
        print(f"kill {kill}: {text}", flush=True)

    def one_kill(self, kill, seed):
        options = self.options
        writer = start_writer(options, self.programs, self.disks, seed)
        for disk in self.disks:
            writer.wait_for(rf"FLUSHED {disk.number} \d+\n|FAILED", 60 * options.patience)
        time.sleep(self.rng.random() ** 2 * LONGEST_LIFE)
        writer.kill()
        if "FAILED" in writer.text:
            raise RuntimeError(writer.text[-2000:])
        for disk in self.disks:
            flushed = writer.flushed(disk)
            text, leaks = disk.check(options, self.programs, seed, flushed)
            self.tell(kill, text)
            self.flushed += flushed
            self.leaking += leaks
            self.looked_at += 1

    def run(self):
        kills = range(self.number + 1, self.options.kills + 1, self.options.jobs)
        for n, kill in enumerate(kills):
            if self.stop.is_set():
                return
            try:
                for disk in self.disks if n % KILLS_AN_IMAGE == 0 else []:
                    kind = KINDS[(n // KILLS_AN_IMAGE + disk.number) % len(KINDS)]
                    self.tell(kill, disk.make(self.options, kind, self.rng))
                self.one_kill(kill, self.rng.randrange(1 << 31))
            except Exception:
                self.stop.set()
                raise


def kill_many(options, folder):
    stop = threading.Event()
    lanes = [Lane(options, folder, number, stop) for number in range(options.jobs)]
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        runs = [pool.submit(lane.run) for lane in lanes]
    for run_of_lane in runs:
        run_of_lane.result()
    flushed, leaking, looked_at = (sum(getattr(lane, name) for lane in lanes)
                                   for name in ("flushed", "leaking", "looked_at"))
    print(f"{options.kills} kills, {looked_at} disks under load, {flushed} flushed "
          f"writes, nothing lost, no image with errors, {leaking} with leaks")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=1, help="machines at the same time")
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--binary", help="default: anello of the build folder")
    parser.add_argument("--disk", choices=[*guest_disks.DISKS, "all"], default="all")
    parser.add_argument("--accel")
    parser.add_argument("--seed", type=int, default=1, help="of the whole run")
    parser.add_argument("--patience", type=float, default=1.0, help="factor of all time limits")
    parser.add_argument("--keep", action="store_true", help="leave the folder with images")
    options = parser.parse_args()
    options.binary = os.path.abspath(options.binary or os.path.join(options.build, "anello"))
    check_needs()
    folder = tempfile.mkdtemp(prefix="anello-kill-")
    try:
        build_programs(folder)
        kill_many(options, folder)
    except RuntimeError as error:
        options.keep = True
        print(f"{error}\nthe images are in {folder}")
        return 1
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
