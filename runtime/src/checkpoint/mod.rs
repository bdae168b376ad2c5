//! Checkpoints: found, told apart by their content, and opened.

mod distributed;
mod error;
mod folder;
mod format;
mod hints;
mod iteration;
mod locate;
mod open;
mod ranks;
mod sharded;
mod shards;
mod zarr;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub use distributed::DistributedError;
pub(crate) use error::listed;
pub use error::{OpenCause, OpenError};
pub(crate) use folder::read_json as read_config;
pub use format::{Format, FormatKind};
pub use iteration::{Iteration, IterationError};
pub(crate) use locate::{MODEL_FILES, TRACKER};
pub(crate) use ranks::RankName;
pub use shards::ShardsError;
pub use zarr::ZarrError;

use crate::Array;
use crate::document::Value;
use crate::storage::{InputFile, Region};
use crate::tensor::{Contents, Storage, Tensor, Unsupported};

/// How to open a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// Name of the member to read, where the file is a zip archive of several checkpoints.
    pub member: Option<String>,
    /// Which iteration to read of a Megatron-LM directory that holds several; the latest if not given.
    pub iteration: Option<Iteration>,
}

/// The file of one rank: of one process of a run that split the model.
#[derive(Clone, Debug)]
pub struct RankFile {
    /// Name of its directory, `mp_rank_00_001`; empty where the checkpoint has no ranks.
    pub name: String,
    /// The numbers in that name, outermost first: tensor rank, then pipeline or expert rank, as there are several.
    pub numbers: Vec<u64>,
    /// The file, for messages.
    pub file: String,
    /// Its plain data.
    pub documents: Value,
}

/// An opened checkpoint: tensors by name, and the plain data beside them. Tensor data is mapped, not read.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    file: String,
    format: Format,
    contents: Contents,
    by_name: HashMap<String, usize>,
    ranks: Vec<RankFile>,
    other_ranks: Vec<String>,
    /// The directory that documents in files of their own lie in.
    folder: Option<PathBuf>,
    notes: Vec<String>,
}

impl Checkpoint {
    /// Opens a file or directory.
    ///
    /// Read are: files of `torch.save` (zip or the older stream), bare or as a member of a zip archive;
    /// Megatron-LM directories, at any level from the one of `latest_checkpointed_iteration.txt` down, with
    /// the files of all ranks or with a distributed checkpoint (`torch_dist`, `zarr`); safetensors files; and Hugging
    /// Face directories, of safetensors or `pytorch_model.bin`, whole or in shards. Formats are told apart by content. Names, shapes and plain data are read, tensor data is not, save that deflated members
    /// are inflated to an unlinked temporary file.
    ///
    /// The file stays mapped as long as the checkpoint lives. Another program that shortens it meanwhile can
    /// end this one with a bus error, as with any mapped file. A conversion is refused at its end if a file was written
    /// to, replaced or removed since it was opened.
    ///
    /// ```no_run
    /// let checkpoint = transship::Checkpoint::open("megatron_lm_345m_v0.0.zip".as_ref())?;
    /// for tensor in checkpoint.tensors() {
    ///     println!("{} {} {:?}", tensor.name, tensor.dtype, tensor.shape);
    /// }
    /// println!("{:?}", checkpoint.lookup("args.num_layers"));
    /// # Ok::<(), transship::OpenError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Where there is no checkpoint, more than one, one of a kind that is not read, or a damaged one.
    pub fn open(path: &Path) -> Result<Checkpoint, OpenError> {
        Checkpoint::open_with(path, &OpenOptions::default())
    }

    /// Opens a file or directory, as [`Checkpoint::open`] does, with `options`.
    ///
    /// # Errors
    ///
    /// As [`Checkpoint::open`], and where the member or the iteration that `options` names is not there.
    pub fn open_with(path: &Path, options: &OpenOptions) -> Result<Checkpoint, OpenError> {
        open::open(path, options)
    }

