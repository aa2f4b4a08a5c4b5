//! Data sets' parts, recipes, pretexts, and all that trains: what is wrong before anything runs.

use super::Desk;
use super::sources::{npy, npz};

/// Images, texts and parts of them.
const DATA: &str = r#"
[nodes.images]
kind = "dataset"
source = "scenes"
train = 48
test = 12
side = 16

[nodes.larger]
kind = "dataset"
source = "scenes"
train = 48
test = 12
side = 24

[nodes.texts]
kind = "dataset"
source = "text"
path = "texts.tsv"
length = 8

[nodes.other_texts]
kind = "dataset"
source = "text"
path = "other.tsv"
length = 8

[nodes.labelled]
kind = "dataset"
from = "images"
labels = 16

[nodes.two_classes]
kind = "dataset"
from = "images"
classes = ["circle", "square"]
labels = 16

[nodes.other_order]
kind = "dataset"
from = "images"
classes = ["square", "circle"]
labels = 16

[nodes.guesses]
kind = "pseudo-label"
teacher = "scratch"
data = "images"

[nodes.weak]
kind = "augment"
recipe = "weak"

[nodes.mixing]
kind = "augment"
ops = [{ op = "mixup", alpha = 0.2 }]

[nodes.local]
kind = "augment"
ops = [{ op = "multi_crop" }]

[nodes.simclr]
kind = "pretext"
method = "simclr"

[nodes.encoder]
kind = "pretrain"
data = "images"
views = "weak"
task = "simclr"
backbone = { name = "conv3" }
epochs = 1
batch = 8
lr = 0.1

[nodes.scratch]
kind = "finetune"
data = ["labelled"]
backbone = { name = "conv3" }
steps = 4
batch = 8
lr = 0.1

[nodes.masks]
kind = "finetune"
task = "segment"
data = ["labelled"]
backbone = { name = "conv3" }
steps = 4
batch = 8
lr = 0.1
"#;

/// A node of each name with these lines, besides those that all of them have.
pub(super) fn nodes(kind: &str, common: &str, cases: &[(&str, &str)]) -> String {
    let nodes = cases.iter().map(|(name, lines)| {
        let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
        let own: Vec<String> = lines.lines().map(key).collect();
        let common: String = common
            .lines()
            .filter(|line| !own.contains(&key(line)))
            .map(|line| format!("{line}\n"))
            .collect();
        format!("[nodes.{name}]\nkind = \"{kind}\"\n{lines}\n{common}")
    });
    DATA.to_owned() + &nodes.collect::<String>()
}

pub(super) fn desk() -> Desk {
    let desk = Desk::new();
    let texts = |words: [&str; 2]| -> String {
        (0..24)
            .map(|i| format!("{}\t{} number {i}\n", ["good", "bad"][i % 2], words[i % 2]))
            .collect()
    };
    desk.write("texts.tsv", texts(["fine", "poor"]));
    desk.write("other.tsv", texts(["great", "awful"]));
    desk
}

#[test]
fn parts_of_data_sets() {
    let mut desk = desk();
    let cases = [
        ("nothing_asked", ""),
        ("of_guesses", "from = \"guesses\"\nlabels = 10"),
        ("others_of_nothing", "labels = 10\nothers = \"unlabelled\""),
        ("imbalance_of_nothing", "classes = [0, 1]\nimbalance = 10.0"),
        ("imbalance_below_one", "labels = 10\nimbalance = 0.5"),
        ("too_many", "labels = 49"),
        ("too_many_of_labelled", "from = \"labelled\"\nlabels = 17"),
        ("too_few", "labels = 1"),
        ("one_class", "classes = [1]"),
        ("unknown_class", "classes = [\"circle\", \"squre\"]"),
        ("unknown_number", "classes = [0, 99]"),
        ("twice", "classes = [0, \"circle\"]"),
    ];
    desk.plan("parts", &nodes("dataset", "from = \"images\"", &cases));
    desk.check("parts_of_data_sets");
}

