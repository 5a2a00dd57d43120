// The built page in a real browser: every case of golden.json, also on WebGPU; picking films, a phone's width, and that no
// request leaves the page's server.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { launch, open as openPage } from "./test-browser.mjs";

const path = (name) => fileURLToPath(new URL(name, import.meta.url));
const golden = JSON.parse(readFileSync(path("../golden.json"), "utf8"));
const parts = { tokens: golden, options: golden.options, ids: golden.ids };
const model = path(`../${golden.model}`);
const TITLES = [
  ["7", "Seven Samurai", "1954"], ["42", "Metropolis", "1927"], ["café", "Café Society", "2016"],
  ["日本", "Tokyo Story", "1953"], ["a b", "A Bout de Souffle, or a title so long that it has to wrap on a phone", "1960"],
  ["007", "Goldfinger", "1964"], ["x,y", "Alphaville", "1965"], ["99999999999999999999", "Nine", "2009"],
];

const folder = mkdtempSync(join(tmpdir(), "client-web-"));
const items = join(folder, "films.item");
const site = join(folder, "site");
let browser, server, origin;

const build = (...args) => spawnSync(process.execPath, [path("build.mjs"), ...args], { encoding: "utf8" });

before(async () => {
  writeFileSync(items, [["item_id:token", "title:token_seq", "release_year:token"], ...TITLES].map((row) => row.join("\t")).join("\n"));
  assert.equal(build(model, items, site).stderr, "");
  assert.equal(build(model, items, join(site, "gpu"), "--gpu").stderr, "");
  for (const { model } of [...Object.values(parts), golden.damaged]) for (const at of [site, join(site, "gpu")]) copyFileSync(path(`../${model}`), join(at, model));
  const serve = ["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", site];
  server = spawn("python3", serve, { stdio: ["ignore", "pipe", "ignore"] });
  const [greeting] = await once(server.stdout, "data");
  origin = String(greeting).match(/http:\/\/[\d.]+:\d+/)[0];
  browser = await launch();
});

after(async () => {
  await browser?.close();
  server?.kill();
  rmSync(folder, { recursive: true });
});

const open = (options) => openPage(browser, origin, options);

const ranking = (page) => page.locator("#ranking .title").allTextContents();

/** The ranking, once it differs from the previous one. */
async function changed(page, previous) {
  await page.waitForFunction(
    (old) => [...document.querySelectorAll("#ranking .title")].map((title) => title.textContent).join() !== old,
    previous.join(),
  );
  return ranking(page);
}

/** All numbers of nested rows are as near as the golden file says; null is -Infinity. */
function near(actual, expected) {
  const numbers = expected.flat(2);
  assert.equal(actual.flat(2).length, numbers.length);
  actual.flat(2).forEach((number, at) => {
    const wanted = numbers[at] ?? -Infinity;
    assert.ok(number === wanted || Math.abs(number - wanted) <= golden.tolerance, `${number}, not ${wanted}`);
  });
}

/** The answers of a page's client; the page keeps its sessions. */
const ask = (page, model, gpu, requests) => page.evaluate(async ([model, gpu, requests]) => {
  const { loadModel, recommend } = await import("./recommend.mjs");
  window.sessions ??= {};
  const session = await (window.sessions[model] ??= loadModel(model, { gpu }));
  const answers = requests.map(({ history, k, ...options }) => recommend(session, history, k, options));
  return { provider: session.provider, answers: await Promise.all(answers) };
}, [model, gpu, requests]);

/** Every golden case is a test of its own. */
async function checkGolden(t, page, prefix, provider) {
  for (const [part, { model, cases }] of Object.entries(parts)) {
    for (const { name, items, scores, reasons, ...request } of cases) {
      await t.test(`${prefix}: ${part}: ${name}`, async () => {
        const { answers: [actual], ...got } = await ask(page, model, provider === "WebGPU", [request]);
        assert.equal(got.provider, provider);
        assert.deepEqual(actual.items, items);
        near(actual.scores, scores);
        assert.equal(actual.reasons === undefined, reasons === undefined);
        if (reasons) near(actual.reasons, reasons);
      });
    }
  }
}

