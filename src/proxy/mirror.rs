//! Copies of requests: to another version, fire and forget.
//!
//! Laws: nothing that a copy or its upstream does delays the request or changes its answer. A copy reads the body as it
//! passes ([`TapeBody`]), at its own pace, within a budget of the copies' own; one that falls behind it is cut, and
//! counted. It outlives the request, but not by more than [`LONGEST`] or the route's own timeout behind its last byte. It
//! stands in no access log and is no choice of the split.
//! Source: Envoy's `request_mirror_policies`.

use std::rc::Rc;
use std::time::Duration;

use http::header::HOST;
use http::request::Parts;
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Uri, Version};
use rand::Rng as _;
use tokio::task::spawn_local;

use super::attempt::{self, copy};
use super::exchange::{Exchange, Fate, TapeBody};
use super::lane::{Generation, Lane};
use super::plane::MirrorPlane;
use super::{admit, endpoint_hash, hop};
use crate::filters::key::Request;
use crate::telemetry::MirrorMeter;
use crate::telemetry::families::{Limit as Met, MirrorResult};
use crate::upstream::breaker::{Limit, Permit};
use crate::words::Protocol;

/// Copies that one worker has under way.
const MOST: usize = 128;
/// How long a copy may take where the route says nothing.
const LONGEST: Duration = Duration::from_secs(15);
/// What the name of the host ends with.
const SUFFIX: &str = "-shadow";

/// A copy that is to be.
pub(super) struct Copy<'a> {
    mirror: &'a MirrorPlane,
    /// What its endpoint is chosen by, where the shadow's cluster goes by a hash.
    hash: Option<u64>,
}

/// The copies of a `request`, which is as its caller sent it: what they stick to is what the request itself would.
pub(super) fn draw<'a>(
    exchange: &Exchange,
    mirrors: impl Iterator<Item = &'a MirrorPlane>,
    request: Request<'_>,
) -> Vec<Copy<'a>> {
    let drawn =
        mirrors.filter(|mirror| mirror.fraction.holds(exchange.downstream.lane.dice.borrow_mut().next_u64()));
    let copy = |mirror: &'a MirrorPlane| {
        let cluster = mirror.clusters[exchange.protocol().index()];
        let plane = cluster.map(|cluster| &exchange.seat.generation.plane.clusters[cluster]);
        Copy { mirror, hash: plane.and_then(|plane| endpoint_hash::of(&plane.state, request)) }
    };
    drawn.map(copy).collect()
}

