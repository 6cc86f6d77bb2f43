"""Types of users on a sharded database, as psycopg and asyncpg find them in the catalogs, beside one PostgreSQL."""

import asyncio
import os

import asyncpg
import psycopg
from psycopg.types.composite import CompositeInfo, register_composite
from psycopg.types.enum import EnumInfo, register_enum
from psycopg.types.multirange import MultirangeInfo, register_multirange
from psycopg.types.range import Range, RangeInfo, register_range

COLUMNS = "m, y, p, ms, ps, s, ss, d, n, ns, ys, r"
NAMES = COLUMNS.split(", ")
# psycopg gives arrays of domains as bytes, with each database's own numbers in them.
READ = ", ".join(name for name in NAMES if name != "ys")
# asyncpg cannot write arrays of composites in which NULL stands.
WRITTEN = ", ".join(name for name in NAMES if name not in ("ps", "ns"))


def of_psycopg(dsn):
    """What a session of psycopg reads, and that it reads what it wrote, in text and in binary."""
    seen = []
    with psycopg.connect(dsn, autocommit=True) as conn:
        mood, pair, nest = EnumInfo.fetch(conn, "mood"), CompositeInfo.fetch(conn, "pair"), CompositeInfo.fetch(conn, "nest")
        register_enum(mood, conn)
        register_range(RangeInfo.fetch(conn, "span"), conn)
        register_range(RangeInfo.fetch(conn, "reach"), conn)
        register_multirange(MultirangeInfo.fetch(conn, "span_multirange"), conn)
        register_composite(pair, conn)
        register_composite(nest, conn)
        sad, ok = mood.enum.sad, mood.enum.ok
        for binary in (False, True):
            place = "%b" if binary else "%t"
            for key in range(1, 10):
                read = conn.execute(f"SELECT {READ} FROM things WHERE id = %s", (key,), binary=binary).fetchall()
                seen.append(repr(read))
                row = conn.execute(f"SELECT {READ} FROM things WHERE id = 2", binary=binary).fetchone()
                # psycopg has no binary form of ranges of users' types.
                written = ("m", "p", "ms") if binary else ("m", "p", "ms", "s", "n")
                values = {name: value for name, value in zip(READ.split(", "), row) if name in written}
                with conn.transaction():
                    for name, value in values.items():
                        conn.execute(f"UPDATE things SET {name} = {place} WHERE id = %s", (value, key), binary=binary)
                same = conn.execute(f"SELECT {', '.join(values)} FROM things WHERE id = %s", (key,), binary=binary).fetchone()
                assert same == tuple(values.values()), (same, values)
                found = conn.execute(
                    f"SELECT id FROM things WHERE id = %s AND m = ANY({place})", (key, [sad, ok]), binary=binary
                ).fetchall()
                seen.append(repr(found))
                by_range = "SELECT id, s FROM things WHERE id = %s AND s = %t"
                seen.append(repr(conn.execute(by_range, (key, Range(sad, ok)), binary=binary).fetchall()))
        for statement in (
            "SELECT m, ms, p FROM things ORDER BY id",
            "SELECT count(*) FROM things WHERE m = %t",
            "SELECT id FROM things WHERE m = %b ORDER BY id",
        ):
            parameters = (ok,) if "%" in statement else None
            seen.append(repr(conn.execute(statement, parameters).fetchall()))
        with conn.cursor() as cursor, cursor.copy("COPY (SELECT m, p, ms FROM things WHERE id = 3) TO STDOUT") as rows:
            seen.append(repr([bytes(row) for row in rows]))
    return seen


async def of_asyncpg(dsn):
    """asyncpg prepares everything, looks types up by the numbers that it meets, and speaks binary only."""
    conn = await asyncpg.connect(dsn)
    seen = []
    for key in range(1, 10):
        row = await conn.fetchrow(f"SELECT {COLUMNS} FROM things WHERE id = $1", key)
        seen.append(repr(row))
        row = await conn.fetchrow(f"SELECT {WRITTEN} FROM things WHERE id = 1")
        places = ", ".join(f"${at}" for at in range(2, len(row) + 2))
        async with conn.transaction():
            await conn.execute("DELETE FROM things WHERE id = $1", key + 100)
            await conn.execute(f"INSERT INTO things (id, {WRITTEN}) VALUES ($1, {places})", key + 100, *row.values())
        same = await conn.fetchrow(f"SELECT {WRITTEN} FROM things WHERE id = $1", key + 100)
        assert same == row, (same, row)
        seen.append(repr(await conn.fetch("SELECT id FROM things WHERE id = $1 AND m = ANY($2)", key, ["sad", "ok"])))
        seen.append(repr(await conn.fetchval("SELECT ROW(m, p, ms)::text FROM things WHERE id = $1", key)))
        async with conn.transaction():
            cursor = conn.cursor("SELECT ps, ns FROM things WHERE id = ANY($1) ORDER BY id", [key, key], prefetch=1)
            seen.append(repr([row async for row in cursor]))
        statement = await conn.prepare("SELECT m, p, ms FROM things WHERE id = $1 AND p = $2::pair AND ms = $3")
        seen.append(repr([(kind.name, kind.kind) for kind in statement.get_parameters()]))
        seen.append(repr([(kind.name, kind.type.name, kind.type.kind) for kind in statement.get_attributes()]))
        seen.append(repr(await statement.fetch(key, row["p"], row["ms"])))
    await conn.close()
    return seen


def main():
    through, direct = os.environ["WEIR_DSN"], os.environ["DIRECT_DSN"]
    for ours, theirs in (
        (of_psycopg(through), of_psycopg(direct)),
        (asyncio.run(of_asyncpg(through)), asyncio.run(of_asyncpg(direct))),
    ):
        assert len(ours) == len(theirs) > 20
        for own, other in zip(ours, theirs):
            assert own == other, f"\n{own}\n{other}"


main()
