//! Every case of golden.json, each a test of its own, and the command line.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Output};
use std::sync::Arc;
use std::thread;

use libtest_mimic::{Arguments, Failed, Trial};
use recommend::{Config, Item, Model, Options, Ranking, because};
use serde_json::Value;

const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const TOKENS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../golden.onnx");
const OPTIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../golden.options.onnx");
const IDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../golden.ids.onnx");
const DAMAGED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../golden.damaged.onnx");
const SCRATCH: &str = env!("CARGO_TARGET_TMPDIR");

type Outcome = Result<(), Failed>;

fn main() -> ExitCode {
    if env::var_os("ORT_DYLIB_PATH").is_none() {
        eprintln!("ORT_DYLIB_PATH is not set: expected the path of the library of onnxruntime.");
        return ExitCode::FAILURE;
    }
    let golden = Arc::new(read_golden());
    let mut tests = vec![
        Trial::test("histories are padded", histories_are_padded),
        Trial::test("a batch may be empty", empty_rows),
        Trial::test("the item that raised a score most", most_of_all),
        Trial::test("options that a request gets wrong", wrong_options),
        Trial::test("files that are refused", refused_files),
        Trial::test("threads of a request", threads_of_a_request),
        Trial::test("a token is not cut at a zero byte", zero_byte),
        Trial::test("the command line", command_line),
        Trial::test("the command line with options", command_line_with_options),
        Trial::test("errors of the command line", command_line_errors),
    ];
    let shared = golden.clone();
    tests.push(Trial::test("a damaged file is refused", move || {
        damaged_file(&shared)
    }));
    let shared = golden.clone();
    tests.push(Trial::test("threads share a model", move || {
        share_a_model(&shared)
    }));
    tests.extend(golden_tests::<String>("tokens", &golden, &golden));
    tests.extend(golden_tests::<String>(
        "options",
        &golden["options"],
        &golden,
    ));
    tests.extend(golden_tests::<i64>("ids", &golden["ids"], &golden));
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}

fn read_golden() -> Value {
    let text = fs::read_to_string(Path::new(CLIENTS).join("golden.json"));
    serde_json::from_str(&text.expect("golden.json is missing")).expect("golden.json is no JSON")
}

/// An item as golden.json holds it.
trait GoldenItem: Item + PartialEq + std::fmt::Debug {
    fn from_json(value: &Value) -> Self;
}

impl GoldenItem for String {
    fn from_json(value: &Value) -> Self {
        value.as_str().expect("a token").to_string()
    }
}

impl GoldenItem for i64 {
    fn from_json(value: &Value) -> Self {
        value.as_i64().expect("an id")
    }
}

fn rows<T>(rows: &Value, read: impl Fn(&Value) -> T) -> Vec<Vec<T>> {
    let array = |value: &Value| value.as_array().expect("an array").clone();
    array(rows)
        .iter()
        .map(|row| array(row).iter().map(&read).collect())
        .collect()
}

fn golden_tests<T: GoldenItem>(part: &str, cases: &Value, golden: &Arc<Value>) -> Vec<Trial> {
    let path = format!(
        "{CLIENTS}/{}",
        cases["model"].as_str().expect("a file name")
    );
    let tolerance = golden["tolerance"].as_f64().expect("a number") as f32;
    let cases = cases["cases"].as_array().expect("a list of cases").clone();
    let test = |case: Value| {
        let (name, path) = (
            case["name"].as_str().expect("a name").to_string(),
            path.clone(),
        );
        Trial::test(format!("golden: {part}: {name}"), move || {
            compare(
                &Model::<T>::load(path, Config::default())?,
                &case,
                tolerance,
            )
        })
    };
    cases.into_iter().map(test).collect()
}

fn rank<T: GoldenItem>(model: &Model<T>, case: &Value) -> Result<Ranking<T>, recommend::Error> {
    let lists = |name| case.get(name).map(|lists| rows(lists, T::from_json));
    let (exclude, among) = (lists("exclude"), lists("among"));
    let noise = case
        .get("noise")
        .map(|noise| rows(noise, |part| number(part, f32::NAN)));
    let options = Options {
        exclude: exclude.as_deref(),
        among: among.as_deref(),
        noise: noise.as_deref(),
    };
    let k = case["k"].as_u64().expect("a number") as usize;
    model.recommend(&rows(&case["history"], T::from_json), k, &options)
}

