#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the machine shows of itself: the traces of -d to a file, the map for Linux perf, the verifier,
and the keys of --stats.

usage: observe.py ANELLO IMAGE PAGING    (two guests of tests/guest; PAGING: the one of page faults)
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile

ANELLO, IMAGE, PAGING = sys.argv[1:]

STATS = """accel host_seconds vcpu_seconds boots interp.instructions bt.blocks bt.blocks_safe
bt.blocks_sensitive bt.traces bt.code_bytes bt.flushes bt.guest_instructions_translated bt.exits.io
bt.exits.mmio bt.exits.sensitive bt.exits.exception bt.exits.interrupt bt.exits.indirect_miss
bt.exits.smc bt.adapted_sites bt.verified window.fills window.pages window.validations
window.evictions signals irq.delivered disk.reads disk.writes disk.flushes net.rx net.tx""".split()


def run(engine, *options, image=IMAGE):
    """Status and process number of a guest that ends by itself, or is stopped after a while."""
    command = [ANELLO, "-accel", engine, "-m", "64M", "-display", "none", "-debugcon",
               "file:/dev/null", "-device", "isa-debug-exit,iobase=0xf4", "-bios", image,
               "--timeout", "8", *options]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        return process.wait(timeout=120), process.pid


def expect(condition, what):
    if not condition:
        sys.exit(f"observe: {what}")


def check_traces(folder):
    path = os.path.join(folder, "trace")
    status, _ = run("bt", "-d", "in_asm,out_asm,exec", "-D", path)
    expect(status in (1, 124), f"status {status}")
    with open(path, encoding="ascii") as f:
        text = f.read()
    expect(re.search(r"^IN: cpu0 [0-9a-f:]+, .* CPL 0\n[0-9a-f]{8}  \w", text, re.M),
           "no guest code in the trace")
    expect(re.search(r"^OUT: [0-9a-f]{8} mode [0-9a-f]{8}, \d+ \+ \d+ bytes for \d+\n  [0-9a-f]{12}  \w", text,
                     re.M), "no host code in the trace")
    runs = re.findall(r"^EXEC: ([0-9a-f]{8}) mode [0-9a-f]{8} (\w+)", text, re.M)
    expect(len(runs) > 1000, f"only {len(runs)} blocks were run")
    expect({"translated", "interpreted"} == {how for _, how in runs}, "not both kinds were run")


def mmu_trace(folder, engine):
    path = os.path.join(folder, engine)
    status, _ = run(engine, "-d", "mmu", "-D", path, "--timeout", "100", image=PAGING)
    expect(status == 1, f"status {status} with -d mmu")
    with open(path, encoding="ascii") as f:
        return f.read()


def check_mmu(folder):
    """Both engines tell of the same page faults and values of CR3."""
    interp, bt = mmu_trace(folder, "interp"), mmu_trace(folder, "bt")
    for line in ("cr3 [0-9a-f]+", "page fault at [0-9a-f]+, error [0-9a-f]+, cr3 [0-9a-f]+, ip [0-9a-f]+"):
        found = len(re.findall(f"^mmu: cpu0 {line}$", interp, re.M))
        expect(found > 10, f"{found} lines of {line}")
    for number, (a, b) in enumerate(zip(interp.splitlines(), bt.splitlines()), 1):
        expect(a == b, f"line {number} of -d mmu: interp {a}, bt {b}")
    expect(len(interp) == len(bt), "the traces of -d mmu are not equally long")


# A ROM whose CPU writes two single bytes to VBE's data port, which wants words, and ends with 0.
RESET_VECTOR = 0xFFF0
BYTE_WRITES = bytes((0xBA, 0xCF, 0x01,  # mov dx, 0x1cf
                     0xEE, 0xEE,        # out dx, al
                     0xE6, 0xF4))       # out 0xf4, al: status 1


def check_guest_errors(folder):
    """Each is traced; the user hears of the first."""
    image, path = os.path.join(folder, "rom"), os.path.join(folder, "errors")
    with open(image, "wb") as f:
        f.write((bytes(RESET_VECTOR) + BYTE_WRITES).ljust(0x10000, b"\xf4"))
    for options, lines in (("guest_errors", 2), ("cpu_reset", 0)):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        status, _ = run("interp", "-d", options, "-D", path, image=image)
        expect(status == 1, f"status {status} with -d {options}")
        with open(path, encoding="ascii") as f:
            found = re.findall(r"^guest error: VBE byte write: of register 0$", f.read(), re.M)
        expect(len(found) == lines, f"{len(found)} guest errors with -d {options}, not {lines}")


def check_perf_map():
    status, pid = run("bt", "--perfmap")
    path = f"/tmp/perf-{pid}.map"
    with open(path, encoding="ascii") as f:
        lines = f.read().splitlines()
    os.unlink(path)
    expect(status in (1, 124), f"status {status}")
    expect(lines[0].endswith(" anello_thunks"), "no thunks in the map")
    expect(len(lines) > 20, f"only {len(lines)} names in the map")
    for line in lines[1:]:
        expect(re.fullmatch(r"[0-9a-f]+ [0-9a-f]+ guest_[0-9a-f]{8}_ring[0-3](_window)?(_trace)?", line), line)


def check_verifier_and_stats(folder):
    path = os.path.join(folder, "stats.json")
    status, _ = run("bt,verify=on", "--stats", path)
    expect(status in (1, 124), f"status {status} under the verifier")
    with open(path, encoding="ascii") as f:
        stats = json.load(f)
    missing = [key for key in STATS if key not in stats]
    expect(not missing, f"no keys {missing}")
    expect(stats["bt.verified"] == stats["bt.blocks"] > 0, "not each translation was verified")
    status, _ = run("bt,eager=on", "--stats", path)
    with open(path, encoding="ascii") as f:
        expect(json.load(f)["bt.traces"] > 0, "no traces, eager as it was")


def main():
    with tempfile.TemporaryDirectory() as folder:
        check_traces(folder)
        check_mmu(folder)
        check_guest_errors(folder)
        check_perf_map()
        check_verifier_and_stats(folder)


main()
