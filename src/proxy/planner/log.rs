//! The access log of a plane: that of the one before, where nothing of it has changed.

use std::io;

use super::Planner;
use crate::snapshot::{self, LogFormat};
use crate::telemetry::{AccessLog, Format, LogFilter};
use crate::words::{Flag, Flags};

impl Planner {
    pub(super) fn open_log(&mut self, wanted: Option<&snapshot::AccessLog>) -> io::Result<Option<AccessLog>> {
        let Some(wanted) = wanted else {
            self.log = None;
            return Ok(None);
        };
        if let Some((open, log)) = &self.log
            && open == wanted
        {
            return Ok(Some(log.clone()));
        }
        let format = match &wanted.format {
            LogFormat::Envoy => Format::parse("envoy"),
            LogFormat::Json => Format::parse("json"),
            LogFormat::Custom(format) => Format::parse(format),
            LogFormat::Object { json, omit_empty } => Format::of_object(json, *omit_empty),
        };
        let format = format.map_err(|error| io::Error::other(error.to_string()))?;
        let dropped = self.process.access_log_dropped.clone();
        let log = self.logs.open(&wanted.path, format, wanted.filter.as_ref().map(filter), dropped)?;
        self.log = Some((wanted.clone(), log.clone()));
        Ok(Some(log))
    }
}

fn filter(said: &snapshot::LogFilter) -> LogFilter {
    let of = |names: &[std::sync::Arc<str>]| names.iter().filter_map(|name| Flag::parse(name)).collect();
    LogFilter {
        status: said.status,
        duration: said.duration,
        flags: said.flags.as_deref().map(|names| -> Flags { of(names) }),
        no_health_checks: !said.health_checks,
        any: said.any.iter().map(filter).collect(),
    }
}
