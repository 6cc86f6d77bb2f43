//! The walk over queries: which tables they read, and under which names.

use std::collections::BTreeSet;

use pg_query::protobuf::{CommonTableExpr, JoinExpr, RangeVar, SelectStmt, SetOperation, WithClause};
use pg_query::{Node, NodeEnum, ParserOptions, protobuf as pg};

use super::condition::{Level, LevelItem, restricted};
use super::text::{Item, Text};
use super::{refuse, verdict};
use crate::sql::schema::{Relation, Resolved, Schema, View};
use crate::sql::tree::relation_name;
use crate::types::{Error, Result};

/// How deep views may stand in each other.
const VIEWS_MAX: usize = 32;

/// One place where a table is read.
pub struct Occurrence<'a> {
    pub schema: &'a str,
    pub name: &'a str,
    pub relation: &'a Relation,
    pub only: bool,
    pub called: String,
    /// The statement may look at every column of it.
    pub whole: bool,
    /// What its rows must satisfy to matter.
    pub conditions: Vec<String>,
}

/// The name of an item of FROM.
pub struct FromName {
    pub name: String,
    /// The table or view that it is, if it has no alias.
    pub relation: Option<(String, String)>,
    /// The columns of a table or view, as the statement calls them.
    pub columns: Option<Vec<String>>,
}

/// Names of WITH queries that are visible.
#[derive(Clone, Copy)]
pub struct Env<'e> {
    names: &'e [&'e str],
    outer: Option<&'e Env<'e>>,
}

impl Env<'_> {
    const TOP: Env<'static> = Env { names: &[], outer: None };

    fn has(&self, name: &str) -> bool {
        self.names.contains(&name) || self.outer.is_some_and(|outer| outer.has(name))
    }
}

/// Whether `*` in the select list gives columns that somebody looks at.
#[derive(Clone, Copy, PartialEq)]
pub enum Stars {
    Count,
    /// EXISTS only asks for rows.
    Ignored,
}

/// What the walk finds.
pub struct Reader<'a> {
    pub schema: &'a Schema,
    /// The text that is walked over: the statement's, or a view's.
    pub text: Text,
    pub occurrences: Vec<Occurrence<'a>>,
    pub from_names: Vec<FromName>,
    /// Every name that a column is called by, anywhere.
    pub names: BTreeSet<String>,
    /// Items of FROM whose columns are all looked at.
    pub starred: BTreeSet<String>,
    /// Joins with a name, and the occurrences inside.
    pub joins: Vec<(String, Vec<usize>)>,
    /// Names that stand alone on the level at hand: columns, or the rows of items of FROM.
    pub bare: BTreeSet<String>,
    /// Items of FROM whose rows are values.
    pub rows: BTreeSet<String>,
    /// Names of columns on the level at hand, with the items of FROM they stand behind.
    pub qualified: BTreeSet<(String, String)>,
    /// Tables that stand in front of columns with their schemas.
    pub with_schema: BTreeSet<(String, String)>,
    /// Some GROUP BY may rely on a primary key.
    pub groups: bool,
    pub moment: Option<String>,
    /// Names of columns that are compared with columns by `=`.
    pub compared: BTreeSet<String>,
    /// Columns are compared with columns otherwise, too.
    pub compares_otherwise: bool,
    /// Some subquery gives one value, perhaps for each row outside.
    pub has_scalar_subquery: bool,
    pub has_exists: bool,
    pub has_views: bool,
    views: usize,
}

impl<'a> Reader<'a> {
    /// # Errors
    /// A text that PostgreSQL's scanner does not take.
    pub fn new(text: &str, schema: &'a Schema) -> Result<Self> {
        Ok(Self {
            schema,
            text: Text::new(text)?,
            occurrences: Vec::new(),
            from_names: Vec::new(),
            compared: BTreeSet::new(),
            compares_otherwise: false,
            has_scalar_subquery: false,
            has_exists: false,
            names: BTreeSet::new(),
            starred: BTreeSet::new(),
            joins: Vec::new(),
            bare: BTreeSet::new(),
            rows: BTreeSet::new(),
            qualified: BTreeSet::new(),
            with_schema: BTreeSet::new(),
            groups: false,
            moment: None,
            has_views: false,
            views: 0,
        })
    }

    /// # Errors
    /// As [`super::gather`].
    pub fn statement(&mut self, select: &SelectStmt) -> Result<()> {
        self.select(select, &Env::TOP, Stars::Count)
    }

