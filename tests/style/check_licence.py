#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Fails when a source file or script does not name its licence (SPDX) in its first lines.

usage: check_licence.py SOURCE_ROOT
"""

import os
import sys

FOLDERS = ["src", "tests", "bench", "scripts"]
SUFFIXES = (".c", ".h", ".S", ".asm", ".py", ".inc")


def is_source(folder, name):
    if name.endswith(SUFFIXES):
        return True
    path = os.path.join(folder, name)
    return "." not in name and os.access(path, os.X_OK)


def main():
    root = sys.argv[1]
    files = 0
    bad = 0
    for top in FOLDERS:
        for folder, _, names in sorted(os.walk(os.path.join(root, top))):
            for name in sorted(names):
                if not is_source(folder, name):
                    continue
                files += 1
                path = os.path.join(folder, name)
                with open(path, encoding="utf-8", errors="replace") as file:
                    head = "".join(file.readline() for _ in range(4))
                if "SPDX-License-Identifier: MIT" not in head:
                    print(f"{os.path.relpath(path, root)}:1: no SPDX-License-Identifier line")
                    bad += 1
    print(f"{files} files, {bad} without a licence")
    sys.exit(1 if bad or not files else 0)


if __name__ == "__main__":
    main()
