//! The live page, its twins, and whom they are for.

use super::*;

const BROWSER: &str = "host: 127.0.0.1:15000\r\naccept: text/html,application/xhtml+xml,*/*;q=0.8\r\n";

#[test]
fn a_browser_gets_the_page_and_its_files_and_everybody_else_the_list() {
    run(async |world| {
        let page = ask_with(world.everything, "GET", "/", BROWSER).await;
        assert!(page.body.starts_with("<!doctype html>"), "{}", page.body);
        assert!(page.head.contains("content-type: text/html; charset=UTF-8\r\n"), "{}", page.head);
        assert!(page.head.contains("content-security-policy: default-src 'none';"), "{}", page.head);
        assert!(page.head.contains("vary: accept\r\n"), "{}", page.head);
        // Nothing comes from elsewhere, and nothing is written into the document itself.
        assert!(!page.body.contains("//") && !page.body.contains("<style") && !page.body.contains(" style="));
        let files = page.body.split(['"']).filter(|part| part.starts_with("live."));
        let files: std::collections::BTreeSet<&str> = files.collect();
        assert_eq!(files.into_iter().collect::<Vec<_>>(), ["live.css", "live.js", "live.svg"]);
        for (file, kind) in [("css", "text/css"), ("js", "text/javascript"), ("svg", "image/svg+xml")] {
            let answer = world.get(&format!("/live.{file}")).await;
            assert!(answer.status == 200 && answer.body.len() > 100, "{file}");
            assert!(answer.head.contains(&format!("content-type: {kind}")), "{}", answer.head);
        }
        for fields in [
            "host: localhost\r\n",
            "host: localhost\r\naccept: */*\r\n",
            "host: localhost\r\naccept: application/json\r\n",
        ] {
            let list = ask_with(world.everything, "GET", "/", fields).await;
            assert!(list.body.starts_with("admin commands are:\n"), "{fields}: {}", list.body);
        }
        let public = ask_with(world.public, "GET", "/", BROWSER).await;
        assert_eq!((public.status, &*public.body), (404, "invalid path.\n"));
        assert_eq!(ask_with(world.everything, "POST", "/", BROWSER).await.status, 405);
    });
}

#[test]
fn another_site_reads_nothing_and_has_nothing_done() {
    run(async |mut world| {
        let evil = "host: evil.example:15000\r\n";
        for (method, path) in
            [("GET", "/"), ("GET", "/config_dump"), ("POST", "/quitquitquit"), ("GET", "/none")]
        {
            assert_eq!(ask_with(world.everything, method, path, evil).await.status, 403, "{path}");
        }
        let driven = "host: 127.0.0.1:15000\r\norigin: http://evil.example\r\ncontent-length: 0\r\n";
        assert_eq!(ask_with(world.everything, "POST", "/quitquitquit", driven).await.status, 403);
        assert!(world.commands.try_recv().is_err(), "it was handed on");
        // Scrapers use whatever name their operator gave the address.
        for address in [world.public, world.everything] {
            assert_eq!(ask_with(address, "GET", "/metrics", evil).await.status, 200);
            assert_eq!(ask_with(address, "GET", "/ready", evil).await.status, 200);
        }
    });
}

#[test]
fn splits_tell_of_endpoints_and_of_the_last_minutes_when_asked() {
    run(async |world| {
        let page = world.get("/splits").await.json();
        let version = &page["splits"][0]["versions"][1];
        // By gRPC and by HTTP: two addresses.
        assert_eq!(version["endpoints"], json!({"healthy": 2, "ejected": 0, "failed_check": 0}));
        assert_eq!((version.get("steps"), page.get("left_out")), (None, None));
        let start = Instant::now();
        let tick = |second: u64| world.admin.stats.borrow_mut().tick(start + Duration::from_secs(second));
        world.report("v2", 200, 4, 8);
        world.report("v2", 500, 4, 2);
        world.report("v2", 404, 4, 3);
        tick(5);
        let page = world.get("/splits?minutes=5").await.json();
        let steps = json!({"seconds": 5, "requests": [13], "client_errors": [3], "server_errors": [2]});
        assert_eq!(page["splits"][0]["versions"][1]["steps"], steps);
        tick(15);
        let page = world.get("/splits?minutes=5").await.json();
        assert_eq!(page["splits"][0]["versions"][1]["steps"]["requests"], json!([13, 0, 0]));
        // Nobody looks for more than a minute; then the process is stopped for two, which cost it nothing.
        for second in 16..=85 {
            tick(second);
        }
        world.report("v2", 500, 4, 1);
        tick(90);
        tick(210);
        let page = world.get("/splits?minutes=5").await.json();
        let steps = &page["splits"][0]["versions"][1]["steps"];
        let failed: Vec<u64> = serde_json::from_value(steps["server_errors"].clone()).unwrap();
        assert_eq!((failed.len(), failed[0], failed[17], failed.iter().sum()), (42, 2, 1, 3), "{failed:?}");
        let page = world.get("/splits?minutes=2").await.json();
        assert_eq!(page["splits"][0]["versions"][1]["steps"]["server_errors"], json!(vec![0; 24]));
    });
}

