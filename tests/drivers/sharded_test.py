"""asyncpg and psycopg through Weir over several shards: both prepare statements and ask for binary results."""

import asyncio
import datetime
import decimal

import asyncpg
import psycopg


async def with_asyncpg():
    conn = await asyncpg.connect()
    ids = [row["customer_id"] for row in await conn.fetch("SELECT customer_id FROM customers ORDER BY customer_id")]
    assert len(ids) > 20 and ids == sorted(ids), ids
    rows = await conn.fetch("SELECT * FROM orders WHERE customer_id > $1 ORDER BY placed DESC, customer_id, order_id", 2)
    placed = [row["placed"] for row in rows]
    assert len(rows) > 20 and all(isinstance(moment, datetime.datetime) for moment in placed), placed
    assert placed == sorted(placed, reverse=True)
    count, total, average = await conn.fetchrow("SELECT count(*), sum(total), avg(total) FROM orders WHERE total IS NOT NULL")
    assert isinstance(total, decimal.Decimal) and abs(total / count - average) < decimal.Decimal("1e-10")
    groups = await conn.fetch("SELECT priority, count(*) FROM orders GROUP BY priority ORDER BY priority")
    assert sum(row["count"] for row in groups) == await conn.fetchval("SELECT count(*) FROM orders")
    statement = await conn.prepare("SELECT name FROM customers WHERE active = $1 ORDER BY customer_id LIMIT 5")
    for active in (True, False, True):
        assert len(await statement.fetch(active)) == 5
    async with conn.transaction():
        streamed = [row["customer_id"] async for row in conn.cursor("SELECT customer_id FROM customers ORDER BY 1", prefetch=7)]
        assert streamed == ids, streamed
        await conn.execute("DECLARE c CURSOR FOR SELECT customer_id::text AS id FROM customers ORDER BY customer_id")
        assert [row["id"] for row in await conn.fetch("FETCH FORWARD 5 FROM c")] == [str(id) for id in ids[:5]]
    await conn.close()


def with_psycopg():
    with psycopg.connect(autocommit=True) as conn, conn.cursor(binary=True) as cursor:
        for _ in range(8):
            cursor.execute("SELECT uid, credit, born FROM customers WHERE customer_id > %s ORDER BY customer_id", (1,))
            rows = cursor.fetchall()
            assert len(rows) > 20, rows
            cursor.execute("SELECT active, min(born), count(*) FROM customers GROUP BY active ORDER BY 1")
            assert [row[0] for row in cursor.fetchall()] in ([False, True], [False, True, None])
    with psycopg.connect() as conn:
        for binary in (False, True):
            with conn.cursor(f"named_{binary}", binary=binary, scrollable=True) as cursor:
                cursor.itersize = 7
                cursor.execute("SELECT customer_id, credit, born FROM customers WHERE customer_id > %s ORDER BY customer_id", (1,))
                rows = list(cursor)
                assert len(rows) > 20 and rows == sorted(rows), rows
                cursor.scroll(3, mode="absolute")
                assert cursor.fetchone() == rows[3]


asyncio.run(with_asyncpg())
with_psycopg()
