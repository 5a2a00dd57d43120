// What tests of pages share: Chromium, and a page that notes what it asked for and complained of.

import { chromium } from "playwright-core";

const ARGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

// Chromium's own software stands in for a GPU.
const WEBGPU = "--enable-unsafe-webgpu";

export function launch({ webgpu = false } = {}) {
  return chromium.launch({ executablePath: "/usr/bin/chromium", args: webgpu ? [...ARGS, WEBGPU] : ARGS });
}

/** The page once it is loaded, with its `requests` and its `complaints` on the way. */
export async function open(browser, url, options = {}) {
  const page = await browser.newPage(options);
  page.requests = [];
  page.complaints = [];
  page.on("request", (request) => page.requests.push(request.url()));
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && page.complaints.push(message.text()));
  page.on("pageerror", (error) => page.complaints.push(error.message));
  await page.goto(url);
  return page;
}
