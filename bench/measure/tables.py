# SPDX-License-Identifier: MIT
"""The figures of a run as tables for people."""

import statistics

from measure.results import family, geometric_mean, median, ratio


def cell(value, form="{:.2f}"):
    return form.format(value) if value is not None else "-"


def print_table(header, rows, left=1):
    """The first LEFT columns are words."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, ["-" * w for w in widths], *rows]:
        print("  ".join([c.ljust(w) if i < left else c.rjust(w)
                         for i, (c, w) in enumerate(zip(row, widths))]).rstrip())


def print_workloads(native, others):
    names = list(native.times)
    qemu = next((r for r in others if r.name == "qemu"), None)
    header = ["workload", "native ms"]
    for r in others:
        header += [f"{r.name} ms", "x native"]
        if qemu and r.name.startswith("anello"):
            header.append("qemu /")
    rows = []
    for name in names:
        row = [name, cell(native.median(name), "{:.1f}")]
        for r in others:
            wrong = r.checks.get(name) not in (None, native.checks.get(name))
            row += [cell(r.median(name), "{:.1f}"),
                    "WRONG" if wrong else cell(ratio(r, native, name))]
            if qemu and r.name.startswith("anello"):
                inverse = ratio(r, qemu, name)
                row.append(cell(1 / inverse if inverse else None))
        rows.append(row)
    for kind in [*dict.fromkeys(map(family, names)), "all"]:
        chosen = [n for n in names if kind in ("all", family(n))]
        row = [f"mean of {kind}", ""]
        for r in others:
            row += ["", cell(geometric_mean([ratio(r, native, n) for n in chosen]))]
            if qemu and r.name.startswith("anello"):
                mean = geometric_mean([ratio(r, qemu, n) for n in chosen])
                row.append(cell(1 / mean if mean else None))
        rows.append(row)
    print_table(header, rows)


def print_nanos(others):
    names = list(dict.fromkeys(name for r in others for name in r.nanos))
    if not names:
        return
    rows = [[name, *(cell(statistics.median(r.nanos[name]) if name in r.nanos else None, "{:.0f}")
                     for r in others)] for name in names]
    print()
    print_table(["NANO (cycles)", *(r.name for r in others)], rows)


def print_costs(others):
    """What is no workload's."""
    rows = [[r.name, cell(median(r.boots)), cell(r.peak_kib / 1024, "{:.0f}"),
             cell(median(r.beyond), "{:.0f}"), cell(median(r.idles)), cell(median(r.expansions))]
            for r in others]
    print()
    print_table(["engine", "boot to /init s", "peak MiB", "MiB beside RAM", "idle %",
                 "emitted/guest byte"], rows)


def print_musts(title, judgements):
    rows = [[j.must.what, j.verdict, j.value_text(), j.must.limit_text(), j.must.aim_text()]
            for j in judgements]
    print()
    print_table([title, "verdict", "measured", "must", "aim"], rows, left=2)
