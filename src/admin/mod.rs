//! The admin pages: what the proxy is doing, for people and for scrapers, and the few things that may be asked of it.
//!
//! Two handlers over one [`Admin`]: every page, for loopback, and those that anybody may read. Law: GET and HEAD change
//! nothing; a page is answered from memory, at once; other web sites get nothing. What is asked (drain, quit) is handed on as a [`Command`]; nothing
//! here knows how it is done. It lives on the control thread.

mod clusters;
mod explain;
mod guard;
mod gzip;
mod info;
mod live;
mod logging;
mod memory;
mod pages;
mod reloads;
mod reply;
mod rules;
mod splits;
mod stats;

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::Request;
use tokio::sync::mpsc;

use crate::proxy::plane::Plane;
use crate::runtime::readiness::Readiness;
use crate::snapshot::Node;
use crate::telemetry::{Recorder, ServerMeter};
use crate::transport::endpoint::{Answer, Handler};

pub use reloads::Reloads;
pub use splits::SplitStats;

/// What the pages show, and whom they ask. The wiring fills it.
pub struct Admin {
    /// What serves now.
    pub plane: Arc<ArcSwapOption<Plane>>,
    /// All series.
    pub recorder: Recorder,
    /// The server's own series, brought up to date before each scrape.
    pub server: ServerMeter,
    /// Whether traffic is wanted.
    pub readiness: Readiness,
    /// What became of the last configurations.
    pub reloads: Rc<RefCell<Reloads>>,
    /// Figures of each version.
    pub stats: Rc<RefCell<SplitStats>>,
    /// Where commands go. One that is still waiting there need not be sent again.
    pub commands: mpsc::Sender<Command>,
    /// Has the access log opened anew, as on SIGUSR1.
    pub reopen_logs: Box<dyn Fn()>,
    /// What the log shows.
    pub levels: Rc<dyn Levels>,
    /// How the process was started.
    pub about: About,
    /// When.
    pub start: Instant,
}

/// How a POST asks the process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// As on SIGTERM: say goodbye, finish, exit.
    DrainListeners,
    /// Without the grace.
    Quit,
}

/// The log levels of the process, which the wiring set up.
pub trait Levels {
    /// The directives in force, separated by commas: `level`, or `target=level`.
    fn directives(&self) -> String;

    /// Puts others in force.
    ///
    /// # Errors
    /// The reason, on one line; what is in force stays.
    fn set(&self, directives: &str) -> Result<(), String>;
}

/// How the process was started; for `/server_info`.
#[derive(Clone, Debug)]
pub struct About {
    /// Who this proxy is.
    pub node: Node,
    /// Worker threads.
    pub concurrency: usize,
    /// The configuration's main file.
    pub config_path: String,
    /// Where the last good configuration is kept, if it is.
    pub last_good: Option<String>,
    /// `text` or `json`.
    pub log_format: &'static str,
}

impl Admin {
    /// Every page; for loopback.
    pub fn everything(self: &Rc<Self>) -> Rc<dyn Handler> {
        Rc::new(Pages { admin: self.clone(), only_public: false })
    }

    /// `/metrics`, `/stats/prometheus` and `/ready`; for every interface.
    pub fn public(self: &Rc<Self>) -> Rc<dyn Handler> {
        Rc::new(Pages { admin: self.clone(), only_public: true })
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("about", &self.about).finish_non_exhaustive()
    }
}

struct Pages {
    admin: Rc<Admin>,
    only_public: bool,
}

impl Handler for Pages {
    fn answer(&self, request: Request<Bytes>) -> Answer {
        pages::answer(&self.admin, self.only_public, &request)
    }
}

#[cfg(test)]
mod tests;
