// The page's end of the talk with the map's frame.

const PATIENCE = 15_000;

export class FrameLink {
  constructor(frame) {
    this.frame = frame;
    this.heard = new Map();
    addEventListener("message", (event) => {
      // The frame has no origin to check; that it is this very window says enough.
      if (event.source !== frame.contentWindow) return;
      const { type, ...rest } = event.data || {};
      this.heard.get(type)?.(rest);
    });
  }

  on(type, listener) {
    this.heard.set(type, listener);
  }

  /** Resolves when the map is there, or after a while: table and exports work without it. */
  open(address) {
    return new Promise((resolve) => {
      this.on("ready", resolve);
      setTimeout(resolve, PATIENCE);
      this.frame.src = address;
    });
  }

  tell(type, values = {}) {
    this.frame.contentWindow.postMessage({ type, ...values }, "*");
  }
}
