// The grid: filters, the wall of pictures, keys and buttons.
import { Band } from "./grid_band.js";
import { Choice } from "./grid_choice.js";
import { Large } from "./grid_large.js";
import { isolated, Refused, Said } from "./grid_said.js";
import { Wall } from "./grid_wall.js";

const LOOK_AGAIN = 20_000; // milliseconds after which is asked what others said meanwhile
const facets = document.getElementById("facets");
const status = document.getElementById("status");
const problem = document.getElementById("problem");
const nothing = document.getElementById("nothing");
const bar = document.querySelector(".actions");
const number = new Intl.NumberFormat("en");

const said = new Said();
const choice = new Choice();
const wall = new Wall(document.getElementById("wall"), draw, thumbnail, () => bar.offsetHeight);
const band = new Band(wall, choice, changed);
const large = new Large(document.getElementById("large"), said, number);
const range = bar.querySelector("[data-do=range]");
let working = Promise.resolve(); // what was asked for is done in that order

function draw(cell, index) {
  const id = said.ids[index];
  const state = said.states[id] ?? "";
  const words = said.words(id);
  cell.classList.toggle("out", state === "x" || state === "w");
  cell.classList.toggle("active", index === wall.active);
  cell.setAttribute("aria-selected", choice.has(index));
  cell.setAttribute("aria-label", [`${said.label(id)} ${number.format(index + 1)}`, words].filter(Boolean).join(", "));
  cell.lastElementChild.textContent = words || (facets.elements.class.value ? "" : said.label(id));
}

function thumbnail(index) {
  return `grid/thumbnail/${said.ids[index]}`;
}

function tell(words) {
  status.textContent = words;
}

function complain(words) {
  problem.textContent = words;
  problem.hidden = !words;
}

function changed() {
  wall.redraw();
  wall.element.setAttribute("aria-activedescendant", said.ids.length ? `cell-${wall.active}` : "");
  const [count, all] = [choice.chosen.size, said.ids.length].map((each) => number.format(each));
  tell(choice.chosen.size ? `${count} of ${all} chosen` : `${all} ${said.ids.length === 1 ? "picture" : "pictures"}`);
}

function activate(index) {
  wall.activate(Math.max(0, Math.min(said.ids.length - 1, index)));
}

// The query of an address, without what is as it is by itself.
function query() {
  return new URLSearchParams([...new FormData(facets)].filter(([, value]) => value)).toString();
}

function relabelFacets() {
  for (const [name, options] of Object.entries(said.facets)) {
    const select = facets.elements[name];
    for (const [value, words, count] of options) {
      let option = [...select.options].find((each) => each.value === value);
      if (!option) select.append((option = new Option("", value)));
      option.textContent = `${isolated(words)} (${number.format(count)})`;
    }
  }
  for (const option of facets.elements.sort.options) option.textContent = said.sorts[option.value];
}

// A class gets its digit when it is used first, here or elsewhere.
function giveDigits() {
  for (const button of document.querySelectorAll(".menu [data-verdict]:not([data-key])")) {
    const digit = said.digits.indexOf(button.dataset.verdict.slice(1)) + 1;
    if (!digit) continue;
    button.dataset.key = digit;
    const key = document.createElement("kbd");
    key.textContent = digit;
    button.append(key);
  }
}

function shown() {
  relabelFacets();
  giveDigits();
  for (const undo of document.querySelectorAll("[data-do=undo]")) {
    undo.disabled = !said.last; // not away: the others would move under the mouse
    undo.title = said.last?.words ?? "";
  }
  changed();
}

async function load(chosen, active = 0) {
  wall.element.setAttribute("aria-busy", "true");
  await said.list(query());
  choice.over(said.ids, chosen);
  wall.element.hidden = !said.ids.length;
  nothing.hidden = said.ids.length > 0;
  wall.show(said.ids.length, Math.min(active, Math.max(0, said.ids.length - 1)));
  wall.element.setAttribute("aria-busy", "false");
  shown();
}

