//! The admin addresses of a proxy.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_local};

use super::Options;
use super::control::Control;
use crate::admin::{About, Admin, Command, Levels};
use crate::snapshot::Snapshot;
use crate::telemetry::families::weir::Limit;
use crate::telemetry::{Counter, ServerMeter};
use crate::transport::endpoint::{self, Handler};

/// An admin address that answers.
pub(super) struct Page {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Page {
    /// Answers no more; returns when what was asked is answered.
    pub(super) async fn close(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

impl Control {
    /// The admin pages, which answer from now on: `/ready` says what is missing.
    pub(super) async fn pages(
        self: &Rc<Self>,
        options: &Options,
        snapshot: &Snapshot,
        workers: usize,
        commands: mpsc::Sender<Command>,
    ) -> io::Result<Vec<Page>> {
        let control = Rc::downgrade(self);
        let admin = Rc::new(Admin {
            plane: self.shared.plane.clone(),
            recorder: self.shared.recorder.clone(),
            server: ServerMeter::new(&self.shared.recorder, self.shared.start, workers),
            readiness: self.shared.readiness.clone(),
            reloads: self.reloads.clone(),
            stats: self.stats.clone(),
            commands,
            reopen_logs: Box::new(move || {
                tracing::info!("/reopen_logs: opening the access log anew");
                control.upgrade().iter().for_each(|control| control.reopen_logs());
            }),
            levels: match &options.log {
                Some(levels) => Rc::new(levels.clone()),
                None => Rc::new(NoLevels),
            },
            about: About {
                node: snapshot.node.clone(),
                concurrency: workers,
                config_path: options.config.display().to_string(),
                last_good: options.last_good.as_ref().map(|path| path.display().to_string()),
                log_format: options.log.as_ref().map_or("none", |log| log.format().as_str()),
            },
            start: self.shared.start,
        });
        let gave_way = || self.shared.process.of_limit(Limit::AdminConnections);
        let everything = (admin.everything(), gave_way());
        let mut pages = vec![page("admin.address", snapshot.admin.address, everything).await?];
        if let Some(address) = snapshot.admin.metrics_address {
            pages.push(page("admin.metrics_address", address, (admin.public(), gave_way())).await?);
        }
        Ok(pages)
    }
}

/// Levels of a log that is not ours to change.
struct NoLevels;

impl Levels for NoLevels {
    fn directives(&self) -> String {
        "off".to_owned()
    }

    fn set(&self, _: &str) -> Result<(), String> {
        Err("this process has no log of its own".to_owned())
    }
}

async fn page(
    key: &str,
    address: SocketAddr,
    (handler, gave_way): (Rc<dyn Handler>, Counter),
) -> io::Result<Page> {
    let listener = TcpListener::bind(address).await.map_err(|error| {
        let text = format!(
            "{key}: cannot bind {address}: {error}: stop what listens there or choose another address"
        );
        io::Error::new(error.kind(), text)
    })?;
    let (stop, stopped) = oneshot::channel();
    let task = spawn_local(endpoint::serve(listener, handler, gave_way, async move { drop(stopped.await) }));
    Ok(Page { stop, task })
}
