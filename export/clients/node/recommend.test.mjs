// Every case of golden.json, requests at once, and the command line.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { because, loadModel, recommend } from "./recommend.mjs";

const path = (name) => fileURLToPath(new URL(name, import.meta.url));
const golden = JSON.parse(readFileSync(path("../golden.json"), "utf8"));
const parts = { tokens: golden, options: golden.options, ids: golden.ids };
const [model, options, ids, damaged] = [...Object.values(parts), golden.damaged].map((part) => path(`../${part.model}`));
const onGpu = await loadModel(model, { gpu: true }); // First, as the first session sets how much onnxruntime prints.
const session = await loadModel(model);

/** All numbers of nested rows are within the golden file's tolerance; null is -Infinity. */
function near(actual, expected) {
  const numbers = expected.flat(2);
  assert.equal(actual.flat(2).length, numbers.length);
  actual.flat(2).forEach((number, at) => {
    const wanted = numbers[at] ?? -Infinity;
    assert.ok(number === wanted || Math.abs(number - wanted) <= golden.tolerance, `${number}, not ${wanted}`);
  });
}

/** A session's answer to a golden case is the file's. */
async function check(session, { name, history, k, items, scores, reasons, ...inputs }) {
  const actual = await recommend(session, history, k, inputs);
  assert.deepEqual(actual.items, items);
  near(actual.scores, scores);
  assert.equal(actual.reasons === undefined, reasons === undefined);
  if (reasons) near(actual.reasons, reasons);
}

for (const [part, { model, cases }] of Object.entries(parts)) {
  const session = await loadModel(path(`../${model}`));
  for (const golden of cases) test(`golden: ${part}: ${golden.name}`, () => check(session, golden));
}

test("histories are padded", async () => {
  const { items } = await recommend(session, [["42"], ["7", "a b", "007"], []], 3);
  assert.deepEqual(items.map(([best]) => best), ["café", "café", "café"]);
  assert.deepEqual(await recommend(session, [], 3), { items: [], scores: [] });
});

test("rows may be of any iterable kind", async () => {
  const session = await loadModel(options);
  const expected = await recommend(session, [["42", "7"]], 3, { exclude: [["café"]] });
  const actual = await recommend(session, new Set([new Set(["42", "7"])]), 3n, { exclude: [["café"].values()], among: [] });
  assert.deepEqual(actual, expected);
  assert.deepEqual((await recommend(await loadModel(ids), [BigInt64Array.of(2n)], 1)).items, [[3]]);
});

test("a token is not cut at a zero byte", async () => {
  for (const token of ["42\0x", "42\0", "\x0042"]) assert.ok((await recommend(session, [[token]], 8)).items[0].includes("42"));
});

test("k is a whole number of 1 or more, and no larger than the catalogue", async () => {
  for (const [k, shown] of [[0, "0"], [-3, "-3"], [2.5, "2.5"], [NaN, "NaN"], [true, "true"], ["3", '"3"'], [0n, "0"], [undefined, "undefined"]]) {
    const refused = { message: `k is ${shown}: expected a whole number of 1 or more.` };
    await assert.rejects(recommend(session, [["42"]], k), refused);
    await assert.rejects(recommend(session, [], k), refused);
  }
  for (const k of [8, 2 ** 60, 1e300, 2n ** 70n]) assert.equal((await recommend(session, [[]], k)).items[0].length, 8);
});

test("only lists of lists of items are accepted", async () => {
  const [tokens, numbers] = [await loadModel(options), await loadModel(ids)];
  const lists = 'expected a list of items for each row, as in [["a", "b"], ["c"]].';
  for (const name of ["histories", "exclude", "among"]) {
    for (const [session, value, problem] of [
      [tokens, "abc", `is or holds "abc": ${lists}`],
      [tokens, ["abc"], `is or holds "abc": ${lists}`],
      [tokens, 5, `is or holds 5: ${lists}`],
      [tokens, [null], `is or holds null: ${lists}`],
      [tokens, [["7", 42]], "holds 42: the model takes tokens, texts."],
      [numbers, [2], `is or holds 2: ${lists}`],
      [numbers, [["2"]], 'holds "2": the model takes item ids, whole numbers.'],
      [numbers, [[1, 1.9]], "holds 1.9: the model takes item ids, whole numbers."],
      [numbers, [[2n ** 64n + 1n]], "holds 18446744073709551617: the model takes item ids, whole numbers."],
    ]) {
      const { histories, ...filters } = { histories: [[]], [name]: value };
      await assert.rejects(recommend(session, histories, 3, filters), { message: `${name} ${problem}` });
    }
  }
});

