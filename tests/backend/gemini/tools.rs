//! Which tools there are in a run: the rules that gemini's policy engine is given.

use super::{gemini, launch, task, words};
use clinvk::backend::Backend;
use clinvk::model::task::{Approval, Sandbox, Task, ToolUse};

/// The rules of the policy, without the long lists: (decision, priority, tool, prefix).
fn rules(task: &Task) -> Vec<(String, String, String, String)> {
    let launch = launch(task);
    let Some(file) = launch.files.iter().find(|file| file.path.ends_with("policies/clinvk.toml")) else {
        return Vec::new();
    };
    let field = |rule: &str, name: &str| {
        let line = rule.lines().find_map(|line| line.strip_prefix(&format!("{name} = ")));
        line.unwrap_or_default().trim_matches('"').to_owned()
    };
    let all = file.text.split("[[rule]]").skip(1).map(|rule| {
        (
            field(rule, "decision"),
            field(rule, "priority"),
            field(rule, "toolName"),
            field(rule, "commandPrefix"),
        )
    });
    all.collect()
}

#[test]
fn tools_are_taken_away_above_the_users_policies_and_allowed_below_them() {
    let rule = |decision: &str, priority: &str, tool: &str, prefix: &str| {
        (decision.to_owned(), priority.to_owned(), tool.to_owned(), prefix.to_owned())
    };
    let has = |rules: &[_], decision, priority, tool, prefix| {
        rules.contains(&rule(decision, priority, tool, prefix))
    };
    assert_eq!(rules(&task("x")), []);

    let denied = Task { denied_tools: words(&["glob", "run_shell_command(rm *)"]), ..task("x") };
    assert_eq!(
        rules(&denied),
        [rule("deny", "999", "glob", ""), rule("deny", "999", "run_shell_command", "rm")]
    );

    let reading = rules(&Task { sandbox: Sandbox::ReadOnly, ..task("x") });
    for tool in [
        "write_file",
        "replace",
        "run_shell_command",
        "invoke_agent",
        "activate_skill",
        "save_memory",
        "mcp_*",
    ] {
        assert!(has(&reading, "deny", "999", tool, ""), "{tool}: {reading:?}");
    }
    assert!(has(&reading, "allow", "1", "read_file", ""), "{reading:?}");
    assert!(has(&reading, "ask_user", "1", "web_fetch", ""), "{reading:?}");
    assert_eq!(reading.last(), Some(&rule("deny", "0", "*", "")));

    let listed = words(&["read_file", "run_shell_command(git status)", "mcp_github_search"]);
    let listed = Task { allowed_tools: Some(listed), ..task("x") };
    let allowed = rules(&listed);
    assert!(has(&allowed, "allow", "1", "read_file", ""), "{allowed:?}");
    assert!(has(&allowed, "allow", "998", "run_shell_command", "git status"), "{allowed:?}");
    assert!(has(&allowed, "deny", "997", "run_shell_command", ""), "{allowed:?}");
    assert!(has(&allowed, "deny", "999", "write_file", ""), "{allowed:?}");
    assert!(!has(&allowed, "deny", "999", "mcp_*", ""), "{allowed:?}");
    assert!(!has(&allowed, "deny", "999", "read_file", ""), "{allowed:?}");

    // faults.md G10: under read-only a list approves nothing.
    let web = Task { allowed_tools: Some(words(&["web_fetch", "read_file"])), ..task("x") };
    assert!(has(&rules(&web), "allow", "1", "web_fetch", ""));
    let web = rules(&Task { sandbox: Sandbox::ReadOnly, ..web });
    assert!(
        has(&web, "ask_user", "1", "web_fetch", "") && !has(&web, "allow", "1", "web_fetch", ""),
        "{web:?}"
    );
    assert!(has(&web, "allow", "1", "read_file", ""), "{web:?}");

    let both = rules(&Task { sandbox: Sandbox::ReadOnly, ..listed });
    assert!(has(&both, "allow", "1", "read_file", ""), "{both:?}");
    assert!(has(&both, "deny", "999", "run_shell_command", ""), "{both:?}");
    assert!(
        !both.iter().any(|(decision, _, tool, _)| decision != "deny" && tool == "run_shell_command"),
        "{both:?}"
    );

    let none = rules(&Task { allowed_tools: Some(vec![]), ..task("x") });
    assert!(none.iter().all(|(decision, ..)| decision == "deny"), "{none:?}");
    assert!(has(&none, "deny", "999", "read_file", ""), "{none:?}");
}

#[test]
fn a_tool_pattern_that_gemini_has_nothing_for_is_refused() {
    for pattern in ["read_file(/etc/*)", "run_shell_command(git"] {
        let error = gemini().launch(&Task { denied_tools: words(&[pattern]), ..task("x") }).unwrap_err();
        assert!(error.to_string().contains(pattern), "{error}");
    }
}

#[test]
fn a_tools_name_cannot_break_out_of_its_rule() {
    let name = "x\"\n[[rule]]\ntoolName = \"*";
    let launch = launch(&Task { denied_tools: words(&[name]), ..task("x") });
    let text = &launch.files[0].text;
    assert_eq!(text.lines().filter(|line| *line == "[[rule]]").count(), 1, "{text}");
}

/// Measured with 0.61.0: with `none` the model is offered nothing, and no MCP server of the user's is started.
#[test]
fn tools_are_bound_whatever_else_is_asked() {
    for tools in [ToolUse::ReadOnly, ToolUse::None] {
        let bound = Task { tools, approval: Approval::None, sandbox: Sandbox::Full, ..task("x") };
        let args = gemini().launch(&bound).unwrap().args;
        assert!(args.contains(&"--approval-mode=default".to_owned()), "{args:?}");
        let rules = rules(&bound);
        let allowed: Vec<&str> =
            rules.iter().filter(|rule| rule.0 != "deny").map(|(_, _, tool, _)| tool.as_str()).collect();
        assert_eq!(allowed.contains(&"read_file"), tools == ToolUse::ReadOnly, "{allowed:?}");
        assert!(!allowed.contains(&"run_shell_command") && !allowed.contains(&"write_file"), "{allowed:?}");
        assert_eq!(allowed.is_empty(), tools == ToolUse::None, "{allowed:?}");
        assert!(rules.iter().any(|rule| rule.0 == "deny" && rule.2 == "mcp_*"), "{rules:?}");
    }
}