    /// The columns of an occurrence that the statement may look at.
    pub fn needed(&self, occurrence: &Occurrence<'_>) -> Vec<String> {
        let inside = |(name, members): &(String, Vec<usize>)| {
            self.starred.contains(name)
                && members
                    .iter()
                    .any(|member| self.occurrences.get(*member).is_some_and(|other| std::ptr::eq(other, occurrence)))
        };
        let is_row = self.rows.contains(&occurrence.called) || self.starred.contains(&occurrence.called);
        let all = occurrence.whole || is_row || self.joins.iter().any(inside);
        let columns = occurrence.relation.columns.iter().map(|column| &column.name);
        columns.filter(|name| all || self.names.contains(*name)).cloned().collect()
    }

    /// A query inside of another one.
    pub fn subquery(&mut self, query: &Node, env: &Env<'_>, stars: Stars) -> Result<()> {
        match &query.node {
            Some(NodeEnum::SelectStmt(select)) => self.select(select, env, stars),
            _ => Err(refuse("a query that writes")),
        }
    }

    fn select(&mut self, select: &SelectStmt, env: &Env<'_>, stars: Stars) -> Result<()> {
        if select.into_clause.is_some() {
            return Err(refuse("SELECT INTO"));
        }
        if !select.locking_clause.is_empty() {
            return Err(refuse("FOR UPDATE or another locking clause"));
        }
        match &select.with_clause {
            None => self.body(select, env, stars),
            Some(with) => {
                let names = self.with(with, env)?;
                self.body(select, &Env { names: &names, outer: Some(env) }, stars)
            }
        }
    }

    /// WITH: gives the names of its queries.
    fn with<'w>(&mut self, with: &'w WithClause, env: &Env<'_>) -> Result<Vec<&'w str>> {
        let queries: Vec<&CommonTableExpr> = with.ctes.iter().map(common_table).collect::<Result<_>>()?;
        let names: Vec<&str> = queries.iter().map(|query| query.ctename.as_str()).collect();
        for (place, query) in queries.iter().enumerate() {
            // A query sees those before it, with RECURSIVE all.
            let seen = if with.recursive { names.as_slice() } else { names.get(..place).unwrap_or_default() };
            self.common_table(query, &Env { names: seen, outer: Some(env) })?;
        }
        Ok(names)
    }

    fn common_table(&mut self, query: &CommonTableExpr, env: &Env<'_>) -> Result<()> {
        if let Some(inside) = query.ctequery.as_deref() {
            self.subquery(inside, env, Stars::Count)?;
        }
        if let Some(search) = &query.search_clause {
            self.column_names(&search.search_col_list);
        }
        if let Some(cycle) = &query.cycle_clause {
            self.column_names(&cycle.cycle_col_list);
            self.optional(cycle.cycle_mark_value.as_deref(), env)?;
            self.optional(cycle.cycle_mark_default.as_deref(), env)?;
        }
        Ok(())
    }

    fn body(&mut self, select: &SelectStmt, env: &Env<'_>, stars: Stars) -> Result<()> {
        if select.op() == SetOperation::SetopNone {
            self.simple(select, env, stars)?;
        } else {
            for branch in [&select.larg, &select.rarg].into_iter().flatten() {
                self.select(branch, env, Stars::Count)?;
            }
            self.listed(&select.sort_clause, &Outputs::Only, env)?;
        }
        self.optional(select.limit_count.as_deref(), env)?;
        self.optional(select.limit_offset.as_deref(), env)
    }

    fn simple(&mut self, select: &SelectStmt, env: &Env<'_>, stars: Stars) -> Result<()> {
        let (bare, qualified) = (std::mem::take(&mut self.bare), std::mem::take(&mut self.qualified));
        let level = self.clauses(select, env, stars)?;
        verdict::check_rows(self, &level)?;
        // A name that leads to nothing here may lead to a level around this one.
        let is_outer = |name: &str| !level.items.iter().any(|item| item.name == name);
        self.bare.retain(|name| is_outer(name));
        self.qualified.retain(|(item, _)| is_outer(item));
        self.bare.extend(bare);
        self.qualified.extend(qualified);
        Ok(())
    }

