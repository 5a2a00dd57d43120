import { loadModel, recommend } from "./recommend.mjs";

const SHOWN = 20; // ranked films
const OFFERED = 8; // search results

const $ = (id) => document.getElementById(id);
const [search, options, chips, ranking] = ["search", "options", "chips", "ranking"].map($);
const liked = new Set(); // tokens, in the order of picking
let session, titles, groups, catalogue;
let among; // tokens of the chosen group; undefined ranks all films
let noise; // of the posterior; undefined ranks without noise
let offered = []; // tokens of the open listbox
let active = -1; // the option that the keyboard has reached

/** A copy of a template's element. */
const copy = (id) => $(id).content.firstElementChild.cloneNode(true);
const titleOf = (token) => titles.get(token) ?? token;
const nameAndYear = (token) => titleOf(token).match(/^(.*?)(?: \((\d{4})\))?$/s).slice(1);
const nameOf = (token) => nameAndYear(token)[0];
/** Case and accents do not matter in a search. */
const fold = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();

// The ranking

/** Rank again and show the ranking. The time shown is the model's, without the page's. */
async function rank() {
  const start = performance.now();
  const options = { ...(among && { among: [among] }), ...(noise && { noise: [noise] }) };
  const { items, scores, reasons } = await recommend(session, [[...liked]], SHOWN, options);
  const took = performance.now() - start;
  const films = items[0]
    .map((token, at) => ({ token, score: scores[0][at], causes: causes(reasons?.[0][at] ?? []) }))
    .filter(({ token }) => token);
  glide(() => showRanking(films));
  const best = liked.size ? "Recommended for you" : "Popular to start with";
  $("ranking-title").textContent = noise ? "A surprise for you" : best;
  $("timing").textContent = `${catalogue.length.toLocaleString("en")} films ranked in ${took.toFixed(1)} ms`;
  ranking.hidden = !films.length;
  $("nothing").hidden = films.length > 0;
  $("nothing").textContent = among ? "Nothing of this kind is left." : "You have picked every film there is.";
  $("calm").hidden = !noise;
}

/** The one or two picked films that raised a score most; `reasons` has a number for each picked film. */
function causes(reasons) {
  const order = [...reasons.keys()].filter((at) => reasons[at] > 0).sort((a, b) => reasons[b] - reasons[a]);
  return order.slice(0, 2).map((at) => [...liked][at]);
}

function showRanking(films) {
  const rows = new Map([...ranking.children].map((row) => [row.dataset.token, row]));
  ranking.replaceChildren(...films.map(({ token, score, causes }, at) => {
    const row = rows.get(token) ?? newRow(token);
    row.querySelector(".rank").textContent = at + 1;
    row.querySelector(".score").textContent = score.toFixed(2);
    row.querySelector(".because").textContent = causes.length ? `because of ${causes.map(nameOf).join(" and ")}` : "";
    // Scores are logits: the bar shows how likely the film is, compared with the first.
    row.style.setProperty("--share", Math.exp(score - films[0].score));
    return row;
  }));
}

function newRow(token) {
  const row = copy("row");
  const [name, year] = nameAndYear(token);
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

/** Let the rows slide from their old places to those that an update gives them. */
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

/** Change the liked films, then show them and the new ranking. */
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

// The filter and the exploration, if the model has these inputs

/** A standard normal number, by Box and Muller. */
const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());

function showControls() {
  const inputs = new Map(session.inputMetadata.map((input) => [input.name, input]));
  for (const [kind, named] of Object.entries(groups)) {
    const part = Object.assign(document.createElement("optgroup"), { label: kind });
    part.append(...Object.keys(named).map((name) => new Option(name, JSON.stringify([kind, name]))));
    if (part.children.length) $("group").append(part);
  }
  $("filter").hidden = !inputs.has("among") || !$("group").querySelector("optgroup");
  $("explore").hidden = !inputs.has("noise");
  $("controls").hidden = $("filter").hidden && $("explore").hidden;
  $("group").addEventListener("change", ({ target }) => {
    const [kind, name] = target.value ? JSON.parse(target.value) : [];
    among = groups[kind]?.[name];
    rank();
  });
  $("surprise").addEventListener("click", () => {
    noise = Array.from({ length: inputs.get("noise").shape[1] }, normal);
    rank();
  });
  $("calm").addEventListener("click", () => {
    noise = undefined;
    rank();
    $("surprise").focus();
  });
}

// The search: https://www.w3.org/WAI/ARIA/apg/patterns/combobox/

/** The films whose titles hold every word, the most popular first. */
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

async function load(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} is missing (HTTP ${response.status}): make it with build.mjs.`);
  return response;
}

async function loadTitles(url) {
  const response = await load(url);
  const entries = await response.json().then(Object.entries).catch(() => []);
  if (!entries.length || entries.some(([, title]) => typeof title !== "string")) {
    throw new Error(`${url} is no JSON object of tokens and titles: make it again with build.mjs.`);
  }
  return new Map(entries);
}

try {
  const gpu = "gpu" in document.documentElement.dataset; // The page was built with --gpu.
  const loaded = [loadModel("model.onnx", { gpu }), loadTitles("titles.json"), load("groups.json").then((response) => response.json())];
  [session, titles, groups] = await Promise.all(loaded);
  const { type } = session.inputMetadata.find(({ name }) => name === "history");
  if (type !== "string") throw new Error("model.onnx takes item ids, but titles.json has tokens: export the model with --io tokens.");
  $("provider").textContent = `Runs in your browser on ${session.provider}.`;
  // The ranking of an empty history holds every item of the model, the most popular first.
  const { items } = await recommend(session, [[]], Number.MAX_SAFE_INTEGER);
  catalogue = items[0].map((token) => ({ token, text: fold(titleOf(token)) }));
  showControls();
  await rank();
  $("notice").hidden = true;
  document.querySelector("main").hidden = false;
} catch (error) {
  console.error(error);
  const line = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });
  $("notice").replaceChildren(line("h2", "The page cannot start"), line("p", error.message));
}
