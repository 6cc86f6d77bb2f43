//! DDL on tables: what a sharded database must know of it.

use pg_query::protobuf::{AlterTableType, ConstrType, Constraint, ObjectType};
use pg_query::{Node, NodeEnum, protobuf as pg};

use super::scope::{Env, Scope};
use super::{Analyzer, inner, string, strings};
use crate::sql::facts::{Ddl, Effects, ForeignKey, RelationName, StatementKind, Uniqueness};
use crate::sql::tree::relation_name;

/// What the parts of CREATE TABLE and ALTER TABLE add up to.
#[derive(Default)]
struct Shape {
    columns: Vec<String>,
    constraints: Vec<Uniqueness>,
    foreign_keys: Vec<ForeignKey>,
    sequences: Vec<String>,
    /// Those of them that number the rows which are there.
    filled: Vec<String>,
    touched: Vec<String>,
    inexplicable: Option<String>,
}

impl Shape {
    fn inexplicable(&mut self, what: impl Into<String>) {
        self.inexplicable.get_or_insert(what.into());
    }
}

impl Analyzer<'_> {
    pub(super) fn create_table(&mut self, create: &pg::CreateStmt) -> StatementKind {
        let mut temporary = false;
        if let Some(range) = &create.relation {
            self.defined_relation(range);
            temporary = is_temporary(range);
        }
        let mut shape = Shape { inexplicable: whole_table_reason(create).map(str::to_owned), ..Shape::default() };
        for element in &create.table_elts {
            self.table_element(element, &mut shape);
        }
        for constraint in create.constraints.iter().filter_map(inner) {
            self.constraint(constraint, None, &mut shape);
        }
        let Shape { columns, constraints, foreign_keys, sequences, inexplicable, .. } = shape;
        self.defines_rows(!sequences.is_empty());
        self.ddl(Ddl::CreateTable { temporary, columns, constraints, foreign_keys, sequences, inexplicable })
    }

    /// What new rows run: defaults, checks, what parents and patterns bring along.
    fn defines_rows(&mut self, numbered: bool) {
        self.defines_own_text();
        self.statement.defines.numbers_rows |= numbered;
    }

    fn table_element(&mut self, element: &Node, shape: &mut Shape) {
        match inner(element) {
            Some(NodeEnum::ColumnDef(column)) => self.column_definition(column, shape),
            Some(node @ NodeEnum::Constraint(_)) => self.constraint(node, None, shape),
            Some(NodeEnum::TableLikeClause(_)) => shape.inexplicable("LIKE"),
            _ => shape.inexplicable("a table element that is not known"),
        }
    }

    fn column_definition(&mut self, column: &pg::ColumnDef, shape: &mut Shape) {
        self.type_name(column.type_name.as_ref());
        shape.columns.push(column.colname.clone());
        if is_serial(column.type_name.as_ref()) {
            shape.sequences.push(column.colname.clone());
        }
        self.default_value(&column.colname, column.raw_default.as_deref(), shape);
        for constraint in column.constraints.iter().filter_map(inner) {
            self.constraint(constraint, Some(&column.colname), shape);
        }
    }

    /// A default is not run by the statement that declares it; only sequences in it matter here.
    fn default_value(&mut self, column: &str, default: Option<&Node>, shape: &mut Shape) {
        let mut probe = Analyzer::new(self.text, self.literals, self.schema);
        probe.optional(default, &Scope::new(Env::TOP));
        if probe.statement.effects.intersects(Effects::SEQUENCES) {
            shape.sequences.push(column.to_owned());
            if !default.is_some_and(is_next_number) {
                shape.inexplicable("a default that computes with a sequence");
            }
        }
    }

    /// A constraint of a table, or of `column`.
    fn constraint(&mut self, node: &NodeEnum, column: Option<&str>, shape: &mut Shape) {
        let NodeEnum::Constraint(constraint) = node else {
            return shape.inexplicable("a constraint that is not known");
        };
        let columns = |listed: &[Node]| match column {
            Some(column) => vec![column.to_owned()],
            None => strings(listed).into_iter().map(str::to_owned).collect(),
        };
        match constraint.contype() {
            ConstrType::ConstrIdentity => shape.sequences.extend(column.map(str::to_owned)),
            ConstrType::ConstrDefault => {
                self.default_value(column.unwrap_or_default(), constraint.raw_expr.as_deref(), shape);
            }
            ConstrType::ConstrPrimary if !constraint.indexname.is_empty() => shape.inexplicable("USING INDEX"),
            ConstrType::ConstrUnique if !constraint.indexname.is_empty() => shape.inexplicable("USING INDEX"),
            ConstrType::ConstrPrimary => {
                shape.constraints.push(Uniqueness { kind: "PRIMARY KEY", columns: columns(&constraint.keys) });
            }
            ConstrType::ConstrUnique => {
                shape.constraints.push(Uniqueness { kind: "UNIQUE", columns: columns(&constraint.keys) });
            }
            ConstrType::ConstrExclusion => {
                shape.constraints.push(Uniqueness { kind: "EXCLUDE", columns: excluded(constraint) });
            }
            ConstrType::ConstrForeign => {
                shape.foreign_keys.extend(foreign_key(constraint, columns(&constraint.fk_attrs)))
            }
            ConstrType::ConstrGenerated => shape.touched.extend(column.map(str::to_owned)),
            ConstrType::ConstrNull
            | ConstrType::ConstrNotnull
            | ConstrType::ConstrCheck
            | ConstrType::ConstrAttrDeferrable
            | ConstrType::ConstrAttrNotDeferrable
            | ConstrType::ConstrAttrDeferred
            | ConstrType::ConstrAttrImmediate
            | ConstrType::ConstrAttrEnforced
            | ConstrType::ConstrAttrNotEnforced => {}
            ConstrType::Undefined => shape.inexplicable("a constraint that is not known"),
        }
    }

    pub(super) fn alter_table(&mut self, alter: &pg::AlterTableStmt) -> StatementKind {
        if alter.objtype() != ObjectType::ObjectTable {
            return self.plain_ddl("ALTER of an index, sequence, view or foreign table");
        }
        if let Some(range) = &alter.relation {
            self.defined_relation(range);
        }
        let mut shape = Shape::default();
        for command in &alter.cmds {
            match inner(command) {
                Some(NodeEnum::AlterTableCmd(command)) => self.alter_command(command, &mut shape),
                _ => shape.inexplicable("an action that is not known"),
            }
        }
        let Shape { constraints: added_constraints, foreign_keys, sequences, filled, touched, inexplicable, .. } =
            shape;
        self.moves_code();
        self.defines_rows(!sequences.is_empty());
        let (sequences, touched_columns) = (filled, touched);
        self.ddl(Ddl::AlterTable { added_constraints, foreign_keys, sequences, touched_columns, inexplicable })
    }

    fn alter_command(&mut self, command: &pg::AlterTableCmd, shape: &mut Shape) {
        let definition = command.def.as_deref();
        match command.subtype() {
            AlterTableType::AtAddColumn => self.added_column(definition, shape),
            AlterTableType::AtAddConstraint => match definition.and_then(inner) {
                Some(constraint) => self.constraint(constraint, None, shape),
                None => shape.inexplicable("ADD CONSTRAINT"),
            },
            AlterTableType::AtColumnDefault => {
                shape.touched.push(command.name.clone());
                self.default_value(&command.name, definition, shape);
            }
            AlterTableType::AtDropColumn => shape.touched.push(command.name.clone()),
            AlterTableType::AtAlterColumnType => {
                shape.touched.push(command.name.clone());
                self.column_type(definition);
            }
            AlterTableType::AtAddIdentity | AlterTableType::AtSetIdentity => shape.sequences.push(command.name.clone()),
            AlterTableType::AtSetExpression | AlterTableType::AtDropExpression => {
                shape.touched.push(command.name.clone());
            }
            other if is_harmless(other) => {}
            other => shape.inexplicable(other.as_str_name()),
        }
    }

    /// A new column's default fills the rows that are there: it runs now.
    fn added_column(&mut self, definition: Option<&Node>, shape: &mut Shape) {
        match definition.and_then(inner) {
            Some(NodeEnum::ColumnDef(column)) => {
                let known = shape.sequences.len();
                self.column_definition(column, shape);
                shape.filled.extend_from_slice(&shape.sequences[known..]);
                let scope = Scope::new(Env::TOP);
                self.optional(column.raw_default.as_deref(), &scope);
                for constraint in column.constraints.iter().filter_map(inner) {
                    if let NodeEnum::Constraint(constraint) = constraint {
                        self.optional(constraint.raw_expr.as_deref(), &scope);
                    }
                }
            }
            _ => shape.inexplicable("ADD COLUMN"),
        }
    }

    /// ALTER COLUMN ... TYPE: the USING expression runs now.
    fn column_type(&mut self, definition: Option<&Node>) {
        match definition.and_then(inner) {
            Some(NodeEnum::ColumnDef(column)) => {
                self.type_name(column.type_name.as_ref());
                self.optional(column.raw_default.as_deref(), &Scope::new(Env::TOP));
            }
            _ => self.unknown("ALTER COLUMN TYPE"),
        }
    }

    pub(super) fn create_index(&mut self, index: &pg::IndexStmt) -> StatementKind {
        if let Some(range) = &index.relation {
            self.defined_relation(range);
        }
        let unique = index.unique.then(|| Uniqueness { kind: "UNIQUE", columns: index_columns(&index.index_params) });
        self.defines_own_text();
        let schema = index.relation.as_ref().map(|table| table.schemaname.clone()).filter(|schema| !schema.is_empty());
        let name = Some(index.idxname.clone()).filter(|name| !name.is_empty());
        self.ddl(Ddl::CreateIndex { unique, name: name.map(|name| RelationName { schema, name }) })
    }

    pub(super) fn rename(&mut self, rename: &pg::RenameStmt) -> StatementKind {
        self.moves_code();
        let is_table = rename.rename_type() == ObjectType::ObjectTable;
        let is_column = rename.rename_type() == ObjectType::ObjectColumn;
        if !is_table && !is_column {
            return self.plain_ddl("RENAME");
        }
        if let Some(range) = &rename.relation {
            self.defined_relation(range);
        }
        if is_table {
            return self.ddl(Ddl::RenameTable);
        }
        self.ddl(Ddl::AlterTable {
            added_constraints: Vec::new(),
            foreign_keys: Vec::new(),
            sequences: Vec::new(),
            touched_columns: vec![rename.subname.clone(), rename.newname.clone()],
            inexplicable: None,
        })
    }

    pub(super) fn set_schema(&mut self, alter: &pg::AlterObjectSchemaStmt) -> StatementKind {
        self.moves_code();
        match &alter.relation {
            Some(range) if alter.object_type() == ObjectType::ObjectTable => {
                self.defined_relation(range);
                self.ddl(Ddl::RenameTable)
            }
            _ => self.plain_ddl("ALTER ... SET SCHEMA"),
        }
    }
}

