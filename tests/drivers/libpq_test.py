"""libpq 18 (it comes with psycopg 3.3) through Weir: versions of the protocol, and cancels with the keys of each."""

import threading

import psycopg
from psycopg import pq


def cancel_with(conn, cancel):
    timer = threading.Timer(0.3, cancel)
    timer.start()
    try:
        conn.execute("SELECT pg_sleep(100)")
        raise AssertionError("not canceled")
    except psycopg.errors.QueryCanceled:
        pass
    timer.join()
    assert conn.execute("SELECT 1").fetchone() == (1,)


def main():
    assert pq.version() >= 180000, pq.version()
    # What libpq asks for, and what it then speaks.
    versions = {"3.0": 30000, "3.2": 30002, "latest": 30002}
    for asked, spoken in versions.items():
        with psycopg.connect(autocommit=True, max_protocol_version=asked) as conn:
            assert conn.pgconn.full_protocol_version == spoken, (asked, conn.pgconn.full_protocol_version)
            assert conn.pgconn.backend_pid > 0
            cancel_with(conn, conn.cancel)
            cancel_with(conn, conn.cancel_safe)
    with psycopg.connect(min_protocol_version="3.2", max_protocol_version="3.2") as conn:
        assert conn.execute("SELECT 2").fetchone() == (2,)


main()
