//! Which route takes a request, seen from both ends of a running proxy, whichever HTTP is spoken.

mod common {
    pub(crate) mod world;
}

use common::world::client::Client;
use common::world::upstream::Upstream;
use common::world::{Http, World, one_service, run};

#[test]
fn a_request_reaches_the_upstream_in_all_four_combinations_of_http() {
    run(async || {
        for (down, up) in Http::matrix() {
            let v1 = Upstream::start("v1").await;
            let yaml = one_service(&[&format!("protocol: {}", up.protocol())], &[(&v1.at(), "v1")]);
            let world = World::start(&yaml).await;
            let answer = Client::connect(down, world.addr("in")).await.get("/hello?q").await;
            assert_eq!((answer.status.as_u16(), answer.text()), (200, "v1"), "{down:?} {up:?}");
            assert_eq!(v1.only().target(), "/hello?q");
            assert!(world.log(1).await[0].starts_with("200 - "), "{:?}", world.log(1).await);
        }
    });
}
