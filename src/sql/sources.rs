//! Writes that meet rows which a shard does not have: those of FROM in an UPDATE, of USING in a DELETE or a MERGE. Such
//! *sources* are asked for their rows first, and then the rows stand in the statement itself, which every shard can be given.

mod given;

use pg_query::NodeEnum;
use pg_query::protobuf::{
    BoolExpr, BoolExprType, ColumnRef, JoinType, MergeStmt, Node, RangeFunction, RangeVar, SelectStmt,
};

use self::given::{given, is_given};
use super::facts::RelationName;
use super::merge_defaults;
use super::numbering::{next_number, values_for};
use super::schema::{Column, Relation, Schema};
use super::subqueries::{Answer, drop_with, statement_with};
use super::tree::{all_columns, and_terms, leading_comments, parse_one, plain_select, relation_name, string, written};
use crate::types::{Error, Result};

pub(super) use self::given::{given_arrays, given_types};

/// The OID of bigint, which sequences give.
const INT8: u32 = 20;

/// The rows of a source, with the names of its columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceRows<'a> {
    pub names: Vec<String>,
    pub answer: Answer<'a>,
}

/// The sources of a write that are asked first.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Each gives the rows of one source. Parameters have the numbers of the statement's own.
    pub queries: Vec<String>,
    /// Which of the statement's sources they are.
    places: Vec<usize>,
    /// What the rows that a MERGE inserts are numbered with.
    pub numbers: Option<MergeNumbers>,
}

/// Columns of the rows that a MERGE may insert which take their sequences' next numbers. One is taken for each row of the source,
/// as another column of it.
#[derive(Clone, Debug, Default)]
pub struct MergeNumbers {
    relation: Relation,
    columns: Vec<Column>,
}

impl MergeNumbers {
    pub fn new(relation: &Relation, columns: &[&Column]) -> Self {
        Self { relation: relation.clone(), columns: columns.iter().copied().cloned().collect() }
    }

    /// A query of the numbers for so many rows; `None` if there is nothing to number.
    pub fn question(&self, rows: usize) -> Option<String> {
        let sequences = self.columns.iter().filter_map(|column| column.sequence.as_ref());
        let next: Vec<String> = sequences.map(|sequence| next_number(&sequence.name)).collect();
        (!next.is_empty() && rows > 0).then(|| values_for(rows, &next))
    }

    /// Gives the source's rows their numbers, and the rows that are inserted those of theirs.
    fn put<'a>(
        &self,
        merge: &mut MergeStmt,
        source: &mut SourceRows<'a>,
        numbers: &[Vec<Option<&'a [u8]>>],
    ) -> Result<()> {
        let alias = merge.source_relation.as_deref().and_then(name_of).ok_or_else(nameless)?.to_owned();
        for (place, column) in self.columns.iter().enumerate() {
            let name = format!("weir_number_{place}");
            let fields = vec![string(&alias), string(&name)];
            let value = Node { node: Some(NodeEnum::ColumnRef(ColumnRef { fields, location: 0 })) };
            merge_defaults::put(merge, &self.relation, column, &value);
            source.names.push(name);
            source.answer.columns.push(INT8);
            for (row, numbers) in source.answer.rows.iter_mut().zip(numbers) {
                row.push(numbers.get(place).copied().flatten());
            }
        }
        Ok(())
    }
}

