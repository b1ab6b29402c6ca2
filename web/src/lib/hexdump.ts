// Bytes as an engineer reads them: offset, sixteen bytes, and what prints.

const ROW = 16;

/** `hex` may hold spaces or line ends between the bytes. */
export function hexdump(hex: string): string {
  const bytes = hex.replace(/[^0-9a-f]/gi, '').match(/../g) ?? [];
  const rows: string[] = [];
  for (let at = 0; at < bytes.length; at += ROW) {
    const row = bytes.slice(at, at + ROW);
    const left = row.slice(0, 8).join(' ').padEnd(23);
    const right = row.slice(8).join(' ').padEnd(23);
    const shown = row.map((byte) => printable(Number.parseInt(byte, 16))).join('');
    rows.push(`${at.toString(16).padStart(6, '0')}  ${left}  ${right}  ${shown}`);
  }
  return rows.join('\n');
}

const printable = (byte: number): string => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '·');

export interface RawPart {
  control: boolean;
  text: string;
}

/** Pictures of LF and CR (U+240A, U+240D) end a line on the page as they do on the wire. */
const LINE_END = /␍␊|␍|␊/;
const CONTROL = /([\u2400-\u2426]+)/;

/** Raw text split into control pictures and the rest, with a line break after each line end. */
export function rawParts(text: string): RawPart[] {
  return text
    .split(CONTROL)
    .filter((part) => part !== '')
    .map((part) => {
      const control = CONTROL.test(part);
      return { control, text: control ? part.replace(new RegExp(LINE_END, 'g'), '$&\n') : part };
    });
}
