//! TPC-H's tables: sizes, ranges and correlations of the specification (4.2.3), from a generator of our own. The texts are
//! shorter than there, and hold the words that queries look for as often as there.

use std::fmt::Write;

use super::super::random::Dice;

/// The tables, as COPY reads their rows: tab-separated.
pub struct Rows {
    dice: Dice,
    suppliers: usize,
    parts: usize,
    customers: usize,
}

const REGIONS: [&str; 5] = ["AFRICA", "AMERICA", "ASIA", "EUROPE", "MIDDLE EAST"];
const NATIONS: [(&str, usize); 25] = [
    ("ALGERIA", 0),
    ("ARGENTINA", 1),
    ("BRAZIL", 1),
    ("CANADA", 1),
    ("EGYPT", 4),
    ("ETHIOPIA", 0),
    ("FRANCE", 3),
    ("GERMANY", 3),
    ("INDIA", 2),
    ("INDONESIA", 2),
    ("IRAN", 4),
    ("IRAQ", 4),
    ("JAPAN", 2),
    ("JORDAN", 4),
    ("KENYA", 0),
    ("MOROCCO", 0),
    ("MOZAMBIQUE", 0),
    ("PERU", 1),
    ("CHINA", 2),
    ("ROMANIA", 3),
    ("SAUDI ARABIA", 4),
    ("VIETNAM", 2),
    ("RUSSIA", 3),
    ("UNITED KINGDOM", 3),
    ("UNITED STATES", 1),
];
const COLORS: [&str; 16] = [
    "almond", "azure", "blush", "coral", "cyan", "forest", "ghost", "green", "honeydew", "ivory", "khaki", "lime",
    "navy", "plum", "rose", "snow",
];
const TYPES: [[&str; 6]; 3] = [
    ["STANDARD", "SMALL", "MEDIUM", "LARGE", "ECONOMY", "PROMO"],
    ["ANODIZED", "BURNISHED", "PLATED", "POLISHED", "BRUSHED", "POLISHED"],
    ["TIN", "NICKEL", "BRASS", "STEEL", "COPPER", "STEEL"],
];
const SIZES: [&str; 5] = ["SM", "LG", "MED", "JUMBO", "WRAP"];
const CONTAINERS: [&str; 8] = ["CASE", "BOX", "BAG", "JAR", "PKG", "PACK", "CAN", "DRUM"];
const SEGMENTS: [&str; 5] = ["AUTOMOBILE", "BUILDING", "FURNITURE", "MACHINERY", "HOUSEHOLD"];
const PRIORITIES: [&str; 5] = ["1-URGENT", "2-HIGH", "3-MEDIUM", "4-NOT SPECIFIED", "5-LOW"];
const INSTRUCTIONS: [&str; 4] = ["DELIVER IN PERSON", "COLLECT COD", "NONE", "TAKE BACK RETURN"];
const MODES: [&str; 7] = ["REG AIR", "AIR", "RAIL", "SHIP", "TRUCK", "MAIL", "FOB"];

/// Days from 1992-01-01 to 1998-08-02, the last day of an order.
const ORDER_DAYS: usize = 2406;
/// 1995-06-17 in days since 1992-01-01: what was shipped later is open.
const CURRENT_DAY: usize = 1263;

impl Rows {
    /// Rows of a scale in thousandths.
    pub fn new(scale_thousandths: usize, seed: u64) -> Self {
        let scaled = |rows: usize| rows * scale_thousandths / 1000;
        Self {
            dice: Dice::new(seed),
            suppliers: scaled(10_000).max(8),
            parts: scaled(200_000),
            customers: scaled(150_000),
        }
    }

    /// Each table's name with its rows, in an order that foreign keys could like.
    pub fn tables(mut self) -> Vec<(&'static str, String)> {
        let (orders, lineitem) = self.orders();
        vec![
            ("region", self.regions()),
            ("nation", self.nations()),
            ("supplier", self.suppliers()),
            ("part", self.parts()),
            ("partsupp", self.offers()),
            ("customer", self.customers()),
            ("orders", orders),
            ("lineitem", lineitem),
        ]
    }

    fn between(&mut self, from: usize, to: usize) -> usize {
        from + self.dice.below(to - from + 1)
    }

