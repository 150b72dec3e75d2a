// Shows of each part that has variants the chosen one; selects of one name move together.
"use strict";
(() => {
  const selects = [...document.querySelectorAll("select[data-choice]")];
  const chosen = {};
  const show = () => {
    document.querySelectorAll("[data-when]").forEach((block) => {
      block.hidden = !block.dataset.when.split(" ").every((pair) => {
        const [name, value] = pair.split("=");
        return !(name in chosen) || chosen[name] === value;
      });
    });
    // A chart that was drawn while hidden does not know its width.
    document.querySelectorAll(".plot").forEach((place) => {
      if (place.offsetParent && place.data) Plotly.Plots.resize(place);
    });
  };
  selects.forEach((select) => {
    const name = select.dataset.choice;
    chosen[name] = "0";
    select.value = "0";
    select.addEventListener("change", () => {
      chosen[name] = select.value;
      selects.filter((other) => other.dataset.choice === name).forEach((other) => { other.value = select.value; });
      show();
    });
  });
  equipose.start();
  show();
  equipose.onTheme(show);
})();
