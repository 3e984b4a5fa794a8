//! Gemini CLI: `gemini --acp`, JSON-RPC on its pipes, one process a turn, in a home of its own (`Overlay`): it takes
//! settings from nowhere else that works for everyone, and its own sessions lose conversations. Measured on 0.61.0 and
//! back to 0.44.0: ../shared/real-clis.md section 4 and the recorded dialogues in tests/data/gemini.

mod dialogue;
mod failure;
mod policy;

use super::acp::{
    AcpMux, AcpTurn, Answers, GoingOn, Guards, Offers, TurnParams, begins_like_a_command, blocks,
};
use super::{
    Backend, Dialogue, File, Keeping, Launch, Overlay, StopSignal, Traces, Unusable, Vendor, narrowed,
};
use crate::backend::{DEPTH, MARKER};
use crate::base::json::json;
use crate::model::error::Error;
use crate::model::task::{Approval, Sandbox, Task, TaskOption};
use serde_json::Value;
use std::path::Path;

/// Marks of an outer gemini session, and of an editor: its folders would become this run's.
pub(super) const OUTER_SESSION: &[&str] = &[
    "GEMINI_CLI",
    "GEMINI_PTY_INFO",
    "GEMINI_CLI_IDE_PID",
    "GEMINI_CLI_IDE_SERVER_PORT",
    "GEMINI_CLI_IDE_SERVER_STDIO_COMMAND",
    "GEMINI_CLI_IDE_SERVER_STDIO_ARGS",
    "GEMINI_CLI_IDE_WORKSPACE_PATH",
    "GEMINI_CLI_IDE_AUTH_TOKEN",
];

/// The oldest version that the dialogue was seen to work with. Before, files of untrusted projects were run.
const OLDEST: &str = "0.44.0";

const VENDOR: Vendor = Vendor {
    install: "npm install -g @google/gemini-cli",
    login: "`gemini`; or `GEMINI_API_KEY`",
    oldest: OLDEST,
    first: "0.61.0",
    newest: "0.61.0",
    traces: Traces {
        variables: &["GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_GENAI_USE_GCA"],
        variable: "GEMINI_CLI_HOME",
        home: "",
        files: &[
            (".gemini/oauth_creds.json", ""),
            (".gemini/gemini-credentials.json", ""),
            (".gemini/.env", "_API_KEY"),
            (".env", "GEMINI_API_KEY"),
        ],
    },
};

/// What gemini keeps for itself: conversations, the list of projects.
const PRIVATE: &[&str] =
    &[".gemini/tmp", ".gemini/history", ".gemini/projects.json", ".gemini/projects.json.lock"];

/// Where gemini stores refreshed logins. It writes these in place, through the link.
const CREDENTIALS: &[&str] = &[
    ".gemini/oauth_creds.json",
    ".gemini/google_accounts.json",
    ".gemini/gemini-credentials.json",
    ".gemini/mcp-oauth-tokens.json",
    ".gemini/a2a-oauth-tokens.json",
];

/// All conversations of gemini with its models inherit from this entry of its model table, whatever the model.
const EVERY_MODEL: &str = "chat-base";

/// The backend.
pub struct Gemini {
    program: String,
    models: Vec<(String, String)>,
}

impl Gemini {
    /// `program`: where it is, when it is not simply `gemini` on PATH. `models`: aliases that replace or add to ours.
    pub fn new(program: Option<String>, models: &[(String, String)]) -> Gemini {
        // The vendor resolves these names to its current models by itself.
        let ours = [("fast", "flash"), ("balanced", ""), ("best", "pro")];
        Gemini { program: program.unwrap_or("gemini".to_owned()), models: super::aliases(&ours, models) }
    }
}

impl Backend for Gemini {
    fn name(&self) -> &str {
        "gemini"
    }

    fn program(&self) -> &str {
        &self.program
    }

