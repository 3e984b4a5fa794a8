//! Servers that are none, or are broken: each is an error with status 5 that says what came, and none hangs or fills the
//! memory.

use crate::util::scene::{PATIENCE, Scene};
use clinvk::base::sys;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// The head of an answer of JSON with this length.
fn json(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Reads a request up to the end of its body, or as much as comes.
fn request(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return text;
            }
        }
        match stream.read(&mut buffer) {
            Ok(read_now @ 1..) => read.extend(&buffer[..read_now]),
            _ => return text,
        }
    }
}

/// A server that answers one connection after the other with these bytes. Returns its address.
fn server(answers: Vec<Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for answer in answers {
            let Ok((mut stream, _)) = listener.accept() else { return };
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            request(&mut stream);
            // A client that has had enough leaves.
            let _ = stream.write_all(&answer);
        }
    });
    address
}

/// What the client of such a server says of it, without its address.
#[track_caller]
fn says(answers: &[&[u8]]) -> String {
    let scene = Scene::new();
    let url = server(answers.iter().map(|answer| answer.to_vec()).collect());
    let seen = scene.clinvk(["--server", &url, "x"]).seen();
    assert_eq!(seen.status, 5, "{seen}");
    seen.err.replace(&format!("clinvk: server `{url}`: "), "").trim_end().to_owned()
}

#[test]
fn what_is_no_answer_is_said_to_be_none() {
    let endless = [b"HTTP/1.1 200 OK\r\n".to_vec(), b"X: y\r\n".repeat(20_000)].concat();
    let long = [b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'y'; 200_000]].concat();
    let chunked = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunks = |chunks: &str| format!("{chunked}{chunks}").into_bytes();
    for (answer, problem) in [
        (&b""[..], "its answer broke off"),
        (b"\r\n", "its answer is no HTTP: it has no status"),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "its answer is no HTTP: it has no status"),
        (b"HTTP/2 200\r\n\r\n", "its answer is no HTTP: it has no status"),
        (b"HTTP/1.1 20 OK\r\n\r\n", "its answer is no HTTP: it has no status"),
        (b"HTTP/1.1 200 OK\r\nno header\r\n\r\n", "its answer is no HTTP: a header has no name"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n", "its answer broke off"),
        (&endless, "its answer is no HTTP: its head does not end"),
        (&long, "its answer is no HTTP: a line does not end"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{}",
            "its answer broke off",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "its answer is no HTTP: its length is no number"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "its answer is no HTTP: it has two lengths",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "its answer is no HTTP: its transfer encoding is unknown",
        ),
        (&chunks("zz\r\n"), "its answer is no HTTP: a chunk has no length"),
        (&chunks("\r\n"), "its answer is no HTTP: a chunk has no length"),
        (&chunks("+2\r\n{}\r\n0\r\n\r\n"), "its answer is no HTTP: a chunk has no length"),
        (&chunks("fffffffffffffffff\r\n"), "its answer is no HTTP: a chunk has no length"),
        (&chunks("2\r\n{}xx\r\n"), "its answer is no HTTP: a chunk is longer than it says"),
        (&chunks("2\r\n{}\r\n"), "its answer broke off"),
        (&chunks("ff\r\n{}"), "its answer broke off"),
        (&chunks(&"1".repeat(5000)), "its answer is no HTTP: a line does not end"),
        (&chunks(&format!("0\r\n{}", "X: y\r\n".repeat(20_000))), "its answer is no HTTP: it does not end"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
            "its answer is no JSON: is it a server of clinvk's?",
        ),
        (json("{\"half\":").as_bytes(), "its answer is no JSON: is it a server of clinvk's?"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n<html>", "it answers 502, and not as clinvk does"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://h/\r\n\r\n", "it answers 302, and not as clinvk does"),
        (
            b"HTTP/1.1 404 No\r\nContent-Type: application/json\r\n\r\n{\"error\": \"none\"}",
            "it answers 404, and not as clinvk does",
        ),
    ] {
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(200)]).into_owned();
        assert_eq!(says(&[answer]), problem, "{shown}");
    }
}

