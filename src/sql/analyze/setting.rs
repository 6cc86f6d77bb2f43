//! SET, SHOW and transaction control.

use pg_query::protobuf::{TransactionStmtKind, VariableSetKind};
use pg_query::{Node, NodeEnum, protobuf as pg};

use super::{Analyzer, inner};
use crate::sql::facts::{Effects, Isolation, PinReason, StatementKind, TransactionCommand};

impl Analyzer<'_> {
    pub(super) fn set(&mut self, set: &pg::VariableSetStmt) -> StatementKind {
        let local = set.is_local || set.name == "TRANSACTION" || set.name == "TRANSACTION SNAPSHOT";
        if !local {
            self.pin(PinReason::Setting);
        }
        match set.kind() {
            VariableSetKind::VarResetAll => StatementKind::ResetAll,
            _ => StatementKind::Set { name: set.name.to_ascii_lowercase(), local },
        }
    }

    /// A setting may read otherwise on a replica (`transaction_read_only`, `in_hot_standby`).
    pub(super) fn show(&mut self) -> StatementKind {
        self.effect(Effects::PRIMARY_ONLY);
        StatementKind::Show
    }

    pub(super) fn transaction(&mut self, transaction: &pg::TransactionStmt) -> StatementKind {
        use TransactionStmtKind::*;
        let name = || transaction.savepoint_name.clone();
        let chain = transaction.chain;
        StatementKind::Transaction(match transaction.kind() {
            TransStmtBegin | TransStmtStart => TransactionCommand::Begin {
                isolation: isolation(&transaction.options),
                read_only: read_only(&transaction.options),
            },
            TransStmtCommit => TransactionCommand::Commit { chain },
            TransStmtRollback => TransactionCommand::Rollback { chain },
            TransStmtSavepoint => TransactionCommand::Savepoint(name()),
            TransStmtRelease => TransactionCommand::Release(name()),
            TransStmtRollbackTo => TransactionCommand::RollbackTo(name()),
            TransStmtPrepare | TransStmtCommitPrepared | TransStmtRollbackPrepared => TransactionCommand::TwoPhase,
            Undefined => {
                self.unknown("transaction control");
                TransactionCommand::TwoPhase
            }
        })
    }
}

/// The constant of a transaction mode; the last one given counts.
fn option<'o>(options: &'o [Node], name: &str) -> Option<&'o pg::a_const::Val> {
    options.iter().rev().find_map(|option| match inner(option)? {
        NodeEnum::DefElem(option) if option.defname == name => match inner(option.arg.as_deref()?)? {
            NodeEnum::AConst(constant) => constant.val.as_ref(),
            _ => None,
        },
        _ => None,
    })
}

fn isolation(options: &[Node]) -> Option<Isolation> {
    match option(options, "transaction_isolation")? {
        pg::a_const::Val::Sval(level) => match level.sval.as_str() {
            "read uncommitted" => Some(Isolation::ReadUncommitted),
            "read committed" => Some(Isolation::ReadCommitted),
            "repeatable read" => Some(Isolation::RepeatableRead),
            // The strictest one stands for any that a later grammar may bring.
            _ => Some(Isolation::Serializable),
        },
        _ => None,
    }
}

fn read_only(options: &[Node]) -> bool {
    matches!(option(options, "transaction_read_only"), Some(pg::a_const::Val::Ival(value)) if value.ival != 0)
}
