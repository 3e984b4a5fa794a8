//! What a client chooses for a session: the backend and its model, the mode, and how hard the model thinks. Clients look for
//! it in three places, of which the older ones (`models`, `modes`) say no more than the newest (`configOptions`).

use super::Agent;
use super::sessions::Open;
use crate::backend::Trust;
use crate::base::json::{Value, json};
use crate::base::sync::lock;
use crate::base::words::Worded;
use crate::config::agents;
use crate::engine::request::Request;
use crate::model::error::Error;
use crate::model::fields::Word;
use crate::model::task::{Approval, Effort, Sandbox};
use crate::session::Session;
use crate::stdio::Refusal;

/// What was chosen.
#[derive(Clone)]
pub(super) struct Chosen {
    backend: String,
    /// None is what the configuration says for the backend.
    model: Option<String>,
    /// None is what the flags and the configuration say.
    mode: Option<Mode>,
    effort: Option<Effort>,
}

/// What an agent may do, as clients choose it: an approval mode, or to read and change nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Approval(Approval),
    ReadOnly,
}

/// Every mode, with its name and what it means where a person can be asked.
const MODES: &[(Mode, &str, &str)] = &[
    (Mode::Approval(Approval::Default), "Default", "The backend decides what it asks about"),
    (Mode::Approval(Approval::Auto), "Accept edits", "Edits are allowed, the rest is asked about"),
    (Mode::Approval(Approval::Always), "Always ask", "Everything that needs a yes is asked about"),
    (Mode::Approval(Approval::None), "Never ask", "Everything is allowed, and nothing asked about"),
    (Mode::ReadOnly, "Read only", "The agent reads, and changes nothing"),
];

/// The backend's own effort.
const OWN_EFFORT: &str = "default";

impl Mode {
    fn word(self) -> &'static str {
        match self {
            Mode::Approval(approval) => approval.word(),
            Mode::ReadOnly => Sandbox::ReadOnly.word(),
        }
    }
}

impl Chosen {
    /// What a new session begins with.
    pub(super) fn of_defaults(agent: &Agent<'_>) -> Chosen {
        let backend = agent.defaults.backend.as_ref().unwrap_or(&agent.config.default_backend).clone();
        let effort = agent.defaults.effort.map(|Word(effort)| effort);
        Chosen { backend, model: agent.defaults.model.clone(), mode: None, effort }
    }

    /// What one that is continued goes on with.
    pub(super) fn of_session(agent: &Agent<'_>, session: &Session) -> Chosen {
        let (backend, model) = (session.backend.clone(), session.model.clone());
        Chosen { backend, model, ..Chosen::of_defaults(agent) }
    }

    /// What is asked for with that: the defaults with it laid over them.
    pub(super) fn request(&self, agent: &Agent<'_>) -> Request {
        let mut request = agent.defaults.clone();
        request.backend = Some(self.backend.clone());
        // A session would keep the model that it has.
        let model = self.model.as_ref().unwrap_or(&agent.config.backend(&self.backend).model);
        request.model = Some(model.clone());
        request.effort = self.effort.map(Word);
        match self.mode {
            Some(Mode::Approval(approval)) => request.approval_mode = Some(Word(approval)),
            Some(Mode::ReadOnly) => request.sandbox_mode = Some(Word(Sandbox::ReadOnly)),
            None => {}
        }
        request
    }

    /// The mode that holds, and whether another can be chosen: what the user has bound to reading stays so.
    fn mode(&self, agent: &Agent<'_>) -> (Mode, bool) {
        let request = &agent.defaults;
        if request.sandbox(agent.config, &self.backend) == Sandbox::ReadOnly {
            return (Mode::ReadOnly, false);
        }
        let own = Mode::Approval(request.approval(agent.config, &self.backend));
        (self.mode.unwrap_or(own), true)
    }

    /// The name of a model with its backend's.
    fn name(&self) -> String {
        match &self.model {
            Some(model) => format!("{}/{model}", self.backend),
            None => self.backend.clone(),
        }
    }
}

/// What can be chosen, as one of several.
struct Choice {
    value: String,
    name: String,
    description: String,
}

impl Open {
    /// Chooses the value of an option.
    pub(super) fn choose(&self, agent: &Agent<'_>, option: &str, value: &str) -> Result<(), Refusal> {
        let mut chosen = lock(&self.chosen);
        match option {
            "model" => {
                let (backend, model) = match value.split_once('/') {
                    Some((backend, model)) => (backend, Some(model.to_owned())),
                    None => (value, None),
                };
                if agent.engine.disabled.contains(backend) {
                    return Err(Error::Disabled { backend: backend.to_owned() }.into());
                }
                agent.engine.registry.get(backend)?;
                (chosen.backend, chosen.model) = (backend.to_owned(), model);
            }
            "mode" => {
                let modes = modes(agent, &chosen);
                let mode = modes.iter().find(|(mode, ..)| mode.word() == value);
                chosen.mode = Some(
                    mode.ok_or_else(|| unknown(option, value, modes.iter().map(|(mode, ..)| mode.word())))?.0,
                );
            }
            "effort" if value == OWN_EFFORT => chosen.effort = None,
            "effort" => {
                let known =
                    || unknown(option, value, [OWN_EFFORT].into_iter().chain(Effort::WORDS.iter().copied()));
                chosen.effort = Some(Effort::of_word(value).ok_or_else(known)?);
            }
            other => return Err(unknown("option", other, ["model", "mode", "effort"].into_iter())),
        }
        Ok(())
    }

