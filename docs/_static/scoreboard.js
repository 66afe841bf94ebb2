// Filters for the pages "Paper versus measured" and "Claims". Without this script the pages show everything.
(function () {
  "use strict";

  function make(tag, attributes, parent) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name === "text") element.textContent = value; else element.setAttribute(name, value);
    }
    if (parent) parent.append(element);
    return element;
  }

  const unique = (values) => [...new Set(values.filter(Boolean))];

  // one entry for each row: what the filters ask of it
  function entriesOf(article, states) {
    const entries = [];
    for (const table of article.querySelectorAll("table.rb")) {
      for (const row of table.tBodies[0].rows) {
        entries.push({
          row, table, paper: table.dataset.paper || "", name: table.dataset.table || "",
          verdict: row.dataset.v === undefined ? "" : states[row.dataset.v],
          data: row.dataset.d || table.dataset.d || "", profile: row.dataset.p || "",
        });
      }
    }
    for (const table of article.querySelectorAll(".rb-claims table")) {
      const box = table.closest(".rb-claims");
      for (const row of table.tBodies[0].rows) {
        const verdict = row.querySelector(".rb-c");
        entries.push({
          row, table, paper: "", name: box.parentElement.querySelector("h3").firstChild.textContent,
          verdict: verdict ? verdict.textContent : "", data: "", profile: "",
        });
      }
    }
    return entries;
  }

  function start() {
    const article = document.querySelector("article");
    const box = document.getElementById("rb-filters");
    if (!article || !box) return;
    const states = (box.dataset.states || "").split("|");
    const entries = entriesOf(article, states);
    if (!entries.length) return;
    const titles = Object.fromEntries((box.dataset.papers || "").split("|").filter(Boolean).map((pair) => pair.split("=")));
    const top = article.querySelector("section");  // out of its own section, so that it stays in sight along the whole page
    let outer = box;
    while (top && outer.parentElement !== top && outer.parentElement !== article) outer = outer.parentElement;
    if (outer !== box) outer.after(box);
    const place = make("div", { class: "rb-start" });  // where the filters stand when nothing is scrolled
    box.before(place);
    const form = make("form", { role: "search", "aria-label": "Filter the rows of this page" }, box);
    const fields = { paper: "Paper", name: box.dataset.part || "Table", verdict: "Verdict", data: "Data", profile: "Profile" };
    const controls = {};

    function tables() {  // the tables of the chosen paper only
      const paper = controls.paper ? controls.paper.value : "";
      const papers = unique(entries.map((entry) => entry.paper));
      const chosen = controls.name.value;
      const seen = new Set();
      controls.name.replaceChildren(make("option", { value: "", text: "all" }));
      for (const entry of entries) {
        const key = entry.paper + "|" + entry.name;
        if (seen.has(key) || (paper && entry.paper !== paper)) continue;
        seen.add(key);
        const label = entry.paper && !paper && papers.length > 1 ? (titles[entry.paper] || entry.paper) + ", " + entry.name : entry.name;
        make("option", { value: key, text: label }, controls.name);
      }
      controls.name.value = seen.has(chosen) ? chosen : "";
    }

    for (const [key, label] of Object.entries(fields)) {
      const values = unique(entries.map((entry) => entry[key]));
      if (values.length < (key === "profile" ? 1 : 2)) continue;
      const wrapper = make("label", { text: label }, form);
      controls[key] = make("select", { name: key }, wrapper);
      if (key === "name") continue;
      make("option", { value: "", text: "all" }, controls[key]);
      const order = key === "verdict" && states.length > 1 ? states.filter((state) => values.includes(state)) : values;
      for (const value of order) make("option", { value, text: key === "paper" ? titles[value] || value : value }, controls[key]);
    }
    const wrapper = make("label", { text: "Text" }, form);
    controls.text = make("input", { type: "search", name: "text", placeholder: "find words", autocomplete: "off" }, wrapper);
    make("button", { type: "reset", text: "Clear" }, form);
    const status = make("output", { "aria-live": "polite" }, form);
    if (controls.name) tables();

    const texts = new Map(entries.map((entry) => [entry, (entry.row.textContent + " " + entry.name).toLowerCase()]));

    const filtered = new Set(entries.map((entry) => entry.table));
    const sections = [...article.querySelectorAll("section section")]
      .filter((section) => [...section.querySelectorAll("table")].some((table) => filtered.has(table)));

    function apply() {
      const words = controls.text.value.toLowerCase().split(/\s+/).filter(Boolean);
      const shown = new Set();
      let count = 0;
      for (const entry of entries) {
        const fits = ["paper", "verdict", "data", "profile"].every((key) => !controls[key] || !controls[key].value || entry[key] === controls[key].value)
          && (!controls.name || !controls.name.value || controls.name.value === entry.paper + "|" + entry.name)
          && words.every((word) => texts.get(entry).includes(word));
        entry.row.hidden = !fits;
        if (fits) { count += 1; shown.add(entry.table); }
      }
      for (const entry of entries) {
        entry.table.hidden = !shown.has(entry.table);
      }
      for (const section of sections) section.hidden = ![...section.querySelectorAll("table")].some((table) => shown.has(table));
      status.textContent = count === entries.length ? count + " rows" : count + " of " + entries.length + " rows";
      const query = new URLSearchParams();
      for (const [key, control] of Object.entries(controls)) if (control.value) query.set(key, control.value);
      history.replaceState(null, "", location.pathname + (query.size ? "?" + query : "") + location.hash);
    }

    function measure() {  // where the heads of the tables stick
      const head = document.querySelector(".bd-header-article, .header-article");
      const above = head && getComputedStyle(head).position === "sticky" ? head.offsetHeight : 0;
      const own = getComputedStyle(box).position === "sticky" ? box.offsetHeight : 0;
      document.documentElement.style.setProperty("--rb-head", above + "px");
      document.documentElement.style.setProperty("--rb-top", above + own + "px");
    }

    addEventListener("resize", measure);
    measure();
    form.addEventListener("input", (event) => {
      if (event.target === controls.paper && controls.name) tables();
      apply();
      if (place.getBoundingClientRect().top < 0) place.scrollIntoView();
    });
    form.addEventListener("reset", () => setTimeout(() => { if (controls.name) tables(); apply(); }));
    form.addEventListener("submit", (event) => event.preventDefault());
    const query = new URLSearchParams(location.search);
    for (const [key, value] of query) {
      if (!controls[key]) continue;
      controls[key].value = value;
      if (key === "paper" && controls.name) tables();
    }
    apply();
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start); else start();
})();
