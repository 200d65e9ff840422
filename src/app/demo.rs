//! The wiring of `weir demo`: a split to look at, on this machine alone, in one process.
//!
//! Law: it leaves nothing behind, and everything it starts listens on loopback only. The proxy it shows is the one that
//! `weir proxy` runs, started from files as a user's would be.

use std::fmt;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::time::{MissedTickBehavior, interval_at, sleep};

use super::sidecar::{self, Leave, Sidecar};
use super::top::table::{DEMO, Recent, Screen, summary_line};
use super::top::view::{self, SplitsView};
use crate::demo::files::{Addresses, Files};
use crate::demo::model_server::{ModelServer, Options, ServiceTime};
use crate::demo::traffic::{Counts, Traffic};
use crate::runtime::worker;

/// The toy model's name.
const MODEL: &str = "half_plus_two";
/// How often the table is drawn.
const DRAW_EVERY: Duration = Duration::from_secs(1);

/// What may be chosen about a demo.
#[derive(Clone, Debug)]
pub struct Demo {
    /// When it ends by itself; without it, at SIGINT or SIGTERM.
    pub run_for: Option<Duration>,
    /// Whether it sends traffic of its own.
    pub traffic: bool,
    /// Where the proxy listens on 127.0.0.1; 0 takes a free port.
    pub port: u16,
    /// Where the proxy's admin listens on 127.0.0.1; 0 takes a free port.
    pub admin_port: u16,
}

impl Demo {
    /// Runs to the end, on a runtime of its own, and shows itself on the standard output.
    ///
    /// # Errors
    /// When it cannot start, or cannot write. What it says is one line that tells what to do next.
    pub fn run(&self) -> Result<(), Fault> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|fault| Fault::io("start the demo's runtime", fault))?;
        runtime.block_on(async {
            // Before anything is written: a signal from here on ends the demo in good order.
            let mut signals = Signals::listen()?;
            let end = async {
                tokio::select! {
                    () = over(self.run_for) => {}
                    () = signals.next() => {}
                }
            };
            let start = async |config: &Path| start_proxy(config).await;
            run(self, Screen::of_stdout(&DEMO), &mut io::stdout().lock(), start, end).await
        })
    }
}

/// A proxy that runs until this is dropped, on a control thread of its own.
struct Proxy {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has printed itself; the demo ends either way.
            let _ = thread.join();
        }
    }
}

/// Starts `weir proxy -c config` in this process.
async fn start_proxy(config: &Path) -> Result<Proxy, Fault> {
    let options = sidecar::Options::new(config.to_owned());
    let (stop, stopped) = oneshot::channel::<()>();
    let (tell, told) = oneshot::channel();
    let thread = worker::spawn("proxy", move || async move {
        match Sidecar::start(&options).await {
            Ok(sidecar) => {
                let _ = tell.send(Ok(()));
                let leave = async {
                    let _ = stopped.await;
                    Leave::Quit
                };
                sidecar.run(leave).await;
            }
            Err(fault) => drop(tell.send(Err(Fault::Proxy(fault.to_string())))),
        }
    });
    let thread = Some(thread.map_err(|fault| Fault::io("start the proxy's thread", fault))?);
    let proxy = Proxy { stop: Some(stop), thread };
    match told.await {
        Ok(started) => started.map(|()| proxy),
        Err(_) => Err(Fault::Proxy("the proxy ended before it served".to_owned())),
    }
}

/// Why the demo cannot go on.
#[derive(Debug)]
pub enum Fault {
    /// Something else listens there.
    PortTaken {
        /// The port.
        port: u16,
        /// The option that chooses another.
        option: &'static str,
    },
    /// Both ports are the same.
    SamePort {
        /// The port.
        port: u16,
    },
    /// The system refused.
    Io {
        /// What could not be done.
        doing: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The proxy did not start.
    Proxy(String),
}

impl Fault {
    fn io(doing: &'static str, source: io::Error) -> Self {
        Self::Io { doing, source }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PortTaken { port, option } => write!(
                f,
                "port {port} on 127.0.0.1 is in use: stop what listens there or choose another with {option}"
            ),
            Self::SamePort { port } => {
                write!(f, "--port and --admin-port are both {port}: choose two different ports")
            }
            Self::Io { doing, source } => write!(f, "cannot {doing}: {source}"),
            Self::Proxy(fault) => f.write_str(fault),
        }
    }
}

