//! The few lists of names that the catalogs do not tell: what touches the session, and what needs the primary.

use crate::sql::facts::Effects;

/// Types of pg_catalog by their catalog names, as far as statements use them. A name that is missing here counts as a
/// type of users, which is only less convenient.
const BUILTIN_TYPES: &[&str] = &[
    "bit",
    "bool",
    "box",
    "bpchar",
    "bytea",
    "char",
    "cidr",
    "circle",
    "date",
    "daterange",
    "float4",
    "float8",
    "inet",
    "int2",
    "int4",
    "int4range",
    "int8",
    "int8range",
    "interval",
    "json",
    "jsonb",
    "jsonpath",
    "line",
    "lseg",
    "macaddr",
    "macaddr8",
    "money",
    "name",
    "numeric",
    "numrange",
    "oid",
    "path",
    "pg_lsn",
    "point",
    "polygon",
    "record",
    "refcursor",
    "regclass",
    "regcollation",
    "regconfig",
    "regdictionary",
    "regnamespace",
    "regoper",
    "regoperator",
    "regproc",
    "regprocedure",
    "regrole",
    "regtype",
    "text",
    "tid",
    "time",
    "timestamp",
    "timestamptz",
    "timetz",
    "tsquery",
    "tsrange",
    "tstzrange",
    "tsvector",
    "txid_snapshot",
    "unknown",
    "uuid",
    "varbit",
    "varchar",
    "void",
    "xid",
    "xid8",
    "xml",
];

/// Types in whose text form there can be a word such as 'now'.
const DATE_TYPES: &[&str] = &[
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "timetz",
    "daterange",
    "tsrange",
    "tstzrange",
    "datemultirange",
    "tsmultirange",
    "tstzmultirange",
];

/// How the text form of a type is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    /// Always alike.
    Immutable,
    /// By the settings of the session, and by the clock where a word such as 'now' stands in it.
    OfDates,
    /// By what else there is in the database.
    Stable,
}

/// Relations of pg_catalog that speak of one server's activity, or whose content on a standby is not the primary's.
const PRIMARY_ONLY_RELATIONS: &[&str] = &[
    "pg_available_extensions",
    "pg_backend_memory_contexts",
    "pg_cursors",
    "pg_hba_file_rules",
    "pg_locks",
    "pg_prepared_statements",
    "pg_prepared_xacts",
    "pg_replication_origin_status",
    "pg_replication_slots",
    "pg_sequences",
    "pg_settings",
    "pg_shmem_allocations",
    "pg_subscription",
];

/// Session-level advisory locks: they outlive the transaction.
const SESSION_LOCK_FUNCTIONS: &[&str] =
    &["pg_advisory_lock", "pg_advisory_lock_shared", "pg_try_advisory_lock", "pg_try_advisory_lock_shared"];

/// Functions that give session-level advisory locks up.
const UNLOCK_FUNCTIONS: &[&str] = &["pg_advisory_unlock", "pg_advisory_unlock_all", "pg_advisory_unlock_shared"];

/// Advisory locks that no session keeps. Like those of the session they guard only what asks the same server.
const PASSING_LOCK_FUNCTIONS: &[&str] = &[
    "pg_advisory_xact_lock",
    "pg_advisory_xact_lock_shared",
    "pg_try_advisory_xact_lock",
    "pg_try_advisory_xact_lock_shared",
];

/// Columns that every table has, filled by the server that holds the row.
const SYSTEM_COLUMNS: &[&str] = &["cmax", "cmin", "ctid", "tableoid", "xmax", "xmin"];

/// Functions that are not volatile and yet answer otherwise on a standby, or speak of one server.
const PRIMARY_ONLY_FUNCTIONS: &[&str] = &[
    "inet_client_addr",
    "inet_client_port",
    "inet_server_addr",
    "inet_server_port",
    "pg_backend_pid",
    "pg_blocking_pids",
    "pg_conf_load_time",
    "pg_current_snapshot",
    "pg_current_xact_id",
    "pg_current_xact_id_if_assigned",
    "pg_get_wal_replay_pause_state",
    "pg_is_in_recovery",
    "pg_is_wal_replay_paused",
    "pg_postmaster_start_time",
    "pg_sequence_last_value",
    "pg_sequence_parameters",
    "txid_current",
    "txid_current_if_assigned",
    "txid_current_snapshot",
];

/// Built-in functions that run a query, or read a table, given as a text or name: it cannot be seen which.
const QUERY_RUNNING_FUNCTIONS: &[&str] = &[
    "cursor_to_xml",
    "cursor_to_xmlschema",
    "database_to_xml",
    "database_to_xml_and_xmlschema",
    "database_to_xmlschema",
    "query_to_xml",
    "query_to_xml_and_xmlschema",
    "query_to_xmlschema",
    "schema_to_xml",
    "schema_to_xml_and_xmlschema",
    "schema_to_xmlschema",
    "table_to_xml",
    "table_to_xml_and_xmlschema",
    "table_to_xmlschema",
    "ts_rewrite",
    "ts_stat",
];

pub(super) fn is_builtin_type(name: &str) -> bool {
    BUILTIN_TYPES.binary_search(&name).is_ok()
}

pub(super) fn input_of(type_name: &str) -> Input {
    let element = type_name.strip_prefix('_').unwrap_or(type_name);
    match element {
        _ if DATE_TYPES.contains(&element) => Input::OfDates,
        _ if element.starts_with("reg") => Input::Stable,
        _ => Input::Immutable,
    }
}

pub(super) fn is_primary_only_relation(name: &str) -> bool {
    name.starts_with("pg_stat_") || name.starts_with("pg_statio_") || PRIMARY_ONLY_RELATIONS.contains(&name)
}

pub(super) fn is_session_lock_function(name: &str) -> bool {
    SESSION_LOCK_FUNCTIONS.contains(&name)
}

pub(super) fn is_unlock_function(name: &str) -> bool {
    UNLOCK_FUNCTIONS.contains(&name)
}

pub(super) fn is_passing_lock_function(name: &str) -> bool {
    PASSING_LOCK_FUNCTIONS.contains(&name)
}

/// Notifications and large objects.
pub(super) fn is_home_function(name: &str) -> bool {
    name.starts_with("lo_") || matches!(name, "loread" | "lowrite" | "pg_notify")
}

pub(super) fn is_system_column(name: &str) -> bool {
    SYSTEM_COLUMNS.contains(&name)
}

/// What a built-in function does with a session's memory of sequences, if anything.
pub(super) fn sequence_memory(name: &str) -> Option<Effects> {
    match name {
        "nextval" | "setval" => Some(Effects::ADVANCES_SEQUENCE),
        "currval" | "lastval" => Some(Effects::READS_SEQUENCE),
        _ => None,
    }
}

pub(in crate::sql) fn is_primary_only_function(name: &str) -> bool {
    name.starts_with("pg_stat_") || name.starts_with("pg_last_") || PRIMARY_ONLY_FUNCTIONS.contains(&name)
}

pub(super) fn is_query_running_function(name: &str) -> bool {
    QUERY_RUNNING_FUNCTIONS.contains(&name)
}
