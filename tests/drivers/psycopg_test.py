"""psycopg 3 through Weir: parameters, transactions, COPY, statements prepared on servers, pipelines, cancel."""

import os
import threading

import psycopg


def parameters(conn):
    row = conn.execute("SELECT %s::int, %s::text, %s::numeric, %s::date", (1, "it's", "2.50", None)).fetchone()
    assert (row[0], row[1], str(row[2]), row[3]) == (1, "it's", "2.50", None), row
    assert conn.execute("SELECT %b::bytea", (b"\x00\xff",), binary=True).fetchone() == (b"\x00\xff",)


def transactions(conn):
    conn.execute("CREATE TABLE t (n int PRIMARY KEY)")
    with conn.transaction():
        conn.execute("INSERT INTO t VALUES (1)")
        try:
            with conn.transaction():
                conn.execute("INSERT INTO t VALUES (1)")
        except psycopg.errors.UniqueViolation:
            pass
        conn.execute("INSERT INTO t VALUES (2)")
    try:
        with conn.transaction():
            conn.execute("INSERT INTO t VALUES (3)")
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    assert conn.execute("SELECT array_agg(n ORDER BY n) FROM t").fetchone() == ([1, 2],)


def copy(conn):
    with conn.cursor() as cursor:
        with cursor.copy("COPY t FROM STDIN") as rows:
            for n in range(10, 1010):
                rows.write_row((n,))
        try:
            with cursor.copy("COPY t FROM STDIN") as rows:
                rows.write("not a number\n")
            raise AssertionError("a bad row was taken")
        except psycopg.errors.InvalidTextRepresentation:
            pass
        with cursor.copy("COPY (SELECT n FROM t WHERE n >= 10 ORDER BY n) TO STDOUT") as rows:
            assert [int(row[0]) for row in rows.rows()] == list(range(10, 1010))


def prepared(conn):
    for n in range(50):
        assert conn.execute("SELECT %s::int + 1", (n,), prepare=True).fetchone() == (n + 1,)
        # More texts than psycopg keeps: it deallocates the oldest.
        assert conn.execute(f"SELECT {n} + %s::int", (n,)).fetchone() == (2 * n,)


def pipeline(conn):
    with conn.pipeline():
        cursors = [conn.execute("SELECT %s::int", (n,)) for n in range(100)]
    assert [cursor.fetchone()[0] for cursor in cursors] == list(range(100))
    with conn.pipeline() as pipe:
        good = conn.execute("SELECT 1")
        bad = conn.execute("SELECT 1/%s::int", (0,))
        try:
            pipe.sync()
            raise AssertionError("no error in the pipeline")
        except psycopg.errors.DivisionByZero:
            pass
        assert good.fetchone() == (1,) and bad is not None
    assert conn.execute("SELECT 2").fetchone() == (2,)


def server_side_cursor(conn):
    with conn.transaction(), conn.cursor(name="large") as cursor:
        cursor.itersize = 10
        cursor.execute("SELECT generate_series(1, 95)")
        assert sum(row[0] for row in cursor) == 95 * 96 // 2


def cancel(conn):
    timer = threading.Timer(0.3, conn.cancel)
    timer.start()
    try:
        conn.execute("SELECT pg_sleep(100)")
        raise AssertionError("not canceled")
    except psycopg.errors.QueryCanceled:
        pass
    timer.join()
    assert conn.execute("SELECT 1").fetchone() == (1,)


def notifications(conn):
    conn.execute("LISTEN news")
    with psycopg.connect(autocommit=True) as other:
        other.execute("NOTIFY news, 'extra'")
    notification = next(conn.notifies(timeout=30))
    assert notification.payload == "extra" and notification.pid != conn.info.backend_pid, notification
    conn.execute("NOTIFY news, 'own'")
    notification = next(conn.notifies(timeout=30))
    assert (notification.payload, notification.pid) == ("own", conn.info.backend_pid), notification
    with conn.transaction():
        conn.execute("LISTEN weather")
    conn.execute("SELECT pg_notify(%s, %s)", ("weather", "rain"))
    assert next(conn.notifies(timeout=30)).payload == "rain"
    conn.execute("DISCARD ALL")


def schema_changes(conn, other):
    """What a client with prepared statements is told while another one changes their tables."""
    told = []

    def tell(sql):
        try:
            told.append(conn.execute(sql, prepare=True).fetchall())
        except psycopg.Error as error:
            told.append(error.sqlstate)

    other.execute("CREATE TABLE changing (a int); INSERT INTO changing VALUES (1)")
    for change in (
        "ALTER TABLE changing ADD COLUMN b text DEFAULT 'b'",
        "ALTER TABLE changing ALTER COLUMN a TYPE bigint",
        "ALTER TABLE changing DROP COLUMN b",
        "DROP TABLE changing; CREATE TABLE changing (a bigint)",
        "DROP TABLE changing",
    ):
        for _ in range(4):
            tell("SELECT * FROM changing")
            tell("SELECT count(*) FROM changing")
        other.execute(change)
        conn.execute("BEGIN")
        tell("SELECT * FROM changing")
        tell("SELECT 1")
        conn.execute("ROLLBACK")
    return told


def main():
    with psycopg.connect(autocommit=True, prepare_threshold=0) as conn:
        conn.prepared_max = 10
        # A second client changes the order in which servers are met.
        with psycopg.connect(autocommit=True) as other:
            other.execute("SELECT 1")
            for check in (parameters, transactions, copy, prepared, pipeline, server_side_cursor, cancel):
                check(conn)
                other.execute("SELECT 1")
        notifications(conn)
    told = {}
    for how, where in (("Weir", {}), ("direct", {"port": os.environ["DIRECT_PORT"], "dbname": os.environ["DIRECT_DB"]})):
        with psycopg.connect(autocommit=True, **where) as conn, psycopg.connect(autocommit=True, **where) as other:
            told[how] = schema_changes(conn, other)
    assert told["Weir"] == told["direct"], told


main()
