#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The components that udebs.py makes, from an archive of a few packages that this test packs.

usage: udebs_test.py
"""

import gzip
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile

import udebs
from mirror import Mirror

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "..", "bench"))
from initramfs import Cpio  # noqa: E402 (the path is set just above)

KERNEL = "6.1.0-1-686"
I386, AMD64 = "debian-installer/binary-i386", "debian-installer/binary-amd64"
PROGRAM = udebs.ELF_64 + b" of a sort"


def pack(fields, files):
    """A package of these fields and files."""
    with tempfile.TemporaryDirectory() as tree:
        udebs.write(os.path.join(tree, "DEBIAN/control"), udebs.control_text(fields).encode())
        for name, content in files.items():
            udebs.write(os.path.join(tree, name), content, 0o755)
        out = os.path.join(tree, "../packed-" + os.path.basename(tree))
        subprocess.run(["dpkg-deb", "-Zgzip", "-b", tree, out], stdout=subprocess.DEVNULL,
                       check=True)
        with open(out, "rb") as file:
            content = file.read()
        os.remove(out)
        return content


class Archive:
    """Packages by release, section and name; content None is a package that is only listed."""

    def __init__(self):
        self.packages = {}

    def add(self, release, section, content, **fields):
        fields = {"Version": "1", "Architecture": section.rpartition("-")[2],
                  "Maintainer": "m <m@test>", "Description": "d", **fields}
        fields["Filename"] = f"{release}/{section}/{fields['Package']}"
        packed = None if content is None else pack(
            {name: value for name, value in fields.items() if name != "Filename"}, content)
        self.packages[release, section, fields["Package"]] = fields, packed

    def index(self, release, section):
        listed = {key[2]: value[0] for key, value in self.packages.items()
                  if key[:2] == (release, section)}
        providers = {one: name for name, fields in listed.items()
                     for one in udebs.names_of(fields.get("Provides", ""))}
        return listed, providers

    def fetch(self, path):
        return next((packed for fields, packed in self.packages.values()
                     if fields["Filename"] == path), None)

    package = udebs.Archive.package
    deb = udebs.Archive.deb


def small_archive():
    archive = Archive()
    old, new = udebs.RELEASE, udebs.NEXT
    archive.add(old, I386, {"bin/there": b"#!"}, Package="there", Depends="shared, ghost-udeb")
    archive.add(old, I386, None, Package="maker", Provides="shared",
                Depends="libc6-udeb, dosfstools-udeb, fs-modules")
    archive.add(old, I386, None, Package="ghost-udeb", Priority="standard")
    archive.add(old, I386, None, Package="dosfstools-udeb")
    archive.add(old, I386, None, Package="libc6-udeb")
    archive.add(old, I386, None, Package="unwanted", Priority="standard")
    for kernel in ("5.10.0-9-686", KERNEL):
        archive.add(old, I386, None, Package=f"ext4-modules-{kernel}-di", Provides="fs-modules",
                    **{"Kernel-Version": kernel})
    archive.add(new, AMD64, {"bin/maker": PROGRAM, "bin/helper": b"#!/bin/sh\n"},
                Package="maker", Version="2", Provides="shared",
                Depends="libc6-udeb (>= 2.41), dosfstools-udeb")
    archive.add(old, AMD64, {"bin/ghost": b"#!/bin/sh\n"}, Package="ghost-udeb")
    archive.add(old, "binary-i386", {"sbin/mkfs.fat": b"tool", "usr/share/doc/x": b"text"},
                Package="dosfstools")
    return archive


def module(depends, kernel=KERNEL):
    return b"\x7fELF\0depends=" + depends + b"\0vermagic=" + kernel.encode() + b" SMP \0"


MODULES = {"fs/ext4/ext4.ko": lambda: module(b"jbd2,crc16"), "fs/jbd2/jbd2.ko": lambda: module(b""),
           "lib/crc16.ko": lambda: module(b""), "lib/other.ko": lambda: module(b""),
           "crypto/crc32c_generic.ko": lambda: module(b"")}


def make(archive, folder, modules=None):
    maker = udebs.Maker(archive, folder, KERNEL, modules or MODULES, lambda line: None)
    names = udebs.needed(maker.listed, maker.providers, {"libc6-udeb"}, KERNEL, ["there"])
    for name in names:
        maker.component(name)
    maker.set_aside({*names, "libc6-udeb"})
    return names, maker


def contents(folder, name):
    stream = subprocess.run(["dpkg-deb", "--fsys-tarfile", os.path.join(folder, f"{name}.udeb")],
                            stdout=subprocess.PIPE, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(stream)) as archive:
        return {member.name[2:]: archive.extractfile(member).read() for member in archive
                if member.isreg()}


def only_what_lacks_is_made(folder):
    names, maker = make(small_archive(), folder)
    assert names == ["dosfstools-udeb", f"ext4-modules-{KERNEL}-di", "ghost-udeb", "maker",
                     "there"], names
    assert "there" not in maker.made
    assert maker.made["unwanted"]["Priority"] == "optional"
    assert maker.wants_runtime


def programs_of_x86_64_are_run_by_a_script(folder):
    _, maker = make(small_archive(), folder)
    files = contents(folder, "maker")
    moved = f"{udebs.RUNTIME_FOLDER}/programs/bin/maker"
    assert files[moved] == PROGRAM and moved.encode() in files["bin/maker"]
    assert files["bin/maker"].startswith(b"#!/bin/sh\n") and files["bin/helper"] == b"#!/bin/sh\n"
    assert maker.made["maker"]["Depends"] == f"dosfstools-udeb, {udebs.RUNTIME}"
    assert maker.made["maker"]["Architecture"] == "i386"
    assert "Depends" not in maker.made["ghost-udeb"]


def the_kernel_is_one_for_i386(folder):
    archive = small_archive()
    path = "usr/lib/base-installer/kernel.sh"
    archive.add(udebs.RELEASE, I386, None, Package="bootstrap-base")
    archive.add(udebs.RELEASE, AMD64, {path: b"amd64"}, Package="bootstrap-base")
    maker = udebs.Maker(archive, folder, KERNEL, MODULES, lambda line: None)
    maker.component("bootstrap-base")
    assert b"linux-image-686" in contents(folder, "bootstrap-base")[path]


def modules_bring_those_they_need(folder):
    make(small_archive(), folder)
    files = contents(folder, f"ext4-modules-{KERNEL}-di")
    assert set(files) == {f"lib/modules/{KERNEL}/kernel/{path}" for path in MODULES
                          if "other" not in path}, files


def modules_of_another_kernel_are_refused(folder):
    try:
        make(small_archive(), folder, {**MODULES, "fs/jbd2/jbd2.ko": lambda: module(b"", "5.10")})
    except udebs.Missing as why:
        assert "scripts/guests" in str(why)
    else:
        raise AssertionError("they were taken")


def repacked_files_are_those_wanted(folder):
    make(small_archive(), folder)
    assert contents(folder, "dosfstools-udeb") == {"sbin/mkfs.fat": b"tool"}


def what_cannot_be_had_is_named(folder):
    archive = small_archive()
    del archive.packages[udebs.NEXT, AMD64, "maker"]
    try:
        make(archive, folder)
    except udebs.Missing as why:
        assert "maker" in str(why)
    else:
        raise AssertionError("nothing was missing")


def the_initrd_says_what_is_installed(folder):
    cpio = Cpio()
    cpio.add("init", 0o100755, b"odd")
    cpio.add("var/lib/dpkg/status", 0o100644, b"Package: a\nVersion: 1\n\nPackage: b-udeb\n")
    path = os.path.join(folder, "initrd.gz")
    with gzip.open(path, "wb") as file:
        file.write(cpio.finish())
    assert udebs.installed_components(path) == {"a", "b-udeb"}


def the_index_is_signed(folder):
    if not shutil.which("gpg") or not shutil.which("gpgv"):
        return
    _, maker = make(small_archive(), folder)
    udebs.write_index(folder, maker.made)
    top = os.path.join(folder, "dists", udebs.RELEASE)
    subprocess.run(["gpgv", "--keyring", os.path.join(folder, "key.gpg"),
                    os.path.join(top, "Release.gpg"), os.path.join(top, "Release")],
                   stderr=subprocess.DEVNULL, check=True)


def the_mirror_serves_its_files_under_both_names(_):
    mirror = Mirror("upstream.test", "/nonexistent", "10.0.2.2")
    mirror.files["/udebs/x"] = b"content"
    own = f"http://127.0.0.1:{mirror.server_port}"
    assert udebs.live.fetch(None, f"{own}/udebs/x") == b"content"
    assert udebs.live.fetch(own, f"http://10.0.2.2:{mirror.server_port}/udebs/x") == b"content"
    try:
        udebs.live.fetch(own, "http://other.test/udebs/x")
    except udebs.urllib.error.HTTPError as error:
        assert error.code == 403
    else:
        raise AssertionError("an open proxy")
    mirror.shutdown()


TESTS = [only_what_lacks_is_made, programs_of_x86_64_are_run_by_a_script,
         the_kernel_is_one_for_i386, modules_bring_those_they_need,
         modules_of_another_kernel_are_refused,
         repacked_files_are_those_wanted, what_cannot_be_had_is_named,
         the_initrd_says_what_is_installed, the_index_is_signed,
         the_mirror_serves_its_files_under_both_names]


def main():
    if not shutil.which("dpkg-deb"):
        print("skipped: dpkg-deb is not installed")
        return 77
    failures = 0
    for test in TESTS:
        with tempfile.TemporaryDirectory() as folder:
            try:
                test(folder)
            except (AssertionError, subprocess.CalledProcessError) as why:
                failures += 1
                print(f"{test.__name__}: {why!r}")
    print(f"{len(TESTS) - failures} passed, {failures} failed")
    return 1 if failures else 0


sys.exit(main())
