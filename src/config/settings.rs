//! Reads `weir.toml`.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::collections::BTreeSet;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::shardmap::ShardMap;

use super::mistake::{File, Mistake, Mistakes};
use super::section::{Located, Section, Wrong, boolean, count, did_you_mean, name, positive, string, word};
use super::units::{duration, duration_or_none, node_address, positive_duration, size, socket_address};
use super::{
    AuthMethod, CONSOLE_DATABASE, Config, Database, General, LogLevel, Password, Pool, PoolMode, RepeatableRead,
    Secret, SequenceState, Shard, TwoPhaseMode, User, WEIR_PORT, peers, shard_map,
};

/// How a file's text is got.
pub(super) type Read<'r> = &'r dyn Fn(&Path) -> io::Result<String>;

const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), WEIR_PORT);

/// Beside the configuration file.
const STATE_DIR_DEFAULT: &str = "weir-state";

/// PostgreSQL's own default.
const MAX_WAL_SENDERS: usize = 10;

const POOL_MODES: &[(&str, PoolMode)] =
    &[("session", PoolMode::Session), ("transaction", PoolMode::Transaction), ("statement", PoolMode::Statement)];

const SEQUENCE_STATES: &[(&str, SequenceState)] = &[("affinity", SequenceState::Affinity), ("pin", SequenceState::Pin)];

const TWO_PHASE_MODES: &[(&str, TwoPhaseMode)] =
    &[("off", TwoPhaseMode::Off), ("auto", TwoPhaseMode::Auto), ("required", TwoPhaseMode::Required)];

const REPEATABLE_READS: &[(&str, RepeatableRead)] =
    &[("one_shard", RepeatableRead::OneShard), ("all_shards", RepeatableRead::AllShards)];

const LOG_LEVELS: &[(&str, LogLevel)] = &[
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

const AUTH_METHODS: &[(&str, AuthMethod)] =
    &[("scram-sha-256", AuthMethod::ScramSha256), ("md5", AuthMethod::Md5), ("trust", AuthMethod::Trust)];

/// The configuration as far as it can be read. It may be used only when no mistake was recorded.
pub(super) fn read_config(path: &Path, read: Read<'_>, mistakes: &Mistakes) -> Option<Config> {
    let file = open(path, read, mistakes)?;
    let table = parse(&file);
    let mut root = Section::new(&file, table.get_ref(), 0..0, "the file");
    let users = read_users(&mut root);
    let general = read_general(&mut root, &users);
    let pool = read_pool(&mut root);
    let databases = read_databases(&mut root, &pool, general.catalog.is_some(), read);
    let peers = peers::read(&mut root, general.peer_id);
    root.finish();
    Some(Config { peers, general, pool, users: users.into_iter().map(|user| user.value).collect(), databases })
}

/// Reads a file; one that cannot be read is a mistake at its first line.
pub(super) fn open<'m>(path: &Path, read: Read<'_>, mistakes: &'m Mistakes) -> Option<File<'m>> {
    match read(path) {
        Ok(text) => Some(File::new(path, text, mistakes)),
        Err(error) => {
            let message = format!("cannot be read: {error}");
            mistakes.push(Mistake { file: path.to_owned(), line: 1, column: 1, message, hint: None });
            None
        }
    }
}

/// The file's table, every syntax error being recorded.
pub(super) fn parse<'t>(file: &'t File<'_>) -> Spanned<DeTable<'t>> {
    let (table, errors) = DeTable::parse_recoverable(&file.text);
    for error in errors {
        let offset = error.span().map_or(0, |span| span.start);
        file.syntax_error(offset, error.message());
    }
    table
}

fn read_general(root: &mut Section<'_>, users: &[Located<User>]) -> General {
    let mut section = root.take_section("weir", "[weir]");
    let general = General {
        listen: read_listen(&mut section),
        http_listen: section.take("http_listen", socket_address),
        workers: section.take("workers", count).and_then(NonZeroUsize::new),
        io_uring: section.take("io_uring", boolean).unwrap_or(true),
        state_dir: read_state_dir(&mut section),
        catalog: section.take("catalog", catalog_url),
        admin_users: read_admin_users(&mut section, users),
        log_level: section.take("log_level", word(LOG_LEVELS)).unwrap_or(LogLevel::Info),
        peer_id: section.take("peer_id", peers::id),
    };
    section.finish();
    general
}

fn read_listen(section: &mut Section<'_>) -> Vec<SocketAddr> {
    section.take_filled_list("listen", socket_address).map_or_else(|| vec![LISTEN_DEFAULT], values)
}

/// A URL of a PostgreSQL database.
fn catalog_url(value: &DeValue<'_>) -> Result<Secret, Wrong> {
    let url = name(value)?;
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        Ok(Secret::new(url))
    } else {
        Err(Wrong::new("expected a URL such as postgres://user:password@host:5432/database"))
    }
}

