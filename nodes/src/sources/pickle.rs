//! The part of Python's pickles that holds arrays, numbers, texts, lists and dictionaries. Nothing is ever called: what a pickle would call is
//! looked up among the few names that arrays are made of, and anything else is refused.

use std::cell::RefCell;
use std::rc::Rc;

use super::npy::Array;

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    None,
    Int(i64),
    /// Bytes, and texts as theirs.
    Text(Rc<[u8]>),
    List(Rc<RefCell<Vec<Value>>>),
    Tuple(Rc<[Value]>),
    Dict(Rc<RefCell<Vec<(Value, Value)>>>),
    Array(Rc<RefCell<Option<Array>>>),
    /// A name that would be called.
    Name(Name),
    /// A type of values, e.g. `u1`, and its byte order.
    Dtype(Rc<RefCell<String>>),
}

/// What may be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Reconstruct,
    NdArray,
    Dtype,
    Encode,
}

impl Value {
    /// What a dictionary has under a name.
    pub(super) fn get(&self, key: &str) -> Option<Self> {
        let Self::Dict(items) = self else { return None };
        let items = items.borrow();
        let is_key = |(name, _): &&(Self, Self)| matches!(name, Self::Text(text) if **text == *key.as_bytes());
        items.iter().find(is_key).map(|(_, value)| value.clone())
    }

    /// Whole numbers of a list.
    pub(super) fn integers(&self) -> Option<Vec<i64>> {
        let Self::List(items) = self else { return None };
        let integer = |value: &Self| match value {
            Self::Int(number) => Some(*number),
            _ => None,
        };
        items.borrow().iter().map(integer).collect()
    }

    /// Texts of a list.
    pub(super) fn texts(&self) -> Option<Vec<String>> {
        let Self::List(items) = self else { return None };
        let text = |value: &Self| match value {
            Self::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
            _ => None,
        };
        items.borrow().iter().map(text).collect()
    }

    /// An array.
    pub(super) fn array(&self) -> Option<Array> {
        match self {
            Self::Array(array) => array.borrow().clone(),
            _ => None,
        }
    }
}

/// Reads one value.
///
/// # Errors
/// In words: the pickle is damaged, or more than arrays and what holds them.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, String> {
    let mut machine = Machine {
        rest: bytes,
        length: bytes.len(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Vec::new(),
        containers: 0,
    };
    machine.run()
}

/// Lists, tuples, dictionaries and arrays: those that sets of images come in have some ten. More could nest deeper than a stack is.
const MOST_CONTAINERS: usize = 1000;

struct Machine<'a> {
    rest: &'a [u8],
    length: usize,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: Vec<(u32, Value)>,
    containers: usize,
}

impl<'a> Machine<'a> {
    fn run(&mut self) -> Result<Value, String> {
        loop {
            let at = self.length - self.rest.len();
            let [op] = self.fixed()?;
            if op == b'.' {
                return self.pop();
            }
            let known = self.step(op).map_err(|what| format!("at byte {at}: {what}"))?;
            if !known {
                return Err(format!(
                    "at byte {at}: opcode {op:#04x} is none of those that arrays are made of; pickles are never executed"
                ));
            }
        }
    }

