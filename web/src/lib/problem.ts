// What went wrong with a call, in words a person can act on (RFC 9457 problem details).

import { t } from './i18n';

interface ProblemBody {
  title?: unknown;
  detail?: unknown;
  code?: unknown;
}

export class Problem extends Error {
  override name = 'Problem';

  constructor(
    /** HTTP status; 0 when no answer came. */
    readonly status: number,
    readonly title: string,
    readonly detail: string,
    readonly code: string | null = null,
    /** Seconds the gateway asks to wait (Retry-After). */
    readonly wait_s: number | null = null,
  ) {
    super(detail ? `${title}: ${detail}` : title);
  }

  static unreachable(cause: unknown): Problem {
    const late = cause instanceof DOMException && cause.name === 'TimeoutError';
    return new Problem(
      0,
      late ? t('The gateway took too long to answer') : t('The gateway does not answer'),
      '',
    );
  }

  /** What went wrong, as a sentence: the gateway's own words when it has some. */
  get sentence(): string {
    const words = this.detail || this.title;
    return words.charAt(0).toUpperCase() + words.slice(1);
  }

  /** What to do next, after the sentence. */
  get advice(): string {
    if (this.wait_s !== null)
      return /wait/.test(this.detail) ? '' : t('Wait {wait_s} s, then try again.', { wait_s: this.wait_s });
    switch (this.status) {
      case 0:
        return t(
          'Check that the gateway box is on and that this device is on the same network, then try again. What it has already stored is safe.',
        );
      case 401:
        return t('Capital letters count.');
      case 403:
        return t('Ask somebody with the rights for this, or log in as another user.');
      case 404:
        return t('Go back and pick it from the list: it may have been removed since.');
      case 409:
        return t('Reload the page to see how it stands now.');
      case 429:
        return t('Wait a minute, then try again.');
      default:
        return this.status >= 500
          ? t('Try again. If it happens again, run “bedside status” on the gateway box.')
          : t('Correct what is named above and try again.');
    }
  }
}

/** Seconds of a Retry-After header: a number of seconds or an HTTP date. */
export function retryAfter(header: string | null, now_ms: number): number | null {
  if (!header) return null;
  if (/^\d{1,6}$/.test(header.trim())) return Number(header);
  const at = Date.parse(header);
  return Number.isNaN(at) ? null : Math.max(0, Math.ceil((at - now_ms) / 1000));
}

const text = (value: unknown): string => (typeof value === 'string' ? value : '');

/** Reads an error answer; a body that is no problem document still gives a usable Problem. */
export async function problemFrom(response: Response): Promise<Problem> {
  const body: ProblemBody = await response.json().catch(() => ({}));
  return new Problem(
    response.status,
    text(body?.title) || t('The gateway answered {status}', { status: String(response.status) }),
    text(body?.detail),
    text(body?.code) || null,
    retryAfter(response.headers.get('Retry-After'), Date.now()),
  );
}

/** Whatever was thrown, as a Problem. */
export function asProblem(thrown: unknown): Problem {
  if (thrown instanceof Problem) return thrown;
  return new Problem(
    -1,
    t('The page met a fault of its own'),
    thrown instanceof Error ? thrown.message : String(thrown),
  );
}
