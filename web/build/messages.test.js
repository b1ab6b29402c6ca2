// @vitest-environment node
// That no page shows a word which one of the desk's languages lacks.

import { describe, expect, it } from 'vitest';
import { LANGUAGES, bareIn, catalogue, compared, messagesIn, read, sources, wanted } from './messages.js';

const texts = wanted();
const marks = (text) => [...new Set(text.match(/\{\w+\}|<\/?\w+>/g))].sort();
const formsOf = (said) => (typeof said === 'string' ? [said] : Object.values(said));

describe.each(LANGUAGES)('the catalogue of %s', (language) => {
  const said = catalogue(language);

  it('has every text of the pages and no other', () => {
    expect(compared(language, texts)).toEqual({ missing: [], unused: [] });
  });

  it('keeps the placeholders and tags of each text', () => {
    for (const [text, english] of texts) {
      const allowed = marks(english.join(' '));
      for (const form of formsOf(said[text])) {
        const extra = marks(form).filter((one) => !allowed.includes(one));
        const lost =
          typeof said[text] === 'string' ? allowed.filter((one) => !marks(form).includes(one)) : [];
        expect({ text, extra, lost }).toEqual({ text, extra: [], lost: [] });
      }
    }
  });

  it('has the plural forms of its language where the text counts', () => {
    const needed = new Intl.PluralRules(language)
      .resolvedOptions()
      .pluralCategories.filter((one) => one !== 'many');
    for (const [text, english] of texts) {
      if (english.length > 1)
        expect({ text, forms: Object.keys(said[text]).sort() }).toEqual({ text, forms: needed.sort() });
      else expect(typeof said[text]).toBe('string');
    }
  });

  it('leaves no text empty, and blanks at the ends as they are', () => {
    const ends = (text) => [/^\s/.test(text), /\s$/.test(text)];
    for (const text of texts.keys())
      for (const form of formsOf(said[text])) {
        expect(form.trim()).not.toBe('');
        expect({ text, ends: ends(form) }).toEqual({ text, ends: ends(text) });
      }
  });
});

describe('the sources', () => {
  it.each(sources())('%s holds no bare English in its markup', (name) => {
    expect(bareIn(name, read(name))).toEqual([]);
  });

  it('are read as a person would see them: the check finds what it should', () => {
    const page = (markup) => bareIn('x.svelte', markup);
    expect(page('<p>Stop it</p>')).toEqual(['Stop it']);
    expect(page('<button aria-label="Stop it"></button>')).toEqual(['Stop it']);
    expect(page('<input placeholder="Name of the ward" />')).toEqual(['Name of the ward']);
    expect(page('<input placeholder="https://ehr.example.org/fhir" />')).toEqual([]);
    expect(page('<input placeholder="/etc/bedside/ca.pem" />')).toEqual([]);
    expect(page("<p>{on ? 'Stop it' : t('Go on')}</p>")).toEqual(['Stop it']);
    expect(page('<p class="soft">{t(\'Stop it\')} <code>bedside status</code> 12 mmHg</p>')).not.toContain(
      'Stop it',
    );
    expect([...messagesIn('x.svelte', "<p>{t('A')} {plural(n, 'one', 'more')}</p>").keys()]).toEqual([
      'A',
      'more',
    ]);
  });
});
