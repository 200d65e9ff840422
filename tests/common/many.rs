//! Rules by the thousand, in each dialect and under a star.
//!
//! Law: whatever the shape, each service is split in two by as many rules, each with conditions of its own.
// Compiled into several tests, few of which use all of it; `pub` marks what tests call.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::fmt::Write as _;

/// How rules about many services are written.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// An object for each rule.
    RouteRules,
    /// An object for each service, and a DestinationRule.
    VirtualServices,
    /// An object for each service, which is its parent.
    HttpRoutes,
    /// One object for every host, with all rules.
    StarredVirtualService,
    /// An object for each service, of a gateway and for every host.
    StarredHttpRoutes,
}

impl Shape {
    pub const ALL: [Shape; 5] = [
        Shape::RouteRules,
        Shape::VirtualServices,
        Shape::HttpRoutes,
        Shape::StarredVirtualService,
        Shape::StarredHttpRoutes,
    ];

    /// So many rules of each of so many services.
    pub fn rules(self, services: usize, of_each: usize) -> String {
        let mut text = String::new();
        if matches!(self, Shape::StarredVirtualService) {
            text += "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: star}\n\
                     spec:\n  hosts: ['*']\n  gateways: [gw]\n  http:\n";
        }
        for service in 0..services {
            self.object(&mut text, service);
            for rule in 0..of_each {
                self.rule(&mut text, service, rule, of_each - rule);
            }
        }
        if matches!(self, Shape::VirtualServices | Shape::StarredVirtualService) {
            (0..services).for_each(|service| destination(&mut text, service));
        }
        text
    }

    /// How many objects these are.
    pub fn objects(self, services: usize, of_each: usize) -> usize {
        match self {
            Shape::RouteRules => services * of_each,
            Shape::VirtualServices => 2 * services,
            Shape::HttpRoutes | Shape::StarredHttpRoutes => services,
            Shape::StarredVirtualService => services + 1,
        }
    }

    /// What stands before the rules of a service.
    fn object(self, text: &mut String, service: usize) {
        match self {
            Shape::RouteRules | Shape::StarredVirtualService => {}
            Shape::VirtualServices => writeln!(
                text,
                "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v{service}}}\n\
                 spec:\n  hosts: [s{service}]\n  http:"
            )
            .unwrap(),
            Shape::HttpRoutes => http_route(text, service, &format!("{{group: '', kind: Service, name: s{service}}}")),
            Shape::StarredHttpRoutes => http_route(text, service, "{name: gw}"),
        }
    }

    fn rule(self, text: &mut String, service: usize, rule: usize, precedence: usize) {
        match self {
            Shape::RouteRules => writeln!(
                text,
                "---\napiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {{name: r{rule}-{service}}}\n\
                 spec: {{destination: {{name: s{service}}}, precedence: {precedence}, \
                 match: {{request: {{headers: {{x-user: {{exact: user-{rule}}}}}}}}}, \
                 route: [{{labels: {{version: v1}}, weight: 95}}, {{labels: {{version: v2}}, weight: 5}}]}}"
            ),
            Shape::VirtualServices | Shape::StarredVirtualService => writeln!(
                text,
                "  - {{match: [{{uri: {{prefix: /s{service}/}}, headers: {{x-user: {{exact: user-{rule}}}}}}}], \
                 route: [{{destination: {{host: s{service}, subset: v1}}, weight: 95}}, \
                 {{destination: {{host: s{service}, subset: v2}}, weight: 5}}]}}"
            ),
            Shape::HttpRoutes | Shape::StarredHttpRoutes => writeln!(
                text,
                "  - {{matches: [{{path: {{type: PathPrefix, value: /s{service}}}, \
                 headers: [{{name: x-user, value: user-{rule}}}]}}], \
                 backendRefs: [{{name: s{service}-v1, port: 80, weight: 95}}, \
                 {{name: s{service}-v2, port: 80, weight: 5}}]}}"
            ),
        }
        .unwrap();
    }
}

fn http_route(text: &mut String, service: usize, parent: &str) {
    writeln!(
        text,
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: h{service}}}\n\
         spec:\n  parentRefs: [{parent}]\n  rules:"
    )
    .unwrap();
}

fn destination(text: &mut String, service: usize) {
    writeln!(
        text,
        "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: d{service}}}\n\
         spec: {{host: s{service}, subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]}}"
    )
    .unwrap();
}

/// Two endpoints for each of so many services, where nobody listens.
pub fn services(count: usize) -> String {
    let mut services = "workers: 2\nservices:\n".to_owned();
    for service in 0..count {
        writeln!(
            services,
            "- {{name: s{service}, endpoints: [{{grpc: '127.0.0.1:9', http: '127.0.0.1:7', labels: {{version: v1}}}}, \
             {{grpc: '127.0.0.2:9', http: '127.0.0.2:7', labels: {{version: v2}}}}]}}"
        )
        .unwrap();
    }
    services
}
