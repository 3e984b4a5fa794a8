//! The tasks of `parallel`, read and checked before anything runs: an object with `tasks`, or one task a line.

use super::Label;
use super::prompt_file;
use super::template::{Template, output_of};
use crate::base::json;
use crate::base::text::nearest;
use crate::engine::request::{Defaults, Pairs, Request, read_text};
use crate::model::error::Error;
use crate::model::fields::{Fields, Object, fields};
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashMap};

/// Most runs at once: more children are a typing error.
pub(crate) const MOST_WORKERS: u64 = 1024;

/// A number of runs at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Workers(pub usize);

impl Workers {
    pub(crate) fn of(number: i128) -> Result<Workers, String> {
        let workers = u64::try_from(number).ok().filter(|number| (1..=MOST_WORKERS).contains(number));
        let workers = workers.and_then(|number| usize::try_from(number).ok()).map(Workers);
        workers.ok_or_else(|| format!("expected a whole number from 1 to {MOST_WORKERS}, found {number}"))
    }
}

impl<'de> Deserialize<'de> for Workers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Workers, D::Error> {
        Workers::of(i64::deserialize(deserializer)?.into()).map_err(D::Error::custom)
    }
}

fields! {
    /// What a plan says besides its tasks.
    pub struct Settings {
        max_parallel: Workers, "most tasks at once";
        fail_fast: bool, "stop everything after the first failure";
        output_dir: String, "where results are kept";
        detach: bool, "over HTTP: answer at once; the runs go on alone";
    }
}

fields! {
    struct Tasks {
        tasks: Vec<Fact>, "what is to be done";
    }
}

fields! {
    /// What a task has besides its request.
    pub struct OfTask {
        id: String, "by which others depend on it";
        name: String, "what it is called";
        meta: Pairs, "comes back with the result: at most 16 pairs";
        prompt_file: String, "a file with the prompt";
        depends_on: Vec<String>, "ids of tasks that have to complete before";
    }
}

/// Tasks that were checked. They are kept as text and read once more when their turn comes: ten thousand of them take the
/// room of their file, not of ten thousand requests.
pub struct Plan {
    /// What the plan says besides its tasks.
    pub(crate) settings: Settings,
    tasks: Vec<Box<RawValue>>,
    nodes: Vec<Node>,
}

#[derive(Default)]
struct Node {
    id: Option<Box<str>>,
    after: Vec<usize>,
}

impl Plan {
    /// Reads and checks a plan. `origin`: where it comes from, for messages.
    ///
    /// # Errors
    /// A sentence that says what is wrong, with line and column or the task's id.
    pub(crate) fn read(text: &str, origin: &str, defaults: &Defaults<'_>) -> Result<Plan, Error> {
        let text = &*json::mend(text);
        let (settings, facts, tasks) = if is_object_with_tasks(text, origin)? {
            one_object(text, origin)?
        } else {
            lines(text, origin)?
        };
        if tasks.is_empty() {
            return Err(Error::Invalid(format!("{origin}: there are no tasks")));
        }
        if settings.output_dir.is_some() && !defaults.reads_files {
            return Err(Error::Invalid("`output_dir` is for the command line alone".to_owned()));
        }
        if settings.detach.is_some() && defaults.reads_files {
            return Err(Error::Invalid("`detach` is for the server alone".to_owned()));
        }
        let needs_look: Vec<bool> = facts.iter().map(|fact| fact.needs_look).collect();
        let nodes = nodes(facts).map_err(|problem| Error::Invalid(format!("{origin}: {problem}")))?;
        let plan = Plan { settings, tasks, nodes };
        let ids: HashMap<&str, usize> = plan.ids().collect();
        for index in (0..plan.len()).filter(|index| needs_look[*index]) {
            plan.check(index, &ids, defaults).map_err(|error| match error {
                Error::Invalid(why) => Error::Invalid(format!("{origin}: {}: {why}", plan.called(index))),
                other => other,
            })?;
        }
        Ok(plan)
    }

    /// How many tasks there are; never none.
    #[allow(clippy::len_without_is_empty)] // a plan without tasks is an error
    pub(crate) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// The tasks that have to complete before this one.
    pub(super) fn after(&self, index: usize) -> &[usize] {
        &self.nodes[index].after
    }

    /// A task as it was written.
    pub(super) fn task(&self, index: usize) -> Result<(OfTask, Request), Error> {
        let read = serde_json::from_str(self.tasks[index].get()).map(|Object(task)| task);
        read.map_err(|error| Error::Internal(format!("a task that was checked cannot be read: {error}")))
    }

    /// The index of the task with that id.
    pub(super) fn find(&self, index: usize, id: &str) -> Option<usize> {
        self.after(index).iter().copied().find(|after| self.nodes[*after].id.as_deref() == Some(id))
    }

    /// What a task is called in messages.
    pub(super) fn called(&self, index: usize) -> String {
        match &self.nodes[index].id {
            Some(id) => format!("task `{id}`"),
            None => format!("task {}", index + 1),
        }
    }