fn number(value: &Value, null: f32) -> f32 {
    value.as_f64().map_or(null, |number| number as f32)
}

fn compare<T: GoldenItem>(model: &Model<T>, case: &Value, tolerance: f32) -> Outcome {
    let ranking = rank(model, case)?;
    assert_eq!(ranking.items, rows(&case["items"], T::from_json));
    let expected = rows(&case["scores"], |score| number(score, f32::NEG_INFINITY));
    assert_close(&ranking.scores, &expected, tolerance);
    assert_eq!(ranking.reasons.is_some(), case.get("reasons").is_some());
    if let Some(reasons) = ranking.reasons {
        let expected = case["reasons"].as_array().expect("an array");
        assert_eq!(reasons.len(), expected.len());
        for (reasons, expected) in reasons.iter().zip(expected) {
            assert_close(
                reasons,
                &rows(expected, |reason| number(reason, f32::NAN)),
                tolerance,
            );
        }
    }
    Ok(())
}

fn assert_close(actual: &[Vec<f32>], expected: &[Vec<f32>], tolerance: f32) {
    let lengths = |rows: &[Vec<f32>]| rows.iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(lengths(actual), lengths(expected));
    for (actual, expected) in actual.iter().flatten().zip(expected.iter().flatten()) {
        // The difference of two infinities is NaN.
        let close = actual == expected || (actual - expected).abs() <= tolerance;
        assert!(close, "{actual} is not within {tolerance} of {expected}");
    }
}

fn tokens(row: &[&str]) -> Vec<String> {
    row.iter().map(ToString::to_string).collect()
}

fn histories_are_padded() -> Outcome {
    let model = Model::load(TOKENS, Config::default())?;
    let histories = [tokens(&["42"]), tokens(&["7", "a b", "007"]), tokens(&[])];
    let ranking = model.recommend(&histories, 3, &Options::default())?;
    assert!(ranking.items.iter().all(|row| row[0] == "café"));
    Ok(())
}

fn empty_rows() -> Outcome {
    let model = Model::<String>::load(OPTIONS, Config::default())?;
    let nobody = model.recommend(&[], 3, &Options::default())?;
    assert!(nobody.items.is_empty() && nobody.scores.is_empty());
    let ids = Model::<i64>::load(IDS, Config::default())?;
    assert!(ids.recommend(&[], 3, &Options::default())?.items.is_empty());
    Ok(())
}

fn most_of_all() -> Outcome {
    assert_eq!(
        because(&["7", "42", "007"], &[0.1, 0.5, 0.5, 0.0]),
        Some(&"42")
    );
    assert_eq!(because(&["7", "42"], &[0.0, -0.5]), None);
    assert_eq!(because::<i64>(&[], &[]), None);
    Ok(())
}

fn wrong_options() -> Outcome {
    let history = [tokens(&["42"])];
    let noise: &[Vec<f32>] = &[vec![0.0; 2]];
    let options = Options {
        noise: Some(noise),
        ..Options::default()
    };
    let model = Model::load(TOKENS, Config::default())?;
    for histories in [&history[..], &[]] {
        let none = model.recommend(histories, 0, &Options::default());
        assert_eq!(none.unwrap_err().to_string(), "k is 0: expected 1 or more.");
    }
    let plain = model.recommend(&history, 3, &options);
    let message = "the model has no input noise: export it with --posterior.";
    assert_eq!(plain.unwrap_err().to_string(), message);
    let wrong = Model::load(OPTIONS, Config::default())?
        .recommend(&history, 3, &options)
        .unwrap_err();
    assert!(
        wrong
            .to_string()
            .starts_with("onnxruntime failed: Got invalid dimensions")
    );
    assert!(!wrong.to_string().contains('\n'));
    Ok(())
}

