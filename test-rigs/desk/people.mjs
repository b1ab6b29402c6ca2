// Walks patients and devices, people and beds, HL7 routes and the message viewer. On a real gateway it makes, corrects
// and ends an association of one of the demo's devices; the mock has every other case (doubts, beds, held messages).
import { eventually, must } from "./tally.mjs";

export class PeopleWalk {
  /** `site`: what the walk has: page, context, tally, watch, look, toPage, origin, wait_ms, mock. */
  constructor(site) {
    Object.assign(this, site);
  }

  /** Whether the gateway has this part at all. */
  async has(path) {
    const response = await this.context.request.get(
      `${this.origin}/api/v1${path}`,
    );
    return response.status() !== 404;
  }

  async all(simulated) {
    if (await this.has("/associations")) {
      await this.devices(simulated);
      await this.camera();
      await this.associate(simulated);
      if (!this.mock) await this.conflict(simulated);
      await this.correct(simulated);
      await this.end();
      if (!this.mock) await this.strike();
    } else console.log("--    this gateway has no associations: not walked");
    if (await this.has("/places")) await this.people(simulated);
    else console.log("--    this gateway has no patient index: not walked");
    if (await this.has("/destinations")) await this.routes(simulated);
    else console.log("--    this gateway has no HL7 routes: not walked");
    if (this.mock) await this.forbidden();
  }

  get dialog() {
    return this.page.locator("dialog[open]");
  }

  /** Scans a code, and again while it is not seen: a busy machine tears one apart, and a torn one counts for nothing. */
  async scan(code, seen) {
    const { page } = this;
    for (let tries = 0; tries < 5; tries += 1) {
      await page.waitForTimeout(400);
      await page.keyboard.type(`${code}\n`, { delay: 4 });
      const done = seen.waitFor({ timeout: 4000 });
      if (await done.then(() => true, () => false)) return;
    }
    await seen.waitFor();
  }

  /** What waits of the walk's device for this reason. */
  knot(state) {
    return this.page
      .locator("#doubts li.knot", { hasText: this.device.label })
      .filter({ hasText: state });
  }

