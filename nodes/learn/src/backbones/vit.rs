//! Vision transformer (Dosovitskiy et al. 2020, 2010.11929) with timm's parameter names: an image is cut into patches, each becomes
//! a token, and a class token is put before them.
//!
//! `z = transformer([class; patches E] + positions)`; the features are the class token of `z` or the mean of the others, which a
//! `grid` takes over each of its cells, as in a convolutional network. Positions are learnt, so the size of the images is part
//! of the network. [`VisionTransformer::forward_visible`] is the door for methods that show it some patches only.

use rayon::prelude::*;

use super::{BackboneError, BackboneSettings, Pool, Stem, stack};
use crate::layers::{
    Attribute, Entry, FeatureMap, Graph, GridPool, Layer, Layout, MapShape, NoGraph, Parameter, Pass, Role, Tensors,
    TokenLinear, Transformer, TransformerShape, Value, as_int, join,
};
use crate::rng::Stream;
use crate::settings::SettingError;

/// The name written in workflows.
pub(super) const NAME: &str = "vit";

/// Sizes for images of some 32 pixels, about a tenth of a ViT-Ti's work: patches of 4, six blocks of 128 with 4 heads.
const PATCH: usize = 4;
const SIZES: stack::Defaults = stack::Defaults { dim: 128, depth: 6 };

/// A vision transformer's sizes, with defaults filled in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VitShape {
    /// Height and width of a patch.
    pub patch: usize,
    /// Blocks, heads and widths.
    pub transformer: TransformerShape,
    /// The MLP's hidden width as a multiple of `dim`.
    pub mlp_ratio: f32,
    /// What becomes of the tokens.
    pub pool: Pool,
    /// Cells per side over which [`Pool::Mean`] averages the patches' tokens; 1 is all of them.
    pub grid: usize,
}

impl VitShape {
    /// The declared sizes.
    ///
    /// # Errors
    /// If they do not fit each other or the images, or a convolutional backbone's setting is given.
    pub fn new(settings: &BackboneSettings, image: MapShape) -> Result<Self, BackboneError> {
        let refuse = |key, message: String| Err(SettingError::new(key, message).into());
        if !settings.widths.is_empty() {
            return refuse(
                "widths",
                format!("`{NAME}` has no stages: its width is `dim`, its blocks are `depth`"),
            );
        }
        if settings.stem != Stem::Small {
            return refuse(
                "stem",
                format!("`{NAME}` has no stem: it cuts images into patches of `patch` pixels"),
            );
        }
        let patch = settings.patch.unwrap_or(PATCH);
        let MapShape { h, w, .. } = image;
        let divides = |patch: &usize| h.is_multiple_of(*patch) && w.is_multiple_of(*patch);
        if patch == 0 || !divides(&patch) {
            let possible = (1..=h.min(w)).filter(divides).map(|p| p.to_string());
            let possible = possible.collect::<Vec<_>>().join(", ");
            return refuse(
                "patch",
                format!("{patch} found, expected a divisor of {h}x{w} images: one of {possible}"),
            );
        }
        let (grid, pool) = (settings.grid, settings.pool.unwrap_or_default());
        if pool == Pool::Token && grid != 1 {
            return refuse(
                "grid",
                "the class token has no cells, expected `pool = \"mean\"` with it".to_owned(),
            );
        }
        let (down, across) = (h / patch, w / patch);
        if grid == 0 || grid > down.min(across) {
            return refuse(
                "grid",
                format!(
                    "{grid} found, expected between 1 and {}: there are {down}x{across} patches",
                    down.min(across)
                ),
            );
        }
        Ok(Self {
            patch,
            transformer: stack::sizes(settings, SIZES)?,
            mlp_ratio: settings.mlp_ratio.unwrap_or(stack::MLP_RATIO),
            pool,
            grid,
        })
    }
}