/** 8 requests at once get the same answers as one after the other. */
async function checkAtOnce(page, gpu) {
  const cases = golden.options.cases.slice(0, 8);
  const requests = cases.map(({ history, k, exclude, among }) => ({ history, k, exclude, among }));
  const { answers } = await ask(page, golden.options.model, gpu, requests);
  assert.deepEqual(answers.map(({ items }) => items), cases.map(({ items }) => items));
}

test("golden cases", async (t) => {
  const page = await open();
  await checkGolden(t, page, "golden", "WASM");
  await page.close();
});

test("a k below 1 and a text for a list are refused", async () => {
  const page = await open();
  for (const [request, message] of [
    [{ history: [["42"]], k: 0 }, /k is 0: expected a whole number of 1 or more\./],
    [{ history: [["42"]], k: -3 }, /k is -3: expected a whole number/],
    [{ history: ["42"], k: 3 }, /histories is or holds "42": expected a list of items for each row/],
    [{ history: [["42"]], k: 3, exclude: "7" }, /exclude is or holds "7": expected a list of items for each row/],
  ]) {
    await assert.rejects(ask(page, golden.options.model, false, [request]), message);
  }
  await page.close();
});

/** The best items for "42" of a model that a page opens with these options. */
const best = (page, model, options) => page.evaluate(async ([model, options]) => {
  const { loadModel, recommend } = await import("./recommend.mjs");
  return (await recommend(await loadModel(model, options), [["42"]], 2)).items[0];
}, [model, options]);

test("threads, and damaged files", async () => {
  const page = await browser.newPage();
  const headers = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };
  await page.route("**/*", async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, headers: { ...response.headers(), ...headers } });
  });
  await page.goto(`${origin}/style.css`); // It opens no model.
  await assert.rejects(best(page, golden.model, { threads: 1025 }), /threads is 1025: expected a whole number from 0 to 1024\./);
  assert.deepEqual(await best(page, golden.model, { threads: 3 }), ["café", "007"]);
  assert.equal(page.workers().length, 2); // The page's own thread is the third.

  const { model: damaged, weights_sha256: found } = golden.damaged;
  await assert.rejects(best(page, damaged), new RegExp(`${damaged} is damaged: the SHA-256 of its weights is ${found}, not `));
  assert.equal((await best(page, damaged, { check: false })).length, 2);
  await page.evaluate(() => Object.defineProperty(crypto, "subtle", { value: undefined })); // As on plain http.
  assert.equal((await best(page, damaged)).length, 2);
  await page.close();
});

test("8 requests at once share a session", async () => {
  const page = await open();
  for (let round = 0; round < 20; round++) await checkAtOnce(page, false);
  await page.close();
});

test("without WebGPU, the page runs on WASM and fetches nothing else", async () => {
  for (const url of [origin, `${origin}/gpu/`]) {
    const page = await openPage(browser, url);
    await page.getByText("Runs in your browser on WASM.").waitFor();
    const runtime = page.requests.map((url) => url.split("/").pop()).filter((name) => name.startsWith("ort"));
    assert.deepEqual(runtime.sort(), ["ort-wasm-simd-threaded.wasm", "ort.wasm.bundle.min.mjs"]);
    assert.deepEqual(page.complaints.filter((text) => text !== "No available adapters."), []); // Chromium's message.
    await page.close();
  }
});

