//! Turns the learning code's errors into the engine's.

use flow_engine::node::{NodeError, ParamError};
use flow_learn::backbones::BackboneError;
use flow_learn::device::DeviceError;
use flow_learn::methods::MethodError;
use flow_learn::settings::SettingError;
use flow_learn::train::TrainError;

/// A node's failure with the error's own words.
pub(crate) fn failure(error: impl std::fmt::Display) -> NodeError {
    NodeError::failed(error.to_string())
}

/// A training's failure; a request to stop stays one.
pub(crate) fn training_failure(error: TrainError) -> NodeError {
    match error {
        TrainError::Stopped => NodeError::Stopped,
        TrainError::Device(error) | TrainError::Method(MethodError::Device(error)) => device_failure(&error),
        other => failure(other),
    }
}

/// A device's failure, and what to do about it.
pub(crate) fn device_failure(error: &DeviceError) -> NodeError {
    let help = match error {
        DeviceError::Memory { .. } => {
            "lower `batch`, or let fewer nodes share a GPU: `resources = { gpu_memory = \"20GB\" }` asks for more of it"
        }
        DeviceError::Driver { .. } => "run again: it goes on from its last checkpoint; `flow doctor` shows the GPUs",
    };
    failure(error).with_help(help)
}

/// An error in the parameter `key`.
pub(crate) fn at(key: impl Into<String>, message: impl Into<String>) -> ParamError {
    ParamError {
        key: key.into(),
        message: message.into(),
        help: None,
    }
}

/// An error in the parameter `key`, and what to do.
pub(crate) fn at_with(key: impl Into<String>, message: impl Into<String>, help: impl Into<String>) -> ParamError {
    ParamError {
        key: key.into(),
        message: message.into(),
        help: Some(help.into()),
    }
}

/// A refusal that comes while a node runs, because it could not be checked before.
pub(crate) fn refused(error: ParamError) -> NodeError {
    let ParamError { key, message, help } = error;
    let message = if key.is_empty() {
        message
    } else {
        format!("`{key}`: {message}")
    };
    match help {
        Some(help) => NodeError::failed(message).with_help(help),
        None => NodeError::failed(message),
    }
}

/// An error in a setting of the learning code, at its key.
pub(crate) fn setting_error(SettingError { key, message }: SettingError) -> ParamError {
    at(key, message)
}

/// A backbone's error, at the key that it is about.
pub(crate) fn backbone_error(error: &BackboneError) -> ParamError {
    let key = match error {
        BackboneError::Setting(error) => return setting_error(error.clone().within("backbone")),
        BackboneError::Unknown { .. } | BackboneError::Modality { .. } => "backbone.name",
        BackboneError::Widths { .. } => "backbone.widths",
        BackboneError::Grid { .. } => "backbone.grid",
        BackboneError::Stem { .. } => "backbone.stem",
    };
    at(key, error.to_string())
}

/// A method's error, at the key that it is about.
pub(crate) fn method_error(error: &MethodError) -> ParamError {
    match error {
        MethodError::Setting(error) => setting_error(error.clone()),
        other => at("", other.to_string()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A failure as a person reads it: what, and what to do.
    pub(crate) fn said(error: &NodeError) -> String {
        match error {
            NodeError::Failed { message, help } => {
                format!("{message}\n  help: {}", help.as_deref().unwrap_or_default())
            }
            other => other.to_string(),
        }
    }

    #[test]
    fn a_device_that_fails_is_said_with_what_to_do() {
        let memory = DeviceError::Memory {
            wanted: 3 << 10,
            held: 20 << 10,
        };
        let driver = DeviceError::Driver {
            what: "wait for a copy".to_owned(),
            code: "CUDA_ERROR_LAUNCH_FAILED (719)".to_owned(),
        };
        let both = [memory, driver].map(|error| said(&device_failure(&error)));
        insta::assert_snapshot!(both.join("\n"));
    }
}
