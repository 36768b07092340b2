// Errors beside the field that they are about.

import { make } from "./text.js";

/** Where an input can be edited now; null when the form has no such field to show. */
function fieldOf(form, name) {
  return name ? form.querySelector(`[data-field="${CSS.escape(name)}"]:not([hidden])`) : null;
}

export function clearErrors(form) {
  for (const field of form.querySelectorAll(".bad")) {
    field.classList.remove("bad");
    field.querySelectorAll(":scope > .error").forEach((note) => note.remove());
    field.querySelectorAll("[aria-invalid]").forEach((control) => {
      control.removeAttribute("aria-invalid");
      control.removeAttribute("aria-describedby");
    });
  }
  const general = form.querySelector(".foot > .error");
  if (general) general.hidden = true;
}

/** focus: after a submit the user is led to the field; while typing nobody is moved. */
export function showError(form, error, { focus = true } = {}) {
  const field = fieldOf(form, error.field);
  if (!field) {
    const general = form.querySelector(".foot > .error");
    general.textContent = error.message;
    general.hidden = false;
    return;
  }
  const id = `error-${error.field}`;
  field.classList.add("bad");
  field.append(make("p", { className: "error", id, role: "alert", textContent: error.message }));
  const details = field.closest("details");
  if (details) details.open = true;
  const control = field.querySelector("input:not(.unseen), select, textarea, button");
  control?.setAttribute("aria-invalid", "true");
  control?.setAttribute("aria-describedby", id);
  if (focus) {
    field.scrollIntoView({ block: "nearest" });
    control?.focus();
  }
}
