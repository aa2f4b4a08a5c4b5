//! Confusion matrices of arms, and the images that every arm gets wrong or one alone gets right.

use flow_cache::{ActionKey, Store};
use flow_engine::figure::{Figure, Judged, JudgedCell, Matrices, Matrix, Picture, Pictures};

use super::{Shown, input, picture::picture};
use crate::artifacts::{Dataset, Scores, SplitName};

/// Pictures of a group, at most.
const SHOWN: usize = 12;

/// Scores of one arm: each draw's predictions.
struct Arm<'a> {
    title: &'a str,
    scores: Vec<Scores>,
}

pub(super) fn figures(store: &Store, nodes: &[Shown<'_>], judged: &Judged) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut groups = Vec::new();
    let mut matrices: Option<Matrices> = None;
    for cell in &judged.cells {
        let arms = arms(store, cell);
        let Some(first) = arms.iter().find_map(|arm| arm.scores.first()) else {
            continue;
        };
        let matrices = matrices.get_or_insert_with(|| Matrices {
            title: "What is taken for what".into(),
            classes: first.class_names.clone(),
            matrices: Vec::new(),
        });
        for arm in &arms {
            matrices.matrices.push(Matrix {
                group: cell.name.clone(),
                name: arm.title.to_owned(),
                counts: confusion(arm),
            });
        }
        if let Some(data) = images(nodes, first) {
            groups.extend(hard(&data, first, &arms, cell));
        }
    }
    figures.extend(matrices.filter(|all| !all.matrices.is_empty()).map(Figure::Matrices));
    if !groups.is_empty() {
        figures.push(Figure::Pictures(Pictures {
            title: "Hard images".into(),
            note: "Images that every run of every arm gets wrong, and those that one arm alone gets right: an arm does if most of its runs do. Below each: its \
                   class, and what it is mostly taken for by all runs."
                .into(),
            groups,
        }));
    }
    figures
}

fn arms<'a>(store: &Store, cell: &'a JudgedCell) -> Vec<Arm<'a>> {
    let read = |key: &ActionKey| {
        let artifact = store.peek(key).ok().flatten()?;
        Scores::read(&input(artifact))
            .ok()
            .filter(|scores| !scores.scores.is_empty())
    };
    let arm = |(title, scores): &'a (String, Vec<(String, ActionKey)>)| Arm {
        title,
        scores: scores.iter().filter_map(|(_, key)| read(key)).collect(),
    };
    cell.arms.iter().map(arm).filter(|arm| !arm.scores.is_empty()).collect()
}

/// The sum over its runs.
fn confusion(arm: &Arm<'_>) -> Vec<Vec<u64>> {
    let mut sum = arm.scores[0].scores[0].confusion.clone();
    for scores in &arm.scores[1..] {
        for (row, more) in sum.iter_mut().zip(&scores.scores[0].confusion) {
            row.iter_mut().zip(more).for_each(|(count, more)| *count += more);
        }
    }
    sum
}

/// The data set that was judged on, if one of the run's nodes holds it and it is of images.
fn images(nodes: &[Shown<'_>], scores: &Scores) -> Option<Dataset> {
    let holds = |node: &&Shown<'_>| {
        let outputs = node
            .artifact
            .iter()
            .flat_map(|artifact| artifact.summary().outputs.values());
        node.outcome.kind == "dataset" && outputs.into_iter().any(|file| file.digest == scores.judged_on)
    };
    let data = nodes.iter().find(holds)?.input()?;
    let data = Dataset::read(&data, &[scores.split]).ok()?;
    data.split(scores.split).ok()?.images().is_some().then_some(data)
}

/// Two sorts of images at one budget.
fn hard(data: &Dataset, judged: &Scores, arms: &[Arm<'_>], cell: &JudgedCell) -> Vec<(String, Vec<Picture>)> {
    let truth = judged.truth();
    let of_arm = |arm: &Arm<'_>| -> Vec<Vec<usize>> {
        let same = arm.scores.iter().filter(|scores| scores.judged_on == judged.judged_on);
        same.map(|scores| scores.scores[0].predicted()).collect()
    };
    let predicted: Vec<Vec<Vec<usize>>> = arms.iter().map(of_arm).collect();
    let right = |arm: usize, image: usize| {
        let runs = &predicted[arm];
        runs.iter().filter(|run| run[image] == truth[image]).count() as f64 / runs.len().max(1) as f64
    };
    let taken_for = |image: usize| {
        let mut votes = vec![0; data.classes()];
        predicted.iter().flatten().for_each(|run| votes[run[image]] += 1);
        let wrong = votes.iter().enumerate().filter(|(class, _)| *class != truth[image]);
        wrong.max_by_key(|(_, count)| **count).map_or(0, |(class, _)| class)
    };
    let shown = |image: usize, how: &str| {
        let (is, taken) = (&data.class_names[truth[image]], &data.class_names[taken_for(image)]);
        let alt = format!(
            "{} image {image}, of class {is}, {how}, mostly taken for {taken}",
            split(judged)
        );
        let caption = format!("{is}, not {taken}");
        picture(data.split(judged.split).ok()?.images()?, image, caption, alt)
    };
    let never = |image: &usize| (0..arms.len()).all(|arm| right(arm, *image) == 0.0);
    let wrong: Vec<usize> = (0..truth.len()).filter(never).collect();
    let pictures = spread(&wrong)
        .filter_map(|image| shown(image, "wrong in every run of every arm"))
        .collect();
    let title = format!(
        "{}: wrong in every run of every arm, {} of {} images",
        cell.name,
        wrong.len(),
        truth.len()
    );
    let mut groups = vec![(title, pictures)];
    for (alone, arm) in arms.iter().enumerate().filter(|_| arms.len() > 1) {
        let others = |image: usize| {
            (0..arms.len())
                .filter(|other| *other != alone)
                .map(|other| right(other, image))
                .fold(0.0, f64::max)
        };
        let mut only: Vec<(f64, usize)> = (0..truth.len())
            .filter(|image| right(alone, *image) > 0.5 && others(*image) <= 0.5)
            .map(|image| (others(image) - right(alone, image), image))
            .collect();
        only.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let how = format!("right with {} alone", arm.title);
        let pictures = only
            .iter()
            .take(SHOWN)
            .filter_map(|(_, image)| shown(*image, &how))
            .collect();
        groups.push((
            format!("{}: right with {} alone, {} images", cell.name, arm.title, only.len()),
            pictures,
        ));
    }
    groups.retain(|(_, pictures): &(String, Vec<Picture>)| !pictures.is_empty());
    groups
}

fn split(judged: &Scores) -> &'static str {
    match judged.split {
        SplitName::Train => "training",
        SplitName::Validation => "validation",
        SplitName::Test => "test",
    }
}

/// So many of them, evenly.
fn spread(all: &[usize]) -> impl Iterator<Item = usize> {
    let take = all.len().min(SHOWN);
    (0..take).map(move |i| all[i * all.len() / take])
}
