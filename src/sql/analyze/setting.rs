//! SET, SHOW and transaction control.

use pg_query::protobuf::{SetOperation, TransactionStmtKind, VariableSetKind};
use pg_query::{Node, NodeEnum, ParserOptions, protobuf as pg};

use super::operand::builtin_type;
use super::{Analyzer, inner, strings};
use crate::sql::facts::{Effects, Facets, Isolation, Operand, SetConfig, StatementKind, TransactionCommand};

/// One setting that a SET changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    pub name: String,
    /// Several values of one setting are joined by commas; `None` for RESET and DEFAULT.
    pub value: Option<String>,
}

/// The settings that a text of one SET or RESET changes. SET TRANSACTION and SET SESSION CHARACTERISTICS count as the
/// settings `transaction_*` and `default_transaction_*` that they stand for.
pub fn assignments(text: &str) -> Vec<Assignment> {
    let Ok(parsed) = pg_query::parse(text, ParserOptions::DEFAULT) else { return Vec::new() };
    let statements = parsed.protobuf.stmts.iter().filter_map(|raw| raw.stmt.as_deref().and_then(inner));
    let sets = statements.filter_map(|node| match node {
        NodeEnum::VariableSetStmt(set) => Some(set),
        _ => None,
    });
    sets.flat_map(set_assignments).collect()
}

fn set_assignments(set: &pg::VariableSetStmt) -> Vec<Assignment> {
    let prefix = match set.name.as_str() {
        "TRANSACTION" => "",
        "SESSION CHARACTERISTICS" => "default_",
        "TRANSACTION SNAPSHOT" => return vec![Assignment { name: "transaction_snapshot".to_owned(), value: None }],
        name => return vec![Assignment { name: name.to_ascii_lowercase(), value: joined(&set.args) }],
    };
    let mode = |argument: &Node| match inner(argument) {
        Some(NodeEnum::DefElem(mode)) => {
            let value = mode.arg.as_deref().map(std::slice::from_ref).and_then(joined);
            Some(Assignment { name: format!("{prefix}{}", mode.defname), value })
        }
        _ => None,
    };
    set.args.iter().filter_map(mode).collect()
}

/// A statement that is nothing but a call of set_config().
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetConfigCall {
    pub name: Argument,
    pub value: Argument,
    /// The value ends with the transaction.
    pub local: bool,
}

/// An argument that is plain to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    Null,
    Text(String),
    /// `$n`, counted from 1.
    Parameter(u16),
}

/// The call that a text's only statement consists of; `None` for any other text.
pub fn set_config_call(text: &str) -> Option<SetConfigCall> {
    let parsed = pg_query::parse(text, ParserOptions::DEFAULT).ok()?;
    let [raw] = parsed.protobuf.stmts.as_slice() else { return None };
    let Some(NodeEnum::SelectStmt(select)) = raw.stmt.as_deref().and_then(inner) else { return None };
    let [target] = select.target_list.as_slice() else { return None };
    let Some(NodeEnum::ResTarget(target)) = inner(target) else { return None };
    let Some(NodeEnum::FuncCall(call)) = target.val.as_deref().and_then(inner) else { return None };
    let is_named = matches!(strings(&call.funcname).as_slice(), ["set_config"] | ["pg_catalog", "set_config"]);
    let ([name, value, local], true, true) = (call.args.as_slice(), is_named, is_bare(select)) else { return None };
    Some(SetConfigCall { name: argument(name)?, value: argument(value)?, local: boolean(local)? })
}

/// A SELECT without any clause behind its list.
fn is_bare(select: &pg::SelectStmt) -> bool {
    let lists = [
        &select.distinct_clause,
        &select.from_clause,
        &select.group_clause,
        &select.window_clause,
        &select.values_lists,
        &select.sort_clause,
        &select.locking_clause,
    ];
    lists.iter().all(|list| list.is_empty())
        && [&select.where_clause, &select.having_clause, &select.limit_count, &select.limit_offset]
            .iter()
            .all(|clause| clause.is_none())
        && select.with_clause.is_none()
        && select.into_clause.is_none()
        && select.op() == SetOperation::SetopNone
}

