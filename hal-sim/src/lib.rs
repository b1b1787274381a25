//! The simulated side of thimble.