/// Why the text of CREATE TABLE alone does not show the table.
fn whole_table_reason(create: &pg::CreateStmt) -> Option<&'static str> {
    if create.partbound.is_some() {
        Some("PARTITION OF")
    } else if create.partspec.is_some() {
        Some("PARTITION BY")
    } else if !create.inh_relations.is_empty() {
        Some("INHERITS")
    } else if create.of_typename.is_some() {
        Some("OF a type")
    } else {
        None
    }
}

/// Whether a default is `nextval('name')` and nothing else.
fn is_next_number(default: &Node) -> bool {
    let argument = |node: &Node| match inner(node) {
        Some(NodeEnum::AConst(_)) => true,
        Some(NodeEnum::TypeCast(cast)) => {
            matches!(cast.arg.as_deref().and_then(inner), Some(NodeEnum::AConst(_)))
        }
        _ => false,
    };
    match inner(default) {
        Some(NodeEnum::FuncCall(call)) => {
            let name = strings(&call.funcname);
            let is_own = matches!(name.as_slice(), ["nextval"] | ["pg_catalog", "nextval"]);
            is_own && call.args.len() == 1 && call.args.iter().all(argument)
        }
        _ => false,
    }
}

/// The pseudo-types that make a sequence. They are no keywords, and a user type in a schema is none of them.
/// Whether a new table belongs to the session.
pub(super) fn is_temporary(range: &pg::RangeVar) -> bool {
    range.relpersistence == "t" || range.schemaname.starts_with("pg_temp")
}

