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
import subprocess
import sys
import time

import stage

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
MODES = ("simple", "extended", "prepared")


def main():
    options = read_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    allow_many_files()
    with stage.Stage() as its_stage:
        peers = start_peers(its_stage, options)
        pgbench = Pgbench(options)
        results = {"idle_memory": [], "transactions": [], "connects": []}
        if options.idle:
            results["idle_memory"] = [measure_idle_memory(peer, options.idle) for peer in peers if peer.pid]
        workloads = [(mode, clients) for clients in options.clients for mode in options.modes]
        for number in range(options.rounds):
            progress(f"round {number + 1} of {options.rounds}")
            for mode, clients in workloads:
                results["transactions"] += [pgbench.transactions(peer, mode, clients) for peer in peers
                                            if can_run(peer, mode, clients)]
            if not options.no_connects:
                results["connects"] += [pgbench.connects(peer) for peer in peers]
        report(results, workloads, peers)
        if options.json:
            options.json.write(json.dumps(results, indent=1))


def read_options():
    numbers = lambda text: [int(number) for number in text.split(",")]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a short run: one round of one second each")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="of one measurement")
    parser.add_argument("--clients", type=numbers, default=[8, 64], help="such as 1,8,64,200,2000 (default 8,64)")
    parser.add_argument("--modes", type=lambda text: text.split(","), default=list(MODES), help=",".join(MODES))
    parser.add_argument("--pool", type=int, default=20, help="servers of a pool")
    parser.add_argument("--scale", type=int, default=10, help="of pgbench's tables")
    parser.add_argument("--idle", type=int, default=2000, help="idle clients whose memory is measured; 0: none")
    parser.add_argument("--no-connects", action="store_true", help="do not measure connecting")
    parser.add_argument("--weir", action="append", type=parse_weir, metavar="NAME=PROGRAM[:WORKERS]",
                        help="builds of Weir to compare (default: weir=target/release/weir)")
    parser.add_argument("--peer", action="append", type=parse_peer, default=[], metavar="NAME=HOST:PORT,PID",
                        help="something that already runs, with database and user \"bench\" and no password")
    parser.add_argument("--without", action="append", default=[], metavar="NAME", help="direct, haproxy or pgbouncer")
    parser.add_argument("--postgres-port", type=int, help="where the bench's PostgreSQL listens (default: a free port)")
    parser.add_argument("--json", type=argparse.FileType("w"), help="a file for all raw figures")
    options = parser.parse_args()
    options.weir = options.weir or [parse_weir("weir=target/release/weir")]
    if options.quick:
        options.rounds, options.seconds, options.scale = 1, 1, 1
    return options


def parse_weir(text):
    """`NAME=PROGRAM[:WORKERS]`; 0 workers: one per core."""
    name, program, workers = re.fullmatch(r"([\w.-]+)=(.+?)(?::(\d+))?", text).groups()
    return name, os.path.abspath(program), int(workers or 0)


def parse_peer(text):
    name, host, port, pid = re.fullmatch(r"([\w.-]+)=(.+):(\d+),(\d+)", text).groups()
    return stage.Peer(name, host, int(port), int(pid))


def start_peers(its_stage, options):
    progress("starting PostgreSQL")
    server = its_stage.postgres(options.scale, options.postgres_port)
    peers = [] if "direct" in options.without else [server]
    for name, start in (("haproxy", lambda: its_stage.haproxy(server)),
                        ("pgbouncer", lambda: its_stage.pgbouncer(server, options.pool))):
        if name not in options.without:
            peer = start()
            peers.append(peer) if peer else progress(f"{name} is not installed (make setup-bench installs it)")
    peers += [its_stage.weir(name, program, server, options.pool, workers) for name, program, workers in options.weir]
    return peers + [stage.wait_until_it_answers(peer) for peer in options.peer]


def can_run(peer, mode, clients):
    fits = not peer.server_per_client or clients <= stage.SERVER_CONNECTIONS // 4
    return fits and (mode != "prepared" or peer.prepared)


