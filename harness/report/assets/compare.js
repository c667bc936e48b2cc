// Two targets side by side: the behaviours that differ in the matrix, the tests that differ below the choice.
const MOST_DIFFERENCES = 300;

function differences(left, right) {
  const found = [];
  let same = 0;
  data().tests.forEach((_, test) => {
    const [one, other] = [rowOf(test, left), rowOf(test, right)];
    if (!one && !other) return;
    if (one?.outcome === other?.outcome) same += 1;
    else found.push({ test, one, other });
  });
  return { found, same };
}

function compareTargets() {
  const [left, right] = ["left", "right"].map((id) => byId(id).selectedIndex - 1);
  const both = left >= 0 && right >= 0 && left !== right;
  compared = both ? [left, right] : null;
  byId("compare-end").hidden = !both;
  byId("comparison").hidden = !both;
  byId("comparison").replaceChildren(...(both ? comparisonOf(left, right) : []));
  applyFilter();
  if (!both && left >= 0 && left === right) say("Choose two different targets.");
}

function comparisonOf(left, right) {
  const { found, same } = differences(left, right);
  const names = [left, right].map((at) => data().targets[at].name);
  const heading = element("p", {}, `${found.length} tests differ, ${same} end the same on both. The matrix shows what differs.`);
  if (!found.length) return [heading];
  const head = element("tr", {}, ...["test", ...names].map((text) => element("th", { scope: "col" }, text)));
  const lines = found.slice(0, MOST_DIFFERENCES).map(({ test, one, other }) =>
    element("tr", {}, element("td", {}, element("code", {}, data().tests[test])), side(one), side(other)));
  const table = element("table", { className: "list" }, element("thead", {}, head), element("tbody", {}, ...lines));
  const place = { className: "scroll", tabIndex: 0, role: "group", "aria-label": "Tests that differ" };
  const left_out = found.length - lines.length;
  const more = left_out > 0 ? [element("p", { className: "faint" }, `... and ${left_out} more`)] : [];
  return [heading, element("div", place, table), ...more];
}

function side(row) {
  if (!row) return element("td", { className: "faint" }, "not run");
  const cell = element("td", {}, outcome(row.outcome));
  if (row.text) cell.append(element("span", { className: "message" }, row.text));
  return cell;
}

if (matrix && headers.length > 2) {
  byId("compare").hidden = false;
  byId("compare").addEventListener("submit", (event) => event.preventDefault());
  for (const id of ["left", "right"]) byId(id).addEventListener("change", compareTargets);
  byId("compare-end").addEventListener("click", () => {
    byId("left").selectedIndex = byId("right").selectedIndex = 0;
    compareTargets();
    byId("left").focus();
  });
}
