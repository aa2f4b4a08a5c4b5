//! What a network computes in evaluation mode, as a graph of ONNX operators (opset 17): each layer says it itself, next to its forward
//! pass. Tensors are those of the network's state, under their names; images are `[n][c][h][w]` as everywhere outside.
//!
//! How a graph is written to a file is not known here.

/// A value in a graph: an input, a tensor or what an operator gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value(pub String);

/// An attribute of an operator.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// A whole number.
    Int(i64),
    /// Several.
    Ints(Vec<i64>),
    /// A number.
    Float(f32),
}

/// One operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Operator {
    /// ONNX's name of it.
    pub op: &'static str,
    /// What it takes, in its order.
    pub inputs: Vec<Value>,
    /// What it gives.
    pub output: Value,
    /// By name.
    pub attributes: Vec<(&'static str, Attribute)>,
}

/// A constant that is not part of the network's state.
#[derive(Clone, Debug, PartialEq)]
pub enum Constant {
    /// A list of whole numbers: shapes, places, axes.
    Ints(Vec<i64>),
    /// One number.
    Float(f32),
}

/// Operators in an order in which they can be computed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// The operators.
    pub operators: Vec<Operator>,
    /// Constants by name.
    pub constants: Vec<(Value, Constant)>,
}

/// A layer that has no description as a graph.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} cannot be described as a graph of operators")]
pub struct NoGraph {
    /// The layer in words.
    pub what: String,
}

impl Graph {
    /// A tensor of the network's state.
    pub fn tensor(&self, prefix: &str, name: &str) -> Value {
        Value(super::join(prefix, name))
    }

    /// A constant.
    pub fn constant(&mut self, constant: Constant) -> Value {
        if let Some((known, _)) = self.constants.iter().find(|(_, other)| *other == constant) {
            return known.clone();
        }
        let value = Value(format!("constant_{}", self.constants.len()));
        self.constants.push((value.clone(), constant));
        value
    }

    /// A list of whole numbers.
    pub fn ints(&mut self, ints: &[i64]) -> Value {
        self.constant(Constant::Ints(ints.to_vec()))
    }

    /// What an operator without attributes gives.
    pub fn apply(&mut self, op: &'static str, inputs: &[&Value]) -> Value {
        self.apply_with(op, inputs, Vec::new())
    }

    /// What an operator gives.
    pub fn apply_with(
        &mut self,
        op: &'static str,
        inputs: &[&Value],
        attributes: Vec<(&'static str, Attribute)>,
    ) -> Value {
        let output = Value(format!("value_{}", self.operators.len()));
        self.operators.push(Operator {
            op,
            inputs: inputs.iter().map(|value| (*value).clone()).collect(),
            output: output.clone(),
            attributes,
        });
        output
    }

    /// Calls what an operator gives by another name.
    pub fn rename(&mut self, value: &Value, name: &str) {
        let inputs = self.operators.iter_mut().flat_map(|operator| {
            let Operator { inputs, output, .. } = operator;
            inputs.iter_mut().chain([output])
        });
        inputs
            .filter(|other| *other == value)
            .for_each(|other| name.clone_into(&mut other.0));
    }

    /// Part of a value along an axis.
    pub fn slice(&mut self, x: &Value, axis: i64, part: std::ops::Range<usize>) -> Value {
        let [start, end] = [part.start, part.end].map(|place| self.ints(&[as_int(place)]));
        let axis = self.ints(&[axis]);
        self.apply("Slice", &[x, &start, &end, &axis])
    }

    /// The same values in another shape; 0 keeps a dimension, -1 takes what is left.
    pub fn reshape(&mut self, x: &Value, shape: &[i64]) -> Value {
        let shape = self.ints(shape);
        self.apply("Reshape", &[x, &shape])
    }

    /// Dimensions in another order.
    pub fn transpose(&mut self, x: &Value, order: &[i64]) -> Value {
        self.apply_with("Transpose", &[x], vec![("perm", Attribute::Ints(order.to_vec()))])
    }
}

/// A size as ONNX counts; sizes of networks are far below its end.
pub(crate) fn as_int(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
