//! The executor: threads that take pieces of the output in file order, make them and write them.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::checksum::{self, Checksums};
use super::directory::{OutputDirectory, Request};
use super::disk::write_all_at;
use super::pieces::{Piece, Pieces, Work};
use super::{OutputError, OutputPlan, PlannedFile, SmallFile, TensorSpec};
use crate::engine::{CopyError, PreparedTensor, Scratch, TargetTensor};
use crate::storage::InputFile;

/// How an output is written.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Threads that copy; 0 is one per core.
    pub threads: usize,
    /// Whether existing outputs are replaced.
    pub force: bool,
    /// Whether files are on the disk, not only in the system's cache, before they appear.
    pub sync: bool,
    /// Called with the bytes of tensors written since its last call, from any thread.
    pub progress: Option<&'a (dyn Fn(u64) + Sync)>,
    /// Writing stops soon after this is set.
    pub cancel: Option<&'a AtomicBool>,
    /// Called with what the user should know and no error is: what was left by runs that were killed, and what could
    /// not be done once the output was whole.
    pub tell: Option<&'a (dyn Fn(&str) + Sync)>,
}

impl Default for Options<'_> {
    /// One thread per core, nothing replaced, files synced.
    fn default() -> Self {
        Options { threads: 0, force: false, sync: true, progress: None, cancel: None, tell: None }
    }
}

/// Writes the planned files and the small ones into a directory, all or nothing.
///
/// `tensors` are matched with the plan by name. The bytes written do not depend on the number of threads. A directory
/// that is not there yet appears whole; in one that is there files appear in this order once all are complete: small
/// files, planned files, the plan's index.
///
/// # Errors
/// If plan and tensors disagree, a tensor's contents are not valid, outputs exist, the disk is full or fails, or the
/// caller cancels. Nothing is left behind then, and what was there before is unchanged.
pub fn run(
    path: &Path,
    plan: &OutputPlan,
    tensors: &[TargetTensor<'_>],
    small: &[SmallFile],
    options: &Options<'_>,
) -> Result<(), OutputError> {
    write(path, plan, tensors, small, &[], options)
}

/// The same where the tensors are made of `inputs`, which must not be replaced nor change meanwhile.
pub(crate) fn write(
    path: &Path,
    plan: &OutputPlan,
    tensors: &[TargetTensor<'_>],
    small: &[SmallFile],
    inputs: &[InputFile],
    options: &Options<'_>,
) -> Result<(), OutputError> {
    plan.check()?;
    let prepared = prepare(plan, tensors)?;
    // The index, or the only file with tensors, is what makes a directory a checkpoint.
    let names = small.iter().map(|file| &file.name).chain(plan.files.iter().map(|file| &file.name));
    let names = names.chain(plan.index.iter().map(|file| &file.name)).map(String::as_str).collect();
    let small: Vec<&SmallFile> = small.iter().chain(&plan.index).collect();
    let planned = plan.files.iter().map(|file| file.size);
    let needed = planned.chain(small.iter().map(|file| file.bytes.len() as u64)).fold(0, u64::saturating_add);
    let (force, sync) = (options.force, options.sync);
    let tell: &(dyn Fn(&str) + Sync) = match options.tell {
        Some(tell) => tell,
        None => &|_| {},
    };
    let request = Request { path, names, superseded: plan.superseded, needed, force, sync, inputs, tell };
    let mut directory = OutputDirectory::prepare(request)?;
    for file in &plan.files {
        directory.add(&file.name, file.size)?;
    }
    let threads = crate::threads::count(options.threads);
    let checksums = Checksums::new(&plan.files);
    directory.check_inputs()?;
    let checked = Mutex::new(Instant::now());
    let files = &plan.files;
    Job { directory: &directory, files, tensors: &prepared, checksums: &checksums, options, checked }
        .run(threads)?;
    for (index, file) in plan.files.iter().enumerate() {
        write_literals(&directory, index, file, &checksums.of_file(index))?;
    }
    for file in small {
        let handle = directory.add(&file.name, file.bytes.len() as u64)?;
        write_all_at(&handle, &file.bytes, 0).map_err(|error| directory.write_failed(&file.name, error))?;
    }
    if options.cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
        return Err(OutputError::Cancelled);
    }
    directory.publish()
}

/// Writes what surrounds the tensors, with their checksums in it.
fn write_literals(
    directory: &OutputDirectory<'_>,
    index: usize,
    file: &PlannedFile,
    checksums: &[(u64, u32)],
) -> Result<(), OutputError> {
    let handle = directory.open(index)?;
    for literal in &file.literals {
        let patched = checksum::patched(literal, checksums);
        write_all_at(&handle, patched.as_ref().unwrap_or(&literal.bytes), literal.offset)
            .map_err(|error| directory.write_failed(&file.name, error))?;
    }
    Ok(())
}

/// Checked tensors per planned file, in file order.
fn prepare<'a>(
    plan: &OutputPlan,
    tensors: &[TargetTensor<'a>],
) -> Result<Vec<Vec<PreparedTensor<'a>>>, OutputError> {
    let mut by_name = HashMap::with_capacity(tensors.len());
    for tensor in tensors {
        if by_name.insert(tensor.name.as_str(), tensor).is_some() {
            return Err(OutputError::DuplicateTensor { name: tensor.name.clone() });
        }
    }
    let mut files = Vec::with_capacity(plan.files.len());
    for file in &plan.files {
        let mut prepared = Vec::with_capacity(file.tensors.len());
        for planned in &file.tensors {
            let spec = &planned.spec;
            let tensor = by_name
                .remove(spec.name.as_str())
                .ok_or_else(|| OutputError::Unmatched { name: spec.name.clone(), planned: true })?;
            if tensor.dtype != spec.dtype || tensor.shape != spec.shape {
                let describe = |spec: &TensorSpec| format!("{} {:?}", spec.dtype, spec.shape);
                return Err(OutputError::Differs {
                    name: spec.name.clone(),
                    planned: describe(spec),
                    given: describe(&TensorSpec::of(tensor)),
                });
            }
            prepared.push(PreparedTensor::new(tensor).map_err(in_tensor(&spec.name))?);
        }
        files.push(prepared);
    }
    match tensors.iter().find(|tensor| by_name.contains_key(tensor.name.as_str())) {
        Some(left) => Err(OutputError::Unmatched { name: left.name.clone(), planned: false }),
        None => Ok(files),
    }
}

