"""asyncpg through Weir: it prepares everything, asks in binary, and resets its session when a connection is released."""

import asyncio
import datetime
import os

import asyncpg


async def statements(conn):
    for n in range(20):
        row = await conn.fetchrow("SELECT $1::int8 AS n, $2::text AS s, $3::timestamptz AS t", n, "x" * n, None)
        assert (row["n"], row["s"], row["t"]) == (n, "x" * n, None), row
    statement = await conn.prepare("SELECT $1::date + 1")
    assert await statement.fetchval(datetime.date(2024, 2, 28)) == datetime.date(2024, 2, 29)
    assert await conn.fetchval("SELECT ARRAY[$1::int, 2]", 1) == [1, 2]


async def transactions(conn):
    await conn.execute("CREATE TABLE t (n int PRIMARY KEY)")
    async with conn.transaction():
        await conn.executemany("INSERT INTO t VALUES ($1)", [(n,) for n in range(10)])
        try:
            async with conn.transaction():
                await conn.execute("INSERT INTO t VALUES ($1)", 1)
        except asyncpg.UniqueViolationError:
            pass
        assert [row["n"] async for row in conn.cursor("SELECT n FROM t ORDER BY n", prefetch=3)] == list(range(10))
    assert await conn.fetchval("SELECT count(*) FROM t") == 10


async def copy(conn):
    await conn.copy_records_to_table("t", records=[(n,) for n in range(100, 200)])
    assert await conn.fetchval("SELECT count(*) FROM t") == 110


async def cancel(conn):
    try:
        await conn.fetchval("SELECT pg_sleep(100)", timeout=0.3)
        raise AssertionError("not canceled")
    except asyncio.TimeoutError:
        pass
    assert await conn.fetchval("SELECT 1") == 1


async def notifications(conn):
    heard = asyncio.Queue()
    await conn.add_listener("news", lambda _, pid, channel, payload: heard.put_nowait((pid, channel, payload)))
    other = await asyncpg.connect()
    await other.execute("NOTIFY news, 'one'")
    assert (await heard.get())[1:] == ("news", "one")
    await conn.execute("SELECT pg_notify('news', $1)", "own")
    assert await heard.get() == (conn.get_server_pid(), "news", "own")
    async with conn.transaction():
        await other.execute("NOTIFY news, 'two'")
        assert await conn.fetchval("SELECT 1") == 1
        assert heard.empty()
    assert (await heard.get())[1:] == ("news", "two")
    await conn.reset()
    await other.execute("NOTIFY news, 'nobody'")
    assert await conn.fetchval("SELECT count(*) FROM pg_listening_channels()") == 0 and heard.empty()
    await other.close()


async def schema_changes(conn, other):
    """What a client with prepared statements is told while another one changes their tables."""
    told = []

    async def tell(coroutine):
        try:
            told.append(repr(await coroutine))
        except asyncpg.PostgresError as error:
            told.append(error.sqlstate)

    await other.execute("CREATE TABLE changing (a int); INSERT INTO changing VALUES (1)")
    statement = await conn.prepare("SELECT * FROM changing")
    for change in (
        "ALTER TABLE changing ADD COLUMN b text DEFAULT 'b'",
        "ALTER TABLE changing ALTER COLUMN a TYPE bigint",
        "ALTER TABLE changing DROP COLUMN b",
        "DROP TABLE changing; CREATE TABLE changing (a bigint)",
        "DROP TABLE changing",
    ):
        for _ in range(3):
            await tell(statement.fetch())
            # asyncpg prepares this one anew by itself when its columns have changed, but for one in a transaction.
            await tell(conn.fetch("SELECT * FROM changing"))
        await other.execute(change)
        transaction = conn.transaction()
        await transaction.start()
        await tell(conn.fetch("SELECT * FROM changing"))
        await tell(conn.fetch("SELECT 1"))
        await transaction.rollback()
    return told


async def many(pool):
    async def one(n):
        async with pool.acquire() as conn:
            return await conn.fetchval("SELECT $1::int * 2", n)

    assert await asyncio.gather(*(one(n) for n in range(200))) == [n * 2 for n in range(200)]


async def main():
    conn = await asyncpg.connect()
    for check in (statements, transactions, copy, cancel, notifications):
        await check(conn)
    await conn.close()
    told = {}
    for how, where in (("Weir", {}), ("direct", {"port": os.environ["DIRECT_PORT"], "database": os.environ["DIRECT_DB"]})):
        conn, other = await asyncpg.connect(**where), await asyncpg.connect(**where)
        told[how] = await schema_changes(conn, other)
        await conn.close()
        await other.close()
    assert told["Weir"] == told["direct"], told
    async with asyncpg.create_pool(min_size=10, max_size=10) as pool:
        await many(pool)


asyncio.run(main())
