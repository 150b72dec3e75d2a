// Draws the charts in the theme's colours and redraws them when the theme changes.
"use strict";
const equipose = (() => {
  const root = document.documentElement;
  const payload = JSON.parse(document.getElementById("payload").textContent);
  const options = { responsive: true, displaylogo: false, scrollZoom: false, modeBarButtons: [["toImage"]],
    displayModeBar: window.innerWidth < 600 ? false : "hover" };
  const listeners = [];

  // A colour in the payload is a role such as "@ink"; give the theme's colour for it, at any depth.
  const coloured = (value, theme) => {
    if (typeof value === "string") {
      return value[0] === "@" && Object.hasOwn(theme, value.slice(1)) ? theme[value.slice(1)] : value;
    }
    if (Array.isArray(value)) return value.map((each) => coloured(each, theme));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, coloured(each, theme)]));
    }
    return value;
  };
  const theme = () => payload.themes[root.dataset.theme];

  const draw = () => {
    payload.charts.forEach((chart, i) => {
      const place = document.getElementById(`chart-${i}`);
      Plotly.react(place, coloured(chart.data, theme()), coloured(chart.layout, theme()), options);
    });
    listeners.forEach((listener) => listener());
  };

  const button = document.getElementById("theme");
  const setTheme = (name) => {
    root.dataset.theme = name;
    button.textContent = name === "dark" ? "Light" : "Dark";
    draw();
  };
  button.addEventListener("click", () => setTheme(root.dataset.theme === "dark" ? "light" : "dark"));

  // Paper is white: print in the light theme, then go back.
  let before = null;
  window.addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    if (before === "dark") setTheme("light");
  });
  window.addEventListener("afterprint", () => {
    if (before === "dark") setTheme("dark");
  });

  const start = () => {
    setTheme(root.dataset.theme);
    root.dataset.ready = "charts";
  };
  return { payload, theme, coloured, start, onTheme: (listener) => listeners.push(listener), setTheme };
})();
