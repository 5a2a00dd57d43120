// Recommendations from an exported model, with onnxruntime-node.
//
// node recommend.mjs MODEL.onnx TOKEN... [-k 10] [--exclude ITEMS] [--among ITEMS]

import { existsSync, readFileSync, realpathSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import ort from "onnxruntime-node";

// What a file takes, and what it may take besides, by the option of multvae-export.
const INPUTS = { history: "string", k: "int64" };
const OPTIONS = { exclude: "--filters", among: "--filters", noise: "--posterior" };

/** The session of a file exported with --io tokens; any other file is an Error. */
export async function loadModel(path) {
  if (!existsSync(path)) throw new Error(`${path} is missing: expected a model exported with --io tokens.`);
  const session = await ort.InferenceSession.create(path).catch((cause) => {
    throw new Error(`${path} is no ONNX model that onnxruntime can read: export the model again.`, { cause });
  });
  const inputs = session.inputMetadata;
  const known = inputs.every(({ name, type }) => (INPUTS[name] ?? (name in OPTIONS ? type : undefined)) === type);
  // This binding ignores a given k where the file holds a default: such a file is refused here.
  if (!known || !Object.keys(INPUTS).every((name) => inputs.some((input) => input.name === name))) {
    const found = inputs.map(({ name, type }) => `${type} ${name}`).join(", ");
    throw new Error(`${path} takes ${found}: expected string history and int64 k; export the model with --io tokens and no --k-default.`);
  }
  return session;
}

/**
 * Rank items for histories of item tokens. Of a file with filters, `exclude` are items never to return and `among` items to
 * rank alone, a list for each history or one for all; of a file with a posterior, `noise` is [batch or 1][K], standard normal
 * for a sample.
 *
 * Items and scores are [batch][k], best first; a row with fewer items ends in "" with score -Infinity. Of a file with reasons,
 * `reasons` [batch][k][length] says by how much each item of the history raises each score.
 */
export async function recommend(session, histories, k, { exclude, among, noise } = {}) {
  const inputs = new Map(session.inputMetadata.map((input) => [input.name, input]));
  for (const [name, given] of Object.entries({ exclude, among, noise })) {
    if (given && !inputs.has(name)) throw new Error(`the model has no input ${name}: export it with ${OPTIONS[name]}.`);
  }
  const feeds = { history: padded(histories), k: new ort.Tensor("int64", [BigInt(k)], [1]) };
  if (inputs.has("exclude")) Object.assign(feeds, { exclude: padded(exclude ?? [[]]), among: padded(among ?? [[]]) });
  if (inputs.has("noise")) {
    const rows = noise ?? [Array(inputs.get("noise").shape[1]).fill(0)];
    feeds.noise = new ort.Tensor("float32", Float32Array.from(rows.flat(), (part) => part ?? NaN), [rows.length, rows[0].length]);
  }
  const { items, scores, reasons } = await session.run(feeds);
  const rows = (data, count, width) => Array.from({ length: count }, (_, row) => [...data.slice(row * width, (row + 1) * width)]);
  const [batch, width] = items.dims;
  const found = { items: rows(items.data, batch, width), scores: rows(scores.data, batch, width) };
  if (reasons) found.reasons = rows(rows(reasons.data, batch * width, reasons.dims[2]), batch, width);
  return found;
}

/** The rows as one tensor; "" pads. */
function padded(rows) {
  const length = Math.max(0, ...rows.map((row) => row.length));
  const tokens = rows.flatMap((row) => [...row, ...Array(length - row.length).fill("")]);
  return new ort.Tensor("string", tokens, [rows.length, length]);
}

/** The item of a history that raised a score most, by its reasons [length]; undefined where none did. */
export function because(history, reasons) {
  const most = Math.max(...reasons);
  return most > 0 ? history[reasons.indexOf(most)] : undefined;
}

/** One list for all rows: the tokens of a file, one a line, or those of a text, with commas between. */
function readItems(text) {
  if (text === undefined) return undefined;
  const tokens = existsSync(text) ? readFileSync(text, "utf8").split(/\r?\n/) : text.split(",");
  return [tokens.filter(Boolean)];
}

async function main() {
  const { values, positionals } = parseArgs({
    options: { k: { type: "string", short: "k", default: "10" }, exclude: { type: "string" }, among: { type: "string" } },
    allowPositionals: true,
  });
  const [model, ...history] = positionals;
  if (!model) throw new Error("MODEL.onnx is missing: node recommend.mjs MODEL.onnx TOKEN... [-k 10].");
  if (!/^[1-9]\d*$/.test(values.k)) throw new Error(`-k is ${values.k}: expected 1 or more.`);
  const lists = { exclude: readItems(values.exclude), among: readItems(values.among) };
  const { items, scores, reasons } = await recommend(await loadModel(model), [history], values.k, lists);
  if (!items[0][0]) throw new Error("Nothing to recommend: every item is in the history or excluded, or --among names no known one.");
  items[0].forEach((item, rank) => {
    const reason = reasons && because(history, reasons[0][rank]);
    if (item) console.log(`${item}\t${scores[0][rank].toFixed(4)}${reason ? `\tbecause of ${reason}` : ""}`);
  });
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  await main().catch((error) => {
    console.error(error.message);
    process.exitCode = 1;
  });
}
