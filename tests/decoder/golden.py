#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the decoder reads in a fixed set of instructions, as a file that is reviewed like code.

usage: golden.py ANELLO GOLDEN [--rebase]

GOLDEN has a line for each instruction: mode, bytes, text of `anello disasm`. The set is every
opcode of the one-byte, 0F, 0F38 and 0F3A maps and of the VEX maps, with a memory operand and with
registers, in the three modes. --rebase writes the file anew from what is decoded now.
"""

import re
import subprocess
import sys
import tempfile

MODES = (16, 32, 64)
TAILS = ("44cb1011223344556677", "d11122334455667788")  # ModRM with SIB and disp8; with registers
PREFIXES = ("", "66", "f3", "f2")


RELATIVE = re.compile(r"^((?:\w+ )*(?:call|j\w+|loop\w*|xbegin)) 0x[0-9a-f]+$")


def candidates():
    for tail in TAILS:
        for prefix in PREFIXES if tail == TAILS[0] else PREFIXES[:2]:
            for opcode in range(256):
                if not prefix:
                    yield f"{opcode:02x}{tail}"
                yield f"{prefix}0f{opcode:02x}{tail}"
                yield f"{prefix}0f38{opcode:02x}{tail}"
                yield f"{prefix}0f3a{opcode:02x}{tail}"
        for opcode in range(256) if tail == TAILS[0] else ():
            for p in ("78", "79", "7d", "7a", "7b"):
                yield f"c4e1{p}{opcode:02x}{tail}"
                yield f"c4e2{p}{opcode:02x}{tail}"
                yield f"c4e3{p}{opcode:02x}{tail}"


def decode(anello, mode, code):
    """(bytes, text) of each instruction in `code`, by our decoder."""
    with tempfile.NamedTemporaryFile(suffix=".bin") as f:
        f.write(code)
        f.flush()
        output = subprocess.run([anello, "disasm", "-b", str(mode), f.name], capture_output=True,
                                text=True, timeout=120, check=True).stdout
    at, result = 0, []
    lines = output.splitlines()
    for i, line in enumerate(lines):
        start = int(line[2:10], 16)
        end = int(lines[i + 1][2:10], 16) if i + 1 < len(lines) else len(code)
        assert start == at
        text = line[30:].split(" | ")[0].strip()
        # Branch targets are shown as addresses, which depend on the place.
        result.append((code[start:end].hex(), RELATIVE.sub(r"\1 REL", text)))
        at = end
    return result


def first_of_each(anello, mode):
    """Each candidate's first instruction. A run of one-byte NOPs between candidates brings the
    listing back into step; what begins at a candidate's own offset is its reading."""
    pad = "90" * 16
    texts = list(dict.fromkeys(candidates()))
    code = bytes.fromhex("".join(text + pad for text in texts))
    starts, at = {}, 0
    for text in texts:
        starts[at] = text
        at += len(text + pad) // 2
    offset, found = 0, {}
    for raw, text in decode(anello, mode, code):
        if offset in starts and text not in ("(bad)", "(cut off)", "(too long)"):
            found.setdefault(raw, text)
        offset += len(raw) // 2
    return [f"{mode} {raw} {text}" for raw, text in found.items()]


def check(anello, golden):
    """Decodes the golden bytes again, one behind the other."""
    failures = 0
    for mode in MODES:
        expected = [line.split(" ", 2)[1:] for line in golden if line.startswith(f"{mode} ")]
        got = decode(anello, mode, bytes.fromhex("".join(raw for raw, _ in expected)))
        for want, have in zip(expected, got):
            same = want[0] == have[0] and want[1] == have[1]
            if not same:
                failures += 1
                print(f"{mode}-bit {want[0]}: was '{want[1]}', is '{have[1]}' ({have[0]})")
                if want[0] != have[0]:
                    break
        if len(expected) != len(got):
            failures += 1
            print(f"{mode}-bit: {len(got)} instructions instead of {len(expected)}")
    return failures


def main():
    anello, path = sys.argv[1:3]
    if sys.argv[3:] == ["--rebase"]:
        with open(path, "w", encoding="ascii") as f:
            for mode in MODES:
                f.writelines(line + "\n" for line in first_of_each(anello, mode))
        return 0
    with open(path, encoding="ascii") as f:
        golden = f.read().splitlines()
    failures = check(anello, golden)
    print(f"{len(golden) - failures} passed, {failures} failed")
    return 1 if failures or len(golden) < 1000 else 0


sys.exit(main())
