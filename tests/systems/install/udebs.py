# SPDX-License-Identifier: MIT
"""The installer's components (udebs), where a mirror lists more of them than it has.

The installer can be told of a second repository of components, with a key of its own. This makes
such a repository of what the mirror does have, in this order:

  - the component itself; then there is nothing to make
  - an ordinary i386 package with the same files (REPACKED)
  - modules of the guest kernel-686, which is the installer's own kernel (MODULES)
  - the component of the amd64 installer, of the same release or else of the next one. Almost all of
    their files are shell scripts. The few programs among them are run by QEMU's user-mode emulator,
    which is a Debian package too, with libraries of the amd64 release beside it (RUNTIME)

So the system that is installed comes from Debian's archive as ever, checked against its key; a part
of what installs it may be one release newer than the installer. What nobody needs for an unattended
installation on an empty disk is left out (LEFT_OUT).
"""

import fcntl
import gzip
import hashlib
import io
import lzma
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import urllib.error

import live

RELEASE, NEXT = "bookworm", "trixie"
KEY, KEY_NAME = "key.gpg", "anello-install-test"
ROOTS = ["base-installer", "bootstrap-base", "finish-install", "partman-base", "partman-auto",
         "partman-target", "partman-ext3", "user-setup-udeb", "clock-setup", "apt-setup-udeb",
         "pkgsel", "grub-installer", "disk-detect", "pata-modules", "sata-modules", "scsi-modules",
         "ext4-modules",
         # os-prober asks for these, to look for other systems.
         "btrfs-modules", "fuse-modules", "jfs-modules", "xfs-modules"]
# File systems of others, clocks of others, names of boards. Others depend on them, so they are made
# empty.
LEFT_OUT = {"ntfs-3g-udeb", "fuse3-udeb", "libfuse3-3-udeb", "grub-mount-udeb", "libfuse2-udeb",
            "rdate-udeb", "libbsd0-udeb", "libmd0-udeb", "dmidecode-udeb"}

I386_LIBRARIES = r"(usr/)?lib/i386-linux-gnu/lib"
# A component -> the ordinary packages with its files, and which of them.
REPACKED = {
    "debootstrap-udeb": (["debootstrap"], r"usr/(sbin|share/debootstrap)/"),
    "dosfstools-udeb": (["dosfstools"], r"sbin/"),
    "e2fsprogs-udeb": (["e2fsprogs", "libext2fs2", "libcom-err2", "libss2"],
                       rf"etc/mke2fs|sbin/|{I386_LIBRARIES}"),
    "libdevmapper1.02.1-udeb": (["libdevmapper1.02.1"], I386_LIBRARIES),
    "libparted2-udeb": (["libparted2"], I386_LIBRARIES),
    "libparted-fs-resize0-udeb": (["libparted-fs-resize0"], I386_LIBRARIES),
}
# A component, without the kernel's version -> its modules, which bring those that they need.
# Components of modules that are not here are made empty.
MODULES = {
    "ata-modules": ["drivers/ata/libata"],
    "pata-modules": ["drivers/ata/ata_piix", "drivers/ata/ata_generic"],
    "sata-modules": ["drivers/ata/ahci"],
    "scsi-modules": ["drivers/scsi/sd_mod", "drivers/block/virtio_blk"],
    "ext4-modules": ["fs/ext4/ext4", "crypto/crc32c_generic"],
}
# What the amd64 installer's component knows of its architecture: which kernels fit, and the one to
# install.
OWN_FILES = {
    "bootstrap-base": {"usr/lib/base-installer/kernel.sh": b"""\
arch_get_kernel_flavour() {
    echo 686
}
arch_check_usable_kernel() {
    case $1 in *-686 | *-686-*) true ;; *) false ;; esac
}
arch_get_kernel() {
    echo linux-image-686
}
"""},
}
# What programs of x86-64 need on a machine without it.
RUNTIME = "x86-64-programs-udeb"
RUNTIME_FOLDER = "usr/lib/x86-64"
EMULATOR = ("qemu-user-static", "usr/bin/qemu-x86_64-static")
LIBRARIES = ["libparted2", "libparted-fs-resize0", "libdebconfclient0", "libdebian-installer4"]
LIBRARY_FILES = re.compile(r"(usr/)?lib/x86_64-linux-gnu/[^/]+\.so[^/]*$|lib64/")
ELF_64 = b"\x7fELF\x02"


