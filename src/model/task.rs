//! What is asked of a backend: one prompt and every option that all backends share.

use crate::base::words::words;
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
    /// Flags for the backend's own command line, each on the backend's allow-list.
    pub extra: Vec<String>,
    /// Let the backend interpret the prompt: slash commands, `@file`, `$skill`.
    pub interpret: bool,
    /// Ignore the files in `dir` that run code or change settings: hooks, `.mcp.json`, `.env`.
    pub no_project_config: bool,
    /// The session to continue; none begins a new one, unless `ephemeral`.
    pub session: Option<Continue>,
    /// Tags of the session that is begun.
    pub tags: Vec<String>,
    /// What its makers want to keep with the session that is begun.
    pub metadata: Map<String, Value>,
    /// The API key's name to which the session that is begun belongs.
    pub owner: Option<String>,
    /// No listing shows the session that is begun.
    pub hidden: bool,
    /// Environment variables for the backend, such as the trace that it belongs to.
    pub env: Vec<(String, String)>,
    /// Environment variables that the backend must not inherit.
    pub unset: Vec<String>,
    /// The backend's own id of the session to continue: the engine's, from `session`.
    pub resume: Option<String>,
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
    pub id: String,
    /// How long it is waited for while another run holds it: zero not at all, none for ever.
    pub wait_limit: Option<Duration>,
    /// Start a new session of the vendor's from the stored turns.
    pub replay: bool,
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
    pub fn from_base64(text: &str) -> Result<Image, String> {
        let data = from_base64(text).ok_or("the picture is not valid base64")?;
        Image::recognise(data).ok_or("no picture that backends take: PNG, JPEG, GIF or WebP".to_owned())
    }

    /// The bytes in base64, as all three vendors want them.
    pub fn base64(&self) -> String {
        to_base64(&self.data)
    }
}

/// The alphabet of base64 (RFC 4648 section 4).
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Bytes as padded base64.
pub fn to_base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().fold(0u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        for position in 0..4 {
            let six_bits = (group >> (18 - 6 * position)) as usize & 63;
            out.push(if position > chunk.len() { '=' } else { char::from(BASE64[six_bits]) });
        }
    }
    out
}

/// The bytes of a padded base64 text. Nothing is forgiven: no blank, no missing padding, no bits that say nothing.
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    if text.len() % 4 != 0 || padding > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for chunk in digits.as_bytes().chunks(4) {
        let mut group = 0;
        for digit in chunk {
            group = group << 6 | value_of_digit(*digit)?;
        }
        // As if the padding were zeros: of 24 bits the first 8, 16 or 24 are bytes.
        let whole = (group << (6 * (4 - chunk.len()))).to_be_bytes();
        let (said, rest) = whole[1..].split_at(chunk.len() - 1);
        if rest.iter().any(|byte| *byte != 0) {
            return None;
        }
        bytes.extend_from_slice(said);
    }
    Some(bytes)
}

fn value_of_digit(digit: u8) -> Option<u32> {
    let (first, zero) = match digit {
        b'A'..=b'Z' => (b'A', 0),
        b'a'..=b'z' => (b'a', 26),
        b'0'..=b'9' => (b'0', 52),
        b'+' => (b'+', 62),
        b'/' => (b'/', 63),
        _ => return None,
    };
    Some(u32::from(digit - first) + zero)
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
    /// Which tools of its own a backend has in a task: a bound besides all other options. Unlike those it is no wish that
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
    pub fn option(self) -> TaskOption {
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
            TaskOption::Extra => !self.extra.is_empty(),
        }
    }

    /// Takes an option out of the task, for `lenient`.
    pub fn drop_option(&mut self, option: TaskOption) {
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
            TaskOption::Extra => self.extra.clear(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_comes_back_as_it_went() {
        for length in 0..70u8 {
            let data: Vec<u8> = (0..length).map(|byte| byte.wrapping_mul(151) ^ 0xa5).collect();
            let text = Image { mime: "image/png", data: data.clone().into() }.base64();
            assert_eq!(from_base64(&text), Some(data), "{text}");
        }
        // RFC 4648 section 10.
        for (text, bytes) in
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")]
        {
            assert_eq!(from_base64(text).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
    }

    #[test]
    fn base64_forgives_nothing() {
        for text in [
            "Z", "Zg", "Zg=", "Zg===", "Z===", "A===", "====", "=", "Zm9v=", "Zm9v====", "Zh==", "Zm9=",
            "Zm 9v", "Zm9v\n", "Zg==Zg==", "Z=g=", "Zm-_", "Zm9é", "Zm9v, ",
        ] {
            assert_eq!(from_base64(text), None, "{text:?}");
        }
    }
}
