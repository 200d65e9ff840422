//! What becomes of one request, and why; for `weir explain` and the admin page of that name.
//!
//! Law: the router's own search and normal forms; nothing is decided here a second time, and nothing is sent. The path of
//! requests never comes here.

pub mod request;

use std::fmt;
use std::sync::Arc;

use http::uri::Authority;
use serde::Serialize;

use crate::filters::{key, redirect, sticky};
use crate::message::{self, grpc};
use crate::router::{self, Choice, Explanation, Head, Share};
use crate::snapshot::{
    Action, BindAddress, Caller, FilterChain, Listener, Mode, Redirect, Snapshot, VersionTarget,
};
use crate::words::Protocol;

pub use request::Request;

/// What is printed; in JSON under these names.
#[derive(Debug, Serialize)]
pub struct Report {
    listener: Arc<str>,
    address: String,
    /// `split`, or `deliver` where every request goes to the local model server.
    pub mode: &'static str,
    /// `http` or `grpc`.
    pub protocol: &'static str,
    method: String,
    /// In normal form.
    path: String,
    /// What the caller speaks, as far as that is known and believed.
    scheme: &'static str,
    /// Whether the URL says `https`, which is not looked at.
    #[serde(skip)]
    says_https: bool,
    /// The caller's service.
    caller: Option<Arc<str>>,
    /// Which routes were tried, and which was chosen.
    #[serde(flatten)]
    pub explanation: Explanation,
    /// Where a redirect sends the caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    /// The version that the request sticks to, where its rule has it so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sticks: Option<Sticks>,
    /// Where it may go, in the order of the rule.
    pub targets: Vec<Target>,
}

/// What a request sticks by, and to.
#[derive(Debug, Serialize)]
pub struct Sticks {
    /// Nothing: it has none of the keys.
    pub key: Option<String>,
    /// Nothing: whichever the schedule has next.
    pub version: Option<Arc<str>>,
    /// Its place among the rule's versions.
    pub place: Option<usize>,
}

/// Where a version's share goes.
#[derive(Debug, Serialize)]
pub struct Target {
    version: Option<Arc<str>>,
    percent: f64,
    cluster: Arc<str>,
    /// Who takes it there.
    pub endpoints: Vec<TargetEndpoint>,
    /// What the share gets instead, where nothing can take it.
    answer: Option<String>,
    /// Where a redirect of this share alone sends the caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<String>,
}

/// An endpoint as it is configured.
#[derive(Debug, Serialize)]
pub struct TargetEndpoint {
    /// Its address, or its name and port.
    pub address: String,
    version: Arc<str>,
    local: bool,
    weight: u32,
}

impl Report {
    /// What becomes of `request`, as the listener of that name takes it.
    ///
    /// # Errors
    /// Why it is no request to a listener, on one line.
    pub fn new(snapshot: &Snapshot, listener: Option<&str>, request: &Request) -> Result<Report, String> {
        let parts = request.head(&snapshot.limits)?;
        let (method, headers, from) = (&parts.method, &parts.headers, &request.from);
        let authority = message::host::authority(&parts.uri, headers).unwrap_or_default();
        let (listener, chain) = named(snapshot, listener, port_of(authority))?;
        let routes = snapshot.route_configs.get(&chain.route_config);
        let routes = routes.ok_or_else(|| format!("listener {} has no routes", listener.name))?;
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let (raw_path, query) = message::path::split_query(target);
        let path = message::path::normalise(raw_path).map_err(|reason| format!("400: {reason}"))?;
        let host = message::host::normalise(authority).map_err(|reason| format!("400: {reason}"))?;
        let scheme = message::forwarded::scheme(headers, !chain.use_remote_address);
        let caller = from.and_then(|peer| router::caller_of(&snapshot.callers, peer));
        let head = Head {
            method,
            path: &path,
            query,
            host: &host,
            authority,
            scheme,
            headers,
            caller: caller.map(|caller: &Arc<Caller>| &**caller),
            local: match &listener.address {
                BindAddress::Socket(address) => Some(*address),
                BindAddress::Unix(_) => None,
            },
        };
        let protocol = grpc::classify(method, headers);
        let explanation = router::explain(routes, &head, 0);
        let targets = explanation.choice.iter().flat_map(|choice| targets(snapshot, choice, &head, protocol));
        Ok(Report {
            listener: listener.name.clone(),
            address: listener.address.to_string(),
            mode: mode(&chain.mode),
            protocol: protocol.as_str(),
            method: method.to_string(),
            path: path.to_string(),
            scheme,
            says_https: parts.uri.scheme_str() == Some("https") && scheme != "https",
            caller: caller.map(|caller| caller.service.clone()),
            location: explanation.choice.as_ref().and_then(|choice| match &choice.route.action {
                Action::Redirect(parts) => location(parts, choice, &head),
                Action::Forward(_) | Action::DirectResponse(_) => None,
            }),
            sticks: explanation.choice.as_ref().and_then(|choice| sticks(choice, &head, *from)),
            targets: targets.collect(),
            explanation,
        })
    }
}

