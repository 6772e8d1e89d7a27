"use strict";
// The page: settings in, text out. What the model writes is only ever put in as text.
const header = JSON.parse(document.getElementById("header").textContent);
const at = name => document.getElementById(name);
const SHADES = 8, LONGEST = 100000;

// -- settings --------------------------------------------------------------------------------------------------

const FIELDS = {
  temperature: {name: "Temperature", holds: n => n >= 0 && n < Infinity, expected: "0 or greater"},
  length: {name: "Length", whole: true, holds: n => n >= 1 && n <= LONGEST, expected: `from 1 to ${LONGEST}`},
  top_k: {name: "Top-k", whole: true, holds: n => n >= 0, expected: "0 or greater"},
  top_p: {name: "Top-p", holds: n => n > 0 && n <= 1, expected: "greater than 0 and at most 1"},
  min_p: {name: "Min-p", holds: n => n >= 0 && n <= 1, expected: "from 0 to 1"},
};

function complain(message, field) {
  at("problem").textContent = message;
  at("problem").hidden = !message;
  document.querySelectorAll("[aria-invalid]").forEach(input => input.removeAttribute("aria-invalid"));
  if (!field) return;
  at("settings").open = true;
  at(field).setAttribute("aria-invalid", "true");
  at(field).focus();
}

// The settings as they stand in the form; null, after a complaint, where one is out of range.
function read() {
  const settings = {};
  for (const [field, {name, whole, holds, expected}] of Object.entries(FIELDS)) {
    const text = at(field).value.trim().replace(",", "."), number = text === "" ? NaN : Number(text);
    if (!holds(number) || (whole && !Number.isInteger(number))) {
      complain(`${name} ${at(field).value}: must be ${whole ? "a whole number " : ""}${expected}.`, field);
      return null;
    }
    settings[field] = number;
  }
  const seed = at("seed").value.trim();
  if (!/^\d*$/.test(seed) || (seed && BigInt(seed) >= 2n ** 63n)) {
    complain(`Seed ${seed}: must be a whole number from 0 to 2^63 - 1.`, "seed");
    return null;
  }
  settings.seed = seed || String(crypto.getRandomValues(new Uint32Array(1))[0]);
  return settings;
}

function fill() {
  for (const field of Object.keys(FIELDS)) at(field).value = header.defaults[field];
  // #prompt=To%20be&temperature=0.5&seed=1&write=1 after the address fills in the form, and writes at once.
  const given = new URLSearchParams(location.hash.slice(1));
  for (const field of [...Object.keys(FIELDS), "seed", "prompt"]) {
    if (given.has(field)) at(field).value = given.get(field);
  }
  at("slider").value = at("temperature").value;
  return given;
}

// -- the text --------------------------------------------------------------------------------------------------

let written = "", lastShade = null, lastNode = null, settings = null, loaded = false, busy = false, run = 0;

function shadeOf(bits) { return "b" + Math.max(0, Math.min(SHADES - 1, Math.floor(bits))); }

// What cannot be seen is shown by its number: controls, separators and marks of direction, halves of surrogate pairs.
const UNSEEN = new RegExp([
  "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ufeff]",
  "[\\ud800-\\udbff](?![\\udc00-\\udfff])",
  "(?<![\\ud800-\\udbff])[\\udc00-\\udfff]",
].join("|"));

function put(text, style) {
  written += text;
  if (UNSEEN.test(text)) {
    for (const character of text) {
      const hidden = UNSEEN.test(character);
      const hex = character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
      span(hidden ? `U+${hex}` : character, hidden ? `${style} name` : style);
    }
  } else span(text, style);
}

function span(text, style) {
  if (style === lastShade) {
    lastNode.appendData(text);
    return;
  }
  const element = document.createElement("span");
  element.className = lastShade = style;
  lastNode = document.createTextNode(text);
  element.append(lastNode);
  at("text").append(element);
}

function clear() {
  at("text").replaceChildren();
  written = "";
  lastShade = lastNode = null;
}

