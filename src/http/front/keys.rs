//! The API keys: where they come from, whose a presented one is, and what its holder may do. Of the secrets only digests
//! are kept.

use crate::base::sha256;
use crate::base::sync::{lock, read, write};
use crate::base::text;
use crate::base::world::World;
use crate::config::{Server, bad_key_name};
use crate::engine::policy::Policy;
use crate::exec;
use crate::http::front::rate::Rate;
use crate::model::error::Error;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

pub(crate) const VARIABLE: &str = "CLINVK_API_KEYS";
/// A shorter secret can be guessed.
const SHORTEST: usize = 8;
/// More in a file is no list of keys.
const LONGEST_FILE: u64 = 1 << 20;
/// How often the file is looked at.
const FILE_EVERY: Duration = Duration::from_secs(5);
/// How often gopass is asked. It may have to ask a person.
const GOPASS_EVERY: Duration = Duration::from_secs(300);
/// What programs written in Go say of a flag that they have not.
const UNKNOWN_FLAG: &str = "flag provided but not defined";
const GOPASS_PATIENCE: Duration = Duration::from_secs(10);

/// One key, without its secret.
#[derive(Debug, Clone)]
pub struct Key {
    /// Its name; `key1`, `key2` ... where it has none. For logs.
    pub name: String,
    /// Whose what it makes is: stays the same when other keys come and go.
    pub owner: String,
    /// It sees and changes what others made.
    pub admin: bool,
    pub policy: Arc<Policy>,
    /// How often it may ask; `None` is no limit.
    pub rate: Option<Rate>,
    /// Most runs of its own at once; 0 is no limit.
    pub max_runs: usize,
}

/// All keys, and where they come from.
pub struct Keys {
    world: Arc<World>,
    holders: Holders,
    sources: Mutex<Vec<Source>>,
    held: RwLock<Vec<KnownKey>>,
}

struct KnownKey {
    digest: [u8; 32],
    key: Arc<Key>,
}

/// One key as it was written, with its digest in its secret's place.
#[derive(Clone, PartialEq)]
struct Written {
    name: Option<String>,
    digest: [u8; 32],
}

/// The secrets of a request, from its `Authorization` and its `X-Api-Key`. One of them has to be good.
pub fn presented<'a>(
    authorization: Option<&'a [u8]>,
    x_api_key: Option<&'a [u8]>,
) -> impl Iterator<Item = &'a [u8]> {
    x_api_key.map(<[u8]>::trim_ascii).into_iter().chain(authorization.and_then(bearer))
}

/// What follows `Bearer`, in letters of any size.
fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, secret) = authorization.trim_ascii().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| secret.trim_ascii())
}

impl Keys {
    /// Reads every source that is configured. Returns also warnings: policies of keys that are not there. Fails when a source
    /// cannot be read or has no key in it: that must not become a server without keys.
    pub fn load(server: &Server, world: &Arc<World>) -> Result<(Keys, Vec<String>), Error> {
        let holders = Holders::of(server)?;
        let (mut sources, mut all) = (Vec::new(), Vec::new());
        for place in Place::configured(server, world)? {
            let seen = place.stamp();
            let written = place.read(world).map_err(|problem| place.error(problem))?;
            add(&mut all, &written).map_err(|problem| place.error(problem))?;
            sources.push(Source { place, written, seen, due: None, problem: None });
        }
        let held = holders.keys(&all);
        let has_key = |name: &String| held.iter().any(|held| held.key.name == *name);
        let unused = server.keys.keys().filter(|name| !has_key(name));
        let warnings = unused.map(|name| format!("`server.keys.{name}`: there is no API key of that name"));
        let warnings = warnings.collect();
        let (sources, held) = (Mutex::new(sources), RwLock::new(held));
        Ok((Keys { world: world.clone(), holders, sources, held }, warnings))
    }

    /// No source is configured: clients need no key.
    pub fn is_empty(&self) -> bool {
        read(&self.held).is_empty()
    }

