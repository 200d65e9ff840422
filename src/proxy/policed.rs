//! Phases 4 and 5 of a request whose route says more than versions and weights, or that itself asks for more; one line
//! a step, in Envoy's order.
//!
//! Law: a plain split never comes here. What the steps know of each other lives in this future, which is boxed.

use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::header::{HOST, LOCATION, SET_COOKIE};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Response, Uri};
use rand::RngExt as _;

use super::attempt::{self, Answered, Way};
use super::deadline::Times;
use super::exchange::Exchange;
use super::plane::{Filters, MirrorPlane, RoutePlane};
use super::reply::Reason;
use super::request::{self, Routed};
use super::tries::{self, Tries};
use super::{admit, choice, deadline, endpoint_hash, headers, mirror, reply, switch};
use crate::filters::cors::{self, Verdict};
use crate::filters::key::{self, Made};
use crate::filters::{edit, fault, redirect, rewrite, sticky};
use crate::message::body::Body;
use crate::snapshot::{Action, Cors, Fault, PathMatch, Redirect, Rewrite, RoutePolicy, TargetPolicy};
use crate::telemetry::UNKNOWN;
use crate::words::Flag;

/// For requests that ask for more on a route that says nothing more.
static NOTHING: LazyLock<Filters> = LazyLock::new(|| Filters {
    policy: Arc::default(),
    path: PathMatch::Prefix("/".into()),
    targets: Vec::new(),
    mirrors: Vec::new(),
    target_mirrors: Vec::new(),
    hash: false,
    sticky: Vec::new(),
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
struct Answer<'a> {
    /// It is the answer to a preflight, which says nothing else.
    preflight: bool,
    /// The origin that may read it.
    origin: Option<HeaderValue>,
    /// What makes the caller stick to the version, and to the endpoint within it.
    cookies: Vec<Made<'a>>,
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
    answer.edit(exchange, filters, response.headers_mut());
    Ok((response, lease))
}

async fn steps<'a>(
    exchange: &'a Rc<Exchange>,
    routed: &Routed,
    filters: &'a Filters,
    mut head: Box<Parts>,
    answer: &mut Answer<'a>,
) -> Result<Answered, Reason> {
    let route = routed.route(exchange);
    if let Some(response) = preflight(exchange, filters.policy.cors.as_ref(), &head, answer) {
        return Ok((response, None));
    }
    if let Some(fault) = &filters.policy.fault {
        inject(exchange, fault).await?;
    }
    if let Some(response) = of_route(exchange, route, filters, &head)? {
        return Ok((response, None));
    }
    let switch = switch::asked(exchange, routed, &head)?;
    let index = choose(exchange, route, filters, &head, answer).ok_or(Reason::NoEndpoint)?;
    answer.target = Some(index);
    if let Some(response) = of_share(exchange, filters, index, &head, answer)? {
        return Ok((response, None));
    }
    let mut way = choice::way(exchange, routed, index).map_err(|reason| filters.policy.reason(reason))?;
    if switch.is_some() {
        switch::prepare(exchange, &mut way)?;
    }
    let times = deadline::of(exchange, &mut head.headers, route.timeout, &filters.policy);
    times.begin(exchange);
    let mut tries = Tries::new(exchange, &mut head.headers, filters.policy.retry.as_ref(), times);
    if filters.hash {
        let (asked, mut dice) =
            (request(exchange, &head, &answer.cookies), exchange.downstream.lane.dice.borrow_mut());
        let (hash, made) = endpoint_hash::of_or_made(&way.cluster.state, asked, &mut *dice);
        tries.hash = hash;
        answer.cookies.extend(made);
    }
    // A tunnel has no copies: nobody would answer them.
    let mirrors = filters.mirrors(index).filter(|_| switch.is_none());
    let copies = mirror::draw(exchange, mirrors, request(exchange, &head, &answer.cookies));
    edit_request(exchange, &mut head, &way, &times, routed, filters.of(index))?;
    let first = attempt::pick(&exchange.downstream.lane, way.cluster, tries.hash, &[]);
    let first = first.ok_or(Reason::NoEndpoint)?;
    // As in Envoy, what reaches nobody has no copies.
    mirror::begin(exchange, &copies, &head, routed.hops, times.total());
    if let Some(protocol) = &switch {
        switch::say(&mut head.headers, protocol.clone());
    }
    let (mut response, lease) = tries::run(exchange, &way, head, &tries, first).await?;
    if let Some(protocol) = switch {
        switch::answered(exchange, &mut response, protocol);
    }
    Ok((response, lease))
}

