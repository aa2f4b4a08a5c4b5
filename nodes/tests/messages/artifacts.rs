//! Artifacts that are damaged or were made by another version of flow, and weights of others.

use flow_learn::backbones::{BackboneSettings, Stem};
use flow_learn::layers::MapShape;
use flow_learn::rng::Stream;
use flow_learn::state::{StateDict, Tensor};

use super::Desk;

const WHOLE: &str = r#"
[nodes.images]
kind = "dataset"
source = "scenes"
train = 40
test = 3
side = 16
[nodes.texts]
kind = "dataset"
source = "text"
path = "texts.tsv"
length = 8
[nodes.labelled]
kind = "dataset"
from = "images"
labels = 20
[nodes.scratch]
kind = "finetune"
data = ["labelled"]
backbone = { name = "conv3", widths = [4, 4, 4] }
steps = 1
batch = 8
lr = 0.1
[nodes.locator]
kind = "finetune"
task = "segment"
data = ["labelled"]
backbone = { name = "conv3", widths = [4, 4, 4] }
steps = 1
batch = 8
lr = 0.1
[nodes.score]
kind = "evaluate"
model = "scratch"
data = "images"
[nodes.simclr]
kind = "pretext"
method = "simclr"
[nodes.weak]
kind = "augment"
recipe = "weak"
[nodes.predictions]
kind = "command"
run = ["sh", "-c", "(echo image,circle,square,triangle,star,ring,cross,crescent,heart,hexagon,bar; for i in 0 1 2; do echo $i,0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1; done) > {outputs}/p.csv"]
inputs = { data = "images" }
give = { data = "npz" }
makes = "predictions"
[nodes.features]
kind = "command"
run = ["cp", "FEATURES", "{outputs}/f.npz"]
inputs = { data = "images" }
give = { data = "npz" }
makes = "encoder"
[nodes.made_files]
kind = "command"
run = ["echo", "hello"]
stdout = "o"
"#;

