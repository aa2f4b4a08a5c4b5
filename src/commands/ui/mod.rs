//! `flow ui`: runs as live pages, for one person on this machine. It reads run directories and the cache, so that it shows runs that it did not
//! start, after a crash, and several at once.

mod events;
mod pages;

use std::io::Cursor;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use flow_cache::Access;
use flow_cache::Store;
use flow_engine::run_list::{Row, RunList, filter};
use flow_engine::{Run, Runs, StopFlag};
use serde_json::json;
use tiny_http::{Header, Method, Request, Response, Server};

use super::report;
use super::run::Signals;
use crate::cli::{Cli, UiArgs};
use crate::exit::{Exit, Failure};
use crate::output::{print, say};

/// Rows that a list shows.
const SHOWN: usize = 500;

/// Requests that are answered at the same time: streams of events last as long as their pages are open.
const AT_ONCE: usize = 64;

/// Bytes of the end of a node's log that are shown.
const TAIL: u64 = 32 << 10;

pub(crate) fn ui(cli: &Cli, args: &UiArgs) -> Result<Exit, Failure> {
    let signals = Signals::listen(None)?;
    let served = Served::start(cli, args.port)?;
    print(&format!("{}\n", served.address));
    if !cli.quiet {
        say("Ctrl-C ends it; whoever has this address can see these runs, and stop them");
    }
    if args.open {
        report::open(&served.address)?;
    }
    served.until(&signals.stop);
    Ok(Exit::Ok)
}

/// A server at work.
pub(crate) struct Served {
    /// Where a browser finds it, with the token.
    pub(crate) address: String,
    server: Arc<Server>,
}

/// What answers have in common.
struct Site {
    cache: PathBuf,
    list: RunList,
    token: String,
    /// The names by which a browser may call this server: others are somebody else's pages that reach for it.
    hosts: [String; 2],
    at_work: AtomicUsize,
}

type Answer = Response<Cursor<Vec<u8>>>;

impl Served {
    /// Serves on this machine alone; port 0 is one that is free.
    pub(crate) fn start(cli: &Cli, port: u16) -> Result<Self, Failure> {
        let failed = |why: &dyn std::fmt::Display| Failure::cannot(&format!("serve on 127.0.0.1:{port}"), &why);
        let server = Server::http(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).map_err(|error| failed(&error))?;
        let port = server.server_addr().to_ip().map_or(port, |address| address.port());
        let mut random = [0_u8; 16];
        getrandom::fill(&mut random).map_err(|error| failed(&error))?;
        let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let site = Arc::new(Site {
            cache: cli.cache.clone(),
            list: RunList::new(Runs::open(&cli.runs)),
            hosts: [format!("127.0.0.1:{port}"), format!("localhost:{port}")],
            token: token.clone(),
            at_work: AtomicUsize::new(0),
        });
        let server = Arc::new(server);
        let listening = Arc::clone(&server);
        let first = Arc::clone(&site);
        // So that the first list is quick.
        std::thread::spawn(move || drop(first.list.rows()));
        std::thread::spawn(move || {
            for request in listening.incoming_requests() {
                let site = Arc::clone(&site);
                std::thread::spawn(move || site.answer(request));
            }
        });
        Ok(Self {
            address: format!("http://127.0.0.1:{port}/{token}/"),
            server,
        })
    }

    /// Serves until it is asked to stop.
    pub(crate) fn until(&self, stop: &StopFlag) {
        while !stop.is_requested() {
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        self.server.unblock();
    }
}

impl Site {
    fn answer(&self, request: Request) {
        let busy = self.at_work.fetch_add(1, Ordering::SeqCst) >= AT_ONCE;
        // A browser that has gone away is no error.
        let _ = match self.path(&request) {
            Err(answer) => request.respond(*answer),
            Ok(_) if busy => request.respond(words(503, "too many pages are open")),
            Ok((path, query)) => match path.split('/').collect::<Vec<_>>().as_slice() {
                ["changes"] => events::changes(request, &self.list),
                ["run", id, "events"] => match self.list.runs().exactly(id) {
                    Some(run) => events::stream(request, &run),
                    None => request.respond(words(404, "no such run")),
                },
                parts => {
                    let answer = self.page(request.method(), parts, &query);
                    request.respond(answer)
                }
            },
        };
        self.at_work.fetch_sub(1, Ordering::SeqCst);
    }

    /// The path below the token and the query; an answer where a request is not one of ours.
    fn path(&self, request: &Request) -> Result<(String, String), Box<Answer>> {
        let host = request.headers().iter().find(|header| header.field.equiv("Host"));
        let ours = host.is_some_and(|host| self.hosts.iter().any(|known| host.value.as_str() == known));
        if !ours {
            return Err(Box::new(words(403, "not asked for by the name of this server")));
        }
        let (path, query) = request.url().split_once('?').unwrap_or((request.url(), ""));
        let below = path.strip_prefix('/').and_then(|path| path.split_once('/'));
        match below {
            Some((token, below)) if token == self.token => Ok((decoded(below), query.to_owned())),
            _ => Err(Box::new(words(
                403,
                "the address needs the token that `flow ui` printed",
            ))),
        }
    }

