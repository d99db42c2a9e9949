//! Fault rules: what goes wrong, and when.

use std::error::Error;
use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{self, HeaderName, HeaderValue};

use super::response::{HTML, JSON, error_body};

/// One rule of what goes wrong and when, read from its SPEC by [`str::parse`].
///
/// ```text
#[doc = include_str!("faults.txt")]
/// ```
#[derive(Clone, Debug)]
pub struct Fault {
    /// SPEC without WHEN.
    pub(super) name: String,
    pub(super) effect: Effect,
    when: When,
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub(super) enum Effect {
    /// RST before the request is read.
    ResetBefore,
    /// Answered without a look at the report.
    Instead(Canned),
    /// Checked, then answered late.
    Delay(Duration),
    /// Checked, a success is sent as `"true"`.
    SuccessString,
    /// Checked, then answered past hyper.
    Raw(Raw),
}

/// A fixed response.
#[derive(Clone, Debug)]
pub(super) struct Canned {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// `Retry-After` as a date, so many seconds from when it is sent.
    pub(super) retry_after_date: Option<i64>,
    pub(super) body: String,
}

/// What hyper cannot or will not do to a response.
#[derive(Clone, Copy, Debug)]
pub(super) enum Raw {
    Huge,
    Drip(Duration),
    Cut,
    ResetAfter,
    Silent,
    EndlessHeaders,
    CloseIdle(Duration),
}

#[derive(Clone, Copy, Debug)]
enum When {
    Always,
    First(u64),
    Every(NonZeroU64),
    /// Percent.
    Random(f64),
}

impl Fault {
    /// What a SPEC may be, as a text for `--help`.
    pub const GRAMMAR: &'static str = include_str!("faults.txt");
}

/// What is wrong with the SPEC of a [`Fault`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidFault(String);

impl fmt::Display for InvalidFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for InvalidFault {}

impl FromStr for Fault {
    type Err = InvalidFault;

    fn from_str(spec: &str) -> Result<Self, InvalidFault> {
        let (name, when) = match spec.rsplit_once('@') {
            Some((name, when)) => (name.trim(), when.parse()),
            None => (spec.trim(), Ok(When::Always)),
        };
        Effect::parse(name)
            .and_then(|effect| {
                let name = name.to_owned();
                let when = when?;
                Ok(Fault { name, effect, when })
            })
            .map_err(|why| InvalidFault(format!("fault `{spec}`: {why}")))
    }
}

impl Effect {
    fn parse(name: &str) -> Result<Effect, String> {
        let (kind, value) = match name.split_once('=') {
            Some((kind, value)) => (kind, Some(value)),
            None => (name, None),
        };
        Ok(match (kind, value) {
            ("status", Some(value)) => Effect::Instead(Canned::status(value)?),
            ("redirect", Some(url)) => Effect::Instead(Canned::redirect(url)?),
            ("delay", Some(ms)) => Effect::Delay(milliseconds(ms)?),
            ("drip", ms) => Effect::Raw(Raw::Drip(milliseconds(ms.unwrap_or("20"))?)),
            ("close-idle", ms) => Effect::Raw(Raw::CloseIdle(milliseconds(ms.unwrap_or("0"))?)),
            ("status" | "redirect" | "delay", None) => {
                return Err(format!("`{kind}` needs a value: `{kind}=...`"));
            }
            ("refuse", None) => {
                let body = r#"{"is_success":"false","message":"injected fault"}"#;
                Effect::Instead(Canned::ok(JSON, body))
            }
            ("html", None) => {
                let body = "<!DOCTYPE html><title>Sign in</title><p>Sign in to use this network.";
                Effect::Instead(Canned::ok(HTML, body))
            }
            ("empty", None) => Effect::Instead(Canned::ok(JSON, "")),
            ("reset-before", None) => Effect::ResetBefore,
            ("success-string", None) => Effect::SuccessString,
            ("huge", None) => Effect::Raw(Raw::Huge),
            ("cut", None) => Effect::Raw(Raw::Cut),
            ("reset-after", None) => Effect::Raw(Raw::ResetAfter),
            ("silent", None) => Effect::Raw(Raw::Silent),
            ("endless-headers", None) => Effect::Raw(Raw::EndlessHeaders),
            (kind, Some(_)) if Effect::parse(kind).is_ok() => {
                return Err(format!("`{kind}` takes no value"));
            }
            _ => return Err(format!("there is no kind `{kind}`")),
        })
    }
}

impl Canned {
    fn ok(content_type: &'static str, body: &str) -> Canned {
        let content_type = HeaderValue::from_static(content_type);
        Canned {
            status: StatusCode::OK,
            headers: vec![(header::CONTENT_TYPE, content_type)],
            retry_after_date: None,
            body: body.to_owned(),
        }
    }

