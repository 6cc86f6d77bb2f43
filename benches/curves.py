#!/usr/bin/env python3
"""What a transaction costs as things grow: clients, pools, prepared statements, shards, entries of a shard map.

Costs are instructions in Weir, counted by callgrind, of one transaction (`SELECT abalance ...` by its key), so that a busy
machine does not change them. What the kernel does is not in them. Caches of the processor are not either: cold memory
costs time that this does not show.
"""

import argparse
import resource
import sys

import instructions
import stage

TRANSACTIONS = 1600


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", default="target/release/weir", help="the program (default: target/release/weir)")
    parser.add_argument("--curves", type=lambda text: text.split(","), default=list(CURVES), help=",".join(CURVES))
    options = parser.parse_args()
    # Under callgrind a large shard map takes its time.
    stage.START_LIMIT_S = 600
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for name in options.curves:
        sizes, measure = CURVES[name]
        print(f"\n{name}: instructions per transaction")
        for size in sizes:
            with stage.Stage() as its_stage:
                print(f"  {size:9,d}  {measure(its_stage, options.weir, size):9,.0f}", flush=True)


def clients(its_stage, program, count):
    """That many clients are connected; eight of them have transactions."""
    server = its_stage.postgres(scale=1)
    weir = its_stage.weir("weir", program, server, pool_size=20, workers=1, under=instructions.CALLGRIND)
    connections = [stage.connect(weir) for _ in range(max(count, 8))]
    return count_instructions(its_stage, weir, connections[:8], instructions.Simple())


def pools(its_stage, program, count):
    """Transactions of that many users in turn, each with a pool of its own."""
    server = its_stage.postgres(scale=1, settings={"max_connections": count + 100})
    users = [f"user_{number}" for number in range(count)]
    control = stage.connect(server)
    for user in users:
        stage.query(control, f"CREATE ROLE {user} SUPERUSER LOGIN")
    control.close()
    weir = its_stage.weir("weir", program, server, pool_size=1, workers=1, users=users, under=instructions.CALLGRIND)
    connections = [stage.connect(weir, user=user) for user in users]
    return count_instructions(its_stage, weir, connections, instructions.Simple())


def statements(its_stage, program, count):
    """Transactions with that many prepared statements in turn. The server keeps them all."""
    server = its_stage.postgres(scale=1)
    weir = its_stage.weir("weir", program, server, pool_size=1, workers=1, under=instructions.CALLGRIND,
                          settings=f"max_prepared_statements = {count + 1}")
    return count_instructions(its_stage, weir, [stage.connect(weir)], PreparedInTurn(count))


class PreparedInTurn:
    """Statements whose texts differ, bound one after the other."""

    def __init__(self, count):
        self.names = [b"S_%d" % number for number in range(count)]
        self.next = 0

    def prepare(self, connection):
        for number, name in enumerate(self.names):
            connection.sendall(instructions.parse(name, b" AND bid <> -%d" % number) + self.bind(name)
                               + instructions.message(b"S", b""))
            stage.read_until_ready(connection)

    def bind(self, name):
        return instructions.bind(name, 1) + instructions.message(b"D", b"P\0")

    def message(self, key):
        self.next = (self.next + 1) % len(self.names)
        return self.bind(self.names[self.next]) + instructions.EXECUTE_AND_SYNC


def shards(its_stage, program, count):
    """Transactions of keys that are spread over that many shards, each a database of one server."""
    return sharded(its_stage, program, count, f"""
        method = "hash"
        key_type = "int4"
        placement = "even"
        """)


def ranges(its_stage, program, count):
    """Transactions of keys in a range keyspace with that many ranges, on two shards."""
    width = 100_000 // count if count <= 100_000 else 1
    lines = [f'{{ from = {number * width}, to = {(number + 1) * width}, shard = "shard_{number % 2}" }},'
             for number in range(count)]
    return sharded(its_stage, program, 2, "\n".join([
        'method = "range"', 'key_type = "int4"', "allow_gaps = true", "ranges = [", *lines, "]"]))


def sharded(its_stage, program, count, keyspace):
    server = its_stage.postgres(scale=1)
    names = its_stage.shards(server, count)
    shard_map = its_stage.accounts_map(names, keyspace)
    weir = its_stage.weir("weir", program, server, pool_size=1, workers=1, shards=names, shard_map=shard_map,
                          under=instructions.CALLGRIND)
    return count_instructions(its_stage, weir, [stage.connect(weir)], instructions.Simple())


def count_instructions(its_stage, weir, connections, transaction):
    tool = instructions.Callgrind(its_stage, weir.pid)
    for connection in connections:
        transaction.prepare(connection)
    rounds = max(TRANSACTIONS // len(connections), 2)
    # Every shard, pool and statement is met before it counts.
    instructions.run(connections, transaction, rounds)
    tool.begin()
    instructions.run(connections, transaction, rounds)
    counts = tool.end()
    for connection in connections:
        connection.close()
    return sum(counts.values()) / (rounds * len(connections))


def directory(its_stage, program, count):
    """Transactions of keys in a directory keyspace with that many values, on two shards. The keys asked for are among them."""
    halves = [", ".join(map(str, range(first, count, 2))) for first in (0, 1)]
    listed = "\n".join(f"shard_{number} = [{values}]" for number, values in enumerate(halves))
    return sharded(its_stage, program, 2, f"""
        method = "directory"
        key_type = "int4"
        default_shard = "shard_0"
        values = {{ {", ".join(listed.splitlines())} }}
        """)


CURVES = {
    "clients": ((10, 100, 1000, 10000), clients),
    "pools": ((1, 10, 100, 1000), pools),
    "statements": ((1, 100, 10_000, 100_000), statements),
    "shards": ((1, 4, 16, 64, 256), shards),
    "ranges": ((2, 100, 10000, 100000), ranges),
    "directory": ((1000, 100_000, 1_000_000), directory),
}

if __name__ == "__main__":
    try:
        main()
    except RuntimeError as error:
        sys.exit(f"bench: {error}")