// One thing after the other; what is refused is said, and what is chosen stays.
function work(job) {
  working = working.then(async () => {
    try {
      await job();
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      complain(error.message);
    }
  });
  return working;
}

function decide(verdict) {
  const alone = large.open || (!choice.chosen.size && document.activeElement === wall.element);
  const ids = alone ? [said.ids[wall.active]] : said.ids.filter((id) => choice.chosen.has(id));
  if (!ids.length) return tell("Choose pictures first");
  const index = wall.active;
  if (alone) turn(1); // at once: the next key is about the next picture, however slow the answer
  return work(async () => {
    const asked = alone ? ids : ids.filter((id) => choice.chosen.has(id));
    if (!asked.length) return; // the key was pressed twice
    let words;
    try {
      words = await said.decide(verdict, asked);
    } catch (error) {
      if (error instanceof Refused) {
        if (alone) turn(index - wall.active);
        await refresh().catch(() => {});
      }
      throw error;
    }
    complain("");
    if (!alone) choice.drop(asked);
    done(words, "U takes it back");
  });
}

function undo() {
  return work(async () => {
    if (!said.last) return tell("There is nothing to take back");
    let words;
    try {
      words = await said.undo();
    } catch (error) {
      if (error instanceof Refused) await refresh().catch(() => {});
      throw error;
    }
    complain("");
    const [, , matching] = said.facets.class.find(([value]) => value === facets.elements.class.value) ?? [];
    if (matching > said.ids.length) await load([...choice.chosen], wall.active); // some had left the list
    done(words);
  });
}

function done(words, hint) {
  shown();
  const text = hint && said.last?.words === words ? `${words}. ${hint}` : words;
  tell(text);
  large.draw(wall.active, text);
}

async function refresh() {
  const { others, undone, stale } = await said.refresh();
  if (others || undone) shown();
  if (others) tell(`${number.format(others)} decided elsewhere meanwhile`);
  if (stale) {
    complain("A run has finished meanwhile, and there are other pictures by now. ");
    const again = document.createElement("a");
    again.href = location.href;
    again.textContent = "Show them";
    problem.append(again);
  }
}

function click(index, event) {
  wall.element.focus({ preventScroll: true });
  if (event.shiftKey || range.getAttribute("aria-pressed") === "true") {
    choice.range(index, event.ctrlKey || event.metaKey);
    range.setAttribute("aria-pressed", "false");
  } else if (event.ctrlKey || event.metaKey || event.pointerType === "touch") choice.toggle(index);
  else choice.only(index);
  wall.active = index;
  changed();
}

const DO = {
  all() {
    choice.all();
    changed();
  },
  none() {
    choice.none();
    changed();
  },
  range() {
    range.setAttribute("aria-pressed", range.getAttribute("aria-pressed") !== "true");
    tell("The next picture ends the range");
  },
  open: () => said.ids.length && large.show(wall.active),
  close: () => large.close(),
  before: () => turn(-1),
  after: () => turn(1),
  undo,
};

function turn(by) {
  activate(wall.active + by);
  changed();
  large.draw(wall.active);
}

// Where a key leads, from the active picture.
function target(key, ctrl) {
  const { active, columns, page } = wall;
  const row = active - (active % columns);
  return {
    ArrowLeft: active - 1,
    ArrowRight: active + 1,
    ArrowUp: active - columns >= 0 ? active - columns : active,
    ArrowDown: active + columns < said.ids.length ? active + columns : active,
    PageUp: Math.max(active - page, active % columns),
    PageDown: active + page,
    Home: ctrl ? 0 : row,
    End: ctrl ? said.ids.length - 1 : row + columns - 1,
  }[key];
}

