// The choice of colours is remembered where the browser allows it; a page opened as a file may not be allowed.
{
  const KEY = "harness-report-theme";
  const remembered = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null;
    }
  };
  const choices = [...document.querySelectorAll("input[name=theme]")];
  const before = choices.find((choice) => choice.value === remembered());
  if (before) before.checked = true;
  for (const choice of choices) {
    choice.addEventListener("change", () => {
      try {
        localStorage.setItem(KEY, choice.value);
      } catch {
        // It holds for as long as the page is open.
      }
    });
  }
}
