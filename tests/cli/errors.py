#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Wrong usage and host errors: one line on stderr that says what to do, exit status 1, no file
changed.

usage: errors.py ANELLO
"""

import json
import os
import subprocess
import sys
import tempfile

ANELLO = sys.argv[1]

# Arguments, and what the line must contain.
ERRORS = [
    (["--frobnicate"], "--help"),
    (["-accel", "interp", "-display", "none", "-m"], "SIZE"),
    (["-m", "lots"], "-m 512M"),
    (["bogus"], "--help"),
    (["bogus.img"], "no such file"),
    (["-m", "16K"], "between"),
    (["-hda", "{dir}/absent.img"], "absent.img"),
    (["-hda", "{dir}"], "directory"),
    (["-cdrom", "{dir}/absent.iso"], "absent.iso"),
    (["-kernel", "{dir}/absent"], "absent"),
    (["-kernel", "{dir}/text"], "neither a Linux bzImage nor a multiboot kernel"),
    (["-kernel", "{dir}/cut"], "cut off"),
    (["-append", "x"], "-kernel"),
    (["-accel", "warp"], "interp"),
    (["-accel", "kvm"], "kvm"),
    (["-cpu", "z80"], "pentium"),
    (["-smp", "4"], "-smp 1"),
    (["-nic", "tap"], "user"),
    (["-nic", "user,model=ne2k"], "e1000"),
    (["-nic", "user,colour=red"], "hostfwd"),
    (["-nic", "user,hostfwd=tcp"], "HOSTPORT"),
    (["-nic", "user,tftp=/nonexistent"], "/nonexistent"),
    (["-device", "e1000,netdev=n0"], "-netdev"),
    (["-device", "e1000,mac=1:2"], "52:54:00"),
    (["-device", "e1000,romfile=/nonexistent/rom"], "/nonexistent/rom"),
    (["-netdev", "user"], "id="),
    (["-fda", "{dir}/absent.img"], "absent.img"),
    (["-drive", "if=virtio,file={dir}/absent.img"], "absent.img"),
    (["-device", "virtio-blk-pci,drive=d0"], "if=none"),
    (["-drive", "if=virtio,file={dir}/text,index=9"], "0 to 7"),
    (["-device", "ide-hd,drive=d0,bus=sata.0"], "-device ahci,id=ID"),
    (["-device", "ahci,id=sata", "-device", "ide-hd,drive=d0,bus=sata.6"], "ID.0 to ID.5"),
    (["-device", "ahci,addr=3"], "id is known"),
    (["-machine", "q35", "-device", "ahci,id=sata"], "ide.0 to ide.5"),
    (["-machine", "isapc"], "pc or q35"),
    (["-drive", "if=none,id=d0,file={dir}/text", "-device", "ide-hd,drive=d0"], "-device ahci"),
    (["-device", "ahci", "-drive", "if=none,id=d0,media=cdrom,file={dir}/text", "-device",
      "ide-hd,drive=d0"], "ide-cd"),
    (["-gdb", "tcp::1"], "gdb"),
    (["-rtc", "base=soon"], "utc"),
    (["-serial", "tcp:1"], "stdio"),
    (["-monitor", "unix:/nonexistent/m,server"], "/nonexistent/m"),
    (["-D", "/nonexistent/t", "-d", "int"], "/nonexistent/t"),
    (["-d", "everything"], "in_asm"),
    (["-d", "in_asm,warp"], "'warp'"),
    (["-config", "{dir}/bad.ini"], "bad.ini:2"),
    (["-display", "sdl"], "-display none"),
    (["-drive", "file={dir}/text,format=cow"], "cow"),
    (["image", "info", "x"], "anello image create"),
    (["image", "rebase", "x"], "-b FILE"),
    (["image", "rebase", "-u", "-b", "y", "x"], "-F FORMAT"),
    (["image", "commit"], "usage: anello image commit"),
    (["image", "create", "-f", "vdi", "-o", "subformat=x", "{dir}/x.vdi", "1M"], "for vmdk"),
    (["image", "create", "-f", "qed", "{dir}/x.qed", "1M"], "raw, qcow2, vmdk and vdi"),
    (["image", "convert", "-t", "fast", "{dir}/text", "{dir}/y"], "writeback"),
    (["image", "info", "-c", "x"], "usage: anello image info"),
    (["image", "convert", "-S", "100", "{dir}/text", "{dir}/y"], "multiple of 512"),
    (["image", "convert", "-m", "99", "{dir}/text", "{dir}/y"], "1 to 16"),
    (["image", "convert", "-r", "0", "{dir}/text", "{dir}/y"], "10M"),
    (["image", "convert", "--target-is-zero", "{dir}/text", "{dir}/y"], "-n"),
    (["image", "convert", "-l", "s", "{dir}/text", "{dir}/text", "{dir}/y"], "single image"),
    (["image", "resize", "{dir}/text", "1M", "-1G"], "usage: anello image resize"),
    (["image", "create", "-f", "raw", "{dir}/x.raw", "9E"], "not a size"),
    (["image", "paint", "x"], "usage: anello image"),
]


def make_files(folder):
    with open(os.path.join(folder, "text"), "w", encoding="ascii") as f:
        f.write("not a kernel\n" * 1000)
    header = bytearray(2048)
    header[0x1f1] = 60  # more setup sectors than there are bytes
    header[0x1fe:0x200] = b"\x55\xaa"
    header[0x202:0x206] = b"HdrS"
    header[0x206:0x208] = b"\x0f\x02"
    header[0x211] = 1
    with open(os.path.join(folder, "cut"), "wb") as f:
        f.write(header)
    with open(os.path.join(folder, "faults"), "wb") as f:  # at the reset vector LIDT of zeros, INT3
        f.write(bytes(0xfff0) + b"\x2e\x0f\x01\x1e\x00\x00\xcc" + bytes(9))
    with open(os.path.join(folder, "bad.ini"), "w", encoding="ascii") as f:
        f.write("[machine]\ncolour = red\n")


def snapshot(folder):
    return {name: os.stat(os.path.join(folder, name)).st_mtime_ns for name in os.listdir(folder)}


def check(arguments, expected, folder):
    arguments = [a.format(dir=folder) for a in arguments]
    command = [ANELLO, *arguments]
    if "-accel" not in arguments and arguments[0] not in ("disasm", "image"):
        command += ["-accel", "interp"]
    if "-display" not in arguments and arguments[0] not in ("disasm", "image"):
        command += ["-display", "none"]
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                            timeout=60, env=environment, check=False)
    lines = result.stderr.splitlines()
    if result.returncode != 1:
        return f"status {result.returncode} instead of 1"
    if len(lines) != 1 or not lines[0].startswith("anello: "):
        return f"not one line: {result.stderr!r}"
    if expected not in lines[0]:
        return f"{expected!r} is not in {lines[0]!r}"
    return None


def check_capabilities():
    result = subprocess.run([ANELLO, "capabilities"], capture_output=True, text=True, timeout=60,
                            check=True)
    engines = {e["name"]: e for e in json.loads(result.stdout)["engines"]}
    if set(engines) != {"bt", "interp", "kvm", "check"} or not engines["interp"]["available"]:
        return "capabilities do not name the engines"
    if any(not e["available"] and not e["reason"] for e in engines.values()):
        return "an engine is not available without a reason"
    return None


def check_disasm(folder):
    path = os.path.join(folder, "code")
    with open(path, "wb") as f:
        f.write(bytes.fromhex("89e5 8b4508 0fffc0 f089c0"))
    result = subprocess.run([ANELLO, "disasm", "-b", "32", path], capture_output=True, text=True,
                            timeout=60, check=True)
    lines = result.stdout.splitlines()
    marked = [line for line in lines if line.startswith("!")]
    # Capstone takes UD0 for two bytes; the manual gives it a ModRM byte.
    if len(marked) != 1 or "ud0" not in marked[0]:
        return f"disasm marks {marked}"
    if "mov eax, m32 ss:[ebp+0x8]" not in lines[1] or "(bad)" not in lines[3]:
        return f"disasm prints {lines}"
    return None


def check_triple_fault(folder):
    result = subprocess.run([ANELLO, "-display", "none", "-no-reboot", "-bios",
                             os.path.join(folder, "faults")], capture_output=True, text=True,
                            timeout=60, check=False)
    lines = result.stderr.splitlines()
    if result.returncode != 3 or len(lines) != 1 or "-d cpu_reset" not in lines[0]:
        return f"a triple fault gives status {result.returncode} and {lines}"
    return None


def main():
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        make_files(folder)
        before = snapshot(folder)
        for arguments, expected in ERRORS:
            problem = check(arguments, expected, folder)
            if problem:
                failures += 1
                print(f"{' '.join(arguments)}: {problem}")
        if snapshot(folder) != before:
            failures += 1
            print("a file was changed")
        for problem in (check_capabilities(), check_disasm(folder), check_triple_fault(folder)):
            if problem:
                failures += 1
                print(problem)
    print(f"{len(ERRORS) + 4 - failures} passed, {failures} failed")
    return 1 if failures else 0


sys.exit(main())
