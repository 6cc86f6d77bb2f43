-- See migrations/sqlite/0003_schema_changes.sql.

CREATE TABLE schema_changes (
    database TEXT PRIMARY KEY,
    number BIGINT NOT NULL CHECK (number > 0)
);
