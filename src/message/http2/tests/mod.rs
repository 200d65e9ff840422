//! Two ends of the engine that talk to each other, over a pipe in memory, and each to its other of the h2 crate.
//!
//! Law: whatever the pipe takes at a time, what one end sends the other receives.

mod frames;
mod others;
mod ours;
mod pipe;
mod room;
