//! The codex backend: `codex app-server`, one child for one turn. How it is started and what is asked of it stand
//! here as tables; the conversation is in `dialogue`, what its errors mean in `failure`. All of it was measured with
//! codex 0.169.0, and the whole dialogue also with `OLDEST`.

mod answer;
mod dialogue;
mod failure;
mod items;
mod model;
mod mux;
mod provider;
mod questions;
mod usage;

use super::{Backend, Dialogue, Keeping, Launch, StopSignal, Traces, Vendor, VendorSessions, narrowed};
use crate::base::collect::inserted;
use crate::base::json::json;
use crate::model::error::Error;
use crate::model::mcp::Transport;
use crate::model::task::{Approval, Effort, Sandbox, Task, TaskOption, ToolUse};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// The oldest version that was seen to hold this dialogue. 0.150.0 refuses `excludeTurns` without a capability.
const OLDEST: &str = "0.160.0";

const VENDOR: Vendor = Vendor {
    install: "npm install -g @openai/codex",
    login: "`codex login`",
    oldest: OLDEST,
    first: "0.169.0",
    newest: "0.171.0",
    traces: Traces {
        variables: &[],
        variable: "CODEX_HOME",
        home: ".codex",
        // A provider of the user's own has a key of its own, or needs none.
        files: &[("auth.json", ""), ("config.toml", "model_provider")],
    },
};

/// The version in a dry run's rehearsal.
const REHEARSED: &str = "0.169.0";
/// The longest prompt that `turn/start` takes, in characters.
const LONGEST_PROMPT: usize = 1 << 20;

/// The sandbox modes, in codex's words.
const READ_ONLY: &str = "read-only";
const WORKSPACE: &str = "workspace-write";
const FULL: &str = "danger-full-access";

/// What marks an outer codex session: a codex that was started by a codex has to begin afresh.
pub(super) const OUTER_SESSION: &[&str] = &[
    "CODEX_APPLY_PATCH_PRESERVE_LINE_ENDINGS",
    "CODEX_CI",
    // Would also take our name out of the `userAgent` and the sessions.
    "CODEX_INTERNAL_ORIGINATOR_OVERRIDE",
    "CODEX_SANDBOX",
    "CODEX_SANDBOX_NETWORK_DISABLED",
    "CODEX_SESSION_ID",
    "CODEX_THREAD_ID",
    "CODEX_TOOL_CALL_ID",
    "CODEX_VERSION",
];

/// The Codex CLI.
pub struct Codex {
    /// The program: a path, or a name to be found on PATH.
    pub(crate) program: String,
    /// The model aliases.
    pub(crate) models: Vec<(String, String)>,
}

impl Codex {
    /// `program`: where it is, when it is not simply `codex` on PATH. `models`: aliases that replace or add to ours.
    pub fn new(program: Option<String>, models: &[(String, String)]) -> Codex {
        Codex {
            program: program.unwrap_or("codex".to_owned()),
            models: super::aliases(&model::aliases(), models),
        }
    }
}

/// The features behind its tools. Codex only warns of names in a thread's settings that it does not know; as flags they
/// would end it. `request_user_input` has none: it is answered with no.
const FEATURES_OF_TOOLS: &[&str] = &[
    "apps",
    "browser_use",
    "computer_use",
    "goals",
    "image_generation",
    "multi_agent",
    "plugins",
    "shell_tool",
    "sleep_tool",
    "tool_suggest",
    "unified_exec",
    "view_image",
];

impl Backend for Codex {
    fn name(&self) -> &str {
        "codex"
    }

    fn program(&self) -> &str {
        &self.program
    }

