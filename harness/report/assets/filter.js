// Which rows and columns of the matrix are shown.
const columnRules = element("style");
document.head.append(columnRules);

const BAD = ".I, .C, .H, .F";
const WANTED = {
  all: () => true,
  bad: (cells) => cells.some((cell) => cell.matches(BAD)),
  changed: (cells) => cells.some((cell) => cell.matches(".worse, .better")),
  mixed: (cells) => new Set(cells.map(letter).filter(Boolean)).size > 1,
  unlike: ([one, other]) => letter(one) !== letter(other),
  known: (cells) => cells.some((cell) => cell.matches(".K")),
  skipped: (cells) => cells.some((cell) => cell.matches(".S")),
};

// The two columns that are compared; null while none are.
let compared = null;

function showColumns(wanted) {
  headers.forEach((_, at) => (columnShown[at] = at === 0 || wanted(at - 1)));
  const hidden = headers.map((_, at) => at).filter((at) => !columnShown[at]);
  columnRules.textContent = hidden.length
    ? `${hidden.map((at) => `#matrix tr > :nth-child(${at + 1})`).join(",")}{display:none}`
    : "";
}

function matches(row, words) {
  if (!words.length) return true;
  const tests = testsOf().get(nameOf(row)) ?? [];
  const text = [row.cells[0].textContent, ...tests.map((test) => data().tests[test])].join(" ").toLowerCase();
  return words.every((word) => text.includes(word));
}

function applyFilter() {
  const words = byId("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  const names = byId("find-target").value.toLowerCase().split(/\s+/).filter(Boolean);
  const kind = byId("show").value;
  showColumns((at) => {
    if (compared) return compared.includes(at);
    const { name, kind: guest } = data().targets[at];
    return names.every((word) => `${name} ${guest}`.toLowerCase().includes(word));
  });
  const narrowed = Boolean(words.length || kind !== "all" || compared);
  const wanted = compared ? WANTED.unlike : WANTED[kind];
  let shown = 0;
  let all = 0;
  for (const body of matrix.tBodies) {
    const [topic, ...rows] = body.rows;
    let some = false;
    for (const row of rows) {
      const cells = [...row.cells].filter((_, at) => at > 0 && columnShown[at]);
      row.hidden = !(wanted(cells) && matches(row, words));
      some ||= !row.hidden;
      shown += !row.hidden;
      all += 1;
    }
    topic.hidden = !some;
    if (narrowed && some) fold(body, false);
  }
  const columns = columnShown.filter(Boolean).length - 1;
  const wide = headers.length - 1;
  say(narrowed || columns < wide ? `${shown} of ${all} behaviours, ${columns} of ${wide} targets` : "");
  // The cell that the tab key reaches must be one that is shown.
  const stop = matrix.querySelector("[tabindex='0']");
  if (!isShown(stop.parentElement) || !columnShown[stop.cellIndex]) {
    const row = [...matrix.querySelectorAll("tbody tr")].find(isShown);
    stop.tabIndex = -1;
    (row ?? matrix.tBodies[0].rows[0]).cells[0].tabIndex = 0;
  }
}

if (matrix) {
  byId("tools").hidden = false;
  byId("tools").addEventListener("submit", (event) => event.preventDefault());
  for (const id of ["find", "find-target", "show"]) byId(id).addEventListener("input", applyFilter);
}
