//! Gemini's tools for one run, as a file for its policy engine, among the user's own policies. Settings would not do: a
//! trusted project's `tools.core` replaces the user's (measured), policies of users outrank everything of a project.

use crate::base::json::json;
use crate::model::error::Error;
use crate::model::task::{Sandbox, Task};

/// Tools that change nothing: all there is under `sandbox read-only`.
const READING_TOOLS: &[&str] =
    &["read_file", "read_many_files", "list_directory", "glob", "grep_search", "google_web_search", WEB];

/// Reads, but gemini asks before it does.
const WEB: &str = "web_fetch";

/// What gemini brings along, here and there since 0.44: taken away by name, above all rules of the user's. What is not on
/// this list is caught by the last rule, below them.
const BUILT_IN: &[&str] = &[
    "activate_skill",
    "ask_user",
    "complete_task",
    "enter_plan_mode",
    "exit_plan_mode",
    "get_internal_docs",
    "glob",
    "google_web_search",
    "grep_search",
    "invoke_agent",
    "list_background_processes",
    "list_directory",
    "list_mcp_resources",
    "read_background_output",
    "read_file",
    "read_many_files",
    "read_mcp_resource",
    "replace",
    "run_shell_command",
    "save_memory",
    "tracker_add_dependency",
    "tracker_create_task",
    "tracker_get_task",
    "tracker_list_tasks",
    "tracker_update_task",
    "tracker_visualize",
    "update_topic",
    "web_fetch",
    "write_file",
    "write_todos",
];

const SHELL: &str = "run_shell_command";

/// Priorities within the tier of the user's policies, which have 0 to 999 there. Taking away outranks what the user
/// allows; what is allowed here does not outrank what the user takes away, with one exception: within the shell an
/// allowed prefix needs a place above "no other command".
const DENIED: u16 = 999;
const ALLOWED_PREFIX: u16 = 998;
const OTHER_COMMANDS: u16 = 997;
const ALLOWED: u16 = 1;
const THE_REST: u16 = 0;

/// The policy of a task; none where all tools are offered as gemini does.
pub(super) fn of(task: &Task) -> Result<Option<String>, Error> {
    let mut text = String::new();
    for pattern in &task.denied_tools {
        text += &rule("deny", DENIED, &parse(pattern)?, "");
    }
    let reading = task.sandbox == Sandbox::ReadOnly;
    if task.allowed_tools.is_none() && !reading {
        return Ok(Some(text).filter(|text| !text.is_empty()));
    }
    let listed =
        task.allowed_tools.iter().flatten().map(|pattern| parse(pattern)).collect::<Result<Vec<_>, _>>()?;
    let mut offered: Vec<Tool> = match &task.allowed_tools {
        Some(_) => listed.into_iter().filter(|tool| !reading || READING_TOOLS.contains(&tool.name)).collect(),
        None => READING_TOOLS.iter().map(|name| Tool { name, prefix: None }).collect(),
    };
    let taken = |name: &&str| !offered.iter().any(|tool| tool.name == *name);
    for name in BUILT_IN.iter().copied().filter(taken) {
        text += &rule("deny", DENIED, &Tool { name, prefix: None }, "");
    }
    if !offered.iter().any(|tool| tool.name.starts_with("mcp_")) {
        text += &rule("deny", DENIED, &Tool { name: "mcp_*", prefix: None }, "");
    }
    if offered.iter().any(|tool| tool.prefix.is_some())
        && !offered.contains(&Tool { name: SHELL, prefix: None })
    {
        text += &rule("deny", OTHER_COMMANDS, &Tool { name: SHELL, prefix: None }, "");
    }
    offered.dedup();
    for tool in &offered {
        text += &match (tool.prefix, tool.name) {
            (Some(_), _) => rule("allow", ALLOWED_PREFIX, tool, ""),
            // The approval mode decides: under `read-only` a list only chooses.
            (None, WEB) if reading => rule("ask_user", ALLOWED, tool, ""),
            // Redirections of an allowed shell would be asked for again.
            (None, _) => rule("allow", ALLOWED, tool, "allowRedirection = true\n"),
        };
    }
    Ok(Some(text + &rule("deny", THE_REST, &Tool { name: "*", prefix: None }, "")))
}

/// A tool, or the commands of the shell that begin so.
#[derive(PartialEq)]
struct Tool<'a> {
    name: &'a str,
    prefix: Option<&'a str>,
}

/// `write_file`, `run_shell_command(git status)`. A star at the end says the same as none: it is a prefix.
fn parse(pattern: &str) -> Result<Tool<'_>, Error> {
    let Some((name, rest)) = pattern.split_once('(') else {
        return Ok(Tool { name: pattern.trim(), prefix: None });
    };
    match (name.trim(), rest.strip_suffix(')')) {
        (SHELL, Some(prefix)) => {
            let prefix = prefix.trim_end_matches('*').trim_end_matches(':').trim();
            Ok(Tool { name: SHELL, prefix: Some(prefix).filter(|prefix| !prefix.is_empty()) })
        }
        _ => Err(Error::Invalid(format!(
            "gemini has nothing for the tool pattern `{pattern}`: only `{SHELL}(PREFIX)` takes more than a name"
        ))),
    }
}

/// One rule in TOML. Its basic strings take what JSON writes.
fn rule(decision: &str, priority: u16, tool: &Tool<'_>, more: &str) -> String {
    let prefix = tool.prefix.map_or(String::new(), |prefix| format!("commandPrefix = {}\n", json!(prefix)));
    let name = json!(tool.name);
    format!("[[rule]]\ntoolName = {name}\n{prefix}decision = \"{decision}\"\npriority = {priority}\n{more}\n")
}
