use super::*;

/// Writes the result of every operation on two vectors as numbers, so that ISAs can be compared.
struct Everything<'a> {
    a: &'a [f32],
    b: &'a [f32],
}

impl VectorOp for Everything<'_> {
    type Output = Vec<f32>;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Vec<f32> {
        let (a, b) = (s.load(self.a), s.load(self.b));
        let gt = s.gt(a, b);
        let vectors = [
            s.add(a, b),
            s.sub(a, b),
            s.mul(a, b),
            s.div(a, b),
            s.fmadd(a, b, s.splat(1.0)),
            s.max(a, b),
            s.min(a, b),
            s.sqrt(s.mul(a, a)),
            s.round(s.mul(a, s.splat(0.5))),
            s.exp2_int(s.round(a)),
            s.select(gt, a, b),
            s.select(s.eq(a, b), s.splat(1.0), s.zero()),
            s.select(s.mask(0xA5C3), a, b),
            s.load_partial(&self.a[..5], 9.0),
        ];
        let mut out = Vec::new();
        for v in vectors {
            out.extend(s.to_array(v));
        }
        let mut partial = [7.0; 6];
        s.store_partial(a, &mut partial);
        out.extend(partial);
        out.extend([f32::from(s.bits(gt)), s.reduce_add(a), s.reduce_max(a)]);
        out
    }
}

struct Transposed<'a>(&'a [f32]);

impl VectorOp for Transposed<'_> {
    type Output = Vec<f32>;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Vec<f32> {
        let mut rows = [s.zero(); LANES];
        for (i, row) in rows.iter_mut().enumerate() {
            *row = s.load(&self.0[i * LANES..]);
        }
        let mut out = vec![0.0; LANES * LANES];
        for (i, row) in s.transpose(rows).into_iter().enumerate() {
            s.store(row, &mut out[i * LANES..]);
        }
        out
    }
}

#[test]
fn every_isa_computes_the_same() {
    let a: Vec<f32> = (0..LANES).map(|i| (i as f32 * 7.0) % 11.0 - 5.0).collect();
    let b: Vec<f32> = (0..LANES).map(|i| (i as f32 * 5.0) % 13.0 - 6.0).collect();
    let want = Isa::Scalar.run(Everything { a: &a, b: &b });
    for isa in Isa::available() {
        let got = isa.run(Everything { a: &a, b: &b });
        let same = got.iter().zip(&want).all(|(g, w)| g == w || (g.is_nan() && w.is_nan()));
        assert!(same && got.len() == want.len(), "{}: {got:?} against {want:?}", isa.name());
    }
}

#[test]
fn nan_passes_a_relu() {
    struct Relu(f32);
    impl VectorOp for Relu {
        type Output = f32;
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> f32 {
            s.to_array(s.max(s.zero(), s.splat(self.0)))[3]
        }
    }
    for isa in Isa::available() {
        assert!(isa.run(Relu(f32::NAN)).is_nan(), "{}", isa.name());
        assert_eq!(isa.run(Relu(-2.0)), 0.0);
    }
}

#[test]
fn transpose_swaps_rows_and_columns() {
    let matrix: Vec<f32> = (0..LANES * LANES).map(|i| i as f32).collect();
    for isa in Isa::available() {
        let out = isa.run(Transposed(&matrix));
        for i in 0..LANES {
            for j in 0..LANES {
                assert_eq!(out[i * LANES + j], matrix[j * LANES + i], "{} at {i},{j}", isa.name());
            }
        }
    }
}

#[test]
fn detection_prefers_the_widest() {
    assert_eq!(Isa::detect(), Isa::available()[0]);
    assert_eq!(Isa::available().last(), Some(&Isa::Scalar));
}
