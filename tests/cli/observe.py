#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the translator shows of itself: -d in_asm,out_asm,exec to a file, the map for Linux perf,
the verifier, and the keys of --stats.

usage: observe.py ANELLO IMAGE    (IMAGE: a guest of tests/guest)
"""

import json
import os
import re
import subprocess
import sys
import tempfile

ANELLO, IMAGE = sys.argv[1:]

STATS = """accel host_seconds vcpu_seconds boots interp.instructions bt.blocks bt.blocks_safe
bt.blocks_sensitive bt.traces bt.code_bytes bt.flushes bt.guest_instructions_translated bt.exits.io
bt.exits.mmio bt.exits.sensitive bt.exits.exception bt.exits.interrupt bt.exits.indirect_miss
bt.exits.smc bt.adapted_sites bt.verified window.fills window.pages window.validations
window.evictions signals irq.delivered disk.reads disk.writes disk.flushes net.rx net.tx""".split()


def run(engine, *options):
    """Status and process number of a guest that ends by itself, or is stopped after a while."""
    command = [ANELLO, "-accel", engine, "-m", "64M", "-display", "none", "-debugcon",
               "file:/dev/null", "-device", "isa-debug-exit,iobase=0xf4", "-bios", IMAGE,
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
    expect(re.search(r"^OUT: [0-9a-f]{8} mode [0-9a-f]{8}, \d+ bytes for \d+\n  [0-9a-f]{12}  \w", text,
                     re.M), "no host code in the trace")
    runs = re.findall(r"^EXEC: ([0-9a-f]{8}) mode [0-9a-f]{8} (\w+)", text, re.M)
    expect(len(runs) > 1000, f"only {len(runs)} blocks were run")
    expect({"translated", "interpreted"} == {how for _, how in runs}, "not both kinds were run")


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
        expect(re.fullmatch(r"[0-9a-f]+ [0-9a-f]+ guest_[0-9a-f]{8}_ring[0-3](_window)?", line), line)


def check_verifier_and_stats(folder):
    path = os.path.join(folder, "stats.json")
    status, _ = run("bt,verify=on", "--stats", path)
    expect(status in (1, 124), f"status {status} under the verifier")
    with open(path, encoding="ascii") as f:
        stats = json.load(f)
    missing = [key for key in STATS if key not in stats]
    expect(not missing, f"no keys {missing}")
    expect(stats["bt.verified"] == stats["bt.blocks"] > 0, "not each translation was verified")


def main():
    with tempfile.TemporaryDirectory() as folder:
        check_traces(folder)
        check_perf_map()
        check_verifier_and_stats(folder)


main()
