//! Random weights, written straight as ggml's quantized blocks.
//!
//! Every byte pattern that is written is a valid block, and the scales are such that a row of `n` elements has a
//! standard deviation of about 1/√n: activations and logits stay finite. Deterministic by seed, independent of the
//! size of the pieces in which it is asked for.

use crate::models::ggml_type::GgmlType;

/// SplitMix64: fast, and far better than weights need.
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn fill(&mut self, out: &mut [u8]) {
        let mut words = out.chunks_exact_mut(8);
        for w in &mut words {
            w.copy_from_slice(&self.next().to_le_bytes());
        }
        let rest = words.into_remainder();
        let last = self.next().to_le_bytes();
        rest.copy_from_slice(&last[..rest.len()]);
    }
}

/// What a tensor is filled with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fill {
    /// Ones: the weight of a norm, the factor of a frequency.
    Ones,
    /// Small numbers around zero: a bias.
    Small,
    /// Random with standard deviation 1/√n for rows of `n`.
    Row(u64),
}

/// Produces a tensor's blocks one after the other.
#[derive(Debug)]
pub struct Blocks {
    kind: GgmlType,
    fill: Fill,
    random: Random,
}

/// Writes a 16-bit float at the start of `out`.
fn put_f16(out: &mut [u8], value: f32) {
    out[..2].copy_from_slice(&f16(value).to_le_bytes());
}

/// The nearest 16-bit float towards zero; subnormal where it must be. For finite values in its range.
fn f16(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16) as u16 & 0x8000;
    let exponent = (bits >> 23 & 0xff) as i32 - 127;
    let mantissa = bits & 0x7f_ffff;
    match exponent {
        16.. => sign | 0x7bff,
        -14.. => sign | ((exponent + 15) as u16) << 10 | (mantissa >> 13) as u16,
        -24..-14 => sign | ((mantissa | 0x80_0000) >> (-exponent - 1)) as u16,
        _ => sign,
    }
}

impl Blocks {
    /// Blocks of this type. Quantized types are for [`Fill::Row`] only.
    pub fn new(kind: GgmlType, fill: Fill, seed: u64) -> Blocks {
        Blocks { kind, fill, random: Random(seed) }
    }

    /// Fills `out`, whose length is a whole number of blocks.
    pub fn write(&mut self, out: &mut [u8]) {
        let size = self.kind.block_bytes() as usize;
        for block in out.chunks_exact_mut(size) {
            self.block(block);
        }
    }

    fn block(&mut self, b: &mut [u8]) {
        let std = match self.fill {
            Fill::Ones => {
                match self.kind {
                    GgmlType::F32 => b.copy_from_slice(&1f32.to_le_bytes()),
                    _ => put_f16(b, 1.0),
                }
                return;
            }
            Fill::Small => 0.01,
            Fill::Row(n) => 1.0 / (n.max(1) as f32).sqrt(),
        };
        if !matches!(self.kind, GgmlType::F32 | GgmlType::F16) {
            self.random.fill(b);
        }
        let r = self.random.next();
        // A random sign for the block's scale: the integers of most types lie not quite around zero.
        let d = if r & 1 == 0 { std } else { -std };
        // A uniform distribution over 2ᵏ integers has a standard deviation of 2ᵏ/√12.
        match self.kind {
            GgmlType::F32 => b.copy_from_slice(&(std * unit(r)).to_le_bytes()),
            GgmlType::F16 => put_f16(b, std * unit(r)),
            GgmlType::Q4_0 => put_f16(b, d / 4.62),
            GgmlType::Q5_0 => put_f16(b, d / 9.24),
            GgmlType::Q8_0 => put_f16(b, d / 73.9),
            // Scales of 32 to 63 that equal their minimums; dmin then puts the middle of the integers at zero.
            GgmlType::Q4_K => {
                put_f16(b, d / (47.5 * 4.62));
                put_f16(&mut b[2..], 7.5 * d / (47.5 * 4.62));
                pack_scales(&mut b[4..16], r);
            }
            GgmlType::Q5_K => {
                put_f16(b, d / (47.5 * 9.24));
                put_f16(&mut b[2..], 15.5 * d / (47.5 * 9.24));
                pack_scales(&mut b[4..16], r);
            }
            // Signed 8-bit scales behind the integers: 64 to 127 of either sign.
            GgmlType::Q6_K => {
                for s in &mut b[192..208] {
                    *s = (64 + (*s & 63)).wrapping_mul(if *s & 64 == 0 { 1 } else { 255 });
                }
                put_f16(&mut b[208..], std / (95.5 * 18.5));
            }
            // Not written by any layout; random bits of another type could be infinite.
            _ => b.fill(0),
        }
    }
}

