//! The table of keys: every key's name, type, default and help stand here and nowhere else. The structs that the rest
//! of the program reads are made from it.

use super::value::{AnswerAs, LauncherType, PromptBy, Protocol, Setting, StdinUse, SystemBy, Type, UsageOf};
use crate::base::collect::inserted;
use crate::model::error::Kind;
use crate::model::task::{Approval, OutputFormat, Sandbox, ToolUse};
use serde_json::Value;
use std::collections::BTreeMap;

/// The backends that need no declaration.
pub const BUILT_IN: &[&str] = &["claude", "codex", "gemini", "echo"];

/// One key of the configuration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Key {
    /// Its dotted name; `<name>` stands for a backend's, or an API key's.
    pub name: &'static str,
    /// What it takes.
    pub(crate) kind: Type,
    /// Its default, as `config set` would take it.
    pub(crate) default: &'static str,
    /// What it does, in one line.
    pub(crate) help: &'static str,
    /// Which backends have it.
    pub(crate) of: Of,
}

/// Which backends have a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Every backend; also the keys that are no backend's.
    All,
    /// The backends that the file declares.
    Declared,
    /// `echo` alone.
    Echo,
}

impl Key {
    /// The section in which every name has this key, where there is one: `backends`, `server.keys`, or `pool`.
    pub(super) fn section(&self) -> Option<&'static str> {
        self.name.find('<').map(|name| &self.name[..name - ".".len()])
    }

    /// Whether the backend of that name has this key.
    pub(crate) fn is_for(&self, backend: &str) -> bool {
        match self.of {
            Of::All => true,
            Of::Declared => !BUILT_IN.contains(&backend),
            Of::Echo => backend == "echo",
        }
    }

    pub(crate) fn default_value(&self) -> Value {
        self.kind.parse(self.default).expect("a test parses every default of the table")
    }
}

/// A struct that is read from an object which was checked against the table; what is missing gets its default.
pub(super) trait Section {
    fn read(node: &Value) -> Self;
}

impl Section for BTreeMap<String, BackendConfig> {
    fn read(node: &Value) -> Self {
        of_each_backend(node)
    }
}

impl Section for BTreeMap<String, PoolConfig> {
    fn read(node: &Value) -> Self {
        of_each_backend(node)
    }
}

fn of_each_backend<T: Section>(node: &Value) -> BTreeMap<String, T> {
    let declared = node.as_object().into_iter().flat_map(|backends| backends.keys().map(String::as_str));
    let names = BUILT_IN.iter().copied().chain(declared);
    inserted(names.map(|name| (name.to_owned(), T::read(&node[name]))))
}

impl Section for BTreeMap<String, KeyPolicy> {
    fn read(node: &Value) -> Self {
        let policies = node.as_object().into_iter().flatten();
        inserted(policies.map(|(name, policy)| (name.clone(), KeyPolicy::read(policy))))
    }
}

fn field<T: Setting>(node: &Value, name: &str, default: &str) -> T {
    let value = match node.get(name) {
        Some(value) => T::read(value),
        None => T::TYPE.parse(default).ok().and_then(|value| T::read(&value)),
    };
    value.expect("values are checked against the table, and a test parses every default")
}

/// The type, with the bounds that the table gives it.
const fn within(kind: Type, bounds: &[u64]) -> Type {
    match bounds {
        [min, max] => Type::Number { min: *min, max: *max },
        _ => kind,
    }
}

/// Makes a struct of each section and one list of all keys. A line is `field: type [min, max] = "default", "help";`,
/// or `+ field: section = "JSON pointer", "help";` for a section within a section.
macro_rules! table {
    ($(
        $(#[$doc:meta])*
        $section:ident $prefix:literal $of:ident {
            $($field:ident: $type:ty $([$min:expr, $max:expr])? = $default:literal, $help:literal;)*
            $(+ $part:ident: $part_type:ty = $pointer:literal, $part_help:literal;)*
        }
    )+) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq)]
            pub struct $section {
                $(#[doc = $help] pub $field: $type,)*
                $(#[doc = $part_help] pub $part: $part_type,)*
            }

            impl Section for $section {
                fn read(node: &Value) -> Self {
                    Self {
                        $($field: field(node, stringify!($field), $default),)*
                        $($part: Section::read(node.pointer($pointer).unwrap_or(&Value::Null)),)*
                    }
                }
            }

            impl Default for $section {
                fn default() -> Self {
                    Self::read(&Value::Null)
                }
            }
        )+

        /// Every key, in the order in which they are listed.
        pub static KEYS: &[Key] = &[$($(Key {
            name: concat!($prefix, stringify!($field)),
            kind: within(<$type as Setting>::TYPE, &[$($min, $max)?]),
            default: $default,
            help: $help,
            of: Of::$of,
        },)*)+];
    };
}