#[test]
fn recipes() {
    let mut desk = desk();
    let cases = [
        ("none", ""),
        ("both", "recipe = \"weak\"\nops = []"),
        ("unknown", "recipe = \"strng\""),
        ("of_texts", "recipe = \"weak\"\ndata = \"texts\""),
        ("colours_of_gray", "recipe = \"simclr\"\ndata = \"gray\""),
        (
            "no_crop",
            "ops = [{ op = \"shift\", pixels = 2000 }]\ndata = \"images\"",
        ),
        (
            "scale",
            "ops = [{ op = \"random_resized_crop\", scale = [0.5, 0.2], ratio = [0.75, 1.33] }]\ndata = \"images\"",
        ),
        (
            "ratio",
            "ops = [{ op = \"random_resized_crop\", scale = [0.2, 1.0], ratio = [2.0, 1.33] }]\ndata = \"images\"",
        ),
        (
            "flip",
            "ops = [{ op = \"horizontal_flip\", p = 1.5 }]\ndata = \"images\"",
        ),
        (
            "blur",
            "ops = [{ op = \"gaussian_blur\", p = 0.5, sigma = [0.0, 2.0] }]\ndata = \"images\"",
        ),
        ("mixup", "ops = [{ op = \"mixup\", alpha = 0.0 }]\ndata = \"images\""),
        (
            "degrees",
            "ops = [{ op = \"rotate\", p = 0.5, degrees = -1.0 }]\ndata = \"images\"",
        ),
        (
            "bits",
            "ops = [{ op = \"posterize\", p = 0.5, bits = 9 }]\ndata = \"images\"",
        ),
        (
            "magnitude",
            "ops = [{ op = \"rand_augment\", count = 2, magnitude = [0.5, 0.2] }]\ndata = \"images\"",
        ),
        (
            "cutout",
            "ops = [{ op = \"cutout\", p = 1.0, size = [-1.0, 0.5] }]\ndata = \"images\"",
        ),
    ];
    let gray = "\n[nodes.gray]\nkind = \"dataset\"\nsource = \"fashion-mnist-sample\"\n";
    desk.plan("augment", &(nodes("augment", "", &cases) + gray));
    desk.plan("concat", &nodes("concat", "", &[("nothing", "")]));
    desk.check("recipes");
}

#[test]
fn budgets() {
    let mut desk = desk();
    let common = "data = [\"labelled\"]\nbackbone = { name = \"conv3\" }\nbatch = 8\nlr = 0.1";
    let written = [
        ("both_parts", "budget = { of = 100, share = 0.5, rest = true }"),
        ("share", "budget = { of = 100, share = 1.5 }"),
        ("stop", "budget = { of = 100, share = 0.5, stop = 2 }"),
        ("text", "budget = \"much\""),
    ];
    desk.plan("as they are written", &nodes("finetune", common, &written));
    let init = "init = \"encoder\"\n";
    let more = |lines: &str| format!("{init}{lines}");
    let without = "data = [\"labelled\"]\nbatch = 8\nlr = 0.1";
    let nothing_left = more("budget = { of = 60, rest = true }");
    let small = more("budget = 3");
    let unknown = "init = \"unknown_cost\"\nbudget = { of = 1000, rest = true }";
    let cases = [
        ("nothing_left", nothing_left.as_str()),
        ("less_than_a_step", small.as_str()),
        ("not_known", unknown),
    ];
    let made = "\n[nodes.unknown_cost]\nkind = \"pretrain\"\ndata = \"unknown\"\ntask = \"simclr\"\nbackbone = { name = \"conv3\" }\nepochs = 1\nbatch = 8\nlr = 0.1\n[nodes.unknown]\nkind = \"made\"\nmakes = \"dataset\"\n";
    desk.plan("what is left", &(nodes("finetune", without, &cases) + made));
    desk.check("budgets");
}