    fn vendor(&self) -> Option<&'static Vendor> {
        Some(&VENDOR)
    }

    fn honours(&self, option: TaskOption) -> Result<(), &'static str> {
        match option {
            TaskOption::MaxTurns => Err("it has no limit of model turns (a time limit bounds a run)"),
            TaskOption::MaxTokens => Err("it ignores `model_max_output_tokens`"),
            TaskOption::AllowedTools | TaskOption::DeniedTools => {
                Err("it has no list of tools (`--sandbox` and `--approval` bound what they can do)")
            }
            _ => Ok(()),
        }
    }

    fn models(&self) -> &[(String, String)] {
        &self.models
    }

    fn claims(&self) -> &'static [&'static str] {
        &["gpt-", "o1", "o3", "o4", "codex-", "chatgpt-"]
    }

    /// Codex hands it to OpenAI as a strict one, which that refuses unless it leaves nothing open.
    fn takes_schema(&self, schema: &Value) -> bool {
        schema["type"] == "object" && is_strict(schema)
    }

    fn vendor_sessions(&self) -> Option<VendorSessions> {
        Some(VendorSessions {
            delete: &["delete", "--force"],
            variable: "CODEX_HOME",
            home: ".codex",
            folder: "sessions",
        })
    }

    /// Not `--config`, which can switch off sandbox and approvals; `--profile` and `--model` are refused or ignored by
    /// `app-server`.
    fn extra_flags(&self) -> &[&'static str] {
        &["--strict-config", "--enable=", "--disable="]
    }

    fn reach(&self, task: &Task) -> Sandbox {
        match Access::of(task.approval, task.sandbox).sandbox {
            None => Sandbox::Default,
            Some(READ_ONLY) => Sandbox::ReadOnly,
            Some(WORKSPACE) => Sandbox::Workspace,
            Some(_) => Sandbox::Full,
        }
    }

    fn launch(&self, task: &Task) -> Result<Launch, Error> {
        if let Some(sse) =
            narrowed(task).mcp.iter().find(|server| matches!(server.transport, Transport::Sse { .. }))
        {
            return Err(Error::Invalid(format!(
                "codex reaches no MCP server by `sse`, as `{}` is: it takes `stdio` and `http`",
                sse.name
            )));
        }
        let length = task.prompt.chars().count();
        if length > LONGEST_PROMPT {
            return Err(Error::Invalid(format!(
                "the prompt has {length} characters and codex takes at most {LONGEST_PROMPT}"
            )));
        }
        // With analytics on and no way to reach them codex lingers for 5 s after a turn.
        // Where it is kept, a thread that no run uses any more is to be gone at once: see `mux`.
        let own = ["app-server", "-c", "analytics.enabled=false", "-c", "thread_unload_delay_secs=0"];
        // The snapshot of the user's shell is a file of the session, which codex does not always remove at its end.
        let without_files: &[&str] = if task.ephemeral { &["--disable", "shell_snapshot"] } else { &[] };
        let own = own.iter().chain(without_files);
        Ok(Launch {
            program: self.program.clone(),
            args: own.map(|word| (*word).to_owned()).chain(task.extra.iter().cloned()).collect(),
            // Its last words on standard error become messages: without colours.
            env: vec![("NO_COLOR".to_owned(), "1".to_owned())],
            unset: OUTER_SESSION.iter().map(|name| (*name).to_owned()).collect(),
            dir: task.dir.clone(),
            stop: StopSignal::Terminate,
            model_is_remote: true,
            ..Launch::default()
        })
    }

    fn dialogue(&self, task: &Task) -> Box<dyn Dialogue> {
        Box::new(dialogue::AppServer::new(Plan::new(&narrowed(task))))
    }

    fn keeps(&self, task: &Task) -> Option<Keeping> {
        // All else is a thread's.
        let shape = format!("{:?}", self.launch(&Keeping::of_all_turns(task)).ok()?);
        Some(Keeping { shape, is_shared: true, mux: Box::new(mux::Threads::default()) })
    }

    fn rehearsal(&self, task: &Task) -> Vec<String> {
        let thread = task.resume.as_deref().filter(|_| !task.ephemeral).unwrap_or("<threadId>");
        let wants_models = Plan::new(task).wants_models();
        let is_asked = |line: &&Value| line["id"] != 7 || wants_models;
        let greeting = json!({"id": 1, "result": {"userAgent": format!("clinvk/{REHEARSED}")}});
        let settings = json!({"id": 6, "result": {"config": {}}});
        let known = json!({"model": "<model>", "supportedReasoningEfforts": [{"reasoningEffort": "ultra"}]});
        let models = json!({"id": 7, "result": {"data": [known]}});
        let opened = json!({"id": 2, "result": {"thread": {"id": thread}, "model": "<model>"}});
        [greeting, settings, models, opened].iter().filter(is_asked).map(Value::to_string).collect()
    }
}