    fn clauses(&mut self, select: &SelectStmt, env: &Env<'_>, stars: Stars) -> Result<Level> {
        let (members, level) = self.items(&select.from_clause, env)?;
        let names = select.target_list.iter().filter_map(output_name).collect();
        self.targets(&select.target_list, &members, env, stars)?;
        self.optional(select.where_clause.as_deref(), env)?;
        let all = 0..level.items.len();
        self.restrict(select.where_clause.as_deref(), &level, &all, &all)?;
        self.optional(select.having_clause.as_deref(), env)?;
        self.groups |= !select.group_clause.is_empty();
        let outputs = Outputs::Among(names);
        self.listed(&select.group_clause, &outputs, env)?;
        self.listed(&select.sort_clause, &outputs, env)?;
        self.listed(&select.distinct_clause, &outputs, env)?;
        self.expressions(&select.window_clause, env)?;
        for row in &select.values_lists {
            self.row(row, env)?;
        }
        Ok(level)
    }

    fn targets(&mut self, targets: &[Node], members: &[usize], env: &Env<'_>, stars: Stars) -> Result<()> {
        for target in targets {
            let Some(NodeEnum::ResTarget(target)) = &target.node else { return Err(refuse("a column of this kind")) };
            match target.val.as_deref().and_then(|value| value.node.as_ref()) {
                Some(NodeEnum::ColumnRef(reference)) if is_star(reference) => match reference.fields.len() {
                    1 if stars == Stars::Ignored => {}
                    1 => self.mark_whole(members),
                    _ => self.star_of(reference)?,
                },
                _ => self.optional(target.val.as_deref(), env)?,
            }
        }
        Ok(())
    }

    fn mark_whole(&mut self, members: &[usize]) {
        for member in members {
            if let Some(occurrence) = self.occurrences.get_mut(*member) {
                occurrence.whole = true;
            }
        }
    }

    /// ORDER BY, GROUP BY, DISTINCT ON: a bare name may be that of a column of the result.
    fn listed(&mut self, items: &[Node], outputs: &Outputs<'_>, env: &Env<'_>) -> Result<()> {
        for item in items {
            let inside = match &item.node {
                Some(NodeEnum::SortBy(sort)) => sort.node.as_deref(),
                _ => Some(item),
            };
            match inside.and_then(|node| node.node.as_ref()) {
                Some(NodeEnum::ColumnRef(reference)) if outputs.names(reference) => self.note_names(reference),
                _ => self.optional(Some(item), env)?,
            }
        }
        Ok(())
    }

    /// The items of FROM; gives the occurrences whose columns `*` stands for, too.
    fn items(&mut self, items: &[Node], env: &Env<'_>) -> Result<(Vec<usize>, Level)> {
        let (mut members, mut level) = (Vec::new(), Level::default());
        let first_name = self.from_names.len();
        for item in items {
            members.extend(self.item(item, &mut level, env)?);
        }
        verdict::check_level(&self.from_names[first_name..])?;
        Ok((members, level))
    }

    fn item(&mut self, item: &Node, level: &mut Level, env: &Env<'_>) -> Result<Vec<usize>> {
        match &item.node {
            Some(NodeEnum::RangeVar(range)) => {
                let members = self.relation(range, env)?;
                let own_names = range.alias.as_ref().is_none_or(|alias| alias.colnames.is_empty());
                self.enter(level, members.first().copied().filter(|_| own_names));
                Ok(members)
            }
            Some(NodeEnum::JoinExpr(join)) => self.join(join, level, env),
            // Which rows a sample has does not depend on conditions.
            Some(NodeEnum::RangeTableSample(sample)) => {
                let members = self.sample(sample, env)?;
                self.enter(level, None);
                Ok(members)
            }
            _ => self.derived(item, level, env),
        }
    }

    /// An item of FROM that is no table.
    fn derived(&mut self, item: &Node, level: &mut Level, env: &Env<'_>) -> Result<Vec<usize>> {
        match &item.node {
            Some(NodeEnum::RangeSubselect(subselect)) => {
                self.call(subselect.alias.as_ref());
                level.call(subselect.alias.as_ref());
                if let Some(query) = subselect.subquery.as_deref() {
                    self.subquery(query, env, Stars::Count)?;
                }
                Ok(Vec::new())
            }
            Some(NodeEnum::RangeFunction(function)) => {
                self.call(function.alias.as_ref());
                level.call(function.alias.as_ref());
                for item in &function.functions {
                    self.optional(Some(item), env)?;
                }
                self.expressions(&function.coldeflist, env)?;
                Ok(Vec::new())
            }
            Some(NodeEnum::RangeTableFunc(function)) => {
                level.call(function.alias.as_ref());
                self.table_function(function, env)
            }
            _ => Err(refuse("an item of FROM of this kind")),
        }
    }

