//! Where a node computes: `device` and `precision` of its table, what they come to on this machine, and the device itself.

use std::sync::{Arc, OnceLock};

use flow_engine::node::{Context, NodeError, ParamError, Resources};
use flow_engine::{Gpu, visible_gpus};
use flow_learn::device::cuda::driver::{self, Gpu as Card};
use flow_learn::device::cuda::{Cuda, Precision as Products};
use flow_learn::device::{Cpu, CpuBf16, Device, DeviceError, Mock};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::failure::{at_with, device_failure, failure};

/// Where a node computes. What decides bits is part of its key: a GPU's architecture and the precision, never which card it is. The CPU is no
/// part of any key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum DeviceChoice {
    /// The CPU.
    #[default]
    Cpu,
    /// A GPU if this machine has one that can be used, or else the CPU.
    Auto,
    /// A GPU.
    Cuda,
    /// What one of these came to: a device's identity.
    Settled(String),
}

impl From<String> for DeviceChoice {
    fn from(text: String) -> Self {
        match text.as_str() {
            "cpu" => Self::Cpu,
            "auto" => Self::Auto,
            "cuda" => Self::Cuda,
            _ => Self::Settled(text),
        }
    }
}

impl From<DeviceChoice> for String {
    fn from(choice: DeviceChoice) -> Self {
        match choice {
            DeviceChoice::Cpu => "cpu".to_owned(),
            DeviceChoice::Auto => "auto".to_owned(),
            DeviceChoice::Cuda => "cuda".to_owned(),
            DeviceChoice::Settled(identity) => identity,
        }
    }
}

impl JsonSchema for DeviceChoice {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DeviceChoice".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": ["cpu", "cuda", "auto"] })
    }
}

/// What the products of convolutions and linear layers are made of. Sums are fp32 always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Factors of 10 bits on tensor cores, the default on a GPU; fp32 on the CPU.
    Tf32,
    /// The default on the CPU; slower on a GPU.
    Fp32,
    /// Factors of 8 bits; on the CPU where it has AVX-512 BF16.
    Bf16,
}

/// The device of the tests, the CPU's kernels behind a memory of its own: `mock`, or `mock 1000000` for one of so many bytes.
const MOCK: &str = "mock";

/// The mock that is meant, if one is.
fn mock(identity: &str) -> Option<Mock> {
    match identity.strip_prefix(MOCK)? {
        "" => Some(Mock::default()),
        bytes => Some(Mock::with_memory(bytes.strip_prefix(' ')?.parse().ok()?)),
    }
}

/// Whether an identity is a GPU's.
fn is_gpu(identity: &str) -> bool {
    identity.starts_with("cuda ")
}

fn is_known(identity: &str) -> bool {
    is_gpu(identity) || identity == CpuBf16::IDENTITY || mock(identity).is_some()
}

const NO_BF16_HELP: &str =
    "AVX-512 BF16 is needed (AMD Zen 4, Intel Sapphire Rapids or later): leave `precision` out, or write \"fp32\"";

impl DeviceChoice {
    /// Whether it is the CPU with products of fp32, which no key mentions.
    pub(crate) fn is_cpu(&self) -> bool {
        *self == Self::Cpu
    }

    /// What it comes to on this machine: the CPU, or a device's identity; nothing if it is settled already.
    ///
    /// # Errors
    /// If there is no such device, or not with this precision.
    pub(crate) fn settled(&self, precision: Option<Precision>) -> Result<Option<Self>, ParamError> {
        let products = match precision {
            Some(Precision::Bf16) => Products::Bf16,
            Some(Precision::Fp32) => Products::Fp32,
            Some(Precision::Tf32) | None => Products::Tf32,
        };
        let on = |card: &Card| Some(Self::Settled(identity(card, products)));
        let on_cpu = || match precision {
            Some(Precision::Bf16) => match CpuBf16::new() {
                Some(_) => Ok(Self::Settled(CpuBf16::IDENTITY.to_owned())),
                None => Err(at_with("precision", CpuBf16::MISSING, NO_BF16_HELP)),
            },
            _ => Ok(Self::Cpu),
        };
        match self {
            Self::Settled(identity) if is_known(identity) => Ok(None),
            Self::Settled(other) => {
                let message = format!("{other:?} found, expected \"cpu\", \"cuda\" or \"auto\"");
                Err(at_with("device", message, "write `device = \"cuda\"` for a GPU"))
            }
            Self::Cpu => precision.map(|_| on_cpu()).transpose(),
            Self::Cuda => {
                let cards = usable().map_err(|why| {
                    let help =
                        "run it where there is a GPU, or write \"auto\" or \"cpu\"; `flow doctor` says what there is";
                    at_with("device", format!("\"cuda\" is asked for, but {why}"), help)
                })?;
                Ok(on(&cards[0]))
            }
            Self::Auto => match usable() {
                Ok(cards) => Ok(on(&cards[0])),
                Err(why) => {
                    said_once(&why);
                    on_cpu().map(Some)
                }
            },
        }
    }