class Missing(Exception):
    """Something that is needed and cannot be had, in one line."""


class Archive:
    """Debian's archive at a mirror: indexes and packages."""

    def __init__(self, upstream, proxy):
        self.url = f"http://{upstream}/debian"
        self.proxy = proxy
        self.indexes = {}

    def fetch(self, path):
        """A file, or None where the mirror has none."""
        try:
            return live.fetch(self.proxy, f"{self.url}/{path}")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise Missing(f"{path}: {error}") from error
        except OSError as error:
            raise Missing(f"{path}: {error}") from error

    def index(self, release, section):
        """The packages of an index and who provides what."""
        path = f"dists/{release}/main/{section}/Packages.xz"
        if path not in self.indexes:
            packed = self.fetch(path)
            if packed is None:
                raise Missing(f"the mirror has no {path}")
            self.indexes[path] = live.parse_index(lzma.decompress(packed).decode())
        return self.indexes[path]

    def package(self, name, release, section):
        """Fields and bytes of a package; bytes is None where the mirror lacks it."""
        fields = self.index(release, section)[0].get(name)
        return fields, fields and self.fetch(fields["Filename"])

    def deb(self, name, section):
        _, deb = self.package(name, RELEASE, section)
        if deb is None:
            raise Missing(f"the mirror lacks the package {name} ({section})")
        return deb


def names_of(dependencies):
    return [re.match(r"[\w.+-]+", one)[0] for one in dependencies.split(", ") if one]


def needed(packages, providers, installed, kernel, roots=None):
    """What the installer has yet to load for ROOTS, as sorted names."""
    chosen = set()
    queue = [f"{name}-{kernel}-di" if name.endswith("-modules") else name
             for name in roots or ROOTS]
    there = set(installed)
    for name in installed:
        there.update(names_of(packages.get(name, {}).get("Provides", "")))
    while queue:
        # What is only provided comes last: something of the others may provide it.
        name = next((one for one in queue if one in packages), queue[-1])
        queue.remove(name)
        if name in there:
            continue
        if name not in packages:
            name = provider(packages, providers, name, kernel)
        chosen.add(name)
        there.add(name)
        there.update(names_of(packages[name].get("Provides", "")))
        queue += names_of(packages[name].get("Depends", ""))
    return sorted(chosen)


def provider(packages, providers, name, kernel):
    """Who provides NAME for this kernel."""
    for one, fields in packages.items():
        if fields.get("Kernel-Version") == kernel and name in names_of(fields.get("Provides", "")):
            return one
    if name not in providers:
        raise Missing(f"the mirror lists no component {name}")
    return providers[name]


def control_text(fields):
    return "".join(f"{name}: {value}\n" for name, value in fields.items())


def write(path, content, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)
    os.chmod(path, mode)


def unpack(deb, folder, pattern=None):
    """Files of a package whose names match, and all of its control files if PATTERN is None."""
    stream = subprocess.run(["dpkg-deb", "--fsys-tarfile", "/dev/stdin"], input=deb,
                            stdout=subprocess.PIPE, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(stream)) as archive:
        members = [member for member in archive
                   if pattern is None or pattern.match(member.name.removeprefix("./"))]
        archive.extractall(folder, members=members)
    if pattern is None:
        subprocess.run(["dpkg-deb", "-e", "/dev/stdin", os.path.join(folder, "DEBIAN")], input=deb,
                       check=True)


def is_foreign(path):
    if os.path.islink(path):
        return False
    with open(path, "rb") as file:
        return file.read(len(ELF_64)) == ELF_64


