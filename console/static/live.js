// What follows the server: lists that renew themselves can be paused, and logs
// show what comes. The pages work without it, by loading them again.
"use strict";

// A button that stops an element from renewing itself.
for (const button of document.querySelectorAll("[data-pause]")) {
  const pressed = () => button.getAttribute("aria-pressed") === "true";
  button.hidden = false;
  button.addEventListener("click", () => {
    const place = document.getElementById(button.dataset.pause);
    const pause = !pressed();
    button.setAttribute("aria-pressed", String(pause));
    const [from, to] = pause ? ["data-refresh", "data-refresh-later"] : ["data-refresh-later", "data-refresh"];
    if (place.hasAttribute(from)) {
      place.setAttribute(to, place.getAttribute(from));
      place.removeAttribute(from);
    }
  });
}

// A form whose work takes a while says that it is under way, and for how long.
for (const form of document.querySelectorAll("form[data-slow]")) {
  form.addEventListener("submit", (event) => {
    const button = event.submitter;
    if (!button || form.dataset.busy) { event.preventDefault(); return; }
    form.dataset.busy = "1";
    const note = document.createElement("span");
    note.className = "busy";
    note.setAttribute("role", "status");
    const text = document.createElement("span");
    const seconds = document.createElement("span");
    seconds.setAttribute("aria-hidden", "true");
    text.textContent = form.dataset.slow;
    note.append(document.createElement("progress"), text, seconds);
    note.querySelector("progress").setAttribute("aria-label", form.dataset.slow);
    button.after(note);
    button.setAttribute("aria-disabled", "true");
    const begun = Date.now();
    setInterval(() => { seconds.textContent = `${Math.round((Date.now() - begun) / 1000)} s`; }, 1000);
  });
}

// A button that shows in a table what comes, the newest first. What is said of it to
// screen readers is how many came, at most every five seconds.
const mostRows = 500;
for (const button of document.querySelectorAll("[data-follow]")) {
  const rows = document.getElementById(button.dataset.follow);
  const said = document.getElementById("coming");
  let asking = null, fresh = 0, saying = null, wrong = false;
  button.hidden = false;
  const say = () => {
    saying = null;
    if (fresh > 0) said.textContent = fresh === 1 ? said.dataset.one : said.dataset.many + fresh;
  };
  const show = (line) => {
    if (line === "") return;
    if (line[0] === "!") { wrong = true; said.textContent = line.slice(1); return; }
    const part = document.createElement("template");
    part.innerHTML = line;
    if (rows.dataset.empty === "yes") { rows.replaceChildren(); rows.dataset.empty = "no"; }
    rows.prepend(part.content);
    while (rows.rows.length > mostRows) rows.rows[rows.rows.length - 1].remove();
    fresh++;
    saying ??= setTimeout(say, fresh === 1 ? 200 : 5000);
  };
  const stop = () => {
    asking = null;
    button.setAttribute("aria-pressed", "false");
  };
  const follow = async () => {
    const mine = asking = new AbortController();
    button.setAttribute("aria-pressed", "true");
    said.textContent = said.dataset.waits;
    fresh = 0;
    wrong = false;
    try {
      const answer = await fetch(button.dataset.source, { headers: { "X-Postern-Part": "follow" }, signal: mine.signal });
      if (answer.status === 401) { location.reload(); return; }
      if (!answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        said.textContent = page.body.textContent.trim();
        stop();
        return;
      }
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) { if (!wrong) said.textContent = said.dataset.ended; break; }
        const lines = (rest + value).split("\n");
        rest = lines.pop();
        lines.forEach(show);
      }
    } catch (e) {
      if (e.name !== "AbortError") said.textContent = said.dataset.ended;
    }
    if (asking === mine) stop();
  };
  button.addEventListener("click", () => {
    if (!asking) { follow(); return; }
    asking.abort();
    stop();
    if (fresh === 0) said.textContent = "";
  });
}
