//! What a node kind shows of its artifact, and a run of itself: figures as numbers and words, which a page draws. A kind says what it has; how
//! it is drawn is no business of its own.

use flow_cache::ActionKey;
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
    /// Small charts side by side.
    Panels(Panels),
    /// Bars in groups.
    Bars(Bars),
    /// Confusion matrices.
    Matrices(Matrices),
    /// Pictures in groups.
    Pictures(Pictures),
    /// Examples in the plane.
    Map(Map),
    /// A workflow as boxes and arrows.
    Graph(Graph),
    /// What ran when.
    Schedule(Schedule),
    /// Scores by arm, named by their keys: what is drawn of them is read from the cache.
    Judged(Judged),
}

impl Figure {
    /// The heading; empty for what is not drawn itself.
    pub fn title(&self) -> &str {
        match self {
            Self::Words(words) => &words.title,
            Self::Lines(lines) => &lines.title,
            Self::Intervals(plot) => &plot.title,
            Self::Table(table) => &table.title,
            Self::Panels(panels) => &panels.title,
            Self::Bars(bars) => &bars.title,
            Self::Matrices(matrices) => &matrices.title,
            Self::Pictures(pictures) => &pictures.title,
            Self::Map(map) => &map.title,
            Self::Graph(graph) => &graph.title,
            Self::Schedule(schedule) => &schedule.title,
            Self::Judged(_) => "",
        }
    }
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
    /// What it shows, in a sentence or two; may be empty.
    #[serde(default)]
    pub note: String,
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

/// Small charts side by side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Panels {
    /// The heading.
    pub title: String,
    /// What it shows, in a sentence or two; may be empty.
    pub note: String,
    /// In reading order.
    pub panels: Vec<Panel>,
}

/// One small chart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Panel {
    /// The heading of the group that it belongs to; equal ones stand together.
    pub group: String,
    /// What it shows.
    pub title: String,
    /// What the horizontal axis shows.
    pub x: String,
    /// What the vertical axis shows.
    pub y: String,
    /// Whether the horizontal axis is logarithmic; then every `x` is above 0.
    pub log_x: bool,
    /// Whether each point has a mark.
    pub marks: bool,
    /// Whether a line of equal x and y is drawn to hold points against.
    pub diagonal: bool,
    /// The lines.
    pub curves: Vec<Curve>,
}

/// A line of a small chart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// What it is called.
    pub name: String,
    /// What it has in common with others, which are drawn alike.
    pub like: String,
    /// By `x`, ascending.
    pub points: Vec<(f64, f64)>,
}

/// Bars in groups: for each row as many as there are series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bars {
    /// The heading.
    pub title: String,
    /// What it shows, in a sentence; may be empty.
    pub note: String,
    /// What a bar's length is.
    pub x: String,
    /// What the bars of a row are of.
    pub series: Vec<String>,
    /// What each row is called, and its values in the order of `series`.
    pub rows: Vec<(String, Vec<f64>)>,
}

/// Confusion matrices of the same classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Matrices {
    /// The heading.
    pub title: String,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// In reading order.
    pub matrices: Vec<Matrix>,
}

/// One confusion matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Matrix {
    /// The heading of the group that it belongs to; equal ones stand together.
    pub group: String,
    /// What it is of.
    pub name: String,
    /// `counts[truth][predicted]`.
    pub counts: Vec<Vec<u64>>,
}

/// Pictures in groups.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pictures {
    /// The heading.
    pub title: String,
    /// What they show, in a sentence; may be empty.
    pub note: String,
    /// The heading of each group, and its pictures.
    pub groups: Vec<(String, Vec<Picture>)>,
}

/// One picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Picture {
    /// What is written below.
    pub caption: String,
    /// What it shows, for those who do not see it.
    pub alt: String,
    /// Width and height in pixels.
    pub size: (u32, u32),
    /// A PNG file in base64.
    pub png: String,
}

/// Examples in the plane, in one or several layouts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Map {
    /// The heading.
    pub title: String,
    /// What it shows, in a sentence or two; may be empty.
    pub note: String,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// The class of each example.
    pub class_of: Vec<usize>,
    /// What each layout is called, and where it puts each example.
    pub layouts: Vec<(String, Vec<(f64, f64)>)>,
    /// A picture of each example; none, if there are none of some.
    pub pictures: Vec<Picture>,
}

/// A workflow as boxes and arrows: nodes as written, each with its instances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    /// The heading.
    pub title: String,
    /// What feeds what comes before it.
    pub boxes: Vec<GraphBox>,
    /// From which box to which.
    pub edges: Vec<(usize, usize)>,
}

/// One box of a graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GraphBox {
    /// The node's name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// How many instances ended how, e.g. `ran`, `cached`, most first.
    pub states: Vec<(String, usize)>,
    /// Seconds of work of all of them when they were made.
    pub seconds: f64,
}

/// What ran when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// The heading.
    pub title: String,
    /// Seconds from the beginning to the end.
    pub seconds: f64,
    /// CPU threads that there were.
    pub threads: usize,
    /// By beginning.
    pub spans: Vec<Span>,
}

/// One node at work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// The instance.
    pub node: String,
    /// Its kind.
    pub kind: String,
    /// The row, from 0: spans of one row do not overlap.
    pub row: usize,
    /// Seconds from the beginning of the run.
    pub start_s: f64,
    /// Likewise.
    pub end_s: f64,
    /// CPU threads that it was given.
    pub threads: usize,
    /// How it ended: `ran`, `failed`, `retried`, `stopped`, or `running`.
    pub ended: String,
}

/// Scores by arm and budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// One for each label budget.
    pub cells: Vec<JudgedCell>,
}

/// Scores of the arms at one budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JudgedCell {
    /// What the budget is called.
    pub name: String,
    /// What each arm is called, and its scores: the draw, and the key of the artifact.
    pub arms: Vec<(String, Vec<(String, ActionKey)>)>,
}
