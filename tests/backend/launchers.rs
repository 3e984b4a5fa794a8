//! Launchers: the program of a backend is started by another program, here or elsewhere.

use crate::util::run::is_superuser;
use crate::util::scene::{Scene, until};
use clinvk::base::sys;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Stands in for `docker` and its like: throws our environment and directory away, drops as many words as its first says,
/// and starts the rest. What it was given is beside it.
const BY_WORDS: &str = r#"printf '%s\n' "$@" >"$here/given"; n=$1; shift "$n"
cd /; exec env -i HOME="$here" PATH="$here:/usr/bin:/bin" "$@""#;
/// Stands in for `ssh`: its words behind the host are a line for a shell.
const BY_LINE: &str = r#"printf '%s\n' "$@" >"$here/given"; shift
cd /; exec env -i HOME="$here" PATH="$here:/usr/bin:/bin" /bin/sh -c "$*""#;

/// Words that a shell might take for something else.
const ODD: &[&str] =
    &["", "two words", "it's \"$HOME\" `uname` $(uname) \\ \\n !x # ~ * ? ; & |", "a\nb", "c\n\n", "ü", "-n"];

/// A scene whose backend `fake` has these keys beside its command, and the launcher that this is a fake of.
fn scene(launcher: &str, play: &str, keys: Value, does: &str) -> Scene {
    let scene = Scene::declaring(keys, does);
    let launcher = match launcher {
        "ssh" => json!([scene.fake("ssh", play), "host"]),
        name => json!([scene.fake(name, play), "3", "run", "-i"]),
    };
    scene.edit_config(|config| config["backends"]["fake"]["launcher"] = launcher);
    scene
}

fn given(scene: &Scene) -> String {
    fs::read_to_string(scene.path("bin/given")).unwrap()
}

/// The words of a dry run.
fn words(scene: &Scene, args: &[&str]) -> Vec<String> {
    let seen = scene.clinvk(["--dry-run", "-o", "json"]).args(args).args(["hi"]).seen();
    assert_eq!((&*seen.err, seen.status), ("", 0), "{seen}");
    serde_json::from_value(serde_json::from_str::<Value>(&seen.out).unwrap()["args"].take()).unwrap()
}

#[test]
fn each_known_launcher_is_told_to_start_the_program_in_its_own_manner() {
    let scene = Scene::playing("cat");
    let (program, work) = ("ROOT/bin/fake".to_owned(), "ROOT/work".to_owned());
    for (launcher, is_line, is_elsewhere) in [
        (&["bwrap", "--bind", "{workdir}", "{workdir}", "--"][..], false, false),
        (&["setpriv", "--no-new-privs"], false, false),
        (&["systemd-run", "--user", "--scope", "-p", "MemoryMax=2G"], false, false),
        (&["nice", "-n", "5"], false, false),
        (&["srun", "-n1"], false, true),
        (&["kubectl", "exec", "-i", "pod", "--"], false, true),
        (&["docker", "run", "-i", "--rm", "--name", "c-{run}", "-w", "{workdir}", "image"], false, true),
        (&["/opt/bin/podman", "run", "-i", "image"], false, true),
        (&["ssh", "-o", "BatchMode=yes", "host"], true, true),
    ] {
        scene.edit_config(|config| config["backends"]["fake"]["launcher"] = json!(launcher));
        let seen = words(&scene, &[]);
        let own = launcher[1..].iter().map(|word| word.replace("{workdir}", &work).replace("{run}", "<run>"));
        let mut expected: Vec<String> = own.collect();
        let script = seen.iter().find(|word| word.contains("exec \"$@\"")).unwrap();
        assert_eq!(script.contains("IFS= read -r"), is_elsewhere, "{launcher:?} {seen:?}");
        assert!(!script.contains(['\\', '\n', '!']), "{script}");
        if is_line {
            assert!(!script.replacen('\'', "", 1).split('\'').next().unwrap().contains('\n'));
            expected.push(script.clone());
            assert!(script.ends_with(&format!("' clinvk {work} / '<run>' {program}")), "{script}");
        } else {
            expected.extend(["sh", "-c", script, "clinvk", &work, "/", "<run>", &program].map(str::to_owned));
        }
        assert_eq!(seen, expected, "{launcher:?}");
    }
}

