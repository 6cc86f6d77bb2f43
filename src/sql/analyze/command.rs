//! Kinds of statements. A statement that is not listed here is [`StatementKind::Other`], which a sharded database refuses.

use pg_query::protobuf::{CopyStmt, DiscardMode, ObjectType, ReindexObjectType};
use pg_query::{Node, NodeEnum, protobuf as pg};

use super::scope::{Env, Scope};
use super::{Analyzer, inner, node_name, string, strings};
use crate::sql::code::{self, CodeClass, Unit};
use crate::sql::facts::{Ddl, DiscardTarget, Effects, Facets, StatementKind};
use crate::sql::made_table::as_create_table;

/// `CURSOR_OPT_HOLD` of PostgreSQL's `parsenodes.h`.
const CURSOR_OPT_HOLD: i32 = 0x0020;

impl<'a> Analyzer<'a> {
    /// Analyses a statement and says of what kind it is.
    pub(super) fn command(&mut self, node: &NodeEnum, env: Env<'_>) -> StatementKind {
        match node {
            NodeEnum::SelectStmt(select) => self.top_select(select, env),
            NodeEnum::InsertStmt(_) | NodeEnum::UpdateStmt(_) | NodeEnum::DeleteStmt(_) | NodeEnum::MergeStmt(_) => {
                self.data_modification(node, env)
            }
            NodeEnum::CopyStmt(copy) => self.copy(copy, env),
            NodeEnum::ExplainStmt(explain) => self.explain(explain, env),
            NodeEnum::TransactionStmt(transaction) => self.transaction(transaction),
            NodeEnum::VariableSetStmt(set) => self.set(set),
            NodeEnum::VariableShowStmt(_) => self.show(),
            NodeEnum::DiscardStmt(discard) => self.discard(discard),
            NodeEnum::PrepareStmt(prepare) => self.prepare(prepare, env),
            NodeEnum::ExecuteStmt(execute) => self.execute(execute),
            NodeEnum::DeallocateStmt(deallocate) => self.deallocate(deallocate),
            NodeEnum::DeclareCursorStmt(declare) => self.declare(declare, env),
            NodeEnum::FetchStmt(_) => StatementKind::Fetch,
            NodeEnum::ClosePortalStmt(_) => self.close_cursor(),
            NodeEnum::ListenStmt(_) => self.listen(),
            NodeEnum::UnlistenStmt(_) => self.unlisten(),
            NodeEnum::NotifyStmt(_) => self.notify(),
            NodeEnum::LockStmt(lock) => self.lock(lock),
            NodeEnum::DoStmt(code) => self.do_block(code),
            NodeEnum::CallStmt(call) => self.call(call),
            NodeEnum::LoadStmt(_) => self.load(),
            NodeEnum::ConstraintsSetStmt(_) => StatementKind::Set { name: "constraints".to_owned(), local: true },
            _ => self.schema_command(node, env),
        }
    }

    fn top_select(&mut self, select: &pg::SelectStmt, env: Env<'_>) -> StatementKind {
        if let Some(create) = as_create_table(select) {
            return self.create_table_as(&create, env);
        }
        self.select(select, env);
        if self.statement.effects.contains(Effects::DDL) {
            self.inexplicable("SELECT INTO")
        } else {
            StatementKind::Select
        }
    }