#[test]
fn client_errors_are_told_beside_success_and_stand_out_where_they_are_a_versions_own() {
    run(async |world| {
        let v1 = async || world.get("/splits").await.json()["splits"][0]["versions"][0].clone();
        let none = json!({"success": null, "client_errors": null, "endpoints": "good"});
        assert_eq!(
            (&v1().await["states"], &v1().await["minute"]["client_error_rate"]),
            (&none, &Value::Null)
        );
        world.report("v1", 400, 4, 32);
        world.report("v1", 200, 4, 20);
        world.report("v2", 200, 4, 47);
        world.report("v2", 500, 4, 1);
        world.admin.stats.borrow_mut().tick(Instant::now() + Duration::from_secs(2));
        let page = world.get("/splits").await.json();
        let [v1, v2] = [0, 1].map(|version| &page["splits"][0]["versions"][version]);
        // Of the server's faults there were none: success says that, and nothing of the callers'.
        assert_eq!(v1["minute"]["success_rate"], 1.0);
        assert_eq!(v1["minute"]["client_error_rate"], 32.0 / 52.0);
        assert_eq!(v1["states"], json!({"success": "good", "client_errors": "high", "endpoints": "good"}));
        assert_eq!(v2["states"], json!({"success": "degraded", "client_errors": null, "endpoints": "good"}));
        assert_eq!(v2["minute"]["client_error_rate"], 0.0);
    });
}

/// Rules by name: `quiet0` to `quiet4` by precedence, and `busy` behind them all.
fn many_rules() -> String {
    let rule = |name: &str, precedence: usize| {
        let renamed = RULES.replace("name: testers", &format!("name: {name}"));
        let last = renamed.replace("precedence: 2", &format!("precedence: {precedence}"));
        last.replace("x-user", &format!("x-{name}"))
    };
    let quiet = (0..5).map(|number| rule(&format!("quiet{number}"), 90 - number));
    quiet.chain([rule("busy", 1)]).collect::<Vec<_>>().join("---\n")
}

#[test]
fn rules_with_trouble_come_first_then_those_with_traffic_and_no_limit_leaves_them_out() {
    run(async |mut world| {
        world.planner.publish(snapshot(MAIN, &many_rules())).unwrap();
        world.admin.stats.borrow_mut().adopt(world.planner.declared());
        let rules = async |asked: &str| -> Vec<String> {
            let page = world.get(&format!("/splits?{asked}")).await.json();
            let splits = page["splits"].as_array().unwrap().iter();
            splits.map(|split| split["rule"].as_str().unwrap_or("-").replace(".kubeflow", "")).collect()
        };
        let by_precedence = ["quiet0", "quiet1", "quiet2", "quiet3", "quiet4", "busy", "-"];
        assert_eq!(rules("").await, by_precedence);
        assert_eq!(rules("sort=trouble").await, by_precedence, "nothing has happened yet");

        world.report_under("busy", "v1", 200, 90);
        world.report_under("busy", "v2", 200, 5);
        world.report_under("quiet3", "v2", 200, 9);
        let start = Instant::now();
        world.admin.stats.borrow_mut().tick(start + Duration::from_secs(2));
        let by_traffic = ["busy", "quiet3", "quiet0", "quiet1", "quiet2", "quiet4", "-"];
        assert_eq!(rules("sort=trouble").await, by_traffic);
        assert_eq!(rules("sort=trouble&limit=1").await, ["busy"]);
        assert_eq!(rules("sort=precedence&limit=1").await, ["quiet0"]);
        assert_eq!(rules("sort=trouble&filter=quiet&limit=2").await, ["quiet3", "quiet0"]);

        // About as many as `busy` has, which is no reason to change places.
        world.report_under("quiet4", "v1", 200, 100);
        world.report_under("quiet1", "v1", 500, 1);
        world.report_under("quiet2", "v1", 200, 999);
        world.report_under("quiet2", "v1", 500, 1);
        world.report_under("quiet2", "v1", 404, 100);
        world.report_under("quiet2", "v2", 200, 100);
        world.admin.stats.borrow_mut().tick(start + Duration::from_secs(4));
        // Failing, degraded, and all others.
        let worst_first = ["quiet1", "quiet2", "quiet4", "busy", "quiet3", "quiet0", "-"];
        assert_eq!(rules("sort=trouble").await, worst_first);
        assert_eq!(rules("").await, by_precedence);
        let table = world.get("/splits.csv?sort=trouble&limit=1").await.body;
        assert!(table.lines().nth(1).unwrap().contains("quiet1.kubeflow"), "{table}");
        assert!(world.get("/splits?sort=name").await.body.starts_with("`sort` is precedence or trouble"));
        assert_eq!(world.get("/splits?sort=name").await.status, 400);
    });
}