function buttons() {
  at("write").disabled = !loaded;
  at("stop").disabled = !busy;
  at("more").disabled = !loaded || busy || !settings;
  at("copy").disabled = written === "";
  at("text").setAttribute("aria-busy", String(busy));
}

function say(message) { at("status").textContent = message; }

function progress(count, seconds) {
  const speed = seconds > 0 ? `, ${Math.round(count / seconds).toLocaleString("en")} a second` : "";
  return `${count.toLocaleString("en")} ${header.units}${speed}`;
}

const handlers = {
  ready() {
    loaded = true;
    document.documentElement.dataset.ready = Math.round(performance.now());
    say("Ready.");
    buttons();
    if (given.has("write")) start();
  },
  begun({prompt, missing}) {
    if (prompt) put(prompt, "prompt");
    if (missing.length) {
      const names = missing.map(c => `${c} (U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")})`);
      complain(`Left out of the beginning, since the model never saw it: ${names.join(", ")}`);
    }
  },
  text({pieces, count}) {
    const page = document.documentElement;
    const follow = busy && page.scrollHeight - page.scrollTop - page.clientHeight < 80 && page.scrollTop > 0;
    for (let i = 0; i < pieces.length; i += 2) put(pieces[i], shadeOf(pieces[i + 1]));
    if (follow) page.scrollTop = page.scrollHeight;
    document.documentElement.dataset.count = count;
    if (at("copy").disabled && written) buttons();
  },
  done({count, seconds}) {
    busy = false;
    const seed = settings.temperature > 0 ? ` Seed ${settings.seed}.` : "";
    say(`Wrote ${progress(count, seconds)}.${seed}`);
    document.documentElement.dataset.done = count;
    document.documentElement.dataset.speed = count / seconds;
    buttons();
  },
  failed({message}) {
    busy = false;
    complain(`The model cannot be used here: ${message}`);
    buttons();
  },
};

// -- the thread ------------------------------------------------------------------------------------------------

let thread = null;

function load() {
  const source = new Blob([at("thread").textContent], {type: "text/javascript"});
  const address = URL.createObjectURL(source);
  thread = new Worker(address);
  // What a text that was given up for a new one still sends has that text's number.
  thread.onmessage = ({data}) => { if (data.run === undefined || data.run === run) handlers[data.kind](data); };
  thread.onerror = event => handlers.failed({message: event.message || "its thread does not start"});
  thread.postMessage({kind: "load", header, weights: at("weights").textContent});
  at("weights").remove(); // the thread has it
}

function start() {
  const found = read();
  if (!found || !loaded) return;
  complain("");
  settings = found;
  const {length, ...choosing} = settings;
  busy = true;
  delete document.documentElement.dataset.done;
  clear();
  thread.postMessage({kind: "write", settings: choosing, prompt: at("prompt").value, length, run: ++run});
  say("Writing …");
  buttons();
}

function goOn() {
  const found = read();
  if (!found || at("more").disabled) return;
  complain("");
  delete document.documentElement.dataset.done;
  busy = true;
  thread.postMessage({kind: "more", length: found.length});
  say("Writing …");
  buttons();
}

function stop() {
  if (busy) thread.postMessage({kind: "stop"});
}

async function copy() {
  try {
    await navigator.clipboard.writeText(written);
    say("Copied.");
  } catch {
    getSelection().selectAllChildren(at("text"));
    say("This browser does not let the page copy; the text is selected instead.");
  }
}

at("form").addEventListener("submit", event => { event.preventDefault(); start(); });
at("stop").addEventListener("click", stop);
at("more").addEventListener("click", goOn);
at("copy").addEventListener("click", copy);
at("shading").addEventListener("change", () => {
  at("text").classList.toggle("plain", !at("shading").checked);
  at("legend").hidden = !at("shading").checked;
});
at("slider").addEventListener("input", () => { at("temperature").value = at("slider").value; });
at("temperature").addEventListener("input", () => { at("slider").value = at("temperature").value; });
addEventListener("keydown", event => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); start(); }
  if (event.key === "Escape") stop();
});

at("text").dataset.empty = "What the model writes appears here.";
if (matchMedia("(min-width: 52rem)").matches) at("settings").open = true;
const given = fill();
load();
