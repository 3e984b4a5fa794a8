//! From the first answer to the prompt: the agent is logged in to, opens a session or goes on with one, and is asked for the
//! task's model, mode and effort.

use super::{AcpTurn, Stage};
use crate::backend::acp::choices::{Choice, ChoiceRequest, Choices, How};
use crate::backend::acp::handshake::{Abilities, authentication};
use crate::backend::jsonrpc::METHOD_NOT_FOUND;
use crate::backend::{Step, Steps};
use crate::base::json::{Value, json};
use crate::config::SystemBy;
use crate::model::error::{Failure, Kind};
use crate::model::event::Event;
use crate::model::mcp::{McpServer, Transport};

impl AcpTurn {
    pub(super) fn initialized(&mut self, result: &Value, steps: &mut Steps) {
        if let Err(failure) = self.agent.greeted(&result["agentInfo"]) {
            return self.finish(Err(failure), steps);
        }
        self.abilities = Abilities::of(result);
        match self.params.auth_method.take() {
            Some(method) => self.ask(Stage::Authenticate, "authenticate", authentication(&method), steps),
            None => self.open(steps),
        }
    }

    /// Opens a session, or goes on with one.
    pub(super) fn open(&mut self, steps: &mut Steps) {
        for lack in self.lacks() {
            if !self.params.lenient {
                return self.fail(Failure::new(Kind::InvalidRequest, lack), steps);
            }
            steps.push(Step::warning(lack));
        }
        let method = match (&self.params.resume, self.abilities.going_on()) {
            (None, _) => "session/new",
            (Some(_), Some(method)) => method,
            (Some(_), None) => {
                let sentence = format!("{} does not go on with sessions", self.agent.name());
                return self.fail(Failure::new(Kind::SessionNotResumable, sentence), steps);
            }
        };
        let mut servers = std::mem::take(&mut self.params.servers);
        servers.retain(|server| self.abilities.reaches(server));
        let mut params = std::mem::take(&mut self.params.session);
        params["cwd"] = self.params.dir.as_str().into();
        params["mcpServers"] = servers.iter().map(server_entry).collect();
        if !self.params.add_dirs.is_empty() && self.abilities.has("additionalDirectories") {
            params["additionalDirectories"] = json!(self.params.add_dirs);
        }
        if let Some(session) = &self.params.resume {
            params["sessionId"] = session.as_str().into();
        }
        let line = self.request(Stage::Open(method), method, params);
        steps.push(if servers.is_empty() { Step::Send(line) } else { Step::unlogged(line) });
        self.limit(steps);
    }

    /// What the task needs and the agent does not have, by its own word. What is lenient goes on without.
    fn lacks(&mut self) -> Vec<String> {
        let name = self.agent.name().to_owned();
        let (params, abilities) = (&mut self.params, &self.abilities);
        let mut lacks = Vec::new();
        let has_pictures = params.prompt.iter().any(|block| block["type"] == "image");
        if has_pictures && !abilities.takes_images() {
            params.prompt.retain(|block| block["type"] != "image");
            lacks.push(format!("{name} takes no images"));
        }
        if !params.add_dirs.is_empty() && !abilities.has("additionalDirectories") {
            lacks.push(format!("{name} takes no extra directories"));
        }
        if params.system_by == Some(SystemBy::Session) && !abilities.has("systemPrompt") {
            lacks.push(format!(
                "{name} takes no system prompt when it opens a session: `system_by` of its backend is `session`"
            ));
        }
        for server in params.servers.iter().filter(|server| !abilities.reaches(server)) {
            let way =
                if matches!(server.transport, Transport::Sse { .. }) { "server-sent events" } else { "HTTP" };
            lacks.push(format!("{name} reaches no MCP servers by {way}, which `{}` needs", server.name));
        }
        lacks
    }

    pub(super) fn opened(&mut self, result: &Value, steps: &mut Steps) {
        // The answer to `session/load` names none.
        let session = self.params.resume.take().or_else(|| result["sessionId"].as_str().map(str::to_owned));
        let Some(session) = session else {
            let sentence = format!("{} opened a session without an id", self.agent.name());
            return self.fail(Failure::new(Kind::Unreadable, sentence), steps);
        };
        self.session = session;
        self.choices = Choices::of(result);
        self.choose(steps);
    }

