//! x
mod common {
    pub(crate) mod world;
}
mod wire_upstream;
