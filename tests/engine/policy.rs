//! What a request may do on a server, and with a key.

use crate::util::scene::Scene;
use clinvk::backend::{Agents, Registry};
use clinvk::config::{Config, KeyPolicy, Server};
use clinvk::engine::policy::{Policy, default_workdir};
use clinvk::engine::request::{Defaults, Request};
use clinvk::model::error::Kind;
use clinvk::model::fields::Object;
use clinvk::model::task::{Approval, Sandbox, Task};
use clinvk::session::Session;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// A configuration as its file would have it, and the policy of a key `ci` in it, else of the server.
struct Fixture {
    config: Config,
    policy: Policy,
    scene: Scene,
}

impl Fixture {
    fn new(config: &Value) -> Fixture {
        let scene = Scene::new();
        for dir in ["srv/a/in", "srv/ab", "srv/b"] {
            fs::create_dir_all(scene.path(dir)).unwrap();
        }
        symlink(scene.path("srv/b"), scene.path("srv/a/link")).unwrap();
        let config = config.to_string().replace("ROOT", &scene.text("srv"));
        scene.file("config.json", config);
        let config = Config::load(&scene.path(""), None, &BTreeMap::new()).unwrap().config;
        let policy = Policy::of(&config.server).unwrap();
        let policy =
            config.server.keys.get("ci").map_or(policy.clone(), |key| policy.and("ci", key).unwrap());
        Fixture { config, policy, scene }
    }

    /// A server with these keys.
    fn serving(server: Value) -> Fixture {
        Fixture::new(&json!({"server": server}))
    }

    /// What becomes of a request.
    fn ask(&self, request: Value) -> Result<Task, String> {
        self.go_on(None, request)
    }

    /// What becomes of a request in a session.
    fn go_on(&self, session: Option<&Session>, request: Value) -> Result<Task, String> {
        let request = request.to_string().replace("ROOT", &self.scene.text("srv"));
        let Object(request): Object<Request> = serde_json::from_str(&request).unwrap();
        let (registry, _) = Registry::of(&self.config, "clinvk", Agents::Configured);
        let defaults = Defaults {
            config: &self.config,
            registry: &registry,
            base: &self.scene.path("srv/a"),
            temp: Path::new("/tmp"),
            home: Path::new("/nowhere"),
            session,
            directories: &self.policy,
            reads_files: false,
        };
        let task = request.tasks(&defaults, || Ok("hi".to_owned())).and_then(|mut tasks| {
            let mut task = tasks.swap_remove(0);
            let backend = registry.get(&task.backend).unwrap();
            self.policy.admit(&request, &mut task, &*backend).map(|()| task)
        });
        task.map_err(|error| error.to_string().replace(&self.scene.text("srv"), "ROOT"))
    }

    #[track_caller]
    fn refuses(&self, request: Value, sentence: &str) {
        let said = self.ask(request.clone()).map(|_| ());
        assert_eq!(said, Err(sentence.to_owned()), "{request}");
    }
}

