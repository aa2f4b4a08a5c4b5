//! Things in images as a file.

use flow_engine::node::NodeError;
use flow_learn::data::Object;
use flow_learn::state::{StateDict, Tensor};

use crate::failure::failure;

/// Values of a thing in a file: class, box, area, and doubt: 0 of what is sure, 1 of what is left out.
const OF_OBJECT: usize = 7;

/// The things in each image, as a file.
pub(super) fn boxes_to_bytes(objects: &[Vec<Object>]) -> Vec<u8> {
    let values = |object: &Object| {
        let [left, top, right, bottom] = object.bounds;
        let doubt = if object.ignore { 1.0 } else { 1.0 - object.sure };
        [f32::from(object.class), left, top, right, bottom, object.area, doubt]
    };
    let data: Vec<f32> = objects.iter().flatten().flat_map(values).collect();
    let mut state = StateDict::default();
    let counts = objects.iter().map(|of_image| of_image.len() as f32).collect();
    let shape = vec![data.len() / OF_OBJECT, OF_OBJECT];
    state.tensors.insert("objects".into(), Tensor { shape, data });
    let shape = vec![objects.len()];
    state.tensors.insert("counts".into(), Tensor { shape, data: counts });
    state.to_bytes()
}

/// The reverse of [`boxes_to_bytes`].
///
/// # Errors
/// If there are fewer things than it says.
pub(super) fn boxes_from(state: &StateDict) -> Result<Vec<Vec<Object>>, NodeError> {
    let values = |name: &str| state.tensors.get(name).map_or(&[][..], |tensor| &tensor.data);
    let object = |[class, left, top, right, bottom, area, doubt]: &[f32; OF_OBJECT]| Object {
        class: *class as u16,
        bounds: [*left, *top, *right, *bottom],
        area: *area,
        ignore: *doubt >= 1.0,
        sure: if *doubt >= 1.0 { 1.0 } else { 1.0 - doubt },
    };
    let mut all = values("objects").as_chunks::<OF_OBJECT>().0.iter().map(object);
    let of_image = |count: &f32| {
        let objects: Vec<Object> = all.by_ref().take(*count as usize).collect();
        let whole = objects.len() == *count as usize;
        whole
            .then_some(objects)
            .ok_or_else(|| failure("there are fewer boxes than it says"))
    };
    values("counts").iter().map(of_image).collect()
}
