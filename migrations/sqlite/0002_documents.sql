-- A shard map becomes one document, in the language of shard map files. The entries of directories, of which there may
-- be many, stay rows of their own: they are added one by one, without a new epoch.

CREATE TABLE shard_map (
    database TEXT PRIMARY KEY,
    epoch INTEGER NOT NULL CHECK (epoch > 0),
    document TEXT NOT NULL
) STRICT;

-- `entry` is the key: a JSON list of the texts of its values.
CREATE TABLE new_directory_entry (
    database TEXT NOT NULL,
    keyspace TEXT NOT NULL,
    entry TEXT NOT NULL,
    shard TEXT NOT NULL,
    PRIMARY KEY (database, keyspace, entry)
) STRICT;

INSERT INTO new_directory_entry SELECT database, keyspace, json_array(value), shard FROM directory_entry;

-- Names and values are written as JSON strings, which are TOML strings, too.
INSERT INTO shard_map
SELECT d.name, d.epoch,
       'shards = [' || (SELECT group_concat(json_quote(name), ', ') FROM
           (SELECT name FROM shard WHERE database = d.name ORDER BY position)) || ']' || char(10)
       || coalesce((SELECT group_concat(text, char(10)) FROM (
           SELECT '[keyspaces.' || json_quote(k.name) || ']' || char(10)
               || 'method = ' || json_quote(k.method) || char(10)
               || 'key_type = ' || json_quote(k.key_type) || char(10)
               || CASE k.method
                  WHEN 'hash' THEN 'function = ' || json_quote(k.hash_function) || char(10)
                      || (SELECT 'buckets = ' || (max(last) + 1) || char(10) || 'placement = ['
                              || group_concat('{ first = ' || first || ', last = ' || last || ', shard = '
                                  || json_quote(shard) || ' }', ', ') || ']'
                            FROM bucket_run WHERE database = d.name AND keyspace = k.name)
                  WHEN 'range' THEN 'allow_gaps = true' || char(10)
                      || (SELECT 'ranges = [' || group_concat(
                                  '{ from = ' || iif(lower IS NULL, '"MINVALUE"', '[' || json_quote(lower) || ']')
                                  || ', to = ' || iif(upper IS NULL, '"MAXVALUE"', '[' || json_quote(upper) || ']')
                                  || ', shard = ' || json_quote(shard) || ' }', ', ') || ']'
                            FROM key_range WHERE database = d.name AND keyspace = k.name)
                  WHEN 'directory' THEN
                      iif(k.default_shard IS NULL, 'unknown = "refuse"', 'default_shard = ' || json_quote(k.default_shard)) || char(10)
                      || '[keyspaces.' || json_quote(k.name) || '.values]'
                  ELSE 'function = ' || json_quote(k.hash_function) || char(10)
                      || (SELECT 'buckets = ' || (max(last) + 1) FROM bucket_run
                           WHERE database = d.name AND keyspace = k.name) || char(10)
                      || '[keyspaces.' || json_quote(k.name) || '.regions]' || char(10)
                      || (SELECT group_concat(json_quote(r.name) || ' = { resident = ' || iif(r.resident, 'true', 'false')
                              || ', placement = [' || (SELECT group_concat('{ first = ' || first || ', last = ' || last
                                      || ', shard = ' || json_quote(shard) || ' }', ', ')
                                  FROM bucket_run b WHERE b.database = d.name AND b.keyspace = k.name AND b.region = r.name)
                              || '] }', char(10))
                            FROM region r WHERE r.database = d.name AND r.keyspace = k.name)
                  END AS text
             FROM keyspace k WHERE k.database = d.name ORDER BY k.position)), '') || char(10)
       || '[tables]' || char(10)
       || coalesce((SELECT group_concat(json_quote(t.schema || '.' || t.name) || ' = '
               || iif(t.keyspace IS NULL, '{ reference = true }', '{ keyspace = ' || json_quote(t.keyspace) || ', key = ['
                   || coalesce((SELECT json_quote(k.region_column) || ', ' FROM keyspace k
                                 WHERE k.database = d.name AND k.name = t.keyspace AND k.method = 'geo'), '')
                   || json_quote(t.key_column) || '] }'), char(10))
             FROM mapped_table t WHERE t.database = d.name), '')
  FROM sharded_database d;

DROP TABLE mapped_table;
DROP TABLE directory_entry;
DROP TABLE key_range;
DROP TABLE bucket_run;
DROP TABLE region;
DROP TABLE keyspace;
DROP TABLE shard;
DROP TABLE sharded_database;
ALTER TABLE new_directory_entry RENAME TO directory_entry;
