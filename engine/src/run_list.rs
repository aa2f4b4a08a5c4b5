//! Many runs as rows of a table: listed, filtered and sorted without reading again what has ended.
//!
//! The filter is a condition in the language of `flow cache query` ([`flow_cache::expr`]) over these fields: `id`, `workflow`, `status`, `override`,
//! `headline` (texts; `=` and `~`, which is "contains"), `started` (a text such as `2026-11-23T08:30:00`, UTC: the order of texts is that of times),
//! `age` (`90s`, `30m`, `12h`, `2d`, `1w`), `took` (seconds), `nodes`, `ran`, `cached`, `failed` (numbers), and `metrics.<name>` of reporting nodes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use flow_cache::expr::{Expr, Number, Op, SyntaxError, Tree, condition};
use flow_cache::query::parse_span;
use flow_cache::unix_ms;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::events::RunStatus;
use crate::outcome::NodeStatus;
use crate::runs::{Runs, RunsError, started_ms, workflow_of};

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The run's id.
    pub id: String,
    /// The workflow's name; empty where that is not known.
    pub workflow: String,
    /// `finished`, `failed`, `stopped`, `superseded`, `running`, or `killed`.
    pub status: String,
    /// When it began, in milliseconds since 1970 (UTC).
    pub started_unix_ms: u64,
    /// Seconds, once it has ended.
    pub took_s: Option<f64>,
    /// Instances.
    pub nodes: usize,
    /// Instances that ran.
    pub ran: usize,
    /// Instances from the cache.
    pub cached: usize,
    /// Instances that failed.
    pub failed: usize,
    /// As given.
    pub overrides: Vec<String>,
    /// What came out, in a few words.
    pub headline: Option<String>,
    /// Metrics of the reporting nodes.
    #[serde(skip)]
    pub metrics: BTreeMap<String, f64>,
}

/// As much of a summary as a row needs.
#[derive(Deserialize)]
struct Short {
    workflow: String,
    overrides: Vec<String>,
    status: RunStatus,
    started_unix_ms: u64,
    finished_unix_ms: u64,
    nodes: Vec<ShortNode>,
    reports: Vec<String>,
    #[serde(default)]
    headline: Option<String>,
}

#[derive(Deserialize)]
struct ShortNode {
    name: String,
    status: NodeStatus,
    metrics: BTreeMap<String, f64>,
}

/// Why a filter has no answer.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// The text is no condition.
    #[error("filter, {0}")]
    Syntax(#[from] SyntaxError),
    /// It asks for what a run does not have.
    #[error("filter: {0}")]
    Meaning(String),
}

/// The runs of a directory, of which those that have ended are read once.
#[derive(Debug)]
pub struct RunList {
    runs: Runs,
    ended: Mutex<HashMap<String, Row>>,
}

impl RunList {
    /// Of these runs.
    pub fn new(runs: Runs) -> Self {
        Self {
            runs,
            ended: Mutex::default(),
        }
    }

    /// The directory of runs.
    pub fn runs(&self) -> &Runs {
        &self.runs
    }

    /// All rows, newest first.
    ///
    /// # Errors
    /// If the directory cannot be read. A damaged summary counts as none.
    pub fn rows(&self) -> Result<Vec<Row>, RunsError> {
        let ids = self.runs.ids()?;
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let new: Vec<&String> = ids.iter().filter(|id| !ended.contains_key(*id)).collect();
        let read: HashMap<String, Row> = new.into_par_iter().map(|id| (id.clone(), self.read(id))).collect();
        let row = |id: &String| ended.get(id).or_else(|| read.get(id)).cloned();
        let rows = ids.iter().filter_map(row).collect();
        let over = read
            .into_iter()
            .filter(|(_, row)| row.status != "running" && row.status != "killed");
        ended.extend(over);
        Ok(rows)
    }

