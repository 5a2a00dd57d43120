// Puts the page, onnxruntime-web, a model and its titles into one folder for any static server.
//
// node build.mjs MODEL.onnx ITEMFILE OUTFOLDER [--gpu]
//
// With --gpu the page runs on WebGPU where the browser has it. 28 MB more are copied, which only such browsers fetch.

import { copyFileSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const here = fileURLToPath(new URL(".", import.meta.url));
const ort = join(here, "node_modules/onnxruntime-web/dist");
const page = ["index.html", "style.css", "app.mjs", "recommend.mjs"];
const runtime = ["ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"];
const gpuRuntime = ["ort.bundle.min.mjs", "ort-wasm-simd-threaded.jsep.wasm"];

const read = (path) => readFileSync(path, "utf8").split(/\r?\n/).filter(Boolean).map((line) => line.split("\t").map(unquoted));
const unquoted = (field) => (/^"([^"]|"")*"$/.test(field) ? field.slice(1, -1).replaceAll('""', '"') : field);

/** {token: title} from a RecBole .item file: its first text column, and the release year where there is one. */
function readTitles(path) {
  const [header, ...rows] = read(path);
  const token = header.indexOf("item_id:token");
  const title = titleColumn(header);
  if (token < 0 || title < 0) {
    throw new Error(`${path} has the columns ${header.join(", ")}: expected item_id:token and a text column such as title:token_seq.`);
  }
  const year = header.findIndex((column, at) => at !== title && column.startsWith("release_year:"));
  return Object.fromEntries(rows.map((row) => [row[token], row[year] ? `${row[title]} (${row[year]})` : row[title]]));
}

const titleColumn = (header) => header.findIndex((column) => column !== "item_id:token" && /:token(_seq)?$/.test(column));

/** {kind: {name: tokens}} from a RecBole .item file: decades from release_year, genres from the first list after title. */
function readGroups(path) {
  const [header, ...rows] = read(path);
  const token = header.indexOf("item_id:token"), year = header.findIndex((column) => column.startsWith("release_year:"));
  const genre = header.findIndex((column, at) => at > titleColumn(header) && column.endsWith(":token_seq"));
  const kinds = {
    Decade: (row) => (/^\d{4}$/.test(row[year]) ? [`${row[year].slice(0, 3)}0s`] : []),
    Genre: (row) => (row[genre] ?? "").split(" ").filter(Boolean),
  };
  return Object.fromEntries(Object.entries(kinds).map(([kind, namesOf]) => {
    const groups = new Map();
    for (const row of rows) for (const name of namesOf(row)) groups.set(name, [...(groups.get(name) ?? []), row[token]]);
    return [kind, Object.fromEntries([...groups].sort(([a], [b]) => a.localeCompare(b)))];
  }));
}

function requireFile(path, hint) {
  const file = statSync(path, { throwIfNoEntry: false });
  if (!file?.isFile()) throw new Error(`${path} is ${file?.isDirectory() ? "a folder" : "missing"}: ${hint}.`);
}

function build() {
  const { values, positionals } = parseArgs({ options: { gpu: { type: "boolean" } }, allowPositionals: true });
  const [model, items, out] = positionals;
  if (!out) throw new Error("An argument is missing: node build.mjs MODEL.onnx ITEMFILE OUTFOLDER [--gpu].");
  requireFile(model, "expected a model exported with --io tokens");
  requireFile(items, "expected the data set's .item file");
  requireFile(join(ort, runtime[0]), `run npm ci in ${here}`);
  const titles = readTitles(items), groups = readGroups(items);
  mkdirSync(out, { recursive: true });
  for (const name of page) copyFileSync(join(here, name), join(out, name));
  for (const name of values.gpu ? [...runtime, ...gpuRuntime] : runtime) copyFileSync(join(ort, name), join(out, name));
  if (values.gpu) {
    const html = join(out, "index.html");
    writeFileSync(html, readFileSync(html, "utf8").replace('<html lang="en">', '<html lang="en" data-gpu>'));
  }
  copyFileSync(model, join(out, "model.onnx"));
  writeFileSync(join(out, "titles.json"), JSON.stringify(titles));
  writeFileSync(join(out, "groups.json"), JSON.stringify(groups));
}

try {
  build();
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
