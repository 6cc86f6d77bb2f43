//! Facts by tables of statements.

use super::*;
use crate::sql::code::{self, CodeClasses, Definition, Unit};
use crate::sql::facts::{Carry, ColumnUse, Comparison, Condition, InsertSource, Operand, Selected, SetConfig, Values};
use crate::sql::schema::{Column, FunctionClass, Volatility};

fn schema() -> Schema {
    use Volatility::*;
    let class =
        |builtin, volatility, aggregate| FunctionClass { builtin, aggregate, ..FunctionClass::built_in(volatility) };
    let functions = [
        ("lower", class(true, Immutable, false)),
        ("btrim", class(true, Immutable, false)),
        ("now", class(true, Stable, false)),
        ("current_setting", class(true, Stable, false)),
        ("random", class(true, Volatile, false)),
        ("nextval", class(true, Volatile, false)),
        ("setval", class(true, Volatile, false)),
        ("currval", class(true, Volatile, false)),
        ("lastval", class(true, Volatile, false)),
        ("setseed", class(true, Volatile, false)),
        ("set_config", class(true, Volatile, false)),
        ("pg_advisory_lock", class(true, Volatile, false)),
        ("pg_advisory_unlock", class(true, Volatile, false)),
        ("pg_advisory_xact_lock", class(true, Volatile, false)),
        ("txid_current", class(true, Stable, false)),
        ("query_to_xml", class(true, Volatile, false)),
        ("count", class(true, Immutable, true)),
        ("generate_series", class(true, Immutable, false)),
        ("my_immutable", class(false, Immutable, false)),
        ("my_stable", class(false, Stable, false)),
        ("my_random", class(false, Volatile, false)),
        ("my_dynamic", class(false, Volatile, false)),
    ];
    let column = |name: &str| Column {
        name: name.into(),
        type_oid: 20,
        type_modifier: -1,
        computed_default: false,
        is_generated: false,
        default: None,
        moment_default: false,
        sequence: None,
        ordered_by_bytes: false,
        own_collation: false,
        not_null: false,
    };
    let table =
        |names: &[&str]| Relation { columns: names.iter().map(|name| column(name)).collect(), ..Relation::default() };
    let with = |relation: Relation, change: fn(&mut Relation)| {
        let mut relation = relation;
        change(&mut relation);
        relation
    };
    let relations = [
        ("a", table(&["k", "x", "y"])),
        ("b", table(&["k", "x", "z"])),
        ("c", table(&["k", "w"])),
        ("v", with(table(&["k"]), |relation| relation.is_view = true)),
        (
            "vf",
            with(table(&["k"]), |relation| {
                relation.is_view = true;
                relation.opaque_read = Some("calls f()".into());
            }),
        ),
        ("trg", with(table(&["k"]), |relation| relation.opaque_write = Some("trigger".into()))),
        ("rls", with(table(&["k"]), |relation| relation.opaque_read = Some("row security".into()))),
        ("u", with(table(&["k"]), |relation| relation.unlogged = true)),
    ];
    let setting = "SELECT set_config('app.x', 'y', false)";
    let code = [
        (Unit::Function("my_stable".into()), setting),
        (Unit::Function("my_random".into()), "SELECT nextval('s')"),
        (Unit::Function("my_dynamic".into()), "BEGIN EXECUTE $1; END"),
        (Unit::Function("<->".into()), "SELECT 1"),
        (Unit::Reading("vf".into()), setting),
        (Unit::Reading("rls".into()), setting),
        (Unit::Writing("trg".into()), setting),
    ];
    let definition = |(unit, text)| Definition { unit, code: code::read(text), runs: Vec::new() };
    let mut definitions: Vec<Definition> = code.into_iter().map(definition).collect();
    let numbered = CodeClass { numbers_rows: true, ..CodeClass::default() };
    let code = code::Code::of_class(numbered);
    definitions.push(Definition { unit: Unit::Writing("c".into()), code, runs: Vec::new() });
    Schema {
        code: CodeClasses::of(definitions),
        functions: functions.into_iter().map(|(name, class)| (name.to_owned(), class)).collect(),
        relations: relations.into_iter().map(|(name, table)| (("public".into(), name.into()), table)).collect(),
        user_operators: ["<->".to_owned()].into(),
        search_path: vec!["public".into()],
        ..Schema::default()
    }
}

fn one(text: &str) -> Statement {
    let mut facts = analyze(text, true, &schema());
    assert_eq!(facts.statements.len(), 1, "{text}");
    facts.statements.remove(0)
}

/// Restrictions as `table.column=value|value`, carries as `table.column>table.column`, in order of the text.
fn inference(text: &str) -> String {
    let mut literals = Vec::new();
    scan(text, true, &mut Vec::new(), &mut literals).expect(text);
    let statement = one(text);
    let column = |used: &crate::sql::facts::ColumnUse| {
        format!("{}{}.{}", statement.relations[used.relation].name.name, used.relation, used.column)
    };
    let restriction = |restriction: &crate::sql::facts::Restriction| {
        show_condition(&restriction.condition, &column, &|operand| show(operand, text, &literals))
    };
    let carry = |carry: &Carry| format!("{}>{}", column(&carry.from), column(&carry.to));
    let parts: Vec<_> =
        statement.restrictions.iter().map(restriction).chain(statement.carries.iter().map(carry)).collect();
    parts.join(" ")
}

/// A condition as `table.column=value|value`, parts in brackets.
fn show_condition(
    condition: &Condition,
    column: &dyn Fn(&crate::sql::facts::ColumnUse) -> String,
    value: &dyn Fn(&Operand) -> String,
) -> String {
    let parts = |parts: &[Condition], between: &str| {
        let parts: Vec<_> = parts.iter().map(|part| show_condition(part, column, value)).collect();
        format!("({})", parts.join(between))
    };
    match condition {
        Condition::Open => "?".into(),
        Condition::All(all) => parts(all, "&"),
        Condition::Any(any) => parts(any, "|"),
        Condition::Compared(compared) => {
            let columns: Vec<_> = compared.columns.iter().map(column).collect();
            let operator = match compared.comparison {
                Comparison::Equal => "=",
                Comparison::NotDistinct => "==",
                Comparison::Less => "<",
                Comparison::LessEqual => "<=",
                Comparison::Greater => ">",
                Comparison::GreaterEqual => ">=",
            };
            let values = match &compared.values {
                Values::List(list) => list.iter().map(value).collect::<Vec<_>>().join("|"),
                Values::Array(array) => format!("[{}]", value(array)),
            };
            format!("{}{operator}{values}", columns.join("/"))
        }
    }
}

