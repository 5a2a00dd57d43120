// Recommendations from an exported model, with onnxruntime-node.
//
// node recommend.mjs MODEL.onnx TOKEN... [-k 10]

import { existsSync, realpathSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import ort from "onnxruntime-node";

const INPUTS = "string history, int64 k";

/** The session of a file exported with --io tokens; any other file is an Error. */
export async function loadModel(path) {
  if (!existsSync(path)) throw new Error(`${path} is missing: expected a model exported with --io tokens.`);
  const session = await ort.InferenceSession.create(path).catch((cause) => {
    throw new Error(`${path} is no ONNX model that onnxruntime can read: export the model again.`, { cause });
  });
  const inputs = session.inputMetadata.map(({ name, type }) => `${type} ${name}`).join(", ");
  // This binding ignores a given k where the file holds a default: such a file is refused here.
  if (inputs !== INPUTS) {
    throw new Error(`${path} takes ${inputs}: expected ${INPUTS}; export the model with --io tokens and no --k-default.`);
  }
  return session;
}

/** Items and scores, both [batch][k], best first; a row with fewer unseen items ends in "" with score -Infinity. */
export async function recommend(session, histories, k) {
  const length = Math.max(0, ...histories.map((history) => history.length));
  const padded = histories.flatMap((history) => [...history, ...Array(length - history.length).fill("")]);
  const { items, scores } = await session.run({
    history: new ort.Tensor("string", padded, [histories.length, length]),
    k: new ort.Tensor("int64", [BigInt(k)], [1]),
  });
  const width = items.dims[1];
  const rows = (data) => histories.map((_, row) => [...data.slice(row * width, (row + 1) * width)]);
  return { items: rows(items.data), scores: rows(scores.data) };
}

async function main() {
  const { values, positionals } = parseArgs({
    options: { k: { type: "string", short: "k", default: "10" } },
    allowPositionals: true,
  });
  const [model, ...history] = positionals;
  if (!model) throw new Error("MODEL.onnx is missing: node recommend.mjs MODEL.onnx TOKEN... [-k 10].");
  if (!/^[1-9]\d*$/.test(values.k)) throw new Error(`-k is ${values.k}: expected 1 or more.`);
  const { items, scores } = await recommend(await loadModel(model), [history], values.k);
  items[0].forEach((item, rank) => item && console.log(`${item}\t${scores[0][rank].toFixed(4)}`));
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  await main().catch((error) => {
    console.error(error.message);
    process.exitCode = 1;
  });
}
