// One picture, as large as the window, with what is known of it.
import { isolated } from "./grid_said.js";

export class Large {
  constructor(dialog, said, number) {
    this.dialog = dialog;
    this.said = said;
    this.number = number;
    this.photo = dialog.querySelector("img");
    this.status = dialog.querySelector("[role=status]");
    this.facts = dialog.querySelector("dl");
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) this.close(); // beside it
    });
  }

  get open() {
    return this.dialog.open;
  }

  show(index) {
    this.dialog.showModal();
    this.dialog.focus(); // or its first button has it, and Enter presses that
    this.draw(index);
  }

  close() {
    this.dialog.close();
  }

  // `words`: what has just been done.
  async draw(index, words = "") {
    if (!this.open) return;
    const id = this.said.ids[index];
    const [at, all] = [index + 1, this.said.ids.length].map((each) => this.number.format(each));
    const place = `${isolated(this.said.label(id))}, ${at} of ${all}`;
    this.status.textContent = [place, this.said.words(id), words].filter(Boolean).map(isolated).join(" · ");
    if (this.id === id) return;
    this.id = id;
    this.photo.src = `grid/picture/${id}`;
    this.photo.alt = place;
    this.facts.replaceChildren();
    const lines = await this.said.about(id).catch(() => []);
    if (this.id !== id) return;
    this.facts.replaceChildren(...lines.map(([name, value]) => {
      const line = document.createElement("div");
      const [term, text] = ["dt", "dd"].map((tag) => document.createElement(tag));
      term.textContent = name;
      text.textContent = value;
      line.append(term, text);
      return line;
    }));
  }
}
