//! Who may report to which project: key pairs and tokens, from the options and from a file.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use edge_report::exchange::{Credentials, Keys};
use hyper::StatusCode;
use hyper::http::request::Parts;
use sha2::{Digest, Sha256};

use super::response::Refusal;
use super::verify::{self, Claim};

/// So many signatures in a row that do not fit are let pass; with one more the key pair is locked, as the service does it.
const STRIKES: u32 = 5;
const LOCKED_MS: i64 = 5 * 60 * 1000;

/// In the file: any project.
const ANY: &str = "*";

pub(crate) struct Auth {
    file: Option<PathBuf>,
    /// From the options.
    keys: Option<(String, String)>,
    ring: RwLock<Arc<Ring>>,
    /// Of key pairs that are known, by access key.
    strikes: Mutex<HashMap<Box<str>, Strikes>>,
}

#[derive(Clone, Copy, Default)]
struct Strikes {
    in_a_row: u32,
    locked_until_ms: i64,
}

/// All that may report. Its secrets are shown nowhere, so it has no `Debug`.
#[derive(Default)]
pub(crate) struct Ring {
    keys: HashMap<Box<str>, Key>,
    /// By the hash of each, so that looking one up tells nothing of the others.
    tokens: HashMap<[u8; 32], Arc<str>>,
}

struct Key {
    secret: Box<str>,
    project: Arc<str>,
}

/// What a request shows before its body is read.
pub(crate) enum Pass {
    /// Nothing more is wanted.
    Enough,
    /// The body must fit the signature.
    Signed { access: String, ring: Arc<Ring> },
}

impl Auth {
    pub(crate) fn open(keys: Option<(String, String)>, file: Option<PathBuf>) -> io::Result<Auth> {
        let ring = Ring::read(keys.as_ref(), file.as_deref())?;
        Ok(Auth {
            file,
            keys,
            ring: RwLock::new(Arc::new(ring)),
            strikes: Mutex::default(),
        })
    }

    /// On an error those from before stay.
    pub(crate) fn reload(&self) -> io::Result<()> {
        let ring = Ring::read(self.keys.as_ref(), self.file.as_deref())?;
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
        Ok(())
    }

    /// Whether who sends this head may report to the project, as far as the head tells.
    pub(crate) fn admit(&self, head: &Parts, project: &str, now_ms: i64) -> Result<Pass, Refusal> {
        if self.file.is_none() && self.keys.is_none() {
            return Ok(Pass::Enough);
        }
        let ring = Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner));
        if let Some(token) = head.headers.get("x-auth-token") {
            let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
            let owner = ring.tokens.get(&digest);
            let owner = owner.ok_or_else(|| unknown("the token is not known"))?;
            return may_report(owner, project).map(|()| Pass::Enough);
        }
        let access = Claim::of(head).map_err(unknown)?.access.to_owned();
        let key = ring.keys.get(&*access);
        let key = key.ok_or_else(|| unknown("the access key is not known"))?;
        verify::date(head, now_ms).map_err(unknown)?;
        may_report(&key.project, project)?;
        self.unlocked(&access, now_ms)?;
        Ok(Pass::Signed { access, ring })
    }

    /// Whether the body is what was signed.
    pub(crate) fn verify(
        &self,
        pass: &Pass,
        head: &Parts,
        body: &[u8],
        now_ms: i64,
    ) -> Result<(), Refusal> {
        let Pass::Signed { access, ring } = pass else {
            return Ok(());
        };
        // It may have been locked while the body came.
        self.unlocked(access, now_ms)?;
        let secret = ring.keys.get(&**access).map_or("", |key| &key.secret);
        let verified = verify::signature(&Keys::new(access, secret), head, body, now_ms);
        let mut strikes = self.strikes.lock().unwrap_or_else(PoisonError::into_inner);
        match verified {
            Ok(()) => {
                strikes.remove(&**access);
                Ok(())
            }
            Err(why) => {
                let strike = strikes.entry(access.as_str().into()).or_default();
                strike.in_a_row = strike.in_a_row.saturating_add(1);
                if strike.in_a_row > STRIKES {
                    strike.locked_until_ms = now_ms.saturating_add(LOCKED_MS);
                    strike.in_a_row = 0;
                }
                Err(unknown(why))
            }
        }
    }

    fn unlocked(&self, access: &str, now_ms: i64) -> Result<(), Refusal> {
        let strikes = self.strikes.lock().unwrap_or_else(PoisonError::into_inner);
        let locked_until_ms = strikes
            .get(access)
            .map_or(0, |strike| strike.locked_until_ms);
        // What is longer was set by a clock that has been put back since.
        if (1..=LOCKED_MS).contains(&locked_until_ms.saturating_sub(now_ms)) {
            return Err(unknown(
                "the key pair is locked for 5 minutes, after signatures that did not fit",
            ));
        }
        Ok(())
    }
}