#[test]
fn a_server_without_rules_of_its_own_takes_edits_and_nothing_stronger() {
    let fixture = Fixture::serving(json!({}));
    for (request, approval, sandbox) in [
        (json!({}), Approval::Default, Sandbox::Default),
        (json!({"approval_mode": "auto"}), Approval::Auto, Sandbox::Default),
        (json!({"approval_mode": "always"}), Approval::Always, Sandbox::Default),
        (json!({"sandbox_mode": "read-only"}), Approval::Default, Sandbox::ReadOnly),
        (json!({"sandbox_mode": "workspace", "backend": "codex"}), Approval::Default, Sandbox::Workspace),
    ] {
        let task = fixture.ask(request.clone()).unwrap();
        assert_eq!((task.approval, task.sandbox), (approval, sandbox), "{request}");
        assert!(task.no_project_config, "{request}");
    }
    for (request, sentence) in [
        (
            json!({"approval_mode": "none"}),
            "approval mode `none` is not allowed: `server.max_approval_mode` allows at most `auto`",
        ),
        (
            json!({"sandbox_mode": "full"}),
            "sandbox mode `full` is not allowed: `server.max_sandbox_mode` allows at most `default`",
        ),
        (
            json!({"extra": ["--bare"]}),
            "flag `--bare` is not allowed: `server.allowed_extra_flags` allows none",
        ),
        (
            json!({"no_project_config": false}),
            "`no_project_config: false` is not allowed: `server.project_config` allows `true` only",
        ),
        (
            json!({"interpret": true}),
            "`interpret`, which reads files and runs commands without approval, is not allowed: \
             `server.max_approval_mode` allows at most `auto`",
        ),
        (
            json!({"allowed_tools": ["Bash"]}),
            "a list of tools, which need no approval then, is not allowed: \
             `server.max_approval_mode` allows at most `auto`",
        ),
        (
            json!({"mcp": {"a": {"command": "x"}}}),
            "`mcp`, which starts programs, is not allowed: `server.allow_mcp` allows none",
        ),
        (
            json!({"mcp": "/etc/passwd"}),
            "`/etc/passwd` is a file's name: over the network only what is in it can be sent",
        ),
        (json!({"model": "--dangerous"}), "`--dangerous` is no name of a model"),
    ] {
        fixture.refuses(request, sentence);
    }
    for request in [
        json!({"mcp": {}}),
        json!({"allowed_tools": []}),
        json!({"allowed_tools": "all"}),
        json!({"allowed_tools": ["Read"], "sandbox_mode": "read-only"}),
        json!({"interpret": false, "no_project_config": true}),
    ] {
        assert!(fixture.ask(request.clone()).is_ok(), "{request}");
    }
}

#[test]
fn a_refusal_is_a_matter_of_policy() {
    let error = Fixture::serving(json!({"allowed_backends": []})).policy.backend("claude").unwrap_err();
    assert_eq!(error.kind(), Kind::Policy);
}

#[test]
fn what_a_request_does_not_say_is_lowered_and_what_it_says_is_not() {
    let fixture = |config: Value| {
        let mut config = config;
        config["unified_flags"] = json!({"approval_mode": "none", "sandbox_mode": "full"});
        Fixture::new(&config)
    };
    let lowered = |most: Value, request: Value| {
        let task = fixture(json!({"server": most})).ask(request).unwrap();
        (task.approval.word(), task.sandbox.word())
    };
    assert_eq!(lowered(json!({}), json!({})), ("auto", "default"));
    let all = json!({"max_approval_mode": "none", "max_sandbox_mode": "full"});
    assert_eq!(lowered(all, json!({})), ("none", "full"));
    let least = json!({"max_approval_mode": "always", "max_sandbox_mode": "read-only"});
    assert_eq!(lowered(least.clone(), json!({})), ("always", "read-only"));
    // Claude has no sandbox for a workspace: the next stricter one is meant.
    let workspace = json!({"max_sandbox_mode": "workspace"});
    assert_eq!(lowered(workspace.clone(), json!({})), ("auto", "read-only"));
    assert_eq!(lowered(workspace.clone(), json!({"backend": "codex"})), ("auto", "workspace"));
    fixture(json!({"server": least})).refuses(
        json!({"approval_mode": "default"}),
        "approval mode `default` is not allowed: `server.max_approval_mode` allows at most `always`",
    );
    fixture(json!({"server": workspace})).refuses(
        json!({"sandbox_mode": "default"}),
        "sandbox mode `default` is not allowed: `server.max_sandbox_mode` allows at most `workspace`",
    );
}

