// A wall of square cells, of which only those in sight are there.

const GAP = 8;
const WANTED = 168; // pixels of a cell; narrow screens have three beside each other
const BEYOND = 2; // rows above and below what is in sight
const FAST = 8; // pixels a millisecond: nobody sees a picture that passes at that speed
const SETTLED = 120; // milliseconds after which a wall that went fast has stopped

export class Wall {
  // `draw(cell, index)` says what there is to say of a cell, `address(index)` where its picture lies; `below()` is how
  // much of the window's lower end is covered.
  constructor(element, draw, address, below) {
    this.element = element;
    this.draw = draw;
    this.address = address;
    this.below = below;
    this.from = 0;
    this.when = 0;
    this.cells = new Map();
    this.count = 0;
    this.active = 0;
    this.asked = false;
    addEventListener("scroll", () => this.soon(), { passive: true });
    new ResizeObserver(() => this.measure()).observe(element);
  }

  show(count, active) {
    for (const cell of this.cells.values()) this.drop(cell);
    this.cells.clear();
    this.count = count;
    this.active = active;
    this.measure();
  }

  measure() {
    const width = this.element.clientWidth;
    const wanted = Math.min(WANTED, (width - 2 * GAP) / 3);
    this.columns = Math.max(1, Math.floor((width + GAP) / (wanted + GAP)));
    this.size = (width + GAP) / this.columns - GAP;
    this.step = this.size + GAP;
    this.element.style.setProperty("--size", `${this.size}px`);
    this.element.style.height = `${Math.max(0, Math.ceil(this.count / this.columns) * this.step - GAP)}px`;
    for (const [index, cell] of this.cells) this.place(cell, index);
    this.render();
  }

  soon() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => {
      this.asked = false;
      this.render();
    });
  }

  get top() {
    return this.element.getBoundingClientRect().top + scrollY;
  }

  render() {
    const from = scrollY - this.top;
    const first = Math.max(0, Math.floor(from / this.step) - BEYOND) * this.columns;
    const rows = Math.ceil((from + innerHeight) / this.step) + BEYOND;
    const last = Math.min(this.count, rows * this.columns);
    const wanted = [];
    for (let index = first; index < last; index++) wanted.push(index);
    // It is named as the one that has the focus, wherever the window is.
    if (this.active < this.count && (this.active < first || this.active >= last)) {
      if (this.active < first) wanted.unshift(this.active);
      else wanted.push(this.active);
    }
    const keep = new Set(wanted);
    for (const [index, cell] of this.cells) {
      if (keep.has(index)) continue;
      this.drop(cell);
      this.cells.delete(index);
    }
    let next = this.element.firstElementChild;
    for (const index of wanted) {
      let cell = this.cells.get(index);
      if (cell && cell === next) {
        next = next.nextElementSibling;
        continue;
      }
      if (!cell) {
        cell = this.make(index);
        this.cells.set(index, cell);
      }
      this.element.insertBefore(cell, next);
    }
    this.load(from);
  }

  // What flies past need not be fetched.
  load(from) {
    const now = performance.now();
    const fast = Math.abs(from - this.from) > FAST * (now - this.when);
    [this.from, this.when] = [from, now];
    clearTimeout(this.later);
    if (fast) this.later = setTimeout(() => this.render(), SETTLED);
    for (const [index, cell] of fast ? [] : this.cells) {
      const photo = cell.firstElementChild;
      if (!photo.hasAttribute("src")) photo.src = this.address(index);
    }
  }

  make(index) {
    const cell = document.createElement("div");
    cell.className = "cell";
    cell.id = `cell-${index}`;
    cell.dataset.index = index;
    cell.setAttribute("role", "option");
    cell.setAttribute("aria-setsize", this.count);
    cell.setAttribute("aria-posinset", index + 1);
    const photo = new Image();
    photo.alt = "";
    photo.draggable = false;
    photo.decoding = "async";
    photo.addEventListener("error", () => {
      if (photo.hasAttribute("src")) cell.classList.add("broken");
    });
    const words = document.createElement("span");
    words.dir = "auto";
    cell.append(photo, words);
    this.place(cell, index);
    this.draw(cell, index);
    return cell;
  }

  place(cell, index) {
    const x = (index % this.columns) * this.step;
    const y = Math.floor(index / this.columns) * this.step;
    cell.style.transform = `translate(${x}px, ${y}px)`;
  }

  drop(cell) {
    // What has not arrived yet need not come.
    const photo = cell.firstElementChild;
    if (!photo.complete) photo.removeAttribute("src");
    cell.remove();
  }

  redraw() {
    for (const [index, cell] of this.cells) this.draw(cell, index);
  }

  activate(index) {
    this.active = index;
    this.render();
    this.reveal(index);
  }

  reveal(index) {
    const top = this.top + Math.floor(index / this.columns) * this.step;
    const least = top + this.size - innerHeight + this.below() + GAP;
    if (scrollY > top - GAP) scrollTo({ top: top - GAP, behavior: "instant" });
    else if (scrollY < least) scrollTo({ top: least, behavior: "instant" });
  }

  // The cells that a rectangle touches, in the wall's own pixels.
  touched(left, top, right, bottom) {
    const found = [];
    const last = Math.min(this.count - 1, (Math.floor(bottom / this.step) + 1) * this.columns);
    for (let index = Math.max(0, Math.floor(top / this.step)) * this.columns; index <= last; index++) {
      const x = (index % this.columns) * this.step;
      const y = Math.floor(index / this.columns) * this.step;
      if (x < right && x + this.size > left && y < bottom && y + this.size > top) found.push(index);
    }
    return found;
  }

  get page() {
    return Math.max(1, Math.floor((innerHeight - this.below()) / this.step)) * this.columns;
  }
}
