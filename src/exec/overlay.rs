//! A home for one run: links to all that the user has in theirs, except what the run must have to itself. For programs
//! that keep settings, sessions and logins in one place and take them from nowhere else.

use crate::backend::Overlay;
use crate::base::json;
use crate::base::sys;
use crate::base::world::World;
use crate::model::error::Error;
use serde_json::Value;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

/// Makes the home. What is in it already, the files of the launch, takes the place of the user's.
///
/// # Errors
/// When the user's settings cannot be used, or something cannot be read or written.
pub(super) fn make(overlay: &Overlay, world: &World) -> Result<(), Error> {
    let given = world.env.get(overlay.variable).filter(|given| !given.is_empty());
    let users = given.map_or(world.user_home.clone(), |given| world.cwd.join(given));
    let (name, ours) = &overlay.settings;
    let origin = users.join(name);
    let mut settings = read_settings(&origin)?.unwrap_or(Value::Object(Default::default()));
    check(overlay, world, &settings, &origin)?;
    merge(&mut settings, ours);
    let target = overlay.home.join(name);
    for dir in [&overlay.home, &overlay.temp].into_iter().map(PathBuf::as_path).chain(target.parent()) {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|error| Error::File { verb: "create", path: dir.to_owned(), error })?;
    }
    write(&target, settings.to_string().as_bytes())?;
    link(&users, Path::new(""), overlay)?;
    // A file that is not there yet: writing through the link makes it in the user's home.
    for name in overlay.written {
        let (theirs, mine) = (users.join(name), overlay.home.join(name));
        if theirs.parent().is_some_and(Path::is_dir) && mine.symlink_metadata().is_err() {
            symlink(&theirs, &mine).map_err(|error| Error::File { verb: "create", path: mine, error })?;
        }
    }
    Ok(())
}

/// Removes the home, links and all: never what they point to, because `remove_dir_all` follows none.
pub(super) fn remove(overlay: &Overlay) {
    for dir in [&overlay.home, &overlay.temp] {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                log::warn!("cannot remove `{}`: {error}", dir.display());
            }
            _ => {}
        }
    }
    // The directory of the run, when nothing else is in it.
    let _ = overlay.home.parent().map(fs::remove_dir);
}

/// Links what is in `users`/`inside`, and looks into directories that the run has too.
fn link(users: &Path, inside: &Path, overlay: &Overlay) -> Result<(), Error> {
    let from = users.join(inside);
    let entries = match fs::read_dir(&from) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
        entries => entries.map_err(|error| Error::File { verb: "read", path: from.clone(), error })?,
    };
    let is_copied = overlay.copied.iter().any(|dir| Path::new(dir) == inside);
    for entry in entries.flatten() {
        let path = inside.join(entry.file_name());
        let (theirs, mine) = (entry.path(), overlay.home.join(&path));
        if overlay.private.iter().any(|private| Path::new(private) == path) {
            continue;
        }
        let done = match fs::symlink_metadata(&mine) {
            Ok(meta) if meta.is_dir() => {
                link(users, &path, overlay)?;
                continue;
            }
            Ok(_) => continue,
            Err(_) if is_copied && entry.file_type().is_ok_and(|kind| kind.is_file()) => {
                fs::copy(&theirs, &mine).map(|_| ())
            }
            Err(_) => symlink(&theirs, &mine),
        };
        done.map_err(|error| Error::File { verb: "create", path: mine, error })?;
    }
    Ok(())
}

/// Refuses settings under which the run would not be the one that was asked for.
fn check(overlay: &Overlay, world: &World, settings: &Value, origin: &Path) -> Result<(), Error> {
    let refuse = |origin: String, problem: String| Err(Error::Config { origin, position: None, problem });
    if let Some(unusable) = &overlay.unusable {
        let set = settings
            .pointer(unusable.setting)
            .filter(|value| !matches!(value, Value::Null | Value::Bool(false)));
        match world.env.get(unusable.variable).map(String::as_str) {
            Some("" | "0" | "false") => {}
            Some(_) => return refuse(unusable.variable.to_owned(), unusable.why.to_owned()),
            None if set.is_some() => {
                let problem = format!("`{}`: {}", dotted(unusable.setting), unusable.why);
                return refuse(origin.display().to_string(), problem);
            }
            None => {}
        }
    }
    // One that cannot be read is the program's to complain about: whether it reads it at all is its own affair.
    let outranking = read_settings(&overlay.outranked_by).ok().flatten().unwrap_or(Value::Null);
    match overlay.firm.iter().find(|pointer| outranking.pointer(pointer).is_some()) {
        Some(pointer) => refuse(
            overlay.outranked_by.display().to_string(),
            format!("`{}` outranks what was asked for: `--no-project-config` leaves it out", dotted(pointer)),
        ),
        None => Ok(()),
    }
}

