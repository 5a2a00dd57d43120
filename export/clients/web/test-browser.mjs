// Shared by tests of pages: Chromium, and a page that records its requests, warnings and errors.

import { chromium } from "playwright-core";

const ARGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

// Chromium emulates a GPU in software.
const WEBGPU = "--enable-unsafe-webgpu";

export function launch({ webgpu = false } = {}) {
  return chromium.launch({ executablePath: "/usr/bin/chromium", args: webgpu ? [...ARGS, WEBGPU] : ARGS });
}

/** The loaded page, with its `requests` and its warnings and errors, the `complaints`. */
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
