//! Localisation: losses, places moved with pixels, metrics, encodings of masks.

use flow_learn::augment::{Move, moved};
use flow_learn::data::{Located, Object, from_polygon, from_runs, unpacked};
use flow_learn::image::{Crop, Size};
use flow_learn::losses::{focal, giou, segmentation, value_and_grads};
use flow_learn::metrics::{BoxJudgement, judge_masks};
use flow_learn::tasks::detect::{Place, assign, suppress};
use flow_learn::tasks::{Detection, Frame};

use super::Outcome;
use super::case::{Case, CaseError, Check, GRADIENT, VALUE};

/// What pycocotools' figures must be equal to.
const FIGURE: f64 = 1e-6;

/// What a box may be off by after a turn, in pixels.
const PLACE: f64 = 1e-3;

pub(super) fn run(case: &Case) -> Result<Outcome, CaseError> {
    match case.case.as_str() {
        "segmentation" => segmentation_loss(case),
        "focal" => focal_loss(case),
        "giou" => giou_loss(case),
        "masks" => masks(case),
        "average_precision" => average_precision(case),
        "nms" => nms(case),
        "assignment" => assignment(case),
        "rle" => run_lengths(case),
        "polygon" => polygon(case),
        name => match name.strip_prefix("move_") {
            Some(kind) => moves(case, kind),
            None => Ok(Outcome::NotBuilt),
        },
    }
}

fn refused(error: impl std::fmt::Display) -> CaseError {
    CaseError::Refused(error.to_string())
}

fn segmentation_loss(case: &Case) -> Result<Outcome, CaseError> {
    let [n, classes] = case.dims::<2>("logits")?;
    let labels: Vec<u8> = case.input("labels")?.data.iter().map(|v| *v as u8).collect();
    let (dice, logits) = (case.number("dice")? as f32, case.input("logits")?.f32());
    let (loss, [gradient]) =
        value_and_grads([(logits, (n, classes))], |[x]| segmentation(x, &labels, dice)).map_err(refused)?;
    let mut check = Check::default();
    check.relative("loss", &[loss], case.output("loss")?, VALUE);
    check.relative("gradient", &gradient, case.gradient("logits")?, GRADIENT);
    Ok(check.outcome())
}

fn focal_loss(case: &Case) -> Result<Outcome, CaseError> {
    let shape = case.dims::<2>("logits")?.into();
    let (targets, counted) = (case.input("targets")?.f32(), case.input("counted")?.f32());
    let (positives, logits) = (case.number("positives")? as f32, case.input("logits")?.f32());
    let (loss, [gradient]) =
        value_and_grads([(logits, shape)], |[x]| focal(x, &targets, &counted, positives)).map_err(refused)?;
    let mut check = Check::default();
    check.relative("loss", &[loss], case.output("loss")?, VALUE);
    check.relative("gradient", &gradient, case.gradient("logits")?, GRADIENT);
    Ok(check.outcome())
}

fn giou_loss(case: &Case) -> Result<Outcome, CaseError> {
    let [n, _] = case.dims::<2>("found")?;
    let (found, truth) = (case.input("found")?.f32(), case.input("truth")?.f32());
    let weights = case.input("weights")?.f32();
    let inputs: [_; 4] = std::array::from_fn(|at| (found.iter().skip(at).step_by(4).copied().collect(), (n, 1)));
    let (loss, columns) = value_and_grads(inputs, |found| giou(found, &truth, &weights)).map_err(refused)?;
    let gradient: Vec<f32> = (0..4 * n).map(|at| columns[at % 4][at / 4]).collect();
    let mut check = Check::default();
    check.relative("loss", &[loss], case.output("loss")?, VALUE);
    check.relative("gradient", &gradient, case.gradient("found")?, GRADIENT);
    Ok(check.outcome())
}

fn moves(case: &Case, kind: &str) -> Result<Outcome, CaseError> {
    let [h, w] = case.dims::<2>("mask")?;
    let at = |name: &str| case.number(name).map(|v| v as isize);
    let by = match kind {
        "flip" => Move::Flip,
        "crop" => Move::Crop(Crop {
            top: case.size("top")?,
            left: case.size("left")?,
            height: case.size("height")?,
            width: case.size("width")?,
        }),
        "rotate" => Move::rotation(case.number("degrees")? as f32),
        "window" => Move::Window {
            to: (case.size("height")?, case.size("width")?),
            top: at("top")?,
            left: at("left")?,
        },
        _ => return Ok(Outcome::NotBuilt),
    };
    let size = Size { h, w, c: 1 };
    let boxes = case.input("boxes")?.f32();
    let located = Located {
        mask: case.input("mask")?.data.iter().map(|v| *v as u8).collect(),
        ..Located::default()
    };
    let mask: Vec<f64> = moved(located, &[by], size).mask.iter().map(|v| f64::from(*v)).collect();
    let found: Vec<f32> = boxes
        .as_chunks::<4>()
        .0
        .iter()
        .flat_map(|bounds| by.of_bounds(*bounds, size))
        .collect();
    let mut check = Check::default();
    check.metrics("mask", &mask, case.output("mask")?, 0.0);
    check.absolute("boxes", &found, case.output("boxes")?, PLACE);
    Ok(check.outcome())
}

