//! What stands before the handlers: who is let in, from where, how often, how large.

mod access;
mod descriptors;
mod gopass;
mod keys;
mod layers;
mod origin;
mod requests;
mod start;

use crate::util::http::Answer;
use crate::util::scene::Scene;
use serde_json::{Value, json};

fn scene(server: Value) -> Scene {
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "echo", "server": server}));
    scene
}

fn kind(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["error"]["kind"].as_str().unwrap_or_default().to_owned())
}

fn refused(kind: &str, status: u16) -> (u16, String) {
    (status, kind.to_owned())
}
