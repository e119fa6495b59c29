//! Einsum: sums of products named by letters, of one or two tensors.
//!
//! ```text
//! "bhwc,hkc->bhwk" on A, B.  letters of both and of the result: batches;  of A and the result: rows;  of B and the
//! result: columns;  of both, not of the result: summed.
//! A and B in the order (batches, rows, summed) and (batches, summed, columns), a product of matrices, the result's order
//! ```

use ocellus_graph::ops::{Reduce, ReduceKind, Transpose};
use ocellus_graph::{Op, ValueId};

use super::product::product;
use crate::onnx::call::{Call, Item};
use crate::onnx::fault::Fault;
use crate::onnx::literal::Kind;
use crate::onnx::net::Net;

/// Where the axes that `...` stands for begin among the letters: characters that no equation writes.
const ELLIPSIS: u32 = 0xe000;

/// A tensor whose axes have letters.
struct Lettered {
    value: ValueId,
    letters: Vec<char>,
}

pub(super) fn einsum(net: &mut Net, call: &Call) -> Result<ValueId, Fault> {
    let equation: String = call.text("equation", "")?.chars().filter(|c| !c.is_whitespace()).collect();
    let wrong = |what: &str| call.fault(format!("its equation {equation:?} {what}"));
    let (terms, result) = match equation.split_once("->") {
        Some((terms, result)) => (terms, Some(result)),
        None => (equation.as_str(), None),
    };
    let terms: Vec<&str> = terms.split(',').collect();
    if terms.len() != call.inputs.len() || terms.len() > 2 {
        return Err(wrong(&format!(
            "is for {} tensors, it has {}; one or two are supported",
            terms.len(),
            call.inputs.len()
        )));
    }
    let (mut tensors, mut widest) = (Vec::new(), 0);
    for (i, term) in terms.iter().enumerate() {
        let value = net.value(call, i)?;
        let rank = net.shape(value).rank();
        let named = term.replace("...", "").chars().count();
        let hidden = rank.checked_sub(named).filter(|&hidden| hidden == 0 || term.contains("..."));
        let hidden = hidden.ok_or_else(|| wrong(&format!("does not fit a tensor of {rank} axes")))?;
        widest = widest.max(hidden);
        tensors.push((value, *term, hidden));
    }
    // Axes behind `...` line up from the right.
    let spelled = |term: &str, hidden: usize| -> Vec<char> {
        let dots = (widest - hidden..widest).filter_map(|i| char::from_u32(ELLIPSIS + i as u32));
        let (before, behind) = term.split_once("...").unwrap_or((term, ""));
        before.chars().chain(dots).chain(behind.chars()).collect()
    };
    let tensors: Vec<Lettered> = tensors
        .into_iter()
        .map(|(value, term, hidden)| {
            let hidden = if term.contains("...") { hidden } else { 0 };
            Lettered { value, letters: spelled(term, hidden) }
        })
        .collect();
    let all: Vec<char> = tensors.iter().flat_map(|tensor| tensor.letters.iter().copied()).collect();
    let result: Vec<char> = match result {
        Some(result) => spelled(result, if result.contains("...") { widest } else { 0 }),
        None => implied(&all),
    };
    let repeats = |letters: &[char]| (1..letters.len()).any(|i| letters[..i].contains(&letters[i]));
    if repeats(&result) || result.iter().any(|letter| !all.contains(letter)) {
        return Err(wrong("has a result that its tensors do not make"));
    }
    if tensors.iter().any(|tensor| repeats(&tensor.letters)) {
        return Err(wrong("takes a diagonal, which is not supported"));
    }
    match tensors.as_slice() {
        [a] => {
            let kept = summed(net, call, ".a", a, &result)?;
            ordered(net, call, "", &kept, &result)
        }
        [a, b] => of_two(net, call, [a, b], &result),
        _ => Err(wrong("is for no tensor")),
    }
}

/// Without an arrow: what `...` stands for, then every letter that is there once, in the order of the alphabet.
fn implied(all: &[char]) -> Vec<char> {
    let mut once: Vec<char> = all
        .iter()
        .copied()
        .filter(|letter| all.iter().filter(|other| *other == letter).count() == 1)
        .collect();
    let mut dots: Vec<char> = all.iter().copied().filter(|&letter| letter as u32 >= ELLIPSIS).collect();
    dots.sort_unstable();
    dots.dedup();
    once.retain(|letter| !dots.contains(letter));
    once.sort_unstable();
    dots.into_iter().chain(once).collect()
}

