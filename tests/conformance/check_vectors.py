#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs anello-vectors on files made here, of which it is known what it must say.

usage: check_vectors.py ANELLO_VECTORS
"""

import gzip
import os
import struct
import subprocess
import sys
import tempfile

ORDER = "ax bx cx dx cs ss ds es sp bp si di ip flags".split()
CS, IP = 0x1000, 0x100


def chunk(name, payload):
    return name.encode() + struct.pack("<I", len(payload)) + payload


def regs(values):
    mask = sum(1 << i for i, name in enumerate(ORDER) if name in values)
    words = [values[name] for name in ORDER if name in values]
    return chunk("REGS", struct.pack(f"<{len(words) + 1}H", mask, *words))


def ram(pairs):
    body = b"".join(struct.pack("<IB", *pair) for pair in pairs)
    return chunk("RAM ", struct.pack("<I", len(pairs)) + body)


def test(index, code, changed, before=None):
    """`code` without its HLT; `changed`: registers after it."""
    start = dict.fromkeys(ORDER, 0)
    start.update(cs=CS, ip=IP, ss=0x2000, sp=0x800, flags=2)
    start.update(before or {})
    code = bytes(code) + b"\xf4"
    memory = [(CS * 16 + IP + i, byte) for i, byte in enumerate(code)]
    after = {"ip": IP + len(code)}
    after.update(changed)
    return chunk("TEST", struct.pack("<I", index)
                 + chunk("NAME", struct.pack("<I", 4) + b"test")
                 + chunk("BYTS", struct.pack("<I", len(code)) + code)
                 + chunk("INIT", regs(start) + ram(memory))
                 + chunk("FINA", regs(after) + ram([])))


def moo(tests):
    head = struct.pack("<BBHI4s", 1, 1, 0, len(tests), b"C286")
    return chunk("MOO ", head) + b"".join(tests)


def expect(program, path, status, last):
    done = subprocess.run([program, path], capture_output=True, text=True)
    said = done.stdout.splitlines()[-1:]
    if done.returncode != status or said != [last]:
        print(f"{path}: status {done.returncode}, {said}; expected {status}, {last}")
        sys.exit(1)


def main():
    program = sys.argv[1]
    good = test(0, [0x40], {"ax": 1})  # inc ax
    wrong = test(1, [0x40], {"ax": 2})
    locked = test(2, [0xf0, 0x40], {"ax": 1})  # lock inc ax: only a 286 takes it
    with tempfile.TemporaryDirectory() as folder:
        plain = os.path.join(folder, "plain.MOO")
        packed = os.path.join(folder, "packed.MOO.gz")
        cut = os.path.join(folder, "cut.MOO")
        with open(plain, "wb") as f:
            f.write(moo([good, locked]))
        expect(program, plain, 0, "1 passed, 0 failed, 1 skipped")
        with gzip.open(packed, "wb") as f:
            f.write(moo([good, wrong]))
        expect(program, packed, 1, "1 passed, 1 failed, 0 skipped")
        expect(program, folder, 1, "2 passed, 1 failed, 1 skipped")
        with open(cut, "wb") as f:
            f.write(moo([good, good])[:-20])
        expect(program, cut, 1, "1 passed, 0 failed, 0 skipped")


if __name__ == "__main__":
    main()
