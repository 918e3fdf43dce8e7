# SPDX-License-Identifier: MIT
"""A kernel that need not decompress itself.

A machine that is started a thousand times spends most of a boot in the decompressor. Here the
kernel's image is taken out of its bzImage and put behind a few instructions (unpacked_kernel.S) that
move it to where it is linked to run. See Linux' Documentation/x86/boot.rst for the fields."""

import lzma
import os
import struct
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SECTOR = 512
SETUP_SECTS, SYSSIZE = 0x1f1, 0x1f4
PAYLOAD_OFFSET = 0x248  # and the length behind it
PIECE = 1 << 20
PT_LOAD = 1


def payload(bzimage):
    """The setup part, and the kernel as an ELF file."""
    setup = (bzimage[SETUP_SECTS] + 1) * SECTOR
    offset, length = struct.unpack_from("<II", bzimage, PAYLOAD_OFFSET)
    packed = bzimage[setup + offset:setup + offset + length - 4]  # 4 bytes: its size, unpacked
    return bzimage[:setup], lzma.decompress(packed, format=lzma.FORMAT_XZ)


def segments(elf):
    """Where it is entered, and what is loaded: (physical address, content)."""
    entry, table = struct.unpack_from("<II", elf, 24)
    size, count = struct.unpack_from("<HH", elf, 42)
    found = []
    for i in range(count):
        kind, offset, _, address, length = struct.unpack_from("<5I", elf, table + i * size)
        if kind == PT_LOAD:
            found.append((address, elf[offset:offset + length]))
    return entry, sorted(found)


def flat(found):
    """One image of all segments, a whole number of pieces long."""
    base = found[0][0]
    end = max(address + len(content) for address, content in found)
    image = bytearray((end - base + PIECE - 1) // PIECE * PIECE)
    for address, content in found:
        image[address - base:address - base + len(content)] = content
    return base, image


def mover(base, entry, pieces):
    with tempfile.TemporaryDirectory() as folder:
        output = os.path.join(folder, "mover")
        subprocess.run(["gcc", "-m32", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none",
                        "-Wl,-Ttext=0x100000,--oformat=binary", f"-DTARGET={base:#x}",
                        f"-DENTRY={entry:#x}", f"-DPIECES={pieces}", f"-DPIECE={PIECE}",
                        os.path.join(HERE, "unpacked_kernel.S"), "-o", output], check=True)
        with open(output, "rb") as file:
            return file.read()


def make(source, output):
    """Writes to OUTPUT the kernel SOURCE (i386, packed by xz)."""
    with open(source, "rb") as file:
        setup, elf = payload(file.read())
    entry, found = segments(elf)
    base, image = flat(found)
    code = mover(base, entry, len(image) // PIECE) + image
    setup = bytearray(setup)
    struct.pack_into("<I", setup, SYSSIZE, (len(code) + 15) // 16)
    struct.pack_into("<II", setup, PAYLOAD_OFFSET, 0, 0)
    with open(output, "wb") as file:
        file.write(setup + code)
