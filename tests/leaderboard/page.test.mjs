// The page of a report in a real browser. PAGE is its file:// address.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, open as openPage } from "../../export/clients/web/test-browser.mjs";

let browser;

before(async () => {
  browser = await launch();
});

after(() => browser?.close());

const open = (options) => openPage(browser, process.env.PAGE, options);

const names = (page) => page.locator("#test tbody .name").allTextContents();

const heading = (page, name) => page.locator("#test").getByRole("columnheader", { name });

test("a click on a heading sorts, the next one turns the order, and what is missing stays last", async () => {
  const page = await open();
  const ndcg = heading(page, "NDCG@5");
  assert.deepEqual(await names(page), ["Best_&_first", "Like", "Worse"]);
  assert.equal(await ndcg.getAttribute("aria-sort"), "descending");
  await ndcg.getByRole("button").click();
  assert.equal(await ndcg.getAttribute("aria-sort"), "ascending");
  assert.equal((await names(page))[0], "Worse");
  await heading(page, "model").getByRole("button").click();
  assert.deepEqual(await names(page), ["Best_&_first", "Like", "Worse"]);
  assert.equal(await ndcg.getAttribute("aria-sort"), null);
  await page.getByText(/^Columns/).click();
  await page.getByLabel("parameters").check();
  for (const order of [["Worse", "Best_&_first", "Like"], ["Best_&_first", "Worse", "Like"]]) {
    await heading(page, "parameters").getByRole("button").click();
    assert.deepEqual(await names(page), order);
  }
  assert.deepEqual(page.complaints, []);
  assert.deepEqual(page.requests, [process.env.PAGE]);
});

test("everything can be done with the keyboard", async () => {
  const page = await open();
  const focused = () => page.evaluate(() => document.activeElement.textContent);
  const tabTo = async (text) => {
    for (let presses = 0; (await focused()) !== text && presses < 40; presses++) await page.keyboard.press("Tab");
    assert.equal(await focused(), text);
  };
  await tabTo("Copy");
  await page.keyboard.press("Enter");
  assert.match(await page.evaluate(() => getSelection().toString()), /^python run_recbole.py .*\n  --eval_args="\{'mode': 1\}"$/s);
  await tabTo("training s");
  assert.notEqual(await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle), "none");
  await page.keyboard.press("Enter");
  assert.equal(await heading(page, "training s").getAttribute("aria-sort"), "ascending");
  await tabTo("Columns (10 more)");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Space");
  assert.equal(await heading(page, "difference to the best").count(), 0);
  assert.deepEqual(page.complaints, []);
});

for (const javaScriptEnabled of [true, false]) {
  test(`what is shown fits ${javaScriptEnabled ? "with" : "without"} JavaScript`, async () => {
    const page = await open({ javaScriptEnabled });
    assert.equal(await heading(page, "MRR@1").count(), 0);
    for (const [width, last] of [[1440, "Recall@5"], [1180, "Recall@5"], [390, "NDCG@5"]]) {
      await page.setViewportSize({ width, height: 800 });
      const table = await page.locator("#test .scroll").boundingBox(), cell = await heading(page, last).boundingBox();
      assert.ok(table.x + table.width <= width && cell.x + cell.width <= table.x + table.width + 1, JSON.stringify([table, cell]));
      if (javaScriptEnabled) assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), width);
    }
    await page.getByText("Protocol").click();
    assert.ok(await page.getByText("eval_args", { exact: true }).isVisible());
  });
}
