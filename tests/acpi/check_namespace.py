#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Evaluates the boards' ACPI methods in ACPICA's acpiexec and compares what they give.

usage: check_namespace.py DUMP_TABLES ACPIEXEC IASL
"""

import os
import re
import subprocess
import sys
import tempfile


class Board:
    """Evaluates methods in the tables that DUMP_TABLES writes."""

    def __init__(self, acpiexec, folder):
        self.acpiexec, self.folder = acpiexec, folder

    def run(self, command):
        """The output of one debugger command, failing on any complaint about the tables."""
        tables = [os.path.join(self.folder, name)
                  for name in ("dsdt.aml", "ssdt.aml", "routing.aml")]
        for _ in range(5):
            done = subprocess.run([self.acpiexec, "-b", command] + tables, capture_output=True,
                                  text=True, timeout=300, check=False)
            text = done.stdout + done.stderr
            if "AE_AML_LOOP_TIMEOUT" not in text:  # on a busy host
                break
        for line in text.splitlines():
            assert "Error" not in line and "AE_" not in line, f"{command}: {line}"
        return text

    def evaluate(self, name):
        """The text of the value of `name`."""
        text = self.run(f"evaluate {name}")
        assert "returned object" in text, f"{name}: {text}"
        return text[text.index("returned object"):]

    def integers(self, name):
        return [int(v, 16) for v in re.findall(r"\[Integer\] = ([0-9A-F]+)", self.evaluate(name))]


def check_soft_off(board):
    assert board.integers("\\_S5") == [0, 0, 0, 0]


def check_routing(board):
    """Pin p of slot s: link (s + p + 3) mod 4, but the SCI for the power management function."""
    rows = []
    for first in range(0, 128, 16):
        text = board.evaluate(f"\\ROWS {first}")
        rows += re.findall(r"\[Integer\] = ([0-9A-F]+)\s+\[Integer\] = ([0-9A-F]+)\s+"
                           r"\[Object Reference\] .*Name (LNK[A-DS])", text)
    assert len(rows) == 128, len(rows)
    for n, (address, pin, link) in enumerate(rows):
        slot, p = n // 4, n % 4
        expected = "S" if n == 4 else "ABCD"[(slot + p + 3) % 4]
        assert int(address, 16) == slot << 16 | 0xFFFF, rows[n]
        assert int(pin, 16) == p, rows[n]
        assert link == "LNK" + expected, (n, link, expected)


def check_routing_of_q35(board):
    """Pin p of slot s: E to H by (s + p) mod 4 for cards, A to D by p inside the ICH9; the interrupt
    links of the 8259s, or pins 16 to 23 of the I/O APIC."""
    for apic in (0, 1):
        rows = []
        for first in range(0, 128, 16):
            text = board.evaluate(f"\\ROWQ {apic} {first}")
            rows += re.findall(r"\[Integer\] = ([0-9A-F]+)\s+\[Integer\] = ([0-9A-F]+)\s+"
                               r"(?:\[Object Reference\] .*Name LNK|\[Integer\] = )([A-H0]+)\s.*"
                               r"\s+\[Integer\] = ([0-9A-F]+)", text)
        assert len(rows) == 128, len(rows)
        for n, (address, pin, link, gsi) in enumerate(rows):
            slot, p = n // 4, n % 4
            line = 4 + (slot + p) % 4 if slot < 25 else p
            assert int(address, 16) == slot << 16 | 0xFFFF, rows[n]
            assert int(pin, 16) == p, rows[n]
            expected = (0, 16 + line) if apic else ("ABCDEFGH"[line], 0)
            assert (int(link) if apic else link, int(gsi, 16)) == expected, (n, link, gsi)


def check_configuration_space(board):
    """The board keeps the 256 MiB at B0000000h for it."""
    text = board.evaluate("\\_SB.PCI0.ISA.CHIP._CRS")
    window = (0xB0000000).to_bytes(4, "little") + (0x10000000).to_bytes(4, "little")
    assert window in buffer_bytes(text), text


def check_status(board):
    for device in ("HPET", "PCI0.ISA.COM1", "PCI0.ISA.COM2"):
        assert board.integers(f"\\_SB.{device}._STA") == [0x0F], device


def check_floppies(board):
    """A drive of 1.44 MB and one of 1.2 MB."""
    fdc = "\\_SB.PCI0.ISA.FDC0"
    assert board.integers(f"{fdc}._STA") == [0x0F]
    present = buffer_bytes(board.evaluate(f"{fdc}._FDE"))
    assert [present[at] for at in range(0, 20, 4)] == [1, 1, 0, 0, 2], present
    first, second = (board.integers(f"{fdc}.FLP{n}._FDI") for n in "AB")
    assert first[:5] == [0, 4, 79, 18, 1] and len(first) == 16, first
    assert second[:5] == [1, 2, 79, 15, 1], second


def buffer_bytes(text):
    data = bytearray()
    for line in re.findall(r"^\s*[0-9A-F]{2,8}: ((?:[0-9A-F]{2} )+)", text, re.M):
        data += bytes.fromhex(line)
    return data


def check_windows(board):
    """PCI memory begins where RAM ends (512 MiB) and ends below the I/O APIC."""
    text = board.evaluate("\\_SB.PCI0._CRS")
    data = buffer_bytes(text)
    window = (0x20000000).to_bytes(4, "little") + (0xFEBFFFFF).to_bytes(4, "little")
    assert window in data, text
    length = data[data.index(window) + 12:][:4]
    assert int.from_bytes(length, "little") == 0xFEC00000 - 0x20000000


def check_processors(board):
    names = re.findall(r"\bC0[0-9A-F]{2}\b", board.run("namespace \\_SB"))
    assert sorted(set(names)) == ["C000", "C001"], names


def main():
    if sys.argv[2].endswith("NOTFOUND"):
        print("acpiexec is not installed: scripts/setup")
        sys.exit(77)
    common = (check_soft_off, check_status, check_floppies, check_windows, check_processors)
    check_board(sys.argv[1:4], "pc", (*common, check_routing))
    check_board(sys.argv[1:4], "q35", (*common, check_routing_of_q35, check_configuration_space))


def check_board(tools, name, checks):
    dump, acpiexec, iasl = tools
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([dump, name, folder], check=True)
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "routing.asl")
        subprocess.run([iasl, "-vs", "-p", os.path.join(folder, "routing"), source], check=True,
                       stdout=subprocess.DEVNULL)
        board = Board(acpiexec, folder)
        for check in checks:
            check(board)
            print(name, check.__name__, "ok")


if __name__ == "__main__":
    main()