fn unknown(why: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, "APIGW.0301", why)
}

fn may_report(owner: &str, project: &str) -> Result<(), Refusal> {
    if owner == ANY || owner == project {
        return Ok(());
    }
    let why = "this key pair or token belongs to another project";
    Err(Refusal::new(StatusCode::FORBIDDEN, "APIGW.0302", why))
}

impl Ring {
    fn read(keys: Option<&(String, String)>, file: Option<&Path>) -> io::Result<Ring> {
        let mut ring = Ring::default();
        if let Some((access, secret)) = keys {
            ring.add_key(ANY.into(), access, secret).map_err(invalid)?;
        }
        if let Some(path) = file {
            let told = |why: io::Error| crate::named(&why, path.display());
            let file = std::fs::File::open(path).map_err(told)?;
            ring.add_file(BufReader::new(file)).map_err(told)?;
        }
        Ok(ring)
    }

    /// A line for each: `PROJECT key AK SK` or `PROJECT token TOKEN`. What is wrong is reported by its number: a line has secrets in it.
    fn add_file(&mut self, file: impl BufRead) -> io::Result<()> {
        let mut last: Arc<str> = ANY.into();
        let before = self.len();
        for (number, line) in (1_u64..).zip(file.lines()) {
            let line = line.map_err(|why| invalid(format!("line {number}: {why}")))?;
            // As some editors begin a file.
            let line = line.trim_start_matches('\u{feff}');
            let words: Vec<&str> = line.split_whitespace().collect();
            // Many keys of a project share its name.
            if let Some(project) = words.first().filter(|project| ***project != *last) {
                last = (*project).into();
            }
            let added = match *words.as_slice() {
                [] => Ok(()),
                [first, ..] if first.starts_with('#') => Ok(()),
                [_, "key", access, secret] => self.add_key(Arc::clone(&last), access, secret),
                [_, "token", token] => self.add_token(Arc::clone(&last), token),
                _ => Err("it is neither `PROJECT key AK SK` nor `PROJECT token TOKEN`".to_owned()),
            };
            added.map_err(|why| invalid(format!("line {number}: {why}")))?;
        }
        // A file that is about to be written, maybe: nobody shall lose its keys by that.
        if self.len() == before {
            return Err(invalid("there are no keys and tokens in it"));
        }
        Ok(())
    }

    fn len(&self) -> usize {
        self.keys.len().saturating_add(self.tokens.len())
    }

    fn add_key(&mut self, project: Arc<str>, access: &str, secret: &str) -> Result<(), String> {
        let checked = Credentials::Keys(Keys::new(access, secret)).check();
        checked.map_err(|why| why.to_string())?;
        let secret = secret.into();
        match self.keys.insert(access.into(), Key { secret, project }) {
            None => Ok(()),
            Some(_) => Err("this access key stands there twice".to_owned()),
        }
    }

    fn add_token(&mut self, project: Arc<str>, token: &str) -> Result<(), String> {
        match self.tokens.insert(Sha256::digest(token).into(), project) {
            None => Ok(()),
            Some(_) => Err("this token stands there twice".to_owned()),
        }
    }
}

fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why.into())
}
