// Failures that the page holds as text are added when somebody asks; commands can be copied.
const AT_ONCE = 60;

// The texts were escaped where the page was made, by the same template as the failures that are already in it.
const waiting = lazily(() => new Map(Object.entries(data().failures)));

function addFailures(anchors) {
  for (const anchor of anchors) {
    byId("failures").insertAdjacentHTML("beforeend", waiting().get(anchor));
    waiting().delete(anchor);
    addCopyButtons(byId(anchor));
  }
  const more = byId("more");
  if (!more) return;
  if (waiting().size) more.querySelector("button").textContent = `Show more of the ${waiting().size} that are left`;
  else more.remove();
}

function showFailure(anchor) {
  if (!byId(anchor) && waiting().has(anchor)) addFailures([anchor]);
  const failure = byId(anchor);
  if (!failure) return;
  failure.open = true;
  failure.scrollIntoView({ behavior: "instant" });
  failure.querySelector("summary").focus();
}

function addCopyButtons(place) {
  for (const command of place.querySelectorAll(".command")) {
    const button = element("button", { type: "button" }, "Copy");
    const text = command.textContent;
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(command.firstElementChild);
        button.textContent = "Selected";
      }
    });
    command.append(button);
  }
}

addCopyButtons(document);
if (byId("more")) {
  const button = element("button", { type: "button" }, "Show more");
  button.addEventListener("click", () => {
    const next = [...waiting().keys()].slice(0, AT_ONCE);
    addFailures(next);
    byId(next[0]).querySelector("summary").focus();
  });
  byId("more").replaceChildren(button);
}
const follow = () => /^#f\d+$/.test(location.hash) && showFailure(location.hash.slice(1));
addEventListener("hashchange", follow);
follow();
