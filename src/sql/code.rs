//! What code of users may leave in the session that runs it, judged by its words.
//!
//! A function is *proven* to leave nothing if no word of its body can change a session, and every function and table that
//! it may name is proven too. A word that only looks like one counts: that costs a question, never an answer.

mod words;

use std::collections::{BTreeSet, HashMap};

use super::facts::Effects;

pub use self::words::{Code, is_hidden, read, read_definition};

/// What a piece of code may leave in its session beyond its transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leaves {
    /// Proven: nothing.
    #[default]
    Nothing,
    /// Settings, temporary objects, locks: whatever it is, the server can be asked for it.
    Visible,
    /// Perhaps something that no catalog shows.
    Unknowable,
}

/// What is known of a piece of code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CodeClass {
    pub leaves: Leaves,
    /// What it may do with the session's memory of sequences: a part of [`Effects::SEQUENCES`].
    pub sequences: Effects,
    /// New rows take numbers from a sequence.
    pub numbers_rows: bool,
    /// It may notify.
    pub notifies: bool,
}

impl CodeClass {
    pub const UNKNOWABLE: Self =
        Self { leaves: Leaves::Unknowable, sequences: Effects::SEQUENCES, numbers_rows: false, notifies: true };

    /// Both pieces of code.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            leaves: self.leaves.max(other.leaves),
            sequences: self.sequences | other.sequences,
            numbers_rows: self.numbers_rows || other.numbers_rows,
            notifies: self.notifies || other.notifies,
        }
    }

    /// As part of code that may do anything with a table, inserting rows included.
    fn called(self) -> Self {
        let numbers = if self.numbers_rows { Effects::ADVANCES_SEQUENCE } else { Effects::empty() };
        Self { sequences: self.sequences | numbers, numbers_rows: false, ..self }
    }
}

/// What has code of its own. Names are without schemas: what shares a name counts as one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    Function(String),
    Reading(String),
    Writing(String),
    /// Checks of domains and functions of casts, which run wherever a type of users occurs.
    Types,
    /// Event triggers, which run with commands that change the schema.
    SchemaChanges,
}

/// A unit's code, and units that run with it.
#[derive(Clone, Debug)]
pub struct Definition {
    pub unit: Unit,
    pub code: Code,
    pub runs: Vec<Unit>,
}

/// The classes of a database's code.
#[derive(Clone, Debug, Default)]
pub struct CodeClasses {
    /// Units that may leave or use something; a unit that is not listed is proven.
    classes: HashMap<Unit, CodeClass>,
    /// Functions (and the code of types) that touch no table and nothing else that a shard has of its own.
    pure: BTreeSet<Unit>,
    /// Settings with a dot in their names that some code sets.
    pub custom_settings: BTreeSet<String>,
}

impl CodeClasses {
    /// Classifies units, each by its own code and by all that it may run.
    pub fn of(definitions: Vec<Definition>) -> Self {
        let mut units: HashMap<Unit, (CodeClass, BTreeSet<Unit>)> = HashMap::new();
        let mut custom_settings = BTreeSet::new();
        let mut touching = BTreeSet::new();
        for Definition { unit, code, runs } in definitions {
            let reads_only = matches!(unit, Unit::Reading(_));
            if code.touches_tables() {
                touching.insert(unit.clone());
            }
            let (class, named) = units.entry(unit).or_default();
            *class = class.and(code.class);
            named.extend(runs);
            named.extend(code.words.into_iter().flat_map(|word| units_named(word, reads_only)));
            custom_settings.extend(code.custom_settings);
        }
        let known: BTreeSet<Unit> = units.keys().cloned().collect();
        for (_, named) in units.values_mut() {
            named.retain(|unit| known.contains(unit));
        }
        let mut classes: HashMap<Unit, CodeClass> =
            units.iter().map(|(unit, (class, _))| (unit.clone(), *class)).collect();
        while spread(&units, &mut classes) {}
        let pure = pure(&units, &classes, &touching);
        classes.retain(|_, class| *class != CodeClass::default());
        Self { classes, pure, custom_settings }
    }

    /// Whether user functions of this name are proven to touch no table: they give the same on every shard as on one
    /// server.
    pub fn is_pure(&self, name: &str) -> bool {
        self.pure.contains(&Unit::Function(name.to_owned()))
    }

    /// Whether all code is known to leave nothing.
    pub fn is_proven(&self) -> bool {
        self.classes.values().all(|class| class.leaves == Leaves::Nothing)
    }

    /// What a call of a user function of this name does.
    pub fn function(&self, name: &str) -> CodeClass {
        self.class(&Unit::Function(name.to_owned()))
    }

    /// What reading or writing a relation of this name runs.
    pub fn relation(&self, name: &str, written: bool) -> CodeClass {
        let name = name.to_owned();
        self.class(&if written { Unit::Writing(name) } else { Unit::Reading(name) })
    }

    pub fn class(&self, unit: &Unit) -> CodeClass {
        self.classes.get(unit).copied().unwrap_or_default()
    }

    /// What code does that stands in a statement's own text.
    pub fn judge(&self, code: &Code) -> CodeClass {
        let named = code.words.iter().flat_map(|word| units_named(word.clone(), false));
        let all = named.map(|unit| self.class(&unit).called()).fold(code.class, CodeClass::and);
        all.and(self.class(&Unit::Types))
    }
}

/// The functions that call nothing but each other.
fn pure(
    units: &HashMap<Unit, (CodeClass, BTreeSet<Unit>)>,
    classes: &HashMap<Unit, CodeClass>,
    touching: &BTreeSet<Unit>,
) -> BTreeSet<Unit> {
    let is_code = |unit: &Unit| matches!(unit, Unit::Function(_) | Unit::Types);
    let leaves_nothing = |unit: &Unit| {
        classes
            .get(unit)
            .is_none_or(|class| class.leaves == Leaves::Nothing && class.sequences.is_empty() && !class.numbers_rows)
    };
    let candidate = |unit: &&Unit| is_code(unit) && !touching.contains(unit) && leaves_nothing(unit);
    let mut pure: BTreeSet<Unit> = units.keys().filter(candidate).cloned().collect();
    loop {
        let calls_others =
            |unit: &&Unit| units.get(*unit).is_some_and(|(_, named)| named.iter().any(|other| !pure.contains(other)));
        let impure: Vec<Unit> = pure.iter().filter(calls_others).cloned().collect();
        if impure.is_empty() {
            return pure;
        }
        pure.retain(|unit| !impure.contains(unit));
    }
}

fn units_named(word: String, reads_only: bool) -> impl Iterator<Item = Unit> {
    let writing = (!reads_only).then(|| Unit::Writing(word.clone()));
    [Unit::Function(word.clone()), Unit::Reading(word)].into_iter().chain(writing)
}

/// Adds to each class those of the units that it runs; true when something changed.
fn spread(units: &HashMap<Unit, (CodeClass, BTreeSet<Unit>)>, classes: &mut HashMap<Unit, CodeClass>) -> bool {
    let mut changed = false;
    for (unit, (_, named)) in units {
        let own = classes.get(unit).copied().unwrap_or_default();
        let of = |other: &Unit| {
            let class = classes.get(other).copied().unwrap_or_default();
            if matches!(unit, Unit::Writing(_)) { class } else { class.called() }
        };
        let all = named.iter().map(of).fold(own, CodeClass::and);
        if all != own {
            classes.insert(unit.clone(), all);
            changed = true;
        }
    }
    changed
}

#[cfg(test)]
mod tests;