/// Some patches of every image of a batch: `[n][each]` places in the grid of patches, row by row from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visible {
    /// The places.
    pub places: Vec<u32>,
    /// How many of each image.
    pub each: usize,
}

/// Patches to tokens and tokens to features.
pub struct VisionTransformer {
    shape: VitShape,
    image: MapShape,
    cls_token: Parameter,
    pos_embed: Parameter,
    patch_embed: TokenLinear,
    transformer: Transformer,
}

/// What backward needs of the tokens' making.
struct Tokens {
    n: usize,
    visible: Option<Visible>,
}

impl VisionTransformer {
    /// Fresh weights as timm's: normal with deviation .02, biases of zero, a class token of almost zero; the patches' layer as
    /// PyTorch's convolutions.
    pub(super) fn new(shape: VitShape, image: MapShape, stream: &mut Stream) -> Self {
        let dim = shape.transformer.dim;
        let inputs = shape.patch * shape.patch * image.c;
        let patches = (image.h / shape.patch) * (image.w / shape.patch);
        let bound = 1.0 / (inputs as f32).sqrt();
        let weight = Parameter::uniform(inputs * dim, bound, stream);
        let bias = Parameter::uniform(dim, bound, stream);
        Self {
            shape,
            image,
            cls_token: Parameter::normal(dim, 1e-6, stream),
            pos_embed: Parameter::normal((1 + patches) * dim, 0.02, stream),
            patch_embed: TokenLinear::new(inputs, dim, weight, Some(bias)),
            transformer: Transformer::new(&shape.transformer, stream),
        }
    }

    /// Its sizes.
    pub fn shape(&self) -> &VitShape {
        &self.shape
    }

    /// Patches of an image, row by row.
    pub fn patches(&self) -> usize {
        let MapShape { h, w, .. } = self.token_map();
        h * w
    }

    /// Rows and columns of patches.
    pub fn grid(&self) -> (usize, usize) {
        let MapShape { h, w, .. } = self.token_map();
        (h, w)
    }

    /// The map of its patches' tokens.
    fn token_map(&self) -> MapShape {
        MapShape {
            h: self.image.h / self.shape.patch,
            w: self.image.w / self.shape.patch,
            c: self.shape.transformer.dim,
        }
    }

    /// The mean of the patches' tokens over each cell.
    fn cells(&self) -> GridPool {
        GridPool { grid: self.shape.grid }
    }

    /// Patches side by side.
    pub fn across(&self) -> usize {
        self.token_map().w
    }

    /// Values of a patch, `[patch][patch][c]`.
    pub fn patch_len(&self) -> usize {
        self.patch_embed.inputs()
    }

    /// Images cut into patches, `[n][patches][patch][patch][c]`.
    pub fn cut(&self, x: &FeatureMap, pass: &Pass) -> FeatureMap {
        let shape = MapShape {
            h: self.patches(),
            w: 1,
            c: self.patch_len(),
        };
        let mut cut = pass.map(x.n, shape);
        let images = cut
            .data
            .par_chunks_mut(shape.len())
            .zip(x.data.par_chunks(x.shape.len()));
        images.for_each(|(cut, image)| {
            self.lines(|in_image, in_patches, run| {
                cut[in_patches..][..run].copy_from_slice(&image[in_image..][..run]);
            });
        });
        cut
    }

    /// The reverse of [`Self::cut`].
    pub fn paste(&self, cut: &FeatureMap, pass: &Pass) -> FeatureMap {
        let mut x = pass.map(cut.n, self.image);
        let images = x
            .data
            .par_chunks_mut(self.image.len())
            .zip(cut.data.par_chunks(cut.shape.len()));
        images.for_each(|(image, cut)| {
            self.lines(|in_image, in_patches, run| {
                image[in_image..][..run].copy_from_slice(&cut[in_patches..][..run]);
            });
        });
        x
    }