def wrap_programs(tree):
    """Puts scripts in the place of a tree's x86-64 programs; says whether there were any."""
    programs = [path for folder, _, files in os.walk(tree) for name in files
                if is_foreign(path := os.path.join(folder, name))]
    for path in programs:
        moved = f"{RUNTIME_FOLDER}/programs/{os.path.relpath(path, tree)}"
        os.makedirs(os.path.dirname(os.path.join(tree, moved)), exist_ok=True)
        os.rename(path, os.path.join(tree, moved))
        write(path, f"#!/bin/sh\nexec /{RUNTIME_FOLDER}/qemu -L /{RUNTIME_FOLDER} "
                    f"/{moved} \"$@\"\n".encode(), 0o755)
    return bool(programs)


def module_facts(content):
    """The kernel's release and the modules that this one needs, by its own words."""
    words = dict(re.findall(rb"\0?(vermagic|depends)=([^\0]*)", content))
    needs = [name for name in words.get(b"depends", b"").decode().split(",") if name]
    return words.get(b"vermagic", b"").decode().split(" ")[0], needs


class Maker:
    """Makes components in FOLDER and remembers them."""

    def __init__(self, archive, folder, kernel, modules, say=print):
        self.archive = archive
        self.folder = folder
        self.kernel = kernel
        self.modules = modules
        self.say = say
        self.made = {}
        self.listed, self.providers = archive.index(RELEASE, "debian-installer/binary-i386")
        self.wants_runtime = False

    def build(self, tree, fields, origin):
        """Packs TREE; the fields become those of the index too."""
        fields = {**fields, "Architecture": "i386", "Version": fields["Version"] + "+anello"}
        for name in ("Filename", "Size", "MD5sum", "SHA256", "Description-md5", "Installed-Size"):
            fields.pop(name, None)
        write(os.path.join(tree, "DEBIAN", "control"), control_text(fields).encode())
        name = f"{fields['Package']}.udeb"
        path = os.path.join(self.folder, name)
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-b", tree, path],
                       stdout=subprocess.DEVNULL, check=True)
        with open(path, "rb") as file:
            content = file.read()
        fields |= {"Filename": name, "Size": str(len(content)),
                   "SHA256": hashlib.sha256(content).hexdigest()}
        self.made[fields["Package"]] = fields
        self.say(f"{fields['Package']} {fields['Version']}: {origin}")

    def component(self, name):
        fields = self.listed[name]
        if self.archive.fetch(fields["Filename"]) is not None:
            self.say(f"{name} {fields['Version']}: the mirror has it")
            return
        with tempfile.TemporaryDirectory() as tree:
            if name in LEFT_OUT:
                self.leave_out(name, tree)
            elif name in REPACKED:
                self.repack(name, tree)
            elif fields.get("Kernel-Version"):
                self.pack_modules(name, tree)
            else:
                self.convert(name, tree)

    def leave_out(self, name, tree):
        self.build(tree, self.listed[name], "empty: nothing of it is needed")

    def repack(self, name, tree):
        packages, pattern = REPACKED[name]
        for package in packages:
            unpack(self.archive.deb(package, "binary-i386"), tree, re.compile(pattern))
        self.build(tree, self.listed[name], f"the files of {', '.join(packages)}")

    def pack_modules(self, name, tree):
        paths = {os.path.basename(path)[:-3].replace("-", "_"): path for path in self.modules}
        kind = name.removesuffix(f"-{self.kernel}-di")
        if kind not in MODULES:
            self.leave_out(name, tree)
            return
        queue, done = [os.path.basename(one) for one in MODULES[kind]], set()
        while queue:
            module = queue.pop().replace("-", "_")
            if module in done:
                continue
            done.add(module)
            if module not in paths:
                raise Missing(f"the guest kernel-686 lacks the module {module}")
            content = self.modules[paths[module]]()
            release, needs = module_facts(content)
            if release != self.kernel:
                raise Missing(f"the installer's kernel is {self.kernel}, the guest kernel-686 "
                              f"{release}: scripts/guests --update kernel-686 installer-i386")
            write(os.path.join(tree, "lib/modules", release, "kernel", paths[module]), content)
            queue += needs
        write(os.path.join(tree, "DEBIAN", "postinst"),
              f"#!/bin/sh\ndepmod -a {self.kernel}\n".encode(), 0o755)
        self.build(tree, self.listed[name], f"{len(done)} modules of kernel-686")

    def convert(self, name, tree):
        for release in (RELEASE, NEXT):
            fields, udeb = self.archive.package(name, release, "debian-installer/binary-amd64")
            if udeb is not None:
                break
        else:
            raise Missing(f"the component {name}: neither i386 nor amd64, {RELEASE} or {NEXT}")
        unpack(udeb, tree)
        for path, content in OWN_FILES.get(name, {}).items():
            write(os.path.join(tree, path), content)
        foreign = wrap_programs(tree)
        self.wants_runtime |= foreign
        # The installer has its own libraries; those of programs come with what runs them.
        depends = [one for one in fields.get("Depends", "").split(", ")
                   if one and not re.match(r"lib[\w.+-]+-udeb", one)]
        fields = {**fields, "Depends": ", ".join(depends + [RUNTIME] * foreign)}
        self.build(tree, {key: value for key, value in fields.items() if value},
                   f"amd64, {release}" + (", programs emulated" if foreign else ""))

    def runtime(self):
        """The emulator and the libraries."""
        package, program = EMULATOR
        packages, providers = self.archive.index(RELEASE, "binary-amd64")
        with tempfile.TemporaryDirectory() as tree:
            unpack(self.archive.deb(package, "binary-i386"), tree,
                   re.compile(rf"{program}$"))
            home = os.path.join(tree, RUNTIME_FOLDER)
            os.makedirs(home)
            os.rename(os.path.join(tree, program), os.path.join(home, "qemu"))
            os.removedirs(os.path.join(tree, "usr/bin"))
            for library in live.closure(packages, providers, LIBRARIES):
                unpack(self.archive.deb(library, "binary-amd64"), home, LIBRARY_FILES)
            loader = os.path.join(home, "lib64/ld-linux-x86-64.so.2")
            target = os.readlink(loader)
            os.remove(loader)
            os.symlink(f"..{target}" if target.startswith("/") else target, loader)
            self.build(tree, {"Package": RUNTIME, "Version": "1", "Section": "debian-installer",
                              "Priority": "optional", "Maintainer": "nobody <nobody@localhost>",
                              "Description": "runs programs of x86-64"}, f"{package}, libraries")

    def set_aside(self, kept):
        """Components that the installer would load by itself, but nobody needs, lose their
        priority. Only the index has these; they are never fetched."""
        for name, fields in self.listed.items():
            if name not in kept and fields.get("Kernel-Version", self.kernel) == self.kernel and \
                    fields.get("Priority") in ("required", "important", "standard"):
                self.made[name] = {**fields, "Version": fields["Version"] + "+anello",
                                   "Priority": "optional"}


