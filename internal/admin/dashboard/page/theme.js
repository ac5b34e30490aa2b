// Light, dark, or as the system has it; what was chosen is remembered.

const choices = ["auto", "light", "dark"];
const key = "udprelay.theme";
const system = matchMedia("(prefers-color-scheme: dark)");
const changed = new Set();

let chosen = "auto";
try {
  const remembered = localStorage.getItem(key);
  if (choices.includes(remembered)) chosen = remembered;
} catch { /* storage is forbidden: then it is not remembered */ }
apply();
system.addEventListener("change", tell);

function apply() {
  if (chosen === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
  tell();
}

function tell() {
  for (const f of changed) f();
}

/** onTheme calls f whenever the colours have changed. */
export function onTheme(f) {
  changed.add(f);
}

/** themeButton lets a button go round the choices. */
export function themeButton(button) {
  const show = () => {
    button.textContent = "Theme: " + chosen;
    button.title = chosen === "auto" ? "light or dark, as the system is" : "";
  };
  button.addEventListener("click", () => {
    // Away from auto, the first click always changes something.
    const dark = chosen === "auto" ? system.matches : chosen === "dark";
    const other = dark ? "light" : "dark";
    chosen = chosen === "auto" ? other : (other === "dark") === system.matches ? "auto" : other;
    try {
      localStorage.setItem(key, chosen);
    } catch { /* as above */ }
    apply();
    show();
  });
  show();
}
