#!/usr/bin/env python3
"""What pooling costs: `pgbench -S` straight to PostgreSQL, and through HAProxy, PgBouncer and Weir, in one run.

Rounds are interleaved, so that whatever else the machine does hits all peers alike; figures are medians over rounds.
The figure to compare is CPU: microseconds of the proxy's own time (user and system, all threads) per transaction.
Transactions per second say more about the machine, where clients, server and proxy share its cores.
"""

import argparse
import json
import os
import re
import resource
import signal
import statistics
import sys
import time

import measure
import stage

MODES = ("simple", "extended", "prepared")
PARTS = ("memory", "transactions", "connects", "streams", "calls")


def main():
    options = read_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    allow_many_files()
    with stage.Stage() as its_stage:
        peers = start_peers(its_stage, options)
        results = run(measure.Pgbench(its_stage, options.seconds), peers, options)
        if options.json:
            options.json.write(json.dumps(results, indent=1))
        report(results, peers)


def read_options():
    numbers = lambda text: [int(number) for number in text.split(",")]
    words = lambda text: text.split(",")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a short run: one round of one second each")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="of one measurement")
    parser.add_argument("--clients", type=numbers, default=[8, 64], help="such as 1,8,64,200,2000 (default 8,64)")
    parser.add_argument("--modes", type=words, default=list(MODES), help=",".join(MODES))
    parser.add_argument("--parts", type=words, default=list(PARTS), help=f"what is measured (default {','.join(PARTS)})")
    parser.add_argument("--pool", type=int, default=20, help="servers of a pool")
    parser.add_argument("--scale", type=int, default=10, help="of pgbench's tables")
    parser.add_argument("--idle", type=numbers, default=[2000], help="idle clients whose memory is measured")
    parser.add_argument("--weir", action="append", type=parse_weir, metavar="NAME=PROGRAM[:WORKERS[:WAY]]",
                        help="builds of Weir to compare (default: weir=target/release/weir with one and two workers), and "
                             f"what each is in front of: {', '.join(stage.WAYS)}")
    parser.add_argument("--peer", action="append", type=parse_peer, default=[], metavar="NAME=HOST:PORT,PID",
                        help="something that already runs, with database and user \"bench\" and no password")
    parser.add_argument("--without", action="append", default=[], metavar="NAME", help="direct, haproxy or pgbouncer")
    parser.add_argument("--postgres-port", type=int, help="where the bench's PostgreSQL listens (default: a free port)")
    parser.add_argument("--json", type=argparse.FileType("w"), help="a file for all raw figures")
    options = parser.parse_args()
    options.weir = options.weir or [parse_weir(f"weir-{workers}=target/release/weir:{workers}") for workers in (1, 2)]
    if options.quick:
        options.rounds, options.seconds, options.scale = 1, 1, 1
    return options


def parse_weir(text):
    """`NAME=PROGRAM[:WORKERS[:WAY]]`; 0 workers: one per core."""
    ways = "|".join(stage.WAYS)
    name, program, workers, way = re.fullmatch(rf"([\w.-]+)=(.+?)(?::(\d+)(?::({ways}))?)?", text).groups()
    return name, os.path.abspath(program), int(workers or 0), way or "plain"


def parse_peer(text):
    name, host, port, pid = re.fullmatch(r"([\w.-]+)=(.+):(\d+),(\d+)", text).groups()
    return stage.Peer(name, host, int(port), int(pid))


def start_peers(its_stage, options):
    progress("starting PostgreSQL")
    server = its_stage.postgres(options.scale, options.postgres_port)
    if any(way == "sharded" for *_, way in options.weir):
        # Copies of its database, which nobody may use meanwhile.
        its_stage.shards(server, stage.SHARDS)
    peers = [] if "direct" in options.without else [server]
    for name, start in (("haproxy", lambda: its_stage.haproxy(server)),
                        ("pgbouncer", lambda: its_stage.pgbouncer(server, options.pool))):
        if name not in options.without:
            peer = start()
            peers.append(peer) if peer else progress(f"{name} is not installed (make setup-bench installs it)")
    peers += [its_stage.weir_for(way, name, program, server, options.pool, workers)
              for name, program, workers, way in options.weir]
    return peers + [stage.wait_until_it_answers(peer) for peer in options.peer]