    fn read(&self, id: &str) -> Row {
        let mut row = Row {
            id: id.to_owned(),
            workflow: workflow_of(id).to_owned(),
            status: String::new(),
            started_unix_ms: started_ms(id).unwrap_or(0),
            took_s: None,
            nodes: 0,
            ran: 0,
            cached: 0,
            failed: 0,
            overrides: Vec::new(),
            headline: None,
            metrics: BTreeMap::new(),
        };
        let Some(summary) = self
            .runs
            .summary_text(id)
            .and_then(|text| serde_json::from_slice::<Short>(&text).ok())
        else {
            let under_way = self.runs.is_under_way(id);
            (if under_way { "running" } else { "killed" }).clone_into(&mut row.status);
            return row;
        };
        let count = |status| summary.nodes.iter().filter(|node| node.status == status).count();
        row.nodes = summary.nodes.len();
        (row.ran, row.cached, row.failed) = (
            count(NodeStatus::Ran),
            count(NodeStatus::Cached),
            count(NodeStatus::Failed),
        );
        summary.status.word().clone_into(&mut row.status);
        row.started_unix_ms = summary.started_unix_ms;
        row.took_s = Some(summary.finished_unix_ms.saturating_sub(summary.started_unix_ms) as f64 / 1e3);
        let reports = |name: &str| {
            summary
                .reports
                .iter()
                .any(|file| file.strip_suffix(".md") == Some(name))
        };
        let reporting = summary.nodes.iter().filter(|node| reports(&node.name));
        row.metrics = reporting.flat_map(|node| node.metrics.clone()).collect();
        (row.workflow, row.overrides, row.headline) = (summary.workflow, summary.overrides, summary.headline);
        row
    }
}

/// Those of the rows for which a condition holds; all of them if it is empty.
///
/// # Errors
/// If it is no condition, or not over the fields of a run.
pub fn filter(rows: Vec<Row>, text: &str) -> Result<Vec<Row>, FilterError> {
    if text.trim().is_empty() {
        return Ok(rows);
    }
    let tree = condition(text)?;
    let now = unix_ms();
    let mut kept = Vec::new();
    // Asked of a row that is not there as well: a mistake is one where there are no runs, too.
    for row in rows {
        if holds(&tree, &row, now)?.unwrap_or(false) {
            kept.push(row);
        }
    }
    Ok(kept)
}

/// Whether it holds; `None` where the row lacks the field, which makes a `not` around it unknown as well.
fn holds(tree: &Tree, row: &Row, now: u64) -> Result<Option<bool>, FilterError> {
    let all = |parts: &[Tree], until: bool| -> Result<Option<bool>, FilterError> {
        let mut answer = Some(!until);
        for part in parts {
            match holds(part, row, now)? {
                Some(truth) if truth == until => return Ok(Some(until)),
                None => answer = None,
                Some(_) => {}
            }
        }
        Ok(answer)
    };
    match &tree.expr {
        Expr::Not(inner) => Ok(holds(inner, row, now)?.map(|truth| !truth)),
        Expr::And(parts) => all(parts, false),
        Expr::Or(parts) => all(parts, true),
        Expr::Compare(left, op, right) => {
            let Expr::Word(field) = &left.expr else {
                return Err(FilterError::Meaning(format!(
                    "the name of a field is expected before `{op}`"
                )));
            };
            let right = match (&right.expr, op) {
                (Expr::List(items), Op::In) => items.iter().collect(),
                _ => vec![&**right],
            };
            let op = if *op == Op::In { Op::Equal } else { *op };
            let mut answer = None;
            for item in right {
                answer = answer.max(compare(field, op, item, row, now)?);
            }
            Ok(answer)
        }
        _ => Err(FilterError::Meaning(
            "a comparison is expected, such as `status = failed`".to_owned(),
        )),
    }
}

/// What a field of a row is.
enum Value<'a> {
    Texts(Vec<&'a str>),
    Time(String),
    Span(f64),
    Number(f64),
}

