// Comfort for the console's pages; each works without it.
"use strict";

// enhance gives what stands below root its buttons.
function enhance(root) {
  for (const button of root.querySelectorAll("[data-copy-button]")) {
    button.hidden = !navigator.clipboard;
    button.onclick = async () => {
      await navigator.clipboard.writeText(button.parentElement.querySelector("[data-copy]").textContent);
      const text = button.textContent;
      button.textContent = button.dataset.copied;
      setTimeout(() => { button.textContent = text; }, 1500);
    };
  }
  for (const list of root.querySelectorAll("[data-list]")) {
    list.oninput = () => {
      const last = list.lastElementChild;
      if (last.value === "") return;
      const next = last.cloneNode();
      next.value = "";
      next.id = last.id + "x";
      list.append(next);
    };
  }
}

// follow asks the server for the command, and what else depends on what is typed.
function follow(form) {
  const place = document.getElementById(form.dataset.preview);
  if (!place) return;
  let timer, asking;
  const ask = async () => {
    asking?.abort();
    asking = new AbortController();
    const body = new URLSearchParams(new FormData(form));
    body.set("step", "preview");
    try {
      const answer = await fetch(form.action, { method: "POST", body, headers: { "X-Postern-Part": "preview" }, signal: asking.signal });
      if (answer.status === 401) { location.reload(); return; }
      place.innerHTML = await answer.text();
      enhance(place);
    } catch (e) {
      if (e.name !== "AbortError") console.warn(e);
    }
  };
  form.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(ask, 250); });
}

// renew puts fresh in the place of an element; what has the focus keeps it, and what
// was scrolled stays so.
function renew(place, fresh) {
  const focused = place.contains(document.activeElement) ? document.activeElement.id : "";
  const scrolled = [...place.querySelectorAll(".scroll")].map((e) => e.scrollLeft);
  place.replaceWith(fresh);
  enhance(fresh);
  [...fresh.querySelectorAll(".scroll")].forEach((e, i) => { e.scrollLeft = scrolled[i] ?? 0; });
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

// refresh renews the elements that say how often, in seconds, while somebody looks.
// It does not keep a session alive.
function refresh(seconds) {
  setTimeout(async () => {
    const places = [...document.querySelectorAll(`[data-refresh="${seconds}"]`)]
      .filter((e) => (!e.contains(document.activeElement) || document.activeElement.id) && !e.querySelector("details[open]"));
    if (places.length > 0 && document.visibilityState === "visible") {
      try {
        const answer = await fetch(location.href, { headers: { "X-Postern-Part": "refresh" } });
        if (answer.status === 401) { location.reload(); return; }
        if (answer.ok) {
          const page = new DOMParser().parseFromString(await answer.text(), "text/html");
          for (const place of places) {
            const fresh = page.getElementById(place.id);
            if (fresh && place.hasAttribute("data-refresh") && fresh.outerHTML !== place.outerHTML) renew(place, fresh);
          }
        }
      } catch (e) { console.warn(e); }
    }
    refresh(seconds);
  }, seconds * 1000);
}

enhance(document);
for (const form of document.querySelectorAll("form[data-preview]")) follow(form);
for (const seconds of new Set([...document.querySelectorAll("[data-refresh]")].map((e) => Number(e.dataset.refresh)))) {
  if (seconds > 0) refresh(seconds);
}
document.querySelector("[data-focus]")?.focus();