    fn vendor(&self) -> Option<&'static Vendor> {
        Some(&VENDOR)
    }

    fn honours(&self, option: TaskOption) -> Result<(), &'static str> {
        match option {
            TaskOption::AppendSystem => {
                Err("gemini can only replace its system prompt; GEMINI.md files add to it")
            }
            TaskOption::Schema => Err("gemini takes no schema: describe the form in the prompt"),
            TaskOption::Effort | TaskOption::EffortUltra => {
                Err("gemini has no such flag, and what its settings take differs from model to model")
            }
            TaskOption::SandboxWorkspace => {
                Err("gemini's shell is not confined to the workspace: use `read-only`")
            }
            TaskOption::Resume => {
                Err("gemini loses conversations that it resumes; they are replayed from stored turns")
            }
            _ => Ok(()),
        }
    }

    fn models(&self) -> &[(String, String)] {
        &self.models
    }

    fn claims(&self) -> &'static [&'static str] {
        &["gemini-"]
    }

    fn base_url(&self) -> Option<&'static str> {
        Some("GOOGLE_GEMINI_BASE_URL")
    }

    fn extra_flags(&self) -> &[&'static str] {
        &["--extensions=", "-e=", "--allowed-mcp-server-names="]
    }

    fn launch(&self, task: &Task) -> Result<Launch, Error> {
        let task = &*narrowed(task);
        if task.no_project_config && !task.mcp.is_empty() {
            let why = "gemini has MCP servers only in a folder that it trusts, and one that it trusts is configured by \
                       its own files";
            return Err(Error::CannotHonour {
                backend: self.name().to_owned(),
                option: TaskOption::Mcp,
                why: why.to_owned(),
            });
        }
        let home = task.scratch.join("home");
        let temp = task.scratch.join("tmp");
        let mut env = vec![
            ("GEMINI_CLI_HOME".to_owned(), display(&home)),
            // At each failure gemini writes the conversation into a file that everyone can read, and leaves it there.
            ("TMPDIR".to_owned(), display(&temp)),
            // Else there are two processes, of which the outer one ignores signals, and a start takes twice as long.
            ("GEMINI_CLI_NO_RELAUNCH".to_owned(), "true".to_owned()),
            // A missing login has to be a failure, not a page in the user's browser.
            ("NO_BROWSER".to_owned(), "true".to_owned()),
        ];
        let mut unset: Vec<String> = OUTER_SESSION.iter().map(|name| (*name).to_owned()).collect();
        let mut files = Vec::new();
        if let Some(system) = &task.system {
            let path = task.scratch.join("system").join("system.md");
            env.push(("GEMINI_SYSTEM_MD".to_owned(), display(&path)));
            files.push(File { path, text: system.clone() });
        }
        if let Some(text) = policy::of(task)? {
            files.push(File { path: home.join(".gemini/policies/clinvk.toml"), text });
        }
        if task.no_project_config {
            // The variable is known since 0.60; the file is what older ones go by.
            env.push(("GEMINI_CLI_TRUST_WORKSPACE".to_owned(), "false".to_owned()));
            unset.push("GEMINI_CLI_TRUSTED_FOLDERS_PATH".to_owned());
            let text = json!({(&*display(&task.dir)): "DO_NOT_TRUST"}).to_string();
            files.push(File { path: home.join(".gemini/trustedFolders.json"), text });
        }
        // With a container of its own gemini takes the first line of the protocol for a prompt.
        let confined = matches!(task.sandbox, Sandbox::Default | Sandbox::Workspace);
        if !confined {
            env.push(("GEMINI_SANDBOX".to_owned(), "false".to_owned()));
        }
        let overlay = Overlay {
            home,
            temp,
            variable: "GEMINI_CLI_HOME",
            private: PRIVATE,
            written: CREDENTIALS,
            // Gemini overlooks linked policies.
            copied: &[".gemini/policies"],
            settings: (".gemini/settings.json", settings(task)),
            settings_variable: "GEMINI_CLI_SYSTEM_SETTINGS_PATH",
            outranked_by: task.dir.join(".gemini/settings.json"),
            firm: if task.no_project_config { Vec::new() } else { firm(task) },
            unusable: confined.then_some(Unusable {
                variable: "GEMINI_SANDBOX",
                setting: "/tools/sandbox",
                why: "gemini's container cannot be driven by other programs: use `--sandbox full` or `read-only`",
            }),
        };
        Ok(Launch {
            program: self.program.clone(),
            args: args(task)?,
            env,
            unset,
            dir: task.dir.clone(),
            files,
            overlay: Some(overlay),
            stop: StopSignal::Terminate,
            model_is_remote: true,
            ..Launch::default()
        })
    }

    fn dialogue(&self, task: &Task) -> Box<dyn Dialogue> {
        let task = &*narrowed(task);
        let params = TurnParams {
            prompt: blocks(task, Guards::Before, &|path| format!("file://{path}")),
            dir: display(&task.dir),
            answers: Answers::of(task),
            servers: task.mcp.clone(),
            // In a process that has the session still: in no other way it goes on.
            resume: task.resume.clone(),
            is_command: task.interpret && begins_like_a_command(&task.prompt),
            ..TurnParams::default()
        };
        Box::new(AcpTurn::new(Box::new(dialogue::GeminiQuirks::new(task)), params))
    }

    fn keeps(&self, task: &Task) -> Option<Keeping> {
        if task.interpret && begins_like_a_command(&task.prompt) {
            return None;
        }
        let task = Keeping::of_all_turns(task);
        // It counts the turns of a session, whoever asks for them.
        let going_on = if task.max_turns.is_some() { GoingOn::Never } else { GoingOn::Possible };
        let agent = Box::new(dialogue::GeminiQuirks::new(&task));
        Some(Keeping {
            shape: format!("{:?} {:?}", self.launch(&task).ok()?, task.mcp),
            is_shared: true,
            mux: Box::new(AcpMux::new(agent, going_on, Offers::Nothing, None)),
        })
    }

    fn rehearsal(&self, task: &Task) -> Vec<String> {
        let model = task.model.as_deref().unwrap_or("auto");
        let session = json!({"sessionId": "<sessionId>", "models": {"currentModelId": model}});
        let answer =
            |id: u64, result: Value| json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
        let abilities =
            json!({"promptCapabilities": {"image": true}, "mcpCapabilities": {"http": true, "sse": true}});
        let about = json!({"protocolVersion": 1, "agentCapabilities": abilities});
        vec![answer(1, about), answer(2, session)]
    }
}

