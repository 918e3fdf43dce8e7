#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What scripts/bench makes of the figures: ratios, and the verdicts on what anello must reach.

usage: test_measure.py
"""

import os
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "bench"))

from measure.idle import idle_percent  # noqa: E402 (the path is set just above)
from measure.musts import MUSTS, NANO_EVENTS, Run, judge, judge_all  # noqa: E402
from measure.results import Results  # noqa: E402
from measure.runs import Output, memory_beyond, run_command  # noqa: E402

WORKLOADS = ["int-sieve", "memory-strings", "branch-random", "x87-matrix", "sse-scalar",
             "jit-patch", "os-getppid", "os-fork", "os-exec", "os-pagefault", "os-pingpong"]
PROMPT = "print('shell on /dev/ttyS0', flush=True)"


def results(name, ms, nanos=100):
    """An engine that takes equally long for everything."""
    r = Results(name)
    r.times = {n: [ms] for n in WORKLOADS}
    r.checks = {n: "c" for n in WORKLOADS}
    r.nanos = {n: [nanos] for n in NANO_EVENTS}
    r.boots = [ms]
    return r


def run_of(anello=10, qemu=100):
    anello = results("anello-bt", anello)
    anello.expansions, anello.beyond, anello.idles = [5.0], [90.0], [0.4]
    return Run(results("native", 10), anello, results("qemu", qemu, nanos=400), WORKLOADS)


def verdict(what, run):
    must, = (m for m in MUSTS if what in m.what)
    return judge(must, run)


class Musts(unittest.TestCase):
    def test_each_row_is_judged_when_all_is_measured(self):
        for j in judge_all(run_of()):
            self.assertIn(j.verdict, ("aim reached", "reached"), j.must.what)
            self.assertIsNotNone(j.value)

    def test_between_must_and_aim_is_reached_and_beyond_is_missed(self):
        for ms, expected in ((10, "aim reached"), (14, "reached"), (16, "MISSED")):
            self.assertEqual(verdict("compute", run_of(ms)).verdict, expected)

    def test_more_is_better_where_qemu_is_the_measure(self):
        for qemu, expected in ((90, "aim reached"), (60, "reached"), (40, "MISSED")):
            self.assertEqual(verdict("all workloads, faster", run_of(qemu=qemu)).verdict, expected)

    def test_the_worst_is_named(self):
        run = run_of()
        run.anello.times["x87-matrix"] = [200]
        j = verdict("slowest", run)
        self.assertEqual((j.verdict, j.whose, j.value), ("MISSED", "x87-matrix", 0.5))
        run.anello.nanos["iret"] = [500]
        self.assertEqual(verdict("worst event", run).whose, "iret")

    def test_a_workload_that_is_missing_or_wrong_leaves_its_rows_unmeasured(self):
        for spoil in (lambda r: r.anello.times.pop("int-sieve"),
                      lambda r: r.anello.checks.update({"int-sieve": "other"})):
            run = run_of()
            spoil(run)
            for what in ("compute", "all workloads, to native"):
                j = verdict(what, run)
                self.assertEqual(j.verdict, "not measured: without int-sieve")
                self.assertEqual(j.value_text(), "-")
            self.assertEqual(verdict("x87", run).verdict, "aim reached")

    def test_without_qemu_its_rows_are_unmeasured(self):
        run = run_of()
        run.qemu = None
        unmeasured = [j for j in judge_all(run) if j.value is None]
        self.assertEqual({j.verdict for j in unmeasured}, {"not measured: QEMU was left out"})
        self.assertEqual(len(unmeasured), 6)

    def test_what_was_left_out_is_unmeasured(self):
        run = run_of()
        run.anello.nanos, run.anello.idles, run.anello.expansions = {}, [], []
        run.anello.beyond = []
        for what in ("worst event", "idle", "emitted", "memory beside"):
            self.assertIn("not measured", verdict(what, run).verdict)


class Runs(unittest.TestCase):
    def test_lines_become_figures(self):
        output = run_command([sys.executable, "-c", "print('INIT-REACHED 1\\nBEGIN a\\nCHECK a 77\\n"
                              "BENCH a 1.5 ms\\nNANO int80 300\\nFAILED b\\nBENCH-DONE')"], 60)
        self.assertEqual((output.times, output.checks, output.nanos, output.failed, output.done),
                         ({"a": 1.5}, {"a": "77"}, {"int80": 300}, ["b"], True))
        self.assertGreater(output.peak_kib, 0)

    def test_a_clock_that_differs_is_told(self):
        output = Output()
        for line, now in (("BEGIN a", 1), ("BENCH a 400 ms", 2)):
            output.line(line, now, 0)
        self.assertEqual([name for name, _, _ in output.clock_errors()], ["a"])

    def test_memory_of_a_process_without_a_guest_is_not_told_apart(self):
        self.assertIsNone(memory_beyond(os.getpid()))


class Idle(unittest.TestCase):
    def test_a_process_that_sleeps_takes_little(self):
        percent = idle_percent([sys.executable, "-c", f"{PROMPT}\nimport time\ntime.sleep(100)"],
                               0.5, 60, settle=0.1)
        self.assertLess(percent, 20)

    def test_one_that_ends_before_its_prompt_has_no_figure(self):
        self.assertIsNone(idle_percent([sys.executable, "-c", "print('no')"], 0.5, 60))


if __name__ == "__main__":
    unittest.main()