class Pgbench:
    """Runs pgbench and measures the peer's CPU time meanwhile."""

    def __init__(self, options):
        self.program = stage.postgres_binaries() / "pgbench"
        self.seconds = options.seconds

    def transactions(self, peer, mode, clients):
        figures = self.run(peer, clients, f"--protocol={mode}")
        return {"peer": peer.name, "mode": mode, "clients": clients, **figures}

    def connects(self, peer):
        return {"peer": peer.name, **self.run(peer, 8, "--connect")}

    def run(self, peer, clients, *more):
        command = [self.program, "--select-only", "--no-vacuum", f"--time={self.seconds}", f"--client={clients}",
                   f"--jobs={min(clients, os.cpu_count())}", f"--host={peer.host}", f"--port={peer.port}",
                   f"--username={stage.USER}", *more, stage.DATABASE]
        before = cpu_seconds(peer.pid)
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        after = cpu_seconds(peer.pid)
        if result.returncode != 0:
            raise RuntimeError(f"pgbench failed on {peer.name}:\n{result.stderr}")
        count = int(find(r"actually processed: (\d+)", result.stdout))
        user_us, system_us = ((new - old) * 1e6 / max(count, 1) for new, old in zip(after, before))
        return {"tps": float(find(r"tps = ([\d.]+)", result.stdout)),
                "latency_ms": float(find(r"latency average = ([\d.]+)", result.stdout)),
                "user_us": user_us, "system_us": system_us, "cpu_us": user_us + system_us}


def measure_idle_memory(peer, clients):
    """Resident bytes that each idle client adds. Each has had a query, and is back to holding nothing."""
    if peer.server_per_client:
        clients = min(clients, stage.SERVER_CONNECTIONS // 4)
    progress(f"{clients} idle clients on {peer.name}")
    warm = [stage.connect(peer) for _ in range(10)]
    before = resident_bytes(peer.pid)
    idle = [stage.connect(peer) for _ in range(clients)]
    after = resident_bytes(peer.pid)
    for client in warm + idle:
        client.close()
    return {"peer": peer.name, "clients": clients, "bytes_per_client": (after - before) / clients}


def cpu_seconds(pid):
    """User and system time of a process, all threads."""
    if pid is None:
        return 0.0, 0.0
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[11]) / TICKS_PER_S, int(fields[12]) / TICKS_PER_S


def resident_bytes(pid):
    with open(f"/proc/{pid}/status") as file:
        return int(find(r"VmRSS:\s+(\d+) kB", file.read())) * 1024


def find(pattern, text):
    found = re.search(pattern, text)
    if not found:
        raise RuntimeError(f"no {pattern!r} in:\n{text}")
    return found[1]


def allow_many_files():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def report(results, workloads, peers):
    yardstick = next((peer.name for peer in peers if peer.name.startswith("pgbouncer")), None)
    for mode, clients in workloads:
        rows = [row for row in results["transactions"] if (row["mode"], row["clients"]) == (mode, clients)]
        print_table(f"pgbench -S -M {mode}, {clients} clients", rows, peers, yardstick)
    if results["connects"]:
        print_table("connecting: pgbench -S -C, 8 clients", results["connects"], peers, yardstick)
    for row in results["idle_memory"]:
        print(f"{row['bytes_per_client'] / 1024:8.1f} kB per idle client  {row['peer']} ({row['clients']} clients)")


def print_table(title, rows, peers, yardstick):
    """One line per peer: medians over the rounds, and CPU and throughput as ratios to PgBouncer's."""
    medians = {peer.name: median_of([row for row in rows if row["peer"] == peer.name]) for peer in peers}
    reference = medians.get(yardstick)
    print(f"\n{title}")
    print(f"  {'':18} {'tps':>8} {'ms':>8} {'cpu us':>8} {'user':>7} {'system':>7} {'cpu x':>6} {'tps x':>6}")
    for name, figures in medians.items():
        if not figures:
            print(f"  {name:18} {'-':>8}")
            continue
        cpu, user, system = ((figures[key] or None) for key in ("cpu_us", "user_us", "system_us"))
        print(f"  {name:18} {figures['tps']:8.0f} {figures['latency_ms']:8.3f} {number(cpu, 8)} {number(user, 7)} "
              f"{number(system, 7)} {ratio(figures, reference, 'cpu_us')} {ratio(figures, reference, 'tps')}")


def median_of(rows):
    keys = ("tps", "latency_ms", "cpu_us", "user_us", "system_us")
    return {key: statistics.median(row[key] for row in rows) for key in keys} if rows else None


def number(value, width):
    return f"{value:{width}.1f}" if value else "-".rjust(width)


def ratio(figures, reference, key):
    known = reference and reference[key] and figures[key]
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
