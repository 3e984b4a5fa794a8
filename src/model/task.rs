//! What is asked of a backend: one prompt and every option that all backends share.

use crate::base::encoding;
use crate::base::words::words;
use crate::model::mcp::McpServer;
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// One prompt for one backend. Everything is resolved: paths are absolute, files are read, defaults are in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Task {
    /// The backend's name.
    pub backend: String,
    /// What is asked.
    pub prompt: Arc<str>,
    /// The model as the user named it (an alias or the vendor's own name); none is the backend's default.
    pub model: Option<String>,
    /// Where the backend works: absolute, canonical.
    pub dir: PathBuf,
    /// What happens when the agent wants to do something that needs a yes.
    pub approval: Approval,
    /// What the agent's tools can reach.
    pub sandbox: Sandbox,
    /// Replaces the backend's system prompt.
    pub system: Option<String>,
    /// Is added to the backend's system prompt.
    pub append_system: Option<String>,
    /// Most model turns in this run.
    pub max_turns: Option<u32>,
    /// Most output tokens of one model answer.
    pub max_tokens: Option<u32>,
    /// Only these tools exist, and they need no approval. None: all, by the approval mode.
    pub allowed_tools: Option<Vec<String>>,
    /// These tools do not exist.
    pub denied_tools: Vec<String>,
    pub tools: ToolUse,
    /// Directories that the agent may use besides its own: absolute, canonical.
    pub add_dirs: Vec<PathBuf>,
    /// The JSON schema that the answer has to follow.
    pub schema: Option<Value>,
    /// Pictures that go with the prompt.
    pub images: Vec<Image>,
    /// How hard the model thinks.
    pub effort: Option<Effort>,
    /// Leave no session behind, ours or the vendor's.
    pub ephemeral: bool,
    /// MCP servers whose tools the agent has in this run, besides those that it is configured with.
    pub mcp: Vec<McpServer>,
    /// Flags for the backend's own command line, each on the backend's allow-list.
    pub extra: Vec<String>,
    /// Let the backend interpret the prompt: slash commands, `@file`, `$skill`.
    pub interpret: bool,
    /// Ignore the files in `dir` that run code or change settings: hooks, `.mcp.json`, `.env`.
    pub no_project_config: bool,
    /// The name by which the session that is continued was asked for `model`, which its program told; empty is none.
    pub asked_model: Option<String>,
    /// The session to continue; none begins a new one, unless `ephemeral`.
    pub session: Option<Continue>,
    /// The id of the session that is begun; none draws one.
    pub begins: Option<String>,
    /// Tags of the session that is begun.
    pub tags: Vec<String>,
    /// What its makers want to keep with the session that is begun.
    pub metadata: Map<String, Value>,
    /// The API key's name to which the session that is begun belongs.
    pub owner: Option<String>,
    /// How many runs the client is inside of that asks for it.
    pub outer_runs: u32,
    /// No listing shows the session that is begun.
    pub hidden: bool,
    /// The variable that names the trace of this task, and its value. A program that has the tasks of several traces has none.
    pub trace: Option<(String, String)>,
    /// Environment variables for the backend.
    pub env: Vec<(String, String)>,
    /// Environment variables that the backend must not inherit.
    pub unset: Vec<String>,
    /// The backend's own id of the session to continue: the engine's, from `session`.
    pub resume: Option<String>,
    /// A person can be asked for permissions (`Listener::permission`).
    pub attended: bool,
    /// An option that the backend cannot honour is dropped with a warning, not refused.
    pub lenient: bool,
    /// How often a vendor's program may try again after a failed request.
    pub vendor_retries: u32,
    /// A directory for this run alone: `Launch::files` go there, and it is removed afterwards.
    pub scratch: PathBuf,
}

/// A session of ours that a task continues.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Continue {
    /// Its whole id.
    pub(crate) id: String,
    /// How long it is waited for while another run holds it: zero not at all, none for ever.
    pub(crate) wait_limit: Option<Duration>,
    /// Start a new session of the vendor's from the stored turns.
    pub(crate) replay: bool,
}