fn in_tensor(name: &str) -> impl FnOnce(CopyError) -> OutputError {
    move |source| OutputError::Tensor { name: name.to_owned(), source }
}

struct Job<'a> {
    directory: &'a OutputDirectory<'a>,
    files: &'a [PlannedFile],
    tensors: &'a [Vec<PreparedTensor<'a>>],
    checksums: &'a Checksums<'a>,
    options: &'a Options<'a>,
    /// When the inputs were last looked at.
    checked: Mutex<Instant>,
}

/// What a thread keeps from piece to piece.
#[derive(Default)]
struct Worker {
    buffer: Vec<u8>,
    scratch: Scratch,
    file: Option<(usize, File)>,
}

impl Job<'_> {
    fn run(&self, threads: usize) -> Result<(), OutputError> {
        let pieces = Mutex::new(Pieces::new(self.files, self.tensors, threads));
        let failure = Mutex::new(None);
        let stop = AtomicBool::new(false);
        let work = || {
            let mut worker = Worker::default();
            while !stop.load(Ordering::Relaxed) {
                let piece = pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(piece) = piece else { break };
                if let Err(error) = self.write(&piece, &mut worker) {
                    stop.store(true, Ordering::Relaxed);
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            }
        };
        crate::threads::in_threads(threads, work);
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn write(&self, piece: &Piece, worker: &mut Worker) -> Result<(), OutputError> {
        if self.options.cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
            return Err(OutputError::Cancelled);
        }
        self.check_inputs()?;
        let file = &self.files[piece.file];
        let tensors = &self.tensors[piece.file];
        if worker.file.as_ref().is_none_or(|(index, _)| *index != piece.file) {
            worker.file = Some((piece.file, self.directory.open(piece.file)?));
        }
        let Worker { buffer, scratch, file: Some((_, handle)) } = worker else {
            unreachable!("bug: the file of the piece was just opened")
        };
        let direct = match piece.work {
            Work::Elements { tensor, first } => tensors[tensor].stored(first, piece.bytes),
            Work::Tensors(_) => None,
        };
        let bytes = if let Some(bytes) = direct {
            bytes
        } else {
            if buffer.len() < piece.bytes {
                buffer.resize(piece.bytes, 0);
            }
            let bytes = &mut buffer[..piece.bytes];
            match &piece.work {
                Work::Elements { tensor, first } => tensors[*tensor]
                    .write_range(*first, bytes, scratch)
                    .map_err(in_tensor(&file.tensors[*tensor].spec.name))?,
                Work::Tensors(range) => {
                    let mut rest = &mut *bytes;
                    for index in range.clone() {
                        let (own, after) = rest.split_at_mut(tensors[index].bytes());
                        tensors[index]
                            .write_range(0, own, scratch)
                            .map_err(in_tensor(&file.tensors[index].spec.name))?;
                        rest = after;
                    }
                }
            }
            &*bytes
        };
        self.sum(piece, bytes);
        write_all_at(handle, bytes, piece.offset)
            .map_err(|error| self.directory.write_failed(&file.name, error))?;
        if let Some(progress) = self.options.progress {
            progress(bytes.len() as u64);
        }
        Ok(())
    }

    /// Looks at the inputs from time to time: reading one that was cut short ends the process.
    fn check_inputs(&self) -> Result<(), OutputError> {
        match self.checked.try_lock() {
            Ok(mut last) if last.elapsed() >= Duration::from_secs(1) => {
                *last = Instant::now();
                self.directory.check_inputs()
            }
            _ => Ok(()),
        }
    }

    /// Takes the bytes of a piece into the checksums of its tensors.
    fn sum(&self, piece: &Piece, bytes: &[u8]) {
        match &piece.work {
            Work::Elements { tensor, .. } => {
                let first = piece.offset - self.files[piece.file].tensors[*tensor].offset;
                self.checksums.add(piece.file, *tensor, first, bytes);
            }
            Work::Tensors(range) => {
                let mut rest = bytes;
                for index in range.clone() {
                    let (own, after) = rest.split_at(self.tensors[piece.file][index].bytes());
                    self.checksums.add(piece.file, index, 0, own);
                    rest = after;
                }
            }
        }
    }
}
