//! Addresses of this machine that are this process's own: on Linux all of 127/8 is loopback.
//!
//! Law: no other process has one at the same time, nor is one given twice: a socket holds each for as long as its process
//! lives. So nobody takes a port of it between its choice and its use, neither another test nor a client's connection.
// Compiled into several tests, few of which use all of it; `pub` marks what tests call.
#![allow(dead_code, unreachable_pub, clippy::expect_used)]

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where an address is held: below all ports that the system or a test chooses.
const HELD_AT: u16 = 15_199;
/// 127.128.0.0 and all behind it; below are those that tests write themselves.
const FIRST: u32 = 0x7f80_0000;
const COUNT: u32 = 1 << 23;

/// Another one each time.
///
/// # Panics
/// When none is left.
pub fn own_ip() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    static HELD: Mutex<Vec<TcpListener>> = Mutex::new(Vec::new());
    // Processes that run side by side begin in different places.
    let start = std::process::id().wrapping_mul(257);
    for _ in 0..COUNT {
        let place = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let ip = Ipv4Addr::from(FIRST + place);
        if let Ok(held) = TcpListener::bind((ip, HELD_AT)) {
            HELD.lock().expect("nobody panics with it").push(held);
            return ip;
        }
    }
    panic!("no address is left");
}
