//! Requests and answers on which no byte moves any more.

use super::{Scene, call, get, post, scene};

pub(in super::super) fn silence() -> Vec<Scene> {
    vec![
        scene(
            "silence",
            "timeout: 0s",
            "",
            vec![
                get("/").does("hang"),
                post("/", "body").does("hang"),
                post("/", "part").unfinished(),
                get("/").does("stall"),
                call().does("hang"),
                call().unfinished(),
            ],
        ),
        scene(
            "silence within a time",
            "timeout: 10s",
            "route: {cluster: \"@UP\", timeout: 10s}",
            vec![post("/", "part").unfinished()],
        ),
        scene(
            "silence in a redirect",
            "redirect: {uri: /new}",
            "redirect: {path_redirect: /new}",
            vec![post("/", "part").unfinished()],
        ),
    ]
}
