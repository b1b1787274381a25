//! Fleets: many clients and one server in virtual time.
//!
//! [`run`] is for load: thousands of devices poll a server, and take an update from it. Each is the client's own decisions,
//! [`thimble_core::flow::Flow`] with its configuration; what is simplified is everything around it: see [`Plan`].
//! [`together`] is for what twenty devices do together with a program that lets all of them commit, or none.
//!
//! ```
//! use thimble_core::time::Duration;
//! use thimble_hal_sim::fleet::{Plan, run};
//!
//! let plan = Plan { devices: 50, time: Duration::from_secs(2 * 3600), ..Plan::default() };
//! let figures = run(&plan, &mut |_| {}).unwrap();
//! assert_eq!(figures.good.len(), 50, "all have the update, which is offered from the beginning");
//! ```

mod chance;
mod device;
mod figures;
mod network;
mod plan;
mod queue;
mod server;
pub mod together;

#[cfg(test)]
mod tests;

pub use figures::{Bucket, Figures, Kind, Load, Stage};
pub use plan::{Fault, Hold, Overload, Phase, Plan, Policy, Share, Start, limits};
pub use queue::{bytes_per_device, run};
