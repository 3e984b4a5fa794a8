//! How much of the sessions a list shows, and that it says so (faults.md E3, B8).

use crate::util::store::Home;
use clinvk::session::{Session, Status, Store};
use serde_json::json;

fn with(sessions: usize) -> Home {
    let home = Home::new();
    home.begin("first");
    let store = Store::at(&home.scene.path("home/.clinvk"));
    for number in 1..sessions {
        let id = clinvk::base::world::random_id().unwrap();
        let mut session = Session::new(id, "echo", home.scene.path("work"), &format!("s{number}"));
        session.status = Status::Completed;
        store.add(session, &[]).unwrap();
    }
    home
}

/// E3: a list that is cut says so on standard error, unless it was told where to cut; 0 is all; JSON has the number.
#[test]
fn a_list_says_that_it_is_cut() {
    let home = with(31);
    let notice = "clinvk: 20 of 31 sessions: `-n 0` lists all\n";
    for (args, shown, said) in [
        (&[][..], 20, notice),
        (&["--offset", "5"], 20, notice),
        (&["--offset", "15"], 16, ""),
        (&["-n", "20"], 20, ""),
        (&["-n", "0"], 31, ""),
        (&["-n", "0", "--offset", "30"], 1, ""),
        (&["-q"], 20, ""),
        (&["--search", "s1"], 11, ""),
    ] {
        let seen = home.clinvk([&["sessions", "list"][..], args].concat()).seen();
        // The first line is the head of the table.
        assert_eq!(
            (seen.out.lines().count() - 1, &*seen.err, seen.status),
            (shown, said, 0),
            "{args:?}: {seen}"
        );
        let json = home.json([&["sessions", "list"][..], args].concat());
        let total = if args.contains(&"--search") { 11 } else { 31 };
        assert_eq!(
            (json["sessions"].as_array().unwrap().len(), &json["total"]),
            (shown, &json!(total)),
            "{args:?}"
        );
    }
}

/// E3: the same over HTTP.
#[cfg(feature = "serve")]
#[test]
fn a_list_over_http_has_the_number_of_all() {
    let home = with(60);
    let server = home.scene.serve([]);
    for (query, shown, limit, total) in [
        ("", 50, 50, 60),
        ("?limit=0", 60, 1000, 60),
        ("?limit=7&offset=55", 5, 7, 60),
        ("?limit=2000", 60, 1000, 60),
        ("?search=s1&limit=3", 3, 3, 11),
    ] {
        let answer = server.get(&format!("/api/v1/sessions{query}")).json();
        let seen = (answer["sessions"].as_array().unwrap().len(), &answer["limit"], &answer["total"]);
        assert_eq!(seen, (shown, &json!(limit), &json!(total)), "{query}");
    }
}