fn is_serial(name: Option<&pg::TypeName>) -> bool {
    let names = name.map(|name| strings(&name.names)).unwrap_or_default();
    matches!(names.as_slice(), ["smallserial" | "serial" | "bigserial" | "serial2" | "serial4" | "serial8"])
}

/// Actions that change neither which rows exist nor what a key means.
fn is_harmless(action: AlterTableType) -> bool {
    use AlterTableType::*;
    matches!(
        action,
        AtDropNotNull
            | AtSetNotNull
            | AtSetStatistics
            | AtSetOptions
            | AtResetOptions
            | AtSetStorage
            | AtSetCompression
            | AtAlterConstraint
            | AtValidateConstraint
            | AtDropConstraint
            | AtChangeOwner
            | AtClusterOn
            | AtDropCluster
            | AtSetLogged
            | AtSetUnLogged
            | AtDropOids
            | AtSetAccessMethod
            | AtSetTableSpace
            | AtSetRelOptions
            | AtResetRelOptions
            | AtEnableTrig
            | AtEnableAlwaysTrig
            | AtEnableReplicaTrig
            | AtDisableTrig
            | AtEnableTrigAll
            | AtDisableTrigAll
            | AtEnableTrigUser
            | AtDisableTrigUser
            | AtReplicaIdentity
            | AtEnableRowSecurity
            | AtDisableRowSecurity
            | AtForceRowSecurity
            | AtNoForceRowSecurity
            | AtDropIdentity
    )
}