#[test]
fn classifiers() {
    let mut desk = desk();
    let common = "data = [\"labelled\"]\nbackbone = { name = \"conv3\" }\nsteps = 4\nbatch = 8\nlr = 0.1";
    let cases = [
        ("two_lengths", "budget = 100"),
        ("no_steps", "steps = 0"),
        ("batch", "batch = 0"),
        ("rate", "lr = -1.0"),
        ("smoothing", "label_smoothing = 1.0"),
        ("warm_up", "warmup_steps = 5"),
        ("share", "labelled_share = 1.5"),
        ("momentum", "optimizer = { name = \"sgd\", momentum = -0.1 }"),
        (
            "nesterov",
            "optimizer = { name = \"sgd\", momentum = 0.0, nesterov = true }",
        ),
        ("three_sets", "data = [\"labelled\", \"guesses\", \"guesses\"]"),
        ("weighs_nothing", "pseudo_loss = { weight = 1.0 }"),
        ("unlabelled_of_nothing", "unlabelled = \"images\""),
        ("strong_of_nothing", "strong = \"weak\""),
        ("semi_of_nothing", "semi = { method = \"fixmatch\" }"),
        (
            "semi_without_strong",
            "semi = { method = \"fixmatch\" }\nunlabelled = \"images\"",
        ),
        (
            "semi_of_one_view",
            "semi = { method = \"pseudo-label\" }\nunlabelled = \"images\"\nstrong = \"weak\"",
        ),
        (
            "semi_frozen",
            "semi = { method = \"fixmatch\" }\nunlabelled = \"images\"\nstrong = \"weak\"\nfreeze = true",
        ),
        (
            "semi_and_guesses",
            "semi = { method = \"fixmatch\" }\nunlabelled = \"images\"\nstrong = \"weak\"\ndata = [\"labelled\", \"guesses\"]",
        ),
        (
            "semi_of_texts",
            "data = [\"texts\"]\nbackbone = { name = \"transformer\" }\nsemi = { method = \"fixmatch\" }\nunlabelled = \"texts\"\nstrong = \"weak\"",
        ),
        (
            "semi_of_others",
            "semi = { method = \"fixmatch\" }\nunlabelled = \"larger\"\nstrong = \"weak\"",
        ),
        (
            "threshold",
            "semi = { method = \"fixmatch\", threshold = 1.5 }\nunlabelled = \"images\"\nstrong = \"weak\"",
        ),
        ("frozen_scratch", "freeze = true"),
        ("kept_scratch", "keep_statistics = true"),
        ("own_backbone", "init = \"encoder\""),
        ("other_size", "data = [\"labelled\", \"larger\"]"),
        (
            "other_words",
            "data = [\"texts\", \"other_texts\"]\nbackbone = { name = \"transformer\" }",
        ),
        ("other_classes", "data = [\"two_classes\", \"labelled\"]"),
        ("another_order", "data = [\"two_classes\", \"other_order\"]"),
        (
            "views_of_texts",
            "data = [\"texts\"]\nbackbone = { name = \"transformer\" }\nviews = \"weak\"",
        ),
        (
            "strong_mixing",
            "semi = { method = \"fixmatch\" }\nunlabelled = \"images\"\nstrong = \"mixing\"",
        ),
        ("local_views", "views = \"local\""),
        ("one_class", "data = [\"one_class_set\"]"),
        ("one_stated_class", "data = [\"stated\"]"),
        ("device", "device = \"gpu\""),
        ("unknown_task", "task = \"segmnt\""),
        ("semi_task", "task = \"segment\"\nsemi = { method = \"fixmatch\" }"),
        ("no_masks", "task = \"segment\"\ndata = [\"garments\"]"),
        ("no_boxes", "task = \"detect\"\ndata = [\"garments\"]"),
    ];
    let none = [
        ("neither_start", "steps = 4"),
        ("neither_length", "backbone = { name = \"conv3\" }"),
    ];
    let file = [("file_alone", "init = { file = \"w.safetensors\" }\nsteps = 4")];
    desk.write("w.safetensors", "no weights");
    desk.write("one/cat/a.png", "never read: its header is asked for only when it is");
    let garments = "\n[nodes.garments]\nkind = \"dataset\"\nsource = \"fashion-mnist-sample\"\n[nodes.one_class_set]\nkind = \"dataset\"\nsource = \"text\"\npath = \"one.tsv\"\nlength = 8\n[nodes.stated]\nkind = \"command\"\nrun = [\"true\"]\nmakes = \"dataset\"\nclasses = [\"only\"]\nshape = [16, 16, 3]\n";
    desk.write("one.tsv", "good\tfine\n".repeat(8));
    let all = nodes("finetune", common, &cases) + garments;
    desk.plan("finetune", &all);
    let bare = "data = [\"labelled\"]\nbatch = 8\nlr = 0.1";
    desk.plan(
        "finetune without what it needs",
        &nodes("finetune", bare, &[none.as_slice(), &file].concat()),
    );
    desk.check("classifiers");
}