fn show(operand: &Operand, text: &str, literals: &[LiteralSpan]) -> String {
    match operand {
        Operand::Literal { slot, negated } => {
            let sign = if *negated { "-" } else { "" };
            format!("{sign}{}", literals[*slot].value(text).unwrap_or_default())
        }
        Operand::Parameter(number) => format!("${number}"),
        Operand::Cast { operand, type_name } => format!("{}::{type_name}", show(operand, text, literals)),
        Operand::Null => "NULL".into(),
        Operand::Boolean(value) => value.to_string(),
        Operand::Fixed { value, negated, .. } => format!("{}<{value}>", if *negated { "-" } else { "" }),
        Operand::Arithmetic { operator, left, right } => {
            format!("{}{operator:?}{}", show(left, text, literals), show(right, text, literals))
        }
        Operand::Concatenated(left, right) => {
            format!("{}||{}", show(left, text, literals), show(right, text, literals))
        }
        Operand::Computed => "?".into(),
        Operand::Default => "DEFAULT".into(),
    }
}

#[test]
fn restrictions_and_carries() {
    let cases = [
        ("SELECT * FROM a WHERE k = 5", "a0.k=5"),
        ("SELECT * FROM a WHERE 5 = k", "a0.k=5"),
        ("SELECT * FROM a WHERE a.k = -5 AND y > 3", "a0.k=-5 a0.y>3"),
        ("SELECT * FROM public.a WHERE public.a.k = 5", "a0.k=5"),
        ("SELECT * FROM public.a WHERE a.k = 5", "a0.k=5"),
        ("SELECT * FROM a q WHERE q.k = $1", "a0.k=$1"),
        ("SELECT * FROM a WHERE k = $1::int8", "a0.k=$1::int8"),
        ("SELECT * FROM a WHERE k = '5'::text::int8", "a0.k=5::text::int8"),
        ("SELECT * FROM a WHERE k = '5'::varchar(1)", ""),
        ("SELECT * FROM a WHERE k = '5'::mytype", ""),
        ("SELECT * FROM a WHERE k IN (1, $2, NULL)", "a0.k=1|$2|NULL"),
        ("SELECT * FROM a WHERE k = ANY (ARRAY[1, 2])", "a0.k=1|2"),
        ("SELECT * FROM a WHERE k = ANY ($1)", "a0.k=[$1]"),
        ("SELECT * FROM a WHERE k = 1 OR k IN (2, 3)", "(a0.k=1|a0.k=2|3)"),
        ("SELECT * FROM a WHERE (k = 1 OR x = 2) AND y = 3", "(a0.k=1|a0.x=2) a0.y=3"),
        ("SELECT * FROM a WHERE k = 1 OR y > 2", "(a0.k=1|a0.y>2)"),
        ("SELECT * FROM a WHERE NOT k = 1", ""),
        ("SELECT * FROM a WHERE k <> 1", ""),
        ("SELECT * FROM a WHERE k NOT IN (1)", ""),
        ("SELECT * FROM a WHERE k <= 20", "a0.k<=20"),
        ("SELECT * FROM a WHERE k BETWEEN 1 AND 1", "(a0.k>=1&a0.k<=1)"),
        ("SELECT * FROM a WHERE k = $1 + 1", "a0.k=$1Add1"),
        ("SELECT * FROM a WHERE k % 10 = 3", ""),
        ("SELECT * FROM a WHERE k IN (1, 1 + 1)", "a0.k=1|1Add1"),
        ("SELECT * FROM a WHERE (k = 5) IS TRUE", "a0.k=5"),
        ("SELECT * FROM a WHERE k OPERATOR(pg_catalog.=) 5", "a0.k=5"),
        ("SELECT * FROM a WHERE k OPERATOR(public.=) 5", ""),
        ("SELECT k = 5 FROM a", ""),
        ("SELECT count(*) FILTER (WHERE k = 5) FROM a", ""),
        ("SELECT * FROM a ORDER BY (k = 5)", ""),
        ("SELECT * FROM a GROUP BY k HAVING k = 5", ""),
        ("SELECT CASE WHEN k = 5 THEN 1 END FROM a", ""),
        // Set operations: each branch for itself.
        ("SELECT * FROM a WHERE k = 1 UNION SELECT * FROM a WHERE k = 2", "a0.k=1 a1.k=2"),
        ("SELECT * FROM a WHERE k = 1 UNION ALL SELECT * FROM a", "a0.k=1"),
        // Joins.
        ("SELECT * FROM a, b WHERE a.k = b.k AND a.k = 5", "a0.k=5 a0.k>b1.k b1.k>a0.k"),
        ("SELECT * FROM a JOIN b ON a.k = b.k WHERE b.k = 5", "b1.k=5 a0.k>b1.k b1.k>a0.k"),
        ("SELECT * FROM a JOIN b USING (k) WHERE k = 5", "a0.k=5 a0.k>b1.k b1.k>a0.k"),
        ("SELECT * FROM a LEFT JOIN b USING (k) WHERE k = 5", "a0.k=5 a0.k>b1.k"),
        ("SELECT * FROM a RIGHT JOIN b USING (k) WHERE k = 5", "b1.k=5 b1.k>a0.k"),
        ("SELECT * FROM a FULL JOIN b USING (k) WHERE k = 5", ""),
        ("SELECT * FROM a NATURAL JOIN c WHERE k = 5", "a0.k=5 a0.k>c1.k c1.k>a0.k"),
        (
            "SELECT * FROM a JOIN b USING (k) JOIN c USING (k) WHERE k = 5",
            "a0.k=5 a0.k>b1.k b1.k>a0.k a0.k>c2.k c2.k>a0.k",
        ),
        ("SELECT * FROM a LEFT JOIN b ON b.k = 5", "b1.k=5"),
        ("SELECT * FROM a LEFT JOIN b ON a.k = 5", "a0.k=5"),
        ("SELECT * FROM a LEFT JOIN b ON a.k = b.k", "a0.k>b1.k"),
        ("SELECT * FROM a LEFT JOIN b ON a.k = b.k WHERE b.k = 5", "b1.k=5 a0.k>b1.k"),
        ("SELECT * FROM a RIGHT JOIN b ON a.k = b.k AND b.k = 5", "b1.k=5 b1.k>a0.k"),
        ("SELECT * FROM a FULL JOIN b ON a.k = b.k AND b.k = 5", ""),
        (
            "SELECT * FROM a LEFT JOIN (b JOIN c ON b.k = c.k AND c.k = 5) ON a.x = b.x",
            "c2.k=5 b1.k>c2.k c2.k>b1.k a0.x>b1.x",
        ),
        ("SELECT * FROM (a LEFT JOIN b ON a.k = b.k) JOIN c ON b.k = c.k", "a0.k>b1.k b1.k>c2.k c2.k>b1.k"),
        ("SELECT * FROM (a JOIN b ON a.k = b.k) AS j WHERE k = 5", "a0.k>b1.k b1.k>a0.k"),
        ("SELECT * FROM (a JOIN b ON a.k = b.k) AS j JOIN c ON a.k = 5", "a0.k>b1.k b1.k>a0.k"),
        // Binding.
        ("SELECT * FROM a, b WHERE y = 1 AND z = 2", "a0.y=1 b1.z=2"),
        ("SELECT * FROM a, b WHERE k = 5", ""),
        ("SELECT * FROM a, nowhere WHERE y = 5", ""),
        ("SELECT * FROM nowhere WHERE k = 5", "nowhere0.k=5"),
        ("SELECT * FROM a AS q (k, x, y) WHERE k = 5", "a0.k=5"),
        ("SELECT * FROM a AS q (x, k, y) WHERE q.k = 5", "a0.x=5"),
        ("SELECT * FROM a, generate_series(1, 3) AS k WHERE k = 5", ""),
        ("SELECT * FROM a, (SELECT 5 AS k) s WHERE s.k = 5", ""),
        ("SELECT * FROM a, s2.a WHERE a.k = 5", ""),
        // Subqueries.
        ("SELECT * FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.k = 1)", "b1.k=1"),
        ("SELECT * FROM a WHERE a.k = 1 AND EXISTS (SELECT 1 FROM b WHERE b.k = a.k)", "a0.k=1 b1.k>a0.k a0.k>b1.k"),
        ("SELECT * FROM a WHERE EXISTS (SELECT 1 FROM b WHERE a.k = 1)", "a0.k=1"),
        ("SELECT * FROM a WHERE EXISTS (SELECT 1 FROM b WHERE y = 1)", "a0.y=1"),
        ("SELECT * FROM a WHERE EXISTS (SELECT 1 FROM b WHERE z = 1)", "b1.z=1"),
        ("SELECT * FROM a WHERE EXISTS (SELECT 1 FROM nowhere WHERE k = 1)", ""),
        ("SELECT * FROM a WHERE k IN (SELECT k FROM b WHERE b.k = 7)", "b1.k=7 b1.k>a0.k a0.k>b1.k"),
        ("SELECT * FROM (SELECT * FROM a WHERE k = 5) s", "a0.k=5"),
        ("SELECT * FROM (SELECT * FROM a) s WHERE k = 5", "a0.k=5"),
        ("SELECT * FROM a, LATERAL (SELECT * FROM b WHERE b.k = a.k) s WHERE a.k = 5", "a0.k=5 a0.k>b1.k"),
        ("SELECT * FROM a, (SELECT * FROM b WHERE b.k = a.k) s", ""),
        ("SELECT 1 FROM a WHERE EXISTS (SELECT 1 FROM b AS a, (c JOIN b ON a.k = c.k))", "a0.k>c2.k"),
        ("WITH a AS (SELECT 1 AS k) SELECT * FROM a WHERE k = 5", ""),
        ("WITH q AS (SELECT * FROM a WHERE k = 5) SELECT * FROM q", "a0.k=5"),
        ("WITH a AS (SELECT * FROM a WHERE k = 5) SELECT * FROM a WHERE k = 6", "a0.k=5 a0.k=6"),
        // A row that only seems to be wanted.
        ("SELECT * FROM a WHERE EXISTS (SELECT count(*) FROM b WHERE b.k = a.k AND b.k = 1)", "b1.k=1 a0.k>b1.k"),
        ("SELECT * FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.k = a.k LIMIT 0)", "a0.k>b1.k"),
        ("SELECT * FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.k = a.k GROUP BY ())", "a0.k>b1.k"),
        ("SELECT * FROM a WHERE EXISTS (SELECT (SELECT count(b.x)) FROM b WHERE b.k = a.k)", "a0.k>b1.k"),
        ("SELECT * FROM a WHERE NOT EXISTS (SELECT 1 FROM b WHERE b.k = a.k)", "a0.k>b1.k"),
        ("SELECT * FROM a WHERE a.x = 1 OR EXISTS (SELECT 1 FROM b WHERE b.k = a.k)", "a0.k>b1.k"),
        ("SELECT * FROM a WHERE k NOT IN (SELECT k FROM b)", ""),
        ("SELECT * FROM a WHERE k <> ALL (SELECT k FROM b)", ""),
        ("SELECT * FROM a WHERE k = (SELECT k FROM b WHERE b.k = 3)", "b1.k=3 b1.k>a0.k"),
        ("SELECT * FROM a WHERE k = (SELECT count(*) FROM b)", ""),
        // Conditions on a query's columns reach its relations, unless one row there decides on others.
        ("SELECT * FROM (SELECT * FROM a LIMIT 5) s WHERE k = 5", ""),
        ("SELECT * FROM (SELECT *, count(*) OVER () FROM a) s WHERE k = 5", ""),
        ("SELECT * FROM (SELECT DISTINCT ON (x) * FROM a) s WHERE k = 5", ""),
        ("SELECT * FROM (SELECT DISTINCT k FROM a) s WHERE k = 5", "a0.k=5"),
        ("SELECT * FROM (SELECT k, count(*) FROM a GROUP BY k) s WHERE k = 5", "a0.k=5"),
        ("SELECT * FROM (SELECT x, count(*) FROM a GROUP BY x, k) s WHERE x = 5", "a0.x=5"),
        ("SELECT * FROM (SELECT k, count(*) FROM a GROUP BY ROLLUP (k)) s WHERE k = 5", ""),
        ("SELECT * FROM (SELECT k, random() FROM a) s WHERE k = 5", ""),
        ("SELECT * FROM (SELECT k FROM a FOR UPDATE) s WHERE k = 5", ""),
        ("SELECT * FROM (SELECT k FROM a UNION SELECT z FROM b) s WHERE k = 5", "a0.k/b1.z=5"),
        ("SELECT * FROM (SELECT k FROM a UNION ALL SELECT 5) s WHERE k = 5", ""),
        ("SELECT * FROM (SELECT k FROM a EXCEPT SELECT k FROM b) s WHERE k = 5", "a0.k/b1.k=5"),
        ("SELECT * FROM (SELECT k, x FROM a UNION SELECT k, x FROM b LIMIT 1) s WHERE k = 5", ""),
        ("SELECT * FROM (SELECT k AS j FROM a) s JOIN b ON s.j = b.k", "a0.k>b1.k b1.k>a0.k"),
        ("SELECT * FROM (SELECT k AS j FROM a LIMIT 1) s JOIN b ON s.j = b.k", "a0.k>b1.k"),
        ("SELECT * FROM (SELECT k + 1 AS k FROM a) s WHERE k = 5", ""),
        ("SELECT * FROM (SELECT k FROM a) s (j) WHERE j = 5", "a0.k=5"),
        ("SELECT * FROM a, LATERAL (SELECT a.k AS o, b.k FROM b) s WHERE s.o = 5 AND s.k = 6", "b1.k=6"),
        (
            "WITH q AS (SELECT * FROM a) SELECT * FROM q JOIN q r ON q.k = r.k WHERE q.k = 5",
            "a0.k=5 a0.k>a1.k a1.k>a0.k",
        ),
        ("WITH q (j) AS (SELECT k FROM a) SELECT * FROM q WHERE j = 5", "a0.k=5"),
        ("WITH RECURSIVE q AS (SELECT k FROM a UNION SELECT k FROM q) SELECT * FROM q WHERE k = 5", ""),
        ("WITH q AS (SELECT k FROM a), r AS (SELECT k FROM q) SELECT * FROM r WHERE k = 5", "a0.k=5"),
        ("WITH a AS (SELECT k FROM a), r AS (SELECT k FROM a) SELECT 1", ""),
        // Other comparisons.
        ("SELECT * FROM a WHERE k IS NOT DISTINCT FROM 5", "a0.k==5"),
        ("SELECT * FROM a WHERE k IS DISTINCT FROM 5", ""),
        ("SELECT * FROM a WHERE NOT (k <> 5 OR x > 3)", "(a0.k=5&a0.x<=3)"),
        ("SELECT * FROM a WHERE NOT (k <> 5 AND x > 3)", "(a0.k=5|a0.x<=3)"),
        ("SELECT * FROM a WHERE (k <> 5) IS FALSE", "a0.k=5"),
        ("SELECT * FROM a WHERE (k = 5) IS NOT FALSE", ""),
        ("SELECT * FROM a WHERE NOT (k NOT IN (5, 6))", "a0.k=5|6"),
        ("SELECT * FROM a WHERE NOT k <> ALL (ARRAY[5])", "a0.k=5"),
        ("SELECT * FROM a WHERE k BETWEEN SYMMETRIC 9 AND 1", "((a0.k>=9&a0.k<=1)|(a0.k>=1&a0.k<=9))"),
        ("SELECT * FROM a WHERE k NOT BETWEEN 9 AND 1", ""),
        ("SELECT * FROM a WHERE 5 >= k", "a0.k<=5"),
        ("SELECT * FROM a WHERE (k, x) = (5, 6)", "(a0.k=5&a0.x=6)"),
        ("SELECT * FROM a WHERE (k, x) < (5, 6)", "a0.k<=5"),
        ("SELECT * FROM a WHERE (k, x) <> (5, 6)", ""),
        ("SELECT * FROM a WHERE (k, x) IN ((5, 6), (7, y))", "((a0.k=5&a0.x=6)|a0.k=7)"),
        ("SELECT * FROM a, b WHERE (a.k, a.x) = (b.k, 5)", "a0.x=5 a0.k>b1.k b1.k>a0.k"),
        ("SELECT * FROM a WHERE (k, x) IN (SELECT k, z FROM b)", "b1.k>a0.k a0.k>b1.k b1.z>a0.x a0.x>b1.z"),
        ("SELECT * FROM a WHERE false", "()"),
        ("SELECT * FROM a WHERE k = 5 OR NULL", "(a0.k=5|())"),
        ("SELECT * FROM a WHERE k::int8 = 5", "a0.k=5"),
        ("SELECT * FROM a WHERE k::int4 = 5", ""),
        ("SELECT * FROM a WHERE k::text = '5'", ""),
        ("SELECT * FROM a WHERE k = 'x' || 'y'", "a0.k=x||y"),
        ("SELECT * FROM a WHERE k = 5 / 2", ""),
        ("SELECT * FROM a WHERE k = ANY ('{1,2}'::int4[])", "a0.k=[{1,2}::int4]"),
        ("SELECT * FROM a WHERE k = ANY (ARRAY[1, $1]::int8[])", "a0.k=1::int8|$1::int8"),
        ("SELECT * FROM a WHERE k = ALL (ARRAY[1])", ""),
        ("SELECT * FROM a WHERE k = NULL::int8", "a0.k=NULL::int8"),
        ("WITH RECURSIVE a AS (SELECT * FROM a WHERE k = 5) SELECT * FROM a", ""),
        ("WITH a AS (SELECT 1 AS k) SELECT * FROM public.a WHERE k = 5", "a0.k=5"),
        // Writes.
        ("UPDATE a SET x = 1 WHERE k = 5", "a0.k=5"),
        ("UPDATE a q SET x = 1 WHERE q.k = 5", "a0.k=5"),
        ("UPDATE a SET x = 1 FROM b WHERE a.k = b.k AND b.k = 5", "b1.k=5 a0.k>b1.k b1.k>a0.k"),
        ("DELETE FROM a USING b WHERE a.k = b.k AND a.k = 5", "a0.k=5 a0.k>b1.k b1.k>a0.k"),
        ("DELETE FROM a WHERE k = 5 RETURNING k = 6", "a0.k=5"),
        ("INSERT INTO a SELECT * FROM b WHERE b.k = 5", "b1.k=5"),
        ("INSERT INTO a VALUES (1) ON CONFLICT (k) DO UPDATE SET x = 2 WHERE a.k = 5", ""),
    ];
    let wrong: Vec<String> = cases
        .iter()
        .map(|(text, expected)| (text, expected, inference(text)))
        .filter(|(_, expected, found)| **expected != found.as_str())
        .map(|(text, expected, found)| format!("{text}\n  expected {expected}\n  found    {found}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn leaves_of(statement: &Statement) -> Leaves {
    match statement.makes {
        makes if makes.intersects(Facets::INDELIBLE) => Leaves::Unknowable,
        makes if makes.contains(Facets::SHOWN) => Leaves::Visible,
        _ => Leaves::Nothing,
    }
}

#[test]
fn what_code_leaves() {
    use Effects as E;
    let cases: &[(&str, Leaves, Effects)] = &[
        ("SELECT lower('A') FROM a", Leaves::Nothing, E::empty()),
        ("SELECT my_immutable(1)", Leaves::Nothing, E::empty()),
        ("SELECT my_random(1)", Leaves::Nothing, E::ADVANCES_SEQUENCE),
        ("SELECT public.my_stable(1)", Leaves::Visible, E::empty()),
        ("SELECT my_dynamic(1)", Leaves::Unknowable, E::SEQUENCES),
        ("SELECT nobody_knows(1)", Leaves::Unknowable, E::SEQUENCES),
        ("SELECT a.my_stable FROM a", Leaves::Visible, E::empty()),
        ("SELECT setseed(0.1)", Leaves::Unknowable, E::SEQUENCES),
        ("SELECT 1 <-> 2", Leaves::Nothing, E::empty()),
        ("TABLE vf", Leaves::Visible, E::empty()),
        ("SELECT * FROM trg", Leaves::Nothing, E::empty()),
        ("UPDATE trg SET k = 1", Leaves::Visible, E::empty()),
        ("DO 'BEGIN PERFORM 1; END'", Leaves::Nothing, E::empty()),
        ("DO 'BEGIN PERFORM my_stable(1); END'", Leaves::Visible, E::empty()),
        ("DO 'BEGIN INSERT INTO trg VALUES (1); END'", Leaves::Visible, E::empty()),
        ("DO 'BEGIN INSERT INTO c VALUES (1); END'", Leaves::Nothing, E::ADVANCES_SEQUENCE),
        ("DO LANGUAGE plpython3u 'pass'", Leaves::Unknowable, E::SEQUENCES),
        ("CALL my_stable(1)", Leaves::Visible, E::empty()),
        ("LOAD 'x'", Leaves::Unknowable, E::SEQUENCES),
        ("INSERT INTO a VALUES (1)", Leaves::Nothing, E::empty()),
        ("INSERT INTO c VALUES (1)", Leaves::Nothing, E::ADVANCES_SEQUENCE),
        ("COPY c FROM stdin", Leaves::Nothing, E::ADVANCES_SEQUENCE),
        ("UPDATE c SET w = 1", Leaves::Nothing, E::empty()),
        ("UPDATE c SET w = DEFAULT", Leaves::Nothing, E::ADVANCES_SEQUENCE),
        ("SELECT currval('s'), lastval()", Leaves::Nothing, E::READS_SEQUENCE),
        ("SELECT setval('s', nextval('s'))", Leaves::Nothing, E::ADVANCES_SEQUENCE),
        ("SELEKT 1", Leaves::Unknowable, E::SEQUENCES),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT my_dynamic(1)'", Leaves::Nothing, E::empty()),
    ];
    for (text, leaves, sequences) in cases {
        let statement = one(text);
        assert_eq!((leaves_of(&statement), statement.effects & E::SEQUENCES), (*leaves, *sequences), "{text}");
    }
}

#[test]
fn what_a_definition_brings() {
    let numbered = CodeClass { numbers_rows: true, ..CodeClass::default() };
    let visible = CodeClass { leaves: Leaves::Visible, ..CodeClass::default() };
    let cases = [
        ("CREATE TABLE t (n int)", CodeClass::default()),
        ("CREATE TABLE t (n int GENERATED ALWAYS AS IDENTITY)", numbered),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", CodeClass::default()),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT my_stable(1)'", visible),
        ("CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION my_stable()", visible),
        ("CREATE VIEW w AS SELECT my_stable(1)", visible),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'x', 'y'", CodeClass::UNKNOWABLE),
        ("CREATE EXTENSION tablefunc", CodeClass::UNKNOWABLE),
        ("ALTER TABLE trg RENAME TO plain", CodeClass::UNKNOWABLE),
        ("SELECT 1", CodeClass::default()),
    ];
    for (text, defines) in cases {
        assert_eq!(one(text).defines, defines, "{text}");
    }
}

#[test]
fn effects_and_state() {
    use Effects as E;
    const NONE: Facets = Facets::empty();
    let unknowable = Facets::SHOWN | Facets::HIDDEN;
    let cases: &[(&str, Effects, Facets)] = &[
        ("SELECT 1", E::empty(), NONE),
        ("SELECT lower('A'), 'x' || 'y'", E::empty(), NONE),
        ("SELECT trim('A')", E::empty(), NONE),
        ("SELECT now(), current_date", E::STABLE, NONE),
        ("SELECT random()", E::VOLATILE, NONE),
        ("SELECT x FROM a", E::empty(), NONE),
        ("SELECT x FROM a FOR UPDATE", E::LOCKS, NONE),
        ("SELECT count(*) FROM a", E::SHAPES_RESULT, NONE),
        ("SELECT x FROM a LIMIT 1", E::SHAPES_RESULT, NONE),
        ("SELECT DISTINCT x FROM a", E::SHAPES_RESULT, NONE),
        ("SELECT * FROM u", E::PRIMARY_ONLY, NONE),
        ("SELECT * FROM nowhere", E::PRIMARY_ONLY, NONE),
        ("SELECT * FROM v", E::PRIMARY_ONLY, NONE),
        ("SELECT * FROM vf", E::PRIMARY_ONLY.union(E::OPAQUE), Facets::SHOWN),
        ("SELECT * FROM trg", E::empty(), NONE),
        ("SELECT * FROM rls", E::OPAQUE, Facets::SHOWN),
        ("DELETE FROM trg", E::OPAQUE.union(E::WRITES_ROWS), Facets::SHOWN),
        ("SELECT * FROM pg_class", E::SYSTEM_RELATIONS, NONE),
        ("SELECT * FROM pg_locks", E::SYSTEM_RELATIONS.union(E::PRIMARY_ONLY), NONE),
        ("SELECT * FROM pg_stat_activity", E::SYSTEM_RELATIONS.union(E::PRIMARY_ONLY), NONE),
        ("SELECT * FROM information_schema.tables", E::SYSTEM_RELATIONS, NONE),
        ("SELECT my_immutable(1)", E::OPAQUE, NONE),
        ("SELECT my_stable(1)", E::OPAQUE, Facets::SHOWN),
        ("SELECT unheard_of(1)", E::OPAQUE, unknowable),
        ("SELECT public.lower('A')", E::OPAQUE, unknowable),
        ("SELECT pg_catalog.lower('A')", E::empty(), NONE),
        ("SELECT a.my_stable FROM a", E::OPAQUE, Facets::SHOWN),
        ("SELECT (a).my_stable FROM a", E::OPAQUE, Facets::SHOWN),
        ("SELECT 1 <-> 2", E::OPAQUE, NONE),
        ("SELECT 1 OPERATOR(public.+) 2", E::OPAQUE, NONE),
        (
            "SELECT * FROM query_to_xml('select 1', true, true, '')",
            E::OPAQUE.union(E::VOLATILE).union(E::SHAPES_RESULT),
            unknowable,
        ),
        ("SELECT JSON_VALUE('{}', '$')", E::OPAQUE, unknowable),
        ("SELECT nextval('s')", E::VOLATILE.union(E::PRIMARY_ONLY).union(E::HOME_ONLY), NONE),
        ("SELECT set_config('a.b', '1', true)", E::VOLATILE.union(E::PRIMARY_ONLY), NONE),
        ("SELECT pg_advisory_lock(1)", E::VOLATILE.union(E::PRIMARY_ONLY).union(E::HOME_ONLY), Facets::LOCKS),
        ("SELECT pg_advisory_xact_lock(1)", E::VOLATILE.union(E::PRIMARY_ONLY).union(E::HOME_ONLY), NONE),
        ("SELECT txid_current()", E::STABLE.union(E::PRIMARY_ONLY), NONE),
        ("SELECT 'x'::regclass", E::STABLE, NONE),
        ("SELECT 'x'::mood", E::USER_TYPE, NONE),
        ("WITH d AS (DELETE FROM a RETURNING *) SELECT * FROM d", E::WRITES_ROWS, NONE),
        ("SELECT * INTO TEMP q FROM a", E::DDL.union(E::WRITES_ROWS), Facets::TEMPORARY),
        ("CREATE TEMP TABLE q (i int)", E::DDL, Facets::TEMPORARY),
        ("CREATE TABLE pg_temp.q (i int)", E::DDL, Facets::TEMPORARY),
        ("CREATE TEMP VIEW q AS SELECT 1", E::DDL, Facets::TEMPORARY),
        ("CREATE TEMP SEQUENCE q", E::DDL, Facets::TEMPORARY),
        ("SET work_mem = '1MB'", E::empty(), Facets::SETTINGS),
        ("SET LOCAL work_mem = '1MB'", E::empty(), NONE),
        ("SET TRANSACTION READ ONLY", E::empty(), NONE),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", E::empty(), Facets::SETTINGS),
        ("SET CONSTRAINTS ALL DEFERRED", E::empty(), NONE),
        ("SET LOCAL app.tenant = '1'", E::empty(), Facets::SETTINGS),
        ("SET SEED TO 0.5", E::empty(), Facets::SETTINGS | Facets::HIDDEN),
        ("RESET work_mem", E::empty(), Facets::SETTINGS),
        ("RESET ALL", E::empty(), Facets::SETTINGS),
        ("SHOW work_mem", E::PRIMARY_ONLY, NONE),
        ("PREPARE p AS SELECT 1", E::empty(), NONE),
        ("PREPARE p AS DELETE FROM a", E::WRITES_ROWS, NONE),
        ("EXECUTE p", E::WRITES_ROWS, NONE),
        ("EXPLAIN EXECUTE p", E::WRITES_ROWS, NONE),
        ("TABLE pg_prepared_statements", E::SYSTEM_RELATIONS.union(E::PRIMARY_ONLY).union(E::READS_STATEMENTS), NONE),
        ("DEALLOCATE p", E::empty(), NONE),
        ("DISCARD ALL", E::empty(), NONE),
        ("LISTEN c", E::empty(), Facets::CHANNELS),
        ("UNLISTEN c", E::empty(), NONE),
        ("NOTIFY c", E::empty(), NONE),
        ("DECLARE c CURSOR FOR SELECT 1", E::empty(), NONE),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", E::empty(), Facets::CURSORS),
        ("LOAD 'auto_explain'", E::OPAQUE.union(E::WRITES_ROWS), unknowable | Facets::LIBRARIES),
        ("DO $$ begin end $$", E::OPAQUE.union(E::WRITES_ROWS), NONE),
        ("CALL p()", E::OPAQUE.union(E::WRITES_ROWS), unknowable),
        ("EXPLAIN ANALYZE DELETE FROM a", E::WRITES_ROWS, NONE),
        ("COPY a FROM STDIN", E::WRITES_ROWS, NONE),
        ("COPY (SELECT * FROM a) TO STDOUT", E::empty(), NONE),
        ("SELEKT 1", E::OPAQUE.union(E::WRITES_ROWS), Facets::SHOWN | Facets::UNREADABLE),
    ];
    for (text, effects, makes) in cases {
        let statement = one(text);
        let shown = statement.effects - E::SEQUENCES - E::NOTIFIES;
        assert_eq!((shown, statement.makes), (*effects, *makes), "{text}");
    }
}

#[test]
fn what_may_notify() {
    assert!(one("CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$BEGIN NOTIFY c; END$$").defines.notifies);
    assert!(!one("CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$BEGIN PERFORM 1; END$$").defines.notifies);
    let cases = [
        ("NOTIFY c", true),
        ("SELECT pg_notify('c', x) FROM a", true),
        ("DO $$BEGIN NOTIFY c; END$$", true),
        ("DO $$BEGIN PERFORM 1; END$$", false),
        ("CALL p()", true),
        ("EXECUTE p", true),
        ("SELECT unheard_of(1)", true),
        ("SELEKT 1", true),
        ("SELECT x FROM a", false),
        ("INSERT INTO a VALUES (1)", false),
        ("LISTEN c", false),
        ("COMMIT", false),
    ];
    for (text, notifies) in cases {
        assert_eq!(one(text).effects.contains(Effects::NOTIFIES), notifies, "{text}");
    }
}

#[test]
fn what_is_executed() {
    for (text, name) in [
        ("EXECUTE p(1)", Some("p")),
        ("EXECUTE \"A b\"", Some("A b")),
        ("EXPLAIN ANALYZE EXECUTE P", Some("p")),
        ("CREATE TABLE made AS EXECUTE p", Some("p")),
        ("PREPARE p AS SELECT 1", None),
        ("SELECT 1", None),
    ] {
        assert_eq!(one(text).executes.as_deref(), name, "{text}");
    }
    assert_eq!(one("PREPARE \"A b\" (int) AS SELECT $1").kind, StatementKind::Prepare { name: "A b".to_owned() });
}

#[test]
fn what_may_end() {
    for (text, ends) in [
        ("SELECT 1", Facets::empty()),
        ("DROP TABLE a", Facets::TEMPORARY),
        ("SELECT pg_advisory_unlock(1)", Facets::LOCKS),
        ("CLOSE c", Facets::CURSORS),
        ("DEALLOCATE p", Facets::STATEMENTS),
        ("UNLISTEN c", Facets::CHANNELS),
        ("DISCARD TEMP", Facets::TEMPORARY),
        ("DISCARD PLANS", Facets::empty()),
        ("DISCARD ALL", Facets::SHOWN),
    ] {
        assert_eq!(one(text).ends, ends, "{text}");
    }
}

#[test]
fn names_in_set_config() {
    let literal = |slot| Operand::Literal { slot, negated: false };
    for (text, name, value, local) in [
        ("SELECT set_config('app.tenant', '7', false)", literal(0), literal(1), Some(false)),
        ("SELECT set_config('app.tenant', $1, true)", literal(0), Operand::Parameter(1), Some(true)),
        ("SELECT 'x', pg_catalog.set_config($1, 'y', x) FROM a", Operand::Parameter(1), literal(1), None),
        ("SELECT set_config('app.' || lower('T'), '7', false)", Operand::Computed, literal(2), Some(false)),
    ] {
        assert_eq!(one(text).set_configs, [SetConfig { name, value, local }], "{text}");
    }
}

#[test]
fn kinds() {
    use crate::sql::facts::{DiscardTarget, Isolation, TransactionCommand as T};
    use StatementKind as K;
    let set = |name: &str, local| K::Set { name: name.into(), local };
    let cases = [
        ("VALUES (1)", K::Select),
        ("TABLE a", K::Select),
        ("INSERT INTO a VALUES (1)", K::Insert),
        ("UPDATE a SET x = 1", K::Update),
        ("DELETE FROM a", K::Delete),
        ("MERGE INTO a USING b ON a.k = b.k WHEN MATCHED THEN DELETE", K::Merge),
        ("COPY a FROM STDIN", K::CopyFrom),
        ("COPY a TO STDOUT", K::CopyTo),
        ("EXPLAIN SELECT 1", K::Explain { analyze: false, formatted: false }),
        ("EXPLAIN (FORMAT json) SELECT 1", K::Explain { analyze: false, formatted: true }),
        ("EXPLAIN (ANALYZE, BUFFERS) SELECT 1", K::Explain { analyze: true, formatted: false }),
        ("BEGIN", K::Transaction(T::Begin { isolation: None, read_only: false })),
        (
            "START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
            K::Transaction(T::Begin { isolation: Some(Isolation::RepeatableRead), read_only: true }),
        ),
        (
            "BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE",
            K::Transaction(T::Begin { isolation: Some(Isolation::Serializable), read_only: false }),
        ),
        ("COMMIT AND CHAIN", K::Transaction(T::Commit { chain: true })),
        ("END", K::Transaction(T::Commit { chain: false })),
        ("ABORT", K::Transaction(T::Rollback { chain: false })),
        ("SAVEPOINT s", K::Transaction(T::Savepoint("s".into()))),
        ("RELEASE s", K::Transaction(T::Release("s".into()))),
        ("ROLLBACK TO s", K::Transaction(T::RollbackTo("s".into()))),
        ("PREPARE TRANSACTION 'g'", K::Transaction(T::Prepare)),
        ("COMMIT PREPARED 'g'", K::Transaction(T::FinishPrepared { commit: true, gid: "g".into() })),
        ("SET search_path TO x", set("search_path", false)),
        ("SET ROLE x", set("role", false)),
        ("SET LOCAL ROLE x", set("role", true)),
        ("SET SESSION AUTHORIZATION x", set("session_authorization", false)),
        ("SET TIME ZONE 'UTC'", set("timezone", false)),
        ("SET NAMES 'utf8'", set("client_encoding", false)),
        ("SET TRANSACTION READ ONLY", set("transaction", true)),
        ("RESET x", K::Reset { name: "x".into() }),
        ("SET x TO DEFAULT", K::Reset { name: "x".into() }),
        ("SET LOCAL x TO DEFAULT", set("x", true)),
        ("RESET ALL", K::ResetAll),
        ("SHOW x", K::Show),
        ("DISCARD PLANS", K::Discard(DiscardTarget::Plans)),
        ("DEALLOCATE ALL", K::Deallocate { name: None }),
        ("DEALLOCATE p", K::Deallocate { name: Some("p".into()) }),
        ("FETCH ALL FROM c", K::Fetch),
        ("MOVE c", K::Fetch),
        ("CLOSE c", K::CloseCursor),
        ("LOCK TABLE a", K::Lock),
        ("CREATE INDEX CONCURRENTLY i ON a (k)", K::Standalone),
        ("CREATE INDEX i ON a (k)", K::Ddl),
        ("DROP INDEX CONCURRENTLY i", K::Standalone),
        ("VACUUM a", K::Standalone),
        ("ANALYZE a", K::Ddl),
        ("CREATE DATABASE d", K::Standalone),
        ("ALTER SYSTEM SET x = 1", K::Standalone),
        ("REINDEX TABLE a", K::Ddl),
        ("REINDEX TABLE CONCURRENTLY a", K::Standalone),
        ("REINDEX DATABASE d", K::Standalone),
        ("CLUSTER", K::Standalone),
        ("ALTER TYPE m ADD VALUE 'x'", K::Ddl),
        ("GRANT SELECT ON a TO x", K::Ddl),
        ("TRUNCATE a", K::Ddl),
    ];
    for (text, kind) in cases {
        assert_eq!(one(text).kind, kind, "{text}");
    }
}

#[test]
fn unknown_parts_are_named() {
    let cases = [
        ("EXPLAIN MERGE INTO a USING b ON a.k = b.k WHEN MATCHED THEN DELETE", "EXPLAIN of MERGE"),
        ("WITH d AS (INSERT INTO a VALUES (1)) INSERT INTO b VALUES (1)", "more than one INSERT"),
        ("SELECT 1 INTO q UNION SELECT 2", "a table made from a query"),
        ("CREATE MATERIALIZED VIEW q AS SELECT 1", "a table made from a query"),
        ("SELECT JSON_VALUE('{}', '$')", "JsonFuncExpr"),
        ("SELEKT", "text that PostgreSQL 18's grammar does not know"),
    ];
    for (text, expected) in cases {
        assert_eq!(one(text).unknown.as_deref(), Some(expected), "{text}");
    }
}

#[test]
fn inserts() {
    let text = "INSERT INTO a (x, k) VALUES ($1, 5), (DEFAULT, x + 1) ON CONFLICT (k) DO UPDATE SET x = excluded.x";
    let statement = one(text);
    let shape = statement.insert.expect("insert");
    assert_eq!(shape.columns, Some(vec!["x".to_owned(), "k".to_owned()]));
    assert!(shape.upsert);
    let expected = vec![
        vec![Operand::Parameter(1), Operand::Literal { slot: 0, negated: false }],
        vec![Operand::Default, Operand::Computed],
    ];
    assert_eq!(shape.source, InsertSource::Values(expected));
    assert_eq!(statement.assigned.len(), 1);
    assert_eq!(one("INSERT INTO a DEFAULT VALUES").insert.map(|shape| shape.source), Some(InsertSource::DefaultValues));
    let selected = |text: &str| match one(text).insert.expect("insert").source {
        InsertSource::Select(selected) => selected,
        other => panic!("{other:?}"),
    };
    let from = |column: &str| Selected::From(vec![ColumnUse { relation: 1, column: column.into() }]);
    assert_eq!(selected("INSERT INTO a TABLE b"), Some(vec![from("k"), from("x"), from("z")]));
    let literal = Selected::Value(Operand::Literal { slot: 0, negated: false });
    let computed = Selected::Value(Operand::Computed);
    assert_eq!(selected("INSERT INTO a SELECT 5, z, lower(x) FROM b"), Some(vec![literal, from("z"), computed]));
    assert_eq!(selected("INSERT INTO a SELECT * FROM b JOIN c USING (k)"), None);
    assert_eq!(selected("INSERT INTO a SELECT * FROM nowhere"), None);
}

#[test]
fn parameter_contexts() {
    let contexts = |text: &str| {
        let uses = one(text).parameters;
        uses.iter().map(|used| format!("{}:{:?}", used.number, used.context)).collect::<Vec<_>>().join(" ")
    };
    let column = |number: u16, name: &str| format!("{number}:Column(ColumnUse {{ relation: 0, column: {name:?} }})");
    assert_eq!(contexts("SELECT * FROM a WHERE k = $1"), column(1, "k"));
    assert_eq!(contexts("SELECT * FROM a WHERE x = $1 AND k = $1"), [column(1, "x"), column(1, "k")].join(" "));
    assert_eq!(contexts("SELECT * FROM a WHERE k IN ($1, 5)"), column(1, "k"));
    assert_eq!(contexts("SELECT * FROM a WHERE k IN ($1, 5.5)"), "1:Unknown");
    assert_eq!(contexts("SELECT * FROM a WHERE k = $1::int4"), "1:Cast(\"int4\")");
    assert_eq!(contexts("SELECT $1"), "1:Unknown");
    assert_eq!(contexts("INSERT INTO a VALUES ($1)"), "1:Position(0)");
    assert_eq!(contexts("INSERT INTO a (k) VALUES ($1)"), column(1, "k"));
}

#[test]
fn several_statements_know_their_places() {
    let text = "SELECT 1; UPDATE a SET x = 2 ;; ";
    let facts = analyze(text, true, &schema());
    let texts: Vec<_> = facts.statements.iter().map(|statement| statement.text(text).trim()).collect();
    assert_eq!(texts, ["SELECT 1", "UPDATE a SET x = 2"]);
    assert!(analyze(" -- nothing", true, &schema()).statements.is_empty());
}

#[test]
fn table_definitions() {
    let ddl = |text: &str| format!("{:?}", one(text).ddl.expect(text));
    let create = ddl("CREATE TABLE t (id bigserial PRIMARY KEY, k int8 NOT NULL UNIQUE, n int DEFAULT nextval('s'), \
         g int GENERATED ALWAYS AS IDENTITY, UNIQUE (k, n), EXCLUDE USING gist (k WITH =, r WITH &&), \
         FOREIGN KEY (k) REFERENCES b (k) ON UPDATE CASCADE)");
    for part in [
        "sequences: [\"id\", \"n\", \"g\"]",
        "Uniqueness { kind: \"PRIMARY KEY\", columns: [\"id\"] }",
        "Uniqueness { kind: \"UNIQUE\", columns: [\"k\"] }",
        "Uniqueness { kind: \"UNIQUE\", columns: [\"k\", \"n\"] }",
        "Uniqueness { kind: \"EXCLUDE\", columns: [\"k\"] }",
        "assigns: true",
        "inexplicable: None",
    ] {
        assert!(create.contains(part), "{part} in {create}");
    }
    for text in [
        "CREATE TABLE t (LIKE a)",
        "CREATE TABLE t () INHERITS (a)",
        "CREATE TABLE t PARTITION OF a DEFAULT",
        "CREATE TABLE t (k int) PARTITION BY HASH (k)",
        "CREATE TABLE t OF mytype",
        "ALTER TABLE a ATTACH PARTITION b DEFAULT",
        "ALTER TABLE a INHERIT b",
    ] {
        assert!(ddl(text).contains("inexplicable: Some"), "{text}");
    }
    assert!(ddl("ALTER TABLE a RENAME COLUMN k TO q").contains("touched_columns: [\"k\", \"q\"]"));
    assert!(ddl("ALTER TABLE a ALTER k TYPE text").contains("touched_columns: [\"k\"]"));
    assert!(ddl("ALTER TABLE a ADD COLUMN n serial").contains("sequences: [\"n\"]"));
    assert!(ddl("CREATE UNIQUE INDEX ON a (k, lower(x))").contains("columns: [\"k\"]"));
    assert_eq!(ddl("ALTER TABLE a RENAME TO b"), "RenameTable");
    assert!(one("ALTER TABLE a ADD COLUMN t timestamptz DEFAULT now()").effects.contains(Effects::STABLE));
}
