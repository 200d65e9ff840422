//! The endpoint over a real socket.
