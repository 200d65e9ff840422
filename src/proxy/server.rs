//! Placeholder to be replaced
