#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Images of every format with a few bytes that are wrong, given to each command of `anello image`.

usage: damaged.py [--count N] [--seed N] [--keep FOLDER] ANELLO

For each of --count images: nothing crashes or takes long; an error is one line and exit code 1; what
only reads changes nothing; an image that `check` finds clean is so for qemu-img too, stays so when it
is resized or its snapshots change, and is converted to what qemu-img makes of it; one that
`check -r all` has repaired is clean for qemu-img. Images that break a rule are kept in FOLDER.
"""

import argparse
import collections
import os
import random
import shutil
import subprocess
import sys
import tempfile

KIB = 1 << 10
SECTOR = 512
LIMIT = 60  # seconds for each command
CLEAN, FAILED, CORRUPT, LEAKS = range(4)  # exit codes of check
KINDS = [  # format, options of convert
    ("qcow2", ["-o", "cluster_size=512"]),
    ("qcow2", ["-c", "-o", "cluster_size=4k,compat=0.10"]),
    ("qcow2", ["-o", "cluster_size=4k,lazy_refcounts=on"]),
    ("qcow2", ["-o", "cluster_size=64k"]),
    ("vmdk", ["-o", "subformat=monolithicSparse"]),
    ("vmdk", ["-o", "subformat=streamOptimized"]),
    ("vdi", []),
]
CHANGES = {
    "qcow2": [["check", "-r", "all"], ["check", "-r", "leaks"], ["resize", "+128k"],
              ["resize", "--shrink", "64k"], ["snapshot", "-d", "s1"], ["snapshot", "-a", "s1"],
              ["snapshot", "-c", "new"]],
    "vmdk": [["check", "-r", "all"]],
    "vdi": [["check", "-r", "all"]],
}

Result = collections.namedtuple("Result", "code output errors")


def run(*command):
    try:
        done = subprocess.run(command, capture_output=True, timeout=LIMIT, check=False,
                              stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return Result(None, "", "")
    return Result(done.returncode, done.stdout.decode("latin-1"), done.stderr.decode("latin-1"))


def must(*command):
    if (result := run(*command)).code:
        sys.exit(f"{' '.join(command)}: {result}")


def contents(path):
    with open(path, "rb") as file:
        return file.read()


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)


def make_images(rng):
    """Pairs of format and bytes; qcow2 images have two snapshots and a newer content."""
    write("disk.raw", b"".join(rng.choice([bytes(4 * KIB), rng.randbytes(4 * KIB), b"text" * KIB])
                               for _ in range(64)))
    images = []
    for kind, options in KINDS:
        must("qemu-img", "convert", "-f", "raw", "-O", kind, *options, "disk.raw", "whole")
        if kind == "qcow2":
            must("qemu-img", "snapshot", "-c", "s1", "whole")
            must("qemu-io", "-f", "qcow2", "-c", "write -P 7 8k 20k", "whole")
            must("qemu-img", "snapshot", "-c", "s2", "whole")
        images.append((kind, contents("whole")))
    return images


def place(rng, data):
    """Mostly in the header, or in a word that is not zero."""
    which = rng.random()
    if which < 0.35:
        return rng.randrange(min(len(data), 200))
    at = rng.randrange(len(data))
    for _ in range(50 if which < 0.7 else 0):
        if any(data[at & ~7:(at & ~7) + 8]):
            break
        at = rng.randrange(len(data))
    return at


def odd_word(rng, size):
    some_sector = rng.randrange(size // SECTOR) * SECTOR
    return rng.choice([0, 1 << 63, (1 << 64) - 1, SECTOR, 64 * KIB, size, (1 << 62) | 1536,
                       rng.getrandbits(64), some_sector, some_sector | 1 << 63])


def damage(rng, data):
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        at, how = place(rng, data), rng.random()
        if how < 0.5:
            data[at] ^= 1 << rng.randrange(8)
        elif how < 0.7:
            data[at] = rng.choice([0, 255, 128, 127, rng.randrange(256)])
        elif how < 0.85:
            at &= ~7
            data[at:at + 8] = odd_word(rng, len(data)).to_bytes(8, "big")
        else:
            at &= ~(SECTOR - 1)
            other = rng.randrange(len(data) // SECTOR) * SECTOR
            data[at:at + SECTOR] = data[other:other + SECTOR]
    if rng.random() < 0.1:
        del data[rng.randrange(len(data)):]
    return bytes(data)


class Trial:
    """One damaged image; what breaks a rule is in `faults`."""

    def __init__(self, anello, kind, data):
        self.anello, self.kind, self.data = anello, kind, data
        self.faults = []
        write("image", data)

    def fault(self, text):
        self.faults.append(text)

    def image(self, command, *arguments):
        result = run(self.anello, "image", command, *arguments)
        name = " ".join((command, *arguments))
        if result.code is None or result.code not in (CLEAN, FAILED, CORRUPT, LEAKS):
            self.fault(f"{name}: exit {result.code}, {result.errors[-500:]}")
        lines = [line for line in result.errors.splitlines() if line.startswith("anello: ")
                 and " is corrupt (" not in line and ": warning: " not in line]
        if result.code == FAILED and len(lines) != 1:
            self.fault(f"{name}: not one line says what is wrong: {result.errors[-500:]}")
        return result

    def reading(self):
        """True when both programs call the image clean."""
        ours = self.image("check", "-f", self.kind, "image")
        theirs = run("qemu-img", "check", "-f", self.kind, "image")
        if theirs.code == CORRUPT and ours.code == CLEAN:
            self.fault(f"only qemu-img sees that it is corrupt: {theirs.errors[-500:]}")
        self.image("info", "-f", self.kind, "image")
        converted = self.image("convert", "-f", self.kind, "-O", "raw", "image", "ours.raw")
        clean = ours.code == theirs.code == CLEAN
        if clean and not converted.code:
            self.compare_contents()
        if contents("image") != self.data:
            self.fault("it was changed by reading")
            write("image", self.data)
        return clean

    def compare_contents(self):
        if run("qemu-img", "convert", "-f", self.kind, "-O", "raw", "image", "theirs.raw").code:
            return
        a, b = contents("ours.raw"), contents("theirs.raw")
        # A size that is no multiple of a sector is rounded up by one and down by the other.
        if abs(len(a) - len(b)) > SECTOR or a[:len(b)] != b[:len(a)]:
            self.fault("qemu-img reads something else")

    def changing(self, rng, clean):
        command, *options = rng.choice(CHANGES[self.kind])
        size = [options.pop()] if command == "resize" else []
        done = self.image(command, "-f", self.kind, *options, "image", *size)
        if done.code == CLEAN and (clean or options == ["-r", "all"]):
            theirs = run("qemu-img", "check", "-f", self.kind, "image")
            if theirs.code == CORRUPT:
                self.fault(f"corrupt after {command} {options}: {theirs.errors[-500:]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", default=tempfile.gettempdir(), metavar="FOLDER")
    parser.add_argument("anello")
    options = parser.parse_args()
    options.anello, options.keep = map(os.path.abspath, (options.anello, options.keep))
    if not shutil.which("qemu-img") or not shutil.which("qemu-io"):
        print("skipped: no qemu-img")
        return 77
    rng = random.Random(options.seed)
    faulty, clean = 0, 0
    with tempfile.TemporaryDirectory(prefix="anello-damaged-") as folder:
        os.chdir(folder)
        images = make_images(rng)
        for number in range(options.count):
            kind, whole = rng.choice(images)
            trial = Trial(options.anello, kind, damage(rng, bytearray(whole)))
            is_clean = trial.reading()
            trial.changing(rng, is_clean)
            clean += is_clean
            if trial.faults:
                faulty += 1
                kept = os.path.join(options.keep, f"damaged-{options.seed}-{number}.{kind}")
                write(kept, trial.data)
                print(f"{kept}:", *trial.faults, sep="\n  ", flush=True)
        os.chdir("/")
    print(f"{options.count} damaged images, {clean} of them clean to see; {faulty} broke a rule")
    return 1 if faulty else 0


if __name__ == "__main__":
    sys.exit(main())
