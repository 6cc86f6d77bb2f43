#!/usr/bin/env python3
"""Test suites that others wrote, each straight to PostgreSQL, through Weir in session pooling, and through Weir in
transaction pooling with few servers, used in turn, while another client keeps changing the state of its own session on
the same servers (disturb.py).

A suite is a script DIR/NAME.sh that tests whatever listens at PGHOST:PGPORT as the superuser PGUSER with PGPASSWORD. It
sends its set-up to SUITE_ADMIN_HOST:SUITE_ADMIN_PORT, keeps sources in SUITES_DIR and logs in SUITES_OUT, and ends with
the line "NAME: P passed, F failed, S skipped".
"""

import argparse
import dataclasses
import os
import pathlib
import re
import subprocess
import sys
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "benches"))
import stage  # noqa: E402  (the bench starts servers in the same way)

SUITES = ("pgregress", "asyncpg", "tokio-postgres")
MODES = ("direct", "session", "transaction")
USER = PASSWORD = "weir"
# What the suites connect to and log in as.
DATABASES = ("postgres", "regression", "tokio_suite", "asyncpg_intro_test", "testdb")
OTHER_USERS = {"pass_user": "password", "md5_user": "password", "scram_user": "password"}
DISTURBED = {"pgregress": "regression", "asyncpg": "postgres", "tokio-postgres": "tokio_suite"}


@dataclasses.dataclass
class Outcome:
    """What a run of a suite gave."""

    suite: str
    mode: str
    result: str = "no result"
    failed: set = dataclasses.field(default_factory=set)
    transactions: int = 0
    pinned: dict = dataclasses.field(default_factory=dict)
    disturber: str = ""
    seconds: float = 0


def main():
    options = read_options()
    check_needs(options)
    stage.signal.signal(stage.signal.SIGTERM, lambda *_: sys.exit("stopped"))
    outcomes = []
    for suite in options.suite:
        for mode in options.mode:
            progress(f"{suite}, {mode}")
            outcomes.append(run(options, suite, mode))
            progress(describe(outcomes[-1]))
    report(outcomes)
    sys.exit(any(outcome.result == "no result" for outcome in outcomes))


def read_options():
    words = lambda text: text.split(",")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suites", type=pathlib.Path, metavar="DIR", default=os.environ.get("SUITES") or None,
                        help="the directory of the suites' scripts (default: $SUITES)")
    parser.add_argument("--suite", type=words, default=list(SUITES), help=f"some of {','.join(SUITES)}")
    parser.add_argument("--mode", type=words, default=list(MODES), help=f"some of {','.join(MODES)}")
    parser.add_argument("--pool", type=int, default=2, help="servers of a pool in transaction pooling (default 2)")
    parser.add_argument("--undisturbed", action="store_true", help="without the other client")
    parser.add_argument("--weir", type=pathlib.Path, default=ROOT / "target/release/weir", help="the program to test")
    parser.add_argument("--work", type=pathlib.Path, default="/var/tmp/weir-suites",
                        help="sources, builds and logs; PostgreSQL's account must be able to read it")
    return parser.parse_args()


def check_needs(options):
    scripts = [pathlib.Path(options.suites or "") / f"{suite}.sh" for suite in options.suite]
    missing = [f"script {script}" for script in scripts if not script.exists()]
    if not options.suites:
        missing = ["directory of the suites' scripts: make suites SUITES=path"]
    if not options.weir.exists():
        missing.append(f"{options.weir}: cargo build --release")
    if not (ROOT / ".venv/bin/python").exists():
        missing.append(".venv with psycopg: make setup")
    if unknown := set(options.suite) - set(SUITES) | set(options.mode) - set(MODES):
        missing.append(f"suite or mode named {', '.join(sorted(unknown))}")
    if missing:
        sys.exit("suites: there is no " + "\nsuites: there is no ".join(missing))


def run(options, suite, mode):
    """One suite in one mode, on servers of its own."""
    work = options.work.resolve()
    name = mode if mode != "transaction" or options.pool == 2 else f"{mode}{options.pool}"
    out = work / "out" / name
    out.mkdir(parents=True, exist_ok=True)
    with stage.Stage() as its_stage:
        server = start_postgres(its_stage)
        front, metrics = (server, None) if mode == "direct" else start_weir(its_stage, options, server, mode)
        disturber = None
        if mode == "transaction" and not options.undisturbed:
            disturber = start_disturber(its_stage, front, DISTURBED[suite])
        began = time.monotonic()
        result, log = run_script(options, suite, work, out, server, front)
        outcome = Outcome(suite, name, result, failures(out / suite), seconds=time.monotonic() - began)
        if disturber:
            outcome.disturber = stop_disturber(disturber)
        if metrics:
            outcome.transactions, outcome.pinned = read_metrics(metrics)
            (out / f"{suite}.weir.log").write_bytes((its_stage.directory / "weir.log").read_bytes())
        (out / f"{suite}.postgres.log").write_bytes((its_stage.directory / "postgres.log").read_bytes())
    (out / f"{suite}.log").write_text(log)
    return outcome


def start_postgres(its_stage):
    """A PostgreSQL where the suites' users need their passwords, as with Weir, and others need none."""
    binaries = stage.postgres_binaries()
    data = its_stage.directory / "data"
    password = its_stage.file("password", PASSWORD)
    its_stage.run(binaries / "initdb", "--auth=trust", f"--username={USER}", f"--pwfile={password}", "--no-sync",
                  "--encoding=UTF8", "--locale=C.UTF-8", f"--pgdata={data}")
    (data / "pg_hba.conf").write_text(
        "host all pass_user all password\n" "host all md5_user all md5\n"
        f"host all scram_user,{USER} all scram-sha-256\n" "host all all all trust\n")
    port = stage.free_port()
    settings = {
        "listen_addresses": stage.HOST, "port": port, "unix_socket_directories": "", "max_prepared_transactions": 10,
        "wal_level": "logical", "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off",
    }
    its_stage.start("postgres", [binaries / "postgres", f"-D{data}", *(f"-c{k}={v}" for k, v in settings.items())],
                    stop_with=stage.signal.SIGINT)
    return wait_until_open(stage.Peer("direct", stage.HOST, port))


