#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Proves that no source file includes a layer that it must not know.

The layers of src/ and the one direction in which they may see each other are the table below; it
is the picture of docs/architecture.md in a form that a machine can check. Each violation is
printed as FILE:LINE: reason, and makes the exit status 1.

usage: check_includes.py SOURCE_ROOT
"""

import os
import re
import sys

# A layer may include itself and what is named here: a folder, or a single header of one.
MAY_INCLUDE = {
    "base": [],
    "bus": ["base"],
    "cpu": ["base", "bus"],
    "bt": ["base", "bus", "cpu"],
    "storage": ["base"],
    "net": ["base"],
    "ui": ["base"],
    "devices": ["base", "bus", "storage/block.h", "net/netdev.h", "ui/display.h"],
    "machine": ["base", "bus", "cpu", "bt", "storage", "net", "ui", "devices"],
    "monitor": ["base", "bus", "cpu", "bt", "storage", "net", "ui", "devices", "machine"],
    "cli": ["base", "bus", "cpu", "bt", "storage", "net", "ui", "devices", "machine", "monitor"],
    # src/main.c
    "": ["base", "cli", "machine"],
}

# A library of the host belongs to the layers that wrap it.
LIBRARY_LAYERS = {
    "SDL": ["ui"],
    "capstone": ["cpu", "bt"],
    "Zydis": [],
    "zlib.h": ["storage", "ui"],
    "libslirp": ["net"],
}

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')


def source_files(root):
    for folder, _, names in sorted(os.walk(root)):
        for name in sorted(names):
            if name.endswith((".c", ".h", ".inc", ".S")):
                yield os.path.join(folder, name)


def complaint_about_own_header(layer, header):
    if "/" not in header:
        return f'"{header}" does not name its folder'
    target = header.split("/")[0]
    if target == layer or target in MAY_INCLUDE[layer] or header in MAY_INCLUDE[layer]:
        return None
    return f"{layer or 'main'} must not include {header}"


def complaint_about_library(layer, header):
    for prefix, layers in LIBRARY_LAYERS.items():
        if header.startswith(prefix) and layer not in layers:
            return f"{layer or 'main'} must not use the library of <{header}>"
    return None


def complaints_of_file(path, layer):
    if layer not in MAY_INCLUDE:
        yield 1, f"unknown layer {layer}: name it in {os.path.basename(__file__)}"
        return
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            check = complaint_about_own_header if match[1] == '"' else complaint_about_library
            complaint = check(layer, match[2])
            if complaint:
                yield number, complaint


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    src = os.path.join(sys.argv[1], "src")
    files = 0
    bad = 0
    for path in source_files(src):
        files += 1
        below = os.path.relpath(path, src).split(os.sep)
        layer = below[0] if len(below) > 1 else ""
        for number, complaint in complaints_of_file(path, layer):
            print(f"{os.path.relpath(path, sys.argv[1])}:{number}: {complaint}")
            bad += 1
    if files == 0:
        sys.exit(f"{src}: no source files")
    print(f"{files} files, {bad} forbidden includes")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
