//! `flow data`: images before there is a workflow.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use flow_nodes::pictures::{CLASS_COLOURS, Fault, FileLine, Inspection, Layout, Pair, PlaceCounts, Reading, first_few};
use flow_nodes::sources::{drawn, inspect};

use crate::cli::{DataCommand, InspectArgs};
use crate::exit::{Exit, Failure};
use crate::output::{count, print, print_json_lines, print_table, say};

pub(crate) fn data(command: &DataCommand) -> Result<Exit, Failure> {
    match command {
        DataCommand::Inspect(args) => inspect_folder(args),
    }
}

fn inspect_folder(args: &InspectArgs) -> Result<Exit, Failure> {
    if !args.path.exists() {
        let message = format!("{} does not exist", args.path.display());
        return Err(Failure::usage(message, "give a directory of images"));
    }
    let layout = Layout {
        labels: args.labels.clone(),
        unlabelled: args.unlabelled.clone(),
        ..Layout::default()
    };
    let reading = Reading {
        max_pixels: args.max_pixels,
        ..Reading::default()
    };
    let found = inspect(&args.path, &layout, &reading).map_err(|fault| Failure::Other {
        exit: Exit::Failed,
        message: fault.message,
        help: Some(fault.help),
    })?;
    if let Some(to) = &args.draw {
        draw(&args.path, &reading, to)?;
    }
    if args.json {
        print_json_lines(&found.files)?;
    } else {
        print_table(
            &[
                "path", "format", "size", "channels", "mean", "class", "split", "problem",
            ],
            rows(&found),
        );
        print(&summary(&found));
    }
    Ok(Exit::Ok)
}

/// Writes images with what is told of them as PNG files below `to`, where they lie below `path`.
fn draw(path: &Path, reading: &Reading, to: &Path) -> Result<(), Failure> {
    let put = |name: &Path, png: &[u8]| {
        let help = "give another directory";
        // Annotations are written by others: what they name stays below the directory.
        if !name.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(Fault::new(
                format!("{} leads out of the directory", name.display()),
                "correct the annotations",
            ));
        }
        // With all of its name: `a.jpg` and `a.png` are two images.
        let mut file = to.join(name).into_os_string();
        file.push(".png");
        let file = PathBuf::from(file);
        let folder = file.parent().unwrap_or(to);
        let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&file, png));
        written.map_err(|error| Fault::new(format!("cannot write {}: {error}", file.display()), help))
    };
    let Some(drawn) = drawn(path, reading, &put) else {
        let message = format!("nothing in {} tells where things are in its images", path.display());
        let help = "boxes and masks are read as COCO, Pascal VOC and YOLO write them, or from masks beside images: `flow kinds dataset`";
        return Err(Failure::usage(message, help));
    };
    let (class_names, images) = drawn.map_err(|fault| Failure::Other {
        exit: Exit::Failed,
        message: fault.message,
        help: Some(fault.help),
    })?;
    let colours = class_names.iter().zip(CLASS_COLOURS.iter().cycle());
    let colours: Vec<String> = colours.map(|(name, (colour, _))| format!("{name} {colour}")).collect();
    say(&format!(
        "drew {} into {}: {}",
        count(images, "image", "images"),
        to.display(),
        colours.join(", ")
    ));
    Ok(())
}

fn rows(found: &Inspection) -> Vec<Vec<String>> {
    let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let row = |line: &FileLine| {
        let size = line.width.zip(line.height).map(|(w, h)| format!("{w}x{h}"));
        let channels = line
            .channels
            .zip(line.depth)
            .map(|(n, bits)| format!("{n} x {bits} bit"));
        let mean = line.mean.map(|[r, g, b]| format!("{r:.0} {g:.0} {b:.0}"));
        vec![
            line.path.clone(),
            text(line.format.map(str::to_owned)),
            text(size),
            text(channels),
            text(mean),
            text(line.label.clone()),
            text(line.split.map(|split| split.to_string())),
            text(line.problem.clone()),
        ]
    };
    found.files.iter().map(row).collect()
}

/// What the files come to.
pub(crate) fn summary(found: &Inspection) -> String {
    let sound = found.sound().count();
    let unlabelled = found.sound().filter(|line| line.label.is_none()).count();
    let mut text = format!(
        "\n{}, {} that cannot be read\n",
        count(sound, "image", "images"),
        found.files.len() - sound
    );
    let bad = found
        .files
        .iter()
        .filter_map(|line| Some(format!("{}: {}", line.path, line.problem.as_ref()?)));
    text.push_str(first_few(bad).trim_start_matches('\n'));
    if sound < found.files.len() {
        text.push('\n');
    }
    if let Some(table) = &found.table {
        text.push_str(&format!("labels from {}\n", table.display()));
    }
    let counts = found.counts();
    if !counts.is_empty() {
        let list: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
        text.push_str(&format!(
            "{}: {}\n",
            count(counts.len(), "class", "classes"),
            list.join(", ")
        ));
    }
    text.push_str(&format!("without a label: {unlabelled}\n"));
    let mut splits: BTreeMap<String, usize> = BTreeMap::new();
    for split in found.sound().filter_map(|line| line.split) {
        *splits.entry(split.to_string()).or_default() += 1;
    }
    if !splits.is_empty() {
        let list: Vec<String> = splits.iter().map(|(name, count)| format!("{name} {count}")).collect();
        text.push_str(&format!("splits: {}\n", list.join(", ")));
    }
    if let Some((least, most)) = sizes(found) {
        text.push_str(&format!("sizes: {least} to {most}\n"));
    }
    text.push_str(&found.places.as_ref().map(places).unwrap_or_default());
    text.push_str(&listed("duplicates, pixel for pixel", found, &found.duplicates));
    text.push_str(&listed("suspected leaks between splits", found, &found.leaks));
    text
}

/// What is told of where things are.
fn places(found: &PlaceCounts) -> String {
    let all: usize = found.things.iter().map(|(_, count)| count).sum();
    let list: Vec<String> = found
        .things
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    format!(
        "annotations (source \"{}\"): {}, {} left out: {}\nimages with a mask: {}, without anything: {}\nproblems with annotations: {}{}\n",
        found.source,
        count(all, "thing", "things"),
        found.left_out,
        list.join(", "),
        found.masks,
        found.empty,
        found.problems.len(),
        first_few(found.problems.iter().cloned())
    )
}

/// The smallest and the largest image by its pixels.
fn sizes(found: &Inspection) -> Option<(String, String)> {
    let all = found.sound().filter_map(|line| line.width.zip(line.height));
    let mut all: Vec<(u32, u32)> = all.collect();
    all.sort_by_key(|(w, h)| (u64::from(*w) * u64::from(*h), *w));
    let shown = |(w, h): &(u32, u32)| format!("{w}x{h}");
    Some((shown(all.first()?), shown(all.last()?)))
}

fn listed(what: &str, found: &Inspection, pairs: &[Pair]) -> String {
    let line = |pair: &Pair| {
        let how = if pair.exact { "=" } else { "~" };
        format!("{} {how} {}", found.files[pair.a].path, found.files[pair.b].path)
    };
    format!("{what}: {}{}\n", pairs.len(), first_few(pairs.iter().map(line)))
}
