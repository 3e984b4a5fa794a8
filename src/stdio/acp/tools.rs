//! Tools as people see them. Each backend has names and inputs of its own for what all of them do; the protocol has a few
//! kinds for it, by which clients choose an icon.

use crate::base::json::{Value, json, text};

/// Parts of names, and the kind that a tool with such a part is of: the first that fits.
const KINDS: &[(&[&str], &str)] = &[
    (&["todo", "plan", "think", "memory"], "think"),
    (&["fetch", "web", "browse", "url"], "fetch"),
    (&["grep", "glob", "search", "find"], "search"),
    (&["edit", "write", "replace", "patch", "filechange", "create"], "edit"),
    (&["delete", "remove"], "delete"),
    (&["move", "rename"], "move"),
    (&["bash", "shell", "command", "exec", "terminal"], "execute"),
    (&["read", "view", "list", "cat", "ls"], "read"),
];

/// Where inputs have the file that is meant.
const PATHS: &[&str] = &["file_path", "absolute_path", "notebook_path", "path"];

/// The kind of a tool: what its input says, or else its name. One of an MCP server may do anything, whatever it is called.
pub(super) fn kind(name: &str, input: &Value) -> &'static str {
    let said = |(_, kind): &&(&[&str], &'static str)| input["kind"] == *kind;
    if let Some((_, kind)) = KINDS.iter().find(said) {
        return kind;
    }
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let name = name.to_ascii_lowercase();
    let has = |part: &&str| name.contains(part);
    match KINDS.iter().find(|(parts, _)| parts.iter().any(has)) {
        Some((_, kind)) if !name.starts_with("mcp") => kind,
        _ => "other",
    }
}

/// The files that it works on, where a client could open them.
pub(super) fn locations(input: &Value) -> Vec<Value> {
    let one = PATHS.iter().find_map(|member| input[*member].as_str());
    let listed = list(&input["paths"]).filter_map(Value::as_str);
    let changed = list(&input["changes"]).filter_map(|change| change["path"].as_str());
    let paths = one.into_iter().chain(listed).chain(changed).filter(|path| path.starts_with('/'));
    paths.map(|path| json!({"path": path})).collect()
}

/// What it changes in files, where its input has both sides of it.
pub(super) fn diffs(input: &Value) -> Vec<Value> {
    let path = PATHS.iter().find_map(|member| input[*member].as_str());
    let edits = list(&input["edits"]).chain([input]).filter_map(|edit| {
        let (old, new) = (edit["old_string"].as_str()?, edit["new_string"].as_str()?);
        Some(json!({"type": "diff", "path": path?, "oldText": old, "newText": new}))
    });
    edits.chain(list(&input["changes"]).filter_map(change)).collect()
}

/// A change of one file: all that is in it, or lines with a sign in front as `diff -u` prints them.
fn change(change: &Value) -> Option<Value> {
    let (path, diff) = (change["path"].as_str()?, change["diff"].as_str()?);
    let side = |sign: char| -> String {
        let lines = diff.split_inclusive('\n').filter_map(|line| line.strip_prefix([' ', sign]));
        lines.collect()
    };
    let (old, new) = match text(&change["kind"]["type"]) {
        "add" => (None, diff.to_owned()),
        "delete" => (Some(diff.to_owned()), String::new()),
        "update" => (Some(side('-')), side('+')),
        _ => return None,
    };
    Some(json!({"type": "diff", "path": path, "oldText": old, "newText": new}))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tools_of_all_vendors_have_a_kind() {
        for (kind_of, names) in [
            ("execute", &["Bash", "commandExecution", "run_shell_command", "execute_bash", "terminal"][..]),
            ("edit", &["Edit", "MultiEdit", "Write", "fileChange", "write_file", "replace", "apply_patch"]),
            ("read", &["Read", "read_file", "list_directory", "read_many_files", "imageView"]),
            ("search", &["Grep", "Glob", "search_file_content", "glob", "find"]),
            ("fetch", &["WebFetch", "WebSearch", "webSearch", "web_fetch", "google_web_search"]),
            ("think", &["TodoWrite", "ExitPlanMode", "save_memory", "update_plan"]),
            ("other", &["Task", "mcp__files__read", "sleep", "x", ""]),
        ] {
            for name in names {
                assert_eq!(kind(name, &Value::Null), kind_of, "{name}");
            }
        }
    }

    #[test]
    fn an_input_may_say_its_kind() {
        assert_eq!(kind("ls", &json!({"kind": "execute"})), "execute");
        assert_eq!(kind("read_file", &json!({"kind": {"type": "add"}})), "read");
    }

    #[test]
    fn an_edit_is_a_diff() {
        let diff = |path: &str, old: Value, new: &str| json!({"type": "diff", "path": path, "oldText": old, "newText": new});
        for (input, told) in [
            (
                json!({"file_path": "/a", "old_string": "x", "new_string": "y"}),
                vec![diff("/a", json!("x"), "y")],
            ),
            (
                json!({"file_path": "/a", "edits": [{"old_string": "x", "new_string": "y"}, {"old_string": "1", "new_string": ""}]}),
                vec![diff("/a", json!("x"), "y"), diff("/a", json!("1"), "")],
            ),
            (
                json!({"changes": [
                    {"path": "/a", "kind": {"type": "update"}, "diff": "@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n"},
                    {"path": "/b", "kind": {"type": "delete"}, "diff": "gone\n"},
                    {"path": "/c", "kind": {"type": "add"}, "diff": "new\n"},
                    {"path": "/d", "kind": {"type": "later"}, "diff": "?"},
                ]}),
                vec![
                    diff("/a", json!("one\ntwo\nthree\n"), "one\n2\nthree\n"),
                    diff("/b", json!("gone\n"), ""),
                    diff("/c", Value::Null, "new\n"),
                ],
            ),
            (json!({"file_path": "/a", "content": "y"}), vec![]),
            (Value::Null, vec![]),
        ] {
            assert_eq!(diffs(&input), told, "{input}");
        }
    }

    #[test]
    fn a_location_is_a_path_that_can_be_opened() {
        for (input, paths) in [
            (json!({"file_path": "/a"}), vec!["/a"]),
            (json!({"paths": ["/a", "b"]}), vec!["/a"]),
            (json!({"changes": [{"path": "/a"}, {"path": "/b"}]}), vec!["/a", "/b"]),
            (json!({"path": "a"}), vec![]),
        ] {
            let told: Vec<Value> = paths.into_iter().map(|path| json!({"path": path})).collect();
            assert_eq!(locations(&input), told, "{input}");
        }
    }
}
