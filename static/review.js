"use strict";
// Keys press the buttons and links that name them; a held key or a shortcut of the browser's does nothing.
document.addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key === "Delete" ? "x" : event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const target = document.querySelector(`[data-key~="${CSS.escape(key)}"]`);
  if (target) {
    event.preventDefault();
    target.click();
  }
});