/// The whole demo, until `end`, which is waited for once all runs. `start` starts a proxy from a configuration file; the
/// proxy runs until its handle is dropped.
async fn run<P>(
    demo: &Demo,
    screen: Screen,
    out: &mut impl Write,
    start: impl AsyncFnOnce(&Path) -> Result<P, Fault>,
    end: impl Future<Output = ()>,
) -> Result<(), Fault> {
    let [proxy_addr, admin, metrics] = free_addresses(demo)?;
    let models = [model_server(1).await?, model_server(2).await?];
    let model_addrs = models.each_ref().map(|model| (model.grpc_addr(), model.rest_addr()));
    let addresses = Addresses { proxy: proxy_addr, admin, metrics, models: model_addrs };
    let files = Files::write(&addresses).map_err(|fault| Fault::io("write the demo's files", fault))?;
    let proxy = start(&files.config()).await?;
    introduce(out, &addresses, &files).map_err(writing)?;
    let (stop, stopped) = watch::channel(false);
    let counts = Counts::default();
    let traffic = async {
        if demo.traffic { Traffic::gentle(proxy_addr, MODEL).run(&counts, stopped).await } else { Ok(()) }
    };
    let shown = async {
        let shown = show(end, admin, screen, out).await;
        // Whoever listens has gone already: then there is nothing to stop.
        let _ = stop.send(true);
        shown
    };
    let (shown, sent) = tokio::join!(shown, traffic);
    let last = shown?;
    sent.map_err(|fault| Fault::io("send traffic", fault))?;
    // What the traffic sent last may have been counted after the last drawing.
    let last = view::fetch(admin).await.ok().or(last);
    summarize(out, last.as_ref(), &models, &counts).map_err(writing)?;
    drop(proxy);
    Ok(())
}

/// Addresses that nobody listens at: the proxy's, its admin's, its metrics'.
fn free_addresses(demo: &Demo) -> Result<[SocketAddr; 3], Fault> {
    if demo.port == demo.admin_port && demo.port != 0 {
        return Err(Fault::SamePort { port: demo.port });
    }
    let bind = |port: u16, option: &'static str| {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|fault| match fault.kind() {
            io::ErrorKind::AddrInUse => Fault::PortTaken { port, option },
            _ => Fault::io("listen on 127.0.0.1", fault),
        })
    };
    // All three are held until each is known, so that free ports differ from one another.
    let listeners = [bind(demo.port, "--port")?, bind(demo.admin_port, "--admin-port")?, bind(0, "--port")?];
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); 3];
    for (address, listener) in addresses.iter_mut().zip(&listeners) {
        *address = listener.local_addr().map_err(|fault| Fault::io("listen on 127.0.0.1", fault))?;
    }
    Ok(addresses)
}

/// Version 2 is a bit slower, so that the table has something to tell.
async fn model_server(version: u32) -> Result<ModelServer, Fault> {
    let service_time = ServiceTime {
        base: Duration::from_millis(u64::from(version) + 1),
        jitter: Duration::from_millis(u64::from(version)),
    };
    let options = Options { model: MODEL.to_owned(), service_time, ..Options::default() };
    ModelServer::start(version, options).await.map_err(|fault| Fault::io("start a model server", fault))
}

