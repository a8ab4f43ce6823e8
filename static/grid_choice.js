// Which pictures are chosen, by their ids, in a list of which a range can be taken.

export class Choice {
  constructor() {
    this.ids = [];
    this.chosen = new Set();
    this.anchor = 0;
    this.base = new Set(); // what a range is added to
  }

  // Another list. What is in it no more is chosen no more.
  over(ids, chosen = this.chosen) {
    const there = new Set(ids);
    this.ids = ids;
    this.chosen = new Set([...chosen].filter((id) => there.has(id)));
    this.anchor = 0;
    this.base = new Set(this.chosen);
  }

  has(index) {
    return this.chosen.has(this.ids[index]);
  }

  only(index) {
    this.chosen = new Set([this.ids[index]]);
    this.start(index, true);
  }

  toggle(index) {
    if (!this.chosen.delete(this.ids[index])) this.chosen.add(this.ids[index]);
    this.start(index, false);
  }

  // Where the next range begins: instead of what is chosen, or besides.
  start(index, alone) {
    this.anchor = index;
    this.base = alone ? new Set() : new Set(this.chosen);
  }

  // All from the anchor to here, instead of what an earlier range to elsewhere had; `adding`: beside all that is chosen.
  range(index, adding) {
    if (adding) this.base = new Set(this.chosen);
    const [from, to] = [this.anchor, index].sort((a, b) => a - b);
    this.chosen = new Set([...this.base, ...this.ids.slice(from, to + 1)]);
  }

  set(indices, base) {
    this.chosen = new Set([...base, ...indices.map((index) => this.ids[index])]);
  }

  all() {
    this.chosen = new Set(this.ids);
  }

  drop(ids) {
    for (const set of [this.chosen, this.base]) for (const id of ids) set.delete(id);
  }

  none() {
    this.chosen = new Set();
    this.base = new Set();
  }
}