    /// Whether the opcode is known.
    fn step(&mut self, op: u8) -> Result<bool, String> {
        if matches!(op, b']' | b'}' | b'l' | b'd' | b't' | b'R' | 0x85..=0x87) {
            self.containers += 1;
            if self.containers > MOST_CONTAINERS {
                return Err(format!(
                    "more than {MOST_CONTAINERS} lists and the like: arrays need a few"
                ));
            }
        }
        match op {
            0x80 => {
                self.fixed::<1>()?;
            }
            0x95 => {
                self.fixed::<8>()?;
            }
            b'(' => self.marks.push(self.stack.len()),
            b'N' => self.stack.push(Value::None),
            0x88 | 0x89 => self.stack.push(Value::Int(i64::from(op == 0x88))),
            b'K' => self.integer::<1>()?,
            b'M' => self.integer::<2>()?,
            b'J' => {
                let number = i32::from_le_bytes(self.fixed()?);
                self.stack.push(Value::Int(i64::from(number)));
            }
            0x8a => self.long()?,
            b'I' => self.text_integer()?,
            b'U' | b'C' | 0x8c => self.text::<1>()?,
            b'T' | b'X' | b'B' => self.text::<4>()?,
            0x8d | 0x8e => self.text::<8>()?,
            b']' => self.stack.push(Value::List(Rc::default())),
            b'}' => self.stack.push(Value::Dict(Rc::default())),
            b')' => self.stack.push(Value::Tuple(Rc::new([]))),
            b't' | 0x85..=0x87 => self.tuple(op)?,
            b'l' => {
                let items = self.marked()?;
                self.stack.push(Value::List(Rc::new(RefCell::new(items))));
            }
            b'a' | b'e' => self.append(op == b'a')?,
            b's' | b'u' | b'd' => self.set(op)?,
            b'q' => {
                let [place] = self.fixed()?;
                self.remember(u32::from(place))?;
            }
            b'r' => {
                let place = u32::from_le_bytes(self.fixed()?);
                self.remember(place)?;
            }
            0x94 => self.remember(self.memo.len() as u32)?,
            b'h' => {
                let [place] = self.fixed()?;
                self.recall(u32::from(place))?;
            }
            b'j' => {
                let place = u32::from_le_bytes(self.fixed()?);
                self.recall(place)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.name(&module, &name)?;
            }
            0x93 => {
                let (name, module) = (self.pop_text()?, self.pop_text()?);
                self.name(&module, &name)?;
            }
            b'R' => self.reduce()?,
            b'b' => self.build()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or("it is truncated")?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or("it is truncated")?;
        self.rest = rest;
        Ok(bytes)
    }

    fn line(&mut self) -> Result<String, String> {
        let end = self.rest.iter().position(|b| *b == b'\n').ok_or("it is truncated")?;
        let line = String::from_utf8_lossy(self.take(end)?).into_owned();
        self.take(1)?;
        Ok(line)
    }

    fn pop(&mut self) -> Result<Value, String> {
        self.stack
            .pop()
            .ok_or_else(|| "it is damaged: there is no value".to_owned())
    }

    fn pop_text(&mut self) -> Result<String, String> {
        match self.pop()? {
            Value::Text(text) => Ok(String::from_utf8_lossy(&text).into_owned()),
            _ => Err("it is damaged: no text where one is expected".into()),
        }
    }

    fn marked(&mut self) -> Result<Vec<Value>, String> {
        let mark = self.marks.pop().filter(|mark| *mark <= self.stack.len());
        let mark = mark.ok_or("it is damaged: there is no mark")?;
        Ok(self.stack.split_off(mark))
    }

    fn integer<const N: usize>(&mut self) -> Result<(), String> {
        let mut bytes = [0; 8];
        bytes[..N].copy_from_slice(&self.fixed::<N>()?);
        self.stack.push(Value::Int(i64::from_le_bytes(bytes)));
        Ok(())
    }

    fn long(&mut self) -> Result<(), String> {
        let [count] = self.fixed()?;
        let digits = self.take(usize::from(count))?;
        if digits.len() > 8 {
            return Err("a number is too large".into());
        }
        let negative = digits.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut bytes = [if negative { 0xff } else { 0 }; 8];
        bytes[..digits.len()].copy_from_slice(digits);
        self.stack.push(Value::Int(i64::from_le_bytes(bytes)));
        Ok(())
    }

    fn text_integer(&mut self) -> Result<(), String> {
        let line = self.line()?;
        let number = line
            .trim_end_matches('L')
            .parse()
            .map_err(|_| format!("`{line}` is no number"))?;
        self.stack.push(Value::Int(number));
        Ok(())
    }

    fn text<const N: usize>(&mut self) -> Result<(), String> {
        let mut bytes = [0; 8];
        bytes[..N].copy_from_slice(&self.fixed::<N>()?);
        let length = usize::try_from(u64::from_le_bytes(bytes)).map_err(|_| "it is truncated")?;
        let text = self.take(length)?;
        self.stack.push(Value::Text(text.into()));
        Ok(())
    }

    fn tuple(&mut self, op: u8) -> Result<(), String> {
        let items = match op {
            b't' => self.marked()?,
            _ => {
                let count = usize::from(op - 0x84);
                let from = self
                    .stack
                    .len()
                    .checked_sub(count)
                    .ok_or("it is damaged: there is no value")?;
                self.stack.split_off(from)
            }
        };
        self.stack.push(Value::Tuple(items.into()));
        Ok(())
    }

    fn append(&mut self, one: bool) -> Result<(), String> {
        let items = if one { vec![self.pop()?] } else { self.marked()? };
        match self.stack.last() {
            Some(Value::List(list)) => {
                list.borrow_mut().extend(items);
                Ok(())
            }
            _ => Err("it is damaged: no list to append to".into()),
        }
    }

    fn set(&mut self, op: u8) -> Result<(), String> {
        let items = match op {
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.marked()?,
        };
        if op == b'd' {
            self.stack.push(Value::Dict(Rc::default()));
        }
        let Some(Value::Dict(dict)) = self.stack.last() else {
            return Err("it is damaged: no dictionary to put into".into());
        };
        let mut items = items.into_iter();
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            dict.borrow_mut().push((key, value));
        }
        Ok(())
    }

    fn remember(&mut self, place: u32) -> Result<(), String> {
        let value = self.stack.last().cloned().ok_or("it is damaged: there is no value")?;
        self.memo.push((place, value));
        Ok(())
    }

