-- How often a Weir has changed the schema of a database. A Weir that finds another number than before reads the schema
-- again: another one has changed it.

CREATE TABLE schema_changes (
    database TEXT PRIMARY KEY,
    number INTEGER NOT NULL CHECK (number > 0)
) STRICT;