fn dotted(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".")
}

/// The settings in a file: an object in JSON, in which comments are allowed. None when there is no such file.
fn read_settings(path: &Path) -> Result<Option<Value>, Error> {
    // A project's is whatever its agents have made of it.
    let text = match sys::open_file(path).and_then(io::read_to_string) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|error| Error::File { verb: "read", path: path.to_owned(), error })?,
    };
    let broken =
        |position, problem: String| Error::Config { origin: path.display().to_string(), position, problem };
    let value: Value = json::from_str(&without_comments(&text)).map_err(|error| {
        let sentence = error.to_string();
        let reason = sentence.rsplit_once(" at line ").map_or(sentence.as_str(), |(reason, _)| reason);
        broken(Some((error.line(), error.column())), format!("not valid JSON: {reason}"))
    })?;
    if value.is_object() {
        Ok(Some(value))
    } else {
        Err(broken(None, "expected an object: `{ ... }`".to_owned()))
    }
}

/// The text with blanks in place of comments, so that every character stays where it is.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let comment = match (first, rest.as_bytes().get(1)) {
            ('/', Some(b'/')) => rest.find('\n').unwrap_or(rest.len()),
            ('/', Some(b'*')) => rest[2..].find("*/").map_or(rest.len(), |end| end + 4),
            _ => 0,
        };
        if comment > 0 {
            out.extend(rest[..comment].chars().map(|c| if c == '\n' { c } else { ' ' }));
            rest = &rest[comment..];
            continue;
        }
        let kept = if first == '"' { length_of_string(rest) } else { first.len_utf8() };
        out.push_str(&rest[..kept]);
        rest = &rest[kept..];
    }
    out
}