def start_weir(its_stage, options, server, mode):
    port, http_port = stage.free_port(), stage.free_port()
    size = options.pool if mode == "transaction" else 40
    users = "".join(f'[[users]]\nname = "{name}"\npassword = "{password}"\n'
                    for name, password in {USER: PASSWORD, **OTHER_USERS}.items())
    databases = "".join(f'[databases.{name}]\n[[databases.{name}.shards]]\nname = "only"\n'
                        f'primary = "{server.host}:{server.port}"\n' for name in DATABASES)
    config = its_stage.file("weir.toml", f"""
        [weir]
        listen = "{stage.HOST}:{port}"
        http_listen = "{stage.HOST}:{http_port}"
        state_dir = "state"
        admin_users = ["{USER}"]
        # One worker, so that all clients use the same servers in turn.
        workers = 1
        [pool]
        pool_mode = "{mode}"
        default_pool_size = {size}
        server_round_robin = true
        query_wait_timeout = "20s"
        {users}
        {databases}""")
    pid = its_stage.start("weir", [options.weir.resolve(), "serve", "--config", config])
    return wait_until_open(stage.Peer("weir", stage.HOST, port, pid)), f"http://{stage.HOST}:{http_port}/metrics"


def wait_until_open(peer):
    deadline = time.monotonic() + stage.START_LIMIT_S
    while True:
        try:
            stage.socket.create_connection((peer.host, peer.port), timeout=5).close()
            return peer
        except OSError as error:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{peer.name} does not answer: {error}") from error
            time.sleep(0.05)


def environment(peer, **more):
    return {**os.environ, "PGHOST": peer.host, "PGPORT": str(peer.port), "PGUSER": USER, "PGPASSWORD": PASSWORD, **more}


def start_disturber(its_stage, front, database):
    log = its_stage.enter_context(open(its_stage.directory / "disturb.log", "w+"))
    process = subprocess.Popen([ROOT / ".venv/bin/python", HERE / "disturb.py"], stdout=log, stderr=log,
                               stdin=subprocess.PIPE, env=environment(front, PGDATABASE=database))
    its_stage.callback(stage.stop, process, stage.signal.SIGTERM)
    return process, log


def stop_disturber(disturber):
    """Ends it; gives its last words."""
    process, log = disturber
    process.stdin.close()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        return "the disturbing client did not come to an end"
    log.seek(0)
    lines = log.read().splitlines()
    return lines[-1] if lines else "the disturbing client said nothing"


def run_script(options, suite, work, out, server, front):
    script = options.suites.resolve() / f"{suite}.sh"
    more = {"SUITES_DIR": str(work), "SUITES_OUT": str(out),
            "SUITE_ADMIN_HOST": server.host, "SUITE_ADMIN_PORT": str(server.port)}
    done = subprocess.run([script], env=environment(front, **more), cwd=work, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    found = re.findall(rf"^{suite}: (\d+) passed, (\d+) failed, (\d+) skipped$", done.stdout, re.MULTILINE)
    return (" / ".join(found[-1]) if found else "no result"), done.stdout


def failures(out):
    """The names of the tests that failed, from the files that the suites leave."""
    files = [out / "failed", *out.glob("*.failed")]
    return {line for file in files if file.exists() for line in file.read_text().splitlines() if line}


def read_metrics(url):
    """Transactions through Weir, and how many of them ended with the client keeping its server, by reason."""
    text = urllib.request.urlopen(url, timeout=10).read().decode()
    transactions, pinned = 0, {}
    for name, labels, value in re.findall(r"^(\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        if name == "weir_transactions_total":
            transactions += int(value)
        elif name == "weir_pinned_transactions_total":
            reason = re.search(r'reason="(\w+)"', labels)[1]
            pinned[reason] = pinned.get(reason, 0) + int(value)
    return transactions, pinned


def describe(outcome):
    words = f"{outcome.suite}, {outcome.mode}: {outcome.result} in {outcome.seconds:.0f} s"
    return words + (f"; {outcome.disturber}" if outcome.disturber else "")


def report(outcomes):
    print("\n| suite | mode | passed / failed / skipped | transactions | pinned | by reason |")
    print("| --- | --- | --- | --- | --- | --- |")
    for outcome in outcomes:
        total, pinned = outcome.transactions, sum(outcome.pinned.values())
        share = f"{100 * pinned / total:.1f} %" if total else ""
        reasons = sorted(outcome.pinned.items(), key=lambda item: -item[1])
        by_reason = ", ".join(f"{reason} {100 * count / total:.1f} %" for reason, count in reasons if count)
        print(f"| {outcome.suite} | {outcome.mode} | {outcome.result} | {total or ''} | {share} | {by_reason} |")
    direct = {outcome.suite: outcome.failed for outcome in outcomes if outcome.mode == "direct"}
    for outcome in outcomes:
        only_here = sorted(outcome.failed - direct.get(outcome.suite, set()))
        if only_here and outcome.mode != "direct":
            print(f"\n{outcome.suite}, {outcome.mode}: fails here and not direct")
            print("".join(f"  {name}\n" for name in only_here), end="")


def progress(text):
    print(f"# {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
