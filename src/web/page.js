const link = document.querySelector("a.link");
const url = link && new URL(link.href).searchParams.get("url");
if (url) {
  const there = new URL(url);
  const path = (of) => of.pathname.replace(/\/+$/, "");
  const differs = location.host !== there.host ? "host" : path(location) !== path(there) ? "path" : null;
  const note = differs && document.querySelector(`[data-differs="${differs}"]`);
  if (note) {
    note.querySelector("[data-here]").textContent = location.origin + location.pathname;
    note.hidden = false;
  }
}
const copy = document.querySelector("button.copy");
if (link && copy && navigator.clipboard) {
  copy.hidden = false;
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(link.href);
      copy.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(link);
    }
  });
}