  async devices(simulated) {
    const { page, tally } = this;
    await this.toPage("Patients");
    await tally.check(
      "every device says who it is with, or that it is nobody",
      async () => {
        await page.locator("article.card").first().waitFor();
        for (const text of await page
          .locator("article.card")
          .allInnerTexts())
          must(!/undefined|null|NaN/.test(text), text);
      },
    );
    await this.look("patients", simulated);
    if (!this.mock) return;
    await tally.check(
      "what waits is one decision for a device and a reason",
      async () => {
        const knot = page.locator("#doubts li.knot").first();
        must(
          /17 entries wait/.test(await knot.innerText()),
          await knot.innerText(),
        );
        await knot.getByRole("button", { name: /^Say who it was/ }).click();
        must(
          (await this.dialog.getByLabel(/^Since \(/).inputValue()) !== "",
          "the time of the first measurement is not filled in",
        );
        await page.keyboard.press("Escape");
      },
    );
  }

  async standing() {
    const response = await this.context.request.get(
      `${this.origin}/api/v1/associations`,
    );
    return (await response.json()).devices;
  }

  /** A device that nobody is on; the demo's oximeter sends every second and is bound to a patient of its own. */
  async free() {
    const free = (await this.standing()).filter(
      ({ association, in_bed }) => !association && in_bed.length === 0,
    );
    const found = free.find(({ link }) => link === "oximeter") ?? free[0];
    must(found, "no device is free");
    return found;
  }

  /** The demo's oximeter belongs to another patient than the one scanned: what it measures is held, and said why. */
  async conflict(simulated) {
    const { page, tally } = this;
    await tally.check(
      "two sources that differ are a conflict, with what to do next",
      async () => {
        const knot = this.knot("Conflict");
        await knot.first().waitFor({ timeout: this.wait_ms });
        const text = await knot.first().innerText();
        must(/Conflict/.test(text) && /Look at the wristband/.test(text), text);
      },
    );
    await this.look("conflict", simulated);
    await tally.check(
      "the held entry leads to where it is settled",
      async () => {
        const knot = this.knot("Conflict").first();
        await knot.locator("summary").click();
        await knot.locator(".entries a").first().click();
        await page
          .getByRole("link", { name: "Say which patient was on the device" })
          .waitFor();
      },
    );
  }

  /** Nobody was on it at all: everything that was held for the conflict goes out. */
  async strike() {
    const { page, tally } = this;
    await tally.check(
      "what was held for the conflict goes out when the association is struck",
      async () => {
        const last = page
          .locator("ol.list > li:not(.void)", { hasText: this.number })
          .first();
        await last.getByRole("button", { name: /^Correct/ }).click();
        await this.dialog
          .getByRole("radio", { name: /^Nobody was on the device/ })
          .check();
        await this.dialog.getByLabel("Why (needed)").fill("a walk, no patient");
        await this.dialog.getByRole("button", { name: "Correct it" }).click();
        await page.getByText(": struck.").waitFor();
        await eventually(this.wait_ms, "nothing waits", async () => {
          const own = (await this.standing()).find(
            ({ key }) => key === this.device.key,
          );
          return Object.values(own.waiting).every((count) => count === 0);
        });
      },
    );
  }

  async associate(simulated) {
    const { page, tally } = this;
    const { key, label } = await this.free();
    this.device = { key, label };
    this.number = `WALK-${Date.now()}`;
    await tally.check(
      "a device’s label scanned on the page begins the dialog",
      async () => {
        await page.getByRole("heading", { level: 1 }).click();
        this.watch.expect(/40[49].*\/api\/v1\/associations/);
        await this.scan(key, this.dialog.getByText(label, { exact: true }));
      },
    );
    await this.look("associate", simulated);
    await tally.check(
      "the wristband scanned next asks whether both are right",
      async () => {
        await eventually(3000, "the field for the patient has the focus", () =>
          page.evaluate(
            () => document.activeElement?.id === "associate-patient",
          ),
        );
        await this.scan(
          this.number,
          this.dialog.getByRole("button", { name: "Yes, this is right" }),
        );
        must(
          (await this.dialog.innerText()).includes(this.number),
          "the number is not shown",
        );
      },
    );
    await this.look("associate-confirm", simulated);
    await tally.check(
      "another wristband says no, the same one yes; an unknown number is asked about",
      async () => {
        await this.scan(
          "WALK-OTHER",
          this.dialog.getByText("That was another number"),
        );
        const sure = this.dialog.getByRole("button", {
          name: "The number is right",
        });
        const done = page.getByText(`${label} is with ${this.number} now.`);
        await this.scan(this.number, sure.or(done).first());
        if (await sure.isVisible()) await sure.click();
        await done.waitFor();
      },
    );
    await tally.check("the page says so, and the address does not", async () => {
      const card = page.locator("article.card", { hasText: label }).first();
      await card.getByText(this.number).waitFor();
      must(!page.url().includes(this.number), page.url());
    });
    await tally.check("a second patient is asked about first", async () => {
      const card = page.locator("article.card", { hasText: label }).first();
      await card.getByRole("button", { name: /^Another patient/ }).click();
      const right = this.dialog.getByRole("button", {
        name: "Yes, this is right",
      });
      await this.scan(`${this.number}-B`, right);
      await right.click();
      const sure = this.dialog.getByRole("button", {
        name: "The number is right",
      });
      const replace = this.dialog.getByRole("button", { name: /^End theirs/ });
      await sure.or(replace).first().waitFor();
      if (await sure.isVisible()) await sure.click();
      await replace.click();
      await page.getByText(`${label} is with ${this.number}-B now.`).waitFor();
    });
  }

  async correct(simulated) {
    const { page, tally } = this;
    await page.goto(
      `${this.origin}/patients/device?key=${encodeURIComponent(this.device.key)}`,
    );
    const rows = page.locator("ol.list > li");
    await tally.check("the timeline has both, as picture and list", async () => {
      await rows.nth(1).waitFor();
      must(
        (await page.locator(".picture").getAttribute("aria-label")).includes(
          "association",
        ),
        "the picture has no words",
      );
    });
    await tally.check(
      "a correction needs its reason; then the old one is struck, not gone",
      async () => {
        await rows
          .first()
          .getByRole("button", { name: /^Correct/ })
          .click();
        await this.dialog
          .getByRole("radio", { name: /^Nobody was on the device/ })
          .check();
        await this.dialog.getByRole("button", { name: "Correct it" }).click();
        await this.dialog.getByText("A correction needs its reason").waitFor();
        await this.look("correct", simulated);
        await this.dialog.getByLabel("Why (needed)").fill("a walk, no patient");
        await this.dialog.getByRole("button", { name: "Correct it" }).click();
        await this.dialog.waitFor({ state: "detached" });
        await page.getByText(": struck.").waitFor();
        await page.getByText("“a walk, no patient”").waitFor();
      },
    );
    await this.look("timeline", simulated);
  }

  /** The first one goes on where it was replaced: it is opened again and ended. */
  async end() {
    const { page, tally } = this;
    await tally.check(
      "an ended association goes on again when the times are corrected, and is ended",
      async () => {
        const first = page
          .locator("ol.list > li:not(.void)", { hasText: this.number })
          .first();
        await first.getByRole("button", { name: /^Correct/ }).click();
        await this.dialog
          .getByRole("radio", { name: /^The patient is right/ })
          .check();
        await this.dialog.getByRole("checkbox", { name: /^It goes on/ }).check();
        await this.dialog.getByLabel("Why (needed)").fill("it never ended");
        await this.dialog.getByRole("button", { name: "Correct it" }).click();
        await page.getByText("is corrected.").waitFor();
        await page
          .locator("ol.list > li", { hasText: "Now" })
          .getByRole("button", { name: /^End/ })
          .click();
        await this.dialog.getByRole("button", { name: "End it" }).click();
        await page.getByText("is no longer with").waitFor();
      },
    );
  }

  async people(simulated) {
    const { page, tally } = this;
    await page.goto(`${this.origin}/patients/people`);
    await tally.check(
      "a search names how many it found and leaves no name in the address",
      async () => {
        await page
          .getByLabel("Number, name or date of birth")
          .fill(this.mock ? "muster" : "nobody is called so");
        await page.keyboard.press("Enter");
        await page.getByText(/found for “/).waitFor();
        must(!/muster|nobody/i.test(page.url()), page.url());
      },
    );
    await tally.check("beds are shown, or how to have them", () =>
      page
        .locator(".bed")
        .or(page.getByText("No bed is known to be taken"))
        .first()
        .waitFor(),
    );
    await this.look("people", simulated);
    if (!this.mock) return;
    await tally.check("a person opens with numbers and stays", async () => {
      await page.goto(`${this.origin}/patients/person?id=2`);
      await page.getByRole("button", { name: "Take it back" }).waitFor();
    });
    await this.look("person", simulated);
  }

  async routes(simulated) {
    const { page, tally } = this;
    await this.toPage("HL7 routes");
    await tally.check("destinations are shown, or how to have one", () =>
      page
        .locator("article.card")
        .or(page.getByText("No HL7 destination is set up"))
        .first()
        .waitFor(),
    );
    await tally.check("a message is held, with what its receiver said", async () => {
      const row = page.locator(".rows > li").first();
      await row.waitFor({ timeout: this.wait_ms });
      must(/AE/.test(await row.innerText()), await row.innerText());
    });
    await this.look("routes", simulated);
    await tally.check("a destination is paused after a yes, and goes on", async () => {
      const card = page.locator("article.card").first();
      await card.getByRole("button", { name: /^Pause/ }).click();
      await this.dialog.getByRole("button", { name: "Pause" }).click();
      await card.getByRole("button", { name: /^Go on/ }).click();
      await card.getByRole("button", { name: /^Pause/ }).waitFor();
    });
    await tally.check("a held message is looked at and released", async () => {
      const row = page.locator(".rows > li").first();
      await row.getByRole("button", { name: /^Look/ }).click();
      await row.locator("pre").waitFor();
      await row.getByRole("button", { name: /^Release/ }).click();
      await this.dialog.getByRole("button", { name: "Release" }).click();
      await page.getByText("Nothing is held").waitFor();
    });
    if (this.mock) return;
    await tally.check("what went on is listed with its answer", async () => {
      await page.getByRole("button", { name: "Accepted" }).click();
      const row = page.locator(".rows > li").first();
      await row.waitFor({ timeout: this.wait_ms });
      must(/AA/.test(await row.innerText()), await row.innerText());
      await row.getByRole("button", { name: /^Look/ }).click();
      must((await row.locator("pre").innerText()).startsWith("MSH|"), "no message");
    });
    await this.look("routes-accepted", simulated);
  }

  /** The camera, with the browser's own reader where it has one; else with one that reads the same from any picture. */
  async camera() {
    const { context, tally, origin } = this;
    const page = await context.newPage();
    await page.addInitScript(() => {
      if ("BarcodeDetector" in globalThis) return;
      if (location.hash !== "#reads") return;
      globalThis.BarcodeDetector = class {
        async detect(video) {
          return video.videoWidth > 0 ? [{ rawValue: "]C1NOT-A-DEVICE" }] : [];
        }
      };
    });
    const dialog = page.locator("dialog[open]");
    const open = async (hash) => {
      await page.goto(`${origin}/help`);
      await page.goto(`${origin}/patients${hash}`);
      await page.getByRole("button", { name: /^Associate/ }).first().click();
      await dialog.waitFor();
    };
    await tally.check("a browser that reads no barcodes says so and offers no camera", async () => {
      await open("");
      const own = await page.evaluate(() => "BarcodeDetector" in globalThis);
      const camera = dialog.getByRole("button", { name: "Camera" });
      must((await camera.count()) > 0 === own, "the button is there for nothing, or missing");
      if (!own) await dialog.getByText("cannot read a barcode with its camera").first().waitFor();
    });
    await tally.check("what the camera reads is taken as scanned, and the camera is let go", async () => {
      await open("#reads");
      await dialog.getByRole("button", { name: "Camera" }).last().click();
      await eventually(this.wait_ms, "the picture is read", async () =>
        /NOT-A-DEVICE/.test(await dialog.innerText()),
      );
      must((await dialog.locator("video").count()) === 0, "the camera is still on");
    });
    await page.close();
  }

  async forbidden() {
    const { page, tally, context, origin } = this;
    // The mock ends its streams when the role changes.
    this.watch.expect(/\/api\/v1\/live/);
    await tally.check("who may see no patient is told so", async () => {
      await context.request.post(`${origin}/mock?role=auditor`);
      for (const path of ["/patients", "/patients/people"]) {
        await page.goto(`${origin}${path}`);
        await page.getByText("is not for your role (auditor)").waitFor();
      }
      await context.request.post(`${origin}/mock?role=admin`);
      await page.goto(`${origin}/`);
    });
  }
}
