//! Times requests of one thread, with onnxruntime's number of threads: `bench MODEL.onnx
//! HISTORIES.txt`, a history a line, tokens separated by tabs. Prints one line of JSON.

use std::env;
use std::error::Error;
use std::ffi::CStr;
use std::fs;
use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::time::Instant;

use ort::sys::OrtApiBase;
use recommend::{Config, Model, Options};
use serde_json::json;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let paths: Vec<String> = env::args().skip(1).collect();
    let [path, file] = paths.as_slice() else {
        return Err("expected two arguments: bench MODEL.onnx HISTORIES.txt.".into());
    };
    let config = Config {
        threads: 0,
        ..Config::default()
    };
    let model = Model::load(path, config)?;
    let histories: Vec<Vec<String>> = fs::read_to_string(file)
        .map_err(|error| format!("{file} cannot be read ({error}): expected a history a line."))?
        .lines()
        .map(|line| line.split('\t').map(String::from).collect())
        .collect();
    if histories.is_empty() {
        return Err(format!("{file} has no histories: expected one a line.").into());
    }
    let recommend = |rows: &[Vec<String>]| -> Result<f64, recommend::Error> {
        let start = Instant::now();
        black_box(model.recommend(rows, 10, &Options::default())?);
        Ok(start.elapsed().as_secs_f64())
    };

    for _ in 0..200 {
        recommend(&histories[..1])?;
    }
    let single: Result<Vec<f64>, _> = histories.chunks(1).map(recommend).collect();
    let mut single = single?;
    single.sort_by(f64::total_cmp);
    let mut best: f64 = 0.0;
    for _ in 0..3 {
        let start = Instant::now();
        for rows in histories.chunks(256) {
            recommend(rows)?;
        }
        best = best.max(histories.len() as f64 / start.elapsed().as_secs_f64());
    }

    let percentile =
        |percent: usize| single[(single.len() * percent / 100).min(single.len() - 1)] * 1e3;
    let line = json!({
        "language": "Rust",
        "version": rustc_version()?,
        "onnxruntime": onnxruntime_version()?,
        "provider": model.provider(),
        "p50_ms": percentile(50),
        "p99_ms": percentile(99),
        "per_second": best,
    });
    println!("{line}");
    Ok(())
}

fn rustc_version() -> Result<String, Box<dyn Error>> {
    let output = Command::new("rustc").arg("--version").output()?;
    let words = String::from_utf8(output.stdout)?;
    Ok(words.split(' ').take(2).collect::<Vec<_>>().join(" "))
}

/// The library's version, asked directly, as ort does not tell it.
fn onnxruntime_version() -> Result<String, Box<dyn Error>> {
    // SAFETY: the library is onnxruntime, which the client has loaded; its version is a constant.
    let version = unsafe {
        let library = libloading::Library::new(env::var("ORT_DYLIB_PATH")?)?;
        let base = library.get::<unsafe extern "C" fn() -> *const OrtApiBase>(b"OrtGetApiBase")?();
        CStr::from_ptr(((*base).GetVersionString)())
            .to_str()?
            .to_string()
    };
    Ok(version)
}
