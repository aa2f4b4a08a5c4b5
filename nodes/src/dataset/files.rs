//! A data set of image files: divided into splits, searched for images that are in two of them.

use std::collections::{BTreeMap, BTreeSet};

use flow_engine::node::{Host, NodeError, Output};
use flow_learn::data::{Images, Label, Samples, stratified};
use flow_learn::rng::Stream;
use serde::Serialize;

use crate::artifacts::{Dataset, SplitName, to_json};
use crate::failure::{failure, refused};
use crate::pictures::{Decoded, Entry, Known, Pair, first_few, pairs};
use crate::sources::{Files, OnLeak, folder::test_count};

/// What the record keeps beside the images, where there is something to tell.
const PROBLEMS: &str = "problems.json";

const SPLITS: [SplitName; 3] = [SplitName::Train, SplitName::Validation, SplitName::Test];

/// How files are divided.
pub(crate) struct Division {
    /// Images to hold out for testing, where the directory has no test split.
    pub(crate) test: Option<usize>,
    /// Images to hold out to choose settings on.
    pub(crate) validation: usize,
    /// Decides which.
    pub(crate) seed: u64,
    /// What happens to images that are in two splits.
    pub(crate) on_leak: OnLeak,
    /// Under which name files are remembered, so that a later run need not decode them.
    pub(crate) remember: Option<String>,
}

/// What was found wrong with the files.
#[derive(Serialize)]
struct Problems {
    /// Path and reason of each file that was left out.
    bad: Vec<(String, String)>,
    leaks: Vec<Leak>,
}

/// Two files that show the same in two splits.
#[derive(Serialize)]
struct Leak {
    a: String,
    a_split: SplitName,
    b: String,
    b_split: SplitName,
    /// Pixel for pixel, or as good as.
    exact: bool,
}

/// The data set, with what was found wrong as metrics and, where there was something, as a file.
pub(crate) fn output(source: &str, files: Files, division: &Division, host: &dyn Host) -> Result<Output, NodeError> {
    let splits = divided(&files, division)?;
    let prints: Vec<_> = files.images.iter().map(|image| &image.print).collect();
    let leaks = pairs(&prints, |a, b| splits[a] != splits[b]);
    let name = |at: usize| files.found.entries[at].path.display().to_string();
    let lines = leaks.iter().map(|pair| {
        let how = if pair.exact {
            "the same as"
        } else {
            "nearly the same as"
        };
        let (a, b) = (name(pair.a), name(pair.b));
        format!("{a} ({}) is {how} {b} ({})", splits[pair.a], splits[pair.b])
    });
    let mut dropped = BTreeSet::new();
    if !leaks.is_empty() {
        let message = format!(
            "{} pair(s) of images are in two splits:{}",
            leaks.len(),
            first_few(lines)
        );
        match division.on_leak {
            OnLeak::Error => {
                let help = "`on_leak = \"drop\"` leaves them out of what is trained on";
                return Err(NodeError::failed(message).with_help(help));
            }
            OnLeak::Warn => tracing::warn!("{message}\n  `on_leak = \"drop\"` leaves them out of what is trained on"),
            OnLeak::Drop => dropped = leaks.iter().map(|pair| loser(pair, &splits)).collect(),
        }
        host.note(&message);
    }
    let mut metrics = BTreeMap::from([
        ("bad_files".to_owned(), files.bad.len() as f64),
        ("channels".to_owned(), files.channels as f64),
        ("depth".to_owned(), 8.0 * files.depth.bytes() as f64),
        (
            "leaks_exact".to_owned(),
            leaks.iter().filter(|pair| pair.exact).count() as f64,
        ),
        (
            "leaks_near".to_owned(),
            leaks.iter().filter(|pair| !pair.exact).count() as f64,
        ),
        ("leaks_dropped".to_owned(), dropped.len() as f64),
    ]);
    let problems = Problems {
        bad: files
            .bad
            .iter()
            .map(|(path, why)| (path.display().to_string(), why.clone()))
            .collect(),
        leaks: leaks
            .iter()
            .map(|pair| Leak {
                a: name(pair.a),
                a_split: splits[pair.a],
                b: name(pair.b),
                b_split: splits[pair.b],
                exact: pair.exact,
            })
            .collect(),
    };
    if let Some(name) = &division.remember {
        Known::remember(host, name, &decoded(&files, &splits, &dropped));
    }
    let mut output = dataset(source, files, &splits, &dropped)?.into_output(host)?;
    if !problems.bad.is_empty() || !problems.leaks.is_empty() {
        output.files.push((PROBLEMS.to_owned(), to_json(&problems)));
    }
    output.metrics.append(&mut metrics);
    Ok(output)
}

