#!/bin/sh
# The replica's entry point, as user postgres: copies the primary $PRIMARY once, then runs PostgreSQL with the given
# options.
set -eu
umask 077
# The image leaves the directory open to all, and PostgreSQL does not start on one that is.
chmod 0700 "$PGDATA"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    # Until the primary answers. A copy that was cut short is begun again.
    until find "$PGDATA" -mindepth 1 -delete &&
        pg_basebackup --dbname "host=$PRIMARY user=weir password=weir" --pgdata "$PGDATA" --checkpoint fast \
            --slot replica --write-recovery-conf; do
        sleep 1
    done
fi
exec postgres "$@"