/// Begins `copies` of a request whose `head` is as its own upstream gets it, and that may take as long as `timeout`. Before
/// the first attempt.
pub(super) fn begin(
    exchange: &Rc<Exchange>,
    copies: &[Copy<'_>],
    head: &Parts,
    hops: u32,
    timeout: Option<Duration>,
) {
    for copy in copies {
        match Shadow::begin(exchange, copy, head, hops) {
            Ok(shadow) => {
                spawn_local(shadow.run(timeout.unwrap_or(LONGEST)));
            }
            Err(result) => copy.mirror.meter.count(result),
        }
    }
}

/// One copy under way.
struct Shadow {
    generation: Rc<Generation>,
    /// By index in the plane.
    cluster: usize,
    /// By index in the cluster.
    member: usize,
    protocol: Protocol,
    http2: bool,
    head: Box<Parts>,
    body: TapeBody,
    fate: Rc<Fate>,
    meter: MirrorMeter,
    under_way: UnderWay,
    _permit: Permit,
}

impl Shadow {
    fn begin(
        exchange: &Rc<Exchange>,
        &Copy { mirror, hash }: &Copy<'_>,
        head: &Parts,
        hops: u32,
    ) -> Result<Shadow, MirrorResult> {
        let (lane, generation) = (&exchange.downstream.lane, &exchange.seat.generation);
        let cluster = mirror.clusters[exchange.protocol().index()].ok_or(MirrorResult::Failed)?;
        let plane = &generation.plane.clusters[cluster];
        let under_way = UnderWay::begin(lane).ok_or(MirrorResult::Overflow)?;
        // No caller is refused, so that it stands with the copies alone.
        let permit = plane.state.breakers.try_acquire(Limit::Requests).ok_or(MirrorResult::Overflow)?;
        let member = attempt::pick(lane, plane, hash, &[]).ok_or(MirrorResult::Failed)?;
        let http2 = attempt::speaks_http2(plane, exchange);
        let mut head = shadow_head(head, http2);
        if plane.state.members[member].local {
            head.headers.remove(hop::HOP);
        } else {
            head.headers.insert(hop::HOP, hop::next_hop(hops, &mirror.hop_value));
        }
        let fate = Rc::new(Fate::default());
        let length = exchange.upload.length();
        let body = exchange.upload.share(exchange).reader(length, fate.clone());
        Ok(Shadow {
            generation: generation.clone(),
            cluster,
            member,
            protocol: exchange.protocol(),
            http2,
            head: Box::new(head),
            body,
            fate,
            meter: mirror.meter.clone(),
            under_way,
            _permit: permit,
        })
    }

    async fn run(self, longest: Duration) {
        let Shadow {
            generation,
            cluster,
            member,
            protocol,
            http2,
            head,
            body,
            fate,
            meter,
            under_way,
            _permit,
        } = self;
        let plane = &generation.plane.clusters[cluster];
        let way = copy::Way {
            lane: &under_way.lane,
            cluster: plane,
            member: &plane.state.members[member],
            pool: &generation.pools[cluster][member],
            protocol,
            http2,
        };
        meter.count(copy::send(&way, head, body, &fate, longest).await);
    }
}

/// A place among [`MOST`].
struct UnderWay {
    lane: Rc<Lane>,
}

impl UnderWay {
    fn begin(lane: &Rc<Lane>) -> Option<UnderWay> {
        if lane.mirrors.get() >= MOST {
            lane.shared.process.limit_exceeded(Met::Mirrors);
            return None;
        }
        lane.mirrors.set(lane.mirrors.get() + 1);
        Some(UnderWay { lane: lane.clone() })
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.lane.mirrors.set(self.lane.mirrors.get() - 1);
    }
}

/// The head of the copy, in the form of the HTTP that its upstream speaks, which need not be the request's own.
fn shadow_head(head: &Parts, http2: bool) -> Parts {
    let mut copy = head.clone();
    let authority = admit::authority(head).map(shadow_authority).unwrap_or_default();
    let target = copy.uri.path_and_query().cloned();
    if http2 {
        copy.headers.remove(HOST);
        let mut uri = Uri::default().into_parts();
        uri.authority = Authority::try_from(authority.as_str()).ok();
        uri.scheme = uri.authority.is_some().then_some(Scheme::HTTP);
        uri.path_and_query = target;
        copy.uri = Uri::from_parts(uri).unwrap_or_default();
        copy.version = Version::HTTP_2;
    } else {
        if let Ok(host) = HeaderValue::from_str(&authority) {
            copy.headers.insert(HOST, host);
        }
        copy.uri = target.map(Uri::from).unwrap_or_default();
        copy.version = Version::HTTP_11;
    }
    copy
}

/// `host-shadow`, `host-shadow:port`. An address of IPv6 has no name to which anything could be added.
fn shadow_authority(authority: &str) -> String {
    if authority.starts_with('[') {
        return authority.to_owned();
    }
    match authority.split_once(':') {
        Some((host, port)) => format!("{host}{SUFFIX}:{port}"),
        None => format!("{authority}{SUFFIX}"),
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn the_suffix_stands_behind_the_hosts_name() {
        for (authority, expected) in [
            ("x.ns.svc.cluster.local", "x.ns.svc.cluster.local-shadow"),
            ("x:8500", "x-shadow:8500"),
            ("127.0.0.1:80", "127.0.0.1-shadow:80"),
            ("[::1]:80", "[::1]:80"),
            ("", "-shadow"),
        ] {
            assert_eq!(shadow_authority(authority), expected);
        }
    }

    #[test]
    fn a_copy_takes_the_form_of_its_own_upstreams_http() {
        let one = Request::post("/p?q").header("host", "x:80").header("a", "b").body(()).expect("a request");
        let two = Request::post("http://x:80/p?q").version(Version::HTTP_2).header("a", "b").body(());
        for head in [one.into_parts().0, two.expect("a request").into_parts().0] {
            let copy = shadow_head(&head, false);
            assert_eq!(
                (copy.uri.to_string(), &copy.headers[HOST]),
                ("/p?q".into(), &"x-shadow:80".parse().expect("a value"))
            );
            assert_eq!(
                (copy.version, &copy.headers["a"]),
                (Version::HTTP_11, &"b".parse().expect("a value"))
            );
            let copy = shadow_head(&head, true);
            assert_eq!(copy.uri.to_string(), "http://x-shadow:80/p?q");
            assert!(copy.version == Version::HTTP_2 && !copy.headers.contains_key(HOST));
        }
    }
}
