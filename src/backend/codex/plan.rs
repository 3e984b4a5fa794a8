//! A task in codex's words: what opens its thread, what starts its turn, and what codex's questions are answered.

use super::mentions::{mentioned, unlinked};
use super::model;
use crate::base::collect::inserted;
use crate::base::json::{Value, json};
use crate::model::mcp::Transport;
use crate::model::task::{Approval, Effort, Sandbox, Task, ToolUse};
use std::collections::BTreeSet;

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

/// A task in codex's words.
pub(super) struct Plan {
    /// `thread/start`, `thread/resume` or `thread/fork`.
    pub(super) open: &'static str,
    /// Its parameters.
    pub(super) thread: Value,
    /// Developer instructions that only a message of their own can bring into an old thread.
    pub(super) developer: Option<String>,
    /// The alias whose model codex has to tell.
    pub(super) alias: Option<model::Alias>,
    /// The effort that only some models have was asked for; where it is not there: a failure, or `lenient` a warning.
    pub(super) ultra: bool,
    pub(super) lenient: bool,
    /// The parameters of `turn/start` but for the thread's id.
    pub(super) turn: Value,
    /// The session that has to be continued.
    pub(super) resume: Option<String>,
    /// What codex asks is granted, else refused.
    pub(super) accept: bool,
    /// A person is asked instead.
    pub(super) attended: bool,
    /// The answer has to be JSON: it is told once, whole.
    pub(super) json: bool,
    /// The names of this run's MCP servers.
    pub(super) servers: BTreeSet<String>,
    /// The user's MCP servers are left out.
    pub(super) without_servers: bool,
    /// How often codex may try again.
    pub(super) retries: u32,
}

