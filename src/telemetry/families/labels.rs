//! The labels that several of Weir's own families have.

use super::super::contract::{Label, Values};

/// The service.
pub(super) const SERVICE: Label = Label::new("service", Values::Configured, "the service's full host");
/// The rule.
pub(super) const RULE: Label = Label::new(
    "rule",
    Values::Configured,
    "`name.namespace` of the rule, with `/label` or `#number` where its object has several; `default-route` where none applies",
);
/// The version.
pub(super) const VERSION: Label = Label::new(
    "version",
    Values::ConfiguredOr(&["unknown"]),
    "the label `version` of the entry that was chosen; where the entry names none, of the endpoint that was tried; `unknown` without either",
);
/// The version of an entry, where no endpoint is there to ask yet.
pub(super) const ENTRY_VERSION: Label = Label::new(
    "version",
    Values::ConfiguredOr(&["unknown"]),
    "the label `version` of the entry that was chosen; `unknown` where the entry names none, as where no rule applies",
);
/// What became of a request.
pub(super) const OUTCOME: Label = Label::new(
    "outcome",
    Values::Closed(&["success", "client_error", "server_error", "cancelled"]),
    "`client_error`: 4xx, or a gRPC status that TF Serving's table makes a 4xx, such as INVALID_ARGUMENT; `server_error`: 5xx, other gRPC statuses, cut answers, no status; `cancelled`: the caller left, or gRPC CANCELLED",
);
/// What it spoke.
pub(super) const PROTOCOL: Label = Label::new(
    "protocol",
    Values::Closed(&["grpc", "http"]),
    "`grpc`: POST with `application/grpc`; `http`: all else",
);
/// An entry's version under its rule.
pub(super) const OF_RULE: &[Label] = &[SERVICE, RULE, ENTRY_VERSION];