#[test]
fn an_approval_that_takes_the_sandbox_away_is_held_to_the_sandbox_rule() {
    let fixture = Fixture::serving(json!({"max_approval_mode": "none"}));
    // Codex under `none` with no sandbox named has none.
    let task = fixture.ask(json!({"backend": "codex", "approval_mode": "none"})).unwrap();
    assert_eq!((task.approval, task.sandbox), (Approval::None, Sandbox::Workspace));
    fixture.refuses(
        json!({"backend": "codex", "approval_mode": "none", "sandbox_mode": "default"}),
        "sandbox mode `default`, which with backend `codex` is `full` here, is not allowed: \
         `server.max_sandbox_mode` allows at most `default`",
    );
    let task = fixture.ask(json!({"backend": "claude", "approval_mode": "none"})).unwrap();
    assert_eq!((task.approval, task.sandbox), (Approval::None, Sandbox::Default));
}

#[test]
fn lenient_does_not_drop_a_ceiling() {
    // A declared command honours no approval and no sandbox mode: `lenient` would drop them after they were allowed.
    let backends = json!({"odd": {"command": ["odd"]}});
    let fixture = Fixture::new(&json!({"server": {"max_sandbox_mode": "workspace"}, "backends": backends}));
    let asked = "sandbox mode `workspace`, which with backend `odd` is `default` here,";
    let allowed = "is not allowed: `server.max_sandbox_mode` allows at most `workspace`";
    let request = |lenient| json!({"backend": "odd", "sandbox_mode": "workspace", "lenient": lenient});
    fixture.refuses(request(true), &format!("{asked} {allowed}"));
    // Without `lenient` the engine says that it cannot be honoured.
    assert_eq!(fixture.ask(request(false)).unwrap().sandbox, Sandbox::Workspace);
    for lenient in [true, false] {
        fixture.refuses(
            json!({"backend": "odd", "lenient": lenient}),
            &format!("sandbox mode `default` {allowed}"),
        );
    }
    let fixture = Fixture::new(&json!({"server": {"max_approval_mode": "always"}, "backends": backends}));
    fixture.refuses(
        json!({"backend": "odd", "approval_mode": "always", "lenient": true}),
        "approval mode `always`, which with backend `odd` is `default` here, is not allowed: \
         `server.max_approval_mode` allows at most `always`",
    );
}

#[test]
fn backends_and_models_are_those_on_the_list() {
    let fixture = Fixture::serving(json!({
        "allowed_backends": ["claude", "codex"],
        "allowed_models": ["fast", "gpt-6-astra"],
    }));
    fixture.refuses(
        json!({"backend": "gemini"}),
        "backend `gemini` is not allowed: `server.allowed_backends` allows `claude`, `codex`",
    );
    let models = "is not allowed: `server.allowed_models` allows `fast`, `gpt-6-astra`";
    for (backend, model, asked) in [
        ("claude", Some("opus"), "model `opus`"),
        ("claude", Some("best"), "model `best`"),
        ("claude", None, "the model that backend `claude` has by default"),
        ("claude", Some("balanced"), "model `balanced`"),
        ("codex", Some("gpt-6-luna-2"), "model `gpt-6-luna-2`"),
        // What codex's aliases stand for only codex tells: they are on the list by their own names.
        ("codex", Some("gpt-6-luna"), "model `gpt-6-luna`"),
        ("codex", Some("best"), "model `best`"),
    ] {
        fixture.refuses(json!({"backend": backend, "model": model}), &format!("{asked} {models}"));
    }
    // By the alias or by what it stands for.
    for (backend, model) in
        [("claude", "fast"), ("claude", "haiku"), ("codex", "gpt-6-astra"), ("codex", "fast")]
    {
        assert!(fixture.ask(json!({"backend": backend, "model": model})).is_ok(), "{backend} {model}");
    }
    let fixture = Fixture::serving(json!({"allowed_models": ["default"]}));
    assert!(fixture.ask(json!({})).is_ok() && fixture.ask(json!({"model": "balanced"})).is_ok());
    fixture.refuses(
        json!({"model": "fast"}),
        "model `fast` is not allowed: `server.allowed_models` allows `default`",
    );
    fixture.policy.backend("anything").unwrap();
}

