//! What a star's rules are at the hosts of services that nobody else speaks of.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::snapshot::{Route, VirtualHost};

fn host<'s>(snapshot: &'s Snapshot, name: &str) -> &'s VirtualHost {
    let hosts = &config(snapshot).virtual_hosts;
    hosts.iter().find(|one| *one.name == *name).unwrap_or_else(|| panic!("{name}: {hosts:?}"))
}

fn full(service: &str) -> String {
    format!("{service}.default.svc.cluster.local")
}

/// Every route that the host of a service asks.
fn routes(snapshot: &Snapshot, service: &str) -> Vec<Arc<Route>> {
    config(snapshot).routes_of(host(snapshot, &full(service))).cloned().collect()
}

fn timeout(route: &Route) -> Option<u64> {
    route.forward().and_then(|forward| forward.timeout).as_ref().map(Duration::as_secs)
}

#[test]
fn the_routes_of_a_star_stand_once_however_many_services_it_holds_for() {
    let services: String = (0..50)
        .map(|i| {
            format!(
                "- {{name: s{i}, endpoints: [{{address: \"10.0.0.{i}:80\", labels: {{version: v1}}}}]}}\n"
            )
        })
        .collect();
    let star = |name| object(Dialect::VirtualService, name, "*", "s7", &[Order::Listed; 20]);
    let main = format!("{BY_HOST}services:\n{services}");
    let own = listed("own", "s3", "s4");
    let (snapshot, found) = linked_with(&main, vec![by_gateway(star("star")), star("z"), own.clone()]);
    assert_eq!(found, ["host-claimed `*` has the Kind `star.default` (r.yaml:4): this one has no say"]);
    let all: usize = config(&snapshot).virtual_hosts.iter().map(|host| host.routes.len()).sum();
    assert_eq!(
        all,
        20 + 49 + 1,
        "the star's, one for what they leave to each other service, and the rule of one"
    );
    let (first, last) = (routes(&snapshot, "s0"), routes(&snapshot, "s49"));
    assert_eq!((first.len(), last.len()), (21, 21));
    assert!(first.iter().zip(&last).take(20).all(|(a, b)| Arc::ptr_eq(a, b)));
    assert_eq!((&*last[20].name, &*last[20].service()), ("default-route", &*full("s49")));
    assert_eq!(names(&snapshot, &full("s3")), ["own.default#0"]);
    assert_eq!(
        host(&snapshot, &full("s0")).after.as_deref(),
        Some("*"),
        "those of hosts that no service has"
    );

    let (snapshot, _) = linked_with(&main, vec![of_mesh(star("star")), own]);
    let all: usize = config(&snapshot).virtual_hosts.iter().map(|host| host.routes.len()).sum();
    assert_eq!((all, routes(&snapshot, "s0").len()), (20 + 1, 20), "it has services whole");
}

#[test]
fn a_stars_rules_have_the_settings_of_the_service_that_is_asked_for_where_they_say_nothing() {
    let main = format!(
        "{BY_HOST}services:\n\
         - {{name: a, timeout: 1s, endpoints: [{{address: \"10.0.0.1:80\"}}]}}\n\
         - {{name: b, timeout: 2s, repeatable: true, upgrades: [websocket], version_header: x-version, \
         endpoints: [{{address: \"10.0.0.2:80\"}}]}}\n\
         - {{name: c, timeout: 1s, endpoints: [{{address: \"10.0.0.3:80\"}}]}}\n\
         - {{name: d, endpoints: [{{address: \"10.0.0.4:80\"}}]}}\n"
    );
    let mut star = by_gateway(object(Dialect::VirtualService, "star", "*", "b", &[Order::Listed; 2]));
    star.rules[1].timeout = Some(Duration::from_secs(9));
    let (snapshot, found) = linked_with(&main, vec![star]);
    assert!(found.is_empty(), "{found:?}");
    for (service, own, is_b) in
        [("a", Some(1), false), ("b", Some(2), true), ("c", Some(1), false), ("d", None, false)]
    {
        let routes = routes(&snapshot, service);
        let timeouts: Vec<_> = routes.iter().map(|route| timeout(route)).collect();
        assert_eq!(timeouts, [own, Some(9), own], "{service}");
        for (place, route) in routes.iter().enumerate() {
            let forward = route.forward().expect("it forwards");
            assert_eq!((forward.repeatable, forward.upgrades.len()), (is_b, usize::from(is_b)), "{service}");
            let header = route.policy.as_ref().and_then(|policy| policy.version_header.as_ref());
            assert_eq!(header.is_some(), is_b, "{service}");
            let to = forward.versions[0].service.as_ref().unwrap_or(&forward.service);
            assert_eq!(**to, full(if place == 2 { service } else { "b" }));
        }
    }
    let (a, c) = (routes(&snapshot, "a"), routes(&snapshot, "c"));
    assert!(Arc::ptr_eq(&a[0], &c[0]) && !Arc::ptr_eq(&a[2], &c[2]), "services alike share them");
    let any = timeout(&host(&snapshot, "*").routes[0]);
    assert_eq!(any, Some(2), "where no service is asked for, that of the share counts");
    let shared = config(&snapshot).virtual_hosts.iter().filter(|host| host.domains.is_empty());
    let shared: Vec<_> = shared.map(|host| host.name.to_string()).collect();
    assert_eq!(shared, ["a", "b", "d"].map(|service| format!("*:{}", full(service))));
}

#[test]
fn a_backend_that_an_annotation_alone_explains_is_of_each_service_that_a_star_holds_for() {
    let rank = Order::Specificity(Specificity([1, 0, 0, 0, 0, 0]));
    let mut star = object(Dialect::GatewayApi, "star", "*", "canary", &[rank]);
    let ActionDraft::Shares(shares) = &mut star.rules[0].action else { unreachable!("it is a split") };
    shares[0].select = Select::Backend(Labels::from([("version".into(), "v1".into())]));
    let main = "listeners: [{name: l, address: \"0.0.0.0:80\"}]\nservices:\n\
                - {name: a, endpoints: [{address: \"10.0.0.1:80\", labels: {version: v1}}]}\n\
                - {name: b, endpoints: [{address: \"10.0.0.2:80\", labels: {version: v1}}]}\n";
    let (snapshot, found) = linked_with(main, vec![star]);
    for service in ["a", "b"] {
        let routes = routes(&snapshot, service);
        assert_eq!(routes.len(), 1, "{routes:?}");
        assert_eq!(&*routes[0].versions()[0].http_cluster, format!("out.{}|version=v1", full(service)));
    }
    assert!(found.len() == 1 && found[0].starts_with("unknown-backend"), "{found:?}");
}
