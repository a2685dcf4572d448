"use strict";
// Everything works without this file; it saves a few steps.

// A page that answers a form is shown again by its own address, so that reloading it sends nothing anew.
const own = document.querySelector("[data-address]");
if (own) history.replaceState(null, "", own.dataset.address);

for (const button of document.querySelectorAll("button[data-copy]")) {
  const source = document.getElementById(button.dataset.copy);
  if (!source || !navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", async () => {
    const words = button.textContent;
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select and copy by hand";
    }
    setTimeout(() => { button.textContent = words; }, 2000);
  });
}

// A choice that is made is shown at once.
for (const select of document.querySelectorAll("form[data-auto] select")) {
  select.addEventListener("change", () => select.form.requestSubmit());
}
