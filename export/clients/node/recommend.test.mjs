// Every case of golden.json, and the command line.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { loadModel, recommend } from "./recommend.mjs";

const path = (name) => fileURLToPath(new URL(name, import.meta.url));
const golden = JSON.parse(readFileSync(path("../golden.json"), "utf8"));
const model = path(`../${golden.model}`);
const options = path(`../${golden.options.model}`);
const session = await loadModel(model);
const sets = [[session, golden.cases], [await loadModel(options), golden.options.cases]];

/** All numbers of nested rows are as near as the golden file says; null is -Infinity. */
function near(found, expected) {
  const numbers = expected.flat(2);
  assert.equal(found.flat(2).length, numbers.length);
  found.flat(2).forEach((number, at) => {
    const wanted = numbers[at] ?? -Infinity;
    assert.ok(number === wanted || Math.abs(number - wanted) <= golden.tolerance, `${number}, not ${wanted}`);
  });
}

for (const [session, cases] of sets) {
  for (const { name, history, k, items, scores, reasons, ...given } of cases) {
    test(`golden: ${name}`, async () => {
      const found = await recommend(session, history, k, given);
      assert.deepEqual(found.items, items);
      near(found.scores, scores);
      assert.equal(found.reasons === undefined, reasons === undefined);
      if (reasons) near(found.reasons, reasons);
    });
  }
}

test("histories are padded", async () => {
  const { items } = await recommend(session, [["42"], ["7", "a b", "007"], []], 3);
  assert.deepEqual(items.map(([best]) => best), ["café", "café", "café"]);
});

const run = (...args) => spawnSync(process.execPath, [path("recommend.mjs"), ...args], { encoding: "utf8" });

test("command line", () => {
  assert.equal(run(model, "42", "-k", "2").stdout, "café\t1.8704\n007\t1.3451\n");
});

test("command line with options", () => {
  assert.equal(run(options, "42", "-k", "2").stdout, "café\t1.8704\tbecause of 42\n007\t1.3451\n");
  const list = join(mkdtempSync(join(tmpdir(), "client-")), "items.txt");
  writeFileSync(list, "007\n7\nx,y\n");
  const { stdout } = run(options, "42", "--exclude", "7", "--among", list);
  assert.deepEqual(stdout.trim().split("\n").map((line) => line.split("\t")[0]), ["007", "x,y"]);
});

test("command line errors", () => {
  const text = join(mkdtempSync(join(tmpdir(), "client-")), "text.onnx");
  writeFileSync(text, "not a model");
  for (const [args, message] of [
    [["missing.onnx", "42"], /missing\.onnx is missing/],
    [[text], /text\.onnx is no ONNX model/],
    [[model, "-k", "0"], /-k is 0/],
    [[model, "42", "--among", "7"], /the model has no input among: export it with --filters\./],
    [[options, "42", "--among", "nobody"], /Nothing to recommend/],
    [[], /MODEL\.onnx is missing/],
  ]) {
    const { status, stderr } = run(...args);
    assert.equal(status, 1);
    assert.match(stderr, message);
    assert.equal(stderr.trim().split("\n").length, 1);
  }
});