    /// Visits every line of every patch: where it lies in the image, where among the patches, and its length.
    fn lines(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let (patch, across, MapShape { w, c, .. }) = (self.shape.patch, self.across(), self.image);
        let run = patch * c;
        for at in 0..self.patches() {
            for y in 0..patch {
                let row = at / across * patch + y;
                visit(
                    (row * w + at % across * patch) * c,
                    at * self.patch_len() + y * run,
                    run,
                );
            }
        }
    }

    /// All tokens of the images, normalised, `[n][1 + patches][dim]`: the class token first.
    pub fn forward_tokens(&mut self, x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        let cut = self.cut(&x, pass);
        self.tokens(cut, None, pass)
    }

    /// The tokens of visible patches alone, normalised, `[n][1 + each][dim]`: the others are not computed at all. `patches` is
    /// what [`Self::cut`] gave.
    ///
    /// # Panics
    /// With `BUG:` if the places do not fit the batch.
    pub fn forward_visible(&mut self, patches: &FeatureMap, visible: Visible, pass: &mut Pass) -> FeatureMap {
        assert_eq!(
            visible.places.len(),
            patches.n * visible.each,
            "BUG: visible patches do not fit the batch"
        );
        let len = self.patch_len();
        let mut seen = pass.map(
            patches.n,
            MapShape {
                h: visible.each,
                w: 1,
                c: len,
            },
        );
        let images = patches.data.chunks_exact(patches.shape.len());
        let chosen = visible.places.chunks_exact(visible.each);
        let rows = images
            .zip(chosen)
            .flat_map(|(image, places)| places.iter().map(move |p| (image, *p as usize)));
        for (seen, (image, place)) in seen.data.chunks_exact_mut(len).zip(rows) {
            seen.copy_from_slice(&image[place * len..][..len]);
        }
        self.tokens(seen, Some(visible), pass)
    }

    fn tokens(&mut self, patches: FeatureMap, visible: Option<Visible>, pass: &mut Pass) -> FeatureMap {
        let (n, each, dim) = (patches.n, patches.shape.h, self.shape.transformer.dim);
        let embedded = self.patch_embed.forward(patches, pass);
        let map = MapShape {
            h: 1 + each,
            w: 1,
            c: dim,
        };
        let mut tokens = pass.map(n, map);
        let (class, positions) = (&self.cls_token.value[..], &self.pos_embed.value[..]);
        let images = tokens
            .data
            .par_chunks_mut(map.len())
            .zip(embedded.data.par_chunks(each * dim));
        images.enumerate().for_each(|(i, (tokens, embedded))| {
            let (first, others) = tokens.split_at_mut(dim);
            sum(class, &positions[..dim], first);
            let rows = others.chunks_exact_mut(dim).zip(embedded.chunks_exact(dim));
            for (at, (token, embedded)) in rows.enumerate() {
                sum(
                    embedded,
                    &positions[position(visible.as_ref(), i, at) * dim..][..dim],
                    token,
                );
            }
        });
        pass.push(Tokens { n, visible });
        self.transformer.forward(tokens, pass)
    }

    /// Takes back the gradient of what [`Self::forward_tokens`] or [`Self::forward_visible`] gave; what went in has one of
    /// its patches if `need_dx`.
    pub fn backward_tokens(&mut self, dy: FeatureMap, pass: &mut Pass, need_dx: bool) -> Option<FeatureMap> {
        let dtokens = self.transformer.backward(dy, pass, true)?;
        let Tokens { n, visible } = pass.pop();
        let (each, dim) = (dtokens.shape.h - 1, dtokens.shape.c);
        let mut dembedded = pass.map(n, MapShape { h: each, w: 1, c: dim });
        let (dclass, dpositions) = (&mut self.cls_token.grad[..], &mut self.pos_embed.grad[..]);
        let images = dtokens.data.chunks_exact(dtokens.shape.len());
        for (i, (d, dembedded)) in images.zip(dembedded.data.chunks_exact_mut(each * dim)).enumerate() {
            let (first, others) = d.split_at(dim);
            add(dclass, first);
            add(&mut dpositions[..dim], first);
            dembedded.copy_from_slice(others);
            for (at, d) in others.chunks_exact(dim).enumerate() {
                add(&mut dpositions[position(visible.as_ref(), i, at) * dim..][..dim], d);
            }
        }
        self.patch_embed.backward(dembedded, pass, need_dx)
    }
}

