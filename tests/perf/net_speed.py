#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How fast a network card is inside the guest, beside QEMU's TCG.

usage: net_speed.py [--card e1000|virtio]... [--rounds N] [--mib N] [--connections N]
                    [--build BUILD] [--binary FILE] [--other FILE|none] [--json FILE]

A Linux guest with a busybox talks by TCP and the user-mode NAT to a server on the host's loopback:
it receives --mib MiB, sends as many, and fetches one byte --connections times, each time by another
program and connection. The server measures, from the first connection to the last byte. The machines
take turns; medians of --rounds are printed in MiB/s or connections a second, and how much faster the
first machine is. Needs the guests kernel-686 and busybox-i386, and scripts/build.
"""

import argparse
import os
import socket
import statistics
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "boot"))

import boot_tests  # noqa: E402 (the path is set just above)
import turns  # noqa: E402

LIMIT = 600  # seconds for each measurement
PIECE = 1 << 16
CARDS = {
    "e1000": ("e1000", ["drivers/net/ethernet/intel/e1000/e1000"]),
    "virtio": ("virtio-net-pci", [*boot_tests.VIRTIO_PCI, "net/core/failover",
                                  "drivers/net/net_failover", "drivers/net/virtio_net"]),
}


class Server:
    """Takes connections one after the other, does SERVE with each, and knows how long all took."""

    def __init__(self, connections, serve):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.settimeout(LIMIT)
        self.port = self.socket.getsockname()[1]
        self.bytes = 0
        self.seconds = None
        self.thread = threading.Thread(target=self.run, args=(connections, serve), daemon=True)
        self.thread.start()

    def run(self, connections, serve):
        start = None
        for _ in range(connections):
            with self.socket.accept()[0] as connection:
                start = start or time.monotonic()
                serve(self, connection)
        self.seconds = time.monotonic() - start

    def finish(self):
        self.thread.join(LIMIT)
        self.socket.close()
        if not self.seconds:
            sys.exit("the guest did not make its connections")
        return self.seconds


def take(server, connection):
    while piece := connection.recv(PIECE):
        server.bytes += len(piece)


def giver(size):
    """Ends when the other side has read all and closes."""
    def give(server, connection):
        data = os.urandom(PIECE)
        for _ in range(size // PIECE):
            connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)
        server.bytes += size
    return give


def give_a_byte(server, connection):
    connection.sendall(b"x")
    server.bytes += 1


def patterns(options):
    """Name, unit, amount, the guest's command, connections, what the server does with each."""
    size = options.mib << 20
    return [
        ("receive", "MiB/s", options.mib, "nc 10.0.2.2 {port} </dev/null | wc -c", 1, giver(size)),
        ("send", "MiB/s", options.mib,
         f"dd if=/dev/zero bs=64k count={size // PIECE} 2>/dev/null | nc 10.0.2.2 {{port}}", 1,
         take),
        ("connections", "a second", options.connections,
         f"for i in $(seq {options.connections}); do nc 10.0.2.2 {{port}} </dev/null >/dev/null; "
         "done", options.connections, give_a_byte),
    ]


def measure(options, binary, card):
    """One run of the guest: pattern -> amount a second."""
    model, modules = CARDS[card]
    context = boot_tests.Context(argparse.Namespace(build=options.build, binary=binary, accel=None,
                                                    patience=1.0))
    added = [(os.path.join(ROOT, "tests", "boot", "lease.sh"), "bin/lease.sh"),
             *boot_tests.module_files(context, "kernel-686", modules)]
    rates = {}
    with boot_tests.linux(context, "kernel-686", "-nic", f"user,model={model}",
                          append="console=ttyS0 no_timer_check", added=added) as guest:
        at = boot_tests.shell(guest)
        os.remove(context.temporary)
        at = boot_tests.load_modules(guest, at, modules)
        at = boot_tests.command(guest, at, "ip link set eth0 up; udhcpc -n -q -i eth0 "
                                "-s /bin/lease.sh", r"address 10\.0\.2\.15", 120)
        for name, _, amount, line, connections, serve in patterns(options):
            server = Server(connections, serve)
            at = boot_tests.command(guest, at, line.format(port=server.port) + "; echo is=$?",
                                    "is=0", LIMIT)
            rates[name] = amount / server.finish()
            guest.check(server.bytes >= amount, f"{name}: {server.bytes} bytes came")
    return rates


def compare(options, card):
    runs = turns.take(options, card, lambda binary: measure(options, binary, card))
    return [{"card": card, "pattern": name, "unit": unit,
             **{os.path.basename(binary): statistics.median(run[name] for run in results)
                for binary, results in runs.items()}}
            for name, unit, *_ in patterns(options)]


def print_table(rows, first, other):
    print(f"{'card':8}{'pattern':14}{'':10}{first:>14}" + (f"{other:>22}{'ratio':>8}" if other else ""))
    for row in rows:
        line = f"{row['card']:8}{row['pattern']:14}{row['unit']:10}{row[first]:14.1f}"
        if other:
            line += f"{row[other]:22.1f}{row[first] / row[other]:8.2f}"
        print(line)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--card", action="append", choices=list(CARDS))
    parser.add_argument("--mib", type=int, default=64)
    parser.add_argument("--connections", type=int, default=200)
    turns.add_arguments(parser)
    options = parser.parse_args()
    rows = []
    for card in options.card or list(CARDS):
        rows += compare(options, card)
    print_table(rows, *turns.labels(turns.machines(options)))
    turns.write(options, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