fn value<'a>(field: &str, row: &'a Row, now: u64) -> Result<Option<Value<'a>>, FilterError> {
    let number = |count: usize| Some(Value::Number(count as f64));
    if let Some(name) = field.strip_prefix("metrics.") {
        return Ok(row.metrics.get(name).copied().map(Value::Number));
    }
    Ok(match field {
        "id" => Some(Value::Texts(vec![&row.id])),
        "workflow" => Some(Value::Texts(vec![&row.workflow])),
        "status" => Some(Value::Texts(vec![&row.status])),
        "override" => Some(Value::Texts(row.overrides.iter().map(String::as_str).collect())),
        "headline" => row.headline.as_deref().map(|text| Value::Texts(vec![text])),
        "started" => i64::try_from(row.started_unix_ms)
            .ok()
            .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
            .map(|at| Value::Time(at.strftime("%FT%T").to_string())),
        "age" => Some(Value::Span(now.saturating_sub(row.started_unix_ms) as f64 / 1e3)),
        "took" => row.took_s.map(Value::Number),
        "nodes" => number(row.nodes),
        "ran" => number(row.ran),
        "cached" => number(row.cached),
        "failed" => number(row.failed),
        _ => {
            let fields = "id, workflow, status, override, headline, started, age, took, nodes, ran, cached, failed, metrics.<name>";
            return Err(FilterError::Meaning(format!(
                "`{field}` is no field of a run; there are: {fields}"
            )));
        }
    })
}

fn compare(field: &str, op: Op, wanted: &Tree, row: &Row, now: u64) -> Result<Option<bool>, FilterError> {
    let (Expr::Word(wanted) | Expr::Text(wanted)) = &wanted.expr else {
        return Err(FilterError::Meaning(format!(
            "`{field}` is compared with a word, a number or a text"
        )));
    };
    let Some(value) = value(field, row, now)? else {
        return Ok(None);
    };
    let against = |found: f64, wanted: f64| found.partial_cmp(&wanted).map(|order| op.accepts(order));
    match value {
        Value::Texts(texts) => Ok(Some(match op {
            Op::Contains => texts.iter().any(|text| text.contains(wanted)),
            Op::NotEqual => texts.iter().all(|text| text != wanted),
            op => texts.iter().any(|text| op.accepts((*text).cmp(wanted.as_str()))),
        })),
        // `2026-11-27` is the beginning of a day: as many letters as there are decide.
        Value::Time(found) => Ok(Some(op.accepts(found[..wanted.len().min(found.len())].cmp(wanted)))),
        Value::Span(found) => Ok(against(found, parse_span(wanted).map_err(FilterError::Meaning)?)),
        Value::Number(found) => match Number::parse(wanted) {
            Some(wanted) => Ok(against(found, wanted.as_f64())),
            None => Err(FilterError::Meaning(format!(
                "`{field}` is a number, `{wanted}` is none"
            ))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, status: &str, ran: usize, overrides: &[&str]) -> Row {
        Row {
            id: id.into(),
            workflow: "two".into(),
            status: status.into(),
            started_unix_ms: 1_795_799_146_005,
            took_s: (status != "running").then_some(12.5),
            nodes: 3,
            ran,
            cached: 0,
            failed: usize::from(status == "failed"),
            overrides: overrides.iter().map(|&text| text.to_owned()).collect(),
            headline: None,
            metrics: [("accuracy.a.40".to_owned(), 0.5)].into(),
        }
    }

    #[test]
    fn runs_are_found_by_every_field_and_what_is_no_field_is_an_error() {
        let rows = || {
            vec![
                row("a", "finished", 3, &["nodes.x.lr=0.1"]),
                row("b", "failed", 1, &[]),
                row("c", "running", 0, &[]),
            ]
        };
        let found = |text: &str| -> String {
            filter(rows(), text)
                .unwrap()
                .iter()
                .map(|row| row.id.as_str())
                .collect()
        };
        for (text, ids) in [
            ("", "abc"),
            ("status = failed", "b"),
            ("status in [failed, running]", "bc"),
            ("not status = failed and workflow = two", "ac"),
            ("override ~ lr", "a"),
            ("ran >= 1", "ab"),
            ("took < 13", "ab"),
            ("not took < 13", ""),
            ("started > 2026-11-26 and started < 2026-11-28", "abc"),
            ("started = 2026-11-27", "abc"),
            ("age > 1s and id != b", "ac"),
            ("metrics.accuracy.a.40 = 0.5", "abc"),
            ("metrics.other = 0.5", ""),
        ] {
            assert_eq!(found(text), ids, "{text}");
        }
        for wrong in ["colour = red", "status", "ran = many", "age > long", "status = "] {
            assert!(filter(rows(), wrong).is_err(), "{wrong}");
        }
    }
}
