//! What a caller asks for, before defaults: the same fields from flags, from a file's tasks and from a request's body. Here
//! the configuration fills in what was not said, and it becomes a `Task`.

mod files; // files and directories that it names
mod values; // how its fields are read

pub(crate) use files::{directory, prompt_with_files, read_text};
pub use values::{Pairs, Picture, Servers, Span, Tools};
pub(crate) use values::{limit, list};

use crate::backend::Registry;
use crate::base::world;
use crate::config::Config;
use crate::exec::{Cancel, Control};
use crate::model::error::Error;
use crate::model::fields::{Text, Word, fields};
use crate::model::mcp::McpSource;
use crate::model::task::{Approval, Continue, Effort, Image, OutputFormat, Sandbox, Task, ToolUse};
use crate::session::Session;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

fields! {
    /// One prompt and its options. The names are those of the flags, with underscores, or of clinvk 0.2.
    pub struct Request {
        backend: String, "who answers";
        prompt: Text, "what is asked";
        model: String, "the model: an alias (fast, balanced, best) or the vendor's name";
        workdir: String, "where the backend works";
        approval_mode = "approval": Word<Approval>, "what needs a yes: default, auto (edits), none (never ask), always";
        sandbox_mode = "sandbox": Word<Sandbox>, "what tools reach: default, read-only, workspace, full";
        output_format: Word<OutputFormat>, "text, json or stream-json";
        system_prompt: String, "replaces the backend's system prompt";
        append_system_prompt: String, "is added to the backend's system prompt";
        max_turns: u32, "most model turns; 0 is no limit";
        max_tokens: u32, "most output tokens of one model answer; 0 is no limit";
        allowed_tools: Tools, "only these tools exist, and they need no approval: a list, or `all`";
        denied_tools: Vec<String>, "these tools do not exist";
        add_dirs = "add_dir": Vec<String>, "further directories for the agent";
        json_schema: Value, "the schema that the answer follows";
        images = "image": Vec<Picture>, "pictures that go with the prompt: `{media_type, data}` or a file's name";
        files = "file": Vec<String>, "text files that go with the prompt";
        effort: Word<Effort>, "how hard the model thinks: low, medium, high, xhigh, max, ultra";
        ephemeral: bool, "leave no session behind";
        extra: Vec<String>, "flags for the backend's own command line";
        lenient: bool, "go on without an option that the backend cannot honour";
        interpret: bool, "let the backend interpret /commands, @files and $skills in the prompt";
        no_project_config: bool, "ignore project files that run code: hooks, .mcp.json, .env";
        mcp: Servers, "MCP servers whose tools the agent has: an object of them, or a file's name";
        timeout_secs = "timeout": Span, "longest time of the run: seconds, or a text such as 5m";
        stall_secs = "stall_timeout": Span, "longest time without any output";
        first_byte_secs = "first_byte_timeout": Span, "longest time until the first of the answer";
        fallback: Vec<String>, "who is tried when the backend cannot answer for now: `backend` or `backend:model`";
        tags: Vec<String>, "tags of the session that is begun";
        metadata: Pairs, "kept with the session that is begun: at most 16 pairs";
        verbose: bool, "accepted, as by clinvk 0.2";
        dry_run: bool, "say what would be executed, and execute nothing";
    }
}

fields! {
    /// What a prompt says of the session that it continues.
    pub struct OfSession {
        session_id: String, "the session to continue";
        replay: bool, "continue from the stored turns, in a new session of the backend's";
        wait_secs: Span, "how long a busy session is waited for";
    }
}

impl OfSession {
    /// How that session is continued.
    pub(crate) fn continued(&self, session: &Session) -> Continue {
        Continue {
            id: session.id.clone(),
            wait_limit: Some(self.wait_secs.map_or(Duration::ZERO, |Span(wait_limit)| wait_limit)),
            replay: self.replay.unwrap_or(false),
        }
    }