#[test]
fn pre_trainings() {
    let mut desk = desk();
    let common = "data = \"images\"\nviews = \"weak\"\ntask = \"simclr\"\nbackbone = { name = \"conv3\" }\nepochs = 1\nbatch = 8\nlr = 0.1";
    let cases = [
        ("two_lengths", "budget = 100"),
        ("less_than_a_step", "budget = 10\nepochs = "),
        ("warm_up", "warmup_epochs = 2"),
        ("batch", "batch = 100"),
        (
            "of_texts",
            "data = \"texts\"\nbackbone = { name = \"transformer\" }\nviews = \"nothing\"",
        ),
        ("views_of_texts", "data = \"texts\""),
        ("mixing_views", "views = \"mixing\""),
        ("local_views", "views = \"local\""),
        (
            "tiny_local_views",
            "views = \"tiny\"\nbackbone = { name = \"conv3\", grid = 2 }",
        ),
        ("other_size", "init = \"encoder\"\ndata = \"larger\""),
        (
            "large_step",
            "batch = 8\ndata = \"larger\"\nbackbone = { name = \"conv3\", widths = [60000, 60000, 60000] }",
        ),
        ("long", "epochs = 4000000000"),
        ("huge_step", "data = \"large\"\nbatch = 60000"),
        ("many_local_views", "data = \"large\"\nbatch = 60000\nviews = \"many\""),
    ];
    let nothing = "\n[nodes.many]\nkind = \"augment\"\nops = [{ op = \"multi_crop\", count = 16, size = 1.0 }]\n[nodes.tiny]\nkind = \"augment\"\nops = [{ op = \"multi_crop\", size = 0.2 }]\n[nodes.no_size]\nkind = \"augment\"\ndata = \"images\"\nops = [{ op = \"multi_crop\", size = 0.0 }]\n[nodes.twice]\nkind = \"augment\"\ndata = \"images\"\nops = [{ op = \"multi_crop\" }, { op = \"multi_crop\" }]\n[nodes.nothing]\nkind = \"augment\"\nops = []\n[nodes.huge]\nkind = \"dataset\"\nsource = \"scenes\"\ntrain = 10000000\ntest = 12\nside = 1024\n[nodes.large]\nkind = \"command\"\nrun = [\"true\"]\nmakes = \"dataset\"\nclasses = [\"a\", \"b\"]\nshape = [4096, 4096, 3]\n";
    let all = nodes("pretrain", common, &cases).replace("epochs = \n", "") + nothing;
    desk.plan("pretrain", &all);
    let bare =
        "data = \"images\"\nviews = \"weak\"\ntask = \"simclr\"\nbackbone = { name = \"conv3\" }\nbatch = 8\nlr = 0.1";
    desk.plan(
        "pretrain without a length",
        &nodes("pretrain", bare, &[("no_length", "")]),
    );
    desk.check("pre_trainings");
}