    /// XMLTABLE.
    fn table_function(&mut self, function: &pg::RangeTableFunc, env: &Env<'_>) -> Result<Vec<usize>> {
        self.call(function.alias.as_ref());
        self.optional(function.docexpr.as_deref(), env)?;
        self.optional(function.rowexpr.as_deref(), env)?;
        self.expressions(&function.namespaces, env)?;
        for column in &function.columns {
            let Some(NodeEnum::RangeTableFuncCol(column)) = &column.node else {
                return Err(refuse("a column of XMLTABLE"));
            };
            self.optional(column.colexpr.as_deref(), env)?;
            self.optional(column.coldefexpr.as_deref(), env)?;
        }
        Ok(Vec::new())
    }

    fn sample(&mut self, sample: &pg::RangeTableSample, env: &Env<'_>) -> Result<Vec<usize>> {
        if sample.repeatable.is_some() {
            return Err(refuse("TABLESAMPLE with REPEATABLE, which depends on where the rows are stored"));
        }
        self.expressions(&sample.args, env)?;
        match sample.relation.as_deref() {
            Some(relation) => self.item(relation, &mut Level::default(), env),
            None => Err(Error::internal("TABLESAMPLE of nothing")),
        }
    }

    fn join(&mut self, join: &JoinExpr, level: &mut Level, env: &Env<'_>) -> Result<Vec<usize>> {
        let mut members = Vec::new();
        let first_name = self.from_names.len();
        let mut ends = vec![level.items.len()];
        for side in [join.larg.as_deref(), join.rarg.as_deref()].into_iter().flatten() {
            members.extend(self.item(side, level, env)?);
            ends.push(level.items.len());
        }
        let [start, middle, end] = ends.as_slice() else { return Err(Error::internal("a join without a side")) };
        self.column_names(&join.using_clause);
        level.merged.extend(join.using_clause.iter().filter_map(string).map(str::to_owned));
        if join.is_natural {
            // All columns of the same names are equated.
            self.mark_whole(&members);
            level.is_natural = true;
        }
        self.optional(join.quals.as_deref(), env)?;
        let side = restricted(join.jointype(), *start, *middle, *end);
        self.restrict(join.quals.as_deref(), level, &(*start..*end), &side)?;
        if let Some(alias) = &join.alias {
            if !alias.colnames.is_empty() {
                self.mark_whole(&members);
            }
            level.items[*start..].iter_mut().for_each(|item| item.is_hidden = true);
            level.call(Some(alias));
            self.joins.push((alias.aliasname.clone(), members.clone()));
            verdict::check_level(&self.from_names[first_name..])?;
        }
        self.call(join.alias.as_ref());
        self.call(join.join_using_alias.as_ref());
        Ok(members)
    }

    /// The item of FROM that was named last belongs to a level.
    fn enter(&self, level: &mut Level, occurrence: Option<usize>) {
        if let Some(FromName { name, columns, .. }) = self.from_names.last() {
            let (name, row) = (name.clone(), columns.clone());
            level.items.push(LevelItem { name, occurrence, is_hidden: false, row });
        }
    }

    /// An item of FROM has a name.
    fn call(&mut self, alias: Option<&pg::Alias>) {
        if let Some(alias) = alias {
            let name = alias.aliasname.clone();
            self.from_names.push(FromName { name, relation: None, columns: None });
        }
    }

    fn relation(&mut self, range: &RangeVar, env: &Env<'_>) -> Result<Vec<usize>> {
        if range.schemaname.is_empty() && env.has(&range.relname) {
            let name = range.alias.as_ref().map_or(&range.relname, |alias| &alias.aliasname).clone();
            self.from_names.push(FromName { name, relation: None, columns: None });
            return Ok(Vec::new());
        }
        if !range.catalogname.is_empty() {
            return Err(refuse("a table's name with that of its database"));
        }
        let schema = self.schema;
        let name = relation_name(range);
        match schema.resolve(&name) {
            Resolved::User { schema: own, relation } if relation.is_view => self.view(range, own, relation),
            Resolved::User { schema: own, relation } => self.table(range, own, relation),
            Resolved::System => Err(refuse(format!("the system catalog \"{}\"", name.name))),
            Resolved::Unknown => Err(refuse(format!("the table \"{}\", whose columns are not known", name.name))),
        }
    }