    /// Whose key this is. Takes the same time for every secret of that length: each digest is compared to its end.
    pub fn find(&self, presented: &[u8]) -> Option<Arc<Key>> {
        let digest = sha256::digest(presented);
        let mut found = None;
        for held in read(&self.held).iter() {
            let differ =
                held.digest.iter().zip(digest).fold(0, |differ, (one, other)| differ | (one ^ other));
            if black_box(differ) == 0 {
                found = Some(held.key.clone());
            }
        }
        found
    }

    /// Reads the sources again that may have changed; to be called every few seconds, by a thread that may wait for gopass.
    /// A source that breaks keeps its last good keys. Returns what the log has to say.
    pub fn reload(&self, now: Instant) -> Vec<String> {
        // Only this function needs them; `find` never waits for gopass.
        let mut sources = lock(&self.sources);
        let mut said = Vec::new();
        for at in 0..sources.len() {
            let Some(read) = sources[at].read_again(now, &self.world) else { continue };
            let was = sources[at].written.clone();
            let read = read.and_then(|written| {
                sources[at].written = written;
                let mut all = Vec::new();
                sources.iter().try_for_each(|source| add(&mut all, &source.written))?;
                *write(&self.held) = self.holders.keys(&all);
                Ok(())
            });
            let source = &mut sources[at];
            match read {
                Ok(()) => {
                    if source.problem.take().is_some() || source.written != was {
                        said.push(format!("{}: {} API keys were read", source.place, source.written.len()));
                    }
                }
                Err(problem) => {
                    source.written = was;
                    if source.problem.as_ref() != Some(&problem) {
                        said.push(format!("{}: {problem}: the last good API keys hold", source.place));
                    }
                    source.problem = Some(problem);
                }
            }
        }
        said
    }
}

struct Holders {
    server: Server,
    common: Arc<Policy>,
    named: BTreeMap<String, Arc<Policy>>,
}

impl Holders {
    fn of(server: &Server) -> Result<Holders, Error> {
        let common = Policy::of(server)?;
        let mut named = BTreeMap::new();
        for (name, key) in &server.keys {
            named.insert(name.clone(), Arc::new(common.and(name, key)?));
        }
        Ok(Holders { server: server.clone(), common: Arc::new(common), named })
    }

    fn keys(&self, all: &[Written]) -> Vec<KnownKey> {
        let mut unnamed = 0;
        let keys = all.iter().map(|Written { name, digest }| {
            let own = name.as_ref().and_then(|name| self.server.keys.get(name));
            let policy = name.as_ref().and_then(|name| self.named.get(name)).unwrap_or(&self.common);
            unnamed += usize::from(name.is_none());
            let key = Key {
                name: name.clone().unwrap_or_else(|| format!("key{unnamed}")),
                // By its number one without a name would inherit what another has made, when one in front of it is taken
                // away. A digest of the digest says nothing of the key.
                owner: name.clone().unwrap_or_else(|| format!("key:{}", &sha256::hex(digest)[..32])),
                admin: own.is_some_and(|own| own.admin),
                policy: policy.clone(),
                rate: Rate::of(&self.server, own),
                max_runs: own.map_or(0, |own| own.max_runs),
            };
            KnownKey { digest: *digest, key: Arc::new(key) }
        });
        keys.collect()
    }
}

/// Adds the keys of one source to those of the others, which may have some of them, too: by the same names.
fn add(all: &mut Vec<Written>, source: &[Written]) -> Result<(), String> {
    for written in source {
        match all.iter().find(|known| known.digest == written.digest) {
            None => all.push(written.clone()),
            Some(known) if known.name == written.name => {}
            Some(known) => {
                let [one, other] = [known, written]
                    .map(|key| key.name.as_ref().map_or("no name".to_owned(), |name| format!("`{name}`")));
                return Err(format!("one and the same key has two names: {one} and {other}"));
            }
        }
    }
    Ok(())
}