/// The plain columns of an index; expressions span no column.
fn index_columns(elements: &[Node]) -> Vec<String> {
    let column = |element: &Node| match inner(element) {
        Some(NodeEnum::IndexElem(element)) if !element.name.is_empty() => Some(element.name.clone()),
        _ => None,
    };
    elements.iter().filter_map(column).collect()
}

/// The columns that EXCLUDE compares by `=`: another operator excludes rows with different values, too.
fn excluded(constraint: &Constraint) -> Vec<String> {
    let column = |exclusion: &Node| match inner(exclusion) {
        Some(NodeEnum::List(pair)) => match pair.items.as_slice() {
            [element, operator] if compares_by_equality(operator) => {
                index_columns(std::slice::from_ref(element)).into_iter().next()
            }
            _ => None,
        },
        _ => None,
    };
    constraint.exclusions.iter().filter_map(column).collect()
}

fn compares_by_equality(operator: &Node) -> bool {
    match inner(operator) {
        Some(NodeEnum::List(names)) => matches!(strings(&names.items).as_slice(), ["="] | ["pg_catalog", "="]),
        _ => string(operator) == Some("="),
    }
}

fn foreign_key(constraint: &Constraint, columns: Vec<String>) -> Option<ForeignKey> {
    let table = constraint.pktable.as_ref()?;
    // The codes of pg_constraint: a no action, r restrict, c cascade, n set null, d set default.
    let on_update = matches!(constraint.fk_upd_action.as_str(), "c" | "n" | "d");
    let on_delete = matches!(constraint.fk_del_action.as_str(), "n" | "d");
    let referenced = relation_name(table);
    let referenced_columns = strings(&constraint.pk_attrs).into_iter().map(str::to_owned).collect();
    Some(ForeignKey { columns, referenced, referenced_columns, assigns: on_update || on_delete })
}