/// `location` of a redirect of the chosen rule or of one of its shares.
fn location(parts: &Redirect, choice: &Choice, head: &Head<'_>) -> Option<String> {
    let target = match head.query {
        Some(query) => format!("{}?{query}", head.path),
        None => head.path.to_owned(),
    };
    let port = head.local.map(|address| address.port());
    let request = redirect::Request { scheme: head.scheme, authority: head.authority, port, target: &target };
    let location = redirect::location(parts, &choice.route.matches.path, request)?;
    location.to_str().ok().map(str::to_owned)
}

fn sticks(choice: &Choice, head: &Head<'_>, source: Option<std::net::IpAddr>) -> Option<Sticks> {
    let rule = choice.route.policy.as_ref()?.sticky.as_ref()?;
    let key =
        key::of(&rule.keys, key::Request { headers: head.headers, query: head.query, source, made: &[] });
    let versions = choice.route.versions();
    let seeds = sticky::seeds(&rule.salt, versions);
    let place = key.as_deref().and_then(|key| {
        sticky::choose(key, seeds.into_iter().zip(versions.iter().map(|version| version.weight)))
    });
    Some(Sticks {
        key: key.map(|key| String::from_utf8_lossy(&key).into_owned()),
        version: place.and_then(|place| versions.get(place)?.version.clone()),
        place,
    })
}

/// The port of an authority, as far as it says one.
fn port_of(authority: &str) -> Option<u16> {
    authority.parse::<Authority>().ok()?.port_u16()
}

/// The listener of that name; else the first with the port that is asked for, or the first of all; those that split go
/// before those that deliver.
fn named<'s>(
    snapshot: &'s Snapshot,
    name: Option<&str>,
    port: Option<u16>,
) -> Result<(&'s Listener, &'s FilterChain), String> {
    let chains = || {
        let all = snapshot.listeners.iter();
        all.flat_map(|listener| listener.filter_chains.iter().map(move |chain| (&**listener, chain)))
    };
    let splits = |(_, chain): &(&Listener, &FilterChain)| chain.mode == Mode::Split;
    let on_port =
        |(listener, _): &(&Listener, &FilterChain)| port.is_some() && listener.address.port() == port;
    let found = match name {
        Some(name) => chains().find(|(listener, _)| *listener.name == *name),
        None => chains()
            .find(|one| splits(one) && on_port(one))
            .or_else(|| chains().find(on_port))
            .or_else(|| chains().find(splits)),
    };
    found.ok_or_else(|| {
        let names: Vec<&str> = snapshot.listeners.iter().map(|listener| &*listener.name).collect();
        match name {
            Some(name) => format!("there is no listener {name}; there are: {}", names.join(", ")),
            None => format!("no listener splits; name one with --listener: {}", names.join(", ")),
        }
    })
}