/// CORS: the answer to a preflight, or what the answer will say.
fn preflight(
    exchange: &Exchange,
    cors: Option<&Cors>,
    head: &Parts,
    answer: &mut Answer<'_>,
) -> Option<Response<Body>> {
    match cors::judge(cors?, &head.method, &head.headers) {
        Verdict::Pass => None,
        Verdict::Allow(origin) => {
            answer.origin = Some(origin);
            None
        }
        Verdict::Answer(fields) => {
            exchange.answered_here("cors_response");
            answer.preflight = true;
            let mut response = Response::new(Body::Empty);
            *response.headers_mut() = fields;
            Some(response)
        }
    }
}

/// Faults: the request waits, and then goes on or is answered.
async fn inject(exchange: &Exchange, fault: &Fault) -> Result<(), Reason> {
    let http = &exchange.seat.listener.http;
    let decision = fault::decide(fault, exchange.downstream.lane.dice.borrow_mut().random());
    if let Some(delay) = decision.delay {
        exchange.record.borrow_mut().flags.raise(Flag::DelayInjected);
        http.delays_injected.increment(1);
        tokio::time::sleep(delay).await;
    }
    match decision.abort {
        None => Ok(()),
        Some(status) => {
            http.aborts_injected.increment(1);
            Err(Reason::FaultAbort(status))
        }
    }
}

/// What a route answers itself.
fn of_route(
    exchange: &Exchange,
    route: &RoutePlane,
    filters: &Filters,
    head: &Parts,
) -> Result<Option<Response<Body>>, Reason> {
    let http = &exchange.seat.listener.http;
    let response = match &route.route.action {
        Action::Forward(_) => return Ok(None),
        Action::Redirect(parts) => return redirected(exchange, filters, parts, head).map(Some),
        Action::DirectResponse(direct) => {
            http.rq_direct_response.increment(1);
            let body = direct.body.clone().map(|body| Bytes::from_owner(Text(body))).unwrap_or_default();
            reply::of_route(exchange.protocol(), direct.status, body, direct.content_type.as_deref())
        }
    };
    exchange.answered_here("direct_response");
    Ok(Some(response))
}

/// What a share answers itself: preflights, where it has CORS of its own, and where its callers are sent.
fn of_share(
    exchange: &Exchange,
    filters: &Filters,
    index: usize,
    head: &Parts,
    answer: &mut Answer,
) -> Result<Option<Response<Body>>, Reason> {
    let Some(share) = filters.target(Some(index)) else { return Ok(None) };
    if let Some(response) = preflight(exchange, share.cors.as_ref(), head, answer) {
        return Ok(Some(response));
    }
    share.redirect.as_ref().map(|parts| redirected(exchange, filters, parts, head)).transpose()
}

/// A redirect, by its parts.
fn redirected(
    exchange: &Exchange,
    filters: &Filters,
    parts: &Redirect,
    head: &Parts,
) -> Result<Response<Body>, Reason> {
    let request = redirect::Request {
        scheme: headers::scheme(exchange, &head.headers),
        authority: admit::authority(head).unwrap_or_default(),
        // As bound: the configured one may leave the choice to the system.
        port: exchange.downstream.local.map(|address| address.port()),
        target: head.uri.path_and_query().map_or("/", |target| target.as_str()),
    };
    let location = redirect::location(parts, &filters.path, request).ok_or(Reason::RewriteFailed)?;
    exchange.seat.listener.http.rq_redirect.increment(1);
    let mut response = reply::of_route(exchange.protocol(), parts.status, Bytes::new(), None);
    response.headers_mut().insert(LOCATION, location);
    exchange.answered_here("direct_response");
    Ok(response)
}

