//! What goes to the terminal: tables, errors, log lines. Results on stdout, everything else on stderr.

use std::borrow::Cow;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{MultiProgress, ProgressDrawTarget};
use miette::{GraphicalReportHandler, GraphicalTheme};
use serde::Serialize;
use tracing::Dispatch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::exit::{Exit, Failure};

/// When to use colours.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Colour {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// All progress bars of the process, so that other lines can be printed between them.
pub(crate) fn bars() -> &'static MultiProgress {
    static BARS: OnceLock<MultiProgress> = OnceLock::new();
    BARS.get_or_init(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()))
}

/// Follows `--color`; the crates below respect NO_COLOR and whether there is a terminal by themselves.
pub(crate) fn set_colour(when: Colour) {
    let choice = match when {
        Colour::Auto => return,
        Colour::Always => anstream::ColorChoice::Always,
        Colour::Never => anstream::ColorChoice::Never,
    };
    choice.write_global();
    let graphical = miette::MietteHandlerOpts::new().color(matches!(when, Colour::Always));
    // A second call is harmless: the first choice stands.
    let _ = miette::set_hook(Box::new(move |_| Box::new(graphical.clone().build())));
}

/// Log lines go to stderr, between the progress bars.
pub(crate) fn log(verbose: u8) -> Dispatch {
    let level = if verbose > 1 { "debug" } else { "warn" };
    let filter = EnvFilter::try_from_env("FLOW_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let colours = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_target(false)
        // With `-vv`, where the time went: parse, plan, nodes, writing down.
        .with_span_events(FmtSpan::CLOSE)
        .with_writer(|| Lines)
        .finish();
    Dispatch::new(log)
}

/// Writes whole lines to stderr with the bars out of the way. If stderr cannot be written to, there is nowhere to report it.
struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = bars().suspend(|| io::stderr().write_all(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A line on stderr, between the bars. If stderr cannot be written to, there is nowhere to report it.
pub(crate) fn say(line: &str) {
    say_styled(&shown(line));
}

/// The same of a text with colours of our own: what others wrote must have gone through [`shown`].
pub(crate) fn say_styled(line: &str) {
    let _ = bars().suspend(|| writeln!(anstream::stderr(), "{line}"));
}

/// What became of the writes to stdout so far.
#[derive(Clone, Copy, PartialEq)]
enum Written {
    /// All of it.
    Whole,
    /// The reader has gone away (`| head`): it has what it wanted.
    Unwanted,
    /// Some of it was lost, which was said.
    Lost,
}

static WRITTEN: Mutex<Written> = Mutex::new(Written::Whole);

/// Stdout, for results: the only way there. The first write that fails is said at once and turns success into failure
/// ([`exit_code`]); after it, or when the reader has gone away, nothing more is written, and the command goes on to its end.
pub(crate) struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut so_far = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
        if *so_far == Written::Whole {
            let written = bars().suspend(|| {
                let mut out = anstream::stdout();
                out.write_all(bytes).and_then(|()| out.flush())
            });
            if let Err(error) = written {
                *so_far = if error.kind() == ErrorKind::BrokenPipe {
                    Written::Unwanted
                } else {
                    print_error(&format!("cannot write to stdout: {error}"), None);
                    Written::Lost
                };
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How the program ends: a command whose results were lost has not succeeded; one that failed keeps its own exit code.
pub(crate) fn exit_code(exit: Exit) -> Exit {
    let lost = *WRITTEN.lock().unwrap_or_else(PoisonError::into_inner) == Written::Lost;
    if exit == Exit::Ok && lost { Exit::Failed } else { exit }
}

/// A result on stdout.
pub(crate) fn print(text: &str) {
    print_exact(&shown(text));
}

/// The same of a text that is safe for a terminal, or for no terminal.
pub(crate) fn print_exact(text: &str) {
    // It never fails: see there.
    let _ = Stdout.write_all(text.as_bytes());
}

/// A text as a terminal may have it: names, messages and records are written by others, and could command it. Line ends and tabs stay, every
/// other control character, and what turns the direction of writing, is spelt out.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_command) {
        return Cow::Borrowed(text);
    }
    let spell = |c: char| match is_command(c) {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    Cow::Owned(text.chars().map(spell).collect())
}

fn is_command(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || (c.is_control() && c != '\n' && c != '\t')
}

/// JSON as a terminal may have it: the same value, with what is left of [`is_command`] in its texts in JSON's own spelling.
fn shown_json(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_command) {
        return Cow::Borrowed(text);
    }
    let spell = |c: char| match is_command(c) {
        true => format!("\\u{:04x}", u32::from(c)),
        false => c.to_string(),
    };
    Cow::Owned(text.chars().map(spell).collect())
}

/// [`Stdout`] for whole lines of JSON.
pub(crate) struct JsonStdout;

impl Write for JsonStdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        print_exact(&shown_json(&String::from_utf8_lossy(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A value as indented JSON on stdout.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::cannot("write JSON", &error))?;
    print_exact(&format!("{}\n", shown_json(&text)));
    Ok(())
}

/// Where a file is written before it takes its place beside.
pub(crate) fn partial_of(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    file.with_file_name(name)
}

/// Writes a file of the user's, whole or not at all: a reader never sees half of it.
pub(crate) fn write_file(to: &Path, content: &[u8]) -> Result<(), Failure> {
    let failed = |e: io::Error| Failure::failed(format!("cannot write {}: {e}", to.display()));
    if to.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        // A pipe or a terminal takes what is written, and is not to be replaced.
        return std::fs::write(to, content).map_err(failed);
    }
    let partial = partial_of(to);
    let written = std::fs::write(&partial, content).and_then(|()| std::fs::rename(&partial, to));
    written.map_err(|e| {
        let _ = std::fs::remove_file(&partial);
        failed(e)
    })
}

/// Values as JSON lines on stdout.
pub(crate) fn print_json_lines<T: Serialize>(values: impl IntoIterator<Item = T>) -> Result<(), Failure> {
    for value in values {
        let line = serde_json::to_string(&value).map_err(|error| Failure::cannot("write JSON", &error))?;
        print_exact(&format!("{}\n", shown_json(&line)));
    }
    Ok(())
}

/// A table on stdout, as wide as the terminal.
pub(crate) fn print_table(head: &[&str], rows: Vec<Vec<String>>) {
    let table = table(head, &rows, ContentArrangement::Dynamic);
    print(&format!("{}\n", table.trim_fmt()));
}

/// The same with a line below each row that is not empty, cut to the terminal's width: for what would be broken into many lines in a column.
pub(crate) fn print_table_with_lines(head: &[&str], rows: &[Vec<String>], below: &[String]) {
    let table = table(head, rows, ContentArrangement::Disabled);
    let width = usize::from(table.width().unwrap_or(80));
    let text = table.trim_fmt();
    let mut lines = text.lines();
    print(&format!("{}\n", lines.next().unwrap_or_default()));
    for (line, below) in lines.zip(below) {
        print(&format!("{line}\n"));
        let below = format!("{:9}{}", "", shown(below));
        if !below.trim().is_empty() {
            let cut = below.chars().count() > width;
            let kept: String = below.chars().take(width - usize::from(cut)).collect();
            print(&format!("{kept}{}\n", if cut { "…" } else { "" }));
        }
    }
}

fn table(head: &[&str], rows: &[Vec<String>], arrangement: ContentArrangement) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(arrangement)
        .set_header(head.iter().map(|cell| shown(cell)));
    // Before it is laid out: what is spelt out is wider.
    table.add_rows(rows.iter().map(|row| row.iter().map(|cell| shown(cell))));
    table
}

/// Says what went wrong, where it can with the text that is at fault.
pub(crate) fn print_failure(failure: &Failure) {
    match failure {
        Failure::Workflow(diagnostics) => {
            for problem in diagnostics.problems() {
                // The text of a workflow may hold anything: then it is shown without colours.
                let mut plain = String::new();
                let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_links(false);
                match (handler.render_report(&mut plain, problem), shown(&plain)) {
                    (Ok(()), Cow::Owned(spelt)) => say_styled(&spelt),
                    _ => say_styled(&format!("{:?}", miette::Report::new(problem.clone()))),
                }
            }
        }
        Failure::Other { message, help, .. } => print_error(message, help.as_deref()),
    }
}

/// An error in words, and what to do.
pub(crate) fn print_error(message: &str, help: Option<&str>) {
    let red = anstyle::AnsiColor::Red.on_default().bold();
    let cyan = anstyle::AnsiColor::Cyan.on_default();
    say_styled(&format!("{red}error{red:#}: {}", shown(message)));
    if let Some(help) = help {
        say_styled(&format!("  {cyan}help{cyan:#}: {}", shown(help)));
    }
}

/// Milliseconds since 1970 as local date and time.
pub(crate) fn when(unix_ms: u64) -> String {
    let zoned = i64::try_from(unix_ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    zoned.map_or_else(String::new, |t| {
        t.to_zoned_datetime(jiff::tz::TimeZone::system())
            .strftime("%F %T")
            .to_string()
    })
}

/// Seconds for people: `0.4 s`, `12 s`, `3 min 20 s`.
pub(crate) fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 9.95 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s => format!("{} min {:.0} s", (s / 60.0).floor(), (s % 60.0).floor()),
    }
}

/// `1 entry`, `2 entries`.
pub(crate) fn count(number: usize, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

/// Bytes for people.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_is_spelt_out_where_it_would_command_a_terminal() {
        assert_eq!(shown("a\u{1b}[2J\rb"), "a\\u{1b}[2J\\rb");
        assert_eq!(
            shown("\u{9b}31m \u{7f} \0 \u{202e}x"),
            "\\u{9b}31m \\u{7f} \\u{0} \\u{202e}x"
        );
        let plain = "größe\t1\nné 猫 -> \u{1f408}";
        assert!(matches!(shown(plain), Cow::Borrowed(same) if same == plain));
    }

    #[test]
    fn json_that_is_shown_is_the_same_value() {
        let value = serde_json::json!({ "a\u{9b}": "\u{1b}]0;x\u{7} \u{202e} \u{7f}" });
        let text = serde_json::to_string(&value).expect("JSON");
        let shown = shown_json(&text);
        assert!(!shown.chars().any(is_command), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).expect("JSON"), value);
    }
}
