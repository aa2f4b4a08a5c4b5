//! Tables as padded text, which Markdown reads as tables and people as they are.

/// Rows of as many cells as the head has.
pub(super) fn table(head: &[String], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|r| r[column].chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells
            .iter()
            .zip(&widths)
            .map(|(c, w)| format!("{c}{}", " ".repeat(w - c.chars().count())));
        format!("| {} |\n", padded.collect::<Vec<_>>().join(" | "))
    };
    let rule = widths.iter().map(|w| "-".repeat(*w)).collect::<Vec<_>>();
    let mut text = line(head);
    text += &line(&rule);
    rows.iter().for_each(|row| text += &line(row));
    text
}
