-- The catalog of a fleet: the truth about placement, and the decisions of two-phase transactions. The same tables as in
-- migrations/sqlite.

CREATE TABLE shard_map (
    database TEXT PRIMARY KEY,
    epoch BIGINT NOT NULL CHECK (epoch > 0),
    document TEXT NOT NULL
);

-- `entry` is the key: a JSON list of the texts of its values.
CREATE TABLE directory_entry (
    database TEXT NOT NULL,
    keyspace TEXT NOT NULL,
    entry TEXT NOT NULL,
    shard TEXT NOT NULL,
    PRIMARY KEY (database, keyspace, entry)
);

-- Transactions that were prepared on several shards and are not known to be finished on all of them.
CREATE TABLE two_phase (
    id TEXT PRIMARY KEY,
    database TEXT NOT NULL,
    -- Unix time in microseconds.
    started_at BIGINT NOT NULL
);

CREATE TABLE two_phase_participant (
    id TEXT NOT NULL REFERENCES two_phase (id) ON DELETE CASCADE,
    position BIGINT NOT NULL,
    shard TEXT NOT NULL,
    PRIMARY KEY (id, position)
);

-- The first row of an id decides: see migrations/sqlite/0001_catalog.sql.
CREATE TABLE two_phase_decision (
    id TEXT PRIMARY KEY,
    decision TEXT NOT NULL CHECK (decision IN ('commit', 'abort')),
    decided_at BIGINT NOT NULL
);