test("8 requests at once share a session", async () => {
  const session = await loadModel(options);
  const cases = golden.options.cases;
  for (let round = 0; round < 100; round++) {
    await Promise.all(Array.from({ length: 8 }, (_, at) => check(session, cases[(8 * round + at) % cases.length])));
  }
});

test("8 worker threads have a session each", async () => {
  const code = `const { parentPort, workerData: { client, model } } = require("node:worker_threads");
    import(client).then(async ({ loadModel, recommend }) => {
      const session = await loadModel(model);
      for (let request = 0; request < 50; request++) parentPort.postMessage((await recommend(session, [["42"]], 2)).items);
    });`;
  const workerData = { client: new URL("recommend.mjs", import.meta.url).href, model };
  await Promise.all(Array.from({ length: 8 }, async () => {
    const answers = [], worker = new Worker(code, { eval: true, workerData });
    worker.on("message", (items) => answers.push(items));
    await once(worker, "exit");
    assert.deepEqual(answers, Array(50).fill([["café", "007"]]));
  }));
});

test("because names the item that raised a score most, or none", () => {
  assert.equal(because(["7", "42"], [0.5, 1]), "42");
  assert.equal(because([7, 42], [0.5, 0]), 7);
  assert.equal(because(["7"], [-1]), undefined);
  assert.equal(because([], []), undefined);
});

test("with gpu, the session says where it runs", async () => {
  assert.equal(session.provider, "CPUExecutionProvider");
  assert.match(onGpu.provider, /^(CUDA|CPU)ExecutionProvider$/);
  for (const each of golden.cases) await check(onGpu, each);
});

test("a damaged file is refused", async () => {
  const message = `golden.damaged.onnx is damaged: the SHA-256 of its weights is ${golden.damaged.weights_sha256}, not `;
  await assert.rejects(loadModel(damaged), (error) => error.message.includes(message));
  assert.equal((await recommend(await loadModel(damaged, { check: false }), [["42"]], 3)).items[0].length, 3);
});

test("the digest covers a second file, and an older file has none", async () => {
  const folder = mkdtempSync(join(tmpdir(), "client-")), graph = readFileSync(model, "latin1");
  const [older, sealed] = ["older.onnx", "sealed.onnx"].map((name) => join(folder, name));
  writeFileSync(older, readFileSync(damaged, "latin1").replace("weights_sha256", "weights_sha512"), "latin1");
  await loadModel(older);
  writeFileSync(join(folder, "weights"), "more");
  writeFileSync(sealed, `${graph}\x72\x17\x0a\x0cweights_file\x12\x07weights`, "latin1"); // An entry of the metadata.
  await assert.rejects(loadModel(sealed), /sealed\.onnx is damaged/);
  const [, found, expected] = (await loadModel(sealed).catch(({ message }) => message)).match(/ is (\w{64}), not (\w{64})/);
  writeFileSync(sealed, readFileSync(sealed, "latin1").replace(expected, found), "latin1");
  await loadModel(sealed);
});

test("threads of a request", async (t) => {
  for (const threads of [-1, 1025, 2 ** 40]) {
    await assert.rejects(loadModel(model, { threads }), { message: `threads is ${threads}: expected a whole number from 0 to 1024.` });
  }
  if (!existsSync("/proc/self/task")) return t.skip("only Linux tells the threads of a process");
  const code = `import { readdirSync } from "node:fs";
    const { loadModel } = await import(process.argv[1]);
    const count = () => readdirSync("/proc/self/task").length;
    await loadModel(process.argv[2], { threads: 1 });
    const before = count(), session = await loadModel(process.argv[2], { threads: 3 });
    console.log(count() - before);`;
  const client = new URL("recommend.mjs", import.meta.url).href;
  const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", code, client, model], { encoding: "utf8" });
  assert.equal(stdout, "2\n", stderr); // The calling thread is the third.
});

