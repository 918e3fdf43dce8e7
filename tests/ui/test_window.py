#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The SDL window under a real X server (Xvfb): types, clicks, resizes and looks.

usage: test_window.py WINDOW_PROBE

xdotool plays the user. What the window shows is read from the server's frame buffer, which Xvfb
keeps as a file in XWD format; what the machine hears is read from the probe's stdout.
"""

import ctypes
import os
import queue
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

PROBE = sys.argv.pop(1) if len(sys.argv) > 1 else None
PATIENCE = 20  # seconds; a loaded machine is slow, a right answer is not wrong for that
SCREEN = (1280, 1024)
RED, GREEN, BLUE, WHITE, BLACK = 0xFF0000, 0x00FF00, 0x0000FF, 0xFFFFFF, 0x000000

# X keycodes of the "evdev" keymap (or a keysym: xdotool takes one digit for that) and the HID
# usages that must come out: every kind of key.
KEYS = {
    "Escape": 0x29, 10: 0x1E, 19: 0x27, 20: 0x2D, 22: 0x2A, 23: 0x2B, 24: 0x14, 34: 0x2F, 36: 0x28,
    37: 0xE0, 38: 0x04, 48: 0x34, 49: 0x35, 50: 0xE1, 51: 0x31, 61: 0x38, 62: 0xE5, 63: 0x55,
    64: 0xE2, 65: 0x2C, 66: 0x39, 67: 0x3A, 77: 0x53, 78: 0x47, 79: 0x5F, 82: 0x56, 84: 0x5D,
    86: 0x57, 87: 0x59, 90: 0x62, 91: 0x63, 94: 0x64, 95: 0x44, 96: 0x45, 104: 0x58, 105: 0xE4,
    106: 0x54, 107: 0x46, 108: 0xE6, 110: 0x4A, 111: 0x52, 112: 0x4B, 113: 0x50, 114: 0x4F,
    115: 0x4D, 116: 0x51, 117: 0x4E, 118: 0x49, 119: 0x4C, 127: 0x48, 133: 0xE3, 134: 0xE7,
    135: 0x65,
}


class Xvfb:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="anello-xvfb-")
        read, write = os.pipe()
        size = "%dx%dx24" % SCREEN
        command = ["Xvfb", "-displayfd", str(write), "-screen", "0", size, "-fbdir", self.folder,
                   "-nolisten", "tcp", "-noreset"]
        self.process = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
        os.close(write)
        with os.fdopen(read) as numbers:
            number = numbers.readline().strip()
        if not number:
            raise RuntimeError("Xvfb does not start")
        self.environment = dict(os.environ, DISPLAY=":" + number, LC_ALL="C")
        self.environment.pop("WAYLAND_DISPLAY", None)
        self.environment.pop("SDL_VIDEODRIVER", None)

    def stop(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, *command):
        return subprocess.run(command, env=self.environment, capture_output=True, text=True,
                              timeout=PATIENCE)

    def xdotool(self, *arguments):
        result = self.run("xdotool", *map(str, arguments))
        if result.returncode:
            raise RuntimeError("xdotool %s: %s" % (arguments, result.stderr))
        return result.stdout.strip()

    def picture(self):
        """The screen as a function of x and y (X Window Dump, version 7, 32 bits a pixel)."""
        with open(os.path.join(self.folder, "Xvfb_screen0"), "rb") as file:
            data = file.read()
        header = struct.unpack(">25I", data[:100])
        start = header[0] + header[19] * 12
        order = "<I" if header[7] == 0 else ">I"
        stride = header[12]
        return lambda x, y: struct.unpack_from(order, data, start + y * stride + x * 4)[0] & 0xFFFFFF


class Probe:
    def __init__(self, server):
        self.server = server
        self.process = subprocess.Popen([PROBE], env=server.environment, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1)
        self.lines = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.window = wait(lambda: server.run("xdotool", "search", "--onlyvisible", "--name",
                                              "probe - anello").stdout.split()[:1])[0]
        server.xdotool("windowmove", self.window, 100, 100)
        self.focus()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.strip())

    def command(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def focus(self):
        """Without a window manager the focus is ours to give; keys arrive once it is there."""
        self.server.xdotool("windowfocus", "--sync", self.window)
        self.server.xdotool("mousemove", "--window", self.window, 20, 20)
        for _ in range(100):
            self.server.xdotool("key", 73)  # F7
            try:
                self.expect("key +40", 0.2)
                self.expect("key -40")
                break
            except queue.Empty:
                pass
        else:
            raise RuntimeError("no key arrives")
        self.drain()

    def drain(self):
        time.sleep(0.2)
        while not self.lines.empty():
            self.lines.get_nowait()

    def expect(self, line, patience=PATIENCE):
        end = time.monotonic() + patience
        seen = []
        while True:
            try:
                seen.append(self.lines.get(timeout=max(0.01, end - time.monotonic())))
            except queue.Empty:
                if patience == PATIENCE:
                    raise AssertionError("waited for '%s', heard %s" % (line, seen)) from None
                raise
            if re.fullmatch(line.replace("+", r"\+"), seen[-1]):
                return seen[-1]

    def geometry(self):
        text = self.server.xdotool("getwindowgeometry", "--shell", self.window)
        values = dict(line.split("=") for line in text.split())
        return tuple(int(values[k]) for k in ("X", "Y", "WIDTH", "HEIGHT"))

    def title(self):
        return self.server.xdotool("getwindowname", self.window)

    def stop(self):
        if self.process.poll() is None:
            self.command("quit")
            self.process.wait(timeout=PATIENCE)
        self.process.stdin.close()
        self.reader.join(timeout=PATIENCE)
        self.process.stdout.close()


def wait(condition):
    """The first true value of condition(), or an assertion."""
    end = time.monotonic() + PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("waited in vain for " + (condition.__doc__ or "a condition"))
        time.sleep(0.05)


def close_by_window_manager(display, window):
    """Sends WM_DELETE_WINDOW as the close button of a window manager does."""
    x11 = ctypes.CDLL("libX11.so.6")
    x11.XOpenDisplay.restype = ctypes.c_void_p
    x11.XOpenDisplay.argtypes = [ctypes.c_char_p]
    x11.XInternAtom.restype = ctypes.c_ulong
    x11.XInternAtom.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    x11.XSendEvent.argtypes = [ctypes.c_void_p, ctypes.c_ulong, ctypes.c_int, ctypes.c_long,
                               ctypes.c_void_p]
    x11.XCloseDisplay.argtypes = [ctypes.c_void_p]
    connection = x11.XOpenDisplay(display.encode())
    protocols = x11.XInternAtom(connection, b"WM_PROTOCOLS", 0)
    delete = x11.XInternAtom(connection, b"WM_DELETE_WINDOW", 0)
    client_message = 33
    # XClientMessageEvent: type, serial, send_event, display, window, message_type, format, data.
    event = struct.pack("iLiPLLi5l", client_message, 0, 1, connection, window, protocols, 32,
                        delete, 0, 0, 0, 0)
    x11.XSendEvent(connection, window, 0, 0, ctypes.create_string_buffer(event, 192))
    x11.XCloseDisplay(connection)


class ProbeTest(unittest.TestCase):
    def start(self, window_manager=None):
        self.server = Xvfb()
        self.addCleanup(self.server.stop)
        if window_manager:
            manager = subprocess.Popen(window_manager, env=self.server.environment)
            self.addCleanup(manager.wait)
            self.addCleanup(manager.terminate)
            wait(lambda: "window id" in self.server.run("xprop", "-root",
                                                        "_NET_SUPPORTING_WM_CHECK").stdout)
        self.probe = Probe(self.server)
        self.addCleanup(self.probe.stop)

    def assert_quarters(self, shape):
        """The picture fills the window as far as its shape allows, the rest is black."""
        def right():
            x, y, width, height = self.probe.geometry()
            ratio = shape[0] / shape[1]
            w, h = (width, width / ratio) if width / height < ratio else (height * ratio, height)
            left, top = x + (width - w) / 2, y + (height - h) / 2
            at = self.server.picture()
            seen = [at(int(left + w * a), int(top + h * b))
                    for b in (0.05, 0.95) for a in (0.05, 0.95)]
            if w < width - 8:
                seen.append(at(x + 2, y + height // 2))
            elif h < height - 8:
                seen.append(at(x + width // 2, y + 2))
            else:
                seen.append(BLACK)
            return seen == [RED, GREEN, BLUE, WHITE, BLACK]
        right.__doc__ = "four quarters"
        wait(right)


class WindowTest(ProbeTest):
    def setUp(self):
        self.start()

    def test_window_has_the_size_of_the_screen_and_follows_it(self):
        wait(lambda: self.probe.geometry()[2:] == (320, 200))
        self.assert_quarters((320, 200))
        self.probe.command("size 640 480")
        wait(lambda: self.probe.geometry()[2:] == (640, 480))
        self.assert_quarters((640, 480))

    def test_resized_window_scales_the_picture_in_its_shape(self):
        for size in ((700, 500), (500, 700), (960, 600), (150, 100)):
            self.server.xdotool("windowsize", self.probe.window, *size)
            wait(lambda: self.probe.geometry()[2:] == size)
            self.assert_quarters((320, 200))
        # The user's size stays when the guest's changes.
        self.probe.command("size 300 300")
        self.assert_quarters((300, 300))
        self.assertEqual(self.probe.geometry()[2:], (150, 100))

    def test_keys_arrive_by_position(self):
        for code, usage in KEYS.items():
            self.server.xdotool("key", code)
            self.probe.expect("key +%02x" % usage)
            self.probe.expect("key -%02x" % usage)

    def test_dead_keys_are_keys(self):
        layout = self.server.run("setxkbmap", "-layout", "us", "-variant", "intl")
        if layout.returncode:
            self.skipTest("no setxkbmap")
        self.probe.drain()
        self.server.xdotool("key", 48)  # dead_acute
        self.probe.expect("key +34")
        self.probe.expect("key -34")
        self.server.xdotool("key", 26)  # e
        self.probe.expect("key +08")
        self.probe.expect("key -08")

    def test_losing_the_focus_releases_held_keys(self):
        self.server.xdotool("keydown", 37, "keydown", 38)
        self.probe.expect("key +e0")
        self.probe.expect("key +04")
        root = self.server.run("xdotool", "search", "--maxdepth", "0", ".*").stdout.split()[0]
        self.server.xdotool("windowfocus", root)
        self.assertEqual({self.probe.expect("key -.."), self.probe.expect("key -..")},
                         {"key -e0", "key -04"})
        self.server.xdotool("keyup", 38, "keyup", 37)

    def test_mouse_is_taken_by_a_click_and_released_by_hot_key(self):
        x, y, width, height = self.probe.geometry()
        self.server.xdotool("mousemove", x + width // 2, y + height // 2)
        self.server.xdotool("mousemove_relative", 5, 5)
        self.server.xdotool("click", 1)
        wait(lambda: "Ctrl-Alt-G" in self.probe.title())
        self.probe.drain()  # neither the motion before nor the click itself
        self.server.xdotool("mousemove_relative", 7, 3)
        self.probe.expect("move 7 3 0 0")
        self.server.xdotool("mousedown", 3)
        self.probe.expect("move 0 0 0 2")
        self.server.xdotool("mouseup", 3)
        self.probe.expect("move 0 0 0 0")
        self.server.xdotool("click", 4)  # wheel, away from the user
        self.probe.expect("move 0 0 -1 0")
        self.server.xdotool("key", "ctrl+alt+g")
        wait(lambda: "Ctrl-Alt-G" not in self.probe.title())
        self.probe.drain()
        self.server.xdotool("mousemove_relative", 7, 3)
        time.sleep(0.3)
        self.assertTrue(self.probe.lines.empty())

    def test_hot_keys_are_not_typed(self):
        self.server.xdotool("key", "ctrl+alt+g")
        heard = [self.probe.expect("key -.."), self.probe.expect("key -..")]
        self.probe.drain()
        self.assertNotIn("key -0a", heard)

    def test_title_tells_the_state(self):
        wait(lambda: self.probe.title() == "probe - anello [running]")
        self.probe.command("state paused")
        wait(lambda: self.probe.title() == "probe - anello [paused]")
        self.probe.command("state running")
        wait(lambda: self.probe.title() == "probe - anello [running]")

    def test_closing_asks_first_and_again(self):
        display = self.server.environment["DISPLAY"]
        close_by_window_manager(display, int(self.probe.window))
        self.probe.expect("close 0")
        close_by_window_manager(display, int(self.probe.window))
        self.probe.expect("close 1")
        self.assertIsNone(self.probe.process.poll())
        self.probe.command("quit")
        self.probe.expect("end")
        self.assertEqual(self.probe.process.wait(timeout=PATIENCE), 0)

    def test_idle_window_with_a_cursor_sleeps(self):
        self.probe.command("size 720 400")
        self.probe.command("blink")
        time.sleep(3)  # the first second is lively

        def cpu_seconds():
            with open("/proc/%d/stat" % self.probe.process.pid) as file:
                fields = file.read().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        before = cpu_seconds()
        time.sleep(6)
        self.assertLessEqual(cpu_seconds() - before, 0.09)  # under 1 %, and clock ticks are coarse


@unittest.skipUnless(shutil.which("evilwm") and shutil.which("xprop"), "no window manager here")
class ManagedWindowTest(ProbeTest):
    """What takes a window manager that knows the EWMH."""

    def setUp(self):
        # Its own keys are those of the window unless told otherwise.
        self.start(["evilwm", "-fn", "fixed", "-mask1", "mod4"])

    def test_full_screen_fills_the_screen_and_goes_back(self):
        self.server.xdotool("key", "ctrl+alt+f")
        wait(lambda: self.probe.geometry()[2:] == SCREEN)
        self.assert_quarters((320, 200))
        self.server.xdotool("key", "ctrl+alt+f")
        wait(lambda: self.probe.geometry()[2:] == (320, 200))


class NoDisplayTest(unittest.TestCase):
    def test_missing_display_is_one_line_that_says_what_to_do(self):
        environment = {k: v for k, v in os.environ.items()
                       if k not in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")}
        for display in ({}, {"DISPLAY": ":9999"}):
            result = subprocess.run([PROBE], env={**environment, **display}, text=True,
                                    stdin=subprocess.PIPE, capture_output=True, timeout=PATIENCE)
            self.assertEqual(result.returncode, 1)
            self.assertRegex(result.stderr, r"^no display.*use -display none or -nographic\n$")


if __name__ == "__main__":
    if not PROBE:
        sys.exit(__doc__)
    for tool in ("Xvfb", "xdotool"):
        if not shutil.which(tool):
            print(tool + " is not installed: scripts/setup")
            sys.exit(77)
    unittest.main()
