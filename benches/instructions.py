#!/usr/bin/env python3
"""How many instructions Weir executes for a transaction, by function: one shard, `SELECT abalance ...` as pgbench sends it.

Instructions are counted by callgrind, so they are the same on a busy machine as on a quiet one. What the kernel does
is not in them: `make bench` measures that. The figures are printed and compared with nothing.
"""

import argparse
import collections
import re
import struct
import sys
import time

import stage

QUERY = b"SELECT abalance FROM pgbench_accounts WHERE aid = "


def main():
    options = read_options()
    with stage.Stage() as its_stage:
        server = its_stage.postgres(scale=1)
        weir = its_stage.weir_for(options.way, "weir", options.weir, server, pool_size=20, workers=1, under=CALLGRIND)
        tool = Callgrind(its_stage, weir.pid, options.by, options.within)
        for clients in options.clients:
            for mode in options.modes:
                measure(tool, weir, mode, MODES[mode], clients, options)


def read_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", default="target/release/weir", help="the program (default: target/release/weir)")
    parser.add_argument("--clients", type=lambda text: [int(part) for part in text.split(",")], default=[1, 64],
                        help="clients whose transactions come at one go (default 1,64)")
    parser.add_argument("--way", choices=stage.WAYS, default="plain", help="what Weir is in front of (default: plain)")
    parser.add_argument("--transactions", type=int, default=1600)
    parser.add_argument("--by", choices=("function", "line"), default="function", help="what the list is of")
    parser.add_argument("--within", default="", metavar="NAME", help="only functions with this in their name")
    parser.add_argument("--modes", type=lambda text: text.split(","), default=list(MODES), help=",".join(MODES))
    parser.add_argument("--top", type=int, default=12, help="lines of the list (default 12)")
    return parser.parse_args()


def measure(tool, weir, mode, transaction, clients, options):
    connections = [stage.connect(weir) for _ in range(clients)]
    try:
        for connection in connections:
            transaction.prepare(connection)
        rounds = options.transactions // clients
        run(connections, transaction, rounds // 4)
        tool.begin()
        run(connections, transaction, rounds)
        functions = tool.end()
    finally:
        for connection in connections:
            connection.close()
    report(mode, clients, rounds * clients, functions, options.top)


def run(connections, transaction, rounds):
    """Each round is one transaction of every client."""
    for number in range(rounds):
        for connection in connections:
            connection.sendall(transaction.message(number % 100000 + 1))
        for connection in connections:
            stage.read_until_ready(connection)


class Simple:
    def prepare(self, connection):
        pass

    def message(self, key):
        return message(b"Q", QUERY + str(key).encode() + b";\0")


class Extended:
    """Parse, Bind, Describe, Execute, Sync, as `pgbench -M extended` does."""

    def prepare(self, connection):
        pass

    def message(self, key):
        return parse(b"") + bind(b"", key) + message(b"D", b"P\0") + EXECUTE_AND_SYNC


class Prepared:
    def prepare(self, connection):
        connection.sendall(parse(b"P_0") + message(b"S", b""))
        stage.read_until_ready(connection)

    def message(self, key):
        return bind(b"P_0", key) + message(b"D", b"P\0") + EXECUTE_AND_SYNC


def message(tag, body):
    return tag + struct.pack("!i", len(body) + 4) + body


def parse(name, more=b""):
    return message(b"P", name + b"\0" + QUERY + b"$1" + more + b";\0" + struct.pack("!h", 0))


def bind(name, key):
    text = str(key).encode()
    return message(b"B", b"\0" + name + b"\0" + struct.pack("!hhi", 0, 1, len(text)) + text + struct.pack("!h", 0))


EXECUTE_AND_SYNC = message(b"E", b"\0" + struct.pack("!i", 0)) + message(b"S", b"")
MODES = {"simple": Simple(), "extended": Extended(), "prepared": Prepared()}
CALLGRIND = ["valgrind", "--tool=callgrind", "--instr-atstart=no",
             "--callgrind-out-file=callgrind.out"]


class Callgrind:
    """Counts what a process does between `begin` and `end`."""

    def __init__(self, its_stage, pid, by="function", within=""):
        self.stage, self.pid, self.by, self.within, self.dumps = its_stage, pid, by, within, 0

    def begin(self):
        self.control("--instr=on")
        self.control("--zero")

    def end(self):
        """Instructions by function."""
        self.control("--dump")
        self.control("--instr=off")
        self.dumps += 1
        file = self.stage.directory / f"callgrind.out.{self.dumps}"
        deadline = time.monotonic() + stage.START_LIMIT_S
        while not file.exists():
            if time.monotonic() > deadline:
                raise RuntimeError("callgrind wrote no counts")
            time.sleep(0.05)
        return read_counts(file, self.by, self.within)

    def control(self, order):
        self.stage.run("callgrind_control", order, str(self.pid))


def read_counts(file, by, within=""):
    """Instructions by function or by source line, from a file in callgrind's format. What was inlined counts for the function
    that it was inlined into, and for its own line."""
    names, counts, is_call = {}, collections.Counter(), False
    function = source = ""
    line = 0
    for text in file.read_text().splitlines():
        if named := re.match(r"(c?)(fn|fl|fi|fe|file|ob)=(?:\((\d+)\))?(?: ?(.*))?", text):
            callee, kind, number, name = named.groups()
            space = "fn" if kind == "fn" else "ob" if kind == "ob" else "fl"
            name = names.setdefault((space, number), name)
            if not callee and space == "fn":
                function = name
            elif not callee and space == "fl":
                source = name
        elif text.startswith("calls="):
            is_call = True
        elif at := re.match(r"([+*-]?)(\d*) (\d+)", text):
            step = int(at[2] or 0)
            line = {"": step, "+": line + step, "-": line - step, "*": line}[at[1]]
            # The line behind a call has what was spent in the function that is called: that counts there.
            if not is_call:
                if within in function:
                    counts[function if by == "function" else f"{source}:{line}"] += int(at[3])
            is_call = False
    return counts


def report(mode, clients, transactions, functions, top):
    total = sum(functions.values())
    print(f"\n{mode}, {clients} at one go: {total / transactions:,.0f} instructions per transaction")
    for function, count in functions.most_common(top):
        print(f"  {count / transactions:8.0f} {100 * count / total:5.1f} %  {function[-110:]}")


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as error:
        sys.exit(f"bench: {error}")