fn introduce(out: &mut impl Write, addresses: &Addresses, files: &Files) -> io::Result<()> {
    let Addresses { proxy, admin, .. } = addresses;
    writeln!(
        out,
        "{MODEL} v1 and v2 behind Weir on {proxy}, 95 to 5; its files are in {}\n\n\
         To try in another terminal: a prediction, an edit of the rule, the figures\n\n\
         curl -d '{{\"instances\": [1.0, 2.0, 5.0]}}' http://{proxy}/v1/models/{MODEL}:predict\n\
         {}\n\
         http://{admin}/splits\n",
        files.folder().display(),
        files.edit_line(),
    )?;
    out.flush()
}

/// SIGINT, as Ctrl-C sends it, SIGTERM, and SIGHUP, as a terminal sends that is closed.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Fault> {
        let listen = |kind| signal(kind).map_err(|fault| Fault::io("wait for signals", fault));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// Waits that long, or for ever.
async fn over(run_for: Option<Duration>) {
    match run_for {
        Some(time) => sleep(time).await,
        None => std::future::pending().await,
    }
}

/// Draws the table until `end`. Gives the last view.
async fn show(
    end: impl Future<Output = ()>,
    admin: SocketAddr,
    mut screen: Screen,
    out: &mut impl Write,
) -> Result<Option<SplitsView>, Fault> {
    let started = Instant::now();
    let mut end = std::pin::pin!(end);
    let mut ticks = interval_at(tokio::time::Instant::now() + DRAW_EVERY, DRAW_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut recent, mut last, mut away) = (Recent::default(), None, false);
    loop {
        tokio::select! {
            () = end.as_mut() => return Ok(last),
            _ = ticks.tick() => {}
        }
        let fetched = view::fetch(admin).await;
        let text = match &fetched {
            Ok(view) => screen.draw(started.elapsed(), &recent.rows(Instant::now(), view)),
            Err(_) if away => String::new(),
            Err(fault) => {
                screen.leave();
                format!("the admin at {admin} does not answer: {fault}\n")
            }
        };
        away = fetched.is_err();
        last = fetched.ok().or(last);
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(writing)?;
    }
}

fn summarize(
    out: &mut impl Write,
    last: Option<&SplitsView>,
    models: &[ModelServer; 2],
    counts: &Counts,
) -> io::Result<()> {
    writeln!(out)?;
    match last.filter(|view| !view.splits.is_empty()) {
        Some(view) => {
            for version in view.splits.iter().flat_map(|split| &split.versions) {
                writeln!(out, "{}", summary_line(version))?;
            }
        }
        // The proxy told nothing; the model servers know what reached them.
        None => {
            for (name, model) in ["v1", "v2"].iter().zip(models) {
                writeln!(out, "{name}  {} predictions reached its model server", model.requests())?;
            }
        }
    }
    if counts.failed() > 0 {
        writeln!(out, "{} of {} requests of the demo's own traffic failed", counts.failed(), counts.sent())?;
    }
    out.flush()
}