/// Whether a schema is one of OpenAI's strict ones: every object has exactly its properties, and there is nothing in it
/// that is not known there.
fn is_strict(schema: &Value) -> bool {
    const UNKNOWN: &[&str] = &[
        "allOf",
        "default",
        "dependentRequired",
        "dependentSchemas",
        "else",
        "if",
        "not",
        "oneOf",
        "patternProperties",
        "then",
    ];
    match schema {
        Value::Object(members) => {
            let is_closed = match members.get("properties").and_then(Value::as_object) {
                None => members.get("type") != Some(&json!("object")),
                Some(properties) => {
                    let required = members.get("required").and_then(Value::as_array);
                    let is_required =
                        |name: &String| required.is_some_and(|names| names.iter().any(|known| known == name));
                    members.get("additionalProperties") == Some(&json!(false))
                        && properties.keys().all(is_required)
                }
            };
            // The names of properties are no keywords.
            let below = members.iter().flat_map(|(name, value)| match (name.as_str(), value) {
                ("properties" | "$defs" | "definitions", Value::Object(schemas)) => {
                    schemas.values().collect()
                }
                ("enum" | "const", _) => Vec::new(),
                _ => vec![value],
            });
            is_closed
                && !members.keys().any(|name| UNKNOWN.contains(&name.as_str()))
                && below.into_iter().all(is_strict)
        }
        Value::Array(items) => items.iter().all(is_strict),
        _ => true,
    }
}

/// A task in codex's words.
struct Plan {
    /// `thread/start`, `thread/resume` or `thread/fork`.
    open: &'static str,
    /// Its parameters.
    thread: Map<String, Value>,
    /// Developer instructions that only a message of their own can bring into an old thread.
    developer: Option<String>,
    /// The alias whose model codex has to tell.
    alias: Option<model::Alias>,
    /// The effort that only some models have was asked for; where it is not there: a failure, or `lenient` a warning.
    ultra: bool,
    lenient: bool,
    /// The parameters of `turn/start` but for the thread's id.
    turn: Map<String, Value>,
    /// The session that has to be continued.
    resume: Option<String>,
    /// What codex asks is granted, else refused.
    accept: bool,
    /// A person is asked instead.
    attended: bool,
    /// The answer has to be JSON: it is told once, whole.
    json: bool,
    /// The names of this run's MCP servers.
    servers: BTreeSet<String>,
    /// The user's MCP servers are left out.
    without_servers: bool,
    /// How often codex may try again.
    retries: u32,
}