#[test]
fn backbones() {
    let mut desk = desk();
    let common = "data = [\"labelled\"]\nsteps = 4\nbatch = 8\nlr = 0.1";
    let cases = [
        ("unknown", "name = \"resnet19\""),
        ("widths", "name = \"conv3\", widths = [8, 8]"),
        ("grid", "name = \"conv3\", grid = 9"),
        ("stem", "name = \"conv3\", stem = \"imagenet\""),
        ("modality", "name = \"transformer\""),
        ("dropout", "name = \"conv3\", dropout = 1.0"),
        ("drop_path", "name = \"conv3\", drop_path = 0.1"),
        ("no_transformer", "name = \"conv3\", dim = 8"),
        ("too_large", "name = \"conv3\", widths = [60000, 60000, 60000]"),
        (
            "convnext_grid",
            "name = \"convnext-tiny\", grid = 2, widths = [8, 8, 8, 8]",
        ),
        (
            "convnext_stem",
            "name = \"convnext-tiny\", stem = \"imagenet\", widths = [8, 8, 8, 8]",
        ),
        ("vit_widths", "name = \"vit\", widths = [8]"),
        ("vit_stem", "name = \"vit\", stem = \"imagenet\""),
        ("vit_patch", "name = \"vit\", patch = 5"),
        ("vit_token", "name = \"vit\", patch = 4, pool = \"token\", grid = 2"),
        ("vit_grid", "name = \"vit\", patch = 4, pool = \"mean\", grid = 9"),
        ("vit_heads", "name = \"vit\", patch = 4, dim = 10, heads = 3"),
        (
            "vit_hidden",
            "name = \"vit\", patch = 4, dim = 16, heads = 4, mlp_ratio = 1000000000.0",
        ),
        (
            "vit_no_hidden",
            "name = \"vit\", patch = 4, dim = 16, heads = 4, mlp_ratio = 0.0",
        ),
    ];
    let mut all = cases
        .map(|(name, backbone)| (name, format!("backbone = {{ {backbone} }}")))
        .to_vec();
    all.push((
        "text_patch",
        "data = [\"texts\"]\nbackbone = { name = \"transformer\", patch = 4 }".to_owned(),
    ));
    all.push((
        "convnext_cells",
        "data = [\"big\"]\nbackbone = { name = \"convnext-tiny\", grid = 2, widths = [8, 8, 8, 8] }".to_owned(),
    ));
    all.push((
        "text_conv",
        "data = [\"texts\"]\nbackbone = { name = \"conv3\" }".to_owned(),
    ));
    for (name, backbone) in [
        ("segment_vit", "name = \"vit\", patch = 4"),
        ("segment_odd", "name = \"conv3\""),
    ] {
        let data = if name == "segment_odd" { "odd" } else { "labelled" };
        all.push((
            name,
            format!("task = \"segment\"\ndata = [\"{data}\"]\nbackbone = {{ {backbone} }}"),
        ));
    }
    for (name, backbone) in [
        ("detect_vit", "name = \"vit\", patch = 4"),
        ("detect_odd", "name = \"conv3\""),
    ] {
        let data = if name == "detect_odd" { "odd" } else { "labelled" };
        all.push((
            name,
            format!("task = \"detect\"\ndata = [\"{data}\"]\nbackbone = {{ {backbone} }}"),
        ));
    }
    let all: Vec<(&str, &str)> = all.iter().map(|(name, lines)| (*name, lines.as_str())).collect();
    let odd = "\n[nodes.odd]\nkind = \"dataset\"\nsource = \"scenes\"\ntrain = 48\ntest = 12\nside = 17\n[nodes.big]\nkind = \"dataset\"\nsource = \"scenes\"\ntrain = 48\ntest = 12\nside = 64\n";
    desk.plan("backbone", &(nodes("finetune", common, &all) + odd));
    desk.check("backbones");
}