/// A picture, read and recognised.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// `image/png`, `image/jpeg`, `image/gif` or `image/webp`.
    pub mime: &'static str,
    /// The file's bytes.
    pub data: Arc<[u8]>,
}

impl Image {
    /// Recognises the four formats that the vendors take by their first bytes; `None` is any other file.
    pub fn recognise(data: Vec<u8>) -> Option<Image> {
        let mime = match data.as_slice() {
            [0x89, b'P', b'N', b'G', ..] => "image/png",
            [0xff, 0xd8, 0xff, ..] => "image/jpeg",
            [b'G', b'I', b'F', b'8', ..] => "image/gif",
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
            _ => return None,
        };
        Some(Image { mime, data: data.into() })
    }

    /// The same from base64.
    pub(crate) fn from_base64(text: &str) -> Result<Image, String> {
        let data = encoding::from_base64(text).ok_or("the picture is not valid base64")?;
        Image::recognise(data).ok_or("no picture that backends take: PNG, JPEG, GIF or WebP".to_owned())
    }

    /// The bytes in base64, as all three vendors want them.
    pub(crate) fn base64(&self) -> String {
        encoding::base64(&self.data)
    }
}

words! {
    /// What happens when the agent wants to do something that needs a yes.
    #[derive(Default)]
    Approval {
        /// The backend decides; what it would ask a person is refused, because no user is there.
        #[default]
        Default = "default",
        /// Edits are allowed, the rest is refused.
        Auto = "auto",
        /// Never ask: everything is allowed.
        None = "none",
        /// Always ask: without a person that is a no.
        Always = "always",
    }
}

words! {
    /// What the agent's tools can reach.
    #[derive(Default)]
    Sandbox {
        /// As the backend is configured.
        #[default]
        Default = "default",
        /// Read, not write.
        ReadOnly = "read-only",
        /// Write in the working directory and the extra ones only.
        Workspace = "workspace",
        /// Everything that the user can reach.
        Full = "full",
    }
}

words! {
    /// Which tools of its own a backend has in a task: a bound besides all other options. Unlike those it is no option that
    /// could be refused: a backend that knows no bounds of this kind goes as far as it can.
    #[derive(Default)]
    ToolUse {
        /// None: the model answers, and does nothing.
        None = "none",
        /// Those that change nothing.
        ReadOnly = "read-only",
        /// As the other options and the backend's own configuration say.
        #[default]
        AsConfigured = "backend-default",
    }
}

words! {
    /// How hard the model thinks.
    Effort {
        /// Little.
        Low = "low",
        /// As usual.
        Medium = "medium",
        /// Much.
        High = "high",
        /// More than that.
        Xhigh = "xhigh",
        /// As hard as most models can.
        Max = "max",
        /// The hardest, where a vendor has more than `max`.
        Ultra = "ultra",
    }
}

impl Effort {
    /// The option that a backend has to honour for it: some vendors have no `ultra`.
    pub(crate) fn option(self) -> TaskOption {
        if self == Effort::Ultra { TaskOption::EffortUltra } else { TaskOption::Effort }
    }
}

words! {
    /// What is printed.
    OutputFormat {
        /// The answer as it comes.
        Text = "text",
        /// One object at the end.
        Json = "json",
        /// Unified events, one a line.
        StreamJson = "stream-json",
    }
}

words! {
    /// The options of a task that a backend may be unable to honour, as they stand in tables and messages.
    TaskOption {
        /// `model`
        Model = "model",
        /// `system`
        System = "system prompt",
        /// `append_system`
        AppendSystem = "appended system prompt",
        /// `max_turns`
        MaxTurns = "max turns",
        /// `max_tokens`
        MaxTokens = "max tokens",
        /// `approval` auto
        ApprovalAuto = "approval auto",
        /// `approval` none
        ApprovalNone = "approval none",
        /// `approval` always
        ApprovalAlways = "approval always",
        /// `sandbox` read-only
        SandboxReadOnly = "sandbox read-only",
        /// `sandbox` workspace
        SandboxWorkspace = "sandbox workspace",
        /// `sandbox` full
        SandboxFull = "sandbox full",
        /// `allowed_tools`
        AllowedTools = "allowed tools",
        /// `denied_tools`
        DeniedTools = "denied tools",
        /// `add_dirs`
        AddDirs = "extra directories",
        /// `schema`
        Schema = "json schema",
        /// `images`
        Images = "images",
        /// `effort`
        Effort = "effort",
        /// `effort` ultra
        EffortUltra = "effort ultra",
        /// `ephemeral`
        Ephemeral = "ephemeral",
        /// `resume`
        Resume = "resume",
        /// `interpret`
        Interpret = "interpret",
        /// `no_project_config`
        NoProjectConfig = "no project config",
        /// `mcp`
        Mcp = "mcp servers",
        /// `extra`
        Extra = "extra flags",
    }
}