/// A tensor summed over the axes whose letters are not in `kept`.
fn summed(net: &mut Net, call: &Call, name: &str, x: &Lettered, kept: &[char]) -> Result<Lettered, Fault> {
    let axes: Vec<usize> = (0..x.letters.len()).filter(|&i| !kept.contains(&x.letters[i])).collect();
    if axes.is_empty() {
        return Ok(Lettered { value: x.value, letters: x.letters.clone() });
    }
    let op = Op::Reduce(Reduce { kind: ReduceKind::Sum, axes, keep: false });
    let value = net.add(call, &format!("{name}.sum"), op, &[x.value])?;
    Ok(Lettered {
        value,
        letters: x.letters.iter().copied().filter(|letter| kept.contains(letter)).collect(),
    })
}

/// A tensor with its axes in the order of `letters`, all of which it has.
fn ordered(
    net: &mut Net,
    call: &Call,
    suffix: &str,
    x: &Lettered,
    letters: &[char],
) -> Result<ValueId, Fault> {
    let order: Vec<usize> =
        letters.iter().filter_map(|letter| x.letters.iter().position(|own| own == letter)).collect();
    if order.is_sorted() {
        return Ok(x.value);
    }
    net.add(call, suffix, Op::Transpose(Transpose { order }), &[x.value])
}

fn of_two(net: &mut Net, call: &Call, [a, b]: [&Lettered; 2], result: &[char]) -> Result<ValueId, Fault> {
    let a = summed(net, call, ".a", a, &[&b.letters[..], result].concat())?;
    let b = summed(net, call, ".b", b, &[&a.letters[..], result].concat())?;
    let of = |x: &Lettered, test: &dyn Fn(char) -> bool| -> Vec<char> {
        x.letters.iter().copied().filter(|&letter| test(letter)).collect()
    };
    let batches = of(&a, &|letter| b.letters.contains(&letter) && result.contains(&letter));
    let sums = of(&a, &|letter| b.letters.contains(&letter) && !result.contains(&letter));
    let rows = of(&a, &|letter| !b.letters.contains(&letter));
    let columns = of(&b, &|letter| !a.letters.contains(&letter));
    let size = |net: &Net, letter: char| {
        let own = |x: &Lettered| {
            x.letters.iter().position(|own| *own == letter).map(|axis| net.dims(x.value)[axis])
        };
        own(&a).unwrap_or(1).max(own(&b).unwrap_or(1))
    };
    for &letter in batches.iter().chain(&sums) {
        let wanted = size(net, letter);
        for x in [&a, &b] {
            let axis = x.letters.iter().position(|own| *own == letter).unwrap_or(0);
            if net.dims(x.value)[axis] != wanted {
                return Err(call.fault(format!(
                    "sums {:?} with {:?}, which differ along an axis of one letter",
                    net.dims(a.value),
                    net.dims(b.value)
                )));
            }
        }
    }
    let sizes =
        |net: &Net, letters: &[char]| -> Vec<usize> { letters.iter().map(|&l| size(net, l)).collect() };
    let count = |net: &Net, letters: &[char]| sizes(net, letters).iter().product::<usize>();
    let batch = sizes(net, &batches);
    let (m, k, n) = (count(net, &rows), count(net, &sums), count(net, &columns));
    let left = ordered(net, call, ".a.order", &a, &[&batches[..], &rows[..], &sums[..]].concat())?;
    let left = net.fold(call, ".a.matrix", left, &[&batch[..], &[m, k]].concat())?;
    let right = ordered(net, call, ".b.order", &b, &[&batches[..], &sums[..], &columns[..]].concat())?;
    let right = net.fold(call, ".b.matrix", right, &[&batch[..], &[k, n]].concat())?;
    let item = |value| Item::Value(value, Kind::F32);
    let y = product(net, call, ".product", &item(left), &item(right))?;
    let letters = [&batches[..], &rows[..], &columns[..]].concat();
    let dims = sizes(net, &letters);
    let value = net.fold(call, ".unfolded", y, &dims)?;
    ordered(net, call, "", &Lettered { value, letters }, result)
}
