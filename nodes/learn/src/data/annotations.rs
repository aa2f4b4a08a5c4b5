//! Where things are in images: boxes and masks.

use super::{Images, Label};

/// The value of a mask's pixel that is neither a class nor background: it counts nowhere.
pub const IGNORE: u8 = 255;

/// The most classes that a mask can tell apart: 0 is background and [`IGNORE`] nothing.
pub const MOST_MASK_CLASSES: usize = 254;

/// One thing in an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Object {
    /// Its class.
    pub class: u16,
    /// Left, top, right and bottom in pixels, right and bottom exclusive.
    pub bounds: [f32; 4],
    /// Pixels that it covers: what small, medium and large are told by.
    pub area: f32,
    /// Whether it is a region to leave out: a crowd that is not told apart, or a guess that is too unsure to learn from. What is found in it is
    /// neither right nor wrong.
    pub ignore: bool,
    /// How sure its class is, above 0 and at most 1: what is learnt of it; less than 1 of soft guesses only.
    pub sure: f32,
}

/// What is where in one image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Located {
    /// `[height][width]`: class plus one, 0 for background, [`IGNORE`] for neither; empty where there are no masks.
    pub mask: Vec<u8>,
    /// Of a soft guess, `[height][width][classes + 1]`: how probable background and each class are, in 255ths; empty where the mask says all.
    pub soft: Vec<u8>,
    /// The things that have a box.
    pub objects: Vec<Object>,
}

/// What is where in the images of a split.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Annotations {
    /// One channel of the same size, as [`Located::mask`].
    pub masks: Option<Images>,
    /// Of soft guesses, `classes + 1` channels, as [`Located::soft`].
    pub soft: Option<Images>,
    /// The things in each image; none at all where boxes are not known.
    pub objects: Option<Vec<Vec<Object>>>,
}

impl Annotations {
    /// Annotations of images of a height and width, each with its own.
    pub fn of([height, width]: [usize; 2], labels: &[Label], located: &[Located]) -> Self {
        let of = |part: fn(&Located) -> &Vec<u8>| {
            let pixels: Vec<u8> = located.iter().flat_map(part).copied().collect();
            let channels = pixels.len().div_ceil((located.len() * height * width).max(1));
            (channels > 0).then(|| {
                Images::partly_labelled(height, width, channels, pixels, labels.to_vec())
                    .expect("BUG: as much of each image")
            })
        };
        let objects = located.iter().map(|one| one.objects.clone()).collect();
        Self {
            masks: of(|one| &one.mask),
            soft: of(|one| &one.soft),
            objects: Some(objects),
        }
    }

    /// Only those of the images at `indices`, in that order.
    #[must_use]
    pub fn select(&self, indices: &[u32]) -> Self {
        let of = |all: &Vec<Vec<Object>>| indices.iter().map(|i| all[*i as usize].clone()).collect();
        Self {
            masks: self.masks.as_ref().map(|masks| masks.select(indices)),
            soft: self.soft.as_ref().map(|soft| soft.select(indices)),
            objects: self.objects.as_ref().map(of),
        }
    }

    /// Those of one image.
    pub fn get(&self, index: usize) -> Located {
        let of = |part: &Option<Images>| {
            part.as_ref()
                .map_or_else(Vec::new, |part| part.pixels_of(index).to_vec())
        };
        Located {
            mask: of(&self.masks),
            soft: of(&self.soft),
            objects: self.objects.as_ref().map(|all| all[index].clone()).unwrap_or_default(),
        }
    }

