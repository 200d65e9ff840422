//! The forms of `%START_TIME(form)%`, which are Envoy's, in the letters of the calendar that prints them.
//!
//! Law: what a form prints in Envoy it prints here, in UTC. Envoy knows microseconds: what is smaller is zero. The
//! letters of a form are looked at when a format is read, and no more.

use std::time::SystemTime;

use jiff::Timestamp;
use jiff::fmt::strtime;

/// Letters behind a `%` that the calendar has not, or has for something else.
const LETTERS: [(&str, &str); 10] = [
    ("f", "%9f"),
    ("c", "%a %b %e %T %Y"),
    ("x", "%D"),
    ("r", "%I:%M:%S %p"),
    ("Z", "UTC"),
    ("Ez", "%:z"),
    ("E*S", "%S%.f"),
    ("E*f", "%f"),
    ("E4Y", "%Y"),
    ("ET", "T"),
];

/// A form that can print a time.
#[derive(Clone, Debug)]
pub(super) struct TimeForm(Box<str>);

impl TimeForm {
    /// Of Envoy's letters; or why it can print none.
    pub(super) fn parse(form: &str) -> Result<TimeForm, String> {
        let form = TimeForm(in_letters_of_the_calendar(form).into());
        match strtime::format(&*form.0, Timestamp::UNIX_EPOCH) {
            Ok(_) => Ok(form),
            Err(error) => Err(error.to_string()),
        }
    }

    /// `None` for a clock beyond the calendar.
    pub(super) fn print(&self, time: SystemTime) -> Option<String> {
        let time = Timestamp::try_from(time).ok()?;
        let time = Timestamp::from_microsecond(time.as_microsecond()).ok()?;
        strtime::format(&*self.0, time).ok()
    }
}

fn in_letters_of_the_calendar(form: &str) -> String {
    let mut all = String::with_capacity(form.len());
    let mut rest = form;
    while let Some((before, after)) = rest.split_once('%') {
        all.push_str(before);
        let known = LETTERS.iter().find(|(letters, _)| after.starts_with(letters));
        rest = match (known, after.as_bytes()) {
            (Some((letters, ours)), _) => {
                all.push_str(ours);
                &after[letters.len()..]
            }
            // Seconds with so many digits behind the point, or these digits alone.
            (None, [b'E', digits @ b'1'..=b'9', letter @ (b'S' | b'f'), ..]) => {
                all.push_str(if *letter == b'S' { "%S." } else { "" });
                all.extend(['%', char::from(*digits), 'f']);
                &after[3..]
            }
            // As it stands, be it a second `%`.
            (None, _) => {
                let end = after.chars().next().map_or(0, char::len_utf8);
                all.push('%');
                all.push_str(&after[..end]);
                &after[end..]
            }
        };
    }
    all + rest
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_form_prints_what_it_prints_in_envoy() {
        // 2026-11-24, 00:02:14, a Tuesday. Envoy 1.40 printed these.
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_795_478_534, 262_022_999);
        for (form, printed) in [
            ("%1f %3f %6f %9f", "2 262 262022 262022000"),
            ("%f", "262022000"),
            ("%s.%3f", "1795478534.262"),
            ("%c", "Tue Nov 24 00:02:14 2026"),
            ("%x %X %r", "11/24/26 00:02:14 12:02:14 AM"),
            ("%Z %z %Ez", "UTC +0000 +00:00"),
            ("%E3S %E*S %E6f %E*f", "14.262 14.262022 262022 262022"),
            ("%E4Y-%m-%d%ET%H:%M", "2026-11-24T00:02"),
            ("%%f %%%f%%", "%f %262022000%"),
            ("%j %U %V %e %k", "328 47 48 24  0"),
            ("Zeit: %FT%T", "Zeit: 2026-11-24T00:02:14"),
        ] {
            assert_eq!(TimeForm::parse(form).unwrap().print(time).as_deref(), Some(printed), "{form}");
        }
        // What has one digit an hour later.
        let later = TimeForm::parse("%r %I %l").unwrap().print(time + Duration::from_secs(3_600));
        assert_eq!(later.as_deref(), Some("01:02:14 AM 01  1"));
    }

    #[test]
    fn a_whole_second_has_no_fraction_in_the_forms_of_any_length() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_312_005);
        let form = TimeForm::parse("%E*S %E*f %f %c").unwrap();
        assert_eq!(form.print(time).as_deref(), Some("05 0 000000000 Fri Jan  2 00:00:05 2026"));
    }

    #[test]
    fn what_prints_no_time_is_refused() {
        for form in ["%", "%!", "%E", "%E3", "%E0S", "%ES", "%é", "%L"] {
            assert!(TimeForm::parse(form).is_err(), "{form}");
        }
    }
}