    fn ids(&self) -> impl Iterator<Item = (&str, usize)> {
        self.nodes.iter().enumerate().filter_map(|(index, node)| Some((node.id.as_deref()?, index)))
    }

    /// Variables are checked before anything runs, and over the network a file's name is nothing.
    fn check(&self, index: usize, ids: &HashMap<&str, usize>, defaults: &Defaults<'_>) -> Result<(), Error> {
        let (extra, request) = self.task(index)?;
        if extra.prompt_file.is_some() && !defaults.reads_files {
            return Err(Error::Invalid("`prompt_file` is for the command line alone".to_owned()));
        }
        if self.after(index).is_empty() {
            // Without dependencies braces are only braces, unless a dependency was forgotten.
            let text = request.prompt.as_deref().unwrap_or("");
            let variables = text.split("{{").skip(1).filter_map(|part| part.split_once("}}"));
            let mut names = variables.filter_map(|(variable, _)| output_of(variable));
            return names.find(|id| ids.contains_key(id)).map_or(Ok(()), |id| Err(not_a_dependency(id)));
        }
        let text = with_file(extra.prompt_file.as_deref(), &request, defaults)?.prompt.unwrap_or_default();
        let knows = |variable: &str| match output_of(variable) {
            Some(id) if self.find(index, id).is_some() => Ok(()),
            Some(id) if ids.contains_key(id) => Err(not_a_dependency(id).to_string()),
            _ => Err(
                "unknown variable: `{{ID.output}}` is the answer of a dependency, and `{{{{` a literal `{{`"
                    .to_owned(),
            ),
        };
        Template::read(&text, knows).map(drop)
    }
}

fn not_a_dependency(id: &str) -> Error {
    Error::Invalid(format!("uses the output of `{id}`, which is not in its `depends_on`"))
}

/// The request with the prompt that stands in its file, where it has one. What the request does not say, the file's front part
/// does.
pub(super) fn with_file(
    file: Option<&str>,
    request: &Request,
    defaults: &Defaults<'_>,
) -> Result<Request, Error> {
    let Some(name) = file else { return Ok(request.clone()) };
    let text = read_text(defaults.base, name)?;
    let (options, text) = prompt_file::parts(&text, name)?;
    Ok(Request { prompt: Some(text.into()), ..request.clone() }.or(&options))
}

/// A label from what a task says of itself.
pub(super) fn label(index: usize, extra: &OfTask, request: &Request, backend: String) -> Label {
    let prompt = extra.prompt_file.as_deref().or(request.prompt.as_deref());
    Label {
        index,
        id: extra.id.clone(),
        name: extra.name.clone(),
        backend,
        model: request.model.clone(),
        prompt: prompt.map(super::beginning).unwrap_or_default(),
        tags: request.tags.clone().unwrap_or_default(),
        meta: extra.meta.clone().map(|Pairs(pairs)| pairs),
        ..Label::default()
    }
}

/// What is kept of a task when it is checked.
#[derive(Debug, Clone)]
struct Fact {
    id: Option<String>,
    depends_on: Vec<String>,
    /// There may be variables in it, or it has a file that is read before its turn.
    needs_look: bool,
}

impl<'de> Deserialize<'de> for Fact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fact, D::Error> {
        let Object((extra, request)) = Object::<(OfTask, Request)>::deserialize(deserializer)?;
        let has_prompt = request.prompt.as_ref().is_some_and(|prompt| !prompt.trim().is_empty());
        let has_files = request.files.as_ref().is_some_and(|files| !files.is_empty());
        if request.prompt.is_some() && extra.prompt_file.is_some() {
            return Err(D::Error::custom("a task has a `prompt` or a `prompt_file`, not both"));
        }
        if !has_prompt && !has_files && extra.prompt_file.is_none() {
            return Err(D::Error::custom("a task without a prompt"));
        }
        if extra.id.as_deref().is_some_and(|id| id.trim().is_empty()) {
            return Err(D::Error::custom("an `id` that is empty"));
        }
        let depends_on = extra.depends_on.unwrap_or_default();
        let has_braces = request.prompt.as_ref().is_some_and(|prompt| prompt.contains("{{"));
        let needs_look = has_braces || extra.prompt_file.is_some();
        Ok(Fact { id: extra.id, depends_on, needs_look })
    }
}

type Parts = (Settings, Vec<Fact>, Vec<Box<RawValue>>);

