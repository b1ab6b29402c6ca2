// Walks pairing, the worklist and recordings. On a real gateway it needs the demo's stranger; the mock has every
// other case (a scan that finds, finds nothing and fails, a refused link, a role that may not).
import { createConnection, createServer } from "node:net";
import { eventually, must } from "./tally.mjs";

/** A port that nobody listens on. */
const freePort = () =>
  new Promise((resolve, reject) => {
    const server = createServer().on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

/** Says one IHE PCD-01 message over MLLP, as a monitor of the walk's own; gives the answer. */
function sayMonitor(port) {
  const now =
    new Date().toISOString().replace(/[-:T]/g, "").slice(0, 14) + "+0000";
  const message = [
    `MSH|^~\\&|WALKMON^00A0370000000303^EUI-64|WARD|||${now}||ORU^R01^ORU_R01|W${Date.now()}|P|2.6|||AL|NE||UNICODE UTF-8`,
    "PID|||SIM-0009^^^Demo clinic&2.16.840.1.113883.3.9999.1&ISO^MR||Simulated^Person^^^^^L",
    "PV1||I|ICU^9^BED-1",
    `OBR|1||1^WALKMON|182777000^monitoring of patient^SCT|||${now}`,
    "OBX|1||69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC|1.0.0.0|||||||X|||||||00A03700000003A5^EUI-64",
    "OBX|2|NM|147842^MDC_ECG_HEART_RATE^MDC|1.1.1.147842|77|264864^MDC_DIM_BEAT_PER_MIN^MDC|50-120||||R",
    "",
  ].join("\r");
  return new Promise((resolve, reject) => {
    const socket = createConnection({ host: "127.0.0.1", port }, () =>
      socket.write(`\x0b${message}\x1c\r`),
    );
    let heard = "";
    socket.setTimeout(10_000, () =>
      socket.destroy(new Error("no acknowledgement")),
    );
    socket.on("error", reject).on("data", (bytes) => {
      heard += bytes;
      if (heard.includes("\x1c")) {
        socket.end();
        resolve(heard);
      }
    });
  });
}

export class PairWalk {
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
    await this.candidates(simulated);
    await this.wizard(simulated);
    if (this.mock) await this.serial(simulated);
    else await this.noPort();
    if (await this.has("/worklist")) await this.worklist(simulated);
    else console.log("--    this gateway has no worklist: not walked");
    if (await this.has("/recordings")) await this.recording(simulated);
    else console.log("--    this gateway does not record: not walked");
    if (this.mock) await this.forbidden();
  }

  async candidates(simulated) {
    const { page, tally, wait_ms } = this;
    await this.toPage("Pairing");
    const stranger = page.locator("article.candidate").first();
    await tally.check(
      "an unknown sender is a candidate with what it says",
      async () => {
        await stranger
          .locator("tbody tr")
          .first()
          .waitFor({ timeout: wait_ms });
        const values = await stranger.locator("tbody tr").allInnerTexts();
        const best = await stranger.getByLabel("Read it as").inputValue();
        must(
          this.mock || best === "ihe/pcd01-monitor",
          `the first guess is ${best}`,
        );
        must(values.length >= 3, `only ${values.length} values`);
        must(
          values.some((text) => /Heart rate/i.test(text) && /\/min/.test(text)),
          values.join("\n"),
        );
      },
    );
    await tally.check(
      "other guesses can be chosen, and the preview follows",
      async () => {
        const select = stranger.getByLabel("Read it as");
        const best = await select.inputValue();
        const ids = await select
          .locator("option")
          .evaluateAll((options) => options.map(({ value }) => value));
        must(ids.length > 1, "there is nothing else to choose");
        await select.selectOption(ids.find((id) => id !== best));
        await stranger
          .locator(".facts-row")
          .getByText(best, { exact: true })
          .waitFor({ state: "detached" });
        await select.selectOption(best);
        await stranger.locator("tbody tr").first().waitFor();
      },
    );
    await stranger.getByText("Why held?").click();
    await this.look("pairing", simulated);
    const sender = await stranger.locator("h3").innerText();
    await tally.check(
      "one click accepts it and says what became of its messages",
      async () => {
        await stranger.getByRole("button", { name: /^Accept/ }).click();
        const said = await page
          .locator(".said")
          .getByText("held message")
          .innerText();
        must(/^\s*[1-9][\d\u202f]* held messages? w/.test(said), said);
        await page
          .locator("article.candidate h3", { hasText: sender })
          .waitFor({ state: "detached" });
      },
    );
    await this.look("pairing-accepted", simulated);
    if (!this.mock) {
      await tally.check("its values are on the overview", async () => {
        await this.toPage("Overview");
        await eventually(wait_ms, "a card of the new device", async () => {
          const cards = page
            .locator("article")
            .filter({ hasText: "NEWMON" })
            .filter({ has: page.locator(".number") });
          const eighth = page
            .locator("article")
            .filter({ has: page.locator(".number") });
          return (await cards.count()) > 0 || (await eighth.count()) >= 8;
        });
        await this.toPage("Pairing");
      });
    }
    await tally.check(
      "an accepted sender can be forgotten, after a yes",
      async () => {
        const row = page.locator("tr.sender", { hasText: sender });
        await row.getByRole("button", { name: /^Forget/ }).click();
        await page
          .locator("dialog[open]")
          .getByRole("button", { name: "Forget it" })
          .click();
        await row.waitFor({ state: "detached" });
        await page.getByText("is unknown again").waitFor();
      },
    );
    if (this.mock) return;
    await tally.check(
      "what was forgotten knocks again, and is accepted again",
      async () => {
        const again = page.locator("article.candidate", { hasText: sender });
        await again.waitFor({ timeout: wait_ms });
        await again.getByRole("button", { name: /^Accept/ }).click();
        await page.locator("tr.sender", { hasText: sender }).waitFor();
      },
    );
  }

  /** An MLLP link from the first step to its first message, then removed: by the keyboard where it counts. */
  async wizard(simulated) {
    const { page, tally, wait_ms } = this;
    const port = await freePort();
    const name = "Walk room 9, bed 1";
    await tally.check(
      "the wizard begins with the way, and moves the focus with each step",
      async () => {
        await page.getByRole("link", { name: "Add a device" }).first().click();
        await page.getByRole("button", { name: /^Serial port/ }).waitFor();
        await this.look("wizard-way", simulated);
        await page.getByRole("button", { name: /^Network/ }).focus();
        await page.keyboard.press("Enter");
        await eventually(5000, "the focus is on the step", () =>
          page.evaluate(() => document.activeElement?.id === "step-title"),
        );
      },
    );
    await tally.check(
      "a device is found by words, its port is filled in, nonsense is refused",
      async () => {
        await page
          .getByLabel("Find the device by maker or model")
          .fill(this.mock ? "acme" : "pcd-01");
        await page
          .getByRole("radio", { name: this.mock ? /AcmeMed/ : /IHE/ })
          .first()
          .check();
        must(
          (await page.getByLabel("Port", { exact: true }).inputValue()) ===
            "2575",
          "the usual port is not filled in",
        );
        await page.getByLabel("Port", { exact: true }).fill("99999");
        await page.getByRole("button", { name: "Next" }).click();
        await page.getByText("A port is a number from 1 to 65535.").waitFor();
        await this.look("wizard-network", simulated);
        await page.getByLabel("Port", { exact: true }).fill(String(port));
        await page.keyboard.press("Enter");
        await page.getByLabel("Where does it stand?").waitFor();
      },
    );
    await tally.check(
      "the name follows the place, the zone is the site’s, and a reload loses nothing",
      async () => {
        await page
          .getByLabel("Where does it stand?")
          .fill("Walk room 9, bed 1");
        const suggested = await page
          .getByLabel("Name of the link")
          .inputValue();
        must(suggested.startsWith("Walk room 9, bed 1"), suggested);
        await page.getByLabel("Name of the link").fill(name);
        must(
          (
            await page
              .getByLabel("Time zone of the device’s clock")
              .inputValue()
          ).length > 2,
          "no zone",
        );
        await page.getByText("Always the same patient").click();
        await this.look("wizard-name", simulated);
        await page.getByRole("button", { name: "Next" }).click();
        await page.getByRole("button", { name: "Make the link" }).waitFor();
        await page.reload();
        await page.getByRole("button", { name: "Make the link" }).waitFor();
        must(
          (await page.locator("dl.facts").innerText()).includes(name),
          "the name is gone",
        );
      },
    );
    await this.look("wizard-make", simulated);
    if (this.mock) await this.refused(name);
    await tally.check(
      "the link is made, and the first message shows its values",
      async () => {
        await page.getByRole("button", { name: "Make the link" }).click();
        await page.getByText("waits for the device’s first message").waitFor();
        await this.look("wizard-waits", simulated);
        if (!this.mock)
          must(
            /MSA\|[AC]A\|/.test(await sayMonitor(port)),
            "the message was not accepted",
          );
        await page
          .locator("section.step tbody tr")
          .first()
          .waitFor({ timeout: wait_ms });
        if (!this.mock) {
          const row = page.locator("section.step tbody tr", {
            hasText: "Heart rate",
          });
          must(
            /77\s*beats\/min/.test(await row.innerText()),
            await row.innerText(),
          );
        }
      },
    );
    await this.look("wizard-test", simulated);
    await page.getByRole("link", { name: "Done" }).click();
    const row = page.locator("tr", { hasText: name });
    await tally.check(
      "the link stands in the list as made at the desk, and is removed after a yes",
      async () => {
        must(
          (await row.innerText()).includes("at the desk"),
          await row.innerText(),
        );
        await row.getByRole("button", { name: /^Remove/ }).click();
        await page
          .locator("dialog[open]")
          .getByRole("button", { name: "Remove the link" })
          .click();
        await row.waitFor({ state: "detached" });
      },
    );
    if (this.mock) return;
    await tally.check("its port is closed then", async () => {
      const answer = await sayMonitor(port).catch((fault) => fault.code);
      must(answer === "ECONNREFUSED", `the port still answers: ${answer}`);
    });
  }

  /** The configuration parser's words with line and caret. */
  async refused(name) {
    const { page, tally } = this;
    await tally.check(
      "a refused link shows the parser’s line and caret",
      async () => {
        this.watch.expect(/409.*\/api\/v1\/pairing/);
        const rename = async (to) => {
          await page.getByRole("button", { name: "Back" }).click();
          await page.getByLabel("Name of the link").fill(to);
          await page.getByRole("button", { name: "Next" }).click();
        };
        await rename("refused");
        await page.getByRole("button", { name: "Make the link" }).click();
        must(
          (await page.locator(".notice pre").innerText()).includes("^"),
          "no caret",
        );
        await this.look("wizard-refused", true);
        await rename(name);
      },
    );
  }

  async openSerial() {
    const { page } = this;
    await page.goto(`${this.origin}/pairing/new?step=1`);
    await page.getByRole("button", { name: /^Serial port/ }).click();
    await page.getByRole("button", { name: "Look for ports again" }).waitFor();
  }

  async noPort() {
    await this.tally.check(
      "the serial step lists the ports there are, or says that there is none",
      async () => {
        await this.openSerial();
        const none = this.page.getByText("This gateway has no serial port.");
        const some = this.page.locator("input[name=port]").first();
        await none.or(some).first().waitFor();
      },
    );
    await this.look("wizard-serial", true);
    await this.page.goto(`${this.origin}/pairing`);
  }

  async serial(simulated) {
    const { page, tally } = this;
    await this.openSerial();
    const listen = async (port) => {
      await page.getByRole("radio", { name: port }).check();
      await page.getByRole("button", { name: /^Listen/ }).click();
      await page.getByRole("button", { name: "Stop" }).waitFor();
    };
    await tally.check(
      "a scan that finds nothing says what was tried and what to do",
      async () => {
        await listen(/Prolific/);
        await page.getByText("Nothing fits: 6 settings tried.").waitFor();
        must(
          (await page.locator(".scroll tbody tr").count()) === 6,
          "the table is not whole",
        );
      },
    );
    await this.look("scan-nothing", simulated);
    await tally.check("a scan can be stopped", async () => {
      await listen(/Prolific/);
      await page.getByRole("button", { name: "Stop" }).click();
      await page.getByText("The scan was stopped.").waitFor();
    });
    await tally.check("a port that cannot be opened says why", async () => {
      await listen(/CH340/);
      await page.getByText("no permission").waitFor();
    });
    await tally.check(
      "a scan shows the bytes, then the profile with its values",
      async () => {
        await listen(/FTDI/);
        await page.locator(".found tbody tr").first().waitFor();
        must(
          (await page.locator("pre.text").innerText()).includes("‹CR›"),
          "no control characters",
        );
        await page.getByRole("button", { name: "Hex" }).click();
        await page.getByText("000000").waitFor();
      },
    );
    await this.look("scan-found", simulated);
    await tally.check("what was found is taken over", async () => {
      await page.getByRole("button", { name: /^Use Nordlys/ }).click();
      await page.getByLabel("Where does it stand?").fill("Room 5");
      await page.getByRole("button", { name: "Next" }).click();
      must(
        (await page.locator("dl.facts").innerText()).includes("9600 8N1"),
        "the setting is missing",
      );
    });
  }

  async worklist(simulated) {
    const { page, tally } = this;
    const specimen = `W-${Date.now()}`;
    const ready = () =>
      page.evaluate(() => document.activeElement?.id === "order-specimen");
    await this.toPage("Worklist");
    await tally.check(
      "the page opens ready for the scanner, and nothing takes the focus away",
      async () => {
        await eventually(15_000, "the focus", ready);
        await page.waitForTimeout(300);
        must(await ready(), "the focus went elsewhere");
      },
    );
    await tally.check(
      "a scanner alone adds an order: Enter moves on",
      async () => {
        await page.keyboard.type(`${specimen}\nGLU\nCREA\n`, { delay: 5 });
        await eventually(
          15_000,
          "a chip for each test",
          async () =>
            (await page
              .getByRole("list", { name: "Tests of this order" })
              .getByRole("listitem")
              .count()) === 2,
        );
        await page.keyboard.press("Enter");
        await page.keyboard.press("Enter");
        await page.getByText(`Added: specimen ${specimen}`).waitFor();
        await page.locator("tr", { hasText: specimen }).waitFor();
        must(await ready(), "not ready for the next tube");
      },
    );
    await tally.check(
      "the same order twice is refused with the reason",
      async () => {
        this.watch.expect(/409.*\/api\/v1\/worklist/);
        await page.keyboard.type(`${specimen}\nGLU\nCREA\n\n\n`, { delay: 5 });
        await page.getByRole("alert").waitFor();
      },
    );
    await page.getByText("Patient (optional)").click();
    await this.look("worklist", simulated);
    await tally.check("an order is cancelled after a yes", async () => {
      await page
        .locator("tr", { hasText: specimen })
        .getByRole("button", { name: /^Cancel/ })
        .click();
      await page
        .locator("dialog[open]")
        .getByRole("button", { name: "Cancel the order" })
        .click();
      await page
        .locator("tr", { hasText: specimen })
        .waitFor({ state: "detached" });
      await page.getByRole("button", { name: /^Cancelled/ }).click();
      await page.locator("tr", { hasText: specimen }).waitFor();
    });
    await tally.check("a search that fits nothing says so", async () => {
      await page
        .getByLabel("Search specimen, test or patient")
        .fill("no such specimen");
      await page.getByText("Nothing fits this search").waitFor();
    });
  }

  async recording(simulated) {
    const { page, tally } = this;
    await tally.check(
      "a link is recorded, stopped, downloaded and the file removed",
      async () => {
        await page.goto(
          `${this.origin}/link?name=${this.mock ? "oximeter" : "icu-monitor"}`,
        );
        const files = page.locator(".files li");
        const before = await page
          .getByRole("button", { name: "Start recording" })
          .waitFor()
          .then(() => files.count());
        must(
          await page
            .getByRole("checkbox", { name: /Mask what names/ })
            .isChecked(),
          "not masked by default",
        );
        await page.getByRole("button", { name: "Start recording" }).click();
        await page.getByText("Recording since").waitFor();
        await this.look("recording", simulated);
        await page.getByRole("button", { name: "Stop recording" }).click();
        await eventually(
          this.wait_ms,
          "the file",
          async () => (await files.count()) > before,
        );
        const [download] = await Promise.all([
          page.waitForEvent("download"),
          files
            .first()
            .getByRole("link", { name: /^Download/ })
            .click(),
        ]);
        must(download.suggestedFilename().length > 3, "the file has no name");
        await files
          .first()
          .getByRole("button", { name: /^Remove/ })
          .click();
        await page
          .locator("dialog[open]")
          .getByRole("button", { name: "Remove it" })
          .click();
        await eventually(
          this.wait_ms,
          "the file is gone",
          async () => (await files.count()) === before,
        );
      },
    );
    await this.look("link", simulated);
  }

  async forbidden() {
    const { page, tally, context, origin } = this;
    // The mock ends its streams when the role changes.
    this.watch.expect(/\/api\/v1\/live/);
    await tally.check(
      "who may not pair is not led there, and is told so",
      async () => {
        await context.request.post(`${origin}/mock?role=auditor`);
        await page.goto(`${origin}/pairing`);
        await page.getByText("is not for your role (auditor)").waitFor();
        must(
          (await page
            .locator("nav[aria-label=Pages]")
            .getByText("Pairing")
            .count()) === 0,
          "it is in the navigation",
        );
        await page.goto(`${origin}/worklist`);
        await page.getByText("is not for your role (auditor)").waitFor();
        await context.request.post(`${origin}/mock?role=admin`);
        await page.goto(`${origin}/`);
      },
    );
  }
}
