//! What calling a function does.

use pg_query::{Node, NodeEnum, protobuf as pg};

use super::scope::Scope;
use super::{Analyzer, inner, names, strings};
use crate::sql::code::{self, CodeClass};
use crate::sql::facts::{Effects, Facets};
use crate::sql::schema::{FunctionClass, Volatility};

impl Analyzer<'_> {
    pub(super) fn function_call(&mut self, call: &pg::FuncCall, scope: &Scope<'_>) {
        let was = std::mem::take(&mut self.shape.aggregates);
        self.function(&strings(&call.funcname), &call.args);
        let aggregates = call.agg_star || call.agg_distinct || call.agg_within_group;
        if aggregates || !call.agg_order.is_empty() || call.agg_filter.is_some() {
            self.effect(Effects::SHAPES_RESULT);
            self.shape.aggregates = true;
        }
        if self.shape.aggregates {
            self.note_level(call, scope);
        }
        self.shape.aggregates |= was;
        self.expressions(&call.args, scope);
        self.expressions(&call.agg_order, scope);
        self.optional(call.agg_filter.as_deref(), scope);
        if let Some(window) = &call.over {
            self.shape.cuts = true;
            self.window(window, scope);
        }
    }

    /// An aggregate belongs to the query whose columns it is about, which may be one further out.
    fn note_level(&mut self, call: &pg::FuncCall, scope: &Scope<'_>) {
        let filter = call.agg_filter.as_deref();
        let mut about = call.args.iter().chain(&call.agg_order).chain(filter).peekable();
        if about.peek().is_some() && scope.env.outer.is_some() && !about.any(|node| names_own_column(node, scope)) {
            self.has_escaping_aggregate = true;
        }
    }

    /// A call by its (perhaps qualified) name.
    fn function(&mut self, path: &[&str], arguments: &[Node]) {
        let class = match path {
            [name] | ["pg_catalog" | "information_schema", name] => self.schema.functions.get(*name).copied(),
            _ => None,
        };
        match (class, path.last()) {
            (Some(class), Some(name)) if class.builtin => self.builtin_function(name, class, arguments),
            (class, _) => self.user_function(&path.join("."), class),
        }
    }

    fn builtin_function(&mut self, name: &str, class: FunctionClass, arguments: &[Node]) {
        match class.volatility {
            Volatility::Immutable => {}
            Volatility::Stable => self.effect(Effects::STABLE),
            Volatility::Volatile => self.effect(Effects::VOLATILE),
        }
        self.shapes(class);
        self.session_effects(name, arguments);
        if name == "pg_notify" {
            self.effect(Effects::NOTIFIES);
        }
        if names::is_query_running_function(name) {
            self.opaque(format!("{name}()"));
        }
        if code::is_hidden(name) {
            self.runs(CodeClass::UNKNOWABLE);
        }
        // Under the session's search_path the name may mean a function of users.
        self.runs(self.schema.code.function(name));
    }

    fn session_effects(&mut self, name: &str, arguments: &[Node]) {
        if name == "set_config" {
            self.set_config(arguments);
        } else if names::is_session_lock_function(name) {
            self.makes(Facets::LOCKS);
            self.effect(Effects::PRIMARY_ONLY | Effects::HOME_ONLY);
        } else if names::is_unlock_function(name) {
            self.ends(Facets::LOCKS);
            self.effect(Effects::PRIMARY_ONLY | Effects::HOME_ONLY);
        } else if name == "pg_listening_channels" {
            self.ends(Facets::CHANNELS);
            self.effect(Effects::PRIMARY_ONLY | Effects::HOME_ONLY);
        } else if names::is_passing_lock_function(name) || names::is_home_function(name) {
            self.effect(Effects::PRIMARY_ONLY | Effects::HOME_ONLY);
        } else if let Some(memory) = names::sequence_memory(name) {
            self.effect(memory | Effects::PRIMARY_ONLY | Effects::HOME_ONLY);
        } else if name == "pg_prepared_statement" {
            self.effect(Effects::READS_STATEMENTS | Effects::PRIMARY_ONLY);
        } else if names::is_primary_only_function(name) {
            self.effect(Effects::PRIMARY_ONLY);
        }
    }

    /// A function of users, or one that is not known.
    fn user_function(&mut self, name: &str, class: Option<FunctionClass>) {
        let known =
            name.rsplit('.').next().filter(|name| self.schema.functions.get(*name).is_some_and(|class| !class.builtin));
        match known {
            Some(known) if self.schema.code.is_pure(known) => self.pure_function(known),
            Some(known) if self.schema.shard_local.contains(known) => {
                self.runs_unseen();
                self.statement.shard_local_names.push(format!("{name}()"));
            }
            _ => self.opaque(format!("{name}()")),
        }
        self.runs(known.map_or(CodeClass::UNKNOWABLE, |name| self.schema.code.function(name)));
        if let Some(class) = class {
            self.shapes(class);
        }
    }

    /// A function of users that is as good as one of PostgreSQL's own.
    fn pure_function(&mut self, name: &str) {
        self.runs_unseen();
        match self.schema.functions.get(name).map(|class| class.volatility) {
            Some(Volatility::Immutable) => {}
            Some(Volatility::Stable) => self.effect(Effects::STABLE),
            Some(Volatility::Volatile) | None => self.effect(Effects::VOLATILE),
        }
    }

    fn shapes(&mut self, class: FunctionClass) {
        if class.aggregate || class.window {
            self.effect(Effects::SHAPES_RESULT);
        }
        self.shape.aggregates |= class.aggregate;
        self.shape.cuts |= class.window;
    }
}

/// Whether an expression certainly names a column of the query that it stands in.
fn names_own_column(node: &Node, scope: &Scope<'_>) -> bool {
    let any = |nodes: &[Node]| nodes.iter().any(|node| names_own_column(node, scope));
    let one = |node: &Option<Box<Node>>| node.as_deref().is_some_and(|node| names_own_column(node, scope));
    match inner(node) {
        Some(NodeEnum::ColumnRef(reference)) => scope.bind(reference).is_some_and(|bound| bound.place.level == 0),
        Some(NodeEnum::AExpr(operation)) => one(&operation.lexpr) || one(&operation.rexpr),
        Some(NodeEnum::TypeCast(cast)) => one(&cast.arg),
        Some(NodeEnum::FuncCall(call)) => any(&call.args),
        Some(NodeEnum::CoalesceExpr(coalesce)) => any(&coalesce.args),
        Some(NodeEnum::SortBy(sort)) => one(&sort.node),
        _ => false,
    }
}