#[test]
fn a_broken_stream_is_an_error_whatever_it_has_said() {
    let first = json("{\"backends\": [], \"default\": null}");
    let stream = |lines: &str| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n";
        format!("{head}{lines}")
    };
    let run = r#"{"type":"run","run_id":"1","backend":"b","content":{"working_dir":"/","warnings":[]}}"#;
    for (lines, problem) in [
        (String::new(), "its answer ended before the run did"),
        ("no json\n".to_owned(), "it sent a line that is no event"),
        (run.replace(r#""1""#, r#""1\r\nX: y""#) + "\n", "it sent a line that is no event"),
        (run.replace(r#""1""#, "1") + "\n", "it sent a line that is no event"),
        (format!("{run}\n"), "its answer ended before the run did"),
        (format!("{run}\n[1]\n\"x\"\n7\nnull\n{{}}\n"), "its answer ended before the run did"),
        (format!("{run}\n{{\"type\":\"message\"}}\n{{\"type\":"), "its answer broke off"),
        (
            format!("{run}\n{{\"type\":\"later\",\"content\":7}}\n\n\n<html>\n"),
            "it sent a line that is no event",
        ),
    ] {
        assert_eq!(says(&[first.as_bytes(), stream(&lines).as_bytes()]), problem, "{lines}");
    }
    let invalid = [stream(run).as_bytes(), b"\n\xff\xfe\n"].concat();
    assert_eq!(says(&[first.as_bytes(), &invalid]), "it sent a line that is not valid UTF-8");
}

#[test]
fn what_may_be_in_an_answer_is_understood() {
    let scene = Scene::new();
    // What is said in between, odd cases, extensions of chunks, trailers, chunks that cut lines and letters.
    let first = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.0 200\r\ncontent-type:APPLICATION/JSON; charset=utf-8\r\n\r\n{\"default\": \"b\"}";
    let lines = "{\"type\":\"run\",\"run_id\":\"1\",\"backend\":\"b\",\"content\":{}}\n\n{\"type\":\"message\",\"content\":{\"text\":\"h\u{e9}\"}}\r\n{\"type\":\"later\"}\n{\"type\":\"done\",\"backend\":\"b\",\"content\":{\"exit_code\":0}}\n";
    let mut second = b"HTTP/1.1 200 Fine\nTRANSFER-ENCODING: Chunked\n\n".to_vec();
    for byte in lines.bytes() {
        second.extend(b"1;ext=\"x\"\r\n");
        second.extend([byte, b'\r', b'\n']);
    }
    second.extend(b"0\r\nX-Trailer: y\r\n\r\n");
    let url = server(vec![first.into(), second]);
    scene.clinvk(["--server", &url, "x"]).prints("h\u{e9}\n");
}

#[test]
fn an_answer_of_another_shape_is_an_error_or_nothing() {
    let (scene, id) = (Scene::new(), "a".repeat(32));
    for args in [
        &["sessions", "list"][..],
        &["sessions", "show", &id],
        &["sessions", "show", "--turns", &id],
        &["sessions", "export", &id],
        &["runs"],
        &["doctor"],
    ] {
        for body in ["[]", "7", "\"x\"", "null"] {
            let url = server(vec![json(body).into_bytes(); 8]);
            let seen = scene.clinvk(args).args(["--server", &url]).seen();
            assert!([0, 1, 2, 5].contains(&seen.status) && !seen.err.contains("panicked"), "{body}: {seen}");
        }
    }
}

#[test]
fn a_list_ends_where_nothing_more_comes() {
    let scene = Scene::new();
    let body = r#"{"sessions": [], "problems": [], "total": 18446744073709551615}"#;
    let url = server(vec![json(body).into_bytes(); 3]);
    let seen = scene.clinvk(["sessions", "list", "-n", "0", "--json", "--server", &url]).seen();
    assert!(seen.status == 0 && seen.out.contains("18446744073709551615"), "{seen}");
}

#[test]
fn an_address_that_is_none_is_bad_input() {
    let scene = Scene::new();
    for server in ["localhost:8080", "ftp://h", "https://h", "http://me:pw@h", "unix:", "http://h:99999"] {
        let seen = scene.clinvk(["--server", server, "x"]).seen();
        assert!(seen.status == 1 && !seen.err.contains("pw@"), "{server}: {seen}");
    }
    let seen = scene.clinvk(["--server", "http://no-such-host.invalid", "x"]).seen();
    assert!(seen.status == 5 && seen.err.contains("it cannot be reached"), "{seen}");
    let seen = scene.clinvk(["--server", "unix:none", "-o", "json", "x"]).seen();
    assert!(seen.status == 5 && seen.out.contains("\"kind\":\"remote\""), "{seen}");
}

#[test]
fn a_signal_ends_the_wait_for_a_server_that_does_not_answer() {
    let scene = Scene::new();
    for (args, out) in
        [(&["x"][..], ""), (&["--json", "x"], "cancelled"), (&["map", "-P", "1", "-q", "{}"], "cancelled")]
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut run = scene.clinvk(args).env("CLINVK_SERVER", &url).silent_stdin().start();
        let (mut first, _) = listener.accept().unwrap();
        request(&mut first);
        first.write_all(json("{\"backends\": [], \"default\": \"echo\"}").as_bytes()).unwrap();
        run.write(b"item\n");
        run.close();
        let (mut second, _) = listener.accept().unwrap();
        assert!(request(&mut second).starts_with("POST /api/v1/prompt "));
        run.signal(sys::SIGINT);
        let seen = run.end();
        assert!(seen.status == -sys::SIGINT && seen.out.contains(out), "{args:?} {seen}");
        assert!(args.contains(&"map") || seen.err == "clinvk: cancelled\n", "{args:?} {seen}");
    }
}
