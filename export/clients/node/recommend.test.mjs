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
const session = await loadModel(model);

for (const { name, history, k, items, scores } of golden.cases) {
  test(`golden: ${name}`, async () => {
    const found = await recommend(session, history, k);
    assert.deepEqual(found.items, items);
    assert.deepEqual(found.scores.map((row) => row.length), scores.map((row) => row.length));
    found.scores.flat().forEach((score, at) => {
      const expected = scores.flat()[at] ?? -Infinity;
      assert.ok(score === expected || Math.abs(score - expected) <= golden.tolerance, `${score}, not ${expected}`);
    });
  });
}

test("histories are padded", async () => {
  const { items } = await recommend(session, [["42"], ["7", "a b", "007"], []], 3);
  assert.deepEqual(items.map(([best]) => best), ["café", "café", "café"]);
});

const run = (...args) => spawnSync(process.execPath, [path("recommend.mjs"), ...args], { encoding: "utf8" });

test("command line", () => {
  assert.equal(run(model, "42", "-k", "2").stdout, "café\t1.8704\n007\t1.3451\n");
});

test("command line errors", () => {
  const text = join(mkdtempSync(join(tmpdir(), "client-")), "text.onnx");
  writeFileSync(text, "not a model");
  for (const [args, message] of [
    [["missing.onnx", "42"], /missing\.onnx is missing/],
    [[text], /text\.onnx is no ONNX model/],
    [[model, "-k", "0"], /-k is 0/],
    [[], /MODEL\.onnx is missing/],
  ]) {
    const { status, stderr } = run(...args);
    assert.equal(status, 1);
    assert.match(stderr, message);
    assert.equal(stderr.trim().split("\n").length, 1);
  }
});
