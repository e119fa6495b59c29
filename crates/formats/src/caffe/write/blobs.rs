//! The numbers of a blob.

use std::borrow::Cow;
use std::io;

use ocellus_tensor::Weights;

use super::out::Blob;

/// The numbers, row by row; an error if `weights` lack the parameter.
pub(super) fn numbers<'a>(blob: &'a Blob, weights: &'a Weights) -> io::Result<Cow<'a, [f32]>> {
    match blob {
        Blob::Given { numbers, .. } => Ok(numbers.into()),
        Blob::Param { name, factor, .. } => {
            let tensor = weights.get(name).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidInput, format!("the weights lack {name}"))
            })?;
            Ok(match *factor {
                1.0 => tensor.data().into(),
                factor => tensor.data().iter().map(|x| x * factor).collect(),
            })
        }
    }
}