    /// What is wrong with it where it names no session, if anything is.
    pub(crate) fn needs_one(&self) -> Option<&'static str> {
        let says_how = self.replay.is_some() || self.wait_secs.is_some();
        says_how.then_some("`replay` and `wait_secs` are for a session that is continued")
    }
}

/// What a request is completed from.
#[derive(Clone, Copy)]
pub struct Defaults<'a> {
    /// What the user configured.
    pub config: &'a Config,
    /// The backends there are.
    pub registry: &'a Registry,
    /// Where relative paths start, and where the backend works when nothing says otherwise.
    pub base: &'a Path,
    /// Where short-lived files go.
    pub temp: &'a Path,
    /// Where clinvk keeps its things: files that the configuration names.
    pub home: &'a Path,
    /// The session that is continued: its backend, model and directory come first.
    pub session: Option<&'a Session>,
    /// Says which directories it may name.
    pub directories: &'a dyn Directories,
    /// The request may name files for us to read. Not over the network: they are not the client's.
    pub reads_files: bool,
}

/// Turns the name of a directory into the path of one that may be used.
pub trait Directories: Sync {
    /// The directory: absolute and free of links.
    fn resolve(&self, base: &Path, name: &Path) -> Result<PathBuf, Error>;
}

/// Every directory there is: the caller has the rights of this process already.
pub(crate) struct AllDirectories;

impl Directories for AllDirectories {
    fn resolve(&self, base: &Path, name: &Path) -> Result<PathBuf, Error> {
        directory(base, name)
    }
}

impl Request {
    /// The tasks: the first is what is asked for, the others stand in for it (`fallback`). `prompt` is asked last, because it
    /// may have to wait for a user to type.
    pub fn tasks<P: Into<Arc<str>>>(
        &self,
        defaults: &Defaults<'_>,
        prompt: impl FnOnce() -> Result<P, Error>,
    ) -> Result<Vec<Task>, Error> {
        let first = self.options(defaults)?;
        let fallback = self.fallback.as_ref().unwrap_or(&defaults.config.unified_flags.fallback);
        let mut tasks = Vec::with_capacity(1 + fallback.len());
        for word in fallback {
            let (backend, model) = backend_and_model(word);
            if backend != first.backend {
                tasks.push(self.stand_in(backend, model, defaults)?);
            }
        }
        tasks.insert(0, first);
        let prompt: Arc<str> = prompt()?.into();
        tasks.iter_mut().for_each(|task| task.prompt.clone_from(&prompt));
        Ok(tasks)
    }

    /// The prompt with its files.
    pub(crate) fn text(&self, defaults: &Defaults<'_>) -> Result<Arc<str>, Error> {
        let files = self.files.as_deref().unwrap_or_default();
        match &self.prompt {
            Some(Text(prompt)) if files.is_empty() && !prompt.trim().is_empty() => Ok(prompt.clone()),
            prompt => {
                let prompt = prompt.as_deref().filter(|prompt| !prompt.is_empty());
                prompt_with_files(prompt.map(str::to_owned), files, defaults).map(Arc::from)
            }
        }
    }

    /// The approval mode of its runs with a backend.
    pub(crate) fn approval(&self, config: &Config, backend: &str) -> Approval {
        let asked = self.approval_mode.map(|Word(mode)| mode).or(config.backend(backend).approval_mode);
        asked.unwrap_or(config.unified_flags.approval_mode)
    }

    /// The sandbox mode of its runs with a backend.
    pub(crate) fn sandbox(&self, config: &Config, backend: &str) -> Sandbox {
        let asked = self.sandbox_mode.map(|Word(mode)| mode).or(config.backend(backend).sandbox_mode);
        asked.unwrap_or(config.unified_flags.sandbox_mode)
    }