def run(pgbench, peers, options):
    """All raw figures: for each part a list of rows, each with its peer."""
    results = {part: [] for part in PARTS}
    proxies = [peer for peer in peers if peer.pid]
    workloads = [(mode, clients) for clients in options.clients for mode in options.modes]
    if "memory" in options.parts:
        for clients in options.idle:
            progress(f"{clients} idle clients")
            results["memory"] += [measure.idle_memory(peer, clients) for peer in proxies]
    for number in range(options.rounds):
        progress(f"round {number + 1} of {options.rounds}")
        if "transactions" in options.parts:
            for mode, clients in workloads:
                results["transactions"] += [pgbench.transactions(peer, mode, clients) for peer in peers
                                            if can_run(peer, mode, clients)]
        if "connects" in options.parts:
            for auth in ("trust", "scram"):
                results["connects"] += [pgbench.connects(peer, auth) for peer in peers
                                        if auth == "trust" or peer.scram_port]
        if "streams" in options.parts:
            for peer in filter(lambda peer: peer.makes_tables, peers):
                results["streams"] += [{"peer": peer.name, "stream": stream, **figures}
                                       for stream, figures in measure.streams(peer)]
    if "calls" in options.parts and measure.has_strace():
        progress("system calls")
        results["calls"] += [pgbench.system_calls(peer, mode, clients) for mode, clients in workloads for peer in proxies
                             if can_run(peer, mode, clients)]
    return results


def can_run(peer, mode, clients):
    fits = not peer.server_per_client or clients <= stage.SERVER_CONNECTIONS // 4
    return fits and (mode != "prepared" or peer.prepared)


def allow_many_files():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def report(results, peers):
    names = [peer.name for peer in peers]
    yardstick = next((name for name in names if name.startswith("pgbouncer")), None)
    tables = {}
    for row in results["transactions"]:
        title = f"pgbench -S -M {row['mode']}, {row['clients']} clients"
        tables.setdefault(title, []).append(row)
    for row in results["connects"]:
        tables.setdefault(f"connecting ({row['auth']}): pgbench -S -C, 8 clients", []).append(row)
    for title, rows in tables.items():
        print_table(title, rows, names, yardstick)
    print_streams(results["streams"], names)
    for row in results["calls"]:
        calls = ", ".join(f"{name} {count:.2f}" for name, count in sorted(row["calls"].items(), key=lambda item: -item[1])
                          if count >= 0.05)
        print(f"{sum(row['calls'].values()):6.2f} system calls per transaction  {row['peer']}, {row['mode']}, "
              f"{row['clients']} clients: {calls}")
    for row in results["memory"]:
        print(f"{row['bytes_per_client'] / 1024:6.2f} KiB per idle client  {row['peer']} ({row['clients']} clients)")


def print_table(title, rows, names, yardstick):
    """One line per peer: medians over the rounds, and CPU and throughput as ratios to PgBouncer's."""
    medians = {name: medians_of([row for row in rows if row["peer"] == name]) for name in names}
    reference = medians.get(yardstick)
    print(f"\n{title}")
    print(f"  {'':18} {'tps':>8} {'p50 ms':>8} {'p99 ms':>8} {'cpu us':>8} {'user':>7} {'system':>7} {'cpu x':>6} {'tps x':>6}")
    for name, figures in medians.items():
        if not figures:
            continue
        columns = [number(figures.get(key), 8, digits) for key, digits in (
            ("tps", 0), ("p50_ms", 3), ("p99_ms", 3), ("cpu_us", 1))]
        columns += [number(figures.get(key), 7, 1) for key in ("user_us", "system_us")]
        print(f"  {name:18} {' '.join(columns)} {ratio(figures, reference, 'cpu_us')} {ratio(figures, reference, 'tps')}")


def print_streams(rows, names):
    """CPU seconds of the proxy per 100 MB, and MB per second."""
    for stream in dict.fromkeys(row["stream"] for row in rows):
        print(f"\n{stream}, 100 MB  (cpu s, MB/s)")
        for name in names:
            figures = medians_of([row for row in rows if (row["peer"], row["stream"]) == (name, stream)])
            if figures:
                print(f"  {name:18} {number(figures['cpu_s'], 8, 3)} {number(figures['mb_per_s'], 8, 0)}")


def medians_of(rows):
    keys = [key for key, value in rows[0].items() if isinstance(value, (int, float))] if rows else []
    return {key: statistics.median(row[key] for row in rows) for key in keys}


def number(value, width, digits):
    return f"{value:{width}.{digits}f}" if value else "-".rjust(width)


def ratio(figures, reference, key):
    known = reference and reference.get(key) and figures.get(key)
    return f"{figures[key] / reference[key]:6.2f}" if known else "-".rjust(6)


def progress(text):
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("stopped")
    except RuntimeError as error:
        sys.exit(f"bench: {error}")
