//! Run-time parameters that servers report by themselves (ParameterStatus): what a server has, what a client was told.

use std::hash::{Hash, Hasher};

use rustc_hash::FxHasher;

/// Parameters by name, in the order in which they were first reported.
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Depends on the pairs and not on their order, so that equal parameters are known without looking at them.
    digest: u64,
}

impl Parameters {
    /// Keeps what a ParameterStatus said.
    pub fn report(&mut self, name: &[u8], value: &[u8]) {
        self.digest = self.digest.wrapping_add(digest(name, value));
        match self.pairs.iter_mut().find(|(own, _)| own == name) {
            Some((_, own)) => {
                self.digest = self.digest.wrapping_sub(digest(name, own));
                *own = value.to_vec();
            }
            None => self.pairs.push((name.to_vec(), value.to_vec())),
        }
    }

    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.pairs.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_slice())
    }

    /// Name and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.pairs.iter().map(|(name, value)| (name.as_slice(), value.as_slice()))
    }

    /// What somebody who knows these has to be told to know the others.
    pub fn news<'o>(&self, others: &'o Self) -> Vec<(&'o [u8], &'o [u8])> {
        if self == others {
            return Vec::new();
        }
        others.iter().filter(|(name, value)| self.get(name) != Some(value)).collect()
    }
}

impl PartialEq for Parameters {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Parameters {}

fn digest(name: &[u8], value: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    (name, value).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        let mut parameters = Parameters::default();
        pairs.iter().for_each(|(name, value)| parameters.report(name.as_bytes(), value.as_bytes()));
        parameters
    }

    #[test]
    fn the_same_parameters_are_equal_however_they_came() {
        let first = parameters(&[("TimeZone", "UTC"), ("DateStyle", "ISO, MDY")]);
        let second = parameters(&[("DateStyle", "German"), ("TimeZone", "UTC"), ("DateStyle", "ISO, MDY")]);
        assert_eq!(first, second);
        assert!(first.news(&second).is_empty());
    }

    #[test]
    fn news_are_what_differs() {
        let told = parameters(&[("TimeZone", "UTC"), ("DateStyle", "ISO, MDY")]);
        let server = parameters(&[("TimeZone", "Asia/Tokyo"), ("DateStyle", "ISO, MDY")]);
        assert_eq!(told.news(&server), [(b"TimeZone".as_slice(), b"Asia/Tokyo".as_slice())]);
    }
}
