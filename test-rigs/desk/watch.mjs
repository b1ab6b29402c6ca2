// What is watched on every page of the walk: the console, where requests go, accessibility, sizes.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { connect } from "node:tls";
import { must } from "./tally.mjs";

const AXE = readFileSync(
  createRequire(import.meta.url).resolve("axe-core/axe.min.js"),
  "utf8",
);
const SEVERE = new Set(["serious", "critical"]);

/** Notes console errors and requests that leave the origin. */
export class Watch {
  errors = [];
  strangers = [];
  #expected = [];

  constructor(page, origin) {
    page.on("console", (message) => {
      if (message.type() !== "error") return;
      const words = `${message.text()} (${message.location().url})`;
      if (!this.#expected.some((pattern) => pattern.test(words)))
        this.errors.push(words);
    });
    page.on("pageerror", (fault) =>
      this.errors.push(`uncaught: ${fault.message}`),
    );
    page.on("request", (request) => {
      const url = request.url();
      if (
        !url.startsWith("data:") &&
        !url.startsWith("blob:") &&
        new URL(url).origin !== origin
      )
        this.strangers.push(url);
    });
  }

  /** What must be true at the end of a walk. */
  async quiet(tally) {
    await tally.check("the console has no errors", () =>
      must(this.errors.length === 0, this.errors.join("\n")),
    );
    await tally.check("no request left the origin", () =>
      must(this.strangers.length === 0, this.strangers.join("\n")),
    );
  }

  /** A refusal the walk asks for on purpose: the browser logs every 4xx as an error. */
  expect(pattern) {
    this.#expected.push(pattern);
  }
}

/** axe over the whole page; throws with the serious and critical findings. */
export async function axe(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() =>
    window.axe.run(document, {
      runOnly: [
        "wcag2a",
        "wcag2aa",
        "wcag21a",
        "wcag21aa",
        "wcag22aa",
        "best-practice",
      ],
    }),
  );
  const severe = violations.filter(({ impact }) => SEVERE.has(impact));
  const say = ({ id, impact, nodes }) =>
    `${impact} ${id}: ${nodes.map(({ target }) => target.join(" ")).join(", ")}`;
  must(severe.length === 0, severe.map(say).join("\n"));
  return violations.length;
}

/** Throws when the page is wider than its window. */
export async function fits(page) {
  const [wide, window] = await page.evaluate(() => [
    document.documentElement.scrollWidth,
    innerWidth,
  ]);
  must(
    wide <= window,
    `the page is ${wide} px wide in a window of ${window} px`,
  );
}

/** Controls that a finger cannot hit: under 44 px, links inside running text excepted (WCAG 2.5.8). */
export async function smallTargets(page) {
  return page.evaluate(() => {
    const small = [];
    for (const element of document.querySelectorAll(
      "a[href], button, input, select, summary",
    )) {
      const box = element.getBoundingClientRect();
      if (box.width === 0 || box.height === 0) continue;
      if (getComputedStyle(element).display === "inline") continue;
      const after = getComputedStyle(element, "::after");
      if (after.position === "absolute" && after.inset === "0px") continue;
      if (box.height < 43.5)
        small.push(
          `${element.tagName} “${element.textContent.trim().slice(0, 30)}” ${Math.round(box.height)} px`,
        );
    }
    return small;
  });
}

/** SHA-256 of the certificate that is really served, as `AA:BB:…`. */
export function certificateOf(base) {
  const { hostname, port } = new URL(base);
  return new Promise((resolve, reject) => {
    const socket = connect(
      { host: hostname, port: Number(port || 443), rejectUnauthorized: false },
      () => {
        resolve(socket.getPeerCertificate().fingerprint256);
        socket.end();
      },
    );
    socket.on("error", reject);
  });
}
