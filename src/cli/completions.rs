//! `clinvk completions`: the scripts for shells. They know nothing themselves: each time they ask us what may come next, so
//! that it is what this very clinvk takes here. Whatever is wrong with the configuration, there is no word of it.

use super::commands::{COMMANDS, Command, find};
use super::flags::{FLAGS, Name, Typed, parse};
use super::prompt::{Where, place};
use super::{named_config, prompts, say, say_json};
use crate::backend::{Agents, Backend, Trust};
use crate::base::json::json;
use crate::base::logging::{LogFormat, LogLevel};
use crate::base::printable;
use crate::base::words::{Worded, words};
use crate::base::world::World;
use crate::config::{Config, Loaded, agents};
use crate::engine::Engine;
use crate::model::error::Error;
use crate::model::task::{Approval, Effort, OutputFormat, Sandbox};
use crate::session::{Filter, Page, Session, Status, shorten};
use std::sync::Arc;

words! {
    /// The shells that have a script.
    Shell {
        Bash = "bash",
        Zsh = "zsh",
        Fish = "fish",
    }
}

impl Shell {
    fn script(self) -> &'static str {
        match self {
            Shell::Bash => include_str!("completions/clinvk.bash"),
            Shell::Zsh => include_str!("completions/_clinvk"),
            Shell::Fish => include_str!("completions/clinvk.fish"),
        }
    }
}

/// How many sessions are offered.
const SESSIONS: usize = 50;
/// How much of an id is offered: what tables show.
const ID: usize = 12;

/// Prints the script of a shell or, behind `--`, what may stand in the place of the last of the words.
pub(crate) fn run(typed: &Typed) -> Result<u8, Error> {
    if typed.literal {
        let offer = offer(&typed.operands);
        return if typed.has(Name::Json) { say_json(&offer.data()) } else { say(&offer.lines()) };
    }
    match &typed.operands[..] {
        [shell] => {
            let script = super::flags::known::<Shell>("shell", shell)?.script();
            super::say_either(typed, json!({"shell": shell, "script": script}), script)
        }
        _ => Err(Error::Invalid(format!("`completions` needs one of: {}", Shell::WORDS.join(", ")))),
    }
}

/// What may stand in a place.
#[derive(Default)]
struct Offer {
    /// Words, and what each is.
    words: Vec<(String, String)>,
    /// `files` or `dirs`: what the shell completes by itself.
    paths: Option<&'static str>,
}

impl Offer {
    fn of(words: impl IntoIterator<Item = (String, String)>) -> Offer {
        Offer { words: words.into_iter().collect(), paths: None }
    }

    fn paths(kind: &'static str) -> Offer {
        Offer { words: Vec::new(), paths: Some(kind) }
    }

    /// A line each: the word, a tab, and what it is; paths as a word that no other begins as.
    fn lines(&self) -> String {
        let words = self.words.iter().map(|(word, what)| {
            let (word, what) = (printable::safe(word), shorten(&printable::safe(what), 60));
            format!("{word}\t{what}\n")
        });
        words.chain(self.paths.map(|kind| format!(":{kind}\n"))).collect()
    }

    fn data(&self) -> serde_json::Value {
        let words = self.words.iter().map(|(word, what)| json!({"word": word, "help": what}));
        json!({"words": words.collect::<Vec<_>>(), "paths": self.paths})
    }
}

/// Stands in the place that is asked about: which one that is, the parser says.
const PLACE: &str = "\u{1}";

/// What may stand in the place of the last of these words.
fn offer(words: &[String]) -> Offer {
    let Some((last, before)) = words.split_last() else { return Offer::default() };
    let parsed = |last: &str| parse(before.iter().map(String::as_str).chain([last]).map(Into::into)).0;
    // A flag with its value in one word.
    if let Some((flag, value)) = last.split_once('=').filter(|_| last.starts_with("--")) {
        let typed = parsed(&format!("{flag}={PLACE}"));
        let mut offer = value_at_place(&typed, value).unwrap_or_default();
        offer.words.iter_mut().for_each(|(word, _)| *word = format!("{flag}={word}"));
        return offer;
    }
    let typed = parsed(PLACE);
    if let Some(offer) = value_at_place(&typed, last) {
        return offer;
    }
    // Behind a `--` nothing is a flag.
    match last.starts_with('-') && parsed(&format!("--{}", Name::Help)).has(Name::Help) {
        true => flags_of(typed.what()),
        false => operand(&typed),
    }
}

fn flags_of(command: &Command) -> Offer {
    let flags = FLAGS.iter().filter(|flag| flag.is_of(command.name));
    Offer::of(flags.map(|flag| (format!("--{}", flag.name), flag.help(command.name).to_owned())))
}

/// What may be the value of the flag whose value is in the place; none where that is no flag's.
fn value_at_place(typed: &Typed, given: &str) -> Option<Offer> {
    let flag = typed.names().last().filter(|flag| typed.value(*flag) == Some(PLACE))?;
    Some(match flag {
        Name::Backend => Here::read(typed).backends(),
        Name::Backends | Name::Fallback => Here::read(typed).list(given),
        Name::Model => Here::read(typed).models(None),
        Name::Template => {
            World::read().map_or_else(|_| Offer::default(), |world| Offer::of(prompts::offered(&world)))
        }
        Name::Approval => words_of::<Approval>(),
        Name::Sandbox => words_of::<Sandbox>(),
        Name::Effort => words_of::<Effort>(),
        Name::OutputFormat => words_of::<OutputFormat>(),
        Name::Status => words_of::<Status>(),
        Name::LogFormat => words_of::<LogFormat>(),
        Name::LogLevel => words_of::<LogLevel>(),
        other => match other.flag().value {
            "DIR" => Offer::paths("dirs"),
            "FILE" | "PATH" | "FILE|JSON" => Offer::paths("files"),
            _ => Offer::default(),
        },
    })
}