#[test]
fn words_variables_and_prompt_arrive_as_they_are_through_every_kind_of_launcher() {
    for (launcher, play) in
        [("wrap", "shift 3; exec \"$@\""), ("docker", BY_WORDS), ("kubectl", BY_WORDS), ("ssh", BY_LINE)]
    {
        for odd in ODD {
            let keys = json!({"env": {"A": odd}, "launcher_env": ["KEY", "NONE"]});
            let does = r#"printf '<%s>' "$@" "$A" "$KEY" "${NONE-none}" "$PWD"; cat"#;
            let scene = scene(launcher, play, keys, does);
            scene.edit_config(|config| {
                config["backends"]["fake"]["command"] = json!([scene.text("bin/fake"), odd, "x"])
            });
            let expected = format!("<{odd}><x><{odd}><se cr\\et><none><ROOT/work>{odd}.\n");
            let run = scene.clinvk(["--", &format!("{odd}.")]).env("KEY", "se cr\\et");
            run.prints(&expected);
        }
    }
}

#[test]
fn nothing_secret_is_in_the_words_of_a_launcher_and_no_key_of_ours_reaches_the_program() {
    for (launcher, play) in [("docker", BY_WORDS), ("ssh", BY_LINE)] {
        let keys = json!({"env": {"TOKEN": "secret-1"}, "launcher_env": ["KEY", "CLINVK_API_KEY"]});
        let scene = scene(launcher, play, keys, "env; cat");
        let run = scene.clinvk(["the prompt"]).env("KEY", "secret-2").env("CLINVK_API_KEY", "secret-3");
        let seen = run.env("OTHER", "secret-4").seen();
        for (part, is_there) in [
            ("TOKEN=secret-1", true),
            ("KEY=secret-2", true),
            ("CLINVK_RUN=", true),
            ("CLINVK_DEPTH=1", true),
            ("the prompt", true),
            ("secret-3", false),
            ("secret-4", false),
        ] {
            assert_eq!(seen.out.contains(part), is_there, "{part}: {seen}");
        }
        let given = given(&scene);
        assert!(!given.contains("secret") && !given.contains("prompt"), "{given}");
        let dry = scene.clinvk(["--dry-run", "x"]).env("KEY", "secret-2").seen();
        assert!(dry.out.contains("\"KEY=$KEY\"") && !dry.out.contains("secret-2"), "{dry}");
    }
}