    /// DDL, and what cannot run in a transaction block.
    fn schema_command(&mut self, node: &NodeEnum, env: Env<'_>) -> StatementKind {
        self.statement.vacates = vacated_database(node);
        // Types, functions and the like have no TEMP, but may be in that schema.
        if self.text.to_ascii_lowercase().contains("pg_temp") {
            self.makes(Facets::TEMPORARY);
        }
        if is_standalone(node) {
            self.standalone(node);
            return StatementKind::Standalone;
        }
        match node {
            NodeEnum::CreateStmt(create) => self.create_table(create),
            NodeEnum::CreateTableAsStmt(create) => self.create_table_as(create, env),
            NodeEnum::AlterTableStmt(alter) => self.alter_table(alter),
            NodeEnum::IndexStmt(index) => self.create_index(index),
            NodeEnum::RenameStmt(rename) => self.rename(rename),
            NodeEnum::AlterObjectSchemaStmt(alter) => self.set_schema(alter),
            NodeEnum::TruncateStmt(truncate) => self.truncate(truncate),
            NodeEnum::ViewStmt(view) => self.create_view(view),
            NodeEnum::CreateSeqStmt(create) => self.create_sequence(create),
            NodeEnum::DropStmt(drop) => self.drop(drop),
            NodeEnum::CreateSchemaStmt(create) if !create.schema_elts.is_empty() => {
                self.inexplicable("CREATE SCHEMA with elements")
            }
            _ => match plain_schema_command(node) {
                Some(command) => {
                    self.defined_code(node);
                    self.tables_of(node);
                    self.plain_ddl(command)
                }
                None => self.other(node),
            },
        }
    }

    /// Code that runs from now on where no statement says so, or under a new name.
    fn defined_code(&mut self, node: &NodeEnum) {
        match node {
            NodeEnum::CreateFunctionStmt(create) if !is_in_sql(create) => self.defines(CodeClass::UNKNOWABLE),
            NodeEnum::CreateFunctionStmt(_)
            | NodeEnum::CreateTrigStmt(_)
            | NodeEnum::RuleStmt(_)
            | NodeEnum::CreatePolicyStmt(_)
            | NodeEnum::AlterPolicyStmt(_)
            | NodeEnum::DefineStmt(_)
            | NodeEnum::CreateCastStmt(_)
            | NodeEnum::CreateDomainStmt(_)
            | NodeEnum::AlterDomainStmt(_)
            | NodeEnum::CreateEventTrigStmt(_) => self.defines_own_text(),
            NodeEnum::CreateExtensionStmt(_)
            | NodeEnum::AlterExtensionStmt(_)
            | NodeEnum::CreateForeignTableStmt(_)
            | NodeEnum::ImportForeignSchemaStmt(_) => self.defines(CodeClass::UNKNOWABLE),
            NodeEnum::AlterFunctionStmt(_) | NodeEnum::CreateOpClassStmt(_) => self.moves_code(),
            _ => {}
        }
    }

    fn defines(&mut self, class: CodeClass) {
        self.statement.defines = self.statement.defines.and(class);
    }

    /// The statement's own text has the code, or names it.
    pub(super) fn defines_own_text(&mut self) {
        self.defines(self.schema.code.judge(&code::read_definition(self.text)));
    }

    /// Code that is known runs elsewhere, or under another name.
    pub(super) fn moves_code(&mut self) {
        self.defines_own_text();
        if !self.schema.code.is_proven() {
            self.defines(CodeClass::UNKNOWABLE);
        }
    }

    fn other(&mut self, node: &NodeEnum) -> StatementKind {
        let name = node_name(node);
        self.unknown(name.clone());
        self.effect(Effects::WRITES_ROWS);
        StatementKind::Other(name)
    }

    /// DDL that may run on every shard alike.
    pub(super) fn plain_ddl(&mut self, command: &str) -> StatementKind {
        self.ddl(Ddl::Other { command: command.to_owned() })
    }

    /// DDL whose meaning for a sharded database cannot be read from its text.
    fn inexplicable(&mut self, what: &str) -> StatementKind {
        self.refused(what);
        self.plain_ddl(what)
    }

    pub(super) fn ddl(&mut self, ddl: Ddl) -> StatementKind {
        self.effect(Effects::DDL);
        self.runs(self.schema.code.class(&Unit::SchemaChanges));
        self.statement.ddl = Some(ddl);
        StatementKind::Ddl
    }