fn words_of<T: Worded>() -> Offer {
    Offer::of(T::words().iter().map(|word| (word.to_string(), String::new())))
}

fn commands(all: &[Command]) -> Offer {
    Offer::of(all.iter().map(|command| (command.word().to_owned(), command.help.to_owned())))
}

/// What may be the operand in the place.
fn operand(typed: &Typed) -> Offer {
    let (command, at) = (typed.what(), typed.operands.len() - 1);
    if !command.verbs.is_empty() {
        return if at == 0 { commands(command.verbs) } else { Offer::default() };
    }
    if command.name.is_empty() {
        return if at == 0 && !typed.literal { commands(&COMMANDS[1..]) } else { Offer::default() };
    }
    // The verb is no operand of its own.
    let at = at - command.name.matches(' ').count();
    let mut places = command.operands.split(' ').map(|place| place.trim_matches(['[', ']']));
    let place = places.clone().nth(at).or_else(|| places.next_back().filter(|last| last.ends_with("...")));
    match place.unwrap_or_default().trim_end_matches("...") {
        "ID" => Here::read(typed).sessions(),
        "KEY" => Here::read(typed).keys(),
        "SHELL" => words_of::<Shell>(),
        "FILE|-" => Offer::paths("files"),
        "COMMAND" => match find(&typed.operands[..at]) {
            Ok(known) if at > 0 => commands(known.verbs),
            _ if at == 0 => commands(&COMMANDS[1..]),
            _ => Offer::default(),
        },
        _ => Offer::default(),
    }
}

/// What there is on this machine, as far as it can be known.
struct Here<'a> {
    typed: &'a Typed,
    loaded: Option<Loaded>,
    engine: Option<Engine>,
}

impl Here<'_> {
    fn read(typed: &Typed) -> Here<'_> {
        let Ok(world) = World::read() else { return Here { typed, loaded: None, engine: None } };
        let explicit = named_config(typed, &world);
        let loaded = Config::load(&world.home, explicit.as_deref(), &world.env).ok();
        let engine = loaded.as_ref().map(|loaded| Engine::of(world, &loaded.config, Agents::Known));
        Here { typed, loaded, engine }
    }

    /// The backends that are configured or installed.
    fn backends(&self) -> Offer {
        let Some(engine) = &self.engine else { return Offer::default() };
        let (configured, known) = (engine.registry.names(), agents::names().map(str::to_owned));
        let more: Vec<String> = known.filter(|name| !configured.contains(name)).collect();
        let all =
            configured.into_iter().map(|name| (name, true)).chain(more.into_iter().map(|name| (name, false)));
        Offer::of(all.filter_map(|(name, is_configured)| {
            let backend = engine.registry.get(&name).ok()?;
            match engine.locate(&*backend, Trust::All) {
                Some(path) => Some((name, path.display().to_string())),
                None => is_configured.then(|| (name, "not installed".to_owned())),
            }
        }))
    }

    fn backend(&self, name: Option<&str>) -> Option<Arc<dyn Backend>> {
        let default = || self.loaded.as_ref().map(|loaded| loaded.config.default_backend.as_str());
        let name = name.or_else(|| self.typed.value(Name::Backend)).or_else(default)?;
        self.engine.as_ref()?.registry.get(name).ok()
    }

    /// The names of models of a backend: without one, of the one that the command line or the configuration names.
    fn models(&self, backend: Option<&str>) -> Offer {
        let backend = self.backend(backend);
        let models = backend.iter().flat_map(|backend| backend.models());
        Offer::of(models.map(|(alias, model)| (alias.clone(), model.clone())))
    }

    /// The next of a list of `backend` and `backend:model`.
    fn list(&self, given: &str) -> Offer {
        let (before, last) = given
            .rsplit_once(',')
            .map_or((String::new(), given), |(before, last)| (format!("{before},"), last));
        let (before, mut offer) = match last.split_once(':') {
            Some((backend, _)) => (format!("{before}{backend}:"), self.models(Some(backend))),
            None => (before, self.backends()),
        };
        offer.words.iter_mut().for_each(|(word, _)| *word = format!("{before}{word}"));
        offer
    }

    /// The sessions of this machine, the newest first: those of a server would have to be waited for.
    fn sessions(&self) -> Offer {
        let (Some(engine), Some(loaded)) = (&self.engine, &self.loaded) else { return Offer::default() };
        if !matches!(place(self.typed, &engine.world, &loaded.config), Ok(Where::Here | Where::Auto)) {
            return Offer::default();
        }
        let listing = engine.store.list(&Filter::default(), Page::first(SESSIONS), &mut |_| {});
        Offer::of(listing.into_iter().flat_map(|listing| listing.sessions).map(|session| {
            let Session { id, backend, title, initial_prompt, .. } = session;
            let name = if title.is_empty() { initial_prompt } else { title };
            (id.chars().take(ID).collect(), format!("{backend}: {name}"))
        }))
    }

    fn keys(&self) -> Offer {
        let rows = self.loaded.iter().flat_map(|loaded| &loaded.rows);
        Offer::of(rows.map(|row| (row.key.clone(), row.value.to_string())))
    }
}
