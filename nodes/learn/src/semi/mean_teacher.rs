//! Mean Teacher (Tarvainen & Valpola 2017, 1703.01780): a view gets the probabilities that the average of the weights gives another view.
//!
//! `L_u = mean (p(v') - p_average(v))^2` over images and classes; the average follows the student, `a <- m a + (1 - m) w` with `m = min(ema, 1 -
//! 1/(t+1))` in step `t` (section 3.1). The weight of 50 and its rise over .4 of the training are those of the benchmarks since (Zhang et
//! al. 2021, 2110.08263).
//!
//! Trap: an average that is slower than the training is long teaches what the student knew long ago.

use super::batch::{SemiBatch, SemiOutcome, SemiSetup};
use super::student::Student;
use super::{SecondView, SemiMethod, Settings, common, semi_settings};
use crate::layers::tensors;
use crate::train::TrainError;

semi_settings! {
    /// Hyper-parameters.
    pub struct MeanTeacherSettings {
    } common {
        ratio: 1,
        weight: 50.0,
        ramp: 0.4,
        ema: 0.999,
    }
}

impl Settings for MeanTeacherSettings {
    common!();

    fn name(&self) -> &'static str {
        "mean-teacher"
    }

    fn second_view(&self) -> SecondView {
        SecondView::Any
    }

    /// The student looks at the second view, the teacher at the weak one, forward only.
    fn cost(&self) -> f64 {
        1.0 + self.ratio as f64 * (1.0 + 1.0 / 3.0)
    }

    fn advice(&self) -> &'static str {
        "lower `semi.weight` or raise `semi.ramp`"
    }

    fn build(&self, _setup: &SemiSetup<'_>) -> Box<dyn SemiMethod> {
        Box::new(MeanTeacher { settings: self.clone() })
    }
}

struct MeanTeacher {
    settings: MeanTeacherSettings,
}

impl SemiMethod for MeanTeacher {
    fn step(&mut self, student: &mut Student<'_>, batch: &SemiBatch) -> Result<SemiOutcome, TrainError> {
        let weight = self.settings.common().weight_at(batch.progress);
        let targets = student.teacher_guess(&batch.weak);
        let views: Vec<_> = [&batch.labelled].into_iter().chain(&batch.second).collect();
        student.agree_with(batch, &views, weight, |_| targets)
    }
}

tensors!(MeanTeacher:);
