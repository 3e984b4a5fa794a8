//! Forks, tags, exports and imports.

use super::TOLD;
use crate::util::store::Home;
use serde_json::{Value, json};
use std::fs;

#[test]
fn a_fork_has_the_past_of_its_source_and_leaves_it_alone() {
    let home = Home::new();
    let id = home.begin("one");
    let source = (home.session(&id), home.turns(&id));
    let fork = home.does(["sessions", "fork", &id]).trim_end().to_owned();
    let kept = home.session(&fork);
    assert!(
        kept["parent_id"] == id && kept["backend_session_id"].is_null() && kept["turn_count"] == 1,
        "{kept}"
    );
    home.clinvk(["resume", &fork, "two"]).prints(TOLD);
    assert_eq!(((home.session(&id), home.turns(&id)), home.turns(&fork).len()), (source, 2));
}

#[test]
fn tags_come_once_and_go() {
    let home = Home::with(json!({"session": {"default_tags": ["always"]}}));
    let answer = home.json(["--tag", "a", "--tag", "b", "hi"]);
    let id = answer["session_id"].as_str().unwrap();
    home.does(["sessions", "tag", id, "c", "a"]);
    home.does(["sessions", "untag", id, "b", "unknown"]);
    assert_eq!(home.session(id)["tags"], json!(["always", "a", "c"]));
}

#[test]
fn an_export_comes_back_as_it_was() {
    let home = Home::new();
    home.begin("before");
    let id = home.begin("one");
    home.does(["resume", &id, "日本\n\u{1b}[31m"]);
    home.begin("after");
    let (session, turns) = (home.session(&id), home.turns(&id));
    let document = home.export(&id);
    home.does(["sessions", "delete", &id]);
    let export = home.scene.file("work/export.json", &document);
    home.clinvk(["sessions", "import", &export]).prints(&format!("{id}\n"));
    assert_eq!((home.session(&id), home.turns(&id)), (session, turns));
    // It was used before the last one, and coming back is no use.
    assert_eq!(home.list(&[]), ["after", "one", "before"]);
    assert_eq!(home.fsck(&[]), [""; 0]);
}

#[test]
fn an_import_is_never_in_place_of_what_is_here() {
    let home = Home::new();
    let id = home.begin("one");
    let document = home.export(&id);
    let before = (home.session(&id), home.turns(&id));
    let mut others = Vec::new();
    for _ in 0..2 {
        let seen = home.clinvk(["sessions", "import", "-"]).stdin(&document).seen();
        others.push(seen.out.trim_end().to_owned());
    }
    fs::write(home.path(&id, "json"), "broken").unwrap();
    let seen = home.clinvk(["sessions", "import", "-"]).stdin(&document).seen();
    others.push(seen.out.trim_end().to_owned());
    assert!(others.iter().all(|other| other.len() == 32 && *other != id), "{others:?} {seen}");
    assert_eq!(fs::read(home.path(&id, "json")).unwrap(), b"broken");
    assert_eq!(
        (home.session(&others[1])["backend_session_id"].clone(), home.turns(&others[1])),
        (json!(null), before.1)
    );
}

#[test]
fn what_is_no_export_is_refused() {
    let home = Home::new();
    let id = home.begin("one");
    let mut document: Value = serde_json::from_str(&home.export(&id)).unwrap();
    let before = home.files();
    let refused = |change: &dyn Fn(&mut Value), why: &str| {
        let mut changed = document.clone();
        change(&mut changed);
        let seen = home.clinvk(["sessions", "import", "-"]).stdin(changed.to_string()).seen();
        assert!(seen.err.contains(why) && seen.out.is_empty() && seen.status == 1, "{seen}");
    };
    refused(&|document| document["clinvk_session"] = json!(2), "its format is 2, and this clinvk knows 1");
    refused(&|document| document["session"]["last_used_at"] = json!("zzz"), "`zzz` is no time such as");
    refused(&|document| document["session"]["working_dir"] = json!("work"), "`work` is not an absolute path");
    refused(&|document| *document = json!([]), "is no exported session");
    refused(&|document| document["turns"] = json!(null), "is no exported session");
    assert!(home.files() == before);
    document["session"]["id"] = json!("../../../outside");
    let seen = home.clinvk(["sessions", "import", "-"]).stdin(document.to_string()).seen();
    assert!(
        seen.out.len() == 33 && seen.status == 0 && home.path(seen.out.trim_end(), "json").exists(),
        "{seen}"
    );
}

#[test]
fn an_export_can_be_read_by_people() {
    let home = Home::new();
    let id = home.begin("one");
    let created = home.session(&id)["created_at"].as_str().unwrap().to_owned();
    home.clinvk(["sessions", "export", "--markdown", &id])
        .prints(&format!("# one\n\necho, {created}\n\n## one\n\none\n"));
}

#[test]
fn a_fork_has_used_nothing_yet() {
    let home = Home::new();
    let id = home.begin("one two");
    home.does(["resume", &id, "three"]);
    home.does(["sessions", "fork", &id]);
    let found = home.json(["sessions", "list"]);
    let seen = [0, 1]
        .map(|index| &found["sessions"][index])
        .map(|session| (session["turn_count"].clone(), session["usage"]["input_tokens"].clone()));
    assert_eq!(seen, [(json!(2), json!(0)), (json!(2), json!(3))], "{found:#}");
}

#[test]
fn a_tag_given_to_a_session_that_goes_on_is_added() {
    let home = Home::with(json!({"session": {"default_tags": ["new"]}}));
    let id = home.begin("one");
    home.does(["sessions", "untag", &id, "new"]);
    home.does(["-c", "--tag", "later", "two"]);
    let session = home.json(["sessions", "show", &id]);
    assert_eq!(session["tags"], json!(["later"]), "{session}");
}
