//! The layers of src: a folder uses only those before it, and inside a folder the name of a type means one thing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The folders in the order of their layers. What stands in `http` above its folders is a layer by itself.
const LAYERS: &[&str] = &[
    "base",
    "model",
    "config",
    "backend",
    "session",
    "exec",
    "engine",
    "batch",
    "stdio",
    "client",
    "http::net",
    "http::front",
    "http::state",
    "http::native",
    "http::compat",
    "http::ops",
    "http::routes",
    "http::layers",
    "cli",
];

/// The modules by their paths, `http/net/mod.rs` is `http::net`; each with its lines but for comments. The maps `lib.rs`,
/// `main.rs` and `http/mod.rs` are none.
fn modules() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut found, mut folders) = (BTreeMap::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let name = path.strip_prefix(&root).unwrap().with_extension("");
                let words: Vec<&str> = name.iter().map(|word| word.to_str().unwrap()).collect();
                let text = fs::read_to_string(&path).unwrap();
                let lines = text.lines().map(|line| line.split_once("//").map_or(line, |(code, _)| code));
                let name = words.join("::");
                found.insert(
                    name.strip_suffix("::mod").unwrap_or(&name).to_owned(),
                    lines.collect::<Vec<_>>().join("\n"),
                );
            }
        }
    }
    for map in ["lib", "main", "http"] {
        found.remove(map).expect(map);
    }
    found
}

/// The layer that a path is in: `http::net::head::Head` is in `http::net`.
fn layer(path: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| {
        path.strip_prefix(layer).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    })
}

/// The paths that a tree of `use` stands for: `net::{Head, body::Body}` is `net::Head` and `net::body::Body`. Reads up to the tree's end.
fn tree(text: &str, before: &str, found: &mut Vec<String>) -> usize {
    let is_path = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
    let mut at = text.find(|letter| !is_path(letter)).unwrap_or(text.len());
    let path = format!("{before}{}", &text[..at]);
    if !text[at..].starts_with('{') {
        found.push(path);
        return at;
    }
    loop {
        at += 1;
        at += text[at..].len() - text[at..].trim_start().len();
        if !text[at..].starts_with('}') {
            at += tree(&text[at..], &path, found);
            at += text[at..].find([',', '}']).expect("a tree ends");
        }
        if text[at..].starts_with('}') {
            return at + 1;
        }
    }
}

/// What a module names of other modules, in paths from the root.
fn uses(module: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        tree(&text[at + "crate::".len()..], "", &mut found);
    }
    for (at, _) in text.match_indices("super::").filter(|(at, _)| !text[..*at].ends_with("super::")) {
        let rest = text[at..].trim_start_matches("super::");
        let supers = (text.len() - at - rest.len()) / "super::".len();
        let words: Vec<&str> = module.split("::").collect();
        // A module of tests inside a file stands one deeper than its file.
        let up = words.len().saturating_sub(supers);
        let parent = words[..up].iter().map(|word| format!("{word}::")).collect::<String>();
        tree(rest, &parent, &mut found);
    }
    found
}

#[test]
fn a_folder_uses_only_those_before_it() {
    let modules = modules();
    let mut seen = BTreeSet::new();
    let mut up = Vec::new();
    for (module, text) in &modules {
        let own =
            layer(module).unwrap_or_else(|| panic!("`{module}` is in no layer: add its folder to LAYERS"));
        for path in uses(module, text) {
            let Some(used) = layer(&path) else { continue };
            seen.insert((own, used));
            if used > own {
                up.push(format!("{module} -> {path}"));
            }
        }
    }
    assert!(up.is_empty(), "these run up:\n{}", up.join("\n"));
    // It has found what it looks for: the command line uses the server, the server's surfaces the engine.
    let arrow = |from: &str, to: &str| seen.contains(&(layer(from).unwrap(), layer(to).unwrap()));
    assert!(
        arrow("cli", "http::net") && arrow("http::compat", "engine") && arrow("http::state", "http::front")
    );
}

#[test]
fn trees_and_parents_are_followed() {
    let text = "use crate::http::{net::{self, Head}, front::errors::Fault as F};\nlet x = super::super::cli::main(crate::base::sys::poll);";
    assert_eq!(
        uses("http::net::head", text),
        [
            "http::net::self",
            "http::net::Head",
            "http::front::errors::Fault",
            "base::sys::poll",
            "http::cli::main"
        ]
    );
}

#[test]
fn a_type_has_its_name_alone_in_its_folder() {
    let mut meanings: BTreeMap<(usize, &str), Vec<&str>> = BTreeMap::new();
    let modules = modules();
    // What stands in for Linux on other systems has the names that it has there.
    for (module, text) in modules.iter().filter(|(module, _)| !module.ends_with("::elsewhere")) {
        for line in text.lines() {
            let words: Vec<&str> =
                line.split(|letter: char| !letter.is_alphanumeric() && letter != '_').collect();
            let at = words.iter().position(|word| ["struct", "enum", "trait", "union"].contains(word));
            let at =
                at.filter(|at| words[..*at].iter().all(|word| ["pub", "crate", "super", ""].contains(word)));
            let (Some(at), false) = (at, line.starts_with(' ')) else { continue };
            // What Linux has, and what takes its place elsewhere, have the same names.
            if module == "base::sys::elsewhere" {
                continue;
            }
            meanings.entry((layer(module).unwrap(), words[at + 1])).or_default().push(module);
        }
    }
    let twice: Vec<String> = meanings
        .iter()
        .filter(|(_, modules)| modules.len() > 1)
        .map(|((_, name), modules)| format!("{name}: {}", modules.join(", ")))
        .collect();
    assert!(twice.is_empty(), "these mean more than one thing:\n{}", twice.join("\n"));
    assert!(meanings.len() > 200, "only {} types were found", meanings.len());
}
