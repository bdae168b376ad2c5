//! A target tensor as the contents that make it up.

use super::convert::convert_part;
use super::fill::PreparedFill;
use super::nest::{LoopNest, Part, each_element, elements};
use super::strided::elements_in;
use super::{Convert, CopyError, Fill, Region, StridedCopy};
use crate::DType;

/// A tensor to be written: row-major, little-endian.
#[derive(Clone, Debug)]
pub struct TargetTensor<'a> {
    /// Its name in the target checkpoint.
    pub name: String,
    /// Its element type.
    pub dtype: DType,
    /// Its sizes; empty for a scalar.
    pub shape: Vec<u64>,
    /// Contents that cover every element exactly once.
    pub contents: Vec<Content<'a>>,
}

/// Where some elements of a target tensor come from.
#[derive(Clone, Debug)]
pub enum Content<'a> {
    /// Elements of a source.
    Copy {
        /// Which elements go where.
        copy: StridedCopy,
        /// The little-endian elements that the copy's source side indexes, at any alignment.
        source: &'a [u8],
        /// What happens to each on its way.
        convert: Convert,
    },
    /// Elements that are made.
    Fill {
        /// Which elements of the target.
        region: Region,
        /// What they are.
        fill: Fill<'a>,
    },
}

/// Largest tensor whose elements debug builds mark one by one.
const MARKED: usize = 1 << 22;

/// Buffers that work on one thread reuses from call to call.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) read: Vec<u8>,
    pub(super) written: Vec<u8>,
    pub(super) values: Vec<f64>,
}

/// A checked target tensor, any flat range of which can be written on any thread.
#[derive(Debug)]
pub struct PreparedTensor<'a> {
    dtype: DType,
    elements: usize,
    /// By first target element.
    contents: Vec<Prepared<'a>>,
    /// The largest end of this content and all before it.
    ends: Vec<usize>,
}

#[derive(Debug)]
struct Prepared<'a> {
    nest: LoopNest,
    work: Work<'a>,
}

#[derive(Debug)]
enum Work<'a> {
    Copy { source: &'a [u8], convert: Convert },
    Fill(PreparedFill<'a>),
}

impl TargetTensor<'_> {
    /// Elements of the tensor.
    ///
    /// # Errors
    /// If they are more than can be addressed.
    pub fn elements(&self) -> Result<usize, CopyError> {
        let shape: Vec<usize> =
            self.shape.iter().map(|&size| usize::try_from(size).unwrap_or(usize::MAX)).collect();
        let rank = shape.len();
        let copy = StridedCopy {
            shape,
            source_offset: 0,
            source_strides: vec![0; rank],
            target_offset: 0,
            target_strides: vec![0; rank],
        };
        copy.elements()
    }
}

impl<'a> PreparedTensor<'a> {
    /// Checks every content, and that all together have as many elements as the tensor.
    ///
    /// # Errors
    /// If a content does not fit its source or the tensor, a conversion is not defined, a value does not exist in
    /// the element type, or elements are left out.
    pub fn new(tensor: &TargetTensor<'a>) -> Result<PreparedTensor<'a>, CopyError> {
        let length = tensor.elements()?;
        let mut contents = Vec::with_capacity(tensor.contents.len());
        let mut covered = 0usize;
        for content in &tensor.contents {
            let prepared = Prepared::new(content, tensor.dtype, length)?;
            covered = covered.saturating_add(prepared.nest.elements());
            contents.push(prepared);
        }
        if covered != length {
            return Err(CopyError::Coverage { covered, elements: length });
        }
        contents.retain(|content| content.nest.elements() != 0);
        contents.sort_by_key(|content| content.nest.target);
        let ends = contents
            .iter()
            .scan(0, |end, content| {
                *end = content.nest.target_end().max(*end);
                Some(*end)
            })
            .collect();
        let prepared = PreparedTensor { dtype: tensor.dtype, elements: length, contents, ends };
        if cfg!(debug_assertions) && length <= MARKED {
            prepared.check_coverage()?;
        }
        Ok(prepared)
    }

    /// Bytes of the tensor.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.elements.saturating_mul(self.dtype.size())
    }

    /// Bytes per element.
    #[must_use]
    pub fn element_size(&self) -> usize {
        self.dtype.size()
    }

