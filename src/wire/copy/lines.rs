//! Lines of a COPY's data: which of the client's a server speaks of that was given a part of them.

use std::collections::VecDeque;

/// How many bytes of memory the lines of one server take. What a server has not read yet is far less.
const MEMORY_MAX: usize = 4 << 20;

/// The lines that a server was given. Rows end at lines; for each, it is kept how far its end is from that of the row before,
/// on the server's side and on the client's.
#[derive(Debug, Default)]
pub struct Lines {
    /// Pairs of distances, in groups of seven bits, the lowest first.
    distances: VecDeque<u8>,
    /// The ends of the last row that is not kept any more.
    forgotten: Ends,
    last: Ends,
}

/// The number of a row's last line, counted from one; zero in front of all rows.
#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    server: u64,
    client: u64,
}

impl Lines {
    /// The server gets a row of this many lines, the last of which is `client` on the client's side.
    pub fn add(&mut self, count: u64, client: u64) {
        let server = self.last.server + count;
        self.put(count);
        self.put(client.saturating_sub(self.last.client));
        self.last = Ends { server, client };
        while self.distances.len() > MEMORY_MAX {
            self.forget_one();
        }
    }

    /// The line of the client's that the server knows under this number, if that is still known.
    pub fn client_line(&self, server: u64) -> Option<u64> {
        let mut bytes = self.distances.iter().copied();
        let mut ends = self.forgotten;
        if server <= ends.server {
            return None;
        }
        while let (Some(own), Some(clients)) = (take(&mut bytes), take(&mut bytes)) {
            ends = Ends { server: ends.server + own, client: ends.client + clients };
            if ends.server >= server {
                return Some(ends.client - (ends.server - server));
            }
        }
        None
    }

    fn put(&mut self, mut distance: u64) {
        while distance >= 0x80 {
            self.distances.push_back((distance & 0x7f) as u8 | 0x80);
            distance >>= 7;
        }
        self.distances.push_back(distance as u8);
    }

    fn forget_one(&mut self) {
        let mut bytes = std::iter::from_fn(|| self.distances.pop_front());
        if let (Some(server), Some(client)) = (take(&mut bytes), take(&mut bytes)) {
            self.forgotten.server += server;
            self.forgotten.client += client;
        }
    }
}

fn take(bytes: &mut impl Iterator<Item = u8>) -> Option<u64> {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes.next()?;
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            return Some(value);
        }
    }
}

/// The number of the line that an error's CONTEXT names, as `COPY table, line 5, column k: "x"`, and where it stands. Only
/// the words around it are of the server's language.
pub fn named_line(context: &str, table: &str) -> Option<(u64, std::ops::Range<usize>)> {
    let mut start = 0;
    for line in context.split_inclusive('\n') {
        let behind = line.contains("COPY").then(|| line.find(table).map(|at| at + table.len())).flatten();
        if let Some(behind) = behind {
            let from = behind + line[behind..].find(|letter: char| letter.is_ascii_digit())?;
            let digits = line[from..].bytes().take_while(u8::is_ascii_digit).count();
            let number = line[from..from + digits].parse().ok()?;
            return Some((number, start + from..start + from + digits));
        }
        start += line.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_lines_are_found_among_the_clients() {
        let mut lines = Lines::default();
        // A header, and rows that end on the client's lines 2, 9 (a row of three lines), and 1000.
        for (count, client) in [(1, 1), (1, 2), (3, 9), (1, 1000)] {
            lines.add(count, client);
        }
        let found: Vec<_> = (0..8).map(|server| lines.client_line(server)).collect();
        assert_eq!(found, [None, Some(1), Some(2), Some(7), Some(8), Some(9), Some(1000), None]);
    }

    #[test]
    fn what_is_long_past_is_forgotten() {
        let mut lines = Lines::default();
        for row in 1..=3_000_000 {
            lines.add(1, row * 3);
        }
        assert_eq!(lines.client_line(1), None);
        assert_eq!(lines.client_line(3_000_000), Some(9_000_000));
        assert_eq!(lines.client_line(2_000_000), Some(6_000_000));
        assert!(lines.distances.len() <= MEMORY_MAX);
    }

    #[test]
    fn the_line_is_found_in_any_language() {
        for (context, expected) in [
            ("COPY t2, line 5, column k: \"7\"", Some(5)),
            ("COPY t2, Zeile 12: »7«", Some(12)),
            ("PL/pgSQL function f() line 3 at RAISE\nCOPY t2, line 40", Some(40)),
            ("SQL statement \"SELECT 1\"", None),
            ("COPY t2", None),
        ] {
            let found = named_line(context, "t2");
            assert_eq!(found.as_ref().map(|(number, _)| *number), expected, "{context}");
            if let Some((number, range)) = found {
                assert_eq!(context[range], number.to_string());
            }
        }
    }
}