enum Place {
    Variable,
    File(PathBuf),
    Gopass(String),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Variable => f.write_str(VARIABLE),
            Place::File(path) => write!(f, "server.api_keys_file `{}`", path.display()),
            Place::Gopass(path) => write!(f, "server.api_keys_gopass_path `{path}`"),
        }
    }
}

impl Place {
    fn configured(server: &Server, world: &World) -> Result<Vec<Place>, Error> {
        let mut places = Vec::new();
        // Empty is configured, too: a script that meant to set it has failed to.
        places.extend(world.env.contains_key(VARIABLE).then_some(Place::Variable));
        if !server.api_keys_file.is_empty() {
            places.push(Place::File(world.home.join(&server.api_keys_file)));
        }
        if !server.api_keys_gopass_path.is_empty() {
            let place = Place::Gopass(server.api_keys_gopass_path.clone());
            if !is_gopass_path(&server.api_keys_gopass_path) {
                return Err(place.error("is no path of a secret such as `work/clinvk`".to_owned()));
            }
            places.push(place);
        }
        Ok(places)
    }

    fn error(&self, problem: String) -> Error {
        Error::Config { origin: self.to_string(), position: None, problem }
    }

    /// What is there now. At least one key.
    fn read(&self, world: &World) -> Result<Vec<Written>, String> {
        let written = match self {
            Place::Variable => keys_of(world.env[VARIABLE].split(','), "key")?,
            Place::File(path) => keys_of(read_file(path)?.lines(), "line")?,
            Place::Gopass(path) => keys_of(ask_gopass(path, world)?.lines(), "line")?,
        };
        if written.is_empty() { Err("there is no API key in it".to_owned()) } else { Ok(written) }
    }

    /// What tells a file from itself after a change: device, inode, size, and the times of the last change to what is in it
    /// and to whom it belongs.
    fn stamp(&self) -> Option<Stamp> {
        let Place::File(path) = self else { return None };
        let meta = fs::metadata(path).ok()?;
        let (dev, ino, size) = (meta.dev() as i64, meta.ino() as i64, meta.size() as i64);
        Some([dev, ino, size, meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()])
    }
}

type Stamp = [i64; 7];

/// One place, and what was found there.
struct Source {
    place: Place,
    written: Vec<Written>,
    /// The file as it was when it was read the last time.
    seen: Option<Stamp>,
    /// When it is looked at again.
    due: Option<Instant>,
    /// Why its last keys are not those that are there now.
    problem: Option<String>,
}

impl Source {
    /// Reads it when it is time to and there may be something new.
    fn read_again(&mut self, now: Instant, world: &World) -> Option<Result<Vec<Written>, String>> {
        let every = match &self.place {
            Place::Variable => return None,
            Place::File(_) => FILE_EVERY,
            Place::Gopass(_) => GOPASS_EVERY,
        };
        // The first time is that of the start.
        let due = *self.due.get_or_insert(now + every);
        if now < due {
            return None;
        }
        self.due = Some(now + every);
        let stamp = self.place.stamp();
        // What could not be read is tried again, changed or not.
        let is_old = matches!(self.place, Place::File(_)) && stamp == self.seen && self.problem.is_none();
        self.seen = stamp;
        (!is_old).then(|| self.place.read(world))
    }
}

/// The keys in these lines, or between commas; `what` a part is called in a sentence.
fn keys_of<'a>(parts: impl Iterator<Item = &'a str>, what: &str) -> Result<Vec<Written>, String> {
    let numbered = parts.map(str::trim).zip(1..);
    let written = numbered.filter(|(part, _)| !part.is_empty() && !part.starts_with('#'));
    written
        .map(|(part, number)| key_of(part).map_err(|problem| format!("{what} {number}: {problem}")))
        .collect()
}

