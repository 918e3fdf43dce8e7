# SPDX-License-Identifier: MIT
"""The engines that a run compares: the bare machine, anello, QEMU and Bochs."""

import json
import os
import shutil
import subprocess
import tempfile

from measure.idle import idle_percent
from measure.runs import die, run_command, say

BOCHS_CPU = "p4_prescott_celeron_336"
DEBUG_EXIT = ["-device", "isa-debug-exit,iobase=0xf4,iosize=1"]


class Engine:
    """OPTIONS has the files that prepare() of scripts/bench names, and those of its command line.
    What an engine cannot tell is None."""

    def __init__(self, name, options):
        self.name = name
        self.options = options

    def workloads(self):
        raise NotImplementedError

    def nanos(self):
        return None

    def idle(self):
        return None

    def stats(self):
        """The counters of the run that has just ended."""
        return {}


class Native(Engine):
    def __init__(self, options):
        super().__init__("native", options)
        self.environment = dict(os.environ, BUSYBOX=options.busybox)

    def workloads(self):
        command = [self.options.bench, "-s", str(self.options.scale), *self.options.workloads]
        return run_command(command, self.options.timeout, self.environment)


class Machine(Engine):
    """A virtual machine with QEMU's options."""

    def __init__(self, name, command, options):
        super().__init__(name, options)
        self.command = [*command, "-m", str(options.memory), "-display", "none",
                        "-monitor", "none", "-serial", "stdio", "-no-reboot"]

    def linux(self, append):
        return [*self.command, "-kernel", self.options.kernel, "-initrd", self.options.initrd,
                "-append", append]

    def workloads(self):
        return run_command(self.linux(append_line(self.options)), self.options.timeout)

    def nanos(self):
        return run_command([*self.command, "-kernel", self.options.nano, *DEBUG_EXIT],
                           self.options.timeout)

    def idle(self):
        return idle_percent(self.linux("console=ttyS0"), self.options.idle, self.options.timeout)


class Anello(Machine):
    def __init__(self, accel, options):
        super().__init__(f"anello-{accel}", [options.anello, "-accel", accel], options)
        self.stats_file = os.path.join(os.path.dirname(options.initrd), "stats.json")

    def workloads(self):
        if os.path.exists(self.stats_file):
            os.remove(self.stats_file)
        command = [*self.linux(append_line(self.options)), "--stats", self.stats_file]
        return run_command(command, self.options.timeout)

    def stats(self):
        try:
            with open(self.stats_file, encoding="ascii") as file:
                return json.load(file)
        except (OSError, ValueError):
            return {}


def append_line(options):
    """What tells the guest's init to run the workloads."""
    return (f"console=ttyS0 bench={','.join(options.workloads)} "
            f"bench_scale={options.scale}")


class Bochs(Engine):
    """Bochs boots a CD on which GRUB starts the kernel.

    Debian's Bochs has no display library without a window, so it gets an X server of its own; its
    debugger is built in and waits for a command to begin. Its clock may run apart from the host's,
    so the host's is taken. The nanobenchmark is left out: Bochs's time stamp counter counts
    instructions, not time.
    """

    programs = ["bochs", "xvfb-run", "grub-mkrescue", "mformat", "xorriso"]

    def __init__(self, options):
        super().__init__("bochs", options)
        missing = [p for p in self.programs if not shutil.which(p)]
        if missing:
            die(f"--bochs needs {', '.join(missing)}: scripts/setup --bench")

    def workloads(self):
        with tempfile.TemporaryDirectory(prefix="anello-bochs-") as folder:
            cd = os.path.join(folder, "cd.iso")
            self.make_cd(cd, os.path.join(folder, "tree"))
            config, begin = os.path.join(folder, "bochsrc"), os.path.join(folder, "begin")
            log = os.path.join(folder, "log")
            with open(config, "w", encoding="ascii") as file:
                file.write("\n".join(self.configuration(cd, log)) + "\n")
            with open(begin, "w", encoding="ascii") as file:
                file.write("continue\n")
            output = run_command(
                ["xvfb-run", "-a", "bochs", "-q", "-f", config, "-rc", begin],
                self.options.timeout)
            if not output.done:
                for line in panics(log):
                    say(line)
        output.times = dict(output.host_times)
        return output

    def make_cd(self, cd, tree):
        grub = os.path.join(tree, "boot", "grub")
        os.makedirs(grub)
        shutil.copy(self.options.kernel, os.path.join(tree, "vmlinuz"))
        shutil.copy(self.options.initrd, os.path.join(tree, "initrd"))
        with open(os.path.join(grub, "grub.cfg"), "w", encoding="ascii") as file:
            file.write(f"linux /vmlinuz {append_line(self.options)}\ninitrd /initrd\nboot\n")
        subprocess.run(["grub-mkrescue", "-o", cd, tree,
                        "--install-modules=normal linux iso9660 biosdisk"],
                       check=True, capture_output=True)

    def configuration(self, cd, log):
        return ["display_library: x",
                f"megs: {self.options.memory}",
                "romimage: file=/usr/share/bochs/BIOS-bochs-latest",
                "vgaromimage: file=/usr/share/seabios/vgabios-isavga.bin",
                "ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14",
                f"ata0-master: type=cdrom, path={cd}, status=inserted",
                "boot: cdrom",
                "com1: enabled=1, mode=file, dev=/dev/stdout",
                "clock: sync=realtime",
                f"cpu: model={BOCHS_CPU}, count=1, ips=50000000",
                "sound: driver=dummy, waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy",
                "speaker: enabled=0",
                f"log: {log}",
                "panic: action=fatal"]


def panics(log):
    """What made Bochs give up, by its log file."""
    try:
        with open(log, encoding="latin-1") as file:
            return [line.strip() for line in file if ">>PANIC<<" in line]
    except OSError:
        return []


def anello_engines(options):
    """The engines to test: those named, else the best that this build offers."""
    if not os.access(options.anello, os.X_OK):
        die(f"{options.anello} is not there: scripts/build")
    if options.accel:
        return options.accel.split(",")
    answer = subprocess.run([options.anello, "capabilities"], capture_output=True, text=True,
                            check=False)
    try:
        engines = json.loads(answer.stdout)["engines"]
        available = [e["name"] for e in engines if e["available"]]
    except (ValueError, KeyError, TypeError):
        die(f"{options.anello} capabilities does not tell the engines; name them with --accel")
    return ["bt"] if "bt" in available else ["interp"]


def engines_of(options):
    yield Native(options)
    if not options.no_anello:
        for accel in anello_engines(options):
            yield Anello(accel, options)
    if not options.no_qemu:
        qemu = shutil.which("qemu-system-i386")
        if qemu:
            yield Machine("qemu", [qemu, "-accel", "tcg"], options)
        else:
            say("note: no QEMU here; its column is left out")
    if options.bochs:
        yield Bochs(options)
