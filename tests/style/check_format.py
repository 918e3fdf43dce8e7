#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Fails when clang-format would change a C file of the tree; names each such file and line.

usage: check_format.py SOURCE_ROOT CLANG_FORMAT
"""

import os
import subprocess
import sys

FOLDERS = ["src", "tests", "bench"]


def c_files(root):
    for top in FOLDERS:
        for folder, _, names in sorted(os.walk(os.path.join(root, top))):
            for name in sorted(names):
                if name.endswith((".c", ".h")):
                    yield os.path.join(folder, name)


def main():
    root, clang_format = sys.argv[1], sys.argv[2]
    if clang_format.endswith("NOTFOUND"):
        print("clang-format is not installed: scripts/setup")
        sys.exit(77)
    files = list(c_files(root))
    command = [clang_format, "--dry-run", "-Werror", "--style=file", "--ferror-limit=3"]
    result = subprocess.run(command + files, cwd=root, capture_output=True, text=True)
    complaints = [line for line in result.stderr.splitlines() if ": error:" in line]
    for line in complaints:
        print(os.path.relpath(line.split(": error:")[0], root))
    print(f"{len(files)} files; where one is named above: clang-format -i FILE")
    sys.exit(1 if result.returncode else 0)


if __name__ == "__main__":
    main()
