//! What `flow ui` promises: runs as live pages, for nobody but who has the address.

#![cfg(target_os = "linux")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};

use common::{Place, SMALL, TWO, Watched, axe, browse};
use serde_json::Value;

/// A server of the runs of a place, and the address that it printed.
struct Served {
    child: Child,
    port: u16,
    token: String,
}

impl Served {
    fn start(place: &Place) -> Self {
        let mut child = place
            .command(&["ui"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("flow starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut line).expect("an address");
        let rest = line
            .trim()
            .strip_prefix("http://127.0.0.1:")
            .expect("an address on this machine");
        let (port, token) = rest.trim_end_matches('/').split_once('/').expect("a token");
        Self {
            child,
            port: port.parse().expect("a port"),
            token: token.to_owned(),
        }
    }

    fn address(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{}/{path}", self.port, self.token)
    }

    /// Status and body of the answer to a request, in which `more` are further headers.
    fn ask(&self, method: &str, path: &str, host: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        .expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        let (_, body) = answer.split_once("\r\n\r\n").expect("headers end");
        (status.unwrap_or_else(|| panic!("no status: {answer}")), body.to_owned())
    }

    fn get(&self, path: &str) -> (u16, String) {
        let host = format!("127.0.0.1:{}", self.port);
        self.ask("GET", &format!("/{}/{path}", self.token), &host)
    }

    fn rows(&self, query: &str) -> Value {
        let (status, body) = self.get(&format!("runs.json?{query}"));
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).expect("JSON")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn id(rows: &Value, i: usize) -> String {
    rows["rows"][i]["id"].as_str().expect("an id").to_owned()
}

#[test]
fn only_who_has_the_token_and_calls_the_server_by_its_name_is_answered() {
    let place = Place::new(TWO);
    place.run(&[]);
    let served = Served::start(&place);
    let own = format!("127.0.0.1:{}", served.port);
    let path = format!("/{}/", served.token);
    assert_eq!(served.ask("GET", &path, &own).0, 200);
    assert_eq!(served.ask("GET", &path, &format!("localhost:{}", served.port)).0, 200);
    for (path, host) in [
        ("/", own.as_str()),
        ("/0123456789abcdef0123456789abcdef/", &own),
        ("/0123456789abcdef0123456789abcdef/runs.json", &own),
        (&path, "evil.example"),
        (&path, &format!("evil.example:{}", served.port)),
        (&path, "127.0.0.1"),
    ] {
        let (status, body) = served.ask("GET", path, host);
        assert_eq!(status, 403, "{path} of {host}: {body}");
        assert!(!body.contains("run"), "{body}");
    }
    // Nothing outside the runs is shown.
    for path in [
        "run/..%2F..%2Fw.toml/",
        "run/../",
        "run/nobody/",
        "run/nobody/events",
        "other",
    ] {
        assert_eq!(served.get(path).0, 404, "{path}");
    }
    let run = id(&served.rows(""), 0);
    let (_, log) = served.get(&format!("run/{run}/log?node=..%2F..%2Fsummary"));
    assert_eq!(log, "it has written nothing");

    let answers = [
        served.ask("GET", "/", &own),
        served.ask("GET", &path, "evil.example"),
        served.get("other"),
        served.get("run/nobody/"),
        served.get(&format!("run/{run}/other")),
        served.get(&format!("run/{run}/log?node=nobody")),
        served.get(&format!("run/{run}/why?node=nobody")),
        served.get(&format!("run/{run}/why?node=first")),
    ];
    let answers = answers.map(|(status, body)| format!("{status} {body}"));
    insta::assert_snapshot!("answers", answers.join("\n"));
}

#[test]
fn runs_are_listed_filtered_and_sorted_and_each_has_a_page_a_report_and_logs() {
    let place = Place::new(&TWO.replace("echo {params.n}", "echo hello; echo {params.n}"));
    place.run(&[]);
    place.run(&["--set", "nodes.first.params.n=2"]);
    let served = Served::start(&place);
    let all = served.rows("");
    assert_eq!((all["total"].as_u64(), all["running"].as_u64()), (Some(2), Some(0)));
    assert_eq!(all["rows"][0]["overrides"][0], "nodes.first.params.n=2");
    assert_eq!(id(&served.rows("sort=started&down=1"), 0), id(&all, 1));
    let found = served.rows("where=override+~+%22n%3D2%22");
    assert_eq!((found["total"].as_u64(), id(&found, 0)), (Some(1), id(&all, 0)));
    let wrong = served.rows("where=colour+%3D+red");
    assert!(wrong["error"].as_str().expect("an error").contains("colour"), "{wrong}");

    let run = id(&all, 0);
    assert!(served.get(&format!("run/{run}/")).1.contains(&run));
    assert!(served.get(&format!("run/{run}/report")).1.contains("Provenance"));
    assert!(served.get(&format!("run/{run}/log?node=first")).1.contains("hello"));
    let (status, why) = served.get(&format!("run/{run}/why?node=first"));
    assert_eq!(status, 200);
    assert!(why.contains("params.n: 1 -> 2"), "{why}");
    // The whole event log, whoever started the run, and then its end.
    let (_, events) = served.get(&format!("run/{run}/events"));
    assert!(
        events.contains("\"event\":\"run_finished\"") && events.contains("event: over"),
        "{events}"
    );
    // `flow runs ls` finds the same.
    let listed = place.flow(&["runs", "ls", "--filter", "override ~ 'n=2'"]).stdout;
    assert!(listed.contains("n=2") && listed.lines().count() == 2, "{listed}");
    assert_eq!(place.flow(&["runs", "ls", "--filter", "colour = red"]).code, 2);
}

#[test]
fn who_serves_is_told_how_long_and_too_many_readers_are_sent_away() {
    let place = Place::new(TWO);
    // In place of a browser.
    place.write("bin/xdg-open", "#!/bin/sh\n");
    let opener = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(place.path("bin/xdg-open"), opener).expect("it is ours");
    let path = std::env::var("PATH").expect("a search path");
    let mut run = place
        .command(&["run", "w.toml", "-j", "1", "--ui"])
        .env("PATH", format!("{}:{path}", place.path("bin").display()))
        .stderr(Stdio::piped())
        .spawn()
        .expect("flow starts");
    let lines = BufReader::new(run.stderr.take().expect("a pipe")).lines();
    let served = lines.map_while(Result::ok).find(|line| line.starts_with("served"));
    run.kill().expect("it is ours");
    run.wait().expect("it ends");
    let mut alone = place
        .command(&["ui"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("flow starts");
    let mut first = String::new();
    let mut told = BufReader::new(alone.stderr.take().expect("a pipe"));
    told.read_line(&mut first).expect("it is told");
    alone.kill().expect("it is ours");
    alone.wait().expect("it ends");
    let address = regex::Regex::new(r"http://\S+").expect("a regular expression");
    let served = served.unwrap_or_default();
    let served = address.replace(&served, "[address]");

    let server = Served::start(&place);
    let listen = || {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("it listens");
        let (token, port) = (&server.token, server.port);
        write!(
            stream,
            "GET /{token}/changes HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"
        )
        .expect("sent");
        stream
    };
    // All at the same moment; each is answered, be it that it is sent away.
    let mut readers: Vec<TcpStream> = (0..70).map(|_| listen()).collect();
    let mut status = |reader: &mut TcpStream| {
        let mut line = [0; 12];
        reader.read_exact(&mut line).expect("an answer");
        String::from_utf8_lossy(&line).into_owned()
    };
    let answers: Vec<String> = readers.iter_mut().map(&mut status).collect();
    let taken = answers.iter().filter(|answer| *answer == "HTTP/1.1 200").count();
    assert_eq!(taken, 64, "{answers:?}");
    // Pages that do not stay are answered all the same.
    assert_eq!(server.get("").0, 200);
    let (status, said) = server.get("changes");
    insta::assert_snapshot!(format!("{served}\n{first}{status} {said}"));
}

/// One pre-training that nobody would wait for.
fn endless() -> String {
    let start = SMALL.find("[nodes.scratch]").expect("the fixture has it");
    let text = SMALL[..start].replace("epochs = 3", "epochs = 100000");
    text.replace(
        "labels = [20, 40]\nseed = [0, 1]\narm = [\"scratch\", \"tuned\", \"student\"]",
        "seed = [0]\nlabels = [20]",
    )
    .replace(
        "[defaults.finetune]\nviews = \"views\"\nlr = 0.05\nsteps = 6\nbatch = 8\n",
        "",
    )
}

#[test]
fn a_run_under_way_can_be_stopped_at_its_next_checkpoint() {
    let place = Place::new(&endless());
    let served = Served::start(&place);
    let mut run = place
        .command(&["run", "w.toml", "-q"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("flow starts");
    // Until it trains: each look takes as long as the server needs.
    let id = loop {
        let rows = served.rows("where=status+%3D+running");
        if rows["total"] == 1 {
            let id = id(&rows, 0);
            let log =
                std::fs::read_to_string(place.path(".flow/runs").join(&id).join("events.jsonl")).unwrap_or_default();
            if log.contains("node_progress") {
                break id;
            }
        }
        assert!(run.try_wait().expect("it can be asked").is_none(), "it ended by itself");
    };
    let host = format!("127.0.0.1:{}", served.port);
    let (status, said) = served.ask("POST", &format!("/{}/run/{id}/stop", served.token), &host);
    insta::assert_snapshot!("a_request_to_stop", format!("{status} {said}"));
    assert_eq!(run.wait().expect("it ends").code(), Some(130));
    assert_eq!(served.rows("")["rows"][0]["status"], "stopped");
}

#[test]
fn a_browser_shows_runs_and_the_nodes_of_one_without_an_error() {
    let place = Place::new(SMALL);
    place.run(&[]);
    let served = Served::start(&place);
    let run = id(&served.rows(""), 0);
    let Some(page) = browse(&place, &served.address(&format!("run/{run}/")), 1280) else {
        println!("skipped: chromium is not installed");
        return;
    };
    assert!(!page.stderr.contains("CONSOLE"), "{}", page.stderr);
    assert!(
        page.stdout.contains("data-ended=\"finished\""),
        "it hears of the end: {}",
        page.stdout
    );
    assert!(page.stdout.contains("simclr[seed=0]"), "{}", page.stdout);
}

#[test]
fn a_run_that_starts_after_the_page_was_opened_appears_on_it_and_finishes_without_a_reload() {
    let place = Place::new(SMALL);
    // The list is empty, and has somewhere to look.
    std::fs::create_dir_all(place.path(".flow/runs")).expect("made");
    let served = Served::start(&place);
    let Some(mut list) = Watched::open(&place, served.port, &format!("/{}/", served.token)) else {
        println!("skipped: chromium is not installed");
        return;
    };
    list.shows(&["0 runs, 0 under way"]);
    let mut run = place.command(&["run", "w.toml", "-q"]).spawn().expect("flow starts");
    list.shows(&["1 run, 1 under way", "running"]);
    let id = id(&served.rows(""), 0);
    let mut page = Watched::open(&place, served.port, &format!("/{}/run/{id}/", served.token)).expect("as before");
    page.shows(&["simclr[seed=0]"]);
    assert_eq!(
        list.shows(&["1 run, 0 under way", "finished"]),
        1,
        "the list was loaded anew"
    );
    assert_eq!(page.shows(&["finished, "]), 1, "the run's page was loaded anew");
    assert!(run.wait().expect("it ends").success());
}

#[test]
fn axe_finds_nothing_serious_in_the_list_of_runs_and_in_the_page_of_one() {
    let place = Place::new(SMALL);
    place.run(&[]);
    let served = Served::start(&place);
    let id = id(&served.rows(""), 0);
    for (path, wanted) in [
        (format!("/{}/", served.token), "#runs tbody tr"),
        (format!("/{}/run/{id}/", served.token), "#state[data-ended=finished]"),
    ] {
        let Some(axe) = axe(wanted) else {
            println!("skipped: FLOW_AXE does not name axe.min.js of the npm package axe-core");
            return;
        };
        let Some(mut page) = Watched::open_with(&place, served.port, &path, &axe) else {
            println!("skipped: chromium is not installed");
            return;
        };
        page.shows(&["axe: "]);
        assert!(page.shown().contains("axe: []"), "{}", page.shown());
    }
}