impl Task {
    /// The options that this task really uses: those a backend has to honour or refuse.
    pub fn used(&self) -> Vec<TaskOption> {
        TaskOption::ALL.iter().copied().filter(|option| self.uses(*option)).collect()
    }

    fn uses(&self, option: TaskOption) -> bool {
        match option {
            TaskOption::Model => self.model.is_some(),
            TaskOption::System => self.system.is_some(),
            TaskOption::AppendSystem => self.append_system.is_some(),
            TaskOption::MaxTurns => self.max_turns.is_some(),
            TaskOption::MaxTokens => self.max_tokens.is_some(),
            TaskOption::ApprovalAuto => self.approval == Approval::Auto,
            TaskOption::ApprovalNone => self.approval == Approval::None,
            TaskOption::ApprovalAlways => self.approval == Approval::Always,
            TaskOption::SandboxReadOnly => self.sandbox == Sandbox::ReadOnly,
            TaskOption::SandboxWorkspace => self.sandbox == Sandbox::Workspace,
            TaskOption::SandboxFull => self.sandbox == Sandbox::Full,
            TaskOption::AllowedTools => self.allowed_tools.is_some(),
            TaskOption::DeniedTools => !self.denied_tools.is_empty(),
            TaskOption::AddDirs => !self.add_dirs.is_empty(),
            TaskOption::Schema => self.schema.is_some(),
            TaskOption::Images => !self.images.is_empty(),
            TaskOption::Effort | TaskOption::EffortUltra => {
                self.effort.is_some_and(|effort| effort.option() == option)
            }
            TaskOption::Ephemeral => self.ephemeral,
            TaskOption::Resume => self.resume.is_some(),
            TaskOption::Interpret => self.interpret,
            TaskOption::NoProjectConfig => self.no_project_config,
            TaskOption::Mcp => !self.mcp.is_empty(),
            TaskOption::Extra => !self.extra.is_empty(),
        }
    }

    /// Takes an option out of the task, for `lenient`.
    pub(crate) fn drop_option(&mut self, option: TaskOption) {
        match option {
            TaskOption::Model => self.model = None,
            TaskOption::System => self.system = None,
            TaskOption::AppendSystem => self.append_system = None,
            TaskOption::MaxTurns => self.max_turns = None,
            TaskOption::MaxTokens => self.max_tokens = None,
            TaskOption::ApprovalAuto | TaskOption::ApprovalNone | TaskOption::ApprovalAlways => {
                self.approval = Approval::Default
            }
            TaskOption::SandboxReadOnly | TaskOption::SandboxWorkspace | TaskOption::SandboxFull => {
                self.sandbox = Sandbox::Default
            }
            TaskOption::AllowedTools => self.allowed_tools = None,
            TaskOption::DeniedTools => self.denied_tools.clear(),
            TaskOption::AddDirs => self.add_dirs.clear(),
            TaskOption::Schema => self.schema = None,
            TaskOption::Images => self.images.clear(),
            TaskOption::Effort | TaskOption::EffortUltra => self.effort = None,
            TaskOption::Ephemeral => self.ephemeral = false,
            TaskOption::Resume => self.resume = None,
            TaskOption::Interpret => self.interpret = false,
            TaskOption::NoProjectConfig => self.no_project_config = false,
            TaskOption::Mcp => self.mcp.clear(),
            TaskOption::Extra => self.extra.clear(),
        }
    }
}
