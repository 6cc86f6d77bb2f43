"""What is measured at a peer: transactions by pgbench, system calls, connecting, memory of idle clients, long streams."""

import glob
import os
import re
import shutil
import signal
import struct
import subprocess
import time

import stage

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
MEGABYTE = 1_000_000
# Rows of about 1 kB make 100 MB.
STREAM_ROWS = 100_000
STREAM_QUERY = f"SELECT repeat('x', 990) FROM generate_series(1, {STREAM_ROWS})"
# Of the transactions whose latency is kept, where there are many.
SAMPLED = 0.1


class Pgbench:
    """Runs pgbench, and measures the peer's CPU time meanwhile."""

    def __init__(self, its_stage, seconds):
        self.stage, self.seconds = its_stage, seconds
        self.program = stage.postgres_binaries() / "pgbench"

    def transactions(self, peer, mode, clients):
        prefix = self.stage.directory / "latencies"
        logs = ["--log", f"--log-prefix={prefix}", f"--sampling-rate={SAMPLED}"]
        figures = self.run(peer, clients, f"--protocol={mode}", *logs)
        figures |= percentiles(take_latencies(prefix))
        return {"peer": peer.name, "mode": mode, "clients": clients, **figures}

    def connects(self, peer, auth):
        """Each transaction with a connection of its own."""
        if auth == "trust":
            return {"peer": peer.name, "auth": auth, **self.run(peer, 8, "--connect")}
        other = stage.Peer(peer.name, peer.host, peer.scram_port, peer.scram_pid)
        return {"peer": peer.name, "auth": auth, **self.run(other, 8, "--connect", user=stage.SCRAM_USER)}

    def system_calls(self, peer, mode, clients):
        """System calls per transaction, by name. strace slows the peer down, so that more comes at one go than else."""
        counts = self.stage.directory / "strace"
        strace = subprocess.Popen(["strace", "-c", "-f", "-U", "name,calls", "-p", str(peer.pid), "-o", counts],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            # It has to attach itself first.
            time.sleep(0.5)
            done = self.run(peer, clients, f"--protocol={mode}")["count"]
        finally:
            strace.send_signal(signal.SIGINT)
            strace.wait()
        rows = re.findall(r"^(\w+) +(\d+)$", counts.read_text(), re.MULTILINE)
        # Under strace a slow machine may not get anywhere in so short a time.
        calls = {name: int(count) / done for name, count in rows if name != "total"} if done else {}
        return {"peer": peer.name, "mode": mode, "clients": clients, "calls": calls}

    def run(self, peer, clients, *more, user=stage.USER):
        command = [self.program, "--select-only", "--no-vacuum", f"--time={self.seconds}", f"--client={clients}",
                   f"--jobs={min(clients, os.cpu_count())}", f"--host={peer.host}", f"--port={peer.port}",
                   f"--username={user}", *more, stage.DATABASE]
        environment = {**os.environ, "PGPASSWORD": user}
        before = cpu_seconds(peer.pid)
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment)
        after = cpu_seconds(peer.pid)
        if result.returncode != 0:
            raise RuntimeError(f"pgbench failed on {peer.name}:\n{result.stderr}")
        count = int(find(r"actually processed: (\d+)", result.stdout))
        user_us, system_us = ((new - old) * 1e6 / max(count, 1) for new, old in zip(after, before))
        return {"tps": float(find(r"tps = ([\d.]+)", result.stdout)) if count else 0.0, "count": count,
                "user_us": user_us, "system_us": system_us, "cpu_us": user_us + system_us}


def take_latencies(prefix):
    """What pgbench has logged, in milliseconds; the files are removed."""
    latencies = []
    for name in glob.glob(f"{prefix}.*"):
        with open(name) as file:
            latencies += [int(line.split()[2]) / 1000 for line in file]
        os.unlink(name)
    return sorted(latencies)


def percentiles(latencies):
    at = lambda part: latencies[min(int(len(latencies) * part), len(latencies) - 1)] if latencies else 0.0
    return {"p50_ms": at(0.5), "p99_ms": at(0.99)}


def idle_memory(peer, clients):
    """Resident bytes that each idle client adds. Each has had a query, and is back to holding nothing."""
    if peer.server_per_client:
        clients = min(clients, stage.SERVER_CONNECTIONS // 4)
    warm = [stage.connect(peer) for _ in range(10)]
    before = resident_bytes(peer.pid)
    idle = [stage.connect(peer) for _ in range(clients)]
    after = resident_bytes(peer.pid)
    for client in warm + idle:
        client.close()
    return {"peer": peer.name, "clients": clients, "bytes_per_client": (after - before) / clients}


def streams(peer):
    """CPU seconds per 100 MB: a result, COPY to the client, COPY from it."""
    client = stage.connect(peer)
    try:
        yield "result", per_100_megabytes(peer, lambda: ask(client, STREAM_QUERY))
        yield "copy out", per_100_megabytes(peer, lambda: ask(client, f"COPY ({STREAM_QUERY}) TO STDOUT"))
        stage.query(client, "CREATE UNLOGGED TABLE IF NOT EXISTS sink (line text)")
        yield "copy in", per_100_megabytes(peer, lambda: copy_in(client))
        stage.query(client, "TRUNCATE sink")
    finally:
        client.close()


def per_100_megabytes(peer, work):
    before = cpu_seconds(peer.pid)
    began = time.monotonic()
    count = work()
    took = time.monotonic() - began
    used = sum(cpu_seconds(peer.pid)) - sum(before)
    return {"cpu_s": used * 100 * MEGABYTE / count, "mb_per_s": count / took / MEGABYTE}


def ask(client, text):
    """Bytes of the answer, which are not looked at."""
    client.sendall(stage.query_message(text))
    buffer, tail, count = bytearray(1 << 20), b"", 0
    while tail[-6:-1] != b"Z\0\0\0\x05":
        received = client.recv_into(buffer)
        if not received:
            raise ConnectionError("the connection was closed")
        count += received
        tail = (tail + buffer[max(received - 6, 0):received])[-6:]
    return count


def copy_in(client):
    client.sendall(stage.query_message("COPY sink FROM STDIN"))
    line = b"x" * 990 + b"\n"
    data = b"d" + struct.pack("!i", len(line) + 4) + line
    block = data * 100
    for _ in range(STREAM_ROWS // 100):
        client.sendall(block)
    client.sendall(b"c" + struct.pack("!i", 4))
    stage.read_until_ready(client)
    return STREAM_ROWS * len(data)


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


def has_strace():
    return shutil.which("strace") is not None


def find(pattern, text):
    found = re.search(pattern, text)
    if not found:
        raise RuntimeError(f"no {pattern!r} in:\n{text}")
    return found[1]
