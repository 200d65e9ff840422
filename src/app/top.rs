//! `weir top`: the table of a proxy that runs, drawn anew each second.
//!
//! Law: it asks the admin alone, and shows what that says. A proxy that is away for a while is waited for; one that was
//! never there is a fault.

pub mod table;
pub mod view;

mod grid;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval};

use table::{Recent, Screen, TOP, minute_rows};

/// What may be chosen about it.
#[derive(Clone, Debug)]
pub struct Top {
    /// Whom to ask.
    pub admin: SocketAddr,
    /// Once, in place of again and again.
    pub once: bool,
    /// What the admin says, in place of a table.
    pub json: bool,
    /// How often.
    pub interval: Duration,
    /// Which services and rules.
    pub filter: Option<String>,
}

impl Top {
    /// Shows the table on the standard output, until nobody reads it or for once.
    ///
    /// # Errors
    /// Why there is nothing to show, on one line.
    pub fn run(&self) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
        runtime.block_on(self.show(&mut io::stdout().lock()))
    }

    async fn show(&self, out: &mut impl Write) -> Result<(), String> {
        let (start, mut screen, mut recent) = (Instant::now(), Screen::of_stdout(&TOP), Recent::default());
        let mut ticks = interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut was_there, mut is_away) = (false, false);
        loop {
            ticks.tick().await;
            let told = match self.fetch().await {
                Ok(page) if self.json => json(&page, self.once).map_err(|error| error.to_string()),
                Ok(page) => {
                    view::read(&page).map_err(|error| error.to_string()).map(|view| match self.once {
                        true => screen.once(&minute_rows(&view)),
                        false => {
                            screen.measure();
                            screen.draw(start.elapsed(), &recent.rows(Instant::now(), &view))
                        }
                    })
                }
                Err(error) => Err(self.reason(&error)),
            };
            let text = match told {
                Ok(text) => {
                    (was_there, is_away) = (true, false);
                    text
                }
                Err(reason) if self.once || !was_there => return Err(reason),
                Err(_) if is_away => continue,
                Err(reason) => {
                    is_away = true;
                    screen.leave();
                    // Between JSON documents there is nothing else.
                    eprintln!("weir top: {reason}");
                    continue;
                }
            };
            match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
                Ok(()) if self.once => return Ok(()),
                Ok(()) => {}
                // Whoever read it has read enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                Err(error) => return Err(format!("cannot write: {error}")),
            }
        }
    }

    async fn fetch(&self) -> io::Result<Vec<u8>> {
        let filter = self.filter.as_deref().map(|filter| utf8_percent_encode(filter, NON_ALPHANUMERIC));
        // What may not fit stands at the end.
        let sort = (!self.json).then(|| "sort=trouble".to_owned());
        let asked: Vec<String> =
            sort.into_iter().chain(filter.map(|filter| format!("filter={filter}"))).collect();
        view::page(self.admin, &format!("/splits?{}", asked.join("&"))).await
    }

    fn reason(&self, error: &io::Error) -> String {
        let admin = self.admin;
        match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                format!("nothing listens at {admin}: is weir running, and is this its admin address?")
            }
            _ => format!("{admin}: {error}"),
        }
    }
}

/// One document: laid out, or in a line of its own where others follow.
fn json(page: &[u8], alone: bool) -> serde_json::Result<String> {
    let value: Value = serde_json::from_slice(page)?;
    let text = if alone { serde_json::to_string_pretty(&value)? } else { value.to_string() };
    Ok(text + "\n")
}