fn read_state_dir(section: &mut Section<'_>) -> PathBuf {
    let given = section.take("state_dir", name).unwrap_or_else(|| STATE_DIR_DEFAULT.to_owned());
    section.file.resolve(&given)
}

fn read_admin_users(section: &mut Section<'_>, users: &[Located<User>]) -> Vec<String> {
    let admins = section.take_list("admin_users", name).unwrap_or_default();
    let known = || users.iter().map(|user| user.value.name.as_str());
    for admin in admins.iter().filter(|admin| !known().any(|name| name == admin.value)) {
        let message = format!("admin_users: there is no user {}", admin.value);
        section.file.mistake(admin.offset, message, did_you_mean(&admin.value, known()));
    }
    values(admins)
}

fn read_pool(root: &mut Section<'_>) -> Pool {
    let mut section = root.take_section("pool", "[pool]");
    let pool = Pool {
        pool_mode: section.take("pool_mode", word(POOL_MODES)).unwrap_or(PoolMode::Transaction),
        default_pool_size: section.take("default_pool_size", positive).unwrap_or(20),
        max_client_conn: section.take("max_client_conn", positive).unwrap_or(10_000),
        server_lifetime: section.take("server_lifetime", duration).unwrap_or(Duration::from_secs(3600)),
        server_idle_timeout: timeout(&mut section, "server_idle_timeout", Duration::from_secs(600)),
        query_wait_timeout: timeout(&mut section, "query_wait_timeout", Duration::from_secs(120)),
        server_connect_timeout: section
            .take("server_connect_timeout", positive_duration)
            .unwrap_or(Duration::from_secs(15)),
        client_login_timeout: timeout(&mut section, "client_login_timeout", Duration::from_secs(60)),
        max_prepared_statements: section.take("max_prepared_statements", count).unwrap_or(200),
        server_round_robin: section.take("server_round_robin", boolean).unwrap_or(false),
        merge_memory: section.take("merge_memory", size).unwrap_or(64 << 20),
        gather_pool_size: section.take("gather_pool_size", positive).unwrap_or(4),
        gather_rows: section.take("gather_rows", positive).unwrap_or(10_000_000),
        gather_bytes: section.take("gather_bytes", size).unwrap_or(1 << 30),
        shutdown_timeout: section.take("shutdown_timeout", duration).unwrap_or(Duration::from_secs(30)),
    };
    section.finish();
    pool
}

/// A function's name with its schema.
fn function_name(value: &DeValue<'_>) -> Result<String, Wrong> {
    let name = name(value)?;
    match name.split_once('.') {
        Some((schema, function)) if !schema.is_empty() && !function.is_empty() => Ok(name),
        _ => Err(Wrong::new(format!("expected schema.function, found {name:?}"))),
    }
}

fn timeout(section: &mut Section<'_>, key: &'static str, default: Duration) -> Option<Duration> {
    section.take(key, duration_or_none).unwrap_or(Some(default))
}

fn read_users(root: &mut Section<'_>) -> Vec<Located<User>> {
    let sections = root.take_sections("users", "[[users]]");
    let users: Vec<_> = sections.into_iter().filter_map(read_user).collect();
    report_repeated(root.file, "user", users.iter().map(|user| (user.value.name.as_str(), user.offset)));
    users
}

