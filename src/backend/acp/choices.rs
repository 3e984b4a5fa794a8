//! An agent's model, mode and effort: which there are, in whichever of three places it lists them, and how one is chosen.

use crate::base::json::{Value, json, text};

/// What can be chosen, in the order in which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend) enum Choice {
    Model,
    Mode,
    Effort,
}

impl Choice {
    /// What sentences call it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Choice::Model => "model",
            Choice::Mode => "mode",
            Choice::Effort => "effort",
        }
    }
}

/// What an agent lists for a session, and what was chosen of it.
#[derive(Default)]
pub(super) struct Choices {
    options: Value,
    models: Value,
    modes: Value,
    model: Option<String>,
    mode: Option<String>,
    /// The mode that the agent says it is in, since it was asked for one.
    reported_mode: Option<String>,
}

/// How a choice is made.
#[derive(Debug, PartialEq)]
pub(super) enum How {
    /// It is as it shall be.
    Already,
    By(ChoiceRequest),
    /// What is wanted is not on its list.
    Unlisted,
    /// The agent has no such choice.
    None,
}

/// The request that makes a choice. What the agent then reports has to be `value`, unless that is not on its list.
#[derive(Debug, PartialEq)]
pub(super) struct ChoiceRequest {
    pub(super) method: &'static str,
    pub(super) params: Value,
    pub(super) value: String,
    is_listed: bool,
}

impl ChoiceRequest {
    /// Another way to choose a model, which some know alone.
    pub(super) fn other_way(&self) -> Option<ChoiceRequest> {
        let (params, value) = (json!({"modelId": self.value}), self.value.clone());
        let other = ChoiceRequest { method: SET_MODEL, params, value, is_listed: false };
        (self.method != SET_MODEL).then_some(other)
    }
}

const SET_OPTION: &str = "session/set_config_option";
const SET_MODEL: &str = "session/set_model";

impl Choices {
    /// What the answer that opened a session lists.
    pub(super) fn of(result: &Value) -> Choices {
        let part = |name: &str| result[name].clone();
        let (options, models, modes) = (part("configOptions"), part("models"), part("modes"));
        Choices { options, models, modes, ..Choices::default() }
    }

    /// The way to a choice by its name.
    pub(super) fn how(&self, choice: Choice, wanted: &str) -> How {
        let Some((list, method, key)) = self.place(choice) else { return How::None };
        let listed = find(&list, wanted, self.current(choice));
        let value = match (choice, listed) {
            (_, Some(value)) if Some(value) == self.current(choice) => return How::Already,
            (_, Some(value)) => value,
            // Some take names that they do not list, and say themselves what they do not take.
            (Choice::Model, None) => wanted,
            // Some list nothing when they go on with a session.
            (Choice::Mode, None) if list.is_empty() => wanted,
            (Choice::Mode | Choice::Effort, None) => return How::Unlisted,
        };
        let mut params = json!({(key): value});
        if let Some(option) = self.option(choice) {
            params["configId"] = option["id"].clone();
        }
        How::By(ChoiceRequest { method, params, value: value.to_owned(), is_listed: listed.is_some() })
    }

    /// A choice is asked for: what was reported before does not count.
    pub(super) fn asked(&mut self) {
        self.reported_mode = None;
    }

    /// The agent says which mode it is in.
    pub(super) fn report_mode(&mut self, mode: &Value) {
        self.reported_mode = mode.as_str().map(str::to_owned);
    }

    /// The agent's answer to the request of a choice, which may change what else there is.
    ///
    /// # Errors
    /// What it has taken instead, by its own word.
    pub(super) fn made(
        &mut self,
        choice: Choice,
        request: &ChoiceRequest,
        result: &Value,
    ) -> Result<(), String> {
        let lists_options = result["configOptions"].is_array();
        if lists_options {
            self.options = result["configOptions"].clone();
        }
        let by_option = lists_options.then(|| self.current(choice)).flatten();
        let reported = match choice {
            Choice::Mode => self.reported_mode.as_deref().or(by_option),
            Choice::Model | Choice::Effort => by_option,
        };
        match reported.filter(|reported| request.is_listed && *reported != request.value) {
            Some(other) => Err(other.to_owned()),
            None => {
                self.remember(choice, Some(request.value.clone()));
                Ok(())
            }
        }
    }