    fn of<'t>(&mut self, words: &[&'t str]) -> &'t str {
        words[self.dice.below(words.len())]
    }

    /// Hundredths as a decimal.
    fn money(&mut self, from: i64, to: i64) -> String {
        let cents = from + i64::try_from(self.dice.below(usize::try_from(to - from + 1).unwrap())).unwrap();
        decimal(cents)
    }

    fn comment(&mut self, rare: &str, percent: usize) -> String {
        let is_rare = self.dice.percent(percent);
        let (one, two) = (self.of(&COLORS), self.of(&COLORS));
        if is_rare { format!("{one} {rare} {two}") } else { format!("{one} packages {two}") }
    }

    fn phone(&mut self, nation: usize) -> String {
        let (one, two, three) = (self.between(100, 999), self.between(100, 999), self.between(1000, 9999));
        format!("{}-{one}-{two}-{three}", nation + 10)
    }

    fn regions(&mut self) -> String {
        let row = |(key, name): (usize, &&str)| format!("{key}\t{name}\tregion\n");
        REGIONS.iter().enumerate().map(row).collect()
    }

    fn nations(&mut self) -> String {
        let row = |(key, (name, region)): (usize, &(&str, usize))| format!("{key}\t{name}\t{region}\tnation\n");
        NATIONS.iter().enumerate().map(row).collect()
    }

    fn suppliers(&mut self) -> String {
        let mut rows = String::new();
        for key in 1..=self.suppliers {
            let nation = self.dice.below(25);
            let (phone, balance) = (self.phone(nation), self.money(-99_999, 999_999));
            let comment = self.comment("Customer loud Complaints", 1);
            let _ = writeln!(rows, "{key}\tSupplier#{key:09}\tstreet {key}\t{nation}\t{phone}\t{balance}\t{comment}");
        }
        rows
    }

    fn parts(&mut self) -> String {
        let mut rows = String::new();
        for key in 1..=self.parts {
            let (maker, brand) = (self.between(1, 5), self.between(1, 5));
            let name = [self.of(&COLORS), self.of(&COLORS), self.of(&COLORS)].join(" ");
            let kind = TYPES.map(|words| words[self.dice.below(6)]).join(" ");
            let container = format!("{} {}", self.of(&SIZES), self.of(&CONTAINERS));
            let (size, price) = (self.between(1, 50), decimal(price_of(key)));
            let _ = writeln!(
                rows,
                "{key}\t{name}\tManufacturer#{maker}\tBrand#{maker}{brand}\t{kind}\t{size}\t{container}\t{price}\tpart"
            );
        }
        rows
    }

    /// The i-th supplier of a part.
    fn supplier_of(&self, part: usize, place: usize) -> usize {
        let count = self.suppliers;
        (part + place * (count / 4) + (part - 1) / count) % count + 1
    }

    fn offers(&mut self) -> String {
        let mut rows = String::new();
        for part in 1..=self.parts {
            for place in 0..4 {
                let (supplier, quantity) = (self.supplier_of(part, place), self.between(1, 9999));
                let cost = self.money(100, 100_000);
                let _ = writeln!(rows, "{part}\t{supplier}\t{quantity}\t{cost}\toffer");
            }
        }
        rows
    }

    fn customers(&mut self) -> String {
        let mut rows = String::new();
        for key in 1..=self.customers {
            let nation = self.dice.below(25);
            let (phone, balance) = (self.phone(nation), self.money(-99_999, 999_999));
            let segment = self.of(&SEGMENTS);
            let _ = writeln!(
                rows,
                "{key}\tCustomer#{key:09}\troad {key}\t{nation}\t{phone}\t{balance}\t{segment}\tcustomer {key}"
            );
        }
        rows
    }

    /// Orders with their lines. A third of the customers has none.
    fn orders(&mut self) -> (String, String) {
        let (mut orders, mut lines) = (String::new(), String::new());
        for number in 0..self.customers * 10 {
            // Keys are sparse: eight of thirty-two.
            let key = number / 8 * 32 + number % 8 + 1;
            let customer = loop {
                let customer = self.between(1, self.customers);
                if !customer.is_multiple_of(3) {
                    break customer;
                }
            };
            let day = self.dice.below(ORDER_DAYS - 121);
            let (open, total) = self.lines_of(key, day, &mut lines);
            let status = match open {
                0 => 'F',
                open if open == total.1 => 'O',
                _ => 'P',
            };
            let (priority, clerk) = (self.of(&PRIORITIES), self.between(1, 1000));
            let comment = self.comment("special loud requests", 2);
            let (date, price) = (date(day), decimal(total.0));
            let _ = writeln!(
                orders,
                "{key}\t{customer}\t{status}\t{price}\t{date}\t{priority}\tClerk#{clerk:09}\t0\t{comment}"
            );
        }
        (orders, lines)
    }

    /// Adds an order's lines; gives how many are open, and their price and number.
    fn lines_of(&mut self, order: usize, day: usize, lines: &mut String) -> (usize, (i64, usize)) {
        let (mut open, mut price) = (0, 0);
        let count = self.between(1, 7);
        for number in 1..=count {
            let (part, place) = (self.between(1, self.parts), self.dice.below(4));
            let (supplier, quantity) = (self.supplier_of(part, place), self.between(1, 50));
            let (discount, tax) = (self.dice.below(11), self.dice.below(9));
            let extended = i64::try_from(quantity).unwrap() * price_of(part);
            let shipped = day + self.between(1, 121);
            let (committed, received) = (day + self.between(30, 90), shipped + self.between(1, 30));
            let flag = if received > CURRENT_DAY { "N" } else { self.of(&["R", "A"]) };
            let status = if shipped > CURRENT_DAY { 'O' } else { 'F' };
            open += usize::from(status == 'O');
            price += extended;
            let (instruction, mode) = (self.of(&INSTRUCTIONS), self.of(&MODES));
            let _ = writeln!(
                lines,
                "{order}\t{part}\t{supplier}\t{number}\t{quantity}\t{}\t0.{discount:02}\t0.{tax:02}\t{flag}\t{status}\t{}\t{}\t{}\t{instruction}\t{mode}\tline",
                decimal(extended),
                date(shipped),
                date(committed),
                date(received)
            );
        }
        (open, (price, count))
    }
}

/// A part's retail price in hundredths.
fn price_of(part: usize) -> i64 {
    i64::try_from(90_000 + (part / 10) % 20_001 + 100 * (part % 1000)).unwrap()
}

fn decimal(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100)
}

/// A day since 1992-01-01, as a date.
fn date(mut day: usize) -> String {
    let mut year = 1992;
    loop {
        let is_leap = year % 4 == 0;
        let length = if is_leap { 366 } else { 365 };
        if day < length {
            let february = if is_leap { 29 } else { 28 };
            for (month, length) in (1..).zip([31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]) {
                if day < length {
                    return format!("{year}-{month:02}-{:02}", day + 1);
                }
                day -= length;
            }
        }
        day -= length;
        year += 1;
    }
}
