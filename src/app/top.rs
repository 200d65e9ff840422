//! `weir top`: the table of a proxy that runs, drawn anew each second.
//!
//! Law: it asks the admin alone, and shows what that says. A proxy that is away for a while, as when it starts anew, is
//! waited for, and what was shown stays and is said to be old; one that was never there is a fault.

pub mod table;
pub mod view;

mod grid;

use std::io::{self, Write};
use std::time::{Duration, Instant};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval};

use table::{Recent, Screen, TOP, minute_rows};

/// What may be chosen about it.
#[derive(Clone, Debug)]
pub struct Top {
    /// Whom to ask: a name or an address, and a port.
    pub admin: String,
    /// Once, in place of again and again.
    pub once: bool,
    /// What the admin says, in place of a table.
    pub json: bool,
    /// How often.
    pub interval: Duration,
    /// Which services and rules.
    pub filter: Option<String>,
    /// How many rules at most.
    pub limit: Option<usize>,
}

/// Rules that are shown where there is no terminal whose height says how many.
const MAX_RULES: usize = 100;

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
        if let Some(nothing) = self.no_match() {
            screen.say_of_nothing(nothing);
        }
        let mut ticks = interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // What was shown last, and since when there has been nothing new.
        let (mut last, mut lost, mut left_out) = (None, None, 0);
        loop {
            ticks.tick().await;
            screen.measure();
            let told = self.fetch(&screen).await.map_err(|error| self.reason(&error)).and_then(|page| {
                let view = view::read(&page).map_err(|error| format!("{}: {error}", self.admin))?;
                Ok((page, view))
            });
            let (text, has_none) = match told {
                Ok((page, view)) => {
                    if let Some(since) = lost.take() {
                        // It may be another process, whose counters began anew.
                        recent = Recent::default();
                        screen.set_notice(None);
                        self.tell_unseen(&screen, &format!("connected again after {}", seconds(since)));
                    }
                    screen.set_left_out(view.left_out);
                    if std::mem::replace(&mut left_out, view.left_out) != left_out && !self.once && !self.json
                    {
                        self.tell_unseen(&screen, &(table::more(left_out, "rule") + ": --limit, --filter"));
                    }
                    let rows =
                        if self.once { minute_rows(&view) } else { recent.rows(Instant::now(), &view) };
                    let text = match (self.json, self.once) {
                        (true, alone) => json(&page, alone).map_err(|error| error.to_string())?,
                        (false, true) => screen.once(&rows),
                        (false, false) => screen.draw(start.elapsed(), &rows),
                    };
                    last = Some(rows);
                    (text, view.splits.is_empty())
                }
                Err(reason) => {
                    let Some(rows) = last.as_ref().filter(|_| !self.once) else { return Err(reason) };
                    let since = lost.unwrap_or_else(|| {
                        self.tell_unseen(&screen, &format!("connection lost: {reason}; trying again"));
                        Instant::now()
                    });
                    lost = Some(since);
                    if self.json || !screen.is_terminal() {
                        continue;
                    }
                    screen.set_notice(Some(format!("connection lost for {}: {reason}", seconds(since))));
                    (screen.draw(start.elapsed(), rows), false)
                }
            };
            if self.once
                && has_none
                && let Some(reason) = self.no_match()
            {
                if self.json {
                    write(out, &text)?;
                }
                return Err(reason);
            }
            if !write(out, &text)? || self.once {
                return Ok(());
            }
        }
    }

    /// What there is to say when nothing is shown.
    fn no_match(&self) -> Option<String> {
        self.filter.as_ref().map(|filter| format!("no split matches `{}`", table::clean(filter)))
    }

    /// On the standard error, where no table tells it. Between JSON documents there is nothing else.
    fn tell_unseen(&self, screen: &Screen, text: &str) {
        if self.json || !screen.is_terminal() {
            let _ = writeln!(io::stderr(), "weir top: {text}");
        }
    }

    async fn fetch(&self, screen: &Screen) -> io::Result<Vec<u8>> {
        let filter = self.filter.as_deref().map(|filter| utf8_percent_encode(filter, NON_ALPHANUMERIC));
        // What does not fit is not asked for: it stands at the end.
        let sort = (!self.json).then(|| "sort=trouble".to_owned());
        let limit = self.limit(screen).map(|limit| format!("limit={limit}"));
        let filter = filter.map(|filter| format!("filter={filter}"));
        let asked: Vec<String> = [sort, limit, filter].into_iter().flatten().collect();
        view::page(&*self.admin, &format!("/splits?{}", asked.join("&"))).await
    }

    /// How many rules are asked for: as many as there is room for. JSON is of all, unless something else was asked for.
    fn limit(&self, screen: &Screen) -> Option<usize> {
        let wanted = self.limit.or((!self.json).then_some(MAX_RULES));
        match screen.rules_that_fit().filter(|_| !self.json && !self.once) {
            Some(fit) => Some(self.limit.map_or(fit, |limit| limit.min(fit))),
            None => wanted,
        }
    }

    fn reason(&self, error: &io::Error) -> String {
        let admin = &self.admin;
        match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                format!("nothing listens at {admin}: is weir running, and is this its admin address?")
            }
            _ => format!("{admin}: {error}"),
        }
    }
}

/// Whether somebody still reads.
fn write(out: &mut impl Write, text: &str) -> Result<bool, String> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        // Whoever read it has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(format!("cannot write: {error}")),
    }
}

fn seconds(since: Instant) -> String {
    format!("{} s", since.elapsed().as_secs())
}

/// One document: laid out, or in a line of its own where others follow.
fn json(page: &[u8], alone: bool) -> serde_json::Result<String> {
    let value: Value = serde_json::from_slice(page)?;
    let text = if alone { serde_json::to_string_pretty(&value)? } else { value.to_string() };
    Ok(text + "\n")
}
