import { afterEach, describe, expect, it } from 'vitest';
import { digits, listed, m, pieces, plural, t } from './index';
import { chooseLanguage, language, preferred, showLanguage } from './language.svelte';
import { stretched } from './pseudo';

afterEach(async () => {
  localStorage.clear();
  await chooseLanguage('en');
});

describe('the desk’s language', () => {
  it('is the first of the browser’s that it speaks, whatever the country', () => {
    expect(preferred(['pl-PL', 'fr-CH', 'de'])).toBe('fr');
    expect(preferred(['es-419'])).toBe('es');
    expect(preferred(['pl'])).toBe('en');
  });

  it('is kept when chosen, and told to screen readers', async () => {
    await chooseLanguage('de');
    expect(document.documentElement.lang).toBe('de');
    expect(t('Log out')).toBe('Abmelden');
    await showLanguage();
    expect(language.shown).toBe('de');
  });
});

describe('a text', () => {
  it('is filled in, and a number in it is written without a sign that is a decimal elsewhere', () => {
    expect(t('Entry {id}', { id: 'A<b>' })).toBe('Entry A<b>');
    expect(t('At least {n} characters', { n: 12_345 })).toBe('At least 12\u202f345 characters');
  });

  it('has its number’s form', async () => {
    const waiting = (n: number) => plural(n, '{n} entry waits', '{n} entries wait');
    expect([waiting(1), waiting(0), waiting(2)]).toEqual([
      '1 entry waits',
      '0 entries wait',
      '2 entries wait',
    ]);
    await chooseLanguage('de');
    expect([waiting(1), waiting(2)]).toEqual(['1 Eintrag wartet', '2 Einträge warten']);
    await chooseLanguage('fr');
    expect(waiting(0)).toMatch(/^0 entrée /);
    expect(waiting(1_000_000)).toMatch(/^1\u202f000\u202f000 entrées /);
  });

  it('is taken apart at its tags and open places; a value never becomes a tag', () => {
    expect(pieces('See <link>{name}</link> at {age}.', { name: '<b>x</b>' })).toEqual([
      { kind: 'text', name: '', text: 'See ' },
      { kind: 'tag', name: 'link', text: '<b>x</b>' },
      { kind: 'text', name: '', text: ' at ' },
      { kind: 'slot', name: 'age', text: '' },
      { kind: 'text', name: '', text: '.' },
    ]);
  });

  it('that no catalogue knows stays as it is', async () => {
    await chooseLanguage('es');
    expect(t(m('Not in any catalogue {n}'), { n: 1 })).toBe('Not in any catalogue 1');
  });
});

describe('numbers and lists', () => {
  it('have their language’s decimal sign and word for “and”', async () => {
    expect([digits(1234.5, 1), listed(['a', 'b', 'c'])]).toEqual(['1\u202f234.5', 'a, b, and c']);
    await chooseLanguage('de');
    expect([digits(1234.5, 1), listed(['a', 'b', 'c'])]).toEqual(['1\u202f234,5', 'a, b und c']);
  });
});

describe('the language nobody speaks', () => {
  it('is longer, in brackets, and keeps places and tags', () => {
    expect(stretched('See {n} <b>a</b>')).toMatch(/^⟦Séé \{n\} <b>á<\/b>( ····)+⟧$/);
  });
});
