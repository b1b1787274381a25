//! Variables of a boot environment, in their stored order.

use std::fmt;

/// Names with their values. What is not ours is kept as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vars(Vec<(Vec<u8>, Vec<u8>)>);

/// A change of one variable; no value deletes it.
pub(crate) type Change<'a> = (&'a str, Option<&'a str>);

impl Vars {
    pub(crate) fn push(&mut self, name: &[u8], value: &[u8]) {
        self.0.push((name.to_vec(), value.to_vec()));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_slice(), value.as_slice()))
    }

    /// The value of `name`; an empty one is as good as none (some tools print a missing variable as empty). Of
    /// several the last counts.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().rev().find(|(known, _)| known == name.as_bytes());
        found.and_then(|(_, value)| str::from_utf8(value).ok()).filter(|value| !value.is_empty())
    }

    /// Whether `name` stands there, also with an empty value.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name.as_bytes())
    }

    /// A name that stands twice.
    pub(crate) fn twice(&self) -> Option<String> {
        let mut names: Vec<&[u8]> = self.0.iter().map(|(name, _)| name.as_slice()).collect();
        names.sort_unstable();
        let (name, _) = names.iter().zip(names.iter().skip(1)).find(|(a, b)| a == b)?;
        Some(String::from_utf8_lossy(name).into_owned())
    }

    /// Applies `changes`. False when nothing changed.
    pub(crate) fn apply(&mut self, changes: &[Change<'_>]) -> Result<bool, VarsError> {
        let mut changed = false;
        for &(name, value) in changes {
            if name.is_empty() || name.contains(['=', '\0', '\n']) || value.is_some_and(|v| v.contains('\0'))
            {
                return Err(VarsError::Name(name.escape_debug().to_string()));
            }
            let mut found = self.0.iter().enumerate().filter(|(_, (known, _))| known == name.as_bytes());
            let place = found.next().map(|(index, _)| index);
            if found.next().is_some() {
                return Err(VarsError::Twice(name.to_owned()));
            }
            match (place, value) {
                (None, None) => {}
                (Some(index), None) => {
                    self.0.remove(index);
                    changed = true;
                }
                (Some(index), Some(value)) => {
                    let (_, old) = &mut self.0[index];
                    if old != value.as_bytes() {
                        *old = value.as_bytes().to_vec();
                        changed = true;
                    }
                }
                (None, Some(value)) => {
                    self.push(name.as_bytes(), value.as_bytes());
                    changed = true;
                }
            }
        }
        Ok(changed)
    }
}

/// Why variables cannot be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VarsError {
    /// They need more room than there is.
    TooLarge {
        /// Bytes needed.
        needed: usize,
        /// Bytes there are.
        size: usize,
    },
    /// A variable stands twice: which one counts differs between readers.
    Twice(String),
    /// Not a name, or not a value.
    Name(String),
}

impl fmt::Display for VarsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { needed, size } => {
                write!(f, "the boot environment is full: {needed} bytes are needed, it has {size}")
            }
            Self::Twice(name) => write!(f, "{name} stands twice in the boot environment; delete it first"),
            Self::Name(name) => write!(f, "\"{name}\" cannot be stored in a boot environment"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_applied_in_place_and_only_when_they_change_something() {
        let mut vars = Vars::default();
        assert!(vars.apply(&[("a", Some("1")), ("b", Some("2"))]).unwrap());
        assert!(!vars.apply(&[("a", Some("1")), ("c", None)]).unwrap());
        assert!(vars.apply(&[("a", Some("3"))]).unwrap());
        assert!(vars.apply(&[("b", None)]).unwrap());
        assert_eq!(vars.iter().collect::<Vec<_>>(), [(&b"a"[..], &b"3"[..])]);
        assert_eq!((vars.get("a"), vars.get("b")), (Some("3"), None));
        for bad in ["", "a=b", "a\0", "a\n"] {
            assert!(matches!(vars.apply(&[(bad, Some("1"))]), Err(VarsError::Name(_))));
        }
        vars.push(b"a", b"4");
        assert_eq!(vars.get("a"), Some("4"));
        assert_eq!(vars.apply(&[("a", Some("5"))]), Err(VarsError::Twice("a".into())));
    }
}
