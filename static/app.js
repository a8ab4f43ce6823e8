// Answers without leaving the page. The plain forms do the same without this file.
"use strict";

const base = document.documentElement.dataset.base;
const answers = document.getElementById("answers");
const status = document.getElementById("status");
const form = document.getElementById("upload");
const address = document.getElementById("address");
const SHOWN_CLASSES = 6;
const AT_ONCE = 2;
const TRIES = 5;
// After any other refusal the same request fares no better, or costs the server what it has just spent in vain.
const PASSING = ["busy", "no-model"];
let count = 0;
let free = AT_ONCE;
const waiting = [];

document.documentElement.classList.add("js");

function percent(value, digits = 0) {
  const text = (100 * value).toFixed(digits);
  const least = digits ? "0.1" : "1";
  const most = digits ? "99.9" : "99";
  if (Number(text) >= 100 && value < 1) return `> ${most}\u00a0%`;
  if (Number(text) <= 0 && value > 0) return `< ${least}\u00a0%`;
  return `${text}\u00a0%`;
}

// Tells the style how wide a picture is to its height.
function measure(photo) {
  photo.closest(".frame").style.setProperty("--ratio", photo.naturalWidth / photo.naturalHeight);
}

for (const photo of answers.querySelectorAll(".photo")) {
  if (photo.complete) measure(photo);
  else photo.addEventListener("load", () => measure(photo));
}

// A card above the earlier answers, at once, with the picture if it is already here.
function card(name, picture, before) {
  const article = document.getElementById("pattern").content.cloneNode(true).firstElementChild;
  const id = `answer-${++count}-js`;
  article.setAttribute("aria-labelledby", id);
  article.querySelector("h2").id = id;
  article.querySelector(".name").textContent = name;
  article.querySelector(".switch").id = `${id}-heat`;
  article.querySelector(".picture label").htmlFor = `${id}-heat`;
  const photo = article.querySelector(".photo");
  photo.alt = `Your picture ${name}`;
  photo.addEventListener("load", () => measure(photo));
  if (picture) photo.src = picture;
  else photo.hidden = true;
  answers.insertBefore(article, before === undefined ? answers.firstElementChild : before);
  return article;
}

function bars(list, rows) {
  const pattern = document.getElementById("row").content;
  list.replaceChildren(...rows.map(([label, p]) => {
    const row = pattern.cloneNode(true);
    row.querySelector(".label").textContent = label;
    row.querySelector(".percent").textContent = percent(p, 1);
    row.querySelector("rect").setAttribute("width", `${(100 * p).toFixed(2)}%`);
    return row;
  }));
}

function show(article, answer, send) {
  const rows = Object.entries(answer.probabilities).sort((a, b) => b[1] - a[1]);
  article.querySelector("h2").textContent = answer.sure ? answer.label : "I can’t tell";
  const why = article.querySelector(".why");
  why.hidden = answer.sure;
  if (!answer.sure) {
    const closest = document.createElement("b");
    closest.textContent = answer.label;
    const coverage = document.getElementById("coverage")?.content.textContent ?? "";
    if (answer.familiar) {
      why.replaceChildren("The closest is ", closest, ` with ${percent(rows[0][1])}. An answer needs `
        + `${percent(answer.threshold)}${coverage}: this picture may show something else.`);
    } else {
      why.replaceChildren("This is like none of the pictures that the model has learned from. Of what it knows, "
        + "the closest is ", closest, ".");
    }
  }
  bars(article.querySelector(".bars"), rows.slice(0, SHOWN_CLASSES));
  const others = article.querySelector("details");
  others.hidden = rows.length <= SHOWN_CLASSES;
  if (!others.hidden) {
    others.querySelector("summary").textContent = `All ${rows.length.toLocaleString("en")} classes`;
    bars(others.querySelector(".bars"), rows.slice(SHOWN_CLASSES));
  }
  const photo = article.querySelector(".photo");
  if (answer.picture) photo.src = answer.picture;
  photo.hidden = false;
  const heat = article.querySelector(".heat");
  heat.src = answer.heat;
  heat.hidden = article.querySelector(".picture label").hidden = false;
  article.removeAttribute("aria-busy");
  const name = article.querySelector(".name").textContent;
  status.textContent = answer.sure
    ? `${name}: ${answer.label}, ${percent(rows[0][1])}` : `${name}: I can’t tell`;
  if (answers.dataset.feedback) feedback(article, answer, rows, send);
}

function fail(article, message) {
  article.querySelector("h2").textContent = "No answer";
  const why = article.querySelector(".why");
  why.className = "problem";
  why.setAttribute("role", "alert");
  why.textContent = message;
  why.hidden = false;
  const photo = article.querySelector(".photo");
  const remove = () => article.querySelector(".picture").remove();
  // The refusal may be quicker than the picture.
  if (photo.hidden || (photo.complete && !photo.naturalWidth)) remove();
  else if (!photo.complete) photo.addEventListener("error", remove);
  article.removeAttribute("aria-busy");
}

