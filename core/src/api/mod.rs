//! The device API without I/O (`docs/rules/server.md`): requests into lent buffers, answers out of them.
//!
//! An [`Endpoint`] says where a request goes and what the status of its answer means; the modules beside it write
//! the bodies and read the answers. Nothing here knows the machine or a platform.

pub mod auth;
pub mod deployments;
mod endpoint;
pub mod inventory;
mod pairs;
mod url;

pub use endpoint::{Endpoint, Reply, error_text};
pub use url::{LinkError, Percent};

#[cfg(feature = "text")]
use crate::message::Catalogue;

/// All texts here.
#[cfg(feature = "text")]
pub(crate) const TEXTS: &[&Catalogue] = &[
    &auth::IDENTITY_ERRORS,
    &auth::TOKEN_ERRORS,
    &deployments::ERRORS,
    &endpoint::REPLIES,
    &inventory::TOO_LONG,
    &inventory::NOT_SENT,
    &inventory::NAMES,
    &url::ERRORS,
];