/// Which of two images goes: the one that is trained on rather than the one that is judged on.
fn loser(pair: &Pair, splits: &[SplitName]) -> usize {
    // In this order: train, validation, test.
    if splits[pair.a] < splits[pair.b] {
        pair.a
    } else {
        pair.b
    }
}

/// The split of each file: its own, or one that is held out.
fn divided(files: &Files, division: &Division) -> Result<Vec<SplitName>, NodeError> {
    let mut splits: Vec<SplitName> = files
        .found
        .entries
        .iter()
        .map(|e| e.split.unwrap_or(SplitName::Train))
        .collect();
    let test = test_count(&files.found, division.test).map_err(refused)?;
    for (split, count) in [(SplitName::Test, test), (SplitName::Validation, division.validation)] {
        if count == 0 {
            continue;
        }
        let may = |at: &usize| splits[*at] == SplitName::Train && files.found.entries[*at].label.is_some();
        let free: Vec<usize> = (0..splits.len()).filter(may).collect();
        let purpose = split.to_string();
        let stream = Stream::new(division.seed, &purpose);
        for at in held_out(files, &free, count, &stream)? {
            splits[at] = split;
        }
    }
    Ok(splits)
}

/// So many of the files at `free`, in equal shares of the classes; where files belong together, whole groups of no more than so many.
fn held_out(files: &Files, free: &[usize], count: usize, stream: &Stream) -> Result<Vec<usize>, NodeError> {
    let groups: BTreeMap<&str, Vec<usize>> = free.iter().fold(BTreeMap::new(), |mut groups, at| {
        if let Some(group) = &files.found.entries[*at].group {
            groups.entry(group.as_str()).or_insert_with(Vec::new).push(*at);
        }
        groups
    });
    if groups.is_empty() {
        let labels: Vec<u16> = free
            .iter()
            .filter_map(|at| label(files, &files.found.entries[*at]))
            .collect();
        let chosen = stratified(&labels, files.found.class_names.len(), count, stream).map_err(failure)?;
        return Ok(chosen.iter().map(|i| free[*i as usize]).collect());
    }
    let groups: Vec<Vec<usize>> = groups.into_values().collect();
    let mut held: Vec<usize> = Vec::new();
    for group in stream.child("groups").permutation(groups.len()) {
        let members = &groups[group as usize];
        if held.len() + members.len() <= count {
            held.extend(members);
        }
    }
    if held.is_empty() {
        let smallest = groups.iter().map(Vec::len).min().unwrap_or(0);
        let message = format!("{count} images to hold out, but the smallest group has {smallest}");
        return Err(NodeError::failed(message).with_help("groups are held out whole: ask for more"));
    }
    Ok(held)
}

fn label(files: &Files, entry: &Entry) -> Label {
    let label = entry.label.as_ref()?;
    let place = files.found.class_names.iter().position(|name| name == label)?;
    u16::try_from(place).ok()
}

/// The places of a split's images.
fn places_of(split: SplitName, splits: &[SplitName], dropped: &BTreeSet<usize>) -> Vec<usize> {
    let of_split = |at: &usize| splits[*at] == split && !dropped.contains(at);
    (0..splits.len()).filter(of_split).collect()
}

/// Where the pixels of each file will be.
fn decoded(files: &Files, splits: &[SplitName], dropped: &BTreeSet<usize>) -> Vec<Decoded> {
    let mut decoded = Vec::with_capacity(splits.len());
    for split in SPLITS {
        for (place, at) in places_of(split, splits, dropped).into_iter().enumerate() {
            let image = &files.images[at];
            decoded.extend(image.content.map(|content| Decoded {
                content,
                split,
                place: place as u32,
                deep: image.deep,
                print: image.print.clone(),
            }));
        }
    }
    decoded
}

fn dataset(source: &str, files: Files, splits: &[SplitName], dropped: &BTreeSet<usize>) -> Result<Dataset, NodeError> {
    let mut parts: BTreeMap<SplitName, Samples> = BTreeMap::new();
    for split in SPLITS {
        let places = places_of(split, splits, dropped);
        if places.is_empty() {
            continue;
        }
        let labels = places
            .iter()
            .map(|at| label(&files, &files.found.entries[*at]))
            .collect();
        let (h, w) = files.size;
        let places = places.into_iter().map(|at| at as u32).collect();
        let images = Images::at_places(
            [h, w, files.channels],
            files.depth,
            files.pixels.clone(),
            places,
            labels,
        );
        parts.insert(split, images.map_err(failure)?.into());
    }
    if !parts.contains_key(&SplitName::Train) {
        return Err(failure("no image is left to train on"));
    }
    Ok(Dataset::new(
        source.to_owned(),
        files.found.class_names,
        parts,
        BTreeMap::new(),
        None,
    ))
}