    fn page(&self, method: &Method, parts: &[&str], query: &str) -> Answer {
        let runs = self.list.runs();
        match (method, parts) {
            (Method::Get, [""]) => html(pages::list()),
            (Method::Get, ["runs.json"]) => self.rows(query),
            (_, ["run", id, rest @ ..]) => match (runs.exactly(id), method, rest) {
                (None, ..) => words(404, "no such run"),
                (Some(run), Method::Get, [""]) => html(pages::run(&run)),
                (Some(run), Method::Get, ["report"]) => html(report::html(&self.cache, runs, &run)),
                (Some(run), Method::Get, ["log"]) => log(&run, query),
                (Some(run), Method::Get, ["why"]) => self.why(&run, query),
                (Some(run), Method::Post, ["stop"]) => match run.ask_to_stop() {
                    Ok(()) => words(202, "it stops at the next checkpoint"),
                    Err(error) => words(500, &error.to_string()),
                },
                _ => no_such_page(),
            },
            _ => no_such_page(),
        }
    }

    /// The list as it is asked for: filtered, sorted, as many rows as are shown.
    fn rows(&self, query: &str) -> Answer {
        let answer = |rows: Vec<Row>, error: Option<String>| {
            let total = rows.len();
            let running = rows.iter().filter(|row| row.status == "running").count();
            json_answer(
                &json!({ "total": total, "running": running, "rows": &rows[..total.min(SHOWN)], "error": error }),
            )
        };
        let rows = match self.list.rows() {
            Ok(rows) => rows,
            Err(error) => return answer(Vec::new(), Some(error.to_string())),
        };
        match filter(rows, &argument(query, "where")) {
            Ok(mut rows) => {
                sort(&mut rows, &argument(query, "sort"));
                if argument(query, "down") == "1" {
                    rows.reverse();
                }
                answer(rows, None)
            }
            Err(error) => answer(Vec::new(), Some(error.to_string())),
        }
    }

    /// Why a node of a run was computed: what differs from the nearest earlier entry of the cache.
    fn why(&self, run: &Run, query: &str) -> Answer {
        let wanted = argument(query, "node");
        let nodes = run.summary.iter().flat_map(|summary| &summary.nodes);
        let key = nodes.filter(|node| node.name == wanted).find_map(|node| node.key);
        let store = Store::open(&self.cache, Access::ReadOnly).ok();
        let record = key.and_then(|key| store.as_ref()?.record(&key).ok()?);
        let (Some(store), Some(record)) = (store, record) else {
            // Nothing can be said of it, which is no error: it may be under way.
            return words(200, "");
        };
        match store.nearest(&record) {
            Ok(Some(nearest)) => {
                let text = |value: &Option<serde_json::Value>| {
                    value.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string)
                };
                let changes = nearest.components.diff(&record.components);
                let lines = changes
                    .iter()
                    .map(|change| format!("{}: {} -> {}\n", change.name, text(&change.old), text(&change.new)));
                words(
                    200,
                    &format!(
                        "since {} ({}):\n{}",
                        nearest.node,
                        nearest.key.short(),
                        lines.collect::<String>()
                    ),
                )
            }
            Ok(None) => words(200, "nothing like it was computed before\n"),
            Err(error) => words(500, &error.to_string()),
        }
    }
}

fn sort(rows: &mut [Row], by: &str) {
    match by {
        "workflow" => rows.sort_by(|a, b| a.workflow.cmp(&b.workflow)),
        "status" => rows.sort_by(|a, b| a.status.cmp(&b.status)),
        "took" => rows.sort_by(|a, b| a.took_s.unwrap_or(f64::MAX).total_cmp(&b.took_s.unwrap_or(f64::MAX))),
        "ran" => rows.sort_by_key(|row| row.ran),
        "cached" => rows.sort_by_key(|row| row.cached),
        // They come newest first.
        _ => {}
    }
}

/// The end of a node's log.
fn log(run: &Run, query: &str) -> Answer {
    use std::io::{Read, Seek, SeekFrom};
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(run.node_log(&argument(query, "node")))?;
        let from = file.metadata()?.len().saturating_sub(TAIL);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => words(200, &String::from_utf8_lossy(&bytes)),
        Err(_) => words(200, "it has written nothing"),
    }
}

/// A value of a query; empty where there is none.
fn argument(query: &str, name: &str) -> String {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut value = pairs
        .filter(|(known, _)| *known == name)
        .map(|(_, value)| decoded(&value.replace('+', " ")));
    value.next_back().unwrap_or_default()
}

/// Text with `%41` for `A`.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        let hex = others
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|two| std::str::from_utf8(two).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &others[2..];
            }
            None => {
                bytes.push(*first);
                rest = others;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Headers of every answer: nobody else is told of the address, and nothing is kept.
fn headers(kind: &str) -> Vec<Header> {
    let all = [
        ("Content-Type", kind),
        ("Cache-Control", "no-store"),
        ("Referrer-Policy", "no-referrer"),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
    ];
    let header = |(name, value): (&str, &str)| Header::from_bytes(name, value).expect("BUG: headers are constants");
    all.into_iter().map(header).collect()
}

fn answer(status: u16, kind: &str, bytes: Vec<u8>) -> Answer {
    let length = bytes.len();
    Response::new(status.into(), headers(kind), Cursor::new(bytes), Some(length), None)
}

fn no_such_page() -> Answer {
    words(404, "there is no such page")
}

fn html(page: String) -> Answer {
    answer(200, "text/html;charset=utf-8", page.into_bytes())
}

fn words(status: u16, text: &str) -> Answer {
    answer(status, "text/plain;charset=utf-8", text.as_bytes().to_vec())
}

fn json_answer(value: &serde_json::Value) -> Answer {
    answer(200, "application/json", value.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_nodes_come_through_an_address_unharmed() {
        let query = "node=fit%5Blr%3D0.1%2Cs%3Da%26b+c%5D&x=%zz";
        assert_eq!(argument(query, "node"), "fit[lr=0.1,s=a&b c]");
        assert_eq!(argument(query, "x"), "%zz");
        assert_eq!(argument(query, "y"), "");
    }
}
