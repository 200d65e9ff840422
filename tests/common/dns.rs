//! DNS over UDP (RFC 1035): a server that says what a test says, and the stub resolver by which a proxy asks it.
//!
//! The system's resolver cannot be told of a server without rights over the machine, so this stub stands in its place, at
//! the proxy's own edge. Law: between the two there is nothing but datagrams.
// Compiled into several tests, few of which use all of it; `pub` marks what tests call.
#![allow(dead_code, unreachable_pub, clippy::expect_used)]

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::net::UdpSocket;
use tokio::task::spawn_local;
use tokio::time::timeout;
use weir::upstream::resolve::Resolver;

use super::world::until;

/// The longest message without EDNS.
const LONGEST: usize = 512;
const TYPE_A: u16 = 1;
const TYPE_CNAME: u16 = 5;
const CLASS_IN: u16 = 1;
const OK: u8 = 0;
const SERVER_FAILURE: u8 = 2;
const NO_SUCH_NAME: u8 = 3;
/// A datagram may be lost; who hears nothing asks again.
const AGAIN: Duration = Duration::from_millis(500);

/// What a server says of a name.
#[derive(Clone, Debug)]
pub enum Says {
    /// It has these addresses.
    Addresses(Vec<Ipv4Addr>),
    /// It is another name of one that has these addresses.
    Alias(&'static str, Vec<Ipv4Addr>),
    /// It is known, and has no address.
    NoAddress,
    /// There is no such name.
    NoSuchName,
    /// The server itself fails.
    Failure,
    /// An answer to a question that nobody has asked.
    Stray,
    /// Nothing at all.
    Silence,
}

/// A server that says the same of every name.
pub struct Server {
    address: SocketAddr,
    says: Rc<RefCell<Says>>,
    questions: Rc<RefCell<Vec<String>>>,
    /// Questions that were answered, or passed over, since it says what it says.
    since: Rc<Cell<usize>>,
}

impl Server {
    pub async fn start(says: Says) -> Server {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let server = Server {
            address: socket.local_addr().expect("an address"),
            says: Rc::new(RefCell::new(says)),
            questions: Rc::default(),
            since: Rc::default(),
        };
        let (says, questions, since) = (server.says.clone(), server.questions.clone(), server.since.clone());
        spawn_local(async move {
            let mut buffer = [0; LONGEST];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let question = &buffer[..length];
                let name = name_asked(question).expect("a question for an address");
                let answer = answer(question, &says.borrow());
                if let Some(answer) = answer {
                    // Who asked may be gone.
                    let _ = socket.send_to(&answer, from).await;
                }
                questions.borrow_mut().push(name);
                since.set(since.get() + 1);
            }
        });
        server
    }

    /// From now on it says this.
    pub fn say(&self, says: Says) {
        self.says.replace(says);
        self.since.set(0);
    }

    /// Waits until so many questions came since it says what it says.
    pub async fn asked(&self, times: usize) {
        until(&format!("{times} questions"), || (self.since.get() >= times).then_some(())).await;
    }

    /// The names that were asked for.
    pub fn questions(&self) -> Vec<String> {
        self.questions.borrow().clone()
    }

