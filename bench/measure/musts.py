# SPDX-License-Identifier: MIT
"""What anello must reach, row by row, and whether a run shows it.

A row is measured when every figure that it is made of is there: the mean of half of the workloads
is no verdict on all of them. A row that was not measured says what was missing.
"""

import dataclasses
from typing import Callable

from measure.results import family, geometric_mean, median, ratio

COMPUTE = ("int", "memory", "branch", "x87", "sse")
# The events whose worst figure is judged; the others are in the table of the nanobenchmark alone.
NANO_EVENTS = ("int80", "sysenter", "port-read", "cr3-write", "tpr-write", "call-ret", "page-fault",
               "divide-error", "pte-invlpg", "demand-fault", "switch-16", "cli-popf", "iret", "smc",
               "write-beside")


class Unmeasured(Exception):
    """The message says what this run lacks."""


@dataclasses.dataclass
class Run:
    """The engines of a run, and the names of all workloads that there are."""
    native: object
    anello: object
    qemu: object  # or None
    workloads: list

    def names(self, *families):
        return [n for n in self.workloads if not families or family(n) in families]

    def to_native(self, names):
        """Times against native ones, by workload."""
        return self._against(self.native, names)

    def faster_than_qemu(self, names):
        if not self.qemu:
            raise Unmeasured("QEMU was left out")
        return {n: 1 / r for n, r in self._against(self.qemu, names).items()}

    def _against(self, base, names):
        ratios = {n: ratio(self.anello, base, n) for n in names}
        missing = [n for n, r in ratios.items() if r is None]
        if missing:
            raise Unmeasured(f"without {missing[0]}" if len(missing) == 1 else
                             f"{len(missing)} of {len(names)} workloads are missing")
        return ratios

    def nanos_to_qemu(self):
        if not self.qemu:
            raise Unmeasured("QEMU was left out")
        missing = [n for n in NANO_EVENTS if n not in self.anello.nanos or n not in self.qemu.nanos]
        if missing:
            raise Unmeasured("the nanobenchmark was left out" if len(missing) == len(NANO_EVENTS)
                             else f"no figure of {missing[0]}")
        return {n: median(self.anello.nanos[n]) / median(self.qemu.nanos[n]) for n in NANO_EVENTS}


@dataclasses.dataclass
class Must:
    what: str
    limit: float
    aim: float
    measure: Callable  # of a Run: the figure, or (figure, whose it is)
    more_is_better: bool = False
    form: str = "{:.2f}"

    def reaches(self, value, bound):
        return value >= bound if self.more_is_better else value <= bound

    def limit_text(self):
        return self._bound(self.limit)

    def aim_text(self):
        return self._bound(self.aim)

    def _bound(self, bound):
        return ("≥ " if self.more_is_better else "≤ ") + f"{bound:g}"


@dataclasses.dataclass
class Judgement:
    must: Must
    verdict: str
    value: float = None
    whose: str = ""

    def value_text(self):
        if self.value is None:
            return "-"
        return self.must.form.format(self.value) + (f" ({self.whose})" if self.whose else "")


def mean(values):
    return geometric_mean(values.values())


def least(values):
    name = min(values, key=values.get)
    return values[name], name


def most(values):
    name = max(values, key=values.get)
    return values[name], name


def one(values, why):
    """The median of a figure that is not a workload's."""
    if not values:
        raise Unmeasured(why)
    return median(values)


def boot_to_qemu(run):
    if not run.qemu:
        raise Unmeasured("QEMU was left out")
    return one(run.qemu.boots, "no boot under QEMU") / one(run.anello.boots, "no boot")


MUSTS = [
    Must("compute workloads, to native", 1.5, 1.1,
         lambda r: mean(r.to_native(r.names(*COMPUTE)))),
    Must("all workloads, to native", 2.0, 1.2, lambda r: mean(r.to_native(r.names()))),
    Must("all workloads, faster than QEMU", 5, 8,
         lambda r: mean(r.faster_than_qemu(r.names())), more_is_better=True),
    Must("the slowest of them, faster than QEMU", 1, 1,
         lambda r: least(r.faster_than_qemu(r.names())), more_is_better=True),
    Must("system call (os-getppid), to native", 1.5, 1.0,
         lambda r: mean(r.to_native(["os-getppid"]))),
    Must("fork, exec, page fault, ping-pong: least, faster than QEMU", 1.5, 4,
         lambda r: least(r.faster_than_qemu(["os-fork", "os-exec", "os-pagefault", "os-pingpong"])),
         more_is_better=True),
    Must("x87, to native", 1.4, 1.1, lambda r: mean(r.to_native(r.names("x87")))),
    Must("SSE, to native", 1.4, 1.1, lambda r: mean(r.to_native(r.names("sse")))),
    Must("REP string operations, to native", 1.4, 1.1,
         lambda r: mean(r.to_native(["memory-strings"]))),
    Must("self-modifying code: least, faster than QEMU", 2, 2,
         lambda r: least(r.faster_than_qemu(r.names("jit"))), more_is_better=True),
    Must("emitted bytes for a guest byte", 8, 4,
         lambda r: one(r.anello.expansions, "the engine does not translate")),
    Must("boot to /init, faster than QEMU", 1.5, 4, boot_to_qemu, more_is_better=True),
    Must("nanobenchmark: worst event, to QEMU", 1, 0.33, lambda r: most(r.nanos_to_qemu())),
    Must("memory beside guest RAM, MiB", 256, 64,
         lambda r: one(r.anello.beyond, "no run came to its end"), form="{:.0f}"),
    Must("idle guest, percent of a core", 2, 0.5,
         lambda r: one(r.anello.idles, "it was left out")),
]


def judge(must, run):
    try:
        figure = must.measure(run)
    except Unmeasured as lack:
        return Judgement(must, f"not measured: {lack}")
    value, whose = figure if isinstance(figure, tuple) else (figure, "")
    verdict = "aim reached" if must.reaches(value, must.aim) else \
        "reached" if must.reaches(value, must.limit) else "MISSED"
    return Judgement(must, verdict, value, whose)


def judge_all(run):
    return [judge(must, run) for must in MUSTS]