/// The length of the JSON string that the text begins with, quotes included.
fn length_of_string(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Lays `ours` over `theirs`: objects are merged, lists appended, all else replaced.
fn merge(theirs: &mut Value, ours: &Value) {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            for (name, value) in ours {
                merge(theirs.entry(name).or_insert(Value::Null), value);
            }
        }
        (Value::Array(theirs), Value::Array(ours)) => theirs.extend(ours.iter().cloned()),
        (theirs, ours) => *theirs = ours.clone(),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut open = fs::OpenOptions::new();
    let opened = open.write(true).create_new(true).mode(0o600).open(path);
    opened.and_then(|mut file| io::Write::write_all(&mut file, bytes)).map_err(|error| Error::File {
        verb: "write",
        path: path.to_owned(),
        error,
    })
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // tests are outside the seams
mod tests {
    use super::*;
    use crate::backend::Unusable;
    use crate::base::json::json;
    use std::os::unix::fs::PermissionsExt;

    /// A user's home with some of what there may be, and a place for a run's.
    struct Scene(PathBuf);

    impl Scene {
        fn new(name: &str) -> Scene {
            let root = std::env::temp_dir().join(format!("clinvk-overlay-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            let scene = Scene(root);
            for (path, text) in [
                ("home/.env", "A=1"),
                ("home/.tool/login.json", "secret"),
                ("home/.tool/tmp/old", "mine"),
                ("home/.tool/skills/one/SKILL.md", "skill"),
                ("home/.tool/policies/user.toml", "rule"),
            ] {
                scene.put(path, text);
            }
            scene
        }

        fn put(&self, path: &str, text: &str) {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn read(&self, path: &str) -> String {
            fs::read_to_string(self.0.join(path)).unwrap_or_else(|error| format!("{path}: {error}"))
        }

        fn is_link(&self, path: &str) -> bool {
            fs::symlink_metadata(self.0.join(path)).is_ok_and(|meta| meta.is_symlink())
        }

        fn world(&self) -> World {
            World { user_home: self.0.join("home"), cwd: self.0.clone(), ..World::default() }
        }

        fn overlay(&self) -> Overlay {
            Overlay {
                home: self.0.join("scratch/home"),
                temp: self.0.join("scratch/tmp"),
                variable: "TOOL_HOME",
                private: &[".tool/tmp"],
                written: &[".tool/login.json", ".tool/token.json"],
                copied: &[".tool/policies"],
                settings: (".tool/settings.json", json!({"a": {"x": 1}, "list": ["ours"]})),
                settings_variable: "TOOL_SETTINGS",
                outranked_by: self.0.join("project/.tool/settings.json"),
                firm: vec!["/a/x"],
                unusable: Some(Unusable { variable: "TOOL_BOX", setting: "/box", why: "no boxes" }),
            }
        }

        fn made(&self) -> Result<(), Error> {
            make(&self.overlay(), &self.world())
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn everything_of_the_users_is_linked_except_what_is_private() {
        let scene = Scene::new("links");
        scene.made().unwrap();
        assert_eq!(scene.read("scratch/home/.env"), "A=1");
        assert_eq!(scene.read("scratch/home/.tool/skills/one/SKILL.md"), "skill");
        for path in [".env", ".tool/login.json", ".tool/skills", ".tool/policies"] {
            assert!(scene.is_link(&format!("scratch/home/{path}")), "{path}");
        }
        assert!(!scene.0.join("scratch/home/.tool/tmp").exists());
        assert!(scene.0.join("scratch/tmp").is_dir());
        for path in ["scratch/home", "scratch/home/.tool", "scratch/tmp", "scratch/home/.tool/settings.json"]
        {
            let mode = fs::metadata(scene.0.join(path)).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{path}: {mode:o}");
        }
    }

    #[test]
    fn a_login_that_is_written_there_arrives_at_the_users_even_when_it_is_the_first() {
        let scene = Scene::new("login");
        scene.made().unwrap();
        fs::write(scene.0.join("scratch/home/.tool/login.json"), "refreshed").unwrap();
        fs::write(scene.0.join("scratch/home/.tool/token.json"), "new").unwrap();
        assert_eq!(scene.read("home/.tool/login.json"), "refreshed");
        assert_eq!(scene.read("home/.tool/token.json"), "new");
    }

    #[test]
    fn files_of_the_run_take_the_place_of_the_users_among_copies_of_the_others() {
        let scene = Scene::new("files");
        scene.put("scratch/home/.tool/policies/clinvk.toml", "ours");
        scene.put("scratch/home/.tool/login.json", "ours");
        scene.made().unwrap();
        assert_eq!(scene.read("scratch/home/.tool/policies/user.toml"), "rule");
        assert!(!scene.is_link("scratch/home/.tool/policies/user.toml"));
        assert_eq!(scene.read("scratch/home/.tool/policies/clinvk.toml"), "ours");
        assert_eq!(scene.read("scratch/home/.tool/login.json"), "ours");
        assert_eq!(scene.read("home/.tool/login.json"), "secret");
    }

    #[test]
    fn removal_takes_the_links_and_leaves_what_they_point_to() {
        let scene = Scene::new("removal");
        scene.made().unwrap();
        scene.put("scratch/home/.tool/tmp/conversation", "private");
        remove(&scene.overlay());
        assert!(!scene.0.join("scratch").exists());
        assert_eq!(scene.read("home/.tool/login.json"), "secret");
        assert_eq!(scene.read("home/.tool/tmp/old"), "mine");
        assert_eq!(scene.read("home/.tool/skills/one/SKILL.md"), "skill");
        // Twice is no harm.
        remove(&scene.overlay());
    }

    #[test]
    fn settings_are_the_users_with_ours_laid_over_them() {
        let scene = Scene::new("settings");
        let users = r#"{ // "a": 7
            "a": {"x": 9, "y": "/* no comment */ // neither"}, /* "list": 0,
            */ "list": ["theirs \" // still"], "b": "ä" // end"#;
        scene.put("home/.tool/settings.json", &format!("{users}\n}}"));
        scene.made().unwrap();
        let settings: Value = serde_json::from_str(&scene.read("scratch/home/.tool/settings.json")).unwrap();
        let a = json!({"x": 1, "y": "/* no comment */ // neither"});
        assert_eq!(settings, json!({"a": a, "list": ["theirs \" // still", "ours"], "b": "ä"}));
        assert!(scene.read("home/.tool/settings.json").starts_with(users), "the user's own stay as they are");
    }

    #[test]
    fn settings_that_are_no_json_are_named_with_their_place() {
        let scene = Scene::new("broken");
        scene.put("home/.tool/settings.json", "{ // one\n  \"a\": nope }");
        let error = scene.made().unwrap_err().to_string();
        assert!(error.contains("home/.tool/settings.json:2:"), "{error}");
        scene.put("home/.tool/settings.json", "[]");
        let error = scene.made().unwrap_err().to_string();
        assert!(error.contains("expected an object"), "{error}");
    }

    #[test]
    fn a_project_must_not_outrank_what_was_asked_for() {
        let scene = Scene::new("outranked");
        scene.put("project/.tool/settings.json", r#"{"a": {"z": 1}} // fine"#);
        scene.made().unwrap();
        remove(&scene.overlay());
        scene.put("project/.tool/settings.json", r#"{"a": {"x": 5}}"#);
        let error = scene.made().unwrap_err().to_string();
        assert!(error.contains("project/.tool/settings.json: `a.x` outranks"), "{error}");
        make(&Overlay { firm: vec![], ..scene.overlay() }, &scene.world()).unwrap();
    }

    #[test]
    fn settings_that_are_no_file_are_not_waited_for() {
        let scene = Scene::new("pipe");
        let pipe = |path: &str| {
            fs::create_dir_all(scene.0.join(path).parent().unwrap()).unwrap();
            assert!(std::process::Command::new("mkfifo").arg(scene.0.join(path)).status().unwrap().success());
        };
        // A project's is the program's to complain about.
        pipe("project/.tool/settings.json");
        scene.made().unwrap();
        remove(&scene.overlay());
        pipe("home/.tool/settings.json");
        let error = scene.made().unwrap_err().to_string();
        assert!(error.ends_with("home/.tool/settings.json`: not a regular file"), "{error}");
    }

    #[test]
    fn what_the_run_cannot_work_with_is_refused_unless_the_variable_switches_it_off() {
        let scene = Scene::new("unusable");
        let made = |variable: Option<&str>| {
            let env = variable.map(|value| ("TOOL_BOX".to_owned(), value.to_owned())).into_iter().collect();
            let result = make(&scene.overlay(), &World { env, ..scene.world() });
            remove(&scene.overlay());
            result.map_err(|error| error.to_string())
        };
        assert_eq!(made(Some("docker")), Err("TOOL_BOX: no boxes".to_owned()));
        scene.put("home/.tool/settings.json", r#"{"box": false}"#);
        assert_eq!(made(None), Ok(()));
        scene.put("home/.tool/settings.json", r#"{"box": {"command": "podman"}}"#);
        let settings = scene.0.join("home/.tool/settings.json");
        assert_eq!(made(None), Err(format!("{}: `box`: no boxes", settings.display())));
        assert_eq!(made(Some("false")), Ok(()));
    }

    #[test]
    fn a_home_that_the_user_has_set_is_the_one_that_is_meant_and_none_at_all_is_fine() {
        let scene = Scene::new("other");
        scene.put("elsewhere/.tool/login.json", "other");
        let env = [("TOOL_HOME".to_owned(), "elsewhere".to_owned())].into();
        make(&scene.overlay(), &World { env, ..scene.world() }).unwrap();
        assert_eq!(scene.read("scratch/home/.tool/login.json"), "other");
        remove(&scene.overlay());
        make(&scene.overlay(), &World { user_home: scene.0.join("nowhere"), ..scene.world() }).unwrap();
        assert!(scene.0.join("scratch/home/.tool/settings.json").is_file());
        assert!(!scene.0.join("nowhere").exists());
    }
}
