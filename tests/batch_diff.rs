//! Our unified diff, against that of `diff`.

use crate::util::scene::Scene;
use clinvk::batch::diff::unified;

/// What GNU diff prints, with the same names.
fn reference(scene: &Scene, old: &str, new: &str, flags: &str) -> String {
    scene.file("work/old", old);
    scene.file("work/new", new);
    scene.program("diff").args([flags, "--label", "old", "--label", "new", "old", "new"]).seen().out
}

#[test]
fn it_is_what_diff_prints() {
    let scene = Scene::new();
    let numbers = |range: std::ops::Range<u32>| range.map(|n| format!("{n}\n")).collect::<String>();
    let (ten, forty) = (numbers(0..10), numbers(0..40));
    for (old, new) in [
        ("", ""),
        ("a\n", "a\n"),
        ("a\n", "b\n"),
        ("a", "b"),
        ("a\n", "a"),
        ("", "a\n"),
        ("a\nb\n", ""),
        ("a\nb\nc\n", "a\nc\n"),
        ("a\nc\n", "a\nb\nc\n"),
        (&ten, &ten.replace("5\n", "five\n")),
        (&ten, &ten.replace("0\n", "")),
        (&forty, &forty.replace("3\n", "x\n")),
        (&forty, &forty.replace("\n10\n", "\n").replace("\n17\n", "\n")),
        (&forty, &forty.replace("\n10\n", "\n").replace("\n18\n", "\n")),
        (&forty, &format!("new\n{forty}new")),
    ] {
        assert_eq!(unified(old, new, "old", "new"), reference(&scene, old, new, "-u"), "{old:?} {new:?}");
    }
}

/// Where several ways are equally short, which one is taken is free: the number of changes is not, and what comes of them.
#[test]
fn it_is_as_short_as_can_be_and_leads_to_the_new_text() {
    let scene = Scene::new();
    // Numerical Recipes' quick generator: the same texts every time.
    let mut seed = 1u32;
    let mut next = |below: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 16) % below
    };
    for round in 0..40 {
        let length = next(30);
        let mut text = || (0..length).map(|_| format!("{}\n", next(6))).collect::<String>();
        let (old, new) = (text(), text());
        let ours = unified(&old, &new, "old", "new");
        let size = |diff: &str| diff.lines().filter(|line| line.starts_with(['-', '+'])).count();
        assert_eq!(
            size(&ours),
            size(&reference(&scene, &old, &new, "-du")),
            "round {round}: {old:?} {new:?}"
        );
        assert_eq!(applied(&old, &ours), new, "round {round}: {old:?} {ours}");
    }
}

/// The text that a diff makes of the old one.
fn applied(old: &str, diff: &str) -> String {
    let old: Vec<&str> = old.lines().collect();
    let (mut at, mut new) = (0, Vec::new());
    for line in diff.lines().skip(2) {
        if let Some(place) = line.strip_prefix("@@ -") {
            let (range, _) = place.split_once(' ').unwrap();
            let (start, length) = range.split_once(',').unwrap_or((range, "1"));
            let start: usize = start.parse().unwrap();
            let start = if length == "0" { start } else { start - 1 };
            new.extend_from_slice(&old[at..start]);
            at = start;
        } else if let Some(line) = line.strip_prefix('+') {
            new.push(line);
        } else {
            assert_eq!(old[at], &line[1..]);
            new.extend(line.strip_prefix(' '));
            at += 1;
        }
    }
    new.extend_from_slice(&old[at..]);
    new.iter().map(|line| format!("{line}\n")).collect()
}

#[test]
fn unrelated_texts_are_no_work() {
    let lines = |word: &str| (0..20_000).map(|n| format!("{word} {n}\n")).collect::<String>();
    assert_eq!(unified(&lines("a"), &lines("b"), "old", "new").lines().count(), 40_003);
}