    fn create_table_as(&mut self, create: &pg::CreateTableAsStmt, env: Env<'_>) -> StatementKind {
        let into = create.into.as_deref();
        match (into.and_then(|into| into.rel.as_ref()), create.query.as_deref().and_then(inner)) {
            (Some(table), Some(query @ NodeEnum::SelectStmt(_))) if create.objtype() == ObjectType::ObjectTable => {
                self.effect(Effects::DDL | Effects::WRITES_ROWS);
                self.defined_relation(table);
                drop(self.subquery(query, env));
                let with_data = into.is_some_and(|into| !into.skip_data);
                return self.ddl(Ddl::CreateTableAs { temporary: super::table::is_temporary(table), with_data });
            }
            (_, Some(NodeEnum::ExecuteStmt(execute))) => {
                self.execute(execute);
            }
            (_, Some(query)) => drop(self.subquery(query, env)),
            (_, None) => self.unknown("CREATE TABLE AS"),
        }
        if let Some(into) = into {
            self.made_table(into);
        }
        self.inexplicable("CREATE TABLE AS")
    }

    /// A view's query runs when it is read; now it is only parsed.
    fn create_view(&mut self, view: &pg::ViewStmt) -> StatementKind {
        if let Some(range) = &view.view {
            self.defined_relation(range);
        }
        self.defines_own_text();
        self.plain_ddl("CREATE VIEW")
    }

    fn create_sequence(&mut self, create: &pg::CreateSeqStmt) -> StatementKind {
        if let Some(range) = &create.sequence {
            self.defined_relation(range);
        }
        self.plain_ddl("CREATE SEQUENCE")
    }

    fn drop(&mut self, drop: &pg::DropStmt) -> StatementKind {
        self.ends(Facets::TEMPORARY);
        match drop.remove_type() {
            ObjectType::ObjectTable => {
                drop.objects.iter().for_each(|object| self.named_relation(object));
                self.plain_ddl("DROP TABLE")
            }
            _ => self.plain_ddl("DROP"),
        }
    }

    /// What cannot run in a transaction block. Only what every shard can do for itself is described.
    fn standalone(&mut self, node: &NodeEnum) {
        self.effect(Effects::WRITES_ROWS);
        let command = match node {
            NodeEnum::IndexStmt(index) => return drop(self.create_index(index)),
            NodeEnum::DropStmt(drop) if drop.remove_type() == ObjectType::ObjectIndex => "DROP INDEX CONCURRENTLY",
            NodeEnum::VacuumStmt(vacuum) => {
                let ranges = vacuum.rels.iter().filter_map(inner).filter_map(|relation| match relation {
                    NodeEnum::VacuumRelation(relation) => relation.relation.as_ref(),
                    _ => None,
                });
                self.defined_relations(ranges);
                if vacuum.is_vacuumcmd { "VACUUM" } else { "ANALYZE" }
            }
            NodeEnum::ReindexStmt(reindex) => match reindex.kind() {
                ReindexObjectType::ReindexObjectTable => {
                    self.defined_relations(reindex.relation.as_ref());
                    "REINDEX"
                }
                ReindexObjectType::ReindexObjectIndex | ReindexObjectType::ReindexObjectSchema => "REINDEX",
                // These name the database, which has another name on the servers.
                _ => return,
            },
            NodeEnum::ClusterStmt(_) => "CLUSTER",
            NodeEnum::CheckPointStmt(_) => "CHECKPOINT",
            _ => return,
        };
        self.statement.ddl = Some(Ddl::Other { command: command.to_owned() });
    }

    /// The tables that a schema command is about, so that it finds those which live on one shard.
    fn tables_of(&mut self, node: &NodeEnum) {
        match node {
            NodeEnum::CreateTrigStmt(create) => self.defined_relations(create.relation.as_ref()),
            NodeEnum::RuleStmt(create) => self.defined_relations(create.relation.as_ref()),
            NodeEnum::CreatePolicyStmt(create) => self.defined_relations(create.table.as_ref()),
            NodeEnum::AlterPolicyStmt(alter) => self.defined_relations(alter.table.as_ref()),
            NodeEnum::GrantStmt(grant) => {
                let ranges = grant.objects.iter().filter_map(|object| match inner(object) {
                    Some(NodeEnum::RangeVar(range)) => Some(range),
                    _ => None,
                });
                self.defined_relations(ranges);
            }
            NodeEnum::CommentStmt(comment) if comment.objtype() == ObjectType::ObjectTable => {
                comment.object.iter().for_each(|object| self.named_relation(object));
            }
            _ => {}
        }
    }