test("webgpu", async (t) => {
  const browser = await launch({ webgpu: true });
  t.after(() => browser.close());
  const page = await openPage(browser, `${origin}/gpu/`);
  if (!(await page.evaluate(() => navigator.gpu?.requestAdapter().then(Boolean)))) return t.skip("skipped: no WebGPU adapter");
  await t.test("the page says so, and does not fetch the other runtime", async () => {
    await page.getByText("Runs in your browser on WebGPU.").waitFor();
    assert.deepEqual(page.requests.filter((url) => url.endsWith(".wasm")), [`${origin}/gpu/ort-wasm-simd-threaded.jsep.wasm`]);
    const prior = await ranking(page);
    await page.getByRole("button", { name: "Like Metropolis" }).click();
    assert.ok(!(await changed(page, prior)).includes("Metropolis"));
    assert.deepEqual(page.complaints, []);
  });
  await checkGolden(t, page, "webgpu golden", "WebGPU");
  await t.test("8 requests at once share a session", () => checkAtOnce(page, true));
  await t.test("where it fails, the page runs on WASM", async () => {
    const page = await browser.newPage();
    await page.route("**/*.jsep.wasm", (route) => route.fulfill({ status: 404 }));
    await page.goto(`${origin}/gpu/`);
    await page.getByText("Runs in your browser on WASM.").waitFor();
  });
  await t.test("a page that does not ask for it runs on WASM", async () => {
    const page = await openPage(browser, origin);
    await page.getByText("Runs in your browser on WASM.").waitFor();
  });
});

test("picking by keyboard and by click ranks again, and a chip takes it back", async () => {
  const page = await open();
  const search = page.getByRole("combobox", { name: "Search titles" });
  await search.waitFor();
  const prior = await ranking(page);
  assert.equal(prior.length, TITLES.length);
  assert.equal(prior[0], "Café Society");
  assert.ok(await page.locator("#controls").isHidden()); // The model has no options.

  await search.fill("CAFE");
  assert.deepEqual(await page.getByRole("option").allTextContents(), ["Café Society (2016)"]);
  await search.press("Enter");
  const one = await changed(page, prior);
  assert.ok(!one.includes("Café Society"));

  await search.fill("o");
  await search.press("ArrowDown");
  assert.equal(await search.getAttribute("aria-activedescendant"), "option-1");
  await page.getByRole("option", { name: "Metropolis" }).click();
  const two = await changed(page, one);
  assert.ok(!two.includes("Café Society") && !two.includes("Metropolis"));
  assert.equal(two.length, TITLES.length - 2);
  assert.match(await page.locator("#timing").textContent(), /^8 films ranked in \d+\.\d ms$/);

  await page.getByRole("button", { name: "Remove Metropolis" }).click();
  assert.deepEqual(await changed(page, two), one);
  await page.getByRole("button", { name: "Clear all" }).click();
  assert.deepEqual(await changed(page, one), prior);
  assert.deepEqual(page.complaints, []);
  await page.close();
});

test("the buttons of the ranking pick, up to the last film", async () => {
  const page = await open();
  await page.locator("main").waitFor();
  for (let left = TITLES.length; left > 0; left--) {
    const before = await ranking(page);
    await page.getByRole("button", { name: /^Like / }).first().click();
    assert.equal((await changed(page, before)).length, left - 1);
  }
  assert.ok(await page.getByText("You have picked every film there is.").isVisible());
  await page.close();
});

test("with options: reasons, a filter and surprises, also on a phone", async () => {
  const genres = join(folder, "genres.item"), rows = TITLES.map((row, at) => [...row, at % 2 ? "Drama" : "Drama Comedy"]);
  const header = ["item_id:token", "title:token_seq", "release_year:token", "genre:token_seq"];
  writeFileSync(genres, [header, ...rows].map((row) => row.join("\t")).join("\n"));
  assert.equal(build(path(`../${golden.options.model}`), genres, join(site, "options")).stderr, "");
  const page = await openPage(browser, `${origin}/options/`, { viewport: { width: 360, height: 740 } });
  await page.locator("main").waitFor();
  const prior = await ranking(page);
  assert.equal(await page.locator(".because").allTextContents().then((texts) => texts.join("")), "");

  await page.getByRole("button", { name: "Like Metropolis" }).click();
  const one = await changed(page, prior);
  assert.equal(await page.locator("#ranking li").first().locator(".because").textContent(), "because of Metropolis");
  await page.getByLabel("Show").selectOption("1960s");
  assert.deepEqual((await changed(page, one)).sort(), ["A Bout de Souffle, or a title so long that it has to wrap on a phone", "Alphaville", "Goldfinger"]);
  await page.getByLabel("Show").selectOption("Comedy");
  await page.waitForFunction(() => document.querySelectorAll("#ranking li").length === 4);
  await page.getByLabel("Show").selectOption("1920s");
  assert.ok(await page.getByText("Nothing of this kind is left.").isVisible());
  await page.getByLabel("Show").selectOption("all films");
  assert.deepEqual(await changed(page, []), one);

  const scores = () => page.locator("#ranking .score").allTextContents();
  const best = await scores();
  await page.getByRole("button", { name: "Surprise me" }).click();
  await page.getByRole("heading", { name: "A surprise for you" }).waitFor();
  assert.notDeepEqual(await scores(), best);
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360);
  await page.getByRole("button", { name: "Back to the best" }).click();
  await page.getByRole("heading", { name: "Recommended for you" }).waitFor();
  assert.deepEqual(await scores(), best);
  assert.deepEqual(page.complaints, []);
  await page.close();
});

