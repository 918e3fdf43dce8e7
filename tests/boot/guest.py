# SPDX-License-Identifier: MIT
"""A running virtual machine, seen the way a person sees it: a serial line, a screen, a keyboard.

The machine is driven through its human monitor, whose commands QEMU and anello have in common, so
every expectation can first be proved under QEMU and then be asked of anello. Text is waited for,
never slept for, except where only time can tell (a key repeated until the guest reacts).
"""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time

SCREEN_BASE = 0xB8000
SCREEN_BYTES = 0x8000  # the whole text window: Linux scrolls by moving the start address
COLUMNS = 80
PROMPT = b"(qemu) "

# HMP names of the keys behind printable characters; letters and digits are their own names.
KEY_NAMES = {
    " ": "spc", "\n": "ret", "-": "minus", "=": "equal", "/": "slash", ".": "dot", ",": "comma",
    ";": "semicolon", "'": "apostrophe", "_": "shift-minus", ":": "shift-semicolon",
    "+": "shift-equal", "(": "shift-9", ")": "shift-0", "*": "shift-8", "&": "shift-7",
    "|": "shift-backslash", "\\": "backslash", "?": "shift-slash", ">": "shift-dot",
    "$": "shift-4",
}


class Failure(Exception):
    """An expectation that did not come true; the message says which and what was seen."""


class Unavailable(Exception):
    """The machine refused an option because this version does not have the part."""


