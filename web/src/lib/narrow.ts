// Search in a page that is already there: no index, no server, works offline. What does not have the words is hidden.

const plain = (text: string): string => text.normalize('NFD').replace(/\p{M}/gu, '').toLowerCase();

/** The pieces a section is made of: each is shown or hidden as one; a term goes with its meaning. */
function pieces(section: Element): Element[][] {
  const whole = [...section.querySelectorAll('.alarm, dl > div, ol > li, ul > li, p')].filter(
    (one) => !one.parentElement?.closest('.alarm, dl > div, li'),
  );
  const terms = [...section.querySelectorAll('dl > dt')].map((dt) =>
    dt.nextElementSibling ? [dt, dt.nextElementSibling] : [dt],
  );
  return [...whole.map((one) => [one]), ...terms];
}

/** Hides what has not every word of `search`; gives how many pieces are left, or null when nothing is looked for. */
export function narrow(root: Element, search: string): number | null {
  const words = plain(search).split(/\s+/).filter(Boolean);
  const fits = (text: string) => words.every((word) => plain(text).includes(word));
  let left = 0;
  for (const section of root.querySelectorAll<HTMLElement>('section')) {
    const all = fits(section.querySelector('h2')?.textContent ?? '');
    let shown = 0;
    for (const piece of pieces(section)) {
      const keep = all || fits(piece.map((one) => one.textContent).join(' '));
      for (const one of piece) one.toggleAttribute('hidden', !keep);
      if (keep) shown += 1;
    }
    section.toggleAttribute('hidden', shown === 0);
    left += shown;
  }
  return words.length === 0 ? null : left;
}