fn read_user(mut section: Section<'_>) -> Option<Located<User>> {
    let name = section.require("name", name);
    let auth = section.take("auth", word(AUTH_METHODS)).unwrap_or(AuthMethod::ScramSha256);
    let password = section.take("password", password);
    let server_password = section.take("server_password", string).map(Secret::new);
    let pool_mode = section.take("pool_mode", word(POOL_MODES));
    check_password(&section, auth, password.as_ref());
    section.finish();
    name.map(|Located { value: name, offset }| Located {
        value: User { name, auth, password, server_password, pool_mode },
        offset,
    })
}

fn check_password(section: &Section<'_>, auth: AuthMethod, password: Option<&Password>) {
    match (auth, password) {
        (AuthMethod::ScramSha256 | AuthMethod::Md5, None) if !section.has("password") => section.missing("password"),
        (AuthMethod::Md5, Some(Password::Scram(_))) => {
            section.mistake("auth = \"md5\" needs a plain password: a SCRAM secret cannot check an md5 answer");
        }
        _ => {}
    }
}

/// A SCRAM secret by its prefix, any other string as it is. Messages never show it.
fn password(value: &DeValue<'_>) -> Result<Password, Wrong> {
    let DeValue::String(text) = value else { return Err(Wrong::new("expected a string")) };
    let secret = Secret::new(text.as_ref());
    match text.strip_prefix("SCRAM-SHA-256$") {
        None if text.is_empty() => Err(Wrong::new("must not be empty")),
        None => Ok(Password::Plain(secret)),
        Some(rest) if is_scram_secret(rest) => Ok(Password::Scram(secret)),
        Some(_) => Err(Wrong::new("not a SCRAM secret")
            .hint("SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey, as in pg_authid.rolpassword")),
    }
}

/// `iterations:salt$StoredKey:ServerKey`, the last three in base64.
fn is_scram_secret(text: &str) -> bool {
    let is_base64 = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
    };
    let parts = text.split_once('$').and_then(|(salted, keys)| Some((salted.split_once(':')?, keys.split_once(':')?)));
    parts.is_some_and(|((iterations, salt), (stored_key, server_key))| {
        iterations.parse::<u32>().is_ok_and(|number| number > 0)
            && [salt, stored_key, server_key].into_iter().all(is_base64)
    })
}

fn read_databases(root: &mut Section<'_>, pool: &Pool, shares_catalog: bool, read: Read<'_>) -> Vec<Database> {
    let sections = root.take_section("databases", "[databases]").named_sections(|name| format!("[databases.{name}]"));
    if sections.is_empty() {
        root.file.absence(0, "there is no database", Some("add a table [databases.NAME]".to_owned()));
    }
    sections.into_iter().map(|(name, section)| read_database(name.value, section, pool, shares_catalog, read)).collect()
}

fn read_database(name: &str, mut section: Section<'_>, pool: &Pool, shares_catalog: bool, read: Read<'_>) -> Database {
    if name == CONSOLE_DATABASE {
        section.mistake(format!("the name {CONSOLE_DATABASE} is the console's"));
    }
    let shards = read_shards(&mut section, name);
    let shard_names = shards.iter().map(|(name, _)| name.value.clone()).collect();
    let database = Database {
        name: name.to_owned(),
        pool_mode: section.take("pool_mode", word(POOL_MODES)).unwrap_or(pool.pool_mode),
        pool_size: section.take("pool_size", positive).unwrap_or(pool.default_pool_size),
        max_wal_senders: section.take("max_wal_senders", count).unwrap_or(MAX_WAL_SENDERS),
        read_write_split: section.take("read_write_split", boolean).unwrap_or(false),
        harmless_functions: values(section.take_list("harmless_functions", function_name).unwrap_or_default())
            .into_iter()
            .collect(),
        shard_local: values(section.take_list("shard_local", function_name).unwrap_or_default()).into_iter().collect(),
        sequence_state: section.take("sequence_state", word(SEQUENCE_STATES)).unwrap_or(SequenceState::Affinity),
        two_phase: section.take("two_phase", word(TWO_PHASE_MODES)).unwrap_or(TwoPhaseMode::Auto),
        repeatable_read: read_repeatable_read(&mut section, shares_catalog),
        shard_map: read_shard_map(&mut section, shard_names, read),
        shards: shards.into_iter().filter_map(|(_, shard)| shard).collect(),
    };
    section.finish();
    database
}

