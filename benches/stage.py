"""Starts what is measured: one PostgreSQL, and the proxies in front of it. Everything is stopped when the stage is left."""

import contextlib
import dataclasses
import glob
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

HOST = "127.0.0.1"
USER = DATABASE = "bench"
# Who logs in with a password, where logging in is measured; it is the password too.
SCRAM_USER = "bench_scram"
# More than all proxies and a direct run with 200 clients keep open together.
SERVER_CONNECTIONS = 500
CLIENTS_MAX = 12000
# A client takes two descriptors there.
HAPROXY_CLIENTS_MAX = 5000
START_LIMIT_S = 30
STOP_LIMIT_S = 15
# What Weir may be in front of.
WAYS = ("plain", "split", "sharded")
SHARDS = 2


@dataclasses.dataclass
class Peer:
    """Something that speaks PostgreSQL's protocol at an address; `pid` is the process whose CPU time counts."""

    name: str
    host: str
    port: int
    pid: int | None = None
    # Named prepared statements survive a change of server.
    prepared: bool = True
    # Any table may be made there.
    makes_tables: bool = True
    # Every client has a server of its own.
    server_per_client: bool = False
    # Where `SCRAM_USER` logs in, if it can.
    scram_port: int | None = None
    scram_pid: int | None = None


class Stage(contextlib.ExitStack):
    """A temporary directory, an unprivileged account, and the processes that were started."""

    def __init__(self):
        super().__init__()
        self.account = unprivileged_account()
        self.replicas, self.shard_names = {}, {}

    def __enter__(self):
        super().__enter__()
        self.directory = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory(prefix="weir-bench-")))
        if self.account:
            shutil.chown(self.directory, self.account)
        return self

    def postgres(self, scale, port=None, settings=()):
        """A PostgreSQL with pgbench's tables; it never waits for a disk. `settings`: more of them."""
        binaries = postgres_binaries()
        data = self.directory / "data"
        self.run(binaries / "initdb", "--auth=trust", f"--username={USER}", "--no-sync", f"--pgdata={data}")
        port = port or free_port()
        all_settings = {
            "listen_addresses": HOST, "port": port, "unix_socket_directories": "", "max_connections": SERVER_CONNECTIONS,
            "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "256MB",
            **dict(settings),
        }
        options = [f"-c{name}={value}" for name, value in all_settings.items()]
        pid = self.start("postgres", [binaries / "postgres", f"-D{data}", *options], stop_with=signal.SIGINT)
        wait_until_it_answers(Peer("postgres", HOST, port), database="postgres")
        at = ["-h", HOST, "-p", str(port), "-U", USER]
        self.run(binaries / "createdb", *at, DATABASE)
        self.run(binaries / "createuser", *at, "--superuser", SCRAM_USER)
        self.run(binaries / "pgbench", *at, "--initialize", "--quiet", f"--scale={scale}", DATABASE)
        return Peer("direct", HOST, port, None, server_per_client=True)

    def replica(self, server):
        """A streaming replica; asked for again, the same one."""
        if not self.replicas.get(server.port):
            data, port = self.directory / f"replica-{server.port}", free_port()
            self.run(postgres_binaries() / "pg_basebackup", "-h", server.host, "-p", str(server.port), "-U", USER,
                     "--checkpoint=fast", "--no-sync", "--write-recovery-conf", f"--pgdata={data}")
            self.start("replica", [postgres_binaries() / "postgres", f"-D{data}", f"-cport={port}",
                                   f"-clisten_addresses={HOST}", "-cunix_socket_directories=",
                                   f"-cmax_connections={SERVER_CONNECTIONS}"], stop_with=signal.SIGINT)
            self.replicas[server.port] = wait_until_it_answers(Peer("replica", HOST, port))
        return self.replicas[server.port]

    def shards(self, server, count):
        """Databases of a server, each with all rows of pgbench's tables; gives their names."""
        names = [f"shard_{number}" for number in range(count)]
        control = connect(server, database="postgres")
        known = self.shard_names.setdefault(server.port, set())
        for name in names:
            if name not in known:
                query(control, f"CREATE DATABASE {name} TEMPLATE {DATABASE}")
                known.add(name)
        control.close()
        return names

    def accounts_map(self, names, keyspace='method = "hash"\nkey_type = "int4"\nplacement = "even"'):
        """The file of a shard map under which pgbench_accounts is sharded by its key."""
        listed = ", ".join(f'"{name}"' for name in names)
        return self.file("map.toml", f"""
            shards = [{listed}]
            [keyspaces.account]
            {keyspace}
            [tables]
            pgbench_accounts = {{ keyspace = "account", key = "aid" }}
            pgbench_branches = {{ reference = true }}
            """)

    def weir_for(self, way, name, program, server, pool_size, workers, **more):
        """Weir in front of one of WAYS: a plain database, one with a replica that gets the reads, or two shards."""
        if way == "split":
            more |= {"database": "read_write_split = true", "replicas": [self.replica(server)]}
        if way == "sharded":
            names = self.shards(server, SHARDS)
            more |= {"shards": names, "shard_map": self.accounts_map(names)}
        return dataclasses.replace(self.weir(name, program, server, pool_size, workers, **more),
                                   makes_tables=way != "sharded")

    def pgbouncer(self, server, pool_size):
        program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
        if not program:
            return None
        version = re.search(r"(\d+)\.(\d+)", subprocess.check_output([program, "--version"], text=True))
        prepared = (int(version[1]), int(version[2])) >= (1, 21)
        users = self.file("users.txt", f'"{USER}" ""\n"{SCRAM_USER}" "{SCRAM_USER}"')
        ports = free_port(), free_port()
        pids = []
        for port, auth in zip(ports, ("trust", "scram-sha-256")):
            config = self.file(f"pgbouncer-{auth}.ini", f"""
                [databases]
                {DATABASE} = host={server.host} port={server.port}
                [pgbouncer]
                listen_addr = {HOST}
                listen_port = {port}
                unix_socket_dir =
                auth_type = {auth}
                auth_file = {users}
                pool_mode = transaction
                default_pool_size = {pool_size}
                max_client_conn = {CLIENTS_MAX}
                log_connections = 0
                log_disconnections = 0
                {"max_prepared_statements = 200" if prepared else ""}
                """)
            pids.append(self.start(f"pgbouncer-{auth}", [program, config]))
        return wait_until_it_answers(Peer(f"pgbouncer {version[0]}", HOST, ports[0], pids[0], prepared=prepared,
                                          scram_port=ports[1], scram_pid=pids[1]))

    def haproxy(self, server):
        program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
        if not program:
            return None
        port = free_port()
        config = self.file("haproxy.cfg", f"""
            global
                maxconn {HAPROXY_CLIENTS_MAX}
            defaults
                mode tcp
                timeout connect 10s
                timeout client 1h
                timeout server 1h
            listen bench
                bind {HOST}:{port}
                server postgres {server.host}:{server.port}
            """)
        pid = self.start("haproxy", [program, "-db", "-q", "-f", config])
        return wait_until_it_answers(Peer("haproxy", HOST, port, pid, server_per_client=True))

    def weir(self, name, program, server, pool_size, workers, *, under=(), users=(), settings="", shards=("only",),
             shard_map=None, database="", replicas=()):
        """Weir, run by the command `under` where there is one. Each shard is a database of the one server; without a
        shard map there is one shard. `database` has more settings of it."""
        port = free_port()
        more_users = "".join(f'\n[[users]]\nname = "{user}"\nauth = "trust"' for user in users)
        listed = ", ".join(f'"{replica.host}:{replica.port}"' for replica in replicas)
        all_shards = "".join(f'\n[[databases.{DATABASE}.shards]]\nname = "{shard}"\nprimary = "{server.host}:{server.port}"'
                             + f"\nreplicas = [{listed}]"
                             + (f'\ndbname = "{shard}"' if shard_map else "") for shard in shards)
        config = self.file(f"{name}.toml", f"""
            [weir]
            listen = "{HOST}:{port}"
            workers = {workers}
            state_dir = "{name}-state"
            [pool]
            max_client_conn = {CLIENTS_MAX}
            {settings}
            [[users]]
            name = "{USER}"
            auth = "trust"
            [[users]]
            name = "{SCRAM_USER}"
            password = "{SCRAM_USER}"{more_users}
            [databases.{DATABASE}]
            pool_size = {pool_size}
            {f'shard_map = "{shard_map}"' if shard_map else ""}
            {database}{all_shards}
            """)
        pid = self.start(name, [*under, os.path.abspath(program), "serve", "--config", config])
        return wait_until_it_answers(Peer(name, HOST, port, pid, scram_port=port, scram_pid=pid))

    def file(self, name, text):
        path = self.directory / name
        path.write_text("\n".join(line.strip() for line in text.strip().splitlines()) + "\n")
        return path

    def run(self, *command):
        """Runs a command to its end, under the unprivileged account."""
        result = subprocess.run(
            command, user=self.account, cwd=self.directory, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if result.returncode != 0:
            raise RuntimeError(f"{command[0]} failed:\n{result.stderr or result.stdout}")
        return result.stdout

    def start(self, name, command, stop_with=signal.SIGTERM):
        """Starts a process in a session of its own, so that Ctrl-C reaches only the bench. Gives the process id."""
        log = self.enter_context(open(self.directory / f"{name}.log", "wb"))
        process = subprocess.Popen(
            command, user=self.account, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True)
        self.callback(stop, process, stop_with)
        return process.pid


def stop(process, with_signal):
    process.send_signal(with_signal)
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def unprivileged_account():
    """PostgreSQL and PgBouncer refuse to run as root; `None`: this process's own account will do."""
    if os.geteuid() != 0:
        return None
    accounts = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in accounts)


