//! Claude Code: `claude -p` with stream-json in and out. Measured on 2.1.197: ../shared/real-clis.md section 2 and the
//! recorded dialogues in tests/data/claude.

use super::reader::Reader;
use super::{
    Backend, Dialogue, Ended, Keeps, Launch, Step, Steps, StopSignal, narrowed, older, text, truncated,
};
use crate::model::error::{Error, Failure, Kind, words_of_stderr};
use crate::model::event::{Event, Usage};
use crate::model::task::{Approval, Opt, Sandbox, Task};
use serde_json::{Value, json};

/// The oldest version that all of this was seen to work with: 2.1.100 drops a system prompt without a word.
const OLDEST: &str = "2.1.150";

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

    fn honours(&self, option: Opt) -> Result<(), &'static str> {
        match option {
            Opt::SandboxWorkspace => {
                Err("claude has no sandbox: use `read-only`, or approval modes and tool lists")
            }
            Opt::EffortUltra => Err("claude's hardest is `max`"),
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

    fn keeps(&self) -> Option<Keeps> {
        Some(Keeps { delete: &[], variable: "CLAUDE_CONFIG_DIR", home: ".claude", folder: "projects" })
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
        if let Some(patterns) = &task.allowed_tools {
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
        args.extend(task.ephemeral.then(|| "--no-session-persistence".to_owned()));
        args.extend(task.extra.iter().cloned());
        let mut env = vec![("CLAUDE_CODE_MAX_RETRIES".to_owned(), task.vendor_retries.to_string())];
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
            model_is_remote: true,
            ..Launch::default()
        })
    }

    fn dialogue(&self, task: &Task) -> Box<dyn Dialogue> {
        let task = &*narrowed(task);
        Box::new(Turn {
            reader: Reader::new("claude"),
            opening: opening(task),
            approval: task.approval,
            restricted: task.allowed_tools.is_some() || task.sandbox == Sandbox::ReadOnly,
            asked_session: task.resume.clone(),
            wants_schema: task.schema.is_some(),
            max_tokens: task.max_tokens,
            cut: false,
            told: String::new(),
            told_any: false,
            used_tools: false,
            new_message: false,
            refused: false,
        })
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

/// What is said at the start: system prompts and schema by the protocol (they may be long, and are nobody's business in
/// `ps`), then the prompt.
fn opening(task: &Task) -> Vec<String> {
    let mut request = json!({"subtype": "initialize"});
    if let Some(system) = &task.system {
        request["systemPrompt"] = json!([system]);
    }
    if let Some(system) = &task.append_system {
        request["appendSystemPrompt"] = json!(system);
    }
    if let Some(schema) = &task.schema {
        request["jsonSchema"] = schema.clone();
    }
    let mut content: Vec<Value> = task
        .images
        .iter()
        .map(|image| {
            let source = json!({"type": "base64", "media_type": image.mime, "data": image.base64()});
            json!({"type": "image", "source": source})
        })
        .collect();
    content.push(json!({"type": "text", "text": task.prompt}));
    if task.prompt.starts_with('/') && !task.interpret {
        // Only the last block is taken for a slash command, so a blank one behind keeps the prompt as it is.
        content.push(json!({"type": "text", "text": " "}));
    }
    let has_settings = request.as_object().is_some_and(|request| request.len() > 1);
    let initialize = json!({"type": "control_request", "request_id": "initialize", "request": request});
    let user = json!({"type": "user", "message": {"role": "user", "content": content}});
    has_settings.then(|| initialize.to_string()).into_iter().chain([user.to_string()]).collect()
}

/// One turn of a conversation.
struct Turn {
    reader: Reader,
    opening: Vec<String>,
    approval: Approval,
    /// Only listed tools exist: what asks nevertheless is not on the list.
    restricted: bool,
    asked_session: Option<String>,
    wants_schema: bool,
    /// The limit that was asked for.
    max_tokens: Option<u32>,
    /// It was reached.
    cut: bool,
    /// Text of the current message that was told and not yet confirmed by a whole message: claude streams a message, then
    /// sends it whole; after a cut only the whole one comes, and its missing part has to be told.
    told: String,
    told_any: bool,
    /// The agent did something: then it may end without a word.
    used_tools: bool,
    /// The next text belongs to another message than the last.
    new_message: bool,
    /// The model refused: `stop_reason` says so, in an answer that is a success otherwise.
    refused: bool,
}

impl Dialogue for Turn {
    fn start(&mut self, steps: &mut Steps) {
        steps.extend(std::mem::take(&mut self.opening).into_iter().map(Step::Send));
    }

    fn line(&mut self, line: &str, steps: &mut Steps) {
        let Some(message) = self.reader.read(line, steps) else { return };
        let of_subagent = !message["parent_tool_use_id"].is_null();
        match text(&message["type"]) {
            "system" => self.system(&message, steps),
            "stream_event" if !of_subagent => self.stream_event(&message["event"], steps),
            "assistant" => self.assistant(&message, of_subagent, steps),
            "user" => tool_results(&message["message"]["content"], steps),
            "control_request" => self.question(&message, steps),
            "control_response" => refused_settings(&message["response"], steps),
            "result" => self.result(&message, steps),
            _ => {}
        }
    }

    fn interrupt(&mut self, steps: &mut Steps) {
        let request = json!({"type": "control_request", "request_id": "interrupt", "request": {"subtype": "interrupt"}});
        steps.push(Step::Send(request.to_string()));
    }

    fn eof(&mut self, ended: &Ended, steps: &mut Steps) {
        let kind = kind_of_words(&ended.stderr).unwrap_or(Kind::Crash);
        steps.push(Step::Finished(Err(Failure::new(kind, words_of_stderr(ended)))));
    }
}

impl Turn {
    fn system(&mut self, message: &Value, steps: &mut Steps) {
        match text(&message["subtype"]) {
            "init" => {
                let version = text(&message["claude_code_version"]);
                if older(version, OLDEST) {
                    let sentence = format!("claude {version} is too old: clinvk needs {OLDEST} or newer");
                    steps.push(Step::Finished(Err(Failure::new(Kind::NotInstalled, sentence))));
                    return;
                }
                let session = string(&message["session_id"]);
                if self.asked_session.is_some() && self.asked_session != session {
                    let sentence =
                        format!("claude answered with another session than the one asked for: {session:?}");
                    steps.push(Step::Finished(Err(Failure::new(Kind::SessionNotFound, sentence))));
                    return;
                }
                steps.push(Step::Event(Event::Started { model: string(&message["model"]), session }));
                steps.push(Step::Asked);
            }
            "api_retry" => {
                let sentence = format!(
                    "the vendor answered {} ({}): attempt {} of {}",
                    message["error_status"]
                        .as_u64()
                        .map_or("nothing".to_owned(), |status| status.to_string()),
                    text(&message["error"]),
                    message["attempt"],
                    message["max_retries"],
                );
                steps.push(Step::Event(Event::Progress { stage: "retry".to_owned(), message: sentence }));
            }
            _ => {}
        }
    }

    fn stream_event(&mut self, event: &Value, steps: &mut Steps) {
        match text(&event["type"]) {
            "message_start" => {
                steps.push(Step::Answering);
                self.new_message = self.told_any;
                self.told.clear();
            }
            "content_block_delta" => match text(&event["delta"]["type"]) {
                "text_delta" => self.tell(text(&event["delta"]["text"]), steps),
                "thinking_delta" => {
                    let thought = text(&event["delta"]["thinking"]).to_owned();
                    steps.push(Step::Event(Event::Thinking(thought)));
                }
                _ => {}
            },
            "message_delta" => match text(&event["delta"]["stop_reason"]) {
                "refusal" => self.refused = true,
                // Claude would go on by itself, three times more, and then call it a failure.
                "max_tokens" if self.max_tokens.is_some() && !self.cut => {
                    self.cut = true;
                    self.interrupt(steps);
                }
                _ => {}
            },
            _ => {}
        }
    }

    /// A whole message, block by block: what was streamed is confirmed, what was not is told now.
    fn assistant(&mut self, message: &Value, of_subagent: bool, steps: &mut Steps) {
        let message = &message["message"];
        // The vendor's own words for a failure: the result brings them again.
        if text(&message["model"]) == "<synthetic>" {
            return;
        }
        self.refused |= text(&message["stop_reason"]) == "refusal";
        for block in message["content"].as_array().into_iter().flatten() {
            match text(&block["type"]) {
                "text" if !of_subagent => {
                    let whole = text(&block["text"]);
                    let told = std::mem::take(&mut self.told);
                    match whole.strip_prefix(told.as_str()) {
                        Some(missing) => self.tell(missing, steps),
                        None => {
                            self.new_message = true;
                            self.tell(whole, steps);
                        }
                    }
                    self.told.clear();
                }
                "tool_use" => {
                    self.new_message = self.told_any;
                    self.used_tools = true;
                    steps.push(Step::Event(Event::ToolUse {
                        id: text(&block["id"]).to_owned(),
                        name: text(&block["name"]).to_owned(),
                        input: block["input"].clone(),
                    }));
                }
                _ => {}
            }
        }
    }

    fn tell(&mut self, piece: &str, steps: &mut Steps) {
        // With a schema the answer is the value at the end, and nothing else.
        if piece.is_empty() || self.wants_schema || self.cut {
            return;
        }
        let gap = if std::mem::take(&mut self.new_message) { "\n\n" } else { "" };
        steps.push(Step::Event(Event::Text(format!("{gap}{piece}"))));
        self.told.push_str(piece);
        self.told_any = true;
    }

    /// Claude asks: for a permission, which the approval mode answers, or for something that nobody can give.
    fn question(&mut self, message: &Value, steps: &mut Steps) {
        let (id, request) = (&message["request_id"], &message["request"]);
        let response = if text(&request["subtype"]) != "can_use_tool" {
            json!({"subtype": "error", "request_id": id, "error": "clinvk does not know this request"})
        } else if self.approval == Approval::None && !self.restricted {
            let answer = json!({"behavior": "allow", "updatedInput": request["input"]});
            json!({"subtype": "success", "request_id": id, "response": answer})
        } else {
            let tool = text(&request["tool_name"]);
            steps.push(Step::Event(Event::Progress {
                stage: "permission".to_owned(),
                message: format!("refused: {tool} {}", request["input"]),
            }));
            let sentence =
                "Permission denied: nobody is there to ask, and the approval mode does not allow it.";
            let answer = json!({"behavior": "deny", "message": sentence});
            json!({"subtype": "success", "request_id": id, "response": answer})
        };
        steps.push(Step::Send(json!({"type": "control_response", "response": response}).to_string()));
    }

    fn result(&mut self, message: &Value, steps: &mut Steps) {
        steps.push(Step::Event(Event::Usage(usage(message))));
        let words = text(&message["result"]);
        let failed = message["is_error"] != json!(false) || text(&message["subtype"]) != "success";
        let result = if self.cut && self.wants_schema {
            Err(Failure::new(
                Kind::TurnLimit,
                "the answer was cut at the limit of tokens before it was whole",
            ))
        } else if self.cut {
            steps.push(truncated(self.max_tokens));
            Ok(())
        } else if failed {
            Err(failure(message))
        } else if self.refused {
            Err(Failure::new(
                Kind::Refusal,
                if words.is_empty() { "the model refused to answer" } else { words },
            ))
        } else if self.wants_schema {
            self.wants_schema = false;
            match &message["structured_output"] {
                Value::Null => Err(Failure::new(
                    Kind::Unreadable,
                    format!("the answer does not follow the schema: {words}"),
                )),
                value => {
                    self.tell(&value.to_string(), steps);
                    Ok(())
                }
            }
        } else {
            // A command that claude handles by itself is not streamed.
            if !self.told_any {
                self.tell(words, steps);
            }
            match self.told_any || self.used_tools {
                true => Ok(()),
                false => Err(Failure::new(Kind::Unreadable, "the model answered nothing, and did nothing")),
            }
        };
        steps.push(Step::Finished(result));
    }
}

/// The tools' answers, which claude sends as a user's message.
fn tool_results(content: &Value, steps: &mut Steps) {
    for block in
        content.as_array().into_iter().flatten().filter(|block| text(&block["type"]) == "tool_result")
    {
        let output = match &block["content"] {
            Value::Array(parts) => parts.iter().map(|part| text(&part["text"])).collect(),
            other => text(other).to_owned(),
        };
        steps.push(Step::Event(Event::ToolResult {
            id: text(&block["tool_use_id"]).to_owned(),
            name: String::new(),
            output,
            is_error: block["is_error"] == json!(true),
        }));
    }
}

/// `initialize` was refused, e.g. a schema that is none: without it the run would not be the one asked for.
fn refused_settings(response: &Value, steps: &mut Steps) {
    if text(&response["subtype"]) == "error" && text(&response["request_id"]) == "initialize" {
        let sentence = format!("claude refuses its settings: {}", text(&response["error"]));
        steps.push(Step::Finished(Err(Failure::new(Kind::VendorFlag, sentence))));
    }
}

/// What the run used: `modelUsage` counts all models and is right even after a cut, when `usage` is all zero.
fn usage(message: &Value) -> Usage {
    let mut usage = Usage { cost: message["total_cost_usd"].as_f64(), ..Usage::default() };
    let mut add = |counts: &Value, [fresh, written, cached, output]: [&str; 4]| {
        let count = |name: &str| counts[name].as_u64().unwrap_or(0);
        usage.input += count(fresh) + count(written) + count(cached);
        usage.cached += count(cached);
        usage.output += count(output);
    };
    match message["modelUsage"].as_object().filter(|models| !models.is_empty()) {
        Some(models) => models.values().for_each(|counts| {
            add(counts, ["inputTokens", "cacheCreationInputTokens", "cacheReadInputTokens", "outputTokens"]);
        }),
        None => add(
            &message["usage"],
            ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens"],
        ),
    }
    usage
}

/// Why a turn failed: by its subtype, then the vendor's HTTP status, then its words.
fn failure(message: &Value) -> Failure {
    let errors =
        message["errors"].as_array().map(|errors| errors.iter().map(text).collect::<Vec<_>>().join("; "));
    let words = string(&message["result"]).filter(|words| !words.is_empty()).or(errors).unwrap_or_default();
    let status = message["api_error_status"].as_u64();
    let kind = match (text(&message["subtype"]), status) {
        ("error_max_turns" | "error_max_budget_usd", _) => Kind::TurnLimit,
        ("error_max_structured_output_retries", _) => Kind::Unreadable,
        (_, Some(401 | 403)) => Kind::Login,
        (_, Some(404)) => Kind::UnknownModel,
        (_, Some(429)) => Kind::Quota,
        (_, Some(413)) => Kind::ContextTooLong,
        (_, status) => kind_of_words(&words).unwrap_or(match status {
            Some(500..) => Kind::Overloaded,
            Some(400..) => Kind::InvalidRequest,
            _ => Kind::Crash,
        }),
    };
    let words = match (words.as_str(), kind) {
        ("", Kind::TurnLimit) => format!("the limit was used up ({})", text(&message["subtype"])),
        ("", _) => format!("claude ended with {}", text(&message["subtype"])),
        (words, _) => words.to_owned(),
    };
    Failure::new(kind, words)
}

/// What claude's own sentences mean, on standard error and in results alike.
fn kind_of_words(words: &str) -> Option<Kind> {
    const PATTERNS: &[(&str, Kind)] = &[
        ("No conversation found with session ID", Kind::SessionNotFound),
        ("does not match any session title", Kind::SessionNotFound),
        ("Not logged in", Kind::Login),
        ("Invalid API key", Kind::Login),
        ("/login", Kind::Login),
        ("Credit balance is too low", Kind::Quota),
        ("usage limit", Kind::Quota),
        ("rejected (429)", Kind::Quota),
        ("Overloaded", Kind::Overloaded),
        ("overloaded", Kind::Overloaded),
        ("Unable to connect", Kind::Unreachable),
        ("Prompt is too long", Kind::ContextTooLong),
        ("prompt is too long", Kind::ContextTooLong),
        ("issue with the selected model", Kind::UnknownModel),
        ("unknown option", Kind::VendorFlag),
        ("argument missing", Kind::VendorFlag),
        ("is invalid", Kind::VendorFlag),
    ];
    PATTERNS.iter().find(|(pattern, _)| words.contains(pattern)).map(|(_, kind)| *kind)
}

fn string(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}