#[test]
fn a_version_without_endpoints_is_trouble_unless_it_is_sent_nothing() {
    run(async |mut world| {
        for (shares, first) in [([95, 5], "gone.kubeflow"), ([100, 0], "quiet0.kubeflow")] {
            let gone = RULES.replace("name: testers", "name: gone").replace("precedence: 2", "precedence: 0");
            let gone =
                gone.replace("{version: v2}, weight: 5", &format!("{{version: v3}}, weight: {}", shares[1]));
            let gone = gone.replace("weight: 95", &format!("weight: {}", shares[0]));
            world.planner.publish(snapshot(MAIN, &format!("{}---\n{gone}", many_rules()))).unwrap();
            world.admin.stats.borrow_mut().adopt(world.planner.declared());
            let page = world.get("/splits?sort=trouble").await.json();
            assert_eq!(page["splits"][0]["rule"], first, "{shares:?}");
            let all = page["splits"].as_array().unwrap();
            let gone = all.iter().find(|split| split["rule"] == "gone.kubeflow").unwrap();
            assert_eq!(gone["versions"][1]["states"]["endpoints"], "failing");
        }
    });
}

#[test]
fn a_few_of_many_rules_are_asked_for_by_name_and_number() {
    run(async |world| {
        let page = world.get("/splits?limit=1").await.json();
        assert_eq!((page["splits"].as_array().unwrap().len(), &page["left_out"]), (1, &json!(1)));
        let page = world.get("/splits?filter=%20testers").await.json();
        assert_eq!(page["splits"].as_array().unwrap().len(), 1);
        assert_eq!(world.get("/splits?filter=nobody").await.json()["splits"], json!([]));
        for wrong in ["minutes=6", "minutes=0", "minutes=a", "limit=0", "limit=-1", "filter=("] {
            for path in ["/splits", "/splits.csv"] {
                let answer = world.get(&format!("{path}?{wrong}")).await;
                assert_eq!(answer.status, 400, "{wrong}: {}", answer.body);
            }
        }
        assert_eq!(world.get("/rules?limit=x").await.status, 400);
        assert_eq!(world.get("/rules?filter=(").await.status, 400);
    });
}

#[test]
fn a_page_in_pieces_is_laid_out_as_one_in_whole() {
    run(async |world| {
        for path in ["/splits", "/splits?limit=1", "/splits?filter=nobody", "/rules", "/config_dump"] {
            let page = world.get(path).await;
            let whole = serde_json::to_string_pretty(&page.json()).unwrap() + "\n";
            assert_eq!(page.body, whole, "{path}");
        }
        for path in ["/splits?minutes=1", "/splits?minutes=1&limit=1", "/splits?minutes=1&filter=nobody"] {
            let page = world.get(path).await;
            assert_eq!(page.body, page.json().to_string(), "{path}");
        }
    });
}

#[test]
fn the_table_says_what_the_json_says() {
    run(async |world| {
        world.report("v1", 200, 4, 24);
        world.report("v1", 400, 4, 8);
        world.report("v2", 500, 4, 1);
        world.report("v2", 200, 4, 31);
        world.admin.stats.borrow_mut().tick(Instant::now() + Duration::from_secs(10));
        let json = world.get("/splits").await.json();
        let table = world.get("/splits.csv").await;
        assert!(table.head.contains("content-type: text/csv; charset=UTF-8; header=present\r\n"));
        let mut lines = table.body.split_terminator("\r\n").map(|line| line.split(',').collect::<Vec<_>>());
        let names = lines.next().unwrap();
        let rows: Vec<Vec<&str>> = lines.collect();
        let versions =
            json["splits"].as_array().unwrap().iter().flat_map(|split| split["versions"].as_array().unwrap());
        let versions: Vec<&Value> = versions.collect();
        assert_eq!(rows.len(), versions.len());
        for (row, version) in rows.iter().zip(versions) {
            assert_eq!(row.len(), names.len());
            for (name, field) in names.iter().zip(row) {
                let (span, column) = name.split_once('_').unwrap_or(("", name));
                let value = match span {
                    "start" | "minute" | "endpoints" | "states" => &version[span][column],
                    _ if ["version", "weight"].contains(name) => &version[*name],
                    _ => continue,
                };
                let said = match value {
                    Value::Null => String::new(),
                    Value::String(text) => text.clone(),
                    value => value.to_string(),
                };
                let alike = said == **field || said.parse::<f64>().ok() == field.parse::<f64>().ok();
                assert!(alike, "{name}: {field:?}, not {said:?}");
            }
        }
        assert_eq!(&rows[0][..4], ["1", HOST, "testers.kubeflow", "v1"]);
        assert_eq!(rows[0][rows[0].len() - 3..], ["good", "high", "good"]);
    });
}

