//! A report as Markdown: words and tables, for a README or a pull request.

use flow_engine::figure::{Figure, Table};

use super::compare::Comparison;
use super::content::Content;
use super::numbers;

pub(super) fn text(content: &Content) -> String {
    let mut text = format!("# {}\n\n{}\n", content.title(), content.ended());
    for (file, why) in &content.damaged {
        text += &format!("\n**`{file}` cannot be shown**: {why}\n");
    }
    content.all().for_each(|figure| text += &of_figure(figure));
    text += "\n## Provenance\n\n";
    for (name, value) in content.provenance() {
        text += &format!("- {name}: `{value}`\n");
    }
    text += &format!("\n{}\n", content.citation());
    text
}

pub(super) fn of_comparison(comparison: &Comparison) -> String {
    let mut text = format!("# {}\n", comparison.title);
    for other in &comparison.others {
        text += &format!("\n## {} beside {}\n", other.run, comparison.first);
        text += &match other.workflow.as_str() {
            "" => "\nThe workflow's text is the same.\n".to_owned(),
            diff => format!("\n```diff\n{diff}```\n"),
        };
        other.figures.iter().for_each(|figure| text += &of_figure(figure));
    }
    text
}

fn of_figure(figure: &Figure) -> String {
    match figure {
        Figure::Words(words) => {
            let said = words.sentences.iter().map(|(about, said)| match about.is_empty() {
                true => format!("{said}\n\n"),
                false => format!("- {about}: {said}\n"),
            });
            format!("\n## {}\n\n{}", words.title, said.collect::<String>())
        }
        // The same numbers are in a node's table, or too many to read.
        Figure::Lines(_)
        | Figure::Map(_)
        | Figure::Judged(_)
        | Figure::Matrices(_)
        | Figure::Schedule(_)
        | Figure::Pictures(_) => String::new(),
        Figure::Intervals(plot) => {
            let rows = plot.rows.iter().map(|row| {
                let value = row.value;
                let interval = format!("{:+.1} [{:+.1}, {:+.1}]", value.mean, value.low, value.high);
                vec![row.name.clone(), interval, row.note.clone()]
            });
            let head = [String::new(), plot.x.clone(), String::new()];
            format!("\n## {}\n\n{}", plot.title, table(&head, rows))
        }
        Figure::Table(shown) => titled(shown),
        other => numbers::summary(other).map(|shown| titled(&shown)).unwrap_or_default(),
    }
}

fn titled(shown: &Table) -> String {
    format!(
        "\n## {}\n\n{}",
        shown.title,
        table(&shown.head, shown.rows.iter().cloned())
    )
}

fn table(head: &[String], rows: impl Iterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| {
        let cells = cells.iter().map(|cell| format!(" {} |", cell.replace('|', "\\|")));
        format!("|{}\n", cells.collect::<String>())
    };
    let body: String = rows.map(|row| line(&row)).collect();
    format!("{}|{}\n{body}", line(head), " --- |".repeat(head.len()))
}
