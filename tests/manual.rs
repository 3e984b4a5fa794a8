//! The manual is written by hand: this holds it to the tables.

use clinvk::cli::{COMMANDS, FLAGS};
use std::collections::BTreeSet;

fn page(name: &str) -> String {
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
    for command in COMMANDS.iter().filter(|command| !command.name.is_empty()) {
        let item = format!(".It Cm {}", command.name);
        assert!(page.lines().any(|line| line.starts_with(&item)), "{item}");
    }
}

#[test]
fn flags_have_one_name_and_letters_are_not_taken_twice() {
    let names: BTreeSet<&str> = FLAGS.iter().map(|flag| flag.name).collect();
    let letters: BTreeSet<char> = FLAGS.iter().filter_map(|flag| flag.short).collect();
    assert_eq!(
        (names.len(), letters.len()),
        (FLAGS.len(), FLAGS.iter().filter(|flag| flag.short.is_some()).count())
    );
}
