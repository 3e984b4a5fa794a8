//! What a list shows and in which order, and what is shown of one session.

use super::typing;
use crate::util::run::file;
use crate::util::store::Home;
use clinvk::base::sys;
use serde_json::{Value, json};

#[test]
fn a_list_is_in_the_order_of_last_use_and_can_be_cut() {
    let home = Home::new();
    let ids: Vec<String> = ["a", "b", "c", "d"].iter().map(|prompt| home.begin(prompt)).collect();
    home.does(["resume", &ids[1], "again"]);
    home.does(["sessions", "rename", &ids[0], "A"]);
    home.does(["sessions", "tag", &ids[2], "t"]);
    let seen = [
        home.list(&[]),
        home.list(&["-n", "2"]),
        home.list(&["-n", "2", "--offset", "1"]),
        home.list(&["--offset", "9"]),
        home.list(&["-n", "0"]),
    ];
    assert_eq!(
        seen,
        [vec!["b", "d", "c", "A"], vec!["b", "d"], vec!["d", "c"], vec![], vec!["b", "d", "c", "A"]]
    );
}

#[test]
fn a_list_can_be_filtered() {
    let home = Home::new();
    let one = home.begin("first\nwith ÄPFEL below");
    home.clinvk(["-m", "small", "--tag", "x", "--tag", "y", "second"])
        .dir(home.scene.path("tmp"))
        .prints("second\n");
    home.does(["-b", "cat", "--tag", "x", "third"]);
    home.clinvk(["fourth"]).env("CLINVK_BACKENDS_ECHO_FAIL", "quota").seen();
    home.does(["sessions", "rename", &one, "erster"]);
    let all = ["fourth", "third", "second", "erster"];
    let none: [&str; 0] = [];
    let table: [(&[&str], &[&str]); 16] = [
        (&["--backend", "cat"], &["third"]),
        (&["-b", "claude"], &none),
        (&["--status", "error"], &["fourth"]),
        (&["--status", "completed"], &["third", "second", "erster"]),
        (&["--tag", "x"], &["third", "second"]),
        (&["--tag", "x", "--tag", "y"], &["second"]),
        (&["--model", "small"], &["second"]),
        (&["--here"], &["fourth", "third", "erster"]),
        (&["--search", "äpfel"], &["erster"]),
        (&["--search", "ERSTER"], &["erster"]),
        (&["--search", "first"], &["erster"]),
        (&["--since", "1h"], &all),
        (&["--since", "2020-01-01"], &all),
        (&["--since", "2999-01-01T00:00:00Z"], &none),
        (&["-b", "echo", "--here", "-n", "1"], &["fourth"]),
        (&["-b", "echo", "--here", "-n", "1", "--offset", "1"], &["erster"]),
    ];
    for (args, expected) in table {
        assert_eq!(home.list(args), expected, "{args:?}");
    }
}

#[test]
fn a_search_finds_later_prompts_and_the_ends_of_long_ones() {
    let home = Home::new();
    let one = home.begin("one");
    home.does(["resume", &one, "the later Needle"]);
    home.begin(&format!("two {} needle at the end", "x".repeat(600)));
    home.begin("three");
    let found = home.list(&["--search", "needle"]);
    assert_eq!(
        (found.len(), found[1].as_str(), home.list(&["--search", "nowhere"]).len()),
        (2, "one", 0),
        "{found:?}"
    );
}

#[test]
fn words_that_mean_nothing_are_refused() {
    let home = Home::new();
    home.begin("hi");
    let time = "expected an age such as 7d, a date such as 2026-01-31 or a time such as 2026-01-31T12:00:00Z";
    let age = "expected an age such as 30d, 12h or 2w";
    let table: &[(&[&str], &str)] = &[
        (&["list", "--since", "2026-01-31x"], &format!("`--since 2026-01-31x`: {time}")),
        (&["list", "--since", "2026-13-01"], &format!("`--since 2026-13-01`: {time}")),
        (&["list", "--since", "yesterday"], &format!("`--since yesterday`: {age}")),
        (&["list", "-n", "-1"], "`--limit -1`: expected a whole number"),
        (&["list", "--status", "done"], "unknown status `done`: known are active, completed, error"),
        (&["clean", "--older-than", "12"], &format!("`--older-than 12`: {age}")),
        (&["clean", "--older-than", "12hx"], &format!("`--older-than 12hx`: {age}")),
        (&["clean", "--older-than", "1d 12h"], &format!("`--older-than 1d 12h`: {age}")),
        (&["clean", "--older-than", ""], &format!("`--older-than `: {age}")),
        (&["clean", "--older-than", "日"], &format!("`--older-than 日`: {age}")),
        (&["clean", "--older-than", "+3d"], &format!("`--older-than +3d`: {age}")),
        (
            &["clean", "--older-than", "99999999999999999999w"],
            &format!("`--older-than 99999999999999999999w`: {age}"),
        ),
        (&["clean", "--older-than", "0d"], "`--older-than` 0 would clean all: `--all` is for that"),
        (&["clean", "--all", "--older-than", "1d"], "`--all` and `--older-than` exclude each other"),
        (
            &["delete", "--dry-run", "x"],
            "`--dry-run` is no flag of `sessions delete`: see `clinvk sessions delete -h`",
        ),
        (&["fsck", "--all"], "`--all` is no flag of `sessions fsck`: see `clinvk sessions fsck -h`"),
        (&["lst"], "unknown sessions command `lst`: did you mean `list`?"),
        (&["show"], "wrong number of words behind `sessions show`: see `clinvk sessions show -h`"),
        (&["show", "a", "b"], "wrong number of words behind `sessions show`: see `clinvk sessions show -h`"),
        (&["rename", "a"], "wrong number of words behind `sessions rename`: see `clinvk sessions rename -h`"),
    ];
    for (args, error) in table {
        home.clinvk([&["sessions"], *args].concat()).fails(1, &format!("clinvk: {error}\n"));
    }
    let seen = home.clinvk(["sessions"]).seen();
    assert!(
        seen.err.starts_with("clinvk: `sessions` needs one of: list, show, ") && seen.status == 1,
        "{seen}"
    );
    assert_eq!(home.list(&[]), ["hi"]);
}

