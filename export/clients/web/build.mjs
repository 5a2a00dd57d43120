// Puts the page, onnxruntime-web, a model and its titles into one folder that any static server can serve.
//
// node build.mjs MODEL.onnx ITEMFILE OUTFOLDER

import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const ort = join(here, "node_modules/onnxruntime-web/dist");
const page = ["index.html", "style.css", "app.mjs", "recommend.mjs"];
const runtime = ["ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"];

/** {token: title} from a RecBole .item file: its first text column, and the release year where there is one. */
function readTitles(path) {
  const [header, ...rows] = readFileSync(path, "utf8").split(/\r?\n/).filter(Boolean).map((line) => line.split("\t"));
  const token = header.indexOf("item_id:token");
  const title = header.findIndex((column, at) => at !== token && /:token(_seq)?$/.test(column));
  if (token < 0 || title < 0) {
    throw new Error(`${path} has the columns ${header.join(", ")}: expected item_id:token and a text column such as title:token_seq.`);
  }
  const year = header.findIndex((column, at) => at !== title && column.startsWith("release_year:"));
  return Object.fromEntries(rows.map((row) => [row[token], row[year] ? `${row[title]} (${row[year]})` : row[title]]));
}

function requireFile(path, hint) {
  if (!existsSync(path)) throw new Error(`${path} is missing: ${hint}.`);
}

function build(model, items, out) {
  if (!out) throw new Error("An argument is missing: node build.mjs MODEL.onnx ITEMFILE OUTFOLDER.");
  requireFile(model, "expected a model exported with --io tokens");
  requireFile(items, "expected the data set's .item file");
  requireFile(ort, `run npm ci in ${here}`);
  const titles = readTitles(items);
  mkdirSync(out, { recursive: true });
  for (const name of page) copyFileSync(join(here, name), join(out, name));
  for (const name of runtime) copyFileSync(join(ort, name), join(out, name));
  copyFileSync(model, join(out, "model.onnx"));
  writeFileSync(join(out, "titles.json"), JSON.stringify(titles));
}

try {
  build(...process.argv.slice(2));
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