const run = (...args) => spawnSync(process.execPath, [path("recommend.mjs"), ...args], { encoding: "utf8" });

test("command line", () => {
  assert.equal(run(model, "42", "-k", "2").stdout, "café\t1.8704\n007\t1.3451\n");
  const { stdout, stderr } = run(model, "42", "-k", "2", "--gpu");
  assert.equal(stdout, "café\t1.8704\n007\t1.3451\n");
  assert.match(stderr, /^runs on (CUDA|CPU)ExecutionProvider\n$/);
});

test("command line with options", () => {
  assert.equal(run(options, "42", "-k", "2").stdout, "café\t1.8704\tbecause of 42\n007\t1.3451\n");
  const list = join(mkdtempSync(join(tmpdir(), "client-")), "items.txt");
  writeFileSync(list, "007\n7\nx,y\n");
  const { stdout } = run(options, "42", "--exclude", "7", "--among", list);
  assert.deepEqual(stdout.trim().split("\n").map((line) => line.split("\t")[0]), ["007", "x,y"]);
  assert.equal(run(ids, "2", "-k", "2").stdout, "3\t1.8704\tbecause of 2\n6\t1.3451\n");
  assert.equal(run(ids, "2", "--exclude", "3", "--among", "3,1").stdout.split("\t")[0], "1");
  assert.equal(run(damaged, "--no-check").status, 0);
  const { stderr } = run(options, "42", "nobody", "--exclude", "none.txt");
  assert.equal(stderr, "The model ignores items that it does not know: nobody, none.txt\n");
});

test("command line errors", () => {
  const folder = mkdtempSync(join(tmpdir(), "client-"));
  const [text, other, newer] = ["text.onnx", "other.onnx", "newer.onnx"].map((name) => join(folder, name));
  writeFileSync(text, "not a model");
  writeFileSync(other, readFileSync(model, "latin1").replaceAll("history", "visitor"), "latin1");
  writeFileSync(newer, readFileSync(model, "latin1").replace("contract_version\x12\x011", "contract_version\x12\x013"), "latin1");
  for (const [args, message] of [
    [["missing.onnx", "42"], /missing\.onnx is missing: expected a model exported with --io tokens or --io ids\./],
    [[folder, "42"], /is a folder: expected a model exported with --io tokens or --io ids\./],
    [[text], /text\.onnx is no ONNX model/],
    [[other], /other\.onnx takes string visitor, int64 k: expected history and k; export the model with --io tokens or --io ids/],
    [[newer], /newer\.onnx has the contract version 3, this client knows 1 and 2: update it\./],
    [[model, "-k", "0"], /-k is 0/],
    [[model, "42", "--among", "7"], /the model has no input among: export it with --filters\./],
    [[options, "42", "--among", "nobody"], /Nothing to recommend/],
    [[ids, "café"], /'café' is no item id: the model takes RecBole's item ids\./],
    [[ids, "1", "--exclude", "1.5"], /'1\.5' is no item id/],
    [[damaged], /is damaged: the SHA-256 of its weights is/],
    [[], /MODEL\.onnx is missing/],
  ]) {
    const { status, stderr } = run(...args);
    assert.equal(status, 1);
    assert.match(stderr, message);
    assert.equal(stderr.trim().split("\n").length, 1);
  }
  const empty = join(folder, "empty.txt");
  writeFileSync(empty, "");
  const { status, stderr } = spawnSync(process.execPath, [path("bench.mjs"), model, empty], { encoding: "utf8" });
  assert.deepEqual([status, stderr], [1, `${empty} has no histories: expected one a line.\n`]);
});
