//! The codex backend: `codex app-server`, one child for one turn. How it is started stands here, and what is asked of it in
//! `plan`; the conversation is in `dialogue`, what its errors mean in `failure`. All of it was measured with codex 0.169.0, and
//! the whole dialogue also with `OLDEST`.

mod answer;
mod dialogue;
mod failure;
mod items;
mod mentions;
mod model;
mod mux;
mod plan;
mod provider;
mod questions;
mod schema;
mod usage;

use super::{Backend, Dialogue, Keeping, Launch, StopSignal, Traces, Vendor, VendorSessions, narrowed};
use crate::base::json::{Value, json};
use crate::model::error::Error;
use crate::model::mcp::Transport;
use crate::model::task::{Sandbox, Task, TaskOption};
use plan::{Access, Plan};

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
        schema["type"] == "object" && schema::is_strict(schema)
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
        Access::of(task.approval, task.sandbox).sandbox
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