/// A number around zero with standard deviation 1, uniform.
fn unit(r: u64) -> f32 {
    // √12 wide; 24 bits are what a float holds.
    ((r >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * 3.464
}

/// Packs eight 6-bit scales and eight equal minimums as the K-quants do.
fn pack_scales(out: &mut [u8], r: u64) {
    let scale = |j: usize| 32 + (r >> (8 + 5 * j) & 31) as u8;
    for j in 0..4 {
        let (low, high) = (scale(j), scale(j + 4));
        out[j] = low | (high >> 4) << 6;
        out[j + 4] = low | (high >> 4) << 6;
        out[j + 8] = (high & 15) | (high & 15) << 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half(b: &[u8]) -> f32 {
        let h = u16::from_le_bytes([b[0], b[1]]);
        let (e, m) = (i32::from(h >> 10 & 31), f32::from(h & 1023));
        let v = if e == 0 { m * 2f32.powi(-24) } else { (1.0 + m / 1024.0) * 2f32.powi(e - 15) };
        if h & 0x8000 == 0 {
            v
        } else {
            -v
        }
    }

    #[test]
    fn half_floats() {
        for (x, bits) in [(1.0, 0x3c00), (-2.0, 0xc000), (0.0, 0), (6.1e-5, 0x03ff), (1e9, 0x7bff), (5.97e-8, 1)] {
            assert_eq!(f16(x), bits, "{x}");
        }
        for x in [0.0123f32, 3.3e-5, 1.2e-6, 0.999] {
            let back = half(&f16(x).to_le_bytes());
            assert!((back - x).abs() <= x * 0.06, "{x} {back}");
        }
    }

    /// The weights of one block, as ggml's reference `dequantize_row_*` computes them.
    fn dequantize(kind: GgmlType, b: &[u8]) -> Vec<f32> {
        let scale_min = |q: &[u8], j: usize| {
            if j < 4 {
                (q[j] & 63, q[j + 4] & 63)
            } else {
                (q[j + 4] & 15 | (q[j - 4] >> 6) << 4, q[j + 4] >> 4 | (q[j] >> 6) << 4)
            }
        };
        let mut out = Vec::new();
        match kind {
            GgmlType::F32 => out.push(f32::from_le_bytes(b.try_into().unwrap())),
            GgmlType::F16 => out.push(half(b)),
            GgmlType::Q4_0 => {
                out.extend(b[2..].iter().flat_map(|q| [q & 15, q >> 4]).map(|q| half(b) * (f32::from(q) - 8.0)));
            }
            GgmlType::Q5_0 => {
                let high = u32::from_le_bytes(b[2..6].try_into().unwrap());
                for (j, q) in b[6..].iter().enumerate() {
                    let (h0, h1) = ((high >> j & 1) as u8, (high >> (j + 16) & 1) as u8);
                    out.push(half(b) * (f32::from(q & 15 | h0 << 4) - 16.0));
                    out.push(half(b) * (f32::from(q >> 4 | h1 << 4) - 16.0));
                }
            }
            GgmlType::Q8_0 => out.extend(b[2..].iter().map(|q| half(b) * f32::from(*q as i8))),
            GgmlType::Q4_K | GgmlType::Q5_K => {
                let five = kind == GgmlType::Q5_K;
                let (d, dmin, scales) = (half(b), half(&b[2..]), &b[4..16]);
                let (high, low) = if five { (&b[16..48], &b[48..]) } else { (&b[16..16], &b[16..]) };
                for j in 0..8 {
                    let (s, m) = scale_min(scales, j);
                    for i in 0..32 {
                        let q = low[j / 2 * 32 + i] >> (4 * (j % 2)) & 15;
                        let q = if five { q | (high[i] >> j & 1) << 4 } else { q };
                        out.push(d * f32::from(s) * f32::from(q) - dmin * f32::from(m));
                    }
                }
            }
            GgmlType::Q6_K => {
                let (low, high, scales, d) = (&b[..128], &b[128..192], &b[192..208], half(&b[208..]));
                for n in 0..2 {
                    let (low, high) = (&low[64 * n..], &high[32 * n..]);
                    for i in 0..128 {
                        let (quarter, l) = (i / 32, i % 32);
                        let nibble = low[l + 32 * (quarter % 2)] >> (4 * (quarter / 2)) & 15;
                        let q = nibble | (high[l] >> (2 * quarter) & 3) << 4;
                        let s = scales[8 * n + l / 16 + 2 * quarter] as i8;
                        out.push(d * f32::from(s) * (f32::from(q) - 32.0));
                    }
                }
            }
            _ => unreachable!(),
        }
        out
    }

    #[test]
    fn weights_have_the_right_spread_around_zero() {
        let kinds = [
            GgmlType::F32,
            GgmlType::F16,
            GgmlType::Q4_0,
            GgmlType::Q5_0,
            GgmlType::Q8_0,
            GgmlType::Q4_K,
            GgmlType::Q5_K,
            GgmlType::Q6_K,
        ];
        for kind in kinds {
            for n in [576u64, 9216] {
                let mut bytes = vec![0; kind.bytes_of(256 * 512).unwrap() as usize];
                Blocks::new(kind, Fill::Row(n), 1).write(&mut bytes);
                let w: Vec<f32> =
                    bytes.chunks_exact(kind.block_bytes() as usize).flat_map(|b| dequantize(kind, b)).collect();
                assert_eq!(w.len(), 256 * 512);
                assert!(w.iter().all(|x| x.is_finite()));
                let mean = w.iter().sum::<f32>() / w.len() as f32;
                let std = (w.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / w.len() as f32).sqrt();
                let wanted = 1.0 / (n as f32).sqrt();
                assert!((0.8..1.25).contains(&(std / wanted)), "{kind:?} {n}: {std} for {wanted}");
                assert!(mean.abs() < wanted / 20.0, "{kind:?} {n}: mean {mean}");
            }
        }
    }

    #[test]
    fn a_seed_gives_the_same_bytes_in_any_pieces() {
        let mut whole = vec![0; 210 * 64];
        Blocks::new(GgmlType::Q6_K, Fill::Row(512), 7).write(&mut whole);
        let mut b = Blocks::new(GgmlType::Q6_K, Fill::Row(512), 7);
        let mut pieces = vec![0; 210 * 64];
        for p in pieces.chunks_mut(210 * 5) {
            b.write(p);
        }
        assert_eq!(whole, pieces);
        let mut other = vec![0; 210 * 64];
        Blocks::new(GgmlType::Q6_K, Fill::Row(512), 8).write(&mut other);
        assert_ne!(whole, other);
    }
}