fn mode(mode: &Mode) -> &'static str {
    match mode {
        Mode::Split => "split",
        Mode::Deliver { .. } => "deliver",
    }
}

/// Where the shares of the chosen rule go.
fn targets(snapshot: &Snapshot, choice: &Choice, head: &Head<'_>, protocol: Protocol) -> Vec<Target> {
    let policy = choice.route.policy.as_deref();
    // A gRPC caller gets UNAVAILABLE in any case, which is what 503 stands for.
    let said = policy.and_then(|policy| policy.cluster_not_found).filter(|_| protocol == Protocol::Http);
    let of_share = |(share, version): (&Share, &VersionTarget)| {
        let redirect = version.policy.as_ref().and_then(|policy| policy.redirect.as_ref());
        let location = redirect.and_then(|parts| location(parts, choice, head));
        target(snapshot, share, protocol, location, said.unwrap_or(503))
    };
    choice.versions.iter().zip(choice.route.versions()).map(of_share).collect()
}

/// Where one of them goes; `absent`: what it gets where its cluster is not there.
fn target(
    snapshot: &Snapshot,
    share: &Share,
    protocol: Protocol,
    location: Option<String>,
    absent: u16,
) -> Target {
    let name = match protocol {
        Protocol::Grpc => &share.grpc_cluster,
        Protocol::Http => &share.http_cluster,
    };
    // A share that is sent elsewhere reaches none.
    let cluster = snapshot.clusters.get(name).filter(|_| location.is_none());
    let endpoints: Vec<TargetEndpoint> = cluster
        .into_iter()
        .flat_map(|cluster| cluster.endpoints())
        .map(|endpoint| TargetEndpoint {
            address: endpoint.address.to_string(),
            version: endpoint.version.clone(),
            local: endpoint.local,
            weight: endpoint.weight,
        })
        .collect();
    let answer = match cluster {
        None if location.is_none() => Some(format!("{absent}, flag NC: there is no such cluster")),
        Some(_) if endpoints.is_empty() => Some("503, flag UH: it has no endpoint".to_owned()),
        None | Some(_) => None,
    };
    Target {
        version: share.version.clone(),
        percent: share.percent,
        cluster: name.clone(),
        endpoints,
        answer,
        location,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let caller = self.caller.as_deref().unwrap_or("unknown");
        writeln!(f, "{} {} ({}, caller {caller})", self.method, self.path, self.protocol)?;
        writeln!(f, "listener {} on {}: {}", self.listener, self.address, self.mode)?;
        match self.scheme {
            "https" => writeln!(f, "scheme https, as x-forwarded-proto says")?,
            _ if self.says_https => writeln!(
                f,
                "scheme http: a URL's is not looked at; x-forwarded-proto tells, unless the listener has use_remote_address"
            )?,
            _ => {}
        }
        self.explanation.fmt(f)?;
        if let Some(location) = &self.location {
            writeln!(f, "location: {location}")?;
        }
        match &self.sticks {
            Some(Sticks { key: Some(key), version, .. }) => {
                writeln!(f, "key {key:?} sticks to {}", version.as_deref().unwrap_or("all versions"))?;
            }
            Some(Sticks { key: None, .. }) => writeln!(f, "it has none of the keys: the schedule chooses")?,
            None => {}
        }
        for target in &self.targets {
            let version = target.version.as_deref().unwrap_or("all versions");
            if let Some(location) = &target.location {
                writeln!(f, "{version} is sent to {location}")?;
                continue;
            }
            writeln!(f, "{version} through {}", target.cluster)?;
            if let Some(answer) = &target.answer {
                writeln!(f, "  {answer}")?;
            }
            for endpoint in &target.endpoints {
                let local = if endpoint.local { ", local" } else { "" };
                writeln!(
                    f,
                    "  {} (version {}{local}, weight {})",
                    endpoint.address, endpoint.version, endpoint.weight
                )?;
            }
        }
        Ok(())
    }
}
