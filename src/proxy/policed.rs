//! Phases 4 and 5 of a request whose route says more than versions and weights, or that itself asks for more; one line
//! a step, in Envoy's order.
//!
//! Law: a plain split never comes here. What the steps know of each other lives in this future, which is boxed.

use std::pin::pin;
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::Duration;

use futures_util::future::{Either, select};
use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Response, Uri};

use super::attempt::{self, Lease, Way};
use super::exchange::Exchange;
use super::plane::Filters;
use super::reply::Reason;
use super::request::{self, Answered, Routed};
use super::{admit, choice, headers};
use crate::filters::{edit, rewrite};
use crate::message::body::Body;
use crate::snapshot::{PathMatch, Rewrite, RoutePolicy, TargetPolicy};

/// For requests that ask for more on a route that says nothing more.
static NOTHING: LazyLock<Filters> = LazyLock::new(|| Filters {
    policy: RoutePolicy::default(),
    path: PathMatch::Prefix("/".into()),
    targets: Vec::new(),
    mirrors: Vec::new(),
    target_mirrors: Vec::new(),
    hash: false,
});

/// What the request meets beside the split; for a plain one that asks for nothing, `None`.
pub(super) fn filters<'a>(exchange: &'a Exchange, routed: &Routed) -> Option<&'a Filters> {
    match &routed.route(exchange).filters {
        Some(filters) => Some(filters),
        None if routed.notable.asks(exchange.seat.internal) => Some(&NOTHING),
        None => None,
    }
}

/// What a step says of the answer, whoever gives it.
#[derive(Default)]
struct Answer {
    /// The version's place among the route's, once it is chosen.
    target: Option<usize>,
}

/// See the module.
pub(super) async fn serve(
    exchange: &Rc<Exchange>,
    routed: &Routed,
    filters: &Filters,
    head: Box<Parts>,
) -> Result<Answered, Reason> {
    let mut answer = Answer::default();
    let answered = {
        let mut steps = pin!(steps(exchange, routed, filters, head, &mut answer));
        exchange.unless_given_up(steps.as_mut()).await
    };
    let (mut response, lease) =
        answered.unwrap_or_else(|reason| (request::own_answer(exchange, reason), None));
    answer.edit(filters, response.headers_mut());
    Ok((response, lease))
}

async fn steps(
    exchange: &Rc<Exchange>,
    routed: &Routed,
    filters: &Filters,
    mut head: Box<Parts>,
    answer: &mut Answer,
) -> Result<Answered, Reason> {
    let route = routed.route(exchange);
    let index = route.split.choose().ok_or(Reason::NoEndpoint)?;
    answer.target = Some(index);
    let way = choice::way(exchange, routed, index)?;
    let timeout = headers::timeout(exchange, &head.headers).or(route.timeout);
    request::set_deadline(exchange, timeout);
    edit_request(exchange, &mut head, &way, timeout, routed, filters.of(index))?;
    let (response, lease) = attempts(exchange, &way, head, timeout).await?;
    Ok((response, Some(lease)))
}

/// What is said of a request that goes to one version.
struct Said<'a> {
    filters: &'a Filters,
    target: Option<&'a TargetPolicy>,
}

impl Filters {
    fn of(&self, target: usize) -> Said<'_> {
        Said { filters: self, target: self.target(Some(target)) }
    }

    fn target(&self, target: Option<usize>) -> Option<&TargetPolicy> {
        self.targets.get(target?)?.as_ref()
    }
}

/// The head as the upstream gets it: the share's edits, the route's, the rewrite.
fn edit_request(
    exchange: &Exchange,
    head: &mut Parts,
    way: &Way<'_>,
    timeout: Option<Duration>,
    routed: &Routed,
    said: Said<'_>,
) -> Result<(), Reason> {
    let policy = &said.filters.policy;
    headers::clean(exchange, head, way.hops, timeout, routed.notable);
    if let Some(target) = said.target {
        edit::apply(&target.request_headers, &mut head.headers);
    }
    edit::apply(&policy.request_headers, &mut head.headers);
    let of_target = said.target.and_then(|target| target.rewrite.as_ref());
    if let Some(rewrite) = of_target.or(policy.rewrite.as_ref()) {
        rewrite_request(head, rewrite, &said.filters.path)?;
    }
    headers::frame(exchange, head, way.http2);
    exchange.log_request_head(head);
    Ok(())
}

/// Another authority and path, with what they were beside them.
fn rewrite_request(head: &mut Parts, rewrite: &Rewrite, matched: &PathMatch) -> Result<(), Reason> {
    if let Some(host) = &rewrite.host {
        rewrite_host(head, host)?;
    }
    if let Some(path) = &rewrite.path {
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        let rewritten = rewrite::target(path, matched, target).map_err(|_| Reason::RewriteFailed)?;
        if let Ok(original) = HeaderValue::from_str(target) {
            head.headers.insert(headers::ORIGINAL_PATH, original);
        }
        headers::set_target(&mut head.uri, &rewritten).map_err(|_| Reason::RewriteFailed)?;
    }
    Ok(())
}

fn rewrite_host(head: &mut Parts, host: &str) -> Result<(), Reason> {
    let original = admit::authority(head).and_then(|original| HeaderValue::from_str(original).ok());
    let authority = Authority::try_from(host).map_err(|_| Reason::RewriteFailed)?;
    if head.uri.authority().is_some() {
        let mut uri = std::mem::take(&mut head.uri).into_parts();
        uri.authority = Some(authority);
        head.uri = Uri::from_parts(uri).map_err(|_| Reason::RewriteFailed)?;
    } else {
        let value = HeaderValue::from_str(host).map_err(|_| Reason::RewriteFailed)?;
        head.headers.insert(HOST, value);
    }
    if let Some(original) = original {
        head.headers.entry(headers::ORIGINAL_HOST).or_insert(original);
    }
    Ok(())
}

/// Phase 5.
async fn attempts(
    exchange: &Rc<Exchange>,
    way: &Way<'_>,
    head: Box<Parts>,
    timeout: Option<Duration>,
) -> Result<(Response<Body>, Lease), Reason> {
    let attempts = pin!(attempt::run(exchange, way, head));
    let Some(timeout) = timeout else { return attempts.await };
    let late = pin!(tokio::time::sleep(timeout));
    match select(attempts, late).await {
        Either::Left((answered, _)) => answered,
        Either::Right(_) => {
            attempt::note_timeout(exchange, way);
            Err(Reason::Timeout)
        }
    }
}

impl Answer {
    /// The share's edits, then the route's.
    fn edit(&self, filters: &Filters, headers: &mut HeaderMap) {
        if let Some(target) = filters.target(self.target) {
            edit::apply(&target.response_headers, headers);
        }
        edit::apply(&filters.policy.response_headers, headers);
    }
}
