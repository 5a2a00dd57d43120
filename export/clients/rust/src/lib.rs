//! Recommendations from an exported model, with only onnxruntime.
//!
//! ```no_run
//! use recommend::{Config, Model, Options};
//!
//! let model = Model::<String>::load("model.onnx", Config::default())?;
//! let ranking = model.recommend(&[vec!["42".to_string()]], 10, &Options::default())?;
//! println!("{}\t{}", ranking.items[0][0], ranking.scores[0][0]);
//! # Ok::<(), recommend::Error>(())
//! ```

mod digest;

use std::collections::BTreeMap;
use std::env::{self, consts};
use std::marker::PhantomData;
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::{error, fmt, thread};

use ort::environment::Environment;
use ort::ep::{self, ExecutionProvider};
use ort::logging::LogLevel;
use ort::session::{ModelMetadata, Session, SessionOutputs};
use ort::value::{DynTensor, DynValue, Tensor, TensorElementType, ValueType};

const VERSIONS: [&str; 2] = ["1", "2"];
const MOST_THREADS: usize = 1024;
/// The optional inputs of a file, each with the option of multvae-export that adds it.
const OPTIONS: [(&str, &str); 3] = [
    ("exclude", "--filters"),
    ("among", "--filters"),
    ("noise", "--posterior"),
];

/// A file exported with `--io tokens`, as `Model<String>`, or with `--io ids`, as `Model<i64>`.
///
/// Threads may share a model. Their requests run one after the other, as ort allows one run of a
/// session at a time, because parts of onnxruntime are not safe for more. For parallel requests load
/// several models, each with its own memory.
#[derive(Debug)]
pub struct Model<T: Item> {
    session: Mutex<Session>,
    inputs: BTreeMap<String, ValueType>,
    provider: &'static str,
    items: PhantomData<T>,
}

/// How a model runs, for example `Config { threads: 1, ..Config::default() }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Run on CUDA if it is available, else on the CPU.
    pub gpu: bool,
    /// Threads of a request on the CPU, at most 1024. By default as many as the process may use
    /// cores, where a container's CPU quota counts; 0 leaves it to onnxruntime, which takes the
    /// machine's cores.
    pub threads: usize,
    /// Refuse a damaged file, which reads the file once more.
    pub check: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            gpu: false,
            threads: thread::available_parallelism()
                .map_or(1, |cores| cores.get().min(MOST_THREADS)),
            check: true,
        }
    }
}

/// Optional inputs of a request, for a file that has them.
#[derive(Clone, Debug, Default)]
pub struct Options<'a, T: Item> {
    /// Items never to return, a list for each history, or one for all.
    pub exclude: Option<&'a [Vec<T>]>,
    /// The only items to rank, likewise; `None` ranks all.
    pub among: Option<&'a [Vec<T>]>,
    /// `[batch or 1][K]`, standard normal for a sample; `None` for none.
    pub noise: Option<&'a [Vec<f32>]>,
}

/// The items for each history, best first.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranking<T: Item> {
    /// `[batch][k]`; a row with fewer items ends in "" (of ids: 0).
    pub items: Vec<Vec<T>>,
    /// `[batch][k]`; -inf where there is no item.
    pub scores: Vec<Vec<f32>>,
    /// `[batch][k][length of the longest history]`: by how much each item of the history raises
    /// each score; `None` if the file has no reasons.
    pub reasons: Option<Vec<Vec<Vec<f32>>>>,
}

