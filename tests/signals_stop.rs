//! Laws of a process that was stopped and goes on: what it owes its callers for the time in which it was not there.

#![allow(clippy::unwrap_used)] // a panic is the report

#[path = "common/loopback.rs"]
mod loopback;
#[path = "common/process.rs"]
mod process;

use std::thread::{self, sleep};
use std::time::Duration;

use process::{Caller, Setup, Upstream};
use rustix::process::Signal;

/// Stops the process for `time`, in which callers do their part, and looks that nobody is blamed for the silence.
fn stopped_for(time: Duration, limits: &str) {
    let upstream = Upstream::start("v1");
    let mut weir = Setup::new(&format!("{}{limits}", Upstream::services(&[(&upstream, "v1")]))).start();
    let address = weir.address;
    let connect = || Caller::connect(address).unwrap();
    let mut idle = connect();
    assert_eq!(idle.get("/idle", "").unwrap().0, 200);
    let (mut half, mut answered) = (connect(), connect());
    half.write("GET /half HTTP/1.1\r\nho").unwrap();
    answered.write("GET /hold HTTP/1.1\r\nhost: m\r\n\r\n").unwrap();
    upstream.until_holding(1);
    weir.send(Signal::STOP);
    weir.until("it is stopped", |weir| weir.is_stopped());
    half.write("st: m\r\n\r\n").unwrap();
    upstream.release();
    let mut new = connect(); // by the kernel
    new.write("GET /new HTTP/1.1\r\nhost: m\r\n\r\n").unwrap();
    sleep(time); // what is tested is time that passes
    weir.send(Signal::CONT);
    for (what, caller) in [
        ("a head whose end came meanwhile", &mut half),
        ("a request in flight", &mut answered),
        ("a connection of the meantime", &mut new),
    ] {
        assert_eq!(caller.answer(), Some((200, "v1".into())), "{what}, {}", weir.said());
    }
    assert_eq!(idle.get("/idle", ""), Some((200, "v1".into())), "an idle connection");
    assert_eq!(weir.metric("weir_limit_exceeded_total"), 0.0);
    weir.send(Signal::TERM);
    assert_eq!(weir.exit().code(), Some(0));
}

#[test]
fn a_process_that_was_stopped_blames_no_caller_for_the_time() {
    stopped_for(Duration::from_secs(4), "limits: {head_timeout: 3s, downstream_idle: 3s, stream_idle: 3s}\n");
}

#[test]
fn a_process_that_was_stopped_for_60_s_goes_on_as_if_it_were_the_next_moment() {
    stopped_for(Duration::from_secs(60), "limits: {downstream_idle: 20s, stream_idle: 20s}\n");
}

#[test]
fn a_drain_goes_on_after_a_stop() {
    let upstream = Upstream::start("v1");
    let mut weir = {
        let services = Upstream::services(&[(&upstream, "v1")]);
        Setup::new(&format!("{services}drain: {{grace: 2s, deadline: 30s}}\n")).start()
    };
    let address = weir.address;
    let held = thread::spawn(move || Caller::connect(address).unwrap().get("/hold", ""));
    upstream.until_holding(1);
    weir.send(Signal::TERM);
    weir.until_said("leaving");
    weir.send(Signal::STOP);
    weir.until("it is stopped", |weir| weir.is_stopped());
    sleep(Duration::from_secs(3)); // the grace passes
    weir.send(Signal::CONT);
    upstream.release();
    assert_eq!(held.join().unwrap(), Some((200, "v1".into())));
    assert_eq!(weir.exit().code(), Some(0));
}
