// What the server knows: the list of a filter, what was said of pictures, and what is said now.

const GONE = "The page's server has ended: start `greenr review` again, and open the address that it prints.";

export class Refused extends Error {}

// A name that is read from the right leaves what stands beside it in its place.
export function isolated(text) {
  return /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/.test(text) ? `\u2068${text}\u2069` : text;
}

async function ask(path, content) {
  let answer;
  try {
    answer = await fetch(path, content && { method: "POST", body: JSON.stringify(content) });
  } catch {
    throw new Refused(GONE);
  }
  if (!answer.ok) throw new Refused(await answer.text());
  return answer.json();
}

export class Said {
  constructor() {
    this.states = {};
    this.labels = new Map(); // by id, as found
    this.ids = [];
    this.last = null;
    this.edition = null;
    this.query = "";
  }

  // The pictures of a filter.
  async list(query) {
    const found = await ask(`grid/list?${query}`);
    this.query = query;
    this.ids = found.pictures.map(([id]) => id);
    this.labels = new Map(found.pictures.map(([id, label]) => [id, found.classes[label]]));
    this.edition = found.edition;
    this.sorts = found.sorts;
    this.take(found);
  }

  // What was said elsewhere meanwhile: of how many pictures of the list, and whether there is another list by now.
  async refresh() {
    const before = this.states;
    const found = await ask(`grid/said?${this.query}`);
    const last = this.last;
    this.take(found);
    const others = this.ids.filter((id) => (before[id] ?? "") !== (this.states[id] ?? "")).length;
    return { others, undone: last?.number !== this.last?.number, stale: found.edition !== this.edition };
  }

  async decide(verdict, ids) {
    const pictures = Object.fromEntries(ids.map((id) => [id, this.states[id] ?? ""]));
    return this.take(await ask(`grid/decide?${this.query}`, { verdict, pictures }));
  }

  async undo() {
    return this.take(await ask(`grid/undo?${this.query}`, { number: this.last.number }));
  }

  take(found) {
    this.states = found.states;
    this.last = found.last;
    this.facets = found.facets;
    this.digits = found.digits;
    return found.words;
  }

  about(id) {
    return ask(`grid/about/${id}`);
  }

  // Words for what was said of a picture, and what it is called now.
  words(id) {
    const state = this.states[id] ?? "";
    if (state === "x") return "thrown out";
    if (state === "w") return "taken back";
    if (state === "k") return "kept";
    return state ? `now ${state.slice(1)}` : "";
  }

  label(id) {
    const state = this.states[id] ?? "";
    return state.startsWith("=") ? state.slice(1) : this.labels.get(id);
  }
}
