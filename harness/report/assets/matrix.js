// The matrix as a grid: one stop of the tab key, arrow keys inside, topics fold.
const matrix = byId("matrix");
const FOLD_FROM = 40; // behaviours; a smaller matrix is shown in full

const headers = matrix ? [...matrix.tHead.rows[0].cells] : [];
const columnShown = headers.map(() => true); // the first is the column of names
const isShown = (row) => !row.hidden && !(row.parentElement.classList.contains("folded") && !row.matches(".topic"));
const nameOf = (row) => row.cells[0].querySelector(".name").textContent;

function describe(cell) {
  const row = cell.parentElement;
  const name = nameOf(row);
  if (cell.cellIndex === 0) {
    const folded = row.matches(".topic") ? (row.parentElement.matches(".folded") ? ", folded" : ", unfolded") : "";
    return `${row.cells[0].textContent.trim()}${folded}`;
  }
  const target = data().targets[cell.cellIndex - 1].name;
  const code = letter(cell);
  const change = cell.matches(".worse") ? ", fails since this run" : cell.matches(".better") ? ", no longer fails" : "";
  const count = row.matches(".topic") && Number(cell.textContent) ? `, ${cell.textContent} tests failed` : "";
  return `${name} on ${target}: ${code ? NAMES[code] : "no test"}${count}${change}`;
}

function fold(body, folded) {
  body.classList.toggle("folded", folded);
  body.rows[0].cells[0].setAttribute("aria-expanded", String(!folded));
}

if (matrix) {
  matrix.setAttribute("role", "grid");
  matrix.setAttribute("aria-label", "Behaviours and targets; arrow keys move");
  byId("grid").removeAttribute("tabindex");
  const bodies = [...matrix.tBodies];
  const many = matrix.querySelectorAll("tbody tr:not(.topic)").length > FOLD_FROM;
  for (const body of bodies) fold(body, many && !body.matches(".eventful"));

  let current;
  const makeCurrent = (cell) => {
    if (current) current.tabIndex = -1;
    current = cell;
    cell.tabIndex = 0;
    cell.setAttribute("aria-label", describe(cell));
  };
  const go = (cell) => {
    if (!cell) return;
    makeCurrent(cell);
    cell.focus();
    cell.scrollIntoView({ block: "nearest", inline: "nearest", behavior: "instant" });
  };
  for (const link of matrix.querySelectorAll("td a")) link.tabIndex = -1;
  makeCurrent(bodies[0].rows[0].cells[0]);

  const step = (cell, rows, columns) => {
    const shownRows = [...matrix.querySelectorAll("tbody tr")].filter(isShown);
    const shownColumns = columnShown.flatMap((shown, at) => (shown ? [at] : []));
    const clamp = (at, list) => list[Math.max(0, Math.min(list.length - 1, at))];
    const row = clamp(shownRows.indexOf(cell.parentElement) + rows, shownRows);
    return row.cells[clamp(shownColumns.indexOf(cell.cellIndex) + columns, shownColumns)];
  };

  const FAR = 1e6;
  const PAGE = 10;
  const MOVES = {
    ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
    PageUp: [-PAGE, 0], PageDown: [PAGE, 0], Home: [0, -FAR], End: [0, FAR],
  };

  matrix.addEventListener("keydown", (event) => {
    const cell = event.target.closest("tbody th, tbody td");
    if (!cell || event.altKey || event.metaKey) return;
    const move = MOVES[event.key];
    if (move) {
      const corner = event.ctrlKey && (event.key === "Home" || event.key === "End");
      if (event.ctrlKey && !corner) return;
      go(step(cell, corner ? move[1] : move[0], move[1]));
    } else if (event.key === "Enter" || event.key === " ") {
      open(cell);
    } else {
      return;
    }
    event.preventDefault();
  });

  matrix.addEventListener("click", (event) => {
    const cell = event.target.closest("tbody th, tbody td");
    if (!cell || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go(cell);
    open(cell);
  });

  matrix.addEventListener("mouseover", (event) => {
    const cell = event.target.closest("tbody td");
    if (cell && cell.className && !cell.title) cell.title = describe(cell);
  });

  const open = (cell) => {
    const row = cell.parentElement;
    if (cell.cellIndex === 0 && row.matches(".topic")) {
      fold(row.parentElement, !row.parentElement.matches(".folded"));
      cell.setAttribute("aria-label", describe(cell));
    } else {
      openCell(cell);
    }
  };

  byId("fold").addEventListener("click", () => {
    const all = bodies.every((body) => body.matches(".folded"));
    for (const body of bodies) fold(body, !all);
    byId("fold").textContent = all ? "Fold all" : "Unfold all";
    go(bodies[0].rows[0].cells[0]);
  });
  byId("fold").textContent = bodies.every((body) => body.matches(".folded")) ? "Unfold all" : "Fold all";
}
