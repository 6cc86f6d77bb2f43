#!/usr/bin/env python3
"""What a database on three shards costs beside the same in one PostgreSQL, both measured in one run.

The shards are databases of one server, and the same rows are in one more database of it, so that both have the same
machine. Times are seconds or milliseconds of the whole, CPU is Weir's own. Ratios say more than times.
"""

import argparse
import random
import statistics
import struct
import sys
import time

import measure
import stage

SHARDS = ["shard_0", "shard_1", "shard_2"]
SINGLE = "single"
KEYS = 100_000
CHUNK_ROWS = 50_000
# The first error is the answer: a bench of refusals would be a fast one.
ERROR = b"E"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", default="target/release/weir", help="the program (default: target/release/weir)")
    parser.add_argument("--rows", type=int, default=5_000_000, help="rows that are copied in (default: 5,000,000)")
    options = parser.parse_args()
    with stage.Stage() as its_stage:
        weir, server = start(its_stage, options.weir)
        both = Both(weir, server)
        print(f"{'':44}{'3 shards':>12}{'one':>12}{'ratio':>8}{'Weir CPU s':>12}")
        both.copy_in(options.rows)
        both.statements(options.rows)
        both.writes()
        both.points()


def start(its_stage, program):
    server = its_stage.postgres(scale=1, settings={"max_prepared_transactions": 100, "max_wal_size": "8GB"})
    control = stage.connect(server, database="postgres")
    for name in [*SHARDS, SINGLE]:
        stage.query(control, f"CREATE DATABASE {name}")
    control.close()
    listed = ", ".join(f'"{name}"' for name in SHARDS)
    shard_map = its_stage.file("map.toml", f"""
        shards = [{listed}]
        [keyspaces.account]
        method = "hash"
        key_type = "int8"
        placement = "even"
        [tables]
        rows = {{ keyspace = "account", key = "key" }}
        accounts = {{ keyspace = "account", key = "key" }}
        """)
    weir = its_stage.weir("weir", program, server, pool_size=4, workers=1, shards=SHARDS, shard_map=shard_map,
                          database='repeatable_read = "all_shards"')
    return weir, server