def postgres_binaries():
    """`$WEIR_PG_BIN`, else the newest of Debian's versions, else what is in `$PATH`."""
    in_path = shutil.which("initdb")
    debian = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[4]))
    candidates = [os.environ.get("WEIR_PG_BIN"), *reversed(debian), in_path and os.path.dirname(in_path)]
    for candidate in filter(None, candidates):
        if os.access(f"{candidate}/initdb", os.X_OK):
            return pathlib.Path(candidate)
    raise RuntimeError("PostgreSQL's programs were not found; $WEIR_PG_BIN may name their directory")


def free_port():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def wait_until_it_answers(peer, database=DATABASE):
    deadline = time.monotonic() + START_LIMIT_S
    while True:
        try:
            connect(peer, database).close()
            return peer
        except OSError as error:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{peer.name} does not answer: {error}") from error
            time.sleep(0.05)


def connect(peer, database=DATABASE, user=USER):
    """A client that is logged in and has had one query answered."""
    client = socket.create_connection((peer.host, peer.port), timeout=10)
    try:
        parameters = b"".join(f"{word}\0".encode() for word in ("user", user, "database", database, ""))
        client.sendall(struct.pack("!ii", 8 + len(parameters), 0x30000) + parameters)
        read_until_ready(client)
        query(client, "SELECT 1")
    except OSError:
        client.close()
        raise
    return client


def query_message(text):
    return b"Q" + struct.pack("!i", len(text) + 5) + text.encode() + b"\0"


def query(client, text):
    client.sendall(query_message(text))
    read_until_ready(client)


def read_until_ready(client):
    received = b""
    while received[-6:-1] != b"Z\0\0\0\x05":
        more = client.recv(65536)
        if not more or (received + more).startswith(b"E"):
            raise ConnectionError(f"refused: {(received + more)!r}")
        received += more
