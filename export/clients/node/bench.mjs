// Measures the client, from tokens to tokens, with onnxruntime's number of threads, and prints one line of JSON.
//
// node bench.mjs MODEL.onnx HISTORIES.txt [--gpu]       HISTORIES.txt: one history a line, tokens separated by tabs

import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import ort from "onnxruntime-node";
import { loadModel, recommend } from "./recommend.mjs";

const [K, WARM_UP, BATCH, ROUNDS] = [10, 200, 256, 3];

/** The seconds that a call takes. */
async function seconds(call) {
  const start = process.hrtime.bigint();
  await call();
  return Number(process.hrtime.bigint() - start) / 1e9;
}

function read(file) {
  const histories = readFileSync(file, "utf8").split(/\r?\n/).filter(Boolean).map((line) => line.split("\t"));
  if (!histories.length) throw new Error(`${file} has no histories: expected one a line.`);
  return histories;
}

async function main() {
  const { values, positionals } = parseArgs({ options: { gpu: { type: "boolean" } }, allowPositionals: true });
  const [model, file] = positionals;
  if (!file) throw new Error("expected MODEL.onnx HISTORIES.txt [--gpu].");
  const histories = read(file);
  const session = await loadModel(model, { gpu: values.gpu, threads: 0 });

  for (let request = 0; request < WARM_UP; request++) await recommend(session, [histories[0]], K);

  const times = [];
  for (const history of histories) times.push(await seconds(() => recommend(session, [history], K)));
  times.sort((a, b) => a - b);
  const percentile = (part) => 1000 * times[Math.ceil(part * times.length) - 1];

  const rounds = [];
  for (let round = 0; round < ROUNDS; round++) {
    rounds.push(await seconds(async () => {
      for (let at = 0; at < histories.length; at += BATCH) await recommend(session, histories.slice(at, at + BATCH), K);
    }));
  }

  console.log(JSON.stringify({
    language: "Node.js",
    version: process.version,
    onnxruntime: ort.env.versions.node,
    provider: session.provider,
    p50_ms: Number(percentile(0.5).toFixed(3)),
    p99_ms: Number(percentile(0.99).toFixed(3)),
    per_second: Math.round(histories.length / Math.min(...rounds)),
  }));
}

await main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