    /// The same with what is in its files in the place of their names, for a server, where those mean nothing. The text
    /// files are left: they are a part of the prompt.
    pub(crate) fn carried(&self, defaults: &Defaults<'_>) -> Result<Request, Error> {
        let pictures = self.pictures(defaults)?.into_iter().map(Picture::Data).collect();
        let servers = |Servers(sources): &Servers| files::read_servers(sources, defaults);
        let servers = self.mcp.as_ref().map(servers).transpose()?;
        Ok(Request {
            images: self.images.as_ref().map(|_| pictures),
            json_schema: self
                .json_schema
                .as_ref()
                .map(|schema| files::read_schema(schema, defaults))
                .transpose()?,
            mcp: servers.map(|servers| Servers(vec![McpSource::Servers(servers)])),
            ..self.clone()
        })
    }

    /// The limits of its runs.
    pub(crate) fn control(&self, config: &Config, cancel: Arc<Cancel>) -> Control {
        let general = &config.unified_flags;
        let limit =
            |span: Option<Span>, secs: u64| span.map_or(Duration::from_secs(secs), |Span(limit)| limit);
        Control {
            wall: limit(self.timeout_secs, general.command_timeout_secs),
            stall: limit(self.stall_secs, general.stall_timeout_secs),
            first_byte: limit(self.first_byte_secs, general.first_byte_timeout_secs),
            connect: Duration::from_secs(general.vendor_connect_secs),
            ..Control::with(cancel)
        }
    }

    /// The same for another backend: a model's name means something there only when it is an alias.
    fn stand_in(&self, backend: &str, model: Option<&str>, defaults: &Defaults<'_>) -> Result<Task, Error> {
        let known = defaults.registry.get(backend)?;
        let is_alias = |model: &String| known.models().iter().any(|(alias, _)| alias == model);
        let model = model.map(str::to_owned).or(self.model.clone().filter(is_alias));
        let other = Request { backend: Some(backend.to_owned()), model, ..self.clone() };
        other.options(defaults)
    }

    /// The task without its prompt.
    fn options(&self, defaults: &Defaults<'_>) -> Result<Task, Error> {
        let Defaults { config, session, base, temp, .. } = *defaults;
        let of_session = session.map(|session| &session.backend);
        let backend = self.backend.as_ref().or(of_session).unwrap_or(&config.default_backend).clone();
        let of_backend = config.backend(&backend);
        // A session keeps its model as long as it keeps its backend.
        let of_session = session.filter(|session| session.backend == backend);
        let model = self
            .model
            .as_ref()
            .or(of_session.and_then(|session| session.model.as_ref()))
            .unwrap_or(&of_backend.model);
        let is_of_session = self.model.is_none() && of_session.is_some_and(|session| session.model.is_some());
        let asked_model =
            of_session.filter(|_| is_of_session).and_then(|session| session.asked_model.clone());
        let resolve = |name: &Path| defaults.directories.resolve(base, name);
        let dir = match (session, &self.workdir) {
            // Once more: it was free of links when the session was new, and agents have worked in it since.
            (Some(session), None) => resolve(&session.working_dir).map_err(|error| match error {
                Error::Policy { .. } => error,
                _ => {
                    let dir = session.working_dir.display();
                    let why = format!(
                        "its directory `{dir}` is gone: another one can be given (`-w DIR`, `workdir`)"
                    );
                    Error::NotResumable { id: session.id.clone(), why }
                }
            })?,
            (_, given) => resolve(given.as_ref().map_or(base, Path::new))?,
        };
        let general = &config.unified_flags;
        // The configuration's tags are for new ones.
        let of_new: &[String] = if session.is_none() { &config.session.default_tags } else { &[] };
        let given = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
        let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        Ok(Task {
            trace: None,
            model: text(model),
            asked_model,
            dir,
            session: None,
            begins: None,
            metadata: self.metadata.clone().unwrap_or_default().0,
            owner: None,
            outer_runs: 0,
            hidden: false,
            env: Vec::new(),
            unset: Vec::new(),
            tags: of_new.iter().cloned().chain(given(&self.tags)).collect(),
            approval: self.approval(config, &backend),
            sandbox: self.sandbox(config, &backend),
            system: self.system_prompt.clone().or_else(|| text(&of_backend.system_prompt)),
            append_system: self.append_system_prompt.clone(),
            max_turns: self.max_turns.or(Some(general.max_turns)).filter(|limit| *limit > 0),
            max_tokens: self.max_tokens.or(Some(general.max_tokens)).filter(|limit| *limit > 0),
            allowed_tools: match &self.allowed_tools {
                Some(Tools(tools)) => tools.clone(),
                None => of_backend.allowed_tools.clone(),
            },
            denied_tools: given(&self.denied_tools),
            tools: ToolUse::AsConfigured,
            add_dirs: given(&self.add_dirs)
                .iter()
                .map(|dir| resolve(Path::new(dir)))
                .collect::<Result<_, _>>()?,
            schema: self
                .json_schema
                .as_ref()
                .map(|schema| files::read_schema(schema, defaults))
                .transpose()?,
            images: self.pictures(defaults)?,
            effort: self.effort.map(|Word(effort)| effort),
            ephemeral: self.ephemeral.unwrap_or(false),
            extra: of_backend.extra_flags.iter().cloned().chain(given(&self.extra)).collect(),
            mcp: match &self.mcp {
                Some(Servers(sources)) => files::read_servers(sources, defaults)?,
                None => files::configured_servers(&backend, config, defaults)?,
            },
            attended: false,
            interpret: self.interpret.unwrap_or(false),
            no_project_config: self.no_project_config.unwrap_or(false),
            resume: None,
            lenient: self.lenient.unwrap_or(general.lenient),
            vendor_retries: general.vendor_retries,
            scratch: temp.join(format!("clinvk-{}", world::random_id()?)),
            backend,
            prompt: Arc::default(),
        })
    }

