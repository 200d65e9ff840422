//! The format of an access log line, parsed into pieces.
//!
//! Law: a format that exists can be filled: an operator that we cannot fill is refused by name.
