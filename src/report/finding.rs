//! What a check found, and where.

use core::fmt;

use super::contract::{EXCEPTIONS, JOB, Member, REPORT};
use super::model::JobStatus;
use super::nearest::nearest;
use crate::code::{Code, Severity};
use crate::json::{Scanner, Sink, SliceSink, Token};

/// Where in a report: `jobs[3].create_time`, or nothing for the report itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Path<'a> {
    job: Option<usize>,
    in_exceptions: bool,
    key: Option<&'a str>,
}

impl<'a> Path<'a> {
    /// The report itself.
    pub const REPORT: Path<'static> = Path {
        job: None,
        in_exceptions: false,
        key: None,
    };

    /// `jobs[index]`
    pub const fn of_job(index: usize) -> Self {
        Path {
            job: Some(index),
            in_exceptions: false,
            key: None,
        }
    }

    /// The member `key` of what this path names. `key` as it stands between its quotes in JSON.
    #[must_use]
    pub const fn member(mut self, key: &'a str) -> Self {
        self.key = Some(key);
        self
    }

    /// The inside of a job's `exceptions`.
    #[must_use]
    pub const fn exceptions(mut self) -> Self {
        self.in_exceptions = true;
        self.key = None;
        self
    }

    /// Gives the text piece by piece, without the machinery of [`core::fmt`]; for the C face.
    #[doc(hidden)]
    pub fn parts<E>(&self, mut each: impl FnMut(&str) -> Result<(), E>) -> Result<(), E> {
        let mut result = Ok(());
        self.each_part(&mut |part| {
            if result.is_ok() {
                result = each(part);
            }
        });
        result
    }

    fn each_part(&self, each: &mut dyn FnMut(&str)) {
        let mut dot = "";
        if let Some(index) = self.job {
            let mut digits = [0; 20];
            let mut digits = SliceSink::new(&mut digits);
            // No slice has more than `isize::MAX` entries, and their digits fit.
            let _ = digits.put_integer(i64::try_from(index).unwrap_or(i64::MAX));
            each("jobs[");
            each(core::str::from_utf8(digits.written()).unwrap_or_default());
            each("]");
            dot = ".";
        }
        if self.in_exceptions {
            each(dot);
            each("exceptions");
            dot = ".";
        }
        let Some(key) = self.key else { return };
        let (before, after) = match is_identifier(key) {
            true => (dot, ""),
            false => ("[\"", "\"]"),
        };
        [before, key, after].into_iter().for_each(each);
    }

    /// Index of the job, if it is about one.
    pub const fn job(&self) -> Option<usize> {
        self.job
    }

    /// The last key, as it stands between its quotes in JSON; `None` for the report or a job as a whole.
    pub const fn key(&self) -> Option<&'a str> {
        match (self.key, self.in_exceptions) {
            (None, true) => Some("exceptions"),
            (key, _) => key,
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts(|part| f.write_str(part))
    }
}

fn known_key(key: &str) -> Option<&'static str> {
    let kinds: [&[Member]; 3] = [&REPORT, &JOB, &EXCEPTIONS];
    let mut members = kinds.into_iter().flatten();
    members
        .find(|member| member.name == key)
        .map(|member| member.name)
}

fn is_identifier(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// One thing that is wrong or doubtful.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding<'a> {
    /// What.
    pub code: Code,
    /// Where in the report.
    pub path: Path<'a>,
    /// Where in the checked bytes; `None` if what was checked is not bytes.
    pub offset: Option<usize>,
}

impl Finding<'_> {
    /// An owned copy: of an unknown key it has the object in which that stands.
    pub fn without_text(&self) -> Finding<'static> {
        Finding {
            code: self.code,
            path: Path {
                job: self.path.job,
                in_exceptions: self.path.in_exceptions,
                key: self.path.key.and_then(known_key),
            },
            offset: self.offset,
        }
    }

    /// For a status that is not known, the one that is likely meant. `text` is what was checked.
    ///
    /// ```
    /// let text = br#"{"jobs":[{"status":"job_runing","create_time":1591104868201}],"message_id":"1"}"#;
    /// let mut meant = None;
    /// edge_report::check(text, |finding| meant = meant.or(finding.suggestion(text)));
    /// assert_eq!(meant, Some(edge_report::JobStatus::RUNNING));
    /// ```
    pub fn suggestion(&self, text: &[u8]) -> Option<JobStatus<'static>> {
        let text = text.get(self.offset?..)?;
        match Scanner::new(text).next_token() {
            Ok(Some(Token::String(name))) if self.code == Code::UnknownStatus => {
                nearest(&mut name.chars())
            }
            _ => None,
        }
    }

    /// Error or warning.
    pub const fn severity(&self) -> Severity {
        self.code.severity()
    }
}

impl fmt::Display for Finding<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path != Path::REPORT {
            write!(f, "{}: ", self.path)?;
        } else if matches!(self.code, Code::NotAnObject | Code::Empty | Code::Missing) {
            // These texts have no subject of their own.
            f.write_str("the report ")?;
        }
        f.write_str(self.code.text())?;
        match self.offset {
            Some(offset) => write!(f, " (byte {offset})"),
            None => Ok(()),
        }
    }
}

/// How many findings there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// How many break the contract.
    pub errors: usize,
    /// How many are likely mistakes.
    pub warnings: usize,
}

impl Summary {
    /// Whether there were no errors. Warnings may be there.
    pub const fn is_valid(&self) -> bool {
        self.errors == 0
    }

    /// Errors and warnings together.
    pub const fn total(&self) -> usize {
        self.errors.saturating_add(self.warnings)
    }

    pub(crate) fn count(&mut self, severity: Severity) {
        let counter = match severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        *counter = counter.saturating_add(1);
    }
}