    fn redirect(url: &str) -> Result<Canned, String> {
        let location = HeaderValue::from_str(url);
        let location = location.map_err(|_| "URL cannot stand in a header".to_owned())?;
        Ok(Canned {
            status: StatusCode::FOUND,
            headers: vec![(header::LOCATION, location)],
            retry_after_date: None,
            body: String::new(),
        })
    }

    /// `CODE[,KEY=VALUE]...`
    fn status(value: &str) -> Result<Canned, String> {
        let mut parts = value.splitn(2, ',');
        let code = parts.next().unwrap_or_default();
        let status = code.parse().ok().filter(|code| (200..=599).contains(code));
        let status = status.and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or_else(|| format!("status `{code}` is not 200 to 599"))?;
        let mut canned = Canned {
            status,
            ..Canned::ok(JSON, "")
        };
        while let Some(rest) = parts.next() {
            if let Some(body) = rest.strip_prefix("body=") {
                canned.set_body(body.to_owned())?;
                break;
            }
            parts = rest.splitn(2, ',');
            canned.set(parts.next().unwrap_or_default())?;
        }
        Ok(canned)
    }

    fn set(&mut self, pair: &str) -> Result<(), String> {
        match pair.split_once('=') {
            Some(("retry-after", text)) => {
                let text = HeaderValue::from_str(text);
                let text = text.map_err(|_| "retry-after cannot stand in a header".to_owned())?;
                self.headers.push((header::RETRY_AFTER, text));
            }
            Some(("retry-after-date", seconds)) => {
                self.retry_after_date = Some(number(seconds, "retry-after-date")?);
            }
            Some(("code", code)) => self.set_body(error_body(code, "injected fault", None))?,
            _ => {
                return Err(format!(
                    "`{pair}` is not retry-after=, retry-after-date=, code= or body="
                ));
            }
        }
        Ok(())
    }

    fn set_body(&mut self, body: String) -> Result<(), String> {
        if !self.body.is_empty() {
            return Err("`code=` and `body=` exclude each other, and stand once".to_owned());
        }
        if matches!(self.status.as_u16(), 204 | 205 | 304) && !body.is_empty() {
            return Err(format!("a {} has no body", self.status.as_u16()));
        }
        self.body = body;
        Ok(())
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(when: &str) -> Result<Self, String> {
        let (word, value) = when.trim().split_once(' ').unwrap_or((when.trim(), ""));
        let value = value.trim();
        match word {
            "first" => Ok(When::First(number(value, "first")?)),
            "every" => Ok(When::Every(number(value, "every")?)),
            "random" => match value.trim_end_matches('%').parse::<f64>() {
                Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(When::Random(percent)),
                _ => Err(format!("random: `{value}` is not 0 to 100")),
            },
            _ => Err(format!(
                "after `@` comes `first N`, `every N` or `random P`, not `{when}`"
            )),
        }
    }
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    number(text, "milliseconds").map(Duration::from_millis)
}

fn number<N: FromStr<Err: std::fmt::Display>>(text: &str, of: &str) -> Result<N, String> {
    text.parse().map_err(|why| format!("{of}: `{text}`: {why}"))
}

/// The rules at work.
pub(super) struct Faults {
    /// Each with the number of requests that came to it.
    rules: Vec<(Fault, u64)>,
    random: SplitMix,
}

impl Faults {
    pub(super) fn new(rules: Vec<Fault>, seed: u64) -> Faults {
        Faults {
            rules: rules.into_iter().map(|rule| (rule, 0)).collect(),
            random: SplitMix(seed),
        }
    }

    /// What befalls the next request.
    pub(super) fn pick(&mut self) -> Option<Fault> {
        for (fault, count) in &mut self.rules {
            *count = count.saturating_add(1);
            let fires = match fault.when {
                When::Always => true,
                When::First(n) => *count <= n,
                When::Every(n) => count.is_multiple_of(n.get()),
                When::Random(percent) => self.random.percent() < percent,
            };
            if fires {
                return Some(fault.clone());
            }
        }
        None
    }
}

/// The `SplitMix64` generator: small, and the same run again by its seed.
struct SplitMix(u64);

impl SplitMix {
    /// From 0 to below 100.
    fn percent(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        // A u32 fits into f64 without loss.
        let high = u32::try_from(z >> 32).unwrap_or_default();
        f64::from(high) / 4_294_967_296.0 * 100.0
    }
}