/// Which row of the positions belongs to token `at` of image `i`, the class token not counted.
fn position(visible: Option<&Visible>, i: usize, at: usize) -> usize {
    1 + visible.map_or(at, |v| v.places[i * v.each + at] as usize)
}

/// `to = a + b`.
fn sum(a: &[f32], b: &[f32], to: &mut [f32]) {
    to.iter_mut().zip(a.iter().zip(b)).for_each(|(to, (a, b))| *to = a + b);
}

/// `to += from`.
fn add(to: &mut [f32], from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
}

impl Layer for VisionTransformer {
    fn output_shape(&self, input: MapShape) -> MapShape {
        assert_eq!(input, self.image, "BUG: a vision transformer takes images of one size");
        MapShape::vector(self.shape.grid * self.shape.grid * self.shape.transformer.dim)
    }

    fn forward(&mut self, x: FeatureMap, pass: &mut Pass) -> FeatureMap {
        let (n, map, features) = (x.n, self.token_map(), self.output_shape(x.shape));
        let tokens = self.forward_tokens(x, pass);
        let images = tokens.data.chunks_exact(tokens.shape.len());
        match self.shape.pool {
            Pool::Token => {
                let mut y = pass.map(n, features);
                let rows = y.data.chunks_exact_mut(map.c).zip(images);
                rows.for_each(|(y, tokens)| y.copy_from_slice(&tokens[..map.c]));
                y
            }
            Pool::Mean => {
                let mut patches = pass.map(n, map);
                let rows = patches.data.chunks_exact_mut(map.len()).zip(images);
                rows.for_each(|(patches, tokens)| patches.copy_from_slice(&tokens[map.c..]));
                self.cells().forward(patches, pass)
            }
        }
    }

    fn backward(&mut self, dy: FeatureMap, pass: &mut Pass, need_dx: bool) -> Option<FeatureMap> {
        let (n, map) = (dy.n, self.token_map());
        let mut dtokens = pass.map(
            n,
            MapShape {
                h: 1 + self.patches(),
                w: 1,
                c: map.c,
            },
        );
        dtokens.data.fill(0.0);
        let images = dtokens.data.chunks_exact_mut(map.c + map.len());
        match self.shape.pool {
            Pool::Token => {
                let rows = images.zip(dy.data.chunks_exact(map.c));
                rows.for_each(|(dtokens, dy)| dtokens[..map.c].copy_from_slice(dy));
            }
            Pool::Mean => {
                let dpatches = self.cells().backward(dy, pass, true)?;
                let rows = images.zip(dpatches.data.chunks_exact(map.len()));
                rows.for_each(|(dtokens, dpatches)| dtokens[map.c..].copy_from_slice(dpatches));
            }
        }
        let dpatches = self.backward_tokens(dtokens, pass, need_dx)?;
        Some(self.paste(&dpatches, pass))
    }