    fn recall(&mut self, place: u32) -> Result<(), String> {
        // Places are given out in order, as a rule.
        let at = usize::try_from(place).unwrap_or(usize::MAX);
        let direct = self.memo.get(at).filter(|(known, _)| *known == place);
        let found = direct.or_else(|| self.memo.iter().rev().find(|(known, _)| *known == place));
        let value = found.map(|(_, value)| value.clone());
        self.stack
            .push(value.ok_or("it is damaged: nothing is remembered there")?);
        Ok(())
    }

    fn name(&mut self, module: &str, name: &str) -> Result<(), String> {
        let name = match (module, name) {
            ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => Name::Reconstruct,
            ("numpy", "ndarray") => Name::NdArray,
            ("numpy", "dtype") => Name::Dtype,
            ("_codecs", "encode") => Name::Encode,
            _ => {
                return Err(format!(
                    "it would call `{module}.{name}`; pickles are never executed, only arrays in them are read"
                ));
            }
        };
        self.stack.push(Value::Name(name));
        Ok(())
    }

    /// A call, of which only the outcome for these few names is known.
    fn reduce(&mut self) -> Result<(), String> {
        let (arguments, called) = (self.pop()?, self.pop()?);
        let (Value::Tuple(arguments), Value::Name(name)) = (arguments, called) else {
            return Err("it is damaged: a call of what cannot be called".into());
        };
        let value = match (name, &*arguments) {
            (Name::Reconstruct, _) => Value::Array(Rc::default()),
            (Name::Dtype, [Value::Text(text), ..]) => {
                Value::Dtype(Rc::new(RefCell::new(String::from_utf8_lossy(text).into_owned())))
            }
            // Bytes that an old protocol wrote as text: each character is one.
            (Name::Encode, [Value::Text(text), ..]) => {
                let text = std::str::from_utf8(text).map_err(|_| "it is damaged: no text")?;
                let bytes: Result<Vec<u8>, _> = text.chars().map(|c| u8::try_from(u32::from(c))).collect();
                Value::Text(bytes.map_err(|_| "it is damaged: no bytes")?.into())
            }
            _ => return Err("it makes something else than arrays".into()),
        };
        self.stack.push(value);
        Ok(())
    }

    /// Fills in an array, or a type's byte order.
    fn build(&mut self) -> Result<(), String> {
        let state = self.pop()?;
        let Value::Tuple(state) = state else {
            return Err("it fills in something else than arrays".into());
        };
        match (self.stack.last(), &*state) {
            (Some(Value::Dtype(dtype)), [_, Value::Text(order), ..]) => {
                let order = String::from_utf8_lossy(order).into_owned();
                let plain = dtype.borrow().trim_start_matches(['<', '>', '|', '=']).to_owned();
                *dtype.borrow_mut() = format!("{order}{plain}");
                Ok(())
            }
            (
                Some(Value::Array(array)),
                [
                    _,
                    Value::Tuple(shape),
                    Value::Dtype(dtype),
                    Value::Int(fortran),
                    Value::Text(data),
                ],
            ) => {
                let size = |value: &Value| match value {
                    Value::Int(size) => usize::try_from(*size).ok(),
                    _ => None,
                };
                let shape: Option<Vec<usize>> = shape.iter().map(size).collect();
                let shape = shape.ok_or("it is damaged: an array's shape is none")?;
                let found = Array::of(&dtype.borrow(), shape, *fortran != 0, data)?;
                *array.borrow_mut() = Some(found);
                Ok(())
            }
            _ => Err("it fills in something else than arrays".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_called_is_refused_by_name() {
        let refused = parse(b"cos\nsystem\n(S'true'\ntR.").expect_err("a call");
        assert!(
            refused.contains("os.system") && refused.contains("never executed"),
            "{refused}"
        );
        assert!(parse(b"\x80\x02}q\x00U").expect_err("cut").contains("truncated"));
        assert!(parse(b"").is_err() && parse(b".").is_err() && parse(b"t.").is_err() && parse(b"\x87.").is_err());
        assert!(parse(b"\x80\x02S'x'\n.").expect_err("unknown").contains("0x53"));
    }

    #[test]
    fn lists_and_dictionaries_are_read() {
        // {"labels": [1, -2], "n": 300}, by Python's pickle.dumps(.., protocol=2).
        let bytes =
            b"\x80\x02}q\x00(X\x06\x00\x00\x00labelsq\x01]q\x02(K\x01J\xfe\xff\xff\xffeX\x01\x00\x00\x00nq\x03M,\x01u.";
        let value = parse(bytes).expect("a dictionary");
        assert_eq!(value.get("labels").and_then(|v| v.integers()), Some(vec![1, -2]));
        assert!(matches!(value.get("n"), Some(Value::Int(300))));
        assert!(value.get("none").is_none());
    }
}
