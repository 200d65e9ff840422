//! The two forms of `/stats`, text and JSON, as Envoy writes them.
//!
//! Law: knows nothing of where a number comes from. What nobody can say is `nan` in text and `null` in JSON.

use std::fmt::{self, Display, Write as _};

use super::super::registry::Series;
use super::quantiles::{PERCENTS, quantiles};
use super::{Buckets, Form, Number};

/// Writes a page from its beginning to its end.
pub(super) struct Writer {
    form: Form,
    buckets: Buckets,
    /// Whether something stands in the list already.
    is_begun: bool,
    /// Whether a histogram does.
    in_histograms: bool,
}

/// What a histogram saw, by bucket.
struct Seen<'a> {
    bounds: &'a [f64],
    /// In the last interval, where that is known.
    last: Option<&'a [u64]>,
    total: Vec<u64>,
}

impl Writer {
    pub(super) fn new(form: Form, buckets: Buckets) -> Writer {
        Writer { form, buckets, is_begun: false, in_histograms: false }
    }

    pub(super) fn begin(&mut self, out: &mut String) {
        if self.form == Form::Json {
            out.push_str("{\"stats\":[");
        }
    }

    /// A counter or a gauge.
    pub(super) fn scalar(&mut self, out: &mut String, name: &str, number: Number) {
        match self.form {
            Form::Text => put(out, format_args!("{name}: {}\n", Text(number))),
            Form::Json => {
                self.separate(out);
                put(out, format_args!("{{\"name\":{},\"value\":{}}}", Quoted(name), Json(number)));
            }
        }
    }

    /// `last`: what each bucket got in the last interval, where that is known.
    pub(super) fn histogram(&mut self, out: &mut String, name: &str, series: &Series, last: Option<&[u64]>) {
        let total = (0..=series.bounds.len()).map(|bucket| series.span.sum(bucket)).collect();
        let seen = Seen { bounds: series.bounds, last, total };
        if self.form == Form::Json {
            self.begin_histogram(out);
            put(out, format_args!("{{\"name\":{},", Quoted(name)));
            seen.write_json(out, self.buckets);
            out.push('}');
            return;
        }
        out.push_str(name);
        if seen.total.iter().all(|&count| count == 0) {
            out.push_str(": No recorded values");
        } else {
            seen.write_text(out, self.buckets);
        }
        out.push('\n');
    }

    /// All histograms stand in one entry, the last.
    fn begin_histogram(&mut self, out: &mut String) {
        if std::mem::replace(&mut self.in_histograms, true) {
            out.push(',');
            return;
        }
        self.separate(out);
        let (percents, list) = match self.buckets {
            Buckets::Summary => ("supported_quantiles", "computed_quantiles"),
            Buckets::Detailed => ("supported_percentiles", "details"),
            Buckets::Cumulative | Buckets::Disjoint => return out.push_str("{\"histograms\":["),
        };
        let all = PERCENTS.map(|percent| percent.to_string()).join(",");
        put(out, format_args!("{{\"histograms\":{{\"{percents}\":[{all}],\"{list}\":["));
    }

    fn separate(&mut self, out: &mut String) {
        if std::mem::replace(&mut self.is_begun, true) {
            out.push(',');
        }
    }

    pub(super) fn end(&mut self, out: &mut String) {
        if self.form == Form::Text {
            return;
        }
        if self.in_histograms {
            let is_list = matches!(self.buckets, Buckets::Cumulative | Buckets::Disjoint);
            out.push_str(if is_list { "]}" } else { "]}}" });
        }
        out.push_str("]}");
    }
}

