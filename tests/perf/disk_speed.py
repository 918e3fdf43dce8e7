#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How fast a disk is inside the guest, beside QEMU's TCG with the same image.

usage: disk_speed.py [--disk ide|sata|virtio]... [--rounds N] [--ms N] [--format qcow2|raw]
                     [--size MIB] [--only TEXT] [--folder FOLDER] [--binary FILE]
                     [--other FILE|none] [--accel NAME] [--json FILE]

A Linux guest whose init is disk_speed.c reads and writes around its page cache, sequentially and at
random, 4 KiB and 1 MiB at a time, with and without a flush (fdatasync) after each write, each
pattern for --ms milliseconds. The machines take turns; medians of --rounds are printed in MiB/s,
how much faster the first machine is, and how much more of the host's CPUs the other one takes for
each MiB, which a busy host disturbs less. The image has all of its clusters allocated before; both
machines use their default cache mode (writeback). In a --folder in memory (/dev/shm) the host's disk
plays no part. Needs the guest kernel-686, gcc -m32 and qemu-img.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "systems"))

import guest_disks  # noqa: E402 (the path is set just above)
import turns  # noqa: E402

SKIPPED = 77
START_LIMIT = 300  # seconds beside the measuring itself
PATTERNS = 14
LINE = re.compile(r"SPEED (\S+) (\d+) (\d+)$")
RATE, COST = range(2)  # MiB/s, CPU seconds for each MiB


def make_image(options, folder):
    """Random bytes, so that neither machine can take a short way for zeroes."""
    raw, image = os.path.join(folder, "disk.raw"), os.path.join(folder, f"disk.{options.format}")
    with open(raw, "wb") as file:
        for _ in range(options.size):
            file.write(os.urandom(1 << 20))
    if options.format != "raw":
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", options.format, raw, image],
                       check=True)
        os.remove(raw)
    os.sync()  # or the host writes the image while the first patterns are measured
    return image


def cpu_seconds(process):
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run_guest(command, limit):
    """What the guest says, and the CPU seconds of its machine at the end of each line."""
    text, used = "", []
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as process:
        timer = threading.Timer(limit, process.kill)
        timer.start()
        for line in process.stdout:
            text += line.decode("latin-1")
            used.append(cpu_seconds(process))
        timer.cancel()
    return text, used


def measure(options, folder, binary, kind, image):
    """One run of the guest: pattern -> MiB/s and CPU seconds for each MiB."""
    command = [binary, "-m", "128M",
               *guest_disks.boot(folder, guest_disks.parameters(kind, "speed"),
                                 f"speed.ms={options.ms} speed.only={options.only}"),
               *guest_disks.drive(kind, f"file={image},format={options.format}")]
    if options.accel and binary == turns.machines(options)[0]:
        command += ["-accel", options.accel]
    limit = START_LIMIT + PATTERNS * options.ms / 1000 * 4
    text, used = run_guest(command, limit)
    if "SPEED DONE" not in text:
        sys.exit(f"{binary}: the guest did not come to its end:\n{text[-2000:]}")
    figures = {}
    for number, line in enumerate(text.split("\n")):  # as run_guest() counts them
        if found := LINE.match(line.rstrip("\r")):
            name, ns = found[1], int(found[3])
            mib = max(int(found[2]), 1) / (1 << 20)  # nothing, on a host that is too busy
            figures[name] = mib / (ns / 1e9), (used[number] - used[number - 1]) / mib
    return figures


def compare(options, folder, kind, image):
    runs = turns.take(options, kind, lambda binary: measure(options, folder, binary, kind, image))
    return [{"disk": kind, "pattern": name,
             **{os.path.basename(binary): [statistics.median(run[name][which] for run in results)
                                           for which in (RATE, COST)]
                for binary, results in runs.items()}}
            for name in next(iter(runs.values()))[0]]


def print_table(rows, first, other):
    print(f"{'disk':8}{'pattern':24}{first:>14}"
          + (f"{other:>22}{'ratio':>8}{'of CPUs':>9}" if other else ""))
    for row in rows:
        line = f"{row['disk']:8}{row['pattern']:24}{row[first][RATE]:14.1f}"
        if other:
            line += f"{row[other][RATE]:22.1f}{row[first][RATE] / row[other][RATE]:8.2f}"
            if row[first][COST]:  # less than a tick of the host's clock is nothing
                line += f"{row[other][COST] / row[first][COST]:9.2f}"
        print(line)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--disk", action="append", choices=list(guest_disks.DISKS))
    parser.add_argument("--ms", type=int, default=2000, help="for each pattern")
    parser.add_argument("--only", default="", help="patterns with this in their name")
    parser.add_argument("--size", type=int, default=256, help="MiB of the image")
    parser.add_argument("--format", choices=["qcow2", "raw"], default="qcow2")
    parser.add_argument("--accel", help="of the first machine")
    parser.add_argument("--folder", help="where the image is made (default: of temporary files)")
    turns.add_arguments(parser)
    options = parser.parse_args()
    if guest_disks.missing():
        print(f"skipped: {guest_disks.missing()}")
        return SKIPPED
    with tempfile.TemporaryDirectory(prefix="anello-disk-", dir=options.folder) as folder:
        guest_disks.build(folder, os.path.join(HERE, "disk_speed.c"))
        image = make_image(options, folder)
        rows = []
        for kind in options.disk or list(guest_disks.DISKS):
            rows += compare(options, folder, kind, image)
    print_table(rows, *turns.labels(turns.machines(options)))
    turns.write(options, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
