//! One connection: its socket, its protocol, and the requests under way on it.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

use crate::http1;
use crate::http2::Http2;
use crate::options::Request;
use crate::outbox::Outbox;
use crate::tally::{Ended, Fault};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum State {
    /// Closed, and free to open.
    Down,
    /// Closed, and to be left so for a moment.
    Resting,
    Connecting {
        since: u64,
    },
    Open,
}

enum Wire {
    Http1 { reader: http1::Reader, due: Option<u64>, closes: bool },
    Http2(Box<Http2>),
}

pub(crate) struct Connection {
    /// One that carries a single request and is kept.
    pub(crate) idle: bool,
    pub(crate) state: State,
    pub(crate) socket: Option<Socket>,
    /// Counts its sockets: an event of an earlier one is not for this one.
    pub(crate) generation: u32,
    /// A request that waits for the connection.
    pub(crate) first: Option<u64>,
    /// It stands in the list of those with room.
    pub(crate) listed: bool,
    /// Since it was opened something was answered on it.
    pub(crate) answered: bool,
    wire: Wire,
    outbox: Outbox,
}

impl Connection {
    pub(crate) fn new(idle: bool, request: &Request) -> Connection {
        let mut outbox = Outbox::default();
        let wire = Wire::new(request, &mut outbox);
        Connection {
            idle,
            state: State::Down,
            socket: None,
            generation: 0,
            first: None,
            listed: false,
            answered: false,
            wire,
            outbox,
        }
    }

    /// Begins to connect; the caller waits for the socket to be writable.
    pub(crate) fn open(&mut self, address: SocketAddr, request: &Request, now: u64) -> io::Result<&Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&address.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
            Err(error) => return Err(error),
        }
        self.generation = self.generation.wrapping_add(1);
        self.outbox.clear();
        self.wire = Wire::new(request, &mut self.outbox);
        self.answered = false;
        self.state = State::Connecting { since: now };
        Ok(self.socket.insert(socket))
    }

    /// Leaves it, and what was under way on it; the socket is for whoever takes it.
    pub(crate) fn close(&mut self) -> (Option<Socket>, Vec<u64>) {
        let mut lost: Vec<u64> = self.first.take().into_iter().collect();
        match &mut self.wire {
            Wire::Http1 { due, .. } => lost.extend(due.take()),
            Wire::Http2(http2) => lost.extend(http2.give_up()),
        }
        self.state = State::Down;
        (self.socket.take(), lost)
    }

    /// One more request can be sent on it now.
    pub(crate) fn has_room(&self) -> bool {
        self.state == State::Open
            && match &self.wire {
                Wire::Http1 { due, closes, .. } => due.is_none() && !closes,
                Wire::Http2(http2) => http2.has_room(),
            }
    }

    /// Nothing is under way, and nothing will be.
    pub(crate) fn is_used_up(&self) -> bool {
        match &self.wire {
            Wire::Http1 { due, closes, .. } => *closes && due.is_none(),
            Wire::Http2(http2) => http2.is_going_away() && http2.under_way() == 0,
        }
    }

    /// When the request that has waited longest was due.
    pub(crate) fn oldest_due(&self) -> Option<u64> {
        let under_way = match &self.wire {
            Wire::Http1 { due, .. } => *due,
            Wire::Http2(http2) => http2.oldest_due(),
        };
        under_way.or(self.first)
    }

    pub(crate) fn start(&mut self, due: u64, request: &Request) {
        match (&mut self.wire, request) {
            (Wire::Http1 { due: under_way, .. }, Request::Http1(template)) => {
                *under_way = Some(due);
                template.send(&mut self.outbox);
            }
            (Wire::Http2(http2), Request::Grpc { template, .. }) => {
                http2.start(due, template, &mut self.outbox);
            }
            // `Wire::new` follows the request.
            _ => {}
        }
    }

    /// Takes what arrived. After a fault the connection is of no more use.
    pub(crate) fn take(
        &mut self,
        bytes: &[u8],
        request: &Request,
        ended: &mut Vec<Ended>,
    ) -> Result<(), Fault> {
        let before = ended.len();
        match (&mut self.wire, request) {
            (Wire::Http1 { reader, due: under_way, closes }, Request::Http1(_)) => {
                // What nobody asked for, such as a 408 in front of a close, answers nobody.
                let due = under_way.ok_or(Fault::Closed)?;
                if let Some(answer) = reader.take(bytes)? {
                    *under_way = None;
                    *closes = answer.closes;
                    let good = (200..300).contains(&answer.status);
                    ended.push(Ended {
                        due,
                        fault: (!good).then_some(Fault::Status),
                        status: Some(answer.status),
                        grpc_status: None,
                        body_bytes: answer.body_bytes,
                    });
                }
            }
            (Wire::Http2(http2), Request::Grpc { template, .. }) => {
                http2.take(bytes, template, &mut self.outbox, ended)?;
            }
            _ => {}
        }
        self.answered |= ended.len() > before;
        Ok(())
    }

    /// Writes what the socket takes.
    pub(crate) fn flush(&mut self, request: &Request) -> io::Result<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        loop {
            let room = match request {
                Request::Http1(template) => self.outbox.write(socket, &template.shared)?,
                Request::Grpc { template, .. } => self.outbox.write(socket, &template.body)?,
            };
            // A full socket says when it is not. With room, bodies that waited for it go on.
            if let (true, Wire::Http2(http2), Request::Grpc { template, .. }) =
                (room, &mut self.wire, request)
            {
                http2.send_bodies(template, &mut self.outbox);
            }
            if !room || self.outbox.is_empty() {
                return Ok(());
            }
        }
    }
}

impl Wire {
    fn new(request: &Request, outbox: &mut Outbox) -> Wire {
        match request {
            Request::Http1(_) => Wire::Http1 { reader: http1::Reader::default(), due: None, closes: false },
            Request::Grpc { streams, .. } => Wire::Http2(Box::new(Http2::new(*streams, outbox))),
        }
    }
}