impl Seen<'_> {
    /// What stands after the name.
    fn write_text(&self, out: &mut String, buckets: Buckets) {
        match buckets {
            Buckets::Summary => {
                out.push(':');
                self.write_quantiles(out, " ");
            }
            Buckets::Cumulative | Buckets::Disjoint => {
                out.push(':');
                for (bound, last, total) in self.counted(buckets) {
                    put(out, format_args!(" B{}({last},{total})", General(bound)));
                }
            }
            Buckets::Detailed => {
                let parts = [("totals", &*self.total), ("intervals", self.last.unwrap_or_default())];
                out.push(':');
                for (title, counts) in parts {
                    put(out, format_args!("\n  {title}="));
                    for (number, (lower, width, count)) in places(self.bounds, counts).enumerate() {
                        let comma = if number > 0 { ", " } else { "" };
                        put(out, format_args!("{comma}{lower},{width}:{count}"));
                    }
                }
                out.push_str("\n  summary");
                self.write_quantiles(out, "=");
            }
        }
    }

    fn write_quantiles(&self, out: &mut String, mut before: &str) {
        for (percent, last, total) in self.quantiles() {
            put(out, format_args!("{before}P{percent}({},{})", Text(last), Text(total)));
            before = " ";
        }
    }

    fn write_json(&self, out: &mut String, buckets: Buckets) {
        match buckets {
            Buckets::Summary => self.write_json_quantiles(out, "values"),
            Buckets::Cumulative | Buckets::Disjoint => {
                out.push_str("\"buckets\":[");
                for (number, (bound, last, total)) in self.counted(buckets).enumerate() {
                    let comma = if number > 0 { "," } else { "" };
                    put(
                        out,
                        format_args!(
                            "{comma}{{\"upper_bound\":{bound},\"interval\":{last},\"cumulative\":{total}}}"
                        ),
                    );
                }
                out.push(']');
            }
            Buckets::Detailed => {
                for (title, counts) in
                    [("totals", &*self.total), ("intervals", self.last.unwrap_or_default())]
                {
                    put(out, format_args!("\"{title}\":["));
                    for (number, (lower, width, count)) in places(self.bounds, counts).enumerate() {
                        let comma = if number > 0 { "," } else { "" };
                        put(
                            out,
                            format_args!(
                                "{comma}{{\"lower_bound\":{lower},\"width\":{width},\"count\":{count}}}"
                            ),
                        );
                    }
                    out.push_str("],");
                }
                self.write_json_quantiles(out, "percentiles");
            }
        }
    }

    fn write_json_quantiles(&self, out: &mut String, title: &str) {
        put(out, format_args!("\"{title}\":["));
        for (number, (_, last, total)) in self.quantiles().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            put(out, format_args!("{comma}{{\"cumulative\":{},\"interval\":{}}}", Json(total), Json(last)));
        }
        out.push(']');
    }

    /// Each percentage with the quantile of the last interval and that of all time.
    fn quantiles(&self) -> impl Iterator<Item = (f64, Number, Number)> {
        let number = |value: Option<f64>| Number::Real(value.unwrap_or(f64::NAN));
        let last = self.last.map_or([None; PERCENTS.len()], |last| quantiles(self.bounds, last));
        let both = last.into_iter().zip(quantiles(self.bounds, &self.total));
        PERCENTS.into_iter().zip(both).map(move |(at, (last, total))| (at, number(last), number(total)))
    }

    /// Each bound with the observations of the last interval and of all time. As in Envoy, those above the last bound
    /// stand nowhere.
    fn counted(&self, buckets: Buckets) -> impl Iterator<Item = (f64, u64, u64)> {
        let (mut last_sum, mut total_sum) = (0, 0);
        self.bounds.iter().enumerate().map(move |(bucket, &bound)| {
            let of = |counts: &[u64]| counts.get(bucket).copied().unwrap_or(0);
            let (last, total) = (self.last.map_or(0, of), of(&self.total));
            last_sum += last;
            total_sum += total;
            if buckets == Buckets::Cumulative { (bound, last_sum, total_sum) } else { (bound, last, total) }
        })
    }
}

/// Where the buckets with observations begin, how wide they are, and how many these are. The last one has no end: it is
/// told without a width.
fn places<'a>(bounds: &'a [f64], counts: &'a [u64]) -> impl Iterator<Item = (f64, f64, u64)> + 'a {
    let filled = counts.iter().enumerate().filter(|(_, count)| **count > 0);
    filled.map(|(bucket, &count)| {
        let lower = bucket.checked_sub(1).and_then(|before| bounds.get(before)).copied().unwrap_or(0.0);
        let width = bounds.get(bucket).map_or(0.0, |upper| upper - lower);
        (lower, width, count)
    })
}

fn put(out: &mut String, text: fmt::Arguments<'_>) {
    let _infallible = out.write_fmt(text);
}

/// A number as text.
struct Text(Number);

impl Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Number::Whole(value) => value.fmt(f),
            Number::Real(value) if value.is_nan() => f.write_str("nan"),
            Number::Real(value) => value.fmt(f),
        }
    }
}

/// The same in JSON, which has finite numbers alone.
struct Json(Number);

impl Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Number::Whole(value) => value.fmt(f),
            Number::Real(value) if value.is_finite() => value.fmt(f),
            Number::Real(_) => f.write_str("null"),
        }
    }
}

/// As C's `%g` writes a bound: six digits, and from a million on, or below a ten-thousandth, with an exponent.
struct General(f64);

impl Display for General {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scientific = format!("{:.5e}", self.0);
        let Some((digits, exponent)) = scientific.split_once('e') else { return self.0.fmt(f) };
        match exponent.parse::<i32>() {
            Ok(exponent) if !(-4..6).contains(&exponent) => {
                let digits = digits.trim_end_matches('0').trim_end_matches('.');
                let sign = if exponent < 0 { '-' } else { '+' };
                write!(f, "{digits}e{sign}{:02}", exponent.abs())
            }
            _ => self.0.fmt(f),
        }
    }
}

/// A string of JSON.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A string can always be written.
        f.write_str(&serde_json::to_string(self.0).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_written_as_c_writes_it() {
        let cases = [
            (0.0005, "0.0005"),
            (0.000_63, "0.00063"),
            (0.5, "0.5"),
            (600_000.0, "600000"),
            (1_800_000.0, "1.8e+06"),
            (1e8, "1e+08"),
            (1e-5, "1e-05"),
        ];
        for (bound, text) in cases {
            assert_eq!(General(bound).to_string(), text);
        }
    }
}