fn masks(case: &Case) -> Result<Outcome, CaseError> {
    let shape = &case.input("truth")?.shape;
    let &[_, h, w] = &shape[..] else {
        return Err(refused("masks are [images][height][width]"));
    };
    let values =
        |name: &str| -> Result<Vec<u8>, CaseError> { Ok(case.input(name)?.data.iter().map(|v| *v as u8).collect()) };
    let (found, truth) = (values("found")?, values("truth")?);
    let pairs: Vec<(&[u8], &[u8])> = found.chunks_exact(h * w).zip(truth.chunks_exact(h * w)).collect();
    let scores = judge_masks(&pairs, [h, w], case.size("classes")?);
    let mut check = Check::default();
    check.metrics("iou", &scores.iou, case.output("iou")?, FIGURE);
    for (name, value) in [
        ("mean_iou", scores.mean_iou),
        ("pixel_accuracy", scores.pixel_accuracy),
        ("boundary_f", scores.boundary_f),
    ] {
        check.metrics(name, &[value], case.output(name)?, FIGURE);
    }
    Ok(check.outcome())
}

fn average_precision(case: &Case) -> Result<Outcome, CaseError> {
    let images = case.size("images")?;
    let (mut truths, mut found) = (vec![Vec::new(); images], vec![Vec::new(); images]);
    for row in case.input("truths")?.f32().chunks_exact(8) {
        truths[row[0] as usize].push(Object {
            class: row[1] as u16,
            bounds: [row[2], row[3], row[4], row[5]],
            area: row[6],
            ignore: row[7] > 0.0,
            sure: 1.0,
        });
    }
    for row in case.input("found")?.f32().chunks_exact(7) {
        found[row[0] as usize].push(Detection {
            class: row[1] as u16,
            bounds: [row[2], row[3], row[4], row[5]],
            score: row[6],
        });
    }
    let scores = BoxJudgement::new(&found, &truths, case.size("classes")?).scores();
    let [small, medium, large] = scores.ap_by_size;
    let [one, ten, hundred] = scores.ar;
    let [recall_small, recall_medium, recall_large] = scores.ar_by_size;
    let mut check = Check::default();
    for (name, value) in [
        ("ap", scores.ap),
        ("ap50", scores.ap50),
        ("ap75", scores.ap75),
        ("ap_small", small),
        ("ap_medium", medium),
        ("ap_large", large),
        ("ar1", one),
        ("ar10", ten),
        ("ar100", hundred),
        ("ar_small", recall_small),
        ("ar_medium", recall_medium),
        ("ar_large", recall_large),
    ] {
        check.metrics(name, &[value], case.output(name)?, FIGURE);
    }
    Ok(check.outcome())
}

fn nms(case: &Case) -> Result<Outcome, CaseError> {
    let scores = case.input("scores")?.f32();
    let boxes = case.input("boxes")?.f32();
    let all = boxes.as_chunks::<4>().0.iter().zip(&scores);
    let mut all: Vec<Detection> = all
        .map(|(bounds, score)| Detection {
            class: 0,
            bounds: *bounds,
            score: *score,
        })
        .collect();
    all.sort_by(|a, b| b.score.total_cmp(&a.score));
    let place = |one: &Detection| scores.iter().position(|score| *score == one.score).unwrap_or_default() as f64;
    let kept: Vec<f64> = suppress(&all, case.number("iou")?).iter().map(place).collect();
    let mut check = Check::default();
    check.metrics("kept", &kept, case.output("kept")?, 0.0);
    Ok(check.outcome())
}

fn assignment(case: &Case) -> Result<Outcome, CaseError> {
    let side = case.size("side")?;
    let frame = Frame {
        height: side,
        width: side,
        classes: case.size("classes")?,
        maps: case.numbers("maps")?.iter().map(|cells| [*cells as usize; 2]).collect(),
    };
    let object = |row: &[f32]| Object {
        class: row[0] as u16,
        bounds: [row[1], row[2], row[3], row[4]],
        area: 1.0,
        ignore: row[5] > 0.0,
        sure: 1.0,
    };
    let objects: Vec<Object> = case.input("objects")?.f32().chunks_exact(6).map(object).collect();
    let row = |(place, _): (Place, f32)| match place {
        Place::Nothing => [-1.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        Place::LeftOut => [-2.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        Place::Thing {
            class,
            reach: [a, b, c, d],
            nearness,
            ..
        } => [f32::from(class), a, b, c, d, nearness],
    };
    let places: Vec<f32> = assign(&objects, &frame).into_iter().flat_map(row).collect();
    let mut check = Check::default();
    check.absolute("places", &places, case.output("places")?, VALUE);
    Ok(check.outcome())
}

fn bits(mask: &[bool]) -> Vec<f64> {
    mask.iter().map(|inside| f64::from(u8::from(*inside))).collect()
}

fn run_lengths(case: &Case) -> Result<Outcome, CaseError> {
    let size = [case.size("height")?, case.size("width")?];
    let packed = case
        .params
        .get("counts")
        .and_then(|counts| counts.as_str())
        .unwrap_or_default();
    let runs: Vec<i64> = case.input("runs")?.data.iter().map(|run| *run as i64).collect();
    let mut check = Check::default();
    for runs in [runs, unpacked(packed).map_err(refused)?] {
        let mask = from_runs(&runs, size).map_err(refused)?;
        check.metrics("mask", &bits(&mask), case.output("mask")?, 0.0);
    }
    Ok(check.outcome())
}

fn polygon(case: &Case) -> Result<Outcome, CaseError> {
    let size = [case.size("height")?, case.size("width")?];
    let mask = from_polygon(&case.input("polygon")?.data, size).map_err(refused)?;
    let mut check = Check::default();
    check.metrics("mask", &bits(&mask), case.output("mask")?, 0.0);
    Ok(check.outcome())
}
