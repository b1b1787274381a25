//! [`Network`](crate::hal::Network) over any byte stream of `embedded-io`: what a platform without an HTTP client brings is
//! a [`Connect`], which opens connections. Their streams are those of [`embedded_io`].

mod connect;
mod error;
mod http;
#[cfg(test)]
mod tests;

pub use connect::Connect;
pub use error::Error;
pub use http::Http;