impl<T: Item> Model<T> {
    /// Load a file that [`Model`] describes; any other file is an error.
    pub fn load(path: impl AsRef<Path>, config: Config) -> Result<Self, Error> {
        let (path, file) = (path.as_ref(), path.as_ref().display());
        if !path.is_file() {
            let wanted = "expected a model exported with --io tokens or --io ids.";
            let found = if path.is_dir() { "a folder" } else { "missing" };
            return Err(Error::new(format!("{file} is {found}: {wanted}"), None));
        }
        if config.threads > MOST_THREADS {
            let threads = config.threads;
            let problem = format!("threads is {threads}: expected 0 to {MOST_THREADS}.");
            return Err(Error::new(problem, None));
        }
        let environment = environment()?;
        let open = |cuda| open(environment, path, cuda, config.threads);
        // The caller accepts the CPU too, so the reason why CUDA fails does not matter.
        let cuda = config.gpu.then(|| open(true).ok()).flatten();
        let provider = cuda.as_ref().map_or(ep::CPU::NAME, |_| ep::CUDA::NAME);
        let opened = cuda.map_or_else(|| open(false), Ok);
        let session = opened.map_err(|source| {
            let problem = "is no ONNX model that onnxruntime can read: export the model again.";
            Error::new(format!("{file} {problem}"), Some(source))
        })?;
        let inputs = inputs(&session);
        let metadata = session.metadata()?;
        check_contract(&inputs, metadata.custom("contract_version"))
            .and_then(|()| check_weights(path, &metadata, config.check))
            .and_then(|()| check_items::<T>(&inputs))
            .map_err(|problem| Error::new(format!("{file} {problem}"), None))?;
        drop(metadata); // It borrows the session.
        Ok(Self {
            session: Mutex::new(session),
            inputs,
            provider,
            items: PhantomData,
        })
    }

    /// What the model runs on: `CUDAExecutionProvider` or `CPUExecutionProvider`.
    pub fn provider(&self) -> &'static str {
        self.provider
    }

    /// Rank `k` items for each history; histories may differ in length.
    ///
    /// It is an error if the file lacks an option that is used, or `k` is 0.
    pub fn recommend(
        &self,
        histories: &[Vec<T>],
        k: usize,
        options: &Options<T>,
    ) -> Result<Ranking<T>, Error> {
        let feed = self.feed(histories, k, options)?;
        // A panic in another thread leaves the session intact.
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if histories.is_empty() {
            // Some releases of onnxruntime end the process if a batch has no rows.
            let mut names = session.outputs().iter().map(|output| output.name());
            let reasons = names.any(|name| name == "reasons").then(Vec::new);
            return Ok(Ranking {
                items: vec![],
                scores: vec![],
                reasons,
            });
        }
        Ok(ranking(&session.run(feed)?)?)
    }

    fn feed(
        &self,
        histories: &[Vec<T>],
        k: usize,
        options: &Options<T>,
    ) -> Result<Vec<(&'static str, DynTensor)>, Error> {
        if k == 0 {
            let problem = "k is 0: expected 1 or more.".to_string();
            return Err(Error::new(problem, None));
        }
        let Options {
            exclude,
            among,
            noise,
        } = *options;
        let used = [exclude.is_some(), among.is_some(), noise.is_some()];
        for ((name, flag), used) in OPTIONS.into_iter().zip(used) {
            if used && !self.inputs.contains_key(name) {
                let problem = format!("the model has no input {name}: export it with {flag}.");
                return Err(Error::new(problem, None));
            }
        }
        let k = i64::try_from(k).unwrap_or(i64::MAX);
        let k = Tensor::from_array(([1], vec![k]))?.upcast();
        let mut feed = vec![("history", padded(histories)?), ("k", k)];
        if self.inputs.contains_key("exclude") {
            for (name, lists) in [("exclude", exclude), ("among", among)] {
                let lists = lists.filter(|lists| !lists.is_empty());
                feed.push((name, padded(lists.unwrap_or(&[vec![]]))?));
            }
        }
        if let Some(shape) = self.inputs.get("noise").and_then(ValueType::tensor_shape) {
            let zeros = [vec![0.0; shape[1] as usize]];
            let noise = noise.unwrap_or(&zeros);
            let shape = [noise.len(), noise.first().map_or(0, Vec::len)];
            let noise = Tensor::from_array((shape, noise.concat()))?;
            feed.push(("noise", noise.upcast()));
        }
        Ok(feed)
    }
}

/// The item of a history that raised a score most, by its reasons `[length]`; `None` if none did.
pub fn because<'a, T>(history: &'a [T], reasons: &[f32]) -> Option<&'a T> {
    let mut most = (None, 0.0);
    for (item, &reason) in history.iter().zip(reasons) {
        if reason > most.1 {
            most = (Some(item), reason);
        }
    }
    most.0
}