    /// What a node takes of the machine that computes here: a share of a GPU of so many bytes, or a whole one where that is not known.
    pub(crate) fn resources(&self, gpu_bytes: Option<u64>) -> Resources {
        let mut resources = Resources::threads_up_to(usize::MAX);
        (resources.gpus, resources.gpu_memory) = match self {
            Self::Settled(identity) if is_gpu(identity) => (gpu_bytes.is_none().then_some(1), gpu_bytes),
            _ => (Some(0), None),
        };
        resources
    }

    /// The device, on the GPU that the node was given.
    ///
    /// # Errors
    /// If it cannot be opened, or is not what the node's key says.
    pub(crate) fn open(&self, cx: &Context<'_>) -> Result<Arc<dyn Device>, NodeError> {
        match self {
            Self::Settled(identity) => {
                if let Some(mock) = mock(identity) {
                    return Ok(Arc::new(mock));
                }
                if !is_gpu(identity) {
                    let cpu =
                        CpuBf16::new().ok_or_else(|| NodeError::failed(CpuBf16::MISSING).with_help(NO_BF16_HELP))?;
                    return Ok(Arc::new(cpu));
                }
                let card = given(cx.gpus).map_err(failure)?;
                let device = opened(&card, precision_of(identity))?;
                if device.identity() != identity {
                    return Err(not_planned_for(identity, &card.name, device.identity()));
                }
                cx.host.note(&format!("computes on {identity}: {}", card.name));
                Ok(device)
            }
            _ => Ok(Arc::new(Cpu)),
        }
    }
}

fn not_planned_for(identity: &str, card: &str, found: &str) -> NodeError {
    let help = "run it on GPUs of one architecture: `--gpus` and CUDA_VISIBLE_DEVICES choose them";
    failure(format!("it was planned for `{identity}`, and {card} is `{found}`")).with_help(help)
}

fn took(bytes: f64) -> String {
    format!("took {:.2} GiB of the GPU's memory at most", bytes / f64::from(1 << 30))
}

/// Notes how much of a GPU's memory a node took, beside the driver's own.
pub(crate) fn note_memory(device: &dyn Device, cx: &Context<'_>) {
    if let Some(bytes) = device.most_memory() {
        cx.host.note(&took(bytes as f64));
    }
}

/// The device of a command that belongs to no workflow: `cpu`, `cuda` or `auto`.
///
/// # Errors
/// If there is no such device.
pub fn device(name: &str) -> Result<Arc<dyn Device>, NodeError> {
    let choice = DeviceChoice::from(name.to_owned());
    let settled = choice.settled(None).map_err(crate::failure::refused)?;
    match settled.unwrap_or(choice) {
        DeviceChoice::Settled(identity) => {
            if let Some(mock) = mock(&identity) {
                return Ok(Arc::new(mock));
            }
            let cards = usable().map_err(failure)?;
            opened(&cards[0], precision_of(&identity))
        }
        _ => Ok(Arc::new(Cpu)),
    }
}

/// The GPUs of this machine for nodes to share, by the names that CUDA_VISIBLE_DEVICES takes: those of the first one's architecture with their
/// memory. Empty where there are none.
pub fn gpus() -> Vec<Gpu> {
    usable().map_or_else(|_| Vec::new(), |cards| shared(&cards, names()))
}

/// The usable cards by the names that are given. Of the parts of a card (MIG) the driver shows a process one alone, the first that is named:
/// the others are taken to be like it.
fn shared(cards: &[Card], names: Vec<String>) -> Vec<Gpu> {
    let of = |card: &Card, name: String| Gpu {
        name,
        memory: Some(card.memory as u64),
    };
    let parts = !names.is_empty() && names.iter().all(|name| name.starts_with("MIG-"));
    if let ([card], true) = (cards, parts) {
        return names.into_iter().map(|name| of(card, name)).collect();
    }
    let named = cards.iter().map(|card| {
        let name = names.get(card.number).cloned();
        of(card, name.unwrap_or_else(|| card.number.to_string()))
    });
    named.collect()
}

/// All GPUs that the driver shows, or one line that says why there are none.
///
/// # Errors
/// With that line.
pub fn cards() -> Result<&'static [Card], String> {
    static CARDS: OnceLock<Result<Vec<Card>, String>> = OnceLock::new();
    CARDS.get_or_init(driver::gpus).as_deref().map_err(Clone::clone)
}

/// Those that can be used, all of one architecture; at least one.
fn usable() -> Result<Vec<Card>, String> {
    let all = cards()?;
    let Some(first) = all.iter().find(|card| card.code.is_some()) else {
        let card = all.first().map_or("the GPU", |card| card.name.as_str());
        return Err(format!("{card}: {}", driver::TOO_OLD));
    };
    Ok(all.iter().filter(|card| card.code == first.code).cloned().collect())
}

/// The card that a node was given by name.
fn given(gpus: &[String]) -> Result<Card, String> {
    let cards = cards()?;
    let name = gpus.first().ok_or("BUG: no GPU was given to it")?;
    let names = names();
    let number = match names.iter().position(|visible| visible == name) {
        Some(place) => place,
        None => name.parse().unwrap_or(0),
    };
    let card = cards.iter().find(|card| card.number == number);
    card.cloned().ok_or_else(|| not_shown(name))
}

