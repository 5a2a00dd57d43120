import { loadModel, recommend } from "./recommend.mjs";

const SHOWN = 20; // ranked films
const OFFERED = 8; // search results

const $ = (id) => document.getElementById(id);
const [search, options, chips, ranking] = ["search", "options", "chips", "ranking"].map($);
const liked = new Set(); // tokens, in the order of picking
let session, titles, catalogue;
let offered = []; // tokens of the open listbox
let active = -1; // the option that the keyboard is on

/** A copy of a template's element. */
const copy = (id) => $(id).content.firstElementChild.cloneNode(true);
const titleOf = (token) => titles.get(token) ?? token;
/** Case and accents do not matter in a search. */
const fold = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();

// The ranking

/** Rank again, and show it; the time is the model's alone. */
async function rank() {
  const start = performance.now();
  const { items, scores } = await recommend(session, [[...liked]], SHOWN);
  const took = performance.now() - start;
  const found = items[0].map((token, at) => ({ token, score: scores[0][at] })).filter(({ token }) => token);
  glide(() => showRanking(found));
  $("ranking-title").textContent = liked.size ? "Recommended for you" : "Popular to start with";
  $("timing").textContent = `${catalogue.length.toLocaleString("en")} films ranked in ${took.toFixed(1)} ms`;
  ranking.hidden = !found.length;
  $("nothing").hidden = found.length > 0;
}

function showRanking(found) {
  const rows = new Map([...ranking.children].map((row) => [row.dataset.token, row]));
  ranking.replaceChildren(...found.map(({ token, score }, at) => {
    const row = rows.get(token) ?? newRow(token);
    row.querySelector(".rank").textContent = at + 1;
    row.querySelector(".score").textContent = score.toFixed(2);
    // Scores are logits: the bar is how likely the film is, compared with the first.
    row.style.setProperty("--share", Math.exp(score - found[0].score));
    return row;
  }));
}

function newRow(token) {
  const row = copy("row");
  const [, name, year] = titleOf(token).match(/^(.*?)(?: \((\d{4})\))?$/s);
  row.dataset.token = token;
  row.querySelector(".title").textContent = name;
  row.querySelector(".year").textContent = year ?? "";
  const button = row.querySelector("button");
  button.setAttribute("aria-label", `Like ${titleOf(token)}`);
  button.addEventListener("click", async () => {
    const at = [...ranking.children].indexOf(row);
    await change(() => liked.add(token));
    ranking.children[at]?.querySelector("button").focus({ preventScroll: true });
  });
  return row;
}

/** Let the rows slide from where they were to where an update puts them. */
function glide(update) {
  const tops = new Map([...ranking.children].map((row) => [row, row.offsetTop]));
  update();
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  for (const row of ranking.children) {
    const from = tops.has(row)
      ? { transform: `translateY(${tops.get(row) - row.offsetTop}px)` }
      : { opacity: 0 };
    row.animate([from, {}], { duration: 320, easing: "cubic-bezier(.2, .7, .2, 1)" });
  }
}

// What the person likes

/** Change the liked films, then show them and what follows from them. */
function change(edit) {
  edit();
  showChips();
  return rank();
}

function showChips() {
  chips.replaceChildren(...[...liked].map((token, at) => {
    const chip = copy("chip");
    chip.querySelector(".title").textContent = titleOf(token);
    const button = chip.querySelector("button");
    button.setAttribute("aria-label", `Remove ${titleOf(token)}`);
    button.addEventListener("click", () => {
      change(() => liked.delete(token));
      (chips.children[at]?.querySelector("button") ?? search).focus();
    });
    return chip;
  }));
  $("hint").hidden = $("clear").hidden = true;
  (liked.size ? $("clear") : $("hint")).hidden = false;
}

$("clear").addEventListener("click", () => {
  change(() => liked.clear());
  search.focus();
});

// The search: https://www.w3.org/WAI/ARIA/apg/patterns/combobox/

/** The titles that hold every word, the most popular first. */
function matches(query) {
  const words = fold(query).split(/\s+/);
  const fits = ({ token, text }) => !liked.has(token) && words.every((word) => text.includes(word));
  return catalogue.filter(fits).slice(0, OFFERED).map(({ token }) => token);
}

function openOptions() {
  offered = matches(search.value);
  options.replaceChildren(...offered.map((token, at) => {
    const option = document.createElement("li");
    Object.assign(option, { id: `option-${at}`, role: "option", textContent: titleOf(token) });
    option.addEventListener("click", () => pick(token));
    return option;
  }));
  if (!offered.length) options.append(Object.assign(document.createElement("li"), { role: "none", textContent: "No such title" }));
  expand(true);
  activate(offered.length && search.value.trim() ? 0 : -1);
}

function expand(open) {
  options.hidden = !open;
  search.setAttribute("aria-expanded", open);
  if (!open) activate(-1);
}

function activate(at) {
  active = at;
  [...options.children].forEach((option, i) => option.setAttribute("aria-selected", i === at));
  if (at < 0) return search.removeAttribute("aria-activedescendant");
  search.setAttribute("aria-activedescendant", `option-${at}`);
  options.children[at].scrollIntoView({ block: "nearest" });
}

function pick(token) {
  search.value = "";
  expand(false);
  change(() => liked.add(token));
}

function move(step) {
  if (options.hidden) return openOptions();
  if (offered.length) activate((Math.max(active, step < 0 ? 0 : -1) + step + offered.length) % offered.length);
}

const keys = {
  ArrowDown: () => move(1),
  ArrowUp: () => move(-1),
  Enter: () => active >= 0 && pick(offered[active]),
  Escape: () => (options.hidden ? (search.value = "") : expand(false)),
};

search.addEventListener("keydown", (event) => {
  if (!(event.key in keys) || event.isComposing) return;
  event.preventDefault();
  keys[event.key]();
});
search.addEventListener("input", openOptions);
search.addEventListener("click", openOptions);
search.addEventListener("blur", () => expand(false));
options.addEventListener("pointerdown", (event) => event.preventDefault()); // The input keeps the focus.

// The start

async function loadTitles(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} is missing (HTTP ${response.status}): make it with build.mjs.`);
  const entries = await response.json().then(Object.entries).catch(() => []);
  if (!entries.length || entries.some(([, title]) => typeof title !== "string")) {
    throw new Error(`${url} is no JSON object of tokens and titles: make it again with build.mjs.`);
  }
  return new Map(entries);
}

try {
  [session, titles] = await Promise.all([loadModel("model.onnx"), loadTitles("titles.json")]);
  // The ranking of an empty history holds every item of the model, the most popular first.
  const { items } = await recommend(session, [[]], Number.MAX_SAFE_INTEGER);
  catalogue = items[0].map((token) => ({ token, text: fold(titleOf(token)) }));
  await rank();
  $("notice").hidden = true;
  document.querySelector("main").hidden = false;
} catch (error) {
  console.error(error);
  const line = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });
  $("notice").replaceChildren(line("h2", "The page cannot start"), line("p", error.message));
}
