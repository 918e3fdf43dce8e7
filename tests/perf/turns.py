# SPDX-License-Identifier: MIT
"""Two machines that take turns at the same measurement, so that a host that slows down meanwhile
slows both: the options that say which machines and how often, the turns, the results as JSON.

What is measured, and how it is printed, is in the programs that use this.
"""

import json
import os
import shutil

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def add_arguments(parser):
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--binary", help="default: anello of the build folder")
    parser.add_argument("--other", default=shutil.which("qemu-system-i386") or "none")
    parser.add_argument("--json", help="write the figures to this file too")


def machines(options):
    """The first machine's binary and, unless it is "none", the other one's."""
    first = options.binary or os.path.join(options.build, "anello")
    return [first] + ([options.other] if options.other != "none" else [])


def labels(binaries):
    """Names for the columns of a table; the second is None where there is one machine."""
    return [os.path.basename(binary) for binary in binaries] + [None] * (2 - len(binaries))


def take(options, what, measure):
    """Binary -> what measure(binary) has returned, for each round."""
    runs = {binary: [] for binary in machines(options)}
    for number in range(options.rounds):
        for binary, results in runs.items():
            results.append(measure(binary))
            print(f"-- {what}, round {number + 1}: {os.path.basename(binary)} done", flush=True)
    return runs


def write(options, rows):
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=2)
