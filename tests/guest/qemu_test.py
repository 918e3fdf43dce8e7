#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs a test guest under QEMU's TCG and compares what it says with the differences that are known.

usage: qemu_test.py TABLE GUEST IMAGE [QEMU-OPTION...]

The image is assembled with -DONE_ROUND: each check is made in one round and every complaint printed. A
check is known by its name, one that is indented by the name above it too: "general detect / dr6". The
way it ends is one more check, "(end)": QEMU has to leave by the exit port. A check that fails and is
not in TABLE fails the test, and so does one in TABLE that does not fail, unless a "?" is before it.

Exit status: 77 when there is no QEMU, or none of the version that the table is for.
"""

import os
import re
import subprocess
import sys
import tempfile
import time

QEMU = "qemu-system-x86_64"
SKIPPED = 77
LONGEST = 240  # seconds of a guest that ought to end
GRACE = 3  # seconds until one counts as hanging that is known for it and has said all else
GUEST_STATUS = (1, 3)  # what isa-debug-exit makes of 0 and 1

WRONG = re.compile(r"(.*)   WRONG, expected .*")
CHECK = re.compile(r"(.*)(: (no fault|[0-9a-f]+ error [0-9a-f]+)| = [0-9a-f]+)")


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(SKIPPED)


def read_table(path, guest):
    """QEMU's version, and of the guest's checks those that must fail and those that may.

    Without indentation stands a guest, behind four blanks a reason, behind eight a check."""
    version, at, must, may = None, None, set(), set()
    with open(path, encoding="ascii") as table:
        for line in table:
            text = line.strip()
            depth = len(line) - len(line.lstrip())
            if text.startswith("version "):
                version = text.split()[1]
            elif not text or line.startswith("#"):
                continue
            elif depth == 0:
                at = text.rstrip(":")
            elif depth == 8 and at == guest:
                (may if text.startswith("?") else must).add(text.removeprefix("?"))
    return version, must, may


def require_version(version):
    try:
        said = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        skip(error)
    found = re.search(r"version (\d+\.\d+)", said)
    if not found or found.group(1) != version:
        skip(f"the table is for QEMU {version}, this is {found.group(1) if found else said}")


def failures(path):
    """What the guest has complained about, and how many checks it has printed."""
    failed, above, count = set(), "", 0
    with open(path, encoding="ascii", errors="replace") as text:
        for line in text:
            wrong = WRONG.fullmatch(line.rstrip("\n"))
            check = CHECK.fullmatch(wrong.group(1) if wrong else line.rstrip("\n"))
            if not check:
                continue
            count += 1
            name = check.group(1)
            if name.startswith(" "):
                name = f"{above} / {name.strip()}"
            else:
                above = name
            if wrong:
                failed.add(name)
    return failed, count


def wait_for_end(process, path, known):
    """None if it has not ended. Who is known for that is not waited for when he has said the rest."""
    began, said_all = time.monotonic(), None
    while process.poll() is None:
        now = time.monotonic()
        if now - began > LONGEST:
            return None
        if "(end)" in known and said_all is None and known - {"(end)"} <= failures(path)[0]:
            said_all = now
        if said_all and now - said_all > GRACE:
            return None
        time.sleep(0.1)
    return process.returncode


def run(image, options, known):
    """The checks that fail, and how many there were."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "text")
        with open(path, "w", encoding="ascii"):
            pass
        command = [QEMU, "-accel", "tcg", "-M", "pc", "-m", "64M", "-display", "none", "-nodefaults",
                   "-debugcon", f"file:{path}", "-device", "isa-debug-exit,iobase=0xf4",
                   *options, "-bios", image]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, cwd=folder) as process:
            status = wait_for_end(process, path, known)
            process.kill()
        failed, count = failures(path)
        return failed | ({"(end)"} if status not in GUEST_STATUS else set()), count


def main():
    table, guest, image, *options = sys.argv[1:]
    version, must, may = read_table(table, guest)
    require_version(version)
    failed, count = run(image, options or ["-cpu", "max"], must | may)
    new, gone = failed - must - may, must - failed
    for name in sorted(new):
        print(f"{guest}: fails and is not in the table: {name}")
    for name in sorted(gone):
        print(f"{guest}: is in the table and does not fail: {name}")
    print(f"{guest}: {count} checks, {len(failed)} fail, {len(must)} known")
    sys.exit(1 if new or gone or not count and "(end)" not in failed else 0)


main()
