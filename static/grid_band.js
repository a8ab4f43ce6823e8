// A rubber band, drawn with the mouse over the wall: what it touches is chosen.

const FAR = 6; // pixels that a hand moves by itself
const EDGE = 60; // pixels at the window's ends in which it scrolls

export class Band {
  constructor(wall, choice, changed) {
    this.wall = wall;
    this.choice = choice;
    this.changed = changed;
    this.box = document.createElement("div");
    this.box.className = "band";
    this.from = null;
    this.drawn = false; // the click that ends a band is none
    wall.element.addEventListener("pointerdown", (event) => this.press(event));
    wall.element.addEventListener("pointermove", (event) => this.move(event));
    for (const kind of ["pointerup", "pointercancel"]) wall.element.addEventListener(kind, () => this.end());
  }

  place(event) {
    const box = this.wall.element.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  press(event) {
    this.drawn = false;
    if (event.pointerType !== "mouse" || event.button || event.shiftKey) return;
    this.from = this.place(event);
    this.base = event.ctrlKey || event.metaKey ? new Set(this.choice.chosen) : new Set();
  }

  move(event) {
    if (!this.from) return;
    this.last = event;
    const [x, y] = this.place(event);
    if (!this.drawn && Math.hypot(x - this.from[0], y - this.from[1]) < FAR) return;
    if (!this.drawn) {
      this.drawn = true;
      this.wall.element.setPointerCapture(event.pointerId);
      document.body.append(this.box);
      this.scroll();
    }
    this.draw();
  }

  draw() {
    const [x, y] = this.place(this.last);
    const [left, right] = [Math.min(x, this.from[0]), Math.max(x, this.from[0])];
    const [top, bottom] = [Math.min(y, this.from[1]), Math.max(y, this.from[1])];
    const wall = this.wall.element.getBoundingClientRect();
    this.box.style.transform = `translate(${left + wall.left}px, ${top + wall.top}px)`;
    this.box.style.width = `${right - left}px`;
    this.box.style.height = `${bottom - top}px`;
    this.choice.set(this.wall.touched(left, top, right, bottom), this.base);
    this.changed();
  }

  // At the window's ends it goes on.
  scroll() {
    if (!this.from) return;
    const y = this.last.clientY;
    const end = innerHeight - this.wall.below();
    const by = y < EDGE ? y - EDGE : y > end - EDGE ? y - end + EDGE : 0;
    if (by) {
      scrollBy({ top: by / 3, behavior: "instant" });
      this.draw();
    }
    requestAnimationFrame(() => this.scroll());
  }

  end() {
    if (this.drawn) {
      const touched = this.last && this.wall.touched(...this.place(this.last), ...this.place(this.last))[0];
      this.choice.start(touched ?? this.choice.anchor, false);
      this.box.remove();
      this.changed();
    }
    this.from = null;
  }
}
