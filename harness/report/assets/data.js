"use strict";
// The rows of the run; harness/report/data.py says how they are laid out. Read when first asked for.
const NAMES = { I: "INFRA", C: "CRASH", H: "HANG", F: "FAIL", K: "KNOWN", P: "PASS", S: "SKIP", "-": "not run" };
const GLYPHS = { I: "I", C: "C", H: "H", F: "F", K: "k", P: "✓", S: "·", "-": "" };
const byId = (id) => document.getElementById(id);

const lazily = (make) => {
  let made;
  return () => (made ??= make());
};

const data = lazily(() => JSON.parse(byId("data").textContent));

// Where the rows of each test begin.
const starts = lazily(() => {
  let at = 0;
  return data().rows.count.map((count) => (at += count) - count);
});

const testsOf = lazily(() => {
  const found = new Map();
  data().sets.forEach((set, test) => {
    const behaviours = data().behaviours[set];
    for (const name of behaviours.length ? behaviours : ["(other)"]) {
      if (!found.has(name)) found.set(name, []);
      found.get(name).push(test);
    }
  });
  return found;
});

// The row of a test on a target (both by number); undefined where it didn't run.
function rowOf(test, target) {
  const { rows } = data();
  const first = starts()[test];
  for (let at = first; at < first + rows.count[test]; at++) {
    if (rows.target[at] === target) {
      return {
        outcome: rows.outcome[at],
        ms: rows.ms[at],
        text: data().texts[rows.text[at]],
        anchor: rows.anchor[at] ?? "",
        attempt: rows.attempt[at] ?? 1,
      };
    }
  }
  return undefined;
}

// An element with attributes and children; texts become text, never markup.
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

// The outcome of a cell of the matrix; undefined where no test ran.
const letter = (cell) => cell.className.match(/(?:^| )([ICHFKPS])(?: |$)/)?.[1];
const badge = (code) => element("span", { className: `badge ${code}` }, GLYPHS[code]);
const outcome = (code) => element("span", { className: "nowrap" }, badge(code), ` ${NAMES[code]}`);
const seconds = (ms) => (ms < 1000 ? `${ms} ms` : `${(ms / 1000).toFixed(1)} s`);
const say = (text) => (byId("status").textContent = text);

document.documentElement.classList.add("scripted");
for (const each of document.querySelectorAll(".scripted[hidden]")) each.hidden = false;