#[test]
fn the_rules_in_force_are_told_in_order_and_in_words() {
    run(async |world| {
        let page = world.get("/rules").await.json();
        assert_eq!((&page["generation"], &page["listeners"]), (&json!(1), &json!(["predict"])));
        let host = &page["hosts"][0];
        assert_eq!((&host["host"], &host["listeners"]), (&json!(HOST), &json!(["predict"])));
        let rules = host["rules"].as_array().unwrap();
        assert_eq!(rules[0]["name"], "testers.kubeflow");
        assert_eq!(rules[0]["origin"], "rules.yaml:2");
        assert_eq!(rules[0]["when"], json!(["header x-user is \"alice\""]));
        assert_eq!(rules[0]["versions"][0]["percent"], 95.0);
        assert_eq!((&rules[1]["name"], &rules[1]["when"]), (&json!("default-route"), &json!([])));
        let few = world.get("/rules?limit=1").await.json();
        assert_eq!((few["hosts"][0]["rules"].as_array().unwrap().len(), &few["left_out"]), (1, &json!(1)));
        let none = world.get("/rules?filter=nobody").await.json();
        assert_eq!((&none["hosts"], &none["listeners"]), (&json!([]), &json!(["predict"])));
    });
}

#[test]
fn a_request_is_explained_as_the_command_does_by_query_and_by_form() {
    run(async |world| {
        let told = world.get("/explain?url=/v1/models&header=x-user:%20alice").await.json();
        assert_eq!((&told["choice"]["name"], &told["method"]), (&json!("testers.kubeflow"), &json!("GET")));
        // As a browser sends a form of which two fields are empty.
        let form = "/explain?method=POST&url=%2Fv1&headers=x-a%3A+b%0D%0Ax-user%3A+bob%0D%0A&from=&listener=";
        let told = world.get(form).await.json();
        assert_eq!(told["choice"]["name"], "default-route");
        assert_eq!(told["tried"][0]["why_not"], "header x-user is \"bob\", not \"alice\"");
        let two = "/explain?url=/&header=x-a:b&header=x-user:alice";
        assert_eq!(world.get(two).await.json()["choice"]["name"], "testers.kubeflow");
        let text = world.get("/explain?url=/&format=text&listener=predict").await;
        assert!(text.body.starts_with("GET / (http, caller unknown)\nlistener predict on "), "{}", text.body);
        for (asked, reason) in [
            ("", "`url` is missing"),
            ("?url=", "`url` is missing"),
            ("?url=/&method=G(T", "`G(T` is no method"),
            ("?url=/&header=x-a:b%0d%0ax-user:alice", "a header is one line"),
            ("?url=/&header=x-a:b%0a", "a header is one line"),
            ("?url=/&header=x-a:b%00", "failed to parse header value"),
            ("?url=/&headers=x", "a header is written 'name: value'"),
            ("?url=/&header=x", "a header is written 'name: value'"),
            ("?url=/&from=here", "`here` is no address"),
            (
                "?url=/&to=1",
                "to: not a parameter of /explain, which has method, url, header, headers, from, listener, format",
            ),
            ("?url=/&format=xml", "`format` is json or text, not `xml`"),
            ("?url=/&listener=none", "there is no listener none; there are: "),
        ] {
            let answer = world.get(&format!("/explain{asked}")).await;
            assert!(answer.status == 400 && answer.body.starts_with(reason), "{asked}: {}", answer.body);
        }
    });
}

#[test]
fn the_verdicts_are_told_without_what_serves() {
    run(async |world| {
        let whole = world.get("/config_dump").await.json();
        let short = world.get("/config_dump?verdicts").await.json();
        assert!(whole.get("snapshot").is_some() && short.get("snapshot").is_none());
        assert_eq!((&short["verdicts"], &short["generation"]), (&whole["verdicts"], &whole["generation"]));
    });
}