#[test]
fn flags_are_those_on_the_list_and_those_of_the_configuration() {
    let fixture = Fixture::new(&json!({
        "server": {"allowed_extra_flags": ["--bare", "--fallback-model="]},
        "backends": {"claude": {"extra_flags": ["--strict-mcp-config"]}},
    }));
    for extra in [
        json!([]),
        json!(["--bare"]),
        json!(["--fallback-model=opus", "--bare"]),
        json!(["--fallback-model", "opus"]),
    ] {
        let task = fixture.ask(json!({"extra": extra})).unwrap();
        assert_eq!(task.extra[0], "--strict-mcp-config", "{extra}");
    }
    let allowed = "is not allowed: `server.allowed_extra_flags` allows `--bare`, `--fallback-model=`";
    for (extra, flag) in [
        (json!(["--strict-mcp-config"]), "--strict-mcp-config"),
        (json!(["--bare", "--mcp-config=/tmp/x"]), "--mcp-config"),
        (json!(["--bare", "--mcp-config", "/tmp/x"]), "--mcp-config"),
        (json!(["--barely"]), "--barely"),
        (json!(["-"]), "-"),
    ] {
        fixture.refuses(json!({"extra": extra}), &format!("flag `{flag}` {allowed}"));
    }
    fixture.refuses(json!({"extra": ["opus"]}), "`extra` begins with a flag, and `opus` is none");
    assert!(
        Fixture::serving(json!({"allowed_extra_flags": "all"})).ask(json!({"extra": ["--anything"]})).is_ok(),
        "what the backend does not take is the engine's business"
    );
}

#[test]
fn directories_are_compared_name_by_name_and_without_links() {
    let fixture = Fixture::serving(json!({
        "allowed_workdir_prefixes": ["ROOT/a", "ROOT/b/"],
        "blocked_workdir_prefixes": ["ROOT/b"],
    }));
    let outside = "is not allowed: `server.allowed_workdir_prefixes` allows `ROOT/a`, `ROOT/b`";
    let blocked = "is not allowed: `server.blocked_workdir_prefixes` allows nothing in `ROOT/b`";
    for (workdir, dir) in
        [("ROOT/a", "a"), ("ROOT/a/in/../in/", "a/in"), (".", "a"), ("in", "a/in"), ("", "a")]
    {
        let task = fixture.ask(json!({"workdir": workdir})).unwrap();
        assert_eq!(task.dir, fixture.scene.path("srv").join(dir), "{workdir}");
    }
    assert_eq!(fixture.ask(json!({})).unwrap().dir, fixture.scene.path("srv/a"));
    for (workdir, rule) in [
        ("ROOT/ab", outside),
        ("ROOT/a/../ab", outside),
        ("ROOT", outside),
        ("/", outside),
        ("/usr", outside),
        ("../ab", outside),
        ("ROOT/b", blocked),
        ("ROOT/a/link", blocked),
        ("link", blocked),
    ] {
        fixture.refuses(json!({"workdir": workdir}), &format!("directory `{workdir}` {rule}"));
        fixture.refuses(json!({"add_dirs": ["in", workdir]}), &format!("directory `{workdir}` {rule}"));
    }
}