    /// What a proxy asks in place of the system's resolver.
    pub fn resolver(&self) -> Resolver {
        let server = self.address;
        Resolver::new(move |(host, port)| {
            async move {
                let found = ask(server, &host).await?;
                Ok(found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
            }
            .boxed_local()
        })
    }
}

/// The name of a message's one question, which must be for addresses.
fn name_asked(message: &[u8]) -> Option<String> {
    let asks_one = message.get(2..6)? == [1, 0, 0, 1];
    let (name, end) = name(message, 12)?;
    let kind = [TYPE_A.to_be_bytes(), CLASS_IN.to_be_bytes()].concat();
    (asks_one && message.get(end..)? == kind).then_some(name)
}

fn answer(question: &[u8], says: &Says) -> Option<Vec<u8>> {
    let mut records = Vec::new();
    let code = match says {
        Says::Silence => return None,
        Says::Failure => SERVER_FAILURE,
        Says::NoSuchName => NO_SUCH_NAME,
        Says::NoAddress => OK,
        Says::Addresses(all) => {
            // 0xc00c: the name at byte 12, which is the question's.
            records.extend(all.iter().map(|ip| record(&[0xc0, 12], TYPE_A, &ip.octets())));
            OK
        }
        Says::Alias(of, all) => {
            records.push(record(&[0xc0, 12], TYPE_CNAME, &labels(of)));
            records.extend(all.iter().map(|ip| record(&labels(of), TYPE_A, &ip.octets())));
            OK
        }
        Says::Stray => {
            records.push(record(&[0xc0, 12], TYPE_A, &[127, 0, 0, 1]));
            OK
        }
    };
    let mut answer = question.to_vec();
    // QR, AA, RD; RA and the code.
    (answer[2], answer[3]) = (0b1000_0101, 0b1000_0000 | code);
    answer[7] = records.len() as u8;
    if matches!(says, Says::Stray) {
        answer[1] ^= 1;
    }
    answer.extend(records.concat());
    Some(answer)
}

fn record(owner: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
    let ttl: u32 = 1;
    let mut record = owner.to_vec();
    record.extend([kind.to_be_bytes(), CLASS_IN.to_be_bytes()].concat());
    record.extend(ttl.to_be_bytes());
    record.extend((data.len() as u16).to_be_bytes());
    record.extend(data);
    record
}

fn labels(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).expect("a label"));
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// The name at `at`, and where what follows it begins.
fn name(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let (mut labels, mut end) = (Vec::new(), None);
    // A pointer that leads in a circle leads nowhere.
    for _ in 0..64 {
        let length = usize::from(*message.get(at)?);
        if length >= 0xc0 {
            end = end.or(Some(at + 2));
            at = (length & 0x3f) << 8 | usize::from(*message.get(at + 1)?);
        } else if length == 0 {
            return Some((labels.join("."), end.unwrap_or(at + 1)));
        } else {
            labels.push(String::from_utf8_lossy(message.get(at + 1..at + 1 + length)?).into_owned());
            at += 1 + length;
        }
    }
    None
}

/// The addresses that `server` says `host` has.
async fn ask(server: SocketAddr, host: &str) -> io::Result<Vec<IpAddr>> {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut question = id.to_be_bytes().to_vec();
    question.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]); // RD; one question
    question.extend(labels(host));
    question.extend([TYPE_A.to_be_bytes(), CLASS_IN.to_be_bytes()].concat());
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    socket.connect(server).await?;
    let mut buffer = [0; LONGEST];
    loop {
        socket.send(&question).await?;
        let answered = timeout(AGAIN, async {
            loop {
                let length = socket.recv(&mut buffer).await?;
                if length > 12 && buffer[..2] == id.to_be_bytes() && buffer[2] & 0x80 != 0 {
                    return io::Result::Ok(length);
                }
            }
        });
        if let Ok(length) = answered.await {
            return addresses(&buffer[..length?]);
        }
    }
}

fn addresses(answer: &[u8]) -> io::Result<Vec<IpAddr>> {
    match answer[3] & 0xf {
        OK => {}
        NO_SUCH_NAME => return Err(io::Error::other("no such name")),
        code => return Err(io::Error::other(format!("the server's code is {code}"))),
    }
    records(answer).ok_or_else(|| io::Error::other("the answer has no reading"))
}

fn records(answer: &[u8]) -> Option<Vec<IpAddr>> {
    let (_, end) = name(answer, 12)?;
    let (mut at, mut found) = (end + 4, Vec::new());
    for _ in 0..u16::from_be_bytes([answer[6], answer[7]]) {
        let (_, end) = name(answer, at)?;
        let fixed = answer.get(end..end + 10)?;
        let length = usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        let data = answer.get(end + 10..end + 10 + length)?;
        if u16::from_be_bytes([fixed[0], fixed[1]]) == TYPE_A {
            let ip: [u8; 4] = data.try_into().ok()?;
            found.push(Ipv4Addr::from(ip).into());
        }
        at = end + 10 + length;
    }
    Some(found)
}
