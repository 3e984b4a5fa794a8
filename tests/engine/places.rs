//! Where runs work: the directory that was checked is the one that is used.

use crate::util::scene::Scene;
use clinvk::base::sys;
use serde_json::json;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::mpsc::{self, TryRecvError};
use std::thread;

/// faults.md G1: 1,813 runs in 20 s began in the forbidden directory when the check and the use were two look-ups.
#[cfg(feature = "serve")]
#[test]
fn no_run_starts_where_it_may_not_while_directories_are_exchanged_for_links() {
    let scene = Scene::new();
    for dir in ["open/here", "secret"] {
        fs::create_dir_all(scene.path(dir)).unwrap();
    }
    for rules in [
        json!({"allowed_workdir_prefixes": [scene.text("open")], "default_workdir": scene.text("open")}),
        json!({"blocked_workdir_prefixes": [scene.text("secret")], "default_workdir": scene.text("open")}),
    ] {
        scene.config(&json!({
            "default_backend": "pwd", "backends": {"pwd": {"command": ["/bin/pwd", "-P"]}}, "server": rules,
        }));
        let server = scene.serve([]);
        let allowed = [scene.text("open/here"), scene.text("open/aside")];
        let (asking, over) = mpsc::channel::<()>();
        let scene = &scene;
        let exchange = move || {
            let (name, aside) = (scene.path("open/here"), scene.path("open/aside"));
            while over.try_recv() == Err(TryRecvError::Empty) {
                fs::rename(&name, &aside).unwrap();
                symlink(scene.path("secret"), &name).unwrap();
                fs::remove_file(&name).unwrap();
                fs::rename(&aside, &name).unwrap();
            }
        };
        let seen = thread::scope(|threads| {
            threads.spawn(exchange);
            let _asking = asking;
            let mut seen = [0, 0];
            // Until both were seen often enough: that it runs there, and that it is refused.
            while seen.iter().any(|seen| *seen < 50) && seen.iter().sum::<u32>() < 4_000 {
                let request = json!({"prompt": "x", "workdir": "here", "ephemeral": true});
                let answer = server.post("/api/v1/prompt", &request);
                // Set aside at the moment when the program looks, it is still the same directory.
                let out = answer.json()["output"].as_str().unwrap_or_default().to_owned();
                assert!(answer.status != 200 || allowed.contains(&out), "a run in `{out}`");
                seen[usize::from(answer.status == 200)] += 1;
            }
            seen
        });
        assert!(seen[0] > 0 && seen[1] > 0, "nothing was exchanged: {seen:?}");
    }
}

#[test]
fn a_directory_is_opened_by_its_own_path_alone() {
    let scene = Scene::new();
    let root = fs::canonicalize(scene.path("")).unwrap();
    fs::create_dir_all(root.join("a/b")).unwrap();
    symlink("a", root.join("link")).unwrap();
    symlink(root.join("a/b"), root.join("a/to_b")).unwrap();
    fs::write(root.join("a/file"), "").unwrap();
    let opened = |path: &Path| {
        let dir = sys::open_directory(path).map_err(|error| error.raw_os_error())?;
        Ok(fs::read_link(format!("/proc/self/fd/{}", dir.as_raw_fd())).unwrap())
    };
    for dir in ["", "a", "a/b", "a/./b/"] {
        assert_eq!(opened(&root.join(dir)), Ok(root.join(dir)), "{dir}");
    }
    assert_eq!(opened(Path::new("/")), Ok("/".into()));
    for (path, error) in [
        ("link", Some(libc::ENOTDIR)),
        ("link/b", Some(libc::ENOTDIR)),
        ("a/to_b", Some(libc::ENOTDIR)),
        ("a/file", Some(libc::ENOTDIR)),
        ("a/none", Some(libc::ENOENT)),
        ("a/../a", None),
    ] {
        assert_eq!(opened(&root.join(path)), Err(error), "{path}");
    }
    assert_eq!(opened(Path::new("a")), Err(None));
}

#[test]
fn a_directory_that_may_not_be_entered_is_named_before_anything_is_started() {
    let scene = Scene::playing("tell started");
    fs::create_dir(scene.path("closed")).unwrap();
    fs::set_permissions(scene.path("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    for dir in ["home", "home/.clinvk"] {
        fs::set_permissions(scene.path(dir), fs::Permissions::from_mode(0o777)).unwrap();
    }
    let run = scene.clinvk(["--ephemeral", "-w", &scene.text("closed"), "x"]).by_nobody();
    run.fails(1, "clinvk: cannot use directory `ROOT/closed`: Permission denied (os error 13)\n");
    // Who is no superuser could not remove it.
    fs::set_permissions(scene.path("closed"), fs::Permissions::from_mode(0o700)).unwrap();
}