/// faults.md F8.
#[test]
fn what_is_there_cannot_be_told_from_what_is_not_where_a_client_may_not_go() {
    let only = |rule: &str| {
        let fixture = Fixture::serving(json!({rule: ["ROOT/a"]}));
        for (link, target) in [("out", "b"), ("nowhere", "b/none"), ("in_a", "a/in"), ("gone", "a/none")] {
            symlink(fixture.scene.path("srv").join(target), fixture.scene.path("srv/a").join(link)).unwrap();
        }
        fixture.scene.file("srv/a/file", "");
        fixture.scene.file("srv/b/file", "");
        fixture
    };
    let missing = "No such file or directory (os error 2)";
    let allowed = only("allowed_workdir_prefixes");
    let outside = "is not allowed: `server.allowed_workdir_prefixes` allows `ROOT/a`";
    for name in [
        "ROOT/b",
        "ROOT/b/none",
        "ROOT/b/none/none",
        "ROOT/b/file",
        "ROOT/b/file/none",
        "/proc/none",
        "/etc/passwd",
        "out",
        "out/none",
        "nowhere",
        "nowhere/none",
        "none/../../b/none",
        // Where it leads is not looked for.
        "gone",
    ] {
        let refusal = match name {
            // By the name alone it leads nowhere in a place that is allowed.
            "none/../../b/none" => format!("cannot use directory `ROOT/a/{name}`: {missing}"),
            _ => format!("directory `{name}` {outside}"),
        };
        allowed.refuses(json!({"workdir": name}), &refusal);
    }
    let blocked = only("blocked_workdir_prefixes");
    let inside = "is not allowed: `server.blocked_workdir_prefixes` allows nothing in `ROOT/a`";
    for name in ["ROOT/a", "in", "none", "none/none", "file", "file/none", "in_a", "gone", "nowhere"] {
        blocked.refuses(json!({"workdir": name}), &format!("directory `{name}` {inside}"));
    }
    // Who may go there is told what is wrong.
    for (fixture, name, path) in [
        (&allowed, "none", "ROOT/a/none"),
        (&allowed, "in/none", "ROOT/a/in/none"),
        (&blocked, "/proc/none", "/proc/none"),
        (&blocked, "ROOT/b/none", "ROOT/b/none"),
    ] {
        fixture.refuses(json!({"workdir": name}), &format!("cannot use directory `{path}`: {missing}"));
    }
    allowed.refuses(json!({"workdir": "file"}), "`file` is not a directory");
    assert_eq!(allowed.ask(json!({"workdir": "in_a"})).unwrap().dir, allowed.scene.path("srv/a/in"));
}

#[test]
fn a_sessions_directory_that_became_a_link_is_where_the_link_leads() {
    let fixture = Fixture::serving(json!({"allowed_workdir_prefixes": ["ROOT/a"]}));
    // As a session remembers it.
    let of = |dir: &str| Session::new("s".to_owned(), "claude", fixture.scene.path("srv/a").join(dir), "hi");
    let refusal = "directory `ROOT/a/link` is not allowed: `server.allowed_workdir_prefixes` allows `ROOT/a`";
    assert_eq!(fixture.go_on(Some(&of("link")), json!({})).map(drop), Err(refusal.to_owned()));
    let gone = fixture.go_on(Some(&of("none")), json!({})).map(drop).unwrap_err();
    assert!(gone.contains("its directory `ROOT/a/none` is gone"), "{gone}");
    assert_eq!(fixture.go_on(Some(&of("in")), json!({})).unwrap().dir, fixture.scene.path("srv/a/in"));
}

