//! The walk over expressions: a match that names every node that may stand in one.

use std::sync::Arc;

use pg_query::{Node, NodeEnum, protobuf as pg};

use super::compare::{self, Share};
use super::operand::builtin_type;
use super::output::OutputColumn;
use super::scope::{Bound, Env, Place, Scope, column_path};
use super::{Analyzer, inner, names, node_name, strings};
use crate::sql::code::Unit;
use crate::sql::facts::{ColumnUse, Effects, Operand, ParameterContext};
use crate::sql::scan::LiteralClass;

impl Analyzer<'_> {
    pub(super) fn expressions(&mut self, nodes: &[Node], scope: &Scope<'_>) {
        for node in nodes {
            self.optional(Some(node), scope);
        }
    }

    pub(super) fn optional(&mut self, node: Option<&Node>, scope: &Scope<'_>) {
        if let Some(node) = node.and_then(inner) {
            self.expression(node, scope);
        }
    }

    /// Collects the effects of an expression, its subqueries included.
    fn expression(&mut self, node: &NodeEnum, scope: &Scope<'_>) {
        match node {
            NodeEnum::AConst(_)
            | NodeEnum::SetToDefault(_)
            | NodeEnum::AStar(_)
            | NodeEnum::String(_)
            | NodeEnum::Integer(_)
            | NodeEnum::CurrentOfExpr(_) => {}
            NodeEnum::ParamRef(parameter) => self.parameter(parameter.number, ParameterContext::Unknown),
            NodeEnum::ColumnRef(reference) => self.column_reference(reference, scope),
            NodeEnum::AExpr(operation) => self.operation(operation, scope),
            NodeEnum::FuncCall(call) => self.function_call(call, scope),
            NodeEnum::SubLink(link) => self.sublink(link, scope),
            NodeEnum::TypeCast(cast) => self.type_cast(cast, scope),
            NodeEnum::SqlvalueFunction(_) => self.effect(Effects::STABLE),
            _ => self.composite_expression(node, scope),
        }
    }

    /// Nodes that only hold other expressions.
    fn composite_expression(&mut self, node: &NodeEnum, scope: &Scope<'_>) {
        match node {
            NodeEnum::List(list) => self.expressions(&list.items, scope),
            NodeEnum::BoolExpr(expr) => self.expressions(&expr.args, scope),
            NodeEnum::RowExpr(expr) => self.expressions(&expr.args, scope),
            NodeEnum::AArrayExpr(expr) => self.expressions(&expr.elements, scope),
            NodeEnum::CoalesceExpr(expr) => self.expressions(&expr.args, scope),
            NodeEnum::MinMaxExpr(expr) => self.expressions(&expr.args, scope),
            NodeEnum::NullTest(test) => self.optional(test.arg.as_deref(), scope),
            NodeEnum::BooleanTest(test) => self.optional(test.arg.as_deref(), scope),
            NodeEnum::CollateClause(collate) => self.collate(collate, scope),
            NodeEnum::NamedArgExpr(named) => self.optional(named.arg.as_deref(), scope),
            NodeEnum::MultiAssignRef(multi) => self.optional(multi.source.as_deref(), scope),
            NodeEnum::SortBy(sort) => self.sort_by(sort, scope),
            NodeEnum::ResTarget(target) => self.target(target, scope),
            NodeEnum::CaseExpr(case) => self.case(case, scope),
            NodeEnum::CaseWhen(when) => self.case_when(when, scope),
            NodeEnum::AIndirection(indirection) => self.indirection(indirection, scope),
            NodeEnum::AIndices(indices) => self.indices(indices, scope),
            NodeEnum::WindowDef(window) => self.window(window, scope),
            NodeEnum::GroupingFunc(grouping) => self.expressions(&grouping.args, scope),
            NodeEnum::GroupingSet(set) => {
                self.makes_nulls = true;
                self.expressions(&set.content, scope);
            }
            NodeEnum::ColumnDef(column) => self.type_name(column.type_name.as_ref()),
            NodeEnum::TypeName(name) => self.type_name(Some(name)),
            NodeEnum::XmlExpr(xml) => self.xml(xml, scope),
            NodeEnum::XmlSerialize(xml) => self.xml_serialize(xml, scope),
            // Among the rest are JSON_VALUE and its kin, which an older server takes for functions of users.
            other => self.unknown(node_name(other)),
        }
    }

    /// `t.f` may be written for `f(t)`, a function of the table's row.
    fn column_reference(&mut self, reference: &pg::ColumnRef, scope: &Scope<'_>) {
        let Some(path) = column_path(reference) else { return };
        if path.last().is_some_and(|name| names::is_system_column(name)) {
            self.effect(Effects::SYSTEM_COLUMNS);
        }
        if let [.., _, name] = path.as_slice() {
            self.attribute(name, || scope.bind(reference).map(|bound| bound.columns));
        }
    }

    fn attribute(&mut self, name: &str, columns: impl Fn() -> Option<Vec<ColumnUse>>) {
        if self.schema.functions.get(name).is_none_or(|class| class.builtin) {
            return;
        }
        if !columns().is_some_and(|columns| columns.iter().all(|used| self.has_column(used.relation, &used.column))) {
            self.opaque(format!("{name}()"));
            self.runs(self.schema.code.function(name));
        }
    }

    fn has_column(&self, relation: usize, name: &str) -> bool {
        match self.statement.relations.get(relation).map(|used| self.schema.resolve(&used.name)) {
            Some(crate::sql::schema::Resolved::User { relation, .. }) => {
                relation.columns.iter().any(|column| column.name == name)
            }
            _ => false,
        }
    }

    fn operation(&mut self, operation: &pg::AExpr, scope: &Scope<'_>) {
        self.operator(&operation.name);
        match compare::typed(operation) {
            Some(typed) if typed.share != Share::Type || self.values_share_a_type(typed.values) => {
                self.optional(Some(typed.column), scope);
                for value in typed.values {
                    self.compared_value(typed.column, value, typed.share, scope);
                }
            }
            _ => {
                let (left, right) = (operation.lexpr.as_deref(), operation.rexpr.as_deref());
                self.operand_beside(left, right, operation, scope);
                self.operand_beside(right, left, operation, scope);
            }
        }
    }

    /// An operand, and what stands on the other side: a parameter that is added to an integer is one of that type.
    fn operand_beside(
        &mut self,
        operand: Option<&Node>,
        other: Option<&Node>,
        operation: &pg::AExpr,
        scope: &Scope<'_>,
    ) {
        let is_sum = ["+", "-", "*"].iter().any(|operator| compare::is_builtin(&operation.name, operator));
        let integer = other.filter(|_| is_sum).and_then(|other| self.integer_type(other));
        match (operand, integer) {
            (Some(operand), Some(name)) => self.typed_value(operand, ParameterContext::Cast(name), scope),
            (operand, _) => self.optional(operand, scope),
        }
    }

    /// The type of an operand that is certainly an integer.
    fn integer_type(&self, node: &Node) -> Option<Arc<str>> {
        match inner(node)? {
            NodeEnum::AConst(_) => match self.operand(node) {
                Operand::Literal { slot, .. } => match self.literals.get(slot)?.class {
                    LiteralClass::Int4 => Some(Arc::from("int4")),
                    LiteralClass::Int8 => Some(Arc::from("int8")),
                    _ => None,
                },
                _ => None,
            },
            NodeEnum::TypeCast(cast) => {
                builtin_type(cast.type_name.as_ref()).filter(|name| matches!(&**name, "int2" | "int4" | "int8"))
            }
            _ => None,
        }
    }

    /// A value that is compared with a column, or a row of them with a row.
    fn compared_value(&mut self, column: &Node, value: &Node, share: Share, scope: &Scope<'_>) {
        match (inner(column), inner(value)) {
            (Some(NodeEnum::RowExpr(columns)), Some(NodeEnum::RowExpr(values))) if share != Share::Array => {
                for (place, value) in values.args.iter().enumerate() {
                    match columns.args.get(place) {
                        Some(column) => self.compared_value(column, value, share, scope),
                        None => self.optional(Some(value), scope),
                    }
                }
            }
            (Some(NodeEnum::ColumnRef(reference)), _) => {
                let column = scope.bind(reference).and_then(|bound| bound.columns.into_iter().next());
                let context = match (column, share) {
                    (Some(column), Share::Array) => ParameterContext::ArrayOf(column),
                    (Some(column), Share::Nothing | Share::Type) => ParameterContext::Column(column),
                    (None, _) => ParameterContext::Unknown,
                };
                self.typed_value(value, context, scope);
            }
            _ => self.optional(Some(value), scope),
        }
    }

    /// In a list all values take one type. Integers and strings leave the column's, others may not.
    fn values_share_a_type(&self, values: &[Node]) -> bool {
        values.len() == 1 || values.iter().all(|value| self.takes_columns_type(value))
    }

    fn takes_columns_type(&self, value: &Node) -> bool {
        match inner(value) {
            Some(NodeEnum::ParamRef(_)) => true,
            Some(NodeEnum::AConst(constant)) => {
                let start = u32::try_from(constant.location).unwrap_or(u32::MAX);
                let class = self.literals.iter().find(|literal| literal.start >= start).map(|literal| literal.class);
                constant.isnull || matches!(class, Some(LiteralClass::Int4 | LiteralClass::Int8 | LiteralClass::String))
            }
            _ => false,
        }
    }

    /// A value whose place gives a parameter its type.
    pub(super) fn typed_value(&mut self, value: &Node, context: ParameterContext, scope: &Scope<'_>) {
        match inner(value) {
            Some(NodeEnum::ParamRef(parameter)) => self.parameter(parameter.number, context),
            _ => self.optional(Some(value), scope),
        }
    }

    /// An operator by its (perhaps qualified) name.
    fn operator(&mut self, name: &[Node]) {
        match strings(name).as_slice() {
            ["pg_catalog", _] => {}
            [name] if !self.schema.user_operators.contains(*name) => {}
            other => {
                self.opaque(format!("operator {}", other.join(".")));
                let class = other.last().map(|name| self.schema.code.function(name));
                self.runs(class.unwrap_or_default());
            }
        }
    }

    fn sublink(&mut self, link: &pg::SubLink, scope: &Scope<'_>) {
        self.optional(link.testexpr.as_deref(), scope);
        if !link.oper_name.is_empty() {
            self.operator(&link.oper_name);
        }
        let Some(query) = link.subselect.as_deref().and_then(inner) else { return };
        let link = std::ptr::from_ref(link);
        let wanted_by = self.wanted.get(&link).copied().unwrap_or_default();
        let output = self.subquery(query, Env { wanted_by, ..scope.inside() });
        if let Some(output) = output.filter(|output| output.ordered) {
            // The query's own level is nothing to leave out rows of; the columns are those of the level inside.
            let place = Place { level: 0, source: usize::MAX };
            let bound = |column: OutputColumn| {
                let OutputColumn { columns, pushable, .. } = column;
                (!columns.is_empty()).then_some(Bound { columns, pushable, place })
            };
            self.sublinks.insert(link, output.columns.into_iter().map(bound).collect());
        }
    }

    fn type_cast(&mut self, cast: &pg::TypeCast, scope: &Scope<'_>) {
        self.type_name(cast.type_name.as_ref());
        let name = cast.type_name.as_ref();
        let is_constant = |arg: &Node| matches!(inner(arg), Some(NodeEnum::AConst(_) | NodeEnum::ParamRef(_)));
        // What a text of a column or of a computation says is not known before it is there.
        if !cast.arg.as_deref().is_some_and(is_constant) && self.reads_dates(name) {
            self.effect(Effects::STABLE);
        }
        match (cast.arg.as_deref(), self.key_type(name), self.array_element(name)) {
            (Some(arg), Some(name), _) => self.typed_value(arg, ParameterContext::Cast(name), scope),
            (Some(arg), None, Some(element)) => self.cast_array(arg, &element, scope),
            (arg, ..) => self.optional(arg, scope),
        }
    }

    /// A value cast to an array; the elements of a constructor are cast for themselves.
    fn cast_array(&mut self, array: &Node, element: &Arc<str>, scope: &Scope<'_>) {
        match inner(array) {
            Some(NodeEnum::AArrayExpr(array)) => {
                for value in &array.elements {
                    self.typed_value(value, ParameterContext::Cast(Arc::clone(element)), scope);
                }
            }
            _ => self.typed_value(array, ParameterContext::ArrayCast(Arc::clone(element)), scope),
        }
    }

    pub(super) fn type_name(&mut self, name: Option<&pg::TypeName>) {
        let Some(name) = name else { return };
        match strings(&name.names).as_slice() {
            ["pg_catalog", name] => self.type_effects(name),
            [name] if names::is_builtin_type(name) => self.type_effects(name),
            _ => {
                self.effect(Effects::USER_TYPE);
                self.runs(self.schema.code.class(&Unit::Types));
            }
        }
    }

    fn reads_dates(&self, name: Option<&pg::TypeName>) -> bool {
        let names = name.map_or(&[][..], |name| &name.names);
        strings(names).last().is_some_and(|name| names::input_of(name) == names::Input::OfDates)
    }

    fn type_effects(&mut self, name: &str) {
        match names::input_of(name) {
            names::Input::Immutable => {}
            names::Input::OfDates => self.effect(Effects::READS_DATES),
            names::Input::Stable => self.effect(Effects::STABLE),
        }
    }

    fn collate(&mut self, collate: &pg::CollateClause, scope: &Scope<'_>) {
        self.optional(collate.arg.as_deref(), scope);
    }

    fn sort_by(&mut self, sort: &pg::SortBy, scope: &Scope<'_>) {
        if !sort.use_op.is_empty() {
            self.operator(&sort.use_op);
        }
        self.optional(sort.node.as_deref(), scope);
    }

    fn target(&mut self, target: &pg::ResTarget, scope: &Scope<'_>) {
        self.expressions(&target.indirection, scope);
        self.optional(target.val.as_deref(), scope);
    }

    fn case(&mut self, case: &pg::CaseExpr, scope: &Scope<'_>) {
        self.optional(case.arg.as_deref(), scope);
        self.expressions(&case.args, scope);
        self.optional(case.defresult.as_deref(), scope);
    }

    fn case_when(&mut self, when: &pg::CaseWhen, scope: &Scope<'_>) {
        self.optional(when.expr.as_deref(), scope);
        self.optional(when.result.as_deref(), scope);
    }

    /// `(expression).name` may call a function, too.
    fn indirection(&mut self, indirection: &pg::AIndirection, scope: &Scope<'_>) {
        self.optional(indirection.arg.as_deref(), scope);
        for name in strings(&indirection.indirection) {
            self.attribute(name, || None);
        }
        self.expressions(&indirection.indirection, scope);
    }

    fn indices(&mut self, indices: &pg::AIndices, scope: &Scope<'_>) {
        self.optional(indices.lidx.as_deref(), scope);
        self.optional(indices.uidx.as_deref(), scope);
    }

    pub(super) fn window(&mut self, window: &pg::WindowDef, scope: &Scope<'_>) {
        self.effect(Effects::SHAPES_RESULT);
        self.expressions(&window.partition_clause, scope);
        self.expressions(&window.order_clause, scope);
        self.optional(window.start_offset.as_deref(), scope);
        self.optional(window.end_offset.as_deref(), scope);
    }

    /// What XML functions accept depends on the setting `xmloption`.
    fn xml(&mut self, xml: &pg::XmlExpr, scope: &Scope<'_>) {
        self.effect(Effects::STABLE);
        self.expressions(&xml.named_args, scope);
        self.expressions(&xml.args, scope);
    }

    fn xml_serialize(&mut self, xml: &pg::XmlSerialize, scope: &Scope<'_>) {
        self.effect(Effects::STABLE);
        self.type_name(xml.type_name.as_ref());
        self.optional(xml.expr.as_deref(), scope);
    }
}
