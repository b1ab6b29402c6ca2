// One page as people see it: both themes, three sizes, each with axe and a picture.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { must } from "./tally.mjs";
import { axe, fits, smallTargets } from "./watch.mjs";

export const SIZES = {
  desktop: { width: 1440, height: 900 },
  tablet: { width: 820, height: 1180 },
  phone: { width: 360, height: 780 },
};

/** The head of a longer page is enough of a picture. */
const TALL_PX = 8000;

/** Gives `shoot(name)` and `look(name, simulated)` for a page. `shots`: the pictures' folder, or "" for none; `prefix`: of their names. */
export function looker({ page, tally, shots, prefix = "" }) {
  if (shots) mkdirSync(shots, { recursive: true });

  /** A sticky header would stand in the middle of the picture, and hide half a button from axe. */
  const top = () => page.evaluate(() => scrollTo(0, 0));

  async function shoot(name) {
    if (!shots) return;
    await top();
    const path = join(shots, `${prefix}${name}.png`);
    const { width, height } = await page.evaluate(() => ({
      width: document.documentElement.clientWidth,
      height: document.documentElement.scrollHeight,
    }));
    await page.screenshot({
      path,
      fullPage: true,
      clip: { x: 0, y: 0, width, height: Math.min(height, TALL_PX) },
      // A picture is no check: a busy machine may take its time.
      timeout: 120_000,
    });
  }

  const accessible = (name, as) =>
    tally.check(`${name}, ${as}: axe finds nothing serious or critical`, () =>
      axe(page),
    );

  async function look(name, simulated = false) {
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      await top();
      await page.waitForTimeout(350);
      await accessible(name, colorScheme);
      await shoot(`${name}-desktop-${colorScheme}`);
    }
    await page.emulateMedia({ colorScheme: "light" });
    for (const size of ["tablet", "phone"]) {
      await page.setViewportSize(SIZES[size]);
      await page.waitForTimeout(250);
      await tally.check(
        `${name}, ${size}: fits the window, targets of 44 px`,
        async () => {
          await fits(page);
          const small = await smallTargets(page);
          must(small.length === 0, small.join("\n"));
        },
      );
      if (size === "phone") await accessible(name, size);
      await shoot(`${name}-${size}-light`);
    }
    await page.setViewportSize(SIZES.desktop);
    await tally.check(
      `${name}: has one heading, a title, and the right banner`,
      async () => {
        must((await page.locator("h1").count()) === 1, "there must be one h1");
        must((await page.title()).length > 3, "the page has no title");
        const banner = await page
          .getByText("Simulated data", { exact: true })
          .count();
        must(
          banner === (simulated ? 1 : 0),
          `${banner} banners, simulated is ${simulated}`,
        );
      },
    );
  }

  return { shoot, look };
}