/// How far a REPEATABLE READ transaction sees. Weirs that share a catalog do not keep each other out while a snapshot of all
/// shards is taken.
fn read_repeatable_read(section: &mut Section<'_>, shares_catalog: bool) -> RepeatableRead {
    let Some(Located { value, offset }) = section.take_located("repeatable_read", word(REPEATABLE_READS)) else {
        return RepeatableRead::OneShard;
    };
    if value == RepeatableRead::AllShards && shares_catalog {
        let message = "repeatable_read = \"all_shards\" needs a Weir that shares its catalog with no other";
        section.file.mistake(offset, message, Some("leave out catalog in [weir], or take \"one_shard\"".to_owned()));
    }
    value
}

/// The map that the database names. Without one there must be exactly one shard.
fn read_shard_map(section: &mut Section<'_>, shards: Vec<String>, read: Read<'_>) -> Option<ShardMap> {
    let sharded = section.take("sharded", boolean).unwrap_or(false);
    if !section.has("shard_map") && shards.len() > 1 && !sharded {
        section.missing("shard_map, which a database with several shards needs");
    }
    if sharded && !section.has("shard_map") {
        return shard_map::without_keyspaces(shards);
    }
    let Located { value: path, offset } = section.take_located("shard_map", name)?;
    let path = section.file.resolve(&path);
    match read(&path) {
        Ok(text) => shard_map::read(&File::new(&path, text, section.file.mistakes), Some(shards)),
        Err(error) => {
            section.file.mistake(offset, format!("shard_map: {} cannot be read: {error}", path.display()), None);
            None
        }
    }
}

/// A shard that has a name, and the rest of it unless that has mistakes.
type NamedShard = (Located<String>, Option<Shard>);

fn read_shards(database: &mut Section<'_>, database_name: &str) -> Vec<NamedShard> {
    let sections = database.take_sections("shards", &format!("[[databases.{database_name}.shards]]"));
    if sections.is_empty() {
        database.missing("shards");
    }
    let shards: Vec<_> = sections.into_iter().filter_map(|section| read_shard(section, database_name)).collect();
    report_repeated(database.file, "shard", shards.iter().map(|(name, _)| (name.value.as_str(), name.offset)));
    report_shared_nodes(database.file, &shards);
    shards
}

fn read_shard(mut section: Section<'_>, database: &str) -> Option<NamedShard> {
    let shard_name = section.require("name", name);
    let primary = section.require("primary", node_address);
    let replicas = section.take_list("replicas", node_address).unwrap_or_default();
    let dbname = section.take("dbname", name).unwrap_or_else(|| database.to_owned());
    section.finish();
    let name = shard_name?;
    let shard = primary.map(|primary| Shard {
        name: name.value.clone(),
        primary: primary.value,
        replicas: values(replicas),
        dbname,
    });
    Some((name, shard))
}

/// Two nodes of a database must not be the same server and database.
fn report_shared_nodes(file: &File<'_>, shards: &[NamedShard]) {
    let mut seen = BTreeSet::new();
    for (name, shard) in shards.iter().filter_map(|(name, shard)| Some((name, shard.as_ref()?))) {
        for node in std::iter::once(&shard.primary).chain(&shard.replicas) {
            if !seen.insert((node, &shard.dbname)) {
                file.mistake(name.offset, format!("{node}, database {}, is given twice", shard.dbname), None);
            }
        }
    }
}

/// Records names that were given before.
pub(super) fn report_repeated<'n>(file: &File<'_>, what: &str, names: impl Iterator<Item = (&'n str, usize)>) {
    let mut seen = BTreeSet::new();
    for (name, offset) in names {
        if !seen.insert(name) {
            file.mistake(offset, format!("{what} {name} is given twice"), None);
        }
    }
}

fn values<T>(located: Vec<Located<T>>) -> Vec<T> {
    located.into_iter().map(|located| located.value).collect()
}
