//! The select list: which columns a result has, what they are called, and what they call.

use pg_query::NodeEnum;
use pg_query::protobuf::{AExpr, AExprKind, MinMaxExpr, MinMaxOp, Node, ResTarget, SubLink, SubLinkType};

use super::expression::{Contents, bare_name, column_reference, normal_form, string, whole_form};
use super::refuse;
use super::scope::Scope;
use crate::types::Result;

/// The select list of one SELECT.
pub struct Targets {
    pub list: Vec<Target>,
}

pub enum Target {
    /// `*`, or `alias.*` with the place of that relation in the scope.
    Star(Option<usize>),
    Value(Box<ValueTarget>),
}

/// One column of the result.
pub struct ValueTarget {
    pub name: String,
    pub expression: Node,
    pub normal: Node,
    pub contents: Contents,
}

impl Targets {
    pub fn read(target_list: &[Node], scope: &Scope<'_>) -> Result<Self> {
        Ok(Self { list: target_list.iter().map(|node| Target::read(node, scope)).collect::<Result<_>>()? })
    }

    /// What the columns call.
    pub fn contents(&self) -> Contents {
        self.values().fold(Contents::default(), |all, (_, target)| all.and(target.contents))
    }

    /// Whether rows of the result that are equal come from one shard.
    pub fn keep_together(&self, scope: &Scope<'_>) -> bool {
        let has_key = |target: &Target| match target {
            Target::Star(None) => !scope.core.is_empty(),
            Target::Star(Some(relation)) => scope.core.contains(relation),
            Target::Value(_) => false,
        };
        let normals: Vec<&Node> = self.values().map(|(_, target)| &target.normal).collect();
        self.list.iter().any(has_key) || scope.keeps_together(&normals)
    }

    /// The columns that are not stars, with their places in the list.
    pub fn values(&self) -> impl Iterator<Item = (usize, &ValueTarget)> {
        self.list.iter().enumerate().filter_map(|(place, target)| match target {
            Target::Value(value) => Some((place, value.as_ref())),
            Target::Star(_) => None,
        })
    }

    /// The column of the result that a place in the list is; `None` behind a star, whose width is not known here.
    pub fn visible(&self, place: usize) -> Option<usize> {
        let star = self.list.iter().take(place).any(|target| matches!(target, Target::Star(_)));
        (!star).then_some(place)
    }

    /// The column that an ordinal of ORDER BY or GROUP BY means, with its place.
    pub fn ordinal(&self, ordinal: i64) -> Result<(usize, &ValueTarget)> {
        let place = usize::try_from(ordinal).ok().and_then(|ordinal| ordinal.checked_sub(1));
        match place.and_then(|place| Some((place, self.list.get(place)?))) {
            Some((place, Target::Value(value))) if self.visible(place).is_some() => Ok((place, value)),
            Some(_) => Err(refuse("a column number behind *").hint("Write the column's name.")),
            None => Err(refuse(format!("column number {ordinal}, which the select list does not have"))),
        }
    }

    /// The column that an output name means; `None` when no column that is not part of a star has it.
    ///
    /// # Errors
    /// Refuses a name that several different columns have.
    pub fn named(&self, name: &str) -> Result<Option<(usize, &ValueTarget)>> {
        let mut named = self.values().filter(|(_, target)| target.name == name);
        let first = named.next();
        match first {
            Some((_, target)) if named.any(|(_, other)| other.normal != target.normal) => {
                Err(refuse(format!("the name \"{name}\", which several columns of the select list have")))
            }
            found => Ok(found),
        }
    }

    /// The column with this meaning.
    pub fn equal_to(&self, normal: &Node) -> Option<(usize, &ValueTarget)> {
        self.values().find(|(_, target)| target.normal == *normal)
    }

    /// The column that an output name means among those that a star stands for.
    ///
    /// # Errors
    /// Refuses a name that the stars give to columns of several relations.
    pub fn starred(&self, name: &str, scope: &Scope<'_>) -> Result<Option<Node>> {
        let mut found: Option<Node> = None;
        for target in &self.list {
            let Target::Star(relation) = target else {
                continue;
            };
            let column = match relation {
                Some(place) => {
                    let relation = &scope.relations[*place];
                    relation.has_column(name).then(|| column_reference(Some(&relation.alias), name))
                }
                None => scope.has_column(name).then(|| column_reference(None, name)),
            };
            match (&found, column) {
                (Some(old), Some(new)) if *old != new && !same_column(old, &new, scope)? => {
                    return Err(refuse(format!("the name \"{name}\", which several columns of the result have")));
                }
                (None, new @ Some(_)) => found = new,
                (Some(_) | None, Some(_) | None) => {}
            }
        }
        Ok(found)
    }
}

impl Target {
    fn read(node: &Node, scope: &Scope<'_>) -> Result<Self> {
        let Some(NodeEnum::ResTarget(target)) = &node.node else {
            return Err(refuse("an item of the select list that is not an expression"));
        };
        let Some(expression) = target.val.as_deref() else {
            return Err(refuse("an empty item of the select list"));
        };
        match star(expression, scope)? {
            Some(star) => Ok(star),
            None => ValueTarget::read(target, expression, scope).map(|value| Self::Value(Box::new(value))),
        }
    }
}