fn argument(node: &Node) -> Option<Argument> {
    match inner(node)? {
        NodeEnum::AConst(constant) if constant.isnull => Some(Argument::Null),
        NodeEnum::AConst(constant) => match &constant.val {
            Some(pg::a_const::Val::Sval(string)) => Some(Argument::Text(string.sval.clone())),
            _ => None,
        },
        NodeEnum::ParamRef(parameter) => u16::try_from(parameter.number).ok().map(Argument::Parameter),
        NodeEnum::TypeCast(cast) if builtin_type(cast.type_name.as_ref()).as_deref() == Some("text") => {
            argument(cast.arg.as_deref()?)
        }
        _ => None,
    }
}

fn boolean(node: &Node) -> Option<bool> {
    match inner(node)? {
        NodeEnum::AConst(constant) => match &constant.val {
            Some(pg::a_const::Val::Boolval(boolean)) => Some(boolean.boolval),
            _ => None,
        },
        _ => None,
    }
}

fn joined(values: &[Node]) -> Option<String> {
    let values: Vec<String> = values.iter().map(value).collect();
    (!values.is_empty()).then(|| values.join(","))
}

/// A value as text; one that is no plain constant (such as an interval for the time zone) is empty.
fn value(node: &Node) -> String {
    match inner(node) {
        Some(NodeEnum::AConst(constant)) => match &constant.val {
            Some(pg::a_const::Val::Sval(string)) => string.sval.clone(),
            Some(pg::a_const::Val::Ival(integer)) => integer.ival.to_string(),
            Some(pg::a_const::Val::Fval(float)) => float.fval.clone(),
            Some(pg::a_const::Val::Boolval(boolean)) => boolean.boolval.to_string(),
            Some(pg::a_const::Val::Bsval(_)) | None => String::new(),
        },
        _ => String::new(),
    }
}

impl Analyzer<'_> {
    pub(super) fn set(&mut self, set: &pg::VariableSetStmt) -> StatementKind {
        let local = set.is_local || set.name == "TRANSACTION" || set.name == "TRANSACTION SNAPSHOT";
        let name = set.name.to_ascii_lowercase();
        if name == "seed" {
            // What random() gives from now on is shown nowhere.
            self.makes(Facets::HIDDEN);
        }
        // PostgreSQL keeps the name of a custom setting for ever: it reads as '' where a fresh session has NULL.
        if !local || name.contains('.') {
            self.makes(Facets::SETTINGS);
        }
        match set.kind() {
            VariableSetKind::VarResetAll => StatementKind::ResetAll,
            VariableSetKind::VarReset | VariableSetKind::VarSetDefault if !local => StatementKind::Reset { name },
            _ => StatementKind::Set { name, local },
        }
    }

    /// A call of set_config(): what it sets may be known only when it is bound.
    pub(super) fn set_config(&mut self, arguments: &[Node]) {
        let operand = |at: usize| arguments.get(at).map_or(Operand::Computed, |argument| self.operand(argument));
        let (name, value) = (operand(0), operand(1));
        let local = arguments.get(2).and_then(boolean);
        self.statement.set_configs.push(SetConfig { name, value, local });
        self.effect(Effects::PRIMARY_ONLY);
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
            TransStmtPrepare => TransactionCommand::Prepare,
            TransStmtCommitPrepared | TransStmtRollbackPrepared => {
                let commit = transaction.kind() == TransStmtCommitPrepared;
                TransactionCommand::FinishPrepared { commit, gid: transaction.gid.clone() }
            }
            Undefined => {
                self.unknown("transaction control");
                TransactionCommand::Prepare
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