    /// The same with other classes, `new` of the old one; what has no new class is background.
    #[must_use]
    pub fn with_classes(mut self, new: impl Fn(u16) -> Option<u16>) -> Self {
        if let Some(masks) = &mut self.masks {
            let mapped = |pixel: &u8| match pixel {
                0 | &IGNORE => *pixel,
                class => new(u16::from(*class) - 1).map_or(0, |new| new as u8 + 1),
            };
            *masks = masks.with_pixels(1, masks.pixels().iter().map(mapped).collect());
        }
        if let Some(soft) = &mut self.soft {
            // Background first, in both.
            let places: Vec<usize> = std::iter::once(0)
                .chain((1..soft.channels as u16).map(|class| new(class - 1).map_or(0, |new| usize::from(new) + 1)))
                .collect();
            let channels = places.iter().max().map_or(1, |last| last + 1);
            let row = |old: &[u8]| {
                let mut row = vec![0u8; channels];
                for (place, value) in places.iter().zip(old) {
                    row[*place] = row[*place].saturating_add(*value);
                }
                row
            };
            *soft = soft.with_pixels(
                channels,
                soft.pixels().chunks_exact(soft.channels).flat_map(row).collect(),
            );
        }
        for objects in self.objects.iter_mut().flatten() {
            objects.retain_mut(|object| {
                let class = new(object.class);
                object.class = class.unwrap_or_default();
                class.is_some()
            });
        }
        self
    }

    /// What of them does not go with `n` images of a height and width and so many classes.
    pub fn fault(&self, n: usize, [height, width]: [usize; 2], classes: usize) -> Option<String> {
        if let Some(masks) = &self.masks {
            if (masks.n, masks.height, masks.width, masks.channels) != (n, height, width, 1) {
                let found = format!("{} masks of {}x{}", masks.n, masks.height, masks.width);
                return Some(format!("{found} found, expected {n} of {height}x{width}"));
            }
            let known = |pixel: &u8| usize::from(*pixel) <= classes || *pixel == IGNORE;
            let unknown = |image: usize| masks.pixels_of(image).iter().find(|pixel| !known(pixel));
            if let Some((image, value)) = (0..n).find_map(|image| Some((image, unknown(image)?))) {
                return Some(format!(
                    "the mask of image {image} has the value {value}, which is no class"
                ));
            }
        }
        if let Some(soft) = &self.soft
            && (soft.n, soft.height, soft.width, soft.channels) != (n, height, width, classes + 1)
        {
            let found = format!(
                "soft masks of {} classes and {}x{} pixels of {} images",
                soft.channels, soft.height, soft.width, soft.n
            );
            let expected = classes + 1;
            return Some(format!("{found} found, expected {expected} of {height}x{width} of {n}"));
        }
        let objects = self.objects.as_ref()?;
        if objects.len() != n {
            return Some(format!("boxes of {} images found, expected {n}", objects.len()));
        }
        let wrong = |object: &Object| {
            let [left, top, right, bottom] = object.bounds;
            let inside = left >= 0.0 && top >= 0.0 && right <= width as f32 && bottom <= height as f32;
            !(inside && left < right && top < bottom) || usize::from(object.class) >= classes
        };
        let found = objects
            .iter()
            .enumerate()
            .find_map(|(i, all)| Some((i, all.iter().find(|one| wrong(one))?)));
        found.map(|(image, object)| {
            format!(
                "image {image} has the box {:?} of class {}, which is outside of the image, empty, or of an unknown class",
                object.bounds, object.class
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soft_guesses_of_classes_that_are_left_out_are_of_background() {
        let located = Located {
            mask: vec![1, 2],
            soft: vec![5, 200, 50, 10, 45, 200],
            objects: Vec::new(),
        };
        let all = Annotations::of([1, 2], &[None], &[located]);
        assert_eq!(all.fault(1, [1, 2], 2), None);
        // The first class goes, the second is the only one.
        let kept = all.with_classes(|class| class.checked_sub(1));
        assert_eq!(kept.fault(1, [1, 2], 1), None);
        let kept = kept.get(0);
        assert_eq!((kept.mask, kept.soft), (vec![0, 1], vec![205, 50, 55, 200]));
    }

    #[test]
    #[should_panic(expected = "BUG: as much of each image")]
    fn masks_of_some_images_only_are_not_dropped_in_silence() {
        let with = Located {
            mask: vec![1, 2],
            ..Located::default()
        };
        Annotations::of([1, 2], &[None, None], &[with, Located::default()]);
    }
}
