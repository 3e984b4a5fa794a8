//! Claude Code: `claude -p` with stream-json in and out. How it is started stands here as tables; the conversation is in
//! `dialogue`, what its failures mean in `failure`. Measured on 2.1.197 and 2.1.332: the recorded dialogues in
//! tests/data/claude.

mod answer;
mod dialogue;
mod failure;
mod mux;
mod opening;
mod usage;

use self::dialogue::Turn;
use super::{Backend, Dialogue, File, Keeping, Launch, StopSignal, Traces, Vendor, VendorSessions, narrowed};
use crate::base::collect::inserted;
use crate::base::json::{Value, json};
use crate::model::error::Error;
use crate::model::mcp::{McpServer, Transport};
use crate::model::task::{Approval, Sandbox, Task, TaskOption};

/// The oldest version that all of this was seen to work with: 2.1.100 drops a system prompt without a word.
const OLDEST: &str = "2.1.150";

const VENDOR: Vendor = Vendor {
    install: "npm install -g @anthropic-ai/claude-code",
    login: "`claude`, then `/login`; or `ANTHROPIC_API_KEY`",
    oldest: OLDEST,
    first: "2.1.197",
    newest: "2.1.332",
    traces: Traces {
        variables: &[
            "ANTHROPIC_API_KEY",
            "ANTHROPIC_AUTH_TOKEN",
            "CLAUDE_CODE_OAUTH_TOKEN",
            "CLAUDE_CODE_USE_BEDROCK",
            "CLAUDE_CODE_USE_VERTEX",
            "CLAUDE_CODE_USE_FOUNDRY",
        ],
        variable: "CLAUDE_CONFIG_DIR",
        home: ".claude",
        files: &[
            (".credentials.json", ""),
            ("settings.json", "\"apiKeyHelper\""),
            ("settings.json", "\"ANTHROPIC_API_KEY\""),
            ("settings.json", "\"ANTHROPIC_AUTH_TOKEN\""),
            ("settings.json", "\"CLAUDE_CODE_USE_"),
            // Where that keeps it in the system's keychain: whose login it is stands here.
            ("../.claude.json", "\"oauthAccount\""),
            ("../.claude.json", "\"primaryApiKey\""),
            (".claude.json", "\"oauthAccount\""),
            (".claude.json", "\"primaryApiKey\""),
        ],
    },
};

/// Tools that change nothing: all there is under `sandbox read-only`. Claude has no sandbox of its own, so the
/// others are taken away, and everything that still asks for permission is refused.
const READING_TOOLS: &[&str] = &["Read", "Grep", "Glob", "WebFetch", "WebSearch"];

/// Tools that need a person, who is not there. Without our permission protocol headless claude does not offer them either.
const TOOLS_FOR_PERSONS: &[&str] = &["AskUserQuestion", "EnterPlanMode", "ExitPlanMode"];

/// Marks of an outer Claude session.
pub(super) const OUTER_SESSION: &[&str] = &[
    "CLAUDECODE",
    "CLAUDE_CODE_ENTRYPOINT",
    "CLAUDE_CODE_SSE_PORT",
    "CLAUDE_CODE_SESSION_ID",
    "CLAUDE_CODE_SESSION_KIND",
    "CLAUDE_CODE_SESSION_ACCESS_TOKEN",
    "CLAUDE_CODE_AGENT",
];

const EXTRA_FLAGS: &[&str] = &[
    "--bare",
    "--safe-mode",
    "--fallback-model=",
    "--max-budget-usd=",
    "--mcp-config=",
    "--strict-mcp-config",
    "--disable-slash-commands",
];

/// The backend.
pub struct Claude {
    program: String,
    models: Vec<(String, String)>,
}

impl Claude {
    /// `program`: where it is, when it is not simply `claude` on PATH. `models`: aliases that replace or add to ours.
    pub fn new(program: Option<String>, models: &[(String, String)]) -> Claude {
        // The vendor resolves these names to its current models by itself.
        let ours = [("fast", "haiku"), ("balanced", ""), ("best", "opus")];
        Claude { program: program.unwrap_or("claude".to_owned()), models: super::aliases(&ours, models) }
    }
}

impl Backend for Claude {
    fn name(&self) -> &str {
        "claude"
    }

    fn program(&self) -> &str {
        &self.program
    }