    fn describe(&self, graph: &mut Graph, x: Value, _input: MapShape, prefix: &str) -> Result<Value, NoGraph> {
        let (map, patch) = (self.token_map(), as_int(self.shape.patch));
        let [dim, patches] = [map.c, self.patches()].map(as_int);
        let parts = [
            "patch_embed.proj.weight",
            "patch_embed.proj.bias",
            "cls_token",
            "pos_embed",
        ];
        let [weight, bias, class, positions] = parts.map(|name| graph.tensor(prefix, name));
        let cut = vec![
            ("kernel_shape", Attribute::Ints(vec![patch; 2])),
            ("strides", Attribute::Ints(vec![patch; 2])),
        ];
        let embedded = graph.apply_with("Conv", &[&x, &weight, &bias], cut);
        let embedded = graph.reshape(&embedded, &[0, dim, patches]);
        let embedded = graph.transpose(&embedded, &[0, 2, 1]);
        // One class token for each image of the batch.
        let sizes = graph.apply("Shape", &[&embedded]);
        let count = graph.slice(&sizes, 0, 0..1);
        let one = graph.ints(&[1, dim]);
        let shape = graph.apply_with("Concat", &[&count, &one], vec![("axis", Attribute::Int(0))]);
        let class = graph.apply("Expand", &[&class, &shape]);
        let tokens = graph.apply_with("Concat", &[&class, &embedded], vec![("axis", Attribute::Int(1))]);
        let tokens = graph.apply("Add", &[&tokens, &positions]);
        let each = MapShape {
            h: 1 + self.patches(),
            w: 1,
            c: map.c,
        };
        let tokens = self.transformer.describe(graph, tokens, each, prefix)?;
        match self.shape.pool {
            Pool::Token => {
                let class = graph.slice(&tokens, 1, 0..1);
                Ok(graph.reshape(&class, &[0, dim]))
            }
            Pool::Mean => {
                let tokens = graph.slice(&tokens, 1, 1..1 + self.patches());
                let maps = graph.transpose(&tokens, &[0, 2, 1]);
                let maps = graph.reshape(&maps, &[0, dim, as_int(map.h), as_int(map.w)]);
                self.cells().describe(graph, maps, map, "")
            }
        }
    }
}

impl Tensors for VisionTransformer {
    fn entries<'a>(&'a mut self, prefix: &str, out: &mut Vec<Entry<'a>>) {
        let (dim, tokens) = (self.shape.transformer.dim, 1 + self.patches());
        // Neither is decayed, as in timm.
        let plain = [
            ("cls_token", vec![1, 1, dim], &mut self.cls_token),
            ("pos_embed", vec![1, tokens, dim], &mut self.pos_embed),
        ];
        for (name, shape, parameter) in plain {
            let name = join(prefix, name);
            out.push(Entry::parameter(name, shape, Layout::Same, Role::Bias, parameter));
        }
        let first = out.len();
        self.patch_embed.entries(&join(prefix, "patch_embed.proj"), out);
        // There it is a convolution of the patch's size and stride; its rows lie as a convolution's do here.
        let (patch, c) = (self.shape.patch, self.image.c);
        for entry in out[first..].iter_mut().filter(|e| e.role == Role::Weight) {
            (entry.shape, entry.layout) = (vec![dim, c, patch, patch], Layout::HwInOut);
        }
        self.transformer.entries(prefix, out);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::layers::Mode;

    const IMAGE: MapShape = MapShape { h: 8, w: 12, c: 2 };

    fn small() -> BackboneSettings {
        BackboneSettings {
            dim: Some(12),
            depth: Some(1),
            heads: Some(3),
            ..BackboneSettings::named(NAME)
        }
    }

    fn vit() -> VisionTransformer {
        let shape = VitShape::new(&small(), IMAGE).expect("valid");
        VisionTransformer::new(shape, IMAGE, &mut Stream::new(1, "vit"))
    }

    fn images(n: usize) -> FeatureMap {
        let mut stream = Stream::new(2, "images");
        FeatureMap::new(
            n,
            IMAGE,
            (0..n * IMAGE.len()).map(|_| stream.normal()).collect::<Vec<_>>(),
        )
    }

