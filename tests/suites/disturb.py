#!/usr/bin/env python3
"""A client that keeps changing the state of its own session, and looks each time whether it finds that state again
and nobody else's. It ends when its standard input does, and then says what it saw.

Names come in two kinds: some of its own, and common ones that other clients may use for theirs at the same time.
"""

import random
import select
import sys
import time

import psycopg

PAUSE_S = 0.02
TIMEZONES = ("Asia/Tokyo", "America/Lima")
DATESTYLES = ("German, DMY", "SQL, DMY")


class Wrong(Exception):
    """The session was not as one PostgreSQL would have it."""


def main():
    counts = {"rounds": 0, "refused": 0}
    wrong = []
    chance = random.Random(1)
    client = None
    while not stopped():
        try:
            if client is None or client.closed:
                client = psycopg.connect("application_name=disturber connect_timeout=30", autocommit=True)
            chance.choice(STEPS)(client, chance)
            counts["rounds"] += 1
        except Wrong as what:
            wrong.append(str(what))
            print(f"WRONG: {what}", flush=True)
        except psycopg.Error as error:
            # The suites drop databases, terminate sessions and hold locks.
            counts["refused"] += 1
            print(f"{type(error).__name__}: {error}", flush=True)
            if client is not None:
                client.close()
            client = None
            time.sleep(0.2)
        time.sleep(PAUSE_S)
    print(f"disturber: {counts['rounds']} rounds, {counts['refused']} errors, {len(wrong)} wrong"
          + "".join(f"; {what}" for what in sorted(set(wrong))[:3]))


def stopped():
    readable, _, _ = select.select([sys.stdin], [], [], 0)
    return bool(readable) and not sys.stdin.read(1)


def expect(client, question, answer):
    got = client.execute(question).fetchone()[0]
    if got != answer:
        raise Wrong(f"{question}: {got!r} instead of {answer!r}")


def breathe():
    """Gives others time to use the servers meanwhile."""
    time.sleep(PAUSE_S)


def settings(client, chance):
    zone, style = chance.choice(TIMEZONES), chance.choice(DATESTYLES)
    client.execute(f"SET TimeZone = '{zone}'")
    client.execute(f"SET DateStyle = '{style}'")
    client.execute("SET search_path = pg_catalog, disturbed")
    client.execute("SET statement_timeout = '50s'; SET enable_seqscan = off; SET extra_float_digits = 0")
    client.execute("SET bytea_output = escape; SET intervalstyle = iso_8601")
    breathe()
    expect(client, "SHOW TimeZone", zone)
    expect(client, "SHOW DateStyle", style)
    expect(client, "SHOW search_path", "pg_catalog, disturbed")
    expect(client, "SHOW bytea_output", "escape")
    client.execute("RESET TimeZone")
    client.execute("RESET ALL")
    breathe()
    expect(client, "SHOW bytea_output", "hex")


def settings_of_a_transaction(client, _):
    with client.transaction():
        client.execute("SET LOCAL work_mem = '8MB'; SET LOCAL row_security = off")
        expect(client, "SHOW work_mem", "8MB")
    expect(client, "SHOW work_mem", "4MB")
    client.execute("BEGIN; SET work_mem = '9MB'; ROLLBACK")
    expect(client, "SHOW work_mem", "4MB")


def custom_settings(client, chance):
    for name in ("disturber.own", "app.tenant", "myapp.user_id"):
        value = str(chance.random())
        client.execute(f"SELECT set_config('{name}', '{value}', false)")
        breathe()
        expect(client, f"SELECT current_setting('{name}')", value)
        client.execute(f"RESET {name}")


def roles(client, _):
    client.execute("SET ROLE pg_monitor")
    breathe()
    expect(client, "SELECT current_user::text", "pg_monitor")
    client.execute("RESET ROLE")
    client.execute("SET SESSION AUTHORIZATION pg_read_all_data")
    breathe()
    expect(client, "SELECT session_user::text", "pg_read_all_data")
    client.execute("RESET SESSION AUTHORIZATION")
    expect(client, "SELECT current_user::text", client.info.user)


def prepared(client, chance):
    for name in ("disturber_q", "q1", "p1", "foo", "test", "a"):
        value = chance.randrange(1000)
        client.execute(f"PREPARE {name} AS SELECT {value} + $1::int")
        breathe()
        expect(client, f"EXECUTE {name} (1)", value + 1)
        client.execute(f"DEALLOCATE {name}")
    client.execute("PREPARE disturber_all AS SELECT 1")
    client.execute("DEALLOCATE ALL")
    expect(client, "SELECT count(*) FROM pg_prepared_statements WHERE name = 'disturber_all'", 0)
    client.close()  # psycopg does not know that its own statements are gone, too


def statements_of_the_protocol(client, chance):
    for _ in range(5):
        value = chance.randrange(1000)
        got = client.execute(f"SELECT %s::int + {value}", (1,), prepare=True).fetchone()[0]
        if got != value + 1:
            raise Wrong(f"a prepared statement gave {got} instead of {value + 1}")
        breathe()


def listening(client, _):
    for channel in ("disturber_c", "test", "notify_async1"):
        client.execute(f"LISTEN {channel}")
        breathe()
    client.execute("UNLISTEN test")
    client.execute("UNLISTEN *")
    expect(client, "SELECT count(*) FROM pg_listening_channels()", 0)


def temporary_tables(client, _):
    for name in ("disturber_t", "tmp", "foo"):
        client.execute(f"CREATE TEMP TABLE {name} (disturbed int)")
        client.execute(f"INSERT INTO pg_temp.{name} VALUES (1)")
        breathe()
        expect(client, f"SELECT disturbed FROM pg_temp.{name}", 1)
        client.execute("DISCARD TEMP")  # DROP would run the suites' event triggers


def locks(client, _):
    client.execute("SELECT pg_advisory_lock(815, 4711)")
    breathe()
    expect(client, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()", 1)
    expect(client, "SELECT pg_advisory_unlock(815, 4711)", True)


def held_cursors(client, _):
    client.execute("BEGIN; DECLARE disturber_c CURSOR WITH HOLD FOR SELECT 1; COMMIT")
    breathe()
    expect(client, "FETCH disturber_c", 1)
    client.execute("CLOSE disturber_c")


def discard(client, _):
    client.execute("SET work_mem = '7MB'")
    breathe()
    client.execute("DISCARD ALL")
    expect(client, "SHOW work_mem", "4MB")
    client.close()


def leave(client, _):
    """Leaves all kinds of state behind."""
    client.execute("SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'German'; SET search_path = disturbed")
    client.execute("SET ROLE pg_monitor")
    client.execute("PREPARE left_behind AS SELECT 1")
    client.execute("LISTEN left_behind")
    client.close()


def fail_and_leave(client, _):
    try:
        client.execute("BEGIN; SET TimeZone = 'Asia/Tokyo'")
        client.execute("SELECT 1/0")
    except psycopg.errors.DivisionByZero:
        client.close()


STEPS = (settings, settings_of_a_transaction, custom_settings, roles, prepared, statements_of_the_protocol, listening,
         temporary_tables, locks, held_cursors, discard, leave, fail_and_leave)

if __name__ == "__main__":
    main()
