"use strict";
(() => {
  const all = (where, what) => [...where.querySelectorAll(what)];
  document.documentElement.classList.add("js");

  // A number or text by which a cell sorts; nothing (–) comes last either way.
  const key = (cell, number) => {
    const text = cell.textContent.trim();
    if (!number) return text;
    const [shown] = /[-−]?[\d.]+/.exec(text.replaceAll(",", "")) ?? ["NaN"];
    return Number(cell.dataset.v ?? shown.replace("−", "-"));
  };
  const made = (tag, own, ...content) => {
    const element = Object.assign(document.createElement(tag), own);
    element.append(...content);
    return element;
  };
  const compare = (a, b, number, sign) => {
    if (!number) return sign * a.localeCompare(b, "en");
    if (isNaN(a) || isNaN(b)) return isNaN(a) - isNaN(b);
    return sign * (a - b);
  };

  for (const board of all(document, "[data-board]")) {
    const table = board.querySelector("table");
    const body = table.tBodies[0];
    const heads = all(table.tHead, "th");
    const rows = all(body, "tr");
    const tools = board.querySelector(".tools");
    const told = made("output", {});
    const search = made("input", { type: "search", placeholder: "row or loss", autocomplete: "off", spellcheck: false });
    const kinds = [...new Set(rows.map((row) => row.dataset.k))].sort();
    const kind = made("select", {}, made("option", { value: "" }, "all"), ...kinds.map((one) => made("option", {}, one)));
    tools.prepend(made("label", {}, "Filter ", search), ...(kinds.length > 1 ? [made("label", {}, "Kind ", kind)] : []));
    tools.append(told);

    const sort = (head, place) => {
      const number = head.classList.contains("n");
      const before = head.getAttribute("aria-sort");
      const down = before ? before === "ascending" : number;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const keyed = rows.map((row) => [key(row.cells[place], number), row]);
      keyed.sort((a, b) => compare(a[0], b[0], number, down ? -1 : 1));
      body.append(...keyed.map((pair) => pair[1]));
      told.textContent = `Sorted by ${head.textContent}, ${down ? "descending" : "ascending"}`;
    };
    heads.forEach((head, place) => {
      const button = made("button", { type: "button" }, ...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => sort(head, place));
    });

    const filter = () => {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        const fits = words.every((word) => text.includes(word));
        row.hidden = !fits || Boolean(kind.value && kind.value !== row.dataset.k);
        shown += !row.hidden;
      }
      told.textContent = `${shown} of ${rows.length} rows`;
    };
    search.addEventListener("input", filter);
    kind.addEventListener("change", filter);

    const fold = (box) => {
      heads.forEach((head, place) => {
        if (head.dataset.g !== box.value) return;
        for (const row of table.rows) row.cells[place].hidden = !box.checked;
      });
    };
    for (const box of all(tools, "input[type=checkbox]")) {
      if (innerWidth < 704) box.checked = false;
      box.addEventListener("change", () => fold(box));
      fold(box);
    }

    // A number leads where its row's name leads: to the records that it is made of.
    body.addEventListener("click", (event) => {
      const cell = event.target.closest("td:not(.t, .w)");
      if (cell && !String(getSelection())) cell.parentNode.querySelector("th a").click();
    });
    tools.hidden = false;
  }

  const open = () => {
    let at = document.getElementById(location.hash.slice(1));
    const target = at;
    for (; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    if (target) target.scrollIntoView();
  };
  addEventListener("hashchange", open);
  if (location.hash) open();

  // What a title says appears at once under the mouse; the numbers stand in the table, too.
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.setAttribute("role", "tooltip");
  tip.hidden = true;
  document.body.append(tip);
  for (const group of all(document, ".tip")) {
    const title = group.querySelector("title");
    if (!title) continue;
    group.dataset.tip = title.textContent;
    title.remove();
  }
  const show = (event) => {
    const group = event.target.closest ? event.target.closest("[data-tip]") : null;
    tip.hidden = !group;
    if (!group) return;
    tip.textContent = group.dataset.tip;
    const x = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
    const below = event.clientY + 18;
    const y = below + tip.offsetHeight > innerHeight ? event.clientY - tip.offsetHeight - 10 : below;
    tip.style.left = `${Math.max(8, x)}px`;
    tip.style.top = `${Math.max(8, y)}px`;
  };
  document.addEventListener("mousemove", show);
  document.addEventListener("mouseleave", () => { tip.hidden = true; });
})();