test("a phone's width needs no scrolling sideways", async () => {
  const page = await open({ viewport: { width: 360, height: 740 } });
  const width = () => page.evaluate(() => document.documentElement.scrollWidth);
  await page.getByRole("combobox").click();
  assert.equal(await width(), 360);
  await page.getByRole("option", { name: "A Bout de Souffle" }).click();
  await page.getByRole("button", { name: /^Remove A Bout/ }).waitFor();
  assert.equal(await width(), 360);
  await page.close();
});

test("no request leaves the page's origin, and none follows the start", async () => {
  const page = await open();
  await page.locator("main").waitFor();
  const start = page.requests.length;
  await page.getByRole("button", { name: /^Like / }).first().click();
  await page.getByRole("button", { name: /^Remove / }).waitFor();
  assert.equal(page.requests.length, start);
  assert.deepEqual(page.requests.filter((url) => !url.startsWith(`${origin}/`)), []);
  assert.deepEqual(page.complaints, []);
  await page.close();
});

test("the page names a missing or broken file", async () => {
  const newer = readFileSync(path(`../${golden.model}`), "latin1").replace("contract_version\x12\x011", "contract_version\x12\x013");
  for (const [file, response, message] of [
    ["model.onnx", { body: Buffer.from(newer, "latin1") }, "model.onnx has the contract version 3, this client knows 1 and 2"],
    ["model.onnx", { status: 404 }, "model.onnx is missing"],
    ["model.onnx", { body: "not a model" }, "model.onnx is no ONNX model"],
    ["model.onnx", { path: path(`../${golden.ids.model}`) }, "model.onnx takes item ids"],
    ["titles.json", { status: 404 }, "titles.json is missing"],
    ["titles.json", { body: '{"7": 7}' }, "titles.json is no JSON object"],
  ]) {
    const page = await browser.newPage();
    await page.route(`**/${file}`, (route) => route.fulfill(response));
    await page.goto(origin);
    await page.getByRole("heading", { name: "The page cannot start" }).waitFor();
    assert.ok(await page.getByText(message).isVisible());
    assert.ok(await page.locator("main").isHidden());
    await page.close();
  }
});

test("build errors", () => {
  const untitled = join(folder, "untitled.item");
  writeFileSync(untitled, "item_id:token\tprice:float\n7\t1.5\n");
  for (const [args, message] of [
    [["missing.onnx", items, site], /missing\.onnx is missing/],
    [[model, "missing.item", site], /missing\.item is missing/],
    [[folder, items, site], /is a folder: expected a model exported with --io tokens\./],
    [[model, untitled, site], /untitled\.item has the columns/],
    [[model, items], /An argument is missing/],
    [[model, items, site, "--fast"], /Unknown option '--fast'/],
  ]) {
    const { status, stderr } = build(...args);
    assert.equal(status, 1);
    assert.match(stderr, message);
    assert.equal(stderr.trim().split("\n").length, 1);
  }
});