/// The text of a direct response: all requests share it.
struct Text(Arc<str>);

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Phase 4: the version that the request sticks to, else the one whose turn it is.
fn choose<'a>(
    exchange: &Exchange,
    route: &RoutePlane,
    filters: &'a Filters,
    head: &Parts,
    answer: &mut Answer<'a>,
) -> Option<usize> {
    let Some(rule) = &filters.policy.sticky else { return route.split.choose() };
    let weights = route.route.versions().iter().map(|version| version.weight);
    let versions = filters.sticky.iter().copied().zip(weights);
    if let Some(key) = key::of(&rule.keys, request(exchange, head, &[])) {
        return sticky::choose(&key, versions);
    }
    let Some(cookie) = key::to_set(&rule.keys) else { return route.split.choose() };
    let made = Made::new(cookie, exchange.downstream.lane.dice.borrow_mut().random());
    let index = sticky::choose(made.value(), versions);
    answer.cookies.push(made);
    index
}

/// What keys are taken of: the request as its caller sent it, and the cookies that were made for it.
fn request<'r>(exchange: &Exchange, head: &'r Parts, made: &'r [Made<'r>]) -> key::Request<'r> {
    let source = exchange.downstream.peer.map(|peer| peer.ip());
    key::Request { headers: &head.headers, query: head.uri.query(), source, made }
}

impl RoutePolicy {
    /// What a caller is told for `reason` on this route.
    fn reason(&self, reason: Reason) -> Reason {
        match self.cluster_not_found {
            Some(status) if reason == Reason::NoCluster => Reason::ClusterNotFound(status),
            _ => reason,
        }
    }
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
        self.targets.get(target?)?.as_deref()
    }

    /// Where copies of its requests go: the route's mirrors and the share's.
    fn mirrors(&self, target: usize) -> impl Iterator<Item = &MirrorPlane> {
        self.mirrors.iter().chain(self.target_mirrors.get(target).into_iter().flatten())
    }
}

/// The head as the upstream gets it: the times, the share's edits, the route's, the rewrite.
fn edit_request(
    exchange: &Exchange,
    head: &mut Parts,
    way: &Way<'_>,
    times: &Times,
    routed: &Routed,
    said: Said<'_>,
) -> Result<(), Reason> {
    let policy = &said.filters.policy;
    headers::clean(exchange, head, way.hops, routed.notable);
    times.tell(&mut head.headers);
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

impl Answer<'_> {
    /// The share's edits, the route's, and what the steps have found out.
    fn edit(self, exchange: &Exchange, filters: &Filters, headers: &mut HeaderMap) {
        if self.preflight {
            return;
        }
        let policy = &filters.policy;
        if let Some(target) = filters.target(self.target) {
            edit::apply(&target.response_headers, headers);
        }
        edit::apply(&policy.response_headers, headers);
        let of_share = || filters.target(self.target)?.cors.as_ref();
        if let Some(origin) = &self.origin
            && let Some(cors) = policy.cors.as_ref().or_else(of_share)
        {
            cors::edit(cors, origin, headers);
        }
        if let (Some(name), Some(version)) = (&policy.version_header, version(exchange)) {
            headers.insert(name.0.clone(), version);
        }
        for cookie in self.cookies.iter().filter_map(Made::set_cookie) {
            headers.append(SET_COOKIE, cookie);
        }
    }
}

/// The version that the request went to, or would have.
fn version(exchange: &Exchange) -> Option<HeaderValue> {
    let chosen = exchange.chosen.borrow();
    let version = &*chosen.as_ref()?.version;
    (version != UNKNOWN).then(|| HeaderValue::from_str(version).ok()).flatten()
}
