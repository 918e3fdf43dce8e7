# SPDX-License-Identifier: MIT
"""A file system of tools for the guest, made of Debian packages that are unpacked, not installed.

Where the mirror has no components of the installer (udebs), the rest of the installation is done by
debootstrap. What it needs is here: its own package, a shell, mkfs and their dependencies, and the
modules for disks of a kernel that is the installer's own.
"""

import gzip
import io
import lzma
import os
import re
import subprocess
import tarfile
import urllib.request

PACKAGES = ["debootstrap", "dash", "coreutils", "sed", "grep", "mawk", "findutils", "gzip", "tar",
            "xz-utils", "dpkg", "perl-base", "e2fsprogs", "fdisk", "util-linux", "mount", "wget",
            "gpgv", "debian-archive-keyring", "libc-bin"]
LEFT_OUT = re.compile(r"\./usr/share/(doc|man|locale|info|lintian|bash-completion)/")
MODULES = [
    "crypto/crct10dif_common", "lib/crc-t10dif", "lib/crc64", "lib/crc64-rocksoft",
    "drivers/scsi/scsi_common", "drivers/scsi/scsi_mod", "block/t10-pi", "drivers/scsi/sd_mod",
    "drivers/ata/libata", "drivers/ata/ata_piix", "drivers/ata/libahci", "drivers/ata/ahci",
    "drivers/virtio/virtio", "drivers/virtio/virtio_ring", "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci_legacy_dev", "drivers/virtio/virtio_pci", "drivers/block/virtio_blk",
    "fs/mbcache", "fs/jbd2/jbd2", "lib/crc16", "crypto/crc32c_generic", "fs/ext4/ext4"]


def parse_index(text):
    """Packages of an index: name -> its fields; and who provides what is no package."""
    packages, providers = {}, {}
    for paragraph in text.split("\n\n"):
        fields = dict(re.findall(r"^([\w-]+): (.*)$", paragraph, re.M))
        if "Package" not in fields:
            continue
        packages[fields["Package"]] = fields
        for name in re.findall(r"([\w.+-]+)(?: \([^)]*\))?", fields.get("Provides", "")):
            providers.setdefault(name, fields["Package"])
    return packages, providers


def closure(packages, providers, wanted):
    """These and what they depend on; of alternatives the first that exists."""
    chosen, queue = set(), list(wanted)
    while queue:
        name = queue.pop()
        if name in chosen:
            continue
        chosen.add(name)
        fields = packages[name]
        needs = ", ".join(filter(None, (fields.get("Pre-Depends"), fields.get("Depends"))))
        for need in filter(None, needs.split(", ")):
            names = [re.match(r"[\w.+-]+", option)[0] for option in need.split(" | ")]
            found = [n if n in packages else providers.get(n) for n in names]
            queue.append(next(n for n in found if n))
    return sorted(chosen)


def fetch(proxy, url):
    handlers = [urllib.request.ProxyHandler({"http": proxy})] if proxy else []
    with urllib.request.build_opener(*handlers).open(url, timeout=300) as answer:
        return answer.read()


def add_package(archive, deb, seen):
    """Files of a package, by dpkg-deb's tar stream."""
    stream = subprocess.run(["dpkg-deb", "--fsys-tarfile", "/dev/stdin"], input=deb,
                            stdout=subprocess.PIPE, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(stream)) as package:
        for member in package:
            if LEFT_OUT.match(member.name) or (member.isdir() and member.name in seen):
                continue
            seen.add(member.name)
            archive.addfile(member, package.extractfile(member) if member.isreg() else None)


def add_file(archive, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mode = 0o644
    archive.addfile(member, io.BytesIO(content))


def make(output, mirror, proxy, kernel):
    """Writes the archive to OUTPUT. MIRROR is a URL, KERNEL the folder of the guest kernel-686."""
    index = fetch(proxy, f"{mirror}/dists/bookworm/main/binary-i386/Packages.xz")
    packages, providers = parse_index(lzma.decompress(index).decode())
    seen = set()
    with gzip.open(output, "wb", compresslevel=1) as file, \
            tarfile.open(fileobj=file, mode="w|") as archive:
        for name in closure(packages, providers, PACKAGES):
            add_package(archive, fetch(proxy, f"{mirror}/{packages[name]['Filename']}"), seen)
        for module in MODULES:
            with open(os.path.join(kernel, "modules", module + ".ko"), "rb") as ko:
                add_file(archive, f"modules/{os.path.basename(module)}.ko", ko.read())
        order = "\n".join(os.path.basename(module) for module in MODULES)
        add_file(archive, "modules/order", order.encode())
