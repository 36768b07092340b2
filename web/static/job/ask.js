// Where the job of this page is, and how its parts are asked for.

import { ask } from "../api.js";

export { ask };
export const ROOT = "../../";
export const JOB = `${ROOT}jobs/${encodeURIComponent(document.body.dataset.job)}`;

export function put(address, body) {
  const headers = { "Content-Type": "application/json" };
  return ask(address, { method: "PUT", headers, body: JSON.stringify(body) });
}

/** Of several questions of one kind only the last answer counts; the others answer null. */
export function latest() {
  let running = null;
  return async (address) => {
    running?.abort();
    const mine = (running = new AbortController());
    try {
      return await ask(address, { signal: mine.signal });
    } catch (error) {
      if (mine.signal.aborted) return null;
      throw error;
    }
  };
}
