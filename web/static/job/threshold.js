// The threshold, told as what it costs: false alarms.

import { $, digits, whole } from "./page.js";

const PAUSE = 120;

export class Threshold {
  constructor(view, frame, changed) {
    this.view = view;
    this.frame = frame;
    this.changed = changed;
    this.own = view.threshold.surprise;
    this.value = this.own;
    this.timer = 0;
    const slider = $("threshold");
    slider.min = view.levels;
    slider.max = 7 * view.levels;
    slider.value = Math.round(this.own * view.levels);
    slider.addEventListener("input", () => this.move(slider.value / view.levels));
    $("own-threshold").addEventListener("click", () => {
      slider.value = Math.round(this.own * view.levels);
      this.move(this.own);
    });
    $("mask").addEventListener("change", () => this.shade());
    this.tell();
  }

  // The heatmap's own limits are known once its pixels were read.
  limit(floor, highest) {
    const { levels } = this.view;
    $("threshold").min = Math.ceil(floor * levels);
    $("threshold").max = Math.max(
      Math.min(Math.ceil(highest * levels), 7.875 * levels),
      Math.ceil(this.own * levels) + 1,
    );
    if (this.value === this.own) $("threshold").value = Math.round(this.own * levels);
  }

  move(value) {
    this.value = value;
    // Who moves the threshold wants to see it.
    if (!$("mask").checked && value !== this.own) $("mask").checked = true;
    this.shade();
    this.tell();
    clearTimeout(this.timer);
    this.timer = setTimeout(this.changed, PAUSE);
  }

  shade() {
    const level = Math.round(this.value * this.view.levels);
    this.frame.tell("mask", { level, shown: $("mask").checked });
  }

  tell() {
    const share = 10 ** -this.value;
    const perKm2 = this.view.pixels_per_km2 && share * this.view.pixels_per_km2;
    const odds = `1 normal pixel in ${digits(1 / share, 2)}`;
    const alarms = perKm2 ? `${digits(perKm2, 2)} false-alarm pixels per km²` : odds;
    $("alarms").textContent = alarms;
    const chance = perKm2 ? ` · 1 in ${digits(1 / share, 2)}` : "";
    $("share").textContent = `surprise ≥ ${this.value.toFixed(2)}${chance}`;
    $("threshold").setAttribute("aria-valuetext", `${alarms}, surprise ${this.value.toFixed(2)}`);
    $("own-threshold").hidden = this.value === this.own;
  }

  // How often the threshold was passed, beside how often normal ground should pass it.
  compare({ above, valid }) {
    const expected = valid * 10 ** -this.value;
    $("alarms").title = `${whole(above)} pixels are above it, ${whole(expected)} would be if all ground were normal`;
  }
}
