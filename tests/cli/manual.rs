//! The manual is written by hand: this holds it to the tables.

use clinvk::cli::{COMMANDS, FLAGS};
use std::collections::{BTreeMap, BTreeSet};

pub fn page(name: &str) -> String {
    let path = format!("{}/man/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_page_lists_every_flag_and_no_other() {
    let page = page("clinvk.1");
    let documented: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix(".It Fl "))
        .filter_map(|words| {
            words.split_whitespace().find_map(|word| word.strip_prefix('-').filter(|word| !word.is_empty()))
        })
        .collect();
    let known: BTreeSet<&str> = FLAGS.iter().map(|flag| flag.name).collect();
    assert_eq!(documented, known);
}

#[test]
fn the_page_names_every_letter() {
    let page = page("clinvk.1");
    for flag in FLAGS {
        if let Some(letter) = flag.short {
            let item = format!(".It Fl {letter} , -{}", flag.name);
            assert!(page.lines().any(|line| line.starts_with(&item)), "{item}");
        }
    }
}

#[test]
fn the_page_names_every_command() {
    let page = page("clinvk.1");
    let verbs = COMMANDS.iter().flat_map(|command| command.verbs);
    for command in COMMANDS.iter().chain(verbs).filter(|command| !command.name.is_empty()) {
        let item = format!("Cm {}", command.name);
        assert!(page.lines().any(|line| line.starts_with(".It ") && line.contains(&item)), "{item}");
    }
}

#[test]
fn the_tested_versions_are_those_of_the_backends_and_end_with_those_that_the_real_checks_pin() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/");
    let pins = std::fs::read_to_string(format!("{root}tests/real/vendor.py")).unwrap();
    let pins = pins.lines().find_map(|line| line.strip_prefix("PINS = ")).unwrap();
    let pins: BTreeMap<String, String> = serde_json::from_str(pins).unwrap();
    let mut tested = Vec::new();
    for (cli, pin) in &pins {
        let source = std::fs::read_to_string(format!("{root}src/backend/{cli}.rs")).unwrap();
        assert!(source.contains(&format!("newest: \"{pin}\"")), "{cli} {pin}: `clinvk doctor` knows another");
        let first = source.split_once("\n    first: \"").unwrap().1.split('"').next().unwrap().to_owned();
        let range = if first == *pin { first } else { format!("{first} to {pin}") };
        tested.push(format!("{cli} {range}"));
    }
    let readme = std::fs::read_to_string(format!("{root}README.md")).unwrap();
    for (text, sentence) in [(page("clinvk.1"), "Tested are "), (readme, "Tested with ")] {
        let (_, rest) = text.split_once(sentence).unwrap();
        let named = rest.lines().next().unwrap();
        for range in &tested {
            assert!(named.contains(range), "{range}: {named}");
        }
    }
}

#[test]
fn flags_have_one_name_and_letters_are_not_taken_twice() {
    let names: BTreeSet<&str> = FLAGS.iter().map(|flag| flag.name).collect();
    assert_eq!(names.len(), FLAGS.len());
    for command in COMMANDS {
        let own = FLAGS.iter().filter(|flag| flag.is_of(command.name));
        let letters: Vec<char> = own.filter_map(|flag| flag.short).collect();
        let different: BTreeSet<&char> = letters.iter().collect();
        assert_eq!(different.len(), letters.len(), "{}: {letters:?}", command.name);
    }
}
