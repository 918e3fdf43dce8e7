# SPDX-License-Identifier: MIT
"""What each engine achieved over all rounds, and figures of one against another's."""

import statistics


class Results:
    def __init__(self, name):
        self.name = name
        self.times = {}
        self.nanos = {}
        self.checks = {}
        self.boots = []
        self.idles = []       # percent of a core
        self.expansions = []  # emitted bytes for a guest byte
        self.beyond = []      # MiB beside guest memory
        self.peak_kib = 0
        self.complaints = []

    def add(self, output):
        for name, value in output.times.items():
            self.times.setdefault(name, []).append(value)
        for name, value in output.nanos.items():
            self.nanos.setdefault(name, []).append(value)
        self.checks.update(output.checks)
        if output.boot_seconds is not None:
            self.boots.append(output.boot_seconds)
        if output.beyond is not None and output.times:
            self.beyond.append(output.beyond)
        self.peak_kib = max(self.peak_kib, output.peak_kib)
        self.complaints += [f"{name} failed" for name in output.failed]
        self.complaints += [f"{name}: the guest's clock says {guest:.0f} ms, the host's {host:.0f}"
                            for name, guest, host in output.clock_errors()]
        if not output.done:
            self.complaints.append("a run did not come to its end")

    def add_stats(self, stats):
        """Those of --stats."""
        if stats.get("bt.guest_bytes"):
            self.expansions.append(stats["bt.code_bytes"] / stats["bt.guest_bytes"])

    def median(self, name):
        return median(self.times.get(name))

    def as_json(self):
        return {"times_ms": self.times, "nano_cycles": self.nanos, "checksums": self.checks,
                "boot_seconds": self.boots, "idle_percent": self.idles,
                "emitted_bytes_per_guest_byte": self.expansions, "mib_beyond_guest": self.beyond,
                "peak_rss_kib": self.peak_kib, "complaints": self.complaints}


def median(values):
    return statistics.median(values) if values else None


def ratio(results, base, name):
    """Time against another engine's, or None where a figure is missing or not comparable."""
    mine, theirs = results.median(name), base.median(name)
    if not mine or not theirs or results.checks.get(name) != base.checks.get(name):
        return None
    return mine / theirs


def geometric_mean(values):
    values = [v for v in values if v]
    return statistics.geometric_mean(values) if values else None


def family(name):
    return name.split("-")[0]