// One request; a server that is busy says when to come again.
async function ask(path, options) {
  for (let left = TRIES; ; left--) {
    let response;
    try {
      response = await fetch(`${base}/${path}`, options);
    } catch {
      throw new Error("The server cannot be reached: look at your connection, then try again.");
    }
    let body;
    try {
      body = await response.json();
    } catch {
      throw new Error(`The server answered ${response.status}: try again.`);
    }
    if (response.ok) return body;
    if (left <= 1 || !PASSING.includes(body.error.code)) throw new Error(body.error.message);
    const seconds = Number(response.headers.get("Retry-After")) || 1;
    await new Promise((resolve) => setTimeout(resolve, 1000 * Math.min(seconds, 10)));
  }
}

async function run(job) {
  if (!free) return void waiting.push(job);
  free--;
  try {
    await job();
  } finally {
    free++;
    if (waiting.length) run(waiting.shift());
  }
}

function classify(file, before) {
  const name = file.name || "Pasted picture";
  const article = card(name, URL.createObjectURL(file), before);
  run(async () => {
    const body = new FormData();
    body.append("file", file, name);
    try {
      show(article, await ask("api/predict?show=1", { method: "POST", body }), async () => file);
    } catch (error) {
      fail(article, error.message);
    }
  });
  return article;
}

function classifyAddress(url, before) {
  const article = card(url, null, before);
  run(async () => {
    const body = JSON.stringify({ url });
    const headers = { "Content-Type": "application/json" };
    try {
      const answer = await ask("api/predict-url?show=1", { method: "POST", body, headers });
      const send = async () => new Blob([Uint8Array.from(atob(answer.picture.split(",")[1]), (c) => c.charCodeAt(0))]);
      show(article, answer, send);
    } catch (error) {
      fail(article, error.message);
    }
  });
  return article;
}

function classifyAll(pictures, classifyOne = classify) {
  const before = answers.firstElementChild;
  const articles = [...pictures].map((one) => classifyOne(one, before));
  if (!articles.length) return;
  status.textContent = articles.length > 1 ? `Looking at ${articles.length} pictures` : "Looking at your picture";
  articles[0].scrollIntoView({ block: "nearest" });
}

function feedback(article, answer, rows, picture) {
  const asked = article.querySelector(".feedback");
  const select = asked.querySelector("select");
  const others = rows.map(([label]) => label).filter((label) => label !== answer.label).sort();
  select.append(...others.map((label) => new Option(label, label)), new Option("something else", ""));
  // Of many classes the next best is a better guess than the first of the alphabet.
  select.value = rows.find(([label]) => label !== answer.label)?.[0] ?? "";
  const send = async (label) => {
    const body = new FormData();
    body.append("file", await picture(), "picture");
    body.append("label", label);
    body.append("predicted", answer.label);
    asked.querySelectorAll("button, select").forEach((one) => { one.disabled = true; });
    const message = asked.querySelector(".small");
    try {
      await ask("feedback", { method: "POST", body });
      message.textContent = status.textContent = "Thank you, it is kept.";
    } catch (error) {
      message.textContent = status.textContent = error.message;
    }
  };
  asked.querySelector(".yes").addEventListener("click", () => send(answer.label));
  asked.addEventListener("submit", (event) => {
    event.preventDefault();
    send(select.value);
  });
  asked.hidden = false;
}

for (const input of form.querySelectorAll("input[type=file]")) {
  input.addEventListener("change", () => {
    classifyAll(input.files);
    input.value = "";
  });
}
form.addEventListener("submit", (event) => event.preventDefault());

address?.addEventListener("submit", (event) => {
  event.preventDefault();
  classifyAddress(document.getElementById("url").value).scrollIntoView({ block: "nearest" });
  status.textContent = "Looking at the address";
});

document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) {
    event.preventDefault();
    classifyAll(event.clipboardData.files);
  } else if (address && !event.target.closest?.("input")) {
    const text = event.clipboardData.getData("text").trim();
    if (/^https?:\/\//.test(text)) classifyAddress(text);
  }
});

// What was entered last: entering and leaving do not come in pairs, but the last one entered is the last one left.
let entered = null;
const over = (target) => {
  entered = target;
  document.body.classList.toggle("over", target !== null);
};
document.addEventListener("dragenter", (event) => { event.preventDefault(); over(event.target); });
document.addEventListener("dragleave", (event) => { if (event.target === entered) over(null); });
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  over(null);
  if (event.dataTransfer.files.length) return classifyAll(event.dataTransfer.files);
  // A line an address; comments begin with # (RFC 2483).
  const lines = event.dataTransfer.getData("text/uri-list").split(/\r?\n/);
  if (address) classifyAll(lines.filter((line) => /^https?:\/\//.test(line)), classifyAddress);
});
