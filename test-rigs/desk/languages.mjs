// Every page in every language: the language is told to screen readers, nothing scrolls sideways on a small phone, axe is
// content, and in the stretched language (English half as long again, in brackets) nothing stands without brackets.
import { eventually, must } from "./tally.mjs";
import { axe, fits } from "./watch.mjs";

const SPOKEN = ["de", "fr", "es"];
const PSEUDO = "pseudo";
const PATHS = {
  overview: "/",
  devices: "/devices",
  messages: "/messages",
  patients: "/patients",
  people: "/patients/people",
  pairing: "/pairing",
  "add-device": "/pairing/new",
  worklist: "/worklist",
  upstream: "/upstream",
  routes: "/routes",
  help: "/help",
  labels: "/labels",
  bedside: "/bedside",
  held: "/held",
  profiles: "/profiles",
  "profile-edit": "/profiles/edit?id=masimo%2Fascii1",
  templates: "/templates",
  audit: "/audit",
  certificate: "/certificate",
  backups: "/backups",
  settings: "/settings",
  updates: "/updates",
  licences: "/licences",
  reference: "/reference",
  "upstream-setup": "/upstream/setup",
};
const SHOWN = new Set([
  "overview",
  "devices",
  "patients",
  "pairing",
  "help",
  "bedside",
]);
const PHONE = { width: 360, height: 780 };
const DESKTOP = { width: 1440, height: 900 };

export class LanguageWalk {
  constructor(tools) {
    Object.assign(this, tools);
  }

  async all() {
    const { page, tally } = this;
    for (const tag of [...SPOKEN, PSEUDO]) {
      await page.goto(this.origin);
      await page.evaluate(
        (wanted) => localStorage.setItem("bedside.language", wanted),
        tag,
      );
      for (const [name, path] of Object.entries(PATHS)) {
        await page.goto(this.origin + path);
        await this.settled();
        await tally.check(
          `${name} in ${tag}: told to screen readers, fits 360 px and the desk, axe finds nothing serious`,
          () => this.one(tag, name),
        );
      }
    }
    await page.setViewportSize(DESKTOP);
    await tally.check("the language is chosen in the shell and kept", () =>
      this.chosen(),
    );
  }

  settled() {
    const { page } = this;
    return eventually(15_000, "the page is there", () =>
      page.evaluate(
        () =>
          document.querySelector("main h1") !== null &&
          !document.querySelector("main [role=status].soft:only-child"),
      ),
    );
  }

  async one(tag, name) {
    const { page, shoot } = this;
    const lang = await page.evaluate(() => document.documentElement.lang);
    must(lang === (tag === PSEUDO ? "en" : tag), `lang is “${lang}”`);
    await page.setViewportSize(PHONE);
    await page.waitForTimeout(150);
    await fits(page);
    if (SHOWN.has(name)) await shoot(`${name}-phone-${tag}`);
    await page.setViewportSize(DESKTOP);
    await page.waitForTimeout(150);
    await fits(page);
    if (SHOWN.has(name)) await shoot(`${name}-desktop-${tag}`);
    await axe(page);
    if (tag !== PSEUDO) return;
    const bare = await untranslated(page);
    must(bare.length === 0, `not in the catalogue: ${bare.join(" | ")}`);
  }

  async chosen() {
    const { page } = this;
    await page.goto(this.origin);
    await page.evaluate(() => localStorage.removeItem("bedside.language"));
    await page.reload();
    await page.getByLabel("Language").selectOption("fr");
    await page.getByRole("link", { name: "Aide" }).waitFor();
    await page.reload();
    await page.getByRole("link", { name: "Aide" }).waitFor();
    await page.getByLabel("Langue").selectOption("en");
    await page.getByRole("link", { name: "Help" }).waitFor();
    await page.evaluate(() => localStorage.removeItem("bedside.language"));
  }
}

/** Headings, labels and controls whose words did not come from a catalogue. */
const untranslated = (page) =>
  page.evaluate(() => {
    const found = [];
    const own =
      "h1, h2, button, label, legend, th, dt, summary, nav a, caption";
    for (const element of document.querySelectorAll(own)) {
      if (element.closest("[lang=en], [translate=no], .data")) continue;
      const text = element.textContent.trim();
      if (!/\p{L}{3}/u.test(text) || text.includes("⟦")) continue;
      if (element.querySelector("a, code, .mono")) continue;
      found.push(`${element.tagName} “${text.slice(0, 40)}”`);
    }
    return found;
  });
