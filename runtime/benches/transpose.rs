//! Throughput of copies between layouts, against a plain copy of the same bytes.
//!
//! Each layout is made window by window, as the writer does, on one thread and on two. Figures are GB/s of output,
//! best of several runs.

#![allow(clippy::print_stdout)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use transship::DType;
use transship::engine::{Content, Convert, PreparedTensor, Scratch, StridedCopy, TargetTensor};

struct Case {
    name: &'static str,
    /// Axes of the source, row-major.
    source: &'static [usize],
    /// The axes of the source in the order of the target.
    order: &'static [usize],
    convert: Convert,
    /// Rows of the target made at once.
    rows: usize,
}

fn main() {
    let half = Convert::bits(DType::F16);
    let single = Convert::bits(DType::F32);
    let mut cases = Vec::new();
    for (name, source) in [
        ("transpose 50304 x 1024", &[50304, 1024]),
        ("transpose 3072 x 1024", &[3072, 1024]),
        ("transpose 4096 x 1024", &[4096, 1024]),
        ("transpose 1024 x 4096", &[1024, 4096]),
        ("transpose 1000 x 3000", &[1000, 3000]),
    ] {
        for (convert, rows) in
            [(half, 32), (half, 64), (half, 256), (single, 16), (single, 64), (Convert::bits(DType::U8), 128)]
        {
            cases.push(Case { name, source, order: &[1, 0], convert, rows });
        }
    }
    let mut case =
        |name, source, order, convert, rows| cases.push(Case { name, source, order, convert, rows });
    // Heads, q/k/v, head size, hidden: to q/k/v first, transposed and not, and to the version-1 order.
    case("qkv regroup, rows", &[16, 3, 64, 1024], &[1, 0, 2, 3], half, 256);
    case("qkv regroup, transposed", &[16, 3, 64, 1024], &[3, 1, 0, 2], half, 64);
    case("qkv innermost, rows", &[16, 64, 3, 1024], &[2, 0, 1, 3], half, 256);
    case("qkv innermost, transposed", &[16, 64, 3, 1024], &[3, 2, 0, 1], half, 64);
    case("pairs to halves, innermost", &[1024, 16, 32, 2], &[0, 1, 3, 2], half, 256);
    case("halves to pairs, innermost", &[1024, 16, 2, 32], &[0, 1, 3, 2], half, 256);
    case("cast", &[4096, 1024], &[0, 1], Convert::cast(DType::F16, DType::F32), 64);
    case("cast", &[4096, 1024], &[0, 1], Convert::cast(DType::F32, DType::F16), 64);
    case("cast", &[4096, 1024], &[0, 1], Convert::cast(DType::F32, DType::BF16), 64);
    case("cast", &[4096, 1024], &[0, 1], Convert::cast(DType::F32, DType::F8E4M3), 64);
    case("cast, transposed", &[4096, 1024], &[1, 0], Convert::cast(DType::F16, DType::F32), 64);
    case("cast, transposed", &[4096, 1024], &[1, 0], Convert::cast(DType::F32, DType::F16), 64);

    println!("{:30} {:>12} {:>5} {:>8} {:>8} {:>8}", "", "", "rows", "1 thread", "2", "copy, 2");
    for case in &cases {
        measure(case);
    }
}

fn measure(case: &Case) {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    if wanted.is_some_and(|part| !case.name.contains(&part)) {
        return;
    }
    let elements: usize = case.source.iter().product();
    let source = vec![1u8; elements * case.convert.from.size()];
    let shape: Vec<usize> = case.order.iter().map(|&axis| case.source[axis]).collect();
    let strides = row_major(case.source);
    let copy = StridedCopy {
        source_offset: 0,
        source_strides: case.order.iter().map(|&axis| strides[axis]).collect(),
        target_offset: 0,
        target_strides: row_major(&shape),
        shape: shape.clone(),
    };
    let tensor = |copy, convert: Convert| TargetTensor {
        name: String::new(),
        dtype: convert.to,
        shape: vec![elements as u64],
        contents: vec![Content::Copy { copy, source: &source, convert }],
    };
    let converted = PreparedTensor::new(&tensor(copy, case.convert)).expect("a valid copy");
    let flat = StridedCopy::run(elements);
    let plain = PreparedTensor::new(&tensor(flat, Convert::bits(case.convert.from))).expect("a valid copy");
    let window = case.rows * (elements / shape[0]);
    let convert = format!("{} to {}", case.convert.from, case.convert.to);
    println!(
        "{:30} {:>12} {:>5} {:>8.2} {:>8.2} {:>8.2}",
        case.name,
        convert,
        case.rows,
        rate(&converted, window, 1),
        rate(&converted, window, 2),
        rate(&plain, window, 2),
    );
}

/// GB/s of output over windows of so many elements.
fn rate(tensor: &PreparedTensor<'_>, window: usize, threads: usize) -> f64 {
    let size = tensor.element_size();
    let elements = tensor.bytes() / size;
    let passes = ((256 << 20) / tensor.bytes()).clamp(3, 40);
    let mut best = f64::INFINITY;
    let barrier = &std::sync::Barrier::new(threads);
    let next = &(0..passes).map(|_| AtomicUsize::new(0)).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let work = move || {
            let mut buffer = vec![0u8; window * size];
            let mut scratch = Scratch::default();
            let mut best = f64::INFINITY;
            for next in next {
                // Before the barrier: another thread may finish all before this one leaves it.
                let start = Instant::now();
                barrier.wait();
                loop {
                    let first = next.fetch_add(window, Ordering::Relaxed);
                    if first >= elements {
                        break;
                    }
                    let target = &mut buffer[..window.min(elements - first) * size];
                    tensor.write_range(first, target, &mut scratch).expect("a valid range");
                    std::hint::black_box(target);
                }
                barrier.wait();
                best = start.elapsed().as_secs_f64().min(best);
            }
            best
        };
        for _ in 1..threads {
            scope.spawn(work);
        }
        best = work();
    });
    tensor.bytes() as f64 / best / 1e9
}

fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}
