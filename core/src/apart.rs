//! What a machine keeps and is not compared by.

use core::hash::{Hash, Hasher};
use core::ops::Deref;

use serde::{Deserialize, Serialize};

/// A value that has no part in what the machine does next, as far as two machines are compared: always equal, never
/// hashed.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Apart<T>(pub(crate) T);

impl<T> PartialEq for Apart<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> Eq for Apart<T> {}

impl<T> Hash for Apart<T> {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl<T> Deref for Apart<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