    #[test]
    fn cutting_and_pasting_are_inverse_and_patches_lie_row_by_row() {
        let (vit, x) = (vit(), images(3));
        let pass = Pass::inference(&Arc::default());
        let cut = vit.cut(&x, &pass);
        assert_eq!((vit.patches(), vit.across(), cut.shape.c), (6, 3, 32));
        // The second line of the last patch begins at row 5, column 8.
        assert_eq!(cut.data[5 * 32 + 8], x.data[(5 * 12 + 8) * 2]);
        assert_eq!(vit.paste(&cut, &pass).data[..], x.data[..]);
    }

    #[test]
    fn seeing_all_patches_is_the_same_as_not_choosing() {
        let (mut vit, x) = (vit(), images(2));
        let mut pass = Pass::recording(Mode::Train, &Arc::default());
        let cut = vit.cut(&x, &pass);
        let visible = Visible {
            places: [0, 1, 2, 3, 4, 5].repeat(2),
            each: 6,
        };
        let chosen = vit.forward_visible(&cut, visible, &mut pass);
        let dchosen = vit.backward_tokens(chosen.clone(), &mut pass, true).expect("asked for");
        let all = vit.forward_tokens(x, &mut pass);
        let dall = vit.backward_tokens(all.clone(), &mut pass, true).expect("asked for");
        assert_eq!(all.data[..], chosen.data[..]);
        assert_eq!(dall.data[..], dchosen.data[..]);
    }

    #[test]
    fn hidden_patches_do_not_matter_and_positions_do() {
        let (mut vit, x) = (vit(), images(1));
        let pass = &mut Pass::inference(&Arc::default());
        let mut seen = |cut: &FeatureMap, places: &[u32]| {
            let (places, each) = (places.to_vec(), places.len());
            vit.forward_visible(cut, Visible { places, each }, pass).data.to_vec()
        };
        let other = &Pass::inference(&Arc::default());
        let cut = super::tests::vit().cut(&x, other);
        let mut changed = cut.clone();
        changed.data[..32].fill(9.0);
        assert_eq!(seen(&cut, &[1, 4]), seen(&changed, &[1, 4]));
        assert_ne!(seen(&cut, &[0, 4]), seen(&changed, &[0, 4]));
        // The same patch at another place is another token.
        changed.data.copy_within(4 * 32..5 * 32, 2 * 32);
        assert_ne!(seen(&changed, &[2]), seen(&changed, &[4]));
    }

    #[test]
    fn settings_that_make_no_sense_are_refused_at_their_key() {
        let refusal = |change: &dyn Fn(&mut BackboneSettings)| {
            let mut settings = small();
            change(&mut settings);
            let error = settings.build(IMAGE, &Stream::new(0, "test")).err();
            error.map(|e| e.to_string()).unwrap_or_default()
        };
        assert_eq!(
            refusal(&|s| s.heads = Some(5)),
            "`heads`: 5 found, expected a divisor of `dim`, which is 12"
        );
        assert_eq!(
            refusal(&|s| s.patch = Some(3)),
            "`patch`: 3 found, expected a divisor of 8x12 images: one of 1, 2, 4"
        );
        assert!(refusal(&|s| s.depth = Some(0)).contains("`depth`"));
        assert!(refusal(&|s| s.mlp_ratio = Some(0.0)).contains("`mlp_ratio`"));
        assert!(refusal(&|s| s.stem = Stem::Imagenet).contains("has no stem"));
        assert!(refusal(&|s| s.widths = vec![4]).contains("its width is `dim`"));
        assert_eq!(
            refusal(&|s| s.grid = 2),
            "`grid`: the class token has no cells, expected `pool = \"mean\"` with it"
        );
        assert_eq!(
            refusal(&|s| (s.pool, s.grid) = (Some(Pool::Mean), 3)),
            "`grid`: 3 found, expected between 1 and 2: there are 2x3 patches"
        );
        let convolutional = refusal(&|s| s.name = "conv3".into());
        assert_eq!(
            convolutional,
            "`dim`: `conv3` is not a transformer: `dim` is a setting of `vit`"
        );
    }
}
