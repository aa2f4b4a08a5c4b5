//! How an element looks: by its attributes, and by the rules of a sheet, of which later ones win.

use roxmltree::Node;

use super::{Colour, Pen, numbers};

/// Where a text begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// How an element looks.
#[derive(Clone, Debug)]
pub(super) struct Look {
    /// What `currentColor` is; the only property that a group hands down.
    current: [f32; 3],
    fill: Option<[f32; 3]>,
    stroke: Option<[f32; 3]>,
    width: f32,
    dashes: Vec<f32>,
    round: bool,
    opacity: f32,
    fill_opacity: f32,
    pub(super) size: f32,
    pub(super) bold: bool,
    pub(super) anchor: Anchor,
}

impl Default for Look {
    fn default() -> Self {
        Self {
            current: [0.0; 3],
            fill: Some([0.0; 3]),
            stroke: None,
            width: 1.0,
            dashes: Vec::new(),
            round: false,
            opacity: 1.0,
            fill_opacity: 1.0,
            size: 13.0,
            bold: false,
            anchor: Anchor::Start,
        }
    }
}

impl Look {
    /// What it is filled with, if it is.
    pub(super) fn fill(&self) -> Option<Colour> {
        let [red, green, blue] = self.fill?;
        Some(Colour([red, green, blue, self.opacity * self.fill_opacity]))
    }

    /// How its outline is drawn, if it is.
    pub(super) fn stroke(&self) -> Option<(Pen, Colour)> {
        let [red, green, blue] = self.stroke?;
        let pen = Pen {
            width: self.width,
            dashes: self.dashes.clone(),
            round: self.round,
        };
        Some((pen, Colour([red, green, blue, self.opacity])))
    }

    fn set(&mut self, name: &str, value: &str) {
        let first = numbers(value).first().copied();
        match name {
            "color" => self.current = colour(value, self.current).unwrap_or(self.current),
            "fill" => self.fill = colour(value, self.current),
            "stroke" => self.stroke = colour(value, self.current),
            "stroke-width" => self.width = first.unwrap_or(1.0),
            "stroke-dasharray" => self.dashes = numbers(value),
            "stroke-linejoin" => self.round = value == "round",
            "opacity" => self.opacity = first.unwrap_or(1.0),
            "fill-opacity" => self.fill_opacity = first.unwrap_or(1.0),
            "font-size" => self.size = first.unwrap_or(13.0),
            "font-weight" => self.bold = first.is_some_and(|weight| weight >= 600.0),
            "text-anchor" => {
                self.anchor = match value {
                    "middle" => Anchor::Middle,
                    "end" => Anchor::End,
                    _ => Anchor::Start,
                }
            }
            _ => {}
        }
    }
}

/// `#0072b2`, `currentColor` or `none`.
fn colour(text: &str, current: [f32; 3]) -> Option<[f32; 3]> {
    if text == "currentColor" {
        return Some(current);
    }
    let digits = text.strip_prefix('#')?;
    let part = |i: usize| Some(f32::from(u8::from_str_radix(digits.get(2 * i..2 * i + 2)?, 16).ok()?) / 255.0);
    Some([part(0)?, part(1)?, part(2)?])
}

/// `text.tick { fill: #5d6470; }`: what it is for, empty for all, and what it sets.
struct Rule {
    element: String,
    class: String,
    set: Vec<(String, String)>,
}

/// A style sheet.
pub(super) struct Sheet(Vec<Rule>);

impl Sheet {
    pub(super) fn read(text: &str) -> Self {
        let rules = text.split('}').filter_map(|rule| rule.split_once('{'));
        let rule = |(selector, set): (&str, &str)| {
            let (element, class) = selector.trim().split_once('.').unwrap_or((selector.trim(), ""));
            Rule {
                element: element.to_owned(),
                class: class.to_owned(),
                set: pairs(set)
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect(),
            }
        };
        Self(rules.map(rule).collect())
    }

    /// How an element looks inside another.
    pub(super) fn look(&self, node: Node<'_, '_>, outer: &Look) -> Look {
        let mut look = Look {
            current: outer.current,
            ..Look::default()
        };
        for (name, value) in pairs(node.attribute("style").unwrap_or_default()) {
            look.set(name, value);
        }
        for attribute in node.attributes() {
            look.set(attribute.name(), attribute.value());
        }
        let classes: Vec<&str> = node.attribute("class").unwrap_or_default().split(' ').collect();
        let element = node.tag_name().name();
        let fits = |rule: &&Rule| {
            (rule.element.is_empty() || rule.element == element)
                && (rule.class.is_empty() || classes.contains(&rule.class.as_str()))
        };
        for (name, value) in self.0.iter().filter(fits).flat_map(|rule| &rule.set) {
            look.set(name, value);
        }
        look
    }
}

/// `fill: none; opacity: .5`.
fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = text.split(';').filter_map(|pair| pair.split_once(':'));
    pairs.map(|(name, value)| (name.trim(), value.trim()))
}
