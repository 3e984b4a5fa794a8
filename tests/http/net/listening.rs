//! Where the server listens.

use super::server::{Client, TestServer, limits, routes, text};
use crate::util::scene::{PATIENCE, Scene};
use clinvk::base::sync::Current;
use clinvk::base::world::World;
use clinvk::http::net::{Acceptor, Listen, Peer};
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// Cannot be opened, and says this.
#[track_caller]
fn fails(listen: Listen, says: &str) {
    let error = Acceptor::open(vec![listen]).err().expect("it was opened").to_string();
    assert_eq!(error, says);
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_name_is_listened_to_at_all_its_addresses() {
    let server = TestServer::at(vec![Listen::Tcp("localhost".to_owned(), 0)], limits(), routes);
    assert!(server.addresses.iter().any(|address| address.starts_with("http://127.0.0.1:")));
    if TcpListener::bind("[::1]:0").is_ok()
        && fs::read_to_string("/etc/hosts").unwrap().contains("::1\tlocalhost")
    {
        assert!(
            server.addresses.iter().any(|address| address.starts_with("http://[::1]:")),
            "{:?}",
            server.addresses
        );
    }
    for address in &server.addresses {
        assert_eq!(Client::of(address).unwrap().asks(GET).status, 200);
    }
}

#[test]
fn several_places_are_one_door() {
    let scene = Scene::new();
    let listens = vec![
        Listen::Tcp("127.0.0.1".to_owned(), 0),
        Listen::Tcp("127.0.0.1".to_owned(), 0),
        Listen::Unix(scene.path("tmp/socket")),
    ];
    let server = TestServer::at(listens, limits(), |exchange| {
        let peer = format!("{:?}", exchange.peer);
        exchange.respond(text(200, peer)).unwrap();
    });
    let peers = server.addresses.iter().map(|address| Client::of(address).unwrap().asks(GET).text());
    let tcp = format!("{:?}", Peer::Ip([127, 0, 0, 1].into()));
    assert_eq!(peers.collect::<Vec<_>>(), [tcp.clone(), tcp, "Unix".to_owned()]);
}

#[test]
fn a_place_that_is_taken_is_named_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    fails(
        Listen::Tcp("127.0.0.1".to_owned(), port),
        &format!(
            "cannot listen on `http://127.0.0.1:{port}`: another program listens there: stop it, or choose another \
             port with `--port`"
        ),
    );
    fails(
        Listen::Tcp("192.0.2.1".to_owned(), 8080),
        "cannot listen on `http://192.0.2.1:8080`: this machine has no such address",
    );
    let error = Acceptor::open(vec![Listen::Tcp("no host".to_owned(), 1)]).err().unwrap().to_string();
    assert!(error.starts_with("cannot listen on `http://no host:1`: the host is not known: "), "{error}");
}

#[test]
fn a_unix_socket_is_for_us_alone_and_goes_with_the_server() {
    let scene = Scene::new();
    let path = scene.path("tmp/run/clinvk/socket");
    let mut server = TestServer::at(vec![Listen::Unix(path.clone())], limits(), routes);
    assert_eq!((mode(&path), mode(scene.path("tmp/run/clinvk"))), (0o600, 0o700));
    assert_eq!(server.addresses, [format!("unix:{}", path.display())]);
    server.is_well();
    server.stop();
    server.ended();
    assert!(!path.exists());
}

#[test]
fn a_socket_whose_server_is_gone_is_replaced_and_a_live_one_is_not() {
    let scene = Scene::new();
    let path = scene.path("tmp/socket");
    drop(UnixListener::bind(&path).unwrap());
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
    let server = TestServer::at(vec![Listen::Unix(path.clone())], limits(), routes);
    fails(
        Listen::Unix(path.clone()),
        &format!(
            "cannot listen on `unix:{}`: another server listens there: stop it, or choose another path",
            path.display()
        ),
    );
    server.is_well();
}

#[test]
fn the_socket_of_another_server_is_left_alone_at_the_end() {
    let scene = Scene::new();
    let path = scene.path("tmp/socket");
    let server = TestServer::at(vec![Listen::Unix(path.clone())], limits(), routes);
    fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    drop(server);
    assert!(path.exists());
}

