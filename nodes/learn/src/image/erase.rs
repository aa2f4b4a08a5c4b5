//! Random erasing's operation (Zhong et al. 2017, 1708.04896): a rectangle takes one value.

use super::{Crop, Size};

/// Fills a rectangle, cut to the image, with `value`.
pub fn erase(image: &mut [f32], size: Size, area: Crop, value: f32) {
    for y in area.top..(area.top + area.height).min(size.h) {
        let end = (area.left + area.width).min(size.w);
        if area.left < end {
            image[(y * size.w + area.left) * size.c..(y * size.w + end) * size.c].fill(value);
        }
    }
}