    /// Makes the next choice that there is to make, and sends the prompt when there is none left.
    fn choose(&mut self, steps: &mut Steps) {
        while let Some((choice, wanted)) = self.params.choices.pop_front() {
            let (word, name) = (choice.word(), self.agent.name());
            let lack = match self.choices.how(choice, &wanted) {
                How::Already => {
                    self.choices.keep(choice);
                    continue;
                }
                How::None => format!("{name} has no choice of its {word}"),
                How::Unlisted => {
                    format!("{name} has no {word} `{wanted}`: there are {}", self.choices.names(choice))
                }
                How::By(request) => return self.ask_for(choice, request, steps),
            };
            // Without a mode that was asked for the agent may do what it was not meant to.
            if choice == Choice::Mode {
                return self.fail(Failure::new(Kind::Config, lack), steps);
            }
            if !self.params.lenient {
                return self.fail(Failure::new(Kind::InvalidRequest, lack), steps);
            }
            steps.push(Step::warning(lack));
        }
        self.prompt(steps);
    }

    fn ask_for(&mut self, choice: Choice, request: ChoiceRequest, steps: &mut Steps) {
        let (method, mut params) = (request.method, request.params.clone());
        params["sessionId"] = self.session.as_str().into();
        self.choices.asked();
        self.ask(Stage::Choose(choice, request), method, params, steps);
    }

    pub(super) fn chosen(
        &mut self,
        choice: Choice,
        request: &ChoiceRequest,
        result: &Value,
        steps: &mut Steps,
    ) {
        if let Err(other) = self.choices.made(choice, request, result) {
            let (name, word) = (self.agent.name(), choice.word());
            let ChoiceRequest { method, value, .. } = request;
            let sentence = format!("{name} took `{other}` for its {word}, not `{value}`: {method}");
            return self.fail(Failure::new(Kind::Config, sentence), steps);
        }
        self.choose(steps);
    }

    /// The agent refuses a choice. A model may be chosen in another way.
    pub(super) fn not_chosen(
        &mut self,
        choice: Choice,
        request: &ChoiceRequest,
        error: &Value,
        steps: &mut Steps,
    ) {
        let is_unknown = error["code"] == METHOD_NOT_FOUND;
        let other = request.other_way().filter(|_| choice == Choice::Model && is_unknown);
        if let Some(request) = other {
            return self.ask_for(choice, request, steps);
        }
        let (name, word) = (self.agent.name(), choice.word());
        let why = match self.choices.names(choice) {
            names if names.is_empty() => self.agent.failed(error).message,
            names => format!("{}: there are {names}", self.agent.failed(error).message),
        };
        let failure = match choice {
            Choice::Model if is_unknown => Failure::new(
                Kind::InvalidRequest,
                format!("{name} has no choice of its model: `model_args` of its backend may give it one"),
            ),
            Choice::Model => Failure::new(Kind::UnknownModel, why),
            Choice::Mode | Choice::Effort => {
                let sentence = format!("{name} does not take {word} `{}`: {why}", request.value);
                Failure::new(Kind::Config, sentence)
            }
        };
        self.fail(failure, steps);
    }

    fn prompt(&mut self, steps: &mut Steps) {
        // Only a session that can be continued is one to keep.
        let session = self.abilities.going_on().map(|_| self.session.clone());
        let model = self.choices.model().map(str::to_owned);
        steps.push(Step::Event(Event::Started { model, session }));
        let mut params = json!({"sessionId": self.session});
        params["prompt"] = std::mem::take(&mut self.params.prompt).into();
        let line = self.request(Stage::Prompt, "session/prompt", params);
        steps.push(Step::Send(line));
        steps.push(Step::Asked);
    }
}

/// A server as the protocol has it: variables and headers are lists of pairs.
fn server_entry(server: &McpServer) -> Value {
    let pairs = |pairs: &[(String, String)]| -> Vec<Value> {
        pairs.iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
    };
    let name = &server.name;
    match &server.transport {
        Transport::Stdio { command, args, env } => {
            json!({"name": name, "command": command, "args": args, "env": pairs(env)})
        }
        Transport::Http { url, headers } => {
            json!({"type": "http", "name": name, "url": url, "headers": pairs(headers)})
        }
        Transport::Sse { url, headers } => {
            json!({"type": "sse", "name": name, "url": url, "headers": pairs(headers)})
        }
    }
}
