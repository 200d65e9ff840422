//! Pages of metrics for scrapers that take gzip.

use std::io::Read as _;
use std::net::SocketAddr;

use flate2::read::GzDecoder;
use http::Method;

use super::common::world::client::{Answer, Client, request};
use super::common::world::upstream::empty;
use super::common::world::{Http, run};
use super::{ask, page, upstream, world};

/// A page as it is answered to who says `accept-encoding` so.
async fn accepting(to: SocketAddr, method: Method, path: &str, accepted: &str) -> Answer {
    let request = request(method, path).header("accept-encoding", accepted).body(empty());
    Client::connect(Http::One, to).await.send(request.expect("a request")).await
}

/// The names of a page's series, with their labels.
fn series(page: &str) -> Vec<&str> {
    page.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| Some(line.rsplit_once(' ')?.0))
        .collect()
}

#[test]
fn who_takes_gzip_gets_the_same_page_packed_and_all_others_get_it_as_it_is() {
    run(async || {
        let upstream = upstream().await;
        let world = world(&upstream).await;
        ask(world.addr("in"), &["/m", "/m", "/404", "/500"]).await;
        world.counts("http_downstream_rq_completed", 4.0).await;
        // What the pages count of themselves is there from now on.
        for path in ["/metrics", "/stats/prometheus", "/stats?format=prometheus"] {
            let plain = page(world.admin(), path).await;
            assert_eq!(plain.header("content-encoding"), None, "{path}");
            assert_eq!(plain.header("vary"), Some("accept-encoding"), "{path}");
            let refused = accepting(world.admin(), Method::GET, path, "gzip;q=0, identity").await;
            assert_eq!(refused.header("content-encoding"), None, "{path}");

            let answer = accepting(world.admin(), Method::GET, path, "zstd, gzip;q=0.5").await;
            assert_eq!(answer.header("content-encoding"), Some("gzip"), "{path}");
            assert_eq!(answer.header("content-type"), plain.header("content-type"), "{path}");
            assert_eq!(answer.header("vary"), Some("accept-encoding"), "{path}");
            let mut text = String::new();
            GzDecoder::new(&answer.body[..]).read_to_string(&mut text).expect("gzip");
            assert_eq!(series(&text), series(plain.text()), "{path}");
            assert!(answer.body.len() * 8 < text.len(), "{path}: {} of {}", answer.body.len(), text.len());

            let head = accepting(world.admin(), Method::HEAD, path, "gzip").await;
            assert_eq!((head.header("content-encoding"), head.body.len()), (Some("gzip"), 0), "{path}");
        }
        let clusters = accepting(world.admin(), Method::GET, "/clusters", "gzip").await;
        assert_eq!(clusters.header("content-encoding"), None, "people read it");
    });
}