/// `secret`, or `name=secret`. What is wrong with it is said without it.
fn key_of(part: &str) -> Result<Written, String> {
    let (name, secret) = match part.split_once('=') {
        Some((name, secret)) if !secret.trim_matches('=').is_empty() => {
            (Some(name.trim_end()), secret.trim_start())
        }
        // `name=$VARIABLE` where the variable is not set: the name would be a key that can be guessed.
        Some(_) if !is_padded_base64(part) => {
            let rule = "a key without a name ends in `=` only as Base64 of 16 bytes or more";
            return Err(format!("there is no key behind `=`, and {rule}"));
        }
        _ => (None, part),
    };
    if name.is_some_and(|name| bad_key_name(name).is_some()) {
        // Not which: it may be half of a secret.
        let rule = "what is in front of `=` is no name: small letters, digits and `_`, with a letter first";
        return Err(format!("{rule}, and not `key` with a number"));
    }
    if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a key has printable ASCII characters only, and no space".to_owned());
    }
    if secret.len() < SHORTEST {
        return Err(format!("a key has at least {SHORTEST} characters"));
    }
    if is_variable(secret) {
        return Err("a key is the name of a variable that nothing has replaced by its value".to_owned());
    }
    Ok(Written { name: name.map(str::to_owned), digest: sha256::digest(secret.as_bytes()) })
}

/// What an encoder of random bytes gives: whole groups of four, and letters of both sizes, which no name with a forgotten
/// key behind it has.
fn is_padded_base64(part: &str) -> bool {
    let letters = part.trim_end_matches('=');
    let is_of_it = |byte: u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte);
    part.len() % 4 == 0
        && part.len() >= 24
        && part.len() - letters.len() <= 2
        && letters.bytes().all(is_of_it)
        && letters.bytes().any(|byte| byte.is_ascii_lowercase())
        && letters.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// `$NAME` or `${NAME}`: a service manager or a container's file replaces fewer of them than a shell does.
fn is_variable(secret: &str) -> bool {
    let name = secret.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    let name = name.or_else(|| secret.strip_prefix('$'));
    let is_of_it = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    name.is_some_and(|name| name.bytes().all(is_of_it))
}

/// Reads a file that no other user can read.
fn read_file(path: &Path) -> Result<String, String> {
    let failed = |error: io::Error| format!("cannot be read: {error}");
    // Asked first: opening a pipe would wait for its writer.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err("is not a file".to_owned());
    }
    let mut file = File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if meta.uid() != 0 && meta.uid() != crate::base::sys::effective_user() {
        return Err("belongs to another user".to_owned());
    }
    if meta.mode() & 0o077 != 0 {
        return Err(format!("others can use it: `chmod 600 {}`", path.display()));
    }
    if meta.len() > LONGEST_FILE {
        return Err("is too long for a list of keys".to_owned());
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(failed)?;
    text::of(bytes).map_err(|_| "is not valid UTF-8".to_owned())
}

/// A path in the store: no flag, and not one out of it.
fn is_gopass_path(path: &str) -> bool {
    let is_plain = |part: &str| !matches!(part, "" | "." | "..");
    !path.starts_with('-') && !path.chars().any(char::is_control) && path.split('/').all(is_plain)
}

/// The whole secret: all lines of it, not only the first, which is the password.
fn ask_gopass(path: &str, world: &World) -> Result<String, String> {
    let ask = |argv: &[&str]| {
        exec::output(argv, world, GOPASS_PATIENCE).map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => format!("gopass has not ended after {GOPASS_PATIENCE:?}"),
            _ => format!("gopass cannot be asked: {error}"),
        })
    };
    // As it stands there, and also where gopass is configured to hide it.
    let mut printed = ask(&["gopass", "show", "--noparsing", "--unsafe", path])?;
    if printed.ended.code != Some(0) && printed.ended.stderr.contains(UNKNOWN_FLAG) {
        // Debian's program of that name is another one, which hides nothing and has none of these flags.
        printed = ask(&["gopass", "show", path])?;
    }
    match printed.ended.code {
        Some(0) => String::from_utf8(printed.out).map_err(|_| "what gopass says is not UTF-8".to_owned()),
        _ => {
            let said = printed.ended.stderr.lines().rfind(|line| !line.trim().is_empty());
            Err(format!("gopass failed: {}", said.unwrap_or("and says nothing on standard error")))
        }
    }
}
