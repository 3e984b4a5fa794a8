//! Tools as people see them. Each backend has names and inputs of its own for what all of them do; the protocol has a few
//! kinds for it, by which clients choose an icon.

use crate::base::json::{Value, json};

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

/// The kind of a tool. One of an MCP server may do anything, whatever it is called.
pub(super) fn kind(name: &str) -> &'static str {
    let name: String =
        name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let has = |part: &&str| name.contains(part);
    let found = KINDS.iter().find(|(parts, _)| parts.iter().any(has));
    match found {
        Some((_, kind)) if !name.starts_with("mcp") => kind,
        _ => "other",
    }
}

/// The file that it works on, where a client could open it.
pub(super) fn locations(input: &Value) -> Vec<Value> {
    let path = PATHS.iter().find_map(|member| input[*member].as_str()).filter(|path| path.starts_with('/'));
    path.map(|path| json!({"path": path})).into_iter().collect()
}

/// What an edit does, where its input has both sides of it.
pub(super) fn diff(input: &Value) -> Option<Value> {
    let path = PATHS.iter().find_map(|member| input[*member].as_str())?;
    let (old, new) = (input["old_string"].as_str()?, input["new_string"].as_str()?);
    Some(json!({"type": "diff", "path": path, "oldText": old, "newText": new}))
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
                assert_eq!(kind(name), kind_of, "{name}");
            }
        }
    }

    #[test]
    fn an_edit_is_a_diff() {
        let edit = json!({"file_path": "/a", "old_string": "x", "new_string": "y"});
        assert_eq!(diff(&edit), Some(json!({"type": "diff", "path": "/a", "oldText": "x", "newText": "y"})));
        assert_eq!(diff(&json!({"file_path": "/a", "content": "y"})), None);
    }

    #[test]
    fn a_location_is_a_path_that_can_be_opened() {
        assert_eq!(locations(&json!({"file_path": "/a"})), [json!({"path": "/a"})]);
        assert_eq!(locations(&json!({"path": "a"})), [] as [Value; 0]);
    }
}
