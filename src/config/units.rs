//! Values with units, read once: durations, sizes and addresses.

use core::net::SocketAddr;
use std::time::Duration;

use toml::de::DeValue;

use super::section::{Wrong, count, described, string};
use super::{NodeAddress, WEIR_PORT};

/// PostgreSQL's units of time with their length in microseconds.
const TIME_UNITS: [(&str, u64); 6] =
    [("us", 1), ("ms", 1_000), ("s", 1_000_000), ("min", 60_000_000), ("h", 3_600_000_000), ("d", 86_400_000_000)];

/// PostgreSQL's units of memory with their length in bytes.
const SIZE_UNITS: [(&str, u64); 5] = [("B", 1), ("kB", 1 << 10), ("MB", 1 << 20), ("GB", 1 << 30), ("TB", 1 << 40)];

/// `"30s"`, `"5min"`, or a number of seconds (as in PgBouncer).
pub(super) fn duration(value: &DeValue<'_>) -> Result<Duration, Wrong> {
    let micros = with_unit(value, &TIME_UNITS, 1_000_000).ok_or_else(|| {
        Wrong::new(format!("expected a duration, found {}", described(value)))
            .hint("a number of seconds, or a number with one of the units us, ms, s, min, h, d, such as \"30s\"")
    })?;
    Ok(Duration::from_micros(micros))
}

/// A duration, zero meaning "no limit" (as in PgBouncer).
pub(super) fn duration_or_none(value: &DeValue<'_>) -> Result<Option<Duration>, Wrong> {
    duration(value).map(|duration| (!duration.is_zero()).then_some(duration))
}

/// A duration longer than zero.
pub(super) fn positive_duration(value: &DeValue<'_>) -> Result<Duration, Wrong> {
    duration_or_none(value)?.ok_or_else(|| Wrong::new("must be longer than zero"))
}

/// `"64MB"`, or a number of bytes.
pub(super) fn size(value: &DeValue<'_>) -> Result<usize, Wrong> {
    with_unit(value, &SIZE_UNITS, 1).and_then(|bytes| usize::try_from(bytes).ok()).ok_or_else(|| {
        Wrong::new(format!("expected a size, found {}", described(value)))
            .hint("a number of bytes, or a number with one of the units B, kB, MB, GB, TB, such as \"64MB\"")
    })
}

/// An integer times `default`, or a string of digits and a unit times that unit.
fn with_unit(value: &DeValue<'_>, units: &[(&str, u64)], default: u64) -> Option<u64> {
    let DeValue::String(text) = value else {
        return u64::try_from(count(value).ok()?).ok()?.checked_mul(default);
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// `"127.0.0.1:6432"` or `"[::1]:6432"`.
pub(super) fn socket_address(value: &DeValue<'_>) -> Result<SocketAddr, Wrong> {
    let text = string(value)?;
    text.parse().map_err(|_| {
        Wrong::new(format!("expected an address and a port, found {text:?}"))
            .hint("such as \"127.0.0.1:6432\", \"0.0.0.0:6432\" or \"[::1]:6432\"")
    })
}

/// `"db1.example.com:5432"`, an address, or one of them without the port (then 5432).
pub(super) fn node_address(value: &DeValue<'_>) -> Result<NodeAddress, Wrong> {
    /// PostgreSQL's own default.
    const PORT_DEFAULT: u16 = 5432;
    let text = string(value)?;
    parse_node(&text, PORT_DEFAULT).ok_or_else(|| {
        Wrong::new(format!("expected a host and a port, found {text:?}"))
            .hint("such as \"db1.example.com:5432\", \"10.0.0.1:5432\" or \"[::1]:5432\"")
    })
}

/// `"weir1.example.com:6432"`, an address, or one of them without the port (then 6432).
pub(super) fn peer_address(value: &DeValue<'_>) -> Result<NodeAddress, Wrong> {
    let text = string(value)?;
    parse_node(&text, WEIR_PORT).ok_or_else(|| {
        Wrong::new(format!("expected a host and a port, found {text:?}"))
            .hint("such as \"weir1.example.com:6432\", \"10.0.0.1:6432\" or \"[::1]:6432\"")
    })
}

fn parse_node(text: &str, port_default: u16) -> Option<NodeAddress> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().ok().filter(|port| *port != 0)?,
        None if port.is_empty() => port_default,
        None => return None,
    };
    let plausible = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '/');
    plausible.then(|| NodeAddress { host: host.to_owned(), port })
}
