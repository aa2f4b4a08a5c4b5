//! Reading conditions, and comparing numbers.

use std::cmp::Ordering;

use proptest::prelude::*;

use super::*;

/// The tree with all operators in prefix form and everything in parentheses.
fn shown(text: &str) -> String {
    fn show(tree: &Tree) -> String {
        let all = |parts: &[Tree]| parts.iter().map(show).collect::<Vec<_>>().join(" ");
        match &tree.expr {
            Expr::Word(word) => word.clone(),
            Expr::Text(text) => quote(text),
            Expr::List(items) => format!("[{}]", all(items)),
            Expr::Compare(left, op, right) => format!("({op} {} {})", show(left), show(right)),
            Expr::Not(inner) => format!("(not {})", show(inner)),
            Expr::And(parts) => format!("(and {})", all(parts)),
            Expr::Or(parts) => format!("(or {})", all(parts)),
        }
    }
    condition(text).map_or_else(|error| error.message(), |tree| show(&tree))
}

#[test]
fn a_condition_is_read_by_the_rank_of_its_operators() {
    for (text, expected) in [
        (
            "a = 1 or b == 2 and not c>3",
            "(or (= a 1) (and (= b 2) (not (> c 3))))",
        ),
        ("(a or b) AND c", "(and (or a b) c)"),
        ("not not a in['x', y,]", "expected a number or a string, found `]`"),
        ("not not a in['x', y]", "(not (not (in a [\"x\" y])))"),
        ("(a) = (b = c)", "(= a (= b c))"),
        (
            "node = student[seed=0,lr=0.1] and x",
            "(and (= node student[seed=0,lr=0.1]) x)",
        ),
        ("a.\"b c\".d ~ 'e'", "(~ a.\"b c\".d \"e\")"),
        ("a = \"\\\"\\\\\"", "(= a \"\\\"\\\\\")"),
        ("a[", "expected `and`, `or` or the end, found `[`"),
        ("a = [1", "expected `,` or `]`, found the end"),
        (
            "a = 1 adn b",
            "expected `and`, `or` or the end, found `adn`; did you mean `and`?",
        ),
    ] {
        assert_eq!(shown(text), expected, "{text}");
    }
}

#[test]
fn every_part_knows_where_it_was_written() {
    let text = "é = 1 and ( not b )";
    let tree = condition(text).unwrap();
    let Expr::And(parts) = &tree.expr else {
        panic!("{tree:?}")
    };
    assert_eq!(&text[tree.span.clone()], "é = 1 and ( not b");
    assert_eq!(&text[parts[0].span.clone()], "é = 1");
    assert_eq!(&text[parts[1].span.clone()], "not b");
}

#[test]
fn deep_nesting_is_an_error_that_fits_on_a_screen() {
    for deep in ["(", "not ", "[", "not(", "a = (", "\"", "a[", "((a) and "] {
        let error = condition(&deep.repeat(100_000)).unwrap_err().to_string();
        assert!(error.len() < 500, "{error}");
    }
    let nested = |depth: usize| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
    assert!(condition(&nested(60)).is_ok());
    assert!(shown(&nested(70)).contains("at most 64 deep"));
}

#[test]
fn long_chains_are_no_deep_trees() {
    for word in [" and ", " or "] {
        let tree = condition(&vec!["a"; 100_000].join(word)).unwrap();
        assert!(matches!(tree.expr, Expr::And(parts) | Expr::Or(parts) if parts.len() == 100_000));
    }
}

#[test]
fn a_word_is_a_number_only_if_it_looks_like_one() {
    assert_eq!(
        Number::parse("9007199254740993"),
        Some(Number::Integer(9_007_199_254_740_993))
    );
    assert_eq!(Number::parse("-1e3"), Some(Number::Integer(-1000)));
    assert_eq!(Number::parse(".5"), Some(Number::Float(0.5)));
    for word in ["nan", "inf", "-inf", "infinity", "1e999", "", "-", "1x"] {
        assert!(Number::parse(word).is_none(), "{word}");
    }
}

