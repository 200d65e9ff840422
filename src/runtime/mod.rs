//! What every long-lived part needs of the process: coarse time, drain, readiness, worker threads.
//!
//! Law: nothing here knows HTTP or a configuration.

pub mod clock;
pub mod cores;
pub mod drain;
pub mod readiness;
pub mod sync;
pub mod usage;
pub mod worker;