    fn vendor(&self) -> Option<&'static Vendor> {
        Some(&VENDOR)
    }

    fn honours(&self, option: TaskOption) -> Result<(), &'static str> {
        match option {
            TaskOption::SandboxWorkspace => {
                Err("claude has no sandbox: use `read-only`, or approval modes and tool lists")
            }
            TaskOption::EffortUltra => Err("claude's hardest is `max`"),
            _ => Ok(()),
        }
    }

    fn models(&self) -> &[(String, String)] {
        &self.models
    }

    fn claims(&self) -> &'static [&'static str] {
        &["claude-"]
    }

    /// It becomes the input of a tool, which is an object.
    fn takes_schema(&self, schema: &Value) -> bool {
        schema["type"] == "object"
    }

    fn base_url(&self) -> Option<&'static str> {
        Some("ANTHROPIC_BASE_URL")
    }

    fn vendor_sessions(&self) -> Option<VendorSessions> {
        Some(VendorSessions {
            delete: &[],
            variable: "CLAUDE_CONFIG_DIR",
            home: ".claude",
            folder: "projects",
        })
    }

    fn extra_flags(&self) -> &[&'static str] {
        EXTRA_FLAGS
    }

    fn launch(&self, task: &Task) -> Result<Launch, Error> {
        let task = &*narrowed(task);
        let mut args: Vec<String> =
            ["-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose"]
                .iter()
                .chain(&[
                    "--include-partial-messages",
                    "--permission-prompt-tool",
                    "stdio",
                    "--permission-mode",
                ])
                .map(|word| (*word).to_owned())
                .collect();
        // Everything that the mode leaves open comes to us as a question: see `answer`.
        args.push(if task.approval == Approval::Auto { "acceptEdits" } else { "default" }.to_owned());
        let mut option = |name: &str, value: &str| args.extend([name.to_owned(), value.to_owned()]);
        if let Some(model) = &task.model {
            option("--model", model);
        }
        if let Some(session) = &task.resume {
            option("--resume", session);
        }
        if let Some(turns) = task.max_turns {
            option("--max-turns", &turns.to_string());
        }
        if let Some(effort) = task.effort {
            option("--effort", effort.word());
        }
        if let Some(tools) = offered_tools(task) {
            option("--tools", &tools.join(","));
        }
        // Under `read-only` a list only chooses: what is asked about elsewhere, the web and files outside, still is.
        if let Some(patterns) = task.allowed_tools.as_ref().filter(|_| task.sandbox != Sandbox::ReadOnly) {
            option("--allowedTools", &patterns.join(","));
        }
        let denied: Vec<&str> =
            TOOLS_FOR_PERSONS.iter().copied().chain(task.denied_tools.iter().map(String::as_str)).collect();
        option("--disallowedTools", &denied.join(","));
        for dir in &task.add_dirs {
            option("--add-dir", &dir.to_string_lossy());
        }
        if task.no_project_config {
            option("--setting-sources", "user");
        }
        // Servers of the user's own could write; and what his permissions allow is not even asked.
        args.extend((task.sandbox == Sandbox::ReadOnly).then(|| "--strict-mcp-config".to_owned()));
        let servers = (!task.mcp.is_empty()).then(|| {
            let servers = task.mcp.iter().map(|server| (server.name.clone(), described(server)));
            let text = json!({"mcpServers": Value::Object(inserted(servers))}).to_string();
            // A file, because variables and headers may be secrets, and every user can read arguments.
            File { path: task.scratch.join("mcp.json"), text }
        });
        args.extend(servers.iter().map(|file| format!("--mcp-config={}", file.path.display())));
        args.extend(task.ephemeral.then(|| "--no-session-persistence".to_owned()));
        args.extend(task.extra.iter().cloned());
        let mut env = vec![
            ("CLAUDE_CODE_MAX_RETRIES".to_owned(), task.vendor_retries.to_string()),
            // Only this tells a turn that is over from one that waits for its sub-agents.
            ("CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS".to_owned(), "1".to_owned()),
        ];
        if !task.interpret {
            // `@path` anywhere in a prompt would be read and sent to the model, without any permission.
            env.push(("CLAUDE_CODE_DISABLE_ATTACHMENTS".to_owned(), "1".to_owned()));
        }
        if let Some(tokens) = task.max_tokens {
            env.push(("CLAUDE_CODE_MAX_OUTPUT_TOKENS".to_owned(), tokens.to_string()));
        }
        Ok(Launch {
            program: self.program.clone(),
            args,
            env,
            unset: OUTER_SESSION.iter().map(|name| (*name).to_owned()).collect(),
            dir: task.dir.clone(),
            stop: StopSignal::Interrupt,
            files: servers.into_iter().collect(),
            model_is_remote: true,
            ..Launch::default()
        })
    }

    fn dialogue(&self, task: &Task) -> Box<dyn Dialogue> {
        Box::new(Turn::of(&narrowed(task)))
    }

    fn keeps(&self, task: &Task) -> Option<Keeping> {
        // A command of the user's could change the program for good; a budget is the process's; and the conversations in it
        // are kept apart by a command.
        let is_alone =
            |flag: &String| flag.starts_with("--max-budget-usd") || flag == "--disable-slash-commands";
        if task.interpret || task.extra.iter().any(is_alone) {
            return None;
        }
        let of_all = Keeping::of_all_turns(task);
        let launch = self.launch(&of_all).ok()?;
        Some(Keeping {
            shape: format!("{launch:?} {:?}", opening::opening(&of_all)),
            is_shared: false,
            mux: Box::new(mux::Conversations::new(task.resume.is_some())),
        })
    }
}

/// A server in claude's words.
fn described(server: &McpServer) -> Value {
    let object = |pairs: &[(String, String)]| -> Value {
        Value::Object(inserted(pairs.iter().map(|(name, text)| (name.clone(), text.as_str().into()))))
    };
    match &server.transport {
        Transport::Stdio { command, args, env } => {
            json!({"type": "stdio", "command": command, "args": args, "env": object(env)})
        }
        Transport::Http { url, headers } => json!({"type": "http", "url": url, "headers": object(headers)}),
        Transport::Sse { url, headers } => json!({"type": "sse", "url": url, "headers": object(headers)}),
    }
}

/// The tools that exist, when not all do: the names of the allowed patterns, without what the sandbox forbids.
fn offered_tools(task: &Task) -> Option<Vec<&str>> {
    let reading = task.sandbox == Sandbox::ReadOnly;
    let name_of = |pattern: &'_ str| pattern.split('(').next().unwrap_or(pattern).trim().len();
    let allowed = task
        .allowed_tools
        .as_ref()
        .map(|patterns| patterns.iter().map(|pattern| &pattern[..name_of(pattern)]));
    match allowed {
        Some(names) => Some(names.filter(|name| !reading || READING_TOOLS.contains(name)).collect()),
        None if reading => Some(READING_TOOLS.to_vec()),
        None => None,
    }
}