fn writing(source: io::Error) -> Fault {
    Fault::io("write to the standard output", source)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn demo(traffic: bool) -> Demo {
        Demo { run_for: None, traffic, port: 0, admin_port: 0 }
    }

    /// What stands for a proxy, at the addresses that the demo's weir.yaml gives it: an admin that always shows the
    /// same, and a listener that hangs up on whoever comes.
    struct Fake {
        admin: Task,
        listener: Task,
    }

    type Task = tokio::task::JoinHandle<()>;

    impl Drop for Fake {
        fn drop(&mut self) {
            self.admin.abort();
            self.listener.abort();
        }
    }

    /// How often somebody came.
    #[derive(Default)]
    struct Came {
        admin: watch::Sender<u64>,
        listener: watch::Sender<u64>,
    }

    impl Came {
        /// Once somebody has come there.
        async fn first(place: &watch::Sender<u64>) {
            place.subscribe().wait_for(|came| *came > 0).await.unwrap();
        }
    }

    async fn fake_proxy(config: &Path, came: &Came) -> Fake {
        let text = std::fs::read_to_string(config).unwrap();
        let after = |part: &str, key: &str| {
            let (_, rest) = text.split_once(part).unwrap();
            let (_, rest) = rest.split_once(key).unwrap();
            rest.split('"').next().unwrap().to_owned()
        };
        let bind = async |address: String| tokio::net::TcpListener::bind(address).await.unwrap();
        let admin = bind(after("admin:", "address: \"")).await;
        let listener = bind(after("listeners:", "address: \"")).await;
        let page = r#"{"generation":1,"splits":[{"service":"s","rule":"canary.default","versions":[
            {"version":"v1","weight":95,"start":{"requests":95,"share":0.95,"success_rate":1.0,"p50_ms":2.0,"p99_ms":4.0}},
            {"version":"v2","weight":5,"start":{"requests":5,"share":0.05,"success_rate":null}}]}]}"#;
        let (asked, called) = (came.admin.clone(), came.listener.clone());
        Fake {
            admin: tokio::spawn(async move {
                loop {
                    let (mut stream, _) = admin.accept().await.unwrap();
                    asked.send_modify(|came| *came += 1);
                    let _ = stream.read(&mut [0; 1024]).await.unwrap();
                    let reply = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{page}", page.len());
                    stream.write_all(reply.as_bytes()).await.unwrap();
                }
            }),
            listener: tokio::spawn(async move {
                loop {
                    drop(listener.accept().await.unwrap());
                    called.send_modify(|came| *came += 1);
                }
            }),
        }
    }

    async fn output(demo: &Demo, came: &Came, end: impl Future<Output = ()>) -> String {
        let mut out = Vec::new();
        let start = async |config: &Path| Ok(fake_proxy(config, came).await);
        run(demo, Screen::new(&DEMO, false, false), &mut out, start, end).await.unwrap();
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn it_names_its_files_gives_three_lines_to_paste_and_sums_up_in_two() {
        let came = Came::default();
        // The first question is the first drawing's, which is finished before the end is looked at.
        let text = output(&demo(false), &came, Came::first(&came.admin)).await;
        let lines: Vec<&str> = text.lines().collect();
        let folder = lines[0].rsplit(' ').next().unwrap();
        assert!(!Path::new(folder).exists(), "{folder} should be gone");
        assert!(lines[4].starts_with("curl -d '{\"instances\": [1.0, 2.0, 5.0]}' http://127.0.0.1:"));
        assert!(lines[5].starts_with("sed -i.bak ") && lines[5].contains(folder));
        assert!(lines[6].starts_with("http://127.0.0.1:") && lines[6].ends_with("/splits"));
        assert!(lines[8].contains("version v1  weight 95  share 95.0 %"), "{text}");
        let expected = [
            "v1  95 requests (95.0 %)  success 100.0 %  p50 2.0 ms  p99 4.0 ms",
            "v2  5 requests (5.0 %)  success -  p50 -  p99 -",
        ];
        assert_eq!(lines[lines.len() - 2..], expected);
    }

    #[tokio::test]
    async fn traffic_that_gets_no_answer_is_told_at_the_end() {
        let came = Came::default();
        // A request that is under way at the end is finished, and counted.
        let text = output(&demo(true), &came, Came::first(&came.listener)).await;
        assert!(text.trim_end().ends_with("requests of the demo's own traffic failed"), "{text}");
    }

    #[tokio::test]
    async fn a_taken_port_is_one_line_that_names_the_option() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let free = demo(false);
        for (option, demo) in [
            ("--port", Demo { port, ..free.clone() }),
            ("--admin-port", Demo { admin_port: port, ..free.clone() }),
        ] {
            let expected = format!(
                "port {port} on 127.0.0.1 is in use: stop what listens there or choose another with {option}"
            );
            assert_eq!(free_addresses(&demo).unwrap_err().to_string(), expected);
        }
        let fault = free_addresses(&Demo { port: 9, admin_port: 9, ..free }).unwrap_err();
        assert!(fault.to_string().contains("choose two different ports"));
    }
}