/// The sources of an UPDATE, DELETE or MERGE; `None` for any other statement, and where one of them cannot be asked first.
/// `is_everywhere`: tables whose rows every shard has, which need not be asked for.
///
/// # Errors
/// A tree that cannot be written, which would be a bug.
pub fn sources(text: &str, is_everywhere: &dyn Fn(&RelationName) -> bool) -> Result<Option<Sources>> {
    let mut statement = parse_one(text)?;
    let with = statement_with(&statement);
    let with_names: Vec<String> = with.iter().flat_map(|with| &with.ctes).filter_map(with_name).collect();
    let stays = |source: &Node| match &source.node {
        Some(NodeEnum::RangeVar(table)) => {
            let name = relation_name(table);
            !(name.schema.is_none() && with_names.contains(&name.name)) && is_everywhere(&name)
        }
        _ => is_given(source),
    };
    let condition = restriction(&statement);
    let (mut queries, mut places, mut can_be_asked) = (Vec::new(), Vec::new(), true);
    each_source(&mut statement, &mut |source, place, restricted| {
        if stays(source) {
            return Ok(());
        }
        can_be_asked &= depends_on_nothing(source);
        let condition = condition.as_ref().filter(|_| restricted);
        queries.push(query_of(std::mem::replace(source, stand_in()), condition));
        places.push(place);
        Ok(())
    })?;
    if queries.is_empty() || !can_be_asked {
        return Ok(None);
    }
    if let Some(with) = with {
        // What a WITH query gives it gives once.
        let [query] = queries.as_mut_slice() else { return Ok(None) };
        drop_with(&mut statement);
        // Conservative: the word may stand in a string, too.
        if written(statement)?.to_ascii_uppercase().contains("SELECT") {
            return Ok(None);
        }
        query.with_clause = Some(with);
    }
    let queries = queries.into_iter().map(|query| written(NodeEnum::SelectStmt(Box::new(query))));
    Ok(Some(Sources { queries: queries.collect::<Result<_>>()?, places, numbers: None }))
}

impl Sources {
    #[must_use]
    pub fn with_numbers(self, numbers: Option<MergeNumbers>) -> Self {
        Self { numbers, ..self }
    }

    /// The statement with rows in the places of its sources, in the order of their queries. `numbers`: for each row of a MERGE's
    /// source those of the columns that are to be numbered.
    ///
    /// # Errors
    /// Refuses rows without columns, and types that cannot be written as texts.
    pub fn with_rows<'a>(
        &self,
        text: &str,
        mut rows: Vec<SourceRows<'a>>,
        numbers: &[Vec<Option<&'a [u8]>>],
        schema: &Schema,
    ) -> Result<String> {
        let mut statement = parse_one(text)?;
        if let (NodeEnum::MergeStmt(merge), Some(columns), [source]) =
            (&mut statement, &self.numbers, rows.as_mut_slice())
        {
            columns.put(merge, source, numbers)?;
        }
        each_source(&mut statement, &mut |source, place, _| {
            if let Some(asked) = self.places.iter().position(|asked| *asked == place) {
                let rows = rows.get(asked).ok_or_else(|| Error::internal("a source was not asked for its rows"))?;
                *source = given(name_of(source), rows, schema)?;
            }
            Ok(())
        })?;
        drop_with(&mut statement);
        Ok(format!("{}{}", leading_comments(text), written(statement)?))
    }
}

/// Sees a source, learns its number, and whether the statement's WHERE restricts its rows.
type Visitor<'v> = &'v mut dyn FnMut(&mut Node, usize, bool) -> Result<()>;

