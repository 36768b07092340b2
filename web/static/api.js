// Talking to the service. Every address is relative, so that it works under a path prefix.

/** What a problem document says. field: the input at fault; status 0: nobody answered;
 * crossing: the outline of an area crosses itself, which can be repaired. */
export class Problem extends Error {
  constructor(document, status = 0) {
    super(document.detail || document.title || "The service failed.");
    this.field = (document.field || "").split(".").pop();
    this.status = status;
    this.crossing = (document.type || "").endsWith(":area-crosses-itself");
  }
}

const UNREACHED = { detail: "The service cannot be reached. Check the connection and try again." };

export async function ask(address, options) {
  let response;
  try {
    response = await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(UNREACHED);
  }
  // Signed out meanwhile: the page itself leads to where one signs in.
  if (response.status === 401) location.reload();
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Problem(body, response.status);
  return body;
}

export function post(address, body, options = {}) {
  const headers = { "Content-Type": "application/json", ...options.headers };
  return ask(address, { method: "POST", body: JSON.stringify(body), ...options, headers });
}

/** Send a form with a file. XMLHttpRequest, because fetch does not tell how much is done. */
export function send(address, form, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", address);
    request.responseType = "json";
    request.upload.onprogress = (event) => onProgress(event.loaded / event.total);
    request.onerror = () => reject(new Problem(UNREACHED));
    request.onload = () =>
      request.status < 400
        ? resolve(request.response)
        : reject(new Problem(request.response || {}, request.status));
    request.send(form);
  });
}

/** A name for a request, by which the service knows that it was sent twice. */
export function freshKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
}
