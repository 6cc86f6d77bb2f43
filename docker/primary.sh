#!/bin/sh
# Runs once, in a new primary's data directory (docker-entrypoint-initdb.d): the second database, and a way in for the
# replica.
set -eu
createdb --username "$POSTGRES_USER" app
psql --username "$POSTGRES_USER" --dbname postgres --command "SELECT pg_create_physical_replication_slot('replica')"
echo 'host replication all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
