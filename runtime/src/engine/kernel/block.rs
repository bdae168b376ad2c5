//! Elements by width, and the transpose of a small square block of them.

/// An element of 1, 2, 4, 8 or 16 bytes, moved without looking inside.
pub(super) trait Element: Copy {
    /// Rows and columns of the block that `transpose` takes.
    const SIDE: usize;

    /// # Safety
    /// `size_of::<Self>()` bytes must be readable at `source`, at any alignment.
    unsafe fn load(source: *const u8) -> Self {
        // SAFETY: as promised by the caller.
        unsafe { source.cast::<Self>().read_unaligned() }
    }

    /// # Safety
    /// `size_of::<Self>()` bytes must be writable at `target`, at any alignment.
    unsafe fn store(target: *mut u8, element: Self) {
        // SAFETY: as promised by the caller.
        unsafe { target.cast::<Self>().write_unaligned(element) }
    }

    /// Writes column `i` of the source block as row `i` of the target block; strides in bytes.
    ///
    /// # Safety
    /// `SIDE` rows of `SIDE` elements must be readable at `source` and writable at `target`.
    unsafe fn transpose(source: *const u8, source_stride: usize, target: *mut u8, target_stride: usize) {
        // SAFETY: as promised by the caller.
        unsafe { transpose_one_by_one::<Self>(source, source_stride, target, target_stride) }
    }
}

/// # Safety
/// As for `Element::transpose`.
unsafe fn transpose_one_by_one<E: Element>(
    source: *const u8,
    source_stride: usize,
    target: *mut u8,
    target_stride: usize,
) {
    for row in 0..E::SIDE {
        for column in 0..E::SIDE {
            // SAFETY: both are elements of the blocks that the caller promised.
            unsafe {
                let element = E::load(source.add(column * source_stride + row * size_of::<E>()));
                E::store(target.add(row * target_stride + column * size_of::<E>()), element);
            }
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
mod elements {
    use super::Element;

    impl Element for u8 {
        const SIDE: usize = 16;
    }
    impl Element for u16 {
        const SIDE: usize = 8;
    }
    impl Element for u32 {
        const SIDE: usize = 4;
    }
    impl Element for u64 {
        const SIDE: usize = 2;
    }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod elements {
    //! SSE2, which every x86-64 has. Each step interleaves row `i` with row `i + SIDE / 2`; log2(SIDE) such steps
    //! are a transpose.

    use std::arch::x86_64::*;

    use super::Element;

    macro_rules! element {
        ($width:ty, $side:literal, $steps:literal, $low:ident, $high:ident) => {
            impl Element for $width {
                const SIDE: usize = $side;

                #[inline(always)]
                unsafe fn transpose(
                    source: *const u8,
                    source_stride: usize,
                    target: *mut u8,
                    target_stride: usize,
                ) {
                    // SAFETY: as promised by the caller; SIDE elements are 16 bytes.
                    unsafe {
                        let mut rows = [_mm_setzero_si128(); $side];
                        for (index, row) in rows.iter_mut().enumerate() {
                            *row = _mm_loadu_si128(source.add(index * source_stride).cast());
                        }
                        for _ in 0..$steps {
                            let (first, second) = rows.split_at($side / 2);
                            let mut interleaved = rows;
                            for (pair, (&a, &b)) in
                                interleaved.chunks_exact_mut(2).zip(first.iter().zip(second))
                            {
                                pair[0] = $low(a, b);
                                pair[1] = $high(a, b);
                            }
                            rows = interleaved;
                        }
                        for (index, row) in rows.into_iter().enumerate() {
                            _mm_storeu_si128(target.add(index * target_stride).cast(), row);
                        }
                    }
                }
            }
        };
    }

    element!(u8, 16, 4, _mm_unpacklo_epi8, _mm_unpackhi_epi8);
    element!(u16, 8, 3, _mm_unpacklo_epi16, _mm_unpackhi_epi16);
    element!(u32, 4, 2, _mm_unpacklo_epi32, _mm_unpackhi_epi32);
    element!(u64, 2, 1, _mm_unpacklo_epi64, _mm_unpackhi_epi64);
}

impl Element for u128 {
    const SIDE: usize = 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<E: Element>() {
        let width = size_of::<E>();
        let (source_stride, target_stride) = (E::SIDE * width + 3, E::SIDE * width + 5);
        let source: Vec<u8> = (0..1 + E::SIDE * source_stride).map(|i| (i * 7 + i / 256) as u8).collect();
        let mut expected = vec![0xAA; 1 + E::SIDE * target_stride];
        let mut found = expected.clone();
        // SAFETY: `SIDE` rows of one stride each fit the buffers behind the one byte that unaligns them.
        unsafe {
            let source = source.as_ptr().add(1);
            transpose_one_by_one::<E>(source, source_stride, expected.as_mut_ptr().add(1), target_stride);
            E::transpose(source, source_stride, found.as_mut_ptr().add(1), target_stride);
        }
        assert!(expected == found, "{width} bytes");
    }

    #[test]
    fn every_block_is_transposed_as_one_by_one() {
        check::<u8>();
        check::<u16>();
        check::<u32>();
        check::<u64>();
        check::<u128>();
    }
}
