// Recommendations from an exported model, with onnxruntime-node.
//
// node recommend.mjs MODEL.onnx ITEM... [-k 10] [--exclude ITEMS] [--among ITEMS] [--gpu] [--no-check]

import { createHash } from "node:crypto";
import { createReadStream, existsSync, readFileSync, realpathSync, statSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import ort from "onnxruntime-node";

const VERSIONS = ["1", "2"];
const MOST_THREADS = 1024;
// At most so many unknown items are named.
const SHOWN = 10;
// The optional inputs of a file, each with the option of multvae-export that adds it.
const OPTIONS = { exclude: "--filters", among: "--filters", noise: "--posterior" };

/**
 * Open a file exported with --io tokens or --io ids; any other file is an Error.
 *
 * With `gpu` it runs on CUDA if that is available; `session.provider` says where it runs. `threads` are those of one request
 * on the CPU, by default as many as the process may use cores; 0 leaves it to onnxruntime, which takes the machine's cores.
 * With `check` a damaged file is an Error too.
 * Requests may share the session.
 */
export async function loadModel(path, { gpu = false, threads = Math.min(availableParallelism(), MOST_THREADS), check = true } = {}) {
  const intraOpNumThreads = countOf("threads", threads, 0, MOST_THREADS);
  const file = statSync(path, { throwIfNoEntry: false });
  if (!file?.isFile()) {
    const found = file?.isDirectory() ? "a folder" : "missing";
    throw new Error(`${path} is ${found}: expected a model exported with --io tokens or --io ids.`);
  }
  const session = await createSession(path, gpu, { intraOpNumThreads }).catch((cause) => {
    throw new Error(`${path} is no ONNX model that onnxruntime can read: export the model again.`, { cause });
  });
  const inputs = inputsOf(session);
  const known = ["string", "int64"].includes(inputs.get("history")?.type) && inputs.get("k")?.type === "int64";
  // This binding ignores the k of a request if the file has a default: such a file is refused.
  if (!known || [...inputs.keys()].some((name) => !["history", "k", ...Object.keys(OPTIONS)].includes(name))) {
    await session.release();
    const types = [...inputs.values()].map(({ name, type }) => `${type} ${name}`).join(", ");
    const expected = "expected history and k; export the model with --io tokens or --io ids, and no --k-default";
    throw new Error(`${path} takes ${types}: ${expected}.`);
  }
  const problem = await problemOf(path, check);
  if (!problem) return session;
  await session.release();
  throw new Error(`${path} ${problem}`);
}

/** What is wrong with the contract version or, with `check`, the weights of a file. */
async function problemOf(path, check) {
  const bytes = readFileSync(path);
  const { contract_version: version, weights_sha256: expected, weights_file: second } = metadataOf(bytes);
  const known = VERSIONS.join(" and ");
  if (!VERSIONS.includes(version)) return `has the contract version ${version}, this client knows ${known}: update it.`;
  if (!check || !expected) return undefined; // Files of older exporters have no digest.
  const found = await weightsDigest(bytes, second && join(dirname(path), second));
  if (found !== expected) return `is damaged: the SHA-256 of its weights is ${found}, not ${expected}; copy the file again.`;
}

/** The SHA-256 of a file's graph, field 7 of ModelProto, and then of its second file, if there is one. */
async function weightsDigest(bytes, second) {
  const digest = createHash("sha256");
  for (const [field, graph] of fields(bytes)) if (field === 7) digest.update(graph);
  if (second) for await (const block of createReadStream(second)) digest.update(block);
  return digest.digest("hex");
}

async function createSession(path, gpu, options) {
  if (gpu) {
    // Without this onnxruntime prints many lines if CUDA is missing. The level of the first session holds for all.
    ort.env.logLevel = "fatal";
    const onCuda = { ...options, executionProviders: ["cuda", "cpu"] };
    const session = await ort.InferenceSession.create(path, onCuda).catch(() => undefined);
    if (session) return Object.assign(session, { provider: "CUDAExecutionProvider" });
  }
  return Object.assign(await ort.InferenceSession.create(path, options), { provider: "CPUExecutionProvider" });
}

/** The metadata of an ONNX file, which this binding does not give: field 14 of ModelProto, each a name (1) and a text (2). */
function metadataOf(bytes) {
  const entries = [...fields(bytes)].filter(([field]) => field === 14).map(([, entry]) => new Map(fields(entry)));
  return Object.fromEntries(entries.map((entry) => [1, 2].map((part) => new TextDecoder().decode(entry.get(part)))));
}

/** The fields of a protobuf message that have a length, with their bytes: all fields of an ONNX file except numbers. */
function* fields(bytes) {
  let at = 0;
  const varint = () => {
    for (let value = 0, unit = 1; ; unit *= 128) {
      const byte = bytes[at++] ?? 0;
      value += (byte & 127) * unit;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    const size = varint(); // For a field that is a number, this is the number.
    if (key % 8 === 2) yield [Math.floor(key / 8), bytes.subarray(at, (at += size))];
  }
}

const inputsOf = (session) => new Map(session.inputMetadata.map((input) => [input.name, input]));

/**
 * Rank items for histories of item tokens, or of ids (numbers) where the file has ids. If the file has filters, `exclude`
 * are items never to return and `among` the only items to rank: a list for each history, or one for all. If it has a
 * posterior, `noise` is [batch or 1][K], standard normal for a sample.
 *
 * Items and scores are [batch][k], best first; a row with fewer items ends in "" (of ids: 0) with score -Infinity. If the
 * file has reasons, `reasons` [batch][k][length] says by how much each item of the history raises each score.
 *
 * A k that is no whole number of 1 or more, and rows that are not lists of the file's items, are an Error.
 */
export async function recommend(session, histories, k, { exclude, among, noise } = {}) {
  const inputs = inputsOf(session);
  const ids = inputs.get("history").type === "int64";
  const count = new ort.Tensor("int64", [BigInt(countOf("k", k, 1))], [1]);
  histories = listsOf("histories", histories, ids);
  // onnxruntime up to 1.30 ends the process where a batch is empty.
  if (!histories.length) return { items: [], scores: [], ...(session.outputNames.includes("reasons") && { reasons: [] }) };
  for (const [name, value] of Object.entries({ exclude, among, noise })) {
    if (value && !inputs.has(name)) throw new Error(`the model has no input ${name}: export it with ${OPTIONS[name]}.`);
  }
  const feeds = { history: padded(histories, ids), k: count };
  for (const [name, lists] of Object.entries({ exclude, among })) {
    if (inputs.has(name)) feeds[name] = padded(listsOf(name, lists ?? [[]], ids), ids);
  }
  if (inputs.has("noise")) {
    const rows = noise ?? [Array(inputs.get("noise").shape[1]).fill(0)];
    feeds.noise = new ort.Tensor("float32", Float32Array.from(rows.flat(), (part) => part ?? NaN), [rows.length, rows[0].length]);
  }
  const { items, scores, reasons } = await session.run(feeds);
  const rows = (data, count, width) => Array.from({ length: count }, (_, row) => [...data.slice(row * width, (row + 1) * width)]);
  const [batch, width] = items.dims;
  const best = ids ? Array.from(items.data, Number) : items.data;
  const ranking = { items: rows(best, batch, width), scores: rows(scores.data, batch, width) };
  if (reasons) ranking.reasons = rows(rows(reasons.data, batch * width, reasons.dims[2]), batch, width);
  return ranking;
}

/** A whole number of `least` to `most`; one that is larger than any catalogue is cut. */
function countOf(name, value, least, most = Infinity) {
  const number = typeof value === "bigint" ? Number(value) : value;
  if (!Number.isInteger(number) || number < least || number > most) {
    const range = most === Infinity ? `of ${least} or more` : `from ${least} to ${most}`;
    throw new Error(`${name} is ${shown(value)}: expected a whole number ${range}.`);
  }
  return Math.min(number, Number.MAX_SAFE_INTEGER);
}

/** The rows as arrays. A text is refused, as its characters are no items. */
function listsOf(name, rows, ids) {
  const isItem = ids ? (item) => ["number", "bigint"].includes(typeof item) && Number.isSafeInteger(Number(item)) : isText;
  return listOf(name, rows).map((row) => {
    const items = listOf(name, row);
    const wrong = items.findIndex((item) => !isItem(item));
    if (wrong < 0) return items;
    throw new Error(`${name} holds ${shown(items[wrong])}: the model takes ${ids ? "item ids, whole numbers" : "tokens, texts"}.`);
  });
}

function listOf(name, rows) {
  if (!isText(rows) && typeof rows?.[Symbol.iterator] === "function") return [...rows];
  throw new Error(`${name} is or holds ${shown(rows)}: expected a list of items for each row, as in [["a", "b"], ["c"]].`);
}

const isText = (value) => typeof value === "string";
const shown = (value) => (isText(value) ? JSON.stringify(value) : String(value)).slice(0, 60);

/** The rows as one tensor, padded with "" or 0. C would cut a token at a zero byte: such a token is replaced by padding. */
function padded(rows, ids) {
  if (!rows.length) return padded([[]], ids);
  const length = Math.max(0, ...rows.map((row) => row.length));
  const items = rows.flatMap((row) => [...row, ...Array(length - row.length).fill(ids ? 0 : "")]);
  const data = ids ? BigInt64Array.from(items, BigInt) : items.map((token) => (token.includes("\0") ? "" : token));
  return new ort.Tensor(ids ? "int64" : "string", data, [rows.length, length]);
}

/** The item of a history that raised a score most, by that score's reasons [length]; undefined if none raised it. */
export function because(history, reasons) {
  const most = Math.max(...reasons);
  return most > 0 ? history[reasons.indexOf(most)] : undefined;
}

/** One list for all rows: the items of a file, one a line, or of a text, separated by commas. */
function readItems(text) {
  if (text === undefined) return undefined;
  const items = statSync(text, { throwIfNoEntry: false })?.isFile() ? readFileSync(text, "utf8").split(/\r?\n/) : text.split(",");
  return [items.filter(Boolean)];
}

/** Those items that the model does not know, each once; it ranks its whole catalogue for that. */
export async function unknownItems(session, items) {
  const catalogue = new Set((await recommend(session, [[]], Number.MAX_SAFE_INTEGER)).items[0]);
  return [...new Set(items)].filter((item) => item && !catalogue.has(item));
}

function readId(text) {
  if (!/^-?\d{1,15}$/.test(text)) throw new Error(`'${text}' is no item id: the model takes RecBole's item ids.`);
  return Number(text);
}

async function main() {
  const [text, flag] = [{ type: "string" }, { type: "boolean" }];
  const options = { k: { ...text, short: "k", default: "10" }, exclude: text, among: text, gpu: flag, "no-check": flag };
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const [model, ...liked] = positionals;
  if (!model) throw new Error("MODEL.onnx is missing: node recommend.mjs MODEL.onnx ITEM... [-k 10].");
  if (!/^[1-9]\d*$/.test(values.k)) throw new Error(`-k is ${values.k}: expected 1 or more.`);
  const session = await loadModel(model, { gpu: values.gpu, check: !values["no-check"] });
  if (values.gpu) console.error(`runs on ${session.provider}`);
  const ids = inputsOf(session).get("history").type === "int64";
  const lists = [[liked], readItems(values.exclude), readItems(values.among)];
  const [[history], exclude, among] = ids ? lists.map((rows) => rows?.map((row) => row.map(readId))) : lists;
  const { items, scores, reasons } = await recommend(session, [history], Number(values.k), { exclude, among });
  if (!items[0][0]) {
    const nothing = "every item is in the history or excluded, or --among names none that the model knows";
    throw new Error(`Nothing to recommend: ${nothing}.`);
  }
  const unknown = await unknownItems(session, [history, ...(exclude ?? []), ...(among ?? [])].flat());
  if (unknown.length) {
    const more = unknown.length > SHOWN ? ` and ${unknown.length - SHOWN} more` : "";
    console.error(`The model ignores items that it does not know: ${unknown.slice(0, SHOWN).join(", ")}${more}`);
  }
  items[0].forEach((item, rank) => {
    const reason = reasons && because(history, reasons[0][rank]);
    if (item) console.log(`${item}\t${scores[0][rank].toFixed(4)}${reason ? `\tbecause of ${reason}` : ""}`);
  });
}

if (existsSync(process.argv[1] ?? "") && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  await main().catch((error) => {
    console.error(error.message);
    process.exitCode = 1;
  });
}
