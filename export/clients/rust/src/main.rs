//! Prints a line for each recommended item: the item, its score and, if the model gives reasons,
//! the item of the history that raised the score most.

use std::collections::HashSet;
use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;
use std::{env, fs, slice};

use recommend::{Config, Item, Model, Options, because};

const USAGE: &str = "recommend MODEL.onnx ITEM... [-k 10] [--exclude ITEMS] [--among ITEMS] \
    [--gpu] [--no-check]";
const NOTHING: &str = "Nothing to recommend: every item is in the history or excluded, \
    or --among names none that the model knows.";
/// At most so many unknown items are named.
const SHOWN: usize = 10;

struct Arguments {
    model: String,
    history: Vec<String>,
    k: usize,
    exclude: Option<String>,
    among: Option<String>,
    config: Config,
}

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
    let arguments = parse(env::args_os().map(|text| text.to_string_lossy().into_owned()))?;
    let (path, config) = (&arguments.model, arguments.config);
    match Model::<String>::load(path, config) {
        Ok(model) => show(&model, &arguments),
        // A file of ids loads now. Any other file is refused again, for the same reason.
        Err(_) => show(&Model::<i64>::load(path, config)?, &arguments),
    }
}

fn parse(texts: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let (mut k, mut exclude, mut among, mut config) = (10, None, None, Config::default());
    let mut positional = Vec::new();
    let mut texts = texts.skip(1);
    while let Some(text) = texts.next() {
        let mut value = || texts.next().ok_or(format!("{text} has no value: {USAGE}."));
        match text.as_str() {
            "-k" => {
                let text = value()?;
                let positive = text.parse().ok().filter(|&k| k > 0);
                k = positive.ok_or(format!("-k is {text}: expected 1 or more."))?;
            }
            "--exclude" => exclude = Some(value()?),
            "--among" => among = Some(value()?),
            "--gpu" => config.gpu = true,
            "--no-check" => config.check = false,
            "--" => positional.extend(texts.by_ref()),
            _ if text.starts_with('-') => return Err(format!("{text} is no option: {USAGE}.")),
            _ => positional.push(text),
        }
    }
    let mut positional = positional.into_iter();
    let missing = format!("MODEL.onnx is missing: {USAGE}.");
    Ok(Arguments {
        model: positional.next().ok_or(missing)?,
        history: positional.collect(),
        k,
        exclude,
        among,
        config,
    })
}

/// Rank and print.
fn show<T>(model: &Model<T>, arguments: &Arguments) -> Result<(), Box<dyn Error>>
where
    T: Item + Display + FromStr + PartialEq,
{
    if arguments.config.gpu {
        eprintln!("runs on {}", model.provider());
    }
    let history = items(arguments.history.iter().map(String::as_str))?;
    let exclude = arguments.exclude.as_deref().map(read_items).transpose()?;
    let among = arguments.among.as_deref().map(read_items).transpose()?;
    let options = Options {
        exclude: exclude.as_deref(),
        among: among.as_deref(),
        noise: None,
    };
    let ranking = model.recommend(slice::from_ref(&history), arguments.k, &options)?;
    let ranked = ranking.items[0].iter().zip(&ranking.scores[0]);
    let mut lines = String::new();
    for (rank, (item, score)) in ranked.enumerate() {
        let reasons = ranking.reasons.as_ref().map(|reasons| &reasons[0][rank]);
        let reason = reasons.and_then(|reasons| because(&history, reasons));
        let reason = reason.map_or(String::new(), |item| format!("\tbecause of {item}"));
        if *item != T::default() {
            lines += &format!("{item}\t{score:.4}{reason}\n");
        }
    }
    if lines.is_empty() {
        return Err(NOTHING.into());
    }
    let lists = [exclude.as_deref(), among.as_deref()];
    let listed = lists.into_iter().flatten().flatten().flatten();
    warn_of_unknown(model, history.iter().chain(listed))?;
    Ok(io::stdout().write_all(lines.as_bytes())?)
}

/// Name the items that the model does not know. It ranks its whole catalogue for that.
fn warn_of_unknown<'a, T>(
    model: &Model<T>,
    items: impl Iterator<Item = &'a T>,
) -> Result<(), Box<dyn Error>>
where
    T: Item + Display + PartialEq + 'a,
{
    let all = model.recommend(&[vec![]], usize::MAX, &Options::default())?;
    let mut named: HashSet<String> = all.items[0].iter().map(T::to_string).collect();
    named.insert(T::default().to_string());
    let unknown: Vec<String> = items
        .map(T::to_string)
        .filter(|item| named.insert(item.clone()))
        .collect();
    if !unknown.is_empty() {
        let more = match unknown.len().saturating_sub(SHOWN) {
            0 => String::new(),
            left => format!(" and {left} more"),
        };
        let shown = unknown[..unknown.len().min(SHOWN)].join(", ");
        eprintln!("The model ignores items that it does not know: {shown}{more}");
    }
    Ok(())
}

/// One list for all rows: the items of a file, one a line, or of a text, separated by commas.
fn read_items<T: FromStr>(text: &str) -> Result<Vec<Vec<T>>, String> {
    let lines = if Path::new(text).is_file() {
        fs::read_to_string(text).map_err(|error| format!("{text} cannot be read: {error}."))?
    } else {
        text.replace(',', "\n")
    };
    let list = items(lines.lines().filter(|line| !line.is_empty()))?;
    Ok(vec![list])
}

fn items<'a, T: FromStr>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<T>, String> {
    // Every text is a token: only ids can fail.
    let problem = |text| format!("'{text}' is no item id: the model takes RecBole's item ids.");
    texts
        .map(|text| text.parse().map_err(|_| problem(text)))
        .collect()
}
