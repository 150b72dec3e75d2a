// Runs before anything is drawn: notes script errors on the root element and chooses the theme.
"use strict";
(() => {
  const root = document.documentElement;
  const fail = (message) => {
    root.dataset.errors = `${root.dataset.errors || ""}${message}\n`;
  };
  window.addEventListener("error", (event) => fail(event.message));
  window.addEventListener("unhandledrejection", (event) => fail(String(event.reason)));
  window.addEventListener("securitypolicyviolation", (event) => fail(`blocked: ${event.blockedURI} by ${event.violatedDirective}`));
  const asked = `${location.search} ${location.hash}`.match(/theme=(dark|light)/);
  const dark = asked ? asked[1] === "dark" : window.matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "dark" : "light";
})();