    /// `configOptions`
    pub(super) fn options(&self, agent: &Agent<'_>) -> Value {
        let chosen = lock(&self.chosen);
        let models = models(agent, &chosen);
        let mode = chosen.mode(agent).0.word();
        let modes = modes(agent, &chosen).into_iter().map(|(mode, name, description)| Choice {
            value: mode.word().to_owned(),
            name: name.to_owned(),
            description: description.to_owned(),
        });
        let mut options = vec![
            select("model", "Model", "Who answers", "model", &chosen.name(), models),
            select("mode", "Mode", "What the agent may do", "mode", mode, modes.collect()),
        ];
        let efforts = efforts(agent, &chosen);
        if !efforts.is_empty() {
            let effort = chosen.effort.map_or(OWN_EFFORT, Effort::word);
            options.push(select(
                "effort",
                "Effort",
                "How hard the model thinks",
                "thought_level",
                effort,
                efforts,
            ));
        }
        json!(options)
    }

    /// `models`
    pub(super) fn models(&self, agent: &Agent<'_>) -> Value {
        let chosen = lock(&self.chosen);
        let model = |choice: &Choice| json!({"modelId": choice.value, "name": choice.name, "description": choice.description});
        let models: Vec<Value> = models(agent, &chosen).iter().map(model).collect();
        json!({"currentModelId": chosen.name(), "availableModels": models})
    }

    /// `modes`
    pub(super) fn modes(&self, agent: &Agent<'_>) -> Value {
        let chosen = lock(&self.chosen);
        let mode = |(mode, name, description): &(Mode, &str, &str)| json!({"id": mode.word(), "name": name, "description": description});
        let all: Vec<Value> = modes(agent, &chosen).iter().map(mode).collect();
        json!({"currentModeId": chosen.mode(agent).0.word(), "availableModes": all})
    }
}

fn modes(agent: &Agent<'_>, chosen: &Chosen) -> Vec<(Mode, &'static str, &'static str)> {
    let (own, is_free) = chosen.mode(agent);
    MODES.iter().filter(|(mode, ..)| is_free || *mode == own).copied().collect()
}

/// The backends that are there, known agents among them, each with its aliases, the one of the defaults first. What was chosen is among them.
fn models(agent: &Agent<'_>, chosen: &Chosen) -> Vec<Choice> {
    let own = Chosen::of_defaults(agent).backend;
    let mut names = agent.engine.registry.names();
    names.extend(agents::names().map(str::to_owned));
    // Those of the table that are configured too stand there twice.
    names.sort_by(|a, b| (*a != own, a).cmp(&(*b != own, b)));
    names.dedup();
    let mut found = Vec::new();
    for name in names {
        let Ok(backend) = agent.engine.registry.get(&name) else { continue };
        let is_meant = name == own || name == chosen.backend;
        if !is_meant && (!backend.answers() || agent.engine.locate(&*backend, Trust::All).is_none()) {
            continue;
        }
        found.push(Choice {
            value: name.clone(),
            name: name.clone(),
            description: "its own model".to_owned(),
        });
        for (alias, model) in backend.models() {
            let value = format!("{name}/{alias}");
            let description = if model.is_empty() { "its own model" } else { model };
            found.push(Choice { name: value.clone(), value, description: description.to_owned() });
        }
    }
    let value = chosen.name();
    if found.iter().all(|choice| choice.value != value) {
        found.push(Choice { name: value.clone(), value, description: String::new() });
    }
    found
}

/// None where the backend has no choice of it.
fn efforts(agent: &Agent<'_>, chosen: &Chosen) -> Vec<Choice> {
    let backend = agent.engine.registry.get(&chosen.backend);
    let takes =
        |effort: Effort| backend.as_ref().is_ok_and(|backend| backend.honours(effort.option()).is_ok());
    let words = Effort::ALL.iter().filter(|effort| takes(**effort)).map(|effort| effort.word());
    let mut words: Vec<&str> = words.collect();
    if !words.is_empty() {
        words.insert(0, OWN_EFFORT);
    }
    let choice =
        |word: &str| Choice { value: word.to_owned(), name: word.to_owned(), description: String::new() };
    words.into_iter().map(choice).collect()
}

fn select(
    id: &str,
    name: &str,
    description: &str,
    category: &str,
    current: &str,
    choices: Vec<Choice>,
) -> Value {
    let option = |choice: &Choice| {
        let mut option = json!({"value": choice.value, "name": choice.name});
        if !choice.description.is_empty() {
            option["description"] = json!(choice.description);
        }
        option
    };
    json!({
        "id": id,
        "name": name,
        "description": description,
        "category": category,
        "type": "select",
        "currentValue": current,
        "options": choices.iter().map(option).collect::<Vec<_>>(),
    })
}

fn unknown<'a>(what: &'a str, given: &str, known: impl Iterator<Item = &'a str>) -> Refusal {
    let known = known.collect::<Vec<_>>().join(", ");
    Refusal::bad_params(format!("unknown {what} `{given}`: known are {known}"))
}