/// The environment of onnxruntime, from the library that `ORT_DYLIB_PATH` names.
///
/// ort allows one environment in a process: other code that uses ort can take it from here.
pub fn environment() -> Result<&'static Environment, Error> {
    static ENVIRONMENT: LazyLock<Result<Environment, String>> = LazyLock::new(|| {
        let default = format!("{}onnxruntime{}", consts::DLL_PREFIX, consts::DLL_SUFFIX);
        let library = env::var_os("ORT_DYLIB_PATH").unwrap_or(default.into());
        let builder = ort::init_from(library).map_err(|source| {
            let remedy = "set ORT_DYLIB_PATH to the library of onnxruntime 1.20 or newer.";
            format!("onnxruntime cannot be loaded ({source}): {remedy}")
        })?;
        let environment = builder.build().map_err(|source| source.to_string())?;
        // Errors are returned: the log would repeat them on stderr.
        environment.set_log_level(LogLevel::Fatal);
        Ok(environment)
    });
    ENVIRONMENT
        .as_ref()
        .map_err(|sentence| Error::new(sentence.clone(), None))
}

fn open(
    environment: &Environment,
    path: &Path,
    cuda: bool,
    threads: usize,
) -> ort::Result<Session> {
    let mut builder = Session::builder(environment)?.with_intra_threads(threads)?;
    if cuda {
        ep::CUDA::default().register(&mut builder)?;
    }
    builder.commit_from_file(path)
}

fn inputs(session: &Session) -> BTreeMap<String, ValueType> {
    let mut inputs = BTreeMap::new();
    for input in session.inputs() {
        inputs.insert(input.name().to_string(), input.dtype().clone());
    }
    // onnxruntime lists a k that has a default as an initializer, not as an input.
    for input in session.overridable_initializers() {
        inputs.insert(input.name().to_string(), input.dtype().clone());
    }
    inputs
}

fn type_of(inputs: &BTreeMap<String, ValueType>, name: &str) -> Option<TensorElementType> {
    inputs.get(name).and_then(ValueType::tensor_type)
}

/// What is wrong with a file of another form or contract version.
fn check_contract(
    inputs: &BTreeMap<String, ValueType>,
    version: Option<String>,
) -> Result<(), String> {
    let is_option = |name: &String| OPTIONS.iter().any(|(option, _)| option == name);
    let others = inputs.keys().filter(|name| !is_option(name));
    let (Some(String::TYPE | i64::TYPE), Some(i64::TYPE), 2) = (
        type_of(inputs, "history"),
        type_of(inputs, "k"),
        others.count(),
    ) else {
        let types = inputs.iter().map(|(name, kind)| format!("{kind} {name}"));
        let types = types.collect::<Vec<_>>().join(", ");
        let wanted = "expected history and k; export the model with --io tokens or --io ids.";
        return Err(format!("takes {types}: {wanted}"));
    };
    let version = version.as_deref().unwrap_or("none");
    if !VERSIONS.contains(&version) {
        let known = format!("this client knows {}: update it.", VERSIONS.join(" and "));
        return Err(format!("has the contract version {version}, {known}"));
    }
    Ok(())
}

/// What is wrong with a file whose weights have another digest than its metadata say.
fn check_weights(path: &Path, metadata: &ModelMetadata, check: bool) -> Result<(), String> {
    // Files of older exporters have no digest.
    let Some(expected) = metadata.custom("weights_sha256").filter(|_| check) else {
        return Ok(());
    };
    let second = metadata.custom("weights_file");
    let second = second.map(|name| path.with_file_name(name));
    let found = digest::of_weights(path, second.as_deref())
        .map_err(|error| format!("cannot be read ({error}): export the model again."))?;
    if found != expected {
        let sums = format!("the SHA-256 of its weights is {found}, not {expected}");
        return Err(format!("is damaged: {sums}; copy the file again."));
    }
    Ok(())
}