impl Plan {
    fn new(task: &Task) -> Plan {
        let access = Access::of(task.approval, task.sandbox);
        let mut thread = Map::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                thread.insert(key.to_owned(), value);
            }
        };
        let word = |word: Option<&str>| word.map(Value::from);
        // What asks codex's own reviewing model instead of us would not be the approval that was asked for.
        put("approvalsReviewer", access.policy.map(|_| Value::from("user")));
        put("approvalPolicy", word(access.policy));
        put("sandbox", word(access.sandbox));
        let alias = task.model.as_deref().and_then(model::alias);
        put("model", word(task.model.as_deref().filter(|_| alias.is_none())));
        put("baseInstructions", word(task.system.as_deref()));
        put("config", config(task).map(Value::Object));
        let open = match (&task.resume, task.ephemeral) {
            // Without `cwd`: a `thread/start` with one and with a sandbox that can write makes codex *trust* the
            // directory, on disk and for good, and run the MCP servers of its `.codex/config.toml` at once. It works
            // in the child's own directory all the same.
            (None, ephemeral) => {
                put("developerInstructions", word(task.append_system.as_deref()));
                put("ephemeral", ephemeral.then_some(Value::Bool(true)));
                "thread/start"
            }
            (Some(session), ephemeral) => {
                put("threadId", Some(Value::from(session.as_str())));
                // The old turns would come as one line of any length.
                put("excludeTurns", Some(Value::Bool(true)));
                // Else it works where the session was made. This one trusts nothing.
                put("cwd", Some(Value::from(task.dir.display().to_string())));
                // A resumed session is written to even when it is asked to be ephemeral; a fork is not.
                put("ephemeral", ephemeral.then_some(Value::Bool(true)));
                if ephemeral { "thread/fork" } else { "thread/resume" }
            }
        };
        Plan {
            open,
            thread,
            alias,
            ultra: task.effort == Some(Effort::Ultra),
            lenient: task.lenient,
            // `developerInstructions` are silently ignored when a thread is resumed or forked.
            developer: task.append_system.clone().filter(|_| task.resume.is_some()),
            turn: turn(task),
            resume: task.resume.clone().filter(|_| !task.ephemeral),
            accept: access.accept,
            // What is granted leaves the sandbox: one that was asked for holds.
            attended: task.attended
                && task.approval != Approval::None
                && matches!(task.sandbox, Sandbox::Default | Sandbox::Full),
            json: task.schema.is_some(),
            servers: inserted(task.mcp.iter().map(|server| server.name.clone())),
            without_servers: task.tools != ToolUse::AsConfigured,
            retries: task.vendor_retries,
        }
    }

    /// Codex's list of models is needed before a thread is opened.
    fn wants_models(&self) -> bool {
        self.alias.is_some() || self.ultra
    }

    fn put(&mut self, key: &str, value: Value) {
        self.thread.insert(key.to_owned(), value);
    }

    /// A setting for this thread alone.
    fn config(&mut self, key: &str, value: Value) {
        let config = self.thread.entry("config").or_insert_with(|| json!({}));
        config[key] = value;
    }
}

/// What codex is told about approvals and the sandbox, and what its questions are answered.
#[derive(Debug, PartialEq)]
struct Access {
    policy: Option<&'static str>,
    sandbox: Option<&'static str>,
    accept: bool,
}

impl Access {
    /// The table. Codex asks only for what its sandbox does not allow (`on-request`), for all but reading
    /// (`untrusted`), or refuses that by itself (`never`).
    fn of(approval: Approval, sandbox: Sandbox) -> Access {
        let given = match sandbox {
            Sandbox::Default => None,
            Sandbox::ReadOnly => Some(READ_ONLY),
            Sandbox::Workspace => Some(WORKSPACE),
            Sandbox::Full => Some(FULL),
        };
        let (policy, sandbox, accept) = match (approval, sandbox) {
            // The user's own configuration decides what is asked; no user is there to grant it.
            (Approval::Default, _) => (None, given, false),
            // Edits in the workspace are not asked about. What is asked is outside of it, or wants out of the sandbox.
            (Approval::Auto, Sandbox::Default) => (Some("on-request"), Some(WORKSPACE), false),
            (Approval::Auto, _) => (Some("on-request"), given, false),
            (Approval::Always, _) => (Some("untrusted"), given, false),
            // A sandbox that was asked for holds: with `on-request` a granted command would run outside of it.
            (Approval::None, Sandbox::ReadOnly | Sandbox::Workspace) => (Some("never"), given, false),
            // Not `never`, which refuses `rm -rf`, MCP tools and escalations. And no sandbox: a plain `touch` in one
            // fails without a question, and every question was a way out of it anyway.
            (Approval::None, Sandbox::Default | Sandbox::Full) => (Some("on-request"), Some(FULL), true),
        };
        Access { policy, sandbox, accept }
    }
}