impl Plan {
    pub(super) fn new(task: &Task) -> Plan {
        let access = Access::of(task.approval, task.sandbox);
        let (open, thread) = thread(task, &access);
        Plan {
            open,
            thread,
            alias: task.model.as_deref().and_then(model::alias),
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
    pub(super) fn wants_models(&self) -> bool {
        self.alias.is_some() || self.ultra
    }

    /// A setting for this thread alone.
    pub(super) fn config(&mut self, key: &str, value: Value) {
        self.thread["config"][key] = value;
    }
}

/// The request that opens the thread, and its parameters.
fn thread(task: &Task, access: &Access) -> (&'static str, Value) {
    let mut thread = json!({
        // A resumed session is written to even when it is asked to be ephemeral; a fork is not.
        "ephemeral": task.ephemeral.then_some(true),
        "approvalPolicy": access.policy,
        // What asks codex's own reviewing model instead of us would not be the approval that was asked for.
        "approvalsReviewer": access.policy.map(|_| "user"),
        "sandbox": sandbox_word(access.sandbox),
        "model": task.model.as_deref().filter(|model| model::alias(model).is_none()),
        "baseInstructions": task.system,
        "config": config(task),
    });
    let open = match &task.resume {
        // Without `cwd`: a `thread/start` with one and with a sandbox that can write makes codex *trust* the directory, on
        // disk and for good, and run the MCP servers of its `.codex/config.toml` at once. It works in the child's own
        // directory all the same.
        None => {
            thread["developerInstructions"] = task.append_system.as_deref().into();
            "thread/start"
        }
        Some(session) => {
            thread["threadId"] = session.as_str().into();
            // The old turns would come as one line of any length.
            thread["excludeTurns"] = true.into();
            // Else it works where the session was made. This one trusts nothing.
            thread["cwd"] = task.dir.display().to_string().into();
            if task.ephemeral { "thread/fork" } else { "thread/resume" }
        }
    };
    // What is not asked for is not said.
    thread.as_object_mut().into_iter().for_each(|members| members.retain(|_, value| !value.is_null()));
    (open, thread)
}

/// What codex is told about approvals and the sandbox, and what its questions are answered.
#[derive(Debug, PartialEq)]
pub(super) struct Access {
    policy: Option<&'static str>,
    pub(super) sandbox: Sandbox,
    accept: bool,
}

impl Access {
    /// The table. Codex asks only for what its sandbox does not allow (`on-request`), for all but reading
    /// (`untrusted`), or refuses that by itself (`never`).
    pub(super) fn of(approval: Approval, sandbox: Sandbox) -> Access {
        let (policy, sandbox, accept) = match (approval, sandbox) {
            // The user's own configuration decides what is asked; no user is there to grant it.
            (Approval::Default, _) => (None, sandbox, false),
            // Edits in the workspace are not asked about. What is asked is outside of it, or wants out of the sandbox.
            (Approval::Auto, Sandbox::Default) => (Some("on-request"), Sandbox::Workspace, false),
            (Approval::Auto, _) => (Some("on-request"), sandbox, false),
            (Approval::Always, _) => (Some("untrusted"), sandbox, false),
            // A sandbox that was asked for holds: with `on-request` a granted command would run outside of it.
            (Approval::None, Sandbox::ReadOnly | Sandbox::Workspace) => (Some("never"), sandbox, false),
            // Not `never`, which refuses `rm -rf`, MCP tools and escalations. And no sandbox: a plain `touch` in one
            // fails without a question, and every question was a way out of it anyway.
            (Approval::None, Sandbox::Default | Sandbox::Full) => (Some("on-request"), Sandbox::Full, true),
        };
        Access { policy, sandbox, accept }
    }
}

/// A sandbox mode in codex's words; none where its own configuration decides.
fn sandbox_word(sandbox: Sandbox) -> Option<&'static str> {
    match sandbox {
        Sandbox::Default => None,
        Sandbox::ReadOnly => Some("read-only"),
        Sandbox::Workspace => Some("workspace-write"),
        Sandbox::Full => Some("danger-full-access"),
    }
}

/// Settings for this thread alone, over those of the user's files; `null` where there are none.
fn config(task: &Task) -> Value {
    let mut config = Value::Null;
    if !task.add_dirs.is_empty() {
        let roots = task.add_dirs.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>();
        // Only `workspace-write` heeds it; every sandbox can read everywhere.
        config["sandbox_workspace_write.writable_roots"] = json!(roots);
    }
    if task.no_project_config {
        // Codex takes a directory's settings, hooks, rules and AGENTS.md only if it trusts it or its repository. The
        // directory alone is not enough: the settings of a trusted directory above it would still count.
        let untrusted =
            |dir: &std::path::Path| (dir.display().to_string(), json!({"trust_level": "untrusted"}));
        let projects = task.dir.ancestors().map(untrusted);
        config["projects"] = Value::Object(inserted(projects));
    }
    let named = if task.interpret { BTreeSet::new() } else { mentioned(&task.prompt) };
    if !named.is_empty() {
        // `$name` in a prompt makes codex add that skill's text. There is no switch for it, so the skills that the
        // prompt names do not exist for this thread; the prompt itself stays as it is. Adds to the user's own list.
        let off = named.iter().map(|name| json!({"name": name, "enabled": false})).collect::<Vec<_>>();
        config["skills.config"] = off.into();
    }
    if !task.mcp.is_empty() {
        let servers = task.mcp.iter().map(|server| (server.name.clone(), described(&server.transport)));
        config["mcp_servers"] = Value::Object(inserted(servers));
    }
    if task.tools == ToolUse::None {
        let off = FEATURES_OF_TOOLS.iter().map(|feature| ((*feature).to_owned(), Value::Bool(false)));
        config["features"] = Value::Object(inserted(off));
        config["web_search"] = "disabled".into();
    }
    config
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

/// The parameters of `turn/start` but for the thread's id.
fn turn(task: &Task) -> Value {
    let pieces = if task.interpret { vec![&*task.prompt] } else { unlinked(&task.prompt) };
    let text = pieces.into_iter().map(|text| json!({"type": "text", "text": text}));
    let images = task.images.iter().map(
        |image| json!({"type": "image", "url": format!("data:{};base64,{}", image.mime, image.base64())}),
    );
    let mut turn = json!({"input": text.chain(images).collect::<Vec<_>>()});
    if let Some(effort) = task.effort {
        turn["effort"] = effort.word().into();
    }
    if let Some(schema) = &task.schema {
        turn["outputSchema"] = schema.clone();
    }
    turn
}
