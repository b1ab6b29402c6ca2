// The rest of the first set-up, as an administrator meets it: names and zone, the clock, the first server, the first device,
// with a break in the middle in which the box loses its power.
import { spawn } from "node:child_process";
import { free } from "./box.mjs";
import { must } from "./tally.mjs";

const SITE = "Accounts ward";
const NTP = "ntp.clinic.example";
const WAIT_MS = 60_000;

/** `powerCut()` kills the box and starts it; `logIn()` gets in again. */
export async function finishSetUp({
  page,
  tally,
  look,
  watch,
  origin,
  bedside,
  powerCut,
  logIn,
}) {
  const button = (name, of = page) =>
    of.getByRole("button", { name, exact: true });
  const step = (name) => page.locator(`.steps > li:has(#step-${name})`);
  const state = async (name) =>
    (await step(name).locator(".word").innerText()).trim();
  const opened = (name) => page.locator(`#body-${name}`).waitFor();
  const open = async (name) => {
    await step(name).getByRole("button", { name: /^Open/ }).click();
    await opened(name);
  };
  const bar = () => page.getByRole("link", { name: "Back to the set-up" });
  const title = (name) =>
    page.getByRole("heading", { name, level: 1 }).waitFor();

  await tally.check(
    "the new administrator is led on to what is open",
    async () => {
      await title("Finish setting up");
      await opened("site");
      must((await state("site")) === "open", await state("site"));
      must((await state("device")) === "open", await state("device"));
    },
  );
  await look("finish-setup");
  await tally.check(
    "names and a zone are in force when the box is back",
    async () => {
      watch.expect(/net::ERR_|status of 503/);
      await page.getByLabel("Clinic or ward").fill(SITE);
      await page.getByLabel("Name of this gateway").fill("Gateway 1");
      await page.getByRole("combobox", { name: "Time zone" }).fill("Mars/Olympus");
      await page.getByText("This zone is not known.").waitFor();
      must(
        await button("Save").first().isDisabled(),
        "an unknown zone can be saved",
      );
      await page.getByRole("combobox", { name: "Time zone" }).fill("Europe/Berlin");
      await button("Save").first().click();
      await button("Save", page.locator("dialog[open]")).click();
      await page.getByText("In force.").waitFor({ timeout: WAIT_MS });
      must((await state("site")) === "done", await state("site"));
      await page.locator("header .site", { hasText: SITE }).waitFor();
    },
  );
  await tally.check(
    "left in the middle, with a power cut, it goes on where it was",
    async () => {
      await powerCut();
      await logIn();
      await title(/./);
      await bar().click();
      await title("Finish setting up");
      must((await state("site")) === "done", await state("site"));
      must(
        (await step("site").innerText()).includes("Europe/Berlin"),
        await step("site").innerText(),
      );
    },
  );
  if ((await state("time")) !== "done")
    await tally.check(
      "the clock: what the box may not do itself is told in lines for the console",
      async () => {
        if ((await page.locator("#body-time").count()) === 0)
          await open("time");
        await page.getByLabel("Time server of the clinic").fill("ntp; reboot");
        watch.expect(/409.*\/site/);
        await button("Show what is to be done").click();
        await page.getByRole("alert").waitFor();
        await page.getByLabel("Time server of the clinic").fill(NTP);
        await button("Show what is to be done").click();
        await page.locator("pre", { hasText: NTP }).waitFor();
        await look("finish-setup-clock");
        await button("Later").click();
        await opened("upstream");
        must((await state("time")) === "later", await state("time"));
      },
    );
  await tally.check("Back goes to the step before", async () => {
    await page.goBack();
    await page.goForward();
    await opened("upstream");
  });
  await tally.check(
    "the first server is set up on its page, and the way leads back",
    async () => {
      await page.getByRole("link", { name: "Set up the FHIR server" }).click();
      await title("Set up the FHIR server");
      await page
        .getByLabel("FHIR base")
        .fill(`http://127.0.0.1:${await free()}/fhir`);
      await page.getByLabel("How it proves who it is").selectOption("none");
      await button("Save and use").click();
      await button("Save and use", page.locator("dialog[open]")).click();
      await page.getByText(/In force since/).waitFor({ timeout: WAIT_MS });
      await bar().click();
      await title("Finish setting up");
      must((await state("upstream")) === "done", await state("upstream"));
    },
  );
  let device;
  await tally.check(
    "the first device is paired on its page, and then nothing is open",
    async () => {
      await opened("device");
      await page.getByRole("link", { name: "Add a device" }).click();
      await page.getByRole("button", { name: /^Network/ }).click();
      await page.getByLabel("Find the device by maker or model").fill("sysmex");
      await page
        .getByRole("radio", { name: /Sysmex.*XN/ })
        .first()
        .check();
      const port = String(await free());
      await page.getByLabel("Port", { exact: true }).fill(port);
      await button("Next").click();
      await page.getByLabel("Where does it stand?").fill("Laboratory");
      await page.getByLabel("Name of the link").fill("Analyser");
      await button("Next").click();
      await button("Make the link").click();
      await page
        .getByText(/waits for the device’s first message/)
        .first()
        .waitFor();
      device = spawn(
        bedside,
        ["simulate", "sysmex/xn", "--tcp", `127.0.0.1:${port}`],
        { stdio: "ignore" },
      );
      await page
        .locator("section.step tbody tr")
        .first()
        .waitFor({ timeout: WAIT_MS });
      await page.goto(`${origin}/setup`);
      await page.getByText("Nothing is open any more.").waitFor();
      must((await state("device")) === "done", await state("device"));
    },
  );
  device?.kill();
  await look("finish-setup-done");
  await tally.check(
    "another zone asks from when it counts, once messages are kept",
    async () => {
      await open("site");
      await page.getByRole("combobox", { name: "Time zone" }).fill("Asia/Kolkata");
      await page.getByText("It was wrong all along").waitFor();
      await look("finish-setup-zone");
      await button("Save").first().click();
      await button("Save", page.locator("dialog[open]")).click();
      await page.getByText("In force.").waitFor({ timeout: WAIT_MS });
      await open("site").catch(() => undefined);
      await page.getByText(/Europe\/Berlin up to message \d+/).waitFor();
    },
  );
  await tally.check("the overview reminds nobody any more", async () => {
    await page.goto(origin);
    await page.getByRole("heading", { level: 1 }).waitFor();
    must((await bar().count()) === 0, "it still does");
  });
}