fn not_shown(name: &str) -> String {
    format!("GPU {name} was given to it, and the driver does not show it")
}

/// The names in CUDA_VISIBLE_DEVICES; none where it is not set, and numbers are the driver's.
fn names() -> Vec<String> {
    let variable = std::env::var("CUDA_VISIBLE_DEVICES").unwrap_or_default();
    visible_gpus(&variable).map(str::to_owned).collect()
}

fn opened(card: &Card, products: Products) -> Result<Arc<dyn Device>, NodeError> {
    let cuda = Cuda::open(card, products).map_err(|error: DeviceError| device_failure(&error))?;
    Ok(Arc::new(cuda))
}

fn identity(card: &Card, products: Products) -> String {
    flow_learn::device::cuda::identity(card, products)
}

fn precision_of(identity: &str) -> Products {
    match identity.split(' ').nth(2) {
        Some("fp32") => Products::Fp32,
        Some("bf16") => Products::Bf16,
        _ => Products::Tf32,
    }
}

/// `auto` decides, and says so.
fn said_once(why: &str) {
    static SAID: OnceLock<()> = OnceLock::new();
    SAID.get_or_init(|| tracing::warn!("{}", auto_is_cpu(why)));
}

fn auto_is_cpu(why: &str) -> String {
    format!("`device = \"auto\"` is the CPU here: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_is_the_cpu_whatever_its_precision_is_called() {
        assert_eq!(DeviceChoice::Cpu.settled(None).ok().flatten(), None);
        let settled = DeviceChoice::Cpu.settled(Some(Precision::Fp32));
        assert_eq!(settled.ok().flatten(), Some(DeviceChoice::Cpu));
    }

    #[test]
    fn what_is_no_device_is_refused_with_what_is_one() {
        let refused = DeviceChoice::from("gpu".to_owned())
            .settled(None)
            .expect_err("it is none");
        assert!(refused.message.contains("\"cuda\"") && refused.key == "device");
    }

    #[test]
    fn bf16_on_the_cpu_is_a_device_of_its_own_or_refused_where_the_processor_has_none() {
        match (CpuBf16::new(), DeviceChoice::Cpu.settled(Some(Precision::Bf16))) {
            (Some(_), settled) => {
                let device = settled.ok().flatten().expect("it is settled");
                assert_eq!(String::from(device.clone()), "cpu bf16");
                assert!(!device.is_cpu(), "it is in the key");
                assert_eq!(device.settled(None).ok(), Some(None), "nothing is left to settle");
                assert_eq!(device.resources(None).gpus, Some(0), "it takes no GPU");
            }
            (None, refused) => assert_eq!(refused.expect_err("there is none").key, "precision"),
        }
    }

    #[test]
    fn a_gpu_computes_in_the_precision_that_its_identity_says() {
        for (name, products) in [
            ("tf32", Products::Tf32),
            ("fp32", Products::Fp32),
            ("bf16", Products::Bf16),
        ] {
            assert_eq!(precision_of(&format!("cuda sm_90 {name} k1")), products);
        }
    }

    #[test]
    fn a_settled_choice_reads_back_as_it_was() {
        for text in ["cpu", "cuda sm_90 fp32 k1", "mock"] {
            let choice = DeviceChoice::from(text.to_owned());
            assert_eq!(choice.settled(None).ok(), Some(None), "nothing is left to settle");
            assert_eq!(String::from(choice), text);
        }
        assert_eq!(precision_of("cuda sm_90 fp32 k1"), Products::Fp32);
        assert_eq!(precision_of("cuda sm_90 tf32 k1"), Products::Tf32);
    }

    #[test]
    fn a_node_on_the_cpu_takes_no_gpu_and_one_on_a_gpu_a_part_of_one() {
        let of = |text: &str, bytes| {
            let resources = DeviceChoice::from(text.to_owned()).resources(bytes);
            (resources.gpus, resources.gpu_memory)
        };
        assert_eq!(of("cpu", Some(5)), (Some(0), None));
        assert_eq!(of("mock", Some(5)), (Some(0), None));
        assert_eq!(of("cuda sm_90 tf32 k1", Some(5)), (None, Some(5)));
        assert_eq!(of("cuda sm_90 tf32 k1", None), (Some(1), None));
    }

    #[test]
    fn what_is_said_of_gpus_reads_as_sentences() {
        let refused = not_planned_for("cuda sm_90 tf32 k1", "NVIDIA A100", "cuda sm_80 tf32 k1");
        let NodeError::Failed { message, help } = refused else {
            panic!("it failed");
        };
        let said = [
            message,
            help.unwrap_or_default(),
            took(3e9),
            not_shown("1"),
            auto_is_cpu("the NVIDIA driver sees no GPU"),
            format!("{}\n{NO_BF16_HELP}", CpuBf16::MISSING),
        ];
        insta::assert_snapshot!(said.join("\n"));
    }
}
