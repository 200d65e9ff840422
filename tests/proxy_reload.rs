//! What a reload of weir.yaml changes, what it leaves alone, and that it never holds up the way out.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod world;
}

use std::fs;
use std::time::{Duration, Instant};

use common::world::client::{Client, get};
use common::world::upstream::Upstream;
use common::world::{Http, SOON, World, one_service, rule, run, split_rule};
use weir::app::sidecar::Leave;

/// Longer than any test: who waits for it has lost.
const NEVER: &str = "dns_refresh: 1h";

/// Replaces weir.yaml by what `change` makes of it.
fn rewrite(world: &World, change: impl FnOnce(String) -> String) {
    let path = world.folder().join("weir.yaml");
    let text = fs::read_to_string(&path).expect("weir.yaml is read");
    fs::write(path.with_extension("new"), change(text)).expect("written");
    fs::rename(path.with_extension("new"), path).expect("renamed");
}

async fn generation(world: &World) -> f64 {
    world.metric("weir_config_generation", &[]).await
}

async fn wait_for_generation(world: &World, wanted: f64) {
    let start = Instant::now();
    while generation(world).await < wanted {
        assert!(start.elapsed() < SOON, "generation {wanted}: not within {SOON:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn an_endpoint_with_a_name_serves_from_the_first_request_of_its_generation() {
    run(async || {
        let (old, new) = (Upstream::start("old").await, Upstream::start("new").await);
        let world = World::start(&one_service(&[NEVER], &[(&old.at(), "v1")])).await;
        let mut client = Client::connect(Http::One, world.addr("in")).await;
        assert_eq!(client.send(get("/")).await.upstream(), "old");
        let before = generation(&world).await;
        let named = format!("localhost:{}", new.addr().port());
        rewrite(&world, |text| text.replace(&old.at(), &named));
        wait_for_generation(&world, before + 1.0).await;
        let answer = client.send(get("/")).await;
        assert_eq!((answer.status.as_u16(), answer.upstream()), (200, "new"));
    });
}

#[test]
fn what_is_fixed_for_the_life_of_the_process_stays_and_the_pages_say_so() {
    run(async || {
        let upstream = Upstream::start("a").await;
        let world = World::start(&one_service(&[], &[(&upstream.at(), "v1")])).await;
        let dump = async || Client::connect(Http::One, world.admin()).await.get("/config_dump").await;
        let before = generation(&world).await;
        rewrite(&world, |text| text.replace("workers: 1", "workers: 3") + "\nnode: {workload: other-name}\n");
        wait_for_generation(&world, before + 1.0).await;
        let page = dump().await;
        assert!(page.status.is_success() && !page.text().contains("other-name"), "{}", page.text());
    });
}

#[test]
fn names_and_files_that_change_while_it_leaves_do_not_hold_it_up() {
    run(async || {
        let upstream = Upstream::start("a").await;
        let named = format!("localhost:{}", upstream.addr().port());
        // Twenty answers and more in the grace, which is more than any queue holds.
        let yaml = one_service(&["dns_refresh: 100ms"], &[(&named, "v1")])
            + "drain: {grace: 2500ms, deadline: 4s}\n";
        let world = World::with_rules(&yaml, &[("a.yaml", &split_rule(&[("v1", 100)]))]).await;
        let folder = world.folder().to_owned();
        let write = async {
            for number in 1..4 {
                tokio::time::sleep(Duration::from_millis(600)).await;
                let text = rule("split", number, "", &[("v1", 100)]);
                let _ = fs::write(folder.join("rules/a.yaml"), text); // its folder may be gone
            }
        };
        // `run` waits for the proxy's thread, too.
        let (cut, ()) = futures_util::future::join(world.leave(Leave::Drain), write).await;
        assert_eq!(cut, 0);
    });
}