#[test]
fn integers_and_floats_compare_without_loss() {
    let two_53 = 9_007_199_254_740_992;
    let less = [
        (Number::Integer(two_53), Number::Integer(two_53 + 1)),
        (Number::Float(two_53 as f64), Number::Integer(two_53 + 1)),
        (Number::Integer(two_53 + 1), Number::Float((two_53 + 2) as f64)),
        (Number::Integer(i128::MAX), Number::Float(1.701_411_834_604_692_3e38)),
        (Number::Integer(i128::MAX), Number::Float(f64::INFINITY)),
        (Number::Float(f64::NEG_INFINITY), Number::Integer(i128::MIN)),
        (Number::Float(-2.5), Number::Integer(-2)),
        (Number::Integer(-3), Number::Float(-2.5)),
    ];
    for (a, b) in less {
        assert!(a < b, "{a} {b}");
        assert!(b > a && a != b, "{b} {a}");
    }
    assert_eq!(Number::Integer(i128::MIN), Number::Float(-1.701_411_834_604_692_3e38));
    assert_eq!(Number::Float(f64::NAN).partial_cmp(&Number::Integer(0)), None);
    assert_eq!(Number::Integer(i128::MAX).partial_cmp(&Number::Float(f64::NAN)), None);
}

/// A finite float as a whole number of units of 2^-1074, of which only the sign and the top are kept apart.
fn exact(number: Number) -> (i8, Vec<u64>) {
    let (negative, mantissa, shift) = match number {
        Number::Integer(integer) => (integer < 0, integer.unsigned_abs(), 1074),
        Number::Float(float) => {
            let bits = float.to_bits();
            let (exponent, fraction) = (bits >> 52 & 0x7ff, bits & ((1 << 52) - 1));
            match exponent {
                0 => (float < 0.0, u128::from(fraction), 0),
                _ => (float < 0.0, u128::from(fraction | 1 << 52), exponent as usize - 1),
            }
        }
    };
    // The digits in base 2^32, most significant first: 2200 bits hold every float and every integer.
    let mut digits = vec![0_u64; 72];
    for bit in 0..128 {
        if mantissa >> bit & 1 == 1 {
            let place = shift + bit;
            digits[71 - place / 32] |= 1 << (place % 32);
        }
    }
    let sign = i8::from(mantissa != 0) * if negative { -1 } else { 1 };
    (sign, digits)
}

fn by_exact_arithmetic(a: Number, b: Number) -> Ordering {
    let ((a_sign, a), (b_sign, b)) = (exact(a), exact(b));
    a_sign
        .cmp(&b_sign)
        .then_with(|| if a_sign < 0 { b.cmp(&a) } else { a.cmp(&b) })
}

fn number() -> impl Strategy<Value = Number> {
    // Beside anything at all: numbers around the powers of two, where floats lose digits.
    let near = (0_u32..127, -3_i128..=3, any::<bool>()).prop_map(|(power, off, negative)| {
        if negative {
            -(1 << power) - off
        } else {
            (1 << power) + off
        }
    });
    let integer = prop_oneof![near, any::<i64>().prop_map(i128::from), any::<i128>()];
    let float = prop_oneof![any::<f64>().prop_filter("finite", |x| x.is_finite()), -4.0..4.0];
    let mixed = integer.clone().prop_map(|integer| Number::Float(integer as f64));
    prop_oneof![integer.prop_map(Number::Integer), float.prop_map(Number::Float), mixed]
}

proptest! {
    #[test]
    fn the_order_of_numbers_is_that_of_exact_arithmetic(a in number(), b in number()) {
        prop_assert_eq!(a.partial_cmp(&b), Some(by_exact_arithmetic(a, b)));
        prop_assert_eq!(a == b, by_exact_arithmetic(a, b).is_eq());
    }

    #[test]
    fn the_order_of_numbers_is_total(mut numbers in prop::collection::vec(number(), 0..20)) {
        numbers.sort_by(|a, b| a.partial_cmp(b).expect("no NaN"));
        for (i, a) in numbers.iter().enumerate() {
            for b in &numbers[i..] {
                prop_assert!(a <= b, "{a} {b}");
                prop_assert!(b >= a, "{b} {a}");
            }
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in ".{0,40}", words in prop::collection::vec("(and|or|not|in|a|=|\\(|\\)|\\[|\\]|,|\"|1|b\\.\")", 0..16)) {
        for text in [text, words.join(" "), words.concat()] {
            if let Err(error) = condition(&text) {
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}