#[test]
fn a_dry_run_through_a_launcher_answers_in_a_shell_as_the_run_does() {
    for (launcher, play) in [("wrap", "shift 3; exec \"$@\""), ("docker", BY_WORDS), ("ssh", BY_LINE)] {
        let keys = json!({"env": {"A": "it's\n\\ü"}, "launcher_env": ["KEY"]});
        let scene = scene(launcher, play, keys, r#"printf '<%s>' "$@" "$A" "$KEY" "$PWD"; cat; echo"#);
        let dry = scene.clinvk(["--dry-run", "it's"]).seen();
        let run = scene.clinvk(["it's"]).env("KEY", "k").seen();
        scene
            .program("/bin/sh")
            .env("KEY", "k")
            .dir("/")
            .stdin(dry.out.replace("ROOT", &scene.text("")))
            .prints(&run.out);
    }
}

#[test]
fn directories_have_the_names_that_they_have_there() {
    let keys = |places: Value| json!({"launcher_workdir": places, "protocol": "acp", "client_tools": false});
    let dirs = |places: Value, args: &[&str]| {
        let scene = scene("docker", BY_WORDS, keys(places), "cat");
        fs::create_dir_all(scene.path("work/deep/er")).unwrap();
        let places = fs::read_to_string(scene.path("home/.clinvk/config.json")).unwrap();
        scene.file("home/.clinvk/config.json", places.replace("ROOT/", &scene.text("")));
        let seen = scene.clinvk(["--dry-run", "-o", "json"]).args(args).args(["hi"]).seen();
        if seen.status != 0 {
            return seen.err;
        }
        let data: Value = serde_json::from_str(&seen.out).unwrap();
        let stdin = data["stdin"].as_str().unwrap();
        let new = stdin.lines().find(|line| line.contains("session/new")).unwrap();
        let new: Value = serde_json::from_str(new).unwrap();
        let dir = data["args"]
            .as_array()
            .unwrap()
            .iter()
            .skip_while(|word| *word != "clinvk")
            .nth(1)
            .unwrap()
            .clone();
        json!([dir, new["params"]["cwd"], new["params"]["additionalDirectories"]]).to_string()
    };
    let more = ["--add-dir", "deep/er"];
    assert_eq!(dirs(json!([]), &more), r#"["ROOT/work","ROOT/work",["ROOT/work/deep/er"]]"#);
    assert_eq!(dirs(json!(["/srv"]), &more), r#"["/srv","/srv",["/srv/deep/er"]]"#);
    let places = json!(["ROOT/work:/a", "ROOT/work/deep:/b"]);
    assert_eq!(dirs(places.clone(), &more), r#"["/a","/a",["/b/er"]]"#);
    assert_eq!(dirs(places, &["-w", "deep"]), r#"["/b","/b",null]"#);
    for (places, problem) in [
        (json!(["/nowhere:/a"]), "no entry says what `ROOT/work` is called there"),
        (json!(["a"]), "`a`: expected `FROM:TO` or `TO`, absolute paths"),
    ] {
        assert_eq!(dirs(places, &[]), format!("clinvk: backends.fake.launcher_workdir: {problem}\n"));
    }
}

#[test]
fn a_program_that_is_not_there_is_not_installed_and_so_is_a_launcher_that_is_not_here() {
    for (launcher, play) in [("wrap", "shift 3; exec \"$@\""), ("docker", BY_WORDS), ("ssh", BY_LINE)] {
        let scene = scene(launcher, play, json!({}), "cat");
        scene.edit_config(|config| config["backends"]["fake"]["command"] = json!(["no-such-agent"]));
        let seen = scene.clinvk(["x"]).seen();
        // Without the words behind its name, which no client of a server sees.
        let message =
            format!("clinvk: fake: `no-such-agent` is not on PATH where `ROOT/bin/{launcher}` starts it: ");
        assert!(
            seen.status == 2
                && seen.err.starts_with(&message)
                && seen.err.contains("(backends.fake.program)"),
            "{seen}"
        );
        scene.edit_config(|config| config["backends"]["fake"]["launcher"] = json!(["no-such-launcher", "x"]));
        scene.clinvk(["x"]).fails(
            2,
            "clinvk: backend `fake` cannot be started: its launcher `no-such-launcher` is not on PATH \
             (backends.fake.launcher)\n",
        );
    }
}

#[test]
fn what_a_launcher_cannot_do_is_refused_by_name() {
    let scene = Scene::playing("cat");
    for (keys, problem) in [
        (
            json!({"launcher": ["env", "A=b", "ssh", "host"]}),
            "launcher_type: `env` is behind `ssh`, or the other way round",
        ),
        (json!({"launcher": ["ssh", "h"], "client_tools": true}), "client_tools: the program is elsewhere"),
        (json!({"launcher": ["ssh", "h"], "env": {"a.b": "c"}}), "env: `a.b` is no name of a variable"),
        (
            json!({"launcher": ["ssh", "h"], "launcher_env": ["A=b"]}),
            "launcher_env: `A=b` is no name of a variable",
        ),
    ] {
        scene.edit_config(|config| {
            let mut fake = keys.clone();
            fake["command"] = json!([scene.text("bin/fake")]);
            config["backends"]["fake"] = fake;
        });
        let seen = scene.clinvk(["x"]).seen();
        assert!(
            seen.status != 0 && seen.err.starts_with(&format!("clinvk: backends.fake.{problem}")),
            "{problem}: {seen}"
        );
    }
    // Said which it is, it is that.
    let launcher = json!(["env", "A=b", scene.fake("ssh", BY_LINE), "host"]);
    scene.edit_config(|config| {
        config["backends"]["fake"] =
            json!({"command": [scene.text("bin/fake")], "launcher": launcher, "launcher_type": "shell"});
    });
    scene.clinvk(["it's"]).prints("it's\n");
}

#[test]
fn a_launcher_that_passes_no_input_on_and_a_directory_that_is_not_there_are_named() {
    let scene = scene("docker", "shift 3; exec \"$@\" </dev/null", json!({}), "cat");
    let seen = scene.clinvk(["x"]).seen();
    assert!(seen.err.contains("clinvk: no standard input comes through the launcher"), "{seen}");
    scene.edit_config(|config| config["backends"]["fake"]["launcher_workdir"] = json!(["/no/such/place"]));
    let seen = scene.clinvk(["x"]).seen();
    assert!(seen.err.contains("can't cd to /no/such/place") && seen.status != 0, "{seen}");
}

#[test]
fn a_launcher_that_takes_the_environment_away_is_one_of_programs_elsewhere() {
    let play = "shift 3; exec env -i PATH=/usr/bin:/bin \"$@\"";
    let scene = scene("wrap", play, json!({"env": {"A": "b"}}), "printf %s \"$A\"; cat");
    let seen = scene.clinvk(["x"]).seen();
    assert!(
        seen.err.contains("passes no variables on: set launcher_type to exec") && seen.status != 0,
        "{seen}"
    );
    scene.edit_config(|config| config["backends"]["fake"]["launcher_type"] = json!("exec"));
    scene.clinvk(["x"]).prints("bx\n");
}

#[test]
fn files_of_a_run_are_there_for_it_alone() {
    let scene = Scene::new();
    let sees = r#"printf '%s\n' "$@" >"$here/args"
for word; do case $word in --mcp-config=*) f=${word#*=}; cp "$f" "$here/seen"; ls -ld "$f" "${f%/*}" >"$here/mode";; esac; done"#;
    scene.fake("claude", sees);
    scene.config(&json!({"backends": {"claude": {"launcher": [scene.fake("ssh", BY_LINE), "host"]}}}));
    let servers = r#"{"mcpServers": {"docs": {"command": "d", "env": {"TOKEN": "it's\n\\ü"}}}}"#;
    let seen = scene.clinvk(["-b", "claude", "--mcp", servers, "x"]).seen();
    assert_ne!(seen.status, 0, "{seen}");
    let file: Value = serde_json::from_str(&fs::read_to_string(scene.path("bin/seen")).unwrap()).unwrap();
    assert_eq!(file["mcpServers"]["docs"]["env"]["TOKEN"], "it's\n\\ü");
    let modes = fs::read_to_string(scene.path("bin/mode")).unwrap();
    assert!(modes.starts_with("drwx------") && modes.contains("\n-rw-------"), "{modes}");
    assert!(!given(&scene).contains("TOKEN"));
    let args = fs::read_to_string(scene.path("bin/args")).unwrap();
    let path = args.lines().find_map(|word| word.strip_prefix("--mcp-config=")).unwrap();
    let dir = Path::new(path).parent().unwrap();
    assert!(dir.starts_with("/tmp"), "{args}");
    assert!(!dir.exists());
}

#[test]
fn geminis_home_is_made_there_of_links_to_the_users_and_its_settings_outrank_them() {
    let scene = Scene::new();
    let sees = r#"g=$GEMINI_CLI_HOME/.gemini; ls -A "$g" >"$here/listed"; cat "$GEMINI_CLI_SYSTEM_SETTINGS_PATH" >"$here/settings"
cat "$g/settings.json" "$g/policies/user.toml" "$g/.env" "$GEMINI_CLI_HOME/notes" >"$here/theirs"; echo "$g" >"$here/home"
test -d "$TMPDIR" && echo new >"$g/oauth_creds.json"; cat "$g/policies/clinvk.toml" >"$here/policy""#;
    scene.fake("gemini", sees);
    scene.config(&json!({"backends": {"gemini": {"launcher": [scene.fake("ssh", BY_LINE), "host"]}}}));
    fs::create_dir_all(scene.path("bin/.gemini/policies")).unwrap();
    fs::create_dir_all(scene.path("bin/.gemini/tmp")).unwrap();
    for (name, text) in [
        ("notes", "a"),
        (".gemini/settings.json", "b"),
        (".gemini/policies/user.toml", "c"),
        (".gemini/.env", "d"),
    ] {
        scene.file(&format!("bin/{name}"), text);
    }
    scene.clinvk(["-b", "gemini", "--sandbox", "read-only", "--max-turns", "3", "x"]).seen();
    let read = |name: &str| fs::read_to_string(scene.path(&format!("bin/{name}"))).unwrap();
    let settings: Value = serde_json::from_str(&read("settings")).unwrap();
    assert_eq!(
        json!([settings["general"]["maxAttempts"], settings["model"]["maxSessionTurns"]]),
        json!([1, 3])
    );
    assert_eq!(read("theirs"), "bcda");
    assert!(read("policy").contains("decision"), "{}", read("policy"));
    assert!(!read("listed").lines().any(|name| name == "tmp"), "{}", read("listed"));
    // A login that is renewed arrives where the user's is; nothing else is changed there.
    assert_eq!(read(".gemini/oauth_creds.json"), "new\n");
    assert!(!scene.path("bin/.gemini/policies/clinvk.toml").exists());
    let home = read("home");
    assert!(!Path::new(home.trim()).ancestors().nth(2).unwrap().exists());
    assert_eq!(read(".gemini/settings.json"), "b");
}

#[test]
fn a_run_through_a_launcher_is_stopped_with_all_its_processes() {
    for (launcher, play) in [("wrap", "shift 3; \"$@\""), ("docker", BY_WORDS), ("ssh", BY_LINE)] {
        let does = "printf half; tell up $$; \"$here/sleep\" 1000 & \"$here/sleep\" 1000";
        let scene = scene(launcher, play, json!({}), does);
        let mut up = scene.fifo("up");
        let mut run = scene.clinvk(["x"]).start();
        up.told();
        run.says("half");
        run.signal(sys::SIGTERM);
        run.ends("half\n", "clinvk: cancelled\n", 7);
        scene.is_deserted();
    }
}

/// As in an image of Alpine, whose grep of busybox sees of a line what is before its first NUL: of an environment one variable.
#[test]
fn what_a_program_elsewhere_has_started_ends_when_clinvk_is_killed_whichever_grep_is_there() {
    let does = "\"$here/sleep\" 1000 & tell up; printf half; \"$here/sleep\" 1000";
    let scene = scene("docker", BY_WORDS, json!({}), does);
    // When it is asked a second time, what watches over the program knows whose it is.
    let grep = "case $* in */environ) exit 1;; esac; mkdir \"$here/1\" || ! mkdir \"$here/2\" || tell watched
PATH=/usr/bin:/bin; exec grep \"$@\"";
    scene.fake("grep", grep);
    let (mut up, mut watched) = (scene.fifo("up"), scene.fifo("watched"));
    let mut run = scene.clinvk(["x"]).start();
    up.told();
    watched.told();
    run.says("half");
    run.signal(sys::SIGKILL);
    run.ends("half", "", -sys::SIGKILL);
    until("nothing is left", || scene.processes().is_empty());
}

#[allow(clippy::print_stderr)] // what is not tested is said
#[test]
fn bwrap_and_setpriv_start_what_they_are_told_to_where_they_are_there() {
    let there = |name: &str, args: &[&str]| {
        let tried = Command::new(name).args(args).arg("true").status();
        let works = tried.is_ok_and(|status| status.success());
        if !works {
            eprintln!("{name} {args:?} does not work here: not tested");
        }
        works
    };
    let does = r#"printf '<%s>' "$1" "$PWD" "$KEY"; if touch made; then printf made; fi; cat"#;
    let run = |launcher: Value, keys: Value| {
        let scene = Scene::declaring(keys, does);
        scene.edit_config(|config| {
            config["backends"]["fake"]["launcher"] = launcher;
            config["backends"]["fake"]["command"] = json!([scene.text("bin/fake"), "it's"]);
        });
        let seen = scene.clinvk(["hi"]).env("KEY", "k").seen();
        scene.is_deserted();
        format!("{}{}", seen.out, seen.err)
    };
    if there("bwrap", &["--dev-bind", "/", "/"]) {
        let reads = json!(["bwrap", "--ro-bind", "/", "/", "--unshare-pid", "--"]);
        assert_eq!(run(reads, json!({})), "<it's><ROOT/work><k>hi\n");
        let writes = json!(["bwrap", "--ro-bind", "/", "/", "--bind", "{workdir}", "{workdir}"]);
        assert_eq!(run(writes, json!({})), "<it's><ROOT/work><k>madehi\n");
        // Without its directory it would go on in another one.
        let without = json!([
            "bwrap",
            "--ro-bind",
            "/usr",
            "/usr",
            "--symlink",
            "usr/bin",
            "/bin",
            "--symlink",
            "usr/lib",
            "/lib",
            "--symlink",
            "usr/lib64",
            "/lib64",
            "--"
        ]);
        assert!(run(without, json!({})).contains("can't cd to ROOT/work"));
    }
    if there("setpriv", &["--no-new-privs"]) {
        assert_eq!(run(json!(["setpriv", "--no-new-privs"]), json!({})), "<it's><ROOT/work><k>madehi\n");
    }
    if is_superuser() && there("setpriv", &["--reuid", "65534"]) {
        let other = json!(["setpriv", "--reuid", "65534", "--clear-groups"]);
        assert_eq!(run(other, json!({})), "<it's><ROOT/work><k>hi\n");
    }
}

#[test]
fn the_lists_of_backends_name_the_launcher_and_no_program_is_asked_for_its_version_through_it() {
    let scene = Scene::new();
    scene.fake("wrap", "echo asked >>\"$here/asked\"; exec \"$@\"");
    scene.fake("claude", "echo asked >>\"$here/asked\"");
    scene.config(&json!({"default_backend": "claude", "backends": {"claude": {"launcher": ["wrap", "-x"]}}}));
    let listed: Value = serde_json::from_str(&scene.clinvk(["backends", "--json"]).seen().out).unwrap();
    let claude = listed["backends"].as_array().unwrap().iter().find(|of| of["name"] == "claude").unwrap();
    assert_eq!(json!([claude["launcher"], claude["available"]]), json!([["wrap", "-x"], true]));
    for command in ["backends", "doctor"] {
        let seen = scene.clinvk([command]).seen();
        assert!(seen.out.contains("started by `wrap -x`") && seen.status == 0, "{seen}");
    }
    assert!(!scene.path("bin/asked").exists());
}

#[cfg(feature = "serve")]
#[test]
fn a_kept_program_is_kept_through_its_launcher_and_a_client_sees_no_word_of_it() {
    for (launcher, play) in [("wrap", "shift 3; exec \"$@\""), ("docker", BY_WORDS), ("ssh", BY_LINE)] {
        let keys = json!({"output": "jsonl", "fields": {"text": "text", "done": "done"}, "keep": true, "env": {"A": "secret"}});
        let does = r#"while read -r line; do say "{\"text\":\"$$ $A\"}"; say '{"done":true}'; done"#;
        let scene = scene(launcher, play, keys, does);
        let server = scene.serve([]);
        let ask = |more: Value| {
            let mut body = json!({"prompt": "x", "ephemeral": true});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            server.post("/api/v1/prompt", &body)
        };
        let first = ask(json!({})).json()["content"].clone();
        assert!(first.as_str().unwrap().ends_with(" secret"), "{first}");
        assert_eq!(ask(json!({})).json()["content"], first);
        let dry = ask(json!({"dry_run": true})).to_string();
        assert!(!dry.contains("host") && !dry.contains("secret") && dry.contains("exec"), "{dry}");
        // No field of a request is one.
        assert_ne!(ask(json!({"launcher": ["sh", "-c", "true"]})).status, 200);
        assert_eq!(server.stop().status, 0);
        until("all is gone", || scene.processes().is_empty());
    }
}

#[test]
fn a_list_may_have_a_launcher_of_its_own() {
    let scene = scene("docker", "exit 9", json!({}), "cat");
    scene.fake("srun", BY_WORDS);
    let seen = scene.clinvk(["map", "-q", "--via", "srun 1", "<{}>"]).args(["--dry-run"]).stdin("a\n").seen();
    assert!(seen.out.contains("srun 1 ") && !seen.out.contains("docker"), "{seen}");
    let tasks = r#"{"prompt": "hello"}"#;
    let seen = scene.clinvk(["parallel", "-q", "--json", "--via", "srun 1"]).stdin(tasks).seen();
    assert!(seen.status == 0 && seen.out.contains(r#""output":"hello""#), "{seen}");
    assert!(given(&scene).starts_with("1\n"), "{}", given(&scene));
    for (args, error) in [
        (&["map", "--via", " ", "{}"][..], "`--via` is empty: what is to start the backends' programs?"),
        (
            &["map", "--via", "srun", "--server", "http://127.0.0.1:1", "{}"],
            "`--via` is for runs that this command starts: those of a server have its launchers",
        ),
    ] {
        scene.clinvk(args).stdin("a\n").is("", &format!("clinvk: {error}\n"), 1);
    }
}
