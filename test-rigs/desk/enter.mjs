// How a walk gets into the desk.
import { must } from "./tally.mjs";
import { certificateOf } from "./watch.mjs";

export const USER = "anna";
export const PASSWORD = "correct horse battery";
/** What the desk's own pages send with a change. */
export const HEADERS = {
  "X-Bedside-Csrf": "1",
  "Sec-Fetch-Site": "same-origin",
};

async function call(context, origin, path, data) {
  const response = await context.request.post(`${origin}/api/v1${path}`, {
    headers: HEADERS,
    data,
  });
  must(
    response.ok(),
    `${path} answered ${response.status()}: ${await response.text()}`,
  );
}

/** Logs in by a call; the context holds the cookie then. */
export const logInByCall = (context, origin) =>
  call(context, origin, "/login", { username: USER, password: PASSWORD });

/** Makes the first account by a call and logs in on the page, for walks that are about something else. */
export async function enter(page, origin, code) {
  const account = { username: USER, password: PASSWORD };
  await call(page.context(), origin, "/setup", { code, ...account });
  await page.goto(origin);
  await page.fill("input[name=username]", USER);
  await page.fill("input[name=password]", PASSWORD);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.locator("nav[aria-label=Pages]").waitFor();
}

/** The pages of set-up and log-in, walked. */
export class EnterWalk {
  /** `site`: page, context, tally, watch, look, origin, user, password. */
  constructor(site) {
    Object.assign(this, site);
  }

  /** From a gateway nobody owns to the log-in page. `setup`: what the gateway says of itself; `code`: the one-time code. */
  async setUp(setup, code) {
    const { page, tally, context, origin } = this;
    await page.goto(origin);
    await tally.check("a new gateway asks to be set up", () =>
      page.getByRole("heading", { name: "Set up this gateway" }).waitFor(),
    );
    await tally.check(
      "the fingerprint shown is the one of the certificate served",
      async () => {
        const shown = await page.locator(".print span").allInnerTexts();
        must(shown.join(":") === setup.fingerprint, `shows ${shown.join(":")}`);
        if (origin.startsWith("https:"))
          must(
            setup.fingerprint === (await certificateOf(origin)),
            "the certificate has another",
          );
      },
    );
    await tally.check("the password rule answers while one types", async () => {
      const met = () => page.locator("#rules .met").count();
      await page.fill("input[name=username]", this.user);
      await page.fill("input[name=password]", "short");
      must((await met()) < 3, "a short password met all rules");
      await page.fill("input[name=password]", this.password);
      must((await met()) === 3, "the good password did not meet all rules");
    });
    await this.look("setup", setup.simulated);
    const create = page.getByRole("button", { name: "Create the first user" });
    await tally.check("a wrong code is refused with what to do", async () => {
      this.watch.expect(/403.*\/api\/v1\/setup/);
      await page.fill("input[name=code]", "NOT-THE-CODE");
      await create.click();
      await this.refused();
    });
    await tally.check(
      "the one-time code makes the first user and opens the overview",
      async () => {
        await page.fill("input[name=code]", code);
        await create.click();
        await page.locator("nav[aria-label=Pages]").waitFor();
      },
    );
    await tally.check("the code works once", async () => {
      const response = await context.request.post(`${origin}/api/v1/setup`, {
        data: { code, username: "eve", password: "another long password" },
        headers: HEADERS,
      });
      must(response.status() === 410, `answered ${response.status()}`);
    });
    await page.getByRole("button", { name: /^Log out/ }).click();
  }

  async refused() {
    const said = await this.page.getByRole("alert").innerText();
    must(said.length > 20, "the refusal says too little");
  }

  /** From the log-in page to the overview. */
  async logIn(setup) {
    const { page, tally, context, origin } = this;
    await page.getByRole("heading", { name: "Log in" }).waitFor();
    await this.look("login", setup.simulated);
    const enter = page.getByRole("button", { name: "Log in" });
    await tally.check(
      "a wrong password is refused with what to do",
      async () => {
        this.watch.expect(/401.*\/api\/v1\/login/);
        await page.fill("input[name=username]", this.user);
        await page.fill("input[name=password]", "not the password");
        await enter.click();
        await this.refused();
      },
    );
    await tally.check("the right password opens the overview", async () => {
      await page.fill("input[name=password]", this.password);
      await enter.click();
      await page.locator("nav[aria-label=Pages]").waitFor();
    });
    await tally.check("a change from elsewhere is refused", async () => {
      const response = await context.request.post(
        `${origin}/api/v1/upstream/test`,
        { headers: { Origin: "https://elsewhere.example" } },
      );
      must(response.status() === 403, `answered ${response.status()}`);
    });
  }
}
