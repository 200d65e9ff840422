//! The admin pages over a real socket.