    fn table(&mut self, range: &RangeVar, schema: &'a str, relation: &'a Relation) -> Result<Vec<usize>> {
        let name = match self.schema.relations.get_key_value(&(schema.to_owned(), range.relname.clone())) {
            Some(((_, name), _)) => name,
            None => return Err(Error::internal("a table that was found is not known")),
        };
        let place = self.occurrences.len();
        self.text.replace_table(range, Item::Table(place))?;
        let called = self.call_relation(range, schema, relation);
        let whole = range.alias.as_ref().is_some_and(|alias| !alias.colnames.is_empty());
        self.occurrences.push(Occurrence {
            schema,
            name,
            relation,
            only: !range.inh,
            called,
            whole,
            conditions: Vec::new(),
        });
        Ok(vec![place])
    }

    /// A table or view has a name; gives it.
    fn call_relation(&mut self, range: &RangeVar, schema: &str, relation: &Relation) -> String {
        let own = || (schema.to_owned(), range.relname.clone());
        let (name, relation_name) = match &range.alias {
            Some(alias) => (alias.aliasname.clone(), None),
            None => (range.relname.clone(), Some(own())),
        };
        let mut columns: Vec<String> = relation.columns.iter().map(|column| column.name.clone()).collect();
        let renamed = range.alias.iter().flat_map(|alias| &alias.colnames);
        for (column, new) in columns.iter_mut().zip(renamed.filter_map(string)) {
            *column = new.to_owned();
        }
        self.from_names.push(FromName { name: name.clone(), relation: relation_name, columns: Some(columns) });
        name
    }

    /// A view's query takes its place.
    fn view(&mut self, range: &RangeVar, schema: &str, relation: &'a Relation) -> Result<Vec<usize>> {
        let Some(View { definition, .. }) = &relation.view else {
            return Err(refuse(format!("the view \"{}\"", range.relname)));
        };
        self.views += 1;
        if self.views > VIEWS_MAX {
            return Err(refuse(format!("more than {VIEWS_MAX} views")));
        }
        self.has_views = true;
        let query = self.view_query(definition)?;
        self.call_relation(range, schema, relation);
        self.text.replace_table(range, Item::Query(query))?;
        Ok(Vec::new())
    }

    fn view_query(&mut self, definition: &str) -> Result<Text> {
        let parsed = pg_query::parse(definition, ParserOptions::DEFAULT)
            .map_err(|error| refuse("a view whose query cannot be parsed").source(error))?;
        let around = std::mem::replace(&mut self.text, Text::new(definition)?);
        let names = (std::mem::take(&mut self.bare), std::mem::take(&mut self.qualified));
        let walked = match parsed.protobuf.stmts.as_slice() {
            [only] => match only.stmt.as_deref() {
                Some(query) => self.subquery(query, &Env::TOP, Stars::Count),
                None => Err(refuse("a view without a query")),
            },
            _ => Err(refuse("a view without a query")),
        };
        let query = std::mem::replace(&mut self.text, around);
        (self.bare, self.qualified) = names;
        walked.map(|()| query)
    }
}

impl Level {
    /// An item that is no table.
    fn call(&mut self, alias: Option<&pg::Alias>) {
        let name = alias.map(|alias| alias.aliasname.clone()).unwrap_or_default();
        self.items.push(LevelItem { name, occurrence: None, is_hidden: false, row: None });
    }
}

/// The columns of the result that a bare name may lead to.
enum Outputs<'s> {
    Among(Vec<&'s str>),
    /// Behind UNION and its kin there is nothing else.
    Only,
}

impl Outputs<'_> {
    fn names(&self, reference: &pg::ColumnRef) -> bool {
        let [field] = reference.fields.as_slice() else { return false };
        match (self, string(field)) {
            (Self::Among(names), Some(name)) => names.contains(&name),
            (Self::Only, Some(_)) => true,
            (_, None) => false,
        }
    }
}

fn output_name(target: &Node) -> Option<&str> {
    match &target.node {
        Some(NodeEnum::ResTarget(target)) if !target.name.is_empty() => Some(&target.name),
        _ => None,
    }
}

fn common_table(node: &Node) -> Result<&CommonTableExpr> {
    match &node.node {
        Some(NodeEnum::CommonTableExpr(query)) => Ok(query),
        _ => Err(refuse("a WITH query of this kind")),
    }
}

/// Whether a reference ends in `*`.
pub fn is_star(reference: &pg::ColumnRef) -> bool {
    matches!(reference.fields.last().and_then(|field| field.node.as_ref()), Some(NodeEnum::AStar(_)))
}

pub fn string(node: &Node) -> Option<&str> {
    match &node.node {
        Some(NodeEnum::String(string)) => Some(&string.sval),
        _ => None,
    }
}
