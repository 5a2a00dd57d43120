// The page of a report in a real browser: sorting, a phone's width, and no request elsewhere. PAGE is its file:// address.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, open as openPage } from "../../export/clients/web/test-browser.mjs";

let browser;

before(async () => {
  browser = await launch();
});

after(() => browser?.close());

const open = (options) => openPage(browser, process.env.PAGE, options);

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
