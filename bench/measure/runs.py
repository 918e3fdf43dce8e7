# SPDX-License-Identifier: MIT
"""One run of a program that prints BENCH and NANO lines, watched from outside: what it says, when,
and what it takes of the host."""

import os
import re
import signal
import subprocess
import sys
import threading
import time

CLOCK_TOLERANCE = 0.1  # a guest's clock may differ by this share from the host's ...
CLOCK_SLACK_MS = 100   # ... or by this much, which the serial line and scheduling explain
GUEST_MEMORY = "anello-guest"  # what anello's mappings of guest memory are called


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def die(text):
    say(f"error: {text}")
    sys.exit(1)


class Output:
    """Reads the BENCH and NANO lines of one run, and the host's time of each."""

    def __init__(self):
        self.times = {}      # workload -> milliseconds by the guest's clock
        self.host_times = {} # workload -> milliseconds by the host's clock
        self.checks = {}     # workload -> checksum
        self.nanos = {}      # event -> cycles
        self.failed = []
        self.boot_seconds = None
        self.done = False
        self.begun = None
        self.peak_kib = 0    # largest resident set, guest memory included
        self.beyond = None   # MiB beside guest memory, at the end; None: cannot be told apart

    def line(self, line, now, started):
        words = line.split()
        if not words:
            return
        if words[0] == "BEGIN" and len(words) == 2:
            self.begun = now
        elif words[0] == "CHECK" and len(words) == 3:
            self.checks[words[1]] = words[2]
        elif words[0] == "BENCH" and len(words) == 4:
            self.times[words[1]] = float(words[2])
            if self.begun is not None:
                self.host_times[words[1]] = (now - self.begun) * 1e3
        elif words[0] == "NANO" and len(words) == 3:
            self.nanos[words[1]] = int(words[2])
        elif words[0] in ("FAILED", "NANO-FAILED"):
            self.failed.append(words[1])
        elif words[0] == "INIT-REACHED":
            self.boot_seconds = now - started
        elif words[0] in ("BENCH-DONE", "NANO-DONE"):
            self.done = True

    def clock_errors(self):
        """Workloads whose guest clock disagrees with the host's."""
        for name, guest in self.times.items():
            host = self.host_times.get(name, guest)
            if abs(host - guest) > CLOCK_SLACK_MS + CLOCK_TOLERANCE * host:
                yield name, guest, host


def memory_beyond(pid):
    """MiB of a process beside guest memory, or None where that is not to be told apart."""
    beyond, guest_seen, counts = 0, False, False
    try:
        with open(f"/proc/{pid}/smaps", encoding="ascii", errors="replace") as file:
            for line in file:
                if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                    counts = GUEST_MEMORY not in line
                    guest_seen |= not counts
                elif counts and line.startswith("Pss:"):
                    beyond += int(line.split()[1])
    except OSError:
        return None
    return beyond / 1024 if guest_seen else None


def kill_session(process):
    """Ends a process and what it started (it leads a session of its own)."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def run_command(command, timeout, environment=None):
    """Runs COMMAND to its end and returns its Output."""
    output = Output()
    started = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, env=environment, start_new_session=True)
    errors = []
    collector = threading.Thread(target=lambda: errors.append(process.stderr.read()), daemon=True)
    collector.start()
    killer = threading.Timer(timeout, kill_session, [process])
    killer.start()
    try:
        for raw in process.stdout:
            output.line(raw.decode("latin-1").strip(), time.monotonic(), started)
            if output.done and output.beyond is None:
                output.beyond = memory_beyond(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        kill_session(process)
        raise
    finally:
        killer.cancel()
    collector.join(2)
    process.stdout.close()
    process.stderr.close()
    code = os.waitstatus_to_exitcode(status)
    process.returncode = code
    output.peak_kib = usage.ru_maxrss
    if not output.done:
        message = (errors[0] if errors else b"").decode("latin-1").strip().split("\n")[-1]
        why = f"no end after {timeout} s" if code == -9 else f"ended with status {code}"
        say(f"{' '.join(command)[:200]}: {why}: {message}")
    return output
