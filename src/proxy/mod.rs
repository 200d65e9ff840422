//! The data plane: from a connection to an answer.
//!
//! Read `request` first: it is the life of a request, in order. Around it: `plane` is what all workers share of one
//! generation, `lane` what one worker owns, `server` the listeners and workers, `downstream` a caller's
//! connection (`http1`, `http2`), `exchange` one request and its answer while they are in flight.
//!
//! Law: nothing here has ever seen YAML, protobuf or Kubernetes.

pub mod census;
pub mod dimensions;
pub mod explain;
pub mod plane;
pub mod planner;
pub mod server;
pub mod split;

mod admit;
mod attempt;
mod choice;
mod deadline;
mod downstream;
mod endpoint_hash;
mod exchange;
mod headers;
mod hop;
mod http1;
mod http2;
mod lane;
mod mirror;
#[cfg(all(test, feature = "models"))]
mod models;
mod policed;
mod pools;
mod reply;
mod request;
mod retry;
mod switch;
mod trace;
mod tries;

pub use retry::conditions::{asked as asked_retries, strip_asked as strip_asked_retries};