    fn defined_relations<'r>(&mut self, ranges: impl IntoIterator<Item = &'r pg::RangeVar>) {
        ranges.into_iter().for_each(|range| self.defined_relation(range));
    }

    /// A relation that is given by a list of names.
    fn named_relation(&mut self, object: &Node) {
        let Some(NodeEnum::List(list)) = inner(object) else { return };
        let (schema, name) = match strings(&list.items).as_slice() {
            [name] => (String::new(), (*name).to_owned()),
            [.., schema, name] => ((*schema).to_owned(), (*name).to_owned()),
            [] => return,
        };
        self.defined_relation(&pg::RangeVar { schemaname: schema, relname: name, ..pg::RangeVar::default() });
    }

    fn truncate(&mut self, truncate: &pg::TruncateStmt) -> StatementKind {
        self.written_relations(&truncate.relations);
        self.effect(Effects::WRITES_ROWS);
        if truncate.restart_seqs {
            self.refused("TRUNCATE ... RESTART IDENTITY");
        }
        self.ddl(Ddl::Truncate)
    }

    fn written_relations(&mut self, relations: &[Node]) {
        for relation in relations {
            match inner(relation) {
                Some(NodeEnum::RangeVar(range)) => {
                    self.relation(range, true);
                }
                _ => self.unknown("a relation"),
            }
        }
    }

    fn copy(&mut self, copy: &CopyStmt, env: Env<'_>) -> StatementKind {
        let mut scope = Scope::new(env);
        if let Some(range) = &copy.relation {
            let source = self.source(range, copy.is_from);
            scope.sources.push(source);
        }
        if let Some(query) = copy.query.as_deref().and_then(inner) {
            self.subquery(query, env);
        }
        self.optional(copy.where_clause.as_deref(), &scope);
        if option_text(&copy.options, "format").as_deref() == Some("binary") {
            self.effect(Effects::COPIES_BINARY);
        }
        if copy.is_from {
            self.new_rows(copy.relation.as_ref());
            self.effect(Effects::WRITES_ROWS);
            if copy.is_program || !copy.filename.is_empty() {
                self.refused("COPY FROM a file or program of the server");
            }
            StatementKind::CopyFrom
        } else {
            if copy.is_program || !copy.filename.is_empty() {
                self.effect(Effects::PRIMARY_ONLY);
                self.refused("COPY TO a file or program of the server");
            }
            StatementKind::CopyTo
        }
    }

    /// The statement's own facts become the EXPLAIN's. An ANALYZE option counts as on, whatever its value is.
    fn explain(&mut self, explain: &pg::ExplainStmt, env: Env<'_>) -> StatementKind {
        let has = |name: &str| {
            let is_named = |option: &Node| matches!(inner(option), Some(NodeEnum::DefElem(option)) if option.defname.eq_ignore_ascii_case(name));
            explain.options.iter().any(is_named)
        };
        let (analyze, formatted) = (has("analyze"), has("format"));
        match explain.query.as_deref().and_then(inner) {
            Some(query) => {
                if self.command(query, env) == StatementKind::Merge {
                    self.refused("EXPLAIN of MERGE");
                }
            }
            None => self.unknown("EXPLAIN"),
        }
        StatementKind::Explain { analyze, formatted }
    }

    fn prepare(&mut self, prepare: &pg::PrepareStmt, env: Env<'_>) -> StatementKind {
        if let Some(query) = prepare.query.as_deref().and_then(inner) {
            self.command(query, env);
        }
        StatementKind::Prepare { name: prepare.name.clone() }
    }

    /// What a prepared statement does is not in this text.
    fn execute(&mut self, execute: &pg::ExecuteStmt) -> StatementKind {
        self.statement.executes = Some(execute.name.clone());
        self.effect(Effects::WRITES_ROWS | Effects::NOTIFIES);
        self.expressions(&execute.params, &Scope::new(Env::TOP));
        StatementKind::Execute
    }

    fn declare(&mut self, declare: &pg::DeclareCursorStmt, env: Env<'_>) -> StatementKind {
        let hold = declare.options & CURSOR_OPT_HOLD != 0;
        if hold {
            self.makes(Facets::CURSORS);
        }
        match declare.query.as_deref().and_then(inner) {
            Some(query) => drop(self.subquery(query, env)),
            None => self.unknown("DECLARE CURSOR"),
        }
        StatementKind::DeclareCursor { hold }
    }

    fn listen(&mut self) -> StatementKind {
        self.makes(Facets::CHANNELS);
        StatementKind::Listen
    }

    fn unlisten(&mut self) -> StatementKind {
        self.ends(Facets::CHANNELS);
        StatementKind::Unlisten
    }

    fn notify(&mut self) -> StatementKind {
        self.effect(Effects::NOTIFIES);
        StatementKind::Notify
    }

    fn close_cursor(&mut self) -> StatementKind {
        self.ends(Facets::CURSORS);
        StatementKind::CloseCursor
    }

    fn deallocate(&mut self, deallocate: &pg::DeallocateStmt) -> StatementKind {
        self.ends(Facets::STATEMENTS);
        StatementKind::Deallocate { name: (!deallocate.name.is_empty()).then(|| deallocate.name.clone()) }
    }

    fn discard(&mut self, discard: &pg::DiscardStmt) -> StatementKind {
        let target = match discard.target() {
            DiscardMode::DiscardPlans => DiscardTarget::Plans,
            DiscardMode::DiscardSequences => DiscardTarget::Sequences,
            DiscardMode::DiscardTemp => DiscardTarget::Temp,
            DiscardMode::DiscardAll | DiscardMode::Undefined => DiscardTarget::All,
        };
        match target {
            DiscardTarget::Plans | DiscardTarget::Sequences => {}
            DiscardTarget::Temp => self.ends(Facets::TEMPORARY),
            DiscardTarget::All => self.ends(Facets::SHOWN),
        }
        StatementKind::Discard(target)
    }

    fn lock(&mut self, lock: &pg::LockStmt) -> StatementKind {
        self.effect(Effects::LOCKS);
        self.written_relations(&lock.relations);
        StatementKind::Lock
    }

    fn opaque_code(&mut self, name: &str) -> StatementKind {
        self.opaque(name.to_owned());
        self.effect(Effects::WRITES_ROWS);
        StatementKind::Opaque
    }

    /// DO: its code stands in the statement.
    fn do_block(&mut self, block: &pg::DoStmt) -> StatementKind {
        let argument = |name: &str| {
            let found = block.args.iter().find_map(|argument| match inner(argument) {
                Some(NodeEnum::DefElem(element)) if element.defname == name => element.arg.as_deref(),
                _ => None,
            });
            found.and_then(string)
        };
        let class = match (argument("language").unwrap_or("plpgsql"), argument("as")) {
            ("plpgsql", Some(body)) => self.schema.code.judge(&code::read(body)),
            _ => CodeClass::UNKNOWABLE,
        };
        self.runs(class);
        self.opaque_code("DO")
    }

    fn call(&mut self, call: &pg::CallStmt) -> StatementKind {
        if let Some(function) = &call.funccall {
            self.function_call(function, &Scope::new(Env::TOP));
        }
        self.opaque_code("CALL")
    }

    fn load(&mut self) -> StatementKind {
        self.makes(Facets::LIBRARIES);
        self.runs(CodeClass::UNKNOWABLE);
        self.opaque_code("LOAD")
    }
}

