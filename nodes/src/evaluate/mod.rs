//! `kind = "evaluate"` in its five forms: a classifier's score, that of a control without learnt features, a frozen encoder's probes, a comparison of
//! arms with its verdict, a summary of many arms in one table.

mod arms;
mod compare;
mod control;
mod locate;
mod probe;
mod score;
mod summary;
mod table;

pub use compare::CompareNode;
pub use control::ControlNode;
pub use probe::ProbeNode;
pub use score::ScoreNode;
pub use summary::SummaryNode;

use flow_engine::node::{InputFacts, ParamError};

use crate::artifacts::{DatasetFacts, ScoreFacts, SplitName};
use crate::failure::at_with;

fn test() -> SplitName {
    SplitName::Test
}

/// What scores on a split of the data set at port `data` will be, if it is known and has the split.
fn score_facts(inputs: &InputFacts, split: SplitName, of_classifier: bool) -> Result<Option<ScoreFacts>, ParamError> {
    let Some(data) = inputs.get::<DatasetFacts>("data") else {
        return Ok(None);
    };
    if data.count(split) == Some(0) {
        let message = format!("the data set has no {split} {}", data.input.modality.noun());
        return Err(at_with("split", message, split.where_from()));
    }
    Ok(Some(ScoreFacts {
        of_classifier,
        task: None,
        data: data.clone(),
        split,
    }))
}
