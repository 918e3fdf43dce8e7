# SPDX-License-Identifier: MIT
"""What a guest costs that has nothing to do: the share of a core that its process takes while Linux
waits at its shell prompt. (Debian's 686 kernel has a periodic tick: 250 interrupts a second.)"""

import os
import subprocess
import threading
import time

from measure.runs import kill_session

PROMPT = b"shell on /dev/ttyS0"
SETTLE = 6  # seconds: the kernel still looks for hardware when the shell is there


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def idle_percent(command, seconds, patience, settle=SETTLE):
    """Of COMMAND, whose guest shows its prompt within PATIENCE seconds; None if it does not."""
    # A terminal that nobody types on: an input that has ended would be another thing.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, start_new_session=True) as process:
        killer = threading.Timer(patience, kill_session, [process])
        killer.start()
        try:
            text = b""
            while PROMPT not in text:
                data = os.read(process.stdout.fileno(), 65536)
                if not data:
                    return None
                text += data
            killer.cancel()
            time.sleep(settle)
            used, since = cpu_seconds(process.pid), time.monotonic()
            time.sleep(seconds)
            return 100 * (cpu_seconds(process.pid) - used) / (time.monotonic() - since)
        finally:
            killer.cancel()
            kill_session(process)
