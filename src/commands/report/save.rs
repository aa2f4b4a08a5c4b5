//! `flow report --figure NAME -o FILE`: one figure as a file, with its numbers beside it.

use std::path::Path;

use flow_engine::figure::Figure;
use flow_engine::workflow::suggest;

use super::content::Content;
use super::drawing::{NARROW, WIDE, file};
use super::paint::Painting;
use super::{numbers, section, write};
use crate::exit::{Exit, Failure};
use crate::output::{print, say};

/// Pixels of a PNG for each unit of its drawing.
const SCALE: f32 = 2.0;

pub(super) fn figure(content: &Content, wanted: &str, output: Option<&Path>) -> Result<Exit, Failure> {
    let figures = section::named(content.all());
    let fits = |exact: bool| {
        figures.iter().find(|(name, _)| {
            if exact {
                name == wanted
            } else {
                name.starts_with(wanted)
            }
        })
    };
    let Some((name, figure)) = fits(true).or_else(|| fits(false)) else {
        let names: Vec<&str> = figures.iter().map(|(name, _)| name.as_str()).collect();
        let message = format!("the report of run {} has no figure `{wanted}`", content.run);
        let mut help = suggest(wanted, "figures", names.iter().copied());
        if !help.contains("figures: ") {
            help.push_str(&format!(": {}", names.join(", ")));
        }
        return Err(Failure::usage(message, help));
    };
    let numbers = numbers::table(figure)
        .map(|table| numbers::csv(&table))
        .unwrap_or_default();
    let Some(output) = output else {
        print(&numbers);
        return Ok(Exit::Ok);
    };
    let ending = output
        .extension()
        .and_then(|ending| ending.to_str())
        .unwrap_or_default();
    match ending {
        "csv" => write(output, numbers.as_bytes())?,
        "svg" => write(output, drawn(name, figure)?.as_bytes())?,
        "png" => write(output, &painted(&drawn(name, figure)?, |drawing| drawing.png(SCALE))?)?,
        "pdf" => write(output, &painted(&drawn(name, figure)?, |drawing| Ok(drawing.pdf()))?)?,
        _ => {
            let message = format!("`{}` ends in none of .svg, .pdf, .png and .csv", output.display());
            return Err(Failure::usage(message, "the ending says what is written"));
        }
    }
    if ending != "csv" {
        write(&output.with_extension("csv"), numbers.as_bytes())?;
    }
    Ok(Exit::Ok)
}

fn drawn(name: &str, figure: &Figure) -> Result<String, Failure> {
    let narrow = matches!(figure, Figure::Panels(_) | Figure::Matrices(_));
    let named = with_groups(figure.clone());
    let (keys, drawings) = section::drawings(&named, if narrow { NARROW } else { WIDE });
    if drawings.is_empty() {
        let message = format!("`{name}` is a table, words or pictures: there is nothing to draw");
        return Err(Failure::usage(
            message,
            "write its numbers with an output that ends in .csv",
        ));
    }
    Ok(file(figure.title(), &keys, &drawings))
}

/// A page has a heading for each group of drawings; in a file each says which it is of.
fn with_groups(mut figure: Figure) -> Figure {
    let name = |title: &mut String, group: &str| {
        if !group.is_empty() {
            *title = format!("{group}: {title}");
        }
    };
    match &mut figure {
        Figure::Panels(all) => all
            .panels
            .iter_mut()
            .for_each(|panel| name(&mut panel.title, &panel.group)),
        Figure::Matrices(all) => all
            .matrices
            .iter_mut()
            .for_each(|matrix| name(&mut matrix.name, &matrix.group)),
        _ => {}
    }
    figure
}

fn drawn_as_boxes(missing: &str) -> String {
    format!(
        "the letters {missing} are not in the fonts of pictures, and are drawn as boxes; an .svg file has the reader's fonts"
    )
}

/// A drawing as a picture.
fn painted(svg: &str, paint: impl FnOnce(&Painting<'_>) -> Result<Vec<u8>, String>) -> Result<Vec<u8>, Failure> {
    let failed = |why: String| Failure::cannot("draw the figure", &why);
    let painting = Painting::read(svg).map_err(failed)?;
    let missing = painting.missing();
    if !missing.is_empty() {
        say(&drawn_as_boxes(&missing));
    }
    paint(&painting).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_picture_cannot_show_is_said() {
        let no_size = Painting::read("<svg/>").err();
        let large = Painting::read("<svg width='1e9' height='1e9'/>").expect("it has a size");
        let too_large = large.png(SCALE).err();
        let said = [Some(drawn_as_boxes("狗")), no_size, too_large];
        insta::assert_snapshot!(said.map(Option::unwrap_or_default).join("\n"));
    }
}