/// Settings for this thread alone, over those of the user's files.
fn config(task: &Task) -> Option<Map<String, Value>> {
    let mut config = Map::new();
    if !task.add_dirs.is_empty() {
        let roots = task.add_dirs.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>();
        // Only `workspace-write` heeds it; every sandbox can read everywhere.
        config.insert("sandbox_workspace_write.writable_roots".to_owned(), json!(roots));
    }
    if task.no_project_config {
        // Codex takes a directory's settings, hooks, rules and AGENTS.md only if it trusts it or its repository. The
        // directory alone is not enough: the settings of a trusted directory above it would still count.
        let untrusted =
            |dir: &std::path::Path| (dir.display().to_string(), json!({"trust_level": "untrusted"}));
        let projects = task.dir.ancestors().map(untrusted);
        config.insert("projects".to_owned(), Value::Object(inserted(projects)));
    }
    let named = if task.interpret { BTreeSet::new() } else { mentioned(&task.prompt) };
    if !named.is_empty() {
        // `$name` in a prompt makes codex add that skill's text. There is no switch for it, so the skills that the
        // prompt names do not exist for this thread; the prompt itself stays as it is. Adds to the user's own list.
        let off = named.iter().map(|name| json!({"name": name, "enabled": false})).collect::<Vec<_>>();
        config.insert("skills.config".to_owned(), off.into());
    }
    if !task.mcp.is_empty() {
        let servers = task.mcp.iter().map(|server| (server.name.clone(), described(&server.transport)));
        config.insert("mcp_servers".to_owned(), Value::Object(inserted(servers)));
    }
    if task.tools == ToolUse::None {
        let off = FEATURES_OF_TOOLS.iter().map(|feature| ((*feature).to_owned(), Value::Bool(false)));
        config.insert("features".to_owned(), Value::Object(inserted(off)));
        config.insert("web_search".to_owned(), "disabled".into());
    }
    Some(config).filter(|config| !config.is_empty())
}

/// An MCP server in codex's words.
fn described(transport: &Transport) -> Value {
    let object = |pairs: &[(String, String)]| -> Value {
        Value::Object(inserted(pairs.iter().map(|(name, text)| (name.clone(), text.as_str().into()))))
    };
    match transport {
        Transport::Stdio { command, args, env } => {
            json!({"command": command, "args": args, "env": object(env)})
        }
        Transport::Http { url, headers } | Transport::Sse { url, headers } => {
            json!({"url": url, "http_headers": object(headers)})
        }
    }
}

fn turn(task: &Task) -> Map<String, Value> {
    let pieces = if task.interpret { vec![&*task.prompt] } else { unlinked(&task.prompt) };
    let text = pieces.into_iter().map(|text| json!({"type": "text", "text": text}));
    let images = task.images.iter().map(
        |image| json!({"type": "image", "url": format!("data:{};base64,{}", image.mime, image.base64())}),
    );
    let mut turn = Map::new();
    turn.insert("input".to_owned(), text.chain(images).collect::<Vec<_>>().into());
    if let Some(effort) = task.effort {
        turn.insert("effort".to_owned(), effort.word().into());
    }
    if let Some(schema) = &task.schema {
        turn.insert("outputSchema".to_owned(), schema.clone());
    }
    turn
}

/// What codex takes for the name after a `$`.
fn name_at(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':')));
    &text[..end.unwrap_or(text.len())]
}

/// Every name that follows a `$`.
fn mentioned(prompt: &str) -> BTreeSet<&str> {
    let names = prompt.match_indices('$').map(|(at, _)| name_at(&prompt[at + 1..]));
    inserted(names.filter(|name| !name.is_empty()))
}

/// The prompt in pieces between which no `[$name](path to a skill)` is left: that form loads the file whatever its
/// name is. The model gets the same text, as several parts of one message.
fn unlinked(prompt: &str) -> Vec<&str> {
    let is_link = |at: &usize| {
        let rest = &prompt[at + 2..];
        let name = name_at(rest);
        let target = rest[name.len()..].strip_prefix(']').map(str::trim_start);
        !name.is_empty() && target.is_some_and(|target| target.starts_with('('))
    };
    let (mut pieces, mut from) = (Vec::new(), 0);
    for at in prompt.match_indices("[$").map(|(at, _)| at).filter(is_link) {
        pieces.push(&prompt[from..at + 2]);
        from = at + 2;
    }
    pieces.push(&prompt[from..]);
    pieces
}