#[test]
fn a_title_cannot_speak_to_the_terminal_and_json_has_it_whole() {
    let home = Home::new();
    let title = "日本 👍 \u{1b}]0;owned\u{7}\u{1b}[2J\r\nnext\u{9b}31m\u{202e}gnp";
    let id = home.begin("plain");
    home.does(["sessions", "rename", &id, title]);
    home.does(["sessions", "tag", &id, "\u{1b}[31mtag"]);
    home.does(["resume", &id, "evil \u{1b}[2J\u{9b}prompt"]);
    for args in [&["list"][..], &["show", &id], &["show", "--turns", &id], &["clean", "--all", "--dry-run"]] {
        let seen = home.clinvk([&["sessions"], args].concat()).seen();
        let is_clean = !seen
            .out
            .contains(|letter: char| (letter.is_control() && letter != '\n') || letter == '\u{202e}');
        assert!(is_clean && seen.status == 0, "{args:?}: {seen}");
    }
    let table = home.does(["sessions", "list"]);
    let words = format!("{}  echo     completed  ", &id[..12]);
    assert!(
        table.lines().nth(1).unwrap().starts_with(&words) && table.contains("日本 👍  ]0;owned"),
        "{table}"
    );
    let found = home.json(["sessions", "list"]);
    assert_eq!(found["sessions"][0]["title"], title);
    let seen = typing(&home, &format!("clinvk sessions export --markdown {id}"), "").seen();
    assert!(
        !seen.out.replace("\r\n", "").contains(char::is_control) && seen.out.contains("## evil"),
        "{seen}"
    );
}

#[test]
fn titles_are_cut_between_characters() {
    let home = Home::new();
    home.begin(&"日本語".repeat(200));
    let kept = home.only();
    let (title, prompt) = (kept["title"].as_str().unwrap(), kept["initial_prompt"].as_str().unwrap());
    assert!(title.chars().count() == 60 && title.ends_with('…') && prompt.chars().count() == 500, "{kept}");
}

#[test]
fn show_says_all_there_is() {
    let home = Home::new();
    let id = home.begin("one");
    home.clinvk(["resume", &id, "two"]).env("CLINVK_BACKENDS_ECHO_FAIL", "quota").seen();
    let told = home.does(["sessions", "show", &id, "--turns"]);
    let expected = [
        &format!("ID:                {id}\n"),
        "Title:             one\n",
        "Status:            error\n",
        "Turns:             1\n",
        "Token Usage:       Input 2, Output 1, Total 3\n",
        "Last Error:        failed with `quota` as configured\n",
        "\n> one\none\n\n> two\n(failed: failed with `quota` as configured)\n",
    ];
    assert!(expected.iter().all(|part| told.contains(part)), "{told}");
    let (mut alone, with) =
        (home.json(["sessions", "show", &id]), home.json(["sessions", "show", "--turns", &id]));
    assert_eq!(with["session"], alone);
    alone.as_object_mut().unwrap().remove("usage").unwrap();
    assert_eq!(alone, home.session(&id));
    let contents: Vec<&Value> =
        with["turns"].as_array().unwrap().iter().map(|turn| &turn["content"]).collect();
    assert_eq!(contents, ["one", ""]);
}

#[test]
fn an_empty_store_is_no_error() {
    let home = Home::new();
    home.clinvk(["sessions", "list"]).prints("ID  BACKEND  STATUS  LAST USED  TOKENS  TITLE/PROMPT\n");
    assert_eq!(
        home.json(["sessions", "list"]),
        json!({"sessions": [], "total": 0, "limit": 20, "offset": 0})
    );
    home.clinvk(["sessions", "clean", "--all"]).prints("deleted 0 sessions\n");
    home.clinvk(["sessions", "fsck"]).prints("nothing is wrong\n");
    assert!(!home.dir().exists());
}

#[test]
fn a_reader_of_a_list_may_leave() {
    let home = Home::new();
    home.begin("hi");
    let (read, write) = sys::pipe().unwrap();
    drop(read);
    home.clinvk(["sessions", "list"]).start_into(write).ends("", "", 0);
    home.clinvk(["sessions", "list"]).start_into(file("/dev/full")).ends(
        "",
        "clinvk: cannot write `standard output`: No space left on device (os error 28)\n",
        1,
    );
}