#[test]
fn damaged_artifacts() {
    let mut desk = Desk::new();
    desk.write("texts.tsv", "good\tfine\nbad\tpoor\n".repeat(8));
    let rows = |n: usize| super::sources::npy("<f4", &format!("({n}, 4)"), &vec![0; 16 * n]);
    desk.write("f.npz", super::sources::npz(&[("train", rows(40)), ("test", rows(3))]));
    let whole = WHOLE.replace("FEATURES", &desk.path("f.npz").display().to_string());
    // Data sets that are no longer whole, each with the name of what is wrong with it.
    let sets: &[(&str, &str, &str)] = &[
        ("no_json", "images", "files = { \"dataset.json\" = \"{\" }"),
        ("no_image_file", "images", "files = { \"train.images\" = \"none\" }"),
        ("cut_header", "images", "cut = { \"train.images\" = 20 }"),
        ("cut_images", "images", "cut = { \"train.images\" = 1000 }"),
        ("no_class", "images", "set = { \"train.images\" = [[30800, 99]] }"),
        (
            "other_channels",
            "images",
            "replace = { \"dataset.json\" = [[\"\\\"mean\\\": [\", \"\\\"mean\\\": [0.5,\"]] }",
        ),
        ("no_mask", "images", "set = { \"train.masks\" = [[1, 200]] }"),
        (
            "no_boxes",
            "images",
            "set = { \"train.boxes.safetensors\" = [[25, 70]] }",
        ),
        (
            "few_boxes",
            "images",
            "set = { \"train.boxes.safetensors\" = [[1121, 70]] }",
        ),
        (
            "no_target",
            "labelled",
            "replace = { \"dataset.json\" = [[\"\\\"circle\\\",\", \"\\\"circle\\\", \\\"more\\\",\"]] }",
        ),
        (
            "other_statistics",
            "images",
            "replace = { \"dataset.json\" = [[\"\\\"mean\\\": [\", \"\\\"mean\\\": [0.5,\"], [\"\\\"std\\\": [\", \"\\\"std\\\": [0.5,\"]] }",
        ),
        (
            "odd_target",
            "labelled",
            "set = { \"examples.safetensors\" = [[1, 66]] }",
        ),
        (
            "odd_example",
            "labelled",
            "set = { \"examples.safetensors\" = [[801, 70]] }",
        ),
        (
            "no_safetensors",
            "labelled",
            "files = { \"examples.safetensors\" = \"none\" }",
        ),
        ("no_train", "images", "cut = { \"train.images\" = 0 }"),
        (
            "images_for_texts",
            "texts",
            "files = { \"train.images\" = \"flowimg1\" }",
        ),
        ("no_words", "texts", "files = { \"vocabulary.txt\" = \"one\" }"),
    ];
    let mut text = whole.clone();
    for (name, of, change) in sets {
        text.push_str(&format!(
            "[nodes.made_{name}]\nkind = \"made\"\nmakes = \"dataset\"\nof = \"{of}\"\n{change}\n[nodes.{name}]\nkind = \"dataset\"\nfrom = \"made_{name}\"\nlabels = 10\n"
        ));
    }
    desk.run("data sets", &text);

    // Networks, scores and the like, and what reads them.
    let score = |model: &str| format!("kind = \"evaluate\"\nmodel = \"{model}\"\ndata = \"images\"");
    let pretrain = "kind = \"pretrain\"\ndata = \"images\"\nviews = \"VIEWS\"\ntask = \"TASK\"\nbackbone = { name = \"conv3\", widths = [4, 4, 4] }\nepochs = 1\nbatch = 8\nlr = 0.1";
    let blank = " ".repeat("\\\"heart\\\",".len());
    let others: Vec<(&str, &str, &str, String, String)> = vec![
        (
            "cut_network",
            "model",
            "scratch",
            "cut = { \"encoder.safetensors\" = 100 }".into(),
            score("MADE"),
        ),
        (
            "other_network",
            "model",
            "scratch",
            "replace = { \"encoder.safetensors\" = [[\"conv3\", \"conv4\"]] }".into(),
            score("MADE"),
        ),
        (
            "no_head",
            "model",
            "scratch",
            "cut = { \"head.safetensors\" = 0 }".into(),
            score("MADE"),
        ),
        (
            "no_truth",
            "dataset",
            "images",
            "set = { \"test.images\" = [[2310, 255], [2309, 255]] }".into(),
            "kind = \"evaluate\"\nmodel = \"scratch\"\ndata = \"MADE\"".into(),
        ),
        (
            "not_finite",
            "model",
            "scratch",
            "set = { \"head.safetensors\" = [[1, 127], [2, 192]] }".into(),
            score("MADE"),
        ),
        (
            "unknown_task",
            "model",
            "locator",
            "replace = { \"head.safetensors\" = [[\"segment\", \"segmenx\"]] }".into(),
            format!("{}\ntask = \"segment\"", score("MADE")),
        ),
        (
            "inspected_task",
            "model",
            "locator",
            "replace = { \"head.safetensors\" = [[\"segment\", \"segmenx\"]] }".into(),
            "kind = \"inspect\"\nnetwork = \"MADE\"\ndata = \"images\"".into(),
        ),
        ("no_classifier", "model", "locator", String::new(), score("MADE")),
        (
            "no_task",
            "task",
            "simclr",
            "files = { \"task.json\" = \"[]\" }".into(),
            pretrain.replace("TASK", "MADE").replace("VIEWS", "weak"),
        ),
        (
            "no_recipe",
            "recipe",
            "weak",
            "files = { \"recipe.json\" = \"[]\" }".into(),
            pretrain.replace("TASK", "simclr").replace("VIEWS", "MADE"),
        ),
        (
            "confusion",
            "scores",
            "score",
            "replace = { \"scores.json\" = [[\"\\\"confusion\\\": [\", \"\\\"confusion\\\": [[],\"]] }".into(),
            "kind = \"evaluate\"\nsummary = [\"MADE\"]".into(),
        ),
        (
            "no_class_of_scores",
            "scores",
            "score",
            "replace = { \"scores.json\" = [[\"\\\"truth\\\": [\", \"\\\"truth\\\": [99,\"]] }".into(),
            "kind = \"evaluate\"\nsummary = [\"MADE\"]".into(),
        ),
        (
            "fewer_predicted",
            "predictions",
            "predictions",
            format!("replace = {{ \"predictions.safetensors\" = [['\\\"heart\\\",', '{blank}']] }}"),
            score("MADE"),
        ),
        (
            "fewer_features",
            "features",
            "features",
            "replace = { \"features.safetensors\" = [['\"test\":{\"dtype', '\"tesx\":{\"dtype']] }".into(),
            "kind = \"evaluate\"\nencoder = \"MADE\"\ndata = \"images\"".into(),
        ),
        (
            "other_features",
            "features",
            "features",
            String::new(),
            "kind = \"evaluate\"\nencoder = \"MADE\"\ndata = \"more_images\"".into(),
        ),
        (
            "other_predicted",
            "predictions",
            "predictions",
            String::new(),
            "kind = \"evaluate\"\nmodel = \"MADE\"\ndata = \"more_images\"".into(),
        ),
        (
            "other_split",
            "predictions",
            "predictions",
            String::new(),
            "kind = \"evaluate\"\nmodel = \"MADE\"\ndata = \"images\"\nsplit = \"train\"".into(),
        ),
        (
            "other_order",
            "predictions",
            "predictions",
            "replace = { \"predictions.safetensors\" = [['heart', 'earth']] }".into(),
            score("MADE"),
        ),
        (
            "no_validation",
            "features",
            "features",
            String::new(),
            "kind = \"evaluate\"\nencoder = \"MADE\"\ndata = \"validated\"\nsplit = \"validation\"".into(),
        ),
    ];
    let mut text = whole
        + "[nodes.more_images]\nkind = \"dataset\"\nsource = \"scenes\"\ntrain = 44\ntest = 4\nside = 16\n[nodes.validated]\nkind = \"dataset\"\nsource = \"scenes\"\ntrain = 44\ntest = 3\nvalidation = 4\nside = 16\n";
    for (name, makes, of, change, reader) in others {
        let reader = reader.replace("MADE", &format!("made_{name}"));
        text.push_str(&format!(
            "[nodes.made_{name}]\nkind = \"made\"\nmakes = \"{makes}\"\nof = \"{of}\"\n{change}\n[nodes.{name}]\n{reader}\n"
        ));
    }
    desk.run("networks, scores and the like", &text);
    desk.check("damaged_artifacts");
}

