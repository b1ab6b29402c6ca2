// A language nobody speaks: every text of the pages half as long again and in brackets. What stands without brackets is
// not translated; what is cut off does not have the room that German needs.

const MARKS: Record<string, string> = {
  a: 'á',
  e: 'é',
  i: 'í',
  o: 'ó',
  u: 'ú',
  n: 'ñ',
  c: 'ç',
  A: 'Á',
  E: 'É',
};

/** Placeholders and tags stay as they are. */
export function stretched(text: string): string {
  const dressed = text.replace(
    /(\{\w+\}|<\/?\w+>)|[a-zA-Z]/g,
    (sign, kept?: string) => kept ?? MARKS[sign] ?? sign,
  );
  const [, lead = '', core = '', tail = ''] = /^(\s*)(.*?)(\s*)$/s.exec(dressed) ?? [];
  return `${lead}⟦${core}${' ····'.repeat(Math.ceil(text.length / 10))}⟧${tail}`;
}

export default new Proxy<Record<string, string>>(
  {},
  { get: (_, text) => (typeof text === 'string' && text !== 'then' ? stretched(text) : undefined) },
);