class Guest:
    def __init__(self, binary, arguments, accel=None, patience=1.0):
        self.patience = patience
        self.folder = tempfile.mkdtemp(prefix="anello-boot-")
        self.monitor_path = os.path.join(self.folder, "monitor")
        self.command = [binary, *arguments, "-display", "none", "-serial", "stdio",
                        "-monitor", f"unix:{self.monitor_path},server,nowait"]
        if accel:
            self.command += ["-accel", accel]
        self.monitor = None
        self.serial = ""
        self.errors = open(os.path.join(self.folder, "stderr"), "w+", encoding="utf-8")
        self.started = time.monotonic()
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.errors)
        self.reader = threading.Thread(target=self._read_serial, daemon=True)
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.monitor:
            self.monitor.close()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdin.close()
        self.reader.join(5)
        self.said = self.complaints()  # checks may follow
        self.errors.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # ---- what the guest says

    def _read_serial(self):
        while data := os.read(self.process.stdout.fileno(), 65536):
            self.serial += data.decode("latin-1").replace("\r", "")

    def screen(self):
        """The lines of the VGA text memory, all of it, empty ones left out."""
        path = os.path.join(self.folder, "screen")
        if os.path.exists(path):
            os.remove(path)
        self.command_monitor(f'pmemsave {SCREEN_BASE:#x} {SCREEN_BYTES} "{path}"')
        try:
            with open(path, "rb") as file:
                cells = file.read()
        except OSError:
            return ""
        text = cells[::2].decode("cp437").replace("\0", " ")
        rows = (text[at:at + COLUMNS].rstrip() for at in range(0, len(text), COLUMNS))
        return "\n".join(row for row in rows if row)

    def screendump(self):
        """The picture on the screen as (width, height, RGB bytes)."""
        path = os.path.join(self.folder, "screen.ppm")
        self.command_monitor(f"screendump {path}")
        with open(path, "rb") as file:
            data = file.read()
        magic, width, height, depth = re.match(rb"(P6)\s+(\d+)\s+(\d+)\s+(\d+)\s", data).groups()
        header = re.match(rb"P6\s+\d+\s+\d+\s+\d+\s", data).end()
        assert magic == b"P6" and depth == b"255"
        return int(width), int(height), data[header:]

    # ---- what it is told

    def command_monitor(self, line):
        """Sends one line to the human monitor and returns its answer."""
        try:
            if self.monitor is None:
                self._connect_monitor()
            self.monitor.sendall(line.encode() + b"\n")
            return self._read_answer()
        except OSError:
            self._fail_if_dead(f"the monitor is gone ({line})")
            raise

    def _connect_monitor(self):
        deadline = time.monotonic() + 20
        while True:
            self.monitor = socket.socket(socket.AF_UNIX)
            try:
                self.monitor.connect(self.monitor_path)
                break
            except OSError:
                self.monitor.close()
                self.monitor = None
                self._fail_if_dead("it ended before its monitor could be reached")
                if time.monotonic() > deadline:
                    raise Failure("the monitor's socket did not appear")
                time.sleep(0.05)
        self.monitor.settimeout(20)
        self._read_answer()

    def _read_answer(self):
        answer = b""
        while not answer.endswith(PROMPT):
            data = self.monitor.recv(65536)
            if not data:
                raise OSError("monitor closed")
            answer += data
        text = answer[:-len(PROMPT)].decode("latin-1")
        # QEMU echoes each keystroke of the command; its answer begins on the next line.
        return text.partition("\n")[2] if "\x1b" in text.partition("\n")[0] else text

    def type_serial(self, text):
        try:
            self.process.stdin.write(text.encode())
            self.process.stdin.flush()
        except OSError:
            self._fail_if_dead(f"could not type {text!r}")
            raise

    def keys(self, *names):
        """Presses keys by their HMP names, one after the other."""
        for name in names:
            self.command_monitor(f"sendkey {name}")
            time.sleep(0.12)

    def type_keys(self, text):
        self.keys(*(KEY_NAMES.get(c) or (f"shift-{c.lower()}" if c.isupper() else c)
                    for c in text))

    def complaints(self):
        """What the machine has said on its standard error."""
        if self.errors.closed:
            return self.said
        self.errors.flush()
        with open(self.errors.name, encoding="utf-8") as file:
            return file.read().strip()

    # ---- what is expected

    def _fail(self, why):
        seen = [f"{why} after {time.monotonic() - self.started:.1f} s", f"$ {' '.join(self.command)}"]
        if complaints := self.complaints():
            seen.append(f"--- stderr\n{complaints[-2000:]}")
        if self.serial:
            seen.append("--- serial, last lines\n" + "\n".join(self.serial.split("\n")[-15:]))
        if self.process.poll() is None and self.monitor:
            try:
                seen.append("--- screen\n" + "\n".join(self.screen().split("\n")[-25:]))
                seen.append("--- registers\n" + self.command_monitor("info registers"))
            except (OSError, Failure):
                pass
        raise Failure("\n".join(seen))

    def _fail_if_dead(self, why):
        try:
            status = self.process.wait(0.2)
        except subprocess.TimeoutExpired:
            return
        self.reader.join(2)
        complaint = self.complaints()
        if status == 1 and "not available" in complaint:
            raise Unavailable(complaint)
        self._fail(f"{why}: the machine ended with status {status}")

    def _wait(self, what, look, timeout):
        deadline = time.monotonic() + timeout * self.patience
        while True:
            found = look()
            if found:
                return found
            if self.process.poll() is not None:
                self.reader.join(2)
                found = look() if "screen" not in what else None
                return found or self._fail_if_dead(f"{what} was not seen")
            if time.monotonic() > deadline:
                self._fail(f"{what} was not seen")
            time.sleep(0.1)

    def wait_serial(self, pattern, timeout=60, after=0):
        """Waits until the serial text from position AFTER on matches; returns the match's end."""
        expression = re.compile(pattern)
        match = self._wait(f"/{pattern}/ on the serial line",
                           lambda: expression.search(self.serial, after), timeout)
        return match.end()

    def wait_screen(self, pattern, timeout=60):
        expression = re.compile(pattern)
        return self._wait(f"/{pattern}/ on the screen",
                          lambda: expression.search(self.screen()), timeout)

    def wait_exit(self, status, timeout=60):
        try:
            got = self.process.wait(timeout * self.patience)
        except subprocess.TimeoutExpired:
            self._fail(f"the machine did not end (status {status} was expected)")
        self.reader.join(5)
        if got != status:
            self._fail(f"exit status {got}, expected {status}")

    def check(self, condition, why):
        if not condition:
            self._fail(why)
