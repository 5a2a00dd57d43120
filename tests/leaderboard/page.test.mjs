// The page of a report in a real browser: sorting, a phone's width, and no request elsewhere. PAGE is its file:// address.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { chromium } from "../../export/clients/web/node_modules/playwright-core/index.mjs";

const ARGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"];
let browser;

before(async () => {
  browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ARGS });
});

after(() => browser?.close());

/** The page, and what it asked for and complained of on the way. */
async function open(options = {}) {
  const page = await browser.newPage(options);
  page.requests = [];
  page.complaints = [];
  page.on("request", (request) => page.requests.push(request.url()));
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && page.complaints.push(message.text()));
  page.on("pageerror", (error) => page.complaints.push(error.message));
  await page.goto(process.env.PAGE);
  return page;
}

const names = (page) => page.locator("#test tbody td.name").allTextContents();

test("a click on a heading sorts, the next one turns the order", async () => {
  const page = await open();
  assert.deepEqual(await names(page), ["Best_&_first", "Like", "Worse"]);
  const ndcg = page.getByRole("columnheader", { name: "NDCG@5" }).first();
  await ndcg.getByRole("button").click();
  assert.equal(await ndcg.getAttribute("aria-sort"), "descending");
  assert.equal((await names(page)).at(-1), "Worse");
  await ndcg.getByRole("button").click();
  assert.equal((await names(page))[0], "Worse");
  const model = page.getByRole("columnheader", { name: "model" }).first();
  await model.getByRole("button").click();
  assert.deepEqual(await names(page), ["Best_&_first", "Like", "Worse"]);
  assert.equal(await ndcg.getAttribute("aria-sort"), null);
  assert.deepEqual(page.complaints, []);
  assert.deepEqual(page.requests, [process.env.PAGE]);
});

test("on a phone the tables scroll and the page does not", async () => {
  const page = await open({ viewport: { width: 360, height: 740 } });
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360);
  const scrolls = await page.evaluate(() => [...document.querySelectorAll(".scroll")].some((box) => box.scrollWidth > box.clientWidth));
  assert.ok(scrolls);
});
