#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Builds the initramfs of the test and bench guest: busybox, the bench program and an init.

The archive is a cpio in the "newc" format that Linux unpacks at start (the kernel's
Documentation/driver-api/early-userspace/buffer-format.rst). It is written here rather than by
cpio(1) so that no root is needed for the device nodes and so that equal input gives equal bytes.

usage: initramfs.py --busybox FILE --bench FILE -o FILE [--gzip] [--add HOSTFILE=GUESTPATH]...
"""

import argparse
import gzip
import os
import stat

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "initramfs")

FOLDERS = ["bin", "dev", "etc", "proc", "root", "sys", "tmp"]
CONSOLE = (5, 1)  # major and minor of /dev/console: init's standard output


class Cpio:
    """Collects members and pads them as the format wants."""

    def __init__(self):
        self.bytes = bytearray()
        self.inode = 0

    def add(self, name, mode, data=b"", device=(0, 0)):
        self.inode += 1
        links = 2 if stat.S_ISDIR(mode) else 1
        fields = [self.inode, mode, 0, 0, links, 0, len(data), 0, 0, *device, len(name) + 1, 0]
        self.bytes += b"070701" + b"".join(b"%08x" % field for field in fields)
        self.bytes += name.encode() + b"\0"
        self.pad()
        self.bytes += data
        self.pad()

    def pad(self):
        self.bytes += b"\0" * (-len(self.bytes) % 4)

    def finish(self):
        self.add("TRAILER!!!", 0)
        return bytes(self.bytes)


def contents(path):
    with open(path, "rb") as file:
        return file.read()


def build(busybox, bench, extra):
    cpio = Cpio()
    for folder in FOLDERS:
        cpio.add(folder, stat.S_IFDIR | 0o755)
    cpio.add("dev/console", stat.S_IFCHR | 0o600, device=CONSOLE)
    cpio.add("init", stat.S_IFREG | 0o755, contents(os.path.join(HERE, "init")))
    cpio.add("etc/inittab", stat.S_IFREG | 0o644, contents(os.path.join(HERE, "inittab")))
    cpio.add("etc/profile", stat.S_IFREG | 0o644, contents(os.path.join(HERE, "profile")))
    cpio.add("bin/busybox", stat.S_IFREG | 0o755, contents(busybox))
    cpio.add("bin/bench", stat.S_IFREG | 0o755, contents(bench))
    for host, guest in extra:
        mode = stat.S_IFREG | (os.stat(host).st_mode & 0o777)
        cpio.add(guest.lstrip("/"), mode, contents(host))
    return cpio.finish()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--busybox", required=True, help="static 32-bit busybox")
    parser.add_argument("--bench", required=True, help="the bench program")
    parser.add_argument("--add", action="append", default=[], metavar="HOSTFILE=GUESTPATH")
    parser.add_argument("--gzip", action="store_true", help="compress")
    parser.add_argument("-o", "--output", required=True)
    options = parser.parse_args()
    extra = [pair.split("=", 1) for pair in options.add]
    data = build(options.busybox, options.bench, extra)
    if options.gzip:
        data = gzip.compress(data, 6, mtime=0)
    with open(options.output + ".new", "wb") as file:
        file.write(data)
    os.replace(options.output + ".new", options.output)


if __name__ == "__main__":
    main()
