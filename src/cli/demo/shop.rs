//! The shop's tables and its made-up rows. The rows of a customer depend on nothing but the customer's number.

use std::fmt::Write;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

pub const CUSTOMERS: i64 = 2_000;
pub const PRODUCTS: i64 = (CATEGORIES.len() * QUALITIES.len() * THINGS) as i64;

/// How many kinds of thing each category has.
const THINGS: usize = 5;

/// The tables, in an order that their foreign keys allow. Every key begins with the customer, whose shard owns the row.
pub const SCHEMA: [&str; 4] = [
    "CREATE TABLE IF NOT EXISTS customers (
    customer_id bigint PRIMARY KEY,
    name text NOT NULL,
    email text NOT NULL,
    country text NOT NULL,
    city text NOT NULL,
    created_at timestamptz NOT NULL
)",
    "CREATE TABLE IF NOT EXISTS products (
    product_id bigint PRIMARY KEY,
    name text NOT NULL,
    category text NOT NULL,
    price numeric(10,2) NOT NULL
)",
    "CREATE TABLE IF NOT EXISTS orders (
    customer_id bigint NOT NULL REFERENCES customers,
    order_id bigint NOT NULL,
    ordered_at timestamptz NOT NULL,
    status text NOT NULL,
    PRIMARY KEY (customer_id, order_id)
)",
    "CREATE TABLE IF NOT EXISTS order_lines (
    customer_id bigint NOT NULL,
    order_id bigint NOT NULL,
    line_no integer NOT NULL,
    product_id bigint NOT NULL REFERENCES products,
    quantity integer NOT NULL,
    unit_price numeric(10,2) NOT NULL,
    PRIMARY KEY (customer_id, order_id, line_no),
    FOREIGN KEY (customer_id, order_id) REFERENCES orders
)",
];

const FIRST_NAMES: [&str; 32] = [
    "Ada", "Amara", "Ana", "Anton", "Beatriz", "Björn", "Chiara", "Daniel", "Elif", "Emma", "Fatima", "Felix", "Grace",
    "Hana", "Hugo", "Ines", "Ivan", "Jonas", "Kenji", "Lena", "Liam", "Lucía", "Malik", "Mei", "Nina", "Noah", "Olga",
    "Priya", "Rosa", "Samuel", "Thandi", "Zoë",
];

const LAST_NAMES: [&str; 32] = [
    "Abebe",
    "Almeida",
    "Andersson",
    "Bauer",
    "Bianchi",
    "Costa",
    "Dubois",
    "Evans",
    "Fischer",
    "García",
    "Haddad",
    "Hansen",
    "Ivanova",
    "Jansen",
    "Kaya",
    "Kim",
    "Kowalska",
    "Laurent",
    "Lindqvist",
    "Mbeki",
    "Moreau",
    "Nakamura",
    "Novák",
    "O'Brien",
    "Okafor",
    "Patel",
    "Rossi",
    "Schmidt",
    "Silva",
    "Suzuki",
    "Virtanen",
    "Wang",
];

const CITIES: [(&str, &str); 20] = [
    ("Vienna", "Austria"),
    ("Brussels", "Belgium"),
    ("São Paulo", "Brazil"),
    ("Toronto", "Canada"),
    ("Prague", "Czechia"),
    ("Copenhagen", "Denmark"),
    ("Helsinki", "Finland"),
    ("Lyon", "France"),
    ("Berlin", "Germany"),
    ("Hamburg", "Germany"),
    ("Mumbai", "India"),
    ("Milan", "Italy"),
    ("Osaka", "Japan"),
    ("Rotterdam", "Netherlands"),
    ("Lagos", "Nigeria"),
    ("Kraków", "Poland"),
    ("Lisbon", "Portugal"),
    ("Seville", "Spain"),
    ("Bristol", "United Kingdom"),
    ("Portland", "United States"),
];

const QUALITIES: [&str; 5] = ["Classic", "Compact", "Everyday", "Fine", "Sturdy"];

const CATEGORIES: [(&str, [&str; THINGS]); 8] = [
    ("books", ["atlas", "cookbook", "dictionary", "field guide", "notebook"]),
    ("garden", ["hose", "lantern", "planter", "rake", "watering can"]),
    ("kitchen", ["bread knife", "cutting board", "kettle", "pan", "teapot"]),
    ("music", ["harmonica", "metronome", "music stand", "tuner", "ukulele"]),
    ("office", ["desk lamp", "fountain pen", "letter tray", "ruler", "stapler"]),
    ("outdoor", ["backpack", "compass", "flask", "hammock", "headlamp"]),
    ("tools", ["chisel", "hand drill", "level", "pliers", "workbench"]),
    ("toys", ["kite", "marble run", "puzzle", "spinning top", "wooden train"]),
];

