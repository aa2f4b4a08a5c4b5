//! Pi-model (Laine & Aila 2017, 1610.02242): two views of an image get the same probabilities.
//!
//! `L_u = mean (p(v') - p(v))^2` over images and classes, with no gradient through `p(v)`, as in the benchmarks since (Wang et al. 2022,
//! 2208.07204), whose weight of 10 and rise over .4 of the training are the defaults here.
//!
//! Trap: a weight that is large from the start holds the network where it is: all images alike.

use super::batch::{SemiBatch, SemiOutcome, SemiSetup};
use super::student::{Student, WEAK};
use super::{SecondView, SemiMethod, Settings, common, semi_settings};
use crate::layers::tensors;
use crate::train::TrainError;

semi_settings! {
    /// Hyper-parameters.
    pub struct PiModelSettings {
    } common {
        ratio: 1,
        weight: 10.0,
        ramp: 0.4,
        ema: 0.999,
    }
}

impl Settings for PiModelSettings {
    common!();

    fn name(&self) -> &'static str {
        "pi-model"
    }

    fn second_view(&self) -> SecondView {
        SecondView::Any
    }

    fn advice(&self) -> &'static str {
        "lower `semi.weight` or raise `semi.ramp`"
    }

    fn build(&self, _setup: &SemiSetup<'_>) -> Box<dyn SemiMethod> {
        Box::new(PiModel { settings: self.clone() })
    }
}

struct PiModel {
    settings: PiModelSettings,
}

impl SemiMethod for PiModel {
    fn step(&mut self, student: &mut Student<'_>, batch: &SemiBatch) -> Result<SemiOutcome, TrainError> {
        let weight = self.settings.common().weight_at(batch.progress);
        student.agree_with(batch, &batch.views(), weight, |seen| seen.probabilities(WEAK))
    }
}

tensors!(PiModel:);