def read_cpio(archive, wanted):
    """The content of one member of an archive in the newc format."""
    at = 0
    while archive[at:at + 6] == b"070701":
        size, name_size = (int(archive[at + begin:at + begin + 8], 16) for begin in (54, 94))
        name = archive[at + 110:at + 110 + name_size - 1].decode()
        data = at + 110 + name_size + 3 & ~3
        if name.removeprefix("./") == wanted:
            return archive[data:data + size]
        at = data + size + 3 & ~3
    raise Missing(f"the installer's initrd has no {wanted}")


def installed_components(initrd):
    """Names, from what the installer knows of itself."""
    with gzip.open(initrd) as file:
        status = read_cpio(file.read(), "var/lib/dpkg/status").decode()
    return set(re.findall(r"^Package: (\S+)$", status, re.M))


def kernel_release(path):
    """The release of a kernel image, by its header (Linux' Documentation/arch/x86/boot.rst)."""
    with open(path, "rb") as file:
        image = file.read(0x10000)
    at = int.from_bytes(image[0x20e:0x210], "little") + 0x200
    return image[at:at + 80].split(b" ")[0].decode()


def module_readers(folder):
    """The modules of a guest kernel: path within it -> function that reads the file."""
    def reader(path):
        def read():
            with open(path, "rb") as file:
                return file.read()
        return read

    paths = [os.path.join(where, name) for where, _, names in os.walk(folder) for name in names
             if name.endswith(".ko")]
    return {os.path.relpath(path, folder): reader(path) for path in paths}


