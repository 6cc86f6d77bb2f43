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
    await conn.close()


def with_psycopg():
    with psycopg.connect(autocommit=True) as conn, conn.cursor(binary=True) as cursor:
        for _ in range(8):
            cursor.execute("SELECT uid, credit, born FROM customers WHERE customer_id > %s ORDER BY customer_id", (1,))
            rows = cursor.fetchall()
            assert len(rows) > 20, rows
            cursor.execute("SELECT active, min(born), count(*) FROM customers GROUP BY active ORDER BY 1")
            assert [row[0] for row in cursor.fetchall()] in ([False, True], [False, True, None])


asyncio.run(with_asyncpg())
with_psycopg()