/// The longest time limit in seconds: a year. More would overflow the clock's arithmetic somewhere.
const YEAR: u64 = 31_536_000;
/// The longest pause of `echo` in milliseconds: an hour.
const HOUR_MS: u64 = 3_600_000;
/// More children than this at once is a typing error.
const MANY: u64 = 1024;
/// More of anything than this is one too.
const MILLION: u64 = 1_000_000;

table! {
    /// The whole configuration.
    Config "" All {
        default_backend: String = "claude", "the backend that is used when none is named";
        + unified_flags: UnifiedFlags = "/unified_flags", "How a task runs when nothing says otherwise.";
        + session: Session = "/session", "What is kept of a conversation.";
        + input: Input = "/input", "What a prompt is made of.";
        + output: Output = "/output", "What is printed.";
        + parallel: Parallel = "/parallel", "How `parallel` runs its tasks.";
        + client: Client = "/client", "How the command line uses a running server.";
        + server: Server = "/server", "How the HTTP server listens and what it refuses.";
        + backends: BTreeMap<String, BackendConfig> = "/backends", "The built-in backends and those that the file declares.";
        + pools: BTreeMap<String, PoolConfig> = "/pool", "Which children of each backend are kept.";
    }

    /// How a task runs when nothing says otherwise.
    UnifiedFlags "unified_flags." All {
        approval_mode: Approval = "default", "what happens when the agent wants to do something that needs a yes";
        sandbox_mode: Sandbox = "default", "what the agent's tools can reach";
        verbose: bool = "false", "say on standard error what is done";
        dry_run: bool = "false", "print what would be executed, and execute nothing";
        max_turns: u32 = "0", "most model turns in a run; 0 is no limit";
        max_tokens: u32 = "0", "most output tokens of one model answer; 0 is no limit";
        command_timeout_secs: u64 [0, YEAR] = "0", "longest time of a run; 0 is no limit";
        stall_timeout_secs: u64 [0, YEAR] = "0", "longest time without any output; 0 is no limit";
        first_byte_timeout_secs: u64 [0, YEAR] = "0", "longest time until the first of the answer; 0 is no limit";
        vendor_retries: u32 [0, 100] = "2", "how often a vendor's program may try again after a failed request";
        vendor_connect_secs: u64 [0, YEAR] = "30", "longest time until the vendor's model gives a sign of life; 0 is no limit";
        fallback: Vec<String> = "", "who is tried when a backend cannot answer for now: `backend` or `backend:model`";
        lenient: bool = "false", "drop an option that the backend cannot honour, with a warning";
    }

    /// What is kept of a conversation.
    Session "session." All {
        auto_resume: bool = "false", "let a new prompt continue the newest session of the working directory";
        retention_days: u32 [0, 36500] = "30", "how many days a session that is not used is kept; 0 is for ever";
        store_token_usage: bool = "true", "keep the numbers of tokens in the session";
        store_turns: bool = "true", "keep prompts and answers beside the session";
        replay_limit: usize = "100000", "most characters of a conversation that is handed to another backend";
        default_tags: Vec<String> = "", "tags that every new session gets";
    }

    /// What a prompt is made of.
    Input "input." All {
        stdin: StdinUse = "auto", "whether a prompt takes standard input without being asked to: auto, never";
    }

    /// What is printed.
    Output "output." All {
        format: OutputFormat = "text", "what a prompt prints";
        show_tokens: bool = "false", "print the numbers of tokens after the answer";
        show_timing: bool = "false", "print how long it took after the answer";
        color: bool = "true", "use colours on a terminal";
    }

    /// How `parallel` runs its tasks.
    Parallel "parallel." All {
        max_workers: usize [1, MANY] = "3", "most tasks at once";
        fail_fast: bool = "false", "stop everything after the first failure";
        aggregate_output: bool = "true", "print the answers, not only the table of results";
    }

    /// How the command line uses a running server.
    Client "client." All {
        server: String = "", "the server that runs what is asked for: http://HOST:PORT, unix:PATH, or `auto` for one of this user's own; empty is this process";
        idle_secs: u64 [1, YEAR] = "300", "how long the server that `auto` starts stays without runs and connections";
    }

    /// How the HTTP server listens and what it refuses.
    Server "server." All {
        host: String = "127.0.0.1", "the address to listen on";
        port: u16 = "8080", "the port to listen on; 0 takes a free one";
        request_timeout_secs: u64 [0, YEAR] = "300", "longest time of a run that is not streamed; 0 is no limit";
        stream_timeout_secs: u64 [0, YEAR] = "0", "longest time of a streamed run; 0 is no limit";
        stall_timeout_secs: u64 [0, YEAR] = "600", "longest silence of a run's program, whatever is asked; 0 is no limit";
        first_byte_timeout_secs: u64 [0, YEAR] = "120", "longest time until the first of the answer; 0 is no limit";
        read_timeout_secs: u64 [0, YEAR] = "30", "longest time to read a request; 0 is no limit";
        write_timeout_secs: u64 [0, YEAR] = "300", "longest time that a client takes to read; 0 is no limit";
        idle_timeout_secs: u64 [0, YEAR] = "120", "how long an idle connection is kept; 0 is no limit";
        drain_secs: u64 [0, YEAR] = "30", "how long runs may go on when the server has to stop";
        max_connections: usize [1, MILLION] = "1024", "most connections at once";
        max_connections_per_address: usize [0, MILLION] = "512", "most connections of one address; 0 is as many as of all";
        socket: String = "", "a Unix socket to listen on instead of host and port; empty is none";
        api_keys_file: String = "", "a file with an API key a line, readable by its owner only";
        api_keys_gopass_path: String = "", "where gopass keeps the API keys, one a line";
        rate_limit_enabled: bool = "false", "limit the requests of each client";
        rate_limit_rps: u32 [1, MILLION] = "10", "requests a second of one client";
        rate_limit_burst: u32 [1, MILLION] = "20", "requests of one client that may come at once";
        rate_limit_cleanup_secs: u64 [1, YEAR] = "180", "how long a silent client is remembered";
        trusted_proxies: Vec<String> = "", "addresses or networks whose X-Forwarded-For is believed";
        max_request_body_bytes: usize [1, u32::MAX as u64] = "33554432", "most bytes of a request's body";
        max_memory_bytes: usize [1 << 20, 1 << 50] = "268435456", "most bytes in memory of all that clients make the server keep: bodies, answers, results";
        cors_allowed_origins: Vec<String> = "", "web pages of other origins that may use the server";
        cors_allow_credentials: bool = "false", "let those pages send credentials";
        cors_max_age: u64 [0, YEAR] = "300", "how many seconds a browser may remember a preflight";
        max_runs: usize [1, MANY] = "16", "most runs at once";
        max_runs_per_backend: usize [0, MANY] = "0", "most runs of one backend at once; 0 is as many as of all";
        max_tasks: usize [1, MILLION] = "1000", "most tasks, steps or backends of one request";
        queue_length: usize [0, MILLION] = "16", "most requests that wait for their turn to run";
        queue_timeout_secs: u64 [0, YEAR] = "10", "longest time that a request waits for memory or for its turn to run";
        run_retention_secs: u64 [0, YEAR] = "600", "how long the result of a detached run is kept, unless newer ones need its room";
        allowed_backends: Option<Vec<String>> = "all", "the backends that requests may use";
        allowed_models: Option<Vec<String>> = "all", "the models that requests may use; `default` is for none named";
        max_approval_mode: Approval = "auto", "the strongest approval mode of a request: always, default, auto, none";
        max_sandbox_mode: Sandbox = "default", "the widest sandbox mode of a request: read-only, workspace, default, full";
        allowed_extra_flags: Option<Vec<String>> = "", "the flags that requests may pass on to a backend";
        default_workdir: String = "", "where a request works that names no directory; empty is where the server was started";
        allowed_workdir_prefixes: Vec<String> = "", "directories below which requests may work; empty is all";
        blocked_workdir_prefixes: Vec<String> = "", "directories below which no request may work";
        allowed_hosts: Vec<String> = "", "host names that a request may use besides the loopback ones";
        project_config: bool = "false", "let files in the working directory run code or change settings";
        allow_mcp: bool = "false", "let requests name MCP servers: programs that the agent then starts";
        metrics_enabled: bool = "false", "serve /metrics";
        metrics_public: bool = "false", "serve /metrics without an API key";
        log_commands: bool = "false", "log the command of each run, without its prompt";
        models: BTreeMap<String, String> = "", "what the models' names of compatible requests mean: `backend` or `backend/model`";
        strict_models: bool = "false", "refuse names of models that no backend knows";
        api_tools: ToolUse = "none", "the backend's tools in compatible requests: none, read-only, backend-default";
        reuse_secs: u64 [0, YEAR] = "600", "how long a compatible conversation is remembered; 0 is not at all";
        reuse_max: usize [0, MILLION] = "100", "most compatible conversations that are remembered";
        + keys: BTreeMap<String, KeyPolicy> = "/keys", "What the holder of an API key may do, by the key's name.";
    }

    /// What the holder of an API key may do: the stricter of this and what the server allows to all holds.
    KeyPolicy "server.keys.<name>." All {
        admin: bool = "false", "let it see and change what others made";
        allowed_backends: Option<Vec<String>> = "all", "the backends that it may use";
        allowed_models: Option<Vec<String>> = "all", "the models that it may use; `default` is for none named";
        max_approval_mode: Option<Approval> = "", "its strongest approval mode; empty is the server's";
        max_sandbox_mode: Option<Sandbox> = "", "its widest sandbox mode; empty is the server's";
        allowed_extra_flags: Option<Vec<String>> = "all", "the flags that it may pass on, of those of the server";
        allowed_workdir_prefixes: Vec<String> = "", "directories below which it may work; empty is all";
        allow_mcp: bool = "true", "let it name MCP servers, where the server lets requests";
        rate_limit_rps: u32 [0, MILLION] = "0", "its requests a second; 0 is as for others";
        rate_limit_burst: u32 [0, MILLION] = "0", "its requests that may come at once; 0 is as for others";
        max_runs: usize [0, MANY] = "0", "most runs of its own at once; 0 is no limit";
    }

    /// One backend.
    BackendConfig "backends.<name>." All {
        enabled: bool = "true", "`false` hides the backend and refuses it by name";
        program: String = "", "path or name of the executable; empty is the backend's own";
        model: String = "", "the model, or an alias of it; empty is the backend's default";
        models: BTreeMap<String, String> = "", "aliases of models: `fast`, `balanced`, `best` or any word";
        allowed_tools: Option<Vec<String>> = "all", "only these tools exist, and they need no approval";
        approval_mode: Option<Approval> = "", "overrides unified_flags.approval_mode for this backend; empty does not";
        sandbox_mode: Option<Sandbox> = "", "overrides unified_flags.sandbox_mode for this backend; empty does not";
        system_prompt: String = "", "replaces the backend's system prompt; empty keeps it";
        extra_flags: Vec<String> = "", "flags for the backend's own command line";
        mcp: String = "", "MCP servers whose tools the agent has, unless a run has its own: a file of them, or JSON";
        launcher: Vec<String> = "", "the command that starts the program, here or elsewhere, such as `ssh HOST`; empty is clinvk itself";
        launcher_type: Option<LauncherType> = "", "where it starts the program: local, exec (elsewhere, by words), shell (elsewhere, by a line); empty goes by its name";
        launcher_workdir: Vec<String> = "", "what directories are called there: `FROM:TO` each, or the place of every working directory alone";
        launcher_env: Vec<String> = "", "the names of environment variables that the program gets elsewhere, too";
        + declared: Declared = "", "What only a backend has that the file declares.";
        + echo: Echo = "", "What only `echo` has.";
    }

    /// How a program becomes a backend.
    Declared "backends.<name>." Declared {
        command: Vec<String> = "", "the program and its arguments, with {model} and {prompt} where these have a place of their own; required";
        protocol: Protocol = "command", "how it is talked to: command (prompt in, answer out), acp (the Agent Client Protocol)";
        prompt: PromptBy = "stdin", "how the program gets the prompt";
        prompt_separator: bool = "false", "put `--` before the prompt argument";
        output: AnswerAs = "text", "what the program prints";
        keep: bool = "false", "the program takes one prompt after the other, a line with a JSON string each, and outlives its runs; for output jsonl with fields.done";
        model_args: Vec<String> = "", "arguments that are added when there is a model, with {model}";
        system_args: Vec<String> = "", "arguments that are added when there is a system prompt, with {system}";
        resume_args: Vec<String> = "", "arguments that are added to continue a session, with {session}";
        env: BTreeMap<String, String> = "", "environment variables of the program";
        auth_method: String = "", "acp: the method of `authenticate` that is used first; empty is none";
        system_by: SystemBy = "prompt", "acp: how the agent gets a system prompt: prompt (in front of it), meta, session";
        usage: UsageOf = "turn", "acp: what the agent's numbers of tokens count: turn, total (sums of the session), none";
        failure_texts: Vec<String> = "", "acp: beginnings of answers that are failures";
        client_tools: bool = "false", "acp: let the agent read, write and run through clinvk, inside the working directory";
        locks_sessions: bool = "false", "acp: nothing else can go on with its sessions as long as its program lives: it is not kept";
        start_timeout_secs: u64 [0, YEAR] = "30", "acp: longest time until its first answer; 0 is no limit";
        + modes: Modes = "/modes", "The agent's modes for our words.";
        + fields: Fields = "/fields", "Where things stand in the lines of a `jsonl` program.";
    }

    /// The modes of an agent that speaks ACP, by id or name, that hold what our words ask for; empty where it has none.
    Modes "backends.<name>.modes." Declared {
        default: String = "", "acp: its mode in approval mode `default`; empty is the one that it begins in";
        auto: String = "", "acp: its mode in approval mode `auto`";
        none: String = "", "acp: its mode in approval mode `none`";
        always: String = "", "acp: its mode in which it asks before it changes anything";
        read_only: String = "", "acp: its mode in sandbox mode `read-only`";
    }

    /// Dotted paths into the lines of a `jsonl` program, such as `choices.0.text`; empty where there is none.
    Fields "backends.<name>.fields." Declared {
        text: String = "", "path to a piece of the answer";
        thinking: String = "", "path to a piece of the model's thinking";
        session: String = "", "path to the program's session id";
        model: String = "", "path to the model's name";
        input_tokens: String = "", "path to the number of input tokens";
        output_tokens: String = "", "path to the number of output tokens";
        error: String = "", "path to the message of a failure";
        done: String = "", "path to what says, in the last line, that the answer is complete";
    }

    /// How `echo` misbehaves, for tests of whatever uses clinvk.
    Echo "backends.<name>." Echo {
        delay_ms: u64 [0, HOUR_MS] = "0", "milliseconds between words";
        fail: Option<Kind> = "", "the kind of failure to end with, before the first word";
        exit_code: u8 = "0", "the exit code to end with, after the last word";
        flood_bytes: u64 = "0", "bytes of text to print besides";
        hang: bool = "false", "never end";
        stderr: String = "", "a text for standard error";
    }

    /// Which children of a backend outlive their run, and for how long.
    PoolConfig "pool.<name>." All {
        max: usize [0, MANY] = "4", "most kept children; 0 keeps none";
        min_idle: usize [0, MANY] = "0", "how many that wait for a run are there at any time, never more than `max`";
        idle_secs: u64 [0, YEAR] = "300", "longest time that one waits for its next run; 0 is no limit";
        max_turns: u32 = "100", "most turns of one; 0 is no limit";
        max_rss_mb: u64 [0, MILLION] = "1024", "most MiB of memory of one and the processes below it; 0 is no limit";
        max_age_secs: u64 [0, YEAR] = "3600", "longest life of one; 0 is no limit";
        per_process: usize [1, MANY] = "8", "most conversations of one at once, where its protocol can hold several";
    }
}
