(() => {
  // Curves: a check box a row.
  for (const choice of document.querySelectorAll("[data-curves]")) {
    const boxes = [...choice.querySelectorAll("input")];
    const show = () => {
      for (const box of boxes)
        for (const drawn of choice.parentElement.querySelectorAll(`.panels [data-row="${box.value}"]`))
          drawn.classList.toggle("off", !box.checked);
    };
    const first = choice.dataset.first.split(" ");
    for (const box of boxes) {
      box.hidden = false;
      box.checked = first.includes(box.value);
      box.addEventListener("change", show);
    }
    const buttons = choice.querySelector(".buttons");
    buttons.hidden = false;
    for (const button of buttons.querySelectorAll("button"))
      button.addEventListener("click", () => {
        for (const box of boxes) box.checked = button.value === "all";
        show();
      });
    show();
  }

  // Maps: the item under the mouse or the arrow keys stands out in all of them, with its picture.
  for (const group of document.querySelectorAll("[data-maps]")) {
    const maps = [...group.querySelectorAll("svg.map")];
    const points = maps.map((map) => [...map.querySelectorAll("circle")]);
    const names = points[0].map((point) => point.querySelector("title").textContent);
    const peek = group.querySelector(".peek");
    const told = peek.querySelector("output");
    const picture = peek.querySelector("svg");
    const { side, columns } = picture ? picture.dataset : {};
    let here = 0;
    const mark = (index) => {
      for (const own of points) {
        const kind = own[index].dataset.k;
        own[0].parentElement.classList.add("dim");
        for (const point of own) {
          point.classList.toggle("same", point.dataset.k === kind);
          point.classList.remove("here");
        }
        own[index].classList.add("here");
      }
      here = index;
      told.textContent = names[index];
      if (picture) {
        picture.style.visibility = "visible";
        picture.setAttribute(
          "viewBox",
          `${(index % columns) * side} ${Math.floor(index / columns) * side} ${side} ${side}`,
        );
      }
    };
    const clear = () => {
      for (const own of points) {
        own[0].parentElement.classList.remove("dim");
        for (const point of own) point.classList.remove("same", "here");
      }
    };
    const at = (point) => [point.cx.baseVal.value, point.cy.baseVal.value];
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const next = (own, [right, down]) => {
      const [x, y] = at(own[here]);
      let best = here, least = Infinity;
      own.forEach((point, index) => {
        const [dx, dy] = [at(point)[0] - x, at(point)[1] - y];
        const along = dx * right + dy * down;
        const aside = Math.abs(dx * down) + Math.abs(dy * right);
        const far = along + 2 * aside;
        if (index !== here && along > 0 && far < least) [best, least] = [index, far];
      });
      return best;
    };
    peek.hidden = false;
    if (picture) picture.style.visibility = "hidden";
    told.textContent = "Point at an item, or go from item to item with the arrow keys.";
    maps.forEach((map, number) => {
      map.classList.add("live");
      map.setAttribute("tabindex", "0");
      map.setAttribute("role", "application");
      for (const title of map.querySelectorAll("circle title")) title.remove();
      points[number].forEach((point, index) => {
        point.addEventListener("pointerenter", () => mark(index));
        point.addEventListener("click", () => mark(index));
      });
      map.addEventListener("pointerleave", () => document.activeElement !== map && clear());
      map.addEventListener("focus", () => mark(here));
      map.addEventListener("blur", clear);
      map.addEventListener("keydown", (event) => {
        if (event.key === "Escape") map.blur();
        const way = ways[event.key];
        if (!way) return;
        event.preventDefault();
        mark(next(points[number], way));
      });
    });
  }
})();
