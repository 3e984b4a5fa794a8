//! A server as the place where runs happen, and what every request to it has in common.

use super::http::{Address, Ask, Reply};
use super::own::OwnServer;
use super::run;
use crate::base::json;
use crate::base::world::World;
use crate::engine::request::{self, Defaults};
use crate::engine::site::{Asked, Checked, Prompt, Site};
use crate::exec;
use crate::model::error::{Error, Failure, Kind};
use crate::session::Sessions;
use serde_json::Value;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// So often a server of ours may be about to end when it is asked for something.
const MOST_ENDS: u32 = 5;
/// How long it has to be gone by then.
const PAUSE: Duration = Duration::from_millis(20);

/// Who can be asked there.
const BACKENDS: &str = "/api/v1/backends";

/// The variable with the API key of the server that is asked.
const KEY: &str = "CLINVK_API_KEY";

/// A running server.
pub(crate) struct Server {
    pub(super) address: Address,
    key: Option<String>,
    /// How many runs this process is inside of: an agent over there may ask the same server.
    pub(super) depth: u32,
    /// Who can be asked there.
    pub(super) backends: Value,
}

impl Server {
    /// The server at that address, which is asked who its backends are: one that cannot be reached, or does not let us in,
    /// is found out before anything is read or begun.
    pub(crate) fn at(server: &str, world: &World) -> Result<Server, Error> {
        let address = Address::parse(server, &world.cwd)?;
        let key = world.env.get(KEY).filter(|key| !key.is_empty()).cloned();
        if key.as_ref().is_some_and(|key| !key.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(Error::Invalid(format!(
                "{KEY} is no API key: there is a blank or a special character in it"
            )));
        }
        let depth = exec::depth_of_run(world, 0)? - 1;
        let server = Server { address, key, depth, backends: Value::Null };
        let backends = server.ask("GET", BACKENDS, None)?;
        Ok(Server { backends, ..server })
    }

    /// The server of this user's command lines, which is started when it is asked for something.
    pub(crate) fn own(world: &Arc<World>, config: Option<&Path>) -> Result<Server, Error> {
        let address = Address::own(OwnServer::of(world, config)?);
        Ok(Server { address, key: None, depth: 0, backends: Value::Null })
    }

    /// Who is asked there when no backend is named.
    pub(crate) fn default_backend(&self) -> Option<&str> {
        self.backends["default"].as_str()
    }

    /// The names of the backends that are installed there and have answers of their own.
    pub(crate) fn installed(&self) -> Vec<String> {
        // One's own is not asked before.
        let asked = match self.backends.is_null() {
            true => self.ask("GET", BACKENDS, None).unwrap_or_default(),
            false => self.backends.clone(),
        };
        let all = asked["backends"].as_array().into_iter().flatten();
        let answers = all.filter(|backend| backend["available"] == true && backend["answers"] == true);
        answers.filter_map(|backend| Some(backend["name"].as_str()?.to_owned())).collect()
    }

    /// Whether a backend of that name is installed there.
    pub(crate) fn has_backend(&self, name: &str) -> bool {
        let mut all = self.backends["backends"].as_array().into_iter().flatten();
        all.any(|backend| backend["name"] == name && backend["available"] == true)
    }

    /// The programs that it keeps for further runs, where it tells.
    pub(crate) fn kept(&self) -> Option<Value> {
        self.ask("GET", "/api/v1/pool", None).ok().map(|mut pool| json::take(&mut pool, "children"))
    }

    /// Sends a request whose answer is one JSON value.
    pub(super) fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Error> {
        let body = body.map(Value::to_string);
        let body = body.as_ref().map(String::as_bytes);
        self.value(self.send(&Ask { method, path, accept: "application/json", body, ..Ask::default() })?)
    }

    /// Sends a request. An answer that is a failure is an error.
    pub(super) fn send(&self, ask: &Ask<'_>) -> Result<Reply, Error> {
        let ask = Ask { key: self.key.as_deref(), ..*ask };
        let mut times = 0;
        loop {
            match self.send_once(&ask) {
                // It was about to end when it was found, and has begun nothing: the next one is started.
                Err(error)
                    if error.kind() == Kind::Draining && self.address.is_own() && times < MOST_ENDS =>
                {
                    times += 1;
                    thread::sleep(PAUSE);
                }
                result => return result,
            }
        }
    }

    fn send_once(&self, ask: &Ask<'_>) -> Result<Reply, Error> {
        let reply = ask.send(&self.address)?;
        match reply.status {
            200..300 => Ok(reply),
            status => {
                let foreign = || self.address.failed(format!("it answers {status}, and not as clinvk does"));
                let body = if reply.is_json { reply.whole()? } else { return Err(foreign()) };
                let body: Value = json::from_slice(&body).map_err(|_| foreign())?;
                Err(self.refusal(&body["error"]).unwrap_or_else(foreign))
            }
        }
    }

    /// The value of an answer.
    pub(super) fn value(&self, reply: Reply) -> Result<Value, Error> {
        let foreign = || self.address.failed("its answer is no JSON: is it a server of clinvk's?");
        let body = if reply.is_json { reply.whole()? } else { return Err(foreign()) };
        json::from_slice(&body).map_err(|_| foreign())
    }

    /// What the server could not do or would not, by its own words.
    pub(super) fn refusal(&self, error: &Value) -> Option<Error> {
        let (kind, message) = (error["kind"].as_str()?, error["message"].as_str()?);
        Some(match Kind::parse(kind) {
            Some(Kind::Unauthorized) => {
                let sentence = match self.key {
                    Some(_) => format!("the API key in {KEY} is not one of the server's"),
                    None => format!("the server wants an API key: set {KEY}"),
                };
                Error::Told(Failure::new(Kind::Unauthorized, sentence))
            }
            Some(Kind::Cancelled) => Error::Cancelled,
            // One of a later version is a failure all the same.
            kind => Error::Told(Failure::new(kind.unwrap_or(Kind::Internal), message)),
        })
    }
}

/// A running server as the place where things happen.
pub(crate) struct There<'a> {
    pub(crate) server: Arc<Server>,
    /// What of a request is made here: what is in its files, and where its relative paths start.
    pub(crate) defaults: Defaults<'a>,
}

impl Deref for There<'_> {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl There<'_> {
    /// A path as the server is to read it. A relative one starts here where the server shares our files, else there.
    pub(super) fn path(&self, given: &str) -> String {
        match self.address.is_local() {
            true => self.defaults.base.join(given).to_string_lossy().into_owned(),
            false => given.to_owned(),
        }
    }
}

impl Site for There<'_> {
    fn sessions(&self) -> &dyn Sessions {
        self
    }

    fn default_backend(&self) -> Option<&str> {
        self.server.default_backend()
    }

    fn installed(&self) -> Vec<String> {
        self.server.installed()
    }

    fn directory(&self, name: &Path) -> Result<PathBuf, Error> {
        match self.address.is_local() {
            true => request::directory(self.defaults.base, name),
            false if name.is_absolute() => Ok(name.to_owned()),
            false => Err(Error::Invalid(
                "the server is another machine, which does not know this working directory: name one of its own \
                 (`-w /DIR`), or a session"
                    .to_owned(),
            )),
        }
    }

    fn check<'a>(&'a self, asked: Asked<'_>, prompt: Prompt<'_>) -> Result<Box<dyn Checked + 'a>, Error> {
        run::begin(self, asked, prompt)
    }
}