class Both:
    """A connection to each, and the same done on both."""

    def __init__(self, weir, server):
        self.weir = weir
        self.sharded = stage.connect(weir)
        self.single = stage.connect(server, database=SINGLE)
        for client in (self.sharded, self.single):
            stage.query(client, "CREATE TABLE rows (key int8, other int8, amount numeric, note text)")
            stage.query(client, "CREATE TABLE accounts (key int8 PRIMARY KEY, balance int8)")
        self.random = random.Random(1)

    def compare(self, what, work, *, rounds=1, unit="s"):
        """Medians of `rounds`, in turn on both; Weir's CPU is of one round."""
        times = ([], [])
        before = sum(measure.cpu_seconds(self.weir.pid))
        for _ in range(rounds):
            for client, taken in zip((self.sharded, self.single), times):
                began = time.perf_counter()
                work(client)
                taken.append(time.perf_counter() - began)
        used = (sum(measure.cpu_seconds(self.weir.pid)) - before) / rounds
        ours, theirs = (statistics.median(taken) * (1000 if unit == "ms" else 1) for taken in times)
        print(f"{what:44}{ours:10.3f}{unit:>2}{theirs:10.3f}{unit:>2}{ours / theirs:8.2f}{used:12.3f}", flush=True)
        return ours, used

    def copy_in(self, rows):
        lines = [f"{self.random.randrange(KEYS)}\t{self.random.randrange(KEYS)}\t{number % 997}.25\tnote {number % 89}\n"
                 for number in range(CHUNK_ROWS)]
        body = "".join(lines).encode()
        chunk = b"d" + struct.pack("!i", len(body) + 4) + body

        def work(client):
            client.sendall(stage.query_message("COPY rows FROM STDIN"))
            for _ in range(rows // CHUNK_ROWS):
                client.sendall(chunk)
            client.sendall(b"c" + struct.pack("!i", 4))
            stage.read_until_ready(client)

        self.compare(f"COPY of {rows:,} rows", work)
        accounts = ", ".join(f"({key}, 100)" for key in range(1000))
        for client in (self.sharded, self.single):
            stage.query(client, f"INSERT INTO accounts VALUES {accounts}")
            stage.query(client, "ANALYZE")

    def statements(self, rows):
        for what, sql, rounds in [
            ("GROUP BY over all rows", "SELECT note, count(*), sum(amount) FROM rows GROUP BY note", 3),
            ("count(*), sum(amount)", "SELECT count(*), sum(amount) FROM rows", 3),
            ("ORDER BY amount LIMIT 100", "SELECT * FROM rows ORDER BY amount DESC, key LIMIT 100", 3),
            ("1,000,000 rows to the client", "SELECT * FROM rows WHERE key < %d" % (KEYS * 1_000_000 // rows), 3),
            ("gather: window over 1,000 rows", window(KEYS * 1_000 // rows or 1), 3),
            ("gather: window over 100,000 rows", window(KEYS * 100_000 // rows), 3),
            ("gather: window over 1,000,000 rows", window(KEYS * 1_000_000 // rows), 1),
            ("count(*) of a self join by the key", "SELECT count(*) FROM accounts a JOIN accounts b USING (key)", 5),
        ]:
            try:
                self.compare(what, lambda client, sql=sql: checked(client, sql), rounds=rounds)
            except ConnectionError as error:
                print(f"{what:44}refused: {error}", flush=True)

    def writes(self):
        values = ", ".join(f"({self.random.randrange(KEYS)}, {number}, 1, 'x')" for number in range(1000))
        self.compare("INSERT of 1,000 rows", lambda client: stage.query(client, f"INSERT INTO rows VALUES {values}"),
                     rounds=20, unit="ms")
        one = [(1, 1)]
        two = [(key, key + 1) for key in range(20)]
        for what, pairs in [("transaction: two updates of one row", one), ("transaction: updates of two rows", two)]:
            self.compare(what, lambda client, pairs=pairs: self.transfer(client, pairs), rounds=200, unit="ms")

    def transfer(self, client, pairs):
        first, second = self.random.choice(pairs)
        for sql in ("BEGIN", f"UPDATE accounts SET balance = balance - 1 WHERE key = {first}",
                    f"UPDATE accounts SET balance = balance + 1 WHERE key = {second}", "COMMIT"):
            stage.query(client, sql)

    def points(self):
        for what, sql in [("read of one row", "SELECT balance FROM accounts WHERE key = 1"),
                          ("read of two rows, on two shards", "SELECT balance FROM accounts WHERE key IN (1, 2, 3, 4)")]:
            self.compare(what, lambda client, sql=sql: stage.query(client, sql), rounds=2000, unit="ms")
            for level in ("READ COMMITTED", "REPEATABLE READ"):
                self.compare(f"  in a block, {level}", lambda client, sql=sql, level=level: self.block(client, level, sql),
                             rounds=2000, unit="ms")

    def block(self, client, level, sql):
        for each in (f"BEGIN ISOLATION LEVEL {level} READ ONLY", sql, "COMMIT"):
            stage.query(client, each)


def window(below):
    return ("SELECT count(*) FROM (SELECT rank() OVER (PARTITION BY other ORDER BY amount) AS place FROM rows "
            f"WHERE key < {below}) AS ranked WHERE place = 1")


def checked(client, sql):
    client.sendall(stage.query_message(sql))
    kind = client.recv(1 << 16)
    tail, count = kind[-6:], len(kind)
    buffer = bytearray(1 << 20)
    while tail[-6:-1] != b"Z\0\0\0\x05":
        received = client.recv_into(buffer)
        count += received
        tail = (tail + buffer[max(received - 6, 0):received])[-6:]
    if kind.startswith(ERROR):
        raise ConnectionError(kind[:300])
    return count


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as error:
        sys.exit(f"bench: {error}")
