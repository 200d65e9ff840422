//! `weir demo`: its arguments, and its fault as one line.

use std::process::ExitCode;
use std::time::Duration;

use crate::app::demo::Demo;

/// Show a 95/5 split of two model versions, live, on loopback only.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// Stop after this long, as in 500ms, 10s or 1m; without it, at Ctrl-C
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub run_for: Option<Duration>,
    /// Send no traffic: only what you send is split
    #[arg(long)]
    pub no_traffic: bool,
    /// Where the proxy listens on 127.0.0.1; 0 takes a free port
    #[arg(long, value_name = "PORT", default_value_t = 8500)]
    pub port: u16,
    /// Where the proxy's admin listens on 127.0.0.1; 0 takes a free port
    #[arg(long, value_name = "PORT", default_value_t = 15000)]
    pub admin_port: u16,
}

/// Runs the demo to its end.
#[must_use]
pub fn main(args: &DemoArgs) -> ExitCode {
    let &DemoArgs { run_for, no_traffic, port, admin_port } = args;
    match (Demo { run_for, traffic: !no_traffic, port, admin_port }).run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("weir demo: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// Reads `500ms`, `10s` or `1m`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_ms: u64 = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => 0,
    };
    let number = digits.parse::<u64>().ok().filter(|_| unit_ms > 0 && !digits.starts_with('+'));
    let ms = number.and_then(|number| number.checked_mul(unit_ms));
    ms.map(Duration::from_millis)
        .ok_or_else(|| "write a whole number and its unit, as in 500ms, 10s or 1m".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: DemoArgs,
    }

    #[test]
    fn without_arguments_it_takes_the_usual_ports_sends_traffic_and_has_no_end() {
        let args = Cli::parse_from(["weir"]).args;
        assert_eq!((args.port, args.admin_port, args.no_traffic, args.run_for), (8500, 15000, false, None));
        let args = Cli::parse_from(["weir", "--for", "10s", "--no-traffic"]).args;
        assert_eq!((args.no_traffic, args.run_for), (true, Some(Duration::from_secs(10))));
    }

    #[test]
    fn durations_are_whole_numbers_with_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("1m"), Ok(Duration::from_secs(60)));
        for text in ["", "10", "s", "1.5s", "-1s", "+1s", "1h", "1 s", "1ms5", "99999999999999999999s", "1é"]
        {
            assert!(duration(text).is_err(), "{text:?} was taken for a duration");
        }
    }
}
