//! The same things happening to a database behind Weir and to one without: whatever their clients are told is the same.

use bytes::BytesMut;
use weir::wire::backend::{read_row_description, tag};
use weir::wire::frontend::{self, Target};

use super::{Front, endpoint_of, rows, unique};
use crate::harness::{Endpoint, Message, RawClient, servers};

/// A database behind Weir and one without, where the same things happen.
pub struct Twins {
    pub front: Front,
    pub direct: Endpoint,
    ddl: Ddl,
}

/// How the schema behind Weir changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ddl {
    ThroughWeir,
    Directly,
}

/// A client of both.
pub struct Both {
    pub weir: RawClient,
    pub direct: RawClient,
}

impl Twins {
    pub fn new(pool_size: usize, ddl: Ddl) -> Self {
        Self::pooling(pool_size, ddl, "transaction")
    }

    pub fn pooling(pool_size: usize, ddl: Ddl, mode: &str) -> Self {
        let mode = format!("pool_mode = \"{mode}\"");
        let front =
            Front::with(pool_size, |setup| setup.pool("server_round_robin = true").pool(&mode).weir("workers = 1"));
        let primary = &servers().app.primary;
        let name = unique("twin");
        endpoint_of(primary, "postgres").execute(&format!("CREATE DATABASE {name}"));
        let mut idle: Vec<_> = (0..pool_size).map(|_| front.app.raw()).collect();
        idle.iter_mut().for_each(|client| client.run("BEGIN"));
        idle.iter_mut().for_each(|client| client.run("COMMIT"));
        drop(idle);
        Self { front, direct: endpoint_of(primary, &name), ddl }
    }

    pub fn client(&self) -> Both {
        Both { weir: self.front.app.raw(), direct: self.direct.raw() }
    }

    pub fn ddl(&self, sql: &str) {
        self.direct.execute(sql);
        match self.ddl {
            Ddl::ThroughWeir => self.front.app.execute(sql),
            Ddl::Directly => self.front.direct.execute(sql),
        };
    }
}

impl Both {
    /// Sends the same to both; gives what both answer.
    pub fn same(&mut self, write: impl Fn(&mut BytesMut)) -> String {
        let (weir, direct) = self.each(write);
        assert_eq!(weir, direct, "through Weir, and direct");
        weir
    }

    pub fn each(&mut self, write: impl Fn(&mut BytesMut)) -> (String, String) {
        let ask = |client: &mut RawClient| {
            client.send_with(&write);
            readable(&client.until_ready())
        };
        (ask(&mut self.weir), ask(&mut self.direct))
    }

    /// Sends a part of a batch to both, which ends with Flush and has that many replies.
    pub fn part(&mut self, replies: usize, write: impl Fn(&mut BytesMut)) -> String {
        let ask = |client: &mut RawClient| {
            client.send_with(&write);
            let replies: Vec<Message> = (0..replies).map(|_| client.next().expect("a reply")).collect();
            readable(&replies)
        };
        let (weir, direct) = (ask(&mut self.weir), ask(&mut self.direct));
        assert_eq!(weir, direct, "through Weir, and direct");
        weir
    }

    pub fn prepare(&mut self, name: &str, sql: &str) -> String {
        self.same(|out| {
            frontend::parse(out, name.as_bytes(), &frontend::definition(sql, &[]));
            frontend::describe(out, Target::Statement(name.as_bytes()));
            frontend::sync(out);
        })
    }

    pub fn close(&mut self, name: &str) {
        self.same(|out| {
            frontend::close(out, Target::Statement(name.as_bytes()));
            frontend::sync(out);
        });
    }

    pub fn query(&mut self, sql: &str) -> String {
        self.same(|out| frontend::query(out, sql))
    }
}

/// Messages as words: what differs from database to database is left out.
pub fn readable(messages: &[Message]) -> String {
    let word = |message: &Message| match message.tag {
        tag::ERROR_RESPONSE => {
            format!("E {} {}", message.field(b'C').unwrap_or_default(), message.field(b'M').unwrap_or_default(),)
        }
        tag::ROW_DESCRIPTION => {
            let columns = read_row_description(&message.body).unwrap();
            let column = |column: &weir::wire::backend::Column| {
                format!("{}:{}", String::from_utf8_lossy(&column.name), column.type_oid)
            };
            format!("T {}", columns.iter().map(column).collect::<Vec<_>>().join(","))
        }
        tag::DATA_ROW => format!("D {}", rows(std::slice::from_ref(message))[0]),
        tag::PARAMETER_DESCRIPTION => format!("t {:?}", message.body),
        tag::READY_FOR_QUERY => format!("Z {}", message.body[0] as char),
        other => (other as char).to_string(),
    };
    let shown = messages.iter().filter(|message| message.tag != tag::PARAMETER_STATUS);
    shown.map(word).collect::<Vec<_>>().join("; ")
}