/// A function in SQL or PL/pgSQL.
fn is_in_sql(create: &pg::CreateFunctionStmt) -> bool {
    let language = create.options.iter().find_map(|option| match inner(option) {
        Some(NodeEnum::DefElem(option)) if option.defname == "language" => option.arg.as_deref().and_then(string),
        _ => None,
    });
    language.is_none_or(|language| matches!(language, "sql" | "plpgsql"))
}

/// Statements that call `PreventInTransactionBlock` in PostgreSQL. VACUUM's kin is one node with ANALYZE, which may run
/// in a block; but one of all tables touches temporary ones of other sessions, so that it cannot be prepared. Options given
/// with a value count as on.
fn is_standalone(node: &NodeEnum) -> bool {
    match node {
        NodeEnum::CheckPointStmt(_)
        | NodeEnum::CreatedbStmt(_)
        | NodeEnum::DropdbStmt(_)
        | NodeEnum::CreateTableSpaceStmt(_)
        | NodeEnum::DropTableSpaceStmt(_)
        | NodeEnum::AlterSystemStmt(_)
        | NodeEnum::CreateSubscriptionStmt(_)
        | NodeEnum::AlterSubscriptionStmt(_)
        | NodeEnum::DropSubscriptionStmt(_) => true,
        NodeEnum::IndexStmt(index) => index.concurrent,
        NodeEnum::DropStmt(drop) => drop.concurrent,
        NodeEnum::VacuumStmt(vacuum) => vacuum.is_vacuumcmd || vacuum.rels.is_empty(),
        NodeEnum::ClusterStmt(cluster) => cluster.relation.is_none(),
        NodeEnum::ReindexStmt(reindex) => !reindex.params.is_empty() || !is_single_reindex(reindex.kind()),
        NodeEnum::AlterDatabaseStmt(alter) => has_option(&alter.options, "tablespace"),
        NodeEnum::AlterTableStmt(alter) => alter.cmds.iter().any(detaches_concurrently),
        _ => false,
    }
}

