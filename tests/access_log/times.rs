//! The forms of `%START_TIME(form)%` in the real Envoy, and what Weir makes of them for the same instant.

use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use weir::telemetry::{Format, RequestRecord};
use weir::words::{HttpVersion, Protocol};

use super::common::parts::part;
use super::common::world::raw::Raw;
use super::common::world::{lines_of, run, until};
use super::differences::{self, Difference};
use super::envoy::Envoy;
use super::likeness::{for_envoy, probes};
use super::upstream::Upstream;

/// The letters, common ones and rare ones, and what is none.
const FORMS: &str = "%a %A %b %B %c %C %d %D %e %F %g %G %h %H %I %j %k %l %m %M %p %P %r %R %s %S %T %u %U %V %w %W \
    %x %X %y %Y %z %Z %% %t %-d %_H %:z %Ez %ET %E4Y %E3S %E6S %E*S %E3f %E*f %1f %2f %3f %4f %5f %6f %7f %8f %9f %f \
    %f3 %3f%f %s.%3f %d/%b/%Y:%T %Y-%m-%dT%H:%M:%S.%3fZ %10f %3S %3s %EZ %Es %ES %E3s %Od %i %L %N %3N %O %q %Q %v %+";
/// Between two of them.
const COLUMN: &str = " ;; ";

#[test]
fn every_difference_to_envoy_in_how_a_form_prints_a_time_is_listed_and_explained() {
    let Some(program) = part("envoy") else { return };
    let found: Vec<Difference> = run(async || {
        let upstream = Upstream::start().await;
        let forms: Vec<&str> = FORMS.split_whitespace().collect();
        let texts = ["%s", "%6f"].iter().chain(&forms).map(|form| format!("%START_TIME({form})%"));
        let format = Value::from(texts.collect::<Vec<_>>().join(COLUMN));
        let envoy =
            Envoy::with(&program, |log| for_envoy(upstream.at, upstream.at, log, &[("times", format)]));
        let plain = probes().swap_remove(0);
        let mut caller = Raw::connect(envoy.address).await;
        caller.write(&plain.bytes).await;
        caller.read_to_end().await;
        let log = envoy.log.with_file_name("times");
        let line = until("a line", || log.exists().then(|| lines_of(&log).pop()).flatten()).await;
        let mut columns = line.split(COLUMN);
        let mut number = || columns.next().and_then(|text| text.parse::<u64>().ok()).expect("a number");
        let since = Duration::from_secs(number()) + Duration::from_micros(number());
        let time = SystemTime::UNIX_EPOCH + since;
        let columns: Vec<&str> = columns.collect();
        assert_eq!(columns.len(), forms.len(), "{line}");
        forms.into_iter().zip(columns).filter_map(|(form, envoy)| difference(form, envoy, time)).collect()
    });
    differences::check("access_log/differences.md", "Forms of time", &found);
}

fn difference(form: &str, envoy: &str, time: SystemTime) -> Option<Difference> {
    let weir = match Format::parse(&format!("%START_TIME({form})%")) {
        Ok(format) => {
            let record = RequestRecord::new(Instant::now(), time, HttpVersion::Http11, Protocol::Http);
            let line = String::from_utf8(format.line(&record)).expect("text");
            line.trim_end_matches('\n').to_owned()
        }
        Err(_) => "refused".to_owned(),
    };
    // Which time it is, is chance.
    let shape = |text: &str| -> String {
        let shape = text.chars().map(|c| if c.is_ascii_digit() { '9' } else { c });
        shape.collect::<String>().replace('\t', "a tab")
    };
    (weir != envoy).then(|| Difference::new(form, &shape(envoy), &shape(&weir)))
}
