//! The loop: sockets and epoll, who sends next, and what becomes of connections that end.
//!
//! Sleeping is left to the kernel, also in an open loop: a timer of its own (`timerfd`), which unlike a timeout of
//! `epoll_wait` has no slack of 50 us, wakes it when the next request is due. It does not spin towards that moment, as
//! it would take the core from the model servers that are to answer the request before.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};
use serde_json::Value;
use socket2::Socket;

use crate::connection::{Connection, State};
use crate::options::Plan;
use crate::pace::Pace;
use crate::tally::{Ended, Fault, Run, Tally};

const READ_BYTES: usize = 256 * 1024;
const EVENTS: usize = 256;
const TIMER: u64 = u64::MAX;
/// How often requests without an answer are looked for.
const SCAN_NS: u64 = 50_000_000;
/// A connection that was refused, or was closed before it answered anything, is not tried again at once.
const REST_NS: u64 = 10_000_000;
/// With a connection for each request, an old one stays for the peer to close: whoever closes first keeps a port busy.
const LINGER_NS: u64 = 100_000_000;

/// Does what the plan says, to the end.
pub(crate) fn run(plan: &Plan) -> io::Result<Value> {
    raise_descriptor_limit();
    let mut engine = Engine::new(plan)?;
    engine.open_idle()?;
    engine.load()?;
    let run = Run {
        open_loop: plan.interval_ns.is_some(),
        connects: engine.connects,
        idle_opened: engine.idle_opened,
        idle_closed: engine.idle_closed,
    };
    engine.tally.report(&run).map_err(io::Error::other)
}

/// As many connections as the system permits; if it refuses, connecting will say so.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

struct Engine<'a> {
    plan: &'a Plan,
    epoll: OwnedFd,
    timer: OwnedFd,
    armed_for: Option<u64>,
    begin: Instant,
    connections: Vec<Connection>,
    /// Open connections with room while nothing is due, the one that has been idle longest first.
    ready: VecDeque<usize>,
    /// Those that rest, and until when.
    resting: VecDeque<(u64, usize)>,
    lingering: VecDeque<(u64, Socket)>,
    next_scan: u64,
    pace: Option<Pace>,
    tally: Tally,
    under_way: usize,
    idle_pending: usize,
    idle_opened: u64,
    idle_closed: u64,
    connects: u64,
    buffer: Vec<u8>,
    ended: Vec<Ended>,
}