function onWall(event) {
  const ctrl = event.ctrlKey || event.metaKey;
  const to = target(event.key, ctrl);
  if (to !== undefined && !event.altKey) {
    wall.element.focus({ preventScroll: true });
    activate(to);
    if (event.shiftKey) choice.range(wall.active, ctrl);
    changed();
  } else if (event.key === " " && document.activeElement === wall.element) {
    if (event.shiftKey) choice.range(wall.active, ctrl);
    else choice.toggle(wall.active);
    changed();
  } else if (event.key === "Enter" && document.activeElement === wall.element) DO.open();
  else return false;
  return true;
}

addEventListener("keydown", (event) => {
  if (event.target.closest("select, input")) return;
  const ctrl = event.ctrlKey || event.metaKey;
  const key = event.key === "Delete" ? "x" : event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const free = event.target === document.body || event.target === wall.element;
  let taken = true;
  if (large.open) {
    if (key === "ArrowLeft") DO.before();
    else if (key === "ArrowRight") DO.after();
    else taken = false;
  } else taken = free && said.ids.length > 0 && onWall(event);
  if (!taken && ctrl && !event.altKey && !event.shiftKey && (key === "z" || (key === "a" && !large.open))) {
    taken = true;
    if (!event.repeat) DO[key === "z" ? "undo" : "all"]();
  }
  if (!taken && !ctrl && !event.altKey && !event.repeat && !(large.open && key === "Escape")) {
    const button = bar.querySelector(`[data-key="${CSS.escape(key)}"]`);
    taken = button !== null;
    if (button?.dataset.verdict) decide(button.dataset.verdict);
    else if (button) DO[button.dataset.do]();
    else if (/^[1-9]$/.test(key)) tell(`No class has the key ${key}`);
  }
  if (taken) event.preventDefault();
});

let clicked; // a second click at the same place, after the wall has moved, is on another picture
wall.element.addEventListener("click", (event) => {
  const cell = event.target.closest(".cell");
  if (!cell || band.drawn) return;
  const index = Number(cell.dataset.index);
  click(index, event);
  if (event.detail === 2 && clicked === index) DO.open();
  clicked = index;
});
document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.verdict) decide(button.dataset.verdict);
  else if (button?.dataset.do) DO[button.dataset.do]();
  const menu = event.target.closest(".menu");
  for (const open of document.querySelectorAll(".menu[open]")) {
    if (open !== menu || button) open.open = false;
  }
});

facets.addEventListener("submit", (event) => event.preventDefault());
// Who chooses by mouse or finger goes on with the pictures: in a list, a key would choose another filter.
let byKeys = false;
facets.addEventListener("keydown", () => (byKeys = true));
facets.addEventListener("pointerdown", () => (byKeys = false));
facets.addEventListener("change", (event) => {
  if (!byKeys) event.target.blur();
  const now = query();
  history.pushState(null, "", now ? `?${now}` : location.pathname);
  work(async () => {
    complain("");
    await load([]);
  });
});
addEventListener("popstate", () => {
  const now = new URLSearchParams(location.search);
  for (const select of facets.elements) select.value = now.get(select.name) ?? "";
  work(() => load([]));
});

// A page that is loaded again, or come back to, is as it was left.
const KEPT = `grid ${location.pathname}`;
addEventListener("pagehide", () => {
  const left = { query: said.query, chosen: [...choice.chosen], active: wall.active, scroll: scrollY };
  sessionStorage.setItem(KEPT, JSON.stringify(left));
});
history.scrollRestoration = "manual";
const left = JSON.parse(sessionStorage.getItem(KEPT) ?? "{}");
work(async () => {
  const same = left.query === query();
  await load(same ? left.chosen : [], same ? left.active : 0);
  if (same) scrollTo({ top: left.scroll, behavior: "instant" });
});

function lookAgain() {
  if (document.visibilityState === "visible") work(refresh);
}
addEventListener("focus", lookAgain);
document.addEventListener("visibilitychange", lookAgain);
setInterval(lookAgain, LOOK_AGAIN);
