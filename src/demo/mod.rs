//! What `weir demo` shows itself on: an embedded model server and gentle traffic.
//!
//! Law: the model server answers as TF Serving does, so that what is seen here is what a real deployment would show.
//! It must not know how the proxy is built: it meets the proxy only by its sockets and its configuration files.

pub mod files;
pub mod model_server;
pub mod traffic;

mod grpc;
mod rest;
mod rest_json;
mod toy;
