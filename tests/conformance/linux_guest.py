# SPDX-License-Identifier: MIT
"""Runs programs one after the other inside a Linux guest that is made of Debian's kernel and busybox,
and brings back what they printed. Used by linux-user and testfloat."""

import argparse
import collections
import os
import re
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(TOP, "tests", "boot"), os.path.join(TOP, "bench")]
from guest import Failure, Guest  # pylint: disable=wrong-import-position
from initramfs import Cpio, contents  # pylint: disable=wrong-import-position

# A run: `command` is a line for the shell in the folder of the programs. Of a `digest` run only the
# MD5 sum of its text comes back.
Run = collections.namedtuple("Run", "name command digest")

INIT = """#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
ifconfig lo 127.0.0.1 up
cd /tests
while read -r name filter command; do
    echo "@@ begin $name"
    # The inner subshell keeps the shell's word about a signal out of the text. The status is said
    # when the pipe is closed: a child that the program leaves behind may still be printing.
    ( (env -i PATH=/bin sh -c "$command" </dev/null 2>&1); echo "status $?" >/status) 2>/dev/null |
        (cat; cat /status) | $filter
    echo "@@ end $name"
done </list
echo @@ done
poweroff -f
"""


def work_folder():
    folder = os.path.join(TOP, "build", "conformance")
    os.makedirs(folder, exist_ok=True)
    return folder


def path_from(script, name):
    """What scripts/guests or scripts/suites has fetched under that name."""
    command = [os.path.join(TOP, "scripts", script)]
    subprocess.run(command + [name], check=True)
    return subprocess.run(command + ["--path", name], check=True, text=True,
                          stdout=subprocess.PIPE).stdout.strip()


def option_parser(description):
    parser = argparse.ArgumentParser(description=description,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=os.path.join(TOP, "build", "anello"))
    parser.add_argument("--accel", default="interp")
    parser.add_argument("--cpu", default="host")
    parser.add_argument("--kernel", default="amd64", choices=["amd64", "686-pae", "686"])
    parser.add_argument("--timeout", type=int, default=3600, metavar="SECONDS")
    return parser


def write_initramfs(path, busybox, programs, runs):
    cpio = Cpio()
    for folder in ("bin", "dev", "proc", "sys", "tests", "tmp"):
        cpio.add(folder, 0o40755)
    cpio.add("dev/console", 0o20600, device=(5, 1))
    cpio.add("bin/busybox", 0o100755, contents(busybox))
    cpio.add("init", 0o100755, INIT.encode())
    cpio.add("list", 0o100644, "".join(f"{run.name} {'md5sum' if run.digest else 'cat'} {run.command}\n"
                                       for run in runs).encode())
    for program in programs:
        cpio.add(f"tests/{os.path.basename(program)}", 0o100755, contents(program))
    with open(path, "wb") as file:
        file.write(cpio.finish())


def run_guest(options, programs, runs):
    """Name of a run -> its text in the guest, ending with its status or all of it as a digest; what
    was not reached is missing."""
    arch = "amd64" if options.kernel == "amd64" else "i386"
    kernel = path_from("guests", f"kernel-{options.kernel}")
    busybox = os.path.join(path_from("guests", f"busybox-{arch}"), "busybox")
    initramfs = os.path.join(work_folder(), f"initramfs-{os.getpid()}")
    write_initramfs(initramfs, busybox, programs, runs)
    arguments = ["-m", "1G", "-cpu", options.cpu, "-kernel", os.path.join(kernel, "vmlinuz"),
                 "-initrd", initramfs, "-no-reboot", "-append",
                 "console=ttyS0 quiet loglevel=1 panic=-1 random.trust_cpu=on"]
    with Guest(options.binary, arguments, options.accel) as guest:
        try:
            guest.wait_serial("@@ done", options.timeout)
        except Failure as failure:
            print(failure)
        text = guest.serial
    os.remove(initramfs)
    return dict(re.findall(r"(?s)@@ begin (\S+)\n(.*?)@@ end \1\n", text))