/// A copy of the model with other bytes.
fn changed(name: &str, old: &[u8], new: &[u8]) -> String {
    let mut bytes = fs::read(TOKENS).expect("golden.onnx is missing");
    let places = bytes
        .windows(old.len())
        .enumerate()
        .filter(|(_, window)| *window == old);
    for place in places.map(|(place, _)| place).collect::<Vec<_>>() {
        bytes[place..][..new.len()].copy_from_slice(new);
    }
    let path = format!("{SCRATCH}/{name}");
    fs::write(&path, bytes).expect("the folder for scratch files is missing");
    path
}

fn refused_files() -> Outcome {
    let other = changed("other.onnx", b"history", b"someone");
    let load = |path: &str| {
        let config = Config {
            gpu: true,
            ..Config::default()
        };
        Model::<String>::load(path, config).unwrap_err().to_string()
    };
    let message = "takes Tensor<i64>(1) k, Tensor<String>(batch, length) someone: expected";
    assert!(load(&other).contains(message), "{}", load(&other));
    assert!(load(IDS).ends_with("takes items of type i64: load it as Model<i64>."));
    Ok(())
}

fn damaged_file(golden: &Value) -> Outcome {
    let found = golden["damaged"]["weights_sha256"].as_str();
    let start = "golden.damaged.onnx is damaged: the SHA-256 of its weights is";
    let message = format!("{start} {}, not ", found.expect("a digest"));
    let refused = Model::<String>::load(DAMAGED, Config::default()).unwrap_err();
    assert!(refused.to_string().contains(&message), "{refused}");
    let config = Config {
        check: false,
        ..Config::default()
    };
    Model::<String>::load(DAMAGED, config)?;
    let older = changed("older.onnx", b"weights_sha256", b"weights_sha512");
    Model::<String>::load(older, Config::default())?;

    // With one more entry of the metadata, the digest is also of the file that the entry names.
    let (mut bytes, second) = (fs::read(TOKENS)?, format!("{SCRATCH}/second.onnx"));
    bytes.extend(b"\x72\x17\x0a\x0cweights_file\x12\x07weights");
    fs::write(&second, bytes)?;
    fs::write(format!("{SCRATCH}/weights"), "")?;
    Model::<String>::load(&second, Config::default())?;
    fs::write(format!("{SCRATCH}/weights"), "more")?;
    let refused = Model::<String>::load(&second, Config::default()).unwrap_err();
    assert!(refused.to_string().contains("second.onnx is damaged"));
    Ok(())
}

/// onnxruntime's threads have the name of the thread that loads the model, which also counts.
fn threads_of_a_request() -> Outcome {
    let config = Config {
        threads: 1025,
        ..Config::default()
    };
    let refused = Model::<String>::load(TOKENS, config).unwrap_err();
    assert_eq!(refused.to_string(), "threads is 1025: expected 0 to 1024.");
    if !Path::new("/proc/self/task").exists() {
        return Ok(()); // Only Linux tells the threads of a process.
    }
    for threads in [1, 3] {
        let name = format!("threads-{threads}");
        let config = Config {
            threads,
            ..Config::default()
        };
        let counted = name.clone();
        let count = thread::Builder::new().name(name).spawn(move || {
            let _model = Model::<String>::load(TOKENS, config).expect("a model");
            let tasks = fs::read_dir("/proc/self/task").expect("threads");
            let names = tasks
                .flatten()
                .map(|task| fs::read_to_string(task.path().join("comm")));
            names
                .flatten()
                .filter(|name| name.trim() == counted)
                .count()
        });
        assert_eq!(count?.join().expect("a count"), threads);
    }
    Ok(())
}

fn zero_byte() -> Outcome {
    let model = Model::load(TOKENS, Config::default())?;
    let ranking = model.recommend(&[tokens(&["42\0x"])], 8, &Options::default())?;
    assert!(ranking.items[0].contains(&"42".to_string()));
    Ok(())
}

