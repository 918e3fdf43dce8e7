# SPDX-License-Identifier: MIT
"""A machine as a process whose serial line is its standard output. It knows nothing of what the
guest does."""

import os
import subprocess
import threading


class SerialGuest:
    """`text` grows with what the guest prints."""

    def __init__(self, command, accel):
        if accel:
            command = [*command, "-accel", accel]
        self.text = ""
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        while data := os.read(self.process.stdout.fileno(), 65536):
            self.text += data.decode("latin-1").replace("\r", "")
