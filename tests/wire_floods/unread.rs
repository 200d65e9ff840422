//! Callers of HTTP/2 that ask on and on and read no answer.
//!
//! Law: what waits to be written for one of them is bounded: it is not read any further, and once it reads, it is again.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use weir::runtime::worker::local_runtime;

use super::common::child::Weir;
use super::common::frames::{PREFACE, remembered, settings, whole};
use super::common::world::upstream::{Upstream, full};
use super::common::world::{Http, within};
use super::{ANSWER_WITHIN, MAY_GROW, all_is_back, ask};

/// Callers of a kind at once.
const CALLERS: usize = 2;
/// Nothing was taken for so long: Weir does not read.
const STUCK: Duration = Duration::from_secs(1);

/// What is asked, by the number of the stream.
type Asked = fn(u32) -> Vec<u8>;

/// A kind of answer.
struct Row {
    name: &'static str,
    asked: Asked,
    /// What is asked faster than it is answered is refused: so it is asked slowly.
    slowly: bool,
    /// What a caller may have written before it is not read any more; the kernel alone holds 4 MiB of its answers.
    most: usize,
}

/// GET http://m/
const HEAD: &[u8] = b"\x82\x86\x84\x01\x01m";

const ROWS: [Row; 3] = [
    Row {
        name: "404",
        // Nobody's authority, which the first leaves in the table.
        asked: |id| match id {
            1 => [&HEAD[..3], &remembered(b":authority", b"nobody")].concat(),
            _ => [&HEAD[..3], &[0xbe]].concat(),
        },
        slowly: false,
        most: 16 << 20,
    },
    Row {
        name: "431",
        // The first leaves 4 KB in the table, which the others name seventeen times: more than a head may have.
        asked: |id| match id {
            1 => [HEAD, &remembered(b"x-large", &[b'a'; 4_000])].concat(),
            _ => [HEAD, &[0xbe; 17]].concat(),
        },
        slowly: false,
        most: 32 << 20,
    },
    Row {
        name: "heads of 8 KiB",
        asked: |_| b"\x82\x86\x04\x05/head\x01\x01m".to_vec(),
        slowly: true,
        most: 1 << 20,
    },
];

/// A caller with little room in its kernel.
struct Caller {
    stream: TcpStream,
    to: SocketAddr,
    next: u32,
}

impl Caller {
    async fn connect(to: SocketAddr) -> Caller {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4 << 10).expect("an option");
        socket.set_send_buffer_size(16 << 10).expect("an option");
        let mut stream = socket.connect(to).await.expect("a connection");
        stream.write_all(&[PREFACE, &settings(&[])].concat()).await.expect("written");
        Caller { stream, to, next: 1 }
    }

    fn round(&mut self, row: &Row) -> Vec<u8> {
        let count = if row.slowly { 5 } else { 50 };
        let ids = (self.next..).step_by(2).take(count);
        self.next += 2 * count as u32;
        ids.flat_map(|id| whole(id, &(row.asked)(id))).collect()
    }

    /// Asks until nothing is taken any more; what has not been taken yet.
    async fn ask_until_stuck(&mut self, row: &Row) -> Vec<u8> {
        let (name, mut written) = (row.name, 0);
        loop {
            let round = self.round(row);
            let mut left = &round[..];
            while !left.is_empty() {
                match timeout(STUCK, self.stream.write(left)).await {
                    Ok(taken) => {
                        let taken = taken.expect("the connection goes on");
                        written += taken;
                        left = &left[taken..];
                    }
                    Err(_) => {
                        println!("{name}: {} requests, {written} bytes", self.next / 2);
                        return left.to_vec();
                    }
                }
            }
            if row.slowly {
                ask(self.to, Http::Two).await; // behind the others: there is one worker
            }
            assert!(written < row.most, "{name}: nothing holds up a caller that does not read");
        }
    }

    /// Reads all, and is heard with the rest.
    async fn go_on(self, name: &str, rest: Vec<u8>) {
        let (mut reader, mut writer) = self.stream.into_split();
        let read = async {
            let mut some = vec![0; 64 << 10];
            while reader.read(&mut some).await.expect("the connection goes on") > 0 {}
        };
        within(Duration::from_secs(20), &format!("{name}: it is read again"), async {
            tokio::select! {
                written = writer.write_all(&rest) => written.expect("the connection goes on"),
                () = read => panic!("{name}: the connection has ended"),
            }
        })
        .await;
    }
}

/// An upstream with a thread of its own, whose answers to `/head` have 8 KiB of head and no body.
fn upstream() -> SocketAddr {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        local_runtime().expect("a runtime").block_on(async {
            let upstream = Upstream::handling(|request| async move {
                let mut answer = http::Response::new(full(""));
                if request.uri().path() == "/head" {
                    let large = http::HeaderValue::from_bytes(&[b'a'; 8 << 10]).expect("a value");
                    answer.headers_mut().insert("x-large", large);
                }
                answer
            })
            .await;
            tell.send(upstream.addr()).expect("the test waits");
            std::future::pending::<()>().await;
        });
    });
    told.recv().expect("an upstream")
}

/// See the law: each kind by some callers at once, while others ask.
pub(crate) async fn heads() {
    let endpoint = format!("{{http: '{}', labels: {{version: v1}}}}", upstream());
    let main = format!("workers: 1\nservices: [{{name: m, endpoints: [{endpoint}]}}]\n");
    let weir = Weir::start_gateway(&main, "");
    ask(weir.address, Http::Two).await;
    for row in ROWS {
        let name = row.name;
        let (memory, descriptors) = (weir.watch_memory(), weir.descriptors());
        let callers = (0..CALLERS).map(|_| async {
            let mut caller = Caller::connect(weir.address).await;
            let rest = caller.ask_until_stuck(&row).await;
            (caller, rest)
        });
        let callers = join_all(callers).await;
        for http in Http::BOTH {
            within(2 * ANSWER_WITHIN, name, ask(weir.address, http)).await;
        }
        join_all(callers.into_iter().map(|(caller, rest)| caller.go_on(name, rest))).await;
        let grown = memory.grown();
        println!("{name}: memory grew by {} KiB", grown >> 10);
        assert!(grown <= MAY_GROW, "{name}: memory grew by {} KiB", grown >> 10);
        all_is_back(name, &weir, descriptors).await;
    }
}
