//! What a node kind shows of its artifact: figures as numbers and words, which a page draws. A kind says what it has; how it is drawn is no
//! business of its own.

use serde::{Deserialize, Serialize};

/// Version of [`NodeFigures`] and everything in it.
pub const SCHEMA: u32 = 1;

/// The figures of one node; `<node>.figures.json` in the run's directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeFigures {
    /// Version of this layout.
    pub schema: u32,
    /// The instance.
    pub node: String,
    /// In the order in which they are shown.
    pub figures: Vec<Figure>,
}

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "figure", rename_all = "kebab-case")]
pub enum Figure {
    /// Sentences.
    Words(Words),
    /// Lines over a number.
    Lines(Lines),
    /// One interval a row.
    Intervals(Intervals),
    /// Rows and columns.
    Table(Table),
}

/// Sentences, with what each is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Words {
    /// The heading.
    pub title: String,
    /// What each is about (may be empty), and the sentence.
    pub sentences: Vec<(String, String)>,
}

/// Lines with bands and single values over a number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lines {
    /// The heading.
    pub title: String,
    /// What the horizontal axis shows.
    pub x: String,
    /// What the vertical axis shows.
    pub y: String,
    /// Whether the horizontal axis is logarithmic; then every `x` is above 0.
    pub log_x: bool,
    /// The lines.
    pub lines: Vec<Line>,
    /// Lines to be held against, drawn dashed.
    pub levels: Vec<Line>,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// What it is called.
    pub name: String,
    /// By `x`, ascending.
    pub points: Vec<Point>,
}

/// A mean with its interval, and the values that it is the mean of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Where.
    pub x: f64,
    /// How much.
    pub value: Interval,
    /// Each value; may be empty.
    pub runs: Vec<f64>,
}

/// A mean with the ends of its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// A forest plot: one interval a row, beside a line at 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intervals {
    /// The heading.
    pub title: String,
    /// What the axis shows.
    pub x: String,
    /// From the top.
    pub rows: Vec<IntervalRow>,
}

/// A row of a forest plot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IntervalRow {
    /// What it is called.
    pub name: String,
    /// What is drawn.
    pub value: Interval,
    /// What is written beside it.
    pub note: String,
}

/// Rows and columns of text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// The heading.
    pub title: String,
    /// The columns' titles.
    pub head: Vec<String>,
    /// The rows, as long as `head`.
    pub rows: Vec<Vec<String>>,
}