fn args(task: &Task) -> Result<Vec<String>, Error> {
    let mut args = vec!["--acp".to_owned()];
    // In one word, so that no value can be a flag.
    args.extend(task.model.iter().map(|model| format!("--model={model}")));
    // Where gemini does not trust the folder it takes none of these, and asks: see `Answers`.
    let mode = match task.approval {
        Approval::Default => None,
        Approval::Auto => Some("auto_edit"),
        Approval::None => Some("yolo"),
        Approval::Always => Some("default"),
    };
    args.extend(mode.map(|mode| format!("--approval-mode={mode}")));
    for dir in task.add_dirs.iter().map(|dir| display(dir)) {
        if dir.contains(',') || dir.trim() != dir {
            let problem = "gemini takes commas and blanks around a name for its own";
            return Err(Error::Invalid(format!("extra directory `{dir}` cannot be passed on: {problem}")));
        }
        args.push(format!("--include-directories={dir}"));
    }
    args.extend(task.extra.iter().cloned());
    Ok(args)
}

/// What is laid over the user's settings.
fn settings(task: &Task) -> Value {
    let mut settings = json!({
        // One attempt, whatever `vendor_retries` says: when a stream breaks off gemini sends what it had sent once more,
        // with no mark, and the answer would begin twice. Its ten attempts also take minutes to say "wrong key".
        "general": {"maxAttempts": 1},
        // Without its mark a tool's process could not be found and ended: gemini hides the environment in some surroundings.
        "security": {"environmentVariableRedaction": {"allowed": [MARKER, DEPTH]}},
    });
    if let Some(turns) = task.max_turns {
        settings["model"]["maxSessionTurns"] = json!(turns);
    }
    if let Some(tokens) = task.max_tokens {
        let limit = |model: &str| {
            let config = json!({"generateContentConfig": {"maxOutputTokens": tokens}});
            json!({"match": {"model": model}, "modelConfig": config})
        };
        // The model's own name too: what the user has set for that one would outrank what holds for all.
        let models = [EVERY_MODEL].into_iter().chain(task.model.as_deref());
        settings["modelConfigs"]["customOverrides"] = models.map(limit).collect();
    }
    if task.no_project_config {
        settings["security"]["folderTrust"]["enabled"] = json!(true);
        settings["advanced"]["ignoreLocalEnv"] = json!(true);
    }
    settings
}

/// The settings that were asked for by the task: a project's own must not silently outrank them.
fn firm(task: &Task) -> Vec<&'static str> {
    let turns = task.max_turns.map(|_| "/model/maxSessionTurns");
    let tokens = task.max_tokens.map(|_| "/modelConfigs/customOverrides");
    turns.into_iter().chain(tokens).collect()
}

fn display(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