fn share_a_model(golden: &Value) -> Outcome {
    let model = Model::<String>::load(OPTIONS, Config::default())?;
    let cases = golden["options"]["cases"]
        .as_array()
        .expect("a list of cases");
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for case in cases.iter().cycle().take(10 * cases.len()) {
                    let ranking = rank(&model, case).expect("a ranking");
                    assert_eq!(ranking.items, rows(&case["items"], String::from_json));
                }
            });
        }
    });
    Ok(())
}

fn run(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_recommend");
    Command::new(program)
        .args(arguments)
        .output()
        .expect("the program does not start")
}

fn printed(arguments: &[&str]) -> String {
    String::from_utf8(run(arguments).stdout).expect("the output is no UTF-8")
}

fn command_line() -> Outcome {
    assert_eq!(
        printed(&[TOKENS, "42", "-k", "2"]),
        "café\t1.8704\n007\t1.3451\n"
    );
    let output = run(&[TOKENS, "42", "--gpu"]);
    let lines = [
        "runs on CPUExecutionProvider\n",
        "runs on CUDAExecutionProvider\n",
    ];
    assert!(lines.contains(&String::from_utf8(output.stderr)?.as_str()));
    assert!(output.status.success());
    Ok(())
}

fn command_line_with_options() -> Outcome {
    let items = format!("{SCRATCH}/items.txt");
    fs::write(&items, "007\n7\nx,y\n")?;
    let raised = "café\t1.8704\tbecause of 42\n007\t1.3451\n";
    assert_eq!(printed(&[OPTIONS, "42", "-k", "2"]), raised);
    assert!(printed(&[OPTIONS, "42", "--exclude", "café,7"]).starts_with("007\t1.3451\n"));
    let among = printed(&[OPTIONS, "42", "--among", &items]);
    let first: Vec<_> = among
        .lines()
        .map(|line| line.split('\t').next().unwrap_or(""))
        .collect();
    assert_eq!(first, ["007", "7", "x,y"]);
    assert_eq!(
        printed(&[IDS, "2", "-k", "2"]),
        "3\t1.8704\tbecause of 2\n6\t1.3451\n"
    );
    assert!(printed(&[IDS, "2", "--exclude", "3", "--among", "3,1"]).starts_with("1\t"));
    assert!(run(&[DAMAGED, "--no-check"]).status.success());
    let unknown = "The model ignores items that it does not know: nobody, none.txt\n";
    let output = run(&[OPTIONS, "42", "nobody", "--exclude", "none.txt"]);
    assert_eq!(String::from_utf8(output.stderr)?, unknown);
    Ok(())
}

fn command_line_errors() -> Outcome {
    let text = format!("{SCRATCH}/text.onnx");
    fs::write(&text, "not a model")?;
    let new = changed(
        "new.onnx",
        b"contract_version\x12\x011",
        b"contract_version\x12\x013",
    );
    let id = "'café' is no item id: the model takes RecBole's item ids.";
    let version = "has the contract version 3, this client knows 1 and 2: update it.";
    for (arguments, message) in [
        (
            &["missing.onnx", "42"] as &[&str],
            "missing.onnx is missing",
        ),
        (&[SCRATCH, "42"], "is a folder: expected a model"),
        (&[&text], "text.onnx is no ONNX model"),
        (&[TOKENS, "-k", "0"], "-k is 0"),
        (
            &[TOKENS, "42", "--among", "7"],
            "the model has no input among: export it with --filters.",
        ),
        (
            &[OPTIONS, "42", "--among", "nobody"],
            "Nothing to recommend",
        ),
        (&[IDS, "café"], id),
        (&[&new], version),
        (&[DAMAGED], "is damaged: the SHA-256 of its weights is "),
        (&[], "MODEL.onnx is missing"),
        (&[TOKENS, "--gpus"], "--gpus is no option"),
        (&[TOKENS, "--among"], "--among has no value"),
    ] {
        let failed = run(arguments);
        let error = String::from_utf8(failed.stderr)?;
        assert_eq!(failed.status.code(), Some(1));
        assert!(
            error.contains(message) && error.lines().count() == 1,
            "{error}"
        );
    }
    Ok(())
}
