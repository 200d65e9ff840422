//! Weir: a traffic-splitting data-plane proxy for model serving.
//!
//! `ARCHITECTURE.md` names the floors; `tests/tidy.rs` keeps them. The life of a request is `proxy::request`.

pub mod cli;
pub mod config;
pub mod message;
pub mod router;
pub mod snapshot;
pub mod sources;
pub mod words;
