#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Images that one of anello and qemu-img has written, read and checked by the other.

usage: agree.py ANELLO [TEST...]
"""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ANELLO = os.path.abspath(sys.argv[1])
MIB = 1 << 20


def run(*command, status=0):
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != status:
        raise RuntimeError(
            f"{' '.join(command)}: exit {result.returncode}\n{result.stdout}{result.stderr}")
    return result.stdout


def anello(*arguments, status=0):
    return run(ANELLO, "image", *arguments, status=status)


def qemu(*arguments):
    return run("qemu-img", *arguments)


def write_disk(path, size, seed):
    """Random data, text that compresses well, and holes."""
    rng = random.Random(seed)
    with open(path, "wb") as f:
        f.truncate(size)
        for _ in range(40):
            f.seek(rng.randrange(size) & ~511)
            length = min(rng.randrange(1, 200000), size - f.tell())
            f.write(rng.randbytes(length) if rng.random() < 0.5 else b"anello " * (length // 7))
        f.truncate(size)


def compare(a, b):
    qemu("compare", a, b)


def qcow2_disks(options):
    """Makes disk.raw anew for each option, plain and compressed: it, and arguments of convert."""
    for i, option in enumerate(options):
        for compressed in ([], ["-c"]):
            if compressed and "preallocation" in option:
                continue
            write_disk("disk.raw", 8 * MIB + 512 * i, i)
            yield option, (["-o", option] if option else []) + compressed


def qemu_writes_anello_reads():
    options = ["", "cluster_size=512", "cluster_size=2M", "compat=0.10", "refcount_bits=1",
               "refcount_bits=64,cluster_size=4k", "compression_type=zstd", "lazy_refcounts=on",
               "preallocation=metadata"]
    for option, extra in qcow2_disks(options):
        qemu("convert", "-f", "raw", "-O", "qcow2", *extra, "disk.raw", "q.qcow2")
        anello("check", "q.qcow2")
        anello("convert", "q.qcow2", "back.raw")
        with open("disk.raw", "rb") as f, open("back.raw", "rb") as g:
            assert f.read() == g.read(), option


def anello_writes_qemu_reads():
    options = ["", "cluster_size=512", "cluster_size=1M", "compat=0.10", "refcount_bits=1",
               "refcount_bits=64,cluster_size=1k", "compression_type=zstd",
               "preallocation=metadata", "preallocation=full"]
    for _, extra in qcow2_disks(options):
        anello("convert", "-f", "raw", "-O", "qcow2", *extra, "disk.raw", "a.qcow2")
        qemu("check", "-f", "qcow2", "a.qcow2")
        compare("disk.raw", "a.qcow2")


OTHER_FORMATS = [("vdi", "static=off"), ("vdi", "static=on")] + [
    ("vmdk", f"subformat={name}") for name in
    ("monolithicSparse", "streamOptimized", "monolithicFlat", "twoGbMaxExtentSparse",
     "twoGbMaxExtentFlat")] + [("vmdk", "zeroed_grain=on")]


def vmdk_and_vdi_are_read_by_both():
    for i, (form, option) in enumerate(OTHER_FORMATS):
        write_disk("disk.raw", 8 * MIB + 512 * i, i + 50)
        qemu("convert", "-f", "raw", "-O", form, "-o", option, "disk.raw", "q." + form)
        anello("check", "q." + form)
        anello("convert", "q." + form, "back.raw")
        compare("disk.raw", "back.raw")
        anello("convert", "-f", "raw", "-O", form, "-o", option, "disk.raw", "a." + form)
        compare("disk.raw", "a." + form)
        qemu("check", "a." + form)
        anello("check", "a." + form)
        ours = json.loads(anello("info", "--output", "json", "q." + form))
        theirs = json.loads(qemu("info", "--output", "json", "q." + form))
        for extent in theirs.get("format-specific", {"data": {}})["data"].get("extents", []):
            extent["format"] = extent["format"] or "SPARSE"
        ours.pop("actual-size"), theirs.pop("actual-size")
        assert ours == theirs, (ours, theirs)


def random_writes(form, disk, rng, size, most):
    """The same writes to a disk, by qemu-io, and to model.raw."""
    commands = []
    with open("model.raw", "r+b") as f:
        for _ in range(10):
            at, byte = rng.randrange(size - most), rng.randrange(256)
            length = rng.randrange(1, most)
            f.seek(at)
            f.write(bytes([byte]) * length)
            commands += ["-c", f"write -P {byte} {at} {length}"]
    run("qemu-io", "-f", form, *commands, disk)


def vmdk_and_vdi_are_written_by_both_in_turn():
    rng = random.Random(11)
    for form, option in OTHER_FORMATS:
        if "stream" in option:
            continue
        disk, size = "turn." + form, 16 * MIB
        anello("create", "-f", form, "-o", option, disk, str(size))
        with open("model.raw", "wb") as f:
            f.truncate(size)
        for _ in range(2):
            random_writes(form, disk, rng, size, 90000)
            # "commit" writes what an overlay holds into the image: a writer of ours
            anello("create", "-f", "qcow2", "-b", disk, "-F", form, "over.qcow2")
            random_writes("qcow2", "over.qcow2", rng, size, 90000)
            anello("commit", "over.qcow2")
            compare("model.raw", disk)
            qemu("check", disk)
            anello("check", disk)


def vmdk_chains_agree():
    write_disk("disk.raw", 4 * MIB, 21)
    for maker, child_maker in ((anello, qemu), (qemu, anello)):
        maker("convert", "-f", "raw", "-O", "vmdk", "disk.raw", "parent.vmdk")
        child_maker("create", "-f", "vmdk", "-b", "parent.vmdk", "-F", "vmdk", "child.vmdk")
        run("qemu-io", "-f", "vmdk", "-c", "write -P 9 70000 100000", "child.vmdk")
        qemu("convert", "-O", "raw", "child.vmdk", "theirs.raw")
        anello("convert", "child.vmdk", "ours.raw")
        compare("theirs.raw", "ours.raw")
        anello("check", "child.vmdk")


def both_write_one_image_in_turn():
    anello("create", "-f", "qcow2", "-o", "cluster_size=4k", "turn.qcow2", "8M")
    with open("model.raw", "wb") as f:
        f.truncate(8 * MIB)
    rng = random.Random(7)
    for turn in range(6):
        name = f"snap{turn}"
        random_writes("qcow2", "turn.qcow2", rng, 8 * MIB, 70000)
        anello("check", "turn.qcow2")
        anello("snapshot", "-c", name, "turn.qcow2")
        qemu("check", "-f", "qcow2", "turn.qcow2")
        compare("model.raw", "turn.qcow2")
        shutil.copy("model.raw", name + ".raw")
    anello("snapshot", "-a", "snap2", "turn.qcow2")
    qemu("check", "-f", "qcow2", "turn.qcow2")
    compare("snap2.raw", "turn.qcow2")
    qemu("snapshot", "-a", "snap4", "turn.qcow2")
    anello("check", "turn.qcow2")
    anello("convert", "turn.qcow2", "back.raw")
    compare("snap4.raw", "back.raw")
    for turn in range(6):
        anello("snapshot", "-d", f"snap{turn}", "turn.qcow2")
        qemu("check", "-f", "qcow2", "turn.qcow2")
    compare("snap4.raw", "turn.qcow2")
    assert "snap" not in qemu("snapshot", "-l", "turn.qcow2")


def backing_chains_agree():
    write_disk("base.raw", 4 * MIB, 3)
    anello("create", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "mid.qcow2")
    run("qemu-io", "-f", "qcow2", "-c", "write -P 17 100000 300000", "mid.qcow2")
    anello("create", "-f", "qcow2", "-b", "mid.qcow2", "-F", "qcow2", "top.qcow2", "6M")
    run("qemu-io", "-f", "qcow2", "-c", "write -P 18 5000000 100000", "-c", "write -z 65536 65536",
        "top.qcow2")
    anello("check", "top.qcow2")
    qemu("convert", "-O", "raw", "top.qcow2", "theirs.raw")
    anello("convert", "top.qcow2", "ours.raw")
    compare("theirs.raw", "ours.raw")
    info = json.loads(anello("info", "--output", "json", "top.qcow2"))
    assert info["backing-filename"] == "mid.qcow2" and info["virtual-size"] == 6 * MIB
    theirs = json.loads(qemu("info", "--output", "json", "top.qcow2"))
    assert theirs["virtual-size"] == info["virtual-size"]
    assert theirs["cluster-size"] == info["cluster-size"]
    assert theirs["format-specific"] == info["format-specific"], info["format-specific"]


def make_chain(form):
    """base <- mid <- top, each with data of its own; top is larger, mid shorter than base."""
    for name in ("base.raw", "base", "mid", "top"):
        if os.path.exists(name):
            os.remove(name)
    write_disk("base.raw", 6 * MIB, 31)
    qemu("convert", "-f", "raw", "-O", form, "base.raw", "base")
    qemu("create", "-f", "qcow2", "-b", "base", "-F", form, "mid", "5M")
    run("qemu-io", "-f", "qcow2", "-c", "write -P 17 100000 300000", "mid")
    qemu("create", "-f", "qcow2", "-b", "mid", "-F", "qcow2", "top", "6M")
    run("qemu-io", "-f", "qcow2", "-c", "write -P 18 5000000 100000", "-c",
        "write -z 131072 131072", "-c", "write -P 19 0 700", "top")
    qemu("convert", "-O", "raw", "top", "model.raw")


def compare_with_model(disk):
    qemu("convert", "-O", "raw", disk, "shown.raw")
    with open("model.raw", "rb") as f, open("shown.raw", "rb") as g:
        model, shown = f.read(), g.read()
    assert model == shown[:len(model)] and not any(shown[len(model):]), disk


def commits_keep_what_is_seen():
    for form in ("raw", "qcow2", "vmdk", "vdi"):
        make_chain(form)
        assert "committed" in anello("commit", "top")
        compare_with_model("top")
        assert json.loads(qemu("map", "--output", "json", "top"))[0]["depth"] == 1  # empty
        for name in ("mid", "top"):
            qemu("check", name)
        make_chain(form)
        anello("commit", "-q", "-d", "mid")
        compare_with_model("top")
        make_chain(form)
        anello("commit", "-p", "-b", "base", "top")
        compare_with_model("base")
        if form != "raw":
            qemu("check", "base")
        make_chain(form)
        anello("commit", "-b", "absent", "top", status=1)
        compare_with_model("top")
    anello("commit", "base", status=1)


def make_vmdk_chain(maker, ids):
    """base <- mid <- top; `ids`: as many digits have those by which mid knows base."""
    write_disk("base.raw", 6 * MIB, 35)
    qemu("convert", "-f", "raw", "-O", "vmdk", "base.raw", "base")
    narrow_ids("base", "CID=", ids)
    for name, below in (("mid", "base"), ("top", "mid")):
        maker("create", "-f", "vmdk", "-b", below, "-F", "vmdk", name)
        if name == "mid":
            narrow_ids(name, "parentCID=", ids)
        at = 100000 if name == "mid" else 3000000
        run("qemu-io", "-f", "vmdk", "-c", f"write -P 17 {at} 300000", name)
    qemu("convert", "-f", "vmdk", "-O", "raw", "top", "model.raw")


def narrow_ids(path, key, digits):
    """qemu-img writes ids without zeros in front; here, one with the last digits of the old."""
    with open(path, "r+b") as f:
        text = f.read(65536)
        at = text.index(b"\n" + key.encode()) + 1 + len(key)
        end = text.index(b"\n", at)
        gap = max(end - digits - at, 0)
        tail = text.index(b"\0", end)
        f.seek(at)
        f.write(text[at + gap:tail] + bytes(gap))


def vmdk_commits_keep_what_is_seen():
    for maker, ids in ((anello, 8), (qemu, 8), (anello, 7), (qemu, 6)):
        for arguments in (["mid"], ["-d", "mid"], ["-b", "base", "top"]):
            make_vmdk_chain(maker, ids)
            before = read_ids("base")
            anello("commit", *arguments)
            assert read_ids("base") != before  # other children are to know
            compare_with_model("top")
            compare(arguments[-1], "base")
            anello("convert", "top", "ours.raw")
            compare("model.raw", "ours.raw")
            for name in ("base", "mid", "top"):
                anello("check", name)
    make_vmdk_chain(anello, 8)
    killed_when_a_file_grows("commit", "-d", "mid")
    compare_with_model("top")
    anello("commit", "-d", "mid")
    compare_with_model("top")
    before = read_ids("base")
    anello("create", "-f", "vmdk", "-b", "base", "-F", "vmdk", "nothing")
    anello("commit", "nothing")
    assert read_ids("base") == before


def killed_when_a_file_grows(*arguments):
    most = os.path.getsize("base") + 65536

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    # pylint: disable-next=subprocess-popen-preexec-fn
    result = subprocess.run([ANELLO, "image", *arguments], check=False, preexec_fn=limit)
    assert result.returncode == -signal.SIGXFSZ, result.returncode


def read_ids(path):
    with open(path, "rb") as f:
        return [line for line in f.read(65536).split(b"\n") if b"CID=" in line]


def rebases_keep_what_is_seen():
    make_chain("qcow2")
    write_disk("other.raw", 3 * MIB, 77)
    for backing, form in (("other.raw", "raw"), ("base", "qcow2"), ("mid", "qcow2"), ("", "raw")):
        anello("rebase", "-p", "-b", backing, *(["-F", form] if backing else []), "top")
        compare_with_model("top")
        qemu("check", "top")
        info = json.loads(qemu("info", "--output", "json", "top"))
        assert info.get("backing-filename", "") == backing
        assert info.get("backing-filename-format", form) == form
    make_chain("qcow2")
    os.rename("mid", "moved")
    anello("info", "--backing-chain", "top", status=1)
    anello("rebase", "-u", "-b", "moved", "top", status=1)  # no -F
    anello("rebase", "-u", "-b", "moved", "-F", "qcow2", "top")
    compare_with_model("top")
    anello("rebase", "-b", "top", "-F", "qcow2", "top", status=1)
    anello("rebase", "-b", "", "base.raw", status=1)


def without_host_figures(info):
    info.pop("actual-size")
    for snapshot in info.get("snapshots", []):
        snapshot.pop("icount", None)
    return info


def chains_and_snapshots_are_told_alike():
    make_chain("qcow2")
    anello("snapshot", "-c", "one \"quoted\"", "mid")
    ours = json.loads(anello("info", "--backing-chain", "--output", "json", "top"))
    theirs = json.loads(qemu("info", "--backing-chain", "--output", "json", "top"))
    assert [without_host_figures(i) for i in ours] == [without_host_figures(i) for i in theirs]
    listed = json.loads(anello("snapshot", "--output", "json", "mid"))
    assert listed == ours[1]["snapshots"] and listed[0]["name"] == "one \"quoted\""
    ours = json.loads(anello("check", "--output", "json", "mid"))
    theirs = json.loads(qemu("check", "--output", "json", "mid"))
    assert all(ours[key] == value for key, value in theirs.items()), (ours, theirs)


def images_are_converted_over_a_backing_file():
    write_disk("base.raw", 4 * MIB, 41)
    shutil.copy("base.raw", "disk.raw")
    with open("disk.raw", "r+b") as f:
        f.seek(MIB)
        f.write(bytes(MIB))
        f.write(b"new" * 1000)
    for option in ("cluster_size=2M", "cluster_size=4k"):
        anello("convert", "-O", "qcow2", "-o", option, "-B", "base.raw", "-F", "raw", "disk.raw",
               "thin.qcow2")
        compare("disk.raw", "thin.qcow2")
        qemu("check", "thin.qcow2")
    assert os.path.getsize("thin.qcow2") < 2 * MIB
    anello("create", "-f", "vdi", "there.vdi", "5M")
    run("qemu-io", "-f", "vdi", "-c", "write -P 1 0 5M", "there.vdi")
    anello("convert", "-n", "-O", "vdi", "disk.raw", "there.vdi")
    qemu("convert", "-O", "raw", "there.vdi", "back.raw")
    with open("disk.raw", "rb") as f, open("back.raw", "rb") as g:
        assert f.read() == g.read()[:4 * MIB]


def sizes_change():
    write_disk("disk.raw", 4 * MIB, 9)
    anello("convert", "-O", "qcow2", "-o", "cluster_size=512", "disk.raw", "r.qcow2")
    anello("resize", "r.qcow2", "+60M")
    qemu("check", "r.qcow2")
    anello("resize", "r.qcow2", "2M", status=1)
    for mode in ("metadata", "falloc", "full"):
        anello("resize", "--preallocation", mode, "r.qcow2", "+1000k")
        qemu("check", "r.qcow2")
    anello("resize", "--shrink", "r.qcow2", "-3000k")
    anello("resize", "--shrink", "r.qcow2", "-62M")
    qemu("check", "r.qcow2")
    with open("disk.raw", "r+b") as f:
        f.truncate(2 * MIB)
    compare("disk.raw", "r.qcow2")


def options_of_convert_mean_the_same():
    write_disk("base.raw", 3 * MIB, 51)
    write_disk("disk.raw", 5 * MIB + 512, 52)
    shutil.copy("base.raw", "near.raw")
    with open("near.raw", "r+b") as f:
        f.seek(MIB)
        f.write(bytes(MIB))  # the backing file must not show through
    for extra in (["-o", "backing_file=base.raw,backing_fmt=raw"],
                  ["-o", "backing_file=base.raw", "-o", "backing_fmt=raw", "-o", "size=4M"]):
        anello("convert", "-O", "qcow2", *extra, "near.raw", "thin.qcow2")
        qemu("compare", "near.raw", "thin.qcow2")
        anello("convert", "thin.qcow2", "back.raw")
        compare("near.raw", "back.raw")
    anello("convert", "-O", "qcow2", "-o", "size=2M", "near.raw", "thin.qcow2", status=1)
    with open("sparse.raw", "wb") as f:
        f.write((b"a little" + bytes(65528)) * 64)
    for size in ([], ["-S", "4k"], ["-S", "64k"], ["-S", "1M"], ["-S", "0"]):
        anello("convert", *size, "-m", "4", "-W", "sparse.raw", "ours.raw")
        qemu("convert", *size, "sparse.raw", "theirs.raw")
        compare("sparse.raw", "ours.raw")
        used = [os.stat(name).st_blocks for name in ("ours.raw", "theirs.raw")]
        assert abs(used[0] - used[1]) <= 16, (size, used)  # the file system has its own
    for extra in ([], ["-c"], ["-o", "cluster_size=2M"]):
        anello("convert", "-O", "qcow2", *extra, "disk.raw", "base.raw", "sparse.raw", "all.qcow2")
        qemu("convert", "disk.raw", "base.raw", "sparse.raw", "all.raw")
        qemu("compare", "all.raw", "all.qcow2")
    anello("convert", "-B", "base.raw", "-O", "qcow2", "disk.raw", "base.raw", "x", status=1)
    make_dirty_target = ("qemu-io", "-f", "raw", "-c", "write -P 1 0 5M", "there.raw")
    qemu("create", "-f", "raw", "there.raw", "5M")
    run(*make_dirty_target)
    anello("convert", "-n", "sparse.raw", "there.raw")
    run("cmp", "-n", str(4 * MIB), "sparse.raw", "there.raw")
    run(*make_dirty_target)
    anello("convert", "-n", "--target-is-zero", "sparse.raw", "there.raw")  # which is not true
    assert read_bytes("there.raw")[4096:65536] == bytes([1]) * (65536 - 4096)


def snapshots_are_converted():
    write_disk("disk.raw", 4 * MIB, 61)
    anello("convert", "-O", "qcow2", "-o", "cluster_size=4k", "disk.raw", "s.qcow2")
    anello("snapshot", "-c", "then", "s.qcow2")
    anello("resize", "-q", "s.qcow2", "+3M")
    rng = random.Random(62)
    shutil.copy("disk.raw", "model.raw")
    random_writes("qcow2", "s.qcow2", rng, 4 * MIB, 70000)
    for name in ("then", "1", "snapshot.name=then", "snapshot.id=1"):
        anello("convert", "-l", name, "s.qcow2", "ours.raw")
        compare("disk.raw", "ours.raw")
    before = read_bytes("s.qcow2")
    anello("convert", "-l", "then", "-O", "vdi", "s.qcow2", "ours.vdi")
    compare("disk.raw", "ours.vdi")
    assert read_bytes("s.qcow2") == before
    anello("convert", "-l", "later", "s.qcow2", "x", status=1)
    anello("convert", "-l", "then", "disk.raw", "x", status=1)


def read_bytes(path):
    with open(path, "rb") as f:
        return f.read()


def what_cannot_be_read_is_salvaged():
    """A cluster whose compressed bytes are none: the rest of the disk is there."""
    write_disk("disk.raw", 2 * MIB, 71)
    with open("disk.raw", "r+b") as f:
        f.write(b"text" * 65536)
    anello("convert", "-c", "-O", "qcow2", "disk.raw", "c.qcow2")
    mapped = json.loads(qemu("map", "--output", "json", "c.qcow2"))
    assert mapped[0]["data"]
    with open("c.qcow2", "r+b") as f:
        f.seek(40)
        first = int.from_bytes(f.read(8), "big")  # of the L1 table
        f.seek(first)
        f.seek(int.from_bytes(f.read(8), "big") & 0xfffffffffffe00)
        entry = int.from_bytes(f.read(8), "big")
        assert entry >> 62 & 1
        f.seek(entry & (1 << 54) - 1)
        f.write(bytes([0xff]) * 20)
    anello("convert", "c.qcow2", "x", status=1)
    anello("convert", "--salvage", "c.qcow2", "saved.raw")
    model = bytearray(read_bytes("disk.raw"))
    model[:65536] = bytes(65536)
    assert read_bytes("saved.raw") == model


def a_rate_is_kept():
    write_disk("disk.raw", 4 * MIB, 81)
    with open("disk.raw", "r+b") as f:
        f.write(b"x" * 4 * MIB)
    anello("create", "-f", "qcow2", "-b", "disk.raw", "-F", "raw", "over.qcow2")
    run("qemu-io", "-f", "qcow2", "-c", "write -P 5 0 2M", "over.qcow2")
    for arguments in (["convert", "-r", "4M", "disk.raw", "slow.raw"],
                      ["commit", "-r", "2M", "over.qcow2"]):
        begin = time.monotonic()
        anello(*arguments)
        assert time.monotonic() - begin >= 1, arguments


def large_images_with_little_in_them_take_no_time():
    """A pebibyte, of which nobody reads what is known to be zeros: less than two seconds."""
    def write(name, at, pattern):
        run("qemu-io", "-f", "qcow2", "-c", f"write -P {pattern} {at} 70k", name)
    anello("create", "-f", "qcow2", "-o", "cluster_size=2M", "low", "1024T")
    write("low", "500T", 3)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    anello("convert", "-f", "qcow2", "-O", "qcow2", "low", "same")
    anello("create", "-f", "qcow2", "-b", "same", "-F", "qcow2", "high")
    write("high", "600T", 4)
    anello("rebase", "-b", "low", "-F", "qcow2", "high")
    anello("commit", "high")
    seen = run("qemu-io", "-f", "qcow2", "-c", "read -P 3 500T 70k", "-c", "read -P 4 600T 70k",
               "low")
    assert "failed" not in seen, seen
    used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    assert used < 30, used
    for name in ("low", "same", "high"):
        os.remove(name)


def main():
    if not shutil.which("qemu-img") or not shutil.which("qemu-io"):
        print("qemu-img is not installed: scripts/setup")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for test in (qemu_writes_anello_reads, anello_writes_qemu_reads,
                     vmdk_and_vdi_are_read_by_both, vmdk_chains_agree,
                     vmdk_and_vdi_are_written_by_both_in_turn, both_write_one_image_in_turn,
                     backing_chains_agree, sizes_change, commits_keep_what_is_seen, vmdk_commits_keep_what_is_seen,
                     rebases_keep_what_is_seen, chains_and_snapshots_are_told_alike,
                     images_are_converted_over_a_backing_file,
                     options_of_convert_mean_the_same, snapshots_are_converted,
                     what_cannot_be_read_is_salvaged, a_rate_is_kept,
                     large_images_with_little_in_them_take_no_time):
            if sys.argv[2:] and test.__name__ not in sys.argv[2:]:
                continue
            print(test.__name__.replace("_", " "), flush=True)
            test()


if __name__ == "__main__":
    main()