impl ValueTarget {
    fn read(target: &ResTarget, expression: &Node, scope: &Scope<'_>) -> Result<Self> {
        let name = if target.name.is_empty() { column_name(expression).0 } else { target.name.clone() };
        let (normal, contents) = whole_form(expression, scope)?;
        Ok(Self { name, expression: expression.clone(), normal, contents })
    }
}

fn star(expression: &Node, scope: &Scope<'_>) -> Result<Option<Target>> {
    let Some(NodeEnum::ColumnRef(column)) = &expression.node else {
        return Ok(None);
    };
    let is_star = |node: &Node| matches!(node.node, Some(NodeEnum::AStar(_)));
    match column.fields.as_slice() {
        [only] if is_star(only) => Ok(Some(Target::Star(None))),
        [alias, last] if is_star(last) => Ok(Some(Target::Star(Some(scope.relation(string(alias)?)?)))),
        _ => Ok(None),
    }
}

/// Whether two references mean one column, so that a star and another star do not contradict each other.
fn same_column(a: &Node, b: &Node, scope: &Scope<'_>) -> Result<bool> {
    let merged = |node: &Node| bare_name(node).is_some_and(|name| scope.is_merged(name));
    Ok(!merged(a) && !merged(b) && normal_form(a, scope)? == normal_form(b, scope)?)
}

/// The name that PostgreSQL gives to a column without AS, and how strong its claim is: 0 for no name at all, 1 for a
/// name that an enclosed expression may override, 2 otherwise. Source: PostgreSQL's `FigureColname`.
fn column_name(expression: &Node) -> (String, u8) {
    let last = |names: &[Node]| names.iter().rev().find_map(|name| string(name).ok()).unwrap_or_default().to_owned();
    let fixed = |name: &str| (name.to_owned(), 2);
    let inner = |node: Option<&Node>| node.map_or_else(|| (UNNAMED.to_owned(), 0), column_name);
    match &expression.node {
        Some(NodeEnum::ColumnRef(column)) => (last(&column.fields), 2),
        Some(NodeEnum::FuncCall(call)) => (last(&call.funcname), 2),
        Some(NodeEnum::CollateClause(collate)) => inner(collate.arg.as_deref()),
        Some(NodeEnum::AIndirection(indirection)) => inner(indirection.arg.as_deref()),
        Some(NodeEnum::TypeCast(cast)) => match (inner(cast.arg.as_deref()), &cast.type_name) {
            ((_, strength), Some(type_name)) if strength <= 1 => (last(&type_name.names), 1),
            (name, _) => name,
        },
        Some(NodeEnum::CaseExpr(case)) => match case.defresult.as_deref().map(column_name) {
            Some((name, 2)) => (name, 2),
            _ => ("case".to_owned(), 1),
        },
        Some(NodeEnum::AExpr(operation)) if is_nullif(operation) => fixed("nullif"),
        Some(NodeEnum::CoalesceExpr(_)) => fixed("coalesce"),
        Some(NodeEnum::MinMaxExpr(extreme)) => fixed(extreme_name(extreme)),
        Some(NodeEnum::AArrayExpr(_)) => fixed("array"),
        Some(NodeEnum::SubLink(link)) => subquery_name(link),
        Some(NodeEnum::RowExpr(_)) => fixed("row"),
        // The other expressions that get past `normal_form` have no name.
        _ => (UNNAMED.to_owned(), 0),
    }
}

fn subquery_name(link: &SubLink) -> (String, u8) {
    let select = match link.subselect.as_ref().and_then(|query| query.node.as_ref()) {
        Some(NodeEnum::SelectStmt(select)) => select,
        _ => return (UNNAMED.to_owned(), 0),
    };
    match (link.sub_link_type(), select.target_list.first().and_then(|target| target.node.as_ref())) {
        (SubLinkType::ExistsSublink, _) => ("exists".to_owned(), 2),
        (SubLinkType::ArraySublink, _) => ("array".to_owned(), 2),
        (SubLinkType::ExprSublink, Some(NodeEnum::ResTarget(target))) if !target.name.is_empty() => {
            (target.name.clone(), 2)
        }
        (SubLinkType::ExprSublink, Some(NodeEnum::ResTarget(target))) => {
            (target.val.as_deref().map_or_else(|| UNNAMED.to_owned(), |value| column_name(value).0), 2)
        }
        _ => (UNNAMED.to_owned(), 0),
    }
}

/// What PostgreSQL calls a column that has no name.
const UNNAMED: &str = "?column?";

fn is_nullif(operation: &AExpr) -> bool {
    operation.kind() == AExprKind::AexprNullif
}

fn extreme_name(extreme: &MinMaxExpr) -> &'static str {
    if extreme.op() == MinMaxOp::IsLeast { "least" } else { "greatest" }
}