impl<'a> Engine<'a> {
    fn new(plan: &'a Plan) -> io::Result<Engine<'a>> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        // Edges: each expiry is told once, and nobody has to read it.
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN | EventFlags::ET)?;
        let connections = (0..plan.connections + plan.idle)
            .map(|i| Connection::new(i >= plan.connections, &plan.request))
            .collect();
        Ok(Engine {
            plan,
            epoll,
            timer,
            armed_for: None,
            begin: Instant::now(),
            connections,
            ready: VecDeque::new(),
            resting: VecDeque::new(),
            lingering: VecDeque::new(),
            next_scan: 0,
            pace: None,
            tally: Tally::new(u64::MAX).map_err(io::Error::other)?,
            under_way: 0,
            idle_pending: plan.idle,
            idle_opened: 0,
            idle_closed: 0,
            connects: 0,
            buffer: vec![0; READ_BYTES],
            ended: Vec::new(),
        })
    }

    fn now(&self) -> u64 {
        self.begin.elapsed().as_nanos() as u64
    }

    /// Opens the connections that stay idle, and has one request answered on each.
    fn open_idle(&mut self) -> io::Result<()> {
        for i in self.plan.connections..self.connections.len() {
            let now = self.now();
            self.under_way += 1;
            self.connections[i].first = Some(now);
            self.open(i, now);
        }
        while self.idle_pending > 0 {
            self.turn()?;
        }
        Ok(())
    }

    /// The load itself.
    fn load(&mut self) -> io::Result<()> {
        let ns = |duration: std::time::Duration| duration.as_nanos() as u64;
        let (begin, warmup) = (self.now(), ns(self.plan.warmup));
        self.tally = Tally::new(begin + warmup).map_err(io::Error::other)?;
        let seconds = self.plan.seconds.map(ns);
        self.pace = Some(Pace::new(begin, warmup, seconds, self.plan.requests, self.plan.interval_ns));
        for i in 0..self.plan.connections {
            if self.plan.new_connections {
                self.feed(i, begin);
            } else {
                self.open(i, begin);
            }
        }
        loop {
            let now = self.now();
            if self.under_way == 0 && self.pace.as_mut().is_none_or(|pace| pace.is_over(now)) {
                return Ok(());
            }
            self.turn()?;
        }
    }

    /// Waits for something to happen, and handles it.
    fn turn(&mut self) -> io::Result<()> {
        let now = self.now();
        self.arm(now)?;
        let until = self.resting.front().map_or(self.next_scan, |(at, _)| self.next_scan.min(*at));
        let wait = until.saturating_sub(now).div_ceil(1_000_000).max(1);
        let timeout = Timespec { tv_sec: 0, tv_nsec: (wait * 1_000_000).min(999_999_999) as i64 };
        let mut events = Vec::with_capacity(EVENTS);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let token = event.data.u64();
            if token != TIMER {
                self.happened((token & 0xffff_ffff) as usize, (token >> 32) as u32, event.flags);
            }
        }
        let now = self.now();
        while let Some((_, i)) = self.resting.pop_front_if(|(at, _)| *at <= now) {
            self.connections[i].state = State::Down;
            if self.plan.new_connections {
                self.feed(i, now);
            } else {
                self.open(i, now);
            }
        }
        self.dispatch(now);
        if now >= self.next_scan {
            self.scan(now);
        }
        Ok(())
    }

    /// Sets the timer to when the next request is due.
    fn arm(&mut self, now: u64) -> io::Result<()> {
        let due = self.pace.as_ref().and_then(Pace::next_due);
        let (Some(due), true) = (due, due != self.armed_for) else { return Ok(()) };
        let left = due.saturating_sub(now).max(1);
        let it_value =
            Timespec { tv_sec: (left / 1_000_000_000) as i64, tv_nsec: (left % 1_000_000_000) as i64 };
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval, it_value })?;
        self.armed_for = Some(due);
        Ok(())
    }

    /// Hands what is due to the connections that have been idle longest.
    fn dispatch(&mut self, now: u64) {
        while let Some(&i) = self.ready.front() {
            if self.has_room(i) {
                let Some(due) = self.pace.as_mut().and_then(|pace| pace.take(now)) else { return };
                self.start(i, due, now);
                self.flush(i, now);
            }
            self.ready.pop_front();
            self.connections[i].listed = false;
            self.list(i);
        }
    }

    /// Gives a connection what is due, as far as it has room, and lists it if it has more.
    fn feed(&mut self, i: usize, now: u64) {
        if self.connections[i].idle {
            return;
        }
        while self.has_room(i) {
            let Some(due) = self.pace.as_mut().and_then(|pace| pace.take(now)) else { break };
            self.start(i, due, now);
        }
        self.list(i);
    }

    fn list(&mut self, i: usize) {
        if self.has_room(i) && !self.connections[i].listed && !self.connections[i].idle {
            self.connections[i].listed = true;
            self.ready.push_back(i);
        }
    }

    fn has_room(&self, i: usize) -> bool {
        let connection = &self.connections[i];
        if self.plan.new_connections { connection.state == State::Down } else { connection.has_room() }
    }

    fn start(&mut self, i: usize, due: u64, now: u64) {
        self.under_way += 1;
        if self.plan.new_connections {
            self.connections[i].first = Some(due);
            self.open(i, now);
        } else {
            self.connections[i].start(due, &self.plan.request);
            self.tally.sent(due, now);
        }
    }

    fn open(&mut self, i: usize, now: u64) {
        self.connects += 1;
        let connection = &mut self.connections[i];
        let added = match connection.open(self.plan.address, &self.plan.request, now) {
            Ok(_) => {
                let token = u64::from(connection.generation) << 32 | i as u64;
                let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
                connection.socket.as_ref().is_some_and(|socket| {
                    epoll::add(&self.epoll, socket, EventData::new_u64(token), flags).is_ok()
                })
            }
            Err(_) => false,
        };
        if !added {
            self.refused(i, now);
        }
    }

    /// No connection is to be had: it costs the request that wanted it, or else the next one.
    fn refused(&mut self, i: usize, now: u64) {
        let connection = &mut self.connections[i];
        let (_, mut lost) = connection.close();
        if lost.is_empty() && !connection.idle {
            let next = self.pace.as_mut().and_then(|pace| pace.take(now));
            self.under_way += usize::from(next.is_some());
            lost.extend(next);
        }
        self.ended.extend(lost.into_iter().map(|due| Ended::failed(due, Fault::Connect)));
        self.settle(i, now);
        self.rest(i, now);
    }

    fn rest(&mut self, i: usize, now: u64) {
        if !self.connections[i].idle {
            self.connections[i].state = State::Resting;
            self.resting.push_back((now + REST_NS, i));
        }
    }

    /// Books what has ended.
    fn settle(&mut self, i: usize, now: u64) {
        let idle = self.connections[i].idle;
        for ended in self.ended.drain(..) {
            self.under_way -= 1;
            if idle {
                self.idle_pending -= 1;
                self.idle_opened += u64::from(ended.fault.is_none());
            } else {
                self.tally.ended(&ended, now);
            }
        }
    }

    fn happened(&mut self, i: usize, generation: u32, flags: EventFlags) {
        let now = self.now();
        let connection = &mut self.connections[i];
        if connection.generation != generation || connection.socket.is_none() {
            return;
        }
        if matches!(connection.state, State::Connecting { .. }) {
            let error = connection.socket.as_ref().map(Socket::take_error);
            if !matches!(error, Some(Ok(None))) {
                return self.refused(i, now);
            }
            if !flags.contains(EventFlags::OUT) {
                return;
            }
            connection.state = State::Open;
            if let Some(due) = connection.first.take() {
                connection.start(due, &self.plan.request);
                if !connection.idle {
                    self.tally.sent(due, now);
                }
            }
        }
        let ends = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        if ends || flags.contains(EventFlags::IN) {
            let read = self.read(i, ends);
            self.settle(i, now);
            if let Err(fault) = read {
                return self.over(i, fault, now);
            }
        }
        let connection = &self.connections[i];
        let served = self.plan.new_connections && !connection.idle && connection.oldest_due().is_none();
        if connection.is_used_up() || served {
            return self.over(i, Fault::Closed, now);
        }
        if !self.plan.new_connections {
            self.feed(i, now);
        }
        self.flush(i, now);
    }

    /// Reads all there is; a fault if the connection is of no more use.
    fn read(&mut self, i: usize, ends: bool) -> Result<(), Fault> {
        let connection = &mut self.connections[i];
        loop {
            let Some(socket) = &connection.socket else { return Err(Fault::Closed) };
            let read = match rustix::io::read(socket, &mut self.buffer) {
                Ok(0) => return Err(Fault::Closed),
                Ok(read) => read,
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(_) => return Err(Fault::Closed),
            };
            connection.take(&self.buffer[..read], &self.plan.request, &mut self.ended)?;
            // A buffer that was not filled emptied the socket; but its end would not be told again.
            if read < self.buffer.len() && !ends {
                return Ok(());
            }
        }
    }

    fn flush(&mut self, i: usize, now: u64) {
        if self.connections[i].state == State::Open && self.connections[i].flush(&self.plan.request).is_err()
        {
            self.over(i, Fault::Closed, now);
        }
    }

    /// A connection has ended, and with it what was under way there. The next one is opened in its place.
    fn over(&mut self, i: usize, fault: Fault, now: u64) {
        let connection = &mut self.connections[i];
        let (socket, lost) = connection.close();
        let broken = !lost.is_empty() && !connection.answered;
        self.ended.extend(lost.into_iter().map(|due| Ended::failed(due, fault)));
        self.settle(i, now);
        if self.connections[i].idle {
            self.idle_closed += 1;
            return;
        }
        if self.plan.new_connections && self.plan.request.is_http1() {
            self.lingering.extend(socket.map(|socket| (now + LINGER_NS, socket)));
            while self.lingering.pop_front_if(|(until, _)| *until <= now).is_some() {}
        }
        if broken || !(self.plan.new_connections || self.connections[i].answered) {
            self.rest(i, now);
        } else if self.plan.new_connections {
            self.feed(i, now);
        } else {
            self.open(i, now);
        }
    }

    /// Fails what has waited too long. A connection with such a request goes, and all that is under way there.
    fn scan(&mut self, now: u64) {
        self.next_scan = now + SCAN_NS;
        let timeout = self.plan.timeout.as_nanos() as u64;
        let is_old = |since: u64| since.saturating_add(timeout) <= now;
        for i in 0..self.connections.len() {
            if self.connections[i].oldest_due().is_some_and(is_old) {
                self.over(i, Fault::Timeout, now);
            } else if let State::Connecting { since } = self.connections[i].state
                && is_old(since)
            {
                self.refused(i, now);
            }
        }
        while let Some(pace) = &mut self.pace
            && pace.longest_waiting().is_some_and(is_old)
            && let Some(due) = pace.take(now)
        {
            self.tally.ended(&Ended::failed(due, Fault::Timeout), now);
        }
    }
}
