//! What calling a function does.

use pg_query::{Node, protobuf as pg};

use super::scope::Scope;
use super::{Analyzer, names, strings};
use crate::sql::code::{self, CodeClass};
use crate::sql::facts::{Effects, Facets};
use crate::sql::schema::{FunctionClass, Volatility};

impl Analyzer<'_> {
    pub(super) fn function_call(&mut self, call: &pg::FuncCall, scope: &Scope<'_>) {
        self.function(&strings(&call.funcname), &call.args);
        let aggregates = call.agg_star || call.agg_distinct || call.agg_within_group;
        if aggregates || !call.agg_order.is_empty() || call.agg_filter.is_some() {
            self.effect(Effects::SHAPES_RESULT);
        }
        self.expressions(&call.args, scope);
        self.expressions(&call.agg_order, scope);
        self.optional(call.agg_filter.as_deref(), scope);
        if let Some(window) = &call.over {
            self.window(window, scope);
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
        if class.aggregate || class.window {
            self.effect(Effects::SHAPES_RESULT);
        }
        self.session_effects(name, arguments);
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
        } else if names::is_passing_lock_function(name) || names::is_home_function(name) {
            self.effect(Effects::PRIMARY_ONLY | Effects::HOME_ONLY);
        } else if let Some(memory) = names::sequence_memory(name) {
            self.effect(memory | Effects::PRIMARY_ONLY | Effects::HOME_ONLY);
        } else if names::is_primary_only_function(name) {
            self.effect(Effects::PRIMARY_ONLY);
        }
    }

    /// A function of users, or one that is not known.
    fn user_function(&mut self, name: &str, class: Option<FunctionClass>) {
        self.opaque(format!("{name}()"));
        let known =
            name.rsplit('.').next().filter(|name| self.schema.functions.get(*name).is_some_and(|class| !class.builtin));
        self.runs(known.map_or(CodeClass::UNKNOWABLE, |name| self.schema.code.function(name)));
        if class.is_some_and(|class| class.aggregate || class.window) {
            self.effect(Effects::SHAPES_RESULT);
        }
    }
}