/// The database that PostgreSQL wants to have no other sessions for this command.
fn vacated_database(node: &NodeEnum) -> Option<String> {
    match node {
        NodeEnum::DropdbStmt(drop) => Some(drop.dbname.clone()),
        NodeEnum::CreatedbStmt(create) => option_text(&create.options, "template"),
        NodeEnum::RenameStmt(rename) if rename.rename_type() == ObjectType::ObjectDatabase => {
            Some(rename.subname.clone())
        }
        NodeEnum::AlterDatabaseStmt(alter) if has_option(&alter.options, "tablespace") => Some(alter.dbname.clone()),
        _ => None,
    }
}

fn is_single_reindex(kind: ReindexObjectType) -> bool {
    matches!(kind, ReindexObjectType::ReindexObjectIndex | ReindexObjectType::ReindexObjectTable)
}

fn option_text(options: &[Node], name: &str) -> Option<String> {
    options.iter().filter_map(inner).find_map(|option| match option {
        NodeEnum::DefElem(option) if option.defname == name => string(option.arg.as_deref()?).map(str::to_owned),
        _ => None,
    })
}

fn has_option(options: &[Node], name: &str) -> bool {
    options.iter().any(|option| matches!(inner(option), Some(NodeEnum::DefElem(option)) if option.defname == name))
}

fn detaches_concurrently(command: &Node) -> bool {
    let Some(NodeEnum::AlterTableCmd(command)) = inner(command) else { return false };
    matches!(command.def.as_deref().and_then(inner), Some(NodeEnum::PartitionCmd(partition)) if partition.concurrent)
}

