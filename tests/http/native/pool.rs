//! What is told of the programs that are kept for further runs.

use crate::engine::pool::{LOOP, pid, scene};
use crate::util::scene::until;
use serde_json::{Value, json};

#[test]
fn kept_programs_are_told_of_here_in_health_and_in_metrics() {
    let scene = scene(json!({"max_turns": 2, "max": 3}), LOOP);
    scene.edit_config(|config| config["server"] = json!({"metrics_enabled": true}));
    let server = scene.serve([]);
    let first = pid(&server, "a");
    assert_eq!(pid(&server, "b"), first);
    let told = server.get("/api/v1/pool").json();
    let child = &told["children"][0];
    assert_eq!(
        json!([child["backend"], child["pid"], child["key"], child["state"], child["runs"], child["turns"]]),
        json!(["fake", first, null, "idle", 0, 2]),
        "{told}"
    );
    assert!(child["memory_bytes"].as_u64() > Some(0) && child["age_seconds"].as_f64() > Some(0.0), "{child}");
    let second = pid(&server, "c");
    until("the first has had its turns", || {
        let told = server.get("/api/v1/pool").json();
        told["children"].as_array().unwrap().iter().all(|child| child["pid"] == second)
    });
    let told = server.get("/api/v1/pool").json();
    let fake = told["backends"].as_array().unwrap().iter().find(|of| of["name"] == "fake").unwrap();
    assert_eq!(
        json!([fake["limits"]["max"], fake["limits"]["per_process"], fake["runs"], fake["ended"]]),
        json!([3, 8, {"continued": 0, "warm": 1, "started": 2, "cold": 0}, {"turns": 1}]),
        "{told}"
    );
    let health = server.get("/health").json();
    assert_eq!(health["pool"], json!({"starting": 0, "idle": 1, "busy": 0, "ending": 0}), "{health}");
    let metrics = server.get("/metrics").body;
    for line in [
        r#"clinvk_kept_children{backend="fake",state="idle"} 1"#,
        r#"clinvk_kept_children{backend="fake",state="busy"} 0"#,
        r#"clinvk_pool_runs_total{backend="fake",place="warm"} 1"#,
        r#"clinvk_pool_runs_total{backend="fake",place="started"} 2"#,
        r#"clinvk_pool_retries_total{backend="fake"} 0"#,
        r#"clinvk_pool_ended_total{backend="fake",reason="turns"} 1"#,
    ] {
        assert!(metrics.lines().any(|seen| seen == line), "{line}\n{metrics}");
    }
}

#[test]
fn a_key_sees_its_own_programs_and_the_backends_that_it_may_use() {
    let scene = scene(json!({}), LOOP);
    scene.edit_config(|config| {
        let keys = json!({"boss": {"admin": true}, "carol": {"allowed_backends": ["echo"]}});
        config["server"] = json!({"keys": keys});
    });
    let keys = "alice=alice-secret,bob=bob-secret,carol=carol-secret,boss=boss-secret";
    let server = scene.serve_with([], &[("CLINVK_API_KEYS", keys)]);
    let ask = |key: &str, method: &str, path: &str| {
        server.ask(method, path).header("X-Api-Key", &format!("{key}-secret"))
    };
    for key in ["alice", "bob"] {
        assert_eq!(ask(key, "POST", "/api/v1/prompt").json(&json!({"prompt": "x"})).answer().status, 200);
    }
    let seen = |key: &str| {
        let told = ask(key, "GET", "/api/v1/pool").answer().json();
        let all = |list: &str, field: &str| -> Vec<Value> {
            told[list].as_array().unwrap().iter().map(|of| of[field].clone()).collect()
        };
        let has_fake = all("backends", "name").contains(&json!("fake"));
        (all("children", "key"), has_fake)
    };
    assert_eq!(seen("alice"), (vec![json!("alice")], true));
    assert_eq!(seen("carol"), (vec![], false));
    assert_eq!(seen("boss"), (vec![json!("alice"), json!("bob")], true));
    assert_eq!(server.get("/api/v1/pool").status, 401);
}