#[test]
fn a_path_that_will_not_do_says_why() {
    let scene = Scene::new();
    let fails = |path: &Path, why: &str| {
        fails(Listen::Unix(path.to_owned()), &format!("cannot listen on `unix:{}`: {why}", path.display()));
    };
    let file = scene.path("tmp/file");
    fs::write(&file, "precious").unwrap();
    fails(&file, "there is a file that is no socket: choose another path");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    fails(
        &scene.path("tmp").join("x".repeat(100)),
        "the path is longer than 107 bytes: choose a shorter one",
    );
    let open = scene.path("tmp/open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
    let shown = open.display();
    fails(
        &open.join("socket"),
        &format!("others can write to `{shown}`: `chmod go-w {shown}`, or choose another directory"),
    );
    // As /tmp is.
    fs::set_permissions(&open, Permissions::from_mode(0o1777)).unwrap();
    TestServer::at(vec![Listen::Unix(open.join("socket"))], limits(), routes).is_well();
}

/// As systemd does it: the socket is descriptor 3 of a process that is told its own number.
#[test]
fn a_socket_that_systemd_opened_is_served_and_not_handed_on() {
    if std::env::var_os("CLINVK_TEST_ALONE").is_some() {
        return serve_inherited();
    }
    let scene = Scene::new();
    let (tcp, path) = (TcpListener::bind("127.0.0.1:0").unwrap(), scene.path("tmp/socket"));
    let unix = UnixListener::bind(&path).unwrap();
    let sockets: [(OwnedFd, String); 2] = [
        (tcp.try_clone().unwrap().into(), format!("http://{}", tcp.local_addr().unwrap())),
        (unix.try_clone().unwrap().into(), format!("unix:{}", path.display())),
    ];
    for (socket, address) in sockets {
        let line = r#"exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=x exec "$@""#;
        let child = Command::new("/bin/sh")
            .args(["-c", line, "sh"])
            .arg(std::env::current_exe().unwrap())
            .args([
                "http::net::listening::a_socket_that_systemd_opened_is_served_and_not_handed_on",
                "--exact",
            ])
            .env("CLINVK_TEST_ALONE", "1")
            .stdin(socket)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It waits in the socket until the server is there.
        let mut client = Client::of(&address).unwrap();
        assert_eq!(client.asks(b"GET /stop HTTP/1.1\r\nHost: x\r\n\r\n").text(), address);
        client.is_left();
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
    }
    // It is not ours to remove.
    assert!(path.exists());
}

fn serve_inherited() {
    let world = World::read().unwrap();
    let mut others = world.clone();
    others.env.insert("LISTEN_PID".to_owned(), "1".to_owned());
    assert!(Listen::inherited(&others).is_none(), "it was meant for another process");
    let listen = Listen::inherited(&world).unwrap();
    assert!(Listen::inherited(&world).is_none(), "it can be had once");
    let seen = Command::new("ls").arg("/proc/self/fd/3").stderr(Stdio::null()).status().unwrap();
    assert!(!seen.success(), "a child has it too");
    let acceptor = Acceptor::open(vec![listen]).unwrap();
    let address = acceptor.addresses()[0].clone();
    let (read, write) = clinvk::base::sys::pipe().unwrap();
    let stop = Mutex::new(File::from(write));
    let serve = move |exchange: &mut clinvk::http::net::Exchange<'_>| {
        stop.lock().unwrap().write_all(b"\n").unwrap();
        // The answer says that the connection ends, because the drain has begun.
        let until = Instant::now() + PATIENCE;
        while !exchange.is_draining() && Instant::now() < until {
            std::thread::yield_now();
        }
        exchange.respond(text(200, address.clone())).unwrap();
    };
    acceptor.serve(Current::new(limits().within_open_files()), super::server::service(serve), read).unwrap();
}

#[test]
fn a_descriptor_that_is_no_listener_is_refused() {
    let (read, _write) = clinvk::base::sys::pipe().unwrap();
    fails(
        Listen::Inherited(vec![read]),
        "cannot listen on `socket from systemd`: it is no listening stream socket: the unit needs `ListenStream=` and \
         `Accept=no`",
    );
}

#[test]
fn the_child_of_a_run_is_not_told_of_our_sockets() {
    let scene = Scene::playing("env | grep ^LISTEN_ || say none");
    let run = scene.clinvk(["x"]).env("LISTEN_PID", "1").env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "x");
    run.prints("none\n");
}