    /// The whole tensor in memory.
    ///
    /// # Errors
    /// If contents overlap, which leaves elements out.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CopyError> {
        let mut bytes = vec![0; self.bytes()];
        self.write_range(0, &mut bytes, &mut Scratch::default())?;
        Ok(bytes)
    }

    /// Writes the elements from `first` on that `target` has room for.
    ///
    /// # Errors
    /// If contents overlap in the range, which leaves elements of it out, or the range leaves the tensor.
    pub fn write_range(
        &self,
        first: usize,
        target: &mut [u8],
        scratch: &mut Scratch,
    ) -> Result<(), CopyError> {
        let size = self.dtype.size();
        let count = elements_in(target.len(), self.dtype)?;
        let end = first.saturating_add(count);
        if end > self.elements {
            return Err(CopyError::TargetBounds {
                shape: vec![count],
                last: end.saturating_sub(1),
                length: self.elements,
            });
        }
        let mut written = 0;
        let from = self.ends.partition_point(|&content_end| content_end <= first);
        let to = self.contents.partition_point(|content| content.nest.target < end);
        for content in self.contents.get(from..to).unwrap_or_default() {
            content.nest.within(first, end, &mut |part| {
                written += elements(part.loops);
                let part = Part { target: part.target - first, ..part };
                match &content.work {
                    Work::Copy { source, convert } => convert_part(part, convert, source, target, scratch),
                    Work::Fill(fill) => fill.fill_part(part, target, scratch),
                }
            });
        }
        debug_assert_eq!(target.len(), count * size);
        if written == count { Ok(()) } else { Err(CopyError::Gap { first, end }) }
    }

    /// The source bytes that are these elements as they are, where one copy of bits in one run makes them all.
    pub(crate) fn stored(&self, first: usize, bytes: usize) -> Option<&'a [u8]> {
        let size = self.dtype.size();
        let at = self.ends.partition_point(|&content_end| content_end <= first);
        let content = self.contents.get(at)?;
        let nest = &content.nest;
        let Work::Copy { source, convert } = content.work else { return None };
        let (start, end) = (nest.target, nest.target_end());
        let one_run = match nest.loops[..] {
            [] => true,
            [axis] => axis.source == 1 && axis.target == 1,
            _ => false,
        };
        if !one_run || !convert.is_bits() || start > first || first + bytes / size > end {
            return None;
        }
        source.get((nest.source + first - start) * size..)?.get(..bytes)
    }

    /// Elements from one row of the tensor to the next where rows are best written many at a time: the largest
    /// target step along an axis contiguous in the source. `None` where runs are contiguous on both sides.
    pub(crate) fn transposed_row(&self) -> Option<usize> {
        let rows = self.contents.iter().filter_map(|content| match content.work {
            Work::Copy { .. } => {
                let loops = &content.nest.loops;
                let nearest = loops.iter().filter(|axis| axis.source != 0).min_by_key(|axis| axis.source)?;
                (nearest.target > 1 && loops.last()?.source != 1).then_some(nearest.target)
            }
            Work::Fill(_) => None,
        });
        rows.max()
    }

    /// Marks every element, which costs more than to write it: for debug builds.
    fn check_coverage(&self) -> Result<(), CopyError> {
        let mut marks = vec![false; self.elements];
        for content in &self.contents {
            let nest = &content.nest;
            let whole = Part { source: nest.source, target: nest.target, loops: &nest.loops };
            each_element(whole, &mut |_, target| marks[target] = true);
        }
        if marks.contains(&false) { Err(CopyError::Gap { first: 0, end: self.elements }) } else { Ok(()) }
    }
}

impl<'a> Prepared<'a> {
    fn new(content: &Content<'a>, dtype: DType, length: usize) -> Result<Prepared<'a>, CopyError> {
        match content {
            Content::Copy { copy, source, convert } => {
                convert.check()?;
                if convert.to != dtype {
                    return Err(CopyError::ContentType { content: convert.to, tensor: dtype });
                }
                let nest = copy.prepare(elements_in(source.len(), convert.from)?, length)?;
                Ok(Prepared { nest, work: Work::Copy { source, convert: *convert } })
            }
            Content::Fill { region, fill } => {
                let (nest, fill) = PreparedFill::new(region, fill, dtype, length)?;
                Ok(Prepared { nest, work: Work::Fill(fill) })
            }
        }
    }
}
