//! What is asked of the pages beside their paths, and what they are told to do.

use super::*;

#[test]
fn a_parameter_that_a_page_does_not_have_is_refused_by_its_name_and_changes_nothing() {
    run(async |mut world| {
        let ways = PAGES.iter().map(|path| ("GET", path)).chain(CHANGES.iter().map(|path| ("POST", path)));
        for (method, path) in ways.filter(|(_, path)| **path != "/logging") {
            for asked in ["rule=x", "name[]=x", "resource=static_clusters", "bogus"] {
                let answer = ask(world.everything, method, &format!("{path}?{asked}")).await;
                let name = asked.split('=').next().unwrap();
                let refused = format!("{name}: ");
                assert!(
                    answer.status == 400 && answer.body.starts_with(&refused) && answer.body.contains(path),
                    "{method} {path}?{asked}: {} {}",
                    answer.status,
                    answer.body
                );
            }
        }
        for path in ["/metrics?filter=weir_", "/ready?x", "/stats/prometheus?x"] {
            assert_eq!(ask(world.public, "GET", path).await.status, 400, "{path}");
        }
        let live = ask_with(world.everything, "GET", "/?x", "host: localhost\r\naccept: text/html\r\n").await;
        assert_eq!((live.status, &*live.body), (400, "x: / has no parameters\n"));
        assert_eq!(world.get("/splits.csv?minutes=5").await.status, 400, "it has no steps");
        assert!(world.commands.try_recv().is_err(), "a command was handed on");
        assert_eq!(world.get("/ready").await.status, 200);
        let skip = world.post("/drain_listeners?graceful&skip_exit").await;
        assert!(skip.status == 400 && skip.body.starts_with("skip_exit: not supported: "), "{}", skip.body);
        assert!(world.commands.try_recv().is_err());
        assert_eq!(world.post("/drain_listeners?graceful&inboundonly").await.status, 200);
        assert_eq!(world.commands.recv().await, Some(Command::DrainListeners));
    });
}

#[test]
fn log_levels_are_shown_and_set_and_bad_ones_change_nothing() {
    run(async |world| {
        let list = |level: &str| {
            let all = ["default"].into_iter().chain(crate::words::log_targets::LOG_TARGETS.iter().copied());
            format!(
                "active loggers:\n{}\n",
                all.map(|name| format!("  {name}: {level}\n")).collect::<String>()
            )
        };
        let shown = world.post("/logging").await;
        assert_eq!((shown.status, shown.body), (200, list("info")));
        let set = world.post("/logging?paths=weir%3A%3Aproxy:debug").await;
        set.has_line("  weir::proxy::server: debug");
        set.has_line("  weir::upstream: info");
        world.post("/logging?level=").await.has_line("  weir::proxy: debug");
        world.post("/logging?weir::upstream=critical").await.has_line("  weir::upstream: error");
        world.post("/logging?paths=weir::upstream:off").await.has_line("  weir::upstream::resolve: off");
        let bad =
            ["level=loud", "paths=weir", "level=info&paths=weir:debug", "weir=loud", "weir=debug&h2=info"];
        for bad in
            bad.into_iter().chain(["group=weir:debug", "a%20b=debug", "typo::target=debug", "paths=foo:info"])
        {
            let answer = world.post(&format!("/logging?{bad}")).await;
            assert!(
                answer.status == 400 && answer.body.contains("usage: /logging"),
                "{bad}: {}",
                answer.body
            );
        }
        for (bad, reason) in [
            ("group=weir:debug", "group: not supported: there are no groups; paths sets several at once"),
            ("group=a:b", "group: not supported: there are no groups; paths sets several at once"),
            ("level=loud", "level: \"loud\" is no level"),
            ("weir::proxy=loud", "weir::proxy: \"loud\" is no level"),
            ("paths=weir:info,weir::proxy:a", "weir::proxy: \"a\" is no level"),
        ] {
            let answer = world.post(&format!("/logging?{bad}")).await;
            assert_eq!(answer.body.lines().next(), Some(&*format!("error: {reason}")), "{bad}");
        }
        let near = world.post("/logging?weir::upstreams::resolve=debug").await;
        assert!(near.body.contains("did you mean weir::upstream::resolve?"), "{}", near.body);
        assert_eq!(world.levels.directives(), "info,weir::proxy=debug,weir::upstream=off");
        assert_eq!(world.post("/logging?level=warning").await.body, list("warning"));
        world.levels.1.set(true);
        assert_eq!(world.post("/logging?level=debug").await.status, 400);
    });
}

#[test]
fn commands_are_handed_on_and_asking_twice_is_no_fault() {
    run(async |mut world| {
        assert_eq!(world.post("/drain_listeners?graceful").await.body, "OK\n");
        assert_eq!(world.post("/drain_listeners").await.status, 200, "one waits already");
        assert_eq!(world.commands.recv().await, Some(Command::DrainListeners));
        assert_eq!(world.post("/quitquitquit").await.body, "OK\n");
        assert_eq!(world.commands.recv().await, Some(Command::Quit));
        world.commands.close();
        assert_eq!(world.post("/quitquitquit").await.status, 503);
        assert_eq!(world.post("/reopen_logs").await.body, "OK\n", "until the end");
        assert_eq!(world.reopened.get(), 1);
    });
}
