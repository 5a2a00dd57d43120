// Recommendations from an exported model, with onnxruntime-web.

import * as ort from "./ort.wasm.bundle.min.mjs";

ort.env.wasm.numThreads = 1; // More would need a server that sends COOP and COEP headers.

const INPUTS = "string history, int64 k";

/** The session of a file exported with --io tokens; any other file is an Error. */
export async function loadModel(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} is missing (HTTP ${response.status}): put the exported model beside the page.`);
  const session = await ort.InferenceSession.create(await response.arrayBuffer()).catch((cause) => {
    throw new Error(`${url} is no ONNX model that onnxruntime can read: export the model again.`, { cause });
  });
  const inputs = session.inputMetadata.map(({ name, type }) => `${type} ${name}`).join(", ");
  // This binding refuses a given k where the file holds a default.
  if (inputs !== INPUTS) {
    throw new Error(`${url} takes ${inputs}: expected ${INPUTS}; export the model with --io tokens and no --k-default.`);
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