#[test]
fn weights_of_others() {
    let mut desk = Desk::new();
    let file = |desk: &Desk, name: &str, backbone: &BackboneSettings, (side, c): (usize, usize), without: &str| {
        // Positions that are not of a square of patches.
        let w = if name == "positions" { side / 2 } else { side };
        let image = MapShape { h: side, w, c };
        let mut encoder = backbone.build(image, &Stream::new(1, "test")).expect("valid");
        let mut state = StateDict::of(&mut encoder, "");
        state
            .tensors
            .retain(|tensor, _| without.is_empty() || !tensor.contains(without));
        if name == "surplus" {
            let extra = Tensor {
                shape: vec![1],
                data: vec![0.0],
            };
            state.tensors.insert("extra".into(), extra);
        }
        desk.write(&format!("{name}.safetensors"), state.to_bytes());
    };
    let vit = |patch, dim| BackboneSettings {
        patch: Some(patch),
        dim: Some(dim),
        depth: Some(1),
        heads: Some(2),
        ..BackboneSettings::named("vit")
    };
    let resnet = |stem| BackboneSettings {
        widths: vec![8, 8, 8, 8],
        stem,
        ..BackboneSettings::named("resnet18")
    };
    file(&desk, "stem", &resnet(Stem::Imagenet), (16, 3), "");
    file(&desk, "small", &resnet(Stem::Small), (16, 3), "");
    file(&desk, "missing", &resnet(Stem::Small), (16, 3), "layer4");
    file(&desk, "surplus", &resnet(Stem::Small), (16, 3), "");
    file(&desk, "gray", &resnet(Stem::Small), (16, 1), "");
    file(&desk, "patch", &vit(8, 8), (16, 3), "");
    file(&desk, "dim", &vit(4, 16), (16, 3), "");
    file(&desk, "positions", &vit(4, 8), (16, 3), "");
    desk.write("pickle.safetensors", "PK\x03\x04");
    desk.write("none.safetensors", "none");
    let ours = "{ name = \"resnet18\", widths = [8, 8, 8, 8] }";
    let imagenet = "{ name = \"resnet18\", widths = [8, 8, 8, 8], stem = \"imagenet\" }";
    let vit = "{ name = \"vit\", patch = 4, dim = 8, depth = 1, heads = 2 }";
    let mut text =
        "[nodes.images]\nkind = \"dataset\"\nsource = \"scenes\"\ntrain = 40\ntest = 3\nside = 16\n".to_owned();
    for (name, backbone) in [
        ("stem", ours),
        ("small", imagenet),
        ("missing", ours),
        ("surplus", ours),
        ("gray", ours),
        ("patch", vit),
        ("dim", vit),
        ("positions", vit),
        ("pickle", ours),
        ("none", ours),
    ] {
        text.push_str(&format!(
            "[nodes.{name}]\nkind = \"finetune\"\ndata = [\"images\"]\ninit = {{ file = \"{name}.safetensors\" }}\nbackbone = {backbone}\nsteps = 1\nbatch = 8\nlr = 0.1\n"
        ));
    }
    desk.run("files of weights", &text);
    desk.check("weights_of_others");
}

