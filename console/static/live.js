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