    /// What was wanted was chosen already.
    pub(super) fn keep(&mut self, choice: Choice) {
        self.remember(choice, self.current(choice).map(str::to_owned));
    }

    fn remember(&mut self, choice: Choice, value: Option<String>) {
        match choice {
            Choice::Model => self.model = value,
            Choice::Mode => self.mode = value,
            Choice::Effort => {}
        }
    }

    /// The model that answers, as far as it is known.
    pub(super) fn model(&self) -> Option<&str> {
        self.model.as_deref().or_else(|| self.current(Choice::Model))
    }

    /// The mode that was chosen.
    pub(super) fn mode(&self) -> Option<&str> {
        self.mode.as_deref()
    }

    /// What is chosen now, where the agent says so.
    fn current(&self, choice: Choice) -> Option<&str> {
        let option = self.option(choice).and_then(|option| option["currentValue"].as_str());
        option.or_else(|| match choice {
            Choice::Model => self.models["currentModelId"].as_str(),
            Choice::Mode => self.modes["currentModeId"].as_str(),
            Choice::Effort => None,
        })
    }

    /// The names that there are, for people.
    pub(super) fn names(&self, choice: Choice) -> String {
        let list = self.place(choice).map(|(list, ..)| list).unwrap_or_default();
        list.iter().map(|(value, _)| format!("`{value}`")).collect::<Vec<_>>().join(", ")
    }

    /// Where the agent lists a choice: what is there, the request that chooses, and its member for what is chosen.
    fn place(&self, choice: Choice) -> Option<(Entries<'_>, &'static str, &'static str)> {
        Some(match choice {
            _ if self.option(choice).is_some() => (entries(self.option(choice)), SET_OPTION, "value"),
            Choice::Model => (listed(&self.models["availableModels"], "modelId"), SET_MODEL, "modelId"),
            Choice::Mode => (listed(&self.modes["availableModes"], "id"), "session/set_mode", "modeId"),
            Choice::Effort => return None,
        })
    }

    fn option(&self, choice: Choice) -> Option<&Value> {
        let (category, ids): (_, &[&str]) = match choice {
            Choice::Model => ("model", &["model"]),
            Choice::Mode => ("mode", &["mode"]),
            Choice::Effort => ("thought_level", &["thought_level", "reasoning_effort", "effort", "thinking"]),
        };
        let all =
            || self.options.as_array().into_iter().flatten().filter(|option| option["options"].is_array());
        all()
            .find(|option| option["category"] == category)
            .or_else(|| all().find(|option| ids.contains(&text(&option["id"]))))
    }
}

type Entries<'a> = Vec<(&'a str, &'a str)>;

/// The values of an option and their names. They may stand in groups.
fn entries(option: Option<&Value>) -> Entries<'_> {
    let all = option.and_then(|option| option["options"].as_array()).into_iter().flatten();
    all.flat_map(|entry| match entry["options"].as_array() {
        Some(group) => group.iter().collect::<Vec<_>>(),
        None => vec![entry],
    })
    .filter_map(|entry| Some((entry["value"].as_str()?, text(&entry["name"]))))
    .collect()
}

fn listed<'a>(list: &'a Value, id: &str) -> Entries<'a> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(|entry| Some((entry[id].as_str()?, text(&entry["name"])))).collect()
}

/// The value that a name means: the same, or that of the same name, or else the one whose name it is without a provider
/// before it or an effort behind it. Of several of those the one with the effort of now is meant.
fn find<'a>(list: &[(&'a str, &'a str)], wanted: &str, current: Option<&str>) -> Option<&'a str> {
    let value_where = |fits: &dyn Fn(&str, &str) -> bool| {
        list.iter().find(|(value, name)| fits(value, name)).map(|(value, _)| *value)
    };
    let has_bare = |value: &str| value.rsplit('/').next() == Some(wanted) || without_effort(value) == wanted;
    let effort = current.map(|current| &current[without_effort(current).len()..]).unwrap_or_default();
    value_where(&|value, _| value == wanted)
        .or_else(|| value_where(&|_, name| name.to_lowercase() == wanted.to_lowercase()))
        .or_else(|| value_where(&|value, _| has_bare(value) && value.ends_with(effort)))
        .or_else(|| value_where(&|value, _| has_bare(value)))
}

fn without_effort(value: &str) -> &str {
    value.split('[').next().unwrap_or(value)
}