#[test]
fn of_the_server_and_the_key_the_stricter_holds() {
    let strict = json!({
        "allowed_backends": ["claude"], "max_approval_mode": "default", "max_sandbox_mode": "read-only",
        "allowed_extra_flags": ["--bare"], "allowed_workdir_prefixes": ["ROOT/a/in"], "allow_mcp": false,
    });
    let loose = json!({
        "allowed_backends": ["claude", "codex"], "max_approval_mode": "none", "max_sandbox_mode": "full",
        "allowed_extra_flags": ["--bare", "--safe-mode"], "allowed_workdir_prefixes": ["ROOT/a"], "allow_mcp": true,
    });
    let with_key = |server: &Value, key: &Value| {
        let mut server = server.clone();
        server["keys"] = json!({"ci": key});
        Fixture::serving(server)
    };
    let in_it = |mut request: Value| {
        request["workdir"] = json!("in");
        request
    };
    for (fixture, section) in
        [(with_key(&strict, &loose), "server"), (with_key(&loose, &strict), "server.keys.ci")]
    {
        for (request, asked, rule, allowed) in [
            (in_it(json!({"backend": "codex"})), "backend `codex`", "allowed_backends", "`claude`"),
            (
                in_it(json!({"approval_mode": "auto"})),
                "approval mode `auto`",
                "max_approval_mode",
                "at most `default`",
            ),
            (
                in_it(json!({"sandbox_mode": "default"})),
                "sandbox mode `default`",
                "max_sandbox_mode",
                "at most `read-only`",
            ),
            (
                in_it(json!({"extra": ["--safe-mode"]})),
                "flag `--safe-mode`",
                "allowed_extra_flags",
                "`--bare`",
            ),
            (
                in_it(json!({"mcp": {"a": {"command": "x"}}})),
                "`mcp`, which starts programs,",
                "allow_mcp",
                "none",
            ),
            (json!({}), "directory `ROOT/a`", "allowed_workdir_prefixes", "`ROOT/a/in`"),
        ] {
            fixture.refuses(request, &format!("{asked} is not allowed: `{section}.{rule}` allows {allowed}"));
        }
        let task = fixture.ask(in_it(json!({"extra": ["--bare"]}))).unwrap();
        assert_eq!((task.approval, task.sandbox), (Approval::Default, Sandbox::ReadOnly));
    }
    let servers = json!({"mcp": {"mcpServers": {"a": {"command": "x"}}}});
    let task = with_key(&loose, &loose).ask(servers).unwrap();
    assert_eq!(task.mcp[0].name, "a");
    // A key that says nothing is the server's.
    let task = with_key(&json!({}), &json!({"admin": true})).ask(json!({"approval_mode": "auto"})).unwrap();
    assert_eq!(task.approval, Approval::Auto);
}

#[test]
fn a_prefix_that_is_not_there_keeps_the_server_from_starting() {
    let list = |dir: &str| vec![dir.to_owned()];
    let server = Server { blocked_workdir_prefixes: list("/proc/none"), ..Server::default() };
    let missing = "`/proc/none` cannot be used: No such file or directory (os error 2)";
    assert_eq!(
        Policy::of(&server).unwrap_err().to_string(),
        format!("server.blocked_workdir_prefixes: {missing}")
    );
    let key = KeyPolicy { allowed_workdir_prefixes: list("srv"), ..KeyPolicy::default() };
    let policy = Policy::of(&Server::default()).unwrap();
    assert_eq!(
        policy.and("ci", &key).unwrap_err().to_string(),
        "server.keys.ci.allowed_workdir_prefixes: `srv` is not absolute"
    );
    let server = |dir: &str| Server { default_workdir: dir.to_owned(), ..Server::default() };
    assert_eq!(default_workdir(&server(""), Path::new("/usr")).unwrap(), Path::new("/usr"));
    assert_eq!(default_workdir(&server("/usr/bin/.."), Path::new("/")).unwrap(), Path::new("/usr"));
    assert_eq!(
        default_workdir(&server("/proc/none"), Path::new("/")).unwrap_err().to_string(),
        "server.default_workdir: cannot use directory `/proc/none`: No such file or directory (os error 2)"
    );
}

#[test]
fn an_agent_that_reads_project_files_in_its_own_way_is_only_for_servers_that_let_it() {
    let agent = json!({"agent": {"protocol": "acp", "command": ["agent"]}});
    let closed = Fixture::new(&json!({"backends": agent}));
    let sentence = "backend `agent` (it reads a project's files in its own way) is not allowed: `server.project_config` allows \
                    none like it";
    closed.refuses(json!({"backend": "agent"}), sentence);
    // What the engine would drop from a lenient task, too.
    closed.refuses(json!({"backend": "agent", "lenient": true}), sentence);
    let open = Fixture::new(&json!({"backends": agent, "server": {"project_config": true}}));
    assert_eq!(open.ask(json!({"backend": "agent"})).map(|task| task.no_project_config), Ok(false));
}
