// What is behind a cell: its tests, its last runs, the way to its failures.
const MOST_TESTS = 200;

function openCell(cell) {
  const row = cell.parentElement;
  const name = nameOf(row);
  const targets = cell.cellIndex === 0 ? data().targets.map((_, at) => at) : [cell.cellIndex - 1];
  const behaviours = row.matches(".topic") ? [...row.parentElement.rows].slice(1).map(nameOf) : [name];
  const where = targets.length === 1 ? data().targets[targets[0]].name : `${targets.length} targets`;
  byId("cell-title").textContent = `${name} on ${where}`;
  const body = byId("cell-body");
  body.replaceChildren();
  const says = row.querySelector(".says");
  if (says) body.append(element("p", {}, says.textContent));
  if (targets.length === 1) {
    const { kind } = data().targets[targets[0]];
    const unreal = kind && kind !== "windows";
    body.append(element("p", { className: "faint" }, `kind of guest: ${kind || "none"}${unreal ? ", not Windows" : ""}`));
  }
  body.append(...courseOf(cell), listOf(behaviours, targets));
  byId("cell").showModal();
  body.scrollTop = 0;
}

function courseOf(cell) {
  const number = cell.className.match(/(?:^| )h(\d+)(?: |$)/)?.[1];
  if (number === undefined) return [];
  const course = data().courses[number];
  const runs = [...data().runs.slice(-(course.length - 1)), ["this run", ""]];
  const items = [...course].map((code, at) => {
    const [run, started] = runs[at] ?? ["", ""];
    return element("li", { title: `${run} ${started}: ${NAMES[code]}` }, code === "-" ? "not run" : badge(code));
  });
  return [element("h3", {}, `The last ${course.length} runs`), element("ol", { className: "course" }, ...items)];
}

function listOf(behaviours, targets) {
  const tests = [...new Set(behaviours.flatMap((name) => testsOf().get(name) ?? []))];
  const rows = [];
  for (const test of tests) {
    for (const target of targets) {
      const row = rowOf(test, target);
      if (row) rows.push([test, target, row]);
    }
  }
  // The letters of the page are in the order of gravity.
  rows.sort((one, other) => "ICHFKPS".indexOf(one[2].outcome) - "ICHFKPS".indexOf(other[2].outcome));
  const lines = rows.slice(0, MOST_TESTS).map(([test, target, row]) => testLine(test, target, row, targets.length > 1));
  const table = element("table", { className: "list" }, element("tbody", {}, ...lines));
  const left = rows.length - lines.length;
  const more = left > 0 ? [element("p", { className: "faint" }, `... and ${left} more`)] : [];
  const heading = element("h3", {}, rows.length === 1 ? "1 test" : `${rows.length} tests`);
  const place = { className: "scroll", tabIndex: 0, role: "group", "aria-label": "Tests" };
  return element("div", {}, heading, element("div", place, table), ...more);
}

function testLine(test, target, row, named) {
  const what = element("td", {}, element("code", {}, data().tests[test]));
  if (row.text) what.append(element("span", { className: "message" }, row.text));
  if (row.attempt > 1) what.append(element("span", { className: "message" }, `attempt ${row.attempt}`));
  if (row.anchor) {
    const link = element("a", { href: `#${row.anchor}` }, "failure");
    link.addEventListener("click", (event) => {
      event.preventDefault();
      byId("cell").close();
      showFailure(row.anchor);
    });
    what.append(link);
  }
  const cells = [element("td", {}, outcome(row.outcome)), what];
  if (named) cells.push(element("td", {}, data().targets[target].name));
  return element("tr", {}, ...cells, element("td", { className: "nowrap" }, seconds(row.ms)));
}

byId("cell-close").addEventListener("click", () => byId("cell").close());
// A click beside the dialog closes it.
byId("cell").addEventListener("click", (event) => {
  if (event.target === byId("cell")) byId("cell").close();
});