/// What becomes of an order, and how many in a hundred do.
const STATUSES: [(&str, u32); 5] = [("delivered", 72), ("shipped", 11), ("paid", 7), ("placed", 6), ("cancelled", 4)];

/// The INSERT statements of one customer, in an order that the foreign keys allow.
pub struct CustomerRows {
    pub customer: String,
    pub orders: String,
    pub order_lines: String,
}

/// All rows of a customer: one customer, 1 to 19 orders with 1 to 9 lines each.
pub fn customer_rows(customer_id: i64) -> CustomerRows {
    let mut random = StdRng::seed_from_u64(customer_id.cast_unsigned());
    let (mut orders, mut lines) = (Vec::new(), Vec::new());
    for number in 1..=random.random_range(1..=19_i64) {
        let order_id = customer_id * 100 + number;
        let (at, status) = (timestamp(&mut random, 2024), pick_status(&mut random));
        orders.push(format!("({customer_id}, {order_id}, '{at}', '{status}')"));
        for line_no in 1..=random.random_range(1..=9) {
            let (product_id, quantity) = (random.random_range(1..=PRODUCTS), random.random_range(1..=5));
            let price = decimal(price_cents(product_id));
            lines.push(format!("({customer_id}, {order_id}, {line_no}, {product_id}, {quantity}, {price})"));
        }
    }
    CustomerRows {
        customer: insert("customers", &[customer_row(customer_id, &mut random)]),
        orders: insert("orders", &orders),
        order_lines: insert("order_lines", &lines),
    }
}

/// The INSERT of all products that are not there yet.
pub fn products() -> String {
    let things = CATEGORIES.iter().flat_map(|(category, things)| things.map(|thing| (category, thing)));
    let named = things.flat_map(|(category, thing)| QUALITIES.map(|quality| (category, format!("{quality} {thing}"))));
    let rows: Vec<String> = (1..)
        .zip(named)
        .map(|(id, (category, name))| format!("({id}, '{name}', '{category}', {})", decimal(price_cents(id))))
        .collect();
    insert("products", &rows)
}

fn customer_row(customer_id: i64, random: &mut StdRng) -> String {
    let (first, last) = (pick(random, &FIRST_NAMES), pick(random, &LAST_NAMES));
    let (city, country) = pick(random, &CITIES);
    let name = format!("{first} {last}").replace('\'', "''");
    let mailbox: String =
        format!("{first}.{last}").to_lowercase().chars().filter(|c| c.is_ascii_lowercase() || *c == '.').collect();
    let created_at = timestamp(random, 2023);
    format!("({customer_id}, '{name}', '{mailbox}.{customer_id}@example.com', '{country}', '{city}', '{created_at}')")
}

fn insert(table: &str, rows: &[String]) -> String {
    format!("INSERT INTO {table} VALUES\n{}", rows.join(",\n"))
}

fn pick<'a, T>(random: &mut StdRng, among: &'a [T]) -> &'a T {
    &among[random.random_range(0..among.len())]
}

fn pick_status(random: &mut StdRng) -> &'static str {
    let mut percent = random.random_range(0..100);
    for (status, share) in STATUSES {
        if percent < share {
            return status;
        }
        percent -= share;
    }
    unreachable!("the shares of all statuses are a hundred")
}

/// A moment of that year or the next, in UTC.
fn timestamp(random: &mut StdRng, year: i32) -> String {
    let (year, month, day) =
        (year + random.random_range(0..2), random.random_range(1..=12), random.random_range(1..=28));
    let (hour, minute, second) = (random.random_range(0..24), random.random_range(0..60), random.random_range(0..60));
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = write!(text, "{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}+00");
    text
}

/// A product's price: between 1.95 and 98.95, the same each time.
fn price_cents(product_id: i64) -> i64 {
    product_id * 37 % 98 * 100 + 195
}

fn decimal(cents: i64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_the_same_each_time_and_as_many_as_promised() {
        assert_eq!(customer_rows(42).order_lines, customer_rows(42).order_lines);
        let count = |sql: &str| sql.lines().count() - 1;
        let rows: Vec<_> = (1..=CUSTOMERS).map(customer_rows).collect();
        let orders: usize = rows.iter().map(|rows| count(&rows.orders)).sum();
        let lines: usize = rows.iter().map(|rows| count(&rows.order_lines)).sum();
        assert!((19_000..21_000).contains(&orders), "{orders}");
        assert!((95_000..105_000).contains(&lines), "{lines}");
        assert_eq!(count(&products()), 200);
    }

    #[test]
    fn text_is_quoted_and_prices_have_two_digits() {
        let brian = (1..=CUSTOMERS).map(customer_rows).find(|rows| rows.customer.contains("O''Brien"));
        assert!(brian.is_some());
        assert_eq!(STATUSES.iter().map(|(_, share)| share).sum::<u32>(), 100);
        assert_eq!([decimal(195), decimal(9_805)], ["1.95", "98.05"]);
    }
}