    fn pictures(&self, defaults: &Defaults<'_>) -> Result<Vec<Image>, Error> {
        let pictures = self.images.as_deref().unwrap_or_default().iter();
        let read = |picture: &Picture| match picture {
            Picture::Data(image) => Ok(image.clone()),
            Picture::File(name) => {
                files::refuse_files(defaults, name)?;
                files::read_image(defaults.base, name)
            }
        };
        pictures.map(read).collect()
    }
}

pub(crate) fn backend_and_model(word: &str) -> (&str, Option<&str>) {
    match word.split_once(':') {
        Some((backend, model)) => (backend.trim(), Some(model.trim()).filter(|model| !model.is_empty())),
        None => (word.trim(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fields::Object;

    #[test]
    fn a_request_is_read_strictly() {
        let read = |text: &str| serde_json::from_str::<Object<Request>>(text).map(|Object(request)| request);
        let request =
            read(r#"{"approval_mode": "none", "timeout": "5m", "stall_secs": 7, "allowed_tools": "a, b"}"#);
        let request = request.unwrap();
        assert_eq!(request.approval_mode, Some(Word(Approval::None)));
        assert_eq!(request.timeout_secs, Some(Span(Duration::from_secs(300))));
        assert_eq!(request.stall_secs, Some(Span(Duration::from_secs(7))));
        assert_eq!(request.allowed_tools, Some(Tools(Some(vec!["a".to_owned(), "b".to_owned()]))));
        for (text, error) in [
            (r#"{"modle": 1}"#, "unknown field `modle`: did you mean `model`? at line 1 column 8"),
            (
                r#"{"approval_mode": "nome"}"#,
                "`approval_mode`: unknown word `nome`: did you mean `none`? at line 1 column 25",
            ),
            (
                "{\n\"max_turns\": -1}",
                "`max_turns`: invalid value: integer `-1`, expected u32 at line 2 column 15",
            ),
            (r#"{"model": "a", "model": "b"}"#, "field `model` stands there twice at line 1 column 22"),
            (
                r#"{"timeout_secs": -1}"#,
                "`timeout_secs`: expected seconds or a text such as 90s, found `-1` at line 1 column 20",
            ),
        ] {
            assert_eq!(read(text).unwrap_err().to_string(), error, "{text}");
        }
    }
}
