import { describe, expect, it } from 'vitest';
import { narrow } from './narrow';

function page(): HTMLElement {
  const root = document.createElement('div');
  root.innerHTML = `<section><h2>Alarms</h2>
    <div class="alarm" id="full"><h3>The disk is full</h3><ol><li>Free room</li></ol></div>
    <div class="alarm" id="clock"><h3>Clock</h3><p>wrong zone</p></div></section>
    <section><h2>Words</h2><dl><dt id="term">Frame</dt><dd id="meaning">Bytes of a device, señal</dd></dl></section>`;
  return root;
}
const hidden = (root: HTMLElement) =>
  [...root.querySelectorAll('[hidden]')].map((one) => one.id || one.tagName);

describe('the search of a page', () => {
  it('leaves whole pieces that have every word, whatever case or accent', () => {
    const root = page();
    expect(narrow(root, 'ROOM disk')).toBe(1);
    expect(hidden(root)).toEqual(['clock', 'SECTION', 'term', 'meaning']);
    expect(narrow(root, 'senal')).toBe(1);
    expect(hidden(root)).toEqual(['SECTION', 'full', 'clock']);
  });

  it('leaves all of a section whose heading fits, and all when nothing is looked for', () => {
    const root = page();
    expect(narrow(root, 'alarms')).toBe(2);
    expect(narrow(root, '  ')).toBeNull();
    expect(hidden(root)).toEqual([]);
    expect(narrow(root, 'absent everywhere')).toBe(0);
  });
});
