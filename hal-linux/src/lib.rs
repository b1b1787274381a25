//! The Linux side of thimble.