/// DDL that needs no look inside: it means the same on every shard.
fn plain_schema_command(node: &NodeEnum) -> Option<&'static str> {
    Some(match node {
        NodeEnum::VacuumStmt(_) => "ANALYZE",
        NodeEnum::ClusterStmt(_) => "CLUSTER",
        NodeEnum::ReindexStmt(_) => "REINDEX",
        NodeEnum::CommentStmt(_) => "COMMENT",
        NodeEnum::GrantStmt(_) | NodeEnum::GrantRoleStmt(_) => "GRANT or REVOKE",
        NodeEnum::AlterDefaultPrivilegesStmt(_) => "ALTER DEFAULT PRIVILEGES",
        NodeEnum::AlterOwnerStmt(_) => "ALTER ... OWNER TO",
        NodeEnum::SecLabelStmt(_) => "SECURITY LABEL",
        NodeEnum::CreateSchemaStmt(_) => "CREATE SCHEMA",
        NodeEnum::CreateEnumStmt(_) | NodeEnum::CompositeTypeStmt(_) | NodeEnum::CreateRangeStmt(_) => "CREATE TYPE",
        NodeEnum::AlterEnumStmt(_) | NodeEnum::AlterTypeStmt(_) => "ALTER TYPE",
        NodeEnum::CreateDomainStmt(_) => "CREATE DOMAIN",
        NodeEnum::AlterDomainStmt(_) => "ALTER DOMAIN",
        NodeEnum::DefineStmt(_) => "CREATE AGGREGATE, OPERATOR, TYPE, COLLATION or TEXT SEARCH object",
        NodeEnum::CreateFunctionStmt(_) => "CREATE FUNCTION",
        NodeEnum::AlterFunctionStmt(_) => "ALTER FUNCTION",
        NodeEnum::CreateTrigStmt(_) => "CREATE TRIGGER",
        NodeEnum::CreateEventTrigStmt(_) | NodeEnum::AlterEventTrigStmt(_) => "EVENT TRIGGER",
        NodeEnum::RuleStmt(_) => "CREATE RULE",
        NodeEnum::CreatePolicyStmt(_) | NodeEnum::AlterPolicyStmt(_) => "POLICY",
        NodeEnum::CreateStatsStmt(_) | NodeEnum::AlterStatsStmt(_) => "STATISTICS",
        NodeEnum::AlterSeqStmt(_) => "ALTER SEQUENCE",
        NodeEnum::CreateExtensionStmt(_) => "CREATE EXTENSION",
        NodeEnum::AlterExtensionStmt(_) | NodeEnum::AlterExtensionContentsStmt(_) => "ALTER EXTENSION",
        NodeEnum::CreateRoleStmt(_) => "CREATE ROLE",
        NodeEnum::AlterRoleStmt(_) | NodeEnum::AlterRoleSetStmt(_) => "ALTER ROLE",
        NodeEnum::DropRoleStmt(_) => "DROP ROLE",
        NodeEnum::DropOwnedStmt(_) => "DROP OWNED",
        NodeEnum::ReassignOwnedStmt(_) => "REASSIGN OWNED",
        NodeEnum::AlterDatabaseStmt(_)
        | NodeEnum::AlterDatabaseSetStmt(_)
        | NodeEnum::AlterDatabaseRefreshCollStmt(_) => "ALTER DATABASE",
        NodeEnum::AlterCollationStmt(_) => "ALTER COLLATION",
        NodeEnum::AlterOperatorStmt(_) => "ALTER OPERATOR",
        NodeEnum::AlterObjectDependsStmt(_) => "ALTER ... DEPENDS ON EXTENSION",
        NodeEnum::CreateCastStmt(_) => "CREATE CAST",
        NodeEnum::CreateConversionStmt(_) => "CREATE CONVERSION",
        NodeEnum::CreateTransformStmt(_) => "CREATE TRANSFORM",
        NodeEnum::CreatePlangStmt(_) => "CREATE LANGUAGE",
        NodeEnum::CreateAmStmt(_) => "CREATE ACCESS METHOD",
        NodeEnum::CreateOpClassStmt(_) | NodeEnum::CreateOpFamilyStmt(_) | NodeEnum::AlterOpFamilyStmt(_) => {
            "OPERATOR CLASS or FAMILY"
        }
        NodeEnum::AlterTsdictionaryStmt(_) | NodeEnum::AlterTsconfigurationStmt(_) => "ALTER TEXT SEARCH",
        NodeEnum::CreatePublicationStmt(_) | NodeEnum::AlterPublicationStmt(_) => "PUBLICATION",
        NodeEnum::RefreshMatViewStmt(_) => "REFRESH MATERIALIZED VIEW",
        NodeEnum::CreateFdwStmt(_) | NodeEnum::AlterFdwStmt(_) => "FOREIGN DATA WRAPPER",
        NodeEnum::CreateForeignServerStmt(_) | NodeEnum::AlterForeignServerStmt(_) => "SERVER",
        NodeEnum::CreateUserMappingStmt(_) | NodeEnum::AlterUserMappingStmt(_) | NodeEnum::DropUserMappingStmt(_) => {
            "USER MAPPING"
        }
        NodeEnum::CreateForeignTableStmt(_) => "CREATE FOREIGN TABLE",
        NodeEnum::ImportForeignSchemaStmt(_) => "IMPORT FOREIGN SCHEMA",
        _ => return None,
    })
}