def write_index(folder, made):
    """Packages, Release and its signature by a key that is thrown away."""
    section = "main/debian-installer/binary-i386"
    top = os.path.join(folder, "dists", RELEASE)
    packages = "\n".join(control_text(fields) for fields in made.values()).encode()
    write(os.path.join(top, section, "Packages"), packages)
    release = (f"Origin: anello\nCodename: {RELEASE}\nArchitectures: i386\nComponents: main\n"
               f"SHA256:\n {hashlib.sha256(packages).hexdigest()} {len(packages)} "
               f"{section}/Packages\n")
    write(os.path.join(top, "Release"), release.encode())
    with tempfile.TemporaryDirectory() as home:
        gpg = ["gpg", "--homedir", home, "--batch", "--quiet", "--pinentry-mode", "loopback",
               "--passphrase", ""]
        try:
            subprocess.run([*gpg, "--quick-generate-key", KEY_NAME, "rsa2048", "sign", "never"],
                           capture_output=True, check=True)
            subprocess.run([*gpg, "--detach-sign", "--armor", "-o",
                            os.path.join(top, "Release.gpg"), os.path.join(top, "Release")],
                           capture_output=True, check=True)
            subprocess.run([*gpg, "--export", "-o", os.path.join(folder, KEY)],
                           capture_output=True, check=True)
        finally:
            subprocess.run(["gpgconf", "--homedir", home, "--kill", "gpg-agent"], check=False)


def stamp(installer, kernel_folder):
    """What a repository depends on, beside the mirror."""
    digest = hashlib.sha256()
    for path in (__file__, os.path.join(installer, "VERSION"),
                 os.path.join(kernel_folder, "VERSION")):
        with open(path, "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def make(archive, installer, kernel_folder, folder, say=print):
    """Makes the repository in FOLDER, unless it is there already; says whether the installer needs
    it. A second run that comes meanwhile waits, and uses the same."""
    for tool in ("dpkg-deb", "gpg", "gpgconf"):
        if not shutil.which(tool):
            raise Missing(f"{tool} is not installed: scripts/setup --install-test")
    os.makedirs(os.path.dirname(folder) or ".", exist_ok=True)
    with open(f"{folder}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return make_alone(archive, installer, kernel_folder, folder, say)


def make_alone(archive, installer, kernel_folder, folder, say):
    """make(), while nobody else does."""
    mark = os.path.join(folder, "stamp")
    key = os.path.join(folder, KEY)
    now = stamp(installer, kernel_folder)
    if os.path.exists(mark):
        with open(mark, encoding="ascii") as file:
            if file.read() == now:
                return os.path.exists(key)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    kernel = kernel_release(os.path.join(installer, "linux"))
    installed = installed_components(os.path.join(installer, "initrd.gz"))
    maker = Maker(archive, folder, kernel,
                  module_readers(os.path.join(kernel_folder, "modules")), say)
    names = needed(maker.listed, maker.providers, installed, kernel)
    for name in names:
        maker.component(name)
    if maker.wants_runtime:
        maker.runtime()
    if maker.made:
        maker.set_aside({*names, *installed})
        write_index(folder, maker.made)
    write(mark, now.encode())
    return os.path.exists(key)


def files(folder):
    """The repository as paths and contents."""
    found = {}
    for where, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(where, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, folder)] = file.read()
    return found

