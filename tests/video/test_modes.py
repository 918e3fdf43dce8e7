#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Sets every mode of the video BIOS, draws in it and looks at the screen.

usage: test_modes.py --image FILE [--binary FILE] [--rebase | --oracle QEMU]

What each mode must look like is in modes.golden: size and a hash of the picture, colors cut to the
six bits of the DAC (SeaBIOS 1.16.2 of Debian 12). --rebase writes that file; --oracle compares with another machine, pixel by
pixel, and tells where the two differ. Differences from QEMU 7.2 that are known and wanted:

  0000, 0001        40 columns: characters are nine dots wide there, too
  0000-0003, 0007   the ninth dot is joined for characters C0h-DFh, as IBM says, not B0h-DFh
  0110              five bits of color become eight by repetition, so that white is white
  0102              is shown at all
"""

import argparse
import hashlib
import os
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "boot"))

from guest import Failure, Guest  # noqa: E402

GOLDEN = os.path.join(HERE, "modes.golden")
SIX_BITS = bytes(level & 0xFC for level in range(256))
MODES = [0x00, 0x01, 0x02, 0x03, 0x07, 0x03, 0x04, 0x05, 0x06, 0x0D, 0x0E, 0x0F, 0x10, 0x11,
         0x12, 0x13, 0x101, 0x103, 0x102, 0x110, 0x111, 0x112, 0x115, 0x118, 0x03]


def pictures(binary, image):
    """Yields (mode, (width, height, pixels)) for each mode."""
    arguments = ["-m", "32M", "-drive", f"file={image},format=raw,if=ide", "-snapshot"]
    with Guest(binary, arguments, patience=4) as guest:
        position = 0
        for mode in MODES:
            position = guest.wait_serial(rf"mode {mode:04X}\n", 60, position)
            width, height, pixels = guest.screendump()
            yield mode, (width, height, pixels.translate(SIX_BITS))
            guest.keys("spc")
        guest.wait_serial(r"\.", 60, position)


def signature(mode, picture):
    width, height, pixels = picture
    return f"{mode:04x} {width}x{height} {hashlib.sha256(pixels).hexdigest()[:16]}"


def compare_with(oracle, binary, image):
    for (mode, ours), (_, theirs) in zip(pictures(binary, image), pictures(oracle, image)):
        if ours[:2] != theirs[:2]:
            print(f"{mode:04x} {ours[0]}x{ours[1]}, there {theirs[0]}x{theirs[1]}")
            continue
        width = ours[0]
        differ = [at // 3 for at in range(0, len(ours[2]), 3)
                  if ours[2][at:at + 3] != theirs[2][at:at + 3]]
        first = f", first at {differ[0] % width},{differ[0] // width}" if differ else ""
        print(f"{mode:04x} {width}x{ours[1]} {len(differ)} pixels differ{first}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--image", required=True)
    parser.add_argument("--binary", default="anello")
    parser.add_argument("--oracle")
    parser.add_argument("--rebase", action="store_true")
    options = parser.parse_args()
    if options.oracle:
        compare_with(options.oracle, options.binary, options.image)
        return 0
    seen = [signature(*p) for p in pictures(options.binary, options.image)]
    if options.rebase:
        with open(GOLDEN, "w", encoding="utf-8") as file:
            file.write("\n".join(seen) + "\n")
        return 0
    with open(GOLDEN, encoding="utf-8") as file:
        golden = file.read().splitlines()
    wrong = [f"{got}, expected {want}" for got, want in zip(seen, golden) if got != want]
    if wrong or len(seen) != len(golden):
        print("\n".join(wrong) or "another number of modes")
        return 1
    print(f"{len(seen)} pictures as expected")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        print(failure)
        sys.exit(1)