/// Whether the text is one object that is no task.
fn is_object_with_tasks(text: &str, origin: &str) -> Result<bool, Error> {
    let start = text.len() - text.trim_start().len();
    if !text[start..].is_empty() && !text[start..].starts_with('{') {
        let line = 1 + text[..start].matches('\n').count();
        let sentence = format!("{origin}:{line}: expected an object with `tasks`, or one task a line");
        return Err(Error::Invalid(sentence));
    }
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<BTreeMap<String, IgnoredAny>>();
    let first = match values.next() {
        None => return Ok(false),
        Some(first) => first.map_err(|error| wrong(origin, &error))?,
    };
    let is_alone = text[values.byte_offset()..].trim_start().is_empty();
    let mut of_tasks = Vec::new();
    <(OfTask, Request)>::names(&mut of_tasks);
    let is_task = of_tasks.iter().any(|name| first.contains_key(*name));
    Ok(first.contains_key("tasks") || (is_alone && !is_task))
}

fn one_object(text: &str, origin: &str) -> Result<Parts, Error> {
    #[derive(serde::Deserialize)]
    struct Texts {
        tasks: Option<Vec<Box<RawValue>>>,
    }
    let wrong = |error: serde_json::Error| wrong(origin, &error);
    let Object((settings, checked)) =
        serde_json::from_str::<Object<(Settings, Tasks)>>(text).map_err(wrong)?;
    let texts: Texts = serde_json::from_str(text).map_err(wrong)?;
    Ok((settings, checked.tasks.unwrap_or_default(), texts.tasks.unwrap_or_default()))
}

fn lines(text: &str, origin: &str) -> Result<Parts, Error> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Fact>();
    let mut facts = Vec::new();
    while let Some(fact) = values.next() {
        facts.push(fact.map_err(|error| match error.line() {
            // Our own check has no position: it is behind the value.
            0 => {
                let line = 1 + text[..values.byte_offset()].matches('\n').count();
                Error::Invalid(format!("{origin}:{line}: {error}"))
            }
            _ => wrong(origin, &error),
        })?);
    }
    let texts = serde_json::Deserializer::from_str(text).into_iter::<Box<RawValue>>();
    let texts = texts.collect::<Result<_, _>>().map_err(|error| wrong(origin, &error))?;
    Ok((Settings::default(), facts, texts))
}

/// What is wrong with a text, and where.
pub(super) fn wrong(origin: &str, error: &serde_json::Error) -> Error {
    let (line, column, text) = (error.line(), error.column(), error.to_string());
    let problem = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text);
    Error::Invalid(match line {
        0 => format!("{origin}: {problem}"),
        _ => format!("{origin}:{line}:{column}: {problem}"),
    })
}

/// Who depends on whom, once it is certain that this has an end.
fn nodes(facts: Vec<Fact>) -> Result<Vec<Node>, String> {
    let mut ids = HashMap::new();
    for (index, fact) in facts.iter().enumerate() {
        if let Some(id) = &fact.id {
            if ids.insert(id.clone(), index).is_some() {
                return Err(format!("two tasks have the id `{id}`"));
            }
        }
    }
    let mut nodes = Vec::with_capacity(facts.len());
    for (index, fact) in facts.into_iter().enumerate() {
        let called = fact.id.as_ref().map_or(format!("task {}", index + 1), |id| format!("task `{id}`"));
        let mut after = Vec::new();
        for id in &fact.depends_on {
            match ids.get(id) {
                Some(other) if *other == index => return Err(format!("{called} depends on itself")),
                Some(other) if after.contains(other) => {}
                Some(other) => after.push(*other),
                None => {
                    let near = nearest(id, ids.keys().map(String::as_str));
                    let hint = near.map(|near| format!(": did you mean `{near}`?")).unwrap_or_default();
                    return Err(format!("{called} depends on `{id}`, and no task has that id{hint}"));
                }
            }
        }
        nodes.push(Node { id: fact.id.map(String::into_boxed_str), after });
    }
    circle(&nodes).map_or(Ok(nodes), Err)
}

/// A circle of dependencies, as a sentence.
fn circle(nodes: &[Node]) -> Option<String> {
    // Those whose dependencies are all done are done (Kahn); what is left over depends on a circle.
    let mut left: Vec<usize> = nodes.iter().map(|node| node.after.len()).collect();
    let mut followers: HashMap<usize, Vec<usize>> = HashMap::new();
    for (index, node) in nodes.iter().enumerate() {
        node.after.iter().for_each(|after| followers.entry(*after).or_default().push(index));
    }
    let mut done: Vec<usize> = (0..nodes.len()).filter(|index| left[*index] == 0).collect();
    while let Some(index) = done.pop() {
        for follower in followers.remove(&index).unwrap_or_default() {
            left[follower] -= 1;
            if left[follower] == 0 {
                done.push(follower);
            }
        }
    }
    let mut at = left.iter().position(|left| *left > 0)?;
    let mut way = Vec::new();
    while !way.contains(&at) {
        way.push(at);
        at = *nodes[at].after.iter().find(|after| left[**after] > 0)?;
    }
    way.drain(..way.iter().position(|index| *index == at)?);
    way.push(at);
    // A task that others depend on has an id.
    let names: Vec<&str> = way.iter().filter_map(|index| nodes[*index].id.as_deref()).collect();
    Some(format!("tasks depend on each other: {}", names.join(" -> ")))
}