/// Visits the sources of a statement in their order.
fn each_source(statement: &mut NodeEnum, visit: Visitor<'_>) -> Result<()> {
    let mut place = 0;
    match statement {
        NodeEnum::UpdateStmt(update) => {
            update.from_clause.iter_mut().try_for_each(|item| in_item(item, true, &mut place, visit))
        }
        NodeEnum::DeleteStmt(delete) => {
            delete.using_clause.iter_mut().try_for_each(|item| in_item(item, true, &mut place, visit))
        }
        // The rows that are not matched count, too.
        NodeEnum::MergeStmt(merge) => match merge.source_relation.as_deref_mut() {
            Some(source) => in_item(source, false, &mut place, visit),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

fn in_item(item: &mut Node, restricted: bool, place: &mut usize, visit: Visitor<'_>) -> Result<()> {
    if let Some(NodeEnum::JoinExpr(join)) = &mut item.node {
        // An alias of the join hides the names below it.
        let is_named = join.alias.is_some() || join.join_using_alias.is_some();
        let restricted = restricted && join.jointype() == JoinType::JoinInner && !is_named;
        let mut sides = [join.larg.as_deref_mut(), join.rarg.as_deref_mut()].into_iter().flatten();
        return sides.try_for_each(|side| in_item(side, restricted, place, visit));
    }
    *place += 1;
    visit(item, *place, restricted)
}

/// Whether an item of FROM gives the same rows whatever stands beside it.
fn depends_on_nothing(item: &Node) -> bool {
    match &item.node {
        Some(NodeEnum::RangeVar(_)) => true,
        Some(NodeEnum::RangeSubselect(query)) => !query.lateral && query.alias.is_some(),
        Some(NodeEnum::RangeFunction(function)) => !function.lateral && function.functions.iter().all(is_constant),
        _ => false,
    }
}

/// Whether nothing in an expression is a column.
fn is_constant(expression: &Node) -> bool {
    match &expression.node {
        // The place for a list of columns, which a function in FROM may have.
        None => true,
        Some(NodeEnum::List(list)) => list.items.iter().all(is_constant),
        Some(NodeEnum::FuncCall(call)) => call.args.iter().all(is_constant),
        Some(NodeEnum::ColumnDef(_)) => true,
        _ => has_columns_of(expression, None),
    }
}

/// Whether all columns in an expression are called by the name of this relation, and nothing but operators stands around them.
fn has_columns_of(expression: &Node, relation: Option<&str>) -> bool {
    let one = |part: &Option<Box<Node>>| part.as_deref().is_none_or(|part| has_columns_of(part, relation));
    let all = |parts: &[Node]| parts.iter().all(|part| has_columns_of(part, relation));
    match &expression.node {
        Some(NodeEnum::AConst(_) | NodeEnum::ParamRef(_)) => true,
        Some(NodeEnum::ColumnRef(column)) => match column.fields.as_slice() {
            [Node { node: Some(NodeEnum::String(name)) }, Node { node: Some(NodeEnum::String(_)) }] => {
                relation == Some(&name.sval)
            }
            _ => false,
        },
        Some(NodeEnum::TypeCast(cast)) => one(&cast.arg),
        Some(NodeEnum::AExpr(operation)) => one(&operation.lexpr) && one(&operation.rexpr),
        Some(NodeEnum::BoolExpr(bool)) => all(&bool.args),
        Some(NodeEnum::NullTest(test)) => one(&test.arg),
        Some(NodeEnum::AArrayExpr(array)) => all(&array.elements),
        Some(NodeEnum::List(list)) => all(&list.items),
        Some(NodeEnum::FuncCall(_)) if relation.is_none() => is_constant(expression),
        _ => false,
    }
}

/// The condition that a row of the sources must fulfil to matter.
fn restriction(statement: &NodeEnum) -> Option<Node> {
    match statement {
        NodeEnum::UpdateStmt(update) => update.where_clause.as_deref().cloned(),
        NodeEnum::DeleteStmt(delete) => delete.where_clause.as_deref().cloned(),
        _ => None,
    }
}

/// The query of all rows of a source that can matter.
fn query_of(source: Node, condition: Option<&Node>) -> SelectStmt {
    let is_own = |term: &&Node| name_of(&source).is_some_and(|name| has_columns_of(term, Some(name)));
    let terms = condition.map(and_terms).unwrap_or_default();
    let own: Vec<Node> = terms.into_iter().filter(is_own).cloned().collect();
    let mut select = plain_select(vec![all_columns()], vec![source]);
    select.where_clause = (!own.is_empty()).then(|| {
        let mut all = BoolExpr { args: own, ..BoolExpr::default() };
        all.set_boolop(BoolExprType::AndExpr);
        Box::new(Node { node: Some(NodeEnum::BoolExpr(Box::new(all))) })
    });
    select
}

/// The name that columns of an item of FROM are qualified with.
fn name_of(item: &Node) -> Option<&str> {
    let (alias, own) = match &item.node {
        Some(NodeEnum::RangeVar(table)) => (&table.alias, Some(table.relname.as_str())),
        Some(NodeEnum::RangeSubselect(query)) => (&query.alias, None),
        Some(NodeEnum::RangeFunction(function)) => (&function.alias, function_name(function)),
        _ => return None,
    };
    alias.as_ref().map(|alias| alias.aliasname.as_str()).or(own)
}

fn function_name(function: &RangeFunction) -> Option<&str> {
    let [Node { node: Some(NodeEnum::List(only)) }] = function.functions.as_slice() else { return None };
    match only.items.first()?.node.as_ref()? {
        NodeEnum::FuncCall(call) => match call.funcname.last()?.node.as_ref()? {
            NodeEnum::String(name) => Some(&name.sval),
            _ => None,
        },
        _ => None,
    }
}

fn with_name(query: &Node) -> Option<String> {
    match &query.node {
        Some(NodeEnum::CommonTableExpr(query)) => Some(query.ctename.clone()),
        _ => None,
    }
}

/// What stands for a source while the rest of the statement is looked at.
fn stand_in() -> Node {
    let table =
        RangeVar { relname: "source".to_owned(), relpersistence: "p".to_owned(), inh: true, ..RangeVar::default() };
    Node { node: Some(NodeEnum::RangeVar(table)) }
}

fn nameless() -> Error {
    refuse("A source of it has no name.")
}

fn refuse(detail: &str) -> Error {
    Error::refuse("cannot ask for the rows of other tables before they are written", detail.to_owned())
        .hint("Read the rows first, and send them as VALUES.")
}

#[cfg(test)]
mod tests {
    use super::super::schema::Sequence;
    use super::*;

    fn asked(text: &str) -> Option<Vec<String>> {
        let is_everywhere = |name: &RelationName| name.name == "r";
        sources(text, &is_everywhere).unwrap().map(|sources| sources.queries)
    }

    #[test]
    fn sources_are_asked_with_the_conditions_that_are_theirs_alone() {
        for (text, queries) in [
            (
                "UPDATE t SET a = u.b FROM u, r WHERE t.k = u.x AND u.z IN (1, $2) AND z = 3 AND u.z < random() AND r.z = 4",
                &["SELECT * FROM u WHERE u.z IN (1, $2)"][..],
            ),
            (
                "DELETE FROM t USING ONLY s.u AS x(a, b) LEFT JOIN v ON x.a = v.a WHERE x.a > 1 AND v.a IS NULL AND t.k = x.b",
                &["SELECT * FROM ONLY s.u x(a, b)", "SELECT * FROM v"],
            ),
            (
                "DELETE FROM t USING u JOIN v ON u.a = v.a WHERE u.b = 1 AND NOT v.b = 2 OR false",
                &["SELECT * FROM u", "SELECT * FROM v"],
            ),
            (
                "MERGE INTO t USING (SELECT a, count(*) FROM u GROUP BY a) s ON t.k = s.a AND s.a > 3 WHEN MATCHED THEN DELETE",
                &["SELECT * FROM (SELECT a, count(*) FROM u GROUP BY a) s"],
            ),
            (
                "UPDATE t SET a = 1 FROM json_to_recordset($1) AS s(k int) WHERE t.k = s.k",
                &["SELECT * FROM json_to_recordset($1) s (k int)"],
            ),
            (
                "WITH r AS (SELECT 1 AS k) UPDATE t SET a = 1 FROM r WHERE r.k = t.k",
                &["WITH r AS (SELECT 1 AS k) SELECT * FROM r"],
            ),
        ] {
            assert_eq!(
                asked(text).as_deref(),
                Some(queries).map(|queries| queries.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>()).as_deref(),
                "{text}"
            );
        }
        for text in [
            "UPDATE t SET a = 1 FROM r WHERE r.k = t.k",
            "UPDATE t SET a = 1 FROM u, LATERAL (SELECT u.k) s",
            "UPDATE t SET a = 1 FROM u, generate_series(1, u.k) s",
            "WITH w AS (SELECT 1 AS k) UPDATE t SET a = 1 FROM w, u",
            "WITH w AS (SELECT 1 AS k) UPDATE t SET a = (SELECT k FROM w) FROM u",
            "UPDATE t SET a = 1",
            "INSERT INTO t SELECT * FROM u",
        ] {
            assert_eq!(asked(text), None, "{text}");
        }
    }

    #[test]
    fn rows_stand_where_sources_stood() {
        let rows = || SourceRows {
            names: vec!["k".into(), "List".into()],
            answer: Answer { columns: vec![23, 1007], rows: vec![vec![Some(b"1"), Some(b"{1,2}")], vec![None, None]] },
        };
        let given = r#"(SELECT given.c1 AS k, given.c2::pg_catalog._int4 AS "List" FROM unnest('{"1",NULL}'::int[], '{"{1,2}",NULL}'::pg_catalog.text[]) given(c1, c2))"#;
        let text = "UPDATE t SET a = 1 FROM r, u x WHERE x.k = t.k";
        let found = sources(text, &|name| name.name == "r").unwrap().unwrap();
        let made = found.with_rows(text, vec![rows()], &[], &Schema::default()).unwrap();
        assert_eq!(made, format!("UPDATE t SET a = 1 FROM r, {given} x WHERE x.k = t.k"));
        assert_eq!(sources(&made, &|name| name.name == "r").unwrap().map(|sources| sources.queries), None);
        let unknown =
            SourceRows { names: vec!["k".into()], answer: Answer { columns: vec![16_500], rows: Vec::new() } };
        assert!(found.with_rows(text, vec![unknown], &[], &Schema::default()).is_err());
        assert!(found.with_rows(text, vec![SourceRows::default()], &[], &Schema::default()).is_err());
    }

    #[test]
    fn inserted_rows_take_the_numbers_of_their_sources() {
        let column = |name: &str| Column { name: name.into(), ..Column::plain() };
        let number = Column { sequence: Some(Sequence { name: "s".into(), always: false }), ..column("n") };
        let relation = Relation { columns: vec![column("k"), number.clone()], ..Relation::default() };
        let text = "MERGE INTO t USING u ON t.k = u.k WHEN NOT MATCHED THEN INSERT (k) VALUES (u.k)";
        let numbers = MergeNumbers::new(&relation, &[&number]);
        assert_eq!(
            numbers.question(3).as_deref(),
            Some("SELECT pg_catalog.nextval('s') FROM pg_catalog.generate_series(1, 3)")
        );
        assert_eq!(numbers.question(0), None);
        let found = sources(text, &|_| false).unwrap().unwrap().with_numbers(Some(numbers));
        let rows = SourceRows {
            names: vec!["k".into()],
            answer: Answer { columns: vec![23], rows: vec![vec![Some(b"1")], vec![Some(b"2")]] },
        };
        assert_eq!(
            found.with_rows(text, vec![rows], &[vec![Some(b"70")], vec![Some(b"71")]], &Schema::default()).unwrap(),
            "MERGE INTO t USING (SELECT given.c1 AS k, given.c2 AS weir_number_0 FROM unnest('{\"1\",\"2\"}'::int[], \
             '{\"70\",\"71\"}'::bigint[]) given(c1, c2)) u ON t.k = u.k WHEN NOT MATCHED THEN INSERT (k, n) \
             VALUES (u.k, u.weir_number_0)"
        );
    }
}
