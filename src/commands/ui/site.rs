//! What is answered to whom: the list of runs, a run's page, its events, log and report; nothing to who does not know the token.

use std::path::PathBuf;
use std::sync::Arc;

use axum::http::{Method, Uri};
use flow_cache::{Access, Store};
use flow_engine::run_list::{Row, RunList, filter};
use flow_engine::{Run, Runs};
use serde_json::json;

use super::answers::{Answer, html, json_answer, words};
use super::{events, pages};
use crate::cli::Cli;
use crate::commands::report;

/// Rows that a list shows.
const SHOWN: usize = 500;

/// Bytes of the end of a node's log that are shown.
const TAIL: u64 = 32 << 10;

/// What is known of a request.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) address: Uri,
    /// By what name the server was called.
    pub(super) host: Option<String>,
    /// The place in a stream after which a page that was cut off goes on.
    pub(super) last_event: u64,
}

/// What answers have in common.
pub(super) struct Site {
    cache: PathBuf,
    list: RunList,
    token: String,
    /// The names by which a browser may call this server: others are somebody else's pages that reach for it.
    hosts: [String; 2],
    streams: events::Streams,
}

impl Site {
    pub(super) fn new(cli: &Cli, port: u16, token: String) -> Self {
        Self {
            cache: cli.cache.clone(),
            list: RunList::new(Runs::open(&cli.runs)),
            token,
            hosts: [format!("127.0.0.1:{port}"), format!("localhost:{port}")],
            streams: events::Streams::default(),
        }
    }

    /// Reads the list for the first time, so that whoever asks for it need not wait.
    pub(super) fn warm(&self) {
        drop(self.list.rows());
    }

    /// The answer to a request by this name of the server.
    pub(super) fn answer(self: &Arc<Self>, request: &Asked) -> Answer {
        let path = match self.path(request) {
            Ok(path) => path,
            Err(answer) => return *answer,
        };
        let site = Arc::clone(self);
        match path.split('/').collect::<Vec<_>>().as_slice() {
            ["changes"] => self.streams.open(move |out| events::changes(out, &site.list)),
            ["run", id, "events"] => match self.list.runs().exactly(id) {
                Some(run) => {
                    let from = request.last_event;
                    self.streams.open(move |out| events::log(out, &run, from))
                }
                None => words(404, "no such run"),
            },
            parts => self.page(&request.method, parts, request.address.query().unwrap_or_default()),
        }
    }

    /// The path below the token; an answer where a request is not one of ours.
    fn path(&self, request: &Asked) -> Result<String, Box<Answer>> {
        let ours = |host: &String| self.hosts.iter().any(|known| host == known);
        if !request.host.as_ref().is_some_and(ours) {
            return Err(Box::new(words(403, "not asked for by the name of this server")));
        }
        let path = request.address.path();
        let below = path.strip_prefix('/').and_then(|path| path.split_once('/'));
        match below {
            Some((token, below)) if token == self.token => Ok(decoded(below)),
            _ => Err(Box::new(words(
                403,
                "the address needs the token that `flow ui` printed",
            ))),
        }
    }

    fn page(&self, method: &Method, parts: &[&str], query: &str) -> Answer {
        let runs = self.list.runs();
        match (method, parts) {
            (&Method::GET, [""]) => html(pages::list()),
            (&Method::GET, ["runs.json"]) => self.rows(query),
            (_, ["run", id, rest @ ..]) => match (runs.exactly(id), method, rest) {
                (None, ..) => words(404, "no such run"),
                (Some(run), &Method::GET, [""]) => html(pages::run(&run)),
                (Some(run), &Method::GET, ["report"]) => html(report::html(&self.cache, runs, &run)),
                (Some(run), &Method::GET, ["log"]) => log(&run, query),
                (Some(run), &Method::GET, ["why"]) => self.why(&run, query),
                (Some(run), &Method::POST, ["stop"]) => match run.ask_to_stop() {
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

fn no_such_page() -> Answer {
    words(404, "there is no such page")
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