/// What is wrong with a file of another type of items.
fn check_items<T: Item>(inputs: &BTreeMap<String, ValueType>) -> Result<(), String> {
    match type_of(inputs, "history") {
        Some(items) if items != T::TYPE => Err(format!(
            "takes items of type {items}: load it as Model<{items}>."
        )),
        _ => Ok(()),
    }
}

/// The rows as one tensor, padded with "" or 0.
fn padded<T: Item>(rows: &[Vec<T>]) -> ort::Result<DynTensor> {
    let length = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut padded = Vec::with_capacity(rows.len() * length);
    for row in rows {
        padded.extend_from_slice(row);
        padded.resize(padded.len() + length - row.len(), T::default());
    }
    T::tensor([rows.len(), length], padded)
}

fn ranking<T: Item>(outputs: &SessionOutputs) -> ort::Result<Ranking<T>> {
    let (shape, scores) = outputs["scores"].try_extract_tensor::<f32>()?;
    let (batch, k) = (shape[0] as usize, shape[1] as usize);
    let items = rows(T::read(&outputs["items"])?, batch, k);
    let scores = rows(scores.to_vec(), batch, k);
    let mut reasons = None;
    if let Some(output) = outputs.get("reasons") {
        let (shape, values) = output.try_extract_tensor::<f32>()?;
        let values = rows(values.to_vec(), batch * k, shape[2] as usize);
        reasons = Some(rows(values, batch, k));
    }
    Ok(Ranking {
        items,
        scores,
        reasons,
    })
}

/// The values as `count` rows of `width` each.
fn rows<V>(values: Vec<V>, count: usize, width: usize) -> Vec<Vec<V>> {
    let mut values = values.into_iter();
    let row = |_| values.by_ref().take(width).collect();
    (0..count).map(row).collect()
}

/// The type of a model's items: `String` for tokens, `i64` for RecBole's item ids.
pub trait Item: Clone + Default + private::Sealed {
    #[doc(hidden)]
    const TYPE: TensorElementType;
    #[doc(hidden)]
    fn tensor(shape: [usize; 2], items: Vec<Self>) -> ort::Result<DynTensor>;
    #[doc(hidden)]
    fn read(tensor: &DynValue) -> ort::Result<Vec<Self>>;
}

mod private {
    pub trait Sealed {}
    impl Sealed for String {}
    impl Sealed for i64 {}
}

impl Item for String {
    const TYPE: TensorElementType = TensorElementType::String;

    fn tensor(shape: [usize; 2], mut items: Vec<Self>) -> ort::Result<DynTensor> {
        // onnxruntime takes C strings, which end at a zero byte: no item has such a token.
        let cut = items.iter_mut().filter(|token| token.contains('\0'));
        cut.for_each(String::clear);
        Tensor::from_string_array((shape, items.as_slice())).map(Tensor::upcast)
    }

    fn read(tensor: &DynValue) -> ort::Result<Vec<Self>> {
        tensor.try_extract_strings().map(|(_, items)| items)
    }
}

impl Item for i64 {
    const TYPE: TensorElementType = TensorElementType::Int64;

    fn tensor(shape: [usize; 2], items: Vec<Self>) -> ort::Result<DynTensor> {
        Tensor::from_array((shape, items)).map(Tensor::upcast)
    }

    fn read(tensor: &DynValue) -> ort::Result<Vec<Self>> {
        tensor.try_extract_tensor().map(|(_, items)| items.to_vec())
    }
}

/// What went wrong, displayed as one sentence; an error of onnxruntime is the source.
#[derive(Debug)]
pub struct Error {
    sentence: String,
    source: Option<ort::Error>,
}

impl Error {
    fn new(sentence: String, source: Option<ort::Error>) -> Self {
        Self { sentence, source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.sentence)
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

impl From<ort::Error> for Error {
    fn from(source: ort::Error) -> Self {
        let words: Vec<_> = source.message().split_whitespace().collect();
        let sentence = format!("onnxruntime failed: {}", words.join(" "));
        Self::new(sentence, Some(source))
    }
}
