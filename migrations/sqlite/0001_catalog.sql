-- The catalog: the truth about placement, and the decisions of two-phase transactions.
-- Shards are named, never numbered: their order belongs to weir.toml, which may change it.

CREATE TABLE sharded_database (
    name TEXT PRIMARY KEY,
    epoch INTEGER NOT NULL CHECK (epoch > 0)
) STRICT;

CREATE TABLE shard (
    database TEXT NOT NULL REFERENCES sharded_database (name),
    name TEXT NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (database, name)
) STRICT;

CREATE TABLE keyspace (
    database TEXT NOT NULL REFERENCES sharded_database (name),
    name TEXT NOT NULL,
    position INTEGER NOT NULL,
    key_type TEXT NOT NULL,
    method TEXT NOT NULL CHECK (method IN ('hash', 'range', 'directory', 'geo')),
    -- hash and geo
    hash_function TEXT CHECK ((hash_function IS NOT NULL) = (method IN ('hash', 'geo'))),
    -- directory: where a value without an entry belongs; NULL: it is refused
    default_shard TEXT CHECK (default_shard IS NULL OR method = 'directory'),
    -- geo
    region_column TEXT CHECK ((region_column IS NOT NULL) = (method = 'geo')),
    PRIMARY KEY (database, name),
    FOREIGN KEY (database, default_shard) REFERENCES shard (database, name)
) STRICT;

-- The regions of a geo keyspace.
CREATE TABLE region (
    database TEXT NOT NULL,
    keyspace TEXT NOT NULL,
    name TEXT NOT NULL,
    position INTEGER NOT NULL,
    resident INTEGER NOT NULL CHECK (resident IN (0, 1)),
    PRIMARY KEY (database, keyspace, name),
    FOREIGN KEY (database, keyspace) REFERENCES keyspace (database, name)
) STRICT;

-- Runs of neighbouring buckets with one owner; of a hash keyspace (region '') or of a region of a geo keyspace.
CREATE TABLE bucket_run (
    database TEXT NOT NULL,
    keyspace TEXT NOT NULL,
    region TEXT NOT NULL DEFAULT '',
    first INTEGER NOT NULL CHECK (first >= 0),
    last INTEGER NOT NULL CHECK (last >= first),
    shard TEXT NOT NULL,
    PRIMARY KEY (database, keyspace, region, first),
    FOREIGN KEY (database, keyspace) REFERENCES keyspace (database, name),
    FOREIGN KEY (database, shard) REFERENCES shard (database, name)
) STRICT;

-- The ranges of a range keyspace, [lower, upper). NULL: MINVALUE or MAXVALUE.
CREATE TABLE key_range (
    database TEXT NOT NULL,
    keyspace TEXT NOT NULL,
    lower TEXT,
    upper TEXT,
    shard TEXT NOT NULL,
    UNIQUE (database, keyspace, lower),
    FOREIGN KEY (database, keyspace) REFERENCES keyspace (database, name),
    FOREIGN KEY (database, shard) REFERENCES shard (database, name)
) STRICT;

-- The entries of a directory keyspace.
CREATE TABLE directory_entry (
    database TEXT NOT NULL,
    keyspace TEXT NOT NULL,
    value TEXT NOT NULL,
    shard TEXT NOT NULL,
    PRIMARY KEY (database, keyspace, value),
    FOREIGN KEY (database, keyspace) REFERENCES keyspace (database, name),
    FOREIGN KEY (database, shard) REFERENCES shard (database, name)
) STRICT;

-- Tables: sharded by a key column of a keyspace, or (both NULL) held whole by every shard.
CREATE TABLE mapped_table (
    database TEXT NOT NULL REFERENCES sharded_database (name),
    schema TEXT NOT NULL,
    name TEXT NOT NULL,
    keyspace TEXT,
    key_column TEXT CHECK ((key_column IS NULL) = (keyspace IS NULL)),
    PRIMARY KEY (database, schema, name),
    FOREIGN KEY (database, keyspace) REFERENCES keyspace (database, name)
) STRICT;

-- Transactions that were prepared on several shards and are not known to be finished on all of them.
CREATE TABLE two_phase (
    id TEXT PRIMARY KEY,
    database TEXT NOT NULL,
    -- Unix time in microseconds.
    started_at INTEGER NOT NULL
) STRICT;

CREATE TABLE two_phase_participant (
    id TEXT NOT NULL REFERENCES two_phase (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    shard TEXT NOT NULL,
    PRIMARY KEY (id, position)
) STRICT;

-- The first row of an id decides: the committer writes "commit" before the first COMMIT PREPARED, recovery writes
-- "abort" before any ROLLBACK PREPARED. A table of its own, since recovery may find what no row above tells of.
CREATE TABLE two_phase_decision (
    id TEXT PRIMARY KEY,
    decision TEXT NOT NULL CHECK (decision IN ('commit', 'abort')),
    decided_at INTEGER NOT NULL
) STRICT;