/// What is said of networks that are exported.
#[test]
fn exports() {
    let mut desk = Desk::new();
    desk.write("texts.tsv", "good\tfine\nbad\tpoor\n".repeat(8));
    let backbones = [
        ("small", "name = \"resnet18\", widths = [4, 4, 4, 4], grid = 2"),
        (
            "imagenet",
            "name = \"resnet18\", widths = [4, 4, 4, 4], stem = \"imagenet\"",
        ),
        ("own", "name = \"conv3\", widths = [4, 4, 4]"),
        (
            "token",
            "name = \"vit\", patch = 4, dim = 8, depth = 1, heads = 2, pool = \"token\"",
        ),
        (
            "mean",
            "name = \"vit\", patch = 4, dim = 8, depth = 1, heads = 2, pool = \"mean\", grid = 2",
        ),
        (
            "whole",
            "name = \"vit\", patch = 4, dim = 8, depth = 1, heads = 2, pool = \"mean\", grid = 1",
        ),
        (
            "gray",
            "name = \"resnet18\", widths = [4, 4, 4, 4], stem = \"imagenet\"",
        ),
    ];
    let mut text = "[nodes.images]\nkind = \"dataset\"\nsource = \"scenes\"\ntrain = 40\ntest = 3\nside = 16\n[nodes.texts]\nkind = \"dataset\"\nsource = \"text\"\npath = \"texts.tsv\"\nlength = 8\n[nodes.simclr]\nkind = \"pretext\"\nmethod = \"simclr\"\n[nodes.weak]\nkind = \"augment\"\nrecipe = \"weak\"\n[nodes.encoder]\nkind = \"pretrain\"\ndata = \"images\"\nviews = \"weak\"\ntask = \"simclr\"\nbackbone = { name = \"resnet18\", widths = [4, 4, 4, 4] }\nepochs = 1\nbatch = 8\nlr = 0.1\n[nodes.words]\nkind = \"finetune\"\ndata = [\"texts\"]\nbackbone = { name = \"transformer\", dim = 8, depth = 1, heads = 2 }\nsteps = 1\nbatch = 4\nlr = 0.1\n".to_owned();
    text.push_str("[nodes.garments]\nkind = \"dataset\"\nsource = \"fashion-mnist-sample\"\ntrain = 40\n");
    for (name, backbone) in backbones {
        let data = if name == "gray" { "garments" } else { "images" };
        text.push_str(&format!(
            "[nodes.{name}]\nkind = \"finetune\"\ndata = [\"{data}\"]\nbackbone = {{ {backbone} }}\nsteps = 1\nbatch = 8\nlr = 0.1\n"
        ));
    }
    let outcome = desk
        .ran(&text, &mut Vec::new())
        .unwrap_or_else(|e| panic!("{}", super::in_lines(&e)));
    assert_eq!(outcome.failures, []);
    let store = flow_cache::Store::open(&desk.path("cache"), flow_cache::Access::ReadWrite).expect("a store");
    for node in outcome
        .nodes
        .iter()
        .filter(|node| ["finetune", "pretrain", "dataset"].contains(&&*node.kind))
    {
        let artifact = store.peek(&node.key.expect("done")).expect("readable").expect("there");
        let said = match flow_nodes::torch_weights(&artifact) {
            Ok(weights) => format!("{}{}", weights.usage, weights.notes.join("\n")),
            Err(error) => super::failed(&error),
        };
        desk.say(&format!("{} to torch", node.name), said);
        for preprocessing in [false, true] {
            let said = match flow_nodes::onnx_model(&artifact, preprocessing) {
                Ok(model) => model.notes.join("\n"),
                Err(error) => super::failed(&error),
            };
            desk.say(&format!("{} to ONNX", node.name), said);
        }
    }
    desk.check("exports");
}