/// Each with a data set for which it is wrong, where that matters.
#[test]
fn pretexts() {
    let mut desk = desk();
    let ranges = [
        ("temperature", "simclr", "temperature = 0"),
        ("momentum", "byol", "momentum = 1.5"),
        ("queue", "moco", "queue = 0"),
        ("permutations", "jigsaw", "permutations = 0"),
        ("teacher", "dino", "teacher_temperature = 0.5"),
        (
            "replaced",
            "masked-token",
            "replaced_by_mask = 0.9\nreplaced_at_random = 0.2",
        ),
    ];
    let tasks: Vec<(&str, String)> = ranges
        .map(|(name, method, lines)| (name, format!("method = \"{method}\"\n{lines}")))
        .to_vec();
    let tasks: Vec<(&str, &str)> = tasks.iter().map(|(name, lines)| (*name, lines.as_str())).collect();
    desk.plan("pretext", &nodes("pretext", "", &tasks));

    let gray = "\n[nodes.garments]\nkind = \"dataset\"\nsource = \"fashion-mnist-sample\"\n[nodes.gray]\nkind = \"dataset\"\nsource = \"scenes\"\ntrain = 48\ntest = 12\nside = 16\ncolour = \"gray\"\n[nodes.odd]\nkind = \"dataset\"\nsource = \"scenes\"\ntrain = 48\ntest = 12\nside = 17\n[nodes.tiny]\nkind = \"dataset\"\nsource = \"scenes\"\ntrain = 48\ntest = 12\nside = 8\n[nodes.wide]\nkind = \"dataset\"\nsource = \"npz\"\npath = \"wide.npz\"\n";
    let labels = npy("|u1", "(48,)", &[0, 1].repeat(24));
    desk.write(
        "wide.npz",
        npz(&[("x", npy("|u1", "(48, 16, 8, 3)", &vec![0; 48 * 384])), ("y", labels)]),
    );
    let uses = [
        ("colours", "colorization", "", "gray", ""),
        ("colours_odd", "colorization", "", "odd", ""),
        ("odd_in", "inpainting", "", "odd", ""),
        ("odd_auto", "autoencoder", "", "odd", ""),
        ("mae_conv", "mae", "", "images", ""),
        (
            "mae_share",
            "mae",
            "mask = 0.01",
            "images",
            "name = \"vit\", patch = 4, dim = 16, depth = 1, heads = 2",
        ),
        (
            "mae_heads",
            "mae",
            "decoder_dim = 10\ndecoder_heads = 3",
            "images",
            "name = \"vit\", patch = 4, dim = 16, depth = 1, heads = 2",
        ),
        (
            "tiles_vit",
            "jigsaw",
            "",
            "images",
            "name = \"vit\", patch = 4, dim = 16, depth = 1, heads = 2",
        ),
        ("tiles_small", "jigsaw", "grid = 3", "tiny", ""),
        ("rotated", "rotation", "", "wide", ""),
        ("scan", "scan", "", "images", ""),
        ("moco_queue", "moco", "queue = 12", "images", ""),
        ("swav_queue", "swav", "queue = 12", "images", ""),
        ("pirl", "pirl", "negatives = 1000", "images", ""),
        ("clusters", "deep-cluster", "components = 10000", "images", ""),
        ("sela", "sela", "clusters = 1000", "images", ""),
        ("colours_of_gray", "colorization", "", "garments", ""),
        ("token_images", "masked-token", "", "images", ""),
        ("rotation_texts", "rotation", "", "texts", "name = \"transformer\""),
    ];
    let mut text = DATA.to_owned() + gray;
    for (name, method, lines, data, backbone) in uses {
        let backbone = if backbone.is_empty() {
            "name = \"conv3\""
        } else {
            backbone
        };
        text.push_str(&format!(
            "[nodes.task_{name}]\nkind = \"pretext\"\nmethod = \"{method}\"\n{lines}\n[nodes.{name}]\nkind = \"pretrain\"\ndata = \"{data}\"\ntask = \"task_{name}\"\nbackbone = {{ {backbone} }}\nepochs = 1\nbatch = 8\nlr = 0.1\n"
        ));
    }
    desk.plan("pretrain", &text);
    desk.check("pretexts");
}

#[test]
fn guesses() {
    let mut desk = desk();
    let common = "teacher = \"scratch\"\ndata = \"images\"";
    let cases = [
        ("threshold", "threshold = 1.0"),
        ("per_class", "per_class = 0"),
        ("temperature", "soft = true\ntemperature = 0.0"),
        ("hard_temperature", "temperature = 2.0"),
        ("other_except", "except = \"larger\""),
        ("other_task", "task = \"segment\""),
        (
            "masks_per_class",
            "task = \"segment\"\nteacher = \"masks\"\nper_class = 3",
        ),
        ("other_classes", "data = \"two_classes\""),
        ("other_size", "data = \"larger\""),
    ];
    desk.plan("pseudo-label", &nodes("pseudo-label", common, &cases));
    desk.check("guesses");
}
