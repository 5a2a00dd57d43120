// Recommendations from an exported model, with onnxruntime-web.

import * as ort from "./ort.wasm.bundle.min.mjs";

ort.env.wasm.numThreads = 1; // More would need a server that sends COOP and COEP headers.

// What a file takes, and what it may take besides, by the option of multvae-export.
const INPUTS = { history: "string", k: "int64" };
const OPTIONS = { exclude: "--filters", among: "--filters", noise: "--posterior" };

/** The session of a file exported with --io tokens; any other file is an Error. */
export async function loadModel(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} is missing (HTTP ${response.status}): put the exported model beside the page.`);
  const session = await ort.InferenceSession.create(await response.arrayBuffer()).catch((cause) => {
    throw new Error(`${url} is no ONNX model that onnxruntime can read: export the model again.`, { cause });
  });
  const inputs = session.inputMetadata;
  const known = inputs.every(({ name, type }) => (INPUTS[name] ?? (name in OPTIONS ? type : undefined)) === type);
  // This binding refuses a given k where the file holds a default.
  if (!known || !Object.keys(INPUTS).every((name) => inputs.some((input) => input.name === name))) {
    const found = inputs.map(({ name, type }) => `${type} ${name}`).join(", ");
    throw new Error(`${url} takes ${found}: expected string history and int64 k; export the model with --io tokens and no --k-default.`);
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
