//! Which records are looked for.

use bridge_core::compare::{Cause, Class, Record};

/// What to look for. What is empty or absent takes all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Any of these classes.
    pub classes: Vec<Class>,
    /// Only bad ones.
    pub bad: bool,
    /// Cause.
    pub cause: Option<Cause>,
    /// User.
    pub user: Option<String>,
    /// Dialog.
    pub dialog: Option<String>,
    /// Message.
    pub message: Option<String>,
    /// JSON Pointer at or below which it differs.
    pub field: Option<String>,
    /// The unit's id.
    pub id: Option<String>,
    /// At or after, as records spell it.
    pub since: Option<String>,
    /// Before, as records spell it.
    pub until: Option<String>,
}

/// A member that can't be read: its name, and what it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// The member.
    pub field: &'static str,
    /// What is allowed.
    pub message: String,
}

impl Filter {
    /// Takes one pair of a query in; `false` when it is none of a filter's. Empty values take all.
    ///
    /// # Errors
    /// [`Unfit`] when the value can't be read.
    pub fn read(&mut self, name: &str, value: &str) -> Result<bool, Unfit> {
        let text = || (!value.is_empty()).then(|| value.to_owned());
        match name {
            "class" if value.is_empty() => {}
            "class" => self.classes.push(class(value)?),
            "bad" => {
                self.bad = match value {
                    "true" => true,
                    "" | "false" => false,
                    _ => return Err(Unfit { field: "bad", message: "must be true or false".into() }),
                }
            }
            "cause" => self.cause = text().map(|name| cause(&name)).transpose()?,
            "user" => self.user = text(),
            "dialog" => self.dialog = text(),
            "message" => self.message = text(),
            "field" => self.field = text(),
            "id" => self.id = text(),
            "since" => self.since = text().map(|text| since(&text)).transpose()?,
            "until" => self.until = text().map(|text| moment(&text)).transpose().map_err(of("until"))?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// As pairs of a query.
    #[must_use]
    pub fn pairs(&self) -> Vec<(&'static str, &str)> {
        let mut pairs: Vec<(&'static str, &str)> =
            self.classes.iter().map(|class| ("class", class.name())).collect();
        pairs.extend(self.bad.then_some(("bad", "true")));
        let texts = [
            ("cause", self.cause.map(Cause::name)),
            ("user", self.user.as_deref()),
            ("dialog", self.dialog.as_deref()),
            ("message", self.message.as_deref()),
            ("field", self.field.as_deref()),
            ("id", self.id.as_deref()),
            ("since", self.since.as_deref()),
            ("until", self.until.as_deref()),
        ];
        pairs.extend(texts.into_iter().filter_map(|(name, text)| Some((name, text?))));
        pairs
    }

    /// Whether `record` is looked for.
    #[must_use]
    pub fn takes(&self, record: &Record) -> bool {
        let is = |wanted: &Option<String>, own: Option<&str>| wanted.is_none() || wanted.as_deref() == own;
        (self.classes.is_empty() || self.classes.contains(&record.class))
            && (!self.bad || record.class.is_bad())
            && (self.cause.is_none() || self.cause == record.cause)
            && is(&self.user, Some(&record.user))
            && is(&self.dialog, record.dialog.as_deref())
            && is(&self.message, record.message.as_deref())
            && is(&self.id, Some(&record.id))
            && self.field.as_deref().is_none_or(|field| record.differs_at(field))
            // ISO-8601 in one zone and one precision sorts as text.
            && self.since.as_deref().is_none_or(|since| record.at.as_str() >= since)
            && self.until.as_deref().is_none_or(|until| record.at.as_str() < until)
    }
}

fn of(field: &'static str) -> impl Fn(String) -> Unfit {
    move |message| Unfit { field, message }
}

fn class(name: &str) -> Result<Class, Unfit> {
    let found = Class::ALL.into_iter().find(|class| class.name() == name);
    found.ok_or_else(|| Unfit { field: "class", message: one_of(&Class::ALL.map(Class::name)) })
}

fn cause(name: &str) -> Result<Cause, Unfit> {
    let found = Cause::ALL.into_iter().find(|cause| cause.name() == name);
    found.ok_or_else(|| Unfit { field: "cause", message: one_of(&Cause::ALL.map(Cause::name)) })
}

fn one_of(names: &[&str]) -> String {
    format!("must be one of {}", names.join(", "))
}

fn since(text: &str) -> Result<String, Unfit> {
    since_or_ago(text, jiff::Timestamp::now()).map_err(of("since"))
}

/// A time as records spell it, from a time or from how long ago it was at `now`, e.g. `10m`.
///
/// # Errors
/// What is allowed.
pub fn since_or_ago(text: &str, now: jiff::Timestamp) -> Result<String, String> {
    // A bare number is no time, and not said in what.
    let ago = humantime::parse_duration(text).ok().filter(|_| text.bytes().any(|byte| byte.is_ascii_alphabetic()));
    let at = ago.and_then(|ago| now.checked_sub(ago).ok());
    at.map_or_else(|| moment(text), |at| Ok(format!("{at:.3}")))
        .map_err(|_| "must be a time such as 2026-01-31T12:00:00Z, or how long ago, such as 10m".into())
}

/// A time as records spell it; UTC where it names no zone.
///
/// # Errors
/// What is allowed.
pub fn moment(text: &str) -> Result<String, String> {
    let utc = |time: jiff::civil::DateTime| jiff::tz::TimeZone::UTC.to_timestamp(time);
    let at = text.parse::<jiff::Timestamp>().or_else(|_| text.parse().and_then(utc));
    at.map(|at| format!("{at:.3}")).map_err(|_| "must be a time such as 2026-01-31T12:00:00Z".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_spelled_as_records_spell_it_and_anything_else_is_refused() {
        let now = "2026-01-31T12:00:00Z".parse().unwrap();
        for text in
            ["2026-01-31", "2026-01-31T00:00:00Z", "2026-01-31T00:00", "2026-01-31T02:00:00.000+02:00", "12h"]
        {
            assert_eq!(since_or_ago(text, now).as_deref(), Ok("2026-01-31T00:00:00.000Z"), "{text}");
        }
        assert_eq!(since_or_ago("1h 30m", now).as_deref(), Ok("2026-01-31T10:30:00.000Z"));
        for garbage in ["", "yesterday", "2026-13-01", "12", "10 parsecs", "-10m"] {
            assert!(since_or_ago(garbage, now).is_err(), "{garbage}");
        }
        assert!(moment("12h").is_err());
    }

    #[test]
    fn what_a_query_asks_for_comes_back_as_pairs_and_what_it_can_not_mean_is_named() {
        let asked = [
            ("class", "leak"),
            ("class", "duplicate"),
            ("bad", "true"),
            ("cause", "no_update"),
            ("field", "/content"),
            ("id", "7"),
            ("since", "2026-01-31T00:00:00.000Z"),
        ];
        let mut filter = Filter::default();
        for (name, value) in asked {
            assert_eq!(filter.read(name, value), Ok(true), "{name}");
        }
        assert_eq!(filter.pairs(), asked);
        for name in ["class", "cause", "user", "since", "bad"] {
            assert_eq!(Filter::default().read(name, ""), Ok(true), "{name}");
        }
        for (name, value) in [("class", "leek"), ("cause", "luck"), ("bad", "yes"), ("since", "soon")] {
            assert_eq!(Filter::default().read(name, value).unwrap_err().field, name);
        }
        assert_eq!(filter.read("limit", "1"), Ok(false));
    }
}