    /// A checkpoint that holds nothing, to bind configs without one.
    pub(crate) fn nothing() -> &'static Checkpoint {
        static NOTHING: OnceLock<Checkpoint> = OnceLock::new();
        NOTHING.get_or_init(|| {
            let documents = Value::Map(crate::document::Map::new());
            let contents = Contents { documents, ..Contents::empty() };
            let format = Format { kind: FormatKind::Memory, member: None };
            Checkpoint::new(Path::new(""), "the config".to_owned(), format, contents)
                .expect("bug: no tensors have no names in common")
        })
    }

    /// A checkpoint of arrays, called `name` in messages; it has no documents.
    ///
    /// # Errors
    ///
    /// Where two arrays have one name.
    pub fn in_memory(name: &str, arrays: Vec<(String, Array)>) -> Result<Checkpoint, OpenError> {
        let mut contents = Contents {
            tensors: Vec::with_capacity(arrays.len()),
            storages: Vec::with_capacity(arrays.len()),
            documents: Value::Map(crate::document::Map::new()),
            ..Contents::empty()
        };
        for (number, (tensor, array)) in arrays.into_iter().enumerate() {
            contents.tensors.push(array.as_tensor(&tensor, number));
            contents.storages.push(Storage {
                key: tensor,
                file: name.to_owned(),
                tensors: vec![number],
                region: array.region().clone(),
            });
        }
        let format = Format { kind: FormatKind::Memory, member: None };
        Checkpoint::new(Path::new(name), name.to_owned(), format, contents)
    }

    fn new(
        path: &Path,
        file: String,
        format: Format,
        mut contents: Contents,
    ) -> Result<Checkpoint, OpenError> {
        let documents = std::mem::replace(&mut contents.documents, Value::Null);
        let only = RankFile { name: String::new(), numbers: Vec::new(), file: file.clone(), documents };
        Checkpoint::of_ranks(path, file, format, contents, vec![only])
    }

    /// A checkpoint of the files of `ranks`, of which there is one at least. The documents of `contents` are left
    /// out.
    fn of_ranks(
        path: &Path,
        file: String,
        format: Format,
        contents: Contents,
        ranks: Vec<RankFile>,
    ) -> Result<Checkpoint, OpenError> {
        let mut by_name = HashMap::with_capacity(contents.tensors.len());
        let mut seen = HashSet::with_capacity(contents.tensors.len());
        for (at, tensor) in contents.tensors.iter().enumerate() {
            let once = seen.insert((tensor.rank, tensor.name.as_str()));
            if !once && tensor.chunk.is_none() {
                let file = ranks[tensor.rank].file.clone();
                return Err(OpenError::new(file, OpenCause::SameName { name: tensor.name.clone() }));
            }
            by_name.entry(tensor.name.clone()).or_insert(at);
        }
        Ok(Checkpoint {
            path: path.to_owned(),
            file,
            format,
            contents,
            by_name,
            ranks,
            other_ranks: Vec::new(),
            folder: None,
            notes: Vec::new(),
        })
    }

    /// What was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file that was read, with the member where it is inside an archive: `x.zip!release/…/model_optim_rng.pt`. For
    /// the shards of an index, the index; for several ranks, the directory that holds them.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Names of Megatron-LM's other ranks of this model (`mp_rank_01`, …), where one rank's file or directory was
    /// opened and others lie beside it. Their tensors are not here.
    #[must_use]
    pub fn other_ranks(&self) -> &[String] {
        &self.other_ranks
    }

    /// The files of the ranks that the checkpoint was split over; one where it was not.
    #[must_use]
    pub fn ranks(&self) -> &[RankFile] {
        &self.ranks
    }

    /// What kind of file it is.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// All tensors that can be converted, in the order of the file; of several ranks one after the other. Tensors
    /// of different ranks can have one name, as can the chunks of a larger tensor.
    #[must_use]
    pub fn tensors(&self) -> &[Tensor] {
        &self.contents.tensors
    }

    /// The tensor called `name`; of several the first.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.by_name.get(name).map(|&at| &self.contents.tensors[at])
    }

    /// Tensors of types that are not converted.
    #[must_use]
    pub fn unsupported(&self) -> &[Unsupported] {
        &self.contents.unsupported
    }

    /// The storages that tensors are views of.
    #[must_use]
    pub fn storages(&self) -> &[Storage] {
        &self.contents.storages
    }

    /// The storage that `tensor`, which is one of this checkpoint's, is a view of.
    #[must_use]
    pub fn storage(&self, tensor: &Tensor) -> &Storage {
        &self.contents.storages[tensor.storage.0]
    }

    /// All bytes of the storage that `tensor`, which is one of this checkpoint's, is a view of.
    ///
    /// The tensor's offset and strides index it. The bytes need not be aligned to the element size.
    #[must_use]
    pub fn bytes(&self, tensor: &Tensor) -> &[u8] {
        self.storage(tensor).region.bytes()
    }

    /// The files that tensors are read from, in no order. Deflated tensors are read from none: they were inflated when
    /// their file was opened.
    pub(crate) fn inputs(&self) -> Vec<InputFile> {
        let mut last: Option<&Region> = None;
        let mut inputs = BTreeMap::new();
        for region in self.contents.storages.iter().map(|storage| &storage.region) {
            // Storages of one file follow each other.
            if last.is_some_and(|last| last.shares_source(region)) {
                continue;
            }
            last = Some(region);
            if let Some(input) = region.input() {
                inputs.entry(input.path().to_owned()).or_insert_with(|| input.clone());
            }
        }
        inputs.into_values().collect()
    }

    /// Tells the operating system that the tensor's bytes are not needed for now, so that what was read does not
    /// count as this program's memory. They can be read again at any time.
    pub fn release(&self, tensor: &Tensor) {
        self.storage(tensor).region.release(tensor.byte_range());
    }

    /// The plain data, of the first of several ranks: of a torch file its whole top-level value, with tensors by index;
    /// beside the files of Hugging Face's models (safetensors, `*.bin`, shards) also the configuration files by name
    /// (`config.json`, …).
    #[must_use]
    pub fn documents(&self) -> &Value {
        &self.ranks[0].documents
    }

    /// The value at a dotted path into the documents, as [`Value::lookup`] follows it: `args.num_layers`.
    ///
    /// Where there is a `config.json` among them, a path is first tried inside it.
    #[must_use]
    pub fn lookup(&self, path: &str) -> Option<&Value> {
        let config = self.documents().as_map().and_then(|files| files.get(folder::CONFIG));
        config.and_then(|config| config.lookup(path)).or_else(|| self.documents().lookup(path))
    }

    /// The directory that documents in files of their own lie in, where the checkpoint has one.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// The JSON file called `name` that lies beside the checkpoint; `None` where there is none.
    ///
    /// # Errors
    /// Where it cannot be read or holds no JSON object.
    pub fn document(&self, name: &str) -> Result<Option<Value>, OpenError> {
        match &self.folder {
            Some(folder) if !name.contains(['/', '\\']) => folder::document(folder, name),
            _ => Ok(None),
        }
    }

    /// What the user should know of how it was opened.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}
